// Unique keys, as every store keeps them.

#include "conformance/job_store_fixture.hpp"
#include "conformance/stores.hpp"
#include "conformance/unique_story.hpp"
#include "support/seed_count.hpp"

#include "dagverk/jobs/job_client.hpp"
#include "dagverk/runtime/deterministic_runtime.hpp"
#include "dagverk/testing_jobs/memory_job_store.hpp"

#include <functional>

namespace dagverk::conformance {
namespace {

using jobs::LockConflict;
using jobs::LockUntil;

class UniqueJobs : public JobStoreConformance {
 protected:
  static jobs::EnqueueRequest unique(std::string jid, std::string key, LockUntil until = LockUntil::done,
                                     LockConflict conflict = LockConflict::refuse) {
    jobs::EnqueueRequest request = job(std::move(jid));
    request.unique = {.key = std::move(key), .until = until, .expiry = 1h, .conflict = conflict};
    return request;
  }
  static jobs::EnqueueRequest replacing(std::string jid) {
    return unique(std::move(jid), "key", LockUntil::done, LockConflict::replace);
  }
  static jobs::EnqueueRequest rescheduling(std::string jid, std::optional<WallTime> due) {
    jobs::EnqueueRequest request = unique(std::move(jid), "key", LockUntil::done, LockConflict::reschedule);
    request.due = due;
    return request;
  }
  ItemOutcome put(jobs::EnqueueRequest request) {
    const auto outcomes = store_->enqueue({std::move(request)});
    EXPECT_TRUE(outcomes) << outcomes.error().message();
    return outcomes ? outcomes->front() : ItemOutcome::missing;
  }
  /// Of the job that holds the key; empty: nobody does.
  std::string holder(const std::string& key = "key") {
    const auto lock = store_->find_lock(key);
    EXPECT_TRUE(lock) << lock.error().message();
    return lock && *lock ? (*lock)->jid : std::string();
  }
  jobs::ClaimToken take_one(jobs::NodeEpoch by, const std::string& queue = "default") {
    const auto taken = take(*store_, by, 1, {queue});
    EXPECT_EQ(taken.size(), 1U);
    return taken.empty() ? jobs::ClaimToken() : taken.front().token;
  }
  void promote_all(const std::optional<std::string>& payload = std::nullopt) {
    const auto page = store_->peek_due(world_->now(), 100);
    ASSERT_TRUE(page);
    for (const jobs::DueJob& due : page->jobs) ASSERT_TRUE(store_->promote({{due.handle, payload}}));
  }
  void expect_balanced() {
    const auto totals = store_->totals();
    ASSERT_TRUE(totals);
    EXPECT_TRUE(totals->counts.balanced());
  }
};

TEST_P(UniqueJobs, a_key_has_one_holder_until_its_job_has_ended_in_whatever_way) {
  const auto by = node(*store_);
  const WallTime later = world_->now() + 1h;
  const auto settled = [&](auto make) {
    return [this, by, make](const std::string& name) { settle(*store_, make(take_one(by, name))); };
  };
  struct Case {
    const char* what;
    std::function<void(const std::string& name)> happens;
    bool frees;
    bool frees_a_period;
  };
  const std::vector<Case> cases = {
      {"finished", settled([](auto token) { return Settlement::finish(token); }), true, false},
      {"discarded", settled([](auto token) { return Settlement::discard(token); }), true, false},
      {"expired", settled([](auto token) { return Settlement::discard(token, {}, JournalKind::expired); }), true,
       false},
      {"died", settled([](auto token) { return Settlement::bury(token, {}, "why"); }), true, false},
      {"cancelled", settled([](auto token) { return Settlement::discard(token, {}, JournalKind::cancelled); }), true,
       true},
      {"failed", settled([&](auto token) { return Settlement::retry(token, "{\"n\":1}", later); }), false, false},
      {"snoozed",
       settled([&](auto token) { return Settlement::retry(token, "{\"n\":1}", later, {}, JournalKind::snoozed); }),
       false, false},
      {"given back", settled([](auto token) { return Settlement::requeue(token); }), false, false},
      {"taken", [&](const std::string& name) { take_one(by, name); }, false, false},
      {"removed", [&](const std::string& name) { ASSERT_TRUE(store_->remove({name})); }, true, true},
      {"cancelled while it waited", [&](const std::string& name) { ASSERT_TRUE(store_->cancel({name})); }, true, true},
      {"cleared", [&](const std::string& name) { ASSERT_EQ(store_->clear_queue(name, 10).value(), 1U); }, true, true},
      {"moved", [&](const std::string& name) { ASSERT_TRUE(store_->move({{name, "other"}})); }, false, false},
  };
  std::uint64_t refused = 0;
  int number = 0;
  for (const bool journaled : {true, false}) {
    for (const LockUntil until : {LockUntil::done, LockUntil::period}) {
      for (const Case& one : cases) {
        SCOPED_TRACE(concat(one.what, ", until ", to_string(until), journaled ? "" : ", unjournaled"));
        const std::string name = concat("job", ++number);  // its jid, its key and its queue
        jobs::EnqueueRequest first = unique(name, name, until);
        first.queue = name;
        first.journaled = journaled;
        ASSERT_EQ(put(first), ItemOutcome::done);
        ASSERT_EQ(holder(name), name);
        EXPECT_EQ(put(unique(concat(name, "-twin"), name)), ItemOutcome::locked);

        one.happens(name);

        const bool freed = until == LockUntil::period ? one.frees_a_period : one.frees;
        EXPECT_EQ(holder(name), freed ? "" : name);
        EXPECT_EQ(put(unique(concat(name, "-next"), name)), freed ? ItemOutcome::done : ItemOutcome::locked);
        refused += freed ? 1 : 2;
      }
    }
  }
  EXPECT_EQ(store_->totals()->locked, refused);
  expect_balanced();
}

TEST_P(UniqueJobs, a_job_whose_node_dies_keeps_its_key_until_it_dies_itself) {
  ASSERT_EQ(put(unique("a", "key")), ItemOutcome::done);
  for (unsigned rescues = 1; rescues <= jobs::rescue_count_limit; ++rescues) {
    const auto by = node(*store_);
    take_one(by);
    world_->advance(world_->lease() + 1s);
    const auto report = store_->rescue_dead_nodes(0, 100);
    ASSERT_TRUE(report);
    ASSERT_EQ(report->jobs.size(), 1U);
    EXPECT_EQ(holder(), rescues < jobs::rescue_count_limit ? "a" : "") << rescues;
  }
  ASSERT_EQ(put(unique("b", "key")), ItemOutcome::done);

  // What a person gives another chance does not get back what is another's now.
  ASSERT_EQ(store_->retry_now({{"a", std::nullopt, {}}}).value(), Outcomes{ItemOutcome::done});
  EXPECT_EQ(holder(), "b");
  const auto by = node(*store_);
  for (const jobs::TakenJob& taken : take(*store_, by)) {
    if (taken.jid == "a") settle(*store_, Settlement::finish(taken.token));
  }
  EXPECT_EQ(holder(), "b") << "not its own to free";
}

TEST_P(UniqueJobs, a_key_held_until_the_start_is_free_when_a_node_takes_the_job_however_it_got_there) {
  const auto by = node(*store_);
  using Way = std::function<void(const std::string&)>;
  const std::vector<Way> ways = {
      [](const std::string&) {},
      [&](const std::string& name) {  // by way of the schedule, and with other bytes
        world_->advance(2s);
        promote_all(concat(R"({"jid":")", name, R"(","n":2})"));
      },
      [&](const std::string& name) { ASSERT_TRUE(store_->retry_now({{name, std::nullopt, {}}})); },
      [&](const std::string& name) {
        ASSERT_TRUE(store_->move({{name, concat(name, "-moved")}}));
        ASSERT_TRUE(store_->retry_now({{name, R"({"n":3})", {}}}));
      },
  };
  int number = 0;
  for (const bool journaled : {true, false}) {
    for (std::size_t way = 0; way < ways.size(); ++way) {
      SCOPED_TRACE(concat("way ", way, journaled ? "" : ", unjournaled"));
      const std::string name = concat("job", ++number);
      jobs::EnqueueRequest request = unique(name, name, LockUntil::started);
      request.queue = name;
      request.journaled = journaled;
      if (way > 0) request.due = world_->now() + 1s;
      ASSERT_EQ(put(request), ItemOutcome::done);
      ways[way](name);
      ASSERT_EQ(holder(name), name);
      ASSERT_EQ(put(unique(concat(name, "-twin"), name)), ItemOutcome::locked);

      const auto taken = take(*store_, by, 10, {name, concat(name, "-moved")});

      ASSERT_EQ(taken.size(), 1U);
      EXPECT_EQ(holder(name), "");
      ASSERT_EQ(put(unique(concat(name, "-next"), name)), ItemOutcome::done);
      settle(*store_, Settlement::requeue(taken[0].token));
      EXPECT_EQ(holder(name), concat(name, "-next")) << "what was given back holds nothing any more";
    }
  }
}

TEST_P(UniqueJobs, a_lock_ends_with_its_expiry_whatever_its_job_does) {
  jobs::EnqueueRequest first = unique("a", "key");
  first.unique->expiry = 10s;
  ASSERT_EQ(put(first), ItemOutcome::done);
  const auto lock = store_->find_lock("key").value();
  ASSERT_TRUE(lock);
  EXPECT_EQ(lock->key, "key");
  EXPECT_EQ(lock->until, LockUntil::done);
  EXPECT_EQ(lock->taken_at, world_->now());
  EXPECT_EQ(lock->expires_at, world_->now() + 10s);
  world_->advance(10s - 1us);
  EXPECT_EQ(put(unique("b", "key")), ItemOutcome::locked);
  world_->advance(1us);
  EXPECT_EQ(holder(), "");
  EXPECT_TRUE(store_->list_locks()->locks.empty());

  ASSERT_EQ(put(unique("b", "key")), ItemOutcome::done);
  ASSERT_TRUE(store_->remove({"a"}));
  EXPECT_EQ(holder(), "b") << "who lost a key does not free it";

  // For a period: the job is over, its time is not.
  jobs::EnqueueRequest minute = unique("m", "minute", LockUntil::period);
  minute.unique->expiry = 60s;
  ASSERT_EQ(put(minute), ItemOutcome::done);
  const auto by = node(*store_);
  for (const jobs::TakenJob& taken : take(*store_, by)) settle(*store_, Settlement::finish(taken.token));
  EXPECT_EQ(put(minute), ItemOutcome::duplicate) << "asked again after a lost answer";
  EXPECT_EQ(put(unique("n", "minute")), ItemOutcome::locked);
  world_->advance(60s);
  EXPECT_EQ(put(unique("n", "minute")), ItemOutcome::done);
}

TEST_P(UniqueJobs, a_batch_repeated_after_a_lost_answer_finds_its_own_locks) {
  const std::vector<jobs::EnqueueRequest> batch = {unique("a", "key"), unique("b", "key"), job("plain"),
                                                   unique("c", "other", LockUntil::started, LockConflict::replace)};
  EXPECT_EQ(store_->enqueue(batch).value(),
            (Outcomes{ItemOutcome::done, ItemOutcome::locked, ItemOutcome::done, ItemOutcome::done}));
  EXPECT_EQ(store_->enqueue(batch).value(),
            (Outcomes{ItemOutcome::duplicate, ItemOutcome::locked, ItemOutcome::duplicate, ItemOutcome::duplicate}));
  EXPECT_EQ(holder("other"), "c");
  const auto totals = store_->totals();
  EXPECT_EQ(totals->duplicates, 3U);
  EXPECT_EQ(totals->locked, 2U);
  EXPECT_EQ(totals->counts.enqueued, 3U);

  // A job that is there does not take a key by coming again with one.
  EXPECT_EQ(put(unique("plain", "free")), ItemOutcome::duplicate);
  EXPECT_EQ(holder("free"), "");
}

TEST_P(UniqueJobs, replacing_deletes_a_holder_that_waits_and_no_other) {
  const auto by = node(*store_);
  // Ready, with others before and behind it.
  enqueue(*store_, {"before"});
  ASSERT_EQ(put(unique("ready", "key")), ItemOutcome::done);
  enqueue(*store_, {"behind"});
  ASSERT_EQ(put(replacing("r1")), ItemOutcome::done);
  EXPECT_EQ(state_of(*store_, "ready"), std::nullopt);
  EXPECT_EQ(holder(), "r1");
  const auto rows = whole_journal(*store_, "ready");
  ASSERT_EQ(kinds(rows), (std::vector<JournalKind>{JournalKind::enqueued, JournalKind::deleted}));
  EXPECT_EQ(rows[1].detail, R"({"replaced_by":"r1"})");
  EXPECT_EQ(jids(take(*store_, by)), (std::vector<std::string>{"before", "behind", "r1"}));

  EXPECT_EQ(put(replacing("r2")), ItemOutcome::locked) << "its holder runs";
  ASSERT_EQ(store_->retire_node(by).value(), 3U);
  ASSERT_EQ(put(replacing("r2")), ItemOutcome::done);

  // Retrying, then scheduled.
  const auto again = node(*store_);
  for (const jobs::TakenJob& taken : take(*store_, again)) {
    settle(*store_, Settlement::retry(taken.token, "{\"failed\":1}", world_->now() + 1h));
  }
  jobs::EnqueueRequest later = replacing("r3");
  later.due = world_->now() + 2h;
  ASSERT_EQ(put(later), ItemOutcome::done);
  EXPECT_EQ(state_of(*store_, "r2"), std::nullopt);
  ASSERT_EQ(put(replacing("r4")), ItemOutcome::done);
  EXPECT_EQ(state_of(*store_, "r3"), std::nullopt);
  EXPECT_EQ(holder(), "r4");

  // Within one batch the last one wins; each of the others was there.
  EXPECT_EQ(store_->enqueue({replacing("s1"), job("between"), replacing("s2"), replacing("s3")}).value(),
            (Outcomes{ItemOutcome::done, ItemOutcome::done, ItemOutcome::done, ItemOutcome::done}));
  EXPECT_EQ(holder(), "s3");
  const auto counts = this->counts(*store_);
  EXPECT_EQ(counts.deleted, 7U);
  EXPECT_EQ(counts.ready, 2U);
  EXPECT_EQ(counts.scheduled, 0U);
  EXPECT_EQ(counts.retrying, 2U);
  EXPECT_EQ(store_->totals()->locked, 1U);
  expect_balanced();
}

TEST_P(UniqueJobs, rescheduling_gives_a_holder_that_waits_another_time) {
  const auto by = node(*store_);
  const WallTime soon = world_->now() + 1min;
  const WallTime later = world_->now() + 1h;
  const auto due_of_holder = [&] { return store_->find("a").value()->due; };
  ASSERT_EQ(put(unique("a", "key")), ItemOutcome::done);

  EXPECT_EQ(put(rescheduling("b", std::nullopt)), ItemOutcome::rescheduled) << "it is to run now, and will";
  EXPECT_EQ(state_of(*store_, "a"), JobState::ready);
  EXPECT_EQ(put(rescheduling("b", later)), ItemOutcome::rescheduled);
  EXPECT_EQ(state_of(*store_, "a"), JobState::scheduled);
  EXPECT_EQ(due_of_holder(), later);
  EXPECT_TRUE(take(*store_, by).empty());
  EXPECT_EQ(put(rescheduling("b", soon)), ItemOutcome::rescheduled);
  EXPECT_EQ(due_of_holder(), soon);
  EXPECT_EQ(put(rescheduling("b", std::nullopt)), ItemOutcome::rescheduled);
  EXPECT_EQ(state_of(*store_, "a"), JobState::ready);
  EXPECT_EQ(state_of(*store_, "b"), std::nullopt);
  EXPECT_EQ(holder(), "a");

  const auto token = take_one(by);
  EXPECT_EQ(put(rescheduling("b", soon)), ItemOutcome::locked) << "it runs";
  settle(*store_, Settlement::retry(token, R"({"failed":1})", later));
  EXPECT_EQ(put(rescheduling("b", soon)), ItemOutcome::rescheduled);
  EXPECT_EQ(state_of(*store_, "a"), JobState::scheduled);
  EXPECT_EQ(store_->find("a").value()->payload, R"({"failed":1})");
  const auto rows = whole_journal(*store_, "a");
  EXPECT_EQ(kinds(rows), (std::vector<JournalKind>{JournalKind::enqueued, JournalKind::scheduled,
                                                   JournalKind::scheduled, JournalKind::promoted, JournalKind::started,
                                                   JournalKind::retried, JournalKind::scheduled}));
  EXPECT_EQ(rows.back().detail, R"({"rescheduled_by":"b"})");
  expect_balanced();
}

TEST_P(UniqueJobs, locks_are_listed_and_released_by_hand) {
  for (int index = 0; index < 7; ++index) {
    jobs::EnqueueRequest request = unique(concat("j", index), concat("key ", index, "\n\xff"));
    if (index == 3) request.unique->expiry = 1s;
    ASSERT_EQ(put(request), ItemOutcome::done);
  }
  std::vector<std::string> listed;
  std::string cursor;
  do {
    const auto page = store_->list_locks(cursor, 2);
    ASSERT_TRUE(page) << page.error().message();
    EXPECT_LE(page->locks.size(), 2U);
    for (const jobs::HeldLock& lock : page->locks) listed.push_back(lock.jid);
    cursor = page->next;
  } while (!cursor.empty());
  EXPECT_EQ(listed, (std::vector<std::string>{"j3", "j0", "j1", "j2", "j4", "j5", "j6"}));

  const std::string key = "key 0\n\xff";
  EXPECT_TRUE(store_->release_lock(key).value());
  EXPECT_FALSE(store_->release_lock(key).value());
  EXPECT_EQ(state_of(*store_, "j0"), JobState::ready) << "the job stays";
  EXPECT_EQ(put(unique("k", key)), ItemOutcome::done);

  for (const std::string& bad : {std::string(), std::string(10'240, 'k')}) {
    EXPECT_EQ(store_->find_lock(bad).error().code(), ErrorCode::invalid_argument);
    EXPECT_EQ(store_->release_lock(bad).error().code(), ErrorCode::invalid_argument);
    EXPECT_EQ(store_->enqueue({job("x"), unique("y", bad)}).error().code(), ErrorCode::invalid_argument);
  }
  for (const Duration bad : {Duration(0), Duration(-1h), Duration(jobs::lock_expiry_limit + 1s)}) {
    jobs::EnqueueRequest request = unique("y", "fine");
    request.unique->expiry = bad;
    EXPECT_EQ(store_->enqueue({job("x"), request}).error().code(), ErrorCode::invalid_argument);
  }
  EXPECT_EQ(store_->list_locks("nonsense", 1).error().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(store_->list_locks({}, 0).error().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(state_of(*store_, "x"), std::nullopt) << "a batch with an impossible lock changes nothing";
}

TEST_P(UniqueJobs, no_key_has_two_holders_and_none_stays_without_one_whoever_crashes) {
  const std::uint64_t seed = random_seed() % 1'000'000;
  SCOPED_TRACE(concat("seed ", seed));
  UniqueStory(*world_, seed).run(200);
}

INSTANTIATE_TEST_SUITE_P(Stores, UniqueJobs, testing::ValuesIn(all_stores),
                         [](const testing::TestParamInfo<StoreFactory>& tested) {
                           return std::string(tested.param.name);
                         });

TEST(UniqueLocks, no_key_has_two_holders_and_none_stays_without_one_in_2000_stories) {
  const std::uint64_t first_seed = DeterministicRuntime().seed() % 1'000'000;
  for (std::uint64_t seed = first_seed; seed < first_seed + seed_count(2000) && !HasFailure(); ++seed) {
    SCOPED_TRACE(concat("seed ", seed));
    MemoryWorld world;
    UniqueStory(world, seed).run(50);
  }
}

// ---- clients ----

TEST(UniqueClients, a_class_is_unique_by_its_arguments_and_a_refusal_names_the_holder) {
  DeterministicRuntime runtime;
  testing_jobs::MemoryJobStore store(runtime);
  jobs::JobRegistry registry;
  registry.define("Report", [](std::int64_t) {}, {.unique = jobs::UniqueLock{}});
  ASSERT_TRUE(registry.check());
  jobs::JobClient client(runtime, store, {.registry = &registry});

  const std::string first = client.enqueue_class("Report", 7).value();
  const auto refused = client.enqueue_class("Report", 7);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::refused);
  EXPECT_EQ(refused.error().message(),
            concat("job Report: the unique key \"Report:[7]\" is held by job ", first, " until it is done"));
  EXPECT_TRUE(client.enqueue_class("Report", 8));
  const auto pushed =
      client.push_bulk_blocking({R"({"class":"Report","args":[ 7 ]})", R"({"class":"Report","args":[9]})"});
  ASSERT_TRUE(pushed);
  EXPECT_EQ((*pushed)[0].outcome, ItemOutcome::locked);
  EXPECT_EQ((*pushed)[1].outcome, ItemOutcome::done);

  // What a job says itself counts.
  jobs::NewJob own = client.make("Report", 7).value();
  own.unique = {.key = "mine", .conflict = LockConflict::reschedule};
  const std::string mine = client.enqueue_blocking(own).value();
  EXPECT_EQ(client.enqueue_in_blocking(own, 1h).value(), mine) << "that one has its time now";
  const auto found = runtime.run(store.find(mine)).value();
  ASSERT_TRUE(found);
  EXPECT_EQ(found->due, runtime.clock().wall_now() + 1h);

  jobs::JobRegistry wrong;
  wrong.define("Report", [] {}, {.unique = jobs::UniqueLock{.expiry = 0s}});
  EXPECT_EQ(wrong.check().error().code(), ErrorCode::configuration);
  own.unique->key.assign(10'240, 'k');
  EXPECT_EQ(client.enqueue_blocking(own).error().code(), ErrorCode::invalid_argument);
}

TEST(UniqueClients, a_key_is_made_of_class_and_arguments_but_for_white_space) {
  EXPECT_EQ(jobs::unique_key("A", "[ 1,\t{\"a b\" :\n\"x \\\" y\\\\\" , \"c\": 1.0}\r]"),
            R"(A:[1,{"a b":"x \" y\\","c":1.0}])");
  const std::string text(300, 'x');
  const std::string one = jobs::unique_key(std::string(255, 'C'), concat("[\"", text, "1\"]"));
  const std::string two = jobs::unique_key(std::string(255, 'C'), concat("[\"", text, "2\"]"));
  EXPECT_EQ(one.size(), 234U);
  EXPECT_NE(one, two);
  EXPECT_EQ(one, jobs::unique_key(std::string(255, 'C'), concat("[ \"", text, "1\" ]")));
}

/// A clock put back makes no lock last longer than its expiry from when it is next met.
TEST(UniqueLocks, begin_anew_when_the_clock_was_put_back) {
  std::vector<std::unique_ptr<StoreWorld>> worlds;
  worlds.push_back(std::make_unique<SqliteWorldThreaded>());
  if (RedisServer::available()) worlds.push_back(std::make_unique<RedisWorld>());
  for (const auto& world : worlds) {
    const auto store = world->open();
    jobs::EnqueueRequest request{.jid = "a", .queue = "q", .class_name = "Work", .payload = "{}"};
    request.unique = {.key = "key", .expiry = 1h};
    ASSERT_EQ(store->enqueue({request})->front(), ItemOutcome::done);
    world->advance(-24h);
    request.jid = "b";
    EXPECT_EQ(store->enqueue({request})->front(), ItemOutcome::locked);
    EXPECT_EQ(store->find_lock("key").value()->expires_at, world->now() + 1h);
    world->advance(1h);
    EXPECT_EQ(store->enqueue({request})->front(), ItemOutcome::done);
  }
}

}  // namespace
}  // namespace dagverk::conformance
