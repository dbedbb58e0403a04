// The Redis client against real servers, started here on ports of their own.

#include "dagverk/net/redis_client.hpp"

#include "net/redis_probe.hpp"
#include "support/redis_server.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace dagverk::net {
namespace {

using namespace std::chrono_literals;

/// One server for the tests that leave it as it was, and the io thread.
class RedisClientTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (RedisServer::available()) server = std::make_unique<RedisServer>(RedisServerOptions{.socket = true});
  }
  static void TearDownTestSuite() { server.reset(); }
  void SetUp() override {
    if (server == nullptr) GTEST_SKIP() << RedisServer::missing;
    const auto client = client_to(server->url());
    ASSERT_EQ(shown(ask(*client, "FLUSHALL")), "+OK");
  }

  [[nodiscard]] std::unique_ptr<RedisClient> client_to(const std::string& url, RedisOptions options = {}) {
    options.url = parse_redis_url(url).value();
    return RedisClient::start(*io_, std::move(options)).value();
  }

  static inline std::unique_ptr<RedisServer> server;
  std::unique_ptr<RedisIo> io_ = RedisIo::start({.seed = 7}).value();
};

TEST_F(RedisClientTest, a_command_gets_its_reply) {
  const auto client = client_to(server->url());
  EXPECT_EQ(shown(ask(*client, "PING")), "+PONG");
  EXPECT_EQ(shown(ask(*client, "GET", "none")), "nil");
  const std::string bytes("a\0\r\n$5\xff", 7);
  EXPECT_EQ(shown(ask(*client, "SET", "key", bytes)), "+OK");
  EXPECT_EQ(ask(*client, "GET", "key").value(), RedisReply::of_string(bytes));
  EXPECT_EQ(shown(ask(*client, "ZADD", "set", 1.5, "m", -2, "n")), "2");
  EXPECT_EQ(shown(ask(*client, "ZRANGE", "set", 0, -1, "WITHSCORES")), R"(["n", "-2", "m", "1.5"])");
  EXPECT_EQ(ask(*client, "LPUSH", "key", "x").error().code(), ErrorCode::wrong_type);
  EXPECT_EQ(ask(*client, "NO SUCH").error().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(client->state(), RedisState::up);
  EXPECT_NE(shown(ask(*client, "CLIENT", "GETNAME")).find("dagverk"), std::string::npos);
}

TEST_F(RedisClientTest, commands_sent_together_share_writes_and_keep_their_order) {
  const auto client = client_to(server->url());
  constexpr int count = 20000;
  std::vector<std::int64_t> values;  // the io thread's, until the last one
  std::promise<void> all;
  for (int at = 0; at < count; ++at) {
    client->send(RedisCommand("INCR", "n"), [&](Reply reply) {
      values.push_back(reply ? reply->integer_or(-1) : -1);
      if (values.size() == count) all.set_value();
    });
  }
  all.get_future().get();
  EXPECT_TRUE(std::is_sorted(values.begin(), values.end()));
  EXPECT_EQ(values.front(), 1);
  EXPECT_EQ(values.back(), count);
  const RedisStats stats = client->stats();
  EXPECT_EQ(stats.commands, static_cast<std::uint64_t>(count));
  EXPECT_EQ(stats.replies, static_cast<std::uint64_t>(count));
  EXPECT_LT(stats.writes, static_cast<std::uint64_t>(count) / 2);
  EXPECT_EQ(stats.under_way, 0U);
  EXPECT_EQ(stats.queued_bytes, 0U);
}

}  // namespace
}  // namespace dagverk::net
