#include "jobs/cron_slots.hpp"

#include <algorithm>

namespace dagverk::jobs {

std::optional<DueSlots> due_slots(const CronSchedule& schedule, MissedRuns rule, WallTime last, WallTime now) {
  const std::optional<WallTime> first = schedule.next_after(last);
  if (!first || *first > now) return std::nullopt;
  const WallTime latest = schedule.latest_until(now, last).value_or(*first);
  DueSlots due;
  due.until = latest;
  const WallTime missed_until = now - cron_late_limit;
  const bool some_missed = *first < missed_until;
  if (some_missed && rule == MissedRuns::once) {
    due.fire = {latest};
  } else {
    const bool all = rule == MissedRuns::all;
    const WallTime floor = some_missed && !all ? missed_until - std::chrono::seconds(1) : last;
    std::optional<WallTime> slot = latest;
    for (; slot && due.fire.size() < cron_missed_limit; slot = schedule.latest_until(*slot - Duration(1), floor)) {
      if (!all && *slot < missed_until) break;
      due.fire.push_back(*slot);
    }
    std::ranges::reverse(due.fire);
  }
  if (due.fire.empty() || *first < due.fire.front()) due.missed = first;
  return due;
}

}  // namespace dagverk::jobs
