#pragma once

#include "jobs/acknowledger.hpp"
#include "jobs/node_env.hpp"
#include "jobs/settling.hpp"
#include "jobs/thread_run.hpp"

#include "dagverk/stage/consumer.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace dagverk::jobs {

class NodeServer;

/// Runs a pool's jobs, `thread` jobs on its threads and all others in a process of their own each, never more at once
/// than the concurrency.
///
/// Semantics: asks its producer for as many jobs as it has room for, and hands over the ends; while runs are quick,
///            once there is room for half of the pool and for 16, or for all of it, or a millisecond has passed, since
///            a take of many costs the store little more than one of few. All `thread` jobs of a delivery go to the
///            threads at once. A run's process that is ended from outside costs that job its attempt and nobody else
///            anything. Draining: no more asks; at the deadline the runs that are left are asked to stop; those that
///            have not ended `stop_grace` later are given back as they are. Of a queue that was closed, the node is
///            told when none of its jobs runs here any more.
/// Bounds:    concurrency jobs run; ends that the store has not yet are at most concurrency + unstored_limit, or no
///            more is asked for.
class WorkerPool : public Consumer<WorkerPool, TakenJob> {
 public:
  static constexpr std::size_t unstored_limit = 1000;

  /// Of a run in a process.
  struct Done {
    std::uint64_t execution;
    RunOutcome outcome;
  };
  /// There are ends of runs on threads.
  struct Ended {};
  /// So many ends are stored.
  struct Settled {
    std::size_t count;
  };
  struct Resize {
    std::size_t concurrency;
  };
  struct AskForMore {};
  /// No more jobs of these queues come; of all others more may.
  struct Closed {
    std::uint64_t version;
    std::vector<std::string> queues;
  };
  /// Takes no more jobs; the node is told when the last has ended.
  struct Release {};
  struct Drain {
    SteadyTime deadline;
  };
  /// Answers when nothing runs any more: how many were given back.
  struct Drained {
    using Reply = std::size_t;
  };
  /// The time of an `async` run is up; `finally`: also the time that it had to end by itself.
  struct TimeUp {
    std::uint64_t execution;
    bool finally = false;
  };
  /// Somebody had these jobs cancelled. Those that do not run here are no concern of this pool.
  struct CancelRuns {
    std::vector<std::string> jids;
  };
  /// A cancelled run has had its time to end by itself.
  struct CancelGrace {
    std::uint64_t execution;
  };
  /// Room for a few jobs has waited long enough for more.
  struct LingeredEnough {};
  struct DeadlinePassed {};
  struct GracePassed {};

  struct Start {
    NodePools::Pool pool;
    ServerRef<Acknowledger> acknowledger;
    ServerRef<NodeServer> node;
    std::uint64_t seed = 0;
  };

  WorkerPool(NodeEnvPtr env, Start start);

  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;
  /// Runs that are left when the pool ends before its time count as lost, as do ends that nobody has heard of: their
  /// epoch ends with it.
  ~WorkerPool() override;

  void init();
  DemandMode handle_subscribe(const SubscriptionInfo& info);
  void handle_events(Batch<TakenJob> jobs);
  void handle_cast(Done done);
  void handle_cast(Ended ended);
  void handle_cast(Settled settled);
  void handle_cast(AskForMore ask);
  void handle_cast(Closed closed);
  void handle_cast(Release release);
  void handle_cast(Resize resize);
  void handle_cast(const CancelRuns& cancel);
  void handle_cast(Drain drain);
  void handle_call(Drained drained, From<Drained> from);
  void handle_info(const Exit& exit);
  void handle_info(TimeUp up);
  void handle_info(CancelGrace grace);
  void handle_info(LingeredEnough enough);
  void handle_info(DeadlinePassed passed);
  void handle_info(GracePassed passed);

 private:
  struct Queue {
    QueueRecord* record = nullptr;  // the node's
    std::size_t running = 0;
    std::optional<std::uint64_t> closed;  // by that version of the plan
  };

  void start(TakenJob&& taken);
  [[nodiscard]] Pid start_process(const JobPtr& job, const std::stop_source& stop);
  void done(std::uint64_t execution, RunOutcome outcome);
  void end(const Run& run, RunOutcome outcome);
  void kill_process(const Run& run);
  void settle(Settling settling);
  void hand_over();
  [[nodiscard]] bool lingers() const;
  void ask_soon();
  void ask_for_more();
  void finish_drain_if_idle();
  [[nodiscard]] Queue& queue_of(const std::string& name);
  void tell_if_idle(const std::string& name, const Queue& queue) const;

  NodeEnvPtr env_;
  const std::uint64_t id_;
  std::shared_ptr<PoolHands> hands_;  // shared with runs on their threads, and the node's plan
  std::size_t concurrency_;
  ServerRef<Acknowledger> acknowledger_;
  ServerRef<NodeServer> node_;
  std::optional<SubscriptionId> subscription_;
  Settler settler_;
  std::shared_ptr<RunTable> running_ = std::make_shared<RunTable>();  // shared with whoever looks
  std::shared_ptr<ThreadEnds> thread_ends_;                           // shared with the runs on threads
  std::vector<JobThreads::Task> tasks_;                               // of one delivery, for the threads
  std::unordered_map<std::string, Queue> queues_;
  std::vector<Settling> ended_;  // on their way to the acknowledger with the next ask
  std::size_t asked_ = 0;        // and not yet delivered
  std::size_t unstored_ = 0;
  std::size_t given_back_ = 0;
  bool ask_sent_ = false;
  std::size_t quick_ends_ = 0;  // one after the other
  std::optional<TimerRef> linger_;
  bool draining_ = false;
  bool released_ = false;
  bool cancelling_ = false;
  std::optional<From<Drained>> drained_;
};

}  // namespace dagverk::jobs
