#include "scheduler.hpp"

#include "cycles.hpp"
#include "outside_gate.hpp"
#include "thread_name.hpp"
#include "trickle.hpp"

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
constexpr std::uint32_t surplus_look_interval = 16;
constexpr Duration parked_look_interval = std::chrono::milliseconds(1);
constexpr Duration watchdog_interval = std::chrono::milliseconds(20);
constexpr std::uint32_t watchdog_idle_factor = 5;
constexpr std::size_t stop_report_max = 1000;

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
  Worker(Scheduler& owner, unsigned own_number, bool exact_busy_time)
      : scheduler(&owner),
        number(own_number),
        busy(owner.runtime_.coarse_ms(), exact_busy_time),
        trickle(owner.slice_cycles_) {}

  Scheduler* scheduler;
  unsigned number;

  RunQueue queue;
  std::uint32_t turns = 0;
  std::uint32_t run_next_streak = 0;
  std::uint64_t timers_looked_at = 0;  // in cycles
  SlotCache slots;
  BusyMeter busy;
  Trickle trickle;

  // Odd while a process runs: whoever reads the same odd number twice knows that a callback has kept the thread.
  alignas(64) std::atomic<std::uint64_t> activation{0};
  std::atomic<ProcessCore*> running{nullptr};
  std::atomic<std::uint64_t> began_ms{0};  // when it took that one, on the coarse clock
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
  std::uint64_t begin = 0;  // when messages were first found to have come meanwhile
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
      surplus_wake_cycles_(200 * cycles_per_microsecond()),
      timer_look_cycles_(20 * cycles_per_microsecond()) {
  const unsigned slots = workers_wanted_ + options.spare_workers_max;
  for (unsigned number = 0; number < slots; ++number) {
    auto worker = std::make_unique<Worker>(*this, number, options.exact_busy_time);
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
    if (ProcessCore* before = self->queue.put_next(&core); before != nullptr) {
      push_local(*self, before);
      wake_for_surplus(*self);
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

void Scheduler::wake_for_surplus(const Worker& self) noexcept {
  // The first that waits and then every sixteenth: whoever makes many ready need not look at the clock for each.
  if (const std::uint32_t waiting = self.queue.size(); waiting > 1 && waiting % surplus_look_interval != 0) return;
  if (parked_.load(std::memory_order_relaxed) == 0 || searching_.load(std::memory_order_relaxed) != 0) return;
  const std::uint64_t now = cycles();
  std::uint64_t last = last_surplus_wake_.load(std::memory_order_relaxed);
  if (now - last < surplus_wake_cycles_) return;
  if (last_surplus_wake_.compare_exchange_strong(last, now, std::memory_order_relaxed)) wake_one();
}

// ---- running -------------------------------------------------------------------------------------------------------

ProcessCore* Scheduler::next_local(Worker& self) noexcept {
  if (self.run_next_streak < run_next_streak_max || self.queue.size() == 0) {
    if (ProcessCore* core = self.queue.take_next(); core != nullptr) {
      ++self.run_next_streak;
      return core;
    }
  }
  self.run_next_streak = 0;
  return self.queue.pop();
}

bool Scheduler::should_yield(void* argument, std::uint32_t found) {
  auto& slice = *static_cast<Slice*>(argument);
  Worker& worker = *slice.worker;
  const Scheduler& scheduler = *slice.scheduler;
  const std::uint64_t now = cycles();
  if (slice.begin == 0) slice.begin = now;
  const bool pauses = worker.trickle.should_pause(worker.running.load(std::memory_order_relaxed), found, now);
  // Somebody else waits, or something outside may be due.
  if (!worker.queue.empty() || scheduler.shared_count_.load(std::memory_order_relaxed) != 0)
    return now - slice.begin >= scheduler.slice_cycles_;
  if (now - slice.begin > 50 * scheduler.slice_cycles_) return true;
  if (pauses) {
    std::uint64_t later = now;
    for (; later - now < scheduler.slice_cycles_; later = cycles()) cpu_relax();
    worker.trickle.has_paused(later);
  }
  return false;
}

void Scheduler::run_one(Worker& self, ProcessCore& core) {
  self.running.store(&core, std::memory_order_relaxed);
  self.began_ms.store(runtime_.coarse_ms().load(std::memory_order_relaxed), std::memory_order_relaxed);
  self.activation.store(self.activation.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  Slice slice{this, &self};
  const auto outcome = runtime_.run_process(core, {messages_per_turn, &should_yield, &slice, &self.busy});
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
  self.busy.begin();
  while (!stopping_.load(std::memory_order_relaxed)) {
    if (++self.turns % timer_check_turns == 0) look_at_timers(self);
    ProcessCore* core = nullptr;
    // The shared list gets a look now and then even while there is work of one's own.
    if (self.turns % 16 == 0) core = take_shared(self);
    if (core == nullptr) core = next_local(self);
    if (core == nullptr) core = take_shared(self);
    if (core == nullptr) {
      core = search(self);
      self.busy.begin();  // what has passed is nobody's
    }
    if (core == nullptr) {
      fire_due_timers();
      if (!self.queue.empty()) continue;
      park(self);
      self.busy.begin();
      continue;
    }
    run_one(self, *core);
  }
  awake_.fetch_sub(1);
  current_slot_cache_owner = nullptr;
  current_worker = nullptr;
  thread_left(self.left);
}

void Scheduler::look_at_timers(Worker& self) noexcept {
  // The clock costs more than a small message: a timer may wait for this long behind those.
  const std::uint64_t now = cycles();
  if (now - self.timers_looked_at < timer_look_cycles_) return;
  self.timers_looked_at = now;
  fire_due_timers();
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
  const std::uint32_t size = victim.queue.size();
  if (size == 0 && !victim.queue.has_next()) {
    sight.since = 0;
    return nullptr;
  }
  // The oldest entry of the queue has waited while `popped` stood still; the run-next one while one callback ran.
  if (sight.since == 0 || sight.popped != popped || (size == 0 && sight.activation != activation)) {
    sight = {popped, activation, now};
    return nullptr;
  }
  if (now - sight.since < steal_age_cycles_) return nullptr;
  ProcessCore* first = nullptr;
  victim.queue.steal(self.number + 1, sight.activation == activation, [&](ProcessCore* core) {
    if (first == nullptr) {
      first = core;
    } else {
      push_local(self, core);
    }
  });
  sight.since = 0;
  return first;
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
    wake_for_surplus(self);
  return found;
}

bool Scheduler::work_to_take(const Worker& self) const noexcept {
  return shared_count_.load() != 0 || !self.queue.empty();
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
  OutsideGate& gate = runtime_.outside();
  gate.add(waiter);
  struct Removal {
    OutsideGate& gate;
    const BlockingWaiter& waiter;
    ~Removal() { gate.remove(waiter); }
  } const removal{gate, waiter};
  while (!waiter.ready()) {
    if (gate.closed()) return Error(ErrorCode::shutting_down, "the runtime is being destroyed");
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
  if (stopping_.load()) return;  // it will not run any more
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
  BusyMeter busy(runtime_.coarse_ms(), options_.exact_busy_time);
  for (;;) {
    ProcessCore* core = nullptr;
    {
      MutexLock lock(host.mutex_);
      while (host.ready_.empty() && !host.stopping_) host.changed_.wait(host.mutex_);
      if (host.ready_.empty()) break;
      core = host.ready_.front();
      host.ready_.pop_front();
    }
    host.began_ms_.store(runtime_.coarse_ms().load(std::memory_order_relaxed), std::memory_order_relaxed);
    host.running_.store(core, std::memory_order_relaxed);
    busy.begin();
    const auto outcome = runtime_.run_process(*core, {messages_per_turn, nullptr, nullptr, &busy});
    host.running_.store(nullptr, std::memory_order_relaxed);
    if (outcome == Runtime::RunOutcome::more) host.make_ready(*core);
    if (outcome == Runtime::RunOutcome::exited) {
      // Late messages still come here until the slot is reused; they find nobody. The thread is free for the next
      // server.
      MutexLock lock(hosts_mutex_);
      host.serves_ = false;
    }
  }
  thread_left(host.left_);
}

// ---- the watchdog --------------------------------------------------------------------------------------------------

void Scheduler::run_watchdog() {
  name_this_thread("dagverk watch");
  std::uint32_t idle_rounds = 0;
  while (!stopping_.load()) {
    // Nothing can be stuck while everybody is parked: look less often.
    watchdog_parker_.park(idle_rounds > 0 ? watchdog_interval * watchdog_idle_factor : watchdog_interval);
    if (stopping_.load()) return;
    runtime_.note_time(runtime_.clock().steady_now());
    idle_rounds = awake_.load(std::memory_order_relaxed) <= 0 ? idle_rounds + 1 : 0;
    look_for_stuck();
    // With every worker in a long callback nobody else would.
    const std::optional<SteadyTime> next = runtime_.next_timer();
    if (next && *next + watchdog_interval < runtime_.clock().steady_now()) fire_due_timers();
  }
}

void Scheduler::look_for_stuck() {
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

void Scheduler::list_running(std::vector<Runtime::Running>& running) {
  const unsigned slots = worker_slots_.load(std::memory_order_acquire);
  for (unsigned number = 0; number < slots; ++number) {
    const Worker& worker = *workers_[number];
    const std::uint64_t activation = worker.activation.load(std::memory_order_acquire);
    if (activation % 2 == 0) continue;
    const Runtime::Running seen{worker.running.load(std::memory_order_relaxed),
                                worker.began_ms.load(std::memory_order_relaxed)};
    if (seen.core != nullptr) running.push_back(seen);
  }
  MutexLock lock(hosts_mutex_);
  for (const std::unique_ptr<BlockingHost>& host : hosts_) {
    const ProcessCore* core = host->running_.load(std::memory_order_relaxed);
    if (core != nullptr) running.push_back({core, host->began_ms_.load(std::memory_order_relaxed)});
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

void Scheduler::thread_left(std::atomic<bool>& left) noexcept {
  MutexLock lock(stop_mutex_);
  left.store(true);
  stop_changed_.notify_all();
}

bool Scheduler::wait_until_none(SteadyTime deadline, bool orderly) {
  Duration look_again = std::chrono::milliseconds(50);
  SteadyTime next_look = runtime_.clock().steady_now() + look_again;
  while (runtime_.process_count() != 0) {
    const SteadyTime now = runtime_.clock().steady_now();
    if (now >= deadline) return false;
    if (now >= next_look) {
      // Who was started meanwhile, or has lost its parent, has not been told yet.
      if (orderly) {
        runtime_.stop_roots();
      } else {
        runtime_.kill_all();
      }
      look_again = std::min<Duration>(look_again * 2, std::chrono::seconds(1));
      next_look = now + look_again;
    }
    MutexLock lock(stop_mutex_);
    if (runtime_.process_count() == 0) break;
    stop_changed_.wait_for(stop_mutex_, std::min(deadline, next_look) - now);
  }
  return true;
}

std::size_t Scheduler::end_threads(SteadyTime deadline) {
  stopping_.store(true);
  watchdog_parker_.unpark();
  if (watchdog_.joinable()) watchdog_.join();
  std::vector<BlockingHost*> hosts;
  {
    MutexLock lock(hosts_mutex_);  // nobody gets a host any more
    for (const std::unique_ptr<BlockingHost>& host : hosts_) hosts.push_back(host.get());
  }
  for (BlockingHost* host : hosts) {
    MutexLock lock(host->mutex_);
    host->stopping_ = true;
    host->changed_.notify_one();
  }
  for (const std::unique_ptr<Worker>& worker : workers_) worker->parker.unpark();

  struct Ending {
    std::thread* thread;
    const std::atomic<bool>* left;
  };
  std::vector<Ending> endings;
  const std::thread::id self = std::this_thread::get_id();
  const auto add = [&](std::thread& thread, const std::atomic<bool>& left) {
    if (thread.joinable() && thread.get_id() != self) endings.push_back({&thread, &left});
  };
  for (const std::unique_ptr<Worker>& worker : workers_) add(worker->thread, worker->left);
  for (BlockingHost* host : hosts) add(host->thread_, host->left_);
  {
    // One deadline for all: whoever leaves in time is waited for, whoever else there is.
    MutexLock lock(stop_mutex_);
    const auto left = [](const Ending& ending) { return ending.left->load(); };
    while (!std::ranges::all_of(endings, left)) {
      const Duration limit = deadline - runtime_.clock().steady_now();
      if (limit <= Duration::zero()) break;
      stop_changed_.wait_for(stop_mutex_, limit);
    }
  }
  std::size_t left_alone = 0;
  for (const Ending& ending : endings) {
    if (ending.left->load()) {
      ending.thread->join();
    } else {
      ending.thread->detach();
      ++left_alone;
    }
  }
  return left_alone;
}

StopReport Scheduler::stop(Duration timeout) {
  MutexLock one_at_a_time(stopper_mutex_);
  if (std::exchange(stopped_, true)) return report_;
  const Duration orderly = std::clamp<Duration>(timeout, Duration::zero(), std::chrono::hours(24));
  const Duration grace = std::clamp<Duration>(options_.kill_timeout, Duration::zero(), std::chrono::hours(24));
  const SteadyTime orderly_end = runtime_.clock().steady_now() + orderly;
  const SteadyTime end = orderly_end + grace;  // of everything
  runtime_.announce_exits();
  if (runtime_.process_count() != 0) {
    runtime_.stop_roots();
    if (!wait_until_none(orderly_end, true)) {
      report_.late = still_there();
      report_.killed = runtime_.process_count();
      runtime_.kill_all();
      // What is only suspended ends at once; what keeps its thread does not. The threads need some of the time, too.
      if (!wait_until_none(end - grace / 4, false)) report_.stuck = still_there();
    }
  }
  for (const ProcessInfo& info : report_.stuck) {
    const auto since_ms = std::chrono::duration_cast<std::chrono::milliseconds>(info.in_state).count();
    runtime_.logger().error("runtime.left_behind", {{"pid", info.pid.number()},
                                                    {"name", info.name},
                                                    {"kind", info.kind},
                                                    {"handles", info.handles},
                                                    {"since_ms", since_ms}});
  }
  // Nobody keeps a thread unless it is stuck: the others leave in microseconds, but may have to wait for a core.
  const SteadyTime threads_end = report_.stuck.empty() ? std::max(end, runtime_.clock().steady_now() + grace) : end;
  report_.threads = end_threads(threads_end);
  threads_stuck_ = report_.threads != 0;
  return report_;
}

std::vector<ProcessInfo> Scheduler::still_there() const {
  std::vector<ProcessInfo> all = runtime_.snapshot().processes;
  std::vector<ProcessInfo> infos;
  // The ones that explain it first.
  for (const ProcessState state :
       {ProcessState::running, ProcessState::waiting, ProcessState::ready, ProcessState::idle}) {
    for (ProcessInfo& info : all) {
      if (info.state == state && infos.size() < stop_report_max) infos.push_back(std::move(info));
    }
  }
  return infos;
}

void Scheduler::leave_from_inside() {
  MutexLock one_at_a_time(stopper_mutex_);
  stopped_ = true;
  report_.threads = end_threads(runtime_.clock().steady_now() + options_.kill_timeout);
  threads_stuck_ = true;
}

}  // namespace dagverk::detail
