// What is Redis' own: others' data, others beside us, the server's ways to fail. The contract is tests/conformance.

#include "conformance/redis_world.hpp"
#include "net/fake_redis.hpp"
#include "net/redis_reader.hpp"
#include "stores/redis/element.hpp"
#include "stores/redis/scripts.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/wire_time.hpp"
#include "dagverk/runtime/task.hpp"

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <sstream>
#include <thread>

namespace dagverk::stores {
namespace {

using namespace std::chrono_literals;  // NOLINT(google-build-using-namespace): tests read better
using conformance::RedisWorld;
using conformance::StoreSession;
using jobs::ItemOutcome;
using jobs::JobState;
using jobs::Settlement;
using net::RedisCommand;

class RedisStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!RedisServer::available()) GTEST_SKIP() << RedisServer::missing;
    world_ = std::make_unique<RedisWorld>();
    store_ = world_->open();
  }

  net::RedisReply ask(const RedisCommand& command) { return world_->ask(command); }
  std::vector<std::string> texts(const RedisCommand& command) {
    std::vector<std::string> all;
    const net::RedisReply reply = ask(command);
    for (const net::RedisReply& item : reply.items()) all.emplace_back(item.text());
    return all;
  }
  std::int64_t number(const RedisCommand& command) {
    const net::RedisReply reply = ask(command);
    return reply.kind() == net::RedisReply::Kind::integer ? reply.integer_or(-1)
                                                          : redis::number_of(reply.text()).value_or(-1);
  }

  static std::string payload(const std::string& jid, const std::string& queue = "default") {
    return concat(R"({"retry":true,"queue":")", queue, R"(","args":[ 1.50,{"a":[],"b":{}},9007199254740993,"\u00fc"],)",
                  R"("class":"Resize","jid":")", jid, R"(","created_at":1795219126.25,"enqueued_at":1795219126.5,)",
                  R"("unknown" : {"x":1e400}})");
  }
  static jobs::EnqueueRequest job(const std::string& jid, const std::string& queue = "default") {
    jobs::EnqueueRequest request;
    request.jid = jid;
    request.queue = queue;
    request.class_name = "Resize";
    request.payload = payload(jid, queue);
    return request;
  }
  void enqueue(const std::string& jid, const std::string& queue = "default") {
    const auto outcomes = store_->enqueue({job(jid, queue)});
    ASSERT_TRUE(outcomes) << outcomes.error().message();
    ASSERT_EQ(outcomes->front(), ItemOutcome::done);
  }
  jobs::NodeEpoch node() {
    const auto epoch = store_->register_node({"node", "{}"});
    EXPECT_TRUE(epoch) << epoch.error().message();
    return epoch.value_or(0);
  }
  std::vector<jobs::TakenJob> take(jobs::NodeEpoch by, std::vector<std::string> queues = {"default"}) {
    auto taken = store_->take({by, std::move(queues), 1000});
    EXPECT_TRUE(taken) << taken.error().message();
    return taken ? std::move(*taken) : std::vector<jobs::TakenJob>();
  }
  ItemOutcome settle(Settlement settlement) {
    std::vector<Settlement> batch;
    batch.push_back(std::move(settlement));
    const auto outcomes = store_->settle(std::move(batch));
    EXPECT_TRUE(outcomes) << outcomes.error().message();
    return outcomes ? outcomes->front() : ItemOutcome::missing;
  }

  static void expect_all_done(const Result<std::vector<ItemOutcome>>& outcomes) {
    ASSERT_TRUE(outcomes) << outcomes.error().message();
    for (const ItemOutcome outcome : *outcomes) EXPECT_EQ(outcome, ItemOutcome::done);
  }

  std::unique_ptr<RedisWorld> world_;
  std::unique_ptr<StoreSession> store_;
};

// --- bytes ----------------------------------------------------------------------------------------------------------

TEST_F(RedisStoreTest, a_job_stands_where_sidekiq_looks_for_it_byte_for_byte) {
  enqueue("a1");
  jobs::EnqueueRequest later = job("b2");
  later.due = world_->now() + 1s;
  jobs::EnqueueRequest quiet = job("c3");
  quiet.journaled = false;
  ASSERT_TRUE(store_->enqueue({later, quiet}));

  EXPECT_EQ(texts(RedisCommand("SMEMBERS", "queues")), std::vector<std::string>{"default"});
  const std::vector<std::string> waiting = texts(RedisCommand("LRANGE", "queue:default", 0, -1));
  EXPECT_EQ(waiting, (std::vector<std::string>{concat(payload("c3"), "\t \t"), payload("a1")}));
  EXPECT_EQ(texts(RedisCommand("ZRANGE", "schedule", 0, -1, "WITHSCORES")),
            (std::vector<std::string>{payload("b2"), "1795219127"}));

  const auto by = node();
  const auto taken = take(by);
  ASSERT_EQ(taken.size(), 2U);
  EXPECT_EQ(taken[1].payload, payload("c3"));
  EXPECT_FALSE(taken[1].journaled);
  EXPECT_EQ(taken[0].enqueued_at, jobs::parse_epoch_seconds("1795219126.5").value());
  ASSERT_EQ(settle(Settlement::retry(taken[0].token, concat(payload("a1"), " "), world_->now() + 2s)),
            ItemOutcome::done);
  ASSERT_EQ(settle(Settlement::bury(taken[1].token, std::nullopt, "why")), ItemOutcome::done);
  EXPECT_EQ(texts(RedisCommand("ZRANGE", "retry", 0, -1)), std::vector<std::string>{concat(payload("a1"), " ")});
  EXPECT_EQ(texts(RedisCommand("ZRANGE", "dead", 0, -1)), std::vector<std::string>{concat(payload("c3"), "\t \t")});
  EXPECT_EQ(store_->find("c3").value().value().reason, "why");

  EXPECT_EQ(number(RedisCommand("GET", "stat:processed")), 2);
  EXPECT_EQ(number(RedisCommand("GET", "stat:failed")), 2);
  EXPECT_EQ(number(RedisCommand("GET", "stat:failed:2026-11-20")), 2);
  EXPECT_GT(number(RedisCommand("TTL", "stat:processed:2026-11-20")), 157'000'000);
}

