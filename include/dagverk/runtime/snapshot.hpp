#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/mutex.hpp"
#include "dagverk/runtime/pid.hpp"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace dagverk {

/// What a process is doing.
enum class ProcessState : std::uint8_t {
  idle,     ///< has nothing to do
  ready,    ///< has messages and waits for a thread
  running,  ///< a thread runs it now
  waiting,  ///< its callback is suspended in a `co_await`
};

[[nodiscard]] std::string_view to_string(ProcessState state) noexcept;

/// One process at one moment. Counts are since its start.
struct ProcessInfo {
  Pid pid;
  std::string_view kind;  ///< the server's type, or "process"; like all names of types: valid for the program's life
  std::string name;       ///< the first it registered; empty without one
  ProcessState state = ProcessState::idle;
  Pid parent;                  ///< its supervisor, or who started it with a link; empty without one
  std::string child_id;        ///< what its supervisor calls it; empty without one
  std::uint64_t restarts = 0;  ///< how often its supervisor has started this child again
  std::uint64_t mailbox_depth = 0;
  std::uint32_t mailbox_high_water = 0;  ///< the most it found when it took messages; 0: never two; 65,535: or more
  std::uint64_t handled = 0;             ///< messages and signals
  std::uint64_t dropped = 0;             ///< refused by the mailbox bound
  /// How long it has kept a thread. On a Runtime: sampled every 20 ms per thread, so right on average, or to within a
  /// microsecond per turn with `RuntimeOptions::exact_busy_time`. On a DeterministicRuntime: zero.
  Duration busy{0};
  std::uint32_t links = 0;
  std::uint32_t monitors = 0;   ///< of others, by this process
  std::uint32_t monitored = 0;  ///< by others
  std::string_view handles;     ///< the type of the message it handles or, when waiting, has begun to; else empty
  Duration in_state{0};         ///< for how long, to within a tenth of a second: the callback, or nothing at all
};

/// Why events did not arrive.
enum class DropReason : std::uint8_t {
  buffer_full,        ///< a producer's or a partition's bounded buffer gave them up
  overflow,           ///< the subscription's overflow rule gave them up
  sampled,            ///< the rule `sample` passes only some
  coalesced,          ///< merged with a newer event of the same key
  spill_failed,       ///< the spill file could not be written or read
  unroutable,         ///< the partition dispatcher's hash threw, or named a partition that is not there
  partition_removed,  ///< queued for a partition without consumers when it was removed
  consumer_down,      ///< on their way to, or in the hands of, a consumer that ended
};
inline constexpr std::size_t drop_reason_count = 8;

[[nodiscard]] std::string_view to_string(DropReason reason) noexcept;

struct DropCount {
  DropReason reason;
  std::uint64_t count;
};

/// One edge between two stages at one moment. Counts are events.
struct EdgeInfo {
  std::string name;  ///< "producer -> consumer"
  std::uint64_t asked = 0;
  std::uint64_t delivered = 0;
  std::uint64_t dropped = 0;
  std::uint64_t buffered = 0;
  std::vector<DropCount> drops = {};  ///< `dropped` by reason; reasons without drops are left out
  /// Of a subscription: how long the oldest of its `buffered` events has been on its way; zero when there is none.
  /// Never less than that, and more by a tenth of a second or by a quarter of the longest lag since it was zero.
  Duration lag{0};
  /// Of a producer's buffer: for how long, in all, events have waited there. Of a subscription: for how long they did
  /// while it had asked for no more, so that it was among those that held them up. To within a tenth of a second each
  /// time.
  Duration blocked{0};
};

/// What a runtime looked like. Processes are read one after the other while they run, so figures of two of them need
/// not fit together.
struct Snapshot {
  std::vector<ProcessInfo> processes;  ///< the oldest slot first, which is roughly the order of their starts
  std::vector<EdgeInfo> edges;

  /// The process of `pid`; null when there is none. Looks at all of them.
  [[nodiscard]] const ProcessInfo* find(Pid pid) const noexcept;
  /// The processes whose parent is `parent`, in the snapshot's order; with an empty pid, those without one.
  [[nodiscard]] std::vector<const ProcessInfo*> children_of(Pid parent) const;
};

/// One line for a person: `dagverk::Supervisor #1 "tree" idle 1.5 s · handled 12 · …`. Zeros are left out.
[[nodiscard]] std::string to_text(const ProcessInfo& process);
/// The tree of processes, each below its parent, and the edges between stages. Those whose parent is not in the
/// snapshot stand at the left. At most `lines_max` processes; how many more there are is the last line.
[[nodiscard]] std::string to_text(const Snapshot& snapshot, std::size_t lines_max = 1000);

namespace detail {

/// When the events of one edge were sent, and for how long it has blocked.
///
/// Threads: the sending stage writes, snapshots read; `mutex` is taken once for each step of the coarse clock at most.
/// Bounds:  so many steps are remembered; when more are needed, the times between them grow.
struct EdgeTimes {
  /// From this time on, events were sent after so many others.
  struct Step {
    std::uint64_t began_ms;
    std::uint64_t sent_before;
  };
  static constexpr std::size_t steps_max = 16;

