#include "jobs/keeper.hpp"

#include "dagverk/base/concat.hpp"

#include <utility>

namespace dagverk::jobs {

void Keeper::init() {
  send_after(env_->options.heartbeat, Beat{});
  send_after(Duration::zero(), Rescue{});
}

Async<void> Keeper::handle_info(Beat /*beat*/) {
  const Result<std::size_t> renewed = co_await env_->store.renew_lease(epoch_, std::nullopt);
  if (!renewed) {
    ++env_->counters.store_errors;
    env_->runtime.logger().warning("node.heartbeat_failed",
                                   {{"node", env_->name}, {"error", renewed.error().message()}});
    if (renewed.error().code() == ErrorCode::refused) {
      stop(ExitReason::custom(std::string(renewed.error().message())));
      co_return;
    }
  }
  send_after(env_->options.heartbeat, Beat{});
}

Async<void> Keeper::handle_info(Rescue /*rescue*/) {
  for (bool more = true; more;) {
    const Result<RescueReport> rescued = co_await env_->store.rescue_dead_nodes(epoch_, batch_count_limit);
    if (!rescued) {
      ++env_->counters.store_errors;
      break;
    }
    report(*rescued);
    more = rescued->more;
  }
  send_after(env_->options.rescue_interval, Rescue{});
}

void Keeper::report(const RescueReport& rescued) {
  const WallTime now = env_->now();
  for (const NodeEpoch node : rescued.nodes) {
    env_->runtime.logger().info("node.found_dead", {{"epoch", node}, {"jobs", rescued.jobs.size()}});
    if (env_->events->wants(event_kind<NodeDown>)) {
      env_->events->notify(NodeDown{concat("epoch ", node), now, "its lock was free, or its lease had run out"});
    }
  }
  for (const RescuedJob& job : rescued.jobs) {
    ++env_->counters.rescued;
    JobIdentity identity{.jid = job.jid, .job_class = job.class_name, .queue = job.queue, .node = env_->name};
    if (job.quarantined) {
      if (!env_->events->wants(event_kind<JobDied>)) continue;
      env_->events->notify(JobDied{std::move(identity), now, "quarantined: the nodes that ran it kept dying"});
    } else if (env_->events->wants(event_kind<JobRescued>)) {
      env_->events->notify(JobRescued{std::move(identity), now, concat("epoch ", job.node)});
    }
  }
}

}  // namespace dagverk::jobs
