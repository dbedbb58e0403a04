#include "command.hpp"
#include "session.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/worker/duration_text.hpp"

#include <algorithm>
#include <chrono>

namespace dagverk::app {
namespace {

std::optional<Duration> latency(const jobs::QueueInfo& queue, WallTime now) {
  if (!queue.next_enqueued_at) return std::nullopt;
  return std::max(now - *queue.next_enqueued_at, Duration::zero());
}

std::string queue_json(const jobs::QueueInfo& queue, WallTime now) {
  const jobs::QueueCounts& counts = queue.counts;
  JsonObject object;
  object.text("queue", queue.name)
      .number("ready", counts.ready)
      .number("running", counts.running)
      .number("scheduled", counts.scheduled)
      .number("retrying", counts.retrying)
      .number("dead", counts.dead)
      .number("enqueued", counts.enqueued)
      .number("finished", counts.finished)
      .number("retried", counts.retried)
      .number("died", counts.died);
  const auto waits = latency(queue, now);
  object.number(
      "latency_ms",
      waits ? static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(*waits).count()) : 0);
  return object.str() + "\n";
}

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
        if (!out.print(queue_json(queue, now))) return ExitCode::done;
      } else {
        out.row({queue.name, concat(counts.ready), concat(counts.running), concat(counts.scheduled),
                 concat(counts.retrying), concat(counts.dead), concat(counts.finished),
                 waits ? worker::duration_text(*waits) : "-"});
      }
    }
    if (page->size() < jobs::batch_count_limit) break;
  }
  if (!any) out.say("no queues");
  if (!out.json() && any) {
    out.heading({"QUEUE", "READY", "RUNNING", "SCHEDULED", "RETRYING", "DEAD", "FINISHED", "LATENCY"});
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
};

}  // namespace dagverk::app
