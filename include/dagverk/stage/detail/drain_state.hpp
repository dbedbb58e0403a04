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
  std::vector<From<DrainCall>> waiting;

  void answer() {
    for (From<DrainCall>& from : std::exchange(waiting, {})) from.reply({});
  }
};

}  // namespace dagverk::detail
