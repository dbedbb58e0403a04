// Snapshots, traces and the end of a threaded runtime: what only real threads can show. How a whole program ends is
// shown by programs: the death tests run this binary again.

#include "dagverk/base/boot_clock.hpp"
#include "dagverk/base/clock.hpp"
#include "dagverk/base/log.hpp"
#include "dagverk/runtime/completion.hpp"
#include "dagverk/runtime/detail/call.hpp"
#include "dagverk/runtime/dynamic_supervisor.hpp"
#include "dagverk/runtime/gen_server.hpp"
#include "dagverk/runtime/runtime.hpp"
#include "dagverk/runtime/supervisor.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <latch>
#include <memory>
#include <mutex>
#include <optional>
#include <semaphore>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

namespace dagverk {
namespace {

using namespace std::chrono_literals;

/// Blocks its thread until the test lets it go.
class Stubborn : public GenServer<Stubborn> {
 public:
  struct Block {
    std::latch* inside;
    std::latch* release;
  };
  struct Spin {
    using Reply = void;
    Duration time;
  };
  static void handle_cast(const Block& block) {
    block.inside->count_down();
    block.release->wait();
  }
  static void handle_call(const Spin& spin) {
    const SteadyTime end = system_clock().steady_now() + spin.time;
    while (system_clock().steady_now() < end) {
    }
  }
};

class StubbornHost : public GenServer<StubbornHost> {
 public:
  static constexpr bool blocking = true;
  static void handle_cast(const Stubborn::Block& block) { Stubborn::handle_cast(block); }
};

class Counter : public GenServer<Counter> {
 public:
  struct Add {};
  struct Total {
    using Reply = int;
  };
  struct Crash {};
  void handle_cast(Add /*message*/) { ++total_; }
  void handle_cast(Crash /*message*/) { throw std::runtime_error("boom"); }
  int handle_call(Total /*message*/) { return total_; }

 private:
  int total_ = 0;
};

/// Keeps the lines of one event and lets a test wait for them.
class WaitingLogger final : public Logger {
 public:
  explicit WaitingLogger(std::string event) : event_(std::move(event)) {}

  void write(LogLevel /*level*/, std::string_view event, std::span<const LogField> fields) noexcept override {
    if (event != event_) return;
    std::string line;
    for (const LogField& field : fields) line += std::string(field.name) + "=" + field.value + " ";
    std::lock_guard lock(mutex_);
    lines_.push_back(line);
    changed_.notify_all();
  }
  void wait_for(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return lines_.size() >= count; });
  }
  [[nodiscard]] std::vector<std::string> lines() const {
    std::lock_guard lock(mutex_);
    return lines_;
  }

 private:
  const std::string event_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> lines_;
};

bool holds(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }

/// Latches that outlive the test: a stuck thread goes on waiting for them.
std::latch& never() {
  static auto* latch = new std::latch(1);
  return *latch;
}

// ---- snapshots -----------------------------------------------------------------------------------------------------

TEST(SnapshotThreads, says_who_runs_what_and_how_long_it_has_kept_a_thread) {
  Runtime runtime(RuntimeOptions{.workers = 2, .exact_busy_time = true, .logger = &null_logger()});
  ServerRef<Stubborn> stubborn = runtime.start_with<Stubborn>(StartOptions{.name = "mule"}).value();
  ServerRef<Counter> idle = runtime.start<Counter>().value();
  ASSERT_TRUE(stubborn.call_blocking<Stubborn::Spin>(5ms));
  std::latch inside(1);
  std::latch release(1);
  stubborn.cast(Stubborn::Block{&inside, &release});
  inside.wait();
  const Snapshot shot = runtime.snapshot();
  const ProcessInfo* mule = shot.find(stubborn.pid());
  ASSERT_NE(mule, nullptr);
  EXPECT_EQ(mule->name, "mule");
  EXPECT_EQ(mule->state, ProcessState::running);
  EXPECT_TRUE(holds(mule->handles, "Stubborn::Block"));
  EXPECT_GE(mule->busy, 4900us);  // the cycle counter's rate is known to within a per cent or two
  EXPECT_EQ(shot.find(idle.pid())->state, ProcessState::idle);
  EXPECT_EQ(runtime.process_info(stubborn.pid())->handles, mule->handles);
  release.count_down();
  ASSERT_TRUE(runtime.stop(stubborn.pid(), ExitReason::normal));
  EXPECT_FALSE(runtime.process_info(stubborn.pid()));
}

