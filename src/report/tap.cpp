#include "report/report_file.hpp"
#include "report/text.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/report/formatters.hpp"

#include <cstdint>
#include <sstream>
#include <variant>

namespace dagverk {
namespace {

/// TAP 14: a line for each test; failures as YAML blocks. The plan comes last, when the number is known for sure.
class Tap : public EventHandler<TestEvent> {
 public:
  explicit Tap(std::string path) : file_(std::move(path)) {}

  void init() { file_.open(); }

  void handle_event(const TestEvent& event) {
    std::visit([this](const auto& happened) { on(happened); }, event);
  }

 private:
  void on(const SuiteStarted& /*suite*/) { write("TAP version 14\n"); }
  void on(const CaseStarted& started) { write(concat("# ", detail::printable(started.name, true), "\n")); }
  void on(const TestStarted& /*test*/) {}

  void on(const TestFinished& test) {
    const bool good =
        test.state == TestState::passed || test.state == TestState::skipped || test.state == TestState::excluded;
    std::string line =
        concat(good ? "ok " : "not ok ", ++count_, " - ", detail::tap_text(concat(test.test_case, ".", test.name)));
    if (test.state == TestState::skipped) line += concat(" # SKIP ", detail::printable(test.reason, true));
    if (test.state == TestState::excluded) line += " # SKIP disabled";
    write(line + "\n");
    if (!good) diagnose(to_string(test.state), test.failures, test.reason);
  }

  void on(const CaseFinished& finished) {
    if (!finished.failures.empty()) outside(finished.name, finished.failures);
  }

  void on(const SuiteFinished& finished) {
    if (!finished.failures.empty()) outside("(outside of all cases)", finished.failures);
    write(concat("1..", count_, "\n"));
    if (!finished.crash.empty()) {
      write(concat("Bail out! the test program ended with ", detail::printable(finished.crash, true), ", ",
                   finished.not_run, " tests have not run\n"));
    }
    file_.flush();
  }

  void outside(std::string_view name, const std::vector<TestFailure>& failures) {
    write(concat("not ok ", ++count_, " - ", detail::tap_text(name), " failed outside of its tests\n"));
    diagnose("failed", failures, "");
  }

  void diagnose(std::string_view state, const std::vector<TestFailure>& failures, const std::string& reason) {
    std::string text = concat("  ---\n  state: ", state, "\n");
    if (!reason.empty()) text += concat("  reason: ", detail::json_text(reason), "\n");
    if (!failures.empty()) text += "  failures:\n";
    for (const TestFailure& failure : failures) {
      text += concat("    - at: ", detail::json_text(concat(failure.file, ":", failure.line)), "\n      message: |\n");
      std::istringstream lines(detail::printable(failure.message));
      for (std::string line; std::getline(lines, line);) text += concat("        ", line, "\n");
    }
    write(text + "  ...\n");
  }

  /// Whole lines at a time, so that what tests print to the same place does not come between.
  void write(std::string_view text) {
    file_.write(text);
    file_.flush();
  }

  detail::ReportFile file_;
  std::uint64_t count_ = 0;
};

}  // namespace

FormatterSpec tap_formatter(std::string path) {
  return event_handler<Tap>("tap", formatter_options(), std::move(path));
}

}  // namespace dagverk
