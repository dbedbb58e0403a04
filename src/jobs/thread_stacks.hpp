#pragma once

#include <chrono>
#include <string>
#include <vector>

/// Where threads are that run jobs: each tells what it runs, and writes down its own stack when it is asked.
///
/// Semantics: asking sends SIGURG to the thread, whose handler writes addresses into memory that was set aside before
///            and does nothing else. A system call of the job's may be interrupted by that (EINTR), as by any signal.
/// Threads:   any. A thread cannot end while somebody asks it.
/// Bounds:    stack_frames_limit frames per thread.
namespace dagverk::jobs {

inline constexpr int stack_frames_limit = 64;

/// How long those that were asked have for their answer.
inline constexpr std::chrono::milliseconds stack_answer_time(50);

/// This thread works at `what` until the object goes. On the thread itself; one at a time.
class OnThread {
 public:
  explicit OnThread(const void* what) noexcept;
  OnThread(const OnThread&) = delete;
  OnThread& operator=(const OnThread&) = delete;
  ~OnThread();
};

/// Asks every thread that works at one of these. The first call installs the handler.
void ask_for_stacks(const std::vector<const void*>& what);

/// The frames that the thread which works at `what` has written down since it was asked, the innermost first; empty
/// when no thread works at it, or when it has not answered.
[[nodiscard]] std::vector<std::string> stack_of(const void* what);

}  // namespace dagverk::jobs
