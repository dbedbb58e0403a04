#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/result.hpp"

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace dagverk::jobs {

class TimeZone;

inline constexpr std::size_t cron_text_size_limit = 512;

/// When something recurs: a line as cron(8) reads it, in a time zone. The instants that it names are its slots.
///
///   auto nightly = CronSchedule::parse("30 2 * * MON-FRI", "Europe/Berlin");
///   nightly->next_after(clock.wall_now());
///
/// Semantics: five fields, minute hour day month weekday, or six, with seconds first. A field is `*`, or a list, with
///            commas, of numbers, names (`JAN`, `mon`), ranges `1-5`, and steps `*/15`, `8-18/2`, `5/20` (from 5 on).
///            Sunday is 0 and 7. Where neither day nor weekday begins with `*`, either of them is enough; else both
///            must fit (Vixie's rule). Or one of @hourly, @daily (@midnight), @weekly, @monthly, @yearly (@annually).
///            When clocks are put forward, slots in the hour that is left out come once, together, right after it; when
///            they are put back, slots in the hour that comes twice come the first time only. A line that means every
///            hour (`*`, `*/1`, `0-23`) follows the clock instead: it has no slots in what is left out, and has those
///            of a doubled hour twice, so that it never pauses and never runs double.
/// Threads:   immutable: may be read from several threads at once.
/// Errors:    `invalid_argument`, for lines that say nothing, and for those whose day never comes; the message says
///            which field is wrong and what to type.
/// Bounds:    a line has at most cron_text_size_limit bytes. Slots end with the year 2261, where WallTime does.
class CronSchedule {
 public:
  /// `zone`: a name of the system's time zone database. Blocks: may read a file of some kilobytes.
  [[nodiscard]] static Result<CronSchedule> parse(std::string_view line, std::string_view zone = "UTC");
  /// With a zone that was read before.
  [[nodiscard]] static Result<CronSchedule> parse(std::string_view line, std::shared_ptr<const TimeZone> zone);

  /// The first slot after `time`; none when there is none any more.
  [[nodiscard]] std::optional<WallTime> next_after(WallTime time) const;
  /// The last slot at or before `time` that is after `floor`. Costs some thirty times as much as `next_after`.
  [[nodiscard]] std::optional<WallTime> latest_until(WallTime time, WallTime floor) const;

 private:
  struct Reader;

  CronSchedule() = default;
  [[nodiscard]] Result<void> read(std::string_view line);
  [[nodiscard]] Result<void> check_days(std::string_view line) const;
  [[nodiscard]] bool fits_day(std::int64_t day, int day_of_month) const;
  [[nodiscard]] std::optional<std::int64_t> first_day(std::int64_t from, std::int64_t until) const;
  [[nodiscard]] std::optional<std::int64_t> first_second(std::int64_t from) const;
  [[nodiscard]] std::optional<std::int64_t> first_local(std::int64_t from, std::int64_t before) const;
  [[nodiscard]] std::optional<std::int64_t> slot_after(std::int64_t second) const;

  std::bitset<60> seconds_;
  std::bitset<60> minutes_;
  std::bitset<24> hours_;
  std::bitset<32> days_;                  // 1..31
  std::bitset<13> months_;                // 1..12
  std::bitset<7> weekdays_;               // 0: Sunday
  bool either_day_ = false;               // the day or the weekday, instead of both
  std::shared_ptr<const TimeZone> zone_;  // shared by the copies of a schedule, and by those that were given the same
};

}  // namespace dagverk::jobs
