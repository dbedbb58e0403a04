#pragma once

#include "dagverk/base/log.hpp"
#include "dagverk/base/result.hpp"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace dagverk {

/// How serious a log line is. spdlog's levels under spdlog's names; `LogLevel` has the four that our own code uses.
enum class LogSeverity : std::uint8_t { trace, debug, info, warning, error, critical };

inline constexpr std::size_t log_severity_count = 6;

[[nodiscard]] std::string_view to_string(LogSeverity severity) noexcept;
[[nodiscard]] LogSeverity severity_of(LogLevel level) noexcept;

/// Reads `trace`, `debug`, `info`, `warning` (or `warn`), `error` (or `err`), `critical`. Errors: `configuration`, with
/// the list of what is known.
[[nodiscard]] Result<LogSeverity> parse_severity(std::string_view text);

}  // namespace dagverk
