// A server's own clockwork on the deterministic runtime: idle timeouts and intervals.

#include "dagverk/runtime/deterministic_runtime.hpp"
#include "dagverk/runtime/gen_server.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace dagverk {
namespace {

using namespace std::chrono_literals;

using Log = std::vector<std::string>;

// ---- idle timeouts -------------------------------------------------------------------------------------------------

/// Sets an idle timeout when it is told to, and writes down when it comes.
class Sleepy : public GenServer<Sleepy> {
 public:
  struct Idle {
    Duration after;
    Duration busy{};
  };
  struct Poke {};
  struct Wake {};
  struct Next {};
  struct Watch {
    Pid other;
    bool then_demonitor;
  };
  struct ContinueToo {};
  struct TickThenIdle {};
  struct Tick {};
  struct Ask {
    using Reply = std::size_t;
  };

  Sleepy(Log* log, Duration first) : log_(log), begin_(runtime().clock().steady_now()), first_(first) {
    this_process::trap_exits();
  }
  void init() {
    if (first_ > Duration::zero()) idle_timeout(first_);
  }
  Async<void> handle_cast(Idle idle) {
    idle_timeout(idle.after);
    if (idle.busy > Duration::zero()) co_await this_process::sleep(idle.busy);
  }
  static void handle_cast(Poke /*poke*/) {}
  static void handle_info(Wake /*wake*/) {}
  static void handle_continue(Next /*next*/) {}
  static void handle_info(const Down& /*down*/) {}
  static void handle_info(const Exit& /*exit*/) {}
  void handle_cast(Watch watch) {
    const MonitorRef ref = this_process::monitor(watch.other);
    if (watch.then_demonitor) this_process::demonitor(ref);
    idle_timeout(2s);
  }
  void handle_cast(ContinueToo /*message*/) {
    idle_timeout(1s);
    continue_with(Next{});
  }
  Async<void> handle_cast(TickThenIdle /*message*/) {
    const IntervalRef ticks = send_every(1s, Tick{});
    co_await this_process::sleep(1500ms);  // a tick waits in the mailbox now
    EXPECT_EQ(this_process::cancel_timer(ticks), Duration(0s));
    idle_timeout(1s);
  }
  static void handle_info(Tick /*tick*/) { ADD_FAILURE() << "a cancelled tick was seen"; }
  std::size_t handle_call(Ask /*ask*/) const { return log_->size(); }
  void handle_timeout() {
    const Duration at = runtime().clock().steady_now() - begin_;
    log_->push_back("idle at " + std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(at).count()));
    if (again_ == 0) return;
    --again_;
    if (again_ > 0) idle_timeout(1s);
  }

 private:
  Log* log_;
  SteadyTime begin_;
  Duration first_;
  int again_ = 3;
};

struct SleepyWorld {
  Log log;
  DeterministicRuntime runtime;
  ServerRef<Sleepy> server;
  explicit SleepyWorld(Duration first = 0s) : server(runtime.start<Sleepy>(&log, first).value()) {}
};

TEST(IdleTimeout, comes_once_after_a_callback_that_set_it_and_again_only_when_it_is_set_again) {
  SleepyWorld world;
  world.server.cast(Sleepy::Idle{2s});
  world.runtime.advance(1999ms);
  EXPECT_EQ(world.log, Log{});
  world.runtime.advance(1ms);
  EXPECT_EQ(world.log, Log{"idle at 2000"});
  world.runtime.advance(10s);  // handle_timeout sets it twice more
  EXPECT_EQ(world.log, (Log{"idle at 2000", "idle at 3000", "idle at 4000"}));
}

TEST(IdleTimeout, can_be_set_by_init) {
  SleepyWorld world(3s);
  world.runtime.advance(3s);
  EXPECT_EQ(world.log, Log{"idle at 3000"});
}

TEST(IdleTimeout, is_cancelled_by_any_message_that_comes_in_time) {
  const auto after = [](auto&& send) {
    SleepyWorld world;
    world.server.cast(Sleepy::Idle{2s});
    world.runtime.advance(1s);
    send(world);
    world.runtime.advance(1h);
    return world.log;
  };
  EXPECT_EQ(after([](SleepyWorld& world) { world.server.cast(Sleepy::Poke{}); }), Log{});
  EXPECT_EQ(after([](SleepyWorld& world) { world.server.info(Sleepy::Wake{}); }), Log{});
  EXPECT_EQ(after([](SleepyWorld& world) { EXPECT_TRUE(world.server.call_blocking<Sleepy::Ask>()); }), Log{});
  EXPECT_EQ(after([](SleepyWorld& world) { world.runtime.exit(world.server.pid(), ExitReason::normal); }), Log{});
}

