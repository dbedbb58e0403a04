#include "dagverk/stores/sqlite/sqlite_store.hpp"

#include "stores/sqlite/engine.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"
#include "dagverk/runtime/completion.hpp"
#include "dagverk/runtime/external_lane.hpp"

#include <algorithm>
#include <atomic>
#include <utility>

namespace dagverk::stores {

namespace {

/// The boot clock of a deterministic runtime: its steady clock.
class VirtualBootClock final : public BootClock {
 public:
  explicit VirtualBootClock(const Clock& clock) noexcept : clock_(clock) {}
  [[nodiscard]] Duration since_boot() const noexcept override { return clock_.steady_now().time_since_epoch(); }
  [[nodiscard]] const std::string& boot_id() const noexcept override { return boot_id_; }

 private:
  const Clock& clock_;
  std::string boot_id_ = "virtual";
};

/// What an operation costs while it waits and when it is done.
struct Weight {
  std::size_t items = 1;
  std::size_t size = 0;
};

template <class Operation>
Weight weigh(const Operation& /*operation*/) {
  return {};
}
Weight weigh(const op::Enqueue& operation) {
  Weight weight{operation.jobs.size(), 0};
  for (const jobs::EnqueueRequest& job : operation.jobs) weight.size += job.payload.size() + job.detail.size();
  return weight;
}
Weight weigh(const op::Settle& operation) {
  Weight weight{operation.settlements.size(), 0};
  for (const jobs::Settlement& one : operation.settlements) {
    weight.size += one.detail.size() + (one.payload ? one.payload->size() : 0);
  }
  return weight;
}
Weight weigh(const op::Promote& operation) {
  Weight weight{operation.promotions.size(), 0};
  for (const jobs::Promotion& one : operation.promotions) weight.size += one.payload ? one.payload->size() : 0;
  return weight;
}
Weight weigh(const op::Take& operation) { return {operation.request.max, 0}; }

/// Items after which a transaction takes no more operations: bounds how long others wait for the lock.
constexpr std::size_t batch_items_limit = 4096;

/// What travels to the lane: an operation, or a change of who waits.
struct Errand {
  enum class Kind : std::uint8_t { operation, waiting, forgetting };

  explicit Errand(Kind errand_kind) noexcept : what(errand_kind) {}
  Errand(const Errand&) = delete;
  Errand& operator=(const Errand&) = delete;
  virtual ~Errand() = default;

  Errand* next = nullptr;
  const Kind what;
};

/// An operation with whoever waits for it.
struct Pending : Errand {
  Pending() noexcept : Errand(Kind::operation) {}
  virtual Request& request() noexcept = 0;
  Weight weight;
};

template <class Operation>
struct PendingOperation final : Pending {
  using Reply = Result<typename Operation::Reply>;

  class Answering final : public OperationRequest<Operation> {
   public:
    Answering(Operation operation, Completer<Reply> completer)
        : OperationRequest<Operation>(std::move(operation)), completer_(std::move(completer)) {}
    void complete() noexcept override { completer_.complete(std::move(this->result_)); }

   private:
    Completer<Reply> completer_;
  };

  PendingOperation(Operation operation, Completer<Reply> completer)
      : answering(std::move(operation), std::move(completer)) {}
  Request& request() noexcept override { return answering; }

  Answering answering;
};

/// Somebody waits for a change. A later one of the same number takes its place.
struct Waiting final : Errand {
  Waiting() noexcept : Errand(Kind::waiting) {}
  std::uint64_t number = 0;
  jobs::ChangeKind kind = jobs::ChangeKind::ready;
  std::uint64_t seen = 0;
  Completer<Result<std::uint64_t>> completer;
};

/// That somebody waits no more.
struct Forgetting final : Errand {
  Forgetting() noexcept : Errand(Kind::forgetting) {}
  std::uint64_t number = 0;
};

/// Errands on their way to the lane. Shared by the store and by those who wait for a change, who may be gone later than
/// the store.
class Inbox {
 public:
  Inbox() = default;
  Inbox(const Inbox&) = delete;
  Inbox& operator=(const Inbox&) = delete;
  ~Inbox() {
    for (Errand* errand = newest_.load(); errand != nullptr;) delete std::exchange(errand, errand->next);
  }

