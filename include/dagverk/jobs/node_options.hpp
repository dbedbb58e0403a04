#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/jobs/event_sink.hpp"
#include "dagverk/jobs/job_codec.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace dagverk {
class OsProcessSpawner;
}  // namespace dagverk

namespace dagverk::jobs {

inline constexpr std::size_t pool_concurrency_max = 1024;

/// One pool: which queues it serves, and how many of their jobs run at once.
struct PoolOptions {
  std::string name = {};                 ///< for people; empty: the first queue's
  std::vector<std::string> queues = {};  ///< strictly ordered: all jobs of the first before any of the second
  std::size_t concurrency = 10;          ///< 1..1024. Exactly as many `thread` jobs run at once, each on a thread
};

/// How a node works.
struct NodeOptions {
  std::vector<PoolOptions> pools = {};
  std::string name = {};    ///< empty: `host:os-pid:nonce`. Never needs to come back: only the epoch counts
  std::string detail = {};  ///< JSON for people, listed with the node

  Duration heartbeat = std::chrono::seconds(5);               ///< at most a third of the store's lease
  Duration rescue_interval = std::chrono::milliseconds(250);  ///< between looks for dead nodes
  Duration promotion_interval = std::chrono::seconds(1);      ///< the longest sleep while others may schedule jobs
  Duration poll_interval = std::chrono::seconds(1);           ///< an idle queue is looked at this often, signal or not
  Duration stop_grace = std::chrono::milliseconds(500);       ///< for cancelled runs to end, after stop's deadline

  CodecOptions codec = {};
  std::uint64_t seed = 0;               ///< of the retries' random part; 0: from the operating system
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
