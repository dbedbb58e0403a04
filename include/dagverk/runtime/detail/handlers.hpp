#pragma once

#include "dagverk/runtime/async.hpp"
#include "dagverk/runtime/detail/call.hpp"
#include "dagverk/runtime/detail/process_core.hpp"
#include "dagverk/runtime/detail/quietly.hpp"

#include <concepts>
#include <coroutine>
#include <memory>
#include <type_traits>
#include <utility>

namespace dagverk::detail {

template <class Server, class Message>
concept HandlesCast = requires(Server& server, Message message) { server.handle_cast(std::move(message)); };
template <class Server, class Message>
concept HandlesInfo = requires(Server& server, Message message) { server.handle_info(std::move(message)); };
template <class Server, class Message>
concept HandlesContinue = requires(Server& server, Message message) { server.handle_continue(std::move(message)); };
template <class Server, class Message>
concept HandlesCallNow = requires(Server& server, Message message) {
  typename Message::Reply;
  server.handle_call(std::move(message));
};
template <class Server, class Message>
concept HandlesCallLater = requires(Server& server, Message message, From<Message> from) {
  server.handle_call(std::move(message), std::move(from));
};
template <class Server, class Message>
concept HandlesCall = HandlesCallNow<Server, Message> || HandlesCallLater<Server, Message>;

/// Messages without an answer. `Invoke` is one of the callback names below.
template <class Server, class Message, class Invoke>
struct PlainNode {
  static void discard(Node* node, const ExitReason& /*reason*/) noexcept {
    destroy_quietly(payload_of<Message>(node));
    free_node(node);
  }
  static void finish(ProcessCore& /*core*/, std::coroutine_handle<> root, Node* node) {
    std::coroutine_handle<AsyncPromise<void>>::from_address(root.address()).promise().take();
    discard(node, ExitReason::normal);
  }
  static bool run(Node* node, ProcessCore& core) {
    auto& server = static_cast<Server&>(*core.behaviour);
    auto& message = payload_of<Message>(node);
    using R = std::invoke_result_t<Invoke, Server&, Message>;
    constexpr bool answers_nothing = std::is_void_v<R> || std::is_same_v<R, Async<void>>;
    static_assert(answers_nothing, "this callback returns void or Async<void>");
    if constexpr (!answers_nothing) {
      return false;
    } else if constexpr (is_async<R>) {
      start_activity(core, Activity{Invoke{}(server, std::move(message)).release(), node, &finish});
      return false;
    } else {
      Invoke{}(server, std::move(message));
      destroy_quietly(payload_of<Message>(node));
      return true;
    }
  }
};

struct InvokeCast {
  template <class Server, class Message>
  auto operator()(Server& server, Message&& message) const {
    return server.handle_cast(std::forward<Message>(message));
  }
};
struct InvokeInfo {
  template <class Server, class Message>
  auto operator()(Server& server, Message&& message) const {
    return server.handle_info(std::forward<Message>(message));
  }
};
struct InvokeContinue {
  template <class Server, class Message>
  auto operator()(Server& server, Message&& message) const {
    return server.handle_continue(std::forward<Message>(message));
  }
};

/// An idle time limit that is over.
struct IdleTimeout {};
struct InvokeTimeout {
  template <class Server>
  auto operator()(Server& server, IdleTimeout /*message*/) const {
    return server.handle_timeout();
  }
};

template <class Server, class Message, class Invoke>
inline constexpr NodeOps plain_node_ops{&PlainNode<Server, Message, Invoke>::run,
                                        &PlainNode<Server, Message, Invoke>::discard, type_name<Message>(),
                                        NodeClass::message};
template <class Server, class Message>
inline constexpr const NodeOps& cast_node_ops = plain_node_ops<Server, Message, InvokeCast>;
template <class Server, class Message>
inline constexpr const NodeOps& info_node_ops = plain_node_ops<Server, Message, InvokeInfo>;
template <class Server, class Message>
inline constexpr const NodeOps& continue_node_ops = plain_node_ops<Server, Message, InvokeContinue>;
template <class Server>
inline constexpr const NodeOps& timeout_node_ops = plain_node_ops<Server, IdleTimeout, InvokeTimeout>;

/// A terminate callback that is a coroutine; the process ends when it is done.
template <class Server>
struct TerminateNode {
  static void discard(Node* node, const ExitReason& /*reason*/) noexcept {
    payload_of<ExitReason>(node).~ExitReason();
    free_node(node);
  }
  static void finish(ProcessCore& core, std::coroutine_handle<> root, Node* node) {
    core.exit_now = true;
    std::coroutine_handle<AsyncPromise<void>>::from_address(root.address()).promise().take();
    discard(node, ExitReason::normal);
  }
  static bool run(Node* node, ProcessCore& core) {
    auto& server = static_cast<Server&>(*core.behaviour);
    start_activity(core, Activity{server.terminate(payload_of<ExitReason>(node)).release(), node, &finish});
    return false;
  }
};
template <class Server>
inline constexpr NodeOps terminate_node_ops{&TerminateNode<Server>::run, &TerminateNode<Server>::discard, "terminate",
                                            NodeClass::message};

/// Lets a server do what has to be seen before an answer is: a stage sends the events that the call emitted.
template <class Server>
void before_reply(Server& server) {
  if constexpr (requires { server.on_before_reply(); }) server.on_before_reply();
}

template <class R>
struct AwaitedOf {
  using type = R;
};
template <class T>
struct AwaitedOf<Async<T>> {
  using type = T;
};

/// True when a `handle_call` that returns `R` answers with a `Reply`.
template <class R, class Reply>
concept AnswersWith = (std::is_void_v<typename AwaitedOf<R>::type> && std::is_void_v<Reply>) ||
                      (!std::is_void_v<typename AwaitedOf<R>::type> &&
                       std::is_constructible_v<Result<Reply>, typename AwaitedOf<R>::type>);

/// Calls: the answer goes back in the request's node.
template <class Server, class Message>
struct ServerCall {
  using Reply = typename Message::Reply;
  using Call = CallNode<Message, Reply>;
  using Payload = typename Call::Payload;

