#include "dagverk/runtime/dynamic_supervisor.hpp"

#include "child_control.hpp"

#include "dagverk/base/concat.hpp"

#include <utility>

namespace dagverk {

Result<void> check(const DynamicSupervisorOptions& options) {
  if (Result<void> checked = check(RestartLimit{options.max_restarts, options.max_restart_window}); !checked) {
    return checked.error().with("dynamic supervisor");
  }
  if (options.max_children == 0) {
    return Error(ErrorCode::invalid_argument,
                 "dynamic supervisor: max_children must be 1 or more, got 0; leave it out for no bound");
  }
  if (options.kill_timeout <= Duration::zero()) {
    return Error(ErrorCode::invalid_argument, concat("dynamic supervisor: kill_timeout must be more than zero, got ",
                                                     options.kill_timeout.count(), " ns"));
  }
  return {};
}

DynamicSupervisor::DynamicSupervisor(DynamicSupervisorOptions options) : options_(std::move(options)) {}

DynamicSupervisor::~DynamicSupervisor() = default;

InitResult DynamicSupervisor::init() {
  this_process::trap_exits();
  if (Result<void> checked = check(options_); !checked) {
    return InitResult::stop(ExitReason::custom(std::string(checked.error().message())));
  }
  if (Result<void> named = detail::hold_name(options_.name); !named) {
    return InitResult::stop(ExitReason::custom(std::string(named.error().message())));
  }
  return InitResult::ok();
}

Async<void> DynamicSupervisor::terminate(const ExitReason& /*reason*/) {
  std::vector<detail::ChildToStop> running;
  for (auto& [key, child] : children_) {
    this_process::cancel_timer(std::exchange(child.retry_timer, TimerRef()));
    if (child.restarting) continue;
    running.push_back({child.pid, child.spec.id, detail::shutdown_of(child.spec), child.spec.restart});
  }
  children_.clear();
  co_await detail::stop_children(std::move(running), options_.kill_timeout);
}

Async<Result<Pid>> DynamicSupervisor::handle_call(StartChild start) {
  if (Result<void> checked = check(start.spec); !checked) co_return checked.error();
  if (start.spec.significant) {
    co_return Error(ErrorCode::invalid_argument,
                    "a dynamic supervisor's child cannot be significant; use a Supervisor for that");
  }
  if (children_.size() >= options_.max_children) {
    co_return Error(ErrorCode::refused,
                    concat("max_children is ", options_.max_children, ", and there are as many children already"));
  }
  Result<Pid> started = co_await detail::start_child_of(start.spec, 0);
  if (!started) co_return started.error();
  Child child;
  child.spec = std::move(start.spec);
  child.pid = *started;
  if (child.spec.restart == Restart::temporary) child.spec.start = nullptr;  // what it holds is not needed any more
  children_.emplace(started->number(), std::move(child));
  co_return *started;
}

Async<Result<void>> DynamicSupervisor::handle_call(TerminateChild terminate_child) {
  const auto found = children_.find(terminate_child.pid.number());
  if (found == children_.end()) {
    co_return Error(ErrorCode::not_found, concat("no child has the pid ", terminate_child.pid.number()));
  }
  Child child = std::move(found->second);
  children_.erase(found);
  this_process::cancel_timer(child.retry_timer);
  if (child.restarting) co_return Result<void>();
  std::vector<detail::ChildToStop> one;
  one.push_back({child.pid, child.spec.id, detail::shutdown_of(child.spec), child.spec.restart});
  co_await detail::stop_children(std::move(one), options_.kill_timeout);
  co_return Result<void>();
}

std::vector<ChildInfo> DynamicSupervisor::handle_call(WhichChildren /*which*/) {
  std::vector<ChildInfo> infos;
  infos.reserve(children_.size());
  for (const auto& [key, child] : children_) {
    infos.push_back({std::string(), child.restarting ? Pid() : child.pid,
                     child.restarting ? ChildState::restarting : ChildState::running, child.spec.type, child.restarts});
  }
  return infos;
}

ChildCounts DynamicSupervisor::handle_call(CountChildren /*count*/) {
  ChildCounts counts;
  for (const auto& [key, child] : children_) {
    ++counts.specs;
    if (!child.restarting) ++counts.active;
    ++(child.spec.type == ChildType::supervisor ? counts.supervisors : counts.workers);
  }
  return counts;
}

void DynamicSupervisor::handle_cast(Stop stop_request) { stop(std::move(stop_request.reason)); }

// ---- a child has ended ---------------------------------------------------------------------------------------------

Async<void> DynamicSupervisor::handle_info(Exit exit) {
  const auto found = children_.find(exit.from.number());
  if (found == children_.end() || found->second.restarting) co_return;  // it was stopped, or a stranger
  Child& child = found->second;
  if (!detail::restarts_after(child.spec.restart, exit.reason)) {
    children_.erase(found);
    co_return;
  }
  if (!admit(child)) co_return;
  if (child.spec.backoff.initial > Duration::zero()) {
    child.admitted = true;
    retry_later(child);
    co_return;
  }
  const std::uint64_t key = exit.from.number();
  co_await restart(key);
}

/// Counts a restart; when it is one too many, forgets the child and, unless the limit was the child's own, gives up.
bool DynamicSupervisor::admit(Child& child) {
  const SteadyTime now = runtime().clock().steady_now();
  const std::uint64_t key = child.pid.number();
  if (child.spec.limit) {
    if (child.history.admit(*child.spec.limit, now)) return true;
    runtime().logger().error("child.failed", {{"child", child.spec.id}, {"restarts", child.restarts}});
    children_.erase(key);
    return false;
  }
  if (history_.admit({options_.max_restarts, options_.max_restart_window}, now)) return true;
  runtime().logger().error(
      "supervisor.gave_up",
      {{"pid", this_process::pid().number()}, {"child", child.spec.id}, {"max_restarts", options_.max_restarts}});
  children_.erase(key);
  stop(ExitReason::shutdown);
  return false;
}

/// Starts a child again in its entry, which then has the new pid's key. Tried again later when it does not start.
Async<void> DynamicSupervisor::restart(std::uint64_t key) {
  Child& child = children_.at(key);
  child.restarting = true;
  ++child.restarts;
  Result<Pid> started = co_await detail::start_child_of(child.spec, child.restarts);
  if (started) {
    auto entry = children_.extract(key);
    entry.key() = started->number();
    entry.mapped().pid = *started;
    entry.mapped().restarting = false;
    children_.insert(std::move(entry));
    co_return;
  }
  if (started.error().code() == ErrorCode::ignored) {
    children_.erase(key);
    co_return;
  }
  runtime().logger().warning("child.start_failed", {{"child", child.spec.id}, {"error", started.error().message()}});
  retry_later(child);
}

void DynamicSupervisor::retry_later(Child& child) {
  child.restarting = true;
  child.attempt = ++last_attempt_;
  const Retry retry{child.pid.number(), child.attempt};
  const Duration delay = child.history.next_delay(child.spec.backoff, runtime().clock().steady_now());
  if (delay > Duration::zero()) {
    child.retry_timer = send_after(delay, retry);
  } else {
    self().info(retry);  // behind what others have asked of us meanwhile
  }
}

Async<void> DynamicSupervisor::handle_info(Retry retry) {
  const auto found = children_.find(retry.key);
  if (found == children_.end() || found->second.attempt != retry.attempt) co_return;
  found->second.retry_timer = TimerRef();
  if (!std::exchange(found->second.admitted, false) && !admit(found->second)) co_return;
  co_await restart(retry.key);
}

// ---- from outside --------------------------------------------------------------------------------------------------

detail::CallAwaiter<DynamicSupervisor::StartChild, DynamicSupervisor::StartChild::Reply>
DynamicSupervisorRef::start_child(ChildSpec spec) const {
  return server_.call_within<DynamicSupervisor::StartChild>(no_limit, std::move(spec));
}

Result<Pid> DynamicSupervisorRef::start_child_blocking(ChildSpec spec) const {
  return server_.call_blocking_within<DynamicSupervisor::StartChild>(no_limit, std::move(spec));
}

detail::CallAwaiter<DynamicSupervisor::TerminateChild, DynamicSupervisor::TerminateChild::Reply>
DynamicSupervisorRef::terminate_child(Pid pid) const {
  return server_.call_within<DynamicSupervisor::TerminateChild>(no_limit, pid);
}

Result<void> DynamicSupervisorRef::terminate_child_blocking(Pid pid) const {
  return server_.call_blocking_within<DynamicSupervisor::TerminateChild>(no_limit, pid);
}

detail::CallAwaiter<DynamicSupervisor::WhichChildren, DynamicSupervisor::WhichChildren::Reply>
DynamicSupervisorRef::which_children() const {
  return server_.call_within<DynamicSupervisor::WhichChildren>(no_limit);
}

Result<std::vector<ChildInfo>> DynamicSupervisorRef::which_children_blocking() const {
  return server_.call_blocking_within<DynamicSupervisor::WhichChildren>(no_limit);
}

detail::CallAwaiter<DynamicSupervisor::CountChildren, DynamicSupervisor::CountChildren::Reply>
DynamicSupervisorRef::count_children() const {
  return server_.call_within<DynamicSupervisor::CountChildren>(no_limit);
}

Result<ChildCounts> DynamicSupervisorRef::count_children_blocking() const {
  return server_.call_blocking_within<DynamicSupervisor::CountChildren>(no_limit);
}

Async<Result<ExitReason>> DynamicSupervisorRef::stop_server(ServerRef<DynamicSupervisor> server, ExitReason reason) {
  server.cast_of<DynamicSupervisor::Stop>(std::move(reason));
  Result<ExitReason> ended = co_await this_process::wait_for_exit(server.pid(), no_limit);
  co_return ended;
}

Result<void> DynamicSupervisorRef::stop_blocking(ExitReason reason, Duration timeout) const {
  if (!pid()) return Error(ErrorCode::no_process, "the reference is empty");
  return pid().core()->runtime->stop(pid(), std::move(reason), timeout);
}

Result<DynamicSupervisorRef> start_dynamic_supervisor(RuntimeBase& runtime, DynamicSupervisorOptions options) {
  if (Result<void> checked = check(options); !checked) return checked.error();
  StartOptions start_options;
  start_options.name = options.name;
  Result<ServerRef<DynamicSupervisor>> started =
      runtime.start_with<DynamicSupervisor>(std::move(start_options), std::move(options));
  if (!started) return started.error();
  return DynamicSupervisorRef(*started);
}

}  // namespace dagverk
