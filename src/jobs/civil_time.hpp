#pragma once

#include <cstdint>

/// Dates of the Gregorian calendar, for all years alike.
namespace dagverk::jobs {

inline constexpr std::int64_t seconds_per_day = 86'400;

struct CivilDate {
  std::int64_t year = 1970;
  int month = 1;  ///< 1..12
  int day = 1;    ///< 1..31
};

/// Division that rounds down, for instants before 1970.
[[nodiscard]] constexpr std::int64_t floor_div(std::int64_t value, std::int64_t by) noexcept {
  return value / by - (value % by < 0 ? 1 : 0);
}

[[nodiscard]] constexpr bool is_leap_year(std::int64_t year) noexcept {
  return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

[[nodiscard]] constexpr int days_in_month(std::int64_t year, int month) noexcept {
  if (month == 2) return is_leap_year(year) ? 29 : 28;
  return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

/// Days since 1970-01-01. Years are counted from March, so that the day that may be missing is a year's last.
[[nodiscard]] constexpr std::int64_t day_number(std::int64_t year, int month, int day) noexcept {
  const std::int64_t march_year = month > 2 ? year : year - 1;
  const std::int64_t cycle = floor_div(march_year, 400);
  const std::int64_t year_in_cycle = march_year - cycle * 400;
  const std::int64_t day_in_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
  return cycle * 146'097 + year_in_cycle * 365 + year_in_cycle / 4 - year_in_cycle / 100 + day_in_year - 719'468;
}

[[nodiscard]] constexpr CivilDate civil_date(std::int64_t day_since_1970) noexcept {
  const std::int64_t day = day_since_1970 + 719'468;
  const std::int64_t cycle = floor_div(day, 146'097);
  const std::int64_t day_in_cycle = day - cycle * 146'097;
  const std::int64_t year_in_cycle =
      (day_in_cycle - day_in_cycle / 1460 + day_in_cycle / 36'524 - day_in_cycle / 146'096) / 365;
  const std::int64_t day_in_year = day_in_cycle - (365 * year_in_cycle + year_in_cycle / 4 - year_in_cycle / 100);
  const int march_month = static_cast<int>((5 * day_in_year + 2) / 153);
  CivilDate date;
  date.day = static_cast<int>(day_in_year - (153 * march_month + 2) / 5 + 1);
  date.month = march_month < 10 ? march_month + 3 : march_month - 9;
  date.year = cycle * 400 + year_in_cycle + (date.month <= 2 ? 1 : 0);
  return date;
}

/// 0: Sunday.
[[nodiscard]] constexpr int weekday_of(std::int64_t day_since_1970) noexcept {
  return static_cast<int>((day_since_1970 + 4) - floor_div(day_since_1970 + 4, 7) * 7);
}

static_assert(day_number(1970, 1, 1) == 0 && day_number(2000, 3, 1) == 11'017 && weekday_of(0) == 4);
static_assert(civil_date(11'016).month == 2 && civil_date(11'016).day == 29 && civil_date(-1).year == 1969);

}  // namespace dagverk::jobs
