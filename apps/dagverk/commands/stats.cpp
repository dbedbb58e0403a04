#include "command.hpp"
#include "session.hpp"

#include "dagverk/base/concat.hpp"

namespace dagverk::app {
namespace {

ExitCode run_stats(const ParsedLine& line, Output& out) {
  const auto session = Session::open(line, worker::MissingStore::refuse);
  if (!session) return out.fail(session.error());
  const auto totals = (*session)->wait((*session)->store().totals());
  if (!totals) return out.fail(totals.error());
  const auto nodes = (*session)->wait((*session)->store().list_nodes());
  if (!nodes) return out.fail(nodes.error());

  std::uint64_t foreign = 0;
  std::uint64_t quiet = 0;
  std::uint64_t busy = 0;
  std::uint64_t concurrency = 0;
  for (const jobs::NodeInfo& node : *nodes) {
    foreign += node.foreign ? 1 : 0;
    quiet += node.status.quiet ? 1 : 0;
    busy += node.status.busy;
    concurrency += node.status.concurrency;
  }
  const jobs::QueueCounts& counts = totals->counts;
  const std::pair<std::string_view, std::uint64_t> figures[] = {
      {"ready", counts.ready},
      {"running", counts.running},
      {"scheduled", counts.scheduled},
      {"retrying", counts.retrying},
      {"dead", counts.dead},
      {"enqueued", counts.enqueued},
      {"finished", counts.finished},
      {"retried", counts.retried},
      {"died", counts.died},
      {"discarded", counts.discarded},
      {"expired", counts.expired},
      {"deleted", counts.deleted},
      {"trimmed", counts.trimmed},
      {"rescued", counts.rescued},
      {"quarantined", counts.quarantined},
      {"duplicates", totals->duplicates},
      {"refused", totals->refused},
      {"locked", totals->locked},
      {"journal_rows", totals->journal_rows},
      {"queues", totals->queues},
      {"nodes", nodes->size() - foreign},
      {"foreign_nodes", foreign},
      {"quiet_nodes", quiet},
      {"busy", busy},
      {"concurrency", concurrency},
  };
  if (out.json()) {
    JsonObject object;
    for (const auto& [name, value] : figures) object.number(name, value);
    object.boolean("balanced", counts.balanced());
    out.print(object.str() + "\n");
    return ExitCode::done;
  }
  for (const auto& [name, value] : figures) out.row({std::string(name), concat(value)});
  out.row({"balanced", concat(counts.balanced())});
  out.end_table();
  return ExitCode::done;
}

}  // namespace

const Command stats_command{
    {.name = "stats",
     .summary = "Prints how many jobs there are and what became of the others.",
     .notes = "balanced: each job that was ever enqueued is accounted for. busy and concurrency: of all nodes\nby "
              "their latest heartbeats, those of Sidekiq included.",
     .examples = "  dagverk stats\n  dagverk stats --json"},
    run_stats,
    {},
    "`ready`, `running`, `scheduled`, `retrying`, `dead`, `enqueued`, `finished`, `retried`, `died`, `discarded`, "
    "`expired`, `deleted`, `trimmed`, `rescued`, `quarantined`, `duplicates`, `refused`, `locked`, `journal_rows`, "
    "`queues`, "
    "`nodes`, `foreign_nodes`, `quiet_nodes`, `busy`, `concurrency`, `balanced`",
};

}  // namespace dagverk::app
