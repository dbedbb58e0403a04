// The built command, run as people and scripts run it: each test has a folder, a store and a home of its own.
#include "apps/child.hpp"
#include "apps/command_fixture.hpp"
#include "stores/sqlite/store_version_1.hpp"
#include "support/redis_server.hpp"

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <poll.h>
#include <pty.h>
#include <sstream>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <vector>

namespace dagverk::app {
namespace {

bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }
std::ptrdiff_t lines(std::string_view text) { return std::ranges::count(text, '\n'); }

/// The commands that the reference has a section about.
std::vector<Words> all_commands_of(const std::string& reference) {
  std::vector<Words> commands;
  std::istringstream text(reference.substr(reference.find("\n# The commands\n")));
  for (std::string line; std::getline(text, line);) {
    if (!line.starts_with("## ")) continue;
    const std::size_t space = line.find(' ', 3);
    commands.push_back({line.substr(3, space - 3)});
    if (space != std::string::npos) commands.back().push_back(line.substr(space + 1));
  }
  return commands;
}

TEST_F(Dagverk, every_level_has_help_of_one_screen_with_two_examples) {
  const std::vector<Words> commands = all_commands_of(run({"help", "--markdown"}).out);
  ASSERT_GT(commands.size(), 40U);
  for (Words words : commands) {
    words.emplace_back("--help");
    const Outcome outcome = run(words);
    EXPECT_EQ(outcome.code, 0) << words[0];
    EXPECT_EQ(outcome.err, "") << words[0];
    EXPECT_LE(lines(outcome.out), 24) << outcome.out;
    const std::size_t examples = outcome.out.find("Examples:\n");
    ASSERT_NE(examples, std::string::npos) << words[0];
    EXPECT_EQ(lines(outcome.out.substr(examples)), 3) << outcome.out;
  }
  const Outcome overview = run({"--help"});
  EXPECT_EQ(overview.code, 0);
  EXPECT_LE(lines(overview.out), 24);
  EXPECT_TRUE(contains(overview.out, "  dagverk enqueue echo hello\n"));
  EXPECT_EQ(run({"help"}).out, overview.out);
  EXPECT_EQ(run({"help", "job", "list"}).out, run({"job", "list", "-h"}).out);
  EXPECT_TRUE(contains(run({"job", "--help"}).out, "dagverk job retry"));
  for (const std::string noun : {"job", "queue", "cron", "node", "handler", "store", "config", "events"}) {
    const Outcome verbs = run({noun, "--help"});
    EXPECT_EQ(verbs.code, 0) << noun;
    EXPECT_LE(lines(verbs.out), 24) << verbs.out;
    EXPECT_EQ(lines(verbs.out.substr(verbs.out.find("Examples:\n"))), 3) << verbs.out;
  }
}

TEST_F(Dagverk, unknown_words_are_answered_with_the_nearest) {
  const std::pair<Words, std::string> rows[] = {
      {{"stast"}, "dagverk: error: unknown command \"stast\"; did you mean \"stats\"?\n"},
      {{"job", "lst"}, "dagverk: error: job has no \"lst\"; did you mean \"job list\"?\n"},
      {{"job"}, "dagverk: error: job what? list, show, why, logs, retry, move, cancel, delete, locks, unlock\n"},
      {{"xyzzy"}, "dagverk: error: unknown command \"xyzzy\"; dagverk help lists all\n"},
      {{"help", "enqeue"}, "dagverk: error: no help about \"enqeue\"; did you mean \"enqueue\"?\n"},
      {{"stats", "--jsno"},
       "dagverk: error: unknown option \"--jsno\"; did you mean --json?\n"
       "dagverk: usage: dagverk stats [OPTION…]; --help explains\n"},
      {{"job", "list", "--state", "daed"}, "dagverk: error: --state: got \"daed\"; did you mean dead?\n"},
      {{"job", "list", "-n", "0"}, "dagverk: error: --count: got \"0\"; allowed: a whole number from 1 to 1000000\n"},
  };
  for (const auto& [words, expected] : rows) {
    const Outcome outcome = run(words);
    EXPECT_EQ(outcome.code, 2) << expected;
    EXPECT_EQ(outcome.err, expected);
    EXPECT_EQ(outcome.out, "");
  }
  const Outcome nothing = run({});
  EXPECT_EQ(nothing.code, 2);
  EXPECT_TRUE(contains(nothing.err, "usage: dagverk COMMAND"));
}

TEST_F(Dagverk, the_version_has_three_forms) {
  EXPECT_EQ(run({"version"}).out, "dagverk " DAGVERK_VERSION "\n");
  EXPECT_EQ(run({"--version"}).out, "dagverk " DAGVERK_VERSION "\n");
  EXPECT_EQ(run({"version", "--plain"}).out, DAGVERK_VERSION "\n");
  EXPECT_EQ(run({"--json", "version"}).out, R"({"version":")" DAGVERK_VERSION R"(","json_schema":1})"
                                            "\n");
}

TEST_F(Dagverk, the_default_store_is_made_for_its_owner_alone) {
  enqueue({"echo", "hello"});
  struct stat status{};
  ASSERT_EQ(::stat((folder_ / ".local/state/dagverk").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0700U);
  ASSERT_EQ(::stat((folder_ / ".local/state/dagverk/dagverk.db").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777U, 0600U);
}

TEST_F(Dagverk, arguments_are_json_if_they_parse_and_texts_otherwise) {
  const std::string jid = enqueue({"Mix", "hello", "5", "[1,2]", "007", "{\"a\":1}", "1,2", "-3", "", "null"});
  const Outcome shown = run({"job", "show", jid, "--json"});
  EXPECT_TRUE(contains(shown.out, R"("args":["hello",5,[1,2],"007",{"a":1},"1,2",-3,"",null])")) << shown.out;
  EXPECT_EQ(lines(shown.out), 1);

  const Outcome piped = run({"enqueue", "Mix", "-", "--json", "--jid", "j1", "-q", "mail"}, "[1, \"x\"]\n");
  EXPECT_EQ(piped.out, R"({"jid":"j1","class":"Mix","queue":"mail","state":"ready"})"
                       "\n");
  EXPECT_TRUE(contains(run({"job", "show", "j1", "--json"}).out, R"("args":[1, "x"])"));
  EXPECT_EQ(run({"enqueue", "Mix", "-"}, "{").code, 2);
}

TEST_F(Dagverk, a_job_for_later_waits_in_the_schedule) {
  const Outcome in = run({"enqueue", "A", "--in", "1h", "--json"});
  EXPECT_TRUE(contains(in.out, R"("state":"scheduled","due_at":"2)")) << in.out;
  const Outcome at = run({"enqueue", "A", "--at", "2200-01-01T00:00:00Z", "--json", "--jid", "later"});
  EXPECT_TRUE(contains(at.out, R"("due_at":"2200-01-01T00:00:00.000Z")")) << at.out;
  EXPECT_TRUE(contains(run({"enqueue", "A", "--at", "2001-01-01T00:00:00Z", "--json"}).out, R"("state":"ready")"));
  EXPECT_EQ(stat("scheduled"), 2);
  EXPECT_TRUE(contains(run({"job", "show", "later"}).out, "due       2200-01-01T00:00:00.000Z\n"));

  EXPECT_EQ(run({"job", "retry", "later"}).out, "retried\n");
  EXPECT_EQ(stat("scheduled"), 1);
}

TEST_F(Dagverk, a_job_belongs_to_the_trace_that_the_environment_names) {
  const std::string parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  enqueue({"A", "--jid", "untraced"});
  world_.environment.insert(world_.environment.end(), {"TRACEPARENT=" + parent, "TRACESTATE=vendor=\"x\""});
  enqueue({"A", "--jid", "traced"});
  write("jobs.jsonl", R"({"class":"A","args":[],"jid":"bulk"})");
  EXPECT_EQ(run({"enqueue", "--bulk", "jobs.jsonl"}).code, 0);
  world_.environment[world_.environment.size() - 2] = "TRACEPARENT=00-no-trace";
  enqueue({"A", "--jid", "wrong"});
  const auto shown = [&](const std::string& jid) { return run({"job", "show", jid, "--json"}).out; };
  for (const std::string jid : {"traced", "bulk"}) {
    EXPECT_TRUE(contains(shown(jid), "\"traceparent\":\"" + parent + "\"")) << shown(jid);
    EXPECT_TRUE(contains(shown(jid), R"("tracestate":"vendor=\"x\"")")) << shown(jid);
  }
  for (const std::string jid : {"untraced", "wrong"}) EXPECT_FALSE(contains(shown(jid), "traceparent")) << shown(jid);
}

TEST_F(Dagverk, what_cannot_be_enqueued_is_refused) {
  const std::pair<Words, int> rows[] = {
      {{"enqueue"}, 2},
      {{"enqueue", "not a class"}, 2},
      {{"enqueue", "A", "-q", "no queue"}, 2},
      {{"enqueue", "A", "--in", "5"}, 2},
      {{"enqueue", "A", "--timeout", "0s"}, 2},
      {{"enqueue", "A", "--retry-for", "10ms"}, 2},
      {{"enqueue", "A", "--unique", std::string(10'240, 'k')}, 2},
      {{"enqueue", "A", "--unique", "k", "--unique-until", "tomorrow"}, 2},
      {{"enqueue", "A", "--unique", "k", "--unique-for", "0s"}, 2},
      {{"enqueue", "A", "--unique-for", "5m"}, 2},
      {{"enqueue", "--bulk", "-", "--unique", "k"}, 2},
      {{"enqueue", "--bulk", "-", "--expires-in", "5m"}, 2},
      {{"enqueue", "A", "--at", "soon"}, 2},
      {{"enqueue", "A", "--in", "5m", "--at", "1"}, 2},
      {{"enqueue", "A", "--bulk", "x"}, 2},
      {{"enqueue", "--bulk", "missing.jsonl"}, 3},
  };
  for (const auto& [words, code] : rows) {
    const Outcome outcome = run(words);
    EXPECT_EQ(outcome.code, code) << outcome.err;
    EXPECT_TRUE(outcome.err.starts_with("dagverk: error: ")) << outcome.err;
    EXPECT_EQ(outcome.out, "");
  }
  const Outcome large = run({"enqueue", "A", "-"}, "[\"" + std::string(1 << 20U, 'x') + "\"]");
  EXPECT_EQ(large.code, 2);
  const Outcome deep = run({"enqueue", "A", std::string(200, '[') + std::string(200, ']')});
  EXPECT_EQ(deep.code, 2);
  EXPECT_TRUE(contains(deep.err, "nested deeper than the limit")) << deep.err;
  EXPECT_EQ(run({"enqueue", "A", "-"}, std::string(200, '[') + std::string(200, ']')).code, 2);

  enqueue({"A", "--jid", "holder", "--unique", "one at a time", "--unique-until", "period", "--unique-for", "1h"});
  const Outcome locked = run({"enqueue", "A", "--unique", "one at a time"});
  EXPECT_EQ(locked.code, 4);
  EXPECT_EQ(locked.err,
            "dagverk: error: job A: the unique key \"one at a time\" is held by job holder for its period\n");
  enqueue({"A", "--jid", "twice"});
  const Outcome again = run({"enqueue", "A", "--jid", "twice"});
  EXPECT_EQ(again.code, 4);
  EXPECT_EQ(again.err, "dagverk: error: a job with jid \"twice\" is in the store already\n");
}

TEST_F(Dagverk, a_bulk_enqueues_the_good_lines_and_names_the_others) {
  write("dagverk.toml", "[jobs.Slow]\nrun = [\"true\"]\nqueue = \"slow\"\n");
  const std::string large = R"({"class":"A","args":[")" + std::string(2 << 20U, 'x') + "\"]}";
  write("jobs.jsonl",
        "{\"class\":\"A\",\"args\":[1],\"custom\":  true}\n{\"class\":\"B\"}\nnope\n\n" + large +
            "\n{\"class\":\"C\",\"args\":[],\"jid\":\"j1\",\"at\":7000000000}\n{\"class\":\"C\",\"args\":[],\"jid\":"
            "\"j1\"}\n{\"class\":\"Slow\",\"args\":[]}");
  const Outcome mixed = run({"enqueue", "--bulk", "jobs.jsonl", "--json"});
  EXPECT_EQ(mixed.code, 5);
  EXPECT_EQ(mixed.out,
            R"({"enqueued":2,"scheduled":1,"malformed":3,"duplicates":1,"refused":0,"locked":0,"rescheduled":0})"
            "\n");
  EXPECT_TRUE(contains(mixed.err, "error: jobs.jsonl:2: missing \"args\"\n")) << mixed.err;
  EXPECT_TRUE(contains(mixed.err, "error: jobs.jsonl:3: "));
  EXPECT_TRUE(contains(mixed.err, "error: jobs.jsonl:5: is larger than 1 MiB\n"));
  EXPECT_TRUE(contains(mixed.err, "error: jobs.jsonl:7: a job with this jid is in the store already\n"));
  EXPECT_TRUE(contains(run({"queue", "list", "--plain"}).out, "slow\t1\t"));

  const Outcome bad = run({"enqueue", "--bulk", "-"}, "nope\n");
  EXPECT_EQ(bad.code, 2);
  EXPECT_TRUE(contains(bad.err, "error: standard input:1: ")) << bad.err;
  const Outcome good = run({"enqueue", "--bulk", "-", "-q", "mail", "--quiet"}, "{\"class\":\"A\",\"args\":[]}\n");
  EXPECT_EQ(good.code, 0);
  EXPECT_EQ(good.out, "1\n");
  EXPECT_EQ(good.err, "");
}

TEST_F(Dagverk, a_bulk_is_spread_over_time) {
  write("jobs.jsonl", R"({"class":"A","args":[],"jid":"j0"})"
                      "\n\nnot a job\n"
                      R"({"class":"A","args":[],"jid":"j2"})"
                      "\n"
                      R"({"class":"A","args":[],"jid":"j3","at":4102444800})"
                      "\n"
                      R"({"class":"A","args":[],"jid":"j4"})"
                      "\n");
  const Outcome outcome = run({"enqueue", "--bulk", "jobs.jsonl", "--spread", "50h"});
  EXPECT_EQ(outcome.code, 5);
  EXPECT_TRUE(contains(outcome.err, "enqueued 1, scheduled 3, malformed 1")) << outcome.err;
  const auto due_of = [&](const std::string& jid) -> std::time_t {  // whole seconds since 1970
    const std::string shown = run({"job", "show", jid, "--json"}).out;
    const std::string_view key = R"("due_at":")";
    const std::size_t at = shown.find(key);
    std::tm time{};
    if (at == std::string::npos || ::strptime(shown.c_str() + at + key.size(), "%FT%T", &time) == nullptr) return 0;
    return ::timegm(&time);
  };
  EXPECT_EQ(due_of("j0"), 0) << "the first is due at once";
  EXPECT_EQ(due_of("j4") - due_of("j2"), 20 * 3600) << "two of five places further";
  EXPECT_EQ(due_of("j3"), 4102444800) << "its own time wins";
  EXPECT_FALSE(contains(run({"job", "show", "j2", "--json"}).out, "enqueued_at\":1")) << "it is not in a queue yet";
  EXPECT_EQ(run({"enqueue", "--bulk", "-", "--spread", "1h"}, "{}").code, 2) << "a pipe cannot be counted first";
  EXPECT_EQ(run({"enqueue", "--bulk", "jobs.jsonl", "--spread", "367d"}).code, 2);
  EXPECT_EQ(run({"enqueue", "--bulk", "jobs.jsonl", "--spread", "-1s"}).code, 2);
  EXPECT_EQ(run({"enqueue", "A", "--spread", "1h"}).code, 2);
}

TEST_F(Dagverk, lists_have_a_form_for_people_one_for_scripts_and_one_for_programs) {
  EXPECT_EQ(run({"jobs", "list"}).out, "");
  EXPECT_EQ(run({"jobs", "list"}).err, "dagverk: no jobs\n");
  enqueue({"A", "--jid", "j1", "-q", "mail"});
  enqueue({"B", "--jid", "j2"});
  const Outcome people = run({"job", "list"});
  EXPECT_TRUE(people.out.starts_with("JID  STATE  QUEUE    CLASS  WHEN\nj1   ready  mail     A      since 2"));
  EXPECT_FALSE(contains(people.out, "\x1b"));
  const Outcome plain = run({"job", "list", "--plain", "--class", "B"});
  EXPECT_TRUE(plain.out.starts_with("j2\tready\tdefault\tB\tsince 2")) << plain.out;
  EXPECT_EQ(lines(plain.out), 1);
  const Outcome json = run({"job", "list", "--json", "-q", "mail"});
  EXPECT_TRUE(
      json.out.starts_with(R"({"jid":"j1","state":"ready","class":"A","queue":"mail","priority":0,"enqueued_at":"2)"))
      << json.out;
  EXPECT_EQ(run({"job", "list", "-n", "1"}).err, "dagverk: there are more; -n raises the limit of 1\n");

  EXPECT_TRUE(run({"queues", "list"}).out.starts_with("QUEUE    READY  RUNNING"));
  const Outcome queues = run({"queue", "list", "--json"});
  EXPECT_TRUE(queues.out.starts_with(R"({"queue":"default","ready":1,"running":0,"scheduled":0,"retrying":0,"dead":0,)"
                                     R"("enqueued":1,"finished":0,"retried":0,"died":0,"latency_ms":)"));
  EXPECT_EQ(lines(queues.out), 2);
  EXPECT_TRUE(run({"stats", "--json"}).out.starts_with(R"({"ready":2,"running":0,)"));
  EXPECT_TRUE(run({"stats", "--json"}).out.ends_with("\"balanced\":true}\n"));
}

TEST_F(Dagverk, retrying_more_than_one_job_needs_a_yes) {
  for (const std::string jid : {"j1", "j2", "j3"}) enqueue({"A", "--jid", jid, "--in", "1h"});
  EXPECT_EQ(run({"job", "retry", "j1"}).out, "retried\n");
  const Outcome refused = run({"job", "retry", "--all", "--state", "scheduled"});
  EXPECT_EQ(refused.code, 4);
  EXPECT_EQ(refused.err, "dagverk: retry: 2 jobs\ndagverk: error: to retry 2 jobs without a terminal, say --yes\n");
  EXPECT_EQ(stat("scheduled"), 2);
  EXPECT_EQ(run({"job", "retry", "--all", "--state", "scheduled", "--dry-run"}).code, 0);
  EXPECT_EQ(run({"job", "retry", "--all", "--state", "scheduled", "--yes", "--quiet"}).out, "retried 2 jobs\n");
  EXPECT_EQ(stat("ready"), 3);
}

TEST_F(Dagverk, deleting_more_than_one_job_needs_a_yes) {
  for (const std::string jid : {"j1", "j2", "j3"}) enqueue({"A", "--jid", jid});
  EXPECT_EQ(run({"job", "delete", "j1"}).out, "deleted\n");
  const Outcome refused = run({"job", "delete", "j2", "j3"});
  EXPECT_EQ(refused.code, 4);
  EXPECT_EQ(refused.err, "dagverk: delete: 2 jobs\ndagverk: error: to delete 2 jobs without a terminal, say --yes\n");
  EXPECT_EQ(stat("ready"), 2);
  const Outcome dry = run({"job", "delete", "--all", "--state", "ready", "--dry-run"});
  EXPECT_EQ(dry.code, 0);
  EXPECT_EQ(dry.err, "dagverk: would delete 2 jobs\n");
  EXPECT_EQ(run({"job", "delete", "--all"}).code, 2);
  const Outcome some = run({"job", "delete", "j2", "nope", "--yes", "--json"});
  EXPECT_EQ(some.code, 5);
  EXPECT_EQ(some.out, "{\"jid\":\"j2\",\"outcome\":\"deleted\"}\n{\"jid\":\"nope\",\"outcome\":\"missing\"}\n");
  const Outcome all = run({"job", "delete", "--all", "--state", "ready,dead", "--yes"});
  EXPECT_EQ(all.code, 0);
  EXPECT_EQ(all.out, "deleted 1 job\n");
  EXPECT_EQ(run({"job", "delete", "j1"}).code, 3);
  EXPECT_EQ(run({"job", "show", "nope"}).code, 3);
  EXPECT_EQ(run({"job", "logs", "j1"}).code, 3);
  EXPECT_TRUE(contains(run({"job", "show", "j1"}).out, "state    deleted\n"));  // the journal remembers

  enqueue({"A", "--jid", "c1", "--in", "1h"});
  enqueue({"A", "--jid", "c2"});
  EXPECT_EQ(run({"job", "cancel", "c1"}).out, "cancelled 1\n");
  EXPECT_TRUE(contains(run({"job", "show", "c1"}).out, "state    cancelled\n"));
  EXPECT_EQ(run({"job", "cancel", "--all"}).code, 2);
  const Outcome left = run({"job", "cancel", "c2", "c1", "--yes", "--json"});
  EXPECT_EQ(left.code, 5);
  EXPECT_EQ(left.out, "{\"jid\":\"c2\",\"outcome\":\"cancelled\"}\n{\"jid\":\"c1\",\"outcome\":\"missing\"}\n");
  EXPECT_EQ(run({"job", "cancel", "c2"}).code, 3);
}

/// On an embedded store, then on a Redis.
class DagverkOnBothStores : public Dagverk, public testing::WithParamInterface<bool> {
 protected:
  void SetUp() override {
    Dagverk::SetUp();
    if (!GetParam()) return;
    if (!RedisServer::available()) GTEST_SKIP() << RedisServer::missing;
    server_ = std::make_unique<RedisServer>();
    world_.environment.emplace_back("REDIS_URL=" + server_->url());
  }

  std::unique_ptr<RedisServer> server_;
};
INSTANTIATE_TEST_SUITE_P(Stores, DagverkOnBothStores, testing::Bool(), [](const testing::TestParamInfo<bool>& tested) {
  return std::string(tested.param ? "redis" : "sqlite");
});

TEST_P(DagverkOnBothStores, a_queue_is_paused_and_resumed_for_all_workers_and_says_by_whom) {
  enqueue({"A", "-q", "mail"});
  enqueue({"A", "-q", "other"});
  EXPECT_EQ(run({"queue", "pause", "mail", "--reason", "provider\nis down", "--by", "ann"}).out, "mail: paused\n");
  EXPECT_EQ(run({"queue", "pause", "mail", "new", "--by", "bob", "--json"}).out,
            "{\"queue\":\"mail\",\"outcome\":\"unchanged\"}\n{\"queue\":\"new\",\"outcome\":\"paused\"}\n");

  const Outcome list = run({"queue", "list"});
  EXPECT_TRUE(contains(list.out, "by ann since 2")) << list.out;
  EXPECT_TRUE(contains(list.out, "provider\\x0ais down")) << list.out;
  const Outcome json = run({"queue", "show", "mail", "--json"});
  EXPECT_TRUE(
      contains(json.out, R"("paused":true,"paused_by":"ann","pause_reason":"provider\nis down","paused_at":"2)"))
      << json.out;
  EXPECT_TRUE(json.out.ends_with("\"balanced\":true}\n")) << json.out;
  EXPECT_TRUE(contains(run({"queue", "show", "other", "--plain"}).out, "paused\t-\n"));

  EXPECT_EQ(run({"queue", "resume", "mail", "--plain"}).out, "mail\tresumed\n");
  EXPECT_EQ(run({"queue", "resume", "mail"}).out, "mail: was not paused\n");
  const Outcome wrong = run({"queue", "resume", "mial"});
  EXPECT_EQ(wrong.code, 3);
  EXPECT_EQ(wrong.err, "dagverk: error: no queue \"mial\" in the store; did you mean \"mail\"?\n");
  EXPECT_EQ(run({"queue", "show", "mial"}).code, 3);
  EXPECT_EQ(run({"queue", "pause", "a b"}).code, 2);
  EXPECT_EQ(run({"queue", "pause"}).code, 2);
  EXPECT_TRUE(contains(run({"queue", "pasue", "mail"}).err, "did you mean \"queue pause\"?"));
}

TEST_P(DagverkOnBothStores, limits_are_set_listed_shown_reset_and_removed) {
  const Outcome set = run({"limit", "set", "api", "--concurrency", "5", "--rate", "100/1m"});
  EXPECT_EQ(set.code, 0) << set.err;
  EXPECT_EQ(set.out, "api: set: 5 at once, 100/1m bucket\n");
  EXPECT_EQ(run({"limit", "set", "api", "-c", "5", "--rate", "100/1m", "--plain"}).out, "api\tunchanged\n");
  EXPECT_EQ(run({"queue", "limit", "mail", "--rate", "10/1h", "--kind", "window", "--json"}).out,
            "{\"limit\":\"queue:mail\",\"outcome\":\"set\"}\n");
  EXPECT_EQ(run({"limit", "list", "--plain"}).out,
            "queue:mail\t-\t10/1h window\t0\t0\t-\t-\t-\t-\napi\t5\t100/1m bucket\t0\t0\t-\t-\t-\t-\n");
  EXPECT_EQ(
      run({"limit", "show", "queue:mail", "--json"}).out,
      "{\"limit\":\"queue:mail\",\"scope\":\"queue\",\"rate\":10,\"per\":\"1h\",\"kind\":\"window\",\"uses\":[{\"key\":"
      "\"mail\",\"running\":0,\"waiting\":0,\"tokens\":10}]}\n");
  const Outcome zero = run({"limit", "set", "api", "--concurrency", "0"});
  EXPECT_EQ(zero.code, 2);
  EXPECT_TRUE(contains(zero.err, "concurrency must be 1..1000000, got 0; to stop a queue, pause it")) << zero.err;
  EXPECT_EQ(run({"limit", "set", "api", "--rate", "100"}).code, 2);
  EXPECT_EQ(run({"limit", "set", "api", "--rate", "5/0s"}).code, 2);
  EXPECT_EQ(run({"limit", "set", "api", "--concurrency=-1"}).code, 2);
  EXPECT_EQ(run({"limit", "set", "api", "--rate", "1/1s", "--kind", "leaky"}).code, 2);
  EXPECT_EQ(run({"limit", "set", "api"}).code, 2);
  const Outcome near = run({"limit", "show", "apy"});
  EXPECT_EQ(near.code, 3);
  EXPECT_TRUE(contains(near.err, "did you mean \"api\"?")) << near.err;
  EXPECT_EQ(run({"limit", "reset", "api", "--plain"}).out, "api\treset\n");
  EXPECT_EQ(run({"limit", "remove", "api", "queue:mail"}).code, 4) << "two without a yes";
  EXPECT_EQ(run({"limit", "remove", "api", "queue:mail", "--yes", "--plain"}).out,
            "api\tremoved\nqueue:mail\tremoved\n");
  EXPECT_EQ(run({"limit", "list"}).out, "");
}

TEST_P(DagverkOnBothStores, a_queue_with_a_bound_refuses_drops_or_diverts_and_says_so) {
  EXPECT_EQ(run({"queue", "limit", "mail", "--max-waiting", "1"}).out,
            "queue:mail: set: at most 1 waiting, else refuse\n");
  ASSERT_EQ(run({"enqueue", "Send", "-q", "mail", "--jid", "a"}).code, 0);
  const Outcome full = run({"enqueue", "Send", "-q", "mail", "--jid", "b"});
  EXPECT_EQ(full.code, 4);
  EXPECT_EQ(full.err,
            "dagverk: error: queue mail is full: its bound of 1 waiting jobs is reached; enqueue again later, let more "
            "workers take from it, or raise the bound: dagverk queue limit mail --max-waiting N\n");
  write("jobs.jsonl",
        "{\"class\":\"A\",\"args\":[],\"queue\":\"other\"}\n{\"class\":\"A\",\"args\":[],\"queue\":\"mail\"}\n");
  const Outcome bulk = run({"enqueue", "--bulk", "jobs.jsonl", "--json"});
  EXPECT_EQ(bulk.code, 5);
  EXPECT_EQ(bulk.out,
            "{\"enqueued\":1,\"scheduled\":0,\"malformed\":0,\"duplicates\":0,\"refused\":1,\"locked\":0,"
            "\"rescheduled\":0}\n");
  EXPECT_TRUE(contains(bulk.err, "error: jobs.jsonl:2: queue mail is full: its bound of 1")) << bulk.err;

  EXPECT_EQ(run({"queue", "limit", "mail", "--max-waiting", "1", "--when-full", "divert:spare", "-c", "2"}).out,
            "queue:mail: set: 2 at once, at most 1 waiting, else divert to spare\n");
  ASSERT_EQ(run({"enqueue", "Send", "-q", "mail", "--jid", "c"}).code, 0);
  EXPECT_TRUE(contains(run({"job", "show", "c"}).out, "spare"));
  const Outcome chain = run({"queue", "limit", "spare", "--max-waiting", "1", "--when-full", "divert:mail"});
  EXPECT_EQ(chain.code, 4);
  EXPECT_TRUE(contains(chain.err, "which diverts itself")) << chain.err;
  EXPECT_EQ(run({"queue", "limit", "mail", "--max-waiting", "1", "--when-full", "drop-oldest", "--plain"}).out,
            "queue:mail\tset\n");
  ASSERT_EQ(run({"enqueue", "Send", "-q", "mail", "--jid", "d"}).code, 0);
  if (const bool on_redis = GetParam(); !on_redis) {  // there, no journal is kept unless asked for
    EXPECT_TRUE(contains(run({"job", "why", "a"}).out, "made room for another in its queue, which was full"));
  }
  EXPECT_EQ(run({"limit", "list", "--plain"}).out, "queue:mail\t-\t-\t0\t1\t1 drop-oldest\t2\t1\t1\n");
  const std::string shown = run({"queue", "show", "mail", "--plain"}).out;
  EXPECT_TRUE(contains(shown, "refused\t2\ndropped\t1\ndiverted\t1\nbalanced\ttrue\n")) << shown;

  const auto error_of = [&](const char* most, const char* rule) {
    const Outcome wrong = run({"queue", "limit", "mail", "--max-waiting", most, "--when-full", rule});
    EXPECT_EQ(wrong.code, 2) << rule;
    return wrong.err;
  };
  EXPECT_TRUE(contains(error_of("0", "refuse"), "a bound must be 1..1000000000 waiting jobs, got 0"));
  EXPECT_TRUE(contains(error_of("many", "refuse"), "--max-waiting: needs a whole number, got \"many\""));
  EXPECT_TRUE(contains(error_of("5", "drop-odlest"), "did you mean \"drop-oldest\"? allowed: refuse, drop-oldest"));
  EXPECT_TRUE(contains(error_of("5", "divert:"), "allowed: refuse, drop-oldest, divert:QUEUE"));
  EXPECT_TRUE(contains(error_of("5", "divert:a b"), "divert to"));
  EXPECT_EQ(run({"queue", "limit", "mail", "--when-full", "refuse"}).code, 2);
  EXPECT_TRUE(contains(run({"limit", "set", "api", "--max-waiting", "5"}).err, "only a queue has a bound"));
}

TEST_P(DagverkOnBothStores, jobs_that_recur_are_added_shown_paused_run_and_removed) {
  const Outcome added = run({"cron", "add", "nightly", "30 2 1 1 *", "Report", "all", "7", "-q", "slow"});
  EXPECT_EQ(added.code, 0) << added.err;
  EXPECT_TRUE(added.out.starts_with("nightly: added, due next at 2")) << added.out;
  EXPECT_EQ(run({"cron", "add", "nightly", "30 2 1 1 *", "Report"}).code, 4);
  EXPECT_EQ(
      run({"cron", "add", "nightly", "45 2 1 1 *", "Report", "all", "7", "-q", "slow", "--replace", "--plain"}).out,
      "nightly\tchanged\n");
  EXPECT_EQ(run({"cron", "add", "hourly", "@hourly", "Tick", "--missed", "skip", "--json"}).out,
            "{\"name\":\"hourly\",\"outcome\":\"added\"}\n");
  const Outcome wrong = run({"cron", "add", "never", "0 0 31 2 *", "Report"});
  EXPECT_EQ(wrong.code, 2);
  EXPECT_EQ(wrong.err,
            "dagverk: error: schedule \"0 0 31 2 *\": never comes: FEB has no day 31; type a day up to 29, or other "
            "months\n");
  EXPECT_EQ(run({"cron", "add", "e", "@daily", "Report", "--missed", "twice"}).code, 2);
  EXPECT_EQ(run({"cron", "add", "e", "@daily", "Report", "--zone", "Nowhere"}).code, 2);

  const Outcome list = run({"cron", "list", "--plain"});
  EXPECT_TRUE(list.out.starts_with("hourly\t@hourly\tUTC\tTick\tdefault\t2")) << list.out;
  EXPECT_EQ(lines(list.out), 2);
  const Outcome json = run({"cron", "show", "nightly", "--json"});
  EXPECT_TRUE(json.out.starts_with(R"({"name":"nightly","schedule":"45 2 1 1 *","zone":"UTC","class":"Report",)"
                                   R"("queue":"slow","args":["all",7],"missed":"once","origin":")"))
      << json.out;
  EXPECT_TRUE(contains(json.out, R"("paused":false,"next_at":"2)")) << json.out;
  EXPECT_EQ(lines(run({"cron", "next", "nightly", "-n", "3", "--plain"}).out), 3);
  EXPECT_EQ(run({"cron", "next", "--schedule", "0 0 29 2 *", "-n", "2000"}).code, 2);
  EXPECT_EQ(lines(run({"cron", "next", "--schedule", "0 0 29 2 *", "-n", "2", "--json"}).out), 2);

  EXPECT_EQ(run({"cron", "pause", "nightly", "--reason", "holidays", "--by", "ann"}).out, "nightly: paused\n");
  EXPECT_EQ(run({"cron", "pause", "nightly"}).out, "nightly: was paused already\n");
  EXPECT_TRUE(contains(run({"cron", "list"}).out, ": holidays"));
  EXPECT_EQ(run({"cron", "resume", "nightly", "--plain"}).out, "nightly\tresumed\n");
  const Outcome near = run({"cron", "resume", "nihgtly"});
  EXPECT_EQ(near.code, 3);
  EXPECT_TRUE(contains(near.err, "did you mean \"nightly\"?")) << near.err;

  const Outcome ran = run({"cron", "run", "nightly"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_TRUE(contains(run({"job", "list", "--plain"}).out, ran.out.substr(0, ran.out.size() - 1)));
  EXPECT_EQ(run({"cron", "remove", "nightly", "hourly"}).code, 4) << "two without a yes";
  EXPECT_EQ(run({"cron", "remove", "nightly", "hourly", "--yes", "--plain"}).out,
            "nightly\tremoved\nhourly\tremoved\n");
  EXPECT_EQ(run({"cron", "list"}).out, "");
}

TEST_P(DagverkOnBothStores, a_queue_is_looked_into_and_cleared_after_a_yes) {
  for (int index = 1; index <= 5; ++index) {
    enqueue({"Send", std::to_string(index), "-q", "mail", "--jid", "j" + std::to_string(index)});
  }
  enqueue({"Send", "-q", "other"});
  const Outcome peek = run({"queue", "peek", "mail", "-n", "2", "--plain"});
  EXPECT_EQ(lines(peek.out), 2);
  EXPECT_TRUE(peek.out.starts_with("j1\tSend\t2")) << peek.out;
  EXPECT_TRUE(contains(peek.out, "\t[2]\n")) << peek.out;
  EXPECT_TRUE(contains(run({"queue", "peek", "mail", "--json", "-n", "1"}).out, R"("args":[1])"));
  EXPECT_TRUE(run({"queue", "peek", "mail"}).out.starts_with("JID  CLASS  ENQUEUED"));

  const Outcome dry = run({"queue", "clear", "mail", "--dry-run"});
  EXPECT_EQ(dry.code, 0);
  EXPECT_EQ(dry.err, "dagverk: would delete 5 jobs\n");
  EXPECT_EQ(run({"queue", "clear", "mail"}).code, 4);
  const Outcome some = run({"queue", "clear", "mail", "--limit", "2", "--yes"});
  EXPECT_EQ(some.out, "deleted 2 jobs\n") << some.err;
  EXPECT_TRUE(contains(some.err, "there are more")) << some.err;
  EXPECT_TRUE(run({"queue", "peek", "mail", "--plain"}).out.starts_with("j3\t"));
  EXPECT_EQ(run({"queue", "clear", "mail", "--yes", "--json"}).out, "{\"queue\":\"mail\",\"deleted\":3}\n");
  EXPECT_EQ(run({"queue", "peek", "mail"}).err, "dagverk: no jobs\n");
  EXPECT_EQ(stat("ready"), 1);
  EXPECT_EQ(stat("deleted"), 5);
  EXPECT_EQ(run({"queue", "clear", "mial", "--yes"}).code, 3);
}

TEST_P(DagverkOnBothStores, jobs_move_to_another_queue_one_by_one_or_all_of_a_state) {
  for (const char* jid : {"j1", "j2", "j3"}) enqueue({"Send", "mail", "-q", "mail", "--jid", jid});
  enqueue({"Send", "--in", "1h", "-q", "mail", "--jid", "later"});
  EXPECT_EQ(run({"job", "move", "j1", "--to", "slow"}).out, "moved\n");
  const Outcome shown = run({"job", "show", "j1", "--json"});
  EXPECT_TRUE(contains(shown.out, R"("queue":"slow")")) << shown.out;
  EXPECT_TRUE(contains(shown.out, R"("args":["mail"])")) << shown.out;
  EXPECT_EQ(run({"job", "move", "later", "nope", "--to", "slow", "--json", "--yes"}).out,
            "{\"jid\":\"later\",\"outcome\":\"moved\"}\n{\"jid\":\"nope\",\"outcome\":\"missing\"}\n");
  EXPECT_EQ(run({"job", "move", "--all", "--state", "ready", "-q", "mail", "--to", "slow", "--dry-run"}).err,
            "dagverk: would move 2 jobs\n");
  EXPECT_EQ(run({"job", "move", "--all", "--state", "ready", "-q", "mail", "--to", "slow"}).code, 4);
  EXPECT_EQ(run({"job", "move", "--all", "--state", "ready", "-q", "mail", "--to", "slow", "--yes"}).out,
            "moved 2 jobs\n");
  const Outcome queues = run({"queue", "list", "--plain"});
  EXPECT_TRUE(contains(queues.out, "mail\t0\t0\t0\t")) << queues.out;
  EXPECT_TRUE(contains(queues.out, "slow\t3\t0\t1\t")) << queues.out;
  EXPECT_EQ(run({"job", "move", "j1"}).code, 2) << "no --to";
  EXPECT_EQ(run({"job", "move", "j1", "--to", "a b"}).code, 2);
  EXPECT_EQ(run({"job", "move", "--all", "--to", "slow"}).code, 2) << "no state";
  EXPECT_EQ(run({"job", "move", "nope", "--to", "slow"}).code, 3);
}

TEST_F(Dagverk, a_worker_runs_commands_until_it_is_told_to_stop) {
  write("dagverk.toml",
        "store = \"sqlite:jobs.db\"\n[jobs.Checksum]\nrun = [\"sha256sum\", \"--\", \"{0}\"]\n[jobs.Missing]\n"
        "run = [\"/no/such/command\"]\nretries = 0\n");
  write("file.txt", "hello\n");
  const std::string good = enqueue({"Checksum", (folder_ / "file.txt").string()});
  const std::string missing = enqueue({"Missing"});
  const std::string unknown = enqueue({"Nobody"});
  Child worker(command({"work", "--json"}), world_);
  std::string seen;
  for (int ends = 0; ends < 3;) {
    const std::string line = worker.read_line();
    ASSERT_NE(line, "") << seen;
    seen += line + "\n";
    if (contains(line, "\"JobFinished\"") || contains(line, "\"JobDied\"") || contains(line, "\"JobRetried\"")) ++ends;
  }
  worker.kill(SIGTERM);
  const Outcome outcome = worker.wait();
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, "stopped: 1 runs finished, 1 to be retried, 1 died, 0 given back")) << outcome.err;
  EXPECT_TRUE(
      contains(run({"job", "show", good}).out, "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"));
  EXPECT_TRUE(contains(run({"job", "show", missing}).out, "/no/such/command"));
  EXPECT_TRUE(contains(run({"job", "show", unknown}).out, "UnknownJobClass"));
  EXPECT_EQ(stat("nodes"), 0);
  EXPECT_EQ(run({"job", "retry", "--all", "--quiet"}).out, "retried 1 job\n");
  EXPECT_EQ(stat("dead"), 0);
}

/// The examples of docs/guides/commands.md, as they stand in the repository.
class CommandExamples : public Dagverk {
 protected:
  void SetUp() override {
    Dagverk::SetUp();
    std::filesystem::copy(DAGVERK_EXAMPLES "/commands", folder_);
    ::chmod((folder_ / "dagverk.toml").c_str(), 0644);  // a checkout may be writable for a group
  }
  /// What a worker tells until `count` runs have ended, and it has stopped; `{"kind":…}` a line.
  std::string work_until(int count) const {
    Child worker(command({"work", "--json"}), world_);
    std::string seen;
    while (count > 0) {
      const std::string line = worker.read_line();
      if (line.empty()) break;
      seen += line + "\n";
      for (const std::string_view end : {"JobFinished", "JobDied", "JobRetried", "JobSnoozed", "JobDiscarded"}) {
        if (contains(line, end)) --count;
      }
    }
    worker.kill(SIGTERM);
    const Outcome outcome = worker.wait();
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return seen;
  }
  static std::string line_of(const std::string& text, std::string_view kind, const std::string& jid) {
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line);) {
      if (contains(line, kind) && contains(line, jid)) return line;
    }
    return "none in " + text;
  }
};

TEST_F(CommandExamples, of_the_shell_and_of_python_do_what_the_guide_says) {
  for (const char* folder : {"photos", "locked"}) std::filesystem::create_directory(folder_ / folder);
  write("photos/a.jpg", "a");
  write("photos/b c.jpg", "b");
  write("locked/.locked", "");
  write("sales.csv", "day,amount\n1,2.5\n2,4\n");
  const std::string greet = enqueue({"Greet", "world; reboot"});
  const std::string option = enqueue({"Greet", "--", "--version"});
  const std::string backup = enqueue({"Backup", "photos", "copies"});
  const std::string locked = enqueue({"Backup", "locked", "copies"});
  const std::string hopeless = enqueue({"Backup", "nowhere", "copies"});
  const std::string report = enqueue({"Report", "sales.csv", R"({"column":"amount"})"});
  const std::string gone = enqueue({"Report", "gone.csv", "{}"});
  const std::string broken = enqueue({"Report", "sales.csv", R"({"column":"none"})"});
  EXPECT_EQ(run({"config", "check"}).code, 0);

  const std::string seen = work_until(8);

  EXPECT_TRUE(contains(line_of(seen, "JobFinished", greet), R"(hello, world; reboot\n)"));
  EXPECT_TRUE(contains(line_of(seen, "JobFailed", option), R"(begins with \"-\")"))
      << line_of(seen, "JobFailed", option);
  EXPECT_TRUE(contains(line_of(seen, "JobFinished", backup), R"("2 files")"));
  EXPECT_TRUE(std::filesystem::exists(folder_ / "copies" / "b c.jpg"));
  EXPECT_TRUE(contains(run({"job", "logs", backup}).out, "copied b c.jpg\n"));
  EXPECT_TRUE(contains(run({"job", "logs", backup, "--json"}).out, R"("progress":1,"status":"2 of 2")"));
  EXPECT_TRUE(contains(line_of(seen, "JobSnoozed", locked), locked));
  EXPECT_TRUE(contains(run({"job", "show", locked}).out, "state     retrying\n")) << run({"job", "show", locked}).out;
  EXPECT_TRUE(contains(line_of(seen, "JobDied", hopeless), "exited with code 173: there is no folder nowhere"));
  EXPECT_TRUE(contains(line_of(seen, "JobFinished", report), R"("6.5")"));
  EXPECT_TRUE(contains(run({"job", "logs", report, "--json"}).out, R"("status":"row 2 of 2")"));
  EXPECT_TRUE(contains(line_of(seen, "JobDiscarded", gone), "exited with code 172"));
  EXPECT_TRUE(contains(line_of(seen, "JobFailed", broken), "KeyError: 'none'")) << line_of(seen, "JobFailed", broken);
}

TEST_F(CommandExamples, of_node_does_what_the_guide_says) {
  if (!std::filesystem::exists("/usr/bin/node")) GTEST_SKIP() << "skipped: there is no /usr/bin/node (Debian: nodejs)";
  const std::string day = enqueue({"Notify", R"({"to":"Ann","text":"hi","hour":9})"});
  const std::string night = enqueue({"Notify", R"({"to":"Ann","text":"hi","hour":6})"});
  const std::string seen = work_until(2);
  EXPECT_TRUE(contains(line_of(seen, "JobFinished", day), "told Ann: hi"));
  EXPECT_TRUE(contains(run({"job", "logs", day}).out, "  attempt 1\n"));
  EXPECT_TRUE(contains(run({"job", "logs", day}).out, "  no such person: Ann\n"));
  EXPECT_TRUE(contains(line_of(seen, "JobSnoozed", night), night));
}

TEST_F(Dagverk, unique_keys_are_listed_and_released) {
  EXPECT_EQ(run({"job", "locks"}).err, "dagverk: no unique key is held\n");
  const std::string jid = enqueue({"A", "--unique", "one at a time", "--unique-for", "1h"});
  enqueue({"A", "--unique", "other", "--unique-until", "period", "--unique-for", "2h"});
  const Outcome list = run({"job", "locks", "--plain"});
  EXPECT_TRUE(list.out.starts_with("one at a time\t" + jid + "\tdone\t")) << list.out;
  EXPECT_TRUE(contains(list.out, "\nother\t"));
  const Outcome one = run({"job", "locks", "-n", "1", "--json"});
  EXPECT_TRUE(one.out.starts_with(R"({"key":"one at a time","jid":")" + jid + R"(","until":"done","taken_at":")"))
      << one.out;
  EXPECT_EQ(std::ranges::count(one.out, '\n'), 1);
  EXPECT_TRUE(contains(one.err, "there are more")) << one.err;
  EXPECT_EQ(run({"job", "unlock", "other", "one at a time", "--dry-run"}).code, 0);
  EXPECT_EQ(run({"job", "unlock", "other", "one at a time"}).code, 4) << "nobody was asked";
  const Outcome released = run({"job", "unlock", "one at a time", "nobody's", "--yes", "--json"});
  EXPECT_EQ(released.code, 5);
  EXPECT_EQ(released.out,
            "{\"key\":\"one at a time\",\"outcome\":\"released\"}\n"
            "{\"key\":\"nobody's\",\"outcome\":\"missing\"}\n");
  EXPECT_EQ(run({"job", "unlock", "one at a time"}).code, 3);
  enqueue({"A", "--unique", "one at a time"});
  EXPECT_TRUE(contains(run({"job", "show", jid}).out, "state     ready\n")) << "the job itself stays";
}

TEST_F(Dagverk, what_is_enqueued_has_the_unique_key_and_the_limit_that_its_class_has_in_the_file) {
  write("dagverk.toml",
        "store = \"sqlite:jobs.db\"\n[jobs.Report]\nrun = [\"true\"]\nlimit = \"api:{0}\"\nunique = { until = \"done\" "
        "}\n");
  const std::string jid = enqueue({"Report", "acme"});
  EXPECT_TRUE(contains(run({"store", "export"}).out, R"(\"limit_key\":\"api:acme\")"));
  const Outcome again = run({"enqueue", "Report", "acme"});
  EXPECT_EQ(again.code, 4);
  EXPECT_EQ(again.err, "dagverk: error: job Report: the unique key \"Report:[\"acme\"]\" is held by job " + jid +
                           " until it is done\n");
  enqueue({"Report", "umbra"});
  EXPECT_EQ(run({"enqueue", "Report"}).err,
            "dagverk: error: argument 1 of Report is missing: it is the key of limit \"api\"\n");
  write("jobs.jsonl", R"({"class":"Report","args":["acme"]})"
                      "\n"
                      R"({"class":"Report","args":["new"]})");
  const Outcome bulk = run({"enqueue", "--bulk", "jobs.jsonl", "--json"});
  EXPECT_EQ(bulk.code, 5);
  EXPECT_EQ(bulk.out,
            R"({"enqueued":1,"scheduled":0,"malformed":0,"duplicates":0,"refused":0,"locked":1,"rescheduled":0})"
            "\n");
  EXPECT_TRUE(contains(bulk.err, "error: jobs.jsonl:1: another job holds its unique key\n")) << bulk.err;
}

TEST_F(Dagverk, a_worker_puts_the_limits_of_its_file_when_it_starts_and_reads_it_again) {
  write("dagverk.toml", "store = \"sqlite:jobs.db\"\n[limits.api]\nrate = \"100/1m\"\n");
  EXPECT_TRUE(contains(run({"config", "check"}).out, "limit  api: 100/1m bucket\n")) << run({"config", "check"}).out;
  EXPECT_EQ(run({"limit", "set", "mine", "--concurrency", "7"}).code, 0);
  Child worker(command({"work", "--json"}), world_);
  ASSERT_NE(worker.read_until("\"QueueRunning\""), "");
  const std::string list = run({"limit", "list", "--plain"}).out;
  EXPECT_TRUE(contains(list, "api\t-\t100/1m bucket\t")) << list;
  EXPECT_TRUE(contains(list, "mine\t7\t")) << "what others have limited stays so: " << list;
  write("dagverk.toml", "store = \"sqlite:jobs.db\"\n[limits.api]\nconcurrency = 3\n");
  worker.kill(SIGHUP);
  while (!contains(run({"limit", "list", "--plain"}).out, "api\t3\t-\t")) std::this_thread::yield();
  worker.kill(SIGTERM);
  const Outcome outcome = worker.wait();
  EXPECT_EQ(outcome.code, 0);
  EXPECT_TRUE(contains(outcome.err, "reloaded: 1 changes")) << outcome.err;
}

TEST_F(Dagverk, a_killed_worker_loses_nothing) {
  write("dagverk.toml", "store = \"sqlite:jobs.db\"\n[jobs.Wait]\nrun = [\"sleep\", \"600\"]\n");
  const std::string jid = enqueue({"Wait"});
  {
    Child worker(command({"work", "--json"}), world_);
    ASSERT_NE(worker.read_until("\"JobStarted\""), "");
    worker.kill(SIGKILL);
    EXPECT_EQ(worker.wait().code, 128 + SIGKILL);
  }
  Child other(command({"work", "--json", "--stop-timeout", "0s"}), world_);
  ASSERT_NE(other.read_until("\"JobStarted\""), "");
  other.kill(SIGTERM);
  const Outcome outcome = other.wait();
  EXPECT_EQ(outcome.code, 0);
  EXPECT_TRUE(contains(outcome.err, "1 given back")) << outcome.err;
  EXPECT_TRUE(contains(run({"job", "show", jid}).out, "state     ready\n"));
  EXPECT_EQ(stat("rescued"), 1);
}

TEST_F(Dagverk, dev_runs_echo_without_any_file) {
  enqueue({"echo", "hello", "[1]"});
  Child dev(command({"dev"}), world_);
  EXPECT_TRUE(contains(dev.read_until("finished   echo"), R"(["hello",[1]])"));
  dev.kill(SIGINT);
  const Outcome outcome = dev.wait();
  EXPECT_EQ(outcome.code, 0);
  EXPECT_TRUE(contains(outcome.err, "try, in another terminal: dagverk enqueue echo hello\n")) << outcome.err;
}

TEST_F(Dagverk, tools_show_stop_and_start_the_handlers_of_a_running_worker) {
  Child worker(command({"work", "--json"}), world_);
  ASSERT_NE(worker.read_until("\"QueueRunning\""), "");
  const Outcome list = run({"handlers", "list", "--plain"});
  EXPECT_EQ(list.code, 0) << list.err;
  EXPECT_TRUE(list.out.starts_with("printer\trunning\tkeep_newest(10000)\t")) << list.out;
  const Outcome unknown = run({"handler", "stop", "prnter"});
  EXPECT_EQ(unknown.code, 3);
  EXPECT_EQ(unknown.err, "dagverk: error: no handler \"prnter\"; did you mean printer?\n");
  EXPECT_EQ(run({"handler", "list", "--node", "nobody"}).code, 3);

  EXPECT_EQ(run({"handler", "stop", "printer"}).out, "stopped\n");
  EXPECT_TRUE(contains(run({"handler", "show", "printer"}).out, "state                   stopped\n"));
  const std::string jid = enqueue({"Nobody"});
  while (stat("retrying") == 0) std::this_thread::yield();
  while (contains(run({"handler", "list", "--plain"}).out, "\t0\t0\t-\t")) std::this_thread::yield();
  const Outcome started = run({"handler", "start", "printer", "--json"});
  EXPECT_TRUE(started.out.starts_with(R"({"handler":"printer","node":")")) << started.out;
  EXPECT_TRUE(started.out.ends_with("\"outcome\":\"started\"}\n"));
  EXPECT_TRUE(contains(worker.read_until("\"JobRetried\""), jid)) << "what happened meanwhile was kept for it";
  EXPECT_EQ(run({"handler", "restart", "printer"}).out, "restarted\n");
  const Outcome show = run({"handler", "show", "printer", "--json"});
  EXPECT_TRUE(contains(show.out, R"("state":"running")")) << show.out;
  EXPECT_TRUE(contains(show.out, R"("restarts":2)")) << show.out;

  worker.kill(SIGTERM);
  EXPECT_EQ(worker.wait().code, 0);
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / "dagverk")) << "its socket is gone";
  const Outcome nobody = run({"handler", "list"});
  EXPECT_EQ(nobody.code, 3);
  EXPECT_EQ(nobody.err, "dagverk: error: no node of this store runs on this machine; to start one: dagverk work\n");
}

TEST_F(Dagverk, events_are_followed_over_the_socket_that_the_configuration_names) {
  write("dagverk.toml", "store = \"sqlite:jobs.db\"\nsocket = \"node.sock\"\n[events]\nmanager = \"supervised\"\n");
  EXPECT_EQ(run({"events", "tail", "--event", "JobFinnished"}).err,
            "dagverk: error: no event is called \"JobFinnished\"; did you mean JobFinished?\n");
  EXPECT_EQ(run({"events", "tail", "--socket", "node.sock"}).code, 69);
  Child dev(command({"dev"}), world_);
  ASSERT_NE(dev.read_until("queue runs"), "");
  Child one(command({"events", "tail", "--json", "--event", "JobFinished", "--jid", "j2", "-n", "1"}), world_);
  Child all(command({"events", "tail", "--socket", "node.sock"}), world_);
  const auto following = [&] {
    const std::string list = run({"handler", "list", "--plain", "--socket", "node.sock"}).out;
    return contains(list, "tail-1\trunning") && contains(list, "tail-2\trunning");
  };
  while (!following()) std::this_thread::yield();
  enqueue({"echo", "hello", "--jid", "j1"});
  enqueue({"echo", "world", "--jid", "j2"});
  const Outcome found = one.wait();
  EXPECT_EQ(found.code, 0) << found.err;
  EXPECT_TRUE(found.out.starts_with(R"({"event":"JobFinished","jid":"j2","class":"echo")")) << found.out;
  EXPECT_EQ(lines(found.out), 1);
  const std::string both = all.read_until("finished") + all.read_until("finished");  // they run at once
  EXPECT_TRUE(contains(both, "echo  j1"));
  EXPECT_TRUE(contains(both, "echo  j2"));
  dev.kill(SIGTERM);
  EXPECT_EQ(dev.wait().code, 0);
  const Outcome end = all.wait();
  EXPECT_EQ(end.code, 0);
  EXPECT_TRUE(contains(end.err, "has ended\n")) << end.err;
}

TEST_F(Dagverk, each_event_manager_that_the_configuration_names_serves_the_printer_and_the_socket) {
  for (const std::string manager : {"staged", "supervised", "serial"}) {
    SCOPED_TRACE(manager);
    write("dagverk.toml", "store = \"sqlite:jobs.db\"\nsocket = \"node.sock\"\nevents.manager = \"" + manager + "\"\n");
    Child dev(command({"dev", "--json"}), world_);
    ASSERT_NE(dev.read_until("\"QueueRunning\""), "");
    Child tail(command({"events", "tail", "--socket", "node.sock", "--json", "--event", "JobFinished"}), world_);
    while (!contains(run({"handler", "list", "--plain", "--socket", "node.sock"}).out, "tail-1\trunning")) {
      std::this_thread::yield();
    }
    const std::string jid = enqueue({"echo", manager});
    EXPECT_TRUE(contains(tail.read_until("\"JobFinished\""), jid));
    EXPECT_NE(dev.read_until("\"JobFinished\""), "");
    EXPECT_EQ(run({"handler", "stop", "printer", "--socket", "node.sock"}).out, "stopped\n");
    EXPECT_EQ(run({"handler", "start", "printer", "--socket", "node.sock"}).out, "started\n");
    const std::string list = run({"handler", "list", "--plain", "--socket", "node.sock"}).out;
    EXPECT_TRUE(contains(list, "printer\trunning\tkeep_newest(10000)\t")) << list;
    dev.kill(SIGTERM);
    const Outcome end = dev.wait();
    EXPECT_EQ(end.code, 0);
    EXPECT_FALSE(contains(end.err, "not printed")) << end.err;
    EXPECT_EQ(tail.wait().code, 0);
  }
}

TEST_F(Dagverk, a_worker_without_a_place_for_its_socket_works_all_the_same) {
  world_.environment.back() = "XDG_RUNTIME_DIR=/proc/nowhere";
  enqueue({"echo", "hello"});
  Child dev(command({"dev"}), world_);
  EXPECT_NE(dev.read_until("finished   echo"), "");
  EXPECT_EQ(run({"handler", "list"}).code, 3);
  dev.kill(SIGTERM);
  const Outcome outcome = dev.wait();
  EXPECT_EQ(outcome.code, 0);
  EXPECT_TRUE(contains(outcome.err, "warning: no tool can reach this node: folder /proc/nowhere/dagverk"))
      << outcome.err;

  write("dagverk.toml", "socket = \"" + std::string(200, 'x') + "\"\n");
  const Outcome refused = Child(command({"work"}), world_).wait();
  EXPECT_EQ(refused.code, 78);
  EXPECT_TRUE(contains(refused.err, "a path of 1 to 107 bytes is needed")) << refused.err;
}

TEST_F(Dagverk, a_worker_logs_where_the_configuration_says_and_looks_again_after_sighup) {
  write("dagverk.toml",
        "store = \"sqlite:jobs.db\"\nlog_level = \"debug\"\n[log]\nto = \"file:worker.log, json:worker.jsonl\"\n");
  const auto text_of = [&](const std::string& name) {
    std::ifstream file(folder_ / name);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  Child worker(command({"work", "--json"}, DAGVERK_WORKER_PROGRAM), world_);
  while (!contains(text_of("worker.log"), "node.started")) std::this_thread::yield();
  std::filesystem::rename(folder_ / "worker.log", folder_ / "worker.log.old");
  worker.kill(SIGHUP);
  while (!std::filesystem::exists(folder_ / "worker.log")) std::this_thread::yield();
  enqueue({"Crash"});
  EXPECT_EQ(worker.wait().code, 128 + SIGABRT);
  const std::string json = text_of("worker.jsonl");
  EXPECT_TRUE(json.starts_with("{") && json.ends_with("}\n")) << json;
  EXPECT_TRUE(contains(json, "node.started")) << json;
  EXPECT_TRUE(contains(text_of("worker.log.old"), "node.started"));

  write("dagverk.toml", "[log]\nto = \"fil:worker.log\"\n");
  const Outcome wrong = run({"config", "check"});
  EXPECT_EQ(wrong.code, 78);
  EXPECT_TRUE(contains(wrong.err, "dagverk.toml:2: log.to: got \"fil:worker.log\"; allowed: \"console\", "))
      << wrong.err;
  write("dagverk.toml", "[log]\nto = \"file:/proc/nowhere/worker.log\"\n");
  const Outcome unwritable = Child(command({"work"}), world_).wait();
  EXPECT_EQ(unwritable.code, 78);
  EXPECT_TRUE(contains(unwritable.err, "log.to: file:/proc/nowhere/worker.log: ")) << unwritable.err;
}

TEST_F(Dagverk, nodes_are_listed_shown_quieted_and_stopped_from_elsewhere) {
  std::vector<std::string> stores = {"sqlite:jobs.db"};
  std::unique_ptr<RedisServer> server;
  if (RedisServer::available()) {
    server = std::make_unique<RedisServer>();
    stores.push_back(server->url());
  }
  for (const std::string& store : stores) {
    SCOPED_TRACE(store);
    write("dagverk.toml", "store = \"" + store +
                              "\"\nheartbeat = \"1s\"\ntag = \"shop\"\nstop_timeout = \"0s\"\n[queues]\nmail = 3\n"
                              "[jobs.Wait]\nqueue = \"mail\"\nrun = [\"sleep\", \"600\"]\n");
    const std::string jid = enqueue({"Wait"});
    Child worker(command({"work", "--json"}), world_);
    ASSERT_NE(worker.read_until("\"JobStarted\""), "");
    std::string shown;
    for (int tries = 0; tries < 1000 && !contains(shown, R"("tag":"shop")"); ++tries) {
      shown = run({"node", "list", "--json"}).out;
    }
    const std::size_t at = shown.find(R"("node":")") + 8;
    const std::string node = shown.substr(at, shown.find('"', at) - at);
    EXPECT_EQ(std::ranges::count(node, ':'), 2) << node;
    EXPECT_TRUE(contains(shown, "\"concurrency\":3,\"pools\":[{\"pool\":\"mail\"")) << shown;
    EXPECT_TRUE(contains(run({"nodes", "list", "--plain"}).out, "mail:3"));
    std::string detailed;
    for (int tries = 0; tries < 1000 && !contains(detailed, jid); ++tries) {
      detailed = run({"node", "show", node, "--json"}).out;
    }
    EXPECT_TRUE(contains(detailed, "\"class\":\"Wait\"")) << detailed;
    EXPECT_TRUE(contains(run({"node", "show", node}).out, "Wait " + jid + ", queue mail, since "));
    EXPECT_EQ(stat("nodes"), 1);
    EXPECT_EQ(stat("foreign_nodes"), 0);

    const Outcome typo = run({"node", "quiet", node + "x"});
    EXPECT_EQ(typo.code, 3);
    EXPECT_TRUE(contains(typo.err, "did you mean " + node)) << typo.err;
    EXPECT_EQ(run({"node", "quiet"}).code, 2);
    EXPECT_EQ(run({"node", "stop", "--all", "--dry-run"}).err, "dagverk: would stop 1 node\n");
    const Outcome quieted = run({"node", "quiet", node, "--json"});
    EXPECT_EQ(quieted.code, 0) << quieted.err;
    EXPECT_EQ(quieted.out, R"({"node":")" + node + R"(","signal":"quiet","outcome":"sent"})" + "\n");
    ASSERT_NE(worker.read_until("\"QueuePausing\""), "");
    const Outcome stopped = run({"node", "stop", "--all", "--yes"});
    EXPECT_EQ(stopped.out, "sent to 1 node\n") << stopped.err;
    const Outcome outcome = worker.wait();
    EXPECT_EQ(outcome.code, 0);
    EXPECT_TRUE(contains(outcome.err, "1 given back")) << outcome.err;
    EXPECT_EQ(run({"node", "list"}).err, "dagverk: no nodes; to start one: dagverk work\n");
  }
}

TEST_F(Dagverk, a_worker_goes_quiet_dumps_what_it_does_and_reads_its_configuration_again) {
  const auto configure = [&](std::string_view settings) {
    const bool states_it = settings.starts_with("stop_timeout");
    write("dagverk.toml", std::string("store = \"sqlite:jobs.db\"\n") + (states_it ? "" : "stop_timeout = \"0s\"\n") +
                              std::string(settings) +
                              "\n[jobs.Wait]\nrun = [\"sleep\", \"600\"]\n[log]\nto = \"file:worker.log\"\n");
  };
  const auto logged = [&](std::string_view text) {
    std::string log;
    for (int tries = 0; tries < 1'000'000 && !contains(log, text); ++tries) {
      std::ifstream file(folder_ / "worker.log");
      log.assign(std::istreambuf_iterator<char>(file), {});
      std::this_thread::yield();
    }
    return log;
  };
  configure("[queues]\ndefault = 3");
  const std::string jid = enqueue({"Wait"});
  Child worker(command({"work", "--json"}), world_);
  ASSERT_NE(worker.read_until("\"JobStarted\""), "");

  worker.kill(SIGTTIN);
  const std::string dump = logged("job.dump");
  EXPECT_TRUE(contains(dump, jid)) << dump;
  EXPECT_TRUE(contains(dump, "node.dump")) << dump;

  configure("log_level = \"debug\"\nsocket = \"none\"\n[queues]\ndefault = 7\nmail = 1");
  worker.kill(SIGHUP);
  const std::string reloaded = logged("queues.mail");
  EXPECT_TRUE(contains(reloaded, "queues.default 3 -> 7")) << reloaded;
  EXPECT_TRUE(contains(reloaded, "log_level info -> debug")) << reloaded;
  EXPECT_TRUE(contains(reloaded, "configuration.needs_restart")) << reloaded;
  configure("stop_timeout = 5");
  worker.kill(SIGHUP);
  EXPECT_TRUE(contains(logged("configuration.refused"), "configuration.refused"));

  configure("[queues]\ndefault = 3");
  worker.kill(SIGTSTP);
  ASSERT_NE(worker.read_until("\"QueuePausing\""), "");
  enqueue({"Wait"});
  worker.kill(SIGTERM);
  const Outcome outcome = worker.wait();
  EXPECT_EQ(outcome.code, 0);
  EXPECT_TRUE(contains(outcome.err, "takes no more jobs")) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, "warning: socket has changed; that needs a restart")) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, "not reloaded:")) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, "1 given back")) << outcome.err;
}

TEST_F(Dagverk, a_worker_whose_output_nobody_reads_stops_in_order) {
  Child worker(command({"work", "--json"}), world_);
  ASSERT_NE(worker.read_until("\"QueueRunning\""), "");
  worker.close_output();
  enqueue({"Nobody"});
  const Outcome outcome = worker.wait();
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_FALSE(contains(outcome.err, "error")) << outcome.err;
}

TEST_F(Dagverk, a_users_binary_is_a_worker) {
  const std::string joined = enqueue({"Join", "tea", "2"});
  const std::string failed = enqueue({"Fail"});
  const std::string wrong = enqueue({"Join", "tea"});
  Child worker(command({"work", "--json", "-q", "default:1"}, DAGVERK_WORKER_PROGRAM), world_);
  EXPECT_TRUE(contains(worker.read_until("\"JobFinished\""), R"("output":"tea and 2")"));
  ASSERT_NE(worker.read_until("\"JobDied\""), "");
  ASSERT_NE(worker.read_until("\"JobRetried\""), "");
  worker.kill(SIGTERM);
  EXPECT_EQ(worker.wait().code, 0);
  EXPECT_TRUE(contains(run({"job", "show", joined}).out, "tea and 2"));
  EXPECT_TRUE(contains(run({"job", "show", failed}).out, "on purpose"));
  EXPECT_TRUE(contains(run({"job", "show", wrong}).out, "ArgumentError"));

  const auto ask = [&](Words words) { return Child(command(std::move(words), DAGVERK_WORKER_PROGRAM), world_).wait(); };
  EXPECT_TRUE(ask({"--help"}).out.starts_with("usage: worker_program [work] [OPTION…]\n"));
  EXPECT_EQ(ask({"stats"}).code, 2);
  EXPECT_EQ(ask({"--nope"}).code, 2);
  const Outcome reserved = ask({"dagverk:run-job"});
  EXPECT_EQ(reserved.code, 78);
  EXPECT_TRUE(contains(reserved.err, "does not run jobs in processes of their own")) << reserved.err;
}

TEST_F(Dagverk, the_configuration_is_checked) {
  write("dagverk.toml",
        "store = \"sqlite:jobs.db\"\n[queues]\nmail = 3\n[jobs.A]\nrun = [\"no-such-command\"]\nqueue = \"mail\"\n");
  const Outcome good = run({"config", "check"});
  EXPECT_EQ(good.code, 0);
  EXPECT_TRUE(
      contains(good.err, "warning: dagverk.toml:4: jobs.A.run: \"no-such-command\" is not an executable here\n"));
  const Outcome json = run({"config", "check", "--json"});
  EXPECT_TRUE(json.out.starts_with(
      R"({"valid":true,"file":"dagverk.toml","store":"sqlite:jobs.db","queues":[{"name":"mail","concurrency":3}],"jobs":[{"class":"A",)"))
      << json.out;

  write("bad.toml", "[queues]\nmail = 0\n[jobs.A]\nrnu = []\n");
  const std::string first = "bad.toml:2: queues.mail: got 0; allowed: its concurrency, a whole number from 1 to 1024";
  for (const Words& words :
       {Words{"config", "check"}, Words{"stats"}, Words{"work"}, Words{"enqueue", "A"}, Words{"dev"}}) {
    Words with_file = words;
    with_file.insert(with_file.end(), {"--config", "bad.toml"});
    const Outcome bad = run(with_file);
    EXPECT_EQ(bad.code, 78) << words[0];
    EXPECT_TRUE(bad.err.starts_with("dagverk: error: " + first + "\ndagverk: error: bad.toml:4: jobs.A.rnu: "))
        << bad.err;
    EXPECT_EQ(bad.out, "");
  }
  const Outcome bad = run({"config", "check", "--config", "bad.toml", "--json"});
  EXPECT_TRUE(bad.out.starts_with(R"({"valid":false,"mistakes":[")" + first + "\",")) << bad.out;
  write("no.toml", "store = \n");
  const Outcome malformed = run({"stats", "--config", "no.toml"});
  EXPECT_EQ(malformed.code, 78);
  EXPECT_TRUE(malformed.err.starts_with("dagverk: error: no.toml:1:")) << malformed.err;

  std::filesystem::remove(folder_ / "dagverk.toml");
  world_.environment.emplace_back("REDIS_URL=redis://:hush@localhost/no_number");
  const Outcome redis = run({"stats"});
  EXPECT_EQ(redis.code, 78);
  EXPECT_TRUE(contains(redis.err, "REDIS_URL: got")) << redis.err;
  EXPECT_FALSE(contains(redis.err, "hush"));
  world_.environment.back() = "REDIS_URL=redis://:hush@127.0.0.1:" + std::to_string(free_loopback_port());
  const Outcome nobody = run({"stats"});
  EXPECT_EQ(nobody.code, 69) << nobody.err;
  EXPECT_FALSE(contains(nobody.err, "hush"));
}

TEST_F(Dagverk, the_same_commands_work_on_redis) {
  if (!RedisServer::available()) GTEST_SKIP() << RedisServer::missing;
  RedisServer server;
  world_.environment.emplace_back("REDIS_URL=" + server.url() + "/3");
  world_.environment.emplace_back("DAGVERK_JOURNAL_ENABLED=true");
  write("dagverk.toml",
        "[jobs.Checksum]\nrun = [\"sha256sum\", \"--\", \"{0}\"]\n[jobs.Missing]\n"
        "run = [\"/no/such/command\"]\nretries = 0\n");
  write("file.txt", "hello\n");
  EXPECT_TRUE(contains(run({"config", "check", "--plain"}).out, "store\t" + server.url() + "/3\n"));
  const std::string good = enqueue({"Checksum", (folder_ / "file.txt").string()});
  const std::string missing = enqueue({"Missing"});
  const std::string later = enqueue({"Checksum", "--in", "1h", "x"});
  EXPECT_EQ(stat("ready"), 2);
  EXPECT_EQ(stat("scheduled"), 1);
  EXPECT_TRUE(contains(run({"job", "list", "--state", "ready", "--plain"}).out, good));
  EXPECT_EQ(run({"enqueue", "Checksum", "--jid", good, "x"}).code, 4) << "that jid is there already";

  Child worker(command({"work", "--json"}), world_);
  for (int ends = 0; ends < 2;) {
    const std::string line = worker.read_line();
    ASSERT_NE(line, "");
    if (contains(line, "\"JobFinished\"") || contains(line, "\"JobDied\"")) ++ends;
  }
  const std::string next = enqueue({"Checksum", (folder_ / "file.txt").string()});
  EXPECT_TRUE(contains(worker.read_until("\"JobFinished\""), next)) << "woken by another process' job";
  worker.kill(SIGTERM);
  const Outcome outcome = worker.wait();
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, "store " + server.url() + "/3,")) << outcome.err;
  EXPECT_TRUE(contains(outcome.err, "stopped: 2 runs finished, 0 to be retried, 1 died, 0 given back")) << outcome.err;
  EXPECT_TRUE(
      contains(run({"job", "show", good}).out, "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"));
  EXPECT_TRUE(contains(run({"job", "show", missing}).out, "/no/such/command"));
  EXPECT_EQ(stat("nodes"), 0);
  EXPECT_EQ(stat("dead"), 1);
  EXPECT_EQ(run({"job", "retry", "--all", "--quiet"}).out, "retried 1 job\n");
  EXPECT_EQ(run({"job", "delete", later}).code, 0);
  EXPECT_EQ(stat("ready"), 1);
  EXPECT_EQ(stat("scheduled"), 0);
  EXPECT_TRUE(contains(run({"queue", "list", "--plain"}).out, "default\t"));
}

