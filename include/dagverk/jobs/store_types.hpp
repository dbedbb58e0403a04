#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/jobs/job.hpp"
#include "dagverk/jobs/job_codec.hpp"
#include "dagverk/jobs/node_status.hpp"
#include "dagverk/jobs/unique_lock.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// The values that a `JobStore` takes and gives. To a store a job is opaque bytes beside the few fields it needs to
/// find it again; it needs to decode no payload.
namespace dagverk::jobs {

/// Where a job is. Each job is in exactly one state; finished, discarded, expired and deleted jobs are in none, only
/// counted.
enum class JobState : std::uint8_t {
  ready = 0,      ///< in its queue, waiting for a worker
  scheduled = 1,  ///< enqueued for later, waiting for its time
  retrying = 2,   ///< failed, waiting for its next attempt
  running = 3,    ///< taken by a node
  dead = 4,       ///< out of attempts, quarantined or malformed; waits for a person
};

[[nodiscard]] std::string_view to_string(JobState state) noexcept;

/// What a journal row says happened to a job. The numbers are stored; never reuse one.
enum class JournalKind : std::uint8_t {
  enqueued = 1,      ///< into its queue
  scheduled = 2,     ///< into the schedule
  started = 3,       ///< taken by a node
  finished = 4,      ///< acknowledged
  retried = 5,       ///< failed, waits for its next attempt
  snoozed = 6,       ///< asked to run again later, without having failed
  died = 7,          ///< into the dead set
  quarantined = 8,   ///< into the dead set because the nodes that ran it kept dying
  requeued = 9,      ///< given back unfinished, attempt unchanged
  rescued = 10,      ///< back in its queue because its node died
  promoted = 11,     ///< its time came: from schedule or retry into its queue
  retried_now = 12,  ///< a person moved it into its queue
  deleted = 13,      ///< a person removed it
  discarded = 14,    ///< dropped by its own wish or its class' rules
  expired = 15,      ///< dropped because it was too old to be worth running
  trimmed = 16,      ///< dropped from the dead set by its limits
  moved = 17,        ///< a person moved it into another queue, its state unchanged
  cancelled = 18,    ///< somebody had it cancelled, before it ran or while it did
  limited = 19,      ///< its key is at its limit: into the schedule, until its turn comes
  dropped = 20,      ///< made room for another: its queue was at its bound, whose rule is to drop
  diverted = 21,     ///< enqueued into this queue because its own was at its bound, its state unchanged
};

[[nodiscard]] std::string_view to_string(JournalKind kind) noexcept;

/// The state a job is in after `kind`, having been in `before` (which only `moved` leaves as it is); nothing when it
/// has left the store. Folding a job's journal with this gives its state.
[[nodiscard]] std::optional<JobState> state_after(JournalKind kind,
                                                  std::optional<JobState> before = std::nullopt) noexcept;

/// The longest lock that a job loses when `kind` happens to it, and it loses every shorter one; nothing when it keeps
/// what it holds.
[[nodiscard]] std::optional<LockUntil> lock_freed_by(JournalKind kind) noexcept;

/// Names a node (an OS process that takes jobs) for the life of its registration. Never reused in one store.
using NodeEpoch = std::uint64_t;

/// Names a stored job for as long as it stays where it is: any promotion gives it a new one. Never reused in one store.
using JobHandle = std::uint64_t;

/// The right to settle one execution of a job. Taking the job again, by whomever, makes older tokens invalid for ever.
struct ClaimToken {
  NodeEpoch node = 0;
  std::uint64_t execution = 0;
  JobHandle job = 0;

