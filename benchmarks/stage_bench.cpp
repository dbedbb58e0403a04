// What does an event cost on its way from a producer to its consumers? Two workers, max_demand 1000 unless the name
// says otherwise; every consumer adds every 8-byte event (or one word of each 256-byte event) into a total that is
// checked.

#include "bench_report.hpp"

#include "dagverk/runtime/runtime.hpp"
#include "dagverk/stage/consumer.hpp"
#include "dagverk/stage/producer.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace dagverk::bench {
namespace {

using namespace std::chrono_literals;

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

struct Go {
  std::uint64_t events;
};

/// Answers demand with whole batches, once it was told to go.
template <class Event>
class BatchSource : public Producer<BatchSource<Event>, Event> {
 public:
  explicit BatchSource(bool broadcast)
      : Producer<BatchSource, Event>(broadcast ? broadcast_dispatcher<Event>() : demand_dispatcher<Event>()) {}

  void handle_demand(std::uint64_t count) {
    wanted_ += count;
    give();
  }
  void handle_cast(Go go) {
    left_ = go.events;
    give();
  }

 private:
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
  void handle_cast(Note note) { emit(note.value); }
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
    std::uint64_t sum = 0;
    for (const Event& event : events) sum += number_of(event);
    sum_ += sum;
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

void require(bool condition) {
  if (condition) return;
  std::fprintf(stderr, "dagverk_bench: a total is wrong\n");
  std::abort();
}

template <class Event>
double broadcast_batches(unsigned consumers, std::uint64_t events) {
  Runtime runtime(RuntimeOptions{.workers = 2});
  auto source = runtime.start<BatchSource<Event>>(true).value();
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
  ShareAdder(ProducerRef<std::uint64_t> producer, std::shared_ptr<Tally> tally, std::int64_t max_demand)
      : producer_(producer), tally_(std::move(tally)), max_demand_(max_demand) {}
  void init() {
    SubscribeOptions<std::uint64_t> options;
    options.max_demand = max_demand_;
    subscribe_to(producer_, std::move(options)).value();
  }
  void handle_events(const Batch<std::uint64_t>& events) {
    std::uint64_t sum = 0;
    for (const std::uint64_t event : events) sum += event;
    tally_->sum.fetch_add(sum, std::memory_order_relaxed);
    if (tally_->left.fetch_sub(events.size(), std::memory_order_acq_rel) == events.size()) {
      tally_->left.notify_all();
    }
  }

 private:
  ProducerRef<std::uint64_t> producer_;
  std::shared_ptr<Tally> tally_;  // shared by all consumers of the round and the measuring thread; ends with the round
  std::int64_t max_demand_;
};

double shared_by_demand(unsigned consumers, std::int64_t max_demand, std::uint64_t events) {
  Runtime runtime(RuntimeOptions{.workers = 2});
  auto source = runtime.start<BatchSource<std::uint64_t>>(false).value();
  auto tally = std::make_shared<ShareAdder::Tally>();
  tally->left = events;
  std::vector<ServerRef<ShareAdder>> adders;
  adders.reserve(consumers);
  for (unsigned index = 0; index < consumers; ++index) {
    adders.push_back(runtime.start<ShareAdder>(source, tally, max_demand).value());
  }
  const double elapsed = seconds([&] {
    source.cast(Go{events});
    for (std::uint64_t left = tally->left.load(); left != 0; left = tally->left.load()) tally->left.wait(left);
  });
  require(tally->sum.load() == events * (events - 1) / 2);
  return static_cast<double>(events) / elapsed;
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
  report.run("stage.demand.N4", "events/s", [] { return shared_by_demand(4, 1000, 100'000'000); });
  report.run("stage.one_at_a_time", "events/s", [] { return shared_by_demand(1, 1, 1'000'000); });
}

}  // namespace dagverk::bench
