// What people do with queues and between them: pause, resume, clear, move.

#include "stores/sqlite/engine.hpp"
#include "stores/sqlite/engine_internal.hpp"

#include "dagverk/jobs/job_codec.hpp"
#include "dagverk/jobs/store_bounds.hpp"

namespace dagverk::stores {

using jobs::ItemOutcome;
using jobs::JobState;
using jobs::JournalKind;

bool Engine::is_paused(const Queue& queue) {
  Use use(statements_->pause_row);
  return use.integer(queue.id).step();
}

std::int64_t Engine::find_job(std::string_view jid) {
  Use use(statements_->job_id);
  return use.text(jid).step() ? use.integer_at(0) : 0;
}

Result<op::PauseQueue::Reply> Engine::apply(const op::PauseQueue& operation) {
  if (auto ok = jobs::check_pause(operation.queue, operation.by, operation.reason); !ok) {
    return ok.error().with("pause_queue");
  }
  const auto queue = make_queue(operation.queue);
  if (!queue) return queue.error();
  Use(statements_->pause_insert).integer((*queue)->id).integer(now_us_).text(operation.by).text(operation.reason).run();
  return database_->changes() == 1;
}

Result<op::ResumeQueue::Reply> Engine::apply(const op::ResumeQueue& operation) {
  if (auto ok = jobs::check_pause(operation.queue, {}, {}); !ok) return ok.error().with("resume_queue");
  const Queue* const queue = find_queue(operation.queue);
  if (queue == nullptr) return false;
  Use(statements_->pause_delete).integer(queue->id).run();
  const bool resumed = database_->changes() == 1;
  if (resumed) {  // whoever waits is to look again, here and in other processes
    woke_ = true;
    meta_changed_ = true;
  }
  return resumed;
}

Result<op::ClearQueue::Reply> Engine::apply(const op::ClearQueue& operation) {
  if (auto ok = jobs::check_batch("clear_queue", operation.limit); !ok) return ok.error();
  if (auto ok = jobs::check_pause(operation.queue, {}, {}); !ok) return ok.error().with("clear_queue");
  if (auto ok = jobs::check_sizes({}, operation.detail); !ok) return ok.error().with("clear_queue");
  const Queue* const queue = find_queue(operation.queue);
  if (queue == nullptr) return std::size_t{0};
  std::vector<std::int64_t> ids;
  {
    Use use(statements_->job_ready_ids);
    use.integer(queue->id).number(operation.limit);
    while (use.step()) ids.push_back(use.integer_at(0));
  }
  JobRow row;
  for (const std::int64_t id : ids) {
    if (load_job(id, row)) delete_job(row, Count::deleted, JournalKind::deleted, operation.detail);
  }
  return ids.size();
}

Result<op::Move::Reply> Engine::apply(const op::Move& operation) {
  if (auto ok = jobs::check_batch("move", operation.jobs.size()); !ok) return ok.error();
  std::vector<Queue*> targets;
  for (const jobs::MoveJob& job : operation.jobs) {
    if (auto ok = check(job); !ok) return ok.error().with("move");
    auto queue = make_queue(job.queue);
    if (!queue) return queue.error();
    targets.push_back(*queue);
  }
  std::vector<ItemOutcome> outcomes;
  JobRow row;
  for (std::size_t index = 0; index < operation.jobs.size(); ++index) {
    const jobs::MoveJob& job = operation.jobs[index];
    Queue& target = *targets[index];
    const std::int64_t id = find_job(job.jid);
    if (id == 0 || !load_job(id, row)) {
      outcomes.push_back(ItemOutcome::missing);
      continue;
    }
    if (row.state == JobState::running) {
      outcomes.push_back(ItemOutcome::running);
      continue;
    }
    outcomes.push_back(ItemOutcome::done);
    if (row.queue == target.id) continue;
    std::string payload;
    {
      Use use(statements_->job_payload);
      if (use.integer(id).step()) payload = jobs::payload_in_queue(use.bytes_at(0), job.queue);
    }
    // The new id is its place in line, and makes handles to its old place worthless.
    Use(statements_->job_move)
        .number(next_id())
        .integer(target.id)
        .integer(rank_in_line(row.rank))
        .blob(payload)
        .integer(id)
        .run();
    Queue& source = queue_of(row.queue);
    count_state(source, row.state, -1);
    count(source, Count::moved_out);
    count_state(target, row.state, 1);
    count(target, Count::moved_in);
    journal(row.journaled(), JournalKind::moved, target, row.jid, row.class_name, job.detail);
  }
  return outcomes;
}

}  // namespace dagverk::stores
