// Why a job is not running: each reason, one after the other, on a store in memory under virtual time.

#include "dagverk/jobs/why.hpp"

#include "jobs/node_classes.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/node.hpp"
#include "dagverk/runtime/deterministic_runtime.hpp"
#include "dagverk/runtime/this_process.hpp"
#include "dagverk/testing_jobs/faulty_store.hpp"
#include "dagverk/testing_jobs/memory_job_store.hpp"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace dagverk::jobs {
namespace {

using namespace std::chrono_literals;
using testing_jobs::FaultyStore;
using testing_jobs::MemoryJobStore;
using testing_jobs::StoreFault;
using testing_jobs::StoreOperation;

/// A store that says why it takes nothing.
class FullStore : public FaultyStore {
 public:
  using FaultyStore::FaultyStore;
  Reply<std::optional<std::string>> write_refusal() override { co_return refusal; }

  std::optional<std::string> refusal;
};

struct TestNode {
  std::string identity = "host:1:a";
  std::vector<std::string> queues = {"mail"};
  std::string detail = R"({"classes":["Send"]})";
  bool quiet = false;
  std::uint64_t busy = 0;
};

struct World {
  DeterministicRuntime runtime{};
  MemoryJobStore memory{runtime};
  FullStore store{memory};

  [[nodiscard]] WallTime now() { return runtime.clock().wall_now(); }

  void enqueue(const std::string& jid, std::optional<Duration> delay = {}, const std::string& limit_key = {}) {
    EnqueueRequest job;
    job.limit_key = limit_key;
    job.jid = jid;
    job.queue = "mail";
    job.class_name = "Send";
    job.payload = concat(R"({"class":"Send","args":[],"jid":")", jid, "\"}");
    if (delay) job.due = now() + *delay;
    ASSERT_EQ(runtime.run(memory.enqueue({job})).value(), std::vector{ItemOutcome::done});
  }

  NodeEpoch start_node(const TestNode& node = {}) {
    const NodeEpoch epoch =
        runtime.run(memory.register_node({.name = "node", .detail = node.detail, .identity = node.identity})).value();
    if (node.queues.empty()) return epoch;  // its first heartbeat is still to come
    Heartbeat beat;
    PoolStatus pool;
    for (const std::string& queue : node.queues) pool.queues.push_back({queue, 0});
    beat.status.pools.push_back(std::move(pool));
    beat.status.concurrency = 4;
    beat.status.busy = node.busy;
    beat.status.quiet = node.quiet;
    EXPECT_TRUE(runtime.run(memory.heartbeat(epoch, beat)));
    return epoch;
  }

  TakenJob take(NodeEpoch node) {
    return runtime.run(memory.take({.node = node, .queues = {"mail"}, .max = 1})).value().at(0);
  }

  void limit(LimitScope scope, const std::string& name, std::optional<std::int64_t> concurrency,
             std::optional<Rate> rate = {}) {
    EXPECT_TRUE(runtime.run(memory.put_limit({scope, name, concurrency, rate})).value());
  }
  /// Takes what the limits let go.
  std::size_t take_all(NodeEpoch node) {
    return runtime.run(memory.take({.node = node, .queues = {"mail"}, .max = 10})).value().size();
  }

  void settle(Settlement settlement) {
    ASSERT_EQ(runtime.run(memory.settle({std::move(settlement)})).value(), std::vector{ItemOutcome::done});
  }

  Result<WhyReport> why(WhyOptions options = {}) { return runtime.run(explain(store, "j", now(), options)); }
};

struct Row {
  const char* reason;
  const char* text;
  void (*prepare)(World& world);
};

