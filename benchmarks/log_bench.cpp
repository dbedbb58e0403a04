// What does a log call cost its caller: in peace, through spdlog, in a flood, and while a file does not take anything?

#include "bench_report.hpp"

#include "dagverk/log/backends/file.hpp"
#include "dagverk/log/log.hpp"
#include "dagverk/log/spdlog_sink.hpp"
#include "dagverk/runtime/runtime.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <latch>
#include <memory>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

namespace dagverk::bench {
namespace {

using namespace std::chrono_literals;
using Latencies = std::vector<std::int64_t>;  // nanoseconds

constexpr Duration pace = 10us;  // 100,000 calls a second
constexpr std::size_t paced_calls = 100'000;

[[nodiscard]] double percentile(Latencies& latencies, double percent) {
  const auto index = static_cast<std::size_t>(static_cast<double>(latencies.size() - 1) * percent / 100.0);
  std::nth_element(latencies.begin(), latencies.begin() + static_cast<std::ptrdiff_t>(index), latencies.end());
  return static_cast<double>(latencies[index]);
}

/// Calls at the pace, for as long as `go_on` says. What is measured includes one reading of the clock.
template <class GoOn, class Call>
[[nodiscard]] Latencies paced(const GoOn& go_on, const Call& call) {
  const Clock& clock = system_clock();
  Latencies latencies;
  latencies.reserve(4 * paced_calls);
  for (std::size_t index = 0; go_on(index); ++index) {
    const SteadyTime before = clock.steady_now();
    call(index);
    latencies.push_back((clock.steady_now() - before).count());
    while (clock.steady_now() - before < pace) {
    }
  }
  return latencies;
}

[[nodiscard]] bool first_calls(std::size_t index) { return index < paced_calls; }

struct TemporaryFile {
  TemporaryFile() {
    const int file = ::mkstemp(path);
    if (file >= 0) ::close(file);
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() { ::unlink(path); }
  char path[32] = "/tmp/dagverk_log_bench_XXXXXX";
};

/// Blocks its thread from `stall` to `release`, then counts.
class Stalling final : public LogBackend {
 public:
  Stalling(std::atomic<bool>* stalled, std::latch* release) : stalled_(*stalled), release_(*release) {}
  WriteOutcome write(const LogBatch& batch) override {
    if (stalled_.load()) release_.wait();
    return {.written = batch.size()};
  }

 private:
  std::atomic<bool>& stalled_;
  std::latch& release_;
};

void caller_in_peace(BenchReport& report) {
  if (report.wants("log.clock.p50")) {
    Latencies nothing = paced(first_calls, [](std::size_t) {});
    BenchReport::print("log.clock.p50", percentile(nothing, 50), "ns");
  }
  if (!report.wants("log.front.p50") && !report.wants("log.front.p999") && !report.wants("log.spdlog.p50") &&
      !report.wants("log.spdlog.p999")) {
    return;
  }
  const TemporaryFile file;
  Runtime runtime({.logger = &null_logger()});
  const std::unique_ptr<LogPipeline> pipeline = LogPipeline::start(runtime).value();
  pipeline->add_backend(file_backend("file", {.path = file.path})).value();
  const Log log(*pipeline, "bench");
  const auto front = [&](std::size_t index) {
    log.info("job.finished", {{"job", index}, {"worker", 1}, {"took_ms", 1.25}});
  };
  const std::shared_ptr<spdlog::logger> logger = spdlog_logger(*pipeline, "bench");
  const auto spdlog_call = [&](std::size_t index) {
    logger->info("job {} finished on worker {} in {:.3f} ms", index, 1, 1.25);
  };
  static_cast<void>(paced([](std::size_t index) { return index < 10'000; }, front));
  Latencies latencies = paced(first_calls, front);
  if (report.wants("log.front.p50")) BenchReport::print("log.front.p50", percentile(latencies, 50), "ns");
  if (report.wants("log.front.p999")) BenchReport::print("log.front.p999", percentile(latencies, 99.9), "ns");
  latencies = paced(first_calls, spdlog_call);
  if (report.wants("log.spdlog.p50")) BenchReport::print("log.spdlog.p50", percentile(latencies, 50), "ns");
  if (report.wants("log.spdlog.p999")) BenchReport::print("log.spdlog.p999", percentile(latencies, 99.9), "ns");
}

/// Two threads log as fast as they can for a second: lines that reach the file per second, the rest of the queue included.
[[nodiscard]] double flood() {
  const TemporaryFile file;
  Runtime runtime({.logger = &null_logger()});
  const std::unique_ptr<LogPipeline> pipeline = LogPipeline::start(runtime, {.thread_buffer_bytes = 1 << 20}).value();
  pipeline->add_backend(file_backend("file", {.path = file.path})).value();
  const Log log(*pipeline, "bench");
  std::uint64_t written = 0;
  const double took = seconds([&] {
    const SteadyTime end = system_clock().steady_now() + 1s;
    const auto caller = [&] {
      for (std::size_t index = 0; index % 64 != 0 || system_clock().steady_now() < end; ++index) {
        log.info("job.finished", {{"job", index}, {"worker", 1}, {"took_ms", 1.25}});
      }
    };
    std::thread other(caller);
    caller();
    other.join();
    if (!pipeline->flush(60s)) std::abort();
    written = pipeline->stats().find("file")->written;
  });
  return static_cast<double>(written) / took;
}

/// One caller for three seconds; the only backend stalls for the two in the middle.
void stall(BenchReport& report) {
  if (!report.wants("log.stall.worst") && !report.wants("log.stall.unaccounted")) return;
  Runtime runtime({.logger = &null_logger()});
  const std::unique_ptr<LogPipeline> pipeline = LogPipeline::start(runtime).value();
  std::atomic<bool> stalled{false};
  std::latch release(1);
  pipeline->add_backend(log_backend<Stalling>("stalling", &stalled, &release)).value();
  const Log log(*pipeline, "bench");
  std::uint64_t calls = 0;
  std::thread ends([&] { log.info("of a thread that ends"); });
  ends.join();
  ++calls;
  const SteadyTime begin = system_clock().steady_now();
  Latencies latencies = paced(
      [&](std::size_t) {
        const Duration since = system_clock().steady_now() - begin;
        if (since > 500ms) stalled.store(true);
        if (since > 2500ms && stalled.exchange(false) && !release.try_wait()) release.count_down();
        return since < 3s;
      },
      [&](std::size_t index) {
        log.info("job.finished", {{"job", index}, {"worker", 1}, {"took_ms", 1.25}});
        ++calls;
      });
  if (!release.try_wait()) release.count_down();
  if (!pipeline->flush(60s)) std::abort();
  const LogStats stats = pipeline->stats();
  const BackendStats& backend = *stats.find("stalling");
  const std::uint64_t accounted =
      backend.written + backend.dropped.total() + stats.dropped_full + stats.dropped_by_mode;
  if (report.wants("log.stall.worst")) {
    BenchReport::print("log.stall.worst", static_cast<double>(*std::max_element(latencies.begin(), latencies.end())),
                       "ns");
  }
  if (report.wants("log.stall.unaccounted")) {
    BenchReport::print("log.stall.unaccounted", static_cast<double>(calls) - static_cast<double>(accounted), "lines");
  }
}

}  // namespace

void log_benchmarks(BenchReport& report) {
  caller_in_peace(report);
  report.run("log.flood", "lines/s", flood);
  stall(report);
}

}  // namespace dagverk::bench
