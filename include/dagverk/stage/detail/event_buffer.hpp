#pragma once

#include "dagverk/stage/batch.hpp"
#include "dagverk/stage/buffer_keep.hpp"
#include "dagverk/stage/detail/held_node.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace dagverk::detail {

/// What a producer has emitted and nobody has asked for yet, oldest first.
///
/// Semantics: whole batches are kept and cut; small neighbours are joined when they leave together. Infos stand between
///            events, count for nothing, and are due once every event before them has left or was dropped.
/// Bounds:    `limit` events. Cutting does not free memory, so that what is kept may pin a part of one batch more.
template <class Event>
class EventBuffer {
 public:
  EventBuffer(std::size_t limit, BufferKeep keep) noexcept : limit_(limit), keep_(keep) {}

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] std::size_t limit() const noexcept { return limit_; }
  [[nodiscard]] BufferKeep keep() const noexcept { return keep_; }
  /// False: batches leave as they came, if not cut.
  void join_small(bool join) noexcept { joins_ = join; }

  /// Puts an info behind the events that are kept now; only into a buffer that is not empty.
  void mark(HeldNode info) {
    if (!marks_) marks_ = std::make_unique<Marks>();
    marks_->emplace_back(position_ + size_, std::move(info));
  }
  [[nodiscard]] bool has_due() const noexcept { return marks_ && before_mark() == 0; }
  /// The oldest info, when no event stands before it any more.
  [[nodiscard]] std::optional<HeldNode> take_due() {
    if (!has_due()) return std::nullopt;
    std::optional<HeldNode> info(std::move(marks_->front().second));
    marks_->pop_front();
    if (marks_->empty()) marks_.reset();
    return info;
  }

  /// Adds `events` behind the others. Returns how many events, old or new, were dropped for it.
  std::size_t store(Batch<Event> events) {
    std::size_t dropped = 0;
    const std::size_t room = limit_ - size_;
    if (events.size() > room) {
      dropped = events.size() - room;
      if (keep_ == BufferKeep::oldest) {
        events = events.split_front(room);
      } else {
        const std::size_t old = std::min(dropped, size_);
        drop_front(old);
        static_cast<void>(events.split_front(dropped - old));
      }
    }
    if (!events.empty()) {
      size_ += events.size();
      batches_.push_back(std::move(events));
    }
    return dropped;
  }

  /// Takes at least one and at most `count` events off the front, none beyond the next info; none while one is due.
  [[nodiscard]] Batch<Event> take(std::size_t count) {
    if (marks_) count = static_cast<std::size_t>(std::min<std::uint64_t>(count, before_mark()));
    if (empty() || count == 0) return {};
    Batch<Event> first = take_of_front(count);
    if (!joins_ || batches_.empty() || first.size() >= count || first.size() >= small) return first;
    return join(std::move(first), count);
  }

  /// Puts back what `take` gave and nobody took.
  void put_back(Batch<Event> events) {
    if (events.empty()) return;
    size_ += events.size();
    position_ -= events.size();
    batches_.push_front(std::move(events));
  }

 private:
  using Marks = std::deque<std::pair<std::uint64_t, HeldNode>>;  // with the position of the event they stand before

  // Joining copies or moves events; above this size a message of their own is cheaper.
  static constexpr std::size_t small = 32;
  static constexpr std::size_t joined_max = 1024;

  [[nodiscard]] Batch<Event> take_of_front(std::size_t count) {
    Batch<Event> front = batches_.front().split_front(count);
    if (batches_.front().empty()) batches_.pop_front();
    size_ -= front.size();
    position_ += front.size();
    return front;
  }

  [[nodiscard]] std::uint64_t before_mark() const noexcept {
    return marks_->front().first - std::min(marks_->front().first, position_);
  }

  [[nodiscard]] Batch<Event> join(Batch<Event> first, std::size_t count) {
    BatchBuilder<Event> joined;
    const std::size_t limit = std::min(count, joined_max);
    if (!append(joined, first)) return first;
    while (!batches_.empty() && joined.size() < limit && batches_.front().size() < small) {
      Batch<Event> next = take_of_front(limit - joined.size());
      if (!append(joined, next)) {
        put_back(std::move(next));
        break;
      }
    }
    return joined.build();
  }

  /// Moves or copies `events` behind `joined`; false when neither is possible.
  static bool append(BatchBuilder<Event>& joined, Batch<Event>& events) {
    if (events.unique()) {
      for (Event& event : events.mutable_events()) joined.emplace(std::move(event));
      return true;
    }
    if constexpr (std::is_copy_constructible_v<Event>) {
      for (const Event& event : events) joined.emplace(event);
      return true;
    } else {
      return false;
    }
  }

  void drop_front(std::size_t count) {
    while (count != 0) count -= take_of_front(count).size();
  }

  std::deque<Batch<Event>> batches_;
  std::unique_ptr<Marks> marks_;  // null: none
  std::uint64_t position_ = 0;    // of the first event: how many have left or were dropped
  std::size_t size_ = 0;
  std::size_t limit_;
  BufferKeep keep_;
  bool joins_ = true;
};

}  // namespace dagverk::detail
