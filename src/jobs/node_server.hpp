#pragma once

#include "jobs/cron_firer.hpp"
#include "jobs/keeper.hpp"
#include "jobs/node_env.hpp"
#include "jobs/promoter.hpp"
#include "jobs/queue_producer.hpp"
#include "jobs/recorder.hpp"
#include "jobs/worker_pool.hpp"

#include "dagverk/runtime/gen_server.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace dagverk::jobs {

/// One registration of a node and everything that works under it.
///
/// Semantics: per pool of the node's plan (NodePools) a producer, a worker pool and an acknowledger; when the plan
///            changes, they are made to fit. Its children are linked to it and to nobody else: when one ends, it stops
///            all and ends. Whoever starts it again gets a new epoch: `init` first retires the old one, which puts
///            every job that was in hand back into its queue at once, whatever process held it. What an old run still
///            reports is refused by its token.
class NodeServer : public GenServer<NodeServer> {
 public:
  struct Summary {
    std::size_t given_back = 0;
    bool retired = false;
  };
  /// Drains everything within `limit`, then leaves the store.
  struct Leave {
    using Reply = Summary;
    Duration limit;
  };
  /// The node's plan has changed: pools are started, changed and ended to fit.
  struct PlanChanged {};
  /// Those of these jobs that run here are to stop.
  struct CancelRuns {
    std::vector<std::string> jids;
  };
  /// Of a queue that the plan of that version closed, nothing runs in the pool any more.
  struct QueueIdle {
    std::uint64_t pool;
    std::string queue;
    std::uint64_t version;
  };
  /// A pool that was released runs nothing any more.
  struct PoolIdle {
    std::uint64_t pool;
  };

  explicit NodeServer(NodeEnvPtr env) : env_(std::move(env)) {}

  Async<InitResult> init();
  Async<Summary> handle_call(Leave leave);
  Async<void> handle_cast(PlanChanged changed);
  void handle_cast(const QueueIdle& idle);
  void handle_cast(const CancelRuns& cancel);
  Async<void> handle_cast(PoolIdle idle);
  Async<void> handle_info(PoolIdle idle) { return handle_cast(idle); }
  void handle_info(const Exit& exit);
  /// Returns when no process of this registration uses the store any more. A supervisor's `shutdown` leaves in order
  /// first, with the node's stop_timeout for what runs.
  Async<void> terminate(const ExitReason& reason);

 private:
  struct Pipeline {
    std::uint64_t id = 0;
    std::shared_ptr<PoolHands> hands = {};  // shared with the plan
    std::set<std::string> queues = {};      // all that it has ever served
    std::size_t concurrency = 0;
    bool released = false;
    ServerRef<Acknowledger> acknowledger = {};
    ServerRef<WorkerPool> pool = {};
    ServerRef<QueueProducer> producer = {};
  };
  /// What was told of a queue, and which pools may still run jobs of it.
  struct ToldQueue {
    enum class State : std::uint8_t { running, pausing, paused };
    State state = State::running;
    std::uint64_t version = 0;
    std::set<std::uint64_t> pools;
  };

  [[nodiscard]] Async<Result<void>> retire_old_epoch();
  [[nodiscard]] Async<Result<void>> start_parts();
  [[nodiscard]] Async<Result<void>> fit_to_plan();
  [[nodiscard]] Async<Result<Pipeline>> start_pipeline(NodePools::Pool pool);
  [[nodiscard]] Async<bool> end_pipeline(const Pipeline& pipeline);
  void end_child(Pid child);
  void serve(Pipeline& pipeline, const NodePools::Pool& pool, std::uint64_t version);
  [[nodiscard]] Pipeline* find(std::uint64_t id);
  [[nodiscard]] Async<Summary> leave(Duration limit);
  [[nodiscard]] Async<void> stop_fetching();
  [[nodiscard]] Async<void> stop_firing();

  void have_all_watched() const;
  void tell_queues(const NodePools::Plan& plan);
  void queue_opened(const std::string& queue);
  void queue_closed(const std::string& queue, std::uint64_t version);
  void pool_idle(const std::string& queue, ToldQueue& told, std::uint64_t pool);
  template <class Kind>
  void tell(const std::string& queue);

  NodeEnvPtr env_;
  NodeEpoch epoch_ = 0;
  bool left_ = false;
  ServerRef<Recorder> recorder_;
  ServerRef<Promoter> promoter_;
  ServerRef<ChangeWatcher> watcher_;
  std::optional<ServerRef<CronFirer>> firer_;
  std::vector<Pipeline> pipelines_;
  std::map<std::string, ToldQueue> told_;
  std::vector<Pid> children_;  // in start order
};

}  // namespace dagverk::jobs
