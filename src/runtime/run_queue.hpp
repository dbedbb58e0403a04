#pragma once

#include "cycles.hpp"

#include "dagverk/runtime/detail/process_core.hpp"
#include "dagverk/runtime/detail/program_barrier.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <thread>
#include <utility>

namespace dagverk::detail {

/// The ready processes of one worker: a slot for the one to run next, and a bounded ring, first in, first out.
///
/// Semantics: the owner works with plain loads and stores, as if nobody else were there. A thief, which is rare, first
///            claims the queue, makes every thread of the program pass a barrier, and gives up when the owner is in the
///            middle of taking; an owner that comes meanwhile revokes a claim that has not begun to take.
/// Threads:   the owner's operations from one thread; `steal` and the queries from any, each thief with a number of its
///            own.
/// Bounds:    `capacity` and one; a full ring refuses.
class RunQueue {
 public:
  static constexpr std::uint32_t capacity = 256;

  /// Without a program barrier the owner pays for one of the processor's at each taking.
  explicit RunQueue(bool program_barrier = ProgramBarrier::available()) noexcept : barrier_(program_barrier) {}

  // --- the owner's ---------------------------------------------------------------------------------------------------
  /// Puts `core` into the slot and returns what was there, or null.
  [[nodiscard]] ProcessCore* put_next(ProcessCore* core) noexcept {
    // Only the owner fills the slot, so an empty one stays empty. Release publishes the process' state to a thief.
    if (next_.load(std::memory_order_relaxed) == nullptr) {
      next_.store(core, std::memory_order_release);
      return nullptr;
    }
    const Taking taking(*this);
    ProcessCore* before = next_.load(std::memory_order_relaxed);
    next_.store(core, std::memory_order_release);
    return before;
  }
  [[nodiscard]] ProcessCore* take_next() noexcept {
    if (next_.load(std::memory_order_relaxed) == nullptr) return nullptr;
    const Taking taking(*this);
    ProcessCore* core = next_.load(std::memory_order_relaxed);
    next_.store(nullptr, std::memory_order_relaxed);
    return core;
  }
  [[nodiscard]] bool push(ProcessCore* core) noexcept {
    const std::uint32_t tail = tail_.load(std::memory_order_relaxed);
    // Acquire pairs with a thief's store: the slot we are about to reuse has been read.
    if (tail - head_.load(std::memory_order_acquire) >= capacity) return false;
    ring_[tail % capacity].store(core, std::memory_order_relaxed);
    tail_.store(tail + 1, std::memory_order_release);  // publishes the slot and the process' state to a thief
    return true;
  }
  [[nodiscard]] ProcessCore* pop() noexcept {
    if (size() == 0) return nullptr;
    const Taking taking(*this);
    const std::uint32_t head = head_.load(std::memory_order_relaxed);
    if (head == tail_.load(std::memory_order_relaxed)) return nullptr;
    ProcessCore* core = ring_[head % capacity].load(std::memory_order_relaxed);
    head_.store(head + 1, std::memory_order_relaxed);
    return core;
  }

  // --- thieves' ------------------------------------------------------------------------------------------------------
  /// Takes the older half of the ring, oldest first, or else the one to run next when `may_take_next`, and hands each
  /// to `take`. `thief` is a number that no other thread uses at the same time, not 0.
  template <class Take>
  void steal(std::uint32_t thief, bool may_take_next, Take&& take) noexcept {
    const std::uint32_t claimed = thief * 2;
    std::uint32_t nobody = 0;
    if (!claim_.compare_exchange_strong(nobody, claimed)) return;
    if (barrier_) ProgramBarrier::heavy();
    // From here on either we see the owner taking, or it sees our claim before it takes.
    std::uint32_t expected = claimed;
    if (!claim_.compare_exchange_strong(expected, claimed + 1)) return;  // revoked
    if (owner_takes_.load() == 0) {
      const std::uint32_t head = head_.load(std::memory_order_relaxed);
      // Acquire takes over the processes' state.
      const std::uint32_t waiting = tail_.load(std::memory_order_acquire) - head;
      const std::uint32_t share = (waiting + 1) / 2;
      for (std::uint32_t index = 0; index < share; ++index) {
        take(ring_[(head + index) % capacity].load(std::memory_order_relaxed));
      }
      head_.store(head + share, std::memory_order_release);
      if (share == 0 && may_take_next) {
        if (ProcessCore* core = next_.load(std::memory_order_acquire); core != nullptr) {
          next_.store(nullptr, std::memory_order_relaxed);
          take(core);
        }
      }
    }
    claim_.store(0, std::memory_order_release);
  }

  // --- anybody's -----------------------------------------------------------------------------------------------------
  [[nodiscard]] std::uint32_t size() const noexcept {
    const std::uint32_t head = head_.load(std::memory_order_relaxed);
    const std::uint32_t tail = tail_.load(std::memory_order_relaxed);
    return tail - head <= capacity ? tail - head : 0;
  }
  [[nodiscard]] bool has_next() const noexcept { return next_.load(std::memory_order_relaxed) != nullptr; }
  [[nodiscard]] bool empty() const noexcept { return size() == 0 && !has_next(); }
  /// Grows with every pop: whoever reads the same number twice knows that the oldest entry has waited.
  [[nodiscard]] std::uint32_t popped() const noexcept { return head_.load(std::memory_order_relaxed); }

 private:
  /// The owner is taking: thieves stay out.
  class Taking {
   public:
    explicit Taking(RunQueue& queue) noexcept : queue_(queue) { queue_.keep_thieves_out(); }
    Taking(const Taking&) = delete;
    Taking& operator=(const Taking&) = delete;
    ~Taking() { queue_.owner_takes_.store(0, std::memory_order_release); }

   private:
    RunQueue& queue_;
  };

  void keep_thieves_out() noexcept {
    for (;;) {
      if (barrier_) [[likely]] {
        owner_takes_.store(1, std::memory_order_relaxed);
        std::atomic_signal_fence(std::memory_order_seq_cst);  // the thief's barrier does the rest
      } else {
        owner_takes_.exchange(1);
      }
      std::uint32_t claim = claim_.load();
      if (claim == 0) [[likely]]
        return;
      // A claim that has not begun to take falls; one that has is over in a moment.
      if (claim % 2 == 0 && claim_.compare_exchange_strong(claim, 0)) return;
      owner_takes_.store(0, std::memory_order_release);
      for (int look = 0; claim_.load(std::memory_order_acquire) % 2 != 0; ++look) {
        cpu_relax();
        if (look > 1000) std::this_thread::yield();  // the thief has lost its processor
      }
    }
  }

  const bool barrier_;
  alignas(64) std::atomic<ProcessCore*> next_{nullptr};
  std::atomic<std::uint32_t> head_{0};
  std::atomic<std::uint32_t> tail_{0};
  std::atomic<std::uint32_t> owner_takes_{0};
  std::atomic<std::uint32_t> claim_{0};  // 0; a thief's number times two; the same plus one while it takes
  alignas(64) std::array<std::atomic<ProcessCore*>, capacity> ring_{};
};

}  // namespace dagverk::detail
