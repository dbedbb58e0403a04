#pragma once

#include <charconv>
#include <concepts>
#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>

namespace dagverk {

namespace detail {

/// One argument of `concat`, as text. Numbers are written into the object's own buffer.
class ConcatPiece {
 public:
  ConcatPiece(std::string_view text) noexcept : text_(text) {}                  // NOLINT(google-explicit-constructor)
  ConcatPiece(const char* text) noexcept : text_(text) {}                       // NOLINT(google-explicit-constructor)
  ConcatPiece(const std::string& text) noexcept : text_(text) {}                // NOLINT(google-explicit-constructor)
  ConcatPiece(bool value) noexcept : text_(value ? "true" : "false") {}         // NOLINT(google-explicit-constructor)
  ConcatPiece(char value) noexcept : text_(buffer_, 1) { buffer_[0] = value; }  // NOLINT(google-explicit-constructor)
  template <class N>
    requires(std::integral<N> || std::floating_point<N>)
  ConcatPiece(N value) noexcept {  // NOLINT(google-explicit-constructor)
    const auto written = std::to_chars(buffer_, buffer_ + sizeof buffer_, value);
    text_ = std::string_view(buffer_, static_cast<std::size_t>(written.ptr - buffer_));
  }
  ConcatPiece(const ConcatPiece&) = delete;
  ConcatPiece& operator=(const ConcatPiece&) = delete;
  ~ConcatPiece() = default;

  [[nodiscard]] std::string_view text() const noexcept { return text_; }

 private:
  char buffer_[40];
  std::string_view text_;
};

[[nodiscard]] std::string concat_pieces(const ConcatPiece* const* pieces, std::size_t count);

}  // namespace detail

/// Joins texts and numbers into one string, without separators: `concat("got ", 3, " of ", 5)`.
template <class... Args>
[[nodiscard]] std::string concat(const Args&... args) {
  if constexpr (sizeof...(Args) == 0) {
    return {};
  } else {
    return [](std::convertible_to<const detail::ConcatPiece&> auto&&... pieces) {
      const detail::ConcatPiece* list[] = {&pieces...};
      return detail::concat_pieces(list, sizeof...(pieces));
    }(detail::ConcatPiece(args)...);
  }
}

}  // namespace dagverk
