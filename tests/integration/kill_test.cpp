// Twenty workers killed with SIGKILL at random moments of a run of 2,000 jobs: nothing lost, and every second run
// explained by a kill.

#include "dagverk/base/concat.hpp"
#include "dagverk/base/random.hpp"
#include "dagverk/jobs/job_client.hpp"
#include "dagverk/jobs/job_events.hpp"
#include "dagverk/jobs/journal.hpp"
#include "dagverk/runtime/os_process.hpp"
#include "dagverk/runtime/runtime.hpp"
#include "dagverk/stores/sqlite/sqlite_store.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <future>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace dagverk {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

constexpr int job_count = 2'000;
constexpr int kill_count = 20;

std::uint64_t choose_seed() {
  const char* given = std::getenv("DAGVERK_SEED");
  return given != nullptr ? std::strtoull(given, nullptr, 0) : random_seed();
}

struct Story {
  int started = 0;
  int finished = 0;
  int rescued = 0;
  int requeued = 0;
  int other_ends = 0;
};

/// Folds the journal, row by row, in the order of the changes.
class Follower {
 public:
  explicit Follower(jobs::JobStore& store) : reader_(store) {}

  /// Reads what there is, waiting at most `wait` for the first row.
  Async<Result<int>> read(Duration wait) {
    Result<jobs::JournalPage> page = co_await reader_.next(1000, wait);
    if (!page) co_return page.error();
    for (const jobs::JournalRow& row : page->rows) {
      Story& story = stories_[row.jid];
      switch (row.kind) {
        case jobs::JournalKind::started: ++story.started; break;
        case jobs::JournalKind::finished:
          ++story.finished;
          ++finished_;
          break;
        case jobs::JournalKind::rescued: ++story.rescued; break;
        case jobs::JournalKind::requeued: ++story.requeued; break;
        case jobs::JournalKind::enqueued:
        case jobs::JournalKind::scheduled:
        case jobs::JournalKind::promoted:
        case jobs::JournalKind::retried_now: break;
        default: ++story.other_ends; break;
      }
    }
    co_return static_cast<int>(page->rows.size());
  }

  [[nodiscard]] int finished() const noexcept { return finished_; }
  /// Whether the next death of its node could quarantine some job.
  [[nodiscard]] bool one_is_at_its_limit() const noexcept {
    return std::ranges::any_of(stories_, [](const auto& entry) {
      const Story& story = entry.second;
      return story.finished == 0 && story.rescued + 1 >= static_cast<int>(jobs::rescue_count_limit);
    });
  }
  [[nodiscard]] const std::map<std::string, Story>& stories() const noexcept { return stories_; }

 private:
  jobs::JournalReader reader_;
  std::map<std::string, Story> stories_;
  int finished_ = 0;
};

/// One worker OS process.
class Worker {
 public:
  Worker(OsProcessSpawner& spawner, const std::string& config) : spawner_(spawner) {
    OsProcessOptions options;
    options.argv = {KILL_WORKER_BINARY, "work", "--config", config};
    auto promise = std::make_shared<std::promise<OsProcessResult>>();
    result_ = promise->get_future();
    Result<OsProcessId> started = spawner_.start(
        std::move(options), [promise](OsProcessResult result) { promise->set_value(std::move(result)); });
    EXPECT_TRUE(started) << (started ? "" : started.error().message());
    if (started) id_ = *started;
  }
  OsProcessResult end(int signal) {
    EXPECT_TRUE(spawner_.kill(id_, signal));
    return result_.get();
  }

 private:
  OsProcessSpawner& spawner_;
  OsProcessId id_{};
  std::future<OsProcessResult> result_;
};

