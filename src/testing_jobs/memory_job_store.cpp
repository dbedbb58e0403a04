#include "dagverk/testing_jobs/memory_job_store.hpp"

#include "testing_jobs/memory_jobs.hpp"

#include "dagverk/base/mutex.hpp"
#include "dagverk/runtime/completion.hpp"
#include "dagverk/runtime/external_lane.hpp"

#include <algorithm>
#include <atomic>
#include <deque>
#include <functional>
#include <utility>

namespace dagverk::testing_jobs {

namespace {

using Count = Result<std::uint64_t>;

/// The jobs, and who waits for a change of them. Shared by the stores on them and by the processes that wait, each of
/// which may be gone before the others.
struct Shared {
  struct Waiter {
    std::uint64_t number;
    jobs::ChangeKind kind;
    Completer<Count> completer;
  };

  Mutex mutex;
  MemoryJobs jobs DAGVERK_GUARDED_BY(mutex);
  std::vector<Waiter> waiters DAGVERK_GUARDED_BY(mutex);
  std::uint64_t last_number DAGVERK_GUARDED_BY(mutex) = 0;  // of waiters and of stores
  std::atomic<std::uint64_t> ready_count{0};                // counted under the mutex, read by anybody
  std::atomic<std::uint64_t> journal_count{0};
  std::atomic<std::uint64_t> asked_count{0};

  [[nodiscard]] std::atomic<std::uint64_t>& count(jobs::ChangeKind kind) noexcept {
    if (kind == jobs::ChangeKind::asked) return asked_count;
    return kind == jobs::ChangeKind::ready ? ready_count : journal_count;
  }
};

/// Counts what the latest operation changed, and takes out those who waited for it.
void count_changes(Shared& shared, std::vector<Shared::Waiter>& woken) DAGVERK_REQUIRES(shared.mutex) {
  const MemoryJobs::Changes changes = shared.jobs.take_changes();
  if (changes.ready) ++shared.ready_count;
  if (changes.journal) ++shared.journal_count;
  if (changes.asked) ++shared.asked_count;
  const auto [first, last] = std::ranges::partition(shared.waiters, [&](const Shared::Waiter& waiter) {
    if (waiter.kind == jobs::ChangeKind::asked) return !changes.asked;
    return !(waiter.kind == jobs::ChangeKind::ready ? changes.ready : changes.journal);
  });
  std::move(first, last, std::back_inserter(woken));
  shared.waiters.erase(first, last);
}

/// One process' wait for a change: known to others for as long as this lives.
class Wait {
 public:
  /// Completes at once when the count is not `seen` any more.
  Wait(std::shared_ptr<Shared> shared, jobs::ChangeKind kind, std::uint64_t seen, Completer<Count> completer)
      : shared_(std::move(shared)) {
    {
      const MutexLock lock(shared_->mutex);
      number_ = ++shared_->last_number;
      if (shared_->count(kind) == seen) {
        shared_->waiters.push_back({number_, kind, std::move(completer)});
        return;
      }
    }
    completer.complete(shared_->count(kind).load());
  }
  Wait(const Wait&) = delete;
  Wait& operator=(const Wait&) = delete;
  ~Wait() {
    std::vector<Shared::Waiter> gone;  // outlives the lock
    const MutexLock lock(shared_->mutex);
    const auto found = std::ranges::find(shared_->waiters, number_, &Shared::Waiter::number);
    if (found == shared_->waiters.end()) return;
    gone.push_back(std::move(*found));
    shared_->waiters.erase(found);
  }

 private:
  std::shared_ptr<Shared> shared_;  // with the store, which may end before a process that waits
  std::uint64_t number_ = 0;
};

}  // namespace

/// One store's way to the jobs: operations wait here for the lane, which does one after the other.
class MemoryJobStore::Desk {
 public:
  Desk(RuntimeBase& runtime, MemoryStoreOptions options, std::shared_ptr<Shared> shared)
      : runtime_(runtime), options_(options), shared_(std::move(shared)) {
    {
      const MutexLock lock(shared_->mutex);
      number_ = ++shared_->last_number;
    }
    lane_ = runtime.open_lane("store_memory", [this] { do_next(); });
  }
  Desk(const Desk&) = delete;
  Desk& operator=(const Desk&) = delete;
  ~Desk() {
    {
      const MutexLock lock(mutex_);
      closing_ = true;
    }
    lane_.reset();
    const MutexLock lock(shared_->mutex);
    shared_->jobs.end_nodes_of(number_);
  }

