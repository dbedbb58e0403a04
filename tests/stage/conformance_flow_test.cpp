// GenStage's cases about demand that is accumulated, and about infos among events.

#include "probes.hpp"
#include "support/seed_count.hpp"

#include "dagverk/base/random.hpp"
#include "dagverk/stage/dispatchers/partition.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <utility>
#include <vector>

namespace dagverk {
namespace {

using namespace std::chrono_literals;
using namespace stage_tests;

ProducerOptions accumulating(std::size_t buffer_size = 10'000) {
  return {.buffer_size = buffer_size, .demand = DemandFlow::accumulate};
}

/// Answers each demand with its number.
class Echo : public Producer<Echo, int> {
 public:
  explicit Echo(Seen& seen) : Producer(accumulating()), seen_(seen) {}
  void handle_demand(std::uint64_t count) {
    seen_.demands.push_back(count);
    emit(static_cast<int>(count));
  }

 private:
  Seen& seen_;
};

/// Answers demand a second later, by a coroutine.
class LateCounter : public Producer<LateCounter, int> {
 public:
  explicit LateCounter(Seen& seen) : Producer(accumulating()), seen_(seen) {}
  Async<void> handle_demand(std::uint64_t count) {
    seen_.demands.push_back(count);
    co_await this_process::sleep(1s);
    for (; count != 0; --count) emit(next_++);
  }
  void handle_cast(const Source::Push& push) { emit(make_batch(push.events)); }

 private:
  Seen& seen_;
  int next_ = 0;
};

/// Counts from zero as it is asked, and begins by accumulating when it is told to.
class Gathering : public Producer<Gathering, int> {
 public:
  struct Open {};
  explicit Gathering(DemandFlow flow) : Producer({.demand = flow}) {}
  void handle_demand(std::uint64_t count) {
    emit(make_batch_of(count, [this](std::size_t) { return next_++; }));
  }
  void handle_cast(Open /*open*/) { set_demand(DemandFlow::forward); }

 private:
  int next_ = 0;
};

// ---- demand --------------------------------------------------------------------------------------------------------

TEST(DemandFlow, CC_GDM_002_what_was_emitted_while_accumulating_comes_list_by_list) {
  World world;
  Seen made;
  Seen a;
  Seen b;
  auto source = world.source(std::ref(made), true);
  auto first = world.sink(a, source, demand(10, 5));
  auto second = world.sink(b, source, demand(10, 5));
  set_demand(source, DemandFlow::accumulate);
  world.cast(first, Sink::End{ExitReason::normal});
  world.cast(second, Sink::End{ExitReason::normal});
  for (int event = 1; event <= 4; ++event) world.cast(source, Source::PushEach{{event}});
  world.sink(a, source, demand(10, 5));
  world.sink(b, source, demand(10, 5));
  EXPECT_TRUE(a.batches.empty());
  EXPECT_TRUE(b.batches.empty());
  EXPECT_EQ(demand_flow_blocking(source), DemandFlow::accumulate);
  set_demand(source, DemandFlow::forward);
  world.run();
  EXPECT_EQ(a.batches, (Batches{{1}, {2}, {3}, {4}}));
  EXPECT_EQ(b.batches, a.batches);
  EXPECT_EQ(buffered_count_blocking(source), 0U);
  EXPECT_EQ(demand_flow_blocking(source), DemandFlow::forward);
}

TEST(DemandFlow, CC_GDM_003_nothing_comes_before_forward_when_accumulate_was_set_from_outside) {
  World world;
  Seen seen;
  auto counter = world.runtime.start<Gathering>(DemandFlow::forward).value();
  set_demand(counter, DemandFlow::accumulate);
  world.sink(seen, counter, demand(4, 0), 3);
  EXPECT_TRUE(seen.batches.empty());
  set_demand(counter, DemandFlow::forward);
  world.run();
  EXPECT_EQ(seen.batches, (Batches{ints(0, 3)}));
}

TEST(DemandFlow, CC_GDM_004_accumulate_at_the_start_and_forward_before_anybody_subscribes) {
  World world;
  Seen seen;
  auto counter = world.runtime.start<Gathering>(DemandFlow::accumulate).value();
  world.cast(counter, Gathering::Open{});
  world.sink(seen, counter, demand(4, 0), 3);
  EXPECT_EQ(seen.batches, (Batches{ints(0, 3)}));
}

TEST(DemandFlow, CC_GDM_006_demands_are_passed_on_one_by_one) {
  World world;
  Seen made;
  Seen a;
  Seen b;
  auto echo = world.runtime.start<Echo>(std::ref(made)).value();
  world.sink(a, echo, demand(2, 1));
  world.sink(b, echo, demand(2, 1));
  EXPECT_TRUE(made.demands.empty());
  set_demand(echo, DemandFlow::forward);
  world.runtime.run_until_idle(40);
  ASSERT_GE(made.demands.size(), 3U);
  EXPECT_EQ(made.demands[0], 2U);
  EXPECT_EQ(made.demands[1], 2U);
  EXPECT_EQ(a.batches.at(0), (Ints{2}));
  EXPECT_EQ(b.batches.at(0), (Ints{2}));
  EXPECT_EQ(made.demands[2], 1U);
}

TEST(DemandFlow, CC_GDM_007_accumulated_events_are_not_counted_as_buffered) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made), accumulating());
  world.cast(source, Source::Push{ints(1, 3)});
  auto sink = world.sink(seen, source, manual());
  world.cast(sink, Sink::Ask{2});
  EXPECT_EQ(buffered_count_blocking(source), 0U);
  EXPECT_EQ(stage_status_blocking(source).value().accumulated, 3U);
  EXPECT_TRUE(seen.batches.empty());
  EXPECT_TRUE(made.demands.empty());
  set_demand(source, DemandFlow::forward);
  world.run();
  EXPECT_EQ(seen.batches, (Batches{{1, 2}}));
  EXPECT_EQ(buffered_count_blocking(source), 1U);
  EXPECT_EQ(made.demands, (Counts{2}));  // the ask was put off behind the events, and is passed on as it was
}

