#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/stage/overflow.hpp"

#include <cstddef>
#include <string>
#include <string_view>
#include <variant>

namespace dagverk {

inline constexpr std::size_t keep_newest_default = 10'000;

/// What becomes of events when a handler is slower than they come; one per handler, and no handler's rule touches
/// another handler with another rule. Handlers with the rule `wait` advance together over one bounded buffer of the
/// hub; when that is full, new events are dropped for them, counted. With keep_newest, what a handler has in hand
/// counts as waiting. A closed set: code that handles rules is told by the compiler of each new one.
using OverflowRule = std::variant<KeepNewest, WaitWhenFull>;

/// Errors: `configuration` for a bound of zero.
[[nodiscard]] Result<void> check(const OverflowRule& rule, std::string_view handler_name);

/// `keep_newest(10000)` or `wait`.
[[nodiscard]] std::string to_string(const OverflowRule& rule);

}  // namespace dagverk