std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

TEST_F(Dagverk, a_look_at_a_file_says_what_would_be_taken_and_touches_nothing) {
  write("dagverk.toml", "store = \"sqlite:jobs.db\"\n[queues]\nmail = 2\n[jobs.Send]\nrun = [\"true\"]\n");
  const Outcome nothing = run({"work", "--look-only"});
  EXPECT_EQ(nothing.code, 3) << nothing.err;
  EXPECT_FALSE(std::filesystem::exists(folder_ / "jobs.db"));

  for (int count = 0; count < 3; ++count) enqueue({"Send", "-q", "mail"});
  enqueue({"Send", "-q", "mail", "--in", "1h"});
  enqueue({"Resize", "-q", "mail"});
  enqueue({"Send", "-q", "other"});
  const std::string before = bytes_of(folder_ / "jobs.db");

  const Outcome people = run({"work", "--look-only"});
  EXPECT_EQ(people.code, 0) << people.err;
  EXPECT_EQ(people.out,
            "queue mail: 4 jobs ready, 1 scheduled or retrying\n"
            "  Resize  1  not defined here: would fail, and be retried\n"
            "  Send  4  would run\n"
            "queue other: 1 job ready; not served here\n"
            "nothing was taken or changed\n");
  const Outcome programs = run({"work", "--look-only", "--json"});
  EXPECT_TRUE(contains(programs.out, R"({"queue":"mail","class":"Send","jobs":4,"would":"run"})")) << programs.out;
  EXPECT_EQ(lines(programs.out), 4);

  EXPECT_EQ(bytes_of(folder_ / "jobs.db"), before);
  EXPECT_EQ(stat("ready"), 5);
  EXPECT_EQ(stat("nodes"), 0);
}

