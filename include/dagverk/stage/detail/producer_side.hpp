#pragma once

#include "dagverk/base/concat.hpp"
#include "dagverk/runtime/async.hpp"
#include "dagverk/runtime/this_process.hpp"
#include "dagverk/stage/detail/drain_state.hpp"
#include "dagverk/stage/detail/elastic_state.hpp"
#include "dagverk/stage/detail/event_buffer.hpp"
#include "dagverk/stage/detail/protocol.hpp"
#include "dagverk/stage/detail/stage_log.hpp"
#include "dagverk/stage/dispatcher.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

namespace dagverk::detail {

/// What every stage that produces has: subscriptions, a dispatcher, a buffer, and the debt to those who asked.
///
/// Invariants: while the buffer holds anything the dispatcher has no demand, between any two messages. `debt_` is what
///             was passed to handle_demand and not emitted since; it is raised to the dispatcher's demand, never above.
template <class Derived, class Out>
class ProducerSide {
 public:
  using Output = Out;

  ProducerSide(const ProducerSide&) = delete;
  ProducerSide& operator=(const ProducerSide&) = delete;

  /// Sends what was emitted before an answer is; for the runtime.
  void on_before_reply() { flush(); }
  /// Answers when nothing that was emitted waits here any more; see drain.hpp.
  void begin_drain(From<DrainCall> from) {
    drain_.waiting.push_back(std::move(from));
    drain_later();
  }

 protected:
  ProducerSide(std::unique_ptr<Dispatcher<Out>> dispatcher, ProducerOptions options)
      : dispatcher_(std::move(dispatcher)),
        buffer_(options.buffer_size, options.buffer_keep),
        core_(*current_process),
        edge_(make_buffer_edge(type_name<Derived>(), core_.pid())) {
    DAGVERK_ASSERT(dispatcher_ != nullptr);
    dispatcher_->count_drops_on(*edge_);
  }
  ~ProducerSide() = default;

  /// Emits one event. Those emitted by themselves while this process has its thread leave together, as one batch.
  void emit(Out event) {
    if (single_.empty()) begin_singles();
    single_.emplace(std::move(event));
    if (single_.size() >= singles_max) flush();
  }
  /// Emits a batch, at once, behind what was emitted before it.
  void emit(Batch<Out> events) {
    flush();
    place(std::move(events));
  }

  /// Events emitted that nobody has asked for yet.
  [[nodiscard]] std::size_t buffered_count() const noexcept { return buffer_.size() + single_.size(); }
  /// The dispatcher, as `D`, which it must be. Changing it is for `change_dispatcher`.
  template <class D>
  [[nodiscard]] const D& dispatcher() const noexcept {
    const auto* found = dynamic_cast<const D*>(dispatcher_.get());
    DAGVERK_ASSERT(found != nullptr);
    return *found;
  }
  /// Calls `change(D&)` for the dispatcher, which must be a `D`; what then can leave leaves. Returns what it returned.
  template <class D, class Change>
  auto change_dispatcher(Change&& change) {
    flush();
    auto* found = dynamic_cast<D*>(dispatcher_.get());
    DAGVERK_ASSERT(found != nullptr);
    if constexpr (std::is_void_v<std::invoke_result_t<Change&, D&>>) {
      change(*found);
      settle();
    } else {
      auto result = change(*found);
      settle();
      return result;
    }
  }
  /// What was asked by handle_demand and not emitted since.
  [[nodiscard]] std::uint64_t open_demand() const noexcept {
    return debt_ - std::min<std::uint64_t>(debt_, single_.size());
  }
  [[nodiscard]] std::size_t consumer_count() const noexcept { return outlets_.size(); }
  /// How many more events would go to consumers at once if they were emitted now: what they wait for, and without a
  /// limit while there are only elastic ones.
  [[nodiscard]] std::uint64_t dispatchable() const noexcept {
    return buffer_.empty() ? beyond_singles(dispatcher_->room()) : 0;
  }
  /// How many more events consumers wait for.
  [[nodiscard]] std::uint64_t wanted() const noexcept {
    return buffer_.empty() ? beyond_singles(dispatcher_->demand()) : 0;
  }

  /// Ends one of this producer's subscriptions: the consumer is told `reason`, then handle_cancel is called here.
  void cancel_consumer(SubscriptionId id, ExitReason reason) {
    flush();
    end(id, SubscriptionEnd{false, std::move(reason)}, true, false);
    settle();
  }

  /// True once this stage is being drained: what it could still make, it should not.
  [[nodiscard]] bool halted() const noexcept { return drain_.halted; }

