#include "dagverk/base/assert.hpp"

#include <cstdio>
#include <cstdlib>

namespace dagverk::detail {

void assertion_failed(const char* condition, std::source_location place) noexcept {
  std::fprintf(stderr, "dagverk: assertion failed: %s\n  at %s:%u in %s\n", condition, place.file_name(),
               static_cast<unsigned>(place.line()), place.function_name());
  std::abort();
}

}  // namespace dagverk::detail
