// The life of a job: enqueue, take, settle, promote, move and remove.

#include "stores/sqlite/engine.hpp"
#include "stores/sqlite/engine_internal.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <limits>

namespace dagverk::stores {

using jobs::ItemOutcome;
using jobs::JobState;
using jobs::JournalKind;

namespace {

Error invalid(std::string_view what, std::string_view rule) {
  return {ErrorCode::invalid_argument, concat(what, ": ", rule)};
}

Result<void> check_batch(std::string_view what, std::size_t count) {
  if (count >= 1 && count <= jobs::batch_count_limit) return {};
  return Error{ErrorCode::invalid_argument,
               concat(what, ": a batch holds 1 to ", jobs::batch_count_limit, " items, got ", count)};
}

Result<void> check_name(std::string_view what, std::string_view name) {
  if (!name.empty() && name.size() <= jobs::name_size_limit) return {};
  return Error{ErrorCode::invalid_argument,
               concat(what, ": needs 1 to ", jobs::name_size_limit, " bytes, got ", name.size())};
}

Result<void> check_sizes(std::string_view payload, std::string_view detail) {
  if (payload.size() > jobs::payload_size_limit) {
    return Error{ErrorCode::too_large,
                 concat("payload: ", payload.size(), " bytes are over the limit of ", jobs::payload_size_limit)};
  }
  if (detail.size() > jobs::detail_size_limit) {
    return Error{ErrorCode::too_large,
                 concat("journal detail: ", detail.size(), " bytes are over the limit of ", jobs::detail_size_limit)};
  }
  return {};
}

Result<void> check(const jobs::EnqueueRequest& job) {
  if (auto ok = check_name("jid", job.jid); !ok) return ok;
  if (auto ok = check_name("queue", job.queue); !ok) return ok;
  if (job.class_name.size() > jobs::name_size_limit) return invalid("class", "at most 255 bytes");
  if (job.priority < -1000 || job.priority > 1000) return invalid("priority", "must be -1000..1000");
  return check_sizes(job.payload, job.detail);
}

Result<void> check(const jobs::Settlement& settlement) {
  using Action = jobs::Settlement::Action;
  if (settlement.queue.size() > jobs::name_size_limit) return invalid("queue", "at most 255 bytes");
  const JournalKind kind = settlement.kind;
  bool fits = false;
  switch (settlement.action) {
    case Action::finish: fits = kind == JournalKind::finished; break;
    case Action::retry: fits = kind == JournalKind::retried || kind == JournalKind::snoozed; break;
    case Action::bury: fits = kind == JournalKind::died || kind == JournalKind::quarantined; break;
    case Action::discard: fits = kind == JournalKind::discarded || kind == JournalKind::expired; break;
    case Action::requeue: fits = kind == JournalKind::requeued; break;
  }
  if (!fits) return invalid("settlement", concat("journal kind ", to_string(kind), " does not fit its action"));
  if (settlement.reason.size() > jobs::detail_size_limit) return invalid("reason", "at most 64 KiB");
  return check_sizes(settlement.payload ? *settlement.payload : std::string_view(), settlement.detail);
}

}  // namespace

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
    Queue& queue = *queues[index];
    const JobState state = job.due ? JobState::scheduled : JobState::ready;
    {
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
      insert.integer(now_us_).text(job.jid).text(job.class_name).blob(job.payload).run();
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
    outcomes.push_back(ItemOutcome::done);
  }
  return outcomes;
}

Result<op::Take::Reply> Engine::apply(const op::Take& operation) {
  const jobs::TakeRequest& request = operation.request;
  if (auto ok = check_batch("take", request.max); !ok) return ok.error();
  if (auto ok = check_batch("take: queues", request.queues.size()); !ok) return ok.error();
  if (auto live = check_node(request.node); !live) return live.error();
  std::vector<jobs::TakenJob> taken;
  std::size_t size = 0;
  for (const std::string& name : request.queues) {
    if (taken.size() == request.max || size >= jobs::take_size_limit) break;
    Queue* const queue = find_queue(name);
    if (queue == nullptr) continue;
    const std::size_t first = taken.size();
    {
      Use use(statements_->job_ready);
      use.integer(queue->id).number(request.max - taken.size());
      while (size < jobs::take_size_limit && use.step()) {
        jobs::TakenJob& job = taken.emplace_back();
        job.token.node = request.node;
        job.token.job = use.number_at(0);
        job.queue = name;
        job.journaled = (use.integer_at(2) & flag_journaled) != 0;
        job.enqueued_at = wall_of(use.integer_at(3));
        job.rescues = static_cast<std::uint32_t>(use.integer_at(4));
        job.jid = use.bytes_at(5);
        job.class_name = use.bytes_at(6);
        job.payload = use.bytes_at(7);
        size += job.payload.size();
      }
    }
    // Claimed row by row, by id: the form in which SQLite needs no statement journal.
    for (std::size_t index = first; index < taken.size(); ++index) {
      jobs::TakenJob& job = taken[index];
      job.token.execution = next_id();
      Use(statements_->job_claim)
          .number(job.token.node)
          .number(job.token.execution)
          .integer(now_us_)
          .number(job.token.job)
          .run();
      count_state(*queue, JobState::ready, -1);
      count_state(*queue, JobState::running, 1);
      journal(job.journaled, JournalKind::started, *queue, job.jid, job.class_name, {});
    }
  }
  return taken;
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
    std::int64_t id = 0;
    {
      Use use(statements_->job_id);
      if (use.text(job.jid).step()) id = use.integer_at(0);
    }
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
    std::int64_t id = 0;
    {
      Use use(statements_->job_id);
      if (use.text(jid).step()) id = use.integer_at(0);
    }
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

}  // namespace dagverk::stores
