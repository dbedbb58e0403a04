#pragma once

#include "dagverk/base/clock.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace dagverk::jobs {

/// How instants are written into payloads. Reading accepts both, whatever is chosen here.
enum class TimestampFormat : std::uint8_t {
  seconds,  ///< decimal seconds with a fraction, `1795219126.448`: every Sidekiq reads it correctly; the default
  millis,   ///< integer milliseconds, as Sidekiq 8 writes: 6 and 7 misread it
};

/// `time` as decimal seconds since the Unix epoch, always with a fraction (`1795219126.0`): the shortest text that
/// names the double nearest to `time`, so that it survives a reader that goes through doubles. Used for payload members
/// and for the scores of sorted sets. Today's doubles resolve about 0.24 µs.
[[nodiscard]] std::string epoch_seconds_text(WallTime time);

/// `time` as decimal seconds with up to nine fraction digits (at least one): nothing is lost. For our own records.
[[nodiscard]] std::string exact_epoch_seconds_text(WallTime time);

/// `time` in the chosen format.
[[nodiscard]] std::string wire_time_text(WallTime time, TimestampFormat format);

/// `time` in UTC with milliseconds, for people: `2026-11-21T09:30:00.125Z`.
[[nodiscard]] std::string utc_text(WallTime time);

/// Reads decimal seconds: a sorted set's score, or one of the texts above. Digits beyond the ninth of the fraction are
/// cut off. None when the text is no JSON number, or is outside the years that `WallTime` holds (1677 to 2262).
[[nodiscard]] std::optional<WallTime> parse_epoch_seconds(std::string_view text);

/// Reads a payload's number: with a fraction or exponent, seconds; an integer of at least 1e11, milliseconds; a smaller
/// one, seconds. None in the same cases as `parse_epoch_seconds`.
[[nodiscard]] std::optional<WallTime> parse_wire_time(std::string_view number);

}  // namespace dagverk::jobs
