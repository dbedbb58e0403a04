#pragma once

#include "stores/sqlite/database.hpp"
#include "stores/sqlite/doorbell.hpp"
#include "stores/sqlite/node_lock.hpp"
#include "stores/sqlite/operations.hpp"

#include "dagverk/base/boot_clock.hpp"
#include "dagverk/base/clock.hpp"
#include "dagverk/base/log.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/jobs/detail/next_turn.hpp"
#include "dagverk/jobs/limits.hpp"
#include "dagverk/jobs/store_types.hpp"
#include "dagverk/stores/sqlite/sqlite_options.hpp"

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace dagverk::stores {

/// The whole of the store's behaviour, without threads: executes batches of operations, each batch in one transaction.
///
/// Semantics: `execute` applies the changing operations of a batch in order in one transaction, commits once, then
///            answers the reading ones, which therefore see all changes of their batch. An operation that SQLite cannot
///            do (no room, too large) does not fail the others: the batch is rolled back and done again one operation
///            at a time. A batch waits for the disk only if one of its operations is `durable`.
/// Threads:   one at a time.
/// Errors:    each operation gets its own result. A commit whose fate is unknown (the disk reported an error while
///            writing) gives `outcome_unknown`, and the file is opened anew before the next batch.
/// Lifetime:  borrows the clocks and the logger of its options.
class Engine {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Engine>> open(SqliteOptions options);
  /// On somebody else's connection, for `run_inside` only. Errors: `not_a_store`, `store_newer`, `unsupported`,
  /// `malformed`.
  [[nodiscard]] static Result<std::unique_ptr<Engine>> join(sqlite3* connection, SqliteOptions options);
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  /// Does not retire the nodes registered through it: whoever is next rescues their jobs.
  ~Engine();

  void execute(std::span<Request* const> batch);
  template <class Operation>
  [[nodiscard]] Result<typename Operation::Reply> run(Operation operation);

  /// Does an operation as part of the transaction that is open on the connection joined: all of it or nothing.
  /// Errors: `invalid_argument` when none is open.
  template <class Operation>
  [[nodiscard]] Result<typename Operation::Reply> run_inside(Operation operation);
  /// The transaction in which jobs became ready has been committed: rings the others.
  void ring_after_commit() noexcept;

  /// From now on batches are committed only. What is `durable` is so when a sync of the log that began after `execute`
  /// returned has succeeded; that and telling about it is the caller's part.
  void leave_syncs_to_caller() noexcept { sync_later_ = true; }
  /// Such a sync failed: the file is closed, and opened anew before the next batch.
  void distrust_log() noexcept;
  /// How often the file was opened: each time with another log, perhaps.
  [[nodiscard]] std::uint64_t open_count() const noexcept { return open_count_; }

  /// Moves the WAL into the database file when it has grown enough. Call between batches, when nobody waits.
  void checkpoint_if_due();

  /// Where the file really is; the files of nodes and doorbells are beside it.
  [[nodiscard]] const std::string& file_path() const noexcept { return file_path_; }

  /// What changed so far, as counts that only grow: commits that put jobs into queues, commits that wrote the journal,
  /// and commits that asked for a running job to be cancelled.
  struct Changes {
    std::uint64_t ready = 0;
    std::uint64_t journal = 0;
    std::uint64_t asked = 0;
  };
  /// Counts changes by this engine only.
  [[nodiscard]] Changes changes() const noexcept { return changes_; }
  /// As JobStore::next_turn. Threads: any.
  [[nodiscard]] std::optional<WallTime> next_turn() const noexcept { return next_turn_.get(); }
  /// Asks whether other connections have committed since the last call, and counts what they changed. False: they have
  /// not.
  bool look_for_foreign_commits();

  // One overload per operation. Called by execute() inside a transaction.
  Result<op::Enqueue::Reply> apply(const op::Enqueue& operation);
  Result<op::Take::Reply> apply(const op::Take& operation);
  Result<op::Settle::Reply> apply(const op::Settle& operation);
  Result<op::PeekDue::Reply> apply(const op::PeekDue& operation);
  Result<op::Promote::Reply> apply(const op::Promote& operation);
  Result<op::RegisterNode::Reply> apply(const op::RegisterNode& operation);
  Result<op::Beat::Reply> apply(const op::Beat& operation);
  Result<op::SendSignal::Reply> apply(const op::SendSignal& operation);
  Result<op::RetireNode::Reply> apply(const op::RetireNode& operation);
  Result<op::Rescue::Reply> apply(const op::Rescue& operation);
  Result<op::ListNodes::Reply> apply(const op::ListNodes& operation);
  Result<op::NodeJobs::Reply> apply(const op::NodeJobs& operation);
  Result<op::PutCron::Reply> apply(const op::PutCron& operation);
  Result<op::RemoveCron::Reply> apply(const op::RemoveCron& operation);
  Result<op::ListCron::Reply> apply(const op::ListCron& operation);
  Result<op::PauseCron::Reply> apply(const op::PauseCron& operation);
  Result<op::ResumeCron::Reply> apply(const op::ResumeCron& operation);
  Result<op::LeadCron::Reply> apply(const op::LeadCron& operation);
  Result<op::FireCron::Reply> apply(const op::FireCron& operation);
  Result<op::PutLimit::Reply> apply(const op::PutLimit& operation);
  Result<op::RemoveLimit::Reply> apply(const op::RemoveLimit& operation);
  Result<op::ListLimits::Reply> apply(const op::ListLimits& operation);
  Result<op::ResetLimit::Reply> apply(const op::ResetLimit& operation);
  Result<op::Find::Reply> apply(const op::Find& operation);
  Result<op::List::Reply> apply(const op::List& operation);
  Result<op::MoveNow::Reply> apply(const op::MoveNow& operation);
  Result<op::Remove::Reply> apply(const op::Remove& operation);
  Result<op::Cancel::Reply> apply(const op::Cancel& operation);
  Result<op::FindLock::Reply> apply(const op::FindLock& operation);
  Result<op::ListLocks::Reply> apply(const op::ListLocks& operation);
  Result<op::ReleaseLock::Reply> apply(const op::ReleaseLock& operation);
  Result<op::ForgetCancels::Reply> apply(const op::ForgetCancels& operation);
  Result<op::KeepRecords::Reply> apply(const op::KeepRecords& operation);
  Result<op::ReadRecord::Reply> apply(const op::ReadRecord& operation);
  Result<op::Move::Reply> apply(const op::Move& operation);
  Result<op::ClearQueue::Reply> apply(const op::ClearQueue& operation);
  Result<op::PauseQueue::Reply> apply(const op::PauseQueue& operation);
  Result<op::ResumeQueue::Reply> apply(const op::ResumeQueue& operation);
  Result<op::Queues::Reply> apply(const op::Queues& operation);
  Result<op::Totals::Reply> apply(const op::Totals& operation);
  Result<op::Restore::Reply> apply(const op::Restore& operation);
  Result<op::Check::Reply> apply(const op::Check& operation);
  Result<op::Backup::Reply> apply(const op::Backup& operation);
  Result<op::ReadJournal::Reply> apply(const op::ReadJournal& operation);
  Result<op::JournalEnd::Reply> apply(const op::JournalEnd& operation);
  Result<op::AddBell::Reply> apply(const op::AddBell& operation);
  Result<op::RemoveBell::Reply> apply(const op::RemoveBell& operation);

 private:
  struct Statements;
  struct Queue;
  struct JobRow;
  struct Claim;
  struct CronRow;
  struct KeyedJob;
  struct Taking;
  struct Admission;

  // Columns of dagverk_queue that count, in the order of the update statement.
  enum class Count : std::uint8_t {
    ready,
    scheduled,
    retrying,
    running,
    dead,
    enqueued,
    finished,
    discarded,
    expired,
    deleted,
    trimmed,
    moved_in,
    moved_out,
    retried,
    died,
    rescued,
    quarantined,
    refused,
    dropped,
    diverted,
  };
  static constexpr std::size_t count_kinds = 20;

  explicit Engine(SqliteOptions options);

  Result<void> connect();
  void disconnect() noexcept;

  // Transactions.
  void write(std::span<Request* const> batch);
  void read(std::span<Request* const> batch);
  void begin(bool durable);
  void read_meta();
  void write_counts();
  void write_journal_filters();
  void commit();
  void take_part(Request& request);
  void forget_transaction() noexcept;
  void forget_changes() noexcept;
  void note_changes(std::uint64_t ready_commits, std::uint64_t next_seq) noexcept;
  void update_bells();
  void ring_bells() noexcept;

  // Inside a write transaction.
  [[nodiscard]] Result<void> check_room(std::size_t size);
  [[nodiscard]] std::uint64_t next_id() noexcept;
  [[nodiscard]] Queue* find_queue(std::string_view name);
  [[nodiscard]] Result<Queue*> make_queue(std::string_view name);
  [[nodiscard]] Queue& queue_of(std::int64_t id);
  [[nodiscard]] bool is_paused(const Queue& queue);
  [[nodiscard]] std::int64_t find_job(std::string_view jid);  // 0: none
  void count(Queue& queue, Count what, std::int64_t by = 1);
  void count_state(Queue& queue, jobs::JobState state, std::int64_t by);
  /// What happened to a job: frees its lock, if that does, and goes into the journal.
  void journal(bool journaled, jobs::JournalKind kind, const Queue& queue, std::string_view jid,
               std::string_view class_name, std::string_view detail);
  void find_in_journal(const jobs::JournalQuery& query, jobs::JournalPage& page);
  [[nodiscard]] bool passes_block(std::int64_t block, std::string_view jid);
  [[nodiscard]] jobs::JournalRow journal_row(Use& use);
  [[nodiscard]] bool load_job(std::int64_t id, JobRow& row);
  [[nodiscard]] Result<void> check_node(jobs::NodeEpoch node);
  [[nodiscard]] std::optional<jobs::HeldLock> held_lock(std::string_view key);
  [[nodiscard]] jobs::ItemOutcome claim(const jobs::EnqueueRequest& request, bool bounded, Admission& admission);
  void reschedule(const JobRow& row, std::optional<WallTime> due, std::string_view detail);
  void free_lock(std::string_view jid, jobs::JournalKind kind);
  void forget_expired_locks(std::size_t limit);
  void keep_cancel(const JobRow& row);
  bool forget_cancel(std::string_view jid);
  void delete_job(const JobRow& row, Count as, jobs::JournalKind kind, std::string_view detail);
  [[nodiscard]] bool finish_claimed(const jobs::Settlement& settlement);
  void read_ready(const Queue& queue, jobs::NodeEpoch node, std::size_t count, Taking& taking);
  void remember_claims(const Taking& taking, std::size_t first, const Queue& queue);
  void settle_one(const jobs::Settlement& settlement, JobRow& row, Queue& target);
  [[nodiscard]] jobs::ItemOutcome make_ready(JobRow& row, const std::optional<std::string>& payload,
                                             jobs::JournalKind kind, std::string_view detail);
  void give_back(const JobRow& row, jobs::JournalKind kind, std::string_view detail);
  [[nodiscard]] std::size_t trim_dead(std::size_t limit);
  [[nodiscard]] std::size_t trim_journal(std::size_t limit, bool by_age);
  [[nodiscard]] bool is_dead(std::int64_t node, std::string_view lock_name, std::string_view boot_id,
                             std::int64_t lease_boot_us, bool marked);
  void hand_signals(std::string_view identity, std::uint64_t seen, jobs::HeartbeatReply& reply);
  [[nodiscard]] jobs::StoredJob stored_job(Use& row);
  [[nodiscard]] std::optional<CronRow> find_cron(std::string_view name);
  [[nodiscard]] std::uint64_t next_cron_revision();

  // Limits.
  using Limits = std::map<std::pair<jobs::LimitScope, std::string>, jobs::Limit>;
  [[nodiscard]] const Limits& limits();
  [[nodiscard]] const jobs::Limit* limit_of(jobs::LimitScope scope, std::string_view name);
  void limits_changed();
  void forget_meters(jobs::LimitScope scope, std::string_view name);
  [[nodiscard]] jobs::RateMeter meter_of(const jobs::Limit& limit, std::string_view key, std::int64_t now_us);
  void keep_meter(const jobs::Limit& limit, std::string_view key, const jobs::RateMeter& meter);
  [[nodiscard]] std::int64_t running_in(const Queue& queue);
  [[nodiscard]] std::size_t room_in(const Queue& queue, std::size_t wanted);
  void use_queue_tokens(const Queue& queue, std::size_t count);
  void free_queue_slot(const Queue& queue);
  [[nodiscard]] bool hold_back_some(Queue& queue, Taking& taking, std::size_t first);
  [[nodiscard]] std::optional<std::int64_t> turn_of(const jobs::Limit& limit, const KeyedJob& job,
                                                    std::int64_t running_too);
  void free_key_slot(std::string_view key);
  void look_again(jobs::LimitScope scope, std::string_view name);
  [[nodiscard]] std::vector<jobs::LimitUse> uses_of_keys(const jobs::Limit& limit, std::int64_t now_us);
  [[nodiscard]] jobs::LimitUse use_of_queue(const jobs::Limit& limit, std::int64_t now_us);
  void show_tokens(const jobs::Limit& limit, jobs::LimitUse& use, std::int64_t now_us);

  // Bounds of queues.
  [[nodiscard]] const jobs::QueueBound* bound_of(const Queue& queue);
  [[nodiscard]] std::int64_t waiting_in(const Queue& queue);
  void admit(Admission& admission, const JobRow* leaving);
  [[nodiscard]] jobs::ItemOutcome let_in(const jobs::EnqueueRequest& request, bool bounded, Admission& admission);
  void drop_oldest(Queue& queue, std::string_view jid);

  SqliteOptions options_;
  std::string file_path_;
  std::unique_ptr<Database> database_;
  std::uint64_t page_size_ = 4096;
  std::unique_ptr<Statements> statements_;
  bool suspect_ = false;  // the disk failed, and what the system still shows of the file may never reach it
  bool synced_ = true;    // the connection's synchronous level is FULL
  bool sync_later_ = false;
  std::uint64_t open_count_ = 0;
  std::int64_t data_version_ = 0;
  Changes changes_;
  std::uint64_t ready_commits_ = 0;  // as of the last transaction or look
  std::uint64_t seen_seq_ = 0;
  std::optional<BellRinger> ringer_;
  std::string own_bell_;
  std::vector<std::string> bells_;         // of others
  std::vector<std::string> silent_bells_;  // found gone, to be removed with the next transaction
  std::uint64_t bell_changes_ = ~std::uint64_t{0};
  std::map<jobs::NodeEpoch, NodeLock> locks_;  // of the nodes registered through this engine

  // Queues never disappear and never change their id, so what is committed may be remembered.
  std::unordered_map<std::string_view, Queue*> queues_by_name_;
  std::unordered_map<std::int64_t, std::unique_ptr<Queue>> queues_by_id_;

  // What was taken through this engine and not settled since, so that finishing it need not be preceded by a look. Only
  // a memory: the row decides.
  std::unordered_map<jobs::JobHandle, Claim> claims_;

  Limits limits_;  // as of limits_known_
  std::uint64_t limits_known_ = ~std::uint64_t{0};
  jobs::detail::NextTurn next_turn_;

  // The open write transaction.
  bool committing_ = false;
  std::uint64_t limit_changes_ = 0;
  bool limits_touched_ = false;    // by this transaction, which may yet be undone
  std::uint64_t newest_wish_ = 0;  // to cancel, as of the last look
  bool meta_changed_ = false;
  bool woke_ = false;
  bool woke_inside_ = false;  // in a transaction of somebody else's
  std::int64_t now_us_ = 0;
  std::int64_t boot_now_us_ = 0;
  std::uint64_t next_id_ = 0;
  std::uint64_t next_seq_ = 0;
  std::uint64_t first_seq_ = 0;  // what next_seq_ was when it began
  std::uint64_t new_bell_changes_ = 0;
  std::int64_t journal_rows_ = 0;
  std::int64_t dead_ = 0;
  std::int64_t queue_count_ = 0;
  std::size_t buried_ = 0;       // jobs this transaction put into the dead set
  std::int64_t duplicates_ = 0;  // what this transaction adds
  std::int64_t refused_ = 0;
  std::int64_t unique_held_ = 0;  // keys in the table
  std::int64_t unique_refused_ = 0;
  std::uint64_t journal_written_ = 0;
  std::vector<Queue*> touched_;
  std::vector<std::int64_t> made_queues_;
  std::vector<jobs::NodeEpoch> checked_nodes_;
  std::vector<std::pair<jobs::NodeEpoch, NodeLock>> new_locks_;
  std::vector<jobs::NodeEpoch> retired_nodes_;
  std::vector<std::string> stale_locks_;
};

template <class Operation>
void OperationRequest<Operation>::apply(Engine& engine) {
  result_ = engine.apply(operation_);
}

template <class Operation>
Result<typename Operation::Reply> Engine::run(Operation operation) {
  OperationRequest<Operation> request(std::move(operation));
  Request* const batch[] = {&request};
  execute(batch);
  return std::move(request.result());
}

template <class Operation>
Result<typename Operation::Reply> Engine::run_inside(Operation operation) {
  OperationRequest<Operation> request(std::move(operation));
  take_part(request);
  return std::move(request.result());
}

}  // namespace dagverk::stores
