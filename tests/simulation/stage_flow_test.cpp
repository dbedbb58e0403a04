// Thousands of random flows through every dispatcher and every overflow rule, in two or three stages: consumers and
// producers come, go, crash, pause, come back, ask, emit, hold back and send infos at random moments, and the rules of
// stages hold throughout.
// 300 seeds of each kind of flow each time; all 10,000:
//   DAGVERK_SEEDS=10000 build/release/bin/stage_simulation_test --gtest_filter='StageFlow.every*'

#include "simulation/stage_flow.hpp"

#include "simulation/may_fail.hpp"

#include "dagverk/testing/seeds.hpp"

#include <gtest/gtest.h>

#include <array>
#include <string>
#include <vector>

namespace dagverk::simulation {
namespace {

using namespace std::chrono_literals;
using testing::Scenario;
using testing::SeedReport;

/// One random flow.
class Flow {
 public:
  Flow(Scenario& scenario, Kind kind, Flaw flaw)
      : scenario_(scenario),
        runtime_(scenario.runtime()),
        kind_(kind),
        flaw_(flaw),
        keeper_(std::make_shared<Book>(scenario)),
        book_(*keeper_) {}
  Flow(const Flow&) = delete;
  Flow& operator=(const Flow&) = delete;
  ~Flow() { book_.closed = true; }

  void run() {
    relayed_ = flaw_ == Flaw::none && scenario_.chance(3);
    start_source();
    if (relayed_) start_relay();
    const std::uint64_t acts = 15 + random(40);
    for (std::uint64_t act = 0; act < acts && scenario_.failures().empty(); ++act) {
      act_once();
      runtime_.run_until_idle(random(25));
      check_edges_on_the_way();
      if (scenario_.chance(6)) check();
    }
    join(false);
    check();
    for (int round = 0; round < 2 && scenario_.failures().empty(); ++round) {
      produce(50 + random(100));
      check();
    }
    scenario_.expect_stops();
  }

 private:
  [[nodiscard]] std::uint64_t random(std::uint64_t below) { return scenario_.random().below(below); }

  // --- building ---
  [[nodiscard]] Plan random_plan(Kind kind) {
    Plan plan;
    plan.kind = kind;
    plan.flaw = flaw_;
    plan.pulls = scenario_.chance(2);
    plan.options.buffer_size = scenario_.chance(3) && flaw_ == Flaw::none ? random(20) : ProducerOptions::unbounded;
    plan.options.buffer_keep = scenario_.chance(2) ? BufferKeep::newest : BufferKeep::oldest;
    plan.queues.queue_size = random(3) * random(12);
    constexpr std::array full{PartitionFull::wait, PartitionFull::wait, PartitionFull::drop_oldest,
                              PartitionFull::drop_newest};
    plan.queues.when_full = full.at(random(4));
    plan.seed = random(1000);
    return plan;
  }
  [[nodiscard]] Kind random_kind() { return static_cast<Kind>(random(5)); }
  void start_source() {
    const Plan plan = random_plan(relayed_ ? (source_plan_ ? source_plan_->kind : random_kind()) : kind_);
    source_plan_ = plan;
    source_ = runtime_.start_with<Source>(StartOptions{.name = "source"}, keeper_, plan).value();
  }
  void start_relay() {
    Plan plan = random_plan(kind_);
    plan.pulls = false;
    Habit habit = random_habit(source_plan_->kind, false);
    habit.options.manual = false;
    habit.options.resubscribe = RestartBackoff{.initial = 1ms, .max = 10ms};
    relay_ = runtime_
                 .start_with<Relay>(StartOptions{.name = "relay"}, keeper_, plan, habit,
                                    ProducerName<Item>(Name<Source>(runtime_, "source")))
                 .value();
  }
  [[nodiscard]] ProducerName<Item> behind() {
    if (relayed_) return {Name<Relay>(runtime_, "relay")};
    return {Name<Source>(runtime_, "source")};
  }

