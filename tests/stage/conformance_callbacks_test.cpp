// GenStage's cases about the callbacks of producers and consumers, and about how the end of one is the end of another.

#include "probes.hpp"

#include "dagverk/runtime/child_spec.hpp"

#include <gtest/gtest.h>

#include <concepts>
#include <optional>

namespace dagverk {
namespace {

using namespace std::chrono_literals;
using namespace stage_tests;

const ExitReason oops = ExitReason::custom("oops");

/// A producer with one callback of each kind that others leave out.
class Moody : public Producer<Moody, int> {
 public:
  enum class Mood : std::uint8_t { ignores, stops, refuses_demand, lives };
  struct Finish {
    using Reply = std::string;
  };
  struct Watch {
    Pid pid;
  };

  Moody(Seen& seen, Mood mood) : seen_(seen), mood_(mood) {}
  InitResult init() const {
    if (mood_ == Mood::ignores) return InitResult::ignore();
    if (mood_ == Mood::stops) return InitResult::stop(oops);
    return InitResult::ok();
  }
  void handle_demand(std::uint64_t count) {
    seen_.demands.push_back(count);
    if (mood_ == Mood::refuses_demand) stop(ExitReason::custom("no more"));
  }
  static std::string handle_call(Finish /*finish*/) {
    stop(ExitReason::shutdown);
    return "ok";
  }
  static void handle_cast(Watch watch) { static_cast<void>(this_process::monitor(watch.pid)); }
  void handle_info(const Down& down) { seen_.notes.push_back(concat("down ", down.reason.to_string())); }

 private:
  Seen& seen_;
  Mood mood_;
};
using enum Moody::Mood;

// ---- producers -----------------------------------------------------------------------------------------------------

TEST(ProducerCallbacks, CC_GCP_001_init_may_ignore_or_stop) {
  // {:bad_return_value, …}: another type of answer does not compile.
  World world;
  Seen seen;
  EXPECT_EQ(world.runtime.start<Moody>(std::ref(seen), ignores).error().code(), ErrorCode::ignored);
  const Result<ServerRef<Moody>> stopped = world.runtime.start<Moody>(std::ref(seen), stops);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code(), ErrorCode::exited);
  EXPECT_NE(stopped.error().message().find("oops"), std::string_view::npos);
}

template <class Options>
concept TakesUnknown = requires { Options{.unknown = 1}; };
template <class Options>
concept TakesBufferSize = requires { Options{.buffer_size = 1}; };

TEST(ProducerCallbacks, CC_GCP_003_an_unknown_option_does_not_compile) {
  EXPECT_TRUE(TakesBufferSize<ProducerOptions>);
  EXPECT_FALSE(TakesUnknown<ProducerOptions>);
}

TEST(ProducerCallbacks, CC_GCP_004_a_taken_name_refuses_the_second) {
  World world;
  Seen seen;
  const ServerRef<Moody> first = world.runtime.start_with<Moody>({.name = "taken"}, std::ref(seen), lives).value();
  EXPECT_EQ(world.runtime.start_with<Moody>({.name = "taken"}, std::ref(seen), lives).error().code(),
            ErrorCode::already_exists);
  EXPECT_EQ(Name<Moody>(world.runtime, "taken").resolve().value().pid(), first.pid());
}

TEST(ProducerCallbacks, CC_GCP_005_it_hears_of_a_subscription_with_its_options) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  world.sink(seen, source, demand(12, 3));
  EXPECT_EQ(made.notes, (Notes{"subscribe 12"}));
}

TEST(ProducerCallbacks, CC_GCP_007_and_of_a_cancel_with_its_reason) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto sink = world.sink(seen, source, ending(CancelMode::temporary));
  world.cast(sink, Sink::Cancel{oops});
  EXPECT_EQ(made.notes, (Notes{"subscribe 1000", "end cancel oops"}));
}

TEST(ProducerCallbacks, CC_GCP_008_and_of_a_consumer_that_was_killed) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto sink = world.sink(seen, source);
  world.runtime.exit(sink.pid(), ExitReason::kill);
  world.run();
  EXPECT_EQ(made.notes, (Notes{"subscribe 1000", "end down killed"}));
}

