#include "dagverk/jobs/store_types.hpp"

#include <utility>

namespace dagverk::jobs {

std::string_view to_string(JobState state) noexcept {
  switch (state) {
    case JobState::ready: return "ready";
    case JobState::scheduled: return "scheduled";
    case JobState::retrying: return "retrying";
    case JobState::running: return "running";
    case JobState::dead: return "dead";
  }
  return "unknown";
}

std::string_view to_string(JournalKind kind) noexcept {
  switch (kind) {
    case JournalKind::enqueued: return "enqueued";
    case JournalKind::scheduled: return "scheduled";
    case JournalKind::started: return "started";
    case JournalKind::finished: return "finished";
    case JournalKind::retried: return "retried";
    case JournalKind::snoozed: return "snoozed";
    case JournalKind::died: return "died";
    case JournalKind::quarantined: return "quarantined";
    case JournalKind::requeued: return "requeued";
    case JournalKind::rescued: return "rescued";
    case JournalKind::promoted: return "promoted";
    case JournalKind::retried_now: return "retried_now";
    case JournalKind::deleted: return "deleted";
    case JournalKind::discarded: return "discarded";
    case JournalKind::expired: return "expired";
    case JournalKind::trimmed: return "trimmed";
  }
  return "unknown";
}

std::string_view to_string(ItemOutcome outcome) noexcept {
  switch (outcome) {
    case ItemOutcome::done: return "done";
    case ItemOutcome::duplicate: return "duplicate";
    case ItemOutcome::refused: return "refused";
    case ItemOutcome::missing: return "missing";
    case ItemOutcome::running: return "running";
  }
  return "unknown";
}

std::optional<JobState> state_after(JournalKind kind) noexcept {
  switch (kind) {
    case JournalKind::enqueued:
    case JournalKind::requeued:
    case JournalKind::rescued:
    case JournalKind::promoted:
    case JournalKind::retried_now: return JobState::ready;
    case JournalKind::scheduled: return JobState::scheduled;
    case JournalKind::started: return JobState::running;
    case JournalKind::retried:
    case JournalKind::snoozed: return JobState::retrying;
    case JournalKind::died:
    case JournalKind::quarantined: return JobState::dead;
    case JournalKind::finished:
    case JournalKind::deleted:
    case JournalKind::discarded:
    case JournalKind::expired:
    case JournalKind::trimmed: return std::nullopt;
  }
  return std::nullopt;
}

Settlement Settlement::finish(ClaimToken token, std::string detail) {
  Settlement settlement;
  settlement.token = token;
  settlement.detail = std::move(detail);
  return settlement;
}

Settlement Settlement::retry(ClaimToken token, std::string payload, WallTime due, std::string detail,
                             JournalKind kind) {
  Settlement settlement = finish(token, std::move(detail));
  settlement.action = Action::retry;
  settlement.payload = std::move(payload);
  settlement.due = due;
  settlement.kind = kind;
  return settlement;
}

Settlement Settlement::bury(ClaimToken token, std::optional<std::string> payload, std::string reason,
                            std::string detail, JournalKind kind) {
  Settlement settlement = finish(token, std::move(detail));
  settlement.action = Action::bury;
  settlement.payload = std::move(payload);
  settlement.reason = std::move(reason);
  settlement.kind = kind;
  return settlement;
}

Settlement Settlement::discard(ClaimToken token, std::string detail, JournalKind kind) {
  Settlement settlement = finish(token, std::move(detail));
  settlement.action = Action::discard;
  settlement.kind = kind;
  return settlement;
}

Settlement Settlement::requeue(ClaimToken token, std::string detail) {
  Settlement settlement = finish(token, std::move(detail));
  settlement.action = Action::requeue;
  settlement.kind = JournalKind::requeued;
  return settlement;
}

}  // namespace dagverk::jobs
