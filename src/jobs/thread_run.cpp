#include "jobs/thread_run.hpp"

#include "jobs/job_dump.hpp"
#include "jobs/job_run.hpp"
#include "jobs/thread_stacks.hpp"
#include "jobs/worker_pool.hpp"

#include "dagverk/runtime/this_process.hpp"

#include <atomic>
#include <utility>

namespace dagverk::jobs {

namespace {

/// Ends by itself after the time and the grace, unless the run's end has it ended before.
Pid start_watchdog(NodeEnvPtr env, JobPtr job, std::shared_ptr<std::atomic<bool>> passed, std::stop_source stop,
                   Duration timeout) {
  RuntimeBase& runtime = env->runtime;
  return runtime.spawn([env = std::move(env), job = std::move(job), timeout, passed = std::move(passed),
                        stop = std::move(stop)]() mutable -> Async<void> {
    co_await this_process::sleep(timeout);
    *passed = true;
    stop.request_stop();
    co_await this_process::sleep(env->options.stop_grace);
    tell_overdue(env, std::move(job), "timeout");
  });
}

class ThreadRun {
 public:
  ThreadRun(NodeEnvPtr env, JobPtr job, std::stop_source stop, std::shared_ptr<ThreadEnds> ends)
      : env_(std::move(env)), job_(std::move(job)), stop_(std::move(stop)), ends_(std::move(ends)) {}
  ThreadRun(ThreadRun&&) noexcept = default;
  ThreadRun& operator=(ThreadRun&&) = delete;
  ThreadRun(const ThreadRun&) = delete;
  ThreadRun& operator=(const ThreadRun&) = delete;
  ~ThreadRun() {
    if (ends_ == nullptr) return;
    const std::shared_ptr<ThreadEnds> ends = ends_;
    end(RunOutcome::given_back(), {});  // its thread was stopped before it began
    ends->tasks_ended();                // nobody else will
  }

  void operator()() {
    if (stop_.stop_requested()) return end(RunOutcome::given_back(), {});  // before it began
    const Duration timeout = time_limit_of(*job_);
    if (timeout > Duration::zero()) return run_within(timeout);
    end(run(), {});
  }

 private:
  RunOutcome run() {
    const OnThread here(job_.get());
    return run_function(env_, job_, stop_.get_token());
  }

  void run_within(Duration timeout) {
    const auto passed = std::make_shared<std::atomic<bool>>(false);  // shared with the watchdog
    const Pid watchdog = start_watchdog(env_, job_, passed, stop_, timeout);
    RunOutcome outcome = run();
    if (*passed) {
      const bool completed = outcome.completed;
      outcome = timed_out(timeout, "before it returned");
      outcome.completed = completed;
    }
    end(std::move(outcome), watchdog);
  }

  void end(RunOutcome outcome, Pid watchdog) {
    std::exchange(ends_, nullptr)->add({job_->taken.token.execution, std::move(outcome), watchdog});
  }

  NodeEnvPtr env_;
  JobPtr job_;
  std::stop_source stop_;
  std::shared_ptr<ThreadEnds> ends_;  // null once it has ended
};

}  // namespace

void ThreadEnds::add(ThreadEnd end) {
  const MutexLock lock(mutex_);
  if (!closed_) ended_.push_back(std::move(end));
}

void ThreadEnds::tasks_ended() noexcept {
  // With the mutex held the pool cannot end, so its runtime is there until the message is.
  const MutexLock lock(mutex_);
  if (closed_ || ended_.empty() || std::exchange(told_, true)) return;
  pool_.cast(WorkerPool::Ended{});
}

std::vector<ThreadEnd> ThreadEnds::take() {
  const MutexLock lock(mutex_);
  told_ = false;
  return std::exchange(ended_, {});
}

void ThreadEnds::close() noexcept {
  std::vector<ThreadEnd> nobodys;  // outlives the lock
  const MutexLock lock(mutex_);
  closed_ = true;
  nobodys.swap(ended_);
}

JobThreads::Task thread_run(NodeEnvPtr env, JobPtr job, std::stop_source stop, std::shared_ptr<ThreadEnds> ends) {
  JobThreads::Task task{.run = {}, .listener = ends};
  task.run = ThreadRun(std::move(env), std::move(job), std::move(stop), std::move(ends));
  return task;
}

}  // namespace dagverk::jobs
