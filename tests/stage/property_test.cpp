// Whatever comes, goes, crashes, asks and emits, in whatever order: events keep their order, demand is never exceeded,
// nothing is lost uncounted, and what can flow flows.

#include "stages.hpp"

#include "dagverk/base/random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <set>

namespace dagverk {
namespace {

using namespace stage_tests;

/// How one consumer asks and what it wants.
struct Habit {
  std::int64_t max = 10;
  std::int64_t min = 5;
  bool manual = false;
  int modulus = 0;        // wants events that this does not divide; 0: all
  int selector_bomb = 0;  // its selector throws at this event
  int crash_at = 0;       // handle_events throws once it has seen this event or a later one
};

/// What one consumer saw.
struct Taken {
  Habit habit;
  Ints events;
  bool exceeded = false;
  bool over = false;  // its subscription has ended or it has crashed
};

class Taker : public Consumer<Taker, int> {
 public:
  Taker(Taken& taken, ProducerRef<int> producer) : taken_(taken), producer_(producer) {}
  void init() {
    SubscribeOptions<int> options;
    options.max_demand = taken_.habit.max;
    options.min_demand = taken_.habit.min;
    options.manual = taken_.habit.manual;
    options.cancel = CancelMode::temporary;
    const Habit habit = taken_.habit;
    if (habit.modulus != 0 || habit.selector_bomb != 0) {
      options.selector = [habit](const int& event) {
        if (habit.selector_bomb != 0 && event >= habit.selector_bomb) throw std::runtime_error("selector");
        return habit.modulus == 0 || event % habit.modulus != 0;
      };
    }
    id_ = subscribe_to(producer_, std::move(options)).value();
  }
  void handle_events(Batch<int> events) {
    taken_.exceeded = taken_.exceeded || events.size() > asked_of(id_) || events.empty();
    const auto part = static_cast<std::size_t>(taken_.habit.max - taken_.habit.min);
    taken_.exceeded = taken_.exceeded || (!taken_.habit.manual && events.size() > part);
    if (taken_.habit.crash_at != 0 && events.back() >= taken_.habit.crash_at) throw std::runtime_error("crash");
    taken_.events.insert(taken_.events.end(), events.begin(), events.end());
  }
  void handle_cancel(const SubscriptionInfo& /*info*/, const SubscriptionEnd& /*why*/) { taken_.over = true; }
  void handle_cast(Sink::Ask ask_for) { ask(id_, ask_for.count); }
  void handle_cast(const Sink::Cancel& end) { cancel(id_, end.reason); }
  void terminate(const ExitReason& /*reason*/) { taken_.over = true; }

 private:
  Taken& taken_;
  ProducerRef<int> producer_;
  SubscriptionId id_;
};

/// Emits numbers in order: when told to, and as answers to demand when told to answer.
class Giver : public Producer<Giver, int> {
 public:
  struct Emit {
    int count;
    bool each;
  };
  struct Answer {
    std::uint64_t count_max;
  };
  struct Figures {
    using Reply = Figures;
    int emitted = 0;
    std::uint64_t discarded = 0;
    std::size_t buffered = 0;
    std::uint64_t passed_up = 0;
  };
  Giver(bool broadcast, ProducerOptions options)
      : Producer(broadcast ? broadcast_dispatcher<int>() : demand_dispatcher<int>(), options) {}

  void handle_cast(Emit order) {
    if (order.each) {
      for (int index = 0; index < order.count; ++index) emit(++figures_.emitted);
    } else {
      emit(make_batch_of(static_cast<std::size_t>(order.count), [this](std::size_t) { return ++figures_.emitted; }));
    }
  }
  void handle_cast(Answer answer) {
    const std::uint64_t count = std::min(answer.count_max, open_demand());
    handle_cast(Emit{static_cast<int>(count), count % 2 == 0});
  }
  void handle_demand(std::uint64_t count) { figures_.passed_up += count; }
  bool handle_discarded(std::uint64_t count) {
    figures_.discarded += count;
    return false;
  }
  Figures handle_call(Figures) {
    figures_.buffered = buffered_count();
    return figures_;
  }

 private:
  Figures figures_;
};

struct Actor {
  std::unique_ptr<Taken> taken;
  ServerRef<Taker> ref;
};

/// One random life of a producer and its consumers.
class Play {
 public:
  explicit Play(std::uint64_t seed) : random_(seed), runtime_(DeterministicOptions{.seed = seed}) {
    broadcast_ = random_.below(2) == 0;
    bounded_ = random_.below(3) == 0;
    pulls_ = random_.below(2) == 0;
    ProducerOptions options;
    options.buffer_size = bounded_ ? random_.below(20) : ProducerOptions::unbounded;
    options.buffer_keep = random_.below(2) == 0 ? BufferKeep::newest : BufferKeep::oldest;
    giver_ = runtime_.start<Giver>(broadcast_, options).value();
  }

  void run() {
    const std::uint64_t moves = 20 + random_.below(60);
    for (std::uint64_t move = 0; move < moves; ++move) {
      make_a_move();
      runtime_.run_until_idle(random_.below(12));
      check_orders();
    }
    finish();
  }

 private:
  void make_a_move() {
    switch (random_.below(8)) {
      case 0:
      case 1:
        if (actors_.size() < 6) join();
        return;
      case 2:
        if (Actor* actor = any(); actor != nullptr) actor->ref.cast(Sink::Cancel{ExitReason::normal});
        return;
      case 3:
        if (Actor* actor = any(); actor != nullptr && random_.below(2) == 0) {
          runtime_.exit(actor->ref.pid(), ExitReason::kill);
          killed_ = true;
        }
        return;
      case 4:
        if (Actor* actor = any(); actor != nullptr) actor->ref.cast(Sink::Ask{random_.below(8)});
        return;
      default:
        if (pulls_) {
          giver_.cast(Giver::Answer{random_.below(40)});
        } else {
          giver_.cast(Giver::Emit{static_cast<int>(random_.below(15)), random_.below(2) == 0});
        }
    }
  }

