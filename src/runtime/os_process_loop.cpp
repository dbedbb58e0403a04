#include "os_process_loop.hpp"

#include "dagverk/base/concat.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace dagverk {

namespace {

using detail::Child;
using detail::ChildPipe;
using detail::FileDescriptor;
using detail::LaunchPlan;
using detail::OutputStream;
using detail::Pending;
using detail::Phase;
using detail::PipeDirection;
using detail::Source;

constexpr std::size_t launches_per_turn = 8;  // keeps kills and timeouts prompt while many starts are queued
constexpr std::size_t reads_per_turn = 4;     // of read_size_bytes: one loud child does not starve the others
constexpr std::size_t final_reads = 64;       // likewise, for what is left in the pipes at the end
constexpr int epoll_wait_max_ms = 60'000;

[[nodiscard]] Duration to_duration(const timeval& value) noexcept {
  return std::chrono::seconds(value.tv_sec) + std::chrono::microseconds(value.tv_usec);
}

}  // namespace

void OsProcessSpawner::Loop::run() noexcept {
  for (;;) {
    take_requests();
    launch_some();
    if (killing_ && children_.empty() && waiting_.empty()) {
      MutexLock lock(mutex_);
      if (live_.empty()) return;
    }
    wait_and_handle(timeout_ms());
    fire_deadlines();
  }
}

void OsProcessSpawner::Loop::take_requests() {
  std::vector<std::uint64_t> requested;
  bool stopping = false;
  {
    MutexLock lock(mutex_);
    requested.swap(requested_);
    stopping = stopping_;
    for (const std::uint64_t key : requested) {
      const auto entry = live_.find(key);
      if (entry != live_.end()) entry->second.listed = false;
    }
  }
  for (const std::uint64_t key : requested) take_request(key);
  if (stopping && !killing_) kill_everything();
}

void OsProcessSpawner::Loop::take_request(std::uint64_t key) {
  std::unique_ptr<Pending> pending;
  std::uint64_t signals = 0;
  bool terminate = false;
  {
    MutexLock lock(mutex_);
    const auto entry = live_.find(key);
    if (entry == live_.end()) return;
    pending = std::move(entry->second.pending);
    terminate = std::exchange(entry->second.terminate, false);
    // Signals wait until there is a child to receive them.
    if (children_.contains(key)) signals = std::exchange(entry->second.signals, 0);
  }
  if (pending && !terminate) {
    waiting_.push_back(std::move(*pending));
    return;
  }
  if (pending) {
    refuse(std::move(*pending), Error{ErrorCode::cancelled, "asked to end before its start"}, true);
    return;
  }
  const auto entry = children_.find(key);
  if (entry == children_.end()) {
    if (!terminate) return;
    const auto queued = std::ranges::find(waiting_, key, [](const Pending& each) { return each.id.value; });
    if (queued == waiting_.end()) return;
    Pending cancelled = std::move(*queued);
    waiting_.erase(queued);
    refuse(std::move(cancelled), Error{ErrorCode::cancelled, "asked to end before its start"}, true);
    return;
  }
  Child& child = *entry->second;
  for (int signal = 1; signal <= detail::signal_max; ++signal) {
    if ((signals >> static_cast<unsigned>(signal - 1) & 1U) != 0) signal_group(child, signal);
  }
  if (terminate && child.phase == Phase::running) {
    child.result.cancelled = true;
    begin_termination(child);
  }
}

void OsProcessSpawner::Loop::launch_some() {
  for (std::size_t launched = 0; launched < launches_per_turn && !waiting_.empty(); ++launched) {
    Pending pending = std::move(waiting_.front());
    waiting_.pop_front();
    launch(std::move(pending));
  }
}

