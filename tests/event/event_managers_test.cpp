// What the three event managers have in common, shown for each; and what the two with a process per handler add.

#include "dagverk/event/find_event_manager.hpp"
#include "dagverk/event/serial_event_manager.hpp"
#include "dagverk/event/staged_event_manager.hpp"
#include "dagverk/event/supervised_event_manager.hpp"
#include "dagverk/runtime/deterministic_runtime.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <any>
#include <array>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace dagverk {
namespace {

using namespace std::chrono_literals;
using Outcomes = std::vector<HandlerOutcome>;

/// What the handlers of one test saw. Outlives them.
struct Record {
  std::map<std::string, std::vector<int>> seen;
  std::map<std::string, std::vector<std::string>> ends;
  std::map<std::string, int> inits;
};

/// Events below zero are orders: -1 leave, -2 throw, -3 wait for an hour.
class Counting : public EventHandler<int> {
 public:
  struct Count {
    using Reply = std::size_t;
    std::size_t plus = 0;
  };
  struct Crash {
    using Reply = void;
  };

  Counting(std::string name, Record* record) : name_(std::move(name)), record_(*record) {}

  void init() { ++record_.inits[name_]; }
  Async<void> handle_event(const int& event) {
    if (event == -1) leave();
    if (event == -2) throw std::runtime_error("was told to");
    if (event == -3) co_await this_process::sleep(1h);
    record_.seen[name_].push_back(event);
  }
  std::size_t handle_call(Count count) { return record_.seen[name_].size() + count.plus; }
  void handle_call(Crash /*crash*/) { throw std::runtime_error("call"); }
  std::any hand_over() { return name_; }
  void take_over(const std::any& what) { record_.ends[name_].push_back("after " + std::any_cast<std::string>(what)); }
  void terminate(const ExitReason& reason) { record_.ends[name_].push_back(reason.to_string()); }

 private:
  std::string name_;
  Record& record_;
};

class Owner : public GenServer<Owner> {
 public:
  explicit Owner(std::vector<std::string>* told) : told_(*told) {}
  void handle_info(const HandlerGone& gone) { told_.push_back(gone.handler + ": " + gone.reason.to_string()); }

 private:
  std::vector<std::string>& told_;
};

template <class Manager>
class EventManagers : public testing::Test {
 protected:
  static constexpr bool serial = std::is_same_v<Manager, SerialEventManager<int>>;

  [[nodiscard]] HandlerSpec<int> spec(const std::string& name, HandlerOptions options = {}) {
    return event_handler<Counting>(name, options, name, &record);
  }
  void add(const std::string& name, HandlerOptions options = {}) {
    const Result<void> added = events.add_handler_blocking(spec(name, options));
    ASSERT_TRUE(added) << added.error().message();
  }
  void notify_all(int first, int last) {
    for (int event = first; event <= last; ++event) events.notify(event);
    runtime.run_until_idle();
  }
  [[nodiscard]] std::vector<std::string> handlers() { return events.which_handlers_blocking().value(); }
  [[nodiscard]] HandlerStats stats(std::string_view name) {
    const EventStats all = events.stats_blocking().value();
    const HandlerStats* found = all.find(name);
    EXPECT_NE(found, nullptr) << name;
    return found == nullptr ? HandlerStats() : *found;
  }

  Record record;
  DeterministicRuntime runtime{DeterministicOptions{.seed = 1}};
  Manager events{runtime};
};

using AllManagers = testing::Types<SerialEventManager<int>, SupervisedEventManager<int>, StagedEventManager<int>>;
struct ManagerNames {
  template <class Manager>
  static std::string GetName(int index) {  // NOLINT(readability-identifier-naming): GoogleTest's name
    static constexpr std::array names{"Serial", "Supervised", "Staged"};
    return names.at(static_cast<std::size_t>(index));
  }
};
TYPED_TEST_SUITE(EventManagers, AllManagers, ManagerNames);

TYPED_TEST(EventManagers, CC_EXU_001_every_handler_gets_every_event_in_order) {
  this->add("a");
  this->add("b");
  this->notify_all(1, 2000);
  std::vector<int> all;
  for (int event = 1; event <= 2000; ++event) all.push_back(event);
  EXPECT_EQ(this->record.seen["a"], all);
  EXPECT_EQ(this->record.seen["b"], all);
  EXPECT_TRUE(this->stats("a").balanced());
}

TYPED_TEST(EventManagers, CC_EXU_010_a_handler_whose_init_fails_is_not_added_and_the_manager_lives) {
  class Failing : public EventHandler<int> {
   public:
    void init() { throw std::runtime_error("no"); }
    void handle_event(const int& /*event*/) {}
  };
  const Result<void> added = this->events.add_handler_blocking(event_handler<Failing>("failing"));
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().code(), ErrorCode::exited);
  EXPECT_TRUE(this->handlers().empty());
  this->add("a");
  this->notify_all(1, 1);
  EXPECT_EQ(this->record.seen["a"], std::vector<int>{1});
}

