#include "dagverk/event/event_manager.hpp"
#include "dagverk/event/serial_event_manager.hpp"
#include "dagverk/event/staged_event_manager.hpp"
#include "dagverk/event/supervised_event_manager.hpp"
#include "dagverk/runtime/deterministic_runtime.hpp"
#include "dagverk/runtime/this_process.hpp"
#include "dagverk/stage/batch.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

// One hung, one throwing and one healthy handler beside a million events: what each manager promises, and the memory.

namespace dagverk {
namespace {

using namespace std::chrono_literals;

constexpr int flood_total = 1'000'000;
constexpr int flood_burst = 250;

/// An event that knows how many of its kind live.
struct Counted {
  static inline std::size_t live = 0;
  static inline std::size_t live_max = 0;

  explicit Counted(int event_number) noexcept : number(event_number) { born(); }
  Counted(const Counted& other) noexcept : number(other.number) { born(); }
  Counted(Counted&& other) noexcept : number(other.number) { born(); }
  Counted& operator=(const Counted&) = default;
  Counted& operator=(Counted&&) = default;
  ~Counted() { --live; }

  int number;

 private:
  static void born() noexcept { live_max = std::max(live_max, ++live); }
};

/// What a handler saw. Outlives its handler.
struct Seen {
  std::size_t count = 0;
  int last = 0;
  bool in_order = true;
};

struct Manners {
  int sleeps_at = 0;        ///< a very long sleep; 0: at none
  int throws_at_every = 0;  ///< 0: at none
};

class Mannered : public EventHandler<Counted> {
 public:
  Mannered(Manners manners, Seen* seen) : manners_(manners), seen_(*seen) {}

  Async<void> handle_event(const Counted& event) {
    if (event.number == manners_.sleeps_at) co_await this_process::sleep(24h);
    if (manners_.throws_at_every != 0 && event.number % manners_.throws_at_every == 0) {
      throw std::runtime_error("not this one");
    }
    seen_.in_order = seen_.in_order && event.number > seen_.last;
    seen_.last = event.number;
    ++seen_.count;
  }

 private:
  Manners manners_;
  Seen& seen_;
};

class EventFlood : public testing::Test {
 protected:
  EventFlood() {
    Counted::live = 0;
    Counted::live_max = 0;
  }
  /// Publishes events first, …, last in bursts, with `pause` behind each.
  template <class AfterBurst>
  void publish(EventManager<Counted>& events, int first, int last, Duration pause, const AfterBurst& after_burst) {
    for (int event = first; event <= last; ++event) {
      events.notify(Counted(event));
      if (event % flood_burst != 0) continue;
      runtime.advance(pause);
      after_burst(event);
      if (HasFatalFailure()) return;
    }
  }

