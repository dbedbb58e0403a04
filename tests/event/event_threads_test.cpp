// Event managers on real threads: publishers that race, handlers that really block, streams that come and go.

#include "dagverk/event/event_stream.hpp"
#include "dagverk/event/serial_event_manager.hpp"
#include "dagverk/event/staged_event_manager.hpp"
#include "dagverk/runtime/runtime.hpp"
#include "dagverk/stage/spill.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <latch>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace dagverk {
namespace {

using namespace std::chrono_literals;

struct Tally {
  std::atomic<std::uint64_t> events{0};
  std::atomic<std::uint64_t> sum{0};
  std::latch* reached = nullptr;
  std::uint64_t reached_at = 0;
};

class Adding : public EventHandler<std::uint64_t> {
 public:
  explicit Adding(Tally* tally) : tally_(*tally) {}
  void handle_event(const std::uint64_t& event) {
    tally_.sum.fetch_add(event);
    if (tally_.events.fetch_add(1) + 1 == tally_.reached_at) tally_.reached->count_down();
  }

 private:
  Tally& tally_;
};

/// Really blocks the thread that it runs on at its first event.
class Blocking : public EventHandler<std::uint64_t> {
 public:
  Blocking(std::latch* inside, std::latch* release) : inside_(*inside), release_(*release) {}
  void handle_event(const std::uint64_t& /*event*/) {
    if (!inside_.try_wait()) inside_.count_down();
    release_.wait();
  }

