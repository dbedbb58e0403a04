#include "dagverk/testing/scenario.hpp"

#include "dagverk/base/concat.hpp"

#include <utility>

namespace dagverk::testing {

namespace {

constexpr std::uint64_t apart = 0x5851f42d4c957f2dU;  // so that decisions and order are not the same numbers

}  // namespace

Scenario::Scenario(std::uint64_t seed, ScenarioOptions options)
    : runtime_(DeterministicOptions{.seed = seed, .logger = options.logger, .chooser = options.chooser}),
      random_(seed ^ apart) {
  runtime_.set_before_step([this](std::uint64_t step) { run_actions(step); });
  if (!options.keep_trace) return;
  runtime_.set_trace([this](const TraceStep& step) { trace_ += concat(step.pid_number, ' ', step.handled, '\n'); });
}

void Scenario::run_actions(std::uint64_t step) {
  while (!actions_.empty() && actions_.begin()->first <= step) {
    const std::function<void()> action = std::move(actions_.begin()->second);
    actions_.erase(actions_.begin());
    action();
  }
}

bool Scenario::run_until(const std::function<bool()>& reached, Duration limit, std::source_location where) {
  return expect(runtime_.run_until(reached, limit), "run_until: not reached", where);
}

bool Scenario::expect_idle(std::size_t steps_max, std::source_location where) {
  const std::size_t steps = runtime_.run_until_idle(steps_max);
  if (steps == steps_max) {
    return expect(false, concat("expect_idle: still running after ", steps, " steps"), where);
  }
  const Snapshot shot = runtime_.snapshot();
  bool idle = true;
  for (const ProcessInfo& process : shot.processes) {
    if (process.mailbox_depth == 0 || process.state == ProcessState::waiting) continue;
    idle = expect(false, concat("expect_idle: ", process.kind, " has ", process.mailbox_depth, " messages"), where);
  }
  return idle;
}

bool Scenario::expect_stops(std::source_location where) {
  const std::size_t left = runtime_.stop_all();
  return expect(left == 0, concat("expect_stops: ", left, " processes are left"), where);
}

bool Scenario::expect(bool holds, std::string_view what, std::source_location where) {
  if (!holds) fail(what, where);
  return holds;
}

void Scenario::fail(std::string_view what, std::source_location where) {
  failures_.push_back(concat(where.file_name(), ":", where.line(), ": step ", runtime_.steps(), ": ", what));
}

void Scenario::at_step(std::uint64_t steps_from_now, std::function<void()> action) {
  actions_.emplace(runtime_.steps() + steps_from_now, std::move(action));
}

void Scenario::kill_at_step(std::uint64_t steps_from_now, Pid victim) {
  at_step(steps_from_now, [this, victim] { runtime_.exit(victim, ExitReason::kill); });
}

void Scenario::throw_at_step(std::uint64_t steps_from_now, Pid victim) {
  at_step(steps_from_now, [this, victim] { runtime_.throw_in_next_callback(victim); });
}

void Scenario::kill_at_step(std::uint64_t steps_from_now, std::string name) {
  at_step(steps_from_now, [this, name = std::move(name)] {
    if (const std::optional<Pid> holder = runtime_.whereis(name)) runtime_.exit(*holder, ExitReason::kill);
  });
}

void Scenario::kill_any_at_step(std::uint64_t steps_from_now, std::function<bool(const ProcessInfo&)> spares) {
  at_step(steps_from_now, [this, spares = std::move(spares)] {
    if (const Pid victim = any_process(spares)) runtime_.exit(victim, ExitReason::kill);
  });
}

Pid Scenario::any_process(const std::function<bool(const ProcessInfo&)>& spares) {
  std::vector<Pid> living;
  const Snapshot shot = runtime_.snapshot();
  for (const ProcessInfo& process : shot.processes) {
    if (!spares || !spares(process)) living.push_back(process.pid);
  }
  return living.empty() ? Pid() : living[random_.below(living.size())];
}

}  // namespace dagverk::testing
