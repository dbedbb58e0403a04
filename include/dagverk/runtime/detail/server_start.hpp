#pragma once

#include "dagverk/runtime/detail/call.hpp"
#include "dagverk/runtime/detail/process_core.hpp"
#include "dagverk/runtime/init_result.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

namespace dagverk {

/// What happens to a message (cast, call, info) that finds a mailbox at its bound. It is counted in the process'
/// `dropped` in every case; a call that is not taken, or is dropped later, answers `mailbox_full`. Signals, replies,
/// `Down`, `Exit` and ticks of intervals are never refused.
enum class MailboxRule : std::uint8_t {
  reject,       ///< it is refused: `try_cast` says `mailbox_full`
  drop_newest,  ///< it is dropped, and a cast's sender is not told
  drop_oldest,  ///< it is taken, and the oldest message that waits is dropped
  wait,         ///< its sender waits for room, at most `mailbox_wait`; inside a process and for timers: as `reject`
};

/// A mailbox has reached its alarm depth, or has fallen to half of it since.
struct MailboxAlarm {
  Pid pid;
  std::string_view name;  ///< the process' name, or its kind
  std::uint32_t depth;    ///< messages that wait
  bool high;              ///< reached; false: fallen again
};
/// Threads: called on whichever thread crosses: a sender's, or the process' own. Must not block.
using OnMailboxAlarm = std::function<void(const MailboxAlarm&)>;

/// How a server is started.
struct StartOptions {
  std::string name = {};                            ///< registered before init runs; empty: none
  std::uint32_t mailbox_bound = 0;                  ///< messages. 0: no bound. At most 1,000,000
  MailboxRule mailbox_rule = MailboxRule::reject;   ///< for messages that find the mailbox at its bound
  Duration mailbox_wait = std::chrono::seconds(5);  ///< how long rule `wait` makes a sender wait; then it is refused
  /// Depth at which `process.mailbox_high` is logged and `on_mailbox_alarm` called, once until the depth has fallen to
  /// half of it. 0: none. At most the bound, when there is one. A mailbox with a bound or an alarm takes a lock per
  /// message; one without pays nothing for them.
  std::uint32_t mailbox_alarm = 0;
  OnMailboxAlarm on_mailbox_alarm = {};
  Pid parent = {};  ///< linked to, and its exit signal always ends the server (after terminate); set by start_link
  std::string child_id = {};   ///< what the parent calls it, for snapshots; set by supervisors
  std::uint64_t restarts = 0;  ///< how often the parent has started this child again, for snapshots
};

}  // namespace dagverk

namespace dagverk::detail {

/// Who is told of a mailbox' alarms, and about whom.
struct MailboxWatch {
  std::string name;
  OnMailboxAlarm callback;
};

inline constexpr Duration start_timeout =
    std::chrono::hours(1);  // init has no limit of its own in OTP either; this one catches a hang

/// The first message of a server's process.
template <class Server, class... Args>
struct StartMessage {
  using Reply = Pid;
  StartOptions options;
  std::tuple<Args...> args;
};

/// Prepares the process for `type`: name, bound, link to the parent. False (with `error` set) when the name is taken.
bool prepare_server(ProcessCore& core, const ProcessType& type, const StartOptions& options, Error& error);
/// Ends the process after a failed start: nobody is told but the starter.
void abort_start(ProcessCore& core, ExitReason reason);
/// The server runs: from now on its links hear of its end.
void finish_start(ProcessCore& core) noexcept;
/// Why the process was asked to end. Only while `stop_requested`.
[[nodiscard]] const ExitReason& requested_stop(const ProcessCore& core) noexcept;

/// True when an `init` that returns `R` says how the start goes on.
template <class R>
inline constexpr bool starts_with = std::is_void_v<R> || std::is_convertible_v<R, InitResult>;
template <class R>
inline constexpr bool starts_with<Async<R>> = std::is_void_v<R> || std::is_convertible_v<R, InitResult>;

template <class Server, class... Args>
struct StartNode {
  using Message = StartMessage<Server, Args...>;
  using Call = CallNode<Message, Pid>;
  using Payload = typename Call::Payload;

  static void settle(ProcessCore& core, Node* node, const InitResult& result) {
    switch (result.kind()) {
      case InitResult::Kind::ok:
        if (core.stop_requested) {  // `stop()` inside of init
          Call::reply(node, call_failed(requested_stop(core), type_name<Server>()));
          return;
        }
        finish_start(core);
        Call::reply(node, core.pid());
        return;
      case InitResult::Kind::ignore:
        abort_start(core, ExitReason::normal);
        Call::reply(node, Error(ErrorCode::ignored, concat(type_name<Server>(), " chose not to start")));
        return;
      case InitResult::Kind::stop:
        abort_start(core, result.reason());
        Call::reply(node, call_failed(result.reason(), type_name<Server>()));
        return;
    }
  }

