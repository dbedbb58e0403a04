#pragma once

#include <concepts>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>

namespace dagverk {

/// The name of one partition of a partition dispatcher: a number (0, 1, …) or a text. Empty: none was given.
class PartitionName {
 public:
  PartitionName() noexcept = default;
  template <class Number>
    requires(std::integral<Number> || std::is_enum_v<Number>)
  PartitionName(Number number)  // NOLINT(google-explicit-constructor): numbers and texts are its values
      : name_(static_cast<std::uint64_t>(number)) {}
  template <class Text>
    requires std::convertible_to<Text, std::string_view>
  PartitionName(const Text& text)  // NOLINT(google-explicit-constructor)
      : name_(std::make_shared<const std::string>(std::string_view(text))) {}

  [[nodiscard]] bool empty() const noexcept { return std::holds_alternative<std::monostate>(name_); }
  [[nodiscard]] const std::uint64_t* number() const noexcept { return std::get_if<std::uint64_t>(&name_); }
  [[nodiscard]] const std::string* text() const noexcept {
    const auto* text = std::get_if<std::shared_ptr<const std::string>>(&name_);
    return text == nullptr ? nullptr : text->get();
  }
  [[nodiscard]] std::string to_string() const {
    if (number() != nullptr) return std::to_string(*number());
    return text() != nullptr ? "\"" + *text() + "\"" : "none";
  }

  friend bool operator==(const PartitionName& a, const PartitionName& b) noexcept {
    if (a.text() != nullptr && b.text() != nullptr) return *a.text() == *b.text();
    return a.name_ == b.name_;
  }

 private:
  // The text is shared by copies, and immutable: every subscription keeps its options, most without one.
  std::variant<std::monostate, std::uint64_t, std::shared_ptr<const std::string>> name_;
};

}  // namespace dagverk
