// A process' turn: its messages one by one, until there are none or its turn is over.

#include "process_life.hpp"

#include "bounded_inbox.hpp"
#include "busy_meter.hpp"
#include "process_table.hpp"
#include "signals.hpp"
#include "tracer.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/demangle.hpp"
#include "dagverk/runtime/detail/prefetch.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cxxabi.h>
#include <exception>
#include <typeinfo>
#include <utility>

namespace dagverk {

namespace detail {

namespace {

bool is_urgent(const Node* node) noexcept { return node->ops->node_class > NodeClass::notice; }

}  // namespace

ExitReason reason_of_current_exception() noexcept {
  try {
    throw;
  } catch (const std::exception& error) {
    const char* const text = error.what();
    return ExitReason::error(demangle(typeid(error).name()), text != nullptr ? text : "");
  } catch (...) {
    const std::type_info* type = abi::__cxa_current_exception_type();
    return ExitReason::error(type != nullptr ? demangle(type->name()) : "unknown", {});
  }
}

void ProcessLife::note_depth(ProcessCore& core, std::uint32_t depth) noexcept {
  const std::uint16_t before = core.high_water.load(std::memory_order_relaxed);
  if (depth > 1 && depth > before && before != UINT16_MAX) [[unlikely]] {
    core.high_water.store(static_cast<std::uint16_t>(std::min<std::uint32_t>(depth, UINT16_MAX)),
                          std::memory_order_relaxed);
  }
}

void ProcessLife::append_new(ProcessCore& core, Node* node) noexcept {
  node->next = nullptr;
  append(core, node, node);
  const std::uint32_t depth = pending_count(core) + 1;
  set_pending_count(core, depth);
  note_depth(core, depth);
  if (is_urgent(node)) core.pending_has_urgent = true;
}

bool ProcessLife::take_new(ProcessCore& core) noexcept {
  if (BoundedInbox* inbox = core.inbox.load(std::memory_order_relaxed); inbox != nullptr) [[unlikely]] {
    Node* arrived = nullptr;
    Node* node = inbox->take(core, arrived);
    const bool any = arrived != nullptr && take_list(core, arrived);
    if (node == nullptr) return any;
    static_cast<void>(take_list(core, node));
    note_depth(core, pending_count(core) + inbox->count());
    return true;
  }
  Node* newest = core.mailbox.grab();
  return newest != nullptr && take_list(core, newest);
}

bool ProcessLife::take_list(ProcessCore& core, Node* newest) noexcept {
  Node* const last = newest;
  Node* first = nullptr;
  std::uint32_t count = 0;
  bool urgent = false;
  while (newest != nullptr) {
    Node* older = newest->next;
    newest->next = first;
    first = newest;
    newest = older;
    ++count;
    const NodeClass node_class = first->ops->node_class;
    if (node_class > NodeClass::notice) {
      urgent = true;
      // A kill does not queue up behind what it is to end.
      if (node_class == NodeClass::kill && first->generation == core.generation.load(std::memory_order_relaxed)) {
        request_exit(core, ExitReason::killed, true, false);
      }
    }
  }
  core.pending_has_urgent = core.pending_has_urgent || urgent;
  append(core, first, last);
  const std::uint32_t depth = pending_count(core) + count;
  set_pending_count(core, depth);
  note_depth(core, depth);
  if (core.traced) [[unlikely]] {
    for (const Node* node = first; node != nullptr; node = node->next) {
      core.extra->tracer->received(core, *node, depth - count--);
    }
  }
  return true;
}

Node* ProcessLife::pop(ProcessCore& core) noexcept {
  Node* node = core.pending_first;
  core.pending_first = node->next;
  if (core.pending_first == nullptr) core.pending_last = nullptr;
  if (core.pending_seen == node) core.pending_seen = nullptr;
  set_pending_count(core, pending_count(core) - 1);
  return node;
}

Node* ProcessLife::pop_urgent(ProcessCore& core) noexcept {
  Node* before = core.pending_seen;
  for (Node* node = before != nullptr ? before->next : core.pending_first; node != nullptr;
       before = node, node = node->next) {
    if (!is_urgent(node) || stays_as_message(core, node)) continue;
    if (before == nullptr) {
      core.pending_first = node->next;
    } else {
      before->next = node->next;
    }
    if (core.pending_last == node) core.pending_last = before;
    core.pending_seen = before;
    set_pending_count(core, pending_count(core) - 1);
    return node;
  }
  core.pending_has_urgent = false;
  core.pending_seen = before;
  return nullptr;
}

void ProcessLife::handle(ProcessCore& core, Node* node, std::uint32_t generation, FreedNodes& freed) {
  if (node->generation != generation) [[unlikely]] {
    node->ops->discard(node, ExitReason::noproc);  // meant for an earlier process of this slot
    return;
  }
  core.current_node = node;
  core.current_ops.store(node->ops, std::memory_order_relaxed);
  if (core.traced) [[unlikely]] {
    if (core.extra->tracer->run(node, core)) freed.add(node);
  } else {
    if (node->ops->run(node, core)) freed.add(node);
  }
  core.current_node = nullptr;
}

void ProcessLife::charge(const RuntimeBase& runtime, ProcessCore& core, const RuntimeBase::RunLimits& limits) noexcept {
  const std::uint64_t now_ms = runtime.coarse_ms_.load(std::memory_order_relaxed);
  if (limits.busy != nullptr && limits.busy->due(now_ms)) [[unlikely]]
    limits.busy->charge(core);
}

void ProcessLife::settle_turn(const RuntimeBase& runtime, ProcessCore& core, const RuntimeBase::RunLimits& limits,
                              std::uint32_t handled) noexcept {
  core.handled_count.store(core.handled_count.load(std::memory_order_relaxed) + handled, std::memory_order_relaxed);
  const std::uint64_t now_ms = runtime.coarse_ms_.load(std::memory_order_relaxed);
  if (const auto now_cs = static_cast<std::uint32_t>(now_ms / 10);
      core.active_cs.load(std::memory_order_relaxed) != now_cs) [[unlikely]] {
    core.active_cs.store(now_cs, std::memory_order_relaxed);
  }
  if (limits.busy != nullptr && limits.busy->due(now_ms)) [[unlikely]]
    limits.busy->charge(core);
}

bool ProcessLife::before_leaving(ProcessCore& core) {
  if (!core.leave_wanted) [[likely]]
    return false;
  core.leave_wanted = false;
  if (core.behaviour != nullptr) core.behaviour->on_leave(core);
  return true;
}

ProcessLife::Outcome ProcessLife::run(RuntimeBase& runtime, ProcessCore& core, const RuntimeBase::RunLimits& limits,
                                      std::uint32_t& handled, FreedNodes& freed) {
  const std::uint32_t generation = core.generation.load(std::memory_order_relaxed);  // until it ends, and with it we
  std::uint32_t taken = 0;  // in this turn; `handled` counts what is not written down yet
  // What has come behind a message that went straight to the pending ones: a kill among it is not to wait for that.
  if (core.mailbox.has_new()) static_cast<void>(take_new(core));
  for (;;) {
    if (core.stop_requested && (core.exit_now || !core.suspended())) {
      if (!core.exit_now && begin_terminate(core)) continue;
      finish(runtime, core, nullptr);
      return Outcome::exited;
    }
    if (core.idle_wanted || core.idle_armed) [[unlikely]]
      see_next(core);
    Node* node = nullptr;
    if (core.suspended()) {
      node = core.pending_has_urgent ? pop_urgent(core) : nullptr;
    } else if (core.pending_first != nullptr) {
      node = pop(core);
      if (core.pending_first == nullptr) core.pending_has_urgent = false;
    }
    if (node == nullptr) {
      if (take_new(core)) {
        if (taken == 0) continue;
        charge(runtime, core, limits);
        if (limits.should_yield != nullptr && limits.should_yield(limits.self, pending_count(core))) {
          static_cast<void>(before_leaving(core));
          settle_turn(runtime, core, limits, std::exchange(handled, 0));
          return Outcome::more;
        }
        continue;
      }
      if (before_leaving(core)) continue;
      if (core.idle_wanted && !core.suspended() && begin_idle(core)) continue;
      // What a callback that waits has begun to handle is seen by snapshots.
      core.current_ops.store(core.suspended() ? core.activity.node->ops : nullptr, std::memory_order_relaxed);
      settle_turn(runtime, core, limits, std::exchange(handled, 0));
      if (core.mailbox.become_idle()) return Outcome::idle;
      continue;
    }
    handle(core, node, generation, freed);
    ++handled;
    if (++taken >= limits.messages) {
      static_cast<void>(take_new(core));  // a kill among them is seen before the next turn
      if (core.stop_requested && (core.exit_now || !core.suspended())) continue;
      static_cast<void>(before_leaving(core));
      settle_turn(runtime, core, limits, std::exchange(handled, 0));
      return Outcome::more;
    }
  }
}

void ProcessLife::see_next(ProcessCore& core) noexcept {
  const Node* next = core.pending_first;
  if (core.suspended() || next == nullptr || is_urgent(next)) return;
  if (next->generation != core.generation.load(std::memory_order_relaxed)) return;
  if (next->ops->unseen != nullptr && next->ops->unseen(next, core)) return;
  core.idle_wanted = false;
  core.idle_armed = false;
}

bool ProcessLife::begin_terminate(ProcessCore& core) {
  if (core.terminating || core.behaviour == nullptr || core.extra == nullptr || !core.extra->run_terminate)
    return false;
  core.terminating = true;  // should it throw, it is not begun again
  core.terminating = core.behaviour->begin_terminate(core, core.extra->stop_reason);
  return core.terminating;
}

bool ProcessLife::terminates_later(const ProcessCore& core) noexcept {
  return core.behaviour != nullptr && core.behaviour->terminates_later() && !core.starting && !core.terminating &&
         !core.exit_now && !core.suspended();
}

}  // namespace detail

RuntimeBase::RunOutcome RuntimeBase::run_process(detail::ProcessCore& core, const RunLimits& limits) {
  DAGVERK_ASSERT(detail::current_process == nullptr);
  detail::current_process = &core;
  std::uint32_t handled = 0;
  RunOutcome outcome = RunOutcome::exited;
  {
    detail::FreedNodes freed;
    try {
      outcome = detail::ProcessLife::run(*this, core, limits, handled, freed);
    } catch (...) {  // the barrier: the only one around users' code
      const ExitReason reason = detail::reason_of_current_exception();
      if (detail::Node* node = std::exchange(core.current_node, nullptr); node != nullptr)
        node->ops->discard(node, reason);
      if (detail::ProcessLife::terminates_later(core)) {
        detail::request_exit(core, ExitReason::normal, false, true);
        core.extra->stop_reason = reason;  // whatever it was asked to end with before
        outcome = RunOutcome::more;
        detail::ProcessLife::settle_turn(*this, core, limits, handled);
      } else {
        detail::ProcessLife::finish(*this, core, &reason);
      }
    }
  }
  detail::current_process = nullptr;
  detail::stay_if_abandoned();
  if (outcome == RunOutcome::exited) {
    if (limits.busy != nullptr) limits.busy->skip();
    free_process(core);
  }
  return outcome;
}

void RuntimeBase::free_process(detail::ProcessCore& core) noexcept {
  processes_->give(core);
  if (announces_exits_.load(std::memory_order_relaxed)) [[unlikely]]
    on_process_gone();
}

}  // namespace dagverk
