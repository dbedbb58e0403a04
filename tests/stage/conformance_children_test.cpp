// GenStage's cases about ConsumerSupervisor: what it starts, starts again, and stops.

#include "probes.hpp"

#include "dagverk/runtime/supervisor.hpp"
#include "dagverk/stage/consumer_supervisor.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <type_traits>

namespace dagverk {
namespace {

using namespace std::chrono_literals;
using namespace stage_tests;

using Children = ConsumerSupervisor<int>;

/// How one child's starts go, the last word for ever.
enum class Start : std::uint8_t { works, is_ignored, fails, throws };

/// What the children of one test do, by event.
struct Nursery {
  std::map<int, std::vector<Start>> plans;
  std::map<int, std::size_t> starts;
  Ints ended;
};

/// Handles its event until it is told to end. A negative one takes that many seconds to do so.
class Child : public GenServer<Child> {
 public:
  Child(Nursery& nursery, int event) : nursery_(nursery), event_(event) {}
  InitResult init() {
    const std::vector<Start> plan = nursery_.plans[event_];
    const std::size_t number = nursery_.starts[event_]++;
    const Start now = plan.empty() ? Start::works : plan[std::min(number, plan.size() - 1)];
    if (now == Start::throws) throw std::runtime_error("never");
    if (now == Start::is_ignored) return InitResult::ignore();
    if (now == Start::fails) return InitResult::stop(ExitReason::custom("no"));
    if (event_ < 0) this_process::trap_exits();
    return InitResult::ok();
  }
  Async<void> terminate(const ExitReason& /*reason*/) {
    if (event_ < 0) co_await this_process::sleep(std::chrono::seconds(-event_));
    nursery_.ended.push_back(event_);
  }

 private:
  Nursery& nursery_;
  int event_;
};

ConsumerSupervisorOptions transient(std::uint32_t max_restarts = 3) {
  ConsumerSupervisorOptions options;
  options.restart = Restart::transient;
  options.limit.max_restarts = max_restarts;
  return options;
}

struct Family : World {
  Nursery nursery;
  Seen made;
  ServerRef<Source> source_ref = source(std::ref(made));
  ServerRef<Children> children;

  explicit Family(ConsumerSupervisorOptions options = {})
      : children(runtime.start<Children>(child_server<int, Child>(std::ref(nursery)), options).value()) {}

