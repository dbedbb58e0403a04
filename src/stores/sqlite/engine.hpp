#pragma once

#include "stores/sqlite/database.hpp"
#include "stores/sqlite/node_lock.hpp"
#include "stores/sqlite/operations.hpp"

#include "dagverk/base/boot_clock.hpp"
#include "dagverk/base/clock.hpp"
#include "dagverk/base/log.hpp"
#include "dagverk/base/result.hpp"
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
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  /// Does not retire the nodes registered through it: whoever is next rescues their jobs.
  ~Engine();

  void execute(std::span<Request* const> batch);
  template <class Operation>
  [[nodiscard]] Result<typename Operation::Reply> run(Operation operation);

  /// Moves the WAL into the database file when it has grown enough. Call between batches, when nobody waits.
  void checkpoint_if_due();

  /// What changed so far, as counts that only grow: commits that put jobs into queues, and commits that wrote the
  /// journal.
  struct Changes {
    std::uint64_t ready = 0;
    std::uint64_t journal = 0;
  };
  /// Counts changes by this engine only.
  [[nodiscard]] Changes changes() const noexcept { return changes_; }
  /// Asks whether other connections have committed since the last call, and if so counts that as a change of both
  /// kinds.
  void look_for_foreign_commits();

  // One overload per operation. Called by execute() inside a transaction.
  Result<op::Enqueue::Reply> apply(const op::Enqueue& operation);
  Result<op::Take::Reply> apply(const op::Take& operation);
  Result<op::Settle::Reply> apply(const op::Settle& operation);
  Result<op::PeekDue::Reply> apply(const op::PeekDue& operation);
  Result<op::Promote::Reply> apply(const op::Promote& operation);
  Result<op::RegisterNode::Reply> apply(const op::RegisterNode& operation);
  Result<op::RenewLease::Reply> apply(const op::RenewLease& operation);
  Result<op::RetireNode::Reply> apply(const op::RetireNode& operation);
  Result<op::Rescue::Reply> apply(const op::Rescue& operation);
  Result<op::ListNodes::Reply> apply(const op::ListNodes& operation);
  Result<op::Find::Reply> apply(const op::Find& operation);
  Result<op::List::Reply> apply(const op::List& operation);
  Result<op::MoveNow::Reply> apply(const op::MoveNow& operation);
  Result<op::Remove::Reply> apply(const op::Remove& operation);
  Result<op::Queues::Reply> apply(const op::Queues& operation);
  Result<op::Totals::Reply> apply(const op::Totals& operation);
  Result<op::ReadJournal::Reply> apply(const op::ReadJournal& operation);
  Result<op::JournalEnd::Reply> apply(const op::JournalEnd& operation);

 private:
  struct Statements;
  struct Queue;
  struct JobRow;

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
  };
  static constexpr std::size_t count_kinds = 17;

  explicit Engine(SqliteOptions options);

  Result<void> connect();
  void disconnect() noexcept;

  // Transactions.
  void write(std::span<Request* const> batch);
  void read(std::span<Request* const> batch);
  void begin(bool durable);
  void commit();
  void forget_transaction() noexcept;

  // Inside a write transaction.
  [[nodiscard]] Result<void> check_room(std::size_t size);
  [[nodiscard]] std::uint64_t next_id() noexcept;
  [[nodiscard]] Queue* find_queue(std::string_view name);
  [[nodiscard]] Result<Queue*> make_queue(std::string_view name);
  [[nodiscard]] Queue& queue_of(std::int64_t id);
  void count(Queue& queue, Count what, std::int64_t by = 1);
  void count_state(Queue& queue, jobs::JobState state, std::int64_t by);
  void journal(bool journaled, jobs::JournalKind kind, const Queue& queue, std::string_view jid,
               std::string_view class_name, std::string_view detail);
  [[nodiscard]] bool load_job(std::int64_t id, JobRow& row);
  [[nodiscard]] Result<void> check_node(jobs::NodeEpoch node);
  void delete_job(const JobRow& row, Count as, jobs::JournalKind kind, std::string_view detail);
  void settle_one(const jobs::Settlement& settlement, JobRow& row, Queue& target);
  [[nodiscard]] jobs::ItemOutcome make_ready(JobRow& row, const std::optional<std::string>& payload,
                                             jobs::JournalKind kind, std::string_view detail);
  void give_back(const JobRow& row, jobs::JournalKind kind, std::string_view detail);
  [[nodiscard]] std::size_t trim_dead(std::size_t limit);
  [[nodiscard]] std::size_t trim_journal(std::size_t limit, bool by_age);
  [[nodiscard]] bool is_dead(std::int64_t node, std::string_view lock_name, std::string_view boot_id,
                             std::int64_t lease_boot_us, bool marked);
  [[nodiscard]] jobs::StoredJob stored_job(Use& row);

  SqliteOptions options_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<Statements> statements_;
  bool suspect_ = false;  // the disk failed, and what the system still shows of the file may never reach it
  bool synced_ = true;    // the connection's synchronous level is FULL
  std::int64_t data_version_ = 0;
  Changes changes_;
  std::map<jobs::NodeEpoch, NodeLock> locks_;  // of the nodes registered through this engine

  // Queues never disappear and never change their id, so what is committed may be remembered.
  std::unordered_map<std::string_view, Queue*> queues_by_name_;
  std::unordered_map<std::int64_t, std::unique_ptr<Queue>> queues_by_id_;

  // The open write transaction.
  bool committing_ = false;
  bool meta_changed_ = false;
  bool woke_ = false;
  std::int64_t now_us_ = 0;
  std::int64_t boot_now_us_ = 0;
  std::uint64_t next_id_ = 0;
  std::uint64_t next_seq_ = 0;
  std::int64_t journal_rows_ = 0;
  std::int64_t dead_ = 0;
  std::int64_t queue_count_ = 0;
  std::size_t buried_ = 0;       // jobs this transaction put into the dead set
  std::int64_t duplicates_ = 0;  // what this transaction adds
  std::int64_t refused_ = 0;
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

}  // namespace dagverk::stores
