#pragma once

#include "jobs/settling.hpp"

#include "dagverk/base/mutex.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/jobs/node_options.hpp"
#include "dagverk/jobs/queue_stats.hpp"
#include "dagverk/runtime/runtime_base.hpp"
#include "dagverk/runtime/this_process.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace dagverk::jobs {

class JobThreads;

/// What one queue has done on this node. Written by the node's processes, read by anybody; lives as long as the node.
struct QueueRecord {
  std::atomic<std::uint64_t> running{0};
  std::atomic<std::uint64_t> finished{0};
  std::atomic<std::uint64_t> failed{0};
};

/// One run of a job.
struct Run {
  JobPtr job;
  Pid process;  ///< the pool's own when it is on a thread
  std::stop_source stop;
  std::optional<TimerRef> limit = std::nullopt;  ///< the timer of an `async` job's time limit
  bool timed_out = false;
  bool cancelled = false;
};

/// What others see of a run.
struct RunView {
  JobPtr job;
  Pid process;
  bool stop_requested = false;  ///< it was asked to end, and has not
};

/// The runs of one worker pool. That pool alone changes it; anybody may look.
class RunTable {
 public:
  void insert(std::uint64_t execution, Run run);
  [[nodiscard]] std::optional<Run> take(std::uint64_t execution);
  [[nodiscard]] std::optional<Run> take(Pid process);
  [[nodiscard]] std::vector<Run> take_all();
  /// Notes that the time of a run is up; how to stop it. Nothing when it has ended.
  [[nodiscard]] std::optional<std::stop_source> time_out(std::uint64_t execution);
  /// Notes that the run of that job is cancelled: which one it is, and how to stop it. Nothing when none is there, or
  /// it was cancelled before.
  [[nodiscard]] std::optional<std::pair<std::uint64_t, std::stop_source>> cancel(std::string_view jid);
  /// Nothing when it has ended.
  [[nodiscard]] JobPtr job(std::uint64_t execution) const;

  [[nodiscard]] std::size_t size() const;
  /// At most `limit` of them, of one queue unless `queue` is empty.
  [[nodiscard]] std::vector<RunView> list(std::string_view queue, std::size_t limit) const;
  /// Those that were asked to stop.
  [[nodiscard]] std::size_t overdue_count() const;
  [[nodiscard]] std::vector<std::stop_source> stops() const;

 private:
  mutable Mutex mutex_;
  std::unordered_map<std::uint64_t, Run> runs_ DAGVERK_GUARDED_BY(mutex_);  // by execution
};

/// What outlives the processes of a pool. Shared by the pool's processes and NodePools; ends with the last of them.
class PoolHands {
 public:
  explicit PoolHands(std::shared_ptr<JobThreads> job_threads) : threads(std::move(job_threads)) {}

  const std::shared_ptr<JobThreads> threads;  // runs hold them, too

  /// The runs of the pool's present process: an older one may still be ending.
  void show(std::shared_ptr<const RunTable> runs);
  [[nodiscard]] std::shared_ptr<const RunTable> runs() const;

 private:
  mutable Mutex mutex_;
  std::shared_ptr<const RunTable> runs_ DAGVERK_GUARDED_BY(mutex_);  // shared with the pool's process
};

/// Which pools a node is to have, and which queues are paused: what users change while it runs, and what outlives every
/// restart of the node's processes.
///
/// Semantics: each change gets a version. The node's server reads the plan when it starts and when it is told that
///            something has changed, and makes the processes fit.
/// Threads:   any; nothing waits.
/// Bounds:    queue_count_limit queues, records of removed ones included.
class NodePools {
 public:
  struct Pool {
    std::uint64_t id = 0;
    std::string name = {};
    std::vector<PoolQueue> open = {};  ///< those of its queues that are not paused
    std::vector<std::string> queues = {};
    std::size_t concurrency = 0;
    std::shared_ptr<PoolHands> hands = {};
  };
  struct Queue {
    std::string name;
    bool open = true;
  };
  struct Plan {
    std::uint64_t version = 0;
    std::vector<Pool> pools;
    std::vector<Queue> queues;  ///< those that some pool serves
  };

