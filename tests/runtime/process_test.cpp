// Links, monitors, exit signals, order and replay on the deterministic runtime.

#include "dagverk/base/random.hpp"
#include "dagverk/runtime/completion.hpp"
#include "dagverk/runtime/deterministic_runtime.hpp"
#include "dagverk/runtime/gen_server.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

namespace dagverk {
namespace {

using namespace std::chrono_literals;

/// A process that does what it is told and writes down what it sees.
class Puppet : public GenServer<Puppet> {
 public:
  struct Trap {};
  struct Link {
    Pid other;
  };
  struct Unlink {
    Pid other;
  };
  struct Monitor {
    Pid other;
    bool then_demonitor = false;
  };
  struct End {
    ExitReason reason;
  };
  struct Signal {
    Pid other;
    ExitReason reason;
  };
  struct StartChild {
    using Reply = ServerRef<Puppet>;
    std::vector<std::string>* log;
  };

  explicit Puppet(std::vector<std::string>* log) : log_(log) {}
  void handle_cast(Trap) { this_process::trap_exits(); }
  void handle_cast(Link link) { this_process::link(link.other); }
  void handle_cast(Unlink unlink) { this_process::unlink(unlink.other); }
  void handle_cast(Monitor monitor) {
    const MonitorRef ref = this_process::monitor(monitor.other);
    if (monitor.then_demonitor) this_process::demonitor(ref);
  }
  void handle_cast(End end) { stop(end.reason); }
  void handle_cast(Signal signal) { this_process::exit(signal.other, signal.reason); }
  Async<Result<ServerRef<Puppet>>> handle_call(StartChild start) {
    Result<ServerRef<Puppet>> child = co_await this_process::start_link<Puppet>(start.log);
    co_return child;
  }
  void handle_info(Down down) { log_->push_back("down " + down.reason.to_string()); }
  void handle_info(Exit exit) { log_->push_back("exit " + exit.reason.to_string()); }
  void terminate(const ExitReason& reason) { log_->push_back("terminate " + reason.to_string()); }

