#pragma once

#include "dagverk/base/concat.hpp"
#include "dagverk/runtime/async.hpp"
#include "dagverk/runtime/this_process.hpp"
#include "dagverk/stage/detail/drain_state.hpp"
#include "dagverk/stage/detail/elastic_state.hpp"
#include "dagverk/stage/detail/event_buffer.hpp"
#include "dagverk/stage/detail/held_work.hpp"
#include "dagverk/stage/detail/kept_options.hpp"
#include "dagverk/stage/detail/protocol.hpp"
#include "dagverk/stage/detail/stage_log.hpp"
#include "dagverk/stage/dispatcher.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <variant>
#include <vector>

namespace dagverk::detail {

/// What every stage that produces has: subscriptions, a dispatcher, a buffer, and the debt to those who asked.
///
/// Invariants: while the buffer holds anything the dispatcher has no demand, between any two messages, unless an info
///             is to be handled first. `debt_` is what was passed to handle_demand, or put off, and not placed since;
///             it is raised to the dispatcher's demand, never above. While anything is put off (`held_`), everything
///             new goes behind it.
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
    if (options.demand == DemandFlow::accumulate) set_demand(DemandFlow::accumulate);
  }
  ~ProducerSide() = default;

  /// Emits one event. Those emitted by themselves while this process has its thread leave together, as one batch.
  void emit(Out event) {
    if (single_.empty()) begin_singles();
    single_.emplace(std::move(event));
    if (single_.size() >= singles_size_) flush();
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
    const std::uint64_t put_off = held_ ? held_->demand() + held_->events() : 0;
    return debt_ - std::min<std::uint64_t>(debt_, single_.size() + put_off);
  }
  /// Whether demand and events go on, or are put off until they may.
  [[nodiscard]] DemandFlow demand_flow() const noexcept { return flow_; }
  /// From now on. With `forward` what was put off goes on first, in order, before the next message is handled: events
  /// as they were emitted, each demand by a handle_demand of its own. Nothing overtakes it.
  void set_demand(DemandFlow flow) {
    flow_ = flow;
    if (flow == DemandFlow::accumulate) {
      flush();
      if (!held_) held_ = std::make_unique<HeldWork<Out>>();
    } else if (held_) {
      push_front(make_node<ReplayMessage>(stage_node_ops<Derived, ReplayMessage>));
    }
  }
  [[nodiscard]] std::size_t consumer_count() const noexcept { return outlets_.size(); }
  /// How many more events would go to consumers at once if they were emitted now: what they wait for, and without a
  /// limit while there are only elastic ones.
  [[nodiscard]] std::uint64_t dispatchable() const noexcept {
    return goes_at_once() ? beyond_singles(dispatcher_->room()) : 0;
  }
  /// How many more events consumers wait for.
  [[nodiscard]] std::uint64_t wanted() const noexcept {
    return goes_at_once() ? beyond_singles(dispatcher_->demand()) : 0;
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
      if (monitor_of(port->id()) != down.ref) continue;
      flush();
      end(port->id(), SubscriptionEnd{true, down.reason}, false, false);
      settle();
      return true;
    }
    return false;
  }

  // What a ProducerConsumer builds on.
  [[nodiscard]] std::uint64_t debt() const noexcept { return debt_; }

  /// A message for handle_info: behind everything that was emitted before it.
  void queue_info(HeldNode info) {
    flush();
    if (held_) {
      held_->add_info(std::move(info));
    } else {
      place_info(std::move(info));
    }
  }

  void add_status(StageStatus& status) const {
    status.dispatcher = readable_name(typeid(*dispatcher_));
    for (const std::unique_ptr<Port>& port : outlets_) status.consumers.push_back(port->info());
    status.buffered = buffer_.size();
    status.accumulated = held_ ? held_->events() : 0;
    status.buffer_size = buffer_.limit();
    status.demand = flow_;
  }

  void on_stage_message(SetDemandCast&& message) { set_demand(message.flow); }
  DemandFlow on_stage_message(DemandFlowCall&& /*call*/) { return flow_; }
  std::size_t on_stage_message(BufferedCountCall&& /*call*/) {
    flush();
    return buffer_.size();
  }
  void on_stage_message(ReplayMessage&& /*message*/) { replay(); }

  void on_stage_message(SubscribeMessage<Out>&& message) {
    flush();
    if (find(message.id) != nullptr) {
      refuse(message, "duplicated_subscription");
      return;
    }
    if (!outlets_.empty() && same_options(*message.options, outlets_.back()->options())) {
      message.options = outlets_.back()->kept_options();
    }
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
    monitor_as(monitor_of(added.id()), added.consumer());
    added.admitted = true;
    if (added.options().unmerged) count_unmerged(1);
    if constexpr (requires(Derived& stage, const SubscriptionInfo& info, const SubscribeOptions<Out>& options) {
                    stage.handle_subscribe(info, options);
                  }) {
      check_subscribe_result<decltype(derived().handle_subscribe(added.info(), added.options()))>();
      derived().handle_subscribe(added.info(), added.options());
    } else if constexpr (requires(Derived& stage, const SubscriptionInfo& info) { stage.handle_subscribe(info); }) {
      check_subscribe_result<decltype(derived().handle_subscribe(added.info()))>();
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
    if (infos_first_) {
      next_info();
      return;
    }
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
          ops(*message.consumer_ops),
          edge(std::move(message.edge)) {}

    [[nodiscard]] SubscriptionInfo info() const noexcept { return {this->id(), this->consumer(), StageSide::consumer}; }

    [[nodiscard]] const KeptOptions<Out>& kept_options() const noexcept { return Outlet<Out>::kept_options(); }
    [[nodiscard]] std::uint64_t open_demand() const noexcept override { return overflow ? overflow->open : 0; }
    void deliver(Batch<Out> events) override {
      if (events.empty()) return;
      edge->note_sending(owner.core_.runtime->coarse_now_ms());
      add_to(edge->sent, events.size());
      if (overflow) {
        overflow->deliver(*this, std::move(events));
      } else {
        post(std::move(events));
      }
    }
    void post(Batch<Out> events) {
      static_cast<void>(send(this->consumer(), make_node<EventsMessage<Out>>(
                                                   *ops.events, EventsMessage<Out>{this->id(), std::move(events)})));
    }
    void settle_later() { owner.settle_later(); }
    void fail(ExitReason reason) override {
      in_dispatcher = false;
      owner.failed_.emplace_back(this->id(), std::move(reason));
      owner.settle_later();
    }

    bool in_dispatcher = true;
    bool admitted = false;  // the consumer is monitored, and counted
    ProducerSide& owner;
    const ConsumerOps& ops;
    SharedEdge edge;                                    // the consumer's side and snapshots hold it, too
    std::unique_ptr<ElasticState<Port, Out>> overflow;  // null: back-pressure
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

  [[nodiscard]] bool goes_at_once() const noexcept { return buffer_.empty() && !infos_first_ && !held_; }
  [[nodiscard]] std::uint64_t beyond_singles(std::uint64_t count) const noexcept {
    return count - std::min<std::uint64_t>(count, single_.size());
  }
  void begin_singles() {
    core_.leave_wanted = true;
    // About as many as last time, but no more than messages wait to be handled now: a buffered event must not pin
    // memory for hundreds.
    const std::size_t waiting = core_.pending_count.load(std::memory_order_relaxed) + 1;
    single_.reserve(std::max<std::size_t>(1, std::min({singles_last_, waiting, singles_size_})));
  }

  /// New events: to the dispatcher when nothing older waits, else behind the others.
  void place(Batch<Out> events) {
    if (events.empty()) return;
    add_to(edge_->sent, events.size());
    if (held_) [[unlikely]] {
      hold(std::move(events));
    } else {
      send_on(std::move(events));
    }
  }

  void send_on(Batch<Out> events) {
    debt_ -= std::min<std::uint64_t>(debt_, events.size());
    if (elastic_count_ != 0) {
      serve_buffer(true);  // older events first, to one that has just come, too
      dispatcher_->announce(events);
    }
    if (buffer_.empty() && !infos_first_ && dispatcher_->room() != 0) dispatcher_->dispatch(events);
    if (!events.empty()) store(std::move(events));
    count_delivered();
    note_waiting();
    drain_later();
    // Only what a selector rejected leaves demand behind an emission; asking for it here could go on for ever.
    if (dispatcher_->demand() > debt_) settle_later();
  }

  /// What was emitted and neither waits, here or in the dispatcher, nor was dropped was delivered. A dispatcher with
  /// queues delivers when it is asked, too.
  void count_delivered() noexcept {
    const std::uint64_t waits = buffer_.size() + dispatcher_->queued() + (held_ ? held_->events() : 0);
    const std::uint64_t gone =
        edge_->sent.load(std::memory_order_relaxed) - edge_->dropped.load(std::memory_order_relaxed) - waits;
    edge_->delivered.store(gone, std::memory_order_relaxed);
  }

  /// Puts events off, within the bound of the buffer.
  void hold(Batch<Out> events) {
    held_->add_events(std::move(events));
    const std::uint64_t room = std::min<std::uint64_t>(dispatcher_->demand(), ProducerOptions::unbounded / 2);
    const std::uint64_t limit = std::min<std::uint64_t>(buffer_.limit(), ProducerOptions::unbounded / 2) + room;
    give_up(held_->trim(static_cast<std::size_t>(limit), buffer_.keep()));
  }

  /// Lets what was put off go on, for as long as it may.
  void replay() {
    while (held_ && flow_ == DemandFlow::forward && !core_.stop_requested) {
      flush();  // what the last demand was answered with goes behind what is held
      std::optional<typename HeldWork<Out>::Item> item = held_->pop();
      if (!item) {
        held_.reset();
        settle();
        return;
      }
      if (auto* events = std::get_if<Batch<Out>>(&*item); events != nullptr) {
        send_on(std::move(*events));
      } else if (auto* demand = std::get_if<std::uint64_t>(&*item); demand != nullptr) {
        if constexpr (demand_is_later()) {
          push_front(make_node<ReplayMessage>(stage_node_ops<Derived, ReplayMessage>));
          pass_up(*demand);
          return;
        }
        pass_up(*demand);
      } else {
        const bool handled_next = buffer_.empty() && !infos_first_;
        if (handled_next) push_front(make_node<ReplayMessage>(stage_node_ops<Derived, ReplayMessage>));
        place_info(std::move(std::get<HeldNode>(*item)));
        if (handled_next) return;
      }
    }
  }

  /// Nothing that was taken or emitted waits in this stage.
  [[nodiscard]] bool drained() const noexcept {
    if (!buffer_.empty() || dispatcher_->queued() != 0 || (held_ && held_->events() != 0)) return false;
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
    dispatcher_->left_over_changed();
    if (dispatcher_->room() != 0) settle_later();
    if (buffer_.has_due()) let_infos_first();
    give_up(dropped);
  }

  /// Counts and reports events that found no room.
  void give_up(std::size_t dropped) {
    if (dropped == 0) return;
    edge_->count_drop(DropReason::buffer_full, dropped);
    if constexpr (requires(Derived& stage) { stage.handle_discarded(std::uint64_t{}); }) {
      if (!derived().handle_discarded(dropped)) return;
    }
    warn_discarded(type_name<Derived>(), dropped);
  }

  /// Gives what waits to those that want it, up to an info that is due, unless it is to go `through` them.
  void serve_buffer(bool through = false) {
    while (!buffer_.empty() && (through || !infos_first_)) {
      const std::uint64_t room = dispatcher_->room();
      if (room == 0) break;
      Batch<Out> events = buffer_.take(static_cast<std::size_t>(room));
      dispatcher_->dispatch(events);
      const bool stopped = !events.empty();
      buffer_.put_back(std::move(events));
      if (buffer_.has_due()) let_infos_first();
      if (stopped) break;
    }
  }

  /// Keeps account of how long events wait in the buffer, and for whom.
  void note_waiting() {
    const bool waits = !buffer_.empty();
    if (!waits && !noted_waiting_) return;
    const std::uint64_t now_ms = core_.runtime->coarse_now_ms();
    if (waits == noted_waiting_ && now_ms == noted_ms_) return;  // once for each step of the clock will do
    noted_waiting_ = waits;
    noted_ms_ = now_ms;
    edge_->note_blocked(waits, now_ms);
    for (const std::unique_ptr<Port>& port : outlets_) {
      EdgeCounters& edge = *port->edge;
      const bool asks = edge.asked.load(std::memory_order_relaxed) > edge.sent.load(std::memory_order_relaxed);
      edge.note_blocked(waits && !asks && !port->elastic(), now_ms);
    }
  }

  // ---- infos --------------------------------------------------------------------------------------------------------

  /// An info that no event of the buffer stands before any more.
  struct DueInfo {
    HeldNode info;
    bool left_dispatcher;  // nor one that the dispatcher keeps
  };

  /// Infos that are due are handled before anything else that this stage does with events: one by one, each before
  /// another settling.
  void let_infos_first() {
    while (std::optional<HeldNode> info = buffer_.take_due()) due_.push_back({std::move(*info), false});
    if (!std::exchange(infos_first_, true))
      push_front(make_node<SettleMessage>(stage_node_ops<Derived, SettleMessage>));
  }
  void next_info() {
    if (due_.empty()) {
      infos_first_ = false;
      settle();
      return;
    }
    push_front(make_node<SettleMessage>(stage_node_ops<Derived, SettleMessage>));
    DueInfo next = std::move(due_.front());
    due_.erase(due_.begin());
    if (next.left_dispatcher) {
      push_front(next.info.release());
    } else {
      deliver_info(std::move(next.info));
    }
  }
  /// Behind the events that are in the buffer now.
  void place_info(HeldNode info) {
    if (!buffer_.empty()) {
      buffer_.mark(std::move(info));
    } else if (infos_first_) {
      due_.push_back({std::move(info), false});
    } else {
      deliver_info(std::move(info));
    }
  }
  /// Next of all, or behind what the dispatcher keeps.
  void deliver_info(HeldNode info) {
    if (dispatcher_->queued() == 0) {
      push_front(info.release());
      return;
    }
    auto kept = std::make_shared<HeldNode>(std::move(info));  // owned by the function; shared as that must be copyable
    dispatcher_->after_queued([this, kept] {
      due_.push_back({std::move(*kept), true});
      let_infos_first();
    });
  }

  // ---- demand -------------------------------------------------------------------------------------------------------

  /// Serves the buffer, then passes up what is asked beyond it.
  void settle() {
    serve_buffer();
    count_delivered();
    note_waiting();
    drain_later();
    if (in_demand_ || infos_first_ || !buffer_.empty()) return;
    const std::uint64_t demand = dispatcher_->demand();
    if (demand > debt_) {
      const std::uint64_t more = demand - debt_;
      debt_ = demand;
      add_to(edge_->asked, more);
      if (held_) {
        held_->add_demand(more);
      } else {
        pass_up(more);
      }
    }
    // For stages that keep events of their own and give them when they leave at once. It hears of demand that answers
    // a debt, too: that of a consumer which has left.
    if constexpr (requires(Derived& stage) { stage.on_dispatchable(); }) {
      if (held_ || dispatcher_->room() == 0) return;
      in_demand_ = true;
      derived().on_dispatchable();
      in_demand_ = false;
    }
  }

  template <class Stage = Derived>
  static constexpr bool demand_is_later() {
    if constexpr (requires(Stage& stage) { stage.handle_demand(std::uint64_t{}); }) {
      return is_async<decltype(std::declval<Stage&>().handle_demand(std::uint64_t{}))>;
    } else {
      return false;
    }
  }

  /// Tells the stage: by handle_demand, and as a ProducerConsumer, which has input to answer with, too.
  void pass_up(std::uint64_t count) {
    if constexpr (demand_is_later()) pass_to_input(count);  // pushed to the front first, so handled second
    if constexpr (requires(Derived& stage) { stage.handle_demand(count); }) {
      if constexpr (demand_is_later()) {
        if (drain_.halted) return;
        push_front(make_node<DemandMessage>(stage_node_ops<Derived, DemandMessage>, DemandMessage{count}));
      } else if (!drain_.halted) {
        in_demand_ = true;
        derived().handle_demand(count);
        in_demand_ = false;
      }
    }
    if constexpr (!demand_is_later()) pass_to_input(count);
  }
  void pass_to_input(std::uint64_t count) {
    if constexpr (requires(Derived& stage) { stage.on_out_demand(count); }) derived().on_out_demand(count);
  }

  void settle_later() {
    if (std::exchange(settle_queued_, true)) return;
    send_to_stage<Derived>(core_.pid(), SettleMessage{});
  }

  /// handle_subscribe of a producer decides nothing; GenStage's `manual` for a consumer is refused there, too.
  template <class R>
  static constexpr void check_subscribe_result() {
    static_assert(std::is_void_v<R> || std::is_same_v<R, DemandMode>, "handle_subscribe returns void or DemandMode");
  }

  void count_unmerged(std::ptrdiff_t more) {
    unmerged_count_ += more;
    singles_size_ = unmerged_count_ != 0 ? 1 : singles_max;
    buffer_.join_small(unmerged_count_ == 0);
  }

  /// Answers a subscription that never comes to be. The consumer goes on.
  void refuse(const SubscribeMessage<Out>& message, std::string_view why) {
    warn_refused(type_name<Derived>(), why);
    static_cast<void>(
        send(message.consumer,
             make_node<EndedMessage>(*message.consumer_ops->ended,
                                     EndedMessage{message.id, ExitReason::custom(std::string(why)), true})));
  }

  /// Forgets a subscription, on the consumer's side too, and calls handle_cancel.
  void end(SubscriptionId id, const SubscriptionEnd& why, bool tell, bool harmless) {
    const auto place =
        std::ranges::find_if(outlets_, [&](const std::unique_ptr<Port>& port) { return port->id() == id; });
    if (place == outlets_.end()) return;
    const std::unique_ptr<Port> port = std::move(*place);
    outlets_.erase(place);
    if (port->in_dispatcher) dispatcher_->cancel(*port);
    port->edge->note_blocked(false, core_.runtime->coarse_now_ms());
    if (port->options().unmerged && port->admitted) count_unmerged(-1);
    if (port->overflow) {
      if (port->admitted) --elastic_count_;
      if (!why.down) {  // what is on its way still comes; what waits here does not
        const std::uint64_t dropped = port->edge->dropped.load(std::memory_order_relaxed);
        port->edge->count_drop(DropReason::consumer_down,
                               port->edge->sent.load(std::memory_order_relaxed) - dropped - port->overflow->posted);
      }
    }
    if (port->admitted && !why.down) this_process::demonitor(monitor_of(id));
    if (why.down) {
      const std::uint64_t settled =
          port->edge->delivered.load(std::memory_order_relaxed) + port->edge->dropped.load(std::memory_order_relaxed);
      port->edge->count_drop(DropReason::consumer_down, port->edge->sent.load(std::memory_order_relaxed) - settled);
    }
    if (tell) {
      static_cast<void>(
          send(port->consumer(), make_node<EndedMessage>(*port->ops.ended, EndedMessage{id, why.reason, harmless})));
    }
    if constexpr (requires(Derived& stage, const SubscriptionInfo& info) { stage.handle_cancel(info, why); }) {
      derived().handle_cancel(port->info(), why);
    }
  }

  std::unique_ptr<Dispatcher<Out>> dispatcher_;
  std::vector<std::unique_ptr<Port>> outlets_;
  BatchBuilder<Out> single_;  // emitted one by one since the last flush
  std::size_t singles_last_ = 1;
  std::size_t singles_size_ = singles_max;  // so many leave together
  std::uint64_t debt_ = 0;
  EventBuffer<Out> buffer_;
  std::unique_ptr<HeldWork<Out>> held_;  // null: nothing is put off
  std::vector<DueInfo> due_;             // infos that are handled before events go on
  ProcessCore& core_;
  SharedEdge edge_;  // of the buffer; shared with snapshots
  std::vector<std::pair<SubscriptionId, ExitReason>> failed_;
  std::size_t elastic_count_ = 0;
  std::ptrdiff_t unmerged_count_ = 0;
  DrainState drain_;
  DemandFlow flow_ = DemandFlow::forward;
  std::uint64_t noted_ms_ = 0;  // when note_waiting looked last, on the coarse clock
  bool noted_waiting_ = false;
  bool infos_first_ = false;
  bool settle_queued_ = false;
  bool in_demand_ = false;
};

}  // namespace dagverk::detail
