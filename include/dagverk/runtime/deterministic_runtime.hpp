#pragma once

#include "dagverk/base/random.hpp"
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

  DeterministicRuntime(DeterministicOptions options, std::unique_ptr<ManualClock> clock);
  void give_own_thread(detail::ProcessCore& core) override;
  void take_own_thread(detail::ProcessCore& core) noexcept override;
  void on_process_exit(Pid pid, const ExitReason& reason) override;
  void record(std::uint64_t number, std::string_view handled);
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
  std::uint64_t order_hash_ = 14695981039346656037U;
};

}  // namespace dagverk
