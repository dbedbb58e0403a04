// What libFuzzer calls; DAGVERK_FUZZ_TARGET is the function of fuzz_targets.hpp.

#include "fuzz_targets.hpp"

#include <cstddef>
#include <cstdint>

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's name
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  dagverk::fuzz::DAGVERK_FUZZ_TARGET({reinterpret_cast<const char*>(data), size});
  return 0;
}
