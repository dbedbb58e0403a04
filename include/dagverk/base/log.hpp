#pragma once

#include "dagverk/base/concat.hpp"

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

namespace dagverk {

enum class LogLevel : std::uint8_t {
  debug,    ///< everything else
  info,     ///< life-cycle changes
  warning,  ///< degraded, recovering alone
  error,    ///< a person should look
};

[[nodiscard]] std::string_view to_string(LogLevel level) noexcept;

/// One field of a log event: a name and its value as text.
struct LogField {
  template <class Value>
  LogField(std::string_view field_name, const Value& field_value) : name(field_name), value(concat(field_value)) {}

  std::string_view name;
  std::string value;
};

/// Where log events go. An event is a name (`noun.past_tense`) with fields.
///
/// Threads: `write` may be called from any thread, several at once.
/// Errors:  `write` never throws; a sink that cannot write counts and goes on.
class Logger {
 public:
  Logger() = default;
  Logger(const Logger&) = delete;
  Logger& operator=(const Logger&) = delete;
  virtual ~Logger() = default;

  virtual void write(LogLevel level, std::string_view event, std::span<const LogField> fields) noexcept = 0;

  void debug(std::string_view event, std::initializer_list<LogField> fields = {}) {
    write(LogLevel::debug, event, {fields.begin(), fields.size()});
  }
  void info(std::string_view event, std::initializer_list<LogField> fields = {}) {
    write(LogLevel::info, event, {fields.begin(), fields.size()});
  }
  void warning(std::string_view event, std::initializer_list<LogField> fields = {}) {
    write(LogLevel::warning, event, {fields.begin(), fields.size()});
  }
  void error(std::string_view event, std::initializer_list<LogField> fields = {}) {
    write(LogLevel::error, event, {fields.begin(), fields.size()});
  }
};

/// Discards everything. Valid for the program's whole life.
[[nodiscard]] Logger& null_logger() noexcept;

/// Writes one line per event at or above `level` to standard error, control characters escaped:
/// `2026-11-21T09:30:00.125Z warning process.stuck name="uploader" since_ms=104`.
/// Valid for the program's whole life. `set_stderr_log_level` moves its threshold (initially `warning`).
[[nodiscard]] Logger& stderr_logger() noexcept;
void set_stderr_log_level(LogLevel level) noexcept;

}  // namespace dagverk
