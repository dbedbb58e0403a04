#pragma once

#include "dagverk/log/log_pipeline.hpp"
#include "dagverk/log/log_value.hpp"
#include "dagverk/log/severity.hpp"

#include <initializer_list>
#include <source_location>
#include <string>
#include <string_view>
#include <utility>

namespace dagverk {

/// The front for programs that have no logging library: `log.info("delivered", {{"to", address}, {"attempt", 3}});`.
///
/// Semantics: text and fields are copied, nothing is formatted on the caller.
/// Threads:   any, several at once.
/// Errors:    none; see LogPipeline.
/// Lifetime:  borrows the pipeline.
class Log {
 public:
  using Fields = std::initializer_list<LogValue>;
  using Place = std::source_location;

  explicit Log(LogPipeline& pipeline, std::string name = {}) : pipeline_(&pipeline), name_(std::move(name)) {}

  /// Ask before computing a field that costs something.
  [[nodiscard]] bool wants(LogSeverity severity) const noexcept { return pipeline_->wants(severity); }

  void write(LogSeverity severity, std::string_view text, Fields fields = {},
             const Place& place = Place::current()) const noexcept {
    if (!pipeline_->wants(severity)) return;
    pipeline_->write(severity, name_, text, {fields.begin(), fields.size()},
                     LogSource{place.file_name(), place.function_name(), place.line()});
  }
  void trace(std::string_view text, Fields fields = {}, const Place& place = Place::current()) const noexcept {
    write(LogSeverity::trace, text, fields, place);
  }
  void debug(std::string_view text, Fields fields = {}, const Place& place = Place::current()) const noexcept {
    write(LogSeverity::debug, text, fields, place);
  }
  void info(std::string_view text, Fields fields = {}, const Place& place = Place::current()) const noexcept {
    write(LogSeverity::info, text, fields, place);
  }
  void warning(std::string_view text, Fields fields = {}, const Place& place = Place::current()) const noexcept {
    write(LogSeverity::warning, text, fields, place);
  }
  void error(std::string_view text, Fields fields = {}, const Place& place = Place::current()) const noexcept {
    write(LogSeverity::error, text, fields, place);
  }
  void critical(std::string_view text, Fields fields = {}, const Place& place = Place::current()) const noexcept {
    write(LogSeverity::critical, text, fields, place);
  }

 private:
  LogPipeline* pipeline_;
  std::string name_;
};

}  // namespace dagverk
