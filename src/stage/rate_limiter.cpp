#include "dagverk/stage/rate_limiter.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"

namespace dagverk {

namespace {
constexpr std::int64_t credit_max = std::int64_t{1} << 61;
}  // namespace

Result<TokenBucket> TokenBucket::make(const RateLimit& limit, SteadyTime now) {
  if (limit.per <= Duration::zero()) {
    return Error(ErrorCode::invalid_argument,
                 concat("rate limit: per must be more than zero, got ", limit.per.count(), " ns"));
  }
  const std::int64_t token = limit.per.count();
  const std::uint64_t burst = limit.burst == 0 ? limit.events : limit.burst;
  const auto count_max = static_cast<std::uint64_t>(credit_max / token);
  if (limit.events == 0 || limit.events > static_cast<std::uint64_t>(credit_max)) {
    return Error(ErrorCode::invalid_argument,
                 concat("rate limit: events must be 1..", credit_max, ", got ", limit.events));
  }
  if (burst == 0 || burst > count_max) {
    return Error(ErrorCode::invalid_argument, concat("rate limit: burst must be 1..", count_max, ", got ", burst));
  }
  const auto full = static_cast<std::int64_t>(burst) * token;
  return TokenBucket(token, static_cast<std::int64_t>(limit.events), full, now);
}

std::uint64_t TokenBucket::available(SteadyTime now) noexcept {
  const std::int64_t elapsed = (now - last_).count();
  DAGVERK_ASSERT(elapsed >= 0);
  last_ = now;
  const std::int64_t missing = full_ - credit_;
  credit_ = elapsed > missing / gain_ ? full_ : credit_ + elapsed * gain_;
  return static_cast<std::uint64_t>(credit_ / token_);
}

void TokenBucket::spend(std::uint64_t count) noexcept {
  DAGVERK_ASSERT(count <= static_cast<std::uint64_t>(credit_ / token_));
  credit_ -= static_cast<std::int64_t>(count) * token_;
}

Duration TokenBucket::until_next() const noexcept {
  if (credit_ == full_) return Duration::zero();
  const std::int64_t missing = token_ - credit_ % token_;
  return Duration(missing / gain_ + (missing % gain_ != 0 ? 1 : 0));
}

Duration TokenBucket::until_full() const noexcept {
  const std::int64_t missing = full_ - credit_;
  return Duration(missing / gain_ + (missing % gain_ != 0 ? 1 : 0));
}

}  // namespace dagverk
