#pragma once

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/stage/detail/event_buffer.hpp"
#include "dagverk/stage/detail/routing.hpp"
#include "dagverk/stage/detail/stage_log.hpp"
#include "dagverk/stage/dispatcher.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

namespace dagverk::detail {

[[nodiscard]] inline std::vector<PartitionName> counted_names(std::size_t count) {
  std::vector<PartitionName> names;
  names.reserve(count);
  for (std::size_t number = 0; number < count; ++number) names.emplace_back(number);
  return names;
}

/// Something to do once the last of several queues has come so far.
struct Countdown {
  std::size_t left = 0;
  std::function<void()> done;
};

/// One partition: its consumers and what waits for them.
template <class Event>
struct Partition {
  struct Member {
    Outlet<Event>* outlet;
    Partition* partition;
    std::uint64_t demand = 0;
  };
  struct Mark {
    std::uint64_t position;                // counted over all events that ever left the queue
    std::shared_ptr<Countdown> countdown;  // shared by the marks of one info; ends with the last
  };

  Partition(PartitionName given, std::size_t queue_size, BufferKeep keep)
      : name(std::move(given)), queue(queue_size, keep) {}

  PartitionName name;
  std::vector<std::unique_ptr<Member>> members;  // whose turn it is, first
  std::uint64_t demand = 0;                      // of all members together; 0 while the queue holds anything
  std::size_t elastic = 0;                       // members that take events without having asked
  EventBuffer<Event> queue;
  std::uint64_t left_queue = 0;
  std::deque<Mark> marks;
  bool removed = false;

  BatchBuilder<Event> made;  // of the dispatch that goes on: the events that come here
};

/// The partitions of a dispatcher: who serves them, what waits, and which events of a batch go where.
///
/// Semantics: a dispatch opens the lanes, constructs each event at the end of its lane (after `widen`, when the lane
///            has no place left), and closes the lanes, which sends what is in them.
/// Threads:   the producer's process.
template <class Event>
class PartitionTable {
  using Place = Partition<Event>;
  using Member = typename Place::Member;

 public:
  using Drop = std::function<void(DropReason, std::uint64_t)>;

  PartitionTable(std::size_t queue_size, bool waits, BufferKeep keep, Drop drop)
      : queue_size_(queue_size),
        queue_limit_(waits ? std::numeric_limits<std::size_t>::max() : queue_size),
        waits_(waits),
        keep_(keep),
        drop_(std::move(drop)) {}

  // --- which partitions there are -----------------------------------------------------------------------------------
  [[nodiscard]] std::size_t count() const noexcept { return live_.size(); }
  [[nodiscard]] Result<void> resize(const std::vector<PartitionName>& names) {
    if (Result<void> good = check(names); !good) return good;
    std::vector<std::unique_ptr<Place>> before = std::move(live_);
    live_.clear();
    for (const PartitionName& name : names) {
      const auto known = std::ranges::find_if(before, [&](const auto& place) { return place && place->name == name; });
      live_.push_back(known != before.end() ? std::move(*known) : std::make_unique<Place>(name, queue_limit_, keep_));
    }
    index_names();
    for (std::unique_ptr<Place>& place : before) {
      if (place) remove(std::move(place));
    }
    unblock();
    return {};
  }

  template <class Key>
  [[nodiscard]] std::size_t index_of(const Key& key) const {
    if constexpr (std::is_same_v<Key, PartitionName>) {
      if (key.number() != nullptr) return index_of(*key.number());
      return key.text() != nullptr ? index_of(std::string_view(*key.text())) : unknown_partition;
    } else if constexpr (std::is_integral_v<Key> || std::is_enum_v<Key>) {
      const auto number = static_cast<std::uint64_t>(key);
      if (counted_) [[likely]]
        return number < live_.size() ? static_cast<std::size_t>(number) : unknown_partition;
      const auto found = numbers_.find(number);
      return found == numbers_.end() ? unknown_partition : found->second;
    } else {
      const auto found = texts_.find(std::string_view(key));
      return found == texts_.end() ? unknown_partition : found->second;
    }
  }

