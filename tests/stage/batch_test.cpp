// Batches: sharing, slicing, and moving events out of those that nobody else holds.

#include "dagverk/stage/batch.hpp"

#include "dagverk/stage/options.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace dagverk {
namespace {

/// Counts living objects, so that a test sees what is copied, moved and destroyed.
struct Counted {
  static inline int alive = 0;
  static inline int copies = 0;
  static inline bool throw_on_copy = false;
  int value = 0;

  explicit Counted(int number) : value(number) { ++alive; }
  Counted(const Counted& other) : value(other.value) {
    if (throw_on_copy) throw std::runtime_error("no copy");
    ++alive;
    ++copies;
  }
  Counted(Counted&& other) noexcept : value(std::exchange(other.value, -1)) { ++alive; }
  Counted& operator=(const Counted&) = delete;
  ~Counted() { --alive; }
};

TEST(Batch, an_empty_batch_has_no_events_and_no_allocation) {
  const Batch<std::string> batch;
  EXPECT_TRUE(batch.empty());
  EXPECT_EQ(batch.begin(), batch.end());
  EXPECT_TRUE(batch.slice(0, 5).empty());
  BatchBuilder<std::string> builder;
  EXPECT_TRUE(builder.build().empty());
}

TEST(Batch, copies_and_slices_share_the_events) {
  const Batch<int> batch = make_batch({1, 2, 3, 4, 5});
  const Batch<int> copy = batch;
  EXPECT_EQ(copy.data(), batch.data());
  const Batch<int> middle = batch.slice(1, 3);
  EXPECT_EQ(middle.data(), batch.data() + 1);
  EXPECT_EQ(std::vector<int>(middle.begin(), middle.end()), (std::vector<int>{2, 3, 4}));
  EXPECT_EQ(middle.slice(2, 99).size(), 1U);
  EXPECT_TRUE(batch.slice(5).empty());
  EXPECT_EQ(std::accumulate(batch.begin(), batch.end(), 0), 15);
}

TEST(Batch, a_slice_keeps_the_events_alive_after_the_batch_is_gone) {
  Counted::alive = 0;
  Batch<Counted> last;
  {
    BatchBuilder<Counted> builder;
    for (int number = 0; number < 100; ++number) builder.emplace(number);  // grows several times
    const Batch<Counted> batch = builder.build();
    last = batch.slice(99);
    EXPECT_EQ(Counted::alive, 100);
  }
  EXPECT_EQ(last.front().value, 99);
  EXPECT_EQ(Counted::alive, 100);
  last.reset();
  EXPECT_EQ(Counted::alive, 0);
}

TEST(Batch, events_are_moved_out_of_a_unique_batch_and_copied_out_of_a_shared_one) {
  Counted::alive = 0;
  Counted::copies = 0;
  BatchBuilder<Counted> builder;
  builder.emplace(1);
  builder.emplace(2);
  Batch<Counted> batch = builder.build();
  Batch<Counted> copy = batch;
  EXPECT_FALSE(batch.unique());
  EXPECT_TRUE(batch.mutable_events().empty());
  EXPECT_EQ(copy.take_events().at(1).value, 2);
  EXPECT_EQ(Counted::copies, 2);
  EXPECT_TRUE(copy.empty());
  EXPECT_TRUE(batch.unique());  // the copy has let go
  EXPECT_EQ(batch.mutable_events().size(), 2U);
  EXPECT_EQ(batch.take_events().at(1).value, 2);
  EXPECT_EQ(Counted::copies, 2);
  EXPECT_EQ(Counted::alive, 0);
}

TEST(Batch, parts_of_a_unique_batch_are_unique_until_one_is_copied) {
  std::vector<std::unique_ptr<int>> numbers;
  for (int number = 0; number < 4; ++number) numbers.push_back(std::make_unique<int>(number));
  Batch<std::unique_ptr<int>> rest = make_batch(std::move(numbers));
  Batch<std::unique_ptr<int>> front = rest.split_front(2);
  EXPECT_TRUE(front.unique());
  EXPECT_TRUE(rest.unique());
  const std::vector<std::unique_ptr<int>> taken = front.take_events();
  EXPECT_EQ(*taken[1], 1);
  EXPECT_EQ(*rest[0], 2);
  const Batch<std::unique_ptr<int>> copy = rest;
  EXPECT_FALSE(rest.unique());
  EXPECT_FALSE(copy.unique());
  Batch<std::unique_ptr<int>> part = rest.split_front(1);
  EXPECT_FALSE(part.unique());
  Batch<std::unique_ptr<int>> whole = rest.split_front(7);
  EXPECT_EQ(**whole.begin(), 3);
  EXPECT_TRUE(rest.empty());
  EXPECT_TRUE(whole.split_front(0).empty());
}

TEST(Batch, a_batch_that_is_handed_out_has_as_many_holders) {
  Counted::alive = 0;
  {
    BatchBuilder<Counted> builder;
    for (int number = 0; number < 4; ++number) builder.emplace(number);
    Batch<Counted> rest = builder.build();
    std::vector<Batch<Counted>> taken;
    const auto take = [&](Batch<Counted> part) { taken.push_back(std::move(part)); };
    rest.split_front(2).hand_out(3, take);  // `rest` holds them, too
    ASSERT_EQ(taken.size(), 3U);
    EXPECT_EQ(taken[0].data(), taken[2].data());
    rest.reset();
    taken.resize(2);
    EXPECT_FALSE(taken[0].unique());
    taken.pop_back();
    EXPECT_TRUE(taken[0].unique());

    Batch<Counted> only = std::move(taken[0]);
    taken.clear();
    std::move(only).hand_out(1, take);
    EXPECT_TRUE(taken[0].unique());

    Batch<Counted> torn = std::move(taken[0]);
    taken.clear();
    const auto take_one = [&](Batch<Counted> part) {
      if (!taken.empty()) throw std::runtime_error("no more");
      taken.push_back(std::move(part));
    };
    EXPECT_THROW(std::move(torn).hand_out(4, take_one), std::runtime_error);
    torn.reset();  // NOLINT(bugprone-use-after-move): it was not given away
    EXPECT_TRUE(taken[0].unique());
    EXPECT_EQ(Counted::alive, 4);
  }
  EXPECT_EQ(Counted::alive, 0);
}

TEST(Batch, a_copy_that_throws_while_building_leaks_nothing) {
  Counted::alive = 0;
  std::vector<Counted> events;
  events.emplace_back(1);
  events.emplace_back(2);
  Counted::throw_on_copy = true;
  EXPECT_THROW(static_cast<void>(make_batch(events)), std::runtime_error);
  Counted::throw_on_copy = false;
  EXPECT_EQ(Counted::alive, 2);
}

TEST(Batch, over_aligned_events_are_aligned) {
  struct alignas(64) Line {
    int value;
  };
  const Batch<Line> batch = make_batch_of(9, [](std::size_t index) { return Line{static_cast<int>(index)}; });
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(batch.data()) % 64, 0U);
  EXPECT_EQ(batch[8].value, 8);
}

