#include "store_nodes.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/worker/terminal.hpp"

#include <chrono>

namespace dagverk::app {
namespace {

std::uint64_t milliseconds(Duration duration) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, duration / std::chrono::milliseconds(1)));
}

std::string pool_json(const jobs::PoolStatus& pool) {
  std::vector<std::string> queues;
  queues.reserve(pool.queues.size());
  for (const jobs::ServedQueue& queue : pool.queues) {
    queues.push_back(JsonObject().text("queue", queue.name).number("weight", queue.weight).str());
  }
  return JsonObject()
      .text("pool", pool.name)
      .number("concurrency", pool.concurrency)
      .text("mode", to_string(pool.mode))
      .raw("queues", json_list(queues))
      .str();
}

}  // namespace

std::string_view node_state(const jobs::NodeInfo& node) noexcept {
  if (node.lease_left < Duration::zero()) return "lost";
  if (node.status.quiet) return "quiet";
  return node.beat_at ? "up" : "starting";
}

JsonObject node_json(const jobs::NodeInfo& node) {
  const jobs::NodeStatus& status = node.status;
  std::vector<std::string> labels;
  labels.reserve(status.labels.size());
  for (const std::string& label : status.labels) labels.push_back(json_text(label));
  std::vector<std::string> pools;
  pools.reserve(status.pools.size());
  for (const jobs::PoolStatus& pool : status.pools) pools.push_back(pool_json(pool));
  JsonObject object;
  object.text("node", node.identity)
      .text("name", node.name)
      .text("state", node_state(node))
      .boolean("foreign", node.foreign)
      .text("host", status.host)
      .raw("pid", concat(status.os_pid))
      .text("tag", status.tag)
      .text("version", status.version)
      .raw("labels", json_list(labels))
      .time("registered_at", node.registered_at);
  if (node.beat_at) object.time("started_at", status.started_at);
  return object.time("beat_at", node.beat_at)
      .boolean("quiet", status.quiet)
      .boolean("embedded", status.embedded)
      .number("running", node.running)
      .number("busy", status.busy)
      .number("concurrency", status.concurrency)
      .raw("pools", json_list(pools))
      .number("resident_bytes", status.resident_bytes)
      .number("round_trip_us",
              static_cast<std::uint64_t>(std::max<std::int64_t>(0, status.round_trip / std::chrono::microseconds(1))))
      .number("lease_left_ms", milliseconds(node.lease_left));
}

std::string queues_text(const jobs::NodeInfo& node) {
  std::string text;
  for (const jobs::PoolStatus& pool : node.status.pools) {
    text += concat(text.empty() ? "" : " ", pool.queues.size() > 1 ? "(" : "");
    for (std::size_t index = 0; index < pool.queues.size(); ++index) {
      const jobs::ServedQueue& queue = pool.queues[index];
      text += concat(index > 0 ? "," : "", queue.name);
      if (queue.weight > 1) text += concat("*", queue.weight);
    }
    text += concat(pool.queues.size() > 1 ? ")" : "", ":", pool.concurrency);
  }
  return text.empty() ? "-" : text;
}

std::string bytes_text(std::uint64_t bytes) {
  if (bytes == 0) return "-";
  constexpr std::uint64_t mebibyte = 1 << 20;
  const std::uint64_t tenths = (bytes * 10 + mebibyte / 2) / mebibyte;
  return concat(tenths / 10, ".", tenths % 10, " MiB");
}

Result<std::vector<jobs::NodeInfo>> nodes_called(const std::vector<jobs::NodeInfo>& nodes, std::string_view name) {
  std::vector<jobs::NodeInfo> found;
  std::vector<std::string_view> names;
  for (const jobs::NodeInfo& node : nodes) {
    names.push_back(node.identity);
    if (node.name != node.identity) names.push_back(node.name);
    if (node.identity == name || node.name == name) found.push_back(node);
  }
  if (!found.empty()) return found;
  const auto near = worker::nearest_word(name, names);
  return Error(ErrorCode::not_found, concat("no node \"", worker::printable(name, 100), "\" in the store",
                                            near ? concat("; did you mean ", worker::printable(*near, 100), "?")
                                                 : "; dagverk node list shows all"));
}

}  // namespace dagverk::app
