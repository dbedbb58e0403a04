#include "command.hpp"
#include "progress.hpp"
#include "selection.hpp"

#include "dagverk/jobs/job_codec.hpp"

#include <algorithm>

namespace dagverk::app {
namespace {

using jobs::JobState;

jobs::RetryNow retry_of(const jobs::StoredJob& stored, WallTime now) {
  jobs::RetryNow retry{.jid = stored.jid};
  const auto job = jobs::decode_job(stored.payload, stored.queue);
  if (!job) return retry;  // its bytes stay as they are, and a worker will say what is wrong with them
  auto payload =
      stored.state == JobState::retrying ? jobs::retried_by_hand_payload(*job, now) : jobs::enqueued_payload(*job, now);
  if (payload) retry.payload = std::move(*payload);
  return retry;
}

ExitCode run_job_retry(const ParsedLine& line, Output& out) {
  const auto session = Session::open(line, worker::MissingStore::refuse);
  if (!session) return out.fail(session.error());
  const auto selection = select_jobs(**session, line, {JobState::dead});
  if (!selection) return out.fail(selection.error());
  if (!confirmed(line, out, "retry", selection->jobs.size(), true)) {
    return line.has("dry-run") ? ExitCode::done : ExitCode::refused;
  }

  Progress progress(out, "retry", selection->jobs.size());
  std::vector<jobs::ItemOutcome> outcomes;
  for (std::size_t first = 0; first < selection->jobs.size(); first += 100) {
    std::vector<jobs::RetryNow> batch;
    for (std::size_t index = first; index < std::min(selection->jobs.size(), first + 100); ++index) {
      batch.push_back(retry_of(selection->jobs[index], (*session)->now()));
    }
    const auto done = (*session)->wait((*session)->store().retry_now(std::move(batch)));
    if (!done) return out.fail(done.error());
    outcomes.insert(outcomes.end(), done->begin(), done->end());
    progress.advance(done->size());
  }
  return report_outcomes(out, "retried", *selection, outcomes);
}

}  // namespace

const Command job_retry_command{
    {.name = "job retry",
     .arguments = "[JID…]",
     .summary = "Puts scheduled, retrying or dead jobs into their queues now.",
     .arguments_max = 1000,
     .options = bulk_options,
     .notes = "--all takes dead jobs, unless --state says otherwise.",
     .examples = "  dagverk job retry 66aa0c2f41f3b5d8e9a7c1d2\n  dagverk job retry --all --class Checksum --yes"},
    run_job_retry,
    "3 none of the jobs is there; 4 it is running, or more than one and no --yes; 5 only some of them",
    "per job `jid` and `outcome`: `retried`, `missing`, `running`",
};

}  // namespace dagverk::app
