#pragma once

#include "dagverk/base/concat.hpp"
#include "dagverk/runtime/async.hpp"
#include "dagverk/runtime/this_process.hpp"
#include "dagverk/stage/detail/protocol.hpp"
#include "dagverk/stage/detail/stage_log.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

namespace dagverk::detail {

/// What every stage that consumes has: subscriptions, and when to ask on them.
template <class Derived, class In>
class ConsumerSide {
 public:
  using Input = In;

  ConsumerSide(const ConsumerSide&) = delete;
  ConsumerSide& operator=(const ConsumerSide&) = delete;

 protected:
  ConsumerSide() noexcept : core_(*current_process) {}
  ~ConsumerSide() = default;

  /// Subscribes this stage to `producer`: at once, in `init` or any other callback.
  /// Errors: `invalid_argument` for bad demand or a subscription to itself. That `producer` is gone already is seen by
  ///         handle_cancel.
  [[nodiscard]] Result<SubscriptionId> subscribe_to(ProducerRef<In> producer, SubscribeOptions<In> options = {}) {
    Result<DemandRange> range = check_demand(options.max_demand, options.min_demand);
    if (!range) return range.error();
    if (producer.pid() == core_.pid()) {
      return Error(ErrorCode::invalid_argument, concat("a ", type_name<Derived>(), " cannot subscribe to itself"));
    }
    RuntimeBase& runtime = *core_.runtime;
    auto link = std::make_unique<Link>();
    link->id = SubscriptionId{runtime.next_ref()};
    link->producer = producer.pid();
    link->ops = &producer.ops();
    link->monitor = this_process::monitor(producer.pid());
    link->cancel = options.cancel;
    link->min = range->min;
    link->max = range->max;
    link->manual = options.manual;
    link->edge = make_edge(producer.ops().name, producer.pid(), type_name<Derived>(), core_.pid());
    Link& added = *link;
    links_.push_back(std::move(link));
    SubscribeOptions<In> shown;  // what handle_subscribe of this side may look at
    if constexpr (wants_options()) shown = options;
    post(added, *added.ops->subscribe,
         SubscribeMessage<In>{added.id, core_.pid(), &consumer_ops<Derived>, std::move(options), added.edge});
    call_handle_subscribe(added, shown);
    if (!added.manual) {
      added.pending = added.max;
      post_ask(added, added.max);
    }
    return added.id;
  }

  /// As above, to whoever holds the name now. Errors: as above; `no_process` and `wrong_type` of the name, which also
  /// end this stage with `noproc` unless the subscription is temporary.
  template <class Stage>
  [[nodiscard]] Result<SubscriptionId> subscribe_to(const Name<Stage>& producer, SubscribeOptions<In> options = {}) {
    Result<ServerRef<Stage>> found = producer.resolve();
    if (found) return subscribe_to(ProducerRef<In>(*found), std::move(options));
    if (options.cancel != CancelMode::temporary) {
      warn_no_producer(type_name<Derived>(), found.error().message());
      this_process::stop(ExitReason::noproc);
    }
    return found.error();
  }

  /// Asks the producer to end a subscription. Events on their way still come; handle_cancel is called at the end.
  void cancel(SubscriptionId id, ExitReason reason = ExitReason::normal) {
    if (Link* link = find(id); link != nullptr) post(*link, *link->ops->cancel, CancelMessage{id, std::move(reason)});
  }

  /// Asks for `count` more events on a manual subscription. 0 does nothing.
  void ask(SubscriptionId id, std::uint64_t count) {
    Link* link = find(id);
    if (link == nullptr || count == 0) return;
    link->pending += count;
    post_ask(*link, count);
  }

  /// What was asked for on a subscription and has not come yet.
  [[nodiscard]] std::uint64_t asked_of(SubscriptionId id) const noexcept {
    for (const std::unique_ptr<Link>& link : links_) {
      if (link->id == id) return link->pending;
    }
    return 0;
  }
  [[nodiscard]] std::size_t subscription_count() const noexcept { return links_.size(); }

  /// The subscription whose producer `down` is about; id 0: none.
  [[nodiscard]] SubscriptionId ended_by(const Down& down) const noexcept {
    for (const std::unique_ptr<Link>& link : links_) {
      if (link->monitor == down.ref) return link->id;
    }
    return {};
  }
  /// True when `down` was about a producer.
  bool consumer_saw_down(const Down& down) {
    const SubscriptionId id = ended_by(down);
    if (id.value == 0) return false;
    end(id, SubscriptionEnd{true, down.reason}, false);
    return true;
  }

  Result<SubscriptionId> on_stage_message(SubscribeCall<In>&& call) {
    return subscribe_to(call.producer, std::move(call.options));
  }
  void on_stage_message(UnsubscribeCast&& message) { cancel(message.id, std::move(message.reason)); }
  void on_stage_message(EndedMessage&& message) {
    end(message.id, SubscriptionEnd{false, std::move(message.reason)}, message.harmless);
  }
  auto on_stage_message(EventsMessage<In>&& message) {
    if constexpr (requires(Derived& stage) { stage.on_gated_events(std::move(message)); }) {
      return derived().on_gated_events(std::move(message));
    } else {
      return receive(std::move(message));
    }
  }

  /// Handles one message's events, whole or in parts, asking on the way. Void or Async<void>, as handle_events is.
  auto receive(EventsMessage<In>&& message) {
    if constexpr (handles_later()) {
      return receive_later(message.id, std::move(message.events));
    } else {
      Link* link = find(message.id);
      if (link == nullptr) return;
      // The link stays for as long as this goes on: subscriptions end by messages.
      Batch<In>& events = message.events;
      while (!events.empty() && !core_.stop_requested) {
        Batch<In> part = events.split_front(link->manual ? events.size() : part_max(*link));
        const std::size_t size = part.size();
        call_handle_events(part, *link);
        handled(*link, size);
      }
    }
  }

