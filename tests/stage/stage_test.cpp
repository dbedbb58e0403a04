// Producers and consumers on the deterministic runtime: asking, dispatching, buffering, beginning and ending.

#include "stages.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string_view>
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

TEST(Stage, what_a_dispatcher_sends_in_excess_is_handled_and_not_asked_for_again_and_empty_batches_are_not_sent) {
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

/// Writes down whose options it is shown.
class OptionsReader final : public Dispatcher<int> {
 public:
  using Read = std::vector<const SubscribeOptions<int>*>;
  explicit OptionsReader(Read& read) : read_(read) {}
  Result<void> subscribe(Outlet<int>& outlet) override {
    read_.push_back(&outlet.options());
    return {};
  }
  void ask(Outlet<int>& /*outlet*/, std::uint64_t /*count*/) override {}
  void cancel(Outlet<int>& /*outlet*/) override {}
  std::uint64_t demand() const noexcept override { return 0; }
  void dispatch(Batch<int>& /*events*/) override {}

 private:
  Read& read_;
};

class OptionsSource : public Producer<OptionsSource, int> {
 public:
  explicit OptionsSource(OptionsReader::Read& read) : Producer(std::make_unique<OptionsReader>(read)) {}
};

TEST(Stage, each_subscription_has_its_own_options_and_equal_ones_are_kept_once) {
  World world;
  Seen seen;
  OptionsReader::Read read;
  auto source = world.runtime.start<OptionsSource>(std::ref(read)).value();
  const auto with = [](auto change) {
    SubscribeOptions<int> options = demand(4, 2);
    change(options);
    return options;
  };
  const Overflow<int> newest = KeepNewest{5};
  const std::vector<SubscribeOptions<int>> given = {
      demand(4, 2),
      demand(4, 2),
      demand(6, 2),
      demand(6, 3),
      with([](auto& options) { options.min_demand.reset(); }),
      with([](auto& options) { options.cancel = CancelMode::transient; }),
      with([](auto& options) { options.manual = true; }),
      with([](auto& options) { options.selector = [](int event) { return event > 1; }; }),
      with([](auto& options) { options.selector = [](int event) { return event > 2; }; }),
      with([](auto& options) { options.partition = 1; }),
      with([](auto& options) { options.partition = "one"; }),
      with([&](auto& options) { options.overflow = newest; }),
      with([&](auto& options) { options.overflow = newest; }),
      with([](auto& options) { options.overflow = KeepNewest{5}; }),
      with([](auto& options) { options.unmerged = true; }),
  };
  for (const SubscribeOptions<int>& options : given) world.sink(seen, source, options);
  ASSERT_EQ(read.size(), given.size());
  for (std::size_t index = 0; index < given.size(); ++index) {
    const SubscribeOptions<int>& kept = *read[index];
    EXPECT_EQ(kept.max_demand, given[index].max_demand);
    EXPECT_EQ(kept.min_demand, given[index].min_demand);
    EXPECT_EQ(kept.cancel, given[index].cancel);
    EXPECT_EQ(kept.manual, given[index].manual);
    EXPECT_EQ(kept.partition, given[index].partition);
    EXPECT_EQ(kept.overflow, given[index].overflow);
    EXPECT_EQ(kept.unmerged, given[index].unmerged);
    if (kept.selector) {
      EXPECT_EQ(kept.selector(2), index == 7);
    }
    const bool shared = index != 0 && read[index] == read[index - 1];
    EXPECT_EQ(shared, index == 1 || index == 12) << index;
  }
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

// ---- callbacks and ends
// -----------------------------------------------------------------------------------------------

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

// ---- what edges count ----------------------------------------------------------------------------------------------

const EdgeInfo& edge_between(const Snapshot& shot, std::string_view part) {
  const auto found =
      std::ranges::find_if(shot.edges, [&](const EdgeInfo& edge) { return edge.name.find(part) != std::string::npos; });
  EXPECT_NE(found, shot.edges.end()) << part;
  return *found;
}

/// Handles each batch for a second.
class Dozy : public Consumer<Dozy, int> {
 public:
  explicit Dozy(ProducerRef<int> producer) : producer_(producer) {}
  void init() { subscribe_to(producer_, demand(4, 2)).value(); }
  static Async<void> handle_events(const Batch<int>& /*events*/) { co_await this_process::sleep(1s); }

 private:
  ProducerRef<int> producer_;
};

TEST(Edges, lag_is_the_age_of_the_oldest_event_on_its_way) {
  World world;
  Seen made;
  auto source = world.source(std::ref(made));
  auto dozy = world.runtime.start<Dozy>(source).value();
  world.runtime.advance(10s);
  EXPECT_EQ(edge_between(world.runtime.snapshot(), "->").lag, 0s);
  world.cast(source, Source::Push{{1, 2}});
  world.runtime.advance(400ms);
  world.cast(source, Source::Push{{3, 4}});
  const Snapshot first = world.runtime.snapshot();
  EXPECT_EQ(edge_between(first, "->").buffered, 4U);
  EXPECT_EQ(edge_between(first, "->").lag, 400ms);
  world.runtime.advance(1s);  // the first two are done, the others are being handled
  const Snapshot second = world.runtime.snapshot();
  EXPECT_EQ(edge_between(second, "->").buffered, 2U);
  EXPECT_EQ(edge_between(second, "->").lag, 1s);
  EXPECT_NE(to_text(second).find(", lag 1"), std::string::npos) << to_text(second);
  world.runtime.advance(1s);
  EXPECT_EQ(edge_between(world.runtime.snapshot(), "->").lag, 0s);
  EXPECT_FALSE(world.runtime.exit_reason(dozy));
}

TEST(Edges, a_long_lag_is_known_to_within_a_quarter_of_the_longest) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  SubscribeOptions<int> options = manual();
  options.overflow = KeepOldest{100'000};
  auto sink = world.sink(seen, source, options);
  for (int second = 0; second < 1000; ++second) {  // event n is sent in second n, and waits by its rule
    world.cast(source, Source::Push{{second}});
    world.runtime.advance(1s);
  }
  for (int taken = 0; taken < 900; taken += 100) {
    const Duration age = std::chrono::seconds(1000 - taken);
    const Duration lag = edge_between(world.runtime.snapshot(), "->").lag;
    EXPECT_GE(lag, age) << taken;
    EXPECT_LE(lag, age + std::chrono::seconds(250)) << taken;
    world.cast(sink, Sink::Ask{100});
  }
}

TEST(Edges, blocked_is_how_long_events_have_waited_for_somebody) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made), true);
  auto quick = world.sink(seen, source, manual());
  static_cast<void>(world.runtime.start<Dozy>(source).value());
  world.cast(quick, Sink::Ask{100});
  world.cast(source, Source::Push{ints(1, 4)});
  world.runtime.advance(300ms);
  EXPECT_EQ(edge_between(world.runtime.snapshot(), "buffer").blocked, 0s);
  world.cast(source, Source::Push{ints(5, 8)});  // nothing is asked for until the first two are done
  world.runtime.advance(500ms);
  const Snapshot waiting = world.runtime.snapshot();
  EXPECT_EQ(edge_between(waiting, "buffer").blocked, 500ms);
  EXPECT_EQ(edge_between(waiting, "Dozy#").blocked, 500ms);
  EXPECT_EQ(edge_between(waiting, "Sink#").blocked, 0s) << "it has asked for more";
  world.runtime.advance(200ms);
  world.runtime.advance(10s);
  const Snapshot after = world.runtime.snapshot();
  EXPECT_EQ(edge_between(after, "buffer").buffered, 0U);
  EXPECT_EQ(edge_between(after, "buffer").blocked, 1700ms) << "two seconds of handling, but for 0.3";
  EXPECT_EQ(edge_between(after, "Dozy#").blocked, 1700ms);
  EXPECT_NE(to_text(after).find(", blocked 1.7"), std::string::npos) << to_text(after);
}

}  // namespace
}  // namespace dagverk
