#include "jobs/worker_pool.hpp"

#include "jobs/job_dump.hpp"
#include "jobs/job_run.hpp"
#include "jobs/node_server.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace dagverk::jobs {

namespace {

constexpr Duration quick_run = std::chrono::milliseconds(5);
constexpr Duration linger_limit = std::chrono::milliseconds(1);

/// How much room a pool of quick jobs waits for before it asks.
std::size_t lingers_for(std::size_t concurrency) noexcept {
  return std::min(concurrency, std::max(concurrency / 2, worth_a_trip));
}

}  // namespace

WorkerPool::WorkerPool(NodeEnvPtr env, Start start)
    : env_(std::move(env)),
      id_(start.pool.id),
      hands_(std::move(start.pool.hands)),
      concurrency_(start.pool.concurrency),
      acknowledger_(start.acknowledger),
      node_(start.node),
      settler_(env_->name, start.seed, env_->options.codec, env_->options.backoff, env_->options.unknown_class) {}

WorkerPool::~WorkerPool() {
  if (thread_ends_) thread_ends_->close();
  for (Run& run : running_->take_all()) {
    run.stop.request_stop();  // a function on its thread; a process does so by itself
    report_lost(*run.job, *env_);
    if (run.job->queue != nullptr) --run.job->queue->running;
  }
  for (const Settling& settling : ended_) report_lost(*settling.job, *env_);
}

void WorkerPool::init() {
  this_process::trap_exits();
  thread_ends_ = std::make_shared<ThreadEnds>(self());
  hands_->show(running_);
}

DemandMode WorkerPool::handle_subscribe(const SubscriptionInfo& info) {
  subscription_ = info.id;
  ask_soon();  // once the subscription stands
  return DemandMode::manual;
}

void WorkerPool::ask_soon() {
  if (!std::exchange(ask_sent_, true)) self().cast(AskForMore{});  // behind the ends that are queued already
}

void WorkerPool::handle_cast(AskForMore /*ask*/) {
  ask_sent_ = false;
  if (lingers()) {
    if (!linger_) linger_ = send_after(linger_limit, LingeredEnough{});
    return;
  }
  hand_over();  // together with the ask, so that both go to the store in one trip
  ask_for_more();
}

/// Whether there will soon be more room than now, and more ends to hand over.
bool WorkerPool::lingers() const {
  const std::size_t running = running_->size();
  const std::size_t taken = running + asked_;
  return running > 0 && !draining_ && taken < concurrency_ && quick_ends_ >= concurrency_ &&
         concurrency_ - taken < lingers_for(concurrency_);
}

void WorkerPool::ask_for_more() {
  if (draining_ || !subscription_) return;
  const std::size_t taken = running_->size() + asked_;
  if (taken >= concurrency_) return;
  if (linger_) this_process::cancel_timer(*std::exchange(linger_, std::nullopt));
  const std::size_t in_hand = taken + unstored_;
  const std::size_t in_hand_limit = concurrency_ + unstored_limit;
  if (in_hand >= in_hand_limit) return;
  const std::size_t count = std::min(concurrency_ - taken, in_hand_limit - in_hand);
  asked_ += count;
  ask(*subscription_, count);
}

void WorkerPool::handle_info(LingeredEnough /*enough*/) {
  linger_.reset();
  quick_ends_ = 0;  // those that run now are not so quick
  hand_over();
  ask_for_more();
}

void WorkerPool::handle_events(Batch<TakenJob> jobs) {
  asked_ -= std::min(asked_, jobs.size());
  for (TakenJob& taken : jobs.take_events()) start(std::move(taken));
  if (!tasks_.empty()) hands_->threads->submit(std::exchange(tasks_, {}));
  ask_soon();  // those that could not be run at all have left room
  finish_drain_if_idle();
}

