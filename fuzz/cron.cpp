#include "fuzz_targets.hpp"
#include "jobs/time_zone.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/jobs/cron_schedule.hpp"

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>

namespace dagverk::fuzz {

namespace {

/// Errors are shown on a terminal.
void expect_printable(const Error& error) {
  DAGVERK_ASSERT(std::ranges::all_of(error.message(), [](char c) { return c >= ' ' && c <= '~'; }));
}

void expect_slots(const jobs::CronSchedule& schedule, WallTime from) {
  for (int count = 0; count < 4; ++count) {
    const std::optional<WallTime> slot = schedule.next_after(from);
    if (!slot) return;
    DAGVERK_ASSERT(*slot > from);
    DAGVERK_ASSERT(schedule.latest_until(*slot, from) == *slot);
    from = *slot;
  }
}

}  // namespace

void cron(std::string_view bytes) {
  const std::size_t end = std::min(bytes.find('\n'), bytes.size());
  const std::string_view line = bytes.substr(0, end);
  const std::string_view place = bytes.substr(std::min(end + 1, bytes.size()));
  auto zone = place.starts_with("TZif") ? jobs::TimeZone::parse(place) : jobs::TimeZone::from_rule(place);
  if (!zone) {
    expect_printable(zone.error());
    zone = jobs::TimeZone();
  }
  auto schedule = jobs::CronSchedule::parse(line, std::make_shared<const jobs::TimeZone>(std::move(*zone)));
  if (!schedule) {
    expect_printable(schedule.error());
    return;
  }
  for (const std::int64_t year : {-30, 0, 40, 57, 130, 230}) {
    expect_slots(*schedule, WallTime(std::chrono::hours(24 * 365) * year + std::chrono::milliseconds(1)));
  }
}

}  // namespace dagverk::fuzz
