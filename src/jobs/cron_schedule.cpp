#include "dagverk/jobs/cron_schedule.hpp"

#include "jobs/civil_time.hpp"
#include "jobs/time_zone.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <span>
#include <utility>
#include <vector>

namespace dagverk::jobs {

namespace {

constexpr std::int64_t last_year = 2261;
constexpr std::int64_t end_of_time = day_number(last_year + 1, 1, 1) * seconds_per_day;
constexpr std::int64_t start_of_time = day_number(1678, 1, 1) * seconds_per_day;

constexpr std::array<std::string_view, 12> month_names = {"JAN", "FEB", "MAR", "APR", "MAY", "JUN",
                                                          "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"};
constexpr std::array<std::string_view, 7> weekday_names = {"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"};

struct Field {
  std::string_view name;
  int min;
  int max;
  std::string_view example;
  std::span<const std::string_view> names = {};
  int first_name = 0;
};
constexpr std::array<Field, 6> fields = {{
    {"second", 0, 59, "0, */10 or 0,30"},
    {"minute", 0, 59, "0, */15 or 5,35"},
    {"hour", 0, 23, "3, 8-18 or */2"},
    {"day", 1, 31, "*, 1 or 1,15"},
    {"month", 1, 12, "*, 6 or JAN-MAR", month_names, 1},
    {"weekday", 0, 7, "*, 1-5 or MON-FRI", weekday_names, 0},
}};

struct Nickname {
  std::string_view name;
  std::string_view line;
};
constexpr std::array<Nickname, 7> nicknames = {{
    {"@hourly", "0 * * * *"},
    {"@daily", "0 0 * * *"},
    {"@midnight", "0 0 * * *"},
    {"@weekly", "0 0 * * 0"},
    {"@monthly", "0 0 1 * *"},
    {"@yearly", "0 0 1 1 *"},
    {"@annually", "0 0 1 1 *"},
}};

std::string printed(std::string_view text) {
  std::string shown;
  for (const char c : text.substr(0, 60)) shown.push_back(c < ' ' || c > '~' ? '?' : c);
  return shown;
}

Error wrong_line(std::string_view line, std::string_view why) {
  return {ErrorCode::invalid_argument, concat("schedule \"", printed(line), "\": ", why)};
}

bool same_letters(std::string_view left, std::string_view right) noexcept {
  const auto upper = [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; };
  return std::ranges::equal(left, right, {}, upper, upper);
}

std::vector<std::string_view> words_of(std::string_view line) {
  std::vector<std::string_view> words;
  for (std::size_t at = 0; at < line.size();) {
    const std::size_t end = std::min(line.find_first_of(" \t", at), line.size());
    if (end > at) words.push_back(line.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

template <std::size_t Size>
std::optional<int> first_from(const std::bitset<Size>& set, int from) noexcept {
  for (auto value = static_cast<std::size_t>(from); value < Size; ++value) {
    if (set.test(value)) return static_cast<int>(value);
  }
  return std::nullopt;
}

}  // namespace

/// Reads the fields of one line.
struct CronSchedule::Reader {
  std::string_view line;

  [[nodiscard]] Error wrong(const Field& field, std::string_view part, std::string_view why) const {
    return wrong_line(line, concat(field.name, " \"", printed(part), "\" ", why, "; type for example ", field.example));
  }

  [[nodiscard]] Result<int> number(const Field& field, std::string_view text) const {
    for (std::size_t index = 0; index < field.names.size(); ++index) {
      if (same_letters(text, field.names[index])) return field.first_name + static_cast<int>(index);
    }
    const bool digits =
        !text.empty() && text.size() <= 4 && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
    if (!digits) return wrong(field, text, "is no number");
    int value = 0;
    for (const char c : text) value = value * 10 + (c - '0');
    if (value < field.min || value > field.max) {
      return wrong(field, text, concat("must be ", field.min, " to ", field.max));
    }
    return value;
  }

  /// `*`, `N`, `N-M`, each with an optional `/STEP`.
  template <std::size_t Size>
  [[nodiscard]] Result<void> part(const Field& field, std::string_view text, std::bitset<Size>& set) const {
    const std::size_t slash = text.find('/');
    const std::string_view range = text.substr(0, slash);
    int step = 1;
    if (slash != std::string_view::npos) {
      const Field steps{.name = field.name, .min = 1, .max = field.max, .example = field.example};
      const Result<int> read = number(steps, text.substr(slash + 1));
      if (!read) return wrong(field, text, concat("needs a step of 1 to ", field.max, " behind its /"));
      step = *read;
    }
    int first = field.min;
    int last = field.name == "weekday" ? 6 : field.max;
    if (range != "*") {
      const std::size_t dash = range.find('-');
      const Result<int> low = number(field, range.substr(0, dash));
      if (!low) return low.error();
      first = *low;
      if (dash != std::string_view::npos) {
        const Result<int> high = number(field, range.substr(dash + 1));
        if (!high) return high.error();
        last = *high;
        if (last == 0 && field.name == "weekday" && first > 0) last = 7;  // until Sunday
      } else if (slash == std::string_view::npos) {
        last = first;
      } else {
        last = std::max(first, last);
      }
      if (first > last) {
        return wrong(
            field, text,
            concat("runs backwards; write it as two ranges, ", first, "-", field.max, ",", field.min, "-", last));
      }
    }
    for (int value = first; value <= last; value += step) set.set(static_cast<std::size_t>(value) % Size);
    return {};
  }

  template <std::size_t Size>
  [[nodiscard]] Result<void> field(const Field& field, std::string_view text, std::bitset<Size>& set) const {
    for (std::string_view left = text;;) {
      const std::size_t comma = left.find(',');
      const std::string_view each = left.substr(0, comma);
      if (each.empty()) return wrong(field, text, "has an empty part");
      if (each.find_first_of("#?") != std::string_view::npos || same_letters(each, "L") || same_letters(each, "W")) {
        return wrong(field, each, "is not understood here: L, W, # and ? belong to other schedulers");
      }
      if (auto read = part(field, each, set); !read) return read;
      if (comma == std::string_view::npos) return {};
      left.remove_prefix(comma + 1);
    }
  }
};

Result<CronSchedule> CronSchedule::parse(std::string_view line, std::string_view zone) {
  Result<std::shared_ptr<const TimeZone>> loaded = TimeZone::load(zone);
  if (!loaded) return loaded.error();
  return parse(line, std::move(*loaded));
}

Result<CronSchedule> CronSchedule::parse(std::string_view line, std::shared_ptr<const TimeZone> zone) {
  CronSchedule schedule;
  schedule.zone_ = std::move(zone);
  if (auto read = schedule.read(line); !read) return read.error();
  return schedule;
}

Result<void> CronSchedule::read(std::string_view line) {
  if (line.size() > cron_text_size_limit) {
    return wrong_line(line, concat("has ", line.size(), " bytes, over the limit of ", cron_text_size_limit));
  }
  std::vector<std::string_view> words = words_of(line);
  if (words.size() == 1 && words.front().front() == '@') {
    const auto known =
        std::ranges::find_if(nicknames, [&](const Nickname& each) { return same_letters(each.name, words.front()); });
    if (known == nicknames.end()) {
      return wrong_line(line, "is no name known here; type @hourly, @daily, @weekly, @monthly or @yearly");
    }
    words = words_of(known->line);
  }
  if (words.size() != 5 && words.size() != 6) {
    return wrong_line(line, concat("needs 5 fields, minute hour day month weekday, or 6 with seconds first, got ",
                                   words.size(), "; type for example 30 2 * * MON-FRI"));
  }
  if (words.size() == 5) words.insert(words.begin(), "0");
  const Reader reader{line};
  if (auto good = reader.field(fields[0], words[0], seconds_); !good) return good;
  if (auto good = reader.field(fields[1], words[1], minutes_); !good) return good;
  if (auto good = reader.field(fields[2], words[2], hours_); !good) return good;
  if (auto good = reader.field(fields[3], words[3], days_); !good) return good;
  if (auto good = reader.field(fields[4], words[4], months_); !good) return good;
  if (auto good = reader.field(fields[5], words[5], weekdays_); !good) return good;
  either_day_ = words[3].front() != '*' && words[5].front() != '*';
  return check_days(line);
}

/// Some month must have one of the days.
Result<void> CronSchedule::check_days(std::string_view line) const {
  if (either_day_) return {};  // the weekday comes
  const int day = first_from(days_, 1).value_or(1);
  int longest = 0;
  int month = 0;
  for (int each = 1; each <= 12; ++each) {
    if (!months_.test(static_cast<std::size_t>(each)) || days_in_month(2000, each) <= longest) continue;
    longest = days_in_month(2000, each);
    month = each;
  }
  if (day <= longest) return {};
  return wrong_line(line, concat("never comes: ", month_names.at(static_cast<std::size_t>(month - 1)), " has no day ",
                                 day, "; type a day up to ", longest, ", or other months"));
}

bool CronSchedule::fits_day(std::int64_t day, int day_of_month) const {
  const bool by_day = days_.test(static_cast<std::size_t>(day_of_month));
  const bool by_weekday = weekdays_.test(static_cast<std::size_t>(weekday_of(day)));
  return either_day_ ? by_day || by_weekday : by_day && by_weekday;
}

/// The first day from `from` on, and at most `until`.
std::optional<std::int64_t> CronSchedule::first_day(std::int64_t from, std::int64_t until) const {
  CivilDate date = civil_date(from);
  while (from <= until) {
    const int days = days_in_month(date.year, date.month);
    if (months_.test(static_cast<std::size_t>(date.month))) {
      for (; date.day <= days; ++date.day, ++from) {
        if (fits_day(from, date.day)) return from <= until ? std::optional(from) : std::nullopt;
      }
    } else {
      from += days - date.day + 1;
    }
    date.day = 1;
    date.year += date.month == 12 ? 1 : 0;
    date.month = date.month == 12 ? 1 : date.month + 1;
  }
  return std::nullopt;
}

/// The first second of a day from `from` on.
std::optional<std::int64_t> CronSchedule::first_second(std::int64_t from) const {
  const int hour_now = static_cast<int>(from / 3600);
  const int minute_now = static_cast<int>(from / 60 % 60);
  const int second_now = static_cast<int>(from % 60);
  const int first_minute = *first_from(minutes_, 0);
  const int first_second = *first_from(seconds_, 0);
  const auto at = [](int hour, int minute, int second) { return (std::int64_t{hour} * 60 + minute) * 60 + second; };
  if (hours_.test(static_cast<std::size_t>(hour_now))) {
    if (minutes_.test(static_cast<std::size_t>(minute_now))) {
      if (const auto second = first_from(seconds_, second_now)) return at(hour_now, minute_now, *second);
    }
    if (const auto minute = first_from(minutes_, minute_now + 1)) return at(hour_now, *minute, first_second);
  }
  if (const auto hour = first_from(hours_, hour_now + 1)) return at(*hour, first_minute, first_second);
  return std::nullopt;
}

/// The first local time that fits from `from` on and is before `before`, both in seconds as a clock there shows them.
std::optional<std::int64_t> CronSchedule::first_local(std::int64_t from, std::int64_t before) const {
  if (from >= before) return std::nullopt;
  const std::int64_t last_day = floor_div(before - 1, seconds_per_day);
  std::int64_t day = floor_div(from, seconds_per_day);
  std::int64_t second = from - day * seconds_per_day;
  while (const std::optional<std::int64_t> fitting = first_day(day, last_day)) {
    if (*fitting != day) second = 0;
    if (const std::optional<std::int64_t> found = first_second(second)) {
      const std::int64_t local = *fitting * seconds_per_day + *found;
      return local < before ? std::optional(local) : std::nullopt;
    }
    day = *fitting + 1;
    second = 0;
  }
  return std::nullopt;
}

/// Goes through the periods of the zone: within one of them local time is as even as UTC.
std::optional<std::int64_t> CronSchedule::slot_after(std::int64_t second) const {
  const bool every_hour = hours_.all();
  ZonePeriod period = zone_->period_at(second);
  std::int64_t from = second + 1 + period.offset;
  if (!every_hour && period.begin > start_of_time) {
    // What a clock there had shown before it was put back is over.
    from = std::max(from, period.begin + zone_->period_at(period.begin - 1).offset);
  }
  for (;;) {
    const std::int64_t end = std::min(period.end, end_of_time);
    if (const auto local = first_local(from, end + period.offset)) return *local - period.offset;
    if (end == end_of_time) return std::nullopt;
    const ZonePeriod next = zone_->period_at(end);
    const std::int64_t before = end + period.offset;  // what a clock showed, and shows from now on
    const std::int64_t after = end + next.offset;
    if (!every_hour && first_local(before, after)) return end;
    from = every_hour ? after : std::max(before, after);
    period = next;
  }
}

std::optional<WallTime> CronSchedule::next_after(WallTime time) const {
  const std::int64_t second = std::chrono::floor<std::chrono::seconds>(time.time_since_epoch()).count();
  const std::optional<std::int64_t> slot = slot_after(std::max(second, start_of_time));
  if (!slot) return std::nullopt;
  return WallTime(std::chrono::seconds(*slot));
}

/// Whether there is a slot between an instant and `time` only ever changes from yes to no as the instant grows.
std::optional<WallTime> CronSchedule::latest_until(WallTime time, WallTime floor) const {
  const std::int64_t end = std::chrono::floor<std::chrono::seconds>(time.time_since_epoch()).count();
  const auto slot_in_time = [&](std::int64_t from) {
    const std::optional<std::int64_t> slot = slot_after(from);
    return slot && *slot <= end ? slot : std::nullopt;
  };
  std::int64_t yes =
      std::max(std::chrono::floor<std::chrono::seconds>(floor.time_since_epoch()).count(), start_of_time);
  if (yes >= end) return std::nullopt;
  std::optional<std::int64_t> latest = slot_in_time(yes);
  if (!latest) return std::nullopt;
  for (std::int64_t no = end; no - yes > 1;) {
    const std::int64_t middle = yes + (no - yes) / 2;
    if (const std::optional<std::int64_t> slot = slot_in_time(middle)) {
      latest = slot;
      yes = *slot > middle ? *slot - 1 : middle;  // nothing lies between
    } else {
      no = middle;
    }
  }
  return WallTime(std::chrono::seconds(*latest));
}

}  // namespace dagverk::jobs
