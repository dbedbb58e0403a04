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

/// Stores a batch, however long it takes; settlements that can never be stored are replaced in it.
Async<void> store(NodeEnvPtr env, ServerRef<Acknowledger> teller, Acknowledger::Stored& stored) {
  Acknowledger::Batch& batch = stored.batch;
  std::size_t count = batch.size();
  bool degraded = false;
  Backoff backoff;
  while (stored.outcomes.size() < batch.size()) {
    const std::size_t first = stored.outcomes.size();
    count = std::min(count, batch.size() - first);
    std::vector<Settlement> settlements;
    settlements.reserve(count);
    for (std::size_t index = first; index < first + count; ++index) settlements.push_back(batch[index].settlement);
    Result<std::vector<ItemOutcome>> outcomes = co_await env->store.settle(std::move(settlements));
    if (outcomes) {
      stored.outcomes.insert(stored.outcomes.end(), outcomes->begin(), outcomes->end());
      degraded = false;
      backoff.reset();
      continue;
    }
    const Error& error = outcomes.error();
    ++env->counters.store_errors;
    if (!invalid(error)) {
      if (error.code() == ErrorCode::outcome_unknown) stored.maybe_before = true;
      teller.cast(Acknowledger::Trouble{error});
      env->runtime.logger().warning("settle.failed", {{"error", error.message()}, {"jobs", count}});
      co_await this_process::sleep(backoff.next());
      continue;
    }
    if (count > 1) {
      count = 1;  // one of them is to blame; the others must not suffer
      continue;
    }
    Settling& settling = batch[first];
    env->runtime.logger().error("settle.refused", {{"jid", settling.job->taken.jid}, {"error", error.message()}});
    if (degraded) {  // even the plain burial: the job stays in our hands until the node leaves, and then runs again
      stored.outcomes.push_back(ItemOutcome::refused);
      degraded = false;
      continue;
    }
    settling.settlement = Settler::bury_unchanged(settling, error.message());
    settling.reason = std::string(error.message());
    degraded = true;
  }
}

}  // namespace

Acknowledger::~Acknowledger() {
  for (const auto& [number, jobs] : under_way_) {
    for (const JobPtr& job : jobs) report_lost(*job, *env_);
  }
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

void Acknowledger::handle_cast(Flush /*flush*/) {
  flush_sent_ = false;
  flush();
}

void Acknowledger::handle_call(Drain /*drain*/, From<Drain> from) {
  drain_calls_.push_back(std::move(from));
  flush();
}

void Acknowledger::flush() {
  while (may_go(under_way_.size(), waiting_.size())) {
    Stored stored{.number = ++batches_, .batch = next_batch()};
    std::vector<JobPtr>& jobs = under_way_[stored.number];
    jobs.reserve(stored.batch.size());
    for (const Settling& settling : stored.batch) jobs.push_back(settling.job);
    this_process::spawn_link([env = env_, teller = self(), stored = std::move(stored)]() mutable -> Async<void> {
      co_await store(env, teller, stored);
      teller.cast(std::move(stored));
    });
  }
  if (!waiting_.empty() || !under_way_.empty()) return;
  for (From<Drain>& call : std::exchange(drain_calls_, {})) call.reply(true);
}

void Acknowledger::handle_cast(const Trouble& trouble) { health_.failed(*env_, trouble.error); }

void Acknowledger::handle_cast(const Stored& stored) {
  health_.works(*env_);
  under_way_.erase(stored.number);
  report_batch(stored);
  flush();
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

void Acknowledger::report_batch(const Stored& stored) {
  const auto& [number, batch, outcomes, maybe_before] = stored;
  const WallTime now = env_->now();
  NodeCounters& counters = env_->counters;
  std::optional<WallTime> earliest;
  for (std::size_t index = 0; index < batch.size(); ++index) {
    const Settling& settling = batch[index];
    const ItemOutcome outcome =
        maybe_before && outcomes[index] == ItemOutcome::refused ? ItemOutcome::done : outcomes[index];
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
