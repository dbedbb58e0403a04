// Stages between stages, and consumers that start a process per event.

#include "stages.hpp"

#include "dagverk/stage/consumer_supervisor.hpp"
#include "dagverk/stage/producer_consumer.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace dagverk {
namespace {

using namespace std::chrono_literals;
using namespace stage_tests;

// ---- ProducerConsumer
// -------------------------------------------------------------------------------------------------

/// Passes each event on `copies` times.
class Copier : public ProducerConsumer<Copier, int, int> {
 public:
  Copier(Seen& seen, ProducerRef<int> producer, SubscribeOptions<int> options, int copies)
      : seen_(seen), producer_(producer), options_(std::move(options)), copies_(copies) {}
  void init() { subscribe_to(producer_, options_).value(); }
  void handle_events(Batch<int> events) {
    seen_.batches.emplace_back(events.begin(), events.end());
    for (const int event : events) {
      for (int copy = 0; copy < copies_; ++copy) emit(event);
    }
  }
  void handle_subscribe(const SubscriptionInfo& info) {
    seen_.notes.emplace_back(info.peer_side == StageSide::producer ? "to producer" : "by consumer");
  }
  void handle_cancel(const SubscriptionInfo& info, const SubscriptionEnd& why) {
    seen_.notes.push_back(note_of(info.peer_side == StageSide::producer ? "producer" : "consumer", why));
  }

 private:
  Seen& seen_;
  ProducerRef<int> producer_;
  SubscribeOptions<int> options_;
  int copies_;
};

/// As Copier with one copy, thinking for a millisecond.
class SlowCopier : public ProducerConsumer<SlowCopier, int, std::string> {
 public:
  explicit SlowCopier(ProducerRef<int> producer) : producer_(producer) {}
  void init() { subscribe_to(producer_, demand(4, 2)).value(); }
  Async<void> handle_events(Batch<int> events) {
    co_await this_process::sleep(1ms);
    for (const int event : events) emit(concat(event));
  }

 private:
  ProducerRef<int> producer_;
};

class TextSink : public Consumer<TextSink, std::string> {
 public:
  TextSink(std::vector<std::string>& texts, ProducerRef<std::string> producer) : texts_(texts), producer_(producer) {}
  void init() {
    SubscribeOptions<std::string> options;
    options.max_demand = 3;
    subscribe_to(producer_, std::move(options)).value();
  }
  void handle_events(Batch<std::string> events) {
    for (std::string& text : events.take_events()) texts_.push_back(std::move(text));
  }

