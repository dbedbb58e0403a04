// Nodes as Sidekiq's readers see them, Sidekiq's processes as we see them, its metrics, and what an idle node asks.

#include "conformance/redis_world.hpp"
#include "stores/redis/metrics.hpp"
#include "stores/redis/scripts.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_client.hpp"
#include "dagverk/jobs/node.hpp"

#include <boost/json.hpp>
#include <gtest/gtest.h>

#include <algorithm>
#include <arpa/inet.h>
#include <cctype>
#include <map>
#include <netinet/in.h>
#include <stdexcept>
#include <sys/socket.h>
#include <unistd.h>

namespace dagverk::stores {
namespace {

using namespace std::chrono_literals;  // NOLINT(google-build-using-namespace): tests read better
using conformance::RedisWorld;
using conformance::StoreSession;
using jobs::ItemOutcome;
using jobs::NodeSignal;
using net::RedisCommand;

class RedisProcesses : public testing::Test {
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
    std::ranges::sort(all);
    return all;
  }
  std::map<std::string, std::string> hash(const std::string& key) {
    std::map<std::string, std::string> fields;
    const net::RedisReply reply = ask(RedisCommand("HGETALL", key));
    for (std::size_t index = 0; index + 1 < reply.items().size(); index += 2) {
      fields.emplace(reply.items()[index].text(), reply.items()[index + 1].text());
    }
    return fields;
  }
  std::int64_t number(const RedisCommand& command) { return ask(command).integer_or(-1); }