void OsProcessSpawner::Loop::launch(Pending pending) {
  const std::uint64_t key = pending.id.value;
  auto owned = std::make_unique<Child>();
  Child& child = *owned;
  child.result.id = pending.id;
  child.path = pending.plan.path.front();
  child.kill_grace = pending.options.kill_grace;
  child.input_bytes = std::move(pending.options.standard_input);
  child.output.capture = pending.options.standard_output;
  child.error.capture = pending.options.standard_error;
  child.report = reports_.take();
  const Result<void> launched = launch_child(child, pending.plan, !child.input_bytes.empty());
  if (!launched) {
    reports_.give_back(child.report);
    refuse(std::move(pending), launched.error(), false);
    return;
  }
  child.done = std::move(pending.done);
  child.result.os_pid = child.pid;
  children_.emplace(key, std::move(owned));
  bool requested = false;
  {
    MutexLock lock(mutex_);
    Request& request = live_.at(key);
    request.os_pid = child.pid;
    requested = request.signals != 0;
  }
  if (pending.options.timeout > Duration::zero()) set_deadline(child, child.started, pending.options.timeout);
  if (child.input.open()) feed(child);
  if (requested) take_request(key);
}

// Opens the pipes, starts the child and watches it. On failure no child is left.
Result<void> OsProcessSpawner::Loop::launch_child(Child& child, const LaunchPlan& plan, bool has_input) {
  if (detail::child_status_discarded()) return detail::status_discarded_error();
  ChildPipe input;
  if (has_input) {
    Result<ChildPipe> opened = detail::open_pipe(PipeDirection::to_child);
    if (!opened) return opened.error();
    input = std::move(*opened);
  }
  Result<ChildPipe> output = detail::open_pipe(PipeDirection::from_child);
  if (!output) return output.error();
  Result<ChildPipe> error = detail::open_pipe(PipeDirection::from_child);
  if (!error) return error.error();

  child.started = clock_.steady_now();
  const detail::ChildDescriptors descriptors{.input = has_input ? input.childs.get() : null_input_.get(),
                                             .output = output->childs.get(),
                                             .error = error->childs.get()};
  child.pid = detail::launch(plan, descriptors, reports_.at(child.report));
  if (child.pid < 0) return detail::system_error(errno, concat("starting \"", child.path, "\""));
  child.input = std::move(input.ours);
  child.output.pipe = std::move(output->ours);
  child.error.pipe = std::move(error->ours);

  child.pidfd = FileDescriptor(static_cast<int>(::syscall(SYS_pidfd_open, child.pid, 0L)));
  const std::uint64_t key = child.result.id.value;
  const bool watched = child.pidfd.open() && watch(child.pidfd.get(), EPOLLIN, key, Source::ended) &&
                       watch(child.output.pipe.get(), EPOLLIN, key, Source::output) &&
                       watch(child.error.pipe.get(), EPOLLIN, key, Source::error) &&
                       (!has_input || watch(child.input.get(), EPOLLOUT, key, Source::input));
  if (watched) return {};
  const int error_number = errno;
  for (FileDescriptor* watched_so_far : {&child.pidfd, &child.output.pipe, &child.error.pipe, &child.input}) {
    drop(*watched_so_far);
  }
  // Nobody would ever see it end. Its number is ours until we wait for it.
  ::kill(-child.pid, SIGKILL);
  while (::waitpid(child.pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  return detail::system_error(error_number, concat("watching \"", child.path, "\", which was killed again"));
}

int OsProcessSpawner::Loop::timeout_ms() const {
  if (!waiting_.empty()) return 0;
  if (deadlines_.empty()) return -1;
  const Duration left = deadlines_.begin()->first - clock_.steady_now();
  if (left <= Duration::zero()) return 0;
  const auto left_ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
  return static_cast<int>(std::min<std::int64_t>(left_ms, epoll_wait_max_ms));
}

void OsProcessSpawner::Loop::wait_and_handle(int timeout_ms) {
  std::array<epoll_event, 64> events;
  const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), timeout_ms);
  for (int index = 0; index < count; ++index) {
    const std::uint64_t data = events.at(static_cast<std::size_t>(index)).data.u64;
    if (data == detail::wake_key) {
      std::uint64_t wakes = 0;
      static_cast<void>(::read(wake_.get(), &wakes, sizeof wakes));
      continue;
    }
    handle(data >> detail::source_bits, static_cast<Source>(data & ((1U << detail::source_bits) - 1U)));
  }
}

