#pragma once

#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>

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

/// Appends `text` so that it is valid UTF-8 without control characters.
template <class Out>
void append_escaped(Out& out, std::string_view text, Quoting quoting) {
  std::size_t clean = 0;  // start of what can be copied as it is
  std::size_t at = 0;
  const auto copy_clean = [&] {
    if (at > clean) out.append(text.data() + clean, at - clean);
  };
  while (at < text.size()) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte >= 0x20U && byte < 0x7fU) {
      if (quoting == Quoting::none || (byte != '"' && byte != '\\')) {
        ++at;
        continue;
      }
    } else if (byte >= 0x80U) {
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

}  // namespace dagverk::detail
