#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/event/detail/hub_manager.hpp"
#include "dagverk/event/detail/serial_hub.hpp"
#include "dagverk/event/detail/staged_hub.hpp"
#include "dagverk/event/event_manager.hpp"
#include "dagverk/runtime/async.hpp"
#include "dagverk/runtime/runtime_base.hpp"
#include "dagverk/runtime/server_ref.hpp"
#include "dagverk/runtime/this_process.hpp"

#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace dagverk {

namespace detail {

/// A manager that somebody else owns.
template <class E, class Hub>
class FoundManager final : public HubManager<E, Hub> {
 public:
  FoundManager(RuntimeBase& runtime, RunningHub<Hub> hub) : HubManager<E, Hub>(runtime, std::move(hub), false) {}
};

template <class E, class Hub>
Async<Result<std::unique_ptr<EventManager<E>>>> found_manager(RuntimeBase& runtime, ServerRef<Hub> hub) {
  Result<std::shared_ptr<HubShared>> shared = co_await hub.template call<typename Hub::Share>();
  if (!shared) co_return shared.error();
  co_return std::unique_ptr<EventManager<E>>(new FoundManager<E, Hub>(runtime, {hub, std::move(*shared)}));
}

template <class E>
Async<Result<std::unique_ptr<EventManager<E>>>> find_manager(std::string name) {
  RuntimeBase& runtime = this_process::runtime();
  const Name<SerialHub<E>> serial(runtime, name);
  const Name<StagedHub<E>> staged(runtime, std::move(name));
  const Result<ServerRef<SerialHub<E>>> serial_hub = serial.resolve();
  const Result<ServerRef<StagedHub<E>>> staged_hub = staged.resolve();
  if (serial_hub) {
    Async<Result<std::unique_ptr<EventManager<E>>>> finding = found_manager<E>(runtime, *serial_hub);
    Result<std::unique_ptr<EventManager<E>>> found = co_await finding;
    co_return std::move(found);
  }
  if (!staged_hub) co_return staged_hub.error();
  Async<Result<std::unique_ptr<EventManager<E>>>> finding = found_manager<E>(runtime, *staged_hub);
  Result<std::unique_ptr<EventManager<E>>> found = co_await finding;
  co_return std::move(found);
}

}  // namespace detail

/// The event manager that holds `name`, whichever of the three it is: everything that its owner can do with it, but for
/// owning it.
///
/// Semantics: of that process only, as a ServerRef: after its end operations fail with `no_process`, and events are
///            counted as discarded, also when another manager has the name by then. Destroying it stops nothing.
/// Threads:   inside a process; `find_event_manager_blocking` outside of one.
/// Errors:    `no_process` when nobody holds the name, `wrong_type` when the holder is no manager of events `E`,
///            `timeout` when the manager is busy for 5 s.
/// Lifetime:  must not outlive its runtime.
template <class E>
[[nodiscard]] Async<Result<std::unique_ptr<EventManager<E>>>> find_event_manager(std::string_view name) {
  return detail::find_manager<E>(std::string(name));
}
template <class E>
[[nodiscard]] Result<std::unique_ptr<EventManager<E>>> find_event_manager_blocking(RuntimeBase& runtime,
                                                                                   std::string_view name) {
  return runtime.run(detail::find_manager<E>(std::string(name)));
}

}  // namespace dagverk
