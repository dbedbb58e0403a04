// Pools and queues of a node that are changed while it runs, what it tells about itself, and a node under a user's
// own supervisor; on the deterministic runtime.

#include "jobs/node_world.hpp"
#include "jobs/queue_order.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/runtime/deterministic_runtime.hpp"
#include "dagverk/runtime/supervisor.hpp"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

namespace dagverk::jobs {
namespace {

using namespace std::chrono_literals;
using World = NodeWorld<DeterministicRuntime>;
using Names = std::vector<std::string>;

/// What was told about queues, in order: `running mail`.
Names queue_story(const World& world) {
  Names story;
  for (const Event& event : world.events.events()) {
    if (const auto* running = std::get_if<QueueRunning>(&event)) story.push_back("running " + running->queue);
    if (const auto* pausing = std::get_if<QueuePausing>(&event)) story.push_back("pausing " + pausing->queue);
    if (const auto* paused = std::get_if<QueuePaused>(&event)) story.push_back("paused " + paused->queue);
  }
  return story;
}

/// Jobs that run until the test lets them end; each is known by its number.
class Gates {
 public:
  void hold(int number) { held_.insert(number); }
  void open(int number) { held_.erase(number); }
  void open(World& world, int number) {
    open(number);
    world.runtime.advance(100ms);
  }
  [[nodiscard]] bool holds(int number) const { return held_.contains(number); }

