// Streams of a manager's events: read as a range outside and by `next` in a process, on all three managers; whatever
// way they end, nothing is left behind.

#include "dagverk/event/event_stream.hpp"

#include "dagverk/base/random.hpp"
#include "dagverk/event/serial_event_manager.hpp"
#include "dagverk/event/staged_event_manager.hpp"
#include "dagverk/event/supervised_event_manager.hpp"
#include "dagverk/runtime/deterministic_runtime.hpp"
#include "dagverk/stage/spill.hpp"

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace dagverk {
namespace {

using namespace std::chrono_literals;
using Ints = std::vector<int>;
using Names = std::vector<std::string>;

class Recorder : public EventHandler<int> {
 public:
  explicit Recorder(Ints* seen) : seen_(*seen) {}
  void handle_event(const int& event) { seen_.push_back(event); }

 private:
  Ints& seen_;
};

enum class Kind : std::uint8_t { serial, supervised, staged };

class EventStreams : public testing::TestWithParam<Kind> {
 protected:
  EventStreams() {
    if (GetParam() == Kind::serial) events = std::make_unique<SerialEventManager<int>>(runtime);
    if (GetParam() == Kind::supervised) events = std::make_unique<SupervisedEventManager<int>>(runtime);
    if (GetParam() == Kind::staged) events = std::make_unique<StagedEventManager<int>>(runtime);
    runtime.run_until_idle();
    processes_before = runtime.process_count();
  }

  [[nodiscard]] Stream<int> open(EventStreamOptions<int> options = {}) {
    Result<Stream<int>> opened = event_stream_blocking(*events, std::move(options));
    EXPECT_TRUE(opened) << opened.error().message();
    return std::move(*opened);
  }
  void publish(int first, int last) {
    for (int event = first; event <= last; ++event) {
      events->notify(event);
      runtime.run_until_idle();
    }
  }
  /// All that can be read now without waiting for more, by a stream that would fail after a second.
  [[nodiscard]] static Ints rest_of(Stream<int>& stream) {
    Ints all;
    for (const int event : stream.blocking()) all.push_back(event);
    return all;
  }
  [[nodiscard]] Names handlers() { return events->which_handlers_blocking().value(); }
  void expect_nothing_left() {
    runtime.run_until_idle();
    EXPECT_EQ(handlers(), Names());
    EXPECT_EQ(runtime.process_count(), processes_before);
  }
  [[nodiscard]] static Ints numbers(int first, int last) {
    Ints all;
    for (int number = first; number <= last; ++number) all.push_back(number);
    return all;
  }

  DeterministicRuntime runtime{DeterministicOptions{.seed = 1}};
  std::unique_ptr<EventManager<int>> events;
  std::size_t processes_before = 0;
};

Async<Result<Ints>> read_some(EventManager<int>* events, std::size_t count) {
  EventStreamOptions<int> options;
  options.timeout = 1s;
  Async<Result<Stream<int>>> opening = event_stream(*events, std::move(options));
  Result<Stream<int>> stream = co_await opening;
  if (!stream) co_return stream.error();
  for (int event = 1; event <= 5; ++event) events->notify(event);
  Ints read;
  while (read.size() < count) {
    Async<Result<std::optional<int>>> reading = stream->next();
    Result<std::optional<int>> event = co_await reading;
    if (!event) co_return event.error();
    if (!*event) break;
    read.push_back(**event);
  }
  co_return read;
}

TEST_P(EventStreams, CC_GEV_039_three_of_five_are_taken_and_nothing_is_left_behind) {
  EXPECT_EQ(runtime.run(read_some(events.get(), 3)).value(), (Ints{1, 2, 3}));
  expect_nothing_left();
  {
    Stream<int> stream = open();
    EXPECT_EQ(handlers().size(), 1U);
    publish(1, 5);
    Ints seen;
    for (const int event : stream.blocking()) {
      seen.push_back(event);
      if (seen.size() == 3) break;
    }
    EXPECT_EQ(seen, (Ints{1, 2, 3}));
  }
  expect_nothing_left();
  Stream<int> closed = open();
  publish(1, 5);
  EXPECT_TRUE(closed.close_blocking());
  expect_nothing_left();
  {
    const Stream<int> never_read = open();
  }
  expect_nothing_left();
}

TEST_P(EventStreams, CC_GEV_041_a_read_that_waits_too_long_fails_with_timeout_and_ends_the_stream) {
  Stream<int> stream = open({.timeout = 50ms});
  publish(1, 1);
  EXPECT_EQ(stream.next_batch_blocking().value().size(), 1U);
  const SteadyTime before = runtime.clock().steady_now();
  EXPECT_EQ(stream.next_batch_blocking().error().code(), ErrorCode::timeout);
  EXPECT_EQ(runtime.clock().steady_now() - before, 50ms);
  EXPECT_EQ(stream.next_batch_blocking().error().code(), ErrorCode::timeout);
  expect_nothing_left();
  EXPECT_EQ(runtime.run(read_some(events.get(), 6)).error().code(), ErrorCode::timeout);
  expect_nothing_left();
}

TEST_P(EventStreams, CC_GEV_042_it_ends_where_its_manager_stops) {
  Stream<int> stream = open();
  publish(1, 150);  // more than are fetched ahead
  Ints seen;
  runtime.spawn([&]() -> Async<void> {
    for (;;) {
      Async<Result<std::optional<int>>> reading = stream.next();
      Result<std::optional<int>> event = co_await reading;
      EXPECT_TRUE(event);
      if (!event || !*event) break;
      seen.push_back(**event);
    }
    EXPECT_TRUE(stream.result());
  });
  EXPECT_TRUE(events->stop_blocking());
  runtime.run_until_idle();
  EXPECT_EQ(seen, numbers(1, 150));
  EXPECT_EQ(runtime.process_count(), 0U);
}

TEST_P(EventStreams, CC_GEV_042_it_fails_when_its_manager_is_killed) {
  Stream<int> stream = open();
  publish(1, 5);
  runtime.exit(events->pid(), ExitReason::kill);
  runtime.run_until_idle();
  EXPECT_EQ(rest_of(stream), numbers(1, 5));
  EXPECT_EQ(stream.result().error().code(), ErrorCode::exited);
  EXPECT_EQ(stream.end_reason(), ExitReason::killed);
  runtime.run_until_idle();
  EXPECT_EQ(runtime.process_count(), 0U);
}

TEST_P(EventStreams, it_ends_behind_what_came_when_its_handler_is_removed_or_replaced) {
  Stream<int> removed = open({.name = "removed"});
  publish(1, 3);
  EXPECT_TRUE(events->remove_handler_blocking("removed"));
  publish(4, 5);
  EXPECT_EQ(rest_of(removed), numbers(1, 3));
  EXPECT_TRUE(removed.result());

  Stream<int> replaced = open({.name = "replaced"});
  publish(1, 3);
  Ints seen;
  EXPECT_TRUE(events->swap_handler_blocking("replaced", event_handler<Recorder>("next", HandlerOptions(), &seen)));
  publish(4, 5);
  EXPECT_EQ(rest_of(replaced), numbers(1, 3));
  EXPECT_TRUE(replaced.result());
  EXPECT_EQ(seen, (Ints{4, 5}));
}

TEST_P(EventStreams, it_sheds_by_its_rule_counted_and_holds_up_nobody) {
  Ints other;
  EXPECT_TRUE(events->add_handler_blocking(event_handler<Recorder>("other", HandlerOptions(), &other)));
  Stream<int> stream = open({.name = "tail", .overflow = KeepNewest{10}, .prefetch = 4, .timeout = 1s});
  publish(1, 100);
  EXPECT_EQ(other, numbers(1, 100));
  const Ints seen = rest_of(stream);
  // What was fetched ahead, in the stream and on its way to it, is the oldest; of the rest the newest are kept.
  const std::size_t fetched = seen.size() - 10;
  EXPECT_GE(fetched, 4U);
  EXPECT_LE(fetched, 8U);
  EXPECT_EQ(Ints(seen.begin(), seen.end() - 10), numbers(1, static_cast<int>(fetched)));
  EXPECT_EQ(Ints(seen.end() - 10, seen.end()), numbers(91, 100));
  EXPECT_EQ(stream.result().error().code(), ErrorCode::timeout);
}

TEST_P(EventStreams, what_it_sheds_stands_in_the_figures) {
  Stream<int> stream = open({.name = "tail", .overflow = KeepNewest{10}, .prefetch = 4});
  publish(1, 100);
  const EventStats stats = events->stats_blocking().value();
  const HandlerStats* tail = stats.find("tail");
  ASSERT_NE(tail, nullptr);
  EXPECT_EQ(tail->published, 100U);
  std::uint64_t dropped = tail->dropped.overflow;
  for (const EdgeInfo& edge : runtime.snapshot().edges) {
    if (edge.name.find("EventSource") != std::string::npos) dropped += edge.dropped;
  }
  EXPECT_GE(dropped, 82U);
  EXPECT_LE(dropped, 86U);
  EXPECT_EQ(tail->dropped.overflow != 0, events->has_handler_lines());
}

TEST_P(EventStreams, every_rule_of_the_stages_can_be_its_own) {
  const auto decade = [](int event) { return event / 10; };
  Stream<int> merged = open({.name = "m", .overflow = coalesce<int>(decade, 100), .prefetch = 1, .timeout = 1s});
  Stream<int> spilt =
      open({.name = "s", .overflow = spill<int>({.events_in_memory = 3}), .prefetch = 1, .timeout = 1s});
  publish(1, 59);
  const Ints last = rest_of(merged);
  ASSERT_GE(last.size(), 6U);
  EXPECT_EQ(Ints(last.end() - 5, last.end()), (Ints{19, 29, 39, 49, 59}));
  EXPECT_EQ(rest_of(spilt), numbers(1, 59));
  expect_nothing_left();
}

TEST_P(EventStreams, with_wait_its_publishers_go_at_its_pace) {
  EventStreamOptions<int> options{.overflow = WaitWhenFull{}, .prefetch = 2};
  if (GetParam() == Kind::supervised) {
    EXPECT_EQ(event_stream_blocking(*events, options).error().code(), ErrorCode::configuration);
    expect_nothing_left();
    return;
  }
  Stream<int> stream = open(std::move(options));
  publish(1, 10);
  EXPECT_EQ(events->sync_notify_blocking(11, 1s).has_value(), GetParam() == Kind::staged) << "serial: it waits";
  Ints seen;
  for (const int event : stream.blocking()) {
    seen.push_back(event);
    if (seen.size() == 11) break;
  }
  EXPECT_EQ(seen, numbers(1, 11));
  EXPECT_EQ(events->sync_notify_blocking(12).value().at(0).fate, EventFate::handled);
}

TEST_P(EventStreams, kinds_selectors_and_names_are_those_of_any_handler) {
  Stream<int> odd = open({.name = "odd", .selector = [](const int& event) { return event % 2 == 1; }, .timeout = 1s});
  EXPECT_EQ(event_stream_blocking(*events, EventStreamOptions<int>{.name = "odd"}).error().code(),
            ErrorCode::already_exists);
  Stream<int> unnamed = open();
  Stream<int> unnamed_too = open();
  EXPECT_EQ(handlers().size(), 3U);
  publish(1, 6);
  EXPECT_EQ(rest_of(odd), (Ints{1, 3, 5}));
  EXPECT_EQ(event_stream_blocking(*events, EventStreamOptions<int>{.prefetch = 0}).error().code(),
            ErrorCode::configuration);
  EXPECT_EQ(event_stream_blocking(*events, EventStreamOptions<int>{.overflow = KeepNewest{0}}).error().code(),
            ErrorCode::configuration);
  EXPECT_TRUE(unnamed.close_blocking());
  EXPECT_TRUE(unnamed_too.close_blocking());
  expect_nothing_left();
}

TEST_P(EventStreams, it_ends_with_the_process_that_made_it) {
  const Pid reader = runtime.spawn([this]() -> Async<void> {
    Async<Result<Stream<int>>> opening = event_stream(*events);
    Result<Stream<int>> stream = co_await opening;
    EXPECT_TRUE(stream);
    for (;;) {
      Async<Result<Batch<int>>> reading = stream->next_batch();
      Result<Batch<int>> batch = co_await reading;
      if (!batch) break;
    }
  });
  runtime.run_until_idle();
  publish(1, 5);
  EXPECT_EQ(handlers().size(), 1U);
  runtime.exit(reader, ExitReason::kill);
  expect_nothing_left();
}

TEST_P(EventStreams, a_manager_that_has_ended_has_no_events) {
  EXPECT_TRUE(events->stop_blocking());
  EXPECT_EQ(event_stream_blocking(*events).error().code(), ErrorCode::no_process);
  runtime.run_until_idle();
  EXPECT_EQ(runtime.process_count(), 0U);
}

/// A stream of a random life, and what it has been read to.
struct Life {
  Stream<int> stream;
  bool sheds;
  int next;  ///< the event that a stream that sheds nothing gives next
};

TEST_P(EventStreams, whatever_happens_their_events_are_in_order_and_nothing_is_left) {
  std::size_t read = 0;
  for (std::uint64_t seed = 1; seed <= 150; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Random random(seed);
    std::vector<std::unique_ptr<Life>> lives;
    int next = 1;
    for (int action = 0; action < 40; ++action) {
      const std::size_t chosen = lives.empty() ? 0 : random.below(lives.size());
      switch (random.below(8)) {
        case 0:
        case 1: {
          EventStreamOptions<int> options{.prefetch = 1 + random.below(6), .timeout = 1ms};
          const bool sheds = random.below(2) == 0;
          options.overflow = sheds ? Overflow<int>(KeepOldest{1 + random.below(4)}) : spill<int>();
          lives.push_back(std::make_unique<Life>(open(std::move(options)), sheds, next));
          break;
        }
        case 2:
          if (lives.empty()) break;
          if (random.below(2) == 0) {
            EXPECT_TRUE(lives[chosen]->stream.close_blocking());
          }
          lives.erase(lives.begin() + static_cast<std::ptrdiff_t>(chosen));
          break;
        case 3:
        case 4: {
          if (lives.empty()) break;
          Life& life = *lives[chosen];
          const Result<Batch<int>> batch = life.stream.next_batch_blocking();
          if (!batch) {
            ASSERT_EQ(batch.error().code(), ErrorCode::timeout);
            ASSERT_TRUE(life.sheds || life.next == next) << "nothing is read while something waits";
            lives.erase(lives.begin() + static_cast<std::ptrdiff_t>(chosen));
            break;
          }
          for (const int event : *batch) {
            ASSERT_GE(event, life.next);
            ASSERT_TRUE(life.sheds || event == life.next);
            life.next = event + 1;
            ++read;
          }
          break;
        }
        default:
          for (std::uint64_t count = random.below(12); count != 0; --count) events->notify(next++);
          for (std::uint64_t steps = random.below(40); steps != 0; --steps) runtime.step();
      }
    }
    lives.clear();
    expect_nothing_left();
    if (HasFailure()) return;
  }
  EXPECT_GT(read, 500U) << "the lives are too quiet to show anything";
}

std::string kind_name(const testing::TestParamInfo<Kind>& chosen) {
  static constexpr std::array names{"Serial", "Supervised", "Staged"};
  return names.at(static_cast<std::size_t>(chosen.param));
}

INSTANTIATE_TEST_SUITE_P(Managers, EventStreams, testing::Values(Kind::serial, Kind::supervised, Kind::staged),
                         kind_name);

}  // namespace
}  // namespace dagverk
