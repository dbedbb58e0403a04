#pragma once

#include "worker/limit_keeper.hpp"
#include "worker/worker_log.hpp"

#include "dagverk/jobs/node.hpp"
#include "dagverk/worker/configuration.hpp"

#include <string>
#include <vector>

namespace dagverk::worker {

/// What a running worker made of a configuration that was read again.
struct ReloadReport {
  std::vector<std::string> applied;        ///< `queues.mail 10 -> 5`
  std::vector<std::string> needs_restart;  ///< keys that have changed and cannot while it runs
};

/// Makes `running` and the worker what `fresh` says, as far as that can change while it runs: the concurrency of the
/// queues that it serves, limits, `stop_timeout` and `log_level`. Names everything else that differs.
/// Errors: of the node and the store; what was applied before stays so.
[[nodiscard]] Result<ReloadReport> apply_reload(Configuration& running, const Configuration& fresh, jobs::Node& node,
                                                LimitKeeper& limits, WorkerLog& log);

}  // namespace dagverk::worker
