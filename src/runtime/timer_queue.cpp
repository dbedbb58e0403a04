#include "timer_queue.hpp"

#include "dagverk/base/assert.hpp"

#include <utility>

namespace dagverk::detail {

TimerQueue::~TimerQueue() {
  MutexLock lock(mutex_);
  for (TimerEntry* entry : heap_) entry->node->ops->discard(entry->node, ExitReason::noproc);
}

bool TimerQueue::before(const TimerEntry& a, const TimerEntry& b) const noexcept {
  const auto a_deadline = a.deadline.load(std::memory_order_relaxed);
  const auto b_deadline = b.deadline.load(std::memory_order_relaxed);
  return a_deadline != b_deadline ? a_deadline < b_deadline : a.order < b.order;
}

void TimerQueue::place(TimerEntry* entry, std::size_t position) {
  heap_[position] = entry;
  entry->position = position;
}

void TimerQueue::sift_up(std::size_t position) {
  TimerEntry* entry = heap_[position];
  while (position > 0) {
    const std::size_t parent = (position - 1) / 2;
    if (!before(*entry, *heap_[parent])) break;
    place(heap_[parent], position);
    position = parent;
  }
  place(entry, position);
}

void TimerQueue::sift_down(std::size_t position) {
  TimerEntry* entry = heap_[position];
  for (;;) {
    std::size_t child = 2 * position + 1;
    if (child >= heap_.size()) break;
    if (child + 1 < heap_.size() && before(*heap_[child + 1], *heap_[child])) ++child;
    if (!before(*heap_[child], *entry)) break;
    place(heap_[child], position);
    position = child;
  }
  place(entry, position);
}

void TimerQueue::remove(TimerEntry* entry) {
  const std::size_t position = entry->position;
  TimerEntry* last = heap_.back();
  heap_.pop_back();
  if (last != entry) {
    place(last, position);
    sift_up(position);
    sift_down(last->position);
  }
  entry->sequence.fetch_add(1, std::memory_order_relaxed);
  spare_.push_back(entry);
}

void TimerQueue::publish_next() {
  next_deadline_.store(heap_.empty() ? no_deadline : heap_.front()->deadline.load(std::memory_order_relaxed),
                       std::memory_order_relaxed);
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
  heap_.push_back(entry);
  sift_up(heap_.size() - 1);
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
    remove(slot.entry);
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
  while (!heap_.empty() && due.size() < limit) {
    TimerEntry* entry = heap_.front();
    if (entry->deadline.load(std::memory_order_relaxed) > now.time_since_epoch().count()) break;
    due.push_back({entry->target, std::exchange(entry->node, nullptr)});
    remove(entry);
  }
  publish_next();
}

}  // namespace dagverk::detail
