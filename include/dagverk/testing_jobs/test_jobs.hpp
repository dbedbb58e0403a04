#pragma once

#include "dagverk/jobs/job_client.hpp"
#include "dagverk/testing_jobs/drain.hpp"
#include "dagverk/testing_jobs/enqueued_jobs.hpp"
#include "dagverk/testing_jobs/inline_store.hpp"
#include "dagverk/testing_jobs/memory_job_store.hpp"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace dagverk::testing_jobs {

/// What becomes of jobs that the code under test enqueues.
enum class TestMode : std::uint8_t {
  keep,      ///< they stay in the store: to be looked at, or drained
  immediate  ///< they run at once; see InlineStore
};

/// What is around enqueueing and around runs, drained or immediate; as ClientOptions and NodeOptions have it.
struct TestMiddleware {
  std::vector<jobs::EnqueueMiddleware> enqueues = {};
  std::vector<jobs::RunMiddleware> runs = {};
};

/// Everything that a test of code with jobs needs: a deterministic runtime, a store in memory, job classes, a client.
///
///   TestJobs jobs(my_registry());
///   sign_up(jobs.client(), "ann@example.org");
///   DAGVERK_EXPECT_ENQUEUED(jobs, "WelcomeMail", "ann@example.org");
///   EXPECT_TRUE(jobs.drain()->ok());
///
/// Threads: one, the test's.
class TestJobs {
 public:
  explicit TestJobs(jobs::JobRegistry registry = {}, TestMode mode = TestMode::keep, DeterministicOptions options = {},
                    TestMiddleware middleware = {})
      : registry_(std::move(registry)),
        run_middleware_(std::move(middleware.runs)),
        runtime_(options),
        memory_(runtime_),
        inline_(runtime_, memory_, registry_, run_middleware_),
        mode_(mode),
        client_(runtime_, store(), {.registry = &registry_, .middleware = std::move(middleware.enqueues)}) {}

  /// The only clock there is: `runtime().advance(1h)`.
  [[nodiscard]] DeterministicRuntime& runtime() noexcept { return runtime_; }
  /// For the code under test.
  [[nodiscard]] jobs::JobStore& store() noexcept {
    if (mode_ == TestMode::immediate) return inline_;
    return memory_;
  }
  [[nodiscard]] jobs::JobClient& client() noexcept { return client_; }
  [[nodiscard]] const jobs::JobRegistry& registry() const noexcept { return registry_; }

  /// As `enqueued_jobs`.
  [[nodiscard]] Result<std::vector<EnqueuedJob>> enqueued(const EnqueuedFilter& filter = {}) {
    return enqueued_jobs(runtime_, memory_, filter);
  }
  /// As `testing_jobs::drain`, inside this test's middleware unless the options have one.
  [[nodiscard]] Result<DrainReport> drain(DrainOptions options = {}) {
    if (options.middleware.empty()) options.middleware = run_middleware_;
    return testing_jobs::drain(runtime_, memory_, registry_, options);
  }

 private:
  const jobs::JobRegistry registry_;
  const std::vector<jobs::RunMiddleware> run_middleware_;
  DeterministicRuntime runtime_;
  MemoryJobStore memory_;
  InlineStore inline_;
  const TestMode mode_;
  jobs::JobClient client_;
};

}  // namespace dagverk::testing_jobs
