#pragma once

#include "dagverk/base/concat.hpp"
#include "dagverk/runtime/task.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <ranges>
#include <type_traits>
#include <utility>
#include <vector>

namespace dagverk {

/// What becomes of a stream when one of its tasks is too late.
enum class StreamLate : std::uint8_t {
  exit,       ///< the stream ends: `next` gives the error `timeout`, the other tasks are killed
  kill_task,  ///< that task is killed and its item is the error `timeout`
};

struct TaskStreamOptions {
  std::size_t max_concurrency = 8;           ///< tasks that run or wait to be taken, 1..1,000,000
  bool ordered = true;                       ///< items come in the order of the input; else as they end
  Duration timeout = task_timeout_default;   ///< of each task, from its start; more than zero. Duration::max(): none
  StreamLate on_timeout = StreamLate::exit;  ///< as in Elixir
  bool zip_input_on_exit = false;            ///< items that failed carry their input
};

/// One item of a stream: what became of one input.
template <class Input, class T>
struct TaskStreamItem {
  std::size_t index;  ///< of the input, from zero
  Result<T> result;   ///< `exited` when the task crashed, `timeout` when it was too late, or the body's own error
  std::optional<Input> input;  ///< of a failed item, when `zip_input_on_exit` asks for it
};

/// Applies a function to every element of a range, each in a task of its own, a few at a time.
///
/// Semantics: Elixir's Task.async_stream, pulled: nothing happens before the first `next`, and inputs are taken from
///            the range only when a task may start. The tasks are not linked: a crash is an item. A time limit is
///            noticed while somebody waits in `next`; a task that has ended by then is in time.
/// Threads:   one process, the one that made it. The function is called from several threads at once.
/// Errors:    `next` gives `invalid_argument` for bad options or in another process, `timeout` as `on_timeout` says.
///            What the range throws leaves `next`.
/// Lifetime:  destroyed early it kills the tasks that run and leaves no messages. Not movable.
/// Bounds:    at most `max_concurrency` tasks exist, counting those that have ended and whose result nobody has taken,
///            and those that were killed and have not ended yet. (Elixir's ordered stream piles results up behind a
///            slow one.)
template <std::ranges::input_range View, class Function>
class TaskStream {
 public:
  using Input = std::ranges::range_value_t<View>;
  using T = typename detail::TaskValueOf<std::invoke_result_t<const Function&, Input>>::Type;
  using Item = TaskStreamItem<Input, T>;

  TaskStream(View range, Function function, const TaskStreamOptions& options)
      : range_(std::move(range)),
        function_(std::make_shared<const Function>(std::move(function))),
        options_(options),
        owner_(this_process::pid()) {}
  TaskStream(const TaskStream&) = delete;
  TaskStream& operator=(const TaskStream&) = delete;
  ~TaskStream() { stop(); }

  /// The next item; nothing when all have come: `Result<std::optional<…>> item = co_await stream.next();`.
  [[nodiscard]] Async<Result<std::optional<Item>>> next() {
    if (std::optional<Error> wrong = misuse()) co_return *wrong;
    for (;;) {
      start_tasks();
      if (const auto ready = find_ready(); ready != slots_.end()) {
        std::optional<Item> item = take(ready);
        start_tasks();  // they run while the caller looks at the item
        co_return std::move(item);
      }
      if (slots_.empty() && (ended_ || killed_.empty())) co_return std::optional<Item>();
      if (const std::optional<Error> late = handle_late_tasks()) {
        stop();
        co_return *late;
      }
      if (find_ready() != slots_.end()) continue;
      std::vector<detail::TaskCore*> awaited;
      const SteadyTime deadline = list_awaited(awaited);
      const bool one_ended = co_await detail::wait_for_any(awaited, deadline);
      static_cast<void>(one_ended);  // either way: look again
    }
  }

  /// Kills the tasks that run; `next` gives nothing from now on.
  void stop() noexcept {
    ended_ = true;
    for (Slot& slot : slots_) detail::abandon_task(*slot.state);
    slots_.clear();
    killed_.clear();
  }

 private:
  using State = detail::TaskState<T>;

  struct Body {
    std::shared_ptr<const Function> function;  // shared by all tasks of the stream; ends with the last
    Input input;
    auto operator()() { return std::invoke(*function, std::move(input)); }
  };

  struct Slot {
    std::size_t index;
    detail::TaskRef<State> state;
    SteadyTime deadline;
    std::optional<Input> input;
    bool late = false;
    std::uint64_t late_order = 0;
  };
  using Slots = std::list<Slot>;

  [[nodiscard]] std::optional<Error> misuse() const {
    if (!this_process::inside() || this_process::pid() != owner_) {
      return detail::bad_task_option("only the process that made a task stream may read it");
    }
    constexpr std::size_t concurrency_max = 1'000'000;
    if (options_.max_concurrency < 1 || options_.max_concurrency > concurrency_max) {
      return detail::bad_task_option(
          concat("task stream: max_concurrency must be 1..", concurrency_max, ", got ", options_.max_concurrency));
    }
    if (options_.timeout <= Duration::zero()) {
      return detail::bad_task_option("task stream: timeout must be more than zero; Duration::max() means none");
    }
    if (options_.on_timeout != StreamLate::exit && options_.on_timeout != StreamLate::kill_task) {
      return detail::bad_task_option("task stream: on_timeout must be exit or kill_task");
    }
    if (options_.zip_input_on_exit && !std::copy_constructible<Input>) {
      return detail::bad_task_option("task stream: zip_input_on_exit needs inputs that can be copied");
    }
    return std::nullopt;
  }