  Seen healthy;
  Seen hung;
  Seen throwing;
  DeterministicRuntime runtime{DeterministicOptions{.seed = 7}};
};

template <class Manager>
class ConcurrentEventFlood : public EventFlood {};

struct FloodNames {
  template <class Manager>
  static std::string GetName(int index) {  // NOLINT(readability-identifier-naming): GoogleTest's name
    return index == 0 ? "Supervised" : "Staged";
  }
};
using ConcurrentManagers = testing::Types<SupervisedEventManager<Counted>, StagedEventManager<Counted>>;
TYPED_TEST_SUITE(ConcurrentEventFlood, ConcurrentManagers, FloodNames);

TYPED_TEST(ConcurrentEventFlood, a_hung_and_a_throwing_handler_cost_a_healthy_one_nothing_and_memory_stays_flat) {
  constexpr std::size_t kept = 2'000;
  constexpr auto total = static_cast<std::size_t>(flood_total);
  {
    TypeParam events(this->runtime);
    HandlerOptions options;
    options.overflow = KeepNewest{kept};
    HandlerOptions patient = options;
    patient.restart = HandlerRestartPolicy{.delay_first = 1ms, .delay_max = 1ms, .crashes_max = 0};
    ASSERT_TRUE(events.add_handler_blocking(event_handler<Mannered>("healthy", options, Manners{}, &this->healthy)));
    ASSERT_TRUE(
        events.add_handler_blocking(event_handler<Mannered>("hung", options, Manners{.sleeps_at = 10}, &this->hung)));
    ASSERT_TRUE(events.add_handler_blocking(
        event_handler<Mannered>("throwing", patient, Manners{.throws_at_every = 100}, &this->throwing)));
    std::size_t live_early = 0;
    this->publish(events, 1, flood_total, 3ms, [&](int event) {
      ASSERT_EQ(this->healthy.count, static_cast<std::size_t>(event)) << "held up by another";
      if (event == 10'000) live_early = Counted::live;
    });
    this->runtime.advance(1s);
    // The hung one keeps its bound; nobody else keeps anything.
    EXPECT_LE(Counted::live, kept + 256);
    EXPECT_LE(Counted::live_max, 2 * kept) << "with what is under way";
    EXPECT_LE(Counted::live, live_early + 256) << "flat from early on";

    const EventStats stats = events.stats_blocking().value();
    EXPECT_EQ(stats.find("healthy")->delivered, total);
    EXPECT_EQ(stats.find("healthy")->dropped.total(), 0U);
    EXPECT_EQ(stats.find("hung")->delivered, 9U);
    EXPECT_EQ(stats.find("hung")->buffered, kept);
    EXPECT_EQ(stats.find("hung")->dropped.overflow, total - 9 - kept);
    EXPECT_EQ(stats.find("throwing")->delivered, total - total / 100);
    EXPECT_EQ(stats.find("throwing")->delivered, this->throwing.count);
    EXPECT_EQ(stats.find("throwing")->dropped.crashed, total / 100);
    EXPECT_EQ(stats.find("throwing")->restarts, total / 100);
    for (const HandlerStats& handler : stats.handlers) {
      EXPECT_EQ(handler.published, total);
      EXPECT_TRUE(handler.balanced());
    }
    EXPECT_TRUE(this->healthy.in_order && this->hung.in_order && this->throwing.in_order);
  }
  this->runtime.run_until_idle();  // the hung one's process, which was killed
  EXPECT_EQ(Counted::live, 0U);
}

// There one handler holds up all: what is promised is that nothing is lost unseen, nor kept without a bound.
TEST_F(EventFlood, the_serial_manager_drops_a_throwing_handler_and_bounds_and_counts_what_a_hung_one_holds_up) {
  constexpr int hangs_at = flood_total / 2;
  constexpr std::size_t under_way_max = 2'000;
  constexpr auto total = static_cast<std::uint64_t>(flood_total);
  {
    SerialEventManager<Counted> events(runtime, SerialEventOptions{.ingress_max = under_way_max});
    ASSERT_TRUE(events.add_handler_blocking(
        event_handler<Mannered>("throwing", {}, Manners{.throws_at_every = 100}, &throwing)));
    ASSERT_TRUE(events.add_handler_blocking(event_handler<Mannered>("healthy", {}, Manners{}, &healthy)));
    ASSERT_TRUE(
        events.add_handler_blocking(event_handler<Mannered>("hung", {}, Manners{.sleeps_at = hangs_at}, &hung)));
    publish(events, 1, hangs_at, 3ms, [&](int event) {
      ASSERT_EQ(healthy.count, static_cast<std::size_t>(event)) << "the one that throws is gone";
    });
    EXPECT_EQ(throwing.count, 99U);
    publish(events, hangs_at + 1, flood_total, 3ms,
            [&](int /*event*/) { ASSERT_EQ(healthy.last, hangs_at) << "it waits until all are done with that event"; });
    EXPECT_LE(Counted::live_max, under_way_max + flood_burst);
    runtime.advance(48h);

    const EventStats stats = events.stats_blocking().value();
    ASSERT_EQ(stats.handlers.size(), 2U);
    EXPECT_GT(stats.refused, 0U);
    EXPECT_EQ(stats.published + stats.refused, total);
    for (const HandlerStats& handler : stats.handlers) {
      EXPECT_TRUE(handler.balanced());
      EXPECT_EQ(handler.published, total) << handler.name;
      EXPECT_EQ(handler.delivered, stats.published) << handler.name;
      EXPECT_EQ(handler.dropped.ingress, stats.refused) << handler.name;
      EXPECT_EQ(handler.dropped.total(), stats.refused) << handler.name;
      EXPECT_EQ(handler.buffered, 0U) << handler.name;
    }
    EXPECT_EQ(healthy.count, stats.published);
    EXPECT_TRUE(healthy.in_order && hung.in_order);
  }
  EXPECT_EQ(Counted::live, 0U);
}

TEST_F(EventFlood, a_few_kept_events_do_not_keep_a_huge_batch_in_memory) {
  {
    StagedEventManager<Counted> events(runtime);
    ASSERT_TRUE(events.add_handler_blocking(
        event_handler<Mannered>("hung", HandlerOptions{.overflow = KeepNewest{10}}, Manners{.sleeps_at = 10}, &hung)));
    const auto tenth = [](std::size_t /*index*/) { return Counted(10); };
    events.notify(make_batch_of(50'000, tenth));
    runtime.run_until_idle();
    EXPECT_LE(Counted::live, 2 * 1024U);
    Batch<Counted> huge = make_batch_of(50'000, tenth);
    events.notify(huge.slice(100, 5));
    huge.reset();
    runtime.run_until_idle();
    EXPECT_LE(Counted::live, 2 * 1024U) << "nor does a slice of one";
    const HandlerStats stats = events.stats_blocking().value().handlers.at(0);
    EXPECT_EQ(stats.published, 50'005U);
    EXPECT_EQ(stats.buffered, 10U);
  }
  runtime.run_until_idle();
  EXPECT_EQ(Counted::live, 0U);
}

}  // namespace
}  // namespace dagverk
