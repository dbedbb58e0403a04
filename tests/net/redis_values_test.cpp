// What a Redis client is made of, without a server: URLs, replies, commands, and the reader of hostile bytes.

#include "net/redis_reader.hpp"

#include "dagverk/net/redis_client.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <rapidcheck.h>
#include <string>
#include <utility>
#include <vector>

namespace dagverk::net {
namespace {

using Kind = RedisUrl::Kind;

TEST(RedisUrl, is_taken_apart) {
  const RedisUrl plain = parse_redis_url("redis://").value();
  EXPECT_EQ(plain.kind, Kind::tcp);
  EXPECT_EQ(plain.addresses, (std::vector<RedisAddress>{{"127.0.0.1", 6379}}));
  EXPECT_EQ(plain.database, 0U);
  EXPECT_FALSE(plain.tls);

  const RedisUrl whole =
      parse_redis_url("rediss://jobs:p%40ss/w%3Ard@[::1]:6380/2?tls_ca=/a/b.pem&tls_cert=c&tls_key=k&tls_name=db")
          .value();
  EXPECT_TRUE(whole.tls);
  EXPECT_TRUE(whole.tls_options.verify);
  EXPECT_EQ(whole.user, "jobs");
  EXPECT_EQ(whole.password, "p@ss/w:rd");
  EXPECT_EQ(whole.addresses, (std::vector<RedisAddress>{{"::1", 6380}}));
  EXPECT_EQ(whole.database, 2U);
  EXPECT_EQ(whole.tls_options.ca_file, "/a/b.pem");
  EXPECT_EQ(whole.tls_options.cert_file, "c");
  EXPECT_EQ(whole.tls_options.key_file, "k");
  EXPECT_EQ(whole.tls_options.server_name, "db");
  EXPECT_EQ(whole.shown(), "rediss://jobs@[::1]:6380/2");

  const RedisUrl file = parse_redis_url("unix://:secret@/run/a%20b.sock?db=3").value();
  EXPECT_EQ(file.kind, Kind::unix_socket);
  EXPECT_EQ(file.socket_path, "/run/a b.sock");
  EXPECT_EQ(file.password, "secret");
  EXPECT_EQ(file.user, "");
  EXPECT_EQ(file.shown(), "unix:///run/a b.sock?db=3");

  const RedisUrl watched =
      parse_redis_url("redis-sentinel://:pw@one,two:27000/main/4?sentinel_user=s&sentinel_password=t").value();
  EXPECT_EQ(watched.kind, Kind::sentinel);
  EXPECT_EQ(watched.addresses, (std::vector<RedisAddress>{{"one", 26379}, {"two", 27000}}));
  EXPECT_EQ(watched.master_name, "main");
  EXPECT_EQ(watched.database, 4U);
  EXPECT_EQ(watched.sentinel_user, "s");
  EXPECT_EQ(watched.sentinel_password, "t");
  EXPECT_EQ(watched.shown(), "redis-sentinel://one:26379,two:27000/main/4");
  EXPECT_TRUE(parse_redis_url("rediss-sentinel://one/main").value().tls);
  EXPECT_FALSE(parse_redis_url("rediss://h?tls_verify=insecure").value().tls_options.verify);
  EXPECT_EQ(parse_redis_url("redis://u@h?password_file=/run/secret").value().password_file, "/run/secret");
}

TEST(RedisUrl, what_is_wrong_is_said_without_the_password) {
  for (const char* wrong : {"",
                            "h:6379",
                            "http://h",
                            "redis://h:0",
                            "redis://h:65536",
                            "redis://h:x",
                            "redis://h:",
                            "redis://[::1",
                            "redis://[]",
                            "redis://[::1]x",
                            "redis://h/x",
                            "redis://h/-1",
                            "redis://h/9999999",
                            "redis://h?what=1",
                            "redis://h?tls_ca=x",
                            "redis://h?sentinel_user=x",
                            "rediss://h?tls_verify=no",
                            "rediss://h?tls_cert=c",
                            "redis://u@h",
                            "unix://run/x",
                            "redis-sentinel://a",
                            "redis-sentinel://a/",
                            "redis://a b",
                            "redis://%zz:x@h",
                            "redis://%4",
                            "rediss://h?tls_ca=",
                            "redis-sentinel://a/m?sentinel_user=s"}) {
    const Result<RedisUrl> url = parse_redis_url(wrong);
    ASSERT_FALSE(url) << wrong;
    EXPECT_EQ(url.error().code(), ErrorCode::configuration) << wrong;
    EXPECT_NE(url.error().message().find("type redis://"), std::string_view::npos) << url.error().message();
  }
  EXPECT_FALSE(parse_redis_url("unix:///" + std::string(120, 'x')));
  for (const char* secret : {"redis://u:canary@h:x", "redis://:canary@h/x", "redis://canary@h",
                             "redis://h?password=canary&x=1", "ftp://u:canary@h", "redis-sentinel://:canary@a"}) {
    const Result<RedisUrl> url = parse_redis_url(secret);
    ASSERT_FALSE(url) << secret;
    EXPECT_EQ(url.error().message().find("canary"), std::string_view::npos) << url.error().message();
  }
  EXPECT_EQ(parse_redis_url("redis://u:canary@h").value().shown().find("canary"), std::string::npos);
}

TEST(RedisUrl, comes_from_the_environment) {
  ASSERT_EQ(::unsetenv("REDIS_PROVIDER"), 0);
  ASSERT_EQ(::unsetenv("REDIS_URL"), 0);
  EXPECT_EQ(redis_url_from_environment().value().shown(), "redis://127.0.0.1:6379/0");
  ASSERT_EQ(::setenv("REDIS_URL", "redis://h/1", 1), 0);
  EXPECT_EQ(redis_url_from_environment().value().shown(), "redis://h:6379/1");
  ASSERT_EQ(::setenv("REDIS_PROVIDER", "OTHER_URL", 1), 0);
  EXPECT_EQ(redis_url_from_environment().error().message(), "REDIS_PROVIDER names OTHER_URL, which is not set");
  ASSERT_EQ(::setenv("OTHER_URL", "redis//typo", 1), 0);
  EXPECT_TRUE(redis_url_from_environment().error().message().starts_with("OTHER_URL: Redis URL: "));
  ASSERT_EQ(::unsetenv("REDIS_PROVIDER"), 0);
  ASSERT_EQ(::unsetenv("REDIS_URL"), 0);
}

TEST(RedisReply, is_read_with_care) {
  const RedisReply array = RedisReply::of_array(
      {RedisReply(), RedisReply::of_integer(-5), RedisReply::of_status("OK"), RedisReply::of_error("ERR no"),
       RedisReply::of_string(std::string("a\n\x01\xff", 4)), RedisReply::of_array({})});
  EXPECT_EQ(array.shown(), R"([nil, -5, +OK, -ERR no, "a\x0a\x01\xff", []])");
  EXPECT_EQ(array.as_array()->size(), 6U);
  EXPECT_EQ(array.items()[1].as_integer().value(), -5);
  EXPECT_EQ(array.items()[2].as_string().value(), "OK");
  EXPECT_EQ(array.items()[4].as_string()->size(), 4U);
  EXPECT_EQ(array.as_integer().error().code(), ErrorCode::malformed);
  EXPECT_TRUE(array.as_integer().error().message().starts_with("Redis: expected an integer, got array [nil"));
  EXPECT_EQ(array.items()[0].as_string().error().message(), "Redis: expected a string, got nil");
  EXPECT_EQ(array.items()[3].as_array().error().code(), ErrorCode::invalid_argument);
  EXPECT_EQ(array.items()[3].text(), "ERR no");
  EXPECT_EQ(array.integer_or(9), 9);
  EXPECT_TRUE(array.items()[1].text().empty());
  EXPECT_TRUE(array.items()[1].items().empty());
  RedisReply taken = RedisReply::of_string("bytes");
  EXPECT_EQ(taken.take_text(), "bytes");
  EXPECT_TRUE(taken.is_nil());
  const std::string huge =
      RedisReply::of_array(std::vector<RedisReply>(1000, RedisReply::of_string(std::string(500, 'x')))).shown();
  EXPECT_LT(huge.size(), 700U);
}

TEST(RedisReply, an_error_says_what_one_can_do) {
  const auto code = [](std::string_view text) { return redis_error(text).code(); };
  EXPECT_EQ(code("LOADING Redis is loading the dataset in memory"), ErrorCode::unavailable);
  EXPECT_EQ(code("BUSY Redis is busy running a script"), ErrorCode::unavailable);
  EXPECT_EQ(code("READONLY You can't write against a read only replica."), ErrorCode::unavailable);
  EXPECT_EQ(code("OOM command not allowed when used memory > 'maxmemory'."), ErrorCode::store_full);
  EXPECT_EQ(code("MISCONF Redis is configured to save RDB snapshots"), ErrorCode::store_full);
  EXPECT_EQ(code("NOPERM this user has no permissions"), ErrorCode::permission);
  EXPECT_EQ(code("WRONGTYPE Operation against a key"), ErrorCode::wrong_type);
  EXPECT_EQ(code("NOSCRIPT No matching script."), ErrorCode::not_found);
  EXPECT_EQ(code("ERR wrong number of arguments"), ErrorCode::invalid_argument);
  EXPECT_EQ(code("FENCED by somebody"), ErrorCode::refused);
  EXPECT_EQ(code(""), ErrorCode::refused);
  // How Redis 6.2 tells of an error inside a script.
  EXPECT_EQ(code("ERR Error running script (call to f_1): @user_script:1: -OOM command not allowed"),
            ErrorCode::store_full);
  EXPECT_EQ(code("ERR Error running script (call to f_1): @user_script:7: @user_script: 7: -MISCONF Errors writing"),
            ErrorCode::store_full);
  EXPECT_EQ(code("ERR Error running script (call to f_1): @user_script:10: WRONGTYPE Operation against a key"),
            ErrorCode::wrong_type);
  EXPECT_EQ(code("ERR Error running script (call to f_1): @user_script:1: user_script:1: x"),
            ErrorCode::invalid_argument);
  EXPECT_EQ(code("ERR Error running script (call to f_1): @user_script:1:"), ErrorCode::invalid_argument);
  EXPECT_EQ(redis_error("ERR \x1b[31m\n").message(), R"(Redis: ERR \x1b[31m\x0a)");
}

TEST(RedisCommand, is_encoded_as_the_protocol_has_it) {
  const auto wire = [](const auto& command) {
    std::string out;
    command.encode(out);
    return out;
  };
  RedisCommand command("SET", "a b", std::string("\0\r\n", 3), -7, 0.1, std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(wire(command), std::string("*6\r\n$3\r\nSET\r\n$3\r\na b\r\n$3\r\n\0\r\n\r\n$2\r\n-7\r\n$3\r\n0.1\r\n"
                                       "$20\r\n18446744073709551615\r\n",
                                       75));
  EXPECT_EQ(command.words(), 6U);
  EXPECT_EQ(command.name(), "SET");
  for (int more = 0; more < 200; ++more) {
    EXPECT_EQ(command.size_bytes(), wire(command).size());
    command.add("x");
  }
  EXPECT_EQ(wire(RedisCommand("")), "*1\r\n$0\r\n\r\n");
  EXPECT_EQ(RedisCommand("").name(), "");

  const RedisScript script("return 1");
  EXPECT_EQ(script.sha1(), "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
  const RedisScriptCall call = RedisScriptCall(script).key("k").arg(5).arg("v");
  std::string by_name;
  call.encode(by_name, false);
  EXPECT_EQ(by_name,
            "*6\r\n$7\r\nEVALSHA\r\n$40\r\ne0e1f9fabfc9d4800c877a703b823ac0578ff8db\r\n$1\r\n1\r\n$1\r\nk\r\n"
            "$1\r\n5\r\n$1\r\nv\r\n");
  std::string with_text;
  call.encode(with_text, true);
  EXPECT_EQ(with_text, "*6\r\n$4\r\nEVAL\r\n$8\r\nreturn 1\r\n$1\r\n1\r\n$1\r\nk\r\n$1\r\n5\r\n$1\r\nv\r\n");
}

// --- the reader ------------------------------------------------------------------------------------------------------

/// What a reader makes of bytes that come in pieces: the replies, then the error if there is one.
[[nodiscard]] std::vector<std::string> read_all(std::string_view bytes, std::size_t piece, std::size_t bytes_max = 1000,
                                                std::size_t items_max = 100) {
  RedisReader reader(bytes_max, items_max);
  std::vector<std::string> seen;
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    reader.feed(bytes.substr(at, piece));
    for (;;) {
      Result<std::optional<RedisReply>> reply = reader.next();
      if (!reply) {
        seen.emplace_back(to_string(reply.error().code()));
        return seen;
      }
      if (!*reply) break;
      seen.push_back((*reply)->shown());
    }
  }
  return seen;
}

TEST(RedisReader, replies_come_whole_however_their_bytes_come) {
  const std::string bytes =
      "+OK\r\n-ERR "
      "x\r\n:-12\r\n$-1\r\n$3\r\na\nb\r\n*-1\r\n*0\r\n*3\r\n$0\r\n\r\n*2\r\n:1\r\n*1\r\n+deep\r\n$1\r\nz\r\n";
  const std::vector<std::string> expected = {"+OK",         "-ERR x", "-12", "nil",
                                             R"("a\x0ab")", "nil",    "[]",  R"(["", [1, [+deep]], "z"])"};
  for (std::size_t piece = 1; piece <= bytes.size(); ++piece) EXPECT_EQ(read_all(bytes, piece), expected) << piece;
}

TEST(RedisReader, what_is_too_large_is_refused_before_it_comes) {
  const auto last = [](std::string_view bytes) { return read_all(bytes, 7).back(); };
  EXPECT_EQ(last("$1001\r\n"), "too_large");
  EXPECT_EQ(last("$9223372036854775807\r\n"), "too_large");
  EXPECT_EQ(last("*101\r\n"), "too_large");
  EXPECT_EQ(last("*2147483647\r\n"), "too_large");
  EXPECT_EQ(last("*60\r\n*60\r\n"), "too_large");
  EXPECT_EQ(last("*2\r\n$900\r\n" + std::string(900, 'x') + "\r\n$101\r\n"), "too_large");
  EXPECT_EQ(last("+" + std::string(1100, 'x')), "too_large") << "a line without an end";
  EXPECT_EQ(read_all("$1000\r\n" + std::string(1000, 'x') + "\r\n:1\r\n", 64).back(), "1")
      << "the bound itself is fine";
}

TEST(RedisReader, what_is_not_the_protocol_is_refused) {
  for (const char* wrong : {"HTTP/1.1 400 Bad Request\r\n", "%1\r\n", "$-5\r\n", "$x\r\n", ":1x\r\n", "*-2\r\n", "\r\n",
                            "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", "*2\r\n:1\r\n?\r\n"}) {
    EXPECT_EQ(read_all(wrong, 3).back(), "malformed") << wrong;
  }
}

TEST(RedisReader, no_bytes_break_it_and_pieces_do_not_matter) {
  EXPECT_TRUE(rc::check("hostile bytes end in replies, an error, or waiting, the same in any pieces", [] {
    // Bits of the protocol in any order reach deeper than random bytes.
    const auto parts = *rc::gen::container<std::vector<std::string>>(rc::gen::element<std::string>(
        "+OK\r\n", ":1\r\n", "$3\r\nabc\r\n", "$-1\r\n", "*2\r\n", "*1\r\n", "*0\r\n", "-ERR\r\n", "$5\r\n", "*50\r\n",
        "\r\n", "$", "*", "\r", std::string("\0", 1), "12", "$999\r\n", "\xff"));
    std::string bytes;
    for (const std::string& part : parts) bytes += part;
    const auto piece = *rc::gen::inRange<std::size_t>(1, 40);
    const std::vector<std::string> whole = read_all(bytes, std::max<std::size_t>(bytes.size(), 1));
    const std::vector<std::string> pieces = read_all(bytes, piece);
    RC_ASSERT(whole == pieces);
  }));
}

}  // namespace
}  // namespace dagverk::net
