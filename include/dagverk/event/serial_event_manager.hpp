#pragma once

#include "dagverk/event/detail/hub_manager.hpp"
#include "dagverk/event/detail/named_start.hpp"
#include "dagverk/event/detail/serial_hub.hpp"

#include <cstddef>
#include <utility>

namespace dagverk {

struct SerialEventOptions {
  /// Kinds that are produced at all; the others nobody gets, whatever handlers want.
  EventKinds kinds = EventKinds::all();
  /// Messages (or events of published batches) under way to the manager; more are turned away, counted as `refused`
  /// and for each handler as `ingress`. At most `ingress_limit`.
  std::size_t ingress_max = 100'000;
  /// Linked to the process that makes it, which becomes its parent: the manager ends with that process.
  bool link = false;
};

/// The event manager that runs its handlers itself, one after the other, in order of addition: every handler sees an
/// event before any sees the next one.
///
/// Semantics: Elixir's GenEvent, typed. No handler runs beside another, so a slow or hung one delays all; there are no
///            queues per handler, and overflow rules and restart types have no meaning here. A handler that throws is
///            removed, with `terminate(error)` and a line in the log; the others get that event and all later ones.
///            A handler that blocks runs beside the others, on a thread of its own, as under the staged manager: with
///            copies of the events, its overflow rule, its restarts and `stop_handler`. `sync_notify` calls it
///            `pending`; in a swap it is `unsupported`.
///            `sync_notify` returns when all handlers have run, `ack_notify` when the manager has come to the event.
/// Threads:   as EventManager. What a handler does with its own manager by an awaitable operation is `calling_self`:
///            use `leave`, or another process.
/// Errors:    as EventManager; `configuration` for a handler that blocks when events cannot be copied.
/// Lifetime:  borrows the runtime. The destructor stops it, unless it runs inside a process: there it only asks for the
///            stop, so `co_await stop()` first. At the limit of a stop queued events are dropped; a handler that is
///            not done a second after it is dropped where it stands, with the manager: the stop gives `timeout`.
/// Bounds:    on the way in `ingress_max`; of a handler that blocks, what its rule keeps.
template <class E>
class SerialEventManager final : public detail::HubManager<E, detail::SerialHub<E>>,
                                 public detail::NamedStart<SerialEventManager<E>, SerialEventOptions> {
 public:
  /// Starts a manager without a name; anywhere, also inside a process. With a name: `start`, `start_blocking`.
  explicit SerialEventManager(RuntimeBase& runtime, SerialEventOptions options = {})
      : SerialEventManager(runtime, Base::begin(runtime, options.link, options.ingress_max, hub_options(options))) {}

 private:
  using Hub = detail::SerialHub<E>;
  using Base = detail::HubManager<E, Hub>;
  friend class detail::NamedStart<SerialEventManager, SerialEventOptions>;

  SerialEventManager(RuntimeBase& runtime, detail::RunningHub<Hub> hub) : Base(runtime, std::move(hub), true) {}
  [[nodiscard]] static detail::SerialHubOptions hub_options(const SerialEventOptions& options) {
    return {.kinds = options.kinds};
  }
};

}  // namespace dagverk