TEST(KilledWorkers, twenty_random_kills_lose_no_job_and_explain_every_second_run) {
  const std::uint64_t seed = choose_seed();
  SCOPED_TRACE(concat("DAGVERK_SEED=", seed));
  Random random(seed);
  const fs::path folder = fs::temp_directory_path() / concat("dagverk-kill-", random_hex(6));
  fs::create_directory(folder);
  const std::string config = (folder / "dagverk.toml").string();
  const std::string file = (folder / "jobs.db").string();
  std::ofstream(config) << "store = \"sqlite:" << file << "\"\n[queues]\ndefault = 4\n";
  fs::permissions(config, fs::perms::owner_read | fs::perms::owner_write);

  Runtime runtime;
  Result<std::unique_ptr<stores::SqliteStore>> store = stores::SqliteStore::open(runtime, {.path = file});
  ASSERT_TRUE(store) << store.error().message();
  std::vector<jobs::NewJob> all(job_count);
  for (int number = 0; number < job_count; ++number) {
    all[static_cast<std::size_t>(number)].job_class = "Step";
    all[static_cast<std::size_t>(number)].args_json = concat("[", number, "]");
  }
  jobs::JobClient client(runtime, **store);
  ASSERT_TRUE(client.enqueue_bulk_blocking(std::move(all)));

  Result<std::unique_ptr<OsProcessSpawner>> spawner = OsProcessSpawner::create();
  ASSERT_TRUE(spawner);
  std::vector<std::unique_ptr<Worker>> workers;
  for (int index = 0; index < 2; ++index) workers.push_back(std::make_unique<Worker>(**spawner, config));

  Follower follower(**store);
  int kills = 0;
  int kill_at = static_cast<int>(random.below(80));
  const SteadyTime deadline = runtime.clock().steady_now() + 100s;
  while (follower.finished() < job_count && runtime.clock().steady_now() < deadline) {
    ASSERT_TRUE(runtime.run(follower.read(200ms)));
    if (kills == kill_count || follower.finished() < kill_at) continue;
    while (runtime.run(follower.read(0ms)).value_or(0) > 0) {
    }
    if (follower.one_is_at_its_limit()) continue;  // it goes to the dead set when its nodes die a third time
    const auto victim = static_cast<std::size_t>(random.below(workers.size()));
    EXPECT_EQ(workers[victim]->end(SIGKILL).signal, SIGKILL);
    workers[victim] = std::make_unique<Worker>(**spawner, config);
    ++kills;
    kill_at = follower.finished() + 1 + static_cast<int>(random.below(40));
  }
  EXPECT_EQ(kills, kill_count);
  EXPECT_EQ(follower.finished(), job_count);
  for (const std::unique_ptr<Worker>& worker : workers) {
    const OsProcessResult result = worker->end(SIGTERM);
    // One that was started a moment ago may not have reached its main yet: then SIGTERM does what it does to any
    // program.
    EXPECT_TRUE(result.succeeded() || result.signal == SIGTERM) << describe(result) << "\n"
                                                                << result.standard_error.bytes;
  }

  int rescued = 0;
  EXPECT_EQ(follower.stories().size(), static_cast<std::size_t>(job_count));
  for (const auto& [jid, story] : follower.stories()) {
    EXPECT_EQ(story.finished, 1) << jid;
    EXPECT_EQ(story.other_ends, 0) << jid;
    EXPECT_EQ(story.started, story.finished + story.rescued + story.requeued) << jid;
    rescued += story.rescued;
  }
  EXPECT_GT(rescued, 0);
  EXPECT_LE(rescued, kill_count * 8) << "at most what two pools of four and their next jobs hold";
  Result<jobs::StoreTotals> totals = runtime.run((*store)->totals());
  ASSERT_TRUE(totals);
  EXPECT_TRUE(totals->counts.balanced());
  EXPECT_EQ(totals->counts.finished, static_cast<std::uint64_t>(job_count));
  EXPECT_EQ(totals->counts.live() + totals->counts.dead, 0U);
  store->reset();
  fs::remove_all(folder);
}

}  // namespace
}  // namespace dagverk
