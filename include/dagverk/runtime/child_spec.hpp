#pragma once

#include "dagverk/runtime/restart_policy.hpp"
#include "dagverk/runtime/this_process.hpp"

#include <concepts>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

namespace dagverk {

/// When a supervisor restarts a child that has ended by itself.
enum class Restart : std::uint8_t {
  permanent,  ///< always
  transient,  ///< unless it ended normal-ish (`ExitReason::normal_ish`)
  temporary,  ///< never; the supervisor forgets it
};

enum class ChildType : std::uint8_t { worker, supervisor };

/// How a supervisor stops a child.
class Shutdown {
 public:
  /// With `kill`, at once.
  [[nodiscard]] static constexpr Shutdown brutal_kill() noexcept { return Shutdown(Duration::min()); }
  /// With `shutdown`, and after `limit` with `kill`. Zero: both at once. A spec with less than zero is refused.
  [[nodiscard]] static constexpr Shutdown after(Duration limit) noexcept { return Shutdown(limit); }
  /// With `shutdown`, and then waits for as long as it takes.
  [[nodiscard]] static constexpr Shutdown infinity() noexcept { return Shutdown(Duration::max()); }

  [[nodiscard]] constexpr bool kills_at_once() const noexcept { return limit_ == Duration::min(); }
  [[nodiscard]] constexpr bool unlimited() const noexcept { return limit_ == Duration::max(); }
  [[nodiscard]] constexpr Duration limit() const noexcept { return limit_; }

 private:
  constexpr explicit Shutdown(Duration limit) noexcept : limit_(limit) {}

  Duration limit_;
};

struct ChildOptions {
  Restart restart = Restart::permanent;
  /// Nothing: `after(5 s)` for workers, `infinity()` for supervisors.
  std::optional<Shutdown> shutdown = {};
  /// Its end may end the supervisor (`SupervisorOptions::auto_shutdown`). Not for permanent children.
  bool significant = false;
  /// The child holds its id as its name, so that `Name<Server>(runtime, id)` finds it after restarts.
  bool registered = false;
  std::uint32_t mailbox_bound = 0;                 ///< as StartOptions::mailbox_bound
  MailboxRule mailbox_rule = MailboxRule::reject;  ///< as StartOptions::mailbox_rule
  std::uint32_t mailbox_alarm = 0;                 ///< as StartOptions::mailbox_alarm
  RestartBackoff backoff = {};                     ///< waiting before restarts; none by default, as in OTP
  /// A limit of the child's own: beyond it the child is given up (`ChildState::failed`) and the supervisor lives on;
  /// its restarts do not count for the supervisor's limit. Nothing (as in OTP): they count there.
  std::optional<RestartLimit> limit = {};
};

/// Starts one child: runs inside the supervisor's process and awaits a `this_process::start_with(options, …)`.
/// `options` has the supervisor as parent; the child must be started with it.
using ChildStart = std::function<Async<Result<Pid>>(StartOptions options)>;

/// What a supervisor starts, restarts and stops. Usually made by `child_spec<Server>(id, args…)`.
struct ChildSpec : ChildOptions {
  std::string id;  ///< unique among its siblings; not used by a DynamicSupervisor
  ChildStart start;
  ChildType type = ChildType::worker;
};

/// As ChildSpec, and knows the server's type, so that `start_child` answers with a typed reference.
template <class Server>
struct ChildSpecOf : ChildSpec {};

/// Errors: `invalid_argument`, naming the field.
[[nodiscard]] Result<void> check(const ChildSpec& spec);

namespace detail {

template <class Server, class... Args>
Async<Result<Pid>> start_child_server(StartOptions options, std::tuple<Args...> args) {
  auto starting = std::apply(
      [&](Args&... each) { return this_process::start_with<Server>(std::move(options), std::move(each)...); }, args);
  Result<ServerRef<Server>> started = co_await starting;
  if (!started) co_return started.error();
  co_return started->pid();
}

template <class Server>
[[nodiscard]] constexpr ChildType child_type_of() noexcept {
  if constexpr (requires { Server::child_type; }) {
    return Server::child_type;
  } else {
    return ChildType::worker;
  }
}

}  // namespace detail

/// The spec of a child that is a `Server(args…)`. `args` are copied now and again for each start, so a restarted child
/// begins with what the first one began with.
///
/// An argument that refers to a sibling is its `Name`, not its ServerRef, which its restart makes useless.
template <class Server, class... Args>
[[nodiscard]] ChildSpecOf<Server> child_spec_with(ChildOptions options, std::string_view id, Args&&... args) {
  static_assert((std::copy_constructible<std::decay_t<Args>> && ...),
                "a child's arguments are copied for each start: make what cannot be copied in its constructor or init, "
                "or share it by shared_ptr");
  ChildSpecOf<Server> spec;
  static_cast<ChildOptions&>(spec) = options;
  spec.id = id;
  spec.type = detail::child_type_of<Server>();
  spec.start = [args = std::tuple<std::decay_t<Args>...>(std::forward<Args>(args)...)](StartOptions start_options) {
    return detail::start_child_server<Server>(std::move(start_options), args);
  };
  return spec;
}
template <class Server, class... Args>
[[nodiscard]] ChildSpecOf<Server> child_spec(std::string_view id, Args&&... args) {
  return child_spec_with<Server>(ChildOptions(), id, std::forward<Args>(args)...);
}

}  // namespace dagverk
