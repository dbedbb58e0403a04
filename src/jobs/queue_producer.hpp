#pragma once

#include "jobs/node_env.hpp"

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
/// Semantics: one take at a time; asks that come meanwhile are served together by the next. When the queues are empty
///            it waits for `Look`, which the change watcher sends. A lost lease ends it, and with it the whole
///            pipeline, which then starts again under a new epoch.
class QueueProducer : public Producer<QueueProducer, TakenJob> {
 public:
  struct Look {};
  struct Fetch {};
  /// Takes nothing from now on. Answers when no take is under way any more.
  struct Quiet {
    using Reply = bool;
  };

  QueueProducer(NodeEnvPtr env, NodeEpoch epoch, std::vector<std::string> queues)
      : env_(std::move(env)), epoch_(epoch), queues_(std::move(queues)) {}

  void handle_demand(std::uint64_t count);
  void handle_cast(Look look);
  void handle_info(Look look) { handle_cast(look); }
  Async<void> handle_cast(Fetch fetch);
  bool handle_call(Quiet quiet);

 private:
  void fetch_soon();

  NodeEnvPtr env_;
  NodeEpoch epoch_;
  std::vector<std::string> queues_;
  std::size_t demand_ = 0;
  bool fetch_sent_ = false;
  bool quiet_ = false;
  Backoff backoff_;
};

/// Waits for jobs that come into the store, and has the producers look. One per node.
///
/// Semantics: at least every `poll_interval`, signal or not.
class ChangeWatcher : public GenServer<ChangeWatcher> {
 public:
  struct Watch {};

  ChangeWatcher(NodeEnvPtr env, std::vector<ServerRef<QueueProducer>> producers)
      : env_(std::move(env)), producers_(std::move(producers)) {}

  void init();
  Async<void> handle_cast(Watch watch);

 private:
  void have_all_look() const;

  NodeEnvPtr env_;
  std::vector<ServerRef<QueueProducer>> producers_;
  std::uint64_t seen_ = 0;
};

}  // namespace dagverk::jobs
