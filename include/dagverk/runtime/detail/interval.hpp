#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/runtime/detail/handlers.hpp"
#include "dagverk/runtime/detail/process_core.hpp"

#include <cstdint>
#include <utility>

namespace dagverk::detail {

/// Where an interval stands. Due times are exact multiples of the period after its start.
struct IntervalTick {
  std::uint64_t id;
  SteadyTime due;
  Duration period;
};

/// Throws std::invalid_argument unless `period` is positive.
void check_period(Duration period);
/// The first tick of a new interval of the running process.
[[nodiscard]] IntervalTick new_interval(ProcessCore& core, Duration period);
/// False when it was cancelled.
[[nodiscard]] bool interval_runs(const ProcessCore& core, std::uint64_t id) noexcept;
/// Arms `node` for `tick.due`.
void arm_interval(ProcessCore& core, const IntervalTick& tick, Node* node);
/// A tick is handled now: moves `tick` to the next due time that is still to come and counts those that have passed.
/// False when the interval was cancelled meanwhile.
[[nodiscard]] bool next_tick(ProcessCore& core, IntervalTick& tick);

/// One node per interval: in the timer queue, then in the mailbox, then in the timer queue again. So at most one tick
/// waits in a mailbox, and a tick allocates nothing but the copy that the handler gets.
template <class Server, class Message>
struct IntervalNode {
  struct Payload {
    IntervalTick tick;
    Message message;
  };

  static void discard(Node* node, const ExitReason& /*reason*/) noexcept {
    destroy_quietly(payload_of<Payload>(node));
    free_node(node);
  }
  static bool unseen(const Node* node, const ProcessCore& core) noexcept {
    return !interval_runs(core, payload_of<Payload>(node).tick.id);
  }
  static bool run(Node* node, ProcessCore& core) {
    auto& payload = payload_of<Payload>(node);
    if (!next_tick(core, payload.tick)) {
      core.current_node = nullptr;
      discard(node, ExitReason::normal);
      return false;
    }
    Node* info = make_node<Message>(info_node_ops<Server, Message>, std::as_const(payload.message));
    core.current_node = info;  // disposed of when its handler throws
    arm_interval(core, payload.tick, node);
    core.current_ops.store(info->ops, std::memory_order_relaxed);
    if (info->ops->run(info, core)) free_node(info);
    return false;
  }
  // No mailbox bound refuses it: the interval would end.
  static constexpr NodeOps ops{&run, &discard, type_name<Message>(), NodeClass::notice, &unseen};
};

}  // namespace dagverk::detail
