#include "jobs/cron_firer.hpp"

#include "jobs/journal_detail.hpp"
#include "jobs/time_zone.hpp"

#include "dagverk/jobs/job_codec.hpp"

#include <algorithm>
#include <utility>

namespace dagverk::jobs {

void CronFirer::init() { sleep_for(Duration::zero()); }

Async<void> CronFirer::handle_info(Wake wake) {
  if (wake.round != round_ || quiet_) co_return;
  const Result<Duration> delay = co_await work();
  if (!delay) {
    version_.reset();  // what was asked for may have happened
    ++env_->counters.store_errors;
    health_.failed(*env_, delay.error());
    env_->runtime.logger().warning("cron.failed", {{"error", delay.error().message()}});
    sleep_for(backoff_.next());
    co_return;
  }
  backoff_.reset();
  health_.works(*env_);
  sleep_for(*delay);
}

Async<bool> CronFirer::handle_call(Quiet /*quiet*/) {
  quiet_ = true;
  if (!std::exchange(leads_, false)) co_return true;
  std::string identity = env_->identity;
  const Result<CronLead> left = co_await env_->store.lead_cron(std::move(identity), Duration::zero());
  co_return left.has_value();  // else the lease runs out
}

Async<Result<Duration>> CronFirer::work() {
  std::string identity = env_->identity;
  const Result<CronLead> lead = co_await env_->store.lead_cron(std::move(identity), lease);
  if (!lead) co_return lead.error();
  if (lead->leads && !leads_) {
    env_->runtime.logger().info("cron.leading", {{"node", env_->name}});
  } else if (!lead->leads && leads_) {
    env_->runtime.logger().info("cron.following", {{"node", env_->name}, {"leader", lead->leader}});
  }
  leads_ = lead->leads;
  if (!own_.empty()) {
    version_.reset();
    if (Result<void> put = co_await put_own(lead->now); !put) co_return put.error();
  }
  if (!leads_) co_return follow_interval;
  if (version_ != lead->version) {
    if (Result<void> read = co_await read_table(); !read) co_return read.error();
  }
  for (Planned& planned : plan_) {
    if (!planned.next || *planned.next > lead->now) continue;
    if (Result<void> fired = co_await fire(planned, lead->now); !fired) co_return fired.error();
  }
  if (plan_.empty()) co_return follow_interval;
  Duration delay = lead_interval;
  for (const Planned& planned : plan_) {
    if (planned.next) delay = std::min<Duration>(delay, *planned.next - lead->now);
  }
  co_return std::max<Duration>(delay, std::chrono::milliseconds(1));
}

/// What the program itself wants to recur. New entries begin now.
Async<Result<void>> CronFirer::put_own(WallTime now) {
  while (!own_.empty()) {
    CronEntry entry = own_.back();
    entry.last_slot = now;
    const Result<bool> put = co_await env_->store.put_cron(std::move(entry));
    const bool hopeless =
        !put && (put.error().code() == ErrorCode::refused || put.error().code() == ErrorCode::invalid_argument ||
                 put.error().code() == ErrorCode::too_large);
    if (!put && !hopeless) co_return put.error();
    if (hopeless) {
      env_->runtime.logger().error("cron.not_added", {{"entry", own_.back().name}, {"error", put.error().message()}});
    }
    own_.pop_back();
  }
  co_return Result<void>();
}

Async<Result<void>> CronFirer::read_table() {
  Result<CronTable> table = co_await env_->store.list_cron();
  if (!table) co_return table.error();
  plan_.clear();
  for (CronEntry& entry : table->entries) {
    if (entry.pause) continue;
    Result<CronSchedule> schedule = schedule_of(entry);
    if (!schedule) {
      env_->runtime.logger().error("cron.unreadable", {{"entry", entry.name}, {"error", schedule.error().message()}});
      continue;
    }
    const std::optional<WallTime> next = schedule->next_after(entry.last_slot);
    plan_.push_back({std::move(entry), std::move(*schedule), next});
  }
  version_ = table->version;
  co_return Result<void>();
}

Result<CronSchedule> CronFirer::schedule_of(const CronEntry& entry) {
  auto zone = zones_.find(entry.zone);
  if (zone == zones_.end()) {
    Result<std::shared_ptr<const TimeZone>> loaded = TimeZone::load(entry.zone);
    if (!loaded) return loaded.error();
    zone = zones_.emplace(entry.zone, std::move(*loaded)).first;
  }
  return CronSchedule::parse(entry.schedule, zone->second);
}

Result<CronFire> CronFirer::fire_of(const Planned& planned, const DueSlots& due) {
  CronFire fire{.name = planned.entry.name, .revision = planned.entry.revision, .slot = due.until};
  const JobClass* const known = env_->registry.find(planned.entry.class_name);
  for (const WallTime slot : due.fire) {
    NewJob job{.job_class = planned.entry.class_name, .args_json = planned.entry.args_json};
    job.queue = planned.entry.queue;
    const Result<Job> encoded = encode_new_job(job, env_->now(), random_jid, env_->options.codec);
    if (!encoded) return encoded.error();
    EnqueueRequest request;
    request.jid = std::string(encoded->jid());
    request.queue = planned.entry.queue;
    request.class_name = planned.entry.class_name;
    request.payload = std::string(encoded->payload());
    request.journaled = known == nullptr || known->options.journaled;
    JournalDetail detail;
    detail.text("cron", planned.entry.name).time("slot", slot);
    request.detail = std::move(detail).take();
    fire.jobs.push_back(std::move(request));
  }
  return fire;
}

Async<Result<void>> CronFirer::fire(Planned& planned, WallTime now) {
  const std::optional<DueSlots> due = due_slots(planned.schedule, planned.entry.missed, planned.entry.last_slot, now);
  if (!due) {
    planned.next = planned.schedule.next_after(planned.entry.last_slot);
    co_return Result<void>();
  }
  Result<CronFire> fire = fire_of(planned, *due);
  if (!fire) {  // its arguments are no list
    env_->runtime.logger().error("cron.unreadable", {{"entry", planned.entry.name}, {"error", fire.error().message()}});
    fire = CronFire{.name = planned.entry.name, .revision = planned.entry.revision, .slot = due->until};
  }
  CronFire sent = *fire;
  const Result<CronFired> fired = co_await env_->store.fire_cron(std::move(sent));
  if (!fired) co_return fired.error();
  if (fired->outcome != ItemOutcome::done) {
    version_.reset();  // somebody has changed it, or was first
    planned.next.reset();
    co_return Result<void>();
  }
  if (version_ && *version_ + 1 == fired->revision) {
    version_ = fired->revision;
  } else {
    version_.reset();
  }
  planned.entry.revision = fired->revision;
  planned.entry.last_slot = due->until;
  planned.next = planned.schedule.next_after(due->until);
  if (due->missed) {
    env_->runtime.logger().warning("cron.missed", {{"entry", planned.entry.name},
                                                   {"rule", to_string(planned.entry.missed)},
                                                   {"late_s", (now - *due->missed) / std::chrono::seconds(1)},
                                                   {"runs", fire->jobs.size()}});
  }
  tell(*fire);
  co_return Result<void>();
}

void CronFirer::tell(const CronFire& fire) const {
  for (const EnqueueRequest& job : fire.jobs) {
    env_->runtime.logger().debug("cron.fired", {{"entry", fire.name}, {"jid", job.jid}});
    if (!env_->events->wants(event_kind<JobEnqueued>)) continue;
    JobIdentity identity{.jid = job.jid, .job_class = job.class_name, .queue = job.queue, .node = env_->name};
    env_->events->notify(JobEnqueued{std::move(identity), env_->now()});
  }
}

void CronFirer::sleep_for(Duration delay) { send_after(delay, Wake{++round_}); }

}  // namespace dagverk::jobs
