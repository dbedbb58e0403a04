#pragma once

#include "dagverk/base/clock.hpp"

#include <atomic>
#include <cstdint>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace dagverk::detail {

/// What stamps are in steady nanoseconds, as of one moment.
struct StampScale {
  std::int64_t stamp = 0;  ///< of that moment
  std::int64_t steady_ns = 0;
  double ns_per_stamp = 1;

  /// Good to some 50 ns for stamps about as old as the pipeline or younger.
  [[nodiscard]] std::int64_t steady_ns_of(std::int64_t other) const noexcept {
    return steady_ns - static_cast<std::int64_t>(static_cast<double>(stamp - other) * ns_per_stamp);
  }
};

/// The stamps of lines: the runtime's clock, or, where that is the machine's and the kernel itself takes the time from
/// the processor's counter, that counter: a cheaper reading for a call that is short itself. Who reads lines makes
/// times of counts.
///
/// Semantics: stamps never decrease along any chain of cause and effect, whatever threads it goes through.
/// Threads:   any.
class LineStamps {
 public:
  explicit LineStamps(const Clock& clock) noexcept;

  [[nodiscard]] std::int64_t now() const noexcept {
#if defined(__x86_64__)
    if (counts_) [[likely]] {
      unsigned processor = 0;
      // Not before what came earlier in the program: a plain rdtsc may overtake the load that it is caused by.
      return static_cast<std::int64_t>(__rdtscp(&processor));
    }
#endif
    return clock_.steady_now().time_since_epoch().count();
  }

  /// Looks at the clock and the counter at once. Lines stamped up to now have a stamp of at most `StampScale::stamp`.
  /// Async-signal-safe.
  [[nodiscard]] StampScale scale() noexcept;

 private:
  [[nodiscard]] StampScale read_both() const noexcept;

  const Clock& clock_;
  const bool counts_;
  const StampScale begin_;
  std::atomic<double> ns_per_stamp_{1};
  std::atomic<bool> measured_{false};  // the rate is as good as it will be
};

}  // namespace dagverk::detail
