#include "jobs/job_dump.hpp"

#include "jobs/thread_stacks.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/wire_time.hpp"
#include "dagverk/runtime/this_process.hpp"

#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace dagverk::jobs {

namespace {

/// The frames of the thread that is at `job`, innermost first; empty when there is none.
std::string stack_text(const JobInHand* job) {
  std::string stack;
  for (const std::string& frame : stack_of(job)) stack += concat(stack.empty() ? "" : " | ", frame);
  return stack;
}

Async<void> overdue(NodeEnvPtr env, JobPtr job, std::string cause) {
  std::vector<const void*> asked;
  asked.push_back(job.get());
  ask_for_stacks(asked);
  co_await this_process::sleep(stack_answer_time);
  const WallTime now = env->now();
  if (env->events->wants(event_kind<JobOverdue>)) {
    env->events->notify(JobOverdue{identity_of(*job, env->name), job->started_at, now, cause});
  }
  env->runtime.logger().warning("job.overdue", {{"jid", job->taken.jid},
                                                {"class", job->taken.class_name},
                                                {"queue", job->taken.queue},
                                                {"cause", cause},
                                                {"running_ms", (now - job->started_at) / std::chrono::milliseconds(1)},
                                                {"stack", stack_text(job.get())}});
}

Async<void> dump(NodeEnvPtr env) {
  const std::vector<RunView> runs = env->pools.runs(node_jobs_limit);
  std::vector<const void*> asked;
  asked.reserve(runs.size());
  for (const RunView& run : runs) asked.push_back(run.job.get());
  ask_for_stacks(asked);
  co_await this_process::sleep(stack_answer_time);
  const WallTime now = env->now();
  Logger& logger = env->runtime.logger();
  logger.info("node.dump", {{"node", env->name}, {"running", runs.size()}, {"quiet", env->pools.quiet()}});
  for (const auto& [job, process, stop_requested] : runs) {
    logger.info("job.dump", {{"jid", job->taken.jid},
                             {"class", job->taken.class_name},
                             {"queue", job->taken.queue},
                             {"since", exact_epoch_seconds_text(job->started_at)},
                             {"running_ms", (now - job->started_at) / std::chrono::milliseconds(1)},
                             {"process", process.number()},
                             {"stopping", stop_requested},
                             {"stack", stack_text(job.get())}});
  }
}

}  // namespace

void write_dump(const NodeEnvPtr& env) {
  env->runtime.spawn([env]() -> Async<void> { return dump(env); });
}

void tell_overdue(const NodeEnvPtr& env, JobPtr job, std::string cause) {
  env->runtime.spawn([env, job = std::move(job), cause = std::move(cause)]() mutable -> Async<void> {
    return overdue(env, std::move(job), std::move(cause));
  });
}

}  // namespace dagverk::jobs
