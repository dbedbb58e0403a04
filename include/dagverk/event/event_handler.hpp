#pragma once

#include "dagverk/event/detail/handler_body.hpp"
#include "dagverk/event/event_kinds.hpp"
#include "dagverk/event/overflow_rule.hpp"
#include "dagverk/event/restart_policy.hpp"
#include "dagverk/runtime/exit_reason.hpp"
#include "dagverk/runtime/pid.hpp"
#include "dagverk/runtime/server_ref.hpp"
#include "dagverk/stage/overflow.hpp"

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace dagverk {

/// What reacts to events. `class Printer : public EventHandler<Event>` runs unchanged under every event manager.
///
/// Semantics: all public and each a plain function or a coroutine (`Async<void>`):
///              `handle_event(const E&)`               one event; or
///              `handle_batch(std::span<const E>)`     several at once, in order, preferred when both are there;
///              `init()`                               before the first event; when it throws, the handler has crashed;
///              `terminate(const ExitReason&)`         the last one, also after an exception; not after `kill`, nor
///                                                     when init has not returned. `normal`: it was removed or left;
///                                                     `shutdown`: its manager stops, or its owner has ended;
///                                                     `error`: it crashed;
///              `handle_call(M)`                       returns `M::Reply` (or Result of it): an answer to
///                                                     `manager.call<Handler, M>(name, …)`;
///              `handle_info(const Down&)`, `handle_info(const Exit&)`   as for a GenServer; plain functions;
///              `std::any hand_over()`, `take_over(std::any)`            what the old handler of a swap leaves to the
///                                                     new one: before terminate there, before init here.
///            `leave()` removes it once the current callback has returned. It runs in a process, its own or, under the
///            serial manager, the manager's: `this_process::…` works. An exception crashes this handler alone: what
///            then happens, its manager says. `static constexpr bool blocking = true;` gives it a thread of its own:
///            for code that blocks.
/// Threads:   one process; the object needs no locks.
/// Lifetime:  the event is valid until the callback has returned. The factory's arguments are copied for each start.
template <class E>
class EventHandler {
 public:
  using Event = E;

 protected:
  EventHandler() = default;
  ~EventHandler() = default;

  /// Removes this handler once the current callback has returned.
  void leave() noexcept { left_ = true; }

 private:
  template <class Handler, class Event>
  friend class detail::HandlerBodyOf;

  bool left_ = false;
};

/// When a handler that has a process of its own is started again, after its process has ended.
enum class HandlerRestart : std::uint8_t {
  permanent,  ///< always
  transient,  ///< when it crashed
  temporary,  ///< never: it stays visible, as `failed` or `stopped`, until somebody asks for its start
};

/// To the owner of a handler: it is gone, and why. `normal`: it was removed or left; `shutdown`: its manager has
/// stopped; `error`: it crashed and is not started again; `custom("swapped")`: another one took its place.
struct HandlerGone {
  std::string handler = {};
  ExitReason reason = {};
};

/// What becomes of the event that a callback threw at. (Of a batch, all that it was given.)
enum class CrashedEvent : std::uint8_t {
  skip,   ///< dropped, counted as `crashed`
  retry,  ///< handled again first after the restart; a handler that always throws ends up failed
};

inline constexpr std::size_t handler_batch_limit = 16'384;

struct HandlerOptions {
  OverflowRule overflow = KeepNewest{keep_newest_default};
  HandlerRestart restart_type = HandlerRestart::transient;
  HandlerRestartPolicy restart = {};
  CrashedEvent crashed_event = CrashedEvent::skip;
  /// Other kinds are not for this handler. A kind that no handler wants is not produced at all.
  EventKinds kinds = EventKinds::all();
  /// Events in its hands at a time, and so in one `handle_batch`: 1 to `handler_batch_limit`; at most half of what
  /// keep_newest and sample keep. More is faster, fewer leave more of its backlog to its overflow rule.
  std::size_t batch_max = 500;
  /// A thread of its own, as `blocking` in the class.
  bool blocking = false;
};

/// A handler to add: its name, which is its identity, its options and how to make it.
template <class E>
struct HandlerSpec {
  std::string name = {};
  HandlerOptions options = {};
  /// A rule that needs to know the events, in place of `options.overflow`: `coalesce<E>(…)`, `spill<E>(…)` (of
  /// stage/overflow.hpp and stage/spill.hpp) or one's own. With the default, `options.overflow` holds.
  /// Semantics: what the handler has in hand is not the rule's any more. Of an event that has to wait under such a rule
  ///            `sync_notify` says `pending`, at once.
  /// Threads:   its functions, and its file, are used in the manager's process: slow ones delay every handler.
  /// Errors:    when they throw, what waits is dropped, counted as `crashed` and logged, and the rule begins anew; what
  ///            it refuses, as a file that cannot be made, refuses the handler.
  Overflow<E> overflow = {};
  /// Events that it rejects are counted as `filtered`. Runs in the handler's process: when it throws, hangs or is slow,
  /// that is this handler's fault alone. Events wait in the handler's buffer before they are looked at.
  std::function<bool(const E&)> selector = {};
  std::function<std::unique_ptr<detail::HandlerBody<E>>()> make = {};
  /// When this process ends, the handler is removed. None: nobody owns it.
  Pid owner = {};
  /// How the owner is told that the handler has gone.
  std::function<void(HandlerGone)> tell_owner = {};

  /// Puts `rule` in the place of `options.overflow`.
  HandlerSpec& with_overflow(Overflow<E> rule) {
    overflow = std::move(rule);
    return *this;
  }

  /// The handler goes with `server`, which learns by `handle_info(HandlerGone)` why it went.
  template <class Server>
  HandlerSpec& owned_by(ServerRef<Server> server) {
    owner = server.pid();
    tell_owner = [server](HandlerGone gone) { server.info(std::move(gone)); };
    return *this;
  }
};

/// The spec of a handler `Handler(args…)` called `name`. The arguments are copied for each start.
template <class Handler, class... Args>
[[nodiscard]] HandlerSpec<typename Handler::Event> event_handler(std::string name, HandlerOptions options,
                                                                 Args&&... args) {
  using E = typename Handler::Event;
  static_assert(std::is_base_of_v<EventHandler<E>, Handler>, "handlers derive from EventHandler<their event>");
  static_assert(detail::HandlesEvents<Handler, E> || detail::HandlesBatches<Handler, E>,
                "this handler has neither handle_event(const E&) nor handle_batch(std::span<const E>), or not public");
  if constexpr (requires { requires Handler::blocking; }) options.blocking = true;
  HandlerSpec<E> spec;
  spec.name = std::move(name);
  spec.options = options;
  spec.make = [stored = std::tuple<std::decay_t<Args>...>(std::forward<Args>(args)...)] {
    return std::apply(
        [](const auto&... copied) -> std::unique_ptr<detail::HandlerBody<E>> {
          return std::make_unique<detail::HandlerBodyOf<Handler, E>>(copied...);
        },
        stored);
  };
  return spec;
}
template <class Handler>
[[nodiscard]] HandlerSpec<typename Handler::Event> event_handler(std::string name) {
  return event_handler<Handler>(std::move(name), HandlerOptions());
}

}  // namespace dagverk
