#pragma once

#include "dagverk/base/error.hpp"

#include <expected>

namespace dagverk {

/// A value, or the `Error` that explains why there is none.
/// Functions that return it are `[[nodiscard]]`; C++23's monadic members are not used (GCC 12 lacks them).
template <class T>
using Result = std::expected<T, Error>;

}  // namespace dagverk
