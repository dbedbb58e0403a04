#pragma once

#include "jobs/node_env.hpp"

#include "dagverk/runtime/gen_server.hpp"

#include <cstdint>

namespace dagverk::jobs {

/// Moves jobs whose time has come into their queues: retries and schedules alike, earliest first.
///
/// Semantics: sleeps until the next one is due, at most `promotion_interval`, since others may schedule jobs meanwhile.
///            Every node does this; the store lets each job move once.
class Promoter : public GenServer<Promoter> {
 public:
  /// A job will be due then.
  struct Due {
    WallTime at;
  };
  struct Wake {
    std::uint64_t round;
  };

  explicit Promoter(NodeEnvPtr env) : env_(std::move(env)) {}

  void init();
  void handle_cast(Due due);
  Async<void> handle_info(Wake wake);

 private:
  /// Promotes what is due; returns when to look again.
  [[nodiscard]] Async<Result<Duration>> promote_due();
  void sleep_for_at_most(Duration delay);

  NodeEnvPtr env_;
  Backoff backoff_;
  StoreHealth health_{"promote"};
  std::uint64_t round_ = 0;  // older wake-ups are void
  WallTime next_{};
};

}  // namespace dagverk::jobs
