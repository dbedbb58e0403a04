#pragma once

#include "jobs/node_env.hpp"
#include "jobs/settling.hpp"

#include "dagverk/runtime/gen_server.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

namespace dagverk::jobs {

class WorkerPool;
class Promoter;

/// Tells the store how runs ended, in batches: whatever comes while one batch is under way is the next. When much comes
/// meanwhile, a second batch goes beside it, so that the store need not wait for us.
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
  /// The store has failed, and is asked again.
  struct Trouble {
    Error error;
  };
  using Batch = std::vector<Settling>;
  /// A batch has been stored, all of it; what the store found invalid was replaced in it.
  struct Stored {
    std::uint64_t number;
    Batch batch;
    std::vector<ItemOutcome> outcomes = {};
    bool maybe_before = false;  ///< an answer was lost: a refusal may then mean that the first try worked
  };

  explicit Acknowledger(NodeEnvPtr env) : env_(std::move(env)) {}
  Acknowledger(const Acknowledger&) = delete;
  Acknowledger& operator=(const Acknowledger&) = delete;
  /// Ends that are not known to be stored when it ends before its time count as lost.
  ~Acknowledger() override;

  void handle_cast(Attach attach);
  void handle_cast(Settle settle);
  void handle_cast(Flush flush);
  void handle_cast(const Trouble& trouble);
  void handle_cast(const Stored& stored);
  void handle_call(Drain drain, From<Drain> from);

 private:
  void flush();
  [[nodiscard]] Batch next_batch();
  void report_batch(const Stored& stored);

  NodeEnvPtr env_;
  ServerRef<WorkerPool> pool_;
  ServerRef<Promoter> promoter_;
  Batch waiting_;
  std::map<std::uint64_t, std::vector<JobPtr>> under_way_;  // batches, by number
  std::uint64_t batches_ = 0;                               // so far
  std::vector<From<Drain>> drain_calls_;
  StoreHealth health_{"settle"};
  bool flush_sent_ = false;
};

}  // namespace dagverk::jobs
