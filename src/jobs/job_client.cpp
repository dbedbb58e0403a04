#include "dagverk/jobs/job_client.hpp"

#include "jobs/journal_detail.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>

namespace dagverk::jobs {

std::string JobClient::queue_of(std::string_view job_class) const {
  const JobClass* known = options_.registry != nullptr ? options_.registry->find(job_class) : nullptr;
  return known != nullptr ? known->options.queue : "default";
}

JobClient::Prepared JobClient::to_request(const Job& job, std::optional<WallTime> due, WallTime now) const {
  Prepared prepared;
  prepared.request.jid = std::string(job.jid());
  prepared.request.queue = std::string(job.queue());
  prepared.request.class_name = std::string(job.job_class());
  prepared.request.payload = std::string(job.payload());
  prepared.request.due = due;
  const JobClass* known = options_.registry != nullptr ? options_.registry->find(job.job_class()) : nullptr;
  prepared.request.journaled = known == nullptr || known->options.journaled;
  if (due && prepared.request.journaled) {
    JournalDetail detail;
    detail.time("due_at", *due);
    prepared.request.detail = std::move(detail).take();
  }
  if (options_.events == nullptr) return prepared;
  if (due && options_.events->wants(event_kind<JobScheduled>)) {
    prepared.event = JobScheduled{identity_of(job), now, *due};
  }
  if (!due && options_.events->wants(event_kind<JobEnqueued>)) prepared.event = JobEnqueued{identity_of(job), now};
  return prepared;
}

Result<JobClient::Prepared> JobClient::prepare(NewJob job, std::optional<WallTime> due, WallTime now) const {
  if (due && *due <= now) due.reset();
  job.scheduled = due.has_value();
  const Result<Job> encoded = encode_new_job(job, now, options_.make_jid, options_.codec);
  if (!encoded) return encoded.error();
  return to_request(*encoded, due, now);
}

Async<Result<std::string>> JobClient::store_one(Result<Prepared> prepared) {
  if (!prepared) co_return prepared.error();
  std::string jid = prepared->request.jid;
  std::vector<EnqueueRequest> batch;
  batch.push_back(std::move(prepared->request));
  const Result<std::vector<ItemOutcome>> outcomes = co_await store_.enqueue(std::move(batch));
  if (!outcomes) co_return outcomes.error();
  if (outcomes->front() == ItemOutcome::duplicate) {
    co_return Error(ErrorCode::already_exists, concat("a job with jid \"", jid, "\" is in the store"));
  }
  if (prepared->event) options_.events->notify(std::move(*prepared->event));
  co_return jid;
}

Async<Result<std::string>> JobClient::enqueue(NewJob job) {
  return store_one(prepare(std::move(job), std::nullopt, runtime_.clock().wall_now()));
}

Async<Result<std::string>> JobClient::enqueue_in(NewJob job, Duration delay) {
  const WallTime now = runtime_.clock().wall_now();
  const bool beyond = delay > Duration::zero() && now > WallTime::max() - delay;
  return store_one(prepare(std::move(job), beyond ? WallTime::max() : now + delay, now));
}

Async<Result<std::string>> JobClient::enqueue_at(NewJob job, WallTime due) {
  return store_one(prepare(std::move(job), due, runtime_.clock().wall_now()));
}

Async<Result<std::vector<Enqueued>>> JobClient::store_all(std::vector<Prepared> prepared) {
  std::vector<Enqueued> done;
  done.reserve(prepared.size());
  for (std::size_t first = 0; first < prepared.size(); first += batch_count_limit) {
    const std::size_t last = std::min(prepared.size(), first + batch_count_limit);
    std::vector<EnqueueRequest> batch;
    for (std::size_t index = first; index < last; ++index) {
      done.push_back(Enqueued{prepared[index].request.jid});
      batch.push_back(std::move(prepared[index].request));
    }
    const Result<std::vector<ItemOutcome>> outcomes = co_await store_.enqueue(std::move(batch));
    if (!outcomes) {
      co_return outcomes.error().with(concat(first, " of ", prepared.size(), " jobs are enqueued, then"));
    }
    for (std::size_t index = first; index < last; ++index) {
      done[index].outcome = (*outcomes)[index - first];
      if (done[index].outcome == ItemOutcome::done && prepared[index].event) {
        options_.events->notify(std::move(*prepared[index].event));
      }
    }
  }
  co_return done;
}

Async<Result<std::vector<Enqueued>>> JobClient::enqueue_bulk(std::vector<NewJob> jobs) {
  const WallTime now = runtime_.clock().wall_now();
  std::vector<Prepared> all;
  all.reserve(jobs.size());
  for (NewJob& job : jobs) {
    Result<Prepared> prepared = prepare(std::move(job), std::nullopt, now);
    if (!prepared) co_return prepared.error().with(concat("job ", all.size() + 1));
    all.push_back(std::move(*prepared));
  }
  Result<std::vector<Enqueued>> done = co_await store_all(std::move(all));
  co_return done;
}

Async<Result<std::vector<Enqueued>>> JobClient::push_bulk(std::vector<std::string> lines, std::string queue_default) {
  const WallTime now = runtime_.clock().wall_now();
  std::vector<Prepared> all;
  all.reserve(lines.size());
  for (const std::string& line : lines) {
    Result<PreparedJob> read = prepare_job(line, now, queue_default, options_.make_jid, options_.codec);
    if (!read) co_return read.error().with(concat("line ", all.size() + 1));
    all.push_back(to_request(read->job, read->due, now));
  }
  Result<std::vector<Enqueued>> done = co_await store_all(std::move(all));
  co_return done;
}

}  // namespace dagverk::jobs
