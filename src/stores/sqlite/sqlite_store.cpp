#include "dagverk/stores/sqlite/sqlite_store.hpp"

#include "stores/sqlite/commit_watch.hpp"
#include "stores/sqlite/engine.hpp"
#include "stores/sqlite/log_file.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"
#include "dagverk/base/mutex.hpp"
#include "dagverk/base/random.hpp"
#include "dagverk/runtime/completion.hpp"
#include "dagverk/runtime/external_lane.hpp"

#include <algorithm>
#include <atomic>
#include <iterator>
#include <span>
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
  bool background = false;  // long, and nobody who waits for a job waits for it
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
Weight weigh(const op::Restore& operation) {
  Weight weight{operation.jobs.size(), 0};
  for (const jobs::StoredJob& job : operation.jobs) weight.size += job.payload.size() + operation.detail.size();
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
  constexpr std::size_t background_count = 64;
  Weight weight{operation.promotions.size(), 0, operation.promotions.size() > background_count};
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
    watching_ = !runtime.deterministic();  // there the outside world is looked at when virtual time passes
  }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  ~Writer() {
    {
      MutexLock lock(unsynced_mutex_);
      closing_.store(true);
      sync_begun_.notify_one();
    }
    if (lane_ != nullptr) {
      lane_->ring();
      if (watching_) closed_.wait(false);
    }
    lane_.reset();
    sync_lane_.reset();  // answers what the other has left it
    if (bell_name_.empty()) return;
    if (const auto removed = engine_->run(op::RemoveBell{bell_name_}); !removed) {
      options_.logger->debug("store.doorbell_left", {{"path", options_.path}, {"message", removed.error().message()}});
    }
  }

  Result<void> start(RuntimeBase& runtime) {
    auto engine = Engine::open(options_);
    if (!engine) return engine.error();
    engine_ = std::move(*engine);
    engine_->leave_syncs_to_caller();
    publish_changes();
    sync_lane_ = runtime.open_lane("store_sync", [this] { sync(); });
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
    const auto& count = kind == jobs::ChangeKind::ready     ? ready_count_
                        : kind == jobs::ChangeKind::journal ? journal_count_
                                                            : asked_count_;
    return count.load(std::memory_order_acquire);
  }

  [[nodiscard]] std::optional<WallTime> next_turn() const noexcept { return engine_->next_turn(); }

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
      look_wanted_.store(true);  // for whoever has neither doorbell nor watch, and for what they should have told
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
    if (closing_.load() && !closed_.load()) {
      watch_.reset();  // it rings the lane, so it goes first
      closed_.store(true);
      closed_.notify_all();
    }
    while (true) {
      collect();
      listen();
      if (look_wanted_.exchange(false)) look();
      if (queue_.empty() && background_.empty()) break;
      if (watching_) {
        await_sync();
        collect();  // what came meanwhile goes along
      } else if (waits_for_sync()) {
        break;
      }
      do_batch();
    }
    wake();
    listen();
  }

  /// Has other processes' commits told to us while somebody waits, and not otherwise.
  void listen() {
    if (!watching_ || closing_.load() || (watch_ == nullptr && waiting_.empty())) return;
    if (watch_ == nullptr) watch_ = make_watch();
    if (watch_->listen(!waiting_.empty())) look_wanted_.store(true);
  }

  std::unique_ptr<CommitWatch> make_watch() {
    std::string name = random_hex(8);
    std::optional<Doorbell> bell;
    std::string without;
    if (auto made = Doorbell::create(engine_->file_path(), name); made) {
      const auto known = engine_->run(op::AddBell{name});
      publish_changes();
      if (known && *known) {
        bell = std::move(*made);
        bell_name_ = std::move(name);
      } else {
        without = known ? "too many processes have one" : std::string(known.error().message());
      }
    } else {
      without = made.error().message();
    }
    auto watch = std::make_unique<CommitWatch>(concat(engine_->file_path(), "-wal"), std::move(bell), [this] {
      look_wanted_.store(true);
      lane_->ring();
    });
    if (!without.empty()) {
      options_.logger->warning("store.doorbell_missing", {{"path", options_.path}, {"message", without}});
    }
    if (!watch->watches_wal()) options_.logger->warning("store.watch_missing", {{"path", options_.path}});
    return watch;
  }

  void collect() {
    Errand* list = inbox_->take_all();
    while (list != nullptr) {
      std::unique_ptr<Errand> errand(std::exchange(list, list->next));
      switch (errand->what) {
        case Errand::Kind::operation: {
          std::unique_ptr<Pending> pending(static_cast<Pending*>(errand.release()));
          (pending->weight.background ? background_ : queue_).push_back(std::move(pending));
          break;
        }
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

  /// While one batch is being synced and the next is committed already, a third gains nothing by being small: more come
  /// until the next sync begins. Blocks, so that whoever asks for something wakes nobody.
  void await_sync() {
    MutexLock lock(unsynced_mutex_);
    while (!unsynced_.empty() && !closing_.load()) sync_begun_.wait(unsynced_mutex_);
  }

  /// The same for a runtime whose lanes cannot block, where only what is to be synced waits.
  [[nodiscard]] bool waits_for_sync() {
    MutexLock lock(unsynced_mutex_);
    if (unsynced_.empty() || closing_.load() || !background_.empty()) return false;
    held_back_ =
        std::ranges::all_of(queue_, [](const auto& pending) { return pending->request().access() == Access::durable; });
    return held_back_;
  }

  /// What is long goes alone and takes turns with all the rest, so that a take waits for one of it at most.
  void do_batch() {
    const bool background = !background_.empty() && (queue_.empty() || background_turn_);
    background_turn_ = !background;
    std::vector<std::unique_ptr<Pending>>& from = background ? background_ : queue_;
    const std::size_t count_limit = background ? 1 : options_.batch_count_limit;
    std::size_t count = 0;
    std::size_t items = 0;
    batch_.clear();
    while (count < from.size() && count < count_limit && items < batch_items_limit) {
      batch_.push_back(&from[count]->request());
      items += from[count]->weight.items;
      ++count;
    }
    if (log_ != nullptr && log_->failed()) {
      log_.reset();
      engine_->distrust_log();
    }
    engine_->execute(batch_);
    if (watch_ != nullptr) watch_->committed_ourselves();
    publish_changes();
    answer({from.begin(), from.begin() + static_cast<std::ptrdiff_t>(count)});
    wake();
    from.erase(from.begin(), from.begin() + static_cast<std::ptrdiff_t>(count));
    engine_->checkpoint_if_due();  // nobody waits for this
  }

  /// Tells whoever waits for these, now or when the disk has them.
  void answer(std::span<std::unique_ptr<Pending>> batch) {
    std::vector<Unsynced> unsynced;
    for (std::unique_ptr<Pending>& pending : batch) {
      if (pending->request().access() != Access::durable || !pending->request().succeeded()) {
        answer(*pending);
        continue;
      }
      if (unsynced.empty()) open_log();
      unsynced.push_back({std::move(pending), log_});
    }
    if (unsynced.empty()) return;
    {
      MutexLock lock(unsynced_mutex_);
      unsynced_.insert(unsynced_.end(), std::move_iterator(unsynced.begin()), std::move_iterator(unsynced.end()));
    }
    sync_lane_->ring();
  }

  void answer(Pending& pending) noexcept {
    waiting_count_.fetch_sub(1, std::memory_order_relaxed);
    waiting_size_.fetch_sub(pending.weight.size, std::memory_order_relaxed);
    pending.request().complete();
  }

  void open_log() {
    if (log_ != nullptr && log_open_count_ == engine_->open_count()) return;
    log_open_count_ = engine_->open_count();
    auto opened = LogFile::open(engine_->file_path());
    if (opened) {
      log_ = std::move(*opened);
    } else {
      log_.reset();
      options_.logger->error("store.failed", {{"path", options_.path}, {"message", opened.error().message()}});
    }
  }

  // --- the lane that waits for the disk ---

  void sync() {
    while (true) {
      std::vector<Unsynced> batch;
      {
        MutexLock lock(unsynced_mutex_);
        batch.swap(unsynced_);
        sync_begun_.notify_one();
        // Under the lock, because from then on that it is closing the lane may be gone.
        if (std::exchange(held_back_, false) && !closing_.load()) lane_->ring();
      }
      if (batch.empty()) return;
      // Mostly all are of one log.
      for (std::size_t first = 0, last = 0; first < batch.size(); first = last) {
        const std::shared_ptr<LogFile> log = batch[first].log;
        const Result<void> synced = log != nullptr ? log->sync() : Error{ErrorCode::outcome_unknown};
        for (; last < batch.size() && batch[last].log == log; ++last) {
          if (!synced) batch[last].pending->request().fail(synced.error().with(concat("store ", options_.path)));
          answer(*batch[last].pending);
        }
      }
    }
  }

  /// Asks for other processes' commits.
  void look() {
    if (!engine_->look_for_foreign_commits()) return;
    if (watch_ != nullptr) watch_->found();
    publish_changes();
  }

  void publish_changes() noexcept {
    const Engine::Changes changes = engine_->changes();
    ready_count_.store(changes.ready, std::memory_order_release);
    journal_count_.store(changes.journal, std::memory_order_release);
    asked_count_.store(changes.asked, std::memory_order_release);
  }

  void wake() {
    std::erase_if(waiting_, [&](const std::unique_ptr<Waiting>& waiting) {
      const std::uint64_t count = change_count(waiting->kind);
      if (count == waiting->seen) return false;
      waiting->completer.complete(count);
      return true;
    });
  }

  /// Committed, and not yet on the disk.
  struct Unsynced {
    std::unique_ptr<Pending> pending;
    std::shared_ptr<LogFile> log;  // where it was written: shared with the lane, which may have another by now
  };

  const Clock& clock_;
  VirtualBootClock virtual_boot_clock_;
  SqliteOptions options_;  // constant after construction
  std::unique_ptr<Engine> engine_;
  std::vector<std::unique_ptr<Pending>> queue_;
  std::vector<std::unique_ptr<Pending>> background_;
  bool background_turn_ = false;
  std::vector<Request*> batch_;
  std::vector<std::unique_ptr<Waiting>> waiting_;
  bool watching_ = false;
  std::string bell_name_;  // empty: no doorbell
  std::unique_ptr<CommitWatch> watch_;
  std::shared_ptr<LogFile> log_;  // null: not known, or not to be trusted
  std::uint64_t log_open_count_ = 0;

  // Shared between the two lanes; bounded by waiting_count_limit.
  Mutex unsynced_mutex_;
  std::vector<Unsynced> unsynced_ DAGVERK_GUARDED_BY(unsynced_mutex_);
  Condition sync_begun_;
  bool held_back_ DAGVERK_GUARDED_BY(unsynced_mutex_) = false;  // the writer waits for the next sync to begin

  // Shared between callers and lane. The inbox is bounded by waiting_count_limit and by the processes that wait.
  const std::shared_ptr<Inbox> inbox_ = std::make_shared<Inbox>();
  std::atomic<std::size_t> waiting_count_{0};
  std::atomic<std::size_t> waiting_size_{0};
  std::atomic<std::uint64_t> ready_count_{0};
  std::atomic<std::uint64_t> journal_count_{0};
  std::atomic<std::uint64_t> asked_count_{0};
  std::atomic<std::uint64_t> next_waiting_{1};
  std::atomic<bool> look_wanted_{false};
  std::atomic<bool> closing_{false};
  std::atomic<bool> closed_{false};

  std::unique_ptr<ExternalLane> sync_lane_;
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
  return writer_->submit(op::Enqueue{.jobs = std::move(jobs)});
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
jobs::JobStore::Reply<jobs::HeartbeatReply> SqliteStore::heartbeat(jobs::NodeEpoch node, jobs::Heartbeat beat) {
  return writer_->submit(op::Beat{node, std::move(beat)});
}
jobs::JobStore::Reply<jobs::ItemOutcome> SqliteStore::send_signal(std::string identity, jobs::NodeSignal signal) {
  return writer_->submit(op::SendSignal{std::move(identity), signal});
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
jobs::JobStore::Reply<std::vector<jobs::NodeJob>> SqliteStore::node_jobs(std::string identity, std::size_t limit) {
  return writer_->submit(op::NodeJobs{std::move(identity), limit});
}
jobs::JobStore::Reply<bool> SqliteStore::put_limit(jobs::Limit limit) {
  return writer_->submit(op::PutLimit{std::move(limit)});
}
jobs::JobStore::Reply<bool> SqliteStore::remove_limit(jobs::LimitScope scope, std::string name) {
  return writer_->submit(op::RemoveLimit{scope, std::move(name)});
}
jobs::JobStore::Reply<std::vector<jobs::LimitInfo>> SqliteStore::list_limits() {
  return writer_->submit(op::ListLimits{});
}
jobs::JobStore::Reply<bool> SqliteStore::reset_limit(jobs::LimitScope scope, std::string name) {
  return writer_->submit(op::ResetLimit{scope, std::move(name)});
}
std::optional<WallTime> SqliteStore::next_turn() const noexcept { return writer_->next_turn(); }
jobs::JobStore::Reply<bool> SqliteStore::put_cron(jobs::CronEntry entry) {
  return writer_->submit(op::PutCron{std::move(entry)});
}
jobs::JobStore::Reply<bool> SqliteStore::remove_cron(std::string name) {
  return writer_->submit(op::RemoveCron{std::move(name)});
}
jobs::JobStore::Reply<jobs::CronTable> SqliteStore::list_cron() { return writer_->submit(op::ListCron{}); }
jobs::JobStore::Reply<bool> SqliteStore::pause_cron(std::string name, std::string by, std::string reason) {
  return writer_->submit(op::PauseCron{std::move(name), std::move(by), std::move(reason)});
}
jobs::JobStore::Reply<bool> SqliteStore::resume_cron(std::string name) {
  return writer_->submit(op::ResumeCron{std::move(name)});
}
jobs::JobStore::Reply<jobs::CronLead> SqliteStore::lead_cron(std::string identity, Duration lease) {
  return writer_->submit(op::LeadCron{std::move(identity), lease});
}
jobs::JobStore::Reply<jobs::CronFired> SqliteStore::fire_cron(jobs::CronFire fire) {
  return writer_->submit(op::FireCron{std::move(fire)});
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
jobs::JobStore::Outcomes SqliteStore::cancel(std::vector<std::string> jids, std::string detail) {
  return writer_->submit(op::Cancel{std::move(jids), std::move(detail)});
}
jobs::JobStore::Reply<std::optional<jobs::HeldLock>> SqliteStore::find_lock(std::string key) {
  return writer_->submit(op::FindLock{std::move(key)});
}
jobs::JobStore::Reply<jobs::LockPage> SqliteStore::list_locks(std::string cursor, std::size_t limit) {
  return writer_->submit(op::ListLocks{std::move(cursor), limit});
}
jobs::JobStore::Reply<bool> SqliteStore::release_lock(std::string key) {
  return writer_->submit(op::ReleaseLock{std::move(key)});
}
jobs::JobStore::Outcomes SqliteStore::forget_cancels(std::vector<std::string> jids) {
  return writer_->submit(op::ForgetCancels{std::move(jids)});
}
jobs::JobStore::Outcomes SqliteStore::keep_records(std::vector<jobs::RecordUpdate> updates) {
  return writer_->submit(op::KeepRecords{std::move(updates)});
}
jobs::JobStore::Reply<std::optional<std::string>> SqliteStore::read_record(std::string jid) {
  return writer_->submit(op::ReadRecord{std::move(jid)});
}
jobs::JobStore::Outcomes SqliteStore::move(std::vector<jobs::MoveJob> jobs) {
  return writer_->submit(op::Move{std::move(jobs)});
}
jobs::JobStore::Reply<std::size_t> SqliteStore::clear_queue(std::string queue, std::size_t limit, std::string detail) {
  return writer_->submit(op::ClearQueue{std::move(queue), limit, std::move(detail)});
}
jobs::JobStore::Reply<bool> SqliteStore::pause_queue(std::string queue, std::string by, std::string reason) {
  return writer_->submit(op::PauseQueue{std::move(queue), std::move(by), std::move(reason)});
}
jobs::JobStore::Reply<bool> SqliteStore::resume_queue(std::string queue) {
  return writer_->submit(op::ResumeQueue{std::move(queue)});
}
jobs::JobStore::Reply<std::vector<jobs::QueueInfo>> SqliteStore::queues(std::string after, std::size_t limit) {
  return writer_->submit(op::Queues{std::move(after), limit});
}
jobs::JobStore::Reply<jobs::StoreTotals> SqliteStore::totals() { return writer_->submit(op::Totals{}); }
jobs::JobStore::Reply<std::optional<std::string>> SqliteStore::write_refusal() {
  // Whatever is asked goes through a transaction of the one writer, which a file or disk that takes nothing refuses.
  const auto asked = co_await writer_->submit(op::Totals{});
  if (asked) co_return std::optional<std::string>();
  const ErrorCode code = asked.error().code();
  if (code != ErrorCode::permission && code != ErrorCode::store_full) co_return asked.error();
  co_return std::optional(std::string(asked.error().message()));
}
jobs::JobStore::Outcomes SqliteStore::restore(std::vector<jobs::StoredJob> jobs, std::string detail) {
  return writer_->submit(op::Restore{std::move(jobs), std::move(detail)});
}
jobs::JobStore::Reply<std::vector<jobs::StoreFinding>> SqliteStore::check() { return writer_->submit(op::Check{}); }
jobs::JobStore::Reply<std::string> SqliteStore::backup(std::string file) {
  return writer_->submit(op::Backup{std::move(file)});
}
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
