#pragma once

#include "dagverk/jobs/job_store.hpp"
#include "dagverk/runtime/runtime_base.hpp"
#include "dagverk/stores/sqlite/sqlite_options.hpp"

#include <memory>

namespace dagverk::stores {

/// The embedded store: one SQLite file, used by any number of OS processes of one machine.
///
/// Semantics: those of JobStore. Operations wait for a writer on a lane of its own; whatever waits is done in one
///            transaction (group commit), so that many callers share one wait for the disk. Other OS processes'
///            changes wake `wait_for_change` within about a millisecond of their commit: a store rings the doorbells
///            of those who wait, and commits by others are seen by a watch on the log. Without permission for either
///            (`store.doorbell_missing`, `store.watch_missing` in the log), within `poll_interval`.
/// Threads:   as JobStore. `open` and the destructor block: never on a scheduler thread.
/// Errors:    `open`: `not_a_store`, `store_newer`, `unsupported` (of an older version; see
///            sqlite_migration.hpp), `permission`, `not_found` (the folder), `store_full`, `io`, `malformed` (damaged);
///            the message names the file. A file that is refused is left as it was.
/// Bounds:    operations that wait for the writer: `waiting_count_limit`, `waiting_size_limit`; more are refused
///            with `unavailable`.
/// Lifetime:  goes before its runtime. The destructor does what was waiting first. Nodes that were not retired count as
///            dead from then on.
class SqliteStore final : public jobs::JobStore {
 public:
  /// Blocks. Creates the file when it is missing.
  [[nodiscard]] static Result<std::unique_ptr<SqliteStore>> open(RuntimeBase& runtime, SqliteOptions options);
  ~SqliteStore() override;

  Outcomes enqueue(std::vector<jobs::EnqueueRequest> jobs) override;
  Reply<std::vector<jobs::TakenJob>> take(jobs::TakeRequest request) override;
  [[nodiscard]] std::optional<WallTime> next_turn() const noexcept override;
  Outcomes settle(std::vector<jobs::Settlement> settlements) override;
  Reply<jobs::DuePage> peek_due(WallTime now, std::size_t limit) override;
  Outcomes promote(std::vector<jobs::Promotion> promotions) override;
  Reply<jobs::NodeEpoch> register_node(jobs::NodeSpec spec) override;
  Reply<jobs::HeartbeatReply> heartbeat(jobs::NodeEpoch node, jobs::Heartbeat beat) override;
  Reply<jobs::ItemOutcome> send_signal(std::string identity, jobs::NodeSignal signal) override;
  Reply<std::size_t> retire_node(jobs::NodeEpoch node) override;
  Reply<jobs::RescueReport> rescue_dead_nodes(jobs::NodeEpoch rescuer, std::size_t limit) override;
  Reply<std::vector<jobs::NodeInfo>> list_nodes() override;
  Reply<std::vector<jobs::NodeJob>> node_jobs(std::string identity, std::size_t limit) override;
  Reply<bool> put_cron(jobs::CronEntry entry) override;
  Reply<bool> remove_cron(std::string name) override;
  Reply<jobs::CronTable> list_cron() override;
  Reply<bool> pause_cron(std::string name, std::string by, std::string reason) override;
  Reply<bool> resume_cron(std::string name) override;
  Reply<jobs::CronLead> lead_cron(std::string identity, Duration lease) override;
  Reply<jobs::CronFired> fire_cron(jobs::CronFire fire) override;
  Reply<bool> put_limit(jobs::Limit limit) override;
  Reply<bool> remove_limit(jobs::LimitScope scope, std::string name) override;
  Reply<std::vector<jobs::LimitInfo>> list_limits() override;
  Reply<bool> reset_limit(jobs::LimitScope scope, std::string name) override;
  Reply<std::optional<jobs::StoredJob>> find(std::string jid) override;
  Reply<jobs::JobPage> list(jobs::ListQuery query) override;
  Outcomes retry_now(std::vector<jobs::RetryNow> jobs) override;
  Outcomes remove(std::vector<std::string> jids, std::string detail) override;
  Outcomes cancel(std::vector<std::string> jids, std::string detail) override;
  Reply<std::optional<jobs::HeldLock>> find_lock(std::string key) override;
  Reply<jobs::LockPage> list_locks(std::string cursor, std::size_t limit) override;
  Reply<bool> release_lock(std::string key) override;
  Outcomes forget_cancels(std::vector<std::string> jids) override;
  Outcomes keep_records(std::vector<jobs::RecordUpdate> updates) override;
  Reply<std::optional<std::string>> read_record(std::string jid) override;
  Outcomes move(std::vector<jobs::MoveJob> jobs) override;
  Reply<std::size_t> clear_queue(std::string queue, std::size_t limit, std::string detail) override;
  Reply<bool> pause_queue(std::string queue, std::string by, std::string reason) override;
  Reply<bool> resume_queue(std::string queue) override;
  Reply<std::vector<jobs::QueueInfo>> queues(std::string after, std::size_t limit) override;
  Reply<jobs::StoreTotals> totals() override;
  Reply<std::optional<std::string>> write_refusal() override;
  Outcomes restore(std::vector<jobs::StoredJob> jobs, std::string detail) override;
  Reply<std::vector<jobs::StoreFinding>> check() override;
  Reply<std::string> backup(std::string file) override;
  Reply<jobs::JournalPage> read_journal(jobs::JournalQuery query) override;
  Reply<jobs::JournalCursor> journal_end() override;
  [[nodiscard]] std::uint64_t change_count(jobs::ChangeKind kind) const noexcept override;
  Reply<std::uint64_t> wait_for_change(jobs::ChangeKind kind, std::uint64_t seen, Duration limit) override;

 private:
  class Writer;

  explicit SqliteStore(std::unique_ptr<Writer> writer) noexcept;

  std::unique_ptr<Writer> writer_;
};

}  // namespace dagverk::stores