  [[nodiscard]] Habit random_habit(Kind kind, bool may_crash) {
    Habit habit;
    SubscribeOptions<Item>& options = habit.options;
    options.max_demand = 1 + static_cast<std::int64_t>(random(20));
    options.min_demand = static_cast<std::int64_t>(random(static_cast<std::uint64_t>(options.max_demand)));
    options.manual = scenario_.chance(3);
    options.cancel = CancelMode::temporary;
    options.partition = random(partitions_max);
    options.unmerged = scenario_.chance(12);
    if (scenario_.chance(3)) options.resubscribe = RestartBackoff{.initial = 1ms, .max = 10ms};
    if (kind == Kind::broadcast && (scenario_.chance(3) || flaw_ == Flaw::ignores_selector)) {
      habit.modulus = 2 + static_cast<std::uint32_t>(random(4));
      options.selector = [habit](const Item& item) { return habit.wants(item.serial); };
      if (flaw_ == Flaw::ignores_selector) options.selector = [](const Item& /*item*/) { return true; };
    }
    if (may_crash && scenario_.chance(6)) habit.crash_at = 1 + static_cast<std::uint32_t>(random(200));
    choose_rule(habit);
    return habit;
  }
  void choose_rule(Habit& habit) {
    if (scenario_.chance(2)) return;
    habit.rule = static_cast<Rule>(random(rule_count));
    habit.rule_max = 1 + random(8);
    Overflow<Item>& overflow = habit.options.overflow;
    if (flaw_ == Flaw::newest_first || flaw_ == Flaw::drops_in_silence) {
      habit.rule = Rule::keep_newest;
      overflow = Overflow<Item>("flawed", [flaw = flaw_](const Clock&) -> Result<std::unique_ptr<OverflowQueue<Item>>> {
        return std::make_unique<FlawedQueue>(flaw);
      });
      return;
    }
    switch (habit.rule) {
      case Rule::wait: return;
      case Rule::keep_newest: overflow = KeepNewest{habit.rule_max}; return;
      case Rule::keep_oldest: overflow = KeepOldest{habit.rule_max}; return;
      case Rule::sample:
        overflow = Sample{.every = 1 + random(3), .interval = random(2) * 5ms, .events_max = habit.rule_max};
        return;
      case Rule::coalesce:
        overflow = coalesce<Item>([](const Item& item) { return item.serial % 5; }, habit.rule_max);
        return;
      case Rule::spill:
        overflow = spill<Item>({.bytes_max = 16 * (1 + random(20)),
                                .keep = scenario_.chance(2) ? BufferKeep::newest : BufferKeep::oldest,
                                .events_in_memory = habit.rule_max});
        return;
    }
  }

