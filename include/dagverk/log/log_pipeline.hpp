#pragma once

#include "dagverk/base/log.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/log/log_backend.hpp"
#include "dagverk/log/log_line.hpp"
#include "dagverk/log/log_stats.hpp"
#include "dagverk/log/log_value.hpp"
#include "dagverk/log/severity.hpp"
#include "dagverk/runtime/runtime_base.hpp"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace dagverk {

namespace detail {
class LogCore;
void write_line(LogCore& core, LogSeverity severity, std::string_view name, std::string_view text,
                std::span<const LogValue> fields, const LogSource& source) noexcept;
}  // namespace detail

inline constexpr std::size_t log_backends_max = 32;

struct LogOptions {
  /// Each thread that logs has a buffer of this size; full, its lines are dropped, counted. A power of two, 4 KiB to
  /// 1 GiB, and at least four times `line_bytes_max`.
  std::size_t thread_buffer_bytes = 256 << 10;
  /// Text and fields of one line; more is cut and marked. 64 B to 16 MiB. As Elixir's `truncate`.
  std::size_t line_bytes_max = 8096;
  /// How often buffers are looked at while lines come.
  Duration poll_interval = std::chrono::milliseconds(1);
  /// Without a line for this long, looking ends: the next line then pays for waking the collector (some µs). Zero: at
  /// once.
  Duration linger = std::chrono::milliseconds(50);
  /// The longest wait of a caller in sync mode.
  Duration sync_timeout = std::chrono::seconds(5);
};

/// Takes log lines from any thread and brings each to supervised backends, without making callers wait.
///
/// Semantics: a line is copied into the calling thread's own buffer; a collector merges the buffers by time and hands
///            blocks of lines to the backends' queues. A backend that stalls, crashes or is hung costs the others
///            nothing. Lines of one thread keep their order; a line that another one caused comes after it.
/// Threads:   logging from any thread or process, several at once, also from inside a backend. The rest blocks, outside
///            of processes (`wrong_thread` inside one).
/// Errors:    logging never fails or throws: what cannot be kept is counted, see LogStats. Backend names: `not_found`.
/// Lifetime:  borrows the runtime; outlives every front, sink and thread that logs. The destructor stops it.
/// Bounds:    a log call copies at most `line_bytes_max`. It waits in mode `sync` alone (`sync_timeout` at most), never
///            inside a process; and about 0.1 ms when its thread's buffer is full, once for each look of the collector.
///            Memory: a buffer per thread and a queue per backend.
class LogPipeline {
 public:
  /// Errors: `configuration`, naming the field.
  [[nodiscard]] static Result<std::unique_ptr<LogPipeline>> start(RuntimeBase& runtime, LogOptions options = {});

  LogPipeline(const LogPipeline&) = delete;
  LogPipeline& operator=(const LogPipeline&) = delete;
  ~LogPipeline();

  // --- logging: usually through `Log`, a spdlog sink or a `Logger` ---------------------------------------------------

  /// Whether any backend wants lines of this severity. One relaxed load.
  [[nodiscard]] bool wants(LogSeverity severity) const noexcept {
    return static_cast<std::uint8_t>(severity) >= severity_min_->load(std::memory_order_relaxed);
  }
  /// Logs a line. `text` is an event's name or a message.
  void write(LogSeverity severity, std::string_view name, std::string_view text, std::span<const LogValue> fields = {},
             const LogSource& source = {}) noexcept {
    if (wants(severity)) detail::write_line(*core_, severity, name, text, fields, source);
  }
  /// The interface that the runtime and the jobs log to. Lives as long as the pipeline.
  [[nodiscard]] Logger& logger() noexcept;

  // --- backends ------------------------------------------------------------------------------------------------------

  /// Adds a backend; done when it is open. Errors: `already_exists`, `configuration` (rule, name), `refused`
  /// (`log_backends_max`), `exited` with its own words when it did not open; it is then not added.
  [[nodiscard]] Result<void> add_backend(BackendSpec spec);
  /// Lets it write what waits for it, at most `limit`, and ends it. Its last figures.
  [[nodiscard]] Result<BackendStats> remove_backend(std::string_view name, Duration limit = std::chrono::seconds(5));
  /// Starts a failed or stopped backend again, and a hung one anew.
  [[nodiscard]] Result<void> restart_backend(std::string_view name);
  /// Lets its lines wait (under its overload rule) until `resume_backend`.
  [[nodiscard]] Result<void> suspend_backend(std::string_view name);
  [[nodiscard]] Result<void> resume_backend(std::string_view name);
  [[nodiscard]] Result<void> set_severity_min(std::string_view name, LogSeverity severity);
  [[nodiscard]] std::vector<std::string> which_backends() const;

  /// Returns when every backend has settled what was logged before. Errors: `timeout`.
  [[nodiscard]] Result<void> flush(Duration limit = std::chrono::seconds(5));
  /// Every backend opens its file anew, soon: what a program does on SIGHUP. A failure counts as a crash. Any thread.
  void reopen() noexcept;
  [[nodiscard]] LogStats stats() const;
  /// Takes no more lines, lets backends write what waits, at most `limit`, and ends them. Idempotent. `timeout` when
  /// lines were left; they are counted as `down`.
  Result<void> stop(Duration limit = std::chrono::seconds(5));

  /// Writes what is queued to the backends' files, for a program's handler of SIGSEGV, SIGABRT and the like.
  ///
  /// Semantics: collecting ends; waits up to 100 ms for batches that are being written, then writes what waits in
  ///            queues and threads' buffers to the backends that have a `crash_descriptor`. A batch that was in the
  ///            hands of a backend may appear twice. The program should end afterwards: logging does not go on.
  /// Threads:   async-signal-safe; once.
  void write_out_after_crash() noexcept;

 private:
  class LoggerOfPipeline;

  explicit LogPipeline(std::shared_ptr<detail::LogCore> core);

  const std::atomic<std::uint8_t>* severity_min_;
  std::shared_ptr<detail::LogCore> core_;  // with the collector and the backends' processes
  std::unique_ptr<LoggerOfPipeline> logger_;
};

}  // namespace dagverk
