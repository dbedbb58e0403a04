// Tasks, task streams and task supervisors on the deterministic runtime, over several seeds, and once on threads.

#include "dagverk/runtime/task.hpp"

#include "dagverk/runtime/deterministic_runtime.hpp"
#include "dagverk/runtime/gen_server.hpp"
#include "dagverk/runtime/registry_dispatch.hpp"
#include "dagverk/runtime/runtime.hpp"
#include "dagverk/runtime/task_stream.hpp"
#include "dagverk/runtime/task_supervisor.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <ranges>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace dagverk {
namespace {

using namespace std::chrono_literals;

Async<int> late(Duration delay, int value) {
  co_await this_process::sleep(delay);
  co_return value;
}

/// Every test runs under a few orders of everything.
class TaskTest : public testing::TestWithParam<std::uint64_t> {
 protected:
  /// Runs a coroutine in a process and gives its result.
  template <class Work>
  auto in_process(const Work& work) {
    return runtime.run(work());
  }
  /// As `in_process`, for work whose checks are inside.
  template <class Work>
  void check(const Work& work) {
    const Result<void> done = runtime.run(work());
    EXPECT_TRUE(done) << (done ? "" : done.error().message());
    runtime.run_until_idle();
  }

  DeterministicRuntime runtime{DeterministicOptions{.seed = GetParam()}};
};
INSTANTIATE_TEST_SUITE_P(seeds, TaskTest, testing::Values(1U, 2U, 3U, 4U));

TEST_P(TaskTest, CC_TSK_001_await_gives_the_value_once_the_process_of_the_task_has_ended) {
  check([]() -> Async<Result<void>> {
    Task<int> plain = task::async([] { return 1; });
    Task<int> slow = task::async([] { return late(2s, 2); });
    Task<std::string> result = task::async([]() -> Result<std::string> { return "three"; });
    Task<std::monostate> nothing = task::async([] {});
    Task<int> failing = task::async([]() -> Async<Result<int>> { co_return Error(ErrorCode::io, "no disk"); });
    Result<int> one = co_await plain.await();
    EXPECT_EQ(one, 1);
    EXPECT_FALSE(RuntimeBase::alive(plain.pid()));
    EXPECT_EQ(plain.exit_reason(), ExitReason::normal);
    EXPECT_FALSE(slow.done());
    Result<int> two = co_await slow.await();
    EXPECT_EQ(two, 2);
    Result<std::string> three = co_await result.await();
    EXPECT_EQ(three, "three");
    Result<std::monostate> none = co_await nothing.await();
    EXPECT_TRUE(none);
    Result<int> failed = co_await failing.await();
    EXPECT_EQ(failed.error().code(), ErrorCode::io);
    co_return {};
  });
  EXPECT_EQ(runtime.process_count(), 0U);
}

TEST_P(TaskTest, CC_TSK_001_a_move_only_value_and_a_completed_task) {
  check([]() -> Async<Result<void>> {
    Task<std::unique_ptr<int>> owner = task::async([] { return std::make_unique<int>(5); });
    Result<std::unique_ptr<int>> pointer = co_await owner.await();
    EXPECT_EQ(**pointer, 5);
    Task<int> ready = task::completed(7);
    EXPECT_TRUE(ready.done());
    EXPECT_FALSE(ready.pid());
    Result<int> seven = co_await ready.await(0s);
    EXPECT_EQ(seven, 7);
    co_return {};
  });
}

/// A server that traps exits and writes down what it hears, and that hands its task to another to await.
class Trapper : public GenServer<Trapper> {
 public:
  struct Await {
    using Reply = int;
    std::function<int()> body;
  };
  struct Steal {
    using Reply = ErrorCode;
    Task<int>* task;
  };
  struct Heard {
    using Reply = std::vector<std::string>;
  };

  Trapper() { this_process::trap_exits(); }
  Async<Result<int>> handle_call(Await request) {
    Task<int> task = task::async(std::move(request.body));
    Result<int> result = co_await task.await();
    co_return result;
  }
  Async<ErrorCode> handle_call(Steal request) {
    Result<int> result = co_await request.task->await();
    co_return result ? ErrorCode::internal : result.error().code();
  }
  std::vector<std::string> handle_call(Heard) { return heard_; }
  void handle_info(Exit exit) { heard_.push_back(exit.reason.to_string()); }

