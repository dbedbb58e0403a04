// Jobs that recur: their table, who fires them, and firing.

#include "stores/sqlite/engine.hpp"
#include "stores/sqlite/engine_internal.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/store_bounds.hpp"

namespace dagverk::stores {

using jobs::ItemOutcome;

namespace {

Error no_such_entry(std::string_view name) {
  return {ErrorCode::not_found, concat("there is no cron entry \"", name, "\"")};
}

}  // namespace

struct Engine::CronRow {
  std::uint64_t revision = 0;
  std::int64_t last_us = 0;
  bool paused = false;
};

std::optional<Engine::CronRow> Engine::find_cron(std::string_view name) {
  Use use(statements_->cron_row);
  if (!use.text(name).step()) return std::nullopt;
  return CronRow{.revision = use.number_at(0), .last_us = use.integer_at(1), .paused = !use.is_null(2)};
}

/// What the entry that changes now has from now on.
std::uint64_t Engine::next_cron_revision() {
  Use(statements_->cron_advance).run();
  Use use(statements_->cron_state);
  return use.step() ? use.number_at(0) : 0;
}

Result<op::PutCron::Reply> Engine::apply(const op::PutCron& operation) {
  const jobs::CronEntry& entry = operation.entry;
  if (auto ok = check(entry); !ok) return ok.error().with("put_cron");
  if (auto room = check_room(entry.args_json.size()); !room) return room.error();
  std::int64_t last_us = micros_of(entry.last_slot);
  {
    Use use(statements_->cron_same);
    use.text(entry.name).text(entry.schedule).text(entry.zone).text(entry.class_name).text(entry.queue);
    use.integer(static_cast<std::int64_t>(entry.missed)).text(entry.origin).blob(entry.args_json);
    if (use.step()) {
      if (use.integer_at(0) != 0) return false;
      const bool same_slots = use.integer_at(1) != 0;
      if (same_slots || use.integer_at(2) > last_us) last_us = use.integer_at(2);
    } else {
      Use count(statements_->cron_count);
      if (count.step() && count.number_at(0) >= jobs::cron_entry_count_limit) {
        return Error{ErrorCode::refused, concat("put_cron: there are ", jobs::cron_entry_count_limit,
                                                " entries already, which is the limit; remove one")};
      }
    }
  }
  const std::uint64_t revision = next_cron_revision();
  Use(statements_->cron_put)
      .text(entry.name)
      .text(entry.schedule)
      .text(entry.zone)
      .text(entry.class_name)
      .text(entry.queue)
      .integer(static_cast<std::int64_t>(entry.missed))
      .text(entry.origin)
      .blob(entry.args_json)
      .integer(last_us)
      .number(revision)
      .run();
  return true;
}

Result<op::RemoveCron::Reply> Engine::apply(const op::RemoveCron& operation) {
  if (auto ok = jobs::check_cron_name(operation.name); !ok) return ok.error().with("remove_cron");
  Use(statements_->cron_delete).text(operation.name).run();
  if (database_->changes() == 0) return false;
  static_cast<void>(next_cron_revision());
  return true;
}

Result<op::ListCron::Reply> Engine::apply(const op::ListCron& /*operation*/) {
  jobs::CronTable table;
  {
    Use use(statements_->cron_state);
    if (use.step()) table.version = use.number_at(0);
  }
  Use use(statements_->cron_list);
  while (use.step()) {
    jobs::CronEntry& entry = table.entries.emplace_back();
    entry.name = use.bytes_at(0);
    entry.schedule = use.bytes_at(1);
    entry.zone = use.bytes_at(2);
    entry.class_name = use.bytes_at(3);
    entry.queue = use.bytes_at(4);
    entry.missed = static_cast<jobs::MissedRuns>(std::clamp<std::int64_t>(use.integer_at(5), 0, 2));
    entry.origin = use.bytes_at(6);
    entry.args_json = use.bytes_at(7);
    entry.last_slot = wall_of(use.integer_at(8));
    entry.revision = use.number_at(9);
    if (!use.is_null(10)) {
      entry.pause =
          jobs::QueuePause{std::string(use.bytes_at(11)), std::string(use.bytes_at(12)), wall_of(use.integer_at(10))};
    }
  }
  return table;
}

Result<op::PauseCron::Reply> Engine::apply(const op::PauseCron& operation) {
  if (auto ok = jobs::check_cron_pause(operation.name, operation.by, operation.reason); !ok) {
    return ok.error().with("pause_cron");
  }
  const std::optional<CronRow> row = find_cron(operation.name);
  if (!row) return no_such_entry(operation.name);
  if (row->paused) return false;
  Use(statements_->cron_pause)
      .text(operation.name)
      .integer(now_us_)
      .text(operation.by)
      .text(operation.reason)
      .number(next_cron_revision())
      .run();
  return true;
}

Result<op::ResumeCron::Reply> Engine::apply(const op::ResumeCron& operation) {
  if (auto ok = jobs::check_cron_name(operation.name); !ok) return ok.error().with("resume_cron");
  const std::optional<CronRow> row = find_cron(operation.name);
  if (!row) return no_such_entry(operation.name);
  if (!row->paused) return false;
  Use(statements_->cron_resume).text(operation.name).integer(now_us_).number(next_cron_revision()).run();
  return true;
}

Result<op::LeadCron::Reply> Engine::apply(const op::LeadCron& operation) {
  if (auto ok = jobs::check_cron_lead(operation.identity, operation.lease); !ok) return ok.error().with("lead_cron");
  const std::int64_t lease_us = micros_of(operation.lease);
  jobs::CronLead lead;
  lead.now = wall_of(now_us_);
  std::int64_t left_us = 0;
  {
    Use use(statements_->cron_state);
    if (use.step()) {
      lead.version = use.number_at(0);
      lead.leader = use.bytes_at(1);
      left_us = use.integer_at(2) - boot_now_us_;
    }
  }
  // A lease of more than any is from before the machine was started anew.
  const bool lives = !lead.leader.empty() && left_us > 0 && left_us <= micros_of(jobs::cron_lead_limit);
  const bool ours = lead.leader == operation.identity;
  if (lives && !ours) return lead;
  if (!lives) lead.leader.clear();
  if (lease_us == 0) {
    if (ours) Use(statements_->cron_lead).text("").integer(0).run();
    lead.leader.clear();
    return lead;
  }
  // Prolonged when a third of it is over: nothing is written in between.
  if (!ours || !lives || left_us < lease_us - lease_us / 3) {
    Use(statements_->cron_lead).text(operation.identity).integer(boot_now_us_ + lease_us).run();
  }
  lead.leads = true;
  lead.leader = operation.identity;
  return lead;
}

Result<op::FireCron::Reply> Engine::apply(const op::FireCron& operation) {
  const jobs::CronFire& fire = operation.fire;
  if (auto ok = check(fire); !ok) return ok.error().with("fire_cron");
  const std::optional<CronRow> row = find_cron(fire.name);
  if (!row) return jobs::CronFired{ItemOutcome::missing, 0};
  const std::int64_t slot_us = micros_of(fire.slot);
  if (row->revision != fire.revision || row->paused || slot_us <= row->last_us) {
    return jobs::CronFired{ItemOutcome::refused, row->revision};
  }
  if (!fire.jobs.empty()) {
    const Result<op::Enqueue::Reply> enqueued = apply(op::Enqueue{.jobs = fire.jobs, .bounded = false});
    if (!enqueued) return enqueued.error().with("fire_cron");
  }
  const std::uint64_t revision = next_cron_revision();
  Use(statements_->cron_fired).text(fire.name).integer(slot_us).number(revision).run();
  return jobs::CronFired{ItemOutcome::done, revision};
}

}  // namespace dagverk::stores