/// Asks for three, calls, and notes in which order events and the answer come to its mailbox.
class Caller : public Consumer<Caller, int> {
 public:
  struct Go {};
  Caller(Seen& seen, ServerRef<Source> source) : seen_(seen), source_(source) {}
  void init() { subscribe_to(source_, demand(3, 0)).value(); }
  void handle_events(const Batch<int>& events) { seen_.notes.push_back(concat("events ", events.size())); }
  Async<void> handle_cast(Go /*go*/) {
    Ints events = ints(1, 3);
    const Result<int> answer = co_await source_.call<Source::PushAndReply>(std::move(events));
    seen_.notes.push_back(concat("answer ", answer.value(), ", waiting ", this_process::pid().core()->mailbox_depth()));
  }

 private:
  Seen& seen_;
  ServerRef<Source> source_;
};

TEST(ProducerCallbacks, CC_GCP_009_events_of_a_call_leave_before_its_answer) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto caller = world.runtime.start<Caller>(std::ref(seen), source).value();
  world.run();
  world.cast(caller, Caller::Go{});
  EXPECT_EQ(seen.notes, (Notes{"answer 7, waiting 1", "events 3"}));  // they wait when the answer has come
}

TEST(ProducerCallbacks, CC_GCP_011_a_call_that_stops_is_answered) {
  World world;
  Seen seen;
  auto moody = world.runtime.start<Moody>(std::ref(seen), lives).value();
  EXPECT_EQ(moody.call_blocking<Moody::Finish>(), "ok");
  world.run();
  EXPECT_EQ(world.runtime.exit_reason(moody), ExitReason::shutdown);
}

TEST(ProducerCallbacks, CC_GCP_012_a_down_of_somebody_else_goes_to_handle_info) {
  World world;
  Seen seen;
  auto moody = world.runtime.start<Moody>(std::ref(seen), lives).value();
  world.cast(moody, Moody::Watch{world.runtime.spawn([] {})});
  EXPECT_EQ(seen.notes, (Notes{"down noproc"}));
}

TEST(ProducerCallbacks, CC_GCP_013_stop_terminates_normally) {
  World world;
  Seen made;
  auto source = world.source(std::ref(made));
  EXPECT_TRUE(world.runtime.stop(source.pid(), ExitReason::normal, 1s));
  EXPECT_EQ(made.notes, (Notes{"terminate normal"}));
}

TEST(ProducerCallbacks, CC_GCP_015_it_may_end_while_it_is_asked) {
  World world;
  Seen made;
  Seen seen;
  auto moody = world.runtime.start<Moody>(std::ref(made), refuses_demand).value();
  auto sink = world.sink(seen, moody);
  EXPECT_EQ(made.demands, (Counts{1000}));
  EXPECT_EQ(seen.notes.at(1), "end down no more");
  EXPECT_EQ(world.runtime.exit_reason(sink), ExitReason::custom("no more"));
}

TEST(ProducerCallbacks, CC_GCP_016_a_message_that_it_has_no_handle_info_for_does_not_compile) {
  EXPECT_TRUE((detail::HandlesInfo<Source, Note>));
  EXPECT_FALSE((detail::HandlesInfo<Moody, Note>));
  EXPECT_TRUE((detail::HandlesInfo<Moody, Down>));
}

TEST(ProducerCallbacks, CC_GCP_017_its_child_spec_has_the_servers_defaults_and_what_is_overridden) {
  World world;
  Seen seen;
  const ChildSpec usual = child_spec<Source>("source", std::ref(seen));
  EXPECT_EQ(usual.id, "source");
  EXPECT_EQ(usual.type, ChildType::worker);
  EXPECT_EQ(usual.restart, Restart::permanent);
  EXPECT_FALSE(usual.shutdown) << "5 s";
  const ChildOptions options{.restart = Restart::temporary, .shutdown = Shutdown::infinity()};
  const ChildSpec other = child_spec_with<Source>(options, "other", std::ref(seen));
  EXPECT_EQ(other.id, "other");
  EXPECT_EQ(other.restart, Restart::temporary);
  EXPECT_TRUE(other.shutdown->unlimited());
  Result<Pid> started = Error(ErrorCode::internal);
  world.runtime.spawn([&]() -> Async<void> {
    Async<Result<Pid>> starting = usual.start(StartOptions());
    started = co_await starting;
  });
  world.run();
  ASSERT_TRUE(started);
  EXPECT_EQ(stage_status_blocking(ServerRef<Source>(*started)).value().buffer_size, 10'000U);
}

// ---- consumers -----------------------------------------------------------------------------------------------------

/// How a sink that is subscribed with `mode` is told of an end, and how it ends itself.
struct SinkEnd {
  std::string note;
  std::optional<ExitReason> exit;
};
SinkEnd after_cancel(CancelMode mode, const ExitReason& reason) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto sink = world.sink(seen, source, ending(mode));
  world.cast(sink, Sink::Cancel{reason});
  return {seen.notes.at(1), world.runtime.exit_reason(sink)};
}
SinkEnd after_down(CancelMode mode, const ExitReason& reason) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto sink = world.sink(seen, source, ending(mode));
  if (reason == ExitReason::killed) {
    world.runtime.exit(source.pid(), ExitReason::kill);
  } else {
    source.cast(Source::End{reason});
  }
  world.run();
  return {seen.notes.at(1), world.runtime.exit_reason(sink)};
}

