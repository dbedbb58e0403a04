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
  /// Reads the cycle counter after each turn of a process, so that `ProcessInfo::busy` is exact: 10 to 20 ns a turn.
  bool exact_busy_time = false;
  /// How long the destructor waits for processes to end in order before it kills them.
  Duration stop_timeout = std::chrono::seconds(30);
  /// How long `stop` waits, once that is over and the rest has been killed, before it leaves behind what does not
  /// return; the threads' own ends included.
  Duration kill_timeout = std::chrono::seconds(1);
  /// Where reports go; must outlive the runtime. Null: standard error, warnings and up.
  Logger* logger = nullptr;
};

/// What `Runtime::stop` had to leave behind.
struct StopReport {
  std::size_t killed = 0;          ///< processes that did not end within the limit and were killed
  std::vector<ProcessInfo> late;   ///< those, as they were before: what each handled, and for how long
  std::vector<ProcessInfo> stuck;  ///< those whose callback did not return even then
  std::size_t threads = 0;         ///< threads that did not come back and are left alone
  bool inside = false;             ///< `stop` was called by one of the runtime's own processes: nothing was done
  [[nodiscard]] bool clean() const noexcept { return killed == 0 && stuck.empty() && threads == 0 && !inside; }
};

/// For people, a line for each process that did not stop; `stopped in order` when there is none.
[[nodiscard]] std::string to_text(const StopReport& report);

/// Runs processes on a pool of threads that steal work from one another.
///
/// Semantics: a process moves between threads, never runs on two. A callback that keeps its thread for more than
///            `stuck_after` does not stop the others: a spare thread takes over, and the process is reported with what
///            it handles.
/// Threads:   creates `workers` threads and one watchdog; one more per blocking server and per lane.
/// Errors:    see RuntimeBase.
/// Lifetime:  the destructor stops it. Threads stuck in a callback cannot be ended: their memory stays valid, and a
///            program that has some should leave by `_exit` once it has flushed. A Pid or a reference that outlives it
///            reaches nobody, a call in flight gets `shutting_down`; only casts from other threads must not overlap the
///            destructor. A callback that calls `exit()` may destroy a runtime of static storage from inside: that
///            ends the other threads and leaves everything else alone. Prefer to return from `main`.
class Runtime final : public RuntimeBase {
 public:
  explicit Runtime(RuntimeOptions options = {});
  ~Runtime() override;

  /// Tells every process without a parent to shut down (supervisors their children, in order), waits at most `timeout`,
  /// kills what is left, and ends the threads; all that within `timeout` and `kill_timeout`, but for threads that find
  /// no core. What has to stop in an order belongs under a supervisor: processes without a parent are told at once.
  /// Idempotent; the first call's report is returned again. At most 1,000 processes are listed in it.
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

  [[nodiscard]] bool inside_own_process() const noexcept;
  void give_own_thread(detail::ProcessCore& core) override;
  void take_own_thread(detail::ProcessCore& core) noexcept override;
  void on_timer_armed(SteadyTime deadline) noexcept override;
  void on_process_gone() noexcept override;
  void list_running(std::vector<Running>& running) const override;
  [[nodiscard]] Duration busy_time(std::uint64_t cycles) const noexcept override;

  std::unique_ptr<detail::Scheduler> scheduler_;
  Duration stop_timeout_;
};

}  // namespace dagverk
