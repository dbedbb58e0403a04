// The parts of event managers that need no process.

#include "dagverk/event/detail/backlog.hpp"
#include "dagverk/event/detail/handler_progress.hpp"
#include "dagverk/event/event_kinds.hpp"
#include "dagverk/event/event_stats.hpp"
#include "dagverk/event/overflow_rule.hpp"
#include "dagverk/event/restart_policy.hpp"

#include <gtest/gtest.h>

#include <string>
#include <variant>
#include <vector>

namespace dagverk {
namespace {

using namespace std::chrono_literals;

struct Red {};
struct Green {};
struct Blue {};
using Colour = std::variant<Red, Green, Blue>;

TEST(EventKinds, each_alternative_of_a_variant_is_a_kind_and_any_other_type_has_one) {
  EXPECT_EQ((kind_of<Colour, Green>), 1U);
  EXPECT_EQ(EventKind<Colour>::of(Blue{}), 2U);
  EXPECT_EQ(EventKind<int>::of(7), 0U);
  constexpr EventKinds some = EventKinds::of<Colour, Red, Blue>();
  EXPECT_TRUE(some.contains(0));
  EXPECT_FALSE(some.contains(1));
  EXPECT_TRUE(some.contains(2));
  EXPECT_EQ((EventKinds::of<Colour>()), EventKinds::none());
  EXPECT_EQ((EventKinds::of<Colour, Green>() | some) & EventKinds::all(), EventKinds::from_word(7));
}

TEST(OverflowRule, says_what_it_is_and_refuses_to_keep_nothing) {
  EXPECT_EQ(to_string(OverflowRule(KeepNewest{5})), "keep_newest(5)");
  EXPECT_EQ(to_string(OverflowRule(WaitWhenFull{})), "wait");
  EXPECT_EQ(to_string(OverflowRule(KeepOldest{7})), "keep_oldest(7)");
  EXPECT_EQ(to_string(OverflowRule(Sample{.every = 10})), "sample(1/10)");
  EXPECT_TRUE(check(KeepNewest{1}, "h"));
  const Result<void> refused = check(KeepNewest{0}, "mail");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::configuration);
  EXPECT_NE(refused.error().message().find("mail"), std::string_view::npos);
  EXPECT_TRUE(check(Sample{}, "h"));
  for (const OverflowRule& rule : {OverflowRule(KeepOldest{0}), OverflowRule(Sample{.every = 0}),
                                   OverflowRule(Sample{.every = 1, .events_max = 0})}) {
    EXPECT_FALSE(check(rule, "mail")) << to_string(rule);
  }
}

TEST(HandlerRestarts, waits_50_ms_and_doubles_to_its_limit) {
  HandlerRestarts history(HandlerRestartPolicy{.delay_max = 300ms, .crashes_max = 0});
  SteadyTime now{};
  std::vector<Duration> delays;
  for (int crash = 0; crash < 5; ++crash) delays.push_back(history.crashed(now += 1s).value());
  EXPECT_EQ(delays, (std::vector<Duration>{50ms, 100ms, 200ms, 300ms, 300ms}));
}

TEST(HandlerRestarts, a_quiet_time_resets_the_wait) {
  HandlerRestarts history(HandlerRestartPolicy{});
  SteadyTime now{};
  EXPECT_EQ(history.crashed(now), 50ms);
  EXPECT_EQ(history.crashed(now += 59s), 100ms);
  EXPECT_EQ(history.crashed(now += 60s), 50ms);
}

TEST(HandlerRestarts, the_tenth_crash_within_sixty_seconds_is_the_last_and_forgetting_starts_anew) {
  HandlerRestarts history(HandlerRestartPolicy{});
  SteadyTime now{};
  for (int crash = 1; crash <= 9; ++crash) EXPECT_TRUE(history.crashed(now += 6s)) << crash;
  EXPECT_FALSE(history.crashed(now += 6s));
  history.forget();
  EXPECT_EQ(history.crashed(now), 50ms);

  HandlerRestarts slower(HandlerRestartPolicy{});
  for (int crash = 1; crash <= 30; ++crash) EXPECT_TRUE(slower.crashed(now += 7s)) << crash;
}

TEST(HandlerRestarts, a_first_wait_beyond_the_limit_is_the_limit) {
  HandlerRestarts history(HandlerRestartPolicy{.delay_first = 1h, .delay_max = 2s, .crashes_max = 0});
  EXPECT_EQ(history.crashed(SteadyTime{}), 2s);
  EXPECT_EQ(history.crashed(SteadyTime{} + 1s), 2s);
}

TEST(HandlerProgress, counts_in_one_word_and_sees_the_managers_marks) {
  detail::HandlerProgress progress;
  EXPECT_TRUE(progress.looks_at(3, 5));
  EXPECT_TRUE(progress.delivered(16'384));
  EXPECT_TRUE(progress.filtered(100));
  detail::HandlerProgress::View view = progress.view();
  EXPECT_EQ(view.delivered, 16'384U);
  EXPECT_EQ(view.filtered, 100U);
  EXPECT_EQ(view.settled(), 16'484U);
  EXPECT_EQ(view.failing_offset, 3U);
  EXPECT_EQ(view.failing_count, 5U);

  progress.ask_to_end();
  EXPECT_FALSE(progress.may_go_on());
  EXPECT_FALSE(progress.delivered(1)) << "counted, and told to end";
  EXPECT_EQ(progress.view().delivered, 16'385U);
  EXPECT_FALSE(progress.looks_at(1, 2)) << "user code is not to begin";
  progress.looks_away();
  EXPECT_EQ(progress.give_up().failing_count, 0U);
  progress.restart_count();
  EXPECT_EQ(progress.view().settled(), 0U);
  EXPECT_FALSE(progress.may_go_on()) << "the marks stay";
}

std::vector<int> all_of(const std::vector<detail::TimedBatch<int>>& batches) {
  std::vector<int> events;
  for (const auto& batch : batches) events.insert(events.end(), batch.events.begin(), batch.events.end());
  return events;
}

TEST(Backlog, takes_drops_and_puts_back_across_batches) {
  const SteadyTime start{};
  detail::Backlog<int> buffer;
  buffer.push(make_batch({1, 2, 3}), start);
  buffer.push(Batch<int>(), start);
  buffer.push(make_batch({4, 5, 6, 7}), start + 1s);
  EXPECT_EQ(buffer.size(), 7U);
  EXPECT_EQ(buffer.came_at(2), start);
  EXPECT_EQ(buffer.came_at(3), start + 1s);
  EXPECT_EQ(buffer.came_at(7), std::nullopt);

  std::vector<detail::TimedBatch<int>> taken = buffer.take(4);
  EXPECT_EQ(all_of(taken), (std::vector<int>{1, 2, 3, 4}));
  EXPECT_EQ(buffer.oldest(), start + 1s);
  detail::drop_events(taken, 2);
  EXPECT_EQ(all_of(taken), (std::vector<int>{3, 4}));
  buffer.push_front(std::move(taken));
  EXPECT_EQ(buffer.size(), 5U);
  buffer.drop_oldest(2);
  EXPECT_EQ(all_of(buffer.take(100)), (std::vector<int>{5, 6, 7}));
  EXPECT_TRUE(buffer.empty());
  EXPECT_EQ(buffer.oldest(), std::nullopt);
  EXPECT_EQ(buffer.clear(), 0U);
}

TEST(EventStats, finds_handlers_by_name) {
  EventStats stats;
  stats.handlers.push_back(HandlerStats{.name = "a"});
  stats.handlers.push_back(HandlerStats{.name = "b"});
  EXPECT_EQ(stats.find("b"), &stats.handlers[1]);
  EXPECT_EQ(stats.find("c"), nullptr);
  EXPECT_EQ(to_string(HandlerState::failed), "failed");
}

}  // namespace
}  // namespace dagverk
