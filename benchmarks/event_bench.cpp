// How many events a second does a manager take from one publisher and bring to all of its handlers?

#include "bench_report.hpp"
#include "resident_memory.hpp"

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
#include <latch>
#include <memory>
#include <span>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

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

/// Waits for each event until every handler is done with it.
class SyncPublisher : public GenServer<SyncPublisher> {
 public:
  struct Go {
    using Reply = Number;
    Number count;
  };
  explicit SyncPublisher(EventManager<Number>* events) : events_(*events) {}
  Async<Number> handle_call(Go go) {
    for (Number sent = 0; sent < go.count; ++sent) {
      Async<Result<std::vector<HandlerOutcome>>> publishing = events_.sync_notify(Number{1});
      Result<std::vector<HandlerOutcome>> outcomes = co_await publishing;
      DAGVERK_ASSERT(outcomes.has_value());
    }
    co_return go.count;
  }

 private:
  EventManager<Number>& events_;
};

template <template <class> class Manager>
double sync_figure(unsigned handlers) {
  constexpr Number count = 200'000;
  std::deque<Tally> tallies(handlers);
  Runtime runtime(RuntimeOptions{.workers = 2});
  Manager<Number> events(runtime);
  for (unsigned handler = 0; handler < handlers; ++handler) {
    DAGVERK_ASSERT(
        events.add_handler_blocking(event_handler<Adding>(concat("h", handler), HandlerOptions(), &tallies[handler])));
  }
  const auto publisher = runtime.start<SyncPublisher>(static_cast<EventManager<Number>*>(&events)).value();
  const double taken = seconds([&] {
    DAGVERK_ASSERT(publisher.call_blocking_within<SyncPublisher::Go>(std::chrono::minutes(5), count) == count);
  });
  for (const Tally& tally : tallies) DAGVERK_ASSERT(tally.sum.load() == count);
  return static_cast<double>(count) / taken;
}

// --- a hung, a throwing and a healthy handler ------------------------------------------------------------------------

/// Never returns from its tenth event, until the measurement is over.
class Hung : public EventHandler<Number> {
 public:
  explicit Hung(std::latch* over) : over_(*over) {}
  void handle_event(const Number& /*event*/) {
    if (++seen_ == 10) over_.wait();
  }

 private:
  std::latch& over_;
  int seen_ = 0;
};

class Throwing : public EventHandler<Number> {
 public:
  void handle_event(const Number& /*event*/) {
    if (++seen_ % 100 == 0) throw std::runtime_error("a hundred");
  }

 private:
  int seen_ = 0;
};

struct Trouble {
  double events_per_second = 0;
  double memory_kib = 0;  ///< how much resident memory grew over the second half
};

/// A million events from a thread, in bursts, each published when the healthy handler has the one before; then the
/// accounts, which must be exact. Under the serial manager a hung handler would hold up all: there it only throws.
template <template <class> class Manager, bool OneHangs>
Trouble trouble_of() {
  constexpr Number count = 1'000'000;
  constexpr Number burst = 2'000;
  constexpr std::size_t kept = 10'000;
  std::latch over(1);
  Tally healthy;
  Runtime runtime(RuntimeOptions{.workers = 2, .logger = &null_logger()});
  auto events = std::make_unique<Manager<Number>>(runtime);
  const auto add = [&](HandlerSpec<Number> spec) {
    DAGVERK_ASSERT(events->add_handler_blocking(std::move(spec)).has_value());
  };
  HandlerOptions options{.overflow = KeepNewest{kept}};
  add(event_handler<Adding>("healthy", options, &healthy));
  HandlerOptions often = options;
  often.restart = {
      .delay_first = std::chrono::milliseconds(1), .delay_max = std::chrono::milliseconds(1), .crashes_max = 0};
  add(event_handler<Throwing>("throwing", often));
  HandlerOptions blocks = options;
  blocks.blocking = true;
  if (OneHangs) add(event_handler<Hung>("hung", blocks, &over));

  std::size_t before = 0;
  const double taken = seconds([&] {
    for (Number sent = 0; sent < count;) {
      if (sent == count / 2) before = resident_bytes();
      for (const Number end = sent + burst; sent < end; ++sent) events->notify(Number{1});
      while (healthy.events.load(std::memory_order_acquire) < sent) {
      }
    }
  });
  const std::size_t after = resident_bytes();
  const EventStats stats = events->stats_blocking().value();
  DAGVERK_ASSERT(stats.find("healthy")->delivered == count);
  DAGVERK_ASSERT(stats.refused == 0 && stats.discarded == 0);
  for (const HandlerStats& handler : stats.handlers) {
    DAGVERK_ASSERT(handler.published == count);
    DAGVERK_ASSERT(handler.balanced());
  }
  if (OneHangs) {
    const HandlerStats& hung = *stats.find("hung");
    DAGVERK_ASSERT(hung.delivered == 9 && hung.buffered <= kept);
    DAGVERK_ASSERT(stats.find("throwing")->dropped.crashed != 0);
  }
  over.count_down();
  events.reset();
  return {static_cast<double>(count) / taken, after > before ? static_cast<double>(after - before) / 1024 : 0};
}

template <template <class> class Manager, bool OneHangs>
void trouble_figures(BenchReport& report, std::string_view manager) {
  report.run(concat("event.trouble.", manager), "1/s",
             [] { return trouble_of<Manager, OneHangs>().events_per_second; });
  report.run(concat("event.trouble_memory.", manager), "KiB",
             [] { return trouble_of<Manager, OneHangs>().memory_kib; });
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
    report.run(concat("event.sync.serial.N", handlers), "1/s",
               [&] { return sync_figure<SerialEventManager>(handlers); });
    report.run(concat("event.sync.supervised.N", handlers), "1/s",
               [&] { return sync_figure<SupervisedEventManager>(handlers); });
    report.run(concat("event.sync.staged.N", handlers), "1/s",
               [&] { return sync_figure<StagedEventManager>(handlers); });
  }
  trouble_figures<SerialEventManager, false>(report, "serial");
  trouble_figures<SupervisedEventManager, true>(report, "supervised");
  trouble_figures<StagedEventManager, true>(report, "staged");
}

}  // namespace dagverk::bench
