#pragma once

#include "dagverk/runtime/gen_server.hpp"
#include "dagverk/runtime/task.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>

namespace dagverk {

namespace detail {

/// A task that is ready to start, on its way to the supervisor.
class TaskLaunch {
 public:
  TaskLaunch(TaskRef<TaskCore> core, Node* node) noexcept : core_(std::move(core)), node_(node) {}
  TaskLaunch(TaskLaunch&& other) noexcept : core_(std::move(other.core_)), node_(std::exchange(other.node_, nullptr)) {}
  TaskLaunch& operator=(TaskLaunch&&) = delete;
  TaskLaunch(const TaskLaunch&) = delete;
  TaskLaunch& operator=(const TaskLaunch&) = delete;
  ~TaskLaunch() {
    if (node_ != nullptr) node_->ops->discard(node_, ExitReason::noproc);
  }

  /// Starts it, linked to the running process.
  Pid start();

 private:
  TaskRef<TaskCore> core_;
  Node* node_;
};

}  // namespace detail

struct TaskSupervisorOptions {
  std::size_t max_children = 0;                 ///< tasks at a time; more are `refused`. 0: no limit
  Duration shutdown = std::chrono::seconds(5);  ///< how long they get to end with the supervisor, then they are killed
};

/// The parent of tasks whose crash concerns nobody but who awaits them.
///
/// Semantics: Elixir's Task.Supervisor. Its tasks are temporary: none is restarted. When it ends, they get `shutdown`
///            and, after the limit, `kill`. Started as any server: `runtime.start<TaskSupervisor>()`.
/// Threads:   as every server.
/// Bounds:    `max_children`.
class TaskSupervisor : public GenServer<TaskSupervisor> {
 public:
  /// For `task::async_nolink` and `task::start_child`.
  struct Start {
    using Reply = Pid;
    detail::TaskLaunch launch;
  };
  /// How many tasks it has: `co_await supervisor.call<TaskSupervisor::Count>()`.
  struct Count {
    using Reply = std::size_t;
  };

  explicit TaskSupervisor(TaskSupervisorOptions options = {}) : options_(options) { this_process::trap_exits(); }

  Result<Pid> handle_call(Start start);
  [[nodiscard]] std::size_t handle_call(Count) const noexcept { return children_.size(); }
  void handle_info(const Exit& exit);
  Async<void> terminate(const ExitReason& reason);

 private:
  TaskSupervisorOptions options_;
  std::map<std::uint64_t, Pid> children_;  // by number, so that they end in the order of their start
};

namespace task {

/// Runs `body` under `supervisor`; this process awaits it and survives its crash.
/// `auto task = co_await task::async_nolink(supervisor, body);` with a named `body`: see docs/reference/task.md.
/// Errors: `refused` at max_children, `no_process`, `timeout`.
template <class Body>
[[nodiscard]] Async<Result<Task<detail::TaskValue<Body>>>> async_nolink(ServerRef<TaskSupervisor> supervisor,
                                                                        Body& body) {
  using State = detail::TaskState<detail::TaskValue<Body>>;
  auto [state, node] = detail::make_task(Body(body), this_process::pid(), supervisor.pid());
  detail::TaskRef<State> held = state;
  Task<detail::TaskValue<Body>> started(std::move(held));
  state->retain();
  detail::TaskLaunch launch(detail::TaskRef<detail::TaskCore>(state.get()), node);
  Result<Pid> pid = co_await supervisor.call<TaskSupervisor::Start>(std::move(launch));
  if (!pid) {
    started.forget();  // it may still be on its way
    co_return pid.error();
  }
  co_return std::move(started);
}

/// Runs `body` under `supervisor`; nobody awaits it. Errors as `async_nolink`.
template <class Body>
[[nodiscard]] Async<Result<Pid>> start_child(ServerRef<TaskSupervisor> supervisor, Body& body) {
  Result<Task<detail::TaskValue<Body>>> started = co_await task::async_nolink(supervisor, body);
  if (!started) co_return started.error();
  const Pid pid = started->pid();
  static_cast<void>(started->ignore());
  co_return pid;
}

}  // namespace task
}  // namespace dagverk
