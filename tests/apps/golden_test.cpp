// What scripts and readers hold on to: every command's --json, the printed reference, the words a shell completes.
//
// The files in golden/ are what the commands said, with times, ids and measured numbers masked. To write them anew
// after a change that is meant: DAGVERK_WRITE_GOLDEN=1 build/dev/bin/apps_dagverk_test --gtest_filter='Golden.*'

#include "apps/command_fixture.hpp"
#include "stores/sqlite/store_version_1.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <cctype>
#include <iterator>
#include <set>
#include <sstream>
#include <thread>

namespace dagverk::app {
namespace {

std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::string replaced(std::string text, std::string_view part, std::string_view by) {
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + by.size())) {
    text.replace(at, part.size(), by);
  }
  return text;
}

/// What stands between `before` and the next of `ends` becomes `by`, wherever `before` stands.
std::string masked(std::string text, std::string_view before, std::string_view ends, std::string_view by) {
  for (std::size_t at = text.find(before); at != std::string::npos; at = text.find(before, at)) {
    at += before.size();
    const std::size_t end = std::min(text.find_first_of(ends, at), text.size());
    text.replace(at, end - at, by);
  }
  return text;
}

/// The number behind `name` becomes N.
std::string masked_number(std::string text, std::string_view name) {
  const std::string before = std::string("\"").append(name) + "\":";
  for (std::size_t at = text.find(before); at != std::string::npos; at = text.find(before, at)) {
    at += before.size();
    const std::size_t end = std::min(text.find_first_not_of("0123456789.", at), text.size());
    if (end > at) text.replace(at, end - at, "N");
  }
  return text;
}

/// Instants of this century and the 24 digits of our jids.
std::string masked_words(const std::string& text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const auto run_of = [&](std::string_view allowed) {
      return std::min(text.find_first_not_of(allowed, at), text.size()) - at;
    };
    if (run_of("0123456789-T:.") == 23 && text.compare(at, 2, "20") == 0 && text[at + 23] == 'Z') {
      out += "TIME";
      at += 24;
    } else if (run_of("0123456789abcdef") == 24) {
      out += "JID";
      at += 24;
    } else {
      out += text[at++];
    }
  }
  return out;
}

class Golden : public Dagverk {
 protected:
  /// Runs the command with --json and keeps what it says for the golden file.
  Outcome tell(Words words, const std::string& input = {}) {
    words.emplace_back("--json");
    const Outcome outcome = run(words, input);
    told_ += '$';
    for (const std::string& word : words) told_ += " " + word;
    told_ += "\n" + outcome.out;
    if (outcome.code != 0) told_ += "exit code " + std::to_string(outcome.code) + ": " + outcome.err;
    return outcome;
  }

  /// Compares all that was told with the file, or writes the file.
  void compare(const std::string& name) {
    std::string text = replaced(std::move(told_), folder_.string(), "FOLDER");
    for (const std::string& word : hidden_) text = replaced(std::move(text), word, "HIDDEN");
    text = masked_words(text);
    for (const char* number :
         {"latency_ms", "pid", "resident_bytes", "round_trip_us", "lease_left_ms", "lag_ms", "published", "delivered",
          "buffered", "created_at", "taken_at", "expires_at", "enqueued_at", "started_at", "finished_at", "busy"}) {
      text = masked_number(std::move(text), number);
    }
    text = masked(std::move(text), ", in ", ".", "TIME");
    for (const char* word : {"host", "version", "origin"}) {
      text = masked(std::move(text), std::string("\"") + word + "\":\"", "\"", "TEXT");
    }
    const std::filesystem::path file = std::filesystem::path(DAGVERK_GOLDEN_FOLDER) / (name + ".txt");
    if (std::getenv("DAGVERK_WRITE_GOLDEN") != nullptr) {
      std::filesystem::create_directories(file.parent_path());
      std::ofstream(file) << text;
      return;
    }
    EXPECT_EQ(text, text_of(file)) << "if that is meant, write " << file
                                   << " anew: DAGVERK_WRITE_GOLDEN=1 with this test";
  }

  std::string told_;
  std::vector<std::string> hidden_;
};

TEST_F(Golden, job) {
  tell({"enqueue", "Send", "7", "--jid", "j1", "-q", "mail"});
  tell({"enqueue", "Send", "--jid", "j2", "--at", "2200-01-01T00:00:00Z"});
  tell({"enqueue", "--bulk", "-"}, "{\"class\":\"Send\",\"args\":[],\"jid\":\"j3\"}\nnope\n");
  tell({"job", "list"});
  tell({"job", "show", "j1"});
  tell({"job", "why", "j1"});
  tell({"job", "why", "j2"});
  tell({"job", "why", "j9"});
  tell({"job", "logs", "j1"});
  tell({"enqueue", "Send", "--jid", "j4", "--unique", "one", "--unique-for", "1h"});
  tell({"job", "locks"});
  tell({"job", "unlock", "one"});
  tell({"job", "move", "j1", "--to", "slow"});
  tell({"job", "retry", "j2", "j9"});
  tell({"job", "cancel", "j2"});
  tell({"job", "delete", "j1"});
  tell({"job", "why", "j1"});
  compare("job");
}

