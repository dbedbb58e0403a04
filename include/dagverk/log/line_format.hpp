#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/log/log_line.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dagverk {

/// How a backend writes a line down: by a pattern, or as a JSON object. Without the newline.
///
/// Semantics: a pattern is text with these in it: `{time}` (UTC, microseconds), `{level}`, `{name}`, `{message}`,
///            `{fields}` (each as ` name=value`), `{source}` (`file:line`), `{function}`, `{thread}`; `{{` is a brace.
///            What came from callers is escaped: control characters as `\n` or `\x1b`, invalid UTF-8 as U+FFFD, so that
///            no value forges a line. JSON: `{"time":…,"level":…,"logger":…,"message":…,"fields":{…}}`, and `"source"`,
///            `"thread"`, `"cut"` where they are known.
/// Threads:   a value; formatting is const.
class LineFormat {
 public:
  /// `{time} {level} [{name}] {message}{fields}`
  LineFormat();

  /// Errors: `configuration` naming the place and what is known there.
  [[nodiscard]] static Result<LineFormat> pattern(std::string_view pattern);
  [[nodiscard]] static LineFormat json();
  /// `{message}{fields}` alone, for far ends that stamp lines themselves.
  [[nodiscard]] static LineFormat message_only();

  void append(const LogLine& line, std::string& out) const;

  /// As `append`, into at most `size` bytes; returns how many. Async-signal-safe.
  [[nodiscard]] std::size_t write_to(const LogLine& line, char* out, std::size_t size) const noexcept;

  enum class Part : std::uint8_t { literal, time, level, name, message, fields, source, function, thread };
  struct Piece {
    Part part;
    std::string literal;
  };

 private:
  template <class Out>
  void format(const LogLine& line, Out& out) const;
  template <class Out>
  void format_json(const LogLine& line, Out& out) const;

  bool json_ = false;
  std::vector<Piece> pieces_;
};

/// `2026-11-21T09:30:00.125000Z`
[[nodiscard]] std::string log_time_text(WallTime time);

}  // namespace dagverk
