#pragma once

#include "dagverk/runtime/supervisor.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace dagverk {

struct DynamicSupervisorOptions {
  /// More are refused; those that are being restarted count. Default: no bound, as in OTP.
  std::size_t max_children = std::numeric_limits<std::size_t>::max();
  std::uint32_t max_restarts = 3;  ///< within max_restart_window; one more ends the supervisor. 0: the first does
  Duration max_restart_window = std::chrono::seconds(5);  ///< more than zero
  std::string name = {};                                  ///< registered while it runs; empty: none
  /// As SupervisorOptions::kill_timeout.
  Duration kill_timeout = std::chrono::seconds(1);
};

/// Errors: `invalid_argument`, naming the field.
[[nodiscard]] Result<void> check(const DynamicSupervisorOptions& options);

/// A supervisor whose children are started one by one while it runs, any number of them from like specs.
///
/// Semantics: Elixir's DynamicSupervisor: each child stands alone, ids have no meaning, a child that ends for good is
///            forgotten, and at the end all are stopped at once, each within its own limit. A child that is being
///            restarted is addressed by its last pid. Differences in docs/reference/supervisor.md.
/// Threads:   as every server; use it through DynamicSupervisorRef.
/// Errors:    as Supervisor.
/// Bounds:    `max_children`.
class DynamicSupervisor : public GenServer<DynamicSupervisor> {
 public:
  static constexpr ChildType child_type = ChildType::supervisor;

  struct StartChild {
    using Reply = Pid;
    ChildSpec spec;
  };
  struct TerminateChild {
    using Reply = void;
    Pid pid;
  };
  struct WhichChildren {
    using Reply = std::vector<ChildInfo>;
  };
  struct CountChildren {
    using Reply = ChildCounts;
  };
  struct Stop {
    ExitReason reason;
  };
  struct Retry {  ///< the supervisor's own
    std::uint64_t key;
    std::uint64_t attempt;
  };

  explicit DynamicSupervisor(DynamicSupervisorOptions options = {});
  DynamicSupervisor(const DynamicSupervisor&) = delete;
  DynamicSupervisor& operator=(const DynamicSupervisor&) = delete;
  ~DynamicSupervisor() override;

  InitResult init();
  Async<Result<Pid>> handle_call(StartChild start);
  Async<Result<void>> handle_call(TerminateChild terminate);
  std::vector<ChildInfo> handle_call(WhichChildren which);
  ChildCounts handle_call(CountChildren count);
  void handle_cast(Stop stop_request);
  Async<void> handle_info(Retry retry);
  Async<void> handle_info(Exit exit);
  Async<void> terminate(const ExitReason& reason);

 private:
  struct Child {
    ChildSpec spec;  // without its start function when it will not be started again
    Pid pid;         // the last one
    bool restarting = false;
    bool admitted = false;  // the restart that is pending has been counted
    std::uint64_t attempt = 0;
    TimerRef retry_timer;
    RestartHistory history;
    std::uint64_t restarts = 0;
  };

  [[nodiscard]] bool admit(Child& child);
  void retry_later(Child& child);
  Async<void> restart(std::uint64_t key);

  DynamicSupervisorOptions options_;
  std::map<std::uint64_t, Child> children_;  // by the number of the last pid, so in a replayable order
  RestartHistory history_;
  std::uint64_t last_attempt_ = 0;
};

/// The address of one dynamic supervisor, with what can be asked of it; see SupervisorRef.
///
/// Threads:   any. Lifetime: not after the runtime.
/// Errors:    `no_process` and `exited` when the supervisor has ended; `wrong_thread`; and those beside each operation.
class DynamicSupervisorRef {
 public:
  DynamicSupervisorRef() = default;
  // NOLINTNEXTLINE(google-explicit-constructor)
  DynamicSupervisorRef(ServerRef<DynamicSupervisor> server) noexcept : server_(server) {}

  [[nodiscard]] Pid pid() const noexcept { return server_.pid(); }
  [[nodiscard]] ServerRef<DynamicSupervisor> server() const noexcept { return server_; }
  friend bool operator==(const DynamicSupervisorRef&, const DynamicSupervisorRef&) noexcept = default;

  /// Starts a child. Errors: `refused` (there are `max_children`), `ignored` (its init chose not to run),
  /// `invalid_argument`, or why it did not start.
  [[nodiscard]] detail::CallAwaiter<DynamicSupervisor::StartChild, DynamicSupervisor::StartChild::Reply> start_child(
      ChildSpec spec) const;
  [[nodiscard]] Result<Pid> start_child_blocking(ChildSpec spec) const;
  template <class Server>
  [[nodiscard]] Async<Result<ServerRef<Server>>> start_child(ChildSpecOf<Server> spec) const {
    return start_typed<Server>(server_, std::move(spec));
  }
  template <class Server>
  [[nodiscard]] Result<ServerRef<Server>> start_child_blocking(ChildSpecOf<Server> spec) const {
    Result<Pid> started = start_child_blocking(ChildSpec(std::move(spec)));
    if (!started) return started.error();
    return ServerRef<Server>(*started);
  }

  /// Stops a child and forgets it. Errors: `not_found`.
  [[nodiscard]] detail::CallAwaiter<DynamicSupervisor::TerminateChild, DynamicSupervisor::TerminateChild::Reply>
  terminate_child(Pid pid) const;
  [[nodiscard]] Result<void> terminate_child_blocking(Pid pid) const;

  /// All children, without ids; in no promised order.
  [[nodiscard]] detail::CallAwaiter<DynamicSupervisor::WhichChildren, DynamicSupervisor::WhichChildren::Reply>
  which_children() const;
  [[nodiscard]] Result<std::vector<ChildInfo>> which_children_blocking() const;
  /// `active` leaves out those that are being restarted.
  [[nodiscard]] detail::CallAwaiter<DynamicSupervisor::CountChildren, DynamicSupervisor::CountChildren::Reply>
  count_children() const;
  [[nodiscard]] Result<ChildCounts> count_children_blocking() const;

  /// Stops the supervisor, its children first, and answers why it ended.
  [[nodiscard]] Async<Result<ExitReason>> stop(ExitReason reason = ExitReason::normal) const {
    return stop_server(server_, std::move(reason));
  }
  /// As `stop`. Errors: `exited` when it ended for another reason, `no_process`, `timeout`.
  [[nodiscard]] Result<void> stop_blocking(ExitReason reason = ExitReason::normal, Duration timeout = no_limit) const;

 private:
  static constexpr Duration no_limit{0};

  template <class Server>
  static Async<Result<ServerRef<Server>>> start_typed(ServerRef<DynamicSupervisor> server, ChildSpec spec) {
    Result<Pid> started = co_await server.call_within<DynamicSupervisor::StartChild>(no_limit, std::move(spec));
    if (!started) co_return started.error();
    co_return ServerRef<Server>(*started);
  }
  static Async<Result<ExitReason>> stop_server(ServerRef<DynamicSupervisor> server, ExitReason reason);

  ServerRef<DynamicSupervisor> server_;
};

/// Starts a dynamic supervisor without a parent. Outside of processes; elsewhere as `start_supervisor` says.
/// Errors: as `check`; `already_exists` when the name is taken.
[[nodiscard]] Result<DynamicSupervisorRef> start_dynamic_supervisor(RuntimeBase& runtime,
                                                                    DynamicSupervisorOptions options = {});

}  // namespace dagverk
