// The life of a job in a store: take, settle, promote.

#include "stores/redis/engine.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/wire_time.hpp"

#include <algorithm>
#include <unordered_set>
#include <utility>

namespace dagverk::stores::redis {

using jobs::ChangeKind;
using jobs::ItemOutcome;
using jobs::JobState;
using jobs::JournalKind;

namespace {

constexpr std::size_t held_limit = 100'000;  // of more, what was forgotten is read again
constexpr std::size_t due_limit = 4'096;
constexpr std::size_t take_head = 4;  // of the answer: the time, rescued jobs, whether a limit was met, the next turn

/// What a run that ends in `settlement`, and leaves its store with it, counts as.
std::string_view end_count(const jobs::Settlement& settlement) {
  if (settlement.kind == JournalKind::finished) return "finished";
  return settlement.kind == JournalKind::expired ? "expired" : "discarded";
}

}  // namespace

Engine::Reply<std::vector<jobs::TakenJob>> Engine::take(jobs::TakeRequest request) {
  if (auto ok = check_batch("take", request.max); !ok) co_return ok.error();
  if (auto ok = check_batch("take: queues", request.queues.size()); !ok) co_return ok.error();
  net::RedisScriptCall call = call_of(scripts_->take);
  call.arg(request.node).arg(request.max).arg(jobs::take_size_limit).arg(ttl_until({}));
  call.arg(largest_taken_.load(std::memory_order_relaxed));
  for (const std::string& queue : request.queues) call.arg(queue);
  Result<net::RedisReply> reply = co_await ask(std::move(call));
  if (!reply) co_return reply.error();
  std::vector<net::RedisReply> items = reply->take_items();
  if (items.size() < take_head) co_return Error{ErrorCode::malformed, "take: an answer of another form"};
  const std::int64_t now_us = number_of(items[0].text()).value_or(0);
  const bool some_rescued = items[1].text() != "0";
  std::vector<jobs::TakenJob> taken;
  std::vector<std::string> jids;
  std::vector<std::string> limit_keys;
  std::size_t largest = 0;
  std::size_t size = 0;
  const bool decodes = request.decode && jobs::read_alike(*request.decode, options_.codec);
  note_limits(items[2].text() != "0", number_of(items[3].text()).value_or(0), now_us);
  for (std::size_t index = take_head; index + 3 <= items.size(); index += 3) {
    const std::string_view queue = items[index].text();
    auto execution = static_cast<std::uint64_t>(number_of(items[index + 1].text()).value_or(0));
    if (execution == 0) std::erase(request.queues, queue);  // paused, or full: what comes is no news
    std::vector<net::RedisReply> elements = items[index + 2].take_items();
    taken.reserve(taken.size() + elements.size());  // mostly all there is: of one queue
    limit_keys.reserve(taken.capacity());
    for (net::RedisReply& item : elements) {
      largest = std::max(largest, item.text().size());
      size += item.text().size();
      jobs::TakenJob& job = taken.emplace_back();
      Element element = decodes && !queue.empty() ? decode_element(item.take_text(), queue, options_.codec, job.job)
                                                  : read_element(item.text(), queue, {}, options_.codec);
      job.token = {request.node, execution, execution};
      job.jid = std::move(element.jid);
      job.queue = std::move(element.queue);
      job.class_name = std::move(element.class_name);
      job.payload = std::move(element.payload);
      job.enqueued_at = element.enqueued_at.value_or(wall_of(now_us));
      job.journaled = element.journaled;
      limit_keys.push_back(std::move(element.limit_key));
      ++execution;
      if (some_rescued) jids.push_back(job.jid);
    }
  }
  if (largest > 0) largest_taken_.store(largest, std::memory_order_relaxed);
  {
    const MutexLock lock(mutex_);
    if (held_.size() > held_limit) held_.clear();
    std::size_t at = 0;
    for (const jobs::TakenJob& job : taken) {
      held_.insert_or_assign(job.token.execution,
                             Held{request.node, job.jid, job.queue, job.class_name, job.journaled, limit_keys[at++]});
    }
    if (taken.size() < request.max && size < jobs::take_size_limit) {  // nothing was left in them
      for (std::string& queue : request.queues) {
        if (std::ranges::find(empty_queues_, queue) == empty_queues_.end()) empty_queues_.push_back(std::move(queue));
      }
    }
  }
  if (options_.journal && !taken.empty()) hub_->tell(ChangeKind::journal);
  for (jobs::TakenJob& job : taken) job.journaled = told(job.journaled);
  if (!jids.empty()) {
    // Only figures: without them the jobs are taken all the same.
    const Result<std::vector<Rescues>> rescues = co_await rescues_of(std::move(jids));
    for (std::size_t index = 0; rescues && index < taken.size(); ++index) {
      taken[index].rescues = static_cast<std::uint32_t>((*rescues)[index].count);
    }
  }
  co_return taken;
}

/// What is known of the jobs that the tokens stand for. What this object did not take itself, or what must keep bytes
/// that it has forgotten, is read.
Engine::Reply<std::vector<std::optional<Engine::Held>>> Engine::held(const std::vector<jobs::Settlement>& settlements) {
  std::vector<std::optional<Held>> known(settlements.size());
  std::vector<std::size_t> missing;
  {
    const MutexLock lock(mutex_);
    for (std::size_t index = 0; index < settlements.size(); ++index) {
      const jobs::Settlement& settlement = settlements[index];
      const auto found = held_.find(settlement.token.execution);
      if (found == held_.end() || found->second.node != settlement.token.node) {
        missing.push_back(index);
        continue;
      }
      if (!settlement.payload && !settlement.queue.empty() && settlement.queue != found->second.queue) {
        missing.push_back(index);  // moves as it is
      } else {
        known[index] = std::move(found->second);
      }
      held_.erase(found);  // settling again, after a failure, reads it from the server
    }
  }
  if (missing.empty()) co_return known;
  net::RedisBatch batch;
  for (const std::size_t index : missing) {
    const jobs::ClaimToken& token = settlements[index].token;
    batch.add(net::RedisCommand("HGET", run_key(token.node), token.execution));
  }
  const Result<std::vector<net::RedisReply>> replies = co_await ask(std::move(batch));
  if (!replies) co_return replies.error();
  for (std::size_t at = 0; at < missing.size(); ++at) {
    const std::optional<Running> running = read_running((*replies)[at].text());
    if (!running) continue;
    Element element = read_element(running->element, running->queue, {}, options_.codec);
    known[missing[at]] = Held{settlements[missing[at]].token.node, std::move(element.jid), std::move(element.queue),
                              std::move(element.class_name),       element.journaled,      std::move(element.limit_key),
                              std::string(running->element)};
  }
  co_return known;
}

/// Whether all there is to say of it fits into EndedRuns.
bool Engine::ends_quietly(const jobs::Settlement& settlement, const Held& held) const {
  using Action = jobs::Settlement::Action;
  if (settlement.kind == JournalKind::cancelled) return false;
  return (settlement.action == Action::finish || settlement.action == Action::discard) && !told(held.journaled);
}

Change Engine::change_of(const jobs::Settlement& settlement, const Held& held) const {
  using Action = jobs::Settlement::Action;
  Change change{.from = 'h',
                .key = run_key(settlement.token.node),
                .member = concat(settlement.token.execution),
                .jid = held.jid,
                .queue = held.queue,
                .class_name = held.class_name,
                .detail = settlement.detail};
  if (told(held.journaled)) change.kind = settlement.kind;
  change.counts.push_back({held.queue, "running", -1});
  switch (settlement.action) {
    case Action::finish:
    case Action::discard:
      if (settlement.kind == JournalKind::cancelled) change.to = "X";
      change.rescues = "-";
      if (settlement.action == Action::finish) change.statistics = "p";
      change.counts.push_back({held.queue, end_count(settlement), 1});
      return change;
    case Action::requeue:
      change.to = "R";
      change.to_key = queue_key(held.queue);
      change.hint = "q";
      change.tail = held.queue;
      change.ttl_seconds = ttl_until({});
      return change;
    case Action::retry:
    case Action::bury: move_to_set(change, settlement, held); return change;
  }
  return change;
}

/// To the retry set or the dead set, with new bytes or the old.
void Engine::move_to_set(Change& change, const jobs::Settlement& settlement, const Held& held) const {
  const bool bury = settlement.action == jobs::Settlement::Action::bury;
  std::string target = settlement.queue.empty() ? held.queue : settlement.queue;
  if (settlement.payload) {
    // The payload's own word on its queue counts, as it does for Sidekiq.
    if (settlement.queue.empty()) {
      const Result<jobs::Job> job = jobs::decode_job(*settlement.payload, held.queue, options_.codec);
      if (job && job->jid() == held.jid) target = std::string(job->queue());
    }
    const Label label{held.jid, target, held.class_name, held.journaled, now(), held.limit_key};
    change.element = make_element(*settlement.payload, label, options_.codec);
  } else if (target != held.queue) {
    const Element old = read_element(held.element, held.queue, {}, options_.codec);
    const Label label{held.jid,      target, held.class_name, held.journaled, old.enqueued_at.value_or(now()),
                      held.limit_key};
    change.element = make_element(old.payload, label, options_.codec);
  }
  change.to = "Z";
  change.to_key = bury ? dead_key : retry_key;
  change.score = bury ? std::string("now") : jobs::epoch_seconds_text(settlement.due);
  change.hint = bury ? "d" : "r";
  change.tail = bury ? concat(target, "\n", settlement.reason) : target;
  change.ttl_seconds =
      bury ? ttl_until(now() + std::min(options_.dead_age_limit, longest_memory)) : ttl_until(settlement.due);
  if (settlement.kind != JournalKind::snoozed) change.statistics = "f";
  change.counts.push_back({held.queue, bury ? "died" : "retried", 1});
  if (settlement.kind == JournalKind::quarantined) change.counts.push_back({held.queue, "quarantined", 1});
  if (target != held.queue) {
    change.counts.push_back({held.queue, "moved_out", 1});
    change.counts.push_back({target, "moved_in", 1});
  }
  change.counts.push_back({target, bury ? "dead" : "retrying", 1});
  change.queue = target;
}

Engine::Outcomes Engine::settle(std::vector<jobs::Settlement> settlements) {
  if (auto ok = check_batch("settle", settlements.size()); !ok) co_return ok.error();
  bool buries = false;
  for (const jobs::Settlement& settlement : settlements) {
    if (auto ok = check(settlement); !ok) co_return ok.error().with("settle");
    buries = buries || settlement.action == jobs::Settlement::Action::bury;
  }
  Result<std::vector<std::optional<Held>>> known = co_await held(settlements);
  if (!known) co_return known.error();
  std::vector<EndedRuns> ended;
  std::vector<Change> changes;
  std::vector<std::size_t> changed;
  std::unordered_set<std::uint64_t> seen;
  seen.reserve(settlements.size());
  for (std::size_t index = 0; index < settlements.size(); ++index) {
    const jobs::ClaimToken& token = settlements[index].token;
    std::optional<Held>& job = (*known)[index];
    // The script does these first, group by group. Of two settlements of one token the first one counts, so that the
    // second must be among those that it does last.
    const bool first = seen.insert(token.execution).second;
    if (job && first && ends_quietly(settlements[index], *job)) {
      const std::string_view field = end_count(settlements[index]);
      auto group = std::ranges::find_if(ended, [&](const EndedRuns& runs) {
        return runs.node == token.node && runs.field == field && runs.queue == job->queue;
      });
      if (group == ended.end()) group = ended.insert(group, {.node = token.node, .queue = job->queue, .field = field});
      group->executions.push_back(token.execution);
      group->jids.push_back(std::move(job->jid));
      group->places.push_back(index);
      continue;
    }
    changed.push_back(index);
    if (job) {
      changes.push_back(change_of(settlements[index], *job));
    } else {  // is counted as refused
      changes.push_back({.key = run_key(token.node), .member = concat(token.execution)});
    }
  }
  std::vector<std::size_t> places;
  for (const EndedRuns& runs : ended) places.insert(places.end(), runs.places.begin(), runs.places.end());
  places.insert(places.end(), changed.begin(), changed.end());
  const Result<std::vector<bool>> happened = co_await change(std::move(changes), std::move(ended));
  if (!happened) co_return happened.error();
  std::vector<bool> done(settlements.size(), false);
  for (std::size_t at = 0; at < places.size(); ++at) done[places[at]] = (*happened)[at];
  if (keeps_metrics()) measure(settlements, done);
  if (held_back_.load(std::memory_order_relaxed)) hub_->tell(ChangeKind::ready);  // there may be slots again
  std::vector<ItemOutcome> outcomes(settlements.size(), ItemOutcome::refused);
  for (std::size_t index = 0; index < done.size(); ++index) {
    if (done[index]) outcomes[index] = ItemOutcome::done;
  }
  if (buries) {
    // The burial stands; what is over the limit goes with the next one if not now.
    const Result<std::size_t> trimmed = co_await trim_dead(jobs::batch_count_limit);
    if (!trimmed) logger_.warning("store.trim_failed", {{"error", trimmed.error().message()}});
  }
  co_return outcomes;
}

Engine::Reply<std::size_t> Engine::trim_dead(std::size_t limit) {
  net::RedisCommand command("ZCARD", dead_key);
  const Result<net::RedisReply> size = co_await ask(std::move(command));
  if (!size) co_return size.error();
  const auto count = static_cast<std::size_t>(std::max<std::int64_t>(0, size->integer_or(0)));
  if (count == 0) co_return std::size_t{0};
  const std::size_t excess = count > options_.dead_count_limit ? count - options_.dead_count_limit : 0;
  const std::int64_t oldest_us = micros_of(now()) - options_.dead_age_limit / std::chrono::microseconds(1);
  std::size_t first = 0;
  std::size_t trimmed = 0;
  while (first < limit) {
    // Mostly nothing is too old: the first one tells.
    const std::size_t wanted = std::min(limit - first, excess > first ? excess - first : std::size_t{1} + first);
    const Result<Members> oldest = co_await slice(std::string(dead_key), 'z', 0, wanted);
    if (!oldest) co_return oldest.error();
    std::vector<Change> changes;
    for (const auto& [element, score] : *oldest) {
      const bool over = first + changes.size() < excess;
      if (!over && micros_of(score_time(score)) >= oldest_us) break;
      const Element read = read_element(element, {}, {}, options_.codec);
      Change change{.from = 'z', .key = std::string(dead_key), .member = element, .jid = read.jid, .queue = read.queue};
      change.class_name = read.class_name;
      change.rescues = "-";
      change.counts = {{read.queue, "dead", -1}, {read.queue, "trimmed", 1}};
      if (told(read.journaled)) change.kind = JournalKind::trimmed;
      changes.push_back(std::move(change));
    }
    if (changes.empty()) break;
    first += changes.size();
    const Result<std::vector<bool>> happened = co_await change(std::move(changes));
    if (!happened) co_return happened.error();
    trimmed += static_cast<std::size_t>(std::ranges::count(*happened, true));
  }
  co_return trimmed;
}

Engine::Reply<jobs::DuePage> Engine::peek_due(WallTime now, std::size_t limit) {
  if (auto ok = check_batch("peek_due", limit); !ok) co_return ok.error();
  const std::string until = jobs::epoch_seconds_text(now);
  struct Member {
    jobs::DueJob job;
    Due due;
  };
  net::RedisScriptCall call(scripts_->peek);
  call.key(schedule_key).key(retry_key);
  for (const std::string& queue : unwatched_queues()) call.key(queue_key(queue));
  call.arg(until).arg(limit).arg(jobs::take_size_limit);
  Result<net::RedisReply> reply = co_await ask(std::move(call));
  if (!reply) co_return reply.error();
  std::vector<net::RedisReply> sets = reply->take_items();
  if (sets.size() != 7) co_return Error{ErrorCode::malformed, "peek_due: an answer of another form"};
  const bool told = note_changes(sets[4], sets[5]);
  if (!told && sets[6].integer_or(0) > 0) hub_->tell(ChangeKind::ready);
  std::vector<Member> members;
  for (const std::string_view key : {schedule_key, retry_key}) {
    std::vector<net::RedisReply> shown = sets[key == schedule_key ? 0 : 2].take_items();
    for (std::size_t index = 0; index + 2 <= shown.size(); index += 2) {
      Member& member = members.emplace_back();
      const std::string_view score = shown[index + 1].text();
      member.due = {std::string(key), shown[index].take_text(), {}};
      member.due.read = read_element(member.due.element, {}, {}, options_.codec);
      const Element& read = member.due.read;
      member.job = {.handle = handle_of(key, score, member.due.element),
                    .state = key == schedule_key ? JobState::scheduled : JobState::retrying,
                    .jid = read.jid,
                    .queue = read.queue,
                    .class_name = read.class_name,
                    .payload = read.payload,
                    .due = std::min(score_time(score), now)};  // a score holds but so many digits
    }
  }
  std::ranges::sort(members, {}, [](const Member& member) { return std::pair(member.job.due, member.job.handle); });
  jobs::DuePage page;
  std::size_t size = 0;
  std::size_t kept = 0;
  while (kept < members.size() && kept < limit && size < jobs::take_size_limit) {
    size += members[kept++].job.payload.size();
  }
  if (kept < members.size()) {
    page.next_due = members[kept].job.due;
  } else if (kept == limit || size >= jobs::take_size_limit) {
    page.next_due = members.back().job.due;  // there may be more at once; asking again costs little
  }
  members.resize(kept);
  {
    const MutexLock lock(mutex_);
    if (due_.size() + kept > due_limit) due_.clear();
    for (Member& member : members) {
      const auto [known, added] = due_.try_emplace(member.job.handle, member.due);
      // Two members of one number would be mistaken for each other: the second waits until the first has gone.
      if (!added && known->second.element != member.due.element) continue;
      page.jobs.push_back(std::move(member.job));
    }
  }
  if (page.next_due) co_return page;
  for (const std::size_t place : {std::size_t{1}, std::size_t{3}}) {
    if (sets[place].text().empty()) continue;
    const WallTime due = score_time(sets[place].text());
    if (!page.next_due || due < *page.next_due) page.next_due = due;
  }
  co_return page;
}

/// The members that the promotions mean. What this object did not show itself is looked for among those due first.
Engine::Reply<std::vector<std::optional<Engine::Due>>> Engine::due_of(const std::vector<jobs::Promotion>& promotions) {
  std::vector<std::optional<Due>> due(promotions.size());
  std::unordered_map<jobs::JobHandle, std::size_t> missing;
  {
    const MutexLock lock(mutex_);
    for (std::size_t index = 0; index < promotions.size(); ++index) {
      const auto known = due_.find(promotions[index].handle);
      if (known != due_.end()) {
        due[index] = std::move(known->second);
        due_.erase(known);
      } else {
        missing.emplace(promotions[index].handle, index);
      }
    }
  }
  for (const std::string_view key : {schedule_key, retry_key}) {
    for (std::size_t first = 0; first < scan_limit && !missing.empty();) {
      Result<Members> members = co_await slice(std::string(key), 'z', first, jobs::batch_count_limit);
      if (!members) co_return members.error();
      if (members->empty()) break;
      first += members->size();
      for (auto& [element, score] : *members) {
        const auto wanted = missing.find(handle_of(key, score, element));
        if (wanted == missing.end()) continue;
        Due found{std::string(key), std::move(element), {}};
        found.read = read_element(found.element, {}, {}, options_.codec);
        due[wanted->second] = std::move(found);
        missing.erase(wanted);
      }
    }
  }
  co_return due;
}

/// From a sorted set into its queue, behind all that is there.
Change Engine::change_to_ready(const std::string& key, const std::string& element, const Element& read,
                               const std::optional<std::string>& payload, JournalKind kind,
                               const std::string& detail) const {
  Change change{.from = 'z', .key = key, .member = element, .to = "L", .to_key = queue_key(read.queue)};
  if (!read.oversized && (payload || !read.bare)) {
    const Label label{read.jid, read.queue, read.class_name, read.journaled, now(), read.limit_key};
    change.element = make_element(payload ? *payload : read.payload, label, options_.codec);
  }
  change.jid = read.jid;
  change.hint = "q";
  change.tail = read.queue;
  change.ttl_seconds = ttl_until({});
  change.counts = {{read.queue, state_count(key), -1}, {read.queue, "promoted", 1}};
  if (told(read.journaled)) change.kind = kind;
  change.queue = read.queue;
  change.class_name = read.class_name;
  change.detail = detail;
  return change;
}

Engine::Outcomes Engine::promote(std::vector<jobs::Promotion> promotions) {
  if (auto ok = check_batch("promote", promotions.size()); !ok) co_return ok.error();
  for (const jobs::Promotion& promotion : promotions) {
    const std::string_view payload = promotion.payload ? *promotion.payload : std::string_view();
    if (auto ok = check_sizes(payload, promotion.detail); !ok) co_return ok.error().with("promote");
  }
  const Result<std::vector<std::optional<Due>>> due = co_await due_of(promotions);
  if (!due) co_return due.error();
  std::vector<Change> changes;
  std::vector<std::size_t> places;
  for (std::size_t index = 0; index < promotions.size(); ++index) {
    if (!(*due)[index]) continue;
    const Due& job = *(*due)[index];
    places.push_back(index);
    changes.push_back(change_to_ready(job.key, job.element, job.read, promotions[index].payload, JournalKind::promoted,
                                      promotions[index].detail));
  }
  const Result<std::vector<bool>> happened = co_await change(std::move(changes));
  if (!happened) co_return happened.error();
  std::vector<ItemOutcome> outcomes(promotions.size(), ItemOutcome::missing);
  for (std::size_t at = 0; at < places.size(); ++at) {
    if ((*happened)[at]) outcomes[places[at]] = ItemOutcome::done;
  }
  co_return outcomes;
}

}  // namespace dagverk::stores::redis
