#pragma once

#include "dagverk/runtime/child_spec.hpp"
#include "dagverk/runtime/gen_server.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dagverk {

/// Which children a supervisor restarts when one of them has to be.
enum class RestartStrategy : std::uint8_t {
  one_for_one,   ///< that one
  one_for_all,   ///< all: they are stopped in reverse start order and started in order
  rest_for_one,  ///< that one and those that were started after it
};

/// When the end of significant children ends their supervisor (with `shutdown`).
enum class AutoShutdown : std::uint8_t {
  never,
  any_significant,  ///< as soon as one has ended by itself and is not restarted
  all_significant,  ///< when the last one has
};

struct SupervisorOptions {
  RestartStrategy strategy = RestartStrategy::one_for_one;
  std::uint32_t max_restarts = 3;  ///< within max_restart_window; one more ends the supervisor. 0: the first does
  Duration max_restart_window = std::chrono::seconds(5);  ///< more than zero
  AutoShutdown auto_shutdown = AutoShutdown::never;
  std::string name = {};  ///< registered while it runs; empty: none
  /// After `kill`, how long to wait for a child whose callback does not return before it is reported as stuck.
  Duration kill_timeout = std::chrono::seconds(1);
};

enum class ChildState : std::uint8_t {
  running,
  stopped,     ///< ended for good, stopped by hand, or it chose not to start
  restarting,  ///< a restart is being waited for, or has failed and will be tried again
  failed,      ///< over a limit of its own; `restart_child` starts it again
};

struct ChildInfo {
  std::string id;  ///< empty in a DynamicSupervisor
  Pid pid;         ///< empty unless running
  ChildState state = ChildState::stopped;
  ChildType type = ChildType::worker;
  std::uint64_t restarts = 0;  ///< of this child, by its supervisor
};

struct ChildCounts {
  std::size_t specs = 0;
  std::size_t active = 0;       ///< whose process is alive now
  std::size_t supervisors = 0;  ///< alive or not
  std::size_t workers = 0;      ///< alive or not
};

/// A process that starts children in order, restarts those that crash, and stops them in reverse order.
///
/// Semantics: OTP's supervisor; differences in docs/reference/supervisor.md. Traps exits. When it ends, it stops its
///            children one after the other; one whose callback does not return even after `kill` is reported as stuck
///            (log event `child.stuck`) and left behind, so it never hangs the tree. While it starts or stops a child,
///            its other messages wait.
/// Threads:   as every server; use it through SupervisorRef.
/// Errors:    a child that does not start at first stops the others and the supervisor, with
///            `shutdown: failed to start child "id": …`. Bad options or specs stop it with a reason that names the
///            field.
/// Bounds:    as many children as there is memory for.
class Supervisor : public GenServer<Supervisor> {
 public:
  static constexpr ChildType child_type = ChildType::supervisor;

  struct StartChild {
    using Reply = Pid;
    ChildSpec spec;
  };
  struct TerminateChild {
    using Reply = void;
    std::string id;
  };
  struct RestartChild {
    using Reply = Pid;
    std::string id;
  };
  struct DeleteChild {
    using Reply = void;
    std::string id;
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
    std::uint64_t serial;
    std::uint64_t attempt;
  };

  explicit Supervisor(SupervisorOptions options, std::vector<ChildSpec> children = {});
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;
  ~Supervisor() override;

  Async<InitResult> init();
  Async<Result<Pid>> handle_call(StartChild start);
  Async<Result<void>> handle_call(TerminateChild terminate);
  Async<Result<Pid>> handle_call(RestartChild restart);
  Result<void> handle_call(const DeleteChild& remove);
  std::vector<ChildInfo> handle_call(WhichChildren which);
  ChildCounts handle_call(CountChildren count);
  void handle_cast(Stop stop_request);
  Async<void> handle_info(Retry retry);
  Async<void> handle_info(Exit exit);
  Async<void> terminate(const ExitReason& reason);

 private:
  struct Child;
  using Children = std::vector<std::unique_ptr<Child>>;

  [[nodiscard]] Child* find(std::string_view id) const noexcept;
  [[nodiscard]] Child* find(Pid pid) const noexcept;
  [[nodiscard]] Child* find_serial(std::uint64_t serial) const noexcept;
  Child& append(ChildSpec spec);
  void forget(const Child& child);
  void retire(Child& child);
  [[nodiscard]] bool admit(Child& child);
  void retry_later(Child& child);
  void cancel_retry(Child& child);
  void hand_over();
  [[nodiscard]] std::vector<std::uint64_t> restarted_with(const Child& child) const;
  Async<void> restart_group(std::uint64_t serial, bool whole);
  Async<void> stop_group(std::vector<std::uint64_t> serials, std::uint64_t except);
  Async<Result<void>> start_one(Child& child);
  Async<void> stop_one(Child& child);

