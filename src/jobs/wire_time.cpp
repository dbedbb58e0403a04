#include "dagverk/jobs/wire_time.hpp"

#include "jobs/json_text.hpp"

#include "dagverk/base/assert.hpp"

#include <charconv>
#include <cmath>
#include <limits>

namespace dagverk::jobs {

namespace {

constexpr std::int64_t ns_per_s = 1'000'000'000;
constexpr std::int64_t ns_per_ms = 1'000'000;
constexpr std::int64_t integer_is_millis_from = 100'000'000'000;  // 1e11 s is the year 5138; 1e11 ms is 1973

std::optional<std::int64_t> parse_integer(std::string_view digits) {
  std::int64_t value = 0;
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (read.ec != std::errc{} || read.ptr != digits.data() + digits.size()) return std::nullopt;
  return value;
}

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

// Decimal digits are taken as they are: going through a double would cost the last ones.
std::optional<WallTime> from_decimal(std::string_view number) {
  const bool negative = number.front() == '-';
  const std::string_view digits = number.substr(negative ? 1 : 0);
  const std::size_t dot = digits.find('.');
  const auto whole = parse_integer(digits.substr(0, dot));
  constexpr std::int64_t limit_s = std::numeric_limits<std::int64_t>::max() / ns_per_s - 1;
  if (!whole || *whole > limit_s) return std::nullopt;
  std::int64_t ns = *whole * ns_per_s;
  if (dot != std::string_view::npos) {
    std::int64_t unit = ns_per_s / 10;
    for (const char digit : digits.substr(dot + 1, 9)) {
      ns += (digit - '0') * unit;
      unit /= 10;
    }
  }
  return WallTime{Duration{negative ? -ns : ns}};
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
  if (!json::is_number(text)) return std::nullopt;
  return text.find_first_of("eE") == std::string_view::npos ? from_decimal(text) : from_double(text);
}

std::optional<WallTime> parse_wire_time(std::string_view number) {
  if (!json::is_number(number)) return std::nullopt;
  if (!json::is_integer(number)) return parse_epoch_seconds(number);
  const auto count = parse_integer(number);
  if (!count) return std::nullopt;
  return *count >= integer_is_millis_from ? from_count(*count, ns_per_ms) : from_count(*count, ns_per_s);
}

}  // namespace dagverk::jobs
