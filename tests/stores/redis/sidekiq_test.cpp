// The real Sidekiq beside us: each enqueues for the other, both serve the same queues, and its API reads our data.

#include "conformance/redis_world.hpp"
#include "stores/redis/ends.hpp"
#include "stores/redis/sidekiq_program.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_client.hpp"
#include "dagverk/jobs/node.hpp"

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <unistd.h>

namespace dagverk::stores {
namespace {

using namespace std::chrono_literals;  // NOLINT(google-build-using-namespace): tests read better
using boost::json::array;
using boost::json::object;
using boost::json::value;
using conformance::shared_redis_server;
using jobs::JobContext;
using jobs::JobState;
using jobs::NewJob;
using jobs::RawJson;

class SidekiqTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!RedisServer::available()) GTEST_SKIP() << RedisServer::missing;
    if (!SidekiqProgram::available()) GTEST_SKIP() << SidekiqProgram::missing;
    world_ = std::make_unique<conformance::RedisWorld>();  // empties the server
    sidekiq_ = SidekiqProgram::api(server(), folder_);
    store_ = open_redis_store(runtime_, server().url()).value();
  }

  static RedisServer& server() { return shared_redis_server(); }

  template <class... Arguments>
  value sidekiq(std::string_view question, const Arguments&... arguments) {
    return sidekiq_->ask(question, arguments...);
  }
  /// The jobs of a queue or a set as Sidekiq's API shows them, by jid.
  std::map<std::string, value> shown(std::string_view kind, std::string_view name) {
    std::map<std::string, value> jobs;
    const value answer = sidekiq(kind, name);
    for (const value& job : answer.as_array()) jobs.emplace(job.at("jid").as_string(), job);
    return jobs;
  }

  /// A node with the classes of sidekiq.rb. What OkJob was given is in `given_`.
  std::unique_ptr<jobs::Node> start_node(jobs::NodeOptions options = {}) {
    using Any = std::optional<RawJson>;
    jobs::JobRegistry registry;
    registry.define("OkJob", [this](JobContext& job, Any, Any, Any, Any) {
      std::unique_lock lock(mutex_);
      static_cast<void>(gate_.wait_for(lock, 60s, [this] { return open_; }));
      given_.emplace(job.jid(), job.job().args_json());
    });
    registry.define("FailJob", [](Any, Any) { throw std::invalid_argument("boom — é"); });
    if (options.pools.empty()) options.pools.push_back({.queues = {"default", "low"}, .concurrency = 4});
    options.events = &ends_;
    return jobs::Node::start(runtime_, *store_, std::move(registry), std::move(options)).value();
  }
  [[nodiscard]] jobs::JobClient client() { return jobs::JobClient(runtime_, *store_); }
  std::string enqueue(NewJob job) { return client().enqueue_blocking(std::move(job)).value(); }

  void open_gate(bool open) {
    const std::lock_guard lock(mutex_);
    open_ = open;
    gate_.notify_all();
  }
  std::map<std::string, std::string> given() {
    const std::lock_guard lock(mutex_);
    return given_;
  }

  std::unique_ptr<conformance::RedisWorld> world_;
  TemporaryFolder folder_;
  std::unique_ptr<SidekiqProgram> sidekiq_;
  std::mutex mutex_;
  std::condition_variable gate_;
  bool open_ = true;
  std::map<std::string, std::string> given_;
  Ends ends_;
  Runtime runtime_{RuntimeOptions{.workers = 2}};
  std::unique_ptr<RedisStore> store_;
};

/// As Ruby writes them.
constexpr std::string_view odd_arguments = R"([9007199254740993,123456789012345678901234567890,"ü/</script>😀",)"
                                           R"({"a":[],"b":{},"c":[3.5,null,true]}])";