 private:
  std::vector<std::string>& texts_;
  ProducerRef<std::string> producer_;
};

TEST(ProducerConsumer, CC_GPC_input_waits_for_demand_from_behind_and_is_asked_for_as_it_is_handled) {
  World world;
  Seen made;
  Seen between;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto copier = world.runtime.start<Copier>(std::ref(between), source, demand(10, 5), 1).value();
  world.run();
  world.cast(source, Source::Push{ints(1, 10)});
  EXPECT_TRUE(between.batches.empty());
  EXPECT_EQ(made.demands, (std::vector<std::uint64_t>{10}));
  auto sink = world.sink(seen, copier, manual());
  world.cast(sink, Sink::Ask{3});
  EXPECT_EQ(between.batches,
            (std::vector<Ints>{ints(1, 5), ints(6, 10)}));  // GPC-03: a list that has begun is finished
  EXPECT_EQ(seen.events(), ints(1, 3));
  EXPECT_EQ(made.demands, (std::vector<std::uint64_t>{10, 5, 5}));
  world.cast(source, Source::Push{ints(11, 14)});
  EXPECT_EQ(between.batches.size(), 2U);
  world.cast(sink, Sink::Ask{8});  // 7 from the buffer, one more
  EXPECT_EQ(seen.events(), ints(1, 11));
  EXPECT_EQ(between.batches.back(), ints(11, 14));
  EXPECT_EQ(between.notes, (std::vector<std::string>{"to producer", "by consumer"}));
}

TEST(ProducerConsumer, CC_GPC_a_filter_that_gives_nothing_goes_on_with_the_next_list) {
  class Odd : public ProducerConsumer<Odd, int, int> {
   public:
    explicit Odd(ProducerRef<int> producer) : producer_(producer) {}
    void init() { subscribe_to(producer_, demand(2, 0)).value(); }
    void handle_events(Batch<int> events) {
      for (const int event : events) {
        if (event % 1000 == 999) emit(event);
      }
    }

   private:
    ProducerRef<int> producer_;
  };
  World world;
  Seen seen;
  auto counter = world.runtime.start<Counter>().value();
  auto odd = world.runtime.start<Odd>(counter).value();
  auto sink = world.sink(seen, odd, manual());
  world.cast(sink, Sink::Ask{2});
  EXPECT_EQ(seen.events(), (Ints{999, 1999}));
}

TEST(ProducerConsumer, CC_GPC_a_cancel_takes_effect_behind_the_queued_input) {
  World world;
  Seen made;
  Seen between;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto copier = world.runtime.start<Copier>(std::ref(between), source, ending(CancelMode::temporary), 2).value();
  world.run();
  world.cast(source, Source::Push{ints(1, 3)});
  world.cast(source, Source::End{ExitReason::shutdown});
  EXPECT_EQ(between.notes, (std::vector<std::string>{"to producer"}));
  auto sink = world.sink(seen, copier, manual());
  world.cast(sink, Sink::Ask{6});
  EXPECT_EQ(seen.events(), (Ints{1, 1, 2, 2, 3, 3}));
  EXPECT_EQ(between.notes, (std::vector<std::string>{"to producer", "by consumer", "producer down shutdown"}));
}

TEST(ProducerConsumer, CC_GCX_004_008_012_its_ends_are_those_of_a_consumer_and_of_a_producer) {
  World world;
  Seen made;
  Seen between;
  Seen seen;
  auto source = world.source(std::ref(made));
  auto copier = world.runtime.start<Copier>(std::ref(between), source, demand(4, 2), 1).value();
  auto sink = world.sink(seen, copier, ending(CancelMode::temporary));
  world.cast(sink, Sink::Cancel{ExitReason::custom("oops")});
  EXPECT_EQ(between.notes.back(), "consumer cancel oops");
  world.runtime.exit(source.pid(), ExitReason::kill);
  world.run();
  EXPECT_EQ(between.notes.back(), "producer down killed");
  EXPECT_EQ(world.runtime.exit_reason(copier), ExitReason::killed);
}

TEST(ProducerConsumer, a_coroutine_between_three_stages_changes_the_type_and_keeps_the_order) {
  World world;
  Seen made;
  std::vector<std::string> texts;
  auto source = world.source(std::ref(made));
  auto copier = world.runtime.start<SlowCopier>(source).value();
  static_cast<void>(world.runtime.start<TextSink>(std::ref(texts), copier).value());
  world.cast(source, Source::Push{ints(1, 9)});
  world.runtime.advance(1s);
  EXPECT_EQ(texts, (std::vector<std::string>{"1", "2", "3", "4", "5", "6", "7", "8", "9"}));
}

TEST(ProducerConsumer, cannot_subscribe_to_itself) {
  class Snake : public ProducerConsumer<Snake, int, int> {
   public:
    struct Bite {
      using Reply = std::string;
    };
    void handle_events(Batch<int> /*events*/) {}
    std::string handle_call(Bite) {
      Result<SubscriptionId> id = subscribe_to(self());
      return id ? "bitten" : std::string(id.error().message());
    }
  };
  World world;
  auto snake = world.runtime.start<Snake>().value();
  EXPECT_NE(snake.call_blocking<Snake::Bite>().value().find("cannot subscribe to itself"), std::string::npos);
}

// ---- ConsumerSupervisor
// -----------------------------------------------------------------------------------------------

using Supervisor = ConsumerSupervisor<int>;

/// What the children of one test are doing.
struct Nursery {
  Ints started;
  Ints done;
  std::size_t running = 0;
  std::size_t running_max = 0;
};

/// Children begin in an order of the scheduler's own.
Ints sorted(Ints events) {
  std::ranges::sort(events);
  return events;
}

/// Runs for `event` milliseconds; a negative event crashes at once.
EventChild<int> sleeper(Nursery& nursery) {
  return child_running<int>([&nursery](int event) -> Async<void> {
    struct Presence {
      Nursery& nursery;
      explicit Presence(Nursery& here) : nursery(here) {
        nursery.running_max = std::max(nursery.running_max, ++nursery.running);
      }
      Presence(const Presence&) = delete;
      Presence& operator=(const Presence&) = delete;
      ~Presence() { --nursery.running; }
    } const presence(nursery);
    nursery.started.push_back(event);
    if (event < 0) throw std::runtime_error("child on fire");
    co_await this_process::sleep(std::chrono::milliseconds(event));
    nursery.done.push_back(event);
  });
}

TEST(ConsumerSupervisor, CC_CSU_033_at_most_max_demand_children_live_and_slots_are_asked_for_as_they_free) {
  Nursery nursery;
  World world;
  Seen made;
  auto source = world.source(std::ref(made));
  auto supervisor = world.runtime.start<Supervisor>(sleeper(nursery)).value();
  EXPECT_TRUE(subscribe_blocking(supervisor, source, demand(3, 2)));
  world.run();
  world.cast(source, Source::Push{{10, 20, 30, 40, 50, 60}});
  EXPECT_EQ(made.demands, (std::vector<std::uint64_t>{3}));
  EXPECT_EQ(sorted(nursery.started), (Ints{10, 20, 30}));
  EXPECT_EQ(supervisor.call_blocking<Supervisor::CountChildren>(), 3U);
  world.runtime.advance(10ms);
  EXPECT_EQ(sorted(nursery.started), (Ints{10, 20, 30, 40}));
  world.runtime.advance(1s);
  EXPECT_EQ(sorted(nursery.done), (Ints{10, 20, 30, 40, 50, 60}));
  EXPECT_EQ(nursery.running_max, 3U);
  EXPECT_EQ(supervisor.call_blocking<Supervisor::CountChildren>(), 0U);
}

TEST(ConsumerSupervisor, CC_CSU_030_and_034_max_1_is_one_child_at_a_time_and_a_crash_frees_its_place) {
  Nursery nursery;
  World world;
  Seen made;
  auto source = world.source(std::ref(made));
  auto supervisor = world.runtime.start<Supervisor>(sleeper(nursery)).value();
  EXPECT_TRUE(subscribe_blocking(supervisor, source, demand(1, 0)));
  world.run();
  world.cast(source, Source::Push{{5, -1, 6}});
  EXPECT_EQ(nursery.started, (Ints{5}));
  EXPECT_EQ(made.demands, (std::vector<std::uint64_t>{1}));
  world.runtime.advance(1s);
  EXPECT_EQ(nursery.started, (Ints{5, -1, 6}));
  EXPECT_EQ(nursery.done, (Ints{5, 6}));
  EXPECT_EQ(nursery.running_max, 1U);
  EXPECT_FALSE(world.runtime.exit_reason(supervisor));
}

TEST(ConsumerSupervisor, CC_CSU_023_and_029_children_can_be_started_listed_and_ended_by_hand) {
  Nursery nursery;
  World world;
  Seen made;
  auto source = world.source(std::ref(made));
  auto supervisor = world.runtime.start<Supervisor>(sleeper(nursery)).value();
  EXPECT_TRUE(subscribe_blocking(supervisor, source, demand(2, 0)));
  const Pid extra = supervisor.call_blocking<Supervisor::StartChild>(100).value();
  world.run();
  EXPECT_EQ(made.demands, (std::vector<std::uint64_t>{2}));  // no demand effect
  EXPECT_EQ(supervisor.call_blocking<Supervisor::WhichChildren>(), std::vector<Pid>{extra});
  EXPECT_EQ(supervisor.call_blocking<Supervisor::TerminateChild>(extra), true);
  world.run();
  EXPECT_EQ(world.runtime.exit_reason(extra), ExitReason::shutdown);
  EXPECT_EQ(supervisor.call_blocking<Supervisor::TerminateChild>(extra), false);
  EXPECT_EQ(nursery.running, 0U);
}

TEST(ConsumerSupervisor, CC_CSU_019_and_022_its_end_ends_the_children_and_kills_those_that_take_too_long) {
  class Reluctant : public GenServer<Reluctant> {
   public:
    Reluctant(Ints& ended, int event) : ended_(ended), event_(event) { this_process::trap_exits(); }
    Async<void> terminate(const ExitReason& /*reason*/) {
      co_await this_process::sleep(std::chrono::seconds(event_));
      ended_.push_back(event_);
    }

   private:
    Ints& ended_;
    int event_;
  };
  Ints ended;
  World world;
  Seen made;
  auto source = world.source(std::ref(made));
  auto supervisor = world.runtime
                        .start<Supervisor>(child_server<int, Reluctant>(std::ref(ended)),
                                           ConsumerSupervisorOptions{.shutdown = Shutdown::after(5s)})
                        .value();
  EXPECT_TRUE(subscribe_blocking(supervisor, source, demand(4, 0)));
  world.run();
  world.cast(source, Source::Push{{1, 3, 60}});
  const std::vector<Pid> children = supervisor.call_blocking<Supervisor::WhichChildren>().value();
  ASSERT_EQ(children.size(), 3U);
  EXPECT_TRUE(world.runtime.stop(supervisor.pid(), ExitReason::normal, 60s));
  world.run();
  EXPECT_EQ(sorted(ended), (Ints{1, 3}));
  EXPECT_EQ(world.runtime.exit_reason(children[0]), ExitReason::shutdown);
  EXPECT_EQ(world.runtime.exit_reason(children[2]), ExitReason::killed);
}

TEST(ConsumerSupervisor, CC_CSU_027_a_child_whose_start_fails_frees_its_place) {
  class Picky : public GenServer<Picky> {
   public:
    explicit Picky(int event) : event_(event) {}
    InitResult init() {
      if (event_ == 1) return InitResult::ignore();
      if (event_ == 2) return InitResult::stop(ExitReason::custom("no"));
      if (event_ == 3) throw std::runtime_error("never");
      return InitResult::ok();
    }

   private:
    int event_;
  };
  World world;
  Seen made;
  auto source = world.source(std::ref(made));
  auto supervisor = world.runtime.start<Supervisor>(child_server<int, Picky>()).value();
  EXPECT_TRUE(subscribe_blocking(supervisor, source, demand(2, 0)));
  world.run();
  world.cast(source, Source::Push{{1, 2, 3, 4, 5}});
  EXPECT_EQ(supervisor.call_blocking<Supervisor::CountChildren>(), 1U);  // 4 runs; 3 has ended; min 0: wait for 4
  EXPECT_FALSE(world.runtime.exit_reason(supervisor));
}

TEST(ConsumerSupervisor, CC_CSU_025_and_026_bad_options_and_dead_producers_are_as_for_any_consumer) {
  Nursery nursery;
  World world;
  Seen made;
  auto source = world.source(std::ref(made));
  auto supervisor = world.runtime.start<Supervisor>(sleeper(nursery)).value();
  EXPECT_EQ(subscribe_blocking(supervisor, source, demand(0, 0)).error().message(),
            "expected :max_demand to be equal to or greater than 1, got: 0");
  world.cast(source, Source::End{ExitReason::normal});
  EXPECT_TRUE(subscribe_blocking(supervisor, source, ending(CancelMode::temporary)));
  world.run();
  EXPECT_FALSE(world.runtime.exit_reason(supervisor));
  EXPECT_TRUE(subscribe_blocking(supervisor, source));
  world.run();
  EXPECT_EQ(world.runtime.exit_reason(supervisor), ExitReason::noproc);
}

TEST(ConsumerSupervisor, children_do_not_outlive_a_killed_supervisor) {
  Nursery nursery;
  World world;
  auto supervisor = world.runtime.start<Supervisor>(sleeper(nursery)).value();
  const Pid child = supervisor.call_blocking<Supervisor::StartChild>(1000).value();
  world.run();
  EXPECT_EQ(nursery.running, 1U);
  world.runtime.exit(supervisor.pid(), ExitReason::kill);
  world.run();
  EXPECT_EQ(nursery.running, 0U);
  EXPECT_FALSE(RuntimeBase::alive(child));
}

}  // namespace
}  // namespace dagverk
