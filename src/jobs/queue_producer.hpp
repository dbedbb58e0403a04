#pragma once

#include "jobs/node_env.hpp"
#include "jobs/queue_order.hpp"

#include "dagverk/runtime/gen_server.hpp"
#include "dagverk/stage/producer.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace dagverk::jobs {

class WorkerPool;

/// Takes jobs of a pool's queues from the store, as many as the pool has asked for.
///
/// Semantics: one take at a time, and a second one beside it when many more are asked for meanwhile, so that the store
///            need not wait while what it gave is being run; other asks are served together by the next. None begins
///            after the plan has changed until it was told what to serve now: a queue that was paused is not looked
///            into again. When the queues are empty, or at their limits, it waits for `Look`, which the change watcher
///            sends, and the producer itself for the next turn of a rate. A lost lease ends it, and with it the whole
///            pipeline, which then starts again under a new epoch.
class QueueProducer : public Producer<QueueProducer, TakenJob> {
 public:
  struct Look {};
  struct Fetch {};
  /// A take that asked for so many jobs has ended.
  struct Took {
    std::size_t wanted;
    Result<std::vector<TakenJob>> jobs;
  };
  /// From now on these queues alone are looked into. `pool` is told which others are closed, behind all their jobs that
  /// were taken before.
  struct Serve {
    std::uint64_t version = 0;
    std::vector<PoolQueue> open;
    std::vector<std::string> closed;
    ServerRef<WorkerPool> pool;
  };
  /// Takes nothing from now on. Answers when no take is under way any more.
  struct Quiet {
    using Reply = bool;
  };

  QueueProducer(NodeEnvPtr env, NodeEpoch epoch, std::uint64_t seed)
      : env_(std::move(env)), epoch_(epoch), order_(seed) {}

  void handle_demand(std::uint64_t count);
  void handle_cast(Look look);
  void handle_cast(Serve serve);
  void handle_info(Look look) { handle_cast(look); }
  void handle_cast(Fetch fetch);
  void handle_cast(Took took);
  void handle_call(Quiet quiet, From<Quiet> from);

 private:
  void fetch_soon();
  [[nodiscard]] bool may_take() const;
  void take();
  void failed(const Error& error);
  void deliver(std::vector<TakenJob> jobs, std::size_t wanted);
  void serve_now(Serve& serve);
  void finish_waiting();
  void look_at_next_turn();

  NodeEnvPtr env_;
  NodeEpoch epoch_;
  QueueOrder order_;
  std::uint64_t version_ = 0;  // of the plan that it serves
  std::size_t demand_ = 0;
  std::size_t takes_ = 0;   // under way
  std::size_t wanted_ = 0;  // by them together
  bool fetch_sent_ = false;
  bool looked_ = false;            // there is something that the takes under way may not see
  std::vector<Serve> serve_next_;  // when no take is under way any more
  std::vector<From<Quiet>> quiet_calls_;
  bool quiet_ = false;
  WallTime look_at_{};  // when a queue at its limit is to be looked into
  Backoff backoff_;
  StoreHealth health_{"take"};
};

/// Waits for jobs that come into the store, and has the producers look. One per node.
///
/// Semantics: whenever the store tells of a change; without one every `poll_interval`, five at a time and in turn, so
///            that a node with many pools asks its store no more often than one with few.
class ChangeWatcher : public GenServer<ChangeWatcher> {
 public:
  struct Watch {};
  /// Has these look from now on, and at once.
  struct Serve {
    std::vector<ServerRef<QueueProducer>> producers;
  };

  explicit ChangeWatcher(NodeEnvPtr env) : env_(std::move(env)) {}

  void init();
  void handle_cast(Serve serve);
  Async<void> handle_cast(Watch watch);

 private:
  static constexpr std::size_t looks_at_once = 5;

  void have_all_look() const;
  void have_some_look();

  NodeEnvPtr env_;
  std::vector<ServerRef<QueueProducer>> producers_;
  std::size_t next_look_ = 0;
  std::uint64_t seen_ = 0;
};

}  // namespace dagverk::jobs
