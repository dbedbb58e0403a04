#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/stage/detail/ack_dispatcher.hpp"
#include "dagverk/stage/detail/relay_stage.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace dagverk {

/// Why an event was not acknowledged by the one it was delivered to.
enum class AckFailure : std::uint8_t {
  consumer_left,  ///< its subscription ended, by a crash or otherwise
  late,           ///< it was not acknowledged in time
  rejected,       ///< `reject` was called
};

/// An event that was delivered as often as it may be and never acknowledged.
template <class T>
struct DeadLetter {
  T event;
  std::uint32_t deliveries;
  AckFailure failure;  ///< of the last one
};

template <class T>
struct AckOptions {
  /// How long a consumer may take to acknowledge, from the dispatch; afterwards the event is delivered again. Zero: for
  /// as long as it is subscribed.
  Duration ack_timeout = std::chrono::seconds(30);
  /// Deliveries of one event at most, 1 or more; then it is a dead letter.
  std::uint32_t deliveries_max = 5;
  /// Events delivered and not acknowledged, or waiting to be delivered again, at most; 1 or more. No more are asked for
  /// meanwhile.
  std::size_t unacknowledged_max = 10'000;
  /// Called in the stage's process for each dead letter; what it throws is logged. Empty: it is logged and dropped.
  std::move_only_function<void(DeadLetter<T>)> dead_letter = {};
};

/// What an Acknowledger has done so far: taken = acknowledged + dead + delivered + queued.
struct AckCounts {
  std::uint64_t taken = 0;
  std::uint64_t acknowledged = 0;
  std::uint64_t dead = 0;
  std::uint64_t redelivered = 0;  ///< deliveries beyond each event's first
  std::uint64_t unknown = 0;      ///< acknowledgements and rejections that came too late to matter
  std::uint64_t delivered = 0;    ///< now: with a consumer, not acknowledged
  std::uint64_t queued = 0;       ///< now: to be delivered, for the first time or again
};

template <class T>
class Acknowledger;

/// An event that wants to be acknowledged.
///
/// Semantics: `ack` and `reject` may be called from any process or thread. An `ack` counts even when the event has been
///            delivered again meanwhile, a `reject` only for its own delivery.
template <class T>
struct Acknowledged {
  T event;
  std::uint64_t token;       ///< the same for all deliveries of one event; rises with the order of arrival
  std::uint32_t deliveries;  ///< 1 for the first
  Pid stage;

  /// It is done; it is not delivered any more.
  void ack() const;
  /// It cannot be done by this consumer now: it is delivered again, to whoever has asked for most.
  void reject() const;
};

/// Acknowledges a whole batch with one message.
template <class T>
void acknowledge(const Batch<Acknowledged<T>>& events);

/// A stage that passes events on and delivers again what its consumers do not acknowledge: at least once.
///
/// Semantics: a consumer is a `Consumer<C, Acknowledged<T>>` and calls `ack` for each event when it is done with it. An
///            event is delivered again when its consumer's subscription ends, when ack_timeout has passed, or when it
///            is rejected; before any event that came after it. After deliveries_max deliveries it is a dead letter.
///            Each event goes to one consumer, by the demand dispatcher. Producers are asked for what consumers have
///            asked for. The end of a subscription to a producer takes effect when everything that was taken is
///            acknowledged or dead. Events are kept in memory: this stage's own end loses what is open.
/// Threads:   as GenServer.
/// Errors:    options out of range make `start` fail with `exited` and a reason that names the field.
/// Bounds:    unacknowledged_max events, per producer. Every event is copied once per delivery.
template <class T>
class Acknowledger final : public detail::RelayStage<Acknowledger<T>, T, Acknowledged<T>> {
  static_assert(std::is_copy_constructible_v<T>, "an event that may be delivered again is copied");
  using Base = detail::RelayStage<Acknowledger<T>, T, Acknowledged<T>>;

