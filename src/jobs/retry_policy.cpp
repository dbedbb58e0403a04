#include "dagverk/jobs/retry_policy.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <optional>

namespace dagverk::jobs {

namespace {

using std::chrono::seconds;

bool within(const Job& job, Duration limit, WallTime failed_at) {
  const WallTime first_failure = job.failed_at().value_or(failed_at);
  // In microseconds, where neither a sum nor a difference of absurd stamps can overflow.
  using std::chrono::microseconds;
  const auto elapsed = std::chrono::floor<microseconds>(failed_at.time_since_epoch()) -
                       std::chrono::floor<microseconds>(first_failure.time_since_epoch());
  return elapsed <= std::chrono::floor<microseconds>(limit);
}

bool has_retry_left(const Job& job, const RetryPolicy& policy, WallTime failed_at) {
  if (const auto limit = job.retry_for()) return within(job, *limit, failed_at);
  const bool counted = job.retry().kind == RetrySetting::Kind::limited || job.max_retry_count();
  if (!counted && policy.retry_for > Duration::zero()) return within(job, policy.retry_for, failed_at);
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

/// Where a job goes that is not retried any more.
RetryDecision give_up(const Job& job, const RetryPolicy& policy, const FailedRun& run) {
  const RetryDecision discard{.action = RetryDecision::Action::discard};
  try {
    if (policy.exhausted && policy.exhausted(run).kind == RetryStep::Kind::discard) return discard;
  } catch (...) {
    // What is to become of the job is known without it.
    return job.dead().value_or(policy.dead) ? RetryDecision{.action = RetryDecision::Action::dead} : discard;
  }
  return job.dead().value_or(policy.dead) ? RetryDecision{.action = RetryDecision::Action::dead} : discard;
}

std::optional<WallTime> ask_retry_at(const RetryPolicy& policy, const FailedRun& run) {
  if (!policy.retry_at) return std::nullopt;
  try {
    return policy.retry_at(run.failed_at, run.retry_index + 1);
  } catch (...) {
    return std::nullopt;
  }
}

Duration delay_of(const RetryPolicy& policy, std::uint32_t retry_index, Random& random, BackOff backoff) {
  if (policy.delays.empty()) {
    return backoff == BackOff::verk ? verk_backoff(retry_index, random) : standard_backoff(retry_index, random);
  }
  return policy.delays[std::min<std::size_t>(retry_index, policy.delays.size() - 1)];
}

/// n⁴ + 15 s, and `jitter` times (n + 1) s.
Duration fourth_power(std::uint64_t count, std::int64_t jitter) {
  // Beyond this one the delay is at its bound in any case, and the product stays in range.
  const auto n = static_cast<std::int64_t>(std::min<std::uint64_t>(count, 1000));
  const seconds delay{n * n * n * n + 15 + jitter * (n + 1)};
  return std::min<Duration>(std::min(delay, std::chrono::duration_cast<seconds>(retry_delay_max)), retry_delay_max);
}

WallTime later(WallTime from, Duration delay) {
  const Duration bounded = std::clamp(delay, Duration::zero(), retry_delay_max);
  return from > WallTime::max() - bounded ? WallTime::max() : from + bounded;
}

}  // namespace

Result<void> check_retry_policy(const RetryPolicy& policy) {
  if (policy.retry_for < Duration::zero()) {
    return Error{ErrorCode::configuration, "retry_for must not be negative"};
  }
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
  return fourth_power(retry_index, static_cast<std::int64_t>(random.below(10)));
}

Duration verk_backoff(std::uint32_t retry_index, Random& random) noexcept {
  return fourth_power(std::uint64_t{retry_index} + 1, static_cast<std::int64_t>(random.below(30)) + 1);
}

RetryDecision decide_retry(const Job& job, const RetryPolicy& policy, WallTime failed_at, Random& random,
                           std::string_view error_class, std::string_view error_message, BackOff backoff) {
  const RetryDecision discard{.action = RetryDecision::Action::discard};
  if (job.retry().kind == RetrySetting::Kind::off) return discard;
  const std::uint32_t retry_index = job.failure_count();
  const FailedRun run{.job = job,
                      .retry_index = retry_index,
                      .error_class = error_class,
                      .error_message = error_message,
                      .failed_at = failed_at};
  if (!has_retry_left(job, policy, failed_at)) return give_up(job, policy, run);
  RetryStep step = ask_rule(policy, run);
  if (step.kind == RetryStep::Kind::standard) {
    if (const std::optional<WallTime> due = ask_retry_at(policy, run)) step = RetryStep::at(*due);
  }
  switch (step.kind) {
    case RetryStep::Kind::dead: return give_up(job, policy, run);
    case RetryStep::Kind::discard: return discard;
    case RetryStep::Kind::after: return {.action = RetryDecision::Action::retry, .due = later(failed_at, step.delay)};
    case RetryStep::Kind::at: {
      const WallTime due = std::clamp(step.due, failed_at, later(failed_at, retry_delay_max));
      return {.action = RetryDecision::Action::retry, .due = due};
    }
    case RetryStep::Kind::standard: break;
  }
  return {.action = RetryDecision::Action::retry,
          .due = later(failed_at, delay_of(policy, retry_index, random, backoff))};
}

}  // namespace dagverk::jobs