TEST_F(SidekiqTest, what_sidekiq_enqueues_we_run_with_every_argument_intact) {
  const auto node = start_node();
  std::map<std::string, std::string> expected;
  const auto push = [&](object item) { return std::string(sidekiq("push", item).as_string()); };
  expected[push({{"class", "OkJob"}, {"args", array{9007199254740993, "ü/</script>😀", array{}, object{}}}})] =
      R"([9007199254740993,"ü/</script>😀",[],{}])";
  expected[push({{"class", "OkJob"}, {"args", array{}}, {"queue", "low"}, {"retry", 3}, {"tags", array{"a"}}})] = "[]";
  expected[std::string(sidekiq("perform_in", 0.3, array{"later"}).as_string())] = R"(["later"])";
  const object bulk = {{"class", "OkJob"}, {"args", array{array{1}, array{"zwei"}, array{3.5}}}};
  const value jids = sidekiq("push_bulk", bulk);
  expected[std::string(jids.at(0).as_string())] = "[1]";
  expected[std::string(jids.at(1).as_string())] = R"(["zwei"])";
  expected[std::string(jids.at(2).as_string())] = "[3.5]";

  ASSERT_TRUE(ends_.wait_for(expected.size()));
  EXPECT_EQ(given(), expected);
  const value stats = sidekiq("stats");
  EXPECT_EQ(stats.at("processed").as_int64(), 6);
  EXPECT_EQ(stats.at("failed").as_int64(), 0);
  EXPECT_EQ(stats.at("enqueued").as_int64(), 0);
  EXPECT_EQ(stats.at("scheduled_size").as_int64(), 0);
}

TEST_F(SidekiqTest, what_we_enqueue_sidekiq_shows_and_runs) {
  const std::string odd = enqueue({.job_class = "OkJob", .args_json = std::string(odd_arguments), .tags = {"blå"}});
  const std::string later =
      client().enqueue_in_blocking({.job_class = "OkJob", .args_json = R"(["later"])"}, 1h).value();
  const std::string soon =
      client().enqueue_in_blocking({.job_class = "OkJob", .args_json = R"(["soon"])"}, 50ms).value();
  std::vector<NewJob> bulk;
  for (int number = 0; number < 20; ++number) {
    bulk.push_back({.job_class = "OkJob", .args_json = concat("[", number, "]"), .queue = "low"});
  }
  ASSERT_TRUE(client().enqueue_bulk_blocking(bulk));

  const value queues = sidekiq("queues");
  EXPECT_EQ(queues.at("default").as_int64(), 1);
  EXPECT_EQ(queues.at("low").as_int64(), 20);
  const auto waiting = shown("queue", "default");
  ASSERT_TRUE(waiting.contains(odd));
  EXPECT_EQ(waiting.at(odd).at("class").as_string(), "OkJob");
  EXPECT_EQ(waiting.at(odd).at("tags").at(0).as_string(), "blå");
  EXPECT_GE(waiting.at(odd).at("latency").to_number<double>(), 0);
  EXPECT_LT(waiting.at(odd).at("latency").to_number<double>(), 300);
  const auto scheduled = shown("set", "schedule");
  ASSERT_TRUE(scheduled.contains(later));
  EXPECT_TRUE(scheduled.at(later).at("enqueued_at").is_null());
  EXPECT_NEAR(
      scheduled.at(later).at("score").to_number<double>() - scheduled.at(later).at("created_at").to_number<double>(),
      3600, 1);

  const auto worker = SidekiqProgram::worker(server(), folder_, {"default", "low"});
  std::map<std::string, std::string> ran;
  const auto read_notes = [&](int count) {
    const value notes = sidekiq("notes", count);
    for (const value& note : notes.as_array()) {
      EXPECT_EQ(note.at(0).as_string(), "sidekiq");
      ran[std::string(note.at(1).as_string())] = boost::json::serialize(note.at(2));
    }
  };
  read_notes(21);
  // The worker's own poller waits for seconds before it looks for the first time: this is what it then does.
  static_cast<void>(sidekiq("enqueue_due"));
  read_notes(1);
  EXPECT_EQ(ran.size(), 22U) << worker->said();
  EXPECT_EQ(ran[soon], R"(["soon"])");
  EXPECT_NE(ran[odd].find("9007199254740993"), std::string::npos) << ran[odd];
  EXPECT_NE(ran[odd].find("ü/</script>😀"), std::string::npos) << ran[odd];
  EXPECT_NE(ran[odd].find(R"({"a":[],"b":{},"c":[)"), std::string::npos) << ran[odd];
  EXPECT_EQ(sidekiq("stats").at("scheduled_size").as_int64(), 1);
}

