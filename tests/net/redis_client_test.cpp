// The Redis client against real servers, started here on ports of their own.

#include "dagverk/net/redis_client.hpp"

#include "net/redis_probe.hpp"
#include "support/redis_server.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
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

TEST_F(RedisClientTest, callbacks_may_send) {
  const auto client = client_to(server->url());
  std::promise<std::int64_t> last;
  std::function<void(int)> next = [&](int left) {
    client->send(RedisCommand("INCR", "n"), [&, left](Reply reply) {
      if (left == 1) {
        last.set_value(reply->integer_or(-1));
      } else {
        next(left - 1);
      }
    });
  };
  next(100);
  EXPECT_EQ(last.get_future().get(), 100);
}

TEST_F(RedisClientTest, many_threads_may_send) {
  const auto client = client_to(server->url());
  std::atomic<int> done{0};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&] {
      for (int at = 0; at < 2000; ++at) {
        client->send(RedisCommand("INCR", "n"), [&](const Reply& reply) { done += reply ? 1 : 0; });
      }
      EXPECT_TRUE(ask(*client, "PING"));
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(done.load(), 8000);
  EXPECT_EQ(shown(ask(*client, "GET", "n")), "\"8000\"");
}

TEST_F(RedisClientTest, a_batch_gets_a_reply_for_each_command) {
  const auto client = client_to(server->url());
  RedisBatch batch;
  batch.add(RedisCommand("SET", "k", "v")).add(RedisCommand("INCR", "k")).add(RedisCommand("GET", "k"));
  const Replies replies = ask(*client, std::move(batch));
  ASSERT_TRUE(replies) << replies.error().message();
  EXPECT_EQ(RedisReply::of_array(*replies).shown(), R"([+OK, -ERR value is not an integer or out of range, "v"])");
  EXPECT_EQ(ask(*client, RedisBatch()).error().code(), ErrorCode::invalid_argument);
}

TEST_F(RedisClientTest, a_transaction_is_done_whole_or_not) {
  const auto client = client_to(server->url());
  RedisBatch good;
  good.add(RedisCommand("INCR", "a")).add(RedisCommand("LPUSH", "a", "x")).add(RedisCommand("INCR", "a"));
  const Replies replies = transact(*client, std::move(good));
  ASSERT_TRUE(replies) << replies.error().message();
  ASSERT_EQ(replies->size(), 3U);
  EXPECT_EQ((*replies)[0].integer_or(0), 1);
  EXPECT_TRUE((*replies)[1].is_error());
  EXPECT_EQ((*replies)[2].integer_or(0), 2);

  RedisBatch bad;
  bad.add(RedisCommand("INCR", "a")).add(RedisCommand("NOSUCH"));
  const Replies refused = transact(*client, std::move(bad));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), ErrorCode::invalid_argument);
  EXPECT_NE(refused.error().message().find("NOSUCH"), std::string_view::npos) << "the cause, not EXECABORT";
  EXPECT_EQ(shown(ask(*client, "GET", "a")), "\"2\"");

  RedisBatch with_script;
  with_script.add(RedisScriptCall(RedisScript("return 1")));
  EXPECT_EQ(transact(*client, std::move(with_script)).error().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(transact(*client, RedisBatch()).error().code(), ErrorCode::invalid_argument);
}

TEST_F(RedisClientTest, a_script_that_the_server_does_not_know_is_sent_once_more) {
  const RedisScript add("return redis.call('INCRBY', KEYS[1], ARGV[1])");
  const RedisScript fail("return redis.error_reply('FENCED not yours')");
  const auto client = client_to(server->url());
  const auto run = [&](int number) { return send_to(*client, RedisScriptCall(add).key("n").arg(number)).get(); };
  ASSERT_EQ(shown(ask(*client, "SCRIPT", "FLUSH")), "+OK");
  EXPECT_EQ(shown(run(2)), "2");
  EXPECT_EQ(client->stats().scripts_resent, 1U);
  EXPECT_EQ(shown(run(3)), "5");
  EXPECT_EQ(client->stats().scripts_resent, 1U) << "it is known now";
  EXPECT_EQ(send_to(*client, RedisScriptCall(fail)).get().error().code(), ErrorCode::refused);

  ASSERT_EQ(shown(ask(*client, "SCRIPT", "FLUSH")), "+OK");
  RedisBatch batch;
  batch.add(RedisCommand("PING"))
      .add(RedisScriptCall(add).key("n").arg(10))
      .add(RedisCommand("ECHO", "x"))
      .add(RedisScriptCall(add).key("n").arg(20));
  const Replies replies = ask(*client, std::move(batch));
  ASSERT_TRUE(replies) << replies.error().message();
  EXPECT_EQ(RedisReply::of_array(*replies).shown(), R"([+PONG, 15, "x", 35])");
  EXPECT_EQ(client->stats().under_way, 0U);

  // Scripts of the options are known from the start, and again after each connect.
  ASSERT_EQ(shown(ask(*client, "SCRIPT", "FLUSH")), "+OK");
  const auto prepared = client_to(server->url(), {.scripts = {add, fail}});
  EXPECT_EQ(shown(send_to(*prepared, RedisScriptCall(add).key("n").arg(1)).get()), "36");
  EXPECT_EQ(prepared->stats().scripts_resent, 0U);
  const auto broken = client_to(server->url(), {.wait_for_connection = 60s, .scripts = {RedisScript("syntax error(")}});
  EXPECT_EQ(ask(*broken, "PING").error().code(), ErrorCode::configuration);
}

