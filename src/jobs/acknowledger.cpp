#include "jobs/acknowledger.hpp"

#include "jobs/node_pools.hpp"
#include "jobs/promoter.hpp"
#include "jobs/worker_pool.hpp"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <optional>
#include <utility>

namespace dagverk::jobs {

namespace {

constexpr std::size_t batch_size_limit = std::size_t{8} << 20U;

/// Asking again would not help: of `wrong_type`, because somebody else uses the name of the store's retry set.
bool invalid(const Error& error) {
  return error.code() == ErrorCode::invalid_argument || error.code() == ErrorCode::too_large ||
         error.code() == ErrorCode::malformed_job || error.code() == ErrorCode::wrong_type;
}

std::size_t size_of(const Settlement& settlement) {
  return (settlement.payload ? settlement.payload->size() : 0) + settlement.detail.size();
}

}  // namespace

Acknowledger::~Acknowledger() {
  for (const Settling& settling : under_way_) report_lost(*settling.job, *env_);
  for (const Settling& settling : waiting_) report_lost(*settling.job, *env_);
}

void report_lost(const JobInHand& job, NodeEnv& env) noexcept {
  ++env.counters.lease_lost;
  if (!env.events->wants(event_kind<JobLeaseLost>)) return;
  env.events->notify(JobLeaseLost{identity_of(job, env.name), env.now()});
}

void Acknowledger::handle_cast(Attach attach) {
  pool_ = attach.pool;
  promoter_ = attach.promoter;
}

void Acknowledger::handle_cast(Settle settle) {
  if (waiting_.empty()) {
    waiting_ = std::move(settle.settlings);
  } else {
    std::ranges::move(settle.settlings, std::back_inserter(waiting_));
  }
  if (std::exchange(flush_sent_, true)) return;
  self().cast(Flush{});  // behind what is queued already, so that it all goes in one batch
}

Async<void> Acknowledger::handle_cast(Flush /*flush*/) {
  flush_sent_ = false;
  co_await flush();
}

Async<bool> Acknowledger::handle_call(Drain /*drain*/) {
  co_await flush();
  co_return true;
}

Async<void> Acknowledger::flush() {
  while (!waiting_.empty()) {
    under_way_ = next_batch();
    const std::vector<ItemOutcome> outcomes = co_await store(under_way_);
    report_batch(outcomes);
    under_way_.clear();
  }
}

Acknowledger::Batch Acknowledger::next_batch() {
  std::size_t count = 0;
  std::size_t size = 0;
  while (count < waiting_.size() && count < batch_count_limit && size < batch_size_limit) {
    size += size_of(waiting_[count++].settlement);
  }
  if (count == waiting_.size()) return std::exchange(waiting_, {});
  const auto end = waiting_.begin() + static_cast<std::ptrdiff_t>(count);
  Batch batch(std::move_iterator(waiting_.begin()), std::move_iterator(end));
  waiting_.erase(waiting_.begin(), end);
  return batch;
}

Async<std::vector<ItemOutcome>> Acknowledger::store(Batch& batch) {
  maybe_stored_ = false;
  std::vector<ItemOutcome> outcomes;
  std::size_t first = 0;
  std::size_t count = batch.size();
  bool degraded = false;
  Backoff backoff;
  while (first < batch.size()) {
    std::vector<Settlement> settlements;
    settlements.reserve(count);
    for (std::size_t index = first; index < first + count; ++index) settlements.push_back(batch[index].settlement);
    Result<std::vector<ItemOutcome>> stored = co_await env_->store.settle(std::move(settlements));
    if (stored) {
      health_.works(*env_);
      outcomes.insert(outcomes.end(), stored->begin(), stored->end());
      first += count;
      count = std::min(count, batch.size() - first);
      degraded = false;
      backoff.reset();
      continue;
    }
    ++env_->counters.store_errors;
    if (!invalid(stored.error())) {
      if (stored.error().code() == ErrorCode::outcome_unknown) maybe_stored_ = true;
      health_.failed(*env_, stored.error());
      env_->runtime.logger().warning("settle.failed", {{"error", stored.error().message()}, {"jobs", count}});
      co_await this_process::sleep(backoff.next());
      continue;
    }
    if (count > 1) {
      count = 1;  // one of them is to blame; the others must not suffer
      continue;
    }
    env_->runtime.logger().error("settle.refused",
                                 {{"jid", batch[first].job->taken.jid}, {"error", stored.error().message()}});
    if (degraded) {  // even the plain burial: the job stays in our hands until the node leaves, and then runs again
      outcomes.push_back(ItemOutcome::refused);
      ++first;
      count = std::min(count, batch.size() - first);
      degraded = false;
      continue;
    }
    batch[first].settlement = Settler::bury_unchanged(batch[first], stored.error().message());
    batch[first].reason = std::string(stored.error().message());
    degraded = true;
  }
  co_return outcomes;
}

void Acknowledger::report_batch(const std::vector<ItemOutcome>& outcomes) {
  const Batch& batch = under_way_;
  const WallTime now = env_->now();
  NodeCounters& counters = env_->counters;
  std::optional<WallTime> earliest;
  for (std::size_t index = 0; index < batch.size(); ++index) {
    const Settling& settling = batch[index];
    const ItemOutcome outcome =
        maybe_stored_ && outcomes[index] == ItemOutcome::refused ? ItemOutcome::done : outcomes[index];
    if (settling.outcome.completed && outcomes[index] == ItemOutcome::refused) {
      // It finished in a transaction of its own, whatever happened to its run after that.
      const Settling finished{.job = settling.job,
                              .settlement = Settlement::finish(settling.job->taken.token),
                              .outcome = RunOutcome::finished(settling.outcome.result),
                              .ended_at = settling.ended_at};
      report(finished, ItemOutcome::done, env_->name, now, *env_->events);
      ++counters.finished;
      if (QueueRecord* const queue = settling.job->queue) ++queue->finished;
      continue;
    }
    report(settling, outcome, env_->name, now, *env_->events);
    if (outcome != ItemOutcome::done) {
      ++counters.lease_lost;
      env_->runtime.logger().warning("job.lease_lost", {{"jid", settling.job->taken.jid}});
      continue;
    }
    if (QueueRecord* const queue = settling.job->queue) {
      if (settling.outcome.kind == RunOutcome::Kind::failed) ++queue->failed;
      if (settling.settlement.action == Settlement::Action::finish) ++queue->finished;
    }
    switch (settling.settlement.action) {
      case Settlement::Action::finish: ++counters.finished; break;
      case Settlement::Action::retry: {
        ++(settling.settlement.kind == JournalKind::snoozed ? counters.snoozed : counters.retried);
        const WallTime due = settling.settlement.due;
        earliest = earliest ? std::min(*earliest, due) : due;
        break;
      }
      case Settlement::Action::bury: ++counters.died; break;
      case Settlement::Action::discard: {
        const JournalKind kind = settling.settlement.kind;
        ++(kind == JournalKind::expired     ? counters.expired
           : kind == JournalKind::cancelled ? counters.cancelled
                                            : counters.discarded);
        break;
      }
      case Settlement::Action::requeue: ++counters.requeued; break;
    }
  }
  if (earliest) promoter_.cast(Promoter::Due{*earliest});
  pool_.cast(WorkerPool::Settled{batch.size()});
}

}  // namespace dagverk::jobs
