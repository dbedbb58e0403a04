#include "dagverk/log/backends/console.hpp"

#include "log/descriptor_text.hpp"

#include <cstdlib>
#include <string_view>
#include <unistd.h>
#include <utility>

namespace dagverk {

namespace {

[[nodiscard]] std::string_view color_of(LogSeverity severity) noexcept {
  switch (severity) {
    case LogSeverity::trace:
    case LogSeverity::debug: return "\x1b[2m";
    case LogSeverity::info: return "";
    case LogSeverity::warning: return "\x1b[33m";
    case LogSeverity::error: return "\x1b[31m";
    case LogSeverity::critical: return "\x1b[1;31m";
  }
  return "";
}

}  // namespace

ConsoleBackend::ConsoleBackend(ConsoleOptions options)
    : options_(options), descriptor_(options.to_stdout ? STDOUT_FILENO : STDERR_FILENO) {}

Result<void> ConsoleBackend::open() {
  switch (options_.color) {
    case ConsoleOptions::Color::always: color_ = true; break;
    case ConsoleOptions::Color::never: color_ = false; break;
    case ConsoleOptions::Color::automatic:
      color_ = ::isatty(descriptor_) == 1 && std::getenv("NO_COLOR") == nullptr;
      break;
  }
  return {};
}

WriteOutcome ConsoleBackend::write(const LogBatch& batch) {
  text_.clear();
  line_ends_.clear();
  for (std::size_t index = 0; index < batch.size(); ++index) {
    const LogLine line = batch[index];
    const std::string_view color = color_ ? color_of(line.severity) : std::string_view();
    text_.append(color);
    batch.format(line, text_);
    if (!color.empty()) text_.append("\x1b[0m");
    text_.push_back('\n');
    line_ends_.push_back(text_.size());
  }
  const detail::TextWritten done = detail::write_text_to(descriptor_, text_, std::chrono::seconds(5));
  WriteOutcome outcome{.written = detail::lines_within(line_ends_, done.bytes)};
  if (done.error != 0) outcome.error = detail::system_error("write to", "the console", done.error);
  return outcome;
}

BackendSpec console_backend(std::string name, ConsoleOptions options) {
  return log_backend<ConsoleBackend>(std::move(name), options);
}

}  // namespace dagverk