  /// `with_threads`: some class needs them.
  NodePools(RuntimeBase& runtime, bool with_threads) : runtime_(runtime), with_threads_(with_threads) {}

  /// Errors: `configuration`, `already_exists`, `unavailable` when the threads cannot be started.
  [[nodiscard]] Result<void> add(PoolOptions pool);
  /// Errors: `not_found`.
  [[nodiscard]] Result<void> remove(std::string_view name);
  /// Errors: `not_found`, `configuration`, `unavailable`.
  [[nodiscard]] Result<void> resize(std::string_view name, std::size_t concurrency);
  /// From every pool; a pool without queues goes. Errors: `not_found`.
  [[nodiscard]] Result<void> remove_queue(std::string_view queue);
  [[nodiscard]] bool serves(std::string_view queue) const;
  /// False for a queue that no pool serves.
  [[nodiscard]] bool set_paused(std::string_view queue, bool paused);
  void set_quiet();

  [[nodiscard]] Plan plan() const;
  /// Of the latest change.
  [[nodiscard]] std::uint64_t version() const noexcept { return version_; }
  /// Nothing of `queue` runs any more. False when that was known, or the queue is open again.
  [[nodiscard]] bool note_paused(const std::string& queue);
  /// Lifetime: of the node.
  [[nodiscard]] QueueRecord& record(const std::string& queue);
  /// The pool's processes are gone: so are its threads, or they are given up.
  void pool_ended(const std::shared_ptr<PoolHands>& hands);

  [[nodiscard]] std::vector<QueueStats> queue_stats(std::string_view prefix) const;
  [[nodiscard]] std::vector<PoolStats> pool_stats() const;
  [[nodiscard]] std::vector<RunningJob> running_jobs(std::string_view queue, std::size_t limit) const;
  [[nodiscard]] std::size_t running_count() const;
  /// At most `limit` of what runs, and in which process.
  [[nodiscard]] std::vector<RunView> runs(std::size_t limit) const;
  [[nodiscard]] bool runs_job(std::string_view jid) const;
  [[nodiscard]] bool quiet() const;

  /// Ends all threads; how many were given up, here and before.
  std::size_t stop_threads(Duration limit);

 private:
  struct PoolEntry {
    std::uint64_t id = 0;
    PoolOptions options;
    std::shared_ptr<PoolHands> hands;
  };
  struct QueueEntry {
    QueueRecord record;
    bool paused = false;
    bool settled = false;  // nothing of it ran any more since it was closed
  };

  [[nodiscard]] Result<void> check(PoolOptions& pool) const;
  [[nodiscard]] Result<std::size_t> thread_count(const PoolOptions& pool) const;
  [[nodiscard]] Result<void> check_new(const PoolOptions& pool) const DAGVERK_REQUIRES(mutex_);
  [[nodiscard]] PoolEntry* find(std::string_view name) DAGVERK_REQUIRES(mutex_);
  [[nodiscard]] bool served(std::string_view queue) const DAGVERK_REQUIRES(mutex_);
  [[nodiscard]] bool open(std::string_view queue) const DAGVERK_REQUIRES(mutex_);
  [[nodiscard]] std::vector<std::pair<std::string, std::shared_ptr<PoolHands>>> all_hands() const;

  RuntimeBase& runtime_;
  const bool with_threads_;
  mutable Mutex mutex_;
  std::atomic<std::uint64_t> version_{0};  // changed with the mutex held
  std::uint64_t last_id_ DAGVERK_GUARDED_BY(mutex_) = 0;
  bool quiet_ DAGVERK_GUARDED_BY(mutex_) = false;
  std::vector<PoolEntry> pools_ DAGVERK_GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<PoolHands>> ending_ DAGVERK_GUARDED_BY(mutex_);  // of pools that were removed
  std::map<std::string, QueueEntry, std::less<>> queues_ DAGVERK_GUARDED_BY(mutex_);
  std::size_t stuck_ DAGVERK_GUARDED_BY(mutex_) = 0;
};

}  // namespace dagverk::jobs
