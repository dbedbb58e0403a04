// The demand and the broadcast dispatcher, case by case. The catalogue speaks of a dispatcher's private counters; here
// they are shown by what is passed up to handle_demand and by what is delivered.

#include "../stages.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace dagverk {
namespace {

using namespace stage_tests;
using Demands = std::vector<std::uint64_t>;
using Batches = std::vector<Ints>;

/// A source and consumers that ask by hand: each step runs until nothing is left to do.
struct Bench {
  explicit Bench(bool broadcast) : source(world.source(std::ref(made), broadcast)) {}
  explicit Bench(DemandDispatcherOptions options) : source(world.source(std::ref(made), options)) {}

  ServerRef<Sink> subscribe(Seen& seen, SubscribeOptions<int> options = manual(CancelMode::temporary)) {
    return world.sink(seen, ProducerRef<int>(source), std::move(options));
  }
  void ask(ServerRef<Sink> sink, std::uint64_t count) { world.cast(sink, Sink::Ask{count}); }
  void cancel(ServerRef<Sink> sink) { world.cast(sink, Sink::Cancel{ExitReason::normal}); }
  void push(Ints events) { world.cast(source, Source::Push{std::move(events)}); }
  std::size_t left_over() { return source.call_blocking<Source::Buffered>().value(); }
  std::size_t consumers() { return source.call_blocking<Source::Consumers>().value(); }

