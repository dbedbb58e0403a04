// The life of a job: how it gets into its states, and what is written down about it.

#include "testing_jobs/memory_jobs.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_codec.hpp"
#include "dagverk/jobs/store_bounds.hpp"

#include <algorithm>
#include <set>

namespace dagverk::testing_jobs {

using jobs::ItemOutcome;
using jobs::JobState;
using jobs::JournalKind;
using jobs::QueueCounts;

namespace {

/// The journal row that says how a restored job came to be in this state.
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

/// When a take has done as much as one may with jobs that cannot begin.
constexpr Duration look_again_after = std::chrono::milliseconds(1);

}  // namespace

void MemoryJobs::begin(std::uint64_t store, const MemoryStoreOptions& options, WallTime now,
                       SteadyTime steady_now) noexcept {
  store_ = store;
  options_ = &options;
  now_ = now;
  steady_now_ = steady_now;
}

// --- jobs and where they are ----------------------------------------------------------------------------------------

MemoryJobs::Place MemoryJobs::place_of(const Job& job) {
  const jobs::StoredJob& stored = job.stored;
  Place place{.state = stored.state, .handle = stored.handle};
  switch (stored.state) {
    case JobState::ready:
      place.queue = stored.queue;
      place.first = -stored.priority;
      place.in_line = !job.given_back;
      break;
    case JobState::running: place.first = static_cast<std::int64_t>(stored.node); break;
    case JobState::scheduled:
    case JobState::retrying:
    case JobState::dead: place.first = stored.due.value_or(WallTime()).time_since_epoch().count(); break;
  }
  return place;
}

std::uint64_t& MemoryJobs::count_of(QueueCounts& counts, JobState state) noexcept {
  switch (state) {
    case JobState::scheduled: return counts.scheduled;
    case JobState::retrying: return counts.retrying;
    case JobState::running: return counts.running;
    case JobState::dead: return counts.dead;
    case JobState::ready: break;
  }
  return counts.ready;
}

void MemoryJobs::leave(Job& job) {
  places_.erase(place_of(job));
  --count_of(counts_of(job), job.stored.state);
  if (job.stored.state == JobState::running) free_slot(job);
  if (job.stored.state == JobState::scheduled && job.held_back) {
    Places& line = lines_[job.stored.limit_key];
    line.erase(place_of(job));
    if (line.empty()) lines_.erase(job.stored.limit_key);
  }
}

/// A job has what its state calls for, and nothing of the state before.
void MemoryJobs::enter(Job& job, JobState state) {
  jobs::StoredJob& stored = job.stored;
  stored.state = state;
  if (state != JobState::ready) job.given_back = false;
  if (state == JobState::ready || state == JobState::running) stored.due.reset();
  if (state != JobState::dead) stored.reason.clear();
  if (state != JobState::running) {
    stored.started_at.reset();
    stored.node = 0;
    job.execution = 0;
  }
  places_.emplace(place_of(job), &job);
  if (!stored.limit_key.empty()) {
    if (state == JobState::running) {
      ++slots_[stored.limit_key];
      job.held_back = false;
    }
    if (state == JobState::scheduled && job.held_back) lines_[stored.limit_key].emplace(place_of(job), &job);
  }
  ++count_of(counts_of(job), state);
  if (state == JobState::ready) changes_.ready = true;
}

void MemoryJobs::renew_handle(Job& job) {
  by_handle_.erase(job.stored.handle);
  job.stored.handle = next_number();
  by_handle_.emplace(job.stored.handle, &job);
}

MemoryJobs::Job& MemoryJobs::add(jobs::StoredJob stored) {
  std::string jid = stored.jid;
  const JobState state = stored.state;
  stored.handle = 0;
  Job& job = jobs_.emplace(std::move(jid), Job{.stored = std::move(stored)}).first->second;
  renew_handle(job);
  enter(job, state);
  ++counts_of(job).enqueued;
  return job;
}

void MemoryJobs::drop(Job& job, std::uint64_t QueueCounts::* as, JournalKind kind, std::string_view detail) {
  leave(job);
  ++(counts_of(job).*as);
  note(job, kind, detail);
  by_handle_.erase(job.stored.handle);
  jobs_.erase(jobs_.find(job.stored.jid));
}

MemoryJobs::Job* MemoryJobs::find_job(const std::string& jid) {
  const auto found = jobs_.find(jid);
  return found == jobs_.end() ? nullptr : &found->second;
}

/// The job that this token may settle; null when the token is not, or no longer, valid.
MemoryJobs::Job* MemoryJobs::find_held(const jobs::ClaimToken& token) {
  const auto found = by_handle_.find(token.job);
  if (found == by_handle_.end()) return nullptr;
  Job& job = *found->second;
  const bool valid =
      job.stored.state == JobState::running && job.stored.node == token.node && job.execution == token.execution;
  return valid ? &job : nullptr;
}

std::vector<MemoryJobs::Job*> MemoryJobs::waiting_in(const std::string& queue, std::size_t limit) const {
  std::vector<Job*> found;
  for (auto at = places_.lower_bound({JobState::ready, queue});
       found.size() < limit && belongs(at, JobState::ready) && at->first.queue == queue; ++at) {
    found.push_back(at->second);
  }
  return found;
}

std::vector<MemoryJobs::Job*> MemoryJobs::held_by(jobs::NodeEpoch node, std::size_t limit) const {
  const auto holder = static_cast<std::int64_t>(node);
  std::vector<Job*> found;
  for (auto at = places_.lower_bound({.state = JobState::running, .first = holder});
       found.size() < limit && belongs(at, JobState::running) && at->first.first == holder; ++at) {
    found.push_back(at->second);
  }
  return found;
}

// --- steps ----------------------------------------------------------------------------------------

Result<void> MemoryJobs::make_queues(Batch<std::string> names) {
  std::set<std::string_view> unknown;
  for (const std::string& name : names) {
    if (!queues_.contains(name)) unknown.insert(name);
  }
  if (queues_.size() + unknown.size() > jobs::queue_count_limit) {
    return Error{ErrorCode::refused, concat("queue \"", *unknown.begin(), "\": the store has ", queues_.size(),
                                            " queues, and ", jobs::queue_count_limit, " are its limit")};
  }
  for (const std::string_view name : unknown) queues_.emplace(name, Queue{});
  return {};
}

void MemoryJobs::note(const Job& job, JournalKind kind, std::string_view detail) {
  free_lock(job.stored.jid, kind);
  if (!job.stored.journaled || !options_->journal) return;
  journal_.push_back(
      {++last_row_, kind, now_, job.stored.jid, job.stored.queue, job.stored.class_name, std::string(detail)});
  changes_.journal = true;
  while (journal_.size() > options_->journal_rows_limit) {
    trimmed_row_ = journal_.front().cursor;
    journal_.pop_front();
  }
}

/// Behind those that wait in its queue already, or `missing` when it waits there itself.
ItemOutcome MemoryJobs::make_ready(Job* job, const std::optional<std::string>& payload, JournalKind kind,
                                   std::string_view detail) {
  if (job == nullptr || job->stored.state == JobState::ready) return ItemOutcome::missing;
  if (job->stored.state == JobState::running) return ItemOutcome::running;
  leave(*job);
  renew_handle(*job);
  if (payload) job->stored.payload = *payload;
  job->stored.enqueued_at = now_;
  enter(*job, JobState::ready);
  note(*job, kind, detail);
  return ItemOutcome::done;
}

/// From the hands of a node to the front of its queue.
void MemoryJobs::give_back(Job& job) {
  leave(job);
  job.given_back = true;
  enter(job, JobState::ready);
}

void MemoryJobs::change_queue(Job& job, const std::string& queue) {
  if (job.stored.queue == queue) return;
  ++counts_of(job).moved_out;
  job.stored.queue = queue;
  ++counts_of(job).moved_in;
}

/// Drops the oldest of the dead that are too many, and all that are too old. Returns how many.
std::size_t MemoryJobs::trim_dead() {
  std::size_t trimmed = 0;
  for (std::uint64_t left = sums().dead; left > 0; --left) {
    Job& oldest = *first_of(JobState::dead)->second;
    if (left <= options_->dead_count_limit && *oldest.stored.due > now_ - options_->dead_age_limit) break;
    drop(oldest, &QueueCounts::trimmed, JournalKind::trimmed, {});
    ++trimmed;
  }
  return trimmed;
}

// --- operations ----------------------------------------------------------------------------------------

MemoryJobs::Outcomes MemoryJobs::put_in(Batch<jobs::EnqueueRequest> batch, bool bounded) {
  if (auto ok = jobs::check_batch("enqueue", batch.size()); !ok) return ok.error();
  std::vector<std::string> names;
  for (const jobs::EnqueueRequest& request : batch) {
    if (auto ok = jobs::check(request); !ok) return ok.error().with("enqueue");
    names.push_back(request.queue);
  }
  if (auto ok = make_queues(names); !ok) return ok.error();

  std::vector<ItemOutcome> outcomes;
  for (const jobs::EnqueueRequest& request : batch) {
    if (jobs_.contains(request.jid)) {
      ++duplicates_;
      outcomes.push_back(ItemOutcome::duplicate);
      continue;
    }
    Admission admission{.queue = request.queue};
    if (bounded && !request.unique) admission = admit(request, nullptr);
    const ItemOutcome claimed = request.unique            ? claim(request, bounded, admission)
                                : admission.queue.empty() ? ItemOutcome::queue_full
                                                          : ItemOutcome::done;
    if (claimed != ItemOutcome::done) {
      if (claimed == ItemOutcome::queue_full) ++queues_.at(request.queue).counts.refused;
      outcomes.push_back(claimed);
      continue;
    }
    const bool diverted = admission.queue != request.queue;
    if (admission.drops) drop_oldest(admission.queue, request.jid);
    const Job& job =
        add({.state = request.due ? JobState::scheduled : JobState::ready,
             .jid = request.jid,
             .queue = admission.queue,
             .class_name = request.class_name,
             .payload = diverted ? jobs::payload_in_queue(request.payload, admission.queue) : request.payload,
             .priority = request.priority,
             .journaled = request.journaled,
             .enqueued_at = now_,
             .due = request.due,
             .limit_key = request.limit_key});
    note(job, request.due ? JournalKind::scheduled : JournalKind::enqueued, request.detail);
    if (diverted) {
      ++queues_.at(request.queue).counts.diverted;
      note(job, JournalKind::diverted, jobs::diverted_detail(request.queue));
    }
    outcomes.push_back(ItemOutcome::done);
  }
  return outcomes;
}

Result<std::vector<jobs::TakenJob>> MemoryJobs::take(const jobs::TakeRequest& request) {
  if (auto ok = jobs::check_batch("take", request.max); !ok) return ok.error();
  if (auto ok = jobs::check_batch("take: queues", request.queues.size()); !ok) return ok.error();
  if (auto ok = check_may_take(request.node); !ok) return ok.error();

  std::vector<jobs::TakenJob> taken;
  std::size_t size = 0;
  std::size_t moved = 0;
  for (const std::string& name : request.queues) {
    const auto queue = queues_.find(name);
    if (queue == queues_.end() || queue->second.pause) continue;
    bool more = true;
    while (more) {
      more = false;
      for (Job* const job : waiting_in(name, room_in(name, request.max - taken.size()))) {
        if (size >= jobs::take_size_limit || moved == jobs::limit_moves_limit) return taken;
        if (!may_begin(*job)) {
          more = true;
          ++moved;
          if (moved == jobs::limit_moves_limit) next_turn_.note(now_ + look_again_after, now_);
          continue;
        }
        leave(*job);
        job->execution = next_number();
        job->stored.node = request.node;
        job->stored.started_at = now_;
        enter(*job, JobState::running);
        use_queue_token(name);
        note(*job, JournalKind::started, {});
        const jobs::StoredJob& stored = job->stored;
        taken.push_back({.token = {request.node, job->execution, stored.handle},
                         .jid = stored.jid,
                         .queue = stored.queue,
                         .class_name = stored.class_name,
                         .payload = stored.payload,
                         .enqueued_at = stored.enqueued_at,
                         .rescues = stored.rescues,
                         .journaled = stored.journaled});
        size += stored.payload.size();
      }
    }
  }
  return taken;
}

MemoryJobs::Outcomes MemoryJobs::settle(Batch<jobs::Settlement> settlements) {
  if (auto ok = jobs::check_batch("settle", settlements.size()); !ok) return ok.error();
  std::vector<std::string> names;
  for (const jobs::Settlement& settlement : settlements) {
    if (auto ok = jobs::check(settlement); !ok) return ok.error().with("settle");
    if (!settlement.queue.empty()) names.push_back(settlement.queue);
  }
  if (auto ok = make_queues(names); !ok) return ok.error();

  std::vector<ItemOutcome> outcomes;
  for (const jobs::Settlement& settlement : settlements) {
    Job* const job = find_held(settlement.token);
    if (job == nullptr) {
      ++refused_;
      outcomes.push_back(ItemOutcome::refused);
      continue;
    }
    settle_one(*job, settlement);
    outcomes.push_back(ItemOutcome::done);
  }
  static_cast<void>(trim_dead());
  return outcomes;
}

void MemoryJobs::settle_one(Job& job, const jobs::Settlement& settlement) {
  using Action = jobs::Settlement::Action;
  const JournalKind kind = settlement.kind;
  switch (settlement.action) {
    case Action::finish: return drop(job, &QueueCounts::finished, kind, settlement.detail);
    case Action::discard:
      return drop(job, kind == JournalKind::expired ? &QueueCounts::expired : &QueueCounts::discarded, kind,
                  settlement.detail);
    case Action::requeue: give_back(job); return note(job, kind, settlement.detail);
    case Action::retry:
    case Action::bury: break;
  }
  const bool bury = settlement.action == Action::bury;
  leave(job);
  // What ended here is counted where it ran.
  ++(bury ? counts_of(job).died : counts_of(job).retried);
  if (kind == JournalKind::quarantined) ++counts_of(job).quarantined;
  if (!settlement.queue.empty()) change_queue(job, settlement.queue);
  if (settlement.payload) job.stored.payload = *settlement.payload;
  job.stored.due = bury ? now_ : settlement.due;
  if (bury) job.stored.reason = settlement.reason;
  enter(job, bury ? JobState::dead : JobState::retrying);
  note(job, kind, settlement.detail);
}

Result<jobs::DuePage> MemoryJobs::peek_due(WallTime until, std::size_t limit) const {
  if (auto ok = jobs::check_batch("peek_due", limit); !ok) return ok.error();
  jobs::DuePage page;
  std::size_t size = 0;
  auto scheduled = first_of(JobState::scheduled);
  auto retrying = first_of(JobState::retrying);
  while (true) {
    const bool some_scheduled = belongs(scheduled, JobState::scheduled);
    const bool some_retrying = belongs(retrying, JobState::retrying);
    if (!some_scheduled && !some_retrying) return page;
    const bool scheduled_next = some_scheduled && (!some_retrying || scheduled->first.first <= retrying->first.first);
    const jobs::StoredJob& job = (scheduled_next ? scheduled++ : retrying++)->second->stored;
    if (*job.due > until || page.jobs.size() == limit || size >= jobs::take_size_limit) {
      page.next_due = job.due;
      return page;
    }
    page.jobs.push_back({job.handle, job.state, job.jid, job.queue, job.class_name, job.payload, *job.due});
    size += job.payload.size();
  }
}

MemoryJobs::Outcomes MemoryJobs::promote(Batch<jobs::Promotion> promotions) {
  if (auto ok = jobs::check_batch("promote", promotions.size()); !ok) return ok.error();
  for (const jobs::Promotion& promotion : promotions) {
    const std::string_view payload = promotion.payload ? *promotion.payload : std::string_view();
    if (auto ok = jobs::check_sizes(payload, promotion.detail); !ok) return ok.error().with("promote");
  }
  std::vector<ItemOutcome> outcomes;
  for (const jobs::Promotion& promotion : promotions) {
    const auto found = by_handle_.find(promotion.handle);
    const bool waits = found != by_handle_.end() && (found->second->stored.state == JobState::scheduled ||
                                                     found->second->stored.state == JobState::retrying);
    outcomes.push_back(
        make_ready(waits ? found->second : nullptr, promotion.payload, JournalKind::promoted, promotion.detail));
  }
  return outcomes;
}

MemoryJobs::Outcomes MemoryJobs::retry_now(Batch<jobs::RetryNow> batch) {
  if (auto ok = jobs::check_batch("retry_now", batch.size()); !ok) return ok.error();
  for (const jobs::RetryNow& wish : batch) {
    const std::string_view payload = wish.payload ? *wish.payload : std::string_view();
    if (auto ok = jobs::check_sizes(payload, wish.detail); !ok) return ok.error().with("retry_now");
  }
  std::vector<ItemOutcome> outcomes;
  for (const jobs::RetryNow& wish : batch) {
    outcomes.push_back(make_ready(find_job(wish.jid), wish.payload, JournalKind::retried_now, wish.detail));
  }
  return outcomes;
}

MemoryJobs::Outcomes MemoryJobs::remove(Batch<std::string> jids, std::string_view detail) {
  if (auto ok = jobs::check_batch("remove", jids.size()); !ok) return ok.error();
  if (auto ok = jobs::check_sizes({}, detail); !ok) return ok.error().with("remove");
  std::vector<ItemOutcome> outcomes;
  for (const std::string& jid : jids) {
    Job* const job = find_job(jid);
    if (job == nullptr) {
      outcomes.push_back(ItemOutcome::missing);
    } else if (job->stored.state == JobState::running) {
      outcomes.push_back(ItemOutcome::running);
    } else {
      drop(*job, &QueueCounts::deleted, JournalKind::deleted, detail);
      outcomes.push_back(ItemOutcome::done);
    }
  }
  return outcomes;
}

MemoryJobs::Outcomes MemoryJobs::cancel(Batch<std::string> jids, std::string_view detail) {
  if (auto ok = jobs::check_batch("cancel", jids.size()); !ok) return ok.error();
  if (auto ok = jobs::check_sizes({}, detail); !ok) return ok.error().with("cancel");
  std::vector<ItemOutcome> outcomes;
  for (const std::string& jid : jids) {
    Job* const job = find_job(jid);
    std::erase_if(cancels_, [&jid](const jobs::CancelWish& wish) { return wish.jid == jid; });
    if (job == nullptr || job->stored.state == JobState::dead) {
      outcomes.push_back(ItemOutcome::missing);
    } else if (job->stored.state == JobState::running) {
      cancels_.push_back({jid, jobs::birth_of(job->stored.payload)});
      changes_.asked = true;
      outcomes.push_back(ItemOutcome::running);
    } else {
      drop(*job, &QueueCounts::discarded, JournalKind::cancelled, detail);
      outcomes.push_back(ItemOutcome::done);
    }
  }
  return outcomes;
}

MemoryJobs::Outcomes MemoryJobs::forget_cancels(Batch<std::string> jids) {
  if (auto ok = jobs::check_batch("forget_cancels", jids.size()); !ok) return ok.error();
  std::vector<ItemOutcome> outcomes;
  for (const std::string& jid : jids) {
    const auto forgotten = std::erase_if(cancels_, [&jid](const jobs::CancelWish& wish) { return wish.jid == jid; });
    outcomes.push_back(forgotten > 0 ? ItemOutcome::done : ItemOutcome::missing);
  }
  return outcomes;
}

MemoryJobs::Outcomes MemoryJobs::keep_records(Batch<jobs::RecordUpdate> updates) {
  if (auto ok = jobs::check_batch("keep_records", updates.size()); !ok) return ok.error();
  for (const jobs::RecordUpdate& update : updates) {
    if (auto ok = jobs::check(update); !ok) return ok.error().with("keep_records");
  }
  std::vector<ItemOutcome> outcomes;
  for (const jobs::RecordUpdate& update : updates) {
    Record& record = records_[update.jid];
    const bool later = record.execution > update.execution;
    if (!later) record = {update.execution, now_, update.record};
    outcomes.push_back(later ? ItemOutcome::refused : ItemOutcome::done);
  }
  return outcomes;
}

MemoryJobs::Outcomes MemoryJobs::move(Batch<jobs::MoveJob> batch) {
  if (auto ok = jobs::check_batch("move", batch.size()); !ok) return ok.error();
  std::vector<std::string> names;
  for (const jobs::MoveJob& wish : batch) {
    if (auto ok = jobs::check(wish); !ok) return ok.error().with("move");
    names.push_back(wish.queue);
  }
  if (auto ok = make_queues(names); !ok) return ok.error();

  std::vector<ItemOutcome> outcomes;
  for (const jobs::MoveJob& wish : batch) {
    Job* const job = find_job(wish.jid);
    if (job == nullptr) {
      outcomes.push_back(ItemOutcome::missing);
      continue;
    }
    if (job->stored.state == JobState::running) {
      outcomes.push_back(ItemOutcome::running);
      continue;
    }
    outcomes.push_back(ItemOutcome::done);
    if (job->stored.queue == wish.queue) continue;
    const JobState state = job->stored.state;
    leave(*job);
    renew_handle(*job);
    change_queue(*job, wish.queue);
    job->stored.payload = jobs::payload_in_queue(job->stored.payload, wish.queue);
    job->given_back = false;
    enter(*job, state);
    note(*job, JournalKind::moved, wish.detail);
  }
  return outcomes;
}

Result<std::size_t> MemoryJobs::clear_queue(const std::string& queue, std::size_t limit, std::string_view detail) {
  if (auto ok = jobs::check_batch("clear_queue", limit); !ok) return ok.error();
  if (auto ok = jobs::check_pause(queue, {}, {}); !ok) return ok.error().with("clear_queue");
  if (auto ok = jobs::check_sizes({}, detail); !ok) return ok.error().with("clear_queue");
  const std::vector<Job*> waiting = waiting_in(queue, limit);
  for (Job* const job : waiting) drop(*job, &QueueCounts::deleted, JournalKind::deleted, detail);
  return waiting.size();
}

Result<bool> MemoryJobs::pause_queue(const std::string& queue, std::string by, std::string reason) {
  if (auto ok = jobs::check_pause(queue, by, reason); !ok) return ok.error().with("pause_queue");
  if (auto ok = make_queues({&queue, 1}); !ok) return ok.error();
  std::optional<jobs::QueuePause>& pause = queues_.at(queue).pause;
  if (pause) return false;
  pause = {std::move(by), std::move(reason), now_};
  return true;
}

Result<bool> MemoryJobs::resume_queue(const std::string& queue) {
  if (auto ok = jobs::check_pause(queue, {}, {}); !ok) return ok.error().with("resume_queue");
  const auto found = queues_.find(queue);
  if (found == queues_.end() || !found->second.pause) return false;
  found->second.pause.reset();
  changes_.ready = true;  // whoever waits is to look again
  return true;
}

MemoryJobs::Outcomes MemoryJobs::restore(Batch<jobs::StoredJob> batch, std::string_view detail) {
  if (auto ok = jobs::check_batch("restore", batch.size()); !ok) return ok.error();
  std::vector<std::string> names;
  for (const jobs::StoredJob& job : batch) {
    if (auto ok = jobs::check(job, detail); !ok) return ok.error().with("restore");
    names.push_back(job.queue);
  }
  if (auto ok = make_queues(names); !ok) return ok.error();

  std::vector<ItemOutcome> outcomes;
  for (const jobs::StoredJob& there : batch) {
    if (jobs_.contains(there.jid)) {
      ++duplicates_;
      outcomes.push_back(ItemOutcome::duplicate);
      continue;
    }
    jobs::StoredJob here = there;
    if (here.state == JobState::running) here.state = JobState::ready;  // whoever runs it there is not here
    if (here.state != JobState::ready && !here.due) here.due = now_;
    const Job& job = add(std::move(here));
    note(job, arrival(job.stored.state), detail);
    outcomes.push_back(ItemOutcome::done);
  }
  static_cast<void>(trim_dead());
  return outcomes;
}

}  // namespace dagverk::testing_jobs
