#pragma once

#include <array>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>

// Text as outputs want it, written to anything with append(const char*, size_t) and push_back(char). Allocates nothing
// by itself and calls nothing that a signal handler may not: the fatal-signal path writes with it, too.

namespace dagverk::detail {

/// Writes into a piece of memory; what does not fit is left out.
class FixedText {
 public:
  FixedText(char* out, std::size_t size) noexcept : begin_(out), at_(out), end_(out + size) {}

  void append(const char* bytes, std::size_t count) noexcept {
    for (std::size_t index = 0; index < count && at_ != end_; ++index) *at_++ = bytes[index];
  }
  void push_back(char byte) noexcept {
    if (at_ != end_) *at_++ = byte;
  }
  [[nodiscard]] std::size_t size() const noexcept { return static_cast<std::size_t>(at_ - begin_); }

 private:
  char* begin_;
  char* at_;
  char* end_;
};

/// Writes into a piece of memory, too, and counts what did not fit. For lines: many small pieces, most of them short.
class LineText {
 public:
  LineText(char* out, std::size_t size) noexcept : begin_(out), at_(out), end_(out + size) {}

  void append(const char* bytes, std::size_t count) noexcept {
    if (count > room()) {
      missing_ += count;
      return;
    }
    for (; count >= 8; count -= 8, bytes += 8, at_ += 8) std::memcpy(at_, bytes, 8);
    if ((count & 4U) != 0) copy<4>(bytes);
    if ((count & 2U) != 0) copy<2>(bytes);
    if ((count & 1U) != 0) copy<1>(bytes);
  }
  void push_back(char byte) noexcept {
    if (at_ == end_) {
      ++missing_;
      return;
    }
    *at_++ = byte;
  }
  /// Room for `count` bytes to write at, which `advance_to` then ends; null when there is less.
  [[nodiscard]] char* place(std::size_t count) noexcept { return count <= room() ? at_ : nullptr; }
  void advance_to(char* at) noexcept { at_ = at; }

  [[nodiscard]] std::size_t size() const noexcept { return static_cast<std::size_t>(at_ - begin_); }
  /// 0: everything is there; else the room that would have been enough.
  [[nodiscard]] std::size_t size_needed() const noexcept { return missing_ == 0 ? 0 : size() + missing_; }

 private:
  [[nodiscard]] std::size_t room() const noexcept { return static_cast<std::size_t>(end_ - at_); }
  template <std::size_t Count>
  void copy(const char*& bytes) noexcept {
    std::memcpy(at_, bytes, Count);
    at_ += Count;
    bytes += Count;
  }

  char* begin_;
  char* at_;
  char* end_;
  std::size_t missing_ = 0;
};

/// The length of the valid UTF-8 sequence at the start of `text`; 0 when there is none.
[[nodiscard]] inline std::size_t utf8_length(std::string_view text) noexcept {
  const auto byte = [&](std::size_t index) { return static_cast<unsigned char>(text[index]); };
  const auto follows = [&](std::size_t index) { return index < text.size() && (byte(index) & 0xc0U) == 0x80U; };
  const unsigned char lead = byte(0);
  if (lead < 0x80U) return 1;
  if (lead >= 0xc2U && lead <= 0xdfU) return follows(1) ? 2 : 0;
  if (lead >= 0xe0U && lead <= 0xefU) {
    if (!follows(1) || !follows(2)) return 0;
    if (lead == 0xe0U && byte(1) < 0xa0U) return 0;   // longer than needed
    if (lead == 0xedU && byte(1) >= 0xa0U) return 0;  // half of a surrogate pair
    return 3;
  }
  if (lead >= 0xf0U && lead <= 0xf4U) {
    if (!follows(1) || !follows(2) || !follows(3)) return 0;
    if (lead == 0xf0U && byte(1) < 0x90U) return 0;
    if (lead == 0xf4U && byte(1) >= 0x90U) return 0;  // beyond U+10FFFF
    return 4;
  }
  return 0;
}

/// The longest start of `text` of at most `size` bytes that does not end inside of a UTF-8 sequence.
[[nodiscard]] inline std::size_t cut_size(std::string_view text, std::size_t size) noexcept {
  if (text.size() <= size) return text.size();
  std::size_t cut = size;
  for (int back = 0; back < 3 && cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xc0U) == 0x80U; ++back) --cut;
  return (static_cast<unsigned char>(text[cut]) & 0xc0U) == 0x80U ? size : cut;
}

