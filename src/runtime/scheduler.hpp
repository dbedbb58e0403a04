#pragma once

#include "busy_meter.hpp"
#include "parker.hpp"
#include "process_table.hpp"
#include "run_queue.hpp"

#include "dagverk/base/mutex.hpp"
#include "dagverk/runtime/runtime.hpp"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace dagverk::detail {

/// A thread of its own for servers that block; keeps serving new ones when its server has ended.
class BlockingHost {
 public:
  BlockingHost() = default;
  BlockingHost(const BlockingHost&) = delete;
  BlockingHost& operator=(const BlockingHost&) = delete;
  ~BlockingHost() = default;

  void make_ready(ProcessCore& core) noexcept;

 private:
  friend class Scheduler;

  Mutex mutex_;
  Condition changed_;
  std::deque<ProcessCore*> ready_ DAGVERK_GUARDED_BY(mutex_);
  bool stopping_ DAGVERK_GUARDED_BY(mutex_) = false;
  std::atomic<bool> left_{false};  // the thread has ended
  bool serves_ = false;            // guarded by the scheduler's hosts mutex
  std::atomic<ProcessCore*> running_{nullptr};
  std::atomic<std::uint64_t> began_ms_{0};  // when it took that one, on the coarse clock
  std::thread thread_;
};

/// The threads of a Runtime: who runs what, who steals, who sleeps, who has been stuck for too long.
///
/// A process that becomes ready goes to the run-next slot of the worker that made it ready (whose cache has what it
/// needs) or, from outside, to the shared list. Workers run their own; a worker without work becomes the one searcher,
/// spins for a while, and takes what has waited too long elsewhere; then it parks. Waking costs some 35 µs here, so
/// surplus work wakes somebody rarely.
class Scheduler {
 public:
  Scheduler(Runtime& runtime, const RuntimeOptions& options);
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;
  ~Scheduler();

  void make_ready(ProcessCore& core) noexcept;
  [[nodiscard]] Result<void> block_on(BlockingWaiter& waiter, Duration timeout) noexcept;
  void give_own_thread(ProcessCore& core);
  void take_own_thread(ProcessCore& core) noexcept;
  void timer_armed(SteadyTime deadline) noexcept;
  void process_gone() noexcept;

  StopReport stop(Duration timeout);
  /// The runtime is destroyed by one of its own processes, on whose thread we are: ends the others. Nobody is told.
  void leave_from_inside();
  [[nodiscard]] bool stopped() const noexcept { return stopping_.load(std::memory_order_relaxed); }
  [[nodiscard]] bool threads_stuck() const noexcept { return threads_stuck_; }
  /// The runtime is about to be destroyed although threads are stuck: should they return, they must not touch it.
  void abandon() noexcept { abandoned_.store(true, std::memory_order_release); }
  [[nodiscard]] std::uint64_t stuck_count() const noexcept { return stuck_count_.load(std::memory_order_relaxed); }
  [[nodiscard]] unsigned worker_count() const noexcept { return workers_wanted_; }
  void list_running(std::vector<Runtime::Running>& running);

 private:
  struct Worker;
  struct Slice;

  void run_worker(Worker& self);
  void run_host(BlockingHost& host);
  void run_watchdog();
  void run_one(Worker& self, ProcessCore& core);
  [[nodiscard]] ProcessCore* next_local(Worker& self) noexcept;
  [[nodiscard]] ProcessCore* take_shared(Worker& self) noexcept;
  [[nodiscard]] ProcessCore* search(Worker& self);
  [[nodiscard]] ProcessCore* steal(Worker& self, Worker& victim) noexcept;
  void push_local(Worker& self, ProcessCore* core) noexcept;
  void push_shared(ProcessCore* first, ProcessCore* last, std::uint32_t count) noexcept;
  void park(Worker& self);
  [[nodiscard]] bool work_to_take(const Worker& self) const noexcept;
  void wake_one() noexcept;
  void wake_for_surplus(const Worker& self) noexcept;
  void look_at_timers(Worker& self) noexcept;
  void fire_due_timers() noexcept;
  static bool should_yield(void* slice, std::uint32_t found);
  void look_for_stuck();
  void thread_left(std::atomic<bool>& left) noexcept;
  /// Waits until no process is left. False when `deadline` has passed.
  [[nodiscard]] bool wait_until_none(SteadyTime deadline, bool orderly);
  /// Ends the threads, waiting for all until `deadline`. How many did not come back; they are left alone.
  std::size_t end_threads(SteadyTime deadline);
  [[nodiscard]] std::vector<ProcessInfo> still_there() const;
  void start_spare();
  [[nodiscard]] bool retire_if_surplus() noexcept;

  Runtime& runtime_;
  const RuntimeOptions options_;
  const unsigned workers_wanted_;
  const std::uint64_t slice_cycles_;
  const std::uint64_t steal_age_cycles_;
  const std::uint64_t spin_cycles_;
  const std::uint64_t yield_cycles_;
  const std::uint64_t surplus_wake_cycles_;
  const std::uint64_t timer_look_cycles_;

  // Slots for all workers there may ever be; only the first `worker_slots_` are in use.
  std::vector<std::unique_ptr<Worker>> workers_;
  std::atomic<unsigned> worker_slots_{0};
  std::atomic<int> surplus_workers_{0};  // spares that are not needed any more; idle workers retire

  Mutex shared_mutex_;
  ProcessCore* shared_first_ DAGVERK_GUARDED_BY(shared_mutex_) = nullptr;
  ProcessCore* shared_last_ DAGVERK_GUARDED_BY(shared_mutex_) = nullptr;
  alignas(64) std::atomic<std::uint32_t> shared_count_{0};

  alignas(64) std::atomic<int> parked_{0};
  std::atomic<int> awake_{0};
  std::atomic<int> searching_{0};
  std::atomic<std::uint64_t> last_surplus_wake_{0};
  std::atomic<bool> stopping_{false};
  std::atomic<bool> abandoned_{false};

  Mutex hosts_mutex_;
  std::vector<std::unique_ptr<BlockingHost>> hosts_ DAGVERK_GUARDED_BY(hosts_mutex_);

  Parker watchdog_parker_;
  std::thread watchdog_;
  std::atomic<std::uint64_t> stuck_count_{0};

  Mutex stopper_mutex_;  // held by whoever stops, before all others
  Mutex stop_mutex_;
  Condition stop_changed_;  // a process or a thread has ended
  bool stopped_ = false;
  bool threads_stuck_ = false;
  StopReport report_;
};

}  // namespace dagverk::detail
