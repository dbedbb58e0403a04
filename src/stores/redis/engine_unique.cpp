// Unique keys: enqueueing jobs that have one, and who holds them.

#include "stores/redis/engine.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/wire_time.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

namespace dagverk::stores::redis {

using jobs::ChangeKind;
using jobs::EnqueueRequest;
using jobs::ItemOutcome;
using jobs::JobState;
using jobs::LockConflict;

namespace {

constexpr std::size_t search_rounds = 5;  // a holder may move while it is looked for

char letter_of(LockConflict conflict) {
  switch (conflict) {
    case LockConflict::replace: return 'p';
    case LockConflict::reschedule: return 's';
    case LockConflict::refuse: break;
  }
  return 'f';
}

ItemOutcome outcome_of(std::int64_t number) {
  switch (number) {
    case 0: return ItemOutcome::duplicate;
    case 2: return ItemOutcome::locked;
    case 3: return ItemOutcome::rescheduled;
    case 4: return ItemOutcome::queue_full;
    default: return ItemOutcome::done;
  }
}

/// `UNTIL TAKEN EXPIRES JID`; nothing when somebody else wrote it.
std::optional<jobs::HeldLock> read_lock(std::string_view key, std::string_view text) {
  std::int64_t numbers[3] = {};
  for (std::int64_t& number : numbers) {
    const std::size_t blank = text.find(' ');
    const auto read = number_of(text.substr(0, blank));
    if (!read || blank == std::string_view::npos) return std::nullopt;
    number = *read;
    text.remove_prefix(blank + 1);
  }
  if (numbers[0] < 0 || numbers[0] > static_cast<std::int64_t>(jobs::LockUntil::period)) return std::nullopt;
  return jobs::HeldLock{.key = std::string(key),
                        .jid = std::string(text),
                        .until = static_cast<jobs::LockUntil>(numbers[0]),
                        .taken_at = wall_of(numbers[1]),
                        .expires_at = wall_of(numbers[2])};
}

}  // namespace

/// `jobs`: whose payloads are elements, some with unique keys, or for queues with bounds. Holders that are to be pushed
/// aside are looked for first, and elements made for other queues; the script makes sure that all is still so, or
/// changes nothing.
Engine::Outcomes Engine::enqueue_apart(std::vector<EnqueueRequest> jobs) {
  std::vector<std::optional<Aside>> asides(jobs.size());
  std::vector<Diversion> diversions(jobs.size());
  for (std::size_t round = 0;; ++round) {
    net::RedisScriptCall call = call_of(unique_scripts_->enqueue);
    call.arg(ttl_until({})).arg(jobs.size());
    for (std::size_t index = 0; index < jobs.size(); ++index) {
      add_unique(call, jobs[index], asides[index] ? &*asides[index] : nullptr);
      call.arg(diversions[index].queue);
      if (!diversions[index].queue.empty()) call.arg(diversions[index].element);
    }
    Result<net::RedisReply> reply = co_await ask(std::move(call));
    if (!reply) co_return reply.error().with("enqueue");
    const std::vector<net::RedisReply> items = reply->take_items();
    const std::int64_t told = items.empty() ? -1 : items.front().integer_or(-1);
    if ((told == 1 || told == 2) && items.size() == jobs.size() + 1) {
      if (told == 2) forget_bounds(jobs);
      std::vector<ItemOutcome> outcomes;
      outcomes.reserve(jobs.size());
      for (std::size_t index = 1; index < items.size(); ++index) {
        outcomes.push_back(outcome_of(items[index].integer_or(1)));
      }
      hub_->tell(ChangeKind::ready);
      if (options_.journal) hub_->tell(ChangeKind::journal);
      co_return outcomes;
    }
    if (told != 0 && told != 3) co_return Error{ErrorCode::malformed, "enqueue: an answer of another form"};
    if (round == search_rounds) {
      co_return Error{ErrorCode::unavailable,
                      "enqueue: holders of unique keys, or bounds of queues, change too fast; ask again"};
    }
    if (told == 3) {
      if (auto made = make_diversions(items, jobs, diversions); !made) co_return made.error().with("enqueue");
      continue;
    }
    const Result<std::size_t> found = co_await find_holders(items, jobs, asides);
    if (!found) co_return found.error().with("enqueue");
  }
}

/// What the script reads of one job.
void Engine::add_unique(net::RedisScriptCall& call, const EnqueueRequest& job, const Aside* aside) const {
  call.arg(job.jid).arg(job.queue).arg(job.payload);
  call.arg(job.due ? jobs::epoch_seconds_text(*job.due) : std::string()).arg(ttl_until(job.due));
  call.arg(told(job.journaled) ? 1 : 0).arg(job.class_name).arg(job.detail);
  if (!job.unique) {
    call.arg("").arg(0).arg(0).arg("f").arg("").arg("");
    return;
  }
  const jobs::UniqueLock& lock = *job.unique;
  const char conflict = letter_of(lock.conflict);
  call.arg(lock.key).arg(static_cast<int>(lock.until)).arg(lock.expiry / std::chrono::microseconds(1));
  call.arg(std::string_view(&conflict, 1)).arg(jobs::lock_detail(lock.conflict, job.jid));
  if (aside == nullptr) {
    call.arg("");
    return;
  }
  const Located& other = aside->job;
  call.arg(other.read.jid).arg(other.state == JobState::ready ? "l" : "z").arg(other.key).arg(other.element);
  call.arg(aside->near).arg(other.read.queue).arg(other.read.class_name).arg(told(other.read.journaled) ? 1 : 0);
}

/// Finds who holds the keys of the jobs that the script has named. One that does not wait is left alone: its key is
/// refused.
Engine::Reply<std::size_t> Engine::find_holders(const std::vector<net::RedisReply>& needs,
                                                std::vector<EnqueueRequest>& jobs,
                                                std::vector<std::optional<Aside>>& asides) {
  std::vector<std::pair<std::size_t, std::string>> wanted;
  std::vector<std::string> jids;
  for (std::size_t at = 1; at + 1 < needs.size(); at += 2) {
    const std::int64_t number = needs[at].integer_or(0);
    if (number < 1 || static_cast<std::size_t>(number) > jobs.size()) {
      co_return Error{ErrorCode::malformed, "an answer of another form"};
    }
    jids.emplace_back(needs[at + 1].text());
    wanted.emplace_back(static_cast<std::size_t>(number) - 1, jids.back());
  }
  const Result<Found> found = co_await locate(std::move(jids));
  if (!found) co_return found.error();
  for (const auto& [index, jid] : wanted) {
    asides[index].reset();
    const auto known = found->find(jid);
    if (known == found->end() || known->second.state == JobState::running || known->second.state == JobState::dead) {
      jobs[index].unique->conflict = LockConflict::refuse;
      continue;
    }
    Aside aside{known->second};
    if (aside.job.state == JobState::ready) {
      net::RedisCommand command("LLEN", aside.job.key);
      const Result<net::RedisReply> length = co_await ask(std::move(command));
      if (!length) co_return length.error();
      Change change;
      if (auto ok = aim(change, aside.job, static_cast<std::size_t>(std::max<std::int64_t>(0, length->integer_or(0))));
          !ok) {
        co_return ok.error();
      }
      aside.near = concat(change.from_left ? "1 " : "-1 ", change.reach);
    }
    asides[index] = std::move(aside);
  }
  co_return wanted.size();
}

Engine::Reply<std::optional<jobs::HeldLock>> Engine::find_lock(std::string key) {
  if (auto ok = jobs::check_lock_key(key); !ok) co_return ok.error().with("find_lock");
  net::RedisCommand command("HGET", "dagverk:unique", key);
  const Result<net::RedisReply> reply = co_await ask(std::move(command));
  if (!reply) co_return reply.error();
  std::optional<jobs::HeldLock> lock = read_lock(key, reply->text());
  if (lock && lock->expires_at <= now()) lock.reset();
  co_return lock;
}

Engine::Reply<jobs::LockPage> Engine::list_locks(std::string cursor, std::size_t limit) {
  if (auto ok = check_batch("list_locks", limit); !ok) co_return ok.error();
  const Result<jobs::LockCursor> after = jobs::LockCursor::read(cursor, now());
  if (!after) co_return after.error();
  net::RedisScriptCall call = call_of(unique_scripts_->list);
  // What the page before ended with may be gone: then all that expire with it come again.
  call.arg(after->key).arg(concat(cursor.empty() ? "" : "(", after->expires_us)).arg(limit + 1);
  const Result<net::RedisReply> reply = co_await ask(std::move(call));
  if (!reply) co_return reply.error();
  const std::span<const net::RedisReply> items = reply->items();
  jobs::LockPage page;
  for (std::size_t at = 0; at + 1 < std::min(items.size(), 2 * limit); at += 2) {
    if (auto lock = read_lock(items[at].text(), items[at + 1].text())) page.locks.push_back(std::move(*lock));
  }
  if (items.size() > 2 * limit && !page.locks.empty()) page.next = jobs::LockCursor::behind(page.locks.back());
  co_return page;
}

Engine::Reply<bool> Engine::release_lock(std::string key) {
  if (auto ok = jobs::check_lock_key(key); !ok) co_return ok.error().with("release_lock");
  net::RedisScriptCall call = call_of(unique_scripts_->release);
  call.arg(key);
  const Result<net::RedisReply> reply = co_await ask(std::move(call));
  if (!reply) co_return reply.error();
  co_return reply->integer_or(0) == 1;
}

}  // namespace dagverk::stores::redis
