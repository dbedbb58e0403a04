#include "dagverk/event/event_stats.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/event/event_outcome.hpp"
#include "dagverk/event/overflow_rule.hpp"

#include <algorithm>

namespace dagverk {

std::string_view to_string(HandlerState state) noexcept {
  switch (state) {
    case HandlerState::starting: return "starting";
    case HandlerState::running: return "running";
    case HandlerState::restarting: return "restarting";
    case HandlerState::failed: return "failed";
    case HandlerState::stopped: return "stopped";
    case HandlerState::stopping: return "stopping";
  }
  return "unknown";
}

std::string_view to_string(EventFate fate) noexcept {
  switch (fate) {
    case EventFate::pending: return "pending";
    case EventFate::handled: return "handled";
    case EventFate::filtered: return "filtered";
    case EventFate::crashed: return "crashed";
    case EventFate::dropped: return "dropped";
  }
  return "unknown";
}

const HandlerStats* EventStats::find(std::string_view name) const noexcept {
  const auto found =
      std::find_if(handlers.begin(), handlers.end(), [&](const HandlerStats& handler) { return handler.name == name; });
  return found == handlers.end() ? nullptr : &*found;
}

Result<void> check(const OverflowRule& rule, std::string_view handler_name) {
  if (const auto* newest = std::get_if<KeepNewest>(&rule); newest != nullptr && newest->events_max == 0) {
    return Error(ErrorCode::configuration,
                 concat("handler \"", handler_name, "\": keep_newest must keep 1 event or more, got 0"));
  }
  return {};
}

std::string to_string(const OverflowRule& rule) {
  struct {
    std::string operator()(const KeepNewest& newest) const { return concat("keep_newest(", newest.events_max, ")"); }
    std::string operator()(const WaitWhenFull& /*wait*/) const { return "wait"; }
  } const text;
  return std::visit(text, rule);
}

}  // namespace dagverk
