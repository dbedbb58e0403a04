#include "dagverk/base/clock.hpp"

#include "dagverk/base/never_destroyed.hpp"

#include <ctime>
#include <thread>

namespace dagverk {

namespace {

class SystemClock final : public Clock {
 public:
  [[nodiscard]] SteadyTime steady_now() const noexcept override {
    return std::chrono::time_point_cast<Duration>(std::chrono::steady_clock::now());
  }
  [[nodiscard]] SteadyTime steady_coarse() const noexcept override {
    // The same clock as std::chrono::steady_clock, as of the last timer tick: no instruction that waits for the
    // counter.
    std::timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return SteadyTime(std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec));
  }
  [[nodiscard]] WallTime wall_now() const noexcept override {
    return std::chrono::time_point_cast<Duration>(std::chrono::system_clock::now());
  }
};

}  // namespace

const Clock& system_clock() noexcept {
  static NeverDestroyed<const SystemClock> clock;  // other threads still look at it during exit()
  return *clock;
}

void sleep_for(Duration duration) { std::this_thread::sleep_for(duration); }

}  // namespace dagverk
