#pragma once

#include "dagverk/runtime/detail/call.hpp"

#include <utility>
#include <vector>

namespace dagverk::detail {

/// Asks a stage to answer once all that it has taken and emitted has left it.
struct DrainCall {
  using Reply = void;
};
/// Tells a stage to produce nothing new.
struct HaltCast {};

/// What a stage knows of being drained.
struct DrainState {
  bool halted = false;  // handle_demand is not called any more
  bool stops = false;   // the stage ends when it is drained
  std::vector<From<DrainCall>> waiting;

  [[nodiscard]] bool wanted() const noexcept { return stops || !waiting.empty(); }

  void answer() {
    for (From<DrainCall>& from : std::exchange(waiting, {})) from.reply({});
  }
};

}  // namespace dagverk::detail
