#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/mutex.hpp"
#include "dagverk/runtime/external_lane.hpp"
#include "dagverk/runtime/runtime_base.hpp"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

namespace dagverk::jobs {

/// The threads on which one pool's `thread` jobs run: never more at once than the limit.
///
/// Semantics: a task waits for a free thread, in order of submission. One thread is woken at a time, and wakes the next
///            when it finds more work than its own. While tasks are so short that a wake-up costs more than they do,
///            the next one only looks on, and works when no task has begun for a fifth of a millisecond: a burst of
///            short tasks costs few wake-ups, and a long one among them holds up the others for no longer than that.
///            It goes on looking for a few milliseconds, for the next burst.
///            A task's listener is told when the task has ended; of several short ones in a row, once after the last,
///            but never later than the one that looks on finds a fifth of a millisecond gone by.
///            On the deterministic runtime a thread is a lane: its tasks run at moments drawn from the seed.
/// Threads:   all operations from any thread. Tasks run without a lock held and outside of any process, so they may use
///            blocking calls.
/// Errors:    tasks must not throw.
/// Bounds:    the pool submits at most as many tasks as it runs jobs.
/// Lifetime:  `stop` before the runtime goes.
class JobThreads {
 public:
  /// Whom the ends of tasks concern.
  class Listener {
   public:
    Listener() = default;
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;
    virtual ~Listener() = default;

    /// Some of its tasks have ended. From any thread, perhaps with a lock held: it does not call back.
    virtual void tasks_ended() noexcept = 0;
  };
  struct Task {
    std::move_only_function<void()> run;
    std::shared_ptr<Listener> listener = nullptr;  ///< null: nobody; shared by its tasks
  };

  [[nodiscard]] static std::shared_ptr<JobThreads> open(RuntimeBase& runtime, std::size_t limit);
  JobThreads(const JobThreads&) = delete;
  JobThreads& operator=(const JobThreads&) = delete;
  ~JobThreads() = default;

  void submit(Task task);
  /// All at once: a burst wakes a thread once.
  void submit(std::vector<Task> tasks);

  /// More threads start at once; fewer means that as many end their task and then rest.
  void resize(RuntimeBase& runtime, std::size_t limit);

  /// Waits at most `limit` of the system's time for running tasks, and ends the threads. Returns how many tasks still
  /// run: their threads are given up, and what they hold stays. Tasks that have not begun are dropped.
  std::size_t stop(Duration limit);

 private:
  // Shared with the lanes, which may outlive the pool when a task never returns.
  struct State {
    Mutex mutex;
    Condition changed;
    std::deque<Task> tasks DAGVERK_GUARDED_BY(mutex);
    std::vector<std::unique_ptr<ExternalLane>> threads DAGVERK_GUARDED_BY(mutex);
    std::vector<std::size_t> resting DAGVERK_GUARDED_BY(mutex);  // indices of threads; the last rested last
    std::size_t limit DAGVERK_GUARDED_BY(mutex) = 0;
    std::size_t awake DAGVERK_GUARDED_BY(mutex) = 0;                            // woken or at work
    std::size_t waking DAGVERK_GUARDED_BY(mutex) = 0;                           // woken, not yet at work
    std::uint64_t begun DAGVERK_GUARDED_BY(mutex) = 0;                          // tasks, ever
    Duration typical DAGVERK_GUARDED_BY(mutex) = std::chrono::milliseconds(1);  // time of a task, by the latest ones
    Condition called;                                                           // the one that looks on is wanted
    std::atomic<int> ringing{0};                                                // lanes that somebody is about to ring
    bool looking_on DAGVERK_GUARDED_BY(mutex) = false;                          // an awake thread does
    std::shared_ptr<Listener> untold DAGVERK_GUARDED_BY(mutex);                 // tasks of it have ended
    bool stopping DAGVERK_GUARDED_BY(mutex) = false;
    bool real_threads = true;  // constant once opened
  };

  JobThreads() : state_(std::make_shared<State>()) {}

  /// The lane that is to be rung, by `ring`, once the mutex is free: whoever is woken wants it.
  [[nodiscard]] static ExternalLane* next_to_wake(State& state) DAGVERK_REQUIRES(state.mutex);
  static void ring(State& state, ExternalLane* lane);
  static void look_on(State& state) DAGVERK_REQUIRES(state.mutex);
  static void tell(State& state) DAGVERK_REQUIRES(state.mutex);
  static void work(State& state, std::size_t index);

  std::shared_ptr<State> state_;
};

}  // namespace dagverk::jobs
