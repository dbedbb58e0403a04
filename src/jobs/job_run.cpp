#include "jobs/job_run.hpp"

#include "jobs/command_line.hpp"
#include "jobs/job_threads.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/runtime/completion.hpp"
#include "dagverk/runtime/this_process.hpp"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cxxabi.h>
#include <exception>
#include <memory>
#include <string>
#include <typeinfo>
#include <utility>

namespace dagverk::jobs {

namespace {

std::string readable_name(const std::type_info* type) {
  if (type == nullptr) return "unknown";
  int status = 0;
  char* text = abi::__cxa_demangle(type->name(), nullptr, nullptr, &status);
  std::string name = status == 0 ? text : type->name();
  std::free(text);  // NOLINT(cppcoreguidelines-no-malloc): the ABI allocates with malloc
  return name;
}

RunOutcome timed_out(Duration limit, std::string_view what) {
  return RunOutcome::failed(error_class::timeout,
                            concat("ran for more than ", std::chrono::duration<double>(limit).count(), " s ", what));
}

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

/// The child of one run: killed when the run's process ends before it.
class RunningChild {
 public:
  RunningChild(OsProcessSpawner& spawner, OsProcessId id) : spawner_(spawner), id_(id) {}
  RunningChild(const RunningChild&) = delete;
  RunningChild& operator=(const RunningChild&) = delete;
  ~RunningChild() {
    // Fails with no_process once it has ended, which is the ordinary case.
    [[maybe_unused]] const Result<void> killed = spawner_.kill(id_, SIGKILL);
  }

 private:
  OsProcessSpawner& spawner_;
  OsProcessId id_;
};

Async<RunOutcome> run_on_thread(NodeEnvPtr env, std::shared_ptr<JobThreads> threads, JobPtr job,
                                std::stop_source stop) {
  const StopAtEnd stop_at_end(stop);
  const Duration timeout = job->job_class->options.timeout;
  auto over_time = std::make_shared<std::atomic<bool>>(false);  // shared by the run and its watchdog
  CompletionPair<Result<RunOutcome>> ends = make_completion<Result<RunOutcome>>();
  threads->submit([job, token = stop.get_token(), timeout, over_time, completer = std::move(ends.completer)]() mutable {
    RunOutcome outcome = run_function(*job, std::move(token));
    if (*over_time) outcome = timed_out(timeout, "before it returned");
    completer.complete(std::move(outcome));
  });
  // The limit counts from here: at most as many jobs wait for a thread as runs were cut off without returning.
  Pid watchdog;
  if (timeout > Duration::zero()) {
    watchdog = env->runtime.spawn([timeout, stop, over_time]() mutable -> Async<void> {
      co_await this_process::sleep(timeout);
      *over_time = true;
      stop.request_stop();
    });
  }
  Result<RunOutcome> outcome = co_await std::move(ends.completion);
  if (watchdog) env->runtime.exit(watchdog, ExitReason::kill);
  if (outcome) co_return std::move(*outcome);
  co_return RunOutcome::given_back();  // its thread was stopped before it began
}

Result<OsProcessOptions> command_options(const JobInHand& job) {
  const CommandSpec& command = *job.job_class->command;
  OsProcessOptions options;
  Result<std::vector<std::string>> argv = expand_command(command, job.job->args_json(), job.job->job_class());
  if (!argv) return argv.error();
  options.argv = std::move(*argv);
  options.working_directory = command.working_directory;
  options.environment_inherit = command.environment_inherit;
  options.environment_set = command.environment_set;
  options.environment_set.emplace_back("DAGVERK_JID", job.job->jid());
  options.environment_set.emplace_back("DAGVERK_CLASS", job.job->job_class());
  options.environment_set.emplace_back("DAGVERK_QUEUE", job.taken.queue);
  options.environment_set.emplace_back("DAGVERK_ATTEMPT", concat(job.job->attempt()));
  options.standard_input = concat(job.job->args_json(), "\n");
  options.standard_output.limit_bytes = std::min(command.output_kept_bytes, result_text_size_limit);
  options.timeout = job.job_class->options.timeout;
  options.kill_grace = command.kill_grace;
  options.limits = command.limits;
  return options;
}

RunOutcome outcome_of(OsProcessResult result, Duration timeout) {
  if (result.end == OsProcessEnd::not_started || result.end == OsProcessEnd::lost) {
    return RunOutcome::failed(error_class::command_not_started,
                              result.error ? std::string(result.error->message()) : describe(result));
  }
  if (result.timed_out) return timed_out(timeout, concat("and was ended: ", describe(result)));
  if (result.cancelled) return RunOutcome::given_back();
  if (result.succeeded()) return RunOutcome::finished(std::move(result.standard_output.bytes));
  std::string message = describe(result);
  if (!result.standard_error.bytes.empty()) message = concat(message, ": ", result.standard_error.bytes);
  while (message.ends_with('\n')) message.pop_back();
  return RunOutcome::failed(error_class::command_failed, std::move(message));
}

Async<RunOutcome> run_command(NodeEnvPtr env, JobPtr job, std::stop_source stop) {
  Result<OsProcessOptions> options = command_options(*job);
  if (!options) co_return RunOutcome::failed(error_class::arguments, std::string(options.error().message()));
  const Duration timeout = options->timeout;
  OsProcessSpawner& spawner = *env->spawner;
  for (Backoff backoff;;) {
    CompletionPair<Result<OsProcessResult>> ends = make_completion<Result<OsProcessResult>>();
    OsProcessOptions attempt = *options;
    Result<OsProcessId> id =
        spawner.start(std::move(attempt), [completer = std::move(ends.completer)](OsProcessResult result) mutable {
          completer.complete(std::move(result));
        });
    if (!id && id.error().code() == ErrorCode::refused && !stop.stop_requested()) {
      co_await this_process::sleep(backoff.next());  // other pools' commands fill the spawner
      continue;
    }
    if (!id) {
      if (id.error().code() == ErrorCode::refused || id.error().code() == ErrorCode::shutting_down) {
        co_return RunOutcome::given_back();
      }
      co_return RunOutcome::failed(error_class::command_not_started, std::string(id.error().message()));
    }
    const RunningChild child(spawner, *id);
    const std::stop_callback on_stop(stop.get_token(), [&spawner, child_id = *id] {
      [[maybe_unused]] const Result<void> asked = spawner.terminate(child_id);
    });
    Result<OsProcessResult> result = co_await std::move(ends.completion);
    if (!result) co_return RunOutcome::given_back();
    co_return outcome_of(std::move(*result), timeout);
  }
}

}  // namespace

RunOutcome run_function(const JobInHand& job, std::stop_token stop) noexcept {
  JobContext context(*job.job, job.taken.queue, std::move(stop));
  const detail::CurrentJob current(context);
  try {
    RunOutcome outcome = job.job_class->function(context);
    outcome.result = context.result();
    return outcome;
  } catch (const std::exception& error) {
    return RunOutcome::failed(readable_name(&typeid(error)), error.what());
  } catch (...) {
    return RunOutcome::failed(readable_name(abi::__cxa_current_exception_type()), "no std::exception");
  }
}

Async<RunOutcome> run_job(NodeEnvPtr env, std::shared_ptr<JobThreads> threads, JobPtr job, std::stop_source stop) {
  if (job->job_class->command) return run_command(std::move(env), std::move(job), std::move(stop));
  return run_on_thread(std::move(env), std::move(threads), std::move(job), std::move(stop));
}

}  // namespace dagverk::jobs
