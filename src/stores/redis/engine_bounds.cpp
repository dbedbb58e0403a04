// Bounds of queues: which are known to have one, and what a job is in the queue into which it is diverted.

#include "stores/redis/engine.hpp"

namespace dagverk::stores::redis {

using jobs::EnqueueRequest;

namespace {

/// Remembered at most. One that is forgotten costs its next enqueue a round trip.
constexpr std::size_t known_bounds_limit = 1000;

}  // namespace

/// Whether some of the jobs are for queues that had a bound when they were last looked at.
bool Engine::knows_bound_of(const std::vector<EnqueueRequest>& jobs) {
  if (!some_bounded_.load(std::memory_order_relaxed)) return false;
  const MutexLock lock(enqueue_mutex_);
  for (const EnqueueRequest& job : jobs) {
    if (!job.due && bounded_queues_.contains(job.queue)) return true;
  }
  return false;
}

void Engine::note_bound(std::string_view queue) {
  const MutexLock lock(enqueue_mutex_);
  if (bounded_queues_.size() >= known_bounds_limit) bounded_queues_.clear();
  bounded_queues_.emplace(queue);
  some_bounded_.store(true, std::memory_order_relaxed);
}

void Engine::forget_bounds(const std::vector<EnqueueRequest>& jobs) {
  if (!some_bounded_.load(std::memory_order_relaxed)) return;
  const MutexLock lock(enqueue_mutex_);
  for (const EnqueueRequest& job : jobs) bounded_queues_.erase(job.queue);
  some_bounded_.store(!bounded_queues_.empty(), std::memory_order_relaxed);
}

/// Makes the elements that the script asks for: the numbers of jobs, each with the queue that it may have to go to.
Result<void> Engine::make_diversions(const std::vector<net::RedisReply>& needs, const std::vector<EnqueueRequest>& jobs,
                                     std::vector<Diversion>& diversions) const {
  for (std::size_t at = 1; at + 1 < needs.size(); at += 2) {
    const std::int64_t number = needs[at].integer_or(0);
    if (number < 1 || static_cast<std::size_t>(number) > jobs.size()) {
      return Error{ErrorCode::malformed, "an answer of another form"};
    }
    const std::size_t index = static_cast<std::size_t>(number) - 1;
    const EnqueueRequest& job = jobs[index];
    Diversion& there = diversions[index];
    there.queue = needs[at + 1].text();
    const Element read = read_element(job.payload, job.queue, {}, options_.codec);
    const Label label{job.jid, there.queue, job.class_name, job.journaled, now(), job.limit_key};
    there.element =
        make_element(jobs::payload_in_queue(read.payload, there.queue, options_.codec), label, options_.codec);
  }
  return {};
}

}  // namespace dagverk::stores::redis
