#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/error.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/log/line_format.hpp"
#include "dagverk/log/log_line.hpp"
#include "dagverk/log/overload_rule.hpp"
#include "dagverk/log/severity.hpp"
#include "dagverk/runtime/child_spec.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace dagverk {

/// Lines for a backend, oldest first.
///
/// Lifetime: as long as the call of `write`.
class LogBatch {
 public:
  LogBatch(std::vector<const char*> records, Duration to_wall, const LineFormat& format) noexcept
      : records_(std::move(records)), to_wall_(to_wall), format_(&format) {}

  [[nodiscard]] std::size_t size() const noexcept { return records_.size(); }
  [[nodiscard]] LogLine operator[](std::size_t index) const noexcept;
  /// Appends the line in the backend's format, without a newline.
  void format(const LogLine& line, std::string& out) const { format_->append(line, out); }

 private:
  std::vector<const char*> records_;
  Duration to_wall_;
  const LineFormat* format_;
};

/// What a backend did with a batch: how many lines it wrote; the others are lost and counted as `failed`.
struct WriteOutcome {
  std::size_t written = 0;
  std::optional<Error> error = {};
};

/// Where lines go. Implement it for a far end of your own.
///
/// Semantics: made anew for each start. An exception out of any function, and a failed `open`, crash this one alone: it
///            is started again under its restart policy; the batch in hand is counted as `crashed`, what waits is
///            kept. What it logs itself never comes back to it.
/// Threads:   all functions run on a thread of its own, where they may block; the object needs no locks.
class LogBackend {
 public:
  LogBackend() = default;
  LogBackend(const LogBackend&) = delete;
  LogBackend& operator=(const LogBackend&) = delete;
  virtual ~LogBackend() = default;

  /// Before the first line. Errors: reach `add_backend`, or count as a crash.
  [[nodiscard]] virtual Result<void> open() { return {}; }
  [[nodiscard]] virtual WriteOutcome write(const LogBatch& batch) = 0;
  /// Nothing waits any more, for now: the moment for what a backend buffers itself.
  virtual void flush() {}
  /// The last call, when the backend ends in order.
  virtual void finish() {}
  /// Opens its file anew, under its name: after a log rotator has moved it away.
  [[nodiscard]] virtual Result<void> reopen() { return {}; }
  /// More than zero: `tick` is called this often.
  [[nodiscard]] virtual Duration tick_interval() const noexcept { return Duration::zero(); }
  virtual void tick(SteadyTime /*now*/) {}
  /// Where `write_out_after_crash` may write text; -1: nowhere.
  [[nodiscard]] virtual int crash_descriptor() const noexcept { return -1; }
};

/// A backend to add to a pipeline.
struct BackendSpec {
  std::string name = {};  ///< its identity; two of one kind have two names
  std::function<std::unique_ptr<LogBackend>()> make = {};
  LogSeverity severity_min = LogSeverity::trace;  ///< lines below are not for it
  LineFormat format = {};
  OverloadRule overload = BoundedQueue{};
  /// Waits between restarts, and how many are too many: the backend is then *failed* until it is restarted by hand.
  RestartBackoff backoff = {.initial = std::chrono::milliseconds(50), .max = std::chrono::seconds(30)};
  RestartLimit restarts = {.max_restarts = 10, .window = std::chrono::seconds(60)};
  /// Processes that it needs, started before it and stopped after it.
  std::vector<ChildSpec> companions = {};
  /// Called when it and its companions have ended for good, however they ended.
  std::function<void()> ended = {};
};

/// The spec of a backend `Backend(args…)` called `name`. The arguments are copied for each start.
template <class Backend, class... Args>
[[nodiscard]] BackendSpec log_backend(std::string name, const Args&... args) {
  BackendSpec spec;
  spec.name = std::move(name);
  spec.make = [args...]() -> std::unique_ptr<LogBackend> { return std::make_unique<Backend>(args...); };
  return spec;
}

}  // namespace dagverk
