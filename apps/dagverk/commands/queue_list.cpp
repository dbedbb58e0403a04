#include "command.hpp"
#include "queue_text.hpp"
#include "session.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/worker/duration_text.hpp"

namespace dagverk::app {
namespace {

ExitCode run_queue_list(const ParsedLine& line, Output& out) {
  const auto session = Session::open(line, worker::MissingStore::refuse);
  if (!session) return out.fail(session.error());
  const WallTime now = (*session)->now();
  std::string after;
  bool any = false;
  while (true) {
    const auto page = (*session)->wait((*session)->store().queues(after, jobs::batch_count_limit));
    if (!page) return out.fail(page.error());
    for (const jobs::QueueInfo& queue : *page) {
      any = true;
      after = queue.name;
      const jobs::QueueCounts& counts = queue.counts;
      const auto waits = latency(queue, now);
      if (out.json()) {
        if (!out.print(queue_json(queue, now).str() + "\n")) return ExitCode::done;
      } else {
        out.row({queue.name, concat(counts.ready), concat(counts.running), concat(counts.scheduled),
                 concat(counts.retrying), concat(counts.dead), concat(counts.finished),
                 waits ? worker::duration_text(*waits) : "-", pause_text(queue)});
      }
    }
    if (page->size() < jobs::batch_count_limit) break;
  }
  if (!any) out.say("no queues");
  if (!out.json() && any) {
    out.heading({"QUEUE", "READY", "RUNNING", "SCHEDULED", "RETRYING", "DEAD", "FINISHED", "LATENCY", "PAUSED"});
    out.end_table();
  }
  return ExitCode::done;
}

}  // namespace

const Command queue_list_command{
    {.name = "queue list",
     .summary = "Lists the queues with what is in them.",
     .notes = "The latency is the age of the job that is taken next.",
     .examples = "  dagverk queue list\n  dagverk queue list --json"},
    run_queue_list,
    {},
    "`queue`, `ready`, `running`, `scheduled`, `retrying`, `dead`, `enqueued`, `finished`, `retried`, `died`, "
    "`latency_ms`, `paused`; while it is `paused_by`, `pause_reason`, `paused_at`",
};

}  // namespace dagverk::app
