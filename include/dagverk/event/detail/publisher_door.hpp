#pragma once

#include <atomic>

namespace dagverk::detail {

/// Where one thread says at which manager's door it is, for as long as it takes to put an event into the mailbox.
///
/// Threads:  its thread writes, any manager's process reads.
/// Lifetime: of the program; a thread that has ended leaves its own to the next one.
struct alignas(64) PublisherSlot {
  std::atomic<const void*> door{nullptr};
  std::atomic<bool> taken{true};
  PublisherSlot* next = nullptr;  ///< set once
};

/// The calling thread's own; null before its first event.
extern constinit thread_local PublisherSlot* publisher_slot;
[[nodiscard]] PublisherSlot& claim_publisher_slot();

/// A manager's door: open until its process is about to end.
///
/// Semantics: a publisher stands at the door while it looks whether it is open and sends. Who closes it learns when
///            nobody is left there; what was sent by then is in the mailbox, so that every event is either handled
///            before the end or known to its publisher as too late. The publisher, who does this at each event, pays
///            two plain stores and a load; closing, which is rare, makes all threads pass a barrier.
/// Threads:   any.
class PublisherDoor {
 public:
  PublisherDoor();
  PublisherDoor(const PublisherDoor&) = delete;
  PublisherDoor& operator=(const PublisherDoor&) = delete;

  /// Calls `send` at the door; false, and without calling it, when that is closed. `send` runs no code of users.
  template <class Send>
  bool pass(Send&& send) noexcept {
    PublisherSlot& slot = publisher_slot != nullptr ? *publisher_slot : claim_publisher_slot();
    if (lopsided_) [[likely]] {
      slot.door.store(this, std::memory_order_relaxed);
      std::atomic_signal_fence(std::memory_order_seq_cst);  // the barrier of who closes does the rest
    } else {
      slot.door.exchange(this);
    }
    const bool open = !closed_.load(std::memory_order_acquire) && send();
    // Release: who finds nobody here any more finds our event in the mailbox.
    slot.door.store(nullptr, std::memory_order_release);
    return open;
  }

  /// From now on nobody passes who is not at the door already.
  void close() noexcept;
  /// Whether somebody is at the closed door, who may have found it open.
  [[nodiscard]] bool busy() const noexcept;

 private:
  std::atomic<bool> closed_{false};
  const bool lopsided_;
};

}  // namespace dagverk::detail
