#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/jobs/node_options.hpp"
#include "dagverk/runtime/pid.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

/// What a node tells about its queues, pools and jobs while it works.
namespace dagverk::jobs {

/// What a node does with one of its queues (Verk's words).
enum class QueueState : std::uint8_t {
  running,  ///< takes its jobs, and some run
  idle,     ///< takes its jobs; none runs now
  pausing,  ///< takes none; some still run
  paused,   ///< takes none, and none runs
};

[[nodiscard]] std::string_view to_string(QueueState state) noexcept;

/// One queue on one node, since the node's start. The store's own counts are `JobStore::queues`.
struct QueueStats {
  std::string queue;
  QueueState state = QueueState::idle;
  std::uint64_t running = 0;
  std::uint64_t finished = 0;
  std::uint64_t failed = 0;  ///< runs that failed, whatever became of their jobs

  friend bool operator==(const QueueStats&, const QueueStats&) = default;
};

/// One pool as it is now.
struct PoolStats {
  std::string name;
  std::vector<PoolQueue> queues;
  std::size_t concurrency = 0;
  std::size_t running = 0;
  /// Of those, were asked to stop (their time is up, or they are cancelled) and have not ended yet. A `thread` job that
  /// never does keeps its place until the program ends: C++ threads cannot be ended from outside.
  std::size_t overdue = 0;
};

/// A job that runs now.
struct RunningJob {
  std::string jid;
  std::string job_class;
  std::string queue;  ///< from which it was taken
  std::string pool;
  std::uint32_t attempt = 1;
  WallTime started_at;
  std::string payload;          ///< as the store has it
  Pid process;                  ///< that runs it; a `thread` job has none of its own: the pool's
  bool stop_requested = false;  ///< its time is up, it is cancelled, or its node stops; it has not ended yet
};

}  // namespace dagverk::jobs
