#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/runtime/detail/mailbox.hpp"
#include "dagverk/runtime/detail/node.hpp"
#include "dagverk/runtime/detail/type_name.hpp"
#include "dagverk/runtime/exit_reason.hpp"
#include "dagverk/runtime/messages.hpp"
#include "dagverk/runtime/pid.hpp"

#include <atomic>
#include <coroutine>
#include <cstdint>
#include <memory>
#include <string_view>

namespace dagverk {
class RuntimeBase;
}  // namespace dagverk

namespace dagverk::detail {

class BlockingHost;
class BoundedInbox;
struct ProcessExtra;
struct TimerEntry;

/// What is known of a process' kind without running it. Its address is the type token of names and references.
struct ProcessType {
  std::string_view name;
  bool blocking = false;  ///< gets a thread of its own
};

template <class Server>
inline constexpr ProcessType process_type{type_name<Server>(), requires {requires Server::blocking;
}  // namespace dagverk::detail
}
;

/// The state of a process, and how it sees what is neither a cast nor a call.
class Behaviour {
 public:
  Behaviour() = default;
  Behaviour(const Behaviour&) = delete;
  Behaviour& operator=(const Behaviour&) = delete;
  virtual ~Behaviour() = default;

  virtual void on_down(ProcessCore& core, const Down& down);  ///< a monitored process ended
  virtual void on_exit(ProcessCore& core, const Exit& exit);  ///< a trapped exit signal
  /// The process is to end: starts a terminate callback that is a coroutine. False when there is none.
  virtual bool begin_terminate(ProcessCore& core, const ExitReason& reason);
  [[nodiscard]] virtual bool terminates_later() const noexcept;  ///< terminate is a coroutine
  virtual void on_terminate(const ExitReason& reason);           ///< the process ends; the last call before destruction
  virtual void on_idle(ProcessCore& core);                       ///< nothing came within the idle time limit
  /// The process leaves its thread for a while, or ends, after `want_on_leave`: what it has put off is done now.
  virtual void on_leave(ProcessCore& core);
};

/// A timer that can be cancelled: the entry, and which use of it is meant.
struct TimerSlot {
  TimerEntry* entry = nullptr;
  std::uint32_t sequence = 0;
};

/// A callback that is suspended: its outermost coroutine, the message it handles, and what to do when it is done.
struct Activity {
  std::coroutine_handle<> root;
  Node* node = nullptr;  // kept whole until the callback is done, so that callbacks may take messages by reference
  /// Takes the result, answers, and disposes of `node`; throws what the callback threw (and then leaves `node` as it
  /// was).
  void (*finish)(ProcessCore& core, std::coroutine_handle<> root, Node* node) = nullptr;
};

enum class WaitStatus : std::uint8_t { none, waiting, resumed, timed_out };

[[nodiscard]] std::uint32_t inbox_count(const BoundedInbox& inbox) noexcept;

/// A pointer that its owner alone sets, and that others may look at.
template <class T>
class SeenPointer {
 public:
  // NOLINTNEXTLINE(google-explicit-constructor): it stands where a plain pointer would
  operator T*() const noexcept { return pointer_.load(std::memory_order_relaxed); }
  T* operator->() const noexcept { return pointer_.load(std::memory_order_relaxed); }
  SeenPointer& operator=(T* pointer) noexcept {
    pointer_.store(pointer);
    return *this;
  }
  /// For others; sequentially consistent with the setting.
  [[nodiscard]] T* seen() const noexcept { return pointer_.load(); }

 private:
  std::atomic<T*> pointer_{nullptr};
};

/// One process: what senders touch on the first cache line, what the owner touches on the others. The owner writes
/// nothing on the first one for a single message, nor reads it: each time it would take the line from the senders.
///
/// Semantics: slots live as long as their runtime and are reused; `generation` is odd while a process lives in the
///            slot. A sender that comes late pushes to a slot of another generation, and the receiver discards the
///            node.
/// Threads:   the first line is shared; everything else belongs to whichever thread runs the process.
class alignas(64) ProcessCore {
 public:
  explicit ProcessCore(RuntimeBase& owner) noexcept : runtime(&owner), wait_result(nullptr) {}

  // --- shared with senders -------------------------------------------------------------------------------------------
  MailboxHead mailbox;
  std::atomic<std::uint32_t> generation{0};
  std::atomic<std::uint32_t> active_cs{0};      // when it last left a thread, in 10 ms of the runtime's coarse clock
  RuntimeBase* runtime;                         // null once it has been destroyed
  ProcessCore* ready_next = nullptr;            // in the shared ready list; belongs to whoever made the process ready
  std::atomic<BoundedInbox*> inbox{nullptr};    // of a process with a mailbox bound or alarm
  std::atomic<std::uint32_t> dropped_count{0};  // messages that a full mailbox has lost or refused
  std::atomic<bool> has_parent{false};          // somebody else sees to its end at shutdown
  std::atomic<std::uint16_t> high_water{0};     // the deepest its mailbox was when it took messages from it, saturated
  std::atomic<BlockingHost*> host{nullptr};     // the thread of a blocking server
  std::atomic<const ProcessType*> type{nullptr};

