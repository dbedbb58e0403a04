#pragma once

#include "dagverk/runtime/child_spec.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace dagverk::detail {

/// One child that is to be stopped.
struct ChildToStop {
  Pid pid;
  std::string id;
  Shutdown shutdown;
  Restart restart;
};

/// How a child of this spec is stopped when the spec does not say.
[[nodiscard]] Shutdown shutdown_of(const ChildSpec& spec) noexcept;

/// True when a child that ended by itself with `reason` is to be restarted.
[[nodiscard]] bool restarts_after(Restart restart, const ExitReason& reason) noexcept;

/// Makes the running supervisor hold the name its options give it, unless it does already.
[[nodiscard]] Result<void> hold_name(const std::string& name);

/// Starts a child of the running process, for the first time or after `restarts` ends. An exception out of the start
/// function is the error `exited`. `spec` must stay.
[[nodiscard]] Async<Result<Pid>> start_child_of(const ChildSpec& spec, std::uint64_t restarts);

/// Signals all of `children` in order, then waits for all: each until its own limit, then it is killed; one that does
/// not even end within `kill_timeout` after that is reported as stuck and left behind.
[[nodiscard]] Async<void> stop_children(std::vector<ChildToStop> children, Duration kill_timeout);

}  // namespace dagverk::detail
