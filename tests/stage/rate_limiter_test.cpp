// Rate limits: the bucket's arithmetic, and a stage that never lets more pass, under virtual time.

#include "dagverk/stage/rate_limiter.hpp"

#include "stages.hpp"
#include "support/seed_count.hpp"

#include "dagverk/base/random.hpp"
#include "dagverk/stage/range_producer.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <ranges>

namespace dagverk {
namespace {

using namespace std::chrono_literals;
using namespace stage_tests;

using Limiter = RateLimiter<int>;

constexpr SteadyTime start{};

TEST(TokenBucket, is_full_at_first_and_fills_at_its_rate) {
  TokenBucket bucket = TokenBucket::make({.events = 10, .per = 1s, .burst = 3}, start).value();
  EXPECT_EQ(bucket.available(start), 3U);
  EXPECT_EQ(bucket.until_next(), 0ns);
  bucket.spend(3);
  EXPECT_EQ(bucket.available(start), 0U);
  EXPECT_EQ(bucket.until_next(), 100ms);
  EXPECT_EQ(bucket.until_full(), 300ms);
  EXPECT_EQ(bucket.available(start + 100ms - 1ns), 0U);
  EXPECT_EQ(bucket.until_next(), 1ns);
  EXPECT_EQ(bucket.available(start + 100ms), 1U);
  EXPECT_EQ(bucket.available(start + 10h), 3U);
}

TEST(TokenBucket, a_burst_of_one_waits_for_its_only_token) {
  TokenBucket bucket = TokenBucket::make({.events = 10, .per = 1s, .burst = 1}, start).value();
  bucket.spend(bucket.available(start));
  EXPECT_EQ(bucket.available(start + 50ms), 0U);
  EXPECT_EQ(bucket.until_next(), 50ms);
  EXPECT_EQ(bucket.available(start + 100ms), 1U);
}

TEST(TokenBucket, loses_no_fraction_of_a_token) {
  TokenBucket bucket = TokenBucket::make({.events = 3, .per = 1s, .burst = 100}, start).value();
  bucket.spend(100);
  std::uint64_t spent = 0;
  for (int tick = 1; tick <= 1'000'000; ++tick) {
    const std::uint64_t count = bucket.available(start + tick * 1us);
    bucket.spend(count);
    spent += count;
  }
  EXPECT_EQ(spent, 3U);  // exactly one second
}

TEST(TokenBucket, bad_limits_are_refused_by_name) {
  const auto error_of = [](const RateLimit& limit) {
    const Result<TokenBucket> made = TokenBucket::make(limit, start);
    return made ? std::string() : std::string(made.error().message());
  };
  EXPECT_NE(error_of({.events = 0}).find("events must be"), std::string::npos);
  EXPECT_NE(error_of({.events = 1, .per = 0s}).find("per must be"), std::string::npos);
  EXPECT_NE(error_of({.events = 1, .per = 24h, .burst = 1'000'000'000}).find("burst must be"), std::string::npos);
  EXPECT_EQ(error_of({.events = 1'000'000'000}), "");
}

/// Notes when each event came.
class Timed : public Consumer<Timed, int> {
 public:
  struct Log {
    std::vector<std::pair<SteadyTime, int>> events;
  };
  Timed(Log& log, ProducerRef<int> producer, SubscribeOptions<int> options = {})
      : log_(log), producer_(producer), options_(std::move(options)) {}
  void init() { subscribe_to(producer_, options_).value(); }
  void handle_events(Batch<int> events) {
    const SteadyTime now = this_process::runtime().clock().steady_now();
    for (const int event : events) log_.events.emplace_back(now, event);
  }

 private:
  Log& log_;
  ProducerRef<int> producer_;
  SubscribeOptions<int> options_;
};

TEST(RateLimiter, passes_the_burst_at_once_then_one_by_one_in_time) {
  World world;
  Timed::Log log;
  const auto numbers = range_producer(world.runtime, std::views::iota(0)).value();
  const auto limiter = world.runtime.start<Limiter>(RateLimit{.events = 10, .per = 1s, .burst = 4}).value();
  ASSERT_TRUE(subscribe_blocking(limiter, ProducerRef<int>(numbers)));
  const SteadyTime begin = world.runtime.clock().steady_now();
  static_cast<void>(world.runtime.start<Timed>(std::ref(log), ProducerRef<int>(limiter)).value());
  world.run();
  EXPECT_EQ(log.events.size(), 4U);
  world.runtime.advance(1s);
  ASSERT_EQ(log.events.size(), 14U);
  for (int index = 0; index < 14; ++index) {
    const auto& [time, event] = log.events[static_cast<std::size_t>(index)];
    EXPECT_EQ(event, index);
    EXPECT_EQ(time - begin, std::max(0, index - 3) * 100ms);
  }
}

TEST(RateLimiter, asks_upstream_for_no_more_than_may_pass) {
  World world;
  Seen source_seen;
  Seen sink_seen;
  const auto source = world.source(std::ref(source_seen));
  const auto limiter = world.runtime.start<Limiter>(RateLimit{.events = 10, .per = 1s, .burst = 4}).value();
  ASSERT_TRUE(subscribe_blocking(limiter, ProducerRef<int>(source)));
  world.run();
  EXPECT_TRUE(source_seen.demands.empty()) << "nobody wants anything yet";
  const auto sink = world.sink(sink_seen, limiter, manual());
  world.cast(sink, Sink::Ask{3});
  EXPECT_EQ(source_seen.demands, (std::vector<std::uint64_t>{3}));
  world.cast(sink, Sink::Ask{3});
  EXPECT_EQ(source_seen.demands, (std::vector<std::uint64_t>{3, 1}));
  world.runtime.advance(1h);
  EXPECT_EQ(source_seen.demands.size(), 2U) << "the bucket is full and what was asked has not come";
  world.cast(source, Source::Push{ints(1, 4)});
  EXPECT_EQ(sink_seen.events(), ints(1, 4));
  world.runtime.advance(100ms);
  EXPECT_EQ(source_seen.demands, (std::vector<std::uint64_t>{3, 1, 1}));
}

TEST(RateLimiter, a_finite_input_ends_it_behind_its_last_event) {
  World world;
  Seen seen;
  const auto seven = range_producer(world.runtime, std::views::iota(0, 7)).value();
  const auto limiter = world.runtime.start<Limiter>(RateLimit{.events = 1, .per = 1s, .burst = 2}).value();
  ASSERT_TRUE(subscribe_blocking(limiter, ProducerRef<int>(seven)));
  const auto sink = world.sink(seen, limiter);
  EXPECT_EQ(seen.events(), ints(0, 1));
  world.runtime.advance(10s);
  EXPECT_EQ(seen.events(), ints(0, 6));
  EXPECT_EQ(world.runtime.exit_reason(limiter), ExitReason::normal);
  EXPECT_EQ(world.runtime.exit_reason(sink), ExitReason::normal);
  EXPECT_EQ(world.runtime.process_count(), 0U);
}

TEST(RateLimiter, a_quiet_producer_does_not_hold_up_a_busy_one) {
  World world;
  Seen source_seen;
  Seen seen;
  const auto quiet = world.source(std::ref(source_seen));
  const auto busy = range_producer(world.runtime, std::views::iota(0)).value();
  const auto limiter = world.runtime.start<Limiter>(RateLimit{.events = 5, .per = 1s, .burst = 5}).value();
  ASSERT_TRUE(subscribe_blocking(limiter, ProducerRef<int>(quiet)));
  ASSERT_TRUE(subscribe_blocking(limiter, ProducerRef<int>(busy)));
  world.sink(seen, limiter);
  world.runtime.advance(2s);
  EXPECT_EQ(seen.events(), ints(0, 14));
}

TEST(RateLimiter, a_limit_out_of_range_makes_the_start_fail_and_says_why) {
  World world;
  const auto failed = world.runtime.start<Limiter>(RateLimit{.events = 0});
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code(), ErrorCode::exited);
  EXPECT_NE(failed.error().message().find("events must be 1.."), std::string::npos);
}

// Random producers, consumers, demand, crashes and pauses: in every stretch of time no more passes than burst + rate *
// time, events of one producer keep their order, none is there twice, and what may pass passes.
TEST(RateLimiter, never_more_than_burst_plus_rate_times_time_in_any_interval_under_every_seed) {
  for (std::uint64_t seed = 1; seed <= seed_count(2000); ++seed) {
    SCOPED_TRACE(concat("seed ", seed));
    DeterministicRuntime runtime({.seed = seed, .logger = nullptr});
    Random random(seed);
    const RateLimit limit{.events = 1 + random.below(20),
                          .per = std::chrono::milliseconds(1 + random.below(1000)),
                          .burst = 1 + random.below(10)};
    const auto limiter = runtime.start<Limiter>(limit).value();
    Seen source_seen;
    const auto source = runtime.start<Source>(std::ref(source_seen)).value();
    ASSERT_TRUE(subscribe_blocking(limiter, ProducerRef<int>(source)));
    const bool two = random.below(2) == 0;
    if (two) {
      const auto endless = range_producer(runtime, std::views::iota(1'000'000)).value();
      ASSERT_TRUE(subscribe_blocking(limiter, ProducerRef<int>(endless)));
    }
    std::vector<std::unique_ptr<Timed::Log>> logs;
    std::vector<ServerRef<Timed>> consumers;
    int next = 0;
    for (int move = 0; move < 30; ++move) {
      switch (random.below(5)) {
        case 0:
          source.cast(Source::Push{ints(next, next + static_cast<int>(random.below(8)))});
          next = next + 8;
          break;
        case 1:
          if (logs.size() < 3) {
            logs.push_back(std::make_unique<Timed::Log>());
            const auto max = static_cast<std::int64_t>(1 + random.below(12));
            consumers.push_back(
                runtime.start<Timed>(std::ref(*logs.back()), ProducerRef<int>(limiter), demand(max, 0)).value());
          }
          break;
        case 2:
          if (!consumers.empty() && random.below(4) == 0) {
            runtime.exit(consumers[random.below(consumers.size())].pid(), ExitReason::kill);
          }
          break;
        case 3: runtime.advance(std::chrono::milliseconds(random.below(300))); break;
        default: runtime.run_until_idle(); break;
      }
    }
    runtime.run_until_idle();
    std::vector<std::pair<SteadyTime, int>> passed;
    for (const auto& log : logs) {
      Ints low;
      Ints high;
      for (const auto& [time, event] : log->events) (event < 1'000'000 ? low : high).push_back(event);
      ASSERT_TRUE(std::ranges::is_sorted(low) && std::ranges::is_sorted(high));
      passed.insert(passed.end(), log->events.begin(), log->events.end());
    }
    std::ranges::sort(passed);
    for (std::size_t first = 0; first < passed.size(); ++first) {
      for (std::size_t last = first; last < passed.size(); ++last) {
        const auto time = static_cast<std::uint64_t>((passed[last].first - passed[first].first).count());
        const auto per = static_cast<std::uint64_t>(limit.per.count());
        ASSERT_LE((last - first + 1 - std::min(last - first + 1, limit.burst)) * per, time * limit.events);
      }
    }
    // A last consumer that wants all: with an endless producer the rate is reached to the event.
    for (const auto& consumer : consumers) runtime.exit(consumer.pid(), ExitReason::kill);
    Timed::Log log;
    static_cast<void>(runtime.start<Timed>(std::ref(log), ProducerRef<int>(limiter), demand(1000, 500)).value());
    runtime.run_until_idle();
    if (!two) continue;
    runtime.advance(limit.per * 10);
    const std::size_t before = log.events.size();
    runtime.advance(limit.per * 3);
    ASSERT_GE(log.events.size() - before + 1, 3 * limit.events);  // a timer may be late by the nanosecond it is cut to
  }
}

}  // namespace
}  // namespace dagverk