enum class Quoting : std::uint8_t {
  none,    ///< control characters alone are escaped
  quoted,  ///< quotes and backslashes, too
  json,    ///< as JSON has it
};

template <class Out>
void append_escape(Out& out, unsigned char byte, Quoting quoting) {
  constexpr char digits[] = "0123456789abcdef";
  switch (byte) {
    case '\n': out.append("\\n", 2); return;
    case '\r': out.append("\\r", 2); return;
    case '\t': out.append("\\t", 2); return;
    case '"': out.append("\\\"", 2); return;
    case '\\': out.append("\\\\", 2); return;
    default: break;
  }
  if (quoting == Quoting::json) {
    out.append("\\u00", 4);
  } else {
    out.append("\\x", 2);
  }
  out.push_back(digits[byte >> 4U]);
  out.push_back(digits[byte & 0xfU]);
}

/// The first byte from `at` on that may need more than to be copied, eight at a time.
[[nodiscard]] inline std::size_t skip_plain(std::string_view text, std::size_t at, Quoting quoting) noexcept {
  constexpr std::uint64_t ones = 0x0101010101010101U;
  constexpr std::uint64_t tops = 0x80U * ones;
  for (; text.size() - at >= 8; at += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, text.data() + at, 8);
    // A byte from 0x80 on; 0x7f; one below 0x20.
    std::uint64_t special = word | (word + ones) | ((word - 0x20U * ones) & ~word);
    if (quoting != Quoting::none) {
      const std::uint64_t quote = word ^ (static_cast<std::uint64_t>('"') * ones);
      const std::uint64_t backslash = word ^ (static_cast<std::uint64_t>('\\') * ones);
      special |= ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash);
    }
    if ((special & tops) != 0) break;
  }
  for (; at < text.size(); ++at) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte < 0x20U || byte >= 0x7fU) break;
    if (quoting != Quoting::none && (byte == '"' || byte == '\\')) break;
  }
  return at;
}

/// Appends `text` so that it is valid UTF-8 without control characters.
template <class Out>
void append_escaped(Out& out, std::string_view text, Quoting quoting) {
  std::size_t clean = 0;  // start of what can be copied as it is
  std::size_t at = 0;
  const auto copy_clean = [&] {
    if (at > clean) out.append(text.data() + clean, at - clean);
  };
  while ((at = skip_plain(text, at, quoting)) < text.size()) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte >= 0x80U) {
      const std::size_t length = utf8_length(text.substr(at));
      const bool c1_control = length == 2 && byte == 0xc2U && static_cast<unsigned char>(text[at + 1]) < 0xa0U;
      if (length != 0 && !c1_control) {
        at += length;
        continue;
      }
      copy_clean();
      if (c1_control) {
        append_escape(out, static_cast<unsigned char>(text[at + 1]), quoting);
        at += 2;
      } else {
        out.append("\xef\xbf\xbd", 3);  // U+FFFD
        ++at;
      }
      clean = at;
      continue;
    }
    copy_clean();
    append_escape(out, byte, quoting);
    clean = ++at;
  }
  copy_clean();
}

template <class Out, class Number>
void append_number(Out& out, Number number) {
  char text[40];
  const auto written = std::to_chars(text, text + sizeof text, number);
  out.append(text, static_cast<std::size_t>(written.ptr - text));
}

