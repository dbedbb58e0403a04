// Overflow rules of subscriptions: who has one holds up nobody, keeps its order, and has every drop counted.

#include "../stages.hpp"

#include "dagverk/base/random.hpp"
#include "dagverk/stage/spill.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <deque>
#include <map>
#include <ranges>
#include <string>
#include <sys/resource.h>
#include <utility>

namespace dagverk {
namespace {

using namespace stage_tests;
using namespace std::chrono_literals;

SubscribeOptions<int> with_rule(SubscribeOptions<int> options, Overflow<int> rule) {
  options.overflow = std::move(rule);
  options.cancel = CancelMode::temporary;
  return options;
}

/// The figures of the edge whose name contains `text`, by the number of the consumer that it ends at.
EdgeInfo edge_to(World& world, Pid consumer) {
  const std::string end = concat("#", consumer.number());
  for (EdgeInfo& edge : world.runtime.snapshot().edges) {
    if (edge.name.ends_with(end)) return edge;
  }
  return {};
}
std::uint64_t drops(const EdgeInfo& edge, DropReason reason) {
  for (const DropCount& drop : edge.drops) {
    if (drop.reason == reason) return drop.count;
  }
  return 0;
}

/// A broadcasting source, a consumer that waits for nobody and one that is asked by hand and has a rule.
struct Pair {
  explicit Pair(Overflow<int> rule) {
    source.emplace(world.source(std::ref(made), true));
    fast_sink.emplace(world.sink(fast, ProducerRef<int>(*source), demand(1000, 500)));
    slow_sink.emplace(world.sink(slow, ProducerRef<int>(*source), with_rule(manual(), std::move(rule))));
  }
  void push(Ints events) { world.cast(*source, Source::Push{std::move(events)}); }
  void ask(std::uint64_t count) { world.cast(*slow_sink, Sink::Ask{count}); }
  [[nodiscard]] EdgeInfo edge() { return edge_to(world, slow_sink->pid()); }

