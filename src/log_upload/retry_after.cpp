#include "log_upload/retry_after.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace dagverk::detail {

namespace {

constexpr Duration wait_max = std::chrono::hours(24 * 365);

/// All of `text` as a number without a sign.
[[nodiscard]] std::optional<unsigned> number(std::string_view text) {
  unsigned value = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || read.ec != std::errc() || read.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

/// 1 to 12.
[[nodiscard]] std::optional<unsigned> month(std::string_view text) {
  constexpr std::array<std::string_view, 12> names{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const auto found = std::find(names.begin(), names.end(), text);
  if (found == names.end()) return std::nullopt;
  return static_cast<unsigned>(found - names.begin()) + 1;
}

/// `08:49:37`
[[nodiscard]] std::optional<Duration> time_of_day(std::string_view text) {
  if (text.size() != 8 || text[2] != ':' || text[5] != ':') return std::nullopt;
  const std::optional<unsigned> hours = number(text.substr(0, 2));
  const std::optional<unsigned> minutes = number(text.substr(3, 2));
  const std::optional<unsigned> seconds = number(text.substr(6, 2));
  if (!hours || !minutes || !seconds || *hours > 23 || *minutes > 59 || *seconds > 60) return std::nullopt;
  return std::chrono::hours(*hours) + std::chrono::minutes(*minutes) + std::chrono::seconds(*seconds);
}

struct Words {
  std::array<std::string_view, 6> word{};
  std::size_t count = 0;
};

[[nodiscard]] std::optional<Words> words_of(std::string_view text) {
  constexpr std::string_view separators = " ,-";
  Words words;
  for (std::size_t at = text.find_first_not_of(separators); at != std::string_view::npos;) {
    if (words.count == words.word.size()) return std::nullopt;
    const std::size_t end = std::min(text.find_first_of(separators, at), text.size());
    words.word[words.count++] = text.substr(at, end - at);
    at = text.find_first_not_of(separators, end);
  }
  return words;
}

}  // namespace

std::optional<WallTime> http_date(std::string_view text) {
  // `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT` or `Sun Nov  6 08:49:37 1994`.
  const std::optional<Words> words = words_of(text);
  if (!words) return std::nullopt;
  const auto& word = words->word;
  const bool by_day = words->count == 6 && word[5] == "GMT";
  if (!by_day && words->count != 5) return std::nullopt;
  const std::optional<unsigned> day_number = number(by_day ? word[1] : word[2]);
  const std::optional<unsigned> month_number = month(by_day ? word[2] : word[1]);
  const std::string_view year_text = by_day ? word[3] : word[4];
  std::optional<unsigned> year_number = number(year_text);
  const std::optional<Duration> time = time_of_day(by_day ? word[4] : word[3]);
  if (!day_number || !month_number || !year_number || !time) return std::nullopt;
  if (year_text.size() == 2) *year_number += *year_number < 70 ? 2000 : 1900;
  if (*year_number < 1970 || *year_number > 2200) return std::nullopt;  // what a WallTime can hold
  const std::chrono::year_month_day date{std::chrono::year(static_cast<int>(*year_number)),
                                         std::chrono::month(*month_number), std::chrono::day(*day_number)};
  if (!date.ok()) return std::nullopt;
  return WallTime(std::chrono::sys_days(date).time_since_epoch()) + *time;
}

Duration retry_after(std::string_view text, WallTime now) {
  const auto is_digit = [](char byte) { return byte >= '0' && byte <= '9'; };
  if (!text.empty() && std::all_of(text.begin(), text.end(), is_digit)) {
    const std::optional<unsigned> seconds = number(text);
    return seconds ? std::min<Duration>(std::chrono::seconds(*seconds), wait_max) : wait_max;  // too many digits
  }
  const std::optional<WallTime> date = http_date(text);
  if (!date) return Duration::zero();
  return std::clamp<Duration>(*date - now, Duration::zero(), wait_max);
}

}  // namespace dagverk::detail
