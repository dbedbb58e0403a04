#include "dagverk/jobs/job_codec.hpp"
#include "dagverk/jobs/job_events.hpp"
#include "dagverk/jobs/retry_policy.hpp"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <set>
#include <stdexcept>

namespace dagverk::jobs {
namespace {

using namespace std::chrono_literals;
using Action = RetryDecision::Action;

constexpr WallTime now{Duration{1'795'219'126s}};

Job job_with(std::string_view members) {
  return decode_job(std::string(R"({"class":"OkJob","args":[],"queue":"default","jid":"j1")") + std::string(members) +
                    "}")
      .value();
}

Action action_for(std::string_view members, const RetryPolicy& policy = {}) {
  Random random(1);
  return decide_retry(job_with(members), policy, now, random).action;
}

// ---- retry policy ----

TEST(RetryPolicy, the_standard_back_off_is_sidekiqs) {
  Random random(7);
  for (std::uint32_t index = 0; index <= 25; ++index) {
    const std::int64_t base = std::int64_t{index} * index * index * index + 15;
    bool varies = false;
    const Duration first = standard_backoff(index, random);
    for (int draw = 0; draw < 50; ++draw) {
      const Duration delay = standard_backoff(index, random);
      const Duration jitter = delay - std::chrono::seconds(base);
      EXPECT_GE(jitter, 0s);
      EXPECT_LE(jitter, std::chrono::seconds(9 * (index + 1)));
      EXPECT_EQ(jitter % std::chrono::seconds(index + 1), 0ns);
      varies = varies || delay != first;
    }
    EXPECT_TRUE(varies);
  }
  EXPECT_EQ(standard_backoff(0xFFFFFFFFU, random), retry_delay_max);
}

TEST(RetryPolicy, verks_back_off_is_there_by_option) {
  Random random(7);
  std::set<Duration> seen;
  for (std::uint32_t index = 0; index <= 24; ++index) {
    const std::int64_t n = index + 1;
    for (int draw = 0; draw < 50; ++draw) {
      const Duration jitter = verk_backoff(index, random) - std::chrono::seconds(n * n * n * n + 15);
      EXPECT_GE(jitter, std::chrono::seconds(n + 1));
      EXPECT_LE(jitter, std::chrono::seconds(30 * (n + 1)));
      EXPECT_EQ(jitter % std::chrono::seconds(n + 1), 0ns);
      if (index == 0) seen.insert(jitter);
    }
  }
  EXPECT_GT(seen.size(), 10U);
  EXPECT_EQ(verk_backoff(0xFFFFFFFFU, random), retry_delay_max);

  const Job job = job_with(R"(,"retry_count":2,"max_retry_count":25)");
  const RetryDecision decision = decide_retry(job, {}, now, random, {}, {}, BackOff::verk);
  EXPECT_GE(decision.due - now, std::chrono::seconds(3 * 3 * 3 * 3 + 15 + 4)) << "Verk counts this one as the third";
  const RetryDecision exact = decide_retry(job, {.delays = {5s}}, now, random, {}, {}, BackOff::verk);
  EXPECT_EQ(exact.due - now, 5s);
}

TEST(RetryPolicy, a_seed_gives_the_same_delays_again) {
  Random first(3);
  Random second(3);
  for (std::uint32_t index = 0; index < 10; ++index)
    EXPECT_EQ(standard_backoff(index, first), standard_backoff(index, second));
}

TEST(RetryPolicy, the_payload_says_how_often) {
  // Sidekiq: retry_count is absent, then 0, 1, …: a job has failed retry_count + 1 times when it fails again.
  EXPECT_EQ(action_for(""), Action::retry);
  EXPECT_EQ(action_for(R"(,"retry_count":23)"), Action::retry);
  EXPECT_EQ(action_for(R"(,"retry_count":24)"), Action::dead);
  EXPECT_EQ(action_for(R"(,"retry":true,"retry_count":23)"), Action::retry);
  EXPECT_EQ(action_for(R"(,"retry":true,"retry_count":24)"), Action::dead);
  EXPECT_EQ(action_for(R"(,"retry":false)"), Action::discard);
  EXPECT_EQ(action_for(R"(,"retry":false,"dead":true)"), Action::discard);
  EXPECT_EQ(action_for(R"(,"retry":0)"), Action::dead);
  EXPECT_EQ(action_for(R"(,"retry":-3)"), Action::dead);
  EXPECT_EQ(action_for(R"(,"retry":1)"), Action::retry);
  EXPECT_EQ(action_for(R"(,"retry":1,"retry_count":0)"), Action::dead);
  EXPECT_EQ(action_for(R"(,"retry":1,"retry_count":-1)"), Action::retry);  // after a retry by hand
  EXPECT_EQ(action_for(R"(,"retry":100,"retry_count":98)"), Action::retry);
  EXPECT_EQ(action_for(R"(,"retry":"yes","retry_count":24)"), Action::dead);
  EXPECT_EQ(action_for(R"(,"retry":0,"dead":false)"), Action::discard);
}

TEST(RetryPolicy, verks_limit_counts_in_verks_way) {
  EXPECT_EQ(action_for(R"(,"max_retry_count":1,"retry_count":0)"), Action::retry);
  EXPECT_EQ(action_for(R"(,"max_retry_count":1,"retry_count":1)"), Action::dead);
  EXPECT_EQ(action_for(R"(,"max_retry_count":0,"retry_count":0)"), Action::dead);
  EXPECT_EQ(action_for(R"(,"max_retry_count":null,"retry_count":24)"), Action::retry);
  EXPECT_EQ(action_for(R"(,"max_retry_count":null,"retry_count":25)"), Action::dead);
  EXPECT_EQ(action_for(R"(,"max_retry_count":9,"retry":0,"retry_count":0)"), Action::dead);
  EXPECT_EQ(action_for(R"(,"max_retry_count":0,"retry":true,"retry_count":0)"), Action::dead);
}

TEST(RetryPolicy, the_class_decides_where_the_payload_does_not) {
  EXPECT_EQ(action_for("", {.max_retries = 0}), Action::dead);
  EXPECT_EQ(action_for(R"(,"retry":true)", {.max_retries = 0}), Action::dead);
  EXPECT_EQ(action_for("", {.max_retries = 0, .dead = false}), Action::discard);
  EXPECT_EQ(action_for(R"(,"dead":true)", {.max_retries = 0, .dead = false}), Action::dead);
  EXPECT_EQ(action_for(R"(,"retry":1)", {.max_retries = 0}), Action::retry);
}

TEST(RetryPolicy, retry_for_replaces_the_count) {
  EXPECT_EQ(action_for(R"(,"retry":true,"retry_for":60)"), Action::retry);
  EXPECT_EQ(action_for(R"(,"retry":0,"retry_for":60)"), Action::retry);
  EXPECT_EQ(action_for(R"(,"retry_for":60,"retry_count":500,"failed_at":1795219066.0)"), Action::retry);
  EXPECT_EQ(action_for(R"(,"retry_for":60,"retry_count":0,"failed_at":1795219065.0)"), Action::dead);
  EXPECT_EQ(action_for(R"(,"retry":false,"retry_for":60)"), Action::discard);
  EXPECT_EQ(action_for(R"(,"retry_for":60,"retry_count":0,"failed_at":-9000000000.0)"), Action::dead);
}

TEST(RetryPolicy, a_class_says_for_how_long_unless_the_payload_counts) {
  const RetryPolicy policy{.max_retries = 0, .retry_for = 60s};
  EXPECT_EQ(action_for("", policy), Action::retry);
  EXPECT_EQ(action_for(R"(,"retry":true,"retry_count":500,"failed_at":1795219066.0)", policy), Action::retry);
  EXPECT_EQ(action_for(R"(,"retry_count":0,"failed_at":1795219065.0)", policy), Action::dead);
  EXPECT_EQ(action_for(R"(,"retry":0)", policy), Action::dead);
  EXPECT_EQ(action_for(R"(,"max_retry_count":0,"retry_count":0)", policy), Action::dead);
  EXPECT_EQ(action_for(R"(,"retry_for":61,"retry_count":0,"failed_at":1795219065.0)", policy), Action::retry);
  EXPECT_FALSE(check_retry_policy({.retry_for = -1s}));
}

TEST(RetryPolicy, delays_of_a_class_are_exact_and_the_last_repeats) {
  Random random(1);
  const RetryPolicy policy{.delays = {100ms, 2s}};
  const auto due = [&](std::string_view members) { return decide_retry(job_with(members), policy, now, random); };
  EXPECT_EQ(due(""), (RetryDecision{Action::retry, now + 100ms}));
  EXPECT_EQ(due(R"(,"retry_count":0)"), (RetryDecision{Action::retry, now + 2s}));
  EXPECT_EQ(due(R"(,"retry_count":1)"), (RetryDecision{Action::retry, now + 2s}));
  EXPECT_TRUE(check_retry_policy(policy));
  const Result<void> negative = check_retry_policy({.delays = {1s, -1s}});
  ASSERT_FALSE(negative);
  EXPECT_EQ(negative.error().message(), "retry delay 2 must be 0 to 31622400 s, got -1");
  EXPECT_FALSE(check_retry_policy({.delays = {retry_delay_max + 1ns}}));
}

TEST(RetryPolicy, a_rule_of_a_class_sees_the_failure_and_decides) {
  Random random(1);
  const auto decide = [&](RetryStep step, std::string_view members = "") {
    const RetryPolicy policy{.delays = {7s}, .rule = [step](const FailedRun& run) {
                               EXPECT_EQ(run.error_class, "Oops");
                               EXPECT_EQ(run.error_message, "why");
                               EXPECT_EQ(run.retry_index, run.job.failure_count());
                               return step;
                             }};
    return decide_retry(job_with(members), policy, now, random, "Oops", "why");
  };
  EXPECT_EQ(decide(RetryStep::after(1s)), (RetryDecision{Action::retry, now + 1s}));
  EXPECT_EQ(decide(RetryStep::after(0s)), (RetryDecision{Action::retry, now}));
  EXPECT_EQ(decide(RetryStep::after(-1s)), (RetryDecision{Action::retry, now + 7s}));
  EXPECT_EQ(decide(RetryStep::after(Duration::max())), (RetryDecision{Action::retry, now + retry_delay_max}));
  EXPECT_EQ(decide(RetryStep::standard()), (RetryDecision{Action::retry, now + 7s}));
  EXPECT_EQ(decide(RetryStep::dead()).action, Action::dead);
  EXPECT_EQ(decide(RetryStep::dead(), R"(,"dead":false)").action, Action::discard);
  EXPECT_EQ(decide(RetryStep::discard()).action, Action::discard);
  EXPECT_EQ(decide(RetryStep::after(1s), R"(,"retry":0)").action, Action::dead);  // not even asked
}

TEST(RetryPolicy, a_rule_that_throws_costs_no_retry) {
  Random random(1);
  const RetryPolicy policy{.delays = {7s},
                           .rule = [](const FailedRun&) -> RetryStep { throw std::runtime_error("broken"); }};
  EXPECT_EQ(decide_retry(job_with(""), policy, now, random), (RetryDecision{Action::retry, now + 7s}));
}

RC_GTEST_PROP(RetryPolicy, a_job_that_always_fails_gets_exactly_its_retries_in_either_dialect, ()) {
  const auto limit = *rc::gen::inRange(0, 30);
  const bool verk = *rc::gen::arbitrary<bool>();
  Random random(*rc::gen::arbitrary<std::uint64_t>());
  Job job = job_with(std::string(verk ? R"(,"retry_count":0,"failed_at":null,"max_retry_count":)" : R"(,"retry":)") +
                     std::to_string(limit));
  int runs = 1;
  while (decide_retry(job, {}, now, random).action == Action::retry) {
    job = decode_job(failed_payload(job, {.error_class = "E", .message = "m", .failed_at = now}).value()).value();
    RC_ASSERT(job.attempt() == static_cast<std::uint32_t>(++runs));
    RC_ASSERT(runs <= 100);
  }
  RC_ASSERT(runs == limit + 1);
}

// ---- events ----

const JobIdentity identity{
    .jid = "j1", .job_class = "Mail::Send", .queue = "mail", .attempt = 3, .node = "host1:7:abc"};

std::vector<Event> one_of_each() {
  const WallTime later = now + 1ns;
  return {
      JobEnqueued{identity, now},
      JobScheduled{identity, now, later},
      JobPromoted{identity, now, "schedule"},
      JobStarted{identity, now},
      JobFinished{identity, now, later, "d41d8  file\n"},
      JobFailed{identity, now, later, "std::runtime_error", "no \"luck\"\n", "frame 1\nframe 2"},
      JobRetried{identity, now, later},
      JobDied{identity, now, "retries exhausted"},
      JobDiscarded{identity, now, "retry is false"},
      JobRescued{identity, now, "host2:1:def"},
      JobDeleted{identity, now},
      QueueRunning{"mail", "host1:7:abc", now},
      QueuePausing{"mail", "host1:7:abc", now},
      QueuePaused{"mail", "", now},
      NodeUp{"host1:7:abc", now},
      NodeDown{"host1:7:abc", later, "stopped"},
      JobRequeued{identity, later},
      JobLeaseLost{identity, later},
      JobSnoozed{identity, now, later},
      JobExpired{identity, later},
      StoreTrouble{"host1:7:abc", now, "take", "no answer"},
      StoreRecovered{"host1:7:abc", later, "take", now},
      JobMoved{identity, later},
      JobCancelled{identity, later},
      JobOverdue{identity, now, later, "timeout"},
  };
}

TEST(JobEvents, every_kind_survives_its_line) {
  const std::vector<Event> events = one_of_each();
  ASSERT_EQ(events.size(), std::variant_size_v<Event>);
  for (std::size_t index = 0; index < events.size(); ++index) {
    ASSERT_EQ(events[index].index(), index);
    const std::string line = to_json_line(events[index]);
    EXPECT_EQ(line.find('\n'), std::string::npos);
    const Result<Event> read = event_from_json_line(line);
    ASSERT_TRUE(read) << line << "\n" << read.error().message();
    EXPECT_TRUE(*read == events[index]) << line;
    EXPECT_EQ(to_json_line(*read), line);
  }
}

TEST(JobEvents, lines_have_names_that_verk_users_know) {
  EXPECT_EQ(to_json_line(JobFinished{identity, now, now + 250ms}),
            R"({"event":"JobFinished","jid":"j1","class":"Mail::Send","queue":"mail","attempt":3,"node":"host1:7:abc",)"
            R"("started_at":1795219126.0,"finished_at":1795219126.25})");
  EXPECT_EQ(to_json_line(JobFailed{{.jid = "1", .job_class = "A", .queue = "q"}, now, now, "E", "m", ""}),
            R"({"event":"JobFailed","jid":"1","class":"A","queue":"q","attempt":1,"started_at":1795219126.0,)"
            R"("failed_at":1795219126.0,"exception":"E","message":"m"})");
  EXPECT_EQ(to_json_line(QueuePaused{"mail", "", now}), R"({"event":"QueuePaused","queue":"mail","at":1795219126.0})");
  EXPECT_EQ(kind_name(NodeDown{}), "NodeDown");
  EXPECT_EQ(kind_name(JobDiscarded{}), "JobDiscarded");
}

TEST(JobEvents, events_about_jobs_say_which) {
  for (const Event& event : one_of_each()) {
    const bool about_job = kind_name(event).starts_with("Job");
    ASSERT_EQ(job_of(event) != nullptr, about_job) << kind_name(event);
    if (about_job) {
      EXPECT_EQ(*job_of(event), identity);
    }
  }
  const Job job = job_with(R"(,"retry_count":1,"failed_at":5.0)");
  EXPECT_EQ(identity_of(job, "n"),
            (JobIdentity{.jid = "j1", .job_class = "OkJob", .queue = "default", .attempt = 3, .node = "n"}));
}

TEST(JobEvents, long_and_broken_texts_are_cut_and_scrubbed) {
  const Result<Event> read =
      event_from_json_line(to_json_line(JobFailed{identity, now, now, "E", std::string(20'000, '\x01'), "\xff"}));
  ASSERT_TRUE(read);
  EXPECT_EQ(std::get<JobFailed>(*read).message.size(), event_text_characters_limit);
  EXPECT_EQ(std::get<JobFailed>(*read).stacktrace, "\xEF\xBF\xBD");
}

TEST(JobEvents, a_line_of_a_newer_or_broken_writer_is_told_apart) {
  const auto error = [](std::string_view line) {
    const Result<Event> read = event_from_json_line(line);
    return read ? "accepted" : std::string(to_string(read.error().code())) + " " + std::string(read.error().message());
  };
  EXPECT_EQ(error(R"({"event":"NodeUp","node":"n","at":1.0,"zone":{"a":[1]}})"), "accepted");
  EXPECT_EQ(error(R"({"event":"NodeMoved","node":"n","at":1.0})"),
            "unsupported event of a kind that this version does not know: \"NodeMoved\"");
  EXPECT_EQ(error(R"({"node":"n"})"), "malformed event: missing \"event\"");
  EXPECT_EQ(error(R"({"event":"NodeUp","node":"n"})"), "malformed event: missing \"at\"");
  EXPECT_EQ(error(R"({"event":"NodeUp","node":7,"at":1.0})"), "malformed event: \"node\" must be a string, got 7");
  EXPECT_EQ(error(R"({"event":"NodeUp","at":"1.0"})"),
            "malformed event: \"at\" must be a time in seconds, got \"1.0\"");
  EXPECT_EQ(error(R"({"event":"JobStarted","attempt":-1,"started_at":1.0})"),
            "malformed event: \"attempt\" must be a number, got -1");
  EXPECT_EQ(error("{"), "malformed event: unexpected end at byte 1");
  EXPECT_TRUE(error(std::string(2U << 20U, ' ')).starts_with("malformed"));
}

RC_GTEST_PROP(JobEvents, random_bytes_never_crash_the_reader, ()) {
  std::string line = to_json_line(*rc::gen::elementOf(one_of_each()));
  for (int change = *rc::gen::inRange(1, 4); change > 0; --change) {
    line[*rc::gen::inRange<std::size_t>(0, line.size())] = *rc::gen::arbitrary<char>();
  }
  const Result<Event> read = event_from_json_line(line);
  if (read) RC_ASSERT(event_from_json_line(to_json_line(*read)).has_value());
}

}  // namespace
}  // namespace dagverk::jobs
