// Whole stores: jobs from elsewhere, looking for damage, copies.

#include "stores/sqlite/database_copy.hpp"
#include "stores/sqlite/engine.hpp"
#include "stores/sqlite/engine_internal.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/store_bounds.hpp"

namespace dagverk::stores {

using jobs::ItemOutcome;
using jobs::JobState;
using jobs::JournalKind;
using Level = jobs::StoreFinding::Level;

namespace {

/// The journal row that says how a job came to be in this state.
JournalKind arrival(JobState state) noexcept {
  switch (state) {
    case JobState::scheduled: return JournalKind::scheduled;
    case JobState::retrying: return JournalKind::retried;
    case JobState::dead: return JournalKind::died;
    case JobState::ready:
    case JobState::running: break;
  }
  return JournalKind::enqueued;
}

}  // namespace

Result<op::Restore::Reply> Engine::apply(const op::Restore& operation) {
  if (auto ok = jobs::check_batch("restore", operation.jobs.size()); !ok) return ok.error();
  std::size_t size = 0;
  for (const jobs::StoredJob& job : operation.jobs) {
    if (auto ok = jobs::check(job, operation.detail); !ok) return ok.error().with("restore");
    size += job.payload.size();
  }
  if (auto room = check_room(size); !room) return room.error();
  std::vector<ItemOutcome> outcomes;
  outcomes.reserve(operation.jobs.size());
  for (const jobs::StoredJob& job : operation.jobs) {
    auto made = make_queue(job.queue);
    if (!made) return made.error();
    Queue& queue = **made;
    const JobState state = job.state == JobState::running ? JobState::ready : job.state;
    {
      Use insert(statements_->job_restore);
      insert.number(next_id())
          .integer(static_cast<std::int64_t>(state))
          .integer(queue.id)
          .integer(rank_of(job.priority))
          .integer(job.journaled ? flag_journaled : 0);
      if (state == JobState::ready) {
        insert.null();
      } else {
        insert.integer(job.due ? micros_of(*job.due) : now_us_);
      }
      insert.integer(micros_of(job.enqueued_at)).integer(job.rescues).text(job.jid).text(job.class_name);
      if (state == JobState::dead) {
        insert.text(job.reason);
      } else {
        insert.null();
      }
      insert.blob(job.payload);
      put_limit_key(insert, job.limit_key);
      insert.run();
    }
    if (database_->changes() == 0) {
      ++duplicates_;
      outcomes.push_back(ItemOutcome::duplicate);
      continue;
    }
    count_state(queue, state, 1);
    count(queue, Count::enqueued);
    journal(job.journaled, arrival(state), queue, job.jid, job.class_name, operation.detail);
    outcomes.push_back(ItemOutcome::done);
  }
  return outcomes;
}

Result<op::Check::Reply> Engine::apply(const op::Check& /*operation*/) {
  std::vector<jobs::StoreFinding> findings;
  const auto find = [&](Level level, std::string text) {
    if (findings.size() < jobs::finding_count_limit) findings.push_back({level, std::move(text)});
  };
  {
    Statement integrity(*database_, "PRAGMA integrity_check(50)");
    Use use(integrity);
    while (use.step()) {
      if (use.bytes_at(0) != "ok") {
        find(Level::damage, concat("the file is damaged: ", use.bytes_at(0),
                                   "; restore a backup, or export what is "
                                   "readable and import it elsewhere"));
      }
    }
  }
  {
    // What each queue says it holds beside what is there.
    Statement counted(*database_,
                      "SELECT q.name, q.ready, q.scheduled, q.retrying, q.running, q.dead, "
                      "count(j.id) FILTER (WHERE j.state = 0), count(j.id) FILTER (WHERE j.state = 1), "
                      "count(j.id) FILTER (WHERE j.state = 2), count(j.id) FILTER (WHERE j.state = 3), "
                      "count(j.id) FILTER (WHERE j.state = 4) "
                      "FROM dagverk_queue q LEFT JOIN dagverk_job j ON j.queue = q.id GROUP BY q.id ORDER BY q.name");
    Use use(counted);
    constexpr std::string_view states[] = {"ready", "scheduled", "retrying", "running", "dead"};
    while (use.step()) {
      for (int state = 0; state < 5; ++state) {
        if (use.integer_at(1 + state) == use.integer_at(6 + state)) continue;
        find(Level::damage, concat("queue ", use.bytes_at(0), " counts ", use.integer_at(1 + state), " ", states[state],
                                   " jobs and holds ", use.integer_at(6 + state)));
      }
    }
  }
  const auto count_of = [&](const char* sql) {
    Statement statement(*database_, sql);
    Use use(statement);
    return use.step() ? use.integer_at(0) : 0;
  };
  if (const auto lost = count_of("SELECT count(*) FROM dagverk_job WHERE queue NOT IN (SELECT id FROM dagverk_queue)");
      lost > 0) {
    find(Level::damage, concat(lost, " jobs name a queue that is not there; nobody takes them"));
  }
  if (const auto odd = count_of("SELECT count(*) FROM dagverk_job WHERE state NOT BETWEEN 0 AND 4"); odd > 0) {
    find(Level::damage, concat(odd, " jobs are in no state that is known"));
  }
  if (const auto orphans = count_of("SELECT count(*) FROM dagverk_job WHERE state = 3 AND (node IS NULL OR node NOT IN "
                                    "(SELECT id FROM dagverk_node))");
      orphans > 0) {
    find(Level::damage, concat(orphans,
                               " running jobs belong to no node, so nobody rescues them; export and import "
                               "makes them ready"));
  }
  if (const auto timeless = count_of("SELECT count(*) FROM dagverk_job WHERE state IN (1, 2, 4) AND due_us IS NULL");
      timeless > 0) {
    find(Level::damage, concat(timeless, " scheduled, retrying or dead jobs have no time; they stay for ever"));
  }
  const std::int64_t dead = count_of("SELECT dead FROM dagverk_meta");
  const std::int64_t dead_found = count_of("SELECT count(*) FROM dagverk_job WHERE state = 4");
  if (dead != dead_found) find(Level::damage, concat("the store counts ", dead, " dead jobs and holds ", dead_found));
  const std::int64_t rows = count_of("SELECT journal_rows FROM dagverk_meta");
  const std::int64_t rows_found = count_of("SELECT count(*) FROM dagverk_journal");
  if (rows != rows_found) {
    find(Level::damage, concat("the store counts ", rows, " journal rows and holds ", rows_found));
  }
  return findings;
}

Result<op::Backup::Reply> Engine::apply(const op::Backup& operation) {
  if (operation.file.empty()) {
    return Error{ErrorCode::invalid_argument, "backup: name the file to write: dagverk store backup FILE"};
  }
  // Its own connection: this one is inside a transaction.
  auto source = Database::open(options_.path, *options_.clock, options_.lock_wait);
  if (!source) return source.error();
  if (auto copied = copy_database(**source, operation.file); !copied) return copied.error();
  return operation.file;
}

}  // namespace dagverk::stores