TEST_F(Golden, queue) {
  enqueue({"Send", "7", "--jid", "j1", "-q", "mail"});
  tell({"queue", "pause", "mail", "--by", "ann", "--reason", "provider is down"});
  tell({"queue", "list"});
  tell({"queue", "show", "mail"});
  tell({"queue", "peek", "mail"});
  tell({"job", "why", "j1"});
  tell({"queue", "resume", "mail"});
  tell({"queue", "clear", "mail"});
  tell({"queue", "show", "mial"});
  tell({"stats"});
  compare("queue");
}

TEST_F(Golden, limit) {
  enqueue({"Send", "7", "--jid", "j1", "-q", "mail"});
  tell({"limit", "set", "api", "-c", "5", "--rate", "100/1m"});
  tell({"queue", "limit", "mail", "-c", "1"});
  tell({"queue", "limit", "mail", "-c", "1"});
  tell({"limit", "list"});
  tell({"limit", "show", "api"});
  tell({"limit", "show", "queue:mial"});
  tell({"limit", "reset", "api"});
  tell({"limit", "remove", "queue:mail"});
  tell({"queue", "limit", "mail", "--max-waiting", "1", "--when-full", "divert:spare"});
  enqueue({"Send", "8", "--jid", "j2", "-q", "mail"});
  tell({"limit", "show", "queue:mail"});
  tell({"queue", "show", "mail"});
  compare("limit");
}

TEST_F(Golden, cron) {
  tell({"cron", "add", "nightly", "45 2 1 1 *", "Report", "all", "7", "-q", "slow"});
  tell({"cron", "pause", "nightly", "--by", "ann", "--reason", "holidays"});
  tell({"cron", "list"});
  tell({"cron", "resume", "nightly"});
  tell({"cron", "show", "nightly"});
  tell({"cron", "next", "nightly", "-n", "2"});
  tell({"cron", "run", "nightly"});
  tell({"cron", "remove", "nightly"});
  compare("cron");
}

TEST_F(Golden, store) {
  write("dagverk.toml", "store = \"sqlite:jobs.db\"\n[queues]\nmail = 2\n[jobs.Send]\nrun = [\"true\"]\n");
  tell({"config", "check"});
  enqueue({"Send", "7", "--jid", "j1", "-q", "mail"});
  tell({"work", "--look-only"});
  tell({"store", "export", "jobs.jsonl"});
  tell({"store", "import", "jobs.jsonl", "--store", "sqlite:other.db"});
  tell({"store", "import", "jobs.jsonl", "--dry-run"});
  tell({"store", "check"});
  tell({"store", "backup", "copy.db"});
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open((folder_ / "old.db").c_str(), &database), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(database, stores::store_version_1, nullptr, nullptr, nullptr), SQLITE_OK);
  sqlite3_close(database);
  tell({"store", "migrate", "--store", "sqlite:old.db"});
  tell({"help", "version"});
  tell({"version"});
  write("wrong.toml", "[queues]\nmail = -1\n");
  tell({"config", "check", "--config", "wrong.toml"});
  compare("store");
}

