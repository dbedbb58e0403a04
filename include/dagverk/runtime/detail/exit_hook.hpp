#pragma once

#include "dagverk/runtime/exit_reason.hpp"
#include "dagverk/runtime/pid.hpp"

#include <cstddef>
#include <memory>

namespace dagverk::detail {

/// Something that is to happen when a process ends, however it ends: tables forget it, whoever waits for it is told.
///
/// Semantics: `before_end` runs after the process' state is destroyed and before anybody can learn of its end;
///            `after_end` runs once its links and monitors have been told. Hooks run last added first.
/// Threads:   the process' own.
/// Lifetime:  owned by the process; destroyed with it.
class ExitHook {
 public:
  ExitHook() = default;
  ExitHook(const ExitHook&) = delete;
  ExitHook& operator=(const ExitHook&) = delete;
  virtual ~ExitHook() = default;

  virtual void before_end(Pid /*pid*/) noexcept {}
  virtual void after_end(Pid /*pid*/, const ExitReason& /*reason*/) noexcept {}
};

/// Adds a hook to the running process.
void add_exit_hook(std::unique_ptr<ExitHook> hook);
/// Takes back and destroys a hook of the running process.
void remove_exit_hook(const ExitHook* hook) noexcept;
/// How many hooks the running process has.
[[nodiscard]] std::size_t exit_hook_count() noexcept;

}  // namespace dagverk::detail