  jobs::NodeEpoch node() {
    return store_->register_node({.name = "sorter", .detail = "{}", .identity = identity}).value();
  }
  static jobs::Heartbeat beat() {
    jobs::Heartbeat said;
    said.status = {.host = "host1",
                   .os_pid = 71,
                   .started_at = WallTime(1'795'219'100s) + 250ms,
                   .tag = "bj",
                   .labels = {"fast"},
                   .version = "dagverk 1",
                   .concurrency = 12,
                   .pools = {{"mail", 10, jobs::QueueMode::weighted, {{"default", 2}, {"low", 1}}},
                             {"slow", 2, jobs::QueueMode::strict, {{"low", 0}}}},
                   .busy = 1,
                   .resident_bytes = 30'104 * 1024,
                   .round_trip = 72us};
    said.jobs = {{"oll", "default", R"({"class":"Slow","args":[{}],"jid":"7b","queue":"default"})",
                  WallTime(1'795'219'123s) + 900ms}};
    return said;
  }

  static constexpr const char* identity = "host1:71:45561b280f33";
  std::unique_ptr<RedisWorld> world_;
  std::unique_ptr<StoreSession> store_;
};

TEST_F(RedisProcesses, a_node_is_a_process_to_sidekiqs_readers_from_its_first_heartbeat_to_its_end) {
  const auto by = node();
  ASSERT_TRUE(store_->heartbeat(by, beat()));

  EXPECT_EQ(texts(RedisCommand("SMEMBERS", "processes")), std::vector<std::string>{identity});
  const auto fields = hash(identity);
  const std::map<std::string, std::string> expected = {{"info", fields.at("info")},
                                                       {"concurrency", "12"},
                                                       {"busy", "1"},
                                                       {"beat", "1795219126.000000"},
                                                       {"rtt_us", "72"},
                                                       {"quiet", "false"},
                                                       {"rss", "30104"},
                                                       {"dagverk", concat(by)}};
  EXPECT_EQ(fields, expected);
  EXPECT_EQ(boost::json::parse(fields.at("info")),
            boost::json::parse(R"({"hostname":"host1","started_at":1795219100.25,"pid":71,"tag":"bj","concurrency":12,
              "capsules":{"mail":{"concurrency":10,"mode":"weighted","weights":{"default":2,"low":1}},
                          "slow":{"concurrency":2,"mode":"strict","weights":{"low":0}}},
              "queues":["default","low"],"weights":[{"default":2,"low":1},{"low":0}],"labels":["fast"],
              "identity":"host1:71:45561b280f33","version":"dagverk 1","embedded":false})"));
  const std::int64_t ttl = number(RedisCommand("TTL", identity));
  EXPECT_GT(ttl, 50);
  EXPECT_LE(ttl, 60);

  const std::string work = concat(identity, ":work");
  const auto runs = hash(work);
  ASSERT_EQ(runs.size(), 1U);
  EXPECT_EQ(runs.at("oll"), R"({"queue":"default","payload":"{\"class\":\"Slow\",\"args\":[{}],\"jid\":\"7b\",)"
                            R"(\"queue\":\"default\"}","run_at":1795219123})");
  EXPECT_GT(number(RedisCommand("TTL", work)), 50);

  jobs::Heartbeat idle = beat();
  idle.jobs.clear();
  idle.status.quiet = true;
  ASSERT_TRUE(store_->heartbeat(by, idle));
  EXPECT_EQ(number(RedisCommand("EXISTS", work)), 0);
  EXPECT_EQ(hash(identity).at("quiet"), "true");

  ASSERT_TRUE(store_->heartbeat(by, beat()));
  ASSERT_TRUE(store_->retire_node(by));
  EXPECT_EQ(number(RedisCommand("EXISTS", "processes", identity, work)), 0);
}

TEST_F(RedisProcesses, a_payload_that_is_too_large_to_show_is_described) {
  const auto by = node();
  jobs::Heartbeat said = beat();
  said.jobs[0].payload = concat(R"({"class":"Big","jid":"7b","args":[")", std::string(100'000, 'x'), R"("]})");
  ASSERT_TRUE(store_->heartbeat(by, said));
  const auto runs = store_->node_jobs(identity).value();
  ASSERT_EQ(runs.size(), 1U);
  EXPECT_EQ(runs[0].payload, R"({"class":"Big","jid":"7b","queue":"default","args":["a payload of 100038 bytes"]})");
}

TEST_F(RedisProcesses, a_node_that_died_is_no_process_any_more_once_it_is_rescued) {
  const auto by = node();
  ASSERT_TRUE(store_->heartbeat(by, beat()));
  world_->advance(world_->lease() + 1s);
  ASSERT_TRUE(store_->rescue_dead_nodes(0, 100));
  EXPECT_EQ(number(RedisCommand("EXISTS", "processes", identity)), 0);
  EXPECT_EQ(store_->heartbeat(by, beat()).error().code(), ErrorCode::refused);
  EXPECT_EQ(number(RedisCommand("EXISTS", "processes", identity)), 0);
}

TEST_F(RedisProcesses, sidekiqs_own_processes_are_listed_as_foreign_and_can_be_told_to_stop) {
  const std::string eight = "host1:31444:d2f2fde47b6d";
  const std::string six = "host1:31453:45561b280f33";
  ask(RedisCommand("SADD", "processes", eight, six, "host1:1:gone"));
  ask(RedisCommand(
      "HSET", eight, "info",
      R"({"hostname":"host1","started_at":1795219323.2062557,"pid":31444,"tag":"bj","capsules":{"default":)"
      R"({"concurrency":3,"mode":"weighted","weights":{"default":2,"low":1}}},"queues":["default","low"],)"
      R"("weights":[{"default":2,"low":1}],"labels":[],"identity":"host1:31444:d2f2fde47b6d","version":"8.1.7",)"
      R"("embedded":false})",
      "concurrency", "3", "busy", "1", "beat", "1795219110.5", "rtt_us", "487", "quiet", "true", "rss", "26656"));
  ask(RedisCommand("HSET", six, "info",
                   R"({"hostname":"host1","started_at":1795219323.329298,"pid":31453,"tag":"","concurrency":3,)"
                   R"("queues":["default","low"],"labels":[],"identity":"host1:31453:45561b280f33"})",
                   "busy", "0", "beat", "1795219111.5", "rtt_us", "72", "quiet", "false", "rss", "30104"));
  ask(RedisCommand("HSET", concat(eight, ":work"), "ooo",
                   R"({"queue":"default","payload":"{\"class\":\"SlowJob\",\"jid\":\"54\"}","run_at":1795219323})"));
  ask(RedisCommand("HSET", concat(six, ":workers"), "oll",
                   R"({"queue":"low","payload":{"class":"SlowJob","jid":"7b"},"run_at":1795219323})"));
  const auto by = node();
  ASSERT_TRUE(store_->heartbeat(by, beat()));

  const auto nodes = store_->list_nodes().value();

  ASSERT_EQ(nodes.size(), 3U) << "and not the one that has gone";
  EXPECT_EQ(nodes[0].epoch, by);
  EXPECT_FALSE(nodes[0].foreign);
  const jobs::NodeInfo& found = nodes[1];
  EXPECT_EQ(found.identity, eight);
  EXPECT_EQ(found.epoch, 0U);
  EXPECT_TRUE(found.foreign);
  EXPECT_EQ(found.running, 1U);
  EXPECT_EQ(found.lease_left, 44s + 500ms);
  EXPECT_TRUE(found.status.quiet);
  EXPECT_EQ(found.status.version, "8.1.7");
  EXPECT_EQ(found.status.resident_bytes, 26'656U * 1024);
  const std::vector<jobs::PoolStatus> pools = {{"default", 3, jobs::QueueMode::weighted, {{"default", 2}, {"low", 1}}}};
  EXPECT_EQ(found.status.pools, pools);
  EXPECT_EQ(nodes[2].identity, six);
  EXPECT_EQ(nodes[2].status.pools.at(0).queues.size(), 2U);
  EXPECT_EQ(store_->node_jobs(eight)->at(0).payload, R"({"class":"SlowJob","jid":"54"})");
  EXPECT_EQ(store_->node_jobs(six)->at(0).payload, R"({"class":"SlowJob","jid":"7b"})");
  EXPECT_EQ(store_->node_jobs(six)->at(0).started_at, WallTime(1'795'219'323s));

  ASSERT_EQ(store_->send_signal(eight, NodeSignal::stop).value(), ItemOutcome::done);
  EXPECT_EQ(texts(RedisCommand("LRANGE", concat(eight, "-signals"), 0, -1)), std::vector<std::string>{"TERM"});
  const std::int64_t ttl = number(RedisCommand("TTL", concat(eight, "-signals")));
  EXPECT_GT(ttl, 50);
  EXPECT_LE(ttl, 60);
}

TEST_F(RedisProcesses, what_sidekiq_web_asks_of_us_comes_with_the_next_heartbeat_in_its_order) {
  const auto by = node();
  ASSERT_TRUE(store_->heartbeat(by, beat()));
  for (const char* name : {"TTIN", "USR9 x", "TSTP"}) ask(RedisCommand("LPUSH", concat(identity, "-signals"), name));

  const auto told = store_->heartbeat(by, beat()).value();

  EXPECT_EQ(told.signals, (std::vector<NodeSignal>{NodeSignal::dump, NodeSignal::quiet}));
  EXPECT_EQ(number(RedisCommand("EXISTS", concat(identity, "-signals"))), 0);
}

TEST_F(RedisProcesses, hostile_process_records_cost_nobody_anything) {
  ask(RedisCommand("SADD", "processes", "a", "b", "c", "d"));
  ask(RedisCommand("HSET", "a", "info", "not json", "beat", "soon", "busy", "-5", "rss", "99999999999999999999"));
  ask(RedisCommand("HSET", "b", "info", R"([1,{"x":)"));
  ask(RedisCommand("SET", "c", "no hash"));
  ask(RedisCommand("HSET", "d", "info",
                   R"({"queues":{"a":1},"pid":"x","capsules":[],"weights":7,"started_at":1e400})"));
  ask(RedisCommand("HSET", "a:work", "t", "[]", "u", R"({"payload":5,"queue":5})"));
  const auto nodes = store_->list_nodes();
  ASSERT_TRUE(nodes) << nodes.error().message();
  EXPECT_EQ(nodes->size(), 3U);
  EXPECT_EQ(store_->node_jobs("a")->at(0).payload, "5");
  EXPECT_TRUE(store_->node_jobs("c")->empty());
}

// --- metrics --------------------------------------------------------------------------------------------------------

TEST(RedisMetrics, a_run_is_counted_where_sidekiq_counts_it) {
  const std::pair<Duration, std::size_t> rows[] = {{0ms, 0},   {19ms, 0},      {20ms, 1},  {29ms, 1}, {30ms, 2},
                                                   {499ms, 8}, {334999ms, 24}, {335s, 25}, {10h, 25}};
  for (const auto& [took, bucket] : rows) EXPECT_EQ(redis::histogram_bucket(took), bucket) << took.count();
}

class RedisMetricsKeys : public RedisProcesses {
 protected:
  /// The node's runs of `Resize`: two that ended well after 10 and 400 ms, and one that failed.
  void run_jobs(MetricsFormat format) {
    RedisStoreOptions options;
    options.clock = &world_->clock();
    options.io = &world_->io();
    options.metrics = format;
    store_ = std::make_unique<StoreSession>(
        world_->runtime(),
        open_redis_store(world_->runtime(), conformance::shared_redis_server().url(), std::move(options)).value());
    EXPECT_EQ(store_->store().keeps_metrics(), format != MetricsFormat::none);
    world_->advance(200s);  // 00:02:06 on the 21st
    by_ = node();
    std::vector<jobs::EnqueueRequest> batch;
    for (const char* jid : {"a", "b", "c"}) {
      jobs::EnqueueRequest request;
      request.jid = jid;
      request.queue = "default";
      request.payload = concat(R"({"class":"Resize","args":[],"jid":")", jid, R"("})");
      batch.push_back(std::move(request));
    }
    ASSERT_TRUE(store_->enqueue(std::move(batch)));
    const auto taken = store_->take({by_, {"default"}, 3}).value();
    std::vector<jobs::Settlement> ends;
    ends.push_back(jobs::Settlement::finish(taken[0].token));
    ends.push_back(jobs::Settlement::finish(taken[1].token));
    ends.push_back(jobs::Settlement::retry(taken[2].token, taken[2].payload, world_->now() + 1h));
    const Duration lengths[] = {10ms, 400ms, 5s};
    for (std::size_t index = 0; index < 3; ++index) {
      ends[index].ran_class = "Resize";
      ends[index].ran_for = lengths[index];
    }
    ASSERT_TRUE(store_->settle(ends));
    ASSERT_TRUE(store_->settle(std::move(ends))) << "what was settled before is not counted again";
    ASSERT_TRUE(store_->heartbeat(by_, beat()));
  }
  /// Which of the histogram's counters are not zero.
  std::map<int, std::int64_t> histogram(const std::string& key) {
    std::map<int, std::int64_t> counters;
    for (int index = 0; index < 26; ++index) {
      const auto count = ask(RedisCommand("BITFIELD", key, "GET", "u16", concat('#', index))).items()[0].integer_or(-1);
      if (count != 0) counters.emplace(index, count);
    }
    return counters;
  }

  jobs::NodeEpoch by_ = 0;
  const std::map<std::string, std::string> counts_ = {{"Resize|p", "3"}, {"Resize|f", "1"}, {"Resize|ms", "410"}};
  const std::map<int, std::int64_t> lengths_ = {{0, 1}, {8, 1}};
};

TEST_F(RedisMetricsKeys, sidekiq_7_finds_them_by_minute) {
  run_jobs(MetricsFormat::sidekiq_7);
  EXPECT_EQ(hash("j|20261121|0:2"), counts_);
  EXPECT_EQ(histogram("Resize-21-00:2"), lengths_);
  EXPECT_LE(number(RedisCommand("TTL", "j|20261121|0:2")), 28'800);
  EXPECT_GT(number(RedisCommand("TTL", "Resize-21-00:2")), 28'700);
}

TEST_F(RedisMetricsKeys, sidekiq_8_finds_them_by_minute_and_by_ten) {
  run_jobs(MetricsFormat::sidekiq_8);
  EXPECT_EQ(hash("j|261121|0:02"), counts_);
  EXPECT_EQ(hash("j|261121|0:0"), counts_);
  EXPECT_EQ(histogram("h|Resize-21-0:2"), lengths_);
  EXPECT_GT(number(RedisCommand("TTL", "j|261121|0:0")), 259'100);
  EXPECT_LE(number(RedisCommand("TTL", "j|261121|0:02")), 28'800);
  ASSERT_TRUE(store_->retire_node(by_));
  EXPECT_EQ(hash("j|261121|0:02"), counts_) << "written once";
}

TEST_F(RedisMetricsKeys, nobody_who_did_not_ask_gets_any) {
  run_jobs(MetricsFormat::none);
  EXPECT_TRUE(texts(RedisCommand("KEYS", "j|*")).empty());
}

// --- an idle node ---------------------------------------------------------------------------------------------------

/// What clients send to the server, as MONITOR shows it; what scripts do is left out.
class Monitor {
 public:
  explicit Monitor(const std::string& url) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    const std::size_t colon = url.rfind(':');
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<std::uint16_t>(std::stoi(url.substr(colon + 1))));
    const bool connected = ::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    if (!connected || ::write(socket_, "MONITOR\r\n", 9) != 9) throw std::runtime_error("no monitor");
    EXPECT_EQ(line(), "+OK");
  }
  Monitor(const Monitor&) = delete;
  Monitor& operator=(const Monitor&) = delete;
  ~Monitor() { ::close(socket_); }

  /// The next command of a client: `evalsha 5f3c…`.
  std::string command() {
    while (true) {
      const std::string shown = line();
      if (shown.empty()) return {};
      if (shown.find(" lua] ") != std::string::npos) continue;
      const std::size_t open = shown.find("] \"");
      if (open == std::string::npos) continue;
      std::string words;
      bool quoted = false;
      for (const char c : std::string_view(shown).substr(open + 2, 100)) {
        if (c == '"')
          quoted = !quoted;
        else if (quoted || c == ' ')
          words += c;
      }
      std::ranges::transform(words, words.begin(), [](unsigned char c) { return std::tolower(c); });
      return words;
    }
  }

 private:
  std::string line() {
    while (true) {
      const std::size_t end = buffer_.find("\r\n");
      if (end != std::string::npos) {
        std::string first = buffer_.substr(0, end);
        buffer_.erase(0, end + 2);
        return first;
      }
      char bytes[4096];
      const ssize_t count = ::read(socket_, bytes, sizeof bytes);
      if (count <= 0) return {};
      buffer_.append(bytes, static_cast<std::size_t>(count));
    }
  }

  int socket_;
  std::string buffer_;
};

TEST_F(RedisProcesses, an_idle_node_of_several_pools_asks_less_than_twice_a_second) {
  // All intervals a fiftieth of the defaults: a second of a node's life is 20 ms. (But for a look for dead nodes, which
  // is a fifth of a command a second.)
  constexpr int pool_count = 4;
  RedisStoreOptions options;
  options.io = &world_->io();
  options.poll_interval = RedisStoreOptions().poll_interval / 50;
  const auto store =
      open_redis_store(world_->runtime(), conformance::shared_redis_server().url(), std::move(options)).value();
  jobs::NodeOptions node_options;
  for (int pool = 0; pool < pool_count; ++pool) node_options.pools.push_back({.queues = {concat("q", pool)}});
  node_options.promotion_interval /= 50;
  node_options.poll_interval /= 50;
  node_options.rescue_interval /= 50;
  const auto node = jobs::Node::start(world_->runtime(), *store, jobs::JobRegistry(), std::move(node_options)).value();
  const std::string peek = concat("evalsha ", redis::Scripts(true).peek.sha1());
  const std::string beat_script = concat("evalsha ", redis::Scripts(true).node_beat.sha1());

  std::map<std::string, int> counts;
  {
    Monitor monitor(conformance::shared_redis_server().url());
    constexpr int settling = 20;  // until every queue was found empty and is watched
    constexpr int seconds = 100;
    for (int looks = 0; looks < settling;) {
      const std::string command = monitor.command();
      ASSERT_NE(command, "");
      if (command.starts_with(peek)) ++looks;
    }
    const SteadyTime began = system_clock().steady_now();
    for (int looks = 0; looks < seconds;) {
      const std::string command = monitor.command();
      ASSERT_NE(command, "");
      if (command.starts_with(peek)) ++looks;
      if (command.starts_with(beat_script) || command.starts_with("zcard dead")) continue;  // a heartbeat
      ++counts[command.substr(0, 20)];
    }
    const auto lived = (system_clock().steady_now() - began) / 20ms;
    int all = 0;
    std::string shown;
    for (const auto& [command, count] : counts) {
      all += count;
      shown += concat(command, ": ", count, "\n");
    }
    EXPECT_GE(all, seconds);
    EXPECT_LE(all, 2 * lived) << shown;
  }
  node->stop(0s);
}

}  // namespace
}  // namespace dagverk::stores
