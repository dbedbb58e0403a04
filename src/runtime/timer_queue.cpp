#include "timer_queue.hpp"

#include "dagverk/base/assert.hpp"

#include <algorithm>
#include <bit>
#include <utility>

namespace dagverk::detail {

TimerQueue::TimerQueue(SteadyTime now) : now_(tick_of(now.time_since_epoch().count())) {}

TimerQueue::~TimerQueue() {
  MutexLock lock(mutex_);
  for (TimerEntry& entry : entries_) {
    if (entry.node != nullptr) entry.node->ops->discard(entry.node, ExitReason::noproc);
  }
}

TimerQueue::Tick TimerQueue::tick_of(SteadyTime::rep time) noexcept {
  return static_cast<Tick>(std::max<SteadyTime::rep>(time, 0)) >> tick_bits;
}

bool TimerQueue::before(const TimerEntry& a, const TimerEntry& b) noexcept {
  const auto a_deadline = a.deadline.load(std::memory_order_relaxed);
  const auto b_deadline = b.deadline.load(std::memory_order_relaxed);
  return a_deadline != b_deadline ? a_deadline < b_deadline : a.order < b.order;
}

// ---- the heap of the current tick ----------------------------------------------------------------------------------

void TimerQueue::heap_place(TimerEntry* entry, std::size_t position) {
  heap_[position] = entry;
  entry->position = position;
}

void TimerQueue::sift_up(std::size_t position) {
  TimerEntry* entry = heap_[position];
  while (position > 0) {
    const std::size_t parent = (position - 1) / 2;
    if (!before(*entry, *heap_[parent])) break;
    heap_place(heap_[parent], position);
    position = parent;
  }
  heap_place(entry, position);
}

void TimerQueue::sift_down(std::size_t position) {
  TimerEntry* entry = heap_[position];
  for (;;) {
    std::size_t child = 2 * position + 1;
    if (child >= heap_.size()) break;
    if (child + 1 < heap_.size() && before(*heap_[child + 1], *heap_[child])) ++child;
    if (!before(*heap_[child], *entry)) break;
    heap_place(heap_[child], position);
    position = child;
  }
  heap_place(entry, position);
}

// ---- the wheel -----------------------------------------------------------------------------------------------------

void TimerQueue::insert(TimerEntry* entry) {
  const Tick tick = tick_of(entry->deadline.load(std::memory_order_relaxed));
  if (tick <= now_) {
    entry->place = in_heap;
    heap_.push_back(entry);
    sift_up(heap_.size() - 1);
    return;
  }
  // The level is that of the highest digit in which the deadline differs from now; below it, every digit is still to
  // come.
  const auto level = static_cast<unsigned>(63 - std::countl_zero(tick ^ now_)) / slot_bits;
  const auto slot = static_cast<unsigned>(tick >> (level * slot_bits)) & (slots - 1);
  entry->place = level * slots + slot;
  TimerEntry*& first = wheel_[entry->place];
  entry->previous = nullptr;
  entry->next = first;
  if (first != nullptr) first->previous = entry;
  first = entry;
  occupied_[level] |= std::uint64_t{1} << slot;
}

void TimerQueue::take_out(TimerEntry* entry) {
  if (entry->place == in_heap) {
    const std::size_t position = entry->position;
    TimerEntry* last = heap_.back();
    heap_.pop_back();
    if (last != entry) {
      heap_place(last, position);
      sift_up(position);
      sift_down(last->position);
    }
    return;
  }
  if (entry->next != nullptr) entry->next->previous = entry->previous;
  if (entry->previous != nullptr) {
    entry->previous->next = entry->next;
    return;
  }
  wheel_[entry->place] = entry->next;
  if (entry->next == nullptr) {
    occupied_[entry->place / slots] &= ~(std::uint64_t{1} << (entry->place % slots));
  }
}

std::optional<TimerQueue::Occupied> TimerQueue::first_occupied() const {
  for (unsigned level = 0; level < levels; ++level) {
    if (occupied_[level] == 0) continue;
    // A level holds only slots after now's own, within now's slot of the level above: the lowest bit is the next to
    // come, and every slot of a higher level comes later.
    const auto slot = static_cast<unsigned>(std::countr_zero(occupied_[level]));
    const unsigned shift = level * slot_bits;
    const unsigned above = shift + slot_bits;
    const Tick block = above >= 64 ? 0 : (now_ >> above) << above;
    return Occupied{level, slot, block | (Tick{slot} << shift)};
  }
  return std::nullopt;
}

void TimerQueue::advance_to(Tick now) {
  for (;;) {
    const std::optional<Occupied> next = first_occupied();
    if (!next || next->begin > now) break;
    DAGVERK_ASSERT(next->begin > now_);
    now_ = next->begin;
    TimerEntry* entry = std::exchange(wheel_[next->level * slots + next->slot], nullptr);
    occupied_[next->level] &= ~(std::uint64_t{1} << next->slot);
    while (entry != nullptr) {
      TimerEntry* after = entry->next;
      insert(entry);  // into the heap, or at a lower level
      entry = after;
    }
  }
  now_ = std::max(now_, now);
}

void TimerQueue::publish_next() {
  SteadyTime::rep next = no_deadline;
  if (!heap_.empty()) {
    next = heap_.front()->deadline.load(std::memory_order_relaxed);
  } else if (const std::optional<Occupied> occupied = first_occupied(); occupied) {
    next = static_cast<SteadyTime::rep>(occupied->begin << tick_bits);
  }
  next_deadline_.store(next, std::memory_order_relaxed);
}

// ---- what others call ----------------------------------------------------------------------------------------------

void TimerQueue::make_spare(TimerEntry* entry) {
  entry->sequence.fetch_add(1, std::memory_order_relaxed);
  spare_.push_back(entry);
}

TimerSlot TimerQueue::arm(SteadyTime deadline, Pid target, Node* node) {
  MutexLock lock(mutex_);
  if (spare_.empty()) spare_.push_back(&entries_.emplace_back());
  TimerEntry* entry = spare_.back();
  spare_.pop_back();
  const std::uint32_t sequence = entry->sequence.fetch_add(1, std::memory_order_relaxed) + 1;
  entry->deadline.store(deadline.time_since_epoch().count(), std::memory_order_relaxed);
  entry->order = next_order_++;
  entry->target = target;
  entry->node = node;
  insert(entry);
  publish_next();
  return {entry, sequence};
}

std::optional<SteadyTime> TimerQueue::cancel(TimerSlot slot) noexcept {
  if (slot.entry == nullptr) return std::nullopt;
  Node* node = nullptr;
  SteadyTime deadline;
  {
    MutexLock lock(mutex_);
    if (slot.entry->sequence.load(std::memory_order_relaxed) != slot.sequence) return std::nullopt;
    node = std::exchange(slot.entry->node, nullptr);
    deadline = SteadyTime(Duration(slot.entry->deadline.load(std::memory_order_relaxed)));
    take_out(slot.entry);
    make_spare(slot.entry);
    publish_next();
  }
  node->ops->discard(node, ExitReason::normal);  // outside of the lock: its destructor is user code
  return deadline;
}

std::optional<SteadyTime> TimerQueue::next() const noexcept {
  const SteadyTime::rep deadline = next_deadline_.load(std::memory_order_relaxed);
  if (deadline == no_deadline) return std::nullopt;
  return SteadyTime(Duration(deadline));
}

void TimerQueue::take_due(SteadyTime now, std::size_t limit, std::vector<Due>& due) {
  MutexLock lock(mutex_);
  advance_to(tick_of(now.time_since_epoch().count()));
  while (!heap_.empty() && due.size() < limit) {
    TimerEntry* entry = heap_.front();
    if (entry->deadline.load(std::memory_order_relaxed) > now.time_since_epoch().count()) break;
    due.push_back({entry->target, std::exchange(entry->node, nullptr)});
    take_out(entry);
    make_spare(entry);
  }
  publish_next();
}

}  // namespace dagverk::detail