TEST(DemandFlow, CC_GDM_008_events_and_demands_are_replayed_in_their_order) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made), accumulating());
  world.cast(source, Source::Push{{1}});
  auto sink = world.sink(seen, source, manual());
  world.cast(sink, Sink::Ask{2});
  world.cast(source, Source::Push{{2, 3}});
  EXPECT_TRUE(seen.batches.empty());
  set_demand(source, DemandFlow::forward);
  world.run();
  EXPECT_EQ(seen.batches, (Batches{{1}, {2}}));
  EXPECT_EQ(made.demands, (Counts{2}));
  EXPECT_EQ(buffered_count_blocking(source), 1U);
}

TEST(DemandFlow, answers_to_replayed_demand_go_behind_what_was_emitted_before) {
  World world;
  Seen seen;
  Seen made;
  auto late = world.runtime.start<LateCounter>(std::ref(made)).value();
  auto sink = world.sink(seen, late, manual());
  world.cast(sink, Sink::Ask{3});
  world.cast(late, Source::Push{{-2, -1}});  // two of the three, before handle_demand can answer
  set_demand(late, DemandFlow::forward);
  world.runtime.advance(2s);
  EXPECT_EQ(made.demands, (Counts{3}));
  EXPECT_EQ(seen.events(), (Ints{-2, -1, 0}));
  world.cast(sink, Sink::Ask{9});
  world.runtime.advance(2s);
  EXPECT_EQ(made.demands, (Counts{3, 7}));  // two of the answer were left over
  EXPECT_EQ(seen.events(), (Ints{-2, -1, 0, 1, 2, 0 + 3, 4, 5, 6, 7, 8, 9}));
}

