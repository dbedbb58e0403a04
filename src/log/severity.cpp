#include "dagverk/log/severity.hpp"

#include "dagverk/base/concat.hpp"

namespace dagverk {

std::string_view to_string(LogSeverity severity) noexcept {
  switch (severity) {
    case LogSeverity::trace: return "trace";
    case LogSeverity::debug: return "debug";
    case LogSeverity::info: return "info";
    case LogSeverity::warning: return "warning";
    case LogSeverity::error: return "error";
    case LogSeverity::critical: return "critical";
  }
  return "critical";
}

LogSeverity severity_of(LogLevel level) noexcept {
  switch (level) {
    case LogLevel::debug: return LogSeverity::debug;
    case LogLevel::info: return LogSeverity::info;
    case LogLevel::warning: return LogSeverity::warning;
    case LogLevel::error: return LogSeverity::error;
  }
  return LogSeverity::error;
}

Result<LogSeverity> parse_severity(std::string_view text) {
  for (std::size_t index = 0; index < log_severity_count; ++index) {
    const auto severity = static_cast<LogSeverity>(index);
    if (text == to_string(severity)) return severity;
  }
  if (text == "warn") return LogSeverity::warning;
  if (text == "err") return LogSeverity::error;
  return Error(ErrorCode::configuration,
               concat("log level \"", text, "\" is unknown: trace, debug, info, warning, error or critical"));
}

}  // namespace dagverk
