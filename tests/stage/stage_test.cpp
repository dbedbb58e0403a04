// Producers and consumers on the deterministic runtime: asking, dispatching, buffering, beginning and ending.

#include "stages.hpp"

#include <gtest/gtest.h>

#include <type_traits>

namespace dagverk {
namespace {

using namespace std::chrono_literals;
using namespace stage_tests;

// ---- types
// ------------------------------------------------------------------------------------------------------------

class Texts : public Producer<Texts, std::string> {};

static_assert(std::is_constructible_v<ProducerRef<int>, ServerRef<Source>>);
static_assert(std::is_constructible_v<ProducerRef<std::string>, ServerRef<Texts>>);
static_assert(!std::is_constructible_v<ProducerRef<std::string>, ServerRef<Source>>, "events of another type");
static_assert(!std::is_constructible_v<ProducerRef<int>, ServerRef<Sink>>, "a consumer is no producer");

template <class Stage, class From>
concept Subscribable = requires(ServerRef<Stage> stage, ServerRef<From> from) { subscribe_blocking(stage, from); };
static_assert(Subscribable<Sink, Source>);
static_assert(!Subscribable<Sink, Texts>, "subscribing a Consumer<int> to a Producer<string> does not compile");
static_assert(!Subscribable<Source, Source>, "CC-GSU-017: a producer has nothing to subscribe with");

// ---- ask points
// -------------------------------------------------------------------------------------------------------

TEST(Stage, CC_GST_001_default_demand_gives_batches_of_500) {
  World world;
  Seen seen;
  auto counter = world.runtime.start<Counter>().value();
  world.sink(seen, counter, SubscribeOptions<int>(), 2999);
  ASSERT_GE(seen.batches.size(), 6U);
  EXPECT_EQ(seen.batches[0], ints(0, 499));
  EXPECT_EQ(seen.batches[1], ints(500, 999));
  EXPECT_EQ(seen.batches[5], ints(2500, 2999));
}

TEST(Stage, CC_GST_002_max_100_min_80_gives_batches_of_20) {
  World world;
  Seen seen;
  auto counter = world.runtime.start<Counter>().value();
  world.sink(seen, counter, demand(100, 80), 1019);
  ASSERT_EQ(seen.batches.size(), 51U);
  for (int index = 0; index < 51; ++index) {
    EXPECT_EQ(seen.batches[static_cast<std::size_t>(index)], ints(index * 20, index * 20 + 19));
  }
}

TEST(Stage, CC_GST_003_max_100_min_20_gives_80_20_80_80_20) {
  World world;
  Seen seen;
  auto counter = world.runtime.start<Counter>().value();
  world.sink(seen, counter, demand(100, 20), 279);
  EXPECT_EQ(seen.batches,
            (std::vector<Ints>{ints(0, 79), ints(80, 99), ints(100, 179), ints(180, 259), ints(260, 279)}));
}

TEST(Stage, max_1_is_one_event_at_a_time) {
  World world;
  Seen seen;
  auto counter = world.runtime.start<Counter>().value();
  world.sink(seen, counter, demand(1, 0), 4);
  EXPECT_EQ(seen.batches, (std::vector<Ints>{{0}, {1}, {2}, {3}, {4}}));
}

/// Breaks its promise: delivers everything at once, whatever was asked. Stands in for a producer that is no better.
class Flood final : public Dispatcher<int> {
 public:
  explicit Flood(std::vector<std::uint64_t>& asks) : asks_(asks) {}
  Result<void> subscribe(Outlet<int>& outlet) override {
    outlet_ = &outlet;
    return {};
  }
  void ask(Outlet<int>& /*outlet*/, std::uint64_t count) override { asks_.push_back(count); }
  void cancel(Outlet<int>& /*outlet*/) override { outlet_ = nullptr; }
  std::uint64_t demand() const noexcept override { return outlet_ != nullptr ? 1'000'000 : 0; }
  void dispatch(Batch<int>& events) override {
    outlet_->deliver(Batch<int>());  // an empty one is never sent
    outlet_->deliver(std::move(events));
    events = Batch<int>();
  }

 private:
  std::vector<std::uint64_t>& asks_;
  Outlet<int>* outlet_ = nullptr;
};

class FloodSource : public Producer<FloodSource, int> {
 public:
  explicit FloodSource(std::vector<std::uint64_t>& asks) : Producer(std::make_unique<Flood>(asks)) {}
  void handle_cast(Source::Push push) { emit(make_batch(push.events)); }
};

TEST(Stage, CC_GST_009_and_010_excess_events_are_handled_but_not_asked_for_again_and_empty_ones_not_at_all) {
  World world;
  Seen seen;
  std::vector<std::uint64_t> asks;
  auto flood = world.runtime.start<FloodSource>(std::ref(asks)).value();
  world.sink(seen, flood, demand(4, 2));
  EXPECT_EQ(asks, (std::vector<std::uint64_t>{4}));
  world.cast(flood, Source::Push{ints(1, 7)});
  EXPECT_EQ(seen.batches, (std::vector<Ints>{{1, 2}, {3, 4}, {5, 6}, {7}}));
  EXPECT_EQ(asks, (std::vector<std::uint64_t>{4, 2, 2}));  // the other three had not been asked for
  EXPECT_EQ(world.log.count("stage.events_in_excess"), 1U);
}

TEST(Stage, CC_GST_013_casts_handled_one_by_one_give_batches_of_one_and_one_callback_gives_one_batch) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  world.sink(seen, source, demand(10, 0));
  for (int event = 1; event <= 3; ++event) source.cast(Source::PushEach{{event}});
  world.run();  // one message per turn here: nothing to merge
  EXPECT_EQ(seen.batches, (std::vector<Ints>{{1}, {2}, {3}}));
  world.cast(source, Source::PushEach{ints(4, 6)});
  EXPECT_EQ(seen.batches.back(), ints(4, 6));
}

/// Handles a batch for a second.
class SlowSink : public Consumer<SlowSink, int> {
 public:
  SlowSink(Seen& seen, ProducerRef<int> producer, SubscribeOptions<int> options)
      : seen_(seen), producer_(producer), options_(std::move(options)) {}
  void init() { id_ = subscribe_to(producer_, options_).value(); }
  Async<void> handle_events(const Batch<int>& events) {  // the batch outlives the callback, so a reference will do
    seen_.batches.emplace_back(events.begin(), events.end());
    co_await this_process::sleep(1s);
    seen_.notes.push_back(concat("done ", events.back()));
  }
  std::uint64_t handle_call(Sink::Pending) { return asked_of(id_); }

