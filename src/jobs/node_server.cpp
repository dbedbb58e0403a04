#include "jobs/node_server.hpp"

#include "jobs/node_classes.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <utility>

namespace dagverk::jobs {

namespace {

constexpr Duration answer_limit = std::chrono::seconds(5);

}  // namespace

// --- its life ---

Async<InitResult> NodeServer::init() {
  if (env_->stopping) co_return InitResult::ignore();
  this_process::trap_exits();
  if (const Result<void> retired = co_await retire_old_epoch(); !retired) {
    co_return InitResult::stop(ExitReason::custom(std::string(retired.error().message())));
  }
  NodeSpec spec;
  spec.name = env_->name;
  spec.detail = detail_with_classes(env_->options.detail, env_->registry);
  spec.identity = env_->identity;
  const Result<NodeEpoch> epoch = co_await env_->store.register_node(std::move(spec));
  if (!epoch) co_return InitResult::stop(ExitReason::custom(std::string(epoch.error().message())));
  epoch_ = *epoch;
  env_->epoch = epoch_;
  if (const Result<void> started = co_await start_parts(); !started) {
    co_return InitResult::stop(ExitReason::custom(std::string(started.error().message())));
  }
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

Async<Result<void>> NodeServer::start_parts() {
  Result<ServerRef<Promoter>> promoter = co_await this_process::start_link<Promoter>(env_);
  if (!promoter) co_return promoter.error();
  promoter_ = *promoter;
  children_.push_back(promoter->pid());
  Result<ServerRef<ChangeWatcher>> watcher = co_await this_process::start_link<ChangeWatcher>(env_);
  if (!watcher) co_return watcher.error();
  watcher_ = *watcher;
  children_.push_back(watcher->pid());
  if (env_->options.cron) {
    Result<ServerRef<CronFirer>> firer = co_await this_process::start_link<CronFirer>(env_);
    if (!firer) co_return firer.error();
    firer_ = *firer;
    children_.push_back(firer->pid());
  }
  if (env_->events->wants(event_kind<NodeUp>)) env_->events->notify(NodeUp{env_->name, env_->now()});
  if (Result<void> fitted = co_await fit_to_plan(); !fitted) co_return fitted;
  Result<ServerRef<Keeper>> keeper = co_await this_process::start_link<Keeper>(env_, epoch_, self());
  if (!keeper) co_return keeper.error();
  children_.push_back(keeper->pid());
  Result<ServerRef<Recorder>> recorder = co_await this_process::start_link<Recorder>(env_);
  if (!recorder) co_return recorder.error();
  recorder_ = *recorder;
  children_.push_back(recorder->pid());
  Result<ServerRef<AskedWatcher>> asked = co_await this_process::start_link<AskedWatcher>(env_, *keeper);
  if (!asked) co_return asked.error();
  children_.push_back(asked->pid());
  co_return Result<void>();
}

void NodeServer::handle_info(const Exit& exit) {
  env_->runtime.logger().warning("node.part_failed", {{"node", env_->name}, {"reason", exit.reason.to_string()}});
  stop(ExitReason::custom(concat("a part of the node ended: ", exit.reason.to_string())));
}

Async<void> NodeServer::terminate(const ExitReason& reason) {
  if (reason.kind() == ExitReason::Kind::shutdown && !left_ && !env_->stopping) {
    const Summary summary = co_await leave(env_->options.stop_timeout);
    env_->runtime.logger().info("node.left", {{"node", env_->name}, {"given_back", summary.given_back}});
  }
  for (const Pid child : children_) this_process::exit(child, ExitReason::shutdown);
  for (const Pid child : children_) {
    const Result<ExitReason> ended = co_await this_process::wait_for_exit(child, answer_limit);
    if (!ended) env_->runtime.logger().error("node.part_stuck", {{"node", env_->name}, {"process", child.number()}});
  }
}

Async<NodeServer::Summary> NodeServer::handle_call(Leave leave) { return this->leave(leave.limit); }

Async<NodeServer::Summary> NodeServer::leave(Duration limit) {
  const SteadyTime deadline = env_->runtime.clock().steady_now() + limit;
  for (const Pipeline& pipeline : pipelines_) pipeline.pool.cast(WorkerPool::Drain{deadline});
  NodePools::Plan plan = env_->pools.plan();
  for (NodePools::Queue& queue : plan.queues) queue.open = false;  // for this registration; the next one may be theirs
  tell_queues(plan);
  co_await stop_fetching();
  co_await stop_firing();
  Summary summary;
  const Duration drain_limit = limit + env_->options.stop_grace + answer_limit;
  for (const Pipeline& pipeline : pipelines_) {
    const Result<std::size_t> drained = co_await pipeline.pool.call_within<WorkerPool::Drained>(drain_limit);
    if (drained) summary.given_back += *drained;
  }
  for (const Pipeline& pipeline : pipelines_) {
    const Result<bool> stored = co_await pipeline.acknowledger.call_within<Acknowledger::Drain>(answer_limit);
    if (!stored) env_->runtime.logger().error("node.ends_not_stored", {{"error", stored.error().message()}});
  }
  const Result<bool> recorded = co_await recorder_.call_within<Recorder::Drain>(answer_limit);
  if (!recorded) env_->runtime.logger().warning("record.failed", {{"error", recorded.error().message()}});
  const Result<std::size_t> retired = co_await env_->store.retire_node(epoch_);
  summary.retired = retired.has_value() || retired.error().code() == ErrorCode::not_found;
  if (summary.retired) env_->epoch = 0;
  env_->given_back += summary.given_back;
  left_ = true;
  for (auto& [queue, told] : told_) {
    if (std::exchange(told.state, ToldQueue::State::paused) != ToldQueue::State::paused) tell<QueuePaused>(queue);
  }
  if (env_->events->wants(event_kind<NodeDown>)) env_->events->notify(NodeDown{env_->name, env_->now(), "stopped"});
  co_return summary;
}

Async<void> NodeServer::stop_fetching() {
  for (const Pipeline& pipeline : pipelines_) {
    const Result<bool> quiet = co_await pipeline.producer.call_within<QueueProducer::Quiet>(answer_limit);
    if (!quiet) env_->runtime.logger().warning("queue.still_taking", {{"error", quiet.error().message()}});
  }
}

Async<void> NodeServer::stop_firing() {
  if (!firer_) co_return;
  const Result<bool> left = co_await firer_->call_within<CronFirer::Quiet>(answer_limit);
  if (!left.value_or(false)) {  // its lease runs out
    env_->runtime.logger().warning("cron.still_leading", {{"node", env_->name}});
  }
}

// --- its pools ---

Async<void> NodeServer::handle_cast(PlanChanged /*changed*/) {
  if (left_) co_return;
  if (const Result<void> fitted = co_await fit_to_plan(); !fitted) {
    stop(ExitReason::custom(std::string(fitted.error().message())));
  }
}

Async<Result<void>> NodeServer::fit_to_plan() {
  const NodePools::Plan plan = env_->pools.plan();
  const std::size_t before = pipelines_.size();
  for (Pipeline& pipeline : pipelines_) {
    const bool planned = std::ranges::any_of(plan.pools, [&](const auto& pool) { return pool.id == pipeline.id; });
    if (planned || std::exchange(pipeline.released, true)) continue;
    NodePools::Pool nothing;
    serve(pipeline, nothing, plan.version);
    pipeline.pool.cast(WorkerPool::Release{});
  }
  for (const NodePools::Pool& pool : plan.pools) {
    if (find(pool.id) == nullptr) {
      Result<Pipeline> started = co_await start_pipeline(pool);
      if (!started) co_return started.error();
      pipelines_.push_back(std::move(*started));
    }
    Pipeline& pipeline = *find(pool.id);
    if (std::exchange(pipeline.concurrency, pool.concurrency) != pool.concurrency) {
      pipeline.pool.cast(WorkerPool::Resize{pool.concurrency});
    }
    serve(pipeline, pool, plan.version);
  }
  tell_queues(plan);
  if (pipelines_.size() != before) have_all_watched();
  co_return Result<void>();
}

void NodeServer::have_all_watched() const {
  ChangeWatcher::Serve all;
  for (const Pipeline& pipeline : pipelines_) all.producers.push_back(pipeline.producer);
  watcher_.cast(std::move(all));
}

Async<Result<NodeServer::Pipeline>> NodeServer::start_pipeline(NodePools::Pool pool) {
  const std::uint64_t seed = env_->options.seed + 2 * pool.id;
  Pipeline pipeline{.id = pool.id, .hands = pool.hands, .concurrency = pool.concurrency};
  Result<ServerRef<Acknowledger>> acknowledger = co_await this_process::start_link<Acknowledger>(env_);
  if (!acknowledger) co_return acknowledger.error();
  pipeline.acknowledger = *acknowledger;
  children_.push_back(acknowledger->pid());
  WorkerPool::Start start{.pool = std::move(pool), .acknowledger = *acknowledger, .node = self(), .seed = seed};
  Result<ServerRef<WorkerPool>> workers = co_await this_process::start_link<WorkerPool>(env_, std::move(start));
  if (!workers) co_return workers.error();
  pipeline.pool = *workers;
  children_.push_back(workers->pid());
  acknowledger->cast(Acknowledger::Attach{*workers, promoter_});
  Result<ServerRef<QueueProducer>> producer = co_await this_process::start_link<QueueProducer>(env_, epoch_, seed + 1);
  if (!producer) co_return producer.error();
  pipeline.producer = *producer;
  children_.push_back(producer->pid());
  const Result<SubscriptionId> subscribed = co_await subscribe(*workers, *producer);
  if (!subscribed) co_return subscribed.error();
  co_return pipeline;
}

void NodeServer::serve(Pipeline& pipeline, const NodePools::Pool& pool, std::uint64_t version) {
  pipeline.queues.insert(pool.queues.begin(), pool.queues.end());
  QueueProducer::Serve serve{.version = version, .open = pool.open, .closed = {}, .pool = pipeline.pool};
  for (const std::string& queue : pipeline.queues) {
    const bool open = std::ranges::any_of(pool.open, [&](const PoolQueue& each) { return each.name == queue; });
    if (!open) serve.closed.push_back(queue);
  }
  pipeline.producer.cast(std::move(serve));
}

NodeServer::Pipeline* NodeServer::find(std::uint64_t id) {
  const auto found = std::ranges::find(pipelines_, id, &Pipeline::id);
  return found == pipelines_.end() ? nullptr : &*found;
}

void NodeServer::handle_cast(const CancelRuns& cancel) {
  for (const Pipeline& pipeline : pipelines_) pipeline.pool.cast(WorkerPool::CancelRuns{cancel.jids});
}

Async<void> NodeServer::handle_cast(PoolIdle idle) {
  const Pipeline* const found = find(idle.pool);
  if (found == nullptr || left_) co_return;
  const Pipeline pipeline = *found;
  if (const bool ended = co_await end_pipeline(pipeline); !ended) {
    send_after(answer_limit, idle);  // its ends wait for a store that is away
    co_return;
  }
  std::erase_if(pipelines_, [&](const Pipeline& each) { return each.id == idle.pool; });
  env_->pools.pool_ended(pipeline.hands);
  for (auto& [queue, told] : told_) pool_idle(queue, told, idle.pool);
  have_all_watched();
}

/// False when its ends are not all stored yet.
Async<bool> NodeServer::end_pipeline(const Pipeline& pipeline) {
  const Result<bool> quiet = co_await pipeline.producer.call_within<QueueProducer::Quiet>(answer_limit);
  if (!quiet) co_return false;
  const Result<std::size_t> drained = co_await pipeline.pool.call_within<WorkerPool::Drained>(answer_limit);
  if (!drained) co_return false;
  const Result<bool> stored = co_await pipeline.acknowledger.call_within<Acknowledger::Drain>(answer_limit);
  if (!stored) co_return false;
  end_child(pipeline.pool.pid());
  end_child(pipeline.producer.pid());
  end_child(pipeline.acknowledger.pid());
  co_return true;
}

void NodeServer::end_child(Pid child) {
  this_process::unlink(child);
  this_process::exit(child, ExitReason::shutdown);
  std::erase(children_, child);
}

// --- what its queues do ---

void NodeServer::tell_queues(const NodePools::Plan& plan) {
  std::set<std::string_view> planned;
  for (const NodePools::Queue& queue : plan.queues) {
    planned.insert(queue.name);
    if (queue.open) {
      queue_opened(queue.name);
    } else {
      queue_closed(queue.name, plan.version);
    }
  }
  for (auto told = told_.begin(); told != told_.end();) {
    const std::string queue = told->first;
    const bool gone = !planned.contains(queue) && told->second.state == ToldQueue::State::paused;
    told = gone ? told_.erase(told) : std::next(told);
    if (!gone && !planned.contains(queue)) queue_closed(queue, plan.version);
  }
}

void NodeServer::queue_opened(const std::string& queue) {
  const auto [told, fresh] = told_.try_emplace(queue);
  if (!fresh && told->second.state == ToldQueue::State::running) return;
  told->second = ToldQueue{};
  tell<QueueRunning>(queue);
}

void NodeServer::queue_closed(const std::string& queue, std::uint64_t version) {
  const auto [told, fresh] = told_.try_emplace(queue);
  if (!fresh && told->second.state != ToldQueue::State::running) return;
  told->second.state = ToldQueue::State::pausing;
  told->second.version = version;
  told->second.pools.clear();
  for (const Pipeline& pipeline : pipelines_) {
    if (pipeline.queues.contains(queue)) told->second.pools.insert(pipeline.id);
  }
  if (!fresh) tell<QueuePausing>(queue);
}

void NodeServer::handle_cast(const QueueIdle& idle) {
  const auto told = told_.find(idle.queue);
  if (told != told_.end() && idle.version >= told->second.version) pool_idle(idle.queue, told->second, idle.pool);
}

void NodeServer::pool_idle(const std::string& queue, ToldQueue& told, std::uint64_t pool) {
  if (told.state != ToldQueue::State::pausing) return;
  told.pools.erase(pool);
  if (!told.pools.empty()) return;
  told.state = ToldQueue::State::paused;
  if (env_->pools.note_paused(queue)) tell<QueuePaused>(queue);
}

template <class Kind>
void NodeServer::tell(const std::string& queue) {
  if (env_->events->wants(event_kind<Kind>)) env_->events->notify(Kind{queue, env_->name, env_->now()});
}

}  // namespace dagverk::jobs
