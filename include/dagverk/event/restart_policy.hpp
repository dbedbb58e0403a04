#pragma once

#include "dagverk/base/clock.hpp"

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>

namespace dagverk {

/// When a crashed event handler is started again.
struct HandlerRestartPolicy {
  /// The wait before the first restart; it doubles with each crash, up to `delay_max`.
  Duration delay_first = std::chrono::milliseconds(50);
  Duration delay_max = std::chrono::seconds(30);
  /// A crash after this long without one waits for `delay_first` again.
  Duration quiet_after = std::chrono::seconds(60);
  /// With this many crashes within `crash_window` the handler is *failed*: it stays visible and is not started again
  /// until somebody asks for it. 0: no limit.
  std::uint32_t crashes_max = 10;
  Duration crash_window = std::chrono::seconds(60);
};

/// One handler's crashes so far.
///
/// Threads: not thread-safe; owned by the manager's process.
/// Bounds:  remembers at most `crashes_max` instants.
class HandlerRestarts {
 public:
  explicit HandlerRestarts(HandlerRestartPolicy policy) : policy_(policy) {}

  /// Records a crash at `now`. The wait before the restart; nothing when the handler has failed.
  [[nodiscard]] std::optional<Duration> crashed(SteadyTime now);
  /// Forgets everything: somebody restarted the handler by hand.
  void forget();

 private:
  HandlerRestartPolicy policy_;
  std::deque<SteadyTime> crashes_;
  std::optional<SteadyTime> latest_;
  Duration delay_{0};
};

}  // namespace dagverk
