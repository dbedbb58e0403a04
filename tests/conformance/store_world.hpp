#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/jobs/job_store.hpp"
#include "dagverk/runtime/runtime_base.hpp"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace dagverk::conformance {

/// One open store, as a test sees it: every operation of `JobStore`, waited for.
class StoreSession {
 public:
  template <class T>
  using Batch = std::vector<T>;
  using Outcomes = Result<std::vector<jobs::ItemOutcome>>;

  StoreSession(RuntimeBase& runtime, std::unique_ptr<jobs::JobStore> store)
      : runtime_(runtime), store_(std::move(store)) {}

  Outcomes enqueue(Batch<jobs::EnqueueRequest> jobs) { return runtime_.run(store_->enqueue(std::move(jobs))); }
  Result<Batch<jobs::TakenJob>> take(jobs::TakeRequest request) {
    return runtime_.run(store_->take(std::move(request)));
  }
  Outcomes settle(Batch<jobs::Settlement> settlements) { return runtime_.run(store_->settle(std::move(settlements))); }
  Result<jobs::DuePage> peek_due(WallTime now, std::size_t limit) { return runtime_.run(store_->peek_due(now, limit)); }
  Outcomes promote(Batch<jobs::Promotion> promotions) { return runtime_.run(store_->promote(std::move(promotions))); }
  Result<jobs::NodeEpoch> register_node(jobs::NodeSpec spec) {
    return runtime_.run(store_->register_node(std::move(spec)));
  }
  Result<jobs::HeartbeatReply> heartbeat(jobs::NodeEpoch node, jobs::Heartbeat beat) {
    return runtime_.run(store_->heartbeat(node, std::move(beat)));
  }
  /// The least that a node can say.
  Result<jobs::HeartbeatReply> renew_lease(jobs::NodeEpoch node) { return heartbeat(node, {}); }
  Result<jobs::ItemOutcome> send_signal(std::string identity, jobs::NodeSignal signal) {
    return runtime_.run(store_->send_signal(std::move(identity), signal));
  }
  Result<Batch<jobs::NodeJob>> node_jobs(std::string identity, std::size_t limit = jobs::node_jobs_limit) {
    return runtime_.run(store_->node_jobs(std::move(identity), limit));
  }
  Result<std::size_t> retire_node(jobs::NodeEpoch node) { return runtime_.run(store_->retire_node(node)); }
  Result<jobs::RescueReport> rescue_dead_nodes(jobs::NodeEpoch rescuer, std::size_t limit) {
    return runtime_.run(store_->rescue_dead_nodes(rescuer, limit));
  }
  Result<Batch<jobs::NodeInfo>> list_nodes() { return runtime_.run(store_->list_nodes()); }
  Result<bool> put_cron(jobs::CronEntry entry) { return runtime_.run(store_->put_cron(std::move(entry))); }
  Result<bool> remove_cron(std::string name) { return runtime_.run(store_->remove_cron(std::move(name))); }
  Result<jobs::CronTable> list_cron() { return runtime_.run(store_->list_cron()); }
  Result<bool> pause_cron(std::string name, std::string by = "ann", std::string reason = {}) {
    return runtime_.run(store_->pause_cron(std::move(name), std::move(by), std::move(reason)));
  }
  Result<bool> resume_cron(std::string name) { return runtime_.run(store_->resume_cron(std::move(name))); }
  Result<jobs::CronLead> lead_cron(std::string identity, Duration lease) {
    return runtime_.run(store_->lead_cron(std::move(identity), lease));
  }
  Result<jobs::CronFired> fire_cron(jobs::CronFire fire) { return runtime_.run(store_->fire_cron(std::move(fire))); }
  Result<bool> put_limit(jobs::Limit limit) { return runtime_.run(store_->put_limit(std::move(limit))); }
  Result<bool> remove_limit(jobs::LimitScope scope, std::string name) {
    return runtime_.run(store_->remove_limit(scope, std::move(name)));
  }
  Result<bool> reset_limit(jobs::LimitScope scope, std::string name) {
    return runtime_.run(store_->reset_limit(scope, std::move(name)));
  }
  Result<Batch<jobs::LimitInfo>> list_limits() { return runtime_.run(store_->list_limits()); }
  Result<std::optional<jobs::StoredJob>> find(std::string jid) { return runtime_.run(store_->find(std::move(jid))); }
  Result<jobs::JobPage> list(jobs::ListQuery query) { return runtime_.run(store_->list(std::move(query))); }
  Outcomes retry_now(Batch<jobs::RetryNow> jobs) { return runtime_.run(store_->retry_now(std::move(jobs))); }
  Outcomes remove(Batch<std::string> jids) { return runtime_.run(store_->remove(std::move(jids), {})); }
  Outcomes cancel(Batch<std::string> jids, std::string detail = {}) {
    return runtime_.run(store_->cancel(std::move(jids), std::move(detail)));
  }
  Result<std::optional<jobs::HeldLock>> find_lock(std::string key) {
    return runtime_.run(store_->find_lock(std::move(key)));
  }
  Result<jobs::LockPage> list_locks(std::string cursor = {}, std::size_t limit = 100) {
    return runtime_.run(store_->list_locks(std::move(cursor), limit));
  }
  Result<bool> release_lock(std::string key) { return runtime_.run(store_->release_lock(std::move(key))); }
  Outcomes forget_cancels(Batch<std::string> jids) { return runtime_.run(store_->forget_cancels(std::move(jids))); }
  Outcomes keep_records(Batch<jobs::RecordUpdate> updates) {
    return runtime_.run(store_->keep_records(std::move(updates)));
  }
  Result<std::optional<std::string>> read_record(std::string jid) {
    return runtime_.run(store_->read_record(std::move(jid)));
  }
  Outcomes move(Batch<jobs::MoveJob> jobs) { return runtime_.run(store_->move(std::move(jobs))); }
  Result<std::size_t> clear_queue(std::string queue, std::size_t limit) {
    return runtime_.run(store_->clear_queue(std::move(queue), limit, {}));
  }
  Result<bool> pause_queue(std::string queue, std::string by = "ann", std::string reason = {}) {
    return runtime_.run(store_->pause_queue(std::move(queue), std::move(by), std::move(reason)));
  }
  Result<bool> resume_queue(std::string queue) { return runtime_.run(store_->resume_queue(std::move(queue))); }
  Result<Batch<jobs::QueueInfo>> queues(std::string after, std::size_t limit) {
    return runtime_.run(store_->queues(std::move(after), limit));
  }
  Outcomes restore(Batch<jobs::StoredJob> jobs, std::string detail = {}) {
    return runtime_.run(store_->restore(std::move(jobs), std::move(detail)));
  }
  Result<Batch<jobs::StoreFinding>> check() { return runtime_.run(store_->check()); }
  Result<std::string> backup(std::string file) { return runtime_.run(store_->backup(std::move(file))); }
  Result<jobs::StoreTotals> totals() { return runtime_.run(store_->totals()); }
  Result<std::optional<std::string>> write_refusal() { return runtime_.run(store_->write_refusal()); }
  Result<jobs::JournalPage> read_journal(jobs::JournalQuery query) {
    return runtime_.run(store_->read_journal(std::move(query)));
  }
  Result<jobs::JournalCursor> journal_end() { return runtime_.run(store_->journal_end()); }

