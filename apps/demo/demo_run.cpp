#include "demo_run.hpp"

#include "demo_jobs.hpp"
#include "expected.hpp"
#include "table.hpp"
#include "watchers.hpp"
#include "worker_process.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/base/log.hpp"
#include "dagverk/base/random.hpp"
#include "dagverk/event/staged_event_manager.hpp"
#include "dagverk/jobs/job_client.hpp"
#include "dagverk/jobs/journal.hpp"
#include "dagverk/runtime/runtime.hpp"
#include "dagverk/stores/sqlite/sqlite_store.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

namespace dagverk::demo {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

namespace {

constexpr std::size_t flaky_count = 20;
constexpr std::size_t doomed_count = 5;
constexpr Duration later_delay = 3s;
constexpr Duration demo_limit = 60s;
constexpr Duration takeover_limit = 5s;  // a second is the promise; the rest is for a busy machine

/// A directory of the demo's own, removed at the end.
class Workspace {
 public:
  explicit Workspace(bool keep)
      : path_(fs::temp_directory_path() / concat("dagverk-demo-", random_hex(6))), keep_(keep) {
    fs::create_directory(path_);
    fs::permissions(path_, fs::perms::owner_all);
  }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  ~Workspace() {
    std::error_code ignored;  // what cannot be removed stays in the temporary directory
    if (!keep_) fs::remove_all(path_, ignored);
  }
  [[nodiscard]] std::string file(const char* name) const { return (path_ / name).string(); }
  [[nodiscard]] std::string path() const { return path_.string(); }

 private:
  fs::path path_;
  bool keep_;
};

/// What was enqueued: jid → what the job is about.
struct Enqueued {
  std::map<std::string, std::string> checksums;  ///< jid → path
  std::map<std::string, std::string> counts;     ///< jid → path
  std::set<std::string> flaky;
  std::set<std::string> doomed;
  std::string later;
  WallTime later_due{};

  [[nodiscard]] std::size_t size() const { return checksums.size() + counts.size() + flaky.size() + doomed.size() + 1; }
};

/// Collects what does not hold.
class Checks {
 public:
  void expect(bool holds, const std::string& what) {
    ++made_;
    if (!holds && failures_.size() < 20) failures_.push_back(what);
    failed_ += holds ? 0 : 1;
  }
  [[nodiscard]] std::size_t made() const noexcept { return made_; }
  [[nodiscard]] std::size_t failed() const noexcept { return failed_; }
  [[nodiscard]] const std::vector<std::string>& failures() const noexcept { return failures_; }

