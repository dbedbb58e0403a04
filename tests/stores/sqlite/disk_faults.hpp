#pragma once

#include <atomic>
#include <cstdint>

/// What the disk does to this program. The test program defines the C library's write and sync functions itself, so
/// SQLite meets these faults where it would meet real ones. Threads: set on the
/// test's thread, while no store is at work.
namespace dagverk::disk_faults {

inline std::atomic<std::uint64_t> syncs = 0;   ///< fsync and fdatasync calls so far
inline std::atomic<std::uint64_t> writes = 0;  ///< pwrite calls so far

inline std::uint64_t fail_write_at = 0;  ///< the write with this number fails, and all after it until reset; 0: none
inline std::uint64_t fail_sync_at = 0;   ///< the sync with this number fails, once; 0: none
inline std::uint64_t kill_write_at = 0;  ///< at the write with this number the process is killed; 0: none
inline int write_error = 0;              ///< errno of failing writes

inline void reset() noexcept {
  syncs = writes = 0;
  fail_write_at = fail_sync_at = kill_write_at = 0;
}

}  // namespace dagverk::disk_faults
