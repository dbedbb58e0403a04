#pragma once

#include "dagverk/jobs/job_registry.hpp"
#include "dagverk/jobs/middleware.hpp"
#include "dagverk/jobs/run_outcome.hpp"
#include "dagverk/runtime/runtime_base.hpp"
#include "dagverk/testing_jobs/faulty_store.hpp"

#include <atomic>
#include <cstddef>
#include <utility>
#include <vector>

namespace dagverk::testing_jobs {

/// Runs every job as it is enqueued, before the enqueue returns, so that a test sees what its jobs do by calling what
/// enqueues them.
///
/// Semantics: a job that is due now is run once, by its class in the registry, and never reaches the other store. When
///            it fails or has itself buried, the enqueue fails with `exited` and the job's own error; jobs behind it in
///            the batch are not run, and nothing is tried again. A job for later, and every other operation, goes to
///            the other store. A run is inside the middleware, as in a node. `thread` jobs run outside of processes, as
///            they do there, and may enqueue in turn. No timeouts, no events, no journal, no unique keys (what is done
///            at once keeps nobody out), no limits; a class of commands is `unsupported`: drain those.
/// Threads:   as JobStore, if the jobs allow it.
/// Lifetime:  borrows the runtime and the store.
class InlineStore final : public FaultyStore {
 public:
  InlineStore(RuntimeBase& runtime, jobs::JobStore& store, jobs::JobRegistry registry,
              std::vector<jobs::RunMiddleware> middleware = {})
      : FaultyStore(store), runtime_(runtime), registry_(std::move(registry)), middleware_(std::move(middleware)) {}

  Outcomes enqueue(std::vector<jobs::EnqueueRequest> jobs) override;

  /// How many jobs were run here.
  [[nodiscard]] std::size_t runs() const noexcept { return runs_; }

 private:
  [[nodiscard]] Async<Result<void>> run(jobs::EnqueueRequest request);
  [[nodiscard]] Async<jobs::RunOutcome> run_on_lane(const jobs::JobClass& job_class, jobs::JobContext& context);

  RuntimeBase& runtime_;
  const jobs::JobRegistry registry_;
  const std::vector<jobs::RunMiddleware> middleware_;
  std::atomic<std::size_t> runs_{0};
};

}  // namespace dagverk::testing_jobs