TYPED_TEST(EventManagers, sync_notify_says_what_became_of_the_event_at_each_handler) {
  this->add("a");
  HandlerSpec<int> odd = this->spec("odd");
  odd.selector = [](const int& event) { return event % 2 != 0; };
  ASSERT_TRUE(this->events.add_handler_blocking(std::move(odd)));
  EXPECT_EQ(this->events.sync_notify_blocking(1).value(),
            (Outcomes{{"a", EventFate::handled}, {"odd", EventFate::handled}}));
  EXPECT_EQ(this->record.seen["odd"], std::vector<int>{1});
  EXPECT_EQ(this->events.sync_notify_blocking(2).value(),
            (Outcomes{{"a", EventFate::handled}, {"odd", EventFate::filtered}}));
  EXPECT_EQ(this->events.sync_notify_blocking(-2).value(),
            (Outcomes{{"a", EventFate::crashed}, {"odd", EventFate::filtered}}));
}

TYPED_TEST(EventManagers, sync_notify_without_handlers_is_done_at_once) {
  EXPECT_EQ(this->events.sync_notify_blocking(1).value(), Outcomes{});
  EXPECT_TRUE(this->events.ack_notify_blocking(2));
  EXPECT_EQ(this->events.stats_blocking()->discarded, 2U);
}

TYPED_TEST(EventManagers, a_handler_answers_calls) {
  this->add("a");
  this->notify_all(1, 3);
  const auto count = [&](std::size_t plus) {
    return this->events.template call_blocking<Counting, Counting::Count>("a", plus);
  };
  EXPECT_EQ(count(10).value(), 13U);
  const Result<void> crashed = this->events.template call_blocking<Counting, Counting::Crash>("a");
  ASSERT_FALSE(crashed);
  EXPECT_EQ(crashed.error().code(), ErrorCode::exited);
  const Result<void> missing = this->events.template call_blocking<Counting, Counting::Crash>("b");
  EXPECT_EQ(missing.error().code(), ErrorCode::not_found);
}

TYPED_TEST(EventManagers, a_handler_that_leaves_is_removed) {
  this->add("a");
  this->add("b");
  EXPECT_EQ(this->events.sync_notify_blocking(-1).value(),
            (Outcomes{{"a", EventFate::handled}, {"b", EventFate::handled}}));
  this->runtime.run_until_idle();
  EXPECT_TRUE(this->handlers().empty());
  EXPECT_EQ(this->record.ends["a"], std::vector<std::string>{"normal"});
  EXPECT_FALSE(this->events.wants(0));
}

TYPED_TEST(EventManagers, between_the_old_and_the_new_handler_of_a_swap_no_event_is_lost_nor_seen_twice) {
  this->add("old");
  this->notify_all(1, 100);
  this->events.notify(101);
  HandlerSpec<int> spec = this->spec("new");
  bool swapped = false;
  this->runtime.spawn([&]() -> Async<void> {
    Async<Result<void>> swapping = this->events.swap_handler("old", std::move(spec));
    Result<void> done = co_await swapping;
    swapped = done.has_value();
  });
  for (int event = 102; event <= 200; ++event) {
    this->runtime.step();
    this->events.notify(event);
  }
  this->runtime.run_until_idle();
  EXPECT_TRUE(swapped);
  EXPECT_EQ(this->handlers(), std::vector<std::string>{"new"});
  std::vector<int> seen = this->record.seen["old"];
  const std::vector<int>& newer = this->record.seen["new"];
  seen.insert(seen.end(), newer.begin(), newer.end());
  std::vector<int> expected;
  for (int event = 1; event <= 200; ++event) expected.push_back(event);
  EXPECT_TRUE(std::ranges::is_sorted(seen));
  EXPECT_EQ(std::ranges::adjacent_find(seen), seen.end());
  EXPECT_FALSE(newer.empty());
  EXPECT_EQ(this->record.ends["old"], std::vector<std::string>{"normal"});
  EXPECT_EQ(this->record.ends["new"], std::vector<std::string>{"after old"});
}

