#pragma once

#include "dagverk/base/clock.hpp"

#include <string>

namespace dagverk {

/// Time that several OS processes of one machine agree on: it counts while the machine sleeps, it never jumps, and it
/// starts again at zero with each boot. For leases that live in a file.
///
/// Units:   `since_boot` is the time since the boot that `boot_id` names; instants of different boots do not compare.
/// Threads: all operations may be called from any thread.
class BootClock {
 public:
  BootClock() = default;
  BootClock(const BootClock&) = delete;
  BootClock& operator=(const BootClock&) = delete;
  virtual ~BootClock() = default;

  [[nodiscard]] virtual Duration since_boot() const noexcept = 0;

  /// Names the current boot; another text after each restart of the machine. Valid as long as the clock.
  [[nodiscard]] virtual const std::string& boot_id() const noexcept = 0;
};

/// The machine's own boot clock. A process-wide constant; valid for the program's whole life.
[[nodiscard]] const BootClock& system_boot_clock() noexcept;

}  // namespace dagverk
