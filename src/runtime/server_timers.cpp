// A server's own clockwork: its idle time limit and its intervals.

#include "process_extra.hpp"
#include "signals.hpp"
#include "timer_queue.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"
#include "dagverk/runtime/detail/interval.hpp"
#include "dagverk/runtime/runtime_base.hpp"
#include "dagverk/runtime/this_process.hpp"

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace dagverk {

namespace detail {

namespace {

OwnTimers& timers_of(ProcessCore& core) {
  ProcessExtra& extra = extra_of(core);
  if (!extra.timers) extra.timers = std::make_unique<OwnTimers>();
  return *extra.timers;
}

/// Null when there is none, or none any more.
Interval* find_interval(const ProcessCore& core, std::uint64_t id) noexcept {
  if (core.extra == nullptr || !core.extra->timers) return nullptr;
  const auto found = core.extra->timers->intervals.find(id);
  return found != core.extra->timers->intervals.end() ? &found->second : nullptr;
}

}  // namespace

// ---- the idle time limit -------------------------------------------------------------------------------------------

void want_idle_timeout(ProcessCore& core, Duration after) {
  timers_of(core).idle.after = after;
  core.idle_wanted = true;
}

bool begin_idle(ProcessCore& core) {
  RuntimeBase& runtime = *core.runtime;
  IdleLimit& idle = core.extra->timers->idle;
  core.idle_wanted = false;
  const SteadyTime now = runtime.clock().steady_now();
  if (idle.after > SteadyTime::max() - now) return false;  // as good as none
  core.idle_armed = true;
  idle.deadline = now + idle.after;
  if (idle.after <= Duration::zero()) {
    push_front(make_idle_check());
    return true;
  }
  // As for waits: a timer that is armed already and fires earlier is good enough, it looks at the deadline. So a server
  // that sets its limit after every message does not arm a timer for every message.
  if (TimerQueue::armed(idle.timer) &&
      idle.timer.entry->deadline.load(std::memory_order_relaxed) <= idle.deadline.time_since_epoch().count()) {
    return false;
  }
  runtime.cancel_timer(idle.timer);
  idle.timer = runtime.arm_timer(idle.deadline, core.pid(), make_idle_check());
  return false;
}

void check_idle(ProcessCore& core) {
  if (!core.idle_armed) return;
  IdleLimit& idle = core.extra->timers->idle;
  if (core.runtime->clock().steady_now() < idle.deadline) {
    if (!TimerQueue::armed(idle.timer)) {
      idle.timer = core.runtime->arm_timer(idle.deadline, core.pid(), make_idle_check());
    }
    return;
  }
  core.idle_armed = false;
  if (core.behaviour != nullptr) core.behaviour->on_idle(core);
}

// ---- intervals -----------------------------------------------------------------------------------------------------

void check_period(Duration period) {
  if (period > Duration::zero()) return;
  throw std::invalid_argument(concat("send_every: the period must be more than zero, got ", period.count(), " ns"));
}

IntervalTick new_interval(ProcessCore& core, Duration period) {
  const std::uint64_t id = core.runtime->next_ref();
  timers_of(core).intervals.emplace(id, Interval{});
  return {id, core.runtime->clock().steady_now() + period, period};
}

bool interval_runs(const ProcessCore& core, std::uint64_t id) noexcept { return find_interval(core, id) != nullptr; }

void arm_interval(ProcessCore& core, const IntervalTick& tick, Node* node) {
  Interval* interval = find_interval(core, tick.id);
  DAGVERK_ASSERT(interval != nullptr);
  interval->timer = core.runtime->arm_timer(tick.due, core.pid(), node);
}

bool next_tick(ProcessCore& core, IntervalTick& tick) {
  Interval* interval = find_interval(core, tick.id);
  if (interval == nullptr) return false;
  const Duration late = std::max(Duration::zero(), core.runtime->clock().steady_now() - tick.due);
  const auto missed = late / tick.period;
  interval->skipped += static_cast<std::uint64_t>(missed);
  tick.due += (missed + 1) * tick.period;
  return true;
}

void cancel_own_timers(ProcessCore& core) noexcept {
  core.idle_wanted = false;
  core.idle_armed = false;
  if (core.extra == nullptr || !core.extra->timers) return;
  const std::unique_ptr<OwnTimers> timers = std::move(core.extra->timers);
  core.runtime->cancel_timer(timers->idle.timer);
  for (const auto& [id, interval] : timers->intervals) core.runtime->cancel_timer(interval.timer);
}

}  // namespace detail

namespace this_process {

std::optional<Duration> cancel_timer(IntervalRef ref) noexcept {
  detail::ProcessCore* core = detail::current_process;
  DAGVERK_ASSERT(core != nullptr);
  const detail::Interval* interval = detail::find_interval(*core, ref.id);
  if (interval == nullptr) return std::nullopt;
  const detail::TimerSlot timer = interval->timer;
  core->extra->timers->intervals.erase(ref.id);
  // A tick that waits in the mailbox is not seen any more.
  return core->runtime->cancel_timer(timer).value_or(Duration::zero());
}

std::uint64_t skipped_ticks(IntervalRef ref) noexcept {
  const detail::ProcessCore* core = detail::current_process;
  DAGVERK_ASSERT(core != nullptr);
  const detail::Interval* interval = detail::find_interval(*core, ref.id);
  return interval != nullptr ? interval->skipped : 0;
}

}  // namespace this_process
}  // namespace dagverk
