// Handlers that meddle with their own manager while they handle an event, and publishers who go on while it stops: each
// ends with an answer and a count, none in a wait for ever.

#include "dagverk/base/concat.hpp"
#include "dagverk/event/serial_event_manager.hpp"
#include "dagverk/event/staged_event_manager.hpp"
#include "dagverk/event/supervised_event_manager.hpp"
#include "dagverk/runtime/deterministic_runtime.hpp"

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace dagverk {
namespace {

using namespace std::chrono_literals;
using Lines = std::vector<std::string>;
using Outcomes = std::vector<HandlerOutcome>;

class Plain : public EventHandler<int> {
 public:
  explicit Plain(int* count) : count_(*count) {}
  void handle_event(const int& event) {
    if (event == -2) throw std::runtime_error("was told to");
    ++count_;
  }

 private:
  int& count_;
};

/// Does to its manager, at each event above 0, what the test says, and waits for the answer.
class Meddler : public EventHandler<int> {
 public:
  struct Ask {
    using Reply = int;
  };
  using Deed = std::function<Async<void>(EventManager<int>&)>;

  Meddler(EventManager<int>* events, Deed deed) : events_(*events), deed_(std::move(deed)) {}
  Async<void> handle_event(const int& event) {
    if (event <= 0) co_return;
    Async<void> doing = deed_(events_);
    co_await doing;
  }
  int handle_call(Ask /*ask*/) { return 7; }

 private:
  EventManager<int>& events_;
  Deed deed_;
};

template <class Manager>
class Meddling : public testing::Test {
 protected:
  static constexpr bool serial = std::is_same_v<Manager, SerialEventManager<int>>;

  [[nodiscard]] HandlerSpec<int> plain(const std::string& name, HandlerOptions options = {}) {
    return event_handler<Plain>(name, options, &counts[name]);
  }
  void add(const std::string& name) { ASSERT_TRUE(events->add_handler_blocking(plain(name))); }
  void add_meddler(Meddler::Deed deed) {
    EventManager<int>* manager = events.get();
    ASSERT_TRUE(
        events->add_handler_blocking(event_handler<Meddler>("meddler", HandlerOptions(), manager, std::move(deed))));
  }
  void notify(int event) {
    events->notify(event);
    runtime.run_until_idle();
  }
  [[nodiscard]] Lines handlers() { return events->which_handlers_blocking().value(); }
  template <class T>
  void note(const Result<T>& result) {
    said.emplace_back(result ? "done" : to_string(result.error().code()));
  }

  std::map<std::string, int> counts;
  Lines said;
  DeterministicRuntime runtime{DeterministicOptions{.seed = 3}};
  std::unique_ptr<Manager> events = std::make_unique<Manager>(runtime);
};

struct ManagerNames {
  template <class Manager>
  static std::string GetName(int index) {  // NOLINT(readability-identifier-naming): GoogleTest's name
    static constexpr std::array names{"Serial", "Supervised", "Staged"};
    return names.at(static_cast<std::size_t>(index));
  }
};
using AllManagers = testing::Types<SerialEventManager<int>, SupervisedEventManager<int>, StagedEventManager<int>>;
TYPED_TEST_SUITE(Meddling, AllManagers, ManagerNames);

TYPED_TEST(Meddling, a_handler_may_add_swap_and_remove_others_while_it_handles_an_event) {
  this->add("child");
  this->add_meddler([this](EventManager<int>& manager) -> Async<void> {
    HandlerSpec<int> added = this->plain("added");
    Async<Result<void>> adding = manager.add_handler(std::move(added));
    this->note(co_await adding);
    manager.notify(0);
    HandlerSpec<int> swapped = this->plain("swapped");
    Async<Result<void>> swapping = manager.swap_handler("child", std::move(swapped));
    this->note(co_await swapping);
    Async<Result<HandlerStats>> removing = manager.remove_handler("added");
    this->note(co_await removing);
    Async<Result<EventStats>> asking = manager.stats();
    this->note(co_await asking);
  });
  this->notify(1);
  if (TestFixture::serial) {  // its handlers run in the manager's process, which cannot wait for itself
    EXPECT_EQ(this->said, (Lines{"calling_self", "calling_self", "calling_self", "calling_self"}));
    EXPECT_EQ(this->handlers(), (Lines{"child", "meddler"}));
    EXPECT_EQ(this->counts["child"], 2);
  } else {
    EXPECT_EQ(this->said, (Lines{"done", "done", "done", "done"}));
    EXPECT_EQ(this->handlers(), (Lines{"meddler", "swapped"}));
  }
  const EventStats stats = this->events->stats_blocking().value();
  for (const HandlerStats& handler : stats.handlers) EXPECT_TRUE(handler.balanced()) << handler.name;
  EXPECT_EQ(stats.find("meddler")->delivered, 2U) << stats.find("meddler")->last_error;
}

TYPED_TEST(Meddling, a_handler_may_let_another_process_add_and_remove_handlers) {
  this->add("child");
  this->add_meddler([this](EventManager<int>& manager) -> Async<void> {
    this_process::runtime().spawn([this, &manager]() -> Async<void> {
      HandlerSpec<int> added = this->plain("added");
      Async<Result<void>> adding = manager.add_handler(std::move(added));
      this->note(co_await adding);
      Async<Result<HandlerStats>> removing = manager.remove_handler("meddler");
      this->note(co_await removing);
    });
    co_return;
  });
  this->notify(1);
  EXPECT_EQ(this->said, (Lines{"done", "done"}));
  EXPECT_EQ(this->handlers(), (Lines{"child", "added"}));
}

TYPED_TEST(Meddling, a_handler_is_told_at_once_when_it_would_wait_for_itself) {
  this->add("other");
  this->add_meddler([this](EventManager<int>& manager) -> Async<void> {
    Async<Result<HandlerStats>> removing = manager.remove_handler("meddler");
    this->note(co_await removing);
    HandlerSpec<int> spec = this->plain("new");
    Async<Result<void>> swapping = manager.swap_handler("meddler", std::move(spec));
    this->note(co_await swapping);
    Async<Result<int>> calling = manager.call<Meddler, Meddler::Ask>("meddler");
    this->note(co_await calling);
    Async<Result<EventStats>> stopping = manager.stop();
    this->note(co_await stopping);
    if (TestFixture::serial) co_return;
    Async<Result<void>> stopping_it = manager.stop_handler("meddler");
    this->note(co_await stopping_it);
    Async<Result<Outcomes>> publishing = manager.sync_notify(0);
    const Result<Outcomes> outcomes = co_await publishing;
    if (outcomes == Outcomes{{"other", EventFate::handled}, {"meddler", EventFate::pending}}) {
      this->said.emplace_back("as it should be");
    }
  });
  const SteadyTime before = this->runtime.clock().steady_now();
  this->notify(1);
  EXPECT_EQ(this->runtime.clock().steady_now(), before) << "no limit had to end it";
  Lines expected(4, "calling_self");
  if (!TestFixture::serial) expected.insert(expected.end(), {"calling_self", "as it should be"});
  EXPECT_EQ(this->said, expected);
  EXPECT_EQ(this->handlers(), (Lines{"other", "meddler"}));
  this->notify(0);
  EXPECT_TRUE(this->events->stats_blocking()->find("meddler")->balanced());
}

TYPED_TEST(Meddling, what_is_published_while_the_manager_stops_is_delivered_or_counted) {
  this->add("a");
  this->add("b");
  constexpr std::uint64_t before = 100;
  for (std::uint64_t event = 0; event < before; ++event) this->events->notify(0);
  Result<EventStats> last = Error(ErrorCode::internal);
  bool ended = false;
  this->runtime.spawn([&]() -> Async<void> {
    Async<Result<EventStats>> stopping = this->events->stop();
    last = co_await stopping;
    ended = true;
  });
  std::uint64_t published = before;
  for (int late = 0; late < 20 || !ended; ++late) {
    this->events->notify(0);
    this->events->notify(make_batch({0, 0, 0}));
    published += 4;
    this->runtime.step();
    ASSERT_LT(published, 100'000U) << "the stop never ends";
  }
  this->runtime.run_until_idle();
  ASSERT_TRUE(last);
  for (const char* name : {"a", "b"}) {
    const HandlerStats& handler = *last->find(name);
    EXPECT_TRUE(handler.balanced());
    EXPECT_EQ(handler.published, last->published);
    EXPECT_EQ(handler.delivered, static_cast<std::uint64_t>(this->counts[name]));
    EXPECT_GE(handler.delivered, before);
  }
  const EventStats now = this->events->stats_blocking().value();
  EXPECT_EQ(now.published + now.discarded + now.refused, published);
}

TYPED_TEST(Meddling, whoever_waits_for_an_event_while_the_manager_stops_is_answered) {
  this->add("a");
  const auto publisher = [this]() -> Async<void> {
    Async<Result<Outcomes>> syncing = this->events->sync_notify(0);
    const Result<Outcomes> outcomes = co_await syncing;
    this->said.emplace_back(outcomes ? concat("sync: ", outcomes->size()) : "sync: error");
    Async<Result<void>> acking = this->events->ack_notify(0);
    const Result<void> acked = co_await acking;
    this->said.emplace_back(acked ? "ack" : "ack: error");
  };
  this->runtime.spawn([this]() -> Async<void> {
    Async<Result<EventStats>> stopping = this->events->stop();
    this->note(co_await stopping);
  });
  for (int waiting = 0; waiting < 5; ++waiting) this->runtime.spawn(publisher);
  const SteadyTime before = this->runtime.clock().steady_now();
  this->runtime.run_until_idle();
  EXPECT_EQ(this->said.size(), 11U) << "each has its answers";
  EXPECT_EQ(this->runtime.clock().steady_now(), before);
}

// --- publishers who are held up --------------------------------------------------------------------------------------

/// An event at whose move into a message others go on: between its publisher's look at who wants it and the send.
struct Held {
  explicit Held(std::function<void()> others) : meanwhile(std::move(others)) {}
  Held(const Held&) = default;
  Held(Held&& other) noexcept {
    if (const auto others = std::exchange(other.meanwhile, nullptr)) others();
  }
  Held& operator=(const Held&) = default;
  Held& operator=(Held&&) = default;
  ~Held() = default;

  std::function<void()> meanwhile;
};

class Taking : public EventHandler<Held> {
 public:
  explicit Taking(std::uint64_t* count) : count_(*count) {}
  void handle_event(const Held& /*event*/) { ++count_; }

 private:
  std::uint64_t& count_;
};

template <class Manager>
void a_publisher_is_held_up_while_the_manager_stops() {
  std::uint64_t too_late = 0;
  for (int steps = 0; steps < 60; ++steps) {
    DeterministicRuntime runtime(DeterministicOptions{.seed = 1});
    std::uint64_t count = 0;
    Manager events(runtime);
    ASSERT_TRUE(events.add_handler_blocking(event_handler<Taking>("taking", HandlerOptions(), &count)));
    runtime.spawn([&]() -> Async<void> {
      Async<Result<EventStats>> stopping = events.stop();
      EXPECT_TRUE(co_await stopping);
    });
    events.notify(Held([&] {
      for (int step = 0; step < steps; ++step) runtime.step();
    }));
    runtime.run_until_idle();
    const EventStats last = events.stats_blocking().value();
    EXPECT_EQ(last.published + last.discarded, 1U) << steps << " steps";
    EXPECT_EQ(count, last.published);
    too_late += last.discarded;
  }
  EXPECT_GT(too_late, 0U);
  EXPECT_LT(too_late, 60U);
}

TEST(HeldPublishers, lose_nothing_uncounted_wherever_the_end_of_a_serial_manager_meets_them) {
  a_publisher_is_held_up_while_the_manager_stops<SerialEventManager<Held>>();
}
TEST(HeldPublishers, lose_nothing_uncounted_wherever_the_end_of_a_staged_manager_meets_them) {
  a_publisher_is_held_up_while_the_manager_stops<StagedEventManager<Held>>();
}

// --- handlers that nobody starts again -------------------------------------------------------------------------------

template <class Manager>
class Resting : public Meddling<Manager> {};
using Concurrent = testing::Types<SupervisedEventManager<int>, StagedEventManager<int>>;
struct ConcurrentNames {
  template <class Manager>
  static std::string GetName(int index) {  // NOLINT(readability-identifier-naming): GoogleTest's name
    return index == 0 ? "Supervised" : "Staged";
  }
};
TYPED_TEST_SUITE(Resting, Concurrent, ConcurrentNames);

TYPED_TEST(Resting, sync_notify_does_not_wait_for_a_handler_that_is_failed_or_stopped) {
  this->add("a");
  ASSERT_TRUE(this->events->add_handler_blocking(
      this->plain("temporary", HandlerOptions{.restart_type = HandlerRestart::temporary})));
  this->add("stopped");
  ASSERT_TRUE(this->events->stop_handler_blocking("stopped"));
  EXPECT_EQ(this->events->sync_notify_blocking(-2).value().at(1), (HandlerOutcome{"temporary", EventFate::crashed}));
  this->runtime.advance(1s);  // "a" is started again

  const SteadyTime before = this->runtime.clock().steady_now();
  EXPECT_EQ(this->events->sync_notify_blocking(1).value(),
            (Outcomes{{"a", EventFate::handled}, {"temporary", EventFate::pending}, {"stopped", EventFate::pending}}));
  EXPECT_EQ(this->runtime.clock().steady_now(), before) << "the limit had to end it";

  ASSERT_TRUE(this->events->restart_handler_blocking("temporary"));
  ASSERT_TRUE(this->events->restart_handler_blocking("stopped"));
  this->runtime.advance(1s);  // "stopped" crashes at the first of what it has missed
  EXPECT_EQ(this->counts["temporary"], 1) << "the event has waited for it";
  EXPECT_EQ(this->counts["stopped"], 1);
}

TYPED_TEST(Resting, nor_for_one_that_fails_while_the_event_waits_for_it) {
  ASSERT_TRUE(this->events->add_handler_blocking(
      this->plain("temporary", HandlerOptions{.restart_type = HandlerRestart::temporary})));
  this->events->notify(-2);
  const SteadyTime before = this->runtime.clock().steady_now();
  EXPECT_EQ(this->events->sync_notify_blocking(1).value(), (Outcomes{{"temporary", EventFate::pending}}));
  EXPECT_EQ(this->runtime.clock().steady_now(), before);
  EXPECT_EQ(this->events->stats_blocking()->find("temporary")->buffered, 1U);
}

}  // namespace
}  // namespace dagverk
