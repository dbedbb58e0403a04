// The life of a job: enqueue, take, settle, promote, move and remove.

#include "stores/sqlite/engine.hpp"
#include "stores/sqlite/engine_internal.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/jobs/job_codec.hpp"
#include "dagverk/jobs/store_bounds.hpp"

#include <algorithm>
#include <limits>

namespace dagverk::stores {

using jobs::check_batch;
using jobs::check_sizes;
using jobs::ItemOutcome;
using jobs::JobState;
using jobs::JournalKind;

Result<op::Enqueue::Reply> Engine::apply(const op::Enqueue& operation) {
  if (auto ok = check_batch("enqueue", operation.jobs.size()); !ok) return ok.error();
  std::size_t size = 0;
  for (const jobs::EnqueueRequest& job : operation.jobs) {
    if (auto ok = check(job); !ok) return ok.error().with("enqueue");
    size += job.payload.size();
  }
  if (auto room = check_room(size); !room) return room.error();
  std::vector<Queue*> queues;
  queues.reserve(operation.jobs.size());
  for (const jobs::EnqueueRequest& job : operation.jobs) {
    // Jobs of a batch mostly share their queue.
    if (!queues.empty() && queues.back()->name == job.queue) {
      queues.push_back(queues.back());
      continue;
    }
    auto queue = make_queue(job.queue);
    if (!queue) return queue.error();
    queues.push_back(*queue);
  }
  std::vector<ItemOutcome> outcomes;
  outcomes.reserve(operation.jobs.size());
  for (std::size_t index = 0; index < operation.jobs.size(); ++index) {
    const jobs::EnqueueRequest& job = operation.jobs[index];
    const JobState state = job.due ? JobState::scheduled : JobState::ready;
    Admission admission{.queue = queues[index]};
    if (const ItemOutcome in = let_in(job, operation.bounded, admission); in != ItemOutcome::done) {
      if (in == ItemOutcome::queue_full) count(*queues[index], Count::refused);
      outcomes.push_back(in);
      continue;
    }
    Queue& queue = *admission.queue;
    const bool diverted = &queue != queues[index];
    if (admission.drops) drop_oldest(queue, job.jid);
    {
      const std::string changed = diverted ? jobs::payload_in_queue(job.payload, queue.name) : std::string();
      Use insert(statements_->job_insert);
      insert.number(next_id())
          .integer(static_cast<std::int64_t>(state))
          .integer(queue.id)
          .integer(rank_of(job.priority));
      insert.integer(job.journaled ? flag_journaled : 0);
      if (job.due) {
        insert.integer(micros_of(*job.due));
      } else {
        insert.null();
      }
      insert.integer(now_us_).text(job.jid).text(job.class_name).blob(diverted ? changed : job.payload);
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
    journal(job.journaled, job.due ? JournalKind::scheduled : JournalKind::enqueued, queue, job.jid, job.class_name,
            job.detail);
    if (diverted) {
      count(*queues[index], Count::diverted);
      journal(job.journaled, JournalKind::diverted, queue, job.jid, job.class_name,
              jobs::diverted_detail(queues[index]->name));
    }
    outcomes.push_back(ItemOutcome::done);
  }
  return outcomes;
}

Result<op::Take::Reply> Engine::apply(const op::Take& operation) {
  const jobs::TakeRequest& request = operation.request;
  if (auto ok = check_batch("take", request.max); !ok) return ok.error();
  if (auto ok = check_batch("take: queues", request.queues.size()); !ok) return ok.error();
  if (auto live = check_node(request.node); !live) return live.error();
  Taking taking;
  for (const std::string& name : request.queues) {
    if (taking.jobs.size() == request.max || taking.ended()) break;
    Queue* const queue = find_queue(name);
    if (queue == nullptr || is_paused(*queue)) continue;
    std::size_t room = room_in(*queue, request.max - taking.jobs.size());
    // Mostly once: only what a key's limit holds back makes room for others.
    for (bool again = true; again && room > 0 && !taking.ended();) {
      const std::size_t first = taking.jobs.size();
      read_ready(*queue, request.node, room, taking);
      again = hold_back_some(*queue, taking, first);
      // Claimed row by row, by id: the form in which SQLite needs no statement journal.
      for (std::size_t index = first; index < taking.jobs.size(); ++index) {
        jobs::TakenJob& job = taking.jobs[index];
        job.token.execution = next_id();
        Use(taking.keyed.empty() ? statements_->job_claim : statements_->key_claim)
            .number(job.token.node)
            .number(job.token.execution)
            .integer(now_us_)
            .number(job.token.job)
            .run();
        count_state(*queue, JobState::ready, -1);
        count_state(*queue, JobState::running, 1);
        journal(job.journaled, JournalKind::started, *queue, job.jid, job.class_name, {});
      }
      remember_claims(taking, first, *queue);
      use_queue_tokens(*queue, taking.jobs.size() - first);
      room -= taking.jobs.size() - first;
    }
  }
  for (jobs::TakenJob& job : taking.jobs) job.journaled = job.journaled && options_.journal;
  return std::move(taking.jobs);
}

/// The next jobs of a queue, not yet claimed.
void Engine::read_ready(const Queue& queue, jobs::NodeEpoch node, std::size_t count, Taking& taking) {
  taking.keyed.clear();
  Use use(statements_->job_ready);
  use.integer(queue.id).number(count);
  while (taking.size < jobs::take_size_limit && use.step()) {
    jobs::TakenJob& job = taking.jobs.emplace_back();
    job.token.node = node;
    job.token.job = use.number_at(0);
    job.queue = queue.name;
    job.journaled = (use.integer_at(2) & flag_journaled) != 0;
    job.enqueued_at = wall_of(use.integer_at(3));
    job.rescues = static_cast<std::uint32_t>(use.integer_at(4));
    job.jid = use.bytes_at(5);
    job.class_name = use.bytes_at(6);
    job.payload = use.bytes_at(7);
    taking.size += job.payload.size();
    if (use.is_null(8)) continue;
    const bool waited = (use.integer_at(2) & flag_held_back) != 0;
    taking.keyed.push_back({taking.jobs.size() - 1, waited, std::string(use.bytes_at(8))});
  }
}

void Engine::remember_claims(const Taking& taking, std::size_t first, const Queue& queue) {
  const std::vector<jobs::TakenJob>& taken = taking.jobs;
  if (claims_.size() + taken.size() > claim_count_limit) claims_.clear();
  for (std::size_t index = first; index < taken.size(); ++index) {
    const jobs::TakenJob& job = taken[index];
    Claim& claim = claims_[job.token.job];
    claim.node = job.token.node;
    claim.execution = job.token.execution;
    claim.queue = queue.id;
    claim.journaled = job.journaled && options_.journal;
    if (claim.journaled) claim.class_name = job.class_name;
    if (claim.journaled || unique_held_ > 0) claim.jid = job.jid;
  }
  for (const KeyedJob& keyed : taking.keyed) claims_[taken[keyed.index].token.job].limit_key = keyed.key;
}

/// The end of nearly every job: taken through this engine, and done. False: it is something else, or no longer so.
bool Engine::finish_claimed(const jobs::Settlement& settlement) {
  const auto known = claims_.find(settlement.token.job);
  if (known == claims_.end()) return false;
  const Claim claim = std::move(known->second);
  claims_.erase(known);
  if (settlement.action != jobs::Settlement::Action::finish || claim.execution != settlement.token.execution ||
      claim.node != settlement.token.node) {
    return false;
  }
  Use(statements_->job_finish)
      .number(settlement.token.job)
      .number(settlement.token.execution)
      .number(settlement.token.node)
      .run();
  if (database_->changes() == 0) return false;
  Queue& queue = queue_of(claim.queue);
  count_state(queue, JobState::running, -1);
  free_key_slot(claim.limit_key);
  count(queue, Count::finished);
  journal(claim.journaled, settlement.kind, queue, claim.jid, claim.class_name, settlement.detail);
  return true;
}

Result<op::Settle::Reply> Engine::apply(const op::Settle& operation) {
  if (auto ok = check_batch("settle", operation.settlements.size()); !ok) return ok.error();
  std::vector<Queue*> targets;
  targets.reserve(operation.settlements.size());
  for (const jobs::Settlement& settlement : operation.settlements) {
    if (auto ok = check(settlement); !ok) return ok.error().with("settle");
    if (settlement.queue.empty()) {
      targets.push_back(nullptr);
      continue;
    }
    auto queue = make_queue(settlement.queue);
    if (!queue) return queue.error();
    targets.push_back(*queue);
  }
  std::vector<ItemOutcome> outcomes;
  outcomes.reserve(operation.settlements.size());
  JobRow row;
  for (std::size_t index = 0; index < operation.settlements.size(); ++index) {
    const jobs::Settlement& settlement = operation.settlements[index];
    if (finish_claimed(settlement)) {
      outcomes.push_back(ItemOutcome::done);
      continue;
    }
    const bool valid = load_job(static_cast<std::int64_t>(settlement.token.job), row) &&
                       row.state == JobState::running &&
                       static_cast<std::uint64_t>(row.node) == settlement.token.node &&
                       static_cast<std::uint64_t>(row.execution) == settlement.token.execution;
    if (!valid) {
      ++refused_;
      meta_changed_ = true;
      outcomes.push_back(ItemOutcome::refused);
      continue;
    }
    settle_one(settlement, row, targets[index] != nullptr ? *targets[index] : queue_of(row.queue));
    outcomes.push_back(ItemOutcome::done);
  }
  return outcomes;
}

void Engine::settle_one(const jobs::Settlement& settlement, JobRow& row, Queue& target) {
  using Action = jobs::Settlement::Action;
  switch (settlement.action) {
    case Action::finish: return delete_job(row, Count::finished, settlement.kind, settlement.detail);
    case Action::discard:
      return delete_job(row, settlement.kind == JournalKind::expired ? Count::expired : Count::discarded,
                        settlement.kind, settlement.detail);
    case Action::requeue: return give_back(row, settlement.kind, settlement.detail);
    case Action::retry:
    case Action::bury: break;
  }
  const bool bury = settlement.action == Action::bury;
  const JobState state = bury ? JobState::dead : JobState::retrying;
  {
    Use use(settlement.payload ? statements_->job_settle_payload : statements_->job_settle);
    use.integer(static_cast<std::int64_t>(state)).integer(target.id).integer(rank_in_line(row.rank));
    use.integer(bury ? now_us_ : micros_of(settlement.due));
    if (bury) {
      use.text(settlement.reason);
    } else {
      use.null();
    }
    use.integer(row.id);
    if (settlement.payload) use.blob(*settlement.payload);
    use.run();
  }
  Queue& source = queue_of(row.queue);
  count_state(source, JobState::running, -1);
  free_key_slot(row.limit_key);
  count(source, bury ? Count::died : Count::retried);
  if (settlement.kind == JournalKind::quarantined) count(source, Count::quarantined);
  if (&source != &target) {
    count(source, Count::moved_out);
    count(target, Count::moved_in);
  }
  count_state(target, state, 1);
  journal(row.journaled(), settlement.kind, target, row.jid, row.class_name, settlement.detail);
}

/// From the hands of a node back into its queue, before its equals.
void Engine::give_back(const JobRow& row, JournalKind kind, std::string_view detail) {
  Use(statements_->job_settle)
      .integer(static_cast<std::int64_t>(JobState::ready))
      .integer(row.queue)
      .integer(rank_in_front(row.rank))
      .null()
      .null()
      .integer(row.id)
      .run();
  Queue& queue = queue_of(row.queue);
  count_state(queue, JobState::running, -1);
  free_key_slot(row.limit_key);
  count_state(queue, JobState::ready, 1);
  journal(row.journaled(), kind, queue, row.jid, row.class_name, detail);
}

/// From schedule, retry or dead set into its queue, behind all that is there.
ItemOutcome Engine::make_ready(JobRow& row, const std::optional<std::string>& payload, JournalKind kind,
                               std::string_view detail) {
  switch (row.state) {
    case JobState::ready: return ItemOutcome::missing;
    case JobState::running: return ItemOutcome::running;
    case JobState::scheduled:
    case JobState::retrying:
    case JobState::dead: break;
  }
  {
    // The new id is its place in line, and makes handles to its old place worthless.
    Use use(payload ? statements_->job_promote_payload : statements_->job_promote);
    use.number(next_id()).integer(rank_in_line(row.rank)).integer(now_us_).integer(row.id);
    if (payload) use.blob(*payload);
    use.run();
  }
  Queue& queue = queue_of(row.queue);
  count_state(queue, row.state, -1);
  count_state(queue, JobState::ready, 1);
  journal(row.journaled(), kind, queue, row.jid, row.class_name, detail);
  return ItemOutcome::done;
}

Result<op::PeekDue::Reply> Engine::apply(const op::PeekDue& operation) {
  if (auto ok = check_batch("peek_due", operation.limit); !ok) return ok.error();
  jobs::DuePage page;
  std::size_t size = 0;
  const std::int64_t now_us = micros_of(operation.now);
  const auto collect = [&](Statement& statement, JobState state) {
    Use use(statement);
    use.integer(now_us).number(operation.limit);
    // Each kind fills at most the page by itself; the merge below keeps the earliest of both.
    std::size_t kind_size = 0;
    while (kind_size < jobs::take_size_limit && use.step()) {
      jobs::DueJob& job = page.jobs.emplace_back();
      job.handle = use.number_at(0);
      job.state = state;
      job.due = wall_of(use.integer_at(1));
      job.queue = queue_of(use.integer_at(2)).name;
      job.jid = use.bytes_at(3);
      job.class_name = use.bytes_at(4);
      job.payload = use.bytes_at(5);
      kind_size += job.payload.size();
    }
  };
  collect(statements_->job_scheduled_due, JobState::scheduled);
  collect(statements_->job_retrying_due, JobState::retrying);
  std::ranges::sort(page.jobs, [](const jobs::DueJob& a, const jobs::DueJob& b) {
    return a.due != b.due ? a.due < b.due : a.handle < b.handle;
  });
  std::size_t kept = 0;
  while (kept < page.jobs.size() && kept < operation.limit && size < jobs::take_size_limit)
    size += page.jobs[kept++].payload.size();
  if (kept < page.jobs.size()) {
    page.next_due = page.jobs[kept].due;
    page.jobs.resize(kept);
    return page;
  }
  if (kept == operation.limit || size >= jobs::take_size_limit) {
    page.next_due = page.jobs.back().due;  // there may be more at once; asking again costs little
    return page;
  }
  Use next(statements_->job_next_due);
  if (next.integer(now_us).step() && !next.is_null(0)) page.next_due = wall_of(next.integer_at(0));
  return page;
}

Result<op::Promote::Reply> Engine::apply(const op::Promote& operation) {
  if (auto ok = check_batch("promote", operation.promotions.size()); !ok) return ok.error();
  for (const jobs::Promotion& promotion : operation.promotions) {
    const std::string_view payload = promotion.payload ? *promotion.payload : std::string_view();
    if (auto ok = check_sizes(payload, promotion.detail); !ok) return ok.error().with("promote");
  }
  std::vector<ItemOutcome> outcomes;
  outcomes.reserve(operation.promotions.size());
  JobRow row;
  for (const jobs::Promotion& promotion : operation.promotions) {
    const bool waiting = load_job(static_cast<std::int64_t>(promotion.handle), row) &&
                         (row.state == JobState::scheduled || row.state == JobState::retrying);
    outcomes.push_back(waiting ? make_ready(row, promotion.payload, JournalKind::promoted, promotion.detail)
                               : ItemOutcome::missing);
  }
  return outcomes;
}

Result<op::MoveNow::Reply> Engine::apply(const op::MoveNow& operation) {
  if (auto ok = check_batch("retry_now", operation.jobs.size()); !ok) return ok.error();
  for (const jobs::RetryNow& job : operation.jobs) {
    const std::string_view payload = job.payload ? *job.payload : std::string_view();
    if (auto ok = check_sizes(payload, job.detail); !ok) return ok.error().with("retry_now");
  }
  std::vector<ItemOutcome> outcomes;
  outcomes.reserve(operation.jobs.size());
  JobRow row;
  for (const jobs::RetryNow& job : operation.jobs) {
    const std::int64_t id = find_job(job.jid);
    outcomes.push_back(id != 0 && load_job(id, row) ? make_ready(row, job.payload, JournalKind::retried_now, job.detail)
                                                    : ItemOutcome::missing);
  }
  return outcomes;
}

Result<op::Remove::Reply> Engine::apply(const op::Remove& operation) {
  if (auto ok = check_batch("remove", operation.jids.size()); !ok) return ok.error();
  if (auto ok = check_sizes({}, operation.detail); !ok) return ok.error().with("remove");
  std::vector<ItemOutcome> outcomes;
  outcomes.reserve(operation.jids.size());
  JobRow row;
  for (const std::string& jid : operation.jids) {
    const std::int64_t id = find_job(jid);
    if (id == 0 || !load_job(id, row)) {
      outcomes.push_back(ItemOutcome::missing);
    } else if (row.state == JobState::running) {
      outcomes.push_back(ItemOutcome::running);
    } else {
      delete_job(row, Count::deleted, JournalKind::deleted, operation.detail);
      outcomes.push_back(ItemOutcome::done);
    }
  }
  return outcomes;
}

Result<op::KeepRecords::Reply> Engine::apply(const op::KeepRecords& operation) {
  if (auto ok = check_batch("keep_records", operation.updates.size()); !ok) return ok.error();
  for (const jobs::RecordUpdate& update : operation.updates) {
    if (auto ok = jobs::check(update); !ok) return ok.error().with("keep_records");
  }
  std::vector<ItemOutcome> outcomes;
  outcomes.reserve(operation.updates.size());
  for (const jobs::RecordUpdate& update : operation.updates) {
    Use(statements_->record_keep).text(update.jid).number(update.execution).integer(now_us_).text(update.record).run();
    outcomes.push_back(database_->changes() > 0 ? ItemOutcome::done : ItemOutcome::refused);
  }
  return outcomes;
}

Result<op::ReadRecord::Reply> Engine::apply(const op::ReadRecord& operation) {
  const std::int64_t oldest_us = micros_of(options_.clock->wall_now()) - micros_of(jobs::record_age_limit);
  Use use(statements_->record_read);
  if (!use.text(operation.jid).integer(oldest_us).step()) return std::optional<std::string>();
  return std::optional<std::string>(use.bytes_at(0));
}

bool Engine::forget_cancel(std::string_view jid) {
  Use(statements_->cancel_delete).text(jid).run();
  return database_->changes() > 0;
}

/// Keeps that a running job is to be cancelled, and tells those who wait for it, in other processes too.
void Engine::keep_cancel(const JobRow& row) {
  std::string birth;
  {
    Use use(statements_->job_payload);
    if (use.integer(row.id).step()) birth = jobs::birth_of(use.bytes_at(0));
  }
  Use(statements_->cancel_insert).number(next_id()).text(row.jid).text(birth).run();
  ++changes_.asked;
  woke_ = true;
}

Result<op::Cancel::Reply> Engine::apply(const op::Cancel& operation) {
  if (auto ok = check_batch("cancel", operation.jids.size()); !ok) return ok.error();
  if (auto ok = check_sizes({}, operation.detail); !ok) return ok.error().with("cancel");
  std::vector<ItemOutcome> outcomes;
  outcomes.reserve(operation.jids.size());
  JobRow row;
  for (const std::string& jid : operation.jids) {
    const std::int64_t id = find_job(jid);
    const bool known = id != 0 && load_job(id, row);
    if (known && row.state == JobState::running) {
      keep_cancel(row);
      outcomes.push_back(ItemOutcome::running);
      continue;
    }
    forget_cancel(jid);
    if (!known || row.state == JobState::dead) {
      outcomes.push_back(ItemOutcome::missing);
      continue;
    }
    delete_job(row, Count::discarded, JournalKind::cancelled, operation.detail);
    outcomes.push_back(ItemOutcome::done);
  }
  return outcomes;
}

Result<op::ForgetCancels::Reply> Engine::apply(const op::ForgetCancels& operation) {
  if (auto ok = check_batch("forget_cancels", operation.jids.size()); !ok) return ok.error();
  std::vector<ItemOutcome> outcomes;
  outcomes.reserve(operation.jids.size());
  for (const std::string& jid : operation.jids) {
    outcomes.push_back(forget_cancel(jid) ? ItemOutcome::done : ItemOutcome::missing);
  }
  return outcomes;
}

}  // namespace dagverk::stores
