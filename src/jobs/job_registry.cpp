#include "dagverk/jobs/job_registry.hpp"

#include "jobs/command_line.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_names.hpp"
#include "dagverk/jobs/limits.hpp"
#include "dagverk/jobs/store_bounds.hpp"
#include "dagverk/runtime/completion.hpp"
#include "dagverk/runtime/detail/process_value.hpp"
#include "dagverk/runtime/this_process.hpp"

#include <algorithm>
#include <utility>

namespace dagverk::jobs {

namespace {

thread_local JobContext* running_job = nullptr;
constexpr char running_job_key = 0;  // its address names what a process' value is

Result<void> check_class(const JobClass& job_class) {
  if (auto name = check_class_name(job_class.name); !name) return name.error();
  if (auto queue = check_queue_name(job_class.options.queue); !queue) return queue.error();
  if (auto retry = check_retry_policy(job_class.options.retry); !retry) return retry.error();
  if (job_class.options.timeout < Duration::zero()) {
    return Error{ErrorCode::configuration, "timeout must not be negative"};
  }
  if (job_class.options.expires_in < Duration::zero()) {
    return Error{ErrorCode::configuration, "expires_in must not be negative"};
  }
  if (job_class.options.unique) {
    UniqueLock lock = *job_class.options.unique;
    if (lock.key.empty()) lock.key = unique_key(job_class.name, "[]");
    if (auto good = check(lock); !good) return Error{ErrorCode::configuration, std::string(good.error().message())};
  }
  if (!job_class.options.limit.empty()) {
    if (auto limit = check_limit_name(LimitScope::key, job_class.options.limit); !limit) return limit.error();
  }
  return job_class.command ? check_command(*job_class.command) : Result<void>();
}

}  // namespace

JobContext* current_job() noexcept {
  if (running_job != nullptr) return running_job;
  return static_cast<JobContext*>(dagverk::detail::process_value(&running_job_key));
}

Async<bool> AsyncJobContext::sleep(Duration duration) {
  if (duration > Duration::zero() && !stop_requested()) {
    CompletionPair<Result<bool>> wake = make_completion<Result<bool>>();
    Completer<Result<bool>> completer = std::move(wake.completer);
    const std::stop_callback on_stop(stop_token(), [&completer] { completer.complete(true); });
    const Result<bool> woken = co_await std::move(wake.completion).within(duration);
    static_cast<void>(woken.has_value());  // a timeout is what was asked for
  }
  co_return !stop_requested();
}

namespace detail {

CurrentJob::CurrentJob(JobContext& context) noexcept : before_(std::exchange(running_job, &context)) {}
CurrentJob::~CurrentJob() { running_job = before_; }

CurrentProcessJob::CurrentProcessJob(JobContext& context) {
  dagverk::detail::set_process_value(&running_job_key, &context);
}
CurrentProcessJob::~CurrentProcessJob() {
  // The frame that holds this may be destroyed when the process is gone, and its value with it.
  if (this_process::inside()) dagverk::detail::set_process_value(&running_job_key, nullptr);
}

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

JobRegistry& JobRegistry::add_cron(CronSpec spec, std::string job_class, Result<std::string> args_json,
                                   std::string origin) {
  if (mistake_) return *this;
  CronEntry entry;
  entry.name = std::move(spec.name);
  entry.schedule = std::move(spec.schedule);
  entry.zone = std::move(spec.zone);
  entry.queue = spec.queue.empty() ? "default" : spec.queue;
  entry.class_name = std::move(job_class);
  entry.missed = spec.missed;
  entry.origin = std::move(origin);
  if (args_json) entry.args_json = std::move(*args_json);
  const Result<void> checked = args_json ? check_cron(entry) : Result<void>(args_json.error());
  if (!checked) {
    mistake_ = Error(ErrorCode::configuration, concat("cron entry \"", entry.name, "\": ", checked.error().message()));
    return *this;
  }
  entry.queue = std::move(spec.queue);
  std::string name = entry.name;
  if (!cron_.try_emplace(name, std::move(entry)).second) {
    mistake_ = Error(ErrorCode::configuration, concat("cron entry \"", name, "\" is defined twice"));
  }
  return *this;
}

std::vector<CronEntry> JobRegistry::cron_entries() const {
  std::vector<CronEntry> entries;
  for (const auto& [name, entry] : cron_) {
    CronEntry& each = entries.emplace_back(entry);
    if (!each.queue.empty()) continue;
    const JobClass* const known = find(each.class_name);
    each.queue = known != nullptr ? known->options.queue : "default";
  }
  return entries;
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
  return std::ranges::any_of(classes_, [](const auto& entry) { return entry.second.command.has_value(); });
}

bool JobRegistry::has_functions() const noexcept {
  return std::ranges::any_of(classes_, [](const auto& entry) { return entry.second.function != nullptr; });
}

}  // namespace dagverk::jobs
