// The serial event manager: Elixir's GenEvent, typed. One process runs every handler, in order of addition.

#include "dagverk/event/serial_event_manager.hpp"

#include "dagverk/runtime/deterministic_runtime.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <any>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace dagverk {
namespace {

using namespace std::chrono_literals;
using Lines = std::vector<std::string>;

/// What handlers of the tests write down, in the order in which it happened. Outlives them.
struct Diary {
  Lines lines;
  void write(std::string line) { lines.push_back(std::move(line)); }
  [[nodiscard]] bool has(std::string_view line) const { return std::ranges::find(lines, line) != lines.end(); }
  [[nodiscard]] Lines take() { return std::exchange(lines, {}); }
};

/// Does what events say: `leave`, `throw`, anything else is written down.
class Obedient : public EventHandler<std::string> {
 public:
  struct Ask {
    using Reply = std::string;
    std::string what;
  };
  struct Seen {
    using Reply = int;
  };

  Obedient(std::string name, Diary* diary) : name_(std::move(name)), diary_(*diary) {}

  void handle_event(const std::string& event) {
    ++seen_;
    obey(event);
    diary_.write(name_ + " got " + event);
  }
  std::string handle_call(const Ask& ask) {
    obey(ask.what);
    return name_ + " answers " + ask.what;
  }
  int handle_call(Seen /*seen*/) const { return seen_; }
  void handle_info(const Down& down) { diary_.write(name_ + " saw down " + down.reason.to_string()); }
  void handle_info(const Exit& exit) { diary_.write(name_ + " saw exit " + exit.reason.to_string()); }
  std::any hand_over() { return seen_; }
  void take_over(const std::any& what) {
    seen_ = std::any_cast<int>(what);
    diary_.write(name_ + " took over " + std::to_string(seen_));
  }
  void init() { diary_.write(name_ + " began"); }
  void terminate(const ExitReason& reason) { diary_.write(name_ + " ended " + reason.to_string()); }

 private:
  void obey(const std::string& what) {
    if (what == "leave") leave();
    if (what == "throw") throw std::runtime_error("was told to");
    if (what == "trap") this_process::trap_exits();
  }

  std::string name_;
  Diary& diary_;
  int seen_ = 0;
};

class FailsToBegin : public EventHandler<std::string> {
 public:
  void init() { throw std::runtime_error("no init"); }
  void handle_event(const std::string& /*event*/) {}
};

/// Takes 100 ms for each event.
class Slow : public EventHandler<std::string> {
 public:
  explicit Slow(Diary* diary) : diary_(*diary) {}
  Async<void> handle_event(const std::string& event) {
    co_await this_process::sleep(100ms);
    if (event == "crash") throw std::runtime_error("was told to");
    diary_.write("slow got " + event);
  }
  Async<void> terminate(const ExitReason& reason) {
    co_await this_process::sleep(100ms);
    diary_.write("slow ended " + reason.to_string());
  }

 private:
  Diary& diary_;
};

/// Owns handlers, and writes down why they go.
class Owner : public GenServer<Owner> {
 public:
  explicit Owner(Diary* diary) : diary_(*diary) {}
  void handle_info(const HandlerGone& gone) {
    diary_.write("owner: " + gone.handler + " has gone, " + gone.reason.to_string());
  }

 private:
  Diary& diary_;
};

class SerialEvents : public testing::Test {
 protected:
  using Manager = SerialEventManager<std::string>;

  [[nodiscard]] HandlerSpec<std::string> spec(const std::string& name) {
    return event_handler<Obedient>(name, HandlerOptions(), name, &diary);
  }
  void add(const std::string& name) { ASSERT_TRUE(events.add_handler_blocking(spec(name))); }
  void add_all(std::initializer_list<const char*> names) {
    for (const char* name : names) add(name);
    static_cast<void>(diary.take());
  }
  void notify(std::string event) {
    events.notify(std::move(event));
    runtime.run_until_idle();
  }
  [[nodiscard]] Lines handlers() { return events.which_handlers_blocking().value(); }

  Diary diary;
  DeterministicRuntime runtime{DeterministicOptions{.seed = 1}};
  Manager events{runtime};
};

TEST_F(SerialEvents, CC_GEV_001_a_new_manager_has_no_handlers_and_stops) {
  EXPECT_EQ(handlers(), Lines{});
  const Result<EventStats> last = events.stop_blocking();
  ASSERT_TRUE(last);
  EXPECT_TRUE(last->handlers.empty());
  EXPECT_EQ(runtime.process_count(), 0U);
}

/// A process that makes a manager linked to itself, and ends when it is told to.
class Maker : public GenServer<Maker> {
 public:
  struct Make {
    using Reply = Pid;
  };
  struct End {};
  explicit Maker(Diary* diary) : diary_(diary) {}
  Async<Pid> handle_call(Make /*make*/) {
    manager_ = std::make_unique<SerialEventManager<std::string>>(runtime(), SerialEventOptions{.link = true});
    HandlerSpec<std::string> spec = event_handler<Obedient>("a", HandlerOptions(), "a", diary_);
    Async<Result<void>> adding = manager_->add_handler(std::move(spec));
    Result<void> added = co_await adding;
    EXPECT_TRUE(added);
    co_return manager_->pid();
  }
  void handle_cast(End /*end*/) { stop(ExitReason::shutdown); }
  [[nodiscard]] static ServerRef<Maker> start(DeterministicRuntime& runtime, Diary* diary) {
    return runtime.start<Maker>(diary).value();
  }

