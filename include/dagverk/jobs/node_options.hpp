#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/jobs/event_sink.hpp"
#include "dagverk/jobs/job_codec.hpp"
#include "dagverk/jobs/middleware.hpp"
#include "dagverk/jobs/retry_policy.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace dagverk {
class OsProcessSpawner;
}  // namespace dagverk

namespace dagverk::jobs {

inline constexpr std::size_t pool_concurrency_max = 100'000;
inline constexpr std::size_t pool_threads_max = 1024;
inline constexpr std::uint32_t queue_weight_max = 1000;

/// A queue that a pool serves: `"default"`, or with a weight `{"critical", 3}`.
struct PoolQueue {
  PoolQueue(std::string queue, std::uint32_t its_weight = 0)  // NOLINT(google-explicit-constructor): a name is a queue
      : name(std::move(queue)), weight(its_weight) {}
  PoolQueue(const char* queue, std::uint32_t its_weight = 0)  // NOLINT(google-explicit-constructor): as above
      : PoolQueue(std::string(queue), its_weight) {}

  std::string name;
  std::uint32_t weight = 0;  ///< 1..queue_weight_max; 0: none

  friend bool operator==(const PoolQueue&, const PoolQueue&) = default;
};

/// One pool: which queues it serves, and how many of their jobs run at once.
///
/// Semantics: without weights the queues are strictly ordered: all jobs of the first before any of the second. As soon
///            as one has a weight the order is drawn anew for each take, heavier queues being first more often:
///            `{{"critical", 3}, {"default", 1}}` looks into `critical` first three times out of four, and into the
///            other one when the first has too few (Sidekiq's two ways). A queue without a weight then weighs 1.
struct PoolOptions {
  std::string name = {};               ///< for people; empty: the first queue's. Unique in its node
  std::vector<PoolQueue> queues = {};  ///< each once; several pools of a node may serve one queue
  std::size_t concurrency = 10;        ///< 1..100,000 jobs of all kinds. Above 1024 say how many `threads` there are
  /// On which `thread` jobs run, 1..1024; those that find none free wait, and count as running. 0: as many as the
  /// concurrency. None is started when no class is a `thread` job.
  std::size_t threads = 0;
};

/// How a node works.
struct NodeOptions {
  std::vector<PoolOptions> pools = {};   ///< may be none: `Node::add_pool`
  std::string name = {};                 ///< for people; empty: the identity, `host:os-pid:nonce`
  std::string detail = {};               ///< JSON for people, listed with the node
  std::string tag = {};                  ///< for people, listed with the node: which program, which release
  std::vector<std::string> labels = {};  ///< for people, listed with the node
  std::string version = "dagverk";       ///< of the program, as Sidekiq's readers show it
  /// Called when somebody asks from outside that this node stop (NodeSignal::stop): have the program stop it. From a
  /// process of the runtime, so it must neither block nor throw. Empty: the node only goes quiet then, and is listed as
  /// embedded, since its end is up to the program it is part of.
  std::function<void()> on_stop_signal = {};

  Duration heartbeat = std::chrono::seconds(5);               ///< at most a third of the store's lease
  Duration rescue_interval = std::chrono::milliseconds(250);  ///< between looks for dead nodes
  Duration promotion_interval = std::chrono::seconds(1);      ///< the longest sleep while others may schedule jobs
  Duration poll_interval = std::chrono::seconds(10);          ///< idle queues are looked at, five pools each time
  Duration stop_timeout = std::chrono::seconds(25);           ///< for running jobs, when a supervisor stops the node
  Duration stop_grace = std::chrono::milliseconds(500);       ///< for cancelled runs to end, after stop's deadline

  std::vector<RunMiddleware> middleware = {};  ///< around every run; the first is the outermost

  /// Whether this node may be the one that enqueues the jobs that recur. Only if so does it put the entries of its
  /// registry into the store.
  bool cron = true;

  CodecOptions codec = {};
  BackOff backoff = BackOff::sidekiq;  ///< of classes and jobs that do not say how long a retry waits
  UnknownClass unknown_class = UnknownClass::retry;
  std::uint64_t seed = 0;               ///< of retries and of weighted queues; 0: from the operating system
  EventSink* events = nullptr;          ///< borrowed; null: nobody listens
  OsProcessSpawner* spawner = nullptr;  ///< borrowed, for command jobs; null: the node has its own
};

/// What a node has done since its start. Counts of runs, not of jobs.
struct NodeStats {
  std::uint64_t started = 0;
  std::uint64_t finished = 0;
  std::uint64_t retried = 0;
  std::uint64_t died = 0;
  std::uint64_t discarded = 0;
  std::uint64_t requeued = 0;
  std::uint64_t snoozed = 0;
  std::uint64_t expired = 0;
  std::uint64_t cancelled = 0;  ///< while they ran
  /// Ends that the store refused, because the job was somebody else's by then, or that were lost with a part that
  /// crashed. Those jobs run again.
  std::uint64_t lease_lost = 0;
  std::uint64_t rescued = 0;       ///< jobs of dead nodes put back
  std::uint64_t promoted = 0;      ///< due jobs put into their queues
  std::uint64_t store_errors = 0;  ///< operations that failed and were tried again
  std::uint64_t restarts = 0;      ///< of the whole pipeline, under a new epoch
};

/// What stopping a node had to leave behind.
struct NodeStopReport {
  NodeStats stats;
  std::uint64_t given_back = 0;  ///< jobs that did not end in time and went back to their queues
  std::size_t stuck = 0;         ///< `thread` jobs whose function has not returned; a program should leave by `_exit`
  bool retired = false;          ///< the node left the store in order; false: others rescue what it had
};

}  // namespace dagverk::jobs
