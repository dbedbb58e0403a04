#pragma once

#include "log/record.hpp"

#include "dagverk/runtime/detail/prefetch.hpp"
#include "dagverk/runtime/detail/program_barrier.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

namespace dagverk::detail {

/// One thread's lines on their way to the collector: a ring of bytes with one writer and one reader.
///
/// Threads: the owner reserves, commits and counts; the collector reads and releases. Any thread reads the figures.
/// Bounds:  `capacity` bytes, a power of two; a line that does not fit is the owner's to drop.
class ThreadRing {
 public:
  ThreadRing(std::size_t capacity, std::uint32_t thread_id, bool program_barrier = ProgramBarrier::available())
      : capacity_(capacity), bytes_(new char[capacity]), thread_id_(thread_id), program_barrier_(program_barrier) {
    std::memset(bytes_.get(), 0, capacity);  // the pages are there before the first line needs them
  }

  // --- the owner -----------------------------------------------------------------------------------------------------

  /// Room for `size` bytes in one piece, a multiple of 8; null when there is none.
  [[nodiscard]] char* reserve(std::uint32_t size) noexcept {
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
    const std::uint64_t offset = tail & (capacity_ - 1);
    const std::uint64_t rest = capacity_ - offset;
    const std::uint64_t needed = size <= rest ? size : rest + size;
    if (tail + needed - head_seen_ > capacity_) {
      head_seen_ = head_.load(std::memory_order_acquire);  // pairs with release(): the reader is done with those bytes
      if (tail + needed - head_seen_ > capacity_) return nullptr;
    }
    if (size <= rest) {
      next_ = tail + size;
      return bytes_.get() + offset;
    }
    header_at(bytes_.get() + offset).size = 0;
    next_ = tail + needed;
    return bytes_.get();
  }
  /// Publishes what was reserved last. The collector must see it or be seen asleep by what the owner reads next: it
  /// makes all threads pass a barrier before it sleeps, or else each line pays for one.
  void commit() noexcept {
    add(pushed, 1);
    if (program_barrier_) [[likely]] {
      tail_.store(next_, std::memory_order_release);        // pairs with tail(): the record is written
      std::atomic_signal_fence(std::memory_order_seq_cst);  // light() of ProgramBarrier: the compiler keeps the order
    } else {
      tail_.store(next_, std::memory_order_seq_cst);
    }
    // The collector has read what comes next here: without these two its lines would have to come back one by one.
    const char* const next = bytes_.get() + (next_ & (capacity_ - 1));
    prefetch_to_write(next + 64);
    prefetch_to_write(next + 128);
  }

  /// For counters that only the owner writes.
  static void add(std::atomic<std::uint64_t>& counter, std::uint64_t count) noexcept {
    counter.store(counter.load(std::memory_order_relaxed) + count, std::memory_order_relaxed);
  }

  std::uint64_t gave_way_at = 0;  ///< the collector's look at which the owner last did
  std::atomic<std::uint64_t> pushed{0};
  std::atomic<std::uint64_t> dropped_full{0};
  std::atomic<std::uint64_t> dropped_by_mode{0};
  std::atomic<std::uint64_t> dropped_inside{0};

  // --- the collector -------------------------------------------------------------------------------------------------

  [[nodiscard]] std::uint64_t head() const noexcept { return head_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t tail() const noexcept { return tail_.load(std::memory_order_seq_cst); }
  /// The record at position `at`, which moves on over the unused end of the ring; `at` is before the tail.
  [[nodiscard]] const char* record_at(std::uint64_t& at) const noexcept {
    const std::uint64_t offset = at & (capacity_ - 1);
    const char* record = bytes_.get() + offset;
    if (header_at(record).size != 0) return record;
    at += capacity_ - offset;
    return bytes_.get();
  }
  /// Gives everything before `head` back to the owner.
  void release(std::uint64_t head, std::uint64_t lines) noexcept {
    add(taken_, lines);
    head_.store(head, std::memory_order_release);
  }

  // --- both ----------------------------------------------------------------------------------------------------------

  /// Lines that the collector has taken.
  [[nodiscard]] std::uint64_t taken() const noexcept { return taken_.load(); }
  [[nodiscard]] std::uint32_t thread_id() const noexcept { return thread_id_; }
  std::atomic<bool> owner_gone{false};   ///< the thread has ended: nothing more comes
  std::atomic<bool> reader_gone{false};  ///< the pipeline has ended

 private:
  const std::size_t capacity_;
  std::unique_ptr<char[]> bytes_;
  const std::uint32_t thread_id_;
  const bool program_barrier_;
  alignas(64) std::atomic<std::uint64_t> tail_{0};
  std::uint64_t next_ = 0;       // the owner's: the tail after the reservation
  std::uint64_t head_seen_ = 0;  // the owner's: the head as of the last look
  alignas(64) std::atomic<std::uint64_t> head_{0};
  std::atomic<std::uint64_t> taken_{0};  // lines; on the collector's own cache line, too
};

}  // namespace dagverk::detail
