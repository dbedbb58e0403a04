#pragma once

#include <string_view>

namespace dagverk::detail {

/// The name of `T` as the compiler spells it, e.g. `shop::Counter`. Static storage.
template <class T>
[[nodiscard]] constexpr std::string_view type_name() noexcept {
  // GCC:   … type_name() [with T = shop::Counter; std::string_view = …]
  // Clang: … type_name() [T = shop::Counter]
  constexpr std::string_view text = __PRETTY_FUNCTION__;
  constexpr std::size_t begin = text.find("T = ") + 4;
  constexpr std::size_t semicolon = text.find(';', begin);
  constexpr std::size_t end = semicolon == std::string_view::npos ? text.size() - 1 : semicolon;
  return text.substr(begin, end - begin);
}

}  // namespace dagverk::detail
