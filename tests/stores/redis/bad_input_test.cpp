// What strangers may put into Redis, and a node that works there all the same: docs/reference/wire-format.md.

#include "conformance/redis_world.hpp"
#include "stores/redis/ends.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_client.hpp"
#include "dagverk/jobs/job_names.hpp"
#include "dagverk/jobs/node.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

namespace dagverk::stores {
namespace {

using namespace std::chrono_literals;  // NOLINT(google-build-using-namespace): tests read better
using jobs::JobState;
using net::RedisCommand;

class RedisBadInput : public testing::Test {
 protected:
  void SetUp() override {
    if (!RedisServer::available()) GTEST_SKIP() << RedisServer::missing;
    world_ = std::make_unique<conformance::RedisWorld>();  // empties the server
    store_ = open_redis_store(runtime_, conformance::shared_redis_server().url()).value();
  }

  net::RedisReply ask(const RedisCommand& command) { return world_->ask(command); }
  std::multiset<std::string> texts(const RedisCommand& command) {
    const net::RedisReply reply = ask(command);
    EXPECT_FALSE(reply.is_error()) << reply.shown();
    std::multiset<std::string> all;
    for (const net::RedisReply& item : reply.items()) all.emplace(item.text());
    return all;
  }
  std::int64_t number(const RedisCommand& command) { return ask(command).integer_or(-1); }
  void push(std::string_view element, std::string_view queue = "default") {
    ASSERT_FALSE(ask(RedisCommand("LPUSH", concat("queue:", queue), element)).is_error());
  }
  static std::string good(std::string_view jid, std::string_view more = {}) {
    return concat(R"({"class":"OkJob","args":[],"jid":")", jid, R"(","retry":true)", more, "}");
  }

  std::unique_ptr<jobs::Node> start_node(const std::vector<std::string>& queues = {"default"}) {
    jobs::JobRegistry registry;
    registry.define("OkJob", [this](jobs::JobContext& job, const std::optional<jobs::RawJson>&) {
      const std::lock_guard lock(mutex_);
      ran_.emplace(job.jid());
    });
    registry.define("FailJob", [] { throw std::runtime_error("no"); });
    jobs::NodeOptions options;
    options.pools.push_back({.queues = {queues.begin(), queues.end()}, .concurrency = 4});
    options.events = &ends_;
    return jobs::Node::start(runtime_, *store_, std::move(registry), std::move(options)).value();
  }
  std::multiset<std::string> ran() {
    const std::lock_guard lock(mutex_);
    return ran_;
  }
  jobs::QueueCounts counts() { return runtime_.run(store_->totals()).value().counts; }