TEST_F(Dagverk, a_look_at_redis_says_what_would_be_taken_and_touches_nothing) {
  if (!RedisServer::available()) GTEST_SKIP() << RedisServer::missing;
  RedisServer server;
  const auto redis = [&](Words words) {
    words.insert(words.begin(), {"/usr/bin/redis-cli", "-p", std::to_string(server.port())});
    return Child(words, world_).wait().out;
  };
  const auto digest = [&] {  // of every key and what it holds
    return redis({"EVAL",
                  "local keys, all = redis.call('KEYS', '*'), '' table.sort(keys) for _, key in ipairs(keys) do "
                  "all = all .. key .. redis.sha1hex(redis.call('DUMP', key)) end return redis.sha1hex(all)",
                  "0"});
  };
  redis({"SADD", "queues", "default"});
  redis({"LPUSH", "queue:default", R"({"class":"Send","args":[1],"jid":"a1","retry":true})", "no job {",
         R"({"class":"App::Mailer","args":[],"jid":"b2"})"});
  redis({"ZADD", "retry", "1795219126.5", R"({"class":"Send","args":[],"jid":"c3","queue":"default"})"});
  const std::string before = digest();
  ASSERT_EQ(before.size(), 41U) << before;
  world_.environment.emplace_back("REDIS_URL=" + server.url());
  write("dagverk.toml", "[jobs.Send]\nrun = [\"true\"]\n");

  const Outcome outcome = run({"work", "--look-only"});

  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.out,
            "queue default: 3 jobs ready, 1 scheduled or retrying\n"
            "  (malformed)  1  no jobs: would go to the dead set as they are\n"
            "  App::Mailer  1  not defined here: would fail, and be retried\n"
            "  Send  2  would run\n"
            "nothing was taken or changed\n");
  EXPECT_EQ(digest(), before);
  redis({"SADD", "queues", "mail"});
  EXPECT_NE(digest(), before);
}

