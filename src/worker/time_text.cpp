#include "dagverk/worker/time_text.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/wire_time.hpp"
#include "dagverk/worker/command_line.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <optional>

namespace dagverk::worker {
namespace {

namespace chrono = std::chrono;

/// Takes pieces off the front of a text.
class Cutter {
 public:
  explicit Cutter(std::string_view text) : left_(text) {}

  /// Exactly `digits` digits.
  std::optional<int> number(std::size_t digits) {
    if (left_.size() < digits) return std::nullopt;
    int value = 0;
    for (const char c : left_.substr(0, digits)) {
      if (c < '0' || c > '9') return std::nullopt;
      value = value * 10 + (c - '0');
    }
    left_.remove_prefix(digits);
    return value;
  }
  bool one_of(std::string_view letters) {
    if (left_.empty() || letters.find(left_.front()) == std::string_view::npos) return false;
    left_.remove_prefix(1);
    return true;
  }
  /// Up to nine digits after a decimal point, as nanoseconds.
  std::optional<std::int64_t> fraction_ns() {
    std::int64_t value = 0;
    std::int64_t scale = 100'000'000;
    std::size_t count = 0;
    for (; count < left_.size() && left_[count] >= '0' && left_[count] <= '9'; ++count, scale /= 10) {
      value += (left_[count] - '0') * scale;
    }
    if (count == 0 || count > 9) return std::nullopt;
    left_.remove_prefix(count);
    return value;
  }
  [[nodiscard]] std::string_view left() const { return left_; }

 private:
  std::string_view left_;
};

std::optional<WallTime> parse_calendar(std::string_view text) {
  Cutter cut(text);
  const auto year = cut.number(4);
  if (!year || !cut.one_of("-")) return std::nullopt;
  const auto month = cut.number(2);
  if (!month || !cut.one_of("-")) return std::nullopt;
  const auto day = cut.number(2);
  if (!day || !cut.one_of("T ")) return std::nullopt;
  const auto hour = cut.number(2);
  if (!hour || !cut.one_of(":")) return std::nullopt;
  const auto minute = cut.number(2);
  if (!minute) return std::nullopt;
  int second = 0;
  std::int64_t fraction_ns = 0;
  if (cut.one_of(":")) {
    const auto seconds = cut.number(2);
    if (!seconds) return std::nullopt;
    second = *seconds;
    if (cut.one_of(".")) {
      const auto fraction = cut.fraction_ns();
      if (!fraction) return std::nullopt;
      fraction_ns = *fraction;
    }
  }
  const chrono::year_month_day date{chrono::year(*year), chrono::month(static_cast<unsigned>(*month)),
                                    chrono::day(static_cast<unsigned>(*day))};
  if (!date.ok() || *year < 1970 || *year > 2261 || *hour > 23 || *minute > 59 || second > 59) return std::nullopt;

  const std::string_view zone = cut.left();
  chrono::seconds since_epoch = chrono::sys_days(date).time_since_epoch() + chrono::hours(*hour) +
                                chrono::minutes(*minute) + chrono::seconds(second);
  if (zone.empty()) {
    std::tm local{};
    local.tm_year = *year - 1900;
    local.tm_mon = *month - 1;
    local.tm_mday = *day;
    local.tm_hour = *hour;
    local.tm_min = *minute;
    local.tm_sec = second;
    local.tm_isdst = -1;
    since_epoch = chrono::seconds(std::mktime(&local));
  } else if (zone != "Z" && zone != "z") {
    const bool west = zone.front() == '-';
    if (!cut.one_of("+-")) return std::nullopt;
    const auto hours = cut.number(2);
    static_cast<void>(cut.one_of(":"));
    const auto minutes = cut.number(2);
    if (!hours || !minutes || *hours > 14 || *minutes > 59 || !cut.left().empty()) return std::nullopt;
    const auto offset = chrono::hours(*hours) + chrono::minutes(*minutes);
    since_epoch -= west ? -chrono::seconds(offset) : chrono::seconds(offset);
  }
  return WallTime(Duration(since_epoch) + Duration(fraction_ns));
}

}  // namespace

std::string utc_text(WallTime time) { return jobs::utc_text(time); }

Result<WallTime> parse_time(std::string_view text) {
  if (const auto calendar = parse_calendar(text)) return *calendar;
  const bool date_like = text.size() > 4 && text[4] == '-';
  const auto seconds = date_like ? std::nullopt : jobs::parse_epoch_seconds(text);
  if (seconds && *seconds >= WallTime()) return *seconds;
  return Error(
      ErrorCode::invalid_argument,
      concat("got \"", printable(text, 60),
             "\"; allowed: a time such as 2026-11-21T09:30:00Z, 2026-11-21T09:30 (local), or seconds since 1970"));
}

}  // namespace dagverk::worker
