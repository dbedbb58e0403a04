#include "dagverk/base/demangle.hpp"

#include <cstdlib>
#include <cxxabi.h>

namespace dagverk {

std::string demangle(const char* symbol) {
  int status = 0;
  char* const text = abi::__cxa_demangle(symbol, nullptr, nullptr, &status);
  std::string name = status == 0 ? text : symbol;
  std::free(text);  // NOLINT(cppcoreguidelines-no-malloc): the ABI allocates with malloc
  return name;
}

}  // namespace dagverk
