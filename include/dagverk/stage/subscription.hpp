#pragma once

#include "dagverk/runtime/exit_reason.hpp"
#include "dagverk/runtime/pid.hpp"
#include "dagverk/runtime/server_ref.hpp"
#include "dagverk/stage/options.hpp"

#include <concepts>
#include <cstdint>

namespace dagverk {

/// Names one subscription, on both of its sides. Never used twice in one runtime.
struct SubscriptionId {
  std::uint64_t value = 0;
  friend bool operator==(const SubscriptionId&, const SubscriptionId&) noexcept = default;
};

/// Which end of a subscription a stage is at.
enum class StageSide : std::uint8_t { producer, consumer };

/// One subscription as a stage's callbacks see it.
struct SubscriptionInfo {
  SubscriptionId id;
  Pid peer;             ///< the stage at the other end
  StageSide peer_side;  ///< what that one is here; a ProducerConsumer sees both kinds
};

/// Why a subscription ended.
struct SubscriptionEnd {
  bool down;  ///< the other stage's process ended; false: one of the two cancelled
  ExitReason reason;
};

/// What `handle_subscribe` of a consumer may return: how this subscription asks.
enum class DemandMode : std::uint8_t {
  automatic,  ///< by min_demand and max_demand
  manual,     ///< by `ask` alone
};

namespace detail {

template <class Derived, class Out>
class ProducerSide;
template <class Derived, class In>
class ConsumerSide;

struct ProducerOps;
template <class Stage>
[[nodiscard]] const ProducerOps& producer_ops_of() noexcept;

template <class Stage>
concept ProducingStage =
    requires { typename Stage::Output; } && std::derived_from<Stage, ProducerSide<Stage, typename Stage::Output>>;
template <class Stage>
concept ConsumingStage =
    requires { typename Stage::Input; } && std::derived_from<Stage, ConsumerSide<Stage, typename Stage::Input>>;

}  // namespace detail

/// The address of a running stage that produces events of one type, whatever its class is.
///
/// Semantics: made from the ServerRef of any Producer or ProducerConsumer with that Output, and from no other.
/// Threads:   a value; any.
/// Lifetime:  not after the runtime.
template <class Event>
class ProducerRef {
 public:
  template <detail::ProducingStage Stage>
    requires std::same_as<typename Stage::Output, Event>
  ProducerRef(ServerRef<Stage> stage) noexcept  // NOLINT(google-explicit-constructor): a wider view of the same address
      : pid_(stage.pid()), ops_(&detail::producer_ops_of<Stage>()) {}

  [[nodiscard]] Pid pid() const noexcept { return pid_; }
  [[nodiscard]] const detail::ProducerOps& ops() const noexcept { return *ops_; }

 private:
  Pid pid_;
  const detail::ProducerOps* ops_;
};

}  // namespace dagverk
