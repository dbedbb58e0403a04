#include "jobs/json_text.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"

#include <array>

namespace dagverk::jobs::json {

namespace {

constexpr std::string_view replacement = "\xEF\xBF\xBD";  // U+FFFD

constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

// Bytes at which a string literal is more than its next byte: its end, an escape, a control character.
constexpr std::array<bool, 256> text_stops = [] {
  std::array<bool, 256> stops{};
  for (std::size_t byte = 0; byte < 0x20; ++byte) stops[byte] = true;
  stops['"'] = true;
  stops['\\'] = true;
  return stops;
}();

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

Kind kind_of(std::string_view value) noexcept {
  DAGVERK_ASSERT(!value.empty());
  switch (value.front()) {
    case 'n': return Kind::null;
    case 't':
    case 'f': return Kind::boolean;
    case '"': return Kind::text;
    case '[': return Kind::array;
    case '{': return Kind::object;
    default: return Kind::number;
  }
}

bool is_integer(std::string_view number) noexcept { return number.find_first_of(".eE") == std::string_view::npos; }

bool is_number(std::string_view text) noexcept {
  if (text.empty() || (text.front() != '-' && !is_digit(text.front()))) return false;
  Scanner scanner(text, 0);
  return scanner.skip_value() && scanner.at_end();
}

std::string Fault::describe() const { return concat(what, " at byte ", offset); }

bool Scanner::fail(const char* what) noexcept {
  fault_ = Fault{what, at_};
  return false;
}

bool Scanner::enter() noexcept {
  if (depth_left_ == 0) return fail("nested deeper than the limit");
  --depth_left_;
  return true;
}

void Scanner::skip_space() noexcept {
  while (!at_end() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t')) ++at_;
}

bool Scanner::skip_byte(char expected, const char* complaint) noexcept {
  if (at_end()) return fail("unexpected end");
  if (text_[at_] != expected) return fail(complaint);
  ++at_;
  return true;
}

bool Scanner::skip_text() noexcept {
  if (!skip_byte('"', "expected a string")) return false;
  for (;;) {
    std::size_t at = at_;  // a local: the loop is most of what reading a job costs
    while (at < text_.size() && !text_stops[static_cast<unsigned char>(text_[at])]) ++at;
    at_ = at;
    if (at_end()) break;
    const char c = text_[at_];
    if (c != '"' && c != '\\') return fail("control character in a string");
    ++at_;
    if (c == '"') return true;
    if (at_end()) break;
    const char escape = text_[at_];
    if (escape == 'u') {
      for (std::size_t digit = 1; digit <= 4; ++digit) {
        if (at_ + digit >= text_.size()) {
          at_ = text_.size();
          return fail("unexpected end");
        }
        if (hex_value(text_[at_ + digit]) < 0) return fail("wrong \\u escape");
      }
      at_ += 5;
    } else if (std::string_view("\"\\/bfnrt").find(escape) != std::string_view::npos) {
      ++at_;
    } else {
      return fail("unknown escape in a string");
    }
  }
  return fail("unexpected end");
}

bool Scanner::skip_digits() noexcept {
  if (at_end()) return fail("unexpected end");
  if (!is_digit(text_[at_])) return fail("expected a digit");
  std::size_t at = at_;
  while (at < text_.size() && is_digit(text_[at])) ++at;
  at_ = at;
  return true;
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
  if (text_.substr(at_, word.size()) != word) return fail("unexpected character");
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
  switch (text_[at_]) {
    case '{': return skip_container(true);
    case '[': return skip_container(false);
    case '"': return skip_text();
    case 't': return skip_word("true");
    case 'f': return skip_word("false");
    case 'n': return skip_word("null");
    default: break;
  }
  if (text_[at_] == '-' || is_digit(text_[at_])) return skip_number();
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

bool Walk::read_item() noexcept {
  if (container_ == Kind::object) {
    const std::size_t key_begin = scanner_.at() + 1;
    if (!scanner_.skip_text()) return false;
    item_.key = text_.substr(key_begin, scanner_.at() - 1 - key_begin);
    item_.key_escaped = item_.key.find('\\') != std::string_view::npos;
    scanner_.skip_space();
    if (!scanner_.skip_byte(':', "expected a colon")) return false;
    scanner_.skip_space();
  }
  item_.value_begin = scanner_.at();
  if (!scanner_.skip_value()) return false;
  item_.value_end = scanner_.at();
  item_.value = text_.substr(item_.value_begin, item_.value_end - item_.value_begin);
  scanner_.skip_space();
  item_.segment_end = scanner_.at();
  return true;
}

bool Walk::next() noexcept {
  if (state_ == State::done || fault()) return false;
  const char close = container_ == Kind::object ? '}' : ']';
  if (state_ == State::before) {
    scanner_.skip_space();
    if (scanner_.peek() != (container_ == Kind::object ? '{' : '[')) {
      return scanner_.fail(container_ == Kind::object ? "expected an object" : "expected an array");
    }
    if (!scanner_.enter()) return false;
    (void)scanner_.skip_byte(scanner_.peek(), "");
    body_begin_ = scanner_.at();
    scanner_.skip_space();
    if (scanner_.peek() == close) return finish();
    state_ = State::within;
    item_.segment_begin = body_begin_;
  } else {
    if (scanner_.peek() == close) return finish();
    if (!scanner_.skip_byte(',', container_ == Kind::object ? "expected a comma or }" : "expected a comma or ]"))
      return false;
    item_.segment_begin = scanner_.at();
    scanner_.skip_space();
  }
  return read_item();
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
