// GenStage's cases about subscribing, subscribing again and by name, and asking by hand.

#include "probes.hpp"

#include "dagverk/runtime/registry.hpp"
#include "dagverk/runtime/supervisor.hpp"

#include <gtest/gtest.h>

#include <concepts>

namespace dagverk {
namespace {

using namespace std::chrono_literals;
using namespace stage_tests;

TEST(Subscribe, CC_GSU_001_a_running_consumer_subscribes) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto sink = world.sink(seen);
  const Result<SubscriptionId> id = subscribe_blocking(sink, source, demand(12, 3));
  ASSERT_TRUE(id);
  world.run();
  EXPECT_EQ(made.notes, (Notes{"subscribe 12"}));
  EXPECT_EQ(made.demands, (Counts{12}));
  Result<SubscriptionId> inside = Error(ErrorCode::internal);
  world.runtime.spawn([&, sink, source]() -> Async<void> {
    SubscribeOptions<int> options = demand(5, 2);
    inside = co_await subscribe(sink, source, std::move(options));
  });
  world.run();
  ASSERT_TRUE(inside);
  EXPECT_FALSE(*inside == *id);
  EXPECT_EQ(made.demands, (Counts{12, 5}));  // twice to one producer
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

TEST(Subscribe, CC_GSU_003_max_demand_0_is_refused_and_the_consumer_lives) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto sink = world.sink(seen);
  EXPECT_EQ(subscribe_blocking(sink, source, demand(0, 0)).error().message(),
            "expected :max_demand to be equal to or greater than 1, got: 0");
  async_subscribe(sink, source, demand(0, 0));
  world.run();
  EXPECT_EQ(world.log.count("stage.not_subscribed"), 1U);
  EXPECT_FALSE(world.runtime.exit_reason(sink));
  EXPECT_TRUE(made.notes.empty());
}

TEST(Subscribe, CC_GSU_004_min_demand_2000_of_1000_is_refused) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto sink = world.sink(seen);
  EXPECT_EQ(subscribe_blocking(sink, source, demand(1000, 2000)).error().message(),
            "expected :min_demand to be equal to or less than 999, got: 2000");
  EXPECT_EQ(subscribe_blocking(sink, source, demand(1000, -1)).error().message(),
            "expected :min_demand to be equal to or greater than 0, got: -1");
  EXPECT_FALSE(world.runtime.exit_reason(sink));
  EXPECT_TRUE(made.notes.empty());
}

TEST(Subscribe, CC_GSU_006_a_dead_producer_ends_a_permanent_consumer) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  world.cast(source, Source::End{ExitReason::normal});
  auto sink = world.sink(seen);
  EXPECT_TRUE(subscribe_blocking(sink, source));
  world.run();
  EXPECT_EQ(seen.notes.at(1), "end down noproc");
  EXPECT_EQ(world.runtime.exit_reason(sink), ExitReason::noproc);
}

TEST(Subscribe, CC_GSU_008_a_temporary_one_lives) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  world.cast(source, Source::End{ExitReason::normal});
  auto sink = world.sink(seen);
  EXPECT_TRUE(subscribe_blocking(sink, source, ending(CancelMode::temporary)));
  world.run();
  EXPECT_EQ(seen.notes.back(), "end down noproc");
  EXPECT_FALSE(world.runtime.exit_reason(sink));
}

TEST(Subscribe, CC_GSU_009_a_second_one_to_a_broadcast_is_refused_and_hurts_nobody) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made), true);
  auto sink = world.sink(seen, source, demand(10, 5));
  EXPECT_TRUE(subscribe_blocking(sink, source));
  async_subscribe(sink, source);
  world.run();
  EXPECT_FALSE(world.runtime.exit_reason(sink));
  EXPECT_EQ(source.call_blocking<Source::Consumers>(), 1U);
  EXPECT_EQ(sink.call_blocking<Sink::Count>(), 1U);
  EXPECT_EQ(world.log.count("already_subscribed"), 2U);
  world.cast(source, Source::Push{ints(1, 30)});
  EXPECT_EQ(seen.events(), ints(1, 30));
}

