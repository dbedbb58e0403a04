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
///            changes wake `wait_for_change` within `poll_interval`.
/// Threads:   as JobStore. `open` and the destructor block: never on a scheduler thread.
/// Errors:    `open`: `not_a_store`, `store_newer`, `permission`, `not_found` (the folder), `store_full`, `io`,
///            `malformed` (damaged); the message names the file. A file that is refused is left as it was.
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
  Outcomes settle(std::vector<jobs::Settlement> settlements) override;
  Reply<jobs::DuePage> peek_due(WallTime now, std::size_t limit) override;
  Outcomes promote(std::vector<jobs::Promotion> promotions) override;
  Reply<jobs::NodeEpoch> register_node(jobs::NodeSpec spec) override;
  Reply<std::size_t> renew_lease(jobs::NodeEpoch node, std::optional<std::string> detail) override;
  Reply<std::size_t> retire_node(jobs::NodeEpoch node) override;
  Reply<jobs::RescueReport> rescue_dead_nodes(jobs::NodeEpoch rescuer, std::size_t limit) override;
  Reply<std::vector<jobs::NodeInfo>> list_nodes() override;
  Reply<std::optional<jobs::StoredJob>> find(std::string jid) override;
  Reply<jobs::JobPage> list(jobs::ListQuery query) override;
  Outcomes retry_now(std::vector<jobs::RetryNow> jobs) override;
  Outcomes remove(std::vector<std::string> jids, std::string detail) override;
  Reply<std::vector<jobs::QueueInfo>> queues(std::string after, std::size_t limit) override;
  Reply<jobs::StoreTotals> totals() override;
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