  // --- acts ---
  void act_once() {
    switch (random(15)) {
      case 0:
      case 1:
      case 2:
        if (takers_.size() < 7) join(true);
        return;
      case 3: return with_taker([](ServerRef<Taker> taker) { taker.cast(Taker::Cancel{}); });
      case 4: return with_taker([](ServerRef<Taker> taker) { taker.cast(Taker::Again{}); });
      case 5: return with_taker([&](ServerRef<Taker> taker) { end(taker); });
      case 6:
      case 7: return ask_by_hand();
      case 8: return pause();
      case 9: return resize();
      case 10: return end_a_producer();
      case 11: return send_info();
      case 12: return set_demand(source_, scenario_.chance(2) ? DemandFlow::accumulate : DemandFlow::forward);
      default: return produce(random(15));
    }
  }
  void join(bool at_random) {
    Habit habit = random_habit(kind_, at_random);
    if (!at_random) habit.options.manual = false;
    takers_.push_back(runtime_.start<Taker>(keeper_, habit, behind()).value());
  }
  template <class Act>
  void with_taker(Act act) {
    if (!takers_.empty()) act(takers_[random(takers_.size())]);
  }
  void end(ServerRef<Taker> taker) {
    switch (random(3)) {
      case 0: return runtime_.exit(taker.pid(), ExitReason::kill);
      case 1: return runtime_.throw_in_next_callback(taker.pid());
      default: return runtime_.exit(taker.pid(), ExitReason::shutdown);
    }
  }
  void ask_by_hand() {
    with_taker([&](ServerRef<Taker> taker) { taker.cast(Taker::Ask{random(8)}); });
  }
  void pause() {
    if (scenario_.chance(4)) {
      hold(relayed_ && scenario_.chance(2) ? relay_.pid() : source_.pid());
    } else {
      with_taker([&](ServerRef<Taker> taker) { hold(taker.pid()); });
    }
  }
  void hold(Pid pid) {
    if (scenario_.chance(2)) {
      runtime_.hold_steps(pid, 1 + random(60));
    } else {
      runtime_.hold(pid);
      held_.push_back(pid);
    }
  }
  void go_on() {
    for (const Pid pid : held_) runtime_.release(pid);
    held_.clear();
  }
  void resize() {
    if (flaw_ != Flaw::none || !scenario_.chance(2)) return;
    if (relayed_ && book_partitioned(relay_.pid())) relay_.cast(Resize{1 + random(partitions_max)});
    if (source_plan_->partitioned()) source_.cast(Resize{1 + random(partitions_max)});
  }
  [[nodiscard]] bool book_partitioned(Pid pid) {
    const Stream* stream = book_.stream_of(pid);
    return stream != nullptr && stream->plan.partitioned();
  }
  void end_a_producer() {
    if (!scenario_.chance(4)) return;
    if (relayed_ && scenario_.chance(2)) {
      runtime_.exit(relay_.pid(), ExitReason::kill);
      settle();
      start_relay();
    } else {
      if (scenario_.chance(2)) {
        source_.cast(Crash{});
      } else {
        runtime_.exit(source_.pid(), ExitReason::kill);
      }
      settle();
      start_source();
    }
  }
  void settle() {
    go_on();
    runtime_.run_until_idle();
  }
  void send_info() {
    Stream* stream = book_.stream_of(source_.pid());
    if (stream == nullptr) return;
    ++stream->infos_sent;
    async_info(source_, Mark{});
  }
  void produce(std::uint64_t count) {
    if (source_plan_->pulls) {
      source_.cast(Source::Refill{.budget = count * 3, .lazy = scenario_.chance(3)});
    } else {
      source_.cast(Source::Emit{.count = static_cast<std::uint32_t>(count), .each = scenario_.chance(2)});
    }
  }

  // --- the rules, while things move ---
  using Edges = std::map<std::string, EdgeInfo, std::less<>>;
  [[nodiscard]] Edges edges() const {
    Edges found;
    for (EdgeInfo& edge : runtime_.snapshot().edges) {
      const std::string key = key_of(edge.name);
      found.insert_or_assign(key, std::move(edge));
    }
    return found;
  }
  /// "kind#1 -> kind#2" becomes "1 2", "kind#1 buffer" becomes "1".
  [[nodiscard]] static std::string key_of(std::string_view name) {
    std::string key;
    for (std::size_t at = name.find('#'); at != std::string_view::npos; at = name.find('#', at + 1)) {
      if (!key.empty()) key += ' ';
      for (std::size_t digit = at + 1; digit < name.size() && name[digit] >= '0' && name[digit] <= '9'; ++digit) {
        key += name[digit];
      }
    }
    return key;
  }
  [[nodiscard]] static const EdgeInfo* find(const Edges& edges, const Ticket& ticket) {
    const auto found = edges.find(concat(ticket.producer.number(), ' ', ticket.consumer.number()));
    return found == edges.end() ? nullptr : &found->second;
  }
  [[nodiscard]] static bool goes_on(const Ticket& ticket) {
    return ticket.admitted && !ticket.over && RuntimeBase::alive(ticket.consumer) &&
           RuntimeBase::alive(ticket.producer);
  }
  void check_edges_on_the_way() {
    const Edges now = edges();
    for (const auto& [id, ticket] : book_.tickets) {
      if (!goes_on(ticket) || !only_one(ticket)) continue;
      const EdgeInfo* edge = find(now, ticket);
      if (edge == nullptr) continue;
      const std::uint64_t granted = edge->delivered + (ticket.waits() ? edge->buffered : 0);
      if (granted > edge->asked) book_.broken("demand: more is on its way than was asked for");
    }
  }
  /// Several subscriptions of one pair have edges of one name.
  [[nodiscard]] bool only_one(const Ticket& ticket) const {
    return std::ranges::count_if(book_.tickets, [&](const auto& entry) {
             return entry.second.producer == ticket.producer && entry.second.consumer == ticket.consumer &&
                    !entry.second.over;
           }) == 1;
  }