TEST(Why, each_reason_has_its_sentence) {
  const Row rows[] = {
      {"running", "The job is running since 2026-01-01T00:00:00.000Z on node host:1:a.",
       [](World& world) {
         world.enqueue("j");
         world.take(world.start_node());
       }},
      {"node_silent",
       "The job runs since 2026-01-01T00:00:00.000Z on node host:1:a, which was last heard at 2026-01-01T00:00:00.000Z "
       "and is given up at 2026-01-01T00:00:15.000Z unless it is heard before.",
       [](World& world) {
         world.enqueue("j");
         world.take(world.start_node());
         world.runtime.advance(12s);
       }},
      {"node_lost",
       "The node that ran the job, host:1:a, is lost, last heard at 2026-01-01T00:00:00.000Z; no other node is there, "
       "and the job is rescued as soon as one starts.",
       [](World& world) {
         world.enqueue("j");
         world.take(world.start_node());
         world.runtime.advance(16s);
       }},
      {"node_lost",
       "The node that ran the job, host:1:a, is lost, last heard at 2026-01-01T00:00:00.000Z; another node is about to "
       "rescue the job.",
       [](World& world) {
         world.enqueue("j");
         world.take(world.start_node());
         world.runtime.advance(16s);
         world.start_node({.identity = "host:2:b"});
       }},
      {"dead", "The job is dead since 2026-01-01T00:00:00.000Z: out of attempts; job retry gives it another attempt.",
       [](World& world) {
         world.enqueue("j");
         world.settle(Settlement::bury(world.take(world.start_node()).token, std::nullopt, "out of attempts"));
       }},
      {"scheduled", "The job is scheduled: it is due at 2026-01-01T01:05:00.000Z, in 1h 5m.",
       [](World& world) {
         world.enqueue("j", 1h + 5min);
         EXPECT_TRUE(world.runtime.run(world.memory.pause_queue("mail", "ann", "")).value()) << "due comes first";
       }},
      {"limit_full", "The job waits because limit acct lets 2 jobs of key acct:7 run at once, and 2 do: a, c.",
       [](World& world) {
         world.limit(LimitScope::key, "acct", 2);
         for (const char* jid : {"a", "c", "j"}) world.enqueue(jid, {}, "acct:7");
         EXPECT_EQ(world.take_all(world.start_node()), 2U);
       }},
      {"rate_limited",
       "The job waits for its turn under limit acct, 2 jobs per 1m 0s of key acct:7: at 2026-01-01T00:00:30.000Z, in "
       "30s.",
       [](World& world) {
         world.limit(LimitScope::key, "acct", {}, Rate{2, 1min});
         for (const char* jid : {"a", "c", "j"}) world.enqueue(jid, {}, "acct:7");
         EXPECT_EQ(world.take_all(world.start_node()), 2U);
       }},
      {"scheduled", "The job is scheduled: it is due at 2026-01-01T00:01:00.000Z, in 1m 0s.",
       [](World& world) {
         world.limit(LimitScope::key, "acct", 1);
         world.enqueue("a", {}, "acct:7");
         world.enqueue("j", 1min, "acct:7");  // by its own wish, whatever its key allows
         EXPECT_EQ(world.take_all(world.start_node()), 1U);
       }},
      {"limit_full", "The job waits because queue mail is limited to 1 job at once, and 1 runs.",
       [](World& world) {
         world.limit(LimitScope::queue, "mail", 1);
         for (const char* jid : {"a", "j"}) world.enqueue(jid);
         EXPECT_EQ(world.take_all(world.start_node()), 1U);
       }},
      {"rate_limited",
       "The job waits because queue mail is limited to 3 jobs per 30s, which are used up until "
       "2026-01-01T00:00:10.000Z.",
       [](World& world) {
         world.limit(LimitScope::queue, "mail", {}, Rate{3, 30s});
         for (const char* jid : {"a", "b", "c", "j"}) world.enqueue(jid);
         EXPECT_EQ(world.take_all(world.start_node()), 3U);
       }},
      {"retrying", "Attempt 2 failed with IOError: disk; the next one is due at 2026-01-01T00:00:30.000Z, in 30s.",
       [](World& world) {
         world.enqueue("j");
         world.settle(Settlement::retry(world.take(world.start_node()).token,
                                        R"({"class":"Send","args":[],"jid":"j","queue":"mail","retry_count":1,)"
                                        R"("error_class":"IOError","error_message":"disk"})",
                                        world.now() + 30s));
       }},
      {"retrying", "The job was put back, and is due at 2026-01-01T00:02:00.000Z, in 2m 0s.",
       [](World& world) {
         world.enqueue("j");
         TakenJob taken = world.take(world.start_node());
         world.settle(Settlement::retry(taken.token, taken.payload, world.now() + 2min, "", JournalKind::snoozed));
       }},
      {"store_refuses", "The job waits because the store lets nothing be written: the disk is full.",
       [](World& world) {
         world.enqueue("j");
         EXPECT_TRUE(world.runtime.run(world.memory.pause_queue("mail", "ann", "")).value()) << "the store comes first";
         world.store.refusal = "the disk is full";
       }},
      {"not_promoted",
       "The job is due since 2026-01-01T00:00:05.000Z, but no node works on the store to put it into its queue.",
       [](World& world) {
         world.enqueue("j", 5s);
         world.runtime.advance(6s);
       }},
      {"not_promoted", "The job is due since 2026-01-01T00:00:05.000Z; a node is about to put it into its queue.",
       [](World& world) {
         world.enqueue("j", 5s);
         world.runtime.advance(6s);
         world.start_node();
       }},
      {"queue_paused",
       "The job waits because queue mail is paused by ann since 2026-01-01T00:00:00.000Z: provider is down.",
       [](World& world) {
         world.enqueue("j");
         world.start_node();
         EXPECT_TRUE(world.runtime.run(world.memory.pause_queue("mail", "ann", "provider is down")).value());
       }},
      {"no_node", "The job waits because no node works on the store.", [](World& world) { world.enqueue("j"); }},
      {"no_node", "The job waits because no node works on the store; 1 node of it is lost.",
       [](World& world) {
         world.enqueue("j");
         world.start_node();
         world.runtime.advance(16s);
       }},
      {"queue_not_served", "The job waits because no node is known to serve queue mail; served are default, low.",
       [](World& world) {
         world.enqueue("j");
         world.start_node({.queues = {"default", "low"}});
       }},
      {"queue_not_served",
       "The job waits because no node is known to serve queue mail; 1 node did not say yet what it serves.",
       [](World& world) {
         world.enqueue("j");
         world.start_node({.queues = {}});
       }},
      {"nodes_quiet",
       "The job waits because no node that serves queue mail takes more jobs: quiet are host:1:a, host:2:b.",
       [](World& world) {
         world.enqueue("j");
         world.start_node({.quiet = true});
         world.start_node({.identity = "host:2:b", .quiet = true});
         world.start_node({.identity = "host:3:c", .queues = {"other"}});
       }},
      {"class_unknown", "The job has nobody to run it: the node that serves queue mail does not know class Send.",
       [](World& world) {
         world.enqueue("j");
         world.start_node({.detail = R"({"classes":["Other"]})"});
         world.start_node({.identity = "host:2:b", .queues = {"other"}});
       }},
      {"class_unknown", "The job has nobody to run it: none of the 2 nodes that serve queue mail knows class Send.",
       [](World& world) {
         world.enqueue("j");
         world.start_node({.detail = R"({"classes":[]})"});
         world.start_node({.identity = "host:2:b", .detail = R"({"classes":["Other"]})"});
       }},
      {"next", "The job is the next one of queue mail, which 2 nodes serve; 5 of 8 places are busy.",
       [](World& world) {
         world.enqueue("j");
         world.start_node({.detail = R"({"classes":["Other"]})", .busy = 4});
         world.start_node({.identity = "host:2:b", .detail = "", .busy = 1});  // does not tell its classes
       }},
      {"waits_behind", "The job waits behind 2 others in queue mail.",
       [](World& world) {
         for (const char* jid : {"a", "b", "j", "c"}) world.enqueue(jid);
         world.start_node();
       }},
      {"gone", "The job is done: it finished at 2026-01-01T00:00:01.000Z.",
       [](World& world) {
         world.enqueue("j");
         const TakenJob taken = world.take(world.start_node());
         world.runtime.advance(1s);
         world.settle(Settlement::finish(taken.token));
       }},
      {"gone", "The job was dropped because it was too old to be run at 2026-01-01T00:00:00.000Z.",
       [](World& world) {
         world.enqueue("j");
         world.settle(Settlement::discard(world.take(world.start_node()).token, "", JournalKind::expired));
       }},
      {"gone", "The job was discarded (no longer wanted) at 2026-01-01T00:00:00.000Z.",
       [](World& world) {
         world.enqueue("j");
         world.settle(Settlement::discard(world.take(world.start_node()).token, R"({"reason":"no longer wanted"})"));
       }},
      {"gone", "The job was deleted by a person at 2026-01-01T00:00:00.000Z.",
       [](World& world) {
         world.enqueue("j");
         EXPECT_TRUE(world.runtime.run(world.memory.remove({"j"}, "")));
       }},
      {"gone", "The job made room for another in its queue, which was full, at 2026-01-01T00:00:00.000Z.",
       [](World& world) {
         world.enqueue("j");
         Limit limit{.scope = LimitScope::queue, .name = "mail"};
         limit.bound = QueueBound{1, WhenFull::drop_oldest, {}};
         ASSERT_TRUE(world.runtime.run(world.memory.put_limit(limit)));
         world.enqueue("next");
       }},
      {"gone", "The job was cancelled at 2026-01-01T00:00:00.000Z.",
       [](World& world) {
         world.enqueue("j");
         EXPECT_TRUE(world.runtime.run(world.memory.cancel({"j"}, "")));
       }},
  };
  for (const Row& row : rows) {
    World world;
    row.prepare(world);
    const Result<WhyReport> report = world.why();
    ASSERT_TRUE(report) << report.error().message();
    EXPECT_EQ(to_string(report->reason), row.reason);
    EXPECT_EQ(report->text, row.text);
    EXPECT_EQ(report->jid, "j");
    EXPECT_EQ(report->queue, "mail");
    EXPECT_EQ(report->class_name, "Send");
    EXPECT_EQ(report->state.has_value(), report->reason != WhyReason::gone);
  }
}

