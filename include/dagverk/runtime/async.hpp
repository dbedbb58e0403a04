#pragma once

#include "dagverk/base/assert.hpp"
#include "dagverk/runtime/detail/chunk.hpp"
#include "dagverk/runtime/detail/quietly.hpp"

#include <coroutine>
#include <cstddef>
#include <exception>
#include <optional>
#include <type_traits>
#include <utility>

namespace dagverk {

template <class T>
class Async;

namespace detail {

/// The coroutine the current thread resumes after the one that is running has suspended. Coroutines are always resumed
/// from the loop in `resume_chain`, never from one another: symmetric transfer overflows the stack with GCC at -O0 and
/// under sanitizers.
inline constinit thread_local std::coroutine_handle<> next_to_resume{};

/// Resumes `handle` and then whatever it passed control to, until somebody waits for the outside.
inline void resume_chain(std::coroutine_handle<> handle) {
  while (handle) {
    next_to_resume = nullptr;
    handle.resume();
    handle = std::exchange(next_to_resume, nullptr);
  }
}

class AsyncPromiseBase {
 public:
  static void* operator new(std::size_t size) { return chunk_allocate(size); }
  static void operator delete(void* frame, std::size_t size) noexcept { chunk_free(frame, size); }

  std::suspend_always initial_suspend() noexcept { return {}; }

  struct FinalAwaiter {
    bool await_ready() noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> finished) noexcept {
      next_to_resume = finished.promise().continuation;
    }
    void await_resume() noexcept {}
  };
  FinalAwaiter final_suspend() noexcept { return {}; }

  void unhandled_exception() noexcept { failure = std::current_exception(); }

  std::coroutine_handle<> continuation;  // null for the outermost coroutine of a callback
  std::exception_ptr failure;
};

template <class T>
class AsyncPromise : public AsyncPromiseBase {
 public:
  Async<T> get_return_object() noexcept;
  template <class U = T>
    requires std::is_constructible_v<T, U&&>
  void return_value(U&& value) {
    value_.emplace(std::forward<U>(value));
  }
  T take() {
    if (failure) std::rethrow_exception(failure);
    DAGVERK_ASSERT(value_.has_value());
    return std::move(*value_);
  }

 private:
  std::optional<T> value_;
};

template <>
class AsyncPromise<void> : public AsyncPromiseBase {
 public:
  Async<void> get_return_object() noexcept;
  void return_void() noexcept {}
  void take() const {
    if (failure) std::rethrow_exception(failure);
  }
};

}  // namespace detail

/// A computation that may wait, run by a process: what a callback that is a coroutine returns, and what every awaitable
/// function of ours returns.
///
/// Semantics: lazy: nothing runs before it is awaited (by another Async) or returned to the runtime (by a callback).
///            While it waits, the process waits, not the thread. An exception travels to whoever awaits.
/// Threads:   belongs to one process; never awaited outside of one.
/// Errors:    destroying it while suspended destroys everything it holds; that is how an exit signal ends a wait.
/// Lifetime:  parameters taken by reference must outlive it; take them by value unless the caller awaits at once.
template <class T = void>
class [[nodiscard]] Async {
 public:
  using promise_type = detail::AsyncPromise<T>;
  using Handle = std::coroutine_handle<promise_type>;

  explicit Async(Handle handle) noexcept : handle_(handle) {}
  Async(Async&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Async& operator=(Async&& other) noexcept {
    if (this != &other) {
      destroy();
      handle_ = std::exchange(other.handle_, nullptr);
    }
    return *this;
  }
  Async(const Async&) = delete;
  Async& operator=(const Async&) = delete;
  ~Async() { destroy(); }

  class Awaiter {
   public:
    explicit Awaiter(Handle handle) noexcept : handle_(handle) {}
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> caller) noexcept {
      handle_.promise().continuation = caller;
      detail::next_to_resume = handle_;
    }
    [[nodiscard]] T await_resume() { return handle_.promise().take(); }

   private:
    Handle handle_;  // owned by the Async, which lives as long as the awaiting expression
  };
  Awaiter operator co_await() const noexcept { return Awaiter(handle_); }

  /// For the runtime: gives up the coroutine, which then must be destroyed by hand.
  [[nodiscard]] Handle release() noexcept { return std::exchange(handle_, nullptr); }

 private:
  void destroy() noexcept {
    if (handle_) detail::destroy_frame_quietly(std::exchange(handle_, nullptr));
  }

  Handle handle_;
};

namespace detail {

template <class T>
Async<T> AsyncPromise<T>::get_return_object() noexcept {
  return Async<T>(std::coroutine_handle<AsyncPromise<T>>::from_promise(*this));
}
inline Async<void> AsyncPromise<void>::get_return_object() noexcept {
  return Async<void>(std::coroutine_handle<AsyncPromise<void>>::from_promise(*this));
}

template <class T>
inline constexpr bool is_async = false;
template <class T>
inline constexpr bool is_async<Async<T>> = true;

}  // namespace detail
}  // namespace dagverk
