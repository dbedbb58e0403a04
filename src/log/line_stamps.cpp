#include "log/line_stamps.hpp"

#include <array>
#include <fcntl.h>
#include <limits>
#include <string_view>
#include <unistd.h>

namespace dagverk::detail {

namespace {

/// The kernel has found that the counters of all cores run at one constant rate and agree: it uses them itself.
[[nodiscard]] bool kernel_trusts_counter() noexcept {
#if defined(__x86_64__)
  const int file = ::open("/sys/devices/system/clocksource/clocksource0/current_clocksource", O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  std::array<char, 8> text{};
  const ssize_t size = ::read(file, text.data(), text.size());
  ::close(file);
  return size > 0 && std::string_view(text.data(), static_cast<std::size_t>(size)) == "tsc\n";
#else
  return false;
#endif
}

[[nodiscard]] bool may_count(const Clock& clock) noexcept {
  static const bool trusted = kernel_trusts_counter();
  return trusted && &clock == &system_clock();
}

}  // namespace

LineStamps::LineStamps(const Clock& clock) noexcept : clock_(clock), counts_(may_count(clock)), begin_(read_both()) {}

StampScale LineStamps::read_both() const noexcept {
  if (!counts_) {
    const std::int64_t stamp = now();
    return {stamp, stamp, 1};
  }
  // The thread may be stopped between two readings: the closest of some.
  StampScale closest;
  std::int64_t closest_gap = std::numeric_limits<std::int64_t>::max();
  std::int64_t before = now();
  for (int attempt = 0; attempt < 3; ++attempt) {
    const std::int64_t steady_ns = clock_.steady_now().time_since_epoch().count();
    const std::int64_t after = now();
    if (after - before < closest_gap) {
      closest_gap = after - before;
      closest = {before + closest_gap / 2, steady_ns, 1};
    }
    before = after;
  }
  return closest;
}

StampScale LineStamps::scale() noexcept {
  constexpr std::int64_t long_enough_ns = 1'000'000'000;
  StampScale scale = read_both();
  if (!counts_) return scale;
  // Later the rate changes by the adjustment of the clock alone, less than a thousandth, and lines are young. A machine
  // that has slept may have begun to count anew.
  const std::int64_t counted = scale.stamp - begin_.stamp;
  if (!measured_.load(std::memory_order_relaxed) && counted > 0) {
    const std::int64_t passed = scale.steady_ns - begin_.steady_ns;
    ns_per_stamp_.store(static_cast<double>(passed) / static_cast<double>(counted), std::memory_order_relaxed);
    measured_.store(passed >= long_enough_ns, std::memory_order_relaxed);
  }
  scale.ns_per_stamp = ns_per_stamp_.load(std::memory_order_relaxed);
  return scale;
}

}  // namespace dagverk::detail
