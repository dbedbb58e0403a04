// Supervisors on the deterministic runtime, each case under several seeds.

#include "dagverk/runtime/supervisor.hpp"

#include "dagverk/runtime/deterministic_runtime.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace dagverk {
namespace {

using namespace std::chrono_literals;

using Log = std::vector<std::string>;

constexpr std::array<std::uint64_t, 5> seeds{1, 2, 3, 5, 8};

/// Writes down its starts and ends; does what it is told.
class Child : public GenServer<Child> {
 public:
  struct Crash {};
  struct End {
    ExitReason reason;
  };
  struct Hang {};

  /// What a child does that the others do not.
  struct Plan {
    std::vector<std::string>* log = nullptr;
    int* starts_that_fail = nullptr;  // how many more starts fail; null: none
    bool ignores = false;
    Duration stop_takes{0};  // how long terminate waits; less than zero: for ever
  };

  explicit Child(std::string name, Plan plan) : name_(std::move(name)), plan_(plan) {}

  InitResult init() {
    if (plan_.ignores) return InitResult::ignore();
    if (plan_.starts_that_fail != nullptr && *plan_.starts_that_fail > 0) {
      --*plan_.starts_that_fail;
      return InitResult::stop(ExitReason::custom("no luck"));
    }
    this_process::trap_exits();
    plan_.log->push_back("start " + name_);
    return InitResult::ok();
  }
  void handle_cast(Crash) { throw std::runtime_error("boom"); }
  void handle_cast(End end) { stop(std::move(end.reason)); }
  Async<void> handle_cast(Hang) { co_await this_process::sleep(24h * 365); }
  Async<void> terminate(const ExitReason& /*reason*/) {
    plan_.log->push_back("stop " + name_);
    if (plan_.stop_takes < Duration::zero()) co_await this_process::sleep(24h * 365);
    co_await this_process::sleep(plan_.stop_takes);
  }

 private:
  const std::string name_;
  const Plan plan_;
};

ChildSpecOf<Child> child(std::string_view id, Child::Plan plan, ChildOptions options = {}) {
  options.registered = true;
  return child_spec_with<Child>(std::move(options), id, std::string(id), plan);
}

/// A runtime with one supervisor, its log, and what tests ask of them.
struct World {
  explicit World(std::uint64_t seed) : runtime(DeterministicOptions{.seed = seed}) {}

  void start(const SupervisorOptions& options, std::vector<ChildSpec> children) {
    Result<SupervisorRef> started = start_supervisor(runtime, options, std::move(children));
    ASSERT_TRUE(started) << started.error().message();
    supervisor = *started;
  }
  void start_abc(const SupervisorOptions& options) {
    start(options, {child("a", {.log = &log}), child("b", {.log = &log}), child("c", {.log = &log})});
    log.clear();
  }
  [[nodiscard]] Pid pid(const std::string& name) const { return runtime.whereis(name).value_or(Pid()); }
  template <class Message>
  void tell(const std::string& name, Message message) {
    Name<Child>(runtime, name).cast(std::move(message));
    runtime.run_until_idle();
  }
  void crash(const std::string& name) { tell(name, Child::Crash{}); }
  [[nodiscard]] std::string listed() {
    std::string text;
    const std::vector<ChildInfo> infos = supervisor.which_children_blocking().value();
    for (const ChildInfo& info : infos) {
      if (!text.empty()) text += ' ';
      text += info.id;
      if (info.state == ChildState::stopped) text += ":stopped";
      if (info.state == ChildState::restarting) text += ":restarting";
      if (info.state == ChildState::failed) text += ":failed";
      EXPECT_EQ(info.state == ChildState::running, RuntimeBase::alive(info.pid));
    }
    return text;
  }
  [[nodiscard]] bool alive() const { return RuntimeBase::alive(supervisor.pid()); }
  [[nodiscard]] std::string end() const {
    const std::optional<ExitReason> reason = runtime.exit_reason(supervisor.pid());
    return reason ? reason->to_string() : "alive";
  }

