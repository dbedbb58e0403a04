#include "scheduler.hpp"

#include "cycles.hpp"
#include "thread_name.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <sched.h>
#include <utility>

namespace dagverk::detail {

namespace {

constexpr std::uint32_t messages_per_turn = 512;
constexpr std::uint32_t run_next_streak_max = 32;  // then the queue gets a turn
constexpr std::uint32_t timer_check_turns = 8;
constexpr Duration parked_look_interval = std::chrono::milliseconds(1);
constexpr Duration watchdog_interval = std::chrono::milliseconds(20);
constexpr std::uint32_t watchdog_idle_factor = 5;

}  // namespace

std::uint64_t cycles_per_microsecond() noexcept {
  static const std::uint64_t rate = [] {
    constexpr auto span = std::chrono::microseconds(100);
    const SteadyTime begin = system_clock().steady_now();
    const std::uint64_t first = cycles();
    SteadyTime now = begin;
    while (now - begin < span) now = system_clock().steady_now();
    const auto elapsed = static_cast<std::uint64_t>((now - begin).count());
    return std::max<std::uint64_t>(1, (cycles() - first) * 1000 / elapsed);
  }();
  return rate;
}

struct alignas(64) Scheduler::Worker {
  Scheduler* scheduler = nullptr;
  unsigned number = 0;

  std::atomic<ProcessCore*> run_next{nullptr};
  RunQueue queue;
  std::uint32_t turns = 0;
  std::uint32_t run_next_streak = 0;
  SlotCache slots;

  // Odd while a process runs: whoever reads the same odd number twice knows that a callback has kept the thread.
  alignas(64) std::atomic<std::uint64_t> activation{0};
  std::atomic<ProcessCore*> running{nullptr};
  std::atomic<bool> is_parked{false};
  std::atomic<bool> stuck{false};
  std::atomic<bool> dormant{false};
  std::atomic<bool> left{false};  // the thread has ended
  Parker parker;
  std::thread thread;

  // The watchdog's.
  std::uint64_t seen_activation = 0;
  SteadyTime seen_since{};

