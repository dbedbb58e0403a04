#include "dagverk/jobs/wire_time.hpp"

#include "jobs/json_text.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <limits>

namespace dagverk::jobs {

namespace {

constexpr std::int64_t ns_per_s = 1'000'000'000;
constexpr std::int64_t ns_per_ms = 1'000'000;
constexpr std::int64_t integer_is_millis_from = 100'000'000'000;  // 1e11 s is the year 5138; 1e11 ms is 1973

std::string two(unsigned value) { return concat(value < 10 ? "0" : "", value); }

std::optional<WallTime> from_count(std::int64_t count, std::int64_t ns_per_unit) {
  const std::int64_t limit = std::numeric_limits<std::int64_t>::max() / ns_per_unit;
  if (count > limit || count < -limit) return std::nullopt;
  return WallTime{Duration{count * ns_per_unit}};
}

std::optional<WallTime> from_double(std::string_view number) {
  double seconds = 0;
  const auto read = std::from_chars(number.data(), number.data() + number.size(), seconds);
  if (read.ec != std::errc{} || !(std::fabs(seconds) < 9.2e9)) return std::nullopt;
  return WallTime{Duration{std::llround(seconds * 1e9)}};
}

/// Digits, and perhaps a point with more of them: decimal digits are taken as they are, because going through a double
/// would cost the last ones.
struct Decimal {
  bool negative = false;
  bool point = false;
  std::int64_t whole = 0;
  std::int64_t fraction_ns = 0;

  [[nodiscard]] std::optional<WallTime> seconds() const {
    constexpr std::int64_t limit_s = std::numeric_limits<std::int64_t>::max() / ns_per_s - 1;
    if (whole > limit_s) return std::nullopt;
    const std::int64_t ns = whole * ns_per_s + fraction_ns;
    return WallTime{Duration{negative ? -ns : ns}};
  }
};

/// Nothing for a JSON number of another form, one of more than 18 digits before the point, and what is none.
std::optional<Decimal> parse_decimal(std::string_view text) {
  constexpr std::ptrdiff_t digits_limit = 18;
  constexpr std::ptrdiff_t places = 9;  // of a nanosecond; what is smaller is cut off
  static constexpr std::int64_t unit_after[places + 1] = {ns_per_s, 100'000'000, 10'000'000, 1'000'000, 100'000,
                                                          10'000,   1'000,       100,        10,        1};
  const char* at = text.data();
  const char* const end = at + text.size();
  const auto read_digits = [&at](const char* until) {
    std::uint64_t number = 0;
    for (; at != until; ++at) {
      const std::uint64_t digit = static_cast<unsigned char>(*at) - std::uint64_t{'0'};
      if (digit > 9) break;
      number = number * 10 + digit;
    }
    return static_cast<std::int64_t>(number);
  };
  Decimal read;
  read.negative = text.starts_with('-');
  if (read.negative) ++at;
  const char* const whole = at;
  read.whole = read_digits(whole + std::min(digits_limit, end - whole));
  if (at == whole || (at - whole > 1 && *whole == '0')) return std::nullopt;
  if (at == end) return read;
  if (*at != '.') return std::nullopt;
  read.point = true;
  const char* const fraction = ++at;
  read.fraction_ns = read_digits(fraction + std::min(places, end - fraction));
  read.fraction_ns *= unit_after[at - fraction];
  while (at != end && json::is_digit(*at)) ++at;
  if (at != end || at == fraction) return std::nullopt;
  return read;
}

}  // namespace

std::string exact_epoch_seconds_text(WallTime time) {
  const std::int64_t ns = time.time_since_epoch().count();
  // Unsigned negation is defined for the smallest number, too.
  const std::uint64_t size = ns < 0 ? 0 - static_cast<std::uint64_t>(ns) : static_cast<std::uint64_t>(ns);
  std::string text = ns < 0 ? "-" : "";
  text.append(std::to_string(size / ns_per_s)).push_back('.');
  const std::string fraction = std::to_string(size % ns_per_s + ns_per_s).substr(1);
  const std::size_t last = fraction.find_last_not_of('0');
  text.append(fraction, 0, last == std::string::npos ? 1 : last + 1);
  return text;
}

std::string epoch_seconds_text(WallTime time) {
  const std::string exact = exact_epoch_seconds_text(time);
  double seconds = 0;
  const auto read = std::from_chars(exact.data(), exact.data() + exact.size(), seconds);
  DAGVERK_ASSERT(read.ec == std::errc{});
  char buffer[64];
  const auto written = std::to_chars(buffer, buffer + sizeof buffer, seconds, std::chars_format::fixed);
  DAGVERK_ASSERT(written.ec == std::errc{});
  std::string text(buffer, written.ptr);
  if (text.find('.') == std::string::npos) text.append(".0");
  return text;
}

std::string wire_time_text(WallTime time, TimestampFormat format) {
  if (format == TimestampFormat::seconds) return epoch_seconds_text(time);
  return std::to_string(std::chrono::floor<std::chrono::milliseconds>(time.time_since_epoch()).count());
}

std::optional<WallTime> parse_epoch_seconds(std::string_view text) {
  if (const std::optional<Decimal> decimal = parse_decimal(text)) return decimal->seconds();
  // An integral part of so many digits is no time; what is left has an exponent.
  if (!json::is_number(text) || text.find_first_of("eE") == std::string_view::npos) return std::nullopt;
  return from_double(text);
}

std::optional<WallTime> parse_wire_time(std::string_view number) {
  const std::optional<Decimal> decimal = parse_decimal(number);
  if (!decimal) return parse_epoch_seconds(number);
  if (decimal->point) return decimal->seconds();
  const std::int64_t count = decimal->negative ? -decimal->whole : decimal->whole;
  return count >= integer_is_millis_from ? from_count(count, ns_per_ms) : from_count(count, ns_per_s);
}

std::string utc_text(WallTime time) {
  const auto milliseconds = std::chrono::floor<std::chrono::milliseconds>(time);
  const auto day = std::chrono::floor<std::chrono::days>(milliseconds);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(milliseconds - day);
  const auto fraction = static_cast<unsigned>(clock.subseconds().count());
  return concat(static_cast<int>(date.year()), "-", two(static_cast<unsigned>(date.month())), "-",
                two(static_cast<unsigned>(date.day())), "T", two(static_cast<unsigned>(clock.hours().count())), ":",
                two(static_cast<unsigned>(clock.minutes().count())), ":",
                two(static_cast<unsigned>(clock.seconds().count())), ".", fraction < 100 ? "0" : "", two(fraction),
                "Z");
}

}  // namespace dagverk::jobs
