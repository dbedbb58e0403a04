#pragma once

#include "dagverk/runtime/detail/handlers.hpp"
#include "dagverk/runtime/messages.hpp"
#include "dagverk/runtime/snapshot.hpp"
#include "dagverk/stage/batch.hpp"
#include "dagverk/stage/detail/held_node.hpp"
#include "dagverk/stage/detail/kept_options.hpp"
#include "dagverk/stage/options.hpp"
#include "dagverk/stage/subscription.hpp"

#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>

namespace dagverk::detail {

// The messages between two stages. They are handled by what a stage inherits, never by its own handle_cast; a stage's
// class is known to its peers only as a table of how these messages are handled.

/// How a consuming stage handles what its producers send.
struct ConsumerOps {
  const NodeOps* events;  // EventsMessage<Event>
  const NodeOps* ended;   // EndedMessage
  std::string_view name;
};
/// How a producing stage handles what its consumers send.
struct ProducerOps {
  const NodeOps* subscribe;  // SubscribeMessage<Event>
  const NodeOps* ask;        // AskMessage
  const NodeOps* cancel;     // CancelMessage
  const NodeOps* demand;     // SetDemandCast; null: a stage in between, which has no choice
  std::string_view name;
};

/// The reference by which each of two stages monitors the other for the sake of a subscription.
[[nodiscard]] constexpr MonitorRef monitor_of(SubscriptionId id) noexcept { return MonitorRef{id.value}; }

template <class Event>
struct EventsMessage {
  SubscriptionId id;
  Batch<Event> events;
};
/// The producer has ended the subscription, of its own or as it was asked.
struct EndedMessage {
  SubscriptionId id;
  ExitReason reason;
  bool harmless;  // a duplicate was refused: the consumer goes on in any mode
};

template <class Event>
struct SubscribeMessage {
  SubscriptionId id;
  Pid consumer;
  const ConsumerOps* consumer_ops;
  KeptOptions<Event> options;
  SharedEdge edge;  // the consumer and snapshots hold it, too
};
struct AskMessage {
  SubscriptionId id;
  std::uint64_t count;
};
struct CancelMessage {
  SubscriptionId id;
  ExitReason reason;
};

/// To itself: what had to wait until the current message was handled.
struct SettleMessage {};
/// To itself: handle_demand, when it is a coroutine.
struct DemandMessage {
  std::uint64_t count;
};
/// To itself, of a ProducerConsumer: there is demand for what its queued input may give.
struct DrainMessage {};

/// To itself, of a producer that goes on forwarding: the next of what was put off.
struct ReplayMessage {};
/// To itself, of a consumer: the producer of this subscription by name may be back.
struct ReturnMessage {
  SubscriptionId id;
};

/// From anybody to a consumer: subscribe.
template <class Event>
struct SubscribeCall {
  using Reply = SubscriptionId;
  ProducerAddress<Event> producer;
  SubscribeOptions<Event> options;
  SubscriptionId replaced = {};  // this one is cancelled first; 0: none
  ExitReason reason = {};        // with this reason
};
/// As SubscribeCall; nobody waits for the answer.
template <class Event>
struct SubscribeCast {
  SubscribeCall<Event> call;
};
/// From anybody to a consumer: ask for a subscription's end.
struct UnsubscribeCast {
  SubscriptionId id;
  ExitReason reason;
};

/// From anybody to a stage: a message for its handle_info, behind the events that are there now.
struct InfoCast {
  HeldNode info;
};
struct InfoCall {
  using Reply = void;
  HeldNode info;
};
/// From anybody to a producer: what it does with demand.
struct SetDemandCast {
  DemandFlow flow;
};
struct DemandFlowCall {
  using Reply = DemandFlow;
};
struct BufferedCountCall {
  using Reply = std::size_t;
};
/// From anybody to a stage: what it looks like.
struct StatusCall {
  using Reply = StageStatus;
};

/// The way from a message to the inherited part of a stage that handles it.
struct StageAccess {
  template <class Stage, class Message>
  static auto receive(Stage& stage, Message&& message) {
    return stage.on_stage_message(std::forward<Message>(message));
  }
  /// Whether a stage's class handles this message at all.
  template <class Stage, class Message>
  [[nodiscard]] static constexpr bool understands() noexcept {
    return requires(Stage& stage, Message&& message) { stage.on_stage_message(std::move(message)); };
  }
  template <class Stage>
  static void receive(Stage& stage, InfoCast&& message) {
    stage.queue_info(std::move(message.info));
  }
  template <class Stage>
  static Result<void> receive(Stage& stage, InfoCall&& message) {
    stage.queue_info(std::move(message.info));
    return {};
  }
  template <class Stage>
  static StageStatus receive(Stage& stage, StatusCall&& /*message*/) {
    StageStatus status;
    if constexpr (ProducingStage<Stage>) {
      static_cast<ProducerSide<Stage, typename Stage::Output>&>(stage).add_status(status);
    }
    if constexpr (ConsumingStage<Stage>) {
      static_cast<ConsumerSide<Stage, typename Stage::Input>&>(stage).add_status(status);
    }
    return status;
  }
};

struct InvokeStage {
  template <class Stage, class Message>
  auto operator()(Stage& stage, Message&& message) const {
    return StageAccess::receive(stage, std::forward<Message>(message));
  }
};
template <class Stage, class Message>
inline constexpr const NodeOps& stage_node_ops = plain_node_ops<Stage, Message, InvokeStage>;

template <class Stage, class Message>
void send_to_stage(Pid stage, Message message) {
  static_cast<void>(send(stage, make_node<Message>(stage_node_ops<Stage, Message>, std::move(message))));
}

/// A call that a stage's inherited part answers.
template <class Stage, class Message>
struct StageCall {
  using Call = CallNode<Message, typename Message::Reply>;
  using Payload = typename Call::Payload;

