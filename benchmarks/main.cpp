// Prints figures, `name value unit` a line: `dagverk_bench [filter] [rounds]`. The first lines, on standard error, say
// what was measured on what.

#include "bench_report.hpp"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>
#include <thread>

namespace {

std::string cpu_model() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

}  // namespace

int main(int argc, char** argv) {
#if !defined(__OPTIMIZE__)
  std::fprintf(stderr, "dagverk_bench: this build is not optimised; its figures would mean nothing. Use ./dev bench\n");
  return 1;
#endif
  if (argc == 4 && std::string_view(argv[1]) == dagverk::bench::redis_worker_flag) {
    return dagverk::bench::run_redis_worker(argv[2], std::strtoull(argv[3], nullptr, 10));
  }
  const std::string filter = argc > 1 ? argv[1] : "";
  const int rounds = argc > 2 ? std::max(1, std::atoi(argv[2])) : 3;
  std::fprintf(stderr, "# commit %s, compiler %s, cpu %s, %u threads, %d rounds\n", DAGVERK_BENCH_COMMIT, __VERSION__,
               cpu_model().c_str(), std::thread::hardware_concurrency(), rounds);
  dagverk::bench::BenchReport report(filter, rounds);
  dagverk::bench::start_latency_benchmarks(report);  // first: it forks
  dagverk::bench::runtime_benchmarks(report);
  dagverk::bench::event_benchmarks(report);
  dagverk::bench::stage_benchmarks(report);
  dagverk::bench::store_sqlite_benchmarks(report);
  dagverk::bench::store_size_benchmarks(report);
  dagverk::bench::store_size_redis_benchmarks(report);
  dagverk::bench::log_benchmarks(report);
  dagverk::bench::report_benchmarks(report);
  dagverk::bench::jobs_benchmarks(report);
  dagverk::bench::jobs_redis_benchmarks(report);
  dagverk::bench::handlers_benchmarks(report);
  return 0;
}
