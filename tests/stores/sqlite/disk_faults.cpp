#include "stores/sqlite/disk_faults.hpp"

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

namespace faults = dagverk::disk_faults;

namespace {

int sync_or_fail(long call, int file) noexcept {
  if (++faults::syncs == faults::fail_sync_at) {
    errno = EIO;
    return -1;
  }
  return static_cast<int>(::syscall(call, file));
}

ssize_t write_or_fail(int file, const void* bytes, std::size_t count, off_t offset) noexcept {
  if (++faults::writes == faults::kill_write_at) ::raise(SIGKILL);
  if (faults::fail_write_at != 0 && faults::writes >= faults::fail_write_at) {
    errno = faults::write_error;
    return -1;
  }
  return ::syscall(SYS_pwrite64, file, bytes, count, offset);
}

}  // namespace

// The dynamic linker finds these before the C library's.
extern "C" {
int fsync(int file) { return sync_or_fail(SYS_fsync, file); }
int fdatasync(int file) { return sync_or_fail(SYS_fdatasync, file); }
ssize_t pwrite(int file, const void* bytes, std::size_t count, off_t offset) {
  return write_or_fail(file, bytes, count, offset);
}
ssize_t pwrite64(int file, const void* bytes, std::size_t count, off_t offset) {
  return write_or_fail(file, bytes, count, offset);
}
}