TYPED_TEST(EventManagers, an_owner_takes_its_handlers_along_and_learns_why_one_goes) {
  std::vector<std::string> told;
  const ServerRef<Owner> owner = this->runtime.template start<Owner>(&told).value();
  for (const char* name : {"a", "b", "c", "d"}) {
    HandlerSpec<int> spec = this->spec(name);
    spec.owned_by(owner);
    ASSERT_TRUE(this->events.add_handler_blocking(std::move(spec)));
  }
  ASSERT_TRUE(this->events.remove_handler_blocking("a"));
  ASSERT_TRUE(this->events.swap_handler_blocking("b", this->spec("b2")));
  this->runtime.run_until_idle();
  EXPECT_EQ(told, (std::vector<std::string>{"a: normal", "b: swapped"}));
  ASSERT_TRUE(this->runtime.stop(owner.pid()));
  this->runtime.run_until_idle();
  EXPECT_EQ(this->handlers(), std::vector<std::string>{"b2"});
  EXPECT_EQ(this->record.ends["c"], std::vector<std::string>{"shutdown"});
}

TYPED_TEST(EventManagers, a_stop_lets_handlers_finish_what_is_queued_and_tells_owners) {
  std::vector<std::string> told;
  const ServerRef<Owner> owner = this->runtime.template start<Owner>(&told).value();
  HandlerSpec<int> spec = this->spec("a");
  spec.owned_by(owner);
  ASSERT_TRUE(this->events.add_handler_blocking(std::move(spec)));
  for (int event = 1; event <= 500; ++event) this->events.notify(event);
  const Result<EventStats> last = this->events.stop_blocking();
  ASSERT_TRUE(last);
  this->runtime.run_until_idle();
  EXPECT_EQ(this->record.seen["a"].size(), 500U);
  EXPECT_EQ(this->record.ends["a"], std::vector<std::string>{"shutdown"});
  EXPECT_EQ(told, std::vector<std::string>{"a: shutdown"});
  EXPECT_EQ(last->find("a")->delivered, 500U);
  EXPECT_EQ(this->events.add_handler_blocking(this->spec("late")).error().code(), ErrorCode::no_process);
  EXPECT_EQ(this->events.sync_notify_blocking(1).value(), Outcomes{});
}

TYPED_TEST(EventManagers, kinds_that_nobody_wants_are_not_produced) {
  using Either = std::variant<int, std::string>;
  class Strings : public EventHandler<Either> {
   public:
    void handle_event(const Either& /*event*/) {}
  };
  HandlerOptions options;
  options.kinds = EventKinds::of<Either, std::string>();
  const auto check = [&](EventManager<Either>& manager) {
    EXPECT_FALSE(manager.wants<int>());
    ASSERT_TRUE(manager.add_handler_blocking(event_handler<Strings>("strings", options)));
    EXPECT_FALSE(manager.wants<int>());
    EXPECT_TRUE(manager.wants<std::string>());
    manager.notify(Either(1));
    manager.notify(Either("one"));
    EXPECT_EQ(manager.stats_blocking()->discarded, 1U);
  };
  if constexpr (TestFixture::serial) {
    SerialEventManager<Either> manager(this->runtime);
    check(manager);
  } else if constexpr (std::is_same_v<TypeParam, StagedEventManager<int>>) {
    StagedEventManager<Either> manager(this->runtime);
    check(manager);
  } else {
    SupervisedEventManager<Either> manager(this->runtime);
    check(manager);
  }
}

// --- names -----------------------------------------------------------------------------------------------------------

