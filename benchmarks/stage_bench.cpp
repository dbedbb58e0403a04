// What does an event cost on its way from a producer to its consumers? Two workers, max_demand 1000 unless the name
// says otherwise; every consumer adds every 8-byte event (or one word of each 256-byte event) into a total that is
// checked.

#include "bench_report.hpp"
#include "resident_memory.hpp"

#include "dagverk/runtime/runtime.hpp"
#include "dagverk/stage/consumer.hpp"
#include "dagverk/stage/dispatchers/partition.hpp"
#include "dagverk/stage/producer.hpp"
#include "dagverk/stage/producer_consumer.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace dagverk::bench {
namespace {

using namespace std::chrono_literals;

void require(bool condition) {
  if (condition) return;
  std::fprintf(stderr, "dagverk_bench: a total is wrong\n");
  std::abort();
}

struct Wide {
  std::array<std::uint64_t, 32> words;
};

template <class Event>
[[nodiscard]] Event event_of(std::uint64_t number) noexcept {
  if constexpr (std::is_same_v<Event, Wide>) {
    Wide wide;  // NOLINT(cppcoreguidelines-pro-type-member-init): one word is all that is read
    wide.words[0] = number;
    return wide;
  } else {
    return number;
  }
}
[[nodiscard]] std::uint64_t number_of(std::uint64_t event) noexcept { return event; }
[[nodiscard]] std::uint64_t number_of(const Wide& event) noexcept { return event.words[0]; }

/// Adds up both halves at once: with one sum, each addition waits for the last.
template <class Event>
[[nodiscard]] std::uint64_t sum_of(const Batch<Event>& events) noexcept {
  const std::size_t half = events.size() / 2;
  std::uint64_t first = 0;
  std::uint64_t second = 0;
  for (std::size_t index = 0; index < half; ++index) {
    first += number_of(events[index]);
    second += number_of(events[half + index]);
  }
  if (events.size() % 2 != 0) second += number_of(events.back());
  return first + second;
}

struct Go {
  std::uint64_t events;
};

/// Answers demand with whole batches, once it was told to go.
template <class Event>
class BatchSource : public Producer<BatchSource<Event>, Event> {
 public:
  enum class Kind : std::uint8_t { broadcast, demand, partition };
  explicit BatchSource(Kind kind) : Producer<BatchSource, Event>(dispatcher_of(kind)) {}

  void handle_demand(std::uint64_t count) {
    wanted_ += count;
    give();
  }
  void handle_cast(Go go) {
    left_ = go.events;
    give();
  }

 private:
  static std::unique_ptr<Dispatcher<Event>> dispatcher_of(Kind kind) {
    if constexpr (std::is_integral_v<Event>) {
      if (kind == Kind::partition) return partition_dispatcher<Event>(4);
    }
    return kind == Kind::broadcast ? broadcast_dispatcher<Event>() : demand_dispatcher<Event>();
  }
  void give() {
    const std::uint64_t count = std::min(wanted_, left_);
    wanted_ -= count;
    left_ -= count;
    const std::uint64_t first = next_;
    next_ += count;
    this->emit(make_batch_of(static_cast<std::size_t>(count),
                             [first](std::size_t index) noexcept { return event_of<Event>(first + index); }));
  }

  std::uint64_t wanted_ = 0;
  std::uint64_t left_ = 0;
  std::uint64_t next_ = 0;
};

/// Emits one event for each cast.
class EachSource : public Producer<EachSource, std::uint64_t> {
 public:
  struct Note {
    std::uint64_t value;
  };
  EachSource()
      : Producer(broadcast_dispatcher<std::uint64_t>(), ProducerOptions{.buffer_size = ProducerOptions::unbounded}) {}
  struct Consumers {
    using Reply = std::size_t;
  };
  void handle_cast(Note note) { emit(note.value); }
  std::size_t handle_call(Consumers) { return consumer_count(); }
};

class Caster : public GenServer<Caster> {
 public:
  explicit Caster(ServerRef<EachSource> source) : source_(source) {}
  struct More {};
  void handle_cast(Go go) {
    left_ = go.events;
    self().cast(More{});
  }
  void handle_cast(More) {
    const std::uint64_t burst = std::min<std::uint64_t>(left_, 256);
    for (std::uint64_t sent = 0; sent < burst; ++sent) source_.cast(EachSource::Note{next_++});
    left_ -= burst;
    if (left_ != 0) self().cast(More{});
  }

