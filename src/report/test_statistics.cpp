#include "dagverk/report/test_statistics.hpp"

#include <string_view>

namespace dagverk {

std::string_view to_string(TestState state) noexcept {
  switch (state) {
    case TestState::passed: return "passed";
    case TestState::failed: return "failed";
    case TestState::skipped: return "skipped";
    case TestState::excluded: return "excluded";
    case TestState::invalid: return "invalid";
    case TestState::crashed: return "crashed";
  }
  return "unknown";
}

void TestCounter::count(const TestEvent& event) {
  if (std::holds_alternative<CaseStarted>(event)) {
    passed_in_case_ = 0;
  } else if (const auto* ended = std::get_if<TestFinished>(&event)) {
    ++counts_.total;
    switch (ended->state) {
      case TestState::passed: ++passed_in_case_; break;
      case TestState::skipped: ++counts_.skipped; break;
      case TestState::excluded: ++counts_.excluded; break;
      case TestState::failed:
      case TestState::invalid:
      case TestState::crashed: ++counts_.failures; break;
    }
  } else if (const auto* finished = std::get_if<CaseFinished>(&event)) {
    if (!finished->failures.empty()) counts_.failures += passed_in_case_;
    passed_in_case_ = 0;
  }
}

}  // namespace dagverk
