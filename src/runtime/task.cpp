#include "dagverk/runtime/task.hpp"

#include "process_extra.hpp"
#include "signals.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"
#include "dagverk/runtime/runtime_base.hpp"

#include <algorithm>
#include <utility>

namespace dagverk::detail {

namespace {

/// Wakes the owner of a task that has ended.
struct TaskWakeNode {
  static void discard(Node* node, const ExitReason& /*reason*/) noexcept { free_node(node); }
  static bool run(Node* node, ProcessCore& process) {
    const std::uint32_t token = payload_of<std::uint32_t>(node);
    process.current_node = nullptr;
    free_node(node);
    static_cast<void>(accept_resume(process, token, nullptr));
    return false;
  }
  static constexpr NodeOps ops{&run, &discard, "task ended", NodeClass::resume};
};

/// Tells a task that it has no owner any more.
struct AdriftNode {
  static void discard(Node* node, const ExitReason& /*reason*/) noexcept { free_node(node); }
  static bool run(Node* node, ProcessCore& process) {
    const Pid owner = payload_of<Pid>(node);
    if (process.extra != nullptr) process.extra->links.erase(owner);
    process.has_parent.store(false, std::memory_order_relaxed);
    return true;
  }
  static constexpr NodeOps ops{&run, &discard, "task set adrift", NodeClass::signal};
};

/// Tells the handle when the task's process has ended and its links know.
class TaskEnd final : public ExitHook {
 public:
  explicit TaskEnd(TaskCore& core) noexcept : core_(&core) { core_->retain(); }
  TaskEnd(const TaskEnd&) = delete;
  TaskEnd& operator=(const TaskEnd&) = delete;
  ~TaskEnd() override { core_->release(); }

  void after_end(Pid pid, const ExitReason& reason) noexcept override {
    core_->end(reason, pid.core()->runtime->next_ref());
  }