TEST(ConsumerCallbacks, CC_GCC_002_it_hears_of_its_subscription) {
  /// Notes what it is told about its subscriptions.
  class Curious : public Consumer<Curious, int> {
   public:
    explicit Curious(Seen& seen) : seen_(seen) {}
    void handle_subscribe(const SubscriptionInfo& info, const SubscribeOptions<int>& options) {
      seen_.notes.push_back(concat(info.peer_side == StageSide::producer ? "producer " : "consumer ",
                                   info.peer.number(), " ", options.max_demand));
    }
    static void handle_events(const Batch<int>& /*events*/) {}

   private:
    Seen& seen_;
  };
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto curious = world.runtime.start<Curious>(std::ref(seen)).value();
  EXPECT_TRUE(subscribe_blocking(curious, source, demand(12, 3)));
  EXPECT_EQ(seen.notes, (Notes{concat("producer ", source.pid().number(), " 12")}));
}

TEST(ConsumerCallbacks, CC_GCC_003_handle_subscribe_answers_with_a_mode_or_nothing) {
  // Anything else does not compile: StageCompileFail.an_odd_demand_mode.
  class ByHand : public Consumer<ByHand, int> {
   public:
    explicit ByHand(DemandMode mode) : mode_(mode) {}
    DemandMode handle_subscribe(const SubscriptionInfo& /*info*/) const { return mode_; }
    static void handle_events(const Batch<int>& /*events*/) {}

   private:
    DemandMode mode_;
  };
  for (const DemandMode mode : {DemandMode::automatic, DemandMode::manual}) {
    World world;
    Seen made;
    auto source = world.source(std::ref(made));
    auto consumer = world.runtime.start<ByHand>(mode).value();
    async_subscribe(consumer, source);
    world.run();
    EXPECT_EQ(made.demands, mode == DemandMode::manual ? Counts{} : Counts{1000});
    EXPECT_FALSE(world.runtime.exit_reason(consumer));
  }
}

TEST(ConsumerCallbacks, CC_GCC_004_a_cancelled_temporary_subscription_lets_it_live) {
  const SinkEnd end = after_cancel(CancelMode::temporary, oops);
  EXPECT_EQ(end.note, "end cancel oops");
  EXPECT_FALSE(end.exit);
}

TEST(ConsumerCallbacks, CC_GCC_006_a_transient_one_ends_it_unless_the_reason_is_normal) {
  const SinkEnd end = after_cancel(CancelMode::transient, oops);
  EXPECT_EQ(end.note, "end cancel oops");
  EXPECT_EQ(end.exit, oops);
  EXPECT_FALSE(after_cancel(CancelMode::transient, ExitReason::normal).exit);
}

TEST(ConsumerCallbacks, CC_GCC_007_a_permanent_one_ends_it_with_any_reason) {
  const SinkEnd end = after_cancel(CancelMode::permanent, oops);
  EXPECT_EQ(end.note, "end cancel oops");
  EXPECT_EQ(end.exit, oops);
  EXPECT_EQ(after_cancel(CancelMode::permanent, ExitReason::normal).exit, ExitReason::normal);
}

TEST(ConsumerCallbacks, CC_GCC_008_a_killed_producer_of_a_temporary_one_lets_it_live) {
  const SinkEnd end = after_down(CancelMode::temporary, ExitReason::killed);
  EXPECT_EQ(end.note, "end down killed");
  EXPECT_FALSE(end.exit);
}