void OsProcessSpawner::Loop::handle(std::uint64_t key, Source source) {
  const auto entry = children_.find(key);
  if (entry == children_.end()) return;  // finished by an earlier event of the same turn
  Child& child = *entry->second;
  switch (source) {
    case Source::ended:
      if (child.phase != Phase::draining) handle_ended(child);
      return;
    case Source::input:
      if (child.input.open()) feed(child);
      return;
    case Source::output: read_output(child.output, reads_per_turn); break;
    case Source::error: read_output(child.error, reads_per_turn); break;
  }
  if (child.phase == Phase::draining && !child.output.pipe.open() && !child.error.pipe.open()) finish(child);
}

void OsProcessSpawner::Loop::fire_deadlines() {
  if (deadlines_.empty()) return;
  const SteadyTime now = clock_.steady_now();
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    Child& child = *children_.at(deadlines_.begin()->second);
    clear_deadline(child);
    switch (child.phase) {
      case Phase::running:
        child.result.timed_out = true;
        begin_termination(child);
        break;
      case Phase::terminating:
        signal_group(child, SIGKILL);
        child.phase = Phase::killed;
        break;
      case Phase::killed: break;
      case Phase::draining: finish(child); break;
    }
  }
}

void OsProcessSpawner::Loop::feed(Child& child) {
  while (child.input_sent < child.input_bytes.size()) {
    // SIGPIPE is blocked on this thread, so a child that has closed its input shows as EPIPE.
    const ssize_t sent = ::write(child.input.get(), child.input_bytes.data() + child.input_sent,
                                 child.input_bytes.size() - child.input_sent);
    if (sent > 0) {
      child.input_sent += static_cast<std::size_t>(sent);
    } else if (errno == EAGAIN) {
      return;
    } else if (errno != EINTR) {
      break;
    }
  }
  drop(child.input);
}

void OsProcessSpawner::Loop::read_output(OutputStream& stream, std::size_t reads_max) {
  for (std::size_t reads = 0; stream.pipe.open() && reads < reads_max; ++reads) {
    const ssize_t size = ::read(stream.pipe.get(), read_buffer_.data(), read_buffer_.size());
    if (size > 0) {
      stream.take({read_buffer_.data(), static_cast<std::size_t>(size)});
    } else if (size == 0) {
      drop(stream.pipe);
    } else if (errno == EAGAIN) {
      return;
    } else if (errno != EINTR) {
      drop(stream.pipe);
    }
  }
}

void OsProcessSpawner::Loop::handle_ended(Child& child) {
  const auto wait = [&child](int flags, siginfo_t& info, rusage* usage) {
    return ::syscall(SYS_waitid, P_PIDFD, child.pidfd.get(), &info, WEXITED | WNOHANG | flags, usage);
  };
  siginfo_t info{};
  rusage usage{};
  // Look first and wait later: until then the number of the child, and so of its group, cannot be anybody else's.
  bool ours = wait(WNOWAIT, info, nullptr) == 0;
  if (ours && info.si_pid == 0) return;
  if (ours) {
    ::kill(-child.pid, SIGKILL);
    ours = wait(0, info, &usage) == 0;
  }

  OsProcessResult& result = child.result;
  result.wall_time = clock_.steady_now() - child.started;
  const std::uint32_t report = reports_.at(child.report);
  if (!ours) {
    result.end = OsProcessEnd::lost;
    result.error =
        Error{ErrorCode::outcome_unknown, concat("another part of the program waited for the OS process ", child.pid,
                                                 " of \"", child.path, "\"; wait for your own children by number")};
  } else if (report != 0) {
    result.end = OsProcessEnd::not_started;
    result.error = detail::report_error(report, child.path);
    result.os_pid = 0;
  } else {
    result.end = info.si_code == CLD_EXITED ? OsProcessEnd::exited : OsProcessEnd::signalled;
    (info.si_code == CLD_EXITED ? result.exit_code : result.signal) = info.si_status;
    result.core_dumped = info.si_code == CLD_DUMPED;
  }
  result.user_time = to_duration(usage.ru_utime);
  result.system_time = to_duration(usage.ru_stime);
  result.resident_size_max_bytes = static_cast<std::uint64_t>(usage.ru_maxrss) * 1024U;

  drop(child.pidfd);
  drop(child.input);
  clear_deadline(child);
  child.phase = Phase::draining;
  {
    MutexLock lock(mutex_);
    live_.at(result.id.value).os_pid = 0;
  }
  read_output(child.output, final_reads);
  read_output(child.error, final_reads);
  if (!child.output.pipe.open() && !child.error.pipe.open()) {
    finish(child);
  } else {
    set_deadline(child, clock_.steady_now(), options_.drain_limit);
  }
}

