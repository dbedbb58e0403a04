// Batches on their way to a far end that is a vector, on virtual time: sizes, ages, retries, shedding, crashes, ends.

#include "log_world.hpp"

#include "dagverk/log/backends/batching.hpp"
#include "dagverk/runtime/completion.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace dagverk {
namespace {

using namespace std::chrono_literals;

/// The far end, and how it behaves. Outlives the transport's starts.
struct FarEnd {
  enum class Mood : std::uint8_t { takes, fails, refuses, throws, stalls };

  Mood mood = Mood::takes;
  std::vector<std::vector<std::string>> batches;
  std::vector<SteadyTime> attempts;
  std::optional<WallTime> not_before;  ///< what it asks for
  int made = 0;

  [[nodiscard]] std::vector<std::string> lines() const {
    std::vector<std::string> all;
    for (const std::vector<std::string>& batch : batches) all.insert(all.end(), batch.begin(), batch.end());
    return all;
  }
};

class TransportToFarEnd final : public LogTransport {
 public:
  explicit TransportToFarEnd(FarEnd& far_end) : far_end_(far_end) { ++far_end_.made; }

  Async<Result<void>> send(const UploadBatch& batch, Duration limit) override {
    far_end_.attempts.push_back(this_process::runtime().clock().steady_now());
    switch (far_end_.mood) {
      case FarEnd::Mood::takes: break;
      case FarEnd::Mood::fails: co_return Error(ErrorCode::unavailable, "the far end is away");
      case FarEnd::Mood::refuses: co_return Error(ErrorCode::refused, "the far end does not want it");
      case FarEnd::Mood::throws: throw std::runtime_error("the wire has snapped");
      case FarEnd::Mood::stalls: {
        CompletionPair<Result<void>> never = make_completion<Result<void>>();
        Completion<Result<void>> waiting = std::move(never.completion).within(limit);
        const Result<void> answer = co_await std::move(waiting);
        co_return answer;
      }
    }
    std::vector<std::string> texts;
    for (const UploadLine& line : batch.lines) texts.push_back(line.text);
    far_end_.batches.push_back(texts);
    co_return Result<void>();
  }
  [[nodiscard]] Duration retry_after(WallTime now) const override {
    return far_end_.not_before ? *far_end_.not_before - now : Duration::zero();
  }

 private:
  FarEnd& far_end_;
};

struct BatchingWorld {
  explicit BatchingWorld(BatchingOptions options = {}) : queue(make_upload_queue(options).value()) {
    const auto connect = [this] { return std::make_unique<TransportToFarEnd>(far_end); };
    world.pipeline->add_backend(batching_backend("far", connect, queue, LineFormat::message_only())).value();
    start = world.runtime.clock().steady_now();
  }
  void log(int count) {
    for (int line = 0; line < count; ++line) world.log.info("line", {{"n", next++}});
    world.run();
  }
  [[nodiscard]] bool balanced() const {
    const UploadStats stats = queue->stats();
    return stats.handed == stats.sent + stats.shed + stats.refused + stats.waiting;
  }

