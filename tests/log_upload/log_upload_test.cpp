// Log lines on their way over HTTP to real far ends on the loopback interface: ones that answer, fail, refuse, stall,
// never read, and ones that are not there. `DAGVERK_TEST_STALL_MS=10000` makes the stall as long as that.

#include "log_upload/retry_after.hpp"
#include "net/far_server.hpp"

#include "dagverk/log/log.hpp"
#include "dagverk/log/log_pipeline.hpp"
#include "dagverk/log_upload/http_transport.hpp"
#include "dagverk/log_upload/named_upload.hpp"
#include "dagverk/runtime/runtime.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace dagverk {
namespace {

using namespace std::chrono_literals;
using Mood = FarServer::Mood;

[[nodiscard]] std::size_t count_of(const std::string& text, std::string_view part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++count;
  return count;
}

/// A pipeline with one uploading backend; small batches, short pauses.
struct UploadWorld {
  using Make = std::function<Result<BackendSpec>(std::shared_ptr<UploadQueue> queue)>;

  UploadWorld(const Make& make, BatchingOptions options) : queue(make_upload_queue(options).value()) {
    pipeline->add_backend(make(queue).value()).value();
  }
  [[nodiscard]] static BatchingOptions quick() {
    return {.batch_lines_max = 10,
            .batch_age_max = 20ms,
            .send_timeout = 30s,
            .retry_first = 1ms,
            .retry_max = 5ms,
            .drain_limit = 50ms};
  }
  void log(int count) {
    for (int line = 0; line < count; ++line) front.info("line", {{"n", next++}});
    pipeline->flush(60s).value();
  }
  /// Waits until the queue's figures are as asked for.
  [[nodiscard]] bool wait_until(const std::function<bool(const UploadStats&)>& as_asked) const {
    const SteadyTime deadline = system_clock().steady_now() + 60s;
    while (!as_asked(queue->stats())) {
      if (system_clock().steady_now() > deadline) return false;
      std::this_thread::yield();
    }
    return true;
  }
  [[nodiscard]] bool all_settled() const {
    return wait_until([&](const UploadStats& stats) {
      return stats.handed == static_cast<std::uint64_t>(next) && stats.waiting == 0;
    });
  }

  Runtime runtime{{.workers = 2, .logger = &null_logger()}};
  std::shared_ptr<UploadQueue> queue;
  std::unique_ptr<LogPipeline> pipeline = LogPipeline::start(runtime).value();
  Log front{*pipeline, "test"};
  int next = 0;
};

[[nodiscard]] UploadWorld::Make json_to(const FarServer& server, JsonBody body = JsonBody::array) {
  return [url = server.url("/logs"), body](std::shared_ptr<UploadQueue> queue) {
    return http_json_backend("far", {.url = url, .body = body}, std::move(queue));
  };
}

TEST(LogUpload, json_objects_arrive_with_labels_and_headers) {
  FarServer server;
  const auto make = [&](std::shared_ptr<UploadQueue> queue) {
    return http_json_backend("far",
                             {.url = server.url("/in?tenant=1"),
                              .headers = {{"Authorization", "Bearer x"}},
                              .labels = {{"app", "shop \"north\""}, {"env", "test"}}},
                             std::move(queue));
  };
  UploadWorld world(make, UploadWorld::quick());
  world.front.warning("bad\nnews", {{"who", "\"a\" \xff"}}, {});
  world.next = 1;
  world.log(1);
  ASSERT_TRUE(world.all_settled());
  EXPECT_EQ(world.queue->stats().sent, 2U);
  const std::vector<FarServer::Seen> seen = server.seen();
  ASSERT_FALSE(seen.empty());
  EXPECT_TRUE(seen[0].head.starts_with("POST /in?tenant=1 HTTP/1.1")) << seen[0].head;
  EXPECT_NE(seen[0].head.find("Authorization: Bearer x"), std::string::npos) << seen[0].head;
  EXPECT_NE(seen[0].head.find("Content-Type: application/json"), std::string::npos) << seen[0].head;
  EXPECT_TRUE(seen[0].body.starts_with(R"([{"app":"shop \"north\"","env":"test","time":"2)")) << seen[0].body;
  EXPECT_NE(seen[0].body.find(R"("level":"warning","logger":"test","message":"bad\nnews","fields":{"who":"\"a\" )"),
            std::string::npos)
      << seen[0].body;
  EXPECT_TRUE(seen.back().body.ends_with("}]")) << seen.back().body;
}

TEST(LogUpload, one_object_a_line) {
  FarServer server;
  UploadWorld world(json_to(server, JsonBody::lines), UploadWorld::quick());
  world.log(10);
  ASSERT_TRUE(world.all_settled());
  const std::vector<FarServer::Seen> seen = server.seen();
  EXPECT_NE(seen.at(0).head.find("Content-Type: application/x-ndjson"), std::string::npos) << seen[0].head;
  std::size_t lines = 0;
  for (const FarServer::Seen& request : seen) lines += count_of(request.body, "}\n");
  EXPECT_EQ(lines, 10U);
}

TEST(LogUpload, loki_gets_a_stream_for_each_level) {
  FarServer server;
  const auto make = [&](std::shared_ptr<UploadQueue> queue) {
    return loki_backend("loki", {.url = server.url("/loki/api/v1/push"), .labels = {{"app", "shop"}}}, std::move(queue),
                        LineFormat::message_only());
  };
  BatchingOptions options = UploadWorld::quick();
  options.batch_lines_max = 3;
  options.batch_age_max = 60s;  // so that all three are in one batch
  UploadWorld world(make, options);
  world.front.info("one");
  world.front.error("two", {{"path", "c:\\"}});
  world.front.info("three");
  world.next = 3;
  ASSERT_TRUE(world.all_settled());
  const std::vector<FarServer::Seen> seen = server.seen();
  ASSERT_EQ(seen.size(), 1U);
  std::string body = seen[0].body;
  for (std::size_t at = 0; at < body.size(); ++at) {  // times: nanoseconds since 1970
    std::size_t end = at;
    while (end < body.size() && body[end] >= '0' && body[end] <= '9') ++end;
    if (end - at == 19) body.replace(at, 19, "T");
  }
  EXPECT_EQ(body, R"({"streams":[{"stream":{"app":"shop","level":"info"},"values":[["T","one"],["T","three"]]},)"
                  R"({"stream":{"app":"shop","level":"error"},"values":[["T","two path=\"c:\\\\\""]]}]})");
}

