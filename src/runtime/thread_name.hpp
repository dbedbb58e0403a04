#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <pthread.h>
#include <string_view>

namespace dagverk::detail {

/// Names the calling thread for debuggers and `top -H`: at most 15 bytes, what is longer is cut.
inline void name_this_thread(std::string_view name) noexcept {
  std::array<char, 16> text{};
  std::copy_n(name.begin(), std::min<std::size_t>(name.size(), text.size() - 1), text.begin());
  ::pthread_setname_np(::pthread_self(), text.data());
}

}  // namespace dagverk::detail
