// Finding single jobs: by what is remembered of their jids, and by looking.

#include "stores/redis/engine.hpp"
#include "stores/redis/scripts.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <utility>

namespace dagverk::stores::redis {

using jobs::JobState;

namespace {

constexpr std::size_t few = 8;             // so many jids are looked for as texts before an element is read
constexpr std::size_t search_step = 2000;  // elements per slice
constexpr std::size_t near_steps = 10;     // slices on either side of where a job should be

/// Whether an element may be one of the wanted: cheaper than reading it, and never wrong in saying no.
bool may_be_wanted(std::string_view element, const std::set<std::string>& wanted) {
  if (wanted.size() > few) return true;
  return std::ranges::any_of(wanted, [&](const std::string& jid) {
    const bool plain = !jid.starts_with("raw-") && !jid.starts_with("huge-") && std::ranges::all_of(jid, [](char c) {
      return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_';
    });
    // JSON may spell any character as an escape.
    return !plain || element.find(jid) != std::string_view::npos || element.find("\\u") != std::string_view::npos;
  });
}

JobState state_of_key(std::string_view key) {
  if (key == schedule_key) return JobState::scheduled;
  if (key == retry_key) return JobState::retrying;
  return key == dead_key ? JobState::dead : JobState::ready;
}

std::string_view key_of_hint(char state) {
  if (state == 's') return schedule_key;
  return state == 'r' ? retry_key : dead_key;
}

}  // namespace

Engine::Reply<std::map<std::string, Engine::Hint>> Engine::hints_of(const std::vector<std::string>& jids) {
  std::map<std::string, Hint> hints;
  if (jids.empty()) co_return hints;
  net::RedisCommand keys("MGET");
  net::RedisCommand present("HMGET", jids_key);
  net::RedisCommand before("HMGET", jids_before_key);
  for (const std::string& jid : jids) {
    keys.add(job_key(jid));
    present.add(jid);
    before.add(jid);
  }
  net::RedisBatch batch;
  batch.add(keys).add(present).add(before);
  const Result<std::vector<net::RedisReply>> replies = co_await ask(std::move(batch));
  if (!replies) co_return replies.error();
  for (const net::RedisReply& reply : *replies) {
    if (reply.items().size() != jids.size()) co_return Error{ErrorCode::malformed, "store: not an answer for each jid"};
  }
  for (std::size_t index = 0; index < jids.size(); ++index) {
    for (const std::size_t place : {std::size_t{1}, std::size_t{2}}) {
      // `MICROSECONDS QUEUE`
      const std::string_view text = (*replies)[place].items()[index].text();
      const std::size_t blank = text.find(' ');
      if (blank == std::string_view::npos) continue;
      const WallTime since = wall_of(number_of(text.substr(0, blank)).value_or(0));
      hints.insert_or_assign(jids[index], Hint{.queue = std::string(text.substr(blank + 1)), .since = since});
    }
    // `STATE[SCORE] QUEUE[\nREASON]`
    const std::string_view text = (*replies)[0].items()[index].text();
    const std::size_t blank = text.find(' ');
    if (text.empty() || blank == std::string_view::npos || blank == 0) continue;
    Hint hint{.state = text[0], .score = std::string(text.substr(1, blank - 1)), .queue = {}, .reason = {}};
    const std::string_view tail = text.substr(blank + 1);
    const std::size_t line = hint.state == 'd' ? tail.find('\n') : std::string_view::npos;
    hint.queue = tail.substr(0, line);
    if (line != std::string_view::npos) hint.reason = tail.substr(line + 1);
    hints.insert_or_assign(jids[index], std::move(hint));
  }
  co_return hints;
}

/// Looks at the jobs that nodes are running. Answers how many it looked at.
Engine::Reply<std::size_t> Engine::search_running(std::set<std::string>& wanted, Found& found) {
  std::size_t looked = 0;
  const Result<std::vector<std::string>> nodes = co_await names_in("dagverk:nodes");
  if (!nodes) co_return nodes.error();
  for (const std::string& node : *nodes) {
    const auto epoch = static_cast<jobs::NodeEpoch>(number_of(node).value_or(0));
    std::string cursor = "0";
    do {
      net::RedisCommand command("HSCAN", run_key(epoch), cursor, "COUNT", "50");
      const Result<net::RedisReply> reply = co_await ask(std::move(command));
      if (!reply) co_return reply.error();
      if (reply->items().size() != 2) break;
      cursor = reply->items()[0].text();
      const std::span<const net::RedisReply> fields = reply->items()[1].items();
      for (std::size_t index = 0; index + 2 <= fields.size(); index += 2) {
        ++looked;
        const std::optional<Running> running = read_running(fields[index + 1].text());
        if (!running || !may_be_wanted(running->element, wanted)) continue;
        Element read = read_element(running->element, running->queue, {}, options_.codec);
        const auto known = wanted.find(read.jid);
        if (known == wanted.end()) continue;
        auto jid = wanted.extract(known);
        found.insert_or_assign(std::move(jid.value()), Located{.state = JobState::running,
                                                               .key = run_key(epoch),
                                                               .element = std::string(running->element),
                                                               .node = epoch,
                                                               .execution = std::string(fields[index].text()),
                                                               .started_at = running->started_at,
                                                               .read = std::move(read)});
      }
    } while (cursor != "0" && !wanted.empty());
    if (wanted.empty()) break;
  }
  co_return looked;
}

/// Looks through a queue's list, or a sorted set (`queue` empty), from the end that is next.
Engine::Reply<std::size_t> Engine::search_place(std::string key, std::string queue, std::set<std::string>& wanted,
                                                Found& found, std::size_t budget) {
  std::size_t looked = 0;
  while (!wanted.empty()) {
    if (looked >= budget) {
      co_return Error{ErrorCode::too_large, concat("store: looked at ", options_.search_limit, " jobs for ",
                                                   wanted.size(), " whose place is not remembered, and gave up")};
    }
    const Result<Members> members = co_await slice(key, queue.empty() ? 'z' : 'l', looked, search_step);
    if (!members) {
      // Somebody else's key of that name, of another type: no job of ours is there.
      if (members.error().code() == ErrorCode::wrong_type) break;
      co_return members.error();
    }
    if (members->empty()) break;
    pick(*members, looked, key, queue, wanted, found);
    looked += members->size();
  }
  co_return looked;
}

/// Keeps those of a slice (of a queue's list, or of a sorted set: `queue` empty) that are wanted.
void Engine::pick(const Members& members, std::size_t first, const std::string& key, const std::string& queue,
                  std::set<std::string>& wanted, Found& found) const {
  for (std::size_t index = 0; index < members.size() && !wanted.empty(); ++index) {
    const auto& [element, score] = members[index];
    if (!may_be_wanted(element, wanted)) continue;
    Element read = read_element(element, queue, {}, options_.codec);
    const auto known = wanted.find(read.jid);
    if (known == wanted.end()) continue;
    auto jid = wanted.extract(known);
    found.insert_or_assign(std::move(jid.value()), Located{.state = state_of_key(key),
                                                           .key = key,
                                                           .element = element,
                                                           .score = score,
                                                           .position = queue.empty() ? 0 : first + index,
                                                           .read = std::move(read)});
  }
}

/// Looks for a job around the place in its queue where what was enqueued `when` stands. A queue is in the order of its
/// jobs' times but for what came late or was given back, so this takes some twenty trips, however long the queue is.
Engine::Reply<std::size_t> Engine::search_near(std::string queue, std::string jid, WallTime when,
                                               std::set<std::string>& wanted, Found& found) {
  const std::string key = queue_key(queue);
  net::RedisCommand command("LLEN", key);
  const Result<net::RedisReply> length = co_await ask(std::move(command));
  if (!length && length.error().code() == ErrorCode::wrong_type) co_return std::size_t{0};
  if (!length) co_return length.error();
  const auto size = static_cast<std::size_t>(std::max<std::int64_t>(0, length->integer_or(0)));
  std::size_t first = 0;
  for (std::size_t last = size; first < last;) {
    const std::size_t middle = first + (last - first) / 2;
    const Result<Members> one = co_await slice(key, 'l', middle, 1);
    if (!one) co_return one.error();
    const std::optional<WallTime> time =
        one->empty() ? when : read_element(one->front().first, queue, {}, options_.codec).enqueued_at;
    if (!time) {  // no job: as good a place as any between the two
      first = middle;
      break;
    }
    if (*time < when) {
      first = middle + 1;
    } else {
      last = middle;
    }
  }
  std::size_t looked = 0;
  std::size_t older = first;
  std::size_t newer = first;
  for (std::size_t step = 0; step < near_steps && wanted.contains(jid); ++step) {
    const std::size_t begin = older > search_step ? older - search_step : 0;
    if (older > begin) {
      const Result<Members> members = co_await slice(key, 'l', begin, older - begin);
      if (!members) co_return members.error();
      pick(*members, begin, key, queue, wanted, found);
      looked += members->size();
      older = begin;
    }
    if (newer >= size || !wanted.contains(jid)) continue;
    const Result<Members> members = co_await slice(key, 'l', newer, search_step);
    if (!members) co_return members.error();
    pick(*members, newer, key, queue, wanted, found);
    looked += members->size();
    newer += search_step;
  }
  co_return looked;
}

/// Where jobs are. First where they were last put; what is not there, or of which nothing is remembered, is looked for
/// everywhere. A job that moves meanwhile may be missed; the caller that must know asks again.
Engine::Reply<Engine::Found> Engine::locate(std::vector<std::string> jids) {
  Found found;
  const Result<std::map<std::string, Hint>> hints = co_await hints_of(jids);
  if (!hints) co_return hints.error();
  std::set<std::string> wanted(jids.begin(), jids.end());
  std::set<std::string> hinted_queues;
  for (const auto& [jid, hint] : *hints) {
    if (hint.state == 'q') {
      hinted_queues.insert(hint.queue);
      continue;
    }
    const std::string key(key_of_hint(hint.state));
    for (std::size_t first = 0; wanted.contains(jid);) {
      std::string bound = hint.score;
      const Result<Members> members = co_await slice(key, 's', first, search_step, std::move(bound));
      if (!members) co_return members.error();
      if (members->empty()) break;
      first += members->size();
      for (const auto& [element, score] : *members) {
        Element read = read_element(element, {}, hint.queue, options_.codec);
        if (read.jid != jid) continue;
        wanted.erase(jid);
        found.insert_or_assign(jid, Located{.state = state_of_key(key),
                                            .key = key,
                                            .element = element,
                                            .score = score,
                                            .read = std::move(read),
                                            .reason = hint.reason});
        break;
      }
    }
  }
  std::size_t budget = options_.search_limit;
  if (!wanted.empty()) {
    const Result<std::size_t> looked = co_await search_running(wanted, found);
    if (!looked) co_return looked.error();
  }
  for (const auto& [jid, hint] : *hints) {
    if (hint.state != 'q' || !wanted.contains(jid)) continue;
    const Result<std::size_t> looked = co_await search_near(hint.queue, jid, hint.since, wanted, found);
    if (!looked) co_return looked.error();
  }
  std::vector<std::string> places(hinted_queues.begin(), hinted_queues.end());
  const std::size_t hinted = places.size();
  for (std::size_t at = 0; !wanted.empty(); ++at) {
    if (at == hinted) {  // where they should be they are not: taken a moment ago, or of others
      const Result<std::size_t> looked = co_await search_running(wanted, found);
      if (!looked) co_return looked.error();
      const Result<std::vector<std::string>> queues = co_await names_in("queues");
      if (!queues) co_return queues.error();
      for (const std::string& queue : *queues) {
        if (!hinted_queues.contains(queue)) places.push_back(queue);
      }
    }
    if (at == places.size()) break;
    const Result<std::size_t> looked = co_await search_place(queue_key(places[at]), places[at], wanted, found, budget);
    if (!looked) co_return looked.error();
    budget -= std::min(budget, *looked);
  }
  for (const std::string_view key : {retry_key, schedule_key, dead_key}) {
    if (wanted.empty()) break;
    const Result<std::size_t> looked = co_await search_place(std::string(key), {}, wanted, found, budget);
    if (!looked) co_return looked.error();
    budget -= std::min(budget, *looked);
  }
  co_return found;
}

jobs::StoredJob Engine::stored_job(const Located& located, const Hint* hint, const Rescues* rescues) const {
  jobs::StoredJob job;
  const Element& read = located.read;
  job.state = located.state;
  job.jid = read.jid;
  job.queue = read.queue;
  job.class_name = read.class_name;
  job.payload = read.payload;
  job.journaled = read.journaled;
  job.limit_key = read.limit_key;
  job.enqueued_at = read.enqueued_at.value_or(WallTime{});
  if (!located.score.empty()) job.due = score_time(located.score);
  if (located.state == JobState::running) {
    job.started_at = located.started_at;
    job.node = located.node;
    job.handle = static_cast<jobs::JobHandle>(number_of(located.execution).value_or(0));
  } else {
    job.handle = handle_of(located.key, located.score, located.element);
  }
  if (rescues != nullptr) job.rescues = static_cast<std::uint32_t>(rescues->count);
  if (hint != nullptr && located.state == JobState::dead) job.reason = hint->reason;
  if (read.oversized) job.reason = concat("larger than ", element_size_limit, " bytes");
  return job;
}

/// With what is remembered beside the elements: why they died, how often they were rescued.
Engine::Reply<std::vector<jobs::StoredJob>> Engine::stored_jobs(std::vector<Located> located) {
  std::vector<std::string> jids;
  bool some_dead = false;
  for (const Located& job : located) {
    jids.push_back(job.read.jid);
    some_dead = some_dead || job.state == JobState::dead;
  }
  Result<std::map<std::string, Hint>> hints = std::map<std::string, Hint>();
  if (some_dead) hints = co_await hints_of(jids);
  if (!hints) co_return hints.error();
  const Result<std::vector<Rescues>> rescues = co_await rescues_of(std::move(jids));
  if (!rescues) co_return rescues.error();
  std::vector<jobs::StoredJob> jobs;
  for (std::size_t index = 0; index < located.size(); ++index) {
    const auto hint = hints->find(located[index].read.jid);
    jobs.push_back(stored_job(located[index], hint == hints->end() ? nullptr : &hint->second, &(*rescues)[index]));
  }
  co_return jobs;
}

Engine::Reply<std::optional<jobs::StoredJob>> Engine::find(std::string jid) {
  std::vector<std::string> jids;
  jids.push_back(jid);
  for (int round = 0;; ++round) {
    const Result<Found> found = co_await locate(jids);
    if (!found) co_return found.error();
    const auto known = found->find(jid);
    if (known != found->end()) {
      std::vector<Located> located;
      located.push_back(known->second);
      Result<std::vector<jobs::StoredJob>> jobs = co_await stored_jobs(std::move(located));
      if (!jobs) co_return jobs.error();
      co_return std::optional(std::move(jobs->front()));
    }
    // Remembered and nowhere: it moved while we looked, or others have taken it.
    const Result<std::map<std::string, Hint>> hints = co_await hints_of(jids);
    if (!hints) co_return hints.error();
    if (hints->empty() || round == 2) co_return std::optional<jobs::StoredJob>();
  }
}

}  // namespace dagverk::stores::redis