void OsProcessSpawner::Loop::begin_termination(Child& child) {
  DAGVERK_ASSERT(child.phase == Phase::running);
  clear_deadline(child);
  if (child.kill_grace <= Duration::zero()) {
    signal_group(child, SIGKILL);
    child.phase = Phase::killed;
    return;
  }
  const SteadyTime asked = clock_.steady_now();
  signal_group(child, SIGTERM);
  signal_group(child, SIGCONT);  // a stopped process would not see SIGTERM
  child.phase = Phase::terminating;
  set_deadline(child, asked, child.kill_grace);
}

void OsProcessSpawner::Loop::signal_group(const Child& child, int signal) {
  if (child.phase == Phase::draining) return;  // its number may be somebody else's
  // Fails once somebody else has waited for it; the number may be reused then.
  if (::syscall(SYS_pidfd_send_signal, child.pidfd.get(), 0L, nullptr, 0L) != 0 && errno == ESRCH) return;
  ::kill(-child.pid, signal);
}

void OsProcessSpawner::Loop::kill_everything() {
  killing_ = true;
  while (!waiting_.empty()) {
    Pending pending = std::move(waiting_.front());
    waiting_.pop_front();
    refuse(std::move(pending), Error{ErrorCode::cancelled, "the spawner stopped before its start"}, true);
  }
  for (const auto& [key, child] : children_) {
    if (child->phase == Phase::draining) continue;
    if (child->phase == Phase::running) child->result.cancelled = true;
    clear_deadline(*child);
    signal_group(*child, SIGKILL);
    child->phase = Phase::killed;
  }
}

void OsProcessSpawner::Loop::refuse(Pending pending, Error error, bool cancelled) {
  OsProcessResult result;
  result.id = pending.id;
  result.end = OsProcessEnd::not_started;
  result.cancelled = cancelled;
  result.error = std::move(error);
  deliver(std::move(result), std::move(pending.done));
}

void OsProcessSpawner::Loop::finish(Child& child) {
  const auto entry = children_.find(child.result.id.value);
  DAGVERK_ASSERT(entry != children_.end());
  const std::unique_ptr<Child> owned = std::move(entry->second);
  children_.erase(entry);
  clear_deadline(child);
  reports_.give_back(child.report);
  const auto move_output = [](OutputStream& stream, OsProcessOutput& into) {
    stream.kept.complete = !stream.pipe.open();
    stream.cut_front();
    into = std::move(stream.kept);
    DAGVERK_ASSERT(into.bytes.size() <= stream.capture.limit_bytes);
  };
  move_output(child.output, child.result.standard_output);
  move_output(child.error, child.result.standard_error);
  child.result.standard_input_unsent_bytes = child.input_bytes.size() - child.input_sent;
  drop(child.output.pipe);
  drop(child.error.pipe);
  deliver(std::move(child.result), std::move(child.done));
}

void OsProcessSpawner::Loop::deliver(OsProcessResult result, Callback done) {
  {
    MutexLock lock(mutex_);
    live_.erase(result.id.value);
  }
  if (done) done(std::move(result));
}

void OsProcessSpawner::Loop::set_deadline(Child& child, SteadyTime from, Duration after) {
  clear_deadline(child);
  child.deadline = after < SteadyTime::max() - from ? from + after : SteadyTime::max();
  deadlines_.emplace(*child.deadline, child.result.id.value);
}

void OsProcessSpawner::Loop::clear_deadline(Child& child) {
  if (!child.deadline) return;
  deadlines_.erase({*child.deadline, child.result.id.value});
  child.deadline.reset();
}

bool OsProcessSpawner::Loop::watch(int fd, std::uint32_t events, std::uint64_t key, Source source) {
  epoll_event event{.events = events, .data = {.u64 = key << detail::source_bits | static_cast<std::uint64_t>(source)}};
  return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

// Closing alone does not end the watch while a copy is open somewhere, such as in a fork of the program.
void OsProcessSpawner::Loop::drop(FileDescriptor& fd) {
  if (!fd.open()) return;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd.get(), nullptr);
  fd.close();
}

}  // namespace dagverk
