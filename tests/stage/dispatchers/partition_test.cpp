// The partition dispatcher: each event to the partition its hash names, each partition with a bounded queue of its own.

#include "dagverk/stage/dispatchers/partition.hpp"

#include "../stages.hpp"

#include <gtest/gtest.h>

#include <map>
#include <set>

namespace dagverk {
namespace {

using namespace stage_tests;

/// Emits what it is told, with a dispatcher that the test makes.
class Sorter : public Producer<Sorter, int> {
 public:
  using Make = std::function<std::unique_ptr<Dispatcher<int>>()>;
  struct Push {
    Ints events;
  };
  struct Resize {
    using Reply = std::string;
    std::size_t count;
  };
  struct Rename {
    using Reply = std::string;
    std::vector<PartitionName> names;
  };
  struct Figures {
    using Reply = Figures;
    PartitionName name;
    std::uint64_t demand = 0;
    std::size_t queued = 0;
    std::size_t partitions = 0;
    std::size_t buffered = 0;
  };
  struct Info {};

  Sorter(Seen& seen, const Make& make, ProducerOptions options = {}) : Producer(make(), options), seen_(seen) {}

  void handle_cast(Push push) { emit(make_batch(push.events)); }
  std::string handle_call(Resize resize) {
    return changed([&](PartitionDispatcher<int>& partitions) { return partitions.resize(resize.count); });
  }
  std::string handle_call(Rename rename) {
    return changed([&](PartitionDispatcher<int>& partitions) { return partitions.resize(rename.names); });
  }
  Figures handle_call(Figures figures) {
    const auto& partitions = dispatcher<PartitionDispatcher<int>>();
    figures.demand = partitions.demand_of(figures.name);
    figures.queued = partitions.queued_of(figures.name);
    figures.partitions = partitions.partition_count();
    figures.buffered = buffered_count();
    return figures;
  }
  void handle_cast(Info) {
    change_dispatcher<PartitionDispatcher<int>>([this](PartitionDispatcher<int>& partitions) {
      partitions.after_queued([this] { seen_.notes.emplace_back("info"); });
    });
  }
  void handle_demand(std::uint64_t count) { seen_.demands.push_back(count); }
  void handle_cancel(const SubscriptionInfo& /*info*/, const SubscriptionEnd& why) {
    seen_.notes.push_back(note_of("end", why));
  }

 private:
  template <class Change>
  std::string changed(Change change) {
    const Result<void> done = change_dispatcher<PartitionDispatcher<int>>(change);
    return done ? "ok" : std::string(done.error().message());
  }
  Seen& seen_;
};

SubscribeOptions<int> serving(PartitionName partition, SubscribeOptions<int> options = manual(CancelMode::temporary)) {
  options.partition = std::move(partition);
  return options;
}

struct Partitions {
  template <class Hash>
  static Sorter::Make counted(std::size_t count, Hash hash, PartitionOptions options = {}) {
    return [=] { return partition_dispatcher<int>(count, hash, options); };
  }
  template <class Hash>
  explicit Partitions(std::size_t count, Hash hash, PartitionOptions options = {}, ProducerOptions buffer = {})
      : Partitions(counted(count, hash, options), buffer) {}
  explicit Partitions(const Sorter::Make& make, ProducerOptions buffer = {})
      : source(world.runtime.start<Sorter>(std::ref(made), make, buffer).value()) {}

  ServerRef<Sink> serve(Seen& seen, PartitionName partition) {
    return world.sink(seen, ProducerRef<int>(source), serving(std::move(partition)));
  }
  void push(Ints events) { world.cast(source, Sorter::Push{std::move(events)}); }
  void ask(ServerRef<Sink> sink, std::uint64_t count) { world.cast(sink, Sink::Ask{count}); }
  void leave(ServerRef<Sink> sink) { world.cast(sink, Sink::Cancel{ExitReason::normal}); }
  Sorter::Figures figures(PartitionName name) { return source.call_blocking<Sorter::Figures>(std::move(name)).value(); }
  std::uint64_t dropped(DropReason reason) {
    for (const EdgeInfo& edge : world.runtime.snapshot().edges) {
      if (!edge.name.ends_with(" buffer")) continue;
      for (const DropCount& drop : edge.drops) {
        if (drop.reason == reason) return drop.count;
      }
    }
    return 0;
  }