TEST_F(Dagverk, a_password_is_in_no_output_no_log_no_environment_of_a_job_and_not_in_ps) {
  if (!RedisServer::available()) GTEST_SKIP() << RedisServer::missing;
  const std::string secret = "canary-7d1f";
  RedisServer server({.arguments = {"--requirepass", secret}});
  const std::string url = "redis://:" + secret + "@127.0.0.1:" + std::to_string(server.port()) + "/0";
  write("dagverk.toml",
        "[log]\nto = \"console,file:worker.log\"\n[jobs.Env]\nrun = [\"env\"]\n[jobs.Bad]\nrun = [\"false\"]\n");
  std::string said;
  const auto hear = [&](const Outcome& outcome) { said += outcome.out + outcome.err; };

  const Words commands[] = {
      {"config", "check"}, {"config", "check", "--json"}, {"enqueue", "Env"}, {"enqueue", "Bad"}, {"stats", "-v"},
      {"queue", "list"},   {"work", "--look-only"}};
  for (Words words : commands) {
    words.insert(words.end(), {"--store", url});
    const Outcome outcome = run(words);
    EXPECT_EQ(outcome.code, 0) << words[0] << outcome.err;
    hear(outcome);
  }
  {
    Child worker(command({"work", "--json", "-v", "--store", url}), world_);
    for (int ends = 0; ends < 2;) {
      const std::string line = worker.read_line();
      ASSERT_NE(line, "");
      said += line;
      if (contains(line, "\"JobFinished\"") || contains(line, "\"JobRetried\"")) ++ends;
    }
    const std::string shown = bytes_of("/proc/" + std::to_string(worker.pid()) + "/cmdline");
    EXPECT_TRUE(contains(shown, "redis://:***********@127.0.0.1:")) << shown;
    said += shown;
    worker.kill(SIGTERM);
    hear(worker.wait());
  }
  said += bytes_of(folder_ / "worker.log");
  hear(run({"job", "list", "--json", "--store", url}));

  // When it is wrong, or nobody is there, the message names the server and not the password.
  const std::string wrong = "redis://:wrong-" + secret + "@127.0.0.1:" + std::to_string(server.port());
  for (const std::string& store : {wrong, "redis://:" + secret + "@127.0.0.1:1", "redis://:" + secret + "@[bad",
                                   "redis://h/?password=" + secret, "http://u:" + secret + "@h/"}) {
    const Outcome outcome = run({"stats", "--store", store});
    EXPECT_NE(outcome.code, 0) << store;
    hear(outcome);
    write("wrong.toml", "store = \"" + store + "\"\n");
    hear(run({"stats", "--config", "wrong.toml"}));
  }
  const std::size_t at = said.find(secret);
  EXPECT_EQ(at, std::string::npos) << said.substr(at < 200 ? 0 : at - 200, 400);
}

