#include "dagverk/base/clock.hpp"

#include <thread>

namespace dagverk {

namespace {

class SystemClock final : public Clock {
 public:
  [[nodiscard]] SteadyTime steady_now() const noexcept override {
    return std::chrono::time_point_cast<Duration>(std::chrono::steady_clock::now());
  }
  [[nodiscard]] WallTime wall_now() const noexcept override {
    return std::chrono::time_point_cast<Duration>(std::chrono::system_clock::now());
  }
};

}  // namespace

const Clock& system_clock() noexcept {
  static const SystemClock clock;
  return clock;
}

void sleep_for(Duration duration) { std::this_thread::sleep_for(duration); }

}  // namespace dagverk