  void join() {
    auto taken = std::make_unique<Taken>();
    taken->habit.max = 1 + static_cast<std::int64_t>(random_.below(20));
    taken->habit.min = static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(taken->habit.max)));
    taken->habit.manual = random_.below(3) == 0;
    if (broadcast_ && random_.below(3) == 0) taken->habit.modulus = 1 + static_cast<int>(random_.below(4));
    if (broadcast_ && random_.below(8) == 0) taken->habit.selector_bomb = 1 + static_cast<int>(random_.below(200));
    if (random_.below(6) == 0) taken->habit.crash_at = 1 + static_cast<int>(random_.below(200));
    auto ref = runtime_.start<Taker>(std::ref(*taken), giver_).value();
    actors_.push_back(Actor{std::move(taken), ref});
  }

  Actor* any() { return actors_.empty() ? nullptr : &actors_[random_.below(actors_.size())]; }

  void check_orders() const {
    for (const Actor& actor : actors_) {
      const Ints& events = actor.taken->events;
      ASSERT_FALSE(actor.taken->exceeded);
      ASSERT_EQ(std::ranges::adjacent_find(events, std::ranges::greater_equal()), events.end()) << "out of order";
      if (!broadcast_ || bounded_) continue;
      // Nothing was dropped, so a subscriber of a broadcast sees every event it wants from its first on.
      for (std::size_t index = 1; index < events.size(); ++index) {
        int next = events[index - 1] + 1;
        while (actor.taken->habit.modulus != 0 && next % actor.taken->habit.modulus == 0) ++next;
        ASSERT_EQ(events[index], next);
      }
    }
  }

  void finish() {
    // Those that may never ask again leave; one comes that wants everything. Now all must flow.
    for (const Actor& actor : actors_) {
      if (actor.taken->habit.manual) actor.ref.cast(Sink::Cancel{ExitReason::normal});
    }
    auto last = std::make_unique<Taken>();
    last->habit.max = 50;
    last->habit.min = 20;
    auto ref = runtime_.start<Taker>(std::ref(*last), giver_).value();
    actors_.push_back(Actor{std::move(last), ref});
    runtime_.run_until_idle();
    const std::size_t before = actors_.back().taken->events.size();
    for (int round = 0; round < 4; ++round) {
      if (pulls_) {
        giver_.cast(Giver::Answer{100'000});
      } else {
        giver_.cast(Giver::Emit{200, round % 2 == 0});
      }
      runtime_.run_until_idle();
      check_orders();
    }
    const Giver::Figures figures = giver_.call_blocking<Giver::Figures>().value();
    // Liveness: every event that was not dropped has left, and the newcomer has seen the newest.
    EXPECT_EQ(figures.buffered, 0U);
    const Taken& newcomer = *actors_.back().taken;
    EXPECT_GT(newcomer.events.size(), before);
    // Whoever is still there and asks by itself was not left behind.
    if (broadcast_ && !bounded_) {
      for (const Actor& actor : actors_) {
        if (actor.taken->over || actor.taken->habit.manual) continue;
        if (!RuntimeBase::alive(actor.ref.pid())) continue;
        int newest = figures.emitted;
        const int modulus = actor.taken->habit.modulus;
        if (modulus == 1) continue;
        while (modulus != 0 && newest % modulus == 0) --newest;
        ASSERT_FALSE(actor.taken->events.empty());
        EXPECT_EQ(actor.taken->events.back(), newest);
      }
    }
    count_all(figures);
  }

  /// Every event was sent to somebody, dropped and counted, or is in the buffer.
  void count_all(const Giver::Figures& figures) {
    std::uint64_t dispatched = 0;
    std::uint64_t dropped = 0;
    for (const EdgeInfo& edge : runtime_.snapshot().edges) {
      if (edge.name.find(" buffer") == std::string::npos) continue;
      dispatched = edge.delivered;
      dropped = edge.dropped;
      EXPECT_EQ(edge.asked, figures.passed_up);
    }
    EXPECT_EQ(dropped, figures.discarded);
    EXPECT_EQ(dispatched + dropped + figures.buffered, static_cast<std::uint64_t>(figures.emitted));
    if (broadcast_) return;
    std::set<int> seen;
    std::size_t handled = 0;
    bool crashed = killed_;
    for (const Actor& actor : actors_) {
      for (const int event : actor.taken->events) EXPECT_TRUE(seen.insert(event).second) << "handled twice";
      handled += actor.taken->events.size();
      crashed = crashed || actor.taken->habit.crash_at != 0;
    }
    EXPECT_LE(handled, dispatched);
    if (!crashed) {
      EXPECT_EQ(handled, dispatched);
    }
  }

  Random random_;
  std::vector<Actor> actors_;  // what the consumers write to: outlives the runtime
  DeterministicRuntime runtime_;
  bool broadcast_ = false;
  bool bounded_ = false;
  bool pulls_ = false;
  bool killed_ = false;
  ServerRef<Giver> giver_;
};

TEST(StageProperty, order_demand_accounting_and_liveness_hold_whatever_happens) {
  const char* replay = std::getenv("DAGVERK_SEED");
  const std::uint64_t first = replay != nullptr ? std::strtoull(replay, nullptr, 10) : 1;
  const std::uint64_t count = replay != nullptr ? 1 : 2000;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE(concat("replay with DAGVERK_SEED=", seed));
    Play play(seed);
    play.run();
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace dagverk
