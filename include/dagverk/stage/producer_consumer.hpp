#pragma once

#include "dagverk/stage/consumer.hpp"
#include "dagverk/stage/producer.hpp"

#include <deque>
#include <memory>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace dagverk {

/// A stage between two others: it is sent events of type `In` and emits events of type `Out`, any number for each.
///
/// Semantics: GenStage's producer_consumer, typed. Callbacks as of Consumer and Producer (`handle_subscribe` and
///            `handle_cancel` see both kinds of peers, told apart by SubscriptionInfo::peer_side). Input is handled
///            while those behind have open demand, and is asked for as it is handled. So no demand from behind means
///            that no more than max_demand events are taken from before. Ends of subscriptions and infos take effect
///            behind the input that is queued. `handle_demand`, which GenStage never calls here, is optional: it sees
///            what is wanted behind first, may answer by itself, and input is handled for the rest; with manual
///            subscriptions it decides what is asked for.
/// Threads:   as GenServer.
/// Bounds:    the input queue holds what was asked for, at most max_demand per subscription. The buffer behind has no
///            bound by default: one input list that has begun is finished, whatever it yields.
template <class Derived, class In, class Out>
class ProducerConsumer : public GenServer<Derived>,
                         public detail::ConsumerSide<Derived, In>,
                         public detail::ProducerSide<Derived, Out> {
  using Taking = detail::ConsumerSide<Derived, In>;
  using Giving = detail::ProducerSide<Derived, Out>;

 public:
  // For the two sides, not for users.
  void on_out_demand(std::uint64_t /*count*/) {
    if (!queue_.empty() && !draining_) drain_next();
  }
  [[nodiscard]] bool passed_on() const noexcept { return queue_.empty() && !draining_; }
  auto on_gated_events(detail::EventsMessage<In>&& message) {
    queue_.push_back(Entry{message.id, std::move(message.events), std::nullopt, false, std::nullopt});
    return drain();
  }

 protected:
  explicit ProducerConsumer(ProducerOptions options = {.buffer_size = ProducerOptions::unbounded})
      : ProducerConsumer(demand_dispatcher<Out>(), options) {}
  explicit ProducerConsumer(std::unique_ptr<Dispatcher<Out>> dispatcher,
                            ProducerOptions options = {.buffer_size = ProducerOptions::unbounded})
      : Giving(std::move(dispatcher), options) {
    if (options.demand != DemandFlow::forward) {
      throw std::invalid_argument("a ProducerConsumer has no option `demand`: it is asked as those behind it ask");
    }
  }

  /// A message for handle_info: behind the input that is queued, and then behind what was emitted.
  void queue_info(detail::HeldNode info) {
    if (queue_.empty()) {
      Giving::queue_info(std::move(info));
    } else {
      queue_.push_back(Entry{{}, {}, std::nullopt, false, std::move(info)});
    }
  }

  using Giving::on_stage_message;
  using Taking::on_stage_message;
  auto on_stage_message(detail::DrainMessage&& /*message*/) { return drain(); }
  void on_stage_message(detail::EndedMessage&& message) {
    finish(message.id, SubscriptionEnd{false, std::move(message.reason)}, message.harmless);
  }

 private:
  friend struct detail::StageAccess;

  /// One list of input, or the end of a subscription or an info behind it.
  struct Entry {
    SubscriptionId id;
    Batch<In> events;
    std::optional<SubscriptionEnd> end;
    bool harmless;
    std::optional<detail::HeldNode> info;

    [[nodiscard]] bool is_input() const noexcept { return !end && !info; }
  };

  void on_leave(detail::ProcessCore& /*core*/) final { Giving::leave(); }
  void on_down(detail::ProcessCore& core, const Down& down) final {
    if (Giving::producer_saw_down(down)) return;
    const SubscriptionId id = Taking::ended_by(down);
    if (id.value == 0) {
      GenServer<Derived>::on_down(core, down);
    } else {
      finish(id, SubscriptionEnd{true, down.reason}, false);
    }
  }

  void finish(SubscriptionId id, SubscriptionEnd why, bool harmless) {
    if (queue_.empty()) {
      Taking::end(id, why, harmless);
    } else {
      queue_.push_back(Entry{id, {}, std::move(why), harmless, std::nullopt});
    }
  }

  /// The next input that may be handled now; ends on the way take effect.
  [[nodiscard]] std::optional<Entry> next() {
    Giving::flush();  // what was emitted answers demand
    while (!queue_.empty() && !detail::current_process->stop_requested) {
      if (queue_.front().is_input() && Giving::debt() == 0) break;
      Entry entry = std::move(queue_.front());
      queue_.pop_front();
      if (entry.is_input()) return entry;
      if (entry.info) {
        drain_next();  // pushed to the front first, so behind the info
        Giving::queue_info(std::move(*entry.info));
        return std::nullopt;
      }
      Taking::end(entry.id, *entry.end, entry.harmless);
    }
    draining_ = false;
    Giving::drain_later();
    return std::nullopt;
  }

  /// Goes on with the input before anything else.
  void drain_next() {
    draining_ = true;
    detail::push_front(detail::make_node<detail::DrainMessage>(detail::stage_node_ops<Derived, detail::DrainMessage>));
  }

  auto drain() {
    if constexpr (Taking::template handles_later<Derived>()) {
      return drain_later();
    } else {
      draining_ = true;
      while (std::optional<Entry> entry = next()) {
        Taking::receive(detail::EventsMessage<In>{entry->id, std::move(entry->events)});
      }
    }
  }
  Async<void> drain_later() {
    draining_ = true;
    for (;;) {
      std::optional<Entry> entry = next();
      if (!entry) co_return;
      Async<void> handling = Taking::receive_later(entry->id, std::move(entry->events));
      co_await handling;
    }
  }

  std::deque<Entry> queue_;
  bool draining_ = false;  // input is being handled, or a message to ourselves will do so
};

}  // namespace dagverk
