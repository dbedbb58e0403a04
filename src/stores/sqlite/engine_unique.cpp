// Unique keys: who holds one, until when, and what becomes of the others.

#include "stores/sqlite/engine.hpp"
#include "stores/sqlite/engine_internal.hpp"

#include "dagverk/jobs/store_bounds.hpp"

namespace dagverk::stores {

using jobs::ItemOutcome;
using jobs::JobState;
using jobs::JournalKind;

namespace {

/// Removed with each key that is taken, so that what has expired does not grow.
constexpr std::size_t expired_per_claim = 4;

jobs::HeldLock lock_at(Use& use) {
  jobs::HeldLock lock;
  lock.key = use.bytes_at(0);
  lock.jid = use.bytes_at(1);
  lock.until = static_cast<jobs::LockUntil>(use.integer_at(2));
  lock.taken_at = wall_of(use.integer_at(3));
  lock.expires_at = wall_of(use.integer_at(4));
  return lock;
}

}  // namespace

/// Who holds the key now. One taken before the clock was put back begins anew.
std::optional<jobs::HeldLock> Engine::held_lock(std::string_view key) {
  jobs::HeldLock lock;
  {
    Use use(statements_->unique_row);
    if (!use.text(key).step()) return std::nullopt;
    lock = lock_at(use);
  }
  const WallTime now = wall_of(now_us_);
  if (now < lock.taken_at) {
    lock.expires_at -= lock.taken_at - now;
    lock.taken_at = now;
    Use(statements_->unique_again).text(key).integer(now_us_).integer(micros_of(lock.expires_at)).run();
  }
  if (lock.expires_at > now) return lock;
  Use(statements_->unique_delete).text(key).run();
  --unique_held_;
  meta_changed_ = true;
  return std::nullopt;
}

/// Gives the request's key to its job, unless that is in the store, and says where it goes. Any other answer than
/// `done`: it stays out.
ItemOutcome Engine::claim(const jobs::EnqueueRequest& request, bool bounded, Admission& admission) {
  const jobs::UniqueLock& wanted = *request.unique;
  meta_changed_ = true;
  if (unique_held_ > 0) forget_expired_locks(expired_per_claim);
  const std::optional<jobs::HeldLock> held = unique_held_ > 0 ? held_lock(wanted.key) : std::nullopt;
  if (find_job(request.jid) != 0 || (held && held->jid == request.jid)) {
    ++duplicates_;
    return ItemOutcome::duplicate;
  }
  JobRow holder;
  bool replaces = false;
  if (held) {
    const std::int64_t id = find_job(held->jid);
    const bool waits =
        id != 0 && load_job(id, holder) && holder.state != JobState::running && holder.state != JobState::dead;
    if (!waits || wanted.conflict == jobs::LockConflict::refuse) {
      ++unique_refused_;
      return ItemOutcome::locked;
    }
    if (wanted.conflict == jobs::LockConflict::reschedule) {
      reschedule(holder, request.due, jobs::lock_detail(wanted.conflict, request.jid));
      return ItemOutcome::rescheduled;
    }
    replaces = true;
  }
  if (bounded) admit(admission, replaces ? &holder : nullptr);
  if (admission.queue == nullptr) return ItemOutcome::queue_full;
  if (replaces) {
    delete_job(holder, Count::deleted, JournalKind::deleted, jobs::lock_detail(wanted.conflict, request.jid));
  }
  Use(statements_->unique_insert)
      .text(wanted.key)
      .text(request.jid)
      .integer(static_cast<std::int64_t>(wanted.until))
      .integer(now_us_)
      .integer(now_us_ + micros_of(wanted.expiry))
      .run();
  ++unique_held_;
  return ItemOutcome::done;
}

/// Of a job that waits. One that is to run now and is in its queue already keeps its place.
void Engine::reschedule(const JobRow& row, std::optional<WallTime> due, std::string_view detail) {
  if (!due && row.state == JobState::ready) return;
  const JobState state = due ? JobState::scheduled : JobState::ready;
  {
    // The new id is its place in line, and makes handles to its old place worthless.
    Use use(statements_->job_reschedule);
    use.number(next_id()).integer(static_cast<std::int64_t>(state)).integer(rank_in_line(row.rank));
    if (due) {
      use.integer(micros_of(*due));
    } else {
      use.null();
    }
    use.integer(now_us_).integer(row.id).run();
  }
  Queue& queue = queue_of(row.queue);
  count_state(queue, row.state, -1);
  count_state(queue, state, 1);
  journal(row.journaled(), due ? JournalKind::scheduled : JournalKind::promoted, queue, row.jid, row.class_name,
          detail);
}

void Engine::free_lock(std::string_view jid, JournalKind kind) {
  const std::optional<jobs::LockUntil> freed = jobs::lock_freed_by(kind);
  if (!freed) return;
  Use(statements_->unique_free).text(jid).integer(static_cast<std::int64_t>(*freed)).run();
  if (database_->changes() == 0) return;
  unique_held_ -= database_->changes();
  meta_changed_ = true;
}

void Engine::forget_expired_locks(std::size_t limit) {
  Use(statements_->unique_expire).integer(now_us_).number(limit).run();
  if (database_->changes() == 0) return;
  unique_held_ -= database_->changes();
  meta_changed_ = true;
}

Result<op::FindLock::Reply> Engine::apply(const op::FindLock& operation) {
  if (auto ok = jobs::check_lock_key(operation.key); !ok) return ok.error().with("find_lock");
  Use use(statements_->unique_row);
  if (!use.text(operation.key).step()) return std::optional<jobs::HeldLock>();
  jobs::HeldLock lock = lock_at(use);
  if (lock.expires_at <= options_.clock->wall_now()) return std::optional<jobs::HeldLock>();
  return std::optional(std::move(lock));
}

Result<op::ListLocks::Reply> Engine::apply(const op::ListLocks& operation) {
  if (auto ok = jobs::check_batch("list_locks", operation.limit); !ok) return ok.error();
  const Result<jobs::LockCursor> after = jobs::LockCursor::read(operation.cursor, options_.clock->wall_now());
  if (!after) return after.error();
  jobs::LockPage page;
  Use use(statements_->unique_page);
  use.integer(after->expires_us).text(after->key).number(operation.limit + 1);
  while (use.step()) page.locks.push_back(lock_at(use));
  if (page.locks.size() <= operation.limit) return page;
  page.locks.resize(operation.limit);
  page.next = jobs::LockCursor::behind(page.locks.back());
  return page;
}

Result<op::ReleaseLock::Reply> Engine::apply(const op::ReleaseLock& operation) {
  if (auto ok = jobs::check_lock_key(operation.key); !ok) return ok.error().with("release_lock");
  if (!held_lock(operation.key)) return false;
  Use(statements_->unique_delete).text(operation.key).run();
  --unique_held_;
  meta_changed_ = true;
  return true;
}

}  // namespace dagverk::stores
