// Thousands of random supervision trees: members crash, are killed, stopped, linked, watched, named, added and removed
// at random moments, and the rules of processes and supervisors hold throughout. 500 seeds each time; all 10,000:
//   DAGVERK_SEEDS=10000 build/release/bin/simulation_test --gtest_filter='SupervisionTree.every*'

#include "simulation/supervision_tree.hpp"

#include "dagverk/testing/seeds.hpp"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

namespace dagverk::simulation {
namespace {

using namespace std::chrono_literals;
using testing::Scenario;
using testing::SeedReport;

class World {
 public:
  World(Scenario& scenario, Fault fault)
      : scenario_(scenario),
        runtime_(scenario.runtime()),
        members_book_(std::make_shared<Book>(scenario, fault)),
        book_(*members_book_) {}
  World(const World&) = delete;
  World& operator=(const World&) = delete;
  ~World() { book_.closed = true; }

  void run() {
    const std::size_t root = new_supervisor(false);
    supervisors_[root].name = "root";
    SupervisorOptions options = random_options();
    options.max_restarts = 1000;
    options.name = "root";
    if (book_.fault == Fault::forward_stop || book_.fault == Fault::orphan) return run_careless(root);
    std::vector<ChildSpec> children = random_children(root, 0, options);
    if (!scenario_.expect(start_supervisor(runtime_, options, std::move(children)).has_value(), "the tree starts")) {
      return;
    }
    for (int act = 0; act < 30; ++act) {
      act_once();
      if (scenario_.chance(2)) check();
    }
    runtime_.advance(1s);
    check();
    finish();
  }

 private:
  struct Home {
    std::string name;
    bool dynamic;
  };

  void run_careless(std::size_t root) {
    std::vector<ChildSpec> specs;
    for (int child = 0; child < 3; ++child) specs.push_back(leaf(root, true));
    const auto careless = runtime_.start<CarelessSupervisor>(std::move(specs), book_.fault == Fault::forward_stop);
    may_fail(runtime_.stop(careless.value().pid()));
    check();
    finish();
  }

  void finish() {
    scenario_.expect_stops();
    scenario_.expect(book_.living == 0, "leak: a member's state outlives all processes");
  }

  // --- building ---
  [[nodiscard]] std::size_t random(std::size_t below) { return scenario_.random().below(below); }
  std::size_t new_supervisor(bool dynamic) {
    supervisors_.push_back({.name = concat("s", supervisors_.size()), .dynamic = dynamic});
    return supervisors_.size() - 1;
  }
  SupervisorOptions random_options() {
    constexpr std::array strategies{RestartStrategy::one_for_one, RestartStrategy::one_for_all,
                                    RestartStrategy::rest_for_one};
    constexpr std::array autos{AutoShutdown::never, AutoShutdown::any_significant, AutoShutdown::all_significant};
    SupervisorOptions options;
    options.strategy = strategies[random(3)];
    options.auto_shutdown = autos[random(3)];
    options.max_restarts = static_cast<std::uint32_t>(random(5));
    return options;
  }
  ChildSpec leaf(std::size_t home, bool ordered, bool may_be_significant = false) {
    constexpr std::array restarts{Restart::permanent, Restart::transient, Restart::temporary};
    const std::array shutdowns{Shutdown::brutal_kill(), Shutdown::after(100ms), Shutdown::infinity()};
    const std::uint64_t place = ++last_place_;
    ChildOptions options{.restart = restarts[random(3)], .shutdown = shutdowns[random(3)]};
    options.registered = ordered;
    options.significant = may_be_significant && options.restart != Restart::permanent && scenario_.chance(2);
    if (ordered) names_.push_back(concat(place));
    return child_spec_with<Leaf>(options, concat(place), members_book_,
                                 Leaf::Home{.supervisor = home, .place = place, .ordered = ordered});
  }
  ChildSpec supervisor(int depth) {
    const std::size_t number = new_supervisor(scenario_.chance(4));
    const std::string id = concat(++last_place_);
    ChildSpec spec;
    // The id is what keeps its place; the name is how it is found again.
    if (supervisors_[number].dynamic) {
      DynamicSupervisorOptions options{.max_children = 5, .max_restarts = static_cast<std::uint32_t>(random(5))};
      spec = child_spec<DynamicSupervisor>(id, options);
    } else {
      const SupervisorOptions options = random_options();
      std::vector<ChildSpec> children = random_children(number, depth + 1, options);
      spec = child_spec<Supervisor>(id, options, children);
    }
    spec.registered = true;
    supervisors_[number].name = id;
    return spec;
  }
  std::vector<ChildSpec> random_children(std::size_t home, int depth, const SupervisorOptions& options) {
    std::vector<ChildSpec> specs;
    const bool significant = options.auto_shutdown != AutoShutdown::never && depth > 0;
    for (std::size_t count = 1 + random(4); count > 0; --count) {
      specs.push_back(depth < 2 && scenario_.chance(3) ? supervisor(depth) : leaf(home, true, significant));
    }
    return specs;
  }

