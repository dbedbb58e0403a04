#pragma once

#include "jobs/keeper.hpp"
#include "jobs/node_env.hpp"
#include "jobs/promoter.hpp"
#include "jobs/queue_producer.hpp"
#include "jobs/worker_pool.hpp"

#include "dagverk/runtime/gen_server.hpp"

#include <cstddef>
#include <string>
#include <vector>

namespace dagverk::jobs {

/// One registration of a node and everything that works under it.
///
/// Semantics: its children are linked to it and to nobody else: when one ends, it stops all and ends. Whoever starts it
///            again gets a new epoch: `init` first retires the old one, which puts every job that was in hand back into
///            its queue at once, whatever process held it. What an old run still reports is refused by its token.
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
  /// Takes no more jobs; those in hand go on. There is no way back.
  struct GoQuiet {
    using Reply = bool;
  };
  struct Resize {
    using Reply = bool;
    std::size_t pool;
    std::size_t concurrency;
  };

  explicit NodeServer(NodeEnvPtr env) : env_(std::move(env)) {}

  Async<InitResult> init();
  Async<Summary> handle_call(Leave leave);
  Async<bool> handle_call(GoQuiet quiet);
  bool handle_call(Resize resize);
  void handle_info(const Exit& exit);
  /// Returns when no process of this registration uses the store any more.
  Async<void> terminate(const ExitReason& reason);

 private:
  struct Pipeline {
    ServerRef<Acknowledger> acknowledger;
    ServerRef<WorkerPool> pool;
    ServerRef<QueueProducer> producer;
  };

  [[nodiscard]] Async<Result<void>> retire_old_epoch();
  [[nodiscard]] Async<Result<void>> start_pipelines();
  [[nodiscard]] Async<Result<Pipeline>> start_pipeline(std::size_t index, ServerRef<Promoter> promoter);
  [[nodiscard]] Async<void> stop_fetching();
  void tell_queues_run();

  NodeEnvPtr env_;
  NodeEpoch epoch_ = 0;
  bool quiet_ = false;
  std::vector<Pipeline> pipelines_;
  std::vector<Pid> children_;  // in start order
};

}  // namespace dagverk::jobs
