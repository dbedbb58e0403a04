#include "dagverk/event/detail/publisher_door.hpp"

#include "dagverk/runtime/detail/program_barrier.hpp"

namespace dagverk::detail {

constinit thread_local PublisherSlot* publisher_slot = nullptr;

namespace {

/// Every slot there ever was: as many as threads have published at the same time.
std::atomic<PublisherSlot*> all_slots{nullptr};

/// Gives the thread's slot back at its end.
struct SlotReturn {
  SlotReturn() = default;
  SlotReturn(const SlotReturn&) = delete;
  SlotReturn& operator=(const SlotReturn&) = delete;
  ~SlotReturn() {
    PublisherSlot* const slot = publisher_slot;
    publisher_slot = nullptr;
    if (slot != nullptr) slot->taken.store(false);
  }
};

PublisherSlot& free_slot() {
  for (PublisherSlot* slot = all_slots.load(); slot != nullptr; slot = slot->next) {
    if (!slot->taken.load(std::memory_order_relaxed) && !slot->taken.exchange(true)) return *slot;
  }
  auto* const added = new PublisherSlot;  // never deleted: managers may look at it at any time
  added->next = all_slots.load();
  while (!all_slots.compare_exchange_weak(added->next, added)) {
  }
  return *added;
}

}  // namespace

PublisherSlot& claim_publisher_slot() {
  thread_local SlotReturn at_end;
  static_cast<void>(at_end);
  publisher_slot = &free_slot();
  return *publisher_slot;
}

PublisherDoor::PublisherDoor() : lopsided_(ProgramBarrier::available()) {}

void PublisherDoor::close() noexcept {
  closed_.store(true);
  if (lopsided_) ProgramBarrier::heavy();
}

bool PublisherDoor::busy() const noexcept {
  for (const PublisherSlot* slot = all_slots.load(); slot != nullptr; slot = slot->next) {
    if (slot->door.load(std::memory_order_acquire) == this) return true;
  }
  return false;
}

}  // namespace dagverk::detail
