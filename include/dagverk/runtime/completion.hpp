#pragma once

#include "dagverk/base/assert.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/runtime/detail/process_core.hpp"

#include <atomic>
#include <optional>
#include <type_traits>
#include <utility>

namespace dagverk {

namespace detail {

template <class T>
struct IsResult : std::false_type {};
template <class T>
struct IsResult<Result<T>> : std::true_type {};

/// What a Completion and its Completer share; whoever lets go last frees it.
class CompletionCore {
 public:
  CompletionCore() : owner_(current_process->pid()) {}
  CompletionCore(const CompletionCore&) = delete;
  CompletionCore& operator=(const CompletionCore&) = delete;

  /// The completer's side, after the value is in place: publishes it and wakes the owner if it waits.
  void publish() noexcept;
  /// The owner's side. True when the value is there.
  [[nodiscard]] bool ready() const noexcept { return phase_.load(std::memory_order_acquire) == done; }
  /// The owner's side: from now on `publish` wakes. False when the value has come meanwhile.
  [[nodiscard]] bool start_waiting(std::coroutine_handle<> resume_point, Duration timeout);

  /// The owner's side: nobody will be there to be woken, perhaps not even its runtime.
  void owner_leaves() noexcept;

  [[nodiscard]] bool release() noexcept { return owners_.fetch_sub(1, std::memory_order_acq_rel) == 1; }

 protected:
  ~CompletionCore() = default;

 private:
  static constexpr int empty = 0;
  static constexpr int waiting = 1;
  static constexpr int done = 2;
  static constexpr int publishing = 3;  // the value is there, the owner is about to be told
  static constexpr int gone = 4;        // the owner has left

  Pid owner_;
  std::uint32_t token_ = 0;
  std::atomic<int> phase_{empty};
  std::atomic<int> owners_{2};
};

template <class T>
struct CompletionState final : CompletionCore {
  std::optional<T> value;
};

}  // namespace detail

template <class T>
class Completion;
template <class T>
class Completer;

/// What came of a wait with a limit that nobody completed in time is the error `timeout`.
template <class T>
struct CompletionPair {
  Completion<T> completion;
  Completer<T> completer;
};

/// Makes the two ends of one external completion. Inside a process, which is the one that may await.
template <class T>
[[nodiscard]] CompletionPair<T> make_completion();

/// The end that finishes: whatever runs outside (an I/O thread, a database writer, a child process) holds it.
///
/// Semantics: move-only; `complete` once. Destroyed without it, the waiting process gets the error `cancelled`.
/// Threads:   any; also after the process has ended, which makes it a no-op.
/// Lifetime:  none: completing after the runtime is destroyed, or while it is, is a no-op, too.
template <class T>
class Completer {
  static_assert(detail::IsResult<T>::value, "a completion's type is a Result, so that it can fail");

 public:
  Completer() = default;
  Completer(Completer&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  Completer& operator=(Completer&& other) noexcept {
    if (this != &other) {
      abandon();
      state_ = std::exchange(other.state_, nullptr);
    }
    return *this;
  }
  Completer(const Completer&) = delete;
  Completer& operator=(const Completer&) = delete;
  ~Completer() { abandon(); }

  void complete(T value) {
    detail::CompletionState<T>* state = std::exchange(state_, nullptr);
    if (state == nullptr) return;
    state->value.emplace(std::move(value));
    state->publish();
    if (state->release()) delete state;
  }
  [[nodiscard]] explicit operator bool() const noexcept { return state_ != nullptr; }

 private:
  friend CompletionPair<T> make_completion<T>();
  explicit Completer(detail::CompletionState<T>* state) noexcept : state_(state) {}
  void abandon() noexcept {
    if (state_ != nullptr) complete(Error(ErrorCode::cancelled));
  }

  detail::CompletionState<T>* state_ = nullptr;
};

/// The end that waits: `Result<X> x = co_await std::move(completion);` resumes on the owner's process.
///
/// Semantics: move-only, awaited at most once. May be completed before it is awaited.
/// Threads:   the process that made it.
template <class T>
class Completion {
 public:
  Completion(Completion&& other) noexcept : state_(std::exchange(other.state_, nullptr)), timeout_(other.timeout_) {}
  Completion& operator=(Completion&&) = delete;
  Completion(const Completion&) = delete;
  Completion& operator=(const Completion&) = delete;
  ~Completion() {
    if (state_ == nullptr) return;
    if (!state_->ready()) state_->owner_leaves();
    if (state_->release()) delete state_;
  }

  /// Waits at most `timeout` (zero or less: for ever, the default).
  [[nodiscard]] Completion&& within(Duration timeout) && noexcept {
    timeout_ = timeout;
    return std::move(*this);
  }

  [[nodiscard]] bool await_ready() const noexcept { return state_->ready(); }
  bool await_suspend(std::coroutine_handle<> caller) { return state_->start_waiting(caller, timeout_); }
  [[nodiscard]] T await_resume() {
    if (!state_->ready()) return Error(ErrorCode::timeout, "the operation did not complete in time");
    return std::move(*state_->value);
  }

 private:
  friend CompletionPair<T> make_completion<T>();
  explicit Completion(detail::CompletionState<T>* state) noexcept : state_(state) {}

  detail::CompletionState<T>* state_;
  Duration timeout_{0};
};

template <class T>
CompletionPair<T> make_completion() {
  DAGVERK_ASSERT(detail::current_process != nullptr);
  auto* state = new detail::CompletionState<T>;
  return {Completion<T>(state), Completer<T>(state)};
}

}  // namespace dagverk
