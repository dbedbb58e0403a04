// GenStage's cases about stages in between: what they take, what they ask for, and how they end.

#include "probes.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace dagverk {
namespace {

using namespace std::chrono_literals;
using namespace stage_tests;

/// A Multiplier that is subscribed to `producer`.
ServerRef<Multiplier> doubler(World& world, Seen& seen, ProducerRef<int> producer, SubscribeOptions<int> options,
                              bool broadcast = false) {
  auto stage = world.runtime.start<Multiplier>(std::ref(seen), 2, broadcast).value();
  EXPECT_TRUE(subscribe_blocking(stage, producer, std::move(options)));
  return stage;
}

// ---- demand --------------------------------------------------------------------------------------------------------

TEST(ProducerConsumer, CC_GPC_001_max_100_min_80_between_a_counter_and_a_consumer_with_min_50) {
  World world;
  Seen between;
  Seen seen;
  auto counter = world.runtime.start<Counter>().value();
  auto stage = doubler(world, between, counter, demand(100, 80));
  static_cast<void>(world.runtime.start<Sink>(std::ref(seen), stage, demand(100, 50)).value());
  world.runtime.run_until_idle(600);
  ASSERT_GE(between.batches.size(), 6U);
  EXPECT_EQ(between.batches[0], ints(0, 19));
  EXPECT_EQ(between.batches[5], ints(100, 119));
  ASSERT_GE(seen.batches.size(), 6U);
  EXPECT_EQ(seen.batches[0], copies_of(0, 19));
  EXPECT_EQ(seen.batches[1], copies_of(20, 39));
  const Ints events = seen.events();  // whatever the lists are: every number twice, in order
  for (std::size_t index = 0; index < events.size(); ++index) ASSERT_EQ(events[index], static_cast<int>(index / 2));
  EXPECT_GE(events.size(), 280U);
}

TEST(ProducerConsumer, CC_GPC_002_with_max_100_min_20_it_takes_80_and_its_consumer_50) {
  World world;
  Seen between;
  Seen seen;
  auto counter = world.runtime.start<Counter>().value();
  auto stage = doubler(world, between, counter, demand(100, 20));
  static_cast<void>(world.runtime.start<Sink>(std::ref(seen), stage, demand(100, 50)).value());
  world.runtime.run_until_idle(600);
  ASSERT_GE(between.batches.size(), 3U);
  EXPECT_EQ(between.batches[0], ints(0, 79));
  EXPECT_LT(place_of(between.batches, ints(100, 179)), between.batches.size());
  ASSERT_GE(seen.batches.size(), 3U);
  EXPECT_EQ(seen.batches[0], copies_of(0, 24));
  EXPECT_EQ(seen.batches[1], copies_of(25, 49));
  EXPECT_EQ(seen.batches[2], copies_of(50, 74));
}

TEST(ProducerConsumer, CC_GPC_004_the_same_when_it_subscribes_later) {
  World world;
  Seen between;
  Seen seen;
  auto counter = world.runtime.start<Counter>().value();
  auto stage = world.runtime.start<Multiplier>(std::ref(between)).value();
  auto sink = world.sink(seen);
  EXPECT_TRUE(subscribe_blocking(sink, stage, demand(100, 50)));
  EXPECT_TRUE(subscribe_blocking(stage, counter, demand(100, 20)));
  world.runtime.run_until_idle(600);
  ASSERT_GE(between.batches.size(), 3U);
  EXPECT_EQ(between.batches[0], ints(0, 79));
  EXPECT_LT(place_of(between.batches, ints(100, 179)), between.batches.size());
  ASSERT_GE(seen.batches.size(), 3U);
  EXPECT_EQ(seen.batches[0], copies_of(0, 24));
  EXPECT_EQ(seen.batches[1], copies_of(25, 49));
  EXPECT_EQ(seen.batches[2], copies_of(50, 74));
}

TEST(ProducerConsumer, CC_GPC_005_what_is_emitted_later_holds_up_what_has_not_begun) {
  /// Emits by a message to itself.
  class Postponer : public ProducerConsumer<Postponer, int, int> {
   public:
    struct Later {
      Ints events;
    };
    explicit Postponer(Seen& seen) : seen_(seen) {}
    void handle_events(const Batch<int>& events) {
      seen_.batches.emplace_back(events.begin(), events.end());
      self().info(Later{seen_.batches.back()});
    }
    void handle_info(const Later& later) { emit(make_batch(later.events)); }

   private:
    Seen& seen_;
  };
  class Sleeper : public Consumer<Sleeper, int> {
   public:
    explicit Sleeper(Seen& seen) : seen_(seen) {}
    Async<void> handle_events(const Batch<int>& events) {
      seen_.batches.emplace_back(events.begin(), events.end());
      co_await this_process::sleep(24h);
    }

   private:
    Seen& seen_;
  };
  World world;
  Seen postponed;
  Seen seen;
  auto counter = world.runtime.start<Counter>().value();
  auto postponer = world.runtime.start<Postponer>(std::ref(postponed)).value();
  auto sleeper = world.runtime.start<Sleeper>(std::ref(seen)).value();
  EXPECT_TRUE(subscribe_blocking(postponer, counter, demand(10, 8)));
  EXPECT_TRUE(subscribe_blocking(sleeper, postponer, demand(10, 5)));
  world.run();
  EXPECT_EQ(postponed.batches, (Batches{{0, 1}, {2, 3}, {4, 5}, {6, 7}, {8, 9}}));
  EXPECT_EQ(seen.batches, (Batches{{0, 1}}));
}

TEST(ProducerConsumer, CC_GPC_007_a_broadcast_of_doubles_gives_both_consumers_lists_of_10) {
  World world;
  Seen between;
  Seen a;
  Seen b;
  auto counter = world.runtime.start<Counter>().value();
  auto stage = doubler(world, between, counter, demand(10, 5), true);
  auto small = world.sink(a);
  auto large = world.sink(b);
  async_subscribe(small, stage, demand(10, 0));
  async_subscribe(large, stage, demand(20, 0));
  world.runtime.run_until_idle(3000);
  EXPECT_LT(place_of(a.batches, copies_of(200, 204)), a.batches.size());
  EXPECT_LT(place_of(b.batches, copies_of(200, 204)), b.batches.size());
}

TEST(ProducerConsumer, CC_GPC_008_one_that_never_asks_holds_both_up) {
  World world;
  Seen raw;
  Seen between;
  Seen a;
  Seen b;
  auto counter = world.runtime.start<Counter>().value();
  auto stage = doubler(world, between, counter, demand(10, 5), true);
  auto idle = world.runtime.start<RawConsumer>(std::ref(raw)).value();
  world.cast(idle, RawConsumer::Subscribe{stage, {}});
  auto small = world.sink(a);
  auto large = world.sink(b);
  EXPECT_TRUE(subscribe_blocking(small, stage, demand(10, 0)));
  EXPECT_TRUE(subscribe_blocking(large, stage, demand(20, 0)));
  world.run();
  EXPECT_TRUE(a.batches.empty());
  EXPECT_TRUE(b.batches.empty());
  idle.cast(RawConsumer::Cancel{ExitReason::killed});
  world.runtime.run_until_idle(3000);
  EXPECT_LT(place_of(a.batches, copies_of(200, 204)), a.batches.size());
  EXPECT_LT(place_of(b.batches, copies_of(200, 204)), b.batches.size());
}

TEST(ProducerConsumer, CC_GPC_009_a_cancel_takes_effect_behind_the_input_that_waits) {
  World world;
  Seen between;
  Seen seen;
  SubscribeOptions<int> options = demand(100, 50);
  options.cancel = CancelMode::temporary;
  auto counter = world.runtime.start<Counter>().value();
  auto stage = doubler(world, between, counter, options);
  world.run();
  world.cast(stage, Multiplier::CancelUpstream{ExitReason::custom("done")});
  EXPECT_TRUE(between.batches.empty());
  EXPECT_EQ(between.notes, (Notes{"to producer"}));
  world.sink(seen, stage, demand(100, 50));
  EXPECT_EQ(between.batches, (Batches{ints(0, 49), ints(50, 99)}));
  ASSERT_GE(seen.batches.size(), 2U);
  EXPECT_EQ(seen.batches[0], copies_of(0, 24));
  EXPECT_EQ(seen.batches[1], copies_of(25, 49));
  EXPECT_EQ(between.notes, (Notes{"to producer", "by consumer", "producer cancel done"}));
}

TEST(ProducerConsumer, CC_GPC_011_its_buffer_has_no_bound) {
  World world;
  Seen made;
  Seen between;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto stage = world.runtime.start<Multiplier>(std::ref(between), 20).value();
  EXPECT_TRUE(subscribe_blocking(stage, source));
  auto sink = world.sink(seen, stage, manual());
  world.cast(sink, Sink::Ask{1});
  world.cast(source, Source::Push{ints(1, 1000)});
  EXPECT_EQ(between.batches, (Batches{ints(1, 500), ints(501, 1000)}));
  EXPECT_EQ(seen.events(), (Ints{1}));
  EXPECT_EQ(buffered_count_blocking(stage), 19'999U);
  EXPECT_EQ(world.log.count("discarded"), 0U);
}

TEST(ProducerConsumer, CC_GPC_012_it_has_no_option_for_demand) {
  World world;
  Seen between;
  Result<ServerRef<Multiplier>> refused =
      world.runtime.start<Multiplier>(std::ref(between), ProducerOptions{.demand = DemandFlow::accumulate});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::exited);
  EXPECT_NE(refused.error().message().find("no option `demand`"), std::string_view::npos);
}

template <class Stage>
concept DemandCanBeSet = requires(ServerRef<Stage> stage) { set_demand(stage, DemandFlow::accumulate); };

TEST(ProducerConsumer, CC_GPC_013_nor_can_demand_be_set) {
  // GenStage logs an error. Here it does not compile, for `forward` neither.
  EXPECT_TRUE(DemandCanBeSet<Source>);
  EXPECT_FALSE(DemandCanBeSet<Multiplier>);
  EXPECT_FALSE(DemandCanBeSet<Sink>);
}

TEST(ProducerConsumer, by_name_it_outlives_its_producer_and_hears_of_the_end_behind_what_came_before) {
  World world;
  Seen made;
  Seen between;
  Seen seen;
  const auto start = [&] { return world.runtime.start_with<Source>({.name = "feed"}, std::ref(made)).value(); };
  auto source = start();
  auto stage = world.runtime.start<Multiplier>(std::ref(between), 1).value();
  SubscribeOptions<int> options = demand(4, 2);
  options.resubscribe = RestartBackoff{.initial = 50ms, .max = 1s};
  EXPECT_TRUE(subscribe_blocking(stage, Name<Source>(world.runtime, "feed"), options));
  auto sink = world.sink(seen, stage, manual());
  world.cast(source, Source::Push{ints(1, 4)});  // nobody wants them yet
  world.runtime.exit(source.pid(), ExitReason::kill);
  world.run();
  EXPECT_EQ(between.notes, (Notes{"to producer", "by consumer"}));
  source = start();
  world.cast(sink, Sink::Ask{6});
  EXPECT_EQ(between.notes.back(), "producer down killed");
  world.runtime.advance(1s);
  EXPECT_EQ(between.notes.back(), "to producer");
  world.cast(source, Source::Push{ints(5, 8)});
  EXPECT_EQ(seen.events(), ints(1, 6));
  EXPECT_FALSE(world.runtime.exit_reason(stage));
  EXPECT_FALSE(world.runtime.exit_reason(sink));
}

// ---- seeing demand -------------------------------------------------------------------------------------------------

/// Answers what it knows by itself, and takes input for the rest.
class Cache : public ProducerConsumer<Cache, int, int> {
 public:
  Cache(Seen& seen, Ints known) : seen_(seen), known_(std::move(known)) {}
  void handle_demand(std::uint64_t count) {
    seen_.demands.push_back(count);
    for (; count != 0 && !known_.empty(); --count) {
      emit(known_.front());
      known_.erase(known_.begin());
    }
  }
  void handle_events(Batch<int> events) {
    seen_.batches.emplace_back(events.begin(), events.end());
    emit(std::move(events));
  }

