#pragma once

// The stages of the simulated flows, what they write down, and the faults that can be planted in them.

#include "dagverk/stage/consumer.hpp"
#include "dagverk/stage/dispatchers/partition.hpp"
#include "dagverk/stage/producer_consumer.hpp"
#include "dagverk/stage/spill.hpp"
#include "dagverk/stage/stage_control.hpp"
#include "dagverk/testing/scenario.hpp"

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dagverk::simulation {

/// The `serial`th event of one life of one producer.
struct Item {
  std::uint32_t stream = 0;
  std::uint32_t serial = 0;
  std::uint32_t rewritten = 0;
};

enum class Kind : std::uint8_t { demand, shuffled, broadcast, partition, rewriting };
enum class Rule : std::uint8_t { wait, keep_newest, keep_oldest, sample, coalesce, spill };
constexpr std::uint64_t rule_count = 6;

/// What is wrong on purpose.
enum class Flaw : std::uint8_t {
  none,
  overtakes,         // the second half of a batch goes first
  loses,             // an event is taken and given to nobody
  doubles,           // an event is given twice
  exceeds,           // more is given than was asked
  forgets_asks,      // some asks are not heard
  holds_back,        // says that it would take nothing
  ignores_selector,  // everything is wanted
  misroutes,         // to the next partition
  newest_first,      // an overflow rule that gives the newest first
  drops_in_silence,  // an overflow rule that does not count
};

constexpr std::uint32_t partitions_max = 4;
constexpr std::uint32_t nowhere = 7;  // events divisible by this are for no partition

/// How one producer is made.
struct Plan {
  Kind kind = Kind::demand;
  Flaw flaw = Flaw::none;
  bool pulls = false;  // emits as answers to demand
  ProducerOptions options = {};
  PartitionOptions queues = {};
  std::uint64_t seed = 1;

  [[nodiscard]] bool partitioned() const noexcept { return kind == Kind::partition || kind == Kind::rewriting; }
};

/// How one consumer asks and what it wants.
struct Habit {
  SubscribeOptions<Item> options = {};
  Rule rule = Rule::wait;
  std::uint32_t modulus = 0;  // wants events that this does not divide; 0: all
  std::uint32_t crash_at = 0;
  std::size_t rule_max = 1;

  [[nodiscard]] bool wants(std::uint32_t serial) const noexcept { return modulus == 0 || serial % modulus != 0; }
};

/// One life of one producer.
struct Stream {
  std::uint32_t number = 0;
  Plan plan = {};
  Pid pid = {};
  std::uint32_t emitted = 0;
  std::uint64_t asked = 0;
  std::uint64_t discarded = 0;
  std::uint64_t infos_sent = 0;
  std::uint64_t infos_handled = 0;
  std::uint64_t budget = 0;  // what it may still emit as answers
  bool lazy = false;         // answers demand later
};

/// One subscription.
struct Ticket {
  Habit habit = {};
  Pid producer = {};
  Pid consumer = {};
  std::uint32_t stream = 0;
  std::uint32_t last = 0;
  std::uint64_t handled = 0;
  std::uint64_t asked = 0;  // by hand
  std::uint64_t pending = 0;
  std::uint32_t begins_after = 0;  // what was emitted before it came
  std::uint64_t discarded_before = 0;
  bool admitted = false;  // and the producer has not ended it
  bool clean = false;     // and nothing of that waited
  bool over = false;

  [[nodiscard]] bool waits() const noexcept { return habit.rule == Rule::wait; }
};

/// What everybody writes down.
struct Book {
  explicit Book(testing::Scenario& run) : scenario(run) {}

  void broken(std::string_view what) {
    if (!closed) scenario.fail(what);
  }
  Stream& new_stream(const Plan& plan, Pid pid) {
    streams.push_back(Stream{.number = static_cast<std::uint32_t>(streams.size() + 1), .plan = plan, .pid = pid});
    return streams.back();
  }
  [[nodiscard]] Stream* stream_of(Pid pid) {
    for (Stream& stream : streams) {
      if (stream.pid == pid) return &stream;
    }
    return nullptr;
  }
  [[nodiscard]] Batch<Item> make(Stream& stream, std::uint64_t count) const {
    return make_batch_of(static_cast<std::size_t>(count),
                         [&](std::size_t) { return Item{.stream = stream.number, .serial = ++stream.emitted}; });
  }

  /// A consumer has subscribed.
  void subscribed(const SubscriptionInfo& info, const Habit& habit) {
    Ticket& ticket = tickets[info.id.value];
    ticket.habit = habit;
    ticket.producer = info.peer;
    ticket.consumer = this_process::pid();
  }
  /// A producer has taken the subscription.
  void admitted(const SubscriptionInfo& info, const Stream& stream, std::size_t buffered) {
    Ticket& ticket = tickets[info.id.value];
    ticket.admitted = true;
    ticket.begins_after = stream.emitted;
    ticket.discarded_before = stream.discarded;
    ticket.clean = buffered == 0;
  }
  /// Events have come; `pending` is what was asked for and has not come before.
  void took(const SubscriptionInfo& info, const Batch<Item>& events, std::uint64_t pending) {
    Ticket& ticket = tickets[info.id.value];
    const auto& options = ticket.habit.options;
    if (ticket.over) broken("end: events come after the end of their subscription");
    if (events.empty()) broken("demand: an empty batch");
    if (events.size() > pending) broken("demand: more events come than were asked for");
    const auto part = static_cast<std::size_t>(options.max_demand - *options.min_demand);
    if (!options.manual && events.size() > part) broken("demand: more events at once than max_demand - min_demand");
    for (const Item& item : events) check(ticket, item);
    ticket.handled += events.size();
  }

  testing::Scenario& scenario;
  std::deque<Stream> streams;  // their places stay
  std::map<std::uint64_t, Ticket> tickets;
  std::set<std::pair<std::uint32_t, std::uint32_t>> seen;  // of what goes to one consumer
  bool closed = false;

 private:
  void check(Ticket& ticket, const Item& item) {
    if (ticket.stream != 0 && ticket.stream != item.stream) broken("order: events of two lives of a producer");
    ticket.stream = item.stream;
    if (item.serial <= ticket.last) broken(concat("order: event ", item.serial, " comes after ", ticket.last));
    if (item.stream == 0 || item.stream > streams.size()) return broken("order: an event that nobody emitted");
    const Stream& stream = streams[item.stream - 1];
    if (item.serial > stream.emitted) broken("order: an event that was not emitted yet");
    const Plan& plan = stream.plan;
    if (plan.kind == Kind::broadcast) {
      if (!ticket.habit.wants(item.serial)) broken("selector: an event that it rejects");
      if (ticket.waits() && ticket.last > ticket.begins_after && stream.discarded == ticket.discarded_before) {
        std::uint32_t next = ticket.last + 1;
        while (!ticket.habit.wants(next)) ++next;
        if (item.serial != next) broken(concat("lost: event ", next, " of a broadcast, before ", item.serial));
      }
    } else if (!seen.emplace(item.stream, item.serial).second) {
      broken(concat("once: event ", item.serial, " comes twice"));
    }
    if (plan.partitioned()) {
      const std::uint64_t* partition = ticket.habit.options.partition.number();
      if (item.serial % nowhere == 0) broken("partition: an event for nobody");
      if (partition == nullptr || item.serial % partitions_max != *partition) broken("partition: of another one");
    }
    if ((plan.kind == Kind::rewriting) != (item.rewritten == 1)) broken("partition: rewritten when it should not be");
    ticket.last = item.serial;
  }
};

// ---- faults ---------------------------------------------------------------------------------------------------------

/// A dispatcher that breaks one of its promises.
class FlawedDispatcher final : public Dispatcher<Item> {
 public:
  FlawedDispatcher(std::unique_ptr<Dispatcher<Item>> inner, Flaw flaw) : inner_(std::move(inner)), flaw_(flaw) {}

  [[nodiscard]] Result<void> subscribe(Outlet<Item>& outlet) override { return inner_->subscribe(outlet); }
  void ask(Outlet<Item>& outlet, std::uint64_t count) override {
    if (flaw_ == Flaw::forgets_asks && ++turn_ % 4 == 0) return;
    inner_->ask(outlet, flaw_ == Flaw::exceeds ? count + 3 : count);
  }
  void cancel(Outlet<Item>& outlet) override { inner_->cancel(outlet); }
  [[nodiscard]] std::uint64_t demand() const noexcept override { return inner_->demand(); }
  [[nodiscard]] std::uint64_t room() const noexcept override {
    return flaw_ == Flaw::holds_back && inner_->room() < 4 ? 0 : inner_->room();
  }
  void announce(const Batch<Item>& events) override { inner_->announce(events); }
  [[nodiscard]] std::uint64_t queued() const noexcept override { return inner_->queued(); }

  void dispatch(Batch<Item>& events) override {
    const std::size_t size = events.size();
    if (flaw_ == Flaw::loses && ++turn_ % 4 == 0) static_cast<void>(events.split_front(1));
    if (size > 1 && size < inner_->demand() && (flaw_ == Flaw::overtakes || flaw_ == Flaw::doubles)) {
      Batch<Item> front = flaw_ == Flaw::overtakes ? events.split_front(size / 2) : Batch<Item>(events).split_front(1);
      inner_->dispatch(events);
      inner_->dispatch(front);
      return;
    }
    inner_->dispatch(events);
  }

 private:
  std::unique_ptr<Dispatcher<Item>> inner_;
  Flaw flaw_;
  std::uint64_t turn_ = 0;
};

/// An overflow rule that gives the newest first, or keeps three and says nothing of the others.
class FlawedQueue final : public OverflowQueue<Item> {
 public:
  explicit FlawedQueue(Flaw flaw) : flaw_(flaw) {}
  void push(Batch<Item> events, DropCounter& /*drops*/) override {
    items_.insert(items_.end(), events.begin(), events.end());
    while (flaw_ == Flaw::drops_in_silence && items_.size() > 3) items_.pop_front();
  }
  [[nodiscard]] Batch<Item> take(std::size_t /*count*/, DropCounter& /*drops*/) override {
    const Item item = flaw_ == Flaw::newest_first ? items_.back() : items_.front();
    if (flaw_ == Flaw::newest_first) {
      items_.pop_back();
    } else {
      items_.pop_front();
    }
    return make_batch_of(1, [&](std::size_t) { return item; });
  }
  [[nodiscard]] std::size_t size() const noexcept override { return items_.size(); }

 private:
  Flaw flaw_;
  std::deque<Item> items_;
};

[[nodiscard]] inline std::unique_ptr<Dispatcher<Item>> make_sound_dispatcher(const Plan& plan) {
  switch (plan.kind) {
    case Kind::demand: return demand_dispatcher<Item>();
    case Kind::shuffled: return demand_dispatcher<Item>({.shuffle_seed = plan.seed});
    case Kind::broadcast: return broadcast_dispatcher<Item>();
    case Kind::partition:
      return partition_dispatcher<Item>(
          partitions_max,
          [shift = plan.flaw == Flaw::misroutes ? 1U : 0U](const Item& item) -> std::optional<std::uint32_t> {
            if (item.serial % nowhere == 0) return std::nullopt;
            return (item.serial + shift) % partitions_max;
          },
          plan.queues);
    case Kind::rewriting: break;
  }
  return partition_dispatcher<Item>(
      partitions_max,
      [](Item item) -> std::optional<Routed<Item, std::uint32_t>> {
        if (item.serial % nowhere == 0) return std::nullopt;
        item.rewritten = 1;
        return Routed{item, item.serial % partitions_max};
      },
      plan.queues);
}
[[nodiscard]] inline std::unique_ptr<Dispatcher<Item>> make_dispatcher(const Plan& plan) {
  std::unique_ptr<Dispatcher<Item>> sound = make_sound_dispatcher(plan);
  if (plan.flaw < Flaw::overtakes || plan.flaw > Flaw::holds_back) return sound;
  return std::make_unique<FlawedDispatcher>(std::move(sound), plan.flaw);
}

// ---- stages ---------------------------------------------------------------------------------------------------------

/// What a producing stage says of itself.
struct Figures {
  std::size_t buffered = 0;
  std::size_t partitions = 0;
  std::vector<std::size_t> queued = {};  // of the partitions that there are
  std::uint64_t queued_in_all = 0;       // and of those that are gone
};
struct Look {
  using Reply = Figures;
};
struct Resize {
  std::size_t count;
};
struct Crash {};
struct Mark {};  // an info, behind the events that are there

template <class Stage>
[[nodiscard]] Figures figures_of(const Plan& plan, std::size_t buffered, const Stage& partitions) {
  Figures figures{.buffered = buffered};
  if (!plan.partitioned() || plan.flaw != Flaw::none) return figures;
  const PartitionDispatcher<Item>& found = partitions();
  figures.partitions = found.partition_count();
  figures.queued_in_all = found.queued();
  for (std::uint64_t partition = 0; partition < figures.partitions; ++partition) {
    figures.queued.push_back(found.queued_of(partition));
  }
  return figures;
}

/// Emits when told to, or when asked and allowed to.
class Source : public Producer<Source, Item> {
 public:
  struct Emit {
    std::uint32_t count;
    bool each;
  };
  struct Refill {  // allows more answers, and gives those that are owed
    std::uint64_t budget;
    bool lazy;
  };

  Source(std::shared_ptr<Book> book, const Plan& plan)
      : Producer(make_dispatcher(plan), plan.options),
        book_(std::move(book)),
        stream_(book_->new_stream(plan, this_process::pid())) {}

  void handle_cast(Emit order) {
    if (!order.each) return emit(book_->make(stream_, order.count));
    for (std::uint32_t index = 0; index < order.count; ++index) {
      emit(Item{.stream = stream_.number, .serial = ++stream_.emitted});
    }
  }
  void handle_cast(Refill refill) {
    stream_.budget += refill.budget;
    stream_.lazy = refill.lazy;
    if (!stream_.lazy) answer(open_demand());
  }
  void handle_cast(Resize resize) {
    change_dispatcher<PartitionDispatcher<Item>>(
        [&](PartitionDispatcher<Item>& partitions) { partitions.resize(resize.count).value(); });
  }
  void handle_cast(Crash /*crash*/) { throw std::runtime_error("told to"); }
  Figures handle_call(Look /*look*/) {
    return figures_of(stream_.plan, buffered_count(),
                      [&]() -> const PartitionDispatcher<Item>& { return dispatcher<PartitionDispatcher<Item>>(); });
  }
  void handle_demand(std::uint64_t count) {
    stream_.asked += count;
    // Now and then more than was asked, as what a producer reads may come in lumps.
    if (!stream_.lazy) answer(count + (count % 5 == 0 ? 2 : 0));
  }
  bool handle_discarded(std::uint64_t count) {
    stream_.discarded += count;
    return false;
  }
  void handle_info(Mark /*mark*/) { ++stream_.infos_handled; }
  void handle_subscribe(const SubscriptionInfo& info) {
    const bool holds_back = demand_flow() == DemandFlow::accumulate;
    book_->admitted(info, stream_, buffered_count() + (holds_back ? 1 : 0));
  }
  void handle_cancel(const SubscriptionInfo& info, const SubscriptionEnd& /*why*/) {
    book_->tickets[info.id.value].admitted = false;
  }

 private:
  void answer(std::uint64_t wanted) {
    const std::uint64_t count = std::min(wanted, stream_.budget);
    stream_.budget -= count;
    emit(book_->make(stream_, count));
  }

  std::shared_ptr<Book> book_;
  Stream& stream_;
};

/// Gives none, one or two events for each that comes.
class Relay : public ProducerConsumer<Relay, Item, Item> {
 public:
  Relay(std::shared_ptr<Book> book, const Plan& plan, Habit habit, ProducerName<Item> from)
      : ProducerConsumer(make_dispatcher(plan), plan.options),
        book_(std::move(book)),
        stream_(book_->new_stream(plan, this_process::pid())),
        habit_(std::move(habit)),
        from_(std::move(from)) {}

  void init() { subscribe_to(from_, habit_.options).value(); }
  void handle_events(Batch<Item> events, const SubscriptionInfo& info) {
    book_->took(info, events, asked_of(info.id));
    std::uint64_t count = 0;
    for (const Item& item : events) count += item.serial % 3;
    emit(book_->make(stream_, count));
  }
  void handle_cast(Resize resize) {
    change_dispatcher<PartitionDispatcher<Item>>(
        [&](PartitionDispatcher<Item>& partitions) { partitions.resize(resize.count).value(); });
  }
  void handle_cast(Crash /*crash*/) { throw std::runtime_error("told to"); }
  Figures handle_call(Look /*look*/) {
    for (auto& [id, ticket] : book_->tickets) {
      if (ticket.consumer == this_process::pid()) ticket.pending = asked_of(SubscriptionId{id});
    }
    return figures_of(stream_.plan, buffered_count(),
                      [&]() -> const PartitionDispatcher<Item>& { return dispatcher<PartitionDispatcher<Item>>(); });
  }
  bool handle_discarded(std::uint64_t count) {
    stream_.discarded += count;
    return false;
  }
  void handle_subscribe(const SubscriptionInfo& info) {
    if (info.peer_side == StageSide::producer) {
      book_->subscribed(info, habit_);
    } else {
      book_->admitted(info, stream_, buffered_count());
    }
  }
  void handle_cancel(const SubscriptionInfo& info, const SubscriptionEnd& /*why*/) {
    Ticket& ticket = book_->tickets[info.id.value];
    if (info.peer_side == StageSide::producer) {
      ticket.over = true;
    } else {
      ticket.admitted = false;
    }
  }

 private:
  std::shared_ptr<Book> book_;
  Stream& stream_;
  Habit habit_;
  ProducerName<Item> from_;
};

/// The end of a flow.
class Taker : public Consumer<Taker, Item> {
 public:
  struct Ask {
    std::uint64_t count;
  };
  struct Cancel {};
  struct Again {};  // one subscription more
  struct Pending {
    using Reply = bool;
  };

  Taker(std::shared_ptr<Book> book, Habit habit, ProducerName<Item> from)
      : book_(std::move(book)), habit_(std::move(habit)), from_(std::move(from)) {}

  void init() { subscribe(); }
  void handle_events(Batch<Item> events, const SubscriptionInfo& info) {
    if (habit_.crash_at != 0 && events.back().serial >= habit_.crash_at) throw std::runtime_error("crash");
    book_->took(info, events, asked_of(info.id));
  }
  void handle_subscribe(const SubscriptionInfo& info) { book_->subscribed(info, habit_); }
  void handle_cancel(const SubscriptionInfo& info, const SubscriptionEnd& /*why*/) {
    book_->tickets[info.id.value].over = true;
  }
  void handle_cast(Ask order) {
    for (auto& [id, ticket] : book_->tickets) {
      if (ticket.consumer != this_process::pid() || ticket.over) continue;
      ticket.asked += order.count;
      ask(SubscriptionId{id}, order.count);
    }
  }
  void handle_cast(Cancel /*order*/) { cancel(id_); }
  void handle_cast(Again /*order*/) { subscribe(); }
  bool handle_call(Pending /*call*/) {
    for (auto& [id, ticket] : book_->tickets) {
      if (ticket.consumer == this_process::pid()) ticket.pending = asked_of(SubscriptionId{id});
    }
    return true;
  }

 private:
  void subscribe() {
    // The producer may be between two lives: then it is no subscription.
    if (Result<SubscriptionId> made = subscribe_to(from_, habit_.options); made) id_ = *made;
  }

  std::shared_ptr<Book> book_;
  Habit habit_;
  ProducerName<Item> from_;
  SubscriptionId id_;
};

}  // namespace dagverk::simulation