 private:
  std::set<int> held_;
};

JobRegistry gated(const Gates& gates, std::vector<int>& order) {
  JobRegistry registry;
  registry.define("Gate", [&](int number) -> Async<void> {
    order.push_back(number);
    while (gates.holds(number)) co_await this_process::sleep(10ms);
  });
  return registry;
}

TEST(QueueOrder, without_weights_is_strict_and_with_weights_follows_them_and_its_seed) {
  QueueOrder strict(1);
  EXPECT_TRUE(strict.empty());
  strict.set({"high", "low", "least"});
  for (int count = 0; count < 5; ++count) EXPECT_EQ(strict.next(), (Names{"high", "low", "least"}));

  QueueOrder weighted(DeterministicRuntime().seed());
  weighted.set({{"critical", 6}, {"default", 3}, "rest"});  // without a weight it weighs 1
  constexpr int takes = 20'000;
  std::map<std::string, int> first;
  std::map<std::string, int> second_after_critical;
  for (int count = 0; count < takes; ++count) {
    const Names order = weighted.next();
    ASSERT_EQ(std::set(order.begin(), order.end()).size(), 3U);
    ++first[order[0]];
    if (order[0] == "critical") ++second_after_critical[order[1]];
  }
  // Five standard deviations of a share p among n draws are 5 * sqrt(p (1 - p) / n) <= 0.018 here.
  EXPECT_NEAR(1.0 * first["critical"] / takes, 0.6, 0.018);
  EXPECT_NEAR(1.0 * first["default"] / takes, 0.3, 0.018);
  EXPECT_NEAR(1.0 * first["rest"] / takes, 0.1, 0.018);
  EXPECT_NEAR(1.0 * second_after_critical["default"] / first["critical"], 0.75, 0.023);

  QueueOrder a(7);
  QueueOrder b(7);
  a.set({{"x", 1}, {"y", 1}});
  b.set({{"x", 1}, {"y", 1}});
  for (int count = 0; count < 100; ++count) EXPECT_EQ(a.next(), b.next());
}

TEST(NodePools, a_weighted_pool_starves_no_queue_and_prefers_the_heavy_one) {
  World world;
  std::vector<int> order;
  JobRegistry registry;
  registry.define("Note", [&order](int number) { order.push_back(number); });
  for (int number = 0; number < 200; ++number) {
    world.enqueue("Note", "[1]", "critical");
    world.enqueue("Note", "[0]", "default");
  }
  NodeOptions options;
  options.pools.push_back({.queues = {{"critical", 3}, {"default", 1}}, .concurrency = 1});
  const std::unique_ptr<Node> node = world.start(std::move(registry), 1, std::move(options));
  for (int steps = 0; order.size() < 200 && steps < 1'000'000; ++steps) world.runtime.step();
  ASSERT_EQ(order.size(), 200U);
  const auto heavy = std::ranges::count(order, 1);
  EXPECT_GT(heavy, 120);  // 150 of 200 on average; five standard deviations are 31
  EXPECT_LT(heavy, 181);
}

TEST(NodePools, pausing_a_queue_lets_its_jobs_end_takes_no_others_and_tells_each_step) {
  World world;
  Gates gates;
  std::vector<int> order;
  const std::unique_ptr<Node> node =
      world.start(gated(gates, order), 1, {.pools = {{.name = "both", .queues = {"mail", "other"}, .concurrency = 2}}});
  world.runtime.advance(1s);
  EXPECT_FALSE(node->pause_queue("nobody"));
  EXPECT_FALSE(node->resume_queue("nobody"));
  gates.hold(1);
  world.enqueue("Gate", "[1]", "mail");
  world.runtime.advance(100ms);
  EXPECT_EQ(node->queue_stats("mail"),
            (std::vector<QueueStats>{{.queue = "mail", .state = QueueState::running, .running = 1}}));
  EXPECT_TRUE(node->pause_queue("mail"));
  EXPECT_TRUE(node->pause_queue("mail"));
  world.enqueue("Gate", "[2]", "mail");
  world.enqueue("Gate", "[3]", "other");
  world.runtime.advance(3s);
  EXPECT_EQ(order, (std::vector<int>{1, 3}));
  EXPECT_EQ(node->queue_stats().front().state, QueueState::pausing);
  EXPECT_EQ(queue_story(world), (Names{"running mail", "running other", "pausing mail"}));
  gates.open(world, 1);
  EXPECT_EQ(node->queue_stats(),
            (std::vector<QueueStats>{{.queue = "mail", .state = QueueState::paused, .finished = 1},
                                     {.queue = "other", .state = QueueState::idle, .finished = 1}}));
  EXPECT_EQ(queue_story(world).back(), "paused mail");
  const QueuePaused paused = world.events.all<QueuePaused>().front();
  EXPECT_EQ(paused.node, node->name());
  EXPECT_GT(paused.at, world.events.all<QueuePausing>().front().at);
  EXPECT_TRUE(node->resume_queue("mail"));
  world.runtime.advance(1s);
  EXPECT_EQ(order, (std::vector<int>{1, 3, 2}));
  EXPECT_EQ(queue_story(world),
            (Names{"running mail", "running other", "pausing mail", "paused mail", "running mail"}));
}

TEST(NodePools, what_was_changed_outlives_a_restart_of_the_nodes_parts) {
  World world;
  Gates gates;
  std::vector<int> order;
  const std::unique_ptr<Node> node = world.start(gated(gates, order), 1);
  world.runtime.advance(1s);
  ASSERT_TRUE(node->resize("default", 3));
  ASSERT_TRUE(node->add_queue("more", 1));
  ASSERT_TRUE(node->pause_queue("more"));
  world.runtime.advance(1s);
  const NodeEpoch before = node->epoch();
  ASSERT_TRUE(world.runtime.run(world.store->retire_node(before)));  // its lease is lost
  world.runtime.advance(20s);
  ASSERT_NE(node->epoch(), before);
  for (int number = 1; number <= 5; ++number) {
    gates.hold(number);
    world.enqueue("Gate", concat("[", number, "]"));
  }
  world.enqueue("Gate", "[9]", "more");
  world.runtime.advance(2s);
  EXPECT_EQ(order.size(), 3U);
  EXPECT_EQ(node->busy_count(), 3U);
  EXPECT_EQ(node->pools().at(0).concurrency, 3U);
  EXPECT_EQ(node->pools().at(0).running, 3U);
  EXPECT_EQ(node->queue_stats("more").at(0).state, QueueState::paused);
  EXPECT_EQ(world.events.all<QueuePaused>().size(), 1U);
  node->quiet();
  world.runtime.advance(1s);
  ASSERT_TRUE(world.runtime.run(world.store->retire_node(node->epoch())));
  world.runtime.advance(20s);
  EXPECT_EQ(node->busy_count(), 0U);  // they are back in their queue, and nothing is taken
  EXPECT_EQ(world.totals().ready, 6U);
  EXPECT_TRUE(node->resume_queue("more"));
  world.runtime.advance(5s);
  EXPECT_EQ(world.totals().ready, 6U);
}

TEST(NodePools, pools_come_and_go_while_jobs_run_and_none_is_lost) {
  World world;
  Gates gates;
  std::vector<int> order;
  const std::unique_ptr<Node> node = world.start(gated(gates, order), 1, {.name = "n"});
  world.enqueue("Gate", "[1]", "mail");
  world.runtime.advance(2s);
  EXPECT_TRUE(order.empty());
  ASSERT_TRUE(node->add_queue("mail", 2));
  world.runtime.advance(100ms);
  EXPECT_EQ(order, (std::vector<int>{1}));
  EXPECT_EQ(node->add_queue("mail").error().code(), ErrorCode::already_exists);
  EXPECT_EQ(node->add_pool({.queues = {"default"}}).error().code(), ErrorCode::already_exists);
  EXPECT_EQ(node->add_queue("bad name\n").error().code(), ErrorCode::configuration);
  EXPECT_EQ(node->remove_queue("nobody").error().code(), ErrorCode::not_found);
  EXPECT_EQ(node->remove_pool("nobody").error().code(), ErrorCode::not_found);
  EXPECT_EQ(node->resize("nobody", 1).error().code(), ErrorCode::not_found);
  EXPECT_EQ(node->resize("mail", 0).error().code(), ErrorCode::configuration);

  gates.hold(2);
  world.enqueue("Gate", "[2]", "mail");
  world.runtime.advance(100ms);
  const std::size_t processes = world.runtime.process_count();
  ASSERT_TRUE(node->remove_queue("mail"));
  world.enqueue("Gate", "[3]", "mail");
  world.runtime.advance(3s);
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
  EXPECT_TRUE(node->queue_stats("mail").empty());
  EXPECT_EQ(node->running_jobs("mail").size(), 1U);  // it goes on
  gates.open(world, 2);
  world.runtime.advance(1s);
  EXPECT_EQ(world.runtime.process_count(), processes - 4);  // the run, pool, producer and acknowledger
  EXPECT_EQ(world.totals().finished, 2U);
  EXPECT_EQ(world.totals().ready, 1U);
  EXPECT_EQ(queue_story(world), (Names{"running default", "running mail", "pausing mail", "paused mail"}));
  EXPECT_EQ(node->stats().restarts, 0U);

  ASSERT_TRUE(node->add_pool({.name = "both", .queues = {"mail", "default"}, .concurrency = 1}));
  world.runtime.advance(1s);
  EXPECT_EQ(order.back(), 3);
  ASSERT_TRUE(node->remove_queue("mail"));  // the pool goes on with the other
  world.enqueue("Gate", "[4]", "mail");
  world.runtime.advance(1s);
  EXPECT_EQ(order.back(), 3);
  EXPECT_EQ(node->pools().size(), 2U);
  ASSERT_TRUE(node->remove_pool("default"));
  world.enqueue("Gate", "[5]");
  world.runtime.advance(1s);
  EXPECT_EQ(order.back(), 5);
  const NodeStopReport report = node->stop(1s);
  EXPECT_TRUE(report.retired);
  EXPECT_EQ(report.stuck, 0U);
  EXPECT_EQ(world.runtime.process_count(), 0U);
}

TEST(NodePools, a_queue_in_two_pools_is_paused_when_nothing_of_it_runs_in_either) {
  World world;
  Gates gates;
  std::vector<int> order;
  NodeOptions options;
  options.pools.push_back({.name = "one", .queues = {"mail"}, .concurrency = 1});
  options.pools.push_back({.name = "two", .queues = {"mail"}, .concurrency = 1});
  const std::unique_ptr<Node> node = world.start(gated(gates, order), 1, std::move(options));
  gates.hold(1);
  gates.hold(2);
  world.enqueue("Gate", "[1]", "mail");
  world.enqueue("Gate", "[2]", "mail");
  world.runtime.advance(2s);
  ASSERT_EQ(node->busy_count(), 2U);
  EXPECT_TRUE(node->pause_queue("mail"));
  gates.open(world, 1);
  EXPECT_EQ(node->queue_stats().at(0).state, QueueState::pausing);
  gates.open(world, 2);
  EXPECT_EQ(node->queue_stats().at(0).state, QueueState::paused);
  EXPECT_EQ(queue_story(world), (Names{"running mail", "pausing mail", "paused mail"}));
}

TEST(NodePools, running_jobs_are_shown_with_their_start_and_their_payload_the_oldest_first) {
  World world;
  Gates gates;
  std::vector<int> order;
  const std::unique_ptr<Node> node =
      world.start(gated(gates, order), 1, {.pools = {{.queues = {"mail", "other"}, .concurrency = 5}}});
  EXPECT_TRUE(node->running_jobs().empty());
  Names jids;
  for (int number = 1; number <= 3; ++number) {
    gates.hold(number);
    jids.push_back(world.enqueue("Gate", concat("[", number, "]"), number == 2 ? "other" : "mail"));
    world.runtime.advance(1s);
  }
  const std::vector<RunningJob> all = node->running_jobs();
  ASSERT_EQ(all.size(), 3U);
  for (std::size_t index = 0; index < 3; ++index) {
    EXPECT_EQ(all[index].jid, jids[index]);
    EXPECT_EQ(all[index].job_class, "Gate");
    EXPECT_EQ(all[index].pool, "mail");
    EXPECT_EQ(all[index].payload, world.find(jids[index])->payload);
    EXPECT_TRUE(RuntimeBase::alive(all[index].process));
  }
  EXPECT_EQ(all[1].started_at - all[0].started_at, 1s);
  EXPECT_EQ(node->running_jobs("other").at(0).jid, jids[1]);
  EXPECT_EQ(node->running_jobs({}, 2).size(), 2U);
  for (int number = 1; number <= 3; ++number) gates.open(world, number);
  EXPECT_TRUE(node->running_jobs().empty());
}

TEST(NodePools, failed_runs_are_counted_for_their_queue_and_crashes_leave_no_job_counted_as_running) {
  World world;
  JobRegistry registry;
  registry.define("Fails", [] { throw std::runtime_error("no"); }, {.retry = {.max_retries = 1, .delays = {10ms}}});
  registry.define("Waits", []() -> Async<void> { co_await this_process::sleep(1h); });
  const std::unique_ptr<Node> node = world.start(std::move(registry));
  world.enqueue("Fails");
  world.enqueue("Waits");
  world.runtime.advance(2s);
  EXPECT_EQ(node->queue_stats().at(0),
            (QueueStats{.queue = "default", .state = QueueState::running, .running = 1, .failed = 2}));
  ASSERT_TRUE(world.runtime.run(world.store->retire_node(node->epoch())));
  world.runtime.advance(20s);
  EXPECT_EQ(node->queue_stats().at(0).running, 1U);  // it runs again, once
  EXPECT_EQ(node->busy_count(), 1U);
}

/// A service: a supervisor of the user's own with a node in it.
struct Service {
  World& world;
  std::unique_ptr<Node> node;
  SupervisorRef tree;