  friend bool operator==(const ClaimToken&, const ClaimToken&) = default;
};

/// What became of one item of a batch.
enum class ItemOutcome : std::uint8_t {
  done,       ///< happened, durably
  duplicate,  ///< refused and counted: a job with this jid is live or dead in the store
  refused,  ///< refused and counted: the token is not, or no longer, valid (settled already, or rescued from its owner)
  missing,  ///< nothing of that name is there (any more)
  running,  ///< left alone, because a node is running it
  locked,   ///< refused and counted: another job holds its unique key
  rescheduled,  ///< not put in: the waiting job that holds its unique key has got its time
  queue_full,   ///< refused and counted: its queue is at its bound
};

[[nodiscard]] std::string_view to_string(ItemOutcome outcome) noexcept;

/// A job to enqueue.
struct EnqueueRequest {
  std::string jid;                             ///< 1..255 bytes; unique among the jobs in the store
  std::string queue;                           ///< 1..255 bytes
  std::string class_name;                      ///< at most 255 bytes; for listings only
  std::string payload;                         ///< kept byte for byte
  std::optional<WallTime> due = std::nullopt;  ///< set: waits in the schedule until then; unset: into its queue now
  std::int16_t priority = 0;                   ///< -1000..1000; within one queue higher runs first
  bool journaled = true;                       ///< false: nothing that happens to this job is journalled
  std::string detail{};                        ///< JSON for the journal row; opaque to the store
  std::optional<UniqueLock> unique = std::nullopt;  ///< set: at most one job with this key
  std::string limit_key{};  ///< NAME or NAME:KEY, at most 255 bytes: kept to the key limit NAME; empty: to none
};

/// Which jobs a node wants.
struct TakeRequest {
  NodeEpoch node = 0;
  std::vector<std::string>
      queues;           ///< in order of preference; all jobs of the first are taken before any of the second
  std::size_t max = 1;  ///< at most this many jobs, 1..1000
  /// Within these limits jobs may come decoded, for whoever would read their payloads next. Unset: payloads only.
  std::optional<CodecOptions> decode = {};
};

/// A job in the hands of a node.
struct TakenJob {
  ClaimToken token;
  std::string jid;
  std::string queue;
  std::string class_name;
  std::string payload;
  WallTime enqueued_at;       ///< when it last came into its queue
  std::uint32_t rescues = 0;  ///< how often it was rescued from a dead node so far
  bool journaled = true;
  /// What `decode_job` makes of the payload within the limits of `TakeRequest::decode`; it has the bytes, and `payload`
  /// is empty then. Nothing when that was not asked for, when the store does not read payloads anyway, and when the
  /// payload is no job by these limits: why not, `decode_job` says.
  std::optional<Job> job = {};
};

/// How one execution ended. Build with the named functions.
struct Settlement {
  enum class Action : std::uint8_t { finish, retry, bury, discard, requeue };

  ClaimToken token;
  Action action = Action::finish;
  std::optional<std::string> payload = std::nullopt;  ///< retry, bury: the new bytes; unset keeps the old byte for byte
  WallTime due{};                                     ///< retry: when it may run again
  std::string queue{};   ///< retry, bury: the queue it belongs to from now on; empty keeps its own
  std::string reason{};  ///< bury: why, for people
  JournalKind kind = JournalKind::finished;
  std::string detail{};  ///< JSON for the journal row; opaque to the store
  /// For stores that keep metrics: the class that ran, and for how long. Empty: nothing ran, or nobody wants to know.
  std::string ran_class{};
  Duration ran_for{};

