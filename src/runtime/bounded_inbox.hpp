#pragma once

#include "dagverk/base/mutex.hpp"
#include "dagverk/runtime/detail/call.hpp"
#include "dagverk/runtime/detail/process_core.hpp"
#include "dagverk/runtime/detail/server_start.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace dagverk::detail {

/// Set while this thread fires timers: it must not wait for room in a mailbox.
inline constinit thread_local bool firing_timers = false;

/// Where everything waits that is sent to a process with a mailbox bound or alarm: casts, calls and infos, which count,
/// and signals, which do not, in the order they were sent.
///
/// Semantics: replaces the process' lock-free mailbox, which then only carries `bell_`: "look into the inbox". The
///            owner takes one message at a time, so that the oldest one is always here to be dropped.
/// Threads:   `send` from any thread; `take` and `close` from the owner's.
/// Lifetime:  belongs to an InboxPool, which outlives all senders; it serves one process after the other.
/// Bounds:    `bound` messages; signals, replies and Downs are beyond it.
class BoundedInbox {
 public:
  BoundedInbox() = default;
  BoundedInbox(const BoundedInbox&) = delete;
  BoundedInbox& operator=(const BoundedInbox&) = delete;

  void open(Pid owner, const StartOptions& options, std::string_view kind);

  /// As detail::send. A message that finds the inbox full is treated by its rule; `wait_limit` is how long its sender
  /// may wait at most (zero: as long as the rule says).
  bool send(Pid pid, Node* node, Duration wait_limit = Duration::zero()) noexcept;

  /// What the owner is to see next: its oldest node, or, while it is suspended, its oldest signal or reply. Null when
  /// there is none. `arrived` is what the lock-free mailbox held, newest first, without the bell.
  [[nodiscard]] Node* take(ProcessCore& core, Node*& arrived) noexcept;

  /// The owner has ended: whoever waits for room is told, and what was left is returned, oldest first.
  [[nodiscard]] Node* close() noexcept;

  [[nodiscard]] MailboxRule rule() noexcept {
    MutexLock lock(mutex_);
    return rule_;
  }
  [[nodiscard]] std::uint32_t count() const noexcept { return count_.load(std::memory_order_relaxed); }

 private:
  using Waiters = std::vector<BlockingWaiter*>;
  enum class Verdict : std::uint8_t { taken, refused, dropped, gone, wait };
  struct Crossing;

  [[nodiscard]] Verdict offer(Pid pid, Node* node, bool may_wait, Node*& oldest, Crossing& crossing)
      DAGVERK_REQUIRES(mutex_);
  void append(Node* node) noexcept DAGVERK_REQUIRES(mutex_);
  void unlink(Node* before, Node* node) noexcept DAGVERK_REQUIRES(mutex_);
  [[nodiscard]] Node* take_oldest_message() noexcept DAGVERK_REQUIRES(mutex_);
  [[nodiscard]] Node* take_urgent(ProcessCore& core) noexcept DAGVERK_REQUIRES(mutex_);
  void look_at_depth(Crossing& crossing) noexcept DAGVERK_REQUIRES(mutex_);
  /// Waits for room; false when `limit` passed.
  bool wait_for_room(RuntimeBase& runtime, BlockingWaiter* waiter, Duration limit) noexcept;
  static void wake(Waiters& waiters) noexcept;
  void report(RuntimeBase& runtime, const Crossing& crossing) noexcept;

  Mutex mutex_;
  Pid owner_ DAGVERK_GUARDED_BY(mutex_);
  std::uint32_t bound_ DAGVERK_GUARDED_BY(mutex_) = 0;  // 0: none
  std::uint32_t alarm_ DAGVERK_GUARDED_BY(mutex_) = 0;  // 0: none
  MailboxRule rule_ DAGVERK_GUARDED_BY(mutex_) = MailboxRule::reject;
  bool alarmed_ DAGVERK_GUARDED_BY(mutex_) = false;
  bool bell_rung_ DAGVERK_GUARDED_BY(mutex_) = false;  // it is in the lock-free mailbox
  Duration wait_max_ DAGVERK_GUARDED_BY(mutex_){};
  std::shared_ptr<const MailboxWatch> watch_ DAGVERK_GUARDED_BY(mutex_);  // shared with a call of it that still runs

  Node* first_ DAGVERK_GUARDED_BY(mutex_) = nullptr;
  Node* last_ DAGVERK_GUARDED_BY(mutex_) = nullptr;
  Node* no_message_to_ DAGVERK_GUARDED_BY(mutex_) = nullptr;  // up to here, nothing counts; null: not looked at
  Node* no_signal_to_ DAGVERK_GUARDED_BY(mutex_) = nullptr;   // up to here, no signal; null: not looked at
  std::uint32_t messages_ DAGVERK_GUARDED_BY(mutex_) = 0;     // those that count
  std::atomic<std::uint32_t> count_{0};                       // of all nodes; written under the lock
  Waiters waiters_ DAGVERK_GUARDED_BY(mutex_);
  Node bell_;
};

/// The inboxes of a runtime: kept for reuse as long as it lives, because a late sender may still look into one.
class InboxPool {
 public:
  [[nodiscard]] BoundedInbox& take();
  void give(BoundedInbox& inbox);

 private:
  Mutex mutex_;
  std::vector<std::unique_ptr<BoundedInbox>> all_ DAGVERK_GUARDED_BY(mutex_);
  std::vector<BoundedInbox*> spare_ DAGVERK_GUARDED_BY(mutex_);
};

/// The reason with which a full mailbox refuses a message.
[[nodiscard]] const ExitReason& mailbox_full_reason() noexcept;

}  // namespace dagverk::detail