  /// Threads: any.
  void put(std::unique_ptr<Errand> errand) noexcept {
    Errand* const added = errand.release();
    added->next = newest_.load(std::memory_order_relaxed);
    // Release publishes *added; pairs with the acquire exchange in take_all().
    while (!newest_.compare_exchange_weak(added->next, added, std::memory_order_release, std::memory_order_relaxed)) {
    }
  }

  /// What has arrived, as a list, oldest first. Threads: the lane.
  Errand* take_all() noexcept {
    Errand* newest = newest_.exchange(nullptr, std::memory_order_acquire);
    Errand* oldest = nullptr;
    while (newest != nullptr) {
      Errand* const next = newest->next;
      newest->next = std::exchange(oldest, newest);
      newest = next;
    }
    return oldest;
  }

 private:
  std::atomic<Errand*> newest_{nullptr};
};

/// A caller's being there, as the lane knows it: ends with the wait, however that ends. Nobody is woken for that news.
class Presence {
 public:
  Presence(std::shared_ptr<Inbox> inbox, std::uint64_t number) noexcept : inbox_(std::move(inbox)), number_(number) {}
  Presence(const Presence&) = delete;
  Presence& operator=(const Presence&) = delete;
  ~Presence() {
    auto forgetting = std::make_unique<Forgetting>();
    forgetting->number = number_;
    inbox_->put(std::move(forgetting));
  }
  [[nodiscard]] std::uint64_t number() const noexcept { return number_; }

 private:
  std::shared_ptr<Inbox> inbox_;  // a process that waits may end after the store has
  std::uint64_t number_;
};

}  // namespace

/// The lane's side and the callers' side of the store. What has no mark belongs to the lane.
class SqliteStore::Writer {
 public:
  Writer(RuntimeBase& runtime, SqliteOptions options)
      : clock_(runtime.clock()), virtual_boot_clock_(runtime.clock()), options_(std::move(options)) {
    if (options_.clock == nullptr) options_.clock = &runtime.clock();
    if (options_.logger == nullptr) options_.logger = &runtime.logger();
    if (options_.boot_clock == nullptr) {
      options_.boot_clock = runtime.deterministic() ? &virtual_boot_clock_ : &system_boot_clock();
    }
  }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  ~Writer() = default;

  Result<void> start(RuntimeBase& runtime) {
    auto engine = Engine::open(options_);
    if (!engine) return engine.error();
    engine_ = std::move(*engine);
    publish_changes();
    lane_ = runtime.open_lane("store_sqlite", [this] { work(); });
    return {};
  }

  // --- callers: any thread ---

  template <class Operation>
  Async<Result<typename Operation::Reply>> submit(Operation operation) {
    using Reply = Result<typename Operation::Reply>;
    const Weight weight = weigh(operation);
    const std::size_t count = waiting_count_.fetch_add(1, std::memory_order_relaxed) + 1;
    const std::size_t size = waiting_size_.fetch_add(weight.size, std::memory_order_relaxed) + weight.size;
    // An operation may always go when it is alone, however large.
    if (count > options_.waiting_count_limit || (count > 1 && size > options_.waiting_size_limit)) {
      waiting_count_.fetch_sub(1, std::memory_order_relaxed);
      waiting_size_.fetch_sub(weight.size, std::memory_order_relaxed);
      co_return Error{ErrorCode::unavailable, concat("store ", options_.path, ": ", count - 1, " operations of ",
                                                     size - weight.size, " bytes wait for the disk already")};
    }
    auto ends = make_completion<Reply>();
    auto pending = std::make_unique<PendingOperation<Operation>>(std::move(operation), std::move(ends.completer));
    pending->weight = weight;
    send(std::move(pending));
    Reply reply = co_await std::move(ends.completion);
    co_return reply;
  }

  [[nodiscard]] std::uint64_t change_count(jobs::ChangeKind kind) const noexcept {
    // Acquire pairs with publish_changes: whoever sees the count sees the commit it counts.
    return (kind == jobs::ChangeKind::ready ? ready_count_ : journal_count_).load(std::memory_order_acquire);
  }

