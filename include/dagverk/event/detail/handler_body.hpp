#pragma once

#include "dagverk/base/assert.hpp"
#include "dagverk/base/clock.hpp"
#include "dagverk/event/detail/handler_call.hpp"
#include "dagverk/event/detail/handler_progress.hpp"
#include "dagverk/event/event_kinds.hpp"
#include "dagverk/runtime/async.hpp"
#include "dagverk/runtime/detail/process_core.hpp"
#include "dagverk/runtime/exit_reason.hpp"
#include "dagverk/runtime/messages.hpp"
#include "dagverk/stage/batch.hpp"

#include <any>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <functional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace dagverk {
template <class E>
class EventHandler;
}  // namespace dagverk

namespace dagverk::detail {

template <class Handler, class E>
concept HandlesEvents = requires(Handler& handler, const E& event) { handler.handle_event(event); };
template <class Handler, class E>
concept HandlesBatches = requires(Handler& handler, std::span<const E> events) { handler.handle_batch(events); };

/// The events in a handler's hands, and how far it is with them.
///
/// Threads: the handler's process.
template <class E>
class HandlerWork {
 public:
  HandlerWork(const Clock& clock, HandlerProgress& progress, EventKinds kinds,
              const std::function<bool(const E&)>& selector)
      : clock_(clock), progress_(progress), kinds_(kinds), selector_(selector) {}

  void take(std::vector<Batch<E>> batches) {
    batches_ = std::move(batches);
    batch_ = 0;
    rest_ = batches_.empty() ? std::span<const E>() : batches_.front().span();
  }
  void begin_turn() {
    steps_ = 0;
    next_look_ = 2;
    began_ = clock_.steady_now();
  }
  /// Looked at between callbacks: a handler gives way after so many events or half a millisecond, so that exit signals
  /// are seen and nobody takes a slow handler with a full hand for a stuck one. The clock is read now and then: a turn
  /// is four times too long at most.
  [[nodiscard]] bool turn_is_over() {
    ++steps_;
    if (steps_ < next_look_) [[likely]]
      return false;
    next_look_ = 4 * steps_;
    return steps_ >= turn_steps_max || clock_.steady_now() - began_ > turn_length;
  }
  /// The rest of the first batch that is not done; empty when all are.
  [[nodiscard]] std::span<const E> rest() const noexcept { return rest_; }

  [[nodiscard]] bool filters() const noexcept { return kinds_ != EventKinds::all() || static_cast<bool>(selector_); }
  [[nodiscard]] bool accepts(const E& event) const {
    return kinds_.contains(EventKind<E>::of(event)) && (!selector_ || selector_(event));
  }

  /// These return false when the handler is to go on with nothing.
  [[nodiscard]] bool looks_at(std::size_t offset, std::size_t count) noexcept {
    if (progress_.looks_at(offset, count)) [[likely]]
      return true;
    end_turn();
    return false;
  }
  [[nodiscard]] bool delivered(std::size_t count) {
    advance(count);
    return go_on(progress_.delivered(count));
  }
  [[nodiscard]] bool filtered(std::size_t count) {
    advance(count);
    return go_on(progress_.filtered(count));
  }
  [[nodiscard]] bool may_go_on() const noexcept { return progress_.may_go_on(); }
  void end_turn() noexcept { progress_.looks_away(); }
  void drop() noexcept {
    rest_ = {};
    batches_.clear();
  }

 private:
  static constexpr std::size_t turn_steps_max = 512;
  static constexpr Duration turn_length = std::chrono::microseconds(500);

  /// Also no, when the handler has asked for its own end in the callback that has just returned.
  bool go_on(bool wanted) noexcept {
    if (wanted && !current_process->stop_requested) return true;
    end_turn();
    return false;
  }

  void advance(std::size_t count) {
    DAGVERK_ASSERT(count <= rest_.size());
    rest_ = rest_.subspan(count);
    while (rest_.empty() && ++batch_ < batches_.size()) rest_ = batches_[batch_].span();
  }

