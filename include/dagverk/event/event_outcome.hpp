#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace dagverk {

/// What became of one event at one handler.
enum class EventFate : std::uint8_t {
  pending,   ///< not decided within the limit: it waits, or is being handled; or waits for a failed handler's restart
  handled,   ///< the callback has returned
  filtered,  ///< not for this handler: its kinds, its selector or its sample
  crashed,   ///< the callback threw at it
  dropped,   ///< by the overflow rule, or because the handler ended
};

[[nodiscard]] std::string_view to_string(EventFate fate) noexcept;

/// The outcome of one event at the handler called `handler`.
struct HandlerOutcome {
  std::string handler = {};
  EventFate fate = EventFate::pending;

  friend bool operator==(const HandlerOutcome&, const HandlerOutcome&) = default;
};

}  // namespace dagverk
