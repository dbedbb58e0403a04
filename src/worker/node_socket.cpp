#include "worker/node_socket.hpp"

#include "worker/node_protocol.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/worker/event_filter.hpp"

#include <chrono>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

namespace dagverk::worker {
namespace {

using namespace std::chrono_literals;

constexpr Duration request_limit = 10s;
constexpr Duration answer_limit = 5s;
constexpr Duration missed_interval = 1s;
constexpr std::size_t events_kept = 10'000;

/// Sends events to one follower, as they come. It waits for as long as the follower pauses, on its own thread.
class Follower : public EventHandler<jobs::Event> {
 public:
  static constexpr bool blocking = true;

  /// Says how many events were dropped so far.
  struct Missed {
    using Reply = void;
    std::uint64_t count;
  };

  explicit Follower(std::shared_ptr<LineSocket> socket) : socket_(std::move(socket)) {}

  void handle_batch(std::span<const jobs::Event> events) {
    std::string lines;
    for (const jobs::Event& event : events) lines += jobs::to_json_line(event) + "\n";
    write(lines);
  }
  void handle_call(Missed missed) { write(missed_json(missed.count)); }

 private:
  void write(std::string_view lines) {
    if (socket_->write(lines, Duration::zero())) return;
    socket_->shut_down();
    leave();
  }

  std::shared_ptr<LineSocket> socket_;  // shared with its connection's thread
};

Result<void> control(EventManager<jobs::Event>& events, const NodeRequest& request) {
  switch (request.kind) {
    case NodeRequest::Kind::stop_handler: return events.stop_handler_blocking(request.handler);
    case NodeRequest::Kind::restart_handler: return events.restart_handler_blocking(request.handler);
    default: break;
  }
  const auto stats = events.stats_blocking();
  if (!stats) return stats.error();
  const HandlerStats* const handler = stats->find(request.handler);
  // Starting what runs is no reason to interrupt it.
  if (handler != nullptr && (handler->state == HandlerState::running || handler->state == HandlerState::starting)) {
    return {};
  }
  return events.restart_handler_blocking(request.handler);
}

}  // namespace

Result<std::unique_ptr<NodeSocket>> NodeSocket::open(const std::string& path, EventManager<jobs::Event>& events) {
  auto listener = LocalListener::open(path);
  if (!listener) return listener.error();
  return std::unique_ptr<NodeSocket>(new NodeSocket(std::move(*listener), events));
}

NodeSocket::NodeSocket(LocalListener listener, EventManager<jobs::Event>& events)
    : events_(events), listener_(std::move(listener)), accepting_([this] { accept_all(); }) {}

NodeSocket::~NodeSocket() {
  stop_->raise();
  accepting_.join();
}

void NodeSocket::accept_all() {
  while (std::optional<Descriptor> descriptor = listener_.accept(*stop_)) {
    std::erase_if(connections_, [](const auto& connection) { return connection->done.load(); });
    const auto socket = std::make_shared<LineSocket>(std::move(*descriptor), stop_);
    if (connections_.size() >= connections_max) {
      const std::string refusal = to_json(
          Error(ErrorCode::refused, concat(connections_max, " tools are connected to this node already; close one")));
      // It fits into the socket's buffer, or whoever connected does not read.
      static_cast<void>(socket->write(refusal, 1ms).has_value());
      continue;
    }
    auto connection = std::make_unique<Connection>();
    connection->thread = std::jthread([this, done = &connection->done, socket] {
      serve(socket);
      done->store(true);
    });
    connections_.push_back(std::move(connection));
  }
  connections_.clear();  // joins them
}

void NodeSocket::serve(const std::shared_ptr<LineSocket>& socket) {
  while (true) {
    const auto line = socket->read_line(request_limit);
    if (!line || !line->has_value()) return;
    const auto request = request_from_json(**line);
    std::string answer;
    if (!request) {
      answer = to_json(request.error());
    } else if (request->kind == NodeRequest::Kind::tail) {
      follow(socket, request->filter);
      return;
    } else if (request->kind == NodeRequest::Kind::handlers) {
      const auto stats = events_.stats_blocking();
      answer = stats ? to_json(*stats) : to_json(stats.error());
    } else {
      const auto done = control(events_, *request);
      answer = done ? done_json() : to_json(done.error());
    }
    if (!socket->write(answer, answer_limit)) return;
  }
}

void NodeSocket::follow(const std::shared_ptr<LineSocket>& socket, const EventFilter& filter) {
  const std::string name = concat("tail-", followers_.fetch_add(1) + 1);
  const auto kinds = event_kinds(filter);
  if (!kinds) {
    static_cast<void>(socket->write(to_json(kinds.error()), answer_limit).has_value());
    return;
  }
  // The answer goes first: from then on the socket is the handler's, as long as it is there.
  if (!socket->write(done_json(), answer_limit)) return;
  HandlerOptions options{
      .overflow = KeepNewest{events_kept}, .restart_type = HandlerRestart::temporary, .kinds = *kinds};
  HandlerSpec<jobs::Event> spec = event_handler<Follower>(name, options, socket);
  if (!filter.kinds_alone()) spec.selector = [filter](const jobs::Event& event) { return filter.fits(event); };
  if (!events_.add_handler_blocking(std::move(spec))) return;
  // Followers have nothing more to say: a line or the end of lines is the end.
  std::uint64_t told = 0;
  while (true) {
    const auto line = socket->read_line(missed_interval);
    if (line || line.error().code() != ErrorCode::timeout) break;
    const auto stats = events_.stats_blocking();
    const HandlerStats* const mine = stats ? stats->find(name) : nullptr;
    if (mine == nullptr) break;
    const std::uint64_t missed = mine->dropped.overflow + mine->dropped.ingress;
    // While it pauses it cannot be told; then it is told later.
    if (missed != told && events_.call_blocking<Follower, Follower::Missed>(name, missed)) told = missed;
  }
  static_cast<void>(events_.remove_handler_blocking(name).has_value());
}

}  // namespace dagverk::worker