  DeterministicRuntime runtime;
  std::vector<std::string> log;
  SupervisorRef supervisor;
};

/// Runs `test` in a new world for each seed.
void with_seeds(const std::function<void(World&)>& test) {
  for (const std::uint64_t seed : seeds) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    World world(seed);
    test(world);
    EXPECT_EQ(world.runtime.stop_all(), 0U);
  }
}

// ---- starting and stopping
// ---------------------------------------------------------------------------------------------

TEST(Supervisor, CC_SUP_002_a_child_that_does_not_start_stops_those_before_it_and_the_start) {
  with_seeds([](World& world) {
    int fails = 1;
    Result<SupervisorRef> started =
        start_supervisor(world.runtime, {},
                         {child("a", {.log = &world.log}), child("b", {.log = &world.log, .starts_that_fail = &fails}),
                          child("c", {.log = &world.log})});
    ASSERT_FALSE(started);
    EXPECT_EQ(started.error().code(), ErrorCode::exited);
    EXPECT_NE(started.error().message().find("shutdown: failed to start child \"b\""), std::string::npos);
    EXPECT_NE(started.error().message().find("no luck"), std::string::npos);
    EXPECT_EQ(world.log, (Log{"start a", "stop a"}));
    EXPECT_EQ(world.runtime.process_count(), 0U);
  });
}

TEST(Supervisor, CC_SUP_003_children_start_in_order_and_stop_in_reverse_one_after_the_other) {
  with_seeds([](World& world) {
    world.start({}, {child("a", {.log = &world.log}), child("b", {.log = &world.log, .stop_takes = 1s}),
                     child("c", {.log = &world.log, .stop_takes = 1s})});
    const SteadyTime begin = world.runtime.clock().steady_now();
    EXPECT_TRUE(world.supervisor.stop_blocking());
    EXPECT_EQ(world.log, (Log{"start a", "start b", "start c", "stop c", "stop b", "stop a"}));
    EXPECT_EQ(world.runtime.clock().steady_now() - begin, 2s);
    EXPECT_EQ(world.end(), "normal");
  });
}

TEST(Supervisor, CC_SUP_016_who_ignores_shutdown_is_killed_at_its_limit_and_a_brutal_one_at_once) {
  with_seeds([](World& world) {
    world.start({}, {child("brutal", {.log = &world.log, .stop_takes = -1s}, {.shutdown = Shutdown::brutal_kill()}),
                     child("slow", {.log = &world.log, .stop_takes = -1s}, {.shutdown = Shutdown::after(100ms)})});
    const Pid brutal = world.pid("brutal");
    const Pid slow = world.pid("slow");
    const SteadyTime begin = world.runtime.clock().steady_now();
    EXPECT_TRUE(world.supervisor.stop_blocking());
    EXPECT_EQ(world.runtime.exit_reason(brutal), ExitReason::killed);
    EXPECT_EQ(world.runtime.exit_reason(slow), ExitReason::killed);
    EXPECT_EQ(world.runtime.clock().steady_now() - begin, 100ms);
    EXPECT_EQ(world.log.back(), "stop slow");  // the brutal one was not asked
  });
}

TEST(Supervisor, CC_SUP_019_two_children_with_one_id_are_refused) {
  World world(1);
  Result<SupervisorRef> started =
      start_supervisor(world.runtime, {}, {child("a", {.log = &world.log}), child("a", {.log = &world.log})});
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code(), ErrorCode::already_exists);
  EXPECT_EQ(started.error().message(), "two children have the id \"a\"");
  EXPECT_EQ(world.log, Log{});
}