TYPED_TEST(EventManagers, CC_GEV_002_a_name_that_a_running_manager_holds_is_refused_and_free_after_its_end) {
  auto first = TypeParam::start_blocking(this->runtime, "audit");
  ASSERT_TRUE(first) << first.error().message();
  const auto second = TypeParam::start_blocking(this->runtime, "audit");
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), ErrorCode::already_exists);
  EXPECT_EQ(this->runtime.whereis("audit"), (*first)->pid());

  bool refused_inside = false;
  this->runtime.spawn([&refused_inside]() -> Async<void> {
    auto starting = TypeParam::start("audit");
    auto third = co_await starting;
    refused_inside = !third && third.error().code() == ErrorCode::already_exists;
  });
  this->runtime.run_until_idle();
  EXPECT_TRUE(refused_inside);

  const std::size_t processes = this->runtime.process_count();
  first->reset();
  EXPECT_EQ(this->runtime.process_count(), processes - 1) << "those that were refused have left something";
  EXPECT_EQ(find_event_manager_blocking<int>(this->runtime, "audit").error().code(), ErrorCode::no_process);
  EXPECT_TRUE(TypeParam::start_blocking(this->runtime, "audit"));
}

TYPED_TEST(EventManagers, CC_GEV_003_a_name_is_a_text_that_is_not_empty) {
  static_assert(!requires(RuntimeBase& runtime) { TypeParam::start_blocking(runtime, 42); });
  const std::size_t processes = this->runtime.process_count();
  const auto started = TypeParam::start_blocking(this->runtime, "");
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(this->runtime.process_count(), processes);
}

TYPED_TEST(EventManagers, who_knows_a_managers_name_can_do_with_it_what_its_owner_can) {
  const auto owner = TypeParam::start_blocking(this->runtime, "audit").value();
  auto found = find_event_manager_blocking<int>(this->runtime, "audit");
  ASSERT_TRUE(found) << found.error().message();
  EventManager<int>& named = **found;
  EXPECT_FALSE(named.wants(0));
  ASSERT_TRUE(named.add_handler_blocking(this->spec("a")));
  EXPECT_TRUE(owner->wants(0));
  EXPECT_TRUE(named.wants(0));
  named.notify(1);
  owner->notify(2);
  EXPECT_EQ(named.sync_notify_blocking(3).value(), (Outcomes{{"a", EventFate::handled}}));
  EXPECT_EQ(this->record.seen["a"], (std::vector<int>{1, 2, 3}));

  found->reset();
  this->runtime.run_until_idle();
  EXPECT_EQ(owner->which_handlers_blocking().value(), std::vector<std::string>{"a"}) << "it was not the owner's end";

  const auto again = find_event_manager_blocking<int>(this->runtime, "audit").value();
  EXPECT_EQ(again->stop_blocking()->find("a")->delivered, 3U);
  EXPECT_EQ(owner->which_handlers_blocking().error().code(), ErrorCode::no_process);
  again->notify(4);
  EXPECT_EQ(again->stats_blocking()->discarded, 1U);
}

TYPED_TEST(EventManagers, a_process_starts_and_finds_managers_by_name) {
  std::vector<std::string> seen;
  this->runtime.spawn([this, &seen]() -> Async<void> {
    auto starting = TypeParam::start("inside");
    auto started = co_await starting;
    auto finding = find_event_manager<int>("inside");
    auto found = co_await finding;
    HandlerSpec<int> spec = this->spec("a");
    Async<Result<void>> adding = (*found)->add_handler(std::move(spec));
    Result<void> added = co_await adding;
    Async<Result<std::vector<std::string>>> asking = (*started)->which_handlers();
    Result<std::vector<std::string>> names = co_await asking;
    if (added && names) seen = *names;
    Async<Result<EventStats>> stopping = (*started)->stop();
    static_cast<void>(co_await stopping);
  });
  this->runtime.run_until_idle();
  EXPECT_EQ(seen, std::vector<std::string>{"a"});
}

TEST(FindEventManager, a_name_of_something_else_is_the_wrong_type) {
  DeterministicRuntime runtime{DeterministicOptions{.seed = 1}};
  const auto texts = SerialEventManager<std::string>::start_blocking(runtime, "texts").value();
  EXPECT_EQ(find_event_manager_blocking<int>(runtime, "texts").error().code(), ErrorCode::wrong_type);
  std::vector<std::string> told;
  ASSERT_TRUE(runtime.start_with<Owner>(StartOptions{.name = "server"}, &told));
  EXPECT_EQ(find_event_manager_blocking<int>(runtime, "server").error().code(), ErrorCode::wrong_type);
}

