#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/log.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/runtime/async.hpp"
#include "dagverk/runtime/detail/call.hpp"
#include "dagverk/runtime/detail/process_core.hpp"
#include "dagverk/runtime/detail/server_start.hpp"
#include "dagverk/runtime/external_lane.hpp"
#include "dagverk/runtime/pid.hpp"
#include "dagverk/runtime/snapshot.hpp"
#include "dagverk/runtime/trace.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace dagverk {

template <class Server>
class ServerRef;

namespace detail {
class InboxPool;
class NameTable;
class OutsideGate;
class ProcessTable;
class TimerQueue;
class BusyMeter;
struct ProcessLife;
}  // namespace detail

/// What both runtimes have in common: they run processes, one message at a time each, on whichever threads they have.
///
/// Semantics: an object, never a global; a program may have several. Code that runs in a process cannot tell a threaded
///            from a deterministic runtime.
/// Threads:   all operations may be called from any thread; `start`, `stop`, `run` block and are refused on a thread
///            that is running a process (`wrong_thread`).
/// Lifetime:  outlives every reference and Pid that came from it.
class RuntimeBase {
 public:
  RuntimeBase(const RuntimeBase&) = delete;
  RuntimeBase& operator=(const RuntimeBase&) = delete;

  /// Starts a server: constructs `Server(args…)` inside a new process and returns when its `init` has.
  /// Errors: `exited` when construction or init threw or stopped, `ignored` when init chose so, `wrong_thread` inside a
  ///         process (use `co_await this_process::start<Server>(args…)` there).
  template <class Server, class... Args>
  [[nodiscard]] Result<ServerRef<Server>> start(Args&&... args) {
    return start_with<Server>(StartOptions{}, std::forward<Args>(args)...);
  }

  /// As `start`, with a name or a mailbox bound. A taken name is `already_exists`, and init is not run.
  template <class Server, class... Args>
  [[nodiscard]] Result<ServerRef<Server>> start_with(StartOptions options, Args&&... args) {
    if (Result<void> allowed = check_may_block(); !allowed) return allowed.error();
    detail::Node* request = detail::make_start<Server>(std::move(options), std::forward<Args>(args)...);
    Result<Pid> started = detail::block_on_call<detail::StartMessage<Server, std::decay_t<Args>...>, Pid>(
        new_process(detail::process_type<Server>.blocking), request, detail::start_timeout);
    if (!started) return started.error();
    return ServerRef<Server>(*started);
  }

  /// Runs `body` (a callable without arguments, plain or returning Async<void>) in a process of its own, which ends
  /// with it.
  template <class Body>
  Pid spawn(Body body) {
    const Pid pid = new_process();
    static_cast<void>(detail::send(pid, detail::make_spawn(std::move(body))));
    return pid;
  }

  /// Runs an awaitable in a process of its own and blocks this thread until it is done: how a program's `main` uses
  /// awaitable operations. An exception out of it comes back as `exited`.
  template <class T>
  [[nodiscard]] Result<T> run(Async<Result<T>> work, Duration timeout = Duration::max()) {
    if (Result<void> allowed = check_may_block(); !allowed) return allowed.error();
    return detail::block_on_call<detail::RunMessage<T>, T>(new_process(), detail::make_run(std::move(work)), timeout);
  }

  /// Sends an exit signal to `pid`, as if from a stranger. `ExitReason::kill` cannot be trapped.
  void exit(Pid pid, ExitReason reason);

  /// Asks `pid` to end with `reason` once it has handled what is queued, and blocks until it has.
  /// Errors: `no_process`, `timeout`, `wrong_thread`.
  [[nodiscard]] Result<void> stop(Pid pid, ExitReason reason = ExitReason::normal,
                                  Duration timeout = detail::start_timeout);

  /// The process that holds `name` now.
  [[nodiscard]] std::optional<Pid> whereis(std::string_view name) const;
  /// As `whereis`, when the holder is of the kind `type`: `no_process` or `wrong_type` otherwise.
  [[nodiscard]] Result<Pid> resolve(std::string_view name, const detail::ProcessType& type) const;

  [[nodiscard]] static bool alive(Pid pid) noexcept;
  [[nodiscard]] std::size_t process_count() const noexcept;

  /// Every process and stage edge as of now. Stops nobody and takes no lock that a message, a start or an end waits
  /// for; costs some tens of milliseconds per 100,000 processes. Concurrent snapshots wait for one another.
  [[nodiscard]] Snapshot snapshot() const;
  /// One process of a snapshot; nothing when it has ended.
  [[nodiscard]] std::optional<ProcessInfo> process_info(Pid pid) const;

  /// From now on `sink` is told of everything that happens to `pid`, until it ends or `stop_trace`. A second trace of
  /// one process replaces the first. What is not traced pays nothing.
  /// Errors: `no_process`. When the process ends before the trace begins, the sink gets `exited` alone.
  [[nodiscard]] Result<void> trace(Pid pid, TraceSink sink);
  /// Ends a trace. Takes effect as an exit signal does; the sink is destroyed with the process, or with the next trace.
  void stop_trace(Pid pid);

  /// A serial executor outside of the scheduler; see ExternalLane.
  [[nodiscard]] virtual std::unique_ptr<ExternalLane> open_lane(std::string name,
                                                                std::move_only_function<void()> work) = 0;

  [[nodiscard]] const Clock& clock() const noexcept { return clock_; }
  [[nodiscard]] Logger& logger() const noexcept { return logger_; }
  /// True once the runtime has been stopped: nothing runs any more.
  [[nodiscard]] virtual bool stopped() const noexcept { return false; }
  /// True on the deterministic runtime: time moves by hand and the outside world is replaced.
  [[nodiscard]] virtual bool deterministic() const noexcept { return false; }

