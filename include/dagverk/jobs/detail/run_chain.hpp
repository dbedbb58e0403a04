#pragma once

#include "dagverk/jobs/middleware.hpp"

#include <exception>
#include <vector>

namespace dagverk::jobs::detail {

/// The failure that an exception stands for. For use in a catch block; null: it was no std::exception.
[[nodiscard]] RunOutcome failure_of_exception(const std::exception* error);

/// Runs `job`, which does not throw, inside all that are for threads.
[[nodiscard]] RunOutcome run_inside(const std::vector<RunMiddleware>& middleware, JobContext& context,
                                    const RunNext& job) noexcept;

/// Runs `job`, whose coroutine does not throw, inside all that are for processes. What it refers to outlives it.
[[nodiscard]] Async<RunOutcome> run_inside_process(const std::vector<RunMiddleware>& middleware, JobContext& context,
                                                   AsyncRunNext job);

}  // namespace dagverk::jobs::detail
