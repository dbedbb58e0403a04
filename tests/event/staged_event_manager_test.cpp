// The staged event manager: what one handler does never touches another, a publisher or memory, and every event is
// accounted for.

#include "dagverk/event/staged_event_manager.hpp"

#include "dagverk/base/random.hpp"
#include "dagverk/runtime/completion.hpp"
#include "dagverk/runtime/deterministic_runtime.hpp"
#include "dagverk/stage/spill.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <numeric>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <variant>
#include <vector>

namespace dagverk {
namespace {

using namespace std::chrono_literals;

/// What a handler of the tests does, and what it saw. Outlives its handler.
struct Script {
  std::set<int> throws_at = {};
  std::set<int> hangs_at = {};
  Duration pause{0};  ///< per event
  bool throws_always = false;
  bool throws_in_init = false;

  std::vector<int> seen = {};
  std::vector<std::size_t> batches = {};
  int inits = 0;
  int terminates = 0;
  Pid pid = {};
};

Async<void> hang() {
  CompletionPair<Result<void>> never = make_completion<Result<void>>();
  Result<void> result = co_await std::move(never.completion);
  if (!result) throw std::logic_error("a completion that nobody completes has completed");
}

class Scripted : public EventHandler<int> {
 public:
  explicit Scripted(Script* script) : script_(*script) {}

  void init() {
    ++script_.inits;
    script_.pid = this_process::pid();
    if (script_.throws_in_init) throw std::runtime_error("no init");
  }
  Async<void> handle_event(const int& event) {
    if (script_.hangs_at.contains(event)) co_await hang();
    if (script_.pause > 0ns) co_await this_process::sleep(script_.pause);
    if (script_.throws_always || script_.throws_at.contains(event)) throw std::runtime_error("cannot take it");
    script_.seen.push_back(event);
  }
  void terminate(const ExitReason& /*reason*/) { ++script_.terminates; }

 private:
  Script& script_;
};

class Batching : public EventHandler<int> {
 public:
  explicit Batching(Script* script) : script_(*script) {}

  void handle_batch(std::span<const int> events) {
    for (int event : events) {
      if (script_.throws_at.contains(event)) throw std::runtime_error("cannot take it");
    }
    script_.batches.push_back(events.size());
    script_.seen.insert(script_.seen.end(), events.begin(), events.end());
  }

 private:
  Script& script_;
};

class Plain : public EventHandler<int> {
 public:
  explicit Plain(Script* script) : script_(*script) {}
  void handle_event(const int& event) { script_.seen.push_back(event); }

 private:
  Script& script_;
};

/// A deterministic runtime with one manager of ints.
struct World {
  explicit World(StagedEventOptions options = {}, std::uint64_t seed = 1)
      : runtime(DeterministicOptions{.seed = seed}), events(runtime, options) {}

  template <class Handler = Scripted>
  void add(std::string name, Script& script, HandlerOptions options = {}) {
    Result<void> added = events.add_handler_blocking(event_handler<Handler>(std::move(name), options, &script));
    ASSERT_TRUE(added) << added.error().message();
  }
  /// Publishes first, …, last one by one.
  void publish(int first, int last) {
    for (int event = first; event <= last; ++event) events.notify(event);
  }
  HandlerStats stats(std::string_view name) {
    const EventStats all = events.stats_blocking().value();
    const HandlerStats* found = all.find(name);
    EXPECT_NE(found, nullptr) << name;
    if (found == nullptr) return {};
    EXPECT_TRUE(found->balanced());
    return *found;
  }

  /// Lives longer than the manager, whose destructor lets handlers finish.
  Script& script(Script what = {}) { return scripts.emplace_back(std::move(what)); }

  std::deque<Script> scripts;
  DeterministicRuntime runtime;
  StagedEventManager<int> events;
};

std::vector<int> numbers(int first, int last) {
  std::vector<int> all(static_cast<std::size_t>(last - first + 1));
  std::iota(all.begin(), all.end(), first);
  return all;
}

HandlerOptions with_rule(OverflowRule rule) { return HandlerOptions{.overflow = rule}; }

// ---- publishing and joining -----------------------------------------------------------------------------------------

TEST(StagedEventManager, each_handler_gets_every_event_in_order_whatever_its_callbacks_look_like) {
  World world;
  Script& one = world.script();
  Script& many = world.script();
  Script& plain = world.script();
  world.add("one", one);
  world.add<Batching>("many", many);
  world.add<Plain>("plain", plain);
  world.publish(1, 1000);
  world.events.notify(make_batch(numbers(1001, 5000)));
  world.publish(5001, 5001);
  world.runtime.run_until_idle();

  EXPECT_EQ(one.seen, numbers(1, 5001));
  EXPECT_EQ(many.seen, numbers(1, 5001));
  EXPECT_EQ(plain.seen, numbers(1, 5001));
  EXPECT_GT(*std::max_element(many.batches.begin(), many.batches.end()), 1U);
  EXPECT_EQ(world.events.which_handlers_blocking().value(), (std::vector<std::string>{"one", "many", "plain"}));
  const EventStats stats = world.events.stats_blocking().value();
  EXPECT_EQ(stats.published, 5001U);
  EXPECT_EQ(stats.discarded + stats.refused, 0U);
  for (const HandlerStats& handler : stats.handlers) {
    EXPECT_EQ(handler.published, 5001U);
    EXPECT_EQ(handler.delivered, 5001U);
    EXPECT_EQ(handler.buffered, 0U);
    EXPECT_EQ(handler.state, HandlerState::running);
    EXPECT_EQ(handler.lag, 0ns);
  }
}

TEST(StagedEventManager, without_handlers_events_are_discarded_and_counted_and_nobody_wants_any) {
  World world;
  EXPECT_FALSE(world.events.wants(0));
  world.publish(1, 10);
  world.events.notify(make_batch({11, 12}));
  EXPECT_EQ(world.events.stats_blocking().value().discarded, 12U);

  Script& script = world.script();
  world.add("late", script);
  EXPECT_TRUE(world.events.wants(0));
  world.publish(20, 21);
  world.runtime.run_until_idle();
  EXPECT_EQ(script.seen, numbers(20, 21)) << "published counts from joining";
  EXPECT_EQ(world.stats("late").published, 2U);

  ASSERT_TRUE(world.events.remove_handler_blocking("late"));
  EXPECT_FALSE(world.events.wants(0));
  world.publish(30, 30);
  EXPECT_EQ(world.events.stats_blocking().value().discarded, 13U);
}

struct Started {
  int job;
};
struct Finished {
  int job;
};
struct Died {
  int job;
};
using JobEvent = std::variant<Started, Finished, Died>;

class CountingKinds : public EventHandler<JobEvent> {
 public:
  explicit CountingKinds(std::vector<std::size_t>* seen) : seen_(*seen) {}
  void handle_event(const JobEvent& event) { seen_.push_back(event.index()); }

