// What do reports cost a run of ten thousand tests that do nothing: per test, and altogether until the XML is there?

#include "bench_report.hpp"

#include "dagverk/report/formatters.hpp"
#include "dagverk/report/test_recorder.hpp"

#include <cstdlib>
#include <functional>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace dagverk::bench {
namespace {

constexpr int tests = 10'000;

/// Seconds from the start of a process to the end of its `work`; ends the benchmark when that fails.
double seconds_of_process(const std::function<void()>& work) {
  return seconds([&] {
    const pid_t child = ::fork();
    if (child == 0) {
      work();
      ::_exit(0);
    }
    int status = 0;
    if (child < 0 || ::waitpid(child, &status, 0) != child || status != 0) std::abort();
  });
}

void tell_tests(TestRecorder& recorder) {
  recorder.suite_started("bench", tests);
  recorder.case_started("Empty");
  for (int test = 0; test < tests; ++test) {
    recorder.test_started("Empty", "test_with_a_name_of_usual_length", "tests/room/some_test.cpp", 42);
    recorder.test_finished(TestState::passed, {});
  }
  recorder.case_finished("Empty");
  recorder.suite_finished();
}

std::unique_ptr<TestRecorder> recorder_to_nowhere() {
  std::vector<FormatterSpec> formatters;
  formatters.push_back(junit_formatter("/dev/null"));
  auto recorder = split_off_reporter({.formatters = std::move(formatters), .program = "bench"});
  if (!recorder) std::abort();
  return std::move(*recorder);
}

}  // namespace

void report_benchmarks(BenchReport& report) {
  report.run("report.overhead_10k", "ms", [] {
    const double without = seconds_of_process([] {});
    const double with = seconds_of_process([] { tell_tests(*recorder_to_nowhere()); });
    return (with - without) * 1e3;
  });
  report.run("report.per_test", "ns", [] {
    const double none = seconds_of_process([] { recorder_to_nowhere()->suite_finished(); });
    const double all = seconds_of_process([] { tell_tests(*recorder_to_nowhere()); });
    return (all - none) * 1e9 / tests;
  });
}

}  // namespace dagverk::bench
