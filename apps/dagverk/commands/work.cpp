#include "command.hpp"

#include "dagverk/worker/work_command.hpp"

namespace dagverk::app {
namespace {

ExitCode run_work(const ParsedLine& line, Output& /*out*/) {
  return worker::run_work(line, {.name = "dagverk", .version = version()});
}

}  // namespace

const Command work_command{
    {.name = "work",
     .summary = "Runs the command jobs of the configuration until it is told to stop.",
     .options = worker::work_options(),
     .notes = "SIGTERM or Ctrl-C stops in order, a second one at once; SIGUSR1 takes no more\n"
              "jobs. --json prints every event. Without -q: the queues of the file.",
     .examples = "  dagverk work --config jobs.toml\n  dagverk work -q mail:5 -q default -c 10"},
    run_work,
    "0 stopped in order; 3 --look-only, and there is no store; 128+n ended at once, by a second signal n",
    "an event each: `event`, `at`, `jid`, and more by its kind; with --look-only, per served queue `queue`, `served`, "
    "`ready`, `later` (scheduled or retrying), `looked_at`, `whole`; per class in it `queue`, `class`, `jobs`, `would` "
    "(`run`, `fail_unknown_class`, `bury_malformed`); per other queue `queue`, `served` (false), `ready`",
};

}  // namespace dagverk::app