  // --- the rules, when nothing moves ---
  void check() {
    settle();
    set_demand(source_, DemandFlow::forward);
    runtime_.advance(100ms);  // who has lost its producer comes back
    if (source_plan_->pulls) source_.cast(Source::Refill{.budget = 0, .lazy = false});
    scenario_.expect_idle();
    look_at_takers();  // one that is to throw in its next callback does so now, and what it held up goes on
    scenario_.expect_idle();
    look_at_takers();
    Figures behind;
    if (relayed_) behind = relay_.call_blocking<Look>().value();
    const Figures first = source_.call_blocking<Look>().value();
    scenario_.expect_idle();
    const Edges now = edges();
    for (auto& [id, ticket] : book_.tickets) {
      if (relayed_ && ticket.consumer == relay_.pid()) ticket.pending = open_before_relay(ticket, now);
      if (goes_on(ticket)) check_ticket(ticket, now);
    }
    check_stream(*book_.stream_of(source_.pid()), first, now);
    if (relayed_) check_stream(*book_.stream_of(relay_.pid()), behind, now);
  }

  void look_at_takers() {
    for (const ServerRef<Taker> taker : takers_) {
      if (RuntimeBase::alive(taker.pid())) may_fail(taker.call_blocking<Taker::Pending>());
    }
  }
  /// A relay has queued input, which it has not handled and its producer has sent.
  [[nodiscard]] static std::uint64_t open_before_relay(const Ticket& ticket, const Edges& now) {
    const EdgeInfo* edge = find(now, ticket);
    if (edge == nullptr || !ticket.waits()) return 0;
    return edge->asked - std::min(edge->asked, edge->delivered + edge->buffered);
  }

  void check_ticket(const Ticket& ticket, const Edges& now) {
    const EdgeInfo* edge = find(now, ticket);
    if (edge == nullptr || !only_one(ticket)) return;
    const bool last = !relayed_ || ticket.consumer != relay_.pid();  // a relay has queued input
    if (last && edge->delivered != ticket.handled) book_.broken("count: delivered is not what was handled");
    if (edge->asked != ticket.handled + ticket.pending && last) book_.broken("count: asked is not what it asked for");
    if (ticket.waits() && edge->dropped != 0) book_.broken("count: a subscription that waits has dropped");
    if (last && ticket.waits() && edge->buffered != 0) book_.broken("lost: events that were sent have not come");
    if (last && ticket.pending > 0 && edge->buffered != 0) {
      book_.broken("liveness: events wait for a consumer that has asked");
    }
    const Stream& stream = *book_.stream_of(ticket.producer);
    if (stream.plan.kind == Kind::broadcast) check_broadcast(ticket, stream, *edge, now);
  }
  /// Of a broadcast everything comes, waits, or was dropped and counted.
  void check_broadcast(const Ticket& ticket, const Stream& stream, const EdgeInfo& edge, const Edges& now) {
    if (!ticket.clean || stream.discarded != ticket.discarded_before) return;
    const EdgeInfo& buffer = now.at(concat(stream.pid.number()));
    if (ticket.waits() && buffer.buffered != 0) return;
    std::uint64_t wanted = 0;
    for (std::uint32_t serial = ticket.begins_after + 1; serial <= stream.emitted; ++serial) {
      wanted += ticket.habit.wants(serial) ? 1 : 0;
    }
    const std::uint64_t accounted = edge.delivered + edge.dropped + edge.buffered;
    if (accounted != wanted) {
      book_.broken(concat("count: ", wanted, " events for a consumer, and account of ", accounted));
    }
  }

