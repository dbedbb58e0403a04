// The built command, run as people and scripts run it: each test has a folder, a store and a home of its own.
#include "apps/child.hpp"
#include "support/redis_server.hpp"

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <sys/stat.h>
#include <vector>

namespace dagverk::app {
namespace {

using Words = std::vector<std::string>;

class Dagverk : public testing::Test {
 protected:
  void SetUp() override {
    std::signal(SIGPIPE, SIG_IGN);
    std::string name = (std::filesystem::temp_directory_path() / "dagverk-apps-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    world_.folder = name;
    world_.environment = {"HOME=" + name, "PATH=/usr/bin:/bin", "TZ=UTC", "XDG_RUNTIME_DIR=" + name};
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void write(const std::string& name, std::string_view text) const {
    std::ofstream(folder_ / name) << text;
    ::chmod((folder_ / name).c_str(), 0644);
  }
  [[nodiscard]] static Words command(Words words, const std::string& program = DAGVERK_COMMAND) {
    words.insert(words.begin(), program);
    return words;
  }
  Outcome run(Words words, const std::string& input = {}) const {
    Child::World world = world_;
    world.input = input;
    return Child(command(std::move(words)), world).wait();
  }
  /// A job's jid, enqueued.
  std::string enqueue(Words words) const {
    words.insert(words.begin(), "enqueue");
    const Outcome outcome = run(words);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return outcome.out.substr(0, outcome.out.size() - 1);
  }
  /// The figure of that name in `stats`.
  int stat(const std::string& name) const {
    const Outcome outcome = run({"stats", "--plain"});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    const std::size_t at = ("\n" + outcome.out).find("\n" + name + "\t");
    return at == std::string::npos ? -1 : std::atoi(outcome.out.c_str() + at + name.size() + 1);
  }

  std::filesystem::path folder_;
  Child::World world_;
};

bool contains(std::string_view text, std::string_view part) { return text.find(part) != std::string_view::npos; }
std::ptrdiff_t lines(std::string_view text) { return std::ranges::count(text, '\n'); }

TEST_F(Dagverk, every_level_has_help_of_one_screen_with_two_examples) {
  const Words commands[] = {{"dev"},
                            {"work"},
                            {"enqueue"},
                            {"job", "list"},
                            {"job", "show"},
                            {"job", "retry"},
                            {"job", "delete"},
                            {"queue", "list"},
                            {"stats"},
                            {"config", "check"},
                            {"version"},
                            {"help"},
                            {"handler", "list"},
                            {"handler", "show"},
                            {"handler", "start"},
                            {"handler", "stop"},
                            {"handler", "restart"},
                            {"events", "tail"}};
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
}

TEST_F(Dagverk, unknown_words_are_answered_with_the_nearest) {
  const std::pair<Words, std::string> rows[] = {
      {{"stast"}, "dagverk: error: unknown command \"stast\"; did you mean \"stats\"?\n"},
      {{"job", "lst"}, "dagverk: error: job has no \"lst\"; did you mean \"job list\"?\n"},
      {{"job"}, "dagverk: error: job what? list, show, retry, delete\n"},
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

TEST_F(Dagverk, what_cannot_be_enqueued_is_refused) {
  const std::pair<Words, int> rows[] = {
      {{"enqueue"}, 2},
      {{"enqueue", "not a class"}, 2},
      {{"enqueue", "A", "-q", "no queue"}, 2},
      {{"enqueue", "A", "--in", "5"}, 2},
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

  enqueue({"A", "--jid", "twice"});
  const Outcome again = run({"enqueue", "A", "--jid", "twice"});
  EXPECT_EQ(again.code, 4);
  EXPECT_EQ(again.err, "dagverk: error: a job with jid twice is in the store already\n");
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
  EXPECT_EQ(mixed.out, R"({"enqueued":2,"scheduled":1,"malformed":3,"duplicates":1})"
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
  EXPECT_TRUE(contains(run({"job", "show", "j1"}).out, "state    deleted\n"));  // the journal remembers
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
