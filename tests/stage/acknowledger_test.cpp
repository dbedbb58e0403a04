// At-least-once delivery: what is not acknowledged comes again, first, until it is done or dead.

#include "dagverk/stage/acknowledger.hpp"

#include "stages.hpp"
#include "support/seed_count.hpp"

#include "dagverk/base/random.hpp"
#include "dagverk/stage/range_producer.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <ranges>

namespace dagverk {
namespace {

using namespace std::chrono_literals;
using namespace stage_tests;

using Acks = Acknowledger<int>;
using Event = Acknowledged<int>;

/// Keeps what it is given until it is told what to do with it.
class Keeper : public Consumer<Keeper, Event> {
 public:
  struct Log {
    std::vector<Event> events;
    [[nodiscard]] Ints values() const {
      Ints values;
      for (const Event& event : events) values.push_back(event.event);
      return values;
    }
  };
  struct Crash {};
  Keeper(Log& log, ServerRef<Acks> acks, std::int64_t max_demand, bool acknowledges)
      : log_(log), acks_(acks), max_demand_(max_demand), acknowledges_(acknowledges) {}
  void init() {
    SubscribeOptions<Event> options;
    options.max_demand = max_demand_;
    options.min_demand = 0;
    options.cancel = CancelMode::temporary;
    subscribe_to(acks_, options).value();
  }
  void handle_events(const Batch<Event>& events) {
    log_.events.insert(log_.events.end(), events.begin(), events.end());
    if (acknowledges_) acknowledge(events);
  }
  void handle_cast(Crash /*cast*/) { throw std::runtime_error("keeper"); }

 private:
  Log& log_;
  ServerRef<Acks> acks_;
  std::int64_t max_demand_;
  bool acknowledges_;
};

struct AckWorld : World {
  explicit AckWorld(AckOptions<int> options = {})
      : acks(runtime.start<Acks>(std::move(options)).value()), source(runtime.start<Source>(std::ref(seen)).value()) {
    EXPECT_TRUE(subscribe_blocking(acks, ProducerRef<int>(source)));
  }
  ServerRef<Keeper> keeper(Keeper::Log& kept, std::int64_t max_demand, bool acknowledges = false) {
    const auto started = runtime.start<Keeper>(std::ref(kept), acks, max_demand, acknowledges).value();
    run();
    return started;
  }
  AckCounts counts() { return acks.call_blocking<Acks::Counts>().value(); }

