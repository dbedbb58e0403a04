// The HTTP client against real far ends on the loopback interface: answers, stalls, deaf and missing ends, bad answers.

#include "dagverk/net/http_client.hpp"

#include "net/far_server.hpp"

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>
#include <vector>

namespace dagverk::net {
namespace {

using namespace std::chrono_literals;
using Mood = FarServer::Mood;

[[nodiscard]] std::unique_ptr<HttpClient> client_with(HttpClientOptions options = {}) {
  return HttpClient::start(options).value();
}

[[nodiscard]] Result<HttpResponse> answer_to(HttpClient& client, HttpRequest request, Duration limit = 60s) {
  std::promise<Result<HttpResponse>> promise;
  client.send(std::move(request), limit, [&](Result<HttpResponse> result) { promise.set_value(std::move(result)); });
  return promise.get_future().get();
}

[[nodiscard]] HttpRequest post_to(const FarServer& server, std::string body) {
  return {.url = parse_http_url(server.url("/push?x=1")).value(),
          .method = "POST",
          .headers = {{"Content-Type", "text/plain"}},
          .body = std::move(body)};
}

TEST(HttpUrl, is_taken_apart) {
  const HttpUrl plain = parse_http_url("http://logs.example").value();
  EXPECT_EQ(plain.host, "logs.example");
  EXPECT_EQ(plain.port, 80);
  EXPECT_EQ(plain.target, "/");
  EXPECT_EQ(plain.authority(), "logs.example");
  const HttpUrl whole = parse_http_url("http://[::1]:3100/a/b?c=d#e").value();
  EXPECT_EQ(whole.host, "::1");
  EXPECT_EQ(whole.port, 3100);
  EXPECT_EQ(whole.target, "/a/b?c=d");
  EXPECT_EQ(whole.authority(), "[::1]:3100");
  EXPECT_EQ(parse_http_url("http://h?q").value().target, "/?q");
}

TEST(HttpUrl, what_is_wrong_is_said_and_what_to_type) {
  const auto said = [](const char* text) { return std::string(parse_http_url(text).error().message()); };
  for (const char* wrong : {"", "logs:3100", "ftp://logs", "http://", "http://:80", "http://h:0", "http://h:65536",
                            "http://h:x", "http://h:", "http://a b", "http://[::1", "http://[::1]x", "http://u:p@h/"}) {
    const Result<HttpUrl> url = parse_http_url(wrong);
    ASSERT_FALSE(url) << wrong;
    EXPECT_EQ(url.error().code(), ErrorCode::configuration) << wrong;
    EXPECT_NE(said(wrong).find("type http://HOST[:PORT][/PATH]"), std::string::npos) << said(wrong);
  }
  EXPECT_EQ(parse_http_url("https://logs").error().code(), ErrorCode::unsupported);
  EXPECT_NE(said("https://logs").find("no TLS"), std::string::npos);
}

TEST(HttpClient, a_request_gets_its_answer) {
  FarServer server(
      Mood::answers,
      "HTTP/1.1 429 Slow Down\r\nRetry-After: 7\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
  const auto client = client_with();
  const Result<HttpResponse> answer = answer_to(*client, post_to(server, "two\nlines"));
  ASSERT_TRUE(answer) << answer.error().message();
  EXPECT_EQ(answer->status, 429U);
  EXPECT_EQ(answer->reason, "Slow Down");
  EXPECT_EQ(answer->header("retry-after"), "7");
  EXPECT_EQ(answer->header("none"), "");
  EXPECT_EQ(answer->body, "abc");
  ASSERT_EQ(server.seen().size(), 1U);
  const FarServer::Seen seen = server.seen()[0];
  EXPECT_TRUE(seen.head.starts_with("POST /push?x=1 HTTP/1.1\r\n")) << seen.head;
  EXPECT_NE(seen.head.find("Host: 127.0.0.1:" + std::to_string(server.port())), std::string::npos) << seen.head;
  EXPECT_NE(seen.head.find("Content-Type: text/plain"), std::string::npos) << seen.head;
  EXPECT_EQ(seen.body, "two\nlines");
}

TEST(HttpClient, a_far_end_that_stalls_costs_the_read_timeout) {
  FarServer server(Mood::stalls);
  const auto client = client_with({.read_timeout = 50ms});
  const Result<HttpResponse> answer = answer_to(*client, post_to(server, "x"));
  EXPECT_EQ(answer.error().code(), ErrorCode::timeout);
  EXPECT_EQ(answer.error().message(), "127.0.0.1:" + std::to_string(server.port()) + " did not answer within 50 ms");
}

TEST(HttpClient, a_far_end_that_never_reads_costs_the_write_timeout) {
  FarServer server(Mood::deaf);
  const auto client = client_with({.write_timeout = 50ms});
  const Result<HttpResponse> answer = answer_to(*client, post_to(server, std::string(64 << 20, 'x')));
  EXPECT_EQ(answer.error().code(), ErrorCode::timeout);
  EXPECT_NE(answer.error().message().find("did not take the request"), std::string_view::npos);
}

TEST(HttpClient, the_callers_limit_is_kept_whatever_the_steps_may_take) {
  FarServer server(Mood::stalls);
  const auto client = client_with();
  EXPECT_EQ(answer_to(*client, post_to(server, "x"), 50ms).error().code(), ErrorCode::timeout);
}

TEST(HttpClient, nobody_listens) {
  FarServer server;
  HttpRequest request = post_to(server, "x");
  server.close();
  const auto client = client_with();
  const Result<HttpResponse> answer = answer_to(*client, request);
  EXPECT_EQ(answer.error().code(), ErrorCode::unavailable);
  EXPECT_EQ(answer.error().message(),
            "cannot connect to 127.0.0.1 port " + std::to_string(server.port()) + ": Connection refused");
}

TEST(HttpClient, answers_that_are_none_are_errors_with_a_reason) {
  FarServer server;
  const auto client = client_with({.answer_bytes_max = 100, .header_bytes_max = 1000});
  const auto code_for = [&](std::string answer) {
    server.behave(Mood::answers, std::move(answer));
    const Result<HttpResponse> result = answer_to(*client, post_to(server, "x"));
    return result ? ErrorCode::ignored : result.error().code();
  };
  EXPECT_EQ(code_for(FarServer::status("200 OK", std::string(100, 'x'))), ErrorCode::ignored) << "is one";
  EXPECT_EQ(code_for(FarServer::status("200 OK", std::string(101, 'x'))), ErrorCode::too_large);
  EXPECT_EQ(code_for("HTTP/1.1 200 OK\r\nX: " + std::string(2000, 'x') + "\r\n\r\n"), ErrorCode::too_large);
  EXPECT_EQ(code_for("SSH-2.0-OpenSSH\r\n"), ErrorCode::malformed);
  EXPECT_EQ(code_for(""), ErrorCode::outcome_unknown);
  EXPECT_EQ(code_for("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf"), ErrorCode::outcome_unknown);
}

TEST(HttpClient, requests_that_are_none_are_refused_before_they_are_sent) {
  FarServer server;
  const auto client = client_with();
  const auto code_for = [&](const std::function<void(HttpRequest&)>& spoil) {
    HttpRequest request = post_to(server, "x");
    spoil(request);
    return answer_to(*client, std::move(request)).error().code();
  };
  EXPECT_EQ(code_for([](HttpRequest& one) { one.headers.push_back({"A B", "c"}); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_for([](HttpRequest& one) { one.headers.push_back({"A", "b\r\nC: d"}); }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_for([](HttpRequest& one) { one.url.target = "/ HTTP/1.1"; }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_for([](HttpRequest& one) { one.method = "PO ST"; }), ErrorCode::invalid_argument);
  EXPECT_EQ(code_for([](HttpRequest& one) { one.url.host.clear(); }), ErrorCode::invalid_argument);
  EXPECT_TRUE(server.seen().empty());
}

TEST(HttpClient, has_a_bound_and_ends_what_is_under_way_with_itself) {
  FarServer server(Mood::stalls);
  auto client = client_with({.requests_max = 2});
  std::vector<Result<HttpResponse>> results;  // the client's thread, until it is gone
  std::promise<void> refused;
  for (int request = 0; request < 3; ++request) {
    client->send(post_to(server, "x"), 60s, [&](Result<HttpResponse> result) {
      results.push_back(std::move(result));
      if (results.size() == 1) refused.set_value();
    });
  }
  refused.get_future().wait();
  ASSERT_TRUE(server.wait_for(2));
  client.reset();
  ASSERT_EQ(results.size(), 3U);
  EXPECT_EQ(results[0].error().code(), ErrorCode::refused);
  EXPECT_EQ(results[1].error().code(), ErrorCode::cancelled);
  EXPECT_EQ(results[2].error().code(), ErrorCode::cancelled);
}

TEST(HttpClient, a_wrong_option_is_named) {
  EXPECT_EQ(HttpClient::start({.read_timeout = 0s}).error().message(), "HTTP client: read_timeout must be more than 0");
  EXPECT_EQ(HttpClient::start({.requests_max = 0}).error().code(), ErrorCode::configuration);
}

}  // namespace
}  // namespace dagverk::net