  // --- acting ---
  [[nodiscard]] std::vector<ProcessInfo> members(std::string_view kind) {
    std::vector<ProcessInfo> found;
    for (ProcessInfo& process : runtime_.snapshot().processes) {
      if (process.kind.ends_with(kind)) found.push_back(std::move(process));
    }
    return found;
  }
  [[nodiscard]] ServerRef<Leaf> any_leaf() {
    const std::vector<ProcessInfo> leaves = members("::Leaf");
    return leaves.empty() ? ServerRef<Leaf>() : ServerRef<Leaf>(leaves[random(leaves.size())].pid);
  }
  [[nodiscard]] Pid holder(const Home& home) { return runtime_.whereis(home.name).value_or(Pid()); }
  void attack(Pid pid, bool kill) {
    scenario_.at_step(random(12), [this, pid, kill] {
      if (checking_ || !RuntimeBase::alive(pid)) return;
      book_.attacked.insert(pid.number());
      if (kill) {
        runtime_.exit(pid, ExitReason::kill);
      } else {
        runtime_.throw_in_next_callback(pid);
        ServerRef<Leaf>(pid).cast(Leaf::TakeName{"anything"});
      }
    });
  }

  void act_once() {
    const ServerRef<Leaf> one = any_leaf();
    const ServerRef<Leaf> two = any_leaf();
    switch (random(16)) {
      case 0: return one.cast(Leaf::Crash{});
      case 1: return one.cast(Leaf::End{ExitReason::normal});
      case 2: return one.cast(Leaf::End{ExitReason::shutdown_with("enough")});
      case 3: return one.cast(Leaf::End{ExitReason::custom("odd")});
      case 4: return attack(one.pid(), true);
      case 5: return attack(one.pid(), false);
      case 6:
      case 7: return one.cast(Leaf::LinkTo{two.pid()});
      case 8: return one.cast(Leaf::WatchIt{two.pid()});
      case 9: return one.cast(Leaf::SendTo{two, static_cast<int>(random(5))});
      case 10: return one.cast(Leaf::TakeName{concat("extra ", random(3))});
      case 11: return runtime_.advance(random(3000) * 1ms);
      case 12: return runtime_.hold_steps(one.pid(), random(30));
      case 13: return act_on_supervisor(supervisors_[random(supervisors_.size())], one);
      case 14: return act_on_supervisor(supervisors_[random(supervisors_.size())], two);
      default: return end_supervisor(supervisors_[random(supervisors_.size())]);
    }
  }
  void act_on_supervisor(const Home home, ServerRef<Leaf> near) {
    const Pid pid = holder(home);
    if (!pid) return;
    const std::size_t number =
        static_cast<std::size_t>(std::ranges::find(supervisors_, home.name, &Home::name) - supervisors_.begin());
    if (home.dynamic) {
      const DynamicSupervisorRef ref{ServerRef<DynamicSupervisor>(pid)};
      if (scenario_.chance(3)) {
        may_fail(ref.terminate_child_blocking(near.pid()));
      } else {
        may_fail(ref.start_child_blocking(leaf(number, false)));
      }
      return;
    }
    const SupervisorRef ref{ServerRef<Supervisor>(pid)};
    const Result<std::vector<ChildInfo>> children = ref.which_children_blocking();
    if (!children || children->empty() || scenario_.chance(3)) {
      may_fail(ref.start_child_blocking(scenario_.chance(4) ? supervisor(1) : leaf(number, true)));
      return;
    }
    const ChildInfo& child = (*children)[random(children->size())];
    switch (random(3)) {
      case 0:
        book_.by_request.insert(std::stoull(child.id));
        may_fail(ref.terminate_child_blocking(child.id));
        return;
      case 1: may_fail(ref.restart_child_blocking(child.id)); return;
      default: may_fail(ref.delete_child_blocking(child.id)); return;
    }
  }
  void end_supervisor(const Home& home) {
    const Pid pid = holder(home);
    if (!pid || home.name == "root") return;
    if (scenario_.chance(2)) {
      runtime_.exit(pid, ExitReason::kill);
    } else if (!home.dynamic) {
      may_fail(SupervisorRef{ServerRef<Supervisor>(pid)}.stop_blocking(ExitReason::shutdown));
    }
  }

