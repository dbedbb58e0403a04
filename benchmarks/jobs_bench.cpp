// How many jobs a second go through a whole node on the SQLite store with full sync: 64 clients enqueue one job at a
// time, `thread` jobs that do nothing run, their ends are stored? And how long after its enqueue does a lonely job
// start?

#include "bench_report.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"
#include "dagverk/event/staged_event_manager.hpp"
#include "dagverk/jobs/event_hub.hpp"
#include "dagverk/jobs/job_client.hpp"
#include "dagverk/jobs/node.hpp"
#include "dagverk/runtime/completion.hpp"
#include "dagverk/runtime/runtime.hpp"
#include "dagverk/runtime/this_process.hpp"
#include "dagverk/stores/sqlite/sqlite_store.hpp"

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <functional>
#include <latch>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
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

std::unique_ptr<jobs::Node> start_node(RuntimeBase& runtime, jobs::JobStore& store, jobs::JobRegistry registry,
                                       jobs::EventSink* events = nullptr) {
  jobs::NodeOptions options;
  options.events = events;
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

/// Reads every event.
class Healthy : public EventHandler<jobs::Event> {
 public:
  void handle_batch(std::span<const jobs::Event> events) {
    for (const jobs::Event& event : events) sum_ += event.index();
  }

 private:
  std::size_t sum_ = 0;
};

/// Never returns from its tenth event, until the measurement is over.
class Hung : public EventHandler<jobs::Event> {
 public:
  static constexpr bool blocking = true;
  explicit Hung(std::latch& over) : over_(over) {}
  void handle_event(const jobs::Event& /*event*/) {
    if (++seen_ == 10) over_.wait();
  }

 private:
  std::latch& over_;
  int seen_ = 0;
};

class Throwing : public EventHandler<jobs::Event> {
 public:
  void handle_event(const jobs::Event& /*event*/) {
    if (++seen_ % 100 == 0) throw std::runtime_error("a hundred");
  }

 private:
  int seen_ = 0;
};

/// A hub with the three, whose trouble must not reach the jobs.
class TroubledHub {
 public:
  explicit TroubledHub(RuntimeBase& runtime) : hub_(runtime), sink_(hub_) {
    HandlerOptions often;
    often.restart.crashes_max = 0;
    often.restart.delay_first = 1ms;
    often.restart.delay_max = 1ms;
    DAGVERK_ASSERT(hub_.add_handler_blocking(event_handler<Healthy>("healthy")).has_value());
    DAGVERK_ASSERT(
        hub_.add_handler_blocking(event_handler<Hung>("hung", HandlerOptions(), std::ref(over_))).has_value());
    DAGVERK_ASSERT(hub_.add_handler_blocking(event_handler<Throwing>("throwing", often)).has_value());
  }
  TroubledHub(const TroubledHub&) = delete;
  TroubledHub& operator=(const TroubledHub&) = delete;
  ~TroubledHub() {
    over_.count_down();
    const Result<EventStats> stats = hub_.stop_blocking(10s);
    DAGVERK_ASSERT(stats.has_value());
    for (const HandlerStats& handler : stats->handlers) {
      DAGVERK_ASSERT(handler.published == handler.delivered + handler.dropped.total() + handler.buffered);
    }
  }
  jobs::EventSink* sink() noexcept { return &sink_; }

 private:
  std::latch over_{1};
  StagedEventManager<jobs::Event> hub_;
  jobs::EventHubSink sink_;
};

double noop_jobs_per_second(bool journal, bool handlers = false) {
  constexpr std::size_t producers = 64;
  constexpr std::size_t each = 1500;
  constexpr std::size_t total = producers * each;
  Runtime runtime({.logger = &null_logger()});
  std::optional<TroubledHub> hub;
  if (handlers) hub.emplace(runtime);
  NodeStore store(runtime, journal);
  std::atomic<std::size_t> runs{0};
  std::latch all_ran(1);
  jobs::JobRegistry registry;
  registry.define("Noop", [&](int, const std::string&) {
    if (++runs == total) all_ran.count_down();
  });
  jobs::JobClient client(runtime, *store);
  const std::unique_ptr<jobs::Node> node =
      start_node(runtime, *store, std::move(registry), hub ? hub->sink() : nullptr);
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

/// Throughput with handlers as a ratio to that without, both measured in turn.
double handlers_cost() {
  constexpr int rounds = 3;
  std::vector<double> with;
  std::vector<double> without;
  for (int round = 0; round < rounds; ++round) {
    without.push_back(noop_jobs_per_second(false, false));
    with.push_back(noop_jobs_per_second(false, true));
  }
  std::ranges::sort(with);
  std::ranges::sort(without);
  return with[rounds / 2] / without[rounds / 2];
}

}  // namespace

void jobs_benchmarks(BenchReport& report) {
  report.run("jobs.sqlite.noop", "jobs/s", [] { return noop_jobs_per_second(false); });
  report.run("jobs.sqlite.noop_journaled", "jobs/s", [] { return noop_jobs_per_second(true); });
  report.run("jobs.sqlite.start.p50", "us", [] { return start_latency(); });
  if (report.wants("handlers.cost")) BenchReport::print("handlers.cost", handlers_cost(), "ratio");
}

}  // namespace dagverk::bench