  static bool run(Node* node, ProcessCore& core) {
    auto& stage = static_cast<Stage&>(*core.behaviour);
    Result<typename Message::Reply> result = StageAccess::receive(stage, std::move(payload_of<Payload>(node).request));
    Call::reply(node, std::move(result));
    return false;
  }
  static constexpr NodeOps ops{&run, &Call::discard_request, type_name<Message>(), NodeClass::message};

  template <class... Args>
  [[nodiscard]] static Node* make(Args&&... args) {
    return make_node<Payload>(ops, std::in_place, std::forward<Args>(args)...);
  }
};

/// Calls the inherited part of a stage: from outside, or awaited inside a process.
template <class Stage, class Call>
[[nodiscard]] Result<typename Call::Reply> call_stage_blocking(ServerRef<Stage> stage, Call call) {
  if (!stage.pid()) return Error(ErrorCode::no_process, "the reference is empty");
  return block_on_call<Call, typename Call::Reply>(stage.pid(), StageCall<Stage, Call>::make(std::move(call)),
                                                   call_timeout_default);
}
template <class Stage, class Call>
[[nodiscard]] auto call_stage(ServerRef<Stage> stage, Call call) {
  return CallAwaiter<Call, typename Call::Reply>(stage.pid(), StageCall<Stage, Call>::make(std::move(call)),
                                                 call_timeout_default);
}

template <class Stage>
inline constexpr ConsumerOps consumer_ops{&stage_node_ops<Stage, EventsMessage<typename Stage::Input>>,
                                          &stage_node_ops<Stage, EndedMessage>, type_name<Stage>()};
template <class Stage>
[[nodiscard]] constexpr const NodeOps* demand_ops() noexcept {
  if constexpr (DemandingStage<Stage>) {
    return &stage_node_ops<Stage, SetDemandCast>;
  } else {
    return nullptr;
  }
}
template <class Stage>
inline constexpr ProducerOps producer_ops{&stage_node_ops<Stage, SubscribeMessage<typename Stage::Output>>,
                                          &stage_node_ops<Stage, AskMessage>, &stage_node_ops<Stage, CancelMessage>,
                                          demand_ops<Stage>(), type_name<Stage>()};
template <class Stage>
const ProducerOps& producer_ops_of() noexcept {
  return producer_ops<Stage>;
}

}  // namespace dagverk::detail
