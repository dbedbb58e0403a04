#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/jobs/cron_entry.hpp"
#include "dagverk/jobs/cron_schedule.hpp"

#include <chrono>
#include <optional>
#include <vector>

namespace dagverk::jobs {

/// A slot that is not older is late, and is fired as if it were not; one that is older was missed. Longer than it takes
/// another node to lead.
inline constexpr Duration cron_late_limit = std::chrono::seconds(60);
static_assert(cron_late_limit > cron_lead_limit);

/// What is to be done about an entry's slots.
struct DueSlots {
  std::vector<WallTime> fire;                     ///< a job for each, in this order
  WallTime until;                                 ///< the entry's last slot from now on
  std::optional<WallTime> missed = std::nullopt;  ///< the earliest slot that was missed and gets no job of its own
};

/// The slots after `last` that have come by `now`, by the rule for those that were missed; nothing when there are none.
///
/// Bounds: at most cron_missed_limit jobs, of the latest slots.
[[nodiscard]] std::optional<DueSlots> due_slots(const CronSchedule& schedule, MissedRuns rule, WallTime last,
                                                WallTime now);

}  // namespace dagverk::jobs
