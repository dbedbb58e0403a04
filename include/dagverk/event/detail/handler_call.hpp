#pragma once

#include "dagverk/base/concat.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/runtime/async.hpp"
#include "dagverk/runtime/detail/type_name.hpp"

#include <memory>
#include <optional>
#include <string_view>
#include <type_traits>
#include <utility>

namespace dagverk::detail {

/// One address for each handler class: what tells whether a handler is of the class that a call is for.
template <class Handler>
inline constexpr char handler_class_token = 0;

/// A call to a handler of one class, on its way there.
///
/// Threads: one at a time: whoever has it.
class HandlerCall {
 public:
  HandlerCall() = default;
  HandlerCall(const HandlerCall&) = delete;
  HandlerCall& operator=(const HandlerCall&) = delete;
  virtual ~HandlerCall() = default;

  [[nodiscard]] virtual const char* handler_class() const noexcept = 0;
  [[nodiscard]] virtual std::string_view handler_class_name() const noexcept = 0;
  /// Runs the handler's handle_call and keeps what it answers. `handler` is of `handler_class`.
  virtual Async<void> run(void* handler) = 0;
};

template <class Handler, class Message>
concept HandlesHandlerCall = requires(Handler& handler, Message& message) { handler.handle_call(std::move(message)); };

/// Where the answer of a call waits for its caller, who may have given up.
template <class Reply>
struct HandlerAnswer {
  std::optional<Result<Reply>> result;
};

template <class Handler, class Message>
class TypedHandlerCall final : public HandlerCall {
 public:
  using Reply = typename Message::Reply;

  TypedHandlerCall(Message message, std::shared_ptr<HandlerAnswer<Reply>> answer)
      : message_(std::move(message)), answer_(std::move(answer)) {}

  [[nodiscard]] const char* handler_class() const noexcept override { return &handler_class_token<Handler>; }
  [[nodiscard]] std::string_view handler_class_name() const noexcept override { return type_name<Handler>(); }

  Async<void> run(void* handler) override {
    Handler& called = *static_cast<Handler*>(handler);
    using R = decltype(called.handle_call(std::move(message_)));
    if constexpr (is_async<R>) {
      R answering = called.handle_call(std::move(message_));
      if constexpr (std::is_same_v<R, Async<void>>) {
        co_await answering;
        answer_->result.emplace();
      } else {
        answer_->result.emplace(co_await answering);
      }
    } else if constexpr (std::is_void_v<R>) {
      called.handle_call(std::move(message_));
      answer_->result.emplace();
    } else {
      answer_->result.emplace(called.handle_call(std::move(message_)));
    }
    co_return;
  }

 private:
  Message message_;
  std::shared_ptr<HandlerAnswer<Reply>> answer_;  // with the caller
};

[[nodiscard]] inline Error wrong_handler_class(std::string_view handler, const HandlerCall& call) {
  return Error(ErrorCode::wrong_type, concat("handler \"", handler, "\" is no ", call.handler_class_name()));
}

}  // namespace dagverk::detail