 private:
  Seen& seen_;
  ProducerRef<int> producer_;
  SubscribeOptions<int> options_;
  SubscriptionId id_;
};

TEST(Stage, CC_GST_014_the_next_part_and_the_ask_wait_until_handle_events_has_returned) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  static_cast<void>(world.runtime.start<SlowSink>(std::ref(seen), source, demand(10, 5)).value());
  world.run();
  world.cast(source, Source::Push{ints(1, 10)});
  EXPECT_EQ(seen.batches, (std::vector<Ints>{ints(1, 5)}));
  EXPECT_EQ(made.demands, (std::vector<std::uint64_t>{10}));
  world.runtime.advance(1s);
  EXPECT_EQ(seen.batches, (std::vector<Ints>{ints(1, 5), ints(6, 10)}));
  EXPECT_EQ(made.demands, (std::vector<std::uint64_t>{10, 5}));
  world.runtime.advance(1s);
  EXPECT_EQ(seen.notes, (std::vector<std::string>{"done 5", "done 10"}));
  EXPECT_EQ(made.demands, (std::vector<std::uint64_t>{10, 5, 5}));
}

TEST(Stage, a_coroutine_handle_demand_emits_later) {
  class Fetcher : public Producer<Fetcher, int> {
   public:
    Async<void> handle_demand(std::uint64_t count) {
      co_await this_process::sleep(10ms);
      for (std::uint64_t index = 0; index < count && next_ < 20; ++index) emit(next_++);
    }

   private:
    int next_ = 0;
  };
  World world;
  Seen seen;
  auto fetcher = world.runtime.start<Fetcher>().value();
  world.sink(seen, fetcher, demand(4, 2));
  EXPECT_TRUE(seen.batches.empty());
  world.runtime.advance(1s);
  EXPECT_EQ(seen.events(), ints(0, 19));
}

// ---- the demand dispatcher
// --------------------------------------------------------------------------------------------

TEST(DemandDispatcher, CC_GDD_001_to_005_a_leavers_demand_is_not_asked_for_twice) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto first = world.sink(seen, source, manual(CancelMode::temporary));
  EXPECT_TRUE(made.demands.empty());
  world.cast(first, Sink::Ask{10});
  EXPECT_EQ(made.demands, (std::vector<std::uint64_t>{10}));
  world.cast(first, Sink::Cancel{ExitReason::normal});
  auto second = world.sink(seen, source, manual(CancelMode::temporary));
  world.cast(second, Sink::Ask{5});
  EXPECT_EQ(made.demands, (std::vector<std::uint64_t>{10}));
  world.cast(second, Sink::Cancel{ExitReason::normal});
  auto third = world.sink(seen, source, manual());
  world.cast(third, Sink::Ask{12});
  EXPECT_EQ(made.demands, (std::vector<std::uint64_t>{10, 2}));
}

TEST(DemandDispatcher, CC_GDD_008_and_009_what_exceeds_the_demand_is_left_over) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto sink = world.sink(seen, source, manual());
  world.cast(sink, Sink::Ask{3});
  world.cast(source, Source::Push{{1}});
  EXPECT_EQ(seen.batches, (std::vector<Ints>{{1}}));
  world.cast(sink, Sink::Ask{3});
  world.cast(source, Source::Push{ints(2, 8)});
  EXPECT_EQ(seen.batches.back(), ints(2, 6));
  world.cast(source, Source::Push{{9, 10}});
  EXPECT_EQ(seen.batches.size(), 2U);
  EXPECT_EQ(source.call_blocking<Source::Buffered>(), 4U);
}

TEST(DemandDispatcher, CC_GDD_010_012_013_the_greediest_is_served_first_and_equals_take_turns) {
  World world;
  Seen made;
  Seen a;
  Seen b;
  Seen c;
  auto source = world.source(std::ref(made));
  auto first = world.sink(a, source, manual());
  auto second = world.sink(b, source, manual());
  auto third = world.sink(c, source, manual());
  world.cast(first, Sink::Ask{4});
  world.cast(second, Sink::Ask{2});
  world.cast(third, Sink::Ask{3});
  world.cast(source, Source::Push{ints(1, 9)});
  EXPECT_EQ(a.events(), ints(1, 4));
  EXPECT_EQ(c.events(), ints(5, 7));
  EXPECT_EQ(b.events(), ints(8, 9));
  world.cast(first, Sink::Ask{3});
  world.cast(second, Sink::Ask{3});
  world.cast(source, Source::Push{{10, 11}});
  world.cast(source, Source::Push{{12, 13}});
  world.cast(source, Source::Push{{14, 15, 16}});
  EXPECT_EQ(a.batches, (std::vector<Ints>{ints(1, 4), {10, 11}, {14}}));
  EXPECT_EQ(b.batches, (std::vector<Ints>{{8, 9}, {12, 13}, {15}}));
  EXPECT_EQ(source.call_blocking<Source::Buffered>(), 1U);
}

TEST(DemandDispatcher, CC_GDD_016_and_017_a_greedy_ask_is_logged_and_served) {
  World world;
  Seen made;
  Seen seen;
  auto limited = world.source(std::ref(made), DemandDispatcherOptions{.max_demand = 3});
  auto sink = world.sink(seen, limited, manual());
  world.cast(sink, Sink::Ask{4});
  EXPECT_EQ(world.log.count("stage.greedy_ask asked=4 maximum=3"), 1U);
  EXPECT_EQ(made.demands, (std::vector<std::uint64_t>{4}));
  auto free = world.source(std::ref(made));
  auto one = world.sink(seen, free, manual());
  auto two = world.sink(seen, free, manual());
  world.cast(one, Sink::Ask{10});
  world.cast(two, Sink::Ask{11});
  EXPECT_EQ(world.log.count("asked=11 maximum=10"), 1U);
}

TEST(DemandDispatcher, CC_GDD_019_single_events_go_to_the_greedy_one_until_demands_are_equal) {
  World world;
  Seen made;
  Seen greedy;
  Seen modest;
  auto source = world.source(std::ref(made));
  auto big = world.sink(greedy, source, manual());
  auto small = world.sink(modest, source, manual());
  world.cast(big, Sink::Ask{100});
  world.cast(small, Sink::Ask{10});
  for (int event = 1; event <= 95; ++event) world.cast(source, Source::Push{{event}});
  EXPECT_EQ(modest.events(), (Ints{91, 93, 95}));
  EXPECT_EQ(greedy.events().size(), 92U);
}

