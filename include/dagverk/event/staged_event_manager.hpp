#pragma once

#include "dagverk/event/detail/hub_manager.hpp"
#include "dagverk/event/detail/named_start.hpp"
#include "dagverk/event/detail/staged_hub.hpp"

#include <cstddef>
#include <utility>

namespace dagverk {

struct StagedEventOptions {
  /// Kinds that are produced at all; the others nobody gets, whatever handlers want.
  EventKinds kinds = EventKinds::all();
  /// Events that wait for all handlers with the rule `wait` together. 0: each is dropped for them at once, counted.
  std::size_t wait_events_max = 10'000;
  /// Messages (or events of published batches) under way to the manager; more are turned away, counted as `refused`
  /// and for each handler as `ingress`. Happens when publishers take every core from it. Bounds memory; at most
  /// `ingress_limit`.
  std::size_t ingress_max = 100'000;
  /// Linked to the process that makes it, which becomes its parent: the manager ends with that process.
  bool link = false;
};

/// The event manager whose handlers run concurrently, each on demand: the jobs' EventHub.
///
/// Semantics: a broadcast stage with one difference: each handler has its own place among the shared events and its own
///            overflow rule (keep_newest unless it says otherwise), so that one that is slow, hung or crashing costs
///            nobody else anything. Only handlers with the rule `wait` go at one pace, among themselves. A handler that
///            crashed resumes: what is buffered for it goes first.
/// Threads:   `notify` and `wants` from any thread or process, without a lock; otherwise as EventManager.
/// Errors:    as EventManager.
/// Lifetime:  borrows the runtime. The destructor stops it, waiting for handlers as `stop` does, unless it runs inside
///            a process: there it only asks for the stop, so `co_await stop()` first.
/// Bounds:    per handler its rule, for all `wait` handlers `wait_events_max`, on the way in `ingress_max`; batches of
///            more than 1,024 events are cut, so that what is kept of one pins no more than that.
template <class E>
class StagedEventManager final : public detail::HubManager<E, detail::StagedHub<E>>,
                                 public detail::NamedStart<StagedEventManager<E>, StagedEventOptions> {
 public:
  /// Starts a manager without a name; anywhere, also inside a process. With a name: `start`, `start_blocking`.
  explicit StagedEventManager(RuntimeBase& runtime, StagedEventOptions options = {})
      : StagedEventManager(runtime, Base::begin(runtime, options.link, options.ingress_max, hub_options(options))) {}

 private:
  using Hub = detail::StagedHub<E>;
  using Base = detail::HubManager<E, Hub>;
  friend class detail::NamedStart<StagedEventManager, StagedEventOptions>;

  StagedEventManager(RuntimeBase& runtime, detail::RunningHub<Hub> hub) : Base(runtime, std::move(hub), true) {}
  [[nodiscard]] static detail::StagedHubOptions hub_options(const StagedEventOptions& options) {
    return {.kinds = options.kinds, .wait_events_max = options.wait_events_max};
  }
};

}  // namespace dagverk
