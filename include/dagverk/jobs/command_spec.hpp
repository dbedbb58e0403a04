#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/jobs/job_context.hpp"
#include "dagverk/runtime/os_process.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace dagverk::jobs {

/// What a command's exit code says about its job.
enum class CommandExit : std::uint8_t {
  done,     ///< it has done what it had to do
  retry,    ///< the run has failed, and is retried by the rules of its class
  snooze,   ///< the job is to run again later; the attempt does not count
  discard,  ///< the job is to be dropped, without a retry and without the dead set
  bury,     ///< the job is to go to the dead set at once, whatever retries are left
};

/// The exit codes that mean something without having been configured: 0 done, and these. Every other one: retry.
inline constexpr int exit_code_snooze = 171;
inline constexpr int exit_code_discard = 172;
inline constexpr int exit_code_bury = 173;

/// What a command's output is taken for. The protocol: docs/guides/commands.md.
enum class CommandOutput : std::uint8_t {
  result,  ///< lines of the protocol are heard; the rest of standard output is the result, unless such a line gives one
  log,     ///< lines of the protocol are heard; the others, of both outputs, are lines of the run's log
  plain,   ///< nothing is heard; standard output is the result
};

/// An executable that runs the jobs of one class. Never a shell.
///
/// Semantics: the arguments arrive on standard input as one line of JSON. `{0}`, `{1}`, … in `run` stand for one
///            argument each: texts as they are, other values as their JSON. An argument that would make an element
///            begin with `-` is refused unless an element `--` stands before it; a placeholder inside a script for a
///            shell (`sh -c`) is refused at all. The environment is a list of allowed variables, and DAGVERK_JID,
///            DAGVERK_CLASS, DAGVERK_QUEUE and DAGVERK_ATTEMPT. The command leads a process group of its own, which is
///            killed when the command ends, and dies with its worker. Its exit code alone decides what becomes of the
///            job; what it writes is shown to people and decides nothing, but for the delay of a snooze.
/// Bounds:    of standard output `output_kept_bytes` are kept, of standard error the last 4 KiB, for the message of a
///            failure; more is read, cut and marked. Lines of the protocol: as for JobContext's progress, log and
///            set_result.
struct CommandSpec {
  std::vector<std::string> run = {};   ///< the executable (no placeholder), then its arguments
  std::string working_directory = {};  ///< empty: the worker's
  /// The variables that are passed on; no others are.
  std::vector<std::string> environment_inherit = OsProcessOptions().environment_inherit;
  std::vector<std::pair<std::string, std::string>> environment_set = {};
  Duration kill_grace = std::chrono::seconds(5);  ///< between SIGTERM and SIGKILL at a timeout
  OsProcessLimits limits = {};  ///< CPU at least 1 s, memory at least 1 MiB, 8 open files; absent: the worker's
  CommandOutput output = CommandOutput::result;
  std::size_t output_kept_bytes = result_text_size_limit;  ///< of standard output, for the journal; at most as much
  std::map<int, CommandExit> exit_codes = {};              ///< 1 to 255, beside and before those above
  /// How long a job waits whose command asks for a snooze and does not say; at most 366 days.
  Duration snooze_delay = std::chrono::minutes(1);

  friend bool operator==(const CommandSpec&, const CommandSpec&) = default;
};

}  // namespace dagverk::jobs