TEST_F(RedisStoreTest, a_limit_key_is_found_wherever_a_payload_says_it_and_not_where_its_arguments_do) {
  const std::vector<std::string> says = {
      R"("limit_key":"api:a","args":[{"x":1,"limit_key":"other:1"}])",
      R"("args":[{"x":1,"limit_key":"other:1"}],"limit_key":"api:a")",
      R"("meta":{"x":1,"limit_key":"other:1"},"limit_key":"api:a","args":[])",
      R"("note":"[{,\"limit_key\":\"other:1\"","limit_key":"api:a","args":[])",
      R"("limit_key":"api:\u0061","args":[])",
  };
  std::vector<jobs::EnqueueRequest> jobs;
  for (const std::string& members : says) {
    jobs::EnqueueRequest& one = jobs.emplace_back(job(concat("jid", jobs.size())));
    one.payload = concat(R"({"queue":"default",)", members, R"(,"class":"Resize","jid":")", one.jid, R"("})");
    one.limit_key = "api:a";
  }
  expect_all_done(store_->enqueue(jobs));
  for (const std::string& element : texts(RedisCommand("LRANGE", "queue:default", 0, -1))) {
    EXPECT_TRUE(element.starts_with('{')) << "the payload itself: " << element;
  }
  const auto taken = take(node());
  ASSERT_EQ(taken.size(), says.size());
  EXPECT_EQ(texts(RedisCommand("HGETALL", "dagverk:limit:used")),
            (std::vector<std::string>{"api:a", concat(says.size())}));
  EXPECT_EQ(texts(RedisCommand("HVALS", "dagverk:limit:runs")), std::vector<std::string>(says.size(), "api:a"));
  std::vector<Settlement> ends;
  for (const jobs::TakenJob& one : taken) ends.push_back(Settlement::finish(one.token));
  expect_all_done(store_->settle(std::move(ends)));
  EXPECT_EQ(number(RedisCommand("EXISTS", "dagverk:limit:used", "dagverk:limit:runs")), 0);
}

TEST_F(RedisStoreTest, what_sidekiq_and_verk_recorded_goes_through_byte_for_byte) {
  std::ifstream file(DAGVERK_WIRE_VECTORS);
  std::stringstream text;
  text << file.rdbuf();
  const boost::json::value vectors = boost::json::parse(text.str());
  std::multiset<std::string> pushed;
  std::map<std::string, std::set<std::string>> placed;
  std::set<std::string> queues = {"low"};  // that of the recorded retries
  for (const boost::json::value& vector : vectors.as_array()) {
    for (const boost::json::value& entry : vector.at("commands").as_array()) {
      std::vector<std::string> words;
      for (const boost::json::value& word : entry.as_array()) {
        if (word.is_string()) words.emplace_back(word.as_string());
      }
      std::string name = words.at(0);
      std::ranges::transform(name, name.begin(), [](char c) { return static_cast<char>(std::tolower(c)); });
      const bool push = (name == "lpush" || name == "rpush") && words.at(1).starts_with("queue:");
      const bool place = name == "zadd" && words.size() == entry.as_array().size();
      if (!push && !place) continue;
      RedisCommand command(words[0]);
      for (std::size_t index = 1; index < words.size(); ++index) command.add(words[index]);
      ASSERT_FALSE(ask(command).is_error());
      if (push) queues.insert(words[1].substr(6));
      for (std::size_t index = push ? 2 : 3; index < words.size(); index += push ? 1 : 2) {
        if (push) {
          pushed.insert(words[index]);
        } else {
          placed[words[1]].insert(words[index]);
        }
      }
    }
  }
  ASSERT_GE(pushed.size(), 20U);
  ASSERT_EQ(placed.size(), 3U) << "schedule, retry, dead";

  // Every recorded job is taken, fails without new bytes, becomes due, is promoted, is taken again and buried.
  const auto by = node();
  std::multiset<std::string> seen;
  const std::vector<std::string> names(queues.begin(), queues.end());
  std::vector<Settlement> retries;
  for (const jobs::TakenJob& taken : take(by, names)) {
    seen.insert(taken.payload);
    EXPECT_NE(taken.jid, "");
    retries.push_back(Settlement::retry(taken.token, taken.payload, world_->now()));
    retries.back().payload.reset();
  }
  EXPECT_EQ(seen, pushed);
  expect_all_done(store_->settle(std::move(retries)));
  std::set<std::string> waiting(pushed.begin(), pushed.end());
  waiting.insert(placed["retry"].begin(), placed["retry"].end());
  waiting.insert(placed["schedule"].begin(), placed["schedule"].end());
  world_->advance(24h * 366);
  ASSERT_TRUE(store_->renew_lease(by));
  EXPECT_EQ(store_->totals()->counts.trimmed, placed["dead"].size()) << "there for more than half a year";
  std::set<std::string> due;
  while (true) {
    const auto page = store_->peek_due(world_->now(), 7).value();
    if (page.jobs.empty()) break;
    std::vector<jobs::Promotion> promotions;
    for (const jobs::DueJob& one : page.jobs) {
      due.insert(one.payload);
      promotions.push_back({one.handle});
    }
    expect_all_done(store_->promote(std::move(promotions)));
  }
  EXPECT_EQ(due, waiting);
  std::vector<Settlement> burials;
  for (const jobs::TakenJob& taken : take(by, names)) {
    burials.push_back(Settlement::bury(taken.token, std::nullopt, "end"));
  }
  EXPECT_EQ(burials.size(), waiting.size());
  expect_all_done(store_->settle(std::move(burials)));
  const std::vector<std::string> dead = texts(RedisCommand("ZRANGE", "dead", 0, -1));
  EXPECT_EQ(std::set<std::string>(dead.begin(), dead.end()), waiting);
}

TEST_F(RedisStoreTest, bytes_that_are_no_job_end_in_the_dead_set_unchanged_and_are_found_there) {
  const std::string bytes("not json {\0\xff", 12);
  ask(RedisCommand("LPUSH", "queue:default", bytes));
  const auto taken = take(node());
  ASSERT_EQ(taken.size(), 1U);
  EXPECT_EQ(taken[0].payload, bytes);
  EXPECT_EQ(taken[0].class_name, "");

  ASSERT_EQ(settle(Settlement::bury(taken[0].token, std::nullopt, "no job")), ItemOutcome::done);

  EXPECT_EQ(texts(RedisCommand("ZRANGE", "dead", 0, -1)), std::vector<std::string>{bytes});
  const auto found = store_->find(taken[0].jid).value();
  ASSERT_TRUE(found);
  EXPECT_EQ(found->payload, bytes);
  EXPECT_EQ(found->reason, "no job");
  EXPECT_EQ(found->queue, "default");
  EXPECT_EQ(store_->remove({taken[0].jid}).value(), std::vector{ItemOutcome::done});
}

TEST_F(RedisStoreTest, a_job_that_moves_twenty_times_keeps_every_byte) {
  enqueue("a1");
  const auto by = node();
  for (int round = 0; round < 20; ++round) {
    const auto taken = take(by);
    ASSERT_EQ(taken.size(), 1U) << round;
    ASSERT_EQ(taken[0].payload, payload("a1"));
    switch (round % 4) {
      case 0: ASSERT_EQ(settle(Settlement::requeue(taken[0].token)), ItemOutcome::done); break;
      case 1: {
        Settlement again = Settlement::retry(taken[0].token, {}, world_->now());
        again.payload.reset();
        ASSERT_EQ(settle(std::move(again)), ItemOutcome::done);
        const auto due = store_->peek_due(world_->now(), 10).value();
        ASSERT_EQ(store_->promote({{due.jobs.at(0).handle}}).value(), std::vector{ItemOutcome::done});
        break;
      }
      case 2:
        ASSERT_EQ(settle(Settlement::bury(taken[0].token, std::nullopt, "why")), ItemOutcome::done);
        ASSERT_EQ(store_->retry_now({{"a1"}}).value(), std::vector{ItemOutcome::done});
        break;
      default:
        ASSERT_EQ(store_->retire_node(node()).value(), 0U);
        ASSERT_EQ(settle(Settlement::requeue(taken[0].token)), ItemOutcome::done);
    }
  }
  EXPECT_EQ(texts(RedisCommand("LRANGE", "queue:default", 0, -1)), std::vector<std::string>{payload("a1")});
}

// --- others beside us -----------------------------------------------------------------------------------------------

TEST_F(RedisStoreTest, others_may_push_and_take_beside_us) {
  enqueue("a1");
  enqueue("b2");
  ask(RedisCommand("LPUSH", "queue:default", payload("c3")));
  EXPECT_EQ(texts(RedisCommand("RPOP", "queue:default", 1)), std::vector<std::string>{payload("a1")})
      << "Sidekiq's worker";

  const auto taken = take(node());
  ASSERT_EQ(taken.size(), 2U);
  EXPECT_EQ(taken[0].jid, "b2");
  EXPECT_EQ(taken[1].jid, "c3");
  ASSERT_EQ(settle(Settlement::finish(taken[0].token)), ItemOutcome::done);
  ASSERT_EQ(settle(Settlement::finish(taken[1].token)), ItemOutcome::done);

  const auto counts = store_->totals()->counts;
  EXPECT_EQ(counts.enqueued, 2U);
  EXPECT_EQ(counts.finished, 2U);
  EXPECT_TRUE(counts.balanced());
  EXPECT_EQ(store_->find("a1").value(), std::nullopt) << "it is remembered, and nowhere";
  ask(RedisCommand("LPUSH", "queue:default", payload("d4")));
  EXPECT_EQ(store_->totals()->counts.moved_in, 1U);
  EXPECT_EQ(store_->find("d4").value().value().state, JobState::ready) << "never heard of, and found";
  ask(RedisCommand("ZADD", "retry", "1795219000.5", payload("e5")));
  EXPECT_EQ(store_->find("e5").value().value().state, JobState::retrying);
  EXPECT_EQ(store_->remove({"e5", "d4"}).value(), (std::vector{ItemOutcome::done, ItemOutcome::done}));
  EXPECT_EQ(number(RedisCommand("LLEN", "queue:default")) + number(RedisCommand("ZCARD", "retry")), 0);
}

TEST_F(RedisStoreTest, whoever_pushes_into_a_queue_that_was_found_empty_wakes_us_at_once) {
  RedisStoreOptions options;
  options.clock = &world_->clock();
  options.io = &world_->io();
  options.poll_interval = 1h;
  StoreSession patient(world_->runtime(),
                       open_redis_store(world_->runtime(), conformance::shared_redis_server().url(), options).value());
  const auto by = patient.register_node({"node", "{}"}).value();
  const auto expect_a_push_to_wake = [&](const std::string& jid) {
    const std::uint64_t seen = patient.store().change_count(jobs::ChangeKind::ready);
    std::promise<Result<std::uint64_t>> woken;
    world_->runtime().spawn([&]() -> Async<void> {
      const auto changed = co_await patient.store().wait_for_change(jobs::ChangeKind::ready, seen, 1h);
      woken.set_value(changed);
    });
    std::future<Result<std::uint64_t>> changed = woken.get_future();
    ask(RedisCommand("LPUSH", "queue:other", payload(jid, "other")));
    ASSERT_EQ(changed.wait_for(60s), std::future_status::ready);
    EXPECT_NE(changed.get().value(), seen);
    EXPECT_EQ(texts(RedisCommand("LRANGE", "queue:other", 0, -1)), std::vector<std::string>{payload(jid, "other")})
        << "looking has moved nothing";
  };
  ASSERT_TRUE(patient.take({by, {"default", "other"}, 10})->empty());
  expect_a_push_to_wake("a1");
  EXPECT_EQ(patient.take({by, {"default", "other"}, 10})->size(), 1U);
  expect_a_push_to_wake("b2");  // a take that got less than it asked for has emptied them, too
  EXPECT_EQ(patient.take({by, {"default", "other"}, 10})->size(), 1U);
}

TEST_F(RedisStoreTest, pages_of_waiting_jobs_leave_out_nobody_while_others_take) {
  for (int index = 0; index < 40; ++index) enqueue(concat("j", 100 + index));
  const auto page = store_->list({.state = JobState::ready, .limit = 10}).value();
  ASSERT_EQ(page.jobs.size(), 10U);
  EXPECT_EQ(page.jobs.front().jid, "j100");

  ask(RedisCommand("RPOP", "queue:default", 5));
  const auto second = store_->list({.state = JobState::ready, .cursor = page.next, .limit = 10}).value();
  ASSERT_EQ(second.jobs.size(), 10U);
  EXPECT_EQ(second.jobs.front().jid, "j110");
  ask(RedisCommand("RPOP", "queue:default", 20));
  const auto third = store_->list({.state = JobState::ready, .cursor = second.next, .limit = 100}).value();
  EXPECT_EQ(third.jobs.front().jid, "j125") << "all that was listed is gone";
  EXPECT_EQ(third.jobs.size(), 15U);
}

TEST_F(RedisStoreTest, a_pause_stands_where_sidekiq_looks_for_it_and_others_pauses_count) {
  enqueue("a1");
  enqueue("b2", "other");
  ASSERT_TRUE(store_->pause_queue("default", "ann", "a: b\nc").value());

  EXPECT_EQ(texts(RedisCommand("SMEMBERS", "paused")), std::vector<std::string>{"default"});
  EXPECT_EQ(store_->queues("", 10)->at(0).pause, (jobs::QueuePause{"ann", "a: b\nc", world_->now()}));
  ask(RedisCommand("SADD", "paused", "other"));
  EXPECT_EQ(store_->queues("", 10)->at(1).pause, jobs::QueuePause()) << "by somebody who left no word";
  EXPECT_TRUE(take(node(), {"default", "other"}).empty());
  ask(RedisCommand("SREM", "paused", "default"));
  EXPECT_EQ(store_->queues("", 10)->at(0).pause, std::nullopt);
  EXPECT_EQ(take(node(), {"other", "default"}).size(), 1U);
  EXPECT_TRUE(store_->resume_queue("other").value());
  EXPECT_EQ(take(node(), {"other"}).size(), 1U);
  ask(RedisCommand("SET", "unrelated", "x"));
  ask(RedisCommand("RENAME", "unrelated", "paused"));
  enqueue("c3");
  EXPECT_EQ(take(node()).size(), 1U) << "somebody else's key of that name stops nothing";
}

TEST_F(RedisStoreTest, a_paused_queue_that_fills_up_is_no_news_and_nobody_spins) {
  enqueue("a1");
  ASSERT_TRUE(store_->pause_queue("default").value());
  RedisStoreOptions options;
  options.clock = &world_->clock();
  options.io = &world_->io();
  options.poll_interval = 1h;
  StoreSession patient(world_->runtime(),
                       open_redis_store(world_->runtime(), conformance::shared_redis_server().url(), options).value());
  const auto by = patient.register_node({"node", "{}"}).value();
  ASSERT_TRUE(patient.take({by, {"default"}, 10})->empty());
  const auto wait = [&](std::uint64_t seen) {
    return world_->runtime().run(patient.store().wait_for_change(jobs::ChangeKind::ready, seen, 50ms)).value();
  };
  // The first wait may end without cause, when the server is first asked what has changed.
  const std::uint64_t seen = wait(patient.store().change_count(jobs::ChangeKind::ready));
  ASSERT_TRUE(patient.take({by, {"default"}, 10})->empty());
  EXPECT_EQ(wait(seen), seen);
  EXPECT_EQ(number(RedisCommand("LLEN", "queue:default")), 1);
}

TEST_F(RedisStoreTest, a_job_of_ours_is_found_deep_in_a_long_queue_without_reading_it) {
  RedisStoreOptions options;
  options.io = &world_->io();
  options.search_limit = 1000;  // reading on from the next job finds nothing so deep
  StoreSession session(world_->runtime(),
                       open_redis_store(world_->runtime(), conformance::shared_redis_server().url(), options).value());
  // 60,000 jobs in 60 s, until now; ours is the one of 15 s ago.
  const net::RedisReply time = ask(RedisCommand("TIME"));
  const std::int64_t now_ms = redis::number_of(time.items()[0].text()).value() * 1000;
  constexpr int count = 60'000;
  const auto bytes = [&](int index) {
    const std::int64_t at_ms = now_ms - count + index;
    const std::string fraction = std::to_string(1000 + at_ms % 1000).substr(1);
    return concat(R"({"class":"Resize","args":[],"queue":"default","jid":"j)", 100'000 + index, R"(","enqueued_at":)",
                  at_ms / 1000, '.', fraction, "}");
  };
  for (int index = 0; index < count;) {
    RedisCommand push("LPUSH", "queue:default");
    for (int some = 0; some < 5000; ++some) push.add(bytes(index++));
    ask(push);
  }
  const std::string jid = concat("j", 100'000 + 45'000);
  ask(RedisCommand("HSET", "dagverk:jids", jid, concat((now_ms - 15'000) * 1000, " default")));
  ask(RedisCommand("SADD", "queues", "default"));
  ask(RedisCommand("CONFIG", "RESETSTAT"));

  const auto found = session.find(jid);

  ASSERT_TRUE(found) << found.error().message();
  ASSERT_TRUE(*found);
  EXPECT_EQ((*found)->payload, bytes(45'000));
  const std::string stats = std::string(ask(RedisCommand("INFO", "commandstats")).text());
  const std::size_t calls = stats.find("cmdstat_lrange:calls=");
  ASSERT_NE(calls, std::string::npos);
  EXPECT_LT(std::stoi(stats.substr(calls + 21)), 60) << "a probe is one call, a slice up to seven";

  // It is 15,000 jobs away from the left end: farther than this session may ask the server to look.
  const auto refused = session.remove({jid});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::too_large) << refused.error().message();
  EXPECT_EQ(number(RedisCommand("LLEN", "queue:default")), count);
  options.search_limit = 20'000;
  StoreSession wider(world_->runtime(),
                     open_redis_store(world_->runtime(), conformance::shared_redis_server().url(), options).value());
  EXPECT_EQ(wider.remove({jid}).value(), std::vector{ItemOutcome::done});
  EXPECT_EQ(number(RedisCommand("LLEN", "queue:default")), count - 1);

  // One of others, of which nothing is known, is looked for slice by slice, up to the limit.
  EXPECT_EQ(wider.find("j100003")->value().payload, bytes(3));
  EXPECT_EQ(wider.find("j155000").error().code(), ErrorCode::too_large);
  EXPECT_EQ(wider.move({{"j100003", "slow"}}).value(), std::vector{ItemOutcome::done});
  std::string moved = bytes(3);
  moved.replace(moved.find("default"), 7, "slow");
  EXPECT_EQ(texts(RedisCommand("LRANGE", "queue:slow", 0, -1)), std::vector<std::string>{moved});
}

TEST_F(RedisStoreTest, clearing_takes_what_others_pushed_too_and_stops_at_what_has_changed) {
  ask(RedisCommand("LPUSH", "queue:default", payload("f1"), "not json {", payload("f2")));
  enqueue("a1");
  EXPECT_EQ(store_->clear_queue("default", 2).value(), 2U);
  EXPECT_EQ(texts(RedisCommand("LRANGE", "queue:default", 0, -1)),
            (std::vector<std::string>{payload("a1"), payload("f2")}));
  EXPECT_EQ(store_->clear_queue("default", 1000).value(), 2U);
  EXPECT_EQ(number(RedisCommand("HEXISTS", "dagverk:jids", "a1")), 0);
  EXPECT_EQ(store_->totals()->counts.deleted, 4U);
  EXPECT_TRUE(store_->totals()->counts.balanced());
}

TEST_F(RedisStoreTest, bytes_that_are_no_job_move_as_they_are) {
  ask(RedisCommand("LPUSH", "queue:default", "not json {"));
  ask(RedisCommand("SADD", "queues", "default"));
  const auto page = store_->list({.state = JobState::ready}).value();
  ASSERT_EQ(page.jobs.size(), 1U);
  EXPECT_EQ(store_->move({{page.jobs[0].jid, "other"}}).value(), std::vector{ItemOutcome::done});
  EXPECT_EQ(texts(RedisCommand("LRANGE", "queue:other", 0, -1)), std::vector<std::string>{"not json {"});
}

// --- the server's ways ----------------------------------------------------------------------------------------------

TEST_F(RedisStoreTest, a_full_server_refuses_new_jobs_and_lets_the_old_ones_run) {
  enqueue("a1");
  enqueue("b2");
  const auto by = node();
  ASSERT_FALSE(ask(RedisCommand("CONFIG", "SET", "maxmemory", "1")).is_error());

  const auto refused = store_->enqueue({job("c3")});
  const auto taken = take(by);
  ASSERT_EQ(taken.size(), 2U);
  EXPECT_EQ(settle(Settlement::finish(taken[0].token)), ItemOutcome::done);
  EXPECT_EQ(settle(Settlement::retry(taken[1].token, payload("b2"), world_->now())), ItemOutcome::done);
  EXPECT_TRUE(store_->renew_lease(by));
  EXPECT_EQ(store_->retire_node(by).value(), 0U);
  EXPECT_EQ(store_->write_refusal().value(), std::nullopt) << "of the jobs that are there";
  ask(RedisCommand("CONFIG", "SET", "maxmemory", "0"));

  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::store_full) << refused.error().message();
  EXPECT_EQ(store_->enqueue({job("c3")}).value(), std::vector{ItemOutcome::done})
      << "nothing was left of the first try";
}

TEST_F(RedisStoreTest, a_server_that_forgot_the_scripts_is_told_again) {
  enqueue("a1");
  ask(RedisCommand("SCRIPT", "FLUSH"));
  enqueue("b2");
  ask(RedisCommand("SCRIPT", "FLUSH"));
  EXPECT_EQ(take(node()).size(), 2U);
}

TEST_F(RedisStoreTest, a_key_of_another_type_stops_its_own_queue_alone) {
  ask(RedisCommand("SET", "queue:odd", "a string"));
  ask(RedisCommand("SADD", "queues", "odd"));
  enqueue("a1");

  const auto refused = store_->enqueue({job("b2"), job("c3", "odd")});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::wrong_type) << refused.error().message();
  EXPECT_EQ(number(RedisCommand("HEXISTS", "dagverk:jids", "b2")), 0) << "the batch is one step";

  const auto by = node();
  const auto taken = take(by, {"odd", "default"});
  ASSERT_EQ(taken.size(), 1U);
  EXPECT_TRUE(store_->queues("", 10));
  EXPECT_TRUE(store_->totals());
  EXPECT_EQ(store_->find("none").value(), std::nullopt);
  EXPECT_EQ(store_->list({.state = JobState::ready})->jobs.size(), 0U);
  // A job whose queue became something else stays in hand until it is a list again.
  ask(RedisCommand("DEL", "queue:default"));
  ask(RedisCommand("SET", "queue:default", "a string"));
  world_->advance(world_->lease() + 1s);
  EXPECT_TRUE(store_->rescue_dead_nodes(0, 10)->jobs.empty());
  ask(RedisCommand("DEL", "queue:default"));
  EXPECT_EQ(store_->rescue_dead_nodes(0, 10)->jobs.size(), 1U);
  EXPECT_TRUE(store_->list_nodes()->empty());
}

TEST_F(RedisStoreTest, calls_that_go_to_the_server_together_are_answered_apart) {
  static constexpr int count = 300;
  ask(RedisCommand("SET", "queue:odd", "somebody's"));
  for (int index = 0; index < count; index += 3) enqueue(concat("j", index));
  const auto request = [](int index) {
    if (index == 100 || index == 200) return std::vector{job(concat("j", index), "odd")};
    return std::vector{job(concat("j", index)), job(concat("k", index), concat("queue", index % 7))};
  };
  const Result<int> answered = world_->runtime().run([](auto& store, auto requests) -> Async<Result<int>> {
    std::vector<Task<std::vector<ItemOutcome>>> calls;
    for (int index = 0; index < count; ++index) {
      calls.push_back(task::async([&store, jobs = requests(index)] { return store.enqueue(jobs); }));
    }
    for (int index = 0; index < count; ++index) {
      const Result<std::vector<ItemOutcome>> outcomes = co_await calls[static_cast<std::size_t>(index)].await();
      if (index == 100 || index == 200) {
        EXPECT_EQ(outcomes ? ErrorCode::internal : outcomes.error().code(), ErrorCode::wrong_type);
        continue;
      }
      EXPECT_TRUE(outcomes) << outcomes.error().message();
      if (!outcomes) co_return outcomes.error();
      const ItemOutcome first = index % 3 == 0 ? ItemOutcome::duplicate : ItemOutcome::done;
      EXPECT_EQ(*outcomes, (std::vector{first, ItemOutcome::done})) << index;
    }
    co_return count;
  }(store_->store(), request));
  ASSERT_TRUE(answered) << answered.error().message();
  EXPECT_EQ(number(RedisCommand("LLEN", "queue:default")), count - 2);
  EXPECT_EQ(store_->totals()->duplicates, 100U);
}

TEST_F(RedisStoreTest, restoring_looks_before_it_moves_anything) {
  ask(RedisCommand("SET", "retry", "somebody's"));
  const auto stored = [](const std::string& jid, JobState state) {
    jobs::StoredJob job;
    job.jid = jid;
    job.state = state;
    job.queue = "default";
    job.class_name = "Resize";
    job.payload = payload(jid);
    job.due = WallTime(1'795'219'126s);
    return job;
  };
  const auto all = [&] { return std::vector{stored("a1", JobState::ready), stored("b2", JobState::retrying)}; };
  const auto refused = store_->restore(all(), "{}");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::wrong_type) << refused.error().message();
  EXPECT_EQ(number(RedisCommand("EXISTS", "queue:default")), 0);
  EXPECT_EQ(store_->find("a1").value(), std::nullopt);

  ask(RedisCommand("DEL", "retry"));
  expect_all_done(store_->restore(all(), "{}"));
  EXPECT_EQ(number(RedisCommand("LLEN", "queue:default")), 1);
  EXPECT_EQ(number(RedisCommand("ZCARD", "retry")), 1);
}

TEST_F(RedisStoreTest, a_server_that_lost_its_data_refuses_what_rested_on_them) {
  enqueue("a1");
  const auto by = node();
  const auto taken = take(by);
  ASSERT_EQ(taken.size(), 1U);
  ask(RedisCommand("FLUSHALL"));

  EXPECT_EQ(settle(Settlement::finish(taken[0].token)), ItemOutcome::refused);
  EXPECT_EQ(store_->renew_lease(by).error().code(), ErrorCode::refused);
  EXPECT_EQ(store_->retire_node(by).error().code(), ErrorCode::not_found);
  enqueue("a1");
  EXPECT_EQ(take(node()).size(), 1U);
}

TEST_F(RedisStoreTest, time_is_the_servers_when_no_test_moves_it) {
  RedisStoreOptions options;
  options.io = &world_->io();
  StoreSession session(world_->runtime(),
                       open_redis_store(world_->runtime(), conformance::shared_redis_server().url(), options).value());
  const auto by = session.register_node({"node", "{}"}).value();
  ASSERT_TRUE(session.enqueue({job("a1")}));
  const auto taken = session.take({by, {"default"}, 1}).value();
  ASSERT_EQ(taken.size(), 1U);
  const auto nodes = session.list_nodes().value();
  ASSERT_EQ(nodes.size(), 1U);
  EXPECT_GT(nodes[0].lease_left, 10s);
  EXPECT_LE(nodes[0].lease_left, 20s);
  const net::RedisReply time = ask(RedisCommand("TIME"));
  const WallTime server = redis::wall_of(redis::number_of(time.items()[0].text()).value() * 1'000'000);
  const auto started = session.find("a1").value().value().started_at.value();
  EXPECT_LT(server - started, 60s);
  EXPECT_LT(started - server, 2s);
  EXPECT_TRUE(session.rescue_dead_nodes(0, 10)->nodes.empty());
}

/// Asks again until there is an answer.
template <class Ask>
auto answer_to(Ask ask) {
  auto answer = ask();
  while (!answer &&
         (answer.error().code() == ErrorCode::outcome_unknown || answer.error().code() == ErrorCode::unavailable)) {
    answer = ask();
  }
  return answer.value();
}

TEST_F(RedisStoreTest, a_lost_reply_is_neither_success_nor_failure_and_repeating_is_safe) {
  RedisStoreOptions options;
  options.clock = &world_->clock();
  options.io = &world_->io();
  options.connection.reply_timeout = 1s;
  StoreSession hasty(world_->runtime(),
                     open_redis_store(world_->runtime(), conformance::shared_redis_server().url(), options).value());
  RedisServer& server = conformance::shared_redis_server();

  server.pause();
  const auto unknown = hasty.enqueue({job("a1")});
  server.resume();
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code(), ErrorCode::outcome_unknown) << unknown.error().message();
  // It was done after all, or lost with the connection: either way it is there once.
  const auto enqueued = answer_to([&] { return hasty.enqueue({job("a1")}); });
  EXPECT_TRUE(enqueued.at(0) == ItemOutcome::duplicate || enqueued.at(0) == ItemOutcome::done);
  EXPECT_EQ(number(RedisCommand("LLEN", "queue:default")), 1);

  const auto by = hasty.register_node({"node", "{}"}).value();
  const auto taken = hasty.take({by, {"default"}, 1}).value();
  server.pause();
  const auto maybe = hasty.settle({Settlement::finish(taken.at(0).token)});
  server.resume();
  ASSERT_FALSE(maybe);
  EXPECT_EQ(maybe.error().code(), ErrorCode::outcome_unknown);
  const auto settled = answer_to([&] { return hasty.settle({Settlement::finish(taken[0].token)}); });
  EXPECT_TRUE(settled.at(0) == ItemOutcome::refused || settled.at(0) == ItemOutcome::done);
  EXPECT_EQ(number(RedisCommand("HLEN", concat("dagverk:run:", by))), 0);
  EXPECT_EQ(store_->totals()->counts.finished, 1U);
}

/// Stands between a store and the server, and does with each command what a test says.
class RedisProxy {
 public:
  enum class Verdict : std::uint8_t {
    pass,
    lose,    ///< the server does it, and nobody hears of it: the connection breaks
    refuse,  ///< the server does not hear of it: the refusal is said
  };
  using Judge = std::function<Verdict(const std::vector<std::string>& words)>;

  /// `version`: what INFO is to say; empty: the truth.
  explicit RedisProxy(std::uint16_t server, std::string version = {}) : server_(server), version_(std::move(version)) {}

  void judge(Judge judge, std::string refusal = {}) {
    const std::lock_guard lock(mutex_);
    judge_ = std::move(judge);
    refusal_ = std::move(refusal);
  }
  [[nodiscard]] std::string url() const { return fake_.url(); }

 private:
  /// A reply, as the server wrote it.
  static std::string reply_of(int server, const std::vector<std::string>& words) {
    std::string request = concat("*", words.size(), "\r\n");
    for (const std::string& word : words) request += concat("$", word.size(), "\r\n", word, "\r\n");
    for (std::string_view left = request; !left.empty();) {
      const ssize_t size = ::send(server, left.data(), left.size(), MSG_NOSIGNAL);
      if (size <= 0) return {};
      left.remove_prefix(static_cast<std::size_t>(size));
    }
    std::string bytes;
    net::RedisReader reader(64 << 20, 1 << 20);
    while (true) {
      char some[16384];
      const ssize_t size = ::recv(server, some, sizeof some, 0);
      if (size <= 0) return {};
      bytes.append(some, static_cast<std::size_t>(size));
      reader.feed(std::string_view(some, static_cast<std::size_t>(size)));
      const auto reply = reader.next();
      if (!reply || *reply) return bytes;
    }
  }

  void serve(FakeRedis::Connection& client) {
    const int server = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(server_);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    bool up = ::connect(server, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    while (up) {
      const std::vector<std::string> words = client.command();
      if (words.empty()) break;
      Verdict verdict = Verdict::pass;
      std::string refusal;
      {
        const std::lock_guard lock(mutex_);
        if (judge_) verdict = judge_(words);
        refusal = refusal_;
      }
      if (verdict == Verdict::refuse) {
        client.say(refusal);
        continue;
      }
      std::string reply = reply_of(server, words);
      up = !reply.empty() && verdict == Verdict::pass;
      if (words[0] == "INFO" && !version_.empty()) {
        const std::size_t at = reply.find("redis_version:") + 14;
        std::string text = reply.substr(reply.find("\r\n") + 2);
        text.replace(text.find("redis_version:") + 14, reply.find('\r', at) - at, version_);
        text.resize(text.size() - 2);
        reply = concat("$", text.size(), "\r\n", text, "\r\n");
      }
      if (up) client.say(reply);
    }
    ::close(server);
  }

  const std::uint16_t server_;
  const std::string version_;
  std::mutex mutex_;
  Judge judge_;
  std::string refusal_;
  FakeRedis fake_{[this](FakeRedis::Connection& client, int /*number*/) { serve(client); }, FakeRedis::Order::at_once};
};

/// A store whose commands go through a proxy.
class RedisTroubleTest : public RedisStoreTest {
 protected:
  using Verdict = RedisProxy::Verdict;

  void SetUp() override {
    RedisStoreTest::SetUp();
    if (IsSkipped()) return;
    proxy_ = std::make_unique<RedisProxy>(conformance::shared_redis_server().port());
  }
  void TearDown() override { far_.reset(); }

  void open() {
    RedisStoreOptions options;
    options.clock = &world_->clock();
    options.io = &world_->io();
    options.journal = true;
    options.connection.wait_for_connection = 60s;
    options.connection.reconnect_max = 20ms;
    far_ = std::make_unique<StoreSession>(world_->runtime(),
                                          open_redis_store(world_->runtime(), proxy_->url(), options).value());
  }
  /// The next script, and all after it, are answered so.
  void refuse_scripts(std::string_view why) {
    const auto judge = [](const std::vector<std::string>& words) {
      return words[0].starts_with("EVAL") ? Verdict::refuse : Verdict::pass;
    };
    proxy_->judge(judge, concat("-", why, "\r\n"));
  }

  std::unique_ptr<RedisProxy> proxy_;
  std::unique_ptr<StoreSession> far_;
};

TEST_F(RedisTroubleTest, what_a_server_cannot_do_now_is_unavailable_and_has_changed_nothing) {
  open();
  const auto by = far_->register_node({"node", "{}"}).value();
  enqueue("a1");
  for (const char* why :
       {"LOADING Redis is loading the dataset in memory", "BUSY Redis is busy running a script.",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "CLUSTERDOWN Hash slot not served", "READONLY You can't write against a read only replica.",
        "TRYAGAIN Multiple keys request during rehashing of slot", "NOREPLICAS Not enough good replicas to write."}) {
    refuse_scripts(why);
    const auto enqueued = far_->enqueue({job("b2")});
    const auto taken = far_->take({by, {"default"}, 1});
    const auto renewed = far_->renew_lease(by);
    const auto paused = far_->pause_queue("default");
    const auto cleared = far_->clear_queue("default", 10);
    for (const ErrorCode code :
         {enqueued ? ErrorCode::internal : enqueued.error().code(), taken ? ErrorCode::internal : taken.error().code(),
          renewed ? ErrorCode::internal : renewed.error().code(), paused ? ErrorCode::internal : paused.error().code(),
          cleared ? ErrorCode::internal : cleared.error().code()}) {
      EXPECT_EQ(code, ErrorCode::unavailable) << why;
    }
    proxy_->judge(nullptr);
    EXPECT_EQ(far_->totals()->counts.ready, 1U) << why;
    EXPECT_TRUE(far_->renew_lease(by)) << why;
  }
  EXPECT_EQ(far_->enqueue({job("b2")}).value(), std::vector{ItemOutcome::done});
  EXPECT_EQ(far_->take({by, {"default"}, 10})->size(), 2U);
}

TEST_F(RedisTroubleTest, whatever_answer_is_lost_repeating_the_operation_ends_well) {
  open();
  struct Operation {
    const char* name;
    /// What has to be so before; through the store that nothing happens to.
    std::function<void(const std::string& jid)> prepare;
    /// An error's code, or none.
    std::function<std::optional<ErrorCode>(const std::string& jid)> act;
    /// What must be so after.
    std::function<void(const std::string& jid)> check;
  };
  const auto code_of = [](const auto& result) {
    return result ? std::optional<ErrorCode>() : std::optional<ErrorCode>(result.error().code());
  };
  const auto state_of = [&](const std::string& jid) {
    const auto found = store_->find(jid).value();
    return found ? std::optional(found->state) : std::nullopt;
  };
  const auto by = node();
  std::optional<jobs::ClaimToken> token;
  std::optional<jobs::JobHandle> handle;
  std::optional<jobs::NodeEpoch> epoch;
  const auto bury = [&](const std::string& jid) {
    enqueue(jid);
    ASSERT_EQ(settle(Settlement::bury(take(by).at(0).token, std::nullopt, "why")), ItemOutcome::done);
  };
  const Operation operations[] = {
      {"enqueue", [](const auto&) {}, [&](const auto& jid) { return code_of(far_->enqueue({job(jid)})); },
       [&](const auto& jid) { EXPECT_EQ(state_of(jid), JobState::ready); }},
      {"settle",
       [&](const auto& jid) {
         enqueue(jid);
         token = take(by).at(0).token;
       },
       [&](const auto&) { return code_of(far_->settle({Settlement::finish(*token)})); },
       [&](const auto& jid) { EXPECT_EQ(state_of(jid), std::nullopt); }},
      {"promote",
       [&](const auto& jid) {
         auto later = job(jid);
         later.due = world_->now();
         ASSERT_TRUE(store_->enqueue({later}));
         handle = far_->peek_due(world_->now(), 10)->jobs.at(0).handle;
       },
       [&](const auto&) { return code_of(far_->promote({{*handle}})); },
       [&](const auto& jid) { EXPECT_EQ(state_of(jid), JobState::ready); }},
      {"retry_now", bury, [&](const auto& jid) { return code_of(far_->retry_now({{jid}})); },
       [&](const auto& jid) { EXPECT_EQ(state_of(jid), JobState::ready); }},
      {"remove", [&](const auto& jid) { enqueue(jid); }, [&](const auto& jid) { return code_of(far_->remove({jid})); },
       [&](const auto& jid) { EXPECT_EQ(state_of(jid), std::nullopt); }},
      {"move", bury, [&](const auto& jid) { return code_of(far_->move({{jid, "other"}})); },
       [&](const auto& jid) {
         EXPECT_EQ(store_->find(jid)->value().queue, "other");
         EXPECT_EQ(store_->find(jid)->value().reason, "why");
       }},
      {"clear_queue", [&](const auto& jid) { enqueue(jid); },
       [&](const auto&) { return code_of(far_->clear_queue("default", 1000)); },
       [&](const auto& jid) { EXPECT_EQ(state_of(jid), std::nullopt); }},
      {"pause_queue", [](const auto&) {}, [&](const auto&) { return code_of(far_->pause_queue("paused")); },
       [&](const auto&) { EXPECT_TRUE(store_->resume_queue("paused").value()); }},
      {"resume_queue", [&](const auto&) { ASSERT_TRUE(store_->pause_queue("paused").value()); },
       [&](const auto&) { return code_of(far_->resume_queue("paused")); },
       [&](const auto&) { EXPECT_FALSE(store_->resume_queue("paused").value()); }},
      {"retire_node",
       [&](const auto& jid) {
         epoch = node();
         enqueue(jid);
         ASSERT_EQ(take(*epoch).size(), 1U);
       },
       [&](const auto&) {
         const auto code = code_of(far_->retire_node(*epoch));
         return code == ErrorCode::not_found ? std::nullopt : code;  // it had worked
       },
       [&](const auto& jid) { EXPECT_EQ(state_of(jid), JobState::ready); }},
      {"rescue_dead_nodes",
       [&](const auto& jid) {
         epoch = node();
         enqueue(jid);
         ASSERT_EQ(take(*epoch).size(), 1U);
         world_->advance(world_->lease() + 6s);
         ASSERT_TRUE(store_->renew_lease(by));
       },
       [&](const auto&) { return code_of(far_->rescue_dead_nodes(by, 100)); },
       [&](const auto& jid) { EXPECT_EQ(state_of(jid), JobState::ready); }},
      {"renew_lease", [](const auto&) {}, [&](const auto&) { return code_of(far_->renew_lease(by)); },
       [&](const auto&) { EXPECT_TRUE(store_->renew_lease(by)); }},
      {"take",
       [&](const auto& jid) {
         epoch = node();
         enqueue(jid);
       },
       [&](const auto&) { return code_of(far_->take({*epoch, {"default"}, 1})); },
       [&](const auto& jid) {
         EXPECT_EQ(state_of(jid), JobState::running);
         EXPECT_EQ(store_->retire_node(*epoch).value(), 1U) << "nobody lost it";
       }},
      {"register_node", [](const auto&) {}, [&](const auto&) { return code_of(far_->register_node({"lost", "{}"})); },
       [&](const auto&) {
         std::size_t found = 0;  // two when the first one worked: a lease that nobody renews
         const std::vector<jobs::NodeInfo> nodes = store_->list_nodes().value();
         for (const jobs::NodeInfo& info : nodes) {
           if (info.name != "lost") continue;
           ++found;
           EXPECT_TRUE(store_->retire_node(info.epoch));
         }
         EXPECT_GE(found, 1U);
         EXPECT_LE(found, 2U);
       }},
  };
  std::size_t lost_answers = 0;
  for (const Operation& operation : operations) {
    for (int at = 0;; ++at) {
      ASSERT_LT(at, 100) << operation.name << " never gets through";
      const std::string jid = concat("jid", 100 + at);
      ASSERT_NO_FATAL_FAILURE(operation.prepare(jid));
      std::atomic<int> left{at};
      std::atomic<bool> lost{false};
      proxy_->judge([&](const std::vector<std::string>& words) {
        const bool greeting = words[0] == "CLIENT" || words[0] == "PING" || words[0] == "SELECT";
        if (greeting || left.fetch_sub(1) != 0) return Verdict::pass;
        lost = true;
        return Verdict::lose;
      });
      const std::optional<ErrorCode> first = operation.act(jid);
      proxy_->judge(nullptr);
      if (lost && first) {
        EXPECT_EQ(*first, ErrorCode::outcome_unknown) << operation.name << ", answer " << at;
        ++lost_answers;
        EXPECT_EQ(operation.act(jid), std::nullopt) << operation.name << ", answer " << at << ", again";
      }
      operation.check(jid);
      const auto totals = store_->totals().value();
      EXPECT_TRUE(totals.counts.balanced()) << operation.name << ", answer " << at;
      ASSERT_TRUE(store_->remove({jid}));
      if (HasFailure()) return;
      if (!lost) break;
    }
  }
  EXPECT_GE(lost_answers, 20U);
  EXPECT_EQ(store_->totals()->counts.live(), 0U) << "nothing twice, nothing left";
}

TEST_F(RedisTroubleTest, a_read_whose_answer_is_lost_says_so_and_the_next_one_reads) {
  open();
  const auto by = store_->register_node({.name = "node", .detail = "{}", .identity = "host1:1:aa"}).value();
  enqueue("a1");
  const auto code_of = [](const auto& result) {
    return result ? std::optional<ErrorCode>() : std::optional<ErrorCode>(result.error().code());
  };
  const std::pair<const char*, std::function<std::optional<ErrorCode>()>> reads[] = {
      {"find", [&] { return code_of(far_->find("a1")); }},
      {"list", [&] { return code_of(far_->list({})); }},
      {"queues", [&] { return code_of(far_->queues("", 10)); }},
      {"totals", [&] { return code_of(far_->totals()); }},
      {"peek_due", [&] { return code_of(far_->peek_due(world_->now(), 10)); }},
      {"list_nodes", [&] { return code_of(far_->list_nodes()); }},
      {"node_jobs", [&] { return code_of(far_->node_jobs("host1:1:aa")); }},
      {"read_journal", [&] { return code_of(far_->read_journal({})); }},
      {"journal_end", [&] { return code_of(far_->journal_end()); }},
  };
  for (const auto& [name, read] : reads) {
    std::atomic<bool> lost{false};
    proxy_->judge([&](const std::vector<std::string>& words) {
      const bool greeting = words[0] == "CLIENT" || words[0] == "PING" || words[0] == "SELECT" || words[0] == "INFO";
      if (greeting || lost.exchange(true)) return Verdict::pass;
      return Verdict::lose;
    });
    const std::optional<ErrorCode> first = read();
    proxy_->judge(nullptr);
    EXPECT_TRUE(lost) << name;
    EXPECT_TRUE(!first || *first == ErrorCode::outcome_unknown || *first == ErrorCode::unavailable) << name;
    EXPECT_EQ(read(), std::nullopt) << name;
  }
  EXPECT_EQ(store_->retire_node(by).value(), 0U);
  EXPECT_EQ(store_->totals()->counts.ready, 1U);
}

TEST_F(RedisTroubleTest, so_does_a_full_server_that_cannot_be_asked_to) {
  proxy_ = std::make_unique<RedisProxy>(conformance::shared_redis_server().port(), "6.2.14");
  std::atomic<bool> asked{false};
  proxy_->judge([&asked](const std::vector<std::string>& words) {
    if (words.size() > 1 && words[1].find("allow-oom") != std::string::npos) asked = true;
    return Verdict::pass;
  });
  open();
  ASSERT_TRUE(far_->enqueue({job("a1"), job("b2"), job("c3")}));
  const auto by = far_->register_node({"node", "{}"}).value();
  ASSERT_FALSE(ask(RedisCommand("CONFIG", "SET", "maxmemory", "1")).is_error());

  const auto refused = far_->enqueue({job("d4")});
  const auto taken = far_->take({by, {"default"}, 10}).value_or(std::vector<jobs::TakenJob>());
  ASSERT_EQ(taken.size(), 3U);
  EXPECT_EQ(
      far_->settle({Settlement::finish(taken[0].token), Settlement::retry(taken[1].token, payload("b2"), world_->now()),
                    Settlement::requeue(taken[2].token)})
          .value(),
      std::vector(3, ItemOutcome::done));
  EXPECT_TRUE(far_->renew_lease(by));
  const auto other = far_->register_node({"node", "{}"});
  EXPECT_TRUE(other) << other.error().message();
  EXPECT_TRUE(far_->pause_queue("default").value());
  EXPECT_TRUE(far_->resume_queue("default").value());
  EXPECT_EQ(far_->clear_queue("default", 10).value(), 1U);
  EXPECT_EQ(far_->retire_node(by).value(), 0U);
  ask(RedisCommand("CONFIG", "SET", "maxmemory", "0"));

  EXPECT_FALSE(asked);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::store_full) << refused.error().message();
}

TEST_F(RedisStoreTest, a_server_that_became_a_replica_is_waited_for) {
  RedisServer server;
  RedisStoreOptions options;
  options.io = &world_->io();
  options.connection.wait_for_connection = 60s;
  StoreSession session(world_->runtime(), open_redis_store(world_->runtime(), server.url(), options).value());
  ASSERT_TRUE(session.enqueue({job("a1")}));
  const auto by = session.register_node({"node", "{}"}).value();
  net::RedisOptions direct;
  direct.url = net::parse_redis_url(server.url()).value();
  const auto admin = net::RedisClient::start(world_->io(), direct).value();
  const auto tell = [&](const RedisCommand& command) {
    std::promise<bool> said;
    admin->send(command, [&said](const Result<net::RedisReply>& reply) { said.set_value(reply.has_value()); });
    return said.get_future().get();
  };
  ASSERT_TRUE(tell(RedisCommand("REPLICAOF", "127.0.0.1", free_loopback_port()))) << "of nobody who answers";

  const auto refused = session.enqueue({job("b2")});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::unavailable) << refused.error().message();
  EXPECT_EQ(session.take({by, {"default"}, 1}).error().code(), ErrorCode::unavailable);
  EXPECT_EQ(answer_to([&] { return session.write_refusal(); }), "the Redis server is a replica");
  ASSERT_TRUE(tell(RedisCommand("REPLICAOF", "NO", "ONE")));
  EXPECT_EQ(answer_to([&] { return session.enqueue({job("b2")}); }).at(0), ItemOutcome::done);
  EXPECT_EQ(answer_to([&] { return session.take({by, {"default"}, 10}); }).size(), 2U);
}

TEST_F(RedisStoreTest, a_busy_server_does_it_later) {
  RedisServer server({.arguments = {"--lua-time-limit", "5"}});
  RedisStoreOptions options;
  options.io = &world_->io();
  options.connection.wait_for_connection = 60s;
  options.connection.reply_timeout = 60s;
  StoreSession session(world_->runtime(), open_redis_store(world_->runtime(), server.url(), options).value());
  ASSERT_TRUE(session.enqueue({job("a1")}));
  net::RedisOptions direct;
  direct.url = net::parse_redis_url(server.url()).value();
  direct.reply_timeout = 60s;
  const auto runner = net::RedisClient::start(world_->io(), direct).value();
  const auto killer = net::RedisClient::start(world_->io(), direct).value();
  for (net::RedisClient* client : {runner.get(), killer.get()}) {  // a busy server greets nobody
    std::promise<void> begun;
    client->send(RedisCommand("PING"), [&begun](const Result<net::RedisReply>&) { begun.set_value(); });
    begun.get_future().wait();
  }
  std::promise<void> ended;
  runner->send(net::RedisScriptCall(net::RedisScript("while true do end")),
               [&ended](const Result<net::RedisReply>&) { ended.set_value(); });

  auto busy = session.enqueue({job("b2")});
  for (int tries = 0; busy && tries < 1'000'000; ++tries) busy = session.enqueue({job(concat("b", tries))});
  ASSERT_FALSE(busy) << "the script began before that";
  EXPECT_EQ(busy.error().code(), ErrorCode::unavailable) << busy.error().message();
  std::future<void> end = ended.get_future();
  while (end.wait_for(0s) != std::future_status::ready) {
    std::promise<void> asked;
    killer->send(RedisCommand("SCRIPT", "KILL"), [&asked](const Result<net::RedisReply>&) { asked.set_value(); });
    asked.get_future().wait();
  }
  EXPECT_EQ(answer_to([&] { return session.enqueue({job("c3")}); }).at(0), ItemOutcome::done);
  EXPECT_TRUE(session.totals()->counts.balanced());
}

TEST_F(RedisStoreTest, a_server_that_died_and_kept_its_data_goes_on_where_it_was) {
  RedisServerOptions keeps;
  keeps.configuration = "appendonly yes\nappendfsync always\n";
  RedisServer server(keeps);
  RedisStoreOptions options;
  options.io = &world_->io();
  options.connection.wait_for_connection = 60s;
  StoreSession session(world_->runtime(), open_redis_store(world_->runtime(), server.url(), options).value());
  ASSERT_TRUE(session.enqueue({job("a1"), job("b2")}));
  const auto by = session.register_node({"node", "{}"}).value();
  const auto taken = session.take({by, {"default"}, 1}).value();
  ASSERT_EQ(taken.size(), 1U);

  server.kill();
  server.start();

  // Whoever asks in the moment of the break may hear that it is unknown; then asking again is safe.
  Result<std::vector<ItemOutcome>> settled = session.settle({Settlement::finish(taken[0].token)});
  while (!settled) settled = session.settle({Settlement::finish(taken[0].token)});
  EXPECT_EQ(*settled, std::vector{ItemOutcome::done});
  EXPECT_TRUE(session.renew_lease(by));
  EXPECT_EQ(session.take({by, {"default"}, 10})->size(), 1U);
  EXPECT_TRUE(session.totals()->counts.balanced());
}

TEST_F(RedisStoreTest, a_jid_is_free_again_when_nobody_has_touched_its_job_for_long) {
  const auto outcome_of = [&](const std::string& jid) { return store_->enqueue({job(jid)}).value().at(0); };
  enqueue("a1");
  ask(RedisCommand("RPOP", "queue:default"));  // others have taken it, without a word
  jobs::EnqueueRequest later = job("b2");
  later.due = world_->now() + 24h * 30;
  ASSERT_TRUE(store_->enqueue({later}));
  EXPECT_NEAR(static_cast<double>(number(RedisCommand("TTL", "dagverk:job:b2"))), 37 * 86'400, 60);

  world_->advance(24h * 6);
  EXPECT_EQ(outcome_of("a1"), ItemOutcome::duplicate);
  enqueue("c3");
  world_->advance(24h * 6);
  enqueue("d4");
  EXPECT_EQ(outcome_of("a1"), ItemOutcome::duplicate) << "longer than it must be";
  EXPECT_EQ(outcome_of("c3"), ItemOutcome::duplicate) << "6 days are less than 7";
  world_->advance(24h * 8);
  EXPECT_EQ(outcome_of("a1"), ItemOutcome::done) << "20 days";
  EXPECT_EQ(outcome_of("d4"), ItemOutcome::duplicate) << "8 days, but still known";
  EXPECT_EQ(outcome_of("b2"), ItemOutcome::duplicate) << "known until after its time";
  EXPECT_EQ(store_->totals()->duplicates, 5U);
}

TEST_F(RedisStoreTest, a_jid_is_remembered_in_one_place_and_forgotten_with_its_job) {
  const auto places = [&](const std::string& jid) {
    return std::array{number(RedisCommand("HEXISTS", "dagverk:jids", jid)),
                      number(RedisCommand("HEXISTS", "dagverk:jids:before", jid)),
                      number(RedisCommand("EXISTS", concat("dagverk:job:", jid)))};
  };
  using Places = std::array<std::int64_t, 3>;
  const auto by = node();
  enqueue("a1");
  EXPECT_EQ(places("a1"), (Places{1, 0, 0}));
  world_->advance(24h * 8);
  ASSERT_TRUE(store_->renew_lease(by));
  enqueue("b2");  // the hashes change places
  EXPECT_EQ(places("a1"), (Places{0, 1, 0}));

  auto taken = take(by);
  ASSERT_EQ(taken.size(), 2U);
  ASSERT_EQ(settle(Settlement::retry(taken[0].token, payload("a1"), world_->now())), ItemOutcome::done);
  EXPECT_EQ(places("a1"), (Places{0, 0, 1}));
  EXPECT_EQ(store_->enqueue({job("a1")}).value().at(0), ItemOutcome::duplicate);
  ASSERT_EQ(store_->retry_now({{"a1"}}).value().at(0), ItemOutcome::done);
  EXPECT_EQ(places("a1"), (Places{1, 0, 0}));
  ASSERT_EQ(settle(Settlement::finish(taken[1].token)), ItemOutcome::done);
  EXPECT_EQ(places("b2"), (Places{0, 0, 0}));
  enqueue("b2");

  // Sidekiq's poller moves a scheduled job without a word: what is known of it goes with its end all the same.
  jobs::EnqueueRequest later = job("c3");
  later.due = world_->now();
  ASSERT_TRUE(store_->enqueue({later}));
  EXPECT_EQ(places("c3"), (Places{0, 0, 1}));
  ask(RedisCommand("ZREM", "schedule", later.payload));
  ask(RedisCommand("LPUSH", "queue:default", later.payload));
  const auto quiet_store = world_->open({.journal = false});
  taken = quiet_store->take({by, {"default"}, 10}).value();
  ASSERT_EQ(taken.size(), 3U);
  std::vector<Settlement> all;
  for (const jobs::TakenJob& one : taken) all.push_back(Settlement::finish(one.token));
  all.push_back(Settlement::finish(taken[0].token));
  const auto outcomes = quiet_store->settle(std::move(all)).value();
  EXPECT_EQ(outcomes, (std::vector{ItemOutcome::done, ItemOutcome::done, ItemOutcome::done, ItemOutcome::refused}));
  for (const char* const jid : {"a1", "b2", "c3"}) EXPECT_EQ(places(jid), (Places{0, 0, 0})) << jid;
}

TEST_F(RedisStoreTest, a_server_that_is_not_there_is_told_at_once_and_without_the_password) {
  RedisStoreOptions options;
  options.connection.wait_for_connection = 100ms;
  const std::string url = concat("redis://:hush@127.0.0.1:", free_loopback_port());

  const auto refused = open_redis_store(world_->runtime(), url, std::move(options));

  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::unavailable) << refused.error().message();
  EXPECT_EQ(refused.error().message().find("hush"), std::string::npos);
  EXPECT_EQ(open_redis_store(world_->runtime(), "redis:/wrong").error().code(), ErrorCode::configuration);
}

// --- elements -------------------------------------------------------------------------------------------------------

TEST(RedisElement, an_envelope_keeps_what_a_payload_does_not_say) {
  const jobs::CodecOptions codec;
  const WallTime at = redis::wall_of(1'795'219'126'000'001);
  for (const std::string& bytes :
       {std::string("\x1e"
                    "dgv1"),
        std::string("a\tb \0c", 6), std::string(), std::string(R"({"jid":"other","class":"C","args":[]})")}) {
    const std::string element = redis::make_element(bytes, {"a b", "q", "", false, at}, codec);
    const redis::Element read = redis::read_element(element, {}, {}, codec);
    EXPECT_EQ(read.payload, bytes);
    EXPECT_EQ(read.jid, "a b");
    EXPECT_EQ(read.queue, "q");
    EXPECT_FALSE(read.journaled);
    EXPECT_FALSE(read.bare);
    EXPECT_EQ(read.enqueued_at, at);
    EXPECT_EQ(redis::read_element(element, "elsewhere", {}, codec).queue, "elsewhere");
  }
}

TEST(RedisElement, what_only_looks_like_an_envelope_is_somebodys_bytes) {
  const jobs::CodecOptions codec;
  for (const char* bytes : {"\x1e"
                            "dgv1",
                            "\x1e"
                            "dgv1j",
                            "\x1e"
                            "dgv1j 1 2 3",
                            "\x1e"
                            "dgv1j 1 9 0 0 short",
                            "\x1e"
                            "dgv1j 1 -1 0 0 x",
                            "\x1e"
                            "dgv1j 1 0 0 0 x",
                            "\x1e"
                            "dgv1j 99999999999999999999 1 1 1 abc"}) {
    const redis::Element read = redis::read_element(bytes, "q", {}, codec);
    EXPECT_EQ(read.payload, bytes);
    EXPECT_TRUE(read.jid.starts_with("raw-"));
    EXPECT_TRUE(read.bare);
  }
}

/// Elements of every kind that a list may hold, and of every kind that is no job.
std::vector<std::string> elements_of_all_kinds() {
  const jobs::CodecOptions codec;
  const std::string plain = R"({"queue":"low","args":[1],"class":"C","jid":"a1","created_at":1.5,"enqueued_at":2.25})";
  const std::string keyed = R"({"limit_key":"api:1","args":[],"class":"C","jid":"b2","created_at":7})";
  const std::string marks(redis::unjournaled_mark);
  return {
      plain,
      keyed,
      concat(plain, marks),
      concat(keyed, redis::limited_mark),
      concat(keyed, redis::limited_mark, marks),
      concat(R"({"args":[],"class":7,"jid":"b2"})", redis::limited_mark, marks),
      R"({"queue":null,"args":{},"class":"C","jid":"\u00fc","enqueued_at":"x"})",
      R"({"args":"[1,{}]","class":"C","jid":"verk","max_retry_count":3,"retry_count":2,"\u0061t":9})",
      R"({"args":[],"class":"C","jid":"x","retry_queue":"not a queue"})",
      R"({"queue":"not a queue","args":[],"class":"C","jid":"x"})",
      R"({"args":[],"class":"C","jid":"x"} more)",
      R"({"args":[],"class":"C","jid":"x)",
      R"({"args":[],"class":"C"})",
      concat(R"({"args":[],"class":"C","jid":"x","failed_at":1,"a":")", std::string(std::size_t{1} << 20U, 'a'), "\"}"),
      concat(R"({"args":[],"class":"C","jid":"x","a":")", std::string(std::size_t{1} << 20U, 'a'), "\"}"),
      concat(R"({"args":[],"class":"C","jid":"x","a":)", std::string(200, '['), std::string(200, ']'), "}"),
      redis::make_element(plain, {"other", "q", "D", false, redis::wall_of(17), "api"}, codec),
      redis::make_element("no job", {"other", "q", "D", true, redis::wall_of(17)}, codec),
      redis::make_element(concat(plain, marks), {"a1", "low", "C", true, redis::wall_of(17)}, codec),
      concat(redis::stand_in_mark, "5000000 1795219126.5"),
      concat(redis::envelope_mark, "j 1 2 3"),
      "",
      "\xff",
  };
}