  Async<Result<std::uint64_t>> wait_for_change(jobs::ChangeKind kind, std::uint64_t seen, Duration limit) {
    const SteadyTime deadline = clock_.steady_now() + std::clamp(limit, Duration{0}, Duration(std::chrono::hours(24)));
    const Presence presence(inbox_, next_waiting_.fetch_add(1, std::memory_order_relaxed));
    while (true) {
      const std::uint64_t count = change_count(kind);
      const Duration left = deadline - clock_.steady_now();
      if (count != seen || left <= Duration{0}) co_return count;
      auto ends = make_completion<Result<std::uint64_t>>();
      auto waiting = std::make_unique<Waiting>();
      waiting->number = presence.number();
      waiting->kind = kind;
      waiting->seen = seen;
      waiting->completer = std::move(ends.completer);
      send(std::move(waiting));
      auto bounded = std::move(ends.completion).within(std::min(left, options_.poll_interval));
      Result<std::uint64_t> changed = co_await std::move(bounded);
      if (changed || changed.error().code() != ErrorCode::timeout) co_return changed;
      look_wanted_.store(true);
      lane_->ring();
    }
  }

 private:
  void send(std::unique_ptr<Errand> errand) noexcept {
    inbox_->put(std::move(errand));
    lane_->ring();
  }

  // --- the lane ---

  void work() {
    while (true) {
      collect();
      if (look_wanted_.exchange(false)) look();
      if (queue_.empty()) break;
      do_batch();
    }
    wake();
  }

  void collect() {
    Errand* list = inbox_->take_all();
    while (list != nullptr) {
      std::unique_ptr<Errand> errand(std::exchange(list, list->next));
      switch (errand->what) {
        case Errand::Kind::operation: queue_.emplace_back(static_cast<Pending*>(errand.release())); break;
        case Errand::Kind::waiting:
          forget(static_cast<Waiting&>(*errand).number);
          waiting_.emplace_back(static_cast<Waiting*>(errand.release()));
          break;
        case Errand::Kind::forgetting: forget(static_cast<Forgetting&>(*errand).number); break;
      }
    }
  }

  void forget(std::uint64_t number) {
    std::erase_if(waiting_, [&](const auto& known) { return known->number == number; });
  }

  void do_batch() {
    std::size_t count = 0;
    std::size_t items = 0;
    batch_.clear();
    while (count < queue_.size() && count < options_.batch_count_limit && items < batch_items_limit) {
      batch_.push_back(&queue_[count]->request());
      items += queue_[count]->weight.items;
      ++count;
    }
    engine_->execute(batch_);
    publish_changes();
    std::size_t size = 0;
    for (std::size_t index = 0; index < count; ++index) size += queue_[index]->weight.size;
    waiting_count_.fetch_sub(count, std::memory_order_relaxed);
    waiting_size_.fetch_sub(size, std::memory_order_relaxed);
    for (std::size_t index = 0; index < count; ++index) queue_[index]->request().complete();
    wake();
    queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(count));
    engine_->checkpoint_if_due();  // nobody waits for this
  }

  /// Asks for other processes' commits; several who ask within half an interval get one answer.
  void look() {
    const SteadyTime now = clock_.steady_now();
    if (now - looked_ < options_.poll_interval / 2) return;
    looked_ = now;
    engine_->look_for_foreign_commits();
    publish_changes();
  }

  void publish_changes() noexcept {
    const Engine::Changes changes = engine_->changes();
    ready_count_.store(changes.ready, std::memory_order_release);
    journal_count_.store(changes.journal, std::memory_order_release);
  }

  void wake() {
    std::erase_if(waiting_, [&](const std::unique_ptr<Waiting>& waiting) {
      const std::uint64_t count = change_count(waiting->kind);
      if (count == waiting->seen) return false;
      waiting->completer.complete(count);
      return true;
    });
  }

  const Clock& clock_;
  VirtualBootClock virtual_boot_clock_;
  SqliteOptions options_;  // constant after construction
  std::unique_ptr<Engine> engine_;
  std::vector<std::unique_ptr<Pending>> queue_;
  std::vector<Request*> batch_;
  std::vector<std::unique_ptr<Waiting>> waiting_;
  SteadyTime looked_{};

  // Shared between callers and lane. The inbox is bounded by waiting_count_limit and by the processes that wait.
  const std::shared_ptr<Inbox> inbox_ = std::make_shared<Inbox>();
  std::atomic<std::size_t> waiting_count_{0};
  std::atomic<std::size_t> waiting_size_{0};
  std::atomic<std::uint64_t> ready_count_{0};
  std::atomic<std::uint64_t> journal_count_{0};
  std::atomic<std::uint64_t> next_waiting_{1};
  std::atomic<bool> look_wanted_{false};