  // What this worker, as a thief, saw of the others.
  struct Sight {
    std::uint32_t popped = 0;
    std::uint64_t activation = 0;
    std::uint64_t since = 0;
  };
  std::vector<Sight> sights;
};

namespace {
constinit thread_local void* current_worker = nullptr;
}  // namespace

struct Scheduler::Slice {
  Scheduler* scheduler;
  Worker* worker;
  std::uint64_t begin = 0;
};

Scheduler::Scheduler(Runtime& runtime, const RuntimeOptions& options)
    : runtime_(runtime),
      options_(options),
      workers_wanted_(options.workers != 0 ? std::min(options.workers, 1024U)
                                           : std::max(1U, std::thread::hardware_concurrency())),
      slice_cycles_(cycles_per_microsecond()),
      steal_age_cycles_(20 * cycles_per_microsecond()),
      spin_cycles_(50 * cycles_per_microsecond()),
      yield_cycles_(10 * cycles_per_microsecond()),
      surplus_wake_cycles_(200 * cycles_per_microsecond()) {
  const unsigned slots = workers_wanted_ + options.spare_workers_max;
  for (unsigned number = 0; number < slots; ++number) {
    auto worker = std::make_unique<Worker>();
    worker->scheduler = this;
    worker->number = number;
    worker->sights.resize(slots);
    runtime_.processes().add_cache(worker->slots);
    workers_.push_back(std::move(worker));
  }
  awake_.store(static_cast<int>(workers_wanted_));
  worker_slots_.store(workers_wanted_);
  for (unsigned number = 0; number < workers_wanted_; ++number) {
    Worker& worker = *workers_[number];
    worker.thread = std::thread([this, &worker] { run_worker(worker); });
  }
  watchdog_ = std::thread([this] { run_watchdog(); });
}

Scheduler::~Scheduler() { stop(Duration::zero()); }

// ---- making ready --------------------------------------------------------------------------------------------------

void Scheduler::make_ready(ProcessCore& core) noexcept {
  if (BlockingHost* host = core.host.load(std::memory_order_acquire); host != nullptr) [[unlikely]] {
    host->make_ready(core);
    return;
  }
  auto* self = static_cast<Worker*>(current_worker);
  if (self != nullptr && self->scheduler == this) {
    // Only the owner fills the slot, so an empty one stays empty. Release publishes the process' state to a thief.
    if (self->run_next.load(std::memory_order_relaxed) == nullptr) {
      self->run_next.store(&core, std::memory_order_release);
      return;
    }
    ProcessCore* before = self->run_next.exchange(&core, std::memory_order_acq_rel);
    if (before != nullptr) {
      push_local(*self, before);
      wake_for_surplus();
    }
    return;
  }
  core.ready_next = nullptr;
  push_shared(&core, &core, 1);
  if (searching_.load() == 0) wake_one();
}

void Scheduler::push_local(Worker& self, ProcessCore* core) noexcept {
  if (self.queue.push(core)) return;
  // Full: half of it goes where everybody looks.
  core->ready_next = nullptr;
  ProcessCore* first = core;
  std::uint32_t count = 1;
  for (; count <= RunQueue::capacity / 2; ++count) {
    ProcessCore* oldest = self.queue.pop();
    if (oldest == nullptr) break;
    oldest->ready_next = first;
    first = oldest;
  }
  push_shared(first, core, count);
}

void Scheduler::push_shared(ProcessCore* first, ProcessCore* last, std::uint32_t count) noexcept {
  {
    MutexLock lock(shared_mutex_);
    if (shared_last_ == nullptr) {
      shared_first_ = first;
    } else {
      shared_last_->ready_next = first;
    }
    shared_last_ = last;
  }
  shared_count_.fetch_add(count);
}

ProcessCore* Scheduler::take_shared(Worker& self) noexcept {
  if (shared_count_.load(std::memory_order_relaxed) == 0) return nullptr;
  MutexLock lock(shared_mutex_);
  ProcessCore* core = shared_first_;
  if (core == nullptr) return nullptr;
  // A fair share for this worker, at most half of its queue.
  const std::uint32_t share = shared_count_.load(std::memory_order_relaxed) / (workers_wanted_ + 1);
  std::uint32_t taken = 1;
  shared_first_ = core->ready_next;
  while (shared_first_ != nullptr && taken < std::min(share, RunQueue::capacity / 2)) {
    ProcessCore* more = shared_first_;
    ProcessCore* after = more->ready_next;
    if (!self.queue.push(more)) break;
    shared_first_ = after;
    ++taken;
  }
  if (shared_first_ == nullptr) shared_last_ = nullptr;
  shared_count_.fetch_sub(taken);
  return core;
}

void Scheduler::wake_one() noexcept {
  if (parked_.load() == 0) return;
  const unsigned slots = worker_slots_.load(std::memory_order_acquire);
  for (unsigned number = 0; number < slots; ++number) {
    Worker& worker = *workers_[number];
    if (worker.is_parked.load() && worker.is_parked.exchange(false)) {
      worker.parker.unpark();
      return;
    }
  }
}

void Scheduler::wake_for_surplus() noexcept {
  if (parked_.load(std::memory_order_relaxed) == 0 || searching_.load(std::memory_order_relaxed) != 0) return;
  const std::uint64_t now = cycles();
  std::uint64_t last = last_surplus_wake_.load(std::memory_order_relaxed);
  if (now - last < surplus_wake_cycles_) return;
  if (last_surplus_wake_.compare_exchange_strong(last, now, std::memory_order_relaxed)) wake_one();
}

// ---- running -------------------------------------------------------------------------------------------------------

ProcessCore* Scheduler::next_local(Worker& self) noexcept {
  if (self.run_next_streak < run_next_streak_max || self.queue.size() == 0) {
    if (self.run_next.load(std::memory_order_relaxed) != nullptr) {
      if (ProcessCore* core = self.run_next.exchange(nullptr, std::memory_order_acq_rel); core != nullptr) {
        ++self.run_next_streak;
        return core;
      }
    }
  }
  self.run_next_streak = 0;
  return self.queue.pop();
}

bool Scheduler::should_yield(void* argument) {
  auto& slice = *static_cast<Slice*>(argument);
  const std::uint64_t now = cycles();
  if (slice.begin == 0) {
    slice.begin = now;
    return false;
  }
  if (now - slice.begin < slice.scheduler->slice_cycles_) return false;
  // Somebody else waits, or something outside may be due.
  return slice.worker->queue.size() != 0 || slice.worker->run_next.load(std::memory_order_relaxed) != nullptr ||
         slice.scheduler->shared_count_.load(std::memory_order_relaxed) != 0 ||
         now - slice.begin > 50 * slice.scheduler->slice_cycles_;
}

void Scheduler::run_one(Worker& self, ProcessCore& core) {
  self.running.store(&core, std::memory_order_relaxed);
  self.activation.store(self.activation.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  Slice slice{this, &self};
  const auto outcome = runtime_.run_process(core, {messages_per_turn, &should_yield, &slice});
  self.activation.store(self.activation.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  if (outcome == Runtime::RunOutcome::more) push_local(self, &core);
  if (self.stuck.load(std::memory_order_relaxed) && self.stuck.exchange(false)) surplus_workers_.fetch_add(1);
}

void Scheduler::run_worker(Worker& self) {
  name_this_thread(concat("dagverk ", self.number));
  current_worker = &self;
  current_slot_cache = &self.slots;
  current_slot_cache_owner = &runtime_.processes();
  runtime_abandoned = &abandoned_;
  while (!stopping_.load(std::memory_order_relaxed)) {
    if (++self.turns % timer_check_turns == 0) fire_due_timers();
    ProcessCore* core = nullptr;
    // The shared list gets a look now and then even while there is work of one's own.
    if (self.turns % 16 == 0) core = take_shared(self);
    if (core == nullptr) core = next_local(self);
    if (core == nullptr) core = take_shared(self);
    if (core == nullptr) core = search(self);
    if (core == nullptr) {
      fire_due_timers();
      if (self.run_next.load(std::memory_order_relaxed) != nullptr || self.queue.size() != 0) continue;
      park(self);
      continue;
    }
    run_one(self, *core);
  }
  awake_.fetch_sub(1);
  current_slot_cache_owner = nullptr;
  current_worker = nullptr;
  self.left.store(true);
}

void Scheduler::fire_due_timers() noexcept {
  const std::optional<SteadyTime> next = runtime_.next_timer();
  if (!next) return;
  const SteadyTime now = runtime_.clock().steady_now();
  if (*next <= now) runtime_.fire_timers(now);
}

// ---- searching and sleeping ----------------------------------------------------------------------------------------

ProcessCore* Scheduler::steal(Worker& self, Worker& victim) noexcept {
  Worker::Sight& sight = self.sights[victim.number];
  const std::uint64_t activation = victim.activation.load(std::memory_order_relaxed);
  const std::uint32_t popped = victim.queue.popped();
  const std::uint64_t now = cycles();
  const bool has_next = victim.run_next.load(std::memory_order_relaxed) != nullptr;
  const std::uint32_t size = victim.queue.size();
  if (size == 0 && !has_next) {
    sight.since = 0;
    return nullptr;
  }
  // The oldest entry of the queue has waited while `popped` stood still; the run-next one while one callback ran.
  if (sight.since == 0 || sight.popped != popped || (size == 0 && sight.activation != activation)) {
    sight = {popped, activation, now};
    return nullptr;
  }
  if (now - sight.since < steal_age_cycles_) return nullptr;
  ProcessCore* core = size != 0 ? victim.queue.pop() : nullptr;
  for (std::uint32_t more = 1; core != nullptr && more < (size + 1) / 2; ++more) {
    ProcessCore* also = victim.queue.pop();
    if (also == nullptr) break;
    if (!self.queue.push(also)) {
      also->ready_next = nullptr;
      push_shared(also, also, 1);
      break;
    }
  }
  if (core == nullptr && sight.activation == activation) {
    core = victim.run_next.exchange(nullptr, std::memory_order_acq_rel);
  }
  sight.since = 0;
  return core;
}

ProcessCore* Scheduler::search(Worker& self) {
  int nobody = 0;
  if (!searching_.compare_exchange_strong(nobody, 1)) return nullptr;
  const unsigned slots = worker_slots_.load(std::memory_order_acquire);
  const std::uint64_t begin = cycles();
  std::uint64_t polite_at = begin + yield_cycles_;
  ProcessCore* found = nullptr;
  while (found == nullptr && !stopping_.load(std::memory_order_relaxed)) {
    found = take_shared(self);
    for (unsigned step = 1; found == nullptr && step < slots; ++step) {
      found = steal(self, *workers_[(self.number + step) % slots]);
    }
    const std::uint64_t now = cycles();
    if (found != nullptr || now - begin > spin_cycles_) break;
    fire_due_timers();
    if (found = next_local(self); found != nullptr) break;
    if (now >= polite_at) {
      ::sched_yield();  // threads outside of the runtime may want this core: a store's writer, job threads
      polite_at = cycles() + yield_cycles_;
    }
    for (int pause = 0; pause < 16; ++pause) cpu_relax();
  }
  searching_.store(0);
  // More than we can run at once: the next searcher is woken, rarely.
  if (found != nullptr && (self.queue.size() != 0 || shared_count_.load(std::memory_order_relaxed) != 0))
    wake_for_surplus();
  return found;
}

bool Scheduler::work_to_take(const Worker& self) const noexcept {
  return shared_count_.load() != 0 || self.queue.size() != 0 || self.run_next.load() != nullptr;
}

bool Scheduler::retire_if_surplus() noexcept {
  int surplus = surplus_workers_.load(std::memory_order_relaxed);
  while (surplus > 0) {
    if (surplus_workers_.compare_exchange_weak(surplus, surplus - 1)) return true;
  }
  return false;
}

void Scheduler::park(Worker& self) {
  if (retire_if_surplus()) {
    awake_.fetch_sub(1);
    self.dormant.store(true);
    while (self.dormant.load() && !stopping_.load()) self.parker.park(Duration::max());
    awake_.fetch_add(1);
    return;
  }
  self.is_parked.store(true);
  parked_.fetch_add(1);
  const int others_awake = awake_.fetch_sub(1) - 1;
  // Sequentially consistent with make_ready(): either it sees us parked or we see its work.
  if (!work_to_take(self) && !stopping_.load()) {
    Duration limit = others_awake > 0 ? parked_look_interval : Duration::max();
    if (const std::optional<SteadyTime> next = runtime_.next_timer(); next) {
      limit = std::min(limit, std::max(Duration::zero(), *next - runtime_.clock().steady_now()));
    }
    self.parker.park(limit);
  }
  awake_.fetch_add(1);
  parked_.fetch_sub(1);
  self.is_parked.store(false);
}

void Scheduler::timer_armed(SteadyTime deadline) noexcept {
  // A worker that arms it looks at the timers before it parks; somebody else's timer may need one to wake earlier.
  auto* self = static_cast<Worker*>(current_worker);
  if (self != nullptr && self->scheduler == this) return;
  if (const std::optional<SteadyTime> next = runtime_.next_timer(); next && *next < deadline) return;
  wake_one();
}

Result<void> Scheduler::block_on(BlockingWaiter& waiter, Duration timeout) noexcept {
  const std::uint64_t begin = cycles();
  const std::uint64_t spin = 4 * slice_cycles_;  // 4 µs: longer than a call into an awake runtime takes
  while (!waiter.ready()) {
    if (cycles() - begin > spin) break;
    cpu_relax();
  }
  if (waiter.ready()) return {};
  if (timeout <= Duration::zero()) timeout = Duration::max();
  const SteadyTime start = runtime_.clock().steady_now();
  const SteadyTime deadline = timeout > SteadyTime::max() - start ? SteadyTime::max() : start + timeout;
  while (!waiter.ready()) {
    const SteadyTime now = runtime_.clock().steady_now();
    if (now >= deadline) return Error(ErrorCode::timeout, "no answer within the limit");
    waiter.park(deadline == SteadyTime::max() ? Duration::max() : deadline - now);
  }
  return {};
}

// ---- servers that block --------------------------------------------------------------------------------------------

void BlockingHost::make_ready(ProcessCore& core) noexcept {
  MutexLock lock(mutex_);
  ready_.push_back(&core);
  changed_.notify_one();
}

void Scheduler::give_own_thread(ProcessCore& core) {
  MutexLock lock(hosts_mutex_);
  for (const std::unique_ptr<BlockingHost>& host : hosts_) {
    if (std::exchange(host->serves_, true)) continue;
    core.host.store(host.get(), std::memory_order_release);
    return;
  }
  BlockingHost& host = *hosts_.emplace_back(std::make_unique<BlockingHost>());
  host.serves_ = true;
  host.thread_ = std::thread([this, &host] { run_host(host); });
  core.host.store(&host, std::memory_order_release);
}

void Scheduler::take_own_thread(ProcessCore& core) noexcept {
  BlockingHost* host = core.host.exchange(nullptr, std::memory_order_acq_rel);
  if (host == nullptr) return;
  MutexLock lock(hosts_mutex_);
  host->serves_ = false;
}

void Scheduler::run_host(BlockingHost& host) {
  name_this_thread("dagverk block");
  runtime_abandoned = &abandoned_;
  for (;;) {
    ProcessCore* core = nullptr;
    {
      MutexLock lock(host.mutex_);
      while (host.ready_.empty() && !host.stopping_) host.changed_.wait(host.mutex_);
      if (host.ready_.empty()) {
        host.left_ = true;
        return;
      }
      core = host.ready_.front();
      host.ready_.pop_front();
    }
    host.running_.store(core, std::memory_order_relaxed);
    const auto outcome = runtime_.run_process(*core, {messages_per_turn, nullptr, nullptr});
    host.running_.store(nullptr, std::memory_order_relaxed);
    if (outcome == Runtime::RunOutcome::more) host.make_ready(*core);
    if (outcome == Runtime::RunOutcome::exited) {
      // Late messages still come here until the slot is reused; they find nobody. The thread is free for the next
      // server.
      MutexLock lock(hosts_mutex_);
      host.serves_ = false;
    }
  }
}

// ---- the watchdog --------------------------------------------------------------------------------------------------

void Scheduler::run_watchdog() {
  name_this_thread("dagverk watch");
  std::uint32_t idle_rounds = 0;
  while (!stopping_.load()) {
    // Nothing can be stuck while everybody is parked: look less often.
    watchdog_parker_.park(idle_rounds > 0 ? watchdog_interval * watchdog_idle_factor : watchdog_interval);
    if (stopping_.load()) return;
    idle_rounds = awake_.load(std::memory_order_relaxed) <= 0 ? idle_rounds + 1 : 0;
    look_for_stuck(nullptr);
    // With every worker in a long callback nobody else would.
    const std::optional<SteadyTime> next = runtime_.next_timer();
    if (next && *next + watchdog_interval < runtime_.clock().steady_now()) fire_due_timers();
  }
}

void Scheduler::look_for_stuck(std::vector<std::string>* report) {
  const SteadyTime now = runtime_.clock().steady_now();
  const unsigned slots = worker_slots_.load(std::memory_order_acquire);
  for (unsigned number = 0; number < slots; ++number) {
    Worker& worker = *workers_[number];
    const std::uint64_t activation = worker.activation.load(std::memory_order_acquire);
    if (activation % 2 == 0 || activation != worker.seen_activation) {
      worker.seen_activation = activation;
      worker.seen_since = now;
      continue;
    }
    if (now - worker.seen_since < options_.stuck_after) continue;
    ProcessCore* core = worker.running.load(std::memory_order_relaxed);
    if (core == nullptr) continue;
    const ProcessType* type = core->type.load(std::memory_order_relaxed);
    const NodeOps* ops = core->current_ops.load(std::memory_order_relaxed);
    const std::string_view kind = type != nullptr ? type->name : std::string_view("process");
    const std::string_view handles = ops != nullptr ? ops->name : std::string_view("?");
    if (report != nullptr) report->push_back(concat(kind, " #", core->pid().number(), " handling ", handles));
    if (worker.stuck.load() || stopping_.load()) continue;
    worker.stuck.store(true);
    stuck_count_.fetch_add(1, std::memory_order_relaxed);
    runtime_.logger().warning(
        "process.stuck",
        {{"pid", core->pid().number()},
         {"kind", kind},
         {"handles", handles},
         {"since_ms", std::chrono::duration_cast<std::chrono::milliseconds>(now - worker.seen_since).count()}});
    start_spare();
  }
}

void Scheduler::start_spare() {
  const unsigned slots = worker_slots_.load();
  for (unsigned number = 0; number < slots; ++number) {
    Worker& worker = *workers_[number];
    if (worker.dormant.exchange(false)) {
      worker.parker.unpark();
      return;
    }
  }
  if (slots == workers_.size()) {
    runtime_.logger().error("scheduler.spares_exhausted", {{"spare_workers_max", options_.spare_workers_max}});
    return;
  }
  Worker& worker = *workers_[slots];
  awake_.fetch_add(1);
  worker_slots_.store(slots + 1, std::memory_order_release);
  worker.thread = std::thread([this, &worker] { run_worker(worker); });
}

// ---- the end -------------------------------------------------------------------------------------------------------

void Scheduler::process_gone() noexcept {
  MutexLock lock(stop_mutex_);
  stop_changed_.notify_all();
}

StopReport Scheduler::stop(Duration timeout) {
  DAGVERK_ASSERT(current_process == nullptr);
  if (std::exchange(stopped_, true)) return report_;
  const auto wait_for_none = [this](Duration limit) {
    const SteadyTime deadline = runtime_.clock().steady_now() + limit;
    MutexLock lock(stop_mutex_);
    while (runtime_.process_count() != 0) {
      const Duration left = deadline - runtime_.clock().steady_now();
      if (left <= Duration::zero()) return false;
      // The last process may end, and a callback start one more, between our look and our wait: look again soon.
      stop_changed_.wait_for(stop_mutex_, std::min<Duration>(left, std::chrono::milliseconds(50)));
    }
    return true;
  };
  bool anybody_left = false;
  if (runtime_.process_count() != 0) {
    runtime_.announce_exits();
    runtime_.stop_roots();
    if (!wait_for_none(std::min<Duration>(timeout, std::chrono::hours(24)))) {
      report_.killed = runtime_.process_count();
      runtime_.kill_all();
      // What is only suspended ends at once; what keeps its thread does not.
      anybody_left = !wait_for_none(std::max<Duration>(options_.stuck_after * 2, std::chrono::milliseconds(250)));
    }
  }
  stopping_.store(true);
  watchdog_parker_.unpark();
  if (watchdog_.joinable()) watchdog_.join();
  if (anybody_left) look_for_stuck(&report_.stuck);

  const SteadyTime deadline = runtime_.clock().steady_now() + std::chrono::seconds(report_.stuck.empty() ? 10 : 1);
  const auto end_thread = [&](std::thread& thread, const auto& has_left, const auto& wake) {
    if (!thread.joinable()) return;
    wake();
    while (!has_left() && runtime_.clock().steady_now() < deadline) {
      wake();
      std::this_thread::yield();
    }
    if (has_left()) {
      thread.join();
    } else {
      thread.detach();
      threads_stuck_ = true;
    }
  };
  for (const std::unique_ptr<Worker>& worker : workers_) {
    end_thread(worker->thread, [&] { return worker->left.load(); }, [&] { worker->parker.unpark(); });
  }
  // Without the lock: a host whose server has just ended takes it. Nobody starts servers any more but other hosts'
  // ones.
  const auto host_at = [this](std::size_t index) -> BlockingHost* {
    MutexLock lock(hosts_mutex_);
    return index < hosts_.size() ? hosts_[index].get() : nullptr;
  };
  for (std::size_t index = 0; BlockingHost* host = host_at(index); ++index) {
    end_thread(
        host->thread_,
        [&] {
          MutexLock host_lock(host->mutex_);
          return host->left_;
        },
        [&] {
          MutexLock host_lock(host->mutex_);
          host->stopping_ = true;
          host->changed_.notify_one();
        });
  }
  if (threads_stuck_ && report_.stuck.empty()) report_.stuck.emplace_back("a blocking server that does not return");
  return report_;
}

}  // namespace dagverk::detail