  Service(World& in, JobRegistry registry, NodeOptions options) : world(in) {
    options.events = &world.events;
    options.seed = 7;
    node = Node::prepare(world.runtime, *world.store, std::move(registry), std::move(options)).value();
    std::vector<ChildSpec> children;
    children.push_back(node->child_spec("jobs"));
    tree = start_supervisor(world.runtime, {}, std::move(children)).value();
  }
  [[nodiscard]] Pid child() const { return tree.which_children_blocking().value().at(0).pid; }
};

TEST(NodePools, a_node_in_a_users_supervision_tree_is_restarted_as_it_was_and_stops_in_order_with_it) {
  World world;
  Gates gates;
  std::vector<int> order;
  NodeOptions options;
  options.pools.push_back({.queues = {"default"}, .concurrency = 1});
  options.stop_timeout = 5s;
  Service service(world, gated(gates, order), std::move(options));
  world.runtime.advance(1s);
  ASSERT_TRUE(service.node->resize("default", 2));
  gates.hold(1);
  world.enqueue("Gate", "[1]");
  world.runtime.advance(1s);
  const NodeEpoch before = service.node->epoch();
  const Pid crashed = service.child();
  world.runtime.exit(crashed, ExitReason::kill);
  world.runtime.advance(10s);
  EXPECT_NE(service.child(), crashed);
  EXPECT_NE(service.node->epoch(), before);
  EXPECT_NE(service.node->epoch(), 0U);
  EXPECT_EQ(service.node->stats().restarts, 1U);
  EXPECT_EQ(order, (std::vector<int>{1, 1}));
  EXPECT_EQ(service.node->pools().at(0).concurrency, 2U);

  world.runtime.spawn([&]() -> Async<void> {
    co_await this_process::sleep(2s);
    gates.open(1);
  });
  EXPECT_TRUE(service.tree.stop_blocking(ExitReason::shutdown, 1h));
  EXPECT_EQ(service.node->epoch(), 0U);
  EXPECT_EQ(world.totals().running, 0U);
  const NodeStopReport report = service.node->stop(0s);
  EXPECT_TRUE(report.retired);
  EXPECT_EQ(world.runtime.process_count(), 0U);
}

TEST(NodePools, a_node_that_is_stopped_by_hand_leaves_its_supervisor_running_and_is_not_restarted) {
  World world;
  Gates gates;
  std::vector<int> order;
  Service service(world, gated(gates, order), {.pools = {{.queues = {"default"}}}});
  world.enqueue("Gate", "[1]");
  world.runtime.advance(1s);
  EXPECT_TRUE(service.node->stop(1s).retired);
  world.runtime.advance(1min);
  EXPECT_EQ(service.tree.which_children_blocking().value().at(0).state, ChildState::stopped);
  world.enqueue("Gate", "[2]");
  world.runtime.advance(1min);
  EXPECT_EQ(order, (std::vector<int>{1}));
  EXPECT_TRUE(service.tree.stop_blocking());
}

}  // namespace
}  // namespace dagverk::jobs
