// When lines come faster than a backend writes: the Erlang logger's protection, Elixir's thresholds, our queue.

#include "log_world.hpp"

#include "dagverk/log/overload_rule.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace dagverk {
namespace {

using namespace std::chrono_literals;

void log_lines(LogWorld& world, int count, std::string_view text = "line") {
  for (int line = 0; line < count; ++line) world.log.info(text);
}

/// Everything with a number of its own: no burst limit, unless the test is about it.
OverloadProtection unlimited_bursts() {
  OverloadProtection rule;
  rule.burst_limit_enable = false;
  return rule;
}

TEST(OverloadProtection, CC_LOG_009_defaults_are_those_of_the_erlang_logger) {
  const OverloadProtection rule;
  EXPECT_EQ(rule.sync_mode_qlen, 10U);
  EXPECT_EQ(rule.drop_mode_qlen, 200U);
  EXPECT_EQ(rule.flush_qlen, 1000U);
  EXPECT_TRUE(rule.burst_limit_enable);
  EXPECT_EQ(rule.burst_limit_max_count, 500U);
  EXPECT_EQ(rule.burst_limit_window_time, 1000ms);
  EXPECT_FALSE(rule.overload_kill_enable);
  EXPECT_EQ(rule.overload_kill_qlen, 20'000U);
  EXPECT_EQ(rule.overload_kill_mem_size, 3'000'000U);
  EXPECT_EQ(rule.overload_kill_restart_after, 5000ms);
  const DiscardThresholds thresholds;
  EXPECT_EQ(thresholds.sync_threshold, 20U);
  EXPECT_EQ(thresholds.discard_threshold, 500U);
  EXPECT_EQ(thresholds.periodic_check, 30s);
}

TEST(OverloadProtection, CC_LOG_010_levels_out_of_order_are_invalid_olp_levels) {
  const auto refused = [](std::size_t sync, std::size_t drop, std::size_t flush) {
    OverloadProtection rule;
    rule.sync_mode_qlen = sync;
    rule.drop_mode_qlen = drop;
    rule.flush_qlen = flush;
    const Result<void> valid = check(OverloadRule(rule));
    return !valid && valid.error().message().starts_with("invalid_olp_levels");
  };
  EXPECT_TRUE(refused(20, 10, 1000));
  EXPECT_TRUE(refused(1, 1, 1000));
  EXPECT_TRUE(refused(10, 200, 199));
  EXPECT_FALSE(refused(10, 200, 1000));
  EXPECT_FALSE(refused(0, 2, 2));

  LogWorld world(LogWorld::quick());
  Sheet& sheet = world.new_sheet();
  OverloadProtection wrong;
  wrong.drop_mode_qlen = 1;
  const Result<void> added = world.pipeline->add_backend(sheet_backend("main", sheet, wrong));
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().code(), ErrorCode::configuration);
  EXPECT_NE(added.error().message().find("invalid_olp_levels"), std::string_view::npos);
  EXPECT_TRUE(world.pipeline->which_backends().empty());
}

TEST(OverloadProtection, rules_out_of_range_are_refused) {
  OverloadProtection burst;
  burst.burst_limit_max_count = 0;
  EXPECT_TRUE(check(OverloadRule(burst)).error().message().starts_with("invalid_olp_config"));
  EXPECT_FALSE(check(OverloadRule(BoundedQueue{.lines_max = 0})));
  EXPECT_FALSE(check(OverloadRule(BoundedQueue{.bytes_max = 10})));
  EXPECT_FALSE(check(OverloadRule(DiscardThresholds{.sync_threshold = 20, .discard_threshold = 10})));
}

TEST(OverloadProtection, CC_LOG_011_a_blocked_backend_makes_callers_go_on_then_wait_then_drop) {
  LogWorld world{OverloadRule(unlimited_bursts()), [] {
                   LogOptions options = LogWorld::quick();
                   options.sync_timeout = 1s;
                   return options;
                 }()};
  world.pipeline->suspend_backend("main").value();

  log_lines(world, 9);
  world.run();
  EXPECT_EQ(world.stats().mode, LogMode::async);
  const SteadyTime before = world.runtime.clock().steady_now();
  log_lines(world, 1);
  world.run();
  EXPECT_EQ(world.runtime.clock().steady_now(), before) << "async: the tenth caller did not wait";
  EXPECT_EQ(world.stats().mode, LogMode::sync);

  log_lines(world, 1);
  EXPECT_EQ(world.runtime.clock().steady_now() - before, 1s) << "sync: the caller waited, as long as it may";
  EXPECT_EQ(world.stats().queued, 11U);

  log_lines(world, 189);
  EXPECT_EQ(world.stats().queued, 200U);
  EXPECT_EQ(world.stats().mode, LogMode::drop);
  const SteadyTime dropping = world.runtime.clock().steady_now();
  log_lines(world, 50);
  world.run();
  EXPECT_EQ(world.runtime.clock().steady_now(), dropping) << "drop: nobody waits";
  EXPECT_EQ(world.stats().queued, 200U);
  const LogStats stats = world.pipeline->stats();
  EXPECT_EQ(stats.dropped_by_mode, 50U) << "at the caller";
  EXPECT_EQ(stats.called, 250U);

  world.pipeline->resume_backend("main").value();
  world.run();
  EXPECT_EQ(world.sheet.count("line"), 200U);
  EXPECT_EQ(world.stats().mode, LogMode::async);
}

TEST(OverloadProtection, CC_LOG_002_below_the_threshold_the_caller_does_not_wait) {
  LogWorld world{OverloadRule(DiscardThresholds{})};
  world.pipeline->suspend_backend("main").value();
  const SteadyTime before = world.runtime.clock().steady_now();
  for (int line = 0; line < 19; ++line) {
    log_lines(world, 1);
    world.run();
  }
  EXPECT_EQ(world.stats().mode, LogMode::async);
  EXPECT_EQ(world.runtime.clock().steady_now(), before);
  EXPECT_EQ(world.stats().queued, 19U);
}

TEST(OverloadProtection, CC_LOG_003_from_twenty_lines_on_the_caller_waits_until_its_line_is_written) {
  LogWorld world{OverloadRule(DiscardThresholds{})};
  world.pipeline->suspend_backend("main").value();
  log_lines(world, 20);
  world.run();
  EXPECT_EQ(world.stats().mode, LogMode::sync);
  world.pipeline->resume_backend("main").value();  // it has not run yet
  world.log.info("the one that waits");
  EXPECT_EQ(world.sheet.count("the one that waits"), 1U) << "written when the call returned";
  EXPECT_EQ(world.stats().mode, LogMode::async);
}

TEST(DiscardThresholds, CC_LOG_001_discard_mode_is_told_of_once_and_its_end_once) {
  LogWorld world{OverloadRule(DiscardThresholds{.sync_threshold = 5, .discard_threshold = 5})};
  world.pipeline->suspend_backend("main").value();
  for (int line = 0; line < 10; ++line) world.log.warning("w");
  world.run();
  world.pipeline->resume_backend("main").value();
  world.pipeline->flush().value();
  EXPECT_EQ(world.sheet.count("log.above_discard_threshold"), 1U);
  EXPECT_EQ(world.sheet.count("log.below_discard_threshold"), 0U) << "noticed at the periodic check";
  world.runtime.advance(30s);
  EXPECT_EQ(world.sheet.count("log.above_discard_threshold"), 1U);
  EXPECT_EQ(world.sheet.count("log.below_discard_threshold"), 1U);
  world.runtime.advance(60s);
  EXPECT_EQ(world.sheet.count("log.below_discard_threshold"), 1U);
  EXPECT_EQ(std::count(world.sheet.lines.begin(), world.sheet.lines.end(), "w"), 5);
  EXPECT_EQ(world.stats().dropped.overload, 5U);
  EXPECT_TRUE(world.stats().balanced());
}

TEST(DiscardThresholds, while_discarding_the_warning_comes_again_at_each_check) {
  LogWorld world{OverloadRule(DiscardThresholds{.sync_threshold = 5, .discard_threshold = 5})};
  world.pipeline->suspend_backend("main").value();
  log_lines(world, 10);
  world.run();
  world.runtime.advance(61s);
  world.pipeline->resume_backend("main").value();
  world.run();
  EXPECT_EQ(world.sheet.count("log.above_discard_threshold"), 3U);
}

TEST(OverloadProtection, CC_LOG_013_a_burst_is_cut_off_and_writing_resumes_after_the_window) {
  LogWorld world{OverloadRule(OverloadProtection{})};
  for (int step = 0; step < 120; ++step) {
    log_lines(world, 5);
    world.run();
    if (step % 12 == 0) world.runtime.manual_clock().advance(9ms);
  }
  EXPECT_EQ(world.sheet.count("line"), 500U);
  EXPECT_EQ(world.stats().dropped.burst, 100U);
  world.runtime.advance(1s);
  log_lines(world, 5);
  world.run();
  EXPECT_EQ(world.sheet.count("line"), 505U);
  EXPECT_TRUE(world.stats().balanced());
}

TEST(OverloadProtection, CC_LOG_014_without_the_burst_limit_all_are_written) {
  LogWorld world{OverloadRule(unlimited_bursts())};
  for (int step = 0; step < 120; ++step) {
    log_lines(world, 5);
    world.run();
  }
  EXPECT_EQ(world.sheet.count("line"), 600U);
  EXPECT_EQ(world.stats().dropped.total(), 0U);
}

TEST(OverloadProtection, CC_LOG_015_an_overloaded_backend_ends_and_comes_back) {
  OverloadProtection rule = unlimited_bursts();
  rule.drop_mode_qlen = 400;
  rule.overload_kill_enable = true;
  rule.overload_kill_qlen = 300;
  LogWorld world{OverloadRule(rule)};
  Sheet& other = world.new_sheet();
  world.pipeline->add_backend(sheet_backend("other", other)).value();
  world.pipeline->suspend_backend("main").value();
  log_lines(world, 350);  // in one go, before callers can know
  world.run();
  world.pipeline->resume_backend("main").value();
  world.run();
  EXPECT_EQ(world.stats().state, "stopped");
  EXPECT_EQ(world.stats().last_error.substr(0, 25), "overloaded: 350 lines, 65");
  EXPECT_EQ(world.stats().dropped.flushed, 350U);
  EXPECT_EQ(other.lines.size(), 350U) << "the other one never noticed";
  world.runtime.advance(4999ms);
  EXPECT_EQ(world.stats().state, "stopped");
  world.runtime.advance(1ms);
  EXPECT_EQ(world.stats().state, "running");
  world.log.info("back");
  world.run();
  EXPECT_EQ(world.sheet.count("back"), 1U);
  EXPECT_TRUE(world.stats().balanced());
}

TEST(OverloadProtection, CC_LOG_015_with_no_restart_after_it_stays_stopped_until_somebody_restarts_it) {
  OverloadProtection rule = unlimited_bursts();
  rule.drop_mode_qlen = 400;
  rule.overload_kill_enable = true;
  rule.overload_kill_qlen = 10;
  rule.overload_kill_restart_after.reset();
  LogWorld world{OverloadRule(rule)};
  world.pipeline->suspend_backend("main").value();
  log_lines(world, 11);
  world.run();
  world.pipeline->resume_backend("main").value();
  world.runtime.advance(1h);
  EXPECT_EQ(world.stats().state, "stopped");
  world.pipeline->restart_backend("main").value();
  EXPECT_EQ(world.stats().state, "running");
}

TEST(OverloadProtection, CC_LOG_017_after_100_ms_of_silence_in_drop_mode_it_is_async_again_and_says_so) {
  LogWorld world{OverloadRule(unlimited_bursts())};
  world.pipeline->suspend_backend("main").value();
  log_lines(world, 250);
  world.run();
  EXPECT_EQ(world.stats().mode, LogMode::drop);
  world.pipeline->resume_backend("main").value();
  world.runtime.advance(100ms);
  EXPECT_EQ(world.stats().mode, LogMode::async);
  EXPECT_EQ(world.sheet.count("log.mode_changed mode=drop"), 1U);
  EXPECT_EQ(world.sheet.count("log.mode_changed mode=async"), 1U);
}

TEST(OverloadProtection, a_queue_at_the_flush_level_is_thrown_away_and_told_of) {
  OverloadProtection rule = unlimited_bursts();
  rule.drop_mode_qlen = 300;
  rule.flush_qlen = 400;
  LogWorld world{OverloadRule(rule)};
  world.pipeline->suspend_backend("main").value();
  log_lines(world, 450);
  world.run();
  world.pipeline->resume_backend("main").value();
  world.runtime.advance(100ms);
  EXPECT_EQ(world.stats().dropped.flushed, 450U);
  EXPECT_EQ(world.sheet.count("log.queue_flushed count=450"), 1U);
  EXPECT_EQ(world.stats().mode, LogMode::async);
  EXPECT_TRUE(world.stats().balanced());
}

TEST(OverloadProtection, one_backend_in_drop_mode_does_not_cost_another_one_its_lines) {
  LogWorld world{OverloadRule(unlimited_bursts())};
  Sheet& other = world.new_sheet();
  world.pipeline->add_backend(sheet_backend("other", other)).value();
  world.pipeline->suspend_backend("main").value();
  log_lines(world, 300);
  world.run();
  log_lines(world, 300);
  world.run();
  EXPECT_EQ(other.lines.size(), 600U);
  EXPECT_EQ(world.stats().queued, 300U);
  EXPECT_EQ(world.stats().dropped.overload, 300U);
}

TEST(BoundedQueue, keeps_the_oldest_lines_counts_the_others_and_tells_of_them_afterwards) {
  LogWorld world{OverloadRule(BoundedQueue{.lines_max = 100})};
  world.pipeline->suspend_backend("main").value();
  for (int line = 0; line < 250; ++line) world.log.info("line", {{"n", line}});
  world.run();
  EXPECT_EQ(world.stats().queued, 100U);
  EXPECT_EQ(world.stats().dropped.queue_full, 150U);
  EXPECT_EQ(world.stats().mode, LogMode::async) << "callers never wait for it";
  world.runtime.advance(2s);
  world.pipeline->resume_backend("main").value();
  world.runtime.advance(2s);
  EXPECT_EQ(world.sheet.count("line n="), 100U);
  EXPECT_EQ(world.sheet.count("n=99"), 1U);
  EXPECT_EQ(world.sheet.count("n=100"), 0U);
  EXPECT_EQ(world.sheet.count("log.lines_lost count=150 from=\"2026-01-01T00:00:00.000000Z\"") +
                world.sheet.count("log.lines_lost count=150 from=2026-01-01T00:00:00.000000Z"),
            1U);
  EXPECT_TRUE(world.stats().balanced());
}

TEST(BoundedQueue, keeps_the_newest_lines_when_asked_to) {
  LogWorld world{OverloadRule(BoundedQueue{.lines_max = 100, .keep_newest = true})};
  world.pipeline->suspend_backend("main").value();
  for (int line = 0; line < 1250; ++line) {
    world.log.info("line", {{"n", line}});
    if (line % 70 == 0) world.run();
  }
  world.run();
  EXPECT_EQ(world.stats().queued, 100U);
  world.pipeline->resume_backend("main").value();
  world.run();
  EXPECT_EQ(world.sheet.count("line n="), 100U);
  EXPECT_EQ(world.sheet.count("n=1150"), 1U);
  EXPECT_EQ(world.sheet.count("n=1249"), 1U);
  EXPECT_EQ(world.stats().dropped.queue_full, 1150U);
  EXPECT_TRUE(world.stats().balanced());
}

TEST(BoundedQueue, a_thread_whose_buffer_is_full_drops_and_counts) {
  LogOptions options = LogWorld::quick();
  options.thread_buffer_bytes = 4096;
  options.line_bytes_max = 128;
  LogWorld world(BoundedQueue{}, options);
  log_lines(world, 1000);  // the collector has not run yet
  const LogStats full = world.pipeline->stats();
  EXPECT_EQ(full.called, 1000U);
  EXPECT_GT(full.dropped_full, 900U);
  EXPECT_EQ(full.buffered + full.dropped_full, 1000U);
  world.run();
  log_lines(world, 1);
  world.runtime.advance(2s);
  const LogStats stats = world.pipeline->stats();
  EXPECT_EQ(stats.collected + stats.dropped_full, 1001U);
  EXPECT_EQ(world.sheet.count("line") - world.sheet.count("log.lines_lost"), stats.collected);
  EXPECT_EQ(world.sheet.count("log.lines_lost count=" + std::to_string(stats.dropped_full)), 1U);
}

}  // namespace
}  // namespace dagverk
