// Jobs that are coroutines, and what a job says about its own next run; on the deterministic runtime.

#include "jobs/node_world.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_record.hpp"
#include "dagverk/runtime/deterministic_runtime.hpp"
#include "dagverk/runtime/gen_server.hpp"
#include "dagverk/testing_jobs/faulty_store.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace dagverk::jobs {
namespace {

using namespace std::chrono_literals;
using World = NodeWorld<DeterministicRuntime>;
using Names = std::vector<std::string>;
using testing_jobs::StoreFault;
using testing_jobs::StoreOperation;

Job stored_job(World& world, const std::string& jid) { return decode_job(world.find(jid)->payload).value(); }

TEST(AsyncJobs, know_themselves_and_keep_their_arguments_over_every_wait) {
  World world;
  Names seen;
  JobRegistry registry;
  registry.define("Fetch", [&seen](AsyncJobContext& job, const std::string& url, int times) -> Async<Result<void>> {
    for (int count = 0; count < times; ++count) {
      const bool go_on = co_await job.sleep(10ms);
      if (!go_on || current_job() != &job) co_return Error(ErrorCode::internal, "somebody else's");
    }
    seen.push_back(concat(url, " ", job.queue(), " ", job.attempt(), " ", job.jid().size() > 0));
    job.set_result(url);
    co_return Result<void>();
  });
  const std::unique_ptr<Node> node = world.start(std::move(registry), 100);
  const std::string long_url(100, 'u');
  std::string jid;
  for (int number = 0; number < 20; ++number) jid = world.enqueue("Fetch", concat("[\"", long_url, "\",3]"));
  world.runtime.advance(1s);
  ASSERT_EQ(seen.size(), 20U);
  EXPECT_EQ(seen.front(), concat(long_url, " default 1 true"));
  EXPECT_EQ(node->stats().finished, 20U);
  EXPECT_NE(world.journal(jid).back().detail.find(concat(R"("result":")", long_url)), std::string::npos);
  EXPECT_EQ(current_job(), nullptr);
}

TEST(AsyncJobs, fail_by_throwing_by_returning_an_error_and_by_arguments_that_do_not_fit) {
  World world;
  JobRegistry registry;
  registry.define("Throws", []() -> Async<void> {
    co_await this_process::sleep(1ms);
    throw std::runtime_error("after a wait");
  });
  registry.define("Odd", []() -> Async<void> {
    co_await this_process::sleep(1ms);
    throw 42;
  });
  registry.define("Returns", [](JobContext&) -> Async<Result<void>> { co_return Error(ErrorCode::not_found, "gone"); });
  registry.define("Typed", [](int) -> Async<void> { co_return; });
  const std::unique_ptr<Node> node = world.start(std::move(registry));
  const auto error_of = [&](const std::string& job_class, const std::string& arguments = "[]") {
    const std::string jid = world.enqueue(job_class, arguments);
    world.runtime.advance(1s);
    const Job job = stored_job(world, jid);
    return concat(*job.error_class(), ": ", *job.error_message());
  };
  EXPECT_EQ(error_of("Throws"), "std::runtime_error: after a wait");
  EXPECT_EQ(error_of("Odd"), "int: no std::exception");
  EXPECT_EQ(error_of("Returns"), "Error::not_found: gone");
  EXPECT_TRUE(error_of("Typed", R"(["x"])").starts_with("ArgumentError: argument 1 of Typed"));
  EXPECT_EQ(node->queue_stats().at(0).failed, 4U);
  EXPECT_EQ(node->stats().restarts, 0U);
}

TEST(AsyncJobs, over_their_time_are_asked_to_stop_and_then_ended) {
  World world;
  const JobOptions limited{.retry = {.max_retries = 0}, .timeout = 2s};
  JobRegistry registry;
  bool woken = false;
  registry.define(
      "Listens",
      [&woken](AsyncJobContext& job) -> Async<void> {
        const bool go_on = co_await job.sleep(1h);
        woken = !go_on;
      },
      limited);
  registry.define("Ignores", []() -> Async<void> { co_await this_process::sleep(1h); }, limited);
  registry.define("Quick", []() -> Async<void> { co_await this_process::sleep(1s); }, limited);
  const std::unique_ptr<Node> node = world.start(std::move(registry));
  const std::string listens = world.enqueue("Listens");
  const std::string ignores = world.enqueue("Ignores");
  const std::string quick = world.enqueue("Quick");
  world.runtime.advance(1900ms);
  EXPECT_FALSE(woken);
  EXPECT_EQ(node->busy_count(), 2U);
  world.runtime.advance(300ms);
  EXPECT_TRUE(woken);
  EXPECT_EQ(stored_job(world, listens).error_message(), "ran for more than 2 s before it returned");
  EXPECT_EQ(world.find(ignores)->state, JobState::running);
  world.runtime.advance(1s);
  EXPECT_EQ(stored_job(world, ignores).error_class(), "JobTimeout");
  EXPECT_EQ(stored_job(world, ignores).error_message(), "ran for more than 2 s and did not end when it was asked to");
  EXPECT_EQ(world.find(quick), std::nullopt);
  EXPECT_EQ(node->busy_count(), 0U);
}

/// Somebody to call.
class Doubler : public GenServer<Doubler> {
 public:
  struct Double {
    using Reply = int;
    int number;
  };
  int handle_call(Double question) { return 2 * question.number; }
};

TEST(AsyncJobs, call_servers_and_enqueue_jobs_as_any_process_does) {
  World world;
  const ServerRef<Doubler> doubler = world.runtime.start<Doubler>().value();
  std::vector<int> seen;
  JobRegistry registry;
  registry.define("Start", [&](int number) -> Async<Result<void>> {
    const Result<int> doubled = co_await doubler.call<Doubler::Double>(number);
    if (!doubled) co_return doubled.error();
    JobClient client = world.client();
    NewJob next = client.make("Next", *doubled).value();
    const Result<std::string> jid = co_await client.enqueue(std::move(next));
    if (!jid) co_return jid.error();
    co_return Result<void>();
  });
  registry.define("Next", [&seen](int number) { seen.push_back(number); });  // a thread job in the same pool
  const std::unique_ptr<Node> node =
      world.start(std::move(registry), 1, {.pools = {{.queues = {"default"}, .concurrency = 5000, .threads = 2}}});
  world.enqueue("Start", "[21]");
  world.runtime.advance(3s);
  EXPECT_EQ(seen, (std::vector<int>{42}));
}

TEST(AsyncJobs, that_have_not_ended_at_the_deadline_go_back_with_their_attempt_unchanged) {
  World world;
  JobRegistry registry;
  registry.define("Listens", [](AsyncJobContext& job) -> Async<void> {
    const bool go_on = co_await job.sleep(1h);
    if (!go_on) throw std::runtime_error("stopped");
  });
  registry.define("Ignores", []() -> Async<void> { co_await this_process::sleep(1h); });
  const std::unique_ptr<Node> node = world.start(std::move(registry));
  const std::string listens = world.enqueue("Listens");
  const std::string ignores = world.enqueue("Ignores");
  world.runtime.advance(1s);
  const NodeStopReport report = node->stop(1s);
  EXPECT_EQ(report.given_back, 2U);
  EXPECT_TRUE(report.retired);
  for (const std::string& jid : {listens, ignores}) {
    EXPECT_EQ(world.find(jid)->state, JobState::ready);
    EXPECT_EQ(stored_job(world, jid).attempt(), 1U);
  }
  EXPECT_EQ(world.runtime.process_count(), 0U);
}

TEST(JobsOwnRules, a_job_that_snoozes_runs_again_later_and_has_not_failed) {
  World world;
  std::vector<WallTime> runs;
  JobRegistry registry;
  registry.define("Later", [&](JobContext& job) {
    runs.push_back(world.runtime.clock().wall_now());
    EXPECT_EQ(job.attempt(), 1U);
    if (runs.size() < 3) job.snooze_for(30s);
  });
  const std::unique_ptr<Node> node = world.start(std::move(registry));
  const std::string jid = world.enqueue("Later");
  const std::string payload = world.find(jid)->payload;
  world.runtime.advance(1s);
  EXPECT_EQ(world.find(jid)->state, JobState::retrying);
  EXPECT_EQ(world.find(jid)->payload, payload);
  world.runtime.advance(2min);
  ASSERT_EQ(runs.size(), 3U);
  EXPECT_GE(runs[1] - runs[0], 30s);
  EXPECT_EQ(world.find(jid), std::nullopt);
  EXPECT_EQ(node->stats().snoozed, 2U);
  EXPECT_EQ(node->stats().retried, 0U);
  ASSERT_EQ(world.events.all<JobSnoozed>().size(), 2U);
  EXPECT_EQ(world.events.all<JobSnoozed>()[0].due_at - world.events.all<JobSnoozed>()[0].snoozed_at, 30s);
  int told = 0;
  for (const JournalRow& row : world.journal(jid)) told += std::holds_alternative<JobSnoozed>(event_of(row)) ? 1 : 0;
  EXPECT_EQ(told, 2);
}

TEST(JobsOwnRules, a_job_that_has_waited_too_long_is_dropped_unrun) {
  World world;
  int runs = 0;
  JobRegistry registry;
  registry.define("Fresh", [&runs] { ++runs; }, {.expires_in = 10s});
  const std::string old = world.enqueue("Fresh");
  world.runtime.advance(11s);
  const std::string fresh = world.enqueue("Fresh");
  const std::unique_ptr<Node> node = world.start(std::move(registry));
  world.runtime.advance(1s);
  EXPECT_EQ(runs, 1);
  EXPECT_EQ(world.events.story_of(old), (Names{"JobEnqueued", "JobExpired"}));
  EXPECT_EQ(world.events.story_of(fresh), (Names{"JobEnqueued", "JobFinished", "JobStarted"}));
  EXPECT_EQ(node->stats().expired, 1U);
  EXPECT_EQ(world.totals().expired, 1U);
  EXPECT_TRUE(world.totals().balanced());
}

TEST(JobsOwnRules, what_a_job_says_of_its_time_wins_over_its_class) {
  World world;
  int runs = 0;
  JobRegistry registry;
  const JobOptions limited{.retry = {.max_retries = 1, .delays = {10s}}, .timeout = 1h, .expires_in = 1h};
  registry.define(
      "Work",
      [&runs](int seconds) -> Async<void> {
        ++runs;
        co_await this_process::sleep(std::chrono::seconds(seconds));
      },
      limited);
  JobClient client = world.client();
  const auto put = [&](NewJob job) { return client.enqueue_blocking(std::move(job)).value(); };
  const WallTime now = world.runtime.clock().wall_now();
  const std::string waits = put({.job_class = "Work", .args_json = "[0]", .expires_in = 10s});
  const std::string late = put({.job_class = "Work", .args_json = "[0]", .expires_at = now + 11s});
  world.enqueue_raw("unknown", R"({"class":"Nobody","args":[],"jid":"unknown","expires_in":10})");
  world.runtime.advance(12s);
  const std::unique_ptr<Node> node = world.start(std::move(registry));
  world.runtime.advance(1s);
  EXPECT_EQ(runs, 0);
  for (const std::string& jid : {waits, late}) {
    EXPECT_EQ(world.events.story_of(jid), (Names{"JobEnqueued", "JobExpired"}));
  }
  EXPECT_EQ(world.find("unknown"), std::nullopt);
  EXPECT_NE(world.journal(late).back().detail.find("its time has passed"), std::string::npos);

  const std::string slow = put({.job_class = "Work", .args_json = "[60]", .timeout = 2s});
  world.runtime.advance(4s);
  EXPECT_EQ(stored_job(world, slow).error_class(), "JobTimeout");
  EXPECT_EQ(world.find(slow)->state, JobState::retrying);
  world.runtime.advance(20s);
  EXPECT_EQ(runs, 2);
  EXPECT_EQ(world.find(slow)->state, JobState::dead);

  // Its own time passes between two runs.
  const std::string twice = put(
      {.job_class = "Work", .args_json = "[60]", .timeout = 2s, .expires_at = world.runtime.clock().wall_now() + 5s});
  world.runtime.advance(20s);
  EXPECT_EQ(runs, 3);
  EXPECT_EQ(world.find(twice), std::nullopt);
  EXPECT_EQ(world.events.all<JobExpired>().size(), 4U);
}

TEST(JobsOwnRules, a_job_may_have_itself_discarded_buried_or_put_off_by_context_or_result) {
  World world;
  JobRegistry registry;
  registry.define("Drop", [](JobContext& job) { job.discard("nothing to do"); });
  registry.define("Bury", [](JobContext& job) { job.bury("the account is gone"); });
  registry.define("Fails", [](JobContext& job) {
    job.discard("no");
    throw std::runtime_error("a failure wins");
  });
  registry.define("Any", [](const std::string& how) {
    if (how == "drop") return RunOutcome::discarded("by result");
    if (how == "bury") return RunOutcome::buried();
    if (how == "snooze") return RunOutcome::snoozed(1h);
    if (how == "fail") return RunOutcome::failed("Mine", "by result");
    return RunOutcome::finished("all is well");
  });
  registry.define("Later", [](const std::string& how) -> Async<RunOutcome> {
    co_await this_process::sleep(1ms);
    co_return how == "drop" ? RunOutcome::discarded("after a wait") : RunOutcome::finished();
  });
  const std::unique_ptr<Node> node = world.start(std::move(registry));
  const auto run = [&](const std::string& job_class, const std::string& arguments = "[]") {
    std::string jid = world.enqueue(job_class, arguments);
    world.runtime.advance(1s);
    return jid;
  };
  const std::string dropped = run("Drop");
  EXPECT_EQ(world.events.all<JobDiscarded>().at(0).reason, "nothing to do");
  EXPECT_EQ(world.events.story_of(dropped), (Names{"JobDiscarded", "JobEnqueued", "JobStarted"}));
  EXPECT_NE(world.journal(dropped).back().detail.find(R"("reason":"nothing to do")"), std::string::npos);
  const std::string buried = run("Bury");
  EXPECT_EQ(world.find(buried)->state, JobState::dead);
  EXPECT_EQ(world.find(buried)->reason, "the account is gone");
  EXPECT_EQ(stored_job(world, buried).error_class(), "JobBuried");
  EXPECT_EQ(world.events.story_of(buried), (Names{"JobDied", "JobEnqueued", "JobStarted"}));
  EXPECT_EQ(world.find(run("Fails"))->state, JobState::retrying);

  EXPECT_EQ(world.find(run("Any", R"(["drop"])")), std::nullopt);
  EXPECT_EQ(world.find(run("Any", R"(["bury"])"))->reason, "by its own wish");
  const std::string later = run("Any", R"(["snooze"])");
  EXPECT_EQ(world.find(later)->due, world.events.all<JobSnoozed>().at(0).due_at);
  EXPECT_EQ(stored_job(world, run("Any", R"(["fail"])")).error_class(), "Mine");
  const std::string well = run("Any", R"(["well"])");
  EXPECT_NE(world.journal(well).back().detail.find(R"("result":"all is well")"), std::string::npos);
  EXPECT_EQ(world.find(run("Later", R"(["drop"])")), std::nullopt);
  EXPECT_EQ(node->stats().discarded, 3U);
  EXPECT_EQ(node->stats().died, 2U);
  EXPECT_EQ(node->stats().finished, 1U);
  EXPECT_TRUE(world.totals().balanced());
}

TEST(JobsOwnRules, a_class_says_when_to_retry_and_hears_of_the_end_of_its_retries) {
  World world;
  std::vector<WallTime> runs;
  std::vector<std::uint32_t> counts;
  Names given_up;
  JobRegistry registry;
  RetryPolicy policy{.max_retries = 2};
  policy.retry_at = [&](WallTime failed_at, std::uint32_t count) {
    counts.push_back(count);
    return failed_at + count * 1min;
  };
  policy.exhausted = [&](const FailedRun& run) {
    given_up.push_back(concat(run.error_message, " ", run.retry_index));
    return run.job.args_json() == "[true]" ? RetryStep::discard() : RetryStep::standard();
  };
  registry.define("Fails",
                  [&](bool) {
                    runs.push_back(world.runtime.clock().wall_now());
                    throw std::runtime_error("no");
                  },
                  {.retry = policy});
  const std::unique_ptr<Node> node = world.start(std::move(registry));
  const std::string kept = world.enqueue("Fails", "[false]");
  world.runtime.advance(5min);
  ASSERT_EQ(runs.size(), 3U);
  EXPECT_EQ(counts, (std::vector<std::uint32_t>{1, 2}));
  EXPECT_GE(runs[1] - runs[0], 1min);
  EXPECT_LT(runs[1] - runs[0], 62s);
  EXPECT_GE(runs[2] - runs[1], 2min);
  EXPECT_EQ(given_up, (Names{"no 2"}));
  EXPECT_EQ(world.find(kept)->state, JobState::dead);
  const std::string dropped = world.enqueue("Fails", "[true]");
  world.runtime.advance(5min);
  EXPECT_EQ(given_up.size(), 2U);
  EXPECT_EQ(world.find(dropped), std::nullopt);
  EXPECT_EQ(world.events.all<JobDiscarded>().size(), 1U);
}

TEST(Cancel, of_a_waiting_job_takes_it_out_and_of_a_running_one_stops_it_at_once) {
  World world;
  Names ended;
  JobRegistry registry;
  registry.define("Listens", [&ended](AsyncJobContext& job) -> Async<void> {
    const bool go_on = co_await job.sleep(1h);
    ended.emplace_back("listens");
    if (!go_on) throw std::runtime_error("stopped");
  });
  registry.define("Ignores", []() -> Async<void> { co_await this_process::sleep(1h); });
  registry.define("Finishes", [&ended](AsyncJobContext& job) -> Async<void> {
    const bool go_on = co_await job.sleep(1h);
    ended.emplace_back(go_on ? "?" : "finishes");
  });
  NodeOptions options;
  options.heartbeat = 1h;  // nobody waits for it here
  const std::unique_ptr<Node> node = world.start(std::move(registry), 3, std::move(options));
  JobClient client = world.client();
  const std::string listens = world.enqueue("Listens");
  const std::string ignores = world.enqueue("Ignores");
  const std::string finishes = world.enqueue("Finishes");
  const std::string waits = world.enqueue("Listens");
  world.runtime.advance(1s);
  EXPECT_EQ(client.cancel_blocking(waits).value(), ItemOutcome::done);
  EXPECT_EQ(client.cancel_blocking("nobody").value(), ItemOutcome::missing);
  EXPECT_EQ(world.events.story_of(waits), (Names{"JobCancelled", "JobEnqueued"}));
  for (const std::string& jid : {listens, ignores, finishes}) {
    EXPECT_EQ(client.cancel_blocking(jid).value(), ItemOutcome::running);
  }
  world.runtime.advance(100ms);
  EXPECT_EQ(ended.size(), 2U);
  EXPECT_EQ(world.find(ignores)->state, JobState::running);
  EXPECT_TRUE(node->running_jobs().at(0).stop_requested);
  world.runtime.advance(1s);  // stop_grace: then its process is ended
  EXPECT_EQ(node->busy_count(), 0U);
  EXPECT_EQ(world.events.story_of(listens), (Names{"JobCancelled", "JobEnqueued", "JobStarted"}));
  EXPECT_EQ(world.events.story_of(ignores), (Names{"JobCancelled", "JobEnqueued", "JobStarted"}));
  EXPECT_EQ(world.events.story_of(finishes), (Names{"JobEnqueued", "JobFinished", "JobStarted"}));
  EXPECT_EQ(world.kinds(listens).back(), JournalKind::cancelled);
  EXPECT_EQ(node->stats().cancelled, 2U);
  EXPECT_EQ(node->stats().retried, 0U);
  EXPECT_TRUE(world.totals().balanced());
  EXPECT_FALSE(node->cancel(listens));
}

TEST(Cancel, is_kept_until_a_node_has_heard_and_means_no_later_job_of_that_jid) {
  World world;
  int runs = 0;
  JobRegistry registry;
  registry.define("Fails",
                  [&runs](AsyncJobContext& job) -> Async<void> {
                    ++runs;
                    [[maybe_unused]] const bool slept = co_await job.sleep(2s);
                    throw std::runtime_error("no luck");
                  },
                  {.retry = {.delays = {1h}}});
  testing_jobs::FaultyStore store(*world.store);
  bool deaf = false;
  store.set_rule(StoreOperation::heartbeat,
                 [&deaf](std::size_t) { return deaf ? StoreFault::before : StoreFault::none; });
  NodeOptions options;
  options.pools.push_back({.queues = {"default"}, .concurrency = 2});
  options.events = &world.events;
  const auto node = Node::start(world.runtime, store, std::move(registry), std::move(options)).value();
  world.runtime.advance(1s);
  JobClient client = world.client();
  deaf = true;  // it fails before its node hears
  const std::string failed = world.enqueue("Fails");
  world.runtime.advance(1s);
  EXPECT_EQ(client.cancel_blocking(failed).value(), ItemOutcome::running);
  world.runtime.advance(3s);
  EXPECT_EQ(world.find(failed)->state, JobState::retrying);
  deaf = false;
  world.runtime.advance(6s);
  EXPECT_EQ(world.find(failed), std::nullopt);
  EXPECT_EQ(world.kinds(failed).back(), JournalKind::cancelled);
  EXPECT_EQ(runs, 1);

  deaf = true;  // it is gone, and another of its name came, before any node hears
  const auto put = [&] {
    NewJob job;
    job.job_class = "Fails";
    job.jid = "nightly";
    job.retry = RetrySetting::off();
    return client.enqueue_blocking(std::move(job)).value();
  };
  put();
  world.runtime.advance(1s);
  EXPECT_EQ(client.cancel_blocking("nightly").value(), ItemOutcome::running);
  world.runtime.advance(1500ms);
  EXPECT_EQ(world.find("nightly"), std::nullopt);
  put();
  deaf = false;
  world.runtime.advance(10s);
  EXPECT_EQ(runs, 3);
  const std::vector<JournalKind> story = world.kinds("nightly");
  EXPECT_EQ(std::ranges::count(story, JournalKind::cancelled), 0);
  EXPECT_EQ(std::ranges::count(story, JournalKind::discarded), 2);
  Heartbeat beat;
  EXPECT_TRUE(world.runtime.run(world.store->heartbeat(node->epoch(), std::move(beat))).value().cancels.empty());
}

TEST(Middleware, of_a_node_stands_around_runs_in_order_and_may_end_or_change_them) {
  World world;
  Names seen;
  const auto noting = [&seen](std::string name) {
    const auto before = [&seen, name](JobContext& job) -> std::optional<RunOutcome> {
      seen.push_back(concat(name, " ", job.job_class()));
      return std::nullopt;
    };
    return around_runs(name, before, [&seen, name](JobContext&, RunOutcome& outcome) {
      seen.push_back(concat("/", name, " ", outcome.error_class));
    });
  };
  NodeOptions options;
  options.middleware.push_back(noting("a"));
  options.middleware.push_back({.name = "for neither"});
  options.middleware.push_back(noting("b"));
  options.middleware.push_back(around_runs("gate", [](JobContext& job) -> std::optional<RunOutcome> {
    if (job.job().args_json() == "[\"drop\"]") return RunOutcome::discarded("at the gate");
    if (job.job().args_json() == "[\"throw\"]") throw std::runtime_error("the gate is broken");
    return std::nullopt;
  }));
  options.middleware.push_back(around_runs("result", nullptr, [](JobContext& job, RunOutcome& outcome) {
    if (outcome.kind == RunOutcome::Kind::finished) job.set_result("sealed");
  }));
  JobRegistry registry;
  const JobOptions once{.retry = {.max_retries = 0}};
  registry.define(
      "Thread",
      [&seen](const std::string& how) {
        seen.emplace_back("job");
        if (how == "fail") throw std::runtime_error("no");
      },
      once);
  registry.define(
      "Async",
      [&seen](const std::string& how) -> Async<void> {
        co_await this_process::sleep(1ms);
        seen.emplace_back("job");
        if (how == "fail") throw std::runtime_error("no");
      },
      once);
  const std::unique_ptr<Node> node = world.start(std::move(registry), 1, std::move(options));
  for (const char* kind : {"Thread", "Async"}) {
    const auto run = [&](const char* how) {
      seen.clear();
      std::string jid = world.enqueue(kind, concat("[\"", how, "\"]"));
      world.runtime.advance(1s);
      return jid;
    };
    const std::string a = concat("a ", kind);
    const std::string b = concat("b ", kind);
    const std::string well = run("well");
    EXPECT_EQ(seen, (Names{a, b, "job", "/b ", "/a "}));
    EXPECT_NE(world.journal(well).back().detail.find(R"("result":"sealed")"), std::string::npos);
    const std::string failed = run("fail");
    EXPECT_EQ(seen, (Names{a, b, "job", "/b std::runtime_error", "/a std::runtime_error"}));
    EXPECT_EQ(stored_job(world, failed).error_message(), "no");
    const std::string dropped = run("drop");
    EXPECT_EQ(seen, (Names{a, b, "/b ", "/a "}));
    EXPECT_EQ(world.kinds(dropped).back(), JournalKind::discarded);
    const std::string broken = run("throw");
    EXPECT_EQ(seen, (Names{a, b, "/b std::runtime_error", "/a std::runtime_error"}));
    EXPECT_EQ(stored_job(world, broken).error_message(), "the gate is broken");
  }
  EXPECT_EQ(node->stats().restarts, 0U);
}

TEST(Middleware, of_a_client_changes_or_refuses_jobs_before_they_are_stored) {
  World world;
  ClientOptions options{.events = &world.events};
  int asked = 0;
  options.middleware.emplace_back([](NewJob& job, const EnqueueCall& call) -> Result<void> {
    if (job.job_class == "Forbidden") return Error(ErrorCode::refused, "not here");
    if (job.job_class == "Throws") throw std::runtime_error("oh");
    if (call.due) job.tags.emplace_back("later");
    job.queue = "mail";
    job.timeout = 5s;
    set_member(job, "tenant", "7");
    return {};
  });
  options.middleware.emplace_back([&asked](NewJob& job, const EnqueueCall& call) -> Result<void> {
    ++asked;
    EXPECT_EQ(job.queue, "mail") << "sees what the first one left";
    EXPECT_EQ(call.given_bytes, job.jid == "given");
    return {};
  });
  JobClient client(world.runtime, *world.store, options);
  const std::string jid = client.enqueue_in_blocking({.job_class = "A"}, 1h).value();
  const Job stored = stored_job(world, jid);
  EXPECT_EQ(stored.queue(), "mail");
  EXPECT_EQ(world.find(jid)->queue, "mail");
  EXPECT_EQ(stored.timeout(), 5s);
  EXPECT_EQ(stored.tags_json(), R"(["later"])");
  EXPECT_NE(stored.payload().find(R"("tenant":7)"), std::string_view::npos);
  EXPECT_EQ(client.enqueue_blocking({.job_class = "Forbidden"}).error().message(), "not here");
  EXPECT_EQ(client.enqueue_blocking({.job_class = "Throws"}).error().message(), "a middleware threw: oh");
  std::vector<NewJob> bulk(2);
  bulk[0].job_class = "A";
  bulk[1].job_class = "Forbidden";
  EXPECT_FALSE(client.enqueue_bulk_blocking(std::move(bulk)));
  const std::string line = R"({"class":"A","args":[ 1 ],"jid":"given"})";
  EXPECT_TRUE(client.push_bulk_blocking({line}));
  EXPECT_EQ(stored_job(world, "given").timeout(), std::nullopt);
  EXPECT_FALSE(client.push_bulk_blocking({R"({"class":"Forbidden","args":[]})"}));
  EXPECT_EQ(world.totals().enqueued, 2U);
  EXPECT_EQ(asked, 3);
}

TEST(Traces, go_from_a_client_into_jobs_and_from_jobs_into_those_they_enqueue) {
  const std::string parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  const std::string child = "00-4bf92f3577b34da6a3ce929d0e0e4736-b7ad6b7169203331-01";
  EXPECT_TRUE(is_traceparent(parent));
  EXPECT_TRUE(is_traceparent("01" + parent.substr(2) + "-more"));
  for (const std::string& wrong :
       {std::string(), parent + "0", parent.substr(1), "ff" + parent.substr(2), "01" + parent.substr(2) + "more",
        "00-" + std::string(32, '0') + parent.substr(35), parent.substr(0, 36) + std::string(16, '0') + "-01",
        std::string("00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")}) {
    EXPECT_FALSE(is_traceparent(wrong)) << wrong;
  }
  World world;
  std::vector<TraceContext> seen;
  JobRegistry registry;
  registry.define("First", [&](AsyncJobContext& job) -> Async<void> {
    seen.push_back(job.trace());
    JobClient client(world.runtime, *world.store);
    NewJob next = client.make("Second").value();
    const Result<std::string> jid = co_await client.enqueue(std::move(next));
    job.set_trace({.parent = child});  // as code that makes spans does
    std::vector<std::string> lines{R"({"class":"Second","args":[]})"};
    const Result<std::vector<Enqueued>> pushed = co_await client.push_bulk(std::move(lines));
    if (!jid || !pushed) throw std::runtime_error("not enqueued");
  });
  registry.define("Second", [&seen](JobContext& job) {
    EXPECT_EQ(job.trace(), current_trace());
    seen.push_back(job.trace());
  });
  const std::unique_ptr<Node> node = world.start(std::move(registry), 1);
  ClientOptions options;
  TraceContext current{.parent = parent, .state = "vendor=1"};
  options.trace = [&current] { return current; };
  JobClient client(world.runtime, *world.store, options);
  ASSERT_TRUE(client.enqueue_blocking({.job_class = "First"}));
  world.runtime.advance(1s);
  EXPECT_EQ(seen, (std::vector<TraceContext>{current, current, {.parent = child}}));

  // What is no trace, or none at all, adds nothing; a job's own stays.
  current = {.parent = "nonsense"};
  const std::string plain = client.enqueue_blocking({.job_class = "Other"}).value();
  EXPECT_EQ(stored_job(world, plain).traceparent(), std::nullopt);
  current = {.parent = parent, .state = std::string(trace_state_size_limit + 1, 'x')};
  const std::string cut = client.enqueue_blocking({.job_class = "Other"}).value();
  EXPECT_EQ(stored_job(world, cut).traceparent(), parent);
  EXPECT_EQ(stored_job(world, cut).tracestate(), std::nullopt);
  ASSERT_TRUE(
      client.push_bulk_blocking({concat(R"({"class":"Other","args":[],"jid":"own","traceparent":")", child, "\"}")}));
  EXPECT_EQ(stored_job(world, "own").traceparent(), child);
  EXPECT_EQ(current_trace(), TraceContext());
}

TEST(Records, of_what_a_run_says_keep_the_latest_within_bounds_and_outlive_the_job) {
  World world;
  JobRegistry registry;
  registry.define("Talks", [](AsyncJobContext& job, int lines) -> Async<void> {
    job.progress(0.25, "begun");
    job.log("hello");
    [[maybe_unused]] const bool slept = co_await job.sleep(2s);
    job.progress(7);  // at most 1
    for (int line = 0; line < lines; ++line) job.log(concat("line ", line, " ", std::string(600, '"')));
  });
  registry.define("Thread", [](JobContext& job) { job.log("from a thread"); });
  registry.define("Silent", [](JobContext&) {});
  const std::unique_ptr<Node> node = world.start(std::move(registry), 4);
  const auto record = [&](const std::string& jid) -> std::optional<JobRecord> {
    const auto kept = world.runtime.run(world.store->read_record(jid)).value();
    if (!kept) return std::nullopt;
    EXPECT_LE(kept->size(), record_size_limit);
    return job_record_from_json(*kept).value();
  };
  const std::string talks = world.enqueue("Talks", "[150]");
  const std::string thread = world.enqueue("Thread");
  const std::string silent = world.enqueue("Silent");
  world.runtime.advance(1s);
  ASSERT_TRUE(record(talks));
  EXPECT_EQ(record(talks)->progress, 0.25);
  EXPECT_EQ(record(talks)->status, "begun");
  ASSERT_EQ(record(talks)->lines.size(), 1U);
  EXPECT_EQ(record(talks)->lines[0].text, "hello");
  EXPECT_EQ(record(thread)->lines.at(0).text, "from a thread");
  EXPECT_EQ(record(silent), std::nullopt);
  world.runtime.advance(2s);
  EXPECT_EQ(world.find(talks), std::nullopt);
  const JobRecord last = record(talks).value();
  EXPECT_EQ(last.progress, 1.0);
  EXPECT_EQ(last.status, "begun");
  EXPECT_LE(last.lines.size(), log_lines_limit);
  EXPECT_EQ(last.lines.size() + last.lines_dropped, 151U);
  EXPECT_TRUE(last.lines.back().text.starts_with("line 149 \"\""));
  EXPECT_TRUE(last.lines.back().text.ends_with(cut_mark));
  EXPECT_EQ(last.lines.back().text.size(), log_line_size_limit + std::string_view(cut_mark).size());
  EXPECT_FALSE(job_record_from_json("[]"));
  EXPECT_FALSE(job_record_from_json(R"({"lines":[[1]]})"));

  // What was said right before the end is there when the node has left.
  const std::string end = world.enqueue("Thread");
  world.runtime.advance(10ms);
  EXPECT_TRUE(node->stop(1s).retired);
  EXPECT_EQ(record(end)->lines.at(0).text, "from a thread");
}

TEST(WorkerPool, of_quick_jobs_hands_over_and_asks_for_many_at_once_and_waits_a_millisecond_for_it) {
  World world;
  testing_jobs::FaultyStore store(*world.store);
  JobRegistry registry;
  registry.define("Wait", [](int us) -> Async<void> { co_await this_process::sleep(std::chrono::microseconds(us)); });
  for (int number = 0; number < 80; ++number) world.enqueue("Wait", concat('[', number % 8 * 100, ']'));
  NodeOptions options;
  options.pools.push_back({.queues = {"default"}, .concurrency = 8});
  const auto node = Node::start(world.runtime, store, std::move(registry), std::move(options)).value();
  world.runtime.advance(1s);
  EXPECT_EQ(node->stats().finished, 80U);
  EXPECT_LT(store.calls(StoreOperation::settle), 40U);

  world.enqueue("Wait", "[60000000]");
  world.runtime.advance(100ms);
  world.enqueue("Wait", "[0]");
  world.runtime.advance(100ms);  // though the other one goes on for a minute
  EXPECT_EQ(node->stats().finished, 81U);
}

TEST(StoreTrouble, is_told_once_when_it_begins_and_once_when_it_ends) {
  World world;
  testing_jobs::FaultyStore store(*world.store);
  store.set_rule(StoreOperation::settle,
                 [](std::size_t count) { return count <= 4 ? StoreFault::before : StoreFault::none; });
  JobRegistry registry;
  registry.define("Noop", []() -> Async<void> { co_return; });
  NodeOptions options;
  options.pools.push_back({.queues = {"default"}, .concurrency = 1});
  options.events = &world.events;
  const auto node = Node::start(world.runtime, store, std::move(registry), std::move(options)).value();
  world.enqueue("Noop");
  world.enqueue("Noop");
  world.runtime.advance(10s);
  EXPECT_EQ(node->stats().finished, 2U);
  const std::vector<StoreTrouble> began = world.events.all<StoreTrouble>();
  const std::vector<StoreRecovered> ended = world.events.all<StoreRecovered>();
  ASSERT_EQ(began.size(), 1U);
  ASSERT_EQ(ended.size(), 1U);
  EXPECT_EQ(began[0].operation, "settle");
  EXPECT_EQ(began[0].reason, "the store is away");
  EXPECT_EQ(began[0].node, node->name());
  EXPECT_EQ(ended[0].failing_since, began[0].at);
  EXPECT_GT(ended[0].at, began[0].at);
}

}  // namespace
}  // namespace dagverk::jobs
