// What users' tests of code with jobs are made of. The stores themselves: tests/conformance.

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/node.hpp"
#include "dagverk/runtime/runtime.hpp"
#include "dagverk/runtime/this_process.hpp"
#include "dagverk/testing_jobs/faulty_store.hpp"
#include "dagverk/testing_jobs/gtest.hpp"
#include "dagverk/testing_jobs/test_jobs.hpp"

#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace dagverk::testing_jobs {
namespace {

using namespace std::chrono_literals;
using Lines = std::vector<std::string>;
using jobs::JobClient;
using jobs::JobRegistry;
using jobs::NewJob;

NewJob new_job(std::string job_class, std::string args_json = "[]", std::string queue = "default") {
  NewJob job;
  job.job_class = std::move(job_class);
  job.args_json = std::move(args_json);
  job.queue = std::move(queue);
  return job;
}

TEST(EnqueuedJobs, are_found_by_class_and_by_arguments_however_these_are_spelled) {
  TestJobs jobs;
  ASSERT_TRUE(jobs.client().enqueue_class("Resize", "cat.jpg", 640));
  ASSERT_TRUE(jobs.client().enqueue_in_blocking(new_job("Mail", R"([ {"to":"ann","cc":[1, 2]}, null ])", "low"), 60s));
  ASSERT_TRUE(jobs.client().enqueue_class("Cleanup"));

  DAGVERK_EXPECT_ENQUEUED(jobs, "Resize");
  DAGVERK_EXPECT_ENQUEUED(jobs, "Resize", "cat.jpg", 640);
  DAGVERK_EXPECT_ENQUEUED(jobs, "Resize", any_argument, 640);
  DAGVERK_EXPECT_ENQUEUED(jobs, "Resize", any_argument, [](std::string_view json) { return json.size() == 3; });
  DAGVERK_EXPECT_ENQUEUED(jobs, "Mail", jobs::RawJson{R"({"cc":[1,2],"to":"ann"})"}, std::optional<int>());
  DAGVERK_EXPECT_ENQUEUED(jobs, "Cleanup", no_arguments);
  DAGVERK_EXPECT_NOT_ENQUEUED(jobs, "Resize", no_arguments);
  DAGVERK_EXPECT_NOT_ENQUEUED(jobs, "Resize", "cat.jpg");
  DAGVERK_EXPECT_NOT_ENQUEUED(jobs, "Resize", "cat.jpg", 641);
  DAGVERK_EXPECT_NOT_ENQUEUED(jobs, "Crop");
  DAGVERK_EXPECT_ENQUEUED(JobsOf(jobs.runtime(), jobs.store()), "Mail");

  const auto low = jobs.enqueued({.queue = "low"}).value();
  ASSERT_EQ(low.size(), 1U);
  EXPECT_EQ(low[0].job_class, "Mail");
  EXPECT_EQ(low[0].due, jobs.runtime().clock().wall_now() + 60s);
  EXPECT_EQ(jobs.enqueued({.job_class = "Resize"})->size(), 1U);
  EXPECT_EQ(jobs.enqueued()->size(), 3U);
}

TEST(EnqueuedJobs, a_failed_expectation_shows_what_is_enqueued) {
  TestJobs jobs;
  ASSERT_TRUE(jobs.client().enqueue_class("Resize", "cat.jpg", 640));
  ASSERT_TRUE(jobs.client().enqueue_in_blocking(new_job("Mail", "[7]"), 60s));
  EXPECT_NONFATAL_FAILURE(DAGVERK_EXPECT_ENQUEUED(jobs, "Resize", "dog.jpg", any_argument),
                          "sought: Resize [\"dog.jpg\",any]; enqueued:\n"
                          "  Resize [\"cat.jpg\",640] in default\n"
                          "  Mail [7] in default, due in 60000 ms");
  EXPECT_NONFATAL_FAILURE(DAGVERK_EXPECT_NOT_ENQUEUED(jobs, "Mail"), "sought: Mail with any arguments");
  TestJobs none;
  EXPECT_NONFATAL_FAILURE(DAGVERK_EXPECT_ENQUEUED(none, "Mail"), "no job is enqueued");
  FaultyStore away(jobs.store());
  away.set_rule(StoreOperation::list, [](std::size_t) { return StoreFault::before; });
  EXPECT_NONFATAL_FAILURE(DAGVERK_EXPECT_ENQUEUED(JobsOf(jobs.runtime(), away), "Mail"), "the store is away");
}

/// Classes that say what they do, and enqueue one another.
struct Shop {
  Lines said;
  JobClient* client = nullptr;

