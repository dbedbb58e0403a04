#include "jobs/node_server.hpp"

#include "jobs/job_threads.hpp"

#include "dagverk/base/concat.hpp"

#include <utility>

namespace dagverk::jobs {

namespace {

constexpr Duration answer_limit = std::chrono::seconds(5);

}  // namespace

Async<InitResult> NodeServer::init() {
  this_process::trap_exits();
  if (const Result<void> retired = co_await retire_old_epoch(); !retired) {
    co_return InitResult::stop(ExitReason::custom(std::string(retired.error().message())));
  }
  NodeSpec spec;
  spec.name = env_->name;
  spec.detail = env_->options.detail;
  const Result<NodeEpoch> epoch = co_await env_->store.register_node(std::move(spec));
  if (!epoch) co_return InitResult::stop(ExitReason::custom(std::string(epoch.error().message())));
  epoch_ = *epoch;
  env_->epoch = epoch_;
  if (const Result<void> started = co_await start_pipelines(); !started) {
    co_return InitResult::stop(ExitReason::custom(std::string(started.error().message())));
  }
  tell_queues_run();
  co_return InitResult::ok();
}

Async<Result<void>> NodeServer::retire_old_epoch() {
  const NodeEpoch old = env_->epoch;
  if (old == 0) co_return Result<void>();
  ++env_->counters.restarts;
  for (Backoff backoff;;) {
    const Result<std::size_t> retired = co_await env_->store.retire_node(old);
    if (retired || retired.error().code() == ErrorCode::not_found) break;
    ++env_->counters.store_errors;
    env_->runtime.logger().warning("node.retire_failed", {{"error", retired.error().message()}});
    co_await this_process::sleep(backoff.next());
  }
  env_->epoch = 0;
  co_return Result<void>();
}

Async<Result<void>> NodeServer::start_pipelines() {
  Result<ServerRef<Promoter>> promoter = co_await this_process::start_link<Promoter>(env_);
  if (!promoter) co_return promoter.error();
  children_.push_back(promoter->pid());
  std::vector<ServerRef<QueueProducer>> producers;
  for (std::size_t index = 0; index < env_->options.pools.size(); ++index) {
    Result<Pipeline> pipeline = co_await start_pipeline(index, *promoter);
    if (!pipeline) co_return pipeline.error();
    producers.push_back(pipeline->producer);
    pipelines_.push_back(*pipeline);
  }
  Result<ServerRef<ChangeWatcher>> watcher =
      co_await this_process::start_link<ChangeWatcher>(env_, std::move(producers));
  if (!watcher) co_return watcher.error();
  children_.push_back(watcher->pid());
  Result<ServerRef<Keeper>> keeper = co_await this_process::start_link<Keeper>(env_, epoch_);
  if (!keeper) co_return keeper.error();
  children_.push_back(keeper->pid());
  co_return Result<void>();
}

Async<Result<NodeServer::Pipeline>> NodeServer::start_pipeline(std::size_t index, ServerRef<Promoter> promoter) {
  const PoolOptions& options = env_->options.pools[index];
  const std::shared_ptr<JobThreads>& threads = env_->threads[index];  // the run threads outlive this registration
  const std::uint64_t seed = env_->options.seed + index;
  Result<ServerRef<Acknowledger>> acknowledger = co_await this_process::start_link<Acknowledger>(env_);
  if (!acknowledger) co_return acknowledger.error();
  children_.push_back(acknowledger->pid());
  Result<ServerRef<WorkerPool>> pool =
      co_await this_process::start_link<WorkerPool>(env_, threads, options.concurrency, *acknowledger, seed);
  if (!pool) co_return pool.error();
  children_.push_back(pool->pid());
  acknowledger->cast(Acknowledger::Attach{*pool, promoter});
  Result<ServerRef<QueueProducer>> producer =
      co_await this_process::start_link<QueueProducer>(env_, epoch_, options.queues);
  if (!producer) co_return producer.error();
  children_.push_back(producer->pid());
  const Result<SubscriptionId> subscribed = co_await subscribe(*pool, *producer);
  if (!subscribed) co_return subscribed.error();
  co_return Pipeline{*acknowledger, *pool, *producer};
}

void NodeServer::tell_queues_run() {
  const WallTime now = env_->now();
  if (env_->events->wants(event_kind<NodeUp>)) env_->events->notify(NodeUp{env_->name, now});
  if (!env_->events->wants(event_kind<QueueRunning>)) return;
  for (const PoolOptions& pool : env_->options.pools) {
    for (const std::string& queue : pool.queues) env_->events->notify(QueueRunning{queue, env_->name, now});
  }
}

Async<void> NodeServer::stop_fetching() {
  if (std::exchange(quiet_, true)) co_return;
  if (env_->events->wants(event_kind<QueuePausing>)) {
    for (const PoolOptions& pool : env_->options.pools) {
      for (const std::string& queue : pool.queues) env_->events->notify(QueuePausing{queue, env_->name, env_->now()});
    }
  }
  for (const Pipeline& pipeline : pipelines_) {
    const Result<bool> quiet = co_await pipeline.producer.call_within<QueueProducer::Quiet>(answer_limit);
    if (!quiet) env_->runtime.logger().warning("queue.still_taking", {{"error", quiet.error().message()}});
  }
}

Async<bool> NodeServer::handle_call(GoQuiet /*quiet*/) {
  co_await stop_fetching();
  co_return true;
}

bool NodeServer::handle_call(Resize resize) {
  if (resize.pool >= pipelines_.size()) return false;
  pipelines_[resize.pool].pool.cast(WorkerPool::Resize{resize.concurrency});
  return true;
}

void NodeServer::handle_info(const Exit& exit) {
  env_->runtime.logger().warning("node.part_failed", {{"node", env_->name}, {"reason", exit.reason.to_string()}});
  stop(ExitReason::custom(concat("a part of the node ended: ", exit.reason.to_string())));
}

Async<void> NodeServer::terminate(const ExitReason& /*reason*/) {
  for (const Pid child : children_) this_process::exit(child, ExitReason::shutdown);
  for (const Pid child : children_) {
    const Result<ExitReason> ended = co_await this_process::wait_for_exit(child, answer_limit);
    if (!ended) env_->runtime.logger().error("node.part_stuck", {{"node", env_->name}, {"process", child.number()}});
  }
}

Async<NodeServer::Summary> NodeServer::handle_call(Leave leave) {
  const SteadyTime deadline = env_->runtime.clock().steady_now() + leave.limit;
  for (const Pipeline& pipeline : pipelines_) pipeline.pool.cast(WorkerPool::Drain{deadline});
  co_await stop_fetching();
  Summary summary;
  const Duration drain_limit = leave.limit + env_->options.stop_grace + answer_limit;
  for (const Pipeline& pipeline : pipelines_) {
    const Result<std::size_t> drained = co_await pipeline.pool.call_within<WorkerPool::Drained>(drain_limit);
    if (drained) summary.given_back += *drained;
  }
  for (const Pipeline& pipeline : pipelines_) {
    const Result<bool> stored = co_await pipeline.acknowledger.call_within<Acknowledger::Drain>(answer_limit);
    if (!stored) env_->runtime.logger().error("node.ends_not_stored", {{"error", stored.error().message()}});
  }
  const Result<std::size_t> retired = co_await env_->store.retire_node(epoch_);
  summary.retired = retired.has_value() || retired.error().code() == ErrorCode::not_found;
  if (summary.retired) env_->epoch = 0;
  const WallTime now = env_->now();
  if (env_->events->wants(event_kind<QueuePaused>)) {
    for (const PoolOptions& pool : env_->options.pools) {
      for (const std::string& queue : pool.queues) env_->events->notify(QueuePaused{queue, env_->name, now});
    }
  }
  if (env_->events->wants(event_kind<NodeDown>)) env_->events->notify(NodeDown{env_->name, now, "stopped"});
  co_return summary;
}

}  // namespace dagverk::jobs