 private:
  ServerRef<EachSource> source_;
  std::uint64_t left_ = 0;
  std::uint64_t next_ = 0;
};

struct Finish {
  using Reply = std::uint64_t;
  std::uint64_t events;
};

template <class Event>
class Adder : public Consumer<Adder<Event>, Event> {
 public:
  Adder(ProducerRef<Event> producer, std::int64_t max_demand) : producer_(producer), max_demand_(max_demand) {}
  void init() {
    SubscribeOptions<Event> options;
    options.max_demand = max_demand_;
    this->subscribe_to(producer_, std::move(options)).value();
  }
  void handle_events(const Batch<Event>& events) {
    sum_ += sum_of(events);
    count_ += events.size();
    settle();
  }
  void handle_call(Finish finish, From<Finish> from) {
    wanted_ = finish.events;
    from_ = std::move(from);
    settle();
  }

 private:
  void settle() {
    if (from_ && count_ >= wanted_) from_.reply(sum_);
  }

  ProducerRef<Event> producer_;
  std::int64_t max_demand_;
  std::uint64_t sum_ = 0;
  std::uint64_t count_ = 0;
  std::uint64_t wanted_ = std::uint64_t(-1);
  From<Finish> from_;
};

template <class Event>
double broadcast_batches(unsigned consumers, std::uint64_t events) {
  Runtime runtime(RuntimeOptions{.workers = 2});
  auto source = runtime.start<BatchSource<Event>>(BatchSource<Event>::Kind::broadcast).value();
  std::vector<ServerRef<Adder<Event>>> adders;
  adders.reserve(consumers);
  for (unsigned index = 0; index < consumers; ++index) {
    adders.push_back(runtime.start<Adder<Event>>(source, std::int64_t{1000}).value());
  }
  const double elapsed = seconds([&] {
    source.cast(Go{events});
    for (const auto adder : adders) {
      require(adder.template call_blocking_within<Finish>(120s, events) == events * (events - 1) / 2);
    }
  });
  return static_cast<double>(events) * consumers / elapsed;
}

double broadcast_each(unsigned consumers, std::uint64_t events) {
  Runtime runtime(RuntimeOptions{.workers = 2});
  auto source = runtime.start<EachSource>().value();
  auto caster = runtime.start<Caster>(source).value();
  std::vector<ServerRef<Adder<std::uint64_t>>> adders;
  adders.reserve(consumers);
  for (unsigned index = 0; index < consumers; ++index) {
    adders.push_back(runtime.start<Adder<std::uint64_t>>(source, std::int64_t{1000}).value());
  }
  const double elapsed = seconds([&] {
    caster.cast(Go{events});
    for (const auto adder : adders) {
      require(adder.call_blocking_within<Finish>(120s, events) == events * (events - 1) / 2);
    }
  });
  return static_cast<double>(events) / elapsed;
}

/// `consumers` take turns; each takes an unknown share, so totals are asked for once all has come.
class ShareAdder : public Consumer<ShareAdder, std::uint64_t> {
 public:
  struct Tally {
    std::atomic<std::uint64_t> left;
    std::atomic<std::uint64_t> sum{0};
  };
  struct Wait {
    using Reply = void;
  };
  ShareAdder(ProducerRef<std::uint64_t> producer, std::shared_ptr<Tally> tally, std::int64_t max_demand,
             unsigned partition)
      : producer_(producer), tally_(std::move(tally)), max_demand_(max_demand), partition_(partition) {}
  void init() {
    SubscribeOptions<std::uint64_t> options;
    options.max_demand = max_demand_;
    options.partition = partition_;
    subscribe_to(producer_, std::move(options)).value();
  }
  void handle_events(const Batch<std::uint64_t>& events) {
    tally_->sum.fetch_add(sum_of(events), std::memory_order_relaxed);
    if (tally_->left.fetch_sub(events.size(), std::memory_order_acq_rel) == events.size()) {
      tally_->left.notify_all();
    }
  }

