#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/log/log_value.hpp"
#include "dagverk/log/severity.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace dagverk {

/// Where a line was logged. The texts must live as long as the program, as those of `std::source_location` do.
struct LogSource {
  const char* file = nullptr;  ///< null: unknown
  const char* function = nullptr;
  std::uint32_t line = 0;
};

/// The fields of a line, read one after the other from the bytes in which they were kept.
class LogFields {
 public:
  LogFields() = default;
  LogFields(const char* bytes, std::uint32_t count) noexcept : bytes_(bytes), left_(count) {}

  [[nodiscard]] std::uint32_t left() const noexcept { return left_; }
  /// The next field; nothing after the last.
  [[nodiscard]] std::optional<LogValue> next() noexcept;

 private:
  const char* bytes_ = nullptr;
  std::uint32_t left_ = 0;
};

/// One log line as a backend sees it. Texts are bytes as the caller gave them: maybe not UTF-8, maybe with control
/// characters; formats take care of both.
///
/// Lifetime: refers to its batch.
struct LogLine {
  WallTime time;
  LogSeverity severity = LogSeverity::info;
  bool cut = false;             ///< was longer than `LogOptions::line_bytes_max`
  std::uint32_t thread_id = 0;  ///< the kernel's number of the thread that logged
  std::string_view name;        ///< of the logger; may be empty
  std::string_view text;        ///< the event's name or the message
  LogFields fields;
  LogSource source;
};

/// What is appended to the text of a line that was cut.
inline constexpr std::string_view log_cut_marker = " (truncated)";

}  // namespace dagverk
