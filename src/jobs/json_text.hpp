#pragma once

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

/// The kind of a valid value, from its first byte.
[[nodiscard]] Kind kind_of(std::string_view value) noexcept;

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
class Scanner {
 public:
  Scanner(std::string_view text, unsigned depth_limit) noexcept : text_(text), depth_left_(depth_limit) {}

  [[nodiscard]] std::size_t at() const noexcept { return at_; }
  [[nodiscard]] const Fault& fault() const noexcept { return fault_; }
  [[nodiscard]] bool at_end() const noexcept { return at_ == text_.size(); }
  [[nodiscard]] char peek() const noexcept { return at_end() ? '\0' : text_[at_]; }

  void skip_space() noexcept;
  bool skip_byte(char expected, const char* complaint) noexcept;
  bool skip_text() noexcept;
  bool skip_value() noexcept;
  bool fail(const char* what) noexcept;
  bool enter() noexcept;
  void leave() noexcept { ++depth_left_; }

 private:
  bool skip_digits() noexcept;
  bool skip_number() noexcept;
  bool skip_word(std::string_view word) noexcept;
  bool skip_container(bool is_object) noexcept;

  std::string_view text_;
  std::size_t at_ = 0;
  unsigned depth_left_;
  Fault fault_;
};

/// One member of an object or element of an array. A segment is everything between two commas (or brackets), white
/// space included.
struct Item {
  std::size_t segment_begin = 0;
  std::size_t segment_end = 0;
  std::string_view key;  // as spelled, without quotes; empty for elements
  bool key_escaped = false;
  std::string_view value;  // as spelled, without surrounding white space
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
      : text_(text), container_(container), scanner_(text, depth_limit) {}

  bool next() noexcept;
  [[nodiscard]] const Item& item() const noexcept { return item_; }
  [[nodiscard]] const Fault& fault() const noexcept { return scanner_.fault(); }
  [[nodiscard]] std::size_t body_begin() const noexcept { return body_begin_; }  // after the opening bracket
  [[nodiscard]] std::size_t body_end() const noexcept { return body_end_; }  // at the closing bracket, after the walk

 private:
  bool finish() noexcept;
  bool read_item() noexcept;

  enum class State : std::uint8_t { before, within, done };

  std::string_view text_;
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