  World world;
  Seen made, a, b, c;
  ServerRef<Source> source;
};
struct Demanding : Bench {
  Demanding() : Bench(false) {}
};
struct Broadcasting : Bench {
  Broadcasting() : Bench(true) {}
};

// ---- the demand dispatcher -----------------------------------------------------------------------------------------

TEST(DemandDispatcherCases, CC_GDD_001_who_subscribes_and_leaves_without_asking_leaves_nothing) {
  Demanding test;
  const auto sink = test.subscribe(test.a);
  EXPECT_EQ(test.consumers(), 1U);
  test.cancel(sink);
  EXPECT_EQ(test.consumers(), 0U);
  EXPECT_TRUE(test.made.demands.empty());
}

TEST(DemandDispatcherCases, CC_GDD_002_an_ask_is_passed_up) {
  Demanding test;
  test.ask(test.subscribe(test.a), 10);
  EXPECT_EQ(test.made.demands, (Demands{10}));
}

TEST(DemandDispatcherCases, CC_GDD_003_a_leavers_demand_is_not_taken_back) {
  Demanding test;
  const auto sink = test.subscribe(test.a);
  test.ask(sink, 10);
  test.cancel(sink);
  EXPECT_EQ(test.made.demands, (Demands{10}));
  test.push({1});  // what was asked comes to nobody: it waits
  EXPECT_EQ(test.left_over(), 1U);
}

TEST(DemandDispatcherCases, CC_GDD_004_the_next_ask_is_answered_by_what_is_owed) {
  Demanding test;
  const auto first = test.subscribe(test.a);
  test.ask(first, 10);
  test.cancel(first);
  const auto second = test.subscribe(test.b);
  test.ask(second, 5);
  EXPECT_EQ(test.made.demands, (Demands{10}));
  test.push({1, 2});
  EXPECT_EQ(test.b.events(), (Ints{1, 2}));
}

TEST(DemandDispatcherCases, CC_GDD_005_what_two_leavers_asked_is_owed_once) {
  Demanding test;
  const auto first = test.subscribe(test.a);
  test.ask(first, 10);
  test.cancel(first);
  const auto second = test.subscribe(test.b);
  test.ask(second, 5);
  test.cancel(second);
  test.ask(test.subscribe(test.c), 11);
  EXPECT_EQ(test.made.demands, (Demands{10, 1}));
}

TEST(DemandDispatcherCases, CC_GDD_008_an_event_uses_up_demand) {
  Demanding test;
  const auto sink = test.subscribe(test.a);
  test.ask(sink, 3);
  test.push({1});
  EXPECT_EQ(test.a.batches, (Batches{{1}}));
  test.push({2, 3, 4});
  EXPECT_EQ(test.a.batches, (Batches{{1}, {2, 3}}));
}

TEST(DemandDispatcherCases, CC_GDD_009_more_than_was_asked_is_left_over) {
  Demanding test;
  const auto sink = test.subscribe(test.a);
  test.ask(sink, 3);
  test.push({1});
  test.ask(sink, 3);
  test.push(ints(2, 8));
  EXPECT_EQ(test.a.batches.back(), ints(2, 6));
  EXPECT_EQ(test.left_over(), 2U);
  test.push({9, 10});
  EXPECT_EQ(test.a.batches.size(), 2U);
}

TEST(DemandDispatcherCases, CC_GDD_010_consumers_stand_in_order_of_their_demand) {
  Demanding test;
  test.ask(test.subscribe(test.a), 4);
  test.ask(test.subscribe(test.b), 2);
  test.ask(test.subscribe(test.c), 3);
  test.push(ints(1, 9));
  EXPECT_EQ(test.a.events(), ints(1, 4));
  EXPECT_EQ(test.c.events(), ints(5, 7));
  EXPECT_EQ(test.b.events(), ints(8, 9));
}

TEST(DemandDispatcherCases, CC_GDD_012_a_batch_is_cut_to_what_each_asked) {
  Demanding test;
  test.ask(test.subscribe(test.a), 3);
  test.ask(test.subscribe(test.b), 2);
  test.push(ints(1, 5));
  EXPECT_EQ(test.a.batches, (Batches{ints(1, 3)}));
  EXPECT_EQ(test.b.batches, (Batches{ints(4, 5)}));
  EXPECT_EQ(test.left_over(), 0U);
}

TEST(DemandDispatcherCases, CC_GDD_013_equals_take_turns) {
  Demanding test;
  test.ask(test.subscribe(test.a), 3);
  test.ask(test.subscribe(test.b), 3);
  test.push({1, 2});
  test.push({3, 4});
  test.push({5, 6, 7});
  EXPECT_EQ(test.a.batches, (Batches{{1, 2}, {5}}));
  EXPECT_EQ(test.b.batches, (Batches{{3, 4}, {6}}));
  EXPECT_EQ(test.left_over(), 1U);
}

/// A dispatcher's word about an info: when nothing waits in it, at once.
template <class Made>
bool info_comes_at_once(std::unique_ptr<Made> dispatcher) {
  bool came = false;
  dispatcher->after_queued([&came] { came = true; });
  return came && dispatcher->demand() == 0 && dispatcher->queued() == 0;
}

TEST(DemandDispatcherCases, CC_GDD_015_an_info_goes_to_the_stage_at_once) {
  EXPECT_TRUE(info_comes_at_once(demand_dispatcher<int>()));
}

TEST(DemandDispatcherCases, CC_GDD_016_an_ask_above_the_maximum_is_logged_and_served) {
  Bench test(DemandDispatcherOptions{.max_demand = 3});
  test.ask(test.subscribe(test.a), 4);
  EXPECT_EQ(test.world.log.count("stage.greedy_ask asked=4 maximum=3"), 1U);
  EXPECT_EQ(test.made.demands, (Demands{4}));
}

TEST(DemandDispatcherCases, CC_GDD_017_the_first_ask_is_the_maximum_when_none_was_given) {
  Demanding test;
  test.ask(test.subscribe(test.a), 10);
  test.ask(test.subscribe(test.b), 11);
  EXPECT_EQ(test.world.log.count("stage.greedy_ask asked=11 maximum=10"), 1U);
  EXPECT_EQ(test.made.demands, (Demands{10, 11}));
}

TEST(DemandDispatcherCases, a_shuffle_gives_each_seed_its_own_first_consumer_and_loses_nothing) {
  std::set<std::size_t> firsts;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    std::vector<std::size_t> first_of_run;
    for (int run = 0; run < 2; ++run) {
      Bench test(DemandDispatcherOptions{.max_demand = 0, .shuffle_seed = seed});
      Seen idle;
      test.subscribe(idle);  // has not asked: never chosen
      std::vector<Seen> seen(3);
      for (Seen& one : seen) test.ask(test.subscribe(one), 5);
      test.push({1});
      const auto chosen = std::ranges::find_if(seen, [](const Seen& one) { return !one.batches.empty(); });
      ASSERT_NE(chosen, seen.end());
      first_of_run.push_back(static_cast<std::size_t>(chosen - seen.begin()));
      test.push(ints(2, 15));
      std::size_t total = 0;
      for (const Seen& one : seen) total += one.events().size();
      EXPECT_EQ(total, 15U);
      EXPECT_TRUE(idle.batches.empty());
    }
    EXPECT_EQ(first_of_run[0], first_of_run[1]) << "seed " << seed;
    firsts.insert(first_of_run[0]);
  }
  EXPECT_EQ(firsts.size(), 3U);
}