TEST(SnapshotThreads, busy_time_by_sampling_finds_the_one_that_keeps_the_threads) {
  Runtime runtime(RuntimeOptions{.workers = 1, .logger = &null_logger()});
  ServerRef<Stubborn> hog = runtime.start<Stubborn>().value();
  ServerRef<Counter> other = runtime.start<Counter>().value();
  const SteadyTime begin = system_clock().steady_now();
  while (runtime.process_info(hog.pid())->busy < 100ms) {  // never more than a few rounds of it are missed
    ASSERT_TRUE(hog.call_blocking<Stubborn::Spin>(25ms));
    other.cast(Counter::Add{});
    ASSERT_LT(system_clock().steady_now() - begin, 60s);
  }
  EXPECT_GE(other.call_blocking<Counter::Total>().value(), 3);
  const Snapshot shot = runtime.snapshot();
  const Duration both = shot.find(hog.pid())->busy + shot.find(other.pid())->busy;
  EXPECT_LE(both, (system_clock().steady_now() - begin) * 11 / 10);  // there is one thread
}

TEST(SnapshotThreads, may_be_taken_while_processes_come_and_go) {
  Runtime runtime(RuntimeOptions{.workers = 2, .logger = &null_logger()});
  const SupervisorOptions generous{.max_restarts = 1'000'000};
  ChildOptions registered;
  registered.registered = true;
  std::vector<ChildSpec> children;
  for (int index = 0; index < 4; ++index) {
    children.push_back(child_spec_with<Counter>(registered, "child" + std::to_string(index)));
  }
  SupervisorRef tree = start_supervisor(runtime, generous, children).value();
  std::atomic<bool> done{false};
  std::thread storm([&] {
    for (int round = 0; round < 300; ++round) {
      Name<Counter>(runtime, "child" + std::to_string(round % 4)).cast(Counter::Crash{});
      ServerRef<Counter> short_lived =
          runtime.start_with<Counter>(StartOptions{.name = "a name that needs the heap"}).value();
      for (int index = 0; index < 10; ++index) runtime.spawn([] {});
      EXPECT_TRUE(runtime.stop(short_lived.pid(), ExitReason::normal));
    }
    done = true;
  });
  std::size_t taken = 0;
  while (!done || taken < 20) {
    const Snapshot shot = runtime.snapshot();
    ++taken;
    for (const ProcessInfo* child : shot.children_of(tree.pid())) {
      EXPECT_TRUE(child->child_id.starts_with("child"));
      EXPECT_EQ(child->name, child->child_id);
    }
    EXPECT_FALSE(to_text(shot).empty());
  }
  storm.join();
  // The supervisor may still be about to restart the children that crashed last.
  const auto links = [&] { return runtime.snapshot().find(tree.pid())->links; };
  const SteadyTime begin = system_clock().steady_now();
  while (links() != 4U) ASSERT_LT(system_clock().steady_now() - begin, 60s);
  EXPECT_TRUE(runtime.stop(10s).clean());
  EXPECT_TRUE(runtime.snapshot().processes.empty());
}

// ---- traces --------------------------------------------------------------------------------------------------------

