#include "dagverk/jobs/job_export.hpp"

#include "dagverk/base/concat.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <rapidcheck.h>

namespace dagverk::jobs {
namespace {

using namespace std::chrono_literals;  // NOLINT(google-build-using-namespace): tests read better
using Kind = ExportLine::Kind;

StoredJob sample() {
  StoredJob job;
  job.state = JobState::dead;
  job.jid = "j1";
  job.queue = "mail";
  job.class_name = "Send";
  job.payload = R"({"jid":"j1","args":["\u00fc"]})";
  job.enqueued_at = WallTime(1'795'219'126'250'001us);
  job.due = WallTime(1'795'219'226s);
  job.priority = -7;
  job.journaled = false;
  job.rescues = 2;
  job.reason = "no attempts left";
  return job;
}

void expect_same(const StoredJob& read, const StoredJob& job) {
  EXPECT_EQ(read.state, job.state);
  EXPECT_EQ(read.jid, job.jid);
  EXPECT_EQ(read.queue, job.queue);
  EXPECT_EQ(read.class_name, job.class_name);
  EXPECT_EQ(read.payload, job.payload);
  EXPECT_EQ(read.enqueued_at, job.enqueued_at);
  EXPECT_EQ(read.due, job.due);
  EXPECT_EQ(read.priority, job.priority);
  EXPECT_EQ(read.journaled, job.journaled);
  EXPECT_EQ(read.rescues, job.rescues);
  EXPECT_EQ(read.reason, job.reason);
}

TEST(JobExport, a_line_says_all_there_is_to_say) {
  const std::string line = export_line(sample());
  EXPECT_EQ(line, R"({"state":"dead","jid":"j1","queue":"mail","class":"Send","payload":"{\"jid\":\"j1\",)"
                  R"(\"args\":[\"\\u00fc\"]}","enqueued_at_us":1795219126250001,"due_at_us":1795219226000000,)"
                  R"("priority":-7,"journaled":false,"rescues":2,"reason":"no attempts left"})");
  const auto read = read_export_line(line);
  ASSERT_TRUE(read) << read.error().message();
  expect_same(read->job, sample());
}

TEST(JobExport, what_is_not_utf8_stands_in_hexadecimal) {
  StoredJob job = sample();
  job.payload = std::string("\0\xff{", 3);
  const std::string line = export_line(job);
  EXPECT_NE(line.find(R"("payload_hex":"00ff7b")"), std::string::npos) << line;
  const auto read = read_export_line(line);
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_EQ(read->job.payload, job.payload);
}

RC_GTEST_PROP(JobExport, any_bytes_come_back, (const std::string& jid, const std::string& payload)) {
  StoredJob job = sample();
  job.jid = jid;
  job.payload = payload;
  const auto read = read_export_line(export_line(job));
  RC_ASSERT(read.has_value());
  RC_ASSERT(read->job.jid == jid);
  RC_ASSERT(read->job.payload == payload);
}

TEST(JobExport, head_and_end_are_recognised) {
  const auto head = read_export_line(export_head("sqlite:\"a\".db", WallTime(1s)));
  ASSERT_TRUE(head) << head.error().message();
  EXPECT_EQ(head->kind, Kind::head);
  const auto end = read_export_line(export_end(12));
  ASSERT_TRUE(end) << end.error().message();
  EXPECT_EQ(end->kind, Kind::end);
  EXPECT_EQ(end->jobs, 12U);
  const auto newer = read_export_line(R"({"dagverk_export":2,"whatever":[]})");
  ASSERT_FALSE(newer);
  EXPECT_EQ(newer.error().code(), ErrorCode::unsupported);
}

TEST(JobExport, what_is_wrong_with_a_line_is_said) {
  const std::pair<std::string_view, std::string_view> wrong[] = {
      {"", "not a JSON object"},
      {"[]", "not a JSON object"},
      {R"({"state":"ready","jid":"a","queue":"q","payload":"{}")", "not a JSON object"},
      {R"({"class":"A","args":[]})", "not known"},
      {R"({"state":"ready","jid":"a","queue":"q"})", "needs state, jid, queue and payload"},
      {R"({"state":"asleep","jid":"a","queue":"q","payload":""})", "needs ready, scheduled"},
      {R"({"state":"ready","jid":7,"queue":"q","payload":""})", "jid: needs a text"},
      {R"({"state":"ready","jid":"a","queue":"q","payload_hex":"0g"})", "pairs of the digits"},
      {R"({"state":"ready","jid":"a","queue":"q","payload_hex":"abc"})", "pairs of the digits"},
      {R"({"state":"ready","jid":"a","queue":"q","payload":"\ud800"})", "payload: needs a text"},
      {R"({"state":"ready","jid":"a","queue":"q","payload":"","priority":1001})", "from -1000 to 1000"},
      {R"({"state":"ready","jid":"a","queue":"q","payload":"","due_at_us":1.5})", "whole number"},
      {R"({"state":"ready","jid":"a","queue":"q","payload":"","journaled":1})", "true or false"},
      {R"({"dagverk_export":0})", "dagverk_export: needs"},
  };
  for (const auto& [line, reason] : wrong) {
    const auto read = read_export_line(line);
    ASSERT_FALSE(read) << line;
    EXPECT_NE(read.error().message().find(reason), std::string_view::npos) << line << "\n" << read.error().message();
  }
}

}  // namespace
}  // namespace dagverk::jobs
