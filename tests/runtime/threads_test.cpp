// The threaded runtime: what only real threads can show.

#include "dagverk/runtime/completion.hpp"
#include "dagverk/runtime/dynamic_supervisor.hpp"
#include "dagverk/runtime/gen_server.hpp"
#include "dagverk/runtime/runtime.hpp"
#include "dagverk/runtime/supervisor.hpp"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <latch>
#include <mutex>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace dagverk {
namespace {

using namespace std::chrono_literals;

class Sum : public GenServer<Sum> {
 public:
  struct Add {
    std::uint64_t by;
  };
  struct Total {
    using Reply = std::uint64_t;
  };
  void handle_cast(Add add) { total_ += add.by; }
  std::uint64_t handle_call(Total) { return total_; }

 private:
  std::uint64_t total_ = 0;
};

TEST(Runtime, casts_from_many_threads_all_arrive_and_each_threads_own_before_its_call) {
  Runtime runtime(RuntimeOptions{.workers = 2});
  ServerRef<Sum> sum = runtime.start<Sum>().value();
  constexpr std::uint64_t per_thread = 20'000;
  std::vector<std::thread> threads;
  std::atomic<int> short_counts{0};
  for (int index = 0; index < 4; ++index) {
    threads.emplace_back([&] {
      for (std::uint64_t cast = 0; cast < per_thread; ++cast) sum.cast(Sum::Add{1});
      if (sum.call_blocking<Sum::Total>().value_or(0) < per_thread) ++short_counts;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(short_counts, 0);
  EXPECT_EQ(sum.call_blocking<Sum::Total>(), 4 * per_thread);
}

/// Counts notes, and lets its test hold it up.
class Gate : public GenServer<Gate> {
 public:
  struct Note {
    int sender;
    int number;
  };
  struct Hold {
    std::latch* until;
  };
  struct Seen {
    using Reply = std::uint64_t;
  };
  static constexpr bool blocking = true;
  static void handle_cast(Hold hold) { hold.until->wait(); }
  void handle_cast(Note note) {
    ++seen_;
    int& last = last_[static_cast<std::size_t>(note.sender)];
    if (note.number <= last) ++disordered_;
    last = note.number;
  }
  std::uint64_t handle_call(Seen /*seen*/) const { return disordered_ != 0 ? 0 : seen_; }

 private:
  std::uint64_t seen_ = 0;
  std::uint64_t disordered_ = 0;
  std::array<int, 8> last_{};
};

TEST(Runtime, bounded_mailboxes_keep_each_senders_order_and_account_for_every_message_under_every_rule) {
  for (const MailboxRule rule :
       {MailboxRule::reject, MailboxRule::drop_newest, MailboxRule::drop_oldest, MailboxRule::wait}) {
    Runtime runtime(RuntimeOptions{.workers = 2});
    StartOptions options;
    options.name = "gate";
    options.mailbox_bound = 50;
    options.mailbox_rule = rule;
    options.mailbox_alarm = 40;
    ServerRef<Gate> gate = runtime.start_with<Gate>(options).value();
    constexpr int per_thread = 5'000;
    constexpr int senders = 4;
    std::vector<std::thread> threads;
    for (int sender = 0; sender < senders; ++sender) {
      threads.emplace_back([&, sender] {
        for (int number = 1; number <= per_thread; ++number) gate.cast(Gate::Note{sender, number});
      });
    }
    for (std::thread& thread : threads) thread.join();
    Result<std::uint64_t> seen = Error(ErrorCode::mailbox_full);
    while (!seen && seen.error().code() == ErrorCode::mailbox_full) seen = gate.call_blocking<Gate::Seen>();
    std::uint64_t dropped = 0;
    for (const ProcessInfo& info : runtime.snapshot().processes) dropped += info.dropped;
    ASSERT_TRUE(seen);
    if (rule == MailboxRule::wait) {
      EXPECT_EQ(*seen, static_cast<std::uint64_t>(senders * per_thread));
      EXPECT_EQ(dropped, 0U);
    } else {
      EXPECT_GE(*seen + dropped, static_cast<std::uint64_t>(senders * per_thread));
      EXPECT_GT(*seen, 0U);
    }
  }
}

TEST(Runtime, a_thread_that_waits_for_room_goes_on_when_there_is_some_and_when_the_server_ends) {
  Runtime runtime(RuntimeOptions{.workers = 1});
  StartOptions options;
  options.mailbox_bound = 1;
  options.mailbox_rule = MailboxRule::wait;
  options.mailbox_wait = 1h;
  ServerRef<Gate> gate = runtime.start_with<Gate>(options).value();
  std::latch held(1);
  gate.cast(Gate::Hold{&held});
  gate.cast(Gate::Note{0, 1});  // waits until the server has begun to hold
  std::thread waiting([&] { EXPECT_TRUE(gate.try_cast(Gate::Note{0, 2})); });
  held.count_down();
  waiting.join();
  std::latch held_again(1);
  gate.cast(Gate::Hold{&held_again});
  gate.cast(Gate::Note{0, 3});
  std::thread told([&] { EXPECT_FALSE(gate.try_cast(Gate::Note{0, 4})); });
  runtime.exit(gate.pid(), ExitReason::kill);
  held_again.count_down();
  told.join();
}

/// Lets a thread of its own answer; ticks, and then falls idle.
class Clerk : public GenServer<Clerk> {
 public:
  struct Ask {
    using Reply = int;
    int number;
  };
  struct Tick {};
  Clerk(std::latch* ticked, std::latch* idled) : ticked_(ticked), idled_(idled) {}
  void init() { ticks_ = send_every(1ms, Tick{}); }
  void handle_call(Ask ask, From<Ask> from) {
    threads_.emplace_back([number = ask.number, from = std::move(from)]() mutable { from.reply(number * 2); });
  }
  void handle_info(Tick /*tick*/) {
    ticked_->count_down();
    if (++seen_ < 5) return;
    static_cast<void>(this_process::cancel_timer(ticks_));
    idle_timeout(1ms);
  }
  void handle_timeout() { idled_->count_down(); }

 private:
  std::latch* ticked_;
  std::latch* idled_;
  IntervalRef ticks_;
  int seen_ = 0;
  std::vector<std::jthread> threads_;
};

TEST(Runtime, a_server_ticks_falls_idle_and_lets_other_threads_answer) {
  std::latch ticked(5);
  std::latch idled(1);
  Runtime runtime(RuntimeOptions{.workers = 2});
  ServerRef<Clerk> clerk = runtime.start<Clerk>(&ticked, &idled).value();
  ticked.wait();
  idled.wait();
  for (int number = 0; number < 100; ++number) EXPECT_EQ(clerk.call_blocking<Clerk::Ask>(number), number * 2);
}

/// Blocks by nature; says on which thread it runs.
class OwnThread : public GenServer<OwnThread> {
 public:
  static constexpr bool blocking = true;
  struct Where {
    using Reply = std::thread::id;
  };
  static std::thread::id handle_call(Where /*where*/) { return std::this_thread::get_id(); }
};

TEST(Runtime, the_start_of_a_blocking_server_that_is_never_awaited_gives_its_thread_to_the_next_one) {
  // The thread used to stay with the process that never was: one more thread for each.
  Runtime runtime(RuntimeOptions{.workers = 1});
  std::set<std::thread::id> threads;
  for (int round = 0; round < 5; ++round) {
    std::latch done(1);
    runtime.spawn([&] {
      auto forgotten = this_process::start_link<OwnThread>();
      static_cast<void>(forgotten);
      done.count_down();
    });
    done.wait();
    while (runtime.process_count() != 0) std::this_thread::yield();
    ServerRef<OwnThread> server = runtime.start<OwnThread>().value();
    threads.insert(server.call_blocking<OwnThread::Where>().value());
    ASSERT_TRUE(runtime.stop(server.pid()));
    while (runtime.process_count() != 0) std::this_thread::yield();
  }
  EXPECT_LE(threads.size(), 2U);  // a thread that has just ended its server may not be free yet
}

class Relay : public GenServer<Relay> {
 public:
  struct Ask {
    using Reply = std::uint64_t;
    int times;
  };
  explicit Relay(ServerRef<Sum> sum) : sum_(sum) {}
  Async<std::uint64_t> handle_call(Ask ask) {
    std::uint64_t last = 0;
    for (int time = 0; time < ask.times; ++time) {
      sum_.cast(Sum::Add{1});
      Result<std::uint64_t> total = co_await sum_.call<Sum::Total>();
      last = total.value_or(0);
    }
    co_return last;
  }

 private:
  ServerRef<Sum> sum_;
};

TEST(Runtime, calls_between_processes_suspend_and_resume_across_threads) {
  Runtime runtime(RuntimeOptions{.workers = 2});
  ServerRef<Sum> sum = runtime.start<Sum>().value();
  std::vector<ServerRef<Relay>> relays;
  for (int index = 0; index < 4; ++index) relays.push_back(runtime.start<Relay>(sum).value());
  std::vector<std::thread> threads;
  for (const ServerRef<Relay>& relay : relays) {
    threads.emplace_back([relay] { EXPECT_TRUE(relay.call_blocking_within<Relay::Ask>(60s, 2'000)); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(sum.call_blocking<Sum::Total>(), 8'000U);
}

TEST(Runtime, processes_that_start_and_end_in_a_storm_are_all_gone_at_the_end) {
  Runtime runtime(RuntimeOptions{.workers = 2});
  std::atomic<int> ran{0};
  for (int round = 0; round < 50; ++round) {
    for (int index = 0; index < 200; ++index) {
      runtime.spawn([&ran] { ran.fetch_add(1); });
    }
    Pid victim = runtime.spawn([]() -> Async<void> { co_await this_process::sleep(1h); });
    runtime.exit(victim, ExitReason::kill);
  }
  EXPECT_TRUE(runtime.stop(10s).clean());
  EXPECT_EQ(ran, 10'000);
  EXPECT_EQ(runtime.process_count(), 0U);
}

TEST(Runtime, a_blocking_call_inside_a_process_is_refused) {
  Runtime runtime(RuntimeOptions{.workers = 1});
  ServerRef<Sum> sum = runtime.start<Sum>().value();
  const auto ask = [sum]() -> Async<Result<ErrorCode>> { co_return sum.call_blocking<Sum::Total>().error().code(); };
  EXPECT_EQ(runtime.run(ask()), ErrorCode::wrong_thread);
}

TEST(Runtime, blocking_operations_on_a_stopped_runtime_fail_at_once) {
  Runtime runtime(RuntimeOptions{.workers = 1});
  ServerRef<Sum> sum = runtime.start<Sum>().value();
  EXPECT_TRUE(runtime.stop(10s).clean());
  EXPECT_EQ(sum.call_blocking<Sum::Total>().error().code(), ErrorCode::shutting_down);
  EXPECT_EQ(runtime.start<Sum>().error().code(), ErrorCode::shutting_down);
}

TEST(Runtime, two_callbacks_that_do_not_return_stop_nobody_else) {
  Runtime runtime(RuntimeOptions{.workers = 2, .stuck_after = 50ms, .logger = &null_logger()});
  std::latch release(1);
  std::latch inside(2);
  for (int index = 0; index < 2; ++index) {
    runtime.spawn([&] {
      inside.count_down();
      release.wait();
    });
  }
  inside.wait();  // both workers are blocked now
  ServerRef<Sum> sum = runtime.start<Sum>().value();
  sum.cast(Sum::Add{3});
  EXPECT_EQ(sum.call_blocking<Sum::Total>(), 3U);
  EXPECT_GE(runtime.stuck_count(), 1U);  // one spare thread may have answered before the second was found
  release.count_down();
  EXPECT_TRUE(runtime.stop(10s).clean());
}

TEST(Runtime, a_callback_that_never_returns_is_reported_at_stop_and_does_not_hang_the_program) {
  static auto* never = new std::latch(1);  // outlives the runtime: the stuck thread goes on waiting for it
  auto runtime = std::make_unique<Runtime>(
      RuntimeOptions{.workers = 1, .stuck_after = 20ms, .kill_timeout = 100ms, .logger = &null_logger()});
  std::latch inside(1);
  runtime->spawn([&] {
    inside.count_down();
    never->wait();
  });
  inside.wait();
  const StopReport report = runtime->stop(50ms);
  EXPECT_EQ(report.killed, 1U);
  EXPECT_EQ(report.stuck.size(), 1U);
  runtime.reset();
}

class Blocker : public GenServer<Blocker> {
 public:
  static constexpr bool blocking = true;
  struct Thread {
    using Reply = std::thread::id;
  };
  std::thread::id handle_call(Thread) { return std::this_thread::get_id(); }
};

TEST(Runtime, a_blocking_server_has_a_thread_of_its_own) {
  Runtime runtime(RuntimeOptions{.workers = 1});
  const auto worker = []() -> Async<Result<std::thread::id>> { co_return std::this_thread::get_id(); };
  const std::thread::id worker_thread = runtime.run(worker()).value();
  ServerRef<Blocker> one = runtime.start<Blocker>().value();
  ServerRef<Blocker> two = runtime.start<Blocker>().value();
  const std::thread::id first = one.call_blocking<Blocker::Thread>().value();
  EXPECT_NE(first, worker_thread);
  EXPECT_NE(first, two.call_blocking<Blocker::Thread>().value());
  EXPECT_EQ(first, one.call_blocking<Blocker::Thread>().value());
}

TEST(Runtime, a_process_after_a_blocking_server_runs_on_the_workers_and_the_runtime_stops_at_once) {
  // The slot used to keep the blocking server's thread; and a server that ended while the runtime stopped kept it for
  // 10 s.
  for (int round = 0; round < 20; ++round) {
    Runtime runtime(RuntimeOptions{.workers = 1});
    const auto thread = []() -> Async<Result<std::thread::id>> { co_return std::this_thread::get_id(); };
    const std::thread::id worker_thread = runtime.run(thread()).value();
    ServerRef<Blocker> blocker = runtime.start<Blocker>().value();
    EXPECT_TRUE(runtime.stop(blocker.pid()));
    for (int process = 0; process < 3; ++process) EXPECT_EQ(runtime.run(thread()), worker_thread);
    ServerRef<Blocker> last = runtime.start<Blocker>().value();
    runtime.exit(last.pid(), ExitReason::shutdown);
    EXPECT_TRUE(runtime.stop(10s).clean());
  }
}

TEST(Runtime, completions_from_other_threads_and_timers_wake_their_processes) {
  Runtime runtime(RuntimeOptions{.workers = 2});
  std::mutex mutex;
  std::vector<Completer<Result<int>>> waiting;
  std::unique_ptr<ExternalLane> lane = runtime.open_lane("outside", [&] {
    std::vector<Completer<Result<int>>> batch;
    {
      std::lock_guard lock(mutex);
      batch.swap(waiting);
    }
    for (Completer<Result<int>>& completer : batch) completer.complete(1);
  });
  const auto work = [&](int rounds) -> Async<Result<int>> {
    int sum = 0;
    for (int round = 0; round < rounds; ++round) {
      auto [completion, completer] = make_completion<Result<int>>();
      {
        std::lock_guard lock(mutex);
        waiting.push_back(std::move(completer));
      }
      lane->ring();
      Result<int> one = co_await std::move(completion);
      sum += one.value_or(0);
    }
    co_await this_process::sleep(1ms);
    co_return sum;
  };
  std::vector<std::thread> threads;
  for (int index = 0; index < 3; ++index) threads.emplace_back([&] { EXPECT_EQ(runtime.run(work(500)), 500); });
  for (std::thread& thread : threads) thread.join();
}

// ---- supervisors
// -------------------------------------------------------------------------------------------------------

/// Keeps the events of one name.
class CapturingLogger final : public Logger {
 public:
  explicit CapturingLogger(std::string event) : event_(std::move(event)) {}

  void write(LogLevel /*level*/, std::string_view event, std::span<const LogField> fields) noexcept override {
    if (event != event_) return;
    std::string line;
    for (const LogField& field : fields) {
      if (field.name != "pid") line += std::string(field.name) + "=" + field.value + " ";
    }
    std::lock_guard lock(mutex_);
    lines_.push_back(line);
  }
  [[nodiscard]] std::vector<std::string> lines() const {
    std::lock_guard lock(mutex_);
    return lines_;
  }

 private:
  const std::string event_;
  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
};

class Stubborn : public GenServer<Stubborn> {
 public:
  struct Block {
    std::latch* inside;
    std::latch* release;
  };
  static void handle_cast(const Block& block) {
    block.inside->count_down();
    block.release->wait();
  }
};

TEST(SupervisorThreads, a_child_whose_callback_does_not_return_is_reported_as_stuck_and_hangs_nobody) {
  CapturingLogger logger("child.stuck");
  Runtime runtime(RuntimeOptions{.workers = 2, .logger = &logger});
  std::latch inside(1);
  std::latch release(1);
  SupervisorRef supervisor =
      start_supervisor(
          runtime, {.kill_timeout = 20ms},
          {child_spec<Sum>("sum"), child_spec_with<Stubborn>({.shutdown = Shutdown::after(20ms)}, "stubborn")})
          .value();
  const Pid stubborn = supervisor.which_children_blocking().value().front().pid;
  ServerRef<Stubborn>(stubborn).cast(Stubborn::Block{&inside, &release});
  inside.wait();
  EXPECT_TRUE(supervisor.stop_blocking());
  ASSERT_EQ(logger.lines().size(), 1U);
  EXPECT_NE(logger.lines()[0].find("child=stubborn"), std::string::npos);
  EXPECT_NE(logger.lines()[0].find("Stubborn handles="), std::string::npos);
  EXPECT_NE(logger.lines()[0].find("Stubborn::Block"), std::string::npos);
  EXPECT_TRUE(RuntimeBase::alive(stubborn));
  release.count_down();
  EXPECT_TRUE(runtime.stop(10s).clean());
  EXPECT_FALSE(RuntimeBase::alive(stubborn));
}

class Fragile : public GenServer<Fragile> {
 public:
  struct Crash {};
  struct Ask {
    using Reply = int;
  };
  static void handle_cast(Crash /*message*/) { throw std::runtime_error("boom"); }
  static int handle_call(Ask /*message*/) { return 1; }
};

/// For requests that a tree under fire may refuse.
template <class T>
void may_fail(const Result<T>& /*result*/) {}

TEST(SupervisorThreads, trees_under_crashes_kills_and_requests_from_many_threads_stay_whole_and_stop) {
  Runtime runtime(RuntimeOptions{.workers = 2, .logger = &null_logger()});
  constexpr int children = 10;
  ChildOptions registered;
  registered.registered = true;
  std::vector<ChildSpec> inner;
  for (int index = 0; index < children; ++index) {
    inner.push_back(child_spec_with<Fragile>(registered, "child" + std::to_string(index)));
  }
  const SupervisorOptions generous{.max_restarts = 1'000'000};
  const DynamicSupervisorOptions generous_dynamic{.max_restarts = 1'000'000};
  SupervisorRef outer = start_supervisor(runtime, generous,
                                         {child_spec_with<Supervisor>(registered, "inner", generous, inner),
                                          child_spec_with<DynamicSupervisor>(registered, "dynamic", generous_dynamic)})
                            .value();
  const SupervisorRef within{ServerRef<Supervisor>(runtime.whereis("inner").value())};
  const DynamicSupervisorRef dynamic{ServerRef<DynamicSupervisor>(runtime.whereis("dynamic").value())};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 3; ++thread) {
    threads.emplace_back([&, thread] {
      for (int round = 0; round < 100; ++round) {
        const std::string name = "child" + std::to_string((round * 7 + thread) % children);
        Name<Fragile>(runtime, name).cast(Fragile::Crash{});
        runtime.exit(runtime.whereis(name).value_or(Pid()), ExitReason::kill);
        may_fail(within.terminate_child_blocking(name));
        may_fail(within.restart_child_blocking(name));
        ServerRef<Fragile> one = dynamic.start_child_blocking(child_spec<Fragile>("")).value();
        one.cast(Fragile::Crash{});
        may_fail(dynamic.terminate_child_blocking(one.pid()));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int index = 0; index < children; ++index) {
    const std::string name = "child" + std::to_string(index);
    may_fail(within.restart_child_blocking(name));
  }
  EXPECT_EQ(within.count_children_blocking().value().specs, static_cast<std::size_t>(children));
  EXPECT_EQ(within.count_children_blocking().value().active, static_cast<std::size_t>(children));
  EXPECT_TRUE(outer.stop_blocking());
  EXPECT_TRUE(runtime.stop(10s).clean());
  EXPECT_EQ(runtime.process_count(), 0U);
}

}  // namespace
}  // namespace dagverk