TEST_F(SidekiqTest, both_work_beside_each_other_and_every_job_is_run) {
  open_gate(false);  // ours take some and wait, so that Sidekiq gets some
  const auto node = start_node();
  const auto worker = SidekiqProgram::worker(server(), folder_, {"low", "default"});
  std::set<std::string> jids;
  array arguments;
  std::vector<NewJob> bulk;
  for (int number = 0; number < 150; ++number) {
    arguments.push_back(array{number});
    bulk.push_back({.job_class = "OkJob", .args_json = concat("[", number, "]"), .queue = "low"});
  }
  const value theirs = sidekiq("push_bulk", object{{"class", "OkJob"}, {"args", arguments}});
  for (const value& jid : theirs.as_array()) jids.emplace(jid.as_string());
  const auto ours = client().enqueue_bulk_blocking(bulk);
  ASSERT_TRUE(ours);
  for (const jobs::Enqueued& job : *ours) jids.insert(job.jid);
  ASSERT_EQ(jids.size(), 300U);

  std::multiset<std::string> ran;
  const auto read_notes = [&](std::size_t count) {
    const value notes = sidekiq("notes", count);
    for (const value& note : notes.as_array()) ran.emplace(note.at(1).as_string());
  };
  read_notes(1);
  open_gate(true);
  // Who runs which job is chance; together they run them all.
  const SteadyTime limit = system_clock().steady_now() + 60s;
  while (ran.size() + ends_.jids().size() < jids.size() && system_clock().steady_now() < limit) {
    const std::int64_t noted = sidekiq("noted").as_int64();
    if (noted > 0) read_notes(static_cast<std::size_t>(noted));
    std::this_thread::yield();
  }
  EXPECT_GE(ran.size(), 1U);
  EXPECT_GE(ends_.jids().size(), 1U);
  ran.merge(ends_.jids());
  EXPECT_EQ(ran, std::multiset<std::string>(jids.begin(), jids.end())) << worker->said();
  const auto counts = runtime_.run(store_->totals()).value().counts;
  EXPECT_EQ(counts.live() + counts.dead, 0U);
  EXPECT_TRUE(counts.balanced());
  EXPECT_EQ(sidekiq("stats").at("enqueued").as_int64(), 0);
}