 private:
  std::vector<std::string> heard_;
};

TEST_P(TaskTest, CC_TSK_002_await_with_no_time_left_kills_the_task_and_says_timeout) {
  check([&]() -> Async<Result<void>> {
    Task<int> slow = task::async([] { return late(1h, 1); });
    Result<int> none = co_await slow.await(0s);
    EXPECT_EQ(none.error().code(), ErrorCode::timeout);
    Task<int> slower = task::async([] { return late(1h, 1); });
    const SteadyTime begin = runtime.clock().steady_now();
    Result<int> later = co_await slower.await(3s);
    EXPECT_EQ(later.error().code(), ErrorCode::timeout);
    EXPECT_EQ(runtime.clock().steady_now() - begin, 3s);
    co_await this_process::sleep(1ms);
    EXPECT_FALSE(RuntimeBase::alive(slow.pid()));
    EXPECT_FALSE(RuntimeBase::alive(slower.pid()));
    EXPECT_EQ(runtime.exit_reason(slower.pid()), ExitReason::killed);
    co_return {};
  });
}

TEST_P(TaskTest, CC_TSK_002_a_linked_task_that_crashes_ends_its_owner_with_the_same_reason) {
  bool went_on = false;
  const auto work = [&]() -> Async<Result<int>> {
    Task<int> task = task::async([]() -> int { throw std::runtime_error("task broke"); });
    Result<int> result = co_await task.await();
    went_on = true;
    co_return result;
  };
  const Result<int> outcome = in_process(work);
  EXPECT_EQ(outcome.error().code(), ErrorCode::exited);
  EXPECT_NE(outcome.error().message().find("task broke"), std::string::npos);
  EXPECT_FALSE(went_on);
}

TEST_P(TaskTest, CC_TSK_002_an_owner_that_traps_exits_gets_the_error_and_the_signal) {
  ServerRef<Trapper> trapper = runtime.start<Trapper>().value();
  EXPECT_EQ(trapper.call_blocking<Trapper::Await>([] { return 3; }), 3);
  EXPECT_TRUE(trapper.call_blocking<Trapper::Heard>()->empty());  // a task that gives its value says nothing else
  const auto crash = []() -> int { throw std::runtime_error("task broke"); };
  const Result<int> crashed = trapper.call_blocking<Trapper::Await>(crash);
  EXPECT_EQ(crashed.error().code(), ErrorCode::exited);
  EXPECT_EQ(trapper.call_blocking<Trapper::Heard>(), std::vector<std::string>{"error std::runtime_error: task broke"});
  const auto leave = [] {
    this_process::exit(this_process::pid(), ExitReason::custom("my own reason"));
    return late(1h, 1);
  };
  check([&]() -> Async<Result<void>> {
    Task<int> leaving = task::async_nolink(leave);
    Result<int> left = co_await leaving.await();
    EXPECT_EQ(left.error().code(), ErrorCode::exited);
    EXPECT_EQ(leaving.exit_reason(), ExitReason::custom("my own reason"));
    co_return {};
  });
}

TEST_P(TaskTest, CC_TSK_002_another_process_may_not_await_and_nobody_may_twice) {
  ServerRef<Trapper> stranger = runtime.start<Trapper>().value();
  check([&]() -> Async<Result<void>> {
    Task<int> task = task::async([] { return late(1s, 1); });
    Result<ErrorCode> stolen = co_await stranger.call<Trapper::Steal>(&task);
    EXPECT_EQ(stolen, ErrorCode::invalid_argument);
    Result<int> negative = co_await task.await(-1s);
    EXPECT_EQ(negative.error().code(), ErrorCode::invalid_argument);
    Result<int> value = co_await task.await();
    EXPECT_EQ(value, 1);
    Result<int> again = co_await task.await();
    EXPECT_EQ(again.error().code(), ErrorCode::invalid_argument);
    EXPECT_EQ(again.error().message(), "the task has been awaited already; a task is awaited once");
    Result<std::optional<int>> yielded = co_await task.yield();
    EXPECT_EQ(yielded.error().code(), ErrorCode::invalid_argument);
    co_return {};
  });
}

TEST_P(TaskTest, CC_TSK_004_yield_gives_the_value_or_nothing_yet_or_the_end_without_value) {
  check([&]() -> Async<Result<void>> {
    Task<int> slow = task::async([] { return late(3s, 9); });
    Result<std::optional<int>> early = co_await slow.yield(1s);
    EXPECT_EQ(early.value(), std::optional<int>());
    Result<std::optional<int>> look = co_await slow.yield(0s);
    EXPECT_EQ(look.value(), std::optional<int>());
    EXPECT_TRUE(RuntimeBase::alive(slow.pid()));
    Result<std::optional<int>> value = co_await slow.yield();
    EXPECT_EQ(value.value(), std::optional<int>(9));
    Task<int> silent = task::async_nolink([] {
      this_process::exit(this_process::pid(), ExitReason::normal);
      return late(1h, 1);
    });
    Result<std::optional<int>> none = co_await silent.yield();
    EXPECT_EQ(none.error().code(), ErrorCode::exited);
    EXPECT_EQ(silent.exit_reason(), ExitReason::normal);
    co_return {};
  });
}

TEST_P(TaskTest, CC_TSK_005_yield_many_with_a_limit_and_each_choice_for_those_that_are_late) {
  check([&]() -> Async<Result<void>> {
    for (const TasksLate choice : {TasksLate::run_on, TasksLate::ignore, TasksLate::kill}) {
      std::vector<Task<int>> tasks;
      for (int number = 1; number <= 3; ++number) {
        tasks.push_back(task::async([number] { return late(std::chrono::seconds(number), number); }));
      }
      YieldManyOptions options{.timeout = 2500ms, .on_timeout = choice};
      Result<std::vector<Result<std::optional<int>>>> results = co_await task::yield_many(tasks, options);
      EXPECT_EQ(results->size(), 3U);
      EXPECT_EQ((*results)[0].value(), std::optional<int>(1));
      EXPECT_EQ((*results)[1].value(), std::optional<int>(2));
      EXPECT_EQ((*results)[2].value(), std::optional<int>());
      co_await this_process::sleep(1ms);
      EXPECT_EQ(RuntimeBase::alive(tasks[2].pid()), choice != TasksLate::kill);
      Result<int> last = co_await tasks[2].await();
      if (choice == TasksLate::run_on) {
        EXPECT_EQ(last, 3);
      } else {
        EXPECT_EQ(last.error().code(), ErrorCode::invalid_argument);
      }
      co_await this_process::sleep(1s);
      EXPECT_FALSE(RuntimeBase::alive(tasks[2].pid()));
      const ExitReason expected = choice == TasksLate::kill ? ExitReason::killed : ExitReason::normal;
      EXPECT_EQ(runtime.exit_reason(tasks[2].pid()), expected);
    }
    std::vector<Task<int>> tasks;
    for (int number : {3, 1, 2}) {
      tasks.push_back(task::async([number] { return late(std::chrono::seconds(number), number); }));
    }
    YieldManyOptions first_only{.limit = 1, .on_timeout = TasksLate::kill};
    Result<std::vector<Result<std::optional<int>>>> first = co_await task::yield_many(tasks, first_only);
    EXPECT_EQ((*first)[0].value(), std::optional<int>());
    EXPECT_EQ((*first)[1].value(), std::optional<int>(1));
    EXPECT_EQ((*first)[2].value(), std::optional<int>());
    Result<int> three = co_await tasks[0].await();
    EXPECT_EQ(three, 3);
    co_return {};
  });
}

TEST_P(TaskTest, await_many_keeps_the_order_of_the_tasks_and_shares_one_limit) {
  check([&]() -> Async<Result<void>> {
    std::vector<Task<int>> tasks;
    for (int number : {3, 1, 2}) {
      tasks.push_back(task::async([number] { return late(std::chrono::seconds(number), number); }));
    }
    const SteadyTime begin = runtime.clock().steady_now();
    Result<std::vector<int>> values = co_await task::await_many(tasks);
    EXPECT_EQ(values, (std::vector<int>{3, 1, 2}));
    EXPECT_EQ(runtime.clock().steady_now() - begin, 3s);
    Result<std::vector<int>> again = co_await task::await_many(tasks);
    EXPECT_EQ(again.error().code(), ErrorCode::invalid_argument);

    std::vector<Task<int>> late_ones;
    for (int number : {1, 60}) {
      late_ones.push_back(task::async([number] { return late(std::chrono::seconds(number), number); }));
    }
    Result<std::vector<int>> timed_out = co_await task::await_many(late_ones, 2s);
    EXPECT_EQ(timed_out.error().code(), ErrorCode::timeout);

    std::vector<Task<int>> broken;
    broken.push_back(task::async_nolink([] { return late(1h, 1); }));
    broken.push_back(task::async_nolink([]() -> int { throw std::runtime_error("one is enough"); }));
    const SteadyTime before = runtime.clock().steady_now();
    Result<std::vector<int>> failed = co_await task::await_many(broken, Duration::max());
    EXPECT_EQ(failed.error().code(), ErrorCode::exited);
    EXPECT_EQ(runtime.clock().steady_now(), before);
    std::vector<Task<int>> none;
    Result<std::vector<int>> empty = co_await task::await_many(none);
    EXPECT_EQ(empty, std::vector<int>());
    co_return {};
  });
  EXPECT_EQ(runtime.process_count(), 0U);
}

TEST_P(TaskTest, CC_TSK_006_shutdown_gives_the_value_or_nothing_or_says_how_the_task_ended) {
  check([&]() -> Async<Result<void>> {
    Task<int> ready = task::async([] { return 4; });
    co_await this_process::sleep(1ms);
    Result<std::optional<int>> value = co_await ready.shutdown();
    EXPECT_EQ(value.value(), std::optional<int>(4));
    Result<std::optional<int>> handled = co_await ready.shutdown();
    EXPECT_EQ(handled.error().code(), ErrorCode::no_process);

    Task<int> running = task::async([] { return late(1h, 1); });
    co_await this_process::sleep(1ms);
    Result<std::optional<int>> stopped = co_await running.shutdown();
    EXPECT_EQ(stopped.value(), std::optional<int>());
    EXPECT_EQ(running.exit_reason(), ExitReason::shutdown);

    Task<int> crashed = task::async_nolink([]() -> int { throw std::runtime_error("broke"); });
    co_await this_process::sleep(1ms);
    Result<std::optional<int>> broke = co_await crashed.shutdown();
    EXPECT_EQ(broke.error().code(), ErrorCode::exited);
    EXPECT_EQ(crashed.exit_reason(), ExitReason::error("std::runtime_error", "broke"));

    Task<int> killed = task::async_nolink([] { return late(1h, 1); });
    runtime.exit(killed.pid(), ExitReason::kill);
    co_await this_process::sleep(1ms);
    Result<std::optional<int>> dead = co_await killed.shutdown();
    EXPECT_EQ(dead.error().code(), ErrorCode::exited);
    EXPECT_EQ(killed.exit_reason(), ExitReason::killed);

    const auto stubborn_body = [] {
      this_process::trap_exits();
      return late(1h, 1);
    };
    Task<int> stubborn = task::async(stubborn_body);
    co_await this_process::sleep(1ms);
    const SteadyTime begin = runtime.clock().steady_now();
    Result<std::optional<int>> forced = co_await stubborn.shutdown(2s);
    EXPECT_EQ(forced.error().code(), ErrorCode::exited);
    EXPECT_EQ(stubborn.exit_reason(), ExitReason::killed);
    EXPECT_EQ(runtime.clock().steady_now() - begin, 2s);

    Task<int> brutal = task::async(stubborn_body);
    Result<std::optional<int>> at_once = co_await brutal.shutdown(0s);
    EXPECT_EQ(at_once.value(), std::optional<int>());
    co_return {};
  });
  EXPECT_EQ(runtime.process_count(), 0U);
}

TEST_P(TaskTest, ignore_lets_the_task_run_on_unlinked_and_gives_a_value_that_is_there) {
  Pid alone;
  check([&]() -> Async<Result<void>> {
    Task<int> ready = task::completed(2);
    const std::optional<Result<int>> value = ready.ignore();
    EXPECT_TRUE(value && *value == 2);
    Task<int> crashing = task::async([]() -> Async<int> {
      co_await this_process::sleep(1s);
      throw std::runtime_error("alone");
    });
    alone = crashing.pid();
    EXPECT_FALSE(crashing.ignore());
    co_await this_process::sleep(2s);  // survives the crash
    co_return {};
  });
  EXPECT_EQ(runtime.exit_reason(alone), ExitReason::error("std::runtime_error", "alone"));
}

TEST_P(TaskTest, a_task_that_is_dropped_is_killed_and_its_owner_hears_nothing) {
  Pid dropped;
  Pid orphaned;
  check([&]() -> Async<Result<void>> {
    {
      Task<int> task = task::async([] { return late(1h, 1); });
      dropped = task.pid();
    }
    co_await this_process::sleep(1s);
    Task<int> task = task::async([] { return late(1h, 1); });
    orphaned = task.pid();
    co_return {};
  });
  EXPECT_EQ(runtime.exit_reason(dropped), ExitReason::killed);
  EXPECT_EQ(runtime.exit_reason(orphaned), ExitReason::killed);
  EXPECT_EQ(runtime.process_count(), 0U);
}

std::vector<int> numbers(int first, int last) {
  std::vector<int> list(static_cast<std::size_t>(last - first + 1));
  std::iota(list.begin(), list.end(), first);
  return list;
}

TEST_P(TaskTest, CC_TSK_008_an_ordered_stream_gives_results_in_the_order_of_the_input) {
  check([&]() -> Async<Result<void>> {
    for (const std::size_t concurrency : {1U, 2U, 4U}) {
      const SteadyTime begin = runtime.clock().steady_now();
      TaskStreamOptions options{.max_concurrency = concurrency};
      auto stream = task::async_stream(
          std::vector<int>{4, 3, 2, 1}, [](int value) { return late(std::chrono::seconds(value), value * 10); },
          options);
      std::vector<int> seen;
      for (std::size_t index = 0;; ++index) {
        auto item = co_await stream.next();
        EXPECT_TRUE(item);
        if (!*item) break;
        EXPECT_EQ((*item)->index, index);
        seen.push_back((*item)->result.value_or(-1));
      }
      EXPECT_EQ(seen, (std::vector<int>{40, 30, 20, 10}));
      const Duration expected = concurrency == 1 ? 10s : concurrency == 2 ? 6s : 4s;
      EXPECT_LE(runtime.clock().steady_now() - begin, expected);
      auto after = co_await stream.next();
      EXPECT_TRUE(after && !*after);
    }
    co_return {};
  });
}

TEST_P(TaskTest, CC_TSK_009_an_unordered_stream_gives_results_as_they_come) {
  check([&]() -> Async<Result<void>> {
    TaskStreamOptions options{.max_concurrency = 4, .ordered = false};
    auto stream = task::async_stream(
        std::vector<int>{4, 3, 1, 2}, [](int value) { return late(std::chrono::seconds(value), value); }, options);
    std::vector<int> seen;
    std::vector<std::size_t> indexes;
    for (;;) {
      auto item = co_await stream.next();
      if (!item || !*item) break;
      seen.push_back((*item)->result.value());
      indexes.push_back((*item)->index);
      if (seen.size() == 1) co_await this_process::sleep(30s);  // the others end meanwhile, in their own order
    }
    EXPECT_EQ(seen, (std::vector<int>{1, 2, 3, 4}));
    EXPECT_EQ(indexes, (std::vector<std::size_t>{2, 3, 1, 0}));
    co_return {};
  });
}

TEST_P(TaskTest, CC_TSK_010_a_late_task_ends_the_stream_or_is_killed_with_or_without_its_input) {
  const auto work = [](int value) { return late(std::chrono::seconds(value), value); };
  check([&]() -> Async<Result<void>> {
    const std::vector<int> inputs{1, 60, 2};
    {
      TaskStreamOptions options{.max_concurrency = 2, .timeout = 5s};
      auto stream = task::async_stream(inputs, work, options);
      auto first = co_await stream.next();
      EXPECT_EQ((*first)->result, 1);
      auto failed = co_await stream.next();
      EXPECT_EQ(failed.error().code(), ErrorCode::timeout);
      auto after = co_await stream.next();
      EXPECT_TRUE(after && !*after);
    }
    for (const bool zip : {false, true}) {
      for (const bool ordered : {true, false}) {
        TaskStreamOptions options{.max_concurrency = 2,
                                  .ordered = ordered,
                                  .timeout = 5s,
                                  .on_timeout = StreamLate::kill_task,
                                  .zip_input_on_exit = zip};
        auto stream = task::async_stream(inputs, work, options);
        std::map<std::size_t, std::string> seen;
        for (;;) {
          auto item = co_await stream.next();
          EXPECT_TRUE(item);
          if (!*item) break;
          std::string text = (*item)->result ? std::to_string(*(*item)->result)
                                             : std::string(to_string((*item)->result.error().code()));
          if ((*item)->input) text += " of " + std::to_string(*(*item)->input);
          seen[(*item)->index] = text;
        }
        const std::string late_text = zip ? "timeout of 60" : "timeout";
        EXPECT_EQ(seen, (std::map<std::size_t, std::string>{{0, "1"}, {1, late_text}, {2, "2"}}));
      }
    }
    co_return {};
  });
  EXPECT_EQ(runtime.process_count(), 0U);
}

TEST_P(TaskTest, a_crash_in_a_stream_is_an_item_and_the_stream_goes_on) {
  check([&]() -> Async<Result<void>> {
    const auto work = [](int value) {
      if (value == 2) throw std::runtime_error("two is too many");
      return value;
    };
    auto stream = task::async_stream(numbers(1, 3), work, TaskStreamOptions{.zip_input_on_exit = true});
    auto one = co_await stream.next();
    auto two = co_await stream.next();
    auto three = co_await stream.next();
    EXPECT_EQ((*one)->result, 1);
    EXPECT_FALSE((*one)->input);
    EXPECT_EQ((*two)->result.error().code(), ErrorCode::exited);
    EXPECT_EQ((*two)->input, 2);
    EXPECT_EQ((*three)->result, 3);
    co_return {};
  });
}

TEST_P(TaskTest, CC_TSK_012_a_stream_that_is_left_early_kills_what_runs_and_leaves_nothing_behind) {
  auto witness = std::make_shared<int>(0);
  int pulled = 0;
  Pid consumer;
  check([&]() -> Async<Result<void>> {
    this_process::trap_exits();
    consumer = this_process::pid();
    {
      auto inputs = std::views::iota(0, 1'000'000) | std::views::transform([&pulled, held = witness](int value) {
                      ++pulled;
                      return value;
                    });
      const auto work = [held = witness](int value) { return late(std::chrono::seconds(value < 2 ? 1 : 3600), value); };
      TaskStreamOptions options{.max_concurrency = 3, .timeout = Duration::max()};
      auto stream = task::async_stream(std::move(inputs), work, options);
      EXPECT_EQ(pulled, 0);  // lazy
      auto first = co_await stream.next();
      auto second = co_await stream.next();
      EXPECT_EQ((*first)->result, 0);
      EXPECT_EQ((*second)->result, 1);
    }
    co_await this_process::sleep(1s);
    for (const ProcessInfo& process : runtime.snapshot().processes) {
      EXPECT_EQ(process.pid, consumer);
      EXPECT_EQ(process.mailbox_depth, 0U);
    }
    co_return {};
  });
  EXPECT_EQ(pulled, 5);
  EXPECT_EQ(witness.use_count(), 1);  // the input and the function are gone, too
  EXPECT_EQ(runtime.process_count(), 0U);
}

TEST_P(TaskTest, CC_TSK_013_options_out_of_range_are_an_error_that_says_which) {
  check([&]() -> Async<Result<void>> {
    const auto same = [](int value) { return value; };
    const std::vector<int> inputs{1};
    TaskStreamOptions none{.max_concurrency = 0};
    auto no_room = task::async_stream(inputs, same, none);
    auto first = co_await no_room.next();
    EXPECT_EQ(first.error().code(), ErrorCode::invalid_argument);
    EXPECT_EQ(first.error().message(), "task stream: max_concurrency must be 1..1000000, got 0");
    TaskStreamOptions no_time{.timeout = 0s};
    auto hasty = task::async_stream(inputs, same, no_time);
    auto second = co_await hasty.next();
    EXPECT_EQ(second.error().code(), ErrorCode::invalid_argument);
    TaskStreamOptions odd{.on_timeout = static_cast<StreamLate>(9)};
    auto strange = task::async_stream(inputs, same, odd);
    auto third = co_await strange.next();
    EXPECT_EQ(third.error().code(), ErrorCode::invalid_argument);
    TaskStreamOptions zip{.zip_input_on_exit = true};
    std::vector<std::unique_ptr<int>> pointers;
    auto moving = task::async_stream(
        pointers | std::views::transform([](auto& p) { return std::move(p); }), [](std::unique_ptr<int>) { return 1; },
        zip);
    auto fourth = co_await moving.next();
    EXPECT_EQ(fourth.error().code(), ErrorCode::invalid_argument);
    std::vector<Task<int>> tasks;
    tasks.push_back(task::completed(1));
    Result<std::vector<int>> negative = co_await task::await_many(tasks, -1s);
    EXPECT_EQ(negative.error().code(), ErrorCode::invalid_argument);
    co_return {};
  });
}

TEST_P(TaskTest, CC_TSK_014_no_more_tasks_exist_than_max_concurrency_allows) {
  for (const bool ordered : {true, false}) {
    int alive = 0;
    int high_water = 0;
    check([&]() -> Async<Result<void>> {
      const auto work = [&](int value) -> Async<int> {
        struct Count {
          int& alive;
          ~Count() { --alive; }
        };
        high_water = std::max(high_water, ++alive);
        const Count count{alive};
        co_await this_process::sleep(std::chrono::milliseconds(value % 7));
        co_return value;
      };
      TaskStreamOptions options{.max_concurrency = 4, .ordered = ordered};
      auto stream = task::async_stream(numbers(0, 999), work, options);
      std::multiset<int> seen;
      for (;;) {
        auto item = co_await stream.next();
        if (!item || !*item) break;
        EXPECT_LE(runtime.process_count(), 5U);
        seen.insert((*item)->result.value_or(-1));
      }
      EXPECT_EQ(seen.size(), 1000U);
      EXPECT_EQ(*seen.rbegin(), 999);
      co_return {};
    });
    EXPECT_EQ(high_water, 4);
    EXPECT_EQ(alive, 0);
  }
}

TEST_P(TaskTest, an_ordered_stream_starts_nothing_more_behind_a_slow_head) {
  int started = 0;
  check([&]() -> Async<Result<void>> {
    const auto work = [&](int value) {
      ++started;
      return late(value == 0 ? Duration(100s) : Duration(1ms), value);
    };
    TaskStreamOptions options{.max_concurrency = 4, .timeout = Duration::max()};
    auto stream = task::async_stream(numbers(0, 99), work, options);
    auto head = co_await stream.next();
    EXPECT_EQ((*head)->result, 0);
    EXPECT_LE(started, 5);  // four, and perhaps the one that the head made room for
    co_return {};
  });
}

TEST_P(TaskTest, CC_TSK_016_a_task_without_link_crashes_alone_and_its_owner_may_monitor_it) {
  class Owner : public GenServer<Owner> {
   public:
    struct Go {
      using Reply = ErrorCode;
    };
    struct Downs {
      using Reply = std::vector<std::string>;
    };
    Async<ErrorCode> handle_call(Go) {
      Task<int> task = task::async_nolink([]() -> int { throw std::runtime_error("broke"); });
      static_cast<void>(this_process::monitor(task.pid()));
      Result<int> result = co_await task.await();
      co_return result.error().code();
    }
    std::vector<std::string> handle_call(Downs) { return downs_; }
    void handle_info(Down down) { downs_.push_back(down.reason.to_string()); }

   private:
    std::vector<std::string> downs_;
  };
  ServerRef<Owner> owner = runtime.start<Owner>().value();
  EXPECT_EQ(owner.call_blocking<Owner::Go>(), ErrorCode::exited);
  runtime.run_until_idle();
  ASSERT_EQ(owner.call_blocking<Owner::Downs>()->size(), 1U);
  EXPECT_TRUE(RuntimeBase::alive(owner.pid()));
}

TEST_P(TaskTest, CC_TSK_016_a_supervised_task_crashes_alone_and_its_supervisor_counts) {
  ServerRef<TaskSupervisor> supervisor =
      runtime.start<TaskSupervisor>(TaskSupervisorOptions{.max_children = 2}).value();
  check([&]() -> Async<Result<void>> {
    const auto crash = []() -> int { throw std::runtime_error("broke"); };
    const auto slow = [] { return late(1s, 8); };
    Result<Task<int>> crashing = co_await task::async_nolink(supervisor, crash);
    EXPECT_TRUE(crashing);
    Result<int> crashed = co_await crashing->await();
    EXPECT_EQ(crashed.error().code(), ErrorCode::exited);
    Result<Task<int>> running = co_await task::async_nolink(supervisor, slow);
    Result<Pid> child = co_await task::start_child(supervisor, slow);
    EXPECT_TRUE(child);
    Result<std::size_t> count = co_await supervisor.call<TaskSupervisor::Count>();
    EXPECT_EQ(count, 2U);
    Result<Task<int>> refused = co_await task::async_nolink(supervisor, slow);
    EXPECT_EQ(refused.error().code(), ErrorCode::refused);
    Result<int> value = co_await running->await();
    EXPECT_EQ(value, 8);
    co_await this_process::sleep(1s);
    Result<std::size_t> none = co_await supervisor.call<TaskSupervisor::Count>();
    EXPECT_EQ(none, 0U);
    co_return {};
  });
}

TEST_P(TaskTest, a_task_supervisor_takes_its_tasks_along_in_order_and_by_force) {
  const TaskSupervisorOptions options{.shutdown = 2s};
  ServerRef<TaskSupervisor> supervisor = runtime.start<TaskSupervisor>(options).value();
  Pid obedient;
  Pid stubborn;
  check([&]() -> Async<Result<void>> {
    const auto slow = [] { return late(1h, 1); };
    const auto trapping = [] {
      this_process::trap_exits();
      return late(1h, 1);
    };
    Result<Pid> first = co_await task::start_child(supervisor, slow);
    Result<Pid> second = co_await task::start_child(supervisor, trapping);
    obedient = first.value();
    stubborn = second.value();
    co_return {};
  });
  EXPECT_TRUE(RuntimeBase::alive(obedient));
  const SteadyTime begin = runtime.clock().steady_now();
  EXPECT_TRUE(runtime.stop(supervisor.pid()));
  runtime.run_until_idle();
  EXPECT_EQ(runtime.exit_reason(obedient), ExitReason::shutdown);
  EXPECT_EQ(runtime.exit_reason(stubborn), ExitReason::killed);
  EXPECT_EQ(runtime.clock().steady_now() - begin, 2s);
  EXPECT_EQ(runtime.process_count(), 0U);

  ServerRef<TaskSupervisor> killed = runtime.start<TaskSupervisor>().value();
  check([&]() -> Async<Result<void>> {
    const auto trapping = []() -> Async<void> {
      this_process::trap_exits();
      co_await this_process::sleep(1h);
    };
    Result<Pid> child = co_await task::start_child(killed, trapping);
    stubborn = child.value();
    co_return {};
  });
  runtime.exit(killed.pid(), ExitReason::kill);
  runtime.run_until_idle();
  EXPECT_EQ(runtime.stop_all(2h), 0U);  // without a supervisor it finishes what it does, and no more
  EXPECT_EQ(runtime.exit_reason(stubborn), ExitReason::killed);
  check([&]() -> Async<Result<void>> {
    const auto slow = [] { return late(1h, 1); };
    Result<Task<int>> nobody = co_await task::async_nolink(supervisor, slow);
    EXPECT_EQ(nobody.error().code(), ErrorCode::no_process);
    co_return {};
  });
}

TEST_P(TaskTest, a_runtime_may_go_while_tasks_and_streams_are_in_the_middle) {
  runtime.spawn([]() -> Async<void> {
    Task<int> linked = task::async([] { return late(1h, 1); });
    Task<int> alone = task::async_nolink([] { return late(1h, 1); });
    auto stream = task::async_stream(std::views::iota(0, 10), [](int value) { return late(1h, value); });
    auto item = co_await stream.next();
    EXPECT_FALSE(item);
  });
  for (std::uint64_t step = 0; step < 2 * GetParam(); ++step) static_cast<void>(runtime.step());
  EXPECT_GE(runtime.process_count(), 1U);
}

TEST_P(TaskTest, CC_REG_006_a_parallel_dispatch_runs_outside_the_caller_and_an_error_takes_the_caller_along) {
  class Member : public GenServer<Member> {
   public:
    Member(Registry<std::string, int> registry, int value) {
      EXPECT_TRUE(registry.register_self("room", value));
      EXPECT_TRUE(registry.register_self("room", value + 100));
    }
  };
  const RegistryOptions duplicates{.keys = RegistryKeys::duplicate};
  auto registry = Registry<std::string, int>::create(runtime, duplicates).value();
  for (int value = 0; value < 10; ++value) EXPECT_TRUE(runtime.start<Member>(registry, value));
  const std::string room = "room";
  check([&]() -> Async<Result<void>> {
    std::multiset<int> seen;
    std::set<std::uint64_t> callers;
    const auto look = [&](const RegistryEntry<int>& entry) {
      seen.insert(entry.value);
      callers.insert(this_process::pid().number());
    };
    Result<std::size_t> count = co_await dispatch_parallel(registry, room, look, 8);
    EXPECT_EQ(count, 20U);
    EXPECT_EQ(seen.size(), 20U);
    EXPECT_EQ(seen.count(107), 1U);
    EXPECT_EQ(callers.size(), 7U);  // twenty entries in eight parts are seven times three at most
    EXPECT_EQ(callers.count(this_process::pid().number()), 0U);
    Result<std::size_t> none = co_await dispatch_parallel(registry, room, look, 0);
    EXPECT_EQ(none.error().code(), ErrorCode::invalid_argument);
    co_return {};
  });
  const auto work = [&]() -> Async<Result<std::size_t>> {
    const auto fail = [](const RegistryEntry<int>& entry) {
      if (entry.value == 5) throw std::runtime_error("five");
    };
    Result<std::size_t> count = co_await dispatch_parallel(registry, room, fail, 8);
    co_return count;
  };
  const Result<std::size_t> failed = in_process(work);
  EXPECT_EQ(failed.error().code(), ErrorCode::exited);
  EXPECT_NE(failed.error().message().find("five"), std::string::npos);
}

TEST(TaskThreads, a_task_may_end_while_its_stream_looks_for_what_to_wait_for) {
  Runtime runtime(RuntimeOptions{.workers = 2, .logger = &null_logger()});
  const auto owner = [](bool ordered) -> Async<Result<int>> {
    const TaskStreamOptions options{.max_concurrency = 1, .ordered = ordered, .timeout = 60s};
    auto stream = task::async_stream(std::views::iota(0, 5'000), [](int value) { return value; }, options);
    for (int count = 0;; ++count) {
      auto item = co_await stream.next();
      if (!item) co_return item.error();
      if (!*item) co_return count;
    }
  };
  EXPECT_EQ(runtime.run(owner(true)), 5'000);
  EXPECT_EQ(runtime.run(owner(false)), 5'000);
}

TEST(TaskThreads, tasks_and_streams_of_several_owners_run_on_several_threads) {
  Runtime runtime(RuntimeOptions{.workers = 2, .logger = &null_logger()});
  std::atomic<int> high_water{0};
  const auto owner = [&](int seed) -> Async<Result<int>> {
    int sum = 0;
    for (int round = 0; round < 100; ++round) {
      std::vector<Task<int>> tasks;
      for (int index = 0; index < 8; ++index) tasks.push_back(task::async([seed, index] { return seed + index; }));
      Result<std::vector<int>> values = co_await task::await_many(tasks, 60s);
      if (!values) co_return values.error();
      for (const int value : *values) sum += value;
      Task<int> dropped = task::async_nolink([] { return late(1h, 1); });
    }
    std::atomic<int> alive{0};
    const auto work = [&](int value) -> Async<int> {
      const int now = ++alive;
      int seen = high_water.load();
      while (seen < now && !high_water.compare_exchange_weak(seen, now)) {
      }
      if (value % 16 == 0) co_await this_process::sleep(1us);
      --alive;
      if (value % 10 == 3) throw std::runtime_error("three");
      co_return value;
    };
    TaskStreamOptions options{.max_concurrency = 4, .ordered = seed % 2 == 0, .timeout = 60s};
    auto stream = task::async_stream(std::views::iota(0, 500), work, options);
    int failures = 0;
    for (;;) {
      auto item = co_await stream.next();
      if (!item) co_return item.error();
      if (!*item) break;
      failures += (*item)->result ? 0 : 1;
    }
    co_return sum + failures;
  };
  std::vector<std::thread> threads;
  for (int seed = 0; seed < 3; ++seed) {
    threads.emplace_back([&, seed] { EXPECT_EQ(runtime.run(owner(seed)), 100 * (8 * seed + 28) + 50); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(high_water, 4);
  EXPECT_TRUE(runtime.stop(10s).clean());
  EXPECT_EQ(runtime.process_count(), 0U);
}

}  // namespace
}  // namespace dagverk
