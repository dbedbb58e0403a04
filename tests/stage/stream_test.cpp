// Streams: stages read as ranges and by co_await, ranges as producers, and that nothing is left behind.

#include "dagverk/stage/stream.hpp"

#include "stages.hpp"
#include "support/seed_count.hpp"

#include "dagverk/base/random.hpp"
#include "dagverk/stage/range_producer.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <ranges>

namespace dagverk {
namespace {

using namespace std::chrono_literals;
using namespace stage_tests;

StreamOptions<int> reading(CancelMode mode) {
  return {.cancel = mode, .subscription = {}, .demand = DemandFlow::forward};
}

/// Reads by a loop outside of processes, at most `count` events.
Ints take(Stream<int>& stream, std::size_t count) {
  Ints taken;
  for (const int event : stream.blocking()) {
    taken.push_back(event);
    if (taken.size() == count) break;
  }
  return taken;
}
Ints take_all(Stream<int>& stream) { return take(stream, std::numeric_limits<std::size_t>::max()); }

std::size_t open_edges(const World& world) {
  return static_cast<std::size_t>(std::ranges::count_if(
      world.runtime.snapshot().edges, [](const EdgeInfo& edge) { return edge.name.find("->") != std::string::npos; }));
}

TEST(Stream, CC_GSM_001_taking_ten_of_a_counter_gives_0_to_9_and_leaves_nothing) {
  World world;
  const auto counter = world.runtime.start<Counter>().value();
  const std::size_t processes = world.runtime.process_count();
  {
    Stream<int> numbers = stream(counter).value();
    EXPECT_EQ(world.runtime.process_count(), processes) << "nothing happens before the first read";
    EXPECT_EQ(take(numbers, 10), ints(0, 9));
    EXPECT_EQ(world.runtime.process_count(), processes + 1);
  }
  world.run();
  EXPECT_EQ(world.runtime.process_count(), processes);
  EXPECT_EQ(open_edges(world), 0U);
}

TEST(Stream, an_open_one_gets_what_is_emitted_before_its_first_read) {
  World world;
  Seen made;
  const auto source = world.source(std::ref(made), ProducerOptions{.buffer_size = 0});
  Stream<int> lazy = stream(source, {.timeout = 1s}).value();
  Stream<int> open = stream(source, {.timeout = 1s}).value();
  open.open();
  world.run();
  world.cast(source, Source::Push{{1, 2, 3}});
  EXPECT_EQ(take_all(open), ints(1, 3));
  EXPECT_EQ(take_all(lazy), Ints());
}

TEST(Stream, a_read_that_waits_too_long_fails_and_ends_it) {
  World world;
  Seen made;
  const auto source = world.source(std::ref(made));
  const std::size_t processes = world.runtime.process_count();
  Stream<int> numbers = stream(source, {.timeout = 50ms}).value();
  for (int event = 1; event <= 3; ++event) {
    world.cast(source, Source::Push{{event}});
    EXPECT_EQ(take(numbers, 1), (Ints{event})) << "each read waits for itself";
    world.runtime.advance(1s);  // between reads nobody waits
  }
  EXPECT_EQ(take_all(numbers), Ints());
  EXPECT_EQ(numbers.result().error().code(), ErrorCode::timeout);
  world.run();
  EXPECT_EQ(world.runtime.process_count(), processes);
  EXPECT_EQ(open_edges(world), 0U);
}

/// Reads ten events in a process that has other things in its mailbox, and notes everything that reaches it.
class Reader : public GenServer<Reader> {
 public:
  struct Read {
    std::size_t count;
  };
  struct Word {
    std::string text;
  };
  Reader(Seen& seen, ServerRef<Counter> counter, StreamOptions<int> options = {})
      : seen_(seen), counter_(counter), options_(std::move(options)) {}

  Async<void> handle_cast(Read read) {
    Stream<int> numbers = stream(counter_, options_).value();
    Ints taken;
    while (taken.size() < read.count) {
      Result<std::optional<int>> event = co_await numbers.next();
      if (!event || !*event) break;
      taken.push_back(**event);
    }
    Async<Result<void>> closing = numbers.close();
    Result<void> closed = co_await closing;
    seen_.batches.push_back(std::move(taken));
    seen_.notes.emplace_back(closed ? "read" : "not closed");
  }
  void handle_cast(const Word& word) { seen_.notes.push_back(word.text); }
  void handle_cast(Pid watched) { static_cast<void>(this_process::monitor(watched)); }
  void handle_info(const Down& down) { seen_.notes.push_back(concat("down ", down.reason.to_string())); }