TEST(RedisElement, one_that_is_decoded_says_what_it_says_otherwise) {
  const jobs::CodecOptions codec;
  std::size_t decoded = 0;
  for (const std::string& element : elements_of_all_kinds()) {
    SCOPED_TRACE(element.substr(0, 200));
    for (const std::string place : {"high", "not a queue"}) {
      const redis::Element apart = redis::read_element(element, place, {}, codec);
      const Result<jobs::Job> expected = jobs::decode_job(apart.payload, place, codec);
      std::optional<jobs::Job> job;
      const redis::Element read = redis::decode_element(element, place, codec, job);
      EXPECT_EQ(read.jid, apart.jid);
      EXPECT_EQ(read.queue, apart.queue);
      EXPECT_EQ(read.class_name, apart.class_name);
      EXPECT_EQ(read.enqueued_at, apart.enqueued_at);
      EXPECT_EQ(read.limit_key, apart.limit_key);
      EXPECT_EQ(read.journaled, apart.journaled);
      EXPECT_EQ(read.bare, apart.bare);
      EXPECT_EQ(read.oversized, apart.oversized);
      ASSERT_EQ(job.has_value(), expected.has_value());
      EXPECT_EQ(read.payload, job ? std::string() : apart.payload);
      if (!job) continue;
      ++decoded;
      EXPECT_EQ(job->payload(), apart.payload);
      EXPECT_EQ(job->jid(), expected->jid());
      EXPECT_EQ(job->queue(), expected->queue());
      EXPECT_EQ(job->names_queue(), expected->names_queue());
      EXPECT_EQ(job->args_json(), expected->args_json());
      EXPECT_EQ(job->attempt(), expected->attempt());
    }
  }
  EXPECT_GE(decoded, 12U);
}

