#include "os_process_loop.hpp"
#include "thread_name.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/runtime/os_process.hpp"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <system_error>
#include <unistd.h>

namespace dagverk {

namespace {

constexpr std::size_t running_limit_max = 4096;

/// Blocks all signals for this scope: threads begin with their creator's mask. Those that report a fault of the thread
/// itself stay, for crash reporters.
class SignalsBlocked {
 public:
  SignalsBlocked() noexcept {
    sigset_t all;
    ::sigfillset(&all);
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS}) ::sigdelset(&all, fault);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;
  ~SignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_{};
};

}  // namespace

Result<void> OsProcessSpawner::Loop::open() {
  if (options_.running_limit == 0 || options_.running_limit > running_limit_max) {
    return Error{ErrorCode::configuration,
                 concat("running_limit must be 1..", running_limit_max, ", got ", options_.running_limit)};
  }
  if (options_.drain_limit < Duration::zero()) {
    return Error{ErrorCode::configuration, "drain_limit must not be negative"};
  }
  if (detail::child_status_discarded()) return detail::status_discarded_error();
  environment_ = detail::read_environment();
  epoll_ = detail::FileDescriptor(::epoll_create1(EPOLL_CLOEXEC));
  wake_ = detail::FileDescriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  null_input_ = detail::FileDescriptor(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (!epoll_.open() || !wake_.open() || !null_input_.open()) {
    return detail::system_error(errno, "opening the spawner of OS processes");
  }
  Result<detail::FileDescriptor> lifted = detail::above_standard(std::move(null_input_));
  if (!lifted) return lifted.error();
  null_input_ = std::move(*lifted);
  epoll_event event{.events = EPOLLIN, .data = {.u64 = detail::wake_key}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) != 0 || !reports_.open(options_.running_limit)) {
    return detail::system_error(errno, "opening the spawner of OS processes");
  }
  try {
    const SignalsBlocked blocked;
    thread_ = std::thread([this] {
      detail::name_this_thread("dagverk spawner");
      run();
    });
  } catch (const std::system_error& failed) {
    return Error{ErrorCode::unavailable, concat("starting the spawner's thread: ", failed.what())};
  }
  thread_id_ = thread_.get_id();
  ::pthread_setname_np(thread_.native_handle(), "dagverk-spawn");
  return {};
}

Result<OsProcessId> OsProcessSpawner::Loop::start(OsProcessOptions options, Callback done) {
  Result<detail::LaunchPlan> plan = detail::make_plan(options, environment_);
  if (!plan) return plan.error();
  auto pending = std::make_unique<detail::Pending>(
      detail::Pending{.id = {}, .plan = std::move(*plan), .options = std::move(options), .done = std::move(done)});
  OsProcessId id;
  {
    MutexLock lock(mutex_);
    if (stopping_) return Error{ErrorCode::shutting_down, "the spawner of OS processes is stopping"};
    if (live_.size() >= options_.running_limit) {
      return Error{ErrorCode::refused, concat("running_limit of ", options_.running_limit, " OS processes is reached")};
    }
    id = OsProcessId{++last_id_};
    pending->id = id;
    Request& request = live_[id.value];
    request.pending = std::move(pending);
    list(id.value, request);
  }
  return id;
}

Result<void> OsProcessSpawner::Loop::kill(OsProcessId id, int signal) {
  if (signal < 1 || signal > detail::signal_max) {
    return Error{ErrorCode::invalid_argument, concat("a signal must be 1..", detail::signal_max, ", got ", signal)};
  }
  MutexLock lock(mutex_);
  const auto entry = live_.find(id.value);
  if (entry == live_.end()) return Error{ErrorCode::no_process, concat("OS process ", id.value, " does not run")};
  entry->second.signals |= 1ULL << static_cast<unsigned>(signal - 1);
  list(id.value, entry->second);
  return {};
}

Result<void> OsProcessSpawner::Loop::terminate(OsProcessId id) {
  MutexLock lock(mutex_);
  const auto entry = live_.find(id.value);
  if (entry == live_.end()) return Error{ErrorCode::no_process, concat("OS process ", id.value, " does not run")};
  entry->second.terminate = true;
  list(id.value, entry->second);
  return {};
}

void OsProcessSpawner::Loop::stop() {
  const bool from_callback = std::this_thread::get_id() == thread_id_;
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    if (!stopped_) wake();
    if (from_callback) return;
    if (joining_) {
      while (!stopped_) stopped_condition_.wait(mutex_);
      return;
    }
    joining_ = true;
  }
  if (thread_.joinable()) thread_.join();
  MutexLock lock(mutex_);
  stopped_ = true;
  stopped_condition_.notify_all();
}

std::size_t OsProcessSpawner::Loop::running_count() const {
  MutexLock lock(mutex_);
  return live_.size();
}

std::optional<int> OsProcessSpawner::Loop::os_pid(OsProcessId id) const {
  MutexLock lock(mutex_);
  const auto entry = live_.find(id.value);
  if (entry == live_.end() || entry->second.os_pid == 0) return std::nullopt;
  return entry->second.os_pid;
}

void OsProcessSpawner::Loop::list(std::uint64_t key, Request& request) {
  if (request.listed) return;
  request.listed = true;
  requested_.push_back(key);
  if (requested_.size() == 1) wake();  // otherwise the loop has been woken and not looked yet
}

void OsProcessSpawner::Loop::wake() noexcept {
  const std::uint64_t one = 1;
  // Fails only when the counter is full, and then the loop wakes all the same.
  static_cast<void>(::write(wake_.get(), &one, sizeof one));
}

OsProcessSpawner::OsProcessSpawner(std::unique_ptr<Loop> loop) : loop_(std::move(loop)) {}

OsProcessSpawner::~OsProcessSpawner() { loop_->stop(); }

Result<std::unique_ptr<OsProcessSpawner>> OsProcessSpawner::create(const OsProcessSpawnerOptions& options,
                                                                   const Clock& clock) {
  auto loop = std::make_unique<Loop>(options, clock);
  const Result<void> opened = loop->open();
  if (!opened) return opened.error();
  return std::unique_ptr<OsProcessSpawner>(new OsProcessSpawner(std::move(loop)));
}

Result<OsProcessId> OsProcessSpawner::start(OsProcessOptions options, Callback done) {
  return loop_->start(std::move(options), std::move(done));
}
Result<void> OsProcessSpawner::kill(OsProcessId id, int signal) { return loop_->kill(id, signal); }
Result<void> OsProcessSpawner::terminate(OsProcessId id) { return loop_->terminate(id); }
void OsProcessSpawner::stop() { loop_->stop(); }
std::size_t OsProcessSpawner::running_count() const { return loop_->running_count(); }
std::optional<int> OsProcessSpawner::os_pid(OsProcessId id) const { return loop_->os_pid(id); }

}  // namespace dagverk
