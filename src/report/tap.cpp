#include "report/report_file.hpp"
#include "report/text.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/report/formatters.hpp"

#include <cstdint>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace dagverk {
namespace {

/// TAP 14: a line for each test; failures as YAML blocks. The plan comes last, when the number is known for sure.
class Tap : public EventHandler<TestEvent> {
 public:
  explicit Tap(std::string path) : file_(std::move(path)) {}

  void init() { file_.open(); }

  /// Whole lines at a time, so that what tests print to the same place does not come between.
  void handle_batch(std::span<const TestEvent> events) {
    for (const TestEvent& event : events) std::visit([this](const auto& happened) { on(happened); }, event);
    file_.flush();
  }

 private:
  void on(const SuiteStarted& /*suite*/) { out_ += "TAP version 14\n"; }
  void on(const CaseStarted& started) {
    out_ += "# ";
    detail::append_printable(out_, started.name, true);
    out_ += '\n';
  }
  void on(const TestStarted& /*test*/) {}  // not asked for

  void on(const TestFinished& test) {
    const bool good =
        test.state == TestState::passed || test.state == TestState::skipped || test.state == TestState::excluded;
    out_ += good ? "ok " : "not ok ";
    detail::append_number(out_, ++count_);
    out_ += " - ";
    detail::append_tap(out_, test.test_case);
    out_ += '.';
    detail::append_tap(out_, test.name);
    if (test.state == TestState::skipped) out_ += concat(" # SKIP ", detail::printable(test.reason, true));
    if (test.state == TestState::excluded) out_ += " # SKIP disabled";
    out_ += '\n';
    if (!good) diagnose(to_string(test.state), test.failures, test.reason);
  }

  void on(const CaseFinished& finished) {
    if (!finished.failures.empty()) outside(finished.name, finished.failures);
  }

  void on(const SuiteFinished& finished) {
    if (!finished.failures.empty()) outside("(outside of all cases)", finished.failures);
    out_ += concat("1..", count_, "\n");
    if (!finished.crash.empty()) {
      out_ += concat("Bail out! the test program ended with ", detail::printable(finished.crash, true),
                     ", not run: ", finished.not_run, "\n");
    }
  }

  void outside(std::string_view name, const std::vector<TestFailure>& failures) {
    out_ += concat("not ok ", ++count_, " - ");
    detail::append_tap(out_, name);
    out_ += " failed outside of its tests\n";
    diagnose("failed", failures, "");
  }

  void diagnose(std::string_view state, const std::vector<TestFailure>& failures, const std::string& reason) {
    out_ += concat("  ---\n  state: ", state, "\n");
    if (!reason.empty()) out_ += concat("  reason: ", detail::json_text(reason), "\n");
    if (!failures.empty()) out_ += "  failures:\n";
    for (const TestFailure& failure : failures) {
      out_ += concat("    - at: ", detail::json_text(concat(failure.file, ":", failure.line)), "\n      message: |\n");
      std::istringstream lines(detail::printable(failure.message));
      for (std::string line; std::getline(lines, line);) out_ += concat("        ", line, "\n");
    }
    out_ += "  ...\n";
  }

  detail::ReportFile file_;
  std::string& out_ = file_.kept();
  std::uint64_t count_ = 0;
};

}  // namespace

FormatterSpec tap_formatter(std::string path) {
  HandlerOptions options = formatter_options();
  options.kinds = EventKinds::of<TestEvent, SuiteStarted, CaseStarted, TestFinished, CaseFinished, SuiteFinished>();
  return event_handler<Tap>("tap", options, std::move(path));
}

}  // namespace dagverk
