#include "dagverk/jobs/job_client.hpp"

#include "jobs/journal_detail.hpp"
#include "jobs/json_text.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/limits.hpp"
#include "dagverk/jobs/retry_policy.hpp"

#include <algorithm>
#include <cstdint>
#include <exception>

namespace dagverk::jobs {

std::string JobClient::queue_of(std::string_view job_class) const {
  const JobClass* known = options_.registry != nullptr ? options_.registry->find(job_class) : nullptr;
  return known != nullptr ? known->options.queue : "default";
}

EnqueueRequest enqueue_request_of(const Job& job, std::optional<WallTime> due, const ClientOptions& options,
                                  std::optional<UniqueLock> unique) {
  EnqueueRequest request;
  request.jid = std::string(job.jid());
  request.queue = std::string(job.queue());
  request.class_name = std::string(job.job_class());
  request.payload = std::string(job.payload());
  request.due = due;
  if (job.limit_key() && check_limit_key(*job.limit_key())) request.limit_key = std::string(*job.limit_key());
  const JobClass* known = options.registry != nullptr ? options.registry->find(job.job_class()) : nullptr;
  request.journaled = known == nullptr || known->options.journaled;
  request.unique = std::move(unique);
  if (!request.unique && known != nullptr) request.unique = known->options.unique;
  if (request.unique && request.unique->key.empty()) {
    request.unique->key = unique_key(job.job_class(), job.args_json());
  }
  request.detail = enqueued_detail(request);
  return request;
}

JobClient::Prepared JobClient::to_request(const Job& job, std::optional<WallTime> due, WallTime now,
                                          std::optional<UniqueLock> unique) const {
  Prepared prepared;
  prepared.request = enqueue_request_of(job, due, options_, std::move(unique));
  if (options_.events == nullptr) return prepared;
  if (due && options_.events->wants(event_kind<JobScheduled>)) {
    prepared.event = JobScheduled{identity_of(job), now, *due};
  }
  if (!due && options_.events->wants(event_kind<JobEnqueued>)) prepared.event = JobEnqueued{identity_of(job), now};
  return prepared;
}

namespace {

TraceContext ask_trace(const ClientOptions& options) {
  TraceContext trace;
  try {
    if (options.trace) trace = options.trace();
  } catch (...) {
    return {};  // a job does not fail for want of a trace
  }
  if (!is_traceparent(trace.parent)) return {};
  if (trace.state.size() > trace_state_size_limit) trace.state.clear();
  return trace;
}

/// Gives the job its class' limit key.
Result<void> keep_to_limit(NewJob& job, const ClientOptions& options) {
  const JobClass* const known = options.registry != nullptr ? options.registry->find(job.job_class) : nullptr;
  if (known == nullptr || known->options.limit.empty() || !job.limit_key.empty()) return {};
  job.limit_key = known->options.limit;
  const std::optional<std::size_t> index = known->options.limit_argument;
  if (!index) return {};
  const Result<JobArguments> arguments = JobArguments::parse(job.args_json, job.job_class);
  if (!arguments) return arguments.error();
  if (*index >= arguments->size()) {
    return Error{ErrorCode::invalid_argument,
                 concat("argument ", *index + 1, " of ", job.job_class, " is missing: it is the key of limit \"",
                        known->options.limit, "\"")};
  }
  const std::string_view json = arguments->raw(*index);
  std::string key;
  if (json::kind_of(json) != json::Kind::text || !json::decode_text(json.substr(1, json.size() - 2), key)) key = json;
  job.limit_key += concat(':', key);
  return {};
}

Result<void> pass_through(NewJob& job, const EnqueueCall& call, const ClientOptions& options) {
  for (const EnqueueMiddleware& middleware : options.middleware) {
    try {
      if (Result<void> passed = middleware(job, call); !passed) return passed;
    } catch (const std::exception& error) {
      return Error{ErrorCode::refused, concat("a middleware threw: ", error.what())};
    } catch (...) {
      return Error{ErrorCode::refused, "a middleware threw what is no std::exception"};
    }
  }
  return {};
}

Async<Result<EnqueueBuffer::Kept>> put_directly(JobStore& store, std::vector<EnqueueRequest> batch) {
  Result<std::vector<ItemOutcome>> outcomes = co_await store.enqueue(std::move(batch));
  if (!outcomes) co_return outcomes.error();
  co_return EnqueueBuffer::Kept{.outcomes = std::move(*outcomes)};
}

std::string quoted(std::string_view text) {
  std::string json;
  json::append_text(json, text);
  return json;
}

}  // namespace

Result<Job> encode_for_store(NewJob& job, std::optional<WallTime> due, WallTime now, const ClientOptions& options) {
  if (find_member(job, "traceparent") == nullptr) {
    if (const TraceContext trace = ask_trace(options); !trace.empty()) {
      set_member(job, "traceparent", quoted(trace.parent));
      if (!trace.state.empty()) set_member(job, "tracestate", quoted(trace.state));
    }
  }
  job.scheduled = due.has_value();
  if (auto passed = pass_through(job, {.due = due}, options); !passed) return passed.error();
  job.scheduled = due.has_value();
  if (auto limited = keep_to_limit(job, options); !limited) return limited.error();
  return encode_new_job(job, now, options.make_jid, options.codec);
}

Result<JobClient::Prepared> JobClient::prepare(NewJob job, std::optional<WallTime> due, WallTime now) const {
  if (due && *due <= now) due.reset();
  const Result<Job> encoded = encode_for_store(job, due, now, options_);
  if (!encoded) return encoded.error();
  return to_request(*encoded, due, now, std::move(job.unique));
}

Result<PreparedJob> prepare_for_store(std::string_view line, WallTime now, std::string_view queue_default,
                                      const ClientOptions& options, std::optional<WallTime> due) {
  Result<PreparedJob> prepared = prepare_job(line, now, queue_default, options.make_jid, options.codec);
  if (!prepared) return prepared.error();
  const Job& job = prepared->job;
  if (prepared->due || (due && *due <= now)) due.reset();
  if (due) prepared->due = due;
  if (!options.middleware.empty()) {
    NewJob shown;
    shown.job_class = std::string(job.job_class());
    shown.args_json = std::string(job.args_json());
    shown.queue = std::string(job.queue());
    shown.jid = std::string(job.jid());
    shown.scheduled = prepared->due.has_value();
    const EnqueueCall call{.due = prepared->due, .given_bytes = true};
    if (auto passed = pass_through(shown, call, options); !passed) return passed.error();
  }
  JobEdit edit;
  if (due) edit.remove(OwnedMember::enqueued_at);
  const TraceContext trace = job.traceparent() ? TraceContext() : ask_trace(options);
  if (!trace.empty()) edit.set(OwnedMember::traceparent, trace.parent);
  if (!trace.state.empty()) edit.set(OwnedMember::tracestate, trace.state);
  if (edit.empty()) return prepared;
  const Result<std::string> payload = edit_job(job.payload(), edit, options.codec);
  if (!payload) return payload.error();
  Result<Job> edited = decode_job(*payload, queue_default, options.codec);
  if (!edited) return edited.error();
  return PreparedJob{.job = std::move(*edited), .due = prepared->due};
}

Result<JobClient::Prepared> JobClient::prepare_given(std::string_view line, std::optional<WallTime> due, WallTime now,
                                                     std::string_view queue) const {
  const Result<PreparedJob> read = prepare_for_store(line, now, queue, options_, due);
  if (!read) return read.error();
  return to_request(read->job, read->due, now);
}

Async<Result<EnqueueBuffer::Kept>> JobClient::put(std::vector<EnqueueRequest> batch) {
  if (options_.buffer != nullptr) return options_.buffer->enqueue(std::move(batch));
  return put_directly(store_, std::move(batch));
}

Async<Result<std::string>> JobClient::store_one(Result<Prepared> prepared) {
  if (!prepared) co_return prepared.error();
  std::string jid = prepared->request.jid;
  const std::string job_class = prepared->request.class_name;
  const std::string queue = prepared->request.queue;
  const std::optional<UniqueLock> unique = prepared->request.unique;
  std::vector<EnqueueRequest> batch;
  batch.push_back(std::move(prepared->request));
  const Result<EnqueueBuffer::Kept> kept = co_await put(std::move(batch));
  if (!kept) co_return kept.error();
  if (kept->outcomes.front() == ItemOutcome::duplicate) {
    co_return Error(ErrorCode::already_exists, concat("a job with jid \"", jid, "\" is in the store already"));
  }
  if (kept->outcomes.front() == ItemOutcome::queue_full) {
    const Result<std::vector<LimitInfo>> limits = co_await store_.list_limits();
    co_return full_refusal(queue, limits ? *limits : std::vector<LimitInfo>());
  }
  if (kept->outcomes.front() != ItemOutcome::done && unique) {
    std::string key = unique->key;
    const Result<std::optional<HeldLock>> held = co_await store_.find_lock(std::move(key));
    if (kept->outcomes.front() == ItemOutcome::locked) {
      co_return lock_refusal(job_class, *unique, held.value_or(std::nullopt));
    }
    co_return held && *held ? (*held)->jid : std::string();
  }
  if (prepared->event && !kept->buffered) options_.events->notify(std::move(*prepared->event));
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

Async<Result<ItemOutcome>> JobClient::cancel(std::string jid) {
  JobIdentity identity{.jid = jid};
  const bool tell = options_.events != nullptr && options_.events->wants(event_kind<JobCancelled>);
  if (tell) {
    std::string wanted = jid;
    const Result<std::optional<StoredJob>> found = co_await store_.find(std::move(wanted));
    if (!found) co_return found.error();
    if (*found) {
      const Result<Job> job = decode_job((*found)->payload, (*found)->queue, options_.codec);
      identity.job_class = (*found)->class_name;
      identity.queue = (*found)->queue;
      if (job) identity.attempt = job->attempt();
    }
  }
  std::vector<std::string> batch;
  batch.push_back(std::move(jid));
  const Result<std::vector<ItemOutcome>> outcomes = co_await store_.cancel(std::move(batch), {});
  if (!outcomes) co_return outcomes.error();
  if (tell && outcomes->front() == ItemOutcome::done) {
    options_.events->notify(JobCancelled{std::move(identity), runtime_.clock().wall_now()});
  }
  co_return outcomes->front();
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
    const Result<EnqueueBuffer::Kept> kept = co_await put(std::move(batch));
    if (!kept) {
      co_return kept.error().with(concat(first, " of ", prepared.size(), " jobs are enqueued, then"));
    }
    for (std::size_t index = first; index < last; ++index) {
      done[index].outcome = kept->outcomes[index - first];
      done[index].buffered = kept->buffered;
      if (done[index].outcome == ItemOutcome::done && !kept->buffered && prepared[index].event) {
        options_.events->notify(std::move(*prepared[index].event));
      }
    }
  }
  co_return done;
}

namespace {

Result<void> check_spread(Duration spread) {
  if (spread >= Duration::zero() && spread <= retry_delay_max) return {};
  return Error{ErrorCode::invalid_argument, "a bulk may be spread over 0 s to 366 days"};
}

/// None when it is now.
std::optional<WallTime> due_in_bulk(WallTime now, Duration spread, std::size_t index, std::size_t count) {
  const Duration delay = spread_delay(spread, index, count);
  if (delay == Duration::zero()) return std::nullopt;
  return now > WallTime::max() - delay ? WallTime::max() : now + delay;
}

}  // namespace

Duration spread_delay(Duration spread, std::size_t index, std::size_t count) noexcept {
  if (count == 0) return Duration::zero();
  const auto parts = static_cast<std::int64_t>(count);
  const auto part = static_cast<std::int64_t>(index);
  // The product of both might be too large.
  return Duration(spread.count() / parts * part + spread.count() % parts * part / parts);
}

Async<Result<std::vector<Enqueued>>> JobClient::enqueue_bulk(std::vector<NewJob> jobs, BulkOptions options) {
  if (auto good = check_spread(options.spread); !good) co_return good.error();
  const WallTime now = runtime_.clock().wall_now();
  std::vector<Prepared> all;
  all.reserve(jobs.size());
  for (NewJob& job : jobs) {
    const std::optional<WallTime> due = due_in_bulk(now, options.spread, all.size(), jobs.size());
    Result<Prepared> prepared = prepare(std::move(job), due, now);
    if (!prepared) co_return prepared.error().with(concat("job ", all.size() + 1));
    all.push_back(std::move(*prepared));
  }
  Result<std::vector<Enqueued>> done = co_await store_all(std::move(all));
  co_return done;
}

Async<Result<std::vector<Enqueued>>> JobClient::push_bulk(std::vector<std::string> lines, std::string queue_default,
                                                          BulkOptions options) {
  if (auto good = check_spread(options.spread); !good) co_return good.error();
  const WallTime now = runtime_.clock().wall_now();
  std::vector<Prepared> all;
  all.reserve(lines.size());
  for (const std::string& line : lines) {
    const std::optional<WallTime> due = due_in_bulk(now, options.spread, all.size(), lines.size());
    Result<Prepared> prepared = prepare_given(line, due, now, queue_default);
    if (!prepared) co_return prepared.error().with(concat("line ", all.size() + 1));
    all.push_back(std::move(*prepared));
  }
  Result<std::vector<Enqueued>> done = co_await store_all(std::move(all));
  co_return done;
}

}  // namespace dagverk::jobs
