#pragma once

#include "command.hpp"

#include "dagverk/base/result.hpp"
#include "dagverk/worker/node_client.hpp"

#include <span>
#include <string>
#include <vector>

/// The running nodes that a command talks to.
namespace dagverk::app {

struct ReachedNode {
  std::string name;  ///< as the store lists it, or the socket's path
  worker::NodeClient client;
};

/// Connects to the running nodes of the store that are on this machine: all, or those of `--node`; with `--socket` to
/// that one without looking into the store. Never empty. Errors: `not_found` when there is none.
[[nodiscard]] Result<std::vector<ReachedNode>> reach_nodes(const ParsedLine& line, const Output& out);

/// The only node in which `applies` holds for a handler called `name`. Errors: `not_found`; `invalid_argument` when
/// several nodes have one and `--node` does not choose.
[[nodiscard]] Result<ReachedNode*> node_with_handler(std::vector<ReachedNode>& nodes, std::string_view name);

inline constexpr OptionSyntax node_option = {'\0', "node", "NAME", "only this node"};
inline constexpr OptionSyntax socket_option = {'\0', "socket", "PATH",
                                               "the node that listens there, in whatever store"};

}  // namespace dagverk::app
