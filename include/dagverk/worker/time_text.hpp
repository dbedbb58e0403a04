#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/result.hpp"

#include <string>
#include <string_view>

namespace dagverk::worker {

/// `time` in UTC with milliseconds: `2026-11-21T09:30:00.125Z`.
[[nodiscard]] std::string utc_text(WallTime time);

/// Reads an instant: `2026-11-21T09:30:00Z`, `2026-11-21 09:30+01:00`, `2026-11-21T09:30` (without a zone: local time),
/// or seconds since the Unix epoch. Seconds may have a fraction.
/// Errors: `invalid_argument`, with what is allowed.
[[nodiscard]] Result<WallTime> parse_time(std::string_view text);

}  // namespace dagverk::worker