 private:
  Seen& seen_;
  ServerRef<Counter> counter_;
  StreamOptions<int> options_;
};

TEST(Stream, CC_GSM_002_max_demand_100_take_300_leaves_the_mailbox_clean) {
  World world;
  Seen seen;
  const auto counter = world.runtime.start<Counter>().value();
  const StreamOptions<int> options{.cancel = CancelMode::transient, .subscription = demand(100, 50)};
  const auto reader = world.runtime.start<Reader>(std::ref(seen), counter, options).value();
  const std::size_t processes = world.runtime.process_count();
  world.cast(reader, Reader::Read{300});
  EXPECT_EQ(seen.events(), ints(0, 299));
  EXPECT_EQ(seen.notes, (std::vector<std::string>{"read"}));
  for (const ProcessInfo& process : world.runtime.snapshot().processes) EXPECT_EQ(process.mailbox_depth, 0U);
  EXPECT_EQ(world.runtime.process_count(), processes);
}

TEST(Stream, CC_GSM_003_other_messages_and_downs_wait_and_are_still_there_afterwards) {
  World world;
  Seen seen;
  const auto counter = world.runtime.start<Counter>().value();
  const auto other = world.runtime.start<Counter>().value();
  const auto reader = world.runtime.start<Reader>(std::ref(seen), counter).value();
  world.cast(reader, other.pid());
  reader.cast(Reader::Read{10});
  reader.cast(Reader::Word{"first"});
  reader.cast(Reader::Word{"second"});
  world.runtime.exit(other.pid(), ExitReason::custom("enough"));
  world.run();
  EXPECT_EQ(seen.events(), ints(0, 9));
  std::vector<std::string> notes = seen.notes;
  const auto first = std::ranges::find(notes, "first");
  EXPECT_LT(std::ranges::find(notes, "read"), first);
  EXPECT_LT(first, std::ranges::find(notes, "second"));
  std::ranges::sort(notes);
  EXPECT_EQ(notes, (std::vector<std::string>{"down enough", "first", "read", "second"}));
}

TEST(Stream, CC_GSM_005_a_dead_producer_fails_a_permanent_stream_with_noproc) {
  World world;
  const auto counter = world.runtime.start<Counter>().value();
  ASSERT_TRUE(world.runtime.stop(counter.pid()));
  for (const CancelMode mode : {CancelMode::permanent, CancelMode::transient}) {
    Stream<int> numbers = stream(counter, reading(mode)).value();
    EXPECT_TRUE(take(numbers, 10).empty());
    ASSERT_TRUE(numbers.end_reason().has_value());
    EXPECT_EQ(*numbers.end_reason(), ExitReason::noproc);
    EXPECT_EQ(numbers.result().error().code(), ErrorCode::no_process);
  }
  Stream<int> numbers = stream(counter, reading(CancelMode::temporary)).value();
  EXPECT_TRUE(take(numbers, 10).empty());
  EXPECT_TRUE(numbers.result());
  world.run();
  EXPECT_EQ(world.runtime.process_count(), 0U);
}

/// Wants no subscribers, and may end when one comes.
class Hermit : public Producer<Hermit, int> {
 public:
  explicit Hermit(bool ends) : ends_(ends) {}
  void handle_subscribe(const SubscriptionInfo& info) { this->self().cast(info.id); }
  void handle_cast(SubscriptionId id) {
    cancel_consumer(id, ExitReason::custom("no_thanks"));
    if (ends_) stop(ExitReason::custom("gone"));
  }