 private:
  Seen& seen_;
  Ints known_;
};

TEST(ProducerConsumer, one_that_sees_demand_may_answer_it_and_takes_input_for_the_rest) {
  World world;
  Seen made;
  Seen cached;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto cache = world.runtime.start<Cache>(std::ref(cached), Ints{-3, -2, -1}).value();
  EXPECT_TRUE(subscribe_blocking(cache, source, demand(10, 0)));
  world.run();
  world.cast(source, Source::Push{ints(1, 10)});
  auto sink = world.sink(seen, cache, manual());
  world.cast(sink, Sink::Ask{2});
  EXPECT_EQ(seen.events(), (Ints{-3, -2}));
  EXPECT_TRUE(cached.batches.empty());
  world.cast(sink, Sink::Ask{4});
  EXPECT_EQ(seen.events(), (Ints{-3, -2, -1, 1, 2, 3}));
  EXPECT_EQ(cached.demands, (Counts{2, 4}));
  EXPECT_EQ(made.demands, (Counts{10, 10}));
}

/// Asks upstream for exactly what is wanted behind it.
class PassThrough : public ProducerConsumer<PassThrough, int, int> {
 public:
  explicit PassThrough(ProducerRef<int> producer) : producer_(producer) {}
  void init() { upstream_ = subscribe_to(producer_, manual()).value(); }
  Async<void> handle_demand(std::uint64_t count) {
    co_await this_process::sleep(1ms);
    ask(upstream_, count);
  }
  void handle_events(Batch<int> events) { emit(std::move(events)); }