TEST(TraceThreads, every_message_is_told_once_and_the_end_last) {
  Runtime runtime(RuntimeOptions{.workers = 2, .logger = &null_logger()});
  ServerRef<Counter> counter = runtime.start<Counter>().value();
  struct Seen {
    std::atomic<int> received{0};
    std::atomic<int> handled{0};
    std::atomic<int> after_the_end{0};
    std::atomic<bool> ended{false};
    std::latch end{1};
  };
  auto seen = std::make_shared<Seen>();  // with the sink
  ASSERT_TRUE(runtime.trace(counter.pid(), [seen](const TraceEvent& event) {
    if (seen->ended) ++seen->after_the_end;
    if (event.kind == TraceEvent::Kind::received && holds(event.message, "Add")) ++seen->received;
    if (event.kind == TraceEvent::Kind::handled && holds(event.message, "Add")) ++seen->handled;
    if (event.kind == TraceEvent::Kind::exited) {
      seen->ended = true;
      seen->end.count_down();
    }
  }));
  ASSERT_TRUE(counter.call_blocking<Counter::Total>());  // the trace has begun
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 3; ++thread) {
    threads.emplace_back([&] {
      for (int cast = 0; cast < 1000; ++cast) counter.cast(Counter::Add{});
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counter.call_blocking<Counter::Total>(), 3000);
  ASSERT_TRUE(runtime.stop(counter.pid(), ExitReason::normal));
  seen->end.wait();
  EXPECT_EQ(seen->received, 3000);
  EXPECT_EQ(seen->handled, 3000);
  EXPECT_EQ(seen->after_the_end, 0);
}

// ---- the end of a runtime ------------------------------------------------------------------------------------------

TEST(StopReport, names_everybody_who_did_not_stop_within_one_limit_for_all) {
  WaitingLogger logger("runtime.left_behind");
  auto runtime = std::make_unique<Runtime>(RuntimeOptions{.workers = 2, .kill_timeout = 200ms, .logger = &logger});
  static std::latch inside(3);
  const auto start = [&](const char* name) {
    return runtime->start_with<Stubborn>(StartOptions{.name = name}).value();
  };
  start("first").cast(Stubborn::Block{&inside, &never()});
  start("second").cast(Stubborn::Block{&inside, &never()});
  ServerRef<StubbornHost> host = runtime->start_with<StubbornHost>(StartOptions{.name = "host"}).value();
  host.cast(Stubborn::Block{&inside, &never()});
  static_cast<void>(runtime->start<Counter>().value());
  runtime->spawn([]() -> Async<void> {  // ends when it is killed, and only then
    this_process::trap_exits();
    co_await this_process::sleep(1h);
  });
  inside.wait();
  const SteadyTime begin = system_clock().steady_now();
  const StopReport report = runtime->stop(50ms);
  EXPECT_LT(system_clock().steady_now() - begin, 5s);  // and not a limit for each
  EXPECT_EQ(report.killed, 4U);
  EXPECT_EQ(report.late.size(), 4U);
  ASSERT_EQ(report.stuck.size(), 3U);
  std::vector<std::string> names;
  for (const ProcessInfo& info : report.stuck) {
    names.push_back(info.name);
    EXPECT_TRUE(holds(info.handles, "Stubborn::Block")) << info.handles;
    EXPECT_EQ(info.state, ProcessState::running);
    EXPECT_GT(info.in_state, 0s);
  }
  std::ranges::sort(names);
  EXPECT_EQ(names, (std::vector<std::string>{"first", "host", "second"}));
  EXPECT_EQ(report.threads, 3U);
  EXPECT_FALSE(report.clean());
  const std::string text = to_text(report);
  EXPECT_TRUE(holds(text, "4 killed, 3 left behind")) << text;
  EXPECT_TRUE(holds(text, "stuck: ")) << text;
  EXPECT_TRUE(holds(text, "\"host\" running in ")) << text;
  EXPECT_TRUE(holds(text, "killed: process")) << text;
  EXPECT_EQ(logger.lines().size(), 3U);
  EXPECT_EQ(runtime->stop(1h).stuck.size(), 3U);  // the same report again
  runtime.reset();
}

TEST(StopReport, a_stop_in_order_is_clean_and_says_so) {
  Runtime runtime(RuntimeOptions{.workers = 1});
  static_cast<void>(runtime.start<Counter>().value());
  const StopReport report = runtime.stop(10s);
  EXPECT_TRUE(report.clean());
  EXPECT_EQ(to_text(report), "stopped in order\n");
}

TEST(StopReport, a_process_cannot_stop_its_own_runtime) {
  Runtime runtime(RuntimeOptions{.workers = 1});
  const auto stop = [&]() -> Async<Result<bool>> { co_return runtime.stop(1h).inside; };
  EXPECT_EQ(runtime.run(stop()), true);
  EXPECT_FALSE(runtime.stopped());
  StopReport refused;
  refused.inside = true;
  EXPECT_EQ(to_text(refused), "not stopped: a process cannot stop its own runtime\n");
}

TEST(StopReport, who_is_started_while_the_runtime_stops_is_told_to_stop_too) {
  Runtime runtime(RuntimeOptions{.workers = 2});
  class Parting : public GenServer<Parting> {
   public:
    static void terminate(const ExitReason& /*reason*/) {
      runtime().spawn([]() -> Async<void> { co_await this_process::sleep(24h); });
    }
  };
  static_cast<void>(runtime.start<Parting>().value());
  EXPECT_TRUE(runtime.stop(1h).clean());  // it used to wait for the whole hour
}

TEST(StopReport, two_threads_may_stop_one_runtime) {
  Runtime runtime(RuntimeOptions{.workers = 2});
  for (int index = 0; index < 100; ++index) static_cast<void>(runtime.start<Counter>().value());
  std::thread other([&] { EXPECT_TRUE(runtime.stop(10s).clean()); });
  EXPECT_TRUE(runtime.stop(10s).clean());
  other.join();
  EXPECT_EQ(runtime.process_count(), 0U);
}

/// Keeps the right to answer, and never does.
class Silent : public GenServer<Silent> {
 public:
  struct Ask {
    using Reply = int;
  };
  explicit Silent(From<Ask>* kept, std::latch* asked) : kept_(kept), asked_(asked) {}
  void handle_call(Ask /*message*/, From<Ask> from) {
    *kept_ = std::move(from);
    asked_->count_down();
  }

 private:
  From<Ask>* kept_;
  std::latch* asked_;
};

TEST(RuntimeEnd, a_thread_that_waits_for_an_answer_that_nobody_gives_is_told) {
  From<Silent::Ask> kept;
  std::latch asked(1);
  auto runtime = std::make_unique<Runtime>(RuntimeOptions{.workers = 1});
  ServerRef<Silent> silent = runtime->start<Silent>(&kept, &asked).value();
  std::optional<Result<int>> answer;
  std::thread caller([&] { answer = silent.call_blocking_within<Silent::Ask>(0s); });
  asked.wait();
  runtime.reset();
  caller.join();
  ASSERT_TRUE(answer && !*answer);
  EXPECT_EQ(answer->error().code(), ErrorCode::shutting_down);
  EXPECT_TRUE(kept.reply(7));  // to nobody
  EXPECT_EQ(silent.call_blocking<Silent::Ask>().error().code(), ErrorCode::no_process);
}

TEST(RuntimeEnd, calls_in_flight_come_back_and_the_runtime_waits_for_them) {
  for (int round = 0; round < 20; ++round) {
    auto runtime = std::make_unique<Runtime>(RuntimeOptions{.workers = 2, .logger = &null_logger()});
    ServerRef<Counter> counter = runtime->start<Counter>().value();
    std::latch going(3);
    std::vector<std::thread> callers;
    for (int index = 0; index < 3; ++index) {
      callers.emplace_back([&going, counter] {
        bool first = true;
        while (counter.call_blocking<Counter::Total>()) {
          if (std::exchange(first, false)) going.count_down();
        }
      });
    }
    going.wait();
    EXPECT_TRUE(runtime->stop(10s).clean());
    for (std::thread& caller : callers) caller.join();
    runtime.reset();
  }
}

TEST(RuntimeEnd, completions_that_come_after_the_end_or_during_it_harm_nobody) {
  for (int round = 0; round < 50; ++round) {
    std::mutex mutex;
    std::vector<Completer<Result<int>>> waiting;
    std::latch all_wait(8);
    auto runtime =
        std::make_unique<Runtime>(RuntimeOptions{.workers = 2, .stop_timeout = 0s, .logger = &null_logger()});
    for (int index = 0; index < 8; ++index) {
      runtime->spawn([&]() -> Async<void> {
        this_process::trap_exits();
        auto [completion, completer] = make_completion<Result<int>>();
        {
          std::lock_guard lock(mutex);
          waiting.push_back(std::move(completer));
        }
        all_wait.count_down();
        Result<int> value = co_await std::move(completion);
        EXPECT_TRUE(value);
      });
    }
    all_wait.wait();
    std::latch start(1);
    std::thread outside([&] {
      start.wait();
      for (std::size_t index = 0; index < 4; ++index) waiting[index].complete(1);
    });
    start.count_down();
    runtime.reset();
    outside.join();
    for (std::size_t index = 4; index < 8; ++index) waiting[index].complete(1);
  }
}

TEST(RuntimeEnd, what_a_destructor_starts_at_the_end_is_dropped_too) {
  std::atomic<int> destroyed{0};
  struct Jester {
    std::atomic<int>* destroyed;
    int left;
    Jester(std::atomic<int>* count, int more) : destroyed(count), left(more) {}
    Jester(const Jester&) = delete;
    Jester& operator=(const Jester&) = delete;
    ~Jester() {
      ++*destroyed;
      if (left == 0) return;
      auto next = std::make_shared<Jester>(destroyed, left - 1);
      this_process::runtime().spawn([next = std::move(next)]() -> Async<void> { co_await this_process::sleep(1h); });
    }
  };
  {
    Runtime runtime(RuntimeOptions{.workers = 1, .stop_timeout = 0s, .kill_timeout = 100ms, .logger = &null_logger()});
    auto first = std::make_shared<Jester>(&destroyed, 5);
    runtime.spawn([first = std::move(first)]() -> Async<void> { co_await this_process::sleep(1h); });
  }
  EXPECT_EQ(destroyed, 6);
}

// ---- the end of a program ------------------------------------------------------------------------------------------

class ProgramEnd : public testing::Test {
 protected:
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

/// As after `return` from main.
[[noreturn]] void leave(int code) {
  std::fflush(nullptr);
  std::exit(code);  // NOLINT(concurrency-mt-unsafe): that is what is tested
}

class Leaver : public GenServer<Leaver> {
 public:
  static constexpr bool blocking = true;
  struct Go {};
  static void handle_cast(Go /*message*/) { leave(9); }
};

TEST_F(ProgramEnd, main_returns_while_processes_run) {
  EXPECT_EXIT(
      {
        {
          Runtime runtime(RuntimeOptions{.workers = 2});
          static_cast<void>(start_supervisor(runtime, {}, {child_spec<Counter>("a")}).value());
          for (int index = 0; index < 100; ++index) {
            runtime.spawn([]() -> Async<void> { co_await this_process::sleep(24h); });
          }
          runtime.spawn([&runtime] {
            for (int index = 0; index < 100; ++index) runtime.spawn([] {});
          });
        }
        leave(7);
      },
      testing::ExitedWithCode(7), "");
}

TEST_F(ProgramEnd, a_process_calls_exit_and_the_runtime_is_static) {
  EXPECT_EXIT(
      {
        static Runtime runtime(RuntimeOptions{.workers = 2, .kill_timeout = 200ms});
        static_cast<void>(start_supervisor(runtime, {}, {child_spec<Counter>("a")}).value());
        runtime.spawn([]() -> Async<void> { co_await this_process::sleep(24h); });
        runtime.spawn([] { leave(8); });
        never().wait();  // as main would
      },
      testing::ExitedWithCode(8), "");
}

TEST_F(ProgramEnd, a_blocking_server_calls_exit_while_another_process_is_stuck) {
  EXPECT_EXIT(
      {
        static Runtime runtime(RuntimeOptions{.workers = 1, .kill_timeout = 50ms, .logger = &null_logger()});
        static std::latch inside(1);
        runtime.spawn([] {
          inside.count_down();
          never().wait();
        });
        inside.wait();
        runtime.start<Leaver>().value().cast(Leaver::Go{});
        never().wait();
      },
      testing::ExitedWithCode(9), "");
}

TEST_F(ProgramEnd, a_process_calls_exit_while_main_waits_for_it_with_a_runtime_of_its_own) {
  EXPECT_EXIT(
      {
        Runtime runtime(RuntimeOptions{.workers = 2});
        const auto work = []() -> Async<Result<int>> {
          leave(10);
          co_return 1;
        };
        leave(runtime.run(work()) ? 1 : 2);
      },
      testing::ExitedWithCode(10), "");
}

void use_what_lives_for_ever() {
  static_cast<void>(system_clock().steady_now());
  static_cast<void>(system_boot_clock().boot_id().size());
  null_logger().error("program.end");
  stderr_logger().error("program.end", {{"reason", detail::not_answered().to_string()}});
}

/// Destroyed after all that was first used when main had begun; threads of a local runtime still run then.
struct LastOfAll {
  bool looks = false;
  LastOfAll() = default;
  LastOfAll(const LastOfAll&) = delete;
  LastOfAll& operator=(const LastOfAll&) = delete;
  ~LastOfAll() {
    if (!looks) return;
    use_what_lives_for_ever();
    ::_exit(12);
  }
} last_of_all;

TEST_F(ProgramEnd, what_a_runtime_takes_for_granted_outlives_every_static_object) {
  EXPECT_EXIT(
      {
        use_what_lives_for_ever();
        last_of_all.looks = true;
        Runtime runtime(RuntimeOptions{.workers = 1});
        runtime.spawn([] { leave(1); });
        never().wait();
      },
      testing::ExitedWithCode(12), "program.end reason=(.|\n)*program.end reason=\"the call was not answered\"");
}

TEST_F(ProgramEnd, two_servers_that_never_return_stop_nobody_and_the_program_ends) {
  EXPECT_EXIT(
      {
        StopReport report;
        {
          Runtime runtime(
              RuntimeOptions{.workers = 2, .stuck_after = 20ms, .kill_timeout = 100ms, .logger = &null_logger()});
          static std::latch inside(2);
          SupervisorRef tree = start_supervisor(runtime, {.kill_timeout = 20ms},
                                                {child_spec<Counter>("good"),
                                                 child_spec_with<Stubborn>({.shutdown = Shutdown::after(20ms)}, "one"),
                                                 child_spec_with<Stubborn>({.shutdown = Shutdown::after(20ms)}, "two")})
                                   .value();
          const std::vector<ChildInfo> children = tree.which_children_blocking().value();
          ServerRef<Stubborn>(children[0].pid).cast(Stubborn::Block{&inside, &never()});
          ServerRef<Stubborn>(children[1].pid).cast(Stubborn::Block{&inside, &never()});
          inside.wait();
          const ServerRef<Counter> good(children[2].pid);
          if (good.call_blocking<Counter::Total>() != 0) leave(1);
          report = runtime.stop(200ms);
          if (runtime.process_count() != 2) leave(2);
        }
        std::fprintf(stderr, "%s", to_text(report).c_str());
        leave(report.stuck.size() == 2 ? 11 : 3);
      },
      testing::ExitedWithCode(11), "2 killed, 2 left behind(.|\n)*two: .*Stubborn.*Block");
}

// ---- supervisors and who never returns -----------------------------------------------------------------------------

TEST(StuckChildren, two_servers_that_never_return_stop_nobody_and_are_reported_once) {
  WaitingLogger logger("process.stuck");
  Runtime runtime(RuntimeOptions{.workers = 2, .stuck_after = 20ms, .logger = &logger});
  std::latch inside(2);
  std::latch release(1);
  for (int index = 0; index < 2; ++index) {
    runtime.start<Stubborn>().value().cast(Stubborn::Block{&inside, &release});
  }
  inside.wait();
  logger.wait_for(2);
  ServerRef<Counter> counter = runtime.start<Counter>().value();
  for (int index = 0; index < 1000; ++index) ASSERT_TRUE(counter.call_blocking<Counter::Total>());
  ServerRef<Stubborn> busy = runtime.start<Stubborn>().value();
  ASSERT_TRUE(busy.call_blocking<Stubborn::Spin>(50ms));  // the watchdog has looked again
  std::size_t about_the_two = 0;
  const std::vector<std::string> lines = logger.lines();
  for (const std::string& line : lines) about_the_two += holds(line, "Stubborn::Block") ? 1 : 0;
  EXPECT_EQ(about_the_two, 2U);
  release.count_down();
  EXPECT_TRUE(runtime.stop(10s).clean());
}

TEST(StuckChildren, of_a_dynamic_supervisor_are_reported_once_and_hang_nobody) {
  WaitingLogger logger("child.stuck");
  Runtime runtime(RuntimeOptions{.workers = 2, .stuck_after = 20ms, .logger = &logger});
  DynamicSupervisorRef tree = start_dynamic_supervisor(runtime, {.kill_timeout = 20ms}).value();
  std::latch inside(3);
  std::latch release(1);
  const ChildOptions hasty{.shutdown = Shutdown::after(20ms)};
  std::vector<ServerRef<Stubborn>> children;
  for (const char* id : {"one", "two", "three"}) {
    children.push_back(tree.start_child_blocking(child_spec_with<Stubborn>(hasty, id)).value());
    children.back().cast(Stubborn::Block{&inside, &release});
  }
  static_cast<void>(tree.start_child_blocking(child_spec<Counter>("good")).value());
  inside.wait();
  EXPECT_TRUE(tree.terminate_child_blocking(children[0].pid()));  // waits for its limits, and no longer
  EXPECT_EQ(tree.count_children_blocking()->specs, 3U);
  EXPECT_TRUE(tree.stop_blocking());
  const std::vector<std::string> lines = logger.lines();
  ASSERT_EQ(lines.size(), 3U);
  for (const char* id : {"child=one ", "child=two ", "child=three "}) {
    EXPECT_EQ(std::ranges::count_if(lines, [&](const std::string& line) { return holds(line, id); }), 1) << id;
  }
  for (const std::string& line : lines) {
    EXPECT_TRUE(holds(line, "Stubborn::Block")) << line;
    EXPECT_TRUE(holds(line, "since_ms=")) << line;
  }
  release.count_down();
  EXPECT_TRUE(runtime.stop(10s).clean());
}

TEST(StuckChildren, are_replaced_when_they_are_restarted_by_their_strategy) {
  WaitingLogger logger("child.stuck");
  Runtime runtime(RuntimeOptions{.workers = 2, .stuck_after = 20ms, .logger = &logger});
  const ChildOptions hasty{.shutdown = Shutdown::after(20ms)};
  SupervisorRef tree = start_supervisor(runtime, {.strategy = RestartStrategy::one_for_all, .kill_timeout = 20ms},
                                        {child_spec<Counter>("crashes"), child_spec_with<Stubborn>(hasty, "stuck")})
                           .value();
  const Pid before = tree.which_children_blocking().value()[0].pid;
  const Pid crashing = tree.which_children_blocking().value()[1].pid;
  std::latch inside(1);
  std::latch release(1);
  ServerRef<Stubborn>(before).cast(Stubborn::Block{&inside, &release});
  inside.wait();
  ServerRef<Counter>(crashing).cast(Counter::Crash{});
  logger.wait_for(1);
  const std::vector<ChildInfo> after = tree.which_children_blocking().value();
  EXPECT_EQ(after[0].state, ChildState::running);
  EXPECT_NE(after[0].pid, before);
  EXPECT_TRUE(RuntimeBase::alive(before));  // kept, not freed under it
  release.count_down();
  EXPECT_TRUE(tree.stop_blocking());
  EXPECT_TRUE(runtime.stop(10s).clean());
  EXPECT_EQ(logger.lines().size(), 1U);
}

}  // namespace
}  // namespace dagverk