 private:
  Diary* diary_;
  std::unique_ptr<SerialEventManager<std::string>> manager_;
};

TEST_F(SerialEvents, CC_GEV_005_the_end_of_the_parent_terminates_every_handler_of_a_trapping_manager) {
  const ServerRef<Maker> maker = Maker::start(runtime, &diary);
  const Pid manager = maker.call_blocking<Maker::Make>().value();
  maker.cast(Maker::End{});
  runtime.run_until_idle();
  EXPECT_FALSE(RuntimeBase::alive(manager));
  EXPECT_TRUE(diary.has("a ended shutdown"));
}

TEST_F(SerialEvents, CC_GEV_006_a_manager_that_does_not_trap_dies_of_a_strangers_exit_signal) {
  add_all({"a"});
  runtime.exit(events.pid(), ExitReason::custom("away with you"));
  runtime.run_until_idle();
  EXPECT_FALSE(RuntimeBase::alive(events.pid()));
  EXPECT_EQ(diary.take(), Lines{});
}

TEST_F(SerialEvents, CC_GEV_007_once_a_handler_has_made_it_trap_handlers_see_a_strangers_exit_signal) {
  add_all({"a"});
  notify("trap");
  static_cast<void>(diary.take());
  runtime.exit(events.pid(), ExitReason::shutdown);
  runtime.run_until_idle();
  EXPECT_EQ(diary.take(), Lines{"a saw exit shutdown"});
  EXPECT_EQ(handlers(), Lines{"a"});
}

TEST_F(SerialEvents, CC_GEV_009_a_handler_whose_init_throws_is_not_added_and_the_manager_lives) {
  const Result<void> added = events.add_handler_blocking(event_handler<FailsToBegin>("bad"));
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().code(), ErrorCode::exited);
  EXPECT_NE(added.error().message().find("no init"), std::string::npos);
  EXPECT_EQ(handlers(), Lines{});
  EXPECT_FALSE(events.wants(0));
}

TEST_F(SerialEvents, CC_GEV_010_whatever_init_throws_is_a_crash_also_a_value) {
  class ThrowsAValue : public EventHandler<std::string> {
   public:
    void init() { throw std::string("ok"); }  // NOLINT(hicpp-exception-baseclass): that is the case
    void handle_event(const std::string& /*event*/) {}
  };
  add("plain");
  const Result<void> added = events.add_handler_blocking(event_handler<ThrowsAValue>("odd"));
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().code(), ErrorCode::exited);
  EXPECT_EQ(handlers(), Lines{"plain"});
}

TEST_F(SerialEvents, CC_GEV_043_one_class_twice_is_two_handlers_by_name) {
  add_all({"first", "second"});
  notify("1");
  EXPECT_EQ(diary.take(), (Lines{"first got 1", "second got 1"}));
  ASSERT_TRUE(events.remove_handler_blocking("second"));
  EXPECT_EQ(handlers(), Lines{"first"});
  EXPECT_EQ(diary.take(), Lines{"second ended normal"});
}

TEST_F(SerialEvents, CC_GEV_045_a_handler_goes_with_its_owner_and_those_linked_to_it_see_its_exit) {
  class Linking : public EventHandler<std::string> {
   public:
    explicit Linking(Pid whom) : whom_(whom) {}
    void handle_event(const std::string& event) {
      if (event == "link") this_process::link(whom_);
    }

   private:
    Pid whom_;
  };
  const ServerRef<Owner> owner = runtime.start<Owner>(&diary).value();
  HandlerSpec<std::string> owned = spec("owned");
  owned.owned_by(owner);
  ASSERT_TRUE(events.add_handler_blocking(std::move(owned)));
  add("plain");
  ASSERT_TRUE(events.add_handler_blocking(event_handler<Linking>("linking", HandlerOptions(), owner.pid())));
  notify("trap");
  notify("link");
  static_cast<void>(diary.take());
  ASSERT_TRUE(runtime.stop(owner.pid(), ExitReason::custom("done")));
  runtime.run_until_idle();
  EXPECT_TRUE(diary.has("owned ended shutdown"));
  EXPECT_TRUE(diary.has("plain saw exit done"));
  EXPECT_EQ(handlers(), (Lines{"plain", "linking"}));
}

