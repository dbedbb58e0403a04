// How a server's process is prepared and how its start ends.

#include "dagverk/runtime/detail/server_start.hpp"

#include "bounded_inbox.hpp"
#include "process_extra.hpp"
#include "signals.hpp"

#include "dagverk/runtime/runtime_base.hpp"
#include "dagverk/runtime/this_process.hpp"

#include <utility>

namespace dagverk::detail {

bool prepare_server(ProcessCore& core, const ProcessType& type, const StartOptions& options, Error& error) {
  core.type.store(&type, std::memory_order_relaxed);
  core.starting = true;
  if (!options.name.empty()) {
    if (Result<void> named = core.runtime->register_name(options.name, core.pid(), type); !named) {
      error = named.error();
      return false;
    }
    ProcessExtra& extra = extra_of(core);
    extra.names.push_back(options.name);
    extra.facts.set_name(options.name);
  }
  if (options.mailbox_bound != 0 || options.mailbox_alarm != 0) {
    BoundedInbox& inbox = core.runtime->inboxes().take();
    inbox.open(core.pid(), options, type.name);
    core.inbox.store(&inbox, std::memory_order_release);
  }
  if (options.parent) {
    ProcessExtra& extra = extra_of(core);
    extra.parent = options.parent;
    extra.facts.set_parent(options.parent, options.child_id, options.restarts);
    extra.links.emplace(options.parent, LinkNumbers{});
    core.has_parent.store(true, std::memory_order_relaxed);
  }
  return true;
}

void abort_start(ProcessCore& core, ExitReason reason) { request_exit(core, std::move(reason), true, false); }

void finish_start(ProcessCore& core) noexcept { core.starting = false; }

const ExitReason& requested_stop(const ProcessCore& core) noexcept {
  return core.extra != nullptr ? core.extra->stop_reason : ExitReason::normal;
}

void end_spawned(ProcessCore& core) noexcept {
  // The commonest end of all: no reason to keep, nothing to look up.
  core.stop_requested = true;
  core.exit_now = true;
}

void add_link(Pid child) { extra_of(*current_process).links.emplace(child, LinkNumbers{}); }
void link_new(Pid child) {
  add_link(child);
  extra_of(*child.core())
      .links.emplace(current_process->pid(), LinkNumbers{});  // the slot is ours alone until its first message
}

MonitorRef monitor_new(Pid child) {
  const MonitorRef ref{current_process->runtime->next_ref()};
  extra_of(*current_process).monitors.add_monitor(ref, child);
  extra_of(*child.core()).monitors.add_watcher(ref, current_process->pid());
  return ref;
}

void monitor_as(MonitorRef ref, Pid other) {
  extra_of(*current_process).monitors.add_monitor(ref, other);
  static_cast<void>(send(other, make_monitor(ref, other, current_process->pid())));
}

void drop_monitor(MonitorRef ref) noexcept {
  if (current_process->extra != nullptr) current_process->extra->monitors.take_monitor(ref);
}

void drop_link(Pid child) noexcept {
  if (current_process->extra != nullptr) current_process->extra->links.erase(child);
}

}  // namespace dagverk::detail
