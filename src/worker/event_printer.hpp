#pragma once

#include "dagverk/event/event_handler.hpp"
#include "dagverk/jobs/job_events.hpp"

#include <cstdint>
#include <functional>
#include <span>

namespace dagverk::worker {

/// How events look on standard output.
enum class EventForm : std::uint8_t {
  none,   ///< not at all
  lines,  ///< for people: time, what, class, jid
  json,   ///< one JSON object a line
};

/// The handler that prints what happens on standard output. It has a thread of its own: a slow terminal is its problem
/// alone, and what its rule drops is counted where all handlers are listed.
///
/// `closed` is called, on its thread, when nobody reads any more; the handler then leaves.
class EventPrinter : public EventHandler<jobs::Event> {
 public:
  static constexpr bool blocking = true;

  EventPrinter(EventForm form, std::function<void()> closed);

  void handle_batch(std::span<const jobs::Event> events);

 private:
  EventForm form_;
  std::function<void()> closed_;
};

}  // namespace dagverk::worker
