// GenStage's cases about a producer's buffer: the whole stage, and the buffer by itself.

#include "probes.hpp"

#include <gtest/gtest.h>

namespace dagverk {
namespace {

using namespace stage_tests;

// ---- a producer's buffer -------------------------------------------------------------------------------------------

TEST(Buffer, CC_GBU_002_keep_oldest_drops_the_new_and_reports_once) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made), ProducerOptions{.buffer_size = 5, .buffer_keep = BufferKeep::oldest});
  world.cast(source, Source::Push{ints(1, 5)});
  world.cast(source, Source::Push{ints(6, 8)});
  EXPECT_EQ(world.log.count("stage.events_discarded"), 1U);
  EXPECT_EQ(world.log.count("count=3"), 1U);
  world.sink(seen, source, demand(4, 0));
  EXPECT_EQ(seen.batches, (Batches{ints(1, 4), {5}}));
}

TEST(Buffer, CC_GBU_003_keep_newest_drops_the_old) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made), ProducerOptions{.buffer_size = 5});
  world.cast(source, Source::Push{ints(1, 5)});
  world.cast(source, Source::Push{ints(6, 8)});
  EXPECT_EQ(world.log.count("stage.events_discarded"), 1U);
  EXPECT_EQ(world.log.count("count=3"), 1U);
  world.sink(seen, source, demand(4, 0));
  EXPECT_EQ(seen.batches, (Batches{ints(4, 7), {8}}));
}

TEST(Buffer, CC_GBU_004_an_unbounded_buffer_keeps_all) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made), ProducerOptions{.buffer_size = ProducerOptions::unbounded});
  world.cast(source, Source::Push{ints(1, 5)});
  world.cast(source, Source::Push{ints(6, 8)});
  world.sink(seen, source, demand(4, 0));
  EXPECT_EQ(seen.batches, (Batches{ints(1, 4), ints(5, 8)}));
  EXPECT_EQ(world.log.count("discarded"), 0U);
}

/// Judges what its buffer drops.
class Judge : public Producer<Judge, int> {
 public:
  Judge(Counts& counts, bool report)
      : Producer(ProducerOptions{.buffer_size = 5, .buffer_keep = BufferKeep::oldest}),
        counts_(counts),
        report_(report) {}
  void handle_cast(Source::Push push) { emit(make_batch(push.events)); }
  bool handle_discarded(std::uint64_t count) {
    counts_.push_back(count);
    return report_;
  }

 private:
  Counts& counts_;
  bool report_;
};

TEST(Buffer, CC_GBU_006_handle_discarded_that_says_true_leaves_the_report) {
  World world;
  Counts counts;
  auto judge = world.runtime.start<Judge>(std::ref(counts), true).value();
  world.cast(judge, Source::Push{ints(1, 8)});
  EXPECT_EQ(counts, (Counts{3}));
  EXPECT_EQ(world.log.count("stage.events_discarded"), 1U);
  EXPECT_EQ(world.log.count("count=3"), 1U);
}

TEST(Buffer, CC_GBU_007_and_with_false_there_is_none) {
  World world;
  Seen seen;
  Counts counts;
  auto judge = world.runtime.start<Judge>(std::ref(counts), false).value();
  world.cast(judge, Source::Push{ints(1, 8)});
  EXPECT_EQ(counts, (Counts{3}));
  EXPECT_EQ(world.log.count("stage.events_discarded"), 0U);
  world.sink(seen, judge, demand(5, 0));
  EXPECT_EQ(seen.events(), ints(1, 5));
}

TEST(Buffer, CC_GBU_008_what_waits_can_be_counted_from_outside) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made), ProducerOptions{.buffer_size = ProducerOptions::unbounded});
  world.cast(source, Source::Push{ints(1, 5)});
  EXPECT_EQ(buffered_count_blocking(source), 5U);
  world.cast(source, Source::PushEach{ints(6, 8)});
  EXPECT_EQ(buffered_count_blocking(source), 8U);
  world.sink(seen, source, demand(4, 0));
  EXPECT_EQ(buffered_count_blocking(source), 0U);
  Result<std::size_t> inside = Error(ErrorCode::internal);
  world.runtime.spawn([&, source]() -> Async<void> { inside = co_await buffered_count(source); });
  world.run();
  EXPECT_EQ(inside, 0U);
}