 private:
  std::vector<std::string>* log_;
};

struct Pair {
  DeterministicRuntime runtime;
  std::vector<std::string> a_log;
  std::vector<std::string> b_log;
  ServerRef<Puppet> a = runtime.start<Puppet>(&a_log).value();
  ServerRef<Puppet> b = runtime.start<Puppet>(&b_log).value();
};

using Log = std::vector<std::string>;

TEST(Process, CC_PRO_001_a_normal_exit_signal_does_not_end_a_process_that_does_not_trap) {
  Pair p;
  p.a.cast(Puppet::Signal{p.b.pid(), ExitReason::normal});
  p.runtime.run_until_idle();
  EXPECT_TRUE(RuntimeBase::alive(p.b.pid()));
}

TEST(Process, CC_PRO_002_kill_cannot_be_trapped_and_monitors_see_killed) {
  Pair p;
  p.b.cast(Puppet::Trap{});
  p.a.cast(Puppet::Monitor{p.b.pid()});
  p.runtime.run_until_idle();
  p.a.cast(Puppet::Signal{p.b.pid(), ExitReason::kill});
  p.runtime.run_until_idle();
  EXPECT_FALSE(RuntimeBase::alive(p.b.pid()));
  EXPECT_EQ(p.a_log, Log{"down killed"});
  EXPECT_EQ(p.b_log, Log{});
}

TEST(Process, CC_PRO_004_a_linked_process_that_exits_with_kill_spreads_a_reason_that_can_be_trapped) {
  Pair p;
  p.a.cast(Puppet::Trap{});
  p.a.cast(Puppet::Link{p.b.pid()});
  p.runtime.run_until_idle();
  p.b.cast(Puppet::End{ExitReason::kill});
  p.runtime.run_until_idle();
  EXPECT_EQ(p.a_log, Log{"exit kill"});
  EXPECT_TRUE(RuntimeBase::alive(p.a.pid()));
}

TEST(Process, CC_PRO_005_monitoring_a_process_that_has_ended_delivers_noproc) {
  Pair p;
  ASSERT_TRUE(p.runtime.stop(p.b.pid()));
  p.a.cast(Puppet::Monitor{p.b.pid()});
  p.runtime.run_until_idle();
  EXPECT_EQ(p.a_log, Log{"down noproc"});
}

TEST(Process, CC_PRO_006_after_demonitor_no_down_is_seen_even_if_it_was_queued) {
  Pair p;
  ASSERT_TRUE(p.runtime.stop(p.b.pid()));
  p.a.cast(Puppet::Monitor{p.b.pid(), true});
  p.runtime.run_until_idle();
  EXPECT_EQ(p.a_log, Log{});
}

TEST(Process, monitors_stack_and_each_fires_once) {
  Pair p;
  p.a.cast(Puppet::Monitor{p.b.pid()});
  p.a.cast(Puppet::Monitor{p.b.pid()});
  p.runtime.run_until_idle();
  p.b.cast(Puppet::End{ExitReason::shutdown});
  p.runtime.run_until_idle();
  EXPECT_EQ(p.a_log, (Log{"down shutdown", "down shutdown"}));
}

TEST(Process, an_abnormal_end_spreads_over_links_and_a_normal_one_does_not) {
  Pair p;
  p.a.cast(Puppet::Link{p.b.pid()});
  p.a.cast(Puppet::Link{p.b.pid()});
  p.runtime.run_until_idle();
  p.b.cast(Puppet::End{ExitReason::custom("boom")});
  p.runtime.run_until_idle();
  EXPECT_EQ(p.runtime.exit_reason(p.a), ExitReason::custom("boom"));
  EXPECT_EQ(p.a_log, Log{});  // not trapping: no terminate

  Pair q;
  q.a.cast(Puppet::Link{q.b.pid()});
  q.runtime.run_until_idle();
  q.b.cast(Puppet::End{ExitReason::normal});
  q.runtime.run_until_idle();
  EXPECT_TRUE(RuntimeBase::alive(q.a.pid()));
}

TEST(Process, after_unlink_no_exit_signal_of_that_link_arrives) {
  Pair p;
  p.a.cast(Puppet::Link{p.b.pid()});
  p.runtime.run_until_idle();
  p.a.cast(Puppet::Unlink{p.b.pid()});
  p.runtime.run_until_idle();
  p.b.cast(Puppet::End{ExitReason::custom("boom")});
  p.runtime.run_until_idle();
  EXPECT_TRUE(RuntimeBase::alive(p.a.pid()));
}

TEST(Process, linking_to_a_process_that_has_ended_brings_noproc) {
  Pair p;
  ASSERT_TRUE(p.runtime.stop(p.b.pid()));
  p.a.cast(Puppet::Link{p.b.pid()});
  p.runtime.run_until_idle();
  EXPECT_EQ(p.runtime.exit_reason(p.a), ExitReason::noproc);
}

TEST(Process, CC_SRV_013_a_trapping_child_ends_in_order_when_its_parent_does) {
  Pair p;
  std::vector<std::string> child_log;
  ServerRef<Puppet> child = p.a.call_blocking<Puppet::StartChild>(&child_log).value();
  child.cast(Puppet::Trap{});
  p.runtime.run_until_idle();
  p.a.cast(Puppet::End{ExitReason::custom("going")});
  p.runtime.run_until_idle();
  EXPECT_EQ(child_log, Log{"terminate going"});
  EXPECT_EQ(p.runtime.exit_reason(child), ExitReason::custom("going"));
}

TEST(Process, a_message_sent_before_an_exit_signal_by_the_same_sender_is_seen_before_it) {
  Pair p;
  p.b.cast(Puppet::Trap{});
  p.runtime.run_until_idle();
  p.b.cast(Puppet::Monitor{Pid(), false});  // answers noproc to itself
  p.runtime.exit(p.b.pid(), ExitReason::shutdown);
  p.runtime.run_until_idle();
  EXPECT_EQ(p.b_log.size(), 2U);
}

TEST(Process, links_are_symmetric_whatever_both_sides_do_at_once) {
  // An unlink that met the other side's link on its way used to leave a link that only one of them knew of.
  int linked = 0;
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    Random random(seed);
    DeterministicRuntime runtime(DeterministicOptions{.seed = seed});
    std::vector<std::string> log;
    const ServerRef<Puppet> sides[] = {runtime.start<Puppet>(&log).value(), runtime.start<Puppet>(&log).value()};
    for (std::uint64_t act = 2 + random.below(8); act > 0; --act) {
      const std::uint64_t side = random.below(2);
      const Pid other = sides[1 - side].pid();
      if (random.below(2) == 0) {
        sides[side].cast(Puppet::Link{other});
      } else {
        sides[side].cast(Puppet::Unlink{other});
      }
      for (std::uint64_t step = random.below(3); step > 0; --step) runtime.step();
    }
    runtime.run_until_idle();
    const Snapshot shot = runtime.snapshot();
    ASSERT_EQ(shot.processes.size(), 2U);
    ASSERT_EQ(shot.processes[0].links, shot.processes[1].links) << "seed " << seed;
    linked += static_cast<int>(shot.processes[0].links);
    sides[0].cast(Puppet::End{ExitReason::custom("boom")});
    runtime.run_until_idle();
    ASSERT_EQ(RuntimeBase::alive(sides[1].pid()), shot.processes[1].links == 0) << "seed " << seed;
  }
  EXPECT_GT(linked, 100);
  EXPECT_LT(linked, 400);
}

/// Waits when told to, traps exits, and writes down what it sees in which order.
class Waiting : public GenServer<Waiting> {
 public:
  struct Wait {};
  struct Say {
    std::string text;
  };
  struct LinkTo {
    Pid other;
  };
  explicit Waiting(std::vector<std::string>* log) : log_(log) {}
  static void init() { this_process::trap_exits(); }
  Async<void> handle_cast(Wait /*message*/) {
    co_await this_process::sleep(1s);
    log_->emplace_back("waited");
  }
  void handle_cast(Say say) { log_->push_back(std::move(say.text)); }
  static void handle_cast(LinkTo link) { this_process::link(link.other); }
  void handle_info(const Exit& exit) { log_->push_back("exit " + exit.reason.to_string()); }

