#include "report/asked_for.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/report/catch2.hpp"
#include "dagverk/report/test_recorder.hpp"

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#define DAGVERK_CATCH_3 1
#else
#define CATCH_CONFIG_EXTERNAL_INTERFACES
#include <catch2/catch.hpp>
#define DAGVERK_CATCH_3 0
#endif

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace dagverk {
namespace {

#if DAGVERK_CATCH_3
using ListenerBase = Catch::EventListenerBase;
std::string_view text_of(Catch::StringRef text) { return {text.data(), text.size()}; }
bool is_skipped(const Catch::TestCaseStats& stats) { return stats.totals.testCases.skipped != 0; }
bool is_skip(const Catch::AssertionResult& result) { return result.getResultType() == Catch::ResultWas::ExplicitSkip; }
#else
using ListenerBase = Catch::TestEventListenerBase;
std::string_view text_of(std::string_view text) { return text; }
bool is_skipped(const Catch::TestCaseStats& /*stats*/) { return false; }
bool is_skip(const Catch::AssertionResult& /*result*/) { return false; }
#endif

/// Of this program's only run. Catch2 makes its listeners itself and gives them nothing of ours.
std::unique_ptr<TestRecorder>& recorder_of_program() {
  static std::unique_ptr<TestRecorder> recorder;
  return recorder;
}

std::uint32_t line_of(std::size_t line) { return static_cast<std::uint32_t>(line); }

/// The class of a test, or its file's name; without a dot, which ends it in a failure manifest.
std::string case_of(const Catch::TestCaseInfo& test) {
  std::string name(text_of(test.className));
  if (name.empty()) name = std::filesystem::path(test.lineInfo.file).stem().string();
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
}

std::string message_of(const Catch::AssertionStats& stats) {
  const Catch::AssertionResult& result = stats.assertionResult;
  std::string text;
  if (result.hasExpression()) text += concat(std::string(result.getExpressionInMacro()), "\n");
  if (result.hasExpandedExpression())
    text += concat("with expansion: ", std::string(result.getExpandedExpression()), "\n");
  for (const Catch::MessageInfo& info : stats.infoMessages) text += concat(info.message, "\n");
  const std::string message(text_of(result.getMessage()));  // by value in Catch2 v2
  if (!message.empty() && text.find(message) == std::string::npos) text += concat(message, "\n");
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

class Listener final : public ListenerBase {
 public:
  using ListenerBase::ListenerBase;

  void testRunStarting(const Catch::TestRunInfo& run) override {
    ListenerBase::testRunStarting(run);
    if (recorder_ != nullptr) recorder_->suite_started("Catch2", 0);
  }

  void testCaseStarting(const Catch::TestCaseInfo& test) override {
    ListenerBase::testCaseStarting(test);
    if (recorder_ == nullptr) return;
    if (std::string name = case_of(test); name != case_) {
      if (!case_.empty()) recorder_->case_finished(case_);
      recorder_->case_started(name);
      case_ = std::move(name);
    }
    recorder_->test_started(case_, test.name, test.lineInfo.file, line_of(test.lineInfo.line));
  }

#if DAGVERK_CATCH_3
  void assertionEnded(const Catch::AssertionStats& stats) override { tell(stats); }
#else
  bool assertionEnded(const Catch::AssertionStats& stats) override {
    tell(stats);
    return true;
  }
#endif

  void testCaseEnded(const Catch::TestCaseStats& stats) override {
    if (recorder_ != nullptr && !fatal_) {
      const bool failed = stats.totals.testCases.failed != 0;
      const TestState state = is_skipped(stats) ? TestState::skipped : TestState::passed;
      recorder_->test_finished(failed ? TestState::failed : state, std::exchange(skip_reason_, {}));
    }
    ListenerBase::testCaseEnded(stats);
  }

  void testRunEnded(const Catch::TestRunStats& stats) override {
    if (recorder_ != nullptr && !fatal_) {
      if (!case_.empty()) recorder_->case_finished(case_);
      recorder_->suite_finished();
    }
    ListenerBase::testRunEnded(stats);
  }

 private:
  void tell(const Catch::AssertionStats& stats) {
    const Catch::AssertionResult& result = stats.assertionResult;
    if (recorder_ == nullptr) return;
    if (is_skip(result)) skip_reason_ = message_of(stats);
    if (result.isOk()) return;
    // Catch2 ends the run in its signal handler, and then the program: the reporter sees that end.
    fatal_ = fatal_ || result.getResultType() == Catch::ResultWas::FatalErrorCondition;
    const Catch::SourceLineInfo place = result.getSourceInfo();
    recorder_->failed(place.file, line_of(place.line), message_of(stats));
  }

  TestRecorder* recorder_ = recorder_of_program().get();
  std::string case_;
  std::string skip_reason_;
  bool fatal_ = false;
};

CATCH_REGISTER_LISTENER(Listener)

}  // namespace

void report_catch_tests(const std::vector<NamedFormatter>& known) {
  recorder_of_program() = detail::reports_asked_for(known).recorder;
}

std::vector<std::string> failed_catch_tests() {
  const auto listed = detail::tests_asked_for();
  if (!listed) return {};
  std::string spec;
  for (const std::string& test : *listed) {
    spec += spec.empty() ? "\"" : ",\"";
    for (const char character : std::string_view(test).substr(test.find('.') + 1)) {
      if (std::string_view("\\,[]\"").contains(character)) spec += '\\';
      spec += character;
    }
    spec += '"';
  }
  if (spec.empty()) spec = "~*";  // nothing has failed: no test
  return {spec};
}

}  // namespace dagverk
