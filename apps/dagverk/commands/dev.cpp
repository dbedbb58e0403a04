#include "command.hpp"

#include "dagverk/worker/work_command.hpp"

namespace dagverk::app {
namespace {

ExitCode run_dev(const ParsedLine& line, Output& /*out*/) {
  return worker::run_work(line, {.name = "dagverk", .version = version(), .for_development = true});
}

}  // namespace

const Command dev_command{
    {.name = "dev",
     .summary = "Store and worker in one: runs jobs and prints what happens to them.",
     .options = worker::work_options(),
     .notes = "Needs no server and no file. Besides the jobs of dagverk.toml it runs the class\n"
              "`echo`, which returns its arguments.",
     .examples = "  dagverk dev\n  dagverk dev --config jobs.toml"},
    run_dev,
    "0 stopped in order; 128+n ended at once, by a second signal n",
    "an event each: `event`, `at`, `jid`, and more by its kind",
};

}  // namespace dagverk::app