TEST_F(Golden, node) {
  write("dagverk.toml", "store = \"sqlite:jobs.db\"\nheartbeat = \"1s\"\ntag = \"shop\"\n[queues]\nmail = 2\n");
  enqueue({"Report", "--jid", "j1", "-q", "mail"});
  Child worker(command({"work", "--json"}, DAGVERK_WORKER_PROGRAM), world_);
  ASSERT_NE(worker.read_until("\"JobFinished\""), "");
  std::string node;
  for (int tries = 0; tries < 1000 && node.find(R"("tag":"shop")") == std::string::npos; ++tries) {
    node = run({"node", "list", "--json"}).out;
  }
  node.erase(0, node.find(R"("node":")") + 8);
  node.erase(node.find('"'));
  hidden_.push_back(node);
  // What a run says is stored within a second.
  for (int tries = 0; tries < 1000 && run({"job", "logs", "j1"}).code != 0; ++tries) std::this_thread::yield();
  while (stat("running") != 0) std::this_thread::yield();
  tell({"job", "logs", "j1"});
  tell({"job", "why", "j1"});
  tell({"node", "list"});
  tell({"node", "show", node});
  tell({"handler", "list"});
  tell({"handler", "show", "printer"});
  tell({"handler", "stop", "printer"});
  tell({"handler", "start", "printer"});
  tell({"handler", "restart", "printer"});
  Child tail(command({"events", "tail", "--json", "--event", "JobFinished", "-n", "1"}), world_);
  while (run({"handler", "list", "--plain"}).out.find("tail-") == std::string::npos) std::this_thread::yield();
  enqueue({"Report", "--jid", "j2", "-q", "mail"});
  told_ += "$ events tail --json --event JobFinished -n 1\n" + tail.wait().out;
  tell({"node", "quiet", node});
  tell({"node", "stop", node});
  EXPECT_EQ(worker.wait().code, 0);
  compare("node");
}

TEST_F(Dagverk, the_reference_is_what_the_command_prints) {
  const Outcome printed = run({"help", "--markdown"});
  EXPECT_EQ(printed.code, 0);
  EXPECT_TRUE(printed.out == text_of(DAGVERK_REFERENCE))
      << "docs/reference/cli.md is not what the command says; write it anew: build/dev/bin/dagverk help --markdown > "
         "docs/reference/cli.md";
  // Every command says what its JSON is, and has a golden file that shows it.
  std::string golden;
  for (const auto& file : std::filesystem::directory_iterator(DAGVERK_GOLDEN_FOLDER)) golden += text_of(file.path());
  std::istringstream text(printed.out.substr(printed.out.find("\n# The commands\n")));
  std::string name;
  for (std::string line; std::getline(text, line);) {
    if (line.starts_with("## ")) name = line.substr(3);
    if (!line.starts_with("With `--json`")) continue;
    if (name == "dev" || name == "completion") continue;  // as work; one long text
    EXPECT_NE(golden.find("$ " + name + " "), std::string::npos) << name << " has no golden file";
  }
}

/// What bash offers for these words, the last of which is being typed.
class Completion : public Dagverk {
 protected:
  std::set<std::string> complete(const Words& words) const {
    std::string line = "COMP_WORDS=(" DAGVERK_COMMAND;
    for (const std::string& word : words) line += " '" + word + "'";
    line += "); COMP_CWORD=" + std::to_string(words.size());
    line += R"(; _dagverk; printf '%s\n' "${COMPREPLY[@]}")";
    const Outcome outcome = Child({"/usr/bin/bash", "-u", "-c", ". ./completion; " + line}, world_).wait();
    EXPECT_EQ(outcome.err, "");
    std::istringstream offered(outcome.out);
    std::set<std::string> all;
    for (std::string word; std::getline(offered, word);) {
      if (!word.empty()) all.insert(word);
    }
    return all;
  }
};

TEST_F(Completion, bash_offers_commands_options_states_files_and_queues) {
  if (!std::filesystem::exists("/usr/bin/bash")) GTEST_SKIP() << "there is no bash here";
  write("completion", run({"completion", "bash"}).out);
  write("jobs.jsonl", "");
  enqueue({"Send", "-q", "mail"});
  enqueue({"Send", "-q", "male"});
  enqueue({"Send", "-q", "other"});
  using Set = std::set<std::string>;

  EXPECT_TRUE(complete({""}).contains("job"));
  EXPECT_EQ(complete({"st"}), (Set{"stats", "store"}));
  EXPECT_EQ(complete({"queue", "p"}), (Set{"peek", "pause"}));
  EXPECT_EQ(complete({"--store", "sqlite:x.db", "queue", "p"}), (Set{"peek", "pause"}));
  EXPECT_EQ(complete({"job", "why", "--j"}), Set{"--json"});
  EXPECT_EQ(complete({"job", "list", "--st"}), (Set{"--state", "--store"}));
  EXPECT_EQ(complete({"job", "list", "--state", "re"}), (Set{"ready", "retrying"}));
  EXPECT_EQ(complete({"job", "list", "-n", ""}), Set{}) << "a number";
  EXPECT_EQ(complete({"job", "list", "-q", "ma"}), (Set{"mail", "male"}));
  EXPECT_EQ(complete({"queue", "show", "o"}), Set{"other"});
  EXPECT_EQ(complete({"queue", "pause", "mail", ""}), (Set{"mail", "male", "other"}));
  EXPECT_EQ(complete({"queue", "pause", "--r"}), Set{"--reason"});
  EXPECT_EQ(complete({"store", "import", "jobs."}), Set{"jobs.jsonl"});
  EXPECT_EQ(complete({"completion", "z"}), Set{"zsh"});

  const Outcome wrong = run({"completion", "bsh"});
  EXPECT_EQ(wrong.code, 2);
  EXPECT_EQ(wrong.err, "dagverk: error: no completion for \"bsh\"; did you mean bash?\n");
  EXPECT_TRUE(run({"completion", "bash", "--json"}).out.starts_with(R"({"shell":"bash","script":"# )"));
  // Other shells' scripts name every command, too.
  for (const char* shell : {"zsh", "fish"}) {
    const std::string script = run({"completion", shell}).out;
    for (const char* word : {"why", "--config", "peek"}) {
      EXPECT_NE(script.find(std::string(word).substr(std::string(word).starts_with("--") ? 2 : 0)), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace dagverk::app