  World world;
  Seen made;
  ServerRef<Sorter> source;
};

using Demands = std::vector<std::uint64_t>;
constexpr auto modulo = [](const int& event, std::size_t count) { return static_cast<std::size_t>(event) % count; };
constexpr auto to_zero = [](const int&) { return 0; };

TEST(PartitionDispatcher, CC_GPD_001_and_002_a_leavers_demand_is_not_asked_for_twice) {
  Partitions test(2, modulo);
  Seen zero, one;
  const auto first = test.serve(zero, 0);
  test.ask(first, 10);
  EXPECT_EQ(test.made.demands, (Demands{10}));
  test.leave(first);
  EXPECT_EQ(test.made.demands, (Demands{10}));
  const auto second = test.serve(one, 1);
  test.ask(second, 5);
  EXPECT_EQ(test.made.demands, (Demands{10}));
  test.leave(second);
  Seen again;
  test.ask(test.serve(again, 1), 12);
  EXPECT_EQ(test.made.demands, (Demands{10, 2}));
}

TEST(PartitionDispatcher, CC_GPD_002_a_newcomers_ask_is_answered_by_what_is_owed) {
  Partitions test(2, modulo);
  Seen zero, one;
  const auto first = test.serve(zero, 0);
  test.ask(first, 10);
  test.leave(first);
  test.ask(test.serve(one, 1), 5);
  test.push({1, 3, 5});
  EXPECT_EQ(one.events(), (Ints{1, 3, 5}));
}

TEST(PartitionDispatcher, CC_GPD_004_what_is_asked_for_is_delivered) {
  Partitions test(1, to_zero);
  Seen seen;
  test.ask(test.serve(seen, 0), 3);
  test.push({7});
  EXPECT_EQ(seen.events(), (Ints{7}));
  EXPECT_EQ(test.figures(0).demand, 2U);
}

TEST(PartitionDispatcher, CC_GPD_006_named_partitions_and_what_exceeds_the_demand) {
  Partitions test([] {
    return partition_dispatcher<int>({"odd", "even"}, [](int event) { return event % 2 == 0 ? "even" : "odd"; });
  });
  Seen odd;
  const auto sink = test.serve(odd, "odd");
  test.ask(sink, 3);
  test.push({1});
  EXPECT_EQ(odd.batches, (std::vector<Ints>{{1}}));
  test.ask(sink, 3);
  test.push({3, 5, 7, 9, 11, 13, 15});
  EXPECT_EQ(odd.batches, (std::vector<Ints>{{1}, {3, 5, 7, 9, 11}}));
  EXPECT_EQ(test.figures("odd").buffered, 2U);
}

TEST(PartitionDispatcher, CC_GPD_007_events_for_none_cost_nobody_anything) {
  Partitions test([] {
    return partition_dispatcher<int>({"odd", "even"}, [](int event) -> std::optional<std::string_view> {
      if (event % 3 == 0) return std::nullopt;
      return event % 2 == 0 ? "even" : "odd";
    });
  });
  Seen odd, even;
  test.ask(test.serve(odd, "odd"), 4);
  test.ask(test.serve(even, "even"), 4);
  test.push(ints(1, 12));
  EXPECT_EQ(even.events(), (Ints{2, 4, 8, 10}));
  EXPECT_EQ(odd.events(), (Ints{1, 5, 7, 11}));
  EXPECT_EQ(test.figures("odd").buffered, 1U);
}

// The peer counts events that wait against the demand of those who asked, and leaves the last 2 over. Here what waits
// in a queue uses up nobody's demand: otherwise partition 0 would starve for as long as nobody serves partition 1.
TEST(PartitionDispatcher, CC_GPD_008_events_wait_for_a_partitions_first_consumer) {
  Partitions test(2, [](int) { return 1; });
  Seen zero, one;
  test.ask(test.serve(zero, 0), 5);
  test.push(ints(1, 5));
  test.push(ints(6, 7));
  EXPECT_EQ(test.figures(1).queued, 7U);
  EXPECT_EQ(test.made.demands, (Demands{5, 5, 2}));
  const auto late = test.serve(one, 1);
  test.ask(late, 5);
  EXPECT_EQ(one.batches, (std::vector<Ints>{ints(1, 5)}));
  test.ask(late, 5);
  EXPECT_EQ(one.events(), ints(1, 7));
  EXPECT_EQ(test.made.demands, (Demands{5, 5, 2, 3}));
}

// The peer throws the queue of a leaver away.
TEST(PartitionDispatcher, what_leaves_a_queue_when_it_is_asked_for_counts_as_delivered) {
  Partitions test(2, modulo);
  Seen zero, one;
  const auto first = test.serve(zero, 0);
  const auto second = test.serve(one, 1);
  const auto buffer = [&] {
    const Snapshot shot = test.world.runtime.snapshot();
    return *std::ranges::find_if(shot.edges, [](const EdgeInfo& edge) { return edge.name.ends_with(" buffer"); });
  };
  test.ask(first, 10);
  test.push({1, 3, 2, 5, 4});
  EXPECT_EQ(buffer().delivered, 2U);
  EXPECT_EQ(buffer().buffered, 3U);
  test.ask(second, 3);
  EXPECT_EQ(one.events(), (Ints{1, 3, 5}));
  EXPECT_EQ(buffer().delivered, 5U);
  EXPECT_EQ(buffer().buffered, 0U);
}

TEST(PartitionDispatcher, CC_GPD_010_a_leavers_queue_waits_for_the_next_and_an_info_behind_it) {
  Partitions test(2, to_zero);
  Seen zero, one, next;
  const auto leaver = test.serve(zero, 0);
  test.ask(test.serve(one, 1), 5);
  test.push(ints(1, 5));
  test.world.cast(test.source, Sorter::Info{});
  test.leave(leaver);
  EXPECT_EQ(test.figures(0).queued, 5U);
  EXPECT_EQ(test.made.notes, (std::vector<std::string>{"end cancel normal"}));
  const auto sink = test.serve(next, 0);
  test.push({6});
  test.ask(sink, 3);
  EXPECT_EQ(test.made.notes.size(), 1U);
  test.ask(sink, 10);
  EXPECT_EQ(next.batches, (std::vector<Ints>{{1, 2, 3}, {4, 5}, {6}}));  // cut where the info was
  EXPECT_EQ(test.made.notes.back(), "info");
}

TEST(PartitionDispatcher, CC_GPD_011_and_012_an_info_with_nothing_queued_comes_at_once) {
  Partitions test(2, modulo);
  test.world.cast(test.source, Sorter::Info{});
  EXPECT_EQ(test.made.notes, (std::vector<std::string>{"info"}));
  Seen zero;
  test.ask(test.serve(zero, 0), 5);
  test.world.cast(test.source, Sorter::Info{});
  EXPECT_EQ(test.made.notes, (std::vector<std::string>{"info", "info"}));
  EXPECT_EQ(test.figures(0).demand, 5U);
}

TEST(PartitionDispatcher, an_info_waits_for_the_last_of_several_queues) {
  Partitions test(3, modulo);
  Seen zero, one, two;
  const auto a = test.serve(zero, 0);
  const auto b = test.serve(one, 1);
  test.ask(test.serve(two, 2), 5);
  test.push({0, 1});
  test.world.cast(test.source, Sorter::Info{});
  test.push({3});
  test.ask(a, 9);
  EXPECT_TRUE(test.made.notes.empty());
  test.ask(b, 9);
  EXPECT_EQ(test.made.notes, (std::vector<std::string>{"info"}));
}

// The peer crashes, and its batch is lost.
TEST(PartitionDispatcher, CC_GPD_014_an_unknown_partition_costs_that_event_alone) {
  Partitions test(2, [](int event) { return event == 3 ? 7 : event % 2; });
  Seen zero, one;
  test.ask(test.serve(zero, 0), 10);
  test.ask(test.serve(one, 1), 10);
  test.push(ints(1, 6));
  EXPECT_EQ(zero.events(), (Ints{2, 4, 6}));
  EXPECT_EQ(one.events(), (Ints{1, 5}));
  EXPECT_EQ(test.dropped(DropReason::unroutable), 1U);
  EXPECT_EQ(test.world.log.count("count=1 reason=the hash named a partition that is not there"), 1U);
}

TEST(PartitionDispatcher, CC_GPD_014_a_hash_that_throws_costs_that_event_alone) {
  Partitions test(2, [](int event) {
    if (event % 3 == 0) throw std::runtime_error("three");
    return event % 2;
  });
  Seen zero, one;
  test.ask(test.serve(zero, 0), 10);
  test.ask(test.serve(one, 1), 10);
  test.push(ints(1, 8));
  EXPECT_EQ(zero.events(), (Ints{2, 4, 8}));
  EXPECT_EQ(one.events(), (Ints{1, 5, 7}));
  EXPECT_EQ(test.dropped(DropReason::unroutable), 2U);
  EXPECT_EQ(test.world.log.count("stage.events_unroutable"), 1U);
  EXPECT_EQ(test.made.demands, (Demands{10, 10, 2}));  // what went nowhere is asked for again
}

// The result of a hash has a type: what is no partition does not compile.
struct BadShape {
  double operator()(int event) const { return event; }
};
template <class Hash>
concept GivesPartition = std::integral<std::invoke_result_t<Hash, int>> ||
                         std::convertible_to<std::invoke_result_t<Hash, int>, std::string_view>;

TEST(PartitionDispatcher, CC_GPD_015_a_hash_of_a_wrong_shape_does_not_compile) {
  static_assert(!GivesPartition<BadShape>);
  static_assert(!detail::HashesEvent<std::hash<std::string>, int>);
  static_assert(detail::HashesEvent<std::hash<int>, int>);
  // What only a run can show: a negative number is no partition.
  Partitions test(2, [](int event) { return event; });
  Seen zero;
  test.ask(test.serve(zero, 0), 1);
  test.push({-1, 0});
  EXPECT_EQ(zero.events(), (Ints{0}));
  EXPECT_EQ(test.dropped(DropReason::unroutable), 1U);
}

template <class Partitions>
concept MakesPartitions = requires(Partitions partitions) { partition_dispatcher<int>(partitions); };

TEST(PartitionDispatcher, CC_GPD_016_no_partitions_and_bad_names_fail_the_start) {
  World world;
  Seen made;
  const auto error_of = [&](Sorter::Make make) {
    const auto started = world.runtime.start<Sorter>(std::ref(made), make, ProducerOptions{});
    return started ? std::string("started") : std::string(started.error().message());
  };
  EXPECT_NE(error_of(Partitions::counted(0, modulo)).find("partitions: must be 1 or more, got 0"), std::string::npos);
  EXPECT_NE(error_of([] { return partition_dispatcher<int>({"a", "b", "a"}, to_zero); }).find("\"a\" is there twice"),
            std::string::npos);
  // Names without a hash do not compile.
  static_assert(!MakesPartitions<std::vector<PartitionName>> && MakesPartitions<std::size_t>);
}

TEST(PartitionDispatcher, CC_GPD_018_the_default_hash_is_steady_and_uses_all_partitions) {
  Partitions test([] { return partition_dispatcher<int>(4); });
  std::array<Seen, 4> seen;
  for (std::size_t index = 0; index < 4; ++index) test.ask(test.serve(seen[index], index), 2000);
  test.push(ints(1, 1000));
  test.push(ints(1, 1000));
  std::size_t total = 0;
  for (const Seen& one : seen) {
    const Ints events = one.events();
    EXPECT_GT(events.size(), 300U);
    total += events.size();
    EXPECT_EQ(Ints(events.begin(), events.begin() + static_cast<std::ptrdiff_t>(events.size() / 2)),
              Ints(events.begin() + static_cast<std::ptrdiff_t>(events.size() / 2), events.end()));
  }
  EXPECT_EQ(total, 2000U);
}

TEST(PartitionDispatcher, CC_GPD_019_a_hash_may_rewrite_the_event) {
  Partitions test(2, [](int event) -> std::optional<Routed<int, int>> {
    if (event == 4) return std::nullopt;
    return Routed{event * 10, event == 5 ? 9 : event % 2};
  });
  Seen zero, one;
  test.ask(test.serve(zero, 0), 10);
  test.ask(test.serve(one, 1), 10);
  test.push(ints(1, 8));
  EXPECT_EQ(zero.events(), (Ints{20, 60, 80}));
  EXPECT_EQ(one.events(), (Ints{10, 30, 70}));
  EXPECT_EQ(test.dropped(DropReason::unroutable), 1U);
}

/// Counts up to 25 as it is asked to.
class Finite : public Producer<Finite, int> {
 public:
  explicit Finite(Seen& seen)
      : Producer(partition_dispatcher<int>(1, [](int) { return std::optional<int>(); })), seen_(seen) {}
  void handle_demand(std::uint64_t count) {
    seen_.demands.push_back(count);
    const std::size_t give = std::min<std::size_t>(count, static_cast<std::size_t>(25 - next_));
    emit(make_batch_of(give, [this](std::size_t) { return next_++; }));
  }