 private:
  ProducerRef<int> producer_;
  SubscriptionId upstream_;
};

TEST(ProducerConsumer, one_that_sees_demand_may_ask_for_it_by_hand) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto stage = world.runtime.start<PassThrough>(source).value();
  auto sink = world.sink(seen, stage, manual());
  EXPECT_TRUE(made.demands.empty());
  sink.cast(Sink::Ask{3});
  world.runtime.advance(1s);
  EXPECT_EQ(made.demands, (Counts{3}));
  source.cast(Source::Push{ints(1, 5)});
  world.runtime.advance(1s);
  EXPECT_EQ(seen.events(), ints(1, 3));
  sink.cast(Sink::Ask{4});
  world.runtime.advance(1s);
  EXPECT_EQ(made.demands, (Counts{3, 2}));
  EXPECT_EQ(seen.events(), ints(1, 5));
}

// ---- callbacks and ends --------------------------------------------------------------------------------------------

TEST(ProducerConsumer, CC_GCX_001_its_start_fails_as_every_server_fails) {
  class Picky : public ProducerConsumer<Picky, int, int> {
   public:
    explicit Picky(int how) : how_(how) {}
    InitResult init() const {
      if (how_ == 0) return InitResult::ignore();
      return InitResult::stop(ExitReason::custom("oops"));
    }
    void handle_events(const Batch<int>& /*events*/) {}

   private:
    int how_;
  };
  World world;
  EXPECT_EQ(world.runtime.start<Picky>(0).error().code(), ErrorCode::ignored);
  const Result<ServerRef<Picky>> stopped = world.runtime.start<Picky>(1);
  EXPECT_EQ(stopped.error().code(), ErrorCode::exited);
  EXPECT_NE(stopped.error().message().find("oops"), std::string_view::npos);
  Seen seen;
  EXPECT_TRUE(world.runtime.start_with<Multiplier>({.name = "taken"}, std::ref(seen)));
  EXPECT_EQ(world.runtime.start_with<Multiplier>({.name = "taken"}, std::ref(seen)).error().code(),
            ErrorCode::already_exists);
}