  // --- subscriptions ------------------------------------------------------------------------------------------------
  [[nodiscard]] Result<void> subscribe(Outlet<Event>& outlet) {
    const PartitionName& name = outlet.options().partition;
    if (name.empty()) {
      return Error(ErrorCode::invalid_argument,
                   concat("partition: the partition dispatcher needs one of ", list_names(), ", got none"));
    }
    const std::size_t index = index_of(name);
    if (index >= live_.size()) {
      return Error(ErrorCode::invalid_argument,
                   concat("partition: must be one of ", list_names(), ", got ", name.to_string()));
    }
    Place& place = *live_[index];
    place.members.push_back(std::make_unique<Member>(Member{&outlet, &place}));
    outlet.word = reinterpret_cast<std::uintptr_t>(place.members.back().get());
    if (outlet.elastic()) {
      ++place.elastic;
      ++elastic_;
      serve_queue(place);
      unblock();
    }
    return {};
  }
  void ask(Outlet<Event>& outlet, std::uint64_t asked) {
    Member& member = member_of(outlet);
    Place& place = *member.partition;
    member.demand += asked;
    place.demand += asked;
    open_demand_ += place.removed ? 0 : asked;
    serve_queue(place);
    unblock();
    if (place.removed && place.queue.empty()) let_go(place);
  }
  void cancel(Outlet<Event>& outlet) {
    Member& member = member_of(outlet);
    Place& place = *member.partition;
    forget(place, member);
    if (place.removed && place.members.empty()) let_go(place);
  }

  // --- demand -------------------------------------------------------------------------------------------------------
  [[nodiscard]] std::uint64_t open_demand() const noexcept { return open_demand_; }
  [[nodiscard]] bool blocked() const noexcept { return blocked_; }
  /// Something has changed: the next event may have its place now.
  void unblock() noexcept {
    if (!blocked_) return;
    blocked_ = std::ranges::any_of(
        live_, [this](const std::unique_ptr<Place>& place) { return waits_ && place->queue.size() > queue_size_; });
  }
  [[nodiscard]] std::uint64_t room() const noexcept {
    if (blocked_) return 0;
    return elastic_ != 0 ? std::numeric_limits<std::uint64_t>::max() : open_demand_;
  }
  [[nodiscard]] std::uint64_t demand_of(const PartitionName& name) const {
    const std::size_t index = index_of(name);
    return index < live_.size() ? live_[index]->demand : 0;
  }
  [[nodiscard]] std::size_t queued_of(const PartitionName& name) const {
    const std::size_t index = index_of(name);
    return index < live_.size() ? live_[index]->queue.size() : 0;
  }
  [[nodiscard]] std::uint64_t queued() const noexcept { return queued_; }

  void after_queued(std::function<void()> arrived) {
    auto countdown = std::make_shared<Countdown>();
    for_each([&](Place& place) {
      if (place.queue.empty()) return;
      ++countdown->left;
      place.marks.push_back({place.left_queue + place.queue.size(), countdown});
    });
    if (countdown->left == 0) {
      arrived();
    } else {
      countdown->done = std::move(arrived);
    }
  }

  // --- a dispatch ---------------------------------------------------------------------------------------------------
  /// Where the next events of one partition are constructed.
  struct Lane {
    Event* next;
    Event* end;
    Event* begin;         // of those that its builder has not counted yet
    std::uint64_t limit;  // how many events the partition may take in this dispatch
  };

