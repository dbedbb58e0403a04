// How many events a second does a manager take from one publisher and bring to all of its handlers?

#include "bench_report.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"
#include "dagverk/event/serial_event_manager.hpp"
#include "dagverk/event/staged_event_manager.hpp"
#include "dagverk/event/supervised_event_manager.hpp"
#include "dagverk/runtime/gen_server.hpp"
#include "dagverk/runtime/runtime.hpp"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <deque>
#include <span>

namespace dagverk::bench {
namespace {

using Number = std::uint64_t;

struct Tally {
  std::atomic<Number> events{0};
  std::atomic<Number> sum{0};
};

/// Adds every event into a total that is checked at the end. Its tally has one writer.
class Adding : public EventHandler<Number> {
 public:
  explicit Adding(Tally* tally) : tally_(*tally) {}
  void handle_event(const Number& event) {
    tally_.sum.store(tally_.sum.load(std::memory_order_relaxed) + event, std::memory_order_relaxed);
    tally_.events.store(tally_.events.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }

 private:
  Tally& tally_;
};

/// The same, as many at a time as there are.
class AddingBatches : public EventHandler<Number> {
 public:
  explicit AddingBatches(Tally* tally) : tally_(*tally) {}
  void handle_batch(std::span<const Number> events) {
    Number sum = tally_.sum.load(std::memory_order_relaxed);
    for (const Number event : events) sum += event;
    tally_.sum.store(sum, std::memory_order_relaxed);
    tally_.events.store(tally_.events.load(std::memory_order_relaxed) + events.size(), std::memory_order_release);
  }

 private:
  Tally& tally_;
};

/// Publishes one by one, in bursts, and never more ahead of the slowest handler than nothing is dropped. Looks at the
/// handlers' counts only when it may not go on, and then seldom: each look takes a cache line away from a handler.
class Publisher : public GenServer<Publisher> {
 public:
  struct Go {
    using Reply = Number;
    Number count;
  };
  struct Burst {};

  Publisher(EventManager<Number>* events, const std::deque<Tally>* tallies) : events_(*events), tallies_(*tallies) {}

  void handle_call(Go go, From<Go> from) {
    count_ = go.count;
    from_ = std::move(from);
    self().cast(Burst{});
  }
  void handle_cast(Burst) {
    if (sent_ == allowed_ && !may_go_on()) return;
    for (const Number end = std::min(allowed_, sent_ + 256); sent_ < end; ++sent_) events_.notify(Number{1});
    self().cast(Burst{});
  }
  void handle_info(Burst burst) { handle_cast(burst); }

 private:
  /// False when it is to wait, or all is done.
  bool may_go_on() {
    Number slowest = sent_;
    for (const Tally& tally : tallies_) slowest = std::min(slowest, tally.events.load(std::memory_order_acquire));
    allowed_ = std::min(count_, slowest + ahead_max);
    if (slowest == count_) {
      from_.reply(slowest);
    } else if (sent_ == allowed_) {
      send_after(std::chrono::microseconds(100), Burst{});
    }
    return sent_ < allowed_;
  }

  static constexpr Number ahead_max = 50'000;
  EventManager<Number>& events_;
  const std::deque<Tally>& tallies_;
  Number count_ = 0;
  Number sent_ = 0;
  Number allowed_ = 0;
  From<Go> from_;
};

template <template <class> class Manager, class Handler>
double notify_figure(unsigned handlers) {
  constexpr Number count = 4'000'000;
  std::deque<Tally> tallies(handlers);
  Runtime runtime(RuntimeOptions{.workers = 2});
  Manager<Number> events(runtime);
  HandlerOptions options;
  options.overflow = KeepNewest{200'000};
  for (unsigned handler = 0; handler < handlers; ++handler) {
    DAGVERK_ASSERT(
        events.add_handler_blocking(event_handler<Handler>(concat("h", handler), options, &tallies[handler])));
  }
  const ServerRef<Publisher> publisher =
      runtime.start<Publisher>(static_cast<EventManager<Number>*>(&events), &tallies).value();
  const double taken = seconds(
      [&] { DAGVERK_ASSERT(publisher.call_blocking_within<Publisher::Go>(std::chrono::minutes(5), count) == count); });
  for (const Tally& tally : tallies) DAGVERK_ASSERT(tally.sum.load() == count);
  return static_cast<double>(count) / taken;
}

}  // namespace

void event_benchmarks(BenchReport& report) {
  for (const unsigned handlers : {1U, 4U, 16U}) {
    report.run(concat("event.notify.serial.N", handlers), "1/s",
               [&] { return notify_figure<SerialEventManager, Adding>(handlers); });
    report.run(concat("event.notify.supervised.N", handlers), "1/s",
               [&] { return notify_figure<SupervisedEventManager, Adding>(handlers); });
    report.run(concat("event.notify.staged.N", handlers), "1/s",
               [&] { return notify_figure<StagedEventManager, Adding>(handlers); });
    report.run(concat("event.notify.supervised_batches.N", handlers), "1/s",
               [&] { return notify_figure<SupervisedEventManager, AddingBatches>(handlers); });
    report.run(concat("event.notify.staged_batches.N", handlers), "1/s",
               [&] { return notify_figure<StagedEventManager, AddingBatches>(handlers); });
  }
}

}  // namespace dagverk::bench