TEST(ProducerConsumer, CC_GCX_002_it_hears_of_consumers) {
  World world;
  Seen between;
  Seen seen;
  auto stage = world.runtime.start<Multiplier>(std::ref(between)).value();
  world.sink(seen, stage);
  EXPECT_EQ(between.notes, (Notes{"by consumer"}));
}

TEST(ProducerConsumer, CC_GCX_004_and_of_their_ends) {
  World world;
  Seen between;
  Seen seen;
  auto stage = world.runtime.start<Multiplier>(std::ref(between)).value();
  auto leaver = world.sink(seen, stage, ending(CancelMode::temporary));
  auto victim = world.sink(seen, stage);
  world.cast(leaver, Sink::Cancel{ExitReason::custom("oops")});
  EXPECT_EQ(between.notes.back(), "consumer cancel oops");
  world.runtime.exit(victim.pid(), ExitReason::kill);
  world.run();
  EXPECT_EQ(between.notes.back(), "consumer down killed");
}

TEST(ProducerConsumer, CC_GCX_005_it_hears_of_its_own_subscriptions) {
  World world;
  Seen between;
  auto counter = world.runtime.start<Counter>().value();
  doubler(world, between, counter, {});
  EXPECT_EQ(between.notes, (Notes{"to producer"}));
}

