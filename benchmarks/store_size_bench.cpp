// Does the SQLite store get slower as jobs pile up? Takes, counts and pages of a listing with a thousand, a hundred
// thousand and ten million jobs waiting; and how long takes wait while a million due jobs are promoted.

#include "bench_report.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"
#include "dagverk/runtime/runtime.hpp"
#include "dagverk/runtime/this_process.hpp"
#include "dagverk/stores/sqlite/sqlite_store.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <unistd.h>
#include <vector>

namespace dagverk::bench {
namespace {

using namespace std::chrono_literals;

/// A store file in the working directory that is filled by SQL, which is what makes ten million jobs affordable.
class FilledStore {
 public:
  FilledStore(RuntimeBase& runtime, std::uint64_t count, bool due) {
    options_.path = concat("dagverk_bench_size_", ::getpid(), ".db");
    options_.journal = false;
    options_.lease = 1h;
    remove_files();
    open(runtime);
    store_.reset();
    fill(count, due);
    open(runtime);
  }
  FilledStore(const FilledStore&) = delete;
  FilledStore& operator=(const FilledStore&) = delete;
  ~FilledStore() {
    store_.reset();
    remove_files();
  }
  jobs::JobStore& operator*() noexcept { return *store_; }

 private:
  void open(RuntimeBase& runtime) {
    auto opened = stores::SqliteStore::open(runtime, options_);
    DAGVERK_ASSERT(opened.has_value());
    store_ = std::move(*opened);
  }

  void fill(std::uint64_t count, bool due) const {
    const int state = due ? 1 : 0;
    const std::string sql = concat(
        "PRAGMA synchronous = OFF; PRAGMA cache_size = -200000; BEGIN IMMEDIATE;"
        "INSERT INTO dagverk_queue(id, name, ",
        due ? "scheduled" : "ready", ", enqueued) VALUES(1, 'default', ", count, ", ", count,
        ");"
        "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i <= ",
        count,
        ") INSERT INTO dagverk_job(id, state, queue, rank, flags, due_us, enqueued_us, jid, class, payload) SELECT i, ",
        state, ", 1, 1, 0, ", due ? "1000000 + i" : "NULL",
        ", 1000000 + i, printf('%012x%012x', i, i * 7919 % 1000003), 'Noop', randomblob(200) FROM n;"
        "UPDATE dagverk_meta SET next_id = ",
        count + 10, ", queues = 1; COMMIT; PRAGMA wal_checkpoint(TRUNCATE);");
    sqlite3* handle = nullptr;
    DAGVERK_ASSERT(sqlite3_open(options_.path.c_str(), &handle) == SQLITE_OK);
    const int code = sqlite3_exec(handle, sql.c_str(), nullptr, nullptr, nullptr);
    DAGVERK_ASSERT(code == SQLITE_OK);
    sqlite3_close(handle);
  }

  void remove_files() const {
    std::error_code ignored;
    for (const char* suffix : {"", "-wal", "-shm", ".nodes"})
      std::filesystem::remove_all(options_.path + suffix, ignored);
  }

  stores::SqliteOptions options_;
  std::unique_ptr<stores::SqliteStore> store_;
};

/// How long each of many equal steps takes.
class Steps {
 public:
  template <class Work>
  void time(Work&& work) {
    microseconds_.push_back(seconds(work) * 1e6);
  }
  [[nodiscard]] double percentile(double part) {
    std::sort(microseconds_.begin(), microseconds_.end());
    return microseconds_[static_cast<std::size_t>(part * static_cast<double>(microseconds_.size() - 1))];
  }

