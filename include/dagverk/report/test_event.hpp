#pragma once

#include "dagverk/base/clock.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace dagverk {

/// How a test ended.
enum class TestState : std::uint8_t {
  passed,
  failed,
  skipped,   ///< it decided so itself while it ran
  excluded,  ///< disabled: it was not run
  invalid,   ///< what its case sets up failed, so that it says nothing
  crashed,   ///< the test program ended in the middle of it
};

[[nodiscard]] std::string_view to_string(TestState state) noexcept;

/// One check that did not hold. `file` may be empty and `line` 0: the place is not known.
struct TestFailure {
  std::string file = {};
  std::uint32_t line = 0;
  std::string message = {};
};

/// The first event of a run.
struct SuiteStarted {
  std::string program = {};
  std::string framework = {};
  std::uint64_t test_count = 0;  ///< tests that will run; 0 when that is not known
  WallTime started = {};
};

/// A group of tests begins: GoogleTest's suite, Catch2's file or class. Comes just before its first test.
struct CaseStarted {
  std::string name = {};
};

struct TestStarted {
  std::string test_case = {};
  std::string name = {};
  std::string file = {};
  std::uint32_t line = 0;
};

struct TestFinished {
  std::string test_case = {};
  std::string name = {};
  TestState state = TestState::passed;
  Duration elapsed{0};
  std::vector<TestFailure> failures = {};
  std::string reason = {};  ///< why it was skipped, or what the program died of: `SIGSEGV`
};

/// `failures` are those outside of tests, in what the case sets up or tears down.
struct CaseFinished {
  std::string name = {};
  Duration elapsed{0};
  std::vector<TestFailure> failures = {};
};

/// The last event of a run, also of one whose program crashed.
struct SuiteFinished {
  Duration elapsed{0};
  std::string crash = {};                  ///< what the program died of: `SIGSEGV`; empty when it ended in order
  std::uint64_t not_run = 0;               ///< tests that were to run and have not
  std::vector<TestFailure> failures = {};  ///< those outside of any case
};

/// What happens in a test program. Within a run: SuiteStarted, then for each case CaseStarted, its tests, CaseFinished;
/// then SuiteFinished. Every started test is finished before the next one starts.
using TestEvent = std::variant<SuiteStarted, CaseStarted, TestStarted, TestFinished, CaseFinished, SuiteFinished>;

}  // namespace dagverk