TEST(DemandFlow, what_is_put_off_is_bounded_like_the_buffer_and_counted) {
  for (const BufferKeep keep : {BufferKeep::newest, BufferKeep::oldest}) {
    World world;
    Seen made;
    Seen seen;
    ProducerOptions options = accumulating(4);
    options.buffer_keep = keep;
    auto source = world.source(std::ref(made), options);
    auto sink = world.sink(seen, source, manual());
    world.cast(sink, Sink::Ask{2});
    world.cast(source, Source::Push{ints(1, 5)});
    world.cast(source, Source::Push{ints(6, 9)});  // two are waited for and four may be kept
    EXPECT_EQ(world.log.count("stage.events_discarded"), 1U);
    EXPECT_EQ(world.log.count("count=3"), 1U);
    set_demand(source, DemandFlow::forward);
    world.cast(sink, Sink::Ask{10});
    EXPECT_EQ(seen.events(), keep == BufferKeep::newest ? ints(4, 9) : ints(1, 6));
  }
}

TEST(DemandFlow, a_stop_during_the_replay_ends_it) {
  class Quitter : public Producer<Quitter, int> {
   public:
    Quitter() : Producer({.demand = DemandFlow::accumulate}) {}
    void handle_cast(const Source::Push& push) { emit(make_batch(push.events)); }
    void handle_demand(std::uint64_t /*count*/) { stop(ExitReason::custom("enough")); }
  };
  World world;
  Seen seen;
  auto quitter = world.runtime.start<Quitter>().value();
  auto sink = world.sink(seen, quitter, manual(CancelMode::temporary));
  world.cast(quitter, Source::Push{{1}});
  world.cast(sink, Sink::Ask{5});
  world.cast(quitter, Source::Push{{2}});
  set_demand(quitter, DemandFlow::forward);
  world.run();
  EXPECT_EQ(seen.events(), (Ints{1}));
  EXPECT_EQ(seen.notes.back(), "end down enough");
}

TEST(DemandFlow, it_may_be_changed_again_and_again_and_nothing_is_overtaken) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  world.sink(seen, source, demand(7, 3));
  int next = 1;
  for (int round = 0; round < 20; ++round) {
    set_demand(source, round % 3 == 0 ? DemandFlow::forward : DemandFlow::accumulate);
    source.cast(Source::PushEach{ints(next, next + round % 4)});
    next += round % 4 + 1;
    if (round % 5 == 0) world.run();
  }
  set_demand(source, DemandFlow::forward);
  world.run();
  EXPECT_EQ(seen.events(), ints(1, next - 1));
}

// ---- infos ---------------------------------------------------------------------------------------------------------

TEST(Infos, CC_GIN_001_a_consumer_handles_both_kinds) {
  World world;
  Seen seen;
  auto sink = world.sink(seen);
  EXPECT_TRUE(sync_info_blocking(sink, Note{"sync"}));
  async_info(sink, Note{"async"});
  world.run();
  EXPECT_EQ(seen.notes, (Notes{"info sync", "info async"}));
}

TEST(Infos, CC_GIN_002_a_stage_in_between_with_nothing_queued_handles_both_at_once) {
  World world;
  Seen made;
  Seen between;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto stage = world.runtime.start<Multiplier>(std::ref(between)).value();
  EXPECT_TRUE(subscribe_blocking(stage, source));
  world.sink(seen, stage, demand(10, 5));
  EXPECT_TRUE(sync_info_blocking(stage, Note{"sync"}));
  async_info(stage, Note{"async"});
  world.run();
  EXPECT_EQ(between.notes, (Notes{"to producer", "by consumer", "info sync", "info async"}));
}

TEST(Infos, CC_GIN_004_a_producer_with_an_empty_buffer_handles_both_at_once) {
  World world;
  Seen made;
  auto source = world.source(std::ref(made));
  EXPECT_TRUE(sync_info_blocking(source, Note{"sync"}));
  async_info(source, Note{"async"});
  world.run();
  EXPECT_EQ(made.notes, (Notes{"info sync, left 0", "info async, left 0"}));
}

TEST(Infos, CC_GIN_005_an_info_waits_for_the_events_before_it) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made), ProducerOptions{.buffer_size = ProducerOptions::unbounded});
  world.cast(source, Source::Push{ints(1, 3)});
  EXPECT_TRUE(sync_info_blocking(source, Note{"here"}));
  world.run();
  EXPECT_TRUE(made.notes.empty());
  world.sink(seen, source, demand(10, 5));
  EXPECT_EQ(seen.events(), ints(1, 3));
  EXPECT_EQ(made.notes, (Notes{"subscribe 10", "info here, left 0"}));
}

