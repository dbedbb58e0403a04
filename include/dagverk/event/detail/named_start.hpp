#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/event/detail/hub_manager.hpp"
#include "dagverk/runtime/async.hpp"
#include "dagverk/runtime/runtime_base.hpp"
#include "dagverk/runtime/this_process.hpp"

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace dagverk::detail {

/// What an event manager has for being started under a name.
///
/// Semantics: GenEvent's `start_link(name: …)`. The name belongs to the manager's process, as any process' does: it is
///            free again when that has ended, and `find_event_manager` finds the manager by it.
/// Threads:   `start` inside a process, `start_blocking` outside of one (`wrong_thread` otherwise).
/// Errors:    `already_exists` when a live process holds the name: nothing is started; `invalid_argument` for an empty
///            one; `shutting_down` once the runtime has been stopped.
template <class Manager, class Options>
class NamedStart {
 public:
  [[nodiscard]] static Async<Result<std::unique_ptr<Manager>>> start(std::string_view name, Options options = {}) {
    return start_as(std::string(name), options);
  }
  [[nodiscard]] static Result<std::unique_ptr<Manager>> start_blocking(RuntimeBase& runtime, std::string_view name,
                                                                       Options options = {}) {
    using Hub = typename Manager::Hub;
    if (name.empty()) return no_name();
    auto shared = share(options);
    const Result<ServerRef<Hub>> started =
        runtime.start_with<Hub>(StartOptions{.name = std::string(name)}, Manager::hub_options(options), shared);
    if (!started) return started.error();
    return std::unique_ptr<Manager>(new Manager(runtime, {*started, std::move(shared)}));
  }

 private:
  static Async<Result<std::unique_ptr<Manager>>> start_as(std::string name, Options options) {
    using Hub = typename Manager::Hub;
    if (name.empty()) co_return no_name();
    auto shared = share(options);
    StartOptions how = hub_start(options.link);
    how.name = std::move(name);
    auto starting = this_process::start_with<Hub>(std::move(how), Manager::hub_options(options), shared);
    const Result<ServerRef<Hub>> started = co_await starting;
    if (!started) co_return started.error();
    co_return std::unique_ptr<Manager>(new Manager(this_process::runtime(), {*started, std::move(shared)}));
  }

  [[nodiscard]] static std::shared_ptr<HubShared> share(const Options& options) {
    return std::make_shared<HubShared>(std::min(options.ingress_max, ingress_limit));
  }
  [[nodiscard]] static Error no_name() {
    return Error(ErrorCode::invalid_argument, "an event manager's name must not be empty; one without is constructed");
  }
};

}  // namespace dagverk::detail
