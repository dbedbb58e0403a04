// How many jobs a second go through a whole node on the SQLite store with full sync: 64 clients enqueue one job at a
// time, `thread` jobs that do nothing run, their ends are stored? And how long after its enqueue does a lonely job
// start?

#include "job_load.hpp"

#include <algorithm>
#include <ctime>
#include <vector>

namespace dagverk::bench {
namespace {

double noop_jobs_per_second(bool journal) {
  Runtime runtime({.logger = &null_logger()});
  return JobLoad(runtime, journal, nullptr).run();
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

/// What an idle node costs, in hundredths of one core.
double idle_percent() {
  constexpr int span_s = 10;
  Runtime runtime;
  NodeStore store(runtime, true);
  const std::unique_ptr<jobs::Node> node = start_node(runtime, *store, jobs::JobRegistry());
  const auto processor_s = [] { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; };
  sleep_for(std::chrono::seconds(1));
  const double before = processor_s();
  sleep_for(std::chrono::seconds(span_s));
  return (processor_s() - before) / span_s * 100;
}

}  // namespace

void jobs_benchmarks(BenchReport& report) {
  report.run("jobs.sqlite.noop", "jobs/s", [] { return noop_jobs_per_second(false); });
  report.run("jobs.sqlite.noop_journaled", "jobs/s", [] { return noop_jobs_per_second(true); });
  report.run("jobs.sqlite.start.p50", "us", [] { return start_latency(); });
  if (report.wants("jobs.sqlite.idle")) report.print("jobs.sqlite.idle", idle_percent(), "%");
}

}  // namespace dagverk::bench