TEST(Infos, CC_GIN_006_behind_one_event) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made), ProducerOptions{.buffer_size = 3});
  world.cast(source, Source::Push{{1}});
  async_info(source, Note{"here"});
  world.run();
  EXPECT_TRUE(made.notes.empty());
  world.sink(seen, source, demand(10, 5));
  EXPECT_EQ(seen.events(), (Ints{1}));
  EXPECT_EQ(made.notes.back(), "info here, left 0");
}

TEST(Infos, CC_GIN_008_behind_a_full_buffer) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made), ProducerOptions{.buffer_size = 3});
  world.cast(source, Source::Push{ints(1, 3)});
  async_info(source, Note{"here"});
  world.run();
  EXPECT_TRUE(made.notes.empty());
  EXPECT_EQ(buffered_count_blocking(source), 3U);  // an info counts for nothing
  world.sink(seen, source, demand(10, 5));
  EXPECT_EQ(seen.events(), ints(1, 3));
  EXPECT_EQ(made.notes.back(), "info here, left 0");
}

TEST(Infos, CC_GIN_009_infos_keep_their_places_among_the_events) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made), ProducerOptions{.buffer_size = 3});
  auto sink = world.sink(seen, source, manual());
  world.cast(source, Source::Push{ints(1, 3)});
  async_info(source, Note{"one"});
  world.cast(sink, Sink::Ask{2});
  world.cast(source, Source::Push{{4, 5}});
  async_info(source, Note{"two"});
  world.run();
  EXPECT_EQ(seen.batches, (Batches{{1, 2}}));
  EXPECT_EQ(made.notes, (Notes{"subscribe 1000"}));
  world.cast(sink, Sink::Ask{1});
  EXPECT_EQ(seen.batches, (Batches{{1, 2}, {3}}));
  EXPECT_EQ(made.notes, (Notes{"subscribe 1000", "info one, left 2"}));
  world.cast(sink, Sink::Ask{2});
  EXPECT_EQ(seen.batches, (Batches{{1, 2}, {3}, {4, 5}}));
  EXPECT_EQ(made.notes, (Notes{"subscribe 1000", "info one, left 2", "info two, left 0"}));
}

TEST(Infos, CC_GIN_010_an_info_comes_when_the_event_before_it_is_dropped) {
  World world;
  Seen made;
  auto source = world.source(std::ref(made), ProducerOptions{.buffer_size = 3});
  world.cast(source, Source::Push{{1, 2}});
  async_info(source, Note{"here"});
  world.run();
  EXPECT_TRUE(made.notes.empty());
  world.cast(source, Source::Push{ints(3, 5)});
  EXPECT_EQ(made.notes, (Notes{"info here, left 3"}));
  EXPECT_EQ(world.log.count("count=2"), 1U);
}

TEST(Infos, CC_GIN_012_sync_info_answers_before_the_info_is_handled) {
  World world;
  Seen made;
  auto source = world.source(std::ref(made));
  world.cast(source, Source::Push{{1}});
  EXPECT_TRUE(sync_info_blocking(source, Note{"later"}));
  EXPECT_TRUE(made.notes.empty());
  Result<void> inside = Error(ErrorCode::internal);
  world.runtime.spawn([&, source]() -> Async<void> {
    Note note{"inside"};
    inside = co_await sync_info(source, std::move(note));
  });
  world.run();
  EXPECT_TRUE(inside);
  EXPECT_TRUE(made.notes.empty());
  world.runtime.exit(source.pid(), ExitReason::kill);
  world.run();
  EXPECT_EQ(sync_info_blocking(source, Note{"nobody"}).error().code(), ErrorCode::no_process);
}

