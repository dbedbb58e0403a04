#pragma once

#include "dagverk/runtime/messages.hpp"
#include "dagverk/runtime/pid.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

namespace dagverk::detail {

/// The monitors of one process: those it has set on others, and those that others have set on it, by their references.
///
/// Semantics: two processes that watch each other under one reference, as the two ends of a subscription do, take one
///            entry on each side.
/// Threads:   the process' own; the counts may be read by any.
/// Bounds:    30 to 45 bytes for an entry while the table grows, at most 96 after others have gone. Looking up, adding
///            and taking cost a constant on average.
class MonitorTable {
 public:
  MonitorTable() noexcept = default;
  MonitorTable(const MonitorTable&) = delete;
  MonitorTable& operator=(const MonitorTable&) = delete;
  ~MonitorTable() = default;

  /// This process monitors `watched`. The reference is new, or `watched` monitors this process by it.
  void add_monitor(MonitorRef ref, Pid watched);
  /// `watcher` monitors this process. The reference is new, or this process monitors `watcher` by it.
  void add_watcher(MonitorRef ref, Pid watcher);

  [[nodiscard]] bool has_monitor(MonitorRef ref) const noexcept;
  /// Forgets a monitor; whom it was on. Nothing: there is none.
  std::optional<Pid> take_monitor(MonitorRef ref) noexcept;
  /// Forgets who monitors this process by `ref`, if somebody does.
  void remove_watcher(MonitorRef ref) noexcept;

  /// Calls `visit(MonitorRef, Pid)` for each; it must not change the table.
  template <class Visit>
  void for_each_monitor(Visit&& visit) const {
    for_each(monitor_side, visit);
  }
  template <class Visit>
  void for_each_watcher(Visit&& visit) const {
    for_each(watcher_side, visit);
  }

  [[nodiscard]] std::uint32_t monitor_count() const noexcept { return monitor_count_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint32_t watcher_count() const noexcept { return watcher_count_.load(std::memory_order_relaxed); }

 private:
  using Sides = std::uint32_t;
  static constexpr Sides monitor_side = 1;
  static constexpr Sides watcher_side = 2;

  /// As a Pid, but for its padding, which holds the sides.
  struct Entry {
    std::uint64_t ref = 0;  // 0: free
    ProcessCore* core = nullptr;
    std::uint32_t generation = 0;
    Sides sides = 0;

    [[nodiscard]] Pid pid() const noexcept { return {core, generation}; }
  };
  static_assert(sizeof(Entry) == 24);

  template <class Visit>
  void for_each(Sides side, Visit&& visit) const {
    for (std::uint32_t place = 0; place < capacity_; ++place) {
      const Entry& entry = entries_[place];
      if ((entry.sides & side) != 0) visit(MonitorRef{entry.ref}, entry.pid());
    }
  }

  /// Where the search for `ref` begins.
  [[nodiscard]] std::uint32_t home_of(std::uint64_t ref) const noexcept;
  [[nodiscard]] std::uint32_t after(std::uint32_t place) const noexcept {
    return place + 1 == capacity_ ? 0 : place + 1;
  }
  [[nodiscard]] Entry* find(std::uint64_t ref) const noexcept;
  void add(std::uint64_t ref, Pid pid, Sides side);
  void remove(Entry& entry, Sides side) noexcept;
  void close_gap(std::uint32_t gap) noexcept;
  void put(const Entry& entry) noexcept;
  void move_to(std::unique_ptr<Entry[]> bigger, std::uint32_t capacity) noexcept;
  [[nodiscard]] std::atomic<std::uint32_t>& count_of(Sides side) noexcept {
    return side == monitor_side ? monitor_count_ : watcher_count_;
  }

  // Open addressing, linear probing: an entry stands at its home or behind it, with no free place in between.
  std::unique_ptr<Entry[]> entries_;
  std::uint32_t capacity_ = 0;
  std::uint32_t used_ = 0;
  std::atomic<std::uint32_t> monitor_count_{0};
  std::atomic<std::uint32_t> watcher_count_{0};
};

}  // namespace dagverk::detail