  template <class R>
  static void finish(ProcessCore& core, std::coroutine_handle<> root, Node* node) {
    auto handle = std::coroutine_handle<AsyncPromise<R>>::from_address(root.address());
    if constexpr (std::is_void_v<R>) {
      handle.promise().take();
      settle(core, node, InitResult::ok());
    } else {
      settle(core, node, handle.promise().take());
    }
  }

  static bool run(Node* node, ProcessCore& core) {
    auto& payload = payload_of<Payload>(node);
    Error error(ErrorCode::internal);
    if (!prepare_server(core, process_type<Server>, payload.request.options, error)) {
      abort_start(core, ExitReason::normal);
      Call::reply(node, error);
      return false;
    }
    core.behaviour = std::apply([](Args&... args) { return new Server(std::move(args)...); }, payload.request.args);
    auto& server = static_cast<Server&>(*core.behaviour);
    if constexpr (requires { server.init(); }) {
      using R = decltype(server.init());
      static_assert(starts_with<R>, "init returns void, an InitResult, or an Async of either");
      if constexpr (!starts_with<R>) {
        return false;
      } else if constexpr (is_async<R>) {
        auto handle = server.init().release();
        using Value = std::remove_cvref_t<decltype(handle.promise().take())>;
        start_activity(
            core,
            Activity{handle, node,
                     &finish<std::conditional_t<std::is_void_v<decltype(handle.promise().take())>, void, Value>>});
      } else if constexpr (std::is_void_v<R>) {
        server.init();
        settle(core, node, InitResult::ok());
      } else {
        settle(core, node, server.init());
      }
    } else {
      settle(core, node, InitResult::ok());
    }
    return false;
  }

  static constexpr NodeOps ops{&run, &Call::discard_request, type_name<Message>(), NodeClass::message};
};

template <class Server, class... Args>
[[nodiscard]] Node* make_start(StartOptions options, Args&&... args) {
  using Start = StartNode<Server, std::decay_t<Args>...>;
  return make_node<typename Start::Payload>(Start::ops, std::in_place, std::move(options),
                                            std::tuple<std::decay_t<Args>...>(std::forward<Args>(args)...));
}

/// Ends the process of a `spawn` once its body has returned.
void end_spawned(ProcessCore& core) noexcept;

template <class Body>
struct SpawnNode {
  using R = std::invoke_result_t<Body&>;

  static void discard(Node* node, const ExitReason& /*reason*/) noexcept {
    destroy_quietly(payload_of<Body>(node));
    free_node(node);
  }
  static void finish(ProcessCore& core, std::coroutine_handle<> root, Node* node) {
    std::coroutine_handle<AsyncPromise<void>>::from_address(root.address()).promise().take();
    discard(node, ExitReason::normal);
    end_spawned(core);
  }
  static bool run(Node* node, ProcessCore& core) {
    auto& body = payload_of<Body>(node);
    if constexpr (is_async<R>) {
      start_activity(core, Activity{body().release(), node, &finish});
      return false;
    } else {
      body();
      destroy_quietly(body);
      end_spawned(core);
      return true;
    }
  }
  static constexpr NodeOps ops{&run, &discard, type_name<Body>(), NodeClass::message};
};

template <class Body>
[[nodiscard]] Node* make_spawn(Body body) {
  return make_node<Body>(SpawnNode<Body>::ops, std::move(body));
}

/// Runs an awaitable in a process of its own for somebody who waits for the result.
template <class T>
struct RunMessage {
  using Reply = T;
  Async<Result<T>> work;
};

template <class T>
struct RunNode {
  using Call = CallNode<RunMessage<T>, T>;
  using Payload = typename Call::Payload;

  static void finish(ProcessCore& core, std::coroutine_handle<> root, Node* node) {
    Result<T> result = std::coroutine_handle<AsyncPromise<Result<T>>>::from_address(root.address()).promise().take();
    end_spawned(core);
    Call::reply(node, std::move(result));
  }
  static bool run(Node* node, ProcessCore& core) {
    start_activity(core, Activity{payload_of<Payload>(node).request.work.release(), node, &finish});
    return false;
  }
  static constexpr NodeOps ops{&run, &Call::discard_request, type_name<RunMessage<T>>(), NodeClass::message};
};

template <class T>
[[nodiscard]] Node* make_run(Async<Result<T>> work) {
  return make_node<typename RunNode<T>::Payload>(RunNode<T>::ops, std::in_place, std::move(work));
}

}  // namespace dagverk::detail