/// What `to_chars` writes for numbers of at most three decimals that are short without an exponent, but five times as
/// fast: durations and amounts mostly are such. Null for all others.
[[nodiscard]] inline char* write_short_real(char* at, double value) noexcept {
  constexpr double scale = 1000;
  const double size = std::fabs(value);
  if (!(size >= 1 / scale && size < 100'000)) return nullptr;  // beyond, the exponent's form may be the shorter one
  // Rounded wrongly at the edge, it is no match below; lround is a call.
  const auto thousandths = static_cast<std::uint64_t>(size * scale + 0.5);  // NOLINT(bugprone-incorrect-roundings)
  if (static_cast<double>(thousandths) / scale != size) return nullptr;     // more decimals
  if (value < 0) *at++ = '-';
  at = std::to_chars(at, at + 8, thousandths / 1000).ptr;
  auto rest = static_cast<unsigned>(thousandths % 1000);
  if (rest == 0) return at;
  *at++ = '.';
  for (unsigned unit = 100; rest != 0; unit /= 10) {
    *at++ = static_cast<char>('0' + rest / unit);
    rest %= unit;
  }
  return at;
}

template <class Number>
void append_number(LineText& out, Number number) {
  constexpr std::size_t size_max = 40;
  char* const at = out.place(size_max);
  if (at == nullptr) {
    append_number<LineText, Number>(out, number);
    return;
  }
  if constexpr (std::is_floating_point_v<Number>) {
    if (char* const end = write_short_real(at, number); end != nullptr) {
      out.advance_to(end);
      return;
    }
  }
  out.advance_to(std::to_chars(at, at + size_max, number).ptr);
}

template <class Out>
void append_digits(Out& out, unsigned number, int width) {
  char text[10];
  for (int index = width - 1; index >= 0; --index) {
    text[index] = static_cast<char>('0' + number % 10U);
    number /= 10U;
  }
  out.append(text, static_cast<std::size_t>(width));
}

/// `2026-11-21T09:30:00.125000Z`, without the C library: it may be inside a lock when a signal comes.
template <class Out, class Time>
void append_time(Out& out, Time time) {
  using namespace std::chrono;
  const auto day = floor<days>(time);
  const year_month_day date(day);
  const auto micros = static_cast<std::uint64_t>(duration_cast<microseconds>(time - day).count());
  const auto second = static_cast<unsigned>(micros / 1'000'000U);
  append_digits(out, static_cast<unsigned>(static_cast<int>(date.year())), 4);
  out.push_back('-');
  append_digits(out, static_cast<unsigned>(date.month()), 2);
  out.push_back('-');
  append_digits(out, static_cast<unsigned>(date.day()), 2);
  out.push_back('T');
  append_digits(out, second / 3600U, 2);
  out.push_back(':');
  append_digits(out, second / 60U % 60U, 2);
  out.push_back(':');
  append_digits(out, second % 60U, 2);
  out.push_back('.');
  append_digits(out, static_cast<unsigned>(micros % 1'000'000U), 6);
  out.push_back('Z');
}

/// The text of the second that this thread wrote last.
struct SecondText {
  std::int64_t second;
  std::array<char, 20> text;  ///< up to the point
};
inline thread_local constinit SecondText last_second{INT64_MIN, {}};

template <class Time>
void append_time(LineText& out, Time time) {
  using namespace std::chrono;
  const auto second = floor<seconds>(time);
  if (second.time_since_epoch().count() != last_second.second) {
    std::array<char, 40> whole{};
    FixedText text(whole.data(), whole.size());
    append_time(text, second);
    std::memcpy(last_second.text.data(), whole.data(), last_second.text.size());
    last_second.second = second.time_since_epoch().count();
  }
  out.append(last_second.text.data(), last_second.text.size());
  append_digits(out, static_cast<unsigned>(duration_cast<microseconds>(time - second).count()), 6);
  out.push_back('Z');
}

}  // namespace dagverk::detail