 private:
  std::vector<std::string>* log_;
};

TEST(Process, a_trapped_exit_signal_keeps_its_place_among_the_messages_while_its_receiver_waits) {
  // It used to be queued anew, behind what its sender had sent later.
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    DeterministicRuntime runtime(DeterministicOptions{.seed = seed});
    std::vector<std::string> log;
    ServerRef<Waiting> waiting = runtime.start<Waiting>(&log).value();
    waiting.cast(Waiting::Wait{});
    runtime.run_until_idle();
    runtime.spawn([&] {
      waiting.cast(Waiting::Say{"before"});
      this_process::exit(waiting.pid(), ExitReason::custom("one"));
      waiting.cast(Waiting::Say{"between"});
      this_process::exit(waiting.pid(), ExitReason::normal);
      waiting.cast(Waiting::Say{"after"});
    });
    runtime.run_until_idle();
    EXPECT_EQ(log, Log{});
    runtime.advance(1s);
    EXPECT_EQ(log, (Log{"waited", "before", "exit one", "between", "exit normal", "after"}));
  }
}

TEST(Process, casts_of_a_process_that_ends_come_before_its_exit_signal_even_to_one_that_waits) {
  DeterministicRuntime runtime;
  std::vector<std::string> log;
  ServerRef<Waiting> waiting = runtime.start<Waiting>(&log).value();
  ServerRef<Waiting> bystander = runtime.start<Waiting>(&log).value();
  const Pid ending = runtime.spawn([&, waiting]() -> Async<void> {
    co_await this_process::sleep(500ms);
    waiting.cast(Waiting::Say{"last words"});
    throw std::runtime_error("gone");
  });
  waiting.cast(Waiting::LinkTo{ending});
  waiting.cast(Waiting::Wait{});
  runtime.advance(600ms);
  bystander.cast(Waiting::Say{"other"});
  runtime.advance(1s);
  EXPECT_EQ(log, (Log{"other", "waited", "last words", "exit error std::runtime_error: gone"}));
}

TEST(Process, a_link_that_comes_while_its_receiver_waits_is_there_for_the_exit_signal_behind_it) {
  DeterministicRuntime runtime;
  std::vector<std::string> log;
  ServerRef<Waiting> waiting = runtime.start<Waiting>(&log).value();
  waiting.cast(Waiting::Wait{});
  runtime.run_until_idle();
  runtime.spawn([&] {
    this_process::link(waiting.pid());
    this_process::stop(ExitReason::custom("brief"));
  });
  runtime.spawn([&] {  // a link that is taken back brings no exit signal
    this_process::link(waiting.pid());
    this_process::unlink(waiting.pid());
  });
  runtime.advance(1s);
  EXPECT_EQ(log, (Log{"waited", "exit brief"}));
}

