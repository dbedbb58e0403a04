#pragma once

#include "dagverk/base/clock.hpp"

#include <optional>
#include <string_view>

namespace dagverk::detail {

/// An HTTP date in any of the three forms of RFC 9110, 5.6.7; nothing when it is none.
[[nodiscard]] std::optional<WallTime> http_date(std::string_view text);

/// How long a `Retry-After` (RFC 9110, 10.2.3) asks to wait, as seconds or as a date; zero when the date has passed or
/// the text is neither. At most a year.
[[nodiscard]] Duration retry_after(std::string_view text, WallTime now);

}  // namespace dagverk::detail
