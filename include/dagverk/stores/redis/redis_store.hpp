#pragma once

#include "dagverk/jobs/job_store.hpp"
#include "dagverk/runtime/runtime_base.hpp"
#include "dagverk/stores/redis/redis_options.hpp"

#include <memory>
#include <string_view>

namespace dagverk::stores {

namespace redis {
class Engine;
}

/// The store of many machines: a Redis server (6.2 or later), with the keys of Sidekiq. docs/reference/redis-keys.md.
///
/// Semantics: those of JobStore, with these differences. Jobs of a queue are taken in the order they came; priority is
///            not looked at. `durable` is what the server's persistence makes of it. Sidekiq may push to, and take
///            from, the same queues; what it does is seen when a job is next touched, and shows in the counts as moved
///            in or out. A jid is refused as a duplicate for `jid_memory`. The dead set is trimmed right after a
///            burial. A job that waits in a queue is found by its time when it was enqueued through Dagverk, else by
///            reading the queue; up to `search_limit`, then `too_large`.
/// Threads:   as JobStore. `open` and the destructor block: never on a scheduler thread. Operations that are started
///            together travel together.
/// Errors:    `open`: `unavailable`, `permission`, `configuration`, `unsupported` (a server before 6.2, a deterministic
///            runtime). Operations: what net::RedisClient says; `outcome_unknown` when the reply was lost.
/// Bounds:    those of `connection`.
/// Lifetime:  goes before its runtime, when no operation is under way.
class RedisStore final : public jobs::JobStore {
 public:
  /// Blocks until the server has answered, at most as long as its connection's timeouts say.
  [[nodiscard]] static Result<std::unique_ptr<RedisStore>> open(RuntimeBase& runtime, RedisStoreOptions options);
  ~RedisStore() override;

  Outcomes enqueue(std::vector<jobs::EnqueueRequest> jobs) override;
  Reply<std::vector<jobs::TakenJob>> take(jobs::TakeRequest request) override;
  [[nodiscard]] std::optional<WallTime> next_turn() const noexcept override;
  Outcomes settle(std::vector<jobs::Settlement> settlements) override;
  [[nodiscard]] bool keeps_metrics() const noexcept override;
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
  explicit RedisStore(std::unique_ptr<redis::Engine> engine) noexcept;

  std::unique_ptr<redis::Engine> engine_;
};

/// Opens the store that `url` names (`redis://…`, `rediss://…`, `unix://…`, `redis-sentinel://…`), with `options` for
/// everything else. Blocks. Errors: as RedisStore::open, and `configuration` when the URL is wrong.
[[nodiscard]] Result<std::unique_ptr<RedisStore>> open_redis_store(RuntimeBase& runtime, std::string_view url,
                                                                   RedisStoreOptions options = {});

}  // namespace dagverk::stores
