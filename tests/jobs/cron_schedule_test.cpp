// Cron lines and time zones, against a second computation that shares nothing with the first: it walks through all half
// hours of a hundred years and asks the C library what clocks show.

#include "dagverk/jobs/cron_schedule.hpp"

#include "jobs/time_zone.hpp"
#include "support/seed_count.hpp"

#include "dagverk/base/concat.hpp"

#include <gtest/gtest.h>

#include <bitset>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <functional>
#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

namespace dagverk::jobs {
namespace {

using namespace std::chrono_literals;

constexpr const char* berlin = "CET-1CEST,M3.5.0,M10.5.0/3";

std::shared_ptr<const TimeZone> zone_of(std::string_view rule) {
  return std::make_shared<const TimeZone>(TimeZone::from_rule(rule).value());
}

WallTime at(std::int64_t epoch_s) { return WallTime(std::chrono::seconds(epoch_s)); }
std::int64_t seconds(WallTime time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
}

/// `2026-03-29 02:30:00`, in UTC.
WallTime utc(const std::string& text) {
  std::tm time{};
  if (::strptime(text.c_str(), "%Y-%m-%d %H:%M:%S", &time) == nullptr) throw std::invalid_argument(text);
  return at(::timegm(&time));
}
std::string text_of(std::optional<WallTime> time) {
  if (!time) return "never";
  const std::time_t second = seconds(*time);
  std::tm parts{};
  ::gmtime_r(&second, &parts);
  char text[32] = {};
  static_cast<void>(std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts));
  return text;
}

std::vector<std::string> next(std::string_view line, const std::shared_ptr<const TimeZone>& zone,
                              const std::string& from, std::size_t count) {
  const CronSchedule schedule = CronSchedule::parse(line, zone).value();
  std::vector<std::string> slots;
  for (std::optional<WallTime> slot = schedule.next_after(utc(from)); slot && slots.size() < count;
       slot = schedule.next_after(*slot)) {
    slots.push_back(text_of(slot));
  }
  return slots;
}

std::string message_of(std::string_view line, std::string_view zone = "UTC") {
  const Result<CronSchedule> schedule = CronSchedule::parse(line, zone);
  return schedule ? "accepted" : std::string(schedule.error().message());
}

// ---- what lines mean ----

TEST(CronSchedule, reads_fields_names_ranges_steps_and_lists) {
  const auto zone = zone_of("UTC0");
  using Slots = std::vector<std::string>;
  EXPECT_EQ(next("*/20 8-9 * * *", zone, "2026-01-01 08:15:00", 4),
            (Slots{"2026-01-01 08:20:00", "2026-01-01 08:40:00", "2026-01-01 09:00:00", "2026-01-01 09:20:00"}));
  EXPECT_EQ(next("50/5 0 1 jan,Jul *", zone, "2026-01-01 00:50:00", 3),
            (Slots{"2026-01-01 00:55:00", "2026-07-01 00:50:00", "2026-07-01 00:55:00"}));
  EXPECT_EQ(next("0 12 * * MON-Fri/2", zone, "2026-11-21 00:00:00", 3),
            (Slots{"2026-11-23 12:00:00", "2026-11-25 12:00:00", "2026-11-27 12:00:00"}));
  EXPECT_EQ(next("0 12 * * sat-sun", zone, "2026-11-21 12:00:00", 2),
            (Slots{"2026-11-22 12:00:00", "2026-11-28 12:00:00"}));
  EXPECT_EQ(next("0 12 * * 7", zone, "2026-11-21 12:00:00", 1), next("0 12 * * 0", zone, "2026-11-21 12:00:00", 1));
  EXPECT_EQ(next("15,45 30 6 * * *", zone, "2026-11-21 06:30:15", 2),
            (Slots{"2026-11-21 06:30:45", "2026-11-22 06:30:15"}));
  EXPECT_EQ(next("\t* *  * * * * ", zone, "2026-12-31 23:59:59", 1), Slots{"2027-01-01 00:00:00"});
  EXPECT_EQ(next("0 0 29 2 *", zone, "2096-02-29 00:00:00", 1), Slots{"2104-02-29 00:00:00"});
  // Either of day and weekday where both are told; both where one begins with a star.
  EXPECT_EQ(next("0 0 13 * FRI", zone, "2026-11-12 00:00:00", 3),
            (Slots{"2026-11-13 00:00:00", "2026-11-20 00:00:00", "2026-11-27 00:00:00"}));
  EXPECT_EQ(next("0 0 */13 * FRI", zone, "2026-11-21 00:00:00", 2),
            (Slots{"2026-11-27 00:00:00", "2027-01-01 00:00:00"}));
  for (const auto& [name, line] :
       {std::pair("@hourly", "0 * * * *"), std::pair("@daily", "0 0 * * *"), std::pair("@Midnight", "0 0 * * *"),
        std::pair("@weekly", "0 0 * * SUN"), std::pair("@monthly", "0 0 1 * *"), std::pair("@yearly", "0 0 1 JAN *"),
        std::pair("@annually", "0 0 1 1 *")}) {
    EXPECT_EQ(next(name, zone, "2026-11-21 10:11:12", 5), next(line, zone, "2026-11-21 10:11:12", 5)) << name;
  }
  // A time within a second is before the next one; time ends where WallTime does.
  const CronSchedule every_second = CronSchedule::parse("* * * * * *").value();
  EXPECT_EQ(every_second.next_after(at(100) + 1ms), at(101));
  EXPECT_EQ(every_second.next_after(at(-100)), at(-99));
  EXPECT_EQ(every_second.next_after(WallTime::max()), std::nullopt);
  EXPECT_NE(every_second.next_after(WallTime::min()), std::nullopt);
}

TEST(CronSchedule, says_what_to_type_instead_of_a_line_that_is_wrong) {
  EXPECT_EQ(message_of("0 3 * *"),
            R"(schedule "0 3 * *": needs 5 fields, minute hour day month weekday, or 6 with seconds first, got 4; )"
            R"(type for example 30 2 * * MON-FRI)");
  EXPECT_EQ(message_of("0 24 * * *"),
            R"(schedule "0 24 * * *": hour "24" must be 0 to 23; type for example 3, 8-18 or */2)");
  EXPECT_EQ(message_of("0 0 31 2 *"),
            R"(schedule "0 0 31 2 *": never comes: FEB has no day 31; type a day up to 29, or other months)");
  EXPECT_EQ(message_of("0 0 31 4,JUN */2"),
            R"(schedule "0 0 31 4,JUN */2": never comes: APR has no day 31; type a day up to 30, or other months)");
  EXPECT_EQ(message_of("0 0 31 2 MON"), "accepted");
  EXPECT_EQ(
      message_of("0 0 * * 5-1"),
      R"(schedule "0 0 * * 5-1": weekday "5-1" runs backwards; write it as two ranges, 5-7,0-1; type for example )"
      R"(*, 1-5 or MON-FRI)");
  EXPECT_EQ(message_of("@reboot"), R"(schedule "@reboot": is no name known here; type @hourly, @daily, @weekly, )"
                                   R"(@monthly or @yearly)");
  for (const auto& [line, part] :
       {std::pair("60 * * * *", "must be 0 to 59"), std::pair("0 0 0 * *", "must be 1 to 31"),
        std::pair("0 0 * 13 *", "must be 1 to 12"), std::pair("0 0 * * 8", "must be 0 to 7"),
        std::pair("0 0 L * *", "other schedulers"), std::pair("0 0 * * 5#3", "other schedulers"),
        std::pair("0 0 ? * *", "other schedulers"), std::pair("*/0 * * * *", "a step of 1 to 59"),
        std::pair("*/60 * * * *", "a step of 1 to 59"), std::pair("1, * * * *", "has an empty part"),
        std::pair("x * * * *", "is no number"), std::pair("-1 * * * *", "is no number"),
        std::pair("99999999999 * * * *", "is no number"), std::pair("0 0 * JAM *", "is no number"),
        std::pair("", "got 0"), std::pair("* * * * * * *", "got 7"), std::pair("\x01 \xff * * *", "\"?\"")}) {
    EXPECT_NE(message_of(line).find(part), std::string::npos) << line << ": " << message_of(line);
  }
  EXPECT_NE(message_of(std::string(513, '*')).find("over the limit of 512"), std::string::npos);
}

TEST(CronSchedule, says_what_to_type_instead_of_a_zone_that_is_none) {
  const std::string advice = "; type UTC, or a place as in Europe/Berlin or America/New_York";
  EXPECT_EQ(message_of("@daily", "Etc/UTC"), "accepted");
  for (const char* name : {"../../etc/passwd", "/etc/passwd", "", "Europe/", "a b", "Europe/B\xc3\xbcrlin"}) {
    EXPECT_NE(message_of("@daily", name).find(concat("is no name of a zone", advice)), std::string::npos) << name;
  }
  EXPECT_EQ(TimeZone::load("Europe/Berlin", "/nowhere").error().message(),
            concat("time zone \"Europe/Berlin\": there are no zones in /nowhere (install the package tzdata)", advice));
}

// ---- clocks that are changed ----

TEST(CronSchedule, comes_once_after_a_gap_and_the_first_time_in_a_doubled_hour) {
  const auto zone = zone_of(berlin);
  using Slots = std::vector<std::string>;
  // 29 March 2026: 02:00 becomes 03:00, which is 01:00 UTC.
  EXPECT_EQ(next("30 2 * * *", zone, "2026-03-27 23:00:00", 3),
            (Slots{"2026-03-28 01:30:00", "2026-03-29 01:00:00", "2026-03-30 00:30:00"}));
  EXPECT_EQ(next("*/10 2 29 3 *", zone, "2026-03-01 00:00:00", 1), Slots{"2026-03-29 01:00:00"});
  EXPECT_EQ(next("*/30 2-3 29 3 *", zone, "2026-03-01 00:00:00", 2),
            (Slots{"2026-03-29 01:00:00", "2026-03-29 01:30:00"}));
  EXPECT_EQ(next("30 * * * *", zone, "2026-03-29 00:00:00", 2), (Slots{"2026-03-29 00:30:00", "2026-03-29 01:30:00"}));
  // 25 October 2026: 03:00 becomes 02:00, so that 02:30 is at 00:30 and at 01:30 UTC.
  EXPECT_EQ(next("30 2 * * *", zone, "2026-10-24 12:00:00", 2), (Slots{"2026-10-25 00:30:00", "2026-10-26 01:30:00"}));
  EXPECT_EQ(next("30 2 * * *", zone, "2026-10-25 01:10:00", 1), Slots{"2026-10-26 01:30:00"});
  EXPECT_EQ(next("30 0-23 * * *", zone, "2026-10-25 00:00:00", 3),
            (Slots{"2026-10-25 00:30:00", "2026-10-25 01:30:00", "2026-10-25 02:30:00"}));
}

/// What a line says, spelled out.
struct Meaning {
  const char* line;
  std::bitset<60> minutes;
  std::bitset<24> hours;
  std::function<bool(const std::tm&)> day;

