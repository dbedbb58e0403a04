// A whole node on the deterministic runtime, over the SQLite store: what becomes of jobs.

#include "jobs/node_world.hpp"

#include "dagverk/event/serial_event_manager.hpp"
#include "dagverk/event/staged_event_manager.hpp"
#include "dagverk/event/supervised_event_manager.hpp"
#include "dagverk/jobs/event_hub.hpp"
#include "dagverk/runtime/deterministic_runtime.hpp"
#include "dagverk/stage/consumer.hpp"
#include "dagverk/testing_jobs/faulty_store.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <unistd.h>
#include <vector>

namespace dagverk::jobs {
namespace {

using namespace std::chrono_literals;
using World = NodeWorld<DeterministicRuntime>;
using Kinds = std::vector<JournalKind>;
using Names = std::vector<std::string>;
using testing_jobs::StoreFault;
using testing_jobs::StoreOperation;

TEST(Node, runs_a_job_with_its_typed_arguments_and_tells_its_story) {
  World world;
  std::string seen;
  JobRegistry registry;
  registry.define("Resize", [&seen](JobContext& job, const std::string& path, int width) {
    seen = concat(path, " ", width, " ", job.job_class(), " ", job.queue(), " ", job.attempt(), " ",
                  current_job() == &job);
    job.set_result("done");
  });
  const std::unique_ptr<Node> node = world.start(std::move(registry));
  const std::string jid = world.enqueue("Resize", R"(["cat.jpg",640])");
  world.runtime.advance(2s);
  EXPECT_EQ(seen, "cat.jpg 640 Resize default 1 true");
  EXPECT_EQ(world.find(jid), std::nullopt);
  EXPECT_EQ(world.kinds(jid), (Kinds{JournalKind::enqueued, JournalKind::started, JournalKind::finished}));
  EXPECT_EQ(world.events.story_of(jid), (Names{"JobEnqueued", "JobFinished", "JobStarted"}));
  EXPECT_NE(world.journal(jid).back().detail.find(R"("result":"done")"), std::string::npos);
  EXPECT_EQ(node->stats().finished, 1U);
  EXPECT_TRUE(world.totals().balanced());
}

TEST(Node, a_job_that_fails_twice_waits_as_its_class_says_and_then_succeeds) {
  World world;
  int runs = 0;
  JobRegistry registry;
  registry.define("Flaky",
                  [&runs](JobContext& job) {
                    EXPECT_EQ(job.attempt(), static_cast<std::uint32_t>(++runs));
                    if (runs <= 2) throw std::runtime_error(concat("failure ", runs));
                  },
                  {.retry = {.delays = {300ms, 700ms}}});
  const std::unique_ptr<Node> node = world.start(std::move(registry));
  const std::string jid = world.enqueue("Flaky");
  world.runtime.advance(250ms);
  EXPECT_EQ(runs, 1);
  const StoredJob waiting = world.find(jid).value();
  EXPECT_EQ(waiting.state, JobState::retrying);
  const Job failed = decode_job(waiting.payload).value();
  EXPECT_EQ(failed.error_class(), "std::runtime_error");
  EXPECT_EQ(failed.error_message(), "failure 1");
  EXPECT_EQ(failed.retry_count(), 0);
  EXPECT_TRUE(failed.failed_at());
  world.runtime.advance(100ms);
  EXPECT_EQ(runs, 2);
  world.runtime.advance(600ms);
  EXPECT_EQ(runs, 2);
  world.runtime.advance(150ms);
  EXPECT_EQ(runs, 3);
  EXPECT_EQ(world.find(jid), std::nullopt);
  EXPECT_EQ(world.events.story_of(jid),
            (Names{"JobEnqueued", "JobFailed", "JobFailed", "JobFinished", "JobPromoted", "JobPromoted", "JobRetried",
                   "JobRetried", "JobStarted", "JobStarted", "JobStarted"}));
  EXPECT_EQ(world.kinds(jid), (Kinds{JournalKind::enqueued, JournalKind::started, JournalKind::retried,
                                     JournalKind::promoted, JournalKind::started, JournalKind::retried,
                                     JournalKind::promoted, JournalKind::started, JournalKind::finished}));
  EXPECT_EQ(node->stats().retried, 2U);
}

TEST(Node, a_job_that_always_fails_ends_in_the_dead_set_with_its_last_error) {
  World world;
  JobRegistry registry;
  registry.define("Doomed", []() -> Result<void> { return Error(ErrorCode::not_found, "no such customer"); },
                  {.retry = {.max_retries = 2, .delays = {10ms}}});
  const std::unique_ptr<Node> node = world.start(std::move(registry));
  const std::string jid = world.enqueue("Doomed");
  world.runtime.advance(1s);
  const StoredJob dead = world.find(jid).value();
  EXPECT_EQ(dead.state, JobState::dead);
  const Job job = decode_job(dead.payload).value();
  EXPECT_EQ(job.error_class(), "Error::not_found");
  EXPECT_EQ(job.error_message(), "no such customer");
  EXPECT_EQ(job.retry_count(), 2);
  EXPECT_NE(dead.reason.find("out of retries"), std::string::npos);
  const std::vector<JobDied> died = world.events.all<JobDied>();
  ASSERT_EQ(died.size(), 1U);
  EXPECT_EQ(died.front().job.attempt, 3U);
}

TEST(Node, retry_false_discards_and_whatever_is_thrown_is_a_failure) {
  World world;
  JobRegistry registry;
  registry.define("Odd", [] { throw 42; });
  const std::unique_ptr<Node> node = world.start(std::move(registry));
  NewJob job;
  job.job_class = "Odd";
  job.retry = RetrySetting::off();
  const std::string jid = world.client().enqueue_blocking(std::move(job)).value();
  world.runtime.advance(1s);
  EXPECT_EQ(world.find(jid), std::nullopt);
  EXPECT_EQ(world.events.story_of(jid), (Names{"JobDiscarded", "JobEnqueued", "JobFailed", "JobStarted"}));
  EXPECT_EQ(world.events.all<JobFailed>().front().exception, "int");
  EXPECT_EQ(world.totals().discarded, 1U);
}

TEST(Node, a_malformed_payload_goes_to_the_dead_set_byte_for_byte_and_the_queue_goes_on) {
  World world;
  int runs = 0;
  JobRegistry registry;
  registry.define("Fine", [&runs] { ++runs; });
  const std::string bytes("{\"class\":\"Fine\",\"args\":[1,}\0\xff", 29);
  world.enqueue_raw("broken", bytes);
  world.enqueue_raw("shape", R"({"class":7,"args":[],"jid":"shape"})");
  const std::string after = world.enqueue("Fine");
  const std::unique_ptr<Node> node = world.start(std::move(registry));
  world.runtime.advance(1s);
  EXPECT_EQ(runs, 1);
  EXPECT_EQ(world.find(after), std::nullopt);
  const StoredJob dead = world.find("broken").value();
  EXPECT_EQ(dead.state, JobState::dead);
  EXPECT_EQ(dead.payload, bytes);
  EXPECT_FALSE(dead.reason.empty());
  EXPECT_EQ(world.find("shape")->state, JobState::dead);
  ASSERT_EQ(world.events.all<JobDied>().size(), 2U);
  EXPECT_FALSE(world.events.all<JobDied>().front().reason.empty());
  EXPECT_EQ(node->stats().started, 1U);
}

TEST(Node, a_job_of_an_unknown_class_is_retried_with_a_plain_message) {
  World world;
  const std::unique_ptr<Node> node = world.start(JobRegistry());
  const std::string jid = world.enqueue("Elsewhere::Job");
  world.runtime.advance(1s);
  const StoredJob waiting = world.find(jid).value();
  EXPECT_EQ(waiting.state, JobState::retrying);
  const Job job = decode_job(waiting.payload).value();
  EXPECT_EQ(job.error_class(), "UnknownJobClass");
  EXPECT_EQ(job.error_message(), "this node defines no job class \"Elsewhere::Job\"");
}

TEST(Node, a_job_of_an_unknown_class_is_left_to_others_or_buried_by_option) {
  for (const UnknownClass option : {UnknownClass::leave, UnknownClass::bury}) {
    World world;
    NodeOptions options;
    options.unknown_class = option;
    const std::unique_ptr<Node> node = world.start(JobRegistry(), 1, std::move(options));
    const std::string jid = world.enqueue("Elsewhere::Job");
    const std::string payload = world.find(jid)->payload;
    world.runtime.advance(1s);
    if (option == UnknownClass::bury) {
      EXPECT_EQ(world.find(jid)->state, JobState::dead);
      EXPECT_EQ(world.find(jid)->reason, "this node defines no job class \"Elsewhere::Job\"");
      continue;
    }
    EXPECT_EQ(world.find(jid)->state, JobState::retrying);
    EXPECT_EQ(world.find(jid)->payload, payload);
    EXPECT_TRUE(node->stop(1s).retired);
    JobRegistry registry;
    int ran = 0;
    registry.define("Elsewhere::Job", [&ran](JobContext& job) { ran += static_cast<int>(job.attempt()); });
    const std::unique_ptr<Node> other = world.start(std::move(registry));
    world.runtime.advance(unknown_class_delay + 2s);
    EXPECT_EQ(ran, 1) << "its first attempt";
    EXPECT_EQ(world.find(jid), std::nullopt);
  }
}

TEST(Node, arguments_that_do_not_fit_fail_and_name_the_argument) {
  World world;
  JobRegistry registry;
  registry.define("Resize", [](const std::string&, int) {});
  const std::unique_ptr<Node> node = world.start(std::move(registry));
  const std::string jid = world.enqueue("Resize", R"(["cat.jpg","wide"])");
  world.runtime.advance(1s);
  const Job job = decode_job(world.find(jid)->payload).value();
  EXPECT_EQ(job.error_class(), "ArgumentError");
  EXPECT_NE(job.error_message()->find("argument 2 of Resize"), std::string::npos);
}

TEST(Node, a_scheduled_job_runs_on_time_whoever_scheduled_it) {
  World world;
  std::vector<WallTime> runs;
  JobRegistry registry;
  registry.define("Later", [&] { runs.push_back(world.runtime.clock().wall_now()); });
  const std::unique_ptr<Node> node = world.start(std::move(registry));
  world.runtime.advance(100ms);
  NewJob job;
  job.job_class = "Later";
  const WallTime due = world.runtime.clock().wall_now() + 30s;
  const std::string jid = world.client().enqueue_at_blocking(job, due).value();
  EXPECT_EQ(world.find(jid)->state, JobState::scheduled);
  world.runtime.advance(29s);
  EXPECT_TRUE(runs.empty());
  world.runtime.advance(1100ms);
  ASSERT_EQ(runs.size(), 1U);
  EXPECT_GE(runs.front(), due);
  EXPECT_LE(runs.front(), due + 20ms);
  EXPECT_EQ(world.kinds(jid),
            (Kinds{JournalKind::scheduled, JournalKind::promoted, JournalKind::started, JournalKind::finished}));
}

TEST(Node, what_is_limited_runs_when_its_turn_comes_and_nobody_asks_in_between) {
  World world;
  testing_jobs::FaultyStore store(*world.store);
  std::vector<WallTime> runs;
  std::vector<std::string> keyed;
  JobRegistry registry;
  registry.define("Note", [&] { runs.push_back(world.runtime.clock().wall_now()); });
  registry.define("Sync", [&](const std::string& customer) { keyed.push_back(customer); },
                  {.limit = "api", .limit_argument = 0});
  Limit queue{.scope = LimitScope::queue, .name = "default"};
  queue.rate = Rate{2, 10s};
  Limit api{.scope = LimitScope::key, .name = "api"};
  api.rate = Rate{1, 3s};
  ASSERT_TRUE(world.runtime.run(store.put_limit(queue)).value());
  ASSERT_TRUE(world.runtime.run(store.put_limit(api)).value());
  NodeOptions options;
  options.pools.push_back({.queues = {"default"}, .concurrency = 4});
  options.pools.push_back({.queues = {"other"}, .concurrency = 1});  // what may run, runs in order
  JobClient client(world.runtime, *world.store, {.registry = &registry});
  for (const char* const customer : {"acme", "acme", "zoo"}) {
    NewJob job = client.make("Sync", std::string(customer)).value();
    job.queue = "other";
    ASSERT_TRUE(client.enqueue_blocking(std::move(job)));
  }
  for (int count = 0; count < 4; ++count) world.enqueue("Note");
  const WallTime start = world.runtime.clock().wall_now();
  const std::unique_ptr<Node> node = Node::start(world.runtime, store, std::move(registry), std::move(options)).value();
  world.runtime.advance(2s);
  EXPECT_EQ(runs.size(), 2U);
  EXPECT_EQ(keyed, (Names{"acme", "zoo"}));
  const std::size_t takes = store.calls(StoreOperation::take);
  world.runtime.advance(800ms);
  EXPECT_EQ(store.calls(StoreOperation::take), takes) << "nothing has changed";
  world.runtime.advance(1s);
  EXPECT_EQ(keyed, (Names{"acme", "zoo", "acme"}));
  world.runtime.advance(7s);
  ASSERT_EQ(runs.size(), 4U);
  EXPECT_LT(runs[2] - start, 5200ms);
  EXPECT_LT(runs[3] - start, 10200ms);
}

TEST(Node, one_thread_runs_a_queue_in_order_and_queues_in_strict_order) {
  World world;
  std::vector<int> order;
  JobRegistry registry;
  registry.define("Note", [&order](int number) { order.push_back(number); });
  for (int number = 0; number < 20; ++number) {
    world.enqueue("Note", concat("[", 100 + number, "]"), "low");
    world.enqueue("Note", concat("[", number, "]"), "high");
  }
  NodeOptions options;
  options.pools.push_back({.queues = {"high", "low"}, .concurrency = 1});
  const std::unique_ptr<Node> node = world.start(std::move(registry), 1, std::move(options));
  world.runtime.advance(2s);
  ASSERT_EQ(order.size(), 40U);
  EXPECT_TRUE(std::ranges::is_sorted(order));
}

TEST(Node, stopping_gives_back_what_has_not_ended_with_its_bytes_and_attempt_unchanged) {
  World world;
  JobRegistry registry;
  registry.define("Slow", [] {});
  std::vector<std::string> jids;
  for (int count = 0; count < 3; ++count) jids.push_back(world.enqueue("Slow"));
  const std::string payload = world.find(jids[0])->payload;
  // Nobody on this thread ever finishes: its runs wait for a thread that the test does not let run.
  std::unique_ptr<Node> node = world.start(std::move(registry));
  for (int steps = 0; world.totals().running < 3 && steps < 10'000; ++steps) world.runtime.step();
  const NodeStopReport report = node->stop(0s);
  EXPECT_TRUE(report.retired);
  EXPECT_EQ(report.stuck, 0U);
  EXPECT_EQ(report.given_back + report.stats.finished, 3U);
  const QueueCounts counts = world.totals();
  EXPECT_EQ(counts.running, 0U);
  EXPECT_EQ(counts.ready + counts.finished, 3U);
  EXPECT_TRUE(counts.balanced());
  if (const auto job = world.find(jids[0])) {
    EXPECT_EQ(job->payload, payload);
  }
  EXPECT_EQ(world.runtime.process_count(), 0U);
}

TEST(Node, a_lost_lease_fences_the_old_run_and_the_node_comes_back_under_a_new_epoch) {
  World world;
  JobRegistry registry;
  registry.define("Once", [] {});
  const std::unique_ptr<Node> node = world.start(std::move(registry), 1);
  world.runtime.advance(1s);
  const NodeEpoch first = node->epoch();
  // Somebody else ends our registration between two heartbeats, as a rescuer would after a stall.
  ASSERT_TRUE(world.runtime.run(world.store->retire_node(first)));
  const std::string jid = world.enqueue("Once");
  world.runtime.advance(10s);
  EXPECT_NE(node->epoch(), first);
  EXPECT_NE(node->epoch(), 0U);
  EXPECT_EQ(world.find(jid), std::nullopt);
  EXPECT_EQ(node->stats().restarts, 1U);
}

TEST(Node, others_see_what_it_is_and_runs_from_its_start_to_its_end) {
  World world;
  JobRegistry registry;
  registry.define("Again", [](JobContext& job) {
    if (job.attempt() == 1) throw std::runtime_error("first");
  });
  NodeOptions options;
  options.pools = {{.name = "mail", .queues = {"default", "low"}, .concurrency = 3}};
  options.tag = "shop";
  options.labels = {"fast"};
  const std::unique_ptr<Node> node = world.start(std::move(registry), 1, std::move(options));
  const std::unique_ptr<Node> other = world.start({}, 1);
  EXPECT_NE(node->identity(), other->identity());
  EXPECT_EQ(std::ranges::count(node->identity(), ':'), 2);
  world.runtime.advance(1s);

  const std::vector<NodeInfo> nodes = world.runtime.run(world.store->list_nodes()).value();
  ASSERT_EQ(nodes.size(), 2U);
  const NodeInfo& seen = nodes[0];
  EXPECT_EQ(seen.identity, node->identity());
  EXPECT_EQ(seen.status.os_pid, ::getpid());
  EXPECT_EQ(seen.status.tag, "shop");
  EXPECT_EQ(seen.status.labels, Names{"fast"});
  EXPECT_EQ(seen.status.concurrency, 3U);
  const std::vector<PoolStatus> pools = {{"mail", 3, QueueMode::strict, {{"default", 0}, {"low", 0}}}};
  EXPECT_EQ(seen.status.pools, pools);
  EXPECT_TRUE(seen.status.embedded) << "nobody has said how it is stopped";
  EXPECT_GT(seen.status.resident_bytes, 0U);
  EXPECT_FALSE(seen.status.quiet);
  ASSERT_TRUE(node->resize("mail", 5));
  world.runtime.advance(5s);
  EXPECT_EQ(world.runtime.run(world.store->list_nodes())->at(0).status.concurrency, 5U);
  node->stop(1s);
  EXPECT_EQ(world.runtime.run(world.store->list_nodes())->size(), 1U);
}

TEST(Node, does_what_is_asked_from_outside_even_if_a_reply_is_lost_and_stays_quiet_through_a_restart) {
  World world;
  testing_jobs::FaultyStore faulty(*world.store);
  std::size_t lost = 0;
  faulty.set_rule(StoreOperation::heartbeat, [&lost](std::size_t) {
    if (lost == 0) return StoreFault::none;
    --lost;
    return StoreFault::after;
  });
  int stops = 0;
  NodeOptions options;
  options.pools = {{.queues = {"default"}}};
  options.events = &world.events;
  options.seed = 7;
  options.on_stop_signal = [&stops] { ++stops; };
  JobRegistry registry;
  registry.define("Once", [] {});
  const std::unique_ptr<Node> node =
      Node::start(world.runtime, faulty, std::move(registry), std::move(options)).value();
  world.runtime.advance(1s);
  const auto send = [&](NodeSignal signal) {
    return world.runtime.run(world.store->send_signal(node->identity(), signal)).value();
  };
  EXPECT_FALSE(world.runtime.run(world.store->list_nodes())->at(0).status.embedded);
  ASSERT_EQ(send(NodeSignal::quiet), ItemOutcome::done);
  lost = 1;
  world.runtime.advance(5s);
  EXPECT_TRUE(world.events.all<QueuePausing>().empty()) << "the reply was lost";
  world.runtime.advance(5s);
  EXPECT_EQ(world.events.all<QueuePausing>().size(), 1U);
  world.runtime.advance(5s);
  EXPECT_TRUE(world.runtime.run(world.store->list_nodes())->at(0).status.quiet);
  const std::string jid = world.enqueue("Once");
  world.runtime.advance(30s);
  EXPECT_NE(world.find(jid), std::nullopt);

  const NodeEpoch first = node->epoch();
  ASSERT_TRUE(world.runtime.run(world.store->retire_node(first)));
  world.runtime.advance(30s);
  EXPECT_NE(node->epoch(), first);
  EXPECT_NE(world.find(jid), std::nullopt) << "quiet is for good";
  EXPECT_EQ(world.runtime.run(world.store->list_nodes())->at(0).identity, node->identity());

  EXPECT_EQ(stops, 0);
  ASSERT_EQ(send(NodeSignal::stop), ItemOutcome::done);
  world.runtime.advance(5s);
  EXPECT_EQ(stops, 1);
  world.runtime.advance(30s);
  EXPECT_EQ(stops, 1) << "once is enough";
}

TEST(Node, refuses_wrong_options_naming_field_and_range) {
  World world;
  const auto error_of = [&](NodeOptions options, JobRegistry registry = {}) {
    return std::string(
        Node::start(world.runtime, *world.store, std::move(registry), std::move(options)).error().message());
  };
  EXPECT_EQ(error_of({.pools = {{.queues = {}}}}), "a pool must serve at least one queue");
  EXPECT_EQ(error_of({.pools = {{.queues = {"mail"}, .concurrency = 0}}}),
            "pool \"mail\": concurrency must be 1..100000, got 0");
  EXPECT_EQ(error_of({.pools = {{.queues = {"mail"}}, {.queues = {"mail"}}}}), "pool \"mail\" is there already");
  EXPECT_EQ(error_of({.pools = {{.queues = {{"mail", 1}, {"low", 1001}}}}}),
            "pool \"mail\": weight of queue \"low\" must be 1..1000, got 1001");
  EXPECT_EQ(error_of({.pools = {{.queues = {"mail", "mail"}}}}), "pool \"mail\": queue \"mail\" is there twice");
  JobRegistry function;
  function.define("A", [] {});
  EXPECT_EQ(error_of({.pools = {{.queues = {"mail"}, .concurrency = 2000}}}, std::move(function)),
            "pool \"mail\": concurrency (without a number of threads) must be 1..1024, got 2000");
  JobRegistry twice;
  twice.define("A", [] {}).define("A", [] {});
  EXPECT_EQ(error_of({.pools = {{.queues = {"mail"}}}}, std::move(twice)), "job class \"A\" is defined twice");
  JobRegistry command;
  command.define_command("Echo", {.run = {"{0}"}});
  EXPECT_NE(
      error_of({.pools = {{.queues = {"mail"}}}}, std::move(command)).find("must begin with an executable's name"),
      std::string::npos);
}

TEST(Node, the_journal_tells_as_events_what_the_node_told) {
  World world;
  JobRegistry registry;
  registry.define("Flaky",
                  [](JobContext& job) {
                    if (job.attempt() == 1) throw std::runtime_error("first");
                  },
                  {.retry = {.delays = {10ms}}});
  const std::unique_ptr<Node> node = world.start(std::move(registry));
  const std::string jid = world.enqueue("Flaky");
  world.runtime.advance(2s);
  Names names;
  for (const JournalRow& row : world.journal(jid)) names.emplace_back(kind_name(event_of(row)));
  EXPECT_EQ(names, (Names{"JobEnqueued", "JobStarted", "JobRetried", "JobPromoted", "JobStarted", "JobFinished"}));
  const JobRetried retried = std::get<JobRetried>(event_of(world.journal(jid)[2]));
  EXPECT_EQ(retried.job.attempt, 1U);
  EXPECT_EQ(retried.job.node, node->name());
  EXPECT_GE(retried.due_at, retried.failed_at + 10ms);
}

TEST(Node, the_end_of_a_run_that_lost_its_lease_is_refused_told_and_counted_and_the_job_runs_again) {
  World world;
  std::unique_ptr<Node> node;
  int runs = 0;
  JobRegistry registry;
  registry.define("Stalled", [&] {
    if (++runs > 1) return;
    // What a rescuer does while this OS process is stalled.
    ASSERT_TRUE(world.runtime.run(world.store->retire_node(node->epoch())));
  });
  node = world.start(std::move(registry), 1);
  const std::string jid = world.enqueue("Stalled");
  world.runtime.advance(20s);
  EXPECT_EQ(runs, 2);
  EXPECT_EQ(world.find(jid), std::nullopt);
  EXPECT_EQ(node->stats().lease_lost, 1U);
  EXPECT_EQ(world.events.all<JobLeaseLost>().size(), 1U);
  EXPECT_EQ(world.events.all<JobFinished>().size(), 1U);
  EXPECT_EQ(world.totals().finished, 1U);
}

TEST(Node, a_run_whose_process_is_ended_costs_that_job_an_attempt_and_nobody_else_anything) {
  World world;
  int runs = 0;
  JobRegistry registry;
  registry.define("Victim",
                  [&runs]() -> Async<void> {
                    ++runs;
                    co_await this_process::sleep(100ms);
                  },
                  {.retry = {.delays = {50ms}}});
  const std::unique_ptr<Node> node = world.start(std::move(registry), 1);
  const std::string jid = world.enqueue("Victim");
  Pid victim;
  for (int steps = 0; !victim && steps < 10'000; ++steps) {
    world.runtime.step();
    for (const ProcessInfo& process : world.runtime.snapshot().processes) {
      if (process.kind == "process" && world.events.all<JobStarted>().size() == 1) victim = process.pid;
    }
  }
  ASSERT_TRUE(victim);
  world.runtime.exit(victim, ExitReason::kill);
  world.runtime.advance(40ms);
  const std::optional<StoredJob> waiting = world.find(jid);
  ASSERT_TRUE(waiting);
  EXPECT_EQ(waiting->state, JobState::retrying);
  EXPECT_EQ(decode_job(waiting->payload)->error_class(), "JobProcessExited");
  world.runtime.advance(1s);
  EXPECT_EQ(world.find(jid), std::nullopt);
  EXPECT_GE(runs, 1);
  EXPECT_EQ(node->stats().restarts, 0U);
}

TEST(Node, whatever_process_of_it_crashes_no_job_is_lost_and_all_counts_add_up) {
  constexpr int count = 60;
  const std::uint64_t first_seed = DeterministicRuntime().seed() % 1'000'000;
  for (std::uint64_t seed = first_seed; seed < first_seed + 12; ++seed) {
    SCOPED_TRACE(concat("DAGVERK_SEED=", seed));
    World world(DeterministicOptions{.seed = seed});
    Random random(seed);
    std::map<int, int> runs;
    JobRegistry registry;
    registry.define("Count",
                    [&runs](int number) {
                      ++runs[number];
                      if (number % 7 == 0 && runs[number] == 1) throw std::runtime_error("once");
                    },
                    {.retry = {.max_retries = 1000, .delays = {20ms}}});
    const std::unique_ptr<Node> node = world.start(std::move(registry), 3);
    std::set<std::string> jids;
    int crashes = 0;
    const std::set<std::string> parts = {"QueueProducer", "WorkerPool",    "Acknowledger", "Promoter", "Keeper",
                                         "NodeServer",    "ChangeWatcher", "CronFirer",    "process"};
    for (int number = 0; number < count; ++number) {
      jids.insert(world.enqueue("Count", concat("[", number, "]")));
      const std::uint64_t steps = random.below(60);
      for (std::uint64_t step = 0; step < steps; ++step) world.runtime.step();
      if (random.below(3) == 0) {
        std::vector<ProcessInfo> victims;
        for (const ProcessInfo& process : world.runtime.snapshot().processes) {
          const std::size_t colon = process.kind.rfind(':');  // npos + 1 is 0
          if (parts.contains(std::string(process.kind.substr(colon + 1)))) {
            victims.push_back(process);
          }
        }
        if (!victims.empty()) {
          world.runtime.exit(victims[random.below(victims.size())].pid, ExitReason::kill);
          ++crashes;
        }
        world.runtime.advance(random.below(3000) * 1ms);
      }
      const QueueCounts counts = world.totals();
      ASSERT_TRUE(counts.balanced());
      ASSERT_EQ(counts.live() + counts.dead + counts.finished, static_cast<std::uint64_t>(number) + 1);
    }
    EXPECT_GT(crashes, 0);
    world.runtime.advance(2min);
    const QueueCounts counts = world.totals();
    EXPECT_EQ(counts.finished, static_cast<std::uint64_t>(count));
    EXPECT_EQ(counts.live() + counts.dead, 0U);
    EXPECT_EQ(runs.size(), static_cast<std::size_t>(count));
    std::map<std::string, int> finished;
    for (const JournalRow& row : world.journal()) finished[row.jid] += row.kind == JournalKind::finished ? 1 : 0;
    for (const std::string& jid : jids) EXPECT_EQ(finished[jid], 1) << jid;
    EXPECT_GT(node->stats().restarts, 0U);
  }
}

TEST(Node, the_same_seed_gives_the_same_order_of_everything) {
  const auto run = [](std::uint64_t seed) {
    World world(DeterministicOptions{.seed = seed});
    JobRegistry registry;
    registry.define("Note", [](int) {});
    const std::unique_ptr<Node> node = world.start(std::move(registry), 3, {.name = "fixed"});
    for (int number = 0; number < 20; ++number) world.enqueue("Note", concat("[", number, "]"));
    world.runtime.advance(5s);
    return world.runtime.order_hash();
  };
  EXPECT_EQ(run(11), run(11));
  EXPECT_NE(run(11), run(12));
}

TEST(Node, a_store_that_fails_before_or_after_any_operation_costs_no_job_and_stored_ends_are_not_stored_twice) {
  using Fault = StoreFault;
  using Rule = testing_jobs::FaultyStore::Rule;
  const Rule before = [](std::size_t count) { return count % 3 == 0 ? Fault::none : Fault::before; };
  const Rule after = [](std::size_t count) { return count % 4 == 1 ? Fault::after : Fault::none; };
  for (const Rule& rule : {before, after}) {
    for (const StoreOperation operation :
         {StoreOperation::settle, StoreOperation::take, StoreOperation::promote, StoreOperation::heartbeat}) {
      World world;
      SCOPED_TRACE(concat("DAGVERK_SEED=", world.runtime.seed()));
      testing_jobs::FaultyStore store(*world.store);
      store.set_rule(operation, rule);
      std::map<int, int> runs;
      JobRegistry registry;
      registry.define("Count",
                      [&runs](int number) {
                        if (++runs[number] == 1 && number % 5 == 0) throw std::runtime_error("once");
                      },
                      {.retry = {.delays = {50ms}}});
      NodeOptions options;
      options.pools.push_back({.queues = {"default"}, .concurrency = 3});
      options.seed = 1;
      options.events = &world.events;
      const auto node = Node::start(world.runtime, store, std::move(registry), std::move(options)).value();
      for (int number = 0; number < 30; ++number) world.enqueue("Count", concat("[", number, "]"));
      world.runtime.advance(10min);
      const QueueCounts counts = world.totals();
      EXPECT_TRUE(counts.balanced());
      EXPECT_EQ(counts.finished, 30U);
      EXPECT_GT(node->stats().store_errors, 0U);
      // An end that was on its way when a lost take made the node begin anew is told as lost, stored or not.
      EXPECT_GE(world.events.all<JobFinished>().size() + world.events.all<JobLeaseLost>().size(), 30U);
      if (operation == StoreOperation::settle) {
        EXPECT_EQ(node->stats().lease_lost, 0U);
        EXPECT_EQ(world.events.all<JobFinished>().size(), 30U);
        for (const auto& [number, count] : runs) EXPECT_EQ(count, number % 5 == 0 ? 2 : 1) << number;
      }
    }
  }
}

/// Keeps the rows it is sent.
class RowKeeper : public Consumer<RowKeeper, JournalRow> {
 public:
  explicit RowKeeper(std::vector<JournalRow>& rows) : rows_(rows) {}
  void handle_events(const Batch<JournalRow>& rows) { rows_.insert(rows_.end(), rows.begin(), rows.end()); }

 private:
  std::vector<JournalRow>& rows_;
};

TEST(Journal, a_producer_emits_every_row_once_in_order_and_goes_on_from_a_cursor) {
  World world;
  std::vector<JournalRow> rows;
  std::vector<std::string> jids;
  for (int number = 0; number < 5; ++number) jids.push_back(world.enqueue("A"));
  const auto journal = world.runtime.start<JournalProducer>(std::ref<JobStore>(*world.store)).value();
  const auto keeper = world.runtime.start<RowKeeper>(std::ref(rows)).value();
  SubscribeOptions<JournalRow> options;
  options.max_demand = 2;
  ASSERT_TRUE(subscribe_blocking(keeper, ProducerRef<JournalRow>(journal), options));
  world.runtime.advance(1s);
  ASSERT_EQ(rows.size(), 5U);
  for (int number = 0; number < 5; ++number) jids.push_back(world.enqueue("A"));
  world.runtime.advance(1s);
  ASSERT_EQ(rows.size(), 10U);
  for (std::size_t index = 0; index < rows.size(); ++index) {
    EXPECT_EQ(rows[index].jid, jids[index]);
    EXPECT_EQ(rows[index].kind, JournalKind::enqueued);
  }
  JournalReader reader(*world.store, rows[6].cursor);
  const JournalPage rest = world.runtime.run(reader.next(100, 0s)).value();
  ASSERT_EQ(rest.rows.size(), 3U);
  EXPECT_EQ(rest.rows.front().jid, jids[7]);
}

/// Counts finished jobs, and throws at every third.
class FinishedCounter : public EventHandler<Event> {
 public:
  explicit FinishedCounter(int& count) : count_(count) {}
  void handle_event(const Event& event) {
    if (!std::holds_alternative<JobFinished>(event)) return;
    if (++count_ % 3 == 0) throw std::runtime_error("third");
  }

 private:
  int& count_;
};

TEST(EventHub, handlers_hear_of_jobs_and_a_throwing_one_hurts_no_job) {
  World world;
  StagedEventManager<Event> hub(world.runtime);
  EventHubSink sink(hub);
  EXPECT_FALSE(sink.wants(event_kind<JobFinished>));
  int count = 0;
  HandlerSpec<Event> spec = event_handler<FinishedCounter>("counter", HandlerOptions(), std::ref(count));
  ASSERT_TRUE(hub.add_handler_blocking(std::move(spec)));
  EXPECT_TRUE(sink.wants(event_kind<JobFinished>));
  JobRegistry registry;
  registry.define("Noop", [] {});
  NodeOptions options;
  options.pools.push_back({.queues = {"default"}});
  options.events = &sink;
  const auto node = Node::start(world.runtime, *world.store, std::move(registry), std::move(options)).value();
  for (int number = 0; number < 10; ++number) world.enqueue("Noop");
  world.runtime.advance(5s);
  EXPECT_EQ(count, 10);
  EXPECT_EQ(world.totals().finished, 10U);
  node->stop(1s);
}

/// Writes down the kinds of what it sees, or throws at each.
class KindKeeper : public EventHandler<Event> {
 public:
  KindKeeper(std::vector<std::string>* seen, bool throws) : seen_(*seen), throws_(throws) {}
  void handle_event(const Event& event) {
    seen_.emplace_back(kind_name(event));
    if (throws_) throw std::runtime_error("never again");
  }

 private:
  std::vector<std::string>& seen_;
  bool throws_;
};

/// Each kind of event goes to the manager that suits those who handle it.
class ByKind final : public EventSink {
 public:
  ByKind(EventManager<Event>& starts, EventManager<Event>& ends, EventManager<Event>& others)
      : starts_(starts), ends_(ends), others_(others) {}

  [[nodiscard]] bool wants(std::size_t kind) const noexcept override {
    return manager_of(kind).wants(static_cast<unsigned>(kind));
  }
  void notify(Event event) noexcept override { manager_of(event.index()).notify(std::move(event)); }

 private:
  [[nodiscard]] EventManager<Event>& manager_of(std::size_t kind) const noexcept {
    if (kind == event_kind<JobStarted>) return starts_;
    return kind == event_kind<JobFinished> || kind == event_kind<JobFailed> ? ends_ : others_;
  }

  EventManager<Event>& starts_;
  EventManager<Event>& ends_;
  EventManager<Event>& others_;
};

TEST(EventHub, several_managers_side_by_side_have_a_kind_each_and_what_nobody_wants_is_not_built) {
  World world;
  SerialEventManager<Event> starts(world.runtime);
  SupervisedEventManager<Event> ends(world.runtime);
  StagedEventManager<Event> others(world.runtime, {.kinds = EventKinds::of<Event, JobRetried>()});
  ByKind sink(starts, ends, others);
  Names finished;
  Names failed;
  Names thrown_at;
  Names retried;
  const auto keeper = [](const char* name, EventKinds kinds, Names* seen, bool throws = false) {
    HandlerOptions options{.restart_type = HandlerRestart::temporary, .kinds = kinds};
    return event_handler<KindKeeper>(name, options, seen, throws);
  };
  const auto only_finished = EventKinds::of<Event, JobFinished>();
  ASSERT_TRUE(ends.add_handler_blocking(keeper("finished", only_finished, &finished)));
  ASSERT_TRUE(ends.add_handler_blocking(keeper("failed", EventKinds::of<Event, JobFailed>(), &failed)));
  ASSERT_TRUE(ends.add_handler_blocking(keeper("throwing", EventKinds::all(), &thrown_at, true)));
  ASSERT_TRUE(others.add_handler_blocking(keeper("retried", EventKinds::all(), &retried)));
  EXPECT_FALSE(sink.wants(event_kind<JobStarted>)) << "its manager has no handler";
  EXPECT_TRUE(sink.wants(event_kind<JobRetried>));
  EXPECT_FALSE(sink.wants(event_kind<QueueRunning>)) << "a kind that is switched off";

  JobRegistry registry;
  registry.define("Noop", [] {});
  registry.define("Bad", [] { throw std::runtime_error("bad"); });
  NodeOptions options;
  options.pools.push_back({.queues = {"default"}, .concurrency = 1});
  options.events = &sink;
  const auto node = Node::start(world.runtime, *world.store, std::move(registry), std::move(options)).value();
  for (const char* job_class : {"Noop", "Bad", "Noop"}) world.enqueue(job_class);
  world.runtime.advance(5s);
  EXPECT_EQ(finished, (Names{"JobFinished", "JobFinished"}));
  EXPECT_EQ(failed, Names{"JobFailed"});
  EXPECT_EQ(thrown_at.size(), 1U) << "it is gone, and hurts no other manager's handlers";
  EXPECT_EQ(retried, Names{"JobRetried"});
  EXPECT_EQ(ends.stats_blocking()->published, 3U);
  EXPECT_EQ(others.stats_blocking()->published, 1U);
  for (EventManager<Event>* manager :
       {static_cast<EventManager<Event>*>(&starts), static_cast<EventManager<Event>*>(&ends),
        static_cast<EventManager<Event>*>(&others)}) {
    EXPECT_EQ(manager->stats_blocking()->discarded, 0U) << "an event was built for nobody";
  }

  // What is wanted changes while the node runs.
  Names started;
  ASSERT_TRUE(starts.add_handler_blocking(keeper("started", EventKinds::all(), &started)));
  for (const char* name : {"finished", "failed", "throwing"}) ASSERT_TRUE(ends.remove_handler_blocking(name));
  world.enqueue("Noop");
  world.runtime.advance(5s);
  EXPECT_EQ(started, Names{"JobStarted"});
  EXPECT_EQ(finished.size(), 2U);
  EXPECT_EQ(ends.stats_blocking()->discarded, 0U);
  node->stop(1s);
}

TEST(JobClient, refuses_before_storing_and_says_what_was_there_already) {
  World world;
  JobClient client = world.client();
  const auto code_of = [&](NewJob job) {
    const Result<std::string> jid = client.enqueue_blocking(std::move(job));
    return jid ? ErrorCode::internal : jid.error().code();
  };
  EXPECT_EQ(code_of({.job_class = "not a class"}), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of({.job_class = "A", .args_json = "[1,"}), ErrorCode::malformed_job);
  EXPECT_EQ(code_of({.job_class = "A", .args_json = concat("[\"", std::string(1U << 20U, 'x'), "\"]")}),
            ErrorCode::too_large);
  EXPECT_EQ(code_of({.job_class = "A", .args_json = std::string(200, '[') + std::string(200, ']')}),
            ErrorCode::malformed_job);
  EXPECT_EQ(client.enqueue_blocking({.job_class = "A", .jid = "one"}), "one");
  EXPECT_EQ(code_of({.job_class = "A", .jid = "one"}), ErrorCode::already_exists);
  std::vector<NewJob> jobs;
  for (int number = 0; number < 2500; ++number) jobs.push_back({.job_class = "A"});
  jobs[1700].jid = "one";
  const std::vector<Enqueued> bulk = client.enqueue_bulk_blocking(std::move(jobs)).value();
  ASSERT_EQ(bulk.size(), 2500U);
  EXPECT_EQ(std::ranges::count(bulk, ItemOutcome::duplicate, &Enqueued::outcome), 1);
  EXPECT_EQ(bulk[1700].outcome, ItemOutcome::duplicate);
  EXPECT_EQ(world.totals().ready, 2500U);
  const std::vector<std::string> lines = {R"({"class":"A","args":[1]})", R"({"class":"A"})"};
  const Result<std::vector<Enqueued>> pushed = client.push_bulk_blocking(lines);
  ASSERT_FALSE(pushed);
  const Error wrong = pushed.error();
  EXPECT_EQ(wrong.code(), ErrorCode::malformed_job);
  EXPECT_TRUE(wrong.message().starts_with("line 2: ")) << wrong.message();
  EXPECT_EQ(world.totals().ready, 2500U);
  EXPECT_EQ(client.push_bulk_blocking({R"({"class":"A","args":[],"queue":"q","jid":"x"})"}).value().front().jid, "x");
}

}  // namespace
}  // namespace dagverk::jobs
