#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/jobs/job_registry.hpp"
#include "dagverk/jobs/job_store.hpp"
#include "dagverk/jobs/middleware.hpp"
#include "dagverk/runtime/deterministic_runtime.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dagverk::testing_jobs {

struct DrainOptions {
  /// Jobs that come due within this time are run as well, retries among them: the clock is moved to when they are due.
  Duration through = Duration::zero();
  std::size_t runs_max = 10'000;  ///< ends about there, for jobs that enqueue themselves for ever
  std::size_t concurrency = 1;    ///< of each queue; 1: its jobs run one after the other, in their order
  /// Ends when no run has ended for so long, by the runtime's clock, for jobs that wait for ever.
  Duration quiet_max = std::chrono::hours(24);
  std::vector<jobs::RunMiddleware> middleware = {};  ///< around the runs, as NodeOptions has it
};

enum class DrainedEnd : std::uint8_t {
  finished,
  failed,     ///< and is retried, dead or discarded, as its class says
  snoozed,    ///< runs again later
  expired,    ///< was not run, for it had waited too long
  discarded,  ///< dropped by its own wish
  buried,     ///< in the dead set by its own wish, or because its payload is no job
};
[[nodiscard]] std::string_view to_string(DrainedEnd end) noexcept;

struct DrainedRun {
  std::string jid;
  std::string job_class;
  std::string queue;
  std::uint32_t attempt = 1;
  DrainedEnd end = DrainedEnd::finished;
  std::string message{};  ///< failed: `type: message`; finished: what the run left as its result
  WallTime at{};
};

struct DrainReport {
  std::vector<DrainedRun> runs;   ///< in the order they ended
  std::vector<std::string> died;  ///< jids that are in the dead set now
  std::size_t left = 0;           ///< jobs that still wait: for later than `through`, in paused queues, or over a bound
  bool complete = false;          ///< everything that was to run did

  [[nodiscard]] std::size_t count(DrainedEnd end) const noexcept;
  /// True when every run finished, and none was left out.
  [[nodiscard]] bool ok() const noexcept { return complete && count(DrainedEnd::finished) == runs.size(); }
  /// For people: a line for each run.
  [[nodiscard]] std::string text() const;
};

/// Runs what is enqueued, and what that enqueues, with a real node until nothing is left to be run.
///
/// Semantics: as in production: retries, schedule, dead set, timeouts, commands, everything by the runtime's clock,
///            which moves as far as jobs wait for it and, between runs, to the next job that comes due within
///            `through`. Paused queues stay paused. The node has gone when this returns.
/// Threads:   blocks; not inside a process. Other processes of the runtime run meanwhile.
/// Errors:    of the store, or of the registry's definitions.
[[nodiscard]] Result<DrainReport> drain(DeterministicRuntime& runtime, jobs::JobStore& store,
                                        const jobs::JobRegistry& registry, const DrainOptions& options = {});

}  // namespace dagverk::testing_jobs