  [[nodiscard]] bool every_hour() const { return hours.all(); }
  [[nodiscard]] bool fits(const std::tm& time, int minute) const {
    return hours.test(static_cast<std::size_t>(time.tm_hour)) && minutes.test(static_cast<std::size_t>(minute)) &&
           day(time);
  }
};

template <std::size_t Size>
std::bitset<Size> some(std::initializer_list<std::size_t> values) {
  std::bitset<Size> set;
  for (const std::size_t value : values) set.set(value);
  return set;
}

std::vector<Meaning> meanings() {
  const auto any = [](const std::tm&) { return true; };
  const auto minutes = some<60>;
  const auto hours = some<24>;
  return {
      {"30 2 * * *", minutes({30}), hours({2}), any},
      {"*/15 1-3 * * SUN", minutes({0, 15, 30, 45}), hours({1, 2, 3}), [](const std::tm& t) { return t.tm_wday == 0; }},
      {"59 23 29 2 *", minutes({59}), hours({23}), [](const std::tm& t) { return t.tm_mon == 1 && t.tm_mday == 29; }},
      {"5 */6 1,15 JAN-MAR MON", minutes({5}), hours({0, 6, 12, 18}),
       [](const std::tm& t) { return t.tm_mon <= 2 && (t.tm_wday == 1 || t.tm_mday == 1 || t.tm_mday == 15); }},
      {"0,30 * 31 * *", minutes({0, 30}), ~std::bitset<24>(), [](const std::tm& t) { return t.tm_mday == 31; }},
      {"7 0-1 */10 3,10 1-5", minutes({7}), hours({0, 1}),
       [](const std::tm& t) {
         return (t.tm_mon == 2 || t.tm_mon == 9) && t.tm_mday % 10 == 1 && t.tm_wday >= 1 && t.tm_wday <= 5;
       }},
  };
}

/// All slots of a hundred years by the second computation.
std::vector<std::vector<std::int64_t>> walk(const std::vector<Meaning>& wanted, std::int64_t begin, std::int64_t end) {
  std::vector<std::vector<std::int64_t>> slots(wanted.size());
  long offset = 0;
  std::int64_t doubled_until = begin;
  for (std::int64_t block = begin; block < end; block += 1800) {
    std::tm local{};
    const std::time_t second = block;
    ::localtime_r(&second, &local);
    const long change = block == begin ? 0 : local.tm_gmtoff - offset;
    if (change < 0) doubled_until = block - change;
    for (std::size_t index = 0; index < wanted.size(); ++index) {
      const Meaning& meaning = wanted[index];
      bool due_after_gap = false;
      for (long skipped = 0; skipped < change && !meaning.every_hour(); skipped += 60) {
        std::tm shown{};
        const std::time_t as_utc = block + offset + skipped;
        ::gmtime_r(&as_utc, &shown);
        due_after_gap = due_after_gap || meaning.fits(shown, shown.tm_min);
      }
      if (due_after_gap) slots[index].push_back(block);
      if (!meaning.every_hour() && block < doubled_until) continue;
      if (!meaning.hours.test(static_cast<std::size_t>(local.tm_hour)) || !meaning.day(local)) continue;
      for (int minute = 0; minute < 30; ++minute) {
        if (!meaning.fits(local, local.tm_min + minute)) continue;
        if (minute > 0 || !due_after_gap) slots[index].push_back(block + std::int64_t{60} * minute);
      }
    }
    offset = local.tm_gmtoff;
  }
  return slots;
}

TEST(CronSchedule, has_the_slots_of_a_hundred_years_that_a_walk_through_all_of_them_finds) {
  const std::int64_t begin = seconds(utc("2026-01-01 00:00:00"));
  const std::int64_t end = seconds(utc(sanitized ? "2041-01-01 00:00:00" : "2126-01-01 00:00:00"));
  const std::vector<Meaning> wanted = meanings();
  // Half an hour of summer time; the south; a rule by days of the year whose summer ends at midnight; none at all.
  for (const char* rule : {berlin, "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", "XST5XDT,J60/0,300/0", "UTC0"}) {
    ASSERT_EQ(::setenv("TZ", rule, 1), 0);
    ::tzset();
    const std::vector<std::vector<std::int64_t>> expected = walk(wanted, begin, end);
    const auto zone = zone_of(rule);
    for (std::size_t index = 0; index < wanted.size(); ++index) {
      const CronSchedule schedule = CronSchedule::parse(wanted[index].line, zone).value();
      ASSERT_FALSE(expected[index].empty());
      WallTime time = at(begin - 1);
      for (const std::int64_t slot : expected[index]) {
        const std::optional<WallTime> found = schedule.next_after(time);
        if (found != at(slot)) {
          FAIL() << wanted[index].line << " in " << rule << " after " << text_of(time) << ": " << text_of(found)
                 << " instead of " << text_of(at(slot));
        }
        time = *found;
      }
      EXPECT_GE(seconds(schedule.next_after(time).value()), end) << wanted[index].line << " in " << rule;
    }
  }
  ::unsetenv("TZ");
  ::tzset();
}

TEST(CronSchedule, finds_the_latest_slot_that_going_forward_finds) {
  const auto zone = zone_of(berlin);
  const WallTime begin = utc("2026-03-01 00:00:00");
  for (const char* line : {"*/7 * * * *", "30 2 * * *", "*/20 * 2 * * SUN", "0 0 1 */3 *", "0 0 29 2 *"}) {
    const CronSchedule schedule = CronSchedule::parse(line, zone).value();
    std::optional<WallTime> expected;
    std::optional<WallTime> next = schedule.next_after(begin);
    for (WallTime time = begin; time < begin + 40 * 24h; time += 31min + 13s) {
      for (; *next <= time; next = schedule.next_after(*next)) expected = next;
      if (schedule.latest_until(time, begin) != expected) FAIL() << line << " until " << text_of(time);
      EXPECT_EQ(schedule.latest_until(time, expected.value_or(time)), std::nullopt);
    }
  }
}

// ---- time zone files ----

std::string big_endian(std::int64_t value, int size) {
  std::string bytes;
  for (int byte = size - 1; byte >= 0; --byte) {
    bytes.push_back(
        static_cast<char>((static_cast<std::uint64_t>(value) >> (8 * static_cast<unsigned>(byte))) & 0xffU));
  }
  return bytes;
}

std::string header(char version, int changes, int types) {
  std::string bytes = "TZif";
  bytes.push_back(version);
  bytes.append(15, '\0');
  for (const int count : {0, 0, 0, changes, types, 4}) bytes += big_endian(count, 4);
  return bytes;
}

/// UTC until 1 January 2000, then two hours ahead until 1 January 2001, then by the rule.
std::string two_changes(const std::string& rule) {
  std::string bytes = header('2', 0, 1) + big_endian(0, 4) + std::string(2, '\0') + std::string("UTC\0", 4);
  bytes += header('2', 2, 2) + big_endian(946'684'800, 8) + big_endian(978'307'200, 8) + std::string("\1\0", 2);
  bytes += big_endian(0, 4) + std::string(2, '\0') + big_endian(7200, 4) + std::string("\0\0", 2);
  return bytes + std::string("UTC\0", 4) + "\n" + rule + "\n";
}

TEST(TimeZone, reads_changes_and_the_rule_after_them) {
  const TimeZone zone = TimeZone::parse(two_changes(berlin)).value();
  EXPECT_EQ(zone.period_at(946'684'799).offset, 0);
  EXPECT_EQ(zone.period_at(946'684'799).end, 946'684'800);
  EXPECT_EQ(zone.period_at(946'684'800).offset, 7200);
  EXPECT_EQ(zone.period_at(978'307'199).end, 978'307'200);
  EXPECT_EQ(zone.period_at(978'307'200).begin, 978'307'200);
  EXPECT_EQ(zone.period_at(978'307'200).offset, 3600);
  EXPECT_EQ(zone.period_at(seconds(utc("2001-07-01 00:00:00"))).offset, 7200);
  EXPECT_EQ(zone.period_at(seconds(utc("2199-07-01 00:00:00"))).offset, 7200);
  const TimeZone no_rule = TimeZone::parse(two_changes("")).value();
  EXPECT_EQ(no_rule.period_at(seconds(utc("2199-07-01 00:00:00"))).offset, 0);
  EXPECT_EQ(no_rule.period_at(978'307'200).end, ZonePeriod::always_after);
  // Summer all year, which POSIX can only say with changes that meet.
  const TimeZone summer = TimeZone::from_rule("EST5EDT,0/0,J365/25").value();
  for (std::int64_t day = 0; day < 800; ++day) ASSERT_EQ(summer.period_at(day * 86'400).offset, -4 * 3600) << day;
}

TEST(TimeZone, refuses_what_is_no_zone_file) {
  const std::string good = two_changes(berlin);
  for (std::size_t size = 0; size + 1 < good.size(); ++size) {
    const Result<TimeZone> zone = TimeZone::parse(std::string_view(good).substr(0, size));
    ASSERT_FALSE(zone) << size;
    ASSERT_EQ(zone.error().code(), ErrorCode::malformed);
  }
  const auto refused = [&](std::size_t place, char byte) {
    std::string bytes = good;
    bytes.at(place) = byte;
    return !TimeZone::parse(bytes).has_value();
  };
  const std::size_t second = 44 + 6 + 4;
  EXPECT_TRUE(refused(0, 'X'));
  EXPECT_TRUE(refused(second + 31, '\1'));         // a leap second
  EXPECT_TRUE(refused(second + 44 + 16, '\2'));    // a kind that is not there
  EXPECT_TRUE(refused(second + 44, '\x7f'));       // out of order
  EXPECT_TRUE(refused(second + 44 + 18, '\x7f'));  // a distance of years
  for (const char* rule : {"CET", "C-1", "CET-1CEST", "CET-1CEST,M3.5.0", "CET-1CEST,M13.5.0,M10.5.0", "<+03-3",
                           "CET-1CEST,M3.5.0,M10.5.0/200", "CET-25", "CET-1CEST,M3.6.0,M10.5.0", "CET-1 "}) {
    EXPECT_FALSE(TimeZone::from_rule(rule)) << rule;
  }
}

TEST(TimeZone, agrees_with_the_systems_own_reader_where_there_are_zone_files) {
  const std::string folder = "/usr/share/zoneinfo";
  for (const char* name : {"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca",
                           "Asia/Kolkata", "Pacific/Apia", "Europe/Dublin"}) {
    if (!std::ifstream(concat(folder, "/", name)).good()) continue;  // as in a small container
    const auto zone = TimeZone::load(name).value();
    ASSERT_EQ(::setenv("TZ", name, 1), 0);
    ::tzset();
    for (std::int64_t second = seconds(utc("1950-01-01 00:00:00")); second < seconds(utc("2150-01-01 00:00:00"));
         second += 86'399 * (sanitized ? 30 : 3)) {
      const std::time_t time = second;
      std::tm local{};
      ::localtime_r(&time, &local);
      ASSERT_EQ(zone->period_at(second).offset, local.tm_gmtoff) << name << " at " << text_of(at(second));
    }
  }
  ::unsetenv("TZ");
  ::tzset();
}

}  // namespace
}  // namespace dagverk::jobs