TEST(ConsumerCallbacks, CC_GCC_010_a_killed_producer_of_a_permanent_one_ends_it) {
  const SinkEnd end = after_down(CancelMode::permanent, ExitReason::killed);
  EXPECT_EQ(end.note, "end down killed");
  EXPECT_EQ(end.exit, ExitReason::killed);
}

TEST(ConsumerCallbacks, CC_GCC_011_even_when_the_producer_ends_normally) {
  const SinkEnd end = after_down(CancelMode::permanent, ExitReason::normal);
  EXPECT_EQ(end.note, "end down normal");
  EXPECT_EQ(end.exit, ExitReason::normal);
}

TEST(ConsumerCallbacks, CC_GCC_012_a_transient_one_survives_a_shutdown) {
  EXPECT_FALSE(after_down(CancelMode::transient, ExitReason::shutdown).exit);
  const SinkEnd with = after_down(CancelMode::transient, ExitReason::shutdown_with("x"));
  EXPECT_EQ(with.note, concat("end down ", ExitReason::shutdown_with("x").to_string()));
  EXPECT_FALSE(with.exit);
  EXPECT_EQ(after_down(CancelMode::transient, ExitReason::killed).exit, ExitReason::killed);
}

/// Monitors others, and stops for a reason of its own when its subscription ends.
class Stubborn : public Consumer<Stubborn, int> {
 public:
  Stubborn(Seen& seen, ProducerRef<int> producer) : seen_(seen), producer_(producer) {}
  void init() { subscribe_to(producer_, ending(CancelMode::temporary)).value(); }
  static void handle_events(const Batch<int>& /*events*/) {}
  static void handle_cast(Moody::Watch watch) { static_cast<void>(this_process::monitor(watch.pid)); }
  void handle_info(const Down& down) { seen_.notes.push_back(concat("down ", down.reason.to_string())); }
  static void handle_cancel(const SubscriptionInfo& /*info*/, const SubscriptionEnd& /*why*/) {
    stop(ExitReason::custom("other"));
  }

 private:
  Seen& seen_;
  ProducerRef<int> producer_;
};

TEST(ConsumerCallbacks, CC_GCC_014_a_down_of_somebody_else_goes_to_handle_info) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto stubborn = world.runtime.start<Stubborn>(std::ref(seen), source).value();
  world.cast(stubborn, Moody::Watch{world.runtime.spawn([] {})});
  EXPECT_EQ(seen.notes, (Notes{"down noproc"}));
  EXPECT_FALSE(world.runtime.exit_reason(stubborn));
}

TEST(ConsumerCallbacks, CC_GCC_015_stop_terminates_normally) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto sink = world.sink(seen, source);
  EXPECT_TRUE(world.runtime.stop(sink.pid(), ExitReason::normal, 1s));
  EXPECT_EQ(seen.notes.back(), "terminate normal");
  EXPECT_FALSE(world.runtime.exit_reason(source)) << "a producer does not end with its consumer";
}

TEST(ConsumerCallbacks, CC_GCC_016_its_status_names_its_producers) {
  World world;
  Seen made;
  Seen seen;
  auto first = world.source(std::ref(made));
  auto second = world.source(std::ref(made));
  auto sink = world.sink(seen, first);
  const SubscriptionId id = subscribe_blocking(sink, second).value();
  const StageStatus status = stage_status_blocking(sink).value();
  ASSERT_EQ(status.producers.size(), 2U);
  EXPECT_EQ(status.producers[0].peer, first.pid());
  EXPECT_EQ(status.producers[1].peer, second.pid());
  EXPECT_TRUE(status.producers[1].id == id);
  EXPECT_TRUE(status.consumers.empty());
  EXPECT_TRUE(status.dispatcher.empty());
  Result<StageStatus> inside = Error(ErrorCode::internal);
  world.runtime.spawn([&, sink]() -> Async<void> { inside = co_await stage_status(sink); });
  world.run();
  EXPECT_EQ(inside.value().producers.size(), 2U);
}

TEST(ConsumerCallbacks, CC_GCC_018_handle_cancel_that_stops_wins) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto stubborn = world.runtime.start<Stubborn>(std::ref(seen), source).value();
  world.run();
  world.cast(source, Source::CancelAll{"go away"});
  EXPECT_EQ(world.runtime.exit_reason(stubborn), ExitReason::custom("other"));
}

}  // namespace
}  // namespace dagverk
