#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/jobs/store_types.hpp"
#include "dagverk/runtime/async.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace dagverk::jobs {

/// What one can wait for in a store.
enum class ChangeKind : std::uint8_t {
  ready,    ///< jobs came into a queue
  journal,  ///< rows came into the journal
};

/// Where jobs are kept: a small set of atomic operations on batches.
///
/// Semantics: at least once. Every operation is atomic as a whole; between two of them each job is in exactly one
///            state, and the counts of QueueCounts balance. What the operation changes, counts and journals is one
///            change. A job's journal row is written with the change it tells, unless the job or the store is not
///            journaled. Payloads are opaque and come back byte for byte; a payload that is no job hinders nobody.
/// Durable:   enqueue, settle, retry_now, remove and retire_node are on the disk when they return. A power loss may
///            undo the latest take, promote, renew_lease, register_node and rescue, which puts each job back where it
///            was before; never a durable operation that was told to have succeeded.
/// Threads:   from any process of the runtime that the store was opened with; several at once. Operations that a caller
///            starts one after the other without waiting may be done in any order.
/// Errors:    the operation changed nothing, except after `outcome_unknown`: then each operation says whether asking
///            again is safe. `unavailable`: not now, ask again. `store_full`, `io`, `malformed`: what the store's
///            medium says. `invalid_argument`, `too_large`: the batch breaks a bound of store_types.hpp. An item's own
///            fate is in its ItemOutcome, in the order of the batch.
/// Bounds:    a batch has 1 to batch_count_limit items; every listing, promotion, rescue and trim goes in slices.
/// Lifetime:  outlives the operations that were started on it.
class JobStore {
 public:
  template <class T>
  using Reply = Async<Result<T>>;
  using Outcomes = Async<Result<std::vector<ItemOutcome>>>;

  JobStore() = default;
  JobStore(const JobStore&) = delete;
  JobStore& operator=(const JobStore&) = delete;
  virtual ~JobStore() = default;

  // --- the life of a job ---

  /// Puts jobs at the end of their queues, or into the schedule when they have a `due`. `duplicate`: a job of that jid
  /// is in the store, in whatever state. Repeating is safe: what had happened the first time is a duplicate then,
  /// unless the job has finished meanwhile.
  [[nodiscard]] virtual Outcomes enqueue(std::vector<EnqueueRequest> jobs) = 0;

  /// Takes at most `max` jobs for a node: of the first queue that has some, then of the next. Within a queue: jobs that
  /// were given back, then by priority, then in order of arrival. Stops early after take_size_limit bytes. An empty
  /// answer means that all these queues are empty. Repeating after a lost answer takes other jobs; the first ones are
  /// rescued with the node. Errors: `refused` when the node is not registered (any more) or its lease has run out.
  [[nodiscard]] virtual Reply<std::vector<TakenJob>> take(TakeRequest request) = 0;

  /// Ends executions, each in its own way. `refused`: the token is not valid; nothing happened to that job, which is
  /// settled already or somebody else's. Repeating is safe: what had happened the first time is refused then.
  [[nodiscard]] virtual Outcomes settle(std::vector<Settlement> settlements) = 0;

  /// The scheduled and retrying jobs that are due at `now`, earliest first, at most `limit`. Changes nothing.
  [[nodiscard]] virtual Reply<DuePage> peek_due(WallTime now, std::size_t limit) = 0;

  /// Moves jobs that peek_due showed to the end of their queues, with the bytes given. `missing`: somebody else was
  /// first. So each is promoted exactly once, whoever tries, and repeating is safe.
  [[nodiscard]] virtual Outcomes promote(std::vector<Promotion> promotions) = 0;

  // --- nodes ---

  /// Makes this OS process known as a taker of jobs, with a lease from now on. Several may share a name: only the epoch
  /// counts. Repeating makes another node.
  [[nodiscard]] virtual Reply<NodeEpoch> register_node(NodeSpec spec) = 0;

  /// Prolongs the lease, and trims what is over its limits, in slices. Returns how many rows were trimmed.
  /// `detail`: replaces what was registered. Repeating is safe.
  /// Errors: `refused`: the node was found dead and its jobs are being rescued. Its tokens are worthless; stop its jobs
  ///         if that is possible, and register again.
  [[nodiscard]] virtual Reply<std::size_t> renew_lease(NodeEpoch node, std::optional<std::string> detail) = 0;

  /// Ends a node in order: its jobs go back to the front of their queues, attempt unchanged. Returns how many.
  /// Errors: `not_found` when it is not registered (any more), which after a lost answer means that it worked.
  [[nodiscard]] virtual Reply<std::size_t> retire_node(NodeEpoch node) = 0;

  /// Looks for nodes that died or whose lease has run out, and puts at most `limit` of their jobs back to the front of
  /// their queues. The rescue_count_limit-th rescue of a job within rescue_window puts it into the dead set instead.
  /// `rescuer` itself is passed over; 0: nobody is. Repeating is safe.
  [[nodiscard]] virtual Reply<RescueReport> rescue_dead_nodes(NodeEpoch rescuer, std::size_t limit) = 0;

  /// The registered nodes, at most 1000.
  [[nodiscard]] virtual Reply<std::vector<NodeInfo>> list_nodes() = 0;

  // --- for people and tools ---

  [[nodiscard]] virtual Reply<std::optional<StoredJob>> find(std::string jid) = 0;

  /// A page of the jobs in one state, from a cursor on. Its cost does not grow with the number of jobs.
  [[nodiscard]] virtual Reply<JobPage> list(ListQuery query) = 0;

  /// Moves scheduled, retrying or dead jobs to the end of their queues. `missing`: not there, or in its queue already;
  /// `running`: left alone. Repeating is safe.
  [[nodiscard]] virtual Outcomes retry_now(std::vector<RetryNow> jobs) = 0;

  /// Deletes jobs that no node is running. `detail` goes into their journal rows. Repeating is safe.
  [[nodiscard]] virtual Outcomes remove(std::vector<std::string> jids, std::string detail) = 0;

  /// Queues with their counts, by name, those after `after`, at most `limit`.
  [[nodiscard]] virtual Reply<std::vector<QueueInfo>> queues(std::string after, std::size_t limit) = 0;

  [[nodiscard]] virtual Reply<StoreTotals> totals() = 0;

  // --- what happened ---

  /// Journal rows after a cursor, in the order of the changes. A cursor stays good for ever, in every OS process.
  [[nodiscard]] virtual Reply<JournalPage> read_journal(JournalQuery query) = 0;

  /// The cursor of the newest row: read on from here to see only what happens from now on.
  [[nodiscard]] virtual Reply<JournalCursor> journal_end() = 0;

  /// How often something of that kind has happened, as far as this object knows. Only its changing means anything. To
  /// miss nothing: read this, look into the store, and if there was nothing wait for a change since what was read.
  /// Threads: any.
  [[nodiscard]] virtual std::uint64_t change_count(ChangeKind kind) const noexcept = 0;

  /// Waits until `change_count(kind)` differs from `seen`, at most `limit`; returns the count, which is `seen` when
  /// nothing happened. Changes made through this object wake at once; those of other OS processes as soon as the store
  /// documents. May wake without cause.
  [[nodiscard]] virtual Reply<std::uint64_t> wait_for_change(ChangeKind kind, std::uint64_t seen, Duration limit) = 0;
};

}  // namespace dagverk::jobs
