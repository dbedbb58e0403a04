// What events cost the heap once everything is warm: nothing; where batches stand in queues, those take a block for
// several batches now and then. This program counts every `operator new`.

#include "dagverk/runtime/detail/chunk.hpp"
#include "dagverk/runtime/runtime.hpp"
#include "dagverk/stage/consumer.hpp"
#include "dagverk/stage/dispatchers/broadcast.hpp"
#include "dagverk/stage/dispatchers/demand.hpp"
#include "dagverk/stage/dispatchers/partition.hpp"
#include "dagverk/stage/producer.hpp"
#include "dagverk/stage/producer_consumer.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <utility>
#include <vector>

namespace {

std::atomic<std::uint64_t> allocations{0};

void* allocate(std::size_t size, std::size_t alignment) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  // aligned_alloc wants a multiple of the alignment.
  void* memory = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t size) { return allocate(size, alignof(std::max_align_t)); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t /*size*/) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t /*alignment*/) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t /*size*/, std::align_val_t /*alignment*/) noexcept { std::free(memory); }

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
    const std::uint64_t before = allocations.load();
    const std::uint64_t until = count_.load() + deliveries;
    source.cast(Source::Give{events});
    for (std::uint64_t now = count_.load(); now < until; now = count_.load()) count_.wait(now);
    return allocations.load() - before;
  }

  std::atomic<std::uint64_t> count_{0};
  Runtime runtime_{RuntimeOptions{.workers = 1}};
};

constexpr std::uint64_t many = 1'000'000;

TEST_F(WarmEvents, broadcasts_cost_the_heap_nothing) {
  const auto source = runtime_.start<Source>(broadcast_dispatcher<Event>()).value();
  serve(source, 4);
  count(source, many, 4 * many);
  EXPECT_EQ(count(source, many, 4 * many), 0U);
}

TEST_F(WarmEvents, events_that_are_shared_out_cost_the_heap_nothing) {
  const auto source = runtime_.start<Source>(demand_dispatcher<Event>()).value();
  serve(source, 4);
  count(source, many, many);
  EXPECT_EQ(count(source, many, many), 0U);
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

}  // namespace
}  // namespace dagverk
