#include "dagverk/runtime/task_supervisor.hpp"

#include "dagverk/base/concat.hpp"

#include <utility>
#include <vector>

namespace dagverk {

namespace detail {

Pid TaskLaunch::start() {
  const Pid child = this_process::runtime().new_process();
  core_->pid = child;
  add_link(child);
  static_cast<void>(send(child, std::exchange(node_, nullptr)));
  return child;
}

}  // namespace detail

Result<Pid> TaskSupervisor::handle_call(Start start) {
  if (options_.max_children != 0 && children_.size() >= options_.max_children) {
    return Error(ErrorCode::refused, concat("task supervisor: max_children is ", options_.max_children));
  }
  const Pid child = start.launch.start();
  children_.emplace(child.number(), child);
  return child;
}

void TaskSupervisor::handle_info(const Exit& exit) {
  // A stranger's exit signal is nothing to us; our parent's never comes here.
  children_.erase(exit.from ? exit.from.number() : 0);
}

Async<void> TaskSupervisor::terminate(const ExitReason& /*reason*/) {
  std::vector<Pid> children;
  children.reserve(children_.size());
  for (const auto& [number, child] : children_) children.push_back(child);
  for (const Pid& child : children) this_process::exit(child, ExitReason::shutdown);
  const SteadyTime deadline = detail::task_deadline(options_.shutdown);
  for (const Pid& child : children) {
    const Duration left = deadline - runtime().clock().steady_now();
    if (left > Duration::zero()) {
      const Result<ExitReason> ended = co_await this_process::wait_for_exit(child, left);
      if (ended) continue;
    }
    this_process::exit(child, ExitReason::kill);
  }
}

}  // namespace dagverk
