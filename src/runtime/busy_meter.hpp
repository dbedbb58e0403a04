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

  /// A process leaves the thread.
  void charge(ProcessStats& stats) noexcept {
    if (!due()) return;
    const std::uint64_t before = last_;
    begin();
    // Written by whoever runs the process alone.
    stats.busy_cycles.store(stats.busy_cycles.load(std::memory_order_relaxed) + (last_ - before),
                            std::memory_order_relaxed);
  }
  /// A process has ended: its time is nobody's.
  void skip() noexcept {
    if (due()) begin();
  }

 private:
  [[nodiscard]] bool due() const noexcept { return exact_ || coarse_ms_.load(std::memory_order_relaxed) != seen_ms_; }

  const std::atomic<std::uint64_t>& coarse_ms_;
  const bool exact_;
  std::uint64_t seen_ms_ = 0;
  std::uint64_t last_ = 0;
};

}  // namespace dagverk::detail