  // --- the rules, when nothing moves ---
  void check() {
    scenario_.expect_idle();
    checking_ = true;  // asking the supervisors takes steps, before which nothing may be attacked
    check_names();
    check_monitors_and_links();
    check_tree();
    for (const Home& home : supervisors_) {
      if (const Pid pid = holder(home)) check_children(home, pid);
    }
    checking_ = false;
  }
  void check_names() {
    for (const std::string& name : names_) {
      const std::optional<Pid> pid = runtime_.whereis(name);
      if (pid && !RuntimeBase::alive(*pid)) book_.broken(concat("name: \"", name, "\" is held by a dead process"));
    }
  }
  void check_monitors_and_links() {
    for (const auto& [ref, watch] : book_.watches) {
      if (RuntimeBase::alive(watch.by) && !RuntimeBase::alive(watch.of)) book_.broken("monitor: one has not fired");
    }
    for (const auto& [one, two] : book_.links) {
      if (RuntimeBase::alive(one) == RuntimeBase::alive(two)) continue;
      const Pid dead = RuntimeBase::alive(one) ? two : one;
      const Pid left = RuntimeBase::alive(one) ? one : two;
      if (!book_.exits.contains({dead.number(), left.number()})) book_.broken("link: an end has seen no exit signal");
    }
    std::size_t ends = 0;
    for (const ProcessInfo& process : runtime_.snapshot().processes) ends += process.links;
    if (ends % 2 != 0) book_.broken("link: one is known at one end only");
  }
  void check_tree() {
    for (const ProcessInfo& process : runtime_.snapshot().processes) {
      if (process.parent && !RuntimeBase::alive(process.parent))
        book_.broken("tree: a process outlives its supervisor");
    }
  }
  void check_children(const Home& home, Pid pid) {
    const auto which = home.dynamic ? DynamicSupervisorRef{ServerRef<DynamicSupervisor>(pid)}.which_children_blocking()
                                    : SupervisorRef{ServerRef<Supervisor>(pid)}.which_children_blocking();
    if (!which) return;
    std::uint64_t above = UINT64_MAX;
    for (const ChildInfo& child : *which) {
      if ((child.state == ChildState::running) != RuntimeBase::alive(child.pid)) {
        book_.broken(concat("children: \"", child.id, "\" is not what its supervisor says"));
      }
      if (home.dynamic) continue;
      const std::uint64_t place = std::stoull(child.id);  // places grow in the order of starting, and stay
      if (place >= above) book_.broken(concat("place: child ", place, " is listed after ", above));
      above = place;
      if (child.state == ChildState::running && runtime_.whereis(child.id) != child.pid) {
        book_.broken(concat("name: child \"", child.id, "\" does not hold its name"));
      }
    }
  }