TEST(Supervisor, CC_SUP_020_a_child_that_ignores_its_start_is_listed_as_stopped) {
  with_seeds([](World& world) {
    world.start({}, {child("a", {.log = &world.log}), child("b", {.log = &world.log, .ignores = true}),
                     child("t", {.log = &world.log, .ignores = true}, {.restart = Restart::temporary})});
    EXPECT_EQ(world.listed(), "b:stopped a");
    const ChildCounts counts = world.supervisor.count_children_blocking().value();
    EXPECT_EQ(counts.specs, 2U);
    EXPECT_EQ(counts.active, 1U);
  });
}

TEST(Supervisor, bad_options_and_specs_are_refused_with_the_field_the_value_and_the_range) {
  DeterministicRuntime runtime(DeterministicOptions{.seed = 1});
  std::vector<std::string> log;
  const auto refusal = [&](const SupervisorOptions& options, const ChildSpec& spec) {
    return std::string(start_supervisor(runtime, options, {spec}).error().message());
  };
  const ChildSpec good = child("a", {.log = &log});
  ChildSpec bad = good;
  EXPECT_EQ(refusal({.max_restarts = 2'000'000}, good), "supervisor: max_restarts must be 0..1000000, got 2000000");
  EXPECT_EQ(refusal({.max_restart_window = 0s}, good),
            "supervisor: the restart window must be more than zero, got 0 ns");
  bad.significant = true;
  EXPECT_EQ(refusal({}, bad), "child \"a\": a permanent child cannot be significant");
  bad.restart = Restart::transient;
  EXPECT_EQ(refusal({}, bad), "child \"a\": significant has no meaning with auto_shutdown never");
  bad = good;
  bad.start = nullptr;
  EXPECT_EQ(refusal({}, bad), "child \"a\": it has no start function");
  bad = good;
  bad.id.clear();
  bad.registered = false;
  EXPECT_EQ(refusal({}, bad), "a supervisor's child needs an id");
  bad = good;
  bad.backoff = {.initial = 2s, .max = 1s};
  EXPECT_EQ(refusal({}, bad), "child \"a\": backoff.max must not be less than backoff.initial");
  EXPECT_EQ(log, Log{});
}

// ---- restarting
// --------------------------------------------------------------------------------------------------------

TEST(Supervisor, CC_SUP_004_one_for_one_restarts_the_one_that_crashed_in_its_place) {
  with_seeds([](World& world) {
    world.start_abc({});
    const Pid a = world.pid("a");
    const Pid b = world.pid("b");
    world.crash("b");
    EXPECT_EQ(world.log, (Log{"stop b", "start b"}));
    EXPECT_EQ(world.pid("a"), a);
    EXPECT_NE(world.pid("b"), b);
    EXPECT_EQ(world.listed(), "c b a");
    EXPECT_EQ(world.supervisor.which_children_blocking().value()[1].restarts, 1U);
  });
}

TEST(Supervisor, one_for_all_stops_all_others_in_reverse_and_starts_all_in_order) {
  with_seeds([](World& world) {
    world.start({.strategy = RestartStrategy::one_for_all},
                {child("a", {.log = &world.log}), child("b", {.log = &world.log}),
                 child("t", {.log = &world.log}, {.restart = Restart::temporary}), child("c", {.log = &world.log})});
    world.log.clear();
    world.crash("b");
    EXPECT_EQ(world.log, (Log{"stop b", "stop c", "stop t", "stop a", "start a", "start b", "start c"}));
    EXPECT_EQ(world.listed(), "c b a");
  });
}

TEST(Supervisor, CC_SUP_006_rest_for_one_restarts_the_one_that_crashed_and_those_after_it) {
  with_seeds([](World& world) {
    world.start_abc({.strategy = RestartStrategy::rest_for_one});
    world.crash("b");
    EXPECT_EQ(world.log, (Log{"stop b", "stop c", "start b", "start c"}));
  });
}

TEST(Supervisor, CC_SUP_007_a_fourth_crash_within_five_seconds_stops_it) {
  with_seeds([](World& world) {
    world.start({}, {child("a", {.log = &world.log})});
    for (int crash = 1; crash <= 4; ++crash) {
      EXPECT_TRUE(world.alive());
      world.crash("a");
      world.runtime.advance(1s);
    }
    EXPECT_EQ(std::ranges::count(world.log, "start a"), 4);  // the first start and three restarts
    EXPECT_EQ(world.end(), "shutdown");
  });
}