TEST(Subscribe, CC_GSU_010_a_subscription_is_exchanged_for_another) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made), true);  // which lets nobody subscribe twice
  auto sink = world.sink(seen);
  const SubscriptionId old = subscribe_blocking(sink, source, ending(CancelMode::temporary)).value();
  world.run();
  world.cast(source, Source::Push{{1}});
  const Result<SubscriptionId> fresh =
      resubscribe_blocking(sink, {.old = old, .reason = ExitReason::custom("resubscribe")}, source, demand(7, 3));
  ASSERT_TRUE(fresh);
  EXPECT_FALSE(*fresh == old);
  world.run();
  EXPECT_EQ(made.notes, (Notes{"subscribe 1000", "end cancel resubscribe", "subscribe 7"}));
  EXPECT_EQ(seen.notes, (Notes{"subscribe", "subscribe", "end cancel resubscribe"}));
  EXPECT_EQ(sink.call_blocking<Sink::Count>(), 1U);
  world.cast(source, Source::Push{{2, 3}});
  EXPECT_EQ(seen.events(), ints(1, 3));
  Result<SubscriptionId> again = Error(ErrorCode::internal);
  world.runtime.spawn([&, sink, source]() -> Async<void> {
    const Resubscribe replaced{.old = *fresh};
    SubscribeOptions<int> options = demand(9, 3);
    again = co_await resubscribe(sink, replaced, source, std::move(options));
  });
  world.run();
  EXPECT_TRUE(again);
  ASSERT_EQ(made.notes.size(), 6U);
  EXPECT_EQ(made.notes[3], "end cancel normal");
  EXPECT_EQ(made.notes[4], "subscribe 9");
  // The second was permanent: its end, with whatever reason, ends the consumer.
  EXPECT_EQ(world.runtime.exit_reason(sink), ExitReason::normal);
}

TEST(Subscribe, CC_GSU_012_with_bad_demand_the_old_one_goes_on) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto sink = world.sink(seen);
  const SubscriptionId old = subscribe_blocking(sink, source).value();
  EXPECT_EQ(resubscribe_blocking(sink, {.old = old}, source, demand(0, 0)).error().message(),
            "expected :max_demand to be equal to or greater than 1, got: 0");
  EXPECT_EQ(resubscribe_blocking(sink, {.old = old}, source, demand(1000, 2000)).error().message(),
            "expected :min_demand to be equal to or less than 999, got: 2000");
  world.run();
  EXPECT_EQ(made.notes, (Notes{"subscribe 1000"}));
  EXPECT_FALSE(world.runtime.exit_reason(sink));
}

