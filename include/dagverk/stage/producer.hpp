#pragma once

#include "dagverk/runtime/gen_server.hpp"
#include "dagverk/stage/detail/producer_side.hpp"
#include "dagverk/stage/dispatchers/broadcast.hpp"
#include "dagverk/stage/dispatchers/demand.hpp"

#include <memory>
#include <utility>

namespace dagverk {

/// A server that emits events of type `Out` to those who asked for them.
///
/// Semantics: GenStage's producer, typed. `class Counter : public Producer<Counter, int>` has, beside everything a
///            GenServer may have (each callback may emit), all optional and public:
///              `handle_demand(std::uint64_t n)`  n more events are wanted (never 0; void or Async<void>). Asked once:
///                                                what is not emitted now is owed;
///              `handle_subscribe(const SubscriptionInfo&[, const SubscribeOptions<Out>&])`
///              `handle_cancel(const SubscriptionInfo&, const SubscriptionEnd&)`  a subscription is over;
///              `bool handle_discarded(std::uint64_t n)`  the buffer gave up n events; false: do not log it.
///            `emit(batch)` sends at once; events of `emit(event)` leave as one batch when the process leaves its
///            thread, at latest after 512 messages or 1024 events, and before any answer to a call. More or less than
///            what was asked may be emitted, at any time: what nobody has asked for is buffered. What a callback
///            emitted before it threw is delivered.
///            Differences from GenStage: docs/reference/gen_stage.md.
/// Threads:   as GenServer. `ServerRef` of it converts to ProducerRef<Out>.
/// Bounds:    ProducerOptions::buffer_size events in the buffer; what it gives up is counted and reported.
template <class Derived, class Out>
class Producer : public GenServer<Derived>, public detail::ProducerSide<Derived, Out> {
  using Side = detail::ProducerSide<Derived, Out>;

 protected:
  /// With the demand dispatcher.
  explicit Producer(ProducerOptions options = {}) : Producer(demand_dispatcher<Out>(), options) {}
  explicit Producer(std::unique_ptr<Dispatcher<Out>> dispatcher, ProducerOptions options = {})
      : Side(std::move(dispatcher), options) {}

 private:
  void on_leave(detail::ProcessCore& /*core*/) final { Side::leave(); }
  void on_down(detail::ProcessCore& core, const Down& down) final {
    if (!Side::producer_saw_down(down)) GenServer<Derived>::on_down(core, down);
  }
};

}  // namespace dagverk
