#include "dagverk/jobs/job_codec.hpp"

#include "jobs/json_text.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_names.hpp"

#include <boost/json.hpp>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <fstream>
#include <limits>
#include <map>
#include <set>
#include <sstream>
#include <utility>

namespace dagverk::jobs {
namespace {

using namespace std::chrono_literals;

// ---- helpers ----

std::string fixed_jid() { return "0123456789abcdef01234567"; }

WallTime at_seconds(std::string_view text) { return parse_epoch_seconds(text).value(); }

std::string job_with(std::string_view members) {
  return std::string(R"({"class":"OkJob","args":[],"queue":"default","jid":"j1")") + std::string(members) + "}";
}

Job decoded(std::string_view payload) {
  Result<Job> job = decode_job(payload);
  if (!job) throw std::runtime_error(std::string(job.error().message()));
  return std::move(*job);
}

std::string message_of(std::string_view payload, const CodecOptions& options = {}) {
  const Result<Job> job = decode_job(payload, "default", options);
  return job ? "accepted" : std::string(to_string(job.error().code())) + " " + std::string(job.error().message());
}

/// Recorded command sequences by name.
class Vectors {
 public:
  Vectors() {
    std::ifstream file(DAGVERK_WIRE_VECTORS);
    std::stringstream text;
    text << file.rdbuf();
    const boost::json::value document = boost::json::parse(text.str());
    for (const auto& vector : document.as_array()) {
      auto& commands = commands_[std::string(vector.at("name").as_string())];
      for (const auto& command : vector.at("commands").as_array()) {
        std::vector<std::string> arguments;
        for (const auto& argument : command.as_array()) arguments.emplace_back(argument.as_string());
        commands.push_back(std::move(arguments));
      }
    }
  }

  /// The arguments after the key of the last command with this name, in any case.
  [[nodiscard]] std::vector<std::string> arguments(const std::string& vector, std::string_view command) const {
    std::vector<std::string> found;
    for (const auto& words : commands_.at(vector)) {
      const std::size_t name = words.front() == "(lua)" ? 1 : 0;
      if (words.at(name).size() != command.size()) continue;
      bool same = true;
      for (std::size_t index = 0; index < command.size(); ++index)
        same &= (words[name][index] | 0x20) == command[index];
      if (same) found.assign(words.begin() + static_cast<std::ptrdiff_t>(name) + 2, words.end());
    }
    return found;
  }

