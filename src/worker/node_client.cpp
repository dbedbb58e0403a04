#include "dagverk/worker/node_client.hpp"

#include "worker/local_socket.hpp"
#include "worker/node_protocol.hpp"

#include <boost/json.hpp>

#include <chrono>
#include <cstdint>
#include <unistd.h>
#include <utility>

namespace dagverk::worker {
namespace {

constexpr Duration patience = std::chrono::seconds(10);

std::string host_name() {
  char name[256] = {};
  return ::gethostname(name, sizeof name - 1) == 0 ? std::string(name) : std::string();
}

Result<void> ask_for(NodeClient& client, Result<std::string> (NodeClient::*ask)(const std::string&),
                     const NodeRequest& request) {
  const auto answer = (client.*ask)(to_json(request));
  if (!answer) return answer.error();
  return done_from_json(*answer);
}

}  // namespace

struct NodeClient::Connection {
  LineSocket socket;
  std::uint64_t missed = 0;
};

Result<NodeClient> NodeClient::connect(const std::string& path) {
  auto socket = LineSocket::connect(path);
  if (!socket) return socket.error();
  return NodeClient(std::make_unique<Connection>(std::move(*socket)));
}

NodeClient::NodeClient(std::unique_ptr<Connection> connection) : connection_(std::move(connection)) {}
NodeClient::NodeClient(NodeClient&& other) noexcept = default;
NodeClient& NodeClient::operator=(NodeClient&& other) noexcept = default;
NodeClient::~NodeClient() = default;

Result<std::string> NodeClient::ask(const std::string& request) {
  const auto sent = connection_->socket.write(request, patience);
  if (!sent && sent.error().code() != ErrorCode::unavailable) return sent.error();
  // A node that hangs up at once may have said why.
  auto line = connection_->socket.read_line(patience);
  if (!line) return line.error();
  if (!line->has_value()) return Error(ErrorCode::unavailable, "the node closed the connection");
  return std::move(**line);
}

Result<EventStats> NodeClient::handlers() {
  const auto answer = ask(to_json(NodeRequest{.kind = NodeRequest::Kind::handlers}));
  if (!answer) return answer.error();
  return stats_from_json(*answer);
}

Result<void> NodeClient::start_handler(std::string_view name) {
  return ask_for(*this, &NodeClient::ask, {.kind = NodeRequest::Kind::start_handler, .handler = std::string(name)});
}
Result<void> NodeClient::stop_handler(std::string_view name) {
  return ask_for(*this, &NodeClient::ask, {.kind = NodeRequest::Kind::stop_handler, .handler = std::string(name)});
}
Result<void> NodeClient::restart_handler(std::string_view name) {
  return ask_for(*this, &NodeClient::ask, {.kind = NodeRequest::Kind::restart_handler, .handler = std::string(name)});
}
Result<void> NodeClient::follow(const EventFilter& filter) {
  return ask_for(*this, &NodeClient::ask, {.kind = NodeRequest::Kind::tail, .filter = filter});
}

Result<std::optional<std::string>> NodeClient::next_event() {
  while (true) {
    auto line = connection_->socket.read_line(Duration::zero());
    if (!line || !line->has_value()) return line;
    const auto missed = missed_from_json(**line);
    if (!missed) return line;
    connection_->missed = *missed;
  }
}
std::uint64_t NodeClient::missed() const noexcept { return connection_->missed; }
int NodeClient::descriptor() const noexcept { return connection_->socket.descriptor(); }
bool NodeClient::has_event() const noexcept { return connection_->socket.has_line(); }

std::string socket_of_node(std::string_view detail) {
  boost::system::error_code fault;
  const boost::json::value value = boost::json::parse(boost::json::string_view(detail.data(), detail.size()), fault);
  if (fault || !value.is_object()) return {};
  const boost::json::value* const socket = value.as_object().if_contains("socket");
  const boost::json::value* const host = value.as_object().if_contains("host");
  if (socket == nullptr || !socket->is_string()) return {};
  // A path of another machine means nothing here.
  if (host != nullptr && host->is_string() && host->as_string() != host_name()) return {};
  return {socket->as_string().data(), socket->as_string().size()};
}

std::string node_detail(std::string_view socket) {
  boost::json::object detail;
  detail["host"] = host_name();
  detail["pid"] = ::getpid();
  if (!socket.empty()) detail["socket"] = boost::json::string_view(socket.data(), socket.size());
  return boost::json::serialize(detail);
}

}  // namespace dagverk::worker