TEST_F(SerialEvents, CC_GEV_011_a_name_is_taken_once) {
  add("a");
  const Result<void> again = events.add_handler_blocking(spec("a"));
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code(), ErrorCode::already_exists);
  EXPECT_EQ(diary.take(), Lines{"a began"});
}

TEST_F(SerialEvents, CC_GEV_013_a_down_that_is_not_of_an_owner_reaches_every_handler) {
  class Watching : public EventHandler<std::string> {
   public:
    explicit Watching(Pid whom) : whom_(whom) {}
    void handle_event(const std::string& /*event*/) { ref_ = this_process::monitor(whom_); }

   private:
    Pid whom_;
    MonitorRef ref_;
  };
  const ServerRef<Owner> owner = runtime.start<Owner>(&diary).value();
  const ServerRef<Owner> other = runtime.start<Owner>(&diary).value();
  HandlerSpec<std::string> owned = spec("owned");
  owned.owned_by(owner);
  ASSERT_TRUE(events.add_handler_blocking(std::move(owned)));
  add("plain");
  ASSERT_TRUE(events.add_handler_blocking(event_handler<Watching>("watching", HandlerOptions(), other.pid())));
  notify("watch");
  static_cast<void>(diary.take());
  ASSERT_TRUE(runtime.stop(other.pid(), ExitReason::custom("done")));
  runtime.run_until_idle();
  EXPECT_EQ(diary.take(), (Lines{"owned saw down done", "plain saw down done"}));
}

TEST_F(SerialEvents, CC_GEV_014_a_handler_goes_with_its_owner_and_nobody_else_notices) {
  const ServerRef<Owner> owner = runtime.start<Owner>(&diary).value();
  HandlerSpec<std::string> owned = spec("owned");
  owned.owned_by(owner);
  ASSERT_TRUE(events.add_handler_blocking(std::move(owned)));
  add_all({"plain"});
  ASSERT_TRUE(runtime.stop(owner.pid()));
  runtime.run_until_idle();
  EXPECT_EQ(diary.take(), Lines{"owned ended shutdown"});
  EXPECT_EQ(handlers(), Lines{"plain"});
}

TEST_F(SerialEvents, CC_GEV_015_an_owner_learns_that_its_handler_was_removed) {
  const ServerRef<Owner> owner = runtime.start<Owner>(&diary).value();
  HandlerSpec<std::string> owned = spec("owned");
  owned.owned_by(owner);
  ASSERT_TRUE(events.add_handler_blocking(std::move(owned)));
  ASSERT_TRUE(events.remove_handler_blocking("owned"));
  runtime.run_until_idle();
  EXPECT_TRUE(diary.has("owner: owned has gone, normal"));
}

TEST_F(SerialEvents, CC_GEV_017_an_owner_learns_of_each_swap) {
  const ServerRef<Owner> owner = runtime.start<Owner>(&diary).value();
  HandlerSpec<std::string> first = spec("h");
  first.owned_by(owner);
  ASSERT_TRUE(events.add_handler_blocking(std::move(first)));
  for (int round = 0; round < 2; ++round) {
    static_cast<void>(diary.take());
    HandlerSpec<std::string> next = spec("h");
    next.owned_by(owner);
    ASSERT_TRUE(events.swap_handler_blocking("h", std::move(next)));
    runtime.run_until_idle();
    EXPECT_TRUE(diary.has("owner: h has gone, swapped"));
  }
  EXPECT_EQ(handlers(), Lines{"h"});
}

TEST_F(SerialEvents, CC_GEV_018_an_owner_learns_that_the_manager_stopped) {
  const ServerRef<Owner> owner = runtime.start<Owner>(&diary).value();
  HandlerSpec<std::string> owned = spec("owned");
  owned.owned_by(owner);
  ASSERT_TRUE(events.add_handler_blocking(std::move(owned)));
  ASSERT_TRUE(events.stop_blocking());
  runtime.run_until_idle();
  EXPECT_TRUE(diary.has("owner: owned has gone, shutdown"));
}

TEST_F(SerialEvents, CC_GEV_019_removing_terminates_and_gives_the_last_figures) {
  const Result<HandlerStats> nobody = events.remove_handler_blocking("a");
  ASSERT_FALSE(nobody);
  EXPECT_EQ(nobody.error().code(), ErrorCode::not_found);
  add_all({"a"});
  notify("hello");
  const Result<HandlerStats> last = events.remove_handler_blocking("a");
  ASSERT_TRUE(last);
  EXPECT_EQ(last->delivered, 1U);
  EXPECT_TRUE(last->balanced());
  EXPECT_EQ(diary.take(), (Lines{"a got hello", "a ended normal"}));
}