  Seen seen;
  ServerRef<Acks> acks;
  ServerRef<Source> source;
};

TEST(Acknowledger, passes_events_on_and_forgets_what_is_acknowledged) {
  AckWorld world;
  Keeper::Log log;
  world.keeper(log, 10, true);
  world.cast(world.source, Source::Push{ints(1, 25)});
  EXPECT_EQ(log.values(), ints(1, 25));
  const AckCounts counts = world.counts();
  EXPECT_EQ(counts.taken, 25U);
  EXPECT_EQ(counts.acknowledged, 25U);
  EXPECT_EQ(counts.delivered + counts.queued + counts.dead + counts.redelivered, 0U);
}

TEST(Acknowledger, what_a_crashed_consumer_had_comes_again_first_and_in_order) {
  AckWorld world;
  Keeper::Log first;
  Keeper::Log second;
  const auto crashing = world.keeper(first, 5);
  world.cast(world.source, Source::Push{ints(1, 8)});
  ASSERT_EQ(first.values(), ints(1, 8));
  first.events[1].ack();  // 2
  world.run();
  world.cast(crashing, Keeper::Crash{});
  world.cast(world.source, Source::Push{ints(9, 10)});
  world.keeper(second, 100, true);
  EXPECT_EQ(second.values(), (Ints{1, 3, 4, 5, 6, 7, 8, 9, 10}));
  EXPECT_EQ(second.events.front().deliveries, 2U);
  EXPECT_EQ(second.events.back().deliveries, 1U);
  EXPECT_EQ(world.counts().redelivered, 7U);
  EXPECT_EQ(world.counts().acknowledged, 10U);
}

TEST(Acknowledger, what_is_late_comes_again_and_a_late_word_still_counts) {
  AckOptions<int> options;
  options.ack_timeout = 1s;
  AckWorld world(std::move(options));
  Keeper::Log log;
  world.keeper(log, 100);
  world.cast(world.source, Source::Push{ints(1, 2)});
  world.runtime.advance(999ms);
  log.events[0].ack();
  world.run();
  EXPECT_EQ(log.values(), ints(1, 2));
  world.runtime.advance(1ms);
  EXPECT_EQ(log.values(), (Ints{1, 2, 2}));
  log.events[1].reject();  // of the first delivery, which is over
  log.events[1].ack();
  log.events[2].ack();
  world.run();
  const AckCounts counts = world.counts();
  EXPECT_EQ(counts.acknowledged, 2U);
  EXPECT_EQ(counts.unknown, 2U);
  world.runtime.advance(1h);
  EXPECT_EQ(log.events.size(), 3U);
}

TEST(Acknowledger, a_rejected_event_comes_again_until_it_is_a_dead_letter) {
  std::vector<DeadLetter<int>> letters;
  AckOptions<int> options;
  options.deliveries_max = 3;
  options.dead_letter = [&letters](DeadLetter<int> letter) { letters.push_back(letter); };
  AckWorld world(std::move(options));
  Keeper::Log log;
  world.keeper(log, 100);
  world.cast(world.source, Source::Push{{7}});
  for (std::size_t delivery = 0; delivery < 3; ++delivery) {
    ASSERT_EQ(log.events.size(), delivery + 1);
    EXPECT_EQ(log.events[delivery].deliveries, delivery + 1);
    log.events[delivery].reject();
    world.run();
  }
  ASSERT_EQ(letters.size(), 1U);
  EXPECT_EQ(letters[0].event, 7);
  EXPECT_EQ(letters[0].deliveries, 3U);
  EXPECT_EQ(letters[0].failure, AckFailure::rejected);
  EXPECT_EQ(world.counts().dead, 1U);
  EXPECT_EQ(log.events.size(), 3U);
}

TEST(Acknowledger, a_dead_letter_without_a_handler_or_with_a_throwing_one_is_logged) {
  for (const bool throws : {false, true}) {
    AckOptions<int> options;
    options.deliveries_max = 1;
    if (throws) options.dead_letter = [](DeadLetter<int>) { throw std::runtime_error("handler"); };
    AckWorld world(std::move(options));
    Keeper::Log log;
    const auto keeper = world.keeper(log, 100);
    world.cast(world.source, Source::Push{{7}});
    world.cast(keeper, Keeper::Crash{});
    EXPECT_EQ(world.log.count(throws ? "stage.dead_letter_failed" : "stage.dead_letter_dropped"), 1U);
    EXPECT_TRUE(RuntimeBase::alive(world.acks.pid()));
    EXPECT_EQ(world.counts().dead, 1U);
  }
}

TEST(Acknowledger, no_more_is_asked_for_while_the_most_is_unacknowledged) {
  AckOptions<int> options;
  options.unacknowledged_max = 4;
  AckWorld world(std::move(options));
  Keeper::Log log;
  world.keeper(log, 100);
  EXPECT_EQ(world.seen.demands, (std::vector<std::uint64_t>{4}));
  world.cast(world.source, Source::Push{ints(1, 9)});
  EXPECT_EQ(log.values(), ints(1, 4));
  log.events[0].ack();
  world.run();
  EXPECT_EQ(log.values(), ints(1, 5));
}

TEST(Acknowledger, a_finite_input_ends_it_when_all_is_acknowledged) {
  World world;
  const auto three = range_producer(world.runtime, std::views::iota(1, 4)).value();
  const auto acks = world.runtime.start<Acks>().value();
  ASSERT_TRUE(subscribe_blocking(acks, ProducerRef<int>(three)));
  Keeper::Log log;
  static_cast<void>(world.runtime.start<Keeper>(std::ref(log), acks, 10, false).value());
  world.run();
  ASSERT_EQ(log.values(), ints(1, 3));
  EXPECT_FALSE(RuntimeBase::alive(three.pid()));
  log.events[0].ack();
  log.events[1].ack();
  world.run();
  EXPECT_TRUE(RuntimeBase::alive(acks.pid()));
  log.events[2].ack();
  world.run();
  EXPECT_EQ(world.runtime.exit_reason(acks), ExitReason::normal);
}

TEST(Acknowledger, options_out_of_range_make_the_start_fail_and_say_which) {
  World world;
  AckOptions<int> never;
  never.deliveries_max = 0;
  const auto failed = world.runtime.start<Acks>(std::move(never));
  ASSERT_FALSE(failed);
  EXPECT_NE(failed.error().message().find("deliveries_max"), std::string::npos);
  AckOptions<int> none;
  none.unacknowledged_max = 0;
  EXPECT_FALSE(world.runtime.start<Acks>(std::move(none)));
  AckOptions<int> negative;
  negative.ack_timeout = -1s;
  EXPECT_FALSE(world.runtime.start<Acks>(std::move(negative)));
}

// Random crashes, rejections, delays and acknowledgements: in the end every event is acknowledged or dead, each that
// was acknowledged was delivered at least once, none more often than allowed, and nobody was sent more than asked.
TEST(Acknowledger, every_event_is_acknowledged_or_dead_in_the_end_under_every_seed) {
  for (std::uint64_t seed = 1; seed <= seed_count(3000); ++seed) {
    SCOPED_TRACE(concat("seed ", seed));
    Random random(seed);
    std::map<int, std::uint32_t> dead;
    AckOptions<int> options;
    options.ack_timeout = random.below(2) == 0 ? Duration::zero() : Duration(1s);
    options.deliveries_max = static_cast<std::uint32_t>(1 + random.below(4));
    options.unacknowledged_max = 1 + random.below(20);
    options.dead_letter = [&dead](DeadLetter<int> letter) { dead[letter.event] = letter.deliveries; };
    const std::uint32_t deliveries_max = options.deliveries_max;
    const std::size_t unacknowledged_max = options.unacknowledged_max;
    DeterministicRuntime runtime({.seed = seed, .logger = nullptr});
    const auto acks = runtime.start<Acks>(std::move(options)).value();
    const int size = 1 + static_cast<int>(random.below(60));
    const auto input = range_producer(runtime, std::views::iota(0, size)).value();
    ASSERT_TRUE(subscribe_blocking(acks, ProducerRef<int>(input)));
    std::vector<std::unique_ptr<Keeper::Log>> logs;
    std::vector<ServerRef<Keeper>> keepers;
    for (int move = 0; move < 40 && RuntimeBase::alive(acks.pid()); ++move) {
      switch (random.below(6)) {
        case 0:
        case 1:
          logs.push_back(std::make_unique<Keeper::Log>());
          keepers.push_back(runtime
                                .start<Keeper>(std::ref(*logs.back()), acks,
                                               static_cast<std::int64_t>(1 + random.below(8)), random.below(8) == 0)
                                .value());
          break;
        case 2:
          if (!keepers.empty()) keepers[random.below(keepers.size())].cast(Keeper::Crash{});
          break;
        case 3: runtime.advance(std::chrono::milliseconds(random.below(1500))); break;
        default:
          if (logs.empty()) break;
          const Keeper::Log& log = *logs[random.below(logs.size())];
          if (log.events.empty()) break;
          const Event& event = log.events[random.below(log.events.size())];
          random.below(3) == 0 ? event.reject() : event.ack();
          break;
      }
      if (random.below(2) == 0) runtime.run_until_idle();
      if (const auto counts = acks.call_blocking<Acks::Counts>()) {
        ASSERT_LE(counts->delivered + counts->queued, unacknowledged_max);
        ASSERT_EQ(counts->taken, counts->acknowledged + counts->dead + counts->delivered + counts->queued);
      }
    }
    for (const auto& keeper : keepers) runtime.exit(keeper.pid(), ExitReason::kill);
    logs.push_back(std::make_unique<Keeper::Log>());
    const Result<ServerRef<Keeper>> last = runtime.start<Keeper>(std::ref(*logs.back()), acks, 10, true);
    ASSERT_TRUE(last);
    runtime.run_until_idle();
    ASSERT_FALSE(RuntimeBase::alive(acks.pid())) << "all is done, and the input has ended";
    ASSERT_EQ(runtime.exit_reason(acks), ExitReason::normal);
    std::map<int, std::uint32_t> delivered;
    for (const auto& log : logs) {
      for (const Event& event : log->events) ASSERT_LE(event.deliveries, deliveries_max);
      for (const Event& event : log->events) ++delivered[event.event];
    }
    for (int event = 0; event < size; ++event) ASSERT_TRUE(delivered.contains(event) || dead.contains(event));
    for (const auto& [event, deliveries] : dead) ASSERT_EQ(deliveries, deliveries_max);
  }
}

}  // namespace
}  // namespace dagverk