 private:
  TaskCore* core_;
};

/// Suspends the running process until one of the tasks has ended or `timeout` passed.
struct TaskWait {
  const std::vector<TaskCore*>& cores;
  Duration timeout;

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  [[nodiscard]] bool await_suspend(std::coroutine_handle<> caller) const {
    ProcessCore& self = *current_process;
    const std::uint32_t token = begin_wait(self, caller, timeout);
    for (TaskCore* core : cores) {
      if (core->arm(token)) continue;
      cancel_wait(self);  // those that are armed already will wake nobody: the token is used up
      return false;
    }
    return true;
  }
  void await_resume() const noexcept {}
};

}  // namespace

bool TaskCore::arm(std::uint32_t token) noexcept {
  std::uint64_t seen = word_.load(std::memory_order_acquire);
  const std::uint64_t waiting = (std::uint64_t{token} << 2U) | is_waiting;
  while (seen != is_done) {
    // acq_rel: the token is published to `end`; when the task has ended, its value is acquired.
    if (word_.compare_exchange_weak(seen, waiting, std::memory_order_acq_rel, std::memory_order_acquire)) return true;
  }
  return false;
}

void TaskCore::end(const ExitReason& why, std::uint64_t when) noexcept {
  reason = why;
  order = when;
  const Pid waiter = owner;
  // acq_rel: the value is published; a waiting owner's token is acquired.
  const std::uint64_t before = word_.exchange(is_done, std::memory_order_acq_rel);
  if ((before & is_waiting) == 0) return;
  static_cast<void>(
      send(waiter, make_node<std::uint32_t>(TaskWakeNode::ops, static_cast<std::uint32_t>(before >> 2U))));
}

void begin_task(ProcessCore& process, TaskCore& core) {
  static constexpr ProcessType task_type{"task"};
  core.started = true;
  process.type.store(&task_type, std::memory_order_relaxed);
  ProcessExtra& extra = extra_of(process);
  extra.exit_hooks.push_back(std::make_unique<TaskEnd>(core));
  extra.facts.set_parent(core.linked_to ? core.linked_to : core.owner, {}, 0);
  if (core.linked_to) extra.links.emplace(core.linked_to, LinkNumbers{});
  if (core.linked_to && !core.linked_to_owner()) extra.parent = core.linked_to;  // it cannot trap its supervisor's end
  process.has_parent.store(true, std::memory_order_relaxed);                     // its handle sees to its end
}

void leave_owner(ProcessCore& process, const TaskCore& core) noexcept {
  if (core.linked_to_owner() && process.extra != nullptr) process.extra->links.erase(core.owner);
}

void task_never_began(TaskCore& core, const ExitReason& reason) noexcept {
  const Pid known = core.pid ? core.pid : core.owner;
  if (core.linked_to) static_cast<void>(send(core.linked_to, make_exit_signal(core.pid, reason, true)));
  core.end(reason, known.core()->runtime->next_ref());
}

void launch_task(TaskCore& core, Node* node) {
  core.pid = current_process->runtime->new_process();
  if (core.linked_to_owner()) add_link(core.pid);
  static_cast<void>(send(core.pid, node));
}

namespace {

/// The owner's half of the link, so that the task's end is no signal any more.
void forget_link(const TaskCore& core) noexcept {
  if (core.linked_to_owner() && current_process != nullptr && current_process->pid() == core.owner) {
    drop_link(core.pid);
  }
}

}  // namespace

void abandon_task(TaskCore& core) noexcept {
  if (!core.pid) return;
  forget_link(core);
  if (!core.done()) static_cast<void>(send(core.pid, make_exit_signal(core.owner, ExitReason::kill, false)));
}

void set_adrift(TaskCore& core) {
  if (!core.pid) return;
  forget_link(core);
  if (core.linked_to && !core.linked_to_owner()) return;  // its supervisor sees to it
  static_cast<void>(send(core.pid, make_node<Pid>(AdriftNode::ops, core.owner)));
}

void stop_task(TaskCore& core, const ExitReason& reason) {
  if (!core.pid) return;
  forget_link(core);
  static_cast<void>(send(core.pid, make_exit_signal(core.owner, reason, false)));
}

Error task_ended(const ExitReason& reason) {
  return {ErrorCode::exited, concat("the task ended without a result: ", reason.to_string())};
}

Error task_timed_out(Duration timeout) {
  return {ErrorCode::timeout, concat("the task did not end within ",
                                     std::chrono::duration_cast<std::chrono::milliseconds>(timeout).count(), " ms")};
}

Error bad_task_option(std::string_view message) { return {ErrorCode::invalid_argument, std::string(message)}; }

Result<void> check_task_wait(const TaskCore* core, bool spent, Duration timeout) {
  if (core == nullptr) return bad_task_option("the task was moved away");
  if (current_process == nullptr || current_process->pid() != core->owner) {
    return bad_task_option(
        concat("only the process that started a task may wait for it: process ", core->owner.number()));
  }
  if (spent) return bad_task_option("the task has been awaited already; a task is awaited once");
  if (timeout < Duration::zero()) return bad_task_option("a task's timeout must not be negative");
  return {};
}

SteadyTime task_deadline(Duration timeout) {
  const SteadyTime now = current_process->runtime->clock().steady_now();
  return timeout >= SteadyTime::max() - now ? SteadyTime::max() : now + timeout;
}

Async<bool> wait_for_any(const std::vector<TaskCore*>& cores, SteadyTime deadline) {
  DAGVERK_ASSERT(!cores.empty());
  for (;;) {
    if (std::ranges::any_of(cores, [](const TaskCore* core) { return core->done(); })) co_return true;
    Duration left = Duration::max();
    if (deadline != SteadyTime::max()) left = deadline - current_process->runtime->clock().steady_now();
    if (left <= Duration::zero()) co_return false;
    TaskWait wait{cores, left};
    co_await wait;
  }
}

}  // namespace dagverk::detail
