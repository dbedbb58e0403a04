#pragma once

#include "dagverk/runtime/exit_reason.hpp"
#include "dagverk/runtime/pid.hpp"
#include "dagverk/runtime/server_ref.hpp"
#include "dagverk/stage/options.hpp"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

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

/// What a stage looks like at one moment, see stage_control.hpp.
struct StageStatus {
  std::string dispatcher;                   ///< its class; empty of a stage that only consumes
  std::vector<SubscriptionInfo> producers;  ///< its subscriptions to others
  std::vector<SubscriptionInfo> consumers;  ///< the subscriptions of others to it
  std::size_t buffered = 0;                 ///< events emitted that nobody has asked for yet
  std::size_t accumulated = 0;              ///< events put off while demand is accumulated
  std::size_t buffer_size = 0;              ///< the bound of `buffered`
  DemandFlow demand = DemandFlow::forward;
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

/// Only these choose what they do with demand: a stage in between is asked because others ask it.
template <class Stage>
concept DemandingStage = ProducingStage<Stage> && !ConsumingStage<Stage>;

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

/// The name of whoever produces events of one type, whatever its class is; survives restarts of the producer.
///
/// Semantics: made from a Name or a RegisteredName of any Producer or ProducerConsumer with that Output. It is resolved
///            in the consumer's process when it subscribes.
/// Threads:   a value; any.
/// Lifetime:  not used after the runtime.
template <class Event>
class ProducerName {
 public:
  template <class Named>
    requires(!std::same_as<Named, ProducerName>) && requires(const Named& named) {
      { *named.resolve() } -> std::convertible_to<ProducerRef<Event>>;
    }
  ProducerName(Named named)  // NOLINT(google-explicit-constructor): a wider view of the same name
      : holder_(std::make_shared<Holder<Named>>(std::move(named))) {}

  /// Errors: those of the name.
  [[nodiscard]] Result<ProducerRef<Event>> resolve() const { return holder_->resolve(); }

 private:
  struct Resolver {
    Resolver() = default;
    Resolver(const Resolver&) = delete;
    Resolver& operator=(const Resolver&) = delete;
    virtual ~Resolver() = default;
    [[nodiscard]] virtual Result<ProducerRef<Event>> resolve() const = 0;
  };
  template <class Named>
  struct Holder final : Resolver {
    explicit Holder(Named name) : named(std::move(name)) {}
    [[nodiscard]] Result<ProducerRef<Event>> resolve() const override {
      auto found = named.resolve();
      if (!found) return found.error();
      return ProducerRef<Event>(*found);
    }
    Named named;
  };

  std::shared_ptr<const Resolver> holder_;  // shared by copies; immutable
};

namespace detail {

template <class Event>
using ProducerAddress = std::variant<ProducerRef<Event>, ProducerName<Event>>;

}  // namespace detail

/// A subscription that a stage is given to make when it starts: to whom, and how.
///
/// Semantics: `producer` is a ServerRef of a producer of `Event`, or a Name or RegisteredName of one, looked up at each
///            start.
/// Threads:   a value; any.
template <class Event>
struct SubscribeTo {
  detail::ProducerAddress<Event> producer;
  SubscribeOptions<Event> options = {};
};

}  // namespace dagverk
