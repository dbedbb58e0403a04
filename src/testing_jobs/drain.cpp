#include "dagverk/testing_jobs/drain.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/event_sink.hpp"
#include "dagverk/jobs/node.hpp"

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <variant>

namespace dagverk::testing_jobs {

namespace {

/// Steps of the scheduler after which it is looked at how many runs there have been.
constexpr std::size_t steps_per_look = 20'000;
/// How far the clock may move at once while a job runs.
constexpr Duration longest_wait = std::chrono::seconds(1);

/// Writes down how runs end. One thread: the test's.
class RunKeeper final : public jobs::EventSink {
 public:
  [[nodiscard]] bool wants(std::size_t kind) const noexcept override {
    return kind == jobs::event_kind<jobs::JobFinished> || kind == jobs::event_kind<jobs::JobFailed> ||
           kind == jobs::event_kind<jobs::JobSnoozed> || kind == jobs::event_kind<jobs::JobExpired> ||
           kind == jobs::event_kind<jobs::JobDied> || kind == jobs::event_kind<jobs::JobDiscarded>;
  }
  void notify(jobs::Event event) noexcept override {
    if (const auto* finished = std::get_if<jobs::JobFinished>(&event)) {
      add(finished->job, DrainedEnd::finished, finished->output, finished->finished_at);
    } else if (const auto* failed = std::get_if<jobs::JobFailed>(&event)) {
      add(failed->job, DrainedEnd::failed, concat(failed->exception, ": ", failed->message), failed->failed_at);
    } else if (const auto* snoozed = std::get_if<jobs::JobSnoozed>(&event)) {
      add(snoozed->job, DrainedEnd::snoozed, {}, snoozed->snoozed_at);
    } else if (const auto* expired = std::get_if<jobs::JobExpired>(&event)) {
      add(expired->job, DrainedEnd::expired, {}, expired->expired_at);
    } else if (const auto* died = std::get_if<jobs::JobDied>(&event)) {
      report.died.push_back(died->job.jid);
      add_unless_failed(died->job, DrainedEnd::buried, died->reason, died->died_at);
    } else if (const auto* discarded = std::get_if<jobs::JobDiscarded>(&event)) {
      add_unless_failed(discarded->job, DrainedEnd::discarded, discarded->reason, discarded->discarded_at);
    }
  }

  DrainReport report;

