#pragma once

#include "dagverk/runtime/messages.hpp"
#include "dagverk/runtime/server_ref.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

namespace dagverk {

/// A timer that was started; good for cancelling it.
class TimerRef {
 public:
  TimerRef() = default;
  explicit TimerRef(detail::TimerSlot slot) noexcept : slot_(slot) {}
  [[nodiscard]] detail::TimerSlot slot() const noexcept { return slot_; }

 private:
  detail::TimerSlot slot_;
};

/// An interval that was started with `send_every`; good for cancelling and asking it.
struct IntervalRef {
  std::uint64_t id = 0;
  friend bool operator==(const IntervalRef&, const IntervalRef&) noexcept = default;
};

/// A process that was started with a monitor on it.
struct MonitoredProcess {
  Pid pid;
  MonitorRef monitor;
};
template <class Server>
struct MonitoredServer {
  ServerRef<Server> server;
  MonitorRef monitor;
};

namespace this_process {
[[nodiscard]] RuntimeBase& runtime() noexcept;
}  // namespace this_process

namespace detail {

/// The parent's half of a link to a child that is about to start.
void add_link(Pid child);
void drop_link(Pid child) noexcept;
/// Links the running process and one that has not started, or monitors that, before it can end.
void link_new(Pid child);
[[nodiscard]] MonitorRef monitor_new(Pid child);
void drop_monitor(MonitorRef ref) noexcept;
/// Monitors `other` by a reference that nobody has used, or by which `other` may monitor the running process: two that
/// watch each other need one for both.
void monitor_as(MonitorRef ref, Pid other);

/// Asks a process to end in order; answered when it has.
struct StopMessage {
  using Reply = void;
  ExitReason reason;
};
[[nodiscard]] Node* make_stop_call(ExitReason reason);

/// Awaits the start of a server by a process; links the two when it is asked to.
template <class Server, class... Args>
class [[nodiscard]] StartAwaiter : private CallAwaiter<StartMessage<Server, Args...>, Pid> {
  using Base = CallAwaiter<StartMessage<Server, Args...>, Pid>;

 public:
  StartAwaiter(Pid child, Node* request, bool linked) noexcept
      : Base(child, request, start_timeout), child_(child), linked_(linked) {}

  StartAwaiter(const StartAwaiter&) = delete;
  StartAwaiter& operator=(const StartAwaiter&) = delete;
  ~StartAwaiter() {
    if (!Base::unsent()) return;
    if (linked_) drop_link(child_);
    this_process::runtime().abandon_process(child_);
  }

  using Base::await_ready;
  using Base::await_suspend;
  [[nodiscard]] Result<ServerRef<Server>> await_resume();

 protected:
  using Base::unsent;

 private:
  Pid child_;
  bool linked_;
};

/// As StartAwaiter; the server is monitored from its first moment.
template <class Server, class... Args>
class [[nodiscard]] MonitoredStartAwaiter : private StartAwaiter<Server, Args...> {
  using Base = StartAwaiter<Server, Args...>;

 public:
  MonitoredStartAwaiter(Pid child, Node* request, bool linked)
      : Base(child, request, linked), monitor_(monitor_new(child)) {}

  MonitoredStartAwaiter(const MonitoredStartAwaiter&) = delete;
  MonitoredStartAwaiter& operator=(const MonitoredStartAwaiter&) = delete;
  ~MonitoredStartAwaiter() {
    if (Base::unsent()) drop_monitor(monitor_);
  }

  using Base::await_ready;
  using Base::await_suspend;
  [[nodiscard]] Result<MonitoredServer<Server>> await_resume() {
    Result<ServerRef<Server>> started = Base::await_resume();
    if (started) return MonitoredServer<Server>{*started, monitor_};
    drop_monitor(monitor_);  // the answer has said it all
    return started.error();
  }