// ---- the broadcast dispatcher --------------------------------------------------------------------------------------

TEST(BroadcastDispatcherCases, CC_GBC_001_who_subscribes_and_leaves_without_asking_leaves_nothing) {
  Broadcasting test;
  test.cancel(test.subscribe(test.a));
  EXPECT_EQ(test.consumers(), 0U);
  EXPECT_TRUE(test.made.demands.empty());
}

TEST(BroadcastDispatcherCases, CC_GBC_002_what_a_lone_consumer_asks_is_common) {
  Broadcasting test;
  test.ask(test.subscribe(test.a), 10);
  EXPECT_EQ(test.made.demands, (Demands{10}));
  test.push(ints(1, 11));
  EXPECT_EQ(test.a.events(), ints(1, 10));
}

TEST(BroadcastDispatcherCases, CC_GBC_003_what_the_last_consumer_asked_is_still_owed) {
  Broadcasting test;
  const auto sink = test.subscribe(test.a);
  test.ask(sink, 10);
  test.cancel(sink);
  EXPECT_EQ(test.made.demands, (Demands{10}));
  test.ask(test.subscribe(test.b), 12);
  EXPECT_EQ(test.made.demands, (Demands{10, 2}));
}

TEST(BroadcastDispatcherCases, CC_GBC_005_a_newcomer_takes_part_from_its_first_ask_on) {
  Broadcasting test;
  test.ask(test.subscribe(test.a), 10);
  const auto newcomer = test.subscribe(test.b);
  test.push(ints(1, 4));
  EXPECT_TRUE(test.a.batches.empty());  // nothing is common yet
  test.ask(newcomer, 3);
  EXPECT_EQ(test.a.events(), ints(1, 3));
  EXPECT_EQ(test.b.events(), ints(1, 3));
}

TEST(BroadcastDispatcherCases, CC_GBC_006_a_newcomer_inherits_what_is_owed) {
  Broadcasting test;
  const auto first = test.subscribe(test.a);
  test.ask(first, 10);
  const auto second = test.subscribe(test.b);
  test.cancel(first);
  test.ask(second, 10);
  EXPECT_EQ(test.made.demands, (Demands{10}));
  test.push(ints(1, 10));
  EXPECT_EQ(test.b.batches, (Batches{ints(1, 10)}));
}

TEST(BroadcastDispatcherCases, CC_GBC_007_nothing_is_passed_up_while_one_has_not_asked) {
  Broadcasting test;
  const auto first = test.subscribe(test.a);
  test.subscribe(test.b);
  test.ask(first, 10);
  EXPECT_TRUE(test.made.demands.empty());
}

TEST(BroadcastDispatcherCases, CC_GBC_008_a_leaver_that_was_the_slowest_lets_demand_pass) {
  Broadcasting test;
  const auto first = test.subscribe(test.a);
  const auto slowest = test.subscribe(test.b);
  test.ask(first, 10);
  test.cancel(slowest);
  EXPECT_EQ(test.made.demands, (Demands{10}));
}

