// Draining: sources stop, everything on its way is handled, and the report says what is left where.

#include "dagverk/stage/drain.hpp"

#include "stages.hpp"
#include "support/seed_count.hpp"

#include "dagverk/base/random.hpp"
#include "dagverk/stage/acknowledger.hpp"
#include "dagverk/stage/consumer_supervisor.hpp"
#include "dagverk/stage/producer_consumer.hpp"
#include "dagverk/stage/push_producer.hpp"
#include "dagverk/stage/range_producer.hpp"
#include "dagverk/stage/rate_limiter.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <ranges>

namespace dagverk {
namespace {

using namespace std::chrono_literals;
using namespace stage_tests;

/// Passes each event on twice; slow when it is given a time per batch.
class Twice : public ProducerConsumer<Twice, int, int> {
 public:
  explicit Twice(Duration pause = Duration::zero()) : pause_(pause) {}
  Async<void> handle_events(Batch<int> events) {
    if (pause_ > Duration::zero()) co_await this_process::sleep(pause_);
    for (const int event : events) {
      emit(event);
      emit(event);
    }
  }

 private:
  Duration pause_;
};

/// Handles a batch in a given time, or never.
class Slow : public Consumer<Slow, int> {
 public:
  Slow(Seen& seen, Duration pause) : seen_(seen), pause_(pause) {}
  Async<void> handle_events(Batch<int> events) {
    co_await this_process::sleep(pause_);
    seen_.batches.emplace_back(events.begin(), events.end());
  }

