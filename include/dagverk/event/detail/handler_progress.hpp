#pragma once

#include "dagverk/runtime/detail/program_barrier.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace dagverk::detail {

/// How far a handler has come with the events in its hands, in one word that its manager can read, and end, at any
/// moment: so that accounts are exact while the handler runs, hangs or is being replaced.
///
/// Semantics: four counts that the handler writes, and two marks that the manager sets. The handler writes, then looks
///            at the marks; a manager that gives it up sets its mark, then reads the counts. At least one of the two
///            sees the other: either the manager's view has what was added, or the handler sees that it was given up.
///            The handler, who does this at each event, pays a plain store and a plain load; giving up, which is rare,
///            makes all threads pass a barrier.
/// Threads:   one handler process, one manager process.
/// Bounds:    each count is below 2^15. A cache line of its own: handlers side by side write to theirs at each event.
class alignas(64) HandlerProgress {
 public:
  struct View {
    std::size_t delivered = 0;       ///< callbacks that returned, in events
    std::size_t filtered = 0;        ///< rejected events
    std::size_t failing_offset = 0;  ///< behind the settled ones: which events user code looks at now,
    std::size_t failing_count = 0;   ///< and how many
    [[nodiscard]] std::size_t settled() const noexcept { return delivered + filtered; }
  };

  // --- the handler's side --------------------------------------------------------------------------------------------
  /// Before user code gets events. False when it is not to get them, see `delivered`.
  [[nodiscard]] bool looks_at(std::size_t offset, std::size_t count) noexcept {
    const std::uint64_t next = (fields_ & settled_mask) | (offset << offset_shift) | (count << count_shift);
    return next == fields_ || write(next);
  }
  /// User code looks at nothing any more.
  void looks_away() noexcept { static_cast<void>(looks_at(0, 0)); }
  /// False when the handler is to go on with nothing: it was given up, or is to end.
  [[nodiscard]] bool delivered(std::size_t count) noexcept { return write(fields_ + count); }
  [[nodiscard]] bool filtered(std::size_t count) noexcept { return write(fields_ + (count << filtered_shift)); }
  [[nodiscard]] bool may_go_on() const noexcept { return marks_.load() == 0; }

  // --- the manager's side --------------------------------------------------------------------------------------------
  [[nodiscard]] View view() const noexcept { return view_of(word_.load()); }
  /// The handler is to end once the event it handles now is done.
  void ask_to_end() noexcept { marks_.fetch_or(end_mark); }
  /// Whatever the handler does from now on does not count. How far it had come.
  [[nodiscard]] View give_up() noexcept {
    marks_.fetch_or(gone_mark);
    if (lopsided_) ProgramBarrier::heavy();
    return view();
  }
  /// Before new events are handed over: the handler is idle, and its first step comes after.
  void restart_count() noexcept {
    fields_ = 0;
    word_.store(0);
  }

 private:
  static constexpr unsigned bits = 15;
  static constexpr unsigned filtered_shift = bits;
  static constexpr unsigned offset_shift = 2 * bits;
  static constexpr unsigned count_shift = 3 * bits;
  static constexpr std::uint64_t field = (std::uint64_t{1} << bits) - 1;
  static constexpr std::uint64_t settled_mask = field | (field << filtered_shift);
  static constexpr std::uint32_t end_mark = 1;
  static constexpr std::uint32_t gone_mark = 2;

  bool write(std::uint64_t fields) noexcept {
    fields_ = fields;
    if (lopsided_) [[likely]] {
      word_.store(fields, std::memory_order_release);
      std::atomic_signal_fence(std::memory_order_seq_cst);  // the barrier of who gives us up does the rest
    } else {
      word_.exchange(fields);
    }
    return marks_.load() == 0;
  }
  static View view_of(std::uint64_t word) noexcept {
    return {word & field, (word >> filtered_shift) & field, (word >> offset_shift) & field,
            (word >> count_shift) & field};
  }

  std::atomic<std::uint64_t> word_{0};
  std::atomic<std::uint32_t> marks_{0};
  const bool lopsided_ = ProgramBarrier::available();
  std::uint64_t fields_ = 0;  // the word; whoever holds the events has it, and messages hand it over
};

}  // namespace dagverk::detail
