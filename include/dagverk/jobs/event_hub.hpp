#pragma once

#include "dagverk/event/event_manager.hpp"
#include "dagverk/jobs/event_sink.hpp"

#include <cstddef>
#include <utility>

namespace dagverk::jobs {

/// Brings a node's and a client's events to an event manager, usually a `StagedEventManager<Event>`:
///
///   StagedEventManager<jobs::Event> hub(runtime);
///   jobs::EventHubSink sink(hub);
///   options.events = &sink;
///
/// Semantics: what no handler wants is not built.
/// Threads:   any. Errors: none; what the hub cannot take it counts.
/// Lifetime:  borrows the manager.
class EventHubSink final : public EventSink {
 public:
  explicit EventHubSink(EventManager<Event>& hub) noexcept : hub_(hub) {}

  [[nodiscard]] bool wants(std::size_t kind) const noexcept override { return hub_.wants(static_cast<unsigned>(kind)); }
  void notify(Event event) noexcept override { hub_.notify(std::move(event)); }

 private:
  EventManager<Event>& hub_;
};

}  // namespace dagverk::jobs
