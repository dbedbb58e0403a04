#pragma once

#include "dagverk/jobs/job_store.hpp"
#include "dagverk/runtime/runtime_base.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace dagverk::testing_jobs {

/// What a memory store keeps, and for how long. The defaults are those of the other stores.
struct MemoryStoreOptions {
  bool journal = true;
  std::size_t journal_rows_limit = 1'000'000;
  Duration journal_age_limit = std::chrono::hours(7 * 24);
  std::size_t dead_count_limit = 10'000;
  Duration dead_age_limit = std::chrono::hours(180 * 24);
  Duration lease = std::chrono::seconds(15);  ///< how long a node lives after its latest heartbeat
};

/// Jobs in the memory of one program: for tests, and the plainest account of what a store does.
///
/// Semantics: those of JobStore, but for what its medium cannot give: nothing is durable, and `backup` is
///            `unsupported`. Operations are done one after the other on a lane named `store_memory`, which a
///            deterministic runtime can hold back to show what a slow store does. Changes by any store on the same jobs
///            wake at once. `node_jobs` is as of now.
/// Units:     leases by the runtime's steady clock, everything else by its wall clock.
/// Threads:   as JobStore.
/// Bounds:    jobs and nodes: by memory alone. Operations that wait for the lane: one for each process that awaits one.
/// Lifetime:  goes before its runtime. Nodes that were registered through it and not retired count as dead from then
///            on.
class MemoryJobStore final : public jobs::JobStore {
 public:
  explicit MemoryJobStore(RuntimeBase& runtime, MemoryStoreOptions options = {});
  ~MemoryJobStore() override;

  /// Another store on the same jobs, as another OS process would have it. Lifetime: either may go first.
  [[nodiscard]] std::unique_ptr<MemoryJobStore> open_another(MemoryStoreOptions options = {}) const;

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
  class Desk;

  explicit MemoryJobStore(std::unique_ptr<Desk> desk);

  std::unique_ptr<Desk> desk_;
};

}  // namespace dagverk::testing_jobs
