#include "dagverk/runtime/deterministic_runtime.hpp"

#include "dagverk/base/assert.hpp"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
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

/// The message of an injected fault: handling it throws.
struct FaultNode {
  struct Payload {
    std::string message;
  };
  static bool run(detail::Node* node, detail::ProcessCore& /*receiver*/) {
    throw std::runtime_error(detail::payload_of<Payload>(node).message);
  }
  static void discard(detail::Node* node, const ExitReason& /*reason*/) noexcept {
    detail::payload_of<Payload>(node).~Payload();
    detail::free_node(node);
  }
  static constexpr detail::NodeOps ops{run, discard, "injected fault", detail::NodeClass::message};
};

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
      random_(seed_),
      chooser_(options.chooser) {}

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
  if (before_step_) before_step_(steps_);
  const std::optional<Turn> turn = chooser_ == nullptr && holds_.empty() ? draw_turn() : choose_turn();
  if (!turn) return false;
  ++steps_;
  run_turn(*turn);
  return true;
}

std::optional<DeterministicRuntime::Turn> DeterministicRuntime::draw_turn() {
  std::size_t choices = ready_.size();
  for (const Lane* lane : lanes_) choices += lane->rung() ? 1 : 0;
  if (choices == 0) return std::nullopt;
  std::size_t choice = random_.below(choices);
  if (choice < ready_.size()) return Turn{.ready_index = choice};
  choice -= ready_.size();
  for (Lane* lane : lanes_) {
    if (lane->rung() && choice-- == 0) return Turn{.lane = lane};
  }
  return std::nullopt;
}

std::optional<DeterministicRuntime::Turn> DeterministicRuntime::choose_turn() {
  drop_holds_that_are_over();
  std::vector<Turn> turns = free_turns();
  if (turns.empty()) {  // nobody else can run: a hold for some steps is over
    if (std::erase_if(holds_, [](const Hold& hold) { return hold.until_step != UINT64_MAX; }) == 0) return std::nullopt;
    turns = free_turns();
    if (turns.empty()) return std::nullopt;
  }
  if (chooser_ == nullptr) return turns[random_.below(turns.size())];
  std::vector<RunChoice> choices;
  choices.reserve(turns.size());
  for (const Turn& turn : turns) choices.push_back(describe(turn));
  const std::size_t chosen = chooser_->choose(choices);
  DAGVERK_ASSERT(chosen < turns.size());  // a Chooser answers with the index of a choice
  return turns[chosen];
}

std::vector<DeterministicRuntime::Turn> DeterministicRuntime::free_turns() {
  std::vector<Turn> turns;
  for (std::size_t index = 0; index < ready_.size(); ++index) {
    if (!held(ready_[index]->pid())) turns.push_back(Turn{.ready_index = index});
  }
  std::ranges::sort(turns, {}, [this](const Turn& turn) { return ready_[turn.ready_index]->pid().number(); });
  for (Lane* lane : lanes_) {
    if (lane->rung() && !held(*lane)) turns.push_back(Turn{.lane = lane});
  }
  return turns;
}

RunChoice DeterministicRuntime::describe(const Turn& turn) const {
  if (turn.lane != nullptr) return RunChoice{.pid = Pid(), .name = turn.lane->name()};
  detail::ProcessCore& core = *ready_[turn.ready_index];
  const detail::ProcessType* type = core.type.load(std::memory_order_relaxed);
  return RunChoice{.pid = core.pid(), .name = type != nullptr ? type->name : std::string_view()};
}

void DeterministicRuntime::run_turn(const Turn& turn) {
  if (turn.lane != nullptr) {
    record(0, turn.lane->name());
    turn.lane->run();
    return;
  }
  detail::ProcessCore* core = ready_[turn.ready_index];
  ready_[turn.ready_index] = ready_.back();
  ready_.pop_back();
  if (!faults_.empty()) inject_fault(*core);
  const std::uint64_t number = core->pid().number();
  const RunOutcome outcome = run_process(*core, {1, nullptr, nullptr});
  const detail::NodeOps* ops = core->current_ops.load(std::memory_order_relaxed);
  record(number, ops != nullptr ? ops->name : std::string_view());
  if (outcome == RunOutcome::more) make_ready(*core);
}

void DeterministicRuntime::throw_in_next_callback(Pid pid, std::string message) {
  if (alive(pid)) faults_.insert_or_assign(pid.number(), std::move(message));
}

void DeterministicRuntime::inject_fault(detail::ProcessCore& core) {
  const auto fault = faults_.find(core.pid().number());
  if (fault == faults_.end() || core.behaviour == nullptr || core.starting || core.suspended()) return;
  detail::Node* node = detail::make_node<FaultNode::Payload>(FaultNode::ops, std::move(fault->second));
  faults_.erase(fault);
  detail::current_process = &core;
  detail::push_front(node);
  detail::current_process = nullptr;
}

void DeterministicRuntime::hold(Pid pid) { holds_.push_back(Hold{.pid = pid, .lane = {}}); }

void DeterministicRuntime::hold_for(Pid pid, Duration time) {
  holds_.push_back(Hold{.pid = pid, .lane = {}, .until = clock_.steady_now() + time});
}

void DeterministicRuntime::hold_steps(Pid pid, std::uint64_t steps) {
  holds_.push_back(Hold{.pid = pid, .lane = {}, .until = SteadyTime::max(), .until_step = steps_ + steps});
}

void DeterministicRuntime::release(Pid pid) {
  std::erase_if(holds_, [pid](const Hold& hold) { return hold.pid && hold.pid == pid; });
}

void DeterministicRuntime::hold_lane(std::string name) {
  holds_.push_back(Hold{.pid = Pid(), .lane = std::move(name)});
}

void DeterministicRuntime::hold_lane_for(std::string name, Duration time) {
  holds_.push_back(Hold{.pid = Pid(), .lane = std::move(name), .until = clock_.steady_now() + time});
}

void DeterministicRuntime::release_lane(std::string_view name) {
  std::erase_if(holds_, [name](const Hold& hold) { return !hold.pid && hold.lane == name; });
}

bool DeterministicRuntime::held(Pid pid) const {
  return std::ranges::any_of(holds_, [pid](const Hold& hold) { return hold.pid == pid; });
}

bool DeterministicRuntime::held(const Lane& lane) const {
  return std::ranges::any_of(holds_, [&](const Hold& hold) { return !hold.pid && hold.lane == lane.name(); });
}

void DeterministicRuntime::drop_holds_that_are_over() {
  const SteadyTime now = clock_.steady_now();
  std::erase_if(holds_, [&](const Hold& hold) {
    return hold.until <= now || hold.until_step <= steps_ || (hold.pid && !alive(hold.pid));
  });
}

std::size_t DeterministicRuntime::run_until_idle(std::size_t steps_max) {
  std::size_t steps = 0;
  while (steps < steps_max && step()) ++steps;
  return steps;
}

bool DeterministicRuntime::run_until(const std::function<bool()>& reached, Duration limit) {
  const SteadyTime now = clock_.steady_now();
  const SteadyTime deadline = limit < SteadyTime::max() - now ? now + limit : SteadyTime::max();
  while (!reached()) {
    if (!step() && !advance_to_next_timer(deadline)) return reached();
  }
  return true;
}

bool DeterministicRuntime::advance_to_next_timer(SteadyTime limit) {
  std::optional<SteadyTime> next = next_timer();
  drop_holds_that_are_over();
  for (const Hold& hold : holds_) {  // the end of a hold is a moment at which something happens
    if (hold.until != SteadyTime::max() && (!next || hold.until < *next)) next = hold.until;
  }
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
