#include "signals.hpp"

#include "process_extra.hpp"
#include "timer_queue.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/runtime/runtime_base.hpp"

#include <memory>
#include <utility>

namespace dagverk::detail {

namespace {

/// A signal whose payload knows how to act on the receiver and, when nobody is there, what to answer.
template <class Payload, NodeClass Class>
struct SignalNode {
  static bool run(Node* node, ProcessCore& core) {
    // Acting may run users' code, which may throw: nothing of this node is left by then.
    Payload payload = std::move(payload_of<Payload>(node));
    std::destroy_at(&payload_of<Payload>(node));
    core.current_node = nullptr;
    free_node(node);
    payload.act(core);
    return false;
  }
  static void discard(Node* node, const ExitReason& reason) noexcept {
    auto& payload = payload_of<Payload>(node);
    if constexpr (requires { payload.nobody(); }) payload.nobody();
    if constexpr (requires { payload.nobody(reason); }) payload.nobody(reason);
    payload.~Payload();
    free_node(node);
  }
  static bool unseen(const Node* node, const ProcessCore& core) noexcept {
    if constexpr (requires(const Payload& payload) { payload.unseen(core); }) {
      return payload_of<Payload>(node).unseen(core);
    } else {
      return false;
    }
  }
  static constexpr NodeOps ops{&run, &discard, type_name<Payload>(), Class, &unseen};
};

template <class Payload, NodeClass Class = NodeClass::signal>
Node* make(Payload payload) {
  return make_node<Payload>(SignalNode<Payload, Class>::ops, std::move(payload));
}

struct ExitSignal {
  Pid from;
  ExitReason reason;
  bool by_link;

  /// True when the receiver sees it as a message.
  [[nodiscard]] bool trapped_by(const ProcessCore& core) const noexcept {
    const ProcessExtra* extra = core.extra;
    if (extra == nullptr || !extra->traps_exits || (from && extra->parent == from)) return false;
    return !by_link || extra->links.contains(from);
  }

