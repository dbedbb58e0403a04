#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/log.hpp"
#include "dagverk/runtime/runtime_base.hpp"

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

namespace dagverk {

namespace detail {
class Scheduler;
}  // namespace detail

struct RuntimeOptions {
  /// Threads that run processes. 0: one per core.
  unsigned workers = 0;
  /// Threads that may be added while others are stuck in callbacks; also the most threads of that kind there will ever
  /// be.
  unsigned spare_workers_max = 16;
  /// A callback that keeps its thread for longer is reported and its thread replaced by a spare one.
  Duration stuck_after = std::chrono::milliseconds(100);
  /// How long the destructor waits for processes to end in order before it kills them.
  Duration stop_timeout = std::chrono::seconds(30);
  /// Where reports go; must outlive the runtime. Null: standard error, warnings and up.
  Logger* logger = nullptr;
};

/// What `Runtime::stop` had to leave behind.
struct StopReport {
  std::size_t killed = 0;          ///< processes that did not end within the limit and were killed
  std::vector<std::string> stuck;  ///< processes whose callback does not return, with what they handle
  [[nodiscard]] bool clean() const noexcept { return killed == 0 && stuck.empty(); }
};

/// Runs processes on a pool of threads that steal work from one another.
///
/// Semantics: a process moves between threads, never runs on two. A callback that keeps its thread for more than
///            `stuck_after` does not stop the others: a spare thread takes over, and the process is reported with what
///            it handles.
/// Threads:   creates `workers` threads and one watchdog; one more per blocking server and per lane.
/// Errors:    see RuntimeBase.
/// Lifetime:  the destructor stops it. Threads stuck in a callback cannot be ended: their memory stays valid, and a
///            program that has some should leave by `_exit` once it has flushed.
class Runtime final : public RuntimeBase {
 public:
  explicit Runtime(RuntimeOptions options = {});
  ~Runtime() override;

  /// Tells every process without a parent to shut down (supervisors their children, in order), waits at most `timeout`,
  /// kills what is left, and ends the threads. Idempotent; the first call's report is returned again.
  StopReport stop(Duration timeout);
  using RuntimeBase::stop;  // of one process

  /// How often a callback was found to keep its thread too long.
  [[nodiscard]] std::uint64_t stuck_count() const noexcept;
  [[nodiscard]] unsigned worker_count() const noexcept;

  [[nodiscard]] bool stopped() const noexcept override;
  [[nodiscard]] std::unique_ptr<ExternalLane> open_lane(std::string name,
                                                        std::move_only_function<void()> work) override;
  void make_ready(detail::ProcessCore& core) noexcept override;
  [[nodiscard]] Result<void> block_on(detail::BlockingWaiter& waiter, Duration timeout) override;

 private:
  friend class detail::Scheduler;

  void give_own_thread(detail::ProcessCore& core) override;
  void take_own_thread(detail::ProcessCore& core) noexcept override;
  void on_timer_armed(SteadyTime deadline) noexcept override;
  void on_process_gone() noexcept override;

  std::unique_ptr<detail::Scheduler> scheduler_;
  Duration stop_timeout_;
};

}  // namespace dagverk
