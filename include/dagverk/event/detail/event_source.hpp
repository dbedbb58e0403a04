#pragma once

#include "dagverk/event/event_handler.hpp"
#include "dagverk/runtime/this_process.hpp"
#include "dagverk/stage/producer.hpp"

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace dagverk::detail {

/// The stage that a stream of a manager's events is read from: what its handler brings goes on as it is asked for.
///
/// Semantics: owns the handler, so that both go together, and ends with its last consumer. When the manager or the
///            handler ends orderly, it goes on until everything that it was brought has been sent, and ends `normal`;
///            otherwise it ends at once, with that reason.
/// Threads:   a GenServer; watches the manager's process.
/// Bounds:    one batch of the handler's; what its subscription's overflow rule keeps.
template <class E>
class EventSource final : public Producer<EventSource<E>, E> {
  using Base = Producer<EventSource<E>, E>;

 public:
  /// Answered when all of `events` have been sent, or are its subscription's rule's.
  struct Offer {
    using Reply = void;
    Batch<E> events;
  };
  struct Push {
    Batch<E> events;
  };

  /// `sheds`: its subscription has an overflow rule, which takes everything at once.
  EventSource(Pid manager, bool sheds) : manager_(this_process::monitor(manager)), sheds_(sheds) {}

  void handle_cast(Push push) { Base::emit(std::move(push.events)); }
  void handle_call(Offer offer, From<Offer> from) {
    offered_ = std::move(offer.events);
    from_ = std::move(from);
    serve();
  }
  void handle_demand(std::uint64_t /*count*/) { serve(); }

  void handle_info(const Down& down) {
    if (down.ref == manager_) end(down.reason);
  }
  void handle_info(const HandlerGone& gone) {
    const bool replaced = gone.reason == ExitReason::custom("swapped");
    end(replaced ? ExitReason::normal : gone.reason);
  }
  void handle_cancel(const SubscriptionInfo& /*info*/, const SubscriptionEnd& /*why*/) {
    if (Base::consumer_count() == 0) this_process::stop();
  }

 private:
  void serve() {
    if (!from_) return;
    const std::uint64_t room = sheds_ ? offered_.size() : std::min<std::uint64_t>(Base::wanted(), offered_.size());
    if (room != 0) Base::emit(offered_.split_front(static_cast<std::size_t>(room)));
    if (offered_.empty()) std::exchange(from_, {}).reply({});
  }
  void end(const ExitReason& reason) {
    if (reason.normal_ish()) {
      Base::stop_when_drained();
    } else {
      this_process::stop(reason);
    }
  }

  MonitorRef manager_;
  bool sheds_;
  Batch<E> offered_;  // and not sent yet
  From<Offer> from_;
};

/// The handler that brings a manager's events to a stream.
///
/// Semantics: without `sheds` it has an event in hand until the stream has asked for it, so that its own rule holds.
/// Bounds:    with `sheds`, as many events as `unanswered_max` are on their way.
template <class E>
class EventFeed final : public EventHandler<E> {
 public:
  EventFeed(ServerRef<EventSource<E>> source, bool sheds) : source_(source), sheds_(sheds) {}

  Async<void> handle_batch(std::span<const E> events) {
    Batch<E> batch = make_batch(events);
    unanswered_ += batch.size();
    if (sheds_ && unanswered_ < unanswered_max) {
      source_.cast(typename EventSource<E>::Push{std::move(batch)});
      co_return;
    }
    unanswered_ = 0;
    Result<void> taken =
        co_await source_.template call_within<typename EventSource<E>::Offer>(Duration::zero(), std::move(batch));
    if (!taken) this->leave();  // the stream is over
  }

 private:
  static constexpr std::size_t unanswered_max = 256;

  ServerRef<EventSource<E>> source_;
  bool sheds_;
  std::size_t unanswered_ = 0;
};

}  // namespace dagverk::detail
