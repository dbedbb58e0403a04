#include "dagverk/log/backends/syslog.hpp"

#include "log/descriptor_text.hpp"
#include "log/line_text.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <memory>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace dagverk {

namespace {

constexpr Duration reconnect_pause = std::chrono::milliseconds(250);

[[nodiscard]] int milliseconds_until(SteadyTime deadline) noexcept {
  const Duration left = deadline - system_clock().steady_now();
  const auto millis = std::chrono::ceil<std::chrono::milliseconds>(left).count();
  return static_cast<int>(std::clamp<std::int64_t>(millis, 0, 3'600'000));
}

/// RFC 5424 severities.
[[nodiscard]] unsigned severity_number(LogSeverity severity) noexcept {
  switch (severity) {
    case LogSeverity::trace:
    case LogSeverity::debug: return 7;
    case LogSeverity::info: return 6;
    case LogSeverity::warning: return 4;
    case LogSeverity::error: return 3;
    case LogSeverity::critical: return 2;
  }
  return 3;
}

/// A header field: printable US-ASCII without blanks, `-` when there is none.
void append_header_field(std::string& out, std::string_view text, std::size_t size_max) {
  std::size_t count = 0;
  for (const char c : text) {
    if (count == size_max) break;
    out.push_back(c > ' ' && c < 0x7f ? c : '_');
    ++count;
  }
  if (count == 0) out.push_back('-');
}

struct AddressesDelete {
  void operator()(addrinfo* list) const noexcept { ::freeaddrinfo(list); }
};

/// Waits until a started connect is through; 0 or an errno.
[[nodiscard]] int connected_by(int socket, SteadyTime deadline) noexcept {
  pollfd ready{socket, POLLOUT, 0};
  while (true) {
    const int found = ::poll(&ready, 1, milliseconds_until(deadline));
    if (found == 0) return ETIMEDOUT;
    if (found < 0 && errno == EINTR) continue;
    if (found < 0) return errno;
    int error = 0;
    socklen_t size = sizeof error;
    return ::getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size) == 0 ? error : errno;
  }
}

}  // namespace

SyslogBackend::~SyslogBackend() { disconnect(); }

Result<void> SyslogBackend::open() {
  if (options_.facility > 23) {
    return Error(ErrorCode::configuration, concat("syslog: facility must be 0..23, got ", options_.facility));
  }
  if (options_.port == 0) return Error(ErrorCode::configuration, "syslog: port must be 1..65535, got 0");
  if (options_.send_timeout <= Duration::zero()) {
    return Error(ErrorCode::configuration, "syslog: send_timeout must be more than 0");
  }
  if (options_.datagram_bytes_max < 480 || options_.datagram_bytes_max > 65'507) {
    return Error(ErrorCode::configuration,
                 concat("syslog: datagram_bytes_max must be 480..65507, got ", options_.datagram_bytes_max));
  }
  std::string host = options_.hostname;
  if (host.empty()) {
    char name[256] = {};
    if (::gethostname(name, sizeof name - 1) == 0) host = name;
  }
  header_tail_ = " ";
  append_header_field(header_tail_, host, 255);
  header_tail_.push_back(' ');
  append_header_field(header_tail_, options_.app_name, 48);
  header_tail_.append(concat(" ", ::getpid(), " "));
  return {};
}

void SyslogBackend::disconnect() noexcept {
  if (socket_ >= 0) ::close(std::exchange(socket_, -1));
}

Result<void> SyslogBackend::connect(SteadyTime deadline) {
  const std::string where = concat(options_.host, ":", options_.port);
  const bool udp = options_.transport == SyslogTransport::udp;
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = udp ? SOCK_DGRAM : SOCK_STREAM;
  addrinfo* found = nullptr;
  const int failed = ::getaddrinfo(options_.host.c_str(), concat(options_.port).c_str(), &hints, &found);
  const std::unique_ptr<addrinfo, AddressesDelete> addresses(found);
  if (failed != 0) {
    return Error(ErrorCode::unavailable, concat("syslog: cannot find ", options_.host, ": ", ::gai_strerror(failed)));
  }
  int error = EADDRNOTAVAIL;
  for (const addrinfo* one = addresses.get(); one != nullptr; one = one->ai_next) {
    socket_ = ::socket(one->ai_family, one->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, one->ai_protocol);
    if (socket_ < 0) {
      error = errno;
      continue;
    }
    error = ::connect(socket_, one->ai_addr, one->ai_addrlen) == 0 ? 0 : errno;
    if (error == EINPROGRESS) error = connected_by(socket_, deadline);
    if (error == 0) return {};
    disconnect();
  }
  return detail::system_error("connect to syslog at", where, error);
}