TEST(LogUpload, a_server_error_is_tried_again_until_it_is_over) {
  FarServer server;
  server.answer_first({FarServer::status("500 Internal Server Error", "out of\nmemory"),
                       FarServer::status("429 Too Many Requests"), FarServer::status("503 Service Unavailable")});
  UploadWorld world(json_to(server), UploadWorld::quick());
  world.log(10);
  ASSERT_TRUE(world.all_settled());
  const UploadStats stats = world.queue->stats();
  EXPECT_EQ(stats.sent, 10U);
  EXPECT_EQ(stats.refused, 0U);
  EXPECT_EQ(stats.failures, 3U);
  const std::vector<FarServer::Seen> seen = server.seen();
  ASSERT_GE(seen.size(), 4U);
  for (int attempt = 1; attempt < 4; ++attempt) EXPECT_EQ(seen[static_cast<std::size_t>(attempt)].body, seen[0].body);
}

TEST(LogUpload, an_answer_that_asks_to_wait_is_heeded_within_the_bound) {
  FarServer server;
  server.answer_first({"HTTP/1.1 503 Service Unavailable\r\nretry-after: 3600\r\nContent-Length: 0\r\n\r\n"});
  BatchingOptions options = UploadWorld::quick();
  options.batch_age_max = 60s;
  options.retry_after_max = 200ms;
  UploadWorld world(json_to(server), options);
  const SteadyTime before = system_clock().steady_now();
  world.log(10);
  ASSERT_TRUE(world.all_settled());
  EXPECT_EQ(world.queue->stats().failures, 1U);
  EXPECT_EQ(world.queue->stats().sent, 10U);
  EXPECT_GE(system_clock().steady_now() - before, 200ms) << "without the header it would be 1 ms";
}

TEST(RetryAfter, seconds_and_the_three_forms_of_a_date) {
  const WallTime now(784'111'777s);  // 6 November 1994, 08:49:37
  EXPECT_EQ(detail::http_date("Sun, 06 Nov 1994 08:49:37 GMT"), now);
  EXPECT_EQ(detail::http_date("Sunday, 06-Nov-94 08:49:37 GMT"), now);
  EXPECT_EQ(detail::http_date("Sun Nov  6 08:49:37 1994"), now);
  EXPECT_EQ(detail::retry_after("120", now), 120s);
  EXPECT_EQ(detail::retry_after("Sun, 06 Nov 1994 08:51:37 GMT", now), 120s);
  EXPECT_EQ(detail::retry_after("Sun, 06 Nov 1994 08:47:37 GMT", now), 0s) << "has passed";
  EXPECT_EQ(detail::retry_after("99999999999999999999", now),
            detail::retry_after("Thu, 01 Jan 2099 00:00:00 GMT", now));
  for (const char* nonsense :
       {"", "soon", "-5", "1.5", "12 s", "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 8:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 CET", "Sun, 06 Nov 99999 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT and more", "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 06 Nov  08:49:37 GMT"}) {
    EXPECT_EQ(detail::retry_after(nonsense, now), 0s) << nonsense;
  }
}

