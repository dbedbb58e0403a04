#pragma once

#include "dagverk/base/concat.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/runtime/async.hpp"
#include "dagverk/runtime/detail/node.hpp"
#include "dagverk/runtime/detail/process_core.hpp"
#include "dagverk/runtime/detail/quietly.hpp"

#include <atomic>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace dagverk::detail {

/// Where an outside thread waits for a reply. Shared by the thread and the request node; whoever comes last frees it.
class BlockingWaiter {
 public:
  static void* operator new(std::size_t size) { return chunk_allocate(size); }
  static void* operator new(std::size_t size, const std::nothrow_t& /*nothrow*/) noexcept {
    try {
      return chunk_allocate(size);
    } catch (const std::bad_alloc&) {
      return nullptr;
    }
  }
  static void operator delete(void* waiter, std::size_t size) noexcept { chunk_free(waiter, size); }

  void add_owner() noexcept { owners_.fetch_add(1, std::memory_order_relaxed); }
  void drop_owner() noexcept;

  /// Hands over the reply and wakes the thread. Any thread, once.
  void deliver(Node* reply) noexcept;
  [[nodiscard]] bool ready() const noexcept { return reply_.load(std::memory_order_acquire) != nullptr; }
  /// The reply, or null when it has not come; a later one is then discarded.
  [[nodiscard]] Node* take() noexcept;

  /// Blocks until `deliver`, `interrupt` or `limit`. Threads: the waiting one.
  void park(Duration limit) noexcept;
  /// No answer will come: `park` returns at once from now on. Any thread.
  void interrupt() noexcept;

 private:
  std::atomic<int> owners_{1};
  std::atomic<Node*> reply_{nullptr};
  std::atomic<int> parked_{0};
  std::atomic<bool> interrupted_{false};
};

/// Who waits for a reply: a process (by the token of its wait) or an outside thread.
struct CallHeader {
  Pid caller;
  std::uint32_t token = 0;
  BlockingWaiter* waiter = nullptr;
};

/// One pooled node carries the request there and the reply back.
template <class Message, class Reply>
struct CallPayload {
  enum class Holds : std::uint8_t { request, reply, nothing };

  template <class... Args>
  explicit CallPayload(std::in_place_t /*tag*/, Args&&... args) : request{std::forward<Args>(args)...} {}
  CallPayload(const CallPayload&) = delete;
  CallPayload& operator=(const CallPayload&) = delete;
  ~CallPayload() { clear(); }

  void clear() noexcept {
    if (holds == Holds::request) destroy_quietly(request);
    if (holds == Holds::reply) destroy_quietly(reply);
    holds = Holds::nothing;
  }
  void set_reply(Result<Reply>&& value) noexcept {
    clear();
    if constexpr (std::is_nothrow_move_constructible_v<Result<Reply>>) {
      new (&reply) Result<Reply>(std::move(value));
    } else {
      try {
        new (&reply) Result<Reply>(std::move(value));
      } catch (...) {
        new (&reply) Result<Reply>(Error(ErrorCode::internal, "the answer threw while it was moved"));
      }
    }
    holds = Holds::reply;
  }

  CallHeader header;
  Holds holds = Holds::request;
  union {
    Message request;
    Result<Reply> reply;
  };
};

/// Sends `request` and blocks the calling thread until its reply is there. `header` is the request's.
/// Errors: `wrong_thread` inside a process, `no_process` when the runtime has been destroyed, `shutting_down`,
///         `timeout`.
[[nodiscard]] Result<Node*> block_on_reply(Pid callee, Node* request, CallHeader& header, Duration timeout);

/// Takes the node of an answered request to whoever waits for it.
void send_reply(Node* node, const CallHeader& header) noexcept;

/// An answer that waits for the end of the server that gave it.
struct LastReply {
  Node* node;
  const CallHeader* header;
  const NodeOps* reply_ops;
};
void reply_at_end(ProcessCore& core, LastReply reply);

/// What a caller is told whose request was destroyed without an answer.
[[nodiscard]] const ExitReason& not_answered() noexcept;

/// While `handle_call(message, from)` runs: notices that it has destroyed its `from`, so that the caller learns of an
/// exception rather than of its consequence.
class UnansweredCall {
 public:
  explicit UnansweredCall(Node* node) noexcept : node_(node), outer_(std::exchange(innermost, this)) {}
  UnansweredCall(const UnansweredCall&) = delete;
  UnansweredCall& operator=(const UnansweredCall&) = delete;
  ~UnansweredCall() { innermost = outer_; }

  /// True when the callback that runs now is that of `node`'s call, which has then been noted as abandoned.
  static bool note(const Node* node) noexcept {
    if (innermost == nullptr || innermost->node_ != node) return false;
    innermost->abandoned_ = true;
    return true;
  }
  [[nodiscard]] bool abandoned() const noexcept { return abandoned_; }

 private:
  static inline constinit thread_local UnansweredCall* innermost = nullptr;

  Node* node_;
  UnansweredCall* outer_;
  bool abandoned_ = false;
};

/// Why the process ends whose state this thread destroys now; null otherwise.
inline constinit thread_local const ExitReason* ending_reason = nullptr;

/// The error a caller gets when the callee ended with `reason` before it answered.
[[nodiscard]] Error call_failed(const ExitReason& reason, std::string_view message_name);

template <class Message, class Reply>
struct CallNode {
  using Payload = CallPayload<Message, Reply>;

  static void discard_reply(Node* node, const ExitReason& /*reason*/) noexcept {
    payload_of<Payload>(node).~Payload();
    free_node(node);
  }
  static bool run_reply(Node* node, ProcessCore& receiver) {
    if (!accept_resume(receiver, payload_of<Payload>(node).header.token, node)) discard_reply(node, ExitReason::normal);
    return false;
  }
  static constexpr NodeOps reply_ops{&run_reply, &discard_reply, type_name<Message>(), NodeClass::resume};