 private:
  std::vector<std::size_t>& seen_;
};

TEST(StagedEventManager, a_kind_that_is_switched_off_or_that_no_handler_wants_is_not_produced) {
  std::vector<std::size_t> seen;
  std::vector<std::size_t> seen_all;
  DeterministicRuntime runtime;
  StagedEventManager<JobEvent> events(runtime,
                                      StagedEventOptions{.kinds = EventKinds::of<JobEvent, Started, Finished>()});
  HandlerOptions only_finished;
  only_finished.kinds = EventKinds::of<JobEvent, Finished, Died>();
  ASSERT_TRUE(events.add_handler_blocking(event_handler<CountingKinds>("finished", only_finished, &seen)));
  EXPECT_FALSE(events.wants<Started>()) << "nobody wants it";
  EXPECT_TRUE(events.wants<Finished>());
  EXPECT_FALSE(events.wants<Died>()) << "it is switched off";
  events.notify(Started{1});
  events.notify(Died{1});
  EXPECT_EQ(events.stats_blocking().value().discarded, 2U);

  ASSERT_TRUE(events.add_handler_blocking(event_handler<CountingKinds>("all", HandlerOptions(), &seen_all)));
  EXPECT_TRUE(events.wants<Started>());
  events.notify(Started{2});
  events.notify(make_batch<JobEvent>({Finished{2}, Died{2}, Started{3}}));
  runtime.run_until_idle();
  EXPECT_EQ(seen, (std::vector<std::size_t>{1}));
  EXPECT_EQ(seen_all, (std::vector<std::size_t>{0, 1, 0}));
  const EventStats stats = events.stats_blocking().value();
  EXPECT_EQ(stats.discarded, 3U);
  EXPECT_EQ(stats.find("finished")->dropped.filtered, 2U) << "somebody else wanted them";
  EXPECT_EQ(stats.find("finished")->published, 3U);
}

TEST(StagedEventManager, mistakes_in_a_spec_are_errors_that_name_the_handler) {
  World world;
  Script& script = world.script();
  world.add("taken", script);
  const auto error_of = [&](std::string name, HandlerOptions options) {
    Result<void> added = world.events.add_handler_blocking(event_handler<Scripted>(std::move(name), options, &script));
    return added ? ErrorCode::internal : added.error().code();
  };
  EXPECT_EQ(error_of("taken", {}), ErrorCode::already_exists);
  EXPECT_EQ(error_of("", {}), ErrorCode::configuration);
  EXPECT_EQ(error_of("none", with_rule(KeepNewest{0})), ErrorCode::configuration);
  EXPECT_EQ(error_of("empty", HandlerOptions{.batch_max = 0}), ErrorCode::configuration);
  EXPECT_EQ(error_of("huge", HandlerOptions{.batch_max = handler_batch_limit + 1}), ErrorCode::configuration);
  EXPECT_EQ(world.events.add_handler_blocking(HandlerSpec<int>{.name = "unmade"}).error().code(),
            ErrorCode::configuration);
  EXPECT_EQ(world.events.remove_handler_blocking("nobody").error().code(), ErrorCode::not_found);
  EXPECT_EQ(world.events.restart_handler_blocking("nobody").error().code(), ErrorCode::not_found);
  EXPECT_EQ(world.events.which_handlers_blocking().value().size(), 1U);
}

TEST(StagedEventManager, a_handler_whose_first_init_fails_is_not_added_and_its_name_is_free) {
  World world;
  Script& script = world.script({.throws_in_init = true});
  Result<void> added = world.events.add_handler_blocking(event_handler<Scripted>("h", HandlerOptions(), &script));
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().code(), ErrorCode::exited);
  EXPECT_NE(added.error().message().find("no init"), std::string_view::npos);
  EXPECT_FALSE(world.events.wants(0));
  script.throws_in_init = false;
  world.add("h", script);
}

// ---- overflow rules -------------------------------------------------------------------------------------------------

TEST(StagedEventManager, keep_newest_keeps_the_newest_and_counts_the_others) {
  World world;
  Script& hung = world.script({.hangs_at = {1}});
  Script& healthy = world.script();
  world.add("hung", hung, with_rule(KeepNewest{100}));
  world.add("healthy", healthy);
  world.publish(1, 1);
  world.runtime.run_until_idle();
  world.publish(2, 1000);
  world.runtime.run_until_idle();

  const HandlerStats stats = world.stats("hung");
  EXPECT_EQ(stats.published, 1000U);
  EXPECT_EQ(stats.delivered, 0U);
  EXPECT_EQ(stats.buffered, 100U) << "the one that it handles is one of them";
  EXPECT_EQ(stats.dropped.overflow, 900U);
  EXPECT_EQ(healthy.seen, numbers(1, 1000));

  hung.hangs_at.clear();
  ASSERT_TRUE(world.events.restart_handler_blocking("hung"));
  world.runtime.run_until_idle();
  EXPECT_EQ(hung.seen, numbers(902, 1000));
  EXPECT_EQ(world.stats("hung").dropped.consumer_down, 1U) << "what it had in hand when it was replaced";
}

TEST(StagedEventManager, keep_newest_of_one_keeps_the_newest_while_another_is_handled) {
  World world;
  Script& slow = world.script({.pause = 1s});
  world.add("slow", slow, with_rule(KeepNewest{1}));
  world.publish(1, 1);
  world.runtime.run_until_idle();
  for (int event = 2; event <= 9; ++event) {
    world.publish(event, event);
    world.runtime.run_until_idle();
  }
  EXPECT_EQ(world.stats("slow").buffered, 2U);
  world.runtime.advance(3s);
  EXPECT_EQ(slow.seen, (std::vector<int>{1, 9}));
  EXPECT_EQ(world.stats("slow").dropped.overflow, 7U);
}

TEST(StagedEventManager, keep_oldest_keeps_the_oldest_and_counts_the_others) {
  World world;
  Script& slow = world.script({.pause = 1s});
  Script& healthy = world.script();
  world.add("slow", slow, with_rule(KeepOldest{10}));
  world.add("healthy", healthy);
  world.publish(1, 1);
  world.runtime.run_until_idle();
  world.events.notify(make_batch(numbers(2, 8)));
  world.publish(9, 1000);
  world.runtime.run_until_idle();
  EXPECT_EQ(world.stats("slow").buffered, 10U) << "the one that it handles is one of them";
  EXPECT_EQ(world.stats("slow").dropped.overflow, 990U);
  world.runtime.advance(1s);  // makes room for one more
  world.publish(1001, 1002);
  world.runtime.advance(1h);
  std::vector<int> kept = numbers(1, 10);
  kept.push_back(1001);
  EXPECT_EQ(slow.seen, kept);
  EXPECT_EQ(world.stats("slow").dropped.overflow, 991U);
  EXPECT_EQ(healthy.seen, numbers(1, 1002));
}

TEST(StagedEventManager, keep_oldest_holds_across_a_restart) {
  World world;
  Script& crashing = world.script({.throws_at = {3}});
  world.add("crashing", crashing, with_rule(KeepOldest{5}));
  world.events.notify(make_batch(numbers(1, 5)));
  world.runtime.run_until_idle();
  world.events.notify(make_batch(numbers(6, 20)));
  world.runtime.run_until_idle();
  EXPECT_EQ(world.stats("crashing").buffered, 5U) << "what was behind the failing one, and three more";
  world.runtime.advance(1s);
  EXPECT_EQ(crashing.seen, (std::vector<int>{1, 2, 4, 5, 6, 7, 8}));
  EXPECT_EQ(world.stats("crashing").dropped.overflow, 12U);
  EXPECT_EQ(world.stats("crashing").dropped.crashed, 1U);
}

TEST(StagedEventManager, a_sample_is_one_of_so_many_however_they_come_and_counts_the_others) {
  World world;
  Script& sampled = world.script();
  Script& healthy = world.script();
  world.add("sampled", sampled, with_rule(Sample{.every = 10}));
  world.add("healthy", healthy);
  world.publish(1, 15);
  world.events.notify(make_batch(numbers(16, 35)));
  world.runtime.run_until_idle();
  EXPECT_EQ(sampled.seen, (std::vector<int>{1, 11, 21, 31}));
  EXPECT_EQ(world.stats("sampled").dropped.sampled, 31U);
  EXPECT_EQ(healthy.seen, numbers(1, 35));
  std::optional<std::vector<HandlerOutcome>> outcomes;
  if (Result<std::vector<HandlerOutcome>> told = world.events.sync_notify_blocking(36)) outcomes = *std::move(told);
  ASSERT_TRUE(outcomes);
  EXPECT_EQ(*outcomes,
            (std::vector<HandlerOutcome>{{"sampled", EventFate::filtered}, {"healthy", EventFate::handled}}));
}

TEST(StagedEventManager, a_sample_may_be_one_in_an_interval_and_keeps_the_newest_that_a_slow_handler_left) {
  World world;
  Script& each_second = world.script();
  Script& hung = world.script({.hangs_at = {1}});
  world.add("each second", each_second, with_rule(Sample{.interval = 1s}));
  world.add("hung", hung, with_rule(Sample{.every = 2, .events_max = 4}));
  for (int event = 1; event <= 40; ++event) {
    world.publish(event, event);
    world.runtime.advance(100ms);
  }
  EXPECT_EQ(each_second.seen, (std::vector<int>{1, 11, 21, 31}));
  const HandlerStats stats = world.stats("hung");
  EXPECT_EQ(stats.dropped.sampled, 20U);
  EXPECT_EQ(stats.dropped.overflow, 16U);
  EXPECT_EQ(stats.buffered, 4U);
  hung.hangs_at.clear();
  ASSERT_TRUE(world.events.restart_handler_blocking("hung"));
  world.runtime.run_until_idle();
  EXPECT_EQ(hung.seen, (std::vector<int>{35, 37, 39}));
}

TEST(StagedEventManager, handlers_that_wait_go_at_the_pace_of_the_slowest_and_lose_only_what_the_line_cannot_hold) {
  World world(StagedEventOptions{.wait_events_max = 50});
  Script& slow = world.script({.pause = 1s});
  Script& quick = world.script();
  Script& other = world.script();
  world.add("slow", slow, HandlerOptions{.overflow = WaitWhenFull{}, .batch_max = 10});
  world.add("quick", quick, HandlerOptions{.overflow = WaitWhenFull{}, .batch_max = 40});
  world.add("other", other);
  world.events.notify(make_batch(numbers(1, 10)));
  world.runtime.run_until_idle();
  EXPECT_EQ(quick.seen.size(), 10U);
  EXPECT_EQ(slow.seen.size(), 0U);

  world.events.notify(make_batch(numbers(11, 100)));
  world.runtime.run_until_idle();
  EXPECT_EQ(quick.seen.size(), 10U) << "it waits for the slow one";
  EXPECT_EQ(other.seen, numbers(1, 100));
  EXPECT_EQ(world.stats("quick").dropped.overflow, 40U);
  EXPECT_EQ(world.stats("slow").dropped.overflow, 40U);
  EXPECT_EQ(world.stats("quick").buffered, 50U);
  EXPECT_EQ(world.stats("slow").buffered, 60U);

  world.runtime.advance(60s);
  EXPECT_EQ(quick.seen, numbers(1, 60)) << "the oldest stay, new ones are dropped";
  EXPECT_EQ(slow.seen, numbers(1, 60));
  EXPECT_EQ(world.stats("slow").buffered, 0U);
}

TEST(StagedEventManager, who_joins_those_that_wait_gets_only_what_was_published_since) {
  World world;
  Script& hung = world.script({.hangs_at = {1}});
  Script& late = world.script();
  world.add("hung", hung, HandlerOptions{.overflow = WaitWhenFull{}, .batch_max = 1});
  world.publish(1, 20);
  world.runtime.run_until_idle();
  world.add("late", late, with_rule(WaitWhenFull{}));
  world.publish(21, 30);
  world.runtime.run_until_idle();
  EXPECT_EQ(world.stats("late").buffered, 10U);
  EXPECT_EQ(world.stats("late").published, 10U);

  const HandlerStats last = world.events.remove_handler_blocking("hung").value();
  EXPECT_EQ(last.dropped.shutdown, 30U);
  EXPECT_TRUE(last.balanced());
  world.runtime.run_until_idle();
  EXPECT_EQ(late.seen, numbers(21, 30)) << "those that hung left behind are not its own";
}

TEST(StagedEventManager, a_waiting_handler_that_crashes_resumes_and_one_that_fails_lets_the_others_go_on) {
  World world;
  Script& crashing = world.script({.throws_at = {5}});
  Script& steady = world.script();
  HandlerOptions options = with_rule(WaitWhenFull{});
  options.restart.crashes_max = 2;
  world.add("crashing", crashing, options);
  world.add("steady", steady, with_rule(WaitWhenFull{}));
  world.events.notify(make_batch(numbers(1, 20)));
  world.runtime.run_until_idle();
  world.events.notify(make_batch(numbers(21, 40)));
  world.runtime.run_until_idle();
  EXPECT_EQ(world.stats("crashing").state, HandlerState::restarting);
  EXPECT_EQ(steady.seen.size(), 20U) << "the line waits for the restart";
  world.runtime.advance(50ms);
  EXPECT_EQ(steady.seen, numbers(1, 40));
  EXPECT_EQ(crashing.seen.size(), 39U);

  crashing.throws_always = true;
  world.events.notify(make_batch(numbers(41, 60)));
  world.runtime.run_until_idle();
  world.events.notify(make_batch(numbers(61, 80)));
  world.runtime.run_until_idle();
  HandlerStats stats = world.stats("crashing");
  EXPECT_EQ(stats.state, HandlerState::failed);
  EXPECT_EQ(stats.dropped.crashed, 2U);
  EXPECT_EQ(stats.dropped.consumer_down, 39U) << "it must not hold up the others, so nothing waits for it";
  EXPECT_EQ(steady.seen, numbers(1, 80));

  crashing.throws_always = false;
  ASSERT_TRUE(world.events.restart_handler_blocking("crashing"));
  world.publish(81, 90);
  world.runtime.run_until_idle();
  EXPECT_EQ(crashing.seen.back(), 90);
  EXPECT_EQ(world.stats("crashing").delivered, 49U);
}

TEST(StagedEventManager, what_publishers_send_faster_than_the_manager_takes_it_is_bounded_and_counted) {
  World world(StagedEventOptions{.ingress_max = 100});
  Script& script = world.script();
  world.add("h", script);
  world.publish(1, 150);
  world.events.notify(make_batch(numbers(1000, 1090)));
  world.events.notify(make_batch(numbers(2000, 2090)));
  world.runtime.run_until_idle();
  const EventStats stats = world.events.stats_blocking().value();
  EXPECT_EQ(stats.refused, 50U + 91U);
  EXPECT_EQ(stats.find("h")->dropped.ingress, 141U);
  EXPECT_EQ(stats.find("h")->published, 332U);
  EXPECT_EQ(stats.find("h")->delivered, 191U);
  EXPECT_EQ(script.seen.size(), 191U);
}

// ---- crashes --------------------------------------------------------------------------------------------------------

TEST(StagedEventManager, a_crash_drops_the_failing_event_and_the_handler_goes_on_behind_it) {
  World world;
  Script& crashing = world.script({.throws_at = {5}});
  Script& healthy = world.script();
  world.add("crashing", crashing);
  world.add("healthy", healthy);
  world.events.notify(make_batch(numbers(1, 10)));
  world.runtime.run_until_idle();
  HandlerStats stats = world.stats("crashing");
  EXPECT_EQ(stats.state, HandlerState::restarting);
  EXPECT_EQ(stats.delivered, 4U);
  EXPECT_EQ(stats.dropped.crashed, 1U);
  EXPECT_EQ(stats.buffered, 5U);
  EXPECT_NE(stats.last_error.find("cannot take it"), std::string::npos);
  EXPECT_EQ(healthy.seen, numbers(1, 10));

  world.publish(11, 12);
  world.runtime.advance(49ms);
  EXPECT_EQ(crashing.inits, 1);
  world.runtime.advance(1ms);
  EXPECT_EQ(crashing.inits, 2);
  EXPECT_EQ(crashing.seen, (std::vector<int>{1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12})) << "buffered events go first";
  stats = world.stats("crashing");
  EXPECT_EQ(stats.restarts, 1U);
  EXPECT_EQ(stats.state, HandlerState::running);
  EXPECT_EQ(stats.delivered, 11U);
  EXPECT_EQ(crashing.terminates, 1) << "with the reason of the crash";
}

TEST(StagedEventManager, by_option_the_failing_event_is_tried_again) {
  World world;
  Script& script = world.script({.throws_at = {3}});
  world.add("h", script, HandlerOptions{.crashed_event = CrashedEvent::retry});
  world.events.notify(make_batch(numbers(1, 6)));
  world.runtime.run_until_idle();
  world.runtime.advance(50ms);
  EXPECT_EQ(script.seen, numbers(1, 2));
  script.throws_at.clear();
  world.runtime.advance(100ms);
  EXPECT_EQ(script.seen, numbers(1, 6));
  const HandlerStats stats = world.stats("h");
  EXPECT_EQ(stats.restarts, 2U);
  EXPECT_EQ(stats.dropped.total(), 0U);
}

TEST(StagedEventManager, a_batch_at_which_a_callback_throws_is_dropped_whole) {
  World world;
  Script& script = world.script({.throws_at = {15}});
  world.add<Batching>("h", script, HandlerOptions{.batch_max = 10});
  world.events.notify(make_batch(numbers(1, 30)));
  world.runtime.run_until_idle();
  world.runtime.advance(50ms);
  std::vector<int> expected = numbers(1, 10);
  const std::vector<int> rest = numbers(21, 30);
  expected.insert(expected.end(), rest.begin(), rest.end());
  EXPECT_EQ(script.seen, expected);
  EXPECT_EQ(world.stats("h").dropped.crashed, 10U);
}

TEST(StagedEventManager, after_ten_crashes_in_a_minute_a_handler_is_failed_visible_and_restartable_by_hand) {
  World world;
  Script& script = world.script({.throws_always = true});
  Script& healthy = world.script();
  world.add("h", script, with_rule(KeepNewest{100}));
  world.add("healthy", healthy);
  world.publish(1, 50);
  world.runtime.advance(60s);
  HandlerStats stats = world.stats("h");
  EXPECT_EQ(stats.state, HandlerState::failed);
  EXPECT_EQ(stats.dropped.crashed, 10U);
  EXPECT_EQ(stats.restarts, 9U);
  EXPECT_EQ(stats.buffered, 40U);
  EXPECT_EQ(healthy.seen.size(), 50U);

  world.publish(51, 200);
  world.runtime.advance(1h);
  stats = world.stats("h");
  EXPECT_EQ(stats.state, HandlerState::failed) << "it is not started again by itself";
  EXPECT_EQ(stats.buffered, 100U) << "and keeps the newest";
  EXPECT_EQ(stats.dropped.overflow, 90U);
  EXPECT_GT(stats.lag, 59min);

  script.throws_always = false;
  ASSERT_TRUE(world.events.restart_handler_blocking("h"));
  world.runtime.run_until_idle();
  EXPECT_EQ(script.seen, numbers(101, 200));
  EXPECT_EQ(world.stats("h").state, HandlerState::running);
}

TEST(StagedEventManager, the_waits_between_restarts_double_and_an_init_that_fails_later_is_a_crash) {
  World world;
  Script& script = world.script({.throws_at = {1}});
  world.add("h", script);
  world.publish(1, 2);
  world.runtime.run_until_idle();
  script.throws_in_init = true;
  world.runtime.advance(50ms);  // the second start fails
  world.runtime.advance(99ms);  // the third is due 100 ms later
  EXPECT_EQ(script.inits, 2);
  script.throws_in_init = false;
  world.runtime.advance(1ms);
  EXPECT_EQ(script.inits, 3);
  EXPECT_EQ(script.seen, (std::vector<int>{2}));
  const HandlerStats stats = world.stats("h");
  EXPECT_EQ(stats.dropped.crashed, 1U) << "a failing init costs no event";
  EXPECT_EQ(stats.restarts, 2U);
}

TEST(StagedEventManager, a_handler_that_is_killed_loses_what_it_had_in_hand_and_no_more) {
  World world;
  Script& script = world.script({.hangs_at = {3}});
  world.add("h", script);
  world.events.notify(make_batch(numbers(1, 5)));
  world.runtime.run_until_idle();
  EXPECT_EQ(world.stats("h").buffered, 3U);
  world.runtime.exit(script.pid, ExitReason::kill);
  world.runtime.advance(50ms);
  EXPECT_EQ(script.seen, (std::vector<int>{1, 2, 4, 5}));
  const HandlerStats stats = world.stats("h");
  EXPECT_EQ(stats.dropped.consumer_down, 1U);
  EXPECT_EQ(stats.dropped.crashed, 0U);
  EXPECT_EQ(script.terminates, 0);
}

class Leaving : public EventHandler<int> {
 public:
  explicit Leaving(Script* script) : script_(*script) {}
  void handle_event(const int& event) {
    script_.seen.push_back(event);
    if (event == 3) this_process::stop();
  }
  void terminate(const ExitReason& /*reason*/) { ++script_.terminates; }

