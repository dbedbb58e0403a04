#pragma once

#include <cstddef>
#include <fstream>
#include <unistd.h>

namespace dagverk::bench {

/// The memory of this OS process that is in RAM now.
[[nodiscard]] inline std::size_t resident_bytes() {
  std::ifstream status("/proc/self/statm");
  std::size_t total = 0;
  std::size_t resident = 0;
  status >> total >> resident;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

}  // namespace dagverk::bench
