// The wheel against a sorted list: same order, same cancellations, whatever the deadlines.

#include "runtime/timer_queue.hpp"

#include "dagverk/base/random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <vector>

namespace dagverk::detail {
namespace {

int discarded = 0;

/// A node that carries a number and counts when it is thrown away.
struct NumberNode {
  static bool run(Node* /*node*/, ProcessCore& /*core*/) { return true; }
  static void discard(Node* node, const ExitReason& /*reason*/) noexcept {
    ++discarded;
    free_node(node);
  }
  static constexpr NodeOps ops{&run, &discard, "number", NodeClass::message};
};

std::uint64_t take_number(Node* node) {
  const std::uint64_t number = payload_of<std::uint64_t>(node);
  free_node(node);
  return number;
}

TEST(TimerQueue, fires_in_exact_order_and_never_early_for_random_deadlines_and_cancellations) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(seed);
    Random random(seed);
    SteadyTime now{std::chrono::hours(30)};
    TimerQueue queue(now);
    std::map<std::pair<SteadyTime, std::uint64_t>, TimerSlot> expected;  // by deadline and order of arming
    std::uint64_t next_number = 0;
    for (int step = 0; step < 400; ++step) {
      const std::uint64_t choice = random.below(10);
      if (choice < 6) {
        // From nanoseconds to a year off, and sometimes in the past.
        const auto span = static_cast<Duration::rep>(random.next() >> (9 + random.below(50)));
        const SteadyTime deadline = now + Duration(span) - Duration(random.below(8) == 0 ? 1'000'000 : 0);
        const std::uint64_t number = next_number++;
        expected[{deadline, number}] = queue.arm(deadline, Pid(), make_node<std::uint64_t>(NumberNode::ops, number));
      } else if (choice < 8 && !expected.empty()) {
        auto victim = expected.begin();
        std::advance(victim, static_cast<std::ptrdiff_t>(random.below(expected.size())));
        ASSERT_EQ(queue.cancel(victim->second), victim->first.first);
        ASSERT_EQ(queue.cancel(victim->second), std::nullopt);
        expected.erase(victim);
      } else {
        now += Duration(static_cast<Duration::rep>(random.next() >> (14 + random.below(45))));
        std::vector<TimerQueue::Due> due;
        queue.take_due(now, 1'000, due);
        for (const TimerQueue::Due& timer : due) {
          ASSERT_FALSE(expected.empty());
          ASSERT_LE(expected.begin()->first.first, now);
          ASSERT_EQ(take_number(timer.node), expected.begin()->first.second);
          expected.erase(expected.begin());
        }
        ASSERT_TRUE(expected.empty() || expected.begin()->first.first > now);
      }
      ASSERT_EQ(queue.next().has_value(), !expected.empty());
      if (!expected.empty()) {
        ASSERT_LE(*queue.next(), expected.begin()->first.first);
      }
    }
  }
}

TEST(TimerQueue, what_is_pending_at_the_end_is_discarded) {
  discarded = 0;
  {
    TimerQueue queue(SteadyTime{});
    for (std::uint64_t number = 0; number < 10; ++number) {
      static_cast<void>(queue.arm(SteadyTime(std::chrono::seconds(number)), Pid(),
                                  make_node<std::uint64_t>(NumberNode::ops, number)));
    }
  }
  EXPECT_EQ(discarded, 10);
}

}  // namespace
}  // namespace dagverk::detail