  SupervisorOptions options_;
  std::vector<ChildSpec> first_children_;  // until init has started them
  Children children_;                      // in start order
  RestartHistory history_;
  std::uint64_t last_serial_ = 0;
};

/// Errors: `invalid_argument` naming the field, `already_exists` for two children with one id.
[[nodiscard]] Result<void> check(const SupervisorOptions& options, const std::vector<ChildSpec>& children);

/// The address of one supervisor, with what can be asked of it.
///
/// Semantics: the plain operations are awaited inside a process; those that end in `_blocking` block, outside of one. A
///            named spec is moved in: `co_await supervisor.start_child(std::move(spec))`. None of them has a time
///            limit: a child's init may take its time. So a child must not ask its own supervisor from its init or
///            terminate: each would wait for the other. From a callback, or by a `continue_with`, it may.
/// Threads:   any.
/// Errors:    `no_process` and `exited` when the supervisor has ended; `wrong_thread`; and those beside each operation.
/// Lifetime:  not after the runtime.
class SupervisorRef {
 public:
  SupervisorRef() = default;
  SupervisorRef(ServerRef<Supervisor> server) noexcept : server_(server) {}  // NOLINT(google-explicit-constructor)

  [[nodiscard]] Pid pid() const noexcept { return server_.pid(); }
  [[nodiscard]] ServerRef<Supervisor> server() const noexcept { return server_; }
  friend bool operator==(const SupervisorRef&, const SupervisorRef&) noexcept = default;

  /// Starts a child as the last one and answers its pid; an empty one when its init chose not to run.
  /// Errors: `already_exists` (one with this id runs or is being restarted), `refused` (one with this id is stopped),
  ///         `invalid_argument`, or why it did not start; the child is then not kept.
  [[nodiscard]] detail::CallAwaiter<Supervisor::StartChild, Supervisor::StartChild::Reply> start_child(
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

  /// Stops a child and keeps its spec (a temporary one is forgotten). Stopping a stopped one is fine.
  /// Errors: `not_found`.
  [[nodiscard]] detail::CallAwaiter<Supervisor::TerminateChild, Supervisor::TerminateChild::Reply> terminate_child(
      std::string_view id) const;
  [[nodiscard]] Result<void> terminate_child_blocking(std::string_view id) const;

  /// Starts a child that is stopped or failed. Errors: `not_found`, `refused` (it runs or is being restarted), or why
  /// it did not start; it is then stopped as before.
  [[nodiscard]] detail::CallAwaiter<Supervisor::RestartChild, Supervisor::RestartChild::Reply> restart_child(
      std::string_view id) const;
  [[nodiscard]] Result<Pid> restart_child_blocking(std::string_view id) const;

  /// Forgets a child that is stopped or failed. Errors: `not_found`, `refused`.
  [[nodiscard]] detail::CallAwaiter<Supervisor::DeleteChild, Supervisor::DeleteChild::Reply> delete_child(
      std::string_view id) const;
  [[nodiscard]] Result<void> delete_child_blocking(std::string_view id) const;

  /// All children, the last started first.
  [[nodiscard]] detail::CallAwaiter<Supervisor::WhichChildren, Supervisor::WhichChildren::Reply> which_children() const;
  [[nodiscard]] Result<std::vector<ChildInfo>> which_children_blocking() const;
  [[nodiscard]] detail::CallAwaiter<Supervisor::CountChildren, Supervisor::CountChildren::Reply> count_children() const;
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
  static Async<Result<ServerRef<Server>>> start_typed(ServerRef<Supervisor> server, ChildSpec spec) {
    Result<Pid> started = co_await server.call_within<Supervisor::StartChild>(no_limit, std::move(spec));
    if (!started) co_return started.error();
    co_return ServerRef<Server>(*started);
  }
  static Async<Result<ExitReason>> stop_server(ServerRef<Supervisor> server, ExitReason reason);

  ServerRef<Supervisor> server_;
};

/// Starts a supervisor without a parent and its children, and blocks until all run. Outside of processes; inside one it
/// is `co_await this_process::start_link<Supervisor>(options, children)`, and below another supervisor a
/// `child_spec<Supervisor>(id, options, children)`.
/// Errors: as `check`; `exited` when a child did not start; `already_exists` when the name is taken.
[[nodiscard]] Result<SupervisorRef> start_supervisor(RuntimeBase& runtime, SupervisorOptions options = {},
                                                     std::vector<ChildSpec> children = {});

}  // namespace dagverk