  /// Answers the request in `node`. Called once.
  static void reply(Node* node, Result<Reply>&& value) noexcept {
    auto& payload = payload_of<Payload>(node);
    payload.set_reply(std::move(value));
    node->ops = &reply_ops;
    send_reply(node, payload.header);
  }

  /// Moves the answer out of an answered request's node and frees that.
  [[nodiscard]] static Result<Reply> take_reply(Node* node) {
    struct Owner {
      Node* node;
      ~Owner() { discard_reply(node, ExitReason::normal); }
    } const owner{node};
    return std::move(payload_of<Payload>(node).reply);
  }

  static void discard_request(Node* node, const ExitReason& reason) noexcept {
    reply(node, call_failed(reason, type_name<Message>()));
  }
};

/// As CallAwaiter, for a thread that is not running a process.
template <class Message, class Reply>
[[nodiscard]] Result<Reply> block_on_call(Pid callee, Node* request, Duration timeout) {
  using Payload = CallPayload<Message, Reply>;
  Result<Node*> answer = block_on_reply(callee, request, payload_of<Payload>(request).header, timeout);
  if (!answer) return answer.error().with(concat("call ", type_name<Message>()));
  return CallNode<Message, Reply>::take_reply(*answer);
}

}  // namespace dagverk::detail

namespace dagverk {

/// The right to answer one call, possibly later and from another process or thread.
///
/// Semantics: move-only. `reply` answers; a second `reply` is refused. Destroyed without an answer, the caller gets
///            `exited`, with the server's reason when that is why. A caller that has given up meanwhile sees nothing.
/// Threads:   may move to and answer from any thread.
template <class Message>
class From {
 public:
  using Reply = typename Message::Reply;

  From() = default;
  explicit From(detail::Node* node) noexcept : node_(node) {}
  From(From&& other) noexcept : node_(std::exchange(other.node_, nullptr)) {}
  From& operator=(From&& other) noexcept {
    if (this != &other) {
      abandon();
      node_ = std::exchange(other.node_, nullptr);
    }
    return *this;
  }
  From(const From&) = delete;
  From& operator=(const From&) = delete;
  ~From() { abandon(); }

  /// Answers the call. False when it was answered before.
  bool reply(Result<Reply> value) {
    if (node_ == nullptr) return false;
    detail::CallNode<Message, Reply>::reply(std::exchange(node_, nullptr), std::move(value));
    return true;
  }

  [[nodiscard]] explicit operator bool() const noexcept { return node_ != nullptr; }

 private:
  void abandon() noexcept {
    if (node_ == nullptr) return;
    detail::Node* node = std::exchange(node_, nullptr);
    if (detail::UnansweredCall::note(node)) return;
    detail::CallNode<Message, Reply>::discard_request(
        node, detail::ending_reason != nullptr ? *detail::ending_reason : detail::not_answered());
  }

  detail::Node* node_ = nullptr;
};

}  // namespace dagverk

namespace dagverk::detail {

/// Awaits the answer to one request. Built by `call`; awaited once, at once.
template <class Message, class Reply>
class [[nodiscard]] CallAwaiter {
 public:
  using Payload = CallPayload<Message, Reply>;

  CallAwaiter(Pid callee, Node* request, Duration timeout) noexcept
      : callee_(callee), request_(request), timeout_(timeout) {}
  /// A call that is not sent: it answers with `refused` at once.
  CallAwaiter(Error refused, Node* request) noexcept : request_(request), timeout_(Duration::zero()) {
    payload_of<Payload>(request_).set_reply(std::move(refused));
  }
  CallAwaiter(const CallAwaiter&) = delete;
  CallAwaiter& operator=(const CallAwaiter&) = delete;
  ~CallAwaiter() {
    if (request_ != nullptr)
      CallNode<Message, Reply>::discard_reply(std::exchange(request_, nullptr), ExitReason::normal);
  }

  [[nodiscard]] bool await_ready() const noexcept {
    return (callee_.core() == current_process && callee_ == current_process->pid()) ||
           payload_of<Payload>(request_).holds == Payload::Holds::reply;
  }

  void await_suspend(std::coroutine_handle<> caller) {
    ProcessCore& self = *current_process;
    CallHeader& header = payload_of<Payload>(request_).header;
    header.caller = self.pid();
    header.token = begin_wait(self, caller, timeout_);
    // A callee that is gone answers at once, by a message to ourselves.
    static_cast<void>(send(callee_, std::exchange(request_, nullptr)));
  }

  /// True when the request was not sent: nobody awaited it.
  [[nodiscard]] bool unsent() const noexcept { return request_ != nullptr; }

  [[nodiscard]] Result<Reply> await_resume() {
    if (request_ != nullptr) {
      if (payload_of<Payload>(request_).holds == Payload::Holds::reply) {
        return CallNode<Message, Reply>::take_reply(std::exchange(request_, nullptr));
      }
      return Error(ErrorCode::calling_self,
                   concat("a process called itself with ", type_name<Message>(), "; it would wait for ever"));
    }
    Node* answer = std::exchange(current_process->wait_result, nullptr);
    if (answer == nullptr) {
      return Error(ErrorCode::timeout,
                   concat("call ", type_name<Message>(), " timed out after ",
                          std::chrono::duration_cast<std::chrono::milliseconds>(timeout_).count(), " ms"));
    }
    return CallNode<Message, Reply>::take_reply(answer);
  }

 private:
  Pid callee_;
  Node* request_;
  Duration timeout_;
};

}  // namespace dagverk::detail
