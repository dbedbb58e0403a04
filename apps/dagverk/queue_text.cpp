#include "queue_text.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/worker/time_text.hpp"

#include <algorithm>
#include <chrono>
#include <vector>

namespace dagverk::app {

Result<jobs::QueueInfo> queue_named(Session& session, std::string_view name) {
  std::vector<std::string> names;
  std::string after;
  while (true) {
    auto page = session.wait(session.store().queues(after, jobs::batch_count_limit));
    if (!page) return page.error();
    for (jobs::QueueInfo& queue : *page) {
      if (queue.name == name) return std::move(queue);
      names.push_back(queue.name);
    }
    if (page->size() < jobs::batch_count_limit) break;
    after = names.back();
  }
  const std::vector<std::string_view> candidates(names.begin(), names.end());
  const auto near = worker::nearest_word(name, candidates);
  return Error(ErrorCode::not_found,
               concat("no queue \"", worker::printable(name, 60), "\" in the store",
                      near ? concat("; did you mean \"", worker::printable(*near, 60), "\"?") : std::string()));
}

std::optional<Duration> latency(const jobs::QueueInfo& queue, WallTime now) {
  if (!queue.next_enqueued_at) return std::nullopt;
  return std::max(now - *queue.next_enqueued_at, Duration::zero());
}

std::string pause_text(const jobs::QueueInfo& queue) {
  if (!queue.pause) return "-";
  const jobs::QueuePause& pause = *queue.pause;
  std::string text = pause.by.empty() ? "by another program" : concat("by ", pause.by);
  if (pause.since) text += concat(" since ", worker::utc_text(*pause.since));
  if (!pause.reason.empty()) text += concat(": ", pause.reason);
  return text;
}

JsonObject queue_json(const jobs::QueueInfo& queue, WallTime now) {
  const jobs::QueueCounts& counts = queue.counts;
  JsonObject object;
  object.text("queue", queue.name)
      .number("ready", counts.ready)
      .number("running", counts.running)
      .number("scheduled", counts.scheduled)
      .number("retrying", counts.retrying)
      .number("dead", counts.dead)
      .number("enqueued", counts.enqueued)
      .number("finished", counts.finished)
      .number("retried", counts.retried)
      .number("died", counts.died);
  const auto waits = latency(queue, now);
  object.number(
      "latency_ms",
      waits ? static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(*waits).count()) : 0);
  object.boolean("paused", queue.pause.has_value());
  if (queue.pause) {
    object.text("paused_by", queue.pause->by).text("pause_reason", queue.pause->reason);
    object.time("paused_at", queue.pause->since);
  }
  return object;
}

}  // namespace dagverk::app