  /// Begins the dispatch of a batch of `size`. The lanes, one for each partition.
  [[nodiscard]] Lane* open_lanes(std::size_t size) {
    lane_step_ = size / live_.size() + size / (4 * live_.size()) + 8;
    lanes_.clear();
    for (const std::unique_ptr<Place>& place : live_) {
      const bool limited = waits_ && place->elastic == 0;
      const std::size_t queue_room = queue_size_ - std::min(queue_size_, place->queue.size());
      lanes_.push_back({nullptr, nullptr, nullptr,
                        limited ? place->demand + queue_room : std::numeric_limits<std::uint64_t>::max()});
    }
    return lanes_.data();
  }
  /// How many of `left` events may be routed before this has to be asked again; 0: none.
  [[nodiscard]] std::size_t run_length(std::size_t left) const noexcept {
    if (blocked_) return 0;
    if (elastic_ != 0) return left;
    std::uint64_t open = open_demand_;
    for (std::size_t index = 0; index < lanes_.size(); ++index) {
      open -= std::min<std::uint64_t>(live_[index]->demand, placed_in(index));
    }
    return static_cast<std::size_t>(std::min<std::uint64_t>(open, left));
  }
  /// Makes places in the lanes that have none, when `left` events to come make that worth while. With free_in_each for
  /// hashes that only name partitions which are there when those are 0, 1, ….
  void open_all(std::size_t left) {
    if (!counted_ || left < lanes_.size() * 8) return;
    for (std::size_t index = 0; index < lanes_.size(); ++index) {
      const Lane& lane = lanes_[index];
      if (lane.next == lane.end && placed_in(index) < lane.limit) static_cast<void>(widen(index));
    }
  }
  /// So many of `left` events may be placed without looking whether their lanes have a place left.
  [[nodiscard]] std::size_t free_in_each(std::size_t left) const noexcept {
    if (!counted_) return 0;
    for (const Lane& lane : lanes_) left = std::min(left, static_cast<std::size_t>(lane.end - lane.next));
    return left;
  }
  /// Makes places at the end of a lane that has none left. False: the partition is full, and its event has to wait.
  [[nodiscard]] bool widen(std::size_t index) {
    Lane& lane = lanes_[index];
    const std::uint64_t placed = count_made(index);
    if (placed >= lane.limit) {
      blocked_ = true;
      return false;
    }
    const auto more =
        static_cast<std::size_t>(std::min(lane.limit - placed, std::max<std::uint64_t>(lane_step_, placed)));
    lane.begin = live_[index]->made.places(more);
    lane.next = lane.begin;
    lane.end = lane.begin + more;
    return true;
  }
  /// For an event that cannot wait any more: one place beyond the limit, and then all have to wait.
  void widen_beyond_limit(std::size_t index) {
    ++lanes_[index].limit;
    const bool widened = widen(index);
    DAGVERK_ASSERT(widened);
    blocked_ = true;
  }
  /// Ends the dispatch: sends what is in the lanes.
  void close_lanes() {
    for (std::size_t index = 0; index < lanes_.size(); ++index) {
      Place& place = *live_[index];
      const std::uint64_t asked_for = std::min<std::uint64_t>(place.demand, count_made(index));
      place.demand -= asked_for;
      open_demand_ -= asked_for;
    }
    for (const std::unique_ptr<Place>& place : live_) {
      if (!place->made.empty()) deliver(*place, place->made.build());
    }
  }

 private:
  [[nodiscard]] std::uint64_t placed_in(std::size_t index) const noexcept {
    const Lane& lane = lanes_[index];
    return live_[index]->made.size() + static_cast<std::uint64_t>(lane.next - lane.begin);
  }
  /// Has the builder count what was constructed in its lane; how much that is by now.
  std::uint64_t count_made(std::size_t index) noexcept {
    Lane& lane = lanes_[index];
    live_[index]->made.constructed(static_cast<std::size_t>(lane.next - lane.begin));
    lane.begin = lane.next;
    return live_[index]->made.size();
  }

  [[nodiscard]] Result<void> check(const std::vector<PartitionName>& names) const {
    if (names.empty()) return Error(ErrorCode::invalid_argument, "partitions: must be 1 or more, got 0");
    for (auto name = names.begin(); name != names.end(); ++name) {
      if (name->empty()) return Error(ErrorCode::invalid_argument, "partitions: a name is empty");
      if (std::find(names.begin(), name, *name) != name) {
        return Error(ErrorCode::invalid_argument, concat("partitions: ", name->to_string(), " is there twice"));
      }
    }
    return {};
  }

  void index_names() {
    numbers_.clear();
    texts_.clear();
    counted_ = true;
    for (std::size_t index = 0; index < live_.size(); ++index) {
      const PartitionName& name = live_[index]->name;
      counted_ = counted_ && name.number() != nullptr && *name.number() == index;
      if (name.number() != nullptr) {
        numbers_.emplace(*name.number(), index);
      } else {
        texts_.emplace(*name.text(), index);
      }
    }
  }
  [[nodiscard]] std::string list_names() const {
    std::string names;
    for (std::size_t index = 0; index < std::min<std::size_t>(live_.size(), 16); ++index) {
      names += concat(index == 0 ? "" : ", ", live_[index]->name.to_string());
    }
    if (live_.size() > 16) names += concat(", … (", live_.size(), " in all)");
    return names;
  }

  [[nodiscard]] static Member& member_of(Outlet<Event>& outlet) noexcept {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): the word is ours to use, and holds a pointer
    return *reinterpret_cast<Member*>(static_cast<std::uintptr_t>(outlet.word));
  }
  template <class Visit>
  void for_each(Visit visit) {
    for (const std::unique_ptr<Place>& place : live_) visit(*place);
    for (const std::unique_ptr<Place>& place : removed_) visit(*place);
  }