 private:
  std::vector<double> microseconds_;
};

jobs::EnqueueRequest noop_job(std::string jid) {
  jobs::EnqueueRequest job;
  job.jid = std::move(jid);
  job.queue = "default";
  job.class_name = "Noop";
  job.payload.assign(200, 'x');
  return job;
}

void measure_at_size(std::string_view name, std::uint64_t count) {
  Runtime runtime({.logger = &null_logger()});
  FilledStore store(runtime, count, false);
  const auto node = runtime.run((*store).register_node({"bench", {}}));
  DAGVERK_ASSERT(node.has_value());
  Steps enqueue;
  Steps take;
  Steps settle;
  Steps counts;
  Steps page;
  std::string cursor;
  constexpr int rounds = 300;
  for (int round = 0; round < rounds; ++round) {
    enqueue.time([&] {
      std::vector<jobs::EnqueueRequest> batch;
      batch.push_back(noop_job(concat("ffff", round)));
      DAGVERK_ASSERT(runtime.run((*store).enqueue(std::move(batch))).has_value());
    });
    Result<std::vector<jobs::TakenJob>> taken = Error(ErrorCode::internal);
    take.time([&] { taken = runtime.run((*store).take({*node, {"default"}, 1})); });
    DAGVERK_ASSERT(taken.has_value() && taken->size() == 1);
    settle.time([&] {
      std::vector<jobs::Settlement> settlements;
      settlements.push_back(jobs::Settlement::finish(taken->front().token));
      DAGVERK_ASSERT(runtime.run((*store).settle(std::move(settlements))).has_value());
    });
    counts.time([&] {
      DAGVERK_ASSERT(runtime.run((*store).totals()).has_value());
      DAGVERK_ASSERT(runtime.run((*store).queues({}, 100)).has_value());
    });
    page.time([&] {
      jobs::ListQuery query{.queue = "default", .cursor = cursor};
      const auto listed = runtime.run((*store).list(std::move(query)));
      DAGVERK_ASSERT(listed.has_value());
      // Some pages from the start, some from the middle, some near the end: cursors are `state:queue:rank:id`.
      const std::uint64_t at = count * static_cast<std::uint64_t>(round % 10) / 10 + 1000;
      cursor = concat("0:1:1:", std::min(at, count));
    });
  }
  const auto print = [&](std::string_view what, Steps& steps) {
    BenchReport::print(concat("store.sqlite.at_size.", name, ".", what, ".p50"), steps.percentile(0.5), "us");
    BenchReport::print(concat("store.sqlite.at_size.", name, ".", what, ".p99"), steps.percentile(0.99), "us");
  };
  print("enqueue", enqueue);
  print("take", take);
  print("settle", settle);
  print("counts", counts);
  print("page", page);
}

Async<void> promote_all(jobs::JobStore& store, std::atomic<std::uint64_t>& promoted, std::uint64_t total) {
  while (promoted.load() < total) {
    const WallTime now = system_clock().wall_now();
    const auto due = co_await store.peek_due(now, 1000);
    DAGVERK_ASSERT(due.has_value() && !due->jobs.empty());
    std::vector<jobs::Promotion> promotions;
    promotions.reserve(due->jobs.size());
    for (const jobs::DueJob& job : due->jobs) promotions.push_back({job.handle, job.payload, {}});
    const auto outcomes = co_await store.promote(std::move(promotions));
    DAGVERK_ASSERT(outcomes.has_value());
    promoted += outcomes->size();
  }
}

/// A million jobs become due at once: one process promotes them as a node does, while takes are timed.
void measure_promotion(std::uint64_t total) {
  Runtime runtime({.logger = &null_logger()});
  FilledStore store(runtime, total, true);
  const auto node = runtime.run((*store).register_node({"bench", {}}));
  DAGVERK_ASSERT(node.has_value());
  std::atomic<std::uint64_t> promoted{0};
  Steps take;
  const double taken_s = seconds([&] {
    const Pid promoter = runtime.spawn([&] { return promote_all(*store, promoted, total); });
    while (promoted.load() < total) {
      Result<std::vector<jobs::TakenJob>> taken = Error(ErrorCode::internal);
      take.time([&] { taken = runtime.run((*store).take({*node, {"default"}, 10})); });
      DAGVERK_ASSERT(taken.has_value());
      if (taken->empty()) continue;
      std::vector<jobs::Settlement> settlements;
      for (const jobs::TakenJob& job : *taken) settlements.push_back(jobs::Settlement::finish(job.token));
      DAGVERK_ASSERT(runtime.run((*store).settle(std::move(settlements))).has_value());
    }
    DAGVERK_ASSERT(runtime.run(this_process::wait_for_exit(promoter, 1min)).has_value());
  });
  BenchReport::print("store.sqlite.promote_million", taken_s, "s");
  BenchReport::print("store.sqlite.promote_million.take.p50", take.percentile(0.5) / 1e3, "ms");
  BenchReport::print("store.sqlite.promote_million.take.p99", take.percentile(0.99) / 1e3, "ms");
}

}  // namespace

void store_size_benchmarks(BenchReport& report) {
  if (report.wants("store.sqlite.at_size.1e3")) measure_at_size("1e3", 1'000);
  if (report.wants("store.sqlite.at_size.1e5")) measure_at_size("1e5", 100'000);
  // Needs five gigabytes and a minute to fill: only for who asks for it by name.
  if (report.asked_for("store.sqlite.at_size.1e7")) measure_at_size("1e7", 10'000'000);
  if (report.asked_for("store.sqlite.promote_million")) measure_promotion(1'000'000);
}

}  // namespace dagverk::bench
