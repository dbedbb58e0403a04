#pragma once

#include "dagverk/base/random.hpp"
#include "dagverk/runtime/chooser.hpp"
#include "dagverk/runtime/manual_clock.hpp"
#include "dagverk/runtime/runtime_base.hpp"
#include "dagverk/runtime/server_ref.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace dagverk {

struct DeterministicOptions {
  /// The order of everything. Nothing: the environment variable DAGVERK_SEED, else one drawn from the operating system.
  std::optional<std::uint64_t> seed = {};
  /// Where reports go; must outlive the runtime. Null: nowhere.
  Logger* logger = nullptr;
  /// Decides who runs next; must outlive the runtime. Null: the seed decides.
  Chooser* chooser = nullptr;
};

/// One message that was handled (or one run of a lane), in the order of a deterministic runtime.
struct TraceStep {
  std::uint64_t pid_number;  ///< 0 for a lane
  std::string_view handled;  ///< the message's type, or the lane's name
};

/// Runs processes on the caller's thread, in an order drawn from a seed, under a clock that only `advance` moves.
///
/// Semantics: one message of one ready process at a time, chosen at random among all that could run; the same seed and
///            the same program give the same order, always. Lanes (the outside world) are among the choices. Nothing
///            here waits: a blocking call runs the scheduler until the answer is there, moving the clock to the next
///            timer whenever nothing else is left.
/// Threads:   one: whichever calls.
/// Lifetime:  as Runtime. The destructor drops every process where it stands, without terminate; `stop_all` ends them
///            in order first.
class DeterministicRuntime final : public RuntimeBase {
 public:
  explicit DeterministicRuntime(DeterministicOptions options = {});
  ~DeterministicRuntime() override;

  [[nodiscard]] std::uint64_t seed() const noexcept { return seed_; }
  [[nodiscard]] ManualClock& manual_clock() noexcept { return clock_; }

  /// Handles one message. False when nothing can run.
  bool step();
  /// Runs until nothing can run without time passing; at most `steps_max` steps. Returns how many there were.
  std::size_t run_until_idle(std::size_t steps_max = 100'000'000);
  /// Moves the clock by `by`, stopping at every timer on the way and running until idle there.
  void advance(Duration by);
  /// Runs, moving the clock to the next timer whenever nothing can run, until `reached` answers true; at most `limit`
  /// of virtual time. Asked before every step. False when the limit came first, or nothing is left that could happen.
  [[nodiscard]] bool run_until(const std::function<bool()>& reached, Duration limit = std::chrono::hours(1));
  /// How many steps there have been.
  [[nodiscard]] std::uint64_t steps() const noexcept { return steps_; }

  // --- faults -------------------------------------------------------------------------------------------------------
  /// Whatever `pid` is to handle next, it throws `std::runtime_error(message)` instead, as if that callback had. When
  /// it is suspended in a `co_await`, the callback that waits is finished first. Without effect on what has ended.
  void throw_in_next_callback(Pid pid, std::string message = "injected fault");
  /// Keeps `pid` from running: what is sent to it waits. Until `release`, also while processes are stopped.
  void hold(Pid pid);
  /// As `hold`, until `time` has passed.
  void hold_for(Pid pid, Duration time);
  /// As `hold`, until others have made `steps` steps or nobody else can run.
  void hold_steps(Pid pid, std::uint64_t steps);
  void release(Pid pid);
  /// As those for processes: keeps lanes with this name from running, so that what they would complete is late.
  void hold_lane(std::string name);
  void hold_lane_for(std::string name, Duration time);
  void release_lane(std::string_view name);
  /// Called before every step with the number of steps so far; it may send, exit, hold. Not inside a process.
  void set_before_step(std::function<void(std::uint64_t)> hook) { before_step_ = std::move(hook); }

  /// Asks every process without a parent to end, and runs (and moves the clock) until all have, at most `limit` of
  /// virtual time. Returns how many processes are left.
  std::size_t stop_all(Duration limit = std::chrono::hours(1));

  /// Why a process ended; nothing while it lives. For any process that ended on this runtime.
  [[nodiscard]] std::optional<ExitReason> exit_reason(Pid pid) const;
  template <class Server>
  [[nodiscard]] std::optional<ExitReason> exit_reason(ServerRef<Server> server) const {
    return exit_reason(server.pid());
  }

  /// Called before every step.
  void set_trace(std::function<void(const TraceStep&)> trace) { trace_ = std::move(trace); }
  /// A number that depends on every step so far: equal in two runs when their orders are.
  [[nodiscard]] std::uint64_t order_hash() const noexcept { return order_hash_; }

  [[nodiscard]] bool deterministic() const noexcept override { return true; }
  [[nodiscard]] std::unique_ptr<ExternalLane> open_lane(std::string name,
                                                        std::move_only_function<void()> work) override;
  void make_ready(detail::ProcessCore& core) noexcept override;
  [[nodiscard]] Result<void> block_on(detail::BlockingWaiter& waiter, Duration timeout) override;

 private:
  class Lane;
  struct Hold {
    Pid pid;
    std::string lane;  // of lanes with this name, when pid is empty
    SteadyTime until = SteadyTime::max();
    std::uint64_t until_step = UINT64_MAX;
  };
  struct Turn {
    std::size_t ready_index = 0;
    Lane* lane = nullptr;
  };

  DeterministicRuntime(DeterministicOptions options, std::unique_ptr<ManualClock> clock);
  void give_own_thread(detail::ProcessCore& core) override;
  void take_own_thread(detail::ProcessCore& core) noexcept override;
  void on_process_exit(Pid pid, const ExitReason& reason) override;
  void record(std::uint64_t number, std::string_view handled);
  [[nodiscard]] std::optional<Turn> draw_turn();
  [[nodiscard]] std::optional<Turn> choose_turn();
  [[nodiscard]] std::vector<Turn> free_turns();
  [[nodiscard]] RunChoice describe(const Turn& turn) const;
  [[nodiscard]] bool held(Pid pid) const;
  [[nodiscard]] bool held(const Lane& lane) const;
  void drop_holds_that_are_over();
  void run_turn(const Turn& turn);
  void inject_fault(detail::ProcessCore& core);
  /// Moves to the next timer at or before `limit` and fires it. False when there is none.
  bool advance_to_next_timer(SteadyTime limit);

  std::unique_ptr<ManualClock> owned_clock_;
  ManualClock& clock_;
  std::uint64_t seed_;
  Random random_;
  std::vector<detail::ProcessCore*> ready_;
  std::vector<Lane*> lanes_;
  std::unordered_map<std::uint64_t, ExitReason> exit_reasons_;
  std::function<void(const TraceStep&)> trace_;
  std::function<void(std::uint64_t)> before_step_;
  Chooser* chooser_;
  std::vector<Hold> holds_;
  std::unordered_map<std::uint64_t, std::string> faults_;  // by the number of the pid that is to throw
  std::uint64_t steps_ = 0;
  std::uint64_t order_hash_ = 14695981039346656037U;
};

}  // namespace dagverk
