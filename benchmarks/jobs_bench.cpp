// How many jobs a second go through a whole node on the SQLite store with full sync: 64 clients enqueue one job at a
// time, `thread` jobs that do nothing run, their ends are stored? And how long after its enqueue does a lonely job
// start?

#include "bench_report.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_client.hpp"
#include "dagverk/jobs/node.hpp"
#include "dagverk/runtime/completion.hpp"
#include "dagverk/runtime/runtime.hpp"
#include "dagverk/runtime/this_process.hpp"
#include "dagverk/stores/sqlite/sqlite_store.hpp"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <latch>
#include <memory>
#include <string>
#include <unistd.h>
#include <vector>

namespace dagverk::bench {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t concurrency = 100;

/// A store file of its own in the working directory, whose disk is the one that is measured.
class NodeStore {
 public:
  NodeStore(RuntimeBase& runtime, bool journal) {
    options_.path = concat("dagverk_bench_node_", ::getpid(), ".db");
    options_.journal = journal;
    remove_files();
    auto opened = stores::SqliteStore::open(runtime, options_);
    DAGVERK_ASSERT(opened.has_value());
    store_ = std::move(*opened);
  }
  NodeStore(const NodeStore&) = delete;
  NodeStore& operator=(const NodeStore&) = delete;
  ~NodeStore() {
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

std::unique_ptr<jobs::Node> start_node(RuntimeBase& runtime, jobs::JobStore& store, jobs::JobRegistry registry) {
  jobs::NodeOptions options;
  options.pools.push_back({.queues = {"default"}, .concurrency = concurrency});
  auto node = jobs::Node::start(runtime, store, std::move(registry), std::move(options));
  DAGVERK_ASSERT(node.has_value());
  return std::move(*node);
}

Async<void> enqueue_many(jobs::JobClient& client, std::size_t count) {
  for (std::size_t index = 0; index < count; ++index) {
    jobs::NewJob job;
    job.job_class = "Noop";
    job.args_json = "[1,\"two\"]";
    const Result<std::string> jid = co_await client.enqueue(std::move(job));
    DAGVERK_ASSERT(jid.has_value());
  }
}

double noop_jobs_per_second(bool journal) {
  constexpr std::size_t producers = 64;
  constexpr std::size_t each = 1500;
  constexpr std::size_t total = producers * each;
  Runtime runtime;
  NodeStore store(runtime, journal);
  std::atomic<std::size_t> runs{0};
  std::latch all_ran(1);
  jobs::JobRegistry registry;
  registry.define("Noop", [&](int, const std::string&) {
    if (++runs == total) all_ran.count_down();
  });
  jobs::JobClient client(runtime, *store);
  const std::unique_ptr<jobs::Node> node = start_node(runtime, *store, std::move(registry));
  const double taken = seconds([&] {
    for (std::size_t producer = 0; producer < producers; ++producer) {
      runtime.spawn([&client] { return enqueue_many(client, each); });
    }
    all_ran.wait();
    node->stop(10s);  // the last ends are stored
  });
  const auto totals = runtime.run((*store).totals());
  DAGVERK_ASSERT(totals.has_value() && totals->counts.finished == total && totals->counts.balanced());
  return static_cast<double>(total) / taken;
}

/// The median time from asking to enqueue a lonely job to its first instruction, in microseconds.
double start_latency() {
  constexpr int count = 400;
  Runtime runtime;
  NodeStore store(runtime, true);
  std::atomic<std::int64_t> started{0};
  jobs::JobRegistry registry;
  registry.define("Noop", [&] {
    started = system_clock().steady_now().time_since_epoch().count();
    started.notify_one();
  });
  const std::unique_ptr<jobs::Node> node = start_node(runtime, *store, std::move(registry));
  jobs::JobClient client(runtime, *store);
  std::vector<double> waits;
  for (int index = 0; index < count; ++index) {
    started = 0;
    const std::int64_t begin = system_clock().steady_now().time_since_epoch().count();
    DAGVERK_ASSERT(client.enqueue_class("Noop").has_value());
    started.wait(0);
    waits.push_back(static_cast<double>(started.load() - begin) / 1e3);
  }
  std::ranges::nth_element(waits, waits.begin() + count / 2);
  return waits[count / 2];
}

}  // namespace

void jobs_benchmarks(BenchReport& report) {
  report.run("jobs.sqlite.noop", "jobs/s", [] { return noop_jobs_per_second(false); });
  report.run("jobs.sqlite.noop_journaled", "jobs/s", [] { return noop_jobs_per_second(true); });
  report.run("jobs.sqlite.start.p50", "us", [] { return start_latency(); });
}

}  // namespace dagverk::bench
