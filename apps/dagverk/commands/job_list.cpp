#include "command.hpp"
#include "selection.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/worker/time_text.hpp"

namespace dagverk::app {
namespace {

using jobs::JobState;

constexpr OptionSyntax job_list_options[] = {
    {'\0', "state", "STATE", "ready, scheduled, retrying, running, dead; several with commas"},
    {'q', "queue", "NAME", "only this queue"},
    {'\0', "class", "NAME", "only this class"},
    {'n', "count", "N", "at most N jobs (100)"},
};

constexpr std::size_t chunk_rows = 1000;  // a long list is printed in pieces, each with widths of its own
const std::vector<std::string> headings = {"JID", "STATE", "QUEUE", "CLASS", "WHEN"};

std::string since(const jobs::StoredJob& job) {
  switch (job.state) {
    case JobState::running: return job.started_at ? concat("since ", worker::utc_text(*job.started_at)) : "";
    case JobState::scheduled:
    case JobState::retrying: return job.due ? concat("due ", worker::utc_text(*job.due)) : "";
    case JobState::dead:
      return job.due ? concat("since ", worker::utc_text(*job.due), "  ", worker::printable(job.reason, 80)) : "";
    case JobState::ready: break;
  }
  return concat("since ", worker::utc_text(job.enqueued_at));
}

ExitCode run_job_list(const ParsedLine& line, Output& out) {
  const auto states =
      state_option(line, {JobState::running, JobState::ready, JobState::retrying, JobState::scheduled, JobState::dead});
  if (!states) return out.fail(states.error());
  const auto count = count_option(line, "count", 100, 1'000'000);
  if (!count) return out.fail(count.error());
  const auto session = Session::open(line, worker::MissingStore::refuse);
  if (!session) return out.fail(session.error());

  std::size_t shown = 0;
  const auto more = visit_jobs(**session, line, *states, *count, [&](const jobs::StoredJob& job) {
    ++shown;
    if (out.json()) return out.print(job_json(job).str() + "\n");
    out.row({job.jid, std::string(to_string(job.state)), job.queue, job.class_name, since(job)});
    if (shown % chunk_rows != 0) return true;
    if (shown == chunk_rows) out.heading(headings);
    return out.end_table();
  });
  if (!more) return out.fail(more.error());
  if (!out.json() && shown % chunk_rows != 0) {
    if (shown < chunk_rows) out.heading(headings);
    out.end_table();
  }
  if (shown == 0) out.say("no jobs");
  if (*more) out.say(concat("there are more; -n raises the limit of ", *count));
  return ExitCode::done;
}

}  // namespace

const Command job_list_command{
    {.name = "job list",
     .summary = "Lists jobs: running, ready, retrying, scheduled, dead.",
     .options = job_list_options,
     .examples = "  dagverk job list --state dead\n  dagverk job list -q mail -n 20 --json"},
    run_job_list,
    {},
    "`jid`, `state`, `class`, `queue`, `priority`, `enqueued_at`; where they apply `started_at`, `due_at`, `died_at`, "
    "`rescues`, `reason`",
};

}  // namespace dagverk::app
