#include "dagverk/jobs/store_bounds.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/cron_schedule.hpp"
#include "dagverk/jobs/job_names.hpp"
#include "dagverk/jobs/limits.hpp"

#include <algorithm>
#include <chrono>

namespace dagverk::jobs {

namespace {

Error invalid(std::string_view what, std::string_view rule) {
  return {ErrorCode::invalid_argument, concat(what, ": ", rule)};
}

Result<void> check_name(std::string_view what, std::string_view name) {
  if (!name.empty() && name.size() <= name_size_limit) return {};
  return Error{ErrorCode::invalid_argument,
               concat(what, ": needs 1 to ", name_size_limit, " bytes, got ", name.size())};
}

Result<void> check_line(std::string_view what, std::string_view text) {
  if (std::ranges::all_of(text, [](char c) { return c < 0 || (c >= ' ' && c != 0x7f); })) return {};
  return invalid(what, "must have no control characters");
}

template <class Job>
Result<void> check_labels(const Job& job) {
  if (auto ok = check_name("jid", job.jid); !ok) return ok;
  if (auto ok = check_name("queue", job.queue); !ok) return ok;
  if (job.class_name.size() > name_size_limit) return invalid("class", "at most 255 bytes");
  if (job.priority < -1000 || job.priority > 1000) return invalid("priority", "must be -1000..1000");
  if (!job.limit_key.empty()) {
    if (auto ok = check_limit_key(job.limit_key); !ok) return ok;
  }
  return {};
}

}  // namespace

Result<void> check_batch(std::string_view what, std::size_t count) {
  if (count >= 1 && count <= batch_count_limit) return {};
  return Error{ErrorCode::invalid_argument,
               concat(what, ": a batch holds 1 to ", batch_count_limit, " items, got ", count)};
}

Result<void> check_sizes(std::string_view payload, std::string_view detail) {
  if (payload.size() > payload_size_limit) {
    return Error{ErrorCode::too_large,
                 concat("payload: ", payload.size(), " bytes are over the limit of ", payload_size_limit)};
  }
  if (detail.size() > detail_size_limit) {
    return Error{ErrorCode::too_large,
                 concat("journal detail: ", detail.size(), " bytes are over the limit of ", detail_size_limit)};
  }
  return {};
}

Result<void> check_lock_key(std::string_view key) {
  if (!key.empty() && key.size() <= lock_key_size_limit) return {};
  return Error{ErrorCode::invalid_argument,
               concat("unique key: needs 1 to ", lock_key_size_limit, " bytes, got ", key.size())};
}

Result<void> check(const UniqueLock& lock) {
  if (auto ok = check_lock_key(lock.key); !ok) return ok;
  if (lock.expiry < std::chrono::milliseconds(1) || lock.expiry > lock_expiry_limit) {
    return invalid("unique expiry", concat("must be 1 ms to 366 days, got ",
                                           std::chrono::floor<std::chrono::milliseconds>(lock.expiry).count(), " ms"));
  }
  if (lock.until > LockUntil::period || lock.conflict > LockConflict::reschedule) {
    return invalid("unique lock", "no such rule");
  }
  return {};
}

Result<void> check(const EnqueueRequest& job) {
  if (auto ok = check_labels(job); !ok) return ok;
  if (job.unique) {
    if (auto ok = check(*job.unique); !ok) return ok;
  }
  return check_sizes(job.payload, job.detail);
}

Result<void> check(const MoveJob& job) {
  if (auto ok = check_name("jid", job.jid); !ok) return ok;
  if (auto ok = check_queue_name(job.queue); !ok) return ok;
  return check_sizes({}, job.detail);
}

Result<void> check_pause(std::string_view queue, std::string_view by, std::string_view reason) {
  if (auto ok = check_name("queue", queue); !ok) return ok;
  if (by.size() > name_size_limit) return invalid("by", "at most 255 bytes");
  return check_sizes({}, reason);
}

Result<void> check(const StoredJob& job, std::string_view detail) {
  if (auto ok = check_labels(job); !ok) return ok;
  if (job.reason.size() > detail_size_limit) return invalid("reason", "at most 64 KiB");
  return check_sizes(job.payload, detail);
}

Result<void> check(const Settlement& settlement) {
  using Action = Settlement::Action;
  if (settlement.queue.size() > name_size_limit) return invalid("queue", "at most 255 bytes");
  const JournalKind kind = settlement.kind;
  bool fits = false;
  switch (settlement.action) {
    case Action::finish: fits = kind == JournalKind::finished; break;
    case Action::retry: fits = kind == JournalKind::retried || kind == JournalKind::snoozed; break;
    case Action::bury: fits = kind == JournalKind::died || kind == JournalKind::quarantined; break;
    case Action::discard:
      fits = kind == JournalKind::discarded || kind == JournalKind::expired || kind == JournalKind::cancelled;
      break;
    case Action::requeue: fits = kind == JournalKind::requeued; break;
  }
  if (!fits) return invalid("settlement", concat("journal kind ", to_string(kind), " does not fit its action"));
  if (settlement.reason.size() > detail_size_limit) return invalid("reason", "at most 64 KiB");
  return check_sizes(settlement.payload ? *settlement.payload : std::string_view(), settlement.detail);
}

Result<void> check_cron_name(std::string_view name) {
  if (auto ok = check_name("cron entry", name); !ok) return ok;
  return check_line("cron entry", name);
}

Result<void> check(const CronEntry& entry) {
  if (auto ok = check_cron_name(entry.name); !ok) return ok;
  if (entry.schedule.empty() || entry.schedule.size() > cron_text_size_limit) {
    return invalid("schedule", concat("needs 1 to ", cron_text_size_limit, " bytes"));
  }
  if (auto ok = check_line("schedule", entry.schedule); !ok) return ok;
  if (auto ok = check_name("zone", entry.zone); !ok) return ok;
  if (auto ok = check_line("zone", entry.zone); !ok) return ok;
  if (auto ok = check_class_name(entry.class_name); !ok) return ok;
  if (auto ok = check_queue_name(entry.queue); !ok) return ok;
  if (entry.origin.size() > name_size_limit) return invalid("origin", "at most 255 bytes");
  if (auto ok = check_line("origin", entry.origin); !ok) return ok;
  if (entry.args_json.size() > cron_arguments_size_limit) {
    return Error{ErrorCode::too_large, concat("arguments: ", entry.args_json.size(), " bytes are over the limit of ",
                                              cron_arguments_size_limit)};
  }
  return {};
}

Result<void> check(const CronFire& fire) {
  if (auto ok = check_cron_name(fire.name); !ok) return ok;
  if (!fire.jobs.empty()) {
    if (auto ok = check_batch("fire_cron", fire.jobs.size()); !ok) return ok;
  }
  for (const EnqueueRequest& job : fire.jobs) {
    if (auto ok = check(job); !ok) return ok;
    if (job.unique) return invalid("unique lock", "jobs of a cron slot have none; the slot is fired once as it is");
  }
  return {};
}

Result<void> check_cron_pause(std::string_view name, std::string_view by, std::string_view reason) {
  if (auto ok = check_cron_name(name); !ok) return ok;
  return check_pause("cron", by, reason);
}

Result<void> check_cron_lead(std::string_view identity, Duration lease) {
  if (auto ok = check_name("identity", identity); !ok) return ok;
  if (lease < Duration::zero() || lease > cron_lead_limit) return invalid("lease", "must be 0 to 30 s");
  return {};
}

Result<void> check(const RecordUpdate& update) {
  if (auto ok = check_name("jid", update.jid); !ok) return ok;
  if (update.record.size() > record_size_limit) return invalid("record", "at most 64 KiB");
  return {};
}

Result<void> check(const NodeSpec& spec) {
  if (spec.name.size() > name_size_limit) return invalid("node name", "at most 255 bytes");
  if (spec.identity.size() > name_size_limit) return invalid("node identity", "at most 255 bytes");
  if (spec.detail.size() > detail_size_limit) return invalid("node detail", "at most 64 KiB");
  return {};
}

Result<void> check(const Heartbeat& beat) {
  if (beat.detail && beat.detail->size() > detail_size_limit) return invalid("node detail", "at most 64 KiB");
  if (beat.jobs.size() > node_jobs_limit) return invalid("heartbeat", "shows at most 1000 jobs");
  return {};
}

}  // namespace dagverk::jobs