TEST(Supervisor, a_restart_counts_until_it_is_older_than_the_window) {
  with_seeds([](World& world) {
    world.start({.max_restarts = 1}, {child("a", {.log = &world.log})});
    world.crash("a");
    world.runtime.advance(5s + 1ns);
    world.crash("a");
    EXPECT_TRUE(world.alive());
    world.runtime.advance(5s);  // exactly the window: still counts
    world.crash("a");
    EXPECT_EQ(world.end(), "shutdown");
  });
}

TEST(Supervisor, CC_SUP_008_with_max_restarts_zero_the_first_crash_stops_it) {
  with_seeds([](World& world) {
    world.start_abc({.max_restarts = 0});
    world.crash("b");
    EXPECT_EQ(world.end(), "shutdown");
    EXPECT_EQ(world.log, (Log{"stop b", "stop c", "stop a"}));
  });
}

TEST(Supervisor, CC_SUP_010_a_transient_child_is_restarted_after_an_abnormal_end_only) {
  const std::vector<std::pair<ExitReason, bool>> cases{{ExitReason::normal, false},
                                                       {ExitReason::shutdown, false},
                                                       {ExitReason::shutdown_with("done"), false},
                                                       {ExitReason::custom("boom"), true}};
  for (const auto& [reason, restarted] : cases) {
    with_seeds([&](World& world) {
      world.start({}, {child("a", {.log = &world.log}, {.restart = Restart::transient})});
      world.tell("a", Child::End{reason});
      EXPECT_EQ(world.listed(), restarted ? "a" : "a:stopped") << reason.to_string();
    });
  }
}

TEST(Supervisor, CC_SUP_011_a_temporary_child_is_forgotten_when_it_ends) {
  with_seeds([](World& world) {
    world.start({},
                {child("a", {.log = &world.log}, {.restart = Restart::temporary}), child("b", {.log = &world.log})});
    world.tell("a", Child::End{ExitReason::custom("boom")});
    EXPECT_EQ(world.listed(), "b");
    EXPECT_FALSE(world.runtime.whereis("a"));
  });
}

TEST(Supervisor, CC_SUP_018_a_restart_that_keeps_failing_makes_it_give_up) {
  with_seeds([](World& world) {
    int fails = 0;
    world.start({}, {child("a", {.log = &world.log}), child("b", {.log = &world.log, .starts_that_fail = &fails})});
    fails = 1000;
    world.log.clear();
    world.crash("b");
    EXPECT_EQ(world.end(), "shutdown");
    EXPECT_EQ(fails, 997);  // the restart and two retries were within the limit of three
    EXPECT_EQ(world.log, (Log{"stop b", "stop a"}));
  });
}

TEST(Supervisor, a_failing_restart_is_tried_again_without_keeping_others_waiting) {
  with_seeds([](World& world) {
    int fails = 0;
    world.start({.max_restarts = 1000},
                {child("a", {.log = &world.log, .starts_that_fail = &fails}, {.backoff = {.initial = 1s}})});
    fails = 2;
    world.crash("a");
    EXPECT_EQ(world.listed(), "a:restarting");
    Result<Pid> refused = world.supervisor.restart_child_blocking("a");
    EXPECT_EQ(refused.error().code(), ErrorCode::refused);
    EXPECT_EQ(world.supervisor.start_child_blocking(child("a", {.log = &world.log})).error().code(),
              ErrorCode::already_exists);
    world.runtime.advance(1s);  // fails; the next try is 2 s later
    world.runtime.advance(2s);  // fails; the next try is 4 s later
    EXPECT_EQ(world.listed(), "a:restarting");
    world.runtime.advance(4s);
    EXPECT_EQ(world.listed(), "a");
  });
}

