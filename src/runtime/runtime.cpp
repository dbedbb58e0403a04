#include "dagverk/runtime/runtime.hpp"

#include "cycles.hpp"
#include "parker.hpp"
#include "scheduler.hpp"
#include "thread_name.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <atomic>
#include <string>
#include <thread>
#include <utility>

namespace dagverk {

namespace {

/// A lane that is an OS thread.
class ThreadLane final : public ExternalLane {
 public:
  ThreadLane(std::string name, std::move_only_function<void()> work)
      : work_(std::move(work)), thread_([this, name = std::move(name)] {
          detail::name_this_thread(name);
          run();
        }) {}
  ThreadLane(const ThreadLane&) = delete;
  ThreadLane& operator=(const ThreadLane&) = delete;
  ~ThreadLane() override {
    stopping_.store(true);
    parker_.unpark();
    thread_.join();
  }

  void ring() noexcept override {
    if (!rung_.exchange(true)) parker_.unpark();  // else a run is coming that has not begun
  }

 private:
  void run() {
    for (;;) {
      while (!rung_.load() && !stopping_.load()) parker_.park(Duration::max());
      if (!rung_.exchange(false)) return;
      work_();
    }
  }

  std::move_only_function<void()> work_;
  std::atomic<bool> rung_{false};
  std::atomic<bool> stopping_{false};
  detail::Parker parker_;  // no mutex: whoever is woken on the ringer's core would want it at once
  std::thread thread_;     // last: it uses the others
};

}  // namespace

Runtime::Runtime(RuntimeOptions options)
    : RuntimeBase(system_clock(), options.logger != nullptr ? *options.logger : stderr_logger()),
      stop_timeout_(options.stop_timeout) {
  scheduler_ = std::make_unique<detail::Scheduler>(*this, options);
}

Runtime::~Runtime() {
  if (inside_own_process()) {
    // `exit()` in a callback, most likely: the program's statics go while this very process runs on them.
    scheduler_->leave_from_inside();
  } else {
    stop(stop_timeout_);
  }
  if (scheduler_->threads_stuck()) {
    // Threads still run users' code on this memory: it stays.
    scheduler_->abandon();
    detail::keep_for_ever(scheduler_.release());
    leak_processes();
    return;
  }
  drop_all_processes();
}

bool Runtime::inside_own_process() const noexcept {
  return detail::current_process != nullptr && detail::current_process->runtime == this;
}

StopReport Runtime::stop(Duration timeout) {
  if (!inside_own_process()) return scheduler_->stop(timeout);
  StopReport refused;
  refused.inside = true;
  return refused;
}

std::string to_text(const StopReport& report) {
  if (report.inside) return "not stopped: a process cannot stop its own runtime\n";
  if (report.clean()) return "stopped in order\n";
  std::string text =
      concat(report.killed, " killed, ", report.stuck.size(), " left behind with ", report.threads, " threads\n");
  const auto stuck = [&](const ProcessInfo& info) {
    return std::ranges::find(report.stuck, info.pid, &ProcessInfo::pid) != report.stuck.end();
  };
  for (const ProcessInfo& info : report.stuck) text += concat("stuck: ", to_text(info), "\n");
  for (const ProcessInfo& info : report.late) {
    if (!stuck(info)) text += concat("killed: ", to_text(info), "\n");
  }
  return text;
}

std::uint64_t Runtime::stuck_count() const noexcept { return scheduler_->stuck_count(); }
bool Runtime::stopped() const noexcept { return scheduler_->stopped(); }
unsigned Runtime::worker_count() const noexcept { return scheduler_->worker_count(); }

std::unique_ptr<ExternalLane> Runtime::open_lane(std::string name, std::move_only_function<void()> work) {
  return std::make_unique<ThreadLane>(std::move(name), std::move(work));
}

void Runtime::make_ready(detail::ProcessCore& core) noexcept { scheduler_->make_ready(core); }
Result<void> Runtime::block_on(detail::BlockingWaiter& waiter, Duration timeout) {
  return scheduler_->block_on(waiter, timeout);
}
void Runtime::give_own_thread(detail::ProcessCore& core) { scheduler_->give_own_thread(core); }
void Runtime::take_own_thread(detail::ProcessCore& core) noexcept { scheduler_->take_own_thread(core); }
void Runtime::on_timer_armed(SteadyTime deadline) noexcept {
  if (scheduler_) scheduler_->timer_armed(deadline);
}
void Runtime::list_running(std::vector<Running>& running) const {
  if (scheduler_) scheduler_->list_running(running);
}
Duration Runtime::busy_time(std::uint64_t cycles) const noexcept {
  const std::uint64_t per_us = detail::cycles_per_microsecond();
  return std::chrono::microseconds(cycles / per_us) + Duration(cycles % per_us * 1000 / per_us);
}
void Runtime::on_process_gone() noexcept { scheduler_->process_gone(); }

}  // namespace dagverk
