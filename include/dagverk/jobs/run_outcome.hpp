#pragma once

#include "dagverk/base/clock.hpp"

#include <cstdint>
#include <string>
#include <utility>

namespace dagverk::jobs {

/// How one run of a job ended.
struct RunOutcome {
  enum class Kind : std::uint8_t {
    finished,    ///< did what it had to do
    failed,      ///< see `error_class` and `message`
    snoozed,     ///< is to run again after `delay`; has not failed
    given_back,  ///< ended before its time by a node that stops; does not count as an attempt
    discarded,   ///< is to be dropped, without a retry and without the dead set; `message` says why
    buried,      ///< is to go to the dead set at once, whatever retries are left; `message` says why
    cancelled,   ///< somebody had it cancelled, and it ended because of that
  };

  Kind kind = Kind::finished;
  std::string error_class = {};
  std::string message = {};  ///< of a failure; of `discarded` and `buried`: why
  std::string result = {};   ///< a short text for the journal
  Duration delay{0};         ///< of a snooze
  bool completed = false;    ///< a transaction of its own may have stored its end

  [[nodiscard]] static RunOutcome finished(std::string result = {}) {
    return {.kind = Kind::finished, .result = std::move(result)};
  }
  [[nodiscard]] static RunOutcome failed(std::string error_class, std::string message) {
    return {.kind = Kind::failed, .error_class = std::move(error_class), .message = std::move(message)};
  }
  [[nodiscard]] static RunOutcome snoozed(Duration delay) { return {.kind = Kind::snoozed, .delay = delay}; }
  [[nodiscard]] static RunOutcome discarded(std::string why = {}) {
    return {.kind = Kind::discarded, .message = std::move(why)};
  }
  [[nodiscard]] static RunOutcome buried(std::string why = {}) {
    return {.kind = Kind::buried, .message = std::move(why)};
  }
  [[nodiscard]] static RunOutcome given_back() { return {.kind = Kind::given_back}; }
};

/// The error classes of failures that we state ourselves. A job's own exceptions are named by their C++ type.
namespace error_class {
inline constexpr const char* arguments = "ArgumentError";        ///< they do not fit the job's parameters
inline constexpr const char* unknown_class = "UnknownJobClass";  ///< this node does not define it
inline constexpr const char* timeout = "JobTimeout";             ///< it ran for longer than its class allows
inline constexpr const char* command_failed = "CommandFailed";   ///< exited with another code than 0, or by a signal
inline constexpr const char* command_not_started = "CommandNotStarted";  ///< missing, not executable, refused arguments
inline constexpr const char* buried = "JobBuried";                       ///< it asked for the dead set itself
inline constexpr const char* process_exited = "JobProcessExited";  ///< the process that ran it was ended from outside
}  // namespace error_class

}  // namespace dagverk::jobs
