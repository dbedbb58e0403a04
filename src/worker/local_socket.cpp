#include "worker/local_socket.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"
#include "dagverk/base/random.hpp"
#include "dagverk/worker/command_line.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <system_error>
#include <unistd.h>

namespace dagverk::worker {
namespace {

constexpr int backlog = 64;

enum class Ready : std::uint8_t { yes, stopped, late };

/// Waits until `descriptor` is ready for `events`, or has failed.
Ready wait_for(int descriptor, short events, const StopSignal* stop, std::optional<SteadyTime> deadline) {
  pollfd descriptors[] = {{descriptor, events, 0}, {stop != nullptr ? stop->descriptor() : -1, POLLIN, 0}};
  while (true) {
    int milliseconds = -1;
    if (deadline) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline - system_clock().steady_now());
      if (left.count() <= 0) return Ready::late;
      milliseconds = static_cast<int>(std::min<std::int64_t>(left.count(), 1'000'000));
    }
    if (::poll(descriptors, 2, milliseconds) < 0) DAGVERK_ASSERT(errno == EINTR || errno == ENOMEM);
    if (descriptors[1].revents != 0) return Ready::stopped;
    if (descriptors[0].revents != 0) return Ready::yes;
  }
}

std::optional<SteadyTime> deadline_of(Duration limit) {
  if (limit <= Duration::zero()) return std::nullopt;
  return system_clock().steady_now() + limit;
}

Error stopped() { return Error(ErrorCode::shutting_down, "the program stops"); }

ErrorCode code_of(int fault) {
  return fault == EACCES || fault == EPERM                                                  ? ErrorCode::permission
         : fault == ENOENT || fault == ECONNREFUSED || fault == ENOTSOCK || fault == EAGAIN ? ErrorCode::unavailable
                                                                                            : ErrorCode::io;
}

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return Error(ErrorCode::configuration,
                 concat("socket ", printable(path, 200), ": a path of 1 to ", sizeof address.sun_path - 1,
                        " bytes is needed; this one has ", path.size()));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

const sockaddr* generic(const sockaddr_un& address) { return reinterpret_cast<const sockaddr*>(&address); }

/// Whether somebody listens at `path`.
bool is_alive(const std::string& path) { return LineSocket::connect(path).has_value(); }

bool same_user_or_root(int descriptor) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == ::geteuid() || peer.uid == 0;
}

/// Makes the folder, or checks that it is ours alone.
Result<void> claim_folder(const std::string& folder) {
  if (::mkdir(folder.c_str(), 0700) == 0) return {};
  if (errno != EEXIST) {
    return Error(code_of(errno), concat("folder ", folder, " cannot be made: ", std::strerror(errno)));
  }
  struct stat status{};
  if (::lstat(folder.c_str(), &status) != 0) {
    return Error(code_of(errno), concat("folder ", folder, ": ", std::strerror(errno)));
  }
  if (!S_ISDIR(status.st_mode) || status.st_uid != ::geteuid() || (status.st_mode & 077) != 0) {
    return Error(ErrorCode::permission, concat(folder, " is not a folder of this user alone (mode 0700); remove it"));
  }
  return {};
}

void remove_dead_sockets(const std::string& folder) {
  std::error_code fault;
  for (const auto& entry : std::filesystem::directory_iterator(folder, fault)) {
    const std::string& path = entry.path().native();
    if (path.ends_with(".sock") && !is_alive(path)) ::unlink(path.c_str());
  }
}

}  // namespace

Descriptor::~Descriptor() {
  if (number_ >= 0) ::close(number_);
}

StopSignal::StopSignal() : event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) { DAGVERK_ASSERT(event_); }

void StopSignal::raise() noexcept {
  const std::uint64_t one = 1;
  // Fails only when the counter is full, and then everybody has been woken.
  [[maybe_unused]] const ssize_t written = ::write(event_.number(), &one, sizeof one);
}

Result<LineSocket> LineSocket::connect(const std::string& path) {
  const auto address = address_of(path);
  if (!address) return address.error();
  Descriptor descriptor(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!descriptor) return Error(ErrorCode::io, concat("no socket can be made: ", std::strerror(errno)));
  if (::connect(descriptor.number(), generic(*address), sizeof *address) != 0) {
    return Error(code_of(errno), concat("socket ", printable(path, 200), ": ", std::strerror(errno)));
  }
  return LineSocket(std::move(descriptor));
}

