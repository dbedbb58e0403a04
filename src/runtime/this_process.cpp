// What code that runs in a process can do in its name.

#include "dagverk/runtime/this_process.hpp"

#include "process_extra.hpp"
#include "signals.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/runtime/detail/process_value.hpp"
#include "dagverk/runtime/runtime_base.hpp"

#include <optional>
#include <utility>

namespace dagverk::this_process {

namespace {

detail::ProcessCore& current() noexcept {
  DAGVERK_ASSERT(detail::current_process != nullptr);
  return *detail::current_process;
}

}  // namespace

bool inside() noexcept { return detail::current_process != nullptr; }
Pid pid() noexcept { return current().pid(); }
RuntimeBase& runtime() noexcept { return *current().runtime; }

void trap_exits(bool trap) { detail::extra_of(current()).traps_exits = trap; }

void link(Pid other) {
  if (other == pid()) return;
  const std::uint64_t number = runtime().next_ref();
  if (!detail::extra_of(current()).links.emplace(other, detail::LinkNumbers{number, 0}).second) return;
  static_cast<void>(detail::send(other, detail::make_link(pid(), other, number)));
}

void unlink(Pid other) {
  detail::ProcessExtra& extra = detail::extra_of(current());
  const auto link = extra.links.find(other);
  if (link == extra.links.end()) return;  // nor can the other side have heard of one from here
  const std::uint64_t heard_of = link->second.theirs;
  extra.links.erase(other);
  static_cast<void>(detail::send(other, detail::make_unlink(pid(), heard_of)));
}

MonitorRef monitor(Pid other) {
  const MonitorRef ref{runtime().next_ref()};
  detail::monitor_as(ref, other);
  return ref;
}

bool demonitor(MonitorRef ref) {
  detail::ProcessExtra& extra = detail::extra_of(current());
  const std::optional<Pid> watched = extra.monitors.take_monitor(ref);
  if (!watched) return false;
  static_cast<void>(detail::send(*watched, detail::make_demonitor(ref)));
  return true;
}

void exit(Pid other, ExitReason reason) {
  static_cast<void>(detail::send(other, detail::make_exit_signal(pid(), std::move(reason), false)));
}

void stop(ExitReason reason) { detail::request_exit(current(), std::move(reason), false, true); }

Result<void> register_name(std::string name) {
  detail::ProcessCore& core = current();
  static constexpr detail::ProcessType plain_process{"process"};
  const detail::ProcessType* type = core.type.load(std::memory_order_relaxed);
  Result<void> named = runtime().register_name(name, pid(), type != nullptr ? *type : plain_process);
  if (named) {
    detail::ProcessExtra& extra = detail::extra_of(core);
    extra.facts.set_name(name);
    extra.names.push_back(std::move(name));
  }
  return named;
}

std::optional<Duration> cancel_timer(TimerRef timer) noexcept { return runtime().cancel_timer(timer.slot()); }

namespace {

/// Waits until another process has ended.
struct ExitWait {
  Pid other;
  Duration timeout;

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> caller) const {
    detail::ProcessCore& self = current();
    const std::uint32_t token = detail::begin_wait(self, caller, timeout);
    static_cast<void>(detail::send(other, detail::make_exit_watch(self.pid(), token)));
  }
  [[nodiscard]] Result<ExitReason> await_resume() const {
    detail::Node* notice = std::exchange(current().wait_result, nullptr);
    if (notice == nullptr) return Error(ErrorCode::timeout, "the process did not end in time");
    return detail::take_exit_notice(notice);
  }
};

/// Waits for nothing but its time limit.
struct Sleep {
  Duration duration;
  [[nodiscard]] bool await_ready() const noexcept { return duration <= Duration::zero(); }
  void await_suspend(std::coroutine_handle<> caller) const { detail::begin_wait(current(), caller, duration); }
  void await_resume() const noexcept {}
};

}  // namespace

Async<Result<ExitReason>> wait_for_exit(Pid other, Duration timeout) {
  ExitWait wait{other, timeout};
  co_return co_await wait;
}

Async<void> sleep(Duration duration) {
  Sleep wait{duration};
  co_await wait;
}

}  // namespace dagverk::this_process

namespace dagverk::detail {

void set_process_value(const void* key, void* value) {
  DAGVERK_ASSERT(current_process != nullptr);
  ProcessExtra& extra = extra_of(*current_process);
  extra.value_key = key;
  extra.value = value;
}

void* process_value(const void* key) noexcept {
  if (current_process == nullptr || current_process->extra == nullptr) return nullptr;
  const ProcessExtra& extra = *current_process->extra;
  return extra.value_key == key ? extra.value : nullptr;
}

}  // namespace dagverk::detail