 private:
  MonitorRef monitor_;
};

}  // namespace detail

/// What code that runs in a process can do in its name. Each asserts that it is called inside a process.
namespace this_process {

/// True when the calling thread runs a process now.
[[nodiscard]] bool inside() noexcept;
[[nodiscard]] Pid pid() noexcept;
[[nodiscard]] RuntimeBase& runtime() noexcept;

/// Exit signals become `handle_info(Exit)` from now on instead of ending this process. `kill` is not trapped, nor is
/// the parent's.
void trap_exits(bool trap = true);

/// Links this process with `other`: when one ends abnormally the other gets its exit signal. Linking twice is linking
/// once. When `other` is gone, an exit signal `noproc` comes.
void link(Pid other);
/// Afterwards no exit signal of that link arrives.
void unlink(Pid other);

/// Watches `other`: one `handle_info(Down)` when it ends, at once with `noproc` when it is gone. Stackable.
[[nodiscard]] MonitorRef monitor(Pid other);
/// Stops watching; a Down that is already queued is not seen any more (OTP's `flush`). False when the Down has been
/// seen or the monitor was given up before.
bool demonitor(MonitorRef ref);

/// Sends an exit signal to `other` in this process' name.
void exit(Pid other, ExitReason reason);

/// Ends this process with `reason` once the current callback has returned; terminate runs.
void stop(ExitReason reason = ExitReason::normal);

/// Asks `other` to end with `reason` once it has handled what is queued, and awaits its end, at most `timeout` (zero or
/// less: for ever). Errors: `no_process`, `timeout`, `calling_self`, `exited` when it ended for another reason.
[[nodiscard]] inline detail::CallAwaiter<detail::StopMessage, void> stop(Pid other, const ExitReason& reason,
                                                                         Duration timeout = Duration::zero()) {
  return {other, detail::make_stop_call(reason), timeout};
}

/// As RuntimeBase::spawn, linked to this process from its first moment.
template <class Body>
Pid spawn_link(Body body) {
  detail::Node* node = detail::make_spawn(std::move(body));
  const Pid child = runtime().new_process();
  detail::link_new(child);
  static_cast<void>(detail::send(child, node));
  return child;
}
/// As RuntimeBase::spawn, monitored by this process from its first moment: its Down tells the reason, however soon.
template <class Body>
[[nodiscard]] MonitoredProcess spawn_monitor(Body body) {
  detail::Node* node = detail::make_spawn(std::move(body));
  const Pid child = runtime().new_process();
  const MonitorRef monitor = detail::monitor_new(child);
  static_cast<void>(detail::send(child, node));
  return {child, monitor};
}

/// Registers this process under `name`, released when it ends. Errors: `already_exists`.
[[nodiscard]] Result<void> register_name(std::string name);

/// Starts a server from inside a process: `co_await this_process::start<Server>(args…)`. Errors as RuntimeBase::start.
template <class Server, class... Args>
[[nodiscard]] detail::StartAwaiter<Server, std::decay_t<Args>...> start_with(StartOptions options, Args&&... args) {
  const bool linked = static_cast<bool>(options.parent);
  detail::Node* request = detail::make_start<Server>(std::move(options), std::forward<Args>(args)...);
  const Pid child = runtime().new_process(detail::process_type<Server>.blocking);
  if (linked) detail::add_link(child);
  return {child, request, linked};
}
template <class Server, class... Args>
[[nodiscard]] detail::StartAwaiter<Server, std::decay_t<Args>...> start(Args&&... args) {
  return this_process::start_with<Server>(StartOptions(), std::forward<Args>(args)...);
}
/// As `start`, linked to this process, which becomes the parent.
template <class Server, class... Args>
[[nodiscard]] detail::StartAwaiter<Server, std::decay_t<Args>...> start_link(Args&&... args) {
  StartOptions options;
  options.parent = pid();
  return this_process::start_with<Server>(std::move(options), std::forward<Args>(args)...);
}

/// As `start`, with a monitor on the server from its first moment. No Down comes when the start fails: the error says
/// why.
template <class Server, class... Args>
[[nodiscard]] detail::MonitoredStartAwaiter<Server, std::decay_t<Args>...> start_monitor(Args&&... args) {
  detail::Node* request = detail::make_start<Server>(StartOptions(), std::forward<Args>(args)...);
  return {runtime().new_process(detail::process_type<Server>.blocking), request, false};
}

/// Sends `message` to `server` (its handle_info) after `delay`.
template <class Server, class Message>
TimerRef send_after(Duration delay, ServerRef<Server> server, Message message) {
  RuntimeBase& runtime = this_process::runtime();
  detail::Node* node = detail::make_info<Server, Message>(std::move(message));
  return TimerRef(runtime.arm_timer(runtime.clock().steady_now() + delay, server.pid(), node));
}
/// Cancels; the time that was left, or nothing when it has fired already.
std::optional<Duration> cancel_timer(TimerRef timer) noexcept;

/// Ends an interval of this process; the time that was left to its next tick, zero when one waited in the mailbox (it
/// is not seen any more), nothing when it had been ended before.
std::optional<Duration> cancel_timer(IntervalRef interval) noexcept;
/// How many ticks of an interval were skipped so far because this process was late.
[[nodiscard]] std::uint64_t skipped_ticks(IntervalRef interval) noexcept;

/// Waits until `other` has ended, at most `timeout` (zero or less: for ever): its reason, `noproc` when it is gone
/// already. Errors: `timeout`.
[[nodiscard]] Async<Result<ExitReason>> wait_for_exit(Pid other, Duration timeout);

/// Waits: `co_await this_process::sleep(50ms)`.
[[nodiscard]] Async<void> sleep(Duration duration);

}  // namespace this_process

namespace detail {

template <class Server, class... Args>
Result<ServerRef<Server>> StartAwaiter<Server, Args...>::await_resume() {
  Result<Pid> started = Base::await_resume();
  if (!started) {
    if (linked_) drop_link(child_);
    return started.error();
  }
  return ServerRef<Server>(*started);
}

}  // namespace detail
}  // namespace dagverk
