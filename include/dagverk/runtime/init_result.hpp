#pragma once

#include "dagverk/runtime/exit_reason.hpp"

#include <cstdint>
#include <utility>

namespace dagverk {

/// What a server's `init` decided. (`void init()` means ok.)
class InitResult {
 public:
  enum class Kind : std::uint8_t { ok, ignore, stop };

  /// Run.
  [[nodiscard]] static InitResult ok() noexcept { return InitResult(Kind::ok, ExitReason::normal); }
  /// Do not run: `start` returns the error `ignored`, the process ends `normal`.
  [[nodiscard]] static InitResult ignore() noexcept { return InitResult(Kind::ignore, ExitReason::normal); }
  /// Do not run: `start` returns the error `exited` with `reason`.
  [[nodiscard]] static InitResult stop(ExitReason reason) noexcept { return InitResult(Kind::stop, std::move(reason)); }

  [[nodiscard]] Kind kind() const noexcept { return kind_; }
  [[nodiscard]] const ExitReason& reason() const noexcept { return reason_; }

 private:
  InitResult(Kind kind, ExitReason reason) noexcept : kind_(kind), reason_(std::move(reason)) {}

  Kind kind_;
  ExitReason reason_;
};

}  // namespace dagverk
