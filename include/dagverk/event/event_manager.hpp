#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/event/detail/handler_call.hpp"
#include "dagverk/event/event_handler.hpp"
#include "dagverk/event/event_kinds.hpp"
#include "dagverk/event/event_outcome.hpp"
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
inline constexpr Duration event_wait_limit_default = std::chrono::seconds(5);

/// Takes events from publishers and has handlers react to them. Programs choose a manager once and use this interface.
///
/// Semantics: each handler sees the events of its time in the order in which the manager took them; those of one
///            publisher in the order of publishing. What one handler does never touches another, nor a publisher.
/// Threads:   every operation from any thread. The awaitable ones inside a process; those that end in `_blocking`
///            outside of one (`wrong_thread` otherwise).
/// Errors:    `no_process` when the manager has ended. `calling_self` to a handler that would wait for its own end: to
///            remove, swap, stop or call itself, or to stop the manager; in a `sync_notify` of its own it is `pending`.
///            GCC 12: name a spec, then `std::move` it into a `co_await`.
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

  /// Publishes, and waits until the manager has taken the event: it is before all handlers, or, under the serial
  /// manager, everything published before it is done. Slows a publisher down to what handlers with the rule `wait` can
  /// take, where `notify` would drop. Errors: `timeout` after `limit` (the event may still be taken), `refused` when as
  /// many publishers wait already as events may.
  [[nodiscard]] Async<Result<void>> ack_notify(E&& event, Duration limit = event_wait_limit_default) {
    return do_ack(std::move(event), limit);
  }
  /// Publishes, and waits until every handler is done with the event: what became of it at each, in order of addition;
  /// empty when no handler wants it. After `limit` handlers that are not done are listed as `pending`; one that is
  /// failed or stopped, for which the event waits by its rule, is listed so without being waited for. Under the serial
  /// manager nobody is listed after the limit: `timeout`.
  [[nodiscard]] Async<Result<std::vector<HandlerOutcome>>> sync_notify(E&& event,
                                                                       Duration limit = event_wait_limit_default) {
    return do_sync(std::move(event), limit);
  }

  /// Asks the handler `name`, which is of the class `Handler`: `co_await events.call<Counter, Counter::Total>("total")`
  /// runs its `handle_call(Message)` between two events; under the serial manager behind all that was published before.
  /// Errors: `not_found`, `wrong_type` when it is of another class, `unavailable` when it has no process now, `exited`
  /// when it crashed at this call, `timeout` after 5 s.
  template <class Handler, class Message, class... Args>
  [[nodiscard]] Async<Result<typename Message::Reply>> call(std::string_view name, Args&&... args) {
    return call_message<Handler>(std::string(name), Message{std::forward<Args>(args)...}, event_wait_limit_default);
  }
  /// As `call`, with another limit. Zero or less: none.
  template <class Handler, class Message, class... Args>
  [[nodiscard]] Async<Result<typename Message::Reply>> call_within(Duration limit, std::string_view name,
                                                                   Args&&... args) {
    return call_message<Handler>(std::string(name), Message{std::forward<Args>(args)...}, limit);
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
  /// Puts the handler of `spec` in the place of `name`: no event is for both, none is for neither. The old one leaves
  /// what its `hand_over` gives to the new one's `take_over`, and terminates; then the new one's init runs. Done then.
  /// Without a handler `name`, and after an old one that crashed on the way, nothing is left: the new one is added all
  /// the same. Errors: as add_handler; `already_exists`, when `spec` has the name of a third handler, changes nothing.
  [[nodiscard]] Async<Result<void>> swap_handler(std::string_view name, HandlerSpec<E>&& spec) {
    return do_swap(std::string(name), std::move(spec));
  }
  /// Starts a failed or stopped handler again, a waiting one at once, and a running one anew: that is how a hung
  /// handler is replaced. Buffered events go first. Errors: `not_found`.
  [[nodiscard]] Async<Result<void>> restart_handler(std::string_view name) { return do_restart(std::string(name)); }
  /// Stops a handler, which stays in its place: it finishes the event it handles, terminates (`normal`), and is
  /// `stopped` until `restart_handler`; done then, or after 5 s, when it is killed. Meanwhile its rule keeps events for
  /// it; those with the rule `wait` are dropped, counted as `consumer_down`. Errors: `not_found`; `unsupported` under
  /// the serial manager, whose handlers are there or not, but for those that block.
  [[nodiscard]] Async<Result<void>> stop_handler(std::string_view name) { return do_stop_handler(std::string(name)); }
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
  [[nodiscard]] Result<void> ack_notify_blocking(E event, Duration limit = event_wait_limit_default) {
    return runtime().run(do_ack(std::move(event), limit));
  }
  [[nodiscard]] Result<std::vector<HandlerOutcome>> sync_notify_blocking(E event,
                                                                         Duration limit = event_wait_limit_default) {
    return runtime().run(do_sync(std::move(event), limit));
  }
  template <class Handler, class Message, class... Args>
  [[nodiscard]] Result<typename Message::Reply> call_blocking(std::string_view name, Args&&... args) {
    return runtime().run(
        call_message<Handler>(std::string(name), Message{std::forward<Args>(args)...}, event_wait_limit_default));
  }
  [[nodiscard]] Result<void> swap_handler_blocking(std::string_view name, HandlerSpec<E> spec) {
    return runtime().run(do_swap(std::string(name), std::move(spec)));
  }
  [[nodiscard]] Result<HandlerStats> remove_handler_blocking(std::string_view name) {
    return runtime().run(do_remove(std::string(name)));
  }
  [[nodiscard]] Result<void> restart_handler_blocking(std::string_view name) {
    return runtime().run(do_restart(std::string(name)));
  }
  [[nodiscard]] Result<void> stop_handler_blocking(std::string_view name) {
    return runtime().run(do_stop_handler(std::string(name)));
  }
  [[nodiscard]] Result<std::vector<std::string>> which_handlers_blocking() { return runtime().run(do_which()); }
  [[nodiscard]] Result<EventStats> stats_blocking() { return runtime().run(do_stats()); }
  Result<EventStats> stop_blocking(Duration limit = event_stop_limit_default) { return runtime().run(do_stop(limit)); }

  [[nodiscard]] virtual RuntimeBase& runtime() const noexcept = 0;
  /// The process that runs this manager; for tools.
  [[nodiscard]] virtual Pid pid() const noexcept = 0;
  /// Whether events wait for each handler by itself, under its overflow rule.
  [[nodiscard]] virtual bool has_handler_lines() const noexcept = 0;

 protected:
  /// `wanted` is the word of an EventKinds, kept up to date by the manager's process, which shares it.
  explicit EventManager(std::shared_ptr<const std::atomic<std::uint64_t>> wanted) noexcept
      : wanted_(std::move(wanted)) {}

 private:
  template <class Handler, class Message>
  Async<Result<typename Message::Reply>> call_message(std::string name, Message message, Duration limit) {
    static_assert(detail::HandlesHandlerCall<Handler, Message>,
                  "this handler has no handle_call for this message (or it is not public)");
    using Answer = detail::HandlerAnswer<typename Message::Reply>;
    auto answer = std::make_shared<Answer>();  // shared with the call, which may be answered after the limit
    std::unique_ptr<detail::HandlerCall> request =
        std::make_unique<detail::TypedHandlerCall<Handler, Message>>(std::move(message), answer);
    Async<Result<void>> asking = do_call(std::move(name), std::move(request), limit);
    Result<void> done = co_await asking;
    if (!done) co_return done.error();
    co_return std::move(*answer->result);
  }

  virtual Async<Result<void>> do_add(HandlerSpec<E> spec) = 0;
  virtual Async<Result<void>> do_ack(E event, Duration limit) = 0;
  virtual Async<Result<std::vector<HandlerOutcome>>> do_sync(E event, Duration limit) = 0;
  virtual Async<Result<void>> do_call(std::string name, std::unique_ptr<detail::HandlerCall> call, Duration limit) = 0;
  virtual Async<Result<void>> do_swap(std::string name, HandlerSpec<E> spec) = 0;
  virtual Async<Result<HandlerStats>> do_remove(std::string name) = 0;
  virtual Async<Result<void>> do_restart(std::string name) = 0;
  virtual Async<Result<void>> do_stop_handler(std::string name) = 0;
  virtual Async<Result<std::vector<std::string>>> do_which() = 0;
  virtual Async<Result<EventStats>> do_stats() = 0;
  virtual Async<Result<EventStats>> do_stop(Duration limit) = 0;

  std::shared_ptr<const std::atomic<std::uint64_t>> wanted_;
};

}  // namespace dagverk
