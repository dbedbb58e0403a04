#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/result.hpp"

#include <chrono>
#include <cstdint>
#include <vector>

namespace dagverk {

/// How many restarts are too many.
struct RestartLimit {
  std::uint32_t max_restarts = 3;  ///< within `window`; one more is too many. 0: the first is. At most 1,000,000
  Duration window = std::chrono::seconds(5);  ///< more than zero
};

/// How long to wait before a restart: `initial`, then `factor` times as long each time, at most `max`.
struct RestartBackoff {
  Duration initial{0};  ///< 0: no waiting at all
  Duration max = std::chrono::seconds(30);
  std::uint32_t factor = 2;  ///< 1 to 100
  Duration reset_after{0};   ///< what has run for this long since its last restart begins at `initial` again; 0: `max`
  friend bool operator==(const RestartBackoff&, const RestartBackoff&) noexcept = default;
};

/// Errors: `invalid_argument`, naming the field, its value and the range.
[[nodiscard]] Result<void> check(const RestartLimit& limit);
[[nodiscard]] Result<void> check(const RestartBackoff& backoff);

/// The restarts of one child, or of all children of a supervisor: says when to give up and how long to wait.
///
/// Semantics: OTP's restart intensity. A restart that is exactly `window` old still counts; OTP counts whole seconds,
///            we count exactly.
/// Threads:   a value; not thread-safe.
/// Bounds:    remembers `max_restarts` + 1 instants.
class RestartHistory {
 public:
  /// Notes a restart at `now`. False when it is one too many.
  [[nodiscard]] bool admit(const RestartLimit& limit, SteadyTime now);
  /// How long to wait before the restart that is due at `now`.
  [[nodiscard]] Duration next_delay(const RestartBackoff& backoff, SteadyTime now);
  /// Forgets everything: somebody has started the child by hand.
  void clear() noexcept;

 private:
  std::vector<SteadyTime> restarts_;  // oldest first
  SteadyTime delayed_until_{};
  Duration last_delay_{0};
};

}  // namespace dagverk