/// Ends a job every half second, eight of them.
Async<void> work_off(World& world, NodeEpoch node) {
  for (int index = 0; index < 8; ++index) {
    co_await this_process::sleep(500ms);
    TakeRequest request;
    request.node = node;
    request.queues.emplace_back("mail");
    const auto taken = co_await world.memory.take(std::move(request));
    std::vector<Settlement> ends;
    ends.push_back(Settlement::finish(taken->at(0).token));
    const auto ended = co_await world.memory.settle(std::move(ends));
    EXPECT_TRUE(ended.has_value());
  }
}

TEST(Why, a_queue_that_is_watched_tells_how_fast_it_goes) {
  World world;
  for (int index = 0; index < 40; ++index) world.enqueue(concat("a", index));
  world.enqueue("j");
  const NodeEpoch node = world.start_node();
  const Result<WhyReport> still = world.why({.sample = 2s});
  EXPECT_EQ(still->text, "The job waits behind 40 others in queue mail, of which none came to an end within 2s.");
  EXPECT_EQ(still->ended_per_second, 0.0);

  world.runtime.spawn([&world, node] { return work_off(world, node); });
  const Result<WhyReport> moving = world.why({.sample = 4s + 1ms});
  EXPECT_EQ(moving->ahead, 40U);
  EXPECT_NEAR(*moving->ended_per_second, 2.0, 0.01);
  EXPECT_EQ(moving->text,
            "The job waits behind 40 others in queue mail, of which 2.0 a second come to an end: its turn is in about "
            "20s.");
}

