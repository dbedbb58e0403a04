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
  Result<std::size_t> renew_lease(jobs::NodeEpoch node, std::optional<std::string> detail = {}) {
    return runtime_.run(store_->renew_lease(node, std::move(detail)));
  }
  Result<std::size_t> retire_node(jobs::NodeEpoch node) { return runtime_.run(store_->retire_node(node)); }
  Result<jobs::RescueReport> rescue_dead_nodes(jobs::NodeEpoch rescuer, std::size_t limit) {
    return runtime_.run(store_->rescue_dead_nodes(rescuer, limit));
  }
  Result<Batch<jobs::NodeInfo>> list_nodes() { return runtime_.run(store_->list_nodes()); }
  Result<std::optional<jobs::StoredJob>> find(std::string jid) { return runtime_.run(store_->find(std::move(jid))); }
  Result<jobs::JobPage> list(jobs::ListQuery query) { return runtime_.run(store_->list(std::move(query))); }
  Outcomes retry_now(Batch<jobs::RetryNow> jobs) { return runtime_.run(store_->retry_now(std::move(jobs))); }
  Outcomes remove(Batch<std::string> jids) { return runtime_.run(store_->remove(std::move(jids), {})); }
  Result<Batch<jobs::QueueInfo>> queues(std::string after, std::size_t limit) {
    return runtime_.run(store_->queues(std::move(after), limit));
  }
  Result<jobs::StoreTotals> totals() { return runtime_.run(store_->totals()); }
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
};

}  // namespace dagverk::conformance