TEST(DemandDispatcher, move_only_events_are_moved_out_behind_it) {
  class Boxes : public Producer<Boxes, std::unique_ptr<int>> {
   public:
    void handle_demand(std::uint64_t count) {
      emit(make_batch_of(count, [this](std::size_t) { return std::make_unique<int>(next_++); }));
    }

   private:
    int next_ = 0;
  };
  class Unpacker : public Consumer<Unpacker, std::unique_ptr<int>> {
   public:
    Unpacker(Ints& seen, ProducerRef<std::unique_ptr<int>> boxes) : seen_(seen), boxes_(boxes) {}
    void init() {
      SubscribeOptions<std::unique_ptr<int>> options;
      options.max_demand = 4;
      subscribe_to(boxes_, std::move(options)).value();
    }
    void handle_events(Batch<std::unique_ptr<int>> events) {
      for (std::unique_ptr<int>& box : events.take_events()) seen_.push_back(*box);
      if (seen_.size() >= 10) stop();
    }

   private:
    Ints& seen_;
    ProducerRef<std::unique_ptr<int>> boxes_;
  };
  World world;
  Ints seen;
  auto boxes = world.runtime.start<Boxes>().value();
  static_cast<void>(world.runtime.start<Unpacker>(std::ref(seen), boxes).value());
  world.run();
  EXPECT_EQ(seen, ints(0, 9));
}

// ---- the broadcast dispatcher
// -----------------------------------------------------------------------------------------

TEST(BroadcastDispatcher, CC_GST_005_all_consumers_get_the_same_lists) {
  World world;
  Seen made;
  Seen a;
  Seen b;
  auto source = world.source(std::ref(made), true);
  world.sink(a, source, demand(10, 0));
  world.sink(b, source, demand(20, 0));
  world.cast(source, Source::Push{ints(1, 100)});
  EXPECT_EQ(a.batches.front(), ints(1, 10));
  EXPECT_EQ(a.events(), ints(1, 100));
  EXPECT_EQ(b.events(), ints(1, 100));
  for (const Ints& batch : a.batches) EXPECT_EQ(batch.size(), 10U);
}

TEST(BroadcastDispatcher, CC_GST_006_one_that_never_asks_holds_up_all_until_it_leaves) {
  World world;
  Seen idle;
  Seen a;
  Seen b;
  Seen made;
  auto source = world.source(std::ref(made), true);
  auto raw = world.sink(idle, source, manual());
  world.sink(a, source, demand(10, 0));
  world.sink(b, source, demand(20, 0));
  world.cast(source, Source::Push{ints(1, 10)});
  EXPECT_TRUE(a.batches.empty());
  world.cast(raw, Sink::Cancel{ExitReason::killed});
  EXPECT_EQ(a.batches, (std::vector<Ints>{ints(1, 10)}));
  EXPECT_EQ(b.batches, (std::vector<Ints>{ints(1, 10)}));
}

TEST(BroadcastDispatcher, CC_GST_007_only_the_common_demand_goes_up) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made), true);
  world.sink(seen, source, demand(10, 0));
  world.sink(seen, source, demand(20, 0));
  EXPECT_EQ(made.demands, (std::vector<std::uint64_t>{10}));
}

TEST(BroadcastDispatcher, CC_GBC_001_to_006_common_demand_is_owed_to_whoever_comes) {
  World world;
  Seen made;
  Seen a;
  Seen b;
  auto source = world.source(std::ref(made), true);
  auto first = world.sink(a, source, manual(CancelMode::temporary));
  world.cast(first, Sink::Ask{10});
  EXPECT_EQ(made.demands, (std::vector<std::uint64_t>{10}));
  auto second = world.sink(b, source, manual());
  world.cast(first, Sink::Cancel{ExitReason::normal});
  world.cast(second, Sink::Ask{10});
  EXPECT_EQ(made.demands, (std::vector<std::uint64_t>{10}));
  world.cast(source, Source::Push{ints(1, 10)});
  EXPECT_TRUE(a.batches.empty());
  EXPECT_EQ(b.batches, (std::vector<Ints>{ints(1, 10)}));
}

TEST(BroadcastDispatcher, CC_GBC_007_and_008_a_cancel_may_pass_demand_up) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made), true);
  auto first = world.sink(seen, source, manual());
  auto second = world.sink(seen, source, manual(CancelMode::temporary));
  world.cast(first, Sink::Ask{10});
  EXPECT_TRUE(made.demands.empty());
  world.cast(second, Sink::Cancel{ExitReason::normal});
  EXPECT_EQ(made.demands, (std::vector<std::uint64_t>{10}));
}

TEST(BroadcastDispatcher, CC_GBC_010_to_014_dispatches_the_common_part_and_serves_what_was_left_over_first) {
  World world;
  Seen made;
  Seen a;
  Seen b;
  auto source = world.source(std::ref(made), true);
  auto first = world.sink(a, source, manual());
  auto second = world.sink(b, source, manual());
  world.cast(first, Sink::Ask{3});
  world.cast(second, Sink::Ask{2});
  EXPECT_EQ(made.demands, (std::vector<std::uint64_t>{2}));
  world.cast(source, Source::Push{{1, 2}});
  EXPECT_EQ(a.events(), (Ints{1, 2}));
  EXPECT_EQ(b.events(), (Ints{1, 2}));
  world.cast(second, Sink::Ask{2});
  EXPECT_EQ(made.demands, (std::vector<std::uint64_t>{2, 1}));
  world.cast(source, Source::Push{{3, 4}});
  EXPECT_EQ(a.events(), (Ints{1, 2, 3}));
  EXPECT_EQ(b.events(), (Ints{1, 2, 3}));
  EXPECT_EQ(source.call_blocking<Source::Buffered>(), 1U);
  world.cast(first, Sink::Ask{1});  // ours: answered from the buffer, nothing is passed up
  EXPECT_EQ(a.events(), ints(1, 4));
  EXPECT_EQ(b.events(), ints(1, 4));
  EXPECT_EQ(made.demands, (std::vector<std::uint64_t>{2, 1}));
  Seen c;
  world.sink(c, source, manual());
  world.cast(first, Sink::Ask{5});
  world.cast(second, Sink::Ask{5});
  world.cast(source, Source::Push{{5, 6}});
  EXPECT_EQ(a.events(), ints(1, 4));  // the newcomer has not asked
  EXPECT_EQ(source.call_blocking<Source::Buffered>(), 2U);
}

