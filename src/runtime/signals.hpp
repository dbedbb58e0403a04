#pragma once

#include "dagverk/runtime/detail/process_core.hpp"

namespace dagverk::detail {

/// The messages between processes that are no user's: exit signals, links, monitors. Each is handled by the receiver.

[[nodiscard]] Node* make_exit_signal(Pid from, ExitReason reason, bool by_link);
[[nodiscard]] Node* make_link(Pid from, Pid to, std::uint64_t number);
[[nodiscard]] Node* make_unlink(Pid from, std::uint64_t heard_of);
[[nodiscard]] Node* make_monitor(MonitorRef ref, Pid watched, Pid watcher);
[[nodiscard]] Node* make_demonitor(MonitorRef ref);
[[nodiscard]] Node* make_down(Down down);
[[nodiscard]] Node* make_wait_timeout();
[[nodiscard]] Node* make_idle_check();
/// Asks for an orderly end, as a parent's exit signal asks a server that traps exits.
[[nodiscard]] Node* make_stop_signal(ExitReason reason);
/// Asks to be told, by ending the wait with `token`, when the receiver has ended.
[[nodiscard]] Node* make_exit_watch(Pid watcher, std::uint32_t token);
[[nodiscard]] Node* make_exit_notice(std::uint32_t token, ExitReason reason);
[[nodiscard]] ExitReason take_exit_notice(Node* notice);

/// For a suspended receiver: true when `node` is an exit signal that it traps, which has become a message in its place.
[[nodiscard]] bool stays_as_message(ProcessCore& core, Node* node) noexcept;

/// Asks the process to end: now, or once its current callback has returned.
void request_exit(ProcessCore& core, ExitReason reason, bool now, bool run_terminate);

}  // namespace dagverk::detail
