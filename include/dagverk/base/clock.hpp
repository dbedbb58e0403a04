#pragma once

#include <chrono>

namespace dagverk {

using Duration = std::chrono::nanoseconds;

/// An instant of the steady clock: for waits, intervals and deadlines. Never stored, never shown.
using SteadyTime = std::chrono::time_point<std::chrono::steady_clock, Duration>;

/// An instant of the wall clock (UTC): for what is stored or shown. May jump.
using WallTime = std::chrono::time_point<std::chrono::system_clock, Duration>;

/// Where time comes from. Everything that waits or stamps is given one, so that tests move time by hand.
///
/// Threads: all operations may be called from any thread.
class Clock {
 public:
  Clock() = default;
  Clock(const Clock&) = delete;
  Clock& operator=(const Clock&) = delete;
  virtual ~Clock() = default;

  [[nodiscard]] virtual SteadyTime steady_now() const noexcept = 0;
  /// As `steady_now`, but cheap and up to 10 ms behind: for limits that are seconds.
  [[nodiscard]] virtual SteadyTime steady_coarse() const noexcept { return steady_now(); }
  [[nodiscard]] virtual WallTime wall_now() const noexcept = 0;
};

/// The machine's own clocks. A process-wide constant without state; valid for the program's whole life.
[[nodiscard]] const Clock& system_clock() noexcept;

/// Blocks the calling thread for at least `duration`. For programs and drivers of real OS processes;
/// never on a scheduler thread, never in a test of our own logic.
void sleep_for(Duration duration);

}  // namespace dagverk
