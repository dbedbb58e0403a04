#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/runtime/detail/call.hpp"
#include "dagverk/runtime/detail/handlers.hpp"
#include "dagverk/runtime/pid.hpp"
#include "dagverk/runtime/runtime_base.hpp"

#include <chrono>
#include <string>
#include <utility>

namespace dagverk {

inline constexpr Duration call_timeout_default = std::chrono::seconds(5);

namespace detail {

// What ServerRef and Name share: everything one can do with a server once its pid is known. The assertions come first,
// and nothing is instantiated when one fails: the compiler's first lines name the server and the message.

template <class Message, class... Args>
concept BuiltFrom = requires(Args&&... args) { Message{std::forward<Args>(args)...}; };

template <class Message>
struct ReplyOf {
  static_assert(
      requires { typename Message::Reply; },
      "a message that is called says what it answers: `struct Total { using Reply = int; };`");
  using type = void;
};
template <class Message>
  requires requires { typename Message::Reply; }
struct ReplyOf<Message> {
  using type = typename Message::Reply;
};
template <class Message>
using reply_of = typename ReplyOf<Message>::type;

template <class Server, class Message, class... Args>
[[nodiscard]] Node* make_call(Args&&... args) {
  static_assert(HandlesCall<Server, Message>, "this server has no public handle_call for this message");
  static_assert(BuiltFrom<Message, Args...>, "this message cannot be built from these arguments");
  if constexpr (HandlesCall<Server, Message> && BuiltFrom<Message, Args...>) {
    return make_node<CallPayload<Message, typename Message::Reply>>(call_node_ops<Server, Message>, std::in_place,
                                                                    std::forward<Args>(args)...);
  } else {
    return nullptr;
  }
}

template <class Server, class Message, class... Args>
[[nodiscard]] Node* make_cast(Args&&... args) {
  static_assert(HandlesCast<Server, Message>, "this server has no public handle_cast for this message");
  static_assert(BuiltFrom<Message, Args...>, "this message cannot be built from these arguments");
  if constexpr (HandlesCast<Server, Message> && BuiltFrom<Message, Args...>) {
    return make_node<Message>(cast_node_ops<Server, Message>, std::forward<Args>(args)...);
  } else {
    return nullptr;
  }
}

template <class Server, class Message, class... Args>
[[nodiscard]] Node* make_info(Args&&... args) {
  static_assert(HandlesInfo<Server, Message>, "this server has no public handle_info for this message");
  static_assert(BuiltFrom<Message, Args...>, "this message cannot be built from these arguments");
  if constexpr (HandlesInfo<Server, Message> && BuiltFrom<Message, Args...>) {
    return make_node<Message>(info_node_ops<Server, Message>, std::forward<Args>(args)...);
  } else {
    return nullptr;
  }
}

template <class Server, class Message, class... Args>
[[nodiscard]] Node* make_continue(Args&&... args) {
  static_assert(HandlesContinue<Server, Message>, "this server has no public handle_continue for this message");
  if constexpr (HandlesContinue<Server, Message>) {
    return make_node<Message>(continue_node_ops<Server, Message>, std::forward<Args>(args)...);
  } else {
    return nullptr;
  }
}

/// Why `send` has refused a cast.
[[nodiscard]] Error cast_refused(Pid pid);

}  // namespace detail

/// The typed address of one running server.
///
/// Semantics: a value, valid for that process only: after a restart it reaches nobody. `Name<Server>` survives
///            restarts.
/// Threads:   any.
/// Errors:    a message the server has no handler for does not compile. `cast` and `info` to a process that has ended
///            are dropped.
/// Lifetime:  not after the runtime.
template <class Server>
class ServerRef {
 public:
  ServerRef() = default;
  explicit ServerRef(Pid pid) noexcept : pid_(pid) {}

  [[nodiscard]] Pid pid() const noexcept { return pid_; }
  friend bool operator==(const ServerRef&, const ServerRef&) noexcept = default;

  /// Sends without waiting for an answer.
  template <class Message>
  void cast(Message message) const {
    static_cast<void>(detail::send(pid_, detail::make_cast<Server, Message>(std::move(message))));
  }
  /// As `cast`, building the message in place.
  template <class Message, class... Args>
  void cast_of(Args&&... args) const {
    static_cast<void>(detail::send(pid_, detail::make_cast<Server, Message>(std::forward<Args>(args)...)));
  }
  /// As `cast`, but says when the mailbox refused it (`mailbox_full`) or nobody is there (`no_process`).
  template <class Message>
  [[nodiscard]] Result<void> try_cast(Message message) const {
    if (detail::send(pid_, detail::make_cast<Server, Message>(std::move(message)))) return {};
    return detail::cast_refused(pid_);
  }

  /// Sends a message for `handle_info`.
  template <class Message>
  void info(Message message) const {
    static_cast<void>(detail::send(pid_, detail::make_info<Server, Message>(std::move(message))));
  }

