#include "dagverk/runtime/runtime_base.hpp"

#include "bounded_inbox.hpp"
#include "name_table.hpp"
#include "outside_gate.hpp"
#include "process_extra.hpp"
#include "process_life.hpp"
#include "process_table.hpp"
#include "signals.hpp"
#include "timer_queue.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/runtime/detail/prefetch.hpp"

#include <algorithm>
#include <unistd.h>
#include <utility>
#include <vector>

namespace dagverk {

std::uint64_t Pid::number() const noexcept {
  if (core_ == nullptr) return 0;
  const std::uint32_t first = detail::slab_of(*core_).rest().first_generation.load(std::memory_order_relaxed);
  return (std::uint64_t{(generation_ - first) / 2} << 24U) + detail::index_of(*core_) + 1;
}

namespace detail {

void stay_if_abandoned() noexcept {
  if (runtime_abandoned == nullptr || !runtime_abandoned->load(std::memory_order_acquire)) return;
  for (;;) ::pause();  // the runtime is gone; this thread's stack is all that is left of it
}

void keep_for_ever(void* object) {
  static Mutex mutex;
  static auto* kept = new std::vector<void*>;  // reachable, so that leak checkers can tell it from a mistake
  MutexLock lock(mutex);
  kept->push_back(object);
}

std::uint32_t inbox_count(const BoundedInbox& inbox) noexcept { return inbox.count(); }

void report_failed_cleanup(std::string_view what) noexcept {
  if (current_process == nullptr) return;  // nobody to tell
  current_process->runtime->logger().error("process.cleanup_failed",
                                           {{"pid", current_process->pid().number()}, {"destroyed", what}});
}

void Behaviour::on_down(ProcessCore& /*core*/, const Down& /*down*/) {}
void Behaviour::on_exit(ProcessCore& core, const Exit& exit) {
  core.runtime->logger().warning("process.ignored_exit",
                                 {{"pid", core.pid().number()}, {"reason", exit.reason.to_string()}});
}
bool Behaviour::begin_terminate(ProcessCore& /*core*/, const ExitReason& /*reason*/) { return false; }
bool Behaviour::terminates_later() const noexcept { return false; }
void Behaviour::on_terminate(const ExitReason& /*reason*/) {}
void Behaviour::on_idle(ProcessCore& /*core*/) {}
void Behaviour::on_leave(ProcessCore& /*core*/) {}

bool send(Pid pid, Node* node) noexcept {
  ProcessCore* core = pid.core();
  prefetch_to_write(core);  // we read it first: it would come twice
  if (core == nullptr || core->generation.load(std::memory_order_acquire) != pid.generation()) {
    node->ops->discard(node, ExitReason::noproc);
    return false;
  }
  // A kill goes before everything, bound or not.
  if (BoundedInbox* inbox = core->inbox.load(std::memory_order_acquire);
      inbox != nullptr && node->ops->node_class != NodeClass::kill) [[unlikely]] {
    return inbox->send(pid, node);
  }
  node->generation = pid.generation();
  // To one that is idle the message goes straight to the owner's side: its turn need not grab the mailbox for it. A
  // kill is seen where the mailbox is grabbed.
  if (node->ops->node_class != NodeClass::kill && core->mailbox.claim_idle()) {
    if (core->traced) [[unlikely]] {
      static_cast<void>(core->mailbox.push(node));  // its tracer is told when the turn takes it
    } else {
      ProcessLife::append_new(*core, node);
    }
    core->runtime->make_ready(*core);
  } else if (core->mailbox.push(node)) {
    core->runtime->make_ready(*core);
  }
  return true;
}

void push_front(Node* node) noexcept {
  ProcessCore& core = *current_process;
  node->generation = core.generation.load(std::memory_order_relaxed);
  node->next = core.pending_first;
  core.pending_first = node;
  if (core.pending_last == nullptr) core.pending_last = node;
  core.pending_count.store(core.pending_count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

}  // namespace detail

RuntimeBase::RuntimeBase(const Clock& clock, Logger& logger)
    : clock_(clock),
      logger_(logger),
      processes_(std::make_unique<detail::ProcessTable>(*this)),
      names_(std::make_unique<detail::NameTable>()),
      timers_(std::make_unique<detail::TimerQueue>(clock.steady_now())),
      edges_(std::make_unique<detail::EdgeTable>()),
      outside_(std::make_unique<detail::OutsideGate>()),
      inboxes_(std::make_unique<detail::InboxPool>()),
      origin_(clock.steady_now()) {}

RuntimeBase::~RuntimeBase() = default;

Pid RuntimeBase::new_process(bool blocking) {
  detail::ProcessCore& core = processes_->take();
  if (blocking) give_own_thread(core);
  // The slot is ours alone until its first message.
  const std::uint32_t generation = core.generation.load(std::memory_order_relaxed) + 1;
  core.generation.store(generation, std::memory_order_release);
  return {&core, generation};
}

void RuntimeBase::abandon_process(Pid pid) noexcept {
  detail::ProcessCore& core = *pid.core();
  take_own_thread(core);
  if (detail::ProcessExtra* extra = core.extra; extra != nullptr) {
    core.extra = nullptr;
    processes_->extra_readers().retire(extra);
  }
  core.generation.store(pid.generation() + 1, std::memory_order_release);
  processes_->give(core);
}

Result<void> RuntimeBase::check_may_block() const {
  if (detail::current_process != nullptr) {
    return Error(ErrorCode::wrong_thread,
                 "blocking inside a process would stop a scheduler thread; use the awaitable form there");
  }
  if (stopped()) return Error(ErrorCode::shutting_down, "the runtime has been stopped");
  return {};
}

void RuntimeBase::exit(Pid pid, ExitReason reason) {
  static_cast<void>(detail::send(pid, detail::make_exit_signal(Pid(), std::move(reason), false)));
}

std::optional<Pid> RuntimeBase::whereis(std::string_view name) const {
  const auto holder = names_->find(name);
  if (!holder) return std::nullopt;
  return holder->pid;
}

Result<Pid> RuntimeBase::resolve(std::string_view name, const detail::ProcessType& type) const {
  const auto holder = names_->find(name);
  if (!holder) return Error(ErrorCode::no_process, concat("nobody holds the name \"", name, "\""));
  if (holder->type != &type) {
    return Error(ErrorCode::wrong_type,
                 concat("the name \"", name, "\" is held by a ", holder->type->name, ", not by a ", type.name));
  }
  return holder->pid;
}

std::size_t RuntimeBase::process_count() const noexcept { return processes_->in_use(); }

bool RuntimeBase::alive(Pid pid) noexcept {
  return pid && pid.core()->generation.load(std::memory_order_acquire) == pid.generation();
}

detail::TimerSlot RuntimeBase::arm_timer(SteadyTime deadline, Pid target, detail::Node* node) {
  const detail::TimerSlot slot = timers_->arm(deadline, target, node);
  on_timer_armed(deadline);
  return slot;
}

std::optional<Duration> RuntimeBase::cancel_timer(detail::TimerSlot slot) noexcept {
  const std::optional<SteadyTime> deadline = timers_->cancel(slot);
  if (!deadline) return std::nullopt;
  return std::max(Duration::zero(), *deadline - clock_.steady_now());
}

std::optional<SteadyTime> RuntimeBase::next_timer() const { return timers_->next(); }

void RuntimeBase::fire_timers(SteadyTime now) {
  constexpr std::size_t batch = 256;
  std::vector<detail::TimerQueue::Due> due;
  struct Firing {
    bool outer = std::exchange(detail::firing_timers, true);
    ~Firing() { detail::firing_timers = outer; }
  } const firing;
  do {
    due.clear();
    timers_->take_due(now, batch, due);
    for (const detail::TimerQueue::Due& timer : due) static_cast<void>(detail::send(timer.target, timer.node));
  } while (due.size() == batch);
}

Result<void> RuntimeBase::register_name(std::string name, Pid pid, const detail::ProcessType& type) {
  if (name.empty()) return Error(ErrorCode::invalid_argument, "a process name must not be empty");
  return names_->add(std::move(name), pid, type);
}

void RuntimeBase::release_name(std::string_view name, Pid pid) noexcept { names_->remove(name, pid); }

void RuntimeBase::stop_roots() {
  processes_->for_each([](detail::ProcessCore& core) {
    const std::uint32_t generation = core.generation.load(std::memory_order_acquire);
    if (generation % 2 == 0 || core.has_parent.load(std::memory_order_relaxed)) return;
    static_cast<void>(detail::send(Pid(&core, generation), detail::make_stop_signal(ExitReason::shutdown)));
  });
}

void RuntimeBase::kill_all() {
  processes_->for_each([](detail::ProcessCore& core) {
    const std::uint32_t generation = core.generation.load(std::memory_order_acquire);
    if (generation % 2 == 0) return;
    static_cast<void>(detail::send(Pid(&core, generation), detail::make_exit_signal(Pid(), ExitReason::kill, false)));
  });
}

void RuntimeBase::leak_processes() noexcept {
  processes_->for_each([](const detail::ProcessCore& core) {
    if (detail::Node* node = core.mailbox.newest(); node != nullptr) detail::keep_for_ever(node);
  });
  detail::keep_for_ever(processes_.release());
  detail::keep_for_ever(names_.release());
  detail::keep_for_ever(timers_.release());
  detail::keep_for_ever(edges_.release());
  detail::keep_for_ever(outside_.release());
  detail::keep_for_ever(inboxes_.release());
}

}  // namespace dagverk