TEST(Why, what_cannot_be_told_is_an_error) {
  World world;
  EXPECT_EQ(world.why().error().code(), ErrorCode::not_found);
  world.enqueue("j");
  for (const StoreOperation operation :
       {StoreOperation::find, StoreOperation::list_nodes, StoreOperation::queues, StoreOperation::list}) {
    World broken;
    broken.enqueue("j");
    broken.start_node();
    broken.store.set_rule(operation, [](std::size_t) { return StoreFault::before; });
    EXPECT_EQ(broken.why().error().code(), ErrorCode::unavailable);
  }
}

TEST(Why, nodes_tell_which_classes_they_know) {
  JobRegistry registry;
  registry.define("Mail::Send", [] {}).define("Resize", [] {});
  const std::vector<std::string> both = {"Mail::Send", "Resize"};
  for (const char* detail : {"", "{}", R"({"socket":"/s", "pid":7})"}) {
    const std::string told = detail_with_classes(detail, registry);
    EXPECT_EQ(classes_in_detail(told), both) << told;
  }
  EXPECT_EQ(detail_with_classes("{\"socket\":\"/s\"}", registry),
            R"({"socket":"/s","classes":["Mail::Send","Resize"]})");
  for (const char* kept : {"no object", "[1]", R"({"classes":["Own"]})"}) {
    EXPECT_EQ(detail_with_classes(kept, registry), kept);
  }
  EXPECT_EQ(classes_in_detail("no object"), std::nullopt);
  EXPECT_EQ(classes_in_detail(R"({"classes":7})"), std::nullopt);

  World world;
  auto node = Node::start(world.runtime, world.memory, std::move(registry), NodeOptions{}).value();
  EXPECT_EQ(classes_in_detail(world.runtime.run(world.memory.list_nodes()).value().at(0).detail), both);
  JobRegistry many;
  for (int index = 0; index < 400; ++index) many.define(concat("Class", std::string(100, 'x'), index), [] {});
  EXPECT_EQ(detail_with_classes("{}", many), "{}");
}

}  // namespace
}  // namespace dagverk::jobs
