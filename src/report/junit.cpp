#include "report/report_file.hpp"
#include "report/text.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/report/formatters.hpp"

#include <array>
#include <cstdint>
#include <ctime>
#include <span>
#include <string>
#include <string_view>
#include <unistd.h>
#include <variant>
#include <vector>

namespace dagverk {
namespace {

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

void append_attribute(std::string& out, std::string_view name, std::string_view value) {
  out += ' ';
  out += name;
  out += "=\"";
  detail::append_xml(out, value);
  out += '"';
}
void append_attribute(std::string& out, std::string_view name, std::uint64_t value) {
  out += ' ';
  out += name;
  out += "=\"";
  detail::append_number(out, value);
  out += '"';
}
void append_time(std::string& out, Duration elapsed) {
  out += " time=\"";
  detail::append_seconds(out, elapsed);
  out += '"';
}

/// What of JUnit's format the schemas in use have in common: one `failure` at most in a test, no attributes of our own.
/// A suite's counts come before its tests, so a suite is kept until its end.
class Junit : public EventHandler<TestEvent> {
 public:
  explicit Junit(std::string path) : file_(std::move(path)), host_(host_name()) {}

  void init() { file_.open(); }

  void handle_batch(std::span<const TestEvent> events) {
    for (const TestEvent& event : events) std::visit([this](const auto& happened) { on(happened); }, event);
  }

 private:
  struct Suite {
    std::string name = {};
    std::uint64_t count = 0;
    std::uint64_t failures = 0;
    std::uint64_t errors = 0;
    std::uint64_t skipped = 0;
  };

  void on(const SuiteStarted& suite) {
    program_ = suite.program;
    timestamp_ = timestamp(suite.started);
    file_.write("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
  }
  void on(const CaseStarted& started) { open_suite(started.name); }
  void on(const TestStarted& /*test*/) {}  // not asked for

  void on(const TestFinished& test) {
    open_test(test.name, test.test_case, test.elapsed);
    switch (test.state) {
      case TestState::passed: tests_ += "/>\n"; return;
      case TestState::skipped:
      case TestState::excluded:
        ++suite_.skipped;
        tests_ += ">\n      <skipped/>\n    </testcase>\n";
        return;
      case TestState::failed:
        ++suite_.failures;
        add_problem("failure", "check failed", test.failures);
        return;
      case TestState::invalid:
        ++suite_.errors;
        add_problem("error", "set-up failed", test.failures);
        return;
      case TestState::crashed: break;
    }
    ++suite_.errors;
    crash_shown_ = true;
    std::vector<TestFailure> failures = test.failures;
    failures.push_back({.message = concat("the test program ended in this test: ", test.reason)});
    add_problem("error", test.reason, failures);
  }

  void on(const CaseFinished& finished) {
    if (!finished.failures.empty()) add_outside(finished.name, finished.failures);
    close_suite(finished.elapsed);
  }

  void on(const SuiteFinished& finished) {
    std::vector<TestFailure> failures = finished.failures;
    if (!finished.crash.empty() && !crash_shown_) {
      failures.push_back({.message = concat("the test program ended with ", finished.crash, " outside of any test")});
    }
    if (!failures.empty()) {
      open_suite(program_);
      add_outside(program_, failures);
      close_suite(finished.elapsed);
    }
    file_.write("</testsuites>\n");
    file_.flush();
  }

  void open_suite(const std::string& name) {
    suite_ = Suite{.name = name};
    tests_.clear();
  }

  /// The start tag, without its end.
  void open_test(std::string_view name, std::string_view test_case, Duration elapsed) {
    ++suite_.count;
    tests_ += "    <testcase";
    append_attribute(tests_, "name", name);
    append_attribute(tests_, "classname", test_case);
    append_time(tests_, elapsed);
  }

  void add_outside(std::string_view name, const std::vector<TestFailure>& failures) {
    ++suite_.errors;
    open_test("(outside of its tests)", name, Duration::zero());
    add_problem("error", "failed outside of tests", failures);
  }

  /// The rest of a test.
  void add_problem(std::string_view element, std::string_view type, const std::vector<TestFailure>& failures) {
    std::string_view first = failures.empty() ? type : std::string_view(failures.front().message);
    if (first.starts_with("Failed\n"))
      first.remove_prefix(7);  // what GoogleTest writes above a message of the test's own
    tests_ += concat(">\n      <", element);
    append_attribute(tests_, "message", first.substr(0, first.find('\n')));
    append_attribute(tests_, "type", type);
    tests_ += '>';
    for (const TestFailure& failure : failures) {
      if (!failure.file.empty()) detail::append_xml(tests_, concat(failure.file, ":", failure.line, "\n"));
      detail::append_xml(tests_, failure.message);
      detail::append_xml(tests_, "\n");
    }
    if (failures.empty()) detail::append_xml(tests_, concat(type, "\n"));
    tests_ += concat("</", element, ">\n    </testcase>\n");
  }

  void close_suite(Duration elapsed) {
    std::string head = "  <testsuite";
    append_attribute(head, "name", suite_.name);
    append_attribute(head, "id", id_++);
    append_attribute(head, "package", program_);
    append_attribute(head, "timestamp", timestamp_);
    append_attribute(head, "hostname", host_);
    append_attribute(head, "tests", suite_.count);
    append_attribute(head, "failures", suite_.failures);
    append_attribute(head, "errors", suite_.errors);
    append_attribute(head, "skipped", suite_.skipped);
    append_time(head, elapsed);
    file_.write(head + ">\n    <properties/>\n");
    file_.write(tests_);
    file_.write("    <system-out/>\n    <system-err/>\n  </testsuite>\n");
    open_suite({});
  }

  detail::ReportFile file_;
  std::string host_;
  std::string program_;
  std::string timestamp_;
  Suite suite_;
  std::string tests_;  ///< the suite's, as they will be written
  std::uint64_t id_ = 0;
  bool crash_shown_ = false;
};

}  // namespace

FormatterSpec junit_formatter(std::string path) {
  HandlerOptions options = formatter_options();
  options.kinds = EventKinds::of<TestEvent, SuiteStarted, CaseStarted, TestFinished, CaseFinished, SuiteFinished>();
  return event_handler<Junit>("junit", options, std::move(path));
}

}  // namespace dagverk