  /// Inside a process: `co_await ref.call<M>(args…)` sends M{args…} and waits at most 5 s, suspending the process, not
  /// the thread. Errors: `timeout` (a late reply is dropped), `no_process`, `exited`, `calling_self`, `mailbox_full`.
  template <class Message, class... Args>
  [[nodiscard]] detail::CallAwaiter<Message, detail::reply_of<Message>> call(Args&&... args) const {
    return call_within<Message>(call_timeout_default, std::forward<Args>(args)...);
  }
  /// As `call`, with another limit. Zero or less: no limit.
  template <class Message, class... Args>
  [[nodiscard]] detail::CallAwaiter<Message, detail::reply_of<Message>> call_within(Duration timeout,
                                                                                    Args&&... args) const {
    return {pid_, detail::make_call<Server, Message>(std::forward<Args>(args)...), timeout};
  }

  /// Outside of a process: as `call`, blocking this thread. Errors: as `call`, and `wrong_thread` inside a process.
  /// A call into a runtime whose threads have gone to sleep costs some 50 µs more than one into a busy runtime.
  template <class Message, class... Args>
  [[nodiscard]] Result<detail::reply_of<Message>> call_blocking(Args&&... args) const {
    return call_blocking_within<Message>(call_timeout_default, std::forward<Args>(args)...);
  }
  template <class Message, class... Args>
  [[nodiscard]] Result<detail::reply_of<Message>> call_blocking_within(Duration timeout, Args&&... args) const {
    if (!pid_) return Error(ErrorCode::no_process, "the reference is empty");
    return detail::block_on_call<Message, detail::reply_of<Message>>(
        pid_, detail::make_call<Server, Message>(std::forward<Args>(args)...), timeout);
  }

 private:
  Pid pid_;
};

/// The address of whoever holds a name now; survives restarts.
///
/// Semantics: looks the name up when it is used. The holder must be a `Server`: `wrong_type` otherwise.
/// Threads:   any; one object may be used by several threads.
template <class Server>
class Name {
 public:
  Name(RuntimeBase& runtime, std::string name) : runtime_(&runtime), name_(std::move(name)) {}

  [[nodiscard]] const std::string& text() const noexcept { return name_; }

  /// The holder. Errors: `no_process` when nobody holds the name, `wrong_type` when another kind of server does.
  [[nodiscard]] Result<ServerRef<Server>> resolve() const {
    Result<Pid> pid = runtime_->resolve(name_, detail::process_type<Server>);
    if (!pid) return pid.error();
    return ServerRef<Server>(*pid);
  }

  /// As ServerRef::cast; dropped when nobody holds the name.
  template <class Message>
  void cast(Message message) const {
    cast_of<Message>(std::move(message));
  }
  /// As `cast`, building the message in place.
  template <class Message, class... Args>
  void cast_of(Args&&... args) const {
    detail::Node* node = detail::make_cast<Server, Message>(std::forward<Args>(args)...);
    static_cast<void>(detail::send(pid_or_none(), node));
  }
  /// As ServerRef::try_cast. Errors: also those of `resolve`.
  template <class Message>
  [[nodiscard]] Result<void> try_cast(Message message) const {
    Result<ServerRef<Server>> server = resolve();
    if (!server) return server.error();
    return server->try_cast(std::move(message));
  }
  /// As ServerRef::info; dropped when nobody holds the name.
  template <class Message>
  void info(Message message) const {
    detail::Node* node = detail::make_info<Server, Message>(std::move(message));
    static_cast<void>(detail::send(pid_or_none(), node));
  }

  /// As ServerRef::call. Errors: also those of `resolve`.
  template <class Message, class... Args>
  [[nodiscard]] detail::CallAwaiter<Message, detail::reply_of<Message>> call(Args&&... args) const {
    return call_within<Message>(call_timeout_default, std::forward<Args>(args)...);
  }
  template <class Message, class... Args>
  [[nodiscard]] detail::CallAwaiter<Message, detail::reply_of<Message>> call_within(Duration timeout,
                                                                                    Args&&... args) const {
    Result<ServerRef<Server>> server = resolve();
    detail::Node* request = detail::make_call<Server, Message>(std::forward<Args>(args)...);
    if (!server) return {server.error(), request};
    return {server->pid(), request, timeout};
  }
  template <class Message, class... Args>
  [[nodiscard]] Result<detail::reply_of<Message>> call_blocking(Args&&... args) const {
    return call_blocking_within<Message>(call_timeout_default, std::forward<Args>(args)...);
  }
  template <class Message, class... Args>
  [[nodiscard]] Result<detail::reply_of<Message>> call_blocking_within(Duration timeout, Args&&... args) const {
    Result<ServerRef<Server>> server = resolve();
    if (!server) return server.error();
    return server->template call_blocking_within<Message>(timeout, std::forward<Args>(args)...);
  }

 private:
  [[nodiscard]] Pid pid_or_none() const {
    Result<Pid> pid = runtime_->resolve(name_, detail::process_type<Server>);
    return pid ? *pid : Pid();
  }

  RuntimeBase* runtime_;
  std::string name_;
};

}  // namespace dagverk