  void act(ProcessCore& core) {
    ProcessExtra* extra = core.extra;
    if (by_link && (extra == nullptr || extra->links.erase(from) == 0)) return;  // unlinked meanwhile
    const bool from_parent = extra != nullptr && extra->parent && extra->parent == from;
    const bool traps = extra != nullptr && extra->traps_exits;
    // Should it outlive its parent (which ended normally), nobody else sees to its end any more.
    if (by_link && from_parent) core.has_parent.store(false, std::memory_order_relaxed);
    if (traps && !from_parent) {
      DAGVERK_ASSERT(!core.suspended());  // else it has become a message
      core.idle_wanted = false;           // it is a message now
      core.idle_armed = false;
      if (core.behaviour != nullptr) core.behaviour->on_exit(core, Exit{from, std::move(reason)});
      return;
    }
    if (reason.kind() == ExitReason::Kind::normal && !traps && from != core.pid()) return;
    // A server that traps exits is told to stop by its parent in order, with terminate; anybody else ends where it
    // stands.
    request_exit(core, std::move(reason), !traps, traps);
  }
};

/// An exit signal that was trapped while its receiver was suspended. It keeps its place among the messages: what the
/// same sender sent later comes later.
struct TrappedExitNode {
  static bool run(Node* node, ProcessCore& core) {
    auto& signal = payload_of<ExitSignal>(node);
    const Exit exit{signal.from, std::move(signal.reason)};
    core.current_node = nullptr;
    SignalNode<ExitSignal, NodeClass::signal>::discard(node, ExitReason::normal);
    if (core.behaviour != nullptr) core.behaviour->on_exit(core, exit);
    return false;
  }
  static constexpr NodeOps ops{&run, &SignalNode<ExitSignal, NodeClass::signal>::discard, type_name<Exit>(),
                               NodeClass::notice};
};

struct KillSignal {
  void act(ProcessCore& core) const { request_exit(core, ExitReason::killed, true, false); }
};

struct LinkSignal {
  Pid self;
  Pid from;
  std::uint64_t number;
  void act(ProcessCore& core) const { extra_of(core).links.emplace(from, LinkNumbers{}).first->second.theirs = number; }
  void nobody() const { static_cast<void>(send(from, make_exit_signal(self, ExitReason::noproc, true))); }
};

struct UnlinkSignal {
  Pid from;
  std::uint64_t heard_of;  // the latest of our links that the sender knew
  void act(ProcessCore& core) const {
    if (core.extra == nullptr) return;
    const auto link = core.extra->links.find(from);
    if (link != core.extra->links.end() && link->second.ours <= heard_of) core.extra->links.erase(from);
  }
};

struct DownMessage {
  Down down;
  [[nodiscard]] bool unseen(const ProcessCore& core) const noexcept {
    return core.extra == nullptr || !core.extra->monitors.has_monitor(down.ref);
  }
  void act(ProcessCore& core) const {
    // A reference that is not in the table was given up by demonitor.
    if (core.extra == nullptr || !core.extra->monitors.take_monitor(down.ref)) return;
    if (core.behaviour != nullptr) core.behaviour->on_down(core, down);
  }
};

struct MonitorSignal {
  Pid self;
  MonitorRef ref;
  Pid watcher;
  void act(ProcessCore& core) const { extra_of(core).monitors.add_watcher(ref, watcher); }
  void nobody() const { static_cast<void>(send(watcher, make_down(Down{ref, self, ExitReason::noproc}))); }
};

struct DemonitorSignal {
  MonitorRef ref;
  void act(ProcessCore& core) const {
    if (core.extra != nullptr) core.extra->monitors.remove_watcher(ref);
  }
};

struct StopSignal {
  ExitReason reason;
  // What is suspended may wait for ever: it ends where it stands. Who traps exits has asked to end in order.
  void act(ProcessCore& core) {
    const bool in_order = core.terminating || (core.extra != nullptr && core.extra->traps_exits);
    request_exit(core, std::move(reason), core.suspended() && !in_order, true);
  }
};

struct ExitWatch {
  Pid watcher;
  std::uint32_t token;
  void act(ProcessCore& core) const { extra_of(core).exit_waiters.push_back({watcher, token}); }
  // `noproc`, or the reason when it ended with the watch still in its mailbox.
  void nobody(const ExitReason& reason) const { static_cast<void>(send(watcher, make_exit_notice(token, reason))); }
};

struct WaitTimeout {
  void act(ProcessCore& core) const;
};

struct IdleCheck {
  void act(ProcessCore& core) const { check_idle(core); }
};

struct ExitNotice {
  std::uint32_t token;
  ExitReason reason;
};

struct ExitNoticeNode {
  static void discard(Node* node, const ExitReason& /*reason*/) noexcept {
    payload_of<ExitNotice>(node).~ExitNotice();
    free_node(node);
  }
  static bool run(Node* node, ProcessCore& core) {
    if (!accept_resume(core, payload_of<ExitNotice>(node).token, node)) discard(node, ExitReason::normal);
    return false;
  }
  static constexpr NodeOps ops{&run, &discard, "exit notice", NodeClass::resume};
};

}  // namespace

Node* make_exit_signal(Pid from, ExitReason reason, bool by_link) {
  // Over a link even `kill` is an ordinary reason: it can be trapped.
  if (!by_link && reason.kind() == ExitReason::Kind::kill) return make<KillSignal, NodeClass::kill>({});
  return make<ExitSignal>({from, std::move(reason), by_link});
}
Node* make_link(Pid from, Pid to, std::uint64_t number) { return make<LinkSignal>({to, from, number}); }
Node* make_unlink(Pid from, std::uint64_t heard_of) { return make<UnlinkSignal>({from, heard_of}); }
Node* make_monitor(MonitorRef ref, Pid watched, Pid watcher) { return make<MonitorSignal>({watched, ref, watcher}); }
Node* make_demonitor(MonitorRef ref) { return make<DemonitorSignal>({ref}); }
Node* make_down(Down down) { return make<DownMessage, NodeClass::notice>({std::move(down)}); }
Node* make_wait_timeout() { return make<WaitTimeout>({}); }
Node* make_idle_check() { return make<IdleCheck>({}); }

Node* make_stop_signal(ExitReason reason) { return make<StopSignal>({std::move(reason)}); }
Node* make_exit_watch(Pid watcher, std::uint32_t token) { return make<ExitWatch>({watcher, token}); }
Node* make_exit_notice(std::uint32_t token, ExitReason reason) {
  return make_node<ExitNotice>(ExitNoticeNode::ops, token, std::move(reason));
}
ExitReason take_exit_notice(Node* notice) {
  ExitReason reason = std::move(payload_of<ExitNotice>(notice).reason);
  ExitNoticeNode::discard(notice, ExitReason::normal);
  return reason;
}

bool stays_as_message(ProcessCore& core, Node* node) noexcept {
  if (node->ops != &SignalNode<ExitSignal, NodeClass::signal>::ops) return false;
  if (node->generation != core.generation.load(std::memory_order_relaxed)) return false;
  const auto& signal = payload_of<ExitSignal>(node);
  if (!signal.trapped_by(core)) return false;
  if (signal.by_link) core.extra->links.erase(signal.from);
  node->ops = &TrappedExitNode::ops;
  return true;
}

void request_exit(ProcessCore& core, ExitReason reason, bool now, bool run_terminate) {
  ProcessExtra& extra = extra_of(core);
  const bool killed = reason.kind() == ExitReason::Kind::killed;
  if (!core.stop_requested || killed) {  // the first reason counts, unless it is cut short by a kill
    extra.stop_reason = std::move(reason);
    extra.run_terminate = run_terminate;
  }
  core.stop_requested = true;
  if (now) core.exit_now = true;
}

namespace {

void WaitTimeout::act(ProcessCore& core) const {
  if (TimerQueue::armed({core.wait_timer, core.wait_timer_sequence})) return;  // an earlier one, replaced meanwhile
  core.wait_timer = nullptr;
  if (core.wait_status != WaitStatus::waiting || core.wait_deadline == SteadyTime::max()) return;
  RuntimeBase& runtime = *core.runtime;
  if (runtime.clock().steady_now() < core.wait_deadline) {
    const TimerSlot slot = runtime.arm_timer(core.wait_deadline, core.pid(), make_wait_timeout());
    core.wait_timer = slot.entry;
    core.wait_timer_sequence = slot.sequence;
    return;
  }
  static_cast<void>(accept_resume(core, core.wait_token, nullptr));
}

}  // namespace
}  // namespace dagverk::detail
