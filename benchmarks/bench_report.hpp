#pragma once

#include "dagverk/base/clock.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace dagverk::bench {

/// Runs measurements whose name contains the filter and prints `name value unit`, one line each: the median of several
/// rounds, after one that is not counted. What the names mean stands in docs/reference/benchmarks.md.
class BenchReport {
 public:
  BenchReport(std::string filter, int rounds) : filter_(std::move(filter)), rounds_(rounds) {}

  /// A filter that ends in `$` must match the end of the name.
  [[nodiscard]] bool wants(std::string_view name) const {
    if (filter_.ends_with('$')) return name.ends_with(std::string_view(filter_).substr(0, filter_.size() - 1));
    return name.find(filter_) != std::string_view::npos;
  }

  /// For what takes long: whether the filter names it.
  [[nodiscard]] bool asked_for(std::string_view name) const { return !filter_.empty() && filter_.starts_with(name); }

  /// `measure` returns one round's figure.
  void run(std::string_view name, std::string_view unit, const std::function<double()>& measure) {
    if (!wants(name)) return;
    static_cast<void>(measure());
    std::vector<double> figures;
    figures.reserve(static_cast<std::size_t>(rounds_));
    for (int round = 0; round < rounds_; ++round) figures.push_back(measure());
    std::sort(figures.begin(), figures.end());
    print(name, figures[figures.size() / 2], unit);
  }

  /// For figures that come in one piece, e.g. percentiles.
  static void print(std::string_view name, double value, std::string_view unit) {
    std::printf("%.*s %.6g %.*s\n", static_cast<int>(name.size()), name.data(), value, static_cast<int>(unit.size()),
                unit.data());
    std::fflush(stdout);
  }

 private:
  std::string filter_;
  int rounds_;
};

/// Seconds that `work` takes.
template <class Work>
[[nodiscard]] double seconds(Work&& work) {
  const SteadyTime begin = system_clock().steady_now();
  work();
  return static_cast<double>((system_clock().steady_now() - begin).count()) / 1e9;
}

// One function per room; each is in <room>_bench.cpp.
void runtime_benchmarks(BenchReport& report);
void event_benchmarks(BenchReport& report);
void handlers_benchmarks(BenchReport& report);
void jobs_benchmarks(BenchReport& report);
void jobs_redis_benchmarks(BenchReport& report);
void log_benchmarks(BenchReport& report);
void report_benchmarks(BenchReport& report);
void stage_benchmarks(BenchReport& report);
void start_latency_benchmarks(BenchReport& report);
void store_size_benchmarks(BenchReport& report);
void store_size_redis_benchmarks(BenchReport& report);
void store_sqlite_benchmarks(BenchReport& report);

/// What this program is called with when it is to be a worker whose memory is measured: then a URL and a count of jobs.
inline constexpr const char* redis_worker_flag = "--redis-worker";
int run_redis_worker(std::string_view url, std::size_t count);

}  // namespace dagverk::bench
