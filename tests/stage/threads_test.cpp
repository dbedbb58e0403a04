// Stages on real threads: what is emitted arrives where it should, in order and once, or is counted as dropped.

#include "dagverk/runtime/runtime.hpp"
#include "dagverk/stage/consumer.hpp"
#include "dagverk/stage/dispatchers/partition.hpp"
#include "dagverk/stage/producer.hpp"
#include "dagverk/stage/spill.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace dagverk {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t partitions = 4;

class Hub : public Producer<Hub, std::uint64_t> {
 public:
  struct Note {
    std::uint64_t value;
  };
  Hub() : Producer(broadcast_dispatcher<std::uint64_t>(), ProducerOptions{.buffer_size = ProducerOptions::unbounded}) {}
  void handle_cast(Note note) { emit(note.value); }
};

class Summer : public Consumer<Summer, std::uint64_t> {
 public:
  struct Report {
    using Reply = std::uint64_t;
    std::uint64_t after;
  };
  explicit Summer(ProducerRef<std::uint64_t> hub, SubscribeOptions<std::uint64_t> options = {})
      : hub_(hub), options_(std::move(options)) {}
  void init() { subscribe_to(hub_, options_).value(); }
  void handle_events(Batch<std::uint64_t> events) {
    for (const std::uint64_t event : events) {
      sum_ += event;
      const std::uint64_t* partition = options_.partition.number();
      in_order_ = in_order_ && event > last_ && (partition == nullptr || event % partitions == *partition);
      last_ = event;
    }
    batches_ += 1;
    events_ += events.size();
    settle();
  }
  /// Answers the sum once `after` events have come; 0 when they were out of order.
  void handle_call(Report report, From<Report> from) {
    wanted_ = report.after;
    from_ = std::move(from);
    settle();
  }

 private:
  void settle() {
    if (from_ && events_ >= wanted_) from_.reply(in_order_ && batches_ <= events_ ? sum_ : 0);
  }

  ProducerRef<std::uint64_t> hub_;
  SubscribeOptions<std::uint64_t> options_;
  From<Report> from_;
  std::uint64_t wanted_ = 0;
  std::uint64_t sum_ = 0;
  std::uint64_t last_ = 0;
  std::uint64_t events_ = 0;
  std::uint64_t batches_ = 0;
  bool in_order_ = true;
};

TEST(StageThreads, a_broadcast_to_four_consumers_reaches_each_in_order_and_whole) {
  constexpr std::uint64_t events = 200'000;
  Runtime runtime(RuntimeOptions{.workers = 2});
  auto hub = runtime.start<Hub>().value();
  std::vector<ServerRef<Summer>> summers;
  for (int index = 0; index < 4; ++index) summers.push_back(runtime.start<Summer>(hub).value());
  std::jthread caster([hub] {
    for (std::uint64_t event = 1; event <= events; ++event) hub.cast(Hub::Note{event});
  });
  for (const ServerRef<Summer> summer : summers) {
    EXPECT_EQ(summer.call_blocking_within<Summer::Report>(60s, events), events * (events + 1) / 2);
    // Delivered counts after handle_events has returned; once a later call is answered, it has.
    EXPECT_TRUE(summer.call_blocking_within<Summer::Report>(60s, events));
  }
  caster.join();
  const Snapshot shot = runtime.snapshot();
  std::uint64_t delivered = 0;
  for (const EdgeInfo& edge : shot.edges) {
    EXPECT_EQ(edge.dropped, 0U) << edge.name;
    if (edge.name.find("->") != std::string::npos) delivered += edge.delivered;
  }
  EXPECT_EQ(delivered, 4 * events);
}

class Numbers : public Producer<Numbers, std::uint64_t> {
 public:
  void handle_demand(std::uint64_t count) {
    emit(make_batch_of(count, [this](std::size_t) { return next_++; }));
  }

 private:
  std::uint64_t next_ = 1;
};

/// Subscribes, takes some, and leaves or crashes.
class Visitor : public Consumer<Visitor, std::uint64_t> {
 public:
  Visitor(ServerRef<Numbers> numbers, bool crashes) : numbers_(numbers), crashes_(crashes) {}
  void init() {
    SubscribeOptions<std::uint64_t> options;
    options.max_demand = 20;
    subscribe_to(numbers_, std::move(options)).value();
  }
  void handle_events(Batch<std::uint64_t> events) {
    taken_ += events.size();
    if (taken_ < 100) return;
    if (crashes_) throw std::runtime_error("enough");
    stop();
  }

