#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/jobs/job_codec.hpp"
#include "dagverk/jobs/job_context.hpp"
#include "dagverk/jobs/run_outcome.hpp"
#include "dagverk/runtime/async.hpp"

#include <functional>
#include <optional>
#include <string>
#include <string_view>

/// Code of one's own around every enqueueing and every run, in ordered lists (`ClientOptions`, `NodeOptions`).
namespace dagverk::jobs {

/// How a job comes to a client's middleware.
struct EnqueueCall {
  std::optional<WallTime> due = std::nullopt;  ///< set: it goes into the schedule
  /// Its bytes are somebody else's and stay as they are (`push_bulk`): it may be refused, but changes do not count.
  bool given_bytes = false;
};

/// Looks at a job before it is encoded: may change all its members, also with `set_member`, or refuse it by an error.
///
/// Semantics: called in the order of the list, each on what those before it left; the first error ends it, and nothing
///            is stored. Of a bulk, for every job.
/// Threads:   whichever enqueues; several at once. Must not block where processes enqueue.
/// Errors:    one that throws counts as an error, `refused`, with what it threw.
using EnqueueMiddleware = std::function<Result<void>(NewJob& job, const EnqueueCall& call)>;

/// What is left of a run: the middlewares behind this one, then the job. Call it at most once, and before returning.
/// Never throws: what the job throws is a failed outcome.
using RunNext = std::function<RunOutcome()>;
using AsyncRunNext = std::function<Async<RunOutcome>()>;

/// Code around runs.
///
///   options.middleware.push_back(around_runs("audit", nullptr, [](JobContext& job, RunOutcome& outcome) { … }));
///
/// Semantics: the first of the list is the outermost. `thread` is around `thread` jobs, on the thread that runs them;
///            `process` around `async` and `command` jobs, in the process of the run. One that is not set is passed by.
///            A middleware that does not call `next` ends the run with its own outcome; the job's code does not run.
///            Time limits and cancelling count for all of it together.
/// Threads:   called by several threads and processes at once. `process` must not block.
/// Errors:    one that throws has failed that run, as the job's own code would have, and nobody else's.
/// Lifetime:  what `process` returns is destroyed before the context.
struct RunMiddleware {
  std::string name;  ///< for people
  std::function<RunOutcome(JobContext& job, const RunNext& next)> thread = nullptr;
  std::function<Async<RunOutcome>(JobContext& job, const AsyncRunNext& next)> process = nullptr;
};

/// A middleware for jobs of all kinds. `before` may end the run by an outcome of its own; then neither the job nor
/// `after` is called. `after` may change the outcome. Either may be null.
[[nodiscard]] RunMiddleware around_runs(std::string name,
                                        std::function<std::optional<RunOutcome>(JobContext& job)> before,
                                        std::function<void(JobContext& job, RunOutcome& outcome)> after = nullptr);

}  // namespace dagverk::jobs
