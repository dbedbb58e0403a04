#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/runtime/detail/task_core.hpp"
#include "dagverk/runtime/this_process.hpp"

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace dagverk {

/// How long the operations on tasks wait unless told otherwise; OTP's figure.
inline constexpr Duration task_timeout_default = std::chrono::seconds(5);

/// A one-shot process whose result its owner waits for.
///
/// Semantics: Elixir's Task, typed; differences in docs/reference/task.md. Made by `task::async` and its relatives,
///            inside a process, the owner. `T` is what the body returns, without Async and Result; `std::monostate`
///            when it returns nothing. A Result that the body returns is the task's result, errors included.
/// Units:     every wait takes a Duration: zero only looks, `Duration::max()` waits for ever, negative is
///            `invalid_argument`.
/// Threads:   the owner's process alone; elsewhere `await` and its relatives give `invalid_argument`.
/// Errors:    `timeout`; `exited` when the task ended without a result, with the reason in `exit_reason()`. A task that
///            `async` started is linked: its crash ends the owner, too, unless that traps exits.
/// Lifetime:  destroyed while its process runs, the task kills it and nobody hears of that. `ignore` lets it run on.
template <class T>
class [[nodiscard]] Task {
 public:
  using State = detail::TaskState<T>;

  explicit Task(detail::TaskRef<State> state) noexcept : state_(std::move(state)) {}
  Task(Task&& other) noexcept : state_(std::move(other.state_)), spent_(std::exchange(other.spent_, true)) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      drop();
      state_ = std::move(other.state_);
      spent_ = std::exchange(other.spent_, true);
    }
    return *this;
  }
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;
  ~Task() { drop(); }

  /// Its process; empty for a task that was completed from the start.
  [[nodiscard]] Pid pid() const noexcept { return state_ ? state_->pid : Pid(); }
  /// True when it has ended.
  [[nodiscard]] bool done() const noexcept { return state_ && state_->done(); }
  /// Why it ended; nothing while it runs.
  [[nodiscard]] std::optional<ExitReason> exit_reason() const {
    if (!done()) return std::nullopt;
    return state_->reason;
  }

  /// Waits for the result: `Result<int> sum = co_await task.await();`. Once: afterwards the task is spent and further
  /// waits give `invalid_argument`. A task that is too late is killed.
  [[nodiscard]] Async<Result<T>> await(Duration timeout = task_timeout_default) {
    if (Result<void> allowed = detail::check_task_wait(state_.get(), spent_, timeout); !allowed) {
      co_return allowed.error();
    }
    const bool ended = co_await wait(timeout);
    if (!ended) {
      drop();
      co_return detail::task_timed_out(timeout);
    }
    co_return take();
  }

  /// As `await`, but a task that is too late gives nothing and goes on; ask again later.
  [[nodiscard]] Async<Result<std::optional<T>>> yield(Duration timeout = task_timeout_default) {
    if (Result<void> allowed = detail::check_task_wait(state_.get(), spent_, timeout); !allowed) {
      co_return allowed.error();
    }
    const bool ended = co_await wait(timeout);
    if (!ended) co_return std::optional<T>();
    Result<T> result = take();
    if (!result) co_return result.error();
    co_return std::optional<T>(std::move(*result));
  }

  /// Ends the task with `shutdown`, and with `kill` after `timeout` (zero: at once). Its result when it has one by
  /// then; nothing when it ended because of this; `exited` when it ended otherwise, also by the late `kill`;
  /// `no_process` when it is spent; `timeout` when its code does not return even then.
  [[nodiscard]] Async<Result<std::optional<T>>> shutdown(Duration timeout = task_timeout_default) {
    if (spent_ && state_) co_return Error(ErrorCode::no_process, "the task has been awaited already");
    if (Result<void> allowed = detail::check_task_wait(state_.get(), spent_, timeout); !allowed) {
      co_return allowed.error();
    }
    const bool at_once = timeout == Duration::zero();
    ExitReason asked = at_once ? ExitReason::killed : ExitReason::shutdown;
    if (!state_->done()) detail::stop_task(*state_, at_once ? ExitReason::kill : ExitReason::shutdown);
    bool ended = co_await wait(at_once ? task_timeout_default : timeout);
    if (!ended && !at_once) {
      detail::stop_task(*state_, ExitReason::kill);
      ended = co_await wait(task_timeout_default);
    }
    if (!ended) {
      spent_ = true;
      co_return Error(ErrorCode::timeout, "the task was killed, but its code does not return");
    }
    const bool as_asked = !state_->value && state_->reason == asked;
    Result<T> result = take();
    if (as_asked) co_return std::optional<T>();
    if (!result) co_return result.error();
    co_return std::optional<T>(std::move(*result));
  }

  /// Lets the task run on alone, unlinked. Its result when it has one already. The task is spent.
  std::optional<Result<T>> ignore() {
    if (spent_ || !state_) return std::nullopt;
    if (state_->done()) return take();
    detail::set_adrift(*state_);
    spent_ = true;
    return std::nullopt;
  }

  // --- for the functions below --------------------------------------------------------------------------------------
  [[nodiscard]] detail::TaskCore* core() const noexcept { return state_.get(); }
  [[nodiscard]] bool spent() const noexcept { return spent_; }
  /// The result of a task that has ended.
  [[nodiscard]] Result<T> take() {
    drop();
    if (state_->value) return std::move(*state_->value);
    return detail::task_ended(state_->reason);
  }
  /// Gives it up without touching it.
  void forget() noexcept { spent_ = true; }
  /// Kills it unless it has ended.
  void drop() noexcept {
    if (!std::exchange(spent_, true) && state_) detail::abandon_task(*state_);
  }

 private:
  [[nodiscard]] Async<bool> wait(Duration timeout) {
    const std::vector<detail::TaskCore*> cores{state_.get()};
    const SteadyTime deadline = detail::task_deadline(timeout);
    co_return co_await detail::wait_for_any(cores, deadline);
  }

  detail::TaskRef<State> state_;
  bool spent_ = false;
};