TEST(BroadcastDispatcher, CC_GBC_016_and_018_debt_outlives_the_one_who_asked) {
  World world;
  Seen made;
  Seen a;
  Seen b;
  auto source = world.source(std::ref(made), true);
  auto first = world.sink(a, source, manual(CancelMode::temporary));
  world.cast(first, Sink::Ask{10});
  world.cast(first, Sink::Cancel{ExitReason::normal});
  auto second = world.sink(b, source, manual());
  world.cast(second, Sink::Ask{5});
  EXPECT_EQ(made.demands, (std::vector<std::uint64_t>{10}));
  world.cast(source, Source::Push{ints(1, 3)});
  EXPECT_EQ(b.events(), ints(1, 3));
  world.cast(second, Sink::Ask{5});  // 7 open, 7 owed
  EXPECT_EQ(made.demands, (std::vector<std::uint64_t>{10}));
  world.cast(second, Sink::Ask{1});
  EXPECT_EQ(made.demands, (std::vector<std::uint64_t>{10, 1}));
}

SubscribeOptions<int> selecting(std::int64_t max, std::function<bool(const int&)> selector) {
  SubscribeOptions<int> options;
  options.max_demand = max;
  options.cancel = CancelMode::temporary;
  options.selector = std::move(selector);
  return options;
}

TEST(BroadcastDispatcher, CC_GBC_020_and_030_what_a_selector_rejects_costs_no_demand) {
  World world;
  Seen all;
  Seen none;
  Seen odd;
  auto counter = world.runtime.start<Counter>(true).value();
  // An endless flow: never run until idle.
  const SubscribeOptions<int> odds_only = selecting(7, [](const int& event) { return event % 2 == 1; });
  const SubscribeOptions<int> nothing = selecting(4, [](const int&) { return false; });
  static_cast<void>(world.runtime.start<Sink>(std::ref(odd), counter, odds_only).value());
  static_cast<void>(world.runtime.start<Sink>(std::ref(none), counter, nothing).value());
  static_cast<void>(world.runtime.start<Sink>(std::ref(all), counter, demand(1000, 500)).value());
  world.runtime.run_until_idle(30000);
  ASSERT_GE(all.events().size(), 2000U);  // no stop at 1000
  const Ints got = all.events();
  for (std::size_t index = 0; index < got.size(); ++index) ASSERT_EQ(got[index], got[0] + static_cast<int>(index));
  EXPECT_TRUE(none.batches.empty());
  const Ints odds = odd.events();
  for (std::size_t index = 0; index < odds.size(); ++index)
    ASSERT_EQ(odds[index], odds[0] + static_cast<int>(index) * 2);
  EXPECT_GE(odds.size(), 900U);
}

TEST(BroadcastDispatcher, CC_GBC_029_a_manual_consumer_gets_no_empty_batch_and_loses_no_demand) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made), true);
  SubscribeOptions<int> options = manual();
  options.selector = [](const int& event) { return event > 100; };
  auto sink = world.sink(seen, source, options);
  world.cast(sink, Sink::Ask{2});
  world.cast(source, Source::Push{{1, 2}});
  EXPECT_TRUE(seen.batches.empty());
  EXPECT_EQ(made.demands, (std::vector<std::uint64_t>{2, 2}));
  world.cast(source, Source::Push{{101, 102, 103}});
  EXPECT_EQ(seen.batches, (std::vector<Ints>{{101, 102}}));
}

TEST(BroadcastDispatcher, a_selector_that_throws_ends_its_own_subscription_alone) {
  World world;
  Seen made;
  Seen healthy;
  Seen faulty;
  auto source = world.source(std::ref(made), true);
  world.sink(healthy, source, demand(10, 5));
  auto bad = world.sink(faulty, source, selecting(10, [](const int& event) {
                          if (event == 13) throw std::runtime_error("thirteen");
                          return true;
                        }));
  world.cast(source, Source::Push{{1, 2}});
  world.cast(source, Source::Push{{12, 13, 14}});
  world.cast(source, Source::Push{{15}});
  EXPECT_EQ(healthy.events(), (Ints{1, 2, 12, 13, 14, 15}));
  EXPECT_EQ(faulty.events(), (Ints{1, 2}));
  EXPECT_EQ(faulty.notes.back(), "end cancel error std::runtime_error: thirteen");
  EXPECT_EQ(made.notes.back(), "end cancel error std::runtime_error: thirteen");
  EXPECT_EQ(source.call_blocking<Source::Consumers>(), 1U);
  EXPECT_FALSE(world.runtime.exit_reason(bad));
}

TEST(BroadcastDispatcher, CC_GBC_022_and_GSU_009_a_second_subscription_of_one_consumer_is_refused_and_hurts_nobody) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made), true);
  auto sink = world.sink(seen, source, demand(10, 5));
  EXPECT_TRUE(subscribe_blocking(sink, source));
  world.run();
  EXPECT_EQ(seen.notes, (std::vector<std::string>{"subscribe", "subscribe", "end cancel already_subscribed"}));
  EXPECT_FALSE(world.runtime.exit_reason(sink));
  EXPECT_EQ(source.call_blocking<Source::Consumers>(), 1U);
  EXPECT_EQ(sink.call_blocking<Sink::Count>(), 1U);
  EXPECT_EQ(world.log.count("stage.subscription_refused"), 1U);
  world.cast(source, Source::Push{ints(1, 30)});
  EXPECT_EQ(seen.events(), ints(1, 30));
}

TEST(BroadcastDispatcher, CC_GBC_024_and_025_events_pushed_between_two_consumers_come_first_and_in_order) {
  for (const bool more : {false, true}) {
    World world;
    Seen made;
    Seen a;
    Seen c;
    auto source = world.source(std::ref(made), true);
    auto first = world.sink(a, source, demand(10, 5));
    world.runtime.exit(first.pid(), ExitReason::kill);
    world.run();
    world.cast(source, Source::Push{ints(1, 5)});
    world.sink(c, source, demand(10, 5));
    EXPECT_EQ(c.events(), ints(1, 5));
    if (more) world.cast(source, Source::Push{ints(6, 12)});
    EXPECT_EQ(c.events(), ints(1, more ? 12 : 5));
  }
}

