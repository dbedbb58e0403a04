#include "log/descriptor_text.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <ctime>
#include <poll.h>
#include <system_error>
#include <unistd.h>

namespace dagverk::detail {

namespace {

/// Holds back a SIGPIPE that this thread causes. The library owns no signal handlers, and the program may have none.
class NoBrokenPipe {
 public:
  NoBrokenPipe() noexcept {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    sigset_t pending;
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    static_cast<void>(pthread_sigmask(SIG_BLOCK, &pipe_, &before_));
  }
  NoBrokenPipe(const NoBrokenPipe&) = delete;
  NoBrokenPipe& operator=(const NoBrokenPipe&) = delete;
  ~NoBrokenPipe() {
    if (!was_pending_) {
      constexpr std::timespec at_once{};
      while (sigtimedwait(&pipe_, nullptr, &at_once) < 0 && errno == EINTR) {
      }
    }
    static_cast<void>(pthread_sigmask(SIG_SETMASK, &before_, nullptr));
  }

 private:
  sigset_t pipe_{};
  sigset_t before_{};
  bool was_pending_;
};

}  // namespace

TextWritten write_text_to(int descriptor, std::string_view text, Duration patience) noexcept {
  const NoBrokenPipe guard;
  const auto patience_ms = static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(patience).count());
  TextWritten done;
  while (done.bytes < text.size()) {
    const ssize_t written = ::write(descriptor, text.data() + done.bytes, text.size() - done.bytes);
    if (written >= 0) {
      done.bytes += static_cast<std::size_t>(written);
      continue;
    }
    if (errno == EINTR) continue;
    done.error = errno;
    if (errno != EAGAIN && errno != EWOULDBLOCK) return done;
    pollfd ready{descriptor, POLLOUT, 0};
    if (::poll(&ready, 1, patience_ms) == 0) return done;
    done.error = 0;
  }
  return done;
}

std::size_t lines_within(const std::vector<std::size_t>& line_ends, std::size_t bytes) noexcept {
  return static_cast<std::size_t>(std::upper_bound(line_ends.begin(), line_ends.end(), bytes) - line_ends.begin());
}

Error system_error(std::string_view doing, std::string_view what, int error) {
  const ErrorCode code = error == EACCES || error == EPERM ? ErrorCode::permission : ErrorCode::io;
  return {code, concat("cannot ", doing, " ", what, ": ", std::generic_category().message(error))};
}

}  // namespace dagverk::detail