TEST_F(Dagverk, a_store_that_cannot_be_used_is_left_as_it_was) {
  write("garbage.db",
        "this is no database, and long enough to have a header of one hundred bytes: " + std::string(200, 'x'));
  const auto bytes = [&](const std::string& name) {
    std::ifstream file(folder_ / name, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const std::string before = bytes("garbage.db");
  const Outcome garbage = run({"enqueue", "A", "--store", "sqlite:garbage.db"});
  EXPECT_EQ(garbage.code, 78);
  EXPECT_TRUE(contains(garbage.err, "store garbage.db: ")) << garbage.err;
  EXPECT_EQ(bytes("garbage.db"), before);

  enqueue({"A", "--store", "sqlite:newer.db"});
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open((folder_ / "newer.db").c_str(), &database), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(database, "UPDATE dagverk_meta SET schema_version = 99", nullptr, nullptr, nullptr),
            SQLITE_OK);
  sqlite3_close(database);
  const std::string newer_before = bytes("newer.db");
  const Outcome newer = run({"enqueue", "A", "--store", "sqlite:newer.db"});
  EXPECT_EQ(newer.code, 78);
  EXPECT_TRUE(contains(newer.err, "written by a newer dagverk (schema 99")) << newer.err;
  EXPECT_EQ(bytes("newer.db"), newer_before);

  std::filesystem::create_directory(folder_ / "folder");
  EXPECT_NE(run({"enqueue", "A", "--store", "sqlite:folder"}).code, 0);
  const Outcome nowhere = run({"enqueue", "A", "--store", "sqlite:none/x.db"});
  EXPECT_EQ(nowhere.code, 78);
  EXPECT_TRUE(contains(nowhere.err, "its folder does not exist"));
  const Outcome looking = run({"stats", "--store", "sqlite:typo.db"});
  EXPECT_EQ(looking.code, 3);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "typo.db"));
  const Outcome unwritable = run({"enqueue", "A", "--store", "sqlite:/proc/x.db"});
  EXPECT_EQ(unwritable.code, 74) << unwritable.err;
}

