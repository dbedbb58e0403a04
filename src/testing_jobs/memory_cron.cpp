// Jobs that recur: their table, who fires them, and firing.

#include "testing_jobs/memory_jobs.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/store_bounds.hpp"

#include <algorithm>

namespace dagverk::testing_jobs {

using jobs::ItemOutcome;

namespace {

Error no_such_entry(std::string_view name) {
  return {ErrorCode::not_found, concat("there is no cron entry \"", name, "\"")};
}

bool same_slots(const jobs::CronEntry& left, const jobs::CronEntry& right) {
  return left.schedule == right.schedule && left.zone == right.zone;
}

bool same(const jobs::CronEntry& left, const jobs::CronEntry& right) {
  return same_slots(left, right) && left.class_name == right.class_name && left.queue == right.queue &&
         left.args_json == right.args_json && left.missed == right.missed && left.origin == right.origin;
}

}  // namespace

Result<bool> MemoryJobs::put_cron(jobs::CronEntry entry) {
  if (auto ok = jobs::check(entry); !ok) return ok.error().with("put_cron");
  const auto known = cron_.find(entry.name);
  entry.pause.reset();
  if (known != cron_.end()) {
    if (same(known->second, entry)) return false;
    const WallTime last = known->second.last_slot;
    entry.last_slot = same_slots(known->second, entry) ? last : std::max(last, entry.last_slot);
    entry.pause = known->second.pause;
  } else if (cron_.size() >= jobs::cron_entry_count_limit) {
    return Error{ErrorCode::refused,
                 concat("put_cron: there are ", jobs::cron_entry_count_limit, " entries already; remove one")};
  }
  entry.revision = ++cron_version_;
  std::string name = entry.name;
  cron_.insert_or_assign(std::move(name), std::move(entry));
  return true;
}

Result<bool> MemoryJobs::remove_cron(const std::string& name) {
  if (auto ok = jobs::check_cron_name(name); !ok) return ok.error().with("remove_cron");
  if (cron_.erase(name) == 0) return false;
  ++cron_version_;
  return true;
}

Result<jobs::CronTable> MemoryJobs::list_cron() const {
  jobs::CronTable table;
  for (const auto& [name, entry] : cron_) table.entries.push_back(entry);
  table.version = cron_version_;
  return table;
}

Result<bool> MemoryJobs::pause_cron(const std::string& name, std::string by, std::string reason) {
  if (auto ok = jobs::check_cron_pause(name, by, reason); !ok) return ok.error().with("pause_cron");
  const auto known = cron_.find(name);
  if (known == cron_.end()) return no_such_entry(name);
  if (known->second.pause) return false;
  known->second.pause = jobs::QueuePause{std::move(by), std::move(reason), now_};
  known->second.revision = ++cron_version_;
  return true;
}

Result<bool> MemoryJobs::resume_cron(const std::string& name) {
  if (auto ok = jobs::check_cron_name(name); !ok) return ok.error().with("resume_cron");
  const auto known = cron_.find(name);
  if (known == cron_.end()) return no_such_entry(name);
  if (!known->second.pause) return false;
  known->second.pause.reset();
  known->second.last_slot = std::max(known->second.last_slot, now_);
  known->second.revision = ++cron_version_;
  return true;
}

Result<jobs::CronLead> MemoryJobs::lead_cron(const std::string& identity, Duration lease) {
  if (auto ok = jobs::check_cron_lead(identity, lease); !ok) return ok.error().with("lead_cron");
  if (steady_now_ >= cron_lead_until_) cron_leader_.clear();
  if (cron_leader_.empty() || cron_leader_ == identity) {
    cron_leader_ = lease == Duration::zero() ? std::string() : identity;
    cron_lead_until_ = steady_now_ + lease;
  }
  return jobs::CronLead{
      .leads = cron_leader_ == identity, .leader = cron_leader_, .version = cron_version_, .now = now_};
}

Result<jobs::CronFired> MemoryJobs::fire_cron(const jobs::CronFire& fire) {
  if (auto ok = jobs::check(fire); !ok) return ok.error().with("fire_cron");
  const auto known = cron_.find(fire.name);
  if (known == cron_.end()) return jobs::CronFired{ItemOutcome::missing, 0};
  jobs::CronEntry& entry = known->second;
  if (entry.revision != fire.revision || entry.pause || fire.slot <= entry.last_slot) {
    return jobs::CronFired{ItemOutcome::refused, entry.revision};
  }
  if (!fire.jobs.empty()) {
    if (const Outcomes enqueued = put_in(fire.jobs, false); !enqueued) return enqueued.error().with("fire_cron");
  }
  entry.last_slot = fire.slot;
  entry.revision = ++cron_version_;
  return jobs::CronFired{ItemOutcome::done, entry.revision};
}

}  // namespace dagverk::testing_jobs
