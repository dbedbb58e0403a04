#pragma once

#include "dagverk/base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace dagverk::jobs {

/// One unbroken stretch of a zone's time with one distance from UTC. `begin` and `end` are seconds since the Unix
/// epoch.
struct ZonePeriod {
  static constexpr std::int64_t always_before = std::numeric_limits<std::int64_t>::min() / 4;
  static constexpr std::int64_t always_after = std::numeric_limits<std::int64_t>::max() / 4;

  std::int64_t begin = always_before;  ///< the first second in it
  std::int64_t end = always_after;     ///< the first second after it; always later than `begin`
  std::int32_t offset = 0;             ///< seconds that local time is ahead of UTC
};

/// How far the clocks of a place are from UTC, and when that changes.
///
/// Semantics: what the system's time zone database says (TZif files, RFC 8536, of every version), the rule at their end
///            included, so that there is no last year. Leap seconds are not counted.
/// Threads:   immutable: may be read from several threads at once.
/// Bounds:    a file has at most 256 KiB and 20,000 changes; distances are less than 26 hours.
class TimeZone {
 public:
  /// The zone of that name. `UTC` needs no file. Blocks: reads a file of some kilobytes.
  /// Errors: `invalid_argument` for a name that is none; its message says what to type.
  [[nodiscard]] static Result<std::shared_ptr<const TimeZone>> load(std::string_view name,
                                                                    const std::string& folder = "/usr/share/zoneinfo");
  /// From the bytes of a TZif file. Errors: `malformed`.
  [[nodiscard]] static Result<TimeZone> parse(std::string_view bytes);
  /// From a rule as POSIX writes it in the variable TZ: `CET-1CEST,M3.5.0,M10.5.0/3`. Errors: `malformed`.
  [[nodiscard]] static Result<TimeZone> from_rule(std::string_view rule);

  /// The period in which `at` is.
  [[nodiscard]] ZonePeriod period_at(std::int64_t at) const;

 private:
  /// A day of each year and the second of that day, by one of POSIX's three ways.
  struct YearDay {
    enum class Kind : std::uint8_t { month_week_day, day_without_leap, day_of_year };
    Kind kind = Kind::month_week_day;
    int month = 1;
    int week = 1;
    int day = 0;
    std::int32_t second = 7200;
  };
  struct Rule {
    std::int32_t standard = 0;
    std::int32_t summer = 0;
    std::optional<std::pair<YearDay, YearDay>> dates = std::nullopt;  // when summer begins and ends
  };
  struct Change {
    std::int64_t at = 0;
    std::int32_t offset = 0;
  };
  class RuleReader;

  [[nodiscard]] static std::int64_t local_second(const YearDay& day, std::int64_t year);
  [[nodiscard]] ZonePeriod by_rule(std::int64_t at) const;

  std::int32_t first_offset_ = 0;  // before the first change
  std::vector<Change> changes_;    // in order; no two at one instant
  std::optional<Rule> rule_;       // what holds after the last of them
};

}  // namespace dagverk::jobs