  void check_stream(const Stream& stream, const Figures& figures, const Edges& now) {
    const EdgeInfo& edge = now.at(concat(stream.pid.number()));
    const std::uint64_t waiting = figures.buffered + figures.queued_in_all;
    if (edge.buffered != waiting) {
      book_.broken(concat("count: ", waiting, " events wait in a producer that counts ", edge.buffered));
    }
    if (edge.delivered + edge.dropped + waiting != stream.emitted) {
      book_.broken(concat("count: ", stream.emitted, " emitted, account of ", edge.delivered + edge.dropped + waiting));
    }
    if (!stream.plan.partitioned() && edge.dropped != stream.discarded) {
      book_.broken("count: what the buffer gave up is not what was reported");
    }
    if (stream.pid == source_.pid() && edge.asked != stream.asked) {
      book_.broken("count: demand passed up is not what handle_demand saw");
    }
    if (waiting == 0 && stream.infos_handled != stream.infos_sent) {
      book_.broken(concat("liveness: ", stream.infos_handled, " of ", stream.infos_sent, " infos were handled"));
    }
    check_liveness(stream, figures);
    if (stream.plan.kind != Kind::broadcast) check_conservation(stream, figures, edge, now);
  }

  /// Every dispatched event has come somewhere, was dropped and counted, or was in the hands of somebody who died.
  void check_conservation(const Stream& stream, const Figures& figures, const EdgeInfo& edge, const Edges& now) {
    if (stream.plan.partitioned() && (figures.buffered != 0 || stream.discarded != 0)) return;
    std::uint64_t accounted = stream.plan.partitioned() ? stream.emitted / nowhere : 0;
    std::uint64_t lost_max = 0;
    for (const auto& [id, ticket] : book_.tickets) {
      if (ticket.producer != stream.pid) continue;
      const EdgeInfo* counted = find(now, ticket);
      const bool ended = !goes_on(ticket);
      if (!ended && (counted == nullptr || !only_one(ticket))) return;
      if (ended && !ticket.waits()) return;  // its queue went with it
      accounted += ended ? ticket.handled : counted->delivered + counted->dropped + counted->buffered;
      const bool relay = relayed_ && ticket.consumer == relay_.pid();  // may have queued input yet
      if (!ended || (RuntimeBase::alive(ticket.consumer) && !relay)) continue;
      const auto& options = ticket.habit.options;
      lost_max += ticket.asked + (options.manual ? 0 : static_cast<std::uint64_t>(options.max_demand));
    }
    if (accounted > edge.delivered) {
      book_.broken(concat("count: ", edge.delivered, " dispatched, account of ", accounted));
    } else if (accounted + lost_max < edge.delivered) {
      book_.broken(
          concat("lost: ", edge.delivered, " dispatched, account of ", accounted, ", ", lost_max, " may be lost"));
    }
  }

  /// What can flow has flown.
  void check_liveness(const Stream& stream, const Figures& figures) {
    const bool could =
        figures.buffered != 0 || (stream.pid == source_.pid() && stream.plan.pulls && stream.budget != 0);
    bool any = false;      // somebody waits for events
    bool all = true;       // of those that hold up others
    bool elastic = false;  // somebody takes events without having asked
    std::array<bool, partitions_max> open{};
    for (const auto& [id, ticket] : book_.tickets) {
      if (ticket.producer != stream.pid || !goes_on(ticket)) continue;
      const std::uint64_t* partition = ticket.habit.options.partition.number();
      if (stream.plan.partitioned() && (partition == nullptr || *partition >= figures.partitions)) continue;
      any = any || ticket.pending > 0;
      elastic = elastic || !ticket.waits();
      if (ticket.waits()) all = all && ticket.pending > 0;
      if (ticket.pending > 0 || !ticket.waits()) open.at(*partition) = true;
    }
    for (std::size_t partition = 0; partition < figures.queued.size(); ++partition) {
      if (open.at(partition) && figures.queued[partition] != 0) {
        book_.broken("liveness: events wait in the queue of a partition that has asked");
      }
    }
    if (elastic && figures.buffered != 0 && !stream.plan.partitioned() &&
        (stream.plan.kind != Kind::broadcast || all)) {
      book_.broken("liveness: events wait while somebody takes all");
    }
    if (!could || !any || (stream.plan.kind == Kind::broadcast && !all)) return;
    if (stream.plan.partitioned() && held_up(stream, figures, open)) return;
    book_.broken(concat("liveness: ", figures.buffered, " events wait, ", stream.budget, " may be made, none goes",
                        who_waits(stream)));
  }
  [[nodiscard]] std::string who_waits(const Stream& stream) const {
    std::string text;
    for (const auto& [id, ticket] : book_.tickets) {
      if (ticket.producer != stream.pid || !goes_on(ticket)) continue;
      text += concat("; process ", ticket.consumer.number(), " rule ", static_cast<int>(ticket.habit.rule), " pending ",
                     ticket.pending, " last ", ticket.last);
    }
    return text;
  }
  /// A partition that is full holds up the others, where that is the rule.
  [[nodiscard]] bool held_up(const Stream& stream, const Figures& figures,
                             const std::array<bool, partitions_max>& open) const {
    if (flaw_ != Flaw::none) return true;
    if (stream.plan.queues.when_full != PartitionFull::wait) return false;
    for (std::size_t partition = 0; partition < figures.queued.size(); ++partition) {
      if (!open.at(partition) && figures.queued[partition] >= stream.plan.queues.queue_size) return true;
    }
    return false;
  }

