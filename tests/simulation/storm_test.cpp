// Processes, supervisors, names, links and timers start, stop and crash on real threads, as fast as they can. For the
// sanitizers; a second here, and a minute by hand:
//   DAGVERK_STORM_SECONDS=60 build/tsan/bin/storm_test

#include "simulation/may_fail.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/base/random.hpp"
#include "dagverk/runtime/dynamic_supervisor.hpp"
#include "dagverk/runtime/runtime.hpp"
#include "dagverk/runtime/supervisor.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace dagverk {
namespace {

using namespace std::chrono_literals;

Duration storm_time() {
  const char* text = std::getenv("DAGVERK_STORM_SECONDS");
  return text == nullptr ? Duration(1s) : Duration(std::strtoull(text, nullptr, 10) * 1s);
}

/// Counts itself, so that one that is never destroyed is seen.
class Guest : public GenServer<Guest> {
 public:
  struct Work {
    using Reply = std::string;
    std::string text;
  };
  struct Crash {};
  struct Meet {
    Pid other;
  };
  struct Tick {};

  explicit Guest(std::atomic<int>* living) : living_(living) { living_->fetch_add(1); }
  Guest(const Guest&) = delete;
  Guest& operator=(const Guest&) = delete;
  ~Guest() override { living_->fetch_sub(1); }

  void init() { send_after(1ms, Tick{}); }
  Async<std::string> handle_call(Work work) {
    co_await this_process::sleep(100us);
    co_return work.text + "!";
  }
  void handle_cast(Crash /*crash*/) { throw std::runtime_error("storm"); }
  void handle_cast(Meet meet) {
    static_cast<void>(this_process::monitor(meet.other));
    this_process::link(meet.other);
  }
  void handle_info(Tick tick) { send_after(1ms, tick); }
  void handle_info(const Down& /*down*/) {}

 private:
  std::atomic<int>* living_;
};

/// One thread's part: the same few things over and over, in an order drawn from its seed.
void rage(Runtime& runtime, const DynamicSupervisorRef& crowd, std::atomic<int>& living, SteadyTime until,
          Random random) {
  std::vector<ServerRef<Guest>> guests;
  while (runtime.clock().steady_now() < until) {
    const auto any = [&] { return guests.empty() ? ServerRef<Guest>() : guests[random.below(guests.size())]; };
    switch (random.below(9)) {
      case 0:
        if (auto guest = crowd.start_child_blocking(child_spec<Guest>("", &living))) guests.push_back(*guest);
        break;
      case 1:
        if (auto guest = runtime.start<Guest>(&living)) guests.push_back(*guest);
        break;
      case 2: any().cast(Guest::Crash{}); break;
      case 3: any().cast(Guest::Meet{any().pid()}); break;
      case 4: runtime.exit(any().pid(), random.below(2) == 0 ? ExitReason::kill : ExitReason::shutdown); break;
      case 5: simulation::may_fail(any().call_blocking_within<Guest::Work>(1ms, std::string(40, 'x'))); break;
      case 6: simulation::may_fail(crowd.terminate_child_blocking(any().pid())); break;
      case 7: {
        std::vector<ChildSpec> specs{child_spec<Guest>("a", &living), child_spec<Guest>("b", &living)};
        const Result<SupervisorRef> tree = start_supervisor(runtime, {}, std::move(specs));
        if (tree) simulation::may_fail(tree->stop_blocking());
        break;
      }
      default: static_cast<void>(runtime.snapshot()); break;
    }
    if (guests.size() > 50) guests.erase(guests.begin(), guests.begin() + 25);
  }
}

TEST(Storm, processes_that_start_stop_and_crash_on_threads_leave_nothing_behind) {
  std::atomic<int> living{0};
  std::uint64_t seed = random_seed();
  if (const char* text = std::getenv("DAGVERK_SEED"); text != nullptr) seed = std::strtoull(text, nullptr, 0);
  SCOPED_TRACE(concat("DAGVERK_SEED=", seed));
  const SteadyTime until = system_clock().steady_now() + storm_time();
  int rounds = 0;
  do {  // a new runtime now and then: starting and stopping one is part of the storm
    Runtime runtime(RuntimeOptions{.workers = 2, .logger = &null_logger()});
    const SteadyTime round_end = std::min(until, runtime.clock().steady_now() + 250ms);
    const DynamicSupervisorRef crowd =
        start_dynamic_supervisor(runtime, {.max_children = 500, .max_restarts = 1'000'000}).value();
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 3; ++thread) {
      threads.emplace_back([&, thread_seed = ++seed] { rage(runtime, crowd, living, round_end, Random(thread_seed)); });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_TRUE(runtime.stop(30s).clean());
    EXPECT_EQ(runtime.process_count(), 0U);
    EXPECT_EQ(living, 0);
    ++rounds;
  } while (system_clock().steady_now() < until && !::testing::Test::HasFailure());
  EXPECT_GE(rounds, 1);
}

}  // namespace
}  // namespace dagverk
