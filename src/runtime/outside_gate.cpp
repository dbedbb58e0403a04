#include "outside_gate.hpp"

#include <algorithm>
#include <thread>

namespace dagverk::detail {

bool OutsideGate::enter() noexcept {
  // Sequentially consistent with close(): either we see it closed or it sees us inside.
  inside_.fetch_add(1);
  if (!closed_.load()) return true;
  leave();
  return false;
}

void OutsideGate::add(BlockingWaiter& waiter) {
  MutexLock lock(mutex_);
  waiting_.push_back(&waiter);
  if (closed_.load()) waiter.interrupt();
}

void OutsideGate::remove(const BlockingWaiter& waiter) noexcept {
  MutexLock lock(mutex_);
  std::erase(waiting_, &waiter);
}

void OutsideGate::close() noexcept {
  {
    MutexLock lock(mutex_);
    closed_.store(true);
    for (BlockingWaiter* waiter : waiting_) waiter->interrupt();
  }
  // They have nothing left to wait for: a few instructions each. Nothing of ours may be touched by the last one after
  // it has left, so it cannot tell us.
  while (inside_.load() != 0) std::this_thread::yield();
}

}  // namespace dagverk::detail
