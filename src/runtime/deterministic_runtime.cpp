#include "dagverk/runtime/deterministic_runtime.hpp"

#include "dagverk/base/assert.hpp"

#include <algorithm>
#include <cstdlib>
#include <string>
#include <utility>

namespace dagverk {

namespace {

std::uint64_t choose_seed(const std::optional<std::uint64_t>& given) {
  if (given) return *given;
  if (const char* text = std::getenv("DAGVERK_SEED"); text != nullptr && *text != '\0') {
    return std::strtoull(text, nullptr, 0);
  }
  return random_seed();
}

}  // namespace

class DeterministicRuntime::Lane final : public ExternalLane {
 public:
  Lane(DeterministicRuntime& runtime, std::string name, std::move_only_function<void()> work)
      : runtime_(runtime), name_(std::move(name)), work_(std::move(work)) {
    runtime_.lanes_.push_back(this);
  }
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;
  ~Lane() override {
    std::erase(runtime_.lanes_, this);
    if (rung_) run();
  }

  void ring() noexcept override { rung_ = true; }
  [[nodiscard]] bool rung() const noexcept { return rung_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  void run() {
    rung_ = false;
    work_();
  }

 private:
  DeterministicRuntime& runtime_;
  const std::string name_;
  std::move_only_function<void()> work_;
  bool rung_ = false;
};

DeterministicRuntime::DeterministicRuntime(DeterministicOptions options)
    : DeterministicRuntime(options, std::make_unique<ManualClock>()) {}

DeterministicRuntime::DeterministicRuntime(DeterministicOptions options, std::unique_ptr<ManualClock> clock)
    : RuntimeBase(*clock, options.logger != nullptr ? *options.logger : null_logger()),
      owned_clock_(std::move(clock)),
      clock_(*owned_clock_),
      seed_(choose_seed(options.seed)),
      random_(seed_) {}

DeterministicRuntime::~DeterministicRuntime() {
  drop_all_processes();
  DAGVERK_ASSERT(lanes_.empty());  // whoever opened a lane closes it first
}

void DeterministicRuntime::make_ready(detail::ProcessCore& core) noexcept { ready_.push_back(&core); }

void DeterministicRuntime::give_own_thread(detail::ProcessCore& /*core*/) {}
void DeterministicRuntime::take_own_thread(detail::ProcessCore& /*core*/) noexcept {}

void DeterministicRuntime::on_process_exit(Pid pid, const ExitReason& reason) {
  exit_reasons_.emplace(pid.number(), reason);
}

std::optional<ExitReason> DeterministicRuntime::exit_reason(Pid pid) const {
  const auto found = exit_reasons_.find(pid.number());
  if (found == exit_reasons_.end()) return std::nullopt;
  return found->second;
}

void DeterministicRuntime::record(std::uint64_t number, std::string_view handled) {
  if (trace_) trace_(TraceStep{number, handled});
  const auto mix = [this](std::uint64_t value) { order_hash_ = (order_hash_ ^ value) * 1099511628211U; };
  mix(number);
  for (const char c : handled) mix(static_cast<unsigned char>(c));
}

bool DeterministicRuntime::step() {
  note_time(clock_.steady_now());
  std::size_t choices = ready_.size();
  for (const Lane* lane : lanes_) choices += lane->rung() ? 1 : 0;
  if (choices == 0) return false;
  std::size_t choice = random_.below(choices);
  if (choice >= ready_.size()) {
    choice -= ready_.size();
    for (Lane* lane : lanes_) {
      if (!lane->rung()) continue;
      if (choice-- > 0) continue;
      record(0, lane->name());
      lane->run();
      break;
    }
    return true;
  }
  detail::ProcessCore* core = ready_[choice];
  ready_[choice] = ready_.back();
  ready_.pop_back();
  const std::uint64_t number = core->pid().number();
  const RunOutcome outcome = run_process(*core, {1, nullptr, nullptr});
  const detail::NodeOps* ops = core->current_ops.load(std::memory_order_relaxed);
  record(number, ops != nullptr ? ops->name : std::string_view());
  if (outcome == RunOutcome::more) make_ready(*core);
  return true;
}

std::size_t DeterministicRuntime::run_until_idle(std::size_t steps_max) {
  std::size_t steps = 0;
  while (steps < steps_max && step()) ++steps;
  return steps;
}

bool DeterministicRuntime::advance_to_next_timer(SteadyTime limit) {
  const std::optional<SteadyTime> next = next_timer();
  if (!next || *next > limit) return false;
  if (*next > clock_.steady_now()) clock_.advance(*next - clock_.steady_now());
  fire_timers(clock_.steady_now());
  return true;
}

void DeterministicRuntime::advance(Duration by) {
  const SteadyTime target = clock_.steady_now() + by;
  run_until_idle();
  while (advance_to_next_timer(target)) run_until_idle();
  clock_.advance(target - clock_.steady_now());
}

std::size_t DeterministicRuntime::stop_all(Duration limit) {
  stop_roots();
  const SteadyTime deadline = clock_.steady_now() + limit;
  do {
    run_until_idle();
  } while (process_count() != 0 && advance_to_next_timer(deadline));
  return process_count();
}

std::unique_ptr<ExternalLane> DeterministicRuntime::open_lane(std::string name, std::move_only_function<void()> work) {
  return std::make_unique<Lane>(*this, std::move(name), std::move(work));
}

Result<void> DeterministicRuntime::block_on(detail::BlockingWaiter& waiter, Duration timeout) {
  const SteadyTime now = clock_.steady_now();
  const bool limited = timeout > Duration::zero() && timeout < SteadyTime::max() - now;
  const SteadyTime deadline = limited ? now + timeout : SteadyTime::max();
  while (!waiter.ready()) {
    if (step()) continue;
    if (advance_to_next_timer(deadline)) continue;
    if (!limited) return Error(ErrorCode::timeout, "nothing can run any more, and the answer has not come");
    clock_.advance(deadline - clock_.steady_now());
    return Error(ErrorCode::timeout, "no answer within the limit");
  }
  return {};
}

}  // namespace dagverk
