#include "dagverk/base/boot_clock.hpp"

#include "dagverk/base/never_destroyed.hpp"

#include <ctime>
#include <fstream>

namespace dagverk {

namespace {

class SystemBootClock final : public BootClock {
 public:
  SystemBootClock() {
    std::ifstream file("/proc/sys/kernel/random/boot_id");
    std::getline(file, boot_id_);
    // Without /proc all boots look alike; leases then rest on the clock alone, which is still safe: it only ever starts
    // lower.
    if (boot_id_.empty()) boot_id_ = "unknown";
  }

  [[nodiscard]] Duration since_boot() const noexcept override {
    std::timespec now{};
    ::clock_gettime(CLOCK_BOOTTIME, &now);
    return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
  }

  [[nodiscard]] const std::string& boot_id() const noexcept override { return boot_id_; }

 private:
  std::string boot_id_;
};

}  // namespace

const BootClock& system_boot_clock() noexcept {
  static NeverDestroyed<const SystemBootClock> clock;  // other threads still look at it during exit()
  return *clock;
}

}  // namespace dagverk