 private:
  Script& script_;
};

TEST(StagedEventManager, a_handler_may_end_itself_and_stays_visible) {
  World world;
  Script& script = world.script();
  world.add<Leaving>("h", script);
  world.events.notify(make_batch(numbers(1, 9)));
  world.runtime.advance(1h);
  EXPECT_EQ(script.seen, numbers(1, 3));
  EXPECT_EQ(script.terminates, 1);
  EXPECT_EQ(world.stats("h").state, HandlerState::stopped);
  EXPECT_EQ(world.stats("h").buffered, 6U);
  ASSERT_TRUE(world.events.restart_handler_blocking("h"));
  world.runtime.run_until_idle();
  EXPECT_EQ(script.seen, numbers(1, 9));
}

TEST(StagedEventManager, a_handler_stopped_by_hand_stays_keeps_by_its_rule_and_goes_on_when_it_is_started) {
  World world;
  Script& slow = world.script({.pause = 1s});
  Script& hung = world.script({.hangs_at = {2}});
  Script& failing = world.script({.throws_always = true});
  Script& waits = world.script();
  world.add("slow", slow, with_rule(KeepNewest{4}));
  world.add("hung", hung);
  world.add("failing", failing);
  world.add("waits", waits, with_rule(WaitWhenFull{}));
  world.events.notify(make_batch(numbers(1, 3)));
  world.runtime.run_until_idle();

  ASSERT_TRUE(world.events.stop_handler_blocking("slow"));
  EXPECT_EQ(slow.terminates, 1);
  EXPECT_EQ(slow.seen, numbers(1, 1)) << "the event in its hands is finished, the others wait";
  EXPECT_EQ(world.stats("slow").state, HandlerState::stopped);
  EXPECT_EQ(world.stats("slow").last_error, "was stopped by hand");
  const SteadyTime before = world.runtime.clock().steady_now();
  ASSERT_TRUE(world.events.stop_handler_blocking("hung"));
  EXPECT_EQ(world.runtime.clock().steady_now() - before, 5s);
  EXPECT_EQ(world.stats("hung").dropped.consumer_down, 1U);
  ASSERT_TRUE(world.events.stop_handler_blocking("failing"));  // it has no process now
  ASSERT_TRUE(world.events.stop_handler_blocking("failing"));
  ASSERT_TRUE(world.events.stop_handler_blocking("waits"));
  EXPECT_EQ(world.events.stop_handler_blocking("nobody").error().code(), ErrorCode::not_found);
  world.events.notify(make_batch(numbers(4, 9)));
  world.runtime.advance(1h);
  EXPECT_EQ(world.stats("failing").state, HandlerState::stopped) << "nor does its back-off start it";
  EXPECT_EQ(world.stats("slow").buffered, 4U);
  EXPECT_EQ(world.stats("waits").dropped.consumer_down, 6U);
  EXPECT_EQ(slow.inits + hung.inits, 2);

  for (const char* name : {"slow", "hung", "waits"}) ASSERT_TRUE(world.events.restart_handler_blocking(name));
  world.runtime.advance(1h);
  world.events.notify(10);
  world.runtime.advance(1h);
  EXPECT_EQ(slow.seen, (std::vector<int>{1, 6, 7, 8, 9, 10}));
  EXPECT_EQ(hung.seen, (std::vector<int>{1, 3, 4, 5, 6, 7, 8, 9, 10}));
  EXPECT_EQ(waits.seen, (std::vector<int>{1, 2, 3, 10}));
}

// ---- selectors ------------------------------------------------------------------------------------------------------

TEST(StagedEventManager, a_selector_filters_and_one_that_throws_is_its_handlers_fault_alone) {
  World world;
  Script& odd = world.script();
  Script& odd_batches = world.script();
  Script& healthy = world.script();
  int throw_at = -1;
  const auto is_odd = [&throw_at](const int& event) {
    if (event == throw_at) throw std::runtime_error("selector");
    return event % 10 != 0;
  };
  HandlerSpec<int> one = event_handler<Scripted>("one", HandlerOptions(), &odd);
  HandlerSpec<int> many = event_handler<Batching>("many", HandlerOptions(), &odd_batches);
  one.selector = is_odd;
  many.selector = is_odd;
  ASSERT_TRUE(world.events.add_handler_blocking(std::move(one)));
  ASSERT_TRUE(world.events.add_handler_blocking(std::move(many)));
  world.add("healthy", healthy);
  world.events.notify(make_batch(numbers(1, 30)));
  world.runtime.run_until_idle();
  for (std::string_view name : {"one", "many"}) {
    EXPECT_EQ(world.stats(name).dropped.filtered, 3U) << name;
    EXPECT_EQ(world.stats(name).delivered, 27U) << name;
  }
  EXPECT_EQ(odd_batches.batches, (std::vector<std::size_t>{9, 9, 9}));

  throw_at = 35;
  world.events.notify(make_batch(numbers(31, 38)));
  world.runtime.run_until_idle();
  world.runtime.advance(50ms);
  for (std::string_view name : {"one", "many"}) {
    EXPECT_EQ(world.stats(name).dropped.crashed, 1U) << name;
    EXPECT_EQ(world.stats(name).delivered, 34U) << name;
  }
  EXPECT_EQ(odd.seen, odd_batches.seen) << "only the event that the selector threw at is lost";
  EXPECT_EQ(healthy.seen, numbers(1, 38));
}

// ---- removing, stopping, tools --------------------------------------------------------------------------------------

TEST(StagedEventManager, removing_lets_a_handler_finish_its_event_and_terminate_and_a_hung_one_is_killed) {
  World world;
  Script& slow = world.script({.pause = 1s});
  Script& hung = world.script({.hangs_at = {2}});
  world.add("slow", slow);
  world.add("hung", hung);
  world.events.notify(make_batch(numbers(1, 5)));
  world.runtime.run_until_idle();
  const HandlerStats slow_last = world.events.remove_handler_blocking("slow").value();
  EXPECT_EQ(slow_last.delivered, 1U);
  EXPECT_EQ(slow_last.dropped.shutdown, 4U);
  EXPECT_EQ(slow.terminates, 1);

  const SteadyTime before = world.runtime.clock().steady_now();
  const HandlerStats hung_last = world.events.remove_handler_blocking("hung").value();
  EXPECT_EQ(world.runtime.clock().steady_now() - before, 5s);
  EXPECT_EQ(hung_last.delivered, 1U);
  EXPECT_EQ(hung_last.dropped.shutdown, 4U);
  EXPECT_TRUE(hung_last.balanced());
  world.runtime.run_until_idle();
  EXPECT_FALSE(RuntimeBase::alive(hung.pid));
  EXPECT_TRUE(world.events.which_handlers_blocking().value().empty());
  world.add("hung", slow);
}

TEST(StagedEventManager, stop_lets_handlers_finish_what_is_buffered) {
  World world;
  Script& slow = world.script({.pause = 10ms});
  Script& crashing = world.script({.throws_at = {50}});
  world.add("slow", slow);
  world.add("crashing", crashing);
  world.add("waiting", slow, with_rule(WaitWhenFull{}));
  world.publish(1, 100);
  const EventStats last = world.events.stop_blocking().value();
  ASSERT_EQ(last.handlers.size(), 3U);
  EXPECT_EQ(last.find("slow")->delivered, 100U);
  EXPECT_EQ(last.find("waiting")->delivered, 100U);
  EXPECT_EQ(last.find("crashing")->delivered, 99U) << "it was restarted and went on";
  for (const HandlerStats& handler : last.handlers) {
    EXPECT_EQ(handler.buffered, 0U);
    EXPECT_TRUE(handler.balanced());
  }
  EXPECT_EQ(slow.terminates, 2);
  EXPECT_FALSE(RuntimeBase::alive(world.events.pid()));

  world.publish(101, 105);
  EXPECT_EQ(world.events.stop_blocking().value().discarded, 5U);
  EXPECT_EQ(world.events.stats_blocking().value().find("slow")->delivered, 100U);
  EXPECT_EQ(world.events.add_handler_blocking(event_handler<Scripted>("x", HandlerOptions(), &slow)).error().code(),
            ErrorCode::no_process);
  world.runtime.run_until_idle();
  EXPECT_EQ(world.runtime.process_count(), 0U);
}

TEST(StagedEventManager, what_is_left_at_the_limit_of_a_stop_is_counted_as_shutdown) {
  World world;
  Script& hung = world.script({.hangs_at = {10}});
  Script& slow = world.script({.pause = 1s});
  Script& failed = world.script({.throws_always = true});
  Script& quick = world.script();
  world.add("hung", hung);
  world.add("slow", slow);
  HandlerOptions once;
  once.restart.crashes_max = 1;
  world.add("failed", failed, once);
  world.add("quick", quick);
  world.events.notify(make_batch(numbers(1, 100)));
  const SteadyTime before = world.runtime.clock().steady_now();
  const EventStats last = world.events.stop_blocking(4500ms).value();
  EXPECT_LE(world.runtime.clock().steady_now() - before, 5500ms);
  EXPECT_EQ(last.find("quick")->delivered, 100U);
  EXPECT_EQ(last.find("hung")->delivered, 9U);
  EXPECT_EQ(last.find("hung")->dropped.shutdown, 91U);
  EXPECT_EQ(last.find("failed")->dropped.crashed, 1U);
  EXPECT_EQ(last.find("failed")->dropped.shutdown, 99U);
  EXPECT_EQ(last.find("slow")->delivered + last.find("slow")->dropped.shutdown, 100U);
  for (const HandlerStats& handler : last.handlers) EXPECT_TRUE(handler.balanced());
  world.runtime.run_until_idle();
  EXPECT_EQ(world.runtime.process_count(), 0U);
}

TEST(StagedEventManager, when_its_process_is_ended_from_outside_the_accounts_are_still_closed) {
  World world;
  Script& hung = world.script({.hangs_at = {1}});
  world.add("hung", hung);
  world.publish(1, 10);
  world.runtime.run_until_idle();
  EXPECT_EQ(world.runtime.stop_all(), 0U);
  const EventStats last = world.events.stats_blocking().value();
  EXPECT_EQ(last.find("hung")->dropped.shutdown, 10U);
  EXPECT_TRUE(last.find("hung")->balanced());
  world.publish(11, 12);
  EXPECT_EQ(world.events.stats_blocking().value().discarded, 2U);
}

TEST(StagedEventManager, lag_is_the_age_of_the_oldest_buffered_event) {
  World world;
  Script& slow = world.script({.pause = 10s});
  world.add("slow", slow);
  world.publish(1, 1);
  world.runtime.advance(3s);
  world.publish(2, 2);
  world.runtime.run_until_idle();
  EXPECT_EQ(world.stats("slow").lag, 3s);
  EXPECT_EQ(world.stats("slow").buffered, 2U);
  world.runtime.advance(9s);
  EXPECT_EQ(world.stats("slow").lag, 9s) << "the first is done; the second came later";
  EXPECT_EQ(world.stats("slow").delivered, 1U);
}

TEST(StagedEventManager, a_runtimes_snapshot_shows_each_handlers_edge) {
  World world;
  Script& script = world.script({.hangs_at = {4}});
  world.add("audit", script, with_rule(KeepNewest{10}));
  world.publish(1, 20);
  world.runtime.run_until_idle();
  const Snapshot snapshot = world.runtime.snapshot();
  ASSERT_EQ(snapshot.edges.size(), 1U);
  const EdgeInfo& edge = snapshot.edges.front();
  EXPECT_NE(edge.name.find("-> audit"), std::string::npos);
  EXPECT_GT(edge.asked, 0U);
  EXPECT_EQ(edge.delivered + edge.dropped + edge.buffered, 20U);
  ASSERT_TRUE(world.events.remove_handler_blocking("audit"));
  EXPECT_TRUE(world.runtime.snapshot().edges.empty());
}

class Busybody : public EventHandler<int> {
 public:
  Busybody(StagedEventManager<int>* events, Script* script) : events_(*events), script_(script) {}

