#include "dagverk/event/restart_policy.hpp"

#include <algorithm>

namespace dagverk {

std::optional<Duration> HandlerRestarts::crashed(SteadyTime now) {
  const bool first_in_a_while = !latest_ || now - *latest_ >= policy_.quiet_after;
  latest_ = now;
  // Half of the limit is compared, so that doubling cannot overflow.
  delay_ = first_in_a_while ? policy_.delay_first : delay_ > policy_.delay_max / 2 ? policy_.delay_max : delay_ * 2;
  delay_ = std::min(delay_, policy_.delay_max);
  if (policy_.crashes_max == 0) return delay_;
  while (!crashes_.empty() && now - crashes_.front() > policy_.crash_window) crashes_.pop_front();
  crashes_.push_back(now);
  if (crashes_.size() >= policy_.crashes_max) return std::nullopt;
  return delay_;
}

void HandlerRestarts::forget() {
  crashes_.clear();
  latest_.reset();
}

}  // namespace dagverk
