#pragma once

#include "dagverk/base/error.hpp"

namespace dagverk::jobs {

/// Whether a store that fails so may take the same jobs later.
[[nodiscard]] constexpr bool means_away(ErrorCode code) noexcept {
  return code == ErrorCode::unavailable || code == ErrorCode::outcome_unknown || code == ErrorCode::timeout ||
         code == ErrorCode::store_full;
}

}  // namespace dagverk::jobs
