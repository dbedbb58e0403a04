#include "dagverk/runtime/supervisor.hpp"

#include "child_control.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <optional>
#include <ranges>
#include <set>
#include <utility>

namespace dagverk {

struct Supervisor::Child {
  ChildSpec spec;
  std::uint64_t serial = 0;   // tells it from an earlier child of the same id
  std::uint64_t attempt = 0;  // grows whenever a pending retry is void
  ChildState state = ChildState::stopped;
  Pid pid;
  bool retries = false;   // restarting: its own retry is pending; else it waits for that of a sibling
  bool admitted = false;  // the restart that is pending has been counted
  bool inherits = false;  // its retry is that of a sibling which will not be started
  TimerRef retry_timer;
  RestartHistory history;
  std::uint64_t restarts = 0;
};

Result<void> check(const SupervisorOptions& options, const std::vector<ChildSpec>& children) {
  if (Result<void> checked = check(RestartLimit{options.max_restarts, options.max_restart_window}); !checked) {
    return checked.error().with("supervisor");
  }
  if (options.kill_timeout <= Duration::zero()) {
    return Error(ErrorCode::invalid_argument,
                 concat("supervisor: kill_timeout must be more than zero, got ", options.kill_timeout.count(), " ns"));
  }
  std::set<std::string_view> ids;
  for (const ChildSpec& child : children) {
    if (Result<void> checked = check(child); !checked) return checked.error();
    if (child.id.empty())
      return Error(ErrorCode::invalid_argument, "a supervisor's child needs an id, unique among its siblings");
    if (child.significant && options.auto_shutdown == AutoShutdown::never) {
      return Error(ErrorCode::invalid_argument, concat("child \"", child.id,
                                                       "\": significant has no meaning with auto_shutdown never; "
                                                       "set any_significant or all_significant"));
    }
    if (!ids.insert(child.id).second) {
      return Error(ErrorCode::already_exists, concat("two children have the id \"", child.id, "\"; give each its own"));
    }
  }
  return {};
}

Supervisor::Supervisor(SupervisorOptions options, std::vector<ChildSpec> children)
    : options_(std::move(options)), first_children_(std::move(children)) {}

Supervisor::~Supervisor() = default;

// ---- starting and stopping all -------------------------------------------------------------------------------------

Async<InitResult> Supervisor::init() {
  this_process::trap_exits();
  if (Result<void> checked = check(options_, first_children_); !checked) {
    co_return InitResult::stop(ExitReason::custom(std::string(checked.error().message())));
  }
  if (Result<void> named = detail::hold_name(options_.name); !named) {
    co_return InitResult::stop(ExitReason::custom(std::string(named.error().message())));
  }
  std::vector<ChildSpec> specs = std::move(first_children_);
  for (ChildSpec& spec : specs) {
    Child& child = append(std::move(spec));
    Result<void> started = co_await start_one(child);
    if (started) continue;
    std::string failure = concat("failed to start child \"", child.spec.id, "\": ", started.error().message());
    co_await terminate(ExitReason::shutdown);
    co_return InitResult::stop(ExitReason::shutdown_with(std::move(failure)));
  }
  co_return InitResult::ok();
}

Async<void> Supervisor::terminate(const ExitReason& /*reason*/) {
  while (!children_.empty()) {
    Child& last = *children_.back();
    cancel_retry(last);
    if (last.state == ChildState::running) co_await stop_one(last);
    children_.pop_back();
  }
}

/// Starts a child that does not run. It then runs, or (its init ignored the start) is stopped, or forgotten when it is
/// temporary; after an error its state is as before.
Async<Result<void>> Supervisor::start_one(Child& child) {
  DAGVERK_ASSERT(child.state != ChildState::running);
  Result<Pid> started = co_await detail::start_child_of(child.spec, child.restarts);
  if (started) {
    child.pid = *started;
    child.state = ChildState::running;
    co_return Result<void>();
  }
  if (started.error().code() != ErrorCode::ignored) co_return started.error();
  child.state = ChildState::stopped;
  if (child.spec.restart == Restart::temporary) forget(child);
  co_return Result<void>();
}

Async<void> Supervisor::stop_one(Child& child) {
  std::vector<detail::ChildToStop> one;
  one.push_back({child.pid, child.spec.id, detail::shutdown_of(child.spec), child.spec.restart});
  child.pid = Pid();  // its exit signal is no crash
  child.state = ChildState::stopped;
  co_await detail::stop_children(std::move(one), options_.kill_timeout);
}

// ---- a child has ended ---------------------------------------------------------------------------------------------

Async<void> Supervisor::handle_info(Exit exit) {
  Child* child = find(exit.from);
  if (child == nullptr) co_return;  // a child that was stopped, or a stranger
  child->pid = Pid();
  child->state = ChildState::stopped;
  if (!detail::restarts_after(child->spec.restart, exit.reason)) {
    retire(*child);
    co_return;
  }
  if (!admit(*child)) co_return;
  const std::uint64_t serial = child->serial;
  if (child->spec.backoff.initial > Duration::zero()) {
    std::vector<std::uint64_t> group = restarted_with(*child);
    child->admitted = true;
    retry_later(*child);
    co_await stop_group(std::move(group), serial);
    co_return;
  }
  co_await restart_group(serial, true);
}

/// Counts a restart; when it is one too many, gives up the child or itself.
bool Supervisor::admit(Child& child) {
  const SteadyTime now = runtime().clock().steady_now();
  if (child.spec.limit) {
    if (child.history.admit(*child.spec.limit, now)) return true;
    child.state = ChildState::failed;
    runtime().logger().error("child.failed", {{"child", child.spec.id}, {"restarts", child.restarts}});
    return false;
  }
  if (history_.admit({options_.max_restarts, options_.max_restart_window}, now)) return true;
  child.state = ChildState::stopped;
  runtime().logger().error(
      "supervisor.gave_up",
      {{"pid", this_process::pid().number()}, {"child", child.spec.id}, {"max_restarts", options_.max_restarts}});
  stop(ExitReason::shutdown);
  return false;
}

/// The child has ended by itself and is not restarted.
void Supervisor::retire(Child& child) {
  const bool significant = child.spec.significant;
  if (child.spec.restart == Restart::temporary) forget(child);
  if (!significant || options_.auto_shutdown == AutoShutdown::never) return;
  const bool another_lives = std::any_of(children_.begin(), children_.end(), [](const std::unique_ptr<Child>& other) {
    return other->spec.significant && (other->state == ChildState::running || other->state == ChildState::restarting);
  });
  if (options_.auto_shutdown == AutoShutdown::all_significant && another_lives) return;
  stop(ExitReason::shutdown);
}

std::vector<std::uint64_t> Supervisor::restarted_with(const Child& child) const {
  std::vector<std::uint64_t> serials;
  bool after = false;
  for (const std::unique_ptr<Child>& other : children_) {
    if (other.get() == &child) after = true;
    const bool in_group = other.get() == &child || options_.strategy == RestartStrategy::one_for_all ||
                          (options_.strategy == RestartStrategy::rest_for_one && after);
    if (in_group) serials.push_back(other->serial);
  }
  return serials;
}

/// Stops those of `serials` that run, the last started first. They wait for the restart of `except`; temporary ones are
/// forgotten.
Async<void> Supervisor::stop_group(std::vector<std::uint64_t> serials, std::uint64_t except) {
  for (const std::uint64_t serial : std::views::reverse(serials)) {
    if (serial == except) continue;
    Child* child = find_serial(serial);
    if (child == nullptr) continue;
    const bool waits = child->state == ChildState::running || child->state == ChildState::restarting;
    cancel_retry(*child);
    if (child->state == ChildState::running) co_await stop_one(*child);
    if (waits) child->state = ChildState::restarting;
    if (child->spec.restart == Restart::temporary) forget(*child);
  }
}

/// Starts a child again, and with it whom the strategy says: all of them (`whole`), as OTP does, or those that wait for
/// it. The first that does not start is tried again later.
Async<void> Supervisor::restart_group(std::uint64_t serial, bool whole) {
  Child* first = find_serial(serial);
  DAGVERK_ASSERT(first != nullptr);
  std::vector<std::uint64_t> group = restarted_with(*first);
  co_await stop_group(group, serial);
  for (const std::uint64_t member : group) {
    Child* child = find_serial(member);
    if (child == nullptr) continue;  // temporary
    if (!whole && child->state != ChildState::restarting) continue;
    ++child->restarts;
    Result<void> started = co_await start_one(*child);
    if (started) continue;
    runtime().logger().warning("child.start_failed", {{"child", child->spec.id}, {"error", started.error().message()}});
    child->admitted = false;
    child->inherits = !whole;
    retry_later(*child);
    co_return;
  }
}

void Supervisor::retry_later(Child& child) {
  child.state = ChildState::restarting;
  child.retries = true;
  const Retry retry{child.serial, ++child.attempt};
  const Duration delay = child.history.next_delay(child.spec.backoff, runtime().clock().steady_now());
  if (delay > Duration::zero()) {
    child.retry_timer = send_after(delay, retry);
  } else {
    self().info(retry);  // behind what others have asked of us meanwhile
  }
}

void Supervisor::cancel_retry(Child& child) {
  if (child.state != ChildState::restarting) return;
  child.state = ChildState::stopped;
  child.retries = false;
  child.inherits = false;
  ++child.attempt;
  this_process::cancel_timer(std::exchange(child.retry_timer, TimerRef()));
}

/// A child that others waited for will not be started: the first of them is, and with it the others.
void Supervisor::hand_over() {
  Child* first = nullptr;
  for (const std::unique_ptr<Child>& child : children_) {
    if (child->state != ChildState::restarting) continue;
    if (child->retries) return;
    if (first == nullptr) first = child.get();
  }
  if (first == nullptr) return;
  first->retries = true;
  first->admitted = true;
  first->inherits = true;
  self().info(Retry{first->serial, ++first->attempt});
}

Async<void> Supervisor::handle_info(Retry retry) {
  Child* child = find_serial(retry.serial);
  if (child == nullptr || child->state != ChildState::restarting || child->attempt != retry.attempt) co_return;
  child->retry_timer = TimerRef();
  child->retries = false;
  if (!std::exchange(child->admitted, false) && !admit(*child)) {
    hand_over();
    co_return;
  }
  const bool whole = !std::exchange(child->inherits, false);
  co_await restart_group(retry.serial, whole);
}

// ---- requests ------------------------------------------------------------------------------------------------------

Async<Result<Pid>> Supervisor::handle_call(StartChild start) {
  if (const Child* present = find(start.spec.id); present != nullptr) {
    if (present->state == ChildState::running || present->state == ChildState::restarting) {
      co_return Error(ErrorCode::already_exists, concat("child \"", start.spec.id, "\" is already started"));
    }
    co_return Error(ErrorCode::refused,
                    concat("child \"", start.spec.id, "\" is present but stopped: restart or delete it"));
  }
  std::vector<ChildSpec> one;
  one.push_back(std::move(start.spec));
  if (Result<void> checked = check(options_, one); !checked) co_return checked.error();
  Child& child = append(std::move(one.front()));
  const std::uint64_t serial = child.serial;
  Result<void> started = co_await start_one(child);
  if (!started) {
    Error failure = started.error().with(concat("failed to start child \"", child.spec.id, "\""));
    forget(child);
    co_return failure;
  }
  const Child* kept = find_serial(serial);
  co_return kept != nullptr ? kept->pid : Pid();
}

Async<Result<void>> Supervisor::handle_call(TerminateChild terminate_child) {
  Child* child = find(terminate_child.id);
  if (child == nullptr) co_return Error(ErrorCode::not_found, concat("no child \"", terminate_child.id, "\""));
  cancel_retry(*child);
  if (child->state == ChildState::running) co_await stop_one(*child);
  if (child->spec.restart == Restart::temporary) forget(*child);
  hand_over();
  co_return Result<void>();
}

Async<Result<Pid>> Supervisor::handle_call(RestartChild restart) {
  Child* child = find(restart.id);
  if (child == nullptr) co_return Error(ErrorCode::not_found, concat("no child \"", restart.id, "\""));
  if (child->state == ChildState::running || child->state == ChildState::restarting) {
    co_return Error(ErrorCode::refused, concat("child \"", restart.id, "\" is ",
                                               child->state == ChildState::running ? "running" : "restarting"));
  }
  child->history.clear();
  Result<void> started = co_await start_one(*child);
  if (!started) co_return started.error().with(concat("failed to start child \"", restart.id, "\""));
  co_return child->pid;
}

Result<void> Supervisor::handle_call(const DeleteChild& remove) {
  const Child* child = find(remove.id);
  if (child == nullptr) return Error(ErrorCode::not_found, concat("no child \"", remove.id, "\""));
  if (child->state == ChildState::running || child->state == ChildState::restarting) {
    return Error(ErrorCode::refused, concat("child \"", remove.id, "\" is ",
                                            child->state == ChildState::running ? "running" : "restarting"));
  }
  forget(*child);
  return {};
}

std::vector<ChildInfo> Supervisor::handle_call(WhichChildren /*which*/) {
  std::vector<ChildInfo> infos;
  infos.reserve(children_.size());
  for (const std::unique_ptr<Child>& child : std::views::reverse(children_)) {
    infos.push_back({child->spec.id, child->pid, child->state, child->spec.type, child->restarts});
  }
  return infos;
}

ChildCounts Supervisor::handle_call(CountChildren /*count*/) {
  ChildCounts counts;
  for (const std::unique_ptr<Child>& child : children_) {
    ++counts.specs;
    if (RuntimeBase::alive(child->pid)) ++counts.active;
    ++(child->spec.type == ChildType::supervisor ? counts.supervisors : counts.workers);
  }
  return counts;
}

void Supervisor::handle_cast(Stop stop_request) { stop(std::move(stop_request.reason)); }

// ---- the table -----------------------------------------------------------------------------------------------------

Supervisor::Child* Supervisor::find(std::string_view id) const noexcept {
  for (const std::unique_ptr<Child>& child : children_) {
    if (child->spec.id == id) return child.get();
  }
  return nullptr;
}

Supervisor::Child* Supervisor::find(Pid pid) const noexcept {
  if (!pid) return nullptr;
  for (const std::unique_ptr<Child>& child : children_) {
    if (child->pid == pid) return child.get();
  }
  return nullptr;
}

Supervisor::Child* Supervisor::find_serial(std::uint64_t serial) const noexcept {
  for (const std::unique_ptr<Child>& child : children_) {
    if (child->serial == serial) return child.get();
  }
  return nullptr;
}

Supervisor::Child& Supervisor::append(ChildSpec spec) {
  auto child = std::make_unique<Child>();
  child->spec = std::move(spec);
  child->serial = ++last_serial_;
  return *children_.emplace_back(std::move(child));
}

void Supervisor::forget(const Child& child) {
  std::erase_if(children_, [&](const std::unique_ptr<Child>& other) { return other.get() == &child; });
}

// ---- from outside --------------------------------------------------------------------------------------------------

detail::CallAwaiter<Supervisor::StartChild, Supervisor::StartChild::Reply> SupervisorRef::start_child(
    ChildSpec spec) const {
  return server_.call_within<Supervisor::StartChild>(no_limit, std::move(spec));
}

Result<Pid> SupervisorRef::start_child_blocking(ChildSpec spec) const {
  return server_.call_blocking_within<Supervisor::StartChild>(no_limit, std::move(spec));
}

detail::CallAwaiter<Supervisor::TerminateChild, Supervisor::TerminateChild::Reply> SupervisorRef::terminate_child(
    std::string_view id) const {
  return server_.call_within<Supervisor::TerminateChild>(no_limit, std::string(id));
}

Result<void> SupervisorRef::terminate_child_blocking(std::string_view id) const {
  return server_.call_blocking_within<Supervisor::TerminateChild>(no_limit, std::string(id));
}

detail::CallAwaiter<Supervisor::RestartChild, Supervisor::RestartChild::Reply> SupervisorRef::restart_child(
    std::string_view id) const {
  return server_.call_within<Supervisor::RestartChild>(no_limit, std::string(id));
}

Result<Pid> SupervisorRef::restart_child_blocking(std::string_view id) const {
  return server_.call_blocking_within<Supervisor::RestartChild>(no_limit, std::string(id));
}

detail::CallAwaiter<Supervisor::DeleteChild, Supervisor::DeleteChild::Reply> SupervisorRef::delete_child(
    std::string_view id) const {
  return server_.call_within<Supervisor::DeleteChild>(no_limit, std::string(id));
}

Result<void> SupervisorRef::delete_child_blocking(std::string_view id) const {
  return server_.call_blocking_within<Supervisor::DeleteChild>(no_limit, std::string(id));
}

detail::CallAwaiter<Supervisor::WhichChildren, Supervisor::WhichChildren::Reply> SupervisorRef::which_children() const {
  return server_.call_within<Supervisor::WhichChildren>(no_limit);
}

Result<std::vector<ChildInfo>> SupervisorRef::which_children_blocking() const {
  return server_.call_blocking_within<Supervisor::WhichChildren>(no_limit);
}

detail::CallAwaiter<Supervisor::CountChildren, Supervisor::CountChildren::Reply> SupervisorRef::count_children() const {
  return server_.call_within<Supervisor::CountChildren>(no_limit);
}

Result<ChildCounts> SupervisorRef::count_children_blocking() const {
  return server_.call_blocking_within<Supervisor::CountChildren>(no_limit);
}

Async<Result<ExitReason>> SupervisorRef::stop_server(ServerRef<Supervisor> server, ExitReason reason) {
  server.cast_of<Supervisor::Stop>(std::move(reason));
  Result<ExitReason> ended = co_await this_process::wait_for_exit(server.pid(), no_limit);
  co_return ended;
}

Result<void> SupervisorRef::stop_blocking(ExitReason reason, Duration timeout) const {
  if (!pid()) return Error(ErrorCode::no_process, "the reference is empty");
  return pid().core()->runtime->stop(pid(), std::move(reason), timeout);
}

Result<SupervisorRef> start_supervisor(RuntimeBase& runtime, SupervisorOptions options,
                                       std::vector<ChildSpec> children) {
  if (Result<void> checked = check(options, children); !checked) return checked.error();
  StartOptions start_options;
  start_options.name = options.name;
  Result<ServerRef<Supervisor>> started =
      runtime.start_with<Supervisor>(std::move(start_options), std::move(options), std::move(children));
  if (!started) return started.error();
  return SupervisorRef(*started);
}

}  // namespace dagverk
