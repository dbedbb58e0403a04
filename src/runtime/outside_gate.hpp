#pragma once

#include "dagverk/base/mutex.hpp"
#include "dagverk/runtime/detail/call.hpp"

#include <atomic>
#include <cstdint>
#include <vector>

namespace dagverk::detail {

/// Counts the threads outside that are inside a runtime's operations, so that it is not freed under them.
///
/// Semantics: `enter` before touching the runtime, `leave` as the last touch. Once `close` has been called nobody
///            enters any more; it wakes those who wait for an answer that will not come, and returns when all have
///            left.
/// Threads:   any; `close` from one.
class OutsideGate {
 public:
  OutsideGate() = default;
  OutsideGate(const OutsideGate&) = delete;
  OutsideGate& operator=(const OutsideGate&) = delete;
  ~OutsideGate() = default;

  /// False when it is closed; do not `leave` then.
  [[nodiscard]] bool enter() noexcept;
  void leave() noexcept { inside_.fetch_sub(1); }
  [[nodiscard]] bool closed() const noexcept { return closed_.load(); }

  /// From now on `close` wakes the thread that waits there. It has entered.
  void add(BlockingWaiter& waiter);
  void remove(const BlockingWaiter& waiter) noexcept;

  void close() noexcept;

 private:
  std::atomic<std::int64_t> inside_{0};
  std::atomic<bool> closed_{false};
  Mutex mutex_;
  std::vector<BlockingWaiter*> waiting_ DAGVERK_GUARDED_BY(mutex_);
};

}  // namespace dagverk::detail