TEST(Supervisor, a_sibling_that_fails_in_a_group_restart_is_tried_again) {
  with_seeds([](World& world) {
    int fails = 0;
    world.start({.strategy = RestartStrategy::rest_for_one},
                {child("a", {.log = &world.log}), child("b", {.log = &world.log}),
                 child("c", {.log = &world.log, .starts_that_fail = &fails}), child("d", {.log = &world.log})});
    fails = 1;
    world.log.clear();
    world.crash("b");
    EXPECT_EQ(world.log, (Log{"stop b", "stop d", "stop c", "start b", "start c", "start d"}));
    EXPECT_EQ(world.listed(), "d c b a");
  });
}

TEST(Supervisor, backoff_doubles_up_to_its_maximum_and_starts_over_after_a_quiet_time) {
  with_seeds([](World& world) {
    world.start({.max_restarts = 1000},
                {child("a", {.log = &world.log}, {.backoff = {.initial = 50ms, .max = 150ms, .reset_after = 10s}})});
    for (const Duration delay : {Duration(50ms), Duration(100ms), Duration(150ms), Duration(150ms)}) {
      world.crash("a");
      world.runtime.advance(delay - 1ns);
      EXPECT_FALSE(world.runtime.whereis("a"));
      world.runtime.advance(1ns);
      EXPECT_TRUE(world.runtime.whereis("a"));
    }
    world.runtime.advance(10s);
    world.crash("a");
    world.runtime.advance(50ms);
    EXPECT_TRUE(world.runtime.whereis("a"));
  });
}

TEST(Supervisor, a_child_over_a_limit_of_its_own_is_failed_and_the_supervisor_lives_on) {
  with_seeds([](World& world) {
    world.start({.max_restarts = 0},
                {child("a", {.log = &world.log}, {.limit = RestartLimit{.max_restarts = 10, .window = 60s}}),
                 child("b", {.log = &world.log})});
    for (int crash = 1; crash <= 11; ++crash) world.crash("a");
    EXPECT_EQ(world.listed(), "b a:failed");
    EXPECT_TRUE(world.supervisor.restart_child_blocking("a"));
    world.crash("a");
    EXPECT_EQ(world.listed(), "b a");
  });
}

TEST(Supervisor, CC_SUP_022_all_significant_ends_it_with_the_last_of_them) {
  with_seeds([](World& world) {
    const ChildOptions significant{.restart = Restart::transient, .significant = true};
    world.start({.auto_shutdown = AutoShutdown::all_significant},
                {child("a", {.log = &world.log}, significant), child("b", {.log = &world.log}, significant),
                 child("c", {.log = &world.log})});
    world.tell("a", Child::End{ExitReason::normal});
    EXPECT_TRUE(world.alive());
    world.tell("b", Child::End{ExitReason::normal});
    EXPECT_EQ(world.end(), "shutdown");
  });
}

TEST(Supervisor, any_significant_ends_it_with_the_first_that_ends_by_itself_but_not_by_request) {
  with_seeds([](World& world) {
    const ChildOptions significant{.restart = Restart::transient, .significant = true};
    world.start({.auto_shutdown = AutoShutdown::any_significant},
                {child("a", {.log = &world.log}, significant), child("b", {.log = &world.log}, significant)});
    EXPECT_TRUE(world.supervisor.terminate_child_blocking("a"));
    world.crash("b");  // transient: restarted
    EXPECT_TRUE(world.alive());
    world.tell("b", Child::End{ExitReason::normal});
    EXPECT_EQ(world.end(), "shutdown");
  });
}

// ---- trees
// ------------------------------------------------------------------------------------------------------------

