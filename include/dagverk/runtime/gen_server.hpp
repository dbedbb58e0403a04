#pragma once

#include "dagverk/runtime/detail/handlers.hpp"
#include "dagverk/runtime/detail/interval.hpp"
#include "dagverk/runtime/init_result.hpp"
#include "dagverk/runtime/runtime_base.hpp"
#include "dagverk/runtime/server_ref.hpp"
#include "dagverk/runtime/this_process.hpp"

#include <concepts>
#include <utility>

namespace dagverk {

/// A process with private state that answers calls and takes casts, one at a time, in order of arrival.
///
/// Semantics: OTP's gen_server, typed. `class Counter : public GenServer<Counter>` has, all public and each a plain
///            function or a coroutine (`Async<…>`):
///              `handle_cast(M)`             a message without an answer;
///              `handle_call(M)`             returns `M::Reply`, or `Result` of it, or nothing when Reply is void;
///              `handle_call(M, From<M>)`    answers later, from anywhere;
///              `handle_info(M)`             timers, `Down`, `Exit`, and whatever is sent with `info`;
///              `handle_continue(M)`         runs before any message of the mailbox, see continue_with;
///              `handle_timeout()`           nothing came for a while, see idle_timeout;
///              `init()`                     returns void or InitResult; `start` waits for it;
///              `terminate(const ExitReason&)` the last callback; not after `kill` nor an untrapped exit signal.
///            While a coroutine callback waits, other casts, calls and infos wait; exit signals are seen, and end the
///            wait. The constructor and the destructor run in the process, too. `static constexpr bool blocking =
///            true;` gives the server a thread of its own: for code that blocks.
/// Threads:   the object is touched by its process alone.
/// Errors:    an exception out of a callback ends the process with `ExitReason::error`.
/// Bounds:    the mailbox has none unless StartOptions says so.
template <class Derived>
class GenServer : public detail::Behaviour {
 protected:
  GenServer() = default;

  [[nodiscard]] ServerRef<Derived> self() const noexcept { return ServerRef<Derived>(this_process::pid()); }
  [[nodiscard]] static RuntimeBase& runtime() noexcept { return this_process::runtime(); }

  /// Ends this server once the current callback has returned.
  static void stop(ExitReason reason = ExitReason::normal) { this_process::stop(std::move(reason)); }

  /// `handle_info(message)` after `delay`.
  template <class Message>
  TimerRef send_after(Duration delay, Message message) {
    return this_process::send_after(delay, self(), std::move(message));
  }

  /// `handle_info(message)`, with a copy, after each `period`, without drift: the first tick is due one period from
  /// now, the others at exact multiples of it.
  /// Semantics: at most one tick waits in the mailbox. Ticks that fall due meanwhile are skipped, not made up for:
  ///            `this_process::skipped_ticks` counts them. `this_process::cancel_timer` ends it, and so does the end of
  ///            this server.
  /// Errors:    throws std::invalid_argument when `period` is not positive.
  /// Bounds:    one node per interval; starting, ticking and cancelling are O(1). A mailbox bound refuses no tick.
  template <class Message>
  IntervalRef send_every(Duration period, Message message) {
    static_assert(detail::HandlesInfo<Derived, Message>, "this server has no public handle_info for this message");
    static_assert(std::copy_constructible<Message>, "each tick of an interval gets a copy of its message");
    if constexpr (detail::HandlesInfo<Derived, Message> && std::copy_constructible<Message>) {
      using Node = detail::IntervalNode<Derived, Message>;
      detail::check_period(period);
      detail::ProcessCore& core = *detail::current_process;
      const detail::IntervalTick tick = detail::new_interval(core, period);
      detail::arm_interval(core, tick, detail::make_node<typename Node::Payload>(Node::ops, tick, std::move(message)));
      return {tick.id};
    } else {
      return {};
    }
  }

  /// `handle_timeout()` runs when no message comes within `after` of the end of the current callback.
  /// Semantics: any message cancels it, whether it waits already or comes in time: calls, casts, infos, `Down`, `Exit`,
  ///            a continue. So it holds for this once; a server that always wants it sets it in every callback. Zero:
  ///            when the mailbox is empty now. A later call in the same callback replaces an earlier one. While a
  ///            callback waits the time does not run.
  /// Bounds:    O(1); a server that sets it after every message arms about one timer per `after`.
  void idle_timeout(Duration after) {
    static_assert(
        requires(Derived& server) { server.handle_timeout(); },
        "a server with an idle timeout has a public handle_timeout()");
    detail::want_idle_timeout(*detail::current_process, after);
  }

  /// `handle_continue(message)` runs right after the current callback, before any message of the mailbox.
  template <class Message>
  void continue_with(Message message) {
    detail::push_front(detail::make_continue<Derived, Message>(std::move(message)));
  }

 protected:  // for stages, which see some Downs and Exits first
  void on_down(detail::ProcessCore& core, const Down& down) override {
    if constexpr (detail::HandlesInfo<Derived, Down>) {
      run_info(core, down);
    } else {
      detail::Behaviour::on_down(core, down);
    }
  }
  void on_exit(detail::ProcessCore& core, const Exit& exit) override {
    if constexpr (detail::HandlesInfo<Derived, Exit>) {
      run_info(core, exit);
    } else {
      detail::Behaviour::on_exit(core, exit);
    }
  }

  void on_idle(detail::ProcessCore& core) override {
    if constexpr (requires(Derived& server) { server.handle_timeout(); }) {
      run_now(core, detail::make_node<detail::IdleTimeout>(detail::timeout_node_ops<Derived>));
    }
  }

 private:
  template <class Server>
  static constexpr bool has_later_terminate = requires(Server& server, const ExitReason& reason) {
    { server.terminate(reason) } -> std::same_as<Async<void>>;
  };

  bool begin_terminate(detail::ProcessCore& core, const ExitReason& reason) final {
    if constexpr (has_later_terminate<Derived>) {
      detail::Node* node = detail::make_node<ExitReason>(detail::terminate_node_ops<Derived>, reason);
      core.current_node = node;
      if (node->ops->run(node, core)) detail::free_node(node);
      return true;
    } else {
      return false;
    }
  }
  [[nodiscard]] bool terminates_later() const noexcept final { return has_later_terminate<Derived>; }
  void on_terminate(const ExitReason& reason) final {
    if constexpr (requires(Derived& server) { server.terminate(reason); } && !has_later_terminate<Derived>) {
      static_cast<Derived&>(*this).terminate(reason);
    }
  }

  template <class Message>
  static void run_info(detail::ProcessCore& core, Message message) {
    run_now(core, detail::make_node<Message>(detail::info_node_ops<Derived, Message>, std::move(message)));
  }
  static void run_now(detail::ProcessCore& core, detail::Node* node) {
    core.current_node = node;  // so that a throwing handler's message is disposed of
    core.current_ops.store(node->ops, std::memory_order_relaxed);
    if (node->ops->run(node, core)) detail::free_node(node);
  }
};

}  // namespace dagverk
