#pragma once

#include "jobs/node_env.hpp"
#include "jobs/settling.hpp"

#include "dagverk/runtime/gen_server.hpp"

#include <cstddef>
#include <vector>

namespace dagverk::jobs {

class WorkerPool;
class Promoter;

/// Tells the store how runs ended, in batches: whatever comes while one batch is under way is the next.
///
/// Semantics: a run is reported (events, counters) once the store has it. When the store fails, the batch is tried
///            again with growing pauses; repeating is safe. A settlement that the store finds invalid becomes a burial
///            with the bytes as they are.
/// Bounds:    holds what its pool lets it hold: the pool takes no more jobs while too many ends are not stored.
class Acknowledger : public GenServer<Acknowledger> {
 public:
  struct Settle {
    std::vector<Settling> settlings;
  };
  struct Attach {
    ServerRef<WorkerPool> pool;
    ServerRef<Promoter> promoter;
  };
  struct Flush {};
  /// Answers when all that was sent before is stored.
  struct Drain {
    using Reply = bool;
  };

  explicit Acknowledger(NodeEnvPtr env) : env_(std::move(env)) {}
  Acknowledger(const Acknowledger&) = delete;
  Acknowledger& operator=(const Acknowledger&) = delete;
  /// Ends that are not known to be stored when it ends before its time count as lost.
  ~Acknowledger() override;

  void handle_cast(Attach attach);
  void handle_cast(Settle settle);
  Async<void> handle_cast(Flush flush);
  Async<bool> handle_call(Drain drain);

 private:
  using Batch = std::vector<Settling>;

  [[nodiscard]] Async<void> flush();
  /// Stores `batch`, however long it takes; settlements that can never be stored are replaced in it.
  [[nodiscard]] Async<std::vector<ItemOutcome>> store(Batch& batch);
  [[nodiscard]] Batch next_batch();
  void report_batch(const std::vector<ItemOutcome>& outcomes);

  NodeEnvPtr env_;
  ServerRef<WorkerPool> pool_;
  ServerRef<Promoter> promoter_;
  Batch waiting_;
  Batch under_way_;
  StoreHealth health_{"settle"};
  bool flush_sent_ = false;
  bool maybe_stored_ = false;  // a reply was lost: a refusal may then mean that the first try worked
};

}  // namespace dagverk::jobs
