#pragma once

#include "command.hpp"
#include "session.hpp"

#include "dagverk/base/result.hpp"
#include "dagverk/jobs/store_types.hpp"

#include <string>
#include <string_view>
#include <vector>

/// The nodes that a store knows of, wherever they run.
namespace dagverk::app {

/// `up`, `quiet`, `starting` (registered, and not heard of yet) or `lost` (silent for longer than its lease).
[[nodiscard]] std::string_view node_state(const jobs::NodeInfo& node) noexcept;

/// A node as one JSON object.
[[nodiscard]] JsonObject node_json(const jobs::NodeInfo& node);

/// `mail:10, low` … of all pools, for a cell.
[[nodiscard]] std::string queues_text(const jobs::NodeInfo& node);

/// `7.1 MiB`; `-` for nothing.
[[nodiscard]] std::string bytes_text(std::uint64_t bytes);

/// The nodes with that identity or name: one, or all that share the name. Errors: `not_found`, with the nearest.
[[nodiscard]] Result<std::vector<jobs::NodeInfo>> nodes_called(const std::vector<jobs::NodeInfo>& nodes,
                                                               std::string_view name);

}  // namespace dagverk::app