Result<void> SyslogBackend::connect_before(SteadyTime deadline) {
  while (socket_ < 0) {
    Result<void> connected = connect(deadline);
    if (connected) return connected;
    if (system_clock().steady_now() + reconnect_pause >= deadline) return connected;
    static_cast<void>(::poll(nullptr, 0, static_cast<int>(reconnect_pause / std::chrono::milliseconds(1))));
  }
  return {};
}

void SyslogBackend::append_message(const LogBatch& batch, const LogLine& line, std::string& out) const {
  out.append(concat("<", options_.facility * 8 + severity_number(line.severity), ">1 "));
  detail::append_time(out, line.time);
  out.append(header_tail_);
  append_header_field(out, line.name, 32);
  out.append(" - ");
  batch.format(line, out);
}

WriteOutcome SyslogBackend::write(const LogBatch& batch) {
  return options_.transport == SyslogTransport::udp ? write_udp(batch) : write_tcp(batch);
}

WriteOutcome SyslogBackend::write_udp(const LogBatch& batch) {
  WriteOutcome outcome;
  if (Result<void> connected = connect_before(system_clock().steady_now()); !connected) {
    outcome.error = connected.error();
    return outcome;
  }
  std::string message;
  for (std::size_t index = 0; index < batch.size(); ++index) {
    message.clear();
    append_message(batch, batch[index], message);
    message.resize(detail::cut_size(message, options_.datagram_bytes_max));
    ssize_t sent = -1;
    do {
      sent = ::send(socket_, message.data(), message.size(), MSG_NOSIGNAL);
      if (sent >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) continue;
      pollfd ready{socket_, POLLOUT, 0};
      static_cast<void>(::poll(&ready, 1, 100));
      sent = ::send(socket_, message.data(), message.size(), MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent >= 0) {
      ++outcome.written;
    } else {
      outcome.error = detail::system_error("send to syslog at", concat(options_.host, ":", options_.port), errno);
    }
  }
  return outcome;
}

WriteOutcome SyslogBackend::write_tcp(const LogBatch& batch) {
  const SteadyTime deadline = system_clock().steady_now() + options_.send_timeout;
  WriteOutcome outcome;
  if (Result<void> connected = connect_before(deadline); !connected) {
    outcome.error = connected.error();
    return outcome;
  }
  std::string frames;
  std::string message;
  std::vector<std::size_t> ends;
  for (std::size_t index = 0; index < batch.size(); ++index) {
    message.clear();
    append_message(batch, batch[index], message);
    frames.append(concat(message.size(), " "));
    frames.append(message);
    ends.push_back(frames.size());
  }
  std::size_t sent = 0;
  while (sent < frames.size()) {
    const ssize_t count = ::send(socket_, frames.data() + sent, frames.size() - sent, MSG_NOSIGNAL);
    if (count >= 0) {
      sent += static_cast<std::size_t>(count);
      continue;
    }
    int error = errno;
    if (error == EINTR) continue;
    if (error == EAGAIN || error == EWOULDBLOCK) {
      pollfd ready{socket_, POLLOUT, 0};
      const int found = ::poll(&ready, 1, milliseconds_until(deadline));
      if (found > 0 || (found < 0 && errno == EINTR)) continue;
      error = ETIMEDOUT;
    }
    outcome.error = detail::system_error("send to syslog at", concat(options_.host, ":", options_.port), error);
    disconnect();  // the far end would take what comes next for the rest of this message
    break;
  }
  outcome.written = detail::lines_within(ends, sent);
  return outcome;
}

BackendSpec syslog_backend(std::string name, const SyslogOptions& options) {
  BackendSpec spec = log_backend<SyslogBackend>(std::move(name), options);
  spec.format = LineFormat::message_only();
  return spec;
}

}  // namespace dagverk