 private:
  Seen& seen_;
  Duration pause_;
};

SubscribeOptions<int> few() { return demand(4, 2); }

TEST(Drain, a_pipeline_is_emptied_and_nothing_new_is_made) {
  World world;
  Seen seen;
  const auto numbers = range_producer(world.runtime, std::views::iota(0)).value();
  const auto twice = world.runtime.start<Twice>(10ms).value();
  const auto slow = world.runtime.start<Slow>(std::ref(seen), 30ms).value();
  ASSERT_TRUE(subscribe_blocking(twice, ProducerRef<int>(numbers), few()));
  ASSERT_TRUE(subscribe_blocking(slow, ProducerRef<int>(twice), few()));
  world.runtime.advance(200ms);
  const DrainReport report = drain_blocking(world.runtime, {numbers, twice, slow}, 10s).value();
  EXPECT_TRUE(report.drained()) << report.to_string();
  ASSERT_EQ(report.stages.size(), 3U);
  for (const StageDrain& stage : report.stages) {
    EXPECT_EQ(stage.left, 0U);
    EXPECT_EQ(stage.why, "drained");
  }
  EXPECT_GT(report.took, 0ms);
  const Ints all = seen.events();
  ASSERT_FALSE(all.empty());
  EXPECT_EQ(all.size() % 2, 0U);
  for (std::size_t index = 0; index < all.size(); ++index) EXPECT_EQ(all[index], static_cast<int>(index / 2));
  world.runtime.advance(10s);
  EXPECT_EQ(seen.events().size(), all.size());
  for (const Pid stage : {numbers.pid(), twice.pid(), slow.pid()}) EXPECT_TRUE(RuntimeBase::alive(stage));
}

TEST(Drain, at_the_deadline_it_says_what_is_left_where) {
  World world;
  Seen seen;
  const auto source = world.source(std::ref(seen));
  const auto sink = world.sink(seen, source, manual());
  source.cast(Source::Push{ints(1, 5)});
  const DrainReport report = drain_blocking(world.runtime, {source, sink}, 1s).value();
  EXPECT_FALSE(report.drained());
  EXPECT_FALSE(report.stages[0].drained);
  EXPECT_EQ(report.stages[0].left, 5U);
  EXPECT_EQ(report.stages[0].why, "at the deadline: 5 waited for demand");
  EXPECT_EQ(report.took, 1s);
  // What was in the way goes away later: the stages were not blocked.
  world.cast(sink, Sink::Ask{5});
  EXPECT_EQ(seen.events(), ints(1, 5));
}

TEST(Drain, a_consumer_that_hangs_is_named_with_what_it_has) {
  World world;
  Seen seen;
  const auto numbers = range_producer(world.runtime, std::views::iota(0)).value();
  const auto slow = world.runtime.start<Slow>(std::ref(seen), 1h).value();
  ASSERT_TRUE(subscribe_blocking(slow, ProducerRef<int>(numbers), few()));
  world.run();
  const DrainReport report = drain_blocking(world.runtime, {numbers, slow}, 1s).value();
  EXPECT_TRUE(report.stages[0].drained);
  EXPECT_FALSE(report.stages[1].drained);
  EXPECT_EQ(report.stages[1].left, 4U);
  EXPECT_EQ(report.stages[1].why, "at the deadline: 4 were not handled");
}

TEST(Drain, a_stage_that_has_ended_is_no_obstacle) {
  World world;
  Seen seen;
  const auto three = range_producer(world.runtime, std::views::iota(0, 3)).value();
  const auto sink = world.sink(seen, three, ending(CancelMode::temporary));
  const DrainReport report = drain_blocking(world.runtime, {three, sink}, 1s).value();
  EXPECT_TRUE(report.drained()) << report.to_string();
  EXPECT_EQ(report.stages[0].why.substr(0, 12), "not running:");
}

TEST(Drain, pushes_are_refused_from_then_on_and_what_was_queued_leaves) {
  World world;
  Seen seen;
  const auto pushes = world.runtime.start<PushProducer<int>>().value();
  async_notify(pushes, make_batch(ints(1, 3)));
  world.run();
  const auto sink = world.sink(seen, pushes, manual());
  Result<DrainReport> report = Error(ErrorCode::internal);
  world.runtime.spawn([&]() -> Async<void> {
    std::vector<StageRef> stages{pushes, sink};
    Async<Result<DrainReport>> draining = drain(std::move(stages), 10s);
    report = co_await draining;
  });
  world.run();
  async_notify(pushes, 4);
  EXPECT_EQ(sync_notify_blocking(pushes, 5).error().code(), ErrorCode::shutting_down);
  EXPECT_FALSE(report);
  world.cast(sink, Sink::Ask{10});
  EXPECT_EQ(seen.events(), ints(1, 3));
  ASSERT_TRUE(report);
  EXPECT_TRUE(report->drained());
  EXPECT_EQ(pushes.call_blocking<PushProducer<int>::Counts>()->discarded_halted, 2U);
}

TEST(Drain, a_stage_that_emits_by_itself_is_told) {
  struct Ticker : Producer<Ticker, int> {
    struct Tick {};
    void init() { send_after(10ms, Tick{}); }
    void handle_info(Tick /*tick*/) {
      if (told_) return;
      emit(next_++);
      send_after(10ms, Tick{});
    }
    void handle_drain() { told_ = true; }
    int next_ = 0;
    bool told_ = false;
  };
  World world;
  Seen seen;
  const auto ticker = world.runtime.start<Ticker>().value();
  const auto sink = world.sink(seen, ticker);
  world.runtime.advance(35ms);
  EXPECT_TRUE(drain_blocking(world.runtime, {ticker, sink}, 1s)->drained());
  EXPECT_EQ(seen.events(), ints(0, 2));
  world.runtime.advance(1s);
  EXPECT_EQ(seen.events(), ints(0, 2));
}

TEST(Drain, ready_made_stages_pass_on_what_they_keep) {
  World world;
  Seen seen;
  const auto source = world.source(std::ref(seen));
  const auto limiter = world.runtime.start<RateLimiter<int>>(RateLimit{.events = 10, .per = 1s, .burst = 2}).value();
  ASSERT_TRUE(subscribe_blocking(limiter, ProducerRef<int>(source)));
  int handled = 0;
  const auto children = world.runtime
                            .start<ConsumerSupervisor<int>>(child_running<int>([&handled](int) -> Async<void> {
                              co_await this_process::sleep(500ms);
                              ++handled;
                            }))
                            .value();
  ASSERT_TRUE(subscribe_blocking(children, ProducerRef<int>(limiter)));
  world.cast(source, Source::Push{ints(1, 6)});
  DrainReport report = drain_blocking(world.runtime, {source, limiter, children}, 150ms).value();
  EXPECT_FALSE(report.drained());
  EXPECT_EQ(report.stages[0].left, 3U) << report.to_string();  // two at once, one after 100 ms
  report = drain_blocking(world.runtime, {source, limiter, children}, 10s).value();
  EXPECT_TRUE(report.drained()) << report.to_string();
  EXPECT_EQ(handled, 6);
}

TEST(Drain, an_acknowledger_waits_for_its_acknowledgements) {
  struct Holder : Consumer<Holder, Acknowledged<int>> {
    explicit Holder(std::vector<Acknowledged<int>>& events) : events_(events) {}
    void handle_events(const Batch<Acknowledged<int>>& events) {
      events_.insert(events_.end(), events.begin(), events.end());
    }
    std::vector<Acknowledged<int>>& events_;
  };
  World world;
  Seen seen;
  std::vector<Acknowledged<int>> held;
  const auto source = world.source(std::ref(seen));
  AckOptions<int> options;
  options.ack_timeout = Duration::zero();
  const auto acks = world.runtime.start<Acknowledger<int>>(std::move(options)).value();
  const auto holder = world.runtime.start<Holder>(std::ref(held)).value();
  ASSERT_TRUE(subscribe_blocking(acks, ProducerRef<int>(source)));
  ASSERT_TRUE(subscribe_blocking(holder, ProducerRef<Acknowledged<int>>(acks)));
  world.cast(source, Source::Push{ints(1, 2)});
  DrainReport report = drain_blocking(world.runtime, {source, acks, holder}, 1s).value();
  EXPECT_FALSE(report.stages[1].drained);
  EXPECT_EQ(report.stages[1].left, 2U);
  held.front().ack();
  held.back().ack();
  report = drain_blocking(world.runtime, {source, acks, holder}, 1s).value();
  EXPECT_TRUE(report.drained()) << report.to_string();
}

// Random pipelines drained at a random moment: what the source made and what the sink handled are the same, and a
// second look long afterwards finds nothing more.
TEST(Drain, what_was_made_was_handled_under_every_seed) {
  for (std::uint64_t seed = 1; seed <= seed_count(2000); ++seed) {
    SCOPED_TRACE(concat("seed ", seed));
    DeterministicRuntime runtime({.seed = seed, .logger = nullptr});
    Random random(seed);
    const auto options = [&] {
      const auto max = static_cast<std::int64_t>(1 + random.below(20));
      return demand(max, static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(max))));
    };
    int made = 0;
    const auto numbers = generator_producer(runtime, [&made]() -> std::optional<int> { return made++; }).value();
    std::vector<StageRef> stages{numbers};
    ProducerRef<int> last = numbers;
    std::size_t factor = 1;
    for (std::uint64_t stage = random.below(3); stage != 0; --stage) {
      const auto twice = runtime.start<Twice>(std::chrono::milliseconds(random.below(3))).value();
      ASSERT_TRUE(subscribe_blocking(twice, last, options()));
      stages.emplace_back(twice);
      last = twice;
      factor *= 2;
    }
    Seen seen;
    for (std::uint64_t sink = 1 + random.below(3); sink != 0; --sink) {
      const auto slow = runtime.start<Slow>(std::ref(seen), std::chrono::milliseconds(1 + random.below(5))).value();
      ASSERT_TRUE(subscribe_blocking(slow, last, options()));
      stages.emplace_back(slow);
    }
    runtime.advance(std::chrono::milliseconds(random.below(30)));
    for (std::uint64_t steps = random.below(50); steps != 0; --steps) runtime.step();
    const DrainReport report = drain_blocking(runtime, stages, 1h).value();
    ASSERT_TRUE(report.drained()) << report.to_string();
    const std::size_t handled = seen.events().size();
    ASSERT_EQ(handled, static_cast<std::size_t>(made) * factor);
    runtime.advance(1min);
    ASSERT_EQ(seen.events().size(), handled);
  }
}

}  // namespace
}  // namespace dagverk
