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
};

}  // namespace dagverk::app
