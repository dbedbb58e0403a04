#include "worker/signal_watch.hpp"

#include "dagverk/base/assert.hpp"

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace dagverk::worker {

SignalWatch::SignalWatch(std::initializer_list<int> signals) {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : signals) {
    // Whoever started us with SIGHUP ignored (nohup) wants us to outlive the terminal.
    struct sigaction before{};
    const bool ignored = ::sigaction(signal, nullptr, &before) == 0 && before.sa_handler == SIG_IGN;
    if (!ignored || signal != SIGHUP) ::sigaddset(&set, signal);
  }
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  signals_ = ::signalfd(-1, &set, SFD_CLOEXEC);
  wakes_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  DAGVERK_ASSERT(signals_ >= 0);
  DAGVERK_ASSERT(wakes_ >= 0);
}

SignalWatch::~SignalWatch() {
  ::close(signals_);
  ::close(wakes_);
}

int SignalWatch::next() noexcept {
  while (true) {
    pollfd descriptors[] = {{signals_, POLLIN, 0}, {wakes_, POLLIN, 0}};
    if (::poll(descriptors, 2, -1) < 0) {
      DAGVERK_ASSERT(errno == EINTR);
      continue;
    }
    if ((descriptors[0].revents & POLLIN) != 0) {
      signalfd_siginfo signal{};
      if (::read(signals_, &signal, sizeof signal) == sizeof signal) return static_cast<int>(signal.ssi_signo);
    }
    if ((descriptors[1].revents & POLLIN) != 0) {
      std::uint64_t count = 0;
      if (::read(wakes_, &count, sizeof count) == sizeof count) return 0;
    }
  }
}

void SignalWatch::wake() noexcept {
  const std::uint64_t one = 1;
  // Fails only when the counter is full, and then the reader is awake anyway.
  [[maybe_unused]] const ssize_t written = ::write(wakes_, &one, sizeof one);
}

}  // namespace dagverk::worker