TEST(BroadcastDispatcher, CC_GBC_026_a_late_answer_to_a_dead_consumer_reaches_the_next_and_flow_goes_on) {
  World world;
  Seen made;
  Seen a;
  Seen c;
  auto source = world.source(std::ref(made), true);
  auto first = world.sink(a, source, demand(10, 0));
  world.runtime.exit(first.pid(), ExitReason::kill);
  world.run();
  world.cast(source, Source::Push{ints(1, 10)});
  world.sink(c, source, demand(10, 0));
  EXPECT_EQ(c.events(), ints(1, 10));
  EXPECT_EQ(made.demands, (std::vector<std::uint64_t>{10, 10}));
}

TEST(BroadcastDispatcher, CC_GBC_028_the_slowest_governs_and_order_is_kept) {
  World world;
  Seen made;
  Seen slow;
  Seen quick;
  auto source = world.source(std::ref(made), true);
  auto a = world.sink(slow, source, manual());
  world.cast(a, Sink::Ask{4});
  world.sink(quick, source, demand(4, 2));
  for (int event = 1; event <= 9; ++event) world.cast(source, Source::Push{{event}});
  EXPECT_EQ(quick.events(), ints(1, 4));
  world.cast(a, Sink::Ask{5});
  EXPECT_EQ(quick.events(), ints(1, 9));
  EXPECT_EQ(slow.events(), ints(1, 9));
}

// ---- the buffer
// -------------------------------------------------------------------------------------------------------

Ints taken(Batch<int> batch) { return Ints(batch.begin(), batch.end()); }

TEST(EventBuffer, CC_GBU_016_to_026_keeps_order_bounds_and_counts) {
  detail::EventBuffer<int> newest(3, BufferKeep::newest);
  EXPECT_TRUE(newest.take(5).empty());
  EXPECT_EQ(newest.store(make_batch({1, 2, 3})), 0U);
  EXPECT_EQ(newest.store(make_batch({4, 5, 6})), 3U);
  EXPECT_TRUE(newest.take(0).empty());
  EXPECT_EQ(newest.size(), 3U);
  EXPECT_EQ(taken(newest.take(3)), (Ints{4, 5, 6}));
  EXPECT_EQ(newest.store(make_batch({1, 2})), 0U);
  EXPECT_EQ(newest.store(make_batch({3, 4, 5, 6, 7})), 4U);
  EXPECT_EQ(taken(newest.take(9)), (Ints{5, 6, 7}));

  detail::EventBuffer<int> oldest(3, BufferKeep::oldest);
  EXPECT_EQ(oldest.store(make_batch({1, 2})), 0U);
  EXPECT_EQ(oldest.store(make_batch({3, 4, 5})), 2U);
  EXPECT_EQ(taken(oldest.take(2)), (Ints{1, 2}));
  EXPECT_EQ(oldest.store(make_batch({6})), 0U);
  EXPECT_EQ(taken(oldest.take(9)), (Ints{3, 6}));

  detail::EventBuffer<int> endless(ProducerOptions::unbounded, BufferKeep::oldest);
  EXPECT_EQ(endless.store(make_batch(ints(1, 1000))), 0U);
  EXPECT_EQ(endless.store(make_batch({1001})), 0U);
  EXPECT_EQ(endless.size(), 1001U);
  EXPECT_EQ(endless.take(2000).size(), 1000U);  // large batches leave as they are

  detail::EventBuffer<int> none(0, BufferKeep::newest);
  EXPECT_EQ(none.store(make_batch({1, 2})), 2U);
  EXPECT_TRUE(none.empty());

  detail::EventBuffer<std::unique_ptr<int>> moving(10, BufferKeep::newest);
  for (int number = 0; number < 4; ++number) {
    BatchBuilder<std::unique_ptr<int>> one;
    one.emplace(std::make_unique<int>(number));
    static_cast<void>(moving.store(one.build()));
  }
  Batch<std::unique_ptr<int>> joined = moving.take(3);
  EXPECT_EQ(joined.size(), 3U);
  EXPECT_EQ(*joined[2], 2);
  moving.put_back(std::move(joined));
  EXPECT_EQ(moving.size(), 4U);
}

TEST(Buffer, CC_GBU_002_keep_oldest_drops_the_new_and_reports_once) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made), ProducerOptions{.buffer_size = 5, .buffer_keep = BufferKeep::oldest});
  world.cast(source, Source::Push{ints(1, 5)});
  world.cast(source, Source::Push{ints(6, 8)});
  EXPECT_EQ(world.log.count("stage.events_discarded"), 1U);
  EXPECT_EQ(world.log.count("count=3"), 1U);
  world.sink(seen, source, demand(4, 0));
  EXPECT_EQ(seen.batches, (std::vector<Ints>{ints(1, 4), {5}}));
}

TEST(Buffer, CC_GBU_003_keep_newest_drops_the_old) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made), ProducerOptions{.buffer_size = 5});
  world.cast(source, Source::Push{ints(1, 5)});
  world.cast(source, Source::Push{ints(6, 8)});
  EXPECT_EQ(world.log.count("count=3"), 1U);
  world.sink(seen, source, demand(4, 0));
  EXPECT_EQ(seen.batches, (std::vector<Ints>{ints(4, 7), {8}}));
}

TEST(Buffer, CC_GBU_004_and_008_an_unbounded_buffer_keeps_all_and_can_be_counted) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made), ProducerOptions{.buffer_size = ProducerOptions::unbounded});
  world.cast(source, Source::Push{ints(1, 5)});
  EXPECT_EQ(source.call_blocking<Source::Buffered>(), 5U);
  world.cast(source, Source::Push{ints(6, 8)});
  EXPECT_EQ(source.call_blocking<Source::Buffered>(), 8U);
  world.sink(seen, source, demand(4, 0));
  EXPECT_EQ(seen.batches, (std::vector<Ints>{ints(1, 4), ints(5, 8)}));
  EXPECT_EQ(source.call_blocking<Source::Buffered>(), 0U);
  EXPECT_EQ(world.log.count("discarded"), 0U);
}

