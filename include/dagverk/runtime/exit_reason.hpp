#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace dagverk {

/// Why a process ended, as a value that links carry and monitors report.
///
/// Semantics: `normal`, `shutdown` and `shutdown_with(…)` are *normal-ish*: a transient child is not restarted after
///            them. `kill` cannot be trapped; those linked to the killed see `killed`. An exception that left a
///            callback becomes `error(type, message)`.
/// Threads:   a value; copies share one immutable text.
class ExitReason {
 public:
  enum class Kind : std::uint8_t {
    normal,         ///< did what it had to do
    shutdown,       ///< was asked to stop by its supervisor
    shutdown_with,  ///< as `shutdown`, with a word more
    kill,           ///< the untrappable request
    killed,         ///< ended by `kill`
    noproc,         ///< there was no such process
    error,          ///< an exception left a callback
    custom,         ///< the program's own reason
  };

  constexpr ExitReason() noexcept = default;  ///< `normal`

  static const ExitReason normal;
  static const ExitReason shutdown;
  static const ExitReason kill;
  static const ExitReason killed;
  static const ExitReason noproc;

  [[nodiscard]] static ExitReason shutdown_with(std::string text);
  [[nodiscard]] static ExitReason error(std::string type, std::string message);
  [[nodiscard]] static ExitReason custom(std::string text);

  [[nodiscard]] Kind kind() const noexcept { return kind_; }

  /// True for `normal`, `shutdown` and `shutdown_with`.
  [[nodiscard]] bool normal_ish() const noexcept {
    return kind_ == Kind::normal || kind_ == Kind::shutdown || kind_ == Kind::shutdown_with;
  }

  /// The exception's type for `error`, else empty.
  [[nodiscard]] std::string_view type() const noexcept;
  /// The exception's message for `error`, the text for `shutdown_with` and `custom`, else empty.
  [[nodiscard]] std::string_view message() const noexcept;
  /// For people: `normal`, `error std::runtime_error: disk on fire`.
  [[nodiscard]] std::string to_string() const;

  friend bool operator==(const ExitReason& a, const ExitReason& b) noexcept {
    return a.kind_ == b.kind_ && a.type() == b.type() && a.message() == b.message();
  }

 private:
  struct Text {
    std::string type;
    std::string message;
  };

  constexpr explicit ExitReason(Kind kind) noexcept : kind_(kind) {}
  ExitReason(Kind kind, std::string type, std::string message);

  Kind kind_ = Kind::normal;
  std::shared_ptr<const Text> text_;  // shared by every copy that links and monitors carry; immutable
};

inline constinit const ExitReason ExitReason::normal{Kind::normal};
inline constinit const ExitReason ExitReason::shutdown{Kind::shutdown};
inline constinit const ExitReason ExitReason::kill{Kind::kill};
inline constinit const ExitReason ExitReason::killed{Kind::killed};
inline constinit const ExitReason ExitReason::noproc{Kind::noproc};

}  // namespace dagverk