/// A message that writes down why it was discarded.
struct Probe {
  std::string* reason;
  static bool run(detail::Node* node, detail::ProcessCore& /*core*/) {
    *detail::payload_of<Probe>(node).reason = "run";
    return true;
  }
  static void discard(detail::Node* node, const ExitReason& reason) noexcept {
    *detail::payload_of<Probe>(node).reason = reason.to_string();
    detail::free_node(node);
  }
  static constexpr detail::NodeOps ops{&run, &discard, "probe", detail::NodeClass::message};
};

TEST(Process, a_message_for_an_earlier_process_of_a_slot_finds_nobody_even_when_the_later_one_ends_first) {
  // It used to be discarded with the later process' reason: whoever watched the earlier one was told that.
  DeterministicRuntime runtime;
  const Pid earlier = runtime.spawn([] {});
  runtime.run_until_idle();
  const Pid later = runtime.spawn([]() -> Async<void> {
    co_await this_process::sleep(1s);
    throw std::runtime_error("the later one");
  });
  ASSERT_EQ(later.core(), earlier.core());
  runtime.run_until_idle();
  std::string late;
  std::string in_time;
  detail::Node* too_late = detail::make_node<Probe>(Probe::ops, &late);
  too_late->generation = earlier.generation();  // its sender had looked before the slot was reused
  ASSERT_TRUE(later.core()->mailbox.push(too_late));
  runtime.run_until_idle();
  runtime.make_ready(*later.core());
  ASSERT_TRUE(detail::send(later, detail::make_node<Probe>(Probe::ops, &in_time)));
  runtime.advance(1s);
  EXPECT_EQ(late, "noproc");
  EXPECT_EQ(in_time, "error std::runtime_error: the later one");
}

TEST(Process, an_old_time_limit_does_not_disarm_the_limit_of_the_next_wait) {
  DeterministicRuntime runtime;
  std::vector<SteadyTime> ends;
  const SteadyTime begin = runtime.clock().steady_now();
  runtime.spawn([&]() -> Async<void> {
    for (const Duration limit : {Duration(10ms), Duration(4ms), Duration(20ms), Duration(1ms)}) {
      auto [completion, completer] = make_completion<Result<int>>();
      Result<int> nothing = co_await std::move(completion).within(limit);
      EXPECT_EQ(nothing.error().code(), ErrorCode::timeout);
      ends.push_back(runtime.clock().steady_now());
    }
  });
  runtime.advance(100ms);
  EXPECT_EQ(ends, (std::vector<SteadyTime>{begin + 10ms, begin + 14ms, begin + 34ms, begin + 35ms}));
  EXPECT_EQ(runtime.process_count(), 0U);
}

/// Has children that outlive, or must not outlive, what happens to it.
class Mother : public GenServer<Mother> {
 public:
  struct End {
    ExitReason reason;
  };
  Mother(Pid* child, std::vector<std::string>* log, bool fails) : child_(child), log_(log), fails_(fails) {}
  Async<void> init() {
    Result<ServerRef<Puppet>> child = co_await this_process::start_link<Puppet>(log_);
    *child_ = child.value().pid();
    if (fails_) throw std::runtime_error("no room");
  }
  void handle_cast(End end) { stop(end.reason); }

 private:
  Pid* child_;
  std::vector<std::string>* log_;
  bool fails_;
};

TEST(Process, children_that_an_init_has_started_end_when_it_fails) {
  // They used to live on, with a parent that was gone and nobody to stop them.
  DeterministicRuntime runtime;
  Pid child;
  std::vector<std::string> log;
  EXPECT_FALSE(runtime.start<Mother>(&child, &log, true));
  runtime.run_until_idle();
  EXPECT_FALSE(RuntimeBase::alive(child));
}

TEST(Process, a_child_that_outlives_its_parent_is_asked_to_stop_with_the_runtime) {
  DeterministicRuntime runtime;
  Pid child;
  std::vector<std::string> log;
  ServerRef<Mother> mother = runtime.start<Mother>(&child, &log, false).value();
  mother.cast(Mother::End{ExitReason::normal});
  runtime.run_until_idle();
  EXPECT_TRUE(RuntimeBase::alive(child));
  EXPECT_EQ(runtime.stop_all(), 0U);
  EXPECT_EQ(runtime.exit_reason(child), ExitReason::shutdown);
}

