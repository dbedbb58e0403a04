#include "os_process_launch.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <linux/close_range.h>
#include <string>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <system_error>
#include <unistd.h>

// The child shares our memory until it executes. Instrumentation would record its calls and stack as ours.
#if defined(__clang__)
#define DAGVERK_CHILD_CODE __attribute__((noinline, disable_sanitizer_instrumentation))
#else
#define DAGVERK_CHILD_CODE __attribute__((noinline, no_sanitize("address", "thread", "undefined")))
#endif

namespace dagverk::detail {

void FileDescriptor::close() noexcept {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

Error system_error(int error_number, std::string_view what) {
  ErrorCode code = ErrorCode::io;
  switch (error_number) {
    case ENOENT:
    case ENOTDIR: code = ErrorCode::not_found; break;
    case EACCES:
    case EPERM: code = ErrorCode::permission; break;
    case ENOEXEC: code = ErrorCode::malformed; break;
    case E2BIG:
    case ENAMETOOLONG: code = ErrorCode::too_large; break;
    case EAGAIN:
    case ENOMEM:
    case EMFILE:
    case ENFILE: code = ErrorCode::unavailable; break;
    case ENOSYS: code = ErrorCode::unsupported; break;
    default: break;
  }
  return Error{code, concat(what, ": ", std::generic_category().message(error_number))};
}

Result<FileDescriptor> above_standard(FileDescriptor fd) {
  if (fd.get() > STDERR_FILENO) return fd;
  FileDescriptor moved(::fcntl(fd.get(), F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
  if (!moved.open()) return system_error(errno, "moving a descriptor");
  return moved;
}

Result<ChildPipe> open_pipe(PipeDirection direction) {
  std::array<int, 2> ends{-1, -1};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return system_error(errno, "opening a pipe for a child");
  Result<FileDescriptor> read_end = above_standard(FileDescriptor(ends[0]));
  Result<FileDescriptor> write_end = above_standard(FileDescriptor(ends[1]));
  if (!read_end) return read_end.error();
  if (!write_end) return write_end.error();
  ChildPipe pipe{.ours = std::move(*read_end), .childs = std::move(*write_end)};
  if (direction == PipeDirection::to_child) std::swap(pipe.ours, pipe.childs);
  // Blocking is a property of each end: the child finds an ordinary pipe.
  if (::fcntl(pipe.ours.get(), F_SETFL, O_NONBLOCK) != 0) return system_error(errno, "preparing a pipe for a child");
  return pipe;
}

Environment read_environment() {
  Environment environment;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const std::size_t equals = text.find('=');
    if (equals == std::string_view::npos || equals == 0) continue;
    environment.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return environment;
}

bool child_status_discarded() noexcept {
  struct sigaction action{};
  if (::sigaction(SIGCHLD, nullptr, &action) != 0) return false;
  return action.sa_handler == SIG_IGN || (action.sa_flags & SA_NOCLDWAIT) != 0;
}

Error report_error(std::uint32_t report, std::string_view path) {
  static constexpr std::array<std::string_view, 9> step_names = {
      "nothing",     "the death signal", "the process group", "signals",  "the working directory",
      "descriptors", "resource limits",  "no_new_privs",      "execution"};
  const std::size_t step = std::min<std::size_t>(report >> 16U, step_names.size() - 1);
  return system_error(static_cast<int>(report & 0xffffU), concat("starting \"", path, "\": ", step_names.at(step)));
}

namespace {

// What the child reads: plain values only, since even a library function may be instrumented or take a lock.
struct ChildPlan {
  const char* path;
  char* const* arguments;
  char* const* environment;
  const char* directory;
  const LaunchLimit* limits;
  std::size_t limits_count;
  bool no_new_privs;
  ChildDescriptors descriptors;
  pid_t parent;
  LaunchReport* report;
};

constexpr long signal_count = 64;
constexpr std::size_t kernel_signal_set_size = 8;

[[noreturn]] DAGVERK_CHILD_CODE void give_up(const ChildPlan& plan, LaunchStep step) noexcept {
  *plan.report = static_cast<std::uint32_t>(step) << 16U | static_cast<std::uint32_t>(errno);
  for (;;) ::syscall(SYS_exit_group, 127);
}

// Runs in the child, from its birth to execve, with only raw system calls: the library's wrappers may be intercepted by
// sanitizers, which would take our descriptors for closed.
[[noreturn]] DAGVERK_CHILD_CODE void become(const ChildPlan& plan) noexcept {
  if (::syscall(SYS_prctl, PR_SET_PDEATHSIG, static_cast<long>(SIGKILL), 0L, 0L, 0L) != 0)
    give_up(plan, LaunchStep::death_signal);
  // The parent may have ended before the line above took effect; then nobody is there to be told.
  if (::syscall(SYS_getppid) != plan.parent) {
    for (;;) ::syscall(SYS_exit_group, 127);
  }
  if (::syscall(SYS_setpgid, 0L, 0L) != 0) give_up(plan, LaunchStep::process_group);

  // All-zero is SIG_DFL without flags on every architecture. Handlers must not run here, and ignored signals would stay
  // ignored. SIGKILL and SIGSTOP refuse, harmlessly.
  const std::uint64_t default_action[8] = {};
  for (long signal = 1; signal <= signal_count; ++signal) {
    ::syscall(SYS_rt_sigaction, signal, default_action, nullptr, kernel_signal_set_size);
  }

  if (plan.directory != nullptr && ::syscall(SYS_chdir, plan.directory) != 0) give_up(plan, LaunchStep::directory);

  if (::syscall(SYS_dup3, plan.descriptors.input, STDIN_FILENO, 0) < 0 ||
      ::syscall(SYS_dup3, plan.descriptors.output, STDOUT_FILENO, 0) < 0 ||
      ::syscall(SYS_dup3, plan.descriptors.error, STDERR_FILENO, 0) < 0 ||
      ::syscall(SYS_close_range, STDERR_FILENO + 1, ~0U, 0) != 0) {
    give_up(plan, LaunchStep::descriptors);
  }

  for (std::size_t index = 0; index < plan.limits_count; ++index) {
    const LaunchLimit& wanted = plan.limits[index];
    std::uint64_t limit[2] = {};  // soft and hard
    if (::syscall(SYS_prlimit64, 0, wanted.resource, nullptr, limit) != 0) give_up(plan, LaunchStep::limits);
    const std::uint64_t hard_before = limit[1];
    limit[0] = wanted.soft < hard_before ? wanted.soft : hard_before;
    limit[1] = wanted.hard < hard_before ? wanted.hard : hard_before;
    if (::syscall(SYS_prlimit64, 0, wanted.resource, limit, nullptr) != 0) give_up(plan, LaunchStep::limits);
  }

  if (plan.no_new_privs && ::syscall(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L) != 0) {
    give_up(plan, LaunchStep::privileges);
  }

  const std::uint64_t empty_mask = 0;
  if (::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &empty_mask, nullptr, kernel_signal_set_size) != 0) {
    give_up(plan, LaunchStep::signals);
  }
  ::syscall(SYS_execve, plan.path, plan.arguments, plan.environment);
  give_up(plan, LaunchStep::execute);
}

// Alone in a frame of its own: the child runs on this stack while we wait, and must leave no variable changed.
__attribute__((noinline)) pid_t born(const ChildPlan& plan) noexcept {
  // NOLINTNEXTLINE(bugprone-unsafe-functions): docs/decisions/010-os-process-spawning.md
  const pid_t pid = ::vfork();
  if (pid == 0) become(plan);
  return pid;
}

}  // namespace

pid_t launch(const LaunchPlan& plan, ChildDescriptors descriptors, LaunchReport& report) noexcept {
  const ChildPlan child{
      .path = plan.path.front().c_str(),
      .arguments = plan.argument_pointers.data(),
      .environment = plan.environment_pointers.data(),
      .directory = plan.directory.empty() ? nullptr : plan.directory.front().c_str(),
      .limits = plan.limits.data(),
      .limits_count = plan.limits.size(),
      .no_new_privs = plan.no_new_privs,
      .descriptors = descriptors,
      .parent = ::getpid(),
      .report = &report,
  };
  const pid_t pid = born(child);
  if (pid > 0) {
    // Under the thread sanitizer vfork is fork and we go on before the child executes. The group must exist by then,
    // too.
    const int keep = errno;
    static_cast<void>(::setpgid(pid, pid));
    errno = keep;
  }
  return pid;
}

}  // namespace dagverk::detail
