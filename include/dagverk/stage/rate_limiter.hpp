#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/stage/detail/relay_stage.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <utility>

namespace dagverk {

/// So many events per so much time.
struct RateLimit {
  std::uint64_t events = 0;                ///< 1 or more
  Duration per = std::chrono::seconds(1);  ///< more than zero
  std::uint64_t burst = 0;                 ///< what may pass at once after a pause; 0: as many as `events`
};

/// Tokens that come at a rate and are spent one per event.
///
/// Semantics: full at first. Counts exactly, in whole nanoseconds times events: over any time t no more than
///            burst + events * t / per can be spent, and no less comes in when the bucket is not full.
/// Threads:   not thread-safe. Time is given, not read.
/// Errors:    `make` gives `invalid_argument`, naming the field.
/// Bounds:    burst * per is at most 2^61 nanoseconds times events, that is 2,305 million per second of `per`.
class TokenBucket {
 public:
  [[nodiscard]] static Result<TokenBucket> make(const RateLimit& limit, SteadyTime now);

  /// How many may be spent at `now`, which never goes back.
  [[nodiscard]] std::uint64_t available(SteadyTime now) noexcept;
  /// Spends `count`, no more than were available.
  void spend(std::uint64_t count) noexcept;
  [[nodiscard]] std::uint64_t burst() const noexcept { return static_cast<std::uint64_t>(full_ / token_); }
  /// How long after the last `available` one more token will be there than then were; zero: never, it is full.
  [[nodiscard]] Duration until_next() const noexcept;
  /// How long after the last `available` it will be full.
  [[nodiscard]] Duration until_full() const noexcept;

 private:
  TokenBucket(std::int64_t token, std::int64_t gain, std::int64_t full, SteadyTime now) noexcept
      : token_(token), gain_(gain), full_(full), credit_(full), last_(now) {}

  std::int64_t token_;   // the credit that one event costs: `per` in nanoseconds
  std::int64_t gain_;    // credit per nanosecond: `events`
  std::int64_t full_;    // burst * token_
  std::int64_t credit_;  // 0 … full_
  SteadyTime last_;
};

/// A stage that passes events on in order, and no faster than a rate.
///
/// Semantics: a token bucket. It asks its producers for no more than it may pass at that moment, so that what may not
///            pass yet waits where it is made; what comes nevertheless (each of several producers is asked) is kept in
///            order. A token is spent when an event is dispatched to a consumer. Ends of subscriptions take effect
///            behind the events that came before them. Subscribe it as any consumer; on those subscriptions max_demand
///            bounds the asks, and min_demand is not looked at.
/// Units:     events of every kind cost one token.
/// Threads:   as GenServer; time is the runtime's clock, so virtual on a deterministic runtime.
/// Errors:    a limit out of range makes `start` fail with `exited` and a reason that names the field.
/// Bounds:    keeps at most `burst` events per producer. It wakes at most once a millisecond, unless the bucket fills
///            faster than that.
template <class T>
class RateLimiter final : public detail::RelayStage<RateLimiter<T>, T, T> {
  using Base = detail::RelayStage<RateLimiter<T>, T, T>;

 public:
  struct Wake {};

  explicit RateLimiter(RateLimit limit) : RateLimiter(limit, demand_dispatcher<T>()) {}
  RateLimiter(RateLimit limit, std::unique_ptr<Dispatcher<T>> dispatcher)
      : Base(std::move(dispatcher)), limit_(limit) {}

  InitResult init() {
    Result<TokenBucket> bucket = TokenBucket::make(limit_, now());
    if (!bucket) return InitResult::stop(ExitReason::custom(std::string(bucket.error().message())));
    bucket_ = *bucket;
    return InitResult::ok();
  }
  void handle_info(Wake /*own*/) {
    waking_ = false;
    on_dispatchable();
  }

  // For the stage's base.
  [[nodiscard]] bool passed_on() const noexcept { return entries_.empty(); }
  void take(Batch<T> events) {
    kept_ += events.size();
    entries_.push_back(Entry{std::move(events), std::nullopt});
    on_dispatchable();
  }
  void on_upstream_end(detail::RelayEnd end) {
    entries_.push_back(Entry{{}, std::move(end)});
    on_dispatchable();
  }
  void on_dispatchable() {
    pass();
    Base::show_kept(kept_);
    const std::uint64_t tokens = bucket_->available(now());
    const std::uint64_t wanted = Base::wanted();
    const std::uint64_t passable = std::min(tokens, wanted);
    if (passable > kept_) Base::ask_each(passable - kept_);
    if (wanted > tokens) wake_later();
  }

 private:
  static constexpr std::chrono::milliseconds wake_min{1};

  /// Events, or the end of a subscription behind them.
  struct Entry {
    Batch<T> events;
    std::optional<detail::RelayEnd> end;
  };

  [[nodiscard]] static SteadyTime now() noexcept { return this_process::runtime().clock().steady_now(); }

  /// Emits what may pass now.
  void pass() {
    std::uint64_t tokens = bucket_->available(now());
    while (!entries_.empty()) {
      Entry& entry = entries_.front();
      if (entry.end) {
        const detail::RelayEnd end = std::move(*entry.end);
        entries_.pop_front();
        Base::finish(end);
        continue;
      }
      const auto count = std::min<std::uint64_t>({tokens, Base::dispatchable(), entry.events.size()});
      if (count == 0) return;
      Batch<T> part = entry.events.split_front(static_cast<std::size_t>(count));
      if (entry.events.empty()) entries_.pop_front();
      kept_ -= count;
      tokens -= count;
      bucket_->spend(count);
      Base::emit(std::move(part));
    }
  }

  void wake_later() {
    const Duration next = bucket_->until_next();
    if (next == Duration::zero() || std::exchange(waking_, true)) return;
    const Duration pause = std::max(next, std::min<Duration>(wake_min, bucket_->until_full()));
    Base::send_after(pause, Wake{});
  }

  const RateLimit limit_;
  std::optional<TokenBucket> bucket_;  // from init on
  std::deque<Entry> entries_;
  std::uint64_t kept_ = 0;  // events in entries_
  bool waking_ = false;
};

}  // namespace dagverk
