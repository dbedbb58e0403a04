// The table of monitors against a sorted map: whatever is added and taken, in whatever order.

#include "runtime/monitor_table.hpp"

#include "dagverk/base/random.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

namespace dagverk::detail {
namespace {

using Known = std::map<std::uint64_t, Pid>;

/// What the table and the maps agree on.
class Pair {
 public:
  void add_monitor(std::uint64_t ref, Pid pid) {
    table.add_monitor({ref}, pid);
    monitors.emplace(ref, pid);
  }
  void add_watcher(std::uint64_t ref, Pid pid) {
    table.add_watcher({ref}, pid);
    watchers.emplace(ref, pid);
  }
  void take_monitor(std::uint64_t ref) {
    const auto known = monitors.find(ref);
    const std::optional<Pid> expected = known == monitors.end() ? std::nullopt : std::optional(known->second);
    EXPECT_EQ(table.take_monitor({ref}), expected);
    if (expected) monitors.erase(known);
  }
  void remove_watcher(std::uint64_t ref) {
    table.remove_watcher({ref});
    watchers.erase(ref);
  }
  void check() const {
    Known seen;
    table.for_each_monitor([&](MonitorRef ref, Pid pid) { EXPECT_TRUE(seen.emplace(ref.id, pid).second); });
    EXPECT_EQ(seen, monitors);
    seen.clear();
    table.for_each_watcher([&](MonitorRef ref, Pid pid) { EXPECT_TRUE(seen.emplace(ref.id, pid).second); });
    EXPECT_EQ(seen, watchers);
    EXPECT_EQ(table.monitor_count(), monitors.size());
    EXPECT_EQ(table.watcher_count(), watchers.size());
  }

  MonitorTable table;
  Known monitors;
  Known watchers;
};

/// Pids that are only compared.
[[nodiscard]] Pid pid_of(std::uint64_t ref) { return {nullptr, static_cast<std::uint32_t>(ref * 2 + 1)}; }

TEST(MonitorTable, one_reference_serves_both_directions_and_each_ends_by_itself) {
  Pair pair;
  pair.add_monitor(7, pid_of(7));
  pair.add_watcher(7, pid_of(7));
  pair.add_watcher(7, pid_of(7));  // told twice: once
  pair.check();
  pair.take_monitor(7);
  EXPECT_FALSE(pair.table.has_monitor({7}));
  pair.take_monitor(7);
  pair.check();
  pair.add_monitor(7, pid_of(7));
  pair.remove_watcher(7);
  pair.remove_watcher(7);
  EXPECT_TRUE(pair.table.has_monitor({7}));
  pair.check();
  pair.take_monitor(0);  // the reference that nobody has
  pair.remove_watcher(0);
  pair.check();
}

TEST(MonitorTable, whatever_is_added_and_taken_is_as_in_a_map) {
  // References come in a row, at equal steps (each of so many processes takes every n-th), or from far apart.
  for (const std::uint64_t step : {std::uint64_t{1}, std::uint64_t{2}, std::uint64_t{200}, std::uint64_t{1} << 40U}) {
    Random random(step);
    Pair pair;
    std::uint64_t next = 1;
    std::vector<std::uint64_t> refs;
    // Grows, shrinks to nothing and grows again: the odds of taking change on the way.
    for (const std::uint64_t odds : {20U, 80U, 45U, 90U}) {
      for (int operation = 0; operation < 2'000; ++operation) {
        if (random.below(100) >= odds || refs.empty()) {
          refs.push_back(next);
          next += step;
          const std::uint64_t sides = 1 + random.below(3);
          if ((sides & 1U) != 0) pair.add_monitor(refs.back(), pid_of(refs.back()));
          if ((sides & 2U) != 0) pair.add_watcher(refs.back(), pid_of(refs.back()));
        } else {
          const auto place = refs.begin() + static_cast<std::ptrdiff_t>(random.below(refs.size()));
          pair.take_monitor(*place);
          if (random.below(4) != 0) {
            pair.remove_watcher(*place);
            *place = refs.back();
            refs.pop_back();
          }
        }
        EXPECT_EQ(pair.table.has_monitor({next}), false);
        if (operation % 100 == 0) pair.check();
      }
      pair.check();
    }
    for (const std::uint64_t ref : refs) {
      pair.take_monitor(ref);
      pair.remove_watcher(ref);
    }
    pair.check();
    EXPECT_EQ(pair.table.monitor_count() + pair.table.watcher_count(), 0U);
  }
}

}  // namespace
}  // namespace dagverk::detail
