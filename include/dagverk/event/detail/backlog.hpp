#pragma once

#include "dagverk/base/assert.hpp"
#include "dagverk/base/clock.hpp"
#include "dagverk/event/detail/sync_ticket.hpp"
#include "dagverk/stage/batch.hpp"

#include <algorithm>
#include <cstddef>
#include <deque>
#include <iterator>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace dagverk::detail {

/// Events of a shared batch, and when the manager got them.
template <class E>
struct TimedBatch {
  Batch<E> events;
  SteadyTime at;
  std::shared_ptr<SyncReceipt> receipt = {};  ///< of a batch of one whose publisher waits; else null
};

template <class E>
[[nodiscard]] std::size_t count_events(const std::vector<TimedBatch<E>>& batches) noexcept {
  std::size_t count = 0;
  for (const TimedBatch<E>& batch : batches) count += batch.events.size();
  return count;
}

/// Cuts the first `count` events off `batches`.
template <class E>
void drop_events(std::vector<TimedBatch<E>>& batches, std::size_t count) {
  std::size_t whole = 0;
  while (whole < batches.size() && batches[whole].events.size() <= count) count -= batches[whole++].events.size();
  batches.erase(batches.begin(), batches.begin() + static_cast<std::ptrdiff_t>(whole));
  if (count != 0) batches.front().events = batches.front().events.slice(count);
}

/// A line of events that wait: ranges of shared batches, no event of its own.
///
/// Threads: not thread-safe.
/// Bounds:  none of its own; the manager keeps it within its owner's overflow rule. Of a batch, whose size is bounded,
///          a part may be kept.
template <class E>
class Backlog {
 public:
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] std::optional<SteadyTime> oldest() const {
    return batches_.empty() ? std::optional<SteadyTime>() : batches_.front().at;
  }
  /// When the event behind the first `count` came.
  [[nodiscard]] std::optional<SteadyTime> came_at(std::size_t count) const {
    for (const TimedBatch<E>& batch : batches_) {
      if (count < batch.events.size()) return batch.at;
      count -= batch.events.size();
    }
    return std::nullopt;
  }

  void push(Batch<E> events, SteadyTime at, std::shared_ptr<SyncReceipt> receipt = {}) {
    if (events.empty()) return;
    size_ += events.size();
    batches_.push_back({std::move(events), at, std::move(receipt)});
  }
  /// Puts `batches`, oldest first, before everything that waits.
  void push_front(std::vector<TimedBatch<E>> batches) {
    size_ += count_events(batches);
    batches_.insert(batches_.begin(), std::make_move_iterator(batches.begin()), std::make_move_iterator(batches.end()));
  }

  /// Takes the oldest `count` events, or all when there are fewer.
  [[nodiscard]] std::vector<TimedBatch<E>> take(std::size_t count) {
    std::vector<TimedBatch<E>> taken;
    while (count != 0 && !batches_.empty()) {
      TimedBatch<E>& first = batches_.front();
      if (first.events.size() <= count) {
        count -= first.events.size();
        size_ -= first.events.size();
        taken.push_back(std::move(first));
        batches_.pop_front();
      } else {
        size_ -= count;
        taken.push_back({first.events.split_front(count), first.at, {}});
        count = 0;
      }
    }
    return taken;
  }
  /// As `take`, but an event whose publisher waits for it comes alone, so that its fate can be told.
  [[nodiscard]] std::vector<TimedBatch<E>> take_hand(std::size_t count) {
    std::size_t plain = 0;
    for (const TimedBatch<E>& batch : batches_) {
      if (batch.receipt) return take(std::min(count, std::max<std::size_t>(plain, 1)));
      plain += batch.events.size();
      if (plain >= count) break;
    }
    return take(count);
  }
  void drop_oldest(std::size_t count) {
    DAGVERK_ASSERT(count <= size_);
    size_ -= count;
    while (count != 0) {
      TimedBatch<E>& first = batches_.front();
      if (first.events.size() <= count) {
        count -= first.events.size();
        batches_.pop_front();
      } else {
        static_cast<void>(first.events.split_front(count));
        count = 0;
      }
    }
  }
  void drop_newest(std::size_t count) {
    DAGVERK_ASSERT(count <= size_);
    size_ -= count;
    while (count != 0) {
      TimedBatch<E>& last = batches_.back();
      if (last.events.size() <= count) {
        count -= last.events.size();
        batches_.pop_back();
      } else {
        last.events = last.events.slice(0, last.events.size() - count);
        count = 0;
      }
    }
  }
  /// Publishers that wait for an event of these are not to wait for this line.
  void leave_pending() const {
    for (const TimedBatch<E>& batch : batches_) {
      if (batch.receipt) batch.receipt->leave_pending();
    }
  }
  /// Drops everything; how much that was.
  std::size_t clear() noexcept {
    batches_.clear();
    return std::exchange(size_, 0);
  }

 private:
  std::deque<TimedBatch<E>> batches_;
  std::size_t size_ = 0;
};

}  // namespace dagverk::detail
