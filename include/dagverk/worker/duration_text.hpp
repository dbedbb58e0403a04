#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/result.hpp"

#include <string>
#include <string_view>

namespace dagverk::worker {

/// Reads a duration as people write it: whole numbers with units, the larger unit first, each at most once: `250ms`,
/// `30s`, `5m`, `1h30m`, `7d`. A number without a unit is refused, since nobody can know what was meant.
///
/// Units:  d (24 h), h, m (minutes), s, ms.
/// Errors: `invalid_argument`, with what is allowed but without the text itself, which the caller shows in its own way.
[[nodiscard]] Result<Duration> parse_duration(std::string_view text);

/// `duration` in the same form, cut to milliseconds: `1h30m`, `250ms`, `0s`. Negative ones begin with `-`.
[[nodiscard]] std::string duration_text(Duration duration);

}  // namespace dagverk::worker