TEST(Subscribe, CC_GSU_013_an_exchange_without_waiting_of_a_known_and_of_an_unknown_one) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto sink = world.sink(seen);
  const SubscriptionId old = subscribe_blocking(sink, source, ending(CancelMode::temporary)).value();
  async_resubscribe(sink, {.old = old, .reason = ExitReason::custom("exchange")}, source,
                    ending(CancelMode::temporary));
  world.run();
  EXPECT_EQ(made.notes, (Notes{"subscribe 1000", "end cancel exchange", "subscribe 1000"}));
  async_resubscribe(sink, {.old = SubscriptionId{12'345}}, source, demand(3, 0));
  world.run();
  EXPECT_EQ(made.notes.back(), "subscribe 3");
  EXPECT_EQ(sink.call_blocking<Sink::Count>(), 2U);
}

/// Chooses manual demand in handle_subscribe.
class ByHand : public Consumer<ByHand, int> {
 public:
  explicit ByHand(Seen& seen) : seen_(seen) {}
  DemandMode handle_subscribe(const SubscriptionInfo& info) {
    id_ = info.id;
    return DemandMode::manual;
  }
  void handle_events(Batch<int> events) { seen_.batches.emplace_back(events.begin(), events.end()); }
  void handle_cast(Sink::Ask ask_for) { ask(id_, ask_for.count); }

 private:
  Seen& seen_;
  SubscriptionId id_;
};

TEST(Subscribe, CC_GSU_014_manual_demand_comes_whole) {
  World world;
  Seen seen;
  auto counter = world.runtime.start<Counter>().value();
  auto consumer = world.runtime.start<ByHand>(std::ref(seen)).value();
  EXPECT_TRUE(subscribe_blocking(consumer, counter));
  world.run();
  EXPECT_TRUE(seen.batches.empty());
  world.cast(consumer, Sink::Ask{50});
  world.cast(consumer, Sink::Ask{50});
  EXPECT_EQ(seen.batches, (Batches{ints(0, 49), ints(50, 99)}));
}

TEST(Subscribe, CC_GSU_016_asking_for_nothing_is_nothing) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto sink = world.sink(seen, source, manual());
  world.cast(sink, Sink::Ask{0});
  EXPECT_TRUE(made.demands.empty());
}

template <class Stage, class From>
concept Subscribable = requires(ServerRef<Stage> stage, ServerRef<From> from) { subscribe_blocking(stage, from); };
template <class Stage>
concept SubscribableToNobody = requires(ServerRef<Stage> stage) { subscribe_blocking(stage); };
class Texts : public Producer<Texts, std::string> {};

TEST(Subscribe, CC_GSU_017_a_producer_has_nothing_to_subscribe_with) {  // {error, not_a_consumer}: does not compile
  EXPECT_TRUE((Subscribable<Sink, Source>));
  EXPECT_FALSE((Subscribable<Source, Source>));
  EXPECT_FALSE((Subscribable<Sink, Sink>)) << "and a consumer is no producer";
  EXPECT_FALSE((Subscribable<Sink, Texts>)) << "nor one of other events";
}

/// Subscribes in its init to whatever it was given.
template <class To>
class SubscribesTo : public Consumer<SubscribesTo<To>, int> {
 public:
  SubscribesTo(Seen& seen, To producer, SubscribeOptions<int> options)
      : seen_(seen), producer_(std::move(producer)), options_(std::move(options)) {}
  void init() {
    Result<SubscriptionId> id = this->subscribe_to(producer_, options_);
    if (!id) seen_.notes.emplace_back(id.error().message());
  }
  void handle_events(Batch<int> events) {
    seen_.batches.emplace_back(events.begin(), events.end());
    if (seen_.batches.size() == 3) this->stop();
  }

 private:
  Seen& seen_;
  To producer_;
  SubscribeOptions<int> options_;
};

/// Counts from zero, found by a key.
class Keyed : public Producer<Keyed, int> {
 public:
  Keyed(Registry<std::string> registry, std::string key) : registry_(std::move(registry)), key_(std::move(key)) {}
  void init() { registry_.register_self(key_).value(); }
  void handle_demand(std::uint64_t count) {
    emit(make_batch_of(count, [this](std::size_t) { return next_++; }));
  }

 private:
  Registry<std::string> registry_;
  std::string key_;
  int next_ = 0;
};

TEST(Subscribe, CC_GSU_018_at_the_start_by_pid_by_name_and_by_registry) {
  // GenStage's {global, …} has no counterpart: names belong to a runtime.
  World world;
  Seen by_ref;
  Seen by_name;
  Seen by_key;
  using Counters = Registry<std::string>;
  const Counters registry = Counters::create(world.runtime).value();
  auto counter = world.runtime.start_with<Counter>(StartOptions{.name = "counter"}).value();
  auto keyed = world.runtime.start<Keyed>(registry, "keyed").value();
  EXPECT_TRUE(world.runtime.start<SubscribesTo<ServerRef<Counter>>>(std::ref(by_ref), counter, demand(4, 0)));
  EXPECT_TRUE(world.runtime.start<SubscribesTo<Name<Counter>>>(std::ref(by_name),
                                                               Name<Counter>(world.runtime, "counter"), demand(4, 0)));
  using ByKey = SubscribesTo<RegisteredName<Keyed, Counters, std::string>>;
  EXPECT_TRUE(world.runtime.start<ByKey>(std::ref(by_key), registry.name_of<Keyed>("keyed"), demand(4, 0)));
  world.run();
  EXPECT_EQ(by_ref.batches.size(), 3U);
  EXPECT_EQ(by_name.batches.size(), 3U);
  EXPECT_EQ(by_key.batches, (Batches{ints(0, 3), ints(4, 7), ints(8, 11)}));
  static_cast<void>(keyed);
}

TEST(Subscribe, a_name_that_nobody_holds_is_an_error_and_ends_all_but_temporary_ones) {
  World world;
  Seen seen;
  using Named = SubscribesTo<Name<Counter>>;
  const Name<Counter> name(world.runtime, "nobody");
  Result<ServerRef<Named>> lost = world.runtime.start<Named>(std::ref(seen), name, SubscribeOptions<int>());
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().code(), ErrorCode::no_process);
  EXPECT_EQ(seen.notes, (Notes{"nobody holds the name \"nobody\""}));
  EXPECT_TRUE(world.runtime.start<Named>(std::ref(seen), name, ending(CancelMode::temporary)));
}

