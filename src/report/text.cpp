#include "report/text.hpp"

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

/// Calls `character` with each sound sequence, `bad` with each byte that is not part of one.
template <class Character, class Bad>
void walk(std::string_view text, Character character, Bad bad) {
  while (!text.empty()) {
    const std::size_t size = sequence_size(text);
    if (size == 0) {
      bad(static_cast<unsigned char>(text[0]));
      text.remove_prefix(1);
    } else {
      character(text.substr(0, size));
      text.remove_prefix(size);
    }
  }
}

[[nodiscard]] bool is_control(std::string_view sequence) {
  const auto byte = static_cast<unsigned char>(sequence[0]);
  return sequence.size() == 1 && (byte < 0x20 || byte == 0x7F);
}

}  // namespace

std::string printable(std::string_view text, bool one_line) {
  std::string out;
  out.reserve(text.size());
  const auto escape = [&](unsigned char byte) {
    out += "\\x";
    append_hex(out, byte);
  };
  walk(
      text,
      [&](std::string_view sequence) {
        if (!is_control(sequence)) {
          out += sequence;
        } else if (sequence[0] == '\n') {
          out += one_line ? "\\n" : "\n";
        } else if (sequence[0] == '\t') {
          out += one_line ? "\\t" : "\t";
        } else {
          escape(static_cast<unsigned char>(sequence[0]));
        }
      },
      escape);
  return out;
}

std::string xml_text(std::string_view text) {
  const std::string sound = printable(text);
  std::string out;
  out.reserve(sound.size());
  for (const char character : sound) {
    switch (character) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\n': out += "&#10;"; break;
      case '\t': out += "&#9;"; break;
      default: out += character;
    }
  }
  return out;
}

std::string json_text(std::string_view text) {
  std::string out = "\"";
  out.reserve(text.size() + 2);
  walk(
      text,
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
  return out;
}

std::string tap_text(std::string_view text) {
  std::string out;
  for (const char character : printable(text, true)) {
    if (character == '#' || character == '\\') out += '\\';
    out += character;
  }
  return out;
}

}  // namespace dagverk::detail