TEST(Supervisor, CC_SUP_023_an_inner_supervisor_that_gives_up_is_restarted_with_all_its_children) {
  with_seeds([](World& world) {
    std::vector<ChildSpec> inner{child("a", {.log = &world.log}), child("b", {.log = &world.log})};
    world.start({}, {child_spec<Supervisor>("inner", SupervisorOptions{.max_restarts = 0}, inner)});
    const Pid before = world.supervisor.which_children_blocking().value()[0].pid;
    const ChildCounts counts = world.supervisor.count_children_blocking().value();
    EXPECT_EQ(counts.supervisors, 1U);
    EXPECT_EQ(counts.workers, 0U);
    world.log.clear();
    world.crash("a");
    EXPECT_EQ(world.log, (Log{"stop a", "stop b", "start a", "start b"}));
    EXPECT_NE(world.supervisor.which_children_blocking().value()[0].pid, before);
    EXPECT_TRUE(world.runtime.whereis("b"));
  });
}

TEST(Supervisor, CC_SUP_024_it_ends_in_order_with_its_parent_and_for_its_parents_reason) {
  with_seeds([](World& world) {
    std::vector<ChildSpec> children{child("a", {.log = &world.log, .stop_takes = 1s}), child("b", {.log = &world.log})};
    Pid inner;
    const Pid parent = world.runtime.spawn([&]() -> Async<void> {
      SupervisorOptions options;
      std::vector<ChildSpec> specs = children;
      Result<ServerRef<Supervisor>> started = co_await this_process::start_link<Supervisor>(options, specs);
      inner = started.value().pid();
      co_await this_process::sleep(24h);
    });
    world.runtime.run_until_idle();
    world.log.clear();
    world.runtime.exit(parent, ExitReason::custom("going"));
    world.runtime.advance(1s);
    EXPECT_EQ(world.log, (Log{"stop b", "stop a"}));
    EXPECT_EQ(world.runtime.exit_reason(inner), ExitReason::custom("going"));
  });
}

TEST(Supervisor, a_supervisor_that_is_busy_when_the_runtime_stops_still_stops_its_children_in_order) {
  with_seeds([](World& world) {
    world.start_abc({});
    world.supervisor.server().cast(Supervisor::Stop{ExitReason::normal});
    world.supervisor.server().cast(Supervisor::Stop{ExitReason::normal});
    EXPECT_EQ(world.runtime.stop_all(), 0U);
    EXPECT_EQ(world.log, (Log{"stop c", "stop b", "stop a"}));
  });
}

// ---- requests
// ----------------------------------------------------------------------------------------------------------

TEST(Supervisor, CC_SUP_012_start_child_appends_one_and_refuses_what_is_there_or_does_not_start) {
  with_seeds([](World& world) {
    world.start_abc({});
    Result<ServerRef<Child>> d = world.supervisor.start_child_blocking(child("d", {.log = &world.log}));
    ASSERT_TRUE(d);
    EXPECT_EQ(d->pid(), world.pid("d"));
    EXPECT_EQ(world.listed(), "d c b a");

    ChildSpec nothing;
    nothing.id = "e";
    Result<Pid> invalid = world.supervisor.start_child_blocking(nothing);
    EXPECT_EQ(invalid.error().code(), ErrorCode::invalid_argument);
    EXPECT_EQ(invalid.error().message(), "child \"e\": it has no start function");

    Result<ServerRef<Child>> running = world.supervisor.start_child_blocking(child("d", {.log = &world.log}));
    EXPECT_EQ(running.error().code(), ErrorCode::already_exists);
    ASSERT_TRUE(world.supervisor.terminate_child_blocking("d"));
    Result<ServerRef<Child>> stopped = world.supervisor.start_child_blocking(child("d", {.log = &world.log}));
    EXPECT_EQ(stopped.error().code(), ErrorCode::refused);

    int fails = 1;
    Result<ServerRef<Child>> failing =
        world.supervisor.start_child_blocking(child("f", {.log = &world.log, .starts_that_fail = &fails}));
    EXPECT_EQ(failing.error().code(), ErrorCode::exited);
    EXPECT_EQ(world.listed(), "d:stopped c b a");
  });
}

