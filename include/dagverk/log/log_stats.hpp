#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/log/overload_rule.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dagverk {

/// Lines that a backend did not write, by reason.
struct LogDrops {
  std::uint64_t queue_full = 0;  ///< its bounded queue
  std::uint64_t overload = 0;    ///< drop or discard mode, behind the caller
  std::uint64_t flushed = 0;     ///< thrown away by flush mode or an overload kill
  std::uint64_t burst = 0;       ///< its burst limit
  std::uint64_t failed = 0;      ///< its file or far end did not take them
  std::uint64_t crashed = 0;     ///< in its hands when it crashed or was restarted by hand
  std::uint64_t own = 0;         ///< logged by the backend itself
  std::uint64_t down = 0;        ///< left over, or offered, when it was removed or given up

  [[nodiscard]] std::uint64_t total() const noexcept {
    return queue_full + overload + flushed + burst + failed + crashed + own + down;
  }
};

/// One backend at one moment. Always: offered == written + dropped.total() + queued.
struct BackendStats {
  std::string name = {};
  std::string state = {};  ///< running, restarting, failed, stopped, suspended
  LogMode mode = LogMode::async;
  std::uint64_t offered = 0;  ///< lines of its severities since it was added
  std::uint64_t written = 0;
  std::uint64_t queued = 0;  ///< waiting, and in its hands
  LogDrops dropped = {};
  std::uint64_t restarts = 0;
  std::string last_error = {};

  [[nodiscard]] bool balanced() const noexcept { return offered == written + dropped.total() + queued; }
};

/// The pipeline at one moment. When nobody logs meanwhile:
/// called == collected + dropped_full + dropped_by_mode + dropped_inside + buffered.
struct LogStats {
  std::uint64_t called = 0;           ///< log calls at or above the least severity that a backend wants
  std::uint64_t collected = 0;        ///< lines that reached the backends' queues, or were dropped there
  std::uint64_t buffered = 0;         ///< in threads' buffers
  std::uint64_t dropped_full = 0;     ///< the thread's buffer was full
  std::uint64_t dropped_by_mode = 0;  ///< at the caller: all backends were in drop mode, or the pipeline had stopped
  std::uint64_t dropped_inside = 0;   ///< logged by a backend while it wrote lines that came from a backend
  std::uint64_t threads = 0;          ///< that have a buffer
  std::vector<BackendStats> backends = {};  ///< in order of addition

  /// The backend called `name`; null when there is none.
  [[nodiscard]] const BackendStats* find(std::string_view name) const noexcept;
};

}  // namespace dagverk