 private:
  bool ends_;
};

TEST(Stream, CC_GSM_006_a_producer_that_cancels_and_ends_fails_a_permanent_stream_with_its_word) {
  World world;
  const auto hermit = world.runtime.start<Hermit>(true).value();
  Stream<int> numbers = stream(hermit, reading(CancelMode::permanent)).value();
  EXPECT_TRUE(take(numbers, 10).empty());
  EXPECT_EQ(numbers.end_reason().value().to_string(), ExitReason::custom("no_thanks").to_string());
  world.run();
  EXPECT_EQ(world.runtime.process_count(), 0U);
}

TEST(Stream, CC_GSM_007_a_producer_that_cancels_and_lives_fails_a_permanent_stream_with_its_word) {
  World world;
  const auto hermit = world.runtime.start<Hermit>(false).value();
  Stream<int> numbers = stream(hermit, reading(CancelMode::permanent)).value();
  EXPECT_TRUE(take(numbers, 10).empty());
  EXPECT_EQ(numbers.end_reason().value().to_string(), ExitReason::custom("no_thanks").to_string());
  EXPECT_EQ(numbers.result().error().code(), ErrorCode::exited);
  world.run();
  EXPECT_EQ(world.runtime.process_count(), 1U);
}

TEST(Stream, CC_GSM_009_ten_of_an_endless_range_leave_its_producer_alive) {
  World world;
  const auto endless = range_producer(world.runtime, std::views::iota(0)).value();
  {
    Stream<int> numbers = stream(endless, reading(CancelMode::transient)).value();
    EXPECT_EQ(take(numbers, 10), ints(0, 9));
  }
  world.run();
  EXPECT_TRUE(RuntimeBase::alive(endless.pid()));
  EXPECT_EQ(world.runtime.process_count(), 1U);
}

TEST(Stream, CC_GSM_010_a_range_of_ten_is_read_to_its_end_and_its_producer_ends) {
  World world;
  const auto ten = range_producer(world.runtime, std::views::iota(0, 10)).value();
  Stream<int> numbers = stream(ten, reading(CancelMode::transient)).value();
  EXPECT_EQ(take_all(numbers), ints(0, 9));
  EXPECT_TRUE(numbers.result());
  world.run();
  EXPECT_EQ(world.runtime.exit_reason(ten), ExitReason::normal);
  EXPECT_EQ(world.runtime.process_count(), 0U);
  EXPECT_TRUE(take_all(numbers).empty()) << "an ended stream stays ended";
}

TEST(Stream, CC_GSM_011_bad_demand_is_an_error_when_the_stream_is_built) {
  World world;
  const auto counter = world.runtime.start<Counter>().value();
  for (const auto& asked : {demand(0, 0), demand(-1, 0), demand(10, 10), demand(10, -1)}) {
    const auto built = stream(counter, StreamOptions<int>{.cancel = CancelMode::transient, .subscription = asked});
    ASSERT_FALSE(built);
    EXPECT_EQ(built.error().code(), ErrorCode::invalid_argument);
  }
}

/// Starts a finite producer as its options say, and can be made to crash.
class Parent : public GenServer<Parent> {
 public:
  struct Crash {};
  Parent(ServerRef<RangeProducerOf<std::ranges::iota_view<int, int>>>& child, bool link) : child_(child), link_(link) {}
  Async<void> init() {
    const RangeProducerOptions options{.name = {}, .link = link_, .last_cancel = {}, .producer = {}};
    auto started = co_await range_producer(std::views::iota(0, 3), options);
    child_ = started.value();
  }
  void handle_cast(Crash /*cast*/) { throw std::runtime_error("parent"); }

