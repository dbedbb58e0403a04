#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/jobs/job.hpp"
#include "dagverk/jobs/run_outcome.hpp"
#include "dagverk/jobs/store_types.hpp"
#include "dagverk/jobs/trace_context.hpp"
#include "dagverk/runtime/async.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>

namespace dagverk::jobs {

class RunNotes;

/// More of a result is cut off.
inline constexpr std::size_t result_text_size_limit = 1024;

/// What a running job knows about itself.
///
/// Threads:  belongs to the thread (of an `async` job: the process) that runs the job; the stop token may be passed on.
/// Lifetime: ends with the run. Views point into the job.
class JobContext {
 public:
  JobContext(const Job& job, std::string_view queue, std::stop_token stop, ClaimToken token = {}) noexcept
      : job_(job), queue_(queue), stop_(std::move(stop)), token_(token) {}
  JobContext(const JobContext&) = delete;
  JobContext& operator=(const JobContext&) = delete;

  [[nodiscard]] const Job& job() const noexcept { return job_; }
  [[nodiscard]] std::string_view jid() const noexcept { return job_.jid(); }
  [[nodiscard]] std::string_view job_class() const noexcept { return job_.job_class(); }
  /// The queue it was taken from.
  [[nodiscard]] std::string_view queue() const noexcept { return queue_; }
  /// 1 for the first run.
  [[nodiscard]] std::uint32_t attempt() const noexcept { return job_.attempt(); }

  /// Asks the job to end soon: its timeout passed, its node stops or lost its lease. Nothing interrupts C++ code: a job
  /// that runs for long looks at this now and then.
  [[nodiscard]] const std::stop_token& stop_token() const noexcept { return stop_; }
  [[nodiscard]] bool stop_requested() const noexcept { return stop_.stop_requested(); }

  /// The trace that this run belongs to: what a middleware has set, else what the job came with. Empty when that is no
  /// `traceparent`.
  [[nodiscard]] TraceContext trace() const;
  /// What the run shows as its own from now on, and gives to the jobs that it enqueues: for code that makes spans.
  void set_trace(TraceContext trace) { trace_ = std::move(trace); }

  /// The right to settle this run, for those who complete it together with their own data.
  [[nodiscard]] const ClaimToken& token() const noexcept { return token_; }
  /// Says that a transaction of the job's own completes it when that commits. The node then takes a refusal of what it
  /// reports for the sign that it did.
  void note_completed() noexcept { completed_ = true; }
  [[nodiscard]] bool completed() const noexcept { return completed_; }

  /// How far the run is, from 0 to 1, and with `status` at what (200 bytes). Kept in the store within a second or so,
  /// and shown by `dagverk job show`. Cheap: only what is latest then is stored.
  void progress(double fraction);
  void progress(double fraction, std::string_view status);
  /// A line of the run's log, kept in the store for a week and shown by `dagverk job logs`. A line is cut to 500 bytes,
  /// and marked; of a run the latest 100 lines are kept. A job that runs again begins a new log when it says something.
  void log(std::string_view line);
  /// Where these two go; without, nowhere.
  void keep_notes(std::shared_ptr<RunNotes> notes) noexcept { notes_ = std::move(notes); }

  /// A short text that the journal keeps with the end of this run; cut to result_text_size_limit bytes, and marked.
  void set_result(std::string text);
  [[nodiscard]] const std::string& result() const noexcept { return result_; }

  /// When this run ends without a failure, the job is not done but waits to run again, its payload and its attempt
  /// unchanged: after `delay`, at least 0 and at most 366 days.
  void snooze_for(Duration delay) { wish_ = RunOutcome::snoozed(delay); }
  /// When this run ends without a failure, the job is dropped: neither done nor failed, not in the dead set.
  void discard(std::string why = {}) { wish_ = RunOutcome::discarded(std::move(why)); }
  /// When this run ends without a failure, the job goes to the dead set, whatever retries are left.
  void bury(std::string why = {}) { wish_ = RunOutcome::buried(std::move(why)); }
  /// The last of these three that was called. A function that returns a RunOutcome says it there instead.
  [[nodiscard]] const std::optional<RunOutcome>& wish() const noexcept { return wish_; }

 private:
  const Job& job_;
  std::string_view queue_;
  std::stop_token stop_;
  ClaimToken token_;
  bool completed_ = false;
  std::string result_;
  std::optional<RunOutcome> wish_;
  std::optional<TraceContext> trace_;
  std::shared_ptr<RunNotes> notes_;  // shared with the node's book of what the store does not have yet
};

/// What a running `async` job knows about itself. The job is a process: `this_process` and every awaitable operation
/// may be used in it.
class AsyncJobContext : public JobContext {
 public:
  using JobContext::JobContext;

  /// Waits, by the runtime's clock; ends early, and returns false, when the job is asked to stop.
  [[nodiscard]] Async<bool> sleep(Duration duration);
};

/// The job that the calling thread, or the calling process, runs now; null outside of one. Of an `async` job it is an
/// AsyncJobContext.
[[nodiscard]] JobContext* current_job() noexcept;

namespace detail {

/// Makes `current_job` answer for a scope.
class CurrentJob {
 public:
  explicit CurrentJob(JobContext& context) noexcept;
  CurrentJob(const CurrentJob&) = delete;
  CurrentJob& operator=(const CurrentJob&) = delete;
  ~CurrentJob();

 private:
  JobContext* before_;
};

/// The same for the running process.
class CurrentProcessJob {
 public:
  explicit CurrentProcessJob(JobContext& context);
  CurrentProcessJob(const CurrentProcessJob&) = delete;
  CurrentProcessJob& operator=(const CurrentProcessJob&) = delete;
  ~CurrentProcessJob();
};

}  // namespace detail
}  // namespace dagverk::jobs
