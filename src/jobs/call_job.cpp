#include "dagverk/jobs/detail/call_job.hpp"

#include "jobs/cut_text.hpp"

#include "dagverk/jobs/detail/run_chain.hpp"

#include <exception>
#include <utility>

namespace dagverk::jobs::detail {

namespace {

/// What a function's own outcome is with what it said to its context.
RunOutcome with_context(RunOutcome outcome, const JobContext& context) {
  if (outcome.kind == RunOutcome::Kind::finished && context.wish()) outcome = *context.wish();
  if (!context.result().empty()) outcome.result = context.result();
  if (outcome.result.size() > result_text_size_limit) outcome.result = cut_text(outcome.result, result_text_size_limit);
  return outcome;
}

}  // namespace

RunOutcome call_function(const JobClass& job_class, JobContext& context) noexcept {
  try {
    return with_context(job_class.function(context), context);
  } catch (const std::exception& error) {
    return failure_of_exception(&error);
  } catch (...) {
    return failure_of_exception(nullptr);
  }
}

Async<RunOutcome> await_function(const JobClass& job_class, AsyncJobContext& context) {
  RunOutcome outcome;
  try {
    Async<RunOutcome> running = job_class.async_function(context);
    outcome = co_await running;
    outcome = with_context(std::move(outcome), context);
  } catch (const std::exception& error) {
    outcome = failure_of_exception(&error);
  } catch (...) {
    outcome = failure_of_exception(nullptr);
  }
  co_return outcome;
}

}  // namespace dagverk::jobs::detail
