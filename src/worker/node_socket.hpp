#pragma once

#include "worker/local_socket.hpp"

#include "dagverk/base/result.hpp"
#include "dagverk/event/event_manager.hpp"
#include "dagverk/jobs/job_events.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace dagverk::worker {

struct EventFilter;

/// The Unix socket by which tools reach a running node: they ask for its event handlers, stop and start them, and
/// follow its events.
///
/// Semantics: a follower is a handler of the hub like any other (`tail-1`, …), with a thread of its own and the rule
///            keep_newest: one that does not read costs nobody else anything, and is told how much it missed.
/// Threads:   one that accepts, one per connection; the socket's own, so that jobs never wait for a tool.
/// Errors:    wrong requests are answered with an error and cost nobody else anything.
/// Bounds:    `connections_max` connections; a request within 10 s; answers that nobody reads are given up after 5 s.
/// Lifetime:  borrows the event manager. The destructor closes every connection; followers get what waits for them when
///            the manager has been stopped before.
class NodeSocket {
 public:
  static constexpr std::size_t connections_max = 32;

  /// Listens at `path`. Errors: those of LocalListener::open.
  [[nodiscard]] static Result<std::unique_ptr<NodeSocket>> open(const std::string& path,
                                                                EventManager<jobs::Event>& events);
  NodeSocket(const NodeSocket&) = delete;
  NodeSocket& operator=(const NodeSocket&) = delete;
  ~NodeSocket();

  [[nodiscard]] const std::string& path() const noexcept { return listener_.path(); }

 private:
  struct Connection {
    std::atomic<bool> done{false};
    std::jthread thread;
  };

  NodeSocket(LocalListener listener, EventManager<jobs::Event>& events);
  void accept_all();
  void serve(const std::shared_ptr<LineSocket>& socket);
  void follow(const std::shared_ptr<LineSocket>& socket, const EventFilter& filter);

  EventManager<jobs::Event>& events_;
  LocalListener listener_;
  std::shared_ptr<StopSignal> stop_ = std::make_shared<StopSignal>();  // with the connections
  std::atomic<std::uint64_t> followers_{0};
  std::vector<std::unique_ptr<Connection>> connections_;  // the accepting thread's alone
  std::jthread accepting_;
};

}  // namespace dagverk::worker
