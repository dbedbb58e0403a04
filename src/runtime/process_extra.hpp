#pragma once

#include "dagverk/runtime/detail/call.hpp"
#include "dagverk/runtime/detail/exit_hook.hpp"
#include "dagverk/runtime/detail/process_core.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace dagverk::detail {

/// By number, not by address: the order of a hash table is part of what a deterministic runtime replays.
struct PidHash {
  std::size_t operator()(const Pid& pid) const noexcept { return static_cast<std::size_t>(pid.number()); }
};

/// A process that is suspended until we end.
struct ExitWaiter {
  Pid pid;
  std::uint32_t token;
};

/// How long a process waits for a message before its `handle_timeout` runs.
struct IdleLimit {
  Duration after{};
  SteadyTime deadline{};
  TimerSlot timer;  // armed at or before the deadline; left armed when a message comes
};

/// A message to oneself at exact multiples of a period.
struct Interval {
  TimerSlot timer;
  std::uint64_t skipped = 0;
};

struct OwnTimers {
  IdleLimit idle;
  std::unordered_map<std::uint64_t, Interval> intervals;
};

/// What most processes never need: allocated when the first link, monitor, name or exit option appears. The owner's
/// alone.
struct ProcessExtra {
  std::unordered_set<Pid, PidHash> links;
  std::unordered_map<std::uint64_t, Pid> watchers;  // who monitors us, by reference
  std::unordered_map<std::uint64_t, Pid> monitors;  // whom we monitor, by reference
  std::vector<ExitWaiter> exit_waiters;
  std::vector<std::string> names;
  std::vector<std::unique_ptr<ExitHook>> exit_hooks;
  std::vector<Node*> stop_calls;        // answered when the process has ended
  std::vector<LastReply> last_replies;  // sent when terminate has run
  std::unique_ptr<OwnTimers> timers;
  ExitReason stop_reason;
  Pid parent;
  bool traps_exits = false;
  bool run_terminate = true;  // for the exit that was requested
};

/// The process ends: its idle time limit and its intervals with it.
void cancel_own_timers(ProcessCore& core) noexcept;

[[nodiscard]] inline ProcessExtra& extra_of(ProcessCore& core) {
  if (core.extra == nullptr) core.extra = new ProcessExtra;
  return *core.extra;
}

}  // namespace dagverk::detail