  FarEnd far_end;
  std::shared_ptr<UploadQueue> queue;
  LogWorld world{LogWorld::quick()};
  SteadyTime start;
  int next = 0;
};

TEST(Batching, a_batch_goes_when_it_is_full) {
  BatchingWorld batching({.batch_lines_max = 100});
  batching.log(250);
  ASSERT_EQ(batching.far_end.batches.size(), 2U);
  EXPECT_EQ(batching.far_end.batches[0].size(), 100U);
  EXPECT_EQ(batching.far_end.batches[1].back(), "line n=199");
}

TEST(Batching, a_batch_goes_when_it_is_large) {
  BatchingWorld batching({.batch_bytes_max = 100});
  batching.log(30);  // 8 or 9 bytes each
  ASSERT_GE(batching.far_end.batches.size(), 2U);
  for (const std::vector<std::string>& batch : batching.far_end.batches) EXPECT_LE(batch.size(), 12U);
}

TEST(Batching, a_batch_goes_when_it_is_old) {
  BatchingWorld batching({.batch_age_max = 1s});
  batching.log(3);
  EXPECT_TRUE(batching.far_end.batches.empty());
  batching.world.runtime.advance(1s);
  ASSERT_EQ(batching.far_end.batches.size(), 1U);
  EXPECT_EQ(batching.far_end.batches[0].size(), 3U);
  batching.world.runtime.advance(10s);
  EXPECT_EQ(batching.far_end.batches.size(), 1U) << "nothing is sent for nothing";
}

TEST(Batching, a_failure_is_tried_again_after_a_growing_pause) {
  BatchingWorld batching({.batch_lines_max = 10, .retry_first = 500ms, .retry_max = 2s});
  batching.far_end.mood = FarEnd::Mood::fails;
  batching.log(10);
  batching.world.runtime.advance(8s);
  std::vector<Duration> at;
  for (const SteadyTime attempt : batching.far_end.attempts) at.push_back(attempt - batching.start);
  EXPECT_EQ(at, (std::vector<Duration>{0s, 500ms, 1500ms, 3500ms, 5500ms, 7500ms}));
  EXPECT_EQ(batching.queue->stats().last_error, "the far end is away");
  batching.far_end.mood = FarEnd::Mood::takes;
  batching.world.runtime.advance(2s);
  EXPECT_EQ(batching.far_end.lines().size(), 10U) << "nothing was lost, nothing came twice";
  EXPECT_EQ(batching.queue->stats().sent, 10U);
}

TEST(Batching, a_far_end_that_asks_for_a_longer_pause_gets_it_within_the_bound) {
  BatchingWorld batching({.batch_lines_max = 10, .retry_first = 500ms, .retry_max = 2s, .retry_after_max = 10s});
  batching.far_end.mood = FarEnd::Mood::fails;
  batching.far_end.not_before = batching.world.runtime.clock().wall_now() + 7s;
  batching.log(10);
  batching.world.runtime.advance(8500ms);
  batching.far_end.not_before = batching.world.runtime.clock().wall_now() + 1h;
  batching.world.runtime.advance(12s);
  std::vector<Duration> at;
  for (const SteadyTime attempt : batching.far_end.attempts) at.push_back(attempt - batching.start);
  // Asked for 7 s; then what it asks for has passed, and the growing pause goes on: 1 s; then an hour, which is 10 s.
  EXPECT_EQ(at, (std::vector<Duration>{0s, 7s, 8s, 10s, 20s}));
  EXPECT_TRUE(batching.balanced());
  EXPECT_EQ(make_upload_queue({.retry_after_max = -1s}).error().message(),
            "log batches: retry_after_max must be 0 or more");
}

TEST(Batching, while_the_far_end_stalls_the_oldest_are_shed_and_told_of_afterwards) {
  BatchingWorld batching({.batch_lines_max = 10, .queue_batches_max = 3, .send_timeout = 10s});
  batching.far_end.mood = FarEnd::Mood::stalls;
  for (int batch = 0; batch < 10; ++batch) {
    batching.log(10);
    batching.world.runtime.advance(1s);
  }
  EXPECT_EQ(batching.queue->stats().shed, 60U);  // one in hand, three wait
  EXPECT_EQ(batching.queue->stats().waiting, 40U);
  EXPECT_TRUE(batching.balanced());
  EXPECT_EQ(batching.world.stats("far").dropped.total(), 0U) << "the backend itself was never held up";
  batching.far_end.mood = FarEnd::Mood::takes;
  batching.world.runtime.advance(20s);
  const std::vector<std::string> lines = batching.far_end.lines();
  ASSERT_EQ(lines.size(), 41U);
  EXPECT_EQ(lines[9], "line n=9");
  EXPECT_EQ(lines[10], "log.lines_shed count=60 from=2026-01-01T00:00:01.000000Z to=2026-01-01T00:00:06.000000Z");
  EXPECT_EQ(lines[11], "line n=70");
  EXPECT_EQ(lines[40], "line n=99");
  EXPECT_TRUE(batching.balanced());
}

TEST(Batching, the_new_ones_are_shed_when_asked_to) {
  BatchingWorld batching({.batch_lines_max = 10, .queue_batches_max = 2, .keep_newest = false});
  batching.far_end.mood = FarEnd::Mood::fails;
  batching.log(100);
  batching.far_end.mood = FarEnd::Mood::takes;
  batching.world.runtime.advance(10s);
  batching.log(10);
  const std::vector<std::string> lines = batching.far_end.lines();
  EXPECT_EQ(batching.queue->stats().shed + batching.queue->stats().sent, 110U);
  EXPECT_GE(batching.queue->stats().shed, 70U);
  EXPECT_EQ(std::count(lines.begin(), lines.end(), "line n=0"), 1);
  EXPECT_EQ(std::count(lines.begin(), lines.end(), "line n=99"), 0);
  EXPECT_EQ(
      std::count_if(lines.begin(), lines.end(), [](const auto& one) { return one.starts_with("log.lines_shed"); }), 1);
  EXPECT_TRUE(batching.balanced());
}

TEST(Batching, what_the_far_end_will_never_take_is_given_up_counted_and_told_of) {
  BatchingWorld batching({.batch_lines_max = 10});
  batching.far_end.mood = FarEnd::Mood::refuses;
  batching.log(10);
  EXPECT_EQ(batching.queue->stats().refused, 10U);
  batching.far_end.mood = FarEnd::Mood::takes;
  batching.log(10);
  ASSERT_EQ(batching.far_end.lines().size(), 11U);
  EXPECT_TRUE(batching.far_end.lines()[0].starts_with("log.lines_shed count=10"));
  EXPECT_TRUE(batching.balanced());
}

TEST(Batching, an_uploader_that_crashes_is_restarted_and_loses_nothing) {
  BatchingWorld batching({.batch_lines_max = 10});
  batching.far_end.mood = FarEnd::Mood::throws;
  batching.log(25);
  batching.world.runtime.advance(100ms);
  batching.far_end.mood = FarEnd::Mood::takes;
  batching.world.runtime.advance(5s);
  EXPECT_EQ(batching.far_end.made, 2);
  EXPECT_EQ(batching.far_end.lines().size(), 25U);
  EXPECT_EQ(batching.world.stats("far").restarts, 0U) << "the backend did not notice";
}

TEST(Batching, at_the_end_what_waits_is_sent) {
  BatchingWorld batching({.batch_lines_max = 10});
  batching.log(25);
  EXPECT_TRUE(batching.world.pipeline->stop());
  EXPECT_EQ(batching.far_end.lines().size(), 25U);
  EXPECT_EQ(batching.queue->stats().sent, 25U);
}

TEST(Batching, at_the_end_a_far_end_that_stalls_costs_the_limit_and_counted_lines) {
  BatchingWorld batching({.batch_lines_max = 10, .drain_limit = 2s});
  batching.far_end.mood = FarEnd::Mood::stalls;
  batching.log(25);
  const SteadyTime before = batching.world.runtime.clock().steady_now();
  EXPECT_TRUE(batching.world.pipeline->remove_backend("far"));
  EXPECT_LE(batching.world.runtime.clock().steady_now() - before, 4s);
  EXPECT_EQ(batching.queue->stats().shed, 25U);
  EXPECT_TRUE(batching.balanced());
}

TEST(Batching, wrong_options_are_refused_by_name) {
  EXPECT_EQ(make_upload_queue({.batch_lines_max = 0}).error().message(),
            "log batches: batch_lines_max must be 1 or more, got 0");
  EXPECT_EQ(make_upload_queue({.retry_first = 2s, .retry_max = 1s}).error().code(), ErrorCode::configuration);
}

}  // namespace
}  // namespace dagverk
