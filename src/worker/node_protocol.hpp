#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/event/event_stats.hpp"
#include "dagverk/worker/event_filter.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

/// What is said over a node's socket: JSON objects, one a line. docs/reference/node-socket.md has every member.
namespace dagverk::worker {

struct NodeRequest {
  enum class Kind : std::uint8_t { handlers, start_handler, stop_handler, restart_handler, tail };

  Kind kind = Kind::handlers;
  std::string handler = {};  ///< of start, stop and restart
  EventFilter filter = {};   ///< of tail
};

[[nodiscard]] std::string to_json(const NodeRequest& request);
/// Errors: `malformed`, `unsupported` for a request that this version does not know.
[[nodiscard]] Result<NodeRequest> request_from_json(std::string_view line);

/// The answer that there is nothing more to say than that it is done.
[[nodiscard]] std::string done_json();
[[nodiscard]] std::string to_json(const Error& error);
/// Among the events of a follower: so many were dropped so far, because it did not read.
[[nodiscard]] std::string missed_json(std::uint64_t count);
/// The count of such a line; none for any other line.
[[nodiscard]] std::optional<std::uint64_t> missed_from_json(std::string_view line);
[[nodiscard]] std::string to_json(const EventStats& stats);

/// Errors: the answer's own error, or `malformed`.
[[nodiscard]] Result<void> done_from_json(std::string_view line);
[[nodiscard]] Result<EventStats> stats_from_json(std::string_view line);

}  // namespace dagverk::worker
