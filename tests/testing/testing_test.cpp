// The helpers for tests on the deterministic runtime: seeds, interleavings, faults, virtual time, probes.

#include "dagverk/runtime/supervisor.hpp"
#include "dagverk/testing/choosers.hpp"
#include "dagverk/testing/probe.hpp"
#include "dagverk/testing/scenario.hpp"
#include "dagverk/testing/seeds.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

namespace dagverk::testing {
namespace {

using namespace std::chrono_literals;

struct Ping {
  int number;
};

/// Sends numbers to a probe, and itself a tick now and then.
class Sender : public GenServer<Sender> {
 public:
  struct Send {
    int count;
  };
  struct Tick {};
  Sender(ServerRef<Probe<Ping>> to, int base) : to_(to), base_(base) {}
  void handle_cast(Send send) {
    for (int number = 0; number < send.count; ++number) to_.cast(Ping{base_ + number});
  }
  void handle_cast(Tick) { send_after(10ms, Tick{}); }
  void handle_info(Tick) { to_.cast(Ping{base_ - 1}); }

 private:
  ServerRef<Probe<Ping>> to_;
  int base_;
};

std::vector<int> numbers(const ProbeLog<Ping>& log) {
  std::vector<int> found;
  for (const Ping& ping : log.of<Ping>()) found.push_back(ping.number);
  return found;
}

TEST(Seeds, every_seed_runs_and_a_failing_one_is_told_with_its_replay_command) {
  std::vector<std::uint64_t> ran;
  const SeedReport report = for_each_seed(SeedOptions{.count = 5, .first = 10, .test = "Suite.name"}, [&](Scenario& s) {
    ran.push_back(s.seed());
    s.expect(s.seed() != 12, "twelve is unlucky");
    if (s.seed() == 13) throw std::runtime_error("thirteen, too");
  });
  EXPECT_EQ(ran, (std::vector<std::uint64_t>{10, 11, 12, 13, 14}));
  EXPECT_EQ(report.runs, 5U);
  ASSERT_EQ(report.failures.size(), 2U);
  EXPECT_EQ(report.failures[0].seed, 12U);
  EXPECT_NE(report.failures[0].text.find("twelve is unlucky"), std::string::npos);
  EXPECT_TRUE(report.failures[0].replay.starts_with("DAGVERK_SEED=12 ")) << report.failures[0].replay;
  EXPECT_TRUE(report.failures[0].replay.ends_with("--gtest_filter='Suite.name'")) << report.failures[0].replay;
  EXPECT_NE(report.failures[1].text.find("thirteen, too"), std::string::npos);
  EXPECT_FALSE(report.ok());
}

TEST(Seeds, the_environment_runs_one_seed_alone) {
  ASSERT_EQ(setenv("DAGVERK_SEED", "4711", 1), 0);
  std::vector<std::uint64_t> ran;
  const SeedReport report = for_each_seed(100, [&](Scenario& s) { ran.push_back(s.seed()); });
  ASSERT_EQ(unsetenv("DAGVERK_SEED"), 0);
  EXPECT_EQ(ran, std::vector<std::uint64_t>{4711});
  EXPECT_TRUE(report.ok()) << report.text();
}

TEST(Seeds, no_run_at_all_is_not_a_success) {
  EXPECT_FALSE(for_each_seed(0, [](Scenario&) {}).ok());
}

class Worker : public GenServer<Worker> {
 public:
  struct Work {};
  void handle_cast(Work) { ++done_; }

