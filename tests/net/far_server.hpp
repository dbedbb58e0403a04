#pragma once

#include "support/loopback_listener.hpp"

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace dagverk {

/// A far end for HTTP clients: a socket on a free port of the loopback interface that behaves as it is told, connection
/// by connection, on a thread of its own.
class FarServer {
 public:
  enum class Mood : std::uint8_t {
    answers,  ///< reads the request, sends `answer`, closes
    stalls,   ///< reads the request, then says nothing
    deaf,     ///< accepts, and never reads
  };
  struct Seen {
    std::string head;
    std::string body;
  };

  [[nodiscard]] static std::string status(const std::string& words) { return status(words, ""); }
  [[nodiscard]] static std::string status(const std::string& words, const std::string& body) {
    return "HTTP/1.1 " + words + "\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }

  explicit FarServer(Mood mood = Mood::answers, std::string answer = "HTTP/1.1 204 No Content\r\n\r\n")
      : mood_(mood), answer_(std::move(answer)) {
    thread_ = std::thread([this] { serve(); });
  }
  FarServer(const FarServer&) = delete;
  FarServer& operator=(const FarServer&) = delete;
  ~FarServer() { close(); }

  /// From the next connection on. Connections that were left hanging are closed.
  void behave(Mood mood, std::string answer = "HTTP/1.1 204 No Content\r\n\r\n") {
    const std::lock_guard lock(mutex_);
    mood_ = mood;
    answer_ = std::move(answer);
    hang_up();
  }
  /// The next requests get these, one each, before `answer` is due again.
  void answer_first(std::vector<std::string> answers) {
    const std::lock_guard lock(mutex_);
    first_ = std::move(answers);
  }
  /// Waits until that many connections have come, and been read if they are.
  [[nodiscard]] bool wait_for(std::size_t connections) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(60), [&] { return connections_ >= connections; });
  }
  [[nodiscard]] std::vector<Seen> seen() const {
    const std::lock_guard lock(mutex_);
    return seen_;
  }
  [[nodiscard]] std::uint16_t port() const noexcept { return listener_.port(); }
  [[nodiscard]] std::string url(const std::string& path) const {
    return "http://127.0.0.1:" + std::to_string(port()) + path;
  }
  /// Nobody listens any more.
  void close() {
    if (!thread_.joinable()) return;
    listener_.stop();
    {
      const std::lock_guard lock(mutex_);
      hang_up();
    }
    thread_.join();
  }

 private:
  void hang_up() {
    for (const int connection : hanging_) ::close(connection);
    hanging_.clear();
  }

  void serve() {
    for (;;) {
      const int connection = listener_.accept();
      if (connection < 0) return;
      Mood mood{};
      {
        const std::lock_guard lock(mutex_);
        mood = mood_;
      }
      Seen request;
      if (mood != Mood::deaf) request = read_request(connection);
      const std::lock_guard lock(mutex_);
      ++connections_;
      if (mood == Mood::answers) {
        std::string answer = answer_;
        if (!first_.empty()) {
          answer = first_.front();
          first_.erase(first_.begin());
        }
        seen_.push_back(std::move(request));
        static_cast<void>(::send(connection, answer.data(), answer.size(), MSG_NOSIGNAL));
        ::shutdown(connection, SHUT_WR);
        ::close(connection);
      } else {
        hanging_.push_back(connection);
      }
      changed_.notify_all();
    }
  }

  [[nodiscard]] static Seen read_request(int connection) {
    std::string bytes;
    std::vector<char> part(64 << 10);
    std::size_t head = std::string::npos;
    std::size_t whole = 0;
    while (head == std::string::npos || bytes.size() < whole) {
      const ssize_t count = ::recv(connection, part.data(), part.size(), 0);
      if (count <= 0) break;
      bytes.append(part.data(), static_cast<std::size_t>(count));
      if (head != std::string::npos) continue;
      head = bytes.find("\r\n\r\n");
      if (head == std::string::npos) continue;
      const std::size_t length = bytes.find("Content-Length: ");
      whole = head + 4;
      if (length < head) whole += std::strtoul(bytes.c_str() + length + 16, nullptr, 10);
    }
    if (head == std::string::npos) return {bytes, {}};
    return {bytes.substr(0, head), bytes.substr(head + 4)};
  }

  const LoopbackListener listener_{4096};  // so that a deaf end soon takes no more
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Mood mood_;
  std::string answer_;
  std::vector<std::string> first_;
  std::vector<Seen> seen_;
  std::vector<int> hanging_;
  std::size_t connections_ = 0;
  std::thread thread_;
};

}  // namespace dagverk
