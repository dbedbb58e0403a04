#pragma once

#include "command.hpp"
#include "session.hpp"

#include "dagverk/base/result.hpp"
#include "dagverk/jobs/cron_entry.hpp"

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

/// Jobs that recur as commands find and show them.
namespace dagverk::app {

/// The entry of that name. Errors: `not_found`, with the nearest name there is.
[[nodiscard]] Result<jobs::CronEntry> cron_named(Session& session, std::string_view name);

/// Its next slots from `now` on, at most `count`; none while it is paused, or when its schedule says nothing.
[[nodiscard]] std::vector<WallTime> next_slots(const jobs::CronEntry& entry, WallTime now, std::size_t count);

/// `by ann since 2026-11-21T…Z: why`; `-` when it is not paused.
[[nodiscard]] std::string pause_text(const jobs::CronEntry& entry);

/// What `cron list` and `cron show` say of an entry.
[[nodiscard]] JsonObject cron_json(const jobs::CronEntry& entry, WallTime now);

}  // namespace dagverk::app
