#include "command.hpp"
#include "queue_text.hpp"
#include "session.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/worker/duration_text.hpp"

#include <utility>

namespace dagverk::app {
namespace {

ExitCode run_queue_show(const ParsedLine& line, Output& out) {
  const auto session = Session::open(line, worker::MissingStore::refuse);
  if (!session) return out.fail(session.error());
  const auto queue = queue_named(**session, line.arguments().front());
  if (!queue) return out.fail(queue.error());
  const WallTime now = (*session)->now();
  const jobs::QueueCounts& counts = queue->counts;
  const std::pair<std::string_view, std::uint64_t> others[] = {
      {"discarded", counts.discarded}, {"expired", counts.expired},     {"deleted", counts.deleted},
      {"trimmed", counts.trimmed},     {"rescued", counts.rescued},     {"quarantined", counts.quarantined},
      {"moved_in", counts.moved_in},   {"moved_out", counts.moved_out}, {"refused", counts.refused},
      {"dropped", counts.dropped},     {"diverted", counts.diverted},
  };
  if (out.json()) {
    JsonObject object = queue_json(*queue, now);
    for (const auto& [name, value] : others) object.number(name, value);
    out.print(object.boolean("balanced", counts.balanced()).str() + "\n");
    return ExitCode::done;
  }
  const std::pair<std::string_view, std::uint64_t> figures[] = {
      {"ready", counts.ready},       {"running", counts.running}, {"scheduled", counts.scheduled},
      {"retrying", counts.retrying}, {"dead", counts.dead},       {"enqueued", counts.enqueued},
      {"finished", counts.finished}, {"retried", counts.retried}, {"died", counts.died},
  };
  const auto waits = latency(*queue, now);
  out.row({"queue", queue->name});
  out.row({"paused", pause_text(*queue)});
  out.row({"latency", waits ? worker::duration_text(*waits) : "-"});
  for (const auto& [name, value] : figures) out.row({std::string(name), concat(value)});
  for (const auto& [name, value] : others) out.row({std::string(name), concat(value)});
  out.row({"balanced", concat(counts.balanced())});
  out.end_table();
  return ExitCode::done;
}

}  // namespace

const Command queue_show_command{
    {.name = "queue show",
     .arguments = "NAME",
     .summary = "Shows one queue: what is in it, what became of the rest, its pause.",
     .arguments_min = 1,
     .arguments_max = 1,
     .notes = "balanced: each job that ever came into it is accounted for.",
     .examples = "  dagverk queue show mail\n  dagverk queue show mail --json"},
    run_queue_show,
    "3 no such queue",
    "as `queue list`, and `discarded`, `expired`, `deleted`, `trimmed`, `rescued`, `quarantined`, `moved_in`, "
    "`moved_out`, `refused`, `dropped`, `diverted`, `balanced`",
};

}  // namespace dagverk::app
