#pragma once

// The one header of ours that includes spdlog: for programs that use spdlog already.

#include "dagverk/log/log_pipeline.hpp"

#include <spdlog/logger.h>
#include <spdlog/sinks/sink.h>

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace dagverk {

[[nodiscard]] inline LogSeverity severity_of(spdlog::level::level_enum level) noexcept {
  switch (level) {
    case spdlog::level::trace: return LogSeverity::trace;
    case spdlog::level::debug: return LogSeverity::debug;
    case spdlog::level::info: return LogSeverity::info;
    case spdlog::level::warn: return LogSeverity::warning;
    case spdlog::level::err: return LogSeverity::error;
    default: return LogSeverity::critical;
  }
}

/// A spdlog sink that hands every line to a pipeline. spdlog formats the message first; patterns belong to backends.
///
/// Threads:  any; needs no `_mt` variant, it has no lock.
/// Lifetime: borrows the pipeline.
class SpdlogSink final : public spdlog::sinks::sink {
 public:
  explicit SpdlogSink(LogPipeline& pipeline) noexcept : pipeline_(pipeline) {}

  void log(const spdlog::details::log_msg& message) override {
    const LogSeverity severity = severity_of(message.level);
    if (!pipeline_.wants(severity)) return;
    pipeline_.write(
        severity, std::string_view(message.logger_name.data(), message.logger_name.size()),
        std::string_view(message.payload.data(), message.payload.size()), {},
        LogSource{message.source.filename, message.source.funcname, static_cast<std::uint32_t>(message.source.line)});
  }
  /// Waits at most five seconds. Inside a process it does not wait.
  void flush() override {
    [[maybe_unused]] const Result<void> flushed = pipeline_.flush();  // spdlog has no way to say that it took too long
  }
  void set_pattern(const std::string& /*pattern*/) override {}
  void set_formatter(std::unique_ptr<spdlog::formatter> /*formatter*/) override {}

 private:
  LogPipeline& pipeline_;
};

/// `spdlog::set_default_logger(dagverk::spdlog_logger(*pipeline, "app"));` and every spdlog call goes to the pipeline.
[[nodiscard]] inline std::shared_ptr<spdlog::logger> spdlog_logger(LogPipeline& pipeline, std::string name) {
  return std::make_shared<spdlog::logger>(std::move(name), std::make_shared<SpdlogSink>(pipeline));
}

}  // namespace dagverk