 private:
  int done_ = 0;
};

struct Course {
  std::string trace;
  std::uint64_t hash;
};

/// Supervised workers, timers, calls, a lane, kills and throws at random.
Course mixed_run(std::uint64_t seed) {
  Scenario scenario(seed, {.keep_trace = true});
  DeterministicRuntime& runtime = scenario.runtime();
  int lane_runs = 0;
  const std::unique_ptr<ExternalLane> lane = runtime.open_lane("disk", [&] { ++lane_runs; });
  const auto probe = start_probe<Ping>(runtime).value();
  const auto one = runtime.start<Sender>(probe.ref, 100).value();
  const auto two = runtime.start<Sender>(probe.ref, 200).value();
  const SupervisorRef tree = start_supervisor(runtime, {.max_restarts = 1000},
                                              {child_spec_with<Worker>({.registered = true}, "a"),
                                               child_spec_with<Worker>({.registered = true}, "b")})
                                 .value();
  for (int round = 0; round < 20; ++round) {
    one.cast(Sender::Send{3});
    two.cast(Sender::Send{2});
    two.cast(Sender::Tick{});
    lane->ring();
    const std::string name = scenario.chance(2) ? "a" : "b";
    Name<Worker>(runtime, name).cast(Worker::Work{});
    scenario.kill_at_step(scenario.random().below(9), name);
    if (scenario.chance(3)) scenario.throw_at_step(2, runtime.whereis(name).value_or(Pid()));
    scenario.advance(7ms);
  }
  EXPECT_TRUE(tree.count_children_blocking());
  EXPECT_TRUE(scenario.expect_stops());
  EXPECT_EQ(scenario.failures(), std::vector<std::string>{});
  return Course{.trace = scenario.trace(), .hash = runtime.order_hash()};
}

TEST(Replay, one_seed_gives_one_run_byte_for_byte_with_all_kinds_of_faults) {
  for (const std::uint64_t seed : {1U, 2U, 3U, 99U}) {
    const Course first = mixed_run(seed);
    const Course second = mixed_run(seed);
    EXPECT_GT(first.trace.size(), 1000U);
    EXPECT_EQ(first.trace, second.trace);
    EXPECT_EQ(first.hash, second.hash);
  }
  EXPECT_NE(mixed_run(1).trace, mixed_run(2).trace);
}

/// Two senders of two numbers each; true when all arrived and each sender's own are in order.
std::vector<int> arrivals(Chooser& chooser) {
  Scenario scenario(1, {.chooser = &chooser});
  const auto probe = start_probe<Ping>(scenario.runtime()).value();
  const auto one = scenario.runtime().start<Sender>(probe.ref, 100).value();
  const auto two = scenario.runtime().start<Sender>(probe.ref, 200).value();
  one.cast(Sender::Send{1});
  two.cast(Sender::Send{1});
  one.cast(Sender::Send{1});
  scenario.expect_idle();
  return numbers(*probe.log);
}

TEST(Explore, all_interleavings_of_a_tiny_scenario_are_run_once) {
  std::set<std::vector<int>> orders;
  const ExploreReport report = explore([&](Chooser& chooser) {
    const std::vector<int> order = arrivals(chooser);
    orders.insert(order);
    return order.size() == 3;
  });
  EXPECT_TRUE(report.ok()) << report.text();
  const std::set<std::vector<int>> expected{{200, 100, 100}, {100, 200, 100}, {100, 100, 200}};
  EXPECT_EQ(orders, expected);
  EXPECT_GT(report.runs, expected.size());
  EXPECT_LT(report.runs, 20'000U);
}

TEST(Explore, the_one_interleaving_that_fails_is_found_and_its_script_replays_it) {
  const auto body = [](Chooser& chooser) { return arrivals(chooser) != std::vector<int>{200, 100, 100}; };
  const ExploreReport report = explore(body);
  ASSERT_TRUE(report.script) << report.text();
  ScriptedChooser again(*report.script);
  EXPECT_FALSE(body(again));
  EXPECT_NE(report.text().find("ScriptedChooser({"), std::string::npos);
}

TEST(Explore, a_bound_on_the_runs_is_kept_and_is_not_a_success) {
  const ExploreReport report = explore([](Chooser& chooser) { return !arrivals(chooser).empty(); }, {.runs_max = 2});
  EXPECT_EQ(report.runs, 2U);
  EXPECT_FALSE(report.ok());
}

TEST(Choosers, round_robin_takes_turns_and_preferences_come_first_or_last) {
  RoundRobinChooser turns;
  EXPECT_EQ(arrivals(turns).size(), 3U);
  const auto is_probe = [](const RunChoice& choice) { return choice.name.find("Probe") != std::string_view::npos; };
  for (const PreferChooser::Order order : {PreferChooser::Order::first, PreferChooser::Order::last}) {
    RandomChooser random(7);
    PreferChooser chooser(order, is_probe, random);
    Scenario scenario(1, {.chooser = &chooser});
    const auto probe = start_probe<Ping>(scenario.runtime()).value();
    const auto one = scenario.runtime().start<Sender>(probe.ref, 1).value();
    for (int cast = 0; cast < 4; ++cast) one.cast(Sender::Send{1});
    std::size_t deepest = 0;
    scenario.runtime().set_before_step([&](std::uint64_t) {
      for (const ProcessInfo& process : scenario.runtime().snapshot().processes) {
        if (process.pid == probe.pid()) deepest = std::max<std::size_t>(deepest, process.mailbox_depth);
      }
    });
    scenario.expect_idle();
    EXPECT_EQ(probe.log->size(), 4U);
    EXPECT_EQ(deepest, order == PreferChooser::Order::first ? 1U : 4U);
  }
}

TEST(Faults, an_injected_exception_ends_the_process_and_its_supervisor_starts_it_again) {
  Scenario scenario(1);
  DeterministicRuntime& runtime = scenario.runtime();
  const SupervisorRef tree =
      start_supervisor(runtime, {}, {child_spec_with<Worker>({.registered = true}, "w")}).value();
  const Pid first = runtime.whereis("w").value();
  runtime.throw_in_next_callback(first, "disk on fire");
  EXPECT_TRUE(scenario.expect_idle());
  EXPECT_EQ(runtime.whereis("w"), first);  // nothing to handle, nothing thrown
  Name<Worker>(runtime, "w").cast(Worker::Work{});
  EXPECT_TRUE(scenario.expect_idle());
  EXPECT_EQ(runtime.exit_reason(first)->message(), "disk on fire");
  EXPECT_NE(runtime.whereis("w").value(), first);
  EXPECT_TRUE(RuntimeBase::alive(tree.pid()));
}

TEST(Faults, what_is_held_waits_for_its_release_its_time_or_the_others_steps) {
  Scenario scenario(1);
  DeterministicRuntime& runtime = scenario.runtime();
  const auto probe = start_probe<Ping>(runtime).value();
  runtime.hold(probe.pid());
  probe.ref.cast(Ping{1});
  runtime.advance(1h);
  EXPECT_EQ(probe.log->size(), 0U);
  runtime.release(probe.pid());
  EXPECT_TRUE(scenario.expect_idle());
  EXPECT_EQ(probe.log->size(), 1U);

  runtime.hold_for(probe.pid(), 10ms);
  probe.ref.cast(Ping{2});
  runtime.advance(9ms);
  EXPECT_EQ(probe.log->size(), 1U);
  runtime.advance(1ms);
  EXPECT_EQ(probe.log->size(), 2U);

  const auto busy = runtime.start<Worker>().value();
  for (int cast = 0; cast < 10; ++cast) busy.cast(Worker::Work{});
  runtime.hold_steps(probe.pid(), 5);
  probe.ref.cast(Ping{3});
  EXPECT_EQ(runtime.run_until_idle(5), 5U);
  EXPECT_EQ(probe.log->size(), 2U);
  EXPECT_TRUE(scenario.expect_idle());
  EXPECT_EQ(probe.log->size(), 3U);
  runtime.hold_steps(probe.pid(), 1'000'000);
  probe.ref.cast(Ping{4});
  EXPECT_TRUE(scenario.expect_idle());  // nobody else can run: its time has come
  EXPECT_EQ(probe.log->size(), 4U);
}

TEST(Faults, a_lane_that_is_held_completes_late) {
  Scenario scenario(1);
  DeterministicRuntime& runtime = scenario.runtime();
  int runs = 0;
  const std::unique_ptr<ExternalLane> lane = runtime.open_lane("disk", [&] { ++runs; });
  runtime.hold_lane_for("disk", 5ms);
  lane->ring();
  runtime.advance(4ms);
  EXPECT_EQ(runs, 0);
  runtime.advance(1ms);
  EXPECT_EQ(runs, 1);
  runtime.hold_lane("disk");
  lane->ring();
  runtime.run_until_idle();
  EXPECT_EQ(runs, 1);
  runtime.release_lane("disk");
  runtime.run_until_idle();
  EXPECT_EQ(runs, 2);
}

TEST(Faults, a_kill_at_a_step_comes_before_that_step_and_the_probe_sees_it) {
  Scenario scenario(1);
  DeterministicRuntime& runtime = scenario.runtime();
  const auto worker = runtime.start<Worker>().value();
  const auto probe = start_probe<Down, Exit>(runtime).value();
  probe.watch(worker.pid());
  probe.link(worker.pid());
  EXPECT_TRUE(scenario.expect_idle());
  for (int cast = 0; cast < 10; ++cast) worker.cast(Worker::Work{});
  scenario.kill_at_step(3, worker.pid());
  EXPECT_TRUE(scenario.expect_idle());
  ASSERT_EQ(probe.log->of<Down>().size(), 1U);
  ASSERT_EQ(probe.log->of<Exit>().size(), 1U);
  EXPECT_EQ(probe.log->of<Down>()[0].reason, ExitReason::killed);
  scenario.kill_any_at_step(0);
  EXPECT_TRUE(scenario.expect_idle());
  EXPECT_EQ(runtime.process_count(), 0U);
}

TEST(VirtualTime, run_until_stops_at_the_moment_and_says_when_it_never_comes) {
  Scenario scenario(1);
  const auto probe = start_probe<Ping>(scenario.runtime()).value();
  const auto sender = scenario.runtime().start<Sender>(probe.ref, 1).value();
  const SteadyTime start = scenario.runtime().clock().steady_now();
  sender.cast(Sender::Tick{});
  EXPECT_TRUE(scenario.run_until([&] { return probe.log->size() == 1; }, 1s));
  EXPECT_EQ(scenario.runtime().clock().steady_now() - start, 10ms);
  EXPECT_FALSE(scenario.run_until([&] { return probe.log->size() == 2; }, 1s));
  EXPECT_EQ(scenario.failures().size(), 1U);
}

class Restless : public GenServer<Restless> {
 public:
  struct Again {};
  void handle_cast(Again again) { self().cast(again); }
};

TEST(VirtualTime, a_program_that_never_comes_to_rest_is_not_idle) {
  Scenario scenario(1);
  scenario.runtime().start<Restless>().value().cast(Restless::Again{});
  EXPECT_FALSE(scenario.expect_idle(1000));
  EXPECT_EQ(scenario.failures().size(), 1U);
}

}  // namespace
}  // namespace dagverk::testing
