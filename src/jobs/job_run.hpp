#pragma once

#include "jobs/node_env.hpp"
#include "jobs/settling.hpp"

#include "dagverk/runtime/async.hpp"

#include <memory>
#include <stop_token>
#include <string_view>

namespace dagverk::jobs {

/// Runs one `async` or `command` job in the calling process, inside the node's middleware, and returns how it ended.
/// `stop` asks it to end early: an `async` job sees its token, a command is terminated. The time limits of `async` jobs
/// are the caller's affair. When the process ends instead, the command is killed and the token triggered. Parameters
/// are kept by the coroutine.
[[nodiscard]] Async<RunOutcome> run_job(NodeEnvPtr env, JobPtr job, std::stop_source stop);

/// Runs a `thread` job's function on the calling thread, inside the node's middleware. What it throws is its failure.
[[nodiscard]] RunOutcome run_function(const NodeEnvPtr& env, const JobPtr& job, std::stop_token stop) noexcept;

/// The outcome of a run that took longer than its class allows; `what` ends the sentence.
[[nodiscard]] RunOutcome timed_out(Duration limit, std::string_view what);

}  // namespace dagverk::jobs
