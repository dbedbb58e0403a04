#pragma once

namespace dagverk::detail {

/// Asks for the cache line at `address`, to write to it: it comes as this core's own, in one journey instead of two.
/// Any address will do, valid or not.
inline void prefetch_to_write(const void* address) noexcept {
#if defined(__x86_64__)
  // The builtin is only a prefetch to read unless one compiles for a processor that is known to have more.
  asm volatile("prefetchw (%0)" : : "r"(address));
#else
  __builtin_prefetch(address, 1);
#endif
}

}  // namespace dagverk::detail
