#pragma once

#include "dagverk/base/result.hpp"

#include <cstddef>
#include <string>
#include <string_view>
#include <variant>

namespace dagverk {

/// The handler is never passed over while the hub has room: handlers with this rule advance together over one bounded
/// buffer of the hub, at the speed of the slowest. When that buffer is full, new events are dropped for them, counted.
struct WaitWhenFull {
  friend bool operator==(const WaitWhenFull&, const WaitWhenFull&) noexcept = default;
};

/// The handler has a place of its own among the events: the newest `events_max` that it has not handled wait for it,
/// older ones are dropped, counted. Units: events, 1 or more. With 1, the newest event waits while another is handled.
struct KeepNewest {
  std::size_t events_max;
  friend bool operator==(const KeepNewest&, const KeepNewest&) noexcept = default;
};

inline constexpr std::size_t keep_newest_default = 10'000;

/// What becomes of events when a handler is slower than they come; one per handler, and no handler's rule touches
/// another handler with another rule. A closed set: code that handles rules is told by the compiler of each new one.
using OverflowRule = std::variant<KeepNewest, WaitWhenFull>;

/// Errors: `configuration` for a bound of zero.
[[nodiscard]] Result<void> check(const OverflowRule& rule, std::string_view handler_name);

/// `keep_newest(10000)` or `wait`.
[[nodiscard]] std::string to_string(const OverflowRule& rule);

}  // namespace dagverk