  SubscriptionId subscribe(std::int64_t max, std::int64_t min) {
    const SubscriptionId id = subscribe_blocking(children, source_ref, demand(max, min)).value();
    run();
    return id;
  }
  Pid start(int event) {
    const Pid child = children.call_blocking<Children::StartChild>(event).value();
    run();
    return child;
  }
  void push(const Ints& events) { cast(source_ref, Source::Push{events}); }
  std::vector<Pid> all() { return children.call_blocking<Children::WhichChildren>().value(); }
  std::size_t count() { return children.call_blocking<Children::CountChildren>().value(); }
  void kill(Pid child, ExitReason reason = ExitReason::kill) {
    runtime.exit(child, std::move(reason));
    run();
  }
  std::vector<ExitReason> reasons_after_stop() {
    const std::vector<Pid> pids = all();
    EXPECT_TRUE(runtime.stop(children.pid(), ExitReason::normal, 1h));
    run();
    std::vector<ExitReason> reasons;
    for (const Pid pid : pids) reasons.push_back(runtime.exit_reason(pid).value());
    return reasons;
  }
};

// ---- beginning -----------------------------------------------------------------------------------------------------

TEST(EventChildren, CC_CSU_001_its_child_spec_is_that_of_a_supervisor) {
  Nursery nursery;
  const ChildSpec usual = child_spec<Children>("children", child_server<int, Child>(std::ref(nursery)));
  EXPECT_EQ(usual.id, "children");
  EXPECT_EQ(usual.type, ChildType::supervisor);
  EXPECT_EQ(usual.restart, Restart::permanent);
  const ChildOptions options{.restart = Restart::temporary};
  EXPECT_EQ(child_spec_with<Children>(options, "x", child_server<int, Child>(std::ref(nursery))).restart,
            Restart::temporary);
}

TEST(EventChildren, CC_CSU_002_it_has_exactly_one_template) {  // none or two do not compile
  EXPECT_TRUE((std::is_constructible_v<Children, EventChild<int>>));
  EXPECT_FALSE((std::is_constructible_v<Children>));
  EXPECT_FALSE((std::is_constructible_v<Children, EventChild<int>, EventChild<int>>));
}

Result<ServerRef<Children>> start_with(World& world, Nursery& nursery, ConsumerSupervisorOptions options) {
  return world.runtime.start<Children>(child_server<int, Child>(std::ref(nursery)), options);
}

TEST(EventChildren, CC_CSU_003_options_out_of_range_fail_the_start) {
  World world;
  Nursery nursery;
  ConsumerSupervisorOptions forever;
  forever.restart = Restart::permanent;
  EXPECT_NE(start_with(world, nursery, forever).error().message().find("must be temporary or transient"),
            std::string_view::npos);
  ConsumerSupervisorOptions odd;
  odd.limit.window = Duration::zero();
  EXPECT_NE(start_with(world, nursery, odd).error().message().find("window"), std::string_view::npos);
}

TEST(EventChildren, CC_CSU_005_so_does_a_shutdown_of_less_than_zero) {
  World world;
  Nursery nursery;
  ConsumerSupervisorOptions options;
  options.shutdown = Shutdown::after(-1s);
  EXPECT_NE(start_with(world, nursery, options).error().message().find("shutdown: must not be less than zero"),
            std::string_view::npos);
}

TEST(EventChildren, CC_CSU_006_it_can_have_a_name) {
  World world;
  Nursery nursery;
  const auto start = [&] {
    return world.runtime.start_with<Children>({.name = "children"}, child_server<int, Child>(std::ref(nursery)));
  };
  const ServerRef<Children> first = start().value();
  EXPECT_EQ(Name<Children>(world.runtime, "children").resolve().value().pid(), first.pid());
  EXPECT_EQ(start().error().code(), ErrorCode::already_exists);
}

TEST(EventChildren, CC_CSU_007_a_child_is_a_function_a_coroutine_or_a_server) {
  World world;
  Ints seen;
  const auto plain = child_running<int>([&seen](int event) { seen.push_back(event); });
  const auto coroutine = child_running<int>([&seen](int event) -> Async<void> {
    co_await this_process::sleep(1s);
    seen.push_back(event);
  });
  for (const EventChild<int>& child : {plain, coroutine}) {
    auto children = world.runtime.start<Children>(child).value();
    EXPECT_TRUE(children.call_blocking<Children::StartChild>(7));
    world.runtime.advance(2s);
    EXPECT_EQ(children.call_blocking<Children::CountChildren>(), 0U);
  }
  EXPECT_EQ(seen, (Ints{7, 7}));
}

// ---- starting ------------------------------------------------------------------------------------------------------

TEST(EventChildren, CC_CSU_009_a_start_that_fails_is_a_child_that_ends) {
  // Nobody waits for a start: StartChild answers with the process, and its end says what became of it.
  Family family;
  family.nursery.plans = {{2, {Start::fails}}, {3, {Start::is_ignored}}};
  const Pid works = family.start(1);
  const Pid fails = family.start(2);
  family.start(3);
  EXPECT_EQ(family.runtime.exit_reason(fails), ExitReason::custom("no"));
  EXPECT_EQ(family.all(), (std::vector<Pid>{works}));
}

TEST(EventChildren, CC_CSU_010_so_is_one_that_throws) {
  Family family;
  family.nursery.plans = {{1, {Start::throws}}};
  const Pid throws = family.start(1);
  EXPECT_NE(family.runtime.exit_reason(throws).value().to_string().find("never"), std::string::npos);
  EXPECT_EQ(family.count(), 0U);
  EXPECT_FALSE(family.runtime.exit_reason(family.children));
}

TEST(EventChildren, CC_CSU_029_events_whose_start_fails_leave_nothing_behind) {
  Family family;
  family.nursery.plans = {{1, {Start::throws}}, {2, {Start::fails}}, {3, {Start::is_ignored}}};
  family.subscribe(3, 0);
  family.push(ints(1, 3));
  EXPECT_EQ(family.count(), 0U);
  EXPECT_EQ(family.made.demands, (Counts{3, 3}));
  EXPECT_FALSE(family.runtime.exit_reason(family.children));
}

TEST(EventChildren, CC_CSU_011_a_temporary_child_is_gone_however_it_ends) {
  Family family;
  for (const ExitReason& reason : {ExitReason::shutdown, ExitReason::custom("whatever")}) {
    family.kill(family.start(1), reason);
    EXPECT_EQ(family.count(), 0U);
  }
}

// ---- starting again ------------------------------------------------------------------------------------------------

TEST(EventChildren, CC_CSU_013_a_transient_child_starts_again_unless_its_start_is_ignored) {
  // Restarts are at once, here too when they fail, so there is no child that is restarting.
  Family family(transient(10));
  family.nursery.plans = {{2, {Start::works, Start::is_ignored}}, {3, {Start::works, Start::fails, Start::works}}};
  for (const int event : {1, 2, 3}) family.kill(family.start(event));
  EXPECT_EQ(family.nursery.starts, (std::map<int, std::size_t>{{1, 2}, {2, 2}, {3, 3}}));
  EXPECT_EQ(family.count(), 2U);
  family.kill(family.start(4), ExitReason::shutdown);  // an end that is no failure
  EXPECT_EQ(family.nursery.starts[4], 1U);
  EXPECT_EQ(family.count(), 2U);
}

TEST(EventChildren, CC_CSU_014_a_restart_that_fails_once_is_tried_again) {
  Family family(transient(2));
  family.nursery.plans = {{1, {Start::works, Start::fails, Start::works}}};
  family.kill(family.start(1));
  EXPECT_EQ(family.nursery.starts[1], 3U);
  EXPECT_EQ(family.count(), 1U);
}

TEST(EventChildren, CC_CSU_015_more_restarts_than_one_end_it) {
  Family family(transient(1));
  family.nursery.plans = {{1, {Start::works, Start::fails}}};
  family.kill(family.start(1));
  EXPECT_EQ(family.runtime.exit_reason(family.children), ExitReason::shutdown);
  EXPECT_EQ(family.nursery.starts[1], 2U);
}

TEST(EventChildren, CC_CSU_017_nor_are_ten_enough_for_one_that_always_fails) {
  Family family(transient(10));
  family.nursery.plans = {{1, {Start::works, Start::throws}}};
  family.kill(family.start(1));
  EXPECT_EQ(family.runtime.exit_reason(family.children), ExitReason::shutdown);
  EXPECT_EQ(family.nursery.starts[1], 11U);
}

TEST(EventChildren, CC_CSU_031_a_restarted_child_keeps_its_place_until_it_is_ended_by_hand) {
  Family family(transient());
  family.nursery.plans = {{1, {Start::works, Start::fails, Start::works}}};
  family.subscribe(1, 0);
  family.push(ints(1, 2));
  family.kill(family.all().at(0));
  EXPECT_EQ(family.nursery.starts, (std::map<int, std::size_t>{{1, 3}}));
  EXPECT_EQ(family.made.demands, (Counts{1}));
  EXPECT_EQ(family.children.call_blocking<Children::TerminateChild>(family.all().at(0)), true);
  family.run();
  EXPECT_EQ(family.nursery.starts, (std::map<int, std::size_t>{{1, 3}, {2, 1}}));
  EXPECT_EQ(family.count(), 1U);
}

// ---- ending --------------------------------------------------------------------------------------------------------

TEST(EventChildren, CC_CSU_018_brutal_kill_kills_them) {
  ConsumerSupervisorOptions options;
  options.shutdown = Shutdown::brutal_kill();
  Family family(options);
  for (const int event : {1, 2, 3}) family.start(event);
  EXPECT_EQ(family.reasons_after_stop(), std::vector<ExitReason>(3, ExitReason::killed));
}

TEST(EventChildren, CC_CSU_023_a_child_is_ended_by_hand_as_all_are_at_the_end) {
  for (const bool brutal : {true, false}) {
    ConsumerSupervisorOptions options = transient();
    options.shutdown = brutal ? Shutdown::brutal_kill() : Shutdown::after(1s);
    Family family(options);
    const Pid child = family.start(1);
    EXPECT_EQ(family.children.call_blocking<Children::TerminateChild>(child), true);
    family.run();
    EXPECT_EQ(family.runtime.exit_reason(child), brutal ? ExitReason::killed : ExitReason::shutdown);
    EXPECT_EQ(family.children.call_blocking<Children::TerminateChild>(child), false);
    EXPECT_EQ(family.count(), 0U);
    EXPECT_EQ(family.nursery.starts[1], 1U);
  }
}

TEST(EventChildren, CC_CSU_021_with_a_second_they_shut_down) {
  ConsumerSupervisorOptions options;
  options.shutdown = Shutdown::after(1s);
  Family family(options);
  for (const int event : {1, 2, 3}) family.start(event);
  EXPECT_EQ(family.reasons_after_stop(), std::vector<ExitReason>(3, ExitReason::shutdown));
}

TEST(EventChildren, CC_CSU_022_one_that_takes_too_long_is_killed_and_with_infinity_it_is_not) {
  for (const bool waits : {false, true}) {
    ConsumerSupervisorOptions options;
    options.shutdown = waits ? Shutdown::infinity() : Shutdown::after(1ms);
    Family family(options);
    for (const int event : {1, -600, 3}) family.start(event);
    const ExitReason late = waits ? ExitReason::shutdown : ExitReason::killed;
    EXPECT_EQ(family.reasons_after_stop(), (std::vector<ExitReason>{ExitReason::shutdown, late, ExitReason::shutdown}));
    EXPECT_EQ(family.nursery.ended, waits ? Ints{-600} : Ints{});
  }
}

// ---- subscriptions -------------------------------------------------------------------------------------------------

TEST(EventChildren, CC_CSU_026_a_dead_producer_ends_it_unless_the_subscription_is_temporary) {
  for (const CancelMode mode : {CancelMode::permanent, CancelMode::temporary}) {
    Family family;
    family.cast(family.source_ref, Source::End{ExitReason::normal});
    EXPECT_TRUE(subscribe_blocking(family.children, family.source_ref, ending(mode)));
    family.run();
    EXPECT_EQ(family.runtime.exit_reason(family.children).has_value(), mode == CancelMode::permanent);
  }
}

TEST(EventChildren, CC_CSU_034_nothing_more_is_asked_for_while_all_that_came_live) {
  Family family;
  family.subscribe(3, 0);
  family.push({1, 2});
  EXPECT_EQ(family.count(), 2U);
  EXPECT_EQ(family.made.demands, (Counts{3}));
}

TEST(EventChildren, CC_CSU_035_what_comes_in_excess_is_started_and_reported) {
  Family family;
  const SubscriptionId id = family.subscribe(2, 0);
  send_raw_events(family.children, id, ints(1, 5));
  family.run();
  EXPECT_EQ(family.count(), 5U);
  EXPECT_EQ(family.log.count("stage.events_in_excess"), 1U);
  EXPECT_EQ(family.made.demands, (Counts{2}));
}

TEST(EventChildren, one_that_a_supervisor_restarts_comes_back_with_its_subscriptions) {
  // It had only what it was given by hand: a restarted one ran for ever without an event.
  World world;
  Nursery nursery;
  Seen made;
  const auto source = world.runtime.start_with<Source>({.name = "feed"}, std::ref(made)).value();
  SubscribeTo<int> feed{Name<Source>(world.runtime, "feed"), demand(2, 0)};
  feed.options.cancel = CancelMode::temporary;
  std::vector<ChildSpec> specs;
  specs.push_back(child_spec_with<Children>(ChildOptions{.registered = true}, "family",
                                            child_server<int, Child>(std::ref(nursery)), ConsumerSupervisorOptions{},
                                            std::vector<SubscribeTo<int>>{feed}));
  const auto tree = world.runtime.start<Supervisor>(SupervisorOptions{}, std::move(specs)).value();
  world.run();
  const Name<Children> family(world.runtime, "family");
  for (int round = 1; round <= 3; ++round) {
    world.cast(source, Source::Push{{round, 10 * round}});
    EXPECT_EQ(nursery.starts.size(), 2U * static_cast<std::size_t>(round));
    const Pid before = family.resolve().value().pid();
    world.runtime.exit(before, ExitReason::kill);
    world.run();
    EXPECT_NE(family.resolve().value().pid(), before);
  }
  EXPECT_EQ(made.demands, (Counts{2, 2, 2, 2}));
  EXPECT_FALSE(world.runtime.exit_reason(tree));
}

TEST(EventChildren, it_subscribes_at_its_start_or_says_why_it_does_not_start) {
  World world;
  Nursery nursery;
  Seen made;
  const auto source = world.source(std::ref(made));
  const auto start = [&](SubscribeTo<int> wanted) {
    return world.runtime.start<Children>(child_server<int, Child>(std::ref(nursery)), ConsumerSupervisorOptions{},
                                         std::vector<SubscribeTo<int>>{std::move(wanted)});
  };
  EXPECT_TRUE(start({source, demand(3, 2)}));
  world.cast(source, Source::Push{{1, 2, 3, 4}});
  EXPECT_EQ(nursery.starts.size(), 3U);
  EXPECT_NE(start({source, demand(0, 0)}).error().message().find("max_demand"), std::string_view::npos);
  const Name<Source> nobody(world.runtime, "nobody");
  EXPECT_EQ(start({nobody}).error().code(), ErrorCode::no_process);
  EXPECT_TRUE(start({nobody, ending(CancelMode::temporary)}));
  EXPECT_EQ(world.log.count("stage.not_subscribed"), 2U);
  SubscribeOptions<int> lasting = demand(3, 0);
  lasting.resubscribe = RestartBackoff{.initial = 50ms, .max = 1s};
  EXPECT_TRUE(start({nobody, lasting}));
  Seen later;
  const auto somebody = world.runtime.start_with<Source>({.name = "nobody"}, std::ref(later)).value();
  world.runtime.advance(1s);
  world.cast(somebody, Source::Push{{7}});
  EXPECT_EQ(nursery.starts[7], 1U);
}

}  // namespace
}  // namespace dagverk
