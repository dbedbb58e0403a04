// How a process ends: its state, its names, and everybody who is to hear of it.

#include "bounded_inbox.hpp"
#include "outside_gate.hpp"
#include "process_life.hpp"
#include "process_table.hpp"
#include "signals.hpp"
#include "tracer.hpp"

#include "dagverk/runtime/detail/call.hpp"
#include "dagverk/runtime/this_process.hpp"

#include <utility>

namespace dagverk {

namespace detail {

namespace {

/// Tells, while a process' state is destroyed, why: for calls that nobody will answer any more.
class EndingReason {
 public:
  explicit EndingReason(const ExitReason& reason) noexcept : outer_(std::exchange(ending_reason, &reason)) {}
  EndingReason(const EndingReason&) = delete;
  EndingReason& operator=(const EndingReason&) = delete;
  ~EndingReason() { ending_reason = outer_; }

 private:
  const ExitReason* outer_;
};

/// Answers that waited for terminate. Who was killed has not answered.
void send_last_replies(const ProcessExtra& extra, const ExitReason& reason) noexcept {
  for (const LastReply& last : extra.last_replies) {
    if (reason.kind() == ExitReason::Kind::killed) {
      last.node->ops->discard(last.node, reason);
      continue;
    }
    last.node->ops = last.reply_ops;
    send_reply(last.node, *last.header);
  }
}

}  // namespace

void ProcessLife::discard_list(Node* node, const ExitReason& reason, std::uint32_t generation) noexcept {
  while (node != nullptr) {
    Node* next = node->next;
    node->ops->discard(node, node->generation == generation ? reason : ExitReason::noproc);
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
  if (core.wait_status != WaitStatus::waiting && core.wait_result != nullptr) {
    Node* result = std::exchange(core.wait_result, nullptr);
    result->ops->discard(result, reason);
  }
  cancel_wait(core);
  {
    const EndingReason ending(reason);
    if (activity.root) destroy_frame_quietly(activity.root);
  }
  if (core.wait_timer != nullptr) {
    runtime.cancel_timer({std::exchange(core.wait_timer, nullptr), core.wait_timer_sequence});
  }

  cancel_own_timers(core);

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
  {
    const EndingReason ending(reason);
    delete behaviour;
  }

  const std::vector<std::unique_ptr<ExitHook>> ended_hooks = run_exit_hooks(core);
  cancel_own_timers(core);  // terminate may have started some
  extra = core.extra;       // terminate and the hooks may have added things
  if (extra != nullptr) core.extra = nullptr;
  if (extra != nullptr) {
    for (const std::string& name : extra->names) runtime.release_name(name, pid);
  }
  const ProcessType* const type = core.type.load(std::memory_order_relaxed);
  const NodeOps* const last_handled = core.current_ops.load(std::memory_order_relaxed);
  BoundedInbox* const inbox = core.inbox.exchange(nullptr, std::memory_order_relaxed);
  core.dropped_count.store(0, std::memory_order_relaxed);
  core.has_parent.store(false, std::memory_order_relaxed);
  core.type.store(nullptr, std::memory_order_relaxed);
  core.host.store(nullptr, std::memory_order_relaxed);  // the slot's next process may be no blocking one
  core.starting = false;
  core.terminating = false;
  core.stop_requested = false;
  core.exit_now = false;
  core.traced = false;
  if (core.handled_count.load(std::memory_order_relaxed) != 0) {  // it has had more than one turn
    core.handled_count.store(0, std::memory_order_relaxed);
  }
  if (core.high_water.load(std::memory_order_relaxed) != 0) core.high_water.store(0, std::memory_order_relaxed);
  if (core.charged) busy_cycles_of(core).store(0, std::memory_order_relaxed);
  core.charged = false;
  // From here on the process is gone: what comes late is for nobody.
  core.generation.store(pid.generation() + 1, std::memory_order_release);

  if (!reason.normal_ish() && started && reason.kind() != ExitReason::Kind::killed) {
    runtime.logger().warning("process.exited",
                             {{"pid", pid.number()},
                              {"kind", type != nullptr ? type->name : std::string_view("process")},
                              {"handled", last_handled != nullptr ? last_handled->name : std::string_view("nothing")},
                              {"reason", reason.to_string()}});
  }
  runtime.on_process_exit(pid, reason);
  if (extra != nullptr) {
    send_last_replies(*extra, reason);
    for (const auto& [link, numbers] : extra->links) {
      // A failed start concerns the starter, who is told by its answer, and whatever the init has started.
      if (!started && link == extra->parent) continue;
      static_cast<void>(send(link, make_exit_signal(pid, reason, true)));
    }
    extra->monitors.for_each_watcher(
        [&](MonitorRef ref, Pid watcher) { static_cast<void>(send(watcher, make_down(Down{ref, pid, reason}))); });
    for (const ExitWaiter& waiter : extra->exit_waiters) {
      static_cast<void>(send(waiter.pid, make_exit_notice(waiter.token, reason)));
    }
    extra->monitors.for_each_monitor(
        [](MonitorRef ref, Pid watched) { static_cast<void>(send(watched, make_demonitor(ref))); });
    answer_stop_calls(*extra, reason);
    if (extra->tracer) extra->tracer->exited(runtime, pid, reason);
    runtime.processes_->extra_readers().retire(extra);
  }
  for (const std::unique_ptr<ExitHook>& hook : ended_hooks) hook->after_end(pid, reason);

  take_discarded(core, reason, pid.generation());
  if (inbox != nullptr) discard_list(inbox->close(), reason, pid.generation());
  do {
    take_discarded(core, reason, pid.generation());
  } while (!core.mailbox.become_idle());
  if (inbox != nullptr) runtime.inboxes().give(*inbox);  // its bell has left the mailbox
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

void ProcessLife::take_discarded(ProcessCore& core, const ExitReason& reason, std::uint32_t generation) noexcept {
  core.pending_has_urgent = false;
  core.pending_last = nullptr;
  core.pending_seen = nullptr;
  set_pending_count(core, 0);
  discard_list(std::exchange(core.pending_first, nullptr), reason, generation);
  Node* newest = core.mailbox.grab();
  Node* first = nullptr;
  while (newest != nullptr) {  // oldest first, so that callers are told in order
    Node* older = newest->next;
    newest->next = first;
    first = newest;
    newest = older;
  }
  discard_list(first, reason, generation);
}

namespace {

/// `stop`: answered when the process has ended.
struct StopNode {
  using Call = CallNode<StopMessage, void>;
  using Payload = Call::Payload;

  static bool run(Node* node, ProcessCore& core) {
    request_exit(core, payload_of<Payload>(node).request.reason, false, true);
    extra_of(core).stop_calls.push_back(node);
    return false;
  }
  // No mailbox bound refuses it.
  static constexpr NodeOps ops{&run, &Call::discard_request, "stop", NodeClass::notice};
};

}  // namespace

Node* make_stop_call(ExitReason reason) {
  return make_node<StopNode::Payload>(StopNode::ops, std::in_place, std::move(reason));
}

void answer_stop_calls(ProcessExtra& extra, const ExitReason& reason) noexcept {
  for (Node* node : extra.stop_calls) {
    const bool as_asked = payload_of<StopNode::Payload>(node).request.reason == reason;
    StopNode::Call::reply(node, as_asked ? Result<void>() : Result<void>(call_failed(reason, "stop")));
  }
}

}  // namespace detail

Result<void> RuntimeBase::stop(Pid pid, ExitReason reason, Duration timeout) {
  if (!pid) return Error(ErrorCode::no_process, "the pid is empty");
  return detail::block_on_call<detail::StopMessage, void>(pid, detail::make_stop_call(std::move(reason)), timeout);
}

void RuntimeBase::drop_all_processes() noexcept {
  // What is destroyed may start processes; those of the first round are all there are in a program without such jokes.
  constexpr int rounds_max = 100;
  bool dropped = true;
  for (int round = 0; dropped && round < rounds_max; ++round) {
    dropped = false;
    processes_->for_each([&](detail::ProcessCore& core) {
      if (core.generation.load(std::memory_order_acquire) % 2 == 0) {
        detail::ProcessLife::take_discarded(core, ExitReason::noproc, 0);
        return;
      }
      dropped = true;
      detail::ProcessCore* const before = std::exchange(detail::current_process, &core);
      const ExitReason reason = ExitReason::killed;
      detail::ProcessLife::finish(*this, core, &reason, false);
      detail::current_process = before;
      processes_->give(core);
    });
  }
  outside_->close();
}

}  // namespace dagverk
