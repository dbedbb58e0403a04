#include "dagverk/base/log.hpp"

#include "dagverk/base/clock.hpp"
#include "dagverk/base/never_destroyed.hpp"

#include <atomic>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <unistd.h>

namespace dagverk {

std::string_view to_string(LogLevel level) noexcept {
  switch (level) {
    case LogLevel::debug: return "debug";
    case LogLevel::info: return "info";
    case LogLevel::warning: return "warning";
    case LogLevel::error: return "error";
  }
  return "error";
}

namespace {

class NullLogger final : public Logger {
 public:
  void write(LogLevel /*level*/, std::string_view /*event*/, std::span<const LogField> /*fields*/) noexcept override {}
};

/// Appends `text` in double quotes; quotes, backslashes and control characters are escaped, so that no value can forge
/// a line.
void append_quoted(std::string& line, std::string_view text) {
  constexpr char digits[] = "0123456789abcdef";
  line.push_back('"');
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      line.push_back('\\');
      line.push_back(c);
    } else if (c == '\n') {
      line.append("\\n");
    } else if (byte < 0x20U || byte == 0x7fU) {
      line.append("\\x");
      line.push_back(digits[byte >> 4U]);
      line.push_back(digits[byte & 0xfU]);
    } else {
      line.push_back(c);
    }
  }
  line.push_back('"');
}

bool is_plain(std::string_view text) noexcept {
  for (const char c : text) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
                       c == '-' || c == '_' || c == ':' || c == '/';
    if (!plain) return false;
  }
  return !text.empty();
}

void append_time(std::string& line) {
  const WallTime now = system_clock().wall_now();
  const auto since_epoch = now.time_since_epoch();
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since_epoch);
  const auto millis = std::chrono::duration_cast<std::chrono::milliseconds>(since_epoch - seconds);
  const auto time = static_cast<std::time_t>(seconds.count());
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  char text[64];
  const int size =
      std::snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", parts.tm_year + 1900, parts.tm_mon + 1,
                    parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, static_cast<int>(millis.count()));
  line.append(text, static_cast<std::size_t>(size));
}

std::atomic<LogLevel> stderr_level{LogLevel::warning};

class StderrLogger final : public Logger {
 public:
  void write(LogLevel level, std::string_view event, std::span<const LogField> fields) noexcept override {
    if (level < stderr_level.load(std::memory_order_relaxed)) return;
    try {
      std::string line;
      append_time(line);
      line.append(" ").append(to_string(level)).append(" ").append(event);
      for (const LogField& field : fields) {
        line.append(" ").append(field.name).append("=");
        if (is_plain(field.value)) {
          line.append(field.value);
        } else {
          append_quoted(line, field.value);
        }
      }
      line.push_back('\n');
      // One write per line keeps lines of several threads and processes whole; a failing standard error has no better
      // place.
      [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
    } catch (...) {  // NOLINT(bugprone-empty-catch): out of memory while logging; nobody above can do better
    }
  }
};

}  // namespace

Logger& null_logger() noexcept {
  static NeverDestroyed<NullLogger> logger;  // other threads still write to it during exit()
  return *logger;
}

Logger& stderr_logger() noexcept {
  static NeverDestroyed<StderrLogger> logger;  // as above
  return *logger;
}

void set_stderr_log_level(LogLevel level) noexcept { stderr_level.store(level, std::memory_order_relaxed); }

}  // namespace dagverk