TEST_F(SidekiqTest, its_api_shows_our_node_and_what_it_runs_and_can_quiet_and_stop_it) {
  open_gate(false);
  std::atomic<int> stops{0};
  jobs::NodeOptions options;
  options.pools = {{.queues = {{"default", 2}, {"low", 1}}, .concurrency = 4}};
  options.heartbeat = 50ms;
  options.tag = "shop";
  options.labels = {"fast"};
  options.on_stop_signal = [&stops] { ++stops; };
  const auto node = start_node(std::move(options));
  const WallTime before = system_clock().wall_now() - 2s;  // Sidekiq shows whole seconds
  const std::string jid = enqueue({.job_class = "OkJob", .args_json = R"(["busy"])", .queue = "low"});
  // Heartbeats come when they come.
  const auto becomes = [&](const auto& condition) {
    const SteadyTime limit = system_clock().steady_now() + 60s;
    while (system_clock().steady_now() < limit) {
      if (condition()) return true;
      std::this_thread::yield();
    }
    return false;
  };

  ASSERT_TRUE(becomes([&] { return !sidekiq("work").as_array().empty(); }));
  const value work = sidekiq("work");
  ASSERT_EQ(work.as_array().size(), 1U);
  EXPECT_EQ(work.at(0).at("process").as_string(), node->identity());
  EXPECT_EQ(work.at(0).at("queue").as_string(), "low");
  EXPECT_NE(boost::json::serialize(work.at(0).at("payload")).find(jid), std::string::npos);
  EXPECT_GE(work.at(0).at("run_at").as_int64(),
            std::chrono::system_clock::to_time_t(std::chrono::time_point_cast<std::chrono::seconds>(before)));
  ASSERT_TRUE(becomes([&] { return sidekiq("processes").at(0).at("busy").as_int64() == 1; }));
  const value processes = sidekiq("processes");
  ASSERT_EQ(processes.as_array().size(), 1U);
  const value& process = processes.at(0);
  EXPECT_EQ(process.at("identity").as_string(), node->identity());
  EXPECT_EQ(process.at("queues"), (array{"default", "low"}));
  EXPECT_EQ(process.at("labels"), (array{"fast"}));
  EXPECT_EQ(process.at("tag").as_string(), "shop");
  EXPECT_EQ(process.at("concurrency").as_int64(), 4);
  EXPECT_EQ(process.at("quiet").as_string(), "false");
  EXPECT_EQ(process.at("pid").as_int64(), ::getpid());
  EXPECT_EQ(sidekiq("stats").at("processes_size").as_int64(), 1);
  EXPECT_EQ(sidekiq("stats").at("workers_size").as_int64(), 1);

  ASSERT_TRUE(sidekiq("quiet", node->identity()).as_bool());
  EXPECT_TRUE(becomes([&] { return sidekiq("processes").at(0).at("quiet").as_string() == "true"; }));
  const std::string later = enqueue({.job_class = "OkJob", .args_json = R"(["later"])", .queue = "low"});
  ASSERT_TRUE(sidekiq("stop", node->identity()).as_bool());
  EXPECT_TRUE(becomes([&] { return stops > 0; }));
  open_gate(true);
  EXPECT_TRUE(node->stop(30s).retired);

  EXPECT_EQ(given().count(jid), 1U);
  EXPECT_EQ(shown("queue", "low").count(later), 1U) << "a quiet node takes nothing";
  EXPECT_TRUE(sidekiq("processes").as_array().empty());
  EXPECT_TRUE(sidekiq("work").as_array().empty());
}

TEST_F(SidekiqTest, our_failures_stand_in_its_sets_and_its_buttons_work) {
  const auto node = start_node();
  const double before = std::chrono::duration<double>(system_clock().wall_now().time_since_epoch()).count() - 1;
  const std::string fails = enqueue({.job_class = "FailJob", .args_json = R"(["x"])", .tags = {"t"}});
  const std::string dies = enqueue({.job_class = "FailJob", .retry = jobs::RetrySetting::limited(0)});
  const object with_backtrace = {{"class", "FailJob"}, {"args", array{1}}, {"retry_queue", "low"}, {"backtrace", 2}};
  const std::string theirs(sidekiq("push", with_backtrace).as_string());
  const std::string unknown(sidekiq("push", object{{"class", "App::Missing"}, {"args", array{}}}).as_string());
  ASSERT_TRUE(ends_.wait_for(4));

  auto retry = shown("set", "retry");
  ASSERT_EQ(retry.size(), 3U);
  for (const std::string& jid : {fails, theirs, unknown}) {
    ASSERT_TRUE(retry.contains(jid));
    const value& job = retry.at(jid);
    EXPECT_EQ(job.at("retry_count").as_int64(), 0);
    EXPECT_GE(job.at("failed_at").to_number<double>(), before);
    EXPECT_TRUE(job.at("retried_at").is_null());
    EXPECT_GE(job.at("score").to_number<double>(), job.at("failed_at").to_number<double>() + 15);
    EXPECT_LE(job.at("score").to_number<double>(), job.at("failed_at").to_number<double>() + 15 + 9 + 1);
    EXPECT_TRUE(job.at("backtrace").is_null()) << "C++ has none";
  }
  EXPECT_EQ(retry.at(fails).at("error_message").as_string(), "boom — é");
  EXPECT_EQ(retry.at(fails).at("error_class").as_string(), "std::invalid_argument");
  EXPECT_EQ(retry.at(fails).at("args").at(0).as_string(), "x");
  EXPECT_EQ(retry.at(fails).at("queue").as_string(), "default");
  EXPECT_EQ(retry.at(theirs).at("queue").as_string(), "low");
  EXPECT_EQ(retry.at(unknown).at("error_class").as_string(), "UnknownJobClass");
  auto dead = shown("set", "dead");
  ASSERT_EQ(dead.size(), 1U);
  EXPECT_EQ(dead.at(dies).at("error_message").as_string(), "boom — é");
  EXPECT_GE(dead.at(dies).at("score").to_number<double>(), before);
  const value stats = sidekiq("stats");
  EXPECT_EQ(stats.at("failed").as_int64(), 4);
  EXPECT_EQ(stats.at("processed").as_int64(), 4);
  EXPECT_EQ(stats.at("retry_size").as_int64(), 3);
  EXPECT_EQ(stats.at("dead_size").as_int64(), 1);

  // Its Web retries one, kills one and deletes one; what is retried fails with us again.
  EXPECT_TRUE(sidekiq("button", "retry", fails, "retry").as_bool());
  EXPECT_TRUE(sidekiq("button", "retry", theirs, "kill").as_bool());
  EXPECT_TRUE(sidekiq("button", "dead", dies, "delete").as_bool());
  ASSERT_TRUE(ends_.wait_for(5));
  retry = shown("set", "retry");
  ASSERT_TRUE(retry.contains(fails));
  EXPECT_EQ(retry.at(fails).at("retry_count").as_int64(), 0) << "a run by hand uses up no retry";
  EXPECT_FALSE(retry.at(fails).at("retried_at").is_null());
  EXPECT_EQ(runtime_.run(store_->find(theirs)).value().value().state, JobState::dead);
  EXPECT_FALSE(runtime_.run(store_->find(dies)).value());
}

