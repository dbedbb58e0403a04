#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/event/event_stats.hpp"
#include "dagverk/worker/event_filter.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace dagverk::worker {

/// A connection to a running node's socket, blocking.
///
///   auto client = NodeClient::connect(path);
///   auto stats = client->handlers();
///
/// Threads: one at a time.
/// Errors:  `unavailable` when nobody listens or the node has gone, `permission` when it is another user's, `timeout`
///          after 10 s without an answer; else what the node says.
class NodeClient {
 public:
  [[nodiscard]] static Result<NodeClient> connect(const std::string& path);
  NodeClient(NodeClient&& other) noexcept;
  NodeClient& operator=(NodeClient&& other) noexcept;
  ~NodeClient();

  /// The node's event manager and its handlers.
  [[nodiscard]] Result<EventStats> handlers();
  /// Starts a handler that failed or was stopped; one that runs goes on.
  [[nodiscard]] Result<void> start_handler(std::string_view name);
  [[nodiscard]] Result<void> stop_handler(std::string_view name);
  /// Starts a handler anew, whatever it is at: that is how a hung one is replaced.
  [[nodiscard]] Result<void> restart_handler(std::string_view name);

  /// From now on the connection carries events and nothing else.
  [[nodiscard]] Result<void> follow(const EventFilter& filter);
  /// The next event, as the JSON line of jobs::to_json_line; none once the node has closed. Waits without a limit.
  [[nodiscard]] Result<std::optional<std::string>> next_event();
  /// How many events the node dropped so far because this end did not read.
  [[nodiscard]] std::uint64_t missed() const noexcept;
  /// For poll(): readable when `next_event` may have something to say. It may still wait, for the rest of a line.
  [[nodiscard]] int descriptor() const noexcept;
  /// Whether `next_event` has an event without reading from the descriptor.
  [[nodiscard]] bool has_event() const noexcept;

 private:
  struct Connection;
  explicit NodeClient(std::unique_ptr<Connection> connection);
  [[nodiscard]] Result<std::string> ask(const std::string& request);

  std::unique_ptr<Connection> connection_;
};

/// The socket that a node's record names in its `detail`; empty when it names none.
[[nodiscard]] std::string socket_of_node(std::string_view detail);
/// What a node's record says about it: host, operating system's process, and socket (when there is one).
[[nodiscard]] std::string node_detail(std::string_view socket);

}  // namespace dagverk::worker
