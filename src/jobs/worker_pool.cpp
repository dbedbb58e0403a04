#include "jobs/worker_pool.hpp"

#include "jobs/job_run.hpp"
#include "jobs/job_threads.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <utility>

namespace dagverk::jobs {

WorkerPool::WorkerPool(NodeEnvPtr env, std::shared_ptr<JobThreads> threads, std::size_t concurrency,
                       ServerRef<Acknowledger> acknowledger, std::uint64_t seed)
    : env_(std::move(env)),
      threads_(std::move(threads)),
      concurrency_(concurrency),
      acknowledger_(acknowledger),
      settler_(env_->name, seed, env_->options.codec) {}

WorkerPool::~WorkerPool() {
  for (const auto& [execution, run] : running_) report_lost(*run.job, *env_);
}

void WorkerPool::init() { this_process::trap_exits(); }

DemandMode WorkerPool::handle_subscribe(const SubscriptionInfo& info) {
  subscription_ = info.id;
  self().cast(Settled{0});  // asks, once the subscription stands
  return DemandMode::manual;
}

void WorkerPool::ask_for_more() {
  if (draining_ || !subscription_) return;
  const std::size_t taken = running_.size() + asked_;
  if (taken >= concurrency_) return;
  const std::size_t in_hand = taken + unstored_;
  const std::size_t in_hand_limit = concurrency_ + unstored_limit;
  if (in_hand >= in_hand_limit) return;
  const std::size_t count = std::min(concurrency_ - taken, in_hand_limit - in_hand);
  asked_ += count;
  ask(*subscription_, count);
}

void WorkerPool::handle_events(Batch<TakenJob> jobs) {
  asked_ -= std::min(asked_, jobs.size());
  for (TakenJob& taken : jobs.take_events()) start(std::move(taken));
  ask_for_more();  // those that could not be run at all have left room
  finish_drain_if_idle();
}

void WorkerPool::start(TakenJob taken) {
  const WallTime now = env_->now();
  const JobPtr job = settler_.accept(std::move(taken), env_->registry, now);
  if (draining_) {  // taken before the producer knew
    ++given_back_;
    settle(settler_.settle(job, RunOutcome::given_back(), now));
    return;
  }
  if (job->job) ++env_->counters.started;
  if (job->job && env_->events->wants(event_kind<JobStarted>)) {
    env_->events->notify(JobStarted{identity_of(*job, env_->name), now});
  }
  if (std::optional<Settling> refused = settler_.refuse(job, now)) {
    settle(std::move(*refused));
    return;
  }
  const std::uint64_t execution = job->taken.token.execution;
  std::stop_source stop;
  const Pid process = env_->runtime.spawn(
      [env = env_, threads = threads_, job, stop, pool = self(), execution]() mutable -> Async<void> {
        RunOutcome outcome = co_await run_job(env, threads, job, stop);
        pool.cast(Done{execution, std::move(outcome)});
      });
  this_process::link(process);
  running_.insert_or_assign(execution, Run{job, process, std::move(stop)});
}

void WorkerPool::settle(Settling settling) {
  ++unstored_;
  acknowledger_.cast(Acknowledger::Settle{std::move(settling)});
}

void WorkerPool::handle_cast(Done done) {
  const auto found = running_.find(done.execution);
  if (found == running_.end()) return;  // given back, or its process was ended meanwhile
  const JobPtr job = std::move(found->second.job);
  running_.erase(found);
  // A run that ends in a failure because it was asked to stop has not had its attempt.
  if (cancelling_ && done.outcome.kind == RunOutcome::Kind::failed) done.outcome = RunOutcome::given_back();
  if (done.outcome.kind == RunOutcome::Kind::given_back) ++given_back_;
  settle(settler_.settle(job, std::move(done.outcome), env_->now()));
  ask_for_more();
  finish_drain_if_idle();
}

void WorkerPool::handle_info(Exit exit) {
  if (exit.reason.kind() == ExitReason::Kind::normal) return;  // it has sent Done before
  const auto found =
      std::ranges::find_if(running_, [&exit](const auto& run) { return run.second.process == exit.from; });
  if (found == running_.end()) return;
  const JobPtr job = std::move(found->second.job);
  running_.erase(found);
  RunOutcome outcome = RunOutcome::failed(error_class::process_exited,
                                          concat("the process that ran it ended: ", exit.reason.to_string()));
  settle(settler_.settle(job, std::move(outcome), env_->now()));
  ask_for_more();
  finish_drain_if_idle();
}

void WorkerPool::handle_cast(Settled settled) {
  unstored_ -= std::min(unstored_, settled.count);
  ask_for_more();
}

void WorkerPool::handle_cast(Resize resize) {
  concurrency_ = resize.concurrency;
  threads_->resize(env_->runtime, concurrency_);
  ask_for_more();
}

void WorkerPool::handle_cast(Drain drain) {
  if (std::exchange(draining_, true)) return;
  const Duration left = drain.deadline - env_->runtime.clock().steady_now();
  send_after(std::max(left, Duration::zero()), DeadlinePassed{});
}

void WorkerPool::handle_call(Drained /*drained*/, From<Drained> from) {
  drained_ = std::move(from);
  finish_drain_if_idle();
}

void WorkerPool::handle_info(DeadlinePassed /*passed*/) {
  cancelling_ = true;
  for (auto& [execution, run] : running_) run.stop.request_stop();
  send_after(env_->options.stop_grace, GracePassed{});
}

void WorkerPool::handle_info(GracePassed /*passed*/) {
  const WallTime now = env_->now();
  for (auto& [execution, run] : running_) {
    ++given_back_;
    settle(settler_.settle(run.job, RunOutcome::given_back(), now));
    // Destroying its frame kills a command; a function on its thread goes on until it returns, for nothing.
    env_->runtime.exit(run.process, ExitReason::kill);
  }
  running_.clear();
  finish_drain_if_idle();
}

void WorkerPool::finish_drain_if_idle() {
  if (!draining_ || !running_.empty() || !drained_) return;
  drained_->reply(given_back_);
  drained_.reset();
}

}  // namespace dagverk::jobs
