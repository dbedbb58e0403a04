#pragma once

#include "command.hpp"
#include "session.hpp"

#include "dagverk/base/result.hpp"
#include "dagverk/jobs/store_types.hpp"

#include <optional>
#include <string>
#include <string_view>

/// Queues as commands find and show them.
namespace dagverk::app {

/// The queue of that name. Errors: `not_found`, with the nearest name there is.
[[nodiscard]] Result<jobs::QueueInfo> queue_named(Session& session, std::string_view name);

/// The age of the job that is taken next.
[[nodiscard]] std::optional<Duration> latency(const jobs::QueueInfo& queue, WallTime now);

/// `by ann since 2026-11-21T…Z: why`; `-` when it is not paused.
[[nodiscard]] std::string pause_text(const jobs::QueueInfo& queue);

/// What `queue list` and `queue show` say of a queue.
[[nodiscard]] JsonObject queue_json(const jobs::QueueInfo& queue, WallTime now);

}  // namespace dagverk::app
