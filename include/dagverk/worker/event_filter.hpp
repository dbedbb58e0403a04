#pragma once

#include "dagverk/base/result.hpp"
#include "dagverk/event/event_kinds.hpp"
#include "dagverk/jobs/job_events.hpp"

#include <string>
#include <vector>

namespace dagverk::worker {

/// Which events somebody wants to see. An empty part wants all; the parts that are not must all fit.
struct EventFilter {
  std::vector<std::string> kinds = {};  ///< `JobFailed`, …
  std::string queue = {};
  std::string job_class = {};
  std::string jid = {};

  /// Whether only the kind decides.
  [[nodiscard]] bool kinds_alone() const noexcept { return queue.empty() && job_class.empty() && jid.empty(); }
  /// As far as the kind is concerned, the hub asks `event_kinds`.
  [[nodiscard]] bool fits(const jobs::Event& event) const noexcept;
};

/// The filter's kinds as a set. Errors: `invalid_argument` for a name that is none, with the nearest one.
[[nodiscard]] Result<EventKinds> event_kinds(const EventFilter& filter);

}  // namespace dagverk::worker
