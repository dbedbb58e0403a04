#pragma once

#include "log/record.hpp"

#include "dagverk/base/clock.hpp"
#include "dagverk/log/severity.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace dagverk::detail {

inline constexpr std::size_t chunk_bytes = 64 << 10;  ///< a larger record has a block of its own
inline constexpr std::uint32_t chunk_lines_max = 512;

/// A block of lines, oldest first, that all backends share. Immutable once it is offered to them.
struct LogChunk {
  std::unique_ptr<char[]> bytes;
  std::size_t room = 0;
  std::size_t size = 0;
  std::uint32_t lines = 0;
  std::array<std::uint32_t, log_severity_count> lines_of{};
  Duration to_wall{0};  ///< from the lines' steady stamps to wall time

  [[nodiscard]] std::uint32_t lines_from(LogSeverity least) const noexcept {
    std::uint32_t count = 0;
    for (auto severity = static_cast<std::size_t>(least); severity < log_severity_count; ++severity) {
      count += lines_of[severity];
    }
    return count;
  }

  /// Calls `visit(record)` for each line at or above `least`, except the first `skip` of them, at most `count`.
  template <class Visit>
  void for_each(LogSeverity least, std::uint32_t skip, std::uint32_t count, Visit&& visit) const {
    const char* const end = bytes.get() + size;
    for (const char* at = bytes.get(); at != end && count != 0; at += header_at(at).size) {
      if (header_at(at).severity < static_cast<std::uint8_t>(least)) continue;
      if (skip != 0) {
        --skip;
        continue;
      }
      --count;
      visit(at);
    }
  }
};

}  // namespace dagverk::detail