/// Starts processes with a link or a monitor, and writes down what becomes of them.
class Foreman : public GenServer<Foreman> {
 public:
  struct Hire {
    std::string how;
  };
  struct StopIt {
    using Reply = std::string;
    Pid other;
    ExitReason reason;
    ExitReason first;
  };
  struct StartWatched {
    using Reply = std::string;
    bool fails = false;
  };
  explicit Foreman(std::vector<std::string>* log) : log_(log) {}
  static void init() { this_process::trap_exits(); }
  void handle_cast(const Hire& hire) {
    // Both end before this process looks again.
    if (hire.how == "link") {
      worker_ = this_process::spawn_link([] { throw std::runtime_error("tired"); });
    } else {
      const MonitoredProcess worker = this_process::spawn_monitor([] { throw std::runtime_error("tired"); });
      worker_ = worker.pid;
      monitor_ = worker.monitor;
    }
  }
  static Async<std::string> handle_call(StopIt stop) {
    if (stop.first != ExitReason::normal) this_process::exit(stop.other, stop.first);
    Result<void> stopped = co_await this_process::stop(stop.other, stop.reason, Duration(1s));
    co_return stopped ? std::string("stopped") : std::string(to_string(stopped.error().code()));
  }
  Async<std::string> handle_call(StartWatched start) {
    auto starting = this_process::start_monitor<Mother>(&child_, &child_log_, start.fails);
    Result<MonitoredServer<Mother>> started = co_await starting;
    if (!started) co_return "failed";
    monitor_ = started->monitor;
    worker_ = started->server.pid();
    started->server.cast(Mother::End{ExitReason::custom("done")});
    co_return "started";
  }
  void handle_info(const Down& down) {
    log_->push_back("down " + down.reason.to_string());
    EXPECT_EQ(down.ref, monitor_);
    EXPECT_EQ(down.pid, worker_);
    EXPECT_FALSE(this_process::demonitor(down.ref));
  }
  void handle_info(const Exit& exit) {
    if (exit.from == worker_) log_->push_back("exit " + exit.reason.to_string());
  }

 private:
  std::vector<std::string>* log_;
  std::vector<std::string> child_log_;
  Pid child_;
  Pid worker_;
  MonitorRef monitor_;
};

TEST(Process, spawn_link_and_spawn_monitor_miss_no_end_however_soon_it_comes) {
  for (const std::string how : {"link", "monitor"}) {
    DeterministicRuntime runtime;
    std::vector<std::string> log;
    ServerRef<Foreman> foreman = runtime.start<Foreman>(&log).value();
    foreman.cast(Foreman::Hire{how});
    runtime.run_until_idle();
    EXPECT_EQ(log, Log{(how == "link" ? "exit" : "down") + std::string(" error std::runtime_error: tired")});
  }
}

TEST(Process, start_monitor_watches_from_the_first_moment_and_a_failed_start_brings_no_down) {
  DeterministicRuntime runtime;
  std::vector<std::string> log;
  ServerRef<Foreman> foreman = runtime.start<Foreman>(&log).value();
  EXPECT_EQ(foreman.call_blocking<Foreman::StartWatched>(true), "failed");
  runtime.run_until_idle();
  EXPECT_EQ(log, Log{});
  EXPECT_EQ(foreman.call_blocking<Foreman::StartWatched>(), "started");
  runtime.run_until_idle();
  EXPECT_EQ(log, Log{"down done"});
}

TEST(Process, stop_inside_a_process_awaits_the_end_and_says_when_it_was_another_one) {
  DeterministicRuntime runtime;
  std::vector<std::string> log;
  ServerRef<Foreman> foreman = runtime.start<Foreman>(&log).value();
  const auto stop = [&](Pid pid, ExitReason first = ExitReason::normal) {
    return foreman.call_blocking<Foreman::StopIt>(pid, ExitReason::shutdown, std::move(first));
  };
  std::vector<std::string> other;
  ServerRef<Puppet> puppet = runtime.start<Puppet>(&other).value();
  EXPECT_EQ(stop(puppet.pid()), "stopped");
  EXPECT_EQ(other, Log{"terminate shutdown"});
  EXPECT_EQ(stop(puppet.pid()), "no_process");
  EXPECT_EQ(stop(foreman.pid()), "calling_self");
  EXPECT_EQ(stop(runtime.start<Puppet>(&other)->pid(), ExitReason::custom("first")), "exited");
  const Pid sleeper = runtime.spawn([]() -> Async<void> { co_await this_process::sleep(1h); });
  EXPECT_EQ(stop(sleeper), "timeout");
}

