#pragma once

#include "dagverk/base/clock.hpp"

#include <atomic>

namespace dagverk {

/// A clock that moves only when told to. Steady and wall time move together; the wall clock may also jump on its own.
///
/// Units:   starts at one day of steady time and at 2026-01-01T00:00:00Z, unless told otherwise.
/// Threads: any.
class ManualClock final : public Clock {
 public:
  ManualClock() noexcept : ManualClock(WallTime(std::chrono::seconds(1'767'225'600))) {}
  explicit ManualClock(WallTime start) noexcept : wall_(start.time_since_epoch().count()) {}

  [[nodiscard]] SteadyTime steady_now() const noexcept override { return SteadyTime(Duration(steady_.load())); }
  [[nodiscard]] WallTime wall_now() const noexcept override { return WallTime(Duration(wall_.load())); }

  void advance(Duration by) noexcept {
    steady_.fetch_add(by.count());
    wall_.fetch_add(by.count());
  }
  /// Sets the wall clock alone, as an operator or a time server does.
  void jump_wall(WallTime to) noexcept { wall_.store(to.time_since_epoch().count()); }

 private:
  std::atomic<Duration::rep> steady_{std::chrono::duration_cast<Duration>(std::chrono::hours(24)).count()};
  std::atomic<Duration::rep> wall_;
};

}  // namespace dagverk