  // --- for this room's own parts ------------------------------------------------------------------------------------
  virtual void make_ready(detail::ProcessCore& core) noexcept = 0;
  [[nodiscard]] Pid new_process(bool blocking = false);
  /// Takes back a process that was never sent anything.
  void abandon_process(Pid pid) noexcept;
  /// Errors: `wrong_thread` inside a process, `shutting_down` once the runtime has been stopped.
  [[nodiscard]] Result<void> check_may_block() const;
  [[nodiscard]] detail::TimerSlot arm_timer(SteadyTime deadline, Pid target, detail::Node* node);
  /// The time that was left, or nothing when it has fired.
  std::optional<Duration> cancel_timer(detail::TimerSlot slot) noexcept;
  [[nodiscard]] Result<void> register_name(std::string name, Pid pid, const detail::ProcessType& type);
  void release_name(std::string_view name, Pid pid) noexcept;
  /// Blocks until `waiter` is ready or `timeout` passed. Errors: `wrong_thread`.
  [[nodiscard]] virtual Result<void> block_on(detail::BlockingWaiter& waiter, Duration timeout) = 0;
  [[nodiscard]] std::uint64_t next_ref() noexcept { return next_ref_.fetch_add(1, std::memory_order_relaxed); }
  [[nodiscard]] detail::EdgeTable& edges() noexcept { return *edges_; }
  /// Milliseconds since this runtime began, to within a tenth of a second; one load.
  [[nodiscard]] std::uint64_t coarse_now_ms() const noexcept { return coarse_ms_.load(std::memory_order_relaxed); }
  [[nodiscard]] detail::OutsideGate& outside() noexcept { return *outside_; }
  [[nodiscard]] detail::InboxPool& inboxes() noexcept { return *inboxes_; }
  struct Running {
    const detail::ProcessCore* core;
    std::uint64_t began_ms;  ///< on the coarse clock
  };

 protected:
  RuntimeBase(const Clock& clock, Logger& logger);
  virtual ~RuntimeBase();

  struct RunLimits {
    std::uint32_t messages;  ///< leave after this many
    /// Asked when messages came while those of before were handled, with how many came; may be null.
    bool (*should_yield)(void* self, std::uint32_t found);
    void* self;
    detail::BusyMeter* busy = nullptr;  ///< null: nobody counts
  };
  enum class RunOutcome : std::uint8_t { idle, more, exited };

  /// Runs one process for a while on this thread.
  RunOutcome run_process(detail::ProcessCore& core, const RunLimits& limits);
  /// Fires timers that are due.
  void fire_timers(SteadyTime now);
  [[nodiscard]] std::optional<SteadyTime> next_timer() const;
  /// Discards what is left in every mailbox and frees every process' state. Nobody runs any more.
  void drop_all_processes() noexcept;
  /// Gives up what threads that are stuck in a callback still use; it stays valid until the program ends.
  void leak_processes() noexcept;
  /// Asks every process without a parent to end in order, with terminate.
  void stop_roots();
  void kill_all();

  /// `core` is about to start and blocks by nature: it is to run on a thread of its own until it ends.
  virtual void give_own_thread(detail::ProcessCore& core) = 0;
  /// Takes it back from one that has not started; nothing for one that has none.
  virtual void take_own_thread(detail::ProcessCore& core) noexcept = 0;
  virtual void on_timer_armed(SteadyTime /*deadline*/) noexcept {}
  virtual void on_process_exit(Pid /*pid*/, const ExitReason& /*reason*/) {}
  /// After `announce_exits`, called whenever a process has ended.
  virtual void on_process_gone() noexcept {}
  void announce_exits() noexcept { announces_exits_.store(true); }

  [[nodiscard]] detail::ProcessTable& processes() noexcept { return *processes_; }

  /// Moves the coarse clock, by which snapshots say for how long.
  void note_time(SteadyTime now) noexcept;
  [[nodiscard]] const std::atomic<std::uint64_t>& coarse_ms() const noexcept { return coarse_ms_; }
  /// The processes that threads run at this moment.
  virtual void list_running(std::vector<Running>& running) const;
  [[nodiscard]] virtual Duration busy_time(std::uint64_t /*cycles*/) const noexcept { return Duration::zero(); }

 private:
  friend struct detail::ProcessLife;

  [[nodiscard]] std::optional<ProcessInfo> look_at(detail::ProcessCore& core, std::uint64_t now_ms) const;
  static void mark_running(ProcessInfo& info, const Running& running, std::uint64_t now_ms);
  [[nodiscard]] std::uint64_t ms_since_start(SteadyTime now) const noexcept;

  void free_process(detail::ProcessCore& core) noexcept;

  const Clock& clock_;
  Logger& logger_;
  std::unique_ptr<detail::ProcessTable> processes_;
  std::unique_ptr<detail::NameTable> names_;
  std::unique_ptr<detail::TimerQueue> timers_;
  std::unique_ptr<detail::EdgeTable> edges_;
  std::unique_ptr<detail::OutsideGate> outside_;
  std::unique_ptr<detail::InboxPool> inboxes_;
  const SteadyTime origin_;                              // of the coarse clock
  alignas(64) std::atomic<std::uint64_t> coarse_ms_{0};  // on a line that is rarely written: every turn reads it
  std::atomic<bool> announces_exits_{false};
  alignas(64) std::atomic<std::uint64_t> next_ref_{1};
};

}  // namespace dagverk
