#pragma once

#include "jobs/node_env.hpp"

#include <string>

namespace dagverk::jobs {

/// Has a process of the node's runtime write to the log what everything that runs is at.
/// Threads: any; does not wait.
void write_dump(const NodeEnvPtr& env);

/// Tells, in the log and by an event, that `job` was asked to stop because of `cause` and still runs; with the stack of
/// its thread where it has one. Threads: any; does not wait.
void tell_overdue(const NodeEnvPtr& env, JobPtr job, std::string cause);

}  // namespace dagverk::jobs
