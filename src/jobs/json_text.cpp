#include "jobs/json_text.hpp"

#include "jobs/byte_words.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <array>

namespace dagverk::jobs::json {

namespace {

constexpr std::string_view replacement = "\xEF\xBF\xBD";  // U+FFFD

// Bytes at which a string literal is more than its next byte: its end, an escape, a control character.
constexpr std::array<bool, 256> text_stops = [] {
  std::array<bool, 256> stops{};
  for (std::size_t byte = 0; byte < 0x20; ++byte) stops[byte] = true;
  stops['"'] = true;
  stops['\\'] = true;
  return stops;
}();

/// The end of the bytes that stand for themselves in a string literal: most of what reading a job costs.
const char* plain_end(const char* at, const char* end) noexcept {
  for (; end - at >= words::size; at += words::size) {
    const std::uint64_t stops = words::below_or_either(words::load(at), 0x20, '"', '\\');
    if (stops != 0) return at + words::before_first(stops);
  }
  while (at != end && !text_stops[static_cast<unsigned char>(*at)]) ++at;
  return at;
}

const char* digits_end(const char* at, const char* end) noexcept {
  for (; end - at >= words::size; at += words::size) {
    const std::uint64_t others = words::no_digit(words::load(at));
    if (others != 0) return at + words::before_first(others);
  }
  while (at != end && is_digit(*at)) ++at;
  return at;
}

/// How many bytes at the beginning are ASCII and stand for themselves in a string literal.
std::size_t plain_size(std::string_view text) noexcept {
  const char* at = text.data();
  const char* const end = at + text.size();
  for (; end - at >= words::size; at += words::size) {
    const std::uint64_t word = words::load(at);
    const std::uint64_t stops = words::below_or_either(word, 0x20, '"', '\\') | (word & words::in_each(0x80));
    if (stops != 0) {
      at += words::before_first(stops);
      return static_cast<std::size_t>(at - text.data());
    }
  }
  while (at != end && static_cast<unsigned char>(*at) < 0x80 && !text_stops[static_cast<unsigned char>(*at)]) ++at;
  return static_cast<std::size_t>(at - text.data());
}

constexpr int hex_value(char c) noexcept {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Four digits that the scanner has seen already.
unsigned hex4(std::string_view digits) noexcept {
  unsigned value = 0;
  for (const char digit : digits.substr(0, 4)) value = value * 16 + static_cast<unsigned>(hex_value(digit));
  return value;
}

void append_code_point(std::string& out, unsigned code) {
  if (code < 0x80) {
    out.push_back(static_cast<char>(code));
  } else if (code < 0x800) {
    out.push_back(static_cast<char>(0xC0U | (code >> 6U)));
    out.push_back(static_cast<char>(0x80U | (code & 0x3FU)));
  } else if (code < 0x10000) {
    out.push_back(static_cast<char>(0xE0U | (code >> 12U)));
    out.push_back(static_cast<char>(0x80U | ((code >> 6U) & 0x3FU)));
    out.push_back(static_cast<char>(0x80U | (code & 0x3FU)));
  } else {
    out.push_back(static_cast<char>(0xF0U | (code >> 18U)));
    out.push_back(static_cast<char>(0x80U | ((code >> 12U) & 0x3FU)));
    out.push_back(static_cast<char>(0x80U | ((code >> 6U) & 0x3FU)));
    out.push_back(static_cast<char>(0x80U | (code & 0x3FU)));
  }
}

}  // namespace

bool is_integer(std::string_view number) noexcept { return number.find_first_of(".eE") == std::string_view::npos; }

bool is_number(std::string_view text) noexcept {
  if (text.empty() || (text.front() != '-' && !is_digit(text.front()))) return false;
  Scanner scanner(text, 0);
  return scanner.skip_value() && scanner.at_end();
}

std::string Fault::describe() const { return concat(what, " at byte ", offset); }

bool Scanner::fail(const char* what) noexcept {
  fault_ = Fault{what, at()};
  return false;
}

bool Scanner::skip_text() noexcept {
  text_escaped_ = false;
  if (!skip_byte('"', "expected a string")) return false;
  at_ = plain_end(at_, end_);
  if (at_end() || *at_ != '"') return skip_rest_of_text();
  ++at_;
  return true;
}

bool Scanner::skip_rest_of_text() noexcept {
  for (; !at_end(); at_ = plain_end(at_, end_)) {
    if (*at_ == '"') {
      ++at_;
      return true;
    }
    if (*at_ != '\\') return fail("control character in a string");
    text_escaped_ = true;
    if (!skip_escape()) return false;
  }
  return fail("unexpected end");
}

bool Scanner::skip_escape() noexcept {
  ++at_;
  if (at_end()) return fail("unexpected end");
  if (*at_ != 'u') {
    if (std::string_view("\"\\/bfnrt").find(*at_) == std::string_view::npos) return fail("unknown escape in a string");
    ++at_;
    return true;
  }
  for (std::ptrdiff_t digit = 1; digit <= 4; ++digit) {
    if (end_ - at_ <= digit) {
      at_ = end_;
      return fail("unexpected end");
    }
    if (hex_value(at_[digit]) < 0) return fail("wrong \\u escape");
  }
  at_ += 5;
  return true;
}

bool Scanner::skip_digits() noexcept {
  const char* const begin = at_;
  at_ = digits_end(begin, end_);
  return at_ != begin || fail(at_end() ? "unexpected end" : "expected a digit");
}

bool Scanner::skip_number() noexcept {
  if (peek() == '-') ++at_;
  if (peek() == '0') {
    ++at_;
    if (is_digit(peek())) return fail("number with a leading zero");
  } else if (!skip_digits()) {
    return false;
  }
  if (peek() == '.') {
    ++at_;
    if (!skip_digits()) return false;
  }
  if (peek() == 'e' || peek() == 'E') {
    ++at_;
    if (peek() == '+' || peek() == '-') ++at_;
    if (!skip_digits()) return false;
  }
  return true;
}

bool Scanner::skip_word(std::string_view word) noexcept {
  if (!std::string_view(at_, end_).starts_with(word)) return fail("unexpected character");
  at_ += word.size();
  return true;
}

// Recursion through skip_value is bounded by the depth limit.
// NOLINTNEXTLINE(misc-no-recursion)
bool Scanner::skip_container(bool is_object) noexcept {
  if (!enter()) return false;
  const char close = is_object ? '}' : ']';
  ++at_;
  skip_space();
  if (peek() == close) {
    ++at_;
    leave();
    return true;
  }
  for (;;) {
    if (is_object) {
      if (!skip_text()) return false;
      skip_space();
      if (!skip_byte(':', "expected a colon")) return false;
      skip_space();
    }
    if (!skip_value()) return false;
    skip_space();
    if (peek() == close) {
      ++at_;
      leave();
      return true;
    }
    if (!skip_byte(',', is_object ? "expected a comma or }" : "expected a comma or ]")) return false;
    skip_space();
  }
}

// NOLINTNEXTLINE(misc-no-recursion)
bool Scanner::skip_value() noexcept {
  if (at_end()) return fail("unexpected end");
  switch (*at_) {
    case '{': return skip_container(true);
    case '[': return skip_container(false);
    case '"': return skip_text();
    case 't': return skip_word("true");
    case 'f': return skip_word("false");
    case 'n': return skip_word("null");
    default: break;
  }
  if (*at_ == '-' || is_digit(*at_)) return skip_number();
  return fail("unexpected character");
}

bool Walk::finish() noexcept {
  body_end_ = scanner_.at();
  state_ = State::done;
  if (!scanner_.skip_byte(container_ == Kind::object ? '}' : ']', "expected the end")) return false;
  scanner_.skip_space();
  if (!scanner_.at_end()) scanner_.fail("more after the end");
  return false;
}

bool Walk::open() noexcept {
  scanner_.skip_space();
  if (scanner_.peek() != (container_ == Kind::object ? '{' : '[')) {
    return scanner_.fail(container_ == Kind::object ? "expected an object" : "expected an array");
  }
  if (!scanner_.enter()) return false;
  (void)scanner_.skip_byte(scanner_.peek(), "");
  body_begin_ = scanner_.at();
  state_ = State::within;
  return true;
}

bool Walk::next() noexcept {
  const bool object = container_ == Kind::object;
  const bool first = state_ == State::before;
  if (state_ == State::done || fault() || (first && !open())) return false;
  if (first) scanner_.skip_space();
  if (scanner_.peek() == (object ? '}' : ']')) return finish();
  if (first) {
    item_.segment_begin = body_begin_;
  } else {
    if (!scanner_.skip_byte(',', object ? "expected a comma or }" : "expected a comma or ]")) return false;
    item_.segment_begin = scanner_.at();
    scanner_.skip_space();
  }
  if (object) {
    const char* const key = scanner_.position() + 1;
    if (!scanner_.skip_text()) return false;
    item_.key = std::string_view(key, scanner_.position() - 1);
    item_.key_escaped = scanner_.text_escaped();
    scanner_.skip_space();
    if (!scanner_.skip_byte(':', "expected a colon")) return false;
    scanner_.skip_space();
  }
  const char* const value = scanner_.position();
  item_.value_begin = scanner_.at();
  if (!scanner_.skip_value()) return false;
  item_.value = std::string_view(value, scanner_.position());
  item_.value_end = scanner_.at();
  item_.text_escaped = scanner_.text_escaped();
  scanner_.skip_space();
  item_.segment_end = scanner_.at();
  return true;
}

std::size_t utf8_sequence(std::string_view text, std::size_t at) noexcept {
  const auto byte = [&](std::size_t index) { return static_cast<unsigned char>(text[index]); };
  const unsigned first = byte(at);
  if (first < 0x80) return 1;
  std::size_t size = 0;
  unsigned second_min = 0x80;
  unsigned second_max = 0xBF;
  if (first >= 0xC2 && first <= 0xDF) {
    size = 2;
  } else if (first >= 0xE0 && first <= 0xEF) {
    size = 3;
    if (first == 0xE0) second_min = 0xA0;  // shorter forms exist
    if (first == 0xED) second_max = 0x9F;  // surrogates
  } else if (first >= 0xF0 && first <= 0xF4) {
    size = 4;
    if (first == 0xF0) second_min = 0x90;
    if (first == 0xF4) second_max = 0x8F;  // beyond U+10FFFF
  } else {
    return 0;
  }
  if (at + size > text.size()) return 0;
  if (byte(at + 1) < second_min || byte(at + 1) > second_max) return 0;
  for (std::size_t index = at + 2; index < at + size; ++index) {
    if (byte(index) < 0x80 || byte(index) > 0xBF) return 0;
  }
  return size;
}

bool is_utf8(std::string_view text) noexcept {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t size = static_cast<unsigned char>(text[at]) < 0x80 ? 1 : utf8_sequence(text, at);
    if (size == 0) return false;
    at += size;
  }
  return true;
}

bool decode_text(std::string_view spelled, std::string& out) {
  bool clean = true;
  const auto replace = [&] {
    out.append(replacement);
    clean = false;
  };
  out.reserve(out.size() + spelled.size());
  for (std::size_t at = 0; at < spelled.size();) {
    if (const std::size_t plain = plain_size(spelled.substr(at)); plain > 0) {
      out.append(spelled, at, plain);
      at += plain;
      continue;
    }
    if (spelled[at] != '\\') {
      const std::size_t size = utf8_sequence(spelled, at);
      if (size == 0) {
        replace();
        ++at;
      } else {
        out.append(spelled.substr(at, size));
        at += size;
      }
      continue;
    }
    const char escape = spelled[at + 1];
    if (escape != 'u') {
      constexpr std::string_view names = "bfnrt";
      constexpr std::string_view meanings = "\b\f\n\r\t";
      const std::size_t index = names.find(escape);
      out.push_back(index == std::string_view::npos ? escape : meanings[index]);
      at += 2;
      continue;
    }
    const unsigned unit = hex4(spelled.substr(at + 2));
    at += 6;
    if (unit < 0xD800 || unit > 0xDFFF) {
      append_code_point(out, unit);
      continue;
    }
    const bool pair_follows = unit <= 0xDBFF && spelled.substr(at, 2) == "\\u";
    const unsigned low = pair_follows ? hex4(spelled.substr(at + 2)) : 0;
    if (low < 0xDC00 || low > 0xDFFF) {
      replace();
      continue;
    }
    append_code_point(out, 0x10000 + ((unit - 0xD800) << 10U) + (low - 0xDC00));
    at += 6;
  }
  return clean;
}

void append_text(std::string& out, std::string_view text, std::size_t characters_limit) {
  constexpr std::string_view digits = "0123456789abcdef";
  out.push_back('"');
  std::size_t characters = 0;
  for (std::size_t at = 0; at < text.size() && characters < characters_limit; ++characters) {
    const std::size_t plain = std::min(plain_size(text.substr(at)), characters_limit - characters);
    if (plain > 0) {
      out.append(text, at, plain);
      at += plain;
      characters += plain - 1;
      continue;
    }
    const std::size_t size = utf8_sequence(text, at);
    if (size == 0) {
      out.append(replacement);
      ++at;
      continue;
    }
    const char c = text[at];
    if (c == '"' || c == '\\') {
      out.push_back('\\');
      out.push_back(c);
    } else if (static_cast<unsigned char>(c) >= 0x20) {
      out.append(text.substr(at, size));
    } else {
      constexpr std::string_view meanings = "\b\f\n\r\t";
      constexpr std::string_view names = "bfnrt";
      const std::size_t index = meanings.find(c);
      if (index != std::string_view::npos) {
        out.push_back('\\');
        out.push_back(names[index]);
      } else {
        out.append("\\u00");
        out.push_back(digits[static_cast<unsigned char>(c) >> 4U]);
        out.push_back(digits[static_cast<unsigned char>(c) & 0xFU]);
      }
    }
    at += size;
  }
  out.push_back('"');
}

std::string shown(std::string_view value) {
  constexpr std::size_t size_limit = 60;
  std::string text;
  for (std::size_t at = 0; at < value.size();) {
    if (text.size() >= size_limit) {
      text.append("…");
      break;
    }
    const std::size_t size = utf8_sequence(value, at);
    const auto byte = static_cast<unsigned char>(value[at]);
    const bool c1_control = size == 2 && byte == 0xC2 && static_cast<unsigned char>(value[at + 1]) < 0xA0;
    if (size == 0 || byte < 0x20 || byte == 0x7F || c1_control) {
      text.push_back('?');
    } else {
      text.append(value.substr(at, size));
    }
    at += size == 0 ? 1 : size;
  }
  return text;
}

}  // namespace dagverk::jobs::json
