// The Redis client when things go wrong: servers that die, hang, are loading, busy, full, replicas, or no Redis at all.

#include "net/fake_redis.hpp"
#include "net/redis_probe.hpp"
#include "support/redis_server.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/net/redis_client.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace dagverk::net {
namespace {

using namespace std::chrono_literals;

class RedisFault : public testing::Test {
 protected:
  [[nodiscard]] std::unique_ptr<RedisClient> client_to(const std::string& url, RedisOptions options = {}) {
    options.url = parse_redis_url(url).value();
    options.on_state = states_.listener();
    return RedisClient::start(*io_, std::move(options)).value();
  }

  StateLog states_;
  std::unique_ptr<RedisIo> io_ = RedisIo::start({.seed = 7}).value();
};

/// Those that need a real server.
class RedisServerFault : public RedisFault {
 protected:
  void SetUp() override {
    if (!RedisServer::available()) GTEST_SKIP() << RedisServer::missing;
  }
};

[[nodiscard]] testing::AssertionResult fails_with(const Reply& reply, ErrorCode code, std::string_view words) {
  if (!reply && reply.error().code() == code && reply.error().message().find(words) != std::string_view::npos) {
    return testing::AssertionSuccess();
  }
  return testing::AssertionFailure() << shown(reply);
}

// --- real servers ----------------------------------------------------------------------------------------------------

TEST_F(RedisServerFault, what_was_sent_to_a_killed_server_is_unknown_and_the_rest_goes_to_the_next) {
  RedisServer server;
  const auto client = client_to(server.url(), {.wait_for_connection = 60s});
  ASSERT_EQ(shown(ask(*client, "PING")), "+PONG");
  server.pause();
  const std::string megabyte(1 << 20, 'x');
  std::vector<std::future<Reply>> sets;
  for (int at = 0; at < 40; ++at)
    sets.push_back(send_to(*client, RedisCommand("SET", "k" + std::to_string(at), megabyte)));
  ASSERT_TRUE(eventually([&] { return client->stats().bytes_out > (1U << 16U); })) << "some is with the system";
  server.kill();
  server.start();
  int unknown = 0;
  int done = 0;
  for (int at = 0; at < 40; ++at) {
    const Reply reply = sets[static_cast<std::size_t>(at)].get();
    if (reply) {
      ++done;
      EXPECT_EQ(shown(ask(*client, "STRLEN", "k" + std::to_string(at))), "1048576");
    } else {
      ++unknown;
      EXPECT_EQ(done, 0) << "the first ones were sent, the last ones were not";
      EXPECT_TRUE(fails_with(reply, ErrorCode::outcome_unknown, "127.0.0.1:" + std::to_string(server.port())));
      EXPECT_EQ(shown(ask(*client, "EXISTS", "k" + std::to_string(at))), "0") << "never sent twice";
    }
  }
  EXPECT_GT(unknown, 0);
  EXPECT_GT(done, 0);
  EXPECT_EQ(client->stats().lost, static_cast<std::uint64_t>(unknown));
  EXPECT_EQ(client->stats().queued_bytes, 0U);
  EXPECT_EQ(client->stats().connects, 2U);
}

TEST_F(RedisServerFault, a_server_that_was_away_is_found_again) {
  RedisServer server;
  const auto client = client_to(server.url(), {.wait_for_connection = 50ms});
  ASSERT_TRUE(states_.wait_for(RedisState::up));
  server.shut_down();
  ASSERT_TRUE(states_.wait_for(RedisState::down));
  EXPECT_TRUE(fails_with(ask(*client, "PING"), ErrorCode::unavailable, "not connected within 50 ms: "));
  server.start();
  ASSERT_TRUE(states_.wait_for(RedisState::up, 2));
  EXPECT_EQ(shown(ask(*client, "PING")), "+PONG");
  // A connection that somebody else ends is the same.
  const std::string id = shown(ask(*client, "CLIENT", "ID"));
  std::future<Reply> blocked = send_to(*client, RedisCommand("BLPOP", "none", 0), {.reply_timeout = 60s});
  const auto other = client_to(server.url());
  ASSERT_TRUE(eventually([&] {
    const Reply list = ask(*other, "CLIENT", "LIST", "ID", id);
    return list && list->text().find("cmd=blpop") != std::string_view::npos;
  }));
  ASSERT_EQ(shown(ask(*other, "CLIENT", "KILL", "ID", id)), "1");
  EXPECT_TRUE(fails_with(blocked.get(), ErrorCode::outcome_unknown, "the reply is lost"));
  ASSERT_TRUE(states_.wait_for(RedisState::up, 4)) << "the other one, too, is up";
  EXPECT_EQ(shown(send_to(*client, RedisCommand("PING")).get()), "+PONG");
}

TEST_F(RedisServerFault, a_busy_server_is_waited_for) {
  RedisServer server({.arguments = {"--lua-time-limit", "5"}});
  const auto runner = client_to(server.url(), {.reply_timeout = 60s});
  const auto client = client_to(server.url(), {.reply_timeout = 60s});
  ASSERT_EQ(shown(ask(*client, "PING")), "+PONG");
  std::future<Reply> endless = send_to(*runner, RedisScriptCall(RedisScript("while true do end")));
  Reply busy = ask(*client, "GET", "k");
  ASSERT_TRUE(eventually([&] { return !busy || !(busy = ask(*client, "GET", "k")); }));
  EXPECT_TRUE(fails_with(busy, ErrorCode::unavailable, "BUSY"));
  const auto late = client_to(server.url(), {.wait_for_connection = 50ms});
  EXPECT_TRUE(fails_with(ask(*late, "PING"), ErrorCode::unavailable, "BUSY")) << "it is not let in meanwhile";
  ASSERT_EQ(shown(ask(*client, "SCRIPT", "KILL")), "+OK");
  EXPECT_FALSE(endless.get());
  EXPECT_EQ(shown(ask(*client, "GET", "k")), "nil");
  EXPECT_EQ(client->stats().connects, 1U);
}

TEST_F(RedisServerFault, a_full_server_says_so_and_scripts_may_still_take_away) {
  RedisServer server;
  const auto client = client_to(server.url());
  ASSERT_EQ(shown(ask(*client, "LPUSH", "list", "a")), "1");
  ASSERT_EQ(shown(ask(*client, "CONFIG", "SET", "maxmemory", 1)), "+OK");
  EXPECT_TRUE(fails_with(ask(*client, "LPUSH", "list", "b"), ErrorCode::store_full, "OOM"));
  EXPECT_TRUE(fails_with(
      send_to(*client, RedisScriptCall(RedisScript("return redis.call('LPUSH', KEYS[1], 'b')")).key("list")).get(),
      ErrorCode::store_full, "OOM"));
  RedisBatch batch;
  batch.add(RedisCommand("LLEN", "list")).add(RedisCommand("SET", "k", "v"));
  const Replies transaction = transact(*client, std::move(batch));
  ASSERT_FALSE(transaction);
  EXPECT_EQ(transaction.error().code(), ErrorCode::store_full);
  // Servers before 7.0 know no flags, and let everything run that takes nothing.
  const Reply about = ask(*client, "INFO", "server");
  const bool has_flags = about.value().text().find("redis_version:6.") == std::string_view::npos;
  const RedisScript drain(concat(has_flags ? "#!lua flags=allow-oom\n" : "", "return redis.call('RPOP', KEYS[1])"));
  EXPECT_EQ(shown(send_to(*client, RedisScriptCall(drain).key("list")).get()), "\"a\"");
  EXPECT_EQ(client->stats().connects, 1U);
}

TEST_F(RedisServerFault, a_replica_is_left_and_looked_for_again) {
  RedisServer master;
  RedisServer server;
  const auto admin = client_to(server.url());
  ASSERT_EQ(shown(ask(*admin, "SET", "k", 1)), "+OK");
  StateLog states;
  RedisOptions options{
      .url = parse_redis_url(server.url()).value(), .reconnect_max = 50ms, .on_state = states.listener()};
  const auto client = RedisClient::start(*io_, std::move(options)).value();
  ASSERT_EQ(shown(ask(*client, "PING")), "+PONG");
  ASSERT_EQ(shown(ask(*admin, "REPLICAOF", "127.0.0.1", master.port())), "+OK");
  std::future<Reply> refused = send_to(*client, RedisCommand("SET", "k", 2));
  std::future<Reply> also = send_to(*client, RedisCommand("SET", "k", 3));
  EXPECT_TRUE(fails_with(refused.get(), ErrorCode::unavailable, "READONLY"));
  EXPECT_EQ(also.get().error().code(), ErrorCode::unavailable);
  ASSERT_TRUE(states.wait_for(RedisState::down));
  EXPECT_EQ(client->stats().lost, 0U) << "it waits for what is under way";
  // Only a master will do for some: they wait until it is one.
  const auto picky =
      client_to(server.url(), {.wait_for_connection = 50ms, .reconnect_max = 50ms, .require_master = true});
  EXPECT_TRUE(fails_with(ask(*picky, "PING"), ErrorCode::unavailable, "is not a master"));
  ASSERT_EQ(shown(ask(*admin, "REPLICAOF", "NO", "ONE")), "+OK");
  ASSERT_TRUE(states.wait_for(RedisState::up, 2));
  EXPECT_EQ(shown(ask(*client, "SET", "k", 4)), "+OK");
  ASSERT_TRUE(states_.wait_for(RedisState::up, 2));
  EXPECT_EQ(shown(ask(*picky, "SET", "k", 5)), "+OK");
}

TEST_F(RedisServerFault, a_reply_over_the_limit_costs_the_connection_not_the_memory) {
  RedisServer server;
  const auto client = client_to(server.url(), {.reply_bytes_max = 1 << 16, .reply_items_max = 100});
  ASSERT_EQ(shown(ask(*client, "SETRANGE", "huge", 100 << 20, "x")), "104857601");
  const std::uint64_t before = client->stats().bytes_in;
  EXPECT_TRUE(fails_with(ask(*client, "GET", "huge"), ErrorCode::too_large, "more than 65536 bytes"));
  EXPECT_LT(client->stats().bytes_in - before, 1U << 20U);
  EXPECT_EQ(shown(ask(*client, "STRLEN", "huge")), "104857601") << "on a new connection";
  EXPECT_EQ(client->stats().connects, 2U);
  RedisCommand push("RPUSH", "list");
  for (int at = 0; at < 101; ++at) push.add(at);
  ASSERT_EQ(shown(send_to(*client, push).get()), "101");
  EXPECT_TRUE(fails_with(ask(*client, "LRANGE", "list", 0, -1), ErrorCode::too_large, "more than 100 items"));
  EXPECT_EQ(ask(*client, "LRANGE", "list", 0, 99)->items().size(), 100U);
}

TEST_F(RedisServerFault, a_server_that_hangs_is_given_up) {
  RedisServer server;
  const auto client =
      client_to(server.url(), {.connect_timeout = 60s, .reply_timeout = 50ms, .wait_for_connection = 60s});
  ASSERT_EQ(shown(ask(*client, "PING")), "+PONG");
  server.pause();
  std::future<Reply> first = send_to(*client, RedisCommand("PING"));
  std::future<Reply> second = send_to(*client, RedisCommand("PING"));
  EXPECT_TRUE(fails_with(first.get(), ErrorCode::outcome_unknown, "did not answer within 50 ms"));
  EXPECT_FALSE(second.get().has_value());
  server.resume();
  EXPECT_EQ(shown(ask(*client, "PING")), "+PONG");
}

// --- servers that are none -------------------------------------------------------------------------------------------

TEST_F(RedisFault, nobody_there) {
  const UnusedPort unused;
  const std::string nobody = "redis://" + unused.address();
  const auto client = client_to(nobody, {.wait_for_connection = 50ms});
  EXPECT_TRUE(fails_with(ask(*client, "PING"), ErrorCode::unavailable,
                         "not connected within 50 ms: cannot connect to 127.0.0.1:"));
  EXPECT_EQ(client->state(), RedisState::down);
  const auto hasty = client_to(nobody, {.wait_for_connection = 0s});
  ASSERT_TRUE(states_.wait_for(RedisState::down, 2));
  EXPECT_TRUE(fails_with(ask(*hasty, "PING"), ErrorCode::unavailable, "not connected within 0 ms: cannot connect"));
  const auto lost = client_to("redis://no-such-host.invalid", {.wait_for_connection = 60s});
  ASSERT_TRUE(states_.wait_for(RedisState::down, 3));
  EXPECT_NE(states_.changes().back().cause.message().find("no-such-host.invalid"), std::string_view::npos);
}

TEST_F(RedisFault, a_loading_server_is_waited_for) {
  FakeRedis server([](FakeRedis::Connection& connection, int number) {
    if (number < 2) {
      connection.greet("-LOADING Redis is loading the dataset in memory\r\n");
      return;
    }
    if (!connection.greet()) return;
    static_cast<void>(connection.command());
    connection.say("+late\r\n");
    static_cast<void>(connection.command());
    connection.say("-LOADING Redis is loading the dataset in memory\r\n");
    connection.stay_silent();
  });
  const auto client = client_to(server.url(), {.wait_for_connection = 60s});
  EXPECT_EQ(shown(ask(*client, "GET", "k")), "+late");
  EXPECT_TRUE(fails_with(ask(*client, "GET", "k"), ErrorCode::unavailable, "LOADING"));
  ASSERT_EQ(states_.changes().size(), 2U);
  EXPECT_EQ(states_.changes()[0].state, RedisState::down);
  EXPECT_NE(states_.changes()[0].cause.message().find("LOADING"), std::string_view::npos);
  EXPECT_EQ(states_.changes()[1].state, RedisState::up);
}

TEST_F(RedisFault, one_that_never_answers_is_given_up) {
  FakeRedis silent([](FakeRedis::Connection& connection, int /*number*/) { connection.stay_silent(); });
  {
    const auto client = client_to(silent.url(), {.connect_timeout = 30ms, .wait_for_connection = 100ms});
    EXPECT_TRUE(fails_with(ask(*client, "PING"), ErrorCode::unavailable, "did not let us in within 30 ms"));
  }
  FakeRedis polite([](FakeRedis::Connection& connection, int /*number*/) {
    connection.greet();
    connection.stay_silent();
  });
  const auto client = client_to(polite.url(), {.reply_timeout = 30ms, .wait_for_connection = 60s});
  EXPECT_TRUE(fails_with(ask(*client, "GET", "k"), ErrorCode::outcome_unknown, "did not answer within 30 ms"));
}

TEST_F(RedisFault, one_that_talks_nonsense_is_left) {
  FakeRedis server([](FakeRedis::Connection& connection, int number) {
    if (number == 0) return connection.say("HTTP/1.1 400 Bad Request\r\n\r\n");
    if (number == 1) return connection.say("-ERR max number of clients reached\r\n");
    if (!connection.greet()) return;
    if (number == 2) {
      static_cast<void>(connection.command());
      connection.say("+fine\r\n");
      static_cast<void>(connection.command());
      connection.say("\x16\x03\x01 rubbish\r\n");
    } else if (number == 3) {
      static_cast<void>(connection.command());
      connection.say("$100\r\ntruncated");
    } else if (number == 4) {
      static_cast<void>(connection.command());
      connection.say("+one\r\n+one too many\r\n");
    } else {
      static_cast<void>(connection.command());
      connection.say("$9223372036854775807\r\nx");
    }
    connection.stay_silent();
  });
  const auto client = client_to(server.url(), {.reply_timeout = 60s, .wait_for_connection = 60s});
  EXPECT_EQ(shown(ask(*client, "GET", "k")), "+fine");  // connection 2: the first two were no good
  EXPECT_EQ(client->stats().connects, 1U);
  std::future<Reply> garbled = send_to(*client, RedisCommand("GET", "k"));
  EXPECT_TRUE(fails_with(garbled.get(), ErrorCode::outcome_unknown, "not Redis' protocol"));
  const std::uint64_t bytes_before = client->stats().bytes_in;
  std::future<Reply> cut = send_to(*client, RedisCommand("GET", "k"));
  ASSERT_TRUE(states_.wait_for(RedisState::up, 2));
  ASSERT_TRUE(eventually([&] { return client->stats().bytes_in >= bytes_before + 15; })) << "all of what it says";
  client->disconnect();
  EXPECT_TRUE(fails_with(cut.get(), ErrorCode::outcome_unknown, "given up"));
  EXPECT_EQ(shown(ask(*client, "GET", "k")), "+one");
  ASSERT_TRUE(states_.wait_for(RedisState::down, 4));
  EXPECT_NE(states_.changes().back().cause.message().find("unasked"), std::string_view::npos);
  EXPECT_TRUE(fails_with(ask(*client, "GET", "k"), ErrorCode::too_large, "more than"));
}

}  // namespace
}  // namespace dagverk::net
