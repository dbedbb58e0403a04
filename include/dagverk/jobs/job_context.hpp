#pragma once

#include "dagverk/jobs/job.hpp"

#include <cstddef>
#include <cstdint>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>

namespace dagverk::jobs {

/// More of a result is cut off.
inline constexpr std::size_t result_text_size_limit = 1024;

/// What a running `thread` job knows about itself.
///
/// Threads:  belongs to the thread that runs the job; the stop token may be passed on.
/// Lifetime: ends with the run. Views point into the job.
class JobContext {
 public:
  JobContext(const Job& job, std::string_view queue, std::stop_token stop) noexcept
      : job_(job), queue_(queue), stop_(std::move(stop)) {}
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

  /// A short text that the journal keeps with the end of this run; cut to result_text_size_limit bytes.
  void set_result(std::string text) {
    text.resize(text.size() < result_text_size_limit ? text.size() : result_text_size_limit);
    result_ = std::move(text);
  }
  [[nodiscard]] const std::string& result() const noexcept { return result_; }

 private:
  const Job& job_;
  std::string_view queue_;
  std::stop_token stop_;
  std::string result_;
};

/// The job that the calling thread runs now; null outside of one.
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

}  // namespace detail
}  // namespace dagverk::jobs