  /// The process leaves its thread: singles go, and who drains this stage hears when that was the last.
  void leave() {
    flush();
    if (!drain_.wanted() || !drained()) return;
    drain_.answer();
    if (drain_.stops) this_process::stop();
  }
  /// Something has left, or been done with; somebody may be waiting for the last.
  void drain_later() noexcept {
    if (drain_.wanted()) core_.leave_wanted = true;
  }
  /// Ends this stage `normal` once everything it has emitted has been sent.
  void stop_when_drained() noexcept {
    drain_.stops = true;
    drain_later();
  }

  /// What was emitted by itself goes.
  void flush() {
    if (!single_.empty()) {
      singles_last_ = single_.size();
      place(single_.build());
    }
  }

  /// True when `down` was about a consumer.
  bool producer_saw_down(const Down& down) {
    for (const std::unique_ptr<Port>& port : outlets_) {
      if (port->monitor != down.ref) continue;
      flush();
      end(port->id(), SubscriptionEnd{true, down.reason}, false, false);
      settle();
      return true;
    }
    return false;
  }

  // What a ProducerConsumer builds on.
  [[nodiscard]] std::uint64_t debt() const noexcept { return debt_; }

  void on_stage_message(SubscribeMessage<Out>&& message) {
    flush();
    auto port = std::make_unique<Port>(*this, std::move(message));
    Port& added = *port;
    outlets_.push_back(std::move(port));
    if (Result<void> taken = admit(added); !taken) {
      warn_refused(type_name<Derived>(), taken.error().message());
      added.in_dispatcher = false;
      end(added.id(), SubscriptionEnd{false, ExitReason::custom(std::string(taken.error().message()))}, true,
          taken.error().code() == ErrorCode::already_exists);
      return;
    }
    added.monitor = this_process::monitor(added.consumer());
    if constexpr (requires(Derived& stage, const SubscriptionInfo& info, const SubscribeOptions<Out>& options) {
                    stage.handle_subscribe(info, options);
                  }) {
      derived().handle_subscribe(added.info(), added.options());
    } else if constexpr (requires(Derived& stage, const SubscriptionInfo& info) { stage.handle_subscribe(info); }) {
      derived().handle_subscribe(added.info());
    }
    settle();
  }

  void on_stage_message(AskMessage&& message) {
    Port* port = find(message.id);
    if (port == nullptr || !port->in_dispatcher || message.count == 0) return;  // over, or about to be
    flush();
    if (port->elastic()) {
      port->overflow->asked(*port, message.count);
      serve_elastic(*port);
    } else {
      dispatcher_->ask(*port, message.count);
    }
    settle();
  }

  void on_stage_message(CancelMessage&& message) {
    flush();
    end(message.id, SubscriptionEnd{false, std::move(message.reason)}, true, false);
    settle();
  }

  void on_stage_message(SettleMessage&& /*message*/) {
    settle_queued_ = false;
    for (const std::unique_ptr<Port>& port : outlets_) {
      if (port->in_dispatcher && port->elastic()) serve_elastic(*port);
    }
    std::vector<std::pair<SubscriptionId, ExitReason>> failed = std::exchange(failed_, {});
    for (auto& [id, reason] : failed) end(id, SubscriptionEnd{false, std::move(reason)}, true, false);
    settle();
  }

  void on_stage_message(HaltCast&& /*message*/) {
    if (std::exchange(drain_.halted, true)) return;
    if constexpr (requires(Derived& stage) { stage.handle_drain(); }) derived().handle_drain();
  }

  auto on_stage_message(DemandMessage&& message) { return derived().handle_demand(message.count); }

 private:
  friend struct StageAccess;
  static constexpr std::size_t singles_max = 1024;

  /// One subscription.
  struct Port final : Outlet<Out> {
    Port(ProducerSide& side, SubscribeMessage<Out>&& message)
        : Outlet<Out>(message.id, message.consumer, std::move(message.options)),
          owner(side),
          events_ops(*message.consumer_ops->events),
          ended_ops(*message.consumer_ops->ended),
          edge(std::move(message.edge)) {}

    [[nodiscard]] SubscriptionInfo info() const noexcept { return {this->id(), this->consumer(), StageSide::consumer}; }

    [[nodiscard]] std::uint64_t open_demand() const noexcept override { return overflow ? overflow->open : 0; }
    void deliver(Batch<Out> events) override {
      if (events.empty()) return;
      add_to(edge->sent, events.size());
      if (overflow) {
        overflow->deliver(*this, std::move(events));
      } else {
        post(std::move(events));
      }
    }
    void post(Batch<Out> events) {
      static_cast<void>(send(this->consumer(), make_node<EventsMessage<Out>>(
                                                   events_ops, EventsMessage<Out>{this->id(), std::move(events)})));
    }
    void settle_later() { owner.settle_later(); }
    void fail(ExitReason reason) override {
      in_dispatcher = false;
      owner.failed_.emplace_back(this->id(), std::move(reason));
      owner.settle_later();
    }

