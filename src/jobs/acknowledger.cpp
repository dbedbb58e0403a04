#include "jobs/acknowledger.hpp"

#include "jobs/promoter.hpp"
#include "jobs/worker_pool.hpp"

#include <optional>
#include <utility>

namespace dagverk::jobs {

namespace {

constexpr std::size_t batch_size_limit = std::size_t{8} << 20U;

bool invalid(const Error& error) {
  return error.code() == ErrorCode::invalid_argument || error.code() == ErrorCode::too_large ||
         error.code() == ErrorCode::malformed_job;
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
  waiting_.push_back(std::move(settle.settling));
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
  Batch batch;
  std::size_t size = 0;
  while (!waiting_.empty() && batch.size() < batch_count_limit && (batch.empty() || size < batch_size_limit)) {
    size += size_of(waiting_.front().settlement);
    batch.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
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
    report(settling, outcome, env_->name, now, *env_->events);
    if (outcome != ItemOutcome::done) {
      ++counters.lease_lost;
      env_->runtime.logger().warning("job.lease_lost", {{"jid", settling.job->taken.jid}});
      continue;
    }
    switch (settling.settlement.action) {
      case Settlement::Action::finish: ++counters.finished; break;
      case Settlement::Action::retry: {
        ++counters.retried;
        const WallTime due = settling.settlement.due;
        earliest = earliest ? std::min(*earliest, due) : due;
        break;
      }
      case Settlement::Action::bury: ++counters.died; break;
      case Settlement::Action::discard: ++counters.discarded; break;
      case Settlement::Action::requeue: ++counters.requeued; break;
    }
  }
  if (earliest) promoter_.cast(Promoter::Due{*earliest});
  pool_.cast(WorkerPool::Settled{batch.size()});
}

}  // namespace dagverk::jobs
