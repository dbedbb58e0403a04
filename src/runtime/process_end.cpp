// How a process ends: its state, its names, and everybody who is to hear of it.

#include "process_life.hpp"
#include "process_table.hpp"
#include "signals.hpp"

#include "dagverk/runtime/detail/call.hpp"

#include <utility>

namespace dagverk {

namespace detail {

void ProcessLife::discard_list(Node* node, const ExitReason& reason) noexcept {
  while (node != nullptr) {
    Node* next = node->next;
    node->ops->discard(node, reason);
    node = next;
  }
}

void ProcessLife::finish(RuntimeBase& runtime, ProcessCore& core, const ExitReason* failure,
                         bool may_terminate) noexcept {
  stay_if_abandoned();
  ProcessExtra* extra = core.extra;
  ExitReason reason = failure != nullptr
                          ? *failure
                          : (extra != nullptr && core.stop_requested ? extra->stop_reason : ExitReason::normal);
  const bool run_terminate = may_terminate && (failure != nullptr || extra == nullptr || extra->run_terminate);
  const bool started = !core.starting;
  const Pid pid = core.pid();

  // The callback that was suspended, from the inside out: its frames, then its message (whose sender is told).
  const Activity activity = std::exchange(core.activity, Activity{});
  if (activity.root) activity.root.destroy();
  if (core.wait_result != nullptr) {
    Node* result = std::exchange(core.wait_result, nullptr);
    result->ops->discard(result, reason);
  }
  cancel_wait(core);
  if (core.wait_timer != nullptr) {
    runtime.cancel_timer({std::exchange(core.wait_timer, nullptr), core.wait_timer_sequence});
  }

  Behaviour* behaviour = core.behaviour;
  if (behaviour != nullptr && run_terminate && started && !core.terminating) {
    try {
      behaviour->on_terminate(reason);
    } catch (...) {
      reason = reason_of_current_exception();
    }
  }
  if (core.leave_wanted) {
    core.leave_wanted = false;
    if (behaviour != nullptr && may_terminate) {
      try {
        behaviour->on_leave(core);
      } catch (...) {
        reason = reason_of_current_exception();
      }
    }
  }
  if (activity.node != nullptr) activity.node->ops->discard(activity.node, reason);
  core.behaviour = nullptr;
  delete behaviour;

  const std::vector<std::unique_ptr<ExitHook>> ended_hooks = run_exit_hooks(core);
  extra = core.extra;  // terminate and the hooks may have added things
  core.extra = nullptr;
  if (extra != nullptr) {
    for (const std::string& name : extra->names) runtime.release_name(name, pid);
  }
  core.mailbox_bound.store(0, std::memory_order_relaxed);
  core.dropped_count.store(0, std::memory_order_relaxed);
  core.has_parent.store(false, std::memory_order_relaxed);
  core.type.store(nullptr, std::memory_order_relaxed);
  core.host.store(nullptr, std::memory_order_relaxed);  // the slot's next process may be no blocking one
  core.starting = false;
  core.terminating = false;
  core.stop_requested = false;
  core.exit_now = false;
  // From here on the process is gone: what comes late is for nobody.
  core.generation.store(pid.generation() + 1, std::memory_order_release);

  if (!reason.normal_ish() && started && reason.kind() != ExitReason::Kind::killed) {
    runtime.logger().warning("process.exited", {{"pid", pid.number()}, {"reason", reason.to_string()}});
  }
  runtime.on_process_exit(pid, reason);
  if (extra != nullptr) {
    for (const Pid& link : extra->links) {
      // A failed start concerns the starter, who is told by its answer, and whatever the init has started.
      if (!started && link == extra->parent) continue;
      static_cast<void>(send(link, make_exit_signal(pid, reason, true)));
    }
    for (const auto& [ref, watcher] : extra->watchers) {
      static_cast<void>(send(watcher, make_down(Down{MonitorRef{ref}, pid, reason})));
    }
    for (const ExitWaiter& waiter : extra->exit_waiters) {
      static_cast<void>(send(waiter.pid, make_exit_notice(waiter.token, reason)));
    }
    for (const auto& [ref, watched] : extra->monitors)
      static_cast<void>(send(watched, make_demonitor(MonitorRef{ref})));
    answer_stop_calls(*extra, reason);
    delete extra;
  }
  for (const std::unique_ptr<ExitHook>& hook : ended_hooks) hook->after_end(pid, reason);

  core.pending_has_urgent = false;
  core.pending_last = nullptr;
  set_pending_count(core, 0);
  discard_list(std::exchange(core.pending_first, nullptr), reason);
  do {
    take_discarded(core, reason);
  } while (!core.mailbox.become_idle());
}

std::vector<std::unique_ptr<ExitHook>> ProcessLife::run_exit_hooks(ProcessCore& core) {
  std::vector<std::unique_ptr<ExitHook>> ended;
  while (core.extra != nullptr && !core.extra->exit_hooks.empty()) {
    ended.push_back(std::move(core.extra->exit_hooks.back()));
    core.extra->exit_hooks.pop_back();
    ended.back()->before_end(core.pid());
  }
  return ended;
}

void ProcessLife::take_discarded(ProcessCore& core, const ExitReason& reason) noexcept {
  Node* newest = core.mailbox.grab();
  Node* first = nullptr;
  while (newest != nullptr) {  // oldest first, so that callers are told in order
    Node* older = newest->next;
    newest->next = first;
    first = newest;
    newest = older;
  }
  discard_list(first, reason);
}

namespace {

/// `stop` from outside: answered when the process has ended.
struct StopMessage {
  using Reply = void;
  ExitReason reason;
};

struct StopNode {
  using Call = CallNode<StopMessage, void>;
  using Payload = Call::Payload;

  static bool run(Node* node, ProcessCore& core) {
    request_exit(core, payload_of<Payload>(node).request.reason, false, true);
    extra_of(core).stop_calls.push_back(node);
    return false;
  }
  static constexpr NodeOps ops{&run, &Call::discard_request, "stop", NodeClass::message};
};

}  // namespace

void answer_stop_calls(ProcessExtra& extra, const ExitReason& reason) noexcept {
  for (Node* node : extra.stop_calls) {
    const bool as_asked = payload_of<StopNode::Payload>(node).request.reason == reason;
    StopNode::Call::reply(node, as_asked ? Result<void>() : Result<void>(call_failed(reason, "stop")));
  }
}

}  // namespace detail

Result<void> RuntimeBase::stop(Pid pid, ExitReason reason, Duration timeout) {
  if (!pid) return Error(ErrorCode::no_process, "the pid is empty");
  detail::Node* request =
      detail::make_node<detail::StopNode::Payload>(detail::StopNode::ops, std::in_place, std::move(reason));
  return detail::block_on_call<detail::StopMessage, void>(pid, request, timeout);
}

void RuntimeBase::drop_all_processes() noexcept {
  processes_->for_each([&](detail::ProcessCore& core) {
    if (core.generation.load(std::memory_order_acquire) % 2 == 0) {
      detail::ProcessLife::take_discarded(core, ExitReason::noproc);
      return;
    }
    detail::current_process = &core;
    const ExitReason reason = ExitReason::killed;
    detail::ProcessLife::finish(*this, core, &reason, false);
    detail::current_process = nullptr;
    processes_->give(core);
  });
}

}  // namespace dagverk