  const Clock& clock_;
  HandlerProgress& progress_;
  EventKinds kinds_;
  const std::function<bool(const E&)>& selector_;
  std::vector<Batch<E>> batches_;
  std::size_t batch_ = 0;
  std::span<const E> rest_;  // of that batch
  std::size_t steps_ = 0;
  std::size_t next_look_ = 0;
  SteadyTime began_{};
};

enum class TurnEnd : std::uint8_t {
  done,   ///< every event is done
  again,  ///< some are left; others may run first
  ended,  ///< the manager wants it to go on with nothing
  left,   ///< it wants to be removed
};

/// A user's handler, behind one interface: what a handler's process, or the serial manager's, drives.
template <class E>
class HandlerBody {
 public:
  HandlerBody() = default;
  HandlerBody(const HandlerBody&) = delete;
  HandlerBody& operator=(const HandlerBody&) = delete;
  virtual ~HandlerBody() = default;

  virtual Async<void> init() = 0;
  virtual Async<void> terminate(const ExitReason& reason) = 0;
  /// Handles events of `work` for a turn.
  virtual Async<TurnEnd> run(HandlerWork<E>& work) = 0;

  /// Whether the callback for events is a coroutine: `handle_later` is for these, `handle` for the others.
  [[nodiscard]] virtual bool handles_later() const noexcept = 0;
  /// False when it wants to be removed.
  [[nodiscard]] virtual bool handle(const E& event) = 0;
  virtual Async<void> handle_later(const E& event) = 0;
  /// Whether it has asked to be removed.
  [[nodiscard]] virtual bool left() const noexcept = 0;

  /// Errors: `wrong_type` when the call is for handlers of another class.
  virtual Async<Result<void>> call(HandlerCall& call, std::string_view handler_name) = 0;
  virtual void on_down(const Down& down) = 0;
  virtual void on_exit(const Exit& exit) = 0;
  [[nodiscard]] virtual std::any hand_over() = 0;
  virtual void take_over(std::any inheritance) = 0;
};

template <class Handler, class E>
class HandlerBodyOf final : public HandlerBody<E> {
 public:
  template <class... Args>
  explicit HandlerBodyOf(const Args&... args) : handler_(args...) {}

  Async<void> init() override {
    if constexpr (requires { handler_.init(); }) {
      using R = decltype(handler_.init());
      static_assert(std::is_void_v<R> || std::is_same_v<R, Async<void>>, "init returns void or Async<void>");
      if constexpr (is_async<R>) {
        co_await handler_.init();
      } else {
        handler_.init();
      }
    }
    co_return;
  }

  Async<void> terminate(const ExitReason& reason) override {
    if constexpr (requires { handler_.terminate(reason); }) {
      using R = decltype(handler_.terminate(reason));
      static_assert(std::is_void_v<R> || std::is_same_v<R, Async<void>>, "terminate returns void or Async<void>");
      if constexpr (is_async<R>) {
        co_await handler_.terminate(reason);
      } else {
        handler_.terminate(reason);
      }
    }
    co_return;
  }

