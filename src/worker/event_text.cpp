#include "dagverk/worker/event_text.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/worker/command_line.hpp"
#include "dagverk/worker/duration_text.hpp"
#include "dagverk/worker/time_text.hpp"

#include <algorithm>
#include <type_traits>
#include <variant>

namespace dagverk::worker {
namespace {

constexpr std::size_t text_limit = 200;

struct Line {
  std::string_view what;
  std::string more = {};
};

std::string labelled(std::string_view label, std::string_view text) {
  if (text.empty()) return {};
  return concat("  ", label, printable(text, text_limit));
}

Line describe(const jobs::Event& event) {
  return std::visit(
      []<class E>(const E& e) -> Line {
        if constexpr (std::is_same_v<E, jobs::JobEnqueued>) return {"enqueued"};
        if constexpr (std::is_same_v<E, jobs::JobScheduled>) return {"scheduled", concat("  due ", utc_text(e.due_at))};
        if constexpr (std::is_same_v<E, jobs::JobPromoted>) return {"promoted", labelled("from ", e.from)};
        if constexpr (std::is_same_v<E, jobs::JobStarted>) return {"started"};
        if constexpr (std::is_same_v<E, jobs::JobFinished>) {
          std::string_view output = e.output;
          while (output.ends_with('\n')) output.remove_suffix(1);
          return {"finished", concat("  ", duration_text(e.finished_at - e.started_at), labelled("", output))};
        }
        if constexpr (std::is_same_v<E, jobs::JobFailed>) {
          return {"failed",
                  concat(labelled("", e.exception), ":", labelled("", e.message).substr(e.message.empty() ? 0 : 1))};
        }
        if constexpr (std::is_same_v<E, jobs::JobRetried>) return {"retries", concat("  due ", utc_text(e.due_at))};
        if constexpr (std::is_same_v<E, jobs::JobSnoozed>) return {"snoozes", concat("  due ", utc_text(e.due_at))};
        if constexpr (std::is_same_v<E, jobs::JobExpired>) return {"expired"};
        if constexpr (std::is_same_v<E, jobs::StoreTrouble>) {
          return {"store trouble", concat(labelled("", e.operation), labelled("", e.reason))};
        }
        if constexpr (std::is_same_v<E, jobs::StoreRecovered>) {
          return {"store works", concat(labelled("", e.operation), "  after ", duration_text(e.at - e.failing_since))};
        }
        if constexpr (std::is_same_v<E, jobs::JobDied>) return {"died", labelled("", e.reason)};
        if constexpr (std::is_same_v<E, jobs::JobDiscarded>) return {"discarded", labelled("", e.reason)};
        if constexpr (std::is_same_v<E, jobs::JobRescued>) return {"rescued", labelled("from ", e.from_node)};
        if constexpr (std::is_same_v<E, jobs::JobRequeued>) return {"requeued"};
        if constexpr (std::is_same_v<E, jobs::JobDeleted>) return {"deleted"};
        if constexpr (std::is_same_v<E, jobs::JobMoved>) return {"moved", labelled("to ", e.job.queue)};
        if constexpr (std::is_same_v<E, jobs::JobCancelled>) return {"cancelled"};
        if constexpr (std::is_same_v<E, jobs::JobOverdue>) {
          return {"overdue", concat(labelled("", e.cause), "  runs for ", duration_text(e.noticed_at - e.started_at))};
        }
        if constexpr (std::is_same_v<E, jobs::QueueRunning>) return {"queue runs", labelled("", e.queue)};
        if constexpr (std::is_same_v<E, jobs::QueuePausing>) return {"queue pauses", labelled("", e.queue)};
        if constexpr (std::is_same_v<E, jobs::QueuePaused>) return {"queue paused", labelled("", e.queue)};
        if constexpr (std::is_same_v<E, jobs::NodeUp>) return {"node up", labelled("", e.node)};
        if constexpr (std::is_same_v<E, jobs::NodeDown>) return {"node down", labelled("", e.reason)};
        return {};
      },
      event);
}

}  // namespace

std::string event_text(const jobs::Event& event) {
  const Line line = describe(event);
  std::string text(line.what.empty() ? jobs::kind_name(event) : line.what);
  if (const jobs::JobIdentity* job = jobs::job_of(event)) {
    text.resize(std::max<std::size_t>(text.size(), 9), ' ');
    text += concat("  ", printable(job->job_class, text_limit), "  ", printable(job->jid, text_limit));
    if (job->attempt > 1) text += concat("  attempt ", job->attempt);
  }
  return text + line.more;
}

}  // namespace dagverk::worker