template <class... Args>
concept SubscribeTakes = requires(ServerRef<Sink> sink, Args... args) { subscribe_blocking(sink, args...); };

TEST(Subscribe, CC_GSU_020_without_a_producer_it_does_not_compile) {
  EXPECT_TRUE((SubscribeTakes<ServerRef<Source>>));
  EXPECT_FALSE((SubscribeTakes<>));
  EXPECT_FALSE((SubscribeTakes<SubscribeOptions<int>>));
}

TEST(Subscribe, CC_GSU_021_the_producer_sees_the_options) {
  class Curious : public Producer<Curious, int> {
   public:
    explicit Curious(Seen& seen) : seen_(seen) {}
    void handle_subscribe(const SubscriptionInfo& info, const SubscribeOptions<int>& options) {
      seen_.notes.push_back(concat(options.max_demand, " ", *options.min_demand, " ", options.partition.to_string(),
                                   " ", options.selector(3) ? "odd" : "even", " ",
                                   options.selector(4) ? "even" : "odd"));
      seen_.notes.emplace_back(info.peer_side == StageSide::consumer ? "consumer" : "producer");
    }

   private:
    Seen& seen_;
  };
  World world;
  Seen made;
  Seen seen;
  auto curious = world.runtime.start<Curious>(std::ref(made)).value();
  SubscribeOptions<int> options = demand(12, 3);
  options.partition = "left";
  options.selector = [](const int& event) { return event % 2 == 1; };
  world.sink(seen, curious, options);
  EXPECT_EQ(made.notes, (Notes{"12 3 \"left\" odd odd", "consumer"}));
}

TEST(Subscribe, a_stage_cannot_subscribe_to_itself) {
  class Snake : public ProducerConsumer<Snake, int, int> {
   public:
    struct Bite {
      using Reply = std::string;
    };
    void handle_events(const Batch<int>& /*events*/) {}
    std::string handle_call(Bite /*bite*/) {
      Result<SubscriptionId> id = subscribe_to(self());
      return id ? "bitten" : std::string(id.error().message());
    }
  };
  World world;
  auto snake = world.runtime.start<Snake>().value();
  EXPECT_NE(snake.call_blocking<Snake::Bite>().value().find("cannot subscribe to itself"), std::string::npos);
}