TEST(Supervisor, terminate_child_stops_it_for_good_and_restart_child_starts_it_again) {
  with_seeds([](World& world) {
    world.start({},
                {child("a", {.log = &world.log}), child("t", {.log = &world.log}, {.restart = Restart::temporary})});
    EXPECT_EQ(world.supervisor.terminate_child_blocking("x").error().code(), ErrorCode::not_found);
    EXPECT_TRUE(world.supervisor.terminate_child_blocking("a"));
    EXPECT_TRUE(world.supervisor.terminate_child_blocking("a"));
    EXPECT_TRUE(world.supervisor.terminate_child_blocking("t"));
    EXPECT_EQ(world.listed(), "a:stopped");
    Result<Pid> again = world.supervisor.restart_child_blocking("a");
    ASSERT_TRUE(again);
    EXPECT_EQ(*again, world.pid("a"));
    EXPECT_EQ(world.supervisor.restart_child_blocking("a").error().code(), ErrorCode::refused);
    EXPECT_EQ(world.supervisor.restart_child_blocking("x").error().code(), ErrorCode::not_found);
  });
}

TEST(Supervisor, CC_SUP_014_a_running_child_is_not_deleted) {
  with_seeds([](World& world) {
    world.start_abc({});
    Result<void> refused = world.supervisor.delete_child_blocking("b");
    EXPECT_EQ(refused.error().code(), ErrorCode::refused);
    EXPECT_NE(refused.error().message().find("running"), std::string::npos);
    ASSERT_TRUE(world.supervisor.terminate_child_blocking("b"));
    EXPECT_TRUE(world.supervisor.delete_child_blocking("b"));
    EXPECT_EQ(world.supervisor.delete_child_blocking("b").error().code(), ErrorCode::not_found);
    EXPECT_EQ(world.listed(), "c a");
  });
}

TEST(Supervisor, CC_SUP_015_count_children_counts_specs_and_living_processes) {
  with_seeds([](World& world) {
    world.start_abc({});
    ASSERT_TRUE(world.supervisor.terminate_child_blocking("b"));
    const ChildCounts counts = world.supervisor.count_children_blocking().value();
    EXPECT_EQ(counts.specs, 3U);
    EXPECT_EQ(counts.active, 2U);
    EXPECT_EQ(counts.workers, 3U);
    EXPECT_EQ(counts.supervisors, 0U);
  });
}

TEST(Supervisor, everything_can_be_awaited_inside_a_process) {
  with_seeds([](World& world) {
    const auto work = [&world]() -> Async<Result<std::string>> {
      std::string seen;
      SupervisorOptions options;
      Result<ServerRef<Supervisor>> server = co_await this_process::start_link<Supervisor>(options);
      const SupervisorRef supervisor(server.value());
      ChildSpecOf<Child> spec = child("a", {.log = &world.log});
      Result<ServerRef<Child>> a = co_await supervisor.start_child(std::move(spec));
      seen += RuntimeBase::alive(a.value().pid()) ? "started" : "not started";
      Result<std::vector<ChildInfo>> which = co_await supervisor.which_children();
      seen += ", " + which.value().front().id;
      Result<void> stopped = co_await supervisor.terminate_child("a");
      Result<Pid> again = co_await supervisor.restart_child("a");
      seen += stopped && again ? ", again" : ", not again";
      Result<void> stopped_again = co_await supervisor.terminate_child("a");
      Result<void> deleted = co_await supervisor.delete_child("a");
      Result<ChildCounts> counts = co_await supervisor.count_children();
      seen += stopped_again && deleted ? ", left " + std::to_string(counts.value().specs) : ", not deleted";
      Result<ExitReason> end = co_await supervisor.stop();
      seen += ", " + end.value().to_string();
      co_return seen;
    };
    EXPECT_EQ(world.runtime.run(work()).value(), "started, a, again, left 0, normal");
  });
}

}  // namespace
}  // namespace dagverk
