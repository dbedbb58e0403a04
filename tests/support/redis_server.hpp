#pragma once

#include "support/temporary_folder.hpp"

#include <arpa/inet.h>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <mutex>
#include <netinet/in.h>
#include <random>
#include <spawn.h>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace dagverk {

/// A port of the loopback interface that is taken, and that nobody listens on: who connects to it is refused.
class UnusedPort {
 public:
  UnusedPort() : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (::bind(socket_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        ::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      throw std::runtime_error("no free port on the loopback interface");
    }
    number_ = ntohs(address.sin_port);
  }
  UnusedPort(const UnusedPort&) = delete;
  UnusedPort& operator=(const UnusedPort&) = delete;
  ~UnusedPort() { ::close(socket_); }

  [[nodiscard]] std::uint16_t number() const noexcept { return number_; }
  [[nodiscard]] std::string address() const { return "127.0.0.1:" + std::to_string(number_); }

 private:
  int socket_;
  std::uint16_t number_ = 0;
};

/// A port of the loopback interface that nobody listens on now, below those that the system gives out by itself: no
/// connection that is made meanwhile gets it.
[[nodiscard]] inline std::uint16_t free_loopback_port() {
  std::random_device random;
  std::uniform_int_distribution<int> ports(10'000, 32'000);
  for (int attempt = 0; attempt < 1000; ++attempt) {
    const auto port = static_cast<std::uint16_t>(ports(random));
    const int probe = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const bool bound = ::bind(probe, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    ::close(probe);
    if (bound) return port;
  }
  throw std::runtime_error("no free port on the loopback interface");
}

struct RedisServerOptions {
  std::vector<std::string> arguments = {};  ///< more of them, e.g. {"--requirepass", "secret"}
  bool tls = false;                         ///< port() speaks TLS; `configuration` names the certificates
  bool socket = false;                      ///< listens on socket_path(), too
  bool sentinel = false;                    ///< is a Sentinel; `configuration` says of what
  std::string configuration = {};           ///< lines of its configuration file
};

/// A real redis-server of a test's own: on a free port of the loopback interface, with a data folder that is removed.
/// Its log is read, so that a test can wait for what it says. Throws std::runtime_error when it does not come up.
class RedisServer {
 public:
  /// Whether a server is installed. Tests that need it are skipped without, with `missing`; under CI they fail.
  [[nodiscard]] static bool available() { return !program().empty() || std::getenv("CI") != nullptr; }
  static constexpr const char* missing = "Redis is not installed: ./dev setup";

  explicit RedisServer(RedisServerOptions options = {}) : options_(std::move(options)) {
    // Somebody else may be quicker to take the port, e.g. another test.
    for (int tries = 5;; --tries) {
      port_ = free_loopback_port();
      try {
        start();
        return;
      } catch (const std::runtime_error&) {
        if (tries == 1) throw;
      }
    }
  }
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;
  ~RedisServer() {
    if (pid_ > 0) kill();
  }

  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  [[nodiscard]] std::string url() const { return "redis://127.0.0.1:" + std::to_string(port_); }
  [[nodiscard]] std::string socket_path() const { return folder_.file("socket"); }
  [[nodiscard]] const TemporaryFolder& folder() const noexcept { return folder_; }
  [[nodiscard]] pid_t pid() const noexcept { return pid_; }

  /// Starts again what was killed or shut down, on the same port with the same data.
  void start() {
    write_configuration();
    const std::string server = folder_.file("redis-server");
    std::error_code there_already;
    std::filesystem::create_symlink(program(), server, there_already);
    // setpriv: the server does not outlive a test that is killed.
    std::vector<std::string> words = {"setpriv", "--pdeathsig", "KILL", server, folder_.file("redis.conf")};
    if (options_.sentinel) words.emplace_back("--sentinel");
    words.insert(words.end(), options_.arguments.begin(), options_.arguments.end());
    std::vector<char*> arguments;
    arguments.reserve(words.size() + 1);
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    int pipe[2];
    if (::pipe2(pipe, O_CLOEXEC) != 0) throw std::runtime_error("no pipe");
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, pipe[1], STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&actions, pipe[1], STDERR_FILENO);
    const int failed = ::posix_spawnp(&pid_, "setpriv", &actions, nullptr, arguments.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(pipe[1]);
    if (failed != 0) {
      ::close(pipe[0]);
      pid_ = 0;
      throw std::runtime_error(missing);
    }
    {
      const std::lock_guard lock(mutex_);
      log_.clear();
      ended_ = false;
    }
    reader_ = std::thread([this, fd = pipe[0]] { read_log(fd); });
    if (!wait_for_log(options_.sentinel ? "+monitor master" : "Ready to accept connections")) {
      const std::string log = this->log();
      kill();
      throw std::runtime_error("redis-server does not come up:\n" + log);
    }
  }

  /// SIGKILL, and waits until it is gone.
  void kill() { end(SIGKILL); }
  /// SIGTERM: saves its data if it was told to, and waits until it is gone. Not while it is paused.
  void shut_down() { end(SIGTERM); }
  /// It answers nothing until `resume`; connections stay.
  void pause() const { ::kill(pid_, SIGSTOP); }
  void resume() const { ::kill(pid_, SIGCONT); }

  /// Waits until its log has `text`; false when it ended, or after a minute.
  [[nodiscard]] bool wait_for_log(std::string_view text) {
    std::unique_lock lock(mutex_);
    static_cast<void>(changed_.wait_for(lock, std::chrono::seconds(60),
                                        [&] { return ended_ || log_.find(text) != std::string::npos; }));
    return log_.find(text) != std::string::npos;
  }
  [[nodiscard]] std::string log() const {
    const std::lock_guard lock(mutex_);
    return log_;
  }

 private:
  /// Debian's redis-tools has the server's program under the name of a checker, without the service that the package
  /// redis-server would start; it is what it is called by. Empty: there is none.
  [[nodiscard]] static const std::filesystem::path& program() {
    static const std::filesystem::path found = [] {
      const char* const search = std::getenv("PATH");
      for (const std::string_view name : {"redis-server", "redis-check-rdb"}) {
        std::istringstream folders(search == nullptr ? "" : search);
        for (std::string folder; std::getline(folders, folder, ':');) {
          const std::filesystem::path path = std::filesystem::path(folder) / name;
          if (::access(path.c_str(), X_OK) == 0) return path;
        }
      }
      return std::filesystem::path();
    }();
    return found;
  }

  void write_configuration() const {
    const std::string path = folder_.file("redis.conf");
    std::string text = "bind 127.0.0.1\ndaemonize no\nlogfile \"\"\ndir " + folder_.path() + "\n";
    text += options_.tls ? "port 0\ntls-port " : "port ";
    text += std::to_string(port_) + "\n";
    if (options_.socket) text += "unixsocket " + socket_path() + "\n";
    if (!options_.sentinel) text += "save \"\"\nappendonly no\n";
    text += options_.configuration;
    std::FILE* const file = std::fopen(path.c_str(), "we");
    if (file == nullptr) throw std::runtime_error("cannot write " + path);
    static_cast<void>(std::fwrite(text.data(), 1, text.size(), file));
    static_cast<void>(std::fclose(file));
  }

  void read_log(int fd) {
    char buffer[4096];
    for (;;) {
      const ssize_t size = ::read(fd, buffer, sizeof buffer);
      if (size < 0 && errno == EINTR) continue;
      const std::lock_guard lock(mutex_);
      if (size <= 0) {
        ended_ = true;
        changed_.notify_all();
        break;
      }
      log_.append(buffer, static_cast<std::size_t>(size));
      changed_.notify_all();
    }
    ::close(fd);
  }

  void end(int signal) {
    if (pid_ <= 0) return;
    ::kill(pid_, signal);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
    pid_ = 0;
    if (reader_.joinable()) reader_.join();
  }

  const RedisServerOptions options_;
  const TemporaryFolder folder_;
  std::uint16_t port_ = 0;
  pid_t pid_ = 0;
  std::thread reader_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::string log_;
  bool ended_ = false;
};

}  // namespace dagverk