TEST(Subscribe, several_producers_of_one_consumer_have_demand_of_their_own) {
  World world;
  Seen one;
  Seen two;
  Seen seen;
  auto first = world.source(std::ref(one));
  auto second = world.source(std::ref(two));
  auto sink = world.sink(seen);
  EXPECT_TRUE(subscribe_blocking(sink, first, demand(4, 2)));
  EXPECT_TRUE(subscribe_blocking(sink, second, demand(6, 0)));
  world.run();
  EXPECT_EQ(one.demands, (Counts{4}));
  EXPECT_EQ(two.demands, (Counts{6}));
  world.cast(first, Source::Push{ints(1, 4)});
  EXPECT_EQ(one.demands, (Counts{4, 2, 2}));
  EXPECT_EQ(two.demands, (Counts{6}));
  world.cast(second, Source::Push{ints(11, 16)});
  EXPECT_EQ(seen.batches, (Batches{{1, 2}, {3, 4}, ints(11, 16)}));
  EXPECT_EQ(two.demands, (Counts{6, 6}));
}

// ---- by name, when the producer comes back -------------------------------------------------------------------------

SubscribeOptions<int> lasting(CancelMode mode = CancelMode::permanent) {
  SubscribeOptions<int> options = demand(4, 2);
  options.cancel = mode;
  options.resubscribe = RestartBackoff{.initial = 50ms, .max = 1s};
  return options;
}

ServerRef<Source> named_source(World& world, Seen& made, std::string name) {
  return world.runtime.start_with<Source>(StartOptions{.name = std::move(name)}, std::ref(made)).value();
}

TEST(Resubscription, a_subscription_by_name_is_made_again_when_its_producer_is_back) {
  World world;
  Seen made;
  Seen seen;
  auto source = named_source(world, made, "feed");
  auto sink = world.sink(seen);
  const SubscriptionId id = subscribe_blocking(sink, Name<Source>(world.runtime, "feed"), lasting()).value();
  world.run();
  world.cast(source, Source::Push{{1, 2}});
  world.runtime.exit(source.pid(), ExitReason::kill);
  world.run();
  EXPECT_EQ(seen.notes, (Notes{"subscribe", "end down killed"}));
  EXPECT_FALSE(world.runtime.exit_reason(sink)) << "though it is permanent";
  world.runtime.advance(60ms);  // nobody is there yet
  Seen again;
  auto next = named_source(world, again, "feed");
  world.runtime.advance(60ms);
  EXPECT_TRUE(again.notes.empty()) << "the second delay is twice as long";
  world.runtime.advance(60ms);
  EXPECT_EQ(again.notes, (Notes{"subscribe 4"}));
  world.cast(next, Source::Push{ints(3, 6)});
  EXPECT_EQ(seen.events(), ints(1, 6));
  // The id that was returned is good for the subscription that took its place.
  cancel_subscription(sink, id, ExitReason::custom("enough"));
  world.runtime.advance(10s);
  EXPECT_EQ(again.notes.back(), "end cancel enough");
  EXPECT_EQ(world.runtime.exit_reason(sink), ExitReason::custom("enough"));
}

TEST(Resubscription, it_waits_for_a_name_that_nobody_holds_yet) {
  World world;
  Seen seen;
  auto sink = world.sink(seen);
  EXPECT_TRUE(subscribe_blocking(sink, Name<Source>(world.runtime, "feed"), lasting()));
  EXPECT_EQ(world.log.count("stage.producer_missing"), 1U);
  world.runtime.advance(5s);
  Seen made;
  named_source(world, made, "feed");
  world.runtime.advance(1s);
  EXPECT_EQ(made.notes, (Notes{"subscribe 4"}));
  EXPECT_FALSE(world.runtime.exit_reason(sink));
}

TEST(Resubscription, one_that_was_cancelled_meanwhile_is_not_made_again) {
  World world;
  Seen made;
  Seen seen;
  auto source = named_source(world, made, "feed");
  auto sink = world.sink(seen);
  const SubscriptionId id = subscribe_blocking(sink, Name<Source>(world.runtime, "feed"), lasting()).value();
  world.cast(source, Source::End{ExitReason::shutdown});
  cancel_subscription(sink, id);
  world.run();
  Seen again;
  named_source(world, again, "feed");
  world.runtime.advance(1h);
  EXPECT_TRUE(again.notes.empty());
  EXPECT_FALSE(world.runtime.exit_reason(sink));
}

