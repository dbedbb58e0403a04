#pragma once

#include "report/test_record.hpp"

#include "dagverk/event/event_kinds.hpp"
#include "dagverk/report/test_event.hpp"
#include "dagverk/stage/batch.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace dagverk::detail {

/// Makes a run's events of what the test program told, and completes the run when the program has ended in the middle
/// of it: the running test is `crashed`, its case and the suite are finished. Events that nobody wants are not built.
///
/// Threads: not thread-safe.
class EventAssembler {
 public:
  EventAssembler(std::string program, WallTime started, SteadyTime steady_started)
      : program_(std::move(program)), started_(started), steady_started_(steady_started.time_since_epoch().count()) {}

  /// From now on; at first all.
  void want(EventKinds kinds) noexcept { wanted_ = kinds; }
  void add(const TestRecord& record);
  /// The program has ended at `now`; `died_of` is empty when it exited. Returns the event that comes after all that
  /// `take` gives.
  [[nodiscard]] SuiteFinished end(SteadyTime now, std::string died_of, int exit_status);
  /// The events that came together since the last time.
  [[nodiscard]] Batch<TestEvent> take() { return events_.build(); }
  [[nodiscard]] std::size_t size() const noexcept { return events_.size(); }

 private:
  static constexpr std::size_t events_reserved = 256;

  void start_suite(std::string framework, std::uint64_t test_count);
  void finish_test(std::int64_t steady_ns, TestState state, std::string reason);
  void finish_case(std::int64_t steady_ns);
  [[nodiscard]] std::vector<TestFailure>& failures();
  template <class Event>
  [[nodiscard]] bool wants() const noexcept {
    return wanted_.contains(kind_of<TestEvent, Event>);
  }
  template <class Event>
  void publish(Event event) {
    if (!wants<Event>()) return;
    if (events_.empty()) events_.reserve(events_reserved);
    events_.emplace(std::move(event));
  }

  std::string program_;
  WallTime started_;
  std::int64_t steady_started_;
  EventKinds wanted_ = EventKinds::all();
  BatchBuilder<TestEvent> events_;
  std::optional<TestFinished> test_;
  std::optional<CaseFinished> case_;
  SuiteFinished suite_;
  std::int64_t test_started_ns_ = 0;
  std::int64_t case_started_ns_ = 0;
  std::uint64_t test_count_ = 0;
  std::uint64_t tests_run_ = 0;
  bool suite_started_ = false;
  bool suite_finished_ = false;
};

}  // namespace dagverk::detail
