#pragma once

#include <source_location>

namespace dagverk::detail {

/// Writes the failed condition and its place to standard error, then aborts.
[[noreturn]] void assertion_failed(const char* condition, std::source_location place) noexcept;

}  // namespace dagverk::detail

/// Checks a promise of our own, in every build. Threads share memory, so a broken promise ends the program: a restart
/// could not repair corruption. Data from outside never meets an assertion; it earns a `Result`.
#define DAGVERK_ASSERT(condition)                      \
  (static_cast<bool>(condition) ? static_cast<void>(0) \
                                : ::dagverk::detail::assertion_failed(#condition, std::source_location::current()))