TEST_F(RedisStoreTest, jobs_come_decoded_to_whoever_asks_with_the_stores_own_limits) {
  const std::vector<std::string> elements = elements_of_all_kinds();
  const auto by = node();
  const auto take_all = [&](const std::optional<jobs::CodecOptions>& decode) {
    for (const std::string& element : elements) ask(RedisCommand("LPUSH", "queue:default", element));
    auto taken = store_->take({by, {"default"}, 1000, decode});
    EXPECT_TRUE(taken) << taken.error().message();
    std::vector<Settlement> ends;
    for (const jobs::TakenJob& job : *taken) ends.push_back(Settlement::discard(job.token));
    expect_all_done(store_->settle(std::move(ends)));
    return std::move(*taken);
  };
  const auto apart = take_all(std::nullopt);
  const auto decoded = take_all(jobs::CodecOptions{.timestamps = jobs::TimestampFormat::millis});
  const auto deeper = take_all(jobs::CodecOptions{.depth_limit = 127});

  ASSERT_EQ(apart.size(), elements.size());
  ASSERT_EQ(decoded.size(), elements.size());
  ASSERT_EQ(deeper.size(), elements.size());
  for (std::size_t index = 0; index < elements.size(); ++index) {
    SCOPED_TRACE(apart[index].payload.substr(0, 200));
    EXPECT_FALSE(apart[index].job);
    EXPECT_FALSE(deeper[index].job) << "its limits are not the store's";
    EXPECT_EQ(deeper[index].payload, apart[index].payload);
    const std::optional<jobs::Job>& job = decoded[index].job;
    EXPECT_EQ(job.has_value(), jobs::decode_job(apart[index].payload, "default").has_value());
    EXPECT_EQ(job ? job->payload() : decoded[index].payload, apart[index].payload);
    EXPECT_EQ(decoded[index].payload.empty(), job.has_value() || apart[index].payload.empty());
    EXPECT_EQ(decoded[index].jid, apart[index].jid);
    EXPECT_EQ(decoded[index].queue, apart[index].queue);
    EXPECT_EQ(decoded[index].class_name, apart[index].class_name);
    EXPECT_EQ(decoded[index].journaled, apart[index].journaled);
  }
}

