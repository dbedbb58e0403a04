#include "jobs/queue_producer.hpp"

#include "jobs/worker_pool.hpp"

#include <algorithm>
#include <utility>

namespace dagverk::jobs {

void QueueProducer::handle_demand(std::uint64_t count) {
  demand_ += count;
  fetch_soon();
}

void QueueProducer::handle_cast(Look /*look*/) {
  looked_ = looked_ || takes_ > 0;
  fetch_soon();
}

void QueueProducer::handle_cast(Serve serve) {
  serve_next_.push_back(std::move(serve));
  finish_waiting();
}

/// What a take under way will deliver comes before the pool hears that a queue is closed.
void QueueProducer::serve_now(Serve& serve) {
  order_.set(std::move(serve.open));
  version_ = serve.version;
  serve.pool.cast(WorkerPool::Closed{serve.version, std::move(serve.closed)});
  fetch_soon();
}

/// For those who wait until no take is under way.
void QueueProducer::finish_waiting() {
  if (takes_ > 0) return;
  for (Serve& serve : std::exchange(serve_next_, {})) serve_now(serve);
  for (From<Quiet>& call : std::exchange(quiet_calls_, {})) call.reply(true);
}

void QueueProducer::fetch_soon() {
  if (!may_take() || std::exchange(fetch_sent_, true)) return;
  self().cast(Fetch{});  // behind the demand that is queued already
}

/// Whether the jobs that were asked for, and that no take under way is for, are worth one now.
bool QueueProducer::may_take() const {
  if (quiet_ || order_.empty() || version_ < env_->pools.version()) return false;
  return may_go(takes_, demand_ - std::min(demand_, wanted_));
}

/// Tokens come without anybody's telling.
void QueueProducer::look_at_next_turn() {
  const std::optional<WallTime> turn = env_->store.next_turn();
  const WallTime now = env_->now();
  if (!turn || *turn <= now || (look_at_ > now && look_at_ <= *turn)) return;
  look_at_ = *turn;
  send_after(*turn - now, Look{});
}

void QueueProducer::handle_call(Quiet /*quiet*/, From<Quiet> from) {
  quiet_ = true;
  quiet_calls_.push_back(std::move(from));
  finish_waiting();
}

void QueueProducer::handle_cast(Fetch /*fetch*/) {
  fetch_sent_ = false;
  while (may_take()) take();
}

void QueueProducer::take() {
  TakeRequest request{.node = epoch_, .queues = order_.next(), .max = 1};
  request.max = std::min(demand_ - wanted_, batch_count_limit);
  request.decode = env_->options.codec;
  ++takes_;
  wanted_ += request.max;
  looked_ = false;  // it will see what there is
  this_process::spawn_link([env = env_, producer = self(), request = std::move(request)]() mutable -> Async<void> {
    const std::size_t wanted = request.max;
    Result<std::vector<TakenJob>> taken = co_await env->store.take(std::move(request));
    producer.cast(Took{wanted, std::move(taken)});
  });
}

void QueueProducer::handle_cast(Took took) {
  --takes_;
  wanted_ -= took.wanted;
  if (took.jobs) {
    deliver(std::move(*took.jobs), took.wanted);
  } else {
    failed(took.jobs.error());
  }
  finish_waiting();
}

void QueueProducer::failed(const Error& error) {
  ++env_->counters.store_errors;
  health_.failed(*env_, error);
  env_->runtime.logger().warning("take.failed", {{"error", error.message()}});
  // Refused: the lease is lost. Unknown: jobs may be ours without our knowing which. A new epoch mends both.
  if (error.code() == ErrorCode::refused || error.code() == ErrorCode::outcome_unknown) {
    stop(ExitReason::custom(std::string(error.message())));
    return;
  }
  send_after(backoff_.next(), Look{});
}

void QueueProducer::deliver(std::vector<TakenJob> jobs, std::size_t wanted) {
  backoff_.reset();
  health_.works(*env_);
  if (jobs.size() < wanted) look_at_next_turn();
  std::size_t size = 0;
  for (const TakenJob& job : jobs) size += job.job ? job.job->payload().size() : job.payload.size();
  const bool all_there_was = jobs.size() < wanted && size < take_size_limit / 2;
  demand_ -= std::min(demand_, jobs.size());
  if (!jobs.empty()) emit(make_batch(std::move(jobs)));
  // What comes from now on is told by the watcher.
  if (!all_there_was || looked_) fetch_soon();
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
