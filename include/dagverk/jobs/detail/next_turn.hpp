#pragma once

#include "dagverk/base/clock.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>

namespace dagverk::jobs::detail {

/// What a store answers to JobStore::next_turn: the earliest of the turns that takes have found, until it is over.
///
/// Threads: `note` one at a time, `get` any.
class NextTurn {
 public:
  void note(WallTime turn, WallTime now) noexcept {
    const std::int64_t known = turn_.load(std::memory_order_relaxed);
    if (known <= count_of(now) || count_of(turn) < known) turn_.store(count_of(turn), std::memory_order_relaxed);
  }
  [[nodiscard]] std::optional<WallTime> get() const noexcept {
    const std::int64_t turn = turn_.load(std::memory_order_relaxed);
    return turn == 0 ? std::nullopt : std::optional(WallTime(std::chrono::nanoseconds(turn)));
  }

 private:
  [[nodiscard]] static std::int64_t count_of(WallTime time) noexcept {
    return std::chrono::nanoseconds(time.time_since_epoch()).count();
  }

  std::atomic<std::int64_t> turn_{0};  // relaxed: only a hint, and nothing else is published with it
};

}  // namespace dagverk::jobs::detail