  Scenario& scenario_;
  DeterministicRuntime& runtime_;
  Kind kind_;
  Flaw flaw_;
  std::shared_ptr<Book> keeper_;  // with every stage, which may outlive the flow when a rule is broken
  Book& book_;
  std::optional<Plan> source_plan_;
  ServerRef<Source> source_;
  ServerRef<Relay> relay_;
  std::vector<ServerRef<Taker>> takers_;
  std::vector<Pid> held_;
  bool relayed_ = false;
};

SeedReport run_flows(std::size_t count, Kind kind, Flaw flaw, std::string test) {
  return testing::for_each_seed({.count = count, .test = std::move(test)},
                                [=](Scenario& scenario) { Flow(scenario, kind, flaw).run(); });
}

void expect_rules(Kind kind, std::string test) {
  const SeedReport report = run_flows(300, kind, Flaw::none, std::move(test));
  EXPECT_TRUE(report.ok()) << report.text();
}

TEST(StageFlow, every_seed_through_demand_keeps_the_rules) {
  expect_rules(Kind::demand, "StageFlow.every_seed_through_demand*");
}
TEST(StageFlow, every_seed_through_shuffled_demand_keeps_the_rules) {
  expect_rules(Kind::shuffled, "StageFlow.every_seed_through_shuffled*");
}
TEST(StageFlow, every_seed_through_broadcast_keeps_the_rules) {
  expect_rules(Kind::broadcast, "StageFlow.every_seed_through_broadcast*");
}
TEST(StageFlow, every_seed_through_partitions_keeps_the_rules) {
  expect_rules(Kind::partition, "StageFlow.every_seed_through_partitions*");
}
TEST(StageFlow, every_seed_through_a_rewriting_hash_keeps_the_rules) {
  expect_rules(Kind::rewriting, "StageFlow.every_seed_through_a_rewriting*");
}

TEST(StageFlow, the_rules_see_each_planted_fault) {
  struct Fault {
    Flaw flaw;
    Kind kind;
    std::string rule;
  };
  const std::vector<Fault> faults{
      {Flaw::overtakes, Kind::broadcast, "order: event"},
      {Flaw::overtakes, Kind::demand, "order: event"},
      {Flaw::loses, Kind::demand, "lost: "},
      {Flaw::loses, Kind::broadcast, "lost: event"},
      {Flaw::doubles, Kind::demand, "comes twice"},
      {Flaw::exceeds, Kind::demand, "demand: more events come"},
      {Flaw::exceeds, Kind::broadcast, "demand: more is on its way"},
      {Flaw::forgets_asks, Kind::demand, "liveness: "},
      {Flaw::holds_back, Kind::broadcast, "liveness: "},
      {Flaw::ignores_selector, Kind::broadcast, "selector: "},
      {Flaw::misroutes, Kind::partition, "partition: of another one"},
      {Flaw::newest_first, Kind::broadcast, "order: event"},
      {Flaw::drops_in_silence, Kind::broadcast, "liveness: events wait for a consumer"},
  };
  for (const Fault& fault : faults) {
    const SeedReport report = run_flows(100, fault.kind, fault.flaw, "");
    EXPECT_FALSE(report.ok()) << fault.rule;
    EXPECT_NE(report.text().find(fault.rule), std::string::npos)
        << "expected " << fault.rule << ", found " << report.text();
  }
}

}  // namespace
}  // namespace dagverk::simulation
