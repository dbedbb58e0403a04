#pragma once

#include "dagverk/base/assert.hpp"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

/// A strict reader of JSON text (RFC 8259) that reports where things are and never changes their spelling.
///
/// It accepts what Ruby's and Elixir's writers produce and passes on untouched: numbers of any size, lone surrogate
/// escapes, bytes inside strings that are not UTF-8. Only `decode_text` judges those.
namespace dagverk::jobs::json {

enum class Kind : std::uint8_t { null, boolean, number, text, array, object };

[[nodiscard]] constexpr bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

/// The kind of a valid value, from its first byte.
[[nodiscard]] inline Kind kind_of(std::string_view value) noexcept {
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

/// Whether a valid number is written without fraction and exponent.
[[nodiscard]] bool is_integer(std::string_view number) noexcept;

/// Whether `text` is a JSON number from end to end.
[[nodiscard]] bool is_number(std::string_view text) noexcept;

/// Why a text is not JSON.
struct Fault {
  const char* what = nullptr;  // null: no fault
  std::size_t offset = 0;

  [[nodiscard]] explicit operator bool() const noexcept { return what != nullptr; }
  [[nodiscard]] std::string describe() const;
};

/// Steps over JSON text. After a failed step the object stays at the fault and must not be used further.
///
/// What every byte or token of a job goes through is defined here, so that it is inlined.
class Scanner {
 public:
  Scanner(std::string_view text, unsigned depth_limit) noexcept
      : begin_(text.data()), end_(begin_ + text.size()), at_(begin_), depth_left_(depth_limit) {}

  [[nodiscard]] std::size_t at() const noexcept { return static_cast<std::size_t>(at_ - begin_); }
  [[nodiscard]] const char* position() const noexcept { return at_; }  // within the text
  [[nodiscard]] const Fault& fault() const noexcept { return fault_; }
  [[nodiscard]] bool at_end() const noexcept { return at_ == end_; }
  [[nodiscard]] char peek() const noexcept { return at_end() ? '\0' : *at_; }
  /// Whether the last text that was stepped over has escapes.
  [[nodiscard]] bool text_escaped() const noexcept { return text_escaped_; }

  void skip_space() noexcept {
    while (!at_end() && static_cast<unsigned char>(*at_) <= ' ' &&
           (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t'))
      ++at_;
  }
  bool skip_byte(char expected, const char* complaint) noexcept {
    if (at_end() || *at_ != expected) return fail(at_end() ? "unexpected end" : complaint);
    ++at_;
    return true;
  }
  bool skip_text() noexcept;
  bool skip_value() noexcept;
  bool fail(const char* what) noexcept;
  bool enter() noexcept {
    if (depth_left_ == 0) return fail("nested deeper than the limit");
    --depth_left_;
    return true;
  }
  void leave() noexcept { ++depth_left_; }

 private:
  bool skip_rest_of_text() noexcept;
  bool skip_escape() noexcept;
  bool skip_digits() noexcept;
  bool skip_number() noexcept;
  bool skip_word(std::string_view word) noexcept;
  bool skip_container(bool is_object) noexcept;

  const char* begin_;
  const char* end_;
  const char* at_;
  unsigned depth_left_;
  bool text_escaped_ = false;
  Fault fault_;
};

/// One member of an object or element of an array. A segment is everything between two commas (or brackets), white
/// space included.
struct Item {
  std::size_t segment_begin = 0;
  std::size_t segment_end = 0;
  std::string_view key;  // as spelled, without quotes; empty for elements
  bool key_escaped = false;
  bool text_escaped = false;  // of a value that is a text
  std::string_view value;     // as spelled, without surrounding white space
  std::size_t value_begin = 0;
  std::size_t value_end = 0;
};

/// Walks over the items of a text that is one object, or one array, from end to end.
///
///   Walk walk(text, Kind::object, depth_limit);
///   while (walk.next()) use(walk.item());
///   if (walk.fault()) …   // only now is the text known to be valid
class Walk {
 public:
  Walk(std::string_view text, Kind container, unsigned depth_limit) noexcept
      : container_(container), scanner_(text, depth_limit) {}

  bool next() noexcept;
  [[nodiscard]] const Item& item() const noexcept { return item_; }
  [[nodiscard]] const Fault& fault() const noexcept { return scanner_.fault(); }
  [[nodiscard]] std::size_t body_begin() const noexcept { return body_begin_; }  // after the opening bracket
  [[nodiscard]] std::size_t body_end() const noexcept { return body_end_; }  // at the closing bracket, after the walk

 private:
  bool open() noexcept;
  bool finish() noexcept;

  enum class State : std::uint8_t { before, within, done };

  Kind container_;
  Scanner scanner_;
  State state_ = State::before;
  Item item_;
  std::size_t body_begin_ = 0;
  std::size_t body_end_ = 0;
};

/// The size of the UTF-8 sequence at `at`; 0 when the bytes there are none.
[[nodiscard]] std::size_t utf8_sequence(std::string_view text, std::size_t at) noexcept;
[[nodiscard]] bool is_utf8(std::string_view text) noexcept;

/// Appends the characters that a valid string literal (as spelled, without quotes) stands for. What is no character
/// (wrong bytes, lone surrogates) becomes U+FFFD, and the result is false.
bool decode_text(std::string_view spelled, std::string& out);

/// Appends `text` as a string literal with quotes. Wrong bytes become U+FFFD each. At most `characters_limit`
/// characters.
void append_text(std::string& out, std::string_view text, std::size_t characters_limit = static_cast<std::size_t>(-1));

/// `value` for an error message: at most 60 bytes, control characters and wrong bytes replaced.
[[nodiscard]] std::string shown(std::string_view value);

}  // namespace dagverk::jobs::json
