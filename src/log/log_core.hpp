#pragma once

#include "log/backend_state.hpp"
#include "log/line_stamps.hpp"
#include "log/record.hpp"
#include "log/thread_ring.hpp"

#include "dagverk/base/mutex.hpp"
#include "dagverk/log/log_pipeline.hpp"
#include "dagverk/runtime/supervisor.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace dagverk::detail {

/// What the pipeline, its callers and its processes share.
///
/// Threads: `write` from any; the rest behind a lock that no caller of `write` takes after its first line.
class LogCore {
 public:
  LogCore(RuntimeBase& runtime, LogOptions options);
  LogCore(const LogCore&) = delete;
  LogCore& operator=(const LogCore&) = delete;
  ~LogCore();

  // --- callers -------------------------------------------------------------------------------------------------------
  void write(const RecordContent& content) noexcept;

  // --- the collector -------------------------------------------------------------------------------------------------
  [[nodiscard]] std::uint64_t rings_generation() const noexcept { return rings_generation_.load(); }
  [[nodiscard]] std::vector<std::shared_ptr<ThreadRing>> rings() const;
  /// The owner has ended and everything is read: its figures are added to the pipeline's.
  void retire(const std::shared_ptr<ThreadRing>& ring);
  [[nodiscard]] std::vector<std::shared_ptr<BackendState>> backends() const;
  [[nodiscard]] std::uint64_t backends_generation() const noexcept { return backends_generation_.load(); }
  /// Lines that threads' buffers had no room for, so far.
  [[nodiscard]] std::uint64_t dropped_full() const;
  void set_collector(Pid pid);
  [[nodiscard]] Pid collector() const;

  /// The collector sleeps: the next line wakes it.
  std::atomic<bool> asleep{false};
  /// Counts the collector's looks: a thread whose buffer is full gives way once in each.
  std::atomic<std::uint64_t> looks{1};
  std::atomic<bool> crashing{false};    ///< a fatal signal: the pipeline's processes keep still
  std::atomic<bool> collecting{false};  ///< for the fatal-signal path

  // --- backends ------------------------------------------------------------------------------------------------------
  [[nodiscard]] Result<std::shared_ptr<BackendState>> add(BackendSpec spec);
  void remove(const BackendState& backend);
  [[nodiscard]] std::shared_ptr<BackendState> find(std::string_view name) const;
  /// Some backend's mode, severity or presence has changed: tells callers.
  void update_gate();
  void close() {
    closed_.store(true);
    update_gate();
  }
  [[nodiscard]] bool closed() const noexcept { return closed_.load(); }

  /// All but the backends' states.
  [[nodiscard]] LogStats stats() const;
  void write_out_after_crash() noexcept;

  [[nodiscard]] RuntimeBase& runtime() const noexcept { return runtime_; }
  [[nodiscard]] const LogOptions& options() const noexcept { return options_; }
  [[nodiscard]] LineStamps& stamps() noexcept { return stamps_; }
  [[nodiscard]] const std::atomic<std::uint8_t>& severity_min() const noexcept { return severity_min_; }

  SupervisorRef supervisor;  ///< set before anything runs

 private:
  void write_to(ThreadRing& ring, const RecordContent& content) noexcept;
  /// Null when there is still no room: the line is counted.
  [[nodiscard]] char* reserve_after_a_pause(ThreadRing& ring, std::uint32_t size) noexcept;
  [[nodiscard]] ThreadRing* ring_of_this_thread() noexcept;
  void count_lost_without_ring() noexcept { lost_without_ring_.fetch_add(1, std::memory_order_relaxed); }
  void wake_collector() noexcept;
  /// Makes the collector look now, also when it means to wait for the next poll.
  void urge_collector() noexcept;
  void wait_until_written() noexcept;
  void write_out(const BackendState& backend) noexcept DAGVERK_REQUIRES(mutex_);
  void write_out_line(const BackendState& backend, int descriptor, const char* record, Duration to_wall) noexcept;

  RuntimeBase& runtime_;
  const LogOptions options_;
  const std::uint64_t id_;
  LineStamps stamps_;
  std::atomic<std::uint8_t> severity_min_{log_severity_count};
  std::atomic<LogMode> gate_{LogMode::async};
  std::atomic<bool> closed_{false};
  std::atomic<std::uint64_t> rings_generation_{1};
  std::atomic<std::uint64_t> backends_generation_{1};
  std::atomic<std::uint64_t> lost_without_ring_{0};
  mutable Mutex mutex_;
  std::vector<std::shared_ptr<ThreadRing>> rings_ DAGVERK_GUARDED_BY(mutex_);       // with their threads
  std::vector<std::shared_ptr<BackendState>> backends_ DAGVERK_GUARDED_BY(mutex_);  // with their processes
  std::array<bool, log_backends_max> numbers_used_ DAGVERK_GUARDED_BY(mutex_){};
  Pid collector_ DAGVERK_GUARDED_BY(mutex_);
  LogStats retired_ DAGVERK_GUARDED_BY(mutex_);  // the figures of threads that have ended
  std::unique_ptr<char[]> crash_buffer_;
};

/// Room for one formatted line of the fatal-signal path.
inline constexpr std::size_t crash_buffer_bytes = 64 << 10;

}  // namespace dagverk::detail
