#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/jobs/store_types.hpp"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace dagverk::conformance {

/// One open store, as a test sees it: every operation of `JobStore`, waited for.
class StoreSession {
 public:
  template <class T>
  using Batch = std::vector<T>;
  using Outcomes = Result<std::vector<jobs::ItemOutcome>>;

  StoreSession() = default;
  StoreSession(const StoreSession&) = delete;
  StoreSession& operator=(const StoreSession&) = delete;
  /// As the end of the OS process would: nodes are not retired.
  virtual ~StoreSession() = default;

  virtual Outcomes enqueue(Batch<jobs::EnqueueRequest> jobs) = 0;
  virtual Result<Batch<jobs::TakenJob>> take(jobs::TakeRequest request) = 0;
  virtual Outcomes settle(Batch<jobs::Settlement> settlements) = 0;
  virtual Result<jobs::DuePage> peek_due(WallTime now, std::size_t limit) = 0;
  virtual Outcomes promote(Batch<jobs::Promotion> promotions) = 0;
  virtual Result<jobs::NodeEpoch> register_node(jobs::NodeSpec spec) = 0;
  virtual Result<std::size_t> renew_lease(jobs::NodeEpoch node) = 0;
  virtual Result<std::size_t> retire_node(jobs::NodeEpoch node) = 0;
  virtual Result<jobs::RescueReport> rescue_dead_nodes(jobs::NodeEpoch rescuer, std::size_t limit) = 0;
  virtual Result<Batch<jobs::NodeInfo>> list_nodes() = 0;
  virtual Result<std::optional<jobs::StoredJob>> find(std::string jid) = 0;
  virtual Result<jobs::JobPage> list(jobs::ListQuery query) = 0;
  virtual Outcomes retry_now(Batch<jobs::RetryNow> jobs) = 0;
  virtual Outcomes remove(Batch<std::string> jids) = 0;
  virtual Result<Batch<jobs::QueueInfo>> queues(std::string after, std::size_t limit) = 0;
  virtual Result<jobs::StoreTotals> totals() = 0;
  virtual Result<jobs::JournalPage> read_journal(jobs::JournalQuery query) = 0;
  virtual Result<jobs::JournalCursor> journal_end() = 0;
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
  std::unique_ptr<StoreWorld> (*make)();
  bool notices_death_at_once;  ///< false: only by its lease
};

}  // namespace dagverk::conformance