 public:
  struct Ack {
    std::uint64_t token;
  };
  struct AckAll {
    std::vector<std::uint64_t> tokens;
  };
  struct Reject {
    std::uint64_t token;
    std::uint32_t deliveries;
  };
  struct Counts {
    using Reply = AckCounts;
  };
  struct Overdue {};

  explicit Acknowledger(AckOptions<T> options = {})
      : Base(std::make_unique<detail::AckDispatcher<Acknowledged<T>>>(*this)), options_(std::move(options)) {}

  InitResult init() {
    if (options_.ack_timeout < Duration::zero()) return refuse("ack_timeout must not be negative");
    if (options_.deliveries_max == 0) return refuse("deliveries_max must be 1 or more");
    if (options_.unacknowledged_max == 0) return refuse("unacknowledged_max must be 1 or more");
    return InitResult::ok();
  }

  void handle_cast(Ack ack) { settle_one(ack.token); }
  void handle_cast(AckAll&& ack) {
    for (const std::uint64_t token : ack.tokens) settle_one(token);
  }
  void handle_cast(Reject reject) {
    const auto place = find(reject.token, reject.deliveries);
    if (place == open_.end()) {
      ++counts_.unknown;
      return;
    }
    fail(place, AckFailure::rejected);
    on_dispatchable();
  }
  AckCounts handle_call(Counts /*call*/) {
    AckCounts counts = counts_;
    counts.queued = queue_.size();
    counts.delivered = open_.size() - queue_.size();
    return counts;
  }
  void handle_info(Overdue /*own*/) {
    waking_ = false;
    const SteadyTime now = this_process::runtime().clock().steady_now();
    while (!deadlines_.empty() && deadlines_.front().due <= now) {
      const Deadline deadline = deadlines_.front();
      deadlines_.pop_front();
      const auto place = find(deadline.token, deadline.deliveries);
      if (place != open_.end()) fail(place, AckFailure::late);
    }
    on_dispatchable();
  }

  // For the stage's base and its dispatcher.
  [[nodiscard]] bool passed_on() const noexcept { return open_.empty(); }
  void take(Batch<T> events) {
    counts_.taken += events.size();
    for (T& event : events.take_events()) {
      queue_.insert(next_token_);
      open_.emplace(next_token_++, Open{std::move(event), std::nullopt, 0});
    }
    Base::show_kept(open_.size());
    on_dispatchable();
  }
  void on_upstream_end(detail::RelayEnd end) {
    ends_.push_back(std::move(end));
    end_when_done();
  }
  void on_dispatchable() {
    give();
    const std::uint64_t wanted = Base::wanted();
    const std::uint64_t room = options_.unacknowledged_max - std::min(open_.size(), options_.unacknowledged_max);
    if (const std::uint64_t more = std::min<std::uint64_t>(wanted, room); more != 0) Base::ask_each(more);
    wake_for_deadline();
  }
  void on_delivered(SubscriptionId holder, const Batch<Acknowledged<T>>& events) {
    const SteadyTime due = this_process::runtime().clock().steady_now() + options_.ack_timeout;
    for (const Acknowledged<T>& event : events) {
      open_.find(event.token)->second.holder = holder;
      if (options_.ack_timeout > Duration::zero()) deadlines_.push_back(Deadline{due, event.token, event.deliveries});
    }
  }
  void on_holder_left(SubscriptionId holder) {
    for (auto place = open_.begin(); place != open_.end();) {
      const auto next = std::next(place);
      if (place->second.holder == holder) fail(place, AckFailure::consumer_left);
      place = next;
    }
  }

 private:
  /// An event that was taken and is neither acknowledged nor dead.
  struct Open {
    T event;
    std::optional<SubscriptionId> holder;  // who has it; nobody: it is in the queue
    std::uint32_t deliveries;
  };
  using OpenEvents = std::map<std::uint64_t, Open>;
  struct Deadline {
    SteadyTime due;
    std::uint64_t token;
    std::uint32_t deliveries;  // tells which delivery is meant
  };
  static constexpr std::size_t batch_max = 1024;

