#include "command.hpp"
#include "store_nodes.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/worker/duration_text.hpp"

#include <algorithm>

namespace dagverk::app {
namespace {

ExitCode run_node_list(const ParsedLine& line, Output& out) {
  const auto session = Session::open(line, worker::MissingStore::refuse);
  if (!session) return out.fail(session.error());
  const auto nodes = (*session)->wait((*session)->store().list_nodes());
  if (!nodes) return out.fail(nodes.error());
  const WallTime now = (*session)->now();
  for (const jobs::NodeInfo& node : *nodes) {
    if (out.json()) {
      if (!out.print(node_json(node).str() + "\n")) return ExitCode::done;
      continue;
    }
    // Others wrote their times: any number at all.
    const WallTime since =
        std::clamp(node.beat_at ? node.status.started_at : node.registered_at, WallTime(), std::max(now, WallTime()));
    out.row({node.identity, std::string(node_state(node)), concat(node.running, "/", node.status.concurrency),
             queues_text(node), bytes_text(node.status.resident_bytes),
             worker::duration_text(std::chrono::floor<std::chrono::seconds>(now - since)),
             node.foreign ? "sidekiq" : node.status.tag});
  }
  if (nodes->empty()) {
    out.say("no nodes; to start one: dagverk work");
  } else if (!out.json()) {
    out.heading({"NODE", "STATE", "BUSY", "QUEUES", "MEMORY", "SINCE", "TAG"});
    out.end_table();
  }
  return ExitCode::done;
}

}  // namespace

const Command node_list_command{
    {.name = "node list",
     .summary = "Lists the nodes that work on the store's jobs, on whatever machine.",
     .notes = "BUSY: running jobs of how many at once. Sidekiq's own processes are listed, too.",
     .examples = "  dagverk node list\n  dagverk node list --json"},
    run_node_list,
    {},
    "`node`, `name`, `state`, `foreign`, `host`, `pid`, `tag`, `version`, `labels`, `registered_at`, `started_at`, "
    "`beat_at`, `quiet`, `embedded`, `running`, `busy`, `concurrency`, `pools` (each `pool`, `concurrency`, `mode`, "
    "`queues`), `resident_bytes`, `round_trip_us`, `lease_left_ms`",
};

}  // namespace dagverk::app
