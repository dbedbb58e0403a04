#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/random.hpp"
#include "dagverk/jobs/event_sink.hpp"
#include "dagverk/jobs/job.hpp"
#include "dagverk/jobs/job_codec.hpp"
#include "dagverk/jobs/job_registry.hpp"
#include "dagverk/jobs/retry_policy.hpp"
#include "dagverk/jobs/run_outcome.hpp"
#include "dagverk/jobs/store_types.hpp"

#include <memory>
#include <optional>
#include <string>

namespace dagverk::jobs {

struct QueueRecord;

/// A job between its take and its settlement.
struct JobInHand {
  TakenJob taken;                       ///< without its job
  std::optional<Job> job;               ///< none: its bytes are no job
  const JobClass* job_class = nullptr;  ///< null: not defined here
  QueueRecord* queue = nullptr;         ///< what is counted for its queue; null: nothing
  WallTime started_at;
};

/// Shared by the pool, the run and the acknowledger; ends with the last of them. Immutable.
using JobPtr = std::shared_ptr<const JobInHand>;

/// The end of one run, as the store is told and as events tell it.
struct Settling {
  JobPtr job;
  Settlement settlement;
  RunOutcome outcome;
  WallTime ended_at;
  std::string reason = {};  ///< of a burial or a discard
};

/// Decides what a taken job is and what becomes of it after its run. Computes only; no process, no store.
class Settler {
 public:
  Settler(std::string node, std::uint64_t seed, CodecOptions codec, BackOff backoff,
          UnknownClass unknown_class = UnknownClass::retry)
      : node_(std::move(node)), random_(seed), codec_(codec), backoff_(backoff), unknown_class_(unknown_class) {}

  /// Reads the payload, unless it came decoded, and looks its class up.
  [[nodiscard]] JobPtr accept(TakenJob&& taken, const JobRegistry& registry, QueueRecord* queue, WallTime now) const;

  /// Why `job` cannot be run at all: it is malformed (then it must be buried), or nobody here knows its class.
  [[nodiscard]] std::optional<Settling> refuse(const JobPtr& job, WallTime now);

  /// The end of a job that is too old to be run; nothing when it is not.
  [[nodiscard]] std::optional<Settling> expire(const JobPtr& job, WallTime now) const;

  /// The settlement for a run that ended with `outcome`.
  [[nodiscard]] Settling settle(const JobPtr& job, RunOutcome outcome, WallTime now);

  /// The last resort for a settlement that the store finds invalid: the dead set, with the bytes as they are.
  [[nodiscard]] static Settlement bury_unchanged(const Settling& settling, std::string_view why);

 private:
  [[nodiscard]] Settling settle_failure(const JobPtr& job, RunOutcome outcome, WallTime now);
  [[nodiscard]] Settling settle_burial(const JobPtr& job, RunOutcome outcome, WallTime now) const;
  [[nodiscard]] std::string detail_of(const JobInHand& job, const RunOutcome& outcome, std::string_view reason,
                                      const std::optional<WallTime>& due) const;

  std::string node_;
  Random random_;
  CodecOptions codec_;
  BackOff backoff_;
  UnknownClass unknown_class_;
};

[[nodiscard]] JobIdentity identity_of(const JobInHand& job, std::string_view node);

/// How long a run of `job`, which has a class, may take: as the job says, else its class. Zero: for ever.
[[nodiscard]] Duration time_limit_of(const JobInHand& job) noexcept;

/// Reports what the store made of `settling`. Nothing when nobody wants to hear it.
void report(const Settling& settling, ItemOutcome outcome, std::string_view node, WallTime now, EventSink& events);

}  // namespace dagverk::jobs
