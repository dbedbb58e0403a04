#include "jobs/job_run.hpp"

#include "jobs/command_run.hpp"
#include "jobs/run_notes.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/detail/call_job.hpp"
#include "dagverk/jobs/detail/run_chain.hpp"

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

Async<RunOutcome> run_job(NodeEnvPtr env, JobPtr job, std::stop_source stop) {
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

RunOutcome timed_out(Duration limit, std::string_view what) {
  return RunOutcome::failed(error_class::timeout,
                            concat("ran for more than ", std::chrono::duration<double>(limit).count(), " s ", what));
}

}  // namespace dagverk::jobs
