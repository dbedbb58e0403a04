#pragma once

#include "jobs/node_env.hpp"
#include "jobs/settling.hpp"

#include "dagverk/runtime/async.hpp"

#include <memory>
#include <stop_token>

namespace dagverk::jobs {

/// Runs one job in the calling process and returns how it ended. `stop` asks it to end early: a `thread` job sees its
/// token, a command is terminated. When the process ends instead, the command is killed and the token triggered.
/// Parameters are kept by the coroutine.
[[nodiscard]] Async<RunOutcome> run_job(NodeEnvPtr env, std::shared_ptr<JobThreads> threads, JobPtr job,
                                        std::stop_source stop);

/// Runs a `thread` job's function on the calling thread: whatever it throws becomes a failure.
[[nodiscard]] RunOutcome run_function(const JobInHand& job, std::stop_token stop) noexcept;

}  // namespace dagverk::jobs
