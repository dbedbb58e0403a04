#pragma once

#include "dagverk/runtime/exit_reason.hpp"
#include "dagverk/stage/batch.hpp"
#include "dagverk/stage/options.hpp"
#include "dagverk/stage/subscription.hpp"

#include <cstdint>

namespace dagverk {

/// One subscription as its producer's dispatcher sees it.
///
/// Threads:  the producer's process alone.
/// Lifetime: from Dispatcher::subscribe until Dispatcher::cancel, or until the dispatcher lets go by `fail`.
template <class Event>
class Outlet {
 public:
  Outlet(const Outlet&) = delete;
  Outlet& operator=(const Outlet&) = delete;

  [[nodiscard]] SubscriptionId id() const noexcept { return id_; }
  [[nodiscard]] Pid consumer() const noexcept { return consumer_; }
  [[nodiscard]] const SubscribeOptions<Event>& options() const noexcept { return options_; }

  /// Sends `events` to the consumer as one message. An empty batch is not sent.
  virtual void deliver(Batch<Event> events) = 0;
  /// Ends this subscription, and no other, with `reason`. The dispatcher has let go of it: no `cancel` follows.
  virtual void fail(ExitReason reason) = 0;

  /// The dispatcher's own word about this subscription; nobody else reads it.
  std::uint64_t word = 0;

 protected:
  Outlet(SubscriptionId id, Pid consumer, SubscribeOptions<Event> options)
      : id_(id), consumer_(consumer), options_(std::move(options)) {}
  virtual ~Outlet() = default;

 private:
  SubscriptionId id_;
  Pid consumer_;
  SubscribeOptions<Event> options_;
};

/// Decides which consumers get which events: the one thing in which producers differ.
///
/// Semantics: the producer promises that every subscription is added by `subscribe` before it asks, that `cancel` is
///            called once at its end, that events come in emission order, and that events which were left over are
///            offered again before any newer one.
///            The dispatcher promises that no subscription is delivered more events than it asked for, that each
///            subscription gets its events in emission order, that `dispatch` takes events from the front only, that
///            after it took none `demand()` says 0, and that `demand()` never exceeds what `dispatch` would take.
///            From these follow the producer's own promises: per subscription, delivery order is emission order, and
///            what is buffered leaves as soon as it may.
/// Threads:   the producer's process alone.
/// Errors:    what a subscriber brought along (a selector) must not hurt others: catch what it throws and `fail` its
///            outlet. An exception out of a dispatcher ends the producer.
template <class Event>
class Dispatcher {
 public:
  Dispatcher() = default;
  Dispatcher(const Dispatcher&) = delete;
  Dispatcher& operator=(const Dispatcher&) = delete;
  virtual ~Dispatcher() = default;

  /// A new subscription, which has asked for nothing yet. An error refuses it: the consumer's subscription is cancelled
  /// with a reason of that message.
  [[nodiscard]] virtual Result<void> subscribe(Outlet<Event>& outlet) = 0;
  /// `outlet` may be sent `count` more events; `count` is at least 1.
  virtual void ask(Outlet<Event>& outlet, std::uint64_t count) = 0;
  /// The subscription is over.
  virtual void cancel(Outlet<Event>& outlet) = 0;
  /// How many events could be dispatched now. What exceeds the producer's debt is passed up to its handle_demand.
  [[nodiscard]] virtual std::uint64_t demand() const noexcept = 0;
  /// Delivers as many events from the front of `events` as may be delivered now, and leaves the rest in it.
  virtual void dispatch(Batch<Event>& events) = 0;
};

}  // namespace dagverk
