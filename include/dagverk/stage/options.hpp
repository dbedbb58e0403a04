#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/runtime/restart_policy.hpp"
#include "dagverk/stage/buffer_keep.hpp"
#include "dagverk/stage/overflow.hpp"
#include "dagverk/stage/partition_name.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>

namespace dagverk {

/// What a consumer does when a subscription of its own ends (after handle_cancel).
///
/// Semantics: GenStage's `cancel` option.
enum class CancelMode : std::uint8_t {
  permanent,  ///< it ends with the same reason, even with `normal`
  transient,  ///< it ends with the same reason unless that is `normal`, `shutdown` or `shutdown_with`
  temporary,  ///< it goes on
};

/// How one subscription asks, ends and filters.
///
/// Units:  events.
/// Bounds: at most `max_demand` events are on their way to the consumer or in its hands.
template <class Event>
struct SubscribeOptions {
  /// What may be asked and not yet handled; 1 or more.
  std::int64_t max_demand = 1000;
  /// More is asked once no more than this many of what was asked are still to come; 0 … max_demand - 1. Unset:
  /// max_demand / 2. Events are handled in batches of at most max_demand - min_demand.
  std::optional<std::int64_t> min_demand = {};
  CancelMode cancel = CancelMode::permanent;
  /// True: nothing is asked but what the consumer asks by hand, and each message is handled whole.
  bool manual = false;
  /// Which events this consumer wants; empty: all. Runs in the producer's process, on the broadcast dispatcher only.
  /// What it rejects costs no demand. When it throws, this subscription alone is cancelled with that error.
  std::function<bool(const Event&)> selector = {};
  /// The partition this consumer serves: required by the partition dispatcher, which refuses a subscription to one that
  /// is not there; not looked at by others.
  PartitionName partition = {};
  /// What becomes of events that come faster than this consumer takes them. Any rule but `wait`, the default, keeps it
  /// from holding up others.
  Overflow<Event> overflow = {};
  /// True: what the producer emits by one `emit` comes as a batch of its own (cut by min_demand and max_demand, as
  /// ever), never joined with what it emits before or after. Its other consumers get smaller batches for it, too.
  bool unmerged = false;
  /// Of a subscription by name: when its producer has ended or nobody holds the name, it is made again after this
  /// delay, and `cancel` decides about cancels only. `initial` is more than zero. Unset: `cancel` decides.
  std::optional<RestartBackoff> resubscribe = {};
};

/// What a producer does with what is asked of it and with what it emits.
///
/// Semantics: GenStage's `demand` option.
enum class DemandFlow : std::uint8_t {
  forward,     ///< demand goes to handle_demand, events go to consumers
  accumulate,  ///< both are put off, in order, until it is set to `forward`: to let consumers gather first
};

/// How a producer keeps what nobody has asked for yet.
struct ProducerOptions {
  static constexpr std::size_t unbounded = std::numeric_limits<std::size_t>::max();

  /// Events kept at most; `unbounded`: no bound; 0: what cannot be delivered at once is dropped, counted.
  std::size_t buffer_size = 10'000;
  BufferKeep buffer_keep = BufferKeep::newest;
  /// Of a Producer: what it does at first. Of events put off, buffer_size beyond what consumers wait for are kept.
  DemandFlow demand = DemandFlow::forward;
};

namespace detail {

/// What a subscription may ask for, checked.
struct DemandRange {
  std::uint64_t min = 0;
  std::uint64_t max = 0;
};

/// Errors: `invalid_argument`, naming the field, its range and what was given.
[[nodiscard]] Result<DemandRange> check_demand(std::int64_t max_demand, std::optional<std::int64_t> min_demand);
/// Errors: `invalid_argument`, naming the field.
[[nodiscard]] Result<void> check_resubscribe(const RestartBackoff& backoff);

}  // namespace detail
}  // namespace dagverk
