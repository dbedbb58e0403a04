// Limits: what they are, and what is used of them.

#include "testing_jobs/memory_jobs.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>

namespace dagverk::testing_jobs {

using jobs::Limit;
using jobs::LimitScope;
using jobs::RateMeter;

namespace {

std::int64_t micros_of(WallTime time) {
  return std::chrono::floor<std::chrono::microseconds>(time.time_since_epoch()).count();
}

WallTime wall_of(std::int64_t micros) { return WallTime(std::chrono::microseconds(micros)); }

}  // namespace

Result<bool> MemoryJobs::put_limit(const Limit& limit) {
  if (auto ok = jobs::check(limit); !ok) return ok.error().with("put_limit");
  const auto known = limits_.find({limit.scope, limit.name});
  if (known == limits_.end() && limits_.size() >= jobs::limit_count_limit) {
    return Error{ErrorCode::refused,
                 concat("put_limit: there are ", jobs::limit_count_limit, " limits already; remove one")};
  }
  if (known != limits_.end() && known->second == limit) return false;
  for (const auto& [id, other] : limits_) {
    if (auto ok = jobs::check_beside(limit, other); !ok) return ok.error().with("put_limit");
  }
  if (limit.bound && limit.bound->when_full == jobs::WhenFull::divert) {
    if (auto ok = make_queues({&limit.bound->divert_to, 1}); !ok) return ok.error().with("put_limit");
  }
  if (known != limits_.end()) {
    const std::optional<jobs::Rate>& before = known->second.rate;
    if (!before || !limit.rate || before->kind != limit.rate->kind) forget_meters(limit.scope, limit.name);
  }
  limits_[{limit.scope, limit.name}] = limit;
  look_again(limit.scope, limit.name);
  return true;
}

Result<bool> MemoryJobs::remove_limit(LimitScope scope, const std::string& name) {
  if (auto ok = jobs::check_limit_name(scope, name); !ok) return ok.error().with("remove_limit");
  if (limits_.erase({scope, name}) == 0) return false;
  forget_meters(scope, name);
  look_again(scope, name);
  return true;
}

Result<bool> MemoryJobs::reset_limit(LimitScope scope, const std::string& name) {
  if (auto ok = jobs::check_limit_name(scope, name); !ok) return ok.error().with("reset_limit");
  if (!limits_.contains({scope, name})) return false;
  forget_meters(scope, name);
  look_again(scope, name);
  return true;
}

Result<std::vector<jobs::LimitInfo>> MemoryJobs::list_limits() const {
  std::vector<jobs::LimitInfo> list;
  for (const auto& [id, limit] : limits_) {
    jobs::LimitInfo& info = list.emplace_back(limit);
    if (limit.scope == LimitScope::key) {
      info.uses = uses_of_keys(limit);
    } else {
      info.uses.push_back(use_of_queue(limit));
    }
  }
  return list;
}

jobs::LimitUse MemoryJobs::use_of_queue(const Limit& limit) const {
  jobs::LimitUse use{.key = limit.name};
  if (const auto queue = queues_.find(limit.name); queue != queues_.end()) {
    use.running = queue->second.counts.running;
    use.waiting = queue->second.counts.ready;
    use.refused = queue->second.counts.refused;
    use.dropped = queue->second.counts.dropped;
    use.diverted = queue->second.counts.diverted;
  }
  show_tokens(limit, use);
  return use;
}

void MemoryJobs::show_tokens(const Limit& limit, jobs::LimitUse& use) const {
  if (!limit.rate) return;
  const RateMeter meter = meter_of(limit, use.key);
  use.tokens = meter.tokens();
  if (*use.tokens == 0) use.next_token_at = wall_of(meter.next_us());
}

const Limit* MemoryJobs::limit_of(LimitScope scope, std::string_view name) const {
  if (limits_.empty()) return nullptr;
  const auto known = limits_.find({scope, std::string(name)});
  return known == limits_.end() ? nullptr : &known->second;
}

RateMeter MemoryJobs::meter_of(const Limit& limit, const std::string& key) const {
  const auto kept = meters_.find({limit.scope, key});
  const Metered state = kept == meters_.end() ? Metered() : kept->second;
  return {*limit.rate, state.at_us, state.used, micros_of(now_)};
}

void MemoryJobs::keep_meter(const Limit& limit, const std::string& key, const RateMeter& meter) {
  meters_[{limit.scope, key}] = {meter.at_us(), meter.used()};
  if (limit.scope == LimitScope::queue && meter.tokens() == 0) next_turn_.note(wall_of(meter.next_us()), now_);
}

void MemoryJobs::forget_meters(LimitScope scope, std::string_view name) {
  std::erase_if(meters_, [&](const auto& entry) {
    const std::string_view key = entry.first.second;
    return entry.first.first == scope && key.substr(0, scope == LimitScope::key ? key.find(':') : key.size()) == name;
  });
}

/// How many jobs of a queue may begin now, of at most `wanted`.
std::size_t MemoryJobs::room_in(const std::string& queue, std::size_t wanted) {
  const Limit* const limit = limit_of(LimitScope::queue, queue);
  if (limit == nullptr) return wanted;
  auto room = static_cast<std::int64_t>(wanted);
  if (limit->concurrency) {
    room = std::min(room, *limit->concurrency - static_cast<std::int64_t>(queues_.at(queue).counts.running));
  }
  if (limit->rate) {
    const RateMeter meter = meter_of(*limit, queue);
    if (meter.tokens() == 0) keep_meter(*limit, queue, meter);
    room = std::min(room, meter.tokens());
  }
  return static_cast<std::size_t>(std::max<std::int64_t>(room, 0));
}

void MemoryJobs::use_queue_token(const std::string& queue) {
  const Limit* const limit = limit_of(LimitScope::queue, queue);
  if (limit == nullptr || !limit->rate) return;
  RateMeter meter = meter_of(*limit, queue);
  meter.use(1);
  keep_meter(*limit, queue, meter);
}

bool MemoryJobs::has_room(const Limit& limit, const Job* leaving) const {
  const auto queue = queues_.find(limit.name);
  if (queue == queues_.end()) return true;
  const bool makes_room =
      leaving != nullptr && leaving->stored.state == jobs::JobState::ready && leaving->stored.queue == limit.name;
  return makes_room || queue->second.counts.ready < static_cast<std::uint64_t>(limit.bound->most);
}

MemoryJobs::Admission MemoryJobs::admit(const jobs::EnqueueRequest& request, const Job* leaving) const {
  std::string queue = request.queue;
  if (request.due) return {queue};
  for (bool diverted = false;; diverted = true) {
    const Limit* const limit = limit_of(LimitScope::queue, queue);
    if (limit == nullptr || !limit->bound || has_room(*limit, leaving)) return {queue};
    if (limit->bound->when_full == jobs::WhenFull::drop_oldest) return {queue, true};
    if (limit->bound->when_full == jobs::WhenFull::refuse || diverted) return {};
    queue = limit->bound->divert_to;
  }
}

/// The first of those with the lowest priority makes room for the job of this jid.
void MemoryJobs::drop_oldest(const std::string& queue, std::string_view jid) {
  const std::int64_t lowest =
      std::prev(places_.lower_bound({.state = jobs::JobState::ready, .queue = queue + '\0'}))->first.first;
  Job& oldest = *places_.lower_bound({.state = jobs::JobState::ready, .queue = queue, .first = lowest})->second;
  ++counts_of(oldest).dropped;
  drop(oldest, &jobs::QueueCounts::discarded, jobs::JournalKind::dropped, jobs::dropped_detail(jid));
}

void MemoryJobs::free_slot(const Job& job) {
  if (limit_of(LimitScope::queue, job.stored.queue) != nullptr) changes_.ready = true;
  const std::string& key = job.stored.limit_key;
  if (key.empty()) return;
  const auto slots = slots_.find(key);
  if (--slots->second == 0) slots_.erase(slots);
  const Limit* const limit = limit_of(LimitScope::key, jobs::limit_name_of(key));
  if (limit == nullptr || !limit->concurrency) return;  // a token does not come back
  const auto line = lines_.find(key);
  if (line == lines_.end()) return;
  Job& first = *line->second.begin()->second;
  leave(first);
  renew_handle(first);
  first.stored.enqueued_at = now_;
  first.given_back = true;
  enter(first, jobs::JobState::ready);
  note(first, jobs::JournalKind::promoted, {});
}

/// Whether the limit of the job's key lets it begin, which uses up a token. If not, it waits in the schedule from now
/// on.
bool MemoryJobs::may_begin(Job& job) {
  const std::string& key = job.stored.limit_key;
  if (key.empty()) return true;
  const Limit* const limit = limit_of(LimitScope::key, jobs::limit_name_of(key));
  if (limit == nullptr) return true;
  const auto line = lines_.find(key);
  const bool some_wait = line != lines_.end();
  const auto slots = slots_.find(key);
  const std::uint64_t used = slots == slots_.end() ? 0 : slots->second;
  if (limit->concurrency && used >= static_cast<std::uint64_t>(*limit->concurrency)) {
    // Who has waited before goes before all who wait for long yet.
    WallTime due = now_ + jobs::limit_slot_wait;
    if (job.held_back && some_wait) {
      const WallTime first = *line->second.begin()->second->stored.due;
      if (first > now_ + jobs::limit_slot_wait / 10) due = first - std::chrono::microseconds(1);
    }
    hold_back(job, *limit, due);
    return false;
  }
  if (!limit->rate) return true;
  RateMeter meter = meter_of(*limit, key);
  if (meter.tokens() == 0) {
    const std::int64_t last = some_wait ? micros_of(*line->second.rbegin()->second->stored.due) : 0;
    hold_back(job, *limit, wall_of(job.held_back ? meter.next_us() : meter.turn_after(last)));
    return false;
  }
  meter.use(1);
  keep_meter(*limit, key, meter);
  return true;
}

void MemoryJobs::hold_back(Job& job, const Limit& limit, WallTime due) {
  leave(job);
  renew_handle(job);
  job.held_back = true;
  job.stored.due = due;
  job.stored.enqueued_at = now_;
  enter(job, jobs::JobState::scheduled);
  note(job, jobs::JournalKind::limited, jobs::limited_detail(limit));
}

/// Has all that a key limit holds back be due now: another one may let them begin.
void MemoryJobs::look_again(LimitScope scope, std::string_view name) {
  changes_.ready = true;
  if (scope != LimitScope::key) return;
  std::vector<Job*> waiting;
  for (const auto& [key, line] : lines_) {
    if (jobs::limit_name_of(key) != name) continue;
    for (const auto& [place, job] : line) waiting.push_back(job);
  }
  for (Job* const job : waiting) {
    leave(*job);
    job->stored.due = now_;
    enter(*job, jobs::JobState::scheduled);
  }
}

std::vector<jobs::LimitUse> MemoryJobs::uses_of_keys(const Limit& limit) const {
  std::map<std::string, jobs::LimitUse> uses;
  for (const auto& [key, used] : slots_) {
    if (jobs::limit_name_of(key) == limit.name) uses[key].running = used;
  }
  for (const auto& [key, line] : lines_) {
    if (jobs::limit_name_of(key) == limit.name) uses[key].waiting = line.size();
  }
  std::vector<jobs::LimitUse> list;
  for (auto& [key, use] : uses) {
    if (list.size() == jobs::limit_uses_limit) break;
    use.key = key;
    show_tokens(limit, use);
    list.push_back(use);
  }
  return list;
}

}  // namespace dagverk::testing_jobs