/// Cases 010 to 014 follow each other.
struct CommonPart : Broadcasting {
  explicit CommonPart(int steps) : first(subscribe(a)), second(subscribe(b)) {
    ask(first, 3);
    ask(second, 2);
    if (steps >= 11) push({1, 2});
    if (steps >= 12) {
      ask(second, 2);
      push({3, 4});
    }
    if (steps >= 13) push({5});
  }
  ServerRef<Sink> first, second;
};

TEST(BroadcastDispatcherCases, CC_GBC_010_the_common_part_is_passed_up) {
  CommonPart test(10);
  EXPECT_EQ(test.made.demands, (Demands{2}));
}

TEST(BroadcastDispatcherCases, CC_GBC_011_what_is_common_goes_to_all) {
  CommonPart test(11);
  EXPECT_EQ(test.a.batches, (Batches{{1, 2}}));
  EXPECT_EQ(test.b.batches, (Batches{{1, 2}}));
  test.push({3});  // the first has one more open, the second none
  EXPECT_EQ(test.left_over(), 1U);
}

TEST(BroadcastDispatcherCases, CC_GBC_012_what_is_not_common_is_left_over) {
  CommonPart test(12);
  EXPECT_EQ(test.made.demands, (Demands{2, 1}));
  EXPECT_EQ(test.a.events(), ints(1, 3));
  EXPECT_EQ(test.b.events(), ints(1, 3));
  EXPECT_EQ(test.left_over(), 1U);
}

TEST(BroadcastDispatcherCases, CC_GBC_013_with_nothing_common_nobody_gets_anything) {
  CommonPart test(13);
  EXPECT_EQ(test.a.events(), ints(1, 3));
  EXPECT_EQ(test.left_over(), 2U);
}

// The peer passes the first's ask up and leaves the old event where it is; here the buffer answers it.
TEST(BroadcastDispatcherCases, CC_GBC_014_a_newcomer_that_has_not_asked_holds_up_all) {
  CommonPart test(13);
  test.ask(test.first, 1);
  EXPECT_EQ(test.a.events(), ints(1, 4));
  EXPECT_EQ(test.b.events(), ints(1, 4));
  test.subscribe(test.c);
  test.ask(test.first, 1);
  test.ask(test.second, 1);
  EXPECT_EQ(test.a.events(), ints(1, 4));
  EXPECT_EQ(test.left_over(), 1U);
  EXPECT_TRUE(test.c.batches.empty());
}

TEST(BroadcastDispatcherCases, CC_GBC_016_a_newcomer_turns_common_demand_into_open_demand) {
  Broadcasting test;
  test.ask(test.subscribe(test.a), 10);
  test.push(ints(1, 3));
  const auto newcomer = test.subscribe(test.b);
  test.push(ints(4, 6));
  EXPECT_EQ(test.a.events(), ints(1, 3));
  test.ask(newcomer, 9);
  EXPECT_EQ(test.a.events(), ints(1, 6));
  EXPECT_EQ(test.b.events(), ints(4, 6));
  EXPECT_EQ(test.made.demands, (Demands{10}));  // 4 are common now, and 4 are owed
}

TEST(BroadcastDispatcherCases, CC_GBC_018_debt_outlives_the_one_who_asked) {
  Broadcasting test;
  const auto first = test.subscribe(test.a);
  test.ask(first, 10);
  test.cancel(first);
  const auto second = test.subscribe(test.b);
  test.ask(second, 5);
  EXPECT_EQ(test.made.demands, (Demands{10}));
  test.push(ints(1, 3));
  EXPECT_EQ(test.b.events(), ints(1, 3));
  test.ask(second, 5);  // 7 open, 7 owed
  EXPECT_EQ(test.made.demands, (Demands{10}));
  test.ask(second, 1);
  EXPECT_EQ(test.made.demands, (Demands{10, 1}));
}

