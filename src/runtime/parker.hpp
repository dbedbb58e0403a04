#pragma once

#include "dagverk/base/clock.hpp"

#include <atomic>

namespace dagverk::detail {

/// Lets one thread sleep until another has something for it.
///
/// Semantics: `unpark` leaves a permit; `park` takes one or sleeps until there is one or `limit` passed. Permits do not
///            add up; `park` may also return without cause.
/// Threads:   `park` from one thread, `unpark` from any.
class Parker {
 public:
  void park(Duration limit) noexcept;
  void unpark() noexcept;

 private:
  static constexpr int empty = 0;
  static constexpr int parked = 1;
  static constexpr int permit = 2;

  std::atomic<int> state_{empty};
};

}  // namespace dagverk::detail
