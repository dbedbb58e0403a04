// Bounds of queues, as every store keeps them.

#include "conformance/job_store_fixture.hpp"
#include "conformance/stores.hpp"

#include <deque>

namespace dagverk::conformance {
namespace {

using jobs::Limit;
using jobs::LimitScope;
using jobs::QueueBound;
using jobs::WhenFull;

Limit bounded(std::string queue, std::int64_t most, WhenFull when_full = WhenFull::refuse, std::string to = {}) {
  Limit limit{.scope = LimitScope::queue, .name = std::move(queue)};
  limit.bound = QueueBound{most, when_full, std::move(to)};
  return limit;
}

jobs::UniqueLock lock_on(std::string key, jobs::LockConflict conflict = jobs::LockConflict::refuse,
                         jobs::LockUntil until = jobs::LockUntil::done) {
  jobs::UniqueLock lock;
  lock.key = std::move(key);
  lock.until = until;
  lock.expiry = 1h;
  lock.conflict = conflict;
  return lock;
}

/// A job whose payload names its queue.
jobs::EnqueueRequest full_job(std::string jid, std::string queue = "default") {
  jobs::EnqueueRequest request;
  request.jid = std::move(jid);
  request.queue = std::move(queue);
  request.class_name = "Work";
  request.payload = concat(R"({"class":"Work","args":[1],"jid":")", request.jid, R"(","queue":")", request.queue,
                           R"(","created_at":1700000000000})");
  return request;
}

class Bounds : public JobStoreConformance {
 protected:
  Outcomes put(std::vector<std::string> jids, const std::string& queue = "default") {
    std::vector<jobs::EnqueueRequest> batch;
    for (std::string& jid : jids) batch.push_back(full_job(std::move(jid), queue));
    return put_all(std::move(batch));
  }
  Outcomes put_all(std::vector<jobs::EnqueueRequest> batch) {
    const auto outcomes = store_->enqueue(std::move(batch));
    EXPECT_TRUE(outcomes) << outcomes.error().message();
    return outcomes.value_or(Outcomes());
  }
  ItemOutcome put_one(jobs::EnqueueRequest request) {
    std::vector<jobs::EnqueueRequest> batch;
    batch.push_back(std::move(request));
    const Outcomes outcomes = put_all(std::move(batch));
    return outcomes.empty() ? ItemOutcome::missing : outcomes.front();
  }

  std::vector<std::string> waiting(const std::string& queue = "default") {
    const auto page = store_->list({.state = JobState::ready, .queue = queue, .limit = 1000});
    EXPECT_TRUE(page) << page.error().message();
    return page ? jids(*page) : std::vector<std::string>();
  }

  jobs::QueueCounts counts_of(const std::string& queue) {
    const auto queues = store_->queues("", 100).value();
    for (const jobs::QueueInfo& info : queues) {
      EXPECT_TRUE(info.counts.balanced()) << info.name;
      if (info.name == queue) return info.counts;
    }
    return {};
  }

  static constexpr ItemOutcome done = ItemOutcome::done;
  static constexpr ItemOutcome full = ItemOutcome::queue_full;
};