  /// To the members in turn, as much as each has asked for; then to an elastic one; then into the queue.
  void deliver(Place& place, Batch<Event> events) {
    if (place.queue.empty()) give_to_members(place, events);
    if (events.empty()) return;
    const std::size_t before = place.queue.size();
    const std::size_t count = events.size();
    const std::size_t dropped = place.queue.store(std::move(events));
    drop_(DropReason::buffer_full, dropped);
    queued_ += place.queue.size() - before;
    // What was there and is not any more has left, too.
    left(place, before + count - place.queue.size() - (keep_ == BufferKeep::oldest ? dropped : 0));
  }
  void give_to_members(Place& place, Batch<Event>& events) {
    for (std::size_t tries = place.members.size(); tries != 0 && !events.empty(); --tries) {
      Member& member = *place.members.front();
      std::ranges::rotate(place.members, place.members.begin() + 1);
      if (member.demand == 0) continue;
      const std::uint64_t count = std::min<std::uint64_t>(member.demand, events.size());
      member.demand -= count;
      member.outlet->deliver(events.split_front(static_cast<std::size_t>(count)));
    }
    if (events.empty() || place.elastic == 0) return;
    const auto taker = std::ranges::find_if(
        place.members, [](const std::unique_ptr<Member>& member) { return member->outlet->elastic(); });
    (*taker)->outlet->deliver(std::exchange(events, {}));
  }

  /// Gives what waits to those who ask, up to the next mark at a time.
  void serve_queue(Place& place) {
    while (!place.queue.empty() && (place.demand != 0 || place.elastic != 0)) {
      std::uint64_t most = place.elastic != 0 ? place.queue.size() : place.demand;
      if (!place.marks.empty()) most = std::min(most, place.marks.front().position - place.left_queue);
      Batch<Event> events = place.queue.take(static_cast<std::size_t>(most));
      const std::size_t count = events.size();
      const std::uint64_t asked_for = std::min<std::uint64_t>(place.demand, count);
      place.demand -= asked_for;
      if (!place.removed) open_demand_ -= asked_for;
      queued_ -= count;
      give_to_members(place, events);
      DAGVERK_ASSERT(events.empty());
      left(place, count);
    }
  }
  void left(Place& place, std::size_t count) {
    place.left_queue += count;
    while (!place.marks.empty() && place.marks.front().position <= place.left_queue) {
      const std::shared_ptr<Countdown> countdown = std::move(place.marks.front().countdown);
      place.marks.pop_front();
      if (--countdown->left == 0) countdown->done();
    }
  }

  void forget(Place& place, Member& member) {
    if (member.outlet->elastic()) {
      --place.elastic;
      --elastic_;
    }
    place.demand -= member.demand;
    if (!place.removed) open_demand_ -= member.demand;
    std::erase_if(place.members, [&](const std::unique_ptr<Member>& known) { return known.get() == &member; });
  }

  void remove(std::unique_ptr<Place> place) {
    open_demand_ -= place->demand;
    place->removed = true;
    removed_.push_back(std::move(place));
    Place& gone = *removed_.back();
    if (gone.members.empty() || gone.queue.empty()) let_go(gone);
  }
  /// The end of a partition that was removed: of its subscriptions, of what waits for nobody, and of itself.
  void let_go(Place& place) {
    const std::size_t lost = place.queue.size();
    while (!place.queue.empty()) static_cast<void>(place.queue.take(place.queue.size()));
    queued_ -= lost;
    drop_(DropReason::partition_removed, lost);
    left(place, lost);
    while (!place.members.empty()) {
      Outlet<Event>& outlet = *place.members.front()->outlet;
      forget(place, *place.members.front());
      outlet.fail(ExitReason::custom(concat("partition ", place.name.to_string(), " was removed")));
    }
    std::erase_if(removed_, [&](const std::unique_ptr<Place>& known) { return known.get() == &place; });
  }

  struct TextHash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept { return std::hash<std::string_view>{}(text); }
  };

  std::size_t queue_size_;
  std::size_t queue_limit_;  // of the queues themselves: with `wait`, what is dispatched is limited before
  bool waits_;
  BufferKeep keep_;
  Drop drop_;
  std::vector<std::unique_ptr<Place>> live_;
  std::vector<std::unique_ptr<Place>> removed_;  // get no events any more, and still have some
  bool counted_ = true;                          // the names are 0, 1, …
  std::unordered_map<std::uint64_t, std::size_t> numbers_;
  std::unordered_map<std::string, std::size_t, TextHash, std::equal_to<>> texts_;
  std::uint64_t open_demand_ = 0;  // of all live partitions
  std::uint64_t queued_ = 0;       // events in all queues
  std::size_t elastic_ = 0;        // members that take events without having asked
  bool blocked_ = false;           // the next event is for a full partition, and waits
  std::vector<Lane> lanes_;        // of the dispatch that goes on
  std::size_t lane_step_ = 0;
};

}  // namespace dagverk::detail