TEST(Buffer, CC_GBU_006_and_007_handle_discarded_decides_about_the_report) {
  class Judge : public Producer<Judge, int> {
   public:
    Judge(std::vector<std::uint64_t>& counts, bool report)
        : Producer(ProducerOptions{.buffer_size = 5, .buffer_keep = BufferKeep::oldest}),
          counts_(counts),
          report_(report) {}
    void handle_cast(Source::Push push) { emit(make_batch(push.events)); }
    bool handle_discarded(std::uint64_t count) {
      counts_.push_back(count);
      return report_;
    }

   private:
    std::vector<std::uint64_t>& counts_;
    bool report_;
  };
  for (const bool report : {true, false}) {
    World world;
    Seen seen;
    std::vector<std::uint64_t> counts;
    auto judge = world.runtime.start<Judge>(std::ref(counts), report).value();
    world.cast(judge, Source::Push{ints(1, 8)});
    EXPECT_EQ(counts, (std::vector<std::uint64_t>{3}));
    EXPECT_EQ(world.log.count("stage.events_discarded"), report ? 1U : 0U);
    world.sink(seen, judge, demand(5, 0));
    EXPECT_EQ(seen.events(), ints(1, 5));
  }
}

TEST(Buffer, CC_GBU_010_and_011_the_default_holds_ten_thousand) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  for (int event = 1; event <= 10001; ++event) source.cast(Source::PushEach{{event}});
  world.run();
  EXPECT_EQ(world.log.count("stage.events_discarded"), 1U);
  EXPECT_EQ(source.call_blocking<Source::Buffered>(), 10000U);
  world.sink(seen, source, demand(1000, 500));
  EXPECT_EQ(seen.events(), ints(2, 10001));
  auto other = world.source(std::ref(made));
  world.cast(other, Source::Push{ints(1, 10500)});
  EXPECT_EQ(world.log.count("count=500"), 1U);
  EXPECT_EQ(other.call_blocking<Source::Buffered>(), 10000U);
}

TEST(Buffer, CC_GBU_014_the_buffer_is_served_before_demand_goes_up) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  world.cast(source, Source::Push{ints(1, 3)});
  auto sink = world.sink(seen, source, manual());
  world.cast(sink, Sink::Ask{1});
  world.cast(source, Source::Push{{4}});
  world.cast(sink, Sink::Ask{5});
  EXPECT_EQ(seen.batches, (std::vector<Ints>{{1}, {2, 3, 4}}));
  EXPECT_EQ(made.demands, (std::vector<std::uint64_t>{2}));
}

TEST(Buffer, CC_GBU_015_events_before_the_first_consumer_wait_for_it) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made), true);
  world.cast(source, Source::Push{ints(1, 5)});
  world.sink(seen, source, demand(10, 5));
  EXPECT_EQ(seen.events(), ints(1, 5));
}

TEST(Buffer, size_zero_drops_at_once_and_counts) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made), true, ProducerOptions{.buffer_size = 0});
  world.cast(source, Source::Push{ints(1, 5)});
  auto sink = world.sink(seen, source, manual());
  world.cast(sink, Sink::Ask{2});
  world.cast(source, Source::Push{ints(6, 8)});
  EXPECT_EQ(seen.events(), (Ints{6, 7}));
  const Snapshot shot = world.runtime.snapshot();
  ASSERT_EQ(shot.edges.size(), 2U);
  EXPECT_NE(shot.edges[0].name.find("Source#"), std::string::npos);
  EXPECT_NE(shot.edges[0].name.find(" buffer"), std::string::npos);
  EXPECT_EQ(shot.edges[0].dropped, 6U);
  EXPECT_EQ(shot.edges[0].delivered, 2U);
  EXPECT_EQ(shot.edges[0].buffered, 0U);
  EXPECT_NE(shot.edges[1].name.find("Sink#"), std::string::npos);
  EXPECT_EQ(shot.edges[1].asked, 2U);
  EXPECT_EQ(shot.edges[1].delivered, 2U);
}

// ---- subscribing
// ------------------------------------------------------------------------------------------------------

TEST(Subscribe, CC_GSU_001_and_021_a_running_consumer_subscribes_and_the_producer_sees_its_options) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto sink = world.sink(seen);
  EXPECT_TRUE(subscribe_blocking(sink, source, demand(12, 3)));
  world.run();
  EXPECT_EQ(made.notes, (std::vector<std::string>{"subscribe 12"}));
  EXPECT_EQ(made.demands, (std::vector<std::uint64_t>{12}));
  Result<SubscriptionId> inside = Error(ErrorCode::internal);
  world.runtime.spawn([&, sink, source]() -> Async<void> {
    SubscribeOptions<int> options = demand(5, 2);
    inside = co_await subscribe(sink, source, std::move(options));
  });
  world.run();
  EXPECT_TRUE(inside);
  EXPECT_EQ(made.demands, (std::vector<std::uint64_t>{12, 5}));  // GSUB-07: twice to one producer
}

TEST(Subscribe, CC_GSU_002_an_ended_consumer_cannot) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto sink = world.sink(seen);
  world.cast(sink, Sink::End{ExitReason::normal});
  EXPECT_EQ(subscribe_blocking(sink, source).error().code(), ErrorCode::no_process);
}

TEST(Subscribe, CC_GSU_003_and_004_bad_demand_is_an_error_and_the_consumer_lives) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto sink = world.sink(seen);
  SubscribeOptions<int> zero;
  zero.max_demand = 0;
  EXPECT_EQ(subscribe_blocking(sink, source, zero).error().message(),
            "expected :max_demand to be equal to or greater than 1, got: 0");
  EXPECT_EQ(subscribe_blocking(sink, source, demand(1000, 2000)).error().message(),
            "expected :min_demand to be equal to or less than 999, got: 2000");
  EXPECT_FALSE(world.runtime.exit_reason(sink));
  EXPECT_TRUE(made.notes.empty());
}

TEST(Subscribe, CC_GSU_006_and_008_a_dead_producer_ends_the_consumer_unless_the_subscription_is_temporary) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  world.cast(source, Source::End{ExitReason::normal});
  auto permanent = world.sink(seen);
  EXPECT_TRUE(subscribe_blocking(permanent, source));
  world.run();
  EXPECT_EQ(world.runtime.exit_reason(permanent), ExitReason::noproc);
  auto temporary = world.sink(seen);
  EXPECT_TRUE(subscribe_blocking(temporary, source, ending(CancelMode::temporary)));
  world.run();
  EXPECT_FALSE(world.runtime.exit_reason(temporary));
  EXPECT_EQ(seen.notes.back(), "end down noproc");
}

