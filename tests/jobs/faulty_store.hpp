#pragma once

#include "dagverk/jobs/job_store.hpp"

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace dagverk::jobs {

/// Passes everything on to another store, except for what its rules fail.
///
/// Semantics: a rule is asked before every operation it is for, with the number of that operation, counted from 1.
///            `before`: nothing happens. `after`: it happens and its answer is lost, as `outcome_unknown`.
class FaultyStore final : public JobStore {
 public:
  enum class Fault { none, before, after };
  using Rule = std::function<Fault(std::size_t count)>;

  explicit FaultyStore(JobStore& store) : store_(store) {}

  Rule on_settle = nullptr;
  Rule on_take = nullptr;
  Rule on_promote = nullptr;
  Rule on_renew = nullptr;

  Outcomes enqueue(std::vector<EnqueueRequest> jobs) override { return store_.enqueue(std::move(jobs)); }
  Reply<std::vector<TakenJob>> take(TakeRequest request) override {
    return fail<std::vector<TakenJob>>(judge(on_take, takes_), store_.take(std::move(request)));
  }
  Outcomes settle(std::vector<Settlement> settlements) override {
    return fail<std::vector<ItemOutcome>>(judge(on_settle, settles_), store_.settle(std::move(settlements)));
  }
  Reply<DuePage> peek_due(WallTime now, std::size_t limit) override { return store_.peek_due(now, limit); }
  Outcomes promote(std::vector<Promotion> promotions) override {
    return fail<std::vector<ItemOutcome>>(judge(on_promote, promotes_), store_.promote(std::move(promotions)));
  }
  Reply<NodeEpoch> register_node(NodeSpec spec) override { return store_.register_node(std::move(spec)); }
  Reply<std::size_t> renew_lease(NodeEpoch node, std::optional<std::string> detail) override {
    return fail<std::size_t>(judge(on_renew, renewals_), store_.renew_lease(node, std::move(detail)));
  }
  Reply<std::size_t> retire_node(NodeEpoch node) override { return store_.retire_node(node); }
  Reply<RescueReport> rescue_dead_nodes(NodeEpoch rescuer, std::size_t limit) override {
    return store_.rescue_dead_nodes(rescuer, limit);
  }
  Reply<std::vector<NodeInfo>> list_nodes() override { return store_.list_nodes(); }
  Reply<std::optional<StoredJob>> find(std::string jid) override { return store_.find(std::move(jid)); }
  Reply<JobPage> list(ListQuery query) override { return store_.list(std::move(query)); }
  Outcomes retry_now(std::vector<RetryNow> jobs) override { return store_.retry_now(std::move(jobs)); }
  Outcomes remove(std::vector<std::string> jids, std::string detail) override {
    return store_.remove(std::move(jids), std::move(detail));
  }
  Reply<std::vector<QueueInfo>> queues(std::string after, std::size_t limit) override {
    return store_.queues(std::move(after), limit);
  }
  Reply<StoreTotals> totals() override { return store_.totals(); }
  Reply<JournalPage> read_journal(JournalQuery query) override { return store_.read_journal(std::move(query)); }
  Reply<JournalCursor> journal_end() override { return store_.journal_end(); }
  [[nodiscard]] std::uint64_t change_count(ChangeKind kind) const noexcept override {
    return store_.change_count(kind);
  }
  Reply<std::uint64_t> wait_for_change(ChangeKind kind, std::uint64_t seen, Duration limit) override {
    return store_.wait_for_change(kind, seen, limit);
  }

 private:
  static Fault judge(const Rule& rule, std::size_t& count) {
    ++count;
    return rule ? rule(count) : Fault::none;
  }
  template <class T>
  static Async<Result<T>> fail(Fault fault, Async<Result<T>> operation) {
    if (fault == Fault::before) co_return Error(ErrorCode::unavailable, "the store is away");
    Result<T> result = co_await operation;
    if (fault == Fault::after) co_return Error(ErrorCode::outcome_unknown, "the answer was lost");
    co_return result;
  }

  JobStore& store_;
  std::size_t takes_ = 0;
  std::size_t settles_ = 0;
  std::size_t promotes_ = 0;
  std::size_t renewals_ = 0;
};

}  // namespace dagverk::jobs
