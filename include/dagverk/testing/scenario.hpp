#pragma once

#include "dagverk/base/random.hpp"
#include "dagverk/runtime/deterministic_runtime.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <source_location>
#include <string>
#include <string_view>
#include <vector>

namespace dagverk::testing {

struct ScenarioOptions {
  Chooser* chooser = nullptr;  ///< as DeterministicOptions::chooser
  Logger* logger = nullptr;    ///< as DeterministicOptions::logger
  bool keep_trace = false;     ///< one line for each step, see `trace`
};

/// One run of a test on a deterministic runtime of its own: its seed, its random decisions, its faults, its failures.
///
/// Semantics: `random` is drawn from the same seed as the order of the processes, but not in step with it. A failure is
///            written down and does not end the run.
/// Threads:   one, as DeterministicRuntime.
/// Lifetime:  the runtime ends with it.
class Scenario {
 public:
  explicit Scenario(std::uint64_t seed, ScenarioOptions options = {});
  Scenario(const Scenario&) = delete;
  Scenario& operator=(const Scenario&) = delete;

  [[nodiscard]] DeterministicRuntime& runtime() noexcept { return runtime_; }
  [[nodiscard]] Random& random() noexcept { return random_; }
  [[nodiscard]] std::uint64_t seed() const noexcept { return runtime_.seed(); }
  /// True once in `of` times, at random.
  [[nodiscard]] bool chance(std::uint64_t of) noexcept { return random_.below(of) == 0; }

  void advance(Duration by) { runtime_.advance(by); }
  /// As DeterministicRuntime::run_until; a failure when it is not reached.
  bool run_until(const std::function<bool()>& reached, Duration limit,
                 std::source_location where = std::source_location::current());
  /// Runs until nothing can run without time passing; a failure when that takes more than `steps_max` steps, or leaves
  /// messages in the mailbox of a process that does not wait.
  bool expect_idle(std::size_t steps_max = 1'000'000, std::source_location where = std::source_location::current());
  /// Ends every process in order; a failure when one is left.
  bool expect_stops(std::source_location where = std::source_location::current());
  /// A failure, named `what`, unless `holds`. Answers `holds`.
  bool expect(bool holds, std::string_view what, std::source_location where = std::source_location::current());
  void fail(std::string_view what, std::source_location where = std::source_location::current());
  [[nodiscard]] const std::vector<std::string>& failures() const noexcept { return failures_; }

  /// Does `action` before the step with this number, counted from now; e.g. at_step(40, [&] { … }).
  void at_step(std::uint64_t steps_from_now, std::function<void()> action);
  void kill_at_step(std::uint64_t steps_from_now, Pid victim);
  void throw_at_step(std::uint64_t steps_from_now, Pid victim);
  /// The holder of `name` at that moment; nobody when nobody holds it.
  void kill_at_step(std::uint64_t steps_from_now, std::string name);
  /// Sends `kill` to one of the processes that live then, drawn at random; `spares` answers true for those to leave.
  void kill_any_at_step(std::uint64_t steps_from_now, std::function<bool(const ProcessInfo&)> spares = {});
  /// One of the living processes, drawn at random; empty when there is none.
  [[nodiscard]] Pid any_process(const std::function<bool(const ProcessInfo&)>& spares = {});

  /// With `keep_trace`: "number what" for each step so far. Equal texts: equal runs.
  [[nodiscard]] const std::string& trace() const noexcept { return trace_; }

 private:
  void run_actions(std::uint64_t step);

  DeterministicRuntime runtime_;
  Random random_;
  std::multimap<std::uint64_t, std::function<void()>> actions_;  // by the step before which they are due
  std::vector<std::string> failures_;
  std::string trace_;
};

}  // namespace dagverk::testing