TEST(Infos, several_at_one_place_are_handled_in_order_before_later_events_are_sent) {
  /// Notes how many events it has dispatched when an info comes, and emits one more.
  class Marker : public Producer<Marker, int> {
   public:
    explicit Marker(Seen& seen) : seen_(seen) {}
    void handle_cast(const Source::Push& push) { emit(make_batch(push.events)); }
    void handle_info(const Note& note) {
      const std::vector<EdgeInfo> edges = runtime().snapshot().edges;
      seen_.notes.push_back(concat(note.text, " after ", edges.front().delivered));
      emit(100 + static_cast<int>(seen_.notes.size()));
    }

   private:
    Seen& seen_;
  };
  World world;
  Seen made;
  Seen seen;
  auto marker = world.runtime.start<Marker>(std::ref(made)).value();
  world.cast(marker, Source::Push{{1, 2}});
  async_info(marker, Note{"a"});
  async_info(marker, Note{"b"});
  world.cast(marker, Source::Push{{3}});
  async_info(marker, Note{"c"});
  world.run();
  world.sink(seen, marker, demand(100, 50));
  EXPECT_EQ(made.notes, (Notes{"a after 2", "b after 2", "c after 3"}));
  EXPECT_EQ(seen.events(), (Ints{1, 2, 3, 101, 102, 103}));
}

TEST(Infos, in_a_stage_in_between_they_wait_behind_its_input_and_then_behind_its_output) {
  World world;
  Seen made;
  Seen between;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto stage = world.runtime.start<Multiplier>(std::ref(between)).value();
  EXPECT_TRUE(subscribe_blocking(stage, source, demand(10, 5)));
  world.run();
  world.cast(source, Source::Push{{1, 2}});
  async_info(stage, Note{"first"});
  world.cast(source, Source::Push{{3}});
  async_info(stage, Note{"second"});
  world.run();
  EXPECT_EQ(between.notes, (Notes{"to producer"}));
  auto sink = world.sink(seen, stage, manual());
  world.cast(sink, Sink::Ask{3});
  EXPECT_EQ(seen.events(), (Ints{1, 1, 2}));
  EXPECT_EQ(between.notes, (Notes{"to producer", "by consumer"}));  // one of the output is left
  world.cast(sink, Sink::Ask{1});
  EXPECT_EQ(between.notes, (Notes{"to producer", "by consumer", "info first"}));
  world.cast(sink, Sink::Ask{2});
  EXPECT_EQ(seen.events(), (Ints{1, 1, 2, 2, 3, 3}));
  EXPECT_EQ(between.notes.back(), "info second");
}

TEST(Infos, CC_GPD_012_partitions_without_consumers_that_keep_nothing_hold_up_no_info) {
  World world;
  Seen made;
  auto source = world.source(std::ref(made), partition_dispatcher<int>(4));
  async_info(source, Note{"now"});
  world.run();
  EXPECT_EQ(made.notes, (Notes{"info now, left 0"}));
}

TEST(Infos, behind_a_backed_up_partition_they_are_handled_in_order_when_it_is_empty) {
  World world;
  Seen made;
  Seen left;
  Seen right;
  const auto parity = [](const int& event) { return static_cast<std::size_t>(event % 2); };
  auto source = world.source(std::ref(made), partition_dispatcher<int>(2, parity));
  SubscribeOptions<int> even = manual();
  even.partition = 0;
  SubscribeOptions<int> odd = demand(100, 50);
  odd.partition = 1;
  auto slow = world.sink(left, source, even);
  world.sink(right, source, odd);
  world.cast(source, Source::Push{ints(1, 6)});
  for (const char* name : {"a", "b", "c"}) async_info(source, Note{name});
  world.cast(source, Source::Push{{8}});
  EXPECT_EQ(made.notes.size(), 2U);
  world.cast(slow, Sink::Ask{2});
  EXPECT_EQ(made.notes.size(), 2U);
  world.cast(slow, Sink::Ask{2});
  EXPECT_EQ(left.events(), (Ints{2, 4, 6, 8}));
  ASSERT_EQ(made.notes.size(), 5U);
  EXPECT_EQ(made.notes[2], "info a, left 0");
  EXPECT_EQ(made.notes[3], "info b, left 0");
  EXPECT_EQ(made.notes[4], "info c, left 0");
}

