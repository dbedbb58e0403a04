#pragma once

#include <concepts>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>

namespace dagverk {

/// One field of a log line: a name and a value that keeps its type, so that nothing is made into text on the caller.
///
/// Lifetime: borrows its texts; good for the call that logs, which copies them.
class LogValue {
 public:
  enum class Type : std::uint8_t { integer, natural, real, boolean, text };

  template <class Value>
    requires(std::integral<Value> || std::floating_point<Value> || std::convertible_to<const Value&, std::string_view>)
  LogValue(std::string_view name, const Value& value) noexcept : name_(name) {
    if constexpr (std::same_as<Value, bool>) {
      type_ = Type::boolean;
      natural_ = value ? 1 : 0;
    } else if constexpr (std::same_as<Value, char>) {
      type_ = Type::text;
      text_ = std::string_view(&value, 1);
    } else if constexpr (std::floating_point<Value>) {
      type_ = Type::real;
      real_ = static_cast<double>(value);
    } else if constexpr (std::signed_integral<Value>) {
      type_ = Type::integer;
      integer_ = static_cast<std::int64_t>(value);
    } else if constexpr (std::unsigned_integral<Value>) {
      type_ = Type::natural;
      natural_ = static_cast<std::uint64_t>(value);
    } else {
      type_ = Type::text;
      if constexpr (std::is_pointer_v<Value>) {
        text_ = value == nullptr ? std::string_view("(null)") : std::string_view(value);
      } else {
        text_ = std::string_view(value);
      }
    }
  }

  [[nodiscard]] std::string_view name() const noexcept { return name_; }
  [[nodiscard]] Type type() const noexcept { return type_; }
  [[nodiscard]] std::int64_t integer() const noexcept { return integer_; }
  [[nodiscard]] std::uint64_t natural() const noexcept { return natural_; }
  [[nodiscard]] double real() const noexcept { return real_; }
  [[nodiscard]] bool boolean() const noexcept { return natural_ != 0; }
  [[nodiscard]] std::string_view text() const noexcept { return text_; }
  /// The eight bytes of any value but a text.
  [[nodiscard]] std::uint64_t bits() const noexcept {
    std::uint64_t bits = 0;
    std::memcpy(&bits, &natural_, sizeof bits);
    return bits;
  }

 private:
  std::string_view name_;
  union {
    std::int64_t integer_;
    std::uint64_t natural_;
    double real_;
    std::string_view text_ = {};
  };
  Type type_ = Type::text;
};

static_assert(std::is_trivially_copyable_v<LogValue>, "fields are built on the caller's stack for each call");

}  // namespace dagverk