  // --- the owner's ---------------------------------------------------------------------------------------------------
  alignas(64) Node* pending_first = nullptr;  // taken from the mailbox, oldest first
  Node* pending_last = nullptr;
  Node* pending_seen = nullptr;  // up to this one, no pending node is a signal or a reply; null: none was looked at
  Behaviour* behaviour = nullptr;
  SeenPointer<ProcessExtra> extra;                   // snapshots look into it, see ExtraReaders
  Node* current_node = nullptr;                      // disposed of when its handler throws
  std::atomic<const NodeOps*> current_ops{nullptr};  // what is being handled, for reports
  std::atomic<std::uint64_t> handled_count{0};
  Activity activity;

  union {
    void* resume_address;  // while `wait_status` is `waiting`: the coroutine to resume
    Node* wait_result;     // otherwise: what ended the wait, until the awaiter takes it
  };
  SteadyTime wait_deadline{};
  TimerEntry* wait_timer = nullptr;  // armed at or before the deadline of the current wait; left armed between waits
  std::uint32_t wait_timer_sequence = 0;
  std::uint32_t wait_token = 0;
  std::atomic<std::uint32_t> pending_count{0};  // taken from the mailbox, not handled yet
  WaitStatus wait_status = WaitStatus::none;
  bool pending_has_urgent : 1 = false;  // a signal or a reply may be among the pending
  bool stop_requested : 1 = false;      // end after the current callback; extra->stop_reason says why
  bool exit_now : 1 = false;            // end now, whatever is suspended
  bool terminating : 1 = false;         // terminate has been called
  bool starting : 1 = false;            // init has not finished: a failure concerns the starter alone
  bool idle_wanted : 1 = false;         // the current callback has set an idle time limit
  bool idle_armed : 1 = false;          // it runs: the mailbox is empty
  bool leave_wanted : 1 = false;        // behaviour->on_leave is to be called before the process leaves its thread
  bool traced : 1 = false;              // extra->tracer is told of everything
  bool charged : 1 = false;             // some busy time has been written down

  [[nodiscard]] bool suspended() const noexcept { return static_cast<bool>(activity.root); }
  [[nodiscard]] Pid pid() noexcept { return {this, generation.load(std::memory_order_relaxed)}; }
  /// How many messages and signals wait.
  [[nodiscard]] std::uint64_t mailbox_depth() const noexcept {
    const std::uint32_t pending = pending_count.load(std::memory_order_relaxed);
    if (const BoundedInbox* bounded = inbox.load(std::memory_order_acquire); bounded != nullptr) [[unlikely]]
      return inbox_count(*bounded) + pending;
    return mailbox.depth() + pending;
  }
};

static_assert(sizeof(ProcessCore) <= 192, "an idle process costs three cache lines");

/// The process that the calling thread runs now; null outside of one.
inline constinit thread_local ProcessCore* current_process = nullptr;

/// Sends `node` to `pid`; false when nobody is there or its bound refused it (the node is then discarded).
bool send(Pid pid, Node* node) noexcept;

/// For awaiters, on the process' own thread: begins a wait of at most `timeout` (zero or less: for ever) that ends by
/// `accept_resume` with the returned token.
std::uint32_t begin_wait(ProcessCore& core, std::coroutine_handle<> resume_point, Duration timeout);

/// Takes back a wait that ended before it began.
void cancel_wait(ProcessCore& core) noexcept;

/// For resume messages: ends the wait with `token`, handing over `result` (may be null). False when nobody waits for it
/// any more.
bool accept_resume(ProcessCore& core, std::uint32_t token, Node* result);

/// Puts a message before everything that waits in the running process' mailbox.
void push_front(Node* node) noexcept;

/// The idle time limit of the current callback.
void want_idle_timeout(ProcessCore& core, Duration after);
/// The mailbox is empty after a callback that wants an idle time limit: it begins. True when it is over already.
[[nodiscard]] bool begin_idle(ProcessCore& core);
/// The idle time limit may be over.
void check_idle(ProcessCore& core);

/// Starts a callback that is a coroutine. On return it has finished or waits. Throws what it threw.
void start_activity(ProcessCore& core, Activity activity);

}  // namespace dagverk::detail
