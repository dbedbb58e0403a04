#pragma once

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"
#include "dagverk/runtime/async.hpp"
#include "dagverk/runtime/restart_policy.hpp"
#include "dagverk/runtime/this_process.hpp"
#include "dagverk/stage/detail/protocol.hpp"
#include "dagverk/stage/detail/stage_log.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>
#include <variant>
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
  /// Errors: `invalid_argument` for bad demand, a back-off out of range or without a name, or a subscription to itself.
  ///         That `producer` is gone already is seen by handle_cancel.
  [[nodiscard]] Result<SubscriptionId> subscribe_to(ProducerRef<In> producer, SubscribeOptions<In> options = {}) {
    return resubscribe_to({}, {}, producer, std::move(options));
  }

  /// As above, to whoever holds the name now. Errors: as above; those of the name (`no_process`, `wrong_type`,
  /// `not_found`), which also end this stage with `noproc` unless the subscription is temporary or has a back-off
  /// (`resubscribe`): then it begins once somebody holds the name.
  /// The id that this returns stays good for `cancel`, `ask` and `asked_of` when the subscription is made again;
  /// handle_subscribe and handle_cancel are called for each time, with ids of their own.
  [[nodiscard]] Result<SubscriptionId> subscribe_to(ProducerName<In> producer, SubscribeOptions<In> options = {}) {
    return resubscribe_to({}, {}, std::move(producer), std::move(options));
  }

  /// Ends a subscription with `reason` and begins another, in this order when both are to one producer. The end of the
  /// old one has the effect that its CancelMode says. An unknown `old` only begins the new one.
  /// Errors: as subscribe_to; then the old one goes on.
  [[nodiscard]] Result<SubscriptionId> resubscribe_to(SubscriptionId old, ExitReason reason, ProducerRef<In> producer,
                                                      SubscribeOptions<In> options = {}) {
    if (Result<void> good = check(producer, options); !good) return good.error();
    cancel(old, std::move(reason));
    return begin(producer, std::move(options), nullptr);
  }
  [[nodiscard]] Result<SubscriptionId> resubscribe_to(SubscriptionId old, ExitReason reason, ProducerName<In> producer,
                                                      SubscribeOptions<In> options = {}) {
    if (options.resubscribe)
      return resubscribe_lasting(old, std::move(reason), std::move(producer), std::move(options));
    if (Result<DemandRange> range = check_demand(options.max_demand, options.min_demand); !range) return range.error();
    Result<ProducerRef<In>> found = producer.resolve();
    if (found) return resubscribe_to(old, std::move(reason), *found, std::move(options));
    if (options.cancel != CancelMode::temporary) {
      warn_no_producer(type_name<Derived>(), found.error().message());
      this_process::stop(ExitReason::noproc);
    }
    return found.error();
  }

  /// Asks the producer to end a subscription. Events on their way still come; handle_cancel is called at the end.
  /// One that waits for its producer to come back does not come back itself.
  void cancel(SubscriptionId id, ExitReason reason = ExitReason::normal) {
    if (Link* link = find(id); link != nullptr) {
      if (link->lasting) link->lasting->over = true;
      post(*link, *link->ops->cancel, CancelMessage{link->id, std::move(reason)});
    } else {
      std::erase_if(waiting_, [&](const std::unique_ptr<Lasting>& lasting) { return lasting->id == id; });
    }
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
      if (link->named(id)) return link->pending;
    }
    return 0;
  }
  [[nodiscard]] std::size_t subscription_count() const noexcept { return links_.size(); }

  /// The subscription whose producer `down` is about; id 0: none.
  [[nodiscard]] SubscriptionId ended_by(const Down& down) const noexcept {
    for (const std::unique_ptr<Link>& link : links_) {
      if (monitor_of(link->id) == down.ref) return link->id;
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

  /// A message for handle_info: what came before it has been handled.
  void queue_info(HeldNode info) { push_front(info.release()); }

  void add_status(StageStatus& status) const {
    for (const std::unique_ptr<Link>& link : links_) status.producers.push_back(info_of(*link));
  }

  Result<SubscriptionId> on_stage_message(SubscribeCall<In>&& call) {
    return std::visit(
        [&](const auto& producer) {
          return resubscribe_to(call.replaced, std::move(call.reason), producer, std::move(call.options));
        },
        call.producer);
  }
  void on_stage_message(SubscribeCast<In>&& cast) {
    Result<SubscriptionId> made = on_stage_message(std::move(cast.call));
    if (!made) warn_not_subscribed(type_name<Derived>(), made.error().message());
  }
  void on_stage_message(ReturnMessage&& message) {
    const auto place = std::ranges::find_if(
        waiting_, [&](const std::unique_ptr<Lasting>& lasting) { return lasting->id == message.id; });
    if (place == waiting_.end()) return;  // cancelled
    std::unique_ptr<Lasting> lasting = std::move(*place);
    waiting_.erase(place);
    look_again(std::move(lasting));
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
      std::uint64_t credit = credit_for(*link, message.events.size());
      // The link stays for as long as this goes on: subscriptions end by messages.
      Batch<In>& events = message.events;
      while (!events.empty() && !core_.stop_requested) {
        Batch<In> part = events.split_front(link->manual ? events.size() : part_max(*link));
        const std::size_t size = part.size();
        call_handle_events(part, *link);
        handled(*link, size, credit);
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
    std::uint64_t credit = credit_for(*link, events.size());
    while (!events.empty() && !core_.stop_requested) {
      Batch<In> part = events.split_front(link->manual ? events.size() : part_max(*link));  // outlives the callback
      const std::size_t size = part.size();
      Async<void> handling = call_handle_events(part, *link);
      co_await handling;
      handled(*link, size, credit);
    }
  }

  /// A subscription is over: handle_cancel, then it begins again or what its mode says.
  void end(SubscriptionId id, const SubscriptionEnd& why, bool harmless) {
    const auto place = std::ranges::find_if(links_, [&](const std::unique_ptr<Link>& link) { return link->id == id; });
    if (place == links_.end()) return;
    const std::unique_ptr<Link> link = std::move(*place);
    links_.erase(place);
    if (!why.down) this_process::demonitor(monitor_of(id));
    if constexpr (requires(Derived& stage, const SubscriptionInfo& info) { stage.handle_cancel(info, why); }) {
      derived().handle_cancel(info_of(*link), why);
    }
    if (harmless || core_.stop_requested) return;
    if (why.down && link->lasting && !link->lasting->over) {
      wait_for_producer(std::move(link->lasting));
      return;
    }
    const bool stops =
        link->cancel == CancelMode::permanent || (link->cancel == CancelMode::transient && !why.reason.normal_ish());
    if (stops) this_process::stop(why.reason);
  }

 private:
  friend struct StageAccess;

  /// A subscription by name that is made again when its producer has ended.
  struct Lasting {
    SubscriptionId id;  // as subscribe_to returned it
    ProducerName<In> name;
    SubscribeOptions<In> options;
    RestartHistory history;
    bool over = false;  // it was cancelled here
  };

  struct Link {
    SubscriptionId id;
    Pid producer;
    const ProducerOps* ops = nullptr;
    std::uint64_t min = 0;
    std::uint64_t max = 0;
    std::uint64_t pending = 0;         // asked and not yet handled
    SharedEdge edge;                   // the producer's side and snapshots hold it, too
    std::unique_ptr<Lasting> lasting;  // null: it ends for good
    CancelMode cancel = CancelMode::permanent;
    bool manual = false;

    [[nodiscard]] bool named(SubscriptionId name) const noexcept {
      return id == name || (lasting && lasting->id == name);
    }
  };

  [[nodiscard]] Derived& derived() noexcept { return static_cast<Derived&>(*this); }

  [[nodiscard]] Link* find(SubscriptionId id) noexcept {
    for (const std::unique_ptr<Link>& link : links_) {
      if (link->named(id)) return link.get();
    }
    return nullptr;
  }

  [[nodiscard]] Result<void> check(const ProducerRef<In>& producer, const SubscribeOptions<In>& options) const {
    if (Result<DemandRange> range = check_demand(options.max_demand, options.min_demand); !range) return range.error();
    if (options.resubscribe) {
      return Error(ErrorCode::invalid_argument, "resubscribe: only a subscription by name can find its producer again");
    }
    return check_other(producer);
  }
  [[nodiscard]] Result<void> check_other(const ProducerRef<In>& producer) const {
    if (producer.pid() != core_.pid()) return {};
    return Error(ErrorCode::invalid_argument, concat("a ", type_name<Derived>(), " cannot subscribe to itself"));
  }

  /// Begins a subscription that was checked; its id.
  SubscriptionId begin(const ProducerRef<In>& producer, SubscribeOptions<In> options,
                       std::unique_ptr<Lasting> lasting) {
    const Result<DemandRange> range = check_demand(options.max_demand, options.min_demand);
    DAGVERK_ASSERT(range);
    auto link = std::make_unique<Link>();
    link->id = SubscriptionId{core_.runtime->next_ref()};
    link->producer = producer.pid();
    link->ops = &producer.ops();
    monitor_as(monitor_of(link->id), producer.pid());
    link->cancel = options.cancel;
    link->min = range->min;
    link->max = range->max;
    link->manual = options.manual;
    link->edge = make_edge(EdgeName(producer.ops().name, producer.pid(), consumer_ops<Derived>.name, core_.pid()));
    link->lasting = std::move(lasting);
    if (link->lasting && link->lasting->id.value == 0) link->lasting->id = link->id;
    Link& added = *link;
    links_.push_back(std::move(link));
    const KeptOptions<In> kept = keep(std::move(options));
    post(added, *added.ops->subscribe,
         SubscribeMessage<In>{added.id, core_.pid(), &consumer_ops<Derived>, kept, added.edge});
    call_handle_subscribe(added, *kept);
    if (!added.manual) {
      added.pending = added.max;
      post_ask(added, added.max);
    }
    return added.id;
  }

  /// Those of the subscription before it, when they are the same.
  [[nodiscard]] KeptOptions<In> keep(SubscribeOptions<In>&& options) {
    if (last_options_ && same_options(options, *last_options_)) return last_options_;
    KeptOptions<In> kept(std::move(options));
    if (plain_options(*kept)) last_options_ = kept;
    return kept;
  }

  // ---- subscriptions that outlive their producers -------------------------------------------------------------------

  Result<SubscriptionId> resubscribe_lasting(SubscriptionId old, ExitReason reason, ProducerName<In> producer,
                                             SubscribeOptions<In> options) {
    if (Result<DemandRange> range = check_demand(options.max_demand, options.min_demand); !range) return range.error();
    if (Result<void> good = check_resubscribe(*options.resubscribe); !good) return good.error();
    const Result<ProducerRef<In>> found = producer.resolve();
    if (found) {
      if (Result<void> good = check_other(*found); !good) return good.error();
    }
    cancel(old, std::move(reason));
    auto lasting = std::make_unique<Lasting>(Lasting{{}, std::move(producer), std::move(options), {}});
    if (found) return begin_again(*found, std::move(lasting));
    warn_no_producer(type_name<Derived>(), found.error().message());
    const SubscriptionId id{core_.runtime->next_ref()};
    lasting->id = id;
    wait_for_producer(std::move(lasting));
    return id;
  }
  SubscriptionId begin_again(const ProducerRef<In>& producer, std::unique_ptr<Lasting> lasting) {
    SubscribeOptions<In> options = lasting->options;
    return begin(producer, std::move(options), std::move(lasting));
  }
  void look_again(std::unique_ptr<Lasting> lasting) {
    const Result<ProducerRef<In>> found = lasting->name.resolve();
    if (found && check_other(*found)) {
      begin_again(*found, std::move(lasting));
    } else {
      wait_for_producer(std::move(lasting));
    }
  }
  void wait_for_producer(std::unique_ptr<Lasting> lasting) {
    const SteadyTime now = core_.runtime->clock().steady_now();
    const Duration delay = lasting->history.next_delay(*lasting->options.resubscribe, now);
    Node* node = make_node<ReturnMessage>(stage_node_ops<Derived, ReturnMessage>, ReturnMessage{lasting->id});
    waiting_.push_back(std::move(lasting));
    static_cast<void>(core_.runtime->arm_timer(now + delay, core_.pid(), node));
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

  /// How many of a message's events were asked for. More than that are handled, and never asked for again.
  std::uint64_t credit_for(const Link& link, std::size_t count) {
    if (count > link.pending) [[unlikely]]
      warn_excess(type_name<Derived>(), count, link.pending);
    return link.pending;
  }

  /// The ask point: after a batch's handle_events has returned.
  void handled(Link& link, std::size_t count, std::uint64_t& credit) {
    add_to(link.edge->delivered, count);
    const std::uint64_t counts = std::min<std::uint64_t>(credit, count);
    credit -= counts;
    link.pending -= std::min(link.pending, counts);
    if (counts == 0 || link.manual || link.pending > link.min) return;
    const std::uint64_t more = link.max - link.pending;
    link.pending = link.max;
    post_ask(link, more);
  }

  void call_handle_subscribe(Link& link, const SubscribeOptions<In>& options) {
    const SubscriptionInfo info = info_of(link);
    const auto apply = [&](auto&& call) {
      using R = decltype(call());
      static_assert(std::is_void_v<R> || std::is_same_v<R, DemandMode>, "handle_subscribe returns void or DemandMode");
      if constexpr (std::is_same_v<R, DemandMode>) {
        link.manual = call() == DemandMode::manual || link.manual;
      } else {
        call();
      }
    };
    if constexpr (requires(Derived& stage) { stage.handle_subscribe(info, options); }) {
      apply([&] { return derived().handle_subscribe(info, options); });
    } else if constexpr (requires(Derived& stage) { stage.handle_subscribe(info); }) {
      apply([&] { return derived().handle_subscribe(info); });
    }
  }

  ProcessCore& core_;
  std::vector<std::unique_ptr<Link>> links_;
  std::vector<std::unique_ptr<Lasting>> waiting_;  // for their producers to come back
  KeptOptions<In> last_options_;                   // for subscriptions that are made with the same
};

}  // namespace dagverk::detail
