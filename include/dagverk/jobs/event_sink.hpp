#pragma once

#include "dagverk/jobs/job_events.hpp"

#include <cstddef>
#include <type_traits>
#include <variant>

namespace dagverk::jobs {

namespace detail {

template <class Kind, class... Kinds>
constexpr std::size_t index_in(const std::variant<Kinds...>* /*type*/) {
  std::size_t index = 0;
  static_cast<void>(((std::is_same_v<Kind, Kinds> || (++index, false)) || ...));
  return index;
}

}  // namespace detail

/// The index of an event's kind in `Event`: `event_kind<JobStarted>`.
template <class Kind>
inline constexpr std::size_t event_kind = detail::index_in<Kind>(static_cast<const Event*>(nullptr));

/// Where a node and a client report what happens: the seam to the EventHub.
///
/// Semantics: an event comes after the store has what it tells (JobStarted: when the run begins). Events of one job may
///            come from several processes, and then in any order: JobStarted before JobEnqueued, say. The journal has
///            the order of the changes.
/// Threads:  called from any process, several at once.
/// Errors:   never throws, never waits: what cannot be delivered is for the receiver to count.
/// Lifetime: outlives whoever was given it.
class EventSink {
 public:
  EventSink() = default;
  EventSink(const EventSink&) = delete;
  EventSink& operator=(const EventSink&) = delete;
  virtual ~EventSink() = default;

  /// Whether anybody wants events of that kind (`event_kind`). What nobody wants is not built.
  [[nodiscard]] virtual bool wants(std::size_t kind) const noexcept = 0;

  virtual void notify(Event event) noexcept = 0;
};

}  // namespace dagverk::jobs
