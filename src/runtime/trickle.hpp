#pragma once

#include <cstdint>

namespace dagverk::detail {

/// Tells the reader of a mailbox when to pause for a moment, so that it finds many messages at once afterwards.
///
/// Semantics: a mailbox that another thread fills one by one, as fast as it is emptied, costs both threads a cache line
///            per message. The sign of it is a run of looks, close together, that find few; from then on there is a
///            pause at every look, until one finds so many that the reader is behind anyway, or so few that pausing did
///            not help: senders that wait for answers send no more meanwhile, and are left alone for a long while.
/// Threads:   one; it remembers one reader, from turn to turn.
class Trickle {
 public:
  /// Looks within `window_cycles` of one another are close together.
  explicit Trickle(std::uint64_t window_cycles) noexcept : window_(window_cycles) {}

  /// `reader` has found `found` new messages at `now`, in cycles. True when it should pause now.
  [[nodiscard]] bool should_pause(const void* reader, std::uint32_t found, std::uint64_t now) noexcept {
    if (reader != reader_) {
      reader_ = reader;
      looks_ = 0;
      paused_ = false;
    }
    if (paused_) {
      paused_ = false;
      looks_ = found >= many_messages ? 0 : found >= few_messages ? looks_min : -looks_left_alone;
    } else if (found < few_messages && now - looked_at_ < window_) {
      ++looks_;
    } else if (looks_ > 0) {
      looks_ = 0;
    }
    looked_at_ = now;
    return looks_ >= looks_min;
  }

  /// The reader has paused, until `now`.
  void has_paused(std::uint64_t now) noexcept {
    paused_ = true;
    looked_at_ = now;
  }

 private:
  static constexpr std::uint32_t few_messages = 16;
  static constexpr std::uint32_t many_messages = 256;
  static constexpr int looks_min = 4;
  static constexpr int looks_left_alone = 64;

  std::uint64_t window_;
  const void* reader_ = nullptr;
  std::uint64_t looked_at_ = 0;
  int looks_ = 0;  // in a row that found few; below zero: so many are still to be left alone
  bool paused_ = false;
};

}  // namespace dagverk::detail
