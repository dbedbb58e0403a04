#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/jobs/cron_entry.hpp"
#include "dagverk/jobs/limits.hpp"
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
  asked,    ///< somebody wants a running job cancelled
};

/// Where jobs are kept: a small set of atomic operations on batches.
///
/// Semantics: at least once. Every operation is atomic as a whole; between two of them each job is in exactly one
///            state, and the counts of QueueCounts balance. What the operation changes, counts and journals is one
///            change. A job's journal row is written with the change it tells, unless the job or the store is not
///            journaled. Payloads are opaque and come back byte for byte; a payload that is no job hinders nobody.
/// Durable:   enqueue, settle, retry_now, remove, fire_cron and retire_node are on the disk when they return. A power
///            loss may undo the latest take, promote, heartbeat, register_node and rescue, which puts each job back
///            where it was before; never a durable operation that was told to have succeeded.
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
  ///
  /// A job with a unique lock is put in if nobody holds its key, and holds it from then on, until what UniqueLock says
  /// happens to it, or its expiry has passed: then the key is free, whatever its job does. `locked`, or what its
  /// conflict rule says, when another job holds it; `duplicate` when the job itself does. A lock taken before the clock
  /// was put back begins anew when it is next met. A dead job that is retried by hand, or one that is restored, does
  /// not hold a key.
  ///
  /// A job that is to run now and finds its queue at its bound is `queue_full`, drops another one, or goes into another
  /// queue, as the bound says (see QueueBound); all but the first is `done`. The bound is asked after jid and key: what
  /// it refuses takes no key, and pushes nobody aside. A job that replaces another one of its queue needs no room.
  [[nodiscard]] virtual Outcomes enqueue(std::vector<EnqueueRequest> jobs) = 0;

  /// Takes at most `max` jobs for a node: of the first queue that has some, then of the next. Within a queue: jobs that
  /// were given back, then by priority, then in order of arrival. Stops early after take_size_limit bytes. No queue
  /// gives more than its limit allows. An empty answer means that all these queues are empty, paused or at their limit:
  /// a slot that becomes free there counts as ChangeKind::ready, and for tokens there is `next_turn`. Repeating after a
  /// lost answer takes other jobs; the first ones are rescued with the node. A store that reads payloads anyway may
  /// decode them, where the request allows it: see TakenJob::job. Errors: `refused` when the node is not
  /// registered (any more) or its lease ran out.
  [[nodiscard]] virtual Reply<std::vector<TakenJob>> take(TakeRequest request) = 0;

  /// When the first of the queues whose rates were found used up, by whoever took through this object, has a token
  /// again; nothing when there is none, or that is over. By the runtime's clock. Threads: any.
  [[nodiscard]] virtual std::optional<WallTime> next_turn() const noexcept { return std::nullopt; }

  /// Ends executions, each in its own way. `refused`: the token is not valid; nothing happened to that job, which is
  /// settled already or somebody else's. Repeating is safe: what had happened the first time is refused then.
  [[nodiscard]] virtual Outcomes settle(std::vector<Settlement> settlements) = 0;

  /// Whether `settle` looks at how long runs took. Never changes. Threads: any.
  [[nodiscard]] virtual bool keeps_metrics() const noexcept { return false; }

  /// The scheduled and retrying jobs that are due at `now`, earliest first, at most `limit`. Changes nothing.
  [[nodiscard]] virtual Reply<DuePage> peek_due(WallTime now, std::size_t limit) = 0;

  /// Moves jobs that peek_due showed to the end of their queues, with the bytes given. `missing`: somebody else was
  /// first. So each is promoted exactly once, whoever tries, and repeating is safe.
  [[nodiscard]] virtual Outcomes promote(std::vector<Promotion> promotions) = 0;

  // --- nodes ---

  /// Makes this OS process known as a taker of jobs, with a lease from now on. Several may share a name: only the epoch
  /// counts. Repeating makes another node.
  [[nodiscard]] virtual Reply<NodeEpoch> register_node(NodeSpec spec) = 0;

  /// Prolongs the lease, shows others what the node is and does, brings the signals that were sent to it, and trims
  /// what is over its limits, in slices. Repeating is safe: signals come again until a heartbeat says that they were
  /// seen.
  /// Errors: `refused`: the node was found dead and its jobs are being rescued. Its tokens are worthless; stop its jobs
  ///         if that is possible, and register again.
  [[nodiscard]] virtual Reply<HeartbeatReply> heartbeat(NodeEpoch node, Heartbeat beat) = 0;

  /// Asks something of the nodes of that identity; they hear it with their next heartbeat, or not at all when that does
  /// not come within node_signal_age_limit. `missing`: nobody of that identity is there. Repeating sends another one,
  /// which does no harm: quiet and stopping nodes stay so.
  [[nodiscard]] virtual Reply<ItemOutcome> send_signal(std::string identity, NodeSignal signal) = 0;

  /// Ends a node in order: its jobs go back to the front of their queues, attempt unchanged. Returns how many.
  /// Errors: `not_found` when it is not registered (any more), which after a lost answer means that it worked.
  [[nodiscard]] virtual Reply<std::size_t> retire_node(NodeEpoch node) = 0;

  /// Looks for nodes that died or whose lease has run out, and puts at most `limit` of their jobs back to the front of
  /// their queues. The rescue_count_limit-th rescue of a job within rescue_window puts it into the dead set instead.
  /// `rescuer` itself is passed over; 0: nobody is. Repeating is safe.
  [[nodiscard]] virtual Reply<RescueReport> rescue_dead_nodes(NodeEpoch rescuer, std::size_t limit) = 0;

  /// The registered nodes, and after them the foreign ones that can be seen, at most 1000.
  [[nodiscard]] virtual Reply<std::vector<NodeInfo>> list_nodes() = 0;

  /// What the nodes of that identity run: as of now, or of their latest heartbeat, as the store documents. At most
  /// `limit` (1..node_jobs_limit). Empty when nobody of that identity is there.
  [[nodiscard]] virtual Reply<std::vector<NodeJob>> node_jobs(std::string identity, std::size_t limit) = 0;

  // --- jobs that recur ---

  /// Adds an entry, or gives the one of that name another schedule, job or rule. Its pause stays, and so does its last
  /// slot; when schedule or zone change it goes forward to `entry.last_slot`, never back. False: it was just so before.
  /// Repeating is safe. Errors: `refused` when there are cron_entry_count_limit others.
  [[nodiscard]] virtual Reply<bool> put_cron(CronEntry entry) = 0;

  /// False: there is no such entry. Repeating is safe.
  [[nodiscard]] virtual Reply<bool> remove_cron(std::string name) = 0;

  [[nodiscard]] virtual Reply<CronTable> list_cron() = 0;

  /// From now on the entry's slots pass without a job, until it is resumed. False: it is paused already, and whose wish
  /// that was stays. Repeating is safe. Errors: `not_found`.
  [[nodiscard]] virtual Reply<bool> pause_cron(std::string name, std::string by, std::string reason) = 0;

  /// Ends a pause. What came meanwhile was not missed: the next slot is the first one from now on. False: it was not
  /// paused. Repeating is safe. Errors: `not_found`.
  [[nodiscard]] virtual Reply<bool> resume_cron(std::string name) = 0;

  /// Asks to be the one that fires, for so long (at most cron_lead_limit); asking again prolongs it, and zero gives it
  /// up. Only saves the others useless work: `fire_cron` decides. Repeating is safe.
  [[nodiscard]] virtual Reply<CronLead> lead_cron(std::string identity, Duration lease) = 0;

  /// Enqueues the jobs of a slot if the entry is still what the caller saw, so that no slot is ever fired twice,
  /// whoever tries. Repeating is safe: what had happened the first time is refused then.
  [[nodiscard]] virtual Reply<CronFired> fire_cron(CronFire fire) = 0;

  // --- limits ---

  /// Sets a limit of that scope and name, or changes it; what is used of it stays used. Holds from the next take on:
  /// what runs goes on, and of a bound from the next enqueue on: what waits stays. Makes the queue known that it
  /// diverts to. False: it was just so before. Repeating is safe. Errors: `invalid_argument`; `refused` when there are
  /// limit_count_limit others, or too many queues, or of two queues one diverts to the other, which diverts itself.
  [[nodiscard]] virtual Reply<bool> put_limit(Limit limit) = 0;

  /// False: there is no such limit. Repeating is safe.
  [[nodiscard]] virtual Reply<bool> remove_limit(LimitScope scope, std::string name) = 0;

  /// All limits, by scope and name, and how much of each is in use.
  [[nodiscard]] virtual Reply<std::vector<LimitInfo>> list_limits() = 0;

  /// Forgets what was used of a limit's rate: all tokens are there again. Slots stay in use while jobs run. False:
  /// there is no such limit. Repeating is safe.
  [[nodiscard]] virtual Reply<bool> reset_limit(LimitScope scope, std::string name) = 0;

  // --- what runs say ---

  /// Keeps what runs say about themselves: one record for each jid, of its latest execution, for record_age_limit after
  /// the last word, whether the job is still there or not. `refused`: a later execution has said something. Repeating
  /// is safe.
  [[nodiscard]] virtual Outcomes keep_records(std::vector<RecordUpdate> updates) = 0;

  // --- for people and tools ---

  /// The record of that jid; nothing when nobody said anything, or it is forgotten.
  [[nodiscard]] virtual Reply<std::optional<std::string>> read_record(std::string jid) = 0;

  [[nodiscard]] virtual Reply<std::optional<StoredJob>> find(std::string jid) = 0;

  /// A page of the jobs in one state, from a cursor on. Its cost does not grow with the number of jobs.
  [[nodiscard]] virtual Reply<JobPage> list(ListQuery query) = 0;

  /// Moves scheduled, retrying or dead jobs to the end of their queues. `missing`: not there, or in its queue already;
  /// `running`: left alone. Repeating is safe.
  [[nodiscard]] virtual Outcomes retry_now(std::vector<RetryNow> jobs) = 0;

  /// Deletes jobs that no node is running. `detail` goes into their journal rows. Repeating is safe.
  [[nodiscard]] virtual Outcomes remove(std::vector<std::string> jids, std::string detail) = 0;

  /// Cancels jobs. Those that wait (ready, scheduled, retrying) leave the store, counted as discarded: `done`. Of a
  /// `running` one the wish is kept: nodes hear of it with their heartbeats (HeartbeatReply::cancels) until it is
  /// forgotten, and who waits for ChangeKind::asked at once. `missing`: not there (any more), or dead; a wish that was
  /// kept is forgotten then. `detail` goes into the journal rows. Repeating is safe.
  [[nodiscard]] virtual Outcomes cancel(std::vector<std::string> jids, std::string detail) = 0;

  /// Who holds that unique key. Errors: `invalid_argument` for what cannot be one.
  [[nodiscard]] virtual Reply<std::optional<HeldLock>> find_lock(std::string key) = 0;

  /// The keys that are held, those first that expire first, behind a cursor (LockPage::next; empty: from the start).
  [[nodiscard]] virtual Reply<LockPage> list_locks(std::string cursor, std::size_t limit) = 0;

  /// Takes a key from whoever holds it; the job stays as it is. False: nobody did. Repeating is safe.
  [[nodiscard]] virtual Reply<bool> release_lock(std::string key) = 0;

  /// Forgets that these jobs are to be cancelled; the jobs themselves stay. `missing`: nobody wanted it. Repeating is
  /// safe.
  [[nodiscard]] virtual Outcomes forget_cancels(std::vector<std::string> jids) = 0;

  /// Moves ready, scheduled, retrying or dead jobs into other queues: a ready one to the end of the other queue, the
  /// others stay scheduled, retrying or dead. A payload that is a job names the new queue from then on; no other byte
  /// of it changes. `done` also for a job that is in that queue already; `running`: left alone. Repeating is safe.
  /// Errors: `invalid_argument` for what cannot be a queue's name; `refused` when there are too many queues.
  [[nodiscard]] virtual Outcomes move(std::vector<MoveJob> jobs) = 0;

  /// Deletes at most `limit` jobs that wait in a queue, those first that would be taken next; jobs that are running,
  /// scheduled, retrying or dead stay. Returns how many. 0: none was left. `detail` goes into their journal rows.
  /// Repeating after a lost answer deletes more.
  [[nodiscard]] virtual Reply<std::size_t> clear_queue(std::string queue, std::size_t limit, std::string detail) = 0;

  /// From now on no node takes jobs from this queue, until it is resumed; what is running goes on. Makes the queue
  /// known when it is not. Returns false when it was paused already: who, why and since stay as they were. Repeating
  /// is safe. Bounds: `by` has at most 255 bytes, `reason` at most 64 KiB.
  [[nodiscard]] virtual Reply<bool> pause_queue(std::string queue, std::string by, std::string reason) = 0;

  /// Ends a pause and wakes whoever waits for jobs. Returns false when the queue was not paused. Repeating is safe.
  [[nodiscard]] virtual Reply<bool> resume_queue(std::string queue) = 0;

  /// Queues with their counts, by name, those after `after`, at most `limit`.
  [[nodiscard]] virtual Reply<std::vector<QueueInfo>> queues(std::string after, std::size_t limit) = 0;

  [[nodiscard]] virtual Reply<StoreTotals> totals() = 0;

  /// Why the store's medium lets no job be taken or settled at present, as half a sentence for people; nothing when it
  /// does, or when that cannot be told without writing. Changes nothing.
  [[nodiscard]] virtual Reply<std::optional<std::string>> write_refusal() = 0;

  // --- whole stores ---

  /// Puts jobs where another store had them: state, bytes, times, rescues and reason as they were. Ready ones go to the
  /// end of their queues in the order given; running ones become ready, for whoever ran them is not here. Handles and
  /// nodes are not looked at. `duplicate` as for enqueue. Counted as enqueued; the journal row is that of the state,
  /// with `detail`. Repeating is safe.
  [[nodiscard]] virtual Outcomes restore(std::vector<StoredJob> jobs, std::string detail) = 0;

  /// Looks through everything for what cannot be right, at most finding_count_limit findings, the worst kind first.
  /// Changes nothing. Slow: its cost grows with the store, and other operations of this object may wait for it.
  [[nodiscard]] virtual Reply<std::vector<StoreFinding>> check() = 0;

  /// Makes a copy from which the store could be opened again, as of one moment, while others go on working. Returns
  /// where it is. `file`: where to; it must not exist. A server that saves to its own disk wants it empty, and decides
  /// where. Slow, as `check`. Errors: `already_exists`; `invalid_argument` for a file that is not wanted, or missing.
  [[nodiscard]] virtual Reply<std::string> backup(std::string file) = 0;

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