    ProducerSide& owner;
    const NodeOps& events_ops;
    const NodeOps& ended_ops;
    std::shared_ptr<EdgeCounters> edge;  // shared with the consumer's side and with snapshots; ends with the last
    std::unique_ptr<ElasticState<Port, Out>> overflow;  // null: back-pressure
    MonitorRef monitor;
    bool in_dispatcher = true;
  };

  [[nodiscard]] Derived& derived() noexcept { return static_cast<Derived&>(*this); }

  [[nodiscard]] Port* find(SubscriptionId id) noexcept {
    for (const std::unique_ptr<Port>& port : outlets_) {
      if (port->id() == id) return port.get();
    }
    return nullptr;
  }

  /// Makes the subscription's overflow queue and lets the dispatcher have it.
  [[nodiscard]] Result<void> admit(Port& port) {
    if (port.elastic()) {
      Result<std::unique_ptr<OverflowQueue<Out>>> queue = make_queue(port.options().overflow);
      if (!queue) return queue.error();
      port.overflow = std::make_unique<ElasticState<Port, Out>>(std::move(*queue));
    }
    Result<void> taken = dispatcher_->subscribe(port);
    if (taken && port.elastic()) ++elastic_count_;
    return taken;
  }
  [[nodiscard]] Result<std::unique_ptr<OverflowQueue<Out>>> make_queue(const Overflow<Out>& rule) {
    try {
      return rule.make(core_.runtime->clock());
    } catch (...) {
      return Error(ErrorCode::configuration, concat(rule.name(), ": ", reason_of_thrown().to_string()));
    }
  }

  /// What an elastic subscription asks of the dispatcher: what its queue could not give, again for what its rule
  /// dropped. Or ends it, when its rule has failed.
  void serve_elastic(Port& port) {
    ElasticState<Port, Out>& state = *port.overflow;
    if (state.failed) {
      if (std::exchange(state.failure_told, true)) return;
      failed_.emplace_back(port.id(), *state.failed);
      settle_later();
      return;
    }
    const std::uint64_t more = state.open - std::min(state.open, state.granted);
    if (more == 0) return;
    state.granted = state.open;
    dispatcher_->ask(port, more);
  }

  [[nodiscard]] std::uint64_t beyond_singles(std::uint64_t count) const noexcept {
    return count - std::min<std::uint64_t>(count, single_.size());
  }
  void begin_singles() {
    core_.leave_wanted = true;
    // About as many as last time, but no more than messages wait to be handled now: a buffered event must not pin
    // memory for hundreds.
    const std::size_t waiting = core_.pending_count.load(std::memory_order_relaxed) + 1;
    single_.reserve(std::max<std::size_t>(1, std::min({singles_last_, waiting, singles_max})));
  }

  /// New events: to the dispatcher when nothing older waits, else behind the others.
  void place(Batch<Out> events) {
    if (events.empty()) return;
    debt_ -= std::min<std::uint64_t>(debt_, events.size());
    add_to(edge_->sent, events.size());
    if (elastic_count_ != 0) {
      if (!buffer_.empty()) serve_buffer();  // older events first, to one that has just come, too
      dispatcher_->announce(events);
    }
    if (buffer_.empty() && dispatcher_->room() != 0) dispatch(events);
    if (!events.empty()) store(std::move(events));
    drain_later();
    // Only what a selector rejected leaves demand behind an emission; asking for it here could go on for ever.
    if (dispatcher_->demand() > debt_) settle_later();
  }

  /// As the dispatcher's, counted: what it took and neither keeps nor dropped was delivered.
  void dispatch(Batch<Out>& events) {
    const std::size_t size = events.size();
    const std::uint64_t kept = dispatcher_->queued();
    const std::uint64_t dropped = edge_->dropped.load(std::memory_order_relaxed);
    dispatcher_->dispatch(events);
    const std::uint64_t lost = edge_->dropped.load(std::memory_order_relaxed) - dropped;
    add_to(edge_->delivered, size - events.size() + kept - dispatcher_->queued() - lost);
  }

  /// Nothing that was taken or emitted waits in this stage.
  [[nodiscard]] bool drained() const noexcept {
    if (!buffer_.empty() || dispatcher_->queued() != 0) return false;
    if constexpr (requires(const Derived& stage) { stage.passed_on(); }) {
      if (!static_cast<const Derived&>(*this).passed_on()) return false;
    }
    return elastic_count_ == 0 || std::ranges::all_of(outlets_, [](const std::unique_ptr<Port>& port) {
             return port->overflow == nullptr || port->overflow->queue->size() == 0;
           });
  }

