// What people do: run at once, delete and move single jobs, pause and clear queues.

#include "stores/redis/engine.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <numeric>
#include <unordered_set>
#include <utility>

namespace dagverk::stores::redis {

using jobs::ChangeKind;
using jobs::ItemOutcome;
using jobs::JobState;
using jobs::JournalKind;

namespace {

constexpr std::size_t search_rounds = 3;         // a job may move while it is looked for
constexpr std::size_t reach_slack = 10'000;      // what may have come between a job and its end of the list meanwhile
constexpr std::size_t reach_per_call = 200'000;  // elements that one script compares
constexpr std::size_t clear_step = 200;          // jobs that one script deletes
constexpr std::size_t clear_rounds = 100;

/// What failed may stand beside what was done before it.
Error after_some(const Error& error) {
  return {ErrorCode::outcome_unknown, concat("some of the jobs were changed, then: ", error.message())};
}

}  // namespace

/// Where the server finds the element in its list, which was `length` long: how far from which end.
Result<void> Engine::aim(Change& change, const Located& job, std::size_t length) const {
  const std::size_t behind = length > job.position ? length - job.position : 0;
  change.from_left = behind < job.position;
  const std::size_t distance = std::min(behind, job.position);
  if (distance > options_.search_limit) {
    return Error{ErrorCode::too_large, concat("store: job ", job.read.jid, " is ", distance,
                                              " jobs away from either end of its queue; taking it out would hold up "
                                              "the server")};
  }
  change.reach = distance + reach_slack;
  return {};
}

/// In as many steps as keep each of them short.
Engine::Reply<std::vector<bool>> Engine::change_in_parts(std::vector<Change> changes) {
  std::vector<bool> happened;
  std::vector<Change> part;
  std::size_t reach = 0;
  for (std::size_t index = 0; index < changes.size(); ++index) {
    reach += changes[index].reach;
    part.push_back(std::move(changes[index]));
    if (index + 1 < changes.size() && reach + changes[index + 1].reach <= reach_per_call) continue;
    const Result<std::vector<bool>> done = co_await change(std::exchange(part, {}));
    if (!done) co_return happened.empty() ? done.error() : after_some(done.error());
    happened.insert(happened.end(), done->begin(), done->end());
    reach = 0;
  }
  co_return happened;
}

/// Finds the jobs and does with each what `wish` says; those that moved between the two are looked for again.
Engine::Outcomes Engine::change_found(std::vector<std::string> jids, const Wisher& wish) {
  std::vector<ItemOutcome> outcomes(jids.size(), ItemOutcome::missing);
  std::vector<std::size_t> open(jids.size());
  std::iota(open.begin(), open.end(), std::size_t{0});
  bool changed = false;
  for (std::size_t round = 0; round < search_rounds && !open.empty(); ++round) {
    std::vector<std::string> wanted;
    wanted.reserve(open.size());
    for (const std::size_t index : open) wanted.push_back(jids[index]);
    const Result<Found> found = co_await locate(std::move(wanted));
    if (!found) co_return changed ? after_some(found.error()) : found.error();
    std::map<std::string, std::size_t> lengths;
    for (const auto& [jid, job] : *found) {
      if (job.state == JobState::ready) lengths.emplace(job.key, 0);
    }
    for (auto& [key, length] : lengths) {
      net::RedisCommand command("LLEN", key);
      const Result<net::RedisReply> reply = co_await ask(std::move(command));
      length = static_cast<std::size_t>(reply ? std::max<std::int64_t>(0, reply->integer_or(0)) : 0);
    }
    std::vector<Change> changes;
    std::vector<std::size_t> places;
    std::vector<std::size_t> again;
    std::unordered_set<std::string> seen;
    for (const std::size_t index : open) {
      const auto known = found->find(jids[index]);
      if (known == found->end()) continue;
      if (!seen.insert(jids[index]).second) {
        again.push_back(index);  // named twice: the second time it is where the first has put it
        continue;
      }
      Wish wished = wish(index, known->second);
      if (!wished.change) {
        outcomes[index] = wished.otherwise;
        continue;
      }
      if (known->second.state == JobState::ready) {
        if (auto ok = aim(*wished.change, known->second, lengths[known->second.key]); !ok) {
          co_return changed ? after_some(ok.error()) : ok.error();
        }
      }
      places.push_back(index);
      changes.push_back(std::move(*wished.change));
    }
    const Result<std::vector<bool>> happened = co_await change_in_parts(std::move(changes));
    if (!happened) co_return changed ? after_some(happened.error()) : happened.error();
    for (std::size_t at = 0; at < places.size(); ++at) {
      if ((*happened)[at]) {
        outcomes[places[at]] = ItemOutcome::done;
        changed = true;
      } else {
        again.push_back(places[at]);
      }
    }
    open = std::move(again);
  }
  co_return outcomes;
}

/// Out of the place where it was found; to where is the caller's.
Change Engine::change_of_place(const Located& job) const {
  Change change{.from = job.state == JobState::ready ? 'l' : 'z', .key = job.key, .member = job.element};
  change.jid = job.read.jid;
  change.queue = job.read.queue;
  change.class_name = job.read.class_name;
  if (job.state != JobState::ready) change.counts.push_back({job.read.queue, state_count(job.key), -1});
  return change;
}

Engine::Outcomes Engine::retry_now(std::vector<jobs::RetryNow> jobs) {
  if (auto ok = check_batch("retry_now", jobs.size()); !ok) co_return ok.error();
  std::vector<std::string> jids;
  for (const jobs::RetryNow& job : jobs) {
    const std::string_view payload = job.payload ? *job.payload : std::string_view();
    if (auto ok = check_sizes(payload, job.detail); !ok) co_return ok.error().with("retry_now");
    jids.push_back(job.jid);
  }
  const Wisher wish = [&](std::size_t index, const Located& job) -> Wish {
    if (job.state == JobState::ready) return {ItemOutcome::missing};
    if (job.state == JobState::running) return {ItemOutcome::running};
    return {ItemOutcome::missing, change_to_ready(job.key, job.element, job.read, jobs[index].payload,
                                                  JournalKind::retried_now, jobs[index].detail)};
  };
  Result<std::vector<ItemOutcome>> outcomes = co_await change_found(std::move(jids), wish);
  co_return outcomes;
}

Engine::Outcomes Engine::remove(std::vector<std::string> jids, std::string detail) {
  if (auto ok = check_batch("remove", jids.size()); !ok) co_return ok.error();
  if (auto ok = check_sizes({}, detail); !ok) co_return ok.error().with("remove");
  const Wisher wish = [&](std::size_t, const Located& job) -> Wish {
    if (job.state == JobState::running) return {ItemOutcome::running};
    Change change = change_of_place(job);
    change.to = "X";
    change.rescues = "-";
    change.counts.push_back({job.read.queue, "deleted", 1});
    if (told(job.read.journaled)) change.kind = JournalKind::deleted;
    change.detail = detail;
    return {ItemOutcome::missing, std::move(change)};
  };
  Result<std::vector<ItemOutcome>> outcomes = co_await change_found(std::move(jids), wish);
  co_return outcomes;
}

/// Who is to be cancelled while it runs, with its birth: a hash, since a jid stands there once.
constexpr std::string_view cancel_key = "dagverk:cancel";

Engine::Outcomes Engine::cancel(std::vector<std::string> jids, std::string detail) {
  if (auto ok = check_batch("cancel", jids.size()); !ok) co_return ok.error();
  if (auto ok = check_sizes({}, detail); !ok) co_return ok.error().with("cancel");
  std::map<std::string, std::string> births;
  const Wisher wish = [&](std::size_t, const Located& job) -> Wish {
    if (job.state == JobState::dead) return {ItemOutcome::missing};
    if (job.state == JobState::running) {
      births.insert_or_assign(job.read.jid, jobs::birth_of(job.read.payload, options_.codec));
      return {ItemOutcome::running};
    }
    Change change = change_of_place(job);
    change.to = "X";
    change.rescues = "-";
    change.counts.push_back({job.read.queue, "discarded", 1});
    if (told(job.read.journaled)) change.kind = JournalKind::cancelled;
    change.detail = detail;
    return {ItemOutcome::missing, std::move(change)};
  };
  std::vector<std::string> wanted = jids;
  Result<std::vector<ItemOutcome>> outcomes = co_await change_found(std::move(wanted), wish);
  if (!outcomes) co_return outcomes;
  net::RedisCommand keep("HSET", cancel_key);
  net::RedisCommand forget("HDEL", cancel_key);
  bool kept = false;
  bool forgotten = false;
  for (std::size_t index = 0; index < jids.size(); ++index) {
    if ((*outcomes)[index] == ItemOutcome::running) {
      keep.add(jids[index]);
      keep.add(births[jids[index]]);
      kept = true;
    } else {
      forget.add(jids[index]);
      forgotten = true;
    }
  }
  net::RedisBatch batch;
  if (kept) batch.add(keep);
  if (forgotten) batch.add(forget);
  const Result<std::vector<net::RedisReply>> noted = co_await ask(std::move(batch));
  if (!noted) co_return after_some(noted.error());
  if (kept) hub_->tell(ChangeKind::asked);
  co_return outcomes;
}

Engine::Outcomes Engine::forget_cancels(std::vector<std::string> jids) {
  if (auto ok = check_batch("forget_cancels", jids.size()); !ok) co_return ok.error();
  net::RedisBatch batch;
  for (const std::string& jid : jids) batch.add(net::RedisCommand("HDEL", cancel_key, jid));
  const Result<std::vector<net::RedisReply>> replies = co_await ask(std::move(batch));
  if (!replies) co_return replies.error();
  std::vector<ItemOutcome> outcomes;
  for (const net::RedisReply& reply : *replies) {
    outcomes.push_back(reply.integer_or(0) > 0 ? ItemOutcome::done : ItemOutcome::missing);
  }
  co_return outcomes;
}

/// Those kept now, at most cancel_wishes_limit.
Engine::Reply<std::vector<jobs::CancelWish>> Engine::wishes_to_cancel() {
  std::vector<jobs::CancelWish> wishes;
  net::RedisCommand command("HSCAN", cancel_key, 0, "COUNT", jobs::cancel_wishes_limit);
  const Result<net::RedisReply> reply = co_await ask(std::move(command));
  if (!reply) co_return reply.error();
  if (reply->items().size() != 2) co_return wishes;
  const std::span<const net::RedisReply> items = reply->items()[1].items();
  for (std::size_t index = 0; index + 1 < items.size() && wishes.size() < jobs::cancel_wishes_limit; index += 2) {
    wishes.push_back({std::string(items[index].text()), std::string(items[index + 1].text())});
  }
  co_return wishes;
}

Engine::Wish Engine::wish_to_move(const jobs::MoveJob& wanted, const Located& job) const {
  if (job.state == JobState::running) return {ItemOutcome::running};
  const Element& read = job.read;
  if (read.queue == wanted.queue) return {ItemOutcome::done};
  const bool ready = job.state == JobState::ready;
  Change change = change_of_place(job);
  // Bytes that are no job belong to whatever queue they stand in.
  const bool bytes_alone = ready && read.bare && read.class_name.empty();
  if (!bytes_alone) {
    const std::string payload = jobs::payload_in_queue(read.payload, wanted.queue, options_.codec);
    const Label label{read.jid,      wanted.queue, read.class_name, read.journaled, read.enqueued_at.value_or(now()),
                      read.limit_key};
    change.element = make_element(payload, label, options_.codec);
  }
  change.to = ready ? "L" : "Z";
  change.to_key = ready ? queue_key(wanted.queue) : job.key;
  change.score = job.score;
  change.hint = hint_of(job.state);
  change.tail = job.state == JobState::dead ? concat(wanted.queue, "\n", job.reason) : wanted.queue;
  std::optional<WallTime> until;
  if (!ready) until = score_time(job.score);
  if (job.state == JobState::dead) until = now() + std::min(options_.dead_age_limit, longest_memory);
  change.ttl_seconds = ttl_until(until);
  if (!ready) change.counts.push_back({wanted.queue, state_count(job.key), 1});
  change.counts.push_back({read.queue, "moved_out", 1});
  change.counts.push_back({wanted.queue, "moved_in", 1});
  if (told(read.journaled)) change.kind = JournalKind::moved;
  change.queue = wanted.queue;
  change.detail = wanted.detail;
  return {ItemOutcome::missing, std::move(change)};
}

Engine::Outcomes Engine::move(std::vector<jobs::MoveJob> jobs) {
  if (auto ok = check_batch("move", jobs.size()); !ok) co_return ok.error();
  std::vector<std::string> jids;
  std::set<std::string> targets;
  for (const jobs::MoveJob& job : jobs) {
    if (auto ok = check(job); !ok) co_return ok.error().with("move");
    jids.push_back(job.jid);
    targets.insert(job.queue);
  }
  const Result<std::vector<std::string>> queues = co_await names_in("queues");
  if (!queues) co_return queues.error();
  const auto added = std::ranges::count_if(
      targets, [&](const std::string& queue) { return !std::ranges::binary_search(*queues, queue); });
  if (added > 0 && queues->size() + static_cast<std::size_t>(added) > jobs::queue_count_limit) {
    co_return Error{ErrorCode::refused, concat("move: the store has ", queues->size(), " queues, which is its limit")};
  }
  const Wisher wish = [&](std::size_t index, const Located& job) { return wish_to_move(jobs[index], job); };
  Result<std::vector<ItemOutcome>> outcomes = co_await change_found(std::move(jids), wish);
  co_return outcomes;
}

Engine::Reply<std::size_t> Engine::clear_queue(std::string queue, std::size_t limit, std::string detail) {
  if (auto ok = check_batch("clear_queue", limit); !ok) co_return ok.error();
  if (auto ok = jobs::check_pause(queue, {}, {}); !ok) co_return ok.error().with("clear_queue");
  if (auto ok = check_sizes({}, detail); !ok) co_return ok.error().with("clear_queue");
  const std::string key = queue_key(queue);
  std::size_t cleared = 0;
  for (std::size_t round = 0; cleared < limit; ++round) {
    if (round == clear_rounds && cleared == 0) {
      co_return Error{ErrorCode::unavailable, concat("queue \"", queue, "\": others take its jobs faster; ask again")};
    }
    const Result<Members> members = co_await slice(key, 'l', 0, std::min(limit - cleared, clear_step));
    if (!members && cleared == 0) co_return members.error();
    if (!members || members->empty()) break;
    std::vector<Change> changes;
    for (const auto& [element, score] : *members) {
      const Element read = read_element(element, queue, {}, options_.codec);
      Change change{.from = 't', .key = key, .member = element, .jid = read.jid, .queue = queue};
      change.class_name = read.class_name;
      change.to = "X";
      change.rescues = "-";
      change.counts = {{queue, "deleted", 1}};
      if (told(read.journaled)) change.kind = JournalKind::deleted;
      change.detail = detail;
      changes.push_back(std::move(change));
    }
    const Result<std::vector<bool>> happened = co_await change(std::move(changes));
    if (!happened && (cleared == 0 || happened.error().code() == ErrorCode::outcome_unknown)) {
      co_return happened.error();
    }
    if (!happened) break;  // whoever goes on meets the failure itself
    cleared += static_cast<std::size_t>(std::ranges::count(*happened, true));
  }
  co_return cleared;
}

Engine::Reply<bool> Engine::pause_queue(std::string queue, std::string by, std::string reason) {
  if (auto ok = jobs::check_pause(queue, by, reason); !ok) co_return ok.error().with("pause_queue");
  net::RedisScriptCall call = call_of(scripts_->queue_pause);
  call.arg(queue).arg(by).arg(reason);
  const Result<net::RedisReply> reply = co_await ask(std::move(call));
  if (!reply) co_return reply.error().with("pause_queue");
  co_return reply->integer_or(0) == 1;
}

Engine::Reply<bool> Engine::resume_queue(std::string queue) {
  if (auto ok = jobs::check_pause(queue, {}, {}); !ok) co_return ok.error().with("resume_queue");
  net::RedisScriptCall call = call_of(scripts_->queue_resume);
  call.arg(queue);
  const Result<net::RedisReply> reply = co_await ask(std::move(call));
  if (!reply) co_return reply.error().with("resume_queue");
  const bool resumed = reply->integer_or(0) == 1;
  if (resumed) hub_->tell(ChangeKind::ready);
  co_return resumed;
}

}  // namespace dagverk::stores::redis
