#pragma once

#include "support/redis_server.hpp"

#include "dagverk/base/concat.hpp"

#include <boost/json.hpp>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <spawn.h>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace dagverk {

/// The Sidekiq of the distribution: `sidekiq.rb` as a person with its API, or as a worker. Ends with its object.
class SidekiqProgram {
 public:
  /// Tests that need it are skipped without, with `missing`; under CI they fail.
  [[nodiscard]] static bool available() {
    return ::access("/usr/bin/sidekiq", X_OK) == 0 || std::getenv("CI") != nullptr;
  }
  static constexpr const char* missing = "Sidekiq is not installed: ./dev setup";

  /// Answers `ask`.
  [[nodiscard]] static std::unique_ptr<SidekiqProgram> api(const RedisServer& server, const TemporaryFolder& folder) {
    std::vector<std::string> words = {"ruby", DAGVERK_SIDEKIQ_SCRIPT};
    return std::make_unique<SidekiqProgram>(std::move(words), server, folder.file("api.log"), true);
  }
  /// Runs the jobs of these queues on two threads, until it is told to stop.
  [[nodiscard]] static std::unique_ptr<SidekiqProgram> worker(const RedisServer& server, const TemporaryFolder& folder,
                                                              const std::vector<std::string>& queues) {
    std::vector<std::string> words = {"sidekiq", "-r", DAGVERK_SIDEKIQ_SCRIPT, "-c", "2", "-t", "1"};
    for (const std::string& queue : queues) words.insert(words.end(), {"-q", queue});
    return std::make_unique<SidekiqProgram>(std::move(words), server, folder.file("worker.log"), false);
  }

  /// Use `api` or `worker`.
  SidekiqProgram(std::vector<std::string> words, const RedisServer& server, std::string log, bool answers)
      : log_(std::move(log)) {
    start(std::move(words), server, answers);
  }

  SidekiqProgram(const SidekiqProgram&) = delete;
  SidekiqProgram& operator=(const SidekiqProgram&) = delete;
  ~SidekiqProgram() {
    if (to_ != nullptr) static_cast<void>(std::fclose(to_));
    if (from_ != nullptr) static_cast<void>(std::fclose(from_));
    ::kill(pid_, SIGKILL);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
  }

  /// What the API says. Throws std::runtime_error with what Ruby says when it is an error.
  template <class... Arguments>
  boost::json::value ask(std::string_view question, const Arguments&... arguments) {
    const boost::json::array line = {boost::json::value(question), boost::json::value_from(arguments)...};
    const std::string text = boost::json::serialize(line) + "\n";
    if (std::fputs(text.c_str(), to_) < 0 || std::fflush(to_) != 0) throw std::runtime_error(said());
    std::string answer;
    for (int c = 0; (c = std::fgetc(from_)) != EOF && c != '\n';) answer.push_back(static_cast<char>(c));
    if (answer.empty()) throw std::runtime_error(concat("Ruby ended: ", said()));
    const boost::json::value value = boost::json::parse(answer);
    if (const auto* error = value.as_object().if_contains("error")) {
      throw std::runtime_error(concat(question, ": ", std::string_view(error->as_string())));
    }
    return value.at("answer");
  }

  /// What it wrote about its state.
  [[nodiscard]] std::string said() const {
    std::ifstream file(log_);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }

 private:
  void start(std::vector<std::string> words, const RedisServer& server, bool answers) {
    words.insert(words.begin(), {"env", concat("REDIS_URL=", server.url()), "RAILS_ENV=production"});
    words.insert(words.begin(), {"setpriv", "--pdeathsig", "KILL"});  // does not outlive a test that is killed
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    std::array<int, 2> in{};
    std::array<int, 2> out{};
    if (::pipe2(in.data(), O_CLOEXEC) != 0 || ::pipe2(out.data(), O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
    ::posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, log_.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ::posix_spawn_file_actions_adddup2(&actions, answers ? out[1] : STDERR_FILENO, STDOUT_FILENO);
    const int failed = ::posix_spawnp(&pid_, "setpriv", &actions, nullptr, argv.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(in[0]);
    ::close(out[1]);
    if (failed != 0) throw std::runtime_error(missing);
    to_ = ::fdopen(in[1], "w");
    from_ = ::fdopen(out[0], "r");
  }

  std::string log_;
  pid_t pid_ = 0;
  std::FILE* to_ = nullptr;
  std::FILE* from_ = nullptr;
};

}  // namespace dagverk
