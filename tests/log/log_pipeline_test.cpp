// The pipeline on virtual time: order, severities, crashes and restarts of backends, accounts, fronts.

#include "log_world.hpp"

#include "dagverk/log/logger_relay.hpp"
#include "dagverk/log/spdlog_sink.hpp"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace dagverk {
namespace {

using namespace std::chrono_literals;

TEST(LogPipeline, brings_lines_in_order_to_every_backend) {
  LogWorld world;
  Sheet& second = world.new_sheet();
  world.pipeline->add_backend(sheet_backend("second", second)).value();
  for (int line = 0; line < 2000; ++line) world.log.info("line", {{"n", line}});
  world.run();
  ASSERT_EQ(world.sheet.lines.size(), 2000U);
  EXPECT_EQ(world.sheet.lines[0], "line n=0");
  EXPECT_EQ(world.sheet.lines[1999], "line n=1999");
  EXPECT_EQ(second.lines, world.sheet.lines);
  const LogStats stats = world.pipeline->stats();
  EXPECT_EQ(stats.called, 2000U);
  EXPECT_EQ(stats.collected, 2000U);
  EXPECT_EQ(stats.find("second")->written, 2000U);
}

TEST(LogPipeline, lines_of_several_threads_are_merged_by_time) {
  LogWorld world;
  std::vector<std::string> expected;
  for (int line = 0; line < 50; ++line) {
    world.runtime.manual_clock().advance(1us);
    const std::string text = "line " + std::to_string(line);
    if (line % 3 == 0) {
      world.log.info(text);
    } else {
      std::thread([&] { world.log.info(text); }).join();
    }
    expected.push_back(text);
  }
  world.run();
  EXPECT_EQ(world.sheet.lines, expected);
  EXPECT_EQ(world.pipeline->stats().collected, 50U) << "threads that have ended count, too";
  EXPECT_EQ(world.pipeline->stats().threads, 1U);
}

TEST(LogPipeline, each_backend_has_its_own_least_severity) {
  LogWorld world(LogWorld::quick());
  EXPECT_FALSE(world.pipeline->wants(LogSeverity::critical)) << "without backends nobody wants a line";
  Sheet& errors = world.new_sheet();
  BackendSpec spec = sheet_backend("errors", errors);
  spec.severity_min = LogSeverity::error;
  world.pipeline->add_backend(std::move(spec)).value();
  EXPECT_FALSE(world.pipeline->wants(LogSeverity::warning));
  spec = sheet_backend("infos", world.sheet);
  spec.severity_min = LogSeverity::info;
  world.pipeline->add_backend(std::move(spec)).value();
  world.log.debug("d");
  world.log.info("i");
  world.log.error("e");
  world.log.critical("c");
  world.run();
  EXPECT_EQ(errors.lines, (std::vector<std::string>{"e", "c"}));
  EXPECT_EQ(world.sheet.lines, (std::vector<std::string>{"i", "e", "c"}));
  EXPECT_EQ(world.pipeline->stats().called, 3U);
  world.pipeline->set_severity_min("errors", LogSeverity::trace).value();
  world.log.trace("t");
  world.run();
  EXPECT_EQ(errors.lines.back(), "t");
}

TEST(LogPipeline, CC_LOG_005_backends_are_added_by_name_and_removed_once) {
  LogWorld world(LogWorld::quick());
  Sheet& one = world.new_sheet();
  Sheet& two = world.new_sheet();
  EXPECT_TRUE(world.pipeline->add_backend(sheet_backend("sheet", one)));
  EXPECT_TRUE(world.pipeline->add_backend(sheet_backend("sheet two", two))) << "one kind, another name";
  EXPECT_EQ(world.pipeline->add_backend(sheet_backend("sheet", one)).error().code(), ErrorCode::already_exists);
  EXPECT_EQ(world.pipeline->add_backend(BackendSpec{.name = "empty"}).error().code(), ErrorCode::configuration);
  EXPECT_EQ(world.pipeline->which_backends(), (std::vector<std::string>{"sheet", "sheet two"}));
  world.log.info("last words");
  const BackendStats last = world.pipeline->remove_backend("sheet").value();
  EXPECT_EQ(last.written, 1U) << "a removed backend writes what waits for it";
  EXPECT_EQ(one.lines.size(), 1U);
  EXPECT_EQ(world.pipeline->remove_backend("sheet").error().code(), ErrorCode::not_found);
  EXPECT_EQ(world.pipeline->restart_backend("sheet").error().code(), ErrorCode::not_found);
  EXPECT_EQ(world.pipeline->suspend_backend("sheet").error().code(), ErrorCode::not_found);
  world.log.info("for the other");
  world.run();
  EXPECT_EQ(one.lines.size(), 1U);
  EXPECT_EQ(two.lines.size(), 2U);
}

TEST(LogPipeline, a_backend_that_does_not_open_is_not_added_and_says_why) {
  LogWorld world(LogWorld::quick());
  Sheet& sheet = world.new_sheet();
  sheet.open_error = "the paper is wet";
  const Result<void> added = world.pipeline->add_backend(sheet_backend("sheet", sheet));
  ASSERT_FALSE(added);
  EXPECT_NE(added.error().message().find("the paper is wet"), std::string_view::npos) << added.error().message();
  EXPECT_TRUE(world.pipeline->which_backends().empty());
  sheet.open_error.clear();
  EXPECT_TRUE(world.pipeline->add_backend(sheet_backend("sheet", sheet)));
}

TEST(LogPipeline, at_most_32_backends) {
  LogWorld world(LogWorld::quick());
  for (std::size_t index = 0; index < log_backends_max; ++index) {
    ASSERT_TRUE(world.pipeline->add_backend(sheet_backend(std::to_string(index), world.new_sheet())));
  }
  EXPECT_EQ(world.pipeline->add_backend(sheet_backend("more", world.new_sheet())).error().code(), ErrorCode::refused);
}

TEST(LogPipeline, a_backend_that_crashes_is_restarted_and_the_others_never_notice) {
  LogWorld world;
  Sheet& other = world.new_sheet();
  world.pipeline->add_backend(sheet_backend("other", other)).value();
  world.sheet.before_line = [](std::string_view line) {
    if (line == "bad") throw std::runtime_error("a line that I cannot stand");
  };
  world.log.info("bad");
  world.run();
  EXPECT_EQ(world.stats().state, "restarting");
  EXPECT_EQ(world.stats().last_error, "a line that I cannot stand");
  world.log.info("good");
  world.run();
  EXPECT_EQ(other.lines.size(), 2U);
  EXPECT_EQ(world.stats().queued, 1U) << "what comes meanwhile waits";
  world.runtime.advance(50ms);
  EXPECT_EQ(world.sheet.lines, (std::vector<std::string>{"good"}));
  EXPECT_EQ(world.sheet.opened, 2);
  EXPECT_EQ(world.stats().restarts, 1U);
  EXPECT_EQ(world.stats().dropped.crashed, 1U);
  EXPECT_TRUE(world.stats().balanced());
}

TEST(LogPipeline, a_backend_that_crashes_too_often_has_failed_until_it_is_restarted_by_hand) {
  LogWorld world(LogWorld::quick());
  BackendSpec spec = sheet_backend("main", world.sheet);
  spec.restarts = {.max_restarts = 2, .window = 60s};
  world.pipeline->add_backend(std::move(spec)).value();
  world.sheet.before_line = [](std::string_view /*line*/) { throw std::runtime_error("never"); };
  for (int line = 0; line < 4; ++line) {
    world.log.info("line");
    world.runtime.advance(1s);
  }
  EXPECT_EQ(world.stats().state, "failed");
  EXPECT_EQ(world.stats().dropped.crashed, 3U);
  EXPECT_EQ(world.stats().queued, 1U);
  world.sheet.before_line = {};
  world.pipeline->restart_backend("main").value();
  world.run();
  EXPECT_EQ(world.stats().state, "running");
  EXPECT_EQ(world.sheet.lines.size(), 1U);
}

TEST(LogPipeline, flush_waits_for_all_that_was_logged_before) {
  LogWorld world;
  for (int line = 0; line < 1000; ++line) world.log.info("line");
  world.pipeline->flush().value();
  EXPECT_EQ(world.sheet.lines.size(), 1000U);
  EXPECT_GT(world.sheet.flushed, 0);
  world.pipeline->flush().value();
  world.pipeline->suspend_backend("main").value();
  world.log.info("more");
  EXPECT_EQ(world.pipeline->flush(1s).error().code(), ErrorCode::timeout);
}

TEST(LogPipeline, stop_writes_what_waits_and_takes_no_more) {
  LogWorld world;
  for (int line = 0; line < 1000; ++line) world.log.info("line");
  EXPECT_TRUE(world.pipeline->stop());
  EXPECT_EQ(world.sheet.lines.size(), 1000U);
  world.log.info("too late");
  EXPECT_TRUE(world.pipeline->stop());
  const LogStats stats = world.pipeline->stats();
  EXPECT_EQ(stats.called, 1001U);
  EXPECT_EQ(stats.dropped_by_mode, 1U);
  EXPECT_EQ(world.pipeline->add_backend(sheet_backend("late", world.sheet)).error().code(), ErrorCode::shutting_down);
}

TEST(LogPipeline, stop_with_a_backend_that_does_not_write_counts_what_is_left) {
  LogWorld world;
  world.pipeline->suspend_backend("main").value();
  for (int line = 0; line < 10; ++line) world.log.info("line");
  EXPECT_EQ(world.pipeline->stop(1s).error().code(), ErrorCode::timeout);
  EXPECT_EQ(world.stats().dropped.down, 10U);
  EXPECT_TRUE(world.stats().balanced());
}

TEST(LogPipeline, reopen_reaches_every_backend) {
  LogWorld world;
  world.pipeline->reopen();
  world.run();
  EXPECT_EQ(world.sheet.reopened, 1);
}

TEST(LogPipeline, CC_LOG_007_logging_from_inside_a_backend_while_sync_is_on_does_not_deadlock) {
  LogWorld world{OverloadRule(DiscardThresholds{.sync_threshold = 0, .discard_threshold = 500})};
  world.sheet.before_line = [&](std::string_view /*line*/) { world.log.info("from inside"); };
  world.log.info("first");
  world.log.info("second");
  world.pipeline->flush().value();
  world.run();
  EXPECT_EQ(world.sheet.count("first"), 1U);
  EXPECT_EQ(world.sheet.count("second"), 1U);
  EXPECT_EQ(world.sheet.count("from inside"), 0U) << "its own lines do not come back to it";
  EXPECT_EQ(world.stats().dropped.own, 2U);
  EXPECT_TRUE(world.stats().balanced());
}

TEST(LogPipeline, two_backends_that_log_what_they_write_do_not_echo_for_ever) {
  LogWorld world;
  Sheet& other = world.new_sheet();
  world.pipeline->add_backend(sheet_backend("other", other)).value();
  world.sheet.before_line = [&](std::string_view /*line*/) { world.log.info("from main"); };
  other.before_line = [&](std::string_view /*line*/) { world.log.info("from other"); };
  world.log.info("hello");
  world.run();
  EXPECT_EQ(world.sheet.count("from other"), 1U);
  EXPECT_EQ(other.count("from main"), 1U);
  EXPECT_EQ(world.pipeline->stats().dropped_inside, 2U);
}

TEST(LogPipeline, logging_inside_a_process_in_sync_mode_does_not_wait) {
  LogWorld world{OverloadRule(DiscardThresholds{.sync_threshold = 0, .discard_threshold = 500})};
  world.pipeline->suspend_backend("main").value();
  world.runtime.spawn([&] {
    for (int line = 0; line < 3; ++line) world.log.info("line");
  });
  const SteadyTime before = world.runtime.clock().steady_now();
  world.run();
  EXPECT_EQ(world.runtime.clock().steady_now(), before);
  EXPECT_EQ(world.stats().queued, 3U);
}

TEST(LogPipeline, wrong_options_are_refused_by_name) {
  DeterministicRuntime runtime;
  const auto refused = [&](LogOptions options) {
    const Result<std::unique_ptr<LogPipeline>> started = LogPipeline::start(runtime, options);
    return started ? std::string() : std::string(started.error().message());
  };
  EXPECT_EQ(refused({.thread_buffer_bytes = 5000}),
            "log: thread_buffer_bytes must be a power of two, 4096..1073741824, got 5000");
  EXPECT_EQ(refused({.thread_buffer_bytes = 4096}),
            "log: thread_buffer_bytes must be at least four times line_bytes_max (8096), got 4096");
  EXPECT_EQ(refused({.line_bytes_max = 1}), "log: line_bytes_max must be 64..16777216, got 1");
  EXPECT_EQ(refused({.poll_interval = 0ns}), "log: poll_interval must be more than 0");
}

TEST(LogPipeline, polls_while_lines_come_and_sleeps_afterwards) {
  LogWorld world{BoundedQueue{}, LogOptions{}};
  world.log.info("wakes the collector");
  world.run();
  EXPECT_EQ(world.sheet.lines.size(), 1U);
  world.log.info("waits for the next look");
  world.run();
  EXPECT_EQ(world.sheet.lines.size(), 1U);
  world.runtime.advance(1ms);
  EXPECT_EQ(world.sheet.lines.size(), 2U);
  world.runtime.advance(60ms);
  world.log.info("wakes it again");
  world.run();
  EXPECT_EQ(world.sheet.lines.size(), 3U);
}

TEST(SpdlogSink, three_lines_bring_a_spdlog_program_to_the_pipeline) {
  LogWorld world(LogWorld::quick());
  BackendSpec spec = sheet_backend("main", world.sheet);
  spec.format = LineFormat::pattern("{level} {name} {message}").value();
  world.pipeline->add_backend(std::move(spec)).value();
  const std::shared_ptr<spdlog::logger> logger = spdlog_logger(*world.pipeline, "app");
  logger->info("hello {} of {}", 1, 2);
  logger->warn("careful");
  logger->error("no");
  logger->critical("worse");
  logger->debug("below the logger's own level");
  logger->flush();
  EXPECT_EQ(world.sheet.lines, (std::vector<std::string>{"info app hello 1 of 2", "warning app careful", "error app no",
                                                         "critical app worse"}));
}

TEST(LoggerRelay, brings_the_events_of_our_own_code_to_the_pipeline) {
  Sheet sheet;
  LoggerRelay relay(null_logger());
  DeterministicRuntime runtime({.logger = &relay});
  const std::unique_ptr<LogPipeline> pipeline = LogPipeline::start(runtime, LogWorld::quick()).value();
  pipeline->add_backend(sheet_backend("main", sheet)).value();
  relay.relay_to(pipeline->logger());
  runtime.logger().warning("process.stuck", {{"name", "uploader"}, {"since_ms", 104}});
  runtime.run_until_idle();
  EXPECT_EQ(sheet.lines, (std::vector<std::string>{"process.stuck name=uploader since_ms=104"}));
  relay.relay_to(null_logger());
}

}  // namespace
}  // namespace dagverk