 private:
  std::size_t made_ = 0;
  std::size_t failed_ = 0;
  std::vector<std::string> failures_;
};

Result<Enqueued> enqueue_all(jobs::JobClient& client, const std::vector<std::string>& files, const Clock& clock) {
  Enqueued all;
  std::vector<jobs::NewJob> batch;
  std::vector<std::string> about;
  const auto add = [&](const char* job_class, const std::string& argument) {
    jobs::NewJob job;
    job.job_class = job_class;
    job.args_json = jobs::encode_arguments(argument).value_or("[]");
    batch.push_back(std::move(job));
    about.push_back(argument);
  };
  for (const std::string& file : files) {
    add("Checksum", file);
    add("CountText", file);
  }
  for (std::size_t number = 0; number < flaky_count; ++number) add("Flaky", concat("flaky-", number));
  for (std::size_t number = 0; number < doomed_count; ++number) add("Doomed", concat("doomed-", number));

  const std::vector<jobs::NewJob> copies = batch;
  Result<std::vector<jobs::Enqueued>> stored = client.enqueue_bulk_blocking(std::move(batch));
  if (!stored) return stored.error().with("enqueueing");
  for (std::size_t index = 0; index < stored->size(); ++index) {
    const std::string& jid = (*stored)[index].jid;
    const std::string& job_class = copies[index].job_class;
    if (job_class == "Checksum") all.checksums[jid] = about[index];
    if (job_class == "CountText") all.counts[jid] = about[index];
    if (job_class == "Flaky") all.flaky.insert(jid);
    if (job_class == "Doomed") all.doomed.insert(jid);
  }
  jobs::NewJob later;
  later.job_class = "Later";
  later.args_json = R"(["at its time"])";
  all.later_due = clock.wall_now() + later_delay;
  Result<std::string> jid = client.enqueue_at_blocking(std::move(later), all.later_due);
  if (!jid) return jid.error().with("scheduling");
  all.later = *jid;
  return all;
}

/// Reads the journal from its beginning and broadcasts it, until it is told to stop.
Async<void> follow_journal(jobs::JobStore& store, EventManager<jobs::Event>& events,
                           const std::atomic<bool>& stopping) {
  jobs::JournalReader reader(store);
  while (!stopping.load()) {
    Result<jobs::JournalPage> page = co_await reader.next(500, 200ms);
    if (!page) {
      co_await this_process::sleep(100ms);
      continue;
    }
    for (const jobs::JournalRow& row : page->rows) events.notify(jobs::event_of(row));
  }
}

std::string number(std::uint64_t value) { return concat(value); }

std::string job_table(const std::map<std::string, JobStory>& stories) {
  struct Row {
    std::uint64_t enqueued = 0, finished = 0, retried = 0, dead = 0, rescued = 0;
  };
  std::map<std::string, Row> rows;
  Row all;
  for (const auto& [jid, story] : stories) {
    for (Row* row : {&rows[story.job_class], &all}) {
      row->enqueued += 1;
      row->finished += story.finished;
      row->retried += story.retried;
      row->dead += story.died;
      row->rescued += story.rescued;
    }
  }
  std::vector<std::vector<std::string>> table = {
      {"jobs", "enqueued", "finished", "retried", "dead", "re-run after the kill"}};
  const auto add = [&table](const std::string& name, const Row& row) {
    table.push_back(
        {name, number(row.enqueued), number(row.finished), number(row.retried), number(row.dead), number(row.rescued)});
  };
  for (const auto& [name, row] : rows) add(name, row);
  add("all", all);
  return format_table(table);
}

std::string handler_table(const EventStats& stats) {
  std::vector<std::vector<std::string>> table = {
      {"handlers", "published", "delivered", "dropped: overflow", "crashed", "other", "buffered", "restarts", "lag"}};
  for (const HandlerStats& handler : stats.handlers) {
    const std::uint64_t other = handler.dropped.total() - handler.dropped.overflow - handler.dropped.crashed;
    const auto lag_ms = std::chrono::duration_cast<std::chrono::milliseconds>(handler.lag).count();
    table.push_back({concat(handler.name, " (", to_string(handler.state), ")"), number(handler.published),
                     number(handler.delivered), number(handler.dropped.overflow), number(handler.dropped.crashed),
                     number(other), number(handler.buffered), number(handler.restarts), concat(lag_ms, " ms")});
  }
  return format_table(table);
}

void check_jobs(Checks& checks, const Enqueued& enqueued, const Expected& expected,
                const std::map<std::string, JobStory>& stories, bool killed) {
  const auto story_of = [&](const std::string& jid) {
    const auto found = stories.find(jid);
    checks.expect(found != stories.end(), concat("job ", jid, " left no trace in the journal"));
    return found != stories.end() ? found->second : JobStory();
  };
  for (const auto& [jid, path] : enqueued.checksums) {
    const JobStory story = story_of(jid);
    checks.expect(story.finished == 1, concat("Checksum of ", path, " finished ", story.finished, " times"));
    checks.expect(story.output.substr(0, 64) == expected.checksums.at(path),
                  concat("Checksum of ", path, " says ", story.output));
  }
  for (const auto& [jid, path] : enqueued.counts) {
    const JobStory story = story_of(jid);
    checks.expect(story.finished == 1, concat("CountText of ", path, " finished ", story.finished, " times"));
    checks.expect(story.output == expected.counts.at(path),
                  concat("CountText of ", path, " says ", story.output, ", wc says ", expected.counts.at(path)));
  }
  for (const std::string& jid : enqueued.flaky) {
    const JobStory story = story_of(jid);
    checks.expect(
        story.finished == 1 && story.retried == 2 && story.output == "attempt 3",
        concat("Flaky ", jid, ": finished ", story.finished, ", retried ", story.retried, ", ", story.output));
  }
  for (const std::string& jid : enqueued.doomed) {
    const JobStory story = story_of(jid);
    checks.expect(
        story.finished == 0 && story.died == 1 && story.retried == 2,
        concat("Doomed ", jid, ": finished ", story.finished, ", died ", story.died, ", retried ", story.retried));
  }
  const JobStory later = story_of(enqueued.later);
  checks.expect(later.finished == 1 && later.output == "at its time", "the scheduled job did not finish");
  checks.expect(later.first_start >= enqueued.later_due, "the scheduled job ran before its time");
  std::uint64_t rescued = 0;
  for (const auto& [jid, story] : stories) {
    checks.expect(story.explained(), concat("job ", jid, " (", story.job_class, ") started ", story.started,
                                            " times; its ends do not explain that"));
    rescued += story.rescued;
  }
  checks.expect(stories.size() == enqueued.size(),
                concat("the journal tells of ", stories.size(), " jobs, not ", enqueued.size()));
  checks.expect(!killed || rescued > 0, "the killed worker had no job in hand: nothing was shown");
}

/// How long after the second worker's start the last of the killed one's jobs ran again.
std::optional<Duration> slowest_takeover(const std::map<std::string, JobStory>& stories, WallTime second_start) {
  std::optional<Duration> slowest;
  for (const auto& [jid, story] : stories) {
    if (story.rerun_start == WallTime()) continue;
    slowest = std::max(slowest.value_or(Duration::zero()), story.rerun_start - second_start);
  }
  return slowest;
}

void check_store(Checks& checks, const jobs::StoreTotals& totals, const Enqueued& enqueued) {
  const jobs::QueueCounts& counts = totals.counts;
  checks.expect(counts.balanced(), "the store's counts do not balance");
  checks.expect(counts.live() == 0, concat(counts.live(), " jobs are still live in the store"));
  checks.expect(counts.enqueued == enqueued.size(), concat("the store counts ", counts.enqueued, " enqueued jobs"));
  checks.expect(counts.finished + counts.dead == counts.enqueued, "enqueued is not finished + dead");
  checks.expect(counts.dead == enqueued.doomed.size(), concat("the dead set has ", counts.dead, " jobs"));
}

void check_handlers(Checks& checks, const EventStats& stats) {
  for (const HandlerStats& handler : stats.handlers) {
    checks.expect(handler.balanced(),
                  concat("handler ", handler.name, ": published is not delivered + dropped + buffered"));
    checks.expect(handler.published == stats.handlers.front().published,
                  concat("handler ", handler.name, " was not offered every event"));
  }
  const HandlerStats* healthy = stats.find("healthy");
  checks.expect(healthy != nullptr && healthy->dropped.total() == 0 && healthy->delivered == healthy->published,
                "the healthy handler lost events");
  const HandlerStats* hung = stats.find("hung");
  checks.expect(hung != nullptr && hung->delivered <= 9, "the hung handler did not hang");
  const HandlerStats* throwing = stats.find("throwing");
  checks.expect(throwing != nullptr && throwing->restarts > 0 && throwing->dropped.crashed == throwing->restarts,
                "the throwing handler was not restarted once per lost event");
}

}  // namespace

int run_demo(const DemoOptions& options) {
  const SteadyTime begin = system_clock().steady_now();
  const auto fail = [](const Error& error) {
    std::fprintf(stderr, "dagverk_demo: %s\n", std::string(error.message()).c_str());
    return 1;
  };

  const std::string directory = options.directory.empty() ? default_directory() : options.directory;
  Result<std::vector<std::string>> files = pick_files(directory, options.files_max);
  if (!files) return fail(files.error());
  Result<Expected> expected = compute_expected(*files);
  if (!expected) return fail(expected.error());

  Workspace workspace(options.keep);
  const std::string store_file = workspace.file("demo.db");
  const std::string config_file = workspace.file("dagverk.toml");
  {
    std::ofstream config(config_file);
    config << "store = \"sqlite:" << store_file << "\"\n\n[queues]\ndefault = 4\n";
  }
  fs::permissions(config_file, fs::perms::owner_read | fs::perms::owner_write);

  // That the throwing handler throws is the point, not news.
  set_stderr_log_level(LogLevel::error);
  // Never destroyed: the handler that hangs keeps its thread, and the program leaves by _exit.
  auto& runtime = *new Runtime(RuntimeOptions{.stuck_after = 1h});
  auto& stories = *new Stories;
  auto& never = *new std::latch(1);
  auto& thrower_seen = *new std::uint64_t(0);
  auto& stopping = *new std::atomic<bool>(false);

  Result<std::unique_ptr<stores::SqliteStore>> opened = stores::SqliteStore::open(runtime, {.path = store_file});
  if (!opened) return fail(opened.error());
  stores::SqliteStore& store = *opened->release();

  std::printf("Dagverk demo: %zu files of %s, two jobs each, on an embedded store.\n", files->size(),
              directory.c_str());
  jobs::JobClient client(runtime, store);
  Result<Enqueued> enqueued = enqueue_all(client, *files, runtime.clock());
  if (!enqueued) return fail(enqueued.error());
  std::printf("  %zu jobs enqueued: commands, C++ functions, %zu that fail twice, %zu that always fail, 1 for later\n",
              enqueued->size(), flaky_count, doomed_count);

  EventManager<jobs::Event>& events = *new StagedEventManager<jobs::Event>(runtime);
  HandlerOptions patient;
  patient.overflow = KeepNewest{1'000'000};
  HandlerOptions tireless;
  tireless.restart = {.delay_first = 10ms, .delay_max = 10ms, .crashes_max = 0};
  for (HandlerSpec<jobs::Event>& spec : std::vector<HandlerSpec<jobs::Event>>{
           event_handler<Healthy>("healthy", patient, &stories), event_handler<Hung>("hung", HandlerOptions(), &never),
           event_handler<Thrower>("throwing", tireless, &thrower_seen)}) {
    if (Result<void> added = events.add_handler_blocking(std::move(spec)); !added) return fail(added.error());
  }
  runtime.spawn([&store, &events, &stopping]() { return follow_journal(store, events, stopping); });

  Result<std::unique_ptr<WorkerProcess>> worker = WorkerProcess::create(config_file);
  if (!worker) return fail(worker.error());
  if (Result<void> started = (*worker)->start(); !started) return fail(started.error());

  Progress progress;
  const std::size_t total = enqueued->size();
  bool killed = false;
  std::size_t ended_at_kill = 0;
  WallTime second_start{};
  for (;;) {
    const Stories::Counts counts = stories.counts();
    progress.show(counts.ended, total, killed ? "second worker" : "first worker");
    if (counts.ended >= total) break;
    if (!killed && counts.ended >= total / 2) {
      if (Result<void> done = (*worker)->kill(); !done) return fail(done.error());
      killed = true;
      ended_at_kill = counts.ended;
      second_start = runtime.clock().wall_now();
      if (Result<void> started = (*worker)->start(); !started) return fail(started.error());
      progress.say(concat("  killed the worker with SIGKILL after ", ended_at_kill, " jobs; another one takes over"));
    }
    if (std::optional<OsProcessResult> gone = (*worker)->ended(); gone) {
      progress.finish();
      std::fprintf(stderr, "dagverk_demo: the worker %s\n%s\n", describe(*gone).c_str(),
                   gone->standard_error.bytes.c_str());
      return 1;
    }
    if (system_clock().steady_now() - begin > demo_limit) {
      progress.finish();
      std::fprintf(stderr, "dagverk_demo: %zu of %zu jobs did not end within %lld s\n", total - counts.ended, total,
                   static_cast<long long>(std::chrono::duration_cast<std::chrono::seconds>(demo_limit).count()));
      break;
    }
    stories.wait(50ms);
  }
  progress.finish();
  Result<OsProcessResult> stopped = (*worker)->stop();
  stopping.store(true);

  Checks checks;
  checks.expect(stopped.has_value() && stopped->succeeded(), "the worker did not stop in order on SIGTERM");
  Result<EventStats> stats = events.stats_blocking();
  if (!stats) return fail(stats.error());
  // The throwing handler may be between two of its restarts; everything else has been delivered when the healthy one
  // has seen it.
  const std::map<std::string, JobStory> told = stories.all();
  Result<jobs::StoreTotals> totals = runtime.run(store.totals());
  if (!totals) return fail(totals.error());

  std::printf("\n%s\n%s\n", job_table(told).c_str(), handler_table(*stats).c_str());
  check_jobs(checks, *enqueued, *expected, told, killed);
  check_store(checks, *totals, *enqueued);
  if (const std::optional<Duration> takeover = slowest_takeover(told, second_start); takeover) {
    const auto takeover_ms = std::chrono::duration_cast<std::chrono::milliseconds>(*takeover).count();
    std::printf("  the killed worker's jobs ran again within %lld ms of the next worker's start\n",
                static_cast<long long>(takeover_ms));
    checks.expect(*takeover < takeover_limit, "the killed worker's jobs were not taken over in time");
  }
  check_handlers(checks, *stats);
  for (const std::string& failure : checks.failures()) std::printf("  FAILED: %s\n", failure.c_str());
  const double seconds = static_cast<double>((system_clock().steady_now() - begin).count()) / 1e9;
  std::printf("  %zu checks, %zu failed, nothing lost: %s (%.1f s)\n", checks.made(), checks.failed(),
              checks.failed() == 0 ? "yes" : "NO", seconds);
  if (options.keep) std::printf("  the store is %s\n", store_file.c_str());
  std::printf("\nStart the real thing:   build/release/bin/dagverk dev\n");
  std::printf("and in another shell:   build/release/bin/dagverk enqueue CLASS ARG…   (see docs/guides/jobs.md)\n");
  return checks.failed() == 0 ? 0 : 1;
}

}  // namespace dagverk::demo