 private:
  std::latch& inside_;
  std::latch& release_;
};

void others_go_on_while_one_blocks(bool declared) {
  Runtime runtime(RuntimeOptions{.workers = 2, .stuck_after = 50ms, .logger = &null_logger()});
  std::latch inside(1);
  std::latch release(1);
  std::latch all_there(1);
  Tally tally{.reached = &all_there, .reached_at = 20'001};
  {
    StagedEventManager<std::uint64_t> events(runtime);
    HandlerOptions options;
    options.blocking = declared;
    options.overflow = KeepNewest{100};
    ASSERT_TRUE(events.add_handler_blocking(event_handler<Blocking>("blocked", options, &inside, &release)));
    ASSERT_TRUE(events.add_handler_blocking(
        event_handler<Adding>("healthy", HandlerOptions{.overflow = KeepNewest{100'000}}, &tally)));
    events.notify(std::uint64_t{1});
    inside.wait();
    for (std::uint64_t event = 1; event <= 20'000; ++event) events.notify(std::uint64_t{event});
    all_there.wait();
    const EventStats stats = events.stats_blocking().value();
    const HandlerStats& blocked = *stats.find("blocked");
    EXPECT_TRUE(blocked.balanced());
    EXPECT_EQ(blocked.published, 20'001U);
    EXPECT_LE(blocked.buffered, 100U);
    EXPECT_EQ(stats.find("healthy")->dropped.total(), 0U);

    // It can be replaced while it blocks; what the old one does later does not count.
    ASSERT_TRUE(events.restart_handler_blocking("blocked"));
    release.count_down();
    const EventStats last = events.stop_blocking().value();
    EXPECT_EQ(last.find("blocked")->dropped.consumer_down, 1U);
    EXPECT_EQ(last.find("blocked")->buffered, 0U);
    EXPECT_TRUE(last.find("blocked")->balanced());
    EXPECT_EQ(last.find("healthy")->delivered, 20'001U);
  }
  EXPECT_TRUE(runtime.stop(10s).clean());
}

TEST(StagedEventManagerOnThreads, a_handler_that_declares_that_it_blocks_stops_nobody) {
  others_go_on_while_one_blocks(true);
}

TEST(StagedEventManagerOnThreads, a_handler_that_blocks_undeclared_is_left_to_the_watchdog_and_stops_nobody) {
  others_go_on_while_one_blocks(false);
}

TEST(StagedEventManagerOnThreads, publishers_on_many_threads_lose_nothing_while_handlers_come_and_go) {
  constexpr std::uint64_t publishers = 4;
  constexpr std::uint64_t each = 25'000;
  Runtime runtime(RuntimeOptions{.workers = 2, .logger = &null_logger()});
  StagedEventManager<std::uint64_t> events(runtime, StagedEventOptions{.ingress_max = 1'000'000});
  Tally steady;
  Tally passing;
  HandlerOptions roomy{.overflow = KeepNewest{1'000'000}};
  ASSERT_TRUE(events.add_handler_blocking(event_handler<Adding>("steady", roomy, &steady)));
  std::vector<std::thread> threads;
  for (std::uint64_t publisher = 0; publisher < publishers; ++publisher) {
    threads.emplace_back([&] {
      for (std::uint64_t event = 1; event <= each; ++event) {
        if (event % 100 == 0) {
          events.notify(make_batch({event}));
        } else {
          events.notify(std::uint64_t{event});
        }
      }
    });
  }
  std::uint64_t passing_delivered = 0;
  for (int round = 0; round < 20; ++round) {
    ASSERT_TRUE(events.add_handler_blocking(event_handler<Adding>("passing", roomy, &passing)));
    ASSERT_TRUE(events.restart_handler_blocking("passing"));
    const HandlerStats last = events.remove_handler_blocking("passing").value();
    EXPECT_TRUE(last.balanced());
    EXPECT_EQ(last.buffered, 0U);
    passing_delivered += last.delivered;
    const EventStats now = events.stats_blocking().value();
    EXPECT_TRUE(now.find("steady")->balanced());
  }
  for (std::thread& thread : threads) thread.join();
  const EventStats last = events.stop_blocking().value();
  EXPECT_EQ(last.find("steady")->delivered, publishers * each);
  EXPECT_EQ(steady.events, publishers * each);
  EXPECT_EQ(steady.sum, publishers * (each * (each + 1) / 2));
  EXPECT_LE(passing_delivered, passing.events) << "at most one event of each replaced process is not counted";
  EXPECT_LE(passing.events, passing_delivered + 20);
}

/// Publishers go on while their manager ends: whatever they sent was published or discarded.
template <class Manager>
void publishers_go_on_while_it_ends(Runtime& runtime) {
  constexpr std::uint64_t each = 300;
  for (int round = 0; round < 60; ++round) {
    Tally tally;
    Manager events(runtime);
    ASSERT_TRUE(events.add_handler_blocking(event_handler<Adding>("adding", HandlerOptions(), &tally)));
    std::latch begin(3);
    const auto publish = [&] {
      begin.arrive_and_wait();
      for (std::uint64_t event = 1; event <= each; ++event) {
        if (event % 10 == 0) {
          events.notify(make_batch({event}));
        } else {
          events.notify(std::uint64_t{event});
        }
      }
    };
    std::thread one(publish);
    std::thread other(publish);
    begin.arrive_and_wait();
    EXPECT_TRUE(events.stop_blocking());
    one.join();
    other.join();
    const EventStats last = events.stats_blocking().value();
    EXPECT_EQ(last.published + last.discarded + last.refused, 2 * each);
    EXPECT_EQ(last.find("adding")->delivered, tally.events);
  }
}

TEST(EventManagersOnThreads, lose_no_count_of_what_is_published_while_they_end) {
  Runtime runtime(RuntimeOptions{.workers = 2, .logger = &null_logger()});
  publishers_go_on_while_it_ends<SerialEventManager<std::uint64_t>>(runtime);
  publishers_go_on_while_it_ends<StagedEventManager<std::uint64_t>>(runtime);
  EXPECT_TRUE(runtime.stop(10s).clean());
}

/// One stream is read to the last event while others are opened, looked into and dropped.
void streams_come_and_go(EventManager<std::uint64_t>& events) {
  using Events = Stream<std::uint64_t>;
  constexpr std::uint64_t count = 20'000;
  EventStreamOptions<std::uint64_t> everything{.name = "all", .overflow = spill<std::uint64_t>()};
  Events stream = event_stream_blocking(events, std::move(everything)).value();
  std::thread publisher([&] {
    for (std::uint64_t event = 1; event <= count; ++event) events.notify(std::uint64_t{event});
  });
  std::thread guest([&] {
    for (int round = 0; round < 30; ++round) {
      EventStreamOptions<std::uint64_t> few{.overflow = KeepNewest{10}, .prefetch = 4, .timeout = 20ms};
      Events passing = event_stream_blocking(events, std::move(few)).value();
      const Result<Batch<std::uint64_t>> read = passing.next_batch_blocking();
      EXPECT_TRUE(read || read.error().code() == ErrorCode::timeout);
    }
  });
  std::uint64_t next = 1;
  for (const std::uint64_t event : stream.blocking()) {
    if (event != next) break;
    ++next;
    if (next > count) break;
  }
  EXPECT_EQ(next, count + 1) << "in order, and none is missing";
  publisher.join();
  guest.join();
  EXPECT_TRUE(stream.close_blocking());
  EXPECT_TRUE(events.stop_blocking());
}

TEST(EventStreamsOnThreads, one_is_read_to_the_last_event_while_others_come_and_go) {
  Runtime runtime(RuntimeOptions{.workers = 2, .logger = &null_logger()});
  {
    StagedEventManager<std::uint64_t> staged(runtime);
    streams_come_and_go(staged);
    SerialEventManager<std::uint64_t> serial(runtime);
    streams_come_and_go(serial);
  }
  EXPECT_TRUE(runtime.stop(10s).clean());
}

}  // namespace
}  // namespace dagverk
