#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/result.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>

namespace dagverk {

/// A bounded queue that never makes a caller wait: what does not fit is dropped, counted, and told of afterwards.
struct BoundedQueue {
  std::size_t lines_max = 100'000;   ///< 1 or more
  std::size_t bytes_max = 32 << 20;  ///< of the blocks that hold them; more than a block
  /// Full: true drops the oldest line that waits, false the new one.
  bool keep_newest = false;
};

/// The Erlang logger's overload protection (logger_olp), field for field. Lengths are lines in this backend's queue.
///
/// Semantics: the queue's length sets a mode that callers read: *async* they go on; *sync* they wait until their line
///            is written; *drop* they send nothing. A queue of `flush_qlen` is thrown away, 5,000 lines at a time. At
///            most `burst_limit_max_count` lines are written in a window. Each loss is counted, and entering and
///            leaving drop, and a flush, write a notice. Differences: docs/reference/log.md.
struct OverloadProtection {
  std::size_t sync_mode_qlen = 10;
  std::size_t drop_mode_qlen = 200;
  std::size_t flush_qlen = 1000;
  bool burst_limit_enable = true;
  std::size_t burst_limit_max_count = 500;
  Duration burst_limit_window_time = std::chrono::milliseconds(1000);
  bool overload_kill_enable = false;
  std::size_t overload_kill_qlen = 20'000;
  std::size_t overload_kill_mem_size = 3'000'000;  ///< bytes
  /// Nothing: not started again by itself.
  std::optional<Duration> overload_kill_restart_after = std::chrono::milliseconds(5000);
};

/// Elixir's Logger: callers wait from `sync_threshold` queued lines on; from `discard_threshold` on they lose.
///
/// Semantics: entering discard writes one warning; whether it has been left is looked at every `periodic_check`, which
///            writes the second one (or repeats the first).
struct DiscardThresholds {
  std::size_t sync_threshold = 20;
  std::size_t discard_threshold = 500;  ///< not below sync_threshold, 1 or more
  Duration periodic_check = std::chrono::milliseconds(30'000);
};

/// What happens when lines come faster than a backend writes. One per backend; a bounded queue by default.
using OverloadRule = std::variant<BoundedQueue, OverloadProtection, DiscardThresholds>;

/// Errors: `configuration`, beginning with `invalid_olp_levels` or `invalid_olp_config` for OverloadProtection.
[[nodiscard]] Result<void> check(const OverloadRule& rule);

/// What a caller does for a backend.
enum class LogMode : std::uint8_t {
  async,  ///< goes on
  sync,   ///< waits until its line is written
  drop,   ///< sends nothing
};

[[nodiscard]] std::string_view to_string(LogMode mode) noexcept;

}  // namespace dagverk