  /// Done: the job leaves the store.
  [[nodiscard]] static Settlement finish(ClaimToken token, std::string detail = {});
  /// Failed: waits until `due`, with its new bytes. `kind` may be `snoozed`.
  [[nodiscard]] static Settlement retry(ClaimToken token, std::string payload, WallTime due, std::string detail = {},
                                        JournalKind kind = JournalKind::retried);
  /// To the dead set. `kind` may be `quarantined`. Without `payload` the stored bytes stay as they are.
  [[nodiscard]] static Settlement bury(ClaimToken token, std::optional<std::string> payload, std::string reason,
                                       std::string detail = {}, JournalKind kind = JournalKind::died);
  /// Dropped: the job leaves the store. `kind` may be `expired` or `cancelled`.
  [[nodiscard]] static Settlement discard(ClaimToken token, std::string detail = {},
                                          JournalKind kind = JournalKind::discarded);
  /// Given back unfinished, bytes unchanged: it is the next one taken from its queue.
  [[nodiscard]] static Settlement requeue(ClaimToken token, std::string detail = {});
};

/// What a run says about itself; opaque to the store.
struct RecordUpdate {
  std::string jid;
  std::uint64_t execution = 0;  ///< of its token: a later one's word counts more
  std::string record;           ///< at most record_size_limit
};

/// A scheduled or retrying job whose time has come.
struct DueJob {
  JobHandle handle = 0;
  JobState state = JobState::scheduled;
  std::string jid;
  std::string queue;
  std::string class_name;
  std::string payload;
  WallTime due;
};

struct DuePage {
  std::vector<DueJob> jobs;                         ///< earliest first
  std::optional<WallTime> next_due = std::nullopt;  ///< when the earliest job not in `jobs` is due
};

/// Moves a due job into its queue if it is still where `peek_due` saw it.
struct Promotion {
  JobHandle handle = 0;
  std::optional<std::string> payload = std::nullopt;  ///< the new bytes; unset keeps the old
  std::string detail{};
};

/// Moves a scheduled, retrying or dead job into its queue on a person's wish.
struct RetryNow {
  std::string jid;
  std::optional<std::string> payload = std::nullopt;  ///< the new bytes; unset keeps the old
  std::string detail{};
};

/// Moves a waiting or dead job into another queue on a person's wish.
struct MoveJob {
  std::string jid;
  std::string queue;  ///< obeys check_queue_name
  std::string detail{};
};

/// A job as the store holds it.
struct StoredJob {
  JobHandle handle = 0;
  JobState state = JobState::ready;
  std::string jid;
  std::string queue;
  std::string class_name;
  std::string payload;
  std::int16_t priority = 0;
  bool journaled = true;
  WallTime enqueued_at;                               ///< when it last came into its queue, or into the schedule
  std::optional<WallTime> due = std::nullopt;         ///< scheduled, retrying: when; dead: when it died
  std::optional<WallTime> started_at = std::nullopt;  ///< running
  NodeEpoch node = 0;                                 ///< running: by whom
  std::uint32_t rescues = 0;
  std::string reason{};     ///< dead: why
  std::string limit_key{};  ///< empty: none
};

/// A page of jobs in one state: ready in the order they will be taken, the others by time.
struct ListQuery {
  JobState state = JobState::ready;
  std::string queue{};       ///< only this queue; empty: all
  std::string class_name{};  ///< only this class; empty: all
  std::string cursor{};      ///< `JobPage::next` of the page before; empty: from the start
  std::size_t limit = 100;   ///< 1..1000 jobs
};

struct JobPage {
  std::vector<StoredJob> jobs;
  /// Where to go on; empty when the end was reached. A page may be short, even empty, and still have a next: filters
  /// look at a bounded number of rows per call.
  std::string next{};
};

/// What one queue holds now, and what ever happened to the jobs that passed through it.
///
/// Semantics: enqueued + moved_in = finished + discarded + expired + deleted + trimmed + moved_out
///                                  + ready + scheduled + retrying + running + dead, after every operation.
struct QueueCounts {
  std::uint64_t ready = 0;
  std::uint64_t scheduled = 0;
  std::uint64_t retrying = 0;
  std::uint64_t running = 0;
  std::uint64_t dead = 0;

  std::uint64_t enqueued = 0;
  std::uint64_t finished = 0;
  std::uint64_t discarded = 0;
  std::uint64_t expired = 0;
  std::uint64_t deleted = 0;
  std::uint64_t trimmed = 0;
  std::uint64_t moved_in = 0;  ///< from other queues, by a move, or a retry or burial that named this one
  std::uint64_t moved_out = 0;

  std::uint64_t retried = 0;  ///< executions that ended in a retry
  std::uint64_t died = 0;     ///< executions that ended in the dead set, quarantined ones included
  std::uint64_t rescued = 0;  ///< executions that ended with their node
  std::uint64_t quarantined = 0;

  std::uint64_t refused = 0;   ///< enqueues that did not come in, because the queue was at its bound
  std::uint64_t dropped = 0;   ///< of the discarded: those that made room for others
  std::uint64_t diverted = 0;  ///< enqueues that went into another queue, because this one was at its bound

  [[nodiscard]] std::uint64_t live() const noexcept { return ready + scheduled + retrying + running; }
  [[nodiscard]] bool balanced() const noexcept {
    return enqueued + moved_in == finished + discarded + expired + deleted + trimmed + moved_out + live() + dead;
  }

  friend bool operator==(const QueueCounts&, const QueueCounts&) = default;
};

/// That nothing is taken from a queue, by whose wish and why.
struct QueuePause {
  std::string by;      ///< empty: another program's wish
  std::string reason;  ///< may be empty
  std::optional<WallTime> since = std::nullopt;

