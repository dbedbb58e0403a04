// A node on real threads: the concurrency cap, command jobs, a job that never returns in time, a killed node.

#include "jobs/command_output.hpp"
#include "jobs/job_threads.hpp"
#include "jobs/node_world.hpp"
#include "jobs/thread_run.hpp"
#include "jobs/worker_pool.hpp"

#include "dagverk/jobs/job_record.hpp"
#include "dagverk/jobs/middleware.hpp"
#include "dagverk/runtime/runtime.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <initializer_list>
#include <iterator>
#include <latch>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <tuple>
#include <unistd.h>
#include <utility>
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

/// Keeps what jobs were at.
class DumpLogger final : public Logger {
 public:
  explicit DumpLogger(std::string_view event = "job.dump") : event_(event) {}
  void write(LogLevel /*level*/, std::string_view event, std::span<const LogField> fields) noexcept override {
    if (event != event_) return;
    MutexLock lock(mutex_);
    for (const LogField& field : fields) {
      fields_.emplace_back(std::string(field.name), field.value);
    }
    changed_.notify_all();
  }
  /// The fields of the first dump.
  std::vector<std::pair<std::string, std::string>> await() {
    MutexLock lock(mutex_);
    const SteadyTime limit = system_clock().steady_now() + 60s;
    while (fields_.empty() && system_clock().steady_now() < limit) changed_.wait_for(mutex_, 1s);
    return fields_;
  }

 private:
  const std::string_view event_;
  Mutex mutex_;
  Condition changed_;
  std::vector<std::pair<std::string, std::string>> fields_ DAGVERK_GUARDED_BY(mutex_);
};

