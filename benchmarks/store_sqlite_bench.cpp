// How many jobs a second go through the SQLite store, each enqueued, taken and acknowledged with full sync, when many
// callers ask at once? And how long does one lonely job take? The worker here does nothing with a job: what is left is
// the store.

#include "bench_report.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"
#include "dagverk/base/random.hpp"
#include "dagverk/runtime/completion.hpp"
#include "dagverk/runtime/runtime.hpp"
#include "dagverk/runtime/this_process.hpp"
#include "dagverk/stores/sqlite/sqlite_store.hpp"

#include <atomic>
#include <filesystem>
#include <memory>
#include <string>
#include <unistd.h>
#include <vector>

namespace dagverk::bench {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t payload_size = 200;

/// A store file of its own in the working directory, whose disk is the one that is measured.
class BenchStore {
 public:
  BenchStore(RuntimeBase& runtime, bool journal) {
    options_.path = concat("dagverk_bench_", ::getpid(), ".db");
    options_.journal = journal;
    options_.lease = 1h;
    remove_files();
    auto opened = stores::SqliteStore::open(runtime, options_);
    DAGVERK_ASSERT(opened.has_value());
    store_ = std::move(*opened);
  }
  BenchStore(const BenchStore&) = delete;
  BenchStore& operator=(const BenchStore&) = delete;
  ~BenchStore() {
    store_.reset();
    remove_files();
  }
  jobs::JobStore& operator*() noexcept { return *store_; }

 private:
  void remove_files() const {
    std::error_code ignored;
    for (const char* suffix : {"", "-wal", "-shm", ".nodes"})
      std::filesystem::remove_all(options_.path + suffix, ignored);
  }

  stores::SqliteOptions options_;
  std::unique_ptr<stores::SqliteStore> store_;
};

jobs::EnqueueRequest noop_job(std::string jid) {
  jobs::EnqueueRequest job;
  job.jid = std::move(jid);
  job.queue = "default";
  job.class_name = "Noop";
  job.payload.assign(payload_size, 'x');
  return job;
}

Async<void> produce(jobs::JobStore& store, const std::vector<std::string>& jids, std::size_t first, std::size_t count) {
  for (std::size_t index = first; index < first + count; ++index) {
    std::vector<jobs::EnqueueRequest> batch;
    batch.push_back(noop_job(jids[index]));
    const auto outcomes = co_await store.enqueue(std::move(batch));
    DAGVERK_ASSERT(outcomes.has_value() && outcomes->front() == jobs::ItemOutcome::done);
  }
}

/// Takes batches and acknowledges them, until `total` jobs are done.
Async<void> consume(jobs::JobStore& store, jobs::NodeEpoch node, std::atomic<std::size_t>& done, std::size_t total) {
  while (done.load() < total) {
    const std::uint64_t seen = store.change_count(jobs::ChangeKind::ready);
    jobs::TakeRequest request{node, {"default"}, 100};
    const auto taken = co_await store.take(std::move(request));
    DAGVERK_ASSERT(taken.has_value());
    if (taken->empty()) {
      const auto changed = co_await store.wait_for_change(jobs::ChangeKind::ready, seen, 10ms);
      DAGVERK_ASSERT(changed.has_value());
      continue;
    }
    std::vector<jobs::Settlement> settlements;
    settlements.reserve(taken->size());
    for (const jobs::TakenJob& job : *taken) settlements.push_back(jobs::Settlement::finish(job.token));
    const auto settled = co_await store.settle(std::move(settlements));
    DAGVERK_ASSERT(settled.has_value());
    done += taken->size();
  }
}

double jobs_per_second(bool journal) {
  constexpr std::size_t producers = 64;
  constexpr std::size_t each = 2000;
  constexpr std::size_t total = producers * each;
  Runtime runtime;
  BenchStore store(runtime, journal);
  const auto node = runtime.run((*store).register_node({"bench", {}}));
  DAGVERK_ASSERT(node.has_value());
  std::vector<std::string> jids;
  jids.reserve(total);
  for (std::size_t index = 0; index < total; ++index) jids.push_back(random_hex(12));
  std::atomic<std::size_t> done{0};
  const double taken = seconds([&] {
    std::vector<Pid> pids;
    pids.reserve(producers + 2);
    for (std::size_t producer = 0; producer < producers; ++producer) {
      pids.push_back(runtime.spawn([&, producer] { return produce(*store, jids, producer * each, each); }));
    }
    for (int consumer = 0; consumer < 2; ++consumer) {
      pids.push_back(runtime.spawn([&] { return consume(*store, *node, done, total); }));
    }
    for (const Pid pid : pids) {
      const auto ended = runtime.run(this_process::wait_for_exit(pid, 10min));
      DAGVERK_ASSERT(ended.has_value());
    }
  });
  const auto totals = runtime.run((*store).totals());
  DAGVERK_ASSERT(totals.has_value() && totals->counts.finished == total && totals->counts.balanced());
  return static_cast<double>(total) / taken;
}

/// The time from asking to enqueue one job to its being acknowledged, nothing else going on, in microseconds.
Async<Result<double>> lonely_jobs(jobs::JobStore& store, jobs::NodeEpoch node) {
  constexpr int count = 300;
  const SteadyTime begin = system_clock().steady_now();
  for (int index = 0; index < count; ++index) {
    std::vector<jobs::EnqueueRequest> batch;
    batch.push_back(noop_job(concat("lonely", index)));
    const auto enqueued = co_await store.enqueue(std::move(batch));
    DAGVERK_ASSERT(enqueued.has_value());
    jobs::TakeRequest request{node, {"default"}, 1};
    const auto taken = co_await store.take(std::move(request));
    DAGVERK_ASSERT(taken.has_value() && taken->size() == 1);
    std::vector<jobs::Settlement> settlements;
    settlements.push_back(jobs::Settlement::finish(taken->front().token));
    const auto settled = co_await store.settle(std::move(settlements));
    DAGVERK_ASSERT(settled.has_value());
  }
  co_return static_cast<double>((system_clock().steady_now() - begin).count()) / 1e3 / count;
}

}  // namespace

void store_sqlite_benchmarks(BenchReport& report) {
  report.run("store.sqlite.jobs", "jobs/s", [] { return jobs_per_second(false); });
  report.run("store.sqlite.jobs_journaled", "jobs/s", [] { return jobs_per_second(true); });
  report.run("store.sqlite.lonely", "us", [] {
    Runtime runtime;
    BenchStore store(runtime, true);
    const auto node = runtime.run((*store).register_node({"bench", {}}));
    DAGVERK_ASSERT(node.has_value());
    return runtime.run(lonely_jobs(*store, *node)).value();
  });
}

}  // namespace dagverk::bench