  /// The answer of a callback that has stopped its server goes out when terminate has run.
  static void answer(ProcessCore& core, Node* node, Result<Reply>&& value) {
    if (!core.stop_requested) [[likely]] {
      Call::reply(node, std::move(value));
      return;
    }
    auto& payload = payload_of<Payload>(node);
    payload.set_reply(std::move(value));
    reply_at_end(core, {node, &payload.header, &Call::reply_ops});
  }

  template <class R>
  static void finish(ProcessCore& core, std::coroutine_handle<> root, Node* node) {
    auto handle = std::coroutine_handle<AsyncPromise<R>>::from_address(root.address());
    if constexpr (std::is_void_v<R>) {
      handle.promise().take();
      before_reply(static_cast<Server&>(*core.behaviour));
      answer(core, node, Result<Reply>());
    } else {
      Result<Reply> result(handle.promise().take());
      before_reply(static_cast<Server&>(*core.behaviour));
      answer(core, node, std::move(result));
    }
  }

  static bool run(Node* node, ProcessCore& core) {
    auto& server = static_cast<Server&>(*core.behaviour);
    auto& payload = payload_of<Payload>(node);
    if constexpr (HandlesCallLater<Server, Message>) {
      Message message(std::move(payload.request));
      core.current_node = nullptr;  // it belongs to `from` now
      using R = decltype(server.handle_call(std::move(message), From<Message>(node)));
      static_assert(std::is_void_v<R>, "handle_call(message, from) returns void; it may cast to itself to go on");
      UnansweredCall call(node);
      try {
        server.handle_call(std::move(message), From<Message>(node));
      } catch (...) {
        if (call.abandoned()) core.current_node = node;  // its caller learns of the exception
        throw;
      }
      if (call.abandoned()) Call::discard_request(node, not_answered());
    } else {
      using R = decltype(server.handle_call(std::move(payload.request)));
      static_assert(AnswersWith<R, Reply>,
                    "handle_call returns the message's Reply, a Result of it, or an Async of either");
      if constexpr (!AnswersWith<R, Reply>) {
        return false;
      } else if constexpr (is_async<R>) {
        using Handle = decltype(server.handle_call(std::move(payload.request)).release());
        using Value = decltype(std::declval<Handle&>().promise().take());
        start_activity(core, Activity{server.handle_call(std::move(payload.request)).release(), node, &finish<Value>});
      } else if constexpr (std::is_void_v<R>) {
        server.handle_call(std::move(payload.request));
        before_reply(server);
        answer(core, node, Result<Reply>());
      } else {
        Result<Reply> result(server.handle_call(std::move(payload.request)));
        before_reply(server);
        answer(core, node, std::move(result));
      }
    }
    return false;
  }
};

template <class Server, class Message>
inline constexpr NodeOps call_node_ops{&ServerCall<Server, Message>::run,
                                       &CallNode<Message, typename Message::Reply>::discard_request,
                                       type_name<Message>(), NodeClass::message};

}  // namespace dagverk::detail