  template <class Stage = Derived>
  static constexpr bool handles_later() {
    if constexpr (requires(Stage& stage, Batch<In> events) { stage.handle_events(std::move(events)); }) {
      return is_async<decltype(std::declval<Stage&>().handle_events(std::declval<Batch<In>>()))>;
    } else {
      return is_async<decltype(std::declval<Stage&>().handle_events(std::declval<Batch<In>>(),
                                                                    std::declval<const SubscriptionInfo&>()))>;
    }
  }

  Async<void> receive_later(SubscriptionId id, Batch<In> events) {
    Link* link = find(id);
    if (link == nullptr) co_return;
    while (!events.empty() && !core_.stop_requested) {
      Batch<In> part = events.split_front(link->manual ? events.size() : part_max(*link));  // outlives the callback
      const std::size_t size = part.size();
      Async<void> handling = call_handle_events(part, *link);
      co_await handling;
      handled(*link, size);
    }
  }

  /// A subscription is over: handle_cancel, then what its mode says.
  void end(SubscriptionId id, const SubscriptionEnd& why, bool harmless) {
    const auto place = std::ranges::find_if(links_, [&](const std::unique_ptr<Link>& link) { return link->id == id; });
    if (place == links_.end()) return;
    const std::unique_ptr<Link> link = std::move(*place);
    links_.erase(place);
    if (!why.down) this_process::demonitor(link->monitor);
    if constexpr (requires(Derived& stage, const SubscriptionInfo& info) { stage.handle_cancel(info, why); }) {
      derived().handle_cancel(info_of(*link), why);
    }
    if (harmless || core_.stop_requested) return;
    const bool stops =
        link->cancel == CancelMode::permanent || (link->cancel == CancelMode::transient && !why.reason.normal_ish());
    if (stops) this_process::stop(why.reason);
  }

 private:
  friend struct StageAccess;

  struct Link {
    SubscriptionId id;
    Pid producer;
    const ProducerOps* ops = nullptr;
    MonitorRef monitor;
    std::uint64_t min = 0;
    std::uint64_t max = 0;
    std::uint64_t pending = 0;           // asked and not yet handled
    std::shared_ptr<EdgeCounters> edge;  // shared with the producer's side and with snapshots; ends with the last
    CancelMode cancel = CancelMode::permanent;
    bool manual = false;
  };

  template <class Stage = Derived>
  static constexpr bool wants_options() {
    return requires(Stage& stage, const SubscriptionInfo& info, const SubscribeOptions<In>& options) {
      stage.handle_subscribe(info, options);
    };
  }

  [[nodiscard]] Derived& derived() noexcept { return static_cast<Derived&>(*this); }

  [[nodiscard]] Link* find(SubscriptionId id) noexcept {
    for (const std::unique_ptr<Link>& link : links_) {
      if (link->id == id) return link.get();
    }
    return nullptr;
  }
  [[nodiscard]] static SubscriptionInfo info_of(const Link& link) noexcept {
    return {link.id, link.producer, StageSide::producer};
  }
  [[nodiscard]] static std::size_t part_max(const Link& link) noexcept {
    return static_cast<std::size_t>(link.max - link.min);
  }

  template <class Message>
  static void post(const Link& link, const NodeOps& ops, Message message) {
    static_cast<void>(send(link.producer, make_node<Message>(ops, std::move(message))));
  }
  static void post_ask(const Link& link, std::uint64_t count) {
    add_to(link.edge->asked, count);
    post(link, *link.ops->ask, AskMessage{link.id, count});
  }

  /// `events` is moved from when the callback takes it by value.
  auto call_handle_events(Batch<In>& events, const Link& link) {
    if constexpr (requires(Derived& stage) { stage.handle_events(std::move(events)); }) {
      return derived().handle_events(std::move(events));
    } else {
      return derived().handle_events(std::move(events), info_of(link));
    }
  }

  /// The ask point: after a batch's handle_events has returned.
  void handled(Link& link, std::size_t count) {
    add_to(link.edge->delivered, count);
    link.pending -= std::min<std::uint64_t>(link.pending, count);
    if (link.manual || link.pending > link.min) return;
    const std::uint64_t more = link.max - link.pending;
    link.pending = link.max;
    post_ask(link, more);
  }

  void call_handle_subscribe(Link& link, const SubscribeOptions<In>& options) {
    const SubscriptionInfo info = info_of(link);
    const auto apply = [&](DemandMode mode) { link.manual = link.manual || mode == DemandMode::manual; };
    if constexpr (requires(Derived& stage) { stage.handle_subscribe(info, options); }) {
      if constexpr (std::is_same_v<decltype(derived().handle_subscribe(info, options)), DemandMode>) {
        apply(derived().handle_subscribe(info, options));
      } else {
        derived().handle_subscribe(info, options);
      }
    } else if constexpr (requires(Derived& stage) { stage.handle_subscribe(info); }) {
      if constexpr (std::is_same_v<decltype(derived().handle_subscribe(info)), DemandMode>) {
        apply(derived().handle_subscribe(info));
      } else {
        derived().handle_subscribe(info);
      }
    }
  }

  ProcessCore& core_;
  std::vector<std::unique_ptr<Link>> links_;
};

}  // namespace dagverk::detail