TEST_F(Dagverk, a_store_of_an_older_version_is_told_how_to_migrate_and_migrates) {
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open((folder_ / "jobs.db").c_str(), &database), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(database, stores::store_version_1, nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(database);
  const Outcome older = run({"stats", "--store", "sqlite:jobs.db"});
  EXPECT_EQ(older.code, 78);
  EXPECT_TRUE(contains(older.err, "dagverk store migrate --store sqlite:jobs.db\n")) << older.err;
  EXPECT_EQ(run({"store", "migrate", "--store", "sqlite:jobs.db", "--dry-run", "--json"}).out,
            "{\"migrated\":false,\"from\":1,\"to\":3}\n");
  const Outcome done = run({"store", "migrate", "--store", "sqlite:jobs.db"});
  EXPECT_EQ(done.code, 0) << done.err;
  EXPECT_EQ(done.out, "migrated the store from schema 1 to 3; as it was: jobs.db.schema-1\n");
  EXPECT_TRUE(std::filesystem::exists(folder_ / "jobs.db.schema-1"));
  EXPECT_EQ(lines(run({"job", "list", "--plain", "--store", "sqlite:jobs.db"}).out), 5);
  const Outcome again = run({"store", "migrate", "--store", "sqlite:jobs.db"});
  EXPECT_EQ(again.out, "nothing to be done: the store has schema 3 already\n");
  EXPECT_EQ(run({"store", "migrate", "--store", "redis://127.0.0.1:1/0", "--json"}).out, "{\"migrated\":false}\n");
}

TEST_F(Dagverk, a_store_goes_to_another_and_back_by_a_file) {
  enqueue({"Thumb", "{\"id\":7}", "--jid", "j1"});
  enqueue({"Thumb", "--jid", "j2", "-q", "mail"});
  enqueue({"Thumb", "--jid", "j3", "--at", "2099-01-01T00:00:00Z"});
  const Outcome out = run({"store", "export", "all.jsonl"});
  EXPECT_EQ(out.code, 0) << out.err;
  EXPECT_EQ(out.err, "dagverk: exported 3 jobs, 2 ready, 1 scheduled\n");
  EXPECT_EQ(run({"store", "export", "all.jsonl"}).code, 4);

  const Outcome look = run({"store", "import", "all.jsonl", "--dry-run"});
  EXPECT_EQ(look.out, "3\n");
  const Outcome in = run({"store", "import", "all.jsonl", "--store", "sqlite:other.db", "--json"});
  EXPECT_EQ(in.code, 0) << in.err;
  EXPECT_EQ(in.out,
            "{\"jobs\":3,\"restored\":3,\"duplicates\":0,\"malformed\":0,\"limits\":0,\"limits_restored\":0,"
            "\"limits_duplicates\":0,\"cron\":0,\"cron_restored\":0,\"cron_duplicates\":0,\"refused\":0}\n");
  const auto jobs_of = [](const std::string& text) {  // without the head, which has a time
    return text.substr(text.find('\n'));
  };
  const Outcome first = run({"store", "export"});
  const Outcome second = run({"store", "export", "-", "--store", "sqlite:other.db"});
  EXPECT_EQ(jobs_of(first.out), jobs_of(second.out));
  EXPECT_EQ(lines(first.out), 5);

  const Outcome again = run({"store", "import", "all.jsonl", "--store", "sqlite:other.db"});
  EXPECT_EQ(again.code, 4);
  EXPECT_TRUE(contains(again.err, "all.jsonl:2: a job with this jid is in the store already")) << again.err;
}

TEST_F(Dagverk, limits_and_cron_entries_go_from_one_store_to_another_and_back) {
  EXPECT_EQ(run({"limit", "set", "api", "--concurrency", "2", "--rate", "100/1m", "--kind", "window"}).code, 0);
  EXPECT_EQ(run({"queue", "limit", "mail", "--max-waiting", "1", "--when-full", "divert:spare"}).code, 0);
  EXPECT_EQ(run({"cron", "add", "nightly", "30 2 * * *", "Report", "all", "--missed", "skip"}).code, 0);
  EXPECT_EQ(run({"cron", "add", "yearly", "@yearly", "Report", "--zone", "Europe/Berlin"}).code, 0);
  EXPECT_EQ(run({"cron", "pause", "yearly", "--by", "ann", "--reason", "stock-taking"}).code, 0);
  enqueue({"Send", "--jid", "j1", "-q", "mail"});
  enqueue({"Send", "--jid", "j2", "--at", "2099-01-01T00:00:00Z", "-q", "mail"});
  const Outcome out = run({"store", "export", "all.jsonl"});
  EXPECT_EQ(out.err, "dagverk: exported 2 jobs, 1 ready, 1 scheduled; 2 limits, 2 cron entries\n");
  // Without the head, which has a time; when a job was enqueued, which Redis reads in its payload; and the last slot of
  // the paused entry, which goes forward.
  const auto comparable = [](std::string text) {
    text.erase(0, text.find('\n'));
    const auto forget = [&text](std::string_view member, std::size_t at) {
      at = text.find(member, at);
      if (at == std::string::npos) return at;
      at += member.size();
      text.erase(at, text.find_first_not_of("0123456789", at) - at);
      return at;
    };
    forget("\"last_slot_us\":", text.find(R"({"cron":"yearly")"));
    for (std::size_t at = 0; at != std::string::npos;) at = forget("\"enqueued_at_us\":", at);
    return text;
  };
  const std::string here = run({"store", "export"}).out;
  EXPECT_EQ(run({"store", "import", "all.jsonl", "--dry-run"}).err,
            "dagverk: would restore 2 jobs, 2 limits, 2 cron entries, malformed 0\n");

  std::unique_ptr<RedisServer> server;
  std::vector<std::string> stores{"sqlite:there.db"};
  if (RedisServer::available()) {
    server = std::make_unique<RedisServer>();
    stores.push_back(server->url());
  }
  stores.emplace_back("sqlite:back.db");
  std::string from = here;
  for (const std::string& store : stores) {
    const Outcome in = run({"store", "import", "-", "--store", store}, from);
    EXPECT_EQ(in.code, 0) << in.err;
    EXPECT_EQ(in.err,
              "dagverk: restored 2, duplicates 0, malformed 0; limits: restored 2, duplicates 0; cron entries: "
              "restored 2, duplicates 0\n");
    from = run({"store", "export", "--store", store}).out;
    EXPECT_EQ(comparable(from), comparable(here)) << store;
    const std::string shown = run({"cron", "list", "--json", "--store", store}).out;
    EXPECT_TRUE(contains(shown, R"("paused_by":"ann","pause_reason":"stock-taking")")) << shown;
  }
  // The limits were there before the jobs, and what is imported comes back above a bound.
  EXPECT_EQ(lines(run({"store", "export", "--state", "ready"}).out), 3) << "jobs alone, when only some are asked for";
}

TEST_F(Dagverk, what_an_import_finds_already_stays_and_is_told) {
  EXPECT_EQ(run({"limit", "set", "api", "--concurrency", "2"}).code, 0);
  EXPECT_EQ(run({"cron", "add", "nightly", "30 2 * * *", "Report"}).code, 0);
  EXPECT_EQ(run({"queue", "limit", "spare", "--max-waiting", "9", "--when-full", "divert:default"}).code, 0);
  EXPECT_EQ(run({"store", "export", "all.jsonl"}).code, 0);
  const Outcome same = run({"store", "import", "all.jsonl"});
  EXPECT_EQ(same.code, 4);
  EXPECT_TRUE(contains(same.err, "error: all.jsonl:2: limit \"queue:spare\" is in the store already, just so\n"))
      << same.err;
  EXPECT_TRUE(contains(same.err, "all.jsonl:4: cron entry \"nightly\" is in the store already, just so\n")) << same.err;

  const std::string there = "sqlite:there.db";
  EXPECT_EQ(run({"limit", "set", "api", "--concurrency", "7", "--store", there}).code, 0);
  EXPECT_EQ(
      run({"queue", "limit", "default", "--max-waiting", "9", "--when-full", "divert:spare", "--store", there}).code,
      0);
  EXPECT_EQ(run({"cron", "add", "nightly", "30 5 * * *", "Report", "--store", there}).code, 0);
  const Outcome other = run({"store", "import", "all.jsonl", "--json", "--store", there});
  EXPECT_EQ(other.code, 4);
  EXPECT_EQ(other.out,
            "{\"jobs\":0,\"restored\":0,\"duplicates\":0,\"malformed\":0,\"limits\":2,\"limits_restored\":0,"
            "\"limits_duplicates\":1,\"cron\":1,\"cron_restored\":0,\"cron_duplicates\":1,\"refused\":1}\n");
  EXPECT_TRUE(contains(other.err, "all.jsonl:2: put_limit: limit \"spare\": queue ")) << other.err;
  EXPECT_TRUE(contains(other.err,
                       "error: all.jsonl:3: limit \"api\" is in the store already, and another; it stays. To have "
                       "this one: dagverk limit remove api, and import again\n"))
      << other.err;
  EXPECT_TRUE(contains(other.err, "To have this one: dagverk cron remove nightly, and import again\n")) << other.err;
  EXPECT_TRUE(contains(run({"limit", "show", "api", "--json", "--store", there}).out, "\"concurrency\":7"));
  EXPECT_TRUE(contains(run({"cron", "list", "--json", "--store", there}).out, "30 5 * * *"));
}

TEST_F(Dagverk, an_import_keeps_last_slots_and_passes_over_those_of_a_paused_entry) {
  const auto exported = [](std::string_view name, std::string_view more) {
    return R"({"cron":")" + std::string(name) + R"(","schedule":"@yearly","class":"Report","missed":"once",)" +
           R"("last_slot_us":1483228800000000)" + std::string(more) + "}\n";
  };
  write("all.jsonl", "{\"dagverk_export\":2}\n" + exported("missed", "") + exported("paused", R"(,"paused_by":"")") +
                         "{\"dagverk_export_end\":0,\"cron\":2}\n");
  const Outcome in = run({"store", "import", "all.jsonl", "--store", "sqlite:jobs.db"});
  EXPECT_EQ(in.code, 0) << in.err;
  const std::string again = run({"store", "export", "--store", "sqlite:jobs.db"}).out;
  const std::size_t missed = again.find(R"({"cron":"missed")");
  const std::size_t paused = again.find(R"({"cron":"paused")");
  ASSERT_LT(missed, paused);
  ASSERT_NE(paused, std::string::npos);
  EXPECT_LT(again.find("\"last_slot_us\":1483228800000000}", missed), paused) << again;
  EXPECT_EQ(again.find("1483228800000000", paused), std::string::npos) << "its slots passed without a job: " << again;
}

TEST_F(Dagverk, an_export_of_version_1_is_read_as_before_and_a_cut_one_of_version_2_is_noticed) {
  enqueue({"A", "--jid", "j1"});
  EXPECT_EQ(run({"limit", "set", "api", "--concurrency", "2"}).code, 0);
  EXPECT_EQ(run({"cron", "add", "nightly", "30 2 * * *", "Report"}).code, 0);
  const std::string whole = run({"store", "export"}).out;
  const std::size_t limit = whole.find("{\"limit\"");
  const std::size_t job = whole.find("{\"state\"");
  const std::size_t end = whole.find("{\"dagverk_export_end\"");
  ASSERT_TRUE(limit < job && job < end && end != std::string::npos) << whole;
  const std::string first = "{\"dagverk_export\":1,\"store\":\"sqlite:jobs.db\",\"at_us\":1795219324380605}\n" +
                            whole.substr(job, end - job) + "{\"dagverk_export_end\":1}\n";
  const Outcome old = run({"store", "import", "-", "--store", "sqlite:a.db"}, first);
  EXPECT_EQ(old.code, 0) << old.err;
  EXPECT_EQ(old.err, "dagverk: restored 1, duplicates 0, malformed 0\n");

  const Outcome lost =
      run({"store", "import", "-", "--store", "sqlite:b.db"}, whole.substr(0, limit) + whole.substr(job));
  EXPECT_EQ(lost.code, 5);
  EXPECT_TRUE(contains(lost.err, "says that it holds 1 job, 1 limit, 1 cron entry, and holds 1 job\n")) << lost.err;
  const Outcome cut = run({"store", "import", "-", "--store", "sqlite:c.db"}, whole.substr(0, job));
  EXPECT_EQ(cut.code, 5);
  EXPECT_TRUE(contains(cut.err, "ends early, after 0 jobs, 1 limit, 1 cron entry: its last line is missing"))
      << cut.err;
  const Outcome half = run({"store", "import", "-", "--store", "sqlite:d.db"}, whole.substr(0, whole.size() - 3));
  EXPECT_EQ(half.code, 5);
  EXPECT_TRUE(contains(half.err, "standard input:5: not a JSON object")) << half.err;

  std::string broken = whole;
  broken.replace(broken.find("30 2 * * *"), 10, "30 2 * * 9");
  const Outcome some = run({"store", "import", "-", "--store", "sqlite:e.db"}, broken);
  EXPECT_EQ(some.code, 5);
  EXPECT_TRUE(contains(some.err, "standard input:3: ")) << some.err;
  EXPECT_TRUE(contains(some.err, "restored 1, duplicates 0, malformed 1; limits: restored 1")) << some.err;
}

TEST_F(Dagverk, an_export_that_is_damaged_is_told_and_the_rest_of_it_stored) {
  enqueue({"A", "--jid", "j1"});
  enqueue({"A", "--jid", "j2"});
  const std::string whole = run({"store", "export"}).out;
  const std::string cut = whole.substr(0, whole.rfind("{\"dagverk_export_end"));
  const Outcome early = run({"store", "import", "-", "--store", "sqlite:a.db"}, cut);
  EXPECT_EQ(early.code, 5);
  EXPECT_EQ(early.out, "2\n");
  EXPECT_TRUE(contains(early.err, "standard input: ends early, after 2 jobs")) << early.err;

  std::string broken = whole;
  broken.replace(broken.find(R"("state":"ready")"), 15, R"("state":"rosty")");
  const Outcome some = run({"store", "import", "-", "--store", "sqlite:b.db"}, broken);
  EXPECT_EQ(some.code, 5);
  EXPECT_TRUE(contains(some.err, "standard input:2: member state: needs ready")) << some.err;

  const Outcome none = run({"store", "import", "-", "--store", "sqlite:c.db"}, "{\"class\":\"A\",\"args\":[]}\n");
  EXPECT_NE(none.code, 0);
  EXPECT_TRUE(contains(none.err, "standard input:1: ")) << none.err;
  EXPECT_EQ(run({"store", "import", "-", "--store", "sqlite:d.db"}, "").code, 2);
  EXPECT_EQ(run({"store", "import", "none.jsonl"}).code, 3);
}

TEST_F(Dagverk, what_takes_long_shows_on_a_terminal_how_far_it_is) {
  enqueue({"A", "--jid", "j1"});
  const std::string exported = run({"store", "export"}).out;
  const std::size_t head = exported.find('\n') + 1;
  const std::string job = exported.substr(head, exported.find('\n', head) + 1 - head);
  int terminal[2];
  int input[2];
  ASSERT_EQ(openpty(&terminal[0], &terminal[1], nullptr, nullptr, nullptr), 0);
  ASSERT_EQ(::pipe2(input, O_CLOEXEC), 0);
  Child::World world = world_;
  world.environment.emplace_back("TERM=xterm");
  world.errors = terminal[1];
  world.input_from = input[0];
  Child importing(command({"store", "import", "-", "--dry-run"}), world);
  std::string drawn;
  const auto read_terminal = [&] {
    char bytes[4096];
    const ssize_t count = ::read(terminal[0], bytes, sizeof bytes);
    if (count > 0) drawn.append(bytes, static_cast<std::size_t>(count));
  };
  ASSERT_EQ(::write(input[1], exported.data(), head), static_cast<ssize_t>(head));
  // Lines without end: from the second second on it says how many there were.
  for (pollfd screen{terminal[0], POLLIN, 0}; drawn.find(" jobs") == std::string::npos;) {
    ASSERT_EQ(::write(input[1], job.data(), job.size()), static_cast<ssize_t>(job.size()));
    if (::poll(&screen, 1, 0) > 0) read_terminal();
  }
  EXPECT_TRUE(drawn.starts_with("\rimport: ")) << drawn;
  ::close(input[1]);
  ::close(input[0]);
  EXPECT_NE(importing.wait().code, 0) << "its last line is missing";
  while (drawn.find("dagverk: error: ") == std::string::npos) read_terminal();
  EXPECT_TRUE(contains(drawn, "\r\x1b[Kdagverk: error: ")) << "the line was erased before";
  ::close(terminal[0]);
  ::close(terminal[1]);
}

TEST_F(Dagverk, a_store_is_checked_and_copied) {
  enqueue({"A", "--jid", "j1"});
  const Outcome sound = run({"store", "check"});
  EXPECT_EQ(sound.code, 0) << sound.err;
  EXPECT_EQ(sound.out, "");
  EXPECT_EQ(sound.err, "dagverk: looked at 1 job; nothing is wrong\n");
  const Outcome copied = run({"store", "backup", "copy.db"});
  EXPECT_EQ(copied.code, 0) << copied.err;
  EXPECT_EQ(copied.out, "copy.db\n");
  EXPECT_EQ(run({"store", "backup", "copy.db"}).code, 4);
  EXPECT_EQ(run({"store", "backup"}).code, 2);
  EXPECT_TRUE(contains(run({"job", "list", "--store", "sqlite:copy.db"}).out, "j1"));

  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open((folder_ / "copy.db").c_str(), &database), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(database, "UPDATE dagverk_queue SET ready = 7", nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(database);
  const Outcome damaged = run({"store", "check", "--store", "sqlite:copy.db", "--plain"});
  EXPECT_EQ(damaged.code, 1);
  EXPECT_EQ(damaged.out, "damage\tqueue default counts 7 ready jobs and holds 1\n");
}

TEST_F(Dagverk, closed_standard_output_ends_in_silence) {
  enqueue({"A", "--jid", "j1"});
  Child::World world = world_;
  world.output = -2;
  for (const Words& words :
       {Words{"stats"}, Words{"job", "list"}, Words{"--help"}, Words{"enqueue", "B", "--jid", "j2"}}) {
    const Outcome outcome = Child(command(words), world).wait();
    EXPECT_EQ(outcome.code, 0) << words[0] << outcome.err;
    EXPECT_EQ(outcome.err, "") << words[0];
  }
  EXPECT_EQ(stat("ready"), 2);  // the store did not take the place of standard output

  int broken[2];
  ASSERT_EQ(::pipe2(broken, O_CLOEXEC), 0);
  ::close(broken[0]);
  world.output = broken[1];
  const Outcome pipe = Child(command({"job", "list"}), world).wait();
  EXPECT_EQ(pipe.code, 0);
  EXPECT_EQ(pipe.err, "");
  ::close(broken[1]);

  world.output = ::open("/dev/full", O_WRONLY | O_CLOEXEC);
  const Outcome full = Child(command({"job", "list"}), world).wait();
  EXPECT_EQ(full.code, 1);
  EXPECT_EQ(full.err, "dagverk: error: standard output could not be written\n");
  ::close(world.output);
}

TEST_F(Dagverk, what_a_job_says_cannot_reach_the_terminal) {
  run({"enqueue", "--bulk", "-"},
      "{\"class\":\"A\",\"args\":[],\"jid\":\"j1\",\"error_message\":\"\\u001b[2J\",\"error_class\":\"E\"}\n");
  const Outcome shown = run({"job", "show", "j1"});
  EXPECT_EQ(shown.code, 0) << shown.err;
  EXPECT_FALSE(contains(shown.out, "\x1b"));
  EXPECT_TRUE(contains(shown.out, R"(error     E: \x1b[2J)")) << shown.out;
  const Outcome missing = run({"job", "show", "\x1b[31mred"});
  EXPECT_FALSE(contains(missing.err, "\x1b"));
}

}  // namespace
}  // namespace dagverk::app
