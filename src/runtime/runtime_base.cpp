#include "dagverk/runtime/runtime_base.hpp"

#include "name_table.hpp"
#include "process_extra.hpp"
#include "process_table.hpp"
#include "signals.hpp"
#include "timer_queue.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/runtime/completion.hpp"
#include "dagverk/runtime/gen_server.hpp"

#include <algorithm>
#include <cstdlib>
#include <cxxabi.h>
#include <exception>
#include <typeinfo>
#include <unistd.h>
#include <utility>
#include <vector>

namespace dagverk {

namespace {

std::string readable_type_name(const std::type_info& type) {
  int status = 0;
  char* text = abi::__cxa_demangle(type.name(), nullptr, nullptr, &status);
  std::string name = status == 0 ? text : type.name();
  std::free(text);  // NOLINT(cppcoreguidelines-no-malloc): the ABI allocates with malloc
  return name;
}

/// Turns the exception being handled into the reason its process ends with.
ExitReason reason_of_current_exception() noexcept {
  try {
    throw;
  } catch (const std::exception& error) {
    return ExitReason::error(readable_type_name(typeid(error)), error.what());
  } catch (...) {
    const std::type_info* type = abi::__cxa_current_exception_type();
    return ExitReason::error(type != nullptr ? readable_type_name(*type) : "unknown", {});
  }
}

/// Gives back the memory of handled messages, those of one chunk in one step.
class FreedNodes {
 public:
  FreedNodes() = default;
  FreedNodes(const FreedNodes&) = delete;
  FreedNodes& operator=(const FreedNodes&) = delete;
  ~FreedNodes() { flush(); }

  void add(detail::Node* node) noexcept {
#if defined(DAGVERK_PLAIN_ALLOCATION)
    detail::free_node(node);
#else
    if (node->size_bytes > detail::chunk_block_max) {
      detail::free_node(node);
      return;
    }
    if (count_ != 0 && !detail::same_chunk(block_, node)) flush();
    block_ = node;
    ++count_;
#endif
  }

 private:
  void flush() noexcept {
    if (count_ != 0) detail::chunk_free_run(block_, std::exchange(count_, 0));
  }

