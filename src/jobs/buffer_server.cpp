#include "jobs/buffer_server.hpp"

#include "jobs/buffered_job.hpp"
#include "jobs/store_away.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/runtime/this_process.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace dagverk::jobs {

namespace {

std::uint64_t size_of(const std::vector<EnqueueRequest>& jobs) {
  std::uint64_t bytes = 0;
  for (const EnqueueRequest& job : jobs) bytes += buffered_size(job);
  return bytes;
}

}  // namespace

void BufferServer::init() {
  for (const EnqueueRequest& job : core_->jobs) bytes_ += buffered_size(job);
  if (!core_->jobs.empty()) try_after(Duration::zero());
}

Result<void> BufferServer::room_for(const std::vector<EnqueueRequest>& jobs, std::uint64_t bytes) const {
  const EnqueueBufferOptions& options = core_->options;
  if (core_->jobs.size() + jobs.size() > options.jobs_max) {
    return Error{ErrorCode::store_full, concat("the buffer of enqueues has room for ", options.jobs_max, " jobs, and ",
                                               core_->jobs.size(), " wait there")};
  }
  if (bytes_ + bytes > options.bytes_max) {
    return Error{ErrorCode::store_full, concat("the buffer of enqueues has room for ", options.bytes_max,
                                               " bytes, and ", bytes_, " are in use")};
  }
  return {};
}

Result<void> BufferServer::handle_call(Keep keep) {
  const std::uint64_t bytes = size_of(keep.jobs);
  Result<void> kept = room_for(keep.jobs, bytes);
  if (kept && core_->file) kept = core_->file->append(keep.jobs);
  const std::size_t count = keep.jobs.size();
  if (kept) {
    std::ranges::move(keep.jobs, std::back_inserter(core_->jobs));
    bytes_ += bytes;
    core_->waiting += count;
  }
  {
    const MutexLock lock(core_->mutex);
    (kept ? core_->stats.buffered : core_->stats.turned_away) += count;
    if (kept && !core_->stats.away_since) core_->stats.away_since = core_->runtime.clock().wall_now();
    core_->stats.waiting_bytes = bytes_;
  }
  if (kept && !busy_) try_after(backoff_.next());
  return kept;
}

void BufferServer::handle_call(Drain /*drain*/, From<Drain> from) {
  if (core_->jobs.empty()) {
    from.reply(true);
    return;
  }
  drains_.push_back(std::move(from));
  if (!tries_) try_after(Duration::zero());
}

void BufferServer::try_after(Duration delay) {
  busy_ = true;
  send_after(delay, Try{++round_});
}

void BufferServer::handle_info(Try again) {
  if (again.round == round_ && !tries_) attempt();
}

void BufferServer::attempt() {
  tried_ = std::min(core_->jobs.size(), one_by_one_ > 0 ? std::size_t{1} : batch_limit);
  if (tried_ == 0) return;
  std::vector<EnqueueRequest> batch(core_->jobs.begin(), core_->jobs.begin() + static_cast<std::ptrdiff_t>(tried_));
  auto work = [core = core_, server = self(), round = ++round_, batch = std::move(batch)]() mutable -> Async<void> {
    Result<std::vector<ItemOutcome>> outcomes = co_await core->store.enqueue(std::move(batch));
    server.cast(Tried{round, std::move(outcomes)});
  };
  tries_ = this_process::spawn_monitor(std::move(work)).monitor;
}

void BufferServer::handle_info(const Down& down) {
  if (tries_ != down.ref) return;
  tries_.reset();
  failed(Error{ErrorCode::exited, "the attempt crashed"});
}

void BufferServer::handle_cast(Tried tried) {
  if (tried.round != round_ || !tries_) return;
  this_process::demonitor(*std::exchange(tries_, std::nullopt));
  if (tried.outcomes) {
    take_out(*tried.outcomes);
  } else if (means_away(tried.outcomes.error().code())) {
    failed(tried.outcomes.error());
    return;
  } else if (tried_ > 1) {
    one_by_one_ = tried_;  // one of them is refused, and the others shall not suffer for it
  } else {
    refuse(core_->jobs.front(), tried.outcomes.error().message());
    take_out({ItemOutcome::refused});
  }
  if (!core_->jobs.empty()) {
    attempt();
    return;
  }
  busy_ = false;
  for (From<Drain>& from : drains_) from.reply(true);
  drains_.clear();
}

void BufferServer::failed(const Error& error) {
  if (!std::exchange(told_, true)) {
    core_->runtime.logger().warning("enqueue.buffered", {{"waiting", core_->jobs.size()}, {"error", error.message()}});
  }
  try_after(backoff_.next());
}

void BufferServer::take_out(const std::vector<ItemOutcome>& outcomes) {
  std::uint64_t superfluous = 0;
  std::uint64_t refused = 0;
  for (const ItemOutcome outcome : outcomes) {
    const EnqueueRequest job = std::move(core_->jobs.front());
    core_->jobs.pop_front();
    bytes_ -= buffered_size(job);
    if (outcome == ItemOutcome::queue_full) {
      refuse(job, full_refusal(job.queue, {}).message());
      ++refused;
    } else if (outcome == ItemOutcome::refused) {
      ++refused;
    } else if (outcome != ItemOutcome::done) {
      ++superfluous;
    } else {
      tell_stored(job);
    }
  }
  if (core_->file) {
    if (auto removed = core_->file->remove(outcomes.size(), core_->jobs); !removed) {
      core_->runtime.logger().warning("enqueue.file_failed", {{"error", removed.error().message()}});
    }
  }
  one_by_one_ -= std::min(one_by_one_, outcomes.size());
  backoff_.reset();
  if (core_->jobs.empty() && std::exchange(told_, false)) core_->runtime.logger().info("enqueue.caught_up", {});
  {
    const MutexLock lock(core_->mutex);
    core_->stats.superfluous += superfluous;
    core_->stats.refused += refused;
    core_->stats.stored += outcomes.size() - superfluous - refused;
    core_->stats.waiting_bytes = bytes_;
    if (core_->jobs.empty()) core_->stats.away_since.reset();
  }
  core_->waiting -= outcomes.size();
}

void BufferServer::tell_stored(const EnqueueRequest& job) const {
  EventSink* const events = core_->options.events;
  if (events == nullptr) return;
  const bool wanted = events->wants(job.due ? event_kind<JobScheduled> : event_kind<JobEnqueued>);
  if (!wanted) return;
  const Result<Job> decoded = decode_job(job.payload, job.queue, core_->options.codec);
  JobIdentity identity{.jid = job.jid, .job_class = job.class_name, .queue = job.queue};
  if (decoded) identity = identity_of(*decoded);
  const WallTime now = core_->runtime.clock().wall_now();
  if (job.due) {
    events->notify(JobScheduled{std::move(identity), now, *job.due});
  } else {
    events->notify(JobEnqueued{std::move(identity), now});
  }
}

void BufferServer::refuse(const EnqueueRequest& job, std::string_view why) {
  Result<void> aside;
  if (core_->file) aside = core_->file->put_aside(job);
  core_->runtime.logger().error("enqueue.refused",
                                {{"jid", job.jid},
                                 {"class", job.class_name},
                                 {"queue", job.queue},
                                 {"error", why},
                                 {"kept", core_->file && aside ? concat(core_->options.file, ".refused") : "no"}});
}

}  // namespace dagverk::jobs
