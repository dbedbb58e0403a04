#pragma once

// Expectations for GoogleTest. Nothing else here needs it: link GoogleTest yourself.

#include "dagverk/testing_jobs/enqueued_jobs.hpp"

#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace dagverk::testing_jobs {

/// A runtime and a store of one's own, where there are no TestJobs. Borrows both.
class JobsOf {
 public:
  JobsOf(RuntimeBase& runtime, jobs::JobStore& store) noexcept : runtime_(runtime), store_(store) {}
  [[nodiscard]] RuntimeBase& runtime() const noexcept { return runtime_; }
  [[nodiscard]] jobs::JobStore& store() const noexcept { return store_; }

 private:
  RuntimeBase& runtime_;
  jobs::JobStore& store_;
};

/// What DAGVERK_EXPECT_ENQUEUED checks.
template <class Jobs, class... Arguments>
[[nodiscard]] ::testing::AssertionResult is_enqueued(Jobs&& jobs, std::string job_class,
                                                     const Arguments&... arguments) {
  const SearchReport report = search_enqueued(jobs.runtime(), jobs.store(), seek(std::move(job_class), arguments...));
  return (report.found.empty() ? ::testing::AssertionFailure() : ::testing::AssertionSuccess()) << report.text;
}

}  // namespace dagverk::testing_jobs

/// Expects that a job of this class waits for its first run, in a queue or in the schedule.
///
///   DAGVERK_EXPECT_ENQUEUED(jobs, "Resize");                                        // whatever its arguments
///   DAGVERK_EXPECT_ENQUEUED(jobs, "Resize", "cat.jpg", any_argument);               // with these
///   DAGVERK_EXPECT_ENQUEUED(jobs, "Cleanup", no_arguments);
///
/// Semantics: `jobs` is a TestJobs or a JobsOf; the arguments are those of `seek`. The message shows what is enqueued.
/// Threads:   blocks; not inside a process.
#define DAGVERK_EXPECT_ENQUEUED(...) EXPECT_TRUE(::dagverk::testing_jobs::is_enqueued(__VA_ARGS__))
#define DAGVERK_EXPECT_NOT_ENQUEUED(...) EXPECT_FALSE(::dagverk::testing_jobs::is_enqueued(__VA_ARGS__))
