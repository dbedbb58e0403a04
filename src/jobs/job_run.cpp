#include "jobs/job_run.hpp"

#include "jobs/command_run.hpp"
#include "jobs/job_dump.hpp"
#include "jobs/job_threads.hpp"
#include "jobs/run_notes.hpp"
#include "jobs/thread_stacks.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/detail/call_job.hpp"
#include "dagverk/jobs/detail/run_chain.hpp"
#include "dagverk/runtime/completion.hpp"
#include "dagverk/runtime/this_process.hpp"

#include <atomic>
#include <memory>
#include <string>
#include <utility>

namespace dagverk::jobs {

namespace {

/// Asks for the end of whatever `stop` controls when the frame that holds this is destroyed, finished or not.
class StopAtEnd {
 public:
  explicit StopAtEnd(std::stop_source stop) : stop_(std::move(stop)) {}
  StopAtEnd(const StopAtEnd&) = delete;
  StopAtEnd& operator=(const StopAtEnd&) = delete;
  ~StopAtEnd() { stop_.request_stop(); }

 private:
  std::stop_source stop_;
};

/// The time limit of one run on a thread. Shared by its process, its thread and its watchdog.
struct TimeLimit {
  Pid watchdog;  // written by the thread before it completes, read by the process afterwards
  std::atomic<bool> passed{false};
};

Pid start_watchdog(NodeEnvPtr env, JobPtr job, std::shared_ptr<TimeLimit> limit, std::stop_source stop,
                   Duration timeout) {
  RuntimeBase& runtime = env->runtime;
  return runtime.spawn([env = std::move(env), job = std::move(job), timeout, limit = std::move(limit),
                        stop = std::move(stop)]() mutable -> Async<void> {
    co_await this_process::sleep(timeout);
    limit->passed = true;
    stop.request_stop();
    co_await this_process::sleep(env->options.stop_grace);
    tell_overdue(env, std::move(job), "timeout");
  });
}

Async<RunOutcome> run_on_thread(NodeEnvPtr env, std::shared_ptr<JobThreads> threads, JobPtr job,
                                std::stop_source stop) {
  const StopAtEnd stop_at_end(stop);
  const Duration timeout = time_limit_of(*job);
  auto limit = std::make_shared<TimeLimit>();
  CompletionPair<Result<RunOutcome>> ends = make_completion<Result<RunOutcome>>();
  threads->submit([limit, env, job, stop, timeout, completer = std::move(ends.completer)]() mutable {
    // The time counts from here: the job may have waited for a thread.
    if (stop.stop_requested()) return completer.complete(RunOutcome::given_back());  // before it began
    if (timeout > Duration::zero()) limit->watchdog = start_watchdog(env, job, limit, stop, timeout);
    const OnThread here(job.get());
    RunOutcome outcome = run_function(env, job, stop.get_token());
    if (limit->passed) {
      const bool completed = outcome.completed;
      outcome = timed_out(timeout, "before it returned");
      outcome.completed = completed;
    }
    completer.complete(std::move(outcome));
  });
  Result<RunOutcome> outcome = co_await std::move(ends.completion);
  if (outcome && limit->watchdog) env->runtime.exit(limit->watchdog, ExitReason::kill);
  if (outcome) co_return std::move(*outcome);
  co_return RunOutcome::given_back();  // its thread was stopped before it began
}

/// An `async` or a `command` job, inside the node's middleware.
Async<RunOutcome> run_in_process(NodeEnvPtr env, JobPtr job, std::stop_source stop) {
  const StopAtEnd stop_at_end(stop);
  AsyncJobContext context(*job->job, job->taken.queue, stop.get_token(), job->taken.token);
  const auto notes = std::make_shared<RunNotes>(env->notes, env->runtime.clock(), job);
  context.keep_notes(notes);
  const detail::CurrentProcessJob current(context);
  AsyncRunNext innermost = [&] {
    if (job->job_class->command) return run_command(env, job, stop, context, notes);
    return detail::await_function(*job->job_class, context);
  };
  const std::vector<RunMiddleware>& middleware = env->options.middleware;
  Async<RunOutcome> running =
      middleware.empty() ? innermost() : detail::run_inside_process(middleware, context, std::move(innermost));
  RunOutcome outcome = co_await running;
  if (!context.result().empty()) outcome.result = context.result();  // a middleware's word, too
  outcome.completed = context.completed();
  co_return outcome;
}

}  // namespace

RunOutcome run_function(const NodeEnvPtr& env, const JobPtr& job, std::stop_token stop) noexcept {
  JobContext context(*job->job, job->taken.queue, std::move(stop), job->taken.token);
  context.keep_notes(std::make_shared<RunNotes>(env->notes, env->runtime.clock(), job));
  const detail::CurrentJob current(context);
  const JobClass& job_class = *job->job_class;
  const std::vector<RunMiddleware>& middleware = env->options.middleware;
  RunOutcome outcome =
      middleware.empty()
          ? detail::call_function(job_class, context)
          : detail::run_inside(middleware, context, [&] { return detail::call_function(job_class, context); });
  if (!context.result().empty()) outcome.result = context.result();  // a middleware's word, too
  outcome.completed = context.completed();
  return outcome;
}

RunOutcome timed_out(Duration limit, std::string_view what) {
  return RunOutcome::failed(error_class::timeout,
                            concat("ran for more than ", std::chrono::duration<double>(limit).count(), " s ", what));
}

Async<RunOutcome> run_job(NodeEnvPtr env, std::shared_ptr<JobThreads> threads, JobPtr job, std::stop_source stop) {
  if (!job->job_class->function) return run_in_process(std::move(env), std::move(job), std::move(stop));
  return run_on_thread(std::move(env), std::move(threads), std::move(job), std::move(stop));
}

}  // namespace dagverk::jobs
