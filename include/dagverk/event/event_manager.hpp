#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/event/event_handler.hpp"
#include "dagverk/event/event_kinds.hpp"
#include "dagverk/event/event_stats.hpp"
#include "dagverk/runtime/async.hpp"
#include "dagverk/runtime/runtime_base.hpp"
#include "dagverk/stage/batch.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dagverk {

inline constexpr Duration event_stop_limit_default = std::chrono::seconds(30);

/// Takes events from publishers and has handlers react to them. Programs choose a manager once and use this interface.
///
/// Semantics: each handler sees the events of its time in the order in which the manager took them; those of one
///            publisher in the order of publishing. What one handler does never touches another, nor a publisher.
/// Threads:   every operation from any thread. The awaitable ones inside a process; those that end in `_blocking`
///            outside of one (`wrong_thread` otherwise).
/// Errors:    `no_process` when the manager has ended. GCC 12: name a spec, then `std::move` it into a `co_await`.
/// Lifetime:  must not outlive its runtime.
template <class E>
class EventManager {
 public:
  EventManager(const EventManager&) = delete;
  EventManager& operator=(const EventManager&) = delete;
  virtual ~EventManager() = default;

  /// Publishes. Never blocks. When no handler wants the event's kind, it is discarded and counted.
  virtual void notify(E event) = 0;
  /// Publishes all of `events` in order, as one message.
  virtual void notify(Batch<E> events) = 0;

  /// Whether anybody wants events of `kind`: ask before building one. One relaxed load.
  [[nodiscard]] bool wants(unsigned kind) const noexcept {
    return EventKinds::from_word(wanted_->load(std::memory_order_relaxed)).contains(kind);
  }
  /// As above, by alternative of a variant: `events.wants<JobStarted>()`.
  template <class Alternative>
  [[nodiscard]] bool wants() const noexcept {
    return wants(kind_of<E, Alternative>);
  }

  /// Adds a handler; done when its init has returned. Errors: `already_exists`, `configuration` for options out of
  /// range, `exited` when its init failed (it is then not added), `timeout` after 5 s of init (it is added and shown
  /// as `starting`).
  [[nodiscard]] Async<Result<void>> add_handler(HandlerSpec<E>&& spec) { return do_add(std::move(spec)); }
  /// Removes a handler: it finishes the event it handles, terminates, and is gone; done then, or after 5 s, when it is
  /// killed. Its last figures. Errors: `not_found`.
  [[nodiscard]] Async<Result<HandlerStats>> remove_handler(std::string_view name) {
    return do_remove(std::string(name));
  }
  /// Starts a failed or stopped handler again, a waiting one at once, and a running one anew: that is how a hung
  /// handler is replaced. Buffered events go first. Errors: `not_found`.
  [[nodiscard]] Async<Result<void>> restart_handler(std::string_view name) { return do_restart(std::string(name)); }
  /// The names of the handlers in order of addition.
  [[nodiscard]] Async<Result<std::vector<std::string>>> which_handlers() { return do_which(); }
  /// Where everything stands. After `stop`: the last figures.
  [[nodiscard]] Async<Result<EventStats>> stats() { return do_stats(); }
  /// Takes no more events, lets each handler finish what is buffered for it, terminates it, and ends the manager; what
  /// is left after `limit` is dropped, counted as `shutdown`. The last figures. May be called again.
  [[nodiscard]] Async<Result<EventStats>> stop(Duration limit = event_stop_limit_default) { return do_stop(limit); }

  [[nodiscard]] Result<void> add_handler_blocking(HandlerSpec<E> spec) {
    return runtime().run(do_add(std::move(spec)));
  }
  [[nodiscard]] Result<HandlerStats> remove_handler_blocking(std::string_view name) {
    return runtime().run(do_remove(std::string(name)));
  }
  [[nodiscard]] Result<void> restart_handler_blocking(std::string_view name) {
    return runtime().run(do_restart(std::string(name)));
  }
  [[nodiscard]] Result<std::vector<std::string>> which_handlers_blocking() { return runtime().run(do_which()); }
  [[nodiscard]] Result<EventStats> stats_blocking() { return runtime().run(do_stats()); }
  Result<EventStats> stop_blocking(Duration limit = event_stop_limit_default) { return runtime().run(do_stop(limit)); }

  [[nodiscard]] virtual RuntimeBase& runtime() const noexcept = 0;

 protected:
  /// `wanted` is the word of an EventKinds, kept up to date by the manager's process, which shares it.
  explicit EventManager(std::shared_ptr<const std::atomic<std::uint64_t>> wanted) noexcept
      : wanted_(std::move(wanted)) {}

 private:
  virtual Async<Result<void>> do_add(HandlerSpec<E> spec) = 0;
  virtual Async<Result<HandlerStats>> do_remove(std::string name) = 0;
  virtual Async<Result<void>> do_restart(std::string name) = 0;
  virtual Async<Result<std::vector<std::string>>> do_which() = 0;
  virtual Async<Result<EventStats>> do_stats() = 0;
  virtual Async<Result<EventStats>> do_stop(Duration limit) = 0;

  std::shared_ptr<const std::atomic<std::uint64_t>> wanted_;
};

}  // namespace dagverk