 private:
  void add(const jobs::JobIdentity& job, DrainedEnd end, std::string message, WallTime at) {
    report.runs.push_back({job.jid, job.job_class, job.queue, job.attempt, end, std::move(message), at});
  }
  /// What becomes of a job that failed is told after the failure, which is the end of that run.
  void add_unless_failed(const jobs::JobIdentity& job, DrainedEnd end, const std::string& message, WallTime at) {
    const bool failed = std::ranges::any_of(
        report.runs, [&](const DrainedRun& run) { return run.jid == job.jid && run.attempt == job.attempt; });
    if (!failed) add(job, end, message, at);
  }
};

/// What a node would have to do now.
struct Work {
  std::vector<std::string> queues;  // that are not paused and have jobs
  std::uint64_t ready = 0;          // in those
  std::uint64_t running = 0;
  std::uint64_t live = 0;  // everywhere
};

Result<Work> look(DeterministicRuntime& runtime, jobs::JobStore& store) {
  Work work;
  for (std::string after;;) {
    const auto page = runtime.run(store.queues(after, jobs::batch_count_limit));
    if (!page) return page.error();
    for (const jobs::QueueInfo& queue : *page) {
      work.live += queue.counts.live();
      work.running += queue.counts.running;
      if (queue.pause || queue.counts.ready == 0) continue;
      work.ready += queue.counts.ready;
      work.queues.push_back(queue.name);
    }
    if (page->size() < jobs::batch_count_limit) return work;
    after = page->back().name;
  }
}

/// When the next job comes due; none when there is none.
Result<std::optional<WallTime>> next_due(DeterministicRuntime& runtime, jobs::JobStore& store) {
  const auto page = runtime.run(store.peek_due(runtime.clock().wall_now(), 1));
  if (!page) return page.error();
  return page->jobs.empty() ? page->next_due : page->jobs.front().due;
}

/// One node's life: until nothing is ready and nothing runs. False when a bound came first.
Result<bool> run_node(DeterministicRuntime& runtime, jobs::JobStore& store, const jobs::JobRegistry& registry,
                      const DrainOptions& options, RunKeeper& keeper) {
  jobs::NodeOptions node_options;
  node_options.events = &keeper;
  node_options.seed = 1;
  node_options.middleware = options.middleware;
  auto node = jobs::Node::start(runtime, store, registry, std::move(node_options));
  if (!node) return node.error();
  std::set<std::string> served;
  std::size_t runs = 0;
  WallTime latest = runtime.clock().wall_now();
  for (;;) {
    const Result<Work> work = look(runtime, store);
    if (!work) return work.error();
    for (const std::string& queue : work->queues) {
      if (!served.insert(queue).second) continue;
      if (auto added = (*node)->add_queue(queue, options.concurrency); !added) return added.error();
    }
    const Result<std::optional<WallTime>> due = next_due(runtime, store);
    if (!due) return due.error();
    const WallTime now = runtime.clock().wall_now();
    if (work->ready == 0 && work->running == 0 && !(*due && **due <= now)) break;
    if (std::exchange(runs, keeper.report.runs.size()) != keeper.report.runs.size()) latest = now;
    if (runs >= options.runs_max || now - latest > options.quiet_max) return false;
    if (runtime.run_until_idle(steps_per_look) > 0) continue;
    // Everybody waits for time to pass. It stops at whatever happens first.
    const std::uint64_t seen = store.change_count(jobs::ChangeKind::journal);
    const auto waited = runtime.run(store.wait_for_change(jobs::ChangeKind::journal, seen, longest_wait));
    if (!waited) return waited.error();
  }
  static_cast<void>((*node)->stop(Duration::zero()));
  return true;
}

}  // namespace

std::string_view to_string(DrainedEnd end) noexcept {
  switch (end) {
    case DrainedEnd::finished: return "finished";
    case DrainedEnd::failed: return "failed";
    case DrainedEnd::snoozed: return "snoozed";
    case DrainedEnd::expired: return "expired";
    case DrainedEnd::discarded: return "discarded";
    case DrainedEnd::buried: return "buried";
  }
  return "unknown";
}

std::size_t DrainReport::count(DrainedEnd end) const noexcept {
  return static_cast<std::size_t>(std::ranges::count(runs, end, &DrainedRun::end));
}

std::string DrainReport::text() const {
  std::string text;
  for (const DrainedRun& run : runs) {
    text += concat(run.job_class, " (jid ", run.jid, ", attempt ", run.attempt, ") ", to_string(run.end));
    if (!run.message.empty()) text += concat(": ", run.message);
    text += '\n';
  }
  text += concat(left, " jobs left, ", died.size(), " dead");
  if (!complete) text += ", incomplete";
  return text;
}

Result<DrainReport> drain(DeterministicRuntime& runtime, jobs::JobStore& store, const jobs::JobRegistry& registry,
                          const DrainOptions& options) {
  const WallTime horizon = runtime.clock().wall_now() + options.through;
  RunKeeper keeper;
  for (bool in_bounds = true;;) {
    const Result<Work> work = look(runtime, store);
    if (!work) return work.error();
    const Result<std::optional<WallTime>> due = next_due(runtime, store);
    if (!due) return due.error();
    const bool due_later = *due && **due <= horizon;
    keeper.report.left = work->live;
    keeper.report.complete = work->ready == 0 && !due_later;
    if (keeper.report.complete || !in_bounds) return std::move(keeper.report);
    if (work->ready == 0) {
      const Duration wait = **due - runtime.clock().wall_now();
      if (wait > Duration::zero()) runtime.advance(wait);
    }
    const Result<bool> ran = run_node(runtime, store, registry, options, keeper);
    if (!ran) return ran.error();
    in_bounds = *ran;
  }
}

}  // namespace dagverk::testing_jobs
