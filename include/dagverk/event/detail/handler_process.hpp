#pragma once

#include "dagverk/event/detail/handler_body.hpp"
#include "dagverk/event/detail/handler_progress.hpp"
#include "dagverk/event/event_handler.hpp"
#include "dagverk/runtime/gen_server.hpp"

#include <any>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

namespace dagverk::detail {

/// Starts a server without waiting for it, linked to the process that calls when `options.parent` says so. For servers
/// without an init: nobody would learn that it failed.
template <class Server, class... Args>
[[nodiscard]] ServerRef<Server> start_unwaited(RuntimeBase& runtime, StartOptions options, Args&&... args) {
  static_assert(!requires(Server& server) { server.init(); });
  const bool linked = static_cast<bool>(options.parent);
  Node* request = make_start<Server>(std::move(options), std::forward<Args>(args)...);
  const Pid child = runtime.new_process(process_type<Server>.blocking);
  if (linked) add_link(child);
  static_cast<void>(send(child, request));
  return ServerRef<Server>(child);
}

/// With this reason a handler's process ends that wants to be removed.
inline constexpr std::string_view handler_left_text = "left";
[[nodiscard]] inline bool handler_left(const ExitReason& reason) noexcept {
  return reason.kind() == ExitReason::Kind::shutdown_with && reason.message() == handler_left_text;
}

/// The process of one handler. Asks its manager for events whenever it has none: demand, one hand-out at a time.
///
/// Semantics: knows no manager, only how to ask; so one class serves them all. `Next` comes only after it has asked.
/// Threads:   a GenServer; with a thread of its own when `OwnThread`.
/// Lifetime:  `spec` and `progress` are shared with the manager, which may have given it up and gone on.
template <class E, bool OwnThread>
class HandlerProcess : public GenServer<HandlerProcess<E, OwnThread>> {
 public:
  static constexpr bool blocking = OwnThread;

  struct Begin {
    std::any inheritance;  ///< what the handler before it has left
  };
  struct Next {
    std::vector<Batch<E>> batches;
  };
  struct Again {};
  struct Finish {
    ExitReason reason;
    std::move_only_function<void(std::any)> give;  ///< takes what it leaves; may be empty
  };
  struct Call {
    std::unique_ptr<HandlerCall> call;
    std::move_only_function<void(Result<void>)> answer;
  };

  HandlerProcess(const Clock* clock, std::shared_ptr<const HandlerSpec<E>> spec,
                 std::shared_ptr<HandlerProgress> progress, std::function<void()> ask)
      : spec_(std::move(spec)),
        progress_(std::move(progress)),
        ask_(std::move(ask)),
        work_(*clock, *progress_, spec_->options.kinds, spec_->selector) {}

  Async<void> handle_cast(Begin begin) {
    body_ = spec_->make();
    if (begin.inheritance.has_value()) body_->take_over(std::move(begin.inheritance));
    co_await body_->init();
    ready_ = true;
    if (body_->left()) {
      leave();
    } else {
      ask_();
    }
  }
  Async<void> handle_cast(Next next) {
    work_.take(std::move(next.batches));
    co_await run();
  }
  Async<void> handle_cast(Again /*again*/) { co_await run(); }
  void handle_cast(Finish finish) {
    this_process::stop(finish.reason);
    if (finish.give && ready_) finish.give(body_->hand_over());
  }
  Async<void> handle_cast(Call call) {
    Result<void> done = co_await body_->call(*call.call, spec_->name);
    call.answer(std::move(done));
    if (body_->left()) leave();
  }
  void handle_info(const Down& down) {
    if (!ready_) return;
    body_->on_down(down);
    if (body_->left()) leave();
  }
  void handle_info(const Exit& exit) {
    if (!ready_) return;
    body_->on_exit(exit);
    if (body_->left()) leave();
  }

  Async<void> terminate(const ExitReason& reason) {
    if (ready_) co_await body_->terminate(handler_left(reason) ? ExitReason::normal : reason);
  }

 private:
  Async<void> run() {
    const TurnEnd end = co_await body_->run(work_);
    switch (end) {
      case TurnEnd::done:
        work_.drop();
        ask_();
        break;
      case TurnEnd::again: this->self().cast(Again{}); break;
      case TurnEnd::ended: break;  // Finish or kill is on its way, or it has asked for its own end
      case TurnEnd::left: leave(); break;
    }
  }

  static void leave() { this_process::stop(ExitReason::shutdown_with(std::string(handler_left_text))); }

  std::shared_ptr<const HandlerSpec<E>> spec_;
  std::shared_ptr<HandlerProgress> progress_;
  std::function<void()> ask_;
  std::unique_ptr<HandlerBody<E>> body_;
  bool ready_ = false;
  HandlerWork<E> work_;
};

}  // namespace dagverk::detail