TEST(NodeThreads, a_dump_tells_which_job_each_thread_is_at_since_when_and_where) {
  DumpLogger logger;
  int pipe[2];
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  std::latch begun(1);
  World world(RuntimeOptions{.workers = 2, .logger = &logger});
  JobRegistry registry;
  registry.define("Wait", [&] {
    begun.count_down();
    char byte = 0;
    EXPECT_EQ(::read(pipe[0], &byte, 1), 1) << "a dump does not disturb what it looks at";
  });
  const std::unique_ptr<Node> node = world.start(std::move(registry), 2);
  const std::string jid = world.enqueue("Wait");
  begun.wait();

  node->dump();

  std::map<std::string, std::string> told;
  for (auto& [name, value] : logger.await()) told.emplace(name, value);
  EXPECT_EQ(told["jid"], jid);
  EXPECT_EQ(told["class"], "Wait");
  EXPECT_EQ(told["queue"], "default");
  EXPECT_NE(told["since"], "");
  EXPECT_NE(told["stack"].find(" | "), std::string::npos) << told["stack"];
  ASSERT_EQ(::write(pipe[1], "x", 1), 1);
  EXPECT_EQ(node->stop(10s).stats.finished, 1U);
  ::close(pipe[0]);
  ::close(pipe[1]);
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

TEST(NodeThreads, a_long_task_among_short_ones_holds_up_no_other) {
  Runtime runtime({.workers = 1});
  const std::shared_ptr<JobThreads> threads = JobThreads::open(runtime, 4);
  for (int round = 0; round < 50; ++round) {
    constexpr int short_tasks = 50;  // so many that a thread looks on rather than works
    std::latch short_ones(short_tasks);
    for (int task = 0; task < short_tasks; ++task) threads->submit({.run = [&] { short_ones.count_down(); }});
    short_ones.wait();
    std::latch free(1);
    std::latch ended(3);
    for (int task = 0; task < 2; ++task) {
      threads->submit({.run = [&] {
        free.wait();
        ended.count_down();
      }});
    }
    threads->submit({.run = [&] {
      free.count_down();
      ended.count_down();
    }});
    ended.wait();  // for ever, if nobody took over
  }
  EXPECT_EQ(threads->stop(10s), 0U);
}

/// Counts what it is told: how many of its tasks had ended by then, and how often it was told.
class CountingListener final : public JobThreads::Listener {
 public:
  void tasks_ended() noexcept override {
    ++tells;
    told = ended.load();
  }
  JobThreads::Task task() {
    return {.run = [this] { ++ended; }, .listener = self.lock()};
  }
  /// Gives up after a generous while.
  void await_told(std::size_t count) const {
    const SteadyTime limit = system_clock().steady_now() + 60s;
    while (told < count && system_clock().steady_now() < limit) std::this_thread::yield();
    ASSERT_GE(told, count);
  }
  static std::shared_ptr<CountingListener> make() {
    auto listener = std::make_shared<CountingListener>();
    listener->self = listener;
    return listener;
  }

  std::weak_ptr<CountingListener> self;
  std::atomic<std::size_t> ended{0};
  std::atomic<std::size_t> told{0};
  std::atomic<std::size_t> tells{0};
};

/// A burst of short tasks, all of whose ends are told.
void run_burst(JobThreads& threads, CountingListener& listener, std::size_t count = 50) {
  const std::size_t before = listener.ended;
  std::vector<JobThreads::Task> burst;
  for (std::size_t task = 0; task < count; ++task) burst.push_back(listener.task());
  threads.submit(std::move(burst));
  listener.await_told(before + count);
}

TEST(NodeThreads, the_ends_of_short_tasks_are_told_together_and_none_is_forgotten) {
  Runtime runtime({.workers = 1});
  const std::shared_ptr<JobThreads> threads = JobThreads::open(runtime, 4);
  const std::shared_ptr<CountingListener> listener = CountingListener::make();
  const SteadyTime limit = system_clock().steady_now() + 60s;
  for (int round = 0; round < 100 || listener->tells > listener->ended / 2; ++round) {
    run_burst(*threads, *listener);
    ASSERT_LT(system_clock().steady_now(), limit) << listener->tells << " tells of " << listener->ended << " ends";
  }
  EXPECT_EQ(threads->stop(10s), 0U);
}

TEST(NodeThreads, a_long_task_does_not_hold_back_the_end_of_a_short_one_before_it) {
  Runtime runtime({.workers = 1});
  for (const std::size_t limit : {std::size_t{1}, std::size_t{4}}) {
    const std::shared_ptr<JobThreads> threads = JobThreads::open(runtime, limit);
    const std::shared_ptr<CountingListener> listener = CountingListener::make();
    for (int round = 0; round < 50; ++round) {
      run_burst(*threads, *listener);
      const std::size_t short_ends = listener->ended + 1;
      std::latch over(1);
      std::vector<JobThreads::Task> both;
      both.push_back(listener->task());
      both.push_back({.run =
                          [&] {
                            listener->await_told(short_ends);
                            over.count_down();
                          },
                      .listener = listener});
      threads->submit(std::move(both));
      over.wait();
    }
    EXPECT_EQ(threads->stop(10s), 0U);
  }
}

TEST(NodeThreads, a_run_that_is_dropped_before_it_began_is_given_back) {
  World world(RuntimeOptions{.workers = 1});
  const auto env = std::make_shared<NodeEnv>(world.runtime, *world.store, JobRegistry(), NodeOptions());
  const auto job = [](std::uint64_t execution) {
    auto taken = std::make_shared<JobInHand>();
    taken->taken.token.execution = execution;
    return taken;
  };
  const auto ends = std::make_shared<ThreadEnds>(ServerRef<WorkerPool>());
  const std::shared_ptr<JobThreads> threads = JobThreads::open(world.runtime, 1);
  std::stop_source asked;
  asked.request_stop();
  threads->submit(thread_run(env, job(0), asked, ends));
  std::latch begun(1);
  std::latch free(1);
  threads->submit({.run = [&] {
    begun.count_down();
    free.wait();
  }});
  begun.wait();
  threads->submit(thread_run(env, job(1), {}, ends));
  std::jthread stopper([&] { EXPECT_EQ(threads->stop(60s), 0U); });
  std::vector<ThreadEnd> ended;
  std::uint64_t last = 1;
  while (ended.size() < 2) {  // until one comes too late
    threads->submit(thread_run(env, job(++last), {}, ends));
    for (ThreadEnd& end : ends->take()) ended.push_back(std::move(end));
    std::this_thread::yield();
  }
  free.count_down();
  stopper.join();
  for (ThreadEnd& end : ends->take()) ended.push_back(std::move(end));
  std::ranges::sort(ended, {}, &ThreadEnd::execution);
  ASSERT_EQ(ended.size(), last + 1);
  for (std::uint64_t execution = 0; execution <= last; ++execution) {
    EXPECT_EQ(ended[execution].execution, execution);
    EXPECT_EQ(ended[execution].outcome.kind, RunOutcome::Kind::given_back);
  }
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

TEST(NodeThreads, a_thread_job_sees_its_token_when_the_pool_ends_that_ran_it_and_is_run_again) {
  World world(RuntimeOptions{.workers = 2});
  std::latch begun(1);
  std::atomic<int> runs{0};
  std::atomic<int> stopped_runs{0};
  JobRegistry registry;
  registry.define("Wait", [&](JobContext& job) {
    if (++runs > 1) return;
    begun.count_down();
    std::latch stopped(1);
    const std::stop_callback wake(job.stop_token(), [&stopped] { stopped.count_down(); });
    stopped.wait();
    ++stopped_runs;
  });
  const std::unique_ptr<Node> node = world.start(std::move(registry), 1);
  world.enqueue("Wait");
  begun.wait();
  world.runtime.exit(node->running_jobs().at(0).process, ExitReason::kill);
  await_rows(world, JournalKind::finished, 1);
  EXPECT_EQ(stopped_runs, 1);
  EXPECT_EQ(runs, 2);
  EXPECT_EQ(node->stop(10s).stats.restarts, 1U);
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

TEST(NodeThreads, a_thread_job_that_does_not_stop_is_told_of_as_overdue_and_keeps_its_place) {
  DumpLogger logger("job.overdue");
  World world(RuntimeOptions{.workers = 2, .logger = &logger});
  std::latch let_go(1);
  JobRegistry registry;
  registry.define("Deaf", [&let_go] { let_go.wait(); }, {.retry = {.max_retries = 0}});
  NodeOptions options;
  options.stop_grace = 20ms;
  const std::unique_ptr<Node> node = world.start(std::move(registry), 1, std::move(options));
  NewJob job{.job_class = "Deaf"};
  job.timeout = 20ms;
  const std::string jid = world.client().enqueue_blocking(std::move(job)).value();
  EXPECT_FALSE(logger.await().empty());
  ASSERT_EQ(world.events.all<JobOverdue>().size(), 1U);
  EXPECT_EQ(world.events.all<JobOverdue>()[0].job.jid, jid);
  EXPECT_EQ(world.events.all<JobOverdue>()[0].cause, "timeout");
  EXPECT_EQ(node->pools().at(0).running, 1U);
  EXPECT_EQ(node->pools().at(0).overdue, 1U);
  EXPECT_TRUE(node->running_jobs().at(0).stop_requested);
  EXPECT_EQ(world.find(jid)->state, JobState::running);
  let_go.count_down();
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

/// What a run has said, as its store would get it.
JobRecord record_of(RunNotes& notes) { return job_record_from_json(notes.take().record).value(); }

TEST(OutputReader, hears_what_is_of_the_protocol_and_takes_everything_else_for_output) {
  NoteBook book;
  auto job = std::make_shared<JobInHand>();
  job->job.emplace(decode_job(R"({"class":"A","args":[],"jid":"j"})", "default").value());
  const auto read = [&](const CommandSpec& command, std::initializer_list<std::string> pieces) {
    const auto notes = std::make_shared<RunNotes>(book, system_clock(), job);
    auto reader = std::make_unique<OutputReader>(command, notes);
    for (const std::string& piece : pieces) reader->take_output(piece);
    reader->finish();
    return std::pair(std::move(reader), record_of(*notes));
  };

  const auto [heard, said] =
      read({}, {"fir", "st\n@dag", "verk progress 0.25 page 1 of 4\r\n@dagverk log  one\n@dagverk log two\n",
                "@dagverk snooze 1.5h\nlast"});
  EXPECT_EQ(heard->result(), "first\nlast");
  EXPECT_EQ(heard->snooze_delay(), 90min);
  EXPECT_EQ(said.progress, 0.25);
  EXPECT_EQ(said.status, "page 1 of 4");
  ASSERT_EQ(said.lines.size(), 2U);
  EXPECT_EQ(said.lines[0].text, "one");

  const auto [again, later] = read(
      {}, {"output\n@dagverk result 1\n@dagverk result two words \n@dagverk progress 40%\n@dagverk status at it\n"});
  EXPECT_EQ(again->result(), "two words") << "the last word counts";
  EXPECT_EQ(again->snooze_delay(), std::nullopt);
  EXPECT_EQ(later.progress, 0.4);
  EXPECT_EQ(later.status, "at it");

  for (const std::string line : {"@dagverk",
                                 "@dagverk ",
                                 "@dagverk:progress 1",
                                 "@dagverk progressed 1",
                                 " @dagverk log x",
                                 "@dagverk progress",
                                 "@dagverk progress nan",
                                 "@dagverk progress -0.5",
                                 "@dagverk progress 1.1",
                                 "@dagverk progress 101%",
                                 "@dagverk progress 0.5x",
                                 "@dagverk progress inf",
                                 "@dagverk progress 0x1",
                                 "@dagverk discard now",
                                 "@dagverk snooze",
                                 "@dagverk snooze -1",
                                 "@dagverk snooze 367d",
                                 "@dagverk snooze 1y",
                                 "@dagverk snooze 99999999999999999999999999999999999999d",
                                 "@DAGVERK log x"}) {
    const auto [reader, nothing] = read({}, {line + "\n"});
    EXPECT_EQ(reader->result(), line + "\n");
    EXPECT_EQ(reader->snooze_delay(), std::nullopt);
    EXPECT_EQ(nothing.progress, std::nullopt) << line;
    EXPECT_EQ(nothing.lines.size(), 0U) << line;
  }
  const auto [plain, silent] = read({.output = CommandOutput::plain}, {"@dagverk log x\n@dagverk result y\n"});
  EXPECT_EQ(plain->result(), "@dagverk log x\n@dagverk result y\n");
  EXPECT_EQ(silent.lines.size(), 0U);
}

TEST(OutputReader, cuts_what_is_too_long_and_says_so) {
  NoteBook book;
  auto job = std::make_shared<JobInHand>();
  job->job.emplace(decode_job(R"({"class":"A","args":[],"jid":"j"})", "default").value());
  const auto notes = std::make_shared<RunNotes>(book, system_clock(), job);
  OutputReader reader({.output = CommandOutput::log}, notes);
  const std::string piece(60'000, 'x');
  for (int count = 0; count < 10; ++count) reader.take_output(piece);  // 600 kB without an end of line
  reader.take_output("\n@dagverk status " + std::string(300, 's') + "\n@dagverk result " + std::string(9000, 'r') +
                     "\n");
  reader.take_output("@dagverk log \xc3\x28\x1b[31m\n\n");
  for (int line = 0; line < 97; ++line) reader.take_error("warning\r\n");
  reader.finish();
  JobRecord said = record_of(*notes);
  ASSERT_EQ(said.lines.size(), 99U) << "an empty line is none";
  EXPECT_EQ(said.lines[0].text, std::string(500, 'x') + " [cut]");
  EXPECT_EQ(said.lines[1].text, "\xef\xbf\xbd(\x1b[31m");
  EXPECT_EQ(said.lines[2].text, "warning");
  EXPECT_EQ(said.status, std::string(194, 's') + " [cut]");
  EXPECT_EQ(reader.result(), std::string(1018, 'r') + " [cut]");
  for (int line = 0; line < 3; ++line) reader.take_error("more\n");
  said = record_of(*notes);
  EXPECT_EQ(said.lines.size(), 100U);
  EXPECT_EQ(said.lines_dropped, 2U);
  reader.close();
  reader.take_output("@dagverk log late\n");
  EXPECT_EQ(record_of(*notes).lines.back().text, "more");

  OutputReader kept({.output_kept_bytes = 20}, notes);
  for (const std::string_view part : {"0123456789\n", "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\n", "and so on\n"}) {
    kept.take_output(part);
  }
  EXPECT_EQ(kept.result(), "0123456789\n\xc3\xa4 [cut]") << "no character is cut in two";
}

TEST(NodeThreads, the_exit_code_of_a_command_decides_what_becomes_of_its_job) {
  World world(RuntimeOptions{.workers = 2});
  Mutex mutex;
  std::map<std::string, RunOutcome> seen;  // by jid, guarded by mutex
  NodeOptions options;
  options.middleware.push_back(around_runs("see", nullptr, [&](JobContext& job, RunOutcome& outcome) {
    const MutexLock lock(mutex);
    seen[std::string(job.jid())] = outcome;
  }));
  const JobOptions no_retry{.retry = {.max_retries = 0}};
  JobRegistry registry;
  registry.define_command(
      "Exit", {.run = {"sh", "-c", "echo '@dagverk result said'; echo why >&2; exit $1", "sh", "{0}"}}, no_retry);
  registry.define_command(
      "Own",
      {.run = {"sh", "-c", "exit $1", "sh", "{0}"},
       .exit_codes = {{1, CommandExit::done}, {75, CommandExit::snooze}, {exit_code_discard, CommandExit::retry}},
       .snooze_delay = 2h},
      no_retry);
  registry.define_command("Later", {.run = {"sh", "-c", "echo '@dagverk snooze 1h'; exit 171"}}, no_retry);
  registry.define_command("Liar", {.run = {"printf", "@dagverk snooze 1h\\n@dagverk bury\\n"}}, no_retry);
  registry.define_command("Killed", {.run = {"sh", "-c", "kill -SEGV $$"}}, no_retry);
  const std::unique_ptr<Node> node = world.start(std::move(registry), 4, std::move(options));
  std::map<std::string, std::string> jids;
  for (const auto& [name, job_class, args] : {std::tuple("done", "Exit", "[0]"),
                                              {"failed", "Exit", "[1]"},
                                              {"discarded", "Exit", "[172]"},
                                              {"buried", "Exit", "[173]"},
                                              {"snoozed", "Exit", "[171]"},
                                              {"own done", "Own", "[1]"},
                                              {"own snoozed", "Own", "[75]"},
                                              {"own failed", "Own", "[172]"},
                                              {"later", "Later", "[]"},
                                              {"liar", "Liar", "[]"},
                                              {"killed", "Killed", "[]"}}) {
    jids[name] = world.enqueue(job_class, args);
  }
  await_rows(world, JournalKind::finished, 3);
  await_rows(world, JournalKind::snoozed, 3);
  await_rows(world, JournalKind::discarded, 1);
  await_rows(world, JournalKind::died, 4);

  const MutexLock lock(mutex);
  ASSERT_EQ(seen.size(), jids.size()) << "middleware is around commands, too";
  using Kind = RunOutcome::Kind;
  const std::pair<const char*, Kind> kinds[] = {
      {"done", Kind::finished},       {"failed", Kind::failed},     {"discarded", Kind::discarded},
      {"buried", Kind::buried},       {"snoozed", Kind::snoozed},   {"own done", Kind::finished},
      {"own snoozed", Kind::snoozed}, {"own failed", Kind::failed}, {"later", Kind::snoozed},
      {"liar", Kind::finished},       {"killed", Kind::failed}};
  for (const auto& [name, kind] : kinds) EXPECT_EQ(seen[jids[name]].kind, kind) << name;
  EXPECT_EQ(seen[jids["done"]].result, "said");
  EXPECT_EQ(seen[jids["failed"]].message, "exited with code 1: why");
  EXPECT_EQ(seen[jids["discarded"]].message, "exited with code 172: why");
  EXPECT_EQ(seen[jids["buried"]].message, "exited with code 173: why");
  EXPECT_EQ(seen[jids["snoozed"]].delay, 1min);
  EXPECT_EQ(seen[jids["own snoozed"]].delay, 2h);
  EXPECT_EQ(seen[jids["later"]].delay, 1h);
  EXPECT_EQ(seen[jids["liar"]].result, "@dagverk bury\n") << "what is written decides nothing";
  EXPECT_EQ(seen[jids["killed"]].message, "killed by signal 11 (SEGV)");
}

TEST(NodeThreads, a_command_has_its_limits_its_folder_its_environment_and_leaves_nothing_behind) {
  World world(RuntimeOptions{.workers = 2});
  const std::string big = world.folder.file("big");
  const JobOptions no_retry{.retry = {.max_retries = 0}};
  ASSERT_EQ(::setenv("HIDDEN", "secret", 1), 0);
  ASSERT_EQ(::setenv("PASSED", "on", 1), 0);
  JobRegistry registry;
  registry.define_command("Limits", {.run = {"sh", "-c", "ulimit -t; ulimit -v; ulimit -n; ulimit -f; ulimit -c"},
                                     .limits = {.cpu_time = 1500ms,
                                                .address_space_bytes = 1U << 30U,
                                                .open_files_count = 64,
                                                .file_size_bytes = 1U << 20U}});
  registry.define_command(
      "Fills",
      {.run = {"dd", "if=/dev/zero", "of=" + big, "bs=64k", "count=4"}, .limits = {.file_size_bytes = 100'000}},
      no_retry);
  registry.define_command("Place", {.run = {"sh", "-c", "pwd; env"},
                                    .working_directory = "/usr",
                                    .environment_inherit = {"PASSED"},
                                    .environment_set = {{"SET", "a=b c"}, {"DAGVERK_JID", "no"}}});
  registry.define_command("Leaves", {.run = {"sh", "-c", "sleep 600 & echo $!"}});
  registry.define_command("Deaf", {.run = {"sh", "-c", "trap '' TERM; sleep 600 & sleep 600"}, .kill_grace = 50ms},
                          {.retry = {.max_retries = 0}, .timeout = 50ms});
  registry.define_command("Loud", {.run = {"sh", "-c", "seq 100000; seq 100000 >&2; exit 1"}}, no_retry);
  const std::unique_ptr<Node> node = world.start(std::move(registry), 4);
  const std::string limits = world.enqueue("Limits");
  const std::string fills = world.enqueue("Fills");
  const std::string place = world.enqueue("Place");
  const std::string leaves = world.enqueue("Leaves");
  const std::string deaf = world.enqueue("Deaf");
  const std::string loud = world.enqueue("Loud");
  await_rows(world, JournalKind::finished, 3);
  await_rows(world, JournalKind::died, 3);

  const auto result_of = [&](const std::string& jid) {
    for (const JobFinished& end : world.events.all<JobFinished>()) {
      if (end.job.jid == jid) return end.output;
    }
    return std::string("none");
  };
  const auto error_of = [&](const std::string& jid) {
    const Job job = decode_job(world.find(jid)->payload).value();
    return concat(*job.error_class(), ": ", *job.error_message());
  };
  EXPECT_EQ(result_of(limits), "2\n1048576\n64\n2048\n0\n") << "seconds, KiB, files, blocks of 512 B, no core";
  EXPECT_TRUE(error_of(fills).starts_with("CommandFailed: killed by signal 25 (XFSZ), over its limit of a file's size"))
      << error_of(fills);
  EXPECT_EQ(std::filesystem::file_size(big), 100'000U);
  const std::string environment = result_of(place);
  EXPECT_TRUE(environment.starts_with("/usr\n")) << environment;
  for (const std::string& line : {std::string("SET=a=b c"), std::string("PASSED=on"), "DAGVERK_JID=" + place}) {
    EXPECT_NE(environment.find("\n" + line + "\n"), std::string::npos) << line << " in " << environment;
  }
  EXPECT_EQ(environment.find("secret"), std::string::npos);
  EXPECT_EQ(environment.find("HOME="), std::string::npos) << "the list replaces what is passed on by itself";
  EXPECT_TRUE(error_of(deaf).starts_with("JobTimeout: ran for more than 0.05 s and was ended: killed by signal 9"))
      << error_of(deaf);
  EXPECT_TRUE(error_of(loud).starts_with("CommandFailed: exited with code 1: [cut] ")) << error_of(loud).substr(0, 80);
  EXPECT_TRUE(error_of(loud).ends_with("\n99999\n100000"));
  const auto lives = [pid = result_of(leaves)] {  // as more than a zombie that nobody waits for
    std::ifstream file("/proc/" + pid.substr(0, pid.find('\n')) + "/stat");
    std::string word;
    for (int field = 0; field < 3 && file >> word;) ++field;
    return !word.empty() && word != "Z" && word != "X";
  };
  const SteadyTime limit = system_clock().steady_now() + 60s;
  while (lives() && system_clock().steady_now() < limit) std::this_thread::yield();
  EXPECT_FALSE(lives()) << "the rest of the group is killed with the command";
}

TEST(NodeThreads, an_impossible_command_is_refused_when_it_is_defined) {
  const std::pair<CommandSpec, std::string_view> rows[] = {
      {{.run = {}}, "run must name an executable"},
      {{.run = {"{0}"}}, "not with an argument"},
      {{.run = {"a", std::string("\0", 1)}}, "NUL"},
      {{.run = {"sh", "-c", "grep {0} log"}},
       R"(it would be code: "grep {0} log"; write $1 there and add "sh", "{0}")"},
      {{.run = {"/bin/bash", "-e", "-xc", "{0}"}}, "it would be code"},
      {{.run = {"a"}, .working_directory = std::string("a\0b", 3)}, "working_directory"},
      {{.run = {"a"}, .environment_inherit = {"A=B"}}, R"("A=B" is not the name of a variable)"},
      {{.run = {"a"}, .environment_set = {{"", "x"}}}, R"("" is not the name of a variable)"},
      {{.run = {"a"}, .environment_set = {{"A", std::string("\0", 1)}}}, "the value of A must not contain NUL"},
      {{.run = {"a"}, .kill_grace = -1s}, "kill_grace"},
      {{.run = {"a"}, .limits = {.cpu_time = 0s}}, "CPU time must be at least 1 s"},
      {{.run = {"a"}, .limits = {.address_space_bytes = 0}}, "memory must be at least 1 MiB"},
      {{.run = {"a"}, .limits = {.open_files_count = 0}}, "open files must be at least 8"},
      {{.run = {"a"}, .exit_codes = {{0, CommandExit::bury}}}, "from 1 to 255, got 0"},
      {{.run = {"a"}, .exit_codes = {{256, CommandExit::bury}}}, "from 1 to 255, got 256"},
      {{.run = {"a"}, .snooze_delay = -1s}, "snooze_delay"},
      {{.run = {"a"}, .snooze_delay = 24h * 367}, "snooze_delay"},
  };
  for (const auto& [command, expected] : rows) {
    const Result<void> checked = JobRegistry().define_command("A", command).check();
    ASSERT_FALSE(checked) << expected;
    EXPECT_NE(checked.error().message().find(expected), std::string::npos) << checked.error().message();
  }
  EXPECT_TRUE(JobRegistry().define_command("A", {.run = {"sh", "-c", "grep \"$1\" log", "sh", "{0}"}}).check());
  EXPECT_TRUE(JobRegistry().define_command("A", {.run = {"sh", "script", "-c", "{0}"}}).check());
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

/// Resident memory and threads of this OS process.
std::pair<std::size_t, std::size_t> memory_and_threads() {
  std::size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages >> pages;
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  const auto threads = static_cast<std::size_t>(std::distance(begin(tasks), end(tasks)));
  return {pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)), threads};
}

TEST(NodeThreads, ten_thousand_async_jobs_wait_at_once_without_a_thread_of_their_own) {
  constexpr std::size_t count = 10'000;
  World world(RuntimeOptions{.workers = 2});
  std::latch all_there(count);
  JobRegistry registry;
  registry.define("Wait", [&all_there](AsyncJobContext& job, int) -> Async<void> {
    all_there.count_down();
    const bool go_on = co_await job.sleep(24h);
    static_cast<void>(go_on);
  });
  std::vector<NewJob> jobs;
  for (std::size_t number = 0; number < count; ++number) {
    jobs.push_back(world.client().make("Wait", static_cast<int>(number)).value());
  }
  ASSERT_TRUE(world.client().enqueue_bulk_blocking(std::move(jobs)));
  const auto [memory_before, threads_before] = memory_and_threads();
  std::unique_ptr<Node> node = world.start(std::move(registry), count);
  all_there.wait();  // opens only when all of them run at once
  const auto [memory, threads] = memory_and_threads();
  EXPECT_EQ(node->busy_count(), count);
  EXPECT_EQ(node->running_jobs({}, count).size(), count);
  EXPECT_LT(threads, threads_before + 10);  // the node's store may start some of its own
  const std::size_t bytes_per_job = memory > memory_before ? (memory - memory_before) / count : 0;
  RecordProperty("bytes_per_job", static_cast<int>(bytes_per_job));
#if !defined(DAGVERK_PLAIN_ALLOCATION)  // sanitizers pad every allocation
  EXPECT_LT(bytes_per_job, 6U * 1024);
#endif
  const NodeStopReport report = node->stop(0s);
  EXPECT_EQ(report.stats.finished + report.given_back, count);
  EXPECT_TRUE(report.retired);
  EXPECT_TRUE(world.totals().balanced());
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
