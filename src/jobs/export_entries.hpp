#pragma once

#include "jobs/json_text.hpp"

#include "dagverk/base/result.hpp"
#include "dagverk/jobs/cron_entry.hpp"
#include "dagverk/jobs/limits.hpp"

/// The lines of limits and of cron entries in an export.
namespace dagverk::jobs {

// The walk is at the line's first member, and is left at its end; what is wrong with the text is the caller's to ask.
// Errors: `malformed_job`, with what is wrong.
[[nodiscard]] Result<Limit> read_limit(json::Walk& walk);
/// Blocks, as CronSchedule::parse.
[[nodiscard]] Result<CronEntry> read_cron(json::Walk& walk);

}  // namespace dagverk::jobs
