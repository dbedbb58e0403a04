#pragma once

#include "support/loopback_listener.hpp"

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace dagverk {

/// A server that says what a test wants, right or wrong: a socket on a free port of the loopback interface, whose
/// connections are served by `serve` on threads of its own: one after the other, or all at once.
class FakeRedis {
 public:
  class Connection {
   public:
    explicit Connection(int socket) : socket_(socket) {}

    /// The next command's words; empty at the end of the connection.
    [[nodiscard]] std::vector<std::string> command() {
      std::vector<std::string> words;
      const std::string count = line();
      if (count.size() < 2 || count[0] != '*') return words;
      for (int left = std::atoi(count.c_str() + 1); left > 0; --left) {
        const std::string length = line();
        if (length.size() < 2 || length[0] != '$') return {};
        words.push_back(bytes(static_cast<std::size_t>(std::atoi(length.c_str() + 1))));
        static_cast<void>(line());
      }
      return words;
    }
    /// Answers CLIENT SETNAME, CLIENT ID and PING as a client expects it at first. False at the end of the connection.
    bool greet(std::string_view ping = "+PONG\r\n") {
      for (const std::string_view answer : {std::string_view("+OK\r\n"), std::string_view(":7\r\n"), ping}) {
        if (command().empty()) return false;
        say(answer);
      }
      return true;
    }
    void say(std::string_view bytes) {
      while (!bytes.empty()) {
        const ssize_t size = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (size <= 0) return;
        bytes.remove_prefix(static_cast<std::size_t>(size));
      }
    }
    /// Reads, and says nothing, until the client goes.
    void stay_silent() {
      while (fill()) buffer_.clear();
    }

   private:
    bool fill() {
      char some[4096];
      const ssize_t size = ::recv(socket_, some, sizeof some, 0);
      if (size > 0) buffer_.append(some, static_cast<std::size_t>(size));
      return size > 0;
    }
    std::string line() {
      std::size_t end = 0;
      while ((end = buffer_.find("\r\n")) == std::string::npos) {
        if (!fill()) return {};
      }
      std::string text = buffer_.substr(0, end);
      buffer_.erase(0, end + 2);
      return text;
    }
    std::string bytes(std::size_t size) {
      while (buffer_.size() < size) {
        if (!fill()) return {};
      }
      std::string text = buffer_.substr(0, size);
      buffer_.erase(0, size);
      return text;
    }

    const int socket_;
    std::string buffer_;
  };
  /// Serves the connection of that number, from 0; it is closed when this returns.
  using Serve = std::function<void(Connection&, int)>;
  enum class Order : std::uint8_t { one_by_one, at_once };

  explicit FakeRedis(Serve serve, Order order = Order::one_by_one) : serve_(std::move(serve)), order_(order) {
    thread_ = std::thread([this] { run(); });
  }
  FakeRedis(const FakeRedis&) = delete;
  FakeRedis& operator=(const FakeRedis&) = delete;
  /// The clients must be gone, or know how to live without.
  ~FakeRedis() {
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
      for (const int socket : open_) ::shutdown(socket, SHUT_RDWR);
    }
    listener_.stop();
    thread_.join();
    for (std::thread& server : servers_) server.join();
  }

  [[nodiscard]] std::uint16_t port() const noexcept { return listener_.port(); }
  [[nodiscard]] std::string url() const { return "redis://127.0.0.1:" + std::to_string(port()); }

 private:
  void run() {
    for (int number = 0;; ++number) {
      const int socket = listener_.accept();
      {
        const std::lock_guard lock(mutex_);
        if (ended_ || socket < 0) {
          if (socket >= 0) ::close(socket);
          return;
        }
        open_.insert(socket);
      }
      if (order_ == Order::one_by_one) {
        serve(socket, number);
      } else {
        servers_.emplace_back([this, socket, number] { serve(socket, number); });
      }
    }
  }

  void serve(int socket, int number) {
    Connection connection(socket);
    serve_(connection, number);
    const std::lock_guard lock(mutex_);
    open_.erase(socket);
    ::close(socket);
  }

  const Serve serve_;
  const Order order_;
  const LoopbackListener listener_;
  std::thread thread_;
  std::vector<std::thread> servers_;  // of the accepting thread, then of the destructor
  std::mutex mutex_;
  bool ended_ = false;
  std::set<int> open_;
};

}  // namespace dagverk