 private:
  ServerRef<Numbers> numbers_;
  bool crashes_;
  std::size_t taken_ = 0;
};

/// Has a thread of its own, for its consumers' spill files.
class DiskHub : public Producer<DiskHub, std::uint64_t> {
 public:
  static constexpr bool blocking = true;
  DiskHub() : Producer(broadcast_dispatcher<std::uint64_t>()) {}
  void handle_cast(Hub::Note note) { emit(note.value); }
};

TEST(StageThreads, a_blocking_producer_spills_for_its_consumers_and_loses_nothing) {
  constexpr std::uint64_t events = 20'000;
  Runtime runtime(RuntimeOptions{.workers = 2});
  auto hub = runtime.start<DiskHub>().value();
  SubscribeOptions<std::uint64_t> options;
  options.max_demand = 10;
  options.overflow = spill<std::uint64_t>({.events_in_memory = 5});
  auto summer = runtime.start<Summer>(hub, options).value();
  for (std::uint64_t event = 1; event <= events; ++event) hub.cast(Hub::Note{event});
  EXPECT_EQ(summer.call_blocking_within<Summer::Report>(60s, events), events * (events + 1) / 2);
}

using Options = SubscribeOptions<std::uint64_t>;

Options eager(Overflow<std::uint64_t> rule = {}) {
  Options options;
  options.max_demand = 20;
  options.overflow = std::move(rule);
  return options;
}

/// The subscriptions of a runtime, once they are as they should be; as they are after a minute otherwise.
std::vector<EdgeInfo> subscriptions_once(Runtime& runtime,
                                         const std::function<bool(const std::vector<EdgeInfo>&)>& good) {
  const SteadyTime deadline = runtime.clock().steady_now() + 60s;
  for (;;) {
    std::vector<EdgeInfo> edges = runtime.snapshot().edges;
    std::erase_if(edges, [](const EdgeInfo& edge) { return edge.name.find("->") == std::string::npos; });
    if (good(edges) || runtime.clock().steady_now() > deadline) return edges;
    std::this_thread::yield();
  }
}

TEST(StageThreads, under_every_overflow_rule_events_keep_their_order_and_each_is_accounted_for) {
  constexpr std::uint64_t events = 30'000;
  Runtime runtime(RuntimeOptions{.workers = 2});
  auto hub = runtime.start<Hub>().value();
  const std::vector<Overflow<std::uint64_t>> rules{
      WaitWhenFull{},
      KeepNewest{50},
      KeepOldest{50},
      Sample{.every = 3, .events_max = 50},
      coalesce<std::uint64_t>([](std::uint64_t event) { return event % 100; }, 50),
      spill<std::uint64_t>({.events_in_memory = 50}),
  };
  std::vector<ServerRef<Summer>> summers;
  for (const Overflow<std::uint64_t>& rule : rules) summers.push_back(runtime.start<Summer>(hub, eager(rule)).value());
  for (std::uint64_t event = 1; event <= events; ++event) hub.cast(Hub::Note{event});
  const auto over = [](const EdgeInfo& edge) { return edge.delivered + edge.dropped == events && edge.buffered == 0; };
  const std::vector<EdgeInfo> edges =
      subscriptions_once(runtime, [&](const std::vector<EdgeInfo>& now) { return std::ranges::all_of(now, over); });
  ASSERT_EQ(edges.size(), rules.size());
  for (const EdgeInfo& edge : edges) {
    EXPECT_TRUE(over(edge)) << edge.name << " delivered " << edge.delivered << " dropped " << edge.dropped;
  }
  for (std::size_t rule = 0; rule < rules.size(); ++rule) {
    const std::uint64_t sum = summers[rule].call_blocking_within<Summer::Report>(60s, 0U).value();
    EXPECT_GT(sum, 0U) << rules[rule].name();  // 0: out of order
    const bool drops = rule != 0 && rule != rules.size() - 1;
    if (!drops) {
      EXPECT_EQ(sum, events * (events + 1) / 2) << rules[rule].name();
    }
  }
}