TEST_F(SerialEvents, CC_GEV_021_a_swap_terminates_the_old_handler_and_gives_what_it_leaves_to_the_new_one) {
  add_all({"a", "b"});
  notify("hello");
  static_cast<void>(diary.take());
  ASSERT_TRUE(events.swap_handler_blocking("a", spec("a2")));
  EXPECT_EQ(diary.take(), (Lines{"a ended normal", "a2 took over 1", "a2 began"}));
  EXPECT_EQ(handlers(), (Lines{"b", "a2"}));
  const Result<int> seen = events.call_blocking<Obedient, Obedient::Seen>("a2");
  EXPECT_EQ(seen.value(), 1);
}

TEST_F(SerialEvents, CC_GEV_022_a_swap_onto_a_name_that_is_taken_is_refused_and_changes_nothing) {
  add_all({"a", "b"});  // GenEvent has removed the old handler by then
  const Result<void> swapped = events.swap_handler_blocking("a", spec("b"));
  ASSERT_FALSE(swapped);
  EXPECT_EQ(swapped.error().code(), ErrorCode::already_exists);
  EXPECT_EQ(diary.take(), Lines{});
  EXPECT_EQ(handlers(), (Lines{"a", "b"}));
}

TEST_F(SerialEvents, CC_GEV_023_a_swap_of_a_missing_handler_adds_the_new_one_with_nothing_to_take_over) {
  ASSERT_TRUE(events.swap_handler_blocking("missing", spec("a")));
  EXPECT_EQ(diary.take(), Lines{"a began"});
  const Result<void> failing = events.swap_handler_blocking("missing", event_handler<FailsToBegin>("bad"));
  ASSERT_FALSE(failing);
  EXPECT_EQ(failing.error().code(), ErrorCode::exited);
}

TEST_F(SerialEvents, CC_GEV_024_notify_reaches_handlers_in_order_of_addition) {
  add_all({"a", "b"});
  notify("hello");
  EXPECT_EQ(diary.take(), (Lines{"a got hello", "b got hello"}));
}

TEST_F(SerialEvents, every_handler_sees_an_event_before_any_sees_the_next_one) {
  add_all({"a", "b"});
  events.notify(make_batch(std::vector<std::string>{"1", "2"}));
  events.notify("3");
  runtime.run_until_idle();
  EXPECT_EQ(diary.take(), (Lines{"a got 1", "b got 1", "a got 2", "b got 2", "a got 3", "b got 3"}));
}

TEST_F(SerialEvents, CC_GEV_025_a_handler_may_leave) {
  add_all({"a"});
  notify("leave");
  EXPECT_EQ(diary.take(), (Lines{"a got leave", "a ended normal"}));
  EXPECT_EQ(handlers(), Lines{});
}

TEST_F(SerialEvents, CC_GEV_026_a_handler_that_throws_is_removed_and_terminated_with_the_error) {
  add_all({"a"});
  notify("throw");
  EXPECT_EQ(diary.take(), Lines{"a ended error std::runtime_error: was told to"});
  EXPECT_EQ(handlers(), Lines{});
}

TEST_F(SerialEvents, CC_GEV_029_ack_notify_returns_when_the_manager_has_come_to_the_event) {
  add_all({"a", "b"});
  events.notify("before");
  ASSERT_TRUE(events.ack_notify_blocking("hello"));
  EXPECT_TRUE(diary.has("b got before"));
  runtime.run_until_idle();
  EXPECT_TRUE(diary.has("b got hello"));
  ASSERT_TRUE(events.ack_notify_blocking("throw"));
  runtime.run_until_idle();
  EXPECT_EQ(handlers(), Lines{});
  add_all({"c"});
  ASSERT_TRUE(events.ack_notify_blocking("leave"));
  runtime.run_until_idle();
  EXPECT_EQ(handlers(), Lines{});
}

TEST_F(SerialEvents, CC_GEV_030_sync_notify_returns_when_all_is_done_and_says_what_became_of_the_event) {
  add_all({"a", "b"});
  using Outcomes = std::vector<HandlerOutcome>;
  Result<Outcomes> outcomes = events.sync_notify_blocking("hello");
  ASSERT_TRUE(outcomes);
  EXPECT_EQ(*outcomes, (Outcomes{{"a", EventFate::handled}, {"b", EventFate::handled}}));
  EXPECT_EQ(diary.take(), (Lines{"a got hello", "b got hello"}));
  ASSERT_TRUE(events.remove_handler_blocking("b"));
  outcomes = events.sync_notify_blocking("throw");
  ASSERT_TRUE(outcomes);
  EXPECT_EQ(*outcomes, (Outcomes{{"a", EventFate::crashed}}));
  EXPECT_TRUE(diary.has("a ended error std::runtime_error: was told to"));
  add_all({"c"});
  ASSERT_TRUE(events.sync_notify_blocking("leave"));
  EXPECT_TRUE(diary.has("c ended normal"));
  EXPECT_EQ(events.sync_notify_blocking("to nobody").value(), Outcomes{});
}

