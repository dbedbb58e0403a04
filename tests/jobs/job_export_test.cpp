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
  const auto end = read_export_line(export_end({.jobs = 12, .limits = 3, .cron = 4}));
  ASSERT_TRUE(end) << end.error().message();
  EXPECT_EQ(end->kind, Kind::end);
  EXPECT_EQ(end->counts, (ExportCounts{.jobs = 12, .limits = 3, .cron = 4}));
  const auto newer = read_export_line(R"({"dagverk_export":3,"whatever":[]})");
  ASSERT_FALSE(newer);
  EXPECT_EQ(newer.error().code(), ErrorCode::unsupported);
}

TEST(JobExport, an_end_of_version_1_says_how_many_jobs_there_are) {
  const auto end = read_export_line(R"({"dagverk_export_end":12})");
  ASSERT_TRUE(end) << end.error().message();
  EXPECT_EQ(end->counts, ExportCounts{.jobs = 12});
  EXPECT_TRUE(read_export_line(R"({"dagverk_export":1,"store":"sqlite:jobs.db","at_us":1795219324380605})"));
}

TEST(JobExport, a_limit_comes_back_with_all_its_parts) {
  Limit limit{.scope = LimitScope::queue, .name = "mail", .concurrency = 3};
  limit.rate = Rate{.count = 100, .per = 60s, .kind = RateKind::window};
  limit.bound = QueueBound{.most = 1000, .when_full = WhenFull::divert, .divert_to = "spare"};
  const std::string line = export_line(limit);
  EXPECT_EQ(line, R"({"limit":"queue","name":"mail","concurrency":3,"rate_count":100,"rate_per_us":60000000,)"
                  R"("rate_kind":"window","bound":1000,"when_full":"divert","divert_to":"spare"})");
  const auto read = read_export_line(line);
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_EQ(read->kind, Kind::limit);
  EXPECT_EQ(read->limit, limit);

  const Limit keyed{.scope = LimitScope::key, .name = "a\xff", .rate = Rate{}};
  const auto again = read_export_line(export_line(keyed));
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(again->limit, keyed);
}

TEST(JobExport, a_cron_entry_comes_back_with_its_last_slot_and_its_pause) {
  CronEntry entry;
  entry.name = "nightly";
  entry.schedule = "30 2 * * *";
  entry.class_name = "Report";
  entry.args_json = R"(["all",1.50])";
  entry.missed = MissedRuns::all;
  entry.origin = "ann";
  entry.last_slot = WallTime(1'795'219'126'250'001us);
  entry.pause = QueuePause{.by = "ann", .reason = "stock-taking"};
  const std::string line = export_line(entry);
  EXPECT_EQ(line, R"({"cron":"nightly","schedule":"30 2 * * *","zone":"UTC","class":"Report","queue":"default",)"
                  R"("args":"[\"all\",1.50]","missed":"all","origin":"ann","last_slot_us":1795219126250001,)"
                  R"("paused_by":"ann","pause_reason":"stock-taking"})");
  const auto read = read_export_line(line);
  ASSERT_TRUE(read) << read.error().message();
  EXPECT_EQ(read->kind, Kind::cron);
  EXPECT_EQ(export_line(read->cron), line);
  ASSERT_TRUE(read->cron.pause);
  EXPECT_EQ(read->cron.pause, entry.pause);
  EXPECT_EQ(read->cron.last_slot, entry.last_slot);

  entry.pause = QueuePause{};  // another program's wish
  entry.name = "\xff";
  const auto odd = read_export_line(export_line(entry));
  ASSERT_TRUE(odd) << odd.error().message();
  EXPECT_EQ(odd->cron.name, entry.name);
  EXPECT_TRUE(odd->cron.pause);
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
      {R"({"dagverk_export_end":12)", "not a JSON object"},
      {R"({"dagverk_export_end":12,"limits":-1})", "limits: needs a whole number"},
      {R"({"dagverk_export_end":12,"locks":1})", "newer version"},
      {R"({"limit":"node","name":"a","concurrency":1})", "limit: needs queue or key"},
      {R"({"limit":"key","name":"a:b","concurrency":1})", "name the limit without it"},
      {R"({"limit":"key","name":"a"})", "limit \"a\""},
      {R"({"limit":"key","name":"a","concurrency":0})", "concurrency: needs a whole number from 1"},
      {R"({"limit":"key","name":"a","rate_count":5})", "rate_count, rate_per_us and rate_kind"},
      {R"({"limit":"key","name":"a","rate_count":5,"rate_per_us":9,"rate_kind":"bucket"})", "limit \"a\""},
      {R"({"limit":"key","name":"a","rate_count":5,"rate_per_us":9,"rate_kind":"pail"})", "needs bucket or window"},
      {R"({"limit":"key","name":"a","bound":5,"when_full":"refuse"})", "only a queue has a bound"},
      {R"({"limit":"queue","name":"a","when_full":"refuse"})", "bound and when_full"},
      {R"({"limit":"queue","name":"a","bound":5,"when_full":"wait"})", "refuse, drop-oldest or divert"},
      {R"({"limit":"queue","name":"a","concurrency":5,"burst":7})", "newer version"},
      {R"({"limit":"queue","name":"a","concurrency":5)", "not a JSON object"},
      {R"({"cron":"a","schedule":"@daily","class":"A"})", "needs schedule, class and last_slot_us"},
      {R"({"cron":"a","schedule":"daily","class":"A","last_slot_us":1})", "daily"},
      {R"({"cron":"a","schedule":"@daily","zone":"Mars","class":"A","last_slot_us":1})", "Mars"},
      {R"({"cron":"","schedule":"@daily","class":"A","last_slot_us":1})", "needs 1 to 255 bytes"},
      {R"({"cron":"a","schedule":"@daily","class":"A","last_slot_us":1,"missed":"two"})", "skip, once or all"},
      {R"({"cron":"a","schedule":"@daily","class":"A","last_slot_us":1,"args":"{"})", "argument"},
      {R"({"cron":"a","schedule":"@daily","class":"A","last_slot_us":1,"pause_reason":"x"})", "paused_by"},
      {R"({"cron":"a","schedule":"@daily","class":"A","last_slot_us":1,"until":5})", "newer version"},
      {R"({"cron":"a","schedule":"@daily","class":"A","last_slot_us":1)", "not a JSON object"},
  };
  for (const auto& [line, reason] : wrong) {
    const auto read = read_export_line(line);
    ASSERT_FALSE(read) << line;
    EXPECT_NE(read.error().message().find(reason), std::string_view::npos) << line << "\n" << read.error().message();
  }
}

}  // namespace
}  // namespace dagverk::jobs