  void store(Batch<Out> events) {
    const std::size_t dropped = buffer_.store(std::move(events));
    if (dropped == 0) return;
    edge_->count_drop(DropReason::buffer_full, dropped);
    dispatcher_->left_over_changed();
    if (dispatcher_->room() != 0) settle_later();
    if constexpr (requires(Derived& stage) { stage.handle_discarded(std::uint64_t{}); }) {
      if (!derived().handle_discarded(dropped)) return;
    }
    warn_discarded(type_name<Derived>(), dropped);
  }

  void serve_buffer() {
    while (!buffer_.empty()) {
      const std::uint64_t room = dispatcher_->room();
      if (room == 0) break;
      Batch<Out> events = buffer_.take(static_cast<std::size_t>(room));
      dispatch(events);
      if (events.empty()) continue;
      buffer_.put_back(std::move(events));
      break;
    }
  }

  /// Serves the buffer, then passes up what is asked beyond it.
  void settle() {
    serve_buffer();
    drain_later();
    if (in_demand_ || !buffer_.empty()) return;
    const std::uint64_t demand = dispatcher_->demand();
    if (demand > debt_) {
      const std::uint64_t more = demand - debt_;
      debt_ = demand;
      add_to(edge_->asked, more);
      pass_up(more);
    }
    // For stages that keep events of their own and give them when they leave at once. It hears of demand that answers
    // a debt, too: that of a consumer which has left.
    if constexpr (requires(Derived& stage) { stage.on_dispatchable(); }) {
      if (dispatcher_->room() == 0) return;
      in_demand_ = true;
      derived().on_dispatchable();
      in_demand_ = false;
    }
  }

  void pass_up(std::uint64_t count) {
    if constexpr (requires(Derived& stage) { stage.on_out_demand(count); }) {
      derived().on_out_demand(count);
    } else if constexpr (requires(Derived& stage) { stage.handle_demand(count); }) {
      if (drain_.halted) return;
      if constexpr (is_async<decltype(derived().handle_demand(count))>) {
        push_front(make_node<DemandMessage>(stage_node_ops<Derived, DemandMessage>, DemandMessage{count}));
      } else {
        in_demand_ = true;
        derived().handle_demand(count);
        in_demand_ = false;
      }
    }
  }

  void settle_later() {
    if (std::exchange(settle_queued_, true)) return;
    send_to_stage<Derived>(core_.pid(), SettleMessage{});
  }

  /// Forgets a subscription, on the consumer's side too, and calls handle_cancel.
  void end(SubscriptionId id, const SubscriptionEnd& why, bool tell, bool harmless) {
    const auto place =
        std::ranges::find_if(outlets_, [&](const std::unique_ptr<Port>& port) { return port->id() == id; });
    if (place == outlets_.end()) return;
    const std::unique_ptr<Port> port = std::move(*place);
    outlets_.erase(place);
    if (port->in_dispatcher) dispatcher_->cancel(*port);
    if (port->overflow) {
      if (port->monitor.id != 0) --elastic_count_;
      if (!why.down) {  // what is on its way still comes; what waits here does not
        const std::uint64_t dropped = port->edge->dropped.load(std::memory_order_relaxed);
        port->edge->count_drop(DropReason::consumer_down,
                               port->edge->sent.load(std::memory_order_relaxed) - dropped - port->overflow->posted);
      }
    }
    if (port->monitor.id != 0 && !why.down) this_process::demonitor(port->monitor);
    if (why.down) {
      const std::uint64_t settled =
          port->edge->delivered.load(std::memory_order_relaxed) + port->edge->dropped.load(std::memory_order_relaxed);
      port->edge->count_drop(DropReason::consumer_down, port->edge->sent.load(std::memory_order_relaxed) - settled);
    }
    if (tell) {
      static_cast<void>(
          send(port->consumer(), make_node<EndedMessage>(port->ended_ops, EndedMessage{id, why.reason, harmless})));
    }
    if constexpr (requires(Derived& stage, const SubscriptionInfo& info) { stage.handle_cancel(info, why); }) {
      derived().handle_cancel(port->info(), why);
    }
  }

  std::unique_ptr<Dispatcher<Out>> dispatcher_;
  std::vector<std::unique_ptr<Port>> outlets_;
  BatchBuilder<Out> single_;  // emitted one by one since the last flush
  std::size_t singles_last_ = 1;
  std::uint64_t debt_ = 0;
  EventBuffer<Out> buffer_;
  ProcessCore& core_;
  std::shared_ptr<EdgeCounters> edge_;  // of the buffer; shared with snapshots
  std::vector<std::pair<SubscriptionId, ExitReason>> failed_;
  std::size_t elastic_count_ = 0;
  DrainState drain_;
  bool settle_queued_ = false;
  bool in_demand_ = false;
};

}  // namespace dagverk::detail
