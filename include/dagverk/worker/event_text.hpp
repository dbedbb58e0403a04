#pragma once

#include "dagverk/jobs/job_events.hpp"

#include <string>

namespace dagverk::worker {

/// `event` in one line for people, without a newline: what, class, jid and what else matters. Control characters are
/// escaped, texts cut to 200 characters.
[[nodiscard]] std::string event_text(const jobs::Event& event);

}  // namespace dagverk::worker
