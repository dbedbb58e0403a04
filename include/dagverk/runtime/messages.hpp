#pragma once

#include "dagverk/runtime/exit_reason.hpp"
#include "dagverk/runtime/pid.hpp"

#include <cstdint>

namespace dagverk {

/// Names one monitor. A process may monitor another several times; each has a reference of its own.
struct MonitorRef {
  std::uint64_t id = 0;
  friend bool operator==(const MonitorRef&, const MonitorRef&) noexcept = default;
};

/// A monitored process ended (or was not there: `noproc`). Comes once per monitor, to `handle_info(Down)`.
struct Down {
  MonitorRef ref;
  Pid pid;
  ExitReason reason;
};

/// An exit signal reached a process that traps exits. Comes to `handle_info(Exit)`.
struct Exit {
  Pid from;
  ExitReason reason;
};

}  // namespace dagverk