TEST(Batch, a_builder_may_push_a_copy_of_its_own_event_while_growing) {
  BatchBuilder<std::string> builder;
  std::string& first = builder.emplace("a text that is longer than what a string keeps inside of itself");
  for (int round = 0; round < 7; ++round) builder.emplace("x");
  builder.emplace(first);  // grows here
  const Batch<std::string> batch = builder.build();
  EXPECT_EQ(batch.back(), batch.front());
  EXPECT_EQ(batch.size(), 9U);
}

TEST(Batch, threads_copy_read_and_release_one_batch) {
  Counted::alive = 0;
  BatchBuilder<Counted> builder;
  for (int number = 1; number <= 1000; ++number) builder.emplace(number);
  Batch<Counted> batch = builder.build();
  std::vector<int> sums(4, 0);
  {
    std::vector<std::jthread> threads;
    for (int& sum : sums) {
      threads.emplace_back([&sum, &batch] {
        for (int round = 0; round < 200; ++round) {
          const Batch<Counted> copy = batch;
          const Batch<Counted> part = copy.slice(static_cast<std::size_t>(round));
          sum = 0;
          for (const Counted& event : copy) sum += event.value;
        }
      });
    }
  }
  for (const int sum : sums) EXPECT_EQ(sum, 500500);
  EXPECT_EQ(batch.mutable_events().size(), 1000U);
  batch.reset();
  EXPECT_EQ(Counted::alive, 0);
}

TEST(Demand, CC_GSU_003_and_004_bad_demand_is_refused_with_its_range) {
  EXPECT_EQ(detail::check_demand(1000, {})->min, 500U);
  EXPECT_EQ(detail::check_demand(1, {})->min, 0U);
  EXPECT_EQ(detail::check_demand(0, {}).error().message(),
            "expected :max_demand to be equal to or greater than 1, got: 0");
  EXPECT_EQ(detail::check_demand(1000, 2000).error().message(),
            "expected :min_demand to be equal to or less than 999, got: 2000");
  EXPECT_EQ(detail::check_demand(10, -1).error().message(),
            "expected :min_demand to be equal to or greater than 0, got: -1");
  EXPECT_EQ(detail::check_demand(0, {}).error().code(), ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace dagverk