TEST(Process, a_monitored_start_that_is_never_awaited_leaves_nothing_behind) {
  DeterministicRuntime runtime;
  runtime.spawn([]() -> Async<void> {
    {
      auto forgotten = this_process::start_monitor<Puppet>(nullptr);
      static_cast<void>(forgotten);
    }
    co_await this_process::sleep(1s);
  });
  runtime.run_until_idle();
  EXPECT_EQ(runtime.process_count(), 1U);
  EXPECT_EQ(runtime.snapshot().processes.size(), 1U);
  // Its slot is as good as new.
  ServerRef<Puppet> next = runtime.start<Puppet>(nullptr).value();
  EXPECT_EQ(runtime.snapshot().processes.size(), 2U);
  EXPECT_TRUE(RuntimeBase::alive(next.pid()));
}

/// Its terminate is a coroutine; its callbacks throw, some after a wait.
class Careful : public GenServer<Careful> {
 public:
  struct Throw {};
  struct ThrowLater {};
  struct Work {};
  struct Watch {
    Pid other;
  };
  explicit Careful(std::vector<std::string>* log) : log_(log) {}
  void init() { this_process::trap_exits(); }
  void handle_cast(Throw /*message*/) { throw std::runtime_error("boom"); }
  Async<void> handle_cast(ThrowLater /*message*/) {
    co_await this_process::sleep(1s);
    throw std::runtime_error("boom");
  }
  Async<void> handle_cast(Work /*message*/) {
    co_await this_process::sleep(1s);
    log_->emplace_back("worked");
  }
  void handle_cast(Watch watch) { static_cast<void>(this_process::monitor(watch.other)); }
  void handle_info(const Down& /*down*/) { throw std::runtime_error("how sad"); }
  Async<void> terminate(const ExitReason& reason) {
    co_await this_process::sleep(1s);
    log_->push_back("terminated " + reason.to_string());
  }

 private:
  std::vector<std::string>* log_;
};

TEST(Process, a_terminate_that_is_a_coroutine_runs_after_an_exception_too) {
  // It used to be left out; and what woke the wait before the exception leaked.
  DeterministicRuntime runtime;
  std::vector<std::string> log;
  ServerRef<Careful> now = runtime.start<Careful>(&log).value();
  ServerRef<Careful> later = runtime.start<Careful>(&log).value();
  now.cast(Careful::Throw{});
  runtime.advance(1s);
  EXPECT_EQ(log, Log{"terminated error std::runtime_error: boom"});
  later.cast(Careful::ThrowLater{});
  runtime.advance(2s);
  EXPECT_EQ(log.size(), 2U);
  EXPECT_EQ(runtime.exit_reason(later), ExitReason::error("std::runtime_error", "boom"));
}

/// Its terminate throws, at once or after a wait.
class Clumsy : public GenServer<Clumsy> {
 public:
  struct Throw {};
  explicit Clumsy(Duration wait) : wait_(wait) {}
  static void handle_cast(Throw /*message*/) { throw std::runtime_error("first"); }
  Async<void> terminate(const ExitReason& /*reason*/) const {
    co_await this_process::sleep(wait_);
    throw std::runtime_error("second");
  }

 private:
  Duration wait_;
};

TEST(Process, a_terminate_that_throws_runs_once_and_gives_the_reason) {
  for (const Duration wait : {Duration(0s), Duration(1s)}) {
    DeterministicRuntime runtime;
    ServerRef<Clumsy> clumsy = runtime.start<Clumsy>(wait).value();
    clumsy.cast(Clumsy::Throw{});
    runtime.advance(1s);
    EXPECT_EQ(runtime.exit_reason(clumsy), ExitReason::error("std::runtime_error", "second"));
  }
}

TEST(Process, a_handler_of_a_down_message_that_throws_leaves_nothing_behind) {
  DeterministicRuntime runtime;  // the leak checker is this test's judge
  std::vector<std::string> log;
  ServerRef<Careful> careful = runtime.start<Careful>(&log).value();
  careful.cast(Careful::Watch{Pid()});
  runtime.advance(1s);
  EXPECT_EQ(log, Log{"terminated error std::runtime_error: how sad"});
}