  std::uint64_t sent_ms = std::numeric_limits<std::uint64_t>::max();  // of the last step; the sending stage's own
  std::atomic<std::uint64_t> blocked_ms{0};
  std::atomic<std::uint64_t> blocked_since_ms{0};  // 0: it does not; else one more than that
  mutable Mutex mutex;
  std::array<Step, steps_max> steps DAGVERK_GUARDED_BY(mutex) = {};
  std::size_t step_count DAGVERK_GUARDED_BY(mutex) = 0;
};

/// What an edge is called. The text for two stages is made when somebody asks: there may be many, and few ever do.
class EdgeName {
 public:
  EdgeName(std::string text)  // NOLINT(google-explicit-constructor): a text is a name
      : name_(std::make_unique<const std::string>(std::move(text))) {}
  /// Two stages; the names of their types live as long as the program.
  EdgeName(const std::string_view& producer_kind, Pid producer, const std::string_view& consumer_kind, Pid consumer)
      : name_(Stages{&producer_kind, producer.number(), &consumer_kind, consumer.number()}) {}

  [[nodiscard]] std::string to_string() const;

 private:
  struct Stages {
    const std::string_view* producer_kind;
    std::uint64_t producer;
    const std::string_view* consumer_kind;
    std::uint64_t consumer;
  };
  std::variant<Stages, std::unique_ptr<const std::string>> name_;
};

/// The counters of one edge; written by the stage that owns it, read by snapshots.
struct EdgeCounters {
  using Drops = std::array<std::atomic<std::uint64_t>, drop_reason_count>;

  explicit EdgeCounters(EdgeName edge_name) noexcept : name(std::move(edge_name)) {}
  EdgeCounters(const EdgeCounters&) = delete;
  EdgeCounters& operator=(const EdgeCounters&) = delete;
  ~EdgeCounters() {
    delete drops.load(std::memory_order_relaxed);
    delete times.load(std::memory_order_relaxed);
  }

  /// Counts `count` events as dropped. One process alone calls this for one edge.
  void count_drop(DropReason reason, std::uint64_t count);
  /// Before events are sent, at `now_ms` of the runtime's coarse clock. Costs two loads but once for each of its steps.
  void note_sending(std::uint64_t now_ms) {
    const EdgeTimes* known = times.load(std::memory_order_relaxed);
    if (known == nullptr || known->sent_ms != now_ms) [[unlikely]]
      begin_step(now_ms);
  }
  /// From now on, events wait for this edge or do not. For the sending stage alone, as note_sending.
  void note_blocked(bool blocked, std::uint64_t now_ms);
  /// For how long the event has been on its way that is next when `done` are over; and how long this edge has blocked.
  [[nodiscard]] Duration lag_at(std::uint64_t done, std::uint64_t now_ms) const;
  [[nodiscard]] Duration blocked_at(std::uint64_t now_ms) const noexcept;

  // `asked` and `delivered` are written by the receiving stage at every step, `sent` by the sending one: they stand far
  // enough apart (64 bytes) to be on different cache lines wherever this object begins.
  std::atomic<std::uint64_t> asked{0};
  std::atomic<std::uint64_t> delivered{0};
  const EdgeName name;
  std::atomic<std::uint64_t> dropped{0};
  std::atomic<std::uint64_t> buffered{0};
  std::atomic<Drops*> drops{nullptr};      ///< made by the first drop: most edges never drop anything
  std::atomic<EdgeTimes*> times{nullptr};  ///< made by the first event: many subscriptions are idle
  /// Events handed over to the other stage. What was neither delivered nor dropped of them counts as buffered.
  std::atomic<std::uint64_t> sent{0};

 private:
  friend class SharedEdge;
  [[nodiscard]] EdgeTimes& made_times();
  void begin_step(std::uint64_t now_ms);

  std::atomic<std::uint32_t> holders_{1};
};

/// One holder of an edge's counters: the last one frees them. Smaller than a std::shared_ptr, and so are they.
///
/// Threads: each object one at a time; the holders of one edge any.
class SharedEdge {
 public:
  SharedEdge() noexcept = default;
  explicit SharedEdge(EdgeName name) : edge_(new EdgeCounters(std::move(name))) {}
  SharedEdge(const SharedEdge& other) noexcept : edge_(other.edge_) {
    if (edge_ != nullptr) edge_->holders_.fetch_add(1, std::memory_order_relaxed);  // there is one, which cannot leave
  }
  SharedEdge(SharedEdge&& other) noexcept : edge_(std::exchange(other.edge_, nullptr)) {}
  SharedEdge& operator=(SharedEdge other) noexcept {
    std::swap(edge_, other.edge_);
    return *this;
  }
  ~SharedEdge() {
    // What each holder has written is there for the last, who frees it.
    if (edge_ != nullptr && edge_->holders_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete edge_;
  }

  [[nodiscard]] EdgeCounters& operator*() const noexcept { return *edge_; }
  [[nodiscard]] EdgeCounters* operator->() const noexcept { return edge_; }
  /// Nobody else holds it, nor can again.
  [[nodiscard]] bool alone() const noexcept { return edge_->holders_.load(std::memory_order_acquire) == 1; }

 private:
  EdgeCounters* edge_ = nullptr;
};

/// The edges of one runtime. An edge is listed for as long as somebody else holds its counters, too.
///
/// Bounds: those that are over are let go when the table has doubled, or when it is listed.
class EdgeTable {
 public:
  [[nodiscard]] SharedEdge add(EdgeName name);
  /// As of `now_ms` of the coarse clock.
  [[nodiscard]] std::vector<EdgeInfo> list(std::uint64_t now_ms) const;

 private:
  void let_go() const DAGVERK_REQUIRES(mutex_);

  mutable Mutex mutex_;
  mutable std::vector<SharedEdge> edges_ DAGVERK_GUARDED_BY(mutex_);
  std::size_t sweep_at_ DAGVERK_GUARDED_BY(mutex_) = 16;
};

}  // namespace detail
}  // namespace dagverk
