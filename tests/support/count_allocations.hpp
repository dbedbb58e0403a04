#pragma once

#include <cstdint>

namespace dagverk {

/// How often the program has called `operator new`, which count_allocations.cpp replaces for it. Any thread.
[[nodiscard]] std::uint64_t allocation_count() noexcept;
/// What is in use of what it gave out, with what malloc adds to each. Any thread.
[[nodiscard]] std::uint64_t allocated_bytes() noexcept;

}  // namespace dagverk
