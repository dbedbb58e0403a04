#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/mutex.hpp"
#include "dagverk/runtime/detail/process_core.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

namespace dagverk::detail {

/// One armed timer: at `deadline`, `node` goes to `target`.
struct TimerEntry {
  std::atomic<std::uint32_t> sequence{0};  // even while the entry is spare
  std::atomic<SteadyTime::rep> deadline{0};
  std::uint64_t order = 0;  // of arming; equal deadlines fire in it
  Pid target;
  Node* node = nullptr;
  std::size_t position = 0;  // in the heap
};

/// The pending timers of a runtime, earliest first; equal deadlines in the order they were armed.
///
/// Threads: any.
/// Bounds:  entries are reused; memory is that of the most timers ever pending at once. Arming and cancelling cost
/// O(log n).
class TimerQueue {
 public:
  TimerQueue() = default;
  TimerQueue(const TimerQueue&) = delete;
  TimerQueue& operator=(const TimerQueue&) = delete;
  ~TimerQueue();

  [[nodiscard]] TimerSlot arm(SteadyTime deadline, Pid target, Node* node);
  /// The deadline it had, or nothing when it has fired or was cancelled.
  std::optional<SteadyTime> cancel(TimerSlot slot) noexcept;
  [[nodiscard]] std::optional<SteadyTime> next() const noexcept;

  struct Due {
    Pid target;
    Node* node;
  };
  /// Takes at most `limit` timers due at `now` into `due`, earliest first.
  void take_due(SteadyTime now, std::size_t limit, std::vector<Due>& due);

 private:
  static constexpr SteadyTime::rep no_deadline = INT64_MAX;

  [[nodiscard]] bool before(const TimerEntry& a, const TimerEntry& b) const noexcept;
  void place(TimerEntry* entry, std::size_t position) DAGVERK_REQUIRES(mutex_);
  void sift_up(std::size_t position) DAGVERK_REQUIRES(mutex_);
  void sift_down(std::size_t position) DAGVERK_REQUIRES(mutex_);
  void remove(TimerEntry* entry) DAGVERK_REQUIRES(mutex_);
  void publish_next() DAGVERK_REQUIRES(mutex_);

  mutable Mutex mutex_;
  std::vector<TimerEntry*> heap_ DAGVERK_GUARDED_BY(mutex_);
  std::vector<TimerEntry*> spare_ DAGVERK_GUARDED_BY(mutex_);
  std::deque<TimerEntry> entries_ DAGVERK_GUARDED_BY(mutex_);
  std::uint64_t next_order_ DAGVERK_GUARDED_BY(mutex_) = 0;
  std::atomic<SteadyTime::rep> next_deadline_{no_deadline};  // readable without the lock
};

}  // namespace dagverk::detail
