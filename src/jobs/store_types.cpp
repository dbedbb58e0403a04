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
    case JournalKind::moved: return "moved";
    case JournalKind::cancelled: return "cancelled";
    case JournalKind::limited: return "limited";
    case JournalKind::dropped: return "dropped";
    case JournalKind::diverted: return "diverted";
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
    case ItemOutcome::locked: return "locked";
    case ItemOutcome::rescheduled: return "rescheduled";
    case ItemOutcome::queue_full: return "queue_full";
  }
  return "unknown";
}

std::string_view to_string(StoreFinding::Level level) noexcept {
  switch (level) {
    case StoreFinding::Level::damage: return "damage";
    case StoreFinding::Level::warning: return "warning";
    case StoreFinding::Level::note: return "note";
  }
  return "unknown";
}

std::optional<JobState> state_after(JournalKind kind, std::optional<JobState> before) noexcept {
  switch (kind) {
    case JournalKind::enqueued:
    case JournalKind::requeued:
    case JournalKind::rescued:
    case JournalKind::promoted:
    case JournalKind::retried_now: return JobState::ready;
    case JournalKind::limited:
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
    case JournalKind::trimmed:
    case JournalKind::cancelled:
    case JournalKind::dropped: return std::nullopt;
    case JournalKind::diverted:
    case JournalKind::moved: return before;
  }
  return std::nullopt;
}

std::optional<LockUntil> lock_freed_by(JournalKind kind) noexcept {
  switch (kind) {
    case JournalKind::started: return LockUntil::started;
    case JournalKind::finished:
    case JournalKind::died:
    case JournalKind::quarantined:
    case JournalKind::discarded:
    case JournalKind::expired:
    case JournalKind::trimmed: return LockUntil::done;
    case JournalKind::deleted:
    case JournalKind::cancelled:
    case JournalKind::dropped: return LockUntil::period;
    case JournalKind::enqueued:
    case JournalKind::scheduled:
    case JournalKind::retried:
    case JournalKind::snoozed:
    case JournalKind::requeued:
    case JournalKind::rescued:
    case JournalKind::promoted:
    case JournalKind::retried_now:
    case JournalKind::moved:
    case JournalKind::limited:
    case JournalKind::diverted: break;
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