  std::unique_ptr<conformance::RedisWorld> world_;
  std::mutex mutex_;
  std::multiset<std::string> ran_;
  Ends ends_;
  Runtime runtime_{RuntimeOptions{.workers = 2}};
  std::unique_ptr<RedisStore> store_;
};

std::string repeated(std::string_view text, std::size_t count) {
  std::string all;
  for (; count > 0; --count) all += text;
  return all;
}

/// Nothing of these is a job; each for another reason.
std::vector<std::string> malformed() {
  std::vector<std::string> all = {
      "",
      " ",
      "not json {",
      "null",
      "5",
      "[]",
      "{}",
      "\"text\"",
      "{\"class\"",
      R"({"class":"A",})",
      "\xff\xfe",
      std::string("\0\0\0", 3),
      R"({"jid":"a","class":"A","args":[]} x)",
      concat('\x1e', "dgv1"),
      concat('\x1e', "dgvX"),
      concat('\x1e', "dgv1j 1 9999 1 1 abc"),
      repeated("[", 100'000),
      repeated("{\"a\":", 100'000),
  };
  const auto job = [&](std::string_view jid, std::string_view job_class, std::string_view args,
                       std::string_view more = {}) {
    all.push_back(concat(R"({"jid":)", jid, R"(,"class":)", job_class, R"(,"args":)", args, more, "}"));
  };
  for (const char* jid : {"7", "null", "[]", "\"\"", R"("a\nb")", "\"\xff\""}) job(jid, "\"A\"", "[]");
  job(concat('"', std::string(256, 'j'), '"'), "\"A\"", "[]");
  for (const char* job_class :
       {"7", "null", "{}", "\"\"", "\"a b\"", "\"../../bin/sh\"", R"("A\nB")", R"("\u001b[31m")", "\"A;B\"",
        "\"$(id)\"", R"("A\u0000")", "\"-rf\"", "\"<script>\"", "\"Ä\""}) {
    job("\"b\"", job_class, "[]");
  }
  job("\"b\"", concat('"', std::string(256, 'C'), '"'), "[]");
  for (const char* args :
       {"null", "7", "true", "\"x\"", "{\"a\":1}", R"("{\"a\":1}")", "\"[1,\"", "\"[] []\"", "\"\""}) {
    job("\"c\"", "\"A\"", args);
  }
  for (const char* queue :
       {"7", "[]", "true", "\"\"", "\"../x\"", "\"a b\"", "\"sq_x\"", "\"2026-11-21\"", R"("a\nb")"}) {
    job("\"d\"", "\"A\"", "[]", concat(R"(,"queue":)", queue));
    job("\"e\"", "\"A\"", "[]", concat(R"(,"retry_queue":)", queue));
  }
  job("\"f\"", "\"A\"", "[]", concat(R"(,"queue":")", std::string(10'240, 'q'), '"'));
  job("\"g\"", "\"A\"", concat("[\"", std::string((1U << 20U) + 1, 'x'), "\"]"));
  job("\"h\"", "\"A\"", concat(repeated("[", 128), repeated("]", 128)));
  return all;
}

TEST_F(RedisBadInput, whatever_is_no_job_goes_to_the_dead_set_byte_for_byte_and_holds_up_nobody) {
  const std::vector<std::string> bad = malformed();
  std::multiset<std::string> expected;
  std::multiset<std::string> good_ones;
  for (std::size_t index = 0; index < bad.size(); ++index) {
    push(bad[index]);
    expected.insert(bad[index]);
    push(good(concat("good", index)));
    good_ones.insert(concat("good", index));
  }
  ASSERT_GE(bad.size(), 65U);

  const auto node = start_node();
  ASSERT_TRUE(ends_.wait_for(2 * bad.size()));

  EXPECT_EQ(ran(), good_ones);
  EXPECT_EQ(texts(RedisCommand("ZRANGE", "dead", 0, -1)), expected);
  EXPECT_EQ(number(RedisCommand("LLEN", "queue:default")), 0);
  EXPECT_EQ(number(RedisCommand("ZCARD", "retry")), 0);
  EXPECT_TRUE(counts().balanced());
  EXPECT_EQ(counts().running, 0U);
  // A person sees why, and can delete each of them.
  const auto page = runtime_.run(store_->list({.state = JobState::dead, .limit = 1000})).value();
  ASSERT_EQ(page.jobs.size(), bad.size());
  std::vector<std::string> jids;
  for (const jobs::StoredJob& job : page.jobs) {
    EXPECT_NE(job.reason, "") << job.payload.substr(0, 100);
    EXPECT_LT(job.reason.size(), 500U);
    EXPECT_TRUE(std::ranges::none_of(job.reason, [](char c) { return c >= 0 && c < ' '; })) << job.reason;
    jids.push_back(job.jid);
  }
  const auto removed = runtime_.run(store_->remove(jids, "{}"));
  ASSERT_TRUE(removed);
  EXPECT_EQ(std::ranges::count(*removed, jobs::ItemOutcome::done), std::ranges::ssize(bad));
}

TEST_F(RedisBadInput, a_class_is_what_was_defined_by_exactly_that_name_and_nothing_else) {
  const std::vector<std::string> names = {"Kernel",      "Object::system", "okjob",     "OkJob.",
                                          "OkJob/x",     "_OkJob",         "std::exit", "__proto__",
                                          "constructor", "OkJob::OkJob",   "App-1"};
  for (const std::string& name : names) push(concat(R"({"jid":")", name, R"(","class":")", name, R"(","args":[]})"));
  push(good("good"));
  const auto node = start_node();
  ASSERT_TRUE(ends_.wait_for(names.size() + 1));
  EXPECT_EQ(ran(), std::multiset<std::string>{"good"});
  const auto retrying = runtime_.run(store_->list({.state = JobState::retrying, .limit = 100})).value();
  ASSERT_EQ(retrying.jobs.size(), names.size());
  for (const jobs::StoredJob& stored : retrying.jobs) {
    const jobs::Job job = jobs::decode_job(stored.payload).value();
    EXPECT_EQ(job.error_class(), "UnknownJobClass");
    EXPECT_EQ(job.error_message(), concat("this node defines no job class \"", stored.class_name, "\""));
  }
}

TEST_F(RedisBadInput, a_job_that_is_there_twice_runs_twice_and_nothing_is_stuck) {
  for (int copy = 0; copy < 3; ++copy) push(good("same"));
  push(good("same", R"(,"queue":"default")"));
  const auto node = start_node();
  ASSERT_TRUE(ends_.wait_for(4));
  EXPECT_EQ(ran(), (std::multiset<std::string>{"same", "same", "same", "same"}));
  EXPECT_EQ(counts().running, 0U);
  EXPECT_TRUE(counts().balanced());
  EXPECT_EQ(number(RedisCommand("LLEN", "queue:default")), 0);
}

/// This program's memory, in bytes.
std::size_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  std::size_t total = 0;
  std::size_t resident = 0;
  file >> total >> resident;
  return resident * 4096;
}

TEST_F(RedisBadInput, what_is_far_too_large_is_never_loaded_and_a_person_can_delete_it) {
  constexpr std::size_t size = std::size_t{16} << 20U;
  const auto put = [&](const char* key, const char* command, const char* score) {
    RedisCommand eval("EVAL");
    const std::string text =
        *score == '\0'
            ? concat("return redis.call('", command, "', KEYS[1], string.rep('x', ", size, "))")
            : concat("return redis.call('", command, "', KEYS[1], ", score, ", string.rep('x', ", size, "))");
    eval.add(text).add("1").add(key);
    ASSERT_FALSE(ask(eval).is_error());
  };
  ask(RedisCommand("SADD", "queues", "default"));
  put("queue:default", "LPUSH", "");
  push(good("behind"));
  [[maybe_unused]] const std::size_t before = resident_bytes();

  EXPECT_EQ(runtime_.run(store_->queues("", 10)).value().at(0).counts.ready, 2U);
  const auto waiting = runtime_.run(store_->list({.state = JobState::ready, .limit = 10})).value();
  ASSERT_EQ(waiting.jobs.size(), 2U);
  EXPECT_EQ(waiting.jobs[0].payload, concat(size, " bytes, which are too many to be shown"));
  const auto node = start_node();
  ASSERT_TRUE(ends_.wait_for(1));
  EXPECT_EQ(ran(), std::multiset<std::string>{"behind"});
  const auto dead = runtime_.run(store_->list({.state = JobState::dead, .limit = 10})).value();
  ASSERT_EQ(dead.jobs.size(), 1U);
  EXPECT_TRUE(dead.jobs[0].reason.starts_with("larger than ")) << dead.jobs[0].reason;
  const std::string jid = dead.jobs[0].jid;
  EXPECT_EQ(runtime_.run(store_->find(jid)).value().value().state, JobState::dead);
  EXPECT_TRUE(counts().balanced());
  EXPECT_EQ(runtime_.run(store_->remove({jid}, "{}")).value(), std::vector{jobs::ItemOutcome::done});
  EXPECT_EQ(number(RedisCommand("ZCARD", "dead")), 0);

  // One whose time has come takes the same way.
  put("retry", "ZADD", "1.5");
  push(good("last"));
  const SteadyTime limit = system_clock().steady_now() + 60s;
  while (number(RedisCommand("ZCARD", "dead")) == 0 && system_clock().steady_now() < limit) std::this_thread::yield();
  EXPECT_EQ(number(RedisCommand("ZCARD", "dead")), 1);
  EXPECT_EQ(number(RedisCommand("ZCARD", "retry")), 0);
  ask(RedisCommand("DEL", "dead"));
#if !defined(DAGVERK_PLAIN_ALLOCATION)  // sanitizers keep what was freed for a while
  EXPECT_LT(resident_bytes(), before + (std::size_t{10} << 20U)) << "of 16 MiB, again and again";
#endif
}

TEST_F(RedisBadInput, a_queue_may_be_named_like_a_key_of_ours_or_of_sidekiqs) {
  const std::vector<std::string> names = {"retry",         "dead",           "schedule",    "queues",
                                          "processes",     "verk_nodes",     "dagverk:seq", "dagverk:nodes",
                                          "dagverk:total", "stat:processed", "queue:x",     "inprogress:x:1"};
  for (const std::string& name : names) {
    ASSERT_TRUE(jobs::check_queue_name(name)) << name;
    const auto jid = jobs::JobClient(runtime_, *store_).enqueue_blocking({.job_class = "OkJob", .queue = name});
    ASSERT_TRUE(jid) << jid.error().message();
  }
  const auto node = start_node(names);
  ASSERT_TRUE(ends_.wait_for(names.size()));
  EXPECT_EQ(ran().size(), names.size());
  EXPECT_TRUE(counts().balanced());
  const auto queues = runtime_.run(store_->queues("", 100)).value();
  EXPECT_EQ(queues.size(), names.size());
  for (const jobs::QueueInfo& queue : queues) EXPECT_EQ(queue.counts.finished, 1U) << queue.name;

  for (const std::string& name :
       {std::string("../x"), std::string("a b"), std::string("2026-11-21"), std::string("sq_a"), std::string("a\nb"),
        std::string(), std::string(10'240, 'q'), std::string("-x")}) {
    const auto refused = jobs::JobClient(runtime_, *store_).enqueue_blocking({.job_class = "OkJob", .queue = name});
    ASSERT_FALSE(refused) << name.substr(0, 40);
    EXPECT_EQ(refused.error().code(), ErrorCode::invalid_argument);
  }
}

TEST_F(RedisBadInput, a_set_that_is_somebody_elses_key_costs_no_job) {
  ask(RedisCommand("SET", "retry", "mine"));
  const auto failing = [](std::string_view jid) {
    return concat(R"({"class":"FailJob","args":[],"jid":")", jid, R"(","retry":true})");
  };
  push(failing("f1"));
  push(good("g1"));
  auto node = start_node();
  ASSERT_TRUE(ends_.wait_for(2));
  EXPECT_EQ(ran(), std::multiset<std::string>{"g1"});
  EXPECT_EQ(texts(RedisCommand("ZRANGE", "dead", 0, -1)), std::multiset<std::string>{failing("f1")}) << "unchanged";
  const auto found = runtime_.run(store_->find("f1")).value();
  ASSERT_TRUE(found);
  EXPECT_NE(found->reason.find("retry is no sorted set"), std::string::npos) << found->reason;

  // With nowhere to go it stays in the hands of the node, and goes back when that one leaves.
  ask(RedisCommand("SET", "dead", "mine"));
  push(failing("f2"));
  push(good("g2"));
  ASSERT_TRUE(ends_.wait_for(3));
  node->stop(10s);
  EXPECT_EQ(texts(RedisCommand("LRANGE", "queue:default", 0, -1)), std::multiset<std::string>{failing("f2")});
  EXPECT_EQ(ran(), (std::multiset<std::string>{"g1", "g2"}));
  ask(RedisCommand("DEL", "dead", "retry"));

  ask(RedisCommand("SET", "schedule", "mine"));
  const auto later = jobs::JobClient(runtime_, *store_).enqueue_in_blocking({.job_class = "OkJob", .jid = "s1"}, 1h);
  ASSERT_FALSE(later);
  EXPECT_EQ(later.error().code(), ErrorCode::wrong_type);
  ask(RedisCommand("DEL", "schedule"));
  EXPECT_TRUE(jobs::JobClient(runtime_, *store_).enqueue_in_blocking({.job_class = "OkJob", .jid = "s1"}, 1h))
      << "what was refused is not remembered";
}

}  // namespace
}  // namespace dagverk::stores
