// When a reader of a trickling mailbox pauses, in cycles that the test makes up.

#include "runtime/trickle.hpp"

#include <gtest/gtest.h>

namespace dagverk::detail {
namespace {

constexpr std::uint64_t window = 1000;
constexpr int reader = 0;
constexpr int other = 0;

/// Looks `times` times, `apart` cycles from one another, finding `found` each time. How often it was to pause, and did.
int look(Trickle& trickle, std::uint64_t& now, int times, std::uint32_t found, std::uint64_t apart = window / 10,
         const void* who = &reader) {
  int pauses = 0;
  for (int index = 0; index < times; ++index) {
    now += apart;
    if (!trickle.should_pause(who, found, now)) continue;
    ++pauses;
    now += window;
    trickle.has_paused(now);
  }
  return pauses;
}

TEST(Trickle, a_run_of_looks_that_find_few_begins_it) {
  Trickle trickle(window);
  std::uint64_t now = 1'000'000;
  EXPECT_EQ(look(trickle, now, 4, 1), 0);  // the first is not close to any
  EXPECT_EQ(look(trickle, now, 1, 1), 1);
}

TEST(Trickle, many_messages_a_distance_or_another_reader_break_the_run) {
  Trickle trickle(window);
  std::uint64_t now = 1'000'000;
  for (int round = 0; round < 10; ++round) {
    EXPECT_EQ(look(trickle, now, 3, 1), 0);
    EXPECT_EQ(look(trickle, now, 1, 16), 0);
    EXPECT_EQ(look(trickle, now, 3, 1), 0);
    EXPECT_EQ(look(trickle, now, 1, 1, window), 0);
    EXPECT_EQ(look(trickle, now, 3, 1), 0);
    EXPECT_EQ(look(trickle, now, 1, 16, 1, &other), 0);
  }
}

TEST(Trickle, while_pauses_help_there_is_one_at_every_look) {
  Trickle trickle(window);
  std::uint64_t now = 1'000'000;
  ASSERT_EQ(look(trickle, now, 5, 1), 1);
  EXPECT_EQ(look(trickle, now, 100, 16), 100);
  EXPECT_EQ(look(trickle, now, 100, 255, 3 * window), 100);
}

TEST(Trickle, a_reader_that_is_behind_does_not_pause) {
  Trickle trickle(window);
  std::uint64_t now = 1'000'000;
  ASSERT_EQ(look(trickle, now, 5, 1), 1);
  EXPECT_EQ(look(trickle, now, 100, 256), 0);
  EXPECT_EQ(look(trickle, now, 4, 1), 1);  // it may begin again
}

TEST(Trickle, senders_that_wait_for_answers_are_left_alone_for_long) {
  Trickle trickle(window);
  std::uint64_t now = 1'000'000;
  ASSERT_EQ(look(trickle, now, 5, 1), 1);
  // The pause brought no more, so it was in vain: one in 69 looks from then on.
  EXPECT_EQ(look(trickle, now, 68, 2), 0);
  EXPECT_EQ(look(trickle, now, 1, 2), 1);
  EXPECT_EQ(look(trickle, now, 69, 2), 1);
  // A big batch in between changes nothing about that.
  EXPECT_EQ(look(trickle, now, 1, 2), 0);
  EXPECT_EQ(look(trickle, now, 1, 300), 0);
  EXPECT_EQ(look(trickle, now, 60, 2), 0);
}

}  // namespace
}  // namespace dagverk::detail
