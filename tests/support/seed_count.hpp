#pragma once

#include <algorithm>
#include <cstdint>

namespace dagverk {

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
inline constexpr bool sanitized = true;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif
#else
inline constexpr bool sanitized = false;
#endif

/// How many seeds a property is tried with that is tried with `count` in plain builds. Those look for the order of
/// events that breaks it. Under a sanitizer a seed costs ten times as much, and it looks for something else, races and
/// bad accesses, which the paths that a tenth of them take show as well.
[[nodiscard]] constexpr std::uint64_t seed_count(std::uint64_t count) {
  constexpr std::uint64_t enough = 200;
  return sanitized ? std::max(std::min(count, enough), count / 10) : count;
}

}  // namespace dagverk