TEST(BroadcastDispatcherCases, CC_GBC_020_selectors_get_their_share_and_their_demand_back) {
  World world;
  struct Texts : Producer<Texts, std::string> {
    explicit Texts(Seen& seen) : Producer(broadcast_dispatcher<std::string>()), made(seen) {}
    void handle_cast(std::vector<std::string> texts) { emit(make_batch(std::move(texts))); }
    void handle_demand(std::uint64_t count) { made.demands.push_back(count); }
    Seen& made;
  };
  struct Reader : Consumer<Reader, std::string> {
    Reader(std::vector<std::string>& texts, ServerRef<Texts> from, std::string wanted)
        : seen(texts), source(from), prefix(std::move(wanted)) {}
    void init() {
      SubscribeOptions<std::string> options;
      options.max_demand = 4;
      options.min_demand = 0;
      options.selector = [prefix = prefix](const std::string& text) { return text.starts_with(prefix); };
      subscribe_to(source, std::move(options)).value();
    }
    void handle_events(const Batch<std::string>& texts) { seen.insert(seen.end(), texts.begin(), texts.end()); }
    std::vector<std::string>& seen;
    ServerRef<Texts> source;
    std::string prefix;
  };
  Seen made;
  std::vector<std::string> a, b;
  const auto source = world.runtime.start<Texts>(std::ref(made)).value();
  static_cast<void>(world.runtime.start<Reader>(std::ref(a), source, "pre").value());
  static_cast<void>(world.runtime.start<Reader>(std::ref(b), source, "pref").value());
  world.cast(source, std::vector<std::string>{"pref-1234", "pref-5678", "pre0000", "foo0000"});
  EXPECT_EQ(a, (std::vector<std::string>{"pref-1234", "pref-5678", "pre0000"}));
  EXPECT_EQ(b, (std::vector<std::string>{"pref-1234", "pref-5678"}));
  EXPECT_EQ(made.demands, (Demands{4, 1}));  // A has 1 open again and B 2: 1 is common
}

TEST(BroadcastDispatcherCases, CC_GBC_021_an_info_goes_to_the_stage_at_once) {
  EXPECT_TRUE(info_comes_at_once(broadcast_dispatcher<int>()));
}

TEST(BroadcastDispatcherCases, CC_GBC_022_a_consumer_may_subscribe_once) {
  Broadcasting test;
  const auto sink = test.subscribe(test.a, demand(10, 5));
  EXPECT_TRUE(subscribe_blocking(sink, ProducerRef<int>(test.source)));
  test.world.run();
  EXPECT_EQ(test.a.notes.back(), "end cancel already_subscribed");
  EXPECT_EQ(test.consumers(), 1U);
  EXPECT_EQ(test.world.log.count("stage.subscription_refused"), 1U);
  test.push(ints(1, 20));
  EXPECT_EQ(test.a.events(), ints(1, 20));
}

/// A consumer with max_demand 10 that was killed.
struct AfterADeath : Broadcasting {
  AfterADeath() {
    const auto victim = subscribe(a, demand(10, 5));
    world.runtime.exit(victim.pid(), ExitReason::kill);
    world.run();
    push(ints(1, 5));
  }
};

TEST(BroadcastDispatcherCases, CC_GBC_024_events_pushed_between_two_consumers_reach_the_second) {
  AfterADeath test;
  test.subscribe(test.c, demand(10, 5));
  EXPECT_EQ(test.c.events(), ints(1, 5));
}

TEST(BroadcastDispatcherCases, CC_GBC_025_and_come_before_those_pushed_later) {
  AfterADeath test;
  test.subscribe(test.c, demand(10, 5));
  test.push(ints(6, 12));
  EXPECT_EQ(test.c.events(), ints(1, 12));
}

TEST(BroadcastDispatcherCases, CC_GBC_030_a_selector_that_rejects_all_stops_nobody) {
  Broadcasting test;
  SubscribeOptions<int> all = demand(1000, 500);
  all.selector = [](const int&) { return true; };
  SubscribeOptions<int> none = demand(1000, 500);
  none.selector = [](const int&) { return false; };
  test.subscribe(test.a, all);
  test.subscribe(test.b, none);
  for (int first = 1; first <= 2000; first += 100) test.push(ints(first, first + 99));
  EXPECT_EQ(test.a.events(), ints(1, 2000));
  EXPECT_TRUE(test.b.batches.empty());
}

}  // namespace
}  // namespace dagverk
