#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/error.hpp"

#include <cstddef>
#include <string_view>
#include <vector>

namespace dagverk::detail {

struct TextWritten {
  std::size_t bytes = 0;
  int error = 0;  ///< errno; 0 when everything was written
};

/// Writes all of `text`, also to a descriptor that does not block, whose reader gets `patience` each time it is full. A
/// reader that has gone is an error, not a SIGPIPE.
[[nodiscard]] TextWritten write_text_to(int descriptor, std::string_view text, Duration patience) noexcept;

/// How many of the lines that end at `line_ends` lie within `bytes`.
[[nodiscard]] std::size_t lines_within(const std::vector<std::size_t>& line_ends, std::size_t bytes) noexcept;

/// `cannot <doing> <what>: No space left on device`
[[nodiscard]] Error system_error(std::string_view doing, std::string_view what, int error);

}  // namespace dagverk::detail
