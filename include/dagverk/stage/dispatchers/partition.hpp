#pragma once

#include "dagverk/base/concat.hpp"
#include "dagverk/stage/detail/event_buffer.hpp"
#include "dagverk/stage/detail/partition_table.hpp"
#include "dagverk/stage/detail/routing.hpp"
#include "dagverk/stage/dispatcher.hpp"

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace dagverk {

/// What becomes of an event for a partition whose queue is full.
enum class PartitionFull : std::uint8_t {
  wait,         ///< it waits, and so do all events behind it: the partition holds up the others
  drop_oldest,  ///< the oldest in the queue makes room, counted
  drop_newest,  ///< it is dropped, counted
};

struct PartitionOptions {
  /// Events that wait for one partition's consumers at most, each partition on its own. 0: none; `wait` then holds up
  /// every event that its partition has not asked for.
  std::size_t queue_size = 10'000;
  PartitionFull when_full = PartitionFull::wait;
};

/// Each event goes to one partition, chosen by a hash of the event, and there to one consumer.
///
/// Semantics: GenStage's PartitionDispatcher. Consumers name their partition in SubscribeOptions::partition; one may
///            have several consumers, which take turns, or none. Events for a partition whose consumers have no open
///            demand wait in its queue, and stay there when its last consumer leaves, for the next. Unlike GenStage:
///            the queue is bounded (PartitionFull); a waiting event uses up nobody's demand, so that quiet partitions
///            never starve behind a busy one (with `wait`: until that one's queue is full); an event that goes nowhere
///            counts as dispatched and is asked for again; a bad partition refuses the subscription alone.
///            Made by `partition_dispatcher`. Change it by ProducerSide::change_dispatcher, look at it by `dispatcher`.
/// Threads:   the producer's process alone.
/// Errors:    an event whose hash throws, or names a partition that is not there, is dropped, counted as `unroutable`
///            and logged (`stage.events_unroutable`).
/// Bounds:    `queue_size` events in each partition.
template <class Event>
class PartitionDispatcher : public Dispatcher<Event> {
 public:
  // --- for the producer's own code ----------------------------------------------------------------------------------

  /// From now on there are partitions 0 … count - 1. Those that are new start empty; those that are gone get no events
  /// any more: their consumers are sent what waits for them, and their subscriptions end when that is asked for; what
  /// waits for nobody is dropped, counted. Only for dispatchers made with a count. Errors: `invalid_argument` for 0.
  [[nodiscard]] Result<void> resize(std::size_t count) { return table_.resize(detail::counted_names(count)); }
  /// As above, to these names.
  [[nodiscard]] Result<void> resize(const std::vector<PartitionName>& names) { return table_.resize(names); }

  [[nodiscard]] std::size_t partition_count() const noexcept { return table_.count(); }
  /// What the partition's consumers have asked for and was not sent: so much of its events leaves at once. 0 when there
  /// is no such partition.
  [[nodiscard]] std::uint64_t demand_of(const PartitionName& name) const { return table_.demand_of(name); }
  /// Events that wait for the partition's consumers.
  [[nodiscard]] std::size_t queued_of(const PartitionName& name) const { return table_.queued_of(name); }

  // --- for the producer ---------------------------------------------------------------------------------------------
  [[nodiscard]] Result<void> subscribe(Outlet<Event>& outlet) final { return table_.subscribe(outlet); }
  void ask(Outlet<Event>& outlet, std::uint64_t count) final { table_.ask(outlet, count); }
  void cancel(Outlet<Event>& outlet) final { table_.cancel(outlet); }
  [[nodiscard]] std::uint64_t demand() const noexcept final { return table_.blocked() ? 0 : table_.open_demand(); }
  [[nodiscard]] std::uint64_t room() const noexcept final { return table_.room(); }
  [[nodiscard]] std::uint64_t queued() const noexcept final { return table_.queued(); }
  void after_queued(std::function<void()> arrived) final { table_.after_queued(std::move(arrived)); }
  void left_over_changed() final { table_.unblock(); }

 protected:
  PartitionDispatcher(const std::vector<PartitionName>& names, PartitionOptions options)
      : table_(options.queue_size, options.when_full == PartitionFull::wait,
               options.when_full == PartitionFull::drop_newest ? BufferKeep::oldest : BufferKeep::newest,
               [this](DropReason reason, std::uint64_t count) { this->drop(reason, count); }) {
    if (Result<void> made = table_.resize(names); !made)
      throw std::invalid_argument(std::string(made.error().message()));
  }

  detail::PartitionTable<Event> table_;
};

namespace detail {

template <class Event, class Hash>
class HashingPartitions final : public PartitionDispatcher<Event> {
 public:
  HashingPartitions(const std::vector<PartitionName>& names, Hash hash, PartitionOptions options)
      : PartitionDispatcher<Event>(names, options), hash_(std::move(hash)) {}

  void dispatch(Batch<Event>& events) override {
    PartitionTable<Event>& table = this->table_;
    Round round{.lanes = table.open_lanes(events.size()), .count = table.count()};
    while (const std::size_t run = table.run_length(events.size() - round.next)) {
      round.stop = round.next + run;
      if (events.unique()) {
        route<true>(events, round);
      } else {
        route<false>(events, round);
      }
    }
    static_cast<void>(events.split_front(round.next));
    table.close_lanes();
    if (round.unroutable != 0) {
      this->drop(DropReason::unroutable, round.unroutable);
      warn_unroutable(round.unroutable, round.why);
    }
  }

 private:
  using Lane = typename PartitionTable<Event>::Lane;
  using Routes = Routing<Event, Hash>;
  static constexpr std::size_t route_block = 8;

  struct Round {
    Lane* lanes;
    std::size_t count;
    std::size_t next = 0;
    std::size_t stop = 0;
    std::uint64_t unroutable = 0;
    std::string why = {};
    void lost(std::string_view reason) {
      if (unroutable++ == 0) why = reason;
    }
  };

  /// Routes events up to the round's stop, until one has to wait or the hash throws: then that one goes nowhere.
  template <bool Unique>
  void route(Batch<Event>& events, Round& round) {
    std::size_t index = round.next;
    try {
      if constexpr (Routes::rewrites) {
        for (; index < round.stop && !this->table_.blocked(); ++index) rewrite<Unique>(events, index, round);
      } else if constexpr (Unique || std::is_copy_constructible_v<Event>) {
        using Source = std::conditional_t<Unique, Event*, const Event*>;
        Source source = nullptr;
        if constexpr (Unique) {
          source = events.mutable_events().data();
        } else {
          source = events.data();
        }
        if constexpr (Routes::template places_freely<decltype(std::move(source[index]))>) {
          route_blocks(source, index, round);
        }
        if (!this->table_.blocked()) static_cast<void>(route_each(source, index, round.stop, round));
      } else {
        round.lost("an event that cannot be copied is held by its producer, too");
        ++index;
      }
    } catch (...) {
      round.lost(reason_of_thrown().to_string());
      ++index;
    }
    round.next = index;
  }

  /// Routes blocks of events without looking whether their lanes have places left, in stretches that fit into any lane;
  /// what is between those, one by one. `index` is that of the next event. All of a block know their places before the
  /// first is moved: otherwise the processor has each event wait for the one before.
  template <class Source>
  void route_blocks(Source* source, std::size_t& index, Round& round) {
    PartitionTable<Event>& table = this->table_;
    Lane* const lanes = round.lanes;
    const std::size_t count = round.count;
    table.open_all(round.stop - index);
    while (round.stop - index >= route_block) {
      const std::size_t free = table.free_in_each(round.stop - index) / route_block * route_block;
      if (free == 0) {  // looking at all lanes costs as much as some events
        if (!route_each(source, index, std::min(round.stop, index + std::max(count, route_block)), round)) return;
        continue;
      }
      for (const std::size_t stop = index + free; index != stop; index += route_block) {
        std::array<Event*, route_block> places;
        for (std::size_t step = 0; step < route_block; ++step) {
          places[step] = lanes[hash_(std::as_const(source[index + step]), count)].next++;
        }
        for (std::size_t step = 0; step < route_block; ++step) {
          std::construct_at(places[step], std::move(source[index + step]));  // copies from a const source
        }
      }
    }
  }
  /// Routes the events up to `stop`. False: one of them has to wait.
  template <class Source>
  bool route_each(Source* source, std::size_t& index, std::size_t stop, Round& round) {
    for (; index < stop; ++index) {
      if (!give(std::as_const(source[index]), source[index], round)) return false;
    }
    return true;
  }

  /// Moves or copies one event into its lane. False: it has to wait.
  template <class Source>
  bool give(const Event& event, Source& source, Round& round) {
    const std::size_t place = Routes::index_of(this->table_, hash_, event, round.count);
    if (place >= round.count) [[unlikely]] {
      if (place != no_partition) round.lost("the hash named a partition that is not there");
      return true;
    }
    Lane& lane = round.lanes[place];
    if (lane.next == lane.end && !this->table_.widen(place)) return false;
    std::construct_at(lane.next, std::move(source));  // copies from a const source
    ++lane.next;
    return true;
  }

  template <bool Unique>
  void rewrite(Batch<Event>& events, std::size_t index, Round& round) {
    auto routed = Routes::rewrite(hash_, events, index, Unique, round.count);
    if (!routed) return;
    const std::size_t place = this->table_.index_of(routed->partition);
    if (place >= round.count) {
      round.lost("the hash named a partition that is not there");
      return;
    }
    Lane& lane = round.lanes[place];
    if (lane.next == lane.end && !this->table_.widen(place)) this->table_.widen_beyond_limit(place);
    std::construct_at(lane.next, std::move(routed->event));
    ++lane.next;
  }

  Hash hash_;
};

}  // namespace detail

/// A partition dispatcher with partitions 0 … count - 1.
///
/// `hash(const Event&)`, or `hash(const Event&, std::size_t count)`, gives the event's partition: a number, a text, or
/// an optional of these, of which nothing means that the event is for nobody. A hash that gives `Routed{event,
/// partition}`, or an optional of it, sends that event instead; it may take its argument as `Event&&`. It must not keep
/// anything of its argument.
/// Throws: std::invalid_argument for no partition or one named twice; the producer's start then fails with it.
template <class Event, class Hash>
  requires detail::HashesEvent<Hash, Event>
[[nodiscard]] std::unique_ptr<Dispatcher<Event>> partition_dispatcher(std::size_t count, Hash hash,
                                                                      PartitionOptions options = {}) {
  return std::make_unique<detail::HashingPartitions<Event, Hash>>(detail::counted_names(count), std::move(hash),
                                                                  options);
}
/// As above, with partitions of these names: numbers, texts, or both.
template <class Event, class Hash>
  requires detail::HashesEvent<Hash, Event>
[[nodiscard]] std::unique_ptr<Dispatcher<Event>> partition_dispatcher(const std::vector<PartitionName>& names,
                                                                      Hash hash, PartitionOptions options = {}) {
  return std::make_unique<detail::HashingPartitions<Event, Hash>>(names, std::move(hash), options);
}
/// With a count and `std::hash<Event>`: equal events always go to the same partition.
template <class Event>
[[nodiscard]] std::unique_ptr<Dispatcher<Event>> partition_dispatcher(std::size_t count,
                                                                      PartitionOptions options = {}) {
  return partition_dispatcher<Event>(count, detail::SpreadHash<Event>{}, options);
}

}  // namespace dagverk