  template <class T>
  Async<Result<T>> ask(std::move_only_function<Result<T>(MemoryJobs&)> operation) {
    auto ends = make_completion<Result<T>>();
    {
      const MutexLock lock(mutex_);
      tasks_.emplace_back([this, operation = std::move(operation), completer = std::move(ends.completer)]() mutable {
        std::vector<Shared::Waiter> woken;
        Result<T> result = perform<T>(operation, woken);
        completer.complete(std::move(result));
        for (Shared::Waiter& waiter : woken) waiter.completer.complete(shared_->count(waiter.kind).load());
      });
    }
    lane_->ring();
    Result<T> result = co_await std::move(ends.completion);
    co_return result;
  }

  [[nodiscard]] std::uint64_t change_count(jobs::ChangeKind kind) const noexcept { return shared_->count(kind); }
  [[nodiscard]] std::optional<WallTime> next_turn() const noexcept {
    const MutexLock lock(shared_->mutex);
    return shared_->jobs.next_turn();
  }

  Async<Count> wait_for_change(jobs::ChangeKind kind, std::uint64_t seen, Duration limit) {
    const std::shared_ptr<Shared> shared = shared_;
    if (limit <= Duration::zero()) co_return shared->count(kind).load();
    auto ends = make_completion<Count>();
    const Wait wait(shared, kind, seen, std::move(ends.completer));
    auto bounded = std::move(ends.completion).within(std::min(limit, Duration(std::chrono::hours(24))));
    Count changed = co_await std::move(bounded);
    if (!changed && changed.error().code() == ErrorCode::timeout) co_return shared->count(kind).load();
    co_return changed;
  }

  [[nodiscard]] std::unique_ptr<Desk> open_another(MemoryStoreOptions options) const {
    return std::make_unique<Desk>(runtime_, options, shared_);
  }

 private:
  template <class T>
  Result<T> perform(std::move_only_function<Result<T>(MemoryJobs&)>& operation, std::vector<Shared::Waiter>& woken) {
    const MutexLock lock(shared_->mutex);
    shared_->jobs.begin(number_, options_, runtime_.clock().wall_now(), runtime_.clock().steady_now());
    Result<T> result = operation(shared_->jobs);
    count_changes(*shared_, woken);
    return result;
  }

