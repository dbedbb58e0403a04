#include "child_control.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/runtime/gen_server.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <exception>
#include <optional>
#include <utility>

namespace dagverk {

Result<void> check(const RestartLimit& limit) {
  constexpr std::uint32_t max_restarts_max = 1'000'000;
  if (limit.max_restarts > max_restarts_max) {
    return Error(ErrorCode::invalid_argument, concat("max_restarts must be 0..1000000, got ", limit.max_restarts));
  }
  if (limit.window <= Duration::zero()) {
    return Error(ErrorCode::invalid_argument,
                 concat("the restart window must be more than zero, got ", limit.window.count(),
                        " ns; for no restart at all set max_restarts to 0"));
  }
  return {};
}

Result<void> check(const RestartBackoff& backoff) {
  constexpr std::uint32_t factor_max = 100;
  if (backoff.initial < Duration::zero() || backoff.reset_after < Duration::zero()) {
    return Error(ErrorCode::invalid_argument,
                 concat("backoff.initial and backoff.reset_after must not be negative, got ", backoff.initial.count(),
                        " ns and ", backoff.reset_after.count(), " ns"));
  }
  if (backoff.max < backoff.initial) {
    return Error(ErrorCode::invalid_argument, "backoff.max must not be less than backoff.initial");
  }
  if (backoff.factor < 1 || backoff.factor > factor_max) {
    return Error(ErrorCode::invalid_argument, concat("backoff.factor must be 1..100, got ", backoff.factor));
  }
  return {};
}

Result<void> check(const ChildSpec& spec) {
  const auto fail = [&](std::string_view what) {
    return Error(ErrorCode::invalid_argument, concat("child \"", spec.id, "\": ", what));
  };
  if (!spec.start) return fail("it has no start function; make it with child_spec<Server>(id, args...)");
  if (spec.registered && spec.id.empty()) return fail("a registered child needs an id");
  if (spec.significant && spec.restart == Restart::permanent)
    return fail("a permanent child cannot be significant; make it transient or temporary");
  if (spec.shutdown && !spec.shutdown->kills_at_once() && spec.shutdown->limit() < Duration::zero()) {
    return fail(concat("the shutdown limit must not be negative, got ", spec.shutdown->limit().count(),
                       " ns; brutal_kill() kills at once, infinity() waits for ever"));
  }
  const std::string context = concat("child \"", spec.id, "\"");
  if (Result<void> checked = check(spec.backoff); !checked) return checked.error().with(context);
  if (spec.limit) {
    if (Result<void> checked = check(*spec.limit); !checked) return checked.error().with(context);
  }
  return {};
}

bool RestartHistory::admit(const RestartLimit& limit, SteadyTime now) {
  std::erase_if(restarts_, [&](SteadyTime restart) { return now - restart > limit.window; });
  restarts_.push_back(now);
  return restarts_.size() <= limit.max_restarts;
}

Duration RestartHistory::next_delay(const RestartBackoff& backoff, SteadyTime now) {
  if (backoff.initial == Duration::zero()) return Duration::zero();
  const Duration reset_after = backoff.reset_after > Duration::zero() ? backoff.reset_after : backoff.max;
  const bool starts_over = last_delay_ == Duration::zero() || now - delayed_until_ >= reset_after;
  if (starts_over) {
    last_delay_ = backoff.initial;
  } else {
    // The quotient, so that nothing overflows.
    last_delay_ = last_delay_ > backoff.max / backoff.factor ? backoff.max : last_delay_ * backoff.factor;
  }
  delayed_until_ = now + last_delay_;
  return last_delay_;
}

void RestartHistory::clear() noexcept {
  restarts_.clear();
  last_delay_ = Duration::zero();
}

namespace detail {

Shutdown shutdown_of(const ChildSpec& spec) noexcept {
  if (spec.shutdown) return *spec.shutdown;
  return spec.type == ChildType::supervisor ? Shutdown::infinity() : Shutdown::after(std::chrono::seconds(5));
}

bool restarts_after(Restart restart, const ExitReason& reason) noexcept {
  return restart == Restart::permanent || (restart == Restart::transient && !reason.normal_ish());
}

Result<void> hold_name(const std::string& name) {
  if (name.empty() || this_process::runtime().whereis(name) == this_process::pid()) return {};
  return this_process::register_name(name);
}

Async<Result<Pid>> start_child_of(const ChildSpec& spec, std::uint64_t restarts) {
  StartOptions options;
  if (spec.registered) options.name = spec.id;
  options.mailbox_bound = spec.mailbox_bound;
  options.mailbox_rule = spec.mailbox_rule;
  options.mailbox_alarm = spec.mailbox_alarm;
  options.parent = this_process::pid();
  options.child_id = spec.id;
  options.restarts = restarts;
  std::string failure;
  try {
    Async<Result<Pid>> starting = spec.start(std::move(options));
    Result<Pid> started = co_await starting;
    co_return started;
  } catch (const std::exception& error) {
    failure = concat("its start function threw: ", error.what());
  } catch (...) {
    failure = "its start function threw";
  }
  co_return Error(ErrorCode::exited, std::move(failure));
}

namespace {

/// A child that was signalled, and when that has to have had its effect.
struct Ending {
  ChildToStop child;
  std::size_t order = 0;  // as they were given
  SteadyTime deadline = SteadyTime::max();
  bool killed = false;
};

void kill(Ending& ending) {
  if (std::exchange(ending.killed, true)) return;
  this_process::exit(ending.child.pid, ExitReason::kill);
}

/// Waits until `deadline` at most. Nothing when it has not ended.
Async<std::optional<ExitReason>> ended_by(Pid pid, SteadyTime deadline) {
  Duration left{0};  // for ever
  if (deadline != SteadyTime::max()) {
    left = deadline - this_process::runtime().clock().steady_now();
    if (left <= Duration::zero()) {
      // The limit has passed; what has ended by now has ended in time.
      if (RuntimeBase::alive(pid)) co_return std::nullopt;
      left = Duration(1);
    }
  }
  Result<ExitReason> ended = co_await this_process::wait_for_exit(pid, left);
  if (ended) co_return std::optional<ExitReason>(*ended);
  if (!RuntimeBase::alive(pid)) co_return std::optional<ExitReason>(ExitReason::noproc);
  co_return std::nullopt;
}

/// Reports an end that was not the one that was asked for (OTP's shutdown_error).
void report_end(const Ending& ending, const ExitReason& reason) {
  using Kind = ExitReason::Kind;
  const bool as_asked =
      ending.child.shutdown.kills_at_once() ? reason.kind() == Kind::killed : reason.kind() == Kind::shutdown;
  if (as_asked || reason.kind() == Kind::noproc) return;
  if (ending.child.restart != Restart::permanent && reason.normal_ish()) return;
  this_process::runtime().logger().warning(
      "child.shutdown_failed",
      {{"child", ending.child.id}, {"pid", ending.child.pid.number()}, {"reason", reason.to_string()}});
}

void report_stuck(const Ending& ending) {
  RuntimeBase& runtime = this_process::runtime();
  const std::optional<ProcessInfo> info = runtime.process_info(ending.child.pid);
  if (!info) return;  // at the last moment
  const auto since_ms = std::chrono::duration_cast<std::chrono::milliseconds>(info->in_state).count();
  runtime.logger().error("child.stuck", {{"child", ending.child.id},
                                         {"pid", ending.child.pid.number()},
                                         {"name", info->name},
                                         {"kind", info->kind},
                                         {"handles", info->handles},
                                         {"since_ms", since_ms}});
}

}  // namespace

Async<void> stop_children(std::vector<ChildToStop> children, Duration kill_timeout) {
  const Clock& clock = this_process::runtime().clock();
  std::vector<Ending> endings;
  endings.reserve(children.size());
  const SteadyTime begin = clock.steady_now();
  for (ChildToStop& child : children) {
    Ending& ending = endings.emplace_back(Ending{std::move(child), endings.size()});
    const Shutdown shutdown = ending.child.shutdown;
    if (shutdown.kills_at_once()) {
      kill(ending);
      ending.deadline = begin;
      continue;
    }
    this_process::exit(ending.child.pid, ExitReason::shutdown);
    const bool limited = !shutdown.unlimited() && shutdown.limit() < SteadyTime::max() - begin;
    if (limited) ending.deadline = begin + shutdown.limit();
    if (shutdown.limit() == Duration::zero()) kill(ending);
  }
  // The nearest deadline first: while one is waited for, the others end, too.
  std::ranges::sort(endings, [](const Ending& a, const Ending& b) {
    return a.deadline != b.deadline ? a.deadline < b.deadline : a.order < b.order;
  });
  std::vector<Ending> late;
  for (Ending& ending : endings) {
    if (ending.killed) {
      late.push_back(std::move(ending));
      continue;
    }
    std::optional<ExitReason> reason = co_await ended_by(ending.child.pid, ending.deadline);
    if (reason) {
      report_end(ending, *reason);
      continue;
    }
    kill(ending);
    late.push_back(std::move(ending));
  }
  const SteadyTime give_up = clock.steady_now() + kill_timeout;
  for (Ending& ending : late) {
    std::optional<ExitReason> reason = co_await ended_by(ending.child.pid, give_up);
    if (reason) {
      report_end(ending, *reason);
    } else {
      report_stuck(ending);
    }
  }
}

}  // namespace detail
}  // namespace dagverk