 private:
  std::map<std::string, std::vector<std::vector<std::string>>> commands_;
};

const Vectors& vectors() {
  static const Vectors all;
  return all;
}

std::vector<std::string> recorded_payloads() {
  std::string path = DAGVERK_WIRE_VECTORS;
  path.replace(path.rfind("vectors.json"), std::string::npos, "payloads.jsonl");
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

/// Whether the head, where there is one, says what the whole job says.
bool head_agrees(std::string_view payload, const Result<Job>& job) {
  const std::optional<JobHead> head = read_job_head(payload);
  if (!head) return true;
  return job && head->jid == job->jid() && head->job_class == job->job_class() &&
         (head->queue.empty() ? !job->names_queue() : head->queue == job->queue()) &&
         head->created_at == job->created_at() && head->enqueued_at == job->enqueued_at();
}

TEST(JobCodec, gives_a_job_the_bytes_it_is_asked_to_take_and_leaves_those_that_are_none) {
  std::string payload = R"({"class":"A","args":[],"jid":"j"})";
  const std::string bytes = payload;
  const Result<Job> job = decode_job_of(payload, "low", {});
  ASSERT_TRUE(job);
  EXPECT_EQ(job->payload(), bytes);
  EXPECT_EQ(job->jid(), "j");
  EXPECT_EQ(job->queue(), "low");
  std::string none = R"({"class":"A","args":[]})";
  EXPECT_EQ(decode_job_of(none, "low", {}).error().code(), ErrorCode::malformed_job);
  EXPECT_EQ(none, R"({"class":"A","args":[]})");
}

// ---- times ----

TEST(WireTime, every_shape_of_time_is_read) {
  struct Case {
    std::string_view text;
    std::optional<std::int64_t> ns;
  };
  const Case cases[] = {
      {"1795219126.448", 1'795'219'126'448'000'000},
      {"1795219126.25", 1'795'219'126'250'000'000},
      {"1795219326.0692315", 1'795'219'326'069'231'500},
      {"1795219326.0692315678999", 1'795'219'326'069'231'567},
      {"1795219126", 1'795'219'126'000'000'000},
      {"1795219126.0", 1'795'219'126'000'000'000},
      {"1795219322353", 1'795'219'322'353'000'000},
      {"99999999999", std::nullopt},              // seconds of the year 5138: beyond WallTime
      {"100000000000", 100'000'000'000'000'000},  // the first integer that is milliseconds
      {"100000000000.0", std::nullopt},           // a fraction makes it seconds
      {"1.795219126e9", 1'795'219'126'000'000'000},
      {"1E3", 1'000'000'000'000},
      {"0", 0},
      {"-0", 0},
      {"-1.5", -1'500'000'000},
      {"-5", -5'000'000'000},
      {"1e400", std::nullopt},
      {"99999999999999999999", std::nullopt},
      {"9223372036854775807", std::nullopt},
      {"", std::nullopt},
      {"inf", std::nullopt},
      {"nan", std::nullopt},
      {"1.", std::nullopt},
      {".5", std::nullopt},
      {"01", std::nullopt},
      {"+1", std::nullopt},
      {" 1", std::nullopt},
      {"1 ", std::nullopt},
      {"0x10", std::nullopt},
      {"true", std::nullopt},
  };
  for (const Case& c : cases) {
    const std::optional<WallTime> read = parse_wire_time(c.text);
    EXPECT_EQ(read ? std::optional(read->time_since_epoch().count()) : std::nullopt, c.ns) << c.text;
  }
}

TEST(WireTime, members_of_a_job_take_numbers_strings_null_and_nonsense) {
  const WallTime moment = at_seconds("1795219126.25");
  EXPECT_EQ(decoded(job_with(R"(,"enqueued_at":1795219126.25)")).enqueued_at(), moment);
  EXPECT_EQ(decoded(job_with(R"(,"enqueued_at":"1795219126.25")")).enqueued_at(), moment);
  EXPECT_EQ(decoded(job_with(R"(,"enqueued_at":1795219126250)")).enqueued_at(), moment);
  EXPECT_EQ(decoded(job_with(R"(,"enqueued_at":"1795219126250")")).enqueued_at(), moment);
  for (const char* nothing : {"null", "true", "[]", "{}", "\"soon\"", "\"\"", "1e99"}) {
    EXPECT_EQ(decoded(job_with(std::string(",\"failed_at\":") + nothing)).failed_at(), std::nullopt) << nothing;
  }
  EXPECT_EQ(decoded(job_with("")).created_at(), std::nullopt);
}

TEST(NewJobs, write_their_limits_and_members_of_their_own) {
  NewJob job{.job_class = "A", .jid = "j1"};
  job.timeout = 90s;
  job.expires_in = 1500ms;
  job.expires_at = at_seconds("1795219126.25");
  set_member(job, "tenant", "7");
  set_member(job, "traceparent", R"("00-1-2-01")");
  set_member(job, "tenant", R"({"id":7})");
  const Job made = encode_new_job(job, at_seconds("5")).value();
  EXPECT_NE(
      made.payload().find(
          R"("timeout":90,"expires_in":1.5,"expires_at":1795219126.25,"tenant":{"id":7},"traceparent":"00-1-2-01","args")"),
      std::string_view::npos)
      << made.payload();
  EXPECT_EQ(made.timeout(), 90s);
  EXPECT_EQ(made.expires_in(), 1500ms);
  EXPECT_EQ(made.expires_at(), at_seconds("1795219126.25"));
  EXPECT_EQ(made.traceparent(), "00-1-2-01");
  for (const char* nothing : {"0", "-1", "\"5\"", "null", "true", "1e9999", "1000000001"}) {
    EXPECT_EQ(decoded(job_with(concat(",\"timeout\":", nothing))).timeout(), std::nullopt) << nothing;
  }
  EXPECT_EQ(find_member(job, "nobody"), nullptr);

  const auto refused = [](NewJob wrong) { return !encode_new_job(wrong, WallTime{}); };
  EXPECT_TRUE(refused({.job_class = "A", .timeout = -1s}));
  EXPECT_TRUE(refused({.job_class = "A", .expires_in = 1'000'000'001s}));
  for (const char* name : {"jid", "retry", "timeout", "bid", "", "\xff"}) {
    EXPECT_TRUE(refused({.job_class = "A", .members = {{name, "1"}}})) << name;
  }
  for (const char* json : {"", "1,\"jid\":2", "{", "1}", "nul"}) {
    EXPECT_TRUE(refused({.job_class = "A", .members = {{"mine", json}}})) << json;
  }
  NewJob many{.job_class = "A"};
  for (std::size_t number = 0; number <= new_members_limit; ++number) set_member(many, concat("m", number), "1");
  EXPECT_TRUE(refused(many));
}

TEST(WireTime, a_whole_second_is_written_with_a_fraction) {
  EXPECT_EQ(epoch_seconds_text(at_seconds("1795219126")), "1795219126.0");
  EXPECT_EQ(epoch_seconds_text(at_seconds("1795219126.448")), "1795219126.448");
  EXPECT_EQ(epoch_seconds_text(at_seconds("1795219326.0692315")), "1795219326.0692315");
  EXPECT_EQ(epoch_seconds_text(at_seconds("-1.5")), "-1.5");
  EXPECT_EQ(epoch_seconds_text(WallTime{}), "0.0");
  EXPECT_EQ(wire_time_text(at_seconds("1795219326.0699"), TimestampFormat::millis), "1795219326069");
  EXPECT_EQ(exact_epoch_seconds_text(WallTime{Duration{1}}), "0.000000001");
  EXPECT_EQ(exact_epoch_seconds_text(WallTime{Duration{-1}}), "-0.000000001");
}

TEST(WireTime, scores_are_seconds_even_when_they_are_large_integers) {
  EXPECT_EQ(parse_epoch_seconds("1795220243")->time_since_epoch(), 1795220243s);
  EXPECT_EQ(parse_epoch_seconds("1.795220243e+9")->time_since_epoch(), 1795220243s);
  EXPECT_EQ(parse_epoch_seconds("1795219322353"), std::nullopt);
}

RC_GTEST_PROP(WireTime, a_written_time_reads_as_itself_and_is_written_the_same_again, ()) {
  const WallTime time{Duration{*rc::gen::inRange<std::int64_t>(-9'000'000'000'000'000'000, 9'000'000'000'000'000'000)}};
  RC_ASSERT(parse_epoch_seconds(exact_epoch_seconds_text(time)) == time);
  const std::string text = epoch_seconds_text(time);
  const WallTime read = parse_wire_time(text).value();
  RC_ASSERT(std::chrono::abs(read - time) < 2us);
  RC_ASSERT(epoch_seconds_text(read) == text);
}

// ---- names ----

TEST(JobNames, queue_names_follow_the_grammar) {
  for (const char* good : {"default", "low", "a", "_x", "mail:high", "v1.2-x", "retry", "schedule", "dead", "processes",
                           "Q9", "2026-11-2", "sq-1", "queue:default", "sqs_in"}) {
    EXPECT_TRUE(check_queue_name(good)) << good;
  }
  for (const char* bad : {"", "../", "..", ".", "-x", ":x", "a b", "a/b", "a|b", "2026-11-21", "9999-99-99",
                          "sq_host_default", "sq_", "naïve", "a\n", "a\"b", "<script>", "a*", "a{b}"}) {
    EXPECT_FALSE(check_queue_name(bad)) << bad;
  }
  EXPECT_TRUE(check_queue_name(std::string(queue_name_size_limit, 'q')));
  EXPECT_FALSE(check_queue_name(std::string(queue_name_size_limit + 1, 'q')));
  EXPECT_FALSE(check_queue_name(std::string_view("a\0b", 3)));
  const Result<void> long_name = check_queue_name(std::string(10240, 'q'));
  ASSERT_FALSE(long_name);
  EXPECT_EQ(long_name.error().code(), ErrorCode::invalid_argument);
  EXPECT_LT(long_name.error().message().size(), 200U);  // an error never repeats a huge name
}

TEST(JobNames, class_names_follow_the_grammar) {
  for (const char* good : {"OkJob", "Mail::Send", "Elixir.Mail.Send", "mail.send", "_x", "a/b", "send-mail",
                           "ActiveJob::QueueAdapters::SidekiqAdapter::JobWrapper"}) {
    EXPECT_TRUE(check_class_name(good)) << good;
  }
  for (const char* bad :
       {"", "1x", ".x", "::X", "/etc/passwd", "../x", "a b", "a;b", "$(x)", "a|b", "a\nb", "a(b)", "-rf"}) {
    EXPECT_FALSE(check_class_name(bad)) << bad;
  }
  EXPECT_FALSE(check_class_name(std::string(class_name_size_limit + 1, 'c')));
}

TEST(JobNames, any_plain_text_is_a_jid) {
  for (const char* good : {"1", "slow", "32953949803269160636", "0123456789abcdef01234567", "mein Auftrag", "ü:1"}) {
    EXPECT_TRUE(check_jid(good)) << good;
  }
  for (const char* bad : {"", "a\nb", "\x1b[2J", "\xff", "\x7f"}) EXPECT_FALSE(check_jid(bad)) << bad;
  EXPECT_FALSE(check_jid(std::string(jid_size_limit + 1, 'j')));
}

// ---- reading ----

TEST(JobCodec, every_recorded_payload_is_read_and_kept_byte_for_byte) {
  const std::vector<std::string> payloads = recorded_payloads();
  ASSERT_EQ(payloads.size(), 74U);
  for (const std::string& payload : payloads) {
    const Result<Job> job = decode_job(payload);
    ASSERT_TRUE(job) << payload << "\n" << job.error().message();
    EXPECT_EQ(job->payload(), payload);
    EXPECT_TRUE(head_agrees(payload, job)) << payload;
    EXPECT_EQ(edit_job(payload, JobEdit{}).value(), payload);
    const boost::json::value theirs = boost::json::parse(payload);
    EXPECT_EQ(job->jid(), std::string_view(theirs.at("jid").as_string()));
    EXPECT_EQ(job->job_class(), std::string_view(theirs.at("class").as_string()));
    EXPECT_EQ(job->queue(), std::string_view(theirs.at("queue").as_string()));
    const boost::json::value args =
        theirs.at("args").is_string() ? boost::json::parse(theirs.at("args").as_string()) : theirs.at("args");
    EXPECT_EQ(boost::json::parse(std::string(job->args_json())), args);
  }
}

TEST(JobCodec, the_head_of_an_ordinary_job_is_read_without_the_rest) {
  NewJob fresh{.job_class = "Resize", .args_json = R"(["cat.jpg",[],{}])", .queue = "mail", .jid = "a1"};
  const Job job = encode_new_job(fresh, WallTime{1795219126s}, fixed_jid).value();
  const std::optional<JobHead> head = read_job_head(job.payload());
  ASSERT_TRUE(head);
  EXPECT_EQ(head->jid, "a1");
  EXPECT_EQ(head->job_class, "Resize");
  EXPECT_EQ(head->queue, "mail");
  EXPECT_EQ(head->created_at, WallTime{1795219126s});
  EXPECT_EQ(head->enqueued_at, WallTime{1795219126s});
  // What only the whole reader understands is left to it.
  EXPECT_FALSE(read_job_head(R"({"class":"A","jid":"a\u0031","args":[]})"));
  EXPECT_FALSE(read_job_head(R"({"class":"A","jid":"a1","args":"[]"})"));
  EXPECT_FALSE(read_job_head(R"({"class":"A","jid":"a1","args":[],"retry_queue":"later"})"));
  EXPECT_FALSE(read_job_head(R"({"class":"A","jid":"a1","args":[]} x)"));
}

TEST(JobCodec, a_sidekiq_job_is_read) {
  const Job job = decoded(vectors().arguments("sk6.retry.first", "zadd").at(1));
  EXPECT_EQ(job.job_class(), "FailJob");
  EXPECT_EQ(job.queue(), "low");
  EXPECT_EQ(job.args_json(), R"(["x",42])");
  EXPECT_EQ(job.tags_json(), R"(["alpha","blå"])");
  EXPECT_EQ(job.retry(), RetrySetting::limited(1));
  EXPECT_EQ(job.dialect(), JobDialect::sidekiq);
  EXPECT_EQ(job.retry_count(), 0);
  EXPECT_EQ(job.failure_count(), 1U);
  EXPECT_EQ(job.attempt(), 2U);
  EXPECT_EQ(job.error_class(), "ArgumentError");
  EXPECT_EQ(job.error_message(), "boom: [\"x\", 42] — é");
  EXPECT_EQ(job.failed_at(), at_seconds("1795219323.3354614"));
  EXPECT_EQ(job.retried_at(), std::nullopt);
  EXPECT_TRUE(job.error_backtrace()->ends_with("==\n"));
}

TEST(JobCodec, a_verk_job_is_read) {
  const Job job = decoded(vectors().arguments("verk.enqueue", "lpush").at(0));
  EXPECT_EQ(job.dialect(), JobDialect::verk);
  EXPECT_EQ(job.args_json(), R"([1,{"k":[null,2.5,"ü"]}])");
  EXPECT_EQ(job.max_retry_count(), 25U);
  EXPECT_EQ(job.retry(), RetrySetting{});
  EXPECT_EQ(job.created_at(), std::nullopt);
  EXPECT_EQ(job.enqueued_at()->time_since_epoch(), 1795220240s);
  EXPECT_EQ(job.failure_count(), 0U);
  EXPECT_EQ(decoded(vectors().arguments("verk.dead", "zadd").at(1)).failure_count(), 2U);
}

TEST(JobCodec, an_activejob_envelope_shows_its_class) {
  const Job job = decoded(vectors().arguments("sk8.enqueue.activejob", "lpush").at(0));
  EXPECT_EQ(job.wrapped(), "SomeActiveJob");
  EXPECT_EQ(job.retry(), RetrySetting::off());
}

TEST(JobCodec, views_stay_right_when_a_job_moves) {
  // Short enough for the small-string buffer, and with escapes, so that both stores of text are moved.
  Job first = decoded(R"({"class":"A","jid":"1","args":"[\"x\"]"})");
  const Job second = std::move(first);
  EXPECT_EQ(second.job_class(), "A");
  EXPECT_EQ(second.args_json(), R"(["x"])");
  EXPECT_EQ(second.queue(), "default");
}

TEST(JobCodec, arguments_are_read_in_every_recorded_spelling) {
  const std::pair<const char*, const char*> cases[] = {
      {"[]", "[]"},
      {"[ 1 , 2 ]", "[ 1 , 2 ]"},
      {"{}", "[]"},
      {"{ }", "[]"},
      {R"("[]")", "[]"},
      {R"("{}")", "[]"},
      {R"(" [1] ")", "[1]"},
      {R"("[1,{\"k\":[null,2.5,\"\u00fc\"]}]")", "[1,{\"k\":[null,2.5,\"ü\"]}]"},
      {"[9007199254740993,1e400,-0,18446744073709551616]", "[9007199254740993,1e400,-0,18446744073709551616]"},
      {R"(["\u0000\ud800"])", R"(["\u0000\ud800"])"},
      {R"({"a":1})", nullptr},
      {R"("{\"a\":1}")", nullptr},
      {R"("")", nullptr},
      {R"("[1")", nullptr},
      {R"("[1] [2]")", nullptr},
      {R"("\"[]\"")", nullptr},
      {R"("[\"\ud800\"]")", nullptr},
      {"null", nullptr},
      {"1", nullptr},
      {"true", nullptr},
  };
  for (const auto& [spelled, read] : cases) {
    const Result<Job> job = decode_job(std::string(R"({"class":"A","jid":"1","args":)") + spelled + "}");
    EXPECT_EQ(job ? std::string(job->args_json()) : "refused", read != nullptr ? read : "refused") << spelled;
    if (!job) {
      EXPECT_EQ(job.error().code(), ErrorCode::malformed_job);
    }
  }
}

TEST(JobCodec, every_shape_of_retry_is_read) {
  const std::pair<const char*, RetrySetting> cases[] = {
      {"true", RetrySetting::on()},     {"false", RetrySetting::off()},
      {"0", RetrySetting::limited(0)},  {"3", RetrySetting::limited(3)},
      {"-1", RetrySetting::limited(0)}, {"99999999999999999999", RetrySetting::limited(2147483647)},
      {"null", RetrySetting{}},         {"\"yes\"", RetrySetting{}},
      {"3.5", RetrySetting{}},          {"[]", RetrySetting{}},
      {"1e1", RetrySetting{}},
  };
  for (const auto& [spelled, expected] : cases) {
    EXPECT_EQ(decoded(job_with(std::string(",\"retry\":") + spelled)).retry(), expected) << spelled;
  }
  EXPECT_EQ(decoded(job_with("")).retry(), RetrySetting{});
  EXPECT_EQ(decoded(job_with(",\"retry_for\":3600")).retry_for(), 1h);
  EXPECT_EQ(decoded(job_with(",\"retry_for\":0")).retry_for(), std::nullopt);
  EXPECT_EQ(decoded(job_with(",\"retry_for\":1000000001")).retry_for(), std::nullopt);
  EXPECT_EQ(decoded(job_with(",\"max_retry_count\":null")).dialect(), JobDialect::verk);
  EXPECT_EQ(decoded(job_with(",\"retry_count\":-1,\"failed_at\":1.5")).failure_count(), 0U);
  EXPECT_EQ(decoded(job_with(",\"retry_count\":99999999999")).failure_count(), 2147483647U);
  EXPECT_EQ(decoded(job_with(",\"dead\":false")).dead(), false);
  EXPECT_EQ(decoded(job_with(",\"dead\":\"no\"")).dead(), std::nullopt);
}

TEST(JobCodec, malformed_jobs_say_what_is_wrong_and_where) {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {"not json {", "not a JSON object: expected an object at byte 0"},
      {"", "not a JSON object: expected an object at byte 0"},
      {"[]", "not a JSON object: expected an object at byte 0"},
      {"null", "not a JSON object: expected an object at byte 0"},
      {"{", "not a JSON object: unexpected end at byte 1"},
      {R"({"class":"A",})", "not a JSON object: expected a string at byte 13"},
      {R"({"class" "A"})", "not a JSON object: expected a colon at byte 9"},
      {R"({"class":"A"} x)", "not a JSON object: more after the end at byte 14"},
      {R"({"a":01})", "not a JSON object: number with a leading zero at byte 6"},
      {R"({"a":tru})", "not a JSON object: unexpected character at byte 5"},
      {R"({"a":"\x"})", "not a JSON object: unknown escape in a string at byte 7"},
      {"{\"a\":\"\n\"}", "not a JSON object: control character in a string at byte 6"},
      {R"({"a":NaN})", "not a JSON object: unexpected character at byte 5"},
      {"{}", "missing \"jid\""},
      {R"({"jid":"1"})", "missing \"class\""},
      {R"({"jid":null,"class":"A"})", "missing \"jid\""},
      {R"({"jid":7,"class":"A"})", "\"jid\" must be a string, got 7"},
      {R"({"jid":"","class":"A"})", "jid \"\" must have 1 to 255 bytes, has 0"},
      {R"({"jid":"1","class":["A"]})", R"("class" must be a string, got ["A"])"},
      {R"({"jid":"1","class":"A b"})", "class \"A b\" may have letters, digits, '_', '.', ':', '-' and '/' only"},
      {R"({"jid":"1","class":"A"})", "missing \"args\""},
      {R"({"jid":"1","class":"A","args":[],"queue":5})", "\"queue\" must be a string, got 5"},
      {R"({"jid":"1","class":"A","args":[],"queue":"a/b"})",
       "queue \"a/b\" may have letters, digits, '_', '.', ':' and '-' only"},
      {R"({"jid":"1","class":"A","args":{"a":1}})",
       R"("args" must be an array, or a string that holds one, got {"a":1})"},
      {R"({"jid":"1","class":"A","args":[],"retry_queue":"../"})",
       R"("retry_queue": queue "../" may have letters, digits, '_', '.', ':' and '-' only)"},
  };
  for (const auto& [payload, message] : cases) {
    EXPECT_EQ(message_of(payload), "malformed_job " + std::string(message)) << payload;
  }
  EXPECT_EQ(message_of(std::string_view("{\"a\0\":1}", 8)),
            "malformed_job not a JSON object: control character in a string at byte 3");
}

TEST(JobCodec, every_member_takes_every_kind_of_value_or_says_what_it_wants) {
  const std::vector<std::string> members = {
      "jid",        "class",       "args",        "queue",           "retry_queue",
      "retry",      "retry_for",   "retry_count", "max_retry_count", "dead",
      "created_at", "enqueued_at", "failed_at",   "retried_at",      "at",
      "tags",       "wrapped",     "error_class", "error_message",   "error_backtrace"};
  const std::vector<std::string> values = {"null",
                                           "true",
                                           "0",
                                           "-1",
                                           "7.5",
                                           "1e400",
                                           "123456789012345678901234567890",
                                           "\"\"",
                                           "\"x\"",
                                           "\"7\"",
                                           "[]",
                                           "[1,{\"a\":[]}]",
                                           "{}",
                                           "{\"a\":1}",
                                           R"("\ud800")",
                                           "\"\xff\"",
                                           R"("a\nb")"};
  const auto is_text = [](const std::string& value) { return value.front() == '"'; };
  const auto is_name = [](const std::string& value) { return value == "\"x\""; };
  int read = 0;
  int refused = 0;
  for (const std::string& member : members) {
    for (const std::string& value : values) {
      std::string payload = "{";
      for (const auto& [name, otherwise] :
           {std::pair("jid", "\"j\""), std::pair("class", "\"C\""), std::pair("args", "[]")}) {
        payload += concat("\"", name, "\":", member == name ? value : otherwise, ",");
      }
      payload += member == "jid" || member == "class" || member == "args" ? R"("x":1})"
                                                                          : concat("\"", member, "\":", value, "}");
      bool is_job = true;
      if (member == "jid") is_job = is_name(value) || value == "\"7\"" || value == R"("\ud800")";  // reads as U+FFFD
      if (member == "class") is_job = is_name(value);
      if (member == "args") is_job = value.front() == '[' || value == "{}";
      if (member == "queue" || member == "retry_queue") is_job = is_name(value) || value == "\"7\"" || value == "null";
      const Result<Job> job = decode_job(payload);
      ASSERT_EQ(job.has_value(), is_job) << payload;
      if (!job) {
        EXPECT_EQ(job.error().code(), ErrorCode::malformed_job);
        EXPECT_TRUE(json::is_utf8(job.error().message())) << payload;
        ++refused;
        continue;
      }
      ++read;
      // Whatever is odd about a member that only steers or is shown is as if it were absent, and stays where it is.
      EXPECT_EQ(job->payload(), payload);
      EXPECT_EQ(job->wrapped().has_value(), member == "wrapped" && is_text(value)) << payload;
      EXPECT_EQ(job->tags_json().has_value(), member == "tags" && value.front() == '[') << payload;
      EXPECT_EQ(job->dead().has_value(), member == "dead" && value == "true") << payload;
      const JobFailure failure{.error_class = "E", .message = "m", .failed_at = at_seconds("5")};
      const Job failed = decoded(failed_payload(*job, failure).value());
      EXPECT_EQ(failed.error_message(), "m") << payload;
      constexpr std::int64_t count_limit = std::numeric_limits<std::int32_t>::max();  // where counting ends
      EXPECT_EQ(failed.failure_count(), std::min<std::int64_t>(job->failure_count() + 1, count_limit)) << payload;
    }
  }
  EXPECT_GE(read + refused, 300);
  EXPECT_GE(refused, 50);
}

TEST(JobCodec, the_last_of_several_members_counts_and_keys_may_be_escaped) {
  const Job job = decoded(
      R"({"jid":"1","class":"A","class":"B","args":[1],"args":[2],"\u0071ueue":"low","retry":5,"retry":false})");
  EXPECT_EQ(job.job_class(), "B");
  EXPECT_EQ(job.args_json(), "[2]");
  EXPECT_EQ(job.queue(), "low");
  EXPECT_EQ(job.retry(), RetrySetting::off());
}

TEST(JobCodec, a_missing_queue_is_the_one_the_job_was_taken_from) {
  const Result<Job> job = decode_job(R"({"jid":"1","class":"A","args":[]})", "low");
  ASSERT_TRUE(job);
  EXPECT_EQ(job->queue(), "low");
  EXPECT_FALSE(job->names_queue());
  EXPECT_EQ(decode_job(R"({"jid":"1","class":"A","args":[],"queue":null})", "low")->queue(), "low");
}

TEST(JobCodec, size_and_depth_are_limited) {
  const CodecOptions options{.payload_size_limit = 200, .depth_limit = 4};
  const auto padded = [](std::size_t size, const std::string& more) {
    std::string payload = R"({"jid":"1","class":"A","args":[],"x":")";
    payload.append(size - payload.size() - 2 - more.size(), 'x').append("\"").append(more).append("}");
    return payload;
  };
  EXPECT_EQ(message_of(padded(200, ""), options), "accepted");
  EXPECT_EQ(message_of(padded(201, ""), options), "too_large job of 201 bytes, the limit is 200");
  // What our own failure record added must not make a job unreadable.
  EXPECT_EQ(message_of(padded(200 + failure_headroom, ",\"failed_at\":1.0"), options), "accepted");
  EXPECT_TRUE(message_of(padded(201 + failure_headroom, ",\"failed_at\":1.0"), options).starts_with("too_large"));

  EXPECT_EQ(message_of(R"({"jid":"1","class":"A","args":[[[]]]})", options), "accepted");
  EXPECT_EQ(message_of(R"({"jid":"1","class":"A","args":[[[[]]]]})", options),
            "malformed_job not a JSON object: nested deeper than the limit at byte 33");
  const std::string deep = "{\"a\":" + std::string(100'000, '[');
  EXPECT_TRUE(message_of(deep).starts_with("malformed_job not a JSON object: nested deeper"));
  const auto nested = [](std::size_t depth) {
    return R"({"jid":"1","class":"A","args":)" + std::string(depth, '[') + std::string(depth, ']') + "}";
  };
  EXPECT_EQ(message_of(nested(127)), "accepted");
  EXPECT_TRUE(message_of(nested(128)).starts_with("malformed_job"));
}

TEST(JobCodec, a_hundred_thousand_members_are_read) {
  std::string payload = R"({"jid":"1","class":"A","args":[])";
  for (int index = 0; index < 100'000; ++index) payload.append(",\"k\":1");
  EXPECT_EQ(message_of(payload + "}"), "accepted");
}

// ---- writing ----

TEST(JobCodec, a_new_job_is_written_as_sidekiq_writes_it) {
  const std::string sk6 = vectors().arguments("sk6.enqueue.unicode_bigint", "lpush").at(0);
  const NewJob job{.job_class = "OkJob",
                   .args_json = R"([1,"two",{"three":[3.5,null,true,"ü/</script>"]},9007199254740993])",
                   .jid = "80c3587c1f7dedbfff7916e2"};
  const Result<Job> made = encode_new_job(job, at_seconds("1795219322.516784"));
  ASSERT_TRUE(made) << made.error().message();
  EXPECT_EQ(enqueued_payload(*made, at_seconds("1795219322.5169897")).value(), sk6);

  const std::string sk8 = vectors().arguments("sk8.enqueue.empty_args", "lpush").at(0);
  const Result<Job> in_millis =
      encode_new_job({.job_class = "OkJob", .jid = "7183996c8d7989fa77fd0aab"}, at_seconds("1795219322.3805"),
                     fixed_jid, {.timestamps = TimestampFormat::millis});
  ASSERT_TRUE(in_millis);
  EXPECT_EQ(in_millis->payload(), sk8);
}

TEST(JobCodec, a_new_job_has_every_option_in_a_fixed_order) {
  const NewJob job{.job_class = "Mail::Send",
                   .args_json = "[1]",
                   .queue = "mail",
                   .jid = {},
                   .retry = RetrySetting::limited(3),
                   .retry_for = 60s,
                   .retry_queue = "low",
                   .tags = {"a\"b", "ü"},
                   .dead = false,
                   .scheduled = true};
  const Result<Job> made = encode_new_job(job, at_seconds("5"), fixed_jid);
  ASSERT_TRUE(made) << made.error().message();
  EXPECT_EQ(
      made->payload(),
      R"({"retry":3,"queue":"mail","retry_for":60,"retry_queue":"low","tags":["a\"b","ü"],"dead":false,"args":[1],)"
      R"("class":"Mail::Send","jid":"0123456789abcdef01234567","created_at":5.0})");
}

TEST(JobCodec, a_new_job_outside_the_rules_is_refused) {
  const auto refusal = [](const NewJob& job, const CodecOptions& options = {}) {
    const Result<Job> made = encode_new_job(job, WallTime{}, fixed_jid, options);
    return made ? ErrorCode::internal : made.error().code();
  };
  EXPECT_EQ(refusal({.job_class = "A b"}), ErrorCode::invalid_argument);
  EXPECT_EQ(refusal({.job_class = "A", .queue = "2026-11-21"}), ErrorCode::invalid_argument);
  EXPECT_EQ(refusal({.job_class = "A", .jid = "\n"}), ErrorCode::invalid_argument);
  EXPECT_EQ(refusal({.job_class = "A", .retry_for = 0s}), ErrorCode::invalid_argument);
  EXPECT_EQ(refusal({.job_class = "A", .retry_queue = "/"}), ErrorCode::invalid_argument);
  EXPECT_EQ(refusal({.job_class = "A", .tags = {"\xff"}}), ErrorCode::invalid_argument);
  EXPECT_EQ(refusal({.job_class = "A", .args_json = "{}"}), ErrorCode::malformed_job);
  EXPECT_EQ(refusal({.job_class = "A", .args_json = R"([1],"queue":"admin")"}), ErrorCode::malformed_job);
  EXPECT_EQ(refusal({.job_class = "A", .args_json = std::string(128, '[') + std::string(128, ']')}),
            ErrorCode::malformed_job);
  EXPECT_EQ(refusal({.job_class = "A", .args_json = "[\"" + std::string(1U << 20U, 'x') + "\"]"}),
            ErrorCode::too_large);
  EXPECT_EQ(refusal({.job_class = "A"}, {.payload_size_limit = 50}), ErrorCode::too_large);
}

TEST(JobCodec, generated_jids_are_24_hexadecimal_digits) {
  const std::string jid = random_jid();
  EXPECT_EQ(jid.size(), 24U);
  EXPECT_EQ(jid.find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_NE(jid, random_jid());
}

TEST(JobCodec, a_job_of_a_client_is_completed_and_otherwise_left_alone) {
  const auto prepared = [](std::string_view json) { return prepare_job(json, at_seconds("100"), "low", fixed_jid); };
  const Result<PreparedJob> bare = prepared(R"({"class":"A", "args":[1.0,1e2] ,"x":{"y" : []}})");
  ASSERT_TRUE(bare) << bare.error().message();
  EXPECT_EQ(bare->job.payload(), R"({"class":"A", "args":[1.0,1e2] ,"x":{"y" : []},"retry":true,"queue":"low",)"
                                 R"("jid":"0123456789abcdef01234567","created_at":100.0,"enqueued_at":100.0})");
  EXPECT_EQ(bare->due, std::nullopt);

  const Result<PreparedJob> full =
      prepared(R"({"at":200,"class":"A","args":[],"queue":"q","jid":"1","retry":2,"created_at":7,"enqueued_at":null})");
  ASSERT_TRUE(full);
  EXPECT_EQ(full->job.payload(), R"({"class":"A","args":[],"queue":"q","jid":"1","retry":2,"created_at":7})");
  EXPECT_EQ(full->due, at_seconds("200"));

  const Result<PreparedJob> past =
      prepared(R"({"class":"A","args":[],"queue":null,"jid":"1","at":99.5,"retry":false})");
  ASSERT_TRUE(past);
  EXPECT_EQ(past->due, std::nullopt);
  EXPECT_EQ(past->job.payload(),
            R"({"class":"A","args":[],"queue":"low","jid":"1","retry":false,"created_at":100.0,"enqueued_at":100.0})");

  EXPECT_EQ(prepared(R"({"class":"A","args":[],"at":"soon"})").error().message(),
            "\"at\" must be a time in seconds, got \"soon\"");
  EXPECT_EQ(prepared(R"({"class":"A"})").error().message(), "missing \"args\"");
  EXPECT_EQ(prepared("[").error().code(), ErrorCode::malformed_job);
}

// ---- edits ----

TEST(JobEdit, replaces_in_place_appends_and_removes) {
  const std::string_view payload = "\t{ \"queue\" : \"a\" , \"x\":1e400,\"retry_count\":\n0 , \"y\":[ ] } \n";
  JobEdit edit;
  edit.set(OwnedMember::queue, "b")
      .set(OwnedMember::retry_count, 7)
      .set(OwnedMember::error_message, "no \"luck\"\n\x01");
  EXPECT_EQ(edit_job(payload, edit).value(),
            "\t{ \"queue\" : \"b\" , \"x\":1e400,\"retry_count\":\n7 , \"y\":[ ] ,\"error_message\":\"no "
            "\\\"luck\\\"\\n\\u0001\"} \n");
  JobEdit removal;
  removal.remove(OwnedMember::queue).remove(OwnedMember::retry_count).remove(OwnedMember::at);
  EXPECT_EQ(edit_job(payload, removal).value(), "\t{ \"x\":1e400, \"y\":[ ] } \n");
}

TEST(JobEdit, works_on_objects_with_nothing_else) {
  JobEdit edit;
  edit.set(OwnedMember::retry, false);
  EXPECT_EQ(edit_job("{}", edit).value(), R"({"retry":false})");
  EXPECT_EQ(edit_job("{ }", edit).value(), R"({ "retry":false})");
  EXPECT_EQ(edit_job(R"({"retry":1})", JobEdit{}.remove(OwnedMember::retry)).value(), "{}");
  EXPECT_EQ(edit_job(R"({"retry":1})", JobEdit{}.remove(OwnedMember::retry).set(OwnedMember::jid, "1")).value(),
            R"({"jid":"1"})");
}

TEST(JobEdit, a_later_change_of_the_same_member_replaces_the_earlier_one) {
  JobEdit edit;
  edit.set(OwnedMember::queue, "a").remove(OwnedMember::queue).set(OwnedMember::queue, "b");
  EXPECT_EQ(edit_job("{}", edit).value(), R"({"queue":"b"})");
}

TEST(JobEdit, an_edited_member_that_occurs_twice_stays_once_and_others_stay_twice) {
  const std::string_view payload = R"({"x":1,"queue":"a","x":2,"\u0071ueue":"b","x":3})";
  EXPECT_EQ(edit_job(payload, JobEdit{}.set(OwnedMember::queue, "c")).value(),
            R"({"x":1,"x":2,"\u0071ueue":"c","x":3})");
  EXPECT_EQ(edit_job(payload, JobEdit{}.remove(OwnedMember::queue)).value(), R"({"x":1,"x":2,"x":3})");
}

TEST(JobEdit, what_is_no_object_is_refused) {
  for (const char* payload : {"", "[]", "{", "{\"a\":}", "{} {}"}) {
    const Result<std::string> edited = edit_job(payload, JobEdit{});
    ASSERT_FALSE(edited) << payload;
    EXPECT_EQ(edited.error().code(), ErrorCode::malformed_job);
  }
}

// An object whose segments the test knows, so that the expected bytes need no parser.
struct Segment {
  std::string key;   // as meant
  std::string text;  // white space, key, colon, value, white space
  std::string before_value;
  std::string after_value;
};

rc::Gen<std::string> any_space() { return rc::gen::container<std::string>(rc::gen::element(' ', '\n', '\t', '\r')); }

rc::Gen<std::string> any_json(int depth) {
  auto scalar = rc::gen::element<std::string>(
      "0", "-0", "9007199254740993", "1e400", "-1.50E-07", "123456789012345678901234567890", "true", "null", "\"\"",
      R"("\u00FC\/\n")", R"("\ud800")", "\"ü/</script>\"", "\"\xff\xfe\"", R"("a,b}]")", "[]", "{}", "[ ]", "{ }");
  if (depth == 0) return scalar;
  const auto list =
      rc::gen::map(rc::gen::container<std::vector<std::string>>(any_json(depth - 1)), [](const auto& values) {
        std::string text = "[";
        for (const auto& value : values) text.append(text.size() > 1 ? " ," : "").append(value);
        return text + "]";
      });
  const auto object =
      rc::gen::map(rc::gen::container<std::vector<std::string>>(any_json(depth - 1)), [](const auto& values) {
        std::string text = "{";
        for (const auto& value : values) text.append(text.size() > 1 ? "," : "").append("\"queue\": ").append(value);
        return text + "}";
      });
  return rc::gen::oneOf(scalar, scalar, list, object);
}

rc::Gen<Segment> any_segment() {
  const auto key = rc::gen::element<std::pair<std::string, std::string>>(
      std::pair{"x", "x"}, std::pair{"cattr", "cattr"}, std::pair{"", ""}, std::pair{"ü", "\\u00fc"},
      std::pair{"a\"b", "a\\\"b"}, std::pair{"\xff", "\xff"}, std::pair{"queue", "queue"},
      std::pair{"queue", "que\\u0075e"}, std::pair{"retry_count", "retry_count"}, std::pair{"failed_at", "failed_at"},
      std::pair{"error_message", "error_message"}, std::pair{"at", "at"}, std::pair{"retry_counter", "retry_counter"},
      std::pair{"Queue", "Queue"});
  return rc::gen::map(rc::gen::tuple(any_space(), key, any_space(), any_space(), any_json(2), any_space()),
                      [](const auto& parts) {
                        const auto& [space1, key_pair, space2, space3, value, space4] = parts;
                        Segment segment{.key = key_pair.first, .text = {}, .before_value = {}, .after_value = space4};
                        segment.before_value = space1 + "\"" + key_pair.second + "\"" + space2 + ":" + space3;
                        segment.text = segment.before_value + value + space4;
                        return segment;
                      });
}

RC_GTEST_PROP(JobEdit, twenty_edits_change_no_byte_that_is_not_ours, ()) {
  std::vector<Segment> model = *rc::gen::container<std::vector<Segment>>(any_segment());
  const std::string before = *any_space();
  const std::string after = *any_space();
  const auto whole = [&] {
    std::string text = before + "{";
    for (const Segment& segment : model) text.append(&segment == &model.front() ? "" : ",").append(segment.text);
    return text + "}" + after;
  };
  const std::pair<OwnedMember, std::string> members[] = {{OwnedMember::queue, "queue"},
                                                         {OwnedMember::retry_count, "retry_count"},
                                                         {OwnedMember::failed_at, "failed_at"},
                                                         {OwnedMember::error_message, "error_message"},
                                                         {OwnedMember::at, "at"}};
  std::string payload = whole();
  for (int round = 0; round < 20; ++round) {
    const auto& [member, key] = members[*rc::gen::inRange<std::size_t>(0, 5)];
    const bool removes = *rc::gen::element(true, false, false);
    const int number = *rc::gen::inRange(-1000, 1000);
    std::size_t last = model.size();
    for (std::size_t index = 0; index < model.size(); ++index) {
      if (model[index].key == key) last = index;
    }
    if (removes) {
      std::erase_if(model, [&key](const Segment& segment) { return segment.key == key; });
      payload = edit_job(payload, JobEdit{}.remove(member)).value();
    } else {
      const std::string value = std::to_string(number);
      if (last == model.size()) {
        const std::string before_value = concat("\"", key, "\":");
        model.push_back({.key = key, .text = before_value + value, .before_value = before_value, .after_value = ""});
      } else {
        model[last].text = model[last].before_value + value + model[last].after_value;
        const Segment kept = model[last];
        model[last].key = "\x01kept";
        std::erase_if(model, [&key](const Segment& segment) { return segment.key == key; });
        for (Segment& segment : model) {
          if (segment.key == "\x01kept") segment = kept;
        }
      }
      payload = edit_job(payload, JobEdit{}.set(member, number)).value();
    }
    RC_ASSERT(payload == whole());
  }
}

/// Members as Sidekiq, Verk and Active Job have them, and some that nobody knows, in any order.
std::vector<std::string> any_members() {
  std::vector<std::string> members = {
      *rc::gen::element<std::string>(R"("jid" :"0123456789abcdef01234567")", R"("j\u0069d":"7")"),
      *rc::gen::element<std::string>(R"("class":"OkJob")",
                                     R"("class":"Sidekiq::ActiveJob::Wrapper" , "wrapped":"Real")"),
      *rc::gen::element<std::string>(R"("args":[ 9007199254740993,-0,1e400,"\u00fc",[],{}])",
                                     R"("args":"[1,{\"k\":[]}]")", R"("args":{})", R"("args":"{}")"),
  };
  for (const char* member :
       {R"("queue":"default")", R"("retry":true)", R"("retry": 5)", R"("max_retry_count":null)", R"("retry_for":3600)",
        R"("retry_queue":"low")", R"("dead":false)", R"("tags":["a", "\u00e5"])", R"("bid":"B-1")",
        R"("cattr":{"user":{"id":1.50}})", R"("cattr_1":{})", R"("created_at":1795219126)", R"("finished_at":null)",
        R"("error_backtrace":"eJyLVkosKNBPS8zMic\/KT9IrSrIyt8rMU0goSC1Ky\n")", R"("error_backtrace":["a","b"])",
        R"("enqueued_at":1795219322381)", R"("failed_at":null)", R"("retry_count":0)", R"("locale":"d\ud800")"}) {
    if (*rc::gen::arbitrary<bool>()) members.emplace_back(member);
  }
  for (const Segment& segment : *rc::gen::container<std::vector<Segment>>(any_segment())) {
    static const std::set<std::string, std::less<>> ours = {"queue", "retry_count", "failed_at", "error_message", "at"};
    if (!ours.contains(segment.key)) members.push_back(segment.text);
  }
  for (std::size_t index = members.size(); index > 1; --index) {
    std::swap(members[index - 1], members[*rc::gen::inRange<std::size_t>(0, index)]);
  }
  return members;
}

/// Whether this change may rewrite the member, which `text` spells.
bool is_written_by_us(std::string_view text) {
  for (const char* name : {R"("queue")", R"("enqueued_at")", R"("failed_at")", R"("retry_count")"}) {
    if (text.starts_with(name)) return true;
  }
  return false;
}

RC_GTEST_PROP(JobPayload, a_job_that_moves_twenty_times_keeps_every_byte_that_we_do_not_own, ()) {
  const std::vector<std::string> members = any_members();
  std::string payload = "{";
  for (const std::string& member : members) payload.append(payload.size() > 1 ? "," : "").append(member);
  payload += "}";
  const Result<Job> first = decode_job(payload);
  RC_ASSERT(first.has_value());
  std::string now = payload;
  for (int round = 0; round < 20; ++round) {
    const Job job = decoded(now);
    const WallTime at{std::chrono::milliseconds(1'795'219'126'250 + round)};
    switch (*rc::gen::inRange(0, 4)) {
      case 0: now = failed_payload(job, {.error_class = "E", .message = "m\n\"", .failed_at = at}).value(); break;
      case 1: now = enqueued_payload(job, at).value(); break;
      case 2: now = retried_by_hand_payload(job, at).value(); break;
      default: now = enqueued_payload(job, at, {.timestamps = TimestampFormat::millis}).value(); break;
    }
    const Job moved = decoded(now);
    RC_ASSERT(moved.jid() == first->jid());
    RC_ASSERT(moved.job_class() == first->job_class());
    RC_ASSERT(moved.args_json() == first->args_json());
    RC_ASSERT(moved.retry() == first->retry());
    RC_ASSERT(moved.max_retry_count() == first->max_retry_count());
    RC_ASSERT(moved.dialect() == first->dialect());
    // Whatever we do not write stands there as it was spelled, in its old order.
    std::size_t from = 0;
    for (const std::string& member : members) {
      if (is_written_by_us(member)) continue;
      const std::size_t found = now.find(member, from);
      RC_ASSERT(found != std::string::npos);
      from = found + member.size();
    }
  }
}

// ---- life of a payload ----

TEST(JobPayload, a_sidekiq_8_job_fails_waits_fails_again_and_matches_the_recording) {
  const CodecOptions millis{.timestamps = TimestampFormat::millis};
  const std::string waiting = vectors().arguments("sk8.retry.first", "zadd").at(1);
  const std::string dead = vectors().arguments("sk8.dead.retries_exhausted", "zadd").at(1);
  const auto without_backtrace = [](std::string_view payload) {
    return edit_job(payload, JobEdit{}.remove(OwnedMember::error_backtrace)).value();
  };
  const JobFailure failure{
      .error_class = "ArgumentError", .message = "boom: [\"x\", 42] — é", .failed_at = at_seconds("1795219323.209")};
  const Job fresh =
      decoded(R"({"retry":1,"queue":"low","backtrace":3,"tags":["alpha","blå"],"args":["x",42],"class":"FailJob",)"
              R"("jid":"e5a580c19e85d9290842efeb","created_at":1795219322381,"enqueued_at":1795219322381})");
  EXPECT_EQ(failed_payload(fresh, failure, millis).value(), without_backtrace(waiting));

  const WallTime again = at_seconds("1795219333.320");
  const Job promoted = decoded(enqueued_payload(decoded(waiting), again, millis).value());
  const JobFailure second{.error_class = failure.error_class, .message = failure.message, .failed_at = again};
  EXPECT_EQ(failed_payload(promoted, second, millis).value(), dead);
}

TEST(JobPayload, a_sidekiq_6_job_fails_again_and_matches_the_recording) {
  const Job waiting = decoded(vectors().arguments("sk6.retry.first", "zadd").at(1));
  const Job promoted = decoded(enqueued_payload(waiting, at_seconds("1795219326.0692315")).value());
  const JobFailure failure{
      .error_class = "ArgumentError", .message = "boom: [\"x\", 42] — é", .failed_at = at_seconds("1795219326.069673")};
  EXPECT_EQ(failed_payload(promoted, failure).value(), vectors().arguments("sk6.dead.retries_exhausted", "zadd").at(1));
}

TEST(JobPayload, a_scheduled_job_is_promoted_as_recorded) {
  const Job sk6 = decoded(vectors().arguments("sk6.schedule", "zadd").at(1));
  EXPECT_EQ(enqueued_payload(sk6, at_seconds("1795219326.0745006")).value(),
            vectors().arguments("sk6.promote.scheduled", "lpush").at(0));
  const Job sk8 = decoded(vectors().arguments("sk8.schedule", "zadd").at(1));
  EXPECT_EQ(enqueued_payload(sk8, at_seconds("1795219324.919"), {.timestamps = TimestampFormat::millis}).value(),
            vectors().arguments("sk8.promote.scheduled", "lpush").at(0));
}

TEST(JobPayload, a_verk_job_keeps_verks_numbering_and_its_members) {
  const Job fresh = decoded(vectors().arguments("verk.retry_then_ack", "lrem").at(1));
  const JobFailure failure{
      .error_class = "RuntimeError", .message = "boom \"x\"", .failed_at = at_seconds("1795220242")};
  const std::string waiting = failed_payload(fresh, failure).value();
  EXPECT_EQ(waiting,
            R"({"args":"[\"x\"]","class":"FailJob","created_at":null,"enqueued_at":1795220240,"error_backtrace":null,)"
            R"("error_message":"boom \"x\"","failed_at":1795220242.0,"finished_at":null,"jid":"32953949803269160636",)"
            R"("max_retry_count":1,"queue":"default","retried_at":null,"retry_count":1,"error_class":"RuntimeError"})");
  EXPECT_EQ(decoded(waiting).failure_count(), 1U);
  EXPECT_EQ(decoded(failed_payload(decoded(waiting), failure).value()).retry_count(), 2);
}

TEST(JobPayload, retries_use_the_retry_queue) {
  const Job job = decoded(vectors().arguments("sk8.enqueue.options", "lpush").at(0));
  const Job failed =
      decoded(failed_payload(job, {.error_class = "E", .message = "m", .failed_at = WallTime{}}).value());
  EXPECT_EQ(failed.queue(), "low");
  EXPECT_NE(failed.payload().find(R"("bid":"BATCHID","cattr":{"user":1},"display_class":"Shown")"),
            std::string_view::npos);
}

TEST(JobPayload, a_retry_by_hand_uses_up_no_retry) {
  const Job waiting = decoded(job_with(R"(,"retry_count":0,"failed_at":5.0)"));
  const Job by_hand = decoded(retried_by_hand_payload(waiting, at_seconds("9")).value());
  EXPECT_EQ(by_hand.payload(), job_with(R"(,"retry_count":-1,"failed_at":5.0,"enqueued_at":9.0)"));
  const Job failed =
      decoded(failed_payload(by_hand, {.error_class = "E", .message = "m", .failed_at = at_seconds("10")}).value());
  EXPECT_EQ(failed.retry_count(), 0);
  EXPECT_EQ(failed.failed_at(), at_seconds("5"));
  EXPECT_EQ(failed.retried_at(), at_seconds("10"));
}

TEST(JobPayload, error_texts_are_cut_and_scrubbed) {
  std::string message = "\xff";
  for (int index = 0; index < 20'000; ++index) message.append("é");
  const Job job = decoded(job_with(""));
  const std::string payload =
      failed_payload(job, {.error_class = std::string(1000, 'E'), .message = message, .failed_at = WallTime{}}).value();
  EXPECT_TRUE(json::is_utf8(payload));
  const Job failed = decoded(payload);
  EXPECT_EQ(failed.error_class()->size(), 255U);
  EXPECT_TRUE(failed.error_message()->starts_with("\xEF\xBF\xBDéé"));
  EXPECT_EQ(failed.error_message()->size(), 3U + 2U * 9'999U);  // 10,000 characters
}

TEST(JobPayload, the_largest_job_with_the_longest_error_is_still_read) {
  const CodecOptions options{.payload_size_limit = 300};
  std::string payload = job_with(R"(,"x":")");
  payload.insert(payload.size() - 1, 299 - payload.size(), 'x');
  payload.insert(payload.size() - 1, "\"");
  ASSERT_EQ(payload.size(), 300U);
  Job job = decode_job(payload, "default", options).value();
  const JobFailure failure{
      .error_class = std::string(300, '\x01'), .message = std::string(20'000, '\x01'), .failed_at = WallTime{}};
  for (int run = 0; run < 3; ++run) {
    job = decode_job(failed_payload(job, failure, options).value(), "default", options).value();
    job = decode_job(enqueued_payload(job, WallTime{}, options).value(), "default", options).value();
  }
  EXPECT_EQ(job.failure_count(), 3U);
}

// ---- hostile bytes ----

RC_GTEST_PROP(JobCodec, random_bytes_are_read_or_refused_but_never_crash, ()) {
  const auto bytes = *rc::gen::container<std::string>(
      rc::gen::oneOf(rc::gen::arbitrary<char>(),
                     rc::gen::element('{', '}', '[', ']', '"', ',', ':', '\\', 'u', '0', '1', 'e', '-', '.', ' ')));
  const Result<Job> job = decode_job(bytes);
  RC_ASSERT(head_agrees(bytes, job));
  if (!job) RC_ASSERT(job.error().code() == ErrorCode::malformed_job);
  const Result<PreparedJob> prepared = prepare_job(bytes, WallTime{}, "default", fixed_jid);
  if (!prepared) RC_ASSERT(prepared.error().code() == ErrorCode::malformed_job);
}

RC_GTEST_PROP(JobCodec, a_recorded_payload_with_random_damage_is_read_or_refused_but_never_crashes, ()) {
  static const std::vector<std::string> payloads = recorded_payloads();
  std::string payload = *rc::gen::elementOf(payloads);
  for (int change = *rc::gen::inRange(1, 5); change > 0; --change) {
    const auto place = *rc::gen::inRange<std::size_t>(0, payload.size());
    if (*rc::gen::arbitrary<bool>()) {
      payload[place] = *rc::gen::arbitrary<char>();
    } else {
      payload.erase(place, *rc::gen::inRange<std::size_t>(1, 20));
    }
    if (payload.empty()) break;
  }
  const Result<Job> job = decode_job(payload);
  RC_ASSERT(head_agrees(payload, job));
  if (!job) return;
  RC_ASSERT(job->payload() == payload);
  const JobFailure failure{.error_class = "E", .message = payload, .failed_at = WallTime{}};
  const Result<Job> failed = decode_job(failed_payload(*job, failure).value());
  RC_ASSERT(failed.has_value());
  RC_ASSERT(failed->jid() == job->jid());
  RC_ASSERT(failed->args_json() == job->args_json());
  RC_ASSERT(failed->failure_count() == job->failure_count() + 1);
}

// Another parser is the judge of what is JSON. It has no opinion when it gives up early, at an exponent beyond its
// numbers.
std::optional<bool> other_parser_accepts(std::string_view text) {
  boost::json::parse_options options;
  options.allow_invalid_utf8 = true;
  options.max_depth = 128;
  boost::json::error_code error;
  boost::json::parse(boost::json::string_view(text.data(), text.size()), error, {}, options);
  if (error == boost::json::error::exponent_overflow) return std::nullopt;
  return !error;
}

bool scanner_accepts(std::string_view text) {
  json::Scanner scanner(text, 128);
  scanner.skip_space();
  if (!scanner.skip_value()) return false;
  scanner.skip_space();
  return scanner.at_end();
}

TEST(JsonText, a_byte_of_a_text_or_number_counts_wherever_it_stands) {
  for (std::size_t size = 0; size <= 20; ++size) {
    for (std::size_t place = 0; place < size; ++place) {
      for (unsigned value = 0; value < 256; ++value) {
        const char byte = static_cast<char>(value);
        std::string text = concat("\"", std::string(size, 'a'), "\"");
        text[place + 1] = byte;
        json::Scanner scanner(text, 0);
        const bool read = scanner.skip_value();
        if (byte == '"') {
          ASSERT_TRUE(read && scanner.at() == place + 2);
        } else if (byte == '\\') {  // of an "a", or of the quote at the end
          ASSERT_FALSE(read);
          ASSERT_EQ(scanner.fault().offset, place + 1 == size ? text.size() : place + 2);
        } else if (value < 0x20) {
          ASSERT_FALSE(read);
          ASSERT_EQ(scanner.fault().describe(), concat("control character in a string at byte ", place + 1));
        } else {
          ASSERT_TRUE(read && scanner.at_end() && !scanner.text_escaped());
        }

        std::string digits(size, '7');
        digits[place] = byte;
        json::Scanner number(digits, 0);
        const bool goes_on = value >= '0' && value <= '9' && (byte != '0' || place > 0);
        if (goes_on) {
          ASSERT_TRUE(number.skip_value() && number.at_end());
        } else if (place > 0 && byte != '.' && byte != 'e' && byte != 'E') {
          ASSERT_TRUE(number.skip_value() && number.at() == place);
        }

        std::string jid(size, 'j');
        jid[place] = byte;
        ASSERT_EQ(check_jid(jid).has_value(), value >= 0x20 && value < 0x7F);
      }
    }
  }
}

RC_GTEST_PROP(JsonText, agrees_with_another_parser_about_what_is_json, ()) {
  std::string text = *any_json(3);
  for (int change = *rc::gen::inRange(0, 3); change > 0; --change) {
    const auto place = *rc::gen::inRange<std::size_t>(0, text.size() + 1);
    const std::string inserted =
        *rc::gen::element<std::string>("", "0", "-", ".", "e", "E+", "\"", "\\", "\\u00", ",", ":", "]", "}", "[", "{",
                                       " ", "\t", "\v", "tru", "null", "//", "\x01", "1", "'");
    if (*rc::gen::arbitrary<bool>() && place < text.size()) text.erase(place, 1);
    text.insert(std::min(place, text.size()), inserted);
  }
  const bool accepted = scanner_accepts(text);
  // It refuses lone surrogates, we pass them on.
  if (accepted && text.find("\\ud") != std::string::npos) return;
  RC_ASSERT(other_parser_accepts(text).value_or(accepted) == accepted);
}

RC_GTEST_PROP(JsonText, any_text_survives_being_written_and_read, ()) {
  const auto bytes = *rc::gen::arbitrary<std::string>();
  std::string written;
  json::append_text(written, bytes);
  RC_ASSERT(scanner_accepts(written));
  std::string read;
  RC_ASSERT(json::decode_text(std::string_view(written).substr(1, written.size() - 2), read));
  RC_ASSERT(json::is_utf8(read));
  if (json::is_utf8(bytes)) {
    RC_ASSERT(read == bytes);
    RC_ASSERT(std::string_view(boost::json::parse(written).as_string()) == bytes);
  }
}

TEST(JsonText, escapes_are_decoded) {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {R"(\"\\\/\b\f\n\r\t)", "\"\\/\b\f\n\r\t"},
      {R"(\u0041\u00fc\u20AC)", "Aü€"},
      {R"(\ud83d\uDE00)", "😀"},
      {"plain", "plain"},
  };
  for (const auto& [spelled, meant] : cases) {
    std::string out;
    EXPECT_TRUE(json::decode_text(spelled, out));
    EXPECT_EQ(out, meant);
  }
  for (const char* wrong : {R"(\ud83d)", R"(\ude00)", R"(\ud83d\u0041)", R"(\ud83dx)", "\xc0\x80", "\xed\xa0\x80",
                            "\xf5\x80\x80\x80", "\xe2\x82"}) {
    std::string out;
    EXPECT_FALSE(json::decode_text(wrong, out)) << wrong;
    EXPECT_TRUE(json::is_utf8(out));
  }
}

}  // namespace
}  // namespace dagverk::jobs
