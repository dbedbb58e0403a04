#include "jobs/queue_producer.hpp"

#include "jobs/worker_pool.hpp"

#include <algorithm>
#include <utility>

namespace dagverk::jobs {

void QueueProducer::handle_demand(std::uint64_t count) {
  demand_ += count;
  fetch_soon();
}

void QueueProducer::handle_cast(Look /*look*/) { fetch_soon(); }

void QueueProducer::handle_cast(Serve serve) {
  order_.set(std::move(serve.open));
  version_ = serve.version;
  serve.pool.cast(WorkerPool::Closed{serve.version, std::move(serve.closed)});
  fetch_soon();
}

void QueueProducer::fetch_soon() {
  if (quiet_ || demand_ == 0 || order_.empty() || std::exchange(fetch_sent_, true)) return;
  self().cast(Fetch{});  // behind the demand that is queued already
}

/// Tokens come without anybody's telling.
void QueueProducer::look_at_next_turn() {
  const std::optional<WallTime> turn = env_->store.next_turn();
  const WallTime now = env_->now();
  if (!turn || *turn <= now || (look_at_ > now && look_at_ <= *turn)) return;
  look_at_ = *turn;
  send_after(*turn - now, Look{});
}

bool QueueProducer::handle_call(Quiet /*quiet*/) {
  quiet_ = true;
  return true;
}

Async<void> QueueProducer::handle_cast(Fetch /*fetch*/) {
  fetch_sent_ = false;
  while (demand_ > 0 && !quiet_ && !order_.empty() && version_ >= env_->pools.version()) {
    TakeRequest request;
    request.node = epoch_;
    request.queues = order_.next();
    request.max = std::min(demand_, batch_count_limit);
    const std::size_t wanted = request.max;
    Result<std::vector<TakenJob>> taken = co_await env_->store.take(std::move(request));
    if (!taken) {
      ++env_->counters.store_errors;
      health_.failed(*env_, taken.error());
      env_->runtime.logger().warning("take.failed", {{"error", taken.error().message()}});
      // Refused: the lease is lost. Unknown: jobs may be ours without our knowing which. A new epoch mends both.
      if (taken.error().code() == ErrorCode::refused || taken.error().code() == ErrorCode::outcome_unknown) {
        stop(ExitReason::custom(std::string(taken.error().message())));
        co_return;
      }
      send_after(backoff_.next(), Look{});
      co_return;
    }
    backoff_.reset();
    health_.works(*env_);
    if (taken->size() < wanted) look_at_next_turn();
    if (taken->empty()) co_return;
    std::size_t size = 0;
    for (const TakenJob& job : *taken) size += job.payload.size();
    const bool cut_by_size = size >= take_size_limit / 2;
    const std::size_t count = taken->size();
    demand_ -= count;
    emit(make_batch(std::move(*taken)));
    if (count < wanted && !cut_by_size) co_return;  // what comes from now on is told by the watcher
  }
}

void ChangeWatcher::init() {
  seen_ = env_->store.change_count(ChangeKind::ready);
  self().cast(Watch{});
}

void ChangeWatcher::handle_cast(Serve serve) {
  producers_ = std::move(serve.producers);
  have_all_look();  // for what came between their first take and here
}

void ChangeWatcher::have_all_look() const {
  for (const ServerRef<QueueProducer>& producer : producers_) producer.cast(QueueProducer::Look{});
}

void ChangeWatcher::have_some_look() {
  const std::size_t count = std::min(producers_.size(), looks_at_once);
  for (std::size_t look = 0; look < count; ++look) {
    producers_[next_look_++ % producers_.size()].cast(QueueProducer::Look{});
  }
}

Async<void> ChangeWatcher::handle_cast(Watch /*watch*/) {
  Result<std::uint64_t> changed =
      co_await env_->store.wait_for_change(ChangeKind::ready, seen_, env_->options.poll_interval);
  if (changed && *changed != seen_) {
    seen_ = *changed;
    have_all_look();
  } else {
    if (!changed) {
      ++env_->counters.store_errors;
      co_await this_process::sleep(env_->options.poll_interval);
    }
    have_some_look();
  }
  self().cast(Watch{});
}

}  // namespace dagverk::jobs
