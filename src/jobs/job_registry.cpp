#include "dagverk/jobs/job_registry.hpp"

#include "jobs/command_line.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_names.hpp"

#include <utility>

namespace dagverk::jobs {

namespace {

thread_local JobContext* running_job = nullptr;

Result<void> check_class(const JobClass& job_class) {
  if (auto name = check_class_name(job_class.name); !name) return name.error();
  if (auto queue = check_queue_name(job_class.options.queue); !queue) return queue.error();
  if (auto retry = check_retry_policy(job_class.options.retry); !retry) return retry.error();
  if (job_class.options.timeout < Duration::zero()) {
    return Error{ErrorCode::configuration, "timeout must not be negative"};
  }
  return job_class.command ? check_command(*job_class.command) : Result<void>();
}

}  // namespace

JobContext* current_job() noexcept { return running_job; }

namespace detail {

CurrentJob::CurrentJob(JobContext& context) noexcept : before_(std::exchange(running_job, &context)) {}
CurrentJob::~CurrentJob() { running_job = before_; }

RunOutcome outcome_of(const Result<void>& result) {
  if (result) return RunOutcome::finished();
  return RunOutcome::failed(concat("Error::", to_string(result.error().code())), std::string(result.error().message()));
}

}  // namespace detail

// NOLINTNEXTLINE(performance-unnecessary-value-param): it is moved into the map, two lines from the end
JobRegistry& JobRegistry::add(JobClass job_class) {
  if (mistake_) return *this;
  if (const Result<void> checked = check_class(job_class); !checked) {
    mistake_ =
        Error(ErrorCode::configuration, concat("job class \"", job_class.name, "\": ", checked.error().message()));
    return *this;
  }
  std::string name = job_class.name;
  if (!classes_.try_emplace(name, std::move(job_class)).second) {
    mistake_ = Error(ErrorCode::configuration, concat("job class \"", name, "\" is defined twice"));
  }
  return *this;
}

Result<void> JobRegistry::check() const {
  if (mistake_) return *mistake_;
  return {};
}

const JobClass* JobRegistry::find(std::string_view name) const noexcept {
  const auto found = classes_.find(name);
  return found == classes_.end() ? nullptr : &found->second;
}

std::vector<const JobClass*> JobRegistry::classes() const {
  std::vector<const JobClass*> all;
  all.reserve(classes_.size());
  for (const auto& [name, job_class] : classes_) all.push_back(&job_class);
  return all;
}

bool JobRegistry::has_commands() const noexcept {
  for (const auto& [name, job_class] : classes_) {
    if (job_class.command) return true;
  }
  return false;
}

}  // namespace dagverk::jobs