  /// One operation a run, so that on a deterministic runtime anything may happen between two.
  void do_next() {
    while (true) {
      std::move_only_function<void()> task;
      {
        const MutexLock lock(mutex_);
        if (tasks_.empty()) return;
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      task();
      const MutexLock lock(mutex_);
      if (closing_) continue;
      if (!tasks_.empty()) lane_->ring();  // takes the lane's own lock for a moment, and runs nothing
      return;
    }
  }

  RuntimeBase& runtime_;
  const MemoryStoreOptions options_;
  const std::shared_ptr<Shared> shared_;  // with the other stores on the same jobs, and with whoever waits
  std::uint64_t number_ = 0;
  Mutex mutex_;
  std::deque<std::move_only_function<void()>> tasks_ DAGVERK_GUARDED_BY(mutex_);
  bool closing_ DAGVERK_GUARDED_BY(mutex_) = false;
  std::unique_ptr<ExternalLane> lane_;
};

MemoryJobStore::MemoryJobStore(RuntimeBase& runtime, MemoryStoreOptions options)
    : MemoryJobStore(std::make_unique<Desk>(runtime, options, std::make_shared<Shared>())) {}
MemoryJobStore::MemoryJobStore(std::unique_ptr<Desk> desk) : desk_(std::move(desk)) {}
MemoryJobStore::~MemoryJobStore() = default;

std::unique_ptr<MemoryJobStore> MemoryJobStore::open_another(MemoryStoreOptions options) const {
  return std::unique_ptr<MemoryJobStore>(new MemoryJobStore(desk_->open_another(options)));
}

using jobs::JobStore;

JobStore::Outcomes MemoryJobStore::enqueue(std::vector<jobs::EnqueueRequest> jobs) {
  return desk_->ask<std::vector<jobs::ItemOutcome>>(
      [jobs = std::move(jobs)](MemoryJobs& all) { return all.enqueue(jobs); });
}
JobStore::Reply<std::vector<jobs::TakenJob>> MemoryJobStore::take(jobs::TakeRequest request) {
  return desk_->ask<std::vector<jobs::TakenJob>>(
      [request = std::move(request)](MemoryJobs& all) { return all.take(request); });
}
std::optional<WallTime> MemoryJobStore::next_turn() const noexcept { return desk_->next_turn(); }
JobStore::Outcomes MemoryJobStore::settle(std::vector<jobs::Settlement> settlements) {
  return desk_->ask<std::vector<jobs::ItemOutcome>>(
      [settlements = std::move(settlements)](MemoryJobs& all) { return all.settle(settlements); });
}
JobStore::Reply<jobs::DuePage> MemoryJobStore::peek_due(WallTime now, std::size_t limit) {
  return desk_->ask<jobs::DuePage>([now, limit](MemoryJobs& all) { return all.peek_due(now, limit); });
}
JobStore::Outcomes MemoryJobStore::promote(std::vector<jobs::Promotion> promotions) {
  return desk_->ask<std::vector<jobs::ItemOutcome>>(
      [promotions = std::move(promotions)](MemoryJobs& all) { return all.promote(promotions); });
}
JobStore::Reply<jobs::NodeEpoch> MemoryJobStore::register_node(jobs::NodeSpec spec) {
  return desk_->ask<jobs::NodeEpoch>([spec = std::move(spec)](MemoryJobs& all) { return all.register_node(spec); });
}
JobStore::Reply<jobs::HeartbeatReply> MemoryJobStore::heartbeat(jobs::NodeEpoch node, jobs::Heartbeat beat) {
  return desk_->ask<jobs::HeartbeatReply>(
      [node, beat = std::move(beat)](MemoryJobs& all) { return all.heartbeat(node, beat); });
}
JobStore::Reply<jobs::ItemOutcome> MemoryJobStore::send_signal(std::string identity, jobs::NodeSignal signal) {
  return desk_->ask<jobs::ItemOutcome>(
      [identity = std::move(identity), signal](MemoryJobs& all) { return all.send_signal(identity, signal); });
}
JobStore::Reply<std::size_t> MemoryJobStore::retire_node(jobs::NodeEpoch node) {
  return desk_->ask<std::size_t>([node](MemoryJobs& all) { return all.retire_node(node); });
}
JobStore::Reply<jobs::RescueReport> MemoryJobStore::rescue_dead_nodes(jobs::NodeEpoch rescuer, std::size_t limit) {
  return desk_->ask<jobs::RescueReport>(
      [rescuer, limit](MemoryJobs& all) { return all.rescue_dead_nodes(rescuer, limit); });
}
JobStore::Reply<std::vector<jobs::NodeInfo>> MemoryJobStore::list_nodes() {
  return desk_->ask<std::vector<jobs::NodeInfo>>([](MemoryJobs& all) { return all.list_nodes(); });
}
JobStore::Reply<std::vector<jobs::NodeJob>> MemoryJobStore::node_jobs(std::string identity, std::size_t limit) {
  return desk_->ask<std::vector<jobs::NodeJob>>(
      [identity = std::move(identity), limit](MemoryJobs& all) { return all.node_jobs(identity, limit); });
}
JobStore::Reply<bool> MemoryJobStore::put_cron(jobs::CronEntry entry) {
  return desk_->ask<bool>(
      [entry = std::move(entry)](MemoryJobs& all) mutable { return all.put_cron(std::move(entry)); });
}
JobStore::Reply<bool> MemoryJobStore::remove_cron(std::string name) {
  return desk_->ask<bool>([name = std::move(name)](MemoryJobs& all) { return all.remove_cron(name); });
}
JobStore::Reply<jobs::CronTable> MemoryJobStore::list_cron() {
  return desk_->ask<jobs::CronTable>([](MemoryJobs& all) { return all.list_cron(); });
}
JobStore::Reply<bool> MemoryJobStore::pause_cron(std::string name, std::string by, std::string reason) {
  return desk_->ask<bool>(
      [name = std::move(name), by = std::move(by), reason = std::move(reason)](MemoryJobs& all) mutable {
        return all.pause_cron(name, std::move(by), std::move(reason));
      });
}
JobStore::Reply<bool> MemoryJobStore::resume_cron(std::string name) {
  return desk_->ask<bool>([name = std::move(name)](MemoryJobs& all) { return all.resume_cron(name); });
}
JobStore::Reply<jobs::CronLead> MemoryJobStore::lead_cron(std::string identity, Duration lease) {
  return desk_->ask<jobs::CronLead>(
      [identity = std::move(identity), lease](MemoryJobs& all) { return all.lead_cron(identity, lease); });
}
JobStore::Reply<jobs::CronFired> MemoryJobStore::fire_cron(jobs::CronFire fire) {
  return desk_->ask<jobs::CronFired>([fire = std::move(fire)](MemoryJobs& all) { return all.fire_cron(fire); });
}
JobStore::Reply<bool> MemoryJobStore::put_limit(jobs::Limit limit) {
  return desk_->ask<bool>([limit = std::move(limit)](MemoryJobs& all) { return all.put_limit(limit); });
}
JobStore::Reply<bool> MemoryJobStore::remove_limit(jobs::LimitScope scope, std::string name) {
  return desk_->ask<bool>([scope, name = std::move(name)](MemoryJobs& all) { return all.remove_limit(scope, name); });
}
JobStore::Reply<std::vector<jobs::LimitInfo>> MemoryJobStore::list_limits() {
  return desk_->ask<std::vector<jobs::LimitInfo>>([](MemoryJobs& all) { return all.list_limits(); });
}
JobStore::Reply<bool> MemoryJobStore::reset_limit(jobs::LimitScope scope, std::string name) {
  return desk_->ask<bool>([scope, name = std::move(name)](MemoryJobs& all) { return all.reset_limit(scope, name); });
}
JobStore::Reply<std::optional<jobs::StoredJob>> MemoryJobStore::find(std::string jid) {
  return desk_->ask<std::optional<jobs::StoredJob>>([jid = std::move(jid)](MemoryJobs& all) { return all.find(jid); });
}
JobStore::Reply<jobs::JobPage> MemoryJobStore::list(jobs::ListQuery query) {
  return desk_->ask<jobs::JobPage>([query = std::move(query)](MemoryJobs& all) { return all.list(query); });
}
JobStore::Outcomes MemoryJobStore::retry_now(std::vector<jobs::RetryNow> jobs) {
  return desk_->ask<std::vector<jobs::ItemOutcome>>(
      [jobs = std::move(jobs)](MemoryJobs& all) { return all.retry_now(jobs); });
}
JobStore::Outcomes MemoryJobStore::remove(std::vector<std::string> jids, std::string detail) {
  return desk_->ask<std::vector<jobs::ItemOutcome>>(
      [jids = std::move(jids), detail = std::move(detail)](MemoryJobs& all) { return all.remove(jids, detail); });
}
JobStore::Outcomes MemoryJobStore::cancel(std::vector<std::string> jids, std::string detail) {
  return desk_->ask<std::vector<jobs::ItemOutcome>>(
      [jids = std::move(jids), detail = std::move(detail)](MemoryJobs& all) { return all.cancel(jids, detail); });
}
JobStore::Reply<std::optional<jobs::HeldLock>> MemoryJobStore::find_lock(std::string key) {
  return desk_->ask<std::optional<jobs::HeldLock>>(
      [key = std::move(key)](MemoryJobs& all) { return all.find_lock(key); });
}
JobStore::Reply<jobs::LockPage> MemoryJobStore::list_locks(std::string cursor, std::size_t limit) {
  return desk_->ask<jobs::LockPage>(
      [cursor = std::move(cursor), limit](MemoryJobs& all) { return all.list_locks(cursor, limit); });
}
JobStore::Reply<bool> MemoryJobStore::release_lock(std::string key) {
  return desk_->ask<bool>([key = std::move(key)](MemoryJobs& all) { return all.release_lock(key); });
}
JobStore::Outcomes MemoryJobStore::forget_cancels(std::vector<std::string> jids) {
  return desk_->ask<std::vector<jobs::ItemOutcome>>(
      [jids = std::move(jids)](MemoryJobs& all) { return all.forget_cancels(jids); });
}
JobStore::Outcomes MemoryJobStore::keep_records(std::vector<jobs::RecordUpdate> updates) {
  return desk_->ask<std::vector<jobs::ItemOutcome>>(
      [updates = std::move(updates)](MemoryJobs& all) { return all.keep_records(updates); });
}
JobStore::Reply<std::optional<std::string>> MemoryJobStore::read_record(std::string jid) {
  return desk_->ask<std::optional<std::string>>(
      [jid = std::move(jid)](MemoryJobs& all) { return all.read_record(jid); });
}
JobStore::Outcomes MemoryJobStore::move(std::vector<jobs::MoveJob> jobs) {
  return desk_->ask<std::vector<jobs::ItemOutcome>>(
      [jobs = std::move(jobs)](MemoryJobs& all) { return all.move(jobs); });
}
JobStore::Reply<std::size_t> MemoryJobStore::clear_queue(std::string queue, std::size_t limit, std::string detail) {
  return desk_->ask<std::size_t>([queue = std::move(queue), limit, detail = std::move(detail)](MemoryJobs& all) {
    return all.clear_queue(queue, limit, detail);
  });
}
JobStore::Reply<bool> MemoryJobStore::pause_queue(std::string queue, std::string by, std::string reason) {
  return desk_->ask<bool>(
      [queue = std::move(queue), by = std::move(by), reason = std::move(reason)](MemoryJobs& all) mutable {
        return all.pause_queue(queue, std::move(by), std::move(reason));
      });
}
JobStore::Reply<bool> MemoryJobStore::resume_queue(std::string queue) {
  return desk_->ask<bool>([queue = std::move(queue)](MemoryJobs& all) { return all.resume_queue(queue); });
}
JobStore::Reply<std::vector<jobs::QueueInfo>> MemoryJobStore::queues(std::string after, std::size_t limit) {
  return desk_->ask<std::vector<jobs::QueueInfo>>(
      [after = std::move(after), limit](MemoryJobs& all) { return all.queues(after, limit); });
}
JobStore::Reply<jobs::StoreTotals> MemoryJobStore::totals() {
  return desk_->ask<jobs::StoreTotals>([](MemoryJobs& all) { return all.totals(); });
}
JobStore::Reply<std::optional<std::string>> MemoryJobStore::write_refusal() {
  co_return std::optional<std::string>();  // memory always takes more
}
JobStore::Outcomes MemoryJobStore::restore(std::vector<jobs::StoredJob> jobs, std::string detail) {
  return desk_->ask<std::vector<jobs::ItemOutcome>>(
      [jobs = std::move(jobs), detail = std::move(detail)](MemoryJobs& all) { return all.restore(jobs, detail); });
}
JobStore::Reply<std::vector<jobs::StoreFinding>> MemoryJobStore::check() {
  return desk_->ask<std::vector<jobs::StoreFinding>>([](MemoryJobs& all) { return all.check(); });
}
JobStore::Reply<std::string> MemoryJobStore::backup(std::string /*file*/) {
  return desk_->ask<std::string>([](MemoryJobs&) -> Result<std::string> {
    return Error{ErrorCode::unsupported, "backup: the jobs of a memory store end with it; export them instead"};
  });
}
JobStore::Reply<jobs::JournalPage> MemoryJobStore::read_journal(jobs::JournalQuery query) {
  return desk_->ask<jobs::JournalPage>([query = std::move(query)](MemoryJobs& all) { return all.read_journal(query); });
}
JobStore::Reply<jobs::JournalCursor> MemoryJobStore::journal_end() {
  return desk_->ask<jobs::JournalCursor>([](MemoryJobs& all) { return all.journal_end(); });
}
std::uint64_t MemoryJobStore::change_count(jobs::ChangeKind kind) const noexcept { return desk_->change_count(kind); }
JobStore::Reply<std::uint64_t> MemoryJobStore::wait_for_change(jobs::ChangeKind kind, std::uint64_t seen,
                                                               Duration limit) {
  return desk_->wait_for_change(kind, seen, limit);
}

}  // namespace dagverk::testing_jobs