  Async<void> handle_event(const int& event) {
    if (event == 1) {
      HandlerSpec<int> spec = event_handler<Scripted>("child", HandlerOptions(), script_);
      Result<void> added = co_await events_.add_handler(std::move(spec));
      if (!added) throw std::runtime_error("not added");
      events_.notify(100);
    }
    if (event == 2) {
      Result<HandlerStats> removed = co_await events_.remove_handler("child");
      if (!removed || removed->published != 2 || removed->delivered < 1) throw std::runtime_error("not removed");
      Result<EventStats> stats = co_await events_.stats();
      if (!stats || stats->handlers.size() != 1) throw std::runtime_error("no stats");
    }
  }

 private:
  StagedEventManager<int>& events_;
  Script* script_;
};

TEST(StagedEventManager, a_handler_may_publish_and_add_and_remove_handlers_while_it_handles_an_event) {
  World world;
  Script& child = world.script();
  ASSERT_TRUE(
      world.events.add_handler_blocking(event_handler<Busybody>("busy", HandlerOptions(), &world.events, &child)));
  world.publish(1, 1);
  world.runtime.run_until_idle();
  world.publish(2, 2);
  world.runtime.run_until_idle();
  ASSERT_FALSE(child.seen.empty());
  EXPECT_EQ(child.seen.front(), 100);
  const HandlerStats stats = world.stats("busy");
  EXPECT_EQ(stats.delivered, 3U);
  EXPECT_EQ(stats.dropped.total(), 0U) << stats.last_error;
}

TEST(StagedEventManager, a_manager_can_be_made_and_stopped_inside_a_process) {
  DeterministicRuntime runtime;
  Script script;
  const auto work = [&]() -> Async<Result<std::uint64_t>> {
    StagedEventManager<int> events(this_process::runtime());
    HandlerSpec<int> spec = event_handler<Plain>("h", HandlerOptions(), &script);
    Result<void> added = co_await events.add_handler(std::move(spec));
    if (!added) co_return added.error();
    for (int event = 1; event <= 10; ++event) events.notify(event);
    Result<EventStats> last = co_await events.stop();
    if (!last) co_return last.error();
    co_return last->handlers.at(0).delivered;
  };
  EXPECT_EQ(runtime.run(work()), 10U);
  EXPECT_EQ(script.seen, numbers(1, 10));
}

// ---- everything at once ---------------------------------------------------------------------------------------------

/// One handler of the random world: what it is to do next is drawn when an event comes.
struct RandomScript {
  std::uint64_t seed = 0;
  bool healthy = false;
  bool retries = false;
  std::vector<int> seen = {};
  Pid pid = {};
};

class RandomHandler : public EventHandler<int> {
 public:
  explicit RandomHandler(RandomScript* script) : script_(*script) {}

