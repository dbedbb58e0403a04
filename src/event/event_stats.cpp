#include "dagverk/event/event_stats.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/event/detail/rule_line.hpp"
#include "dagverk/event/event_outcome.hpp"
#include "dagverk/event/overflow_rule.hpp"
#include "dagverk/runtime/this_process.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>

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
  const auto refuse = [handler_name](std::string_view what) -> Result<void> {
    return Error(ErrorCode::configuration, concat("handler \"", handler_name, "\": ", what, " or more, got 0"));
  };
  if (const auto* sample = std::get_if<Sample>(&rule); sample != nullptr && sample->every == 0) {
    return refuse("sample must choose one of 1");
  }
  if (detail::bound_of(rule).events_max != 0) return {};
  struct {
    std::string_view operator()(const KeepNewest& /*rule*/) const { return "keep_newest must keep 1 event"; }
    std::string_view operator()(const KeepOldest& /*rule*/) const { return "keep_oldest must keep 1 event"; }
    std::string_view operator()(const Sample& /*rule*/) const { return "sample must keep 1 event"; }
    std::string_view operator()(const WaitWhenFull& /*rule*/) const { return "wait must keep 1 event"; }
  } const text;
  return refuse(std::visit(text, rule));
}

std::string to_string(const OverflowRule& rule) {
  struct {
    std::string operator()(const KeepNewest& newest) const { return concat("keep_newest(", newest.events_max, ")"); }
    std::string operator()(const WaitWhenFull& /*wait*/) const { return "wait"; }
    std::string operator()(const KeepOldest& oldest) const { return concat("keep_oldest(", oldest.events_max, ")"); }
    std::string operator()(const Sample& sample) const { return concat("sample(1/", sample.every, ")"); }
  } const text;
  return std::visit(text, rule);
}

namespace detail {

void report_rule_failed(const std::string& handler, const ExitReason& reason, std::uint64_t lost) {
  this_process::runtime().logger().error("handler.rule_failed",
                                         {{"handler", handler}, {"reason", reason.to_string()}, {"lost", lost}});
}

RuleBound bound_of(const OverflowRule& rule) noexcept {
  if (const auto* newest = std::get_if<KeepNewest>(&rule)) return {newest->events_max, false};
  if (const auto* oldest = std::get_if<KeepOldest>(&rule)) return {oldest->events_max, true};
  if (const auto* sample = std::get_if<Sample>(&rule)) return {sample->events_max, false};
  return {std::numeric_limits<std::size_t>::max(), false};
}

}  // namespace detail
}  // namespace dagverk
