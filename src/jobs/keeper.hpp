#pragma once

#include "jobs/node_env.hpp"

#include "dagverk/runtime/gen_server.hpp"

namespace dagverk::jobs {

/// Keeps the node's lease, and looks for nodes that lost theirs or died: puts their jobs back.
///
/// Semantics: a renewal that is refused ends the keeper, and with it the whole pipeline, which then starts again under
///            a new epoch.
class Keeper : public GenServer<Keeper> {
 public:
  struct Beat {};
  struct Rescue {};

  Keeper(NodeEnvPtr env, NodeEpoch epoch) : env_(std::move(env)), epoch_(epoch) {}

  void init();
  Async<void> handle_info(Beat beat);
  Async<void> handle_info(Rescue rescue);

 private:
  void report(const RescueReport& rescued);

  NodeEnvPtr env_;
  NodeEpoch epoch_;
};

}  // namespace dagverk::jobs
