#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/runtime/snapshot.hpp"
#include "dagverk/stage/batch.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace dagverk {

/// Back-pressure, the default of stages: nothing is sent that was not asked for, and nothing is dropped. Those who wait
/// share one bounded buffer (the producer's, or an event manager's) and advance at the speed of the slowest.
struct WaitWhenFull {
  friend bool operator==(const WaitWhenFull&, const WaitWhenFull&) noexcept = default;
};

/// The newest `events_max` events that were not asked for yet wait, older ones are dropped, counted. 1 or more; with 1
/// the newest event waits while others are handled.
struct KeepNewest {
  std::size_t events_max;
  friend bool operator==(const KeepNewest&, const KeepNewest&) noexcept = default;
};

/// The oldest `events_max` events that were not asked for yet wait, newer ones are dropped, counted. 1 or more.
struct KeepOldest {
  std::size_t events_max;
  friend bool operator==(const KeepOldest&, const KeepOldest&) noexcept = default;
};

/// Only some events are for this consumer at all; the others are dropped, counted as `sampled`.
struct Sample {
  /// One of this many, the first being the first to come; 1: all. 1 or more.
  std::uint64_t every = 1;
  /// Of what `every` leaves, at most one in each interval: the first. 0: no such limit.
  Duration interval{0};
  /// What of these was not asked for yet waits, the newest at most this many. 1 or more.
  std::size_t events_max = 1000;
  friend bool operator==(const Sample&, const Sample&) noexcept = default;
};

/// Where an overflow rule counts what it drops.
class DropCounter {
 public:
  explicit DropCounter(detail::EdgeCounters& edge) noexcept : edge_(edge) {}
  void add(DropReason reason, std::uint64_t count) { edge_.count_drop(reason, count); }

 private:
  detail::EdgeCounters& edge_;
};

/// What waits for one consumer: the running part of an overflow rule.
///
/// Semantics: `admit` sees every event once, in order; what it returns is sent, or pushed when the consumer has no open
///            demand. `take` gives events in the order in which they were pushed. Each event that was admitted or
///            pushed and will not be taken is counted, once.
/// Threads:   the producer's process alone.
/// Errors:    an exception ends the subscription with that error, and nothing else.
/// Bounds:    each rule's own; there is one for each.
template <class Event>
class OverflowQueue {
 public:
  OverflowQueue() = default;
  OverflowQueue(const OverflowQueue&) = delete;
  OverflowQueue& operator=(const OverflowQueue&) = delete;
  virtual ~OverflowQueue() = default;

  [[nodiscard]] virtual Batch<Event> admit(Batch<Event> events, DropCounter& /*drops*/) { return events; }
  virtual void push(Batch<Event> events, DropCounter& drops) = 0;
  /// At least one (unless a failure lost them all, counted) and at most `count` events off the front.
  [[nodiscard]] virtual Batch<Event> take(std::size_t count, DropCounter& drops) = 0;
  [[nodiscard]] virtual std::size_t size() const noexcept = 0;
};

/// One subscription's answer to events that come faster than its consumer takes them.
///
/// Semantics: any rule but `wait` makes a subscription *elastic*: it takes every event that its dispatcher has for it
///            when it is emitted, holds up nobody, and what its consumer has not asked for waits in a queue of its own.
///            Made from WaitWhenFull, KeepNewest, KeepOldest or Sample; by `coalesce` or `spill` (spill.hpp); or from a
///            function that makes a queue of one's own.
/// Threads:   a value; copies share the description.
/// Errors:    a bound of zero refuses the subscription, naming the rule.
template <class Event>
class Overflow {
 public:
  using Queue = OverflowQueue<Event>;
  using Make = std::function<Result<std::unique_ptr<Queue>>(const Clock&)>;

  Overflow() noexcept = default;
  Overflow(WaitWhenFull /*rule*/) noexcept {}  // NOLINT(google-explicit-constructor): the rules are its values
  Overflow(KeepNewest rule);                   // NOLINT(google-explicit-constructor)
  Overflow(KeepOldest rule);                   // NOLINT(google-explicit-constructor)
  Overflow(Sample rule)                        // NOLINT(google-explicit-constructor)
    requires std::copy_constructible<Event>;
  /// A rule of one's own. `make` runs in the producer's process, once for each subscription; an error refuses it.
  Overflow(std::string name, Make make) : rule_(std::make_shared<const Rule>(Rule{std::move(name), std::move(make)})) {}

  /// Copies of one description are equal, and so are all that wait.
  friend bool operator==(const Overflow&, const Overflow&) noexcept = default;

  [[nodiscard]] bool waits() const noexcept { return rule_ == nullptr; }
  /// `wait`, or the rule with its bounds: `keep_newest(100)`.
  [[nodiscard]] std::string_view name() const noexcept { return waits() ? std::string_view("wait") : rule_->name; }
  /// For the producer: a queue for one subscription; null with `wait`.
  [[nodiscard]] Result<std::unique_ptr<Queue>> make(const Clock& clock) const {
    if (waits()) return std::unique_ptr<Queue>();
    return rule_->make(clock);
  }

 private:
  struct Rule {
    std::string name;
    Make make;
  };
  std::shared_ptr<const Rule> rule_;  // shared by copies of the options; immutable
};

}  // namespace dagverk

#include "dagverk/stage/detail/overflow_queues.hpp"  // IWYU pragma: export
