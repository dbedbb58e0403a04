#pragma once

#include "output.hpp"

#include "dagverk/event/event_stats.hpp"

#include <string>
#include <string_view>

namespace dagverk::app {

/// One handler of one node, as `handler list` and `handler show` have it.
[[nodiscard]] JsonObject handler_json(const HandlerStats& handler, std::string_view node);

/// The age of the oldest event that waits for it; `-` when none does.
[[nodiscard]] std::string lag_text(const HandlerStats& handler);

}  // namespace dagverk::app
