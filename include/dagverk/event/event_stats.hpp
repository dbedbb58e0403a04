#pragma once

#include "dagverk/base/clock.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dagverk {

enum class HandlerState : std::uint8_t {
  starting,    ///< its init has not returned
  running,     ///< handles events or waits for some
  restarting,  ///< crashed; waits for its next start
  failed,      ///< crashed too often; waits for restart_handler
  stopped,     ///< was stopped or ended itself; waits for restart_handler
  stopping,    ///< is being removed, or its manager stops
};

[[nodiscard]] std::string_view to_string(HandlerState state) noexcept;

/// Events that a handler did not get, by reason.
struct DropCounts {
  std::uint64_t overflow = 0;       ///< its overflow rule
  std::uint64_t crashed = 0;        ///< its callback threw at them
  std::uint64_t filtered = 0;       ///< its selector or its kinds rejected them
  std::uint64_t consumer_down = 0;  ///< in its hands when it was killed, or meant for it while it could not wait
  std::uint64_t shutdown = 0;       ///< left over when it was removed or its manager stopped
  std::uint64_t sampled = 0;        ///< not among those that its rule `sample` chose
  std::uint64_t ingress = 0;        ///< refused at the manager's door, which was full
  std::uint64_t coalesced = 0;      ///< merged with a newer event by its rule `coalesce`
  std::uint64_t spill_failed = 0;   ///< the file of its rule `spill` could not be written or read

  [[nodiscard]] std::uint64_t total() const noexcept {
    return overflow + crashed + filtered + consumer_down + shutdown + sampled + ingress + coalesced + spill_failed;
  }
  DropCounts& operator+=(const DropCounts& more) noexcept {
    overflow += more.overflow;
    crashed += more.crashed;
    filtered += more.filtered;
    consumer_down += more.consumer_down;
    shutdown += more.shutdown;
    sampled += more.sampled;
    ingress += more.ingress;
    coalesced += more.coalesced;
    spill_failed += more.spill_failed;
    return *this;
  }
  friend bool operator==(const DropCounts&, const DropCounts&) noexcept = default;
};

/// One handler at one moment. Always: published == delivered + dropped.total() + buffered.
struct HandlerStats {
  std::string name = {};
  HandlerState state = HandlerState::starting;
  std::string overflow = {};    ///< the rule, as text
  std::uint64_t published = 0;  ///< since it joined
  std::uint64_t delivered = 0;  ///< its callback returned
  DropCounts dropped = {};
  std::uint64_t buffered = 0;  ///< waiting for it, and what it handles now; its lag in events
  Duration lag{0};             ///< age of the oldest buffered event
  std::uint64_t restarts = 0;
  std::string last_error = {};  ///< why it ended last; empty when it never did

  [[nodiscard]] bool balanced() const noexcept { return published == delivered + dropped.total() + buffered; }
};

/// A manager and its handlers at one moment, taken in one step of the manager: the figures fit together.
struct EventStats {
  std::uint64_t published = 0;  ///< events that the manager took
  /// Events that went to nobody: no handler was there, none wants the kind, or the manager had stopped.
  std::uint64_t discarded = 0;
  std::uint64_t refused = 0;                ///< events turned away at the door; each handler has them as `ingress`
  std::vector<HandlerStats> handlers = {};  ///< in order of addition

  /// The handler called `name`; null when there is none.
  [[nodiscard]] const HandlerStats* find(std::string_view name) const noexcept;
};

}  // namespace dagverk
