#pragma once

#include "jobs/acknowledger.hpp"
#include "jobs/node_env.hpp"
#include "jobs/settling.hpp"

#include "dagverk/stage/consumer.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <unordered_map>

namespace dagverk::jobs {

/// Runs a pool's jobs, each in a process of its own, never more at once than the concurrency.
///
/// Semantics: asks its producer for as many jobs as it has room for. A run's process that is ended from outside costs
///            that job its attempt and nobody else anything. Draining: no more asks; at the deadline the runs that are
///            left are asked to stop; those that have not ended `stop_grace` later are given back as they are.
/// Bounds:    concurrency jobs run; ends that the store has not yet are at most concurrency + unstored_limit, or no
///            more is asked for.
class WorkerPool : public Consumer<WorkerPool, TakenJob> {
 public:
  static constexpr std::size_t unstored_limit = 1000;

  struct Done {
    std::uint64_t execution;
    RunOutcome outcome;
  };
  /// So many ends are stored.
  struct Settled {
    std::size_t count;
  };
  struct Resize {
    std::size_t concurrency;
  };
  struct Drain {
    SteadyTime deadline;
  };
  /// Answers when nothing runs any more: how many were given back.
  struct Drained {
    using Reply = std::size_t;
  };
  struct DeadlinePassed {};
  struct GracePassed {};

  WorkerPool(NodeEnvPtr env, std::shared_ptr<JobThreads> threads, std::size_t concurrency,
             ServerRef<Acknowledger> acknowledger, std::uint64_t seed);

  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;
  /// Runs that are left when the pool ends before its time count as lost: their epoch ends with it.
  ~WorkerPool() override;

  void init();
  DemandMode handle_subscribe(const SubscriptionInfo& info);
  void handle_events(Batch<TakenJob> jobs);
  void handle_cast(Done done);
  void handle_cast(Settled settled);
  void handle_cast(Resize resize);
  void handle_cast(Drain drain);
  void handle_call(Drained drained, From<Drained> from);
  void handle_info(Exit exit);
  void handle_info(DeadlinePassed passed);
  void handle_info(GracePassed passed);

 private:
  struct Run {
    JobPtr job;
    Pid process;
    std::stop_source stop;
  };

  void start(TakenJob taken);
  void settle(Settling settling);
  void ask_for_more();
  void finish_drain_if_idle();

  NodeEnvPtr env_;
  std::shared_ptr<JobThreads> threads_;  // shared with runs on their threads
  std::size_t concurrency_;
  ServerRef<Acknowledger> acknowledger_;
  std::optional<SubscriptionId> subscription_;
  Settler settler_;
  std::unordered_map<std::uint64_t, Run> running_;  // by execution
  std::size_t asked_ = 0;                           // and not yet delivered
  std::size_t unstored_ = 0;
  std::size_t given_back_ = 0;
  bool draining_ = false;
  bool cancelling_ = false;
  std::optional<From<Drained>> drained_;
};

}  // namespace dagverk::jobs