TEST(Process, a_mailbox_bound_refuses_no_down_message) {
  DeterministicRuntime runtime;
  std::vector<std::string> log;
  ServerRef<Puppet> watched = runtime.start<Puppet>(&log).value();
  ServerRef<Puppet> watcher = runtime.start_with<Puppet>(StartOptions{.mailbox_bound = 1}, &log).value();
  watcher.cast(Puppet::Monitor{watched.pid()});
  runtime.run_until_idle();
  watcher.cast(Puppet::Trap{});  // the mailbox is full now
  EXPECT_FALSE(watcher.try_cast(Puppet::Trap{}));
  watched.cast(Puppet::End{ExitReason::normal});
  runtime.run_until_idle();
  EXPECT_NE(std::ranges::find(log, "down normal"), log.end());
}

TEST(Process, a_process_that_traps_exits_finishes_its_callback_before_the_runtime_stops_it) {
  DeterministicRuntime runtime;
  std::vector<std::string> log;
  ServerRef<Careful> careful = runtime.start<Careful>(&log).value();
  careful.cast(Careful::Work{});
  runtime.run_until_idle();
  EXPECT_EQ(runtime.stop_all(), 0U);
  EXPECT_EQ(log, (Log{"worked", "terminated shutdown"}));
}

/// Sends a number of casts to everybody it knows, at random moments of the schedule.
class Gossip : public GenServer<Gossip> {
 public:
  struct Meet {
    std::vector<ServerRef<Gossip>> others;
  };
  struct Rumour {
    int hops;
  };
  void handle_cast(Meet meet) { others_ = std::move(meet.others); }
  void handle_cast(Rumour rumour) {
    if (rumour.hops == 0) return;
    for (const ServerRef<Gossip>& other : others_) other.cast(Rumour{rumour.hops - 1});
  }

 private:
  std::vector<ServerRef<Gossip>> others_;
};

std::vector<std::string> gossip_trace(std::uint64_t seed) {
  DeterministicRuntime runtime(DeterministicOptions{.seed = seed});
  std::vector<std::string> trace;
  runtime.set_trace([&](const TraceStep& step) {
    trace.push_back(std::to_string(step.pid_number) + " " + std::string(step.handled));
  });
  std::vector<ServerRef<Gossip>> all;
  for (int index = 0; index < 5; ++index) all.push_back(runtime.start<Gossip>().value());
  for (const ServerRef<Gossip>& one : all) one.cast(Gossip::Meet{all});
  all[0].cast(Gossip::Rumour{4});
  runtime.run_until_idle();
  return trace;
}

TEST(DeterministicRuntime, the_same_seed_gives_the_same_order_and_another_seed_another) {
  const std::vector<std::string> first = gossip_trace(42);
  EXPECT_EQ(first, gossip_trace(42));
  EXPECT_NE(first, gossip_trace(43));
  EXPECT_GT(first.size(), 500U);
}

TEST(DeterministicRuntime, lanes_run_on_the_callers_thread_and_rings_merge) {
  DeterministicRuntime runtime;
  int runs = 0;
  std::unique_ptr<ExternalLane> lane = runtime.open_lane("disk", [&] { ++runs; });
  lane->ring();
  lane->ring();
  EXPECT_EQ(runs, 0);
  runtime.run_until_idle();
  EXPECT_EQ(runs, 1);
  lane->ring();
  lane.reset();
  EXPECT_EQ(runs, 2);
}

TEST(DeterministicRuntime, wait_for_exit_resumes_when_the_other_has_ended_or_the_limit_passed) {
  DeterministicRuntime runtime;
  std::vector<std::string> log;
  Pid sleeper = runtime.spawn([]() -> Async<void> { co_await this_process::sleep(10s); });
  runtime.spawn([&]() -> Async<void> {
    Result<ExitReason> early = co_await this_process::wait_for_exit(sleeper, 1s);
    log.emplace_back(to_string(early.error().code()));
    Result<ExitReason> ended = co_await this_process::wait_for_exit(sleeper, 0s);
    log.push_back(ended->to_string());
    Result<ExitReason> gone = co_await this_process::wait_for_exit(sleeper, 0s);
    log.push_back(gone->to_string());
  });
  runtime.advance(1s);
  EXPECT_EQ(log, Log{"timeout"});
  runtime.advance(10s);
  EXPECT_EQ(log, (Log{"timeout", "normal", "noproc"}));
}

}  // namespace
}  // namespace dagverk
