// What is Redis' own: others' data, others beside us, the server's ways to fail. The contract is tests/conformance.

#include "conformance/redis_world.hpp"
#include "stores/redis/element.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/wire_time.hpp"

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include <fstream>
#include <map>
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
  ASSERT_TRUE(patient.take({by, {"default", "other"}, 10})->empty());
  const std::uint64_t seen = patient.store().change_count(jobs::ChangeKind::ready);
  std::promise<Result<std::uint64_t>> woken;
  world_->runtime().spawn([&]() -> Async<void> {
    const auto changed = co_await patient.store().wait_for_change(jobs::ChangeKind::ready, seen, 1h);
    woken.set_value(changed);
  });
  std::future<Result<std::uint64_t>> changed = woken.get_future();
  ask(RedisCommand("LPUSH", "queue:other", payload("a1", "other")));

  ASSERT_EQ(changed.wait_for(60s), std::future_status::ready);
  EXPECT_NE(changed.get().value(), seen);
  EXPECT_EQ(texts(RedisCommand("LRANGE", "queue:other", 0, -1)), std::vector<std::string>{payload("a1", "other")})
      << "looking has moved nothing";
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
  EXPECT_EQ(number(RedisCommand("EXISTS", "dagverk:job:b2")), 0) << "the batch is one step";

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
  enqueue("a1");
  jobs::EnqueueRequest later = job("b2");
  later.due = world_->now() + 24h * 30;
  ASSERT_TRUE(store_->enqueue({later}));

  EXPECT_NEAR(static_cast<double>(number(RedisCommand("TTL", "dagverk:job:a1"))), 7 * 86'400, 60);
  EXPECT_NEAR(static_cast<double>(number(RedisCommand("TTL", "dagverk:job:b2"))), 37 * 86'400, 60);
  const auto taken = take(node());
  ASSERT_EQ(settle(Settlement::finish(taken.at(0).token)), ItemOutcome::done);
  EXPECT_EQ(number(RedisCommand("EXISTS", "dagverk:job:a1")), 0);
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

}  // namespace
}  // namespace dagverk::stores
