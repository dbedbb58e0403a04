#pragma once

#include "dagverk/base/mutex.hpp"
#include "dagverk/runtime/pid.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace dagverk {

/// One process at one moment.
struct ProcessInfo {
  Pid pid;
  std::string kind;  ///< the server's type, or "process"
  std::string name;  ///< empty without a registered name
  bool running = false;
  std::uint64_t mailbox_depth = 0;
  std::uint64_t handled = 0;  ///< messages and signals since the slot was first used
  std::uint64_t dropped = 0;  ///< refused by the mailbox bound
};

/// One edge between two stages at one moment. Counts are events.
struct EdgeInfo {
  std::string name;  ///< "producer -> consumer"
  std::uint64_t asked = 0;
  std::uint64_t delivered = 0;
  std::uint64_t dropped = 0;
  std::uint64_t buffered = 0;
};

/// What a runtime looked like. Processes are read one after the other while they run, so figures of two of them need
/// not fit together.
struct Snapshot {
  std::vector<ProcessInfo> processes;
  std::vector<EdgeInfo> edges;
};

namespace detail {

/// The counters of one edge; written by the stage that owns it, read by snapshots.
struct EdgeCounters {
  explicit EdgeCounters(std::string edge_name) : name(std::move(edge_name)) {}

  const std::string name;
  std::atomic<std::uint64_t> asked{0};
  std::atomic<std::uint64_t> delivered{0};
  std::atomic<std::uint64_t> dropped{0};
  std::atomic<std::uint64_t> buffered{0};
  /// Events handed over to the other stage. What was neither delivered nor dropped of them counts as buffered. On a
  /// cache line of its own: the sending stage writes it, the receiving one the others.
  alignas(64) std::atomic<std::uint64_t> sent{0};
};

/// The edges of one runtime. An edge is listed for as long as somebody holds its counters.
class EdgeTable {
 public:
  /// Shared by the stage that counts and by snapshots; ends with the last of them.
  [[nodiscard]] std::shared_ptr<EdgeCounters> add(std::string name);
  [[nodiscard]] std::vector<EdgeInfo> list() const;

 private:
  mutable Mutex mutex_;
  mutable std::vector<std::weak_ptr<EdgeCounters>> edges_ DAGVERK_GUARDED_BY(mutex_);
};

}  // namespace detail
}  // namespace dagverk
