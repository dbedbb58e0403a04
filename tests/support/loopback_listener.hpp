#pragma once

#include <arpa/inet.h>
#include <cstdint>
#include <cstdlib>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace dagverk {

/// A socket that listens on a free port of the loopback interface.
class LoopbackListener {
 public:
  /// `receive_bytes`: of the connections' buffers; 0: what the system gives.
  explicit LoopbackListener(int receive_bytes = 0) : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    if (receive_bytes > 0) {
      static_cast<void>(::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_bytes, sizeof receive_bytes));
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (::bind(socket_, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(socket_, 16) != 0 ||
        ::getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      std::abort();
    }
    port_ = ntohs(address.sin_port);
  }
  LoopbackListener(const LoopbackListener&) = delete;
  LoopbackListener& operator=(const LoopbackListener&) = delete;
  ~LoopbackListener() { ::close(socket_); }

  [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
  /// The next connection's socket, which is the caller's to close; -1 once nobody listens any more.
  [[nodiscard]] int accept() const noexcept { return ::accept4(socket_, nullptr, nullptr, SOCK_CLOEXEC); }
  /// Ends `accept`, on whatever thread. Threads: any.
  void stop() const noexcept { ::shutdown(socket_, SHUT_RDWR); }

 private:
  const int socket_;
  std::uint16_t port_ = 0;
};

}  // namespace dagverk