void WorkerPool::start(TakenJob&& taken) {
  const WallTime now = env_->now();
  Queue& queue = queue_of(taken.queue);
  const JobPtr job = settler_.accept(std::move(taken), env_->registry, queue.record, now);
  if (draining_) {  // taken before the producer knew
    ++given_back_;
    settle(settler_.settle(job, RunOutcome::given_back(), now));
    return;
  }
  if (std::optional<Settling> expired = settler_.expire(job, now)) {
    settle(std::move(*expired));
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
  const bool on_thread = static_cast<bool>(job->job_class->function);
  const Pid process = on_thread ? self().pid() : start_process(job, stop);
  if (on_thread) tasks_.push_back(thread_run(env_, job, stop, thread_ends_));
  ++queue.running;
  ++queue.record->running;
  Run run{.job = job, .process = process, .stop = std::move(stop)};
  const Duration timeout = time_limit_of(*job);
  if (job->job_class->async_function && timeout > Duration::zero()) run.limit = send_after(timeout, TimeUp{execution});
  running_->insert(execution, std::move(run));
}

Pid WorkerPool::start_process(const JobPtr& job, const std::stop_source& stop) {
  return this_process::spawn_link([env = env_, job, stop, pool = self()]() mutable -> Async<void> {
    RunOutcome outcome = co_await run_job(env, job, stop);
    pool.cast(Done{job->taken.token.execution, std::move(outcome)});
  });
}

/// Not the pool's own: a function on its thread goes on until it returns, for nothing.
void WorkerPool::kill_process(const Run& run) {
  if (run.process != self().pid()) env_->runtime.exit(run.process, ExitReason::kill);
}

void WorkerPool::settle(Settling settling) {
  ++unstored_;
  if (env_->store.keeps_metrics() && settling.job->job) {
    const Job& job = *settling.job->job;
    settling.settlement.ran_class = job.wrapped().value_or(job.job_class());
    settling.settlement.ran_for = settling.ended_at - settling.job->started_at;
  }
  ended_.push_back(std::move(settling));
  ask_soon();
}

/// All ends so far, as one message.
void WorkerPool::hand_over() {
  if (ended_.empty()) return;
  const std::size_t count = ended_.size();
  acknowledger_.cast(Acknowledger::Settle{std::exchange(ended_, {})});
  ended_.reserve(count);
}

void WorkerPool::end(const Run& run, RunOutcome outcome) {
  if (run.limit) this_process::cancel_timer(*run.limit);
  if (outcome.kind == RunOutcome::Kind::given_back) ++given_back_;
  const WallTime now = env_->now();
  quick_ends_ = now - run.job->started_at < quick_run ? quick_ends_ + 1 : 0;
  settle(settler_.settle(run.job, std::move(outcome), now));
  Queue& queue = queue_of(run.job->taken.queue);
  --queue.running;
  --queue.record->running;
  tell_if_idle(run.job->taken.queue, queue);
}

void WorkerPool::handle_cast(Done done) {
  this->done(done.execution, std::move(done.outcome));
  ask_soon();
  finish_drain_if_idle();
}

void WorkerPool::handle_cast(Ended /*ended*/) {
  for (ThreadEnd& end : thread_ends_->take()) {
    if (end.watchdog) env_->runtime.exit(end.watchdog, ExitReason::kill);
    done(end.execution, std::move(end.outcome));
  }
  ask_soon();
  finish_drain_if_idle();
}

void WorkerPool::done(std::uint64_t execution, RunOutcome outcome) {
  const std::optional<Run> run = running_->take(execution);
  if (!run) return;          // given back, or its process was ended meanwhile
  run->stop.request_stop();  // a process has done so at its end; nobody has for a function on its thread
  const bool completed = outcome.completed;
  if (run->timed_out) outcome = timed_out(time_limit_of(*run->job), "before it returned");
  // A run that ends in a failure because it was asked to stop has not had its attempt.
  if (cancelling_ && outcome.kind == RunOutcome::Kind::failed) outcome = RunOutcome::given_back();
  // Whatever it was about to become: it is not to run again. One that ended well has done its work.
  if (run->cancelled && (outcome.kind == RunOutcome::Kind::failed || outcome.kind == RunOutcome::Kind::given_back ||
                         outcome.kind == RunOutcome::Kind::snoozed)) {
    outcome = RunOutcome{.kind = RunOutcome::Kind::cancelled};
  }
  outcome.completed = completed;
  end(*run, std::move(outcome));
}

void WorkerPool::handle_info(const Exit& exit) {
  if (exit.reason.kind() == ExitReason::Kind::normal) return;  // it has sent Done before
  const std::optional<Run> run = running_->take(exit.from);
  if (!run) return;
  end(*run, RunOutcome::failed(error_class::process_exited,
                               concat("the process that ran it ended: ", exit.reason.to_string())));
  ask_soon();
  finish_drain_if_idle();
}

void WorkerPool::handle_cast(Settled settled) {
  unstored_ -= std::min(unstored_, settled.count);
  ask_soon();
}

void WorkerPool::handle_cast(Resize resize) {
  concurrency_ = resize.concurrency;
  ask_for_more();
}

WorkerPool::Queue& WorkerPool::queue_of(const std::string& name) {
  Queue& queue = queues_[name];
  if (queue.record == nullptr) queue.record = &env_->pools.record(name);
  return queue;
}

void WorkerPool::handle_cast(Closed closed) {
  for (auto& [name, queue] : queues_) queue.closed.reset();
  for (const std::string& name : closed.queues) {
    Queue& queue = queue_of(name);
    queue.closed = closed.version;
    tell_if_idle(name, queue);
  }
}

void WorkerPool::tell_if_idle(const std::string& name, const Queue& queue) const {
  if (queue.closed && queue.running == 0) node_.cast(NodeServer::QueueIdle{id_, name, *queue.closed});
}

void WorkerPool::handle_cast(Release /*release*/) {
  draining_ = true;
  released_ = true;
  finish_drain_if_idle();
}

void WorkerPool::handle_cast(Drain drain) {
  draining_ = true;
  const Duration left = drain.deadline - env_->runtime.clock().steady_now();
  send_after(std::max(left, Duration::zero()), DeadlinePassed{});
}

void WorkerPool::handle_call(Drained /*drained*/, From<Drained> from) {
  drained_ = std::move(from);
  finish_drain_if_idle();
}

void WorkerPool::handle_info(TimeUp up) {
  if (!up.finally) {
    std::optional<std::stop_source> stop = running_->time_out(up.execution);
    if (!stop) return;
    send_after(env_->options.stop_grace, TimeUp{.execution = up.execution, .finally = true});
    stop->request_stop();
    return;
  }
  const std::optional<Run> run = running_->take(up.execution);
  if (!run) return;
  kill_process(*run);
  end(*run, timed_out(time_limit_of(*run->job), "and did not end when it was asked to"));
  ask_soon();
  finish_drain_if_idle();
}

void WorkerPool::handle_cast(const CancelRuns& cancel) {
  for (const std::string& jid : cancel.jids) {
    auto run = running_->cancel(jid);
    if (!run) continue;
    send_after(env_->options.stop_grace, CancelGrace{run->first});
    run->second.request_stop();
  }
}

void WorkerPool::handle_info(CancelGrace grace) {
  const JobPtr job = running_->job(grace.execution);
  if (!job) return;
  if (!job->job_class->async_function) {  // a thread cannot be ended; a command is, after its kill_grace
    if (job->job_class->function) tell_overdue(env_, job, "cancel");
    return;
  }
  const std::optional<Run> run = running_->take(grace.execution);
  kill_process(*run);
  end(*run, RunOutcome{.kind = RunOutcome::Kind::cancelled});
  ask_soon();
  finish_drain_if_idle();
}

void WorkerPool::handle_info(DeadlinePassed /*passed*/) {
  cancelling_ = true;
  for (std::stop_source& stop : running_->stops()) stop.request_stop();
  send_after(env_->options.stop_grace, GracePassed{});
}

void WorkerPool::handle_info(GracePassed /*passed*/) {
  for (const Run& run : running_->take_all()) {
    end(run, RunOutcome::given_back());
    kill_process(run);  // destroying its frame kills a command
  }
  finish_drain_if_idle();
}

void WorkerPool::finish_drain_if_idle() {
  if (!draining_ || running_->size() > 0) return;
  hand_over();  // before anybody believes that this pool is done
  if (std::exchange(released_, false)) node_.cast(NodeServer::PoolIdle{id_});
  if (!drained_) return;
  drained_->reply(given_back_);
  drained_.reset();
}

}  // namespace dagverk::jobs
