// GenStage's cases about asking, from a producer to its consumers, and about what the protocol does with nonsense.

#include "probes.hpp"

#include <gtest/gtest.h>

namespace dagverk {
namespace {

using namespace std::chrono_literals;
using namespace stage_tests;

TEST(Demand, CC_GST_001_the_default_gives_batches_of_500) {
  World world;
  Seen seen;
  auto counter = world.runtime.start<Counter>().value();
  world.sink(seen, counter, SubscribeOptions<int>(), 2999);
  ASSERT_GE(seen.batches.size(), 6U);
  EXPECT_EQ(seen.batches[0], ints(0, 499));
  EXPECT_EQ(seen.batches[1], ints(500, 999));
  EXPECT_EQ(seen.batches[5], ints(2500, 2999));
}

TEST(Demand, CC_GST_002_max_100_min_80_gives_batches_of_20) {
  World world;
  Seen seen;
  auto counter = world.runtime.start<Counter>().value();
  world.sink(seen, counter, demand(100, 80), 1019);
  ASSERT_EQ(seen.batches.size(), 51U);
  for (int index = 0; index < 51; ++index) {
    EXPECT_EQ(seen.batches[static_cast<std::size_t>(index)], ints(index * 20, index * 20 + 19));
  }
}

TEST(Demand, CC_GST_003_max_100_min_20_gives_80_20_80_80_20) {
  World world;
  Seen seen;
  auto counter = world.runtime.start<Counter>().value();
  world.sink(seen, counter, demand(100, 20), 279);
  EXPECT_EQ(seen.batches, (Batches{ints(0, 79), ints(80, 99), ints(100, 179), ints(180, 259), ints(260, 279)}));
}

TEST(Demand, CC_GST_005_consumers_of_a_broadcast_get_the_same_lists) {
  World world;
  Seen a;
  Seen b;
  auto counter = world.runtime.start<Counter>(true).value();
  auto small = world.sink(a);
  auto large = world.sink(b);
  async_subscribe(small, counter, demand(10, 0));
  async_subscribe(large, counter, demand(20, 0));
  world.runtime.run_until_idle(2000);
  // Whoever came first was alone for a while.
  const bool a_came_later = a.batches.at(0).front() > b.batches.at(0).front();
  const Batches& later = a_came_later ? a.batches : b.batches;
  const Batches& earlier = a_came_later ? b.batches : a.batches;
  const std::size_t first = place_of(earlier, later[0]);
  ASSERT_LT(first + 10, earlier.size());
  ASSERT_GE(later.size(), 10U);
  for (std::size_t index = 0; index < 10; ++index) {
    EXPECT_EQ(later[index], earlier[first + index]);
    EXPECT_EQ(later[index].size(), 10U);
  }
}

TEST(Demand, CC_GST_006_one_that_never_asks_holds_up_a_broadcast_until_it_leaves) {
  World world;
  Seen raw;
  Seen a;
  Seen b;
  auto counter = world.runtime.start<Counter>(true).value();
  auto idle = world.runtime.start<RawConsumer>(std::ref(raw)).value();
  world.cast(idle, RawConsumer::Subscribe{counter, {}});
  auto small = world.sink(a);
  auto large = world.sink(b);
  EXPECT_TRUE(subscribe_blocking(small, counter, demand(10, 0)));
  EXPECT_TRUE(subscribe_blocking(large, counter, demand(20, 0)));
  world.run();
  EXPECT_TRUE(a.batches.empty());
  EXPECT_TRUE(b.batches.empty());
  idle.cast(RawConsumer::Cancel{ExitReason::killed});
  world.runtime.run_until_idle(500);
  EXPECT_EQ(raw.notes, (Notes{"cancel killed"}));
  ASSERT_GE(a.batches.size(), 3U);
  ASSERT_GE(b.batches.size(), 3U);
  for (int index = 0; index < 3; ++index) {
    EXPECT_EQ(a.batches[static_cast<std::size_t>(index)], ints(index * 10, index * 10 + 9));
    EXPECT_EQ(b.batches[static_cast<std::size_t>(index)], ints(index * 10, index * 10 + 9));
  }
}

TEST(Demand, CC_GST_007_a_broadcast_passes_the_common_demand_up_once) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made), true);
  world.sink(seen, source, demand(10, 0));
  world.sink(seen, source, demand(20, 0));
  EXPECT_EQ(made.demands, (Counts{10}));
}

TEST(Demand, CC_GST_009_what_nobody_asked_for_is_handled_but_not_asked_for_again) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto sink = world.sink(seen);
  const SubscriptionId id = subscribe_blocking(sink, source, demand(4, 2)).value();
  world.run();
  EXPECT_EQ(made.demands, (Counts{4}));
  send_raw_events(sink, id, ints(1, 7));
  world.run();
  EXPECT_EQ(seen.batches, (Batches{{1, 2}, {3, 4}, {5, 6}, {7}}));
  EXPECT_EQ(made.demands, (Counts{4, 2, 2}));
  EXPECT_EQ(world.log.count("stage.events_in_excess"), 1U);
  EXPECT_EQ(world.log.count("count=7 asked=4"), 1U);
}

TEST(Demand, CC_GST_010_no_callback_for_an_empty_list) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto sink = world.sink(seen);
  send_raw_events(sink, subscribe_blocking(sink, source).value(), {});
  world.run();
  EXPECT_TRUE(seen.batches.empty());
}

TEST(Demand, CC_GST_011_nor_with_manual_demand) {  // GenStage calls handle_events([]) here
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto sink = world.sink(seen);
  send_raw_events(sink, subscribe_blocking(sink, source, manual()).value(), {});
  world.run();
  EXPECT_TRUE(seen.batches.empty());
}

