#pragma once

#include "dagverk/worker/work_command.hpp"

/// Makes a worker of your own program:
///
///   int main(int argc, char** argv) {
///     return dagverk::worker::worker_main(argc, argv, [](dagverk::jobs::JobRegistry& jobs) {
///       jobs.define("Resize", [](const std::string& path, int width) { … });
///     });
///   }
///
/// A third function makes event handlers, each supervised, none of which can hurt the jobs:
///
///   [] { return std::vector{dagverk::event_handler<Invoices>("invoices")}; }
///
///   ./resizer                     # a worker for the store and the queues of dagverk.toml
///   ./resizer work -q images:4
namespace dagverk::worker {

/// The first argument with which a program executes itself for a job. Isolation of that kind is not in this version:
/// it is answered with that explanation.
inline constexpr std::string_view reserved_argument = "dagverk:run-job";

/// The command line of `dagverk work`, with and without the word `work`; returns the program's exit code.
///
/// Semantics: as `run_work`. Command jobs of the configuration file are run as well.
/// Threads:   the first thing that main does, before any thread is started.
/// Errors:    everything is told on standard error and in the exit code; exceptions of `define_jobs` too.
[[nodiscard]] int worker_main(int argc, char** argv, const DefineJobs& define_jobs,
                              const DefineHandlers& define_handlers = nullptr);

}  // namespace dagverk::worker
