#pragma once

#include "dagverk/base/assert.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace dagverk::detail {

/// How far a handler has come with the events in its hands, in one word that its manager can read, and end, at any
/// moment: so that accounts are exact while the handler runs, hangs or is being replaced.
///
/// Semantics: four counts that the handler writes and two marks that the manager sets. The handler adds and looks at
///            the marks in one step: either the manager's view has what was added, or the handler sees that it was
///            given up.
/// Threads:   one handler process, one manager process.
/// Bounds:    each count is below 2^15.
class HandlerProgress {
 public:
  struct View {
    std::size_t delivered = 0;       ///< callbacks that returned, in events
    std::size_t filtered = 0;        ///< rejected events
    std::size_t failing_offset = 0;  ///< behind the settled ones: which events user code looks at now,
    std::size_t failing_count = 0;   ///< and how many
    [[nodiscard]] std::size_t settled() const noexcept { return delivered + filtered; }
  };

  // --- the handler's side --------------------------------------------------------------------------------------------
  void looks_at(std::size_t offset, std::size_t count) noexcept {
    const std::uint64_t next = (fields_ & settled_mask) | (offset << offset_shift) | (count << count_shift);
    if (next != fields_) static_cast<void>(write(next));
  }
  /// False when the handler is to go on with nothing: it was given up, or is to end.
  [[nodiscard]] bool delivered(std::size_t count) noexcept { return (write(fields_ + count) & marks) == 0; }
  [[nodiscard]] bool filtered(std::size_t count) noexcept {
    return (write(fields_ + (count << filtered_shift)) & marks) == 0;
  }
  [[nodiscard]] bool may_go_on() const noexcept { return (word_.load() & marks) == 0; }

  // --- the manager's side --------------------------------------------------------------------------------------------
  [[nodiscard]] View view() const noexcept { return view_of(word_.load()); }
  /// The handler is to end once the event it handles now is done.
  void ask_to_end() noexcept { word_.fetch_or(end_mark); }
  /// Whatever the handler does from now on does not count. How far it had come.
  [[nodiscard]] View give_up() noexcept { return view_of(word_.fetch_or(gone_mark)); }
  /// Before new events are handed over: the handler is idle, and its first step comes after.
  void restart_count() noexcept {
    word_.fetch_and(marks);
    fields_ = 0;
  }

 private:
  static constexpr unsigned bits = 15;
  static constexpr unsigned filtered_shift = bits;
  static constexpr unsigned offset_shift = 2 * bits;
  static constexpr unsigned count_shift = 3 * bits;
  static constexpr std::uint64_t field = (std::uint64_t{1} << bits) - 1;
  static constexpr std::uint64_t settled_mask = field | (field << filtered_shift);
  static constexpr std::uint64_t end_mark = std::uint64_t{1} << 62U;
  static constexpr std::uint64_t gone_mark = std::uint64_t{1} << 63U;
  static constexpr std::uint64_t marks = end_mark | gone_mark;

  /// Adding the difference leaves the marks as they are, whoever sets them meanwhile.
  std::uint64_t write(std::uint64_t fields) noexcept {
    const std::uint64_t before = word_.fetch_add(fields - fields_);
    fields_ = fields;
    return before;
  }
  static View view_of(std::uint64_t word) noexcept {
    return {word & field, (word >> filtered_shift) & field, (word >> offset_shift) & field,
            (word >> count_shift) & field};
  }

  std::atomic<std::uint64_t> word_{0};
  std::uint64_t fields_ = 0;  // the word without its marks; whoever holds the events has it, and messages hand it over
};

}  // namespace dagverk::detail