TEST(IdleTimeout, is_cancelled_by_what_waits_in_the_mailbox_already_and_by_a_continue) {
  SleepyWorld world;
  world.server.cast(Sleepy::Idle{2s});
  world.server.cast(Sleepy::Poke{});
  world.runtime.advance(1h);
  world.server.cast(Sleepy::ContinueToo{});
  world.runtime.advance(1h);
  EXPECT_EQ(world.log, Log{});
  // At the very moment it is over, whoever comes first wins: here the message is there before.
  world.server.cast(Sleepy::Idle{2s});
  world.runtime.advance(1s);
  world.server.cast(Sleepy::Poke{});
  world.runtime.advance(1s);
  EXPECT_EQ(world.log, Log{});
}

TEST(IdleTimeout, is_not_cancelled_by_what_is_no_message) {
  SleepyWorld world;
  world.server.cast(Sleepy::Idle{2s});
  world.runtime.advance(1s);
  // Links and monitors of others are signals.
  world.runtime.spawn([&]() -> Async<void> {
    this_process::link(world.server.pid());
    const MonitorRef ref = this_process::monitor(world.server.pid());
    this_process::demonitor(ref);
    this_process::unlink(world.server.pid());
    co_await this_process::sleep(1h);
  });
  world.runtime.advance(1s);
  EXPECT_EQ(world.log, Log{"idle at 2000"});
}

TEST(IdleTimeout, is_not_cancelled_by_a_down_or_a_tick_that_nobody_is_to_see) {
  SleepyWorld seen;
  seen.server.cast(Sleepy::Watch{Pid(), false});  // its Down comes at once
  seen.runtime.advance(1h);
  EXPECT_EQ(seen.log, Log{});
  SleepyWorld unseen;
  unseen.server.cast(Sleepy::Watch{Pid(), true});
  unseen.runtime.advance(2s);
  EXPECT_EQ(unseen.log, Log{"idle at 2000"});
  SleepyWorld ticks;
  ticks.server.cast(Sleepy::TickThenIdle{});
  ticks.runtime.advance(2500ms);
  EXPECT_EQ(ticks.log, Log{"idle at 2500"});
}

TEST(IdleTimeout, begins_when_the_callback_has_ended_and_zero_means_an_empty_mailbox) {
  SleepyWorld world;
  world.server.cast(Sleepy::Idle{2s, 5s});
  world.runtime.advance(6999ms);
  EXPECT_EQ(world.log, Log{});
  world.runtime.advance(1ms);
  EXPECT_EQ(world.log, Log{"idle at 7000"});
  SleepyWorld at_once;
  at_once.server.cast(Sleepy::Idle{0s});
  at_once.runtime.run_until_idle();
  EXPECT_EQ(at_once.log, Log{"idle at 0"});
  SleepyWorld busy;
  busy.server.cast(Sleepy::Idle{0s});
  busy.server.cast(Sleepy::Poke{});
  busy.runtime.run_until_idle();
  EXPECT_EQ(busy.log, Log{});
  busy.server.cast(Sleepy::Idle{Duration::max()});
  busy.runtime.advance(24h);
  EXPECT_EQ(busy.log, Log{});
}

TEST(IdleTimeout, a_shorter_one_after_a_longer_one_comes_in_time_and_an_old_timer_does_no_harm) {
  SleepyWorld world;
  world.server.cast(Sleepy::Idle{10s});
  world.runtime.advance(1s);
  world.server.cast(Sleepy::Idle{2s});  // due at 3 s
  world.runtime.advance(1s);
  world.server.cast(Sleepy::Idle{20s});  // due at 22 s; the timer of 3 s still runs
  world.runtime.advance(19999ms);
  EXPECT_EQ(world.log, Log{});
  world.runtime.advance(1ms);
  EXPECT_EQ(world.log, Log{"idle at 22000"});
}

TEST(IdleTimeout, may_be_a_coroutine_and_may_throw) {
  class Later : public GenServer<Later> {
   public:
    explicit Later(Log* log) : log_(log) {}
    void init() { idle_timeout(1s); }
    Async<void> handle_timeout() {
      co_await this_process::sleep(1s);
      log_->emplace_back("late");
      throw std::runtime_error("too late");
    }

   private:
    Log* log_;
  };
  DeterministicRuntime runtime;
  Log log;
  ServerRef<Later> later = runtime.start<Later>(&log).value();
  runtime.advance(2s);
  EXPECT_EQ(log, Log{"late"});
  EXPECT_EQ(runtime.exit_reason(later), ExitReason::error("std::runtime_error", "too late"));
}

// ---- intervals -----------------------------------------------------------------------------------------------------

/// Ticks, and can be kept busy.
class Metronome : public GenServer<Metronome> {
 public:
  struct Tick {
    std::shared_ptr<int> weight;  // the copies share it
  };
  struct Start {
    using Reply = void;
    Duration period;
  };
  struct Busy {
    Duration wait;
  };
  struct Stop {
    using Reply = std::vector<Duration>;
  };
  struct Skipped {
    using Reply = std::uint64_t;
  };