TEST(LogUpload, a_batch_that_is_refused_is_given_up_and_told_of) {
  FarServer server;
  server.answer_first({FarServer::status("400 Bad Request", "entry too far behind\n")});
  BatchingOptions options = UploadWorld::quick();
  options.batch_age_max = 60s;
  UploadWorld world(json_to(server), options);
  world.log(10);
  ASSERT_TRUE(world.wait_until([](const UploadStats& stats) { return stats.refused == 10; }));
  EXPECT_EQ(world.queue->stats().last_error,
            "POST " + server.url("/logs") + " was answered 400 Bad Request: entry too far behind");
  world.log(10);
  ASSERT_TRUE(world.all_settled());
  EXPECT_EQ(world.queue->stats().sent, 10U);
  const std::string body = server.seen().back().body;
  EXPECT_NE(body.find(R"("message":"log.lines_shed","fields":{"count":10,"from":"2)"), std::string::npos) << body;
}

TEST(LogUpload, a_redirect_says_where_to) {
  FarServer server(Mood::answers, "HTTP/1.1 301 Moved Permanently\r\nLocation: /new\r\nContent-Length: 0\r\n\r\n");
  UploadWorld world(json_to(server), UploadWorld::quick());
  world.log(10);
  ASSERT_TRUE(world.all_settled());
  EXPECT_EQ(world.queue->stats().refused, 10U);
  EXPECT_EQ(world.queue->stats().last_error,
            "POST " + server.url("/logs") + " was answered 301 Moved Permanently to /new");
}

/// The far end hangs for a while; lines keep coming.
void hang_then_recover(Mood mood) {
  const char* const asked = std::getenv("DAGVERK_TEST_STALL_MS");
  const std::chrono::milliseconds stall(asked != nullptr ? std::atoi(asked) : 150);
  FarServer server(mood);
  BatchingOptions options = UploadWorld::quick();
  options.batch_age_max = 60s;
  options.queue_batches_max = 3;
  options.send_timeout = stall / 3;
  UploadWorld world(json_to(server), options);
  world.log(10);
  ASSERT_TRUE(server.wait_for(1));  // in hand; from here on the far end holds everything up
  world.log(90);
  const UploadStats during = world.queue->stats();
  EXPECT_EQ(during.handed, 100U);
  EXPECT_EQ(during.shed, 60U) << "one batch in hand, three wait";
  EXPECT_EQ(world.pipeline->stats().find("far")->dropped.total(), 0U) << "neither callers nor the backend were held up";
  ASSERT_TRUE(server.wait_for(4));  // three attempts have timed out
  EXPECT_NE(world.queue->stats().last_error.find("did not answer within"), std::string::npos);
  server.behave(Mood::answers);
  ASSERT_TRUE(world.all_settled());
  const UploadStats after = world.queue->stats();
  EXPECT_EQ(after.sent, 40U);
  EXPECT_EQ(after.shed, 60U);
  EXPECT_GE(after.failures, 3U);
  std::string all;
  for (const FarServer::Seen& seen : server.seen()) all += seen.body;
  EXPECT_EQ(count_of(all, R"("message":"line")"), 40U);
  EXPECT_EQ(count_of(all, R"("message":"log.lines_shed","fields":{"count":60,"from":"2)"), 1U) << all;
}

TEST(LogUpload, a_far_end_that_stalls_sheds_lines_and_says_so_afterwards) { hang_then_recover(Mood::stalls); }
TEST(LogUpload, a_far_end_that_never_reads_sheds_lines_and_says_so_afterwards) { hang_then_recover(Mood::deaf); }

TEST(LogUpload, nobody_listens) {
  FarServer server;
  const UploadWorld::Make make = json_to(server);
  server.close();
  UploadWorld world(make, UploadWorld::quick());
  world.log(30);
  ASSERT_TRUE(world.wait_until([](const UploadStats& stats) { return stats.failures >= 3; }));
  EXPECT_EQ(world.queue->stats().last_error,
            "cannot connect to 127.0.0.1 port " + std::to_string(server.port()) + ": Connection refused");
  EXPECT_TRUE(world.pipeline->stop(30s));
  const UploadStats stats = world.queue->stats();
  EXPECT_EQ(stats.handed, 30U);
  EXPECT_EQ(stats.shed, 30U) << "counted, not forgotten";
}

TEST(LogUpload, what_is_configured_wrongly_is_said_and_what_to_type) {
  const auto said = [](const Result<LogTransportMaker>& made) {
    return made ? std::string("made") : std::string(made.error().message());
  };
  EXPECT_EQ(said(http_json_transport({.url = "http://logs/in"})), "made");
  EXPECT_NE(said(http_json_transport({.url = "logs:3100"})).find("type http://HOST[:PORT][/PATH]"), std::string::npos);
  EXPECT_NE(said(loki_transport({.url = "https://loki/push"})).find("no TLS"), std::string::npos);
  EXPECT_NE(said(loki_transport({.url = "http://l", .label_of_level = ""})).find(R"(e.g. .labels = {{"app", "shop"}})"),
            std::string::npos);
  EXPECT_NE(said(loki_transport({.url = "http://l", .labels = {{"a-b", "c"}}})).find("\"a-b\""), std::string::npos);
  EXPECT_NE(said(loki_transport({.url = "http://l", .labels = {{"level", "c"}}})).find("label_of_level"),
            std::string::npos);
  EXPECT_NE(said(http_json_transport({.url = "http://l", .client = {.read_timeout = 0s}})).find("read_timeout"),
            std::string::npos);
}

/// One line through a backend that was made from `text`, and the end.
[[nodiscard]] FarServer::Seen seen_after_one_line(FarServer& server, const std::string& text) {
  Runtime runtime({.workers = 2, .logger = &null_logger()});
  const std::unique_ptr<LogPipeline> pipeline = LogPipeline::start(runtime).value();
  pipeline->add_backend(any_backend_from_text("far", text).value()).value();
  Log(*pipeline, "test").error("job.failed", {{"n", 1}});
  EXPECT_TRUE(pipeline->stop(60s));
  const std::vector<FarServer::Seen> seen = server.seen();
  return seen.size() == 1 ? seen[0] : FarServer::Seen{};
}

TEST(AnyBackendFromText, json_and_loki_by_their_urls_with_labels) {
  FarServer json;
  const FarServer::Seen in_json = seen_after_one_line(json, json.url("/in?tenant=1") + "#app=shop&env=");
  EXPECT_TRUE(in_json.head.starts_with("POST /in?tenant=1 HTTP/1.1")) << in_json.head;
  EXPECT_TRUE(in_json.body.starts_with(R"([{"app":"shop","env":"","time":")")) << in_json.body;
  FarServer loki;
  const FarServer::Seen in_loki = seen_after_one_line(loki, "loki:" + loki.url("/") + "#app=shop");
  EXPECT_TRUE(in_loki.head.starts_with("POST /loki/api/v1/push HTTP/1.1")) << in_loki.head;
  EXPECT_TRUE(in_loki.body.starts_with(R"({"streams":[{"stream":{"app":"shop","level":"error"},"values":)"))
      << in_loki.body;
  FarServer elsewhere;
  const FarServer::Seen behind = seen_after_one_line(elsewhere, "loki:" + elsewhere.url("/proxy/push"));
  EXPECT_TRUE(behind.head.starts_with("POST /proxy/push HTTP/1.1")) << behind.head;
}

TEST(AnyBackendFromText, what_is_wrong_is_said_and_what_to_type) {
  const auto said = [](std::string_view text) {
    const Result<BackendSpec> spec = any_backend_from_text("x", text);
    return spec ? std::string("made") : std::string(spec.error().message());
  };
  EXPECT_EQ(said("postcard"),
            "log backend \"postcard\": is unknown: console, console:stdout, file:PATH, json:PATH, "
            "syslog+udp://HOST:PORT, syslog+tcp://HOST:PORT, http://HOST[:PORT]/PATH or loki:http://HOST[:PORT], both "
            "with #LABEL=VALUE&...");
  EXPECT_EQ(said("loki:logs:3100"),
            "log backend \"loki:logs:3100\": type http://HOST[:PORT]/PATH or loki:http://HOST[:PORT], both with "
            "#LABEL=VALUE&...");
  EXPECT_NE(said("loki:https://logs").find("no TLS"), std::string::npos);
  EXPECT_NE(said("https://logs").find("no TLS"), std::string::npos);
  EXPECT_NE(said("http://logs:99999/in").find("the port is not 1 to 65535"), std::string::npos);
  EXPECT_NE(said("http:///in").find("has no host"), std::string::npos);
  EXPECT_NE(said("http://user:secret@logs/in").find("send those in a header"), std::string::npos);
  EXPECT_NE(said("http://logs/in#app").find(R"("app" is no label; type #NAME=VALUE)"), std::string::npos);
  EXPECT_NE(said("loki:http://logs#=x").find(R"("=x" is no label)"), std::string::npos);
  EXPECT_NE(said("loki:http://logs#a-b=x").find("\"a-b\" must be named"), std::string::npos);
  EXPECT_NE(said("file:").find("the path is missing"), std::string::npos);
  EXPECT_EQ(said("console"), "made");
}

}  // namespace
}  // namespace dagverk
