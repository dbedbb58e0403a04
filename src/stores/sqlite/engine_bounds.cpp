// Bounds of queues: what an enqueue may put in.

#include "stores/sqlite/engine.hpp"
#include "stores/sqlite/engine_internal.hpp"

namespace dagverk::stores {

using jobs::ItemOutcome;
using jobs::JobState;
using jobs::LimitScope;
using jobs::WhenFull;

const jobs::QueueBound* Engine::bound_of(const Queue& queue) {
  const jobs::Limit* const limit = limit_of(LimitScope::queue, queue.name);
  return limit != nullptr && limit->bound ? &*limit->bound : nullptr;
}

std::int64_t Engine::waiting_in(const Queue& queue) {
  Use use(statements_->queue_ready);
  const std::int64_t written = use.integer(queue.id).step() ? use.integer_at(0) : 0;
  return written + queue.delta[static_cast<std::size_t>(Count::ready)];
}

/// From the queue that was asked for to the one that takes the job. `leaving`: leaves its place if it is put in.
void Engine::admit(Admission& admission, const JobRow* leaving) {
  for (bool diverted = false;; diverted = true) {
    const jobs::QueueBound* const bound = bound_of(*admission.queue);
    if (bound == nullptr) return;
    if (leaving != nullptr && leaving->state == JobState::ready && leaving->queue == admission.queue->id) return;
    if (waiting_in(*admission.queue) < bound->most) return;
    admission.drops = bound->when_full == WhenFull::drop_oldest;
    if (admission.drops) return;
    const bool over = diverted || bound->when_full == WhenFull::refuse;
    admission.queue = over ? nullptr : find_queue(bound->divert_to);
    if (admission.queue == nullptr) return;
  }
}

/// Whether a job is to be put in, as far as its key and the bound of its queue say, and where. Any other answer than
/// `done`: it stays out.
ItemOutcome Engine::let_in(const jobs::EnqueueRequest& request, bool bounded, Admission& admission) {
  bounded = bounded && !request.due;
  if (request.unique) return claim(request, bounded, admission);
  if (!bounded || bound_of(*admission.queue) == nullptr) return ItemOutcome::done;
  if (find_job(request.jid) != 0) return ItemOutcome::done;  // a duplicate: the insert finds that
  admit(admission, nullptr);
  return admission.queue == nullptr ? ItemOutcome::queue_full : ItemOutcome::done;
}

/// Of those with the lowest priority the first makes room for the job of this jid.
void Engine::drop_oldest(Queue& queue, std::string_view jid) {
  std::int64_t id = 0;
  {
    Use use(statements_->job_oldest);
    if (!use.integer(queue.id).step()) return;
    id = use.integer_at(0);
  }
  JobRow row;
  if (!load_job(id, row)) return;
  delete_job(row, Count::discarded, jobs::JournalKind::dropped, jobs::dropped_detail(jid));
  count(queue, Count::dropped);
}

}  // namespace dagverk::stores
