#pragma once

#include "dagverk/runtime/pid.hpp"

#include <cstddef>
#include <span>
#include <string_view>

namespace dagverk {

/// Something that could run next on a deterministic runtime.
struct RunChoice {
  Pid pid;                ///< empty for a lane
  std::string_view name;  ///< the server's type, or the lane's name
};

/// Decides the interleaving of a deterministic runtime, instead of its seed.
///
/// Semantics: asked before each step, also when there is only one choice.
/// Threads:   the runtime's.
/// Lifetime:  outlives the runtime that asks it.
class Chooser {
 public:
  Chooser() = default;
  Chooser(const Chooser&) = delete;
  Chooser& operator=(const Chooser&) = delete;
  virtual ~Chooser() = default;

  /// The index of what runs next. `choices` is never empty: processes by their number, then lanes in the order in which
  /// they were opened.
  [[nodiscard]] virtual std::size_t choose(std::span<const RunChoice> choices) = 0;
};

}  // namespace dagverk
