// The producer that is pushed events: what leaves at once, what is queued, what is dropped, and who is told.

#include "dagverk/stage/push_producer.hpp"

#include "stages.hpp"
#include "support/seed_count.hpp"

#include "dagverk/base/random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

namespace dagverk {
namespace {

using namespace std::chrono_literals;
using namespace stage_tests;

using Pushes = PushProducer<int>;

/// A process that pushes by `sync_notify`, and notes how each push ended.
void push_in_process(World& world, ServerRef<Pushes> pushes, int event, Seen& seen, Duration timeout = 5s) {
  world.runtime.spawn([=, &seen]() -> Async<void> {
    const Result<void> sent = co_await sync_notify(pushes, int{event}, timeout);
    seen.notes.push_back(concat(event, sent ? " ok" : concat(" ", to_string(sent.error().code()))));
  });
  world.run();
}

TEST(PushProducer, async_pushes_leave_in_order_when_asked_for) {
  World world;
  Seen seen;
  const auto pushes = world.runtime.start<Pushes>().value();
  const auto sink = world.sink(seen, pushes, manual());
  async_notify(pushes, 1);
  async_notify(pushes, make_batch({2, 3, 4}));
  async_notify(pushes, 5);
  world.run();
  EXPECT_TRUE(seen.batches.empty());
  world.cast(sink, Sink::Ask{2});
  EXPECT_EQ(seen.events(), ints(1, 2));
  world.cast(sink, Sink::Ask{10});
  EXPECT_EQ(seen.events(), ints(1, 5));
  async_notify(pushes, 6);
  world.run();
  EXPECT_EQ(seen.events(), ints(1, 6));
}

TEST(PushProducer, sync_notify_resolves_when_the_event_was_dispatched) {
  World world;
  Seen seen;
  Seen pushers;
  const auto pushes = world.runtime.start<Pushes>().value();
  const auto sink = world.sink(seen, pushes, manual());
  for (int event = 1; event <= 3; ++event) push_in_process(world, pushes, event, pushers);
  EXPECT_TRUE(pushers.notes.empty());
  world.cast(sink, Sink::Ask{2});
  std::ranges::sort(pushers.notes);  // two processes wake up, in any order
  EXPECT_EQ(pushers.notes, (std::vector<std::string>{"1 ok", "2 ok"}));
  world.cast(sink, Sink::Ask{2});
  EXPECT_EQ(pushers.notes.size(), 3U);
  push_in_process(world, pushes, 4, pushers);  // there is demand left: at once
  EXPECT_EQ(pushers.notes.back(), "4 ok");
  EXPECT_EQ(seen.events(), ints(1, 4));
  world.cast(sink, Sink::Ask{1});
  EXPECT_TRUE(sync_notify_blocking(pushes, 5));
  world.run();
  EXPECT_EQ(seen.events(), ints(1, 5));
}

TEST(PushProducer, a_sync_notify_that_times_out_leaves_its_event_in_its_place) {
  World world;
  Seen seen;
  Seen pushers;
  const auto pushes = world.runtime.start<Pushes>().value();
  const auto sink = world.sink(seen, pushes, manual());
  push_in_process(world, pushes, 1, pushers, 50ms);
  async_notify(pushes, 2);
  world.runtime.advance(50ms);
  EXPECT_EQ(pushers.notes, (std::vector<std::string>{"1 timeout"}));
  world.cast(sink, Sink::Ask{5});
  EXPECT_EQ(seen.events(), ints(1, 2));
}

PushCounts counts_of(ServerRef<Pushes> pushes) { return pushes.call_blocking<Pushes::Counts>().value(); }

TEST(PushProducer, unheard_events_are_kept_or_dropped_by_the_rule_and_counted) {
  struct Case {
    PushRule rule;
    Ints heard;
    std::uint64_t discarded;
  };
  const std::vector<Case> cases{
      {PushRule::discard, {}, 5},
      {PushRule::keep_newest, {3, 4, 5}, 2},
      {PushRule::keep_oldest, {1, 2, 3}, 2},
      {PushRule::wait, {1, 2, 3}, 2},
  };
  for (const Case& wanted : cases) {
    SCOPED_TRACE(static_cast<int>(wanted.rule));
    World world;
    Seen seen;
    const PushOptions options{.unheard = {.rule = wanted.rule, .size = 3}, .heard = {}};
    const auto pushes = world.runtime.start<Pushes>(options).value();
    for (int event = 1; event <= 5; ++event) async_notify(pushes, event);
    world.run();
    EXPECT_EQ(counts_of(pushes).discarded_unheard, wanted.discarded);
    EXPECT_EQ(counts_of(pushes).queued, wanted.heard.size());
    EXPECT_GE(world.log.count("stage.events_discarded"), 1U);
    world.sink(seen, pushes);
    EXPECT_EQ(seen.events(), wanted.heard);
    EXPECT_EQ(counts_of(pushes).dispatched, wanted.heard.size());
  }
}

TEST(PushProducer, while_heard_the_other_rule_holds) {
  World world;
  Seen seen;
  const PushOptions options{.unheard = {.rule = PushRule::discard},
                            .heard = {.rule = PushRule::keep_oldest, .size = 2}};
  const auto pushes = world.runtime.start<Pushes>(options).value();
  async_notify(pushes, 1);
  world.run();
  const auto sink = world.sink(seen, pushes, manual());
  for (int event = 2; event <= 5; ++event) async_notify(pushes, event);
  world.run();
  const PushCounts counts = counts_of(pushes);
  EXPECT_EQ(counts.discarded_unheard, 1U);
  EXPECT_EQ(counts.discarded_heard, 2U);
  world.cast(sink, Sink::Ask{9});
  EXPECT_EQ(seen.events(), ints(2, 3));
}

TEST(PushProducer, a_dropped_sync_notify_is_refused) {
  World world;
  Seen pushers;
  const PushOptions options{.unheard = {.rule = PushRule::keep_newest, .size = 1}, .heard = {}};
  const auto pushes = world.runtime.start<Pushes>(options).value();
  push_in_process(world, pushes, 1, pushers);
  EXPECT_TRUE(pushers.notes.empty());
  async_notify(pushes, 2);
  world.run();
  EXPECT_EQ(pushers.notes, (std::vector<std::string>{"1 refused"}));
  const PushOptions deaf{.unheard = {.rule = PushRule::discard}, .heard = {}};
  const auto discarding = world.runtime.start<Pushes>(deaf).value();
  push_in_process(world, discarding, 3, pushers);
  EXPECT_EQ(pushers.notes.back(), "3 refused");
}

TEST(PushProducer, with_wait_callers_wait_for_room_in_order_and_no_more_than_the_size) {
  World world;
  Seen seen;
  Seen pushers;
  const PushOptions options{.unheard = {.rule = PushRule::wait, .size = 2},
                            .heard = {.rule = PushRule::wait, .size = 2}};
  const auto pushes = world.runtime.start<Pushes>(options).value();
  for (int event = 1; event <= 5; ++event) push_in_process(world, pushes, event, pushers);
  EXPECT_EQ(pushers.notes, (std::vector<std::string>{"5 refused"}));  // two queued, two waiting
  EXPECT_EQ(counts_of(pushes).queued, 2U);
  EXPECT_EQ(counts_of(pushes).waiting, 2U);
  const auto sink = world.sink(seen, pushes, manual());
  world.cast(sink, Sink::Ask{1});
  EXPECT_EQ(counts_of(pushes).queued, 2U);
  EXPECT_EQ(counts_of(pushes).waiting, 1U);
  world.cast(sink, Sink::Ask{9});
  EXPECT_EQ(seen.events(), ints(1, 4));
  const PushCounts counts = counts_of(pushes);
  EXPECT_EQ(counts.pushed, 5U);
  EXPECT_EQ(counts.dispatched, 4U);
  EXPECT_EQ(counts.queued + counts.waiting, 0U);
}

TEST(PushProducer, demand_of_a_consumer_that_left_does_not_stand_in_the_way_of_the_next) {
  World world;
  Seen first;
  Seen second;
  const auto pushes = world.runtime.start<Pushes>(broadcast_dispatcher<int>()).value();
  const auto leaving = world.sink(first, pushes, demand(10, 5));
  world.cast(leaving, Sink::End{ExitReason::normal});
  async_notify(pushes, make_batch(ints(1, 5)));
  world.run();
  world.sink(second, pushes, demand(10, 5));
  EXPECT_EQ(second.events(), ints(1, 5)) << "the second one's ask answers what the first had left";
  async_notify(pushes, 6);
  world.run();
  EXPECT_EQ(second.events(), ints(1, 6));
}

TEST(PushProducer, move_only_events_are_pushed) {
  struct Keeper : Consumer<Keeper, std::unique_ptr<int>> {
    Keeper(int& sum, ServerRef<PushProducer<std::unique_ptr<int>>> pushes) : sum_(sum), pushes_(pushes) {}
    void init() { subscribe_to(pushes_).value(); }
    void handle_events(Batch<std::unique_ptr<int>> events) {
      for (const std::unique_ptr<int>& event : events.take_events()) sum_ += *event;
    }
    int& sum_;
    ServerRef<PushProducer<std::unique_ptr<int>>> pushes_;
  };
  World world;
  int sum = 0;
  const auto pushes = world.runtime.start<PushProducer<std::unique_ptr<int>>>().value();
  async_notify(pushes, std::make_unique<int>(1));
  world.run();
  static_cast<void>(world.runtime.start<Keeper>(std::ref(sum), pushes).value());
  async_notify(pushes, std::make_unique<int>(2));
  world.run();
  EXPECT_EQ(sum, 3);
}

// Whatever is pushed, asked, joined and left in whatever order: each consumer sees a rising sequence, nothing is sent
// twice, and every push is accounted for.
TEST(PushProducer, every_push_is_dispatched_once_in_order_or_counted_under_every_seed) {
  for (std::uint64_t seed = 1; seed <= seed_count(5000); ++seed) {
    SCOPED_TRACE(concat("seed ", seed));
    DeterministicRuntime runtime({.seed = seed, .logger = nullptr});
    Random random(seed);
    const auto rule = [&] { return static_cast<PushRule>(random.below(4)); };
    const PushOptions options{.unheard = {.rule = rule(), .size = random.below(6)},
                              .heard = {.rule = rule(), .size = random.below(6)}};
    const auto pushes = runtime.start<Pushes>(options).value();
    std::vector<std::unique_ptr<Seen>> seen;
    std::vector<ServerRef<Sink>> sinks;
    Seen pushers;
    int next = 0;
    std::uint64_t syncs = 0;
    for (int move = 0; move < 40; ++move) {
      switch (random.below(6)) {
        case 0: async_notify(pushes, next++); break;
        case 1: {
          const int last = next + static_cast<int>(random.below(4));
          async_notify(pushes, make_batch(ints(next, last)));
          next = last + 1;
          break;
        }
        case 2:
          ++syncs;
          runtime.spawn([&pushers, pushes, event = next++]() -> Async<void> {
            const Result<void> sent = co_await sync_notify(pushes, int{event}, Duration::zero());
            pushers.notes.emplace_back(sent ? "ok" : "refused");
          });
          runtime.run_until_idle();  // so that pushes are numbered in the order in which they come
          break;
        case 3:
          if (sinks.size() < 4) {
            seen.push_back(std::make_unique<Seen>());
            sinks.push_back(runtime.start<Sink>(std::ref(*seen.back()), pushes, manual(CancelMode::temporary)).value());
          }
          break;
        case 4:
          if (!sinks.empty()) sinks[random.below(sinks.size())].cast(Sink::Ask{random.below(5)});
          break;
        default:
          if (!sinks.empty() && random.below(3) == 0) {
            sinks[random.below(sinks.size())].cast(Sink::End{ExitReason::normal});
          }
          break;
      }
      if (random.below(2) == 0) runtime.run_until_idle();
    }
    runtime.run_until_idle();
    const PushCounts counts = counts_of(pushes);
    ASSERT_EQ(counts.pushed, static_cast<std::uint64_t>(next));
    ASSERT_EQ(counts.pushed,
              counts.dispatched + counts.discarded_heard + counts.discarded_unheard + counts.queued + counts.waiting);
    std::vector<int> times(static_cast<std::size_t>(next), 0);
    for (const std::unique_ptr<Seen>& one : seen) {
      const Ints events = one->events();
      ASSERT_TRUE(std::ranges::is_sorted(events));
      for (const int event : events) ASSERT_EQ(++times[static_cast<std::size_t>(event)], 1);
    }
    ASSERT_LE(pushers.notes.size(), syncs);
    // Whoever asks for enough now gets all that is left, and every caller has an answer.
    seen.push_back(std::make_unique<Seen>());
    const auto last = runtime.start<Sink>(std::ref(*seen.back()), pushes, manual(CancelMode::temporary)).value();
    for (const ServerRef<Sink>& sink : sinks) sink.cast(Sink::End{ExitReason::normal});
    runtime.run_until_idle();
    last.cast(Sink::Ask{1000});
    runtime.run_until_idle();
    ASSERT_EQ(counts_of(pushes).queued + counts_of(pushes).waiting, 0U);
    ASSERT_EQ(pushers.notes.size(), syncs);
  }
}

}  // namespace
}  // namespace dagverk
