#include "nodes.hpp"

#include "session.hpp"

#include "dagverk/base/concat.hpp"

#include <utility>

namespace dagverk::app {

Result<std::vector<ReachedNode>> reach_nodes(const ParsedLine& line, const Output& out) {
  std::vector<ReachedNode> reached;
  if (const auto path = line.value("socket")) {
    auto client = worker::NodeClient::connect(std::string(*path));
    if (!client) return client.error();
    reached.push_back({std::string(*path), std::move(*client)});
    return reached;
  }
  const auto session = Session::open(line, worker::MissingStore::refuse);
  if (!session) return session.error();
  const auto nodes = (*session)->wait((*session)->store().list_nodes());
  if (!nodes) return nodes.error();
  const auto wanted = line.value("node");
  std::vector<std::string_view> names;
  for (const jobs::NodeInfo& node : *nodes) {
    if (node.foreign) continue;
    names.push_back(node.name);
    if (wanted && node.name != *wanted) continue;
    const std::string socket = worker::socket_of_node(node.detail);
    if (socket.empty()) {
      out.say(concat("node ", worker::printable(node.name), " has no socket on this machine"));
      continue;
    }
    auto client = worker::NodeClient::connect(socket);
    if (!client) {
      out.say(concat("node ", worker::printable(node.name), ": ", client.error().message()));
      continue;
    }
    reached.push_back({node.name, std::move(*client)});
  }
  if (!reached.empty()) return reached;
  if (wanted) {
    const auto near = worker::nearest_word(*wanted, names);
    return Error(ErrorCode::not_found, concat("no running node \"", worker::printable(*wanted, 100), "\"",
                                              near ? concat("; did you mean ", *near, "?") : ""));
  }
  return Error(ErrorCode::not_found, "no node of this store runs on this machine; to start one: dagverk work");
}

Result<ReachedNode*> node_with_handler(std::vector<ReachedNode>& nodes, std::string_view name) {
  ReachedNode* found = nullptr;
  std::vector<std::string> known;
  for (ReachedNode& node : nodes) {
    const auto stats = node.client.handlers();
    if (!stats) return stats.error();
    for (const HandlerStats& handler : stats->handlers) known.push_back(handler.name);
    if (stats->find(name) == nullptr) continue;
    if (found != nullptr) {
      return Error(ErrorCode::invalid_argument, concat("handler \"", name, "\" is in the nodes ", found->name, " and ",
                                                       node.name, "; choose one: --node NAME"));
    }
    found = &node;
  }
  if (found != nullptr) return found;
  const std::vector<std::string_view> names(known.begin(), known.end());
  const auto near = worker::nearest_word(name, names);
  return Error(ErrorCode::not_found,
               concat("no handler \"", worker::printable(name, 100), "\"",
                      near ? concat("; did you mean ", *near, "?") : "; dagverk handler list shows all"));
}

}  // namespace dagverk::app
