// The Redis client behind Sentinels: finding the master, and finding it again after a failover.

#include "net/fake_redis.hpp"
#include "net/redis_probe.hpp"
#include "support/redis_server.hpp"

#include "dagverk/net/redis_client.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace dagverk::net {
namespace {

using namespace std::chrono_literals;

class RedisSentinelTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!RedisServer::available()) GTEST_SKIP() << RedisServer::missing;
  }

  std::unique_ptr<RedisIo> io_ = RedisIo::start({.seed = 7}).value();
};

[[nodiscard]] std::string address_of(const RedisServer& server) { return "127.0.0.1:" + std::to_string(server.port()); }

/// A master, its replica, and a Sentinel that knows of both.
struct Watched {
  Watched() {
    // In this order, since a Sentinel asks only every ten seconds how a replica is.
    const bool copied = second.wait_for_log("MASTER <-> REPLICA sync: Finished with success");
    sentinel = std::make_unique<RedisServer>(RedisServerOptions{
        .sentinel = true,
        .configuration = "sentinel monitor main 127.0.0.1 " + std::to_string(first.port()) +
                         " 1\nsentinel down-after-milliseconds main 300\nsentinel failover-timeout main 3000\n"});
    if (!copied || !sentinel->wait_for_log("+slave slave")) throw std::runtime_error("there is no replica");
  }

  RedisServer first{{.configuration = "repl-diskless-sync-delay 0\n"}};
  RedisServer second{{.configuration = "replicaof 127.0.0.1 " + std::to_string(first.port()) + "\n"}};
  std::unique_ptr<RedisServer> sentinel;
};

TEST_F(RedisSentinelTest, when_the_master_dies_its_successor_is_found) {
  Watched servers;
  StateLog states;
  // The first Sentinel of the list does not run.
  const UnusedPort unused;
  const std::string url = "redis-sentinel://" + unused.address() + "," + address_of(*servers.sentinel) + "/main";
  RedisOptions options{.url = parse_redis_url(url).value(), .wait_for_connection = 60s, .on_state = states.listener()};
  const auto client = RedisClient::start(*io_, std::move(options)).value();
  ASSERT_EQ(shown(ask(*client, "SET", "k", 1)), "+OK");
  ASSERT_EQ(states.changes().back().server, address_of(servers.first));
  ASSERT_EQ(shown(ask(*client, "WAIT", 1, 60000)), "1");
  servers.first.kill();
  ASSERT_TRUE(states.wait_for(RedisState::up, 2));
  EXPECT_EQ(states.changes().back().server, address_of(servers.second));
  EXPECT_EQ(shown(ask(*client, "GET", "k")), "\"1\"");
  EXPECT_EQ(shown(ask(*client, "SET", "k", 2)), "+OK");
}

/// By asking often, or by what the Sentinel tells: then asking would come an hour later.
class RedisFailoverTest : public RedisSentinelTest, public testing::WithParamInterface<Duration> {};
INSTANTIATE_TEST_SUITE_P(Ways, RedisFailoverTest, testing::Values(50ms, 1h),
                         [](const testing::TestParamInfo<Duration>& tested) {
                           return std::string(tested.param < 1s ? "asking" : "told");
                         });

TEST_P(RedisFailoverTest, when_the_master_is_replaced_its_successor_is_found) {
  Watched servers;
  StateLog states;
  RedisOptions options{.url = parse_redis_url("redis-sentinel://" + address_of(*servers.sentinel) + "/main").value(),
                       .wait_for_connection = 60s,
                       .sentinel_check = GetParam(),
                       .on_state = states.listener()};
  const auto client = RedisClient::start(*io_, std::move(options)).value();
  ASSERT_EQ(shown(ask(*client, "SET", "k", 1)), "+OK");
  ASSERT_EQ(shown(ask(*client, "WAIT", 1, 60000)), "1");
  const auto admin = RedisClient::start(*io_, {.url = parse_redis_url(servers.sentinel->url()).value()}).value();
  // A listener, or nobody is told.
  ASSERT_TRUE(eventually([&] {
    const Reply clients = ask(*admin, "CLIENT", "LIST");
    return clients && clients->text().find(" sub=1 ") != std::string_view::npos;
  }));
  // Until the replica is known to be good.
  ASSERT_TRUE(eventually([&] { return ask(*admin, "SENTINEL", "FAILOVER", "main").has_value(); }));
  // The old master goes on for ten seconds as if nothing had happened: only the Sentinel tells.
  ASSERT_TRUE(states.wait_for(RedisState::up, 2));
  EXPECT_EQ(states.changes().back().server, address_of(servers.second));
  EXPECT_EQ(shown(ask(*client, "GET", "k")), "\"1\"");
  EXPECT_EQ(shown(ask(*client, "SET", "k", 2)), "+OK");
  EXPECT_EQ(client->stats().lost, 0U);
}

TEST_F(RedisSentinelTest, an_unknown_master_is_a_mistake_of_configuration) {
  RedisServer server;
  RedisServer sentinel(
      {.sentinel = true, .configuration = "sentinel monitor main 127.0.0.1 " + std::to_string(server.port()) + " 1\n"});
  RedisOptions options{.url = parse_redis_url("redis-sentinel://" + address_of(sentinel) + "/mian").value(),
                       .wait_for_connection = 60s};
  const auto client = RedisClient::start(*io_, std::move(options)).value();
  const Reply reply = ask(*client, "PING");
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code(), ErrorCode::configuration) << shown(reply);
  EXPECT_NE(reply.error().message().find("mian"), std::string_view::npos) << shown(reply);
}

TEST_F(RedisSentinelTest, silent_and_confused_sentinels_are_passed_over) {
  RedisServer server;
  FakeRedis silent([](FakeRedis::Connection& connection, int /*number*/) { connection.stay_silent(); });
  FakeRedis confused([](FakeRedis::Connection& connection, int /*number*/) {
    static_cast<void>(connection.command());
    connection.say("*2\r\n$1\r\nx\r\n$5\r\n99999\r\n");
    connection.stay_silent();
  });
  FakeRedis good([&server](FakeRedis::Connection& connection, int number) {
    if (number > 0) return connection.stay_silent();  // it is listened to
    EXPECT_EQ(connection.command(), (std::vector<std::string>{"AUTH", "watcher", "pw"}));
    connection.say("+OK\r\n");
    EXPECT_EQ(connection.command(), (std::vector<std::string>{"SENTINEL", "get-master-addr-by-name", "main"}));
    const std::string port = std::to_string(server.port());
    connection.say("*2\r\n$9\r\n127.0.0.1\r\n$" + std::to_string(port.size()) + "\r\n" + port + "\r\n");
    connection.stay_silent();
  });
  const auto place = [](const FakeRedis& fake) { return "127.0.0.1:" + std::to_string(fake.port()); };
  const std::string hosts = place(silent) + "," + place(confused) + "," + place(good);
  RedisOptions options{
      .url = parse_redis_url("redis-sentinel://" + hosts + "/main?sentinel_user=watcher&sentinel_password=pw").value(),
      .connect_timeout = 2s,
      .wait_for_connection = 60s};
  const auto client = RedisClient::start(*io_, std::move(options)).value();
  EXPECT_EQ(shown(ask(*client, "PING")), "+PONG");
}

}  // namespace
}  // namespace dagverk::net
