#include "monitor_table.hpp"

#include "dagverk/base/assert.hpp"

#include <algorithm>
#include <new>
#include <utility>

namespace dagverk::detail {

namespace {

constexpr std::uint32_t capacity_min = 2;

/// How many entries a table of so many places takes: four fifths, and always one less, where searches end.
[[nodiscard]] constexpr std::uint32_t room_of(std::uint32_t capacity) noexcept {
  return capacity - std::max<std::uint32_t>(1, capacity / 5);
}

}  // namespace

std::uint32_t MonitorTable::home_of(std::uint64_t ref) const noexcept {
  // References are numbers in a row, or at equal steps: multiplied with 2^64 by the golden ratio they spread over all
  // values, and their upper half times the capacity over all places.
  const std::uint64_t spread = ref * 0x9e3779b97f4a7c15U >> 32U;
  return static_cast<std::uint32_t>(spread * capacity_ >> 32U);
}

MonitorTable::Entry* MonitorTable::find(std::uint64_t ref) const noexcept {
  if (used_ == 0 || ref == 0) return nullptr;
  for (std::uint32_t place = home_of(ref); entries_[place].ref != 0; place = after(place)) {
    if (entries_[place].ref == ref) return &entries_[place];
  }
  return nullptr;
}

void MonitorTable::add(std::uint64_t ref, Pid pid, Sides side) {
  DAGVERK_ASSERT(ref != 0);
  if (Entry* known = find(ref); known != nullptr) {
    DAGVERK_ASSERT(known->pid() == pid);
    if ((known->sides & side) != 0) return;
    known->sides |= side;
  } else {
    if (capacity_ == 0 || used_ == room_of(capacity_)) {
      const std::uint32_t capacity = std::max(capacity_min, capacity_ + (capacity_ + 1) / 2);
      move_to(std::make_unique<Entry[]>(capacity), capacity);
    }
    put(Entry{ref, pid.core(), pid.generation(), side});
    ++used_;
  }
  count_of(side).store(count_of(side).load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

void MonitorTable::remove(Entry& entry, Sides side) noexcept {
  count_of(side).store(count_of(side).load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
  entry.sides &= ~side;
  if (entry.sides != 0) return;
  close_gap(static_cast<std::uint32_t>(&entry - entries_.get()));
  --used_;
  if (capacity_ < 64 || used_ >= capacity_ / 4) return;
  const std::uint32_t capacity = capacity_ / 2;
  // Without memory for it the table stays as large as it is.
  if (auto* smaller = new (std::nothrow) Entry[capacity]; smaller != nullptr) {
    move_to(std::unique_ptr<Entry[]>(smaller), capacity);
  }
}

/// Moves entries behind a place that has become free so that each is found from its home again.
void MonitorTable::close_gap(std::uint32_t gap) noexcept {
  for (std::uint32_t place = after(gap); entries_[place].ref != 0; place = after(place)) {
    const std::uint32_t home = home_of(entries_[place].ref);
    // It may move into the gap unless its home lies behind that, on the way to where it stands.
    const bool stays = gap <= place ? (gap < home && home <= place) : (gap < home || home <= place);
    if (stays) continue;
    entries_[gap] = entries_[place];
    gap = place;
  }
  entries_[gap] = Entry{};
}

void MonitorTable::put(const Entry& entry) noexcept {
  std::uint32_t place = home_of(entry.ref);
  while (entries_[place].ref != 0) place = after(place);
  entries_[place] = entry;
}

void MonitorTable::move_to(std::unique_ptr<Entry[]> bigger, std::uint32_t capacity) noexcept {
  DAGVERK_ASSERT(used_ < capacity);
  const std::unique_ptr<Entry[]> before = std::exchange(entries_, std::move(bigger));
  const std::uint32_t capacity_before = std::exchange(capacity_, capacity);
  for (std::uint32_t place = 0; place < capacity_before; ++place) {
    if (before[place].ref != 0) put(before[place]);
  }
}

void MonitorTable::add_monitor(MonitorRef ref, Pid watched) { add(ref.id, watched, monitor_side); }
void MonitorTable::add_watcher(MonitorRef ref, Pid watcher) { add(ref.id, watcher, watcher_side); }

bool MonitorTable::has_monitor(MonitorRef ref) const noexcept {
  const Entry* entry = find(ref.id);
  return entry != nullptr && (entry->sides & monitor_side) != 0;
}

std::optional<Pid> MonitorTable::take_monitor(MonitorRef ref) noexcept {
  Entry* entry = find(ref.id);
  if (entry == nullptr || (entry->sides & monitor_side) == 0) return std::nullopt;
  const Pid watched = entry->pid();
  remove(*entry, monitor_side);
  return watched;
}

void MonitorTable::remove_watcher(MonitorRef ref) noexcept {
  Entry* entry = find(ref.id);
  if (entry != nullptr && (entry->sides & watcher_side) != 0) remove(*entry, watcher_side);
}

}  // namespace dagverk::detail