// --- a process per handler -------------------------------------------------------------------------------------------

template <class Manager>
class ConcurrentManagers : public EventManagers<Manager> {};
using Concurrent = testing::Types<SupervisedEventManager<int>, StagedEventManager<int>>;
struct ConcurrentNames {
  template <class Manager>
  static std::string GetName(int index) {  // NOLINT(readability-identifier-naming): GoogleTest's name
    return index == 0 ? "Supervised" : "Staged";
  }
};
TYPED_TEST_SUITE(ConcurrentManagers, Concurrent, ConcurrentNames);

TYPED_TEST(ConcurrentManagers, CC_EXU_002_a_crashed_temporary_handler_stays_down_and_others_go_on) {
  HandlerOptions temporary;
  temporary.restart_type = HandlerRestart::temporary;
  HandlerSpec<int> picky = this->spec("picky", temporary);
  picky.selector = [](const int& event) { return event != 1; };
  ASSERT_TRUE(this->events.add_handler_blocking(std::move(picky)));
  HandlerSpec<int> calm = this->spec("calm");
  calm.selector = [](const int& event) { return event > 0; };
  ASSERT_TRUE(this->events.add_handler_blocking(std::move(calm)));
  this->events.notify(-2);
  this->notify_all(1, 3);
  this->runtime.advance(1h);
  EXPECT_EQ(this->record.seen["calm"], (std::vector<int>{1, 2, 3}));
  EXPECT_TRUE(this->record.seen["picky"].empty());
  EXPECT_EQ(this->record.inits["picky"], 1);
  EXPECT_EQ(this->stats("picky").state, HandlerState::failed);
  ASSERT_TRUE(this->events.restart_handler_blocking("picky"));  // never silently gone
  this->runtime.run_until_idle();
  EXPECT_EQ(this->record.seen["picky"], (std::vector<int>{2, 3}));
}

TYPED_TEST(ConcurrentManagers, a_permanent_handler_is_started_again_even_after_it_ended_itself) {
  class Quitter : public EventHandler<int> {
   public:
    explicit Quitter(Record* record) { ++record->inits["quitter"]; }
    void handle_event(const int& /*event*/) { this_process::stop(); }
  };
  HandlerOptions permanent;
  permanent.restart_type = HandlerRestart::permanent;
  ASSERT_TRUE(this->events.add_handler_blocking(event_handler<Quitter>("quitter", permanent, &this->record)));
  this->notify_all(1, 1);
  EXPECT_EQ(this->stats("quitter").state, HandlerState::restarting);
  this->runtime.advance(1s);
  EXPECT_EQ(this->record.inits["quitter"], 2);
  EXPECT_EQ(this->stats("quitter").state, HandlerState::running);
}

TYPED_TEST(ConcurrentManagers, sync_notify_lists_who_is_not_done_at_its_limit_as_pending) {
  this->add("a");
  HandlerSpec<int> calm = this->spec("calm");
  calm.selector = [](const int& event) { return event > 0; };
  ASSERT_TRUE(this->events.add_handler_blocking(std::move(calm)));
  const SteadyTime start = this->runtime.clock().steady_now();
  EXPECT_EQ(this->events.sync_notify_blocking(-3, 2s).value(),
            (Outcomes{{"a", EventFate::pending}, {"calm", EventFate::filtered}}));
  EXPECT_EQ(this->runtime.clock().steady_now() - start, 2s);
}

TYPED_TEST(ConcurrentManagers, sync_notify_calls_a_dropped_event_dropped) {
  HandlerOptions one;
  one.overflow = KeepNewest{1};
  this->add("small", one);
  this->events.notify(-3);
  this->runtime.run_until_idle();  // it is busy for an hour
  Outcomes first;
  this->runtime.spawn([&]() -> Async<void> {
    Async<Result<Outcomes>> telling = this->events.sync_notify(1, 10s);
    Result<Outcomes> told = co_await telling;
    if (told) first = *told;
  });
  this->runtime.run_until_idle();
  EXPECT_TRUE(first.empty());
  this->notify_all(2, 2);  // takes its place
  EXPECT_EQ(first, (Outcomes{{"small", EventFate::dropped}}));
}