TEST(Subscribe, CC_GSU_014_and_016_manual_demand_is_asked_by_hand) {
  World world;
  Seen seen;
  auto counter = world.runtime.start<Counter>().value();
  auto sink = world.sink(seen, counter, manual());
  world.cast(sink, Sink::Ask{0});
  EXPECT_TRUE(seen.batches.empty());
  world.cast(sink, Sink::Ask{50});
  world.cast(sink, Sink::Ask{50});
  EXPECT_EQ(seen.batches, (std::vector<Ints>{ints(0, 49), ints(50, 99)}));
}

/// Subscribes by name in its init, and chooses manual demand in handle_subscribe.
class NamedSink : public Consumer<NamedSink, int> {
 public:
  NamedSink(Seen& seen, Name<Counter> producer, CancelMode mode)
      : seen_(seen), producer_(std::move(producer)), mode_(mode) {}
  void init() {
    SubscribeOptions<int> options;
    options.cancel = mode_;
    Result<SubscriptionId> id = subscribe_to(producer_, std::move(options));
    if (!id) seen_.notes.emplace_back(id.error().message());
  }
  DemandMode handle_subscribe(const SubscriptionInfo& info) {
    ask(info.id, 3);
    return DemandMode::manual;
  }
  void handle_events(Batch<int> events, const SubscriptionInfo& info) {
    seen_.batches.emplace_back(events.begin(), events.end());
    seen_.notes.push_back(concat("from ", info.peer_side == StageSide::producer ? "producer" : "?"));
  }

 private:
  Seen& seen_;
  Name<Counter> producer_;
  CancelMode mode_;
};

TEST(Subscribe, CC_GSU_018_by_name_and_a_name_that_nobody_holds_is_noproc) {
  World world;
  Seen seen;
  const Name<Counter> name(world.runtime, "counter");
  Result<ServerRef<NamedSink>> lost = world.runtime.start<NamedSink>(std::ref(seen), name, CancelMode::permanent);
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().code(), ErrorCode::no_process);
  EXPECT_EQ(seen.notes, (std::vector<std::string>{"nobody holds the name \"counter\""}));
  EXPECT_TRUE(world.runtime.start<NamedSink>(std::ref(seen), name, CancelMode::temporary));
  seen.notes.clear();
  static_cast<void>(world.runtime.start_with<Counter>(StartOptions{.name = "counter"}).value());
  EXPECT_TRUE(world.runtime.start<NamedSink>(std::ref(seen), name, CancelMode::permanent));
  world.run();
  EXPECT_EQ(seen.batches, (std::vector<Ints>{ints(0, 2)}));
  EXPECT_EQ(seen.notes, (std::vector<std::string>{"from producer"}));
}

// ---- callbacks and ends
// -----------------------------------------------------------------------------------------------

TEST(Callbacks, CC_GCP_005_007_008_the_producer_hears_of_its_consumers) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto first = world.sink(seen, source, ending(CancelMode::temporary));
  world.cast(first, Sink::Cancel{ExitReason::custom("oops")});
  auto second = world.sink(seen, source);
  world.runtime.exit(second.pid(), ExitReason::kill);
  world.run();
  EXPECT_EQ(made.notes,
            (std::vector<std::string>{"subscribe 1000", "end cancel oops", "subscribe 1000", "end down killed"}));
}

TEST(Callbacks, CC_GCP_009_events_of_a_call_leave_before_its_answer) {
  /// Notes when events and when the answer come.
  class Caller : public Consumer<Caller, int> {
   public:
    struct Go {};
    Caller(Seen& seen, ServerRef<Source> source) : seen_(seen), source_(source) {}
    void init() { subscribe_to(source_).value(); }
    void handle_events(Batch<int> events) { seen_.batches.emplace_back(events.begin(), events.end()); }

   private:
    Seen& seen_;
    ServerRef<Source> source_;
  };
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    DeterministicRuntime runtime({.seed = seed});
    Seen made;
    Seen seen;
    auto source = runtime.start<Source>(std::ref(made)).value();
    auto caller = runtime.start<Caller>(std::ref(seen), source).value();
    runtime.run_until_idle();
    // When the answer is there, the events are in the consumer's mailbox or handled already.
    Result<int> answer = 0;
    std::uint64_t depth_at_answer = 0;
    runtime.spawn([&, source]() -> Async<void> {
      Ints events = ints(1, 3);
      answer = co_await source.call<Source::PushAndReply>(std::move(events));
      depth_at_answer = caller.pid().core()->mailbox_depth() + seen.batches.size();
    });
    runtime.run_until_idle();
    EXPECT_EQ(answer, 7);
    EXPECT_GE(depth_at_answer, 1U) << "seed " << seed;
    EXPECT_EQ(seen.batches, (std::vector<Ints>{ints(1, 3)}));
  }
}

TEST(Callbacks, CC_GCP_012_and_GCC_014_a_down_of_somebody_else_goes_to_handle_info) {
  class Watcher : public Producer<Watcher, int> {
   public:
    struct Watch {
      Pid pid;
    };
    explicit Watcher(Seen& seen) : seen_(seen) {}
    void handle_cast(Watch watch) { static_cast<void>(this_process::monitor(watch.pid)); }
    void handle_info(const Down& down) { seen_.notes.push_back(concat("down ", down.reason.to_string())); }

   private:
    Seen& seen_;
  };
  World world;
  Seen seen;
  auto watcher = world.runtime.start<Watcher>(std::ref(seen)).value();
  world.cast(watcher, Watcher::Watch{world.runtime.spawn([] {})});
  EXPECT_EQ(seen.notes, (std::vector<std::string>{"down noproc"}));
}

TEST(Callbacks, CC_GCP_013_and_GCC_015_stop_terminates_normally) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto sink = world.sink(seen, source, ending(CancelMode::temporary));
  EXPECT_TRUE(world.runtime.stop(sink.pid(), ExitReason::normal, 1s));
  EXPECT_TRUE(world.runtime.stop(source.pid(), ExitReason::normal, 1s));
  EXPECT_EQ(seen.notes.back(), "terminate normal");
  EXPECT_EQ(made.notes.back(), "terminate normal");
}

