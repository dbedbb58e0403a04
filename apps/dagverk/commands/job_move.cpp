#include "command.hpp"
#include "progress.hpp"
#include "selection.hpp"

#include "dagverk/jobs/job_names.hpp"

#include <algorithm>

namespace dagverk::app {
namespace {

ExitCode run_job_move(const ParsedLine& line, Output& out) {
  const auto target = line.value("to");
  if (!target) return out.fail(Error(ErrorCode::invalid_argument, "say which queue: --to QUEUE"));
  if (const auto ok = jobs::check_queue_name(*target); !ok) return out.fail(ok.error());
  if (line.has("all") && !line.has("state")) {
    return out.fail(
        Error(ErrorCode::invalid_argument, "--all moves all jobs of one state: say which, such as --state ready"));
  }
  const auto session = Session::open(line, worker::MissingStore::refuse);
  if (!session) return out.fail(session.error());
  const auto selection = select_jobs(**session, line, {});
  if (!selection) return out.fail(selection.error());
  if (!confirmed(line, out, "move", selection->jobs.size(), true)) {
    return line.has("dry-run") ? ExitCode::done : ExitCode::refused;
  }

  constexpr std::size_t batch_limit = 100;
  Progress progress(out, "move", selection->jobs.size());
  std::vector<jobs::ItemOutcome> outcomes;
  for (std::size_t first = 0; first < selection->jobs.size(); first += batch_limit) {
    std::vector<jobs::MoveJob> batch;
    for (std::size_t index = first; index < std::min(selection->jobs.size(), first + batch_limit); ++index) {
      batch.push_back({.jid = selection->jobs[index].jid, .queue = std::string(*target)});
    }
    const auto done = (*session)->wait((*session)->store().move(std::move(batch)));
    if (!done) return out.fail(done.error());
    outcomes.insert(outcomes.end(), done->begin(), done->end());
    progress.advance(done->size());
  }
  return report_outcomes(out, "moved", *selection, outcomes);
}

}  // namespace

const Command job_move_command{
    {.name = "job move",
     .arguments = "[JID…]",
     .summary = "Moves waiting or dead jobs into another queue, as they are.",
     .arguments_max = 1000,
     .options = move_options,
     .notes = "Asks before it moves more than one; without a terminal that needs --yes.",
     .examples = "  dagverk job move 66aa0c2f41f3b5d8e9a7c1d2 --to slow\n"
                 "  dagverk job move --all --state ready -q mail --to slow --yes"},
    run_job_move,
    "3 none of the jobs is there; 4 it is running, or more than one and no --yes; 5 only some of them",
    "per job `jid` and `outcome`: `moved`, `missing`, `running`",
};

}  // namespace dagverk::app
