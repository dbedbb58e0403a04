#include "report/report_file.hpp"
#include "report/text.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/report/formatters.hpp"

#include <array>
#include <cstdio>
#include <ctime>
#include <unistd.h>
#include <variant>

namespace dagverk {
namespace {

std::string in_seconds(Duration duration) {
  char text[32];
  std::snprintf(text, sizeof text, "%.6f", static_cast<double>(duration.count()) / 1e9);
  return text;
}

/// As the schema wants it: seconds, no time zone.
std::string timestamp(WallTime instant) {
  const std::time_t seconds = std::chrono::duration_cast<std::chrono::seconds>(instant.time_since_epoch()).count();
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  return text;
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0 || name[0] == '\0') return "localhost";
  return name.data();
}

/// What of JUnit's format the schemas in use have in common: one `failure` at most in a test, no attributes of our own.
class Junit : public EventHandler<TestEvent> {
 public:
  explicit Junit(std::string path) : file_(std::move(path)), host_(host_name()) {}

  void init() { file_.open(); }

  void handle_event(const TestEvent& event) {
    std::visit([this](const auto& happened) { on(happened); }, event);
  }

 private:
  struct Suite {
    std::string name = {};
    std::string tests = {};
    std::uint64_t count = 0;
    std::uint64_t failures = 0;
    std::uint64_t errors = 0;
    std::uint64_t skipped = 0;
  };

  void on(const SuiteStarted& suite) {
    program_ = suite.program;
    timestamp_ = timestamp(suite.started);
  }
  void on(const CaseStarted& started) { suite_ = Suite{.name = started.name}; }
  void on(const TestStarted& /*test*/) {}

  void on(const TestFinished& test) {
    ++suite_.count;
    suite_.tests += concat("    <testcase name=\"", detail::xml_text(test.name), "\" classname=\"",
                           detail::xml_text(test.test_case), "\" time=\"", in_seconds(test.elapsed), "\"");
    const std::string outcome = outcome_of(test);
    suite_.tests += outcome.empty() ? "/>\n" : concat(">\n", outcome, "    </testcase>\n");
  }

  void on(const CaseFinished& finished) {
    if (!finished.failures.empty()) add_outside(finished.name, finished.failures);
    close_suite(finished.elapsed);
  }

  void on(const SuiteFinished& finished) {
    if (!finished.failures.empty() || (!finished.crash.empty() && crashes_ == 0)) {
      suite_ = Suite{.name = program_};
      std::vector<TestFailure> failures = finished.failures;
      if (!finished.crash.empty() && crashes_ == 0) {
        failures.push_back({.message = concat("the test program ended with ", finished.crash, " outside of any test")});
      }
      add_outside(program_, failures);
      close_suite(finished.elapsed);
    }
    file_.write(concat("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n", suites_, "</testsuites>\n"));
    file_.flush();
  }

  [[nodiscard]] std::string outcome_of(const TestFinished& test) {
    switch (test.state) {
      case TestState::passed: return {};
      case TestState::skipped:
      case TestState::excluded: ++suite_.skipped; return "      <skipped/>\n";
      case TestState::failed: ++suite_.failures; return problem("failure", "check failed", test.failures);
      case TestState::invalid: ++suite_.errors; return problem("error", "set-up failed", test.failures);
      case TestState::crashed: break;
    }
    ++suite_.errors;
    ++crashes_;
    std::vector<TestFailure> failures = test.failures;
    failures.push_back({.message = concat("the test program ended in this test: ", test.reason)});
    return problem("error", test.reason, failures);
  }

  [[nodiscard]] static std::string problem(std::string_view element, std::string_view type,
                                           const std::vector<TestFailure>& failures) {
    std::string text;
    for (const TestFailure& failure : failures) {
      if (!failure.file.empty()) text += concat(failure.file, ":", failure.line, "\n");
      text += concat(failure.message, "\n");
    }
    if (failures.empty()) text = concat(type, "\n");
    std::string_view first = failures.empty() ? type : std::string_view(failures.front().message);
    if (first.starts_with("Failed\n"))
      first.remove_prefix(7);  // what GoogleTest writes above a message of the test's own
    return concat("      <", element, " message=\"", detail::xml_text(first.substr(0, first.find('\n'))), "\" type=\"",
                  detail::xml_text(type), "\">", detail::xml_text(text), "</", element, ">\n");
  }

  void add_outside(std::string_view name, const std::vector<TestFailure>& failures) {
    ++suite_.count;
    ++suite_.errors;
    suite_.tests +=
        concat("    <testcase name=\"(outside of its tests)\" classname=\"", detail::xml_text(name),
               "\" time=\"0.000000\">\n", problem("error", "failed outside of tests", failures), "    </testcase>\n");
  }

  void close_suite(Duration elapsed) {
    suites_ += concat("  <testsuite name=\"", detail::xml_text(suite_.name), "\" id=\"", id_++, "\" package=\"",
                      detail::xml_text(program_), "\" timestamp=\"", timestamp_, "\" hostname=\"",
                      detail::xml_text(host_), "\" tests=\"", suite_.count, "\" failures=\"", suite_.failures);
    suites_ +=
        concat("\" errors=\"", suite_.errors, "\" skipped=\"", suite_.skipped, "\" time=\"", in_seconds(elapsed),
               "\">\n    <properties/>\n", suite_.tests, "    <system-out/>\n    <system-err/>\n  </testsuite>\n");
    suite_ = {};
  }

  detail::ReportFile file_;
  std::string host_;
  std::string program_;
  std::string timestamp_;
  std::string suites_;
  Suite suite_;
  std::uint64_t id_ = 0;
  std::uint64_t crashes_ = 0;
};

}  // namespace

FormatterSpec junit_formatter(std::string path) {
  return event_handler<Junit>("junit", formatter_options(), std::move(path));
}

}  // namespace dagverk
