#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

#include "dagverk/base/clock.hpp"

namespace dagverk::detail {

/// A cheap counter that runs at a constant rate: for the scheduler's own slices, never for anybody's time.
[[nodiscard]] inline std::uint64_t cycles() noexcept {
#if defined(__x86_64__)
  return __rdtsc();
#else
  return static_cast<std::uint64_t>(system_clock().steady_now().time_since_epoch().count());
#endif
}

inline void cpu_relax() noexcept {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// How many cycles a microsecond has, measured once for about 100 µs.
[[nodiscard]] std::uint64_t cycles_per_microsecond() noexcept;

}  // namespace dagverk::detail