  std::unique_ptr<ExternalLane> lane_;  // last: its thread uses all of the above
};

SqliteStore::SqliteStore(std::unique_ptr<Writer> writer) noexcept : writer_(std::move(writer)) {}
SqliteStore::~SqliteStore() = default;

Result<std::unique_ptr<SqliteStore>> SqliteStore::open(RuntimeBase& runtime, SqliteOptions options) {
  auto writer = std::make_unique<Writer>(runtime, std::move(options));
  if (auto started = writer->start(runtime); !started) return started.error();
  return std::unique_ptr<SqliteStore>(new SqliteStore(std::move(writer)));
}

jobs::JobStore::Outcomes SqliteStore::enqueue(std::vector<jobs::EnqueueRequest> jobs) {
  return writer_->submit(op::Enqueue{std::move(jobs)});
}
jobs::JobStore::Reply<std::vector<jobs::TakenJob>> SqliteStore::take(jobs::TakeRequest request) {
  return writer_->submit(op::Take{std::move(request)});
}
jobs::JobStore::Outcomes SqliteStore::settle(std::vector<jobs::Settlement> settlements) {
  return writer_->submit(op::Settle{std::move(settlements)});
}
jobs::JobStore::Reply<jobs::DuePage> SqliteStore::peek_due(WallTime now, std::size_t limit) {
  return writer_->submit(op::PeekDue{now, limit});
}
jobs::JobStore::Outcomes SqliteStore::promote(std::vector<jobs::Promotion> promotions) {
  return writer_->submit(op::Promote{std::move(promotions)});
}
jobs::JobStore::Reply<jobs::NodeEpoch> SqliteStore::register_node(jobs::NodeSpec spec) {
  return writer_->submit(op::RegisterNode{std::move(spec)});
}
jobs::JobStore::Reply<std::size_t> SqliteStore::renew_lease(jobs::NodeEpoch node, std::optional<std::string> detail) {
  return writer_->submit(op::RenewLease{node, std::move(detail)});
}
jobs::JobStore::Reply<std::size_t> SqliteStore::retire_node(jobs::NodeEpoch node) {
  return writer_->submit(op::RetireNode{node});
}
jobs::JobStore::Reply<jobs::RescueReport> SqliteStore::rescue_dead_nodes(jobs::NodeEpoch rescuer, std::size_t limit) {
  return writer_->submit(op::Rescue{rescuer, limit});
}
jobs::JobStore::Reply<std::vector<jobs::NodeInfo>> SqliteStore::list_nodes() {
  return writer_->submit(op::ListNodes{});
}
jobs::JobStore::Reply<std::optional<jobs::StoredJob>> SqliteStore::find(std::string jid) {
  return writer_->submit(op::Find{std::move(jid)});
}
jobs::JobStore::Reply<jobs::JobPage> SqliteStore::list(jobs::ListQuery query) {
  return writer_->submit(op::List{std::move(query)});
}
jobs::JobStore::Outcomes SqliteStore::retry_now(std::vector<jobs::RetryNow> jobs) {
  return writer_->submit(op::MoveNow{std::move(jobs)});
}
jobs::JobStore::Outcomes SqliteStore::remove(std::vector<std::string> jids, std::string detail) {
  return writer_->submit(op::Remove{std::move(jids), std::move(detail)});
}
jobs::JobStore::Reply<std::vector<jobs::QueueInfo>> SqliteStore::queues(std::string after, std::size_t limit) {
  return writer_->submit(op::Queues{std::move(after), limit});
}
jobs::JobStore::Reply<jobs::StoreTotals> SqliteStore::totals() { return writer_->submit(op::Totals{}); }
jobs::JobStore::Reply<jobs::JournalPage> SqliteStore::read_journal(jobs::JournalQuery query) {
  return writer_->submit(op::ReadJournal{std::move(query)});
}
jobs::JobStore::Reply<jobs::JournalCursor> SqliteStore::journal_end() { return writer_->submit(op::JournalEnd{}); }
std::uint64_t SqliteStore::change_count(jobs::ChangeKind kind) const noexcept { return writer_->change_count(kind); }
jobs::JobStore::Reply<std::uint64_t> SqliteStore::wait_for_change(jobs::ChangeKind kind, std::uint64_t seen,
                                                                  Duration limit) {
  return writer_->wait_for_change(kind, seen, limit);
}

}  // namespace dagverk::stores