TEST_F(SerialEvents, CC_GEV_031_a_call_is_answered_and_a_handler_may_leave_or_crash_at_it) {
  add_all({"a", "b"});
  const auto ask = [&](const char* name, const char* what) {
    return events.call_blocking<Obedient, Obedient::Ask>(name, what);
  };
  EXPECT_EQ(ask("a", "hello").value(), "a answers hello");
  EXPECT_EQ(ask("a", "leave").value(), "a answers leave");
  EXPECT_EQ(diary.take(), Lines{"a ended normal"});
  const Result<std::string> crashed = ask("b", "throw");
  ASSERT_FALSE(crashed);
  EXPECT_EQ(crashed.error().code(), ErrorCode::exited);
  EXPECT_NE(crashed.error().message().find("was told to"), std::string::npos);
  EXPECT_EQ(handlers(), Lines{});
  EXPECT_EQ(ask("b", "hello").error().code(), ErrorCode::not_found);
}

TEST_F(SerialEvents, a_call_for_handlers_of_another_class_is_refused) {
  ASSERT_TRUE(events.add_handler_blocking(event_handler<Slow>("slow", HandlerOptions(), &diary)));
  const Result<std::string> asked = events.call_blocking<Obedient, Obedient::Ask>("slow", "hello");
  ASSERT_FALSE(asked);
  EXPECT_EQ(asked.error().code(), ErrorCode::wrong_type);
}

TEST_F(SerialEvents, CC_GEV_033_a_manager_may_feed_another_and_sync_notify_waits_for_both) {
  class Forwarding : public EventHandler<std::string> {
   public:
    explicit Forwarding(SerialEventManager<std::string>* next) : next_(*next) {}
    Async<void> handle_event(const std::string& event) {
      std::string copy = event;
      Async<Result<std::vector<HandlerOutcome>>> telling = next_.sync_notify(std::move(copy));
      Result<std::vector<HandlerOutcome>> told = co_await telling;
      if (!told) throw std::runtime_error(std::string(told.error().message()));
    }

   private:
    SerialEventManager<std::string>& next_;
  };
  add_all({"last"});
  SerialEventManager<std::string> first(runtime);
  ASSERT_TRUE(first.add_handler_blocking(event_handler<Forwarding>("forward", HandlerOptions(), &events)));
  first.notify("1");
  ASSERT_TRUE(first.ack_notify_blocking("2"));
  ASSERT_TRUE(first.sync_notify_blocking("3"));
  EXPECT_EQ(diary.take(), (Lines{"last got 1", "last got 2", "last got 3"}));
}

TEST_F(SerialEvents, CC_GEV_035_stop_terminates_every_handler) {
  add_all({"a", "b"});
  const Result<EventStats> last = events.stop_blocking();
  ASSERT_TRUE(last);
  EXPECT_EQ(diary.take(), (Lines{"a ended shutdown", "b ended shutdown"}));
  EXPECT_EQ(last->handlers.size(), 2U);
  events.notify("late");
  EXPECT_EQ(events.stats_blocking()->discarded, 1U);
  EXPECT_TRUE(events.stop_blocking());
}

TEST_F(SerialEvents, CC_GEV_037_others_get_the_event_at_which_one_crashed_and_all_later_ones) {
  class Fragile : public EventHandler<std::string> {
   public:
    void handle_event(const std::string& /*event*/) { throw 42; }  // not even an exception class
  };
  ASSERT_TRUE(events.add_handler_blocking(event_handler<Fragile>("fragile")));
  add_all({"a", "b"});
  notify("1");
  notify("2");
  EXPECT_EQ(diary.take(), (Lines{"a got 1", "b got 1", "a got 2", "b got 2"}));
  EXPECT_EQ(handlers(), (Lines{"a", "b"}));
}

TEST_F(SerialEvents, CC_GEV_038_sync_notify_waits_for_a_slow_handler_and_ack_notify_does_not) {
  ASSERT_TRUE(events.add_handler_blocking(event_handler<Slow>("slow", HandlerOptions(), &diary)));
  const SteadyTime start = runtime.clock().steady_now();
  ASSERT_TRUE(events.ack_notify_blocking("1"));
  EXPECT_LT(runtime.clock().steady_now() - start, 100ms);
  ASSERT_TRUE(events.sync_notify_blocking("2"));
  EXPECT_GE(runtime.clock().steady_now() - start, 200ms);
  EXPECT_EQ(diary.take(), (Lines{"slow got 1", "slow got 2"}));
}

