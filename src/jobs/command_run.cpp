#include "jobs/command_run.hpp"

#include "jobs/command_line.hpp"
#include "jobs/command_output.hpp"
#include "jobs/job_run.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_record.hpp"
#include "dagverk/runtime/completion.hpp"
#include "dagverk/runtime/this_process.hpp"

#include <csignal>
#include <string>
#include <string_view>
#include <utility>

namespace dagverk::jobs {

namespace {

constexpr std::size_t error_kept_bytes = 4096;  // of standard error, for the message of a failure

/// The child of one run: killed, and not heard any more, when the run's process ends before it.
class RunningChild {
 public:
  RunningChild(OsProcessSpawner& spawner, OsProcessId id, OutputReader& reader)
      : spawner_(spawner), id_(id), reader_(reader) {}
  RunningChild(const RunningChild&) = delete;
  RunningChild& operator=(const RunningChild&) = delete;
  ~RunningChild() {
    // Fails with no_process once it has ended, which is the ordinary case.
    [[maybe_unused]] const Result<void> killed = spawner_.kill(id_, SIGKILL);
    reader_.close();
  }

 private:
  OsProcessSpawner& spawner_;
  OsProcessId id_;
  OutputReader& reader_;
};

Result<OsProcessOptions> command_options(const JobInHand& job, const TraceContext& trace,
                                         const std::shared_ptr<OutputReader>& reader) {
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
  if (!trace.empty()) options.environment_set.emplace_back("TRACEPARENT", trace.parent);
  if (!trace.empty() && !trace.state.empty()) options.environment_set.emplace_back("TRACESTATE", trace.state);
  options.standard_input = concat(job.job->args_json(), "\n");
  options.standard_output.limit_bytes = 0;  // the reader keeps what is to be kept
  options.standard_output.tap = [reader](std::string_view piece) { reader->take_output(piece); };
  options.standard_error.limit_bytes = error_kept_bytes;
  if (command.output == CommandOutput::log) {
    options.standard_error.tap = [reader](std::string_view piece) { reader->take_error(piece); };
  }
  options.timeout = time_limit_of(job);
  options.kill_grace = command.kill_grace;
  options.limits = command.limits;
  return options;
}

CommandExit meaning_of(int exit_code, const CommandSpec& command) {
  if (exit_code == 0) return CommandExit::done;
  if (const auto own = command.exit_codes.find(exit_code); own != command.exit_codes.end()) return own->second;
  switch (exit_code) {
    case exit_code_snooze: return CommandExit::snooze;
    case exit_code_discard: return CommandExit::discard;
    case exit_code_bury: return CommandExit::bury;
    default: return CommandExit::retry;
  }
}

/// How it ended, which limit that was, and the last it wrote to standard error.
std::string reason_of(const OsProcessResult& result) {
  std::string reason = describe(result);
  if (result.end == OsProcessEnd::signalled && result.signal == SIGXCPU) reason += ", over its limit of CPU time";
  if (result.end == OsProcessEnd::signalled && result.signal == SIGXFSZ) reason += ", over its limit of a file's size";
  const OsProcessOutput& error = result.standard_error;
  if (!error.bytes.empty()) reason = concat(reason, ": ", error.cut() ? "[cut] " : "", error.bytes);
  while (reason.ends_with('\n')) reason.pop_back();
  return reason;
}

RunOutcome outcome_of(const OsProcessResult& result, Duration timeout, const CommandSpec& command,
                      const OutputReader& reader) {
  if (result.end == OsProcessEnd::not_started || result.end == OsProcessEnd::lost) {
    return RunOutcome::failed(error_class::command_not_started,
                              result.error ? std::string(result.error->message()) : describe(result));
  }
  if (result.timed_out) return timed_out(timeout, concat("and was ended: ", describe(result)));
  if (result.cancelled) return RunOutcome::given_back();
  const CommandExit meaning =
      result.end == OsProcessEnd::exited ? meaning_of(result.exit_code, command) : CommandExit::retry;
  RunOutcome outcome;
  switch (meaning) {
    case CommandExit::done: return RunOutcome::finished(reader.result());
    case CommandExit::retry: return RunOutcome::failed(error_class::command_failed, reason_of(result));
    case CommandExit::snooze:
      outcome = RunOutcome::snoozed(reader.snooze_delay().value_or(command.snooze_delay));
      break;
    case CommandExit::discard: outcome = RunOutcome::discarded(reason_of(result)); break;
    case CommandExit::bury: outcome = RunOutcome::buried(reason_of(result)); break;
  }
  outcome.result = reader.result();
  return outcome;
}

}  // namespace

Async<RunOutcome> run_command(NodeEnvPtr env, JobPtr job, std::stop_source stop, const JobContext& context,
                              std::shared_ptr<RunNotes> notes) {
  const CommandSpec& command = *job->job_class->command;
  // Shared with the spawner, which may go on reading when this has been given up.
  const auto reader = std::make_shared<OutputReader>(command, std::move(notes));
  Result<OsProcessOptions> options = command_options(*job, context.trace(), reader);
  if (!options) co_return RunOutcome::failed(error_class::arguments, std::string(options.error().message()));
  const Duration timeout = options->timeout;
  OsProcessSpawner& spawner = *env->spawner;
  for (Backoff backoff;;) {
    CompletionPair<Result<OsProcessResult>> ends = make_completion<Result<OsProcessResult>>();
    OsProcessOptions attempt = *options;
    Result<OsProcessId> id = spawner.start(
        std::move(attempt), [reader, completer = std::move(ends.completer)](OsProcessResult result) mutable {
          reader->finish();
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
    const RunningChild child(spawner, *id, *reader);
    const std::stop_callback on_stop(stop.get_token(), [&spawner, child_id = *id] {
      [[maybe_unused]] const Result<void> asked = spawner.terminate(child_id);
    });
    Result<OsProcessResult> result = co_await std::move(ends.completion);
    if (!result) co_return RunOutcome::given_back();
    co_return outcome_of(*result, timeout, command, *reader);
  }
}

}  // namespace dagverk::jobs