TYPED_TEST(ConcurrentManagers, a_call_to_a_handler_without_a_process_says_so) {
  this->add("a");
  this->notify_all(-2, -2);
  const auto asked = this->events.template call_blocking<Counting, Counting::Count>("a", std::size_t{0});
  ASSERT_FALSE(asked);
  EXPECT_EQ(asked.error().code(), ErrorCode::unavailable);
  EXPECT_NE(asked.error().message().find("restarting"), std::string::npos);
}

TYPED_TEST(ConcurrentManagers, a_stop_without_a_limit_ends_each_handler_after_the_event_it_handles) {
  this->add("a");
  this->events.notify(-3);
  this->runtime.run_until_idle();
  for (int event = 1; event <= 10; ++event) this->events.notify(event);
  const Result<EventStats> last = this->events.stop_blocking(Duration::zero());
  ASSERT_TRUE(last);
  EXPECT_EQ(last->find("a")->dropped.shutdown, 11U);  // it hung at one and had ten to come
  EXPECT_TRUE(last->find("a")->balanced());
}

// --- one pace --------------------------------------------------------------------------------------------------------

TEST(StagedEventManagers, ack_notify_waits_for_room_where_notify_would_drop) {
  Record record;
  DeterministicRuntime runtime(DeterministicOptions{.seed = 3});
  StagedEventManager<int> events(runtime, {.wait_events_max = 4});
  HandlerOptions waits;
  waits.overflow = WaitWhenFull{};
  waits.batch_max = 1;
  class Slow : public EventHandler<int> {
   public:
    explicit Slow(Record* record) : record_(*record) {}
    Async<void> handle_event(const int& event) {
      co_await this_process::sleep(1ms);
      record_.seen["slow"].push_back(event);
    }

   private:
    Record& record_;
  };
  ASSERT_TRUE(events.add_handler_blocking(event_handler<Slow>("slow", waits, &record)));
  std::vector<int> all;
  for (int event = 1; event <= 100; ++event) {
    ASSERT_TRUE(events.ack_notify_blocking(event));
    all.push_back(event);
  }
  runtime.advance(1s);
  EXPECT_EQ(record.seen["slow"], all);
  EXPECT_EQ(events.stats_blocking()->find("slow")->dropped.total(), 0U);
  for (int event = 101; event <= 200; ++event) events.notify(event);
  runtime.advance(1s);
  EXPECT_GT(events.stats_blocking()->find("slow")->dropped.overflow, 0U);
}

TEST(StagedEventManagers, no_more_publishers_wait_for_room_than_events_may) {
  Record record;
  DeterministicRuntime runtime(DeterministicOptions{.seed = 4});
  StagedEventManager<int> events(runtime, {.wait_events_max = 2});
  HandlerOptions waits;
  waits.overflow = WaitWhenFull{};
  ASSERT_TRUE(events.add_handler_blocking(event_handler<Counting>("a", waits, std::string("a"), &record)));
  events.notify(-3);
  runtime.run_until_idle();
  int refused = 0;
  int taken = 0;
  for (int event = 1; event <= 10; ++event) {
    runtime.spawn([&events, &refused, &taken, event]() -> Async<void> {
      Async<Result<void>> telling = events.ack_notify(int{event}, Duration::zero());
      Result<void> told = co_await telling;
      if (!told && told.error().code() == ErrorCode::refused) ++refused;
      if (told) ++taken;
    });
  }
  runtime.run_until_idle();
  EXPECT_EQ(taken, 2);
  EXPECT_EQ(refused, 6);
  runtime.advance(2h);
  EXPECT_EQ(taken, 4);
  EXPECT_EQ(record.seen["a"].size(), 5U);
}

TEST(SupervisedEventManagers, the_rule_wait_is_refused_with_what_to_use) {
  Record record;
  DeterministicRuntime runtime(DeterministicOptions{.seed = 5});
  SupervisedEventManager<int> events(runtime);
  HandlerOptions waits;
  waits.overflow = WaitWhenFull{};
  const Result<void> added =
      events.add_handler_blocking(event_handler<Counting>("a", waits, std::string("a"), &record));
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().code(), ErrorCode::configuration);
  EXPECT_NE(added.error().message().find("keep_newest"), std::string::npos);
}

}  // namespace
}  // namespace dagverk
