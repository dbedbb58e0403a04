#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/runtime/exit_reason.hpp"
#include "dagverk/runtime/pid.hpp"

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace dagverk {

/// Something that happened to a process that is being traced.
struct TraceEvent {
  enum class Kind : std::uint8_t {
    received,   ///< the process took a message, a signal or an answer out of its mailbox
    handled,    ///< its callback has returned; after waits, too
    suspended,  ///< its callback waits in a `co_await`
    resumed,    ///< an answer, a completion or a time limit ended such a wait
    signal,     ///< it acted on an exit signal, a link or a monitor
    exited,     ///< it has ended, and nothing more comes; `noproc` when it had ended before the trace began
  };

  Kind kind;
  Pid pid;
  SteadyTime at;             ///< the runtime's clock
  std::string_view message;  ///< the type of what was received or handled; valid for the program's life
  std::uint64_t depth = 0;   ///< what waits in the mailbox; received: before this one
  Duration duration{0};      ///< handled: since the callback began, its waits included. Zero on virtual time
  bool failed = false;       ///< handled: an exception left the callback
  ExitReason reason = {};    ///< exited
};

[[nodiscard]] std::string_view to_string(TraceEvent::Kind kind) noexcept;
/// One line for a person: `#7 handled shop::Add 1.2 ms depth 3`.
[[nodiscard]] std::string to_text(const TraceEvent& event);

/// What looks at trace events.
///
/// Threads: called on whichever thread runs the traced process, between its messages, one call at a time. It should be
///          quick: the process waits for it. It may send to other processes; it must not use `this_process` nor block.
/// Errors:  an exception ends the trace (log event `trace.failed`) and does nothing else.
using TraceSink = std::move_only_function<void(const TraceEvent& event)>;

}  // namespace dagverk