  void* block_ = nullptr;
  std::uint32_t count_ = 0;
};

bool is_urgent(const detail::Node* node) noexcept { return node->ops->node_class > detail::NodeClass::notice; }

}  // namespace

std::uint64_t Pid::number() const noexcept {
  return core_ == nullptr ? 0 : (std::uint64_t{generation_ / 2} << 24U) + core_->index + 1;
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

void Behaviour::on_down(ProcessCore& /*core*/, const Down& /*down*/) {}
void Behaviour::on_exit(ProcessCore& core, const Exit& exit) {
  core.runtime->logger().warning("process.ignored_exit",
                                 {{"pid", core.pid().number()}, {"reason", exit.reason.to_string()}});
}
bool Behaviour::begin_terminate(ProcessCore& /*core*/, const ExitReason& /*reason*/) { return false; }
bool Behaviour::terminates_later() const noexcept { return false; }
void Behaviour::on_terminate(const ExitReason& /*reason*/) {}
void Behaviour::on_leave(ProcessCore& /*core*/) {}

bool send(Pid pid, Node* node) noexcept {
  ProcessCore* core = pid.core();
  if (core == nullptr || core->generation.load(std::memory_order_acquire) != pid.generation()) {
    node->ops->discard(node, ExitReason::noproc);
    return false;
  }
  if (const std::uint32_t bound = core->mailbox_bound.load(std::memory_order_relaxed);
      bound != 0 && node->ops->node_class == NodeClass::message && core->mailbox_depth() >= bound) [[unlikely]] {
    core->dropped_count.fetch_add(1, std::memory_order_relaxed);
    node->ops->discard(node, ExitReason::custom("mailbox full"));
    return false;
  }
  node->generation = pid.generation();
  if (core->mailbox.push(node)) core->runtime->make_ready(*core);
  return true;
}

std::uint32_t begin_wait(ProcessCore& core, std::coroutine_handle<> resume_point, Duration timeout) {
  DAGVERK_ASSERT(core.wait_status != WaitStatus::waiting);
  core.resume_point = resume_point;
  core.wait_status = WaitStatus::waiting;
  core.wait_result = nullptr;
  if (timeout <= Duration::zero() || timeout == Duration::max()) {
    core.wait_deadline = SteadyTime::max();
    return ++core.wait_token;
  }
  const Clock& clock = core.runtime->clock();
  const SteadyTime deadline =
      (timeout < std::chrono::seconds(1) ? clock.steady_now() : clock.steady_coarse()) + timeout;
  core.wait_deadline = deadline;
  // The timer of an earlier wait that fires before this deadline is good enough: it looks at the deadline and is armed
  // again. So a process that calls all day arms one timer per time limit, not one per call. A stale reading only costs
  // an early look.
  const bool armed_early_enough =
      core.wait_timer != nullptr &&
      core.wait_timer->deadline.load(std::memory_order_relaxed) <= deadline.time_since_epoch().count();
  if (!armed_early_enough) {
    if (core.wait_timer != nullptr) core.runtime->cancel_timer({core.wait_timer, core.wait_timer_sequence});
    const TimerSlot slot = core.runtime->arm_timer(deadline, core.pid(), make_wait_timeout());
    core.wait_timer = slot.entry;
    core.wait_timer_sequence = slot.sequence;
  }
  return ++core.wait_token;
}

void cancel_wait(ProcessCore& core) noexcept {
  core.wait_status = WaitStatus::none;
  core.resume_point = nullptr;
}

namespace {

/// Finishes the current callback if its outermost coroutine is done.
void settle_activity(ProcessCore& core) {
  if (!core.activity.root || !core.activity.root.done()) return;
  const Activity done = std::exchange(core.activity, Activity{});
  struct FrameGuard {
    std::coroutine_handle<> frame;
    ~FrameGuard() { frame.destroy(); }
  };
  core.current_node = done.node;  // disposed of by the barrier when `finish` throws
  const FrameGuard guard{done.root};
  done.finish(core, done.root, done.node);
  core.current_node = nullptr;
}

}  // namespace

bool accept_resume(ProcessCore& core, std::uint32_t token, Node* result) {
  if (core.wait_status != WaitStatus::waiting || core.wait_token != token) return false;
  core.wait_status = result != nullptr ? WaitStatus::resumed : WaitStatus::timed_out;
  core.wait_result = result;
  core.current_node = nullptr;  // `result` belongs to the awaiter now
  resume_chain(std::exchange(core.resume_point, nullptr));
  settle_activity(core);
  return true;
}

void start_activity(ProcessCore& core, Activity activity) {
  DAGVERK_ASSERT(!core.suspended());
  core.activity = activity;
  core.current_node = nullptr;  // `activity.node` is the activity's until it is done
  resume_chain(activity.root);
  settle_activity(core);
}

void push_front(Node* node) noexcept {
  ProcessCore& core = *current_process;
  node->generation = core.generation.load(std::memory_order_relaxed);
  node->next = core.pending_first;
  core.pending_first = node;
  if (core.pending_last == nullptr) core.pending_last = node;
  core.pending_count.store(core.pending_count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

void send_reply(Node* node, const CallHeader& header) noexcept {
  if (header.waiter != nullptr) {
    BlockingWaiter* waiter = header.waiter;
    waiter->deliver(node);
    waiter->drop_owner();
    return;
  }
  static_cast<void>(send(header.caller, node));
}

Error call_failed(const ExitReason& reason, std::string_view message_name) {
  if (reason.kind() == ExitReason::Kind::noproc) {
    return {ErrorCode::no_process, concat("call ", message_name, ": no such process")};
  }
  if (reason.kind() == ExitReason::Kind::custom && reason.message() == "mailbox full") {
    return {ErrorCode::mailbox_full, concat("call ", message_name, ": the mailbox is at its bound")};
  }
  return {ErrorCode::exited, concat("call ", message_name, ": the process ended: ", reason.to_string())};
}

Result<Node*> block_on_reply(Pid callee, Node* request, CallHeader& header, Duration timeout) {
  RuntimeBase& runtime = *callee.core()->runtime;
  if (Result<void> allowed = runtime.check_may_block(); !allowed) {
    request->ops->discard(request, ExitReason::normal);  // nobody is named as its caller yet
    return allowed.error();
  }
  auto* waiter = new BlockingWaiter;
  struct Owner {
    BlockingWaiter* waiter;
    ~Owner() { waiter->drop_owner(); }
  } const owner{waiter};
  header.waiter = waiter;
  waiter->add_owner();  // the request's
  static_cast<void>(send(callee, request));
  Result<void> waited = runtime.block_on(*waiter, timeout);
  Node* answer = waiter->take();
  if (answer != nullptr) return answer;
  if (!waited) return waited.error();
  return Error(ErrorCode::timeout);
}

// ---- how a server starts and ends ----------------------------------------------------------------------------------

bool prepare_server(ProcessCore& core, const ProcessType& type, const StartOptions& options, Error& error) {
  core.type.store(&type, std::memory_order_relaxed);
  core.starting = true;
  if (!options.name.empty()) {
    if (Result<void> named = core.runtime->register_name(options.name, core.pid(), type); !named) {
      error = named.error();
      return false;
    }
    extra_of(core).names.push_back(options.name);
  }
  core.mailbox_bound.store(std::min<std::uint32_t>(options.mailbox_bound, 1'000'000), std::memory_order_relaxed);
  if (options.parent) {
    ProcessExtra& extra = extra_of(core);
    extra.parent = options.parent;
    extra.links.insert(options.parent);
    core.has_parent.store(true, std::memory_order_relaxed);
  }
  return true;
}

void abort_start(ProcessCore& core, ExitReason reason) { request_exit(core, std::move(reason), true, false); }

void finish_start(ProcessCore& core) noexcept { core.starting = false; }

const ExitReason& requested_stop(const ProcessCore& core) noexcept {
  return core.extra != nullptr ? core.extra->stop_reason : ExitReason::normal;
}

void end_spawned(ProcessCore& core) noexcept {
  // The commonest end of all: no reason to keep, nothing to look up.
  core.stop_requested = true;
  core.exit_now = true;
}

void add_link(Pid child) { extra_of(*current_process).links.insert(child); }
void drop_link(Pid child) noexcept {
  if (current_process->extra != nullptr) current_process->extra->links.erase(child);
}

/// Running and ending processes: the part of RuntimeBase that looks inside of them.
struct ProcessLife {
  using Outcome = RuntimeBase::RunOutcome;

  static void append(ProcessCore& core, Node* first, Node* last) noexcept {
    if (core.pending_last == nullptr) {
      core.pending_first = first;
    } else {
      core.pending_last->next = first;
    }
    core.pending_last = last;
  }

  static void set_pending_count(ProcessCore& core, std::uint32_t count) noexcept {
    core.pending_count.store(count, std::memory_order_relaxed);
  }
  static std::uint32_t pending_count(const ProcessCore& core) noexcept {
    return core.pending_count.load(std::memory_order_relaxed);
  }

  /// Moves what has arrived behind the pending messages, oldest first. False when nothing has.
  static bool take_new(ProcessCore& core) noexcept {
    Node* newest = core.mailbox.grab();
    if (newest == nullptr) return false;
    Node* const last = newest;
    Node* first = nullptr;
    std::uint32_t count = 0;
    bool urgent = false;
    while (newest != nullptr) {
      Node* older = newest->next;
      newest->next = first;
      first = newest;
      newest = older;
      ++count;
      const NodeClass node_class = first->ops->node_class;
      if (node_class > NodeClass::notice) {
        urgent = true;
        // A kill does not queue up behind what it is to end.
        if (node_class == NodeClass::kill && first->generation == core.generation.load(std::memory_order_relaxed)) {
          request_exit(core, ExitReason::killed, true, false);
        }
      }
    }
    core.pending_has_urgent = core.pending_has_urgent || urgent;
    append(core, first, last);
    set_pending_count(core, pending_count(core) + count);
    return true;
  }

  static Node* pop(ProcessCore& core) noexcept {
    Node* node = core.pending_first;
    core.pending_first = node->next;
    if (core.pending_first == nullptr) core.pending_last = nullptr;
    set_pending_count(core, pending_count(core) - 1);
    return node;
  }

  /// Takes the oldest pending signal or reply out of the line; null when there is none.
  static Node* pop_urgent(ProcessCore& core) noexcept {
    Node* before = nullptr;
    for (Node* node = core.pending_first; node != nullptr; before = node, node = node->next) {
      if (!is_urgent(node)) continue;
      if (before == nullptr) {
        core.pending_first = node->next;
      } else {
        before->next = node->next;
      }
      if (core.pending_last == node) core.pending_last = before;
      set_pending_count(core, pending_count(core) - 1);
      return node;
    }
    core.pending_has_urgent = false;
    return nullptr;
  }

  static void handle(ProcessCore& core, Node* node, FreedNodes& freed) {
    if (node->generation != core.generation.load(std::memory_order_relaxed)) [[unlikely]] {
      node->ops->discard(node, ExitReason::noproc);  // meant for an earlier process of this slot
      return;
    }
    core.current_node = node;
    core.current_ops.store(node->ops, std::memory_order_relaxed);
    if (node->ops->run(node, core)) freed.add(node);
    core.current_node = nullptr;
  }

  /// Lets the behaviour do what it has put off until now. True when it did anything, which may have been a message to
  /// itself.
  static bool before_leaving(ProcessCore& core) {
    if (!core.leave_wanted) [[likely]]
      return false;
    core.leave_wanted = false;
    if (core.behaviour != nullptr) core.behaviour->on_leave(core);
    return true;
  }

  static Outcome run(RuntimeBase& runtime, ProcessCore& core, const RuntimeBase::RunLimits& limits,
                     std::uint32_t& handled, FreedNodes& freed) {
    bool looked_before = false;
    for (;;) {
      if (core.stop_requested && (core.exit_now || !core.suspended())) {
        if (!core.exit_now && begin_terminate(core)) continue;
        finish(runtime, core, nullptr);
        return Outcome::exited;
      }
      Node* node = nullptr;
      if (core.suspended()) {
        node = core.pending_has_urgent ? pop_urgent(core) : nullptr;
      } else if (core.pending_first != nullptr) {
        node = pop(core);
        if (core.pending_first == nullptr) core.pending_has_urgent = false;
      }
      if (node == nullptr) {
        if (take_new(core)) {
          if (looked_before && limits.should_yield != nullptr && limits.should_yield(limits.self)) {
            static_cast<void>(before_leaving(core));
            return Outcome::more;
          }
          looked_before = true;
          continue;
        }
        if (before_leaving(core)) continue;
        core.current_ops.store(nullptr, std::memory_order_relaxed);
        if (core.mailbox.become_idle()) return Outcome::idle;
        continue;
      }
      handle(core, node, freed);
      if (++handled >= limits.messages) {
        static_cast<void>(take_new(core));  // a kill among them is seen before the next turn
        if (core.stop_requested && (core.exit_now || !core.suspended())) continue;
        static_cast<void>(before_leaving(core));
        return Outcome::more;
      }
    }
  }

  /// Starts a terminate callback that is a coroutine; the process ends when it has. False when there is none.
  static bool begin_terminate(ProcessCore& core) {
    if (core.terminating || core.behaviour == nullptr || core.extra == nullptr || !core.extra->run_terminate)
      return false;
    core.terminating = true;  // should it throw, it is not begun again
    core.terminating = core.behaviour->begin_terminate(core, core.extra->stop_reason);
    return core.terminating;
  }

  /// True when a callback that threw is to be followed by a terminate that is a coroutine.
  static bool terminates_later(const ProcessCore& core) noexcept {
    return core.behaviour != nullptr && core.behaviour->terminates_later() && !core.starting && !core.terminating &&
           !core.exit_now && !core.suspended();
  }

  static void discard_list(Node* node, const ExitReason& reason) noexcept {
    while (node != nullptr) {
      Node* next = node->next;
      node->ops->discard(node, reason);
      node = next;
    }
  }

  /// Ends the process. `failure` is the exception's reason, or null when the exit was requested.
  static void finish(RuntimeBase& runtime, ProcessCore& core, const ExitReason* failure,
                     bool may_terminate = true) noexcept {
    stay_if_abandoned();
    ProcessExtra* extra = core.extra;
    ExitReason reason = failure != nullptr
                            ? *failure
                            : (extra != nullptr && core.stop_requested ? extra->stop_reason : ExitReason::normal);
    const bool run_terminate = may_terminate && (failure != nullptr || extra == nullptr || extra->run_terminate);
    const bool started = !core.starting;
    const Pid pid = core.pid();

    // The callback that was suspended, from the inside out: its frames, then its message (whose sender is told).
    const Activity activity = std::exchange(core.activity, Activity{});
    if (activity.root) activity.root.destroy();
    if (core.wait_result != nullptr) {
      Node* result = std::exchange(core.wait_result, nullptr);
      result->ops->discard(result, reason);
    }
    cancel_wait(core);
    if (core.wait_timer != nullptr) {
      runtime.cancel_timer({std::exchange(core.wait_timer, nullptr), core.wait_timer_sequence});
    }

    Behaviour* behaviour = core.behaviour;
    if (behaviour != nullptr && run_terminate && started && !core.terminating) {
      try {
        behaviour->on_terminate(reason);
      } catch (...) {
        reason = reason_of_current_exception();
      }
    }
    if (core.leave_wanted) {
      core.leave_wanted = false;
      if (behaviour != nullptr && may_terminate) {
        try {
          behaviour->on_leave(core);
        } catch (...) {
          reason = reason_of_current_exception();
        }
      }
    }
    if (activity.node != nullptr) activity.node->ops->discard(activity.node, reason);
    core.behaviour = nullptr;
    delete behaviour;

    const std::vector<std::unique_ptr<ExitHook>> ended_hooks = run_exit_hooks(core);
    extra = core.extra;  // terminate and the hooks may have added things
    core.extra = nullptr;
    if (extra != nullptr) {
      for (const std::string& name : extra->names) runtime.release_name(name, pid);
    }
    core.mailbox_bound.store(0, std::memory_order_relaxed);
    core.dropped_count.store(0, std::memory_order_relaxed);
    core.has_parent.store(false, std::memory_order_relaxed);
    core.type.store(nullptr, std::memory_order_relaxed);
    core.host.store(nullptr, std::memory_order_relaxed);  // the slot's next process may be no blocking one
    core.starting = false;
    core.terminating = false;
    core.stop_requested = false;
    core.exit_now = false;
    // From here on the process is gone: what comes late is for nobody.
    core.generation.store(pid.generation() + 1, std::memory_order_release);

    if (!reason.normal_ish() && started && reason.kind() != ExitReason::Kind::killed) {
      runtime.logger().warning("process.exited", {{"pid", pid.number()}, {"reason", reason.to_string()}});
    }
    runtime.on_process_exit(pid, reason);
    if (extra != nullptr) {
      for (const Pid& link : extra->links) {
        // A failed start concerns the starter, who is told by its answer, and whatever the init has started.
        if (!started && link == extra->parent) continue;
        static_cast<void>(send(link, make_exit_signal(pid, reason, true)));
      }
      for (const auto& [ref, watcher] : extra->watchers) {
        static_cast<void>(send(watcher, make_down(Down{MonitorRef{ref}, pid, reason})));
      }
      for (const ExitWaiter& waiter : extra->exit_waiters) {
        static_cast<void>(send(waiter.pid, make_exit_notice(waiter.token, reason)));
      }
      for (const auto& [ref, watched] : extra->monitors)
        static_cast<void>(send(watched, make_demonitor(MonitorRef{ref})));
      discard_list_of_stop_calls(*extra, reason);
      delete extra;
    }
    for (const std::unique_ptr<ExitHook>& hook : ended_hooks) hook->after_end(pid, reason);

    core.pending_has_urgent = false;
    core.pending_last = nullptr;
    set_pending_count(core, 0);
    discard_list(std::exchange(core.pending_first, nullptr), reason);
    do {
      take_discarded(core, reason);
    } while (!core.mailbox.become_idle());
  }

  /// Runs the first half of the exit hooks and returns them for the second. A hook may destroy user's objects, which
  /// may still use the process.
  static std::vector<std::unique_ptr<ExitHook>> run_exit_hooks(ProcessCore& core) {
    std::vector<std::unique_ptr<ExitHook>> ended;
    while (core.extra != nullptr && !core.extra->exit_hooks.empty()) {
      ended.push_back(std::move(core.extra->exit_hooks.back()));
      core.extra->exit_hooks.pop_back();
      ended.back()->before_end(core.pid());
    }
    return ended;
  }

  static void take_discarded(ProcessCore& core, const ExitReason& reason) noexcept {
    Node* newest = core.mailbox.grab();
    Node* first = nullptr;
    while (newest != nullptr) {  // oldest first, so that callers are told in order
      Node* older = newest->next;
      newest->next = first;
      first = newest;
      newest = older;
    }
    discard_list(first, reason);
  }

  static void discard_list_of_stop_calls(ProcessExtra& extra, const ExitReason& reason) noexcept;
};

namespace {

/// `stop` from outside: answered when the process has ended.
struct StopMessage {
  using Reply = void;
  ExitReason reason;
};

struct StopNode {
  using Call = CallNode<StopMessage, void>;
  using Payload = Call::Payload;

  static bool run(Node* node, ProcessCore& core) {
    request_exit(core, payload_of<Payload>(node).request.reason, false, true);
    extra_of(core).stop_calls.push_back(node);
    return false;
  }
  static constexpr NodeOps ops{&run, &Call::discard_request, "stop", NodeClass::message};
};

}  // namespace

void ProcessLife::discard_list_of_stop_calls(ProcessExtra& extra, const ExitReason& reason) noexcept {
  for (Node* node : extra.stop_calls) {
    const bool as_asked = payload_of<StopNode::Payload>(node).request.reason == reason;
    StopNode::Call::reply(node, as_asked ? Result<void>() : Result<void>(call_failed(reason, "stop")));
  }
}

std::shared_ptr<EdgeCounters> EdgeTable::add(std::string name) {
  auto edge = std::make_shared<EdgeCounters>(std::move(name));
  MutexLock lock(mutex_);
  std::erase_if(edges_, [](const std::weak_ptr<EdgeCounters>& known) { return known.expired(); });
  edges_.push_back(edge);
  return edge;
}

std::vector<EdgeInfo> EdgeTable::list() const {
  std::vector<EdgeInfo> infos;
  MutexLock lock(mutex_);
  for (const std::weak_ptr<EdgeCounters>& known : edges_) {
    const std::shared_ptr<EdgeCounters> edge = known.lock();
    if (!edge) continue;
    EdgeInfo info;
    info.name = edge->name;
    info.asked = edge->asked.load(std::memory_order_relaxed);
    info.delivered = edge->delivered.load(std::memory_order_relaxed);
    info.dropped = edge->dropped.load(std::memory_order_relaxed);
    info.buffered = edge->buffered.load(std::memory_order_relaxed);
    const std::uint64_t sent = edge->sent.load(std::memory_order_relaxed);
    if (sent > info.delivered + info.dropped) info.buffered += sent - info.delivered - info.dropped;
    infos.push_back(std::move(info));
  }
  return infos;
}

// ---- external completions ------------------------------------------------------------------------------------------

namespace {

/// Wakes a process that waits for an external completion.
struct WakeNode {
  static void discard(Node* node, const ExitReason& /*reason*/) noexcept { free_node(node); }
  static bool run(Node* node, ProcessCore& core) {
    const std::uint32_t token = payload_of<std::uint32_t>(node);
    core.current_node = nullptr;
    free_node(node);
    static_cast<void>(accept_resume(core, token, nullptr));
    return false;
  }
  static constexpr NodeOps ops{&run, &discard, "completion", NodeClass::resume};
};

}  // namespace

void CompletionCore::publish() noexcept {
  // acq_rel: the value is published; a waiting owner's token is acquired.
  if (phase_.exchange(done, std::memory_order_acq_rel) == waiting) {
    static_cast<void>(send(owner_, make_node<std::uint32_t>(WakeNode::ops, token_)));
  }
}

bool CompletionCore::start_waiting(std::coroutine_handle<> resume_point, Duration timeout) {
  ProcessCore& self = *current_process;
  DAGVERK_ASSERT(owner_ == self.pid());
  token_ = begin_wait(self, resume_point, timeout);
  int expected = empty;
  if (phase_.compare_exchange_strong(expected, waiting, std::memory_order_acq_rel, std::memory_order_acquire))
    return true;
  cancel_wait(self);
  return false;
}

}  // namespace detail

// ---- RuntimeBase ---------------------------------------------------------------------------------------------------

RuntimeBase::RuntimeBase(const Clock& clock, Logger& logger)
    : clock_(clock),
      logger_(logger),
      processes_(std::make_unique<detail::ProcessTable>(*this)),
      names_(std::make_unique<detail::NameTable>()),
      timers_(std::make_unique<detail::TimerQueue>(clock.steady_now())),
      edges_(std::make_unique<detail::EdgeTable>()) {}

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
  core.host.store(nullptr, std::memory_order_relaxed);
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

RuntimeBase::RunOutcome RuntimeBase::run_process(detail::ProcessCore& core, const RunLimits& limits) {
  DAGVERK_ASSERT(detail::current_process == nullptr);
  detail::current_process = &core;
  std::uint32_t handled = 0;
  RunOutcome outcome = RunOutcome::exited;
  {
    FreedNodes freed;
    try {
      outcome = detail::ProcessLife::run(*this, core, limits, handled, freed);
    } catch (...) {  // the barrier: the only one around users' code
      const ExitReason reason = reason_of_current_exception();
      if (detail::Node* node = std::exchange(core.current_node, nullptr); node != nullptr)
        node->ops->discard(node, reason);
      if (detail::ProcessLife::terminates_later(core)) {
        detail::request_exit(core, ExitReason::normal, false, true);
        core.extra->stop_reason = reason;  // whatever it was asked to end with before
        outcome = RunOutcome::more;
      } else {
        detail::ProcessLife::finish(*this, core, &reason);
      }
    }
  }
  detail::current_process = nullptr;
  detail::stay_if_abandoned();
  core.handled_count.store(core.handled_count.load(std::memory_order_relaxed) + handled, std::memory_order_relaxed);
  if (outcome == RunOutcome::exited) free_process(core);
  return outcome;
}

void RuntimeBase::free_process(detail::ProcessCore& core) noexcept {
  processes_->give(core);
  if (announces_exits_.load(std::memory_order_relaxed)) [[unlikely]]
    on_process_gone();
}

void RuntimeBase::exit(Pid pid, ExitReason reason) {
  static_cast<void>(detail::send(pid, detail::make_exit_signal(Pid(), std::move(reason), false)));
}

Result<void> RuntimeBase::stop(Pid pid, ExitReason reason, Duration timeout) {
  if (!pid) return Error(ErrorCode::no_process, "the pid is empty");
  detail::Node* request =
      detail::make_node<detail::StopNode::Payload>(detail::StopNode::ops, std::in_place, std::move(reason));
  return detail::block_on_call<detail::StopMessage, void>(pid, request, timeout);
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

Snapshot RuntimeBase::snapshot() const {
  Snapshot shot;
  std::unordered_map<Pid, std::string, detail::PidHash> names;
  names_->for_each(
      [&](const std::string& name, const detail::NameTable::Holder& holder) { names.emplace(holder.pid, name); });
  processes_->for_each([&](detail::ProcessCore& core) {
    const std::uint32_t generation = core.generation.load(std::memory_order_acquire);
    if (generation % 2 == 0) return;
    ProcessInfo info;
    info.pid = Pid(&core, generation);
    const detail::ProcessType* type = core.type.load(std::memory_order_relaxed);
    info.kind = type != nullptr ? std::string(type->name) : std::string("process");
    if (const auto name = names.find(info.pid); name != names.end()) info.name = name->second;
    info.running = core.current_ops.load(std::memory_order_relaxed) != nullptr;
    info.mailbox_depth = core.mailbox_depth();
    info.handled = core.handled_count.load(std::memory_order_relaxed);
    info.dropped = core.dropped_count.load(std::memory_order_relaxed);
    shot.processes.push_back(std::move(info));
  });
  shot.edges = edges_->list();
  return shot;
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

void RuntimeBase::drop_all_processes() noexcept {
  processes_->for_each([&](detail::ProcessCore& core) {
    if (core.generation.load(std::memory_order_acquire) % 2 == 0) {
      detail::ProcessLife::take_discarded(core, ExitReason::noproc);
      return;
    }
    detail::current_process = &core;
    const ExitReason reason = ExitReason::killed;
    detail::ProcessLife::finish(*this, core, &reason, false);
    detail::current_process = nullptr;
    processes_->give(core);
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
}

// ---- this_process --------------------------------------------------------------------------------------------------

namespace this_process {

namespace {

detail::ProcessCore& current() noexcept {
  DAGVERK_ASSERT(detail::current_process != nullptr);
  return *detail::current_process;
}

}  // namespace

bool inside() noexcept { return detail::current_process != nullptr; }
Pid pid() noexcept { return current().pid(); }
RuntimeBase& runtime() noexcept { return *current().runtime; }

void trap_exits(bool trap) { detail::extra_of(current()).traps_exits = trap; }

void link(Pid other) {
  if (other == pid()) return;
  if (!detail::extra_of(current()).links.insert(other).second) return;
  static_cast<void>(detail::send(other, detail::make_link(pid(), other)));
}

void unlink(Pid other) {
  detail::drop_link(other);
  static_cast<void>(detail::send(other, detail::make_unlink(pid())));
}

MonitorRef monitor(Pid other) {
  const MonitorRef ref{runtime().next_ref()};
  detail::extra_of(current()).monitors.emplace(ref.id, other);
  static_cast<void>(detail::send(other, detail::make_monitor(ref, other, pid())));
  return ref;
}

void demonitor(MonitorRef ref) {
  detail::ProcessExtra& extra = detail::extra_of(current());
  const auto watched = extra.monitors.find(ref.id);
  if (watched == extra.monitors.end()) return;
  const Pid other = watched->second;
  extra.monitors.erase(watched);
  static_cast<void>(detail::send(other, detail::make_demonitor(ref)));
}

void exit(Pid other, ExitReason reason) {
  static_cast<void>(detail::send(other, detail::make_exit_signal(pid(), std::move(reason), false)));
}

void stop(ExitReason reason) { detail::request_exit(current(), std::move(reason), false, true); }

Result<void> register_name(std::string name) {
  detail::ProcessCore& core = current();
  static constexpr detail::ProcessType plain_process{"process"};
  const detail::ProcessType* type = core.type.load(std::memory_order_relaxed);
  Result<void> named = runtime().register_name(name, pid(), type != nullptr ? *type : plain_process);
  if (named) detail::extra_of(core).names.push_back(std::move(name));
  return named;
}

std::optional<Duration> cancel_timer(TimerRef timer) noexcept { return runtime().cancel_timer(timer.slot()); }

namespace {

/// Waits until another process has ended.
struct ExitWait {
  Pid other;
  Duration timeout;

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> caller) const {
    detail::ProcessCore& self = current();
    const std::uint32_t token = detail::begin_wait(self, caller, timeout);
    static_cast<void>(detail::send(other, detail::make_exit_watch(self.pid(), token)));
  }
  [[nodiscard]] Result<ExitReason> await_resume() const {
    detail::Node* notice = std::exchange(current().wait_result, nullptr);
    if (notice == nullptr) return Error(ErrorCode::timeout, "the process did not end in time");
    return detail::take_exit_notice(notice);
  }
};

/// Waits for nothing but its time limit.
struct Sleep {
  Duration duration;
  [[nodiscard]] bool await_ready() const noexcept { return duration <= Duration::zero(); }
  void await_suspend(std::coroutine_handle<> caller) const { detail::begin_wait(current(), caller, duration); }
  void await_resume() const noexcept {}
};

}  // namespace

Async<Result<ExitReason>> wait_for_exit(Pid other, Duration timeout) {
  ExitWait wait{other, timeout};
  co_return co_await wait;
}

Async<void> sleep(Duration duration) {
  Sleep wait{duration};
  co_await wait;
}

}  // namespace this_process
}  // namespace dagverk
