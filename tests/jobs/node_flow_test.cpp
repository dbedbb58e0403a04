// A pool goes on while the store is slow with one of its calls.

#include "jobs/node_world.hpp"

#include "dagverk/runtime/deterministic_runtime.hpp"
#include "dagverk/testing_jobs/faulty_store.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <memory>
#include <string>

namespace dagverk::jobs {
namespace {

using namespace std::chrono_literals;
using testing_jobs::StoreFault;
using testing_jobs::StoreOperation;

constexpr std::size_t jobs_at_first = 300;

/// A node of 100 jobs at once on a store of which one call takes long.
class NodeFlowTest : public ::testing::Test {
 protected:
  void start(StoreOperation operation, std::size_t slow_call, Duration slow = 60s) {
    store_ = std::make_unique<testing_jobs::FaultyStore>(*world_.store, slow);
    store_->set_rule(operation,
                     [=](std::size_t call) { return call == slow_call ? StoreFault::stall : StoreFault::none; });
    for (std::size_t number = 0; number < jobs_at_first; ++number) world_.enqueue(number % 2 == 0 ? "Noop" : "Second");
    JobRegistry registry;
    registry.define("Noop", [this]() -> Async<void> {
      ++runs_;
      co_return;
    });
    registry.define("Second", [this]() -> Async<void> {
      co_await this_process::sleep(1s);
      ++runs_;
    });
    NodeOptions options;
    options.pools.push_back({.queues = {"default"}, .concurrency = 100});
    options.events = &world_.events;
    options.seed = 7;
    node_ = Node::start(world_.runtime, *store_, std::move(registry), std::move(options)).value();
  }

  NodeWorld<DeterministicRuntime> world_;
  std::unique_ptr<testing_jobs::FaultyStore> store_;
  std::size_t runs_ = 0;
  std::unique_ptr<Node> node_;
};

TEST_F(NodeFlowTest, jobs_are_taken_beside_a_take_that_the_store_is_slow_with) {
  start(StoreOperation::take, 2);
  world_.runtime.advance(30s);
  EXPECT_EQ(runs_, jobs_at_first);
  EXPECT_EQ(world_.totals().finished, jobs_at_first);
  world_.enqueue("Noop");
  world_.runtime.advance(10s);
  EXPECT_EQ(runs_, jobs_at_first + 1) << "there is room for more than the slow take asked for";
  world_.runtime.advance(60s);
  EXPECT_TRUE(world_.totals().balanced());
  EXPECT_EQ(node_->stats().store_errors, 0U);
}

TEST_F(NodeFlowTest, ends_are_stored_beside_a_batch_that_the_store_is_slow_with) {
  start(StoreOperation::settle, 1);
  world_.runtime.advance(30s);
  EXPECT_EQ(runs_, jobs_at_first);
  EXPECT_GE(world_.totals().finished, jobs_at_first / 2);
  EXPECT_LT(world_.totals().finished, jobs_at_first) << "those of the slow batch are not stored yet";
  EXPECT_EQ(world_.events.all<JobFinished>().size(), world_.totals().finished) << "told once they are stored";
  world_.runtime.advance(60s);
  EXPECT_EQ(world_.totals().finished, jobs_at_first);
  EXPECT_EQ(world_.events.all<JobFinished>().size(), jobs_at_first);
}

TEST_F(NodeFlowTest, a_queue_is_paused_once_what_a_slow_take_brings_has_run) {
  start(StoreOperation::take, 1);
  world_.runtime.advance(10s);
  EXPECT_EQ(runs_, 0U) << "all the room was asked for";
  ASSERT_TRUE(node_->pause_queue("default"));
  world_.runtime.advance(10s);
  EXPECT_TRUE(world_.events.all<QueuePaused>().empty());
  world_.runtime.advance(60s);
  EXPECT_EQ(runs_, 100U);
  const auto paused = world_.events.all<QueuePaused>();
  ASSERT_EQ(paused.size(), 1U);
  EXPECT_GE(paused.front().at, world_.events.all<JobFinished>().back().finished_at);
  ASSERT_TRUE(node_->resume_queue("default"));
  world_.runtime.advance(10s);
  EXPECT_EQ(runs_, jobs_at_first);
}

TEST_F(NodeFlowTest, what_comes_while_a_take_is_under_way_is_found_right_after_it) {
  start(StoreOperation::take, 6);  // the one that finds nothing any more
  world_.runtime.advance(30s);
  ASSERT_EQ(world_.totals().finished, jobs_at_first);
  for (int number = 0; number < 3; ++number) world_.enqueue("Noop");
  world_.runtime.advance(100s);
  EXPECT_EQ(runs_, jobs_at_first + 3);
}

TEST_F(NodeFlowTest, leaving_waits_for_all_that_is_under_way) {
  start(StoreOperation::settle, 1, 20s);
  world_.runtime.advance(18s);
  ASSERT_LT(world_.totals().finished, jobs_at_first);
  node_->stop(1min);
  EXPECT_EQ(world_.totals().finished, jobs_at_first);
  EXPECT_EQ(world_.events.all<JobLeaseLost>().size(), 0U);
}

}  // namespace
}  // namespace dagverk::jobs