TEST(Buffer, CC_GBU_010_the_default_holds_ten_thousand_single_events) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  for (int event = 1; event <= 10'001; ++event) source.cast(Source::PushEach{{event}});
  world.run();
  EXPECT_EQ(world.log.count("stage.events_discarded"), 1U);
  EXPECT_EQ(world.log.count("count=1"), 1U);
  world.sink(seen, source, demand(1000, 500));
  EXPECT_EQ(seen.events(), ints(2, 10'001));
}

TEST(Buffer, CC_GBU_011_and_cuts_one_long_list_once) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  world.cast(source, Source::Push{ints(1, 10'500)});
  EXPECT_EQ(world.log.count("stage.events_discarded"), 1U);
  EXPECT_EQ(world.log.count("count=500"), 1U);
  EXPECT_EQ(buffered_count_blocking(source), 10'000U);
  world.sink(seen, source, demand(1000, 500));
  EXPECT_EQ(seen.events(), ints(501, 10'500));
}

TEST(Buffer, CC_GBU_012_a_size_below_zero_does_not_compile) {
  // The option is a size: `{.buffer_size = -1}` narrows, see StageCompileFail. Its bounds are 0 and `unbounded`.
  static_assert(std::is_unsigned_v<decltype(ProducerOptions::buffer_size)>);
  World world;
  Seen made;
  auto source = world.source(std::ref(made), ProducerOptions{.buffer_size = 0});
  world.cast(source, Source::Push{ints(1, 3)});
  EXPECT_EQ(world.log.count("count=3"), 1U);
  EXPECT_EQ(stage_status_blocking(source).value().buffer_size, 0U);
}

TEST(Buffer, CC_GBU_014_it_is_served_before_demand_goes_up) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made));
  world.cast(source, Source::Push{ints(1, 3)});
  auto sink = world.sink(seen, source, manual());
  world.cast(sink, Sink::Ask{1});
  world.cast(source, Source::Push{{4}});
  world.cast(sink, Sink::Ask{5});
  EXPECT_EQ(seen.batches, (Batches{{1}, {2, 3, 4}}));
  EXPECT_EQ(made.demands, (Counts{2}));
}

TEST(Buffer, CC_GBU_015_events_before_the_first_consumer_of_a_broadcast_wait_for_it) {
  World world;
  Seen made;
  Seen seen;
  auto source = world.source(std::ref(made), true);
  world.cast(source, Source::Push{ints(1, 5)});
  world.sink(seen, source, demand(10, 5));
  EXPECT_EQ(seen.events(), ints(1, 5));
}

// ---- the buffer by itself ------------------------------------------------------------------------------------------

using Buffer = detail::EventBuffer<int>;

Ints taken(Batch<int> batch) { return {batch.begin(), batch.end()}; }

/// An info that says its name when it is taken out.
class Infos {
 public:
  explicit Infos(DeterministicRuntime& runtime) : sink_(runtime.start<Sink>(std::ref(seen_)).value()) {}
  detail::HeldNode make(std::string name) {
    return detail::HeldNode(detail::make_info<Sink, Note>(Note{std::move(name)}));
  }
  /// Takes out all that are due, and says which.
  Notes due(Buffer& buffer) {
    Notes names;
    while (std::optional<detail::HeldNode> info = buffer.take_due()) {
      detail::Node* node = info->release();
      names.push_back(detail::payload_of<Note>(node).text);
      node->ops->discard(node, ExitReason::normal);
    }
    return names;
  }

 private:
  Seen seen_;
  ServerRef<Sink> sink_;
};

TEST(EventBuffer, CC_GBU_016_infos_count_for_nothing) {
  DeterministicRuntime runtime;
  Infos infos(runtime);
  Buffer buffer(10, BufferKeep::newest);
  EXPECT_EQ(buffer.store(make_batch({1, 2})), 0U);
  buffer.mark(infos.make("one"));
  buffer.mark(infos.make("two"));
  EXPECT_EQ(buffer.size(), 2U);
}

TEST(EventBuffer, CC_GBU_018_without_a_bound_nothing_is_dropped) {
  Buffer buffer(ProducerOptions::unbounded, BufferKeep::oldest);
  EXPECT_EQ(buffer.store(make_batch(ints(1, 1000))), 0U);
  EXPECT_EQ(buffer.size(), 1000U);
  EXPECT_EQ(buffer.store(make_batch({1001})), 0U);
  EXPECT_EQ(buffer.take(2000).size(), 1000U);  // large batches leave as they are
}

TEST(EventBuffer, CC_GBU_019_the_newest_stay) {
  Buffer buffer(3, BufferKeep::newest);
  EXPECT_EQ(buffer.store(make_batch({1, 2, 3})), 0U);
  EXPECT_EQ(buffer.store(make_batch({4, 5, 6})), 3U);
  EXPECT_EQ(taken(buffer.take(3)), ints(4, 6));
  EXPECT_EQ(buffer.store(make_batch({1, 2})), 0U);
  EXPECT_EQ(buffer.store(make_batch(ints(3, 7))), 4U);
  EXPECT_EQ(taken(buffer.take(9)), ints(5, 7));
}

TEST(EventBuffer, CC_GBU_020_infos_are_due_when_what_stood_before_them_is_dropped) {
  DeterministicRuntime runtime;
  Infos infos(runtime);
  Buffer buffer(3, BufferKeep::newest);
  EXPECT_EQ(buffer.store(make_batch({1, 2})), 0U);
  buffer.mark(infos.make("3"));
  buffer.mark(infos.make("4"));
  EXPECT_FALSE(buffer.has_due());
  EXPECT_EQ(buffer.store(make_batch({5, 6, 7})), 2U);
  EXPECT_EQ(infos.due(buffer), (Notes{"3", "4"}));
  EXPECT_EQ(taken(buffer.take(9)), ints(5, 7));
}

TEST(EventBuffer, CC_GBU_022_an_empty_one_gives_nothing) {
  Buffer buffer(3, BufferKeep::newest);
  EXPECT_TRUE(buffer.take(5).empty());
  EXPECT_FALSE(buffer.has_due());
}

TEST(EventBuffer, CC_GBU_023_taking_stops_at_an_info) {
  DeterministicRuntime runtime;
  Infos infos(runtime);
  Buffer buffer(10, BufferKeep::newest);
  EXPECT_EQ(buffer.store(make_batch({1, 2})), 0U);
  buffer.mark(infos.make("3"));
  EXPECT_EQ(buffer.store(make_batch({4})), 0U);
  EXPECT_EQ(taken(buffer.take(5)), (Ints{1, 2}));
  EXPECT_TRUE(buffer.take(3).empty());  // the info first
  EXPECT_EQ(infos.due(buffer), (Notes{"3"}));
  EXPECT_EQ(buffer.size(), 1U);
  EXPECT_EQ(taken(buffer.take(3)), (Ints{4}));
}

TEST(EventBuffer, CC_GBU_024_infos_at_one_place_come_in_their_order) {
  DeterministicRuntime runtime;
  Infos infos(runtime);
  Buffer buffer(10, BufferKeep::newest);
  EXPECT_EQ(buffer.store(make_batch({1, 2})), 0U);
  for (const char* name : {"3", "4", "5"}) buffer.mark(infos.make(name));
  EXPECT_EQ(taken(buffer.take(5)), (Ints{1, 2}));
  EXPECT_EQ(infos.due(buffer), (Notes{"3", "4", "5"}));
  EXPECT_TRUE(buffer.empty());
}

TEST(EventBuffer, CC_GBU_026_taking_none_changes_nothing) {
  Buffer buffer(10, BufferKeep::newest);
  EXPECT_EQ(buffer.store(make_batch({1, 2})), 0U);
  EXPECT_TRUE(buffer.take(0).empty());
  EXPECT_EQ(buffer.size(), 2U);
}

TEST(EventBuffer, what_is_put_back_stands_before_the_same_info_again) {
  DeterministicRuntime runtime;
  Infos infos(runtime);
  Buffer buffer(10, BufferKeep::newest);
  EXPECT_EQ(buffer.store(make_batch({1, 2, 3})), 0U);
  buffer.mark(infos.make("after 3"));
  Batch<int> all = buffer.take(9);
  Batch<int> first = all.split_front(1);
  buffer.put_back(std::move(all));
  EXPECT_FALSE(buffer.has_due());
  EXPECT_EQ(taken(buffer.take(9)), (Ints{2, 3}));
  EXPECT_EQ(infos.due(buffer), (Notes{"after 3"}));
}

TEST(EventBuffer, keeps_the_oldest_and_moves_what_cannot_be_copied) {
  Buffer oldest(3, BufferKeep::oldest);
  EXPECT_EQ(oldest.store(make_batch({1, 2})), 0U);
  EXPECT_EQ(oldest.store(make_batch({3, 4, 5})), 2U);
  EXPECT_EQ(taken(oldest.take(2)), (Ints{1, 2}));
  EXPECT_EQ(oldest.store(make_batch({6})), 0U);
  EXPECT_EQ(taken(oldest.take(9)), (Ints{3, 6}));

  Buffer none(0, BufferKeep::newest);
  EXPECT_EQ(none.store(make_batch({1, 2})), 2U);
  EXPECT_TRUE(none.empty());

  detail::EventBuffer<std::unique_ptr<int>> moving(10, BufferKeep::newest);
  for (int number = 0; number < 4; ++number) {
    BatchBuilder<std::unique_ptr<int>> one;
    one.emplace(std::make_unique<int>(number));
    static_cast<void>(moving.store(one.build()));
  }
  Batch<std::unique_ptr<int>> joined = moving.take(3);
  EXPECT_EQ(joined.size(), 3U);
  EXPECT_EQ(*joined[2], 2);
  moving.put_back(std::move(joined));
  EXPECT_EQ(moving.size(), 4U);
}

}  // namespace
}  // namespace dagverk
