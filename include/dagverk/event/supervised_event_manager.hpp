#pragma once

#include "dagverk/event/detail/hub_manager.hpp"
#include "dagverk/event/detail/named_start.hpp"
#include "dagverk/event/detail/staged_hub.hpp"

#include <cstddef>
#include <utility>

namespace dagverk {

struct SupervisedEventOptions {
  /// Kinds that are produced at all; the others nobody gets, whatever handlers want.
  EventKinds kinds = EventKinds::all();
  /// Messages (or events of published batches) under way to the manager; more are turned away, counted as `refused`
  /// and for each handler as `ingress`. At most `ingress_limit`.
  std::size_t ingress_max = 100'000;
  /// Linked to the process that makes it, which becomes its parent: the manager ends with that process.
  bool link = false;
};

/// The event manager with one server for each handler: they run concurrently, and a crash takes down one alone.
///
/// Semantics: the supervisor with a server per handler that replaced GenEvent in ExUnit. Each handler has a queue of
///            its own, which its overflow rule bounds (keep_newest unless it says otherwise; `wait` is not offered: no
///            handler is held up by another), and its restart type. `notify` is the cast to each; `sync_notify` the
///            parallel call: all handlers have the event at once, and the caller learns each one's outcome. `stop`
///            ends them in order, each having finished what is queued; `stop(Duration::zero())` as exit signals do:
///            each after the event that it handles.
/// Threads:   as EventManager.
/// Errors:    as EventManager; `configuration` for the rule `wait`.
/// Lifetime:  borrows the runtime. The destructor stops it, waiting for handlers as `stop` does, unless it runs inside
///            a process: there it only asks for the stop, so `co_await stop()` first.
/// Bounds:    per handler its rule, on the way in `ingress_max`.
template <class E>
class SupervisedEventManager final : public detail::HubManager<E, detail::StagedHub<E>>,
                                     public detail::NamedStart<SupervisedEventManager<E>, SupervisedEventOptions> {
 public:
  /// Starts a manager without a name; anywhere, also inside a process. With a name: `start`, `start_blocking`.
  explicit SupervisedEventManager(RuntimeBase& runtime, SupervisedEventOptions options = {})
      : SupervisedEventManager(runtime, Base::begin(runtime, options.link, options.ingress_max, hub_options(options))) {
  }

 private:
  using Hub = detail::StagedHub<E>;
  using Base = detail::HubManager<E, Hub>;
  friend class detail::NamedStart<SupervisedEventManager, SupervisedEventOptions>;

  SupervisedEventManager(RuntimeBase& runtime, detail::RunningHub<Hub> hub) : Base(runtime, std::move(hub), true) {}
  [[nodiscard]] static detail::StagedHubOptions hub_options(const SupervisedEventOptions& options) {
    return {.kinds = options.kinds, .wait_events_max = 0, .may_wait = false};
  }
};

}  // namespace dagverk