Result<void> LineSocket::write(std::string_view text, Duration limit) {
  const auto deadline = deadline_of(limit);
  while (!text.empty()) {
    const ssize_t count = ::send(descriptor_.number(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count >= 0) {
      text.remove_prefix(static_cast<std::size_t>(count));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return Error(ErrorCode::unavailable, concat("the other end has gone: ", std::strerror(errno)));
    switch (wait_for(descriptor_.number(), POLLOUT, stop_.get(), deadline)) {
      case Ready::yes: break;
      case Ready::stopped: return stopped();
      case Ready::late: return Error(ErrorCode::timeout, "the other end does not read");
    }
  }
  return {};
}

Result<std::optional<std::string>> LineSocket::read_line(Duration limit) {
  const auto deadline = deadline_of(limit);
  std::size_t looked_at = 0;
  while (true) {
    const std::size_t end = buffer_.find('\n', looked_at);
    if (end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return std::optional<std::string>(std::move(line));
    }
    looked_at = buffer_.size();
    if (looked_at > line_size_limit) return Error(ErrorCode::too_large, "a line of more than 1 MiB");
    char bytes[16'384];
    const ssize_t count = ::recv(descriptor_.number(), bytes, sizeof bytes, MSG_DONTWAIT);
    if (count > 0) {
      buffer_.append(bytes, static_cast<std::size_t>(count));
      continue;
    }
    if (count == 0) return std::optional<std::string>();
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return Error(ErrorCode::unavailable, concat("the other end has gone: ", std::strerror(errno)));
    switch (wait_for(descriptor_.number(), POLLIN, stop_.get(), deadline)) {
      case Ready::yes: break;
      case Ready::stopped: return stopped();
      case Ready::late: return Error(ErrorCode::timeout, "no answer in time");
    }
  }
}

void LineSocket::shut_down() noexcept { ::shutdown(descriptor_.number(), SHUT_RDWR); }

Result<LocalListener> LocalListener::open(const std::string& path) {
  // It gets its name when it listens: whoever finds a socket where nobody listens may take it for a dead one.
  const std::string unready = path + "~";
  const auto address = address_of(unready);
  if (!address) return address.error();
  const auto failed = [&](std::string_view what, int fault) {
    const ErrorCode code = fault == ENOENT || fault == ENOTDIR ? ErrorCode::configuration : code_of(fault);
    return Error(code, concat("socket ", printable(path, 200), " ", what, ": ", std::strerror(fault)));
  };
  struct stat status{};
  if (::lstat(path.c_str(), &status) == 0) {
    if (!S_ISSOCK(status.st_mode)) {
      return Error(ErrorCode::configuration, concat("socket ", printable(path, 200), ": something else has that name"));
    }
    if (is_alive(path)) {
      return Error(ErrorCode::already_exists,
                   concat("socket ", printable(path, 200), ": another program listens there"));
    }
  }
  ::unlink(unready.c_str());
  Descriptor descriptor(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!descriptor) return failed("cannot be made", errno);
  if (::bind(descriptor.number(), generic(*address), sizeof *address) != 0) return failed("cannot be made", errno);
  LocalListener listener(std::move(descriptor), unready);
  if (::chmod(unready.c_str(), 0600) != 0) return failed("cannot be guarded", errno);
  if (::listen(listener.descriptor_.number(), backlog) != 0) return failed("cannot be listened on", errno);
  if (::rename(unready.c_str(), path.c_str()) != 0) return failed("cannot be named", errno);
  listener.path_ = path;
  return listener;
}

LocalListener::~LocalListener() {
  if (!path_.empty()) ::unlink(path_.c_str());
}

std::optional<Descriptor> LocalListener::accept(const StopSignal& stop) {
  while (true) {
    if (wait_for(descriptor_.number(), POLLIN, &stop, std::nullopt) == Ready::stopped) return std::nullopt;
    Descriptor connection(::accept4(descriptor_.number(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (connection && same_user_or_root(connection.number())) return connection;
    // Out of descriptors: the waiting connection stays ready, and asking again at once would only burn the processor.
    if (!connection && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
      pollfd nothing{stop.descriptor(), POLLIN, 0};
      ::poll(&nothing, 1, 100);
    }
  }
}

Result<std::string> fresh_socket_path() {
  const char* const runtime_folder = std::getenv("XDG_RUNTIME_DIR");
  const std::string folder = runtime_folder != nullptr && *runtime_folder == '/' ? concat(runtime_folder, "/dagverk")
                                                                                 : concat("/tmp/dagverk-", ::geteuid());
  if (auto claimed = claim_folder(folder); !claimed) return claimed.error();
  remove_dead_sockets(folder);
  return concat(folder, "/", ::getpid(), "-", random_hex(4), ".sock");
}

}  // namespace dagverk::worker
