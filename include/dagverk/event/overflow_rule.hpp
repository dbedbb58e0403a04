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
/// hub; when that is full, new events are dropped for them, counted. With the other rules, what a handler has in hand
/// counts as waiting. keep_oldest and sample are the stages' rules: a sample is chosen of all that is published while
/// the handler is there, counts the others as `sampled`, and copies what it chooses, so that a few chosen events do not
/// keep whole batches. A closed set: code that handles rules is told by the compiler of each new one.
using OverflowRule = std::variant<KeepNewest, WaitWhenFull, KeepOldest, Sample>;

/// Errors: `configuration` for a bound of zero, and for a sample of one of 0.
[[nodiscard]] Result<void> check(const OverflowRule& rule, std::string_view handler_name);

/// `keep_newest(10000)`, `wait`, `keep_oldest(100)` or `sample(1/10)`.
[[nodiscard]] std::string to_string(const OverflowRule& rule);

namespace detail {

/// How much may wait for a handler with `rule`, what it has in hand included; with `wait` it is the hub's line that is
/// bounded.
struct RuleBound {
  std::size_t events_max;
  bool keeps_oldest;
};
[[nodiscard]] RuleBound bound_of(const OverflowRule& rule) noexcept;

}  // namespace detail

}  // namespace dagverk