TEST_F(SerialEvents, a_coroutine_that_throws_is_removed_like_any_other) {
  ASSERT_TRUE(events.add_handler_blocking(event_handler<Slow>("slow", HandlerOptions(), &diary)));
  add_all({"a"});
  events.notify("crash");
  events.notify("after");
  runtime.advance(1s);
  EXPECT_EQ(handlers(), Lines{"a"});
  EXPECT_TRUE(diary.has("slow ended error std::runtime_error: was told to"));
  EXPECT_TRUE(diary.has("a got after"));
}

TEST_F(SerialEvents, CC_GEV_034_a_handlers_state_is_read_by_a_call_and_replaced_by_a_swap) {
  add_all({"a"});
  notify("1");
  notify("2");
  EXPECT_EQ((events.call_blocking<Obedient, Obedient::Seen>("a").value()), 2);
  const Result<void> failed = events.swap_handler_blocking("a", event_handler<FailsToBegin>("a"));
  EXPECT_FALSE(failed);
}

TEST_F(SerialEvents, restart_makes_a_handler_anew_in_its_place) {
  add_all({"a", "b"});
  notify("1");
  static_cast<void>(diary.take());
  ASSERT_TRUE(events.restart_handler_blocking("a"));
  EXPECT_EQ(diary.take(), (Lines{"a ended normal", "a began"}));
  EXPECT_EQ(handlers(), (Lines{"a", "b"}));
  EXPECT_EQ((events.call_blocking<Obedient, Obedient::Seen>("a").value()), 0);
  EXPECT_EQ(events.restart_handler_blocking("c").error().code(), ErrorCode::not_found);
  EXPECT_EQ(events.stop_handler_blocking("c").error().code(), ErrorCode::not_found);
  EXPECT_EQ(events.stop_handler_blocking("a").error().code(), ErrorCode::unsupported);
}

TEST_F(SerialEvents, a_selector_filters_and_one_that_throws_costs_its_own_handler_alone) {
  HandlerSpec<std::string> some = spec("some");
  some.selector = [](const std::string& event) {
    if (event == "bad") throw std::runtime_error("selector");
    return event == "wanted";
  };
  ASSERT_TRUE(events.add_handler_blocking(std::move(some)));
  add_all({"all"});
  notify("wanted");
  notify("other");
  const EventStats stats = events.stats_blocking().value();
  EXPECT_EQ(stats.find("some")->delivered, 1U);
  EXPECT_EQ(stats.find("some")->dropped.filtered, 1U);
  EXPECT_TRUE(stats.find("some")->balanced());
  notify("bad");
  EXPECT_EQ(handlers(), Lines{"all"});
  EXPECT_EQ(diary.lines.back(), "some ended error std::runtime_error: selector");
}

TEST_F(SerialEvents, a_handler_that_calls_its_own_manager_is_told_that_it_would_wait_for_itself) {
  class Meddler : public EventHandler<std::string> {
   public:
    Meddler(SerialEventManager<std::string>* manager, Diary* diary) : manager_(*manager), diary_(*diary) {}
    Async<void> handle_event(const std::string& /*event*/) {
      Async<Result<HandlerStats>> removing = manager_.remove_handler("meddler");
      Result<HandlerStats> removed = co_await removing;
      diary_.write(removed ? "removed" : std::string(to_string(removed.error().code())));
      manager_.notify("more");
      leave();
    }

   private:
    SerialEventManager<std::string>& manager_;
    Diary& diary_;
  };
  ASSERT_TRUE(events.add_handler_blocking(event_handler<Meddler>("meddler", HandlerOptions(), &events, &diary)));
  notify("go");
  EXPECT_EQ(diary.take(), Lines{"calling_self"});
  EXPECT_EQ(handlers(), Lines{});
}

/// Blocks, as it says: runs beside the others. Events may be an order, as Obedient's; `hang` is for ever.
class Beside : public Obedient {
 public:
  static constexpr bool blocking = true;
  using Obedient::handle_call;
  using Obedient::Obedient;
  Async<void> handle_event(const std::string& event) {
    if (event == "hang") co_await this_process::sleep(24h * 365);
    Obedient::handle_event(event);
  }
};

