// Enqueueing: calls that come while others are under way go to the server together.

#include "stores/redis/engine.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/wire_time.hpp"

#include <algorithm>
#include <span>
#include <utility>

namespace dagverk::stores::redis {

using jobs::ChangeKind;
using jobs::EnqueueRequest;
using jobs::ItemOutcome;

namespace {

constexpr std::size_t scripts_limit = 2;  // under way: the server has one to do while we hear of the other
constexpr std::size_t together_size = std::size_t{1} << 20U;  // bytes of callers' jobs that go into one script

/// Nothing has changed, and other callers' jobs may be why.
bool may_be_anothers(const Error& error) {
  return error.code() == ErrorCode::wrong_type || error.code() == ErrorCode::refused;
}

/// Of a script's answer, which numbers the duplicates.
Result<std::vector<ItemOutcome>> outcomes_of(const Result<net::RedisReply>& reply, std::size_t count) {
  if (!reply) return reply.error();
  std::vector<ItemOutcome> outcomes(count, ItemOutcome::done);
  for (const net::RedisReply& item : reply->items()) {
    const std::int64_t number = item.integer_or(0);
    if (number < 1 || static_cast<std::size_t>(number) > count) {
      return Error(ErrorCode::malformed, "an answer of another form");
    }
    outcomes[static_cast<std::size_t>(number) - 1] = ItemOutcome::duplicate;
  }
  return outcomes;
}

}  // namespace

Engine::Outcomes Engine::enqueue(std::vector<EnqueueRequest> jobs) {
  if (auto ok = check_batch("enqueue", jobs.size()); !ok) co_return ok.error();
  for (const EnqueueRequest& job : jobs) {
    if (auto ok = check(job); !ok) co_return ok.error().with("enqueue");
  }
  make_elements(jobs);
  const bool unique = std::ranges::any_of(jobs, [](const EnqueueRequest& job) { return job.unique.has_value(); });
  if (unique || knows_bound_of(jobs)) {
    Result<std::vector<ItemOutcome>> apart = co_await enqueue_apart(std::move(jobs));
    co_return apart;
  }
  Enqueueing mine;
  for (const EnqueueRequest& job : jobs) mine.size_bytes += job.payload.size();
  mine.jobs = std::move(jobs);
  auto ends = make_completion<Result<EnqueueAnswer>>();
  mine.completer = std::move(ends.completer);
  {
    const MutexLock lock(enqueue_mutex_);
    if (enqueueing_.size() >= options_.connection.commands_max ||
        enqueueing_bytes_ + mine.size_bytes > options_.connection.queued_bytes_max) {
      co_return Error{ErrorCode::refused, concat("enqueue: ", enqueueing_.size(), " calls with ", enqueueing_bytes_,
                                                 " bytes are waiting already")};
    }
    enqueueing_bytes_ += mine.size_bytes;
    enqueueing_.push_back(std::move(mine));
  }
  send_enqueueing(*client_);
  Result<EnqueueAnswer> answer = co_await std::move(ends.completion);
  if (!answer) co_return answer.error().with("enqueue");
  if (!answer->apart.empty()) {
    Result<std::vector<ItemOutcome>> apart = co_await enqueue_apart(std::move(answer->apart));
    co_return apart;
  }
  hub_->tell(ChangeKind::ready);
  if (options_.journal) hub_->tell(ChangeKind::journal);
  co_return std::move(answer->outcomes);
}

/// Sends what waits, as far as it goes into one script and there are not too many under way.
void Engine::send_enqueueing(net::RedisClient& client) {
  std::vector<Enqueueing> together;
  {
    const MutexLock lock(enqueue_mutex_);
    std::size_t count = 0;
    std::size_t size = 0;
    while (!enqueueing_.empty() && enqueue_scripts_ < scripts_limit) {
      Enqueueing& next = enqueueing_.front();
      const bool fits = count + next.jobs.size() <= jobs::batch_count_limit && size + next.size_bytes <= together_size;
      if (!together.empty() && (next.alone || !fits)) break;
      count += next.jobs.size();
      size += next.size_bytes;
      together.push_back(std::move(next));
      enqueueing_.pop_front();
      if (together.back().alone) break;
    }
    if (together.empty()) return;
    enqueueing_bytes_ -= size;
    ++enqueue_scripts_;
  }
  std::vector<const EnqueueRequest*> jobs;
  for (const Enqueueing& one : together) {
    for (const EnqueueRequest& job : one.jobs) jobs.push_back(&job);
  }
  net::RedisScriptCall call = call_of(scripts_->enqueue);
  add_elements(call, jobs);
  const bool ready = std::ranges::any_of(jobs, [](const EnqueueRequest* job) { return !job->due; });
  client.send(call, [this, &client, together = std::move(together)](const Result<net::RedisReply>& reply) mutable {
    enqueued(client, std::move(together), reply);
  });
  // A take that begins now goes to the server behind them, and saves the time of their answer.
  if (ready) hub_->tell(ChangeKind::ready);
}

void Engine::make_elements(std::vector<EnqueueRequest>& jobs) const {
  const WallTime at = now();
  for (EnqueueRequest& job : jobs) {
    const Label label{job.jid, job.queue, job.class_name, job.journaled, at, job.limit_key};
    job.payload = make_element(job.payload, label, options_.codec);
  }
}

/// What every script reads that contains the text of `enqueue`.
void Engine::add_new_jobs(net::RedisScriptCall& call, const std::vector<EnqueueRequest>& jobs) const {
  std::vector<EnqueueRequest> ready = jobs;
  make_elements(ready);
  std::vector<const EnqueueRequest*> elements;
  elements.reserve(ready.size());
  for (const EnqueueRequest& job : ready) elements.push_back(&job);
  add_elements(call, elements);
}

/// The same of jobs whose payloads are elements.
void Engine::add_elements(net::RedisScriptCall& call, const std::vector<const EnqueueRequest*>& jobs) const {
  const auto same_group = [](const EnqueueRequest* a, const EnqueueRequest* b) {
    return a->queue == b->queue && a->due.has_value() == b->due.has_value();
  };
  std::vector<std::span<const EnqueueRequest* const>> groups;
  for (std::size_t first = 0, next = 0; first < jobs.size(); first = next) {
    while (next < jobs.size() && same_group(jobs[first], jobs[next])) ++next;
    groups.emplace_back(jobs.data() + first, next - first);
  }
  call.arg(ttl_until({})).arg(groups.size());
  for (const std::span<const EnqueueRequest* const> group : groups) {
    const bool later = group.front()->due.has_value();
    call.arg(group.front()->queue).arg(group.size()).arg(later ? "z" : "");
    for (const EnqueueRequest* job : group) call.arg(job->jid);
    for (const EnqueueRequest* job : group) call.arg(job->payload);
    for (const EnqueueRequest* job : group) {
      if (later) call.arg(dagverk::jobs::epoch_seconds_text(*job->due));
    }
    for (const EnqueueRequest* job : group) {
      if (later) call.arg(ttl_until(job->due));
    }
    for (const EnqueueRequest* job : group) {
      if (options_.journal) call.arg(job->journaled ? 1 : 0).arg(job->class_name).arg(job->detail);
    }
  }
}

/// Tells the callers. Of what failed for all of them each is tried alone; all go apart when some queue has a bound.
void Engine::enqueued(net::RedisClient& client, std::vector<Enqueueing> together,
                      const Result<net::RedisReply>& reply) {
  const bool apart = !reply && together.size() > 1 && may_be_anothers(reply.error());
  {
    const MutexLock lock(enqueue_mutex_);
    --enqueue_scripts_;
    for (auto one = together.rbegin(); apart && one != together.rend(); ++one) {
      one->alone = true;
      enqueueing_bytes_ += one->size_bytes;
      enqueueing_.push_front(std::move(*one));
    }
    if (!reply && reply.error().code() == ErrorCode::unavailable) {  // nor would those have an answer that wait
      std::ranges::move(enqueueing_, std::back_inserter(together));
      enqueueing_.clear();
      enqueueing_bytes_ = 0;
    }
  }
  send_enqueueing(client);  // first, so that the server has something to do
  if (apart) return;
  if (reply && reply->items().size() == 2 && reply->items()[0].integer_or(0) == -1) {
    note_bound(reply->items()[1].text());
    for (Enqueueing& one : together) one.completer.complete(EnqueueAnswer{.apart = std::move(one.jobs)});
    return;
  }
  std::size_t count = 0;
  for (const Enqueueing& one : together) count += one.jobs.size();
  const Result<std::vector<ItemOutcome>> outcomes = outcomes_of(reply, count);
  std::size_t first = 0;
  for (Enqueueing& one : together) {
    if (!outcomes) {
      one.completer.complete(outcomes.error());
      continue;
    }
    const auto begin = outcomes->begin() + static_cast<std::ptrdiff_t>(first);
    one.completer.complete(EnqueueAnswer{.outcomes = {begin, begin + static_cast<std::ptrdiff_t>(one.jobs.size())}});
    first += one.jobs.size();
  }
}

}  // namespace dagverk::stores::redis
