// Limits, as every store keeps them.

#include "conformance/job_store_fixture.hpp"

namespace dagverk::conformance {
namespace {

using jobs::Limit;
using jobs::LimitScope;
using jobs::Rate;
using jobs::RateKind;

Limit slots(std::string name, std::int64_t count, LimitScope scope = LimitScope::queue) {
  Limit limit{.scope = scope, .name = std::move(name)};
  limit.concurrency = count;
  return limit;
}

Limit rated(std::string name, Rate rate, LimitScope scope = LimitScope::queue) {
  Limit limit{.scope = scope, .name = std::move(name)};
  limit.rate = rate;
  return limit;
}

TEST(RateMeter, a_clock_that_goes_back_gives_nothing_twice_and_holds_nobody_for_longer_than_the_rates_time) {
  constexpr std::int64_t second = 1'000'000;
  constexpr std::int64_t hour = 3600 * second;
  constexpr std::int64_t now = 500'000 * hour + 3 * second;
  const auto after = [](const Rate& rate, const jobs::RateMeter& meter, std::int64_t at) {
    return jobs::RateMeter(rate, meter.at_us(), meter.used(), at);
  };
  const Rate bucket{3, 3s};
  jobs::RateMeter tokens(bucket, 0, 0, now);
  EXPECT_EQ(tokens.tokens(), 3);
  tokens.use(3);
  EXPECT_EQ(tokens.next_us(), now + second);
  EXPECT_EQ(tokens.turn_after(0), now + second);
  EXPECT_EQ(tokens.turn_after(now + 5 * second), now + 6 * second);
  const jobs::RateMeter back = after(bucket, tokens, now - hour);
  EXPECT_EQ(back.tokens(), 0);
  EXPECT_EQ(back.next_us(), now - hour + second);
  EXPECT_EQ(after(bucket, back, now - hour + 3 * second).tokens(), 3);
  EXPECT_EQ(after(bucket, tokens, now + hour).tokens(), 3) << "forward: so much time has passed";

  const Rate window{2, 10s, RateKind::window};
  jobs::RateMeter used(window, 0, 0, now);
  used.use(2);
  EXPECT_EQ(used.next_us(), now + 7 * second);
  EXPECT_EQ(used.turn_after(0), now + 7 * second);
  EXPECT_EQ(used.turn_after(now + 7 * second), now + 7 * second + 1) << "two in each window";
  EXPECT_EQ(used.turn_after(now + 7 * second + 1), now + 17 * second);
  const jobs::RateMeter earlier = after(window, used, now - hour);
  EXPECT_EQ(earlier.tokens(), 0);
  EXPECT_EQ(after(window, earlier, now - hour + 7 * second).tokens(), 2);
}

TEST_P(JobStoreConformance, a_limit_comes_back_as_it_was_put_and_goes_when_it_is_removed) {
  EXPECT_TRUE(store_->list_limits()->empty());
  Limit both = slots("mail: out", 3);
  both.rate = Rate{100, 1h, RateKind::window};
  EXPECT_TRUE(store_->put_limit(both).value());
  EXPECT_FALSE(store_->put_limit(both).value()) << "it is just so";
  EXPECT_TRUE(store_->put_limit(rated("a", {5, 1500ms})).value());
  EXPECT_TRUE(store_->put_limit(slots("a", 7, LimitScope::key)).value()) << "another scope";

  const auto other = world_->open();
  const auto list = other->list_limits().value();
  ASSERT_EQ(list.size(), 3U);
  EXPECT_EQ(list[0].limit, rated("a", {5, 1500ms}));
  EXPECT_EQ(list[1].limit, both);
  EXPECT_EQ(list[2].limit, slots("a", 7, LimitScope::key));
  ASSERT_EQ(list[1].uses.size(), 1U);
  EXPECT_EQ(list[1].uses[0].key, "mail: out");
  EXPECT_EQ(list[1].uses[0].tokens, 100);

  EXPECT_TRUE(other->put_limit(slots("a", 9)).value());
  EXPECT_EQ(store_->list_limits()->at(0).limit, slots("a", 9));
  EXPECT_TRUE(other->remove_limit(LimitScope::queue, "a").value());
  EXPECT_FALSE(other->remove_limit(LimitScope::queue, "a").value());
  EXPECT_FALSE(other->reset_limit(LimitScope::queue, "a").value());
  EXPECT_EQ(store_->list_limits()->size(), 2U);
}

TEST_P(JobStoreConformance, a_queue_runs_no_more_than_its_slots_whoever_takes) {
  ASSERT_TRUE(store_->put_limit(slots("default", 3)).value());
  enqueue(*store_, {"a", "b", "c", "d", "e"});
  enqueue(*store_, {"x"}, "other");
  const auto other = world_->open();
  const auto one = node(*store_);
  const auto two = node(*other);

  const auto first = take(*store_, one, 2);
  EXPECT_EQ(jids(first), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(jids(take(*other, two, 10, {"default", "other"})), (std::vector<std::string>{"c", "x"}));
  EXPECT_TRUE(take(*store_, one, 10).empty());
  const auto info = store_->list_limits()->at(0);
  EXPECT_EQ(info.uses.at(0).running, 3U);
  EXPECT_EQ(info.uses.at(0).waiting, 2U);

  // However a run ends, its slot is free, and that is told.
  const std::uint64_t seen = store_->store().change_count(jobs::ChangeKind::ready);
  ASSERT_EQ(settle(*store_, Settlement::finish(first[0].token)), ItemOutcome::done);
  EXPECT_NE(store_->store().change_count(jobs::ChangeKind::ready), seen);
  EXPECT_EQ(jids(take(*store_, one, 10)), (std::vector<std::string>{"d"}));
  ASSERT_EQ(settle(*store_, Settlement::retry(first[1].token, "later", world_->now() + 1h)), ItemOutcome::done);
  EXPECT_EQ(jids(take(*store_, one, 10)), (std::vector<std::string>{"e"}));
  ASSERT_EQ(store_->retire_node(one).value(), 2U);
  EXPECT_EQ(jids(take(*other, two, 10)), (std::vector<std::string>{"d", "e"}));

  // A limit that falls below what runs lets that run on; without one there is none.
  ASSERT_TRUE(store_->put_limit(slots("default", 1)).value());
  enqueue(*store_, {"f", "g"});
  EXPECT_TRUE(take(*other, two, 10).empty());
  ASSERT_TRUE(store_->remove_limit(LimitScope::queue, "default").value());
  EXPECT_EQ(take(*other, two, 10).size(), 2U);
}

TEST_P(JobStoreConformance, a_dead_nodes_slots_are_given_back_when_it_is_rescued) {
  ASSERT_TRUE(store_->put_limit(slots("default", 2)).value());
  enqueue(*store_, {"a", "b", "c"});
  const auto dead = node(*store_, "dead");
  ASSERT_EQ(take(*store_, dead, 10).size(), 2U);
  world_->advance(world_->lease() + 1s);
  const auto other = world_->open();
  const auto by = node(*other);
  EXPECT_TRUE(take(*other, by, 10).empty()) << "until it is rescued";
  ASSERT_EQ(other->rescue_dead_nodes(by, 100)->jobs.size(), 2U);
  EXPECT_EQ(jids(take(*other, by, 10)), (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(take(*other, by, 10).empty());
}

TEST_P(JobStoreConformance, a_bucket_lets_its_tokens_go_at_once_and_then_one_by_one) {
  ASSERT_TRUE(store_->put_limit(rated("default", {3, 3s})).value());
  const auto by = node(*store_);
  enqueue(*store_, {"a", "b", "c", "d", "e", "f", "g", "h"});
  EXPECT_EQ(take(*store_, by, 2).size(), 2U);
  EXPECT_EQ(take(*store_, by, 10).size(), 1U);
  EXPECT_TRUE(take(*store_, by, 10).empty());
  const WallTime start = world_->now();
  EXPECT_EQ(store_->store().next_turn(), start + 1s);
  auto use = store_->list_limits()->at(0).uses.at(0);
  EXPECT_EQ(use.tokens, 0);
  EXPECT_EQ(use.next_token_at, start + 1s);

  world_->advance(999ms);
  EXPECT_TRUE(take(*store_, by, 10).empty());
  world_->advance(1ms);
  EXPECT_EQ(jids(take(*store_, by, 10)), (std::vector<std::string>{"d"}));
  EXPECT_TRUE(take(*world_->open(), by, 10).empty());
  world_->advance(2500ms);
  EXPECT_EQ(take(*store_, by, 10).size(), 2U);
  EXPECT_EQ(store_->store().next_turn(), start + 4s) << "half a token was left";
  EXPECT_TRUE(store_->reset_limit(LimitScope::queue, "default").value());
  EXPECT_EQ(take(*store_, by, 10).size(), 2U);
  EXPECT_EQ(store_->list_limits()->at(0).uses.at(0).tokens, 1);
}

TEST_P(JobStoreConformance, a_window_lets_its_count_go_and_the_next_one_as_many) {
  ASSERT_TRUE(store_->put_limit(rated("default", {2, 10s, RateKind::window})).value());
  const auto by = node(*store_);
  enqueue(*store_, {"a", "b", "c", "d", "e"});
  const auto into = world_->now().time_since_epoch() % 10s;
  const WallTime next = world_->now() - into + 10s;
  EXPECT_EQ(take(*store_, by, 10).size(), 2U);
  EXPECT_TRUE(take(*store_, by, 10).empty());
  EXPECT_EQ(store_->store().next_turn(), std::chrono::floor<std::chrono::microseconds>(next));
  world_->advance(next - world_->now() - 1us);
  EXPECT_TRUE(take(*store_, by, 10).empty());
  world_->advance(1us);
  EXPECT_EQ(take(*store_, by, 10).size(), 2U);
  EXPECT_TRUE(take(*store_, by, 10).empty());
  world_->advance(9s);
  EXPECT_TRUE(store_->renew_lease(by));
  world_->advance(15s);
  EXPECT_EQ(take(*store_, by, 10).size(), 1U);
}

jobs::EnqueueRequest keyed(std::string jid, std::string key) {
  jobs::EnqueueRequest request;
  request.payload = concat(R"({"jid":")", jid, R"("})");
  request.jid = std::move(jid);
  request.queue = "default";
  request.class_name = "Work";
  request.limit_key = std::move(key);
  return request;
}

/// What is due goes into its queue; how many that were.
std::size_t promote_due(StoreSession& store, WallTime now) {
  const auto page = store.peek_due(now, 1000);
  EXPECT_TRUE(page) << page.error().message();
  if (!page || page->jobs.empty()) return 0;
  std::vector<jobs::Promotion> promotions;
  for (const jobs::DueJob& due : page->jobs) promotions.push_back({.handle = due.handle});
  EXPECT_TRUE(store.promote(std::move(promotions)));
  return page->jobs.size();
}

TEST_P(JobStoreConformance, of_each_key_run_no_more_than_its_slots_and_who_waits_is_promoted_at_once) {
  ASSERT_TRUE(store_->put_limit(slots("api", 1, LimitScope::key)).value());
  ASSERT_TRUE(store_->enqueue({keyed("a1", "api:x"), keyed("a2", "api:x"), keyed("a3", "api:x"), keyed("b1", "api:y"),
                               keyed("c1", "none:x"), job("p")}));
  const auto by = node(*store_);
  const auto first = take(*store_, by, 10);
  EXPECT_EQ(jids(first), (std::vector<std::string>{"a1", "b1", "c1", "p"}));
  const auto waiting = store_->find("a2").value().value();
  EXPECT_EQ(waiting.state, JobState::scheduled);
  EXPECT_EQ(waiting.limit_key, "api:x");
  EXPECT_EQ(waiting.payload, keyed("a2", "").payload);
  const auto rows = whole_journal(*store_, "a2");
  EXPECT_EQ(kinds(rows), (std::vector<JournalKind>{JournalKind::enqueued, JournalKind::limited}));
  EXPECT_EQ(rows.back().detail, R"({"limit":"api"})");
  auto info = store_->list_limits()->at(0);
  ASSERT_EQ(info.uses.size(), 2U);
  EXPECT_EQ(info.uses[0].key, "api:x");
  EXPECT_EQ(info.uses[0].running, 1U);
  EXPECT_EQ(info.uses[0].waiting, 2U);
  EXPECT_EQ(counts(*store_).scheduled, 2U);

  const std::uint64_t seen = store_->store().change_count(jobs::ChangeKind::ready);
  ASSERT_EQ(settle(*store_, Settlement::finish(first[0].token)), ItemOutcome::done);
  EXPECT_NE(store_->store().change_count(jobs::ChangeKind::ready), seen);
  EXPECT_EQ(state_of(*store_, "a2"), JobState::ready);
  EXPECT_EQ(state_of(*store_, "a3"), JobState::scheduled);
  const auto other = world_->open();
  const auto two = node(*other);
  const auto second = take(*other, two, 10);
  EXPECT_EQ(jids(second), (std::vector<std::string>{"a2"}));

  // A retry keeps its key; what is given back does so too.
  ASSERT_EQ(settle(*other, Settlement::retry(second[0].token, "other bytes", world_->now() + 1s)), ItemOutcome::done);
  EXPECT_EQ(store_->find("a2").value()->limit_key, "api:x");
  const auto third = take(*other, two, 10);
  EXPECT_EQ(jids(third), (std::vector<std::string>{"a3"}));
  world_->advance(1s);
  EXPECT_EQ(promote_due(*store_, world_->now()), 1U);
  EXPECT_TRUE(take(*store_, by, 10).empty());
  EXPECT_EQ(state_of(*store_, "a2"), JobState::scheduled);
  ASSERT_EQ(other->retire_node(two).value(), 1U);
  EXPECT_EQ(take(*store_, by, 10).size(), 1U);
  const auto queues = store_->queues("", 10).value();
  for (const jobs::QueueInfo& queue : queues) EXPECT_TRUE(queue.counts.balanced());
  EXPECT_EQ(counts(*store_).ready + counts(*store_).scheduled, 1U);
}

TEST_P(JobStoreConformance, who_waits_for_a_keys_tokens_is_due_when_its_turn_comes) {
  ASSERT_TRUE(store_->put_limit(rated("api", {2, 2s}, LimitScope::key)).value());
  std::vector<jobs::EnqueueRequest> batch;
  for (const char* const jid : {"a", "b", "c", "d", "e"}) batch.push_back(keyed(jid, "api"));
  batch.push_back(keyed("f", "api:other"));
  ASSERT_TRUE(store_->enqueue(std::move(batch)));
  const WallTime start = world_->now();
  const auto by = node(*store_);
  const auto first = take(*store_, by, 100);
  EXPECT_EQ(jids(first), (std::vector<std::string>{"a", "b", "f"}));
  for (const jobs::TakenJob& job : first) ASSERT_EQ(settle(*store_, Settlement::finish(job.token)), ItemOutcome::done);
  EXPECT_EQ(store_->find("c").value()->due, start + 1s);
  EXPECT_EQ(store_->find("d").value()->due, start + 2s);
  EXPECT_EQ(store_->find("e").value()->due, start + 3s);

  // One that comes out of the queue before has a later turn; one that has waited keeps the next.
  ASSERT_TRUE(store_->enqueue({keyed("g", "api")}));
  EXPECT_TRUE(take(*store_, by, 100).empty());
  EXPECT_EQ(store_->find("g").value()->due, start + 4s);
  ASSERT_EQ(store_->retry_now({{.jid = "c"}}).value(), Outcomes{ItemOutcome::done});
  EXPECT_TRUE(take(*store_, by, 100).empty());
  EXPECT_EQ(store_->find("c").value()->due, start + 1s);

  for (const char* const jid : {"c", "d", "e", "g"}) {
    world_->advance(1s);
    EXPECT_EQ(promote_due(*store_, world_->now()), 1U);
    const auto taken = take(*store_, by, 100);
    EXPECT_EQ(jids(taken), (std::vector<std::string>{jid}));
    EXPECT_EQ(kinds(whole_journal(*store_, jid)).back(), JournalKind::started);
  }
}

TEST_P(JobStoreConformance, a_full_key_starves_nobody_and_a_take_moves_only_so_many) {
  ASSERT_TRUE(store_->put_limit(slots("api", 2, LimitScope::key)).value());
  for (int part = 0; part < 2; ++part) {
    std::vector<jobs::EnqueueRequest> batch;
    for (int index = 0; index < 750; ++index) batch.push_back(keyed(concat("k", part, '-', index), "api"));
    ASSERT_TRUE(store_->enqueue(std::move(batch)));
  }
  enqueue(*store_, {"plain"});
  const auto by = node(*store_);
  const auto first = take(*store_, by, 10);
  EXPECT_EQ(jids(first), (std::vector<std::string>{"k0-0", "k0-1"}));
  EXPECT_EQ(counts(*store_).scheduled, jobs::limit_moves_limit);
  EXPECT_GT(store_->store().next_turn(), world_->now()) << "there is more to be looked at";
  EXPECT_EQ(jids(take(*store_, by, 10)), (std::vector<std::string>{"plain"}));
  EXPECT_EQ(counts(*store_).scheduled, 1498U);

  // Removing the limit has all that wait looked at.
  ASSERT_TRUE(store_->remove_limit(LimitScope::key, "api").value());
  world_->advance(2ms);
  EXPECT_EQ(promote_due(*store_, world_->now()), 1000U);
  EXPECT_EQ(promote_due(*store_, world_->now()), 498U);
  EXPECT_EQ(take(*store_, by, 1000).size(), 1000U);
}

TEST_P(JobStoreConformance, what_waits_for_a_limit_can_be_removed_moved_and_run_by_hand) {
  ASSERT_TRUE(store_->put_limit(slots("api", 1, LimitScope::key)).value());
  ASSERT_TRUE(store_->enqueue({keyed("a", "api"), keyed("b", "api"), keyed("c", "api"), keyed("d", "api")}));
  const auto by = node(*store_, "dead");
  ASSERT_EQ(jids(take(*store_, by, 10)), (std::vector<std::string>{"a"}));
  EXPECT_EQ(store_->remove({"b"}).value(), Outcomes{ItemOutcome::done});
  EXPECT_EQ(store_->move({{.jid = "c", .queue = "other"}}).value(), Outcomes{ItemOutcome::done});
  EXPECT_EQ(store_->find("c").value()->limit_key, "api");

  world_->advance(world_->lease() + 1s);
  const auto other = world_->open();
  const auto heir = node(*other);
  ASSERT_EQ(other->rescue_dead_nodes(heir, 100)->jobs.size(), 1U);
  EXPECT_EQ(state_of(*other, "a"), JobState::ready);
  EXPECT_EQ(take(*other, heir, 10, {"default", "other"}).size(), 1U) << "one slot, whoever has it";
  EXPECT_TRUE(take(*other, heir, 10, {"default", "other"}).empty());
  EXPECT_EQ(other->list_limits()->at(0).uses.at(0).running, 1U);
  const auto queues = other->queues("", 10).value();
  for (const jobs::QueueInfo& queue : queues) EXPECT_TRUE(queue.counts.balanced()) << queue.name;

  for (const std::string& wrong : {std::string(10'240, 'k'), std::string(":x"), std::string("a\nb")}) {
    EXPECT_EQ(store_->enqueue({keyed("w", wrong)}).error().code(), ErrorCode::invalid_argument);
  }
}

/// Random work on limited keys and a limited queue, by nodes some of which die, beside a model of what runs.
class LimitsRun {
 public:
  LimitsRun(StoreWorld& world, std::uint64_t seed) : world_(world), random_(seed), store_(world.open()) {
    api_ = slots("api", 1 + number(3), LimitScope::key);
    if (number(2) == 0) api_.rate = random_rate();
    queue_ = slots("default", 2 + number(4));
    if (number(2) == 0) queue_.rate = random_rate();
    mail_ = rated("mail", random_rate(), LimitScope::key);
    for (const Limit& limit : {api_, queue_, mail_}) EXPECT_TRUE(store_->put_limit(limit).value());
    for (int count = 0; count < 3; ++count) nodes_.push_back(new_node());
  }

  void step() {
    switch (random_.below(8)) {
      case 0:
      case 1: return enqueue();
      case 2:
      case 3: return take(nodes_[random_.below(nodes_.size())], 1 + random_.below(6));
      case 4:
      case 5: return settle_one();
      case 6: return pass(std::chrono::milliseconds(random_.below(2000)));
      default: return crashes_ < 2 && random_.below(4) == 0 ? crash() : pass(1s);
    }
  }

  /// Everything runs, with nobody to help but time.
  void drain() {
    for (std::size_t round = 0; round < 400 && !testing::Test::HasFailure(); ++round) {
      take(nodes_[round % nodes_.size()], 100);
      std::vector<Settlement> all;
      for (const Held& held : held_) all.push_back(Settlement::finish(held.token));
      held_.clear();
      finished_ += all.size();
      if (!all.empty()) {
        ASSERT_TRUE(store_->settle(std::move(all)));
      }
      if (finished_ == enqueued_) break;
      pass(500ms);
    }
    const auto sums = store_->totals()->counts;
    EXPECT_EQ(sums.finished, enqueued_);
    EXPECT_EQ(sums.live(), 0U);
    const auto limits = store_->list_limits().value();
    for (const jobs::LimitInfo& info : limits) {
      for (const jobs::LimitUse& use : info.uses) EXPECT_EQ(use.running + use.waiting, 0U) << use.key;
    }
  }

 private:
  struct Held {
    jobs::ClaimToken token;
    std::string key;
  };

  std::int64_t number(std::uint64_t below) { return static_cast<std::int64_t>(random_.below(below)); }
  Rate random_rate() {
    return {1 + number(4), std::chrono::milliseconds(500 + number(3000)),
            number(2) == 0 ? RateKind::token_bucket : RateKind::window};
  }
  jobs::NodeEpoch new_node() { return store_->register_node({"n", "{}"}).value_or(0); }

  void enqueue() {
    std::vector<jobs::EnqueueRequest> batch;
    for (std::uint64_t count = 1 + random_.below(5); count > 0; --count) {
      constexpr const char* keys[] = {"api:a", "api:b", "mail", "none:x", ""};
      batch.push_back(keyed(concat("j", enqueued_++), keys[random_.below(5)]));
      keys_[batch.back().jid] = batch.back().limit_key;
    }
    ASSERT_TRUE(store_->enqueue(std::move(batch)));
  }

  void take(jobs::NodeEpoch by, std::size_t max) {
    const auto taken = store_->take({by, {"default"}, max});
    ASSERT_TRUE(taken) << taken.error().message();
    for (const jobs::TakenJob& job : *taken) {
      const std::string& key = keys_.at(job.jid);
      held_.push_back({job.token, key});
      started_[""].push_back(world_.now());
      started_[key + "!"].push_back(world_.now());
    }
    EXPECT_LE(static_cast<std::int64_t>(held_.size()), *queue_.concurrency);
    for (const char* const key : {"api:a", "api:b"}) {
      EXPECT_LE(std::ranges::count(held_, key, &Held::key), *api_.concurrency) << key;
      if (api_.rate) check_rate(*api_.rate, started_[concat(key, "!")]);
    }
    check_rate(*mail_.rate, started_["mail!"]);
    if (queue_.rate) check_rate(*queue_.rate, started_[""]);
  }

  /// Of all stretches that end with the latest.
  static void check_rate(const Rate& rate, const std::vector<WallTime>& starts) {
    if (starts.empty()) return;
    std::int64_t count = 0;
    for (auto start = starts.rbegin(); start != starts.rend(); ++start) {
      ++count;
      if (rate.kind == RateKind::token_bucket) {
        ASSERT_LE(count, rate.count + (starts.back() - *start) * rate.count / rate.per);
      } else if (start->time_since_epoch() / rate.per == starts.back().time_since_epoch() / rate.per) {
        ASSERT_LE(count, rate.count);
      }
    }
  }

  void settle(std::size_t index, Settlement settlement) {
    if (settlement.action == Settlement::Action::finish) ++finished_;
    const auto outcomes = store_->settle({std::move(settlement)});
    ASSERT_TRUE(outcomes) << outcomes.error().message();
    EXPECT_EQ(outcomes->front(), ItemOutcome::done);
    held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(index));
  }
  void settle_one() {
    if (held_.empty()) return;
    const std::size_t index = random_.below(held_.size());
    const jobs::ClaimToken token = held_[index].token;
    switch (random_.below(4)) {
      case 0: return settle(index, Settlement::requeue(token));
      case 1: return settle(index, Settlement::retry(token, "{}", world_.now() + 1s));
      default: return settle(index, Settlement::finish(token));
    }
  }

  /// Time, in which the living renew and what is due is promoted.
  void pass(Duration by) {
    world_.advance(by);
    if (world_.now() - renewed_ > world_.lease() / 4) {
      for (const jobs::NodeEpoch node : nodes_) EXPECT_TRUE(store_->renew_lease(node));
      renewed_ = world_.now();
    }
    promote_due(*store_, world_.now());
  }

  /// A node dies. Its lease later nobody has its slots any more.
  void crash() {
    ++crashes_;  // two at most: a job that is rescued a third time is quarantined
    const jobs::NodeEpoch dead = nodes_.back();
    nodes_.pop_back();
    pass(world_.lease() / 2 + 1s);
    pass(world_.lease() / 2 + 1s);
    nodes_.push_back(new_node());
    ASSERT_TRUE(store_->rescue_dead_nodes(nodes_.back(), 1000));
    std::erase_if(held_, [dead](const Held& held) { return held.token.node == dead; });
    const auto limits = store_->list_limits().value();
    for (const jobs::LimitInfo& info : limits) {
      for (const jobs::LimitUse& use : info.uses) {
        const auto runs =
            info.limit.scope == LimitScope::queue ? std::ssize(held_) : std::ranges::count(held_, use.key, &Held::key);
        EXPECT_EQ(static_cast<std::int64_t>(use.running), runs) << use.key;
      }
    }
  }

  StoreWorld& world_;
  Random random_;
  std::unique_ptr<StoreSession> store_;
  Limit api_;
  Limit queue_;
  Limit mail_;
  std::vector<jobs::NodeEpoch> nodes_;
  std::map<std::string, std::string> keys_;  // by jid
  std::vector<Held> held_;
  int crashes_ = 0;
  std::map<std::string, std::vector<WallTime>> started_;  // by key and "!"; all of the queue by nothing
  std::uint64_t enqueued_ = 0;
  std::uint64_t finished_ = 0;
  WallTime renewed_ = world_.now();
};

TEST_P(JobStoreConformance, whoever_takes_and_dies_no_limit_is_exceeded_and_every_job_runs) {
  live<LimitsRun>(25, &LimitsRun::drain);
}

TEST_P(JobStoreConformance, refuses_limits_that_let_nothing_run_or_mean_nothing) {
  const auto message = [&](const Limit& wrong) {
    const auto put = store_->put_limit(wrong);
    EXPECT_FALSE(put);
    if (put) return std::string();
    EXPECT_EQ(put.error().code(), ErrorCode::invalid_argument);
    return std::string(put.error().message());
  };
  EXPECT_NE(message(slots("q", 0)).find(R"(limit "q": concurrency must be 1..1000000, got 0; to stop a queue, pause)"),
            std::string::npos);
  EXPECT_NE(message(slots("q", -5)).find("got -5"), std::string::npos);
  EXPECT_NE(message(rated("q", {0, 1s})).find("a rate's count must be 1.."), std::string::npos);
  EXPECT_NE(message(rated("q", {-1, 1s})).find("got -1"), std::string::npos);
  EXPECT_NE(message(rated("q", {1, 0s, RateKind::window})).find("1 ms to 366 days, got 0 us"), std::string::npos);
  EXPECT_NE(message(rated("q", {1, -1s})).find("1 ms to 366 days"), std::string::npos);
  EXPECT_NE(message(rated("q", {1000, 1ms})).find("10 a millisecond"), std::string::npos);
  EXPECT_NE(message(Limit{.name = "q"}).find("needs a concurrency, a rate or a bound"), std::string::npos);
  EXPECT_NE(message(slots("", 1)).find("1 to 255 bytes"), std::string::npos);
  EXPECT_NE(message(slots(std::string(10'240, 'n'), 1)).find("got 10240"), std::string::npos);
  EXPECT_NE(message(slots("a\nb", 1)).find("control"), std::string::npos);
  EXPECT_NE(message(slots("a:b", 1, LimitScope::key)).find("colon"), std::string::npos);
  EXPECT_TRUE(store_->list_limits()->empty());
  EXPECT_EQ(store_->remove_limit(LimitScope::queue, "").error().code(), ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace dagverk::conformance