TEST(Callbacks, CC_GCC_004_006_007_a_cancelled_subscription_ends_the_consumer_by_its_mode) {
  struct Case {
    CancelMode mode;
    ExitReason reason;
    bool ends;
  };
  const ExitReason oops = ExitReason::custom("oops");
  for (const Case& sample :
       {Case{CancelMode::temporary, oops, false}, Case{CancelMode::transient, oops, true},
        Case{CancelMode::transient, ExitReason::normal, false}, Case{CancelMode::permanent, oops, true},
        Case{CancelMode::permanent, ExitReason::normal, true}}) {
    World world;
    Seen made;
    Seen seen;
    auto source = world.source(std::ref(made));
    auto sink = world.sink(seen, source, ending(sample.mode));
    world.cast(sink, Sink::Cancel{sample.reason});
    EXPECT_EQ(seen.notes.at(1), concat("end cancel ", sample.reason.to_string()));
    EXPECT_EQ(world.runtime.exit_reason(sink).has_value(), sample.ends);
    if (sample.ends) {
      EXPECT_EQ(*world.runtime.exit_reason(sink), sample.reason);
    }
  }
}

TEST(Callbacks, CC_GCC_008_010_011_012_an_ended_producer_ends_the_consumer_by_its_mode) {
  struct Case {
    CancelMode mode;
    ExitReason reason;
    bool ends;
  };
  const ExitReason with = ExitReason::shutdown_with("x");
  for (const Case& sample :
       {Case{CancelMode::temporary, ExitReason::killed, false}, Case{CancelMode::permanent, ExitReason::killed, true},
        Case{CancelMode::permanent, ExitReason::normal, true}, Case{CancelMode::transient, ExitReason::shutdown, false},
        Case{CancelMode::transient, with, false}, Case{CancelMode::transient, ExitReason::killed, true}}) {
    World world;
    Seen made;
    Seen seen;
    auto source = world.source(std::ref(made));
    auto sink = world.sink(seen, source, ending(sample.mode));
    if (sample.reason == ExitReason::killed) {
      world.runtime.exit(source.pid(), ExitReason::kill);
    } else {
      source.cast(Source::End{sample.reason});
    }
    world.run();
    EXPECT_EQ(seen.notes.at(1), concat("end down ", sample.reason.to_string()));
    EXPECT_EQ(world.runtime.exit_reason(sink).has_value(), sample.ends);
    if (sample.ends) {
      EXPECT_EQ(*world.runtime.exit_reason(sink), sample.reason);
    }
  }
}

TEST(Callbacks, CC_GCC_018_handle_cancel_that_stops_wins) {
  class Stubborn : public Consumer<Stubborn, int> {
   public:
    explicit Stubborn(ProducerRef<int> producer) : producer_(producer) {}
    void init() { subscribe_to(producer_).value(); }
    void handle_events(Batch<int> /*events*/) {}
    void handle_cancel(const SubscriptionInfo& /*info*/, const SubscriptionEnd& /*why*/) {
      stop(ExitReason::custom("other"));
    }

   private:
    ProducerRef<int> producer_;
  };
  World world;
  Seen made;
  auto source = world.source(std::ref(made));
  auto stubborn = world.runtime.start<Stubborn>(source).value();
  world.run();
  world.cast(source, Source::CancelAll{"go away"});
  EXPECT_EQ(world.runtime.exit_reason(stubborn), ExitReason::custom("other"));
}

TEST(Callbacks, CC_GCP_015_a_producer_may_end_while_it_is_asked) {
  class Refusing : public Producer<Refusing, int> {
   public:
    void handle_demand(std::uint64_t /*count*/) { stop(ExitReason::custom("no more")); }
  };
  World world;
  Seen seen;
  auto refusing = world.runtime.start<Refusing>().value();
  auto sink = world.sink(seen, refusing);
  EXPECT_EQ(seen.notes.at(1), "end down no more");
  EXPECT_EQ(world.runtime.exit_reason(sink), ExitReason::custom("no more"));
}

TEST(Callbacks, events_emitted_before_a_crash_or_a_stop_are_delivered_before_the_end_is_seen) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  world.sink(seen, source, ending(CancelMode::temporary));
  source.cast(Source::Push{ints(1, 3)});
  source.cast(Source::Crash{});
  world.run();
  EXPECT_EQ(seen.events(), (Ints{1, 2, 3, -1}));
  EXPECT_EQ(seen.notes.back(), "end down error std::runtime_error: source on fire");
}

TEST(Callbacks, a_producer_can_end_a_subscription) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto sink = world.sink(seen, source, ending(CancelMode::temporary));
  source.cast(Source::Push{{1}});
  source.cast(Source::CancelAll{"closing"});
  source.cast(Source::Push{{2}});
  world.run();
  EXPECT_EQ(seen.events(), (Ints{1}));
  EXPECT_EQ(seen.notes.back(), "end cancel closing");
  EXPECT_EQ(sink.call_blocking<Sink::Count>(), 0U);
  EXPECT_EQ(source.call_blocking<Source::Buffered>(), 1U);
}

TEST(Callbacks, what_a_crashing_consumer_had_in_hand_is_counted_as_dropped) {
  class Fragile : public Consumer<Fragile, int> {
   public:
    explicit Fragile(ProducerRef<int> producer) : producer_(producer) {}
    void init() { subscribe_to(producer_, demand(10, 5)).value(); }
    void handle_events(Batch<int> events) {
      if (events.front() > 5) throw std::runtime_error("too much");
    }

   private:
    ProducerRef<int> producer_;
  };
  class Keeper : public Producer<Keeper, int> {  // keeps the edge listed: it looks while it is told of the end
   public:
    explicit Keeper(std::vector<EdgeInfo>& edges) : edges_(edges) {}
    void handle_cast(Source::Push push) { emit(make_batch(push.events)); }
    void handle_cancel(const SubscriptionInfo& /*info*/, const SubscriptionEnd& /*why*/) {
      edges_ = runtime().snapshot().edges;
    }

   private:
    std::vector<EdgeInfo>& edges_;
  };
  World world;
  std::vector<EdgeInfo> edges;
  auto keeper = world.runtime.start<Keeper>(std::ref(edges)).value();
  static_cast<void>(world.runtime.start<Fragile>(keeper).value());
  world.run();
  world.cast(keeper, Source::Push{ints(1, 10)});
  ASSERT_EQ(edges.size(), 2U);
  EXPECT_EQ(edges[1].delivered, 5U);
  EXPECT_EQ(edges[1].dropped, 5U);
  EXPECT_EQ(edges[1].buffered, 0U);
}

}  // namespace
}  // namespace dagverk