/// The bytes that we do not own.
std::string others_bytes(std::string_view payload) {
  using jobs::OwnedMember;
  jobs::JobEdit edit;
  for (const OwnedMember member : {OwnedMember::retry_count, OwnedMember::failed_at, OwnedMember::retried_at,
                                   OwnedMember::error_message, OwnedMember::error_class, OwnedMember::enqueued_at}) {
    edit.remove(member);
  }
  return jobs::edit_job(payload, edit).value();
}

TEST_F(SidekiqTest, its_failures_are_ours_to_retry_and_keep_every_byte_that_is_not_ours) {
  const object item = {{"class", "FailJob"}, {"args", array{1}}, {"retry", 5},
                       {"backtrace", 3},     {"bid", "B-1"},     {"own", array{object{}}}};
  const std::string jid(sidekiq("push", item).as_string());
  std::map<std::string, value> retry;
  {
    const auto worker = SidekiqProgram::worker(server(), folder_, {"default"});
    const SteadyTime limit = system_clock().steady_now() + 60s;
    while (!retry.contains(jid) && system_clock().steady_now() < limit) retry = shown("set", "retry");
    ASSERT_TRUE(retry.contains(jid)) << worker->said();
  }
  const std::string theirs(retry.at(jid).at("payload").as_string());
  EXPECT_EQ(retry.at(jid).at("backtrace").as_array().size(), 3U);

  const auto node = start_node();
  // What its process does with a retry that is due; it encodes the job anew.
  EXPECT_TRUE(sidekiq("button", "retry", jid, "add_to_queue").as_bool());
  ASSERT_TRUE(ends_.wait_for(1));

  const auto again = shown("set", "retry");
  ASSERT_TRUE(again.contains(jid));
  const value& job = again.at(jid);
  EXPECT_EQ(job.at("retry_count").as_int64(), 1) << "the first failure was theirs, the second ours";
  EXPECT_EQ(job.at("failed_at"), retry.at(jid).at("failed_at"));
  EXPECT_FALSE(job.at("retried_at").is_null());
  EXPECT_EQ(job.at("error_class").as_string(), "std::invalid_argument");
  EXPECT_EQ(job.at("backtrace"), retry.at(jid).at("backtrace"));
  EXPECT_EQ(others_bytes(job.at("payload").as_string()), others_bytes(theirs));
}

}  // namespace
}  // namespace dagverk::stores