TEST_F(RedisClientTest, a_unix_socket_and_a_database_are_as_good) {
  const auto client = client_to("unix://" + server->socket_path() + "?db=3", {.name = "by-file"});
  EXPECT_EQ(shown(ask(*client, "SET", "k", "three")), "+OK");
  EXPECT_EQ(shown(ask(*client, "CLIENT", "GETNAME")), "\"by-file\"");
  const auto tcp = client_to(server->url() + "/3");
  EXPECT_EQ(shown(ask(*tcp, "GET", "k")), "\"three\"");
  EXPECT_EQ(shown(ask(*client_to(server->url()), "GET", "k")), "nil");
  const auto beyond = client_to(server->url() + "/99", {.wait_for_connection = 60s});
  EXPECT_EQ(ask(*beyond, "PING").error().code(), ErrorCode::configuration);
  const auto nowhere = client_to("unix:///nowhere/socket", {.wait_for_connection = 20ms});
  const Reply none = ask(*nowhere, "PING");
  EXPECT_EQ(none.error().code(), ErrorCode::unavailable);
  EXPECT_NE(none.error().message().find("/nowhere/socket"), std::string_view::npos);
}

TEST_F(RedisClientTest, users_get_in_with_their_password_only) {
  const auto admin = client_to(server->url());
  ASSERT_EQ(shown(ask(*admin, "ACL", "SETUSER", "jobs", "on", ">can@ry", "~queue:*", "+lpush", "+llen")), "+OK");
  const std::string place = "127.0.0.1:" + std::to_string(server->port());

  // No right to CLIENT, to PING or to SELECT 0: none is needed.
  const auto user = client_to("redis://jobs:can%40ry@" + place);
  EXPECT_EQ(shown(ask(*user, "LPUSH", "queue:a", "x")), "1");
  EXPECT_EQ(ask(*user, "LPUSH", "other", "x").error().code(), ErrorCode::permission);
  EXPECT_EQ(ask(*user, "FLUSHALL").error().code(), ErrorCode::permission);

  const TemporaryFolder folder;
  const auto write = [&](std::string_view text) {
    std::ofstream(folder.file("secret"), std::ios::binary) << text;
    return "redis://jobs@" + place + "?password_file=" + folder.file("secret");
  };
  EXPECT_EQ(shown(ask(*client_to(write("can@ry\n")), "LLEN", "queue:a")), "1");

  StateLog states;
  for (const std::string& url : {write("wr0ng\n"), "redis://jobs:wr0ng@" + place, "redis://nobody:wr0ng@" + place,
                                 "redis://:wr0ng@" + place, write("")}) {
    const auto client = client_to(url, {.wait_for_connection = 60s, .on_state = states.listener()});
    const Reply refused = ask(*client, "LLEN", "queue:a");  // at once, not after a minute
    ASSERT_FALSE(refused) << url;
    EXPECT_EQ(refused.error().code(), url == write("") ? ErrorCode::configuration : ErrorCode::permission)
        << shown(refused);
    EXPECT_EQ(refused.error().message().find("wr0ng"), std::string_view::npos) << shown(refused);
    EXPECT_EQ(client->state(), RedisState::down);
  }
  for (const RedisStateChange& change : states.changes()) {
    EXPECT_EQ(change.cause.message().find("wr0ng"), std::string_view::npos) << change.cause.message();
  }
  // Once the password is right, it gets in by itself.
  const std::string url = write("wr0ng");
  StateLog log;
  const auto patient = client_to(url, {.reconnect_max = 50ms, .on_state = log.listener()});
  ASSERT_TRUE(log.wait_for(RedisState::down));
  ASSERT_EQ(write("can@ry"), url);
  ASSERT_TRUE(log.wait_for(RedisState::up));
  EXPECT_EQ(shown(ask(*patient, "LLEN", "queue:a")), "1");
  ASSERT_EQ(shown(ask(*admin, "ACL", "DELUSER", "jobs")), "1");
}

