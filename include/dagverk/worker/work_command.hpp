#pragma once

#include "dagverk/event/event_handler.hpp"
#include "dagverk/jobs/job_events.hpp"
#include "dagverk/jobs/job_registry.hpp"
#include "dagverk/worker/command_line.hpp"
#include "dagverk/worker/exit_code.hpp"

#include <functional>
#include <span>
#include <string_view>
#include <vector>

/// The worker as a program: what `dagverk work`, `dagverk dev` and a user's own binary share.
namespace dagverk::worker {

/// Defines the classes that are C++ functions.
using DefineJobs = std::function<void(jobs::JobRegistry&)>;

/// Makes the handlers that a worker's events are brought to, beside those that tools add while it runs.
using DefineHandlers = std::function<std::vector<HandlerSpec<jobs::Event>>()>;

struct WorkProgram {
  std::string_view name = "dagverk";  ///< begins each line of talk
  std::string_view version = {};
  DefineJobs define_jobs = nullptr;          ///< called once, before the file's commands are defined
  DefineHandlers define_handlers = nullptr;  ///< called once, before the node starts
  /// Prints every event on standard output for people, says how to enqueue, and defines the class `echo`, whose result
  /// is its arguments (at most nine), unless the file does.
  bool for_development = false;
};

/// The options of `work`.
[[nodiscard]] std::span<const OptionSyntax> work_options() noexcept;

/// Runs a worker until it is told to stop: opens the store, starts a node, waits for signals.
///
/// Semantics: SIGTERM and SIGINT stop in order: no more jobs are taken, running ones have `stop_timeout`, what has not
///            ended by then is given back, its attempt not counted. The second one ends the program now: its jobs are
///            run again elsewhere within a second. SIGUSR1: takes no more jobs, and goes on with those in hand. SIGHUP:
///            log files are opened anew; of a terminal that has gone it stops in order. At a fatal signal the log is
///            written out first. With --json every event is one line on standard output; when nobody reads it any
///            more, the worker stops in order. Tools reach it over a Unix socket that its record in the store names.
/// Threads:   call it from main, before any other thread is started: it blocks signals for all of them.
/// Errors:    on standard error, and as exit code.
[[nodiscard]] ExitCode run_work(const ParsedLine& line, const WorkProgram& program);

}  // namespace dagverk::worker
