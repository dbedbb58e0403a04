#pragma once

#include "dagverk/jobs/job_context.hpp"
#include "dagverk/jobs/job_registry.hpp"
#include "dagverk/jobs/run_outcome.hpp"
#include "dagverk/runtime/async.hpp"

namespace dagverk::jobs::detail {

/// Calls a `thread` job's function: its outcome, with what it said to its context. What it throws is its failure.
[[nodiscard]] RunOutcome call_function(const JobClass& job_class, JobContext& context) noexcept;

/// The same for an `async` job's coroutine. What it refers to outlives it.
[[nodiscard]] Async<RunOutcome> await_function(const JobClass& job_class, AsyncJobContext& context);

}  // namespace dagverk::jobs::detail