  void init() {
    script_.pid = this_process::pid();
    if (!script_.healthy && random(40) == 0) throw std::runtime_error("init");
  }
  Async<void> handle_event(const int& event) {
    if (!script_.healthy) {
      const std::uint64_t fate = random(100);
      if (fate < 4) throw std::runtime_error("fate");
      if (fate < 6) co_await hang();
      if (fate < 20) co_await this_process::sleep(Duration(1ms) * static_cast<int>(random(50)));
      if (fate == 20) this_process::stop();
    }
    script_.seen.push_back(event);
  }

 private:
  std::uint64_t random(std::uint64_t bound) {
    Random draw(script_.seed);
    script_.seed = draw.next();
    return draw.below(bound);
  }
  RandomScript& script_;
};

struct Expectation {
  std::string name;
  RandomScript* script;
  std::uint64_t published = 0;
};

/// Other processes run while the figures are fetched, unless all of them are idle: then everything must fit exactly.
void check_accounts(StagedEventManager<int>& events, const std::vector<Expectation>& expected, bool idle) {
  std::vector<std::size_t> seen_before;
  for (const Expectation& handler : expected) seen_before.push_back(handler.script->seen.size());
  const EventStats stats = events.stats_blocking().value();
  ASSERT_EQ(stats.handlers.size(), expected.size());
  for (std::size_t index = 0; index < expected.size(); ++index) {
    const HandlerStats& handler = stats.handlers[index];
    ASSERT_EQ(handler.name, expected[index].name);
    ASSERT_TRUE(handler.balanced()) << handler.name;
    ASSERT_EQ(handler.published, expected[index].published) << handler.name;
    const std::vector<int>& seen = expected[index].script->seen;
    if (idle) {
      ASSERT_EQ(seen_before[index], seen.size());
    }
    ASSERT_GE(handler.delivered, seen_before[index]) << handler.name;
    ASSERT_LE(handler.delivered, seen.size()) << handler.name;
    ASSERT_TRUE(std::adjacent_find(seen.begin(), seen.end(), std::greater_equal<>()) == seen.end()) << handler.name;
    if (handler.overflow == "keep_newest(20)" || handler.overflow == "keep_oldest(20)" ||
        handler.overflow == "sample(1/3)") {
      ASSERT_LE(handler.buffered, 20U);
    }
    if (expected[index].script->healthy) {
      ASSERT_EQ(handler.dropped.total(), 0U);
    }
  }
}

void random_life(std::uint64_t seed, DropCounts& happened) {
  Random random(seed);
  DeterministicRuntime runtime(DeterministicOptions{.seed = seed});
  std::deque<RandomScript> scripts;
  StagedEventManager<int> events(runtime, StagedEventOptions{.wait_events_max = 30});
  std::vector<Expectation> expected;
  int next_event = 1;
  int next_name = 1;
  const auto add = [&](bool healthy) {
    scripts.push_back(RandomScript{.seed = random.next(), .healthy = healthy});
    HandlerOptions options;
    options.batch_max = 1 + random.below(12);
    options.restart.crashes_max = static_cast<std::uint32_t>(random.below(4));
    if (!healthy && random.below(2) == 0) options.overflow = KeepNewest{20};
    if (!healthy && random.below(3) == 0) options.overflow = WaitWhenFull{};
    if (!healthy && random.below(5) == 0) options.overflow = KeepOldest{20};
    if (!healthy && random.below(5) == 0) options.overflow = Sample{.every = 3, .events_max = 20};
    if (random.below(3) == 0) options.crashed_event = CrashedEvent::retry;
    options.blocking = random.below(8) == 0;
    std::string name = concat("h", next_name++);
    HandlerSpec<int> spec = event_handler<RandomHandler>(name, options, &scripts.back());
    if (!healthy && random.below(4) == 0) spec.with_overflow(coalesce<int>([](int event) { return event % 5; }, 5));
    if (!healthy && random.below(6) == 0) spec.with_overflow(spill<int>({.bytes_max = 100, .events_in_memory = 5}));
    if (events.add_handler_blocking(spec)) {
      expected.push_back({name, &scripts.back()});
    }
  };
  add(true);
  for (int action = 0; action < 40; ++action) {
    const std::size_t chosen = random.below(expected.size());
    bool idle = false;
    switch (random.below(10)) {
      case 0:
        if (expected.size() < 6) add(random.below(3) == 0);
        break;
      case 1:
        if (expected.size() > 1) {
          Result<HandlerStats> last = events.remove_handler_blocking(expected[chosen].name);
          ASSERT_TRUE(last);
          ASSERT_TRUE(last->balanced());
          ASSERT_EQ(last->buffered, 0U);
          ASSERT_EQ(last->delivered, expected[chosen].script->seen.size());
          expected.erase(expected.begin() + static_cast<std::ptrdiff_t>(chosen));
        }
        break;
      case 2:
        if (!expected[chosen].script->healthy) {
          ASSERT_TRUE(random.below(3) == 0 ? events.stop_handler_blocking(expected[chosen].name)
                                           : events.restart_handler_blocking(expected[chosen].name));
        }
        break;
      case 3:
        if (!expected[chosen].script->healthy) runtime.exit(expected[chosen].script->pid, ExitReason::kill);
        break;
      case 4:
        runtime.advance(Duration(1ms) * static_cast<int>(random.below(400)));
        idle = true;
        break;
      case 5:
        runtime.run_until_idle();
        idle = true;
        break;
      default: {
        const int count = 1 + static_cast<int>(random.below(20));
        if (random.below(2) == 0) {
          for (int event = 0; event < count; ++event) events.notify(next_event + event);
        } else {
          events.notify(make_batch(numbers(next_event, next_event + count - 1)));
        }
        next_event += count;
        for (Expectation& handler : expected) handler.published += static_cast<std::uint64_t>(count);
        for (std::uint64_t steps = random.below(30); steps > 0; --steps) runtime.step();
      }
    }
    check_accounts(events, expected, idle);
    if (testing::Test::HasFatalFailure()) return;
  }
  const EventStats last = events.stop_blocking(2s).value();
  ASSERT_EQ(last.handlers.size(), expected.size());
  for (const Expectation& handler : expected) {
    const HandlerStats* stats = last.find(handler.name);
    ASSERT_NE(stats, nullptr);
    ASSERT_TRUE(stats->balanced());
    ASSERT_EQ(stats->buffered, 0U);
    ASSERT_EQ(stats->delivered, handler.script->seen.size());
    happened.crashed += stats->dropped.crashed;
    happened.overflow += stats->dropped.overflow;
    happened.consumer_down += stats->dropped.consumer_down;
    happened.shutdown += stats->dropped.shutdown;
    happened.sampled += stats->dropped.sampled;
    happened.coalesced += stats->dropped.coalesced;
    if (handler.script->healthy) {
      ASSERT_EQ(stats->delivered, handler.published);
    }
  }
  runtime.run_until_idle();
  ASSERT_EQ(runtime.process_count(), 0U);
}

TEST(StagedEventManager, whatever_handlers_do_published_is_delivered_plus_dropped_plus_buffered_after_every_step) {
  DropCounts happened;
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    random_life(seed, happened);
    if (HasFatalFailure()) return;
  }
  for (std::uint64_t reason : {happened.crashed, happened.overflow, happened.consumer_down, happened.shutdown,
                               happened.sampled, happened.coalesced}) {
    EXPECT_GT(reason, 100U) << "the lives are too quiet to show anything";
  }
}

std::uint64_t order_of_a_life(std::uint64_t seed) {
  World world({}, seed);
  Script& crashing = world.script({.throws_at = {7}});
  Script& slow = world.script({.pause = 3ms});
  world.add("crashing", crashing);
  world.add("slow", slow);
  world.publish(1, 40);
  world.runtime.advance(1s);
  return world.runtime.order_hash();
}

TEST(StagedEventManager, the_same_seed_gives_the_same_order) {
  EXPECT_EQ(order_of_a_life(3), order_of_a_life(3));
  EXPECT_NE(order_of_a_life(3), order_of_a_life(4));
}

}  // namespace
}  // namespace dagverk