TEST_F(SerialEvents, a_handler_that_blocks_runs_beside_the_others_and_does_all_that_they_do) {
  const auto beside = [&](const std::string& name, HandlerOptions options = {}) {
    return event_handler<Beside>(name, options, name, &diary);
  };
  ASSERT_TRUE(events.add_handler_blocking(beside("a")));
  add("b");
  EXPECT_EQ(handlers(), (Lines{"a", "b"}));
  EXPECT_EQ(events.add_handler_blocking(beside("b")).error().code(), ErrorCode::already_exists);
  static_cast<void>(diary.take());
  notify("1");
  EXPECT_TRUE(diary.has("a got 1"));
  EXPECT_TRUE(diary.has("b got 1"));
  EXPECT_EQ((events.call_blocking<Beside, Obedient::Ask>("a", "why").value()), "a answers why");
  EXPECT_EQ(events.sync_notify_blocking("2").value(),
            (std::vector<HandlerOutcome>{{"a", EventFate::pending}, {"b", EventFate::handled}}));

  // Hung, it holds up nobody, and its own rule sheds for it alone.
  ASSERT_TRUE(events.stop_handler_blocking("a"));
  EXPECT_EQ(events.stats_blocking()->find("a")->state, HandlerState::stopped);
  notify("hang");
  notify("3");
  ASSERT_TRUE(events.restart_handler_blocking("a"));
  runtime.run_until_idle();
  EXPECT_TRUE(diary.has("b got 3"));
  EXPECT_FALSE(diary.has("a got 3"));
  ASSERT_TRUE(events.restart_handler_blocking("a"));
  runtime.run_until_idle();
  EXPECT_TRUE(diary.has("a got 3"));
  const HandlerStats a = *events.stats_blocking()->find("a");
  EXPECT_EQ(a.state, HandlerState::running);
  EXPECT_EQ(a.published, 4U);
  EXPECT_EQ(a.delivered, 3U);
  EXPECT_EQ(a.dropped.consumer_down, 1U);
  EXPECT_EQ(a.restarts, 2U);
  EXPECT_TRUE(a.balanced());

  EXPECT_EQ(events.swap_handler_blocking("a", spec("c")).error().code(), ErrorCode::unsupported);
  EXPECT_EQ(events.swap_handler_blocking("b", beside("c")).error().code(), ErrorCode::unsupported);
  EXPECT_EQ(events.remove_handler_blocking("a")->delivered, 3U);
  EXPECT_EQ(handlers(), Lines{"b"});
  ASSERT_TRUE(events.add_handler_blocking(beside("a"))) << "its name is free at once";
  notify("leave");
  EXPECT_EQ(handlers(), Lines{}) << "both left";
  HandlerSpec<std::string> fails = event_handler<FailsToBegin>("f", HandlerOptions{.blocking = true});
  EXPECT_EQ(events.add_handler_blocking(std::move(fails)).error().code(), ErrorCode::exited);
  EXPECT_EQ(handlers(), Lines{});
  EXPECT_FALSE(events.wants(0));
  runtime.run_until_idle();
  EXPECT_EQ(runtime.process_count(), 1U) << "the manager's own";
}

TEST_F(SerialEvents, one_beside_that_hangs_sheds_by_its_rule_and_ends_with_the_limit_of_the_stop) {
  const ServerRef<Owner> owner = runtime.start<Owner>(&diary).value();
  HandlerOptions few{.overflow = KeepNewest{10}, .kinds = EventKinds::all()};
  HandlerSpec<std::string> hanging = event_handler<Beside>("a", few, std::string("a"), &diary);
  hanging.owned_by(owner);
  ASSERT_TRUE(events.add_handler_blocking(std::move(hanging)));
  add("b");
  notify("hang");
  for (int event = 0; event < 99; ++event) notify(std::to_string(event));
  const HandlerStats a = *events.stats_blocking()->find("a");
  EXPECT_EQ(a.published, 100U);
  EXPECT_LE(a.buffered, 10U);
  EXPECT_EQ(a.dropped.overflow, 100U - a.buffered);
  const SteadyTime before = runtime.clock().steady_now();
  const Result<EventStats> last = events.stop_blocking(2s);
  ASSERT_TRUE(last) << last.error().message();
  EXPECT_LE(runtime.clock().steady_now() - before, 2s + 500ms);
  EXPECT_EQ(last->find("b")->delivered, 100U);
  EXPECT_TRUE(last->find("a")->balanced());
  EXPECT_EQ(last->find("a")->dropped.shutdown, a.buffered);
  EXPECT_EQ(last->find("a")->buffered, 0U);
  runtime.run_until_idle();
  EXPECT_TRUE(diary.has("owner: a has gone, shutdown"));
}

TEST_F(SerialEvents, a_stop_may_have_no_limit_to_speak_of) {
  ASSERT_TRUE(events.add_handler_blocking(event_handler<Slow>("slow", HandlerOptions(), &diary)));
  for (int event = 0; event < 400; ++event) events.notify(std::to_string(event));
  EXPECT_EQ(events.stop_blocking(Duration::max())->find("slow")->delivered, 400U);
}

