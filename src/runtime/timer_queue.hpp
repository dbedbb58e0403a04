#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/mutex.hpp"
#include "dagverk/runtime/detail/process_core.hpp"

#include <array>
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
  std::uint32_t place = 0;                 // in_heap, or the slot of the wheel: level * slots + slot
  std::atomic<SteadyTime::rep> deadline{0};
  std::uint64_t order = 0;  // of arming; equal deadlines fire in it
  Pid target;
  Node* node = nullptr;
  // In a slot of the wheel: the neighbours. In the heap: `position`.
  TimerEntry* next = nullptr;
  TimerEntry* previous = nullptr;
  std::size_t position = 0;
};

/// The pending timers of a runtime, earliest first; equal deadlines in the order they were armed.
///
/// Semantics: a hierarchical wheel of ticks for what is far off, and a heap for what falls into the current tick or
///            earlier, so that the order is exact. Arming and cancelling are O(1), a timer moves down at most once per
///            level on its way.
/// Threads:   any.
/// Bounds:    entries are reused; memory is that of the most timers ever pending at once.
class TimerQueue {
 public:
  explicit TimerQueue(SteadyTime now);
  TimerQueue(const TimerQueue&) = delete;
  TimerQueue& operator=(const TimerQueue&) = delete;
  ~TimerQueue();

  [[nodiscard]] TimerSlot arm(SteadyTime deadline, Pid target, Node* node);
  /// The deadline it had, or nothing when it has fired or was cancelled.
  std::optional<SteadyTime> cancel(TimerSlot slot) noexcept;
  /// True while `slot` is neither fired nor cancelled.
  [[nodiscard]] static bool armed(TimerSlot slot) noexcept {
    return slot.entry != nullptr && slot.entry->sequence.load(std::memory_order_relaxed) == slot.sequence;
  }
  /// No timer is due before this instant; it may be up to one turn of a wheel early. Nothing when no timer is pending.
  [[nodiscard]] std::optional<SteadyTime> next() const noexcept;

  struct Due {
    Pid target;
    Node* node;
  };
  /// Takes at most `limit` timers due at `now` into `due`, earliest first.
  void take_due(SteadyTime now, std::size_t limit, std::vector<Due>& due);

 private:
  using Tick = std::uint64_t;
  static constexpr unsigned tick_bits = 16;  // 65.5 µs
  static constexpr unsigned slot_bits = 6;
  static constexpr unsigned slots = 1U << slot_bits;
  static constexpr unsigned levels = (64 - tick_bits + slot_bits - 1) / slot_bits;
  static constexpr std::uint32_t in_heap = UINT32_MAX;
  static constexpr SteadyTime::rep no_deadline = INT64_MAX;

  struct Occupied {
    unsigned level;
    unsigned slot;
    Tick begin;
  };

  [[nodiscard]] static Tick tick_of(SteadyTime::rep time) noexcept;
  [[nodiscard]] static bool before(const TimerEntry& a, const TimerEntry& b) noexcept;
  void insert(TimerEntry* entry) DAGVERK_REQUIRES(mutex_);
  void take_out(TimerEntry* entry) DAGVERK_REQUIRES(mutex_);
  void make_spare(TimerEntry* entry) DAGVERK_REQUIRES(mutex_);
  [[nodiscard]] std::optional<Occupied> first_occupied() const DAGVERK_REQUIRES(mutex_);
  void advance_to(Tick now) DAGVERK_REQUIRES(mutex_);
  void publish_next() DAGVERK_REQUIRES(mutex_);

  void heap_place(TimerEntry* entry, std::size_t position) DAGVERK_REQUIRES(mutex_);
  void sift_up(std::size_t position) DAGVERK_REQUIRES(mutex_);
  void sift_down(std::size_t position) DAGVERK_REQUIRES(mutex_);

  mutable Mutex mutex_;
  Tick now_ DAGVERK_GUARDED_BY(mutex_);  // everything up to this tick is in the heap
  std::array<std::uint64_t, levels> occupied_ DAGVERK_GUARDED_BY(mutex_){};  // per level, a bit per slot
  std::array<TimerEntry*, std::size_t{levels} * slots> wheel_ DAGVERK_GUARDED_BY(mutex_){};
  std::vector<TimerEntry*> heap_ DAGVERK_GUARDED_BY(mutex_);
  std::vector<TimerEntry*> spare_ DAGVERK_GUARDED_BY(mutex_);
  std::deque<TimerEntry> entries_ DAGVERK_GUARDED_BY(mutex_);
  std::uint64_t next_order_ DAGVERK_GUARDED_BY(mutex_) = 0;
  std::atomic<SteadyTime::rep> next_deadline_{no_deadline};  // readable without the lock
};

}  // namespace dagverk::detail
