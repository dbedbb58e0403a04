#include "dagverk/jobs/retry_policy.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>

namespace dagverk::jobs {

namespace {

using std::chrono::seconds;

bool has_retry_left(const Job& job, const RetryPolicy& policy, WallTime failed_at) {
  if (const auto limit = job.retry_for()) {
    const WallTime first_failure = job.failed_at().value_or(failed_at);
    // In microseconds, where neither a sum nor a difference of absurd stamps can overflow.
    using std::chrono::microseconds;
    const auto elapsed = std::chrono::floor<microseconds>(failed_at.time_since_epoch()) -
                         std::chrono::floor<microseconds>(first_failure.time_since_epoch());
    return elapsed <= std::chrono::floor<microseconds>(*limit);
  }
  std::uint32_t limit = policy.max_retries;
  if (job.retry().kind == RetrySetting::Kind::limited) {
    limit = job.retry().limit;
  } else if (job.max_retry_count()) {
    limit = *job.max_retry_count();
  }
  return job.failure_count() < limit;
}

RetryStep ask_rule(const RetryPolicy& policy, const FailedRun& run) {
  if (!policy.rule) return RetryStep::standard();
  try {
    const RetryStep step = policy.rule(run);
    if (step.kind == RetryStep::Kind::after && step.delay < Duration::zero()) return RetryStep::standard();
    return step;
  } catch (...) {
    // The job has failed already; a broken rule must not cost it its retries.
    return RetryStep::standard();
  }
}

Duration delay_of(const RetryPolicy& policy, std::uint32_t retry_index, Random& random) {
  if (policy.delays.empty()) return standard_backoff(retry_index, random);
  return policy.delays[std::min<std::size_t>(retry_index, policy.delays.size() - 1)];
}

WallTime later(WallTime from, Duration delay) {
  const Duration bounded = std::clamp(delay, Duration::zero(), retry_delay_max);
  return from > WallTime::max() - bounded ? WallTime::max() : from + bounded;
}

}  // namespace

Result<void> check_retry_policy(const RetryPolicy& policy) {
  for (std::size_t index = 0; index < policy.delays.size(); ++index) {
    const Duration delay = policy.delays[index];
    if (delay >= Duration::zero() && delay <= retry_delay_max) continue;
    return Error{ErrorCode::configuration, concat("retry delay ", index + 1, " must be 0 to ",
                                                  std::chrono::duration_cast<seconds>(retry_delay_max).count(),
                                                  " s, got ", std::chrono::duration<double>(delay).count())};
  }
  return {};
}

Duration standard_backoff(std::uint32_t retry_index, Random& random) noexcept {
  // Beyond this index the delay is at its bound in any case, and the product stays in range.
  const std::int64_t index = std::min<std::uint32_t>(retry_index, 1000);
  const auto jitter = static_cast<std::int64_t>(random.below(10)) * (index + 1);
  const seconds delay{index * index * index * index + 15 + jitter};
  return std::min<Duration>(std::min(delay, std::chrono::duration_cast<seconds>(retry_delay_max)), retry_delay_max);
}

RetryDecision decide_retry(const Job& job, const RetryPolicy& policy, WallTime failed_at, Random& random,
                           std::string_view error_class, std::string_view error_message) {
  const RetryDecision discard{.action = RetryDecision::Action::discard};
  const RetryDecision exhausted{.action = job.dead().value_or(policy.dead) ? RetryDecision::Action::dead
                                                                           : RetryDecision::Action::discard};
  if (job.retry().kind == RetrySetting::Kind::off) return discard;
  if (!has_retry_left(job, policy, failed_at)) return exhausted;

  const std::uint32_t retry_index = job.failure_count();
  const RetryStep step = ask_rule(
      policy,
      FailedRun{.job = job, .retry_index = retry_index, .error_class = error_class, .error_message = error_message});
  switch (step.kind) {
    case RetryStep::Kind::dead: return exhausted;
    case RetryStep::Kind::discard: return discard;
    case RetryStep::Kind::after: return {.action = RetryDecision::Action::retry, .due = later(failed_at, step.delay)};
    case RetryStep::Kind::standard: break;
  }
  return {.action = RetryDecision::Action::retry, .due = later(failed_at, delay_of(policy, retry_index, random))};
}

}  // namespace dagverk::jobs
