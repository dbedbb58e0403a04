#pragma once

#include <csignal>
#include <fcntl.h>
#include <spawn.h>
#include <string>
#include <string_view>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace dagverk::app {

/// What a program left behind.
struct Outcome {
  int code = -1;  ///< exit code, or 128 + the signal
  std::string out;
  std::string err;
};

/// A program under test: its standard output is read while it runs, its standard error at the end.
class Child {
 public:
  struct World {
    std::string folder;
    std::vector<std::string> environment;
    std::string input = {};
    int errors = -1;      ///< standard error goes there; -1: to `wait`
    int input_from = -1;  ///< standard input comes from there; -1: `input`
    int output = -1;      ///< standard output goes there; -1: to `read_line` and `wait`; -2: closed
  };

  Child(const std::vector<std::string>& words, const World& world) {
    int out[2];
    int err[2];
    int in[2];
    if (::pipe2(out, O_CLOEXEC) != 0 || ::pipe2(err, O_CLOEXEC) != 0 || ::pipe2(in, O_CLOEXEC) != 0) std::abort();
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addchdir_np(&actions, world.folder.c_str());
    posix_spawn_file_actions_adddup2(&actions, world.input_from >= 0 ? world.input_from : in[0], STDIN_FILENO);
    if (world.output == -2) {
      posix_spawn_file_actions_addclose(&actions, STDOUT_FILENO);
    } else {
      posix_spawn_file_actions_adddup2(&actions, world.output >= 0 ? world.output : out[1], STDOUT_FILENO);
    }
    posix_spawn_file_actions_adddup2(&actions, world.errors >= 0 ? world.errors : err[1], STDERR_FILENO);
    std::vector<char*> argv;
    for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    std::vector<char*> environment;
    for (const std::string& variable : world.environment) environment.push_back(const_cast<char*>(variable.c_str()));
    environment.push_back(nullptr);
    if (::posix_spawn(&pid_, words[0].c_str(), &actions, nullptr, argv.data(), environment.data()) != 0) std::abort();
    posix_spawn_file_actions_destroy(&actions);
    ::close(out[1]);
    ::close(err[1]);
    ::close(in[0]);
    out_ = out[0];
    error_reader_ = std::jthread([this, from = err[0]] { read_all(from, err_); });
    feeder_ = std::jthread([input = world.input, to = in[1]] {
      std::string_view left = input;
      while (!left.empty()) {
        const ssize_t count = ::write(to, left.data(), left.size());
        if (count <= 0) break;
        left.remove_prefix(static_cast<std::size_t>(count));
      }
      ::close(to);
    });
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ > 0) {
      kill(SIGKILL);
      static_cast<void>(wait());
    }
  }

  /// The next line of standard output; empty at its end.
  std::string read_line() {
    while (true) {
      const std::size_t end = buffer_.find('\n');
      if (end != std::string::npos) {
        std::string line = buffer_.substr(0, end);
        buffer_.erase(0, end + 1);
        return line;
      }
      char bytes[4096];
      const ssize_t count = ::read(out_, bytes, sizeof bytes);
      if (count <= 0) return std::exchange(buffer_, {});
      buffer_.append(bytes, static_cast<std::size_t>(count));
    }
  }
  /// The first line that contains `text`; empty when there is none.
  std::string read_until(std::string_view text) {
    while (true) {
      std::string line = read_line();
      if (line.empty() || line.find(text) != std::string::npos) return line;
    }
  }
  void close_output() {
    ::close(out_);
    out_ = -1;
  }
  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  void kill(int signal) const { ::kill(pid_, signal); }

  Outcome wait() {
    Outcome outcome;
    outcome.out = std::move(buffer_);
    if (out_ >= 0) read_all(out_, outcome.out);
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    error_reader_.join();
    outcome.err = std::move(err_);
    return outcome;
  }

 private:
  static void read_all(int from, std::string& into) {
    char bytes[65536];
    ssize_t count = 0;
    while ((count = ::read(from, bytes, sizeof bytes)) > 0) into.append(bytes, static_cast<std::size_t>(count));
    ::close(from);
  }

  pid_t pid_ = -1;
  int out_ = -1;
  std::string buffer_;
  std::string err_;
  std::jthread error_reader_;
  std::jthread feeder_;
};

}  // namespace dagverk::app