 private:
  Seen& seen_;
  int next_ = 0;
};

TEST(PartitionDispatcher, CC_GPD_020_a_pull_producer_whose_events_go_nowhere_is_asked_again) {
  World world;
  Seen made, seen;
  const auto source = world.runtime.start<Finite>(std::ref(made)).value();
  world.sink(seen, ProducerRef<int>(source), serving(0, demand(10, 5)));
  EXPECT_EQ(made.demands, (Demands{10, 10, 10, 5}));
  EXPECT_TRUE(seen.events().empty());
}

TEST(PartitionDispatcher, an_unknown_partition_is_refused_and_nobody_else_notices) {
  Partitions test(2, modulo);
  Seen zero, nine, none;
  test.ask(test.serve(zero, 0), 5);
  test.serve(nine, 9);
  test.world.sink(none, ProducerRef<int>(test.source), manual(CancelMode::temporary));
  EXPECT_EQ(nine.notes.back(), "end cancel partition: must be one of 0, 1, got 9");
  EXPECT_EQ(none.notes.back(), "end cancel partition: the partition dispatcher needs one of 0, 1, got none");
  test.push({2});
  EXPECT_EQ(zero.events(), (Ints{2}));
}

/// What `count` partitions do with batches of many sizes when their queues have bounds; then some get other names.
std::vector<Ints> routed(const Sorter::Make& make, std::size_t count) {
  Partitions test(make);
  std::vector<Seen> seen(count);
  std::vector<ServerRef<Sink>> sinks;
  for (std::size_t index = 0; index < count; ++index) sinks.push_back(test.serve(seen[index], index));
  int next = 0;
  std::uint64_t asked = 1;
  const auto push = [&] {
    for (const int size : {1, 7, 8, 9, 100, 1000}) {
      test.push(ints(next, next + size - 1));
      next += size;
      for (const ServerRef<Sink> sink : sinks) test.ask(sink, asked = asked * 7 % 311);
    }
    for (const ServerRef<Sink> sink : sinks) test.ask(sink, 10'000);  // what waited goes
  };
  push();
  std::vector<PartitionName> names = detail::counted_names(count);
  names.back() = "last";  // where the hash sends some, and which it does not find
  EXPECT_EQ(test.source.call_blocking<Sorter::Rename>(names).value(), "ok");
  push();
  std::vector<Ints> all;
  for (const Seen& one : seen) all.push_back(one.events());
  all.push_back({static_cast<int>(test.dropped(DropReason::unroutable))});
  all.push_back({static_cast<int>(test.dropped(DropReason::buffer_full))});
  return all;
}

TEST(PartitionDispatcher, events_that_the_default_hash_routes_by_blocks_go_where_each_would_go_alone) {
  const auto alone = [](const int& event, std::size_t count) { return detail::SpreadHash<int>{}(event, count); };
  for (const std::size_t count : {std::size_t{2}, std::size_t{3}, std::size_t{40}}) {
    for (const PartitionFull when_full :
         {PartitionFull::wait, PartitionFull::drop_oldest, PartitionFull::drop_newest}) {
      const PartitionOptions options{.queue_size = 20, .when_full = when_full};
      const std::vector<Ints> blocks = routed([&] { return partition_dispatcher<int>(count, options); }, count);
      EXPECT_EQ(blocks, routed([&] { return partition_dispatcher<int>(count, alone, options); }, count));
      EXPECT_GT(blocks[count][0], 0);
    }
  }
}

TEST(PartitionDispatcher, several_consumers_of_a_partition_take_turns_and_each_keeps_the_order) {
  Partitions test(1, to_zero);
  Seen a, b;
  const auto first = test.serve(a, 0);
  const auto second = test.serve(b, 0);
  test.ask(first, 3);
  test.ask(second, 3);
  test.push(ints(1, 4));
  EXPECT_EQ(a.events(), ints(1, 3));
  EXPECT_EQ(b.events(), ints(4, 4));
  test.leave(first);
  test.push(ints(5, 8));
  EXPECT_EQ(b.events(), ints(4, 6));
  test.ask(second, 9);
  EXPECT_EQ(b.events(), ints(4, 8));
}

TEST(PartitionDispatcher, a_full_queue_that_waits_holds_up_what_comes_behind) {
  Partitions test(2, modulo, PartitionOptions{.queue_size = 2, .when_full = PartitionFull::wait});
  Seen zero, one;
  const auto slow = test.serve(zero, 0);
  test.ask(test.serve(one, 1), 10);
  test.push({0, 2, 4, 1, 3, 6});
  EXPECT_TRUE(one.events().empty());  // 4 waits in the producer's buffer, and 1 behind it
  EXPECT_EQ(test.figures(0).buffered, 4U);
  test.ask(slow, 1);
  EXPECT_EQ(one.events(), (Ints{1, 3}));
  test.ask(slow, 10);
  EXPECT_EQ(zero.events(), (Ints{0, 2, 4, 6}));
}

TEST(PartitionDispatcher, a_rewriting_hash_waits_at_a_full_queue_with_one_event_more) {
  const auto rewrite = [](int&& event) { return Routed{event + 100, event % 2}; };
  Partitions test(2, rewrite, PartitionOptions{.queue_size = 1, .when_full = PartitionFull::wait});
  Seen zero, one;
  const auto slow = test.serve(zero, 0);
  const auto fast = test.serve(one, 1);
  test.ask(fast, 10);
  test.push({0, 2, 4, 1, 6, 3});
  test.ask(fast, 1);  // does not help partition 0
  EXPECT_EQ(test.figures(0).queued, 2U);
  test.ask(slow, 10);
  EXPECT_EQ(zero.events(), (Ints{100, 102, 104, 106}));
  EXPECT_EQ(one.events(), (Ints{101, 103}));
}

TEST(PartitionDispatcher, a_full_queue_that_drops_lets_the_others_pass) {
  for (const PartitionFull rule : {PartitionFull::drop_oldest, PartitionFull::drop_newest}) {
    Partitions test(2, modulo, PartitionOptions{.queue_size = 2, .when_full = rule});
    Seen zero, one;
    const auto slow = test.serve(zero, 0);
    test.ask(test.serve(one, 1), 10);
    test.push({0, 2, 4, 1, 3});
    EXPECT_EQ(one.events(), (Ints{1, 3}));
    EXPECT_EQ(test.dropped(DropReason::buffer_full), 1U);
    test.ask(slow, 10);
    EXPECT_EQ(zero.events(), rule == PartitionFull::drop_oldest ? (Ints{2, 4}) : (Ints{0, 2}));
  }
}

TEST(PartitionDispatcher, a_producer_may_see_which_partition_has_room) {
  Partitions test(2, modulo);
  Seen zero, one;
  test.ask(test.serve(zero, 0), 3);
  test.ask(test.serve(one, 1), 7);
  EXPECT_EQ(test.figures(0).demand, 3U);
  EXPECT_EQ(test.figures(1).demand, 7U);
  EXPECT_EQ(test.figures(1).partitions, 2U);
  EXPECT_EQ(test.figures(5).demand, 0U);
}

TEST(PartitionDispatcher, it_grows_and_shrinks_while_running) {
  Partitions test(2, modulo);
  Seen zero, one, two;
  const auto a = test.serve(zero, 0);
  const auto b = test.serve(one, 1);
  test.ask(a, 10);
  test.push({1, 3});
  EXPECT_EQ(test.source.call_blocking<Sorter::Resize>(std::size_t{3}).value(), "ok");
  const auto c = test.serve(two, 2);
  test.ask(c, 10);
  test.push({2, 4, 6});
  EXPECT_EQ(two.events(), (Ints{2}));
  EXPECT_EQ(zero.events(), (Ints{6}));
  EXPECT_EQ(test.figures(1).queued, 3U);  // 1, 3 and now 4

  EXPECT_EQ(test.source.call_blocking<Sorter::Resize>(std::size_t{1}).value(), "ok");
  test.world.run();
  EXPECT_EQ(two.notes.back(), "end cancel partition 2 was removed");
  EXPECT_EQ(one.notes.size(), 1U);  // what waits for it comes first
  test.ask(b, 2);
  test.ask(b, 2);
  EXPECT_EQ(one.events(), (Ints{1, 3, 4}));
  EXPECT_EQ(one.notes.back(), "end cancel partition 1 was removed");
  test.push({7, 8});
  EXPECT_EQ(zero.events(), (Ints{6, 7, 8}));
  EXPECT_EQ(test.source.call_blocking<Sorter::Resize>(std::size_t{0}).value(), "partitions: must be 1 or more, got 0");
  EXPECT_EQ(test.figures(0).partitions, 1U);
}

TEST(PartitionDispatcher, what_waits_for_nobody_in_a_removed_partition_is_counted) {
  Partitions test(2, modulo);
  Seen zero;
  test.ask(test.serve(zero, 0), 5);
  test.push({1, 3, 5});
  EXPECT_EQ(test.source.call_blocking<Sorter::Rename>(std::vector<PartitionName>{0, "odd"}).value(), "ok");
  EXPECT_EQ(test.dropped(DropReason::partition_removed), 3U);
  EXPECT_EQ(test.figures("odd").partitions, 2U);
}

TEST(PartitionDispatcher, an_elastic_consumer_never_makes_its_partition_wait) {
  Partitions test(2, modulo, PartitionOptions{.queue_size = 1, .when_full = PartitionFull::wait});
  Seen zero, one;
  SubscribeOptions<int> options = serving(0);
  options.overflow = KeepNewest{2};
  const auto lossy = test.world.sink(zero, ProducerRef<int>(test.source), options);
  test.ask(test.serve(one, 1), 10);
  test.push({0, 2, 4, 6, 1, 3});
  EXPECT_EQ(one.events(), (Ints{1, 3}));
  test.ask(lossy, 5);
  EXPECT_EQ(zero.events(), (Ints{4, 6}));
}

class BoxSource : public Producer<BoxSource, std::unique_ptr<int>> {
 public:
  BoxSource()
      : Producer(partition_dispatcher<std::unique_ptr<int>>(2, [](const std::unique_ptr<int>& box, std::size_t count) {
          return static_cast<std::size_t>(*box) % count;
        })) {}
  struct Push {
    int last;
  };
  void handle_cast(Push push) {
    emit(make_batch_of(static_cast<std::size_t>(push.last),
                       [](std::size_t index) { return std::make_unique<int>(static_cast<int>(index)); }));
  }
};
class BoxSink : public Consumer<BoxSink, std::unique_ptr<int>> {
 public:
  BoxSink(Ints& seen, ServerRef<BoxSource> source, int partition)
      : seen_(seen), source_(source), partition_(partition) {}
  void init() {
    SubscribeOptions<std::unique_ptr<int>> options;
    options.partition = partition_;
    subscribe_to(source_, options).value();
  }
  void handle_events(Batch<std::unique_ptr<int>> events) {
    for (const std::unique_ptr<int>& box : events.take_events()) seen_.push_back(*box);
  }

 private:
  Ints& seen_;
  ServerRef<BoxSource> source_;
  int partition_;
};

TEST(PartitionDispatcher, move_only_events_are_moved_to_their_consumers) {
  World world;
  Ints even, odd;
  const auto source = world.runtime.start<BoxSource>().value();
  world.runtime.start<BoxSink>(std::ref(even), source, 0).value();
  world.runtime.start<BoxSink>(std::ref(odd), source, 1).value();
  world.cast(source, BoxSource::Push{6});
  EXPECT_EQ(even, (Ints{0, 2, 4}));
  EXPECT_EQ(odd, (Ints{1, 3, 5}));
}

}  // namespace
}  // namespace dagverk
