#pragma once

#include "dagverk/runtime/gen_server.hpp"
#include "dagverk/stage/detail/consumer_side.hpp"

#include <utility>

namespace dagverk {

/// A server that is sent events of type `In`, as many as it asked for.
///
/// Semantics: GenStage's consumer, typed. `class Sum : public Consumer<Sum, int>` has, beside everything a GenServer
///            may have, all public:
///              `handle_events(Batch<In>[, const SubscriptionInfo&])`  required; void, or Async<void>: the next batch
///                                                  waits until it is done;
///              `handle_subscribe(const SubscriptionInfo&[, const SubscribeOptions<In>&])`  void, or DemandMode;
///              `handle_cancel(const SubscriptionInfo&, const SubscriptionEnd&)`  a subscription is over; afterwards
///                                                  its CancelMode decides whether this stage ends.
///            `subscribe_to(producer, options)` subscribes, in `init` or any callback, to a ServerRef or, surviving
///            restarts if it is told to, a Name; `resubscribe_to` exchanges one subscription for another, `cancel`
///            and, on manual subscriptions, `ask` act on one. The subscription asks for max_demand, then, after each
///            handle_events with no more than min_demand still to come, for what is missing to max_demand. A message
///            is cut into batches of at most max_demand - min_demand.
///            Differences from GenStage: docs/reference/gen_stage.md.
/// Threads:   as GenServer.
/// Errors:    an exception out of handle_events ends this stage; what it had in hand and on its way is counted as
///            dropped on the edge.
/// Bounds:    at most max_demand events per subscription are on their way or in hand.
template <class Derived, class In>
class Consumer : public GenServer<Derived>, public detail::ConsumerSide<Derived, In> {
  using Side = detail::ConsumerSide<Derived, In>;

 protected:
  Consumer() = default;

