#pragma once

#include "jobs/job_threads.hpp"
#include "jobs/node_env.hpp"
#include "jobs/settling.hpp"

#include "dagverk/base/mutex.hpp"
#include "dagverk/runtime/gen_server.hpp"

#include <cstdint>
#include <memory>
#include <stop_token>
#include <vector>

namespace dagverk::jobs {

class WorkerPool;

/// The end of one run on a thread.
struct ThreadEnd {
  std::uint64_t execution = 0;
  RunOutcome outcome;
  Pid watchdog = {};  ///< of its time limit, to be ended; none when it had no limit
};

/// How the runs of a pool that have ended on threads come to the pool: all that there are with one message.
///
/// Threads:  `take` and `close` are the pool's, the others anybody's.
/// Bounds:   an end per run that the pool has begun.
/// Lifetime: shared by the pool and its runs; a run that ends after `close` tells nobody.
class ThreadEnds final : public JobThreads::Listener {
 public:
  explicit ThreadEnds(ServerRef<WorkerPool> pool) : pool_(pool) {}

  void add(ThreadEnd end);
  /// Sends `WorkerPool::Ended` unless one is on its way or there is nothing to be told.
  void tasks_ended() noexcept override;
  [[nodiscard]] std::vector<ThreadEnd> take();
  /// The pool ends, and its runtime may soon after it.
  void close() noexcept;

 private:
  const ServerRef<WorkerPool> pool_;
  Mutex mutex_;
  std::vector<ThreadEnd> ended_ DAGVERK_GUARDED_BY(mutex_);
  bool told_ DAGVERK_GUARDED_BY(mutex_) = false;
  bool closed_ DAGVERK_GUARDED_BY(mutex_) = false;
};

/// The run of a `thread` job as a task for its pool's threads. Its end is in `ends` when the task is over, also when it
/// was dropped before it began: then the job is given back, as it is when `stop` was asked to stop before. The job's
/// time counts from when the task begins; when it is up, the token is triggered.
[[nodiscard]] JobThreads::Task thread_run(NodeEnvPtr env, JobPtr job, std::stop_source stop,
                                          std::shared_ptr<ThreadEnds> ends);

}  // namespace dagverk::jobs
