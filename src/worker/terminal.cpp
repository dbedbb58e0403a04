#include "dagverk/worker/terminal.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

namespace dagverk::worker {

void claim_standard_descriptors() noexcept {
  // open() takes the lowest free number, so going up fills the holes.
  for (int descriptor = 0; descriptor <= 2; ++descriptor) {
    if (::fcntl(descriptor, F_GETFD) >= 0 || errno != EBADF) continue;
    [[maybe_unused]] const int opened = ::open("/dev/null", descriptor == 0 ? O_RDONLY : O_WRONLY);
  }
}

void hide_passwords(int argc, char** argv) noexcept {
  const auto hide = [](char* from, const char* to) {
    for (; from < to; ++from) *from = '*';
  };
  for (int index = 1; index < argc; ++index) {
    char* const begin = argv[index];
    const std::string_view word(begin);
    const std::size_t scheme = word.find("://");
    if (scheme == std::string_view::npos) continue;
    const std::size_t user = scheme + 3;
    const std::size_t path = std::min(word.find('/', user), word.size());
    const std::size_t at = word.substr(0, path).rfind('@');
    const std::size_t colon = word.find(':', user);
    if (at != std::string_view::npos && at > user && colon < at) hide(begin + colon + 1, begin + at);
    // Some put it into the query.
    if (const std::size_t query = word.find('?'); query != std::string_view::npos) {
      hide(begin + query + 1, begin + word.size());
    }
  }
}

Written write_all(int descriptor, std::string_view text) noexcept {
  while (!text.empty()) {
    const ssize_t count = ::write(descriptor, text.data(), text.size());
    if (count >= 0) {
      text.remove_prefix(static_cast<std::size_t>(count));
    } else if (errno == EPIPE || errno == EBADF) {
      return Written::closed;
    } else if (errno == EAGAIN) {
      pollfd writable{descriptor, POLLOUT, 0};
      ::poll(&writable, 1, -1);
    } else if (errno != EINTR) {
      return Written::failed;
    }
  }
  return Written::all;
}

void say(std::string_view program, std::string_view text) noexcept {
  std::string lines;
  while (true) {
    const std::size_t end = text.find('\n');
    lines += concat(program, ": ", text.substr(0, end), "\n");
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  // Nobody is left to be told that standard error does not work.
  [[maybe_unused]] const Written written = write_all(STDERR_FILENO, lines);
}

std::string as_errors(std::string_view text) {
  std::string lines = "error: ";
  for (const char c : text) lines += c == '\n' ? "\nerror: " : std::string(1, c);
  return lines;
}

}  // namespace dagverk::worker