  JobRegistry registry() {
    JobRegistry registry;
    registry.define("Order", [this](int number) {
      said.push_back(concat("order ", number));
      if (number < 0) throw std::invalid_argument("no such order");
      EXPECT_TRUE(client->enqueue_class("Ship", number));
      said.emplace_back("ordered");
    });
    registry.define("Ship",
                    [this](jobs::AsyncJobContext& job, int number) -> Async<void> {
                      EXPECT_TRUE(co_await job.sleep(10min));
                      said.push_back(concat("ship ", number));
                    },
                    {.queue = "shipping"});
    registry.define("Flaky",
                    [this](jobs::JobContext& job) {
                      said.push_back(concat("try ", job.attempt()));
                      if (job.attempt() < 3) throw std::runtime_error("not yet");
                    },
                    {.retry = {.max_retries = 5, .delays = {1min, 2h}}});
    registry.define("Hopeless", [] { throw std::runtime_error("never"); }, {.retry = {.max_retries = 0}});
    return registry;
  }
};

TEST(InlineJobs, run_before_their_enqueue_returns_with_all_that_they_enqueue) {
  Shop shop;
  TestJobs jobs(shop.registry(), TestMode::immediate);
  shop.client = &jobs.client();

  ASSERT_TRUE(jobs.client().enqueue_class("Order", 7));

  EXPECT_EQ(shop.said, (Lines{"order 7", "ship 7", "ordered"}));
  EXPECT_TRUE(jobs.enqueued()->empty());
  EXPECT_EQ(jobs.runtime().stop_all(), 0U);
}

TEST(InlineJobs, fail_their_enqueue_and_what_is_for_later_waits) {
  Shop shop;
  TestJobs jobs(shop.registry(), TestMode::immediate);
  const auto failed = jobs.client().enqueue_class("Order", -1);
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code(), ErrorCode::exited);
  EXPECT_NE(failed.error().message().find("failed: std::invalid_argument: no such order"), std::string::npos);
  const auto wrong = jobs.client().enqueue_class("Order", "seven");
  ASSERT_FALSE(wrong);
  EXPECT_NE(wrong.error().message().find("ArgumentError"), std::string::npos);
  EXPECT_EQ(jobs.client().enqueue_class("Unknown").error().code(), ErrorCode::not_found);

  std::vector<NewJob> batch;
  for (const char* args : {"[-1]", "[7]"}) batch.push_back(new_job("Order", args));
  shop.said.clear();
  EXPECT_FALSE(jobs.client().enqueue_bulk_blocking(std::move(batch)));
  EXPECT_EQ(shop.said, Lines{"order -1"}) << "jobs behind one that failed are not run";

  ASSERT_TRUE(jobs.client().enqueue_in_blocking(new_job("Flaky"), 1h));
  DAGVERK_EXPECT_ENQUEUED(jobs, "Flaky");
  EXPECT_EQ(shop.said, Lines{"order -1"});
  EXPECT_TRUE(jobs.drain({.through = 12h})->complete);
  EXPECT_EQ(shop.said.back(), "try 3");
}

TEST(InlineJobs, and_drained_ones_are_inside_the_middleware) {
  for (const TestMode mode : {TestMode::immediate, TestMode::keep}) {
    Shop shop;
    TestMiddleware middleware;
    middleware.enqueues.emplace_back([](NewJob& job, const jobs::EnqueueCall&) -> Result<void> {
      jobs::set_member(job, "tenant", "\"acme\"");
      return {};
    });
    middleware.runs.push_back(jobs::around_runs("tell", [&](jobs::JobContext& job) -> std::optional<jobs::RunOutcome> {
      shop.said.push_back(concat("before ", job.job_class(), " of ", job.job().payload().contains("acme")));
      if (job.job_class() == "Hopeless") return jobs::RunOutcome::finished("spared");
      if (job.job_class() == "Slow") throw std::runtime_error("middleware breaks");
      return std::nullopt;
    }));
    JobRegistry registry = shop.registry();
    registry.define("Slow", []() -> Async<void> { co_return; }, {.retry = {.max_retries = 0}});
    TestJobs test(std::move(registry), mode, {}, std::move(middleware));
    EXPECT_TRUE(test.client().enqueue_class("Hopeless"));
    const auto slow = test.client().enqueue_class("Slow");
    EXPECT_EQ(slow.has_value(), mode == TestMode::keep);
    if (mode == TestMode::keep) {
      const DrainReport report = test.drain().value();
      EXPECT_EQ(report.count(DrainedEnd::finished), 1U) << report.text();
      EXPECT_EQ(report.count(DrainedEnd::failed), 1U);
    } else {
      EXPECT_NE(slow.error().message().find("middleware breaks"), std::string::npos);
    }
    EXPECT_EQ(shop.said, (Lines{"before Hopeless of true", "before Slow of true"}));
  }
}