/// What happens to tasks that have not ended in time.
enum class TasksLate : std::uint8_t {
  run_on,  ///< they run; ask again later
  ignore,  ///< they run on alone, see Task::ignore
  kill,    ///< they are killed
};

struct YieldManyOptions {
  Duration timeout = task_timeout_default;  ///< for all of them together
  std::size_t limit = 0;                    ///< return as soon as so many have ended, leaving the others alone. 0: all
  TasksLate on_timeout = TasksLate::run_on;
};

namespace task {

/// Runs `body` (a callable without arguments, plain or a coroutine) in a new process linked to this one.
template <class Body>
[[nodiscard]] Task<detail::TaskValue<Body>> async(Body body) {
  auto [state, node] = detail::make_task(std::move(body), this_process::pid(), this_process::pid());
  detail::launch_task(*state, node);
  return Task<detail::TaskValue<Body>>(std::move(state));
}

/// As `async`, not linked: a crash of the task is the error `exited` and nothing else.
template <class Body>
[[nodiscard]] Task<detail::TaskValue<Body>> async_nolink(Body body) {
  auto [state, node] = detail::make_task(std::move(body), this_process::pid(), Pid());
  detail::launch_task(*state, node);
  return Task<detail::TaskValue<Body>>(std::move(state));
}

/// A task that has its result already; there is no process.
template <class T>
[[nodiscard]] Task<T> completed(T value) {
  detail::TaskRef<detail::TaskState<T>> state(new detail::TaskState<T>(this_process::pid(), Pid()));
  state->value.emplace(std::move(value));
  state->end(ExitReason::normal, this_process::runtime().next_ref());
  return Task<T>(std::move(state));
}

/// Waits for all of `tasks`, at most `timeout` in all: their results in the order of `tasks`. When one fails, or time
/// is up, the others are killed and the error comes at once. All are spent.
template <class T>
[[nodiscard]] Async<Result<std::vector<T>>> await_many(std::vector<Task<T>>& tasks,
                                                       Duration timeout = task_timeout_default) {
  for (const Task<T>& each : tasks) {
    if (Result<void> allowed = detail::check_task_wait(each.core(), each.spent(), timeout); !allowed) {
      co_return allowed.error();
    }
  }
  const SteadyTime deadline = detail::task_deadline(timeout);
  std::optional<Error> failure;
  std::vector<std::optional<T>> values(tasks.size());
  std::vector<std::size_t> waiting(tasks.size());
  for (std::size_t index = 0; index < tasks.size(); ++index) waiting[index] = index;
  while (!failure) {
    std::erase_if(waiting, [&](std::size_t index) {
      if (!tasks[index].done()) return false;
      Result<T> result = tasks[index].take();
      if (result) {
        values[index].emplace(std::move(*result));
      } else if (!failure) {
        failure = result.error();
      }
      return true;
    });
    if (failure || waiting.empty()) break;
    std::vector<detail::TaskCore*> cores;
    cores.reserve(waiting.size());
    for (const std::size_t index : waiting) cores.push_back(tasks[index].core());
    const bool one_ended = co_await detail::wait_for_any(cores, deadline);
    if (!one_ended) failure = detail::task_timed_out(timeout);
  }
  if (failure) {
    for (Task<T>& each : tasks) each.drop();
    co_return *failure;
  }
  std::vector<T> results;
  results.reserve(values.size());
  for (std::optional<T>& value : values) results.push_back(std::move(*value));
  co_return std::move(results);
}

/// Waits for `tasks`; for each, in their order: its result, its error, or nothing when it has not ended.
/// Errors: `invalid_argument`, as `await`.
template <class T>
[[nodiscard]] Async<Result<std::vector<Result<std::optional<T>>>>> yield_many(std::vector<Task<T>>& tasks,
                                                                              YieldManyOptions options = {}) {
  for (const Task<T>& each : tasks) {
    if (Result<void> allowed = detail::check_task_wait(each.core(), each.spent(), options.timeout); !allowed) {
      co_return allowed.error();
    }
  }
  const SteadyTime deadline = detail::task_deadline(options.timeout);
  const std::size_t wanted = options.limit == 0 ? tasks.size() : std::min(options.limit, tasks.size());
  bool in_time = true;
  for (;;) {
    std::vector<detail::TaskCore*> running;
    for (const Task<T>& each : tasks) {
      if (!each.done()) running.push_back(each.core());
    }
    if (tasks.size() - running.size() >= wanted) break;
    in_time = co_await detail::wait_for_any(running, deadline);
    if (!in_time) break;
  }
  std::vector<Result<std::optional<T>>> results;
  results.reserve(tasks.size());
  for (Task<T>& each : tasks) {
    if (each.done()) {
      Result<T> result = each.take();
      if (result) {
        results.emplace_back(std::optional<T>(std::move(*result)));
      } else {
        results.emplace_back(std::unexpected(result.error()));
      }
      continue;
    }
    results.emplace_back(std::optional<T>());
    if (in_time || options.on_timeout == TasksLate::run_on) continue;
    if (options.on_timeout == TasksLate::kill) {
      each.drop();
    } else {
      static_cast<void>(each.ignore());
    }
  }
  co_return std::move(results);
}

}  // namespace task
}  // namespace dagverk