 private:
  ServerRef<RangeProducerOf<std::ranges::iota_view<int, int>>>& child_;
  bool link_;
};

TEST(Stream, CC_GSM_013_a_producer_that_accumulates_goes_on_unless_the_stream_says_otherwise) {
  for (const DemandFlow flow : {DemandFlow::forward, DemandFlow::accumulate}) {
    World world;
    Seen made;
    auto source = world.source(std::ref(made), ProducerOptions{.demand = DemandFlow::accumulate});
    source.cast(Source::Push{ints(1, 3)});
    Ints taken;
    world.runtime.spawn([&, source]() -> Async<void> {
      const StreamOptions<int> options{.subscription = {}, .demand = flow};
      Stream<int> numbers = stream(source, options).value();
      while (taken.size() < 3) {
        Result<std::optional<int>> event = co_await numbers.next();
        taken.push_back(event.value().value());
      }
    });
    world.run();
    EXPECT_EQ(taken, flow == DemandFlow::forward ? ints(1, 3) : Ints());
    EXPECT_EQ(demand_flow_blocking(source), flow);
  }
}

TEST(RangeProducer, CC_GSM_014_it_is_linked_to_its_starter_unless_told_otherwise) {
  for (const bool link : {true, false}) {
    World world;
    ServerRef<RangeProducerOf<std::ranges::iota_view<int, int>>> child;
    const auto parent = world.runtime.start<Parent>(std::ref(child), link).value();
    world.cast(parent, Parent::Crash{});
    EXPECT_EQ(RuntimeBase::alive(child.pid()), !link);
  }
  EXPECT_TRUE(RangeProducerOptions().link);
}

TEST(RangeProducer, CC_GSM_015_it_is_registered_under_its_name) {
  World world;
  RangeProducerOptions options;
  options.name = "numbers";
  const auto numbers = range_producer(world.runtime, std::views::iota(0, 3), options).value();
  EXPECT_EQ(world.runtime.whereis("numbers"), numbers.pid());
  EXPECT_EQ(range_producer(world.runtime, std::views::iota(0, 3), options).error().code(), ErrorCode::already_exists);
}

TEST(RangeProducer, CC_GSM_017_a_consumer_gets_all_three_then_ends_normal) {
  World world;
  Seen seen;
  const auto three = range_producer(world.runtime, std::views::iota(0, 3)).value();
  const auto sink = world.sink(seen, three, demand(10, 5));
  EXPECT_EQ(seen.events(), ints(0, 2));
  EXPECT_EQ(world.runtime.exit_reason(sink), ExitReason::normal);
  EXPECT_EQ(world.runtime.exit_reason(three), ExitReason::normal);
}

TEST(RangeProducer, CC_GSM_018_demand_of_4_then_2_gives_lists_of_4_and_2) {
  World world;
  Seen seen;
  const auto endless = range_producer(world.runtime, std::views::iota(0)).value();
  const auto sink = world.sink(seen, endless, manual());
  world.cast(sink, Sink::Ask{4});
  world.cast(sink, Sink::Ask{2});
  EXPECT_EQ(seen.batches, (std::vector<Ints>{{0, 1, 2, 3}, {4, 5}}));
}

// ---- ranges -------------------------------------------------------------------------------------------------------

TEST(RangeProducer, elements_are_taken_only_when_they_are_asked_for) {
  World world;
  Seen seen;
  int made = 0;
  const auto squares = range_producer(world.runtime, std::views::iota(1) | std::views::transform([&made](int number) {
                                                       ++made;
                                                       return number * number;
                                                     }))
                           .value();
  const auto sink = world.sink(seen, squares, manual());
  EXPECT_EQ(made, 0);
  world.cast(sink, Sink::Ask{3});
  EXPECT_EQ(made, 3);
  EXPECT_EQ(seen.events(), (Ints{1, 4, 9}));
}

TEST(RangeProducer, a_range_that_throws_ends_it_behind_what_was_taken) {
  World world;
  Seen seen;
  const auto broken = range_producer(world.runtime, std::views::iota(0) | std::views::transform([](int number) {
                                                      if (number == 5) throw std::runtime_error("five");
                                                      return number;
                                                    }))
                          .value();
  const auto sink = world.sink(seen, broken);
  EXPECT_EQ(seen.events(), ints(0, 4));
  EXPECT_EQ(world.runtime.exit_reason(sink).value().message(), "five");
}

TEST(RangeProducer, a_function_is_called_until_it_gives_nothing) {
  World world;
  Seen seen;
  const auto moved = generator_producer(world.runtime, [left = std::make_unique<int>(3)]() -> std::optional<int> {
                       if (*left == 0) return std::nullopt;
                       return (*left)--;
                     }).value();
  const auto sink = world.sink(seen, moved);
  EXPECT_EQ(seen.events(), (Ints{3, 2, 1}));
  EXPECT_EQ(world.runtime.exit_reason(sink), ExitReason::normal);
}

TEST(RangeProducer, it_may_end_with_its_last_consumer) {
  World world;
  Seen seen;
  RangeProducerOptions options;
  options.last_cancel = LastCancel::stop;
  const auto endless = range_producer(world.runtime, std::views::iota(0), options).value();
  const auto first = world.sink(seen, endless, manual());
  const auto second = world.sink(seen, endless, manual());
  world.cast(first, Sink::End{ExitReason::normal});
  EXPECT_TRUE(RuntimeBase::alive(endless.pid()));
  world.cast(second, Sink::End{ExitReason::normal});
  EXPECT_EQ(world.runtime.exit_reason(endless), ExitReason::normal);
}

TEST(RangeProducer, elements_that_can_only_be_moved_come_through) {
  World world;
  const auto owned = generator_producer(world.runtime, [left = 3]() mutable -> std::optional<std::unique_ptr<int>> {
                       if (left == 0) return std::nullopt;
                       return std::make_unique<int>(left--);
                     }).value();
  int sum = 0;
  const Result<int> summed = world.runtime.run([](auto producer, int& total) -> Async<Result<int>> {
    auto numbers = stream(producer).value();
    for (;;) {
      auto event = co_await numbers.next();
      if (!event) co_return event.error();
      if (!*event) co_return total;
      total += ***event;
    }
  }(owned, sum));
  EXPECT_EQ(summed.value(), 6);
}

// ---- streams ------------------------------------------------------------------------------------------------------

TEST(Stream, it_asks_for_a_part_when_the_next_part_is_read) {
  World world;
  Seen seen;
  const auto source = world.source(std::ref(seen));
  Stream<int> numbers = stream(source, {.cancel = CancelMode::transient, .subscription = demand(4, 2)}).value();
  source.cast(Source::Push{ints(1, 20)});
  EXPECT_EQ(numbers.next_batch_blocking().value().size(), 2U);
  world.run();
  EXPECT_EQ(seen.demands, (std::vector<std::uint64_t>{}));  // four of the twenty were asked for, from the buffer
  const std::size_t left = source.call_blocking<Source::Buffered>().value();
  EXPECT_EQ(left, 16U);
  EXPECT_EQ(numbers.next_batch_blocking().value().size(), 2U);
  world.run();
  EXPECT_EQ(source.call_blocking<Source::Buffered>().value(), 14U);
}

TEST(Stream, several_producers_end_one_by_one) {
  World world;
  const auto low = range_producer(world.runtime, std::views::iota(0, 50)).value();
  const auto high = range_producer(world.runtime, std::views::iota(100, 120)).value();
  Stream<int> both = stream<int>({low, high}).value();
  Ints all = take_all(both);
  EXPECT_TRUE(both.result());
  Ints lows;
  Ints highs;
  std::ranges::partition_copy(all, std::back_inserter(lows), std::back_inserter(highs),
                              [](int number) { return number < 100; });
  EXPECT_EQ(lows, ints(0, 49));
  EXPECT_EQ(highs, ints(100, 119));
}

TEST(Stream, a_crashing_producer_fails_it_behind_its_events_or_is_left_out) {
  for (const CancelMode mode : {CancelMode::permanent, CancelMode::transient, CancelMode::temporary}) {
    SCOPED_TRACE(static_cast<int>(mode));
    World world;
    Seen seen;
    const auto crashing = world.source(std::ref(seen));
    const auto healthy = world.source(std::ref(seen));
    Stream<int> both = stream<int>({crashing, healthy}, reading(mode)).value();
    crashing.cast(Source::Push{{1}});
    EXPECT_EQ(both.next_batch_blocking().value().front(), 1);
    crashing.cast(Source::Push{ints(2, 3)});
    crashing.cast(Source::Crash{});  // emits -1 before
    world.run();
    if (mode == CancelMode::temporary) {
      healthy.cast(Source::Push{{4}});
      healthy.cast(Source::End{ExitReason::normal});
      EXPECT_EQ(take_all(both), (Ints{2, 3, -1, 4}));
      EXPECT_TRUE(both.result());
    } else {
      EXPECT_EQ(take_all(both), (Ints{2, 3, -1}));
      EXPECT_EQ(both.result().error().code(), ErrorCode::exited);
      EXPECT_EQ(both.end_reason().value().message(), "source on fire");
    }
    world.run();
    EXPECT_EQ(open_edges(world), 0U);
  }
}

TEST(Stream, a_permanent_stream_fails_even_with_normal) {
  World world;
  const auto ten = range_producer(world.runtime, std::views::iota(0, 10)).value();
  Stream<int> numbers = stream(ten, reading(CancelMode::permanent)).value();
  EXPECT_EQ(take_all(numbers), ints(0, 9));
  EXPECT_EQ(numbers.end_reason(), ExitReason::normal);
  EXPECT_FALSE(numbers.result());
}

TEST(Stream, a_loop_that_is_left_can_be_gone_on_with) {
  World world;
  const auto ten = range_producer(world.runtime, std::views::iota(0, 10)).value();
  Stream<int> numbers = stream(ten).value();
  EXPECT_EQ(take(numbers, 3), ints(0, 2));
  EXPECT_EQ(take(numbers, 3), ints(3, 5));
  Stream<int> moved = std::move(numbers);
  EXPECT_EQ(take_all(moved), ints(6, 9));
}

TEST(Stream, closing_waits_until_nothing_is_left) {
  World world;
  Seen seen;
  const auto source = world.source(std::ref(seen));
  Stream<int> numbers = stream(source).value();
  source.cast(Source::Push{ints(1, 10)});
  EXPECT_EQ(take(numbers, 1), ints(1, 1));
  ASSERT_TRUE(numbers.close_blocking());
  EXPECT_EQ(source.call_blocking<Source::Consumers>().value(), 0U);
  EXPECT_EQ(seen.notes.back(), "end cancel normal");
  EXPECT_TRUE(take_all(numbers).empty());
  world.run();
  EXPECT_EQ(world.runtime.process_count(), 1U);
}

TEST(Stream, it_ends_with_the_process_that_reads_it) {
  World world;
  Seen seen;
  const auto source = world.source(std::ref(seen));  // never emits
  const Pid reader = world.runtime.spawn([source]() -> Async<void> {
    Stream<int> numbers = stream(source).value();
    Result<std::optional<int>> event = co_await numbers.next();
    static_cast<void>(event);
  });
  world.run();
  EXPECT_EQ(source.call_blocking<Source::Consumers>().value(), 1U);
  world.runtime.exit(reader, ExitReason::kill);
  world.run();
  EXPECT_EQ(source.call_blocking<Source::Consumers>().value(), 0U);
  EXPECT_EQ(world.runtime.process_count(), 1U);
}

TEST(Stream, blocking_inside_a_process_is_refused) {
  World world;
  const auto counter = world.runtime.start<Counter>().value();
  ErrorCode code{};
  world.runtime.spawn([&] {
    Stream<int> numbers = stream(counter).value();
    for (const int event : numbers.blocking()) static_cast<void>(event);
    code = numbers.result().error().code();
  });
  world.run();
  EXPECT_EQ(code, ErrorCode::wrong_thread);
  EXPECT_EQ(world.runtime.process_count(), 1U);
}

// Random producers that end, crash or go on, random demand, read in parts and left at random: each producer's events
// come in order and without a gap, and nothing is left behind.
TEST(Stream, each_producers_events_come_in_order_and_nothing_is_left_under_every_seed) {
  for (std::uint64_t seed = 1; seed <= seed_count(3000); ++seed) {
    SCOPED_TRACE(concat("seed ", seed));
    DeterministicRuntime runtime({.seed = seed, .logger = nullptr});
    Random random(seed);
    std::map<int, int> sizes;
    std::vector<ProducerRef<int>> producers;
    for (int number = 0; number < 1 + static_cast<int>(random.below(3)); ++number) {
      const int first = number * 1000;
      const int size = static_cast<int>(random.below(60));
      sizes[number] = size;
      producers.emplace_back(range_producer(runtime, std::views::iota(first, first + size)).value());
    }
    const auto max = static_cast<std::int64_t>(1 + random.below(20));
    const auto min = static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(max)));
    const bool whole = random.below(2) == 0;
    std::map<int, int> next;
    {
      Stream<int> numbers =
          stream(producers, {.cancel = CancelMode::transient, .subscription = demand(max, min)}).value();
      for (const int event : numbers.blocking()) {
        ASSERT_EQ(event % 1000, next[event / 1000]++);
        if (!whole && random.below(20) == 0) break;
      }
      ASSERT_TRUE(numbers.result());
    }
    if (whole) {
      for (const auto& [number, size] : sizes) ASSERT_EQ(next[number], size);
    }
    runtime.run_until_idle();
    for (const ProducerRef<int>& producer : producers) runtime.exit(producer.pid(), ExitReason::kill);
    runtime.run_until_idle();
    ASSERT_EQ(runtime.process_count(), 0U);
  }
}

}  // namespace
}  // namespace dagverk