  static InitResult refuse(const char* why) {
    return InitResult::stop(ExitReason::custom(concat("acknowledger: ", why)));
  }

  /// Emits what is queued, oldest first, as far as it leaves at once.
  void give() {
    while (!queue_.empty()) {
      const std::size_t count = std::min({queue_.size(), batch_max, static_cast<std::size_t>(Base::dispatchable())});
      if (count == 0) return;
      BatchBuilder<Acknowledged<T>> batch(count);
      for (std::size_t index = 0; index < count; ++index) {
        const std::uint64_t token = *queue_.begin();
        queue_.erase(queue_.begin());
        Open& open = open_.find(token)->second;
        if (++open.deliveries > 1) ++counts_.redelivered;
        batch.emplace(Acknowledged<T>{open.event, token, open.deliveries, this_process::pid()});
      }
      Base::emit(batch.build());
    }
  }

  void settle_one(std::uint64_t token) {
    const auto place = open_.find(token);
    if (place == open_.end()) {
      ++counts_.unknown;
      return;
    }
    // Also when it waits to be delivered again: it is done.
    queue_.erase(token);
    open_.erase(place);
    ++counts_.acknowledged;
    if (Base::wanted() != 0) on_dispatchable();
    end_when_done();
  }

  /// A delivery came to nothing.
  void fail(typename OpenEvents::iterator place, AckFailure failure) {
    Open& open = place->second;
    open.holder.reset();
    if (open.deliveries < options_.deliveries_max) {
      queue_.insert(place->first);
      return;
    }
    DeadLetter<T> letter{std::move(open.event), open.deliveries, failure};
    open_.erase(place);
    ++counts_.dead;
    if (options_.dead_letter) {
      try {
        options_.dead_letter(std::move(letter));
      } catch (...) {
        detail::warn_dead_letter(true);
      }
    } else {
      detail::warn_dead_letter(false);
    }
    end_when_done();
  }

  /// The event, if that delivery of it is the one somebody has.
  [[nodiscard]] typename OpenEvents::iterator find(std::uint64_t token, std::uint32_t deliveries) {
    const auto place = open_.find(token);
    const bool meant = place != open_.end() && place->second.holder && place->second.deliveries == deliveries;
    return meant ? place : open_.end();
  }

  void wake_for_deadline() {
    while (!deadlines_.empty() && find(deadlines_.front().token, deadlines_.front().deliveries) == open_.end()) {
      deadlines_.pop_front();
    }
    if (deadlines_.empty() || std::exchange(waking_, true)) return;
    Base::send_after(deadlines_.front().due - this_process::runtime().clock().steady_now(), Overdue{});
  }

  void end_when_done() {
    Base::drain_later();
    Base::show_kept(open_.size());
    while (open_.empty() && !ends_.empty()) {
      const detail::RelayEnd end = std::move(ends_.front());
      ends_.pop_front();
      Base::finish(end);
    }
  }

  AckOptions<T> options_;
  OpenEvents open_;
  std::set<std::uint64_t> queue_;  // tokens of open events that nobody has; the oldest first
  std::deque<Deadline> deadlines_;
  std::deque<detail::RelayEnd> ends_;
  std::uint64_t next_token_ = 1;
  AckCounts counts_;
  bool waking_ = false;
};

template <class T>
void Acknowledged<T>::ack() const {
  ServerRef<Acknowledger<T>>(stage).cast(typename Acknowledger<T>::Ack{token});
}
template <class T>
void Acknowledged<T>::reject() const {
  ServerRef<Acknowledger<T>>(stage).cast(typename Acknowledger<T>::Reject{token, deliveries});
}
template <class T>
void acknowledge(const Batch<Acknowledged<T>>& events) {
  if (events.empty()) return;
  std::vector<std::uint64_t> tokens;
  tokens.reserve(events.size());
  for (const Acknowledged<T>& event : events) tokens.push_back(event.token);
  ServerRef<Acknowledger<T>>(events.front().stage).cast(typename Acknowledger<T>::AckAll{std::move(tokens)});
}

}  // namespace dagverk