TEST(Demand, CC_GST_013_one_event_per_callback_gives_batches_of_one) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  world.sink(seen, source, demand(10, 0));
  for (int event = 1; event <= 3; ++event) world.cast(source, Source::PushEach{{event}});
  EXPECT_EQ(seen.batches, (Batches{{1}, {2}, {3}}));
  world.cast(source, Source::PushEach{ints(4, 6)});
  EXPECT_EQ(seen.batches.back(), ints(4, 6));  // ours: what is emitted while the process has its thread is one batch
}

TEST(Demand, an_unmerged_subscription_gets_what_each_emit_gave) {
  World world;
  Seen made;
  Seen seen;
  SubscribeOptions<int> options = demand(10, 0);
  options.unmerged = true;
  options.cancel = CancelMode::temporary;
  auto source = world.source(std::ref(made));
  world.cast(source, Source::PushEach{{1}});  // buffered, where small neighbours leave together otherwise
  world.cast(source, Source::PushEach{{2}});
  auto sink = world.sink(seen, source, options);
  world.cast(source, Source::PushEach{{3, 4}});
  world.cast(source, Source::Push{{5, 6}});
  EXPECT_EQ(seen.batches, (Batches{{1}, {2}, {3}, {4}, {5, 6}}));
  world.cast(sink, Sink::Cancel{ExitReason::normal});
  world.sink(seen, source, demand(10, 0));
  world.cast(source, Source::PushEach{{7, 8}});
  EXPECT_EQ(seen.batches.back(), (Ints{7, 8}));
}

/// Handles a batch for a second.
class SlowSink : public Consumer<SlowSink, int> {
 public:
  SlowSink(Seen& seen, ProducerRef<int> producer, SubscribeOptions<int> options)
      : seen_(seen), producer_(producer), options_(std::move(options)) {}
  void init() { subscribe_to(producer_, options_).value(); }
  Async<void> handle_events(const Batch<int>& events) {  // the batch outlives the callback, so a reference will do
    seen_.batches.emplace_back(events.begin(), events.end());
    co_await this_process::sleep(1s);
    seen_.notes.push_back(concat("done ", events.back()));
  }

 private:
  Seen& seen_;
  ProducerRef<int> producer_;
  SubscribeOptions<int> options_;
};

TEST(Demand, CC_GST_014_the_next_part_and_the_ask_wait_until_handle_events_has_returned) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  static_cast<void>(world.runtime.start<SlowSink>(std::ref(seen), source, demand(10, 5)).value());
  world.run();
  world.cast(source, Source::Push{ints(1, 10)});
  EXPECT_EQ(seen.batches, (Batches{ints(1, 5)}));
  EXPECT_EQ(made.demands, (Counts{10}));
  world.runtime.advance(1s);
  EXPECT_EQ(seen.batches, (Batches{ints(1, 5), ints(6, 10)}));
  EXPECT_EQ(made.demands, (Counts{10, 5}));
  world.runtime.advance(1s);
  EXPECT_EQ(seen.notes, (Notes{"done 5", "done 10"}));
  EXPECT_EQ(made.demands, (Counts{10, 5, 5}));
}

// ---- what no stage would send --------------------------------------------------------------------------------------

TEST(Protocol, CC_GPE_001_a_second_subscription_with_one_id_is_refused_and_the_first_works) {
  World world;
  Seen made;
  Seen raw;
  auto source = world.source(std::ref(made));
  auto probe = world.runtime.start<RawConsumer>(std::ref(raw)).value();
  world.cast(probe, RawConsumer::Subscribe{source, {}});
  world.cast(probe, RawConsumer::SubscribeAgain{});
  EXPECT_EQ(raw.notes, (Notes{"cancel duplicated_subscription"}));
  EXPECT_EQ(source.call_blocking<Source::Consumers>(), 1U);
  world.cast(probe, RawConsumer::Ask{3});
  world.cast(source, Source::Push{ints(1, 5)});
  EXPECT_EQ(raw.batches, (Batches{ints(1, 3)}));
}

TEST(Protocol, CC_GPE_003_what_only_a_producer_understands_cannot_be_sent_to_a_consumer) {
  // GenStage logs and drops it. Here a stage's class decides which messages can be made for it at all.
  EXPECT_TRUE((detail::StageAccess::understands<Sink, detail::EventsMessage<int>>()));
  EXPECT_FALSE((detail::StageAccess::understands<Sink, detail::SubscribeMessage<int>>()));
  EXPECT_FALSE((detail::StageAccess::understands<Sink, detail::AskMessage>()));
  EXPECT_FALSE((detail::StageAccess::understands<Sink, detail::CancelMessage>()));
}

TEST(Protocol, CC_GPE_004_events_of_an_unknown_subscription_are_dropped) {
  // GenStage answers {cancel, unknown_subscription}. Ids are never used twice and a producer hears of every end, so
  // there is nobody to tell.
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto sink = world.sink(seen, source);
  send_raw_events(sink, SubscriptionId{999'999}, ints(1, 3));
  world.run();
  EXPECT_TRUE(seen.batches.empty());
  EXPECT_FALSE(world.runtime.exit_reason(sink));
  world.cast(source, Source::Push{{4}});
  EXPECT_EQ(seen.events(), (Ints{4}));
}

TEST(Protocol, CC_GPE_005_what_only_a_consumer_understands_cannot_be_sent_to_a_producer) {
  EXPECT_TRUE((detail::StageAccess::understands<Source, detail::AskMessage>()));
  EXPECT_FALSE((detail::StageAccess::understands<Source, detail::EventsMessage<int>>()));
  EXPECT_FALSE((detail::StageAccess::understands<Source, detail::EndedMessage>()));
}

}  // namespace
}  // namespace dagverk
