// What events cost the heap once everything is warm: nothing; where batches stand in queues, those take a block for
// several batches now and then. And what a subscription costs that nothing comes by. This program counts every
// `operator new`.

#include "support/count_allocations.hpp"

#include "dagverk/runtime/detail/chunk.hpp"
#include "dagverk/runtime/runtime.hpp"
#include "dagverk/stage/consumer.hpp"
#include "dagverk/stage/dispatchers/broadcast.hpp"
#include "dagverk/stage/dispatchers/demand.hpp"
#include "dagverk/stage/dispatchers/partition.hpp"
#include "dagverk/stage/producer.hpp"
#include "dagverk/stage/producer_consumer.hpp"
#include "dagverk/stage/stage_control.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace dagverk {
namespace {

using Event = std::uint64_t;

/// Makes what it was told to, when it is asked for.
class Source : public Producer<Source, Event> {
 public:
  struct Give {
    std::uint64_t events;
  };
  explicit Source(std::unique_ptr<Dispatcher<Event>> dispatcher) : Producer(std::move(dispatcher)) {}
  void handle_demand(std::uint64_t count) {
    wanted_ += count;
    give();
  }
  void handle_cast(Give more) {
    left_ += more.events;
    give();
  }

 private:
  void give() {
    const std::uint64_t count = std::min(wanted_, left_);
    wanted_ -= count;
    left_ -= count;
    emit(make_batch_of(static_cast<std::size_t>(count), [](std::size_t index) noexcept { return Event{index}; }));
  }
  std::uint64_t wanted_ = 0;
  std::uint64_t left_ = 0;
};

class Between : public ProducerConsumer<Between, Event, Event> {
 public:
  explicit Between(ServerRef<Source> source) : source_(source) {}
  void init() { subscribe_to(ProducerRef<Event>(source_)).value(); }
  void handle_events(Batch<Event> events) { emit(std::move(events)); }

 private:
  ServerRef<Source> source_;
};

class Sink : public Consumer<Sink, Event> {
 public:
  Sink(ProducerRef<Event> producer, std::atomic<std::uint64_t>& count, std::size_t partition)
      : producer_(producer), count_(count), partition_(partition) {}
  void init() {
    SubscribeOptions<Event> options;
    options.partition = partition_;
    subscribe_to(producer_, std::move(options)).value();
  }
  void handle_events(const Batch<Event>& events) {
    count_.fetch_add(events.size());
    count_.notify_all();
  }

 private:
  ProducerRef<Event> producer_;
  std::atomic<std::uint64_t>& count_;
  std::size_t partition_;
};

class WarmEvents : public ::testing::Test {
 protected:
  void SetUp() override {
#if defined(DAGVERK_PLAIN_ALLOCATION)
    GTEST_SKIP() << "under a sanitizer each message is an allocation of its own, so that it sees them";
#endif
  }

  void serve(ProducerRef<Event> producer, std::size_t consumers) {
    for (std::size_t index = 0; index < consumers; ++index) {
      runtime_.start<Sink>(producer, std::ref(count_), index).value();
    }
  }
  /// How often the heap was asked while `deliveries` events came, of `events` that were given.
  std::uint64_t count(ServerRef<Source> source, std::uint64_t events, std::uint64_t deliveries) {
    const std::uint64_t before = allocation_count();
    const std::uint64_t until = count_.load() + deliveries;
    source.cast(Source::Give{events});
    for (std::uint64_t now = count_.load(); now < until; now = count_.load()) count_.wait(now);
    return allocation_count() - before;
  }

  std::atomic<std::uint64_t> count_{0};
  Runtime runtime_{RuntimeOptions{.workers = 1}};
};

constexpr std::uint64_t many = 1'000'000;
// The request for them is a message: whether the last one's memory is back in time for it depends on who is faster.
constexpr std::uint64_t request = 1;

TEST_F(WarmEvents, broadcasts_cost_the_heap_nothing) {
  const auto source = runtime_.start<Source>(broadcast_dispatcher<Event>()).value();
  serve(source, 4);
  count(source, many, 4 * many);
  EXPECT_LE(count(source, many, 4 * many), request);
}

TEST_F(WarmEvents, events_that_are_shared_out_cost_the_heap_nothing) {
  const auto source = runtime_.start<Source>(demand_dispatcher<Event>()).value();
  serve(source, 4);
  count(source, many, many);
  EXPECT_LE(count(source, many, many), request);
}

TEST_F(WarmEvents, a_stage_between_two_costs_the_heap_next_to_nothing) {
  const auto source = runtime_.start<Source>(demand_dispatcher<Event>()).value();
  serve(runtime_.start<Between>(source).value(), 1);
  count(source, many, many);
  EXPECT_LE(count(source, many, many), many / 1000);  // its queue of input takes a block for some five batches
}

TEST_F(WarmEvents, partitions_cost_the_heap_next_to_nothing) {
  const auto source = runtime_.start<Source>(partition_dispatcher<Event>(4)).value();
  serve(source, 4);
  count(source, many, many);
  EXPECT_LE(count(source, many, many), many / 1000);  // queues grow and shrink, a block for some twenty batches
}

/// Subscribes once to each of many producers.
class Listener : public Consumer<Listener, Event> {
 public:
  struct Subscribe {
    using Reply = void;
    const std::vector<ServerRef<Source>>* sources;
    SubscribeOptions<Event> options;
  };
  Result<void> handle_call(Subscribe subscribe) {
    for (const ServerRef<Source> source : *subscribe.sources) {
      const Result<SubscriptionId> done = subscribe_to(ProducerRef<Event>(source), subscribe.options);
      if (!done) return done.error();
    }
    return {};
  }
  void handle_events(const Batch<Event>& /*events*/) {}
};

class IdleSubscriptions : public WarmEvents {
 protected:
  /// Bytes of the heap for each of so many producers' subscriptions to as many consumers, all with the same options.
  std::uint64_t bytes_each(std::size_t side, const SubscribeOptions<Event>& options) {
    std::vector<ServerRef<Source>> sources;
    std::vector<ServerRef<Listener>> listeners;
    for (std::size_t index = 0; index < side; ++index) {
      sources.push_back(runtime_.start<Source>(broadcast_dispatcher<Event>()).value());
      listeners.push_back(runtime_.start<Listener>().value());
    }
    const std::uint64_t before = allocated_bytes();
    for (const ServerRef<Listener> listener : listeners) {
      EXPECT_TRUE(listener.call_blocking<Listener::Subscribe>(&sources, options));
    }
    for (const ServerRef<Source> source : sources) {  // answered behind the last subscription
      EXPECT_EQ(stage_status_blocking(source)->consumers.size(), side);
    }
    return (allocated_bytes() - before) / (side * side);
  }
};

TEST_F(IdleSubscriptions, cost_at_most_512_bytes_both_sides_together) {
  SubscribeOptions<Event> options;
  options.cancel = CancelMode::temporary;
  EXPECT_LE(bytes_each(100, options), 512U);
  EXPECT_GE(bytes_each(100, options), 256U);  // or something is not counted
}

TEST_F(IdleSubscriptions, with_options_of_their_own_cost_at_most_704_bytes) {
  SubscribeOptions<Event> options;
  options.selector = [](const Event& event) { return event % 2 == 0; };
  EXPECT_LE(bytes_each(100, options), 704U);
}

}  // namespace
}  // namespace dagverk
