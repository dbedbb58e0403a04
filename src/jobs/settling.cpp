#include "jobs/settling.hpp"

#include "jobs/journal_detail.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/base/never_destroyed.hpp"

#include <algorithm>
#include <utility>

namespace dagverk::jobs {

namespace {

constexpr std::string_view out_of_retries = "out of retries";

std::string reason_of(const RunOutcome& outcome) {
  return concat(outcome.error_class, outcome.message.empty() ? "" : ": ", outcome.message);
}

template <class Kind>
void notify(EventSink& events, Kind event) {
  if (events.wants(event_kind<Kind>)) events.notify(Event(std::move(event)));
}

}  // namespace

JobIdentity identity_of(const JobInHand& job, std::string_view node) {
  JobIdentity identity{.jid = job.taken.jid,
                       .job_class = job.taken.class_name,
                       .queue = job.taken.queue,
                       .attempt = job.job ? job.job->attempt() : 1,
                       .node = std::string(node)};
  if (job.job) identity.job_class = std::string(job.job->job_class());
  return identity;
}

Duration time_limit_of(const JobInHand& job) noexcept {
  return job.job->timeout().value_or(job.job_class->options.timeout);
}

JobPtr Settler::accept(TakenJob&& taken, const JobRegistry& registry, QueueRecord* queue, WallTime now) const {
  auto job = std::make_shared<JobInHand>();
  if (taken.job) {
    job->job = std::move(taken.job);
    taken.job.reset();
  } else if (Result<Job> decoded = decode_job_of(taken.payload, taken.queue, codec_)) {
    job->job.emplace(std::move(*decoded));
  }
  if (job->job) job->job_class = registry.find(job->job->job_class());
  job->taken = std::move(taken);
  job->queue = queue;
  job->started_at = now;
  return job;
}

std::optional<Settling> Settler::refuse(const JobPtr& job, WallTime now) {
  if (!job->job) {
    const Result<Job> again = decode_job(job->taken.payload, job->taken.queue, codec_);
    std::string reason(again ? "malformed job" : again.error().message());
    RunOutcome outcome = RunOutcome::failed("MalformedJob", reason);
    std::string detail = detail_of(*job, outcome, reason, std::nullopt);
    return Settling{.job = job,
                    .settlement = Settlement::bury(job->taken.token, std::nullopt, reason, std::move(detail)),
                    .outcome = std::move(outcome),
                    .ended_at = now,
                    .reason = std::move(reason)};
  }
  if (job->job_class != nullptr) return std::nullopt;
  std::string why = concat("this node defines no job class \"", job->job->job_class(), "\"");
  switch (unknown_class_) {
    case UnknownClass::leave: return settle(job, RunOutcome::snoozed(unknown_class_delay), now);
    case UnknownClass::bury: return settle(job, RunOutcome::buried(std::move(why)), now);
    case UnknownClass::retry: break;
  }
  return settle_failure(job, RunOutcome::failed(error_class::unknown_class, std::move(why)), now);
}

std::optional<Settling> Settler::expire(const JobPtr& job, WallTime now) const {
  if (!job->job) return std::nullopt;
  const Duration by_class = job->job_class != nullptr ? job->job_class->options.expires_in : Duration::zero();
  const Duration wait_limit = job->job->expires_in().value_or(by_class);
  const bool waited = wait_limit > Duration::zero() && now - job->taken.enqueued_at > wait_limit;
  const bool late = job->job->expires_at() && now > *job->job->expires_at();
  if (!waited && !late) return std::nullopt;
  RunOutcome outcome;
  std::string detail = detail_of(*job, outcome, waited ? "waited for too long" : "its time has passed", std::nullopt);
  return Settling{.job = job,
                  .settlement = Settlement::discard(job->taken.token, std::move(detail), JournalKind::expired),
                  .outcome = std::move(outcome),
                  .ended_at = now};
}

Settling Settler::settle(const JobPtr& job, RunOutcome outcome, WallTime now) {
  switch (outcome.kind) {
    case RunOutcome::Kind::failed: return settle_failure(job, std::move(outcome), now);
    case RunOutcome::Kind::given_back: {
      std::string detail = detail_of(*job, outcome, {}, std::nullopt);
      return Settling{.job = job,
                      .settlement = Settlement::requeue(job->taken.token, std::move(detail)),
                      .outcome = std::move(outcome),
                      .ended_at = now};
    }
    case RunOutcome::Kind::snoozed: {
      const WallTime due = now + std::clamp(outcome.delay, Duration::zero(), retry_delay_max);
      std::string detail = detail_of(*job, outcome, {}, due);
      return Settling{.job = job,
                      .settlement = Settlement::retry(job->taken.token, std::string(job->job->payload()), due,
                                                      std::move(detail), JournalKind::snoozed),
                      .outcome = std::move(outcome),
                      .ended_at = now};
    }
    case RunOutcome::Kind::buried: return settle_burial(job, std::move(outcome), now);
    case RunOutcome::Kind::discarded:
    case RunOutcome::Kind::cancelled: {
      std::string why = outcome.message;
      const bool cancelled = outcome.kind == RunOutcome::Kind::cancelled;
      outcome.message.clear();
      std::string detail = detail_of(*job, outcome, why, std::nullopt);
      const JournalKind kind = cancelled ? JournalKind::cancelled : JournalKind::discarded;
      return Settling{.job = job,
                      .settlement = Settlement::discard(job->taken.token, std::move(detail), kind),
                      .outcome = std::move(outcome),
                      .ended_at = now,
                      .reason = std::move(why)};
    }
    case RunOutcome::Kind::finished: break;
  }
  std::string detail = detail_of(*job, outcome, {}, std::nullopt);
  return Settling{.job = job,
                  .settlement = Settlement::finish(job->taken.token, std::move(detail)),
                  .outcome = std::move(outcome),
                  .ended_at = now};
}

Settling Settler::settle_burial(const JobPtr& job, RunOutcome outcome, WallTime now) const {
  Settling settling{.job = job, .settlement = {}, .outcome = {}, .ended_at = now, .reason = outcome.message};
  if (settling.reason.empty()) settling.reason = "by its own wish";
  const JobFailure failure{.error_class = error_class::buried, .message = settling.reason, .failed_at = now};
  Result<std::string> payload = failed_payload(*job->job, failure, codec_);
  outcome.message.clear();
  std::string detail = detail_of(*job, outcome, settling.reason, std::nullopt);
  std::optional<std::string> bytes;  // as they are when they have no room for the reason
  if (payload) bytes = std::move(*payload);
  settling.settlement = Settlement::bury(job->taken.token, std::move(bytes), settling.reason, std::move(detail));
  settling.outcome = std::move(outcome);
  return settling;
}

Settling Settler::settle_failure(const JobPtr& job, RunOutcome outcome, WallTime now) {
  static NeverDestroyed<const RetryPolicy> standard;  // used during exit(), too
  const RetryPolicy& policy = job->job_class != nullptr ? job->job_class->options.retry : *standard;
  const RetryDecision decision =
      decide_retry(*job->job, policy, now, random_, outcome.error_class, outcome.message, backoff_);
  Settling settling{.job = job, .settlement = {}, .outcome = std::move(outcome), .ended_at = now};
  const ClaimToken token = job->taken.token;
  if (decision.action == RetryDecision::Action::discard) {
    settling.reason = reason_of(settling.outcome);
    settling.settlement = Settlement::discard(token, detail_of(*job, settling.outcome, settling.reason, std::nullopt));
    return settling;
  }
  const JobFailure failure{
      .error_class = settling.outcome.error_class, .message = settling.outcome.message, .failed_at = now};
  Result<std::string> payload = failed_payload(*job->job, failure, codec_);
  if (decision.action == RetryDecision::Action::retry && payload) {
    settling.settlement = Settlement::retry(token, std::move(*payload), decision.due,
                                            detail_of(*job, settling.outcome, {}, decision.due));
  } else {
    settling.reason = payload ? concat(out_of_retries, ": ", reason_of(settling.outcome))
                              : concat("its failure cannot be recorded: ", payload.error().message());
    std::string detail = detail_of(*job, settling.outcome, settling.reason, std::nullopt);
    settling.settlement = payload ? Settlement::bury(token, std::move(*payload), settling.reason, std::move(detail))
                                  : Settlement::bury(token, std::nullopt, settling.reason, std::move(detail));
  }
  if (const auto retry_queue = job->job->retry_queue()) settling.settlement.queue = std::string(*retry_queue);
  return settling;
}

Settlement Settler::bury_unchanged(const Settling& settling, std::string_view why) {
  return Settlement::bury(settling.job->taken.token, std::nullopt, std::string(why));
}

std::string Settler::detail_of(const JobInHand& job, const RunOutcome& outcome, std::string_view reason,
                               const std::optional<WallTime>& due) const {
  if (!job.taken.journaled) return {};
  JournalDetail detail;
  detail.number("attempt", job.job ? job.job->attempt() : 1).text("node", node_);
  detail.time("started_at", job.started_at);
  detail.text("exception", outcome.error_class, error_class_characters_limit).text("message", outcome.message);
  detail.text("reason", reason).text("result", outcome.result, result_text_size_limit);
  if (due) detail.time("due_at", *due);
  return std::move(detail).take();
}

void report(const Settling& settling, ItemOutcome outcome, std::string_view node, WallTime now, EventSink& events) {
  const JobInHand& job = *settling.job;
  const auto identity = [&] { return identity_of(job, node); };
  if (outcome != ItemOutcome::done) {
    if (events.wants(event_kind<JobLeaseLost>)) notify(events, JobLeaseLost{identity(), now});
    return;
  }
  if (settling.outcome.kind == RunOutcome::Kind::failed && events.wants(event_kind<JobFailed>)) {
    notify(
        events,
        JobFailed{
            identity(), job.started_at, settling.ended_at, settling.outcome.error_class, settling.outcome.message, {}});
  }
  switch (settling.settlement.action) {
    case Settlement::Action::finish:
      if (events.wants(event_kind<JobFinished>)) {
        notify(events, JobFinished{identity(), job.started_at, settling.ended_at, settling.outcome.result});
      }
      return;
    case Settlement::Action::retry:
      if (settling.settlement.kind == JournalKind::snoozed) {
        if (events.wants(event_kind<JobSnoozed>)) {
          notify(events, JobSnoozed{identity(), settling.ended_at, settling.settlement.due});
        }
        return;
      }
      if (events.wants(event_kind<JobRetried>)) {
        notify(events, JobRetried{identity(), settling.ended_at, settling.settlement.due});
      }
      return;
    case Settlement::Action::bury:
      if (events.wants(event_kind<JobDied>)) notify(events, JobDied{identity(), settling.ended_at, settling.reason});
      return;
    case Settlement::Action::discard:
      if (settling.settlement.kind == JournalKind::expired) {
        if (events.wants(event_kind<JobExpired>)) notify(events, JobExpired{identity(), settling.ended_at});
        return;
      }
      if (settling.settlement.kind == JournalKind::cancelled) {
        if (events.wants(event_kind<JobCancelled>)) notify(events, JobCancelled{identity(), settling.ended_at});
        return;
      }
      if (events.wants(event_kind<JobDiscarded>)) {
        notify(events, JobDiscarded{identity(), settling.ended_at, settling.reason});
      }
      return;
    case Settlement::Action::requeue:
      if (events.wants(event_kind<JobRequeued>)) notify(events, JobRequeued{identity(), settling.ended_at});
      return;
  }
}

}  // namespace dagverk::jobs
