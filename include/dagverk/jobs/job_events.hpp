#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/jobs/job.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>

/// What happens to jobs, queues and nodes, as the EventHub broadcasts it and the journal keeps it.
///
/// Semantics: plain values. JobStarted, JobFinished, JobFailed and the three Queue… events have Verk's names and field
///            names; of the job they carry its identity instead of all of it, never its arguments.
/// Units:     instants are WallTime, of the node that made the event.
namespace dagverk::jobs {

/// Which job, which run of it, and where.
struct JobIdentity {
  std::string jid = {};
  std::string job_class = {};
  std::string queue = {};
  std::uint32_t attempt = 1;  ///< 1 for the first run
  std::string node = {};      ///< the node that runs or ran it; empty where no node is concerned

  friend bool operator==(const JobIdentity&, const JobIdentity&) = default;
};

/// The identity of `job` for its next run.
[[nodiscard]] JobIdentity identity_of(const Job& job, std::string_view node = {});

/// A client put the job into its queue.
struct JobEnqueued {
  JobIdentity job;
  WallTime enqueued_at;
  friend bool operator==(const JobEnqueued&, const JobEnqueued&) = default;
};

/// A client filed the job for later.
struct JobScheduled {
  JobIdentity job;
  WallTime scheduled_at;
  WallTime due_at;
  friend bool operator==(const JobScheduled&, const JobScheduled&) = default;
};

/// The job moved to its queue because its time came, or because somebody said so.
struct JobPromoted {
  JobIdentity job;
  WallTime promoted_at;
  std::string from;  ///< `schedule`, `retry` or `dead`
  friend bool operator==(const JobPromoted&, const JobPromoted&) = default;
};

struct JobStarted {
  JobIdentity job;
  WallTime started_at;
  friend bool operator==(const JobStarted&, const JobStarted&) = default;
};

struct JobFinished {
  JobIdentity job;
  WallTime started_at;
  WallTime finished_at;
  std::string output = {};  ///< what the run left to be read: a command's standard output, a function's result; cut
  friend bool operator==(const JobFinished&, const JobFinished&) = default;
};

/// A run failed. What becomes of the job is said by the JobRetried, JobDied or JobDiscarded that follows.
struct JobFailed {
  JobIdentity job;
  WallTime started_at;
  WallTime failed_at;
  std::string exception;  ///< the type, as `error_class` has it
  std::string message;
  std::string stacktrace;  ///< empty when there is none
  friend bool operator==(const JobFailed&, const JobFailed&) = default;
};

/// The job waits for another run. `job.attempt` is the run that failed.
struct JobRetried {
  JobIdentity job;
  WallTime failed_at;
  WallTime due_at;
  friend bool operator==(const JobRetried&, const JobRetried&) = default;
};

/// The job went to the dead set.
struct JobDied {
  JobIdentity job;
  WallTime died_at;
  std::string reason;
  friend bool operator==(const JobDied&, const JobDied&) = default;
};

/// The job is gone without the dead set (`retry: false`, `dead: false`, or its class's rule).
struct JobDiscarded {
  JobIdentity job;
  WallTime discarded_at;
  std::string reason;
  friend bool operator==(const JobDiscarded&, const JobDiscarded&) = default;
};

/// The job went back to its queue because the node that ran it is gone. `job.node` is the rescuer.
struct JobRescued {
  JobIdentity job;
  WallTime rescued_at;
  std::string from_node;
  friend bool operator==(const JobRescued&, const JobRescued&) = default;
};

/// Somebody deleted the job.
struct JobDeleted {
  JobIdentity job;
  WallTime deleted_at;
  friend bool operator==(const JobDeleted&, const JobDeleted&) = default;
};

/// The job went back to its queue unfinished, its attempt not counted: its node stops.
struct JobRequeued {
  JobIdentity job;
  WallTime requeued_at;
  friend bool operator==(const JobRequeued&, const JobRequeued&) = default;
};

/// The store refused the end of a run, because the job is no longer the node's: it was rescued meanwhile, and runs or
/// ran elsewhere. What this run did counts for nothing.
struct JobLeaseLost {
  JobIdentity job;
  WallTime noticed_at;
  friend bool operator==(const JobLeaseLost&, const JobLeaseLost&) = default;
};

/// The job asked to run again later, without having failed.
struct JobSnoozed {
  JobIdentity job;
  WallTime snoozed_at;
  WallTime due_at;
  friend bool operator==(const JobSnoozed&, const JobSnoozed&) = default;
};

/// The job is gone unrun: it had waited in its queue for longer than its class allows.
struct JobExpired {
  JobIdentity job;
  WallTime expired_at;
  friend bool operator==(const JobExpired&, const JobExpired&) = default;
};

/// Somebody moved the job into another queue, `job.queue`; it waits there as it waited before.
struct JobMoved {
  JobIdentity job;
  WallTime moved_at;
  friend bool operator==(const JobMoved&, const JobMoved&) = default;
};

/// Somebody had the job cancelled: it is gone, waiting or stopped while it ran.
struct JobCancelled {
  JobIdentity job;
  WallTime cancelled_at;
  friend bool operator==(const JobCancelled&, const JobCancelled&) = default;
};

/// The job was asked to stop, and has not within its node's grace. It still runs, and keeps its place in the pool.
struct JobOverdue {
  JobIdentity job;
  WallTime started_at;
  WallTime noticed_at;
  std::string cause;  ///< `timeout` or `cancel`
  friend bool operator==(const JobOverdue&, const JobOverdue&) = default;
};

/// The queue takes jobs: at its start and after a pause.
struct QueueRunning {
  std::string queue;
  std::string node;
  WallTime at;
  friend bool operator==(const QueueRunning&, const QueueRunning&) = default;
};

/// The queue takes no more jobs; some still run.
struct QueuePausing {
  std::string queue;
  std::string node;
  WallTime at;
  friend bool operator==(const QueuePausing&, const QueuePausing&) = default;
};

/// The queue takes no jobs and none of it runs on the node.
struct QueuePaused {
  std::string queue;
  std::string node;
  WallTime at;
  friend bool operator==(const QueuePaused&, const QueuePaused&) = default;
};

struct NodeUp {
  std::string node;
  WallTime at;
  friend bool operator==(const NodeUp&, const NodeUp&) = default;
};

struct NodeDown {
  std::string node;
  WallTime at;
  std::string reason;  ///< `stopped`, or why others think that it is gone
  friend bool operator==(const NodeDown&, const NodeDown&) = default;
};

/// An operation of the node's on its store has failed, after those before it had not. It is tried again.
struct StoreTrouble {
  std::string node;
  WallTime at;
  std::string operation;  ///< `take`, `settle` or `promote`
  std::string reason;
  friend bool operator==(const StoreTrouble&, const StoreTrouble&) = default;
};

/// The operation works again.
struct StoreRecovered {
  std::string node;
  WallTime at;
  std::string operation;
  WallTime failing_since;
  friend bool operator==(const StoreRecovered&, const StoreRecovered&) = default;
};

/// Every event there is. Readers of a journal must expect kinds that they do not know: a newer version may have written
/// it.
using Event = std::variant<JobEnqueued, JobScheduled, JobPromoted, JobStarted, JobFinished, JobFailed, JobRetried,
                           JobDied, JobDiscarded, JobRescued, JobDeleted, QueueRunning, QueuePausing, QueuePaused,
                           NodeUp, NodeDown, JobRequeued, JobLeaseLost, JobSnoozed, JobExpired, StoreTrouble,
                           StoreRecovered, JobMoved, JobCancelled, JobOverdue>;

/// The name of the event's kind: `JobStarted`. Valid for the program's whole life.
[[nodiscard]] std::string_view kind_name(const Event& event) noexcept;

/// The names of all kinds, in the order of `Event`'s alternatives.
[[nodiscard]] std::span<const std::string_view> kind_names() noexcept;

/// The job that the event is about; null for events of queues and nodes. Lifetime: points into `event`.
[[nodiscard]] const JobIdentity* job_of(const Event& event) noexcept;

/// A text in an event is cut to this many characters when it is encoded.
inline constexpr std::size_t event_text_characters_limit = 10'000;

/// `event` as one JSON object on one line, without the newline:
/// `{"event":"JobStarted","jid":"…",…,"started_at":1795219126.25}`. Instants keep their nanoseconds; texts are cut and
/// scrubbed to UTF-8; empty texts and an empty node are left out.
[[nodiscard]] std::string to_json_line(const Event& event);

/// Reads what `to_json_line` wrote. Members that it does not know are ignored, texts that are missing are empty.
/// Errors: `unsupported` for a kind that this version does not know, else `malformed` with the cause.
[[nodiscard]] Result<Event> event_from_json_line(std::string_view line);

}  // namespace dagverk::jobs
