#include "report/formatter_watch.hpp"
#include "report/record_channel.hpp"
#include "report/reporter.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/report/test_recorder.hpp"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <poll.h>
#include <string>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace dagverk {
namespace {

using detail::ProgramEnd;

constexpr Duration reports_limit_min = std::chrono::seconds(60);  // beside what a formatter that hangs is waited for

#if defined(__SANITIZE_THREAD__)
constexpr std::ptrdiff_t threads_at_start = 2;  // the sanitizer has one of its own
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
constexpr std::ptrdiff_t threads_at_start = 2;
#else
constexpr std::ptrdiff_t threads_at_start = 1;
#endif
#else
constexpr std::ptrdiff_t threads_at_start = 1;
#endif

Error system_error(const char* what) { return Error{ErrorCode::io, concat(what, ": ", std::strerror(errno))}; }

bool has_threads() {
  std::error_code error;
  const std::filesystem::directory_iterator tasks("/proc/self/task", error);
  return !error && std::distance(begin(tasks), end(tasks)) > threads_at_start;
}

/// Two file descriptors, closed at the end unless they are given away.
struct Ends {
  Ends() = default;
  Ends(const Ends&) = delete;
  Ends& operator=(const Ends&) = delete;
  ~Ends() {
    close(0);
    close(1);
  }
  void close(int index) {
    if (of[index] >= 0) ::close(std::exchange(of[index], -1));
  }
  [[nodiscard]] int give(int index) { return std::exchange(of[index], -1); }
  int of[2] = {-1, -1};
};

struct Channels {
  Ends records;  // 0 the reporter's, 1 the test program's
  Ends end;      // the guard tells the reporter how the program ended
  Ends done;     // the reporter holds it until all is written

  [[nodiscard]] bool open() {
    return ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, records.of) == 0 && ::pipe2(end.of, O_CLOEXEC) == 0 &&
           ::pipe2(done.of, O_CLOEXEC) == 0;
  }
};

/// Signals that somebody may send to the guard and means the tests.
sigset_t guarded_signals() {
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int signal : {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2}) ::sigaddset(&signals, signal);
  return signals;
}

[[noreturn]] void be_reporter(Channels& channels, const detail::SharedTail& tail, detail::FormatterWatch& watch,
                              ReportOptions options) {
  // Out of the way of what is sent to the test program's group or session; a reader that goes away is an error to say.
  ::setsid();
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE}) static_cast<void>(std::signal(signal, SIG_IGN));
  channels.records.close(1);
  channels.end.close(1);
  channels.done.close(0);
  watch.watch(options.formatters);
  detail::run_reporter({.records = channels.records.of[0],
                        .end = channels.end.of[0],
                        .done = channels.done.of[1],
                        .tail = &*tail,
                        .formatter_limit = options.formatter_limit},
                       std::move(options.formatters), std::move(options.program));
  ::_exit(0);
}

/// Starts the reporter as nobody's child: the tests never see it among theirs, nor does who kills a tree of processes.
[[nodiscard]] bool start_reporter(Channels& channels, const detail::SharedTail& tail, detail::FormatterWatch& watch,
                                  ReportOptions& options) {
  const pid_t between = ::fork();
  if (between < 0) return false;
  if (between == 0) {
    const pid_t reporter = ::fork();
    if (reporter == 0) be_reporter(channels, tail, watch, std::move(options));
    ::_exit(reporter < 0 ? 1 : 0);
  }
  int status = 0;
  while (::waitpid(between, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

[[nodiscard]] ProgramEnd wait_for(pid_t program, const sigset_t& signals) {
  for (;;) {
    siginfo_t info;
    const int signal = ::sigwaitinfo(&signals, &info);
    if (signal > 0 && signal != SIGCHLD) {
      // What the terminal sends, it has sent to the tests as well.
      if (info.si_code != SI_KERNEL) ::kill(program, signal);
      continue;
    }
    int status = 0;
    if (::waitpid(program, &status, WNOHANG) != program) continue;
    return {.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0, .exit_status = WEXITSTATUS(status)};
  }
}

[[noreturn]] void be_guard(pid_t program, Channels& channels, const sigset_t& signals,
                           const detail::FormatterWatch& watch, const ReportOptions& options) {
  channels.records.close(0);
  channels.records.close(1);
  channels.end.close(0);
  channels.done.close(1);
  const ProgramEnd end = wait_for(program, signals);
  static_cast<void>(std::signal(SIGPIPE, SIG_IGN));
  // What the reporter does not take, its end says below.
  static_cast<void>(::write(channels.end.of[1], &end, sizeof end) == static_cast<ssize_t>(sizeof end));
  pollfd done{.fd = channels.done.of[0], .events = POLLIN, .revents = 0};
  char byte = 0;
  const auto limit = std::chrono::ceil<std::chrono::milliseconds>(2 * options.formatter_limit + reports_limit_min);
  if (::poll(&done, 1, static_cast<int>(limit.count())) == 0) {
    std::fprintf(stderr, "report: the reports are not done in time\n");
  } else if (::read(done.fd, &byte, 1) != 1) {
    std::vector<std::string> names;
    names.reserve(options.formatters.size());
    for (const FormatterSpec& formatter : options.formatters) names.push_back(formatter.name);
    std::fprintf(stderr, "report: %s\n", watch.verdict(names).c_str());
  }
  if (end.signal != 0) {
    const rlimit none{.rlim_cur = 0, .rlim_max = 0};
    ::setrlimit(RLIMIT_CORE, &none);  // the tests have left theirs
    static_cast<void>(std::signal(end.signal, SIG_DFL));
    sigset_t only;
    ::sigemptyset(&only);
    ::sigaddset(&only, end.signal);
    ::sigprocmask(SIG_UNBLOCK, &only, nullptr);
    static_cast<void>(std::raise(end.signal));
    ::_exit(128 + end.signal);
  }
  ::_exit(end.exit_status);
}

}  // namespace

Result<std::unique_ptr<TestRecorder>> split_off_reporter(ReportOptions options) {
  if (has_threads()) {
    return Error{ErrorCode::wrong_thread,
                 "reports must be asked for before the program starts threads; move the call "
                 "to the beginning of main"};
  }
  if (options.formatter_limit < std::chrono::milliseconds(1) || options.formatter_limit > formatter_limit_max) {
    return Error{ErrorCode::configuration, "formatter_limit must be 1 ms to 1 h"};
  }
  Channels channels;
  if (!channels.open()) return system_error("no pipe for the reports");
  Result<detail::SharedTail> tail = detail::SharedTail::make();
  if (!tail) return tail.error();
  Result<detail::FormatterWatch> watch = detail::FormatterWatch::make();
  if (!watch) return watch.error();
  std::fflush(nullptr);  // or what is buffered would be written by each of the three
  const pid_t guard = ::getpid();
  if (!start_reporter(channels, *tail, *watch, options)) return system_error("no process for the reports");
  const sigset_t signals = guarded_signals();
  sigset_t before;
  ::sigprocmask(SIG_BLOCK, &signals, &before);
  const pid_t program = ::fork();
  if (program < 0) {
    ::sigprocmask(SIG_SETMASK, &before, nullptr);
    return system_error("no process for the tests");
  }
  if (program > 0) be_guard(program, channels, signals, *watch, options);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != guard) ::_exit(128 + SIGKILL);
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  return std::make_unique<detail::RecordWriter>(std::move(*tail), channels.records.give(1));
}

}  // namespace dagverk
