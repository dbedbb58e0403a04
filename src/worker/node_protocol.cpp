#include "worker/node_protocol.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/worker/command_line.hpp"

#include <boost/json.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <optional>
#include <system_error>
#include <utility>

namespace dagverk::worker {
namespace {

namespace json = boost::json;

constexpr std::array<std::string_view, 5> request_names = {"handlers", "handler.start", "handler.stop",
                                                           "handler.restart", "events.tail"};

constexpr std::array<std::pair<std::string_view, std::uint64_t DropCounts::*>, 9> drop_members = {{
    {"overflow", &DropCounts::overflow},
    {"crashed", &DropCounts::crashed},
    {"filtered", &DropCounts::filtered},
    {"consumer_down", &DropCounts::consumer_down},
    {"shutdown", &DropCounts::shutdown},
    {"sampled", &DropCounts::sampled},
    {"ingress", &DropCounts::ingress},
    {"coalesced", &DropCounts::coalesced},
    {"spill_failed", &DropCounts::spill_failed},
}};

/// Texts from programs may be anything, but JSON is UTF-8.
json::string text(std::string_view value) { return json::string(printable(value)); }

std::string line_of(const json::object& object) { return json::serialize(object) + "\n"; }

Result<json::object> object_from(std::string_view line) {
  boost::system::error_code fault;
  json::value value = json::parse(json::string_view(line.data(), line.size()), fault);
  if (fault || !value.is_object()) {
    return Error(ErrorCode::malformed, concat("not a JSON object: ", printable(line, 200)));
  }
  return std::move(value.as_object());
}

std::string text_member(const json::object& object, std::string_view name) {
  const json::value* const found = object.if_contains(json::string_view(name.data(), name.size()));
  if (found == nullptr || !found->is_string()) return {};
  return {found->as_string().data(), found->as_string().size()};
}

std::uint64_t count_member(const json::object& object, std::string_view name) {
  const json::value* const found = object.if_contains(json::string_view(name.data(), name.size()));
  if (found == nullptr) return 0;
  boost::system::error_code fault;
  const auto count = found->to_number<std::uint64_t>(fault);
  return fault ? 0 : count;
}

template <class T>
std::optional<T> named(std::string_view name, T last) {
  for (unsigned index = 0; index <= static_cast<unsigned>(last); ++index) {
    if (to_string(static_cast<T>(index)) == name) return static_cast<T>(index);
  }
  return std::nullopt;
}

/// The answer as an object; its error, when it is one.
Result<json::object> answer_from(std::string_view line) {
  auto object = object_from(line);
  if (!object) return object.error();
  const json::value* const error = object->if_contains("error");
  if (error == nullptr || !error->is_object()) return object;
  const auto code = named(text_member(error->as_object(), "code"), ErrorCode::unsupported);
  return Error(code.value_or(ErrorCode::internal), text_member(error->as_object(), "message"));
}

json::object to_object(const HandlerStats& handler) {
  json::object dropped;
  for (const auto& [name, member] : drop_members) dropped[name] = handler.dropped.*member;
  json::object object;
  object["name"] = text(handler.name);
  object["state"] = text(to_string(handler.state));
  object["rule"] = text(handler.overflow);
  object["published"] = handler.published;
  object["delivered"] = handler.delivered;
  object["buffered"] = handler.buffered;
  object["dropped"] = std::move(dropped);
  object["lag_seconds"] = std::chrono::duration<double>(handler.lag).count();
  object["restarts"] = handler.restarts;
  if (!handler.last_error.empty()) object["last_error"] = text(handler.last_error);
  return object;
}

HandlerStats handler_from(const json::object& object) {
  HandlerStats handler;
  handler.name = text_member(object, "name");
  handler.state = named(text_member(object, "state"), HandlerState::stopping).value_or(HandlerState::starting);
  handler.overflow = text_member(object, "rule");
  handler.published = count_member(object, "published");
  handler.delivered = count_member(object, "delivered");
  handler.buffered = count_member(object, "buffered");
  handler.restarts = count_member(object, "restarts");
  handler.last_error = text_member(object, "last_error");
  if (const json::value* lag = object.if_contains("lag_seconds"); lag != nullptr && lag->is_number()) {
    boost::system::error_code fault;
    const double seconds = lag->to_number<double>(fault);
    constexpr double century = 3e9;
    if (!fault && seconds > 0 && seconds < century) {
      handler.lag = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
    }
  }
  if (const json::value* dropped = object.if_contains("dropped"); dropped != nullptr && dropped->is_object()) {
    for (const auto& [name, member] : drop_members) {
      handler.dropped.*member = count_member(dropped->as_object(), name);
    }
  }
  return handler;
}

}  // namespace

std::string to_json(const NodeRequest& request) {
  json::object object;
  object["request"] = request_names[static_cast<std::size_t>(request.kind)];
  if (!request.handler.empty()) object["handler"] = request.handler;
  const EventFilter& filter = request.filter;
  if (!filter.kinds.empty()) object["events"] = json::array(filter.kinds.begin(), filter.kinds.end());
  if (!filter.queue.empty()) object["queue"] = filter.queue;
  if (!filter.job_class.empty()) object["class"] = filter.job_class;
  if (!filter.jid.empty()) object["jid"] = filter.jid;
  return line_of(object);
}

Result<NodeRequest> request_from_json(std::string_view line) {
  const auto object = object_from(line);
  if (!object) return object.error();
  const std::string name = text_member(*object, "request");
  const auto* const found = std::ranges::find(request_names, name);
  if (found == request_names.end()) {
    return Error(ErrorCode::unsupported,
                 concat("this node knows no request \"", printable(name, 60), "\"; it may be older than the command"));
  }
  NodeRequest request{.kind = static_cast<NodeRequest::Kind>(found - request_names.begin())};
  request.handler = text_member(*object, "handler");
  request.filter.queue = text_member(*object, "queue");
  request.filter.job_class = text_member(*object, "class");
  request.filter.jid = text_member(*object, "jid");
  const json::value* const kinds = object->if_contains("events");
  if (kinds != nullptr && kinds->is_array()) {
    for (const json::value& kind : kinds->as_array()) {
      if (!kind.is_string()) return Error(ErrorCode::malformed, "\"events\" is a list of texts");
      request.filter.kinds.emplace_back(kind.as_string().data(), kind.as_string().size());
    }
  }
  return request;
}

std::string done_json() { return "{\"ok\":true}\n"; }

std::string missed_json(std::uint64_t count) {
  json::object object;
  object["missed"] = count;
  return line_of(object);
}

std::optional<std::uint64_t> missed_from_json(std::string_view line) {
  if (!line.starts_with(R"({"missed":)")) return std::nullopt;
  const auto object = object_from(line);
  if (!object) return std::nullopt;
  return count_member(*object, "missed");
}

std::string to_json(const Error& error) {
  json::object what;
  what["code"] = text(to_string(error.code()));
  what["message"] = text(error.message());
  json::object object;
  object["error"] = std::move(what);
  return line_of(object);
}

std::string to_json(const EventStats& stats) {
  json::array handlers;
  for (const HandlerStats& handler : stats.handlers) handlers.push_back(to_object(handler));
  json::object object;
  object["published"] = stats.published;
  object["discarded"] = stats.discarded;
  object["refused"] = stats.refused;
  object["handlers"] = std::move(handlers);
  return line_of(object);
}

Result<void> done_from_json(std::string_view line) {
  auto answer = answer_from(line);
  if (!answer) return answer.error();
  return {};
}

Result<EventStats> stats_from_json(std::string_view line) {
  const auto answer = answer_from(line);
  if (!answer) return answer.error();
  EventStats stats;
  stats.published = count_member(*answer, "published");
  stats.discarded = count_member(*answer, "discarded");
  stats.refused = count_member(*answer, "refused");
  const json::value* const handlers = answer->if_contains("handlers");
  if (handlers == nullptr || !handlers->is_array()) {
    return Error(ErrorCode::malformed, concat("no handlers in the answer: ", printable(line, 200)));
  }
  for (const json::value& handler : handlers->as_array()) {
    if (handler.is_object()) stats.handlers.push_back(handler_from(handler.as_object()));
  }
  return stats;
}

}  // namespace dagverk::worker
