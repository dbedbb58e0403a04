#include "report/event_assembler.hpp"

#include "dagverk/base/concat.hpp"

#include <utility>

namespace dagverk::detail {

void EventAssembler::start_suite(std::string framework, std::uint64_t test_count) {
  if (suite_started_) return;
  suite_started_ = true;
  test_count_ = test_count;
  publish(SuiteStarted{
      .program = program_, .framework = std::move(framework), .test_count = test_count, .started = started_});
}

std::vector<TestFailure>& EventAssembler::failures() {
  if (test_) return test_->failures;
  if (case_) return case_->failures;
  return suite_.failures;
}

void EventAssembler::finish_test(std::int64_t steady_ns, TestState state, std::string reason) {
  if (!test_) return;
  test_->state = state;
  test_->reason = std::move(reason);
  test_->elapsed = Duration(steady_ns - test_started_ns_);
  publish(std::move(*test_));
  test_.reset();
  ++tests_run_;
}

void EventAssembler::finish_case(std::int64_t steady_ns) {
  if (!case_) return;
  case_->elapsed = Duration(steady_ns - case_started_ns_);
  publish(std::move(*case_));
  case_.reset();
}

void EventAssembler::add(const TestRecord& record) {
  switch (record.kind) {
    case RecordKind::suite_started:
      if (suite_started_) break;
      // The run began there, not when the reporter was ready for it.
      started_ += Duration(record.steady_ns - steady_started_);
      steady_started_ = record.steady_ns;
      start_suite(std::string(record.a), record.number);
      break;
    case RecordKind::case_started:
      finish_case(record.steady_ns);
      case_started_ns_ = record.steady_ns;
      case_.emplace(CaseFinished{.name = std::string(record.a)});
      publish(CaseStarted{.name = std::string(record.a)});
      break;
    case RecordKind::test_started:
      test_started_ns_ = record.steady_ns;
      test_.emplace(TestFinished{.test_case = std::string(record.a), .name = std::string(record.b)});
      if (wants<TestStarted>()) {
        publish(TestStarted{.test_case = std::string(record.a),
                            .name = std::string(record.b),
                            .file = std::string(record.c),
                            .line = static_cast<std::uint32_t>(record.number)});
      }
      break;
    case RecordKind::failed:
      failures().push_back(TestFailure{.file = std::string(record.a),
                                       .line = static_cast<std::uint32_t>(record.number),
                                       .message = std::string(record.b)});
      break;
    case RecordKind::test_finished: finish_test(record.steady_ns, record.state, std::string(record.a)); break;
    case RecordKind::test_excluded:
      publish(TestFinished{
          .test_case = std::string(record.a), .name = std::string(record.b), .state = TestState::excluded});
      break;
    case RecordKind::case_finished: finish_case(record.steady_ns); break;
    case RecordKind::suite_finished:
      suite_.elapsed = Duration(record.steady_ns - steady_started_);
      suite_finished_ = true;
      break;
  }
}

SuiteFinished EventAssembler::end(SteadyTime now, std::string died_of, int exit_status) {
  const std::int64_t steady_ns = now.time_since_epoch().count();
  start_suite("", 0);
  if (!suite_finished_) {
    if (died_of.empty()) died_of = concat("exit(", exit_status, ")");
    suite_.elapsed = Duration(steady_ns - steady_started_);
  }
  finish_test(steady_ns, TestState::crashed, died_of);
  finish_case(steady_ns);
  suite_.crash = std::move(died_of);
  suite_.not_run = test_count_ > tests_run_ ? test_count_ - tests_run_ : 0;
  return std::move(suite_);
}

}  // namespace dagverk::detail
