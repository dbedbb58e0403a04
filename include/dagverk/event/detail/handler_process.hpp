#pragma once

#include "dagverk/event/detail/handler_body.hpp"
#include "dagverk/event/detail/handler_progress.hpp"
#include "dagverk/event/event_handler.hpp"
#include "dagverk/runtime/gen_server.hpp"

#include <functional>
#include <memory>
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

/// The process of one handler. Asks its manager for events whenever it has none: demand, one hand-out at a time.
///
/// Semantics: knows no manager, only how to ask; so one class serves them all. `Next` comes only after it has asked.
/// Threads:   a GenServer; with a thread of its own when `OwnThread`.
/// Lifetime:  `spec` and `progress` are shared with the manager, which may have given it up and gone on.
template <class E, bool OwnThread>
class HandlerProcess : public GenServer<HandlerProcess<E, OwnThread>> {
 public:
  static constexpr bool blocking = OwnThread;

  struct Begin {};
  struct Next {
    std::vector<Batch<E>> batches;
  };
  struct Again {};
  struct Finish {};

  HandlerProcess(const Clock* clock, std::shared_ptr<const HandlerSpec<E>> spec,
                 std::shared_ptr<HandlerProgress> progress, std::function<void()> ask)
      : spec_(std::move(spec)),
        progress_(std::move(progress)),
        ask_(std::move(ask)),
        work_(*clock, *progress_, spec_->options.kinds, spec_->selector) {}

  Async<void> handle_cast(Begin /*begin*/) {
    body_ = spec_->make();
    co_await body_->init();
    ready_ = true;
    ask_();
  }
  Async<void> handle_cast(Next next) {
    work_.take(std::move(next.batches));
    co_await run();
  }
  Async<void> handle_cast(Again /*again*/) { co_await run(); }
  void handle_cast(Finish /*finish*/) { this_process::stop(ExitReason::shutdown); }

  Async<void> terminate(const ExitReason& reason) {
    if (ready_) co_await body_->terminate(reason);
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
      case TurnEnd::ended: this_process::stop(ExitReason::normal); break;
    }
  }

  std::shared_ptr<const HandlerSpec<E>> spec_;
  std::shared_ptr<HandlerProgress> progress_;
  std::function<void()> ask_;
  std::unique_ptr<HandlerBody<E>> body_;
  bool ready_ = false;
  HandlerWork<E> work_;
};

}  // namespace dagverk::detail
