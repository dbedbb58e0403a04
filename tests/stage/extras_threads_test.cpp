// Pushes, streams and draining on real threads.

#include "dagverk/runtime/runtime.hpp"
#include "dagverk/stage/drain.hpp"
#include "dagverk/stage/push_producer.hpp"
#include "dagverk/stage/range_producer.hpp"
#include "dagverk/stage/stream.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <ranges>
#include <thread>
#include <vector>

namespace dagverk {
namespace {

using namespace std::chrono_literals;

TEST(StageThreads, what_four_threads_push_is_read_once_and_in_each_ones_order) {
  constexpr int each = 5000;
  Runtime runtime({.logger = &null_logger()});
  const PushOptions roomy{.unheard = {.rule = PushRule::wait, .size = 4 * each},
                          .heard = {.rule = PushRule::wait, .size = 64}};
  const auto pushes = runtime.start<PushProducer<int>>(roomy).value();
  auto reading = stream(pushes).value();
  std::atomic<int> refused{0};
  std::vector<std::jthread> pushers;
  for (int thread = 0; thread < 4; ++thread) {
    pushers.emplace_back([&, thread] {
      for (int event = 0; event < each; ++event) {
        if (!sync_notify_blocking(pushes, thread * each + event, 60s)) refused.fetch_add(1);
      }
    });
  }
  std::array<int, 4> next{};
  int left = 4 * each;
  for (const int event : reading.blocking()) {
    EXPECT_EQ(event % each, next[static_cast<std::size_t>(event / each)]++);
    if (--left == 0) break;
  }
  pushers.clear();
  EXPECT_EQ(refused.load(), 0);
  EXPECT_EQ(left, 0);
}

TEST(StageThreads, streams_that_are_left_early_leave_no_process_behind) {
  Runtime runtime({.logger = &null_logger()});
  const auto endless = range_producer(runtime, std::views::iota(0)).value();
  const std::size_t processes = runtime.process_count();
  for (int round = 0; round < 200; ++round) {
    auto numbers = stream(endless).value();
    int taken = 0;
    for (const int number : numbers.blocking()) {
      EXPECT_GE(number, 0);
      if (++taken >= round) break;
    }
    ASSERT_TRUE(numbers.close_blocking());
  }
  const auto drained = drain_blocking(runtime, {endless}, 10s);
  ASSERT_TRUE(drained);
  EXPECT_TRUE(drained->drained());
  EXPECT_LE(runtime.process_count(), processes + 2);  // the last stream's and the drain's may be about to go
}

}  // namespace
}  // namespace dagverk
