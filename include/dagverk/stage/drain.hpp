#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/runtime/async.hpp"
#include "dagverk/runtime/runtime_base.hpp"
#include "dagverk/stage/detail/drain_state.hpp"
#include "dagverk/stage/detail/protocol.hpp"
#include "dagverk/stage/subscription.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dagverk {

namespace detail {

/// How a stage handles what drains it. `halt` is null for a stage that only consumes.
struct DrainOps {
  const NodeOps* drain;
  const NodeOps* halt;
  std::string_view name;
};

template <class Stage>
struct DrainNode {
  using Call = CallNode<DrainCall, void>;
  using Payload = typename Call::Payload;

  static bool run(Node* node, ProcessCore& core) {
    From<DrainCall> from(node);
    if constexpr (requires(Stage& stage) { stage.begin_drain(std::move(from)); }) {
      static_cast<Stage&>(*core.behaviour).begin_drain(std::move(from));
    } else {
      from.reply({});  // what came before this message has been handled
    }
    return false;
  }
  static constexpr NodeOps ops{&run, &Call::discard_request, type_name<DrainCall>(), NodeClass::message};
};

template <class Stage>
[[nodiscard]] constexpr const NodeOps* halt_ops() noexcept {
  if constexpr (ProducingStage<Stage>) {
    return &stage_node_ops<Stage, HaltCast>;
  } else {
    return nullptr;
  }
}
template <class Stage>
inline constexpr DrainOps drain_ops{&DrainNode<Stage>::ops, halt_ops<Stage>(), type_name<Stage>()};

}  // namespace detail

/// The address of any running stage.
///
/// Semantics: made from the ServerRef of any Producer, ProducerConsumer, Consumer or ready-made stage.
/// Threads:   a value; any.
/// Lifetime:  not after the runtime.
class StageRef {
 public:
  template <class Stage>
    requires(detail::ProducingStage<Stage> || detail::ConsumingStage<Stage>)
  StageRef(ServerRef<Stage> stage) noexcept  // NOLINT(google-explicit-constructor): a wider view of the same address
      : pid_(stage.pid()), ops_(&detail::drain_ops<Stage>) {}

  [[nodiscard]] Pid pid() const noexcept { return pid_; }
  [[nodiscard]] const detail::DrainOps& ops() const noexcept { return *ops_; }

 private:
  Pid pid_;
  const detail::DrainOps* ops_;
};

/// What became of one stage.
struct StageDrain {
  std::string name;  ///< its class
  Pid pid;
  bool drained = false;    ///< it said so, or it had ended and had nothing left
  std::uint64_t left = 0;  ///< events that wait in it or are on their way to it
  std::string why;         ///< `drained`, or what it waits for
};

/// What became of a pipeline, in the order in which its stages were named.
struct DrainReport {
  std::vector<StageDrain> stages;
  Duration took{0};

  [[nodiscard]] bool drained() const noexcept;
  /// A line for each stage.
  [[nodiscard]] std::string to_string() const;
};

/// Stops a pipeline at its sources and lets what is in it be handled: `co_await drain(std::move(stages), 5s)`.
///
/// Semantics: `stages` are all of the pipeline, each behind those that it is subscribed to. First every one is told to
///            produce nothing new: handle_demand is not called any more, a PushProducer refuses pushes, and
///            `handle_drain()`, an optional callback of producers, says it to a stage that emits by itself; whatever
///            such a stage still emits is delivered. Then, one after the other, each is waited for until nothing it has
///            taken or emitted waits in it: a consumer has handled all that was sent, a ConsumerSupervisor's children
///            have ended, an Acknowledger's events are acknowledged or dead. Nothing is dropped, no subscription ends
///            and no stage: stop them afterwards, as their supervisor would.
/// Threads:   inside a process that is none of these stages. Stages go on handling other messages meanwhile.
/// Errors:    none of its own: what could not be drained within `limit` is in the report, with what is left where.
/// Bounds:    takes `limit` at most, even when stages hang. What was told to produce nothing new stays so.
[[nodiscard]] Async<Result<DrainReport>> drain(std::vector<StageRef> stages, Duration limit);

/// As `drain`, from outside of processes: blocks this thread. Errors: those of RuntimeBase::run.
[[nodiscard]] Result<DrainReport> drain_blocking(RuntimeBase& runtime, std::vector<StageRef> stages, Duration limit);

}  // namespace dagverk
