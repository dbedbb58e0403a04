#include "command.hpp"
#include "store_nodes.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_codec.hpp"
#include "dagverk/worker/duration_text.hpp"
#include "dagverk/worker/time_text.hpp"

namespace dagverk::app {
namespace {

std::string run_json(const jobs::NodeJob& run) {
  JsonObject object;
  object.text("worker", run.worker).text("queue", run.queue).time("started_at", run.started_at);
  if (const auto job = jobs::decode_job(run.payload, run.queue)) {
    object.text("jid", job->jid()).text("class", job->job_class());
  }
  return object.str();
}

void show_node(Output& out, const jobs::NodeInfo& node, const std::vector<jobs::NodeJob>& runs) {
  const jobs::NodeStatus& status = node.status;
  out.row({"node", node.identity});
  if (node.name != node.identity) out.row({"name", node.name});
  out.row({"state", std::string(node_state(node))});
  if (node.foreign) out.row({"foreign", "a process of Sidekiq's"});
  out.row({"registered", worker::utc_text(node.registered_at)});
  if (node.beat_at) {
    out.row({"host", status.host});
    out.row({"pid", concat(status.os_pid)});
    out.row({"started", worker::utc_text(status.started_at)});
    out.row({"heard of", worker::utc_text(*node.beat_at)});
    if (!status.tag.empty()) out.row({"tag", status.tag});
    for (const std::string& label : status.labels) out.row({"label", label});
    if (!status.version.empty()) out.row({"version", status.version});
    out.row({"queues", queues_text(node)});
    out.row({"memory", bytes_text(status.resident_bytes)});
    out.row({"store answers in", worker::duration_text(status.round_trip)});
    if (status.embedded) out.row({"embedded", "quiet and stop are up to its program"});
  }
  out.row({"running", concat(node.running)});
  for (const jobs::NodeJob& run : runs) {
    const auto job = jobs::decode_job(run.payload, run.queue);
    out.row({"job", concat(job ? job->job_class() : "malformed", " ", job ? job->jid() : "", ", queue ", run.queue,
                           ", since ", worker::utc_text(run.started_at))});
  }
  out.end_table();
}

ExitCode run_node_show(const ParsedLine& line, Output& out) {
  const auto session = Session::open(line, worker::MissingStore::refuse);
  if (!session) return out.fail(session.error());
  const auto all = (*session)->wait((*session)->store().list_nodes());
  if (!all) return out.fail(all.error());
  const auto nodes = nodes_called(*all, line.arguments().front());
  if (!nodes) return out.fail(nodes.error());
  for (const jobs::NodeInfo& node : *nodes) {
    const auto runs = (*session)->wait((*session)->store().node_jobs(node.identity, jobs::node_jobs_limit));
    if (!runs) return out.fail(runs.error());
    if (!out.json()) {
      show_node(out, node, *runs);
      continue;
    }
    std::vector<std::string> rows;
    for (const jobs::NodeJob& run : *runs) rows.push_back(run_json(run));
    out.print(node_json(node).raw("jobs", json_list(rows)).str() + "\n");
  }
  return ExitCode::done;
}

}  // namespace

const Command node_show_command{
    {.name = "node show",
     .arguments = "NODE",
     .summary = "Shows one node: what it is, what it serves and what it runs.",
     .arguments_min = 1,
     .arguments_max = 1,
     .notes = "On Redis its jobs are those of its latest heartbeat.",
     .examples = "  dagverk node show host1:4211:0a1b2c3d4e5f\n  dagverk node show host1:4211:0a1b2c3d4e5f --json"},
    run_node_show,
    "3 no such node",
    "as `node list`, and `jobs`",
};

}  // namespace dagverk::app