TEST_P(Bounds, a_bound_comes_back_as_it_was_put_beside_the_other_parts) {
  Limit all = bounded("mail", 7, WhenFull::divert, "overflow");
  all.concurrency = 3;
  all.rate = jobs::Rate{5, 1s};
  EXPECT_TRUE(store_->put_limit(all).value());
  EXPECT_FALSE(store_->put_limit(all).value()) << "it is just so";
  EXPECT_TRUE(store_->put_limit(bounded("overflow", 1'000'000'000, WhenFull::drop_oldest)).value());
  const auto other = world_->open();
  const auto list = other->list_limits().value();
  ASSERT_EQ(list.size(), 2U);
  EXPECT_EQ(list[0].limit, all);
  EXPECT_EQ(list[1].limit, bounded("overflow", 1'000'000'000, WhenFull::drop_oldest));
  all.bound->most = 8;
  EXPECT_TRUE(other->put_limit(all).value());
  all.bound.reset();
  EXPECT_TRUE(other->put_limit(all).value());
  EXPECT_EQ(store_->list_limits()->at(0).limit, all);
}

TEST_P(Bounds, a_queue_that_refuses_is_full_exactly_at_its_bound_and_has_room_after_a_take) {
  ASSERT_TRUE(store_->put_limit(bounded("default", 3)).value());
  EXPECT_EQ(put({"a", "b"}), (Outcomes{done, done}));
  EXPECT_EQ(put({"c", "d", "e"}), (Outcomes{done, full, full})) << "a bulk may meet the bound half-way";
  EXPECT_EQ(put_one(full_job("f")), full);
  EXPECT_EQ(put_one(full_job("a")), ItemOutcome::duplicate) << "not full: it is there";
  EXPECT_EQ(state_of(*store_, "d"), std::nullopt);
  EXPECT_TRUE(whole_journal(*store_, "d").empty());
  EXPECT_EQ(put({"x", "y", "z", "zz"}, "other"), (Outcomes{done, done, done, done}));

  const auto by = node(*store_);
  ASSERT_EQ(jids(take(*store_, by, 1)), (std::vector<std::string>{"a"}));
  EXPECT_EQ(put({"d", "e"}), (Outcomes{done, full}));
  EXPECT_EQ(waiting(), (std::vector<std::string>{"b", "c", "d"}));
  const auto other = world_->open();
  EXPECT_EQ(other->enqueue({full_job("g")}).value(), Outcomes{full}) << "whoever asks";
  const jobs::QueueCounts counts = counts_of("default");
  EXPECT_EQ(counts.enqueued, 4U);
  EXPECT_EQ(counts.refused, 5U);
  EXPECT_EQ(counts.dropped + counts.diverted, 0U);
  const auto info = store_->list_limits()->at(0);
  EXPECT_EQ(info.uses.at(0).waiting, 3U);
  EXPECT_EQ(info.uses.at(0).refused, 5U);
  EXPECT_EQ(counts_of("other").refused, 0U);
}

TEST_P(Bounds, what_the_store_has_promised_to_keep_comes_back_above_the_bound) {
  ASSERT_TRUE(store_->put_limit(bounded("default", 1)).value());
  jobs::EnqueueRequest later = full_job("later");
  later.due = world_->now() + 1s;
  EXPECT_EQ(put_one(full_job("a")), done);
  EXPECT_EQ(put_one(later), done) << "the bound is of those that wait ready";
  const auto by = node(*store_);
  const auto first = take(*store_, by, 1);
  ASSERT_EQ(jids(first), (std::vector<std::string>{"a"}));
  EXPECT_EQ(put_one(full_job("b")), done);
  ASSERT_EQ(settle(*store_, Settlement::requeue(first[0].token)), done);
  EXPECT_EQ(waiting().size(), 2U) << "given back";
  world_->advance(1s);
  const auto page = store_->peek_due(world_->now(), 100);
  ASSERT_EQ(page->jobs.size(), 1U);
  ASSERT_EQ(store_->promote({{.handle = page->jobs[0].handle}}).value(), Outcomes{done});
  EXPECT_EQ(waiting().size(), 3U) << "promoted";
  EXPECT_EQ(put_one(full_job("c")), full);
  ASSERT_EQ(take(*store_, by, 2).size(), 2U);
  EXPECT_EQ(put_one(full_job("c")), full) << "one waits still";
  ASSERT_EQ(take(*store_, by, 2).size(), 1U);
  EXPECT_EQ(put_one(full_job("c")), done);
  ASSERT_EQ(store_->retire_node(by).value(), 3U);
  EXPECT_EQ(waiting().size(), 4U);
  EXPECT_EQ(counts_of("default").refused, 2U);

  // Imported, moved and run by hand, and what a cron entry enqueues.
  jobs::StoredJob imported;
  imported.jid = "imported";
  imported.queue = "default";
  imported.class_name = "Work";
  imported.payload = full_job("imported").payload;
  imported.enqueued_at = world_->now();
  EXPECT_EQ(store_->restore({imported}).value(), Outcomes{done});
  ASSERT_EQ(put({"m"}, "other"), Outcomes{done});
  EXPECT_EQ(store_->move({{.jid = "m", .queue = "default"}}).value(), Outcomes{done});
  jobs::CronEntry entry;
  entry.name = "nightly";
  entry.schedule = "* * * * *";
  entry.class_name = "Work";
  entry.last_slot = world_->now();
  ASSERT_TRUE(store_->put_cron(entry).value());
  const auto table = store_->list_cron();
  ASSERT_EQ(table->entries.size(), 1U);
  jobs::CronFire fire{.name = "nightly", .revision = table->entries[0].revision, .slot = world_->now() + 1min};
  fire.jobs.push_back(full_job("fired"));
  EXPECT_EQ(store_->fire_cron(fire)->outcome, done);
  EXPECT_EQ(waiting().size(), 7U);
}

TEST_P(Bounds, a_queue_that_drops_lets_the_oldest_go_with_its_key_and_says_so) {
  ASSERT_TRUE(store_->put_limit(bounded("default", 2, WhenFull::drop_oldest)).value());
  jobs::EnqueueRequest keyed = full_job("a");
  keyed.unique = lock_on("only", jobs::LockConflict::refuse, jobs::LockUntil::period);
  EXPECT_EQ(put_one(keyed), done);
  EXPECT_EQ(put({"b", "c"}), (Outcomes{done, done}));
  EXPECT_EQ(waiting(), (std::vector<std::string>{"b", "c"}));
  EXPECT_EQ(state_of(*store_, "a"), std::nullopt);
  const auto rows = whole_journal(*store_, "a");
  EXPECT_EQ(kinds(rows), (std::vector<JournalKind>{JournalKind::enqueued, JournalKind::dropped}));
  EXPECT_EQ(rows.back().detail, R"({"for":"c"})");
  EXPECT_EQ(rows.back().queue, "default");
  EXPECT_EQ(rows.back().class_name, "Work");
  EXPECT_EQ(store_->find_lock("only").value(), std::nullopt) << "it never ran";
  keyed.jid = "a2";
  EXPECT_EQ(put_one(keyed), done) << "its key is free";
  EXPECT_EQ(put_one(full_job("b")), done) << "so is its jid";
  EXPECT_EQ(waiting(), (std::vector<std::string>{"a2", "b"}));

  // More than the bound in one bulk: the first of them go, too.
  EXPECT_EQ(put({"k", "l", "m", "n"}), (Outcomes{done, done, done, done}));
  EXPECT_EQ(waiting(), (std::vector<std::string>{"m", "n"}));
  const jobs::QueueCounts counts = counts_of("default");
  EXPECT_EQ(counts.enqueued, 9U);
  EXPECT_EQ(counts.dropped, 7U);
  EXPECT_EQ(counts.discarded, 7U);
  EXPECT_EQ(counts.refused, 0U);
  EXPECT_EQ(store_->list_limits()->at(0).uses.at(0).dropped, 7U);
  const auto by = node(*store_);
  EXPECT_EQ(jids(take(*store_, by)), (std::vector<std::string>{"m", "n"}));
  for (const jobs::StoreFinding& finding : store_->check().value_or(std::vector<jobs::StoreFinding>())) {
    EXPECT_EQ(finding.level, jobs::StoreFinding::Level::note) << finding.text;
  }
}

TEST_P(Bounds, what_a_bulk_brings_and_drops_again_holds_no_key) {
  ASSERT_TRUE(store_->put_limit(bounded("default", 1, WhenFull::drop_oldest)).value());
  ASSERT_EQ(put_one(full_job("a")), done);
  std::vector<jobs::EnqueueRequest> batch = {full_job("keyed"), full_job("b")};
  batch[0].unique = lock_on("only");
  EXPECT_EQ(put_all(batch), (Outcomes{done, done}));
  EXPECT_EQ(waiting(), (std::vector<std::string>{"b"}));
  EXPECT_EQ(store_->find_lock("only").value(), std::nullopt);
}

TEST_P(Bounds, what_has_a_limit_key_or_is_not_journaled_is_dropped_like_any_other) {
  ASSERT_TRUE(store_->put_limit(bounded("default", 1, WhenFull::drop_oldest)).value());
  Limit key{.scope = LimitScope::key, .name = "api"};
  key.concurrency = 1;
  ASSERT_TRUE(store_->put_limit(key).value());
  jobs::EnqueueRequest keyed = full_job("keyed");
  keyed.limit_key = "api:x";
  EXPECT_EQ(put_one(keyed), done);
  jobs::EnqueueRequest silent = full_job("silent");
  silent.journaled = false;
  EXPECT_EQ(put_one(silent), done);
  EXPECT_EQ(kinds(whole_journal(*store_, "keyed")).back(), JournalKind::dropped);
  jobs::EnqueueRequest opaque = job("opaque");
  opaque.payload = "no JSON at all";
  EXPECT_EQ(put_one(opaque), done);
  EXPECT_TRUE(whole_journal(*store_, "silent").empty());
  EXPECT_EQ(put_one(full_job("last")), done);
  EXPECT_EQ(kinds(whole_journal(*store_, "opaque")).back(), JournalKind::dropped);
  EXPECT_EQ(put_one(full_job("opaque")), done) << "its jid is free";
  const auto by = node(*store_);
  const auto taken = take(*store_, by);
  ASSERT_EQ(jids(taken), (std::vector<std::string>{"opaque"}));
  EXPECT_EQ(counts_of("default").dropped, 4U);
}

TEST_P(Bounds, of_several_priorities_the_oldest_of_the_lowest_is_dropped) {
  if (!GetParam().knows_priorities) return;
  ASSERT_TRUE(store_->put_limit(bounded("default", 3, WhenFull::drop_oldest)).value());
  const auto at = [](std::string jid, std::int16_t priority) {
    jobs::EnqueueRequest request = full_job(std::move(jid));
    request.priority = priority;
    return request;
  };
  ASSERT_EQ(put_all({at("low", 0), at("low2", 0), at("high", 5)}), (Outcomes{done, done, done}));
  const auto by = node(*store_);
  ASSERT_EQ(jids(take(*store_, by, 1)), (std::vector<std::string>{"high"}));
  ASSERT_EQ(store_->retire_node(by).value(), 1U);
  EXPECT_EQ(put_one(at("high2", 5)), done);
  EXPECT_EQ(waiting(), (std::vector<std::string>{"high", "high2", "low2"}));
  EXPECT_EQ(put_one(at("high3", 5)), done);
  EXPECT_EQ(waiting(), (std::vector<std::string>{"high", "high2", "high3"}));
  EXPECT_EQ(put_one(at("lowest", -5)), done);
  EXPECT_EQ(waiting(), (std::vector<std::string>{"high2", "high3", "lowest"}));
}

TEST_P(Bounds, a_queue_that_diverts_sends_what_has_no_room_into_the_other_one_whose_bound_counts) {
  ASSERT_TRUE(store_->put_limit(bounded("default", 2, WhenFull::divert, "spare")).value());
  EXPECT_EQ(put({"a", "b", "c"}), (Outcomes{done, done, done}));
  EXPECT_EQ(waiting(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(waiting("spare"), (std::vector<std::string>{"c"}));
  const auto diverted = store_->find("c").value();
  ASSERT_TRUE(diverted);
  EXPECT_EQ(diverted->queue, "spare");
  EXPECT_EQ(diverted->payload, R"({"class":"Work","args":[1],"jid":"c","queue":"spare","created_at":1700000000000})");
  const auto rows = whole_journal(*store_, "c");
  EXPECT_EQ(kinds(rows), (std::vector<JournalKind>{JournalKind::enqueued, JournalKind::diverted}));
  EXPECT_EQ(rows[0].queue, "spare");
  EXPECT_EQ(rows[1].queue, "spare");
  EXPECT_EQ(rows[1].detail, R"({"from":"default"})");
  EXPECT_EQ(counts_of("default").diverted, 1U);
  EXPECT_EQ(counts_of("default").enqueued, 2U);
  EXPECT_EQ(counts_of("spare").enqueued, 1U);

  // The other one refuses when it is full, too: that counts as refused where the job was to go.
  ASSERT_TRUE(store_->put_limit(bounded("spare", 2)).value());
  EXPECT_EQ(put({"d", "e"}), (Outcomes{done, full}));
  EXPECT_EQ(counts_of("default").diverted, 2U);
  EXPECT_EQ(counts_of("default").refused, 1U);
  EXPECT_EQ(counts_of("spare").refused, 0U);

  // Or it drops.
  ASSERT_TRUE(store_->put_limit(bounded("spare", 2, WhenFull::drop_oldest)).value());
  EXPECT_EQ(put({"e", "f"}), (Outcomes{done, done}));
  EXPECT_EQ(waiting("spare"), (std::vector<std::string>{"e", "f"}));
  EXPECT_EQ(counts_of("default").diverted, 4U);
  EXPECT_EQ(counts_of("spare").dropped, 2U);
  EXPECT_EQ(store_->list_limits()->at(0).uses.at(0).diverted, 4U);

  // A unique key goes with its job, and so do its limit key and where it was before.
  jobs::EnqueueRequest keyed = full_job("g");
  keyed.unique = lock_on("only");
  keyed.limit_key = "api:x";
  EXPECT_EQ(put_one(keyed), done);
  EXPECT_EQ(store_->find("g").value()->limit_key, "api:x");
  EXPECT_EQ(store_->find_lock("only").value()->jid, "g");
  const auto by = node(*store_);
  const auto taken = take(*store_, by, 10, {"spare"});
  ASSERT_EQ(jids(taken), (std::vector<std::string>{"f", "g"}));
  EXPECT_NE(taken[1].payload.find(R"("queue":"spare")"), std::string::npos);
  EXPECT_EQ(settle(*store_, Settlement::finish(taken[1].token)), done);
  EXPECT_EQ(store_->find_lock("only").value(), std::nullopt);
  EXPECT_EQ(put({"h"}), Outcomes{done});
  EXPECT_EQ(waiting("spare"), (std::vector<std::string>{"h"}));
}

TEST_P(Bounds, what_it_refuses_takes_no_key_and_pushes_nobody_aside) {
  ASSERT_TRUE(store_->put_limit(bounded("default", 2)).value());
  const auto with = [](jobs::EnqueueRequest request, jobs::UniqueLock lock) {
    request.unique = std::move(lock);
    return request;
  };
  const auto replace = jobs::LockConflict::replace;
  ASSERT_EQ(put_one(with(full_job("elsewhere", "other"), lock_on("e"))), done);
  ASSERT_EQ(put_one(with(full_job("a"), lock_on("k"))), done);
  ASSERT_EQ(put_one(full_job("b")), done);
  EXPECT_EQ(put_one(with(full_job("c"), lock_on("free"))), full);
  EXPECT_EQ(store_->find_lock("free").value(), std::nullopt);
  EXPECT_EQ(put_one(with(full_job("c"), lock_on("k"))), ItemOutcome::locked) << "the key is asked first";
  EXPECT_EQ(put_one(with(full_job("c"), lock_on("e", replace))), full) << "who is pushed aside waits elsewhere";
  EXPECT_EQ(state_of(*store_, "elsewhere"), JobState::ready);
  EXPECT_EQ(store_->find_lock("e").value()->jid, "elsewhere");
  EXPECT_EQ(put_one(with(full_job("c"), lock_on("k", replace))), done) << "who is pushed aside makes room";
  EXPECT_EQ(waiting(), (std::vector<std::string>{"b", "c"}));
  EXPECT_EQ(counts_of("default").refused, 2U);
  EXPECT_EQ(counts_of("default").deleted, 1U);
}

TEST_P(Bounds, a_pause_changes_nothing_and_without_its_bound_a_queue_takes_all) {
  ASSERT_TRUE(store_->put_limit(bounded("default", 1)).value());
  ASSERT_TRUE(store_->pause_queue("default").value());
  EXPECT_EQ(put({"a", "b"}), (Outcomes{done, full}));
  ASSERT_TRUE(store_->resume_queue("default").value());
  EXPECT_EQ(put({"b"}), Outcomes{full});
  ASSERT_TRUE(store_->put_limit(bounded("default", 2)).value());
  EXPECT_EQ(put({"b", "c"}), (Outcomes{done, full}));
  ASSERT_TRUE(store_->put_limit(bounded("default", 1)).value());
  EXPECT_EQ(waiting().size(), 2U) << "what waits stays";
  Limit slots{.scope = LimitScope::queue, .name = "default"};
  slots.concurrency = 5;
  ASSERT_TRUE(store_->put_limit(slots).value());
  EXPECT_EQ(put({"c", "d"}), (Outcomes{done, done})) << "a limit without a bound";
  ASSERT_TRUE(store_->put_limit(bounded("default", 1)).value());
  EXPECT_EQ(put({"e"}), Outcomes{full});
  ASSERT_TRUE(store_->remove_limit(LimitScope::queue, "default").value());
  EXPECT_EQ(put({"e", "f"}), (Outcomes{done, done}));
  EXPECT_EQ(counts_of("default").refused, 4U) << "what was counted stays";
}

TEST_P(Bounds, refuses_bounds_that_mean_nothing_and_queues_that_divert_in_a_chain) {
  const auto message = [&](const Limit& wrong, ErrorCode code = ErrorCode::invalid_argument) {
    const auto put = store_->put_limit(wrong);
    EXPECT_FALSE(put);
    if (put) return std::string();
    EXPECT_EQ(put.error().code(), code);
    return std::string(put.error().message());
  };
  EXPECT_NE(message(bounded("q", 0)).find(R"(limit "q": a bound must be 1..1000000000 waiting jobs, got 0)"),
            std::string::npos);
  EXPECT_NE(message(bounded("q", -1)).find("got -1"), std::string::npos);
  EXPECT_NE(message(bounded("q", 5, WhenFull::divert)).find("divert to"), std::string::npos);
  EXPECT_NE(message(bounded("q", 5, WhenFull::divert, "q")).find("to itself"), std::string::npos);
  EXPECT_NE(message(bounded("q", 5, WhenFull::refuse, "r")).find("its rule is to refuse"), std::string::npos);
  Limit key = bounded("api", 5);
  key.scope = LimitScope::key;
  EXPECT_NE(message(key).find("only a queue has a bound"), std::string::npos);

  ASSERT_TRUE(store_->put_limit(bounded("a", 1, WhenFull::divert, "b")).value());
  EXPECT_NE(message(bounded("b", 1, WhenFull::divert, "c"), ErrorCode::refused)
                .find("queue a diverts to b, which diverts itself (to c)"),
            std::string::npos);
  EXPECT_NE(message(bounded("c", 1, WhenFull::divert, "a"), ErrorCode::refused)
                .find("queue c diverts to a, which diverts itself (to b)"),
            std::string::npos);
  EXPECT_EQ(store_->list_limits()->size(), 1U);
  EXPECT_TRUE(store_->put_limit(bounded("c", 1, WhenFull::divert, "b")).value()) << "two may divert to one";
  EXPECT_TRUE(store_->put_limit(bounded("a", 2, WhenFull::divert, "d")).value());
}

// --- whatever happens ---

/// Queues `a` and `b` under changing bounds, held against a plain account of what an enqueue has to do.
class BoundsRun {
 public:
  BoundsRun(StoreWorld& world, std::uint64_t seed) : world_(world), random_(seed), store_(world.open()) {
    node_ = store_->register_node({"node", "{}"}).value();
    change_bounds();
  }

  void step() {
    switch (random_.below(10)) {
      case 0: return change_bounds();
      case 1: return later();
      case 2: return pass();
      case 3:
      case 4: return take();
      case 5: return settle();
      default: return enqueue();
    }
  }

  /// Runs all that is left, then asks where every job has gone.
  void finish() {
    for (int round = 0; round < 100; ++round) {
      pass();
      take();
      while (!held_.empty() && !testing::Test::HasFailure()) settle(true);
    }
    const auto rows = journal();
    for (const auto& [jid, fate] : fates_) {
      const auto row = rows.find(jid);
      if (fate == Fate::refused) {
        EXPECT_TRUE(row == rows.end()) << jid;
        continue;
      }
      ASSERT_TRUE(row != rows.end()) << jid;
      const JournalKind last = fate == Fate::dropped    ? JournalKind::dropped
                               : fate == Fate::replaced ? JournalKind::deleted
                                                        : JournalKind::finished;
      EXPECT_EQ(row->second.back(), last) << jid;
      EXPECT_EQ(std::ranges::count(row->second, JournalKind::diverted), diverted_.contains(jid) ? 1 : 0) << jid;
      EXPECT_NE(fate, Fate::waits) << jid << " neither ran nor is it anywhere";
    }
    EXPECT_TRUE(store_->list_locks()->locks.empty());
  }

 private:
  enum class Fate : std::uint8_t { waits, refused, dropped, replaced, ran };
  struct Account {
    std::uint64_t enqueued = 0;
    std::uint64_t refused = 0;
    std::uint64_t dropped = 0;
    std::uint64_t diverted = 0;
  };
  using Ready = std::map<std::string, std::deque<std::string>>;

  std::int64_t up_to(std::uint64_t most) { return static_cast<std::int64_t>(random_.below(most)) + 1; }

  void change_bounds() {
    // First those that divert to none, so that nothing is refused half-way.
    bounds_.clear();
    for (const char* const queue : {"a", "b"}) {
      const auto removed = store_->remove_limit(LimitScope::queue, queue);
      ASSERT_TRUE(removed);
    }
    if (random_.below(8) != 0) {
      const auto rule = static_cast<WhenFull>(random_.below(3));
      bounds_["a"] = {up_to(5), rule, rule == WhenFull::divert ? "b" : ""};
    }
    if (random_.below(4) != 0) bounds_["b"] = {up_to(4), static_cast<WhenFull>(random_.below(2)), ""};
    for (const auto& [queue, bound] : bounds_) {
      Limit limit{.scope = LimitScope::queue, .name = queue};
      limit.bound = bound;
      ASSERT_TRUE(store_->put_limit(limit).value());
    }
  }

  /// What waits, in the order in which it would be taken.
  Ready ready() {
    Ready all;
    for (const char* const queue : {"a", "b"}) {
      const auto page = store_->list({.state = JobState::ready, .queue = queue, .limit = 1000});
      EXPECT_TRUE(page);
      for (const jobs::StoredJob& job : page->jobs) all[queue].push_back(job.jid);
    }
    return all;
  }

  jobs::EnqueueRequest request() {
    jobs::EnqueueRequest made = full_job(concat("j", ++last_jid_), random_.below(3) == 0 ? "b" : "a");
    if (random_.below(3) == 0) {
      made.unique = lock_on(concat("k", random_.below(3)),
                            random_.below(2) == 0 ? jobs::LockConflict::refuse : jobs::LockConflict::replace);
    }
    return made;
  }

  /// What has to become of one job, which is done to `ready`.
  ItemOutcome expected(const jobs::EnqueueRequest& wanted, Ready& ready) {
    std::string replaced;
    if (wanted.unique) {
      const auto holder = keys_.find(wanted.unique->key);
      if (holder != keys_.end()) {
        const bool runs = std::ranges::count(held_, holder->second, &Held::jid) > 0;
        if (runs || wanted.unique->conflict == jobs::LockConflict::refuse) return ItemOutcome::locked;
        replaced = holder->second;
      }
    }
    std::string queue = wanted.queue;
    bool drops = false;
    for (bool diverted = false;; diverted = true) {
      const auto bound = bounds_.find(queue);
      const bool replaces = std::ranges::count(ready[queue], replaced) > 0;
      if (bound == bounds_.end() || replaces || std::ssize(ready[queue]) < bound->second.most) break;
      drops = bound->second.when_full == WhenFull::drop_oldest;
      if (drops) break;
      if (bound->second.when_full == WhenFull::refuse || diverted) {
        ++accounts_[wanted.queue].refused;
        fates_[wanted.jid] = Fate::refused;
        return ItemOutcome::queue_full;
      }
      queue = bound->second.divert_to;
    }
    if (!replaced.empty()) {
      for (auto& [name, line] : ready) std::erase(line, replaced);
      over(replaced, Fate::replaced);
    }
    if (drops) {
      over(ready[queue].front(), Fate::dropped);
      ready[queue].pop_front();
      ++accounts_[queue].dropped;
    }
    if (queue != wanted.queue) {
      ++accounts_[wanted.queue].diverted;
      diverted_.insert(wanted.jid);
    }
    ++accounts_[queue].enqueued;
    fates_[wanted.jid] = Fate::waits;
    if (wanted.unique) keys_[wanted.unique->key] = wanted.jid;
    ready[queue].push_back(wanted.jid);
    return ItemOutcome::done;
  }

  void over(const std::string& jid, Fate fate) {
    fates_[jid] = fate;
    std::erase_if(keys_, [&](const auto& entry) { return entry.second == jid; });
  }

  void enqueue() {
    Ready model = ready();
    const Ready before = model;
    std::vector<jobs::EnqueueRequest> batch;
    std::vector<ItemOutcome> outcomes;
    for (std::size_t left = random_.below(5) + 1; left > 0; --left) {
      batch.push_back(request());
      outcomes.push_back(expected(batch.back(), model));
    }
    const auto put = store_->enqueue(std::move(batch));
    ASSERT_TRUE(put) << put.error().message();
    EXPECT_EQ(*put, outcomes);
    Ready after = ready();
    for (const char* const queue : {"a", "b"}) {
      EXPECT_EQ(after[queue], model[queue]) << queue;
      const auto bound = bounds_.find(queue);
      if (bound == bounds_.end()) continue;
      const auto was = before.contains(queue) ? before.at(queue).size() : 0;
      EXPECT_LE(after[queue].size(), std::max<std::size_t>(was, static_cast<std::size_t>(bound->second.most)));
    }
    check_counts();
  }

  void check_counts() {
    const auto queues = store_->queues("", 10).value();
    for (const jobs::QueueInfo& info : queues) {
      const Account& account = accounts_[info.name];
      EXPECT_EQ(info.counts.enqueued, account.enqueued) << info.name;
      EXPECT_EQ(info.counts.refused, account.refused) << info.name;
      EXPECT_EQ(info.counts.dropped, account.dropped) << info.name;
      EXPECT_EQ(info.counts.discarded, account.dropped) << info.name;
      EXPECT_EQ(info.counts.diverted, account.diverted) << info.name;
      EXPECT_TRUE(info.counts.balanced()) << info.name;
    }
  }

  /// Into the schedule, which has no bound.
  void later() {
    jobs::EnqueueRequest made = request();
    made.unique.reset();
    made.due = world_.now() + 1s;
    ++accounts_[made.queue].enqueued;
    fates_[made.jid] = Fate::waits;
    const auto put = store_->enqueue({made});
    ASSERT_TRUE(put);
    EXPECT_EQ(put->front(), ItemOutcome::done);
  }

  void pass() {
    world_.advance(1s);
    ASSERT_TRUE(store_->renew_lease(node_));
    const auto page = store_->peek_due(world_.now(), 1000);
    ASSERT_TRUE(page);
    std::vector<jobs::Promotion> promotions;
    for (const jobs::DueJob& due : page->jobs) promotions.push_back({.handle = due.handle});
    if (promotions.empty()) return;
    const auto promoted = store_->promote(std::move(promotions));
    ASSERT_TRUE(promoted);
    for (const ItemOutcome outcome : *promoted) EXPECT_EQ(outcome, ItemOutcome::done);
  }

  void take() {
    const auto taken = store_->take({node_, {"a", "b"}, random_.below(4) + 1});
    ASSERT_TRUE(taken) << taken.error().message();
    for (const jobs::TakenJob& job : *taken) {
      EXPECT_NE(job.payload.find(concat(R"("queue":")", job.queue, R"(")")), std::string::npos) << job.payload;
      held_.push_back({job.token, job.jid});
    }
  }

  void settle(bool finish = false) {
    if (held_.empty()) return;
    const std::size_t index = random_.below(held_.size());
    const Held job = held_[index];
    held_.erase(held_.begin() + static_cast<std::ptrdiff_t>(index));
    const std::size_t choice = finish ? 2 : random_.below(4);
    Settlement settlement = Settlement::finish(job.token);
    if (choice == 0) settlement = Settlement::requeue(job.token);
    if (choice == 1) {
      const auto stored = store_->find(job.jid).value();
      settlement = Settlement::retry(job.token, stored->payload, world_.now() + 1s);
    }
    if (choice > 1) over(job.jid, Fate::ran);
    const auto outcomes = store_->settle({std::move(settlement)});
    ASSERT_TRUE(outcomes);
    EXPECT_EQ(outcomes->front(), ItemOutcome::done);
  }

  std::map<std::string, std::vector<JournalKind>> journal() {
    std::map<std::string, std::vector<JournalKind>> kinds;
    jobs::JournalCursor after = 0;
    while (true) {
      const auto page = store_->read_journal({after, 1000, {}});
      EXPECT_TRUE(page);
      for (const jobs::JournalRow& row : page->rows) kinds[row.jid].push_back(row.kind);
      after = page->next;
      if (page->at_end) return kinds;
    }
  }

  struct Held {
    jobs::ClaimToken token;
    std::string jid;
  };

  StoreWorld& world_;
  Random random_;
  std::unique_ptr<StoreSession> store_;
  jobs::NodeEpoch node_ = 0;
  std::map<std::string, QueueBound> bounds_;
  std::map<std::string, Account> accounts_;
  std::map<std::string, Fate> fates_;        // by jid
  std::map<std::string, std::string> keys_;  // who holds each
  std::set<std::string> diverted_;
  std::vector<Held> held_;
  std::uint64_t last_jid_ = 0;
};

TEST_P(Bounds, whatever_happens_no_enqueue_exceeds_a_bound_and_every_job_is_accounted_for) {
  live<BoundsRun>(40, &BoundsRun::finish);
}

INSTANTIATE_TEST_SUITE_P(Stores, Bounds, testing::ValuesIn(all_stores),
                         [](const testing::TestParamInfo<StoreFactory>& tested) {
                           return std::string(tested.param.name);
                         });

}  // namespace
}  // namespace dagverk::conformance