 private:
  ProducerRef<std::uint64_t> producer_;
  std::shared_ptr<Tally> tally_;  // shared by all consumers of the round and the measuring thread; ends with the round
  std::int64_t max_demand_;
  unsigned partition_;
};

using Numbers = BatchSource<std::uint64_t>;

double shared_out(Numbers::Kind kind, unsigned consumers, std::int64_t max_demand, std::uint64_t events) {
  Runtime runtime(RuntimeOptions{.workers = 2});
  auto source = runtime.start<Numbers>(kind).value();
  auto tally = std::make_shared<ShareAdder::Tally>();
  tally->left = events;
  std::vector<ServerRef<ShareAdder>> adders;
  adders.reserve(consumers);
  for (unsigned index = 0; index < consumers; ++index) {
    adders.push_back(runtime.start<ShareAdder>(source, tally, max_demand, index).value());
  }
  const double elapsed = seconds([&] {
    source.cast(Go{events});
    for (std::uint64_t left = tally->left.load(); left != 0; left = tally->left.load()) tally->left.wait(left);
  });
  require(tally->sum.load() == events * (events - 1) / 2);
  return static_cast<double>(events) / elapsed;
}

/// Keeps its thread for so long with each event.
class Worker : public Consumer<Worker, std::uint64_t> {
 public:
  struct Tally {
    std::atomic<std::uint64_t> left;
  };
  Worker(ServerRef<Numbers> source, std::shared_ptr<Tally> tally, std::uint64_t steps, std::int64_t max_demand)
      : source_(source), tally_(std::move(tally)), steps_(steps), max_demand_(max_demand) {}
  void init() {
    SubscribeOptions<std::uint64_t> options;
    options.max_demand = max_demand_;
    subscribe_to(ProducerRef<std::uint64_t>(source_), std::move(options)).value();
  }
  /// Each multiplication waits for the last, and each event's first for the event before.
  static std::uint64_t work(std::uint64_t value, std::uint64_t steps) noexcept {
    for (std::uint64_t step = 0; step < steps; ++step) value = value * 0x9e3779b97f4a7c15U + 1;
    return value;
  }
  void handle_events(const Batch<std::uint64_t>& events) {
    for (const std::uint64_t event : events) done_ = work(done_ ^ event, steps_);
    if (tally_->left.fetch_sub(events.size(), std::memory_order_acq_rel) == events.size()) tally_->left.notify_all();
  }
  void terminate(const ExitReason& /*reason*/) { require(done_ != 1); }  // or nobody would need to work

