// A node on real threads: the concurrency cap, command jobs, a job that never returns in time, a killed node.

#include "jobs/node_world.hpp"

#include "dagverk/runtime/runtime.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <fstream>
#include <latch>
#include <memory>
#include <string>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

// One test forks, and the child starts threads of its own; the thread sanitizer would end it for that.
// NOLINTNEXTLINE(bugprone-reserved-identifier,readability-identifier-naming): the sanitizer's own name
extern "C" const char* __tsan_default_options() { return "die_after_fork=0"; }

namespace dagverk::jobs {
namespace {

using namespace std::chrono_literals;
using World = NodeWorld<Runtime>;

/// Follows the journal until `enough` rows of `kind` were seen; gives up after a generous while.
void await_rows(World& world, JournalKind kind, std::size_t enough) {
  JournalReader reader(*world.store);
  std::size_t seen = 0;
  const SteadyTime limit = system_clock().steady_now() + 60s;
  while (seen < enough && system_clock().steady_now() < limit) {
    const JournalPage page = world.runtime.run(reader.next(1000, 1s)).value();
    for (const JournalRow& row : page.rows) seen += row.kind == kind ? 1 : 0;
  }
  ASSERT_GE(seen, enough) << to_string(kind);
}

TEST(NodeThreads, never_runs_more_jobs_at_once_than_its_concurrency_and_uses_all_of_it) {
  World world(RuntimeOptions{.workers = 2});
  constexpr int concurrency = 3;
  std::atomic<int> running{0};
  std::atomic<int> most{0};
  std::latch all_there(concurrency);  // opens only when that many run at once
  JobRegistry registry;
  registry.define("Meet", [&](int number) {
    const int now = ++running;
    for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
    }
    if (number < concurrency) all_there.arrive_and_wait();
    --running;
  });
  std::unique_ptr<Node> node = world.start(std::move(registry), concurrency);
  std::vector<NewJob> jobs;
  for (int number = 0; number < 200; ++number) {
    jobs.push_back(world.client().make("Meet", number).value());
  }
  ASSERT_TRUE(world.client().enqueue_bulk_blocking(std::move(jobs)));
  await_rows(world, JournalKind::finished, 200);
  EXPECT_EQ(most, concurrency);
  const NodeStopReport report = node->stop(5s);
  EXPECT_EQ(report.stats.finished, 200U);
  EXPECT_TRUE(report.retired);
}

TEST(NodeThreads, a_thread_job_may_enqueue_others_and_sees_its_token_at_the_deadline) {
  World world(RuntimeOptions{.workers = 2});
  std::atomic<int> children{0};
  JobRegistry registry;
  registry.define("Parent", [&world](int count) {
    for (int number = 0; number < count; ++number) world.enqueue("Child");
  });
  registry.define("Child", [&children] { ++children; });
  std::latch begun(1);
  registry.define("Endless", [&begun](JobContext& job) {
    begun.count_down();
    std::latch stopped(1);
    const std::stop_callback wake(job.stop_token(), [&stopped] { stopped.count_down(); });
    stopped.wait();
    throw std::runtime_error("stopped");
  });
  std::unique_ptr<Node> node = world.start(std::move(registry), 2);
  world.enqueue("Parent", "[5]");
  await_rows(world, JournalKind::finished, 6);
  EXPECT_EQ(children, 5);
  const std::string jid = world.enqueue("Endless");
  begun.wait();
  const NodeStopReport report = node->stop(0s);
  EXPECT_EQ(report.given_back, 1U);
  EXPECT_EQ(report.stuck, 0U);
  const StoredJob back = world.find(jid).value();
  EXPECT_EQ(back.state, JobState::ready);
  EXPECT_EQ(decode_job(back.payload)->attempt(), 1U);
}

TEST(NodeThreads, a_thread_job_over_its_timeout_is_asked_to_stop_and_has_failed) {
  World world(RuntimeOptions{.workers = 2});
  JobRegistry registry;
  registry.define("Long",
                  [](JobContext& job) {
                    std::latch stopped(1);
                    const std::stop_callback wake(job.stop_token(), [&stopped] { stopped.count_down(); });
                    stopped.wait();
                  },
                  {.retry = {.max_retries = 0}, .timeout = 20ms});
  const std::unique_ptr<Node> node = world.start(std::move(registry), 1);
  const std::string jid = world.enqueue("Long");
  await_rows(world, JournalKind::died, 1);
  EXPECT_EQ(decode_job(world.find(jid)->payload)->error_class(), "JobTimeout");
}

TEST(NodeThreads, command_jobs_run_get_their_arguments_and_fail_with_what_they_said) {
  World world(RuntimeOptions{.workers = 2});
  const std::string data = world.folder.file("-data with spaces; $(reboot)");
  std::ofstream(data) << "abc";
  const std::string plain = world.folder.file("not_executable");
  std::ofstream(plain) << "x";
  const JobOptions no_retry{.retry = {.max_retries = 0}};
  JobRegistry registry;
  registry.define_command("Checksum", {.run = {"sha256sum", "--", "{0}"}}, no_retry);
  registry.define_command("Echo", {.run = {"cat"}}, no_retry);
  registry.define_command("Env", {.run = {"sh", "-c", "echo $DAGVERK_CLASS $DAGVERK_ATTEMPT $HIDDEN"}}, no_retry);
  registry.define_command("Fails", {.run = {"ls", "{0}"}}, no_retry);
  registry.define_command("Option", {.run = {"ls", "{0}"}}, no_retry);
  registry.define_command("Missing", {.run = {"/no/such/executable"}}, no_retry);
  registry.define_command("Plain", {.run = {plain}}, no_retry);
  registry.define_command("Sleeps", {.run = {"sleep", "600"}, .kill_grace = 50ms},
                          {.retry = {.max_retries = 0}, .timeout = 50ms});
  ASSERT_EQ(::setenv("HIDDEN", "secret", 1), 0);
  std::unique_ptr<Node> node = world.start(std::move(registry), 4);

  const std::string checksum =
      world.runtime.run(world.client().enqueue(world.client().make("Checksum", data).value())).value();
  const std::string echo = world.enqueue("Echo", R"(["a b", {"k": [1.50]}])");
  const std::string env = world.enqueue("Env");
  const std::string fails = world.enqueue("Fails", R"(["/no/such/folder"])");
  const std::string option = world.enqueue("Option", R"(["--help"])");
  const std::string missing = world.enqueue("Missing");
  const std::string not_executable = world.enqueue("Plain");
  const std::string sleeps = world.enqueue("Sleeps");
  await_rows(world, JournalKind::finished, 3);
  await_rows(world, JournalKind::died, 5);

  const auto result_of = [&](const std::string& jid) { return world.journal(jid).back().detail; };
  EXPECT_NE(result_of(checksum).find("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            std::string::npos);
  EXPECT_NE(result_of(echo).find(R"([\"a b\", {\"k\": [1.50]}]\n)"), std::string::npos) << result_of(echo);
  EXPECT_NE(result_of(env).find(R"("result":"Env 1\n")"), std::string::npos) << result_of(env);
  const auto error_of = [&](const std::string& jid) {
    const Job job = decode_job(world.find(jid)->payload).value();
    return concat(*job.error_class(), ": ", *job.error_message());
  };
  EXPECT_NE(error_of(fails).find("CommandFailed: exited with code 2: ls: cannot access"), std::string::npos);
  EXPECT_NE(error_of(option).find("ArgumentError: argument 1 of Option begins with \"-\""), std::string::npos);
  EXPECT_NE(error_of(missing).find("CommandNotStarted: "), std::string::npos);
  EXPECT_NE(error_of(missing).find("/no/such/executable"), std::string::npos);
  EXPECT_NE(error_of(not_executable).find("CommandNotStarted: "), std::string::npos);
  EXPECT_NE(error_of(sleeps).find("JobTimeout: "), std::string::npos);
  EXPECT_EQ(node->stop(1s).given_back, 0U);
}

TEST(NodeThreads, stopping_ends_a_command_and_gives_its_job_back) {
  World world(RuntimeOptions{.workers = 2});
  JobRegistry registry;
  registry.define_command("Sleeps", {.run = {"sleep", "600"}});
  std::unique_ptr<Node> node = world.start(std::move(registry), 1);
  const std::string jid = world.enqueue("Sleeps");
  await_rows(world, JournalKind::started, 1);
  const NodeStopReport report = node->stop(0s);
  EXPECT_EQ(report.given_back, 1U);
  EXPECT_EQ(world.find(jid)->state, JobState::ready);
  EXPECT_EQ(decode_job(world.find(jid)->payload)->attempt(), 1U);
}

/// The life of the node that is killed: an OS process of its own that runs until then.
[[noreturn]] void run_until_killed(int path_fd, int ready_fd) {
  std::string path(4096, '\0');
  const ssize_t size = ::read(path_fd, path.data(), path.size());
  if (size <= 0) ::_exit(1);
  path.resize(static_cast<std::size_t>(size));
  Runtime runtime(RuntimeOptions{.workers = 1});
  stores::SqliteOptions options;
  options.path = path;
  auto store = stores::SqliteStore::open(runtime, std::move(options));
  if (!store) ::_exit(1);
  JobRegistry registry;
  registry.define("Held", [ready_fd] {
    static_cast<void>(::write(ready_fd, "x", 1));
    for (;;) ::pause();
  });
  NodeOptions node_options;
  node_options.pools.push_back({.queues = {"default"}, .concurrency = 1});
  auto node = Node::start(runtime, **store, std::move(registry), std::move(node_options));
  if (!node) ::_exit(1);
  for (;;) ::pause();
}

TEST(NodeThreads, jobs_of_a_node_that_was_killed_run_elsewhere_within_a_second) {
  int path_pipe[2];
  int ready[2];
  ASSERT_EQ(::pipe(path_pipe), 0);
  ASSERT_EQ(::pipe(ready), 0);
  // Forked before this program has any thread: neither the standard library nor a sanitizer promises anything after.
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) run_until_killed(path_pipe[0], ready[1]);
  World world(RuntimeOptions{.workers = 2});
  const std::string jid = world.enqueue("Held");
  const std::string path = world.folder.file("jobs.db");
  ASSERT_EQ(::write(path_pipe[1], path.data(), path.size()), static_cast<ssize_t>(path.size()));
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);  // the job runs there
  JobRegistry registry;
  registry.define("Held", [] {});
  const std::unique_ptr<Node> node = world.start(std::move(registry), 1);
  ASSERT_EQ(::kill(child, SIGKILL), 0);
  const SteadyTime killed = system_clock().steady_now();
  await_rows(world, JournalKind::finished, 1);
  EXPECT_LT(system_clock().steady_now() - killed, 1s);
  EXPECT_EQ(node->stats().rescued, 1U);
  EXPECT_EQ(world.kinds(jid),
            (std::vector<JournalKind>{JournalKind::enqueued, JournalKind::started, JournalKind::rescued,
                                      JournalKind::started, JournalKind::finished}));
  static_cast<void>(::waitpid(child, nullptr, 0));
}

}  // namespace
}  // namespace dagverk::jobs
