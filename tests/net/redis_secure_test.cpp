// The Redis client over TLS: certificates that are good, foreign, for another name, or asked for.

#include "net/redis_probe.hpp"
#include "support/redis_server.hpp"

#include "dagverk/net/redis_client.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <utility>

namespace dagverk::net {
namespace {

using namespace std::chrono_literals;

/// An authority and certificates signed by it, made with the openssl command.
class Certificates {
 public:
  Certificates() {
    make("ca", "", "basicConstraints=critical,CA:TRUE");
    make("foreign", "", "basicConstraints=critical,CA:TRUE");
    make("local", "ca", "subjectAltName=IP:127.0.0.1,DNS:localhost");
    make("elsewhere", "ca", "subjectAltName=DNS:redis.example");
    make("ours", "ca", "subjectAltName=DNS:worker");
  }

  [[nodiscard]] std::string cert(const std::string& name) const { return folder_.file(name + ".crt"); }
  [[nodiscard]] std::string key(const std::string& name) const { return folder_.file(name + ".key"); }
  [[nodiscard]] std::string configuration(const std::string& name, const std::string& clients) const {
    return "tls-cert-file " + cert(name) + "\ntls-key-file " + key(name) + "\ntls-ca-cert-file " + cert("ca") +
           "\ntls-auth-clients " + clients + "\n";
  }

 private:
  void make(const std::string& name, const std::string& authority, const std::string& extension) const {
    std::string command =
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -noenc -days 2 -subj /CN=" + name +
        " -addext " + extension + " -keyout " + key(name) + " -out " + cert(name);
    if (!authority.empty()) command += " -CA " + cert(authority) + " -CAkey " + key(authority);
    if (std::system((command + " >" + folder_.file("log") + " 2>&1").c_str()) != 0) {
      throw std::runtime_error("openssl fails: " + command);
    }
  }

  TemporaryFolder folder_;
};

class RedisTlsTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (RedisServer::available()) certificates = std::make_unique<Certificates>();
  }
  static void TearDownTestSuite() { certificates.reset(); }
  void SetUp() override {
    if (certificates == nullptr) GTEST_SKIP() << RedisServer::missing;
  }

  [[nodiscard]] Reply ping(const RedisServer& server, const std::string& rest) {
    RedisOptions options{.url = parse_redis_url("rediss://127.0.0.1:" + std::to_string(server.port()) + rest).value(),
                         .wait_for_connection = 200ms};
    const auto client = RedisClient::start(*io_, std::move(options)).value();
    return ask(*client, "PING");
  }

  static inline std::unique_ptr<Certificates> certificates;
  std::unique_ptr<RedisIo> io_ = RedisIo::start().value();
};

TEST_F(RedisTlsTest, the_right_server_is_talked_to) {
  RedisServer server({.tls = true, .configuration = certificates->configuration("local", "no")});
  const std::string ca = "?tls_ca=" + certificates->cert("ca");
  RedisOptions options{.url = parse_redis_url("rediss://localhost:" + std::to_string(server.port()) + ca).value(),
                       .wait_for_connection = 60s};
  const auto client = RedisClient::start(*io_, std::move(options)).value();
  ASSERT_EQ(shown(ask(*client, "PING")), "+PONG");
  EXPECT_EQ(shown(ping(server, ca)), "+PONG") << "by its address";
  // Much more than a TLS record, both ways, in order.
  const std::string large(5 << 20, 'x');
  std::vector<std::future<Reply>> replies;
  for (int at = 0; at < 1000; ++at) replies.push_back(send_to(*client, RedisCommand("INCR", "n")));
  ASSERT_EQ(shown(ask(*client, "SET", "large", large)), "+OK");
  EXPECT_EQ(ask(*client, "GET", "large").value().text(), large);
  for (int at = 0; at < 1000; ++at) {
    EXPECT_EQ(replies[static_cast<std::size_t>(at)].get()->integer_or(0), at + 1);
  }
}

TEST_F(RedisTlsTest, a_server_that_is_not_who_it_should_be_is_refused) {
  RedisServer server({.tls = true, .configuration = certificates->configuration("elsewhere", "no")});
  const auto refused = [&](const std::string& options, std::string_view words) {
    const Reply reply = ping(server, options);
    EXPECT_FALSE(reply) << options;
    EXPECT_EQ(reply.error().code(), ErrorCode::permission) << shown(reply);
    EXPECT_NE(reply.error().message().find(words), std::string_view::npos) << shown(reply);
  };
  const std::string ca = "?tls_ca=" + certificates->cert("ca");
  refused(ca, "IP address mismatch");
  refused(ca + "&tls_name=other.example", "hostname mismatch");
  refused("?tls_name=redis.example", "is not accepted");  // the system's authorities do not know ours
  refused("?tls_name=redis.example&tls_ca=" + certificates->cert("foreign"), "is not accepted");
  EXPECT_EQ(shown(ping(server, ca + "&tls_name=redis.example")), "+PONG");
  EXPECT_EQ(shown(ping(server, "?tls_verify=insecure")), "+PONG") << "spelled out";
}

TEST_F(RedisTlsTest, a_server_may_ask_for_our_certificate) {
  RedisServer server({.tls = true, .configuration = certificates->configuration("local", "yes")});
  const std::string ca = "?tls_ca=" + certificates->cert("ca");
  const Reply without = ping(server, ca);
  ASSERT_FALSE(without);
  EXPECT_EQ(without.error().code(), ErrorCode::permission) << shown(without);
  EXPECT_EQ(
      shown(ping(server, ca + "&tls_cert=" + certificates->cert("ours") + "&tls_key=" + certificates->key("ours"))),
      "+PONG");
  EXPECT_FALSE(
      ping(server, ca + "&tls_cert=" + certificates->cert("foreign") + "&tls_key=" + certificates->key("foreign")));
}

TEST_F(RedisTlsTest, plain_and_tls_do_not_mix) {
  RedisServer plain;
  const Reply reply = ping(plain, "?tls_verify=insecure");
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code(), ErrorCode::unavailable) << shown(reply);
  RedisServer server({.tls = true, .configuration = certificates->configuration("local", "no")});
  RedisOptions options{.url = parse_redis_url(server.url()).value(), .wait_for_connection = 200ms};
  const auto client = RedisClient::start(*io_, std::move(options)).value();
  const Reply other = ask(*client, "PING");
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code(), ErrorCode::unavailable) << shown(other);
}

}  // namespace
}  // namespace dagverk::net