TEST(Bulk, is_spread_evenly_over_time_when_told_so) {
  TestJobs jobs;
  const WallTime now = jobs.runtime().clock().wall_now();
  const auto dues = [&](std::string queue) {
    std::vector<Duration> all;
    const auto waiting = jobs.enqueued({.queue = std::move(queue)}).value();
    for (const EnqueuedJob& job : waiting) all.push_back(job.due ? *job.due - now : 0s);
    return all;
  };
  const std::vector<Duration> evenly = {0s, 15s, 30s, 45s};
  std::vector<NewJob> made;
  for (int number = 0; number < 4; ++number) made.push_back(new_job("A"));
  ASSERT_TRUE(jobs.client().enqueue_bulk_blocking(std::move(made), {.spread = 1min}));
  EXPECT_EQ(dues("default"), evenly);
  std::vector<std::string> lines(4, R"({"class":"A","args":[]})");
  ASSERT_TRUE(jobs.client().push_bulk_blocking(std::move(lines), "pushed", {.spread = 1min}));
  EXPECT_EQ(dues("pushed"), evenly);
  lines = {R"({"class":"A","args":[],"at":4102444800.0})", R"({"class":"A","args":[]})"};
  ASSERT_TRUE(jobs.client().push_bulk_blocking(std::move(lines), "own", {.spread = 1min}));
  EXPECT_EQ(dues("own").front(), 30s) << "a time of its own wins, and takes a place all the same";
  for (const Duration wrong : {Duration(-1), Duration(24h * 367)}) {
    made.assign(1, new_job("A"));
    EXPECT_EQ(jobs.client().enqueue_bulk_blocking(std::move(made), {.spread = wrong}).error().code(),
              ErrorCode::invalid_argument);
    EXPECT_EQ(jobs.client().push_bulk_blocking({}, "default", {.spread = wrong}).error().code(),
              ErrorCode::invalid_argument);
  }
  EXPECT_EQ(jobs::spread_delay(24h * 366, 999'999'999, 1'000'000'000) / 1s, 31'622'399) << "no product overflows";
  EXPECT_EQ(jobs::spread_delay(1h, 0, 0), 0s);
}

TEST(Drain, runs_all_that_is_enqueued_and_what_that_enqueues) {
  Shop shop;
  TestJobs jobs(shop.registry());
  shop.client = &jobs.client();
  for (int number : {1, 2}) ASSERT_TRUE(jobs.client().enqueue_class("Order", number));
  ASSERT_TRUE(jobs.client().enqueue_in_blocking(new_job("Hopeless"), 24h));

  const DrainReport report = jobs.drain().value();

  EXPECT_TRUE(report.ok()) << report.text();
  EXPECT_EQ(report.runs.size(), 4U) << report.text();
  EXPECT_EQ(shop.said.size(), 6U);
  EXPECT_EQ(shop.said.front(), "order 1");
  EXPECT_EQ(shop.said.back(), "ship 2");
  EXPECT_EQ(report.left, 1U) << "what is for later";
  DAGVERK_EXPECT_ENQUEUED(jobs, "Hopeless");
  EXPECT_TRUE(jobs.runtime().run(jobs.store().list_nodes())->empty());
  EXPECT_EQ(jobs.drain()->runs.size(), 0U);
}

TEST(Drain, moves_the_clock_through_retries_and_schedule_as_far_as_it_is_told) {
  Shop shop;
  TestJobs jobs(shop.registry());
  const WallTime before = jobs.runtime().clock().wall_now();
  ASSERT_TRUE(jobs.client().enqueue_class("Flaky"));
  ASSERT_TRUE(jobs.client().enqueue_in_blocking(new_job("Hopeless"), 24h));

  const DrainReport minute = jobs.drain({.through = 5min}).value();
  EXPECT_EQ(shop.said, (Lines{"try 1", "try 2"}));
  EXPECT_EQ(minute.count(DrainedEnd::failed), 2U);
  EXPECT_EQ(minute.runs.at(0).message, "std::runtime_error: not yet");
  EXPECT_EQ(minute.runs.at(1).attempt, 2U);
  EXPECT_TRUE(minute.complete);
  EXPECT_FALSE(minute.ok());
  EXPECT_EQ(minute.left, 2U);

  const DrainReport day = jobs.drain({.through = 48h}).value();
  EXPECT_EQ(shop.said.back(), "try 3");
  EXPECT_EQ(day.count(DrainedEnd::finished), 1U);
  EXPECT_EQ(day.count(DrainedEnd::failed), 1U);
  EXPECT_EQ(day.died, std::vector<std::string>{day.runs.back().jid});
  EXPECT_EQ(day.left, 0U);
  EXPECT_GE(day.runs.back().at, before + 24h);
  EXPECT_NE(day.text().find("Hopeless (jid "), std::string::npos);
  EXPECT_NE(day.text().find("attempt 1) failed: std::runtime_error: never"), std::string::npos);
}

TEST(Drain, ends_at_its_bounds_and_says_so) {
  JobRegistry registry;
  JobClient* client = nullptr;
  registry.define("Again", [&client] { EXPECT_TRUE(client->enqueue_class("Again")); });
  registry.define("Stuck", []() -> Async<void> { co_await this_process::sleep(1000h); });
  TestJobs jobs(std::move(registry));
  client = &jobs.client();

  ASSERT_TRUE(jobs.client().enqueue_class("Stuck"));
  const DrainReport stuck = jobs.drain({.quiet_max = 1min}).value();
  EXPECT_FALSE(stuck.complete) << stuck.text();
  EXPECT_EQ(stuck.left, 1U) << "it was given back";
  ASSERT_EQ(jobs.runtime().run(jobs.store().clear_queue("default", 10, {})).value(), 1U);

  ASSERT_TRUE(jobs.client().enqueue_class("Again"));
  const DrainReport endless = jobs.drain({.runs_max = 20}).value();
  EXPECT_FALSE(endless.complete);
  EXPECT_GE(endless.runs.size(), 20U);

  ASSERT_TRUE(jobs.runtime().run(jobs.store().pause_queue("default", "ann", {})).value());
  const DrainReport paused = jobs.drain().value();
  EXPECT_TRUE(paused.runs.empty());
  EXPECT_GE(paused.left, 1U);
}

TEST(FaultyStores, fail_before_or_after_or_stall_at_every_operation) {
  DeterministicRuntime runtime;
  MemoryJobStore memory(runtime);
  FaultyStore store(memory, 30s);
  store.set_rule([](std::size_t call) {
    return call == 1   ? StoreFault::before
           : call == 2 ? StoreFault::after
           : call == 3 ? StoreFault::stall
                       : StoreFault::none;
  });
  const auto enqueue = [&](std::string jid) {
    std::vector<jobs::EnqueueRequest> batch;
    batch.push_back({.jid = std::move(jid), .queue = "default", .class_name = "C", .payload = "{}"});
    return runtime.run(store.enqueue(std::move(batch)));
  };
  const auto jobs_in_it = [&] { return runtime.run(memory.totals())->counts.ready; };
  EXPECT_EQ(enqueue("a").error().code(), ErrorCode::unavailable);
  EXPECT_EQ(jobs_in_it(), 0U);
  EXPECT_EQ(enqueue("b").error().code(), ErrorCode::outcome_unknown);
  EXPECT_EQ(jobs_in_it(), 1U);
  const SteadyTime before = runtime.clock().steady_now();
  EXPECT_TRUE(enqueue("c"));
  EXPECT_GE(runtime.clock().steady_now() - before, 30s);
  EXPECT_TRUE(enqueue("d"));
  EXPECT_EQ(store.calls(StoreOperation::enqueue), 4U);
  EXPECT_EQ(runtime.run(store.totals()).error().code(), ErrorCode::unavailable) << "each operation is counted alone";
  EXPECT_EQ(store.calls(StoreOperation::totals), 1U);
  EXPECT_EQ(store.calls(StoreOperation::take), 0U);
}

TEST(MemoryStore, can_be_held_back_as_a_slow_store) {
  DeterministicRuntime runtime;
  MemoryJobStore store(runtime);
  runtime.hold_lane_for("store_memory", 5s);
  const SteadyTime before = runtime.clock().steady_now();
  ASSERT_TRUE(runtime.run(store.totals()));
  EXPECT_GE(runtime.clock().steady_now() - before, 5s);
}

TEST(MemoryStore, serves_many_processes_on_threads) {
  Runtime runtime({.workers = 2});
  MemoryJobStore store(runtime);
  const auto other = store.open_another();
  JobRegistry registry;
  std::atomic<int> ran{0};
  registry.define("Count", [&ran]() -> Async<void> {
    ++ran;
    co_return;
  });
  jobs::NodeOptions options;
  options.pools.push_back({.queues = {"default"}, .concurrency = 20});
  const auto node = jobs::Node::start(runtime, *other, std::move(registry), std::move(options)).value();
  JobClient client(runtime, store);
  for (int batch = 0; batch < 5; ++batch) {
    ASSERT_TRUE(client.enqueue_bulk_blocking(std::vector<NewJob>(100, new_job("Count"))));
  }
  for (std::uint64_t seen = 0; runtime.run(store.totals())->counts.finished < 500;) {
    seen = runtime.run(store.wait_for_change(jobs::ChangeKind::journal, seen, 10s)).value();
  }
  EXPECT_EQ(ran, 500);
  EXPECT_TRUE(node->stop(10s).retired);
}

}  // namespace
}  // namespace dagverk::testing_jobs