/// Partitions by remainder; every seventh event is for nobody. A rewriting one adds what keeps remainders and order.
class Sorter : public Producer<Sorter, std::uint64_t> {
 public:
  static constexpr std::uint64_t added = partitions * 1'000'000;
  explicit Sorter(bool rewrites)
      : Producer(make(rewrites), ProducerOptions{.buffer_size = ProducerOptions::unbounded}) {}
  void handle_cast(Hub::Note note) { emit(note.value); }

 private:
  static std::unique_ptr<Dispatcher<std::uint64_t>> make(bool rewrites) {
    const PartitionOptions narrow{.queue_size = 30};
    if (!rewrites) {
      return partition_dispatcher<std::uint64_t>(
          partitions,
          [](std::uint64_t event) {
            return event % 7 == 0 ? std::nullopt : std::optional<std::uint64_t>(event % partitions);
          },
          narrow);
    }
    return partition_dispatcher<std::uint64_t>(
        partitions,
        [](std::uint64_t event) -> std::optional<Routed<std::uint64_t, std::uint64_t>> {
          if (event % 7 == 0) return std::nullopt;
          return Routed{event + added, event % partitions};
        },
        narrow);
  }
};

void check_partitions(bool rewrites) {
  constexpr std::uint64_t events = 30'000;
  constexpr std::uint64_t routed = events - events / 7;
  constexpr std::uint64_t sum_of_others = 7 * (events / 7) * (events / 7 + 1) / 2;
  Runtime runtime(RuntimeOptions{.workers = 2});
  auto sorter = runtime.start<Sorter>(rewrites).value();
  std::vector<ServerRef<Summer>> summers;
  for (std::uint64_t consumer = 0; consumer < 2 * partitions; ++consumer) {
    // Of one partition, one of two consumers takes what is not asked for.
    Options options = eager(consumer == 0 ? spill<std::uint64_t>({.events_in_memory = 50}) : WaitWhenFull{});
    options.partition = consumer % partitions;
    summers.push_back(runtime.start<Summer>(sorter, options).value());
  }
  for (std::uint64_t event = 1; event <= events; ++event) sorter.cast(Hub::Note{event});
  const auto delivered = [](const std::vector<EdgeInfo>& edges) {
    std::uint64_t sum = 0;
    for (const EdgeInfo& edge : edges) sum += edge.delivered;
    return sum;
  };
  const std::vector<EdgeInfo> edges =
      subscriptions_once(runtime, [&](const std::vector<EdgeInfo>& now) { return delivered(now) >= routed; });
  EXPECT_EQ(delivered(edges), routed);
  std::uint64_t sum = 0;
  for (const ServerRef<Summer> summer : summers) {
    const std::uint64_t part = summer.call_blocking_within<Summer::Report>(60s, 0U).value();
    EXPECT_GT(part, 0U) << "out of order, of another partition, or none at all";
    sum += part;
  }
  EXPECT_EQ(sum, events * (events + 1) / 2 - sum_of_others + (rewrites ? routed * Sorter::added : 0));
}

TEST(StageThreads, partitions_get_their_events_in_order_and_once) { check_partitions(false); }
TEST(StageThreads, partitions_get_what_a_rewriting_hash_makes_of_events) { check_partitions(true); }

TEST(StageThreads, consumers_that_come_crash_and_leave_all_the_time_stop_nobody) {
  Runtime runtime(RuntimeOptions{.workers = 2, .logger = &null_logger()});
  auto numbers = runtime.start<Numbers>().value();
  for (int round = 0; round < 50; ++round) {
    std::vector<Pid> visitors;
    for (int index = 0; index < 8; ++index) {
      visitors.push_back(runtime.start<Visitor>(numbers, index % 2 == 0).value().pid());
    }
    for (const Pid visitor : visitors) {
      Result<ExitReason> reason = runtime.run([](Pid pid) -> Async<Result<ExitReason>> {
        co_return co_await this_process::wait_for_exit(pid, 30s);
      }(visitor));
      ASSERT_TRUE(reason);
    }
  }
  EXPECT_TRUE(RuntimeBase::alive(numbers.pid()));
}

}  // namespace
}  // namespace dagverk
