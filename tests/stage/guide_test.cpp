// What docs/guides/stages.md says in figures and in code: it is quoted from here.

#include "stages.hpp"

#include "dagverk/stage/drain.hpp"
#include "dagverk/stage/producer_consumer.hpp"
#include "dagverk/stage/push_producer.hpp"
#include "dagverk/stage/stream.hpp"

#include <gtest/gtest.h>

#include <cstdio>
#include <iomanip>
#include <sstream>

namespace dagverk {
namespace {

using namespace std::chrono_literals;
using namespace stage_tests;

/// Counts up, and remembers what it was asked.
class Asked : public Producer<Asked, int> {
 public:
  explicit Asked(Seen& seen) : seen_(seen) {}
  void handle_demand(std::uint64_t count) {
    seen_.demands.push_back(count);
    emit(make_batch_of(count, [this](std::size_t) { return next_++; }));
  }

 private:
  Seen& seen_;
  int next_ = 0;
};

/// One row: the first asks and the first batches of a subscription with these settings.
std::string row(std::int64_t max, std::int64_t min) {
  DeterministicRuntime runtime({.seed = 1, .logger = nullptr});
  Seen asked;
  Seen handled;
  const auto numbers = runtime.start<Asked>(std::ref(asked)).value();
  static_cast<void>(runtime.start<Sink>(std::ref(handled), numbers, demand(max, min)).value());
  while (handled.batches.size() < 5 || asked.demands.size() < 5) runtime.step();
  std::ostringstream line;
  line << std::setw(10) << max << std::setw(12) << min << "  ";
  std::string batches;
  for (std::size_t index = 0; index < 5; ++index) batches += concat(" ", handled.batches[index].size());
  line << std::left << std::setw(27) << batches;
  for (std::size_t index = 0; index < 5; ++index) line << " " << asked.demands[index];
  return line.str();
}

TEST(Guide, the_table_of_ask_points_is_true) {
  const std::string table = R"(
max_demand  min_demand   batches                    asks
      1000         500   500 500 500 500 500        1000 500 500 500 500
       100          50   50 50 50 50 50             100 50 50 50 50
       100          80   20 20 20 20 20             100 20 20 20 20
       100          20   80 20 80 80 20             100 80 100 80 100
       100           0   100 100 100 100 100        100 100 100 100 100
        10           9   1 1 1 1 1                  10 1 1 1 1
         1           0   1 1 1 1 1                  1 1 1 1 1
)";
  std::string computed = "\nmax_demand  min_demand   batches                    asks\n";
  for (const auto& [max, min] :
       std::vector<std::pair<int, int>>{{1000, 500}, {100, 50}, {100, 80}, {100, 20}, {100, 0}, {10, 9}, {1, 0}}) {
    computed += row(max, min) + "\n";
  }
  EXPECT_EQ(computed, table);
}

// ---- the guide's code ---------------------------------------------------------------------------------------------

struct Numbers : Producer<Numbers, int> {
  void handle_demand(std::uint64_t count) {
    for (; count != 0; --count) emit(next_++);
  }
  int next_ = 0;
};

struct Even : ProducerConsumer<Even, int, int> {
  void handle_events(const Batch<int>& numbers) {
    for (const int number : numbers) {
      if (number % 2 == 0) emit(number);
    }
  }
};

struct Adder : Consumer<Adder, int> {
  explicit Adder(long& sum) : sum_(sum) {}
  void handle_events(const Batch<int>& numbers) {
    for (const int number : numbers) sum_ += number;
    if (sum_ > 1000) stop();
  }
  long& sum_;
};

TEST(Guide, a_pipeline_of_three_stages_runs_under_virtual_time) {
  DeterministicRuntime runtime;
  long sum = 0;
  const auto numbers = runtime.start<Numbers>().value();
  const auto even = runtime.start<Even>().value();
  const auto adder = runtime.start<Adder>(std::ref(sum)).value();
  ASSERT_TRUE(subscribe_blocking(adder, even, {.max_demand = 10}));
  ASSERT_TRUE(subscribe_blocking(even, numbers, {.max_demand = 10}));
  runtime.run_until_idle();
  EXPECT_EQ(runtime.exit_reason(adder), ExitReason::normal);
  EXPECT_GT(sum, 1000);
}

TEST(Guide, a_drain_says_what_is_left) {
  DeterministicRuntime runtime;
  long sum = 0;
  const auto numbers = runtime.start<Numbers>().value();
  const auto even = runtime.start<Even>().value();
  const auto adder = runtime.start<Adder>(std::ref(sum)).value();
  ASSERT_TRUE(subscribe_blocking(even, numbers));  // and nobody to even
  runtime.run_until_idle();
  const DrainReport report = drain_blocking(runtime, {numbers, even, adder}, 5s).value();
  if (!report.drained()) std::puts(report.to_string().c_str());  // what is left, and where
  EXPECT_EQ(report.stages[0].why, "drained");
  EXPECT_EQ(report.stages[1].why, "at the deadline: 1000 were not handled");
}

Async<Result<long>> add_up(ServerRef<Numbers> numbers, long limit) {
  Stream<int> reading = stream(numbers).value();
  long sum = 0;
  while (sum < limit) {
    Result<std::optional<int>> number = co_await reading.next();
    if (!number) co_return number.error();  // the producer crashed
    if (!*number) break;                    // it ended
    sum += **number;
  }
  co_return sum;
}

TEST(Guide, a_stream_is_read_inside_a_process) {
  DeterministicRuntime runtime;
  const auto numbers = runtime.start<Numbers>().value();
  EXPECT_EQ(runtime.run(add_up(numbers, 10)).value(), 10);
  runtime.run_until_idle();
  EXPECT_EQ(runtime.process_count(), 1U);
}

TEST(Guide, pushes_are_queued_and_answered) {
  DeterministicRuntime runtime;
  const PushOptions options{.unheard = {.rule = PushRule::discard}};  // nobody there: nobody interested
  const auto news = runtime.start<PushProducer<std::string>>(options).value();
  async_notify(news, "lost");
  Stream<std::string> reading = stream(news).value();
  runtime.spawn([news]() -> Async<void> {
    co_await this_process::sleep(1s);
    std::string text = "heard";
    Result<void> sent = co_await sync_notify(news, std::move(text));  // resumes when it has left
    EXPECT_TRUE(sent);
  });
  EXPECT_EQ(reading.next_batch_blocking().value().front(), "heard");
}

/// Waits for a producer that is not there yet.
struct Listener : Consumer<Listener, int> {
  explicit Listener(long& sum) : sum_(sum) {}
  void init() {
    const Name<Numbers> numbers(runtime(), "numbers");
    subscribe_to(numbers, {.resubscribe = RestartBackoff{.initial = 50ms, .max = 5s}}).value();
  }
  void handle_events(const Batch<int>& numbers) {
    for (const int number : numbers) sum_ += number;
    stop();
  }
  long& sum_;
};

TEST(Guide, a_subscription_by_name_waits_for_its_producer) {
  World world;
  long sum = 0;
  const auto listener = world.runtime.start<Listener>(std::ref(sum)).value();
  world.runtime.advance(1h);
  EXPECT_FALSE(world.runtime.exit_reason(listener));
  EXPECT_TRUE(world.runtime.start_with<Numbers>({.name = "numbers"}));
  world.runtime.advance(5s);
  EXPECT_EQ(world.runtime.exit_reason(listener), ExitReason::normal);
  EXPECT_EQ(sum, 500 * 499 / 2);
}

}  // namespace
}  // namespace dagverk
