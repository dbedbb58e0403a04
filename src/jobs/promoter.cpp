#include "jobs/promoter.hpp"

#include "dagverk/jobs/job_codec.hpp"

#include <algorithm>
#include <utility>
#include <vector>

namespace dagverk::jobs {

namespace {

constexpr std::size_t page_limit = 500;
constexpr Duration shortest_sleep = std::chrono::milliseconds(1);

/// A payload that cannot be read moves as it is: the pool that takes it will bury it.
Promotion promotion_of(const DueJob& due, WallTime now, const CodecOptions& codec) {
  Promotion promotion;
  promotion.handle = due.handle;
  if (const Result<Job> job = decode_job(due.payload, due.queue, codec)) {
    if (Result<std::string> payload = enqueued_payload(*job, now, codec)) promotion.payload = std::move(*payload);
  }
  return promotion;
}

}  // namespace

void Promoter::init() { sleep_for_at_most(Duration::zero()); }

void Promoter::handle_cast(Due due) {
  if (due.at >= next_) return;
  sleep_for_at_most(due.at - env_->now());
}

Async<void> Promoter::handle_info(Wake wake) {
  if (wake.round != round_) co_return;
  const Result<Duration> delay = co_await promote_due();
  if (!delay) {
    ++env_->counters.store_errors;
    health_.failed(*env_, delay.error());
    env_->runtime.logger().warning("promotion.failed", {{"error", delay.error().message()}});
    sleep_for_at_most(backoff_.next());
    co_return;
  }
  backoff_.reset();
  health_.works(*env_);
  sleep_for_at_most(*delay);
}

Async<Result<Duration>> Promoter::promote_due() {
  for (;;) {
    const WallTime now = env_->now();
    Result<DuePage> page = co_await env_->store.peek_due(now, page_limit);
    if (!page) co_return page.error();
    if (!page->jobs.empty()) {
      std::vector<Promotion> promotions;
      for (const DueJob& due : page->jobs) promotions.push_back(promotion_of(due, now, env_->options.codec));
      Result<std::vector<ItemOutcome>> outcomes = co_await env_->store.promote(std::move(promotions));
      if (!outcomes) co_return outcomes.error();
      for (std::size_t index = 0; index < outcomes->size(); ++index) {
        if ((*outcomes)[index] != ItemOutcome::done) continue;
        ++env_->counters.promoted;
        if (!env_->events->wants(event_kind<JobPromoted>)) continue;
        const DueJob& due = page->jobs[index];
        JobIdentity job{.jid = due.jid, .job_class = due.class_name, .queue = due.queue, .node = env_->name};
        env_->events->notify(JobPromoted{std::move(job), now, due.state == JobState::retrying ? "retry" : "schedule"});
      }
    }
    if (page->jobs.size() == page_limit) continue;
    if (!page->next_due) co_return env_->options.promotion_interval;
    co_return *page->next_due - env_->now();
  }
}

void Promoter::sleep_for_at_most(Duration delay) {
  delay = std::clamp(delay, shortest_sleep, std::max(shortest_sleep, env_->options.promotion_interval));
  next_ = env_->now() + delay;
  send_after(delay, Wake{++round_});
}

}  // namespace dagverk::jobs