TEST_F(RedisStoreTest, looking_through_the_store_finds_what_nobody_looks_after) {
  enqueue("a");
  const auto sound = store_->check();
  ASSERT_TRUE(sound) << sound.error().message();
  for (const jobs::StoreFinding& finding : *sound) EXPECT_EQ(finding.level, jobs::StoreFinding::Level::note);

  ask(RedisCommand("LPUSH", "queue:unlisted", "{}"));
  ask(RedisCommand("HSET", "dagverk:run:99", "1", "1 1 q{}"));
  std::vector<jobs::StoreFinding> found = store_->check().value();
  ASSERT_GE(found.size(), 2U);
  EXPECT_EQ(found[0].level, jobs::StoreFinding::Level::damage);
  EXPECT_NE(found[0].text.find("dagverk:run:99 holds jobs of a node that is not known"), std::string::npos);
  EXPECT_EQ(found[1].level, jobs::StoreFinding::Level::warning);
  EXPECT_NE(found[1].text.find("queue:unlisted holds jobs"), std::string::npos);

  ask(RedisCommand("SADD", "queues", "taken"));
  ask(RedisCommand("SET", "queue:taken", "no list"));
  found = store_->check().value();
  EXPECT_EQ(found[0].level, jobs::StoreFinding::Level::damage);
  EXPECT_NE(found[0].text.find("queue:taken is a string where a list belongs"), std::string::npos) << found[0].text;
}

TEST_F(RedisStoreTest, a_backup_is_what_the_server_saved) {
  enqueue("a");
  const auto where = store_->backup({});
  ASSERT_TRUE(where) << where.error().message();
  EXPECT_TRUE(std::filesystem::exists(*where)) << *where;
  const auto refused = store_->backup("elsewhere.rdb");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::invalid_argument);
}

}  // namespace
}  // namespace dagverk::stores