  Async<TurnEnd> run(HandlerWork<E>& work) override {
    if (!work.may_go_on()) co_return TurnEnd::ended;
    if (has_left()) co_return TurnEnd::left;  // in a callback that was not for events
    work.begin_turn();
    for (;;) {
      const std::span<const E> rest = work.rest();
      if (rest.empty() || work.turn_is_over()) {
        work.end_turn();
        co_return rest.empty() ? TurnEnd::done : TurnEnd::again;
      }
      if (work.filters()) {
        if (!work.looks_at(0, 1)) co_return TurnEnd::ended;
        if (!work.accepts(rest.front())) {
          if (!work.filtered(1)) co_return TurnEnd::ended;
          continue;
        }
      }
      if constexpr (HandlesBatches<Handler, E>) {
        std::size_t count = rest.size();
        bool next_rejected = false;
        if (work.filters()) {
          for (count = 1; count < rest.size(); ++count) {
            if (!work.looks_at(count, 1)) co_return TurnEnd::ended;
            next_rejected = !work.accepts(rest[count]);
            if (next_rejected) break;
          }
        }
        if (!work.looks_at(0, count)) co_return TurnEnd::ended;
        using R = decltype(handler_.handle_batch(rest));
        static_assert(std::is_void_v<R> || std::is_same_v<R, Async<void>>, "handle_batch returns void or Async<void>");
        if constexpr (is_async<R>) {
          co_await handler_.handle_batch(rest.first(count));
        } else {
          handler_.handle_batch(rest.first(count));
        }
        if (!work.delivered(count)) co_return TurnEnd::ended;
        if (left_now(work)) co_return TurnEnd::left;
        if (next_rejected) {
          if (!work.looks_at(0, 1)) co_return TurnEnd::ended;
          if (!work.filtered(1)) co_return TurnEnd::ended;
        }
      } else {
        if (!work.looks_at(0, 1)) co_return TurnEnd::ended;
        using R = decltype(handler_.handle_event(rest.front()));
        static_assert(std::is_void_v<R> || std::is_same_v<R, Async<void>>, "handle_event returns void or Async<void>");
        if constexpr (is_async<R>) {
          co_await handler_.handle_event(rest.front());
        } else {
          handler_.handle_event(rest.front());
        }
        if (!work.delivered(1)) co_return TurnEnd::ended;
        if (left_now(work)) co_return TurnEnd::left;
      }
    }
  }

  [[nodiscard]] bool handles_later() const noexcept override { return later; }
  [[nodiscard]] bool handle(const E& event) override {
    if constexpr (!later) {
      if constexpr (HandlesEvents<Handler, E>) {
        handler_.handle_event(event);
      } else {
        handler_.handle_batch(std::span<const E>(&event, 1));
      }
    }
    return !has_left();
  }
  Async<void> handle_later(const E& event) override {
    if constexpr (later) {
      if constexpr (HandlesEvents<Handler, E>) {
        co_await handler_.handle_event(event);
      } else {
        co_await handler_.handle_batch(std::span<const E>(&event, 1));
      }
    }
    co_return;
  }
  [[nodiscard]] bool left() const noexcept override { return has_left(); }

  Async<Result<void>> call(HandlerCall& call, std::string_view handler_name) override {
    if (call.handler_class() != &handler_class_token<Handler>) co_return wrong_handler_class(handler_name, call);
    co_await call.run(&handler_);
    co_return Result<void>();
  }
  void on_down(const Down& down) override {
    if constexpr (requires { handler_.handle_info(down); }) handler_.handle_info(down);
  }
  void on_exit(const Exit& exit) override {
    if constexpr (requires { handler_.handle_info(exit); }) handler_.handle_info(exit);
  }
  [[nodiscard]] std::any hand_over() override {
    if constexpr (requires {
                    { handler_.hand_over() } -> std::convertible_to<std::any>;
                  }) {
      return handler_.hand_over();
    } else {
      return {};
    }
  }
  void take_over(std::any inheritance) override {
    if constexpr (requires { handler_.take_over(std::move(inheritance)); }) handler_.take_over(std::move(inheritance));
  }

 private:
  [[nodiscard]] static consteval bool callback_is_later() {
    if constexpr (HandlesEvents<Handler, E>) {
      return is_async<decltype(std::declval<Handler&>().handle_event(std::declval<const E&>()))>;
    } else {
      return is_async<decltype(std::declval<Handler&>().handle_batch(std::declval<std::span<const E>>()))>;
    }
  }
  static constexpr bool later = callback_is_later();

  /// The handler's class may have a member of that name, too.
  [[nodiscard]] bool has_left() const noexcept { return static_cast<const EventHandler<E>&>(handler_).left_; }
  [[nodiscard]] bool left_now(HandlerWork<E>& work) noexcept {
    if (!has_left()) [[likely]]
      return false;
    work.end_turn();
    return true;
  }

  Handler handler_;
};

}  // namespace dagverk::detail
