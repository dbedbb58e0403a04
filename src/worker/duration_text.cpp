#include "dagverk/worker/duration_text.hpp"

#include "dagverk/base/concat.hpp"

#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <system_error>

namespace dagverk::worker {
namespace {

struct Unit {
  std::string_view name;
  std::int64_t size_ns;
};

// The larger first; `ms` before `m` and `s` when reading would be wrong, so names are compared whole.
constexpr Unit units[] = {
    {"d", 86'400'000'000'000}, {"h", 3'600'000'000'000}, {"m", 60'000'000'000}, {"s", 1'000'000'000}, {"ms", 1'000'000},
};

Error not_a_duration() {
  return {ErrorCode::invalid_argument, R"(a duration has units (d, h, m, s, ms), the larger first: "30s", "1h30m")"};
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

Result<Duration> parse_duration(std::string_view text) {
  if (text.empty()) return not_a_duration();
  constexpr std::int64_t limit = std::numeric_limits<std::int64_t>::max();
  std::int64_t total_ns = 0;
  std::size_t next_unit = 0;
  while (!text.empty()) {
    std::int64_t count = 0;
    const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), count);
    if (fault != std::errc() || !is_digit(text.front())) return not_a_duration();
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    std::size_t unit_size = 0;
    while (unit_size < text.size() && !is_digit(text[unit_size])) ++unit_size;
    const std::string_view name = text.substr(0, unit_size);
    while (next_unit < std::size(units) && units[next_unit].name != name) ++next_unit;
    if (next_unit == std::size(units)) return not_a_duration();
    const std::int64_t size_ns = units[next_unit++].size_ns;
    if (count > (limit - total_ns) / size_ns) {
      return Error(ErrorCode::invalid_argument, "a duration is at most 292 years");
    }
    total_ns += count * size_ns;
    text.remove_prefix(unit_size);
  }
  return Duration(total_ns);
}

std::string duration_text(Duration duration) {
  std::int64_t left_ns = duration.count();
  std::string text;
  const bool negative = left_ns < 0;
  if (negative) left_ns = left_ns == std::numeric_limits<std::int64_t>::min() ? -(left_ns + 1) : -left_ns;
  for (const Unit& unit : units) {
    const std::int64_t count = left_ns / unit.size_ns;
    if (count == 0) continue;
    text += concat(count, unit.name);
    left_ns -= count * unit.size_ns;
  }
  if (text.empty()) return "0s";
  return negative ? "-" + text : text;
}

}  // namespace dagverk::worker