 private:
  ServerRef<Numbers> source_;
  std::shared_ptr<Tally> tally_;  // shared by all workers of the round and the measuring thread; ends with the round
  std::uint64_t steps_;
  std::int64_t max_demand_;
  std::uint64_t done_ = 0;
};

/// How many steps of Worker::work take `wanted`.
std::uint64_t steps_in(Duration wanted) {
  constexpr std::uint64_t probe = 2'000'000;
  static const double step_ns = [] {
    double best = 1e9;
    for (int round = 0; round < 5; ++round) {
      best = std::min(best, seconds([] { require(Worker::work(1, probe) != 1); }) * 1e9 / probe);
    }
    return best;
  }();
  return std::max<std::uint64_t>(1, static_cast<std::uint64_t>(static_cast<double>(wanted.count()) / step_ns));
}

/// Events a second through the demand dispatcher to four consumers that work for `each` with every event.
double worked_off(unsigned workers, Duration each) {
  const std::uint64_t events =
      std::clamp<std::uint64_t>(200'000'000 / static_cast<std::uint64_t>(each.count()), 4'000, 10'000'000);
  const std::int64_t max_demand = each < 1us ? 1000 : 20;  // slow handlers have small batches, to share the work out
  Runtime runtime(RuntimeOptions{.workers = workers});
  auto source = runtime.start<Numbers>(Numbers::Kind::demand).value();
  auto tally = std::make_shared<Worker::Tally>();
  tally->left = events;
  for (int index = 0; index < 4; ++index) {
    runtime.start<Worker>(source, tally, steps_in(each), max_demand).value();
  }
  const double elapsed = seconds([&] {
    source.cast(Go{events});
    for (std::uint64_t left = tally->left.load(); left != 0; left = tally->left.load()) tally->left.wait(left);
  });
  return static_cast<double>(events) / elapsed;
}

/// Adds one to every event, in its place when nobody else holds it.
class AddOne : public ProducerConsumer<AddOne, std::uint64_t, std::uint64_t> {
 public:
  explicit AddOne(ServerRef<Numbers> source) : source_(source) {}
  void init() { subscribe_to(ProducerRef<std::uint64_t>(source_)).value(); }
  void handle_events(Batch<std::uint64_t> events) {
    const std::span<std::uint64_t> own = events.mutable_events();
    require(own.size() == events.size());
    for (std::uint64_t& event : own) ++event;
    emit(std::move(events));
  }

 private:
  ServerRef<Numbers> source_;
};

double pipeline_of_three(std::uint64_t events) {
  Runtime runtime(RuntimeOptions{.workers = 2});
  auto source = runtime.start<Numbers>(Numbers::Kind::demand).value();
  auto middle = runtime.start<AddOne>(source).value();
  auto last = runtime.start<Adder<std::uint64_t>>(middle, std::int64_t{1000}).value();
  const double elapsed = seconds([&] {
    source.cast(Go{events});
    require(last.call_blocking_within<Finish>(120s, events) == events * (events + 1) / 2);
  });
  return static_cast<double>(events) / elapsed;
}

// One event at a time through three idle stages: the time from its cast to its handling in the last.

class Ticker : public Producer<Ticker, std::int64_t> {
 public:
  struct Tick {};
  void handle_cast(Tick /*tick*/) { emit(system_clock().steady_now().time_since_epoch().count()); }
};
class Passer : public ProducerConsumer<Passer, std::int64_t, std::int64_t> {
 public:
  explicit Passer(ServerRef<Ticker> ticker) : ticker_(ticker) {}
  void init() { subscribe_to(ProducerRef<std::int64_t>(ticker_)).value(); }
  void handle_events(Batch<std::int64_t> events) { emit(std::move(events)); }

 private:
  ServerRef<Ticker> ticker_;
};
class Stopwatch : public Consumer<Stopwatch, std::int64_t> {
 public:
  struct Median {
    using Reply = double;
    std::size_t ticks;
  };
  Stopwatch(ServerRef<Ticker> ticker, ServerRef<Passer> passer) : ticker_(ticker), passer_(passer) {}
  void init() { subscribe_to(ProducerRef<std::int64_t>(passer_)).value(); }
  void handle_call(Median median, From<Median> from) {
    wanted_ = median.ticks;
    taken_.reserve(wanted_);
    from_ = std::move(from);
    ticker_.cast(Ticker::Tick{});
  }
  void handle_events(const Batch<std::int64_t>& events) {
    taken_.push_back(system_clock().steady_now().time_since_epoch().count() - events.front());
    if (taken_.size() < wanted_) {
      ticker_.cast(Ticker::Tick{});
      return;
    }
    std::sort(taken_.begin(), taken_.end());
    from_.reply(static_cast<double>(taken_[taken_.size() / 2]));
  }

 private:
  ServerRef<Ticker> ticker_;
  ServerRef<Passer> passer_;
  std::vector<std::int64_t> taken_;
  std::size_t wanted_ = 0;
  From<Median> from_;
};

double latency_of_three() {
  Runtime runtime(RuntimeOptions{.workers = 2});
  auto ticker = runtime.start<Ticker>().value();
  auto passer = runtime.start<Passer>(ticker).value();
  auto watch = runtime.start<Stopwatch>(ticker, passer).value();
  return watch.call_blocking_within<Stopwatch::Median>(60s, std::size_t{100'000}).value();
}

/// Subscribes once to each of many producers.
class Listener : public Consumer<Listener, std::uint64_t> {
 public:
  struct Subscribe {
    using Reply = void;
    const std::vector<ServerRef<EachSource>>* sources;
  };
  Result<void> handle_call(Subscribe subscribe) {
    SubscribeOptions<std::uint64_t> options;
    options.cancel = CancelMode::temporary;
    for (const ServerRef<EachSource> source : *subscribe.sources) {
      const Result<SubscriptionId> done = subscribe_to(ProducerRef<std::uint64_t>(source), options);
      if (!done) return done.error();
    }
    return {};
  }
  void handle_events(const Batch<std::uint64_t>& /*events*/) {}
};

double idle_subscription_bytes() {
  constexpr std::size_t side = 200;
  Runtime runtime(RuntimeOptions{.workers = 2});
  std::vector<ServerRef<EachSource>> sources;
  std::vector<ServerRef<Listener>> listeners;
  for (std::size_t index = 0; index < side; ++index) {
    sources.push_back(runtime.start<EachSource>().value());
    listeners.push_back(runtime.start<Listener>().value());
  }
  const std::size_t before = resident_bytes();
  for (const ServerRef<Listener> listener : listeners) {
    require(listener.call_blocking_within<Listener::Subscribe>(60s, &sources).has_value());
  }
  for (const ServerRef<EachSource> source : sources) {  // answered behind the last subscription
    while (source.call_blocking<EachSource::Consumers>().value() < side) {
    }
  }
  return static_cast<double>(resident_bytes() - before) / static_cast<double>(side * side);
}

}  // namespace

void stage_benchmarks(BenchReport& report) {
  for (const unsigned consumers : {1U, 4U, 16U, 64U}) {
    const std::string suffix = concat(".N", consumers);
    const std::uint64_t deliveries = 400'000'000;
    report.run("stage.broadcast_batch.8B" + suffix, "deliveries/s",
               [=] { return broadcast_batches<std::uint64_t>(consumers, deliveries / 2 / consumers); });
    report.run("stage.broadcast_batch.256B" + suffix, "deliveries/s",
               [=] { return broadcast_batches<Wide>(consumers, deliveries / 16 / consumers); });
  }
  for (const unsigned consumers : {1U, 4U, 16U}) {
    report.run(concat("stage.broadcast_each.8B.N", consumers), "events/s",
               [=] { return broadcast_each(consumers, 8'000'000); });
  }
  using Kind = Numbers::Kind;
  report.run("stage.demand.N4", "events/s", [] { return shared_out(Kind::demand, 4, 1000, 100'000'000); });
  report.run("stage.partition.N4", "events/s", [] { return shared_out(Kind::partition, 4, 1000, 50'000'000); });
  report.run("stage.pipeline3", "events/s", [] { return pipeline_of_three(100'000'000); });
  report.run("stage.one_at_a_time", "events/s", [] { return shared_out(Kind::demand, 1, 1, 1'000'000); });
  for (const auto& [name, each] : {std::pair{"10ns", 10ns},
                                   {"30ns", 30ns},
                                   {"100ns", 100ns},
                                   {"300ns", 300ns},
                                   {"1us", 1'000ns},
                                   {"3us", 3'000ns},
                                   {"10us", 10'000ns},
                                   {"50us", 50'000ns}}) {
    for (const unsigned workers : {1U, 2U}) {
      report.run(concat("stage.handler_time.", name, ".W", workers), "events/s",
                 [workers, time = each] { return worked_off(workers, time); });
    }
  }
  report.run("stage.latency3.p50", "ns", latency_of_three);
  if (report.wants("stage.idle_subscription")) {
    BenchReport::print("stage.idle_subscription", idle_subscription_bytes(), "B");
  }
}

}  // namespace dagverk::bench
