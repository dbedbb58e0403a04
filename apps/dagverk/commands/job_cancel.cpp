#include "command.hpp"
#include "progress.hpp"
#include "selection.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/worker/command_line.hpp"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace dagverk::app {
namespace {

using jobs::ItemOutcome;

/// Tells what became of each. To have a running job stopped is what was asked for.
ExitCode report(Output& out, const Selection& selection, const std::vector<ItemOutcome>& outcomes) {
  std::size_t cancelled = 0;
  std::size_t stopping = 0;
  std::size_t missing = selection.missing.size();
  const auto tell = [&](const std::string& jid, std::string_view outcome) {
    if (out.json()) out.print(JsonObject().text("jid", jid).text("outcome", outcome).str() + "\n");
  };
  for (std::size_t index = 0; index < outcomes.size(); ++index) {
    const jobs::StoredJob& job = selection.jobs[index];
    if (outcomes[index] == ItemOutcome::missing) {
      ++missing;
      tell(job.jid, to_string(ItemOutcome::missing));
      const bool dead = job.state == jobs::JobState::dead;
      out.complain(concat("error: job ", worker::printable(job.jid), dead ? ": is dead; delete it" : ": is done"));
      continue;
    }
    const bool runs = outcomes[index] == ItemOutcome::running;
    ++(runs ? stopping : cancelled);
    tell(job.jid, runs ? "stopping" : "cancelled");
  }
  for (const std::string& jid : selection.missing) {
    tell(jid, to_string(ItemOutcome::missing));
    out.complain(concat("error: no job ", worker::printable(jid), " in the store"));
  }
  if (!out.json()) {
    const std::string_view gap = out.plain() ? "\t" : " ";
    if (cancelled > 0) out.print(concat("cancelled", gap, cancelled, "\n"));
    if (stopping > 0) out.print(concat("stopping", gap, stopping, "\n"));
  }
  if (missing == 0) return ExitCode::done;
  return cancelled + stopping > 0 ? ExitCode::some_failed : ExitCode::not_found;
}

ExitCode run_job_cancel(const ParsedLine& line, Output& out) {
  if (line.has("all") && !line.has("state")) {
    return out.fail(
        Error(ErrorCode::invalid_argument, "--all cancels jobs of one state: say which, such as --state scheduled"));
  }
  const auto session = Session::open(line, worker::MissingStore::refuse);
  if (!session) return out.fail(session.error());
  const auto selection = select_jobs(**session, line, {});
  if (!selection) return out.fail(selection.error());
  if (!confirmed(line, out, "cancel", selection->jobs.size(), true)) {
    return line.has("dry-run") ? ExitCode::done : ExitCode::refused;
  }
  Progress progress(out, "cancel", selection->jobs.size());
  std::vector<ItemOutcome> outcomes;
  for (std::size_t first = 0; first < selection->jobs.size(); first += jobs::batch_count_limit) {
    const std::size_t last = std::min(selection->jobs.size(), first + jobs::batch_count_limit);
    std::vector<std::string> batch;
    for (std::size_t index = first; index < last; ++index) batch.push_back(selection->jobs[index].jid);
    const auto done = (*session)->wait((*session)->store().cancel(std::move(batch), ""));
    if (!done) return out.fail(done.error());
    outcomes.insert(outcomes.end(), done->begin(), done->end());
    progress.advance(done->size());
  }
  return report(out, *selection, outcomes);
}

}  // namespace

const Command job_cancel_command{
    {.name = "job cancel",
     .arguments = "[JID…]",
     .summary = "Takes waiting jobs out, and has running ones stopped.",
     .arguments_max = 1000,
     .options = bulk_options,
     .notes = "Asks before it cancels more than one; without a terminal that needs --yes.",
     .examples = "  dagverk job cancel 66aa0c2f41f3b5d8e9a7c1d2\n  dagverk job cancel --all --state running --yes"},
    run_job_cancel,
    "3 none of the jobs is there; 4 more than one and no --yes; 5 only some of them",
    "per job `jid` and `outcome`: `cancelled`, `stopping`, `missing`",
};

}  // namespace dagverk::app