  Scenario& scenario_;
  DeterministicRuntime& runtime_;
  std::shared_ptr<Book> members_book_;  // with every member, which may outlive the world when a rule is broken
  Book& book_;
  std::vector<Home> supervisors_;
  std::vector<std::string> names_{"anything", "extra 0", "extra 1", "extra 2"};
  std::uint64_t last_place_ = 0;
  bool checking_ = false;
};

SeedReport run_trees(std::size_t count, Fault fault, std::string test) {
  return testing::for_each_seed({.count = count, .test = std::move(test)},
                                [fault](Scenario& scenario) { World(scenario, fault).run(); });
}

TEST(SupervisionTree, every_seed_keeps_the_rules) {
  const SeedReport report = run_trees(500, Fault::none, "SupervisionTree.every_seed_keeps_the_rules");
  EXPECT_TRUE(report.ok()) << report.text();
}

TEST(SupervisionTree, the_rules_see_each_planted_fault) {
  const std::vector<std::pair<Fault, std::string>> faults{
      {Fault::lost_down, "monitor: one has not fired"},
      {Fault::second_down, "monitor: a Down that nobody waits for"},
      {Fault::lost_exit, "link: an end has seen no exit signal"},
      {Fault::swapped_messages, "messages: number"},
      {Fault::leak, "leak: a member"},
      {Fault::forward_stop, "order: child"},
      {Fault::orphan, "tree: a process outlives its supervisor"},
  };
  for (const auto& [fault, rule] : faults) {
    const SeedReport report = run_trees(300, fault, "");
    EXPECT_FALSE(report.ok()) << rule;
    EXPECT_NE(report.text().find(rule), std::string::npos) << "expected " << rule << ", found " << report.text();
  }
}

/// One crash after the other at random times, under each strategy; `extra` makes the model wrong on purpose.
void run_intensity(Scenario& scenario, std::uint32_t extra) {
  DeterministicRuntime& runtime = scenario.runtime();
  Random& random = scenario.random();
  const auto book = std::make_shared<Book>(scenario, Fault::none);
  SupervisorOptions options;
  options.strategy = static_cast<RestartStrategy>(random.below(3));
  options.max_restarts = static_cast<std::uint32_t>(random.below(4));
  options.max_restart_window = (1 + random.below(5)) * 1s;
  std::vector<ChildSpec> children;
  for (std::uint64_t place = 1; place <= 3; ++place) {
    children.push_back(child_spec_with<Leaf>({.registered = true}, concat(place), book, Leaf::Home{0, place, true}));
  }
  const SupervisorRef tree = start_supervisor(runtime, options, std::move(children)).value();
  std::vector<SteadyTime> restarts;
  for (int crash = 0; crash < 20 && RuntimeBase::alive(tree.pid()); ++crash) {
    runtime.advance(random.below(4) * 500ms);
    const SteadyTime now = runtime.clock().steady_now();
    Name<Leaf>(runtime, concat(1 + random.below(3))).cast(Leaf::Crash{});
    scenario.expect_idle();
    std::erase_if(restarts, [&](SteadyTime time) { return time < now - options.max_restart_window; });
    restarts.push_back(now);
    const bool lives = restarts.size() <= options.max_restarts + extra;
    if (!scenario.expect(RuntimeBase::alive(tree.pid()) == lives,
                         "intensity: the supervisor gave up too early or late"))
      break;
    if (!lives) scenario.expect(runtime.exit_reason(tree.pid()) == ExitReason::shutdown, "intensity: the reason");
  }
  scenario.expect_stops();
  book->closed = true;
}

TEST(SupervisionTree, a_supervisor_gives_up_at_exactly_its_limit_of_restarts) {
  const SeedReport report = testing::for_each_seed({.count = 500, .test = "SupervisionTree.a_supervisor_gives_up*"},
                                                   [](Scenario& scenario) { run_intensity(scenario, 0); });
  EXPECT_TRUE(report.ok()) << report.text();
  EXPECT_FALSE(testing::for_each_seed(20, [](Scenario& scenario) { run_intensity(scenario, 1); }).ok());
}

}  // namespace
}  // namespace dagverk::simulation
