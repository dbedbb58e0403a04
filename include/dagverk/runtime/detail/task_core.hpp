#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/runtime/async.hpp"
#include "dagverk/runtime/completion.hpp"
#include "dagverk/runtime/detail/node.hpp"
#include "dagverk/runtime/detail/process_core.hpp"
#include "dagverk/runtime/detail/server_start.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace dagverk::detail {

/// What a task's handle and its process share; whoever lets go last frees it.
///
/// Threads: `arm`, `done` and what is read after it are the owner's; `end` and `value` before it are the task's.
class TaskCore {
 public:
  TaskCore(Pid owner_pid, Pid linked_pid) noexcept : owner(owner_pid), linked_to(linked_pid) {}
  TaskCore(const TaskCore&) = delete;
  TaskCore& operator=(const TaskCore&) = delete;

  void retain() noexcept { holders_.fetch_add(1, std::memory_order_relaxed); }
  void release() noexcept {
    if (holders_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

  [[nodiscard]] bool done() const noexcept { return word_.load(std::memory_order_acquire) == is_done; }
  /// From now on `end` ends the owner's wait with `token`. False when the task has ended meanwhile.
  [[nodiscard]] bool arm(std::uint32_t token) noexcept;
  /// The task has ended and left `value` or not: publishes that and wakes the owner if it waits.
  void end(const ExitReason& why, std::uint64_t when) noexcept;

  [[nodiscard]] bool linked_to_owner() const noexcept { return linked_to && linked_to == owner; }

  const Pid owner;
  const Pid linked_to;      // the owner, a supervisor, or nobody
  Pid pid;                  // empty: there was no process
  bool started = false;     // the task's: the body was reached
  ExitReason reason;        // after `done`
  std::uint64_t order = 0;  // after `done`: which of the runtime's tasks ended first

 protected:
  virtual ~TaskCore() = default;

 private:
  static constexpr std::uint64_t is_idle = 0;
  static constexpr std::uint64_t is_done = 1;
  static constexpr std::uint64_t is_waiting = 2;  // with the token above it

  std::atomic<std::uint64_t> word_{is_idle};
  std::atomic<std::uint32_t> holders_{1};
};

template <class T>
class TaskState final : public TaskCore {
 public:
  using TaskCore::TaskCore;
  std::optional<Result<T>> value;  // nothing: the task ended without one, see `reason`
};

/// Holds a TaskCore.
template <class State>
class TaskRef {
 public:
  TaskRef() = default;
  /// Takes over one hold.
  explicit TaskRef(State* state) noexcept : state_(state) {}
  TaskRef(const TaskRef& other) noexcept : state_(other.state_) {
    if (state_ != nullptr) state_->retain();
  }
  TaskRef(TaskRef&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  TaskRef& operator=(TaskRef other) noexcept {
    std::swap(state_, other.state_);
    return *this;
  }
  ~TaskRef() {
    if (state_ != nullptr) state_->release();
  }

  [[nodiscard]] State* get() const noexcept { return state_; }
  [[nodiscard]] State* operator->() const noexcept { return state_; }
  [[nodiscard]] State& operator*() const noexcept { return *state_; }
  [[nodiscard]] explicit operator bool() const noexcept { return state_ != nullptr; }

 private:
  State* state_ = nullptr;
};

/// What a body that returns `R` gives: the value inside Async and Result; `std::monostate` for void.
template <class R>
struct TaskValueOf {
  using Type = R;
};
template <>
struct TaskValueOf<void> {
  using Type = std::monostate;
};
template <class R>
struct TaskValueOf<Result<R>> : TaskValueOf<R> {};
template <class R>
struct TaskValueOf<Async<R>> : TaskValueOf<R> {};
template <class Body>
using TaskValue = typename TaskValueOf<std::invoke_result_t<Body&>>::Type;

/// The task's process has reached its body: it tells `core` when it ends, and is linked as asked.
void begin_task(ProcessCore& process, TaskCore& core);
/// The body has returned: the end that follows is of no interest to an owner that is linked.
void leave_owner(ProcessCore& process, const TaskCore& core) noexcept;
/// The task's message was destroyed before its body was reached.
void task_never_began(TaskCore& core, const ExitReason& reason) noexcept;

/// Starts the process of a task of the running process.
void launch_task(TaskCore& core, Node* node);
/// The owner has lost interest: the task is killed, and its end reaches nobody.
void abandon_task(TaskCore& core) noexcept;
/// The owner has lost interest: the task goes on alone.
void set_adrift(TaskCore& core);
/// Asks the task to end; its end reaches the owner by the handle alone.
void stop_task(TaskCore& core, const ExitReason& reason);

/// The error for a task that ended without a value.
[[nodiscard]] Error task_ended(const ExitReason& reason);
[[nodiscard]] Error task_timed_out(Duration timeout);
/// `invalid_argument` unless the running process may wait for the task, once, for `timeout`.
[[nodiscard]] Result<void> check_task_wait(const TaskCore* core, bool spent, Duration timeout);
[[nodiscard]] Error bad_task_option(std::string_view message);

/// The instant `timeout` from now. Duration::max(): never.
[[nodiscard]] SteadyTime task_deadline(Duration timeout);
/// Waits until one of `cores` is done or `deadline` has passed. True when one is.
[[nodiscard]] Async<bool> wait_for_any(const std::vector<TaskCore*>& cores, SteadyTime deadline);

/// The message that is a task.
template <class Body>
struct TaskNode {
  using R = std::invoke_result_t<Body&>;
  using State = TaskState<TaskValue<Body>>;
  struct Payload {
    Body body;
    TaskRef<State> state;
  };

  static void discard(Node* node, const ExitReason& reason) noexcept {
    const TaskRef<State> state = std::move(payload_of<Payload>(node).state);
    payload_of<Payload>(node).~Payload();
    free_node(node);
    if (!state->started) task_never_began(*state, reason);
  }
  static void finish(ProcessCore& process, std::coroutine_handle<> root, Node* node) {
    using Promise = typename R::promise_type;
    auto& promise = std::coroutine_handle<Promise>::from_address(root.address()).promise();
    State& state = *payload_of<Payload>(node).state;
    if constexpr (std::is_void_v<decltype(promise.take())>) {
      promise.take();
      state.value.emplace(std::monostate());
    } else {
      keep(state, promise.take());
    }
    leave_owner(process, state);
    discard(node, ExitReason::normal);
    end_spawned(process);
  }
  static bool run(Node* node, ProcessCore& process) {
    auto& payload = payload_of<Payload>(node);
    begin_task(process, *payload.state);
    if constexpr (is_async<R>) {
      start_activity(process, Activity{payload.body().release(), node, &finish});
      return false;
    } else {
      if constexpr (std::is_void_v<R>) {
        payload.body();
        payload.state->value.emplace(std::monostate());
      } else {
        keep(*payload.state, payload.body());
      }
      leave_owner(process, *payload.state);
      payload.~Payload();
      end_spawned(process);
      return true;
    }
  }
  template <class Value>
  static void keep(State& state, Value&& value) {
    if constexpr (std::is_same_v<std::remove_cvref_t<Value>, Result<void>>) {
      state.value.emplace(value ? Result<std::monostate>() : Result<std::monostate>(value.error()));
    } else {
      state.value.emplace(std::forward<Value>(value));
    }
  }
  static constexpr NodeOps ops{&run, &discard, type_name<Body>(), NodeClass::message};
};

/// Makes the message and the state of a task; the message holds the state, too.
template <class Body>
[[nodiscard]] std::pair<TaskRef<TaskState<TaskValue<Body>>>, Node*> make_task(Body body, Pid owner, Pid linked_to) {
  using Task = TaskNode<Body>;
  TaskRef<typename Task::State> state(new typename Task::State(owner, linked_to));
  Node* node = make_node<typename Task::Payload>(Task::ops, std::move(body), state);
  return {std::move(state), node};
}

}  // namespace dagverk::detail