template <class Stage>
concept ChoosesItsMode = requires(Stage& stage, const SubscriptionInfo& info) {
  { stage.handle_subscribe(info) } -> std::same_as<DemandMode>;
};

TEST(ProducerConsumer, CC_GCX_006_handle_subscribe_answers_nothing_or_a_mode) {
  // Anything else does not compile: StageCompileFail.an_odd_demand_mode.
  class Manual : public ProducerConsumer<Manual, int, int> {
   public:
    DemandMode handle_subscribe(const SubscriptionInfo& info) {
      if (info.peer_side == StageSide::producer) ask(info.id, 3);
      return DemandMode::manual;  // for a consumer it has no effect
    }
    void handle_events(Batch<int> events) { emit(std::move(events)); }
  };
  static_assert(ChoosesItsMode<Manual> && !ChoosesItsMode<Multiplier>);
  World world;
  Seen seen;
  Seen made;
  auto source = world.source(std::ref(made));
  auto stage = world.runtime.start<Manual>().value();
  EXPECT_TRUE(subscribe_blocking(stage, source));
  world.sink(seen, stage, demand(10, 5));
  EXPECT_EQ(made.demands, (Counts{3}));
  world.cast(source, Source::Push{ints(1, 5)});
  EXPECT_EQ(seen.events(), ints(1, 3));
}

/// How a stage subscribed with `mode` ends when its producer's end or cancel has `reason`.
struct End {
  std::string note;
  std::optional<ExitReason> exit;
};
End end_of(CancelMode mode, const ExitReason& reason, bool cancelled) {
  World world;
  Seen made;
  Seen between;
  auto source = world.source(std::ref(made));
  auto stage = doubler(world, between, source, ending(mode));
  world.run();
  if (cancelled) {
    stage.cast(Multiplier::CancelUpstream{reason});
  } else if (reason == ExitReason::killed) {
    world.runtime.exit(source.pid(), ExitReason::kill);
  } else {
    source.cast(Source::End{reason});
  }
  world.run();
  return {between.notes.back(), world.runtime.exit_reason(stage)};
}

TEST(ProducerConsumer, CC_GCX_008_a_cancelled_permanent_subscription_ends_it) {
  const End end = end_of(CancelMode::permanent, ExitReason::custom("oops"), true);
  EXPECT_EQ(end.note, "producer cancel oops");
  EXPECT_EQ(end.exit, ExitReason::custom("oops"));
}

TEST(ProducerConsumer, CC_GCX_009_a_temporary_one_lets_it_live) {
  const End end = end_of(CancelMode::temporary, ExitReason::killed, false);
  EXPECT_EQ(end.note, "producer down killed");
  EXPECT_FALSE(end.exit);
}

TEST(ProducerConsumer, CC_GCX_010_a_transient_one_lets_it_live_after_a_shutdown) {
  const End end = end_of(CancelMode::transient, ExitReason::shutdown, false);
  EXPECT_EQ(end.note, "producer down shutdown");
  EXPECT_FALSE(end.exit);
  EXPECT_EQ(end_of(CancelMode::transient, ExitReason::killed, false).exit, ExitReason::killed);
}

TEST(ProducerConsumer, CC_GCX_012_a_permanent_one_ends_it_with_its_producer) {
  const End end = end_of(CancelMode::permanent, ExitReason::killed, false);
  EXPECT_EQ(end.note, "producer down killed");
  EXPECT_EQ(end.exit, ExitReason::killed);
}

TEST(ProducerConsumer, CC_GCX_013_its_status_names_both_sides) {
  World world;
  Seen made;
  Seen between;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto stage = doubler(world, between, source, {}, true);
  auto sink = world.sink(seen, stage);
  const StageStatus status = stage_status_blocking(stage).value();
  EXPECT_NE(status.dispatcher.find("BroadcastDispatcher"), std::string::npos);
  ASSERT_EQ(status.producers.size(), 1U);
  EXPECT_EQ(status.producers[0].peer, source.pid());
  ASSERT_EQ(status.consumers.size(), 1U);
  EXPECT_EQ(status.consumers[0].peer, sink.pid());
  EXPECT_EQ(status.buffer_size, ProducerOptions::unbounded);
  EXPECT_EQ(status.buffered, 0U);
}

}  // namespace
}  // namespace dagverk
