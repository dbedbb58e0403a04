#include "dagverk/runtime/detail/program_barrier.hpp"

#include "dagverk/base/assert.hpp"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace dagverk::detail {

bool ProgramBarrier::available() noexcept {
  static const bool registered = ::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0;
  return registered;
}

void ProgramBarrier::heavy() noexcept {
  const long done = ::syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
  DAGVERK_ASSERT(done == 0);  // it was registered
}

}  // namespace dagverk::detail
