// Unique keys: who holds one, until when, and what becomes of the others.

#include "testing_jobs/memory_jobs.hpp"

#include "dagverk/jobs/store_bounds.hpp"

#include <algorithm>
#include <chrono>
#include <tuple>

namespace dagverk::testing_jobs {

using jobs::ItemOutcome;
using jobs::JobState;
using jobs::JournalKind;
using jobs::QueueCounts;

namespace {

WallTime whole_micros(WallTime time) { return std::chrono::floor<std::chrono::microseconds>(time); }

}  // namespace

/// Who holds the key now; null: nobody. One taken before the clock was put back begins anew.
jobs::HeldLock* MemoryJobs::held_lock(const std::string& key) {
  const auto found = unique_.find(key);
  if (found == unique_.end()) return nullptr;
  jobs::HeldLock& lock = found->second;
  if (const WallTime now = whole_micros(now_); now < lock.taken_at) {
    lock.expires_at -= lock.taken_at - now;
    lock.taken_at = now;
  }
  if (lock.expires_at > now_) return &lock;
  forget_lock(found);
  return nullptr;
}

void MemoryJobs::forget_lock(std::map<std::string, jobs::HeldLock>::iterator lock) {
  const auto of_jid = unique_by_jid_.find(lock->second.jid);
  if (of_jid != unique_by_jid_.end() && of_jid->second == lock->first) unique_by_jid_.erase(of_jid);
  unique_.erase(lock);
}

void MemoryJobs::forget_expired_locks() {
  for (auto lock = unique_.begin(); lock != unique_.end();) {
    const auto next = std::next(lock);
    if (lock->second.expires_at <= now_) forget_lock(lock);
    lock = next;
  }
}

/// Gives the request's key to its job, which is not in the store, and says where it goes. Any other answer than `done`:
/// it stays out.
ItemOutcome MemoryJobs::claim(const jobs::EnqueueRequest& request, bool bounded, Admission& admission) {
  const jobs::UniqueLock& wanted = *request.unique;
  Job* replaced = nullptr;
  if (const jobs::HeldLock* const held = held_lock(wanted.key)) {
    if (held->jid == request.jid) {
      ++duplicates_;
      return ItemOutcome::duplicate;
    }
    Job* const holder = find_job(held->jid);
    const bool waits =
        holder != nullptr && holder->stored.state != JobState::running && holder->stored.state != JobState::dead;
    if (!waits || wanted.conflict == jobs::LockConflict::refuse) {
      ++locked_;
      return ItemOutcome::locked;
    }
    if (wanted.conflict == jobs::LockConflict::reschedule) {
      reschedule(*holder, request.due, jobs::lock_detail(wanted.conflict, request.jid));
      return ItemOutcome::rescheduled;
    }
    replaced = holder;
  }
  if (bounded) admission = admit(request, replaced);
  if (admission.queue.empty()) return ItemOutcome::queue_full;
  if (replaced != nullptr) {
    drop(*replaced, &QueueCounts::deleted, JournalKind::deleted, jobs::lock_detail(wanted.conflict, request.jid));
  }
  const WallTime now = whole_micros(now_);
  unique_[wanted.key] = {.key = wanted.key,
                         .jid = request.jid,
                         .until = wanted.until,
                         .taken_at = now,
                         .expires_at = whole_micros(now + wanted.expiry)};
  unique_by_jid_[request.jid] = wanted.key;
  return ItemOutcome::done;
}

/// Of a job that waits. One that is to run now and is in its queue already keeps its place.
void MemoryJobs::reschedule(Job& job, std::optional<WallTime> due, std::string_view detail) {
  if (!due && job.stored.state == JobState::ready) return;
  leave(job);
  renew_handle(job);
  job.stored.enqueued_at = now_;
  job.stored.due = due;
  enter(job, due ? JobState::scheduled : JobState::ready);
  note(job, due ? JournalKind::scheduled : JournalKind::promoted, detail);
}

void MemoryJobs::free_lock(const std::string& jid, JournalKind kind) {
  const std::optional<jobs::LockUntil> freed = jobs::lock_freed_by(kind);
  const auto of_jid = freed ? unique_by_jid_.find(jid) : unique_by_jid_.end();
  if (of_jid == unique_by_jid_.end()) return;
  const auto found = unique_.find(of_jid->second);
  const bool held = found != unique_.end() && found->second.jid == jid;
  if (!held) {
    unique_by_jid_.erase(of_jid);
  } else if (found->second.until <= *freed) {
    forget_lock(found);
  }
}

Result<std::optional<jobs::HeldLock>> MemoryJobs::find_lock(const std::string& key) const {
  if (auto ok = jobs::check_lock_key(key); !ok) return ok.error().with("find_lock");
  const auto found = unique_.find(key);
  if (found == unique_.end() || found->second.expires_at <= now_) return std::optional<jobs::HeldLock>();
  return std::optional(found->second);
}

Result<jobs::LockPage> MemoryJobs::list_locks(const std::string& cursor, std::size_t limit) const {
  if (auto ok = jobs::check_batch("list_locks", limit); !ok) return ok.error();
  const Result<jobs::LockCursor> after = jobs::LockCursor::read(cursor, now_);
  if (!after) return after.error();
  const WallTime expires_at{std::chrono::microseconds(after->expires_us)};
  jobs::LockPage page;
  for (const auto& [key, lock] : unique_) {
    if (std::tie(lock.expires_at, key) > std::tie(expires_at, after->key)) page.locks.push_back(lock);
  }
  std::ranges::sort(page.locks, [](const jobs::HeldLock& a, const jobs::HeldLock& b) {
    return std::tie(a.expires_at, a.key) < std::tie(b.expires_at, b.key);
  });
  if (page.locks.size() <= limit) return page;
  page.locks.resize(limit);
  page.next = jobs::LockCursor::behind(page.locks.back());
  return page;
}

Result<bool> MemoryJobs::release_lock(const std::string& key) {
  if (auto ok = jobs::check_lock_key(key); !ok) return ok.error().with("release_lock");
  if (held_lock(key) == nullptr) return false;
  forget_lock(unique_.find(key));
  return true;
}

}  // namespace dagverk::testing_jobs
