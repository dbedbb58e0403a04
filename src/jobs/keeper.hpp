#pragma once

#include "jobs/node_env.hpp"

#include "dagverk/runtime/gen_server.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace dagverk::jobs {

class NodeServer;

/// Keeps the node's lease, tells others what the node does and brings it what they ask for; looks for nodes that lost
/// their lease or died, and puts their jobs back.
///
/// Semantics: a heartbeat that is refused ends the keeper, and with it the whole pipeline, which then starts again
///            under a new epoch. The first one goes out at once.
class Keeper : public GenServer<Keeper> {
 public:
  struct Beat {};
  /// One more heartbeat, now.
  struct BeatNow {};
  struct Rescue {};

  Keeper(NodeEnvPtr env, NodeEpoch epoch, ServerRef<NodeServer> node)
      : env_(std::move(env)), epoch_(epoch), node_(node) {}

  void init();
  Async<void> handle_info(Beat beat);
  Async<void> handle_info(Rescue rescue);
  Async<void> handle_cast(BeatNow beat);

 private:
  [[nodiscard]] Async<bool> beat_once();
  [[nodiscard]] Async<void> hear_cancels(std::vector<CancelWish> wishes);
  [[nodiscard]] Async<void> cancel_waiting(std::vector<CancelWish> wishes, std::vector<std::string> over);
  [[nodiscard]] Heartbeat compose() const;
  void obey(NodeSignal signal);
  void report(const RescueReport& rescued);

  NodeEnvPtr env_;
  NodeEpoch epoch_;
  ServerRef<NodeServer> node_;
  std::uint64_t signals_seen_ = 0;
  Duration round_trip_{};
};

/// Has the keeper ask for news as soon as the store knows that somebody wants a running job cancelled.
class AskedWatcher : public GenServer<AskedWatcher> {
 public:
  struct Watch {};

  AskedWatcher(NodeEnvPtr env, ServerRef<Keeper> keeper) : env_(std::move(env)), keeper_(keeper) {}

  void init();
  Async<void> handle_cast(Watch watch);

 private:
  NodeEnvPtr env_;
  ServerRef<Keeper> keeper_;
  std::uint64_t seen_ = 0;
};

}  // namespace dagverk::jobs