  World world;
  Seen made, fast, slow;
  std::optional<ServerRef<Source>> source;
  std::optional<ServerRef<Sink>> fast_sink, slow_sink;
};

TEST(Overflow, keep_newest_never_holds_up_another_consumer_and_keeps_the_last) {
  Pair pair(KeepNewest{3});
  pair.push(ints(1, 10));
  EXPECT_EQ(pair.fast.events(), ints(1, 10));
  EXPECT_TRUE(pair.slow.batches.empty());

  pair.ask(100);
  EXPECT_EQ(pair.slow.events(), ints(8, 10));
  pair.push(ints(11, 20));  // with open demand nothing is dropped, whatever the bound is
  EXPECT_EQ(pair.slow.events(), (Ints{8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20}));

  const EdgeInfo edge = pair.edge();
  EXPECT_EQ(drops(edge, DropReason::overflow), 7U);
  EXPECT_EQ(edge.dropped, 7U);
  EXPECT_EQ(edge.delivered, 13U);
  EXPECT_EQ(edge.buffered, 0U);
}

TEST(Overflow, keep_oldest_keeps_the_first) {
  Pair pair(KeepOldest{3});
  pair.push(ints(1, 2));
  pair.push(ints(3, 10));
  pair.ask(2);
  EXPECT_EQ(pair.slow.events(), ints(1, 2));
  pair.push(ints(11, 14));
  pair.ask(10);
  EXPECT_EQ(pair.slow.events(), (Ints{1, 2, 3, 11, 12}));
  EXPECT_EQ(drops(pair.edge(), DropReason::overflow), 9U);
  EXPECT_EQ(pair.fast.events(), ints(1, 14));
}

TEST(Overflow, sample_passes_every_nth_and_gives_demand_for_the_others_back) {
  Pair pair(Sample{.every = 4, .interval = {}, .events_max = 100});
  pair.ask(3);
  for (int event = 1; event <= 20; ++event) pair.push({event});
  EXPECT_EQ(pair.slow.events(), (Ints{1, 5, 9}));
  pair.ask(5);
  EXPECT_EQ(pair.slow.events(), (Ints{1, 5, 9, 13, 17}));
  EXPECT_EQ(drops(pair.edge(), DropReason::sampled), 15U);
}

TEST(Overflow, sample_by_interval_passes_the_first_of_each) {
  Pair pair(Sample{.every = 1, .interval = 100ms, .events_max = 100});
  pair.ask(100);
  pair.push({1, 2});
  pair.world.runtime.advance(99ms);
  pair.push({3});
  pair.world.runtime.advance(1ms);
  pair.push({4, 5});
  pair.world.runtime.advance(1s);
  pair.push({6});
  EXPECT_EQ(pair.slow.events(), (Ints{1, 4, 6}));
  EXPECT_EQ(drops(pair.edge(), DropReason::sampled), 3U);
}

TEST(Overflow, coalesce_merges_what_waits_by_key_and_lets_nothing_be_overtaken) {
  const auto tens = [](const int& event) { return event / 10; };
  Pair pair(coalesce<int>(tens, 2));
  pair.push({11, 21, 12, 22, 13});
  pair.push({31});  // a third key: the one whose event is oldest, 22, makes room
  pair.ask(10);
  EXPECT_EQ(pair.slow.events(), (Ints{13, 31}));
  pair.push({41, 42});  // with open demand nothing is merged
  EXPECT_EQ(pair.slow.events(), (Ints{13, 31, 41, 42}));
  EXPECT_EQ(drops(pair.edge(), DropReason::coalesced), 3U);
  EXPECT_EQ(drops(pair.edge(), DropReason::overflow), 1U);
  EXPECT_EQ(pair.fast.events(), (Ints{11, 21, 12, 22, 13, 31, 41, 42}));
}

TEST(Overflow, coalesce_merges_as_it_is_told) {
  const auto one_key = [](const int&) { return 0; };
  Pair pair(coalesce<int>(one_key, 1, [](int& older, int newer) { older += newer; }));
  pair.push({1, 2, 3, 4});
  pair.ask(1);
  EXPECT_EQ(pair.slow.events(), (Ints{10}));
}

TEST(Overflow, a_rule_that_throws_ends_its_own_subscription_alone) {
  Pair pair(coalesce<int>(
      [](const int& event) {
        if (event == 3) throw std::runtime_error("no key");
        return event;
      },
      10));
  pair.push(ints(1, 5));
  pair.push(ints(6, 7));
  EXPECT_EQ(pair.fast.events(), ints(1, 7));
  ASSERT_EQ(pair.slow.notes.size(), 2U);
  EXPECT_TRUE(pair.slow.notes.back().find("no key") != std::string::npos) << pair.slow.notes.back();
  EXPECT_EQ(pair.source->call_blocking<Source::Consumers>().value(), 1U);
}

TEST(Overflow, a_bound_of_zero_refuses_the_subscription_and_says_why) {
  Pair pair(KeepNewest{0});
  EXPECT_EQ(pair.slow.notes.back(), "end cancel keep_newest: events_max must be 1 or more, got 0");
  pair.push({1});
  EXPECT_EQ(pair.fast.events(), (Ints{1}));
}

TEST(Overflow, a_consumer_that_waits_does_not_hold_up_one_with_a_rule) {
  World world;
  Seen made, waiting, free;
  auto source = world.source(std::ref(made), true);
  auto waiter = world.sink(waiting, ProducerRef<int>(source), manual());
  auto other = world.sink(free, ProducerRef<int>(source), with_rule(demand(10, 5), KeepNewest{5}));
  world.cast(source, Source::Push{ints(1, 8)});
  EXPECT_TRUE(waiting.batches.empty());
  EXPECT_EQ(free.events(), ints(1, 8));
  world.cast(waiter, Sink::Ask{3});
  world.cast(source, Source::Push{ints(9, 10)});
  world.cast(waiter, Sink::Ask{100});
  EXPECT_EQ(waiting.events(), ints(1, 10));
  EXPECT_EQ(free.events(), ints(1, 10));
  EXPECT_EQ(edge_to(world, other.pid()).dropped, 0U);
}

TEST(Overflow, without_waiting_consumers_demand_is_that_of_the_most_eager_and_what_was_buffered_goes_first) {
  World world;
  Seen made, first, second;
  auto source = world.source(std::ref(made), true);
  world.cast(source, Source::Push{ints(1, 4)});  // nobody is there: buffered
  auto eager = world.sink(first, ProducerRef<int>(source), with_rule(demand(10, 5), KeepNewest{10}));
  EXPECT_EQ(first.events(), ints(1, 4));
  world.sink(second, ProducerRef<int>(source), with_rule(demand(4, 2), KeepNewest{2}));
  EXPECT_EQ(made.demands, (std::vector<std::uint64_t>{6}));
  world.cast(source, Source::Push{ints(5, 10)});
  EXPECT_EQ(first.events(), ints(1, 10));
  EXPECT_EQ(second.events(), ints(5, 10));  // 4 asked for, 2 waited until it asked again
  EXPECT_EQ(source.call_blocking<Source::Buffered>().value(), 0U);
  world.cast(eager, Sink::End{ExitReason::normal});
}

TEST(Overflow, a_selector_and_a_rule_work_together) {
  SubscribeOptions<int> even = with_rule(manual(), KeepNewest{2});
  even.selector = [](const int& event) { return event % 2 == 0; };
  World world;
  Seen made, slow;
  auto source = world.source(std::ref(made), true);
  auto sink = world.sink(slow, ProducerRef<int>(source), even);
  world.cast(source, Source::Push{ints(1, 9)});
  world.cast(sink, Sink::Ask{1});
  world.cast(sink, Sink::Ask{5});
  EXPECT_EQ(slow.events(), (Ints{6, 8}));
  EXPECT_EQ(drops(edge_to(world, sink.pid()), DropReason::overflow), 2U);
}

TEST(Overflow, with_the_demand_dispatcher_it_takes_what_nobody_asked_for) {
  World world;
  Seen made, waiting, free;
  auto source = world.source(std::ref(made));
  auto waiter = world.sink(waiting, ProducerRef<int>(source), manual());
  auto sink = world.sink(free, ProducerRef<int>(source), with_rule(manual(), KeepNewest{3}));
  world.cast(waiter, Sink::Ask{2});
  world.cast(source, Source::Push{ints(1, 8)});
  EXPECT_EQ(waiting.events(), ints(1, 2));
  world.cast(sink, Sink::Ask{4});
  EXPECT_EQ(free.events(), ints(6, 8));
  EXPECT_EQ(made.demands, (std::vector<std::uint64_t>{2, 1}));  // what its queue gave was not asked for again
  world.cast(source, Source::Push{ints(9, 9)});
  EXPECT_EQ(free.events(), ints(6, 9));
}

TEST(Overflow, sampling_behind_the_demand_dispatcher_asks_again_for_what_it_dropped) {
  World world;
  Seen seen;
  auto counter = world.runtime.start<Counter>().value();
  auto sink = world.sink(seen, ProducerRef<int>(counter), with_rule(manual(), Sample{.every = 10}));
  world.cast(sink, Sink::Ask{3});
  EXPECT_EQ(seen.events(), (Ints{0, 10, 20}));
}

TEST(Overflow, what_waits_for_a_consumer_that_leaves_is_counted) {
  Pair pair(KeepNewest{3});
  pair.push(ints(1, 5));
  pair.ask(1);
  const auto held = pair.edge();  // snapshots list an edge for as long as one of its stages knows it
  EXPECT_EQ(held.buffered, 2U);
  EXPECT_EQ(held.dropped, 2U);
  pair.world.cast(*pair.slow_sink, Sink::Cancel{ExitReason::normal});
  EXPECT_EQ(pair.slow.events(), (Ints{3}));
  pair.push(ints(6, 7));
  EXPECT_EQ(pair.fast.events(), ints(1, 7));
}

TEST(Overflow, spill_loses_nothing_while_the_file_has_room) {
  Pair pair(spill<int>({.events_in_memory = 3}));
  pair.push(ints(1, 100));
  EXPECT_EQ(pair.fast.events(), ints(1, 100));
  pair.ask(2);
  pair.push(ints(101, 120));
  pair.ask(1000);
  EXPECT_EQ(pair.slow.events(), ints(1, 120));
  pair.push(ints(121, 125));
  EXPECT_EQ(pair.slow.events(), ints(1, 125));
  EXPECT_EQ(pair.edge().dropped, 0U);
}

TEST(Overflow, a_full_spill_file_gives_up_the_oldest_or_the_newest_and_uses_its_room_again) {
  for (const BufferKeep keep : {BufferKeep::newest, BufferKeep::oldest}) {
    Pair pair(spill<int>({.bytes_max = 43, .keep = keep, .events_in_memory = 1}));  // 5 events of 8 bytes, and a rest
    int next = 1;
    for (int round = 0; round < 7; ++round) {
      const std::size_t before = pair.slow.events().size();
      pair.push(ints(next, next + 9));
      pair.ask(6);
      const Ints all = pair.slow.events();
      const Ints got(all.begin() + static_cast<std::ptrdiff_t>(before), all.end());
      EXPECT_EQ(got, keep == BufferKeep::oldest ? ints(next, next + 5)
                                                : (Ints{next, next + 5, next + 6, next + 7, next + 8, next + 9}));
      next += 10;
    }
    EXPECT_EQ(drops(pair.edge(), DropReason::overflow), 28U);
  }
}

TEST(Overflow, spilled_events_of_any_length_come_back) {
  SpillOptions options{.bytes_max = 1000, .events_in_memory = 1};
  const EventCodec<int> wide{
      [](const int& event, std::string& bytes) { bytes = std::string(static_cast<std::size_t>(event), 'x'); },
      [](std::string_view bytes) -> Result<int> {
        if (bytes.size() == 13) return Error(ErrorCode::malformed, "unlucky");
        return static_cast<int>(bytes.size());
      }};
  Pair pair(spill<int>(options, wide));
  for (int round = 0; round < 20; ++round) {
    pair.push(ints(10, 20));
    pair.ask(10);
  }
  EXPECT_EQ(drops(pair.edge(), DropReason::spill_failed), 20U);
  Ints expected;
  for (int round = 0; round < 20; ++round) {
    for (const int event : ints(10, 20)) {
      if (event != 13) expected.push_back(event);
    }
  }
  EXPECT_EQ(pair.slow.events(), expected);
  EXPECT_EQ(pair.world.log.count("stage.spill_failed"), 20U);
  pair.push({2000, 2000});  // the first waits in memory, the second never fits
  EXPECT_EQ(drops(pair.edge(), DropReason::overflow), 1U);
}

TEST(SpillFile, it_gives_back_what_was_put_in_whatever_the_lengths_are) {
  // Read ahead across its ring's seam, around drops, and past entries longer than what is read at once.
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Random random(seed);
    detail::SpillFile file = std::move(*detail::SpillFile::make("", 200'000));
    std::deque<std::string> expected;
    std::string entry;
    for (int step = 0; step < 400; ++step) {
      detail::SpillFile::Block block;
      for (std::uint64_t count = random.below(20); count != 0; --count) {
        const std::size_t size = random.below(10) == 0 ? random.below(100'000) : random.below(50);
        if (!file.fits_behind(block, size)) break;
        expected.emplace_back(size, static_cast<char>('a' + random.below(26)));
        block.add(expected.back());
      }
      ASSERT_TRUE(file.append(block));
      for (std::uint64_t count = random.below(20); count != 0 && !expected.empty(); --count) {
        if (random.below(4) == 0) {
          ASSERT_TRUE(file.drop_oldest());
        } else {
          ASSERT_TRUE(file.take(entry));
          ASSERT_EQ(entry, expected.front());
        }
        expected.pop_front();
      }
      if (random.below(50) == 0) {
        ASSERT_EQ(file.clear(), expected.size());
        expected.clear();
      }
      ASSERT_EQ(file.count(), expected.size());
    }
  }
}

TEST(Overflow, a_spill_file_that_cannot_be_made_refuses_the_subscription) {
  Pair pair(spill<int>({.directory = "/nowhere/at/all"}));
  EXPECT_EQ(pair.slow.notes.back(), "end cancel spill: making a file in /nowhere/at/all: No such file or directory");
  pair.push({1});
  EXPECT_EQ(pair.fast.events(), (Ints{1}));
}

TEST(Overflow, a_spill_file_that_cannot_be_written_costs_its_own_consumer_some_events) {
  Pair pair(spill<int>({.events_in_memory = 1}));
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = 16;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  pair.push(ints(1, 10));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  static_cast<void>(std::signal(SIGXFSZ, handler));
  EXPECT_EQ(pair.fast.events(), ints(1, 10));
  pair.push({11});
  pair.ask(100);
  EXPECT_EQ(pair.slow.events(), (Ints{1, 11}));  // those in between were one write
  EXPECT_EQ(drops(pair.edge(), DropReason::spill_failed), 9U);
  EXPECT_EQ(pair.world.log.count("stage.spill_failed"), 1U);
}

/// A rule of one's own: keeps the greatest event.
class GreatestQueue final : public OverflowQueue<int> {
 public:
  void push(Batch<int> events, DropCounter& dropped) override {
    for (const int event : events) {
      if (greatest_) dropped.add(DropReason::overflow, 1);
      greatest_ = std::max(greatest_.value_or(event), event);
    }
  }
  Batch<int> take(std::size_t /*count*/, DropCounter& /*dropped*/) override {
    return make_batch({*std::exchange(greatest_, std::nullopt)});
  }
  [[nodiscard]] std::size_t size() const noexcept override { return greatest_ ? 1 : 0; }

 private:
  std::optional<int> greatest_;
};

TEST(Overflow, a_rule_of_ones_own_is_a_queue) {
  const auto make = [](const Clock&) -> Result<std::unique_ptr<OverflowQueue<int>>> {
    return std::make_unique<GreatestQueue>();
  };
  Pair pair(Overflow<int>("greatest", make));
  pair.push({3, 9, 4});
  pair.ask(1);
  EXPECT_EQ(pair.slow.events(), (Ints{9}));
  EXPECT_EQ(drops(pair.edge(), DropReason::overflow), 2U);
}

}  // namespace
}  // namespace dagverk
