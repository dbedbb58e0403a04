// Limits: what they are, and what is used of them.

#include "stores/sqlite/engine.hpp"
#include "stores/sqlite/engine_internal.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>

namespace dagverk::stores {

using jobs::Limit;
using jobs::LimitScope;
using jobs::RateMeter;

namespace {

/// When a take has moved as many jobs as one may.
constexpr std::int64_t look_again_after_us = 1000;

/// The keys of a limit are its name, and those from `name:` to before this.
std::string after_keys(std::string_view name) { return concat(name, ';'); }
static_assert(':' + 1 == ';');

Limit read_limit(Use& use) {
  Limit limit;
  limit.scope = use.integer_at(0) == 0 ? LimitScope::queue : LimitScope::key;
  limit.name = use.bytes_at(1);
  if (!use.is_null(2)) limit.concurrency = use.integer_at(2);
  if (!use.is_null(3)) {
    limit.rate = jobs::Rate{use.integer_at(3), std::chrono::microseconds(sane_micros(use.integer_at(4))),
                            use.integer_at(5) == 0 ? jobs::RateKind::token_bucket : jobs::RateKind::window};
  }
  if (!use.is_null(6)) {
    const std::int64_t rule = std::clamp<std::int64_t>(use.integer_at(7), 0, 2);
    limit.bound = jobs::QueueBound{use.integer_at(6), static_cast<jobs::WhenFull>(rule), std::string(use.bytes_at(8))};
  }
  return limit;
}

}  // namespace

/// All limits, as of the open transaction.
const Engine::Limits& Engine::limits() {
  if (limits_known_ == limit_changes_) return limits_;
  limits_.clear();
  Use use(statements_->limit_list);
  while (use.step()) {
    Limit limit = read_limit(use);
    if (!jobs::check(limit)) continue;  // somebody else's writing
    limits_.insert_or_assign({limit.scope, limit.name}, std::move(limit));
  }
  limits_known_ = limit_changes_;
  return limits_;
}

const Limit* Engine::limit_of(LimitScope scope, std::string_view name) {
  const Limits& all = limits();
  if (all.empty()) return nullptr;
  const auto known = all.find({scope, std::string(name)});
  return known == all.end() ? nullptr : &known->second;
}

/// Has everybody read the limits anew, and look whether something may run now.
void Engine::limits_changed() {
  Use(statements_->limits_changed).run();
  ++limit_changes_;
  limits_known_ = ~std::uint64_t{0};
  limits_touched_ = true;
  woke_ = true;
  meta_changed_ = true;
}

void Engine::forget_meters(LimitScope scope, std::string_view name) {
  const auto number = static_cast<std::int64_t>(scope);
  Use(statements_->rate_forget).integer(number).text(name).run();
  if (scope == LimitScope::key) {
    Use(statements_->rate_forget_keys).integer(number).text(concat(name, ':')).text(after_keys(name)).run();
  }
}

RateMeter Engine::meter_of(const Limit& limit, std::string_view key, std::int64_t now_us) {
  Use use(statements_->rate_row);
  const bool used = use.integer(static_cast<std::int64_t>(limit.scope)).text(key).step();
  return {*limit.rate, used ? use.integer_at(0) : 0, used ? use.integer_at(1) : 0, now_us};
}

void Engine::keep_meter(const Limit& limit, std::string_view key, const RateMeter& meter) {
  const std::int64_t over_us =
      meter.at_us() + (limit.rate->kind == jobs::RateKind::window ? micros_of(limit.rate->per) : 0);
  Use(statements_->rate_put)
      .integer(static_cast<std::int64_t>(limit.scope))
      .text(key)
      .integer(meter.at_us())
      .integer(meter.used())
      .integer(over_us)
      .run();
}

std::int64_t Engine::running_in(const Queue& queue) {
  Use use(statements_->queue_running);
  const std::int64_t written = use.integer(queue.id).step() ? use.integer_at(0) : 0;
  return written + queue.delta[static_cast<std::size_t>(Count::running)];
}

/// How many jobs of a queue may begin now, of at most `wanted`.
std::size_t Engine::room_in(const Queue& queue, std::size_t wanted) {
  const Limit* const limit = limit_of(LimitScope::queue, queue.name);
  if (limit == nullptr) return wanted;
  auto room = static_cast<std::int64_t>(wanted);
  if (limit->concurrency) room = std::min(room, *limit->concurrency - running_in(queue));
  if (limit->rate) {
    const RateMeter meter = meter_of(*limit, queue.name, now_us_);
    if (meter.tokens() == 0) next_turn_.note(wall_of(meter.next_us()), wall_of(now_us_));
    room = std::min(room, meter.tokens());
  }
  return static_cast<std::size_t>(std::max<std::int64_t>(room, 0));
}

void Engine::use_queue_tokens(const Queue& queue, std::size_t count) {
  const Limit* const limit = limit_of(LimitScope::queue, queue.name);
  if (limit == nullptr || !limit->rate || count == 0) return;
  RateMeter meter = meter_of(*limit, queue.name, now_us_);
  meter.use(static_cast<std::int64_t>(count));
  keep_meter(*limit, queue.name, meter);
  if (meter.tokens() == 0) next_turn_.note(wall_of(meter.next_us()), wall_of(now_us_));
}

/// Whether the limit of its key lets a job begin, which uses up a token: nothing. Else when its turn comes.
/// `running_too`: of its key, about to be claimed.
std::optional<std::int64_t> Engine::turn_of(const Limit& limit, const KeyedJob& job, std::int64_t running_too) {
  if (limit.concurrency) {
    Use running(statements_->key_running);
    const std::int64_t used = running.text(job.key).integer(*limit.concurrency).step() ? running.integer_at(0) : 0;
    if (used + running_too >= *limit.concurrency) {
      const std::int64_t wait_us = micros_of(jobs::limit_slot_wait);
      if (job.waited) {  // goes before all who wait for long yet
        Use first(statements_->key_first);
        if (first.text(job.key).step() && first.integer_at(1) > now_us_ + wait_us / 10) return first.integer_at(1) - 1;
      }
      return now_us_ + wait_us;
    }
  }
  if (!limit.rate) return std::nullopt;
  RateMeter meter = meter_of(limit, job.key, now_us_);
  if (meter.tokens() > 0) {
    meter.use(1);
    keep_meter(limit, job.key, meter);
    return std::nullopt;
  }
  if (job.waited) return meter.next_us();
  Use last(statements_->key_last);
  return meter.turn_after(last.text(job.key).step() ? last.integer_at(0) : 0);
}

/// Moves those of the jobs just read whose keys are at their limits into the schedule. Whether there were any.
bool Engine::hold_back_some(Queue& queue, Taking& taking, std::size_t first) {
  if (taking.keyed.empty()) return false;
  std::map<std::string, std::int64_t> beginning;
  std::vector<KeyedJob> kept;
  std::size_t held = 0;
  std::size_t next_keyed = 0;
  std::size_t end = first;
  for (std::size_t index = first; index < taking.jobs.size(); ++index) {
    jobs::TakenJob& job = taking.jobs[index];
    if (next_keyed < taking.keyed.size() && taking.keyed[next_keyed].index == index) {
      KeyedJob& keyed = taking.keyed[next_keyed++];
      const Limit* const limit = limit_of(LimitScope::key, jobs::limit_name_of(keyed.key));
      const auto due = limit != nullptr ? turn_of(*limit, keyed, beginning[keyed.key]) : std::nullopt;
      if (due) {
        Use(statements_->key_hold).number(next_id()).integer(*due).integer(now_us_).number(job.token.job).run();
        count_state(queue, jobs::JobState::ready, -1);
        count_state(queue, jobs::JobState::scheduled, 1);
        journal(job.journaled, jobs::JournalKind::limited, queue, job.jid, job.class_name,
                jobs::limited_detail(*limit));
        taking.size -= job.payload.size();
        ++held;
        continue;
      }
      ++beginning[keyed.key];
      keyed.index = end;
      kept.push_back(std::move(keyed));
    }
    if (end != index) taking.jobs[end] = std::move(job);
    ++end;
  }
  taking.jobs.resize(end);
  taking.keyed = std::move(kept);
  taking.held_back += held;
  if (taking.held_back >= jobs::limit_moves_limit) {
    next_turn_.note(wall_of(now_us_ + look_again_after_us), wall_of(now_us_));
  }
  return held > 0;
}

/// A job of that key runs no more: the first that waits for it may, before others of its queue.
void Engine::free_key_slot(std::string_view key) {
  if (key.empty()) return;
  const Limit* const limit = limit_of(LimitScope::key, jobs::limit_name_of(key));
  if (limit == nullptr || !limit->concurrency) return;  // a token does not come back
  std::int64_t id = 0;
  {
    Use use(statements_->key_first);
    if (!use.text(key).step()) return;
    id = use.integer_at(0);
  }
  JobRow row;
  if (!load_job(id, row)) return;
  Use(statements_->job_promote).number(next_id()).integer(rank_in_front(row.rank)).integer(now_us_).integer(id).run();
  Queue& queue = queue_of(row.queue);
  count_state(queue, jobs::JobState::scheduled, -1);
  count_state(queue, jobs::JobState::ready, 1);
  journal(row.journaled(), jobs::JournalKind::promoted, queue, row.jid, row.class_name, {});
}

/// Has all that a key limit holds back be due now: another one may let them begin.
void Engine::look_again(LimitScope scope, std::string_view name) {
  limits_changed();
  if (scope == LimitScope::key) {
    Use(statements_->key_look_again).text(name).text(after_keys(name)).integer(now_us_).run();
  }
}

std::vector<jobs::LimitUse> Engine::uses_of_keys(const Limit& limit, std::int64_t now_us) {
  std::vector<jobs::LimitUse> uses;
  const std::string end = after_keys(limit.name);  // bound as it stands: it outlives the reading
  {
    Use use(statements_->key_uses);
    use.text(limit.name).text(end).number(jobs::limit_uses_limit);
    while (use.step()) {
      jobs::LimitUse& one = uses.emplace_back();
      one.key = use.bytes_at(0);
      one.running = use.number_at(1);
      one.waiting = use.number_at(2);
    }
  }
  for (jobs::LimitUse& one : uses) show_tokens(limit, one, now_us);
  return uses;
}

/// A job of the queue runs no more: others may.
void Engine::free_queue_slot(const Queue& queue) {
  if (limit_of(LimitScope::queue, queue.name) == nullptr) return;
  woke_ = true;
  meta_changed_ = true;
}

Result<op::PutLimit::Reply> Engine::apply(const op::PutLimit& operation) {
  const Limit& limit = operation.limit;
  if (auto ok = jobs::check(limit); !ok) return ok.error().with("put_limit");
  const Limit* const known = limit_of(limit.scope, limit.name);
  if (known != nullptr && *known == limit) return false;
  if (known == nullptr && limits().size() >= jobs::limit_count_limit) {
    return Error{ErrorCode::refused,
                 concat("put_limit: there are ", jobs::limit_count_limit, " limits already; remove one")};
  }
  for (const auto& [id, other] : limits()) {
    if (auto ok = jobs::check_beside(limit, other); !ok) return ok.error().with("put_limit");
  }
  if (limit.bound && limit.bound->when_full == jobs::WhenFull::divert) {
    if (auto queue = make_queue(limit.bound->divert_to); !queue) return queue.error().with("put_limit");
  }
  if (known != nullptr && (!known->rate || !limit.rate || known->rate->kind != limit.rate->kind)) {
    forget_meters(limit.scope, limit.name);
  }
  Use use(statements_->limit_put);
  use.integer(static_cast<std::int64_t>(limit.scope)).text(limit.name);
  if (limit.concurrency) {
    use.integer(*limit.concurrency);
  } else {
    use.null();
  }
  if (limit.rate) {
    use.integer(limit.rate->count).integer(micros_of(limit.rate->per));
    use.integer(static_cast<std::int64_t>(limit.rate->kind));
  } else {
    use.null().null().null();
  }
  if (limit.bound) {
    use.integer(limit.bound->most).integer(static_cast<std::int64_t>(limit.bound->when_full));
    use.text(limit.bound->divert_to);
  } else {
    use.null().null().null();
  }
  use.run();
  look_again(limit.scope, limit.name);
  return true;
}

Result<op::RemoveLimit::Reply> Engine::apply(const op::RemoveLimit& operation) {
  if (auto ok = jobs::check_limit_name(operation.scope, operation.name); !ok) return ok.error().with("remove_limit");
  Use(statements_->limit_delete).integer(static_cast<std::int64_t>(operation.scope)).text(operation.name).run();
  if (database_->changes() == 0) return false;
  forget_meters(operation.scope, operation.name);
  look_again(operation.scope, operation.name);
  return true;
}

Result<op::ResetLimit::Reply> Engine::apply(const op::ResetLimit& operation) {
  if (auto ok = jobs::check_limit_name(operation.scope, operation.name); !ok) return ok.error().with("reset_limit");
  if (limit_of(operation.scope, operation.name) == nullptr) return false;
  forget_meters(operation.scope, operation.name);
  look_again(operation.scope, operation.name);
  return true;
}

Result<op::ListLimits::Reply> Engine::apply(const op::ListLimits& /*operation*/) {
  const std::int64_t now_us = micros_of(options_.clock->wall_now());
  std::vector<jobs::LimitInfo> list;
  {
    Use use(statements_->limit_list);
    while (use.step()) list.emplace_back(read_limit(use));
  }
  for (jobs::LimitInfo& info : list) {
    if (!jobs::check(info.limit)) continue;
    if (info.limit.scope == LimitScope::key) {
      info.uses = uses_of_keys(info.limit, now_us);
    } else {
      info.uses.push_back(use_of_queue(info.limit, now_us));
    }
  }
  return list;
}

jobs::LimitUse Engine::use_of_queue(const Limit& limit, std::int64_t now_us) {
  jobs::LimitUse used{.key = limit.name};
  {
    Use use(statements_->queue_load);
    if (use.text(limit.name).step()) {
      used.running = use.number_at(0);
      used.waiting = use.number_at(1);
      used.refused = use.number_at(2);
      used.dropped = use.number_at(3);
      used.diverted = use.number_at(4);
    }
  }
  show_tokens(limit, used, now_us);
  return used;
}

void Engine::show_tokens(const Limit& limit, jobs::LimitUse& use, std::int64_t now_us) {
  if (!limit.rate) return;
  const RateMeter meter = meter_of(limit, use.key, now_us);
  use.tokens = meter.tokens();
  if (*use.tokens == 0) use.next_token_at = wall_of(meter.next_us());
}

}  // namespace dagverk::stores
