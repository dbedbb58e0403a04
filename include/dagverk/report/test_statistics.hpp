#pragma once

#include "dagverk/event/event_handler.hpp"
#include "dagverk/report/test_event.hpp"

#include <cstdint>

namespace dagverk {

/// How many tests ended how. `failures` has the failed, invalid and crashed ones, `total` all that finished.
struct TestCounts {
  std::uint64_t total = 0;
  std::uint64_t failures = 0;
  std::uint64_t skipped = 0;
  std::uint64_t excluded = 0;

  [[nodiscard]] std::uint64_t passed() const noexcept { return total - failures - skipped - excluded; }
  friend bool operator==(const TestCounts&, const TestCounts&) noexcept = default;
};

/// Counts `event`. A case that failed outside of its tests turns those of its tests that passed into failures, as
/// ExUnit's statistics do.
class TestCounter {
 public:
  void count(const TestEvent& event);
  [[nodiscard]] const TestCounts& counts() const noexcept { return counts_; }

 private:
  TestCounts counts_;
  std::uint64_t passed_in_case_ = 0;
};

/// The handler that counts the tests of a run: `events.call<TestStatistics, TestStatistics::Counts>(name)`.
///
/// Semantics: ExUnit's statistics server, with a counter of failures that others raise: a run that is to end after so
///            many of them asks it.
/// Threads:   as EventHandler.
class TestStatistics : public EventHandler<TestEvent> {
 public:
  struct Counts {
    using Reply = TestCounts;
  };
  /// Raises the counter of failures and returns what it was before.
  struct IncrementFailureCounter {
    using Reply = std::uint64_t;
    std::uint64_t by = 1;
  };
  struct FailureCounter {
    using Reply = std::uint64_t;
  };

  void handle_event(const TestEvent& event) { counter_.count(event); }
  [[nodiscard]] TestCounts handle_call(Counts /*ask*/) const { return counter_.counts(); }
  [[nodiscard]] std::uint64_t handle_call(IncrementFailureCounter ask) {
    const std::uint64_t before = failure_counter_;
    failure_counter_ += ask.by;
    return before;
  }
  [[nodiscard]] std::uint64_t handle_call(FailureCounter /*ask*/) const { return failure_counter_; }

 private:
  TestCounter counter_;
  std::uint64_t failure_counter_ = 0;
};

}  // namespace dagverk
