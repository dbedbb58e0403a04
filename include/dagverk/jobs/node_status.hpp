#pragma once

#include "dagverk/base/clock.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// What a node tells others about itself with each heartbeat, and what they can tell it.
namespace dagverk::jobs {

/// What can be asked of a running node from outside. The numbers are stored.
enum class NodeSignal : std::uint8_t {
  quiet = 1,  ///< take no more jobs; there is no way back
  stop = 2,   ///< stop in order, as a worker does at SIGTERM
  dump = 3,   ///< write to the log what every running job is at
};

[[nodiscard]] std::string_view to_string(NodeSignal signal) noexcept;
/// As Sidekiq writes it: `TSTP`, `TERM`, `TTIN`.
[[nodiscard]] std::string_view wire_name(NodeSignal signal) noexcept;
/// None for anything else.
[[nodiscard]] std::optional<NodeSignal> node_signal_of(std::string_view wire_name) noexcept;

/// How a pool chooses among its queues: Sidekiq's words.
enum class QueueMode : std::uint8_t { strict, weighted, random };
[[nodiscard]] std::string_view to_string(QueueMode mode) noexcept;

struct ServedQueue {
  std::string name;
  std::size_t weight = 0;  ///< 0 in strict order

  friend bool operator==(const ServedQueue&, const ServedQueue&) = default;
};

struct PoolStatus {
  std::string name;
  std::size_t concurrency = 0;
  QueueMode mode = QueueMode::strict;
  std::vector<ServedQueue> queues;  ///< in order of preference

  friend bool operator==(const PoolStatus&, const PoolStatus&) = default;
};

/// What a node is and does, as its latest heartbeat said.
struct NodeStatus {
  std::string host;
  std::int64_t os_pid = 0;
  WallTime started_at{};
  std::string tag{};  ///< for people: which program, which release
  std::vector<std::string> labels{};
  std::string version{};
  std::size_t concurrency = 0;  ///< of all pools together
  std::vector<PoolStatus> pools{};
  bool embedded = false;  ///< it cannot be quieted or stopped from outside: that is up to the program it is part of

  bool quiet = false;
  std::uint64_t busy = 0;            ///< jobs that run
  std::uint64_t resident_bytes = 0;  ///< memory of its OS process
  Duration round_trip{};             ///< how long the store took for the heartbeat before

  friend bool operator==(const NodeStatus&, const NodeStatus&) = default;
};

/// A job that a node runs.
struct NodeJob {
  std::string worker;  ///< who runs it, unique in its node: a number in base 36
  std::string queue;
  std::string payload;
  WallTime started_at{};

  friend bool operator==(const NodeJob&, const NodeJob&) = default;
};

/// Everything that a node says about itself at regular times.
struct Heartbeat {
  NodeStatus status;
  std::vector<NodeJob> jobs;          ///< at most node_jobs_limit; `status.busy` says how many there are
  std::optional<std::string> detail;  ///< set: replaces what was registered; at most 64 KiB
  std::uint64_t signals_seen = 0;     ///< `HeartbeatReply::signals_number` of the last reply that arrived; 0: none yet
};

/// Somebody wants a job cancelled that ran when it was asked for.
struct CancelWish {
  std::string jid;
  std::string birth;  ///< `birth_of` its payload: a later job of this jid is not meant

  friend bool operator==(const CancelWish&, const CancelWish&) = default;
};

/// What a node has to know.
struct HeartbeatReply {
  std::size_t trimmed = 0;            ///< rows of dead set and journal that were over their limits
  std::vector<NodeSignal> signals{};  ///< in the order they were sent; those that `signals_seen` tells of are left out
  std::uint64_t signals_number = 0;
  /// Of all nodes' jobs, at most cancel_wishes_limit. They come again until they are forgotten.
  std::vector<CancelWish> cancels{};
};

inline constexpr std::size_t node_jobs_limit = 1000;
inline constexpr Duration node_signal_age_limit = std::chrono::seconds(60);  ///< then nobody is told any more
inline constexpr std::size_t cancel_wishes_limit = 1000;                     ///< in one answer
inline constexpr std::size_t node_signals_limit = 100;  ///< that wait for one node; the oldest go first

/// What Sidekiq calls a process' `info`: a JSON object of all that does not change with each heartbeat, for all its
/// versions. Texts that are not UTF-8 are scrubbed.
[[nodiscard]] std::string node_info_json(std::string_view identity, const NodeStatus& status);
/// Reads what `node_info_json` or a Sidekiq wrote. What is missing or of another form stays as it is by default.
[[nodiscard]] NodeStatus parse_node_info(std::string_view json);

/// A job as a value of Sidekiq's `ID:work`: `{"queue":…,"payload":"…","run_at":…}`. A payload of more than
/// work_payload_limit bytes is replaced by one without arguments.
[[nodiscard]] std::string node_job_json(const NodeJob& job);
/// None when it is no such object.
[[nodiscard]] std::optional<NodeJob> parse_node_job(std::string_view worker, std::string_view json);
inline constexpr std::size_t work_payload_limit = std::size_t{64} << 10U;

/// `number` in base 36, as Sidekiq writes its threads' names.
[[nodiscard]] std::string worker_name(std::uint64_t number);

}  // namespace dagverk::jobs
