#pragma once

#include <cstdint>
#include <string>
#include <utility>

namespace dagverk::jobs {

/// How one run of a job ended.
struct RunOutcome {
  enum class Kind : std::uint8_t {
    finished,    ///< did what it had to do
    failed,      ///< see `error_class` and `message`
    given_back,  ///< ended before its time by a node that stops; does not count as an attempt
  };

  Kind kind = Kind::finished;
  std::string error_class = {};
  std::string message = {};
  std::string result = {};  ///< a short text for the journal

  [[nodiscard]] static RunOutcome finished(std::string result = {}) {
    return {.kind = Kind::finished, .result = std::move(result)};
  }
  [[nodiscard]] static RunOutcome failed(std::string error_class, std::string message) {
    return {.kind = Kind::failed, .error_class = std::move(error_class), .message = std::move(message)};
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
inline constexpr const char* process_exited = "JobProcessExited";  ///< the process that ran it was ended from outside
}  // namespace error_class

}  // namespace dagverk::jobs