TEST(Infos, while_accumulating_they_wait_with_everything_else) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made), accumulating());
  world.sink(seen, source, demand(10, 5));
  world.cast(source, Source::Push{{1}});
  async_info(source, Note{"here"});
  world.cast(source, Source::Push{{2}});
  EXPECT_EQ(made.notes, (Notes{"subscribe 10"}));
  set_demand(source, DemandFlow::forward);
  world.run();
  EXPECT_EQ(made.notes.back(), "info here, left 0");
  EXPECT_EQ(seen.batches, (Batches{{1}, {2}}));
}

// ---- both, at random -----------------------------------------------------------------------------------------------

/// Notes with every info how many of its events had left by then.
class Tally : public Producer<Tally, int> {
 public:
  Tally(std::vector<std::pair<int, std::uint64_t>>& left, std::unique_ptr<Dispatcher<int>> dispatcher)
      : Producer(std::move(dispatcher), {.buffer_size = ProducerOptions::unbounded}), left_(left) {}
  void handle_cast(const Source::Push& push) { emit(make_batch(push.events)); }
  void handle_cast(const Source::PushEach& push) {
    for (const int event : push.events) emit(event);
  }
  void handle_info(int before) {
    const std::vector<EdgeInfo> edges = runtime().snapshot().edges;
    left_.emplace_back(before, edges.front().delivered);
  }

 private:
  std::vector<std::pair<int, std::uint64_t>>& left_;
};

TEST(Infos, each_has_its_exact_place_among_the_events_whoever_asks_and_whenever_demand_is_put_off_under_every_seed) {
  for (std::uint64_t seed = 1; seed <= seed_count(3000); ++seed) {
    DeterministicRuntime runtime({.seed = seed, .logger = &null_logger()});
    Random random(seed);
    const auto below = [&](std::uint64_t limit) { return static_cast<int>(random.below(limit)); };
    std::vector<std::pair<int, std::uint64_t>> left;
    auto tally =
        runtime.start<Tally>(std::ref(left), seed % 2 == 0 ? broadcast_dispatcher<int>() : demand_dispatcher<int>())
            .value();
    std::deque<Seen> seen(2);
    std::vector<ServerRef<Sink>> sinks;
    for (Seen& one : seen) {
      sinks.push_back(runtime.start<Sink>(std::ref(one)).value());
      ASSERT_TRUE(subscribe_blocking(sinks.back(), tally, manual(CancelMode::temporary)));
    }
    int pushed = 0;
    int infos = 0;
    for (int step = 0; step < 40; ++step) {
      const int count = below(4);
      switch (below(6)) {
        case 0:
          tally.cast(Source::Push{ints(pushed, pushed + count)});
          pushed += count + 1;
          break;
        case 1:
          tally.cast(Source::PushEach{ints(pushed, pushed + count)});
          pushed += count + 1;
          break;
        case 2:
          async_info(tally, pushed);
          ++infos;
          break;
        case 3: sinks[random.below(2)].cast(Sink::Ask{random.below(6)}); break;
        case 4: set_demand(tally, below(2) == 0 ? DemandFlow::forward : DemandFlow::accumulate); break;
        default:
          if (below(2) == 0) runtime.run_until_idle();
      }
    }
    set_demand(tally, DemandFlow::forward);
    for (const ServerRef<Sink>& sink : sinks) sink.cast(Sink::Ask{1000});
    runtime.run_until_idle();
    ASSERT_EQ(left.size(), static_cast<std::size_t>(infos)) << "seed " << seed;
    for (std::size_t index = 0; index < left.size(); ++index) {
      ASSERT_EQ(left[index].second, static_cast<std::uint64_t>(left[index].first)) << "seed " << seed;
      ASSERT_LE(left[index == 0 ? 0 : index - 1].first, left[index].first) << "seed " << seed;
    }
    Ints all = seen[0].events();
    if (seed % 2 == 0) {
      EXPECT_EQ(seen[1].events(), all) << "seed " << seed;
    } else {
      const Ints others = seen[1].events();
      all.insert(all.end(), others.begin(), others.end());
      for (const Seen& one : seen) ASSERT_TRUE(std::ranges::is_sorted(one.events())) << "seed " << seed;
    }
    std::ranges::sort(all);
    ASSERT_EQ(all, ints(0, pushed - 1)) << "seed " << seed;
  }
}

}  // namespace
}  // namespace dagverk
