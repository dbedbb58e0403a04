// The queue of one worker, with and without the kernel's barrier: whoever takes an entry is the only one who has it.

#include "runtime/run_queue.hpp"

#include "dagverk/base/random.hpp"
#include "dagverk/runtime/deterministic_runtime.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <thread>
#include <vector>

namespace dagverk::detail {
namespace {

class RunQueueTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (GetParam() && !ProgramBarrier::available()) GTEST_SKIP() << "this kernel has no membarrier";
  }
  ProcessCore* core(std::uint32_t index) {
    while (cores_.size() <= index) cores_.emplace_back(runtime_).wait_token = static_cast<std::uint32_t>(cores_.size());
    return &cores_[index];
  }

  DeterministicRuntime runtime_{DeterministicOptions{.seed = 1}};
  std::deque<ProcessCore> cores_;
};

TEST_P(RunQueueTest, the_ring_is_first_in_first_out_and_refuses_when_full) {
  RunQueue queue(GetParam());
  for (std::uint32_t index = 0; index < RunQueue::capacity; ++index) ASSERT_TRUE(queue.push(core(index)));
  EXPECT_FALSE(queue.push(core(RunQueue::capacity)));
  EXPECT_EQ(queue.size(), RunQueue::capacity);
  for (std::uint32_t index = 0; index < RunQueue::capacity; ++index) ASSERT_EQ(queue.pop(), core(index));
  EXPECT_EQ(queue.pop(), nullptr);
  EXPECT_TRUE(queue.empty());
}

TEST_P(RunQueueTest, the_slot_gives_back_what_it_held) {
  RunQueue queue(GetParam());
  EXPECT_EQ(queue.put_next(core(0)), nullptr);
  EXPECT_EQ(queue.put_next(core(1)), core(0));
  EXPECT_TRUE(queue.has_next());
  EXPECT_EQ(queue.take_next(), core(1));
  EXPECT_EQ(queue.take_next(), nullptr);
}

TEST_P(RunQueueTest, a_thief_takes_the_older_half_and_the_slot_only_when_nothing_else_is_there) {
  RunQueue queue(GetParam());
  std::vector<ProcessCore*> stolen;
  const auto take = [&stolen](ProcessCore* taken) { stolen.push_back(taken); };
  for (std::uint32_t index = 0; index < 5; ++index) ASSERT_TRUE(queue.push(core(index)));
  ASSERT_EQ(queue.put_next(core(5)), nullptr);

  queue.steal(1, true, take);
  EXPECT_EQ(stolen, (std::vector<ProcessCore*>{core(0), core(1), core(2)}));
  EXPECT_EQ(queue.pop(), core(3));
  EXPECT_EQ(queue.pop(), core(4));

  stolen.clear();
  queue.steal(1, false, take);
  EXPECT_TRUE(stolen.empty());
  queue.steal(1, true, take);
  EXPECT_EQ(stolen, (std::vector<ProcessCore*>{core(5)}));
  EXPECT_TRUE(queue.empty());
}

TEST_P(RunQueueTest, with_two_thieves_at_work_every_entry_is_taken_exactly_once) {
  constexpr std::uint32_t count = 4'000;
  constexpr std::uint32_t rounds = 20;
  RunQueue queue(GetParam());
  static_cast<void>(core(count - 1));
  std::vector<std::atomic<std::uint32_t>> taken(count);
  std::atomic<std::uint32_t> stolen{0};
  std::atomic<bool> done{false};
  // `wait_token` (any number would do) is what the owner writes before it publishes an entry: a thief must see it.
  const auto account = [&taken](const ProcessCore* entry) { taken[entry->wait_token].fetch_add(1); };

  std::vector<std::thread> thieves;
  for (std::uint32_t thief = 1; thief <= 2; ++thief) {
    thieves.emplace_back([&, thief] {
      while (!done.load()) {
        queue.steal(thief, true, [&](const ProcessCore* entry) {
          account(entry);
          stolen.fetch_add(1);
        });
      }
    });
  }
  Random random(7);
  for (std::uint32_t round = 0; round < rounds; ++round) {
    for (std::uint32_t index = 0; index < count; ++index) {
      cores_[index].wait_token = index;
      ProcessCore* entry = &cores_[index];
      if (random.below(2) == 0) entry = queue.put_next(entry);
      while (entry != nullptr && !queue.push(entry)) {
        if (const ProcessCore* oldest = queue.pop(); oldest != nullptr) account(oldest);
      }
      if (random.below(3) != 0) continue;
      ProcessCore* mine = random.below(2) == 0 ? queue.take_next() : queue.pop();
      if (mine != nullptr) account(mine);
    }
    // Somebody must get to steal, however few processors there are.
    while (round == 0 && stolen.load() == 0 && !queue.empty()) std::this_thread::yield();
    while (ProcessCore* entry = queue.pop()) account(entry);
    if (ProcessCore* entry = queue.take_next(); entry != nullptr) account(entry);
    // A thief may still hold entries of this round that the next one would use again.
    for (std::uint32_t index = 0; index < count; ++index) {
      while (taken[index].load() < round + 1) std::this_thread::yield();
    }
  }
  done.store(true);
  for (std::thread& thief : thieves) thief.join();
  for (std::uint32_t index = 0; index < count; ++index) ASSERT_EQ(taken[index].load(), rounds) << index;
}

INSTANTIATE_TEST_SUITE_P(Barriers, RunQueueTest, ::testing::Values(true, false), [](const auto& barrier) {
  return barrier.param ? std::string("kernel") : std::string("processor");
});

}  // namespace
}  // namespace dagverk::detail
