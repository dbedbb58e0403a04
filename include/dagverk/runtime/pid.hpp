#pragma once

#include <cstdint>

namespace dagverk {

namespace detail {
class ProcessCore;
}  // namespace detail

/// The address of one process, for that process' whole life and never for another.
///
/// Semantics: a value. Sending to a process that has ended is defined: a cast is dropped, a call answers `no_process`.
/// Threads:   may be copied and used on any thread.
/// Lifetime:  must not be used after its runtime is destroyed.
class Pid {
 public:
  /// No process. Everything sent to it is treated as sent to a process that has ended.
  constexpr Pid() noexcept = default;
  constexpr Pid(detail::ProcessCore* core, std::uint32_t generation) noexcept : core_(core), generation_(generation) {}

  [[nodiscard]] constexpr explicit operator bool() const noexcept { return core_ != nullptr; }
  friend constexpr bool operator==(const Pid&, const Pid&) noexcept = default;

  /// A number that is unique among the runtime's processes so far; for logs and tables, not for addressing.
  [[nodiscard]] std::uint64_t number() const noexcept;

  [[nodiscard]] constexpr detail::ProcessCore* core() const noexcept { return core_; }
  [[nodiscard]] constexpr std::uint32_t generation() const noexcept { return generation_; }

 private:
  detail::ProcessCore* core_ = nullptr;
  std::uint32_t generation_ = 0;  // odd while the process lives; the slot's next process has another
};

}  // namespace dagverk