  [[nodiscard]] RuntimeBase& runtime() noexcept { return runtime_; }
  [[nodiscard]] jobs::JobStore& store() noexcept { return *store_; }

 private:
  RuntimeBase& runtime_;
  std::unique_ptr<jobs::JobStore> store_;
};

/// What the suite may ask a store to be opened with.
struct StoreLimits {
  std::size_t dead_count_limit = 10'000;
  Duration dead_age_limit = std::chrono::hours(180 * 24);
  std::size_t journal_rows_limit = 1'000'000;
  Duration journal_age_limit = std::chrono::hours(7 * 24);
  bool journal = true;
};

/// One place where jobs are kept, empty at first, with its own time.
class StoreWorld {
 public:
  StoreWorld() = default;
  StoreWorld(const StoreWorld&) = delete;
  StoreWorld& operator=(const StoreWorld&) = delete;
  virtual ~StoreWorld() = default;

  /// One more user of the same data; several may be open at once.
  [[nodiscard]] virtual std::unique_ptr<StoreSession> open(StoreLimits limits) = 0;
  [[nodiscard]] std::unique_ptr<StoreSession> open() { return open(StoreLimits{}); }
  virtual void advance(Duration by) = 0;
  [[nodiscard]] virtual WallTime now() const = 0;
  [[nodiscard]] virtual Duration lease() const = 0;
};

/// A store under test, and what it declares that it cannot do.
struct StoreFactory {
  const char* name;
  std::unique_ptr<StoreWorld> (*make)();  ///< null: what it needs is not installed
  bool notices_death_at_once;             ///< false: only by its lease
  bool knows_priorities;                  ///< false: jobs of a queue are taken in the order they came
  bool makes_backups;                     ///< false: `backup` is `unsupported`
};

}  // namespace dagverk::conformance