  friend bool operator==(const QueuePause&, const QueuePause&) = default;
};

struct QueueInfo {
  std::string name;
  QueueCounts counts;
  std::optional<WallTime> next_enqueued_at =
      std::nullopt;  ///< when the job to be taken next was enqueued; its age is the latency
  std::optional<QueuePause> pause = std::nullopt;  ///< set while the queue is paused everywhere
};

/// Sums over all queues, and what the store refused.
struct StoreTotals {
  QueueCounts counts;
  std::uint64_t duplicates = 0;  ///< enqueues refused because the jid was there
  std::uint64_t refused = 0;     ///< settlements refused because of their token
  std::uint64_t locked = 0;      ///< enqueues refused because another job held their unique key
  std::uint64_t journal_rows = 0;
  std::uint64_t queues = 0;
};

struct NodeSpec {
  std::string name;      ///< for people; need not be unique; at most 255 bytes
  std::string detail{};  ///< JSON for people (host, pid, socket); opaque to the store; at most 64 KiB
  /// By which others see and address the node: `host:os-pid:nonce`; at most 255 bytes. Empty: `node:EPOCH`. Unlike the
  /// name it must not be shared; a node that registers again keeps its own.
  std::string identity{};
};

struct NodeInfo {
  NodeEpoch epoch = 0;  ///< 0: foreign
  std::string name;     ///< foreign: its identity
  std::string detail;
  WallTime registered_at;
  Duration lease_left{};      ///< negative: expired
  std::uint64_t running = 0;  ///< jobs in its hands
  std::string identity{};
  /// True: another program's (Sidekiq's) that shares the store. It can be sent signals; its jobs are its own affair.
  bool foreign = false;
  std::optional<WallTime> beat_at = std::nullopt;  ///< of its latest heartbeat; none: it sent none yet
  NodeStatus status{};                             ///< as of then
};

struct RescuedJob {
  std::string jid;
  std::string queue;
  std::string class_name;
  NodeEpoch node = 0;        ///< from whom
  bool quarantined = false;  ///< true: to the dead set, because too many of its nodes died; false: back in its queue
};

struct RescueReport {
  std::vector<NodeEpoch>
      nodes;  ///< found dead; a node whose jobs are not all moved yet is named again by the next call
  std::vector<RescuedJob> jobs;
  bool more = false;  ///< call again at once
};

/// Position in the journal: everything up to and including it has been read.
using JournalCursor = std::uint64_t;

struct JournalQuery {
  JournalCursor after = 0;  ///< 0: from the oldest row kept
  std::size_t limit = 100;  ///< 1..1000 rows
  std::string jid{};        ///< only this job; empty: all
};

struct JournalRow {
  JournalCursor cursor = 0;
  JournalKind kind = JournalKind::enqueued;
  WallTime at;
  std::string jid;
  std::string queue;
  std::string class_name;
  std::string detail;  ///< JSON given by whoever caused the change; empty when the store itself did
};

struct JournalPage {
  std::vector<JournalRow> rows;  ///< in the order the changes happened
  JournalCursor next = 0;        ///< ask with this next time; may have moved even when `rows` is empty
  bool at_end = true;            ///< nothing newer was there
  bool gap = false;              ///< rows after the asked cursor were trimmed before they could be read
};

/// Something odd that JobStore::check found.
struct StoreFinding {
  enum class Level : std::uint8_t {
    damage,   ///< what is stored contradicts itself, or cannot be read
    warning,  ///< jobs may be lost, or are not looked at by anybody
    note,     ///< worth knowing
  };
  Level level = Level::note;
  std::string text;  ///< one sentence for people, with what to do about it

  friend bool operator==(const StoreFinding&, const StoreFinding&) = default;
};

[[nodiscard]] std::string_view to_string(StoreFinding::Level level) noexcept;

/// The limits every store keeps to. One place, so that callers can cut their batches to size.
inline constexpr std::size_t batch_count_limit = 1000;  ///< items in any batch, rows in any page
inline constexpr std::size_t take_size_limit = std::size_t{16}
                                               << 20U;  ///< payload bytes after which a take stops early
inline constexpr std::size_t name_size_limit = 255;     ///< jid, queue, class, node name
inline constexpr std::size_t detail_size_limit = std::size_t{64} << 10U;
inline constexpr std::size_t payload_size_limit = std::size_t{4}
                                                  << 20U;  ///< above the codec's limit: a retry adds error text
inline constexpr std::size_t record_size_limit = std::size_t{64} << 10U;
inline constexpr Duration record_age_limit = std::chrono::hours(7 * 24);
inline constexpr std::size_t queue_count_limit = 10'000;
inline constexpr std::size_t finding_count_limit = 100;
inline constexpr unsigned rescue_count_limit = 3;  ///< the third rescue within the window quarantines
inline constexpr Duration rescue_window = std::chrono::hours(72);

}  // namespace dagverk::jobs
