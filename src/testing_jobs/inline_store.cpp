#include "dagverk/testing_jobs/inline_store.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/detail/call_job.hpp"
#include "dagverk/jobs/detail/run_chain.hpp"
#include "dagverk/jobs/job_codec.hpp"
#include "dagverk/jobs/store_bounds.hpp"
#include "dagverk/runtime/completion.hpp"
#include "dagverk/runtime/external_lane.hpp"

#include <stop_token>
#include <utility>

namespace dagverk::testing_jobs {

using jobs::ItemOutcome;
using jobs::RunOutcome;

jobs::JobStore::Outcomes InlineStore::enqueue(std::vector<jobs::EnqueueRequest> jobs) {
  if (auto ok = jobs::check_batch("enqueue", jobs.size()); !ok) co_return ok.error();
  for (const jobs::EnqueueRequest& request : jobs) {
    if (auto ok = jobs::check(request); !ok) co_return ok.error().with("enqueue");
  }
  std::vector<ItemOutcome> outcomes;
  for (jobs::EnqueueRequest& request : jobs) {
    if (!request.due) {
      const Result<void> ran = co_await run(std::move(request));
      if (!ran) co_return ran.error();
      outcomes.push_back(ItemOutcome::done);
      continue;
    }
    std::vector<jobs::EnqueueRequest> later;
    later.push_back(std::move(request));
    const Result<std::vector<ItemOutcome>> stored = co_await FaultyStore::enqueue(std::move(later));
    if (!stored) co_return stored.error();
    outcomes.push_back(stored->front());
  }
  co_return outcomes;
}

Async<Result<void>> InlineStore::run(jobs::EnqueueRequest request) {
  const Result<jobs::Job> job = jobs::decode_job(request.payload, request.queue);
  if (!job) co_return job.error();
  const std::string what = concat("job ", job->job_class(), " (jid ", job->jid(), ')');
  const jobs::JobClass* const job_class = registry_.find(job->job_class());
  if (job_class == nullptr) co_return Error{ErrorCode::not_found, concat(what, ": no such class is defined")};
  if (job_class->command) {
    co_return Error{ErrorCode::unsupported, concat(what, ": commands do not run inline; drain the store instead")};
  }
  ++runs_;
  RunOutcome outcome;
  if (job_class->async_function) {
    jobs::AsyncJobContext context(*job, request.queue, std::stop_token());
    const jobs::detail::CurrentProcessJob current(context);
    jobs::AsyncRunNext innermost = [&] { return jobs::detail::await_function(*job_class, context); };
    Async<RunOutcome> running = jobs::detail::run_inside_process(middleware_, context, std::move(innermost));
    outcome = co_await running;
  } else {
    jobs::JobContext context(*job, request.queue, std::stop_token());
    outcome = co_await run_on_lane(*job_class, context);
  }
  if (outcome.kind == RunOutcome::Kind::failed) {
    co_return Error{ErrorCode::exited, concat(what, " failed: ", outcome.error_class, ": ", outcome.message)};
  }
  if (outcome.kind == RunOutcome::Kind::buried) {
    co_return Error{ErrorCode::exited, concat(what, " had itself buried: ", outcome.message)};
  }
  co_return Result<void>();
}

/// On a lane of its own, for a job that enqueues others waits for them.
Async<RunOutcome> InlineStore::run_on_lane(const jobs::JobClass& job_class, jobs::JobContext& context) {
  auto ends = make_completion<Result<RunOutcome>>();
  bool begun = false;
  const std::unique_ptr<ExternalLane> lane = runtime_.open_lane("inline job", [&] {
    if (std::exchange(begun, true)) return;
    const jobs::detail::CurrentJob current(context);
    const jobs::RunNext innermost = [&] { return jobs::detail::call_function(job_class, context); };
    ends.completer.complete(jobs::detail::run_inside(middleware_, context, innermost));
  });
  lane->ring();
  Result<RunOutcome> outcome = co_await std::move(ends.completion);
  if (!outcome) co_return RunOutcome::failed("cancelled", std::string(outcome.error().message()));
  co_return std::move(*outcome);
}

}  // namespace dagverk::testing_jobs
