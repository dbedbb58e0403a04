#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/random.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/jobs/job.hpp"

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

namespace dagverk::jobs {

/// No delay is longer; beyond, the fourth power would leave the calendar.
inline constexpr Duration retry_delay_max = std::chrono::hours{24 * 366};

/// What a class's own rule says about one failed run.
struct RetryStep {
  enum class Kind : std::uint8_t { after, at, standard, dead, discard };

  Kind kind = Kind::standard;
  Duration delay{0};  ///< for `after`; at least 0
  WallTime due{};     ///< for `at`; a past one is now

  [[nodiscard]] static RetryStep after(Duration delay) noexcept { return {Kind::after, delay}; }
  [[nodiscard]] static RetryStep at(WallTime due) noexcept { return {.kind = Kind::at, .due = due}; }
  /// As without a rule.
  [[nodiscard]] static RetryStep standard() noexcept { return {}; }
  /// To the dead set now, whatever retries are left.
  [[nodiscard]] static RetryStep dead() noexcept { return {.kind = Kind::dead}; }
  /// Away now, without the dead set.
  [[nodiscard]] static RetryStep discard() noexcept { return {.kind = Kind::discard}; }
};

/// A failed run, as a class's own rule sees it.
struct FailedRun {
  const Job& job;             ///< before the failure was recorded
  std::uint32_t retry_index;  ///< 0 after the first failure
  std::string_view error_class;
  std::string_view error_message;
  WallTime failed_at{};
};

/// How a job class is retried when the payload does not say otherwise.
struct RetryPolicy {
  /// Retries after the first run; 0: straight to the dead set. 25 take about three weeks (Sidekiq's default).
  std::uint32_t max_retries = 25;
  /// Set: retries go on until that long after the first failure, and `max_retries` does not count. Zero: by count.
  Duration retry_for = Duration::zero();
  /// Exact delays before the first, second, … retry; the last one repeats. Empty: the standard back-off.
  std::vector<Duration> delays = {};
  /// Asked first, at every failure that has a retry left. One that throws, or gives a negative delay, counts as
  /// `standard`.
  std::function<RetryStep(const FailedRun&)> rule = nullptr;
  /// When to retry, as Verk's classes say it: asked when the rule does not decide, with the count of failures including
  /// this one. One that throws counts as none.
  std::function<WallTime(WallTime failed_at, std::uint32_t retry_count)> retry_at = nullptr;
  /// Told of a job that has no retry left, or whose rule gave it up; not of one with `retry: false`. May answer
  /// `discard` to drop it; anything else, or throwing, leaves it to `dead`. Called before the store knows, and perhaps
  /// again when the job runs again because it could not be told. Must not block: it runs in a process of the node.
  std::function<RetryStep(const FailedRun&)> exhausted = nullptr;
  /// Whether a job without retries left is kept in the dead set.
  bool dead = true;
};

/// Errors: `configuration` when a delay is negative or above `retry_delay_max`, or retry_for is negative.
[[nodiscard]] Result<void> check_retry_policy(const RetryPolicy& policy);

/// What becomes of a job whose run failed.
struct RetryDecision {
  enum class Action : std::uint8_t { retry, dead, discard };

  Action action = Action::retry;
  WallTime due{};  ///< for `retry`

  friend bool operator==(const RetryDecision&, const RetryDecision&) = default;
};

/// What becomes of a job whose class the node does not define.
enum class UnknownClass : std::uint8_t {
  retry,  ///< it fails, with a message that says so, and is retried as any other
  leave,  ///< it is left to others: back in its queue after unknown_class_delay, its payload and its attempt unchanged
  bury,   ///< it goes to the dead set
};
inline constexpr Duration unknown_class_delay = std::chrono::seconds(10);

/// Whose formula decides how long a job waits when its class does not say.
enum class BackOff : std::uint8_t {
  sidekiq,  ///< `standard_backoff`
  verk,     ///< `verk_backoff`
};

/// Sidekiq's back-off before the retry with that index: index⁴ + 15 s, plus 0 to 9 times (index + 1) s at random.
[[nodiscard]] Duration standard_backoff(std::uint32_t retry_index, Random& random) noexcept;

/// Verk's: with n = index + 1, n⁴ + 15 s, plus 1 to 30 times (n + 1) s at random.
[[nodiscard]] Duration verk_backoff(std::uint32_t retry_index, Random& random) noexcept;

/// Decides about `job`, which has just failed (its payload does not yet say so).
///
/// Semantics: the payload wins over the policy, in this order. `retry: false` discards. `retry_for` allows retries
///            until that long after the first failure. `retry: N` allows N retries. Else `max_retry_count`, else
///            `policy.retry_for`, else `policy.max_retries`. Without a retry left: to the dead set, or away when the
///            payload's `dead`, else the policy's, is false. Sidekiq adds its random part to a class's own delays,
///            too; ours are exact.
/// Errors:    none; an exception of the policy's rule is swallowed.
[[nodiscard]] RetryDecision decide_retry(const Job& job, const RetryPolicy& policy, WallTime failed_at, Random& random,
                                         std::string_view error_class = {}, std::string_view error_message = {},
                                         BackOff backoff = BackOff::sidekiq);

}  // namespace dagverk::jobs
