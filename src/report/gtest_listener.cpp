#include "report/asked_for.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/report/gtest.hpp"
#include "dagverk/report/test_recorder.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

namespace dagverk {
namespace {

std::string_view text_of(const char* text) { return text == nullptr ? std::string_view() : std::string_view(text); }

std::uint32_t line_of(int line) { return line > 0 ? static_cast<std::uint32_t>(line) : 0; }

class Listener final : public testing::EmptyTestEventListener {
 public:
  explicit Listener(std::unique_ptr<TestRecorder> recorder) : recorder_(std::move(recorder)) {}

  void OnTestProgramStart(const testing::UnitTest& program) override {
    const auto repeats = static_cast<std::uint64_t>(std::max(1, GTEST_FLAG_GET(repeat)));
    recorder_->suite_started("GoogleTest", static_cast<std::uint64_t>(program.test_to_run_count()) * repeats);
  }
  void OnTestSuiteStart(const testing::TestSuite& suite) override {
    recorder_->case_started(suite.name());
    tell_disabled(suite);
  }
  void OnTestStart(const testing::TestInfo& test) override {
    recorder_->test_started(test.test_suite_name(), test.name(), text_of(test.file()), line_of(test.line()));
  }
  void OnTestPartResult(const testing::TestPartResult& part) override {
    if (part.failed()) {
      recorder_->failed(text_of(part.file_name()), line_of(part.line_number()), text_of(part.message()));
    }
  }
  void OnTestEnd(const testing::TestInfo& test) override {
    const testing::TestResult& result = *test.result();
    if (result.Failed()) {
      recorder_->test_finished(TestState::failed, {});
    } else if (result.Skipped()) {
      const testing::TestSuite& suite = *testing::UnitTest::GetInstance()->current_test_suite();
      const bool invalid = suite.ad_hoc_test_result().Failed();  // GoogleTest leaves out the tests of such a suite
      recorder_->test_finished(invalid ? TestState::invalid : TestState::skipped, skip_reason(result));
    } else {
      recorder_->test_finished(TestState::passed, {});
    }
  }
  void OnTestSuiteEnd(const testing::TestSuite& suite) override { recorder_->case_finished(suite.name()); }
  void OnTestProgramEnd(const testing::UnitTest& program) override {
    for (int index = 0; index < program.total_test_suite_count(); ++index) {
      const testing::TestSuite& suite = *program.GetTestSuite(index);
      if (suite.should_run() || suite.reportable_disabled_test_count() == 0) continue;
      recorder_->case_started(suite.name());  // one whose tests are all disabled
      tell_disabled(suite);
      recorder_->case_finished(suite.name());
    }
    recorder_->suite_finished();
  }

 private:
  void tell_disabled(const testing::TestSuite& suite) {
    if (suite.reportable_disabled_test_count() == 0) return;
    for (int index = 0; index < suite.total_test_count(); ++index) {
      const testing::TestInfo& test = *suite.GetTestInfo(index);
      if (!test.should_run() && test.is_reportable()) recorder_->test_excluded(suite.name(), test.name());
    }
  }

  [[nodiscard]] static std::string skip_reason(const testing::TestResult& result) {
    for (int index = 0; index < result.total_part_count(); ++index) {
      const testing::TestPartResult& part = result.GetTestPartResult(index);
      if (part.skipped()) return std::string(text_of(part.message()));
    }
    return {};
  }

  std::unique_ptr<TestRecorder> recorder_;
};

}  // namespace

void report_google_tests(const std::vector<NamedFormatter>& known) {
  if (GTEST_FLAG_GET(list_tests) || !GTEST_FLAG_GET(internal_run_death_test).empty()) return;
  if (const auto chosen = detail::tests_asked_for()) {
    std::string filter;
    for (const std::string& name : *chosen) filter += concat(filter.empty() ? "" : ":", name);
    GTEST_FLAG_SET(filter, filter);
  }
  detail::AskedFor asked = detail::reports_asked_for(known);
  if (asked.recorder == nullptr) return;
  testing::TestEventListeners& listeners = testing::UnitTest::GetInstance()->listeners();
  if (asked.takes_output) delete listeners.Release(listeners.default_result_printer());
  listeners.Append(new Listener(std::move(asked.recorder)));
}

}  // namespace dagverk
