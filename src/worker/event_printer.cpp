#include "worker/event_printer.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/worker/command_line.hpp"
#include "dagverk/worker/duration_text.hpp"
#include "dagverk/worker/terminal.hpp"
#include "dagverk/worker/time_text.hpp"

#include <algorithm>
#include <type_traits>
#include <unistd.h>
#include <utility>
#include <variant>

namespace dagverk::worker {
namespace {

constexpr std::size_t waiting_limit = 10'000;
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
        if constexpr (std::is_same_v<E, jobs::JobDied>) return {"died", labelled("", e.reason)};
        if constexpr (std::is_same_v<E, jobs::JobDiscarded>) return {"discarded", labelled("", e.reason)};
        if constexpr (std::is_same_v<E, jobs::JobRescued>) return {"rescued", labelled("from ", e.from_node)};
        if constexpr (std::is_same_v<E, jobs::JobRequeued>) return {"requeued"};
        if constexpr (std::is_same_v<E, jobs::JobDeleted>) return {"deleted"};
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

std::string event_line(const jobs::Event& event) {
  const Line line = describe(event);
  std::string text(line.what.empty() ? jobs::kind_name(event) : line.what);
  if (const jobs::JobIdentity* job = jobs::job_of(event)) {
    text.resize(std::max<std::size_t>(text.size(), 9), ' ');
    text += concat("  ", printable(job->job_class, text_limit), "  ", printable(job->jid, text_limit));
    if (job->attempt > 1) text += concat("  attempt ", job->attempt);
  }
  return text + line.more;
}

EventPrinter::EventPrinter(EventForm form, std::function<void()> closed)
    : form_(form), closed_(std::move(closed)), thread_([this] { run(); }) {}

EventPrinter::~EventPrinter() {
  std::uint64_t dropped = 0;
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
    dropped = dropped_;
  }
  changed_.notify_all();
  thread_.join();
  if (dropped > 0) say("dagverk", concat(dropped, " events were not printed: standard output was too slow"));
}

bool EventPrinter::wants(std::size_t /*kind*/) const noexcept { return form_ != EventForm::none; }

void EventPrinter::notify(jobs::Event event) noexcept {
  if (form_ == EventForm::none) return;
  {
    const MutexLock lock(mutex_);
    if (nobody_reads_) return;
    if (waiting_.size() >= waiting_limit) {
      ++dropped_;
      return;
    }
    waiting_.push_back(std::move(event));
  }
  changed_.notify_one();
}

void EventPrinter::run() {
  while (true) {
    std::deque<jobs::Event> events;
    {
      const MutexLock lock(mutex_);
      while (waiting_.empty() && !stopping_) changed_.wait(mutex_);
      if (waiting_.empty()) return;
      events.swap(waiting_);
    }
    std::string text;
    const std::string now = utc_text(system_clock().wall_now()).substr(11);
    for (const jobs::Event& event : events) {
      text += form_ == EventForm::json ? jobs::to_json_line(event) : concat(now, "  ", event_line(event));
      text.push_back('\n');
    }
    if (write_all(STDOUT_FILENO, text) == Written::all) continue;
    {
      const MutexLock lock(mutex_);
      nobody_reads_ = true;
      waiting_.clear();
    }
    closed_();
    return;
  }
}

}  // namespace dagverk::worker