  /// Starts as many tasks as there is room for.
  void start_tasks() {
    std::erase_if(killed_, [](const detail::TaskRef<State>& task) { return task->done(); });
    while (!ended_ && slots_.size() + killed_.size() < options_.max_concurrency) {
      if (!at_) at_.emplace(std::ranges::begin(range_));
      if (*at_ == std::ranges::end(range_)) {
        ended_ = true;
        return;
      }
      Body body{function_, Input(**at_)};
      ++*at_;
      std::optional<Input> kept;
      if constexpr (std::copy_constructible<Input>) {
        if (options_.zip_input_on_exit) kept.emplace(body.input);
      }
      auto [state, node] = detail::make_task(std::move(body), owner_, Pid());
      detail::launch_task(*state, node);
      slots_.push_back(Slot{next_index_++, std::move(state), detail::task_deadline(options_.timeout), std::move(kept)});
    }
  }

  [[nodiscard]] static bool ready(const Slot& slot) noexcept { return slot.late || slot.state->done(); }
  [[nodiscard]] static std::uint64_t order_of(const Slot& slot) noexcept {
    return slot.late ? slot.late_order : slot.state->order;
  }

  /// The item whose turn it is, if it is ready.
  [[nodiscard]] typename Slots::iterator find_ready() {
    if (options_.ordered) return !slots_.empty() && ready(slots_.front()) ? slots_.begin() : slots_.end();
    auto first = slots_.end();
    for (auto slot = slots_.begin(); slot != slots_.end(); ++slot) {
      if (ready(*slot) && (first == slots_.end() || order_of(*slot) < order_of(*first))) first = slot;
    }
    return first;
  }

  [[nodiscard]] std::optional<Item> take(typename Slots::iterator slot) {
    Result<T> result = slot->late           ? Result<T>(detail::task_timed_out(options_.timeout))
                       : slot->state->value ? std::move(*slot->state->value)
                                            : Result<T>(detail::task_ended(slot->state->reason));
    if (result) slot->input.reset();
    std::optional<Item> item(Item{slot->index, std::move(result), std::move(slot->input)});
    slots_.erase(slot);
    return item;
  }

  /// Kills the tasks whose time is up, or says that the stream ends.
  [[nodiscard]] std::optional<Error> handle_late_tasks() {
    const SteadyTime now = this_process::runtime().clock().steady_now();
    for (Slot& slot : slots_) {
      if (ready(slot) || slot.deadline > now) continue;
      if (options_.on_timeout == StreamLate::exit) return detail::task_timed_out(options_.timeout);
      detail::abandon_task(*slot.state);
      slot.late = true;
      slot.late_order = this_process::runtime().next_ref();
      killed_.push_back(slot.state);
    }
    return std::nullopt;
  }

  /// What may change what `next` can do, and the first time limit.
  [[nodiscard]] SteadyTime list_awaited(std::vector<detail::TaskCore*>& awaited) const {
    SteadyTime deadline = SteadyTime::max();
    for (const Slot& slot : slots_) {
      if (slot.late) continue;
      // Also one that has ended since it was looked for: waiting for it returns at once.
      if (!options_.ordered || &slot == &slots_.front()) awaited.push_back(slot.state.get());
      if (!slot.state->done()) deadline = std::min(deadline, slot.deadline);
    }
    if (!ended_) {  // each that has really ended makes room for another
      for (const detail::TaskRef<State>& task : killed_) awaited.push_back(task.get());
    }
    return deadline;
  }

  View range_;
  std::optional<std::ranges::iterator_t<View>> at_;
  std::shared_ptr<const Function> function_;  // shared with the tasks, which may outlive us by a moment
  const TaskStreamOptions options_;
  const Pid owner_;
  Slots slots_;                                 // in the order of the input
  std::vector<detail::TaskRef<State>> killed_;  // they still count, until their processes have ended
  std::size_t next_index_ = 0;
  bool ended_ = false;  // nothing more is taken from the range
};

namespace task {

/// A stream of `function(element)` over `range`, inside a process. A range that is an lvalue is borrowed and must
/// outlive the stream; any other is kept. `function` is a plain callable or a coroutine; it takes the element by value.
template <std::ranges::viewable_range Range, class Function>
  requires std::invocable<const Function&, std::ranges::range_value_t<Range>>
[[nodiscard]] TaskStream<std::views::all_t<Range>, Function> async_stream(Range&& range, Function function,
                                                                          const TaskStreamOptions& options = {}) {
  return TaskStream<std::views::all_t<Range>, Function>(std::views::all(std::forward<Range>(range)),
                                                        std::move(function), options);
}

}  // namespace task
}  // namespace dagverk
