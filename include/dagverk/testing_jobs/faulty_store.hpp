#pragma once

#include "dagverk/jobs/job_store.hpp"

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace dagverk::testing_jobs {

/// The operations of a JobStore that can fail.
enum class StoreOperation : std::uint8_t {
  enqueue,
  take,
  settle,
  peek_due,
  promote,
  register_node,
  heartbeat,
  send_signal,
  retire_node,
  rescue_dead_nodes,
  list_nodes,
  node_jobs,
  put_cron,
  remove_cron,
  list_cron,
  pause_cron,
  resume_cron,
  lead_cron,
  fire_cron,
  put_limit,
  remove_limit,
  list_limits,
  reset_limit,
  find,
  list,
  retry_now,
  remove,
  cancel,
  find_lock,
  list_locks,
  release_lock,
  forget_cancels,
  keep_records,
  read_record,
  move,
  clear_queue,
  pause_queue,
  resume_queue,
  queues,
  totals,
  restore,
  check,
  backup,
  read_journal,
  journal_end,
};
inline constexpr std::size_t store_operation_count = static_cast<std::size_t>(StoreOperation::journal_end) + 1;

/// What becomes of one call.
enum class StoreFault : std::uint8_t {
  none,
  before,  ///< nothing happens: `unavailable`
  after,   ///< it happens, and its answer is lost: `outcome_unknown`
  stall,   ///< it happens later: see FaultyStore
};

/// Passes everything on to another store, except for what its rules fail.
///
///   FaultyStore store(real);
///   store.set_rule(StoreOperation::settle,
///                  [](std::size_t call) { return call == 2 ? StoreFault::after : StoreFault::none; });
///
/// Semantics: the rule of an operation is asked for each call, with the call's number, counted from 1 for each
///            operation. A call that stalls is passed on when `stall` has passed by the runtime's clock. Waiting for
///            changes and `write_refusal` never fail.
/// Threads:   rules are set before the store is used. They are asked by whoever calls the store, several at once.
/// Lifetime:  borrows the other store.
class FaultyStore : public jobs::JobStore {
 public:
  using Rule = std::function<StoreFault(std::size_t call)>;

  explicit FaultyStore(jobs::JobStore& store, Duration stall = std::chrono::seconds(60))
      : store_(store), stall_(stall) {}

  void set_rule(StoreOperation operation, Rule rule) { rule_of(operation) = std::move(rule); }
  /// One rule for every operation.
  void set_rule(const Rule& rule) { rules_.fill(rule); }
  /// How often the operation was called.
  [[nodiscard]] std::size_t calls(StoreOperation operation) const noexcept {
    return calls_[static_cast<std::size_t>(operation)];
  }

  Outcomes enqueue(std::vector<jobs::EnqueueRequest> jobs) override;
  Reply<std::vector<jobs::TakenJob>> take(jobs::TakeRequest request) override;
  [[nodiscard]] std::optional<WallTime> next_turn() const noexcept override;
  Outcomes settle(std::vector<jobs::Settlement> settlements) override;
  [[nodiscard]] bool keeps_metrics() const noexcept override { return store_.keeps_metrics(); }
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
  Reply<std::optional<std::string>> write_refusal() override { return store_.write_refusal(); }
  Outcomes restore(std::vector<jobs::StoredJob> jobs, std::string detail) override;
  Reply<std::vector<jobs::StoreFinding>> check() override;
  Reply<std::string> backup(std::string file) override;
  Reply<jobs::JournalPage> read_journal(jobs::JournalQuery query) override;
  Reply<jobs::JournalCursor> journal_end() override;
  [[nodiscard]] std::uint64_t change_count(jobs::ChangeKind kind) const noexcept override {
    return store_.change_count(kind);
  }
  Reply<std::uint64_t> wait_for_change(jobs::ChangeKind kind, std::uint64_t seen, Duration limit) override {
    return store_.wait_for_change(kind, seen, limit);
  }

 private:
  [[nodiscard]] Rule& rule_of(StoreOperation operation) { return rules_[static_cast<std::size_t>(operation)]; }
  /// Counts the call, and asks what becomes of it.
  StoreFault judge(StoreOperation operation);
  template <class T>
  Async<Result<T>> pass(StoreOperation operation, Async<Result<T>> call);

  jobs::JobStore& store_;
  const Duration stall_;
  std::array<Rule, store_operation_count> rules_;
  std::array<std::atomic<std::size_t>, store_operation_count> calls_{};
};

}  // namespace dagverk::testing_jobs
