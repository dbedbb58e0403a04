#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/report/formatters.hpp"
#include "dagverk/report/test_event.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace dagverk {

struct ReportOptions {
  std::vector<FormatterSpec> formatters = {};
  std::string program = {};
  /// How long the reporter waits for a formatter that makes no headway, once in a run. 1 ms to `formatter_limit_max`.
  Duration formatter_limit = std::chrono::seconds(30);
};
inline constexpr Duration formatter_limit_max = std::chrono::hours(1);

/// What a test framework's listener tells of its tests. The formatters run in another OS process and get everything
/// told here, also when this process crashes in the middle of a test.
///
/// Semantics: order as for TestEvent. What is told is in memory shared with the reporter when the call returns, so a
///            crash loses none of it; it is sent on in larger pieces. In a fork of the test program nothing is told.
/// Threads:   any thread; a failure told while a test runs is the test's.
/// Errors:    none: when the reporter is gone, what is told goes nowhere, and the run says so at its end.
/// Bounds:    messages are cut at 1 MiB, marked.
class TestRecorder {
 public:
  TestRecorder() = default;
  TestRecorder(const TestRecorder&) = delete;
  TestRecorder& operator=(const TestRecorder&) = delete;
  virtual ~TestRecorder() = default;

  virtual void suite_started(std::string_view framework, std::uint64_t test_count) = 0;
  virtual void case_started(std::string_view name) = 0;
  virtual void test_started(std::string_view test_case, std::string_view name, std::string_view file,
                            std::uint32_t line) = 0;
  /// Of the running test; otherwise of the running case, or of the suite.
  virtual void failed(std::string_view file, std::uint32_t line, std::string_view message) = 0;
  /// The running test has ended. `reason` is why it was skipped.
  virtual void test_finished(TestState state, std::string_view reason) = 0;
  /// A test that is disabled.
  virtual void test_excluded(std::string_view test_case, std::string_view name) = 0;
  virtual void case_finished(std::string_view name) = 0;
  virtual void suite_finished() = 0;
};

/// Splits the program in three: this one becomes the *guard*, which waits; its child runs the tests and returns from
/// here; the *reporter* runs the formatters. When the tests have ended, in whatever way, and all reports are written,
/// the guard ends as the tests ended: with their exit status, or by the same signal. It does not return.
///
/// Semantics: signals sent to the guard are passed on; when it is killed, the tests are killed with it and the reports
///            still written. Formatters that were dropped, that hang or that crashed are named on standard error.
/// Threads:   call it before the program starts any.
/// Errors:    `wrong_thread` when there are threads already; `configuration` for a limit out of range; `io` when the
///            system gives no pipe, memory or process.
[[nodiscard]] Result<std::unique_ptr<TestRecorder>> split_off_reporter(ReportOptions options);

/// What DAGVERK_REPORT_LIMIT_MS says of `ReportOptions::formatter_limit`; its default when that is not set or empty.
/// Errors: `configuration` for anything but a number in range.
[[nodiscard]] Result<Duration> formatter_limit_from_environment();

/// What the environment asks for: the formatters of DAGVERK_REPORT. Empty when the variable is not set or empty.
[[nodiscard]] Result<std::vector<FormatterSpec>> formatters_from_environment(
    const std::vector<NamedFormatter>& known = built_in_formatters());

}  // namespace dagverk
