#include "dagverk/jobs/cron_entry.hpp"

#include "dagverk/jobs/arguments.hpp"
#include "dagverk/jobs/cron_schedule.hpp"
#include "dagverk/jobs/store_bounds.hpp"

namespace dagverk::jobs {

Result<void> check_cron(const CronEntry& entry) {
  if (auto bounds = check(entry); !bounds) return bounds;
  if (auto arguments = JobArguments::parse(entry.args_json, entry.class_name); !arguments) return arguments.error();
  if (auto schedule = CronSchedule::parse(entry.schedule, entry.zone); !schedule) return schedule.error();
  return {};
}

std::string_view to_string(MissedRuns rule) noexcept {
  switch (rule) {
    case MissedRuns::skip: return "skip";
    case MissedRuns::once: return "once";
    case MissedRuns::all: return "all";
  }
  return "unknown";
}

std::optional<MissedRuns> missed_runs_from_text(std::string_view text) noexcept {
  for (const MissedRuns rule : {MissedRuns::skip, MissedRuns::once, MissedRuns::all}) {
    if (to_string(rule) == text) return rule;
  }
  return std::nullopt;
}

}  // namespace dagverk::jobs
