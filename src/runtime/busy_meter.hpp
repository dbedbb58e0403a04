#pragma once

#include "cycles.hpp"
#include "process_table.hpp"

#include <atomic>
#include <cstdint>

namespace dagverk::detail {

/// Charges the time of one thread to the processes it runs.
///
/// Semantics: unless it is exact, it looks at the cycle counter only when the runtime's coarse clock has ticked since
///            it last did, and charges what has passed since then to whoever runs at that moment: wrong for a short
///            turn, right on average, and right for whoever keeps the thread for long. Reading the counter after each
///            turn would cost a fifth of the call rate here (18 ns).
/// Threads:   one.
class BusyMeter {
 public:
  BusyMeter(const std::atomic<std::uint64_t>& coarse_ms, bool exact) noexcept : coarse_ms_(coarse_ms), exact_(exact) {}

  /// The thread has something to do, after it had nothing.
  void begin() noexcept {
    seen_ms_ = coarse_ms_.load(std::memory_order_relaxed);
    last_ = cycles();
  }

  /// True when there is time to be charged; `now_ms` is what the coarse clock says.
  [[nodiscard]] bool due(std::uint64_t now_ms) const noexcept { return now_ms != seen_ms_ || exact_; }
  /// `core` leaves the thread, or is between two messages.
  void charge(ProcessCore& core) noexcept {
    const std::uint64_t before = last_;
    begin();
    std::atomic<std::uint64_t>& busy = busy_cycles_of(core);
    busy.store(busy.load(std::memory_order_relaxed) + (last_ - before), std::memory_order_relaxed);
    core.charged = true;
  }
  /// A process has ended: its time is nobody's.
  void skip() noexcept {
    if (due(coarse_ms_.load(std::memory_order_relaxed))) begin();
  }

 private:
  const std::atomic<std::uint64_t>& coarse_ms_;
  const bool exact_;
  std::uint64_t seen_ms_ = 0;
  std::uint64_t last_ = 0;
};

}  // namespace dagverk::detail
