#include "report/text.hpp"

#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>

namespace dagverk::detail {
namespace {

void append_hex(std::string& out, unsigned char byte) {
  constexpr std::string_view digits = "0123456789abcdef";
  out += digits[byte >> 4U];
  out += digits[byte & 15U];
}

/// The size of the UTF-8 sequence that `text` begins with; 0 when it begins with none. Characters that XML does not
/// have count as none.
std::size_t sequence_size(std::string_view text) {
  const auto byte = [&](std::size_t index) { return static_cast<unsigned char>(text[index]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  std::size_t size = 0;
  std::uint32_t point = 0;
  if (first >= 0xC2 && first <= 0xDF) {
    size = 2;
    point = first & 0x1FU;
  } else if (first >= 0xE0 && first <= 0xEF) {
    size = 3;
    point = first & 0x0FU;
  } else if (first >= 0xF0 && first <= 0xF4) {
    size = 4;
    point = first & 0x07U;
  }
  if (size == 0 || text.size() < size) return 0;
  for (std::size_t index = 1; index < size; ++index) {
    if ((byte(index) & 0xC0U) != 0x80U) return 0;
    point = (point << 6U) | (byte(index) & 0x3FU);
  }
  if (size == 3 && (point < 0x800 || (point >= 0xD800 && point <= 0xDFFF) || point >= 0xFFFE)) return 0;
  if (size == 4 && (point < 0x10000 || point > 0x10FFFF)) return 0;
  if (size == 2 && point < 0xA0) return 0;  // control characters of the second block
  return size;
}

/// What is written as it stands by each of the forms below.
constexpr bool is_plain(unsigned char byte) {
  return byte >= 0x20 && byte < 0x7F && byte != '"' && byte != '\\' && byte != '<' && byte != '>' && byte != '&';
}

/// Appends runs of plain characters; calls `character` with each other sound sequence, `bad` with each byte that is not
/// part of one. Nearly all text is plain, and is not looked at twice.
template <class Character, class Bad>
void walk(std::string& out, std::string_view text, Character character, Bad bad) {
  for (std::size_t at = 0; at < text.size();) {
    std::size_t end = at;
    while (end < text.size() && is_plain(static_cast<unsigned char>(text[end]))) ++end;
    out.append(text, at, end - at);
    at = end;
    if (at == text.size()) return;
    if (const std::size_t size = sequence_size(text.substr(at)); size == 0) {
      bad(static_cast<unsigned char>(text[at++]));
    } else {
      character(text.substr(at, size));
      at += size;
    }
  }
}

[[nodiscard]] bool is_control(std::string_view sequence) {
  const auto byte = static_cast<unsigned char>(sequence[0]);
  return sequence.size() == 1 && (byte < 0x20 || byte == 0x7F);
}

void append_escaped(std::string& out, unsigned char byte) {
  out += "\\x";
  append_hex(out, byte);
}

}  // namespace

void append_printable(std::string& out, std::string_view text, bool one_line) {
  walk(
      out, text,
      [&](std::string_view sequence) {
        if (!is_control(sequence)) {
          out += sequence;
        } else if (sequence[0] == '\n') {
          out += one_line ? "\\n" : "\n";
        } else if (sequence[0] == '\t') {
          out += one_line ? "\\t" : "\t";
        } else {
          append_escaped(out, static_cast<unsigned char>(sequence[0]));
        }
      },
      [&](unsigned char byte) { append_escaped(out, byte); });
}

void append_xml(std::string& out, std::string_view text) {
  walk(
      out, text,
      [&](std::string_view sequence) {
        switch (sequence[0]) {
          case '&': out += "&amp;"; return;
          case '<': out += "&lt;"; return;
          case '>': out += "&gt;"; return;
          case '"': out += "&quot;"; return;
          case '\n': out += "&#10;"; return;
          case '\t': out += "&#9;"; return;
          default: break;
        }
        if (is_control(sequence)) {
          append_escaped(out, static_cast<unsigned char>(sequence[0]));
        } else {
          out += sequence;
        }
      },
      [&](unsigned char byte) { append_escaped(out, byte); });
}

void append_json(std::string& out, std::string_view text) {
  out += '"';
  walk(
      out, text,
      [&](std::string_view sequence) {
        switch (sequence[0]) {
          case '"': out += "\\\""; return;
          case '\\': out += "\\\\"; return;
          case '\n': out += "\\n"; return;
          case '\t': out += "\\t"; return;
          case '\r': out += "\\r"; return;
          default: break;
        }
        if (is_control(sequence)) {
          out += "\\u00";
          append_hex(out, static_cast<unsigned char>(sequence[0]));
        } else {
          out += sequence;
        }
      },
      [&](unsigned char byte) {
        out += "\\\\x";
        append_hex(out, byte);
      });
  out += '"';
}

std::string printable(std::string_view text, bool one_line) {
  std::string out;
  append_printable(out, text, one_line);
  return out;
}

std::string xml_text(std::string_view text) {
  std::string out;
  append_xml(out, text);
  return out;
}

std::string json_text(std::string_view text) {
  std::string out;
  append_json(out, text);
  return out;
}

void append_tap(std::string& out, std::string_view text) {
  const std::size_t begin = out.size();
  append_printable(out, text, true);
  for (std::size_t at = begin; (at = out.find_first_of("#\\", at)) != std::string::npos; at += 2)
    out.insert(at, 1, '\\');
}

void append_number(std::string& out, std::uint64_t number) {
  char digits[20];
  const auto written = std::to_chars(digits, digits + sizeof digits, number);
  out.append(digits, static_cast<std::size_t>(written.ptr - digits));
}

void append_seconds(std::string& out, Duration duration) {
  constexpr std::uint64_t ms_per_s = 1000;
  const auto ns = static_cast<std::uint64_t>(std::max(duration, Duration::zero()).count());
  const std::uint64_t ms = (ns + 500'000) / 1'000'000;
  append_number(out, ms / ms_per_s);
  out += '.';
  char digits[3];
  std::uint64_t rest = ms % ms_per_s;
  for (std::size_t digit = sizeof digits; digit-- > 0; rest /= 10) digits[digit] = static_cast<char>('0' + rest % 10);
  out.append(digits, sizeof digits);
}

}  // namespace dagverk::detail