TEST(Resubscription, a_producers_cancel_has_the_effect_that_the_mode_says) {
  World world;
  Seen made;
  Seen seen;
  auto source = named_source(world, made, "feed");
  auto sink = world.sink(seen);
  EXPECT_TRUE(subscribe_blocking(sink, Name<Source>(world.runtime, "feed"), lasting(CancelMode::temporary)));
  world.run();
  world.cast(source, Source::CancelAll{"closing"});
  world.runtime.advance(1h);
  EXPECT_EQ(made.notes, (Notes{"subscribe 4", "end cancel closing"}));
  EXPECT_EQ(sink.call_blocking<Sink::Count>(), 0U);
}

TEST(Resubscription, one_by_name_may_take_the_place_of_another) {
  World world;
  Seen made;
  Seen seen;
  named_source(world, made, "feed");
  auto sink = world.sink(seen);
  const Name<Source> name(world.runtime, "feed");
  SubscribeOptions<int> options = demand(9, 4);
  options.cancel = CancelMode::temporary;
  const SubscriptionId first = subscribe_blocking(sink, name, lasting(CancelMode::temporary)).value();
  const SubscriptionId second = resubscribe_blocking(sink, {.old = first}, name, options).value();
  world.run();
  EXPECT_EQ(made.notes, (Notes{"subscribe 4", "end cancel normal", "subscribe 9"}));
  async_resubscribe(sink, {.old = second}, name, lasting());
  world.run();
  EXPECT_EQ(made.notes.back(), "subscribe 4");
  EXPECT_EQ(sink.call_blocking<Sink::Count>(), 1U);
  // A name that nobody holds is no reason to give up the subscription that is there.
  const Name<Source> nobody(world.runtime, "nobody");
  EXPECT_FALSE(resubscribe_blocking(sink, {.old = second}, nobody, options));
  world.run();
  EXPECT_EQ(sink.call_blocking<Sink::Count>(), 1U);
  EXPECT_FALSE(world.runtime.exit_reason(sink));
}

TEST(Resubscription, it_needs_a_name_and_a_delay) {
  World world;
  Seen made;
  Seen seen;
  auto source = named_source(world, made, "feed");
  auto sink = world.sink(seen);
  const Result<SubscriptionId> nameless = subscribe_blocking(sink, source, lasting());
  EXPECT_NE(nameless.error().message().find("only a subscription by name"), std::string_view::npos);
  SubscribeOptions<int> hasty = lasting();
  hasty.resubscribe->initial = Duration::zero();
  const Result<SubscriptionId> busy = subscribe_blocking(sink, Name<Source>(world.runtime, "feed"), hasty);
  EXPECT_NE(busy.error().message().find("backoff.initial must be more than zero"), std::string_view::npos);
  EXPECT_TRUE(made.notes.empty());
}

TEST(Resubscription, it_survives_the_restarts_of_a_supervised_producer) {
  World world;
  Seen made;
  Seen seen;
  SupervisorOptions options;
  options.max_restarts = 100;
  std::vector<ChildSpec> children;
  children.push_back(child_spec_with<Source>(ChildOptions{.registered = true}, "feed", std::ref(made)));
  auto tree = world.runtime.start<Supervisor>(options, std::move(children)).value();
  world.run();
  const Name<Source> name(world.runtime, "feed");
  auto sink = world.sink(seen);
  EXPECT_TRUE(subscribe_blocking(sink, name, lasting()));
  for (int round = 0; round < 5; ++round) {
    world.runtime.advance(10s);
    name.cast(Source::Push{{round}});
    world.run();
    world.runtime.exit(name.resolve().value().pid(), ExitReason::kill);
  }
  world.runtime.advance(10s);
  EXPECT_EQ(seen.events(), ints(0, 4));
  EXPECT_FALSE(world.runtime.exit_reason(sink));
  EXPECT_FALSE(world.runtime.exit_reason(tree));
}

}  // namespace
}  // namespace dagverk