TEST_F(RedisClientTest, a_blocking_command_is_interrupted_without_loss) {
  const auto client = client_to(server->url());
  const auto blocked = client_to(server->url(), {.reply_timeout = 50ms});
  // It gets what comes, though that takes longer than other replies may.
  std::future<Reply> moved =
      send_to(*blocked, RedisCommand("BLMOVE", "a", "b", "RIGHT", "LEFT", 0), {.reply_timeout = 60s});
  EXPECT_EQ(shown(ask(*client, "BLPOP", "none", "0.1")), "nil");
  EXPECT_EQ(shown(ask(*client, "LPUSH", "a", "job")), "1");
  EXPECT_EQ(shown(moved.get()), "\"job\"");

  // However early the interruption comes, the call ends, and the connection stays.
  for (int round = 0; round < 50; ++round) {
    std::future<Reply> waiting =
        send_to(*blocked, RedisCommand("BLMOVE", "a", "b", "RIGHT", "LEFT", 0), {.reply_timeout = 60s});
    blocked->interrupt(*client);
    const Reply reply = waiting.get();
    if (reply) {
      EXPECT_TRUE(reply->is_nil()) << shown(reply);
    } else {
      EXPECT_EQ(reply.error().code(), ErrorCode::cancelled) << shown(reply);  // it had not been sent yet
    }
  }
  blocked->interrupt(*client);  // nothing to interrupt
  EXPECT_EQ(shown(ask(*blocked, "PING")), "+PONG");
  EXPECT_EQ(blocked->stats().connects, 1U);
  EXPECT_EQ(blocked->stats().lost, 0U);

  // Without the right to CLIENT, the connection is what is given up.
  ASSERT_EQ(shown(ask(*client, "ACL", "SETUSER", "mover", "on", "nopass", "~*", "+blmove", "+ping")), "+OK");
  const auto limited = client_to("redis://mover:any@127.0.0.1:" + std::to_string(server->port()));
  ASSERT_EQ(shown(ask(*limited, "PING")), "+PONG");
  const std::uint64_t bytes_before = limited->stats().bytes_out;
  std::future<Reply> given_up =
      send_to(*limited, RedisCommand("BLMOVE", "a", "b", "RIGHT", "LEFT", 0), {.reply_timeout = 60s});
  ASSERT_TRUE(eventually([&] { return limited->stats().bytes_out > bytes_before; }));
  limited->interrupt(*client);
  const Reply lost = given_up.get();
  ASSERT_FALSE(lost);
  EXPECT_EQ(lost.error().code(), ErrorCode::outcome_unknown) << shown(lost);
  EXPECT_EQ(shown(ask(*limited, "PING")), "+PONG");
}

TEST_F(RedisClientTest, what_is_too_much_is_refused_at_once) {
  server->pause();
  auto client = client_to(server->url(), {.queued_bytes_max = 1000, .commands_max = 3});
  const Reply large = ask(*client, "SET", "k", std::string(1000, 'x'));
  EXPECT_EQ(large.error().code(), ErrorCode::refused) << shown(large);
  std::vector<std::future<Reply>> waiting;
  for (int at = 0; at < 3; ++at) waiting.push_back(send_to(*client, RedisCommand("PING")));
  EXPECT_EQ(ask(*client, "PING").error().code(), ErrorCode::refused);
  EXPECT_EQ(client->stats().under_way, 3U);
  // The client's end is the end of what waits.
  client.reset();
  for (std::future<Reply>& one : waiting) EXPECT_EQ(one.get().error().code(), ErrorCode::cancelled);
  server->resume();
}

TEST_F(RedisClientTest, its_end_tells_apart_what_was_sent) {
  auto client = client_to(server->url());
  ASSERT_EQ(shown(ask(*client, "PING")), "+PONG");
  const std::uint64_t before = client->stats().bytes_out;
  std::future<Reply> sent = send_to(*client, RedisCommand("BLPOP", "none", 0), {.reply_timeout = 60s});
  ASSERT_TRUE(eventually([&] { return client->stats().bytes_out > before; }));
  client.reset();
  EXPECT_EQ(sent.get().error().code(), ErrorCode::outcome_unknown);
}

TEST_F(RedisClientTest, options_are_checked) {
  const auto said = [&](RedisOptions options) {
    const auto client = RedisClient::start(*io_, std::move(options));
    return client ? std::string("started") : std::string(client.error().message());
  };
  const RedisUrl url = parse_redis_url(server->url()).value();
  EXPECT_EQ(said({}), "Redis client: url has no server; use parse_redis_url()");
  EXPECT_EQ(said({.url = url, .name = "a b"}), "Redis client: name must have no blanks");
  EXPECT_EQ(said({.url = url, .reply_timeout = 0s}), "Redis client: reply_timeout must be more than 0");
  EXPECT_EQ(said({.url = url, .reconnect_first = 2s}), "Redis client: reconnect_max must not be below reconnect_first");
  EXPECT_EQ(said({.url = url, .commands_max = 0}), "Redis client: commands_max must be 1 or more, got 0");
  EXPECT_EQ(said({.url = parse_redis_url("rediss://h?tls_ca=/none.pem").value()}).find("Redis URL: tls_ca /none.pem: "),
            0U);
}

}  // namespace
}  // namespace dagverk::net