 private:
  void on_down(detail::ProcessCore& core, const Down& down) final {
    if (!Side::consumer_saw_down(down)) GenServer<Derived>::on_down(core, down);
  }
};

/// Subscribes a running consumer, from outside of processes; `producer` may be a name. Errors: as
/// ConsumerSide::subscribe_to and call_blocking.
template <detail::ConsumingStage Stage>
[[nodiscard]] Result<SubscriptionId> subscribe_blocking(ServerRef<Stage> consumer,
                                                        ProducerRef<typename Stage::Input> producer,
                                                        SubscribeOptions<typename Stage::Input> options = {}) {
  using Call = detail::SubscribeCall<typename Stage::Input>;
  return detail::call_stage_blocking(consumer, Call{producer, std::move(options)});
}
template <detail::ConsumingStage Stage>
[[nodiscard]] Result<SubscriptionId> subscribe_blocking(ServerRef<Stage> consumer,
                                                        ProducerName<typename Stage::Input> producer,
                                                        SubscribeOptions<typename Stage::Input> options = {}) {
  using Call = detail::SubscribeCall<typename Stage::Input>;
  return detail::call_stage_blocking(consumer, Call{std::move(producer), std::move(options)});
}

/// As `subscribe_blocking`, inside a process: `co_await subscribe(consumer, producer, std::move(options))`.
template <detail::ConsumingStage Stage>
[[nodiscard]] auto subscribe(ServerRef<Stage> consumer, ProducerRef<typename Stage::Input> producer,
                             SubscribeOptions<typename Stage::Input>&& options) {
  using Call = detail::SubscribeCall<typename Stage::Input>;
  return detail::call_stage(consumer, Call{producer, std::move(options)});
}
template <detail::ConsumingStage Stage>
[[nodiscard]] auto subscribe(ServerRef<Stage> consumer, ProducerRef<typename Stage::Input> producer) {
  return subscribe(consumer, producer, SubscribeOptions<typename Stage::Input>());
}
template <detail::ConsumingStage Stage>
[[nodiscard]] auto subscribe(ServerRef<Stage> consumer, const ProducerName<typename Stage::Input>& producer,
                             SubscribeOptions<typename Stage::Input>&& options) {
  using Call = detail::SubscribeCall<typename Stage::Input>;
  return detail::call_stage(consumer, Call{producer, std::move(options)});
}

/// As `subscribe_blocking`, from anywhere, without waiting: an error is logged by the consumer.
template <detail::ConsumingStage Stage>
void async_subscribe(ServerRef<Stage> consumer, ProducerRef<typename Stage::Input> producer,
                     SubscribeOptions<typename Stage::Input> options = {}) {
  using Cast = detail::SubscribeCast<typename Stage::Input>;
  detail::send_to_stage<Stage>(consumer.pid(), Cast{{producer, std::move(options)}});
}
template <detail::ConsumingStage Stage>
void async_subscribe(ServerRef<Stage> consumer, ProducerName<typename Stage::Input> producer,
                     SubscribeOptions<typename Stage::Input> options = {}) {
  using Cast = detail::SubscribeCast<typename Stage::Input>;
  detail::send_to_stage<Stage>(consumer.pid(), Cast{{std::move(producer), std::move(options)}});
}

/// What a resubscription ends first, and why.
struct Resubscribe {
  SubscriptionId old;
  ExitReason reason = ExitReason::normal;
};

/// Ends one subscription of a running consumer and begins another, see ConsumerSide::resubscribe_to.
/// Errors: as subscribe_blocking; then the old subscription goes on.
template <detail::ConsumingStage Stage>
[[nodiscard]] Result<SubscriptionId> resubscribe_blocking(ServerRef<Stage> consumer, Resubscribe old,
                                                          ProducerRef<typename Stage::Input> producer,
                                                          SubscribeOptions<typename Stage::Input> options = {}) {
  using Call = detail::SubscribeCall<typename Stage::Input>;
  return detail::call_stage_blocking(consumer, Call{producer, std::move(options), old.old, std::move(old.reason)});
}
template <detail::ConsumingStage Stage>
[[nodiscard]] Result<SubscriptionId> resubscribe_blocking(ServerRef<Stage> consumer, Resubscribe old,
                                                          ProducerName<typename Stage::Input> producer,
                                                          SubscribeOptions<typename Stage::Input> options = {}) {
  using Call = detail::SubscribeCall<typename Stage::Input>;
  return detail::call_stage_blocking(consumer,
                                     Call{std::move(producer), std::move(options), old.old, std::move(old.reason)});
}
/// As `resubscribe_blocking`, inside a process.
template <detail::ConsumingStage Stage>
[[nodiscard]] auto resubscribe(ServerRef<Stage> consumer, const Resubscribe& old,
                               ProducerRef<typename Stage::Input> producer,
                               SubscribeOptions<typename Stage::Input>&& options) {
  using Call = detail::SubscribeCall<typename Stage::Input>;
  return detail::call_stage(consumer, Call{producer, std::move(options), old.old, old.reason});
}
template <detail::ConsumingStage Stage>
[[nodiscard]] auto resubscribe(ServerRef<Stage> consumer, const Resubscribe& old,
                               const ProducerName<typename Stage::Input>& producer,
                               SubscribeOptions<typename Stage::Input>&& options) {
  using Call = detail::SubscribeCall<typename Stage::Input>;
  return detail::call_stage(consumer, Call{producer, std::move(options), old.old, old.reason});
}
/// As `resubscribe_blocking`, from anywhere, without waiting: an error is logged by the consumer.
template <detail::ConsumingStage Stage>
void async_resubscribe(ServerRef<Stage> consumer, Resubscribe old, ProducerRef<typename Stage::Input> producer,
                       SubscribeOptions<typename Stage::Input> options = {}) {
  using Cast = detail::SubscribeCast<typename Stage::Input>;
  detail::send_to_stage<Stage>(consumer.pid(), Cast{{producer, std::move(options), old.old, std::move(old.reason)}});
}

template <detail::ConsumingStage Stage>
void async_resubscribe(ServerRef<Stage> consumer, Resubscribe old, ProducerName<typename Stage::Input> producer,
                       SubscribeOptions<typename Stage::Input> options = {}) {
  using Cast = detail::SubscribeCast<typename Stage::Input>;
  detail::send_to_stage<Stage>(consumer.pid(),
                               Cast{{std::move(producer), std::move(options), old.old, std::move(old.reason)}});
}

/// Asks a consumer to end one of its subscriptions, from anywhere. An unknown id does nothing.
template <detail::ConsumingStage Stage>
void cancel_subscription(ServerRef<Stage> consumer, SubscriptionId id, ExitReason reason = ExitReason::normal) {
  detail::send_to_stage<Stage>(consumer.pid(), detail::UnsubscribeCast{id, std::move(reason)});
}

}  // namespace dagverk
