// How a process waits: for a reply, an external completion, or only for time to pass; and who ends the wait.

#include "bounded_inbox.hpp"
#include "outside_gate.hpp"
#include "process_extra.hpp"
#include "signals.hpp"
#include "timer_queue.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/never_destroyed.hpp"
#include "dagverk/runtime/completion.hpp"
#include "dagverk/runtime/detail/call.hpp"
#include "dagverk/runtime/runtime_base.hpp"
#include "dagverk/runtime/server_ref.hpp"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

namespace dagverk::detail {

std::uint32_t begin_wait(ProcessCore& core, std::coroutine_handle<> resume_point, Duration timeout) {
  DAGVERK_ASSERT(core.wait_status != WaitStatus::waiting);
  core.resume_address = resume_point.address();
  core.wait_status = WaitStatus::waiting;
  if (timeout <= Duration::zero() || timeout == Duration::max()) {
    core.wait_deadline = SteadyTime::max();
    return ++core.wait_token;
  }
  const Clock& clock = core.runtime->clock();
  const SteadyTime deadline =
      (timeout < std::chrono::seconds(1) ? clock.steady_now() : clock.steady_coarse()) + timeout;
  core.wait_deadline = deadline;
  // The timer of an earlier wait that fires before this deadline is good enough: it looks at the deadline and is armed
  // again. So a process that calls all day arms one timer per time limit, not one per call. A stale reading only costs
  // an early look.
  const bool armed_early_enough =
      core.wait_timer != nullptr &&
      core.wait_timer->deadline.load(std::memory_order_relaxed) <= deadline.time_since_epoch().count();
  if (!armed_early_enough) {
    if (core.wait_timer != nullptr) core.runtime->cancel_timer({core.wait_timer, core.wait_timer_sequence});
    const TimerSlot slot = core.runtime->arm_timer(deadline, core.pid(), make_wait_timeout());
    core.wait_timer = slot.entry;
    core.wait_timer_sequence = slot.sequence;
  }
  return ++core.wait_token;
}

void cancel_wait(ProcessCore& core) noexcept {
  core.wait_status = WaitStatus::none;
  core.wait_result = nullptr;
}

namespace {

/// Finishes the current callback if its outermost coroutine is done.
void settle_activity(ProcessCore& core) {
  if (!core.activity.root || !core.activity.root.done()) return;
  const Activity done = std::exchange(core.activity, Activity{});
  struct FrameGuard {
    std::coroutine_handle<> frame;
    ~FrameGuard() { destroy_frame_quietly(frame); }
  };
  core.current_node = done.node;  // disposed of by the barrier when `finish` throws
  const FrameGuard guard{done.root};
  done.finish(core, done.root, done.node);
  core.current_node = nullptr;
}

}  // namespace

bool accept_resume(ProcessCore& core, std::uint32_t token, Node* result) {
  if (core.wait_status != WaitStatus::waiting || core.wait_token != token) return false;
  core.wait_status = result != nullptr ? WaitStatus::resumed : WaitStatus::timed_out;
  const auto resume_point = std::coroutine_handle<>::from_address(core.resume_address);
  core.wait_result = result;
  core.current_node = nullptr;  // `result` belongs to the awaiter now
  if (core.suspended()) core.current_ops.store(core.activity.node->ops, std::memory_order_relaxed);
  resume_chain(resume_point);
  settle_activity(core);
  return true;
}

void start_activity(ProcessCore& core, Activity activity) {
  DAGVERK_ASSERT(!core.suspended());
  core.activity = activity;
  core.current_node = nullptr;  // `activity.node` is the activity's until it is done
  resume_chain(activity.root);
  settle_activity(core);
}

// ---- calls from outside --------------------------------------------------------------------------------------------

void send_reply(Node* node, const CallHeader& header) noexcept {
  if (header.waiter != nullptr) {
    BlockingWaiter* waiter = header.waiter;
    waiter->deliver(node);
    waiter->drop_owner();
    return;
  }
  static_cast<void>(send(header.caller, node));
}

void reply_at_end(ProcessCore& core, LastReply reply) { extra_of(core).last_replies.push_back(reply); }

const ExitReason& not_answered() noexcept {
  // Other threads still read it during exit().
  static NeverDestroyed<const ExitReason> reason(ExitReason::custom("the call was not answered"));
  return *reason;
}

Error call_failed(const ExitReason& reason, std::string_view message_name) {
  if (reason.kind() == ExitReason::Kind::noproc) {
    return {ErrorCode::no_process, concat("call ", message_name, ": no such process")};
  }
  if (reason == mailbox_full_reason()) {
    return {ErrorCode::mailbox_full, concat("call ", message_name, ": the mailbox is at its bound")};
  }
  return {ErrorCode::exited, concat("call ", message_name, ": the process ended: ", reason.to_string())};
}

Error cast_refused(Pid pid) {
  if (!RuntimeBase::alive(pid)) return Error(ErrorCode::no_process);
  BoundedInbox* inbox = pid.core()->inbox.load(std::memory_order_acquire);
  if (current_process != nullptr && inbox != nullptr && inbox->rule() == MailboxRule::wait) {
    return {ErrorCode::mailbox_full,
            "cast: the mailbox is at its bound, and a process does not wait for room: it would stop its thread"};
  }
  return {ErrorCode::mailbox_full, "cast: the mailbox is at its bound"};
}

Result<Node*> block_on_reply(Pid callee, Node* request, CallHeader& header, Duration timeout) {
  const auto refuse = [request](Error error) {
    request->ops->discard(request, ExitReason::normal);  // nobody is named as its caller yet
    return error;
  };
  RuntimeBase* const runtime = callee.core()->runtime;
  if (runtime == nullptr) return refuse(Error(ErrorCode::no_process, "the runtime of that process has been destroyed"));
  if (!runtime->outside().enter()) return refuse(Error(ErrorCode::shutting_down, "the runtime is being destroyed"));
  struct Inside {
    OutsideGate& gate;
    ~Inside() { gate.leave(); }
  } const inside{runtime->outside()};
  if (Result<void> allowed = runtime->check_may_block(); !allowed) return refuse(allowed.error());
  auto* waiter = new BlockingWaiter;
  struct Owner {
    BlockingWaiter* waiter;
    ~Owner() { waiter->drop_owner(); }
  } const owner{waiter};
  header.waiter = waiter;
  waiter->add_owner();  // the request's
  if (BoundedInbox* inbox = callee.core()->inbox.load(std::memory_order_acquire); inbox != nullptr) [[unlikely]] {
    const SteadyTime begin = runtime->clock().steady_now();
    static_cast<void>(inbox->send(callee, request, timeout));
    if (timeout > Duration::zero() && timeout != Duration::max()) {  // waiting for room is part of it
      timeout = std::max(Duration(1), timeout - (runtime->clock().steady_now() - begin));
    }
  } else {
    static_cast<void>(send(callee, request));
  }
  Result<void> waited = runtime->block_on(*waiter, timeout);
  Node* answer = waiter->take();
  if (answer != nullptr) return answer;
  if (!waited) return waited.error();
  return Error(ErrorCode::timeout);
}

// ---- external completions ------------------------------------------------------------------------------------------

namespace {

/// Wakes a process that waits for an external completion.
struct WakeNode {
  static void discard(Node* node, const ExitReason& /*reason*/) noexcept { free_node(node); }
  static bool run(Node* node, ProcessCore& core) {
    const std::uint32_t token = payload_of<std::uint32_t>(node);
    core.current_node = nullptr;
    free_node(node);
    static_cast<void>(accept_resume(core, token, nullptr));
    return false;
  }
  static constexpr NodeOps ops{&run, &discard, "completion", NodeClass::resume};
};

}  // namespace

void CompletionCore::publish() noexcept {
  // acq_rel: the value is published; a waiting owner's token is acquired.
  int before = empty;
  if (phase_.compare_exchange_strong(before, done, std::memory_order_acq_rel)) return;
  if (before == gone || !phase_.compare_exchange_strong(before, publishing, std::memory_order_acq_rel)) return;
  // Until `done` the owner cannot end, so its runtime is there; and then it waits for us at its gate.
  OutsideGate& gate = owner_.core()->runtime->outside();
  const Pid owner = owner_;
  const std::uint32_t token = token_;
  const bool entered = gate.enter();
  phase_.store(done, std::memory_order_release);
  if (!entered) return;
  static_cast<void>(send(owner, make_node<std::uint32_t>(WakeNode::ops, token)));
  gate.leave();
}

void CompletionCore::owner_leaves() noexcept {
  int before = waiting;
  if (phase_.compare_exchange_strong(before, gone, std::memory_order_acq_rel)) return;
  // A few instructions of the completing thread.
  while (phase_.load(std::memory_order_acquire) == publishing) std::this_thread::yield();
}

bool CompletionCore::start_waiting(std::coroutine_handle<> resume_point, Duration timeout) {
  ProcessCore& self = *current_process;
  DAGVERK_ASSERT(owner_ == self.pid());
  token_ = begin_wait(self, resume_point, timeout);
  int expected = empty;
  if (phase_.compare_exchange_strong(expected, waiting, std::memory_order_acq_rel, std::memory_order_acquire))
    return true;
  cancel_wait(self);
  return false;
}

}  // namespace dagverk::detail