  explicit Metronome(std::vector<Duration>* ticks) : ticks_(ticks), begin_(runtime().clock().steady_now()) {}
  void handle_call(Start start) { interval_ = send_every(start.period, Tick{std::make_shared<int>(0)}); }
  static Async<void> handle_cast(Busy busy) { co_await this_process::sleep(busy.wait); }
  void handle_info(const Tick& tick) {
    ++*tick.weight;
    ticks_->push_back(runtime().clock().steady_now() - begin_);
    EXPECT_EQ(*tick.weight, static_cast<int>(ticks_->size()));
  }
  std::vector<Duration> handle_call(Stop /*stop*/) const {
    std::vector<Duration> left;
    if (const std::optional<Duration> first = this_process::cancel_timer(interval_)) left.push_back(*first);
    if (const std::optional<Duration> second = this_process::cancel_timer(interval_)) left.push_back(*second);
    return left;
  }
  std::uint64_t handle_call(Skipped /*skipped*/) const { return this_process::skipped_ticks(interval_); }

 private:
  std::vector<Duration>* ticks_;
  SteadyTime begin_;
  IntervalRef interval_;
};

struct MetronomeWorld {
  std::vector<Duration> ticks;
  DeterministicRuntime runtime;
  ServerRef<Metronome> server = runtime.start<Metronome>(&ticks).value();
};

using Times = std::vector<Duration>;

TEST(Interval, ticks_at_exact_multiples_of_its_period_however_late_each_tick_was_handled) {
  MetronomeWorld world;
  ASSERT_TRUE(world.server.call_blocking<Metronome::Start>(1s));
  world.runtime.advance(2s);
  world.server.cast(Metronome::Busy{1300ms});  // from 2.0 to 3.3: the tick of 3 is late
  world.runtime.advance(3s);
  EXPECT_EQ(world.ticks, (Times{1s, 2s, 3300ms, 4s, 5s}));
  EXPECT_EQ(world.server.call_blocking<Metronome::Skipped>(), 0U);
}

TEST(Interval, skips_what_its_server_missed_counts_it_and_keeps_the_beat) {
  MetronomeWorld world;
  ASSERT_TRUE(world.server.call_blocking<Metronome::Start>(1s));
  world.server.cast(Metronome::Busy{4500ms});
  world.runtime.advance(6s);
  EXPECT_EQ(world.ticks, (Times{4500ms, 5s, 6s}));  // of those of 1, 2, 3 and 4 one has waited
  EXPECT_EQ(world.server.call_blocking<Metronome::Skipped>(), 3U);
}

TEST(Interval, is_cancelled_with_the_time_that_was_left_and_a_tick_that_waits_is_not_seen) {
  MetronomeWorld world;
  ASSERT_TRUE(world.server.call_blocking<Metronome::Start>(1s));
  world.runtime.advance(1400ms);
  EXPECT_EQ(world.server.call_blocking<Metronome::Stop>(), Times{600ms});
  world.runtime.advance(10s);
  EXPECT_EQ(world.ticks, Times{1s});
  MetronomeWorld late;
  ASSERT_TRUE(late.server.call_blocking<Metronome::Start>(1s));
  late.server.cast(Metronome::Busy{1500ms});
  Result<Times> left = Error(ErrorCode::internal);
  late.runtime.spawn([&]() -> Async<void> { left = co_await late.server.call<Metronome::Stop>(); });
  late.runtime.advance(900ms);  // the call is before the tick in the mailbox
  late.runtime.advance(10s);
  EXPECT_EQ(left, Times{0s});
  EXPECT_EQ(late.ticks, Times{});
}

TEST(Interval, refuses_a_period_that_is_not_positive_and_says_so) {
  for (const Duration period : {Duration(0s), Duration(-1s)}) {
    MetronomeWorld world;
    const Result<void> refused = world.server.call_blocking<Metronome::Start>(period);
    EXPECT_NE(refused.error().message().find("the period must be more than zero"), std::string::npos);
  }
}

TEST(Interval, ends_with_its_server_and_ticks_through_a_full_mailbox) {
  std::vector<Duration> ticks;
  DeterministicRuntime runtime;
  ServerRef<Metronome> server = runtime.start_with<Metronome>(StartOptions{.mailbox_bound = 1}, &ticks).value();
  ASSERT_TRUE(server.call_blocking<Metronome::Start>(1s));
  server.cast(Metronome::Busy{1500ms});
  runtime.run_until_idle();
  server.cast(Metronome::Busy{0s});  // the mailbox is full when the tick comes
  runtime.advance(3s);
  EXPECT_EQ(ticks, (Times{1500ms, 2s, 3s}));
  ASSERT_TRUE(runtime.stop(server.pid()));
  runtime.advance(10s);
  EXPECT_EQ(ticks.size(), 3U);
}

}  // namespace
}  // namespace dagverk
