#pragma once

#include "dagverk/runtime/detail/process_core.hpp"

#include <array>
#include <atomic>
#include <cstdint>

namespace dagverk::detail {

/// The ready processes of one worker: first in, first out, of bounded size, open to thieves.
///
/// Threads: `push` from the owner; `pop` and `size` from any thread.
/// Bounds:  `capacity`; a full queue refuses.
class RunQueue {
 public:
  static constexpr std::uint32_t capacity = 256;

  [[nodiscard]] bool push(ProcessCore* core) noexcept {
    const std::uint32_t tail = tail_.load(std::memory_order_relaxed);
    // Acquire pairs with pop(): the slot we are about to reuse has been read.
    if (tail - head_.load(std::memory_order_acquire) >= capacity) return false;
    slots_[tail % capacity].store(core, std::memory_order_relaxed);
    tail_.store(tail + 1, std::memory_order_release);  // publishes the slot and the process' state to pop()
    return true;
  }

  [[nodiscard]] ProcessCore* pop() noexcept {
    std::uint32_t head = head_.load(std::memory_order_acquire);
    for (;;) {
      if (head == tail_.load(std::memory_order_acquire)) return nullptr;
      ProcessCore* core = slots_[head % capacity].load(std::memory_order_relaxed);
      // A slot that was overwritten after we read it makes this fail: its head has moved on.
      if (head_.compare_exchange_weak(head, head + 1, std::memory_order_acq_rel, std::memory_order_acquire))
        return core;
    }
  }

  [[nodiscard]] std::uint32_t size() const noexcept {
    const std::uint32_t head = head_.load(std::memory_order_relaxed);
    const std::uint32_t tail = tail_.load(std::memory_order_relaxed);
    return tail - head <= capacity ? tail - head : 0;
  }
  /// Grows with every pop: whoever reads the same number twice knows that the oldest entry has waited.
  [[nodiscard]] std::uint32_t popped() const noexcept { return head_.load(std::memory_order_relaxed); }

 private:
  alignas(64) std::atomic<std::uint32_t> head_{0};
  alignas(64) std::atomic<std::uint32_t> tail_{0};
  std::array<std::atomic<ProcessCore*>, capacity> slots_{};
};

}  // namespace dagverk::detail
