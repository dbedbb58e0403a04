#include "command.hpp"
#include "progress.hpp"
#include "selection.hpp"

#include <algorithm>

namespace dagverk::app {
namespace {

ExitCode run_job_delete(const ParsedLine& line, Output& out) {
  if (line.has("all") && !line.has("state")) {
    return out.fail(
        Error(ErrorCode::invalid_argument, "--all deletes jobs of one state: say which, such as --state dead"));
  }
  const auto session = Session::open(line, worker::MissingStore::refuse);
  if (!session) return out.fail(session.error());
  const auto selection = select_jobs(**session, line, {});
  if (!selection) return out.fail(selection.error());
  if (!confirmed(line, out, "delete", selection->jobs.size(), true)) {
    return line.has("dry-run") ? ExitCode::done : ExitCode::refused;
  }

  Progress progress(out, "delete", selection->jobs.size());
  std::vector<jobs::ItemOutcome> outcomes;
  for (std::size_t first = 0; first < selection->jobs.size(); first += jobs::batch_count_limit) {
    std::vector<std::string> batch;
    for (std::size_t index = first; index < std::min(selection->jobs.size(), first + jobs::batch_count_limit);
         ++index) {
      batch.push_back(selection->jobs[index].jid);
    }
    const auto done = (*session)->wait((*session)->store().remove(std::move(batch), ""));
    if (!done) return out.fail(done.error());
    outcomes.insert(outcomes.end(), done->begin(), done->end());
    progress.advance(done->size());
  }
  return report_outcomes(out, "deleted", *selection, outcomes);
}

}  // namespace

const Command job_delete_command{
    {.name = "job delete",
     .arguments = "[JID…]",
     .summary = "Deletes jobs that no worker is running.",
     .arguments_max = 1000,
     .options = bulk_options,
     .notes = "Asks before it deletes more than one; without a terminal that needs --yes.",
     .examples = "  dagverk job delete 66aa0c2f41f3b5d8e9a7c1d2\n  dagverk job delete --all --state dead --yes"},
    run_job_delete,
    "3 none of the jobs is there; 4 it is running, or more than one and no --yes; 5 only some of them",
    "per job `jid` and `outcome`: `deleted`, `missing`, `running`",
};

}  // namespace dagverk::app
