#pragma once

#include "dagverk/runtime/exit_reason.hpp"
#include "dagverk/runtime/snapshot.hpp"
#include "dagverk/stage/batch.hpp"
#include "dagverk/stage/detail/kept_options.hpp"
#include "dagverk/stage/options.hpp"
#include "dagverk/stage/subscription.hpp"

#include <cstdint>
#include <functional>
#include <utility>

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
  [[nodiscard]] const SubscribeOptions<Event>& options() const noexcept { return *options_; }

  /// True when this subscription has an overflow rule other than `wait`: it takes events beyond what its consumer asked
  /// for, so that a dispatcher need never hold back events for its sake.
  [[nodiscard]] bool elastic() const noexcept { return elastic_; }
  /// Of an elastic subscription: what its consumer has asked for and was not sent yet.
  [[nodiscard]] virtual std::uint64_t open_demand() const noexcept = 0;

  /// Sends `events` to the consumer as one message; of an elastic subscription, by its overflow rule. An empty batch is
  /// not sent. Only an elastic subscription may be sent more than it asked for.
  virtual void deliver(Batch<Event> events) = 0;
  /// Ends this subscription, and no other, with `reason`. The dispatcher has let go of it: no `cancel` follows.
  virtual void fail(ExitReason reason) = 0;

  /// The dispatcher's own word about this subscription; nobody else reads it.
  std::uint64_t word = 0;

 protected:
  Outlet(SubscriptionId id, Pid consumer, detail::KeptOptions<Event> options)
      : id_(id), consumer_(consumer), options_(std::move(options)), elastic_(!options_->overflow.waits()) {}
  virtual ~Outlet() = default;

  [[nodiscard]] const detail::KeptOptions<Event>& kept_options() const noexcept { return options_; }

 private:
  SubscriptionId id_;
  Pid consumer_;
  detail::KeptOptions<Event> options_;  // shared with other subscriptions of the producer that have the same; immutable
  bool elastic_;
};

/// Decides which consumers get which events: the one thing in which producers differ.
///
/// Semantics: the producer promises that every subscription is added by `subscribe` before it asks, that `cancel` is
///            called once at its end, that events come in emission order, that each batch is announced before any of it
///            is dispatched, and that events which were left over are offered again before any newer one.
///            The dispatcher promises that no subscription is delivered more events than it asked for unless it is
///            elastic, that each subscription gets its events in emission order, that `dispatch` takes events from the
///            front only, that after it left some `room()` says 0, and that it takes at least one while `room()` is
///            not 0.
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

  // Every dispatcher has these five.

  /// A new subscription, which has asked for nothing yet. An error refuses it: the consumer's subscription is cancelled
  /// with a reason of that message.
  [[nodiscard]] virtual Result<void> subscribe(Outlet<Event>& outlet) = 0;
  /// `outlet` may be sent `count` more events; `count` is at least 1.
  virtual void ask(Outlet<Event>& outlet, std::uint64_t count) = 0;
  /// The subscription is over.
  virtual void cancel(Outlet<Event>& outlet) = 0;
  /// How many events consumers wait for now. What exceeds the producer's debt is passed up to its handle_demand.
  [[nodiscard]] virtual std::uint64_t demand() const noexcept = 0;
  /// Delivers as many events from the front of `events` as may be delivered now, and leaves the rest in it.
  virtual void dispatch(Batch<Event>& events) = 0;

  // These are for dispatchers that give events to elastic subscriptions without being asked, or that keep events.

  /// How many events `dispatch` would take now, at least; 0 only when it would take none. A dispatcher with elastic
  /// subscriptions, or queues of its own, may take more than consumers wait for.
  [[nodiscard]] virtual std::uint64_t room() const noexcept { return demand(); }
  /// Events were emitted: each comes here once, in order, whether or not it can be dispatched already. Called only
  /// while there are elastic subscriptions.
  virtual void announce(const Batch<Event>& /*events*/) {}
  /// How many events it keeps that `dispatch` has taken and nobody was delivered.
  [[nodiscard]] virtual std::uint64_t queued() const noexcept { return 0; }
  /// What was left over is not the same any more: the full buffer gave up its oldest events.
  virtual void left_over_changed() {}
  /// Calls `arrived` when every event kept now has left, at once when none is kept. It may only send messages.
  virtual void after_queued(std::function<void()> arrived) {
    const std::function<void()> now = std::move(arrived);
    now();
  }

  /// For the producer: where `drop` counts.
  void count_drops_on(detail::EdgeCounters& edge) noexcept { edge_ = &edge; }

 protected:
  /// Counts events that `dispatch` took and that nobody will get.
  void drop(DropReason reason, std::uint64_t count) {
    if (edge_ != nullptr) edge_->count_drop(reason, count);
  }

 private:
  detail::EdgeCounters* edge_ = nullptr;
};

}  // namespace dagverk