TEST_F(SerialEvents, what_is_on_its_way_to_one_beside_is_bounded_and_the_rest_counted) {
  ASSERT_TRUE(events.add_handler_blocking(event_handler<Beside>("a", HandlerOptions(), std::string("a"), &diary)));
  Pid hub;
  for (const ProcessInfo& process : runtime.snapshot().processes) {
    if (process.kind.find("StagedHub") != std::string::npos) hub = process.pid;
  }
  ASSERT_TRUE(hub);
  runtime.hold(hub);
  for (int event = 0; event < 100'005; ++event) {
    events.notify("1");
    if (event % 10'000 == 0) runtime.run_until_idle();
  }
  runtime.run_until_idle();
  runtime.release(hub);
  runtime.run_until_idle();
  const HandlerStats a = *events.stats_blocking()->find("a");
  EXPECT_EQ(a.published, 100'005U);
  EXPECT_EQ(a.dropped.ingress, 5U);
  EXPECT_EQ(a.dropped.overflow + a.delivered, 100'000U);
  EXPECT_TRUE(a.balanced());
}

TEST_F(SerialEvents, one_beside_ends_with_a_manager_that_is_killed) {
  ASSERT_TRUE(events.add_handler_blocking(event_handler<Beside>("a", HandlerOptions(), std::string("a"), &diary)));
  runtime.exit(events.pid(), ExitReason::kill);
  runtime.run_until_idle();
  EXPECT_EQ(runtime.process_count(), 0U);
}

TEST_F(SerialEvents, one_beside_that_would_wait_for_its_own_end_is_told_so) {
  class Stopping : public EventHandler<std::string> {
   public:
    Stopping(SerialEventManager<std::string>* manager, Diary* diary) : manager_(*manager), diary_(*diary) {}
    Async<void> handle_event(const std::string& /*event*/) {
      Async<Result<EventStats>> stopping = manager_.stop(10s);
      const Result<EventStats> stopped = co_await stopping;
      diary_.write(stopped ? "stopped" : std::string(to_string(stopped.error().code())));
      Async<Result<HandlerStats>> removing = manager_.remove_handler("a");
      const Result<HandlerStats> removed = co_await removing;
      diary_.write(removed ? "removed" : std::string(to_string(removed.error().code())));
    }

   private:
    SerialEventManager<std::string>& manager_;
    Diary& diary_;
  };
  ASSERT_TRUE(
      events.add_handler_blocking(event_handler<Stopping>("a", HandlerOptions{.blocking = true}, &events, &diary)));
  notify("go");
  EXPECT_EQ(diary.take(), (Lines{"calling_self", "calling_self"}));
  runtime.advance(20s);
  notify("again");
  EXPECT_EQ(diary.take(), (Lines{"calling_self", "calling_self"})) << "the refused stop left no limit behind";
}

TEST_F(SerialEvents, a_stop_handles_what_is_queued_until_its_limit_and_counts_the_rest) {
  ASSERT_TRUE(events.add_handler_blocking(event_handler<Slow>("slow", HandlerOptions(), &diary)));
  for (int event = 0; event < 50; ++event) events.notify(std::to_string(event));
  events.notify(make_batch<std::string>({"a", "b", "c"}));
  const SteadyTime before = runtime.clock().steady_now();
  const Result<EventStats> last = events.stop_blocking(1s);
  const Duration taken = runtime.clock().steady_now() - before;
  ASSERT_TRUE(last) << last.error().message();
  const HandlerStats& slow = *last->find("slow");
  EXPECT_EQ(slow.delivered, 10U);
  EXPECT_EQ(slow.dropped.shutdown, 43U);
  EXPECT_EQ(slow.published, 53U);
  EXPECT_TRUE(slow.balanced());
  EXPECT_EQ(taken, 1s + 100ms) << "and its terminate, which takes 100 ms";
  EXPECT_TRUE(diary.has("slow ended shutdown"));
}

TEST_F(SerialEvents, a_stop_without_a_limit_of_its_own_waits_for_thirty_seconds) {
  ASSERT_TRUE(events.add_handler_blocking(event_handler<Slow>("slow", HandlerOptions(), &diary)));
  for (int event = 0; event < 400; ++event) events.notify(std::to_string(event));
  const EventStats last = events.stop_blocking().value();
  EXPECT_EQ(last.find("slow")->delivered, 300U);
  EXPECT_EQ(last.find("slow")->dropped.shutdown, 100U);
}

TEST_F(SerialEvents, a_stop_ends_a_manager_whose_handler_never_returns) {
  class Hung : public EventHandler<std::string> {
   public:
    Async<void> handle_event(const std::string& /*event*/) { co_await this_process::sleep(24h * 365); }
  };
  ASSERT_TRUE(events.add_handler_blocking(event_handler<Hung>("hung")));
  events.notify("1");
  runtime.run_until_idle();
  const SteadyTime before = runtime.clock().steady_now();
  const Result<EventStats> stopped = events.stop_blocking(1s);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().code(), ErrorCode::timeout);
  EXPECT_EQ(runtime.clock().steady_now() - before, 2s);
  runtime.run_until_idle();
  EXPECT_EQ(runtime.process_count(), 0U);
}

}  // namespace
}  // namespace dagverk
