#pragma once

#include "dagverk/stage/consumer.hpp"
#include "dagverk/stage/producer.hpp"

#include <cstddef>
#include <utility>

// What can be asked of a running stage from outside of it. Those that end in `_blocking` block, outside of processes;
// those without are awaited inside one; the others only send.
//
// Errors: of those that answer, as ServerRef::call_blocking and ServerRef::call.

namespace dagverk {

namespace detail {

template <class Stage>
concept AnyStage = ProducingStage<Stage> || ConsumingStage<Stage>;

}  // namespace detail

/// Sends a message for the stage's own handle_info, behind the events that are in it now.
///
/// Semantics: GenStage's async_info. It is handled once every event that the stage had emitted has been dispatched,
///            dropped, or (with the partition dispatcher) has left its partition's queue, and before events that were
///            emitted later leave the buffer; in a ProducerConsumer also behind the input that is queued. Subscriptions
///            with an overflow rule, which never wait for a buffer, do not wait for it either. A consumer handles it
///            like any message. It counts for no demand and no buffer's size.
template <detail::AnyStage Stage, class Message>
void async_info(ServerRef<Stage> stage, Message message) {
  detail::send_to_stage<Stage>(
      stage.pid(), detail::InfoCast{detail::HeldNode(detail::make_info<Stage, Message>(std::move(message)))});
}
/// As `async_info`; answers when the message has its place among the events, not when it was handled.
template <detail::AnyStage Stage, class Message>
[[nodiscard]] Result<void> sync_info_blocking(ServerRef<Stage> stage, Message message) {
  return detail::call_stage_blocking(
      stage, detail::InfoCall{detail::HeldNode(detail::make_info<Stage, Message>(std::move(message)))});
}
template <detail::AnyStage Stage, class Message>
[[nodiscard]] auto sync_info(ServerRef<Stage> stage, Message&& message) {
  using M = std::remove_cvref_t<Message>;
  return detail::call_stage(
      stage, detail::InfoCall{detail::HeldNode(detail::make_info<Stage, M>(std::forward<Message>(message)))});
}

/// What a producer does with demand and events from now on, see ProducerSide::set_demand. Does not wait.
template <detail::DemandingStage Stage>
void set_demand(ServerRef<Stage> producer, DemandFlow flow) {
  detail::send_to_stage<Stage>(producer.pid(), detail::SetDemandCast{flow});
}
template <detail::DemandingStage Stage>
[[nodiscard]] Result<DemandFlow> demand_flow_blocking(ServerRef<Stage> producer) {
  return detail::call_stage_blocking(producer, detail::DemandFlowCall{});
}
template <detail::DemandingStage Stage>
[[nodiscard]] auto demand_flow(ServerRef<Stage> producer) {
  return detail::call_stage(producer, detail::DemandFlowCall{});
}

/// How many events wait in the stage's buffer for somebody to ask for them: without infos, queued input, partitions'
/// queues and what is put off.
template <detail::ProducingStage Stage>
[[nodiscard]] Result<std::size_t> buffered_count_blocking(ServerRef<Stage> stage) {
  return detail::call_stage_blocking(stage, detail::BufferedCountCall{});
}
template <detail::ProducingStage Stage>
[[nodiscard]] auto buffered_count(ServerRef<Stage> stage) {
  return detail::call_stage(stage, detail::BufferedCountCall{});
}

/// What the stage is, whom it is subscribed to and who to it.
template <detail::AnyStage Stage>
[[nodiscard]] Result<StageStatus> stage_status_blocking(ServerRef<Stage> stage) {
  return detail::call_stage_blocking(stage, detail::StatusCall{});
}
template <detail::AnyStage Stage>
[[nodiscard]] auto stage_status(ServerRef<Stage> stage) {
  return detail::call_stage(stage, detail::StatusCall{});
}

}  // namespace dagverk
