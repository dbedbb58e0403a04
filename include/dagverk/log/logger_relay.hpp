#pragma once

#include "dagverk/base/log.hpp"

#include <atomic>

namespace dagverk {

/// A `Logger` that passes lines on to another one: give it to a runtime, then let it relay to the pipeline that runs on
/// that runtime, and back to standard error before the pipeline goes.
///
/// Threads:  any.
/// Lifetime: the target must outlive the calls that are under way when it is replaced.
class LoggerRelay final : public Logger {
 public:
  explicit LoggerRelay(Logger& target = stderr_logger()) noexcept : target_(&target) {}

  void relay_to(Logger& target) noexcept { target_.store(&target, std::memory_order_release); }

  void write(LogLevel level, std::string_view event, std::span<const LogField> fields) noexcept override {
    target_.load(std::memory_order_acquire)->write(level, event, fields);
  }

 private:
  std::atomic<Logger*> target_;
};

}  // namespace dagverk
