#include "dagverk/jobs/wire_time.hpp"

#include "jobs/json_text.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"

#include <charconv>
#include <chrono>
#include <cmath>
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
  constexpr std::size_t digits_limit = 18;
  const auto digit_at = [&](std::size_t at) {
    return at < text.size() ? static_cast<unsigned>(text[at]) - static_cast<unsigned>('0') : 10U;
  };
  Decimal read;
  read.negative = text.starts_with('-');
  const std::size_t begin = read.negative ? 1 : 0;
  std::size_t at = begin;
  for (unsigned digit = digit_at(at); digit < 10 && at - begin < digits_limit; digit = digit_at(++at)) {
    read.whole = read.whole * 10 + static_cast<std::int64_t>(digit);
  }
  const std::size_t digits = at - begin;
  if (digits == 0 || (digits > 1 && text[begin] == '0')) return std::nullopt;
  if (at == text.size()) return read;
  if (text[at] != '.') return std::nullopt;
  read.point = true;
  const std::size_t point = at++;
  std::int64_t unit = ns_per_s / 10;
  for (unsigned digit = digit_at(at); digit < 10; digit = digit_at(++at), unit /= 10) {
    read.fraction_ns += static_cast<std::int64_t>(digit) * unit;
  }
  if (at < text.size() || at == point + 1) return std::nullopt;
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
