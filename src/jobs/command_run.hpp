#pragma once

#include "jobs/node_env.hpp"
#include "jobs/run_notes.hpp"
#include "jobs/settling.hpp"

#include "dagverk/jobs/job_context.hpp"
#include "dagverk/runtime/async.hpp"

#include <memory>
#include <stop_token>

namespace dagverk::jobs {

/// Runs the command of one `command` job, from the calling process, and returns what its end means. `stop` has it
/// terminated. When the process ends instead, the command is killed. `context` outlives it; the others are kept.
[[nodiscard]] Async<RunOutcome> run_command(NodeEnvPtr env, JobPtr job, std::stop_source stop,
                                            const JobContext& context, std::shared_ptr<RunNotes> notes);

}  // namespace dagverk::jobs
