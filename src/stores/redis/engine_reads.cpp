// Looking without touching: pages of jobs, counts, the journal.

#include "stores/redis/engine.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

namespace dagverk::stores::redis {

using jobs::JobState;

namespace {

constexpr std::size_t anchor_limit = 4;        // the last elements of a page, by which the next finds its place
constexpr std::size_t anchor_window = 1000;    // how far they may have moved
constexpr std::size_t page_step = 500;         // elements per slice
constexpr std::size_t queues_per_trip = 1000;  // commands in one batch

/// Where a page of a list or a sorted set ended: in which place, after how many elements, after which ones.
struct Cursor {
  std::string place;
  std::size_t offset = 0;
  std::string score;
  std::vector<std::uint64_t> anchors;
};

std::string cursor_text(JobState state, const Cursor& cursor) {
  std::string text = concat(static_cast<int>(state), ':', cursor.offset, ':', cursor.score, ':');
  for (const std::uint64_t anchor : cursor.anchors) text += concat(anchor, ',');
  return concat(text, ':', cursor.place);
}

bool read_cursor(std::string_view text, JobState state, Cursor& cursor) {
  const auto next = [&]() -> std::optional<std::string_view> {
    const std::size_t colon = text.find(':');
    if (colon == std::string_view::npos) return std::nullopt;
    const std::string_view part = text.substr(0, colon);
    text.remove_prefix(colon + 1);
    return part;
  };
  const auto state_part = next();
  const auto offset_part = state_part ? next() : std::nullopt;
  const auto score_part = offset_part ? next() : std::nullopt;
  auto anchors_part = score_part ? next() : std::nullopt;
  if (!anchors_part || number_of(*state_part) != static_cast<std::int64_t>(state)) return false;
  const auto offset = number_of(*offset_part);
  if (!offset || *offset < 0) return false;
  cursor.offset = static_cast<std::size_t>(*offset);
  cursor.score = *score_part;
  cursor.place = text;
  while (!anchors_part->empty() && cursor.anchors.size() < anchor_limit) {
    const std::size_t comma = anchors_part->find(',');
    std::uint64_t anchor = 0;
    const auto [end, error] =
        std::from_chars(anchors_part->data(), anchors_part->data() + anchors_part->size(), anchor);
    if (error != std::errc{} || comma == std::string_view::npos || end != anchors_part->data() + comma) return false;
    cursor.anchors.push_back(anchor);
    anchors_part->remove_prefix(comma + 1);
  }
  return true;
}

std::uint64_t count_in(const std::map<std::string, std::uint64_t, std::less<>>& fields, std::string_view name) {
  const auto known = fields.find(name);
  return known == fields.end() ? 0 : known->second;
}

using Fields = std::map<std::string, std::uint64_t, std::less<>>;

/// The counts of a queue's hash; what went below nothing, because others touched the same jobs, counts as nothing.
Fields fields_of(const net::RedisReply& reply) {
  Fields fields;
  const std::span<const net::RedisReply> items = reply.items();
  for (std::size_t index = 0; index + 2 <= items.size(); index += 2) {
    const std::int64_t number = number_of(items[index + 1].text()).value_or(0);
    fields.emplace(items[index].text(), static_cast<std::uint64_t>(std::max<std::int64_t>(0, number)));
  }
  return fields;
}

void add_history(jobs::QueueCounts& counts, const Fields& fields) {
  counts.enqueued += count_in(fields, "enqueued");
  counts.finished += count_in(fields, "finished");
  counts.discarded += count_in(fields, "discarded");
  counts.expired += count_in(fields, "expired");
  counts.deleted += count_in(fields, "deleted");
  counts.trimmed += count_in(fields, "trimmed");
  counts.moved_in += count_in(fields, "moved_in");
  counts.moved_out += count_in(fields, "moved_out");
  counts.retried += count_in(fields, "retried");
  counts.died += count_in(fields, "died");
  counts.rescued += count_in(fields, "rescued");
  counts.quarantined += count_in(fields, "quarantined");
  counts.refused += count_in(fields, "refused");
  counts.dropped += count_in(fields, "dropped");
  counts.diverted += count_in(fields, "diverted");
}

/// What other programs pushed counts as moved in, what they took as moved out: the sum is all that can be known.
void balance(jobs::QueueCounts& counts) {
  const std::uint64_t in = counts.enqueued + counts.moved_in;
  const std::uint64_t out = counts.finished + counts.discarded + counts.expired + counts.deleted + counts.trimmed +
                            counts.moved_out + counts.live() + counts.dead;
  if (in > out) counts.moved_out += in - out;
  if (out > in) counts.moved_in += out - in;
}

/// The queues that are paused, by whom and why as far as we have written it: `MICROSECONDS BY_SIZE BY REASON`.
std::map<std::string, jobs::QueuePause, std::less<>> pauses_of(const net::RedisReply& set,
                                                               const net::RedisReply& hash) {
  std::map<std::string, jobs::QueuePause, std::less<>> pauses;
  for (const net::RedisReply& name : set.items()) pauses.emplace(name.text(), jobs::QueuePause());
  const std::span<const net::RedisReply> items = hash.items();
  for (std::size_t index = 0; index + 2 <= items.size(); index += 2) {
    const auto pause = pauses.find(items[index].text());
    if (pause == pauses.end()) continue;
    // As a running job's value: a moment, a text with its size, the rest.
    const std::optional<Running> told = read_running(items[index + 1].text());
    if (told) pause->second = {std::string(told->queue), std::string(told->element), told->started_at};
  }
  return pauses;
}

std::uint64_t natural(const net::RedisReply& reply) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, reply.integer_or(0)));
}

}  // namespace

// --- pages ---

Engine::Reply<jobs::JobPage> Engine::list(jobs::ListQuery query) {
  if (auto ok = check_batch("list", query.limit); !ok) co_return ok.error();
  if (query.state == JobState::running) {
    Result<jobs::JobPage> page = co_await list_running(std::move(query));
    co_return page;
  }
  Result<jobs::JobPage> page = co_await list_places(std::move(query));
  co_return page;
}

Engine::Reply<jobs::JobPage> Engine::list_places(jobs::ListQuery query) {
  const bool ready = query.state == JobState::ready;
  Cursor cursor;
  if (!query.cursor.empty() && !read_cursor(query.cursor, query.state, cursor)) {
    co_return Error{ErrorCode::invalid_argument,
                    concat("list: \"", query.cursor, "\" is not a cursor of ", to_string(query.state), " jobs")};
  }
  std::vector<std::string> places;
  if (!ready) {
    places.emplace_back(query.state == JobState::scheduled  ? schedule_key
                        : query.state == JobState::retrying ? retry_key
                                                            : dead_key);
  } else if (!query.queue.empty()) {
    places.push_back(query.queue);
  } else {
    Result<std::vector<std::string>> queues = co_await names_in("queues");
    if (!queues) co_return queues.error();
    places = std::move(*queues);
  }
  std::erase_if(places, [&](const std::string& place) { return place < cursor.place; });
  const char kind = ready ? 'l' : 'z';
  std::vector<Located> located;
  std::size_t size = 0;
  std::size_t scanned = 0;
  bool whole = true;
  for (std::size_t at = 0; at < places.size() && whole; ++at) {
    const std::string key = ready ? queue_key(places[at]) : places[at];
    if (places[at] != cursor.place) cursor = Cursor{.place = places[at], .offset = 0, .score = {}, .anchors = {}};
    // Jobs in front of the page's place may have come and gone: its last elements tell how far.
    if (!cursor.anchors.empty()) {
      const std::size_t first = cursor.offset > anchor_window ? cursor.offset - anchor_window : 0;
      const Result<Members> around = co_await slice(key, kind, first, cursor.offset - first + anchor_window);
      if (!around) co_return around.error();
      std::optional<std::size_t> behind;
      for (auto anchor = cursor.anchors.rbegin(); anchor != cursor.anchors.rend() && !behind; ++anchor) {
        for (std::size_t index = around->size(); index > 0 && !behind; --index) {
          if (hash_of((*around)[index - 1].first) == *anchor) behind = first + index;
        }
      }
      if (behind) {
        cursor.offset = *behind;
      } else if (ready) {
        cursor.offset = 0;  // they were taken, and with them all that was in front of them
      } else {
        net::RedisCommand command("ZCOUNT", key, "-inf", concat("(", cursor.score));
        const Result<net::RedisReply> before = co_await ask(std::move(command));
        if (!before) co_return before.error();
        cursor.offset = static_cast<std::size_t>(natural(*before));
      }
    }
    while (true) {
      if (located.size() == query.limit || size >= jobs::take_size_limit || scanned >= scan_limit) {
        whole = false;
        break;
      }
      const bool filtered = !query.class_name.empty() || (!ready && !query.queue.empty());
      const std::size_t step = std::min(page_step, filtered ? scan_limit - scanned : query.limit - located.size());
      Result<Members> members = co_await slice(key, kind, cursor.offset, step);
      if (!members && members.error().code() == ErrorCode::wrong_type) break;  // somebody else's key
      if (!members) co_return members.error();
      if (members->empty()) break;
      for (auto& [element, score] : *members) {
        if (located.size() == query.limit || size >= jobs::take_size_limit) break;
        ++scanned;
        ++cursor.offset;
        cursor.score = score;
        cursor.anchors.push_back(hash_of(element));
        if (cursor.anchors.size() > anchor_limit) cursor.anchors.erase(cursor.anchors.begin());
        Element read = read_element(element, ready ? places[at] : std::string(), {}, options_.codec);
        if (!query.class_name.empty() && read.class_name != query.class_name) continue;
        if (!query.queue.empty() && read.queue != query.queue) continue;
        size += element.size();
        located.push_back({.state = query.state,
                           .key = key,
                           .element = std::move(element),
                           .score = std::move(score),
                           .read = std::move(read)});
      }
    }
  }
  jobs::JobPage page;
  if (!whole) page.next = cursor_text(query.state, cursor);
  Result<std::vector<jobs::StoredJob>> jobs = co_await stored_jobs(std::move(located));
  if (!jobs) co_return jobs.error();
  page.jobs = std::move(*jobs);
  co_return page;
}

Engine::Reply<jobs::JobPage> Engine::list_running(jobs::ListQuery query) {
  // By node, then by execution; both only grow.
  Cursor cursor;
  if (!query.cursor.empty() && (!read_cursor(query.cursor, query.state, cursor) || !number_of(cursor.place))) {
    co_return Error{ErrorCode::invalid_argument,
                    concat("list: \"", query.cursor, "\" is not a cursor of running jobs")};
  }
  const auto from_node = static_cast<jobs::NodeEpoch>(number_of(cursor.place).value_or(0));
  const Result<std::vector<std::string>> names = co_await names_in("dagverk:nodes");
  if (!names) co_return names.error();
  std::vector<jobs::NodeEpoch> nodes;
  for (const std::string& name : *names) {
    const auto node = static_cast<jobs::NodeEpoch>(number_of(name).value_or(0));
    if (node >= from_node) nodes.push_back(node);
  }
  std::ranges::sort(nodes);
  std::vector<Located> located;
  std::size_t size = 0;
  std::size_t scanned = 0;
  jobs::JobPage page;
  for (const jobs::NodeEpoch node : nodes) {
    net::RedisCommand keys("HKEYS", run_key(node));
    const Result<net::RedisReply> reply = co_await ask(std::move(keys));
    if (!reply) co_return reply.error();
    std::vector<std::uint64_t> executions;
    for (const net::RedisReply& item : reply->items()) {
      const auto execution = static_cast<std::uint64_t>(number_of(item.text()).value_or(0));
      if (node != from_node || execution > cursor.offset) executions.push_back(execution);
    }
    std::ranges::sort(executions);
    for (std::size_t first = 0; first < executions.size() && page.next.empty();) {
      const std::size_t some = std::min<std::size_t>(executions.size() - first, 16);
      net::RedisCommand values("HMGET", run_key(node));
      for (std::size_t index = first; index < first + some; ++index) values.add(executions[index]);
      const Result<net::RedisReply> found = co_await ask(std::move(values));
      if (!found) co_return found.error();
      for (std::size_t index = 0; index < some && index < found->items().size(); ++index) {
        const std::uint64_t execution = executions[first + index];
        ++scanned;
        if (const auto running = read_running(found->items()[index].text())) {
          Element read = read_element(running->element, running->queue, {}, options_.codec);
          const bool wanted = (query.class_name.empty() || read.class_name == query.class_name) &&
                              (query.queue.empty() || read.queue == query.queue);
          if (wanted) {
            size += running->element.size();
            located.push_back({.state = JobState::running,
                               .key = run_key(node),
                               .element = std::string(running->element),
                               .node = node,
                               .execution = concat(execution),
                               .started_at = running->started_at,
                               .read = std::move(read)});
          }
        }
        if (located.size() == query.limit || size >= jobs::take_size_limit || scanned >= scan_limit) {
          page.next =
              cursor_text(query.state, {.place = concat(node), .offset = execution, .score = {}, .anchors = {}});
          break;
        }
      }
      first += some;
    }
    if (!page.next.empty()) break;
  }
  Result<std::vector<jobs::StoredJob>> jobs = co_await stored_jobs(std::move(located));
  if (!jobs) co_return jobs.error();
  page.jobs = std::move(*jobs);
  co_return page;
}

// --- counts ---

Engine::Reply<std::vector<jobs::QueueInfo>> Engine::queues(std::string after, std::size_t limit) {
  if (auto ok = check_batch("queues", limit); !ok) co_return ok.error();
  Result<std::vector<std::string>> names = co_await names_in("queues");
  if (!names) co_return names.error();
  std::erase_if(*names, [&](const std::string& name) { return name <= after; });
  if (names->size() > limit) names->resize(limit);
  net::RedisBatch batch;
  batch.add(net::RedisCommand("ZCARD", schedule_key));
  batch.add(net::RedisCommand("ZCARD", retry_key));
  batch.add(net::RedisCommand("ZCARD", dead_key));
  batch.add(net::RedisCommand("SMEMBERS", "paused"));
  batch.add(net::RedisCommand("HGETALL", "dagverk:paused"));
  for (const std::string& name : *names) {
    batch.add(net::RedisCommand("LLEN", queue_key(name)));
    net::RedisScriptCall next(scripts_->slice);  // not LINDEX: its size is anybody's
    next.key(queue_key(name)).arg("l").arg(0).arg(1).arg(1);
    batch.add(std::move(next));
    batch.add(net::RedisCommand("HGETALL", concat("dagverk:q:", name)));
  }
  const Result<std::vector<net::RedisReply>> replies = co_await ask(std::move(batch));
  if (!replies) co_return replies.error();
  const std::map<std::string, jobs::QueuePause, std::less<>> pauses = pauses_of((*replies)[3], (*replies)[4]);
  std::vector<jobs::QueueInfo> queues;
  for (std::size_t index = 0; index < names->size(); ++index) {
    const net::RedisReply* const of_queue = &(*replies)[5 + 3 * index];
    const Fields fields = fields_of(of_queue[2]);
    jobs::QueueInfo& queue = queues.emplace_back();
    queue.name = std::move((*names)[index]);
    if (const auto pause = pauses.find(queue.name); pause != pauses.end()) queue.pause = pause->second;
    queue.counts.ready = natural(of_queue[0]);
    // What stands in the sets is theirs too; no queue has more there than there is.
    queue.counts.scheduled = std::min(count_in(fields, "scheduled"), natural((*replies)[0]));
    queue.counts.retrying = std::min(count_in(fields, "retrying"), natural((*replies)[1]));
    queue.counts.dead = std::min(count_in(fields, "dead"), natural((*replies)[2]));
    queue.counts.running = count_in(fields, "running");
    add_history(queue.counts, fields);
    balance(queue.counts);
    if (!of_queue[1].items().empty()) {
      queue.next_enqueued_at = read_element(of_queue[1].items()[0].text(), queue.name, {}, options_.codec).enqueued_at;
    }
  }
  co_return queues;
}

Engine::Reply<jobs::StoreTotals> Engine::totals() {
  const Result<std::vector<std::string>> names = co_await names_in("queues");
  if (!names) co_return names.error();
  const Result<std::vector<std::string>> nodes = co_await names_in("dagverk:nodes");
  if (!nodes) co_return nodes.error();
  jobs::StoreTotals totals;
  totals.queues = names->size();
  for (std::size_t first = 0; first < names->size(); first += queues_per_trip) {
    net::RedisBatch batch;
    const std::size_t last = std::min(names->size(), first + queues_per_trip);
    for (std::size_t index = first; index < last; ++index) {
      batch.add(net::RedisCommand("LLEN", queue_key((*names)[index])));
      batch.add(net::RedisCommand("HGETALL", concat("dagverk:q:", (*names)[index])));
    }
    const Result<std::vector<net::RedisReply>> replies = co_await ask(std::move(batch));
    if (!replies) co_return replies.error();
    for (std::size_t at = 0; at + 2 <= replies->size(); at += 2) {
      totals.counts.ready += natural((*replies)[at]);
      add_history(totals.counts, fields_of((*replies)[at + 1]));
    }
  }
  net::RedisBatch batch;
  batch.add(net::RedisCommand("ZCARD", schedule_key));
  batch.add(net::RedisCommand("ZCARD", retry_key));
  batch.add(net::RedisCommand("ZCARD", dead_key));
  batch.add(net::RedisCommand("XLEN", journal_key));
  batch.add(net::RedisCommand("HMGET", total_key, "duplicates", "refused", "locked"));
  for (const std::string& node : *nodes) batch.add(net::RedisCommand("HLEN", concat("dagverk:run:", node)));
  const Result<std::vector<net::RedisReply>> replies = co_await ask(std::move(batch));
  if (!replies) co_return replies.error();
  totals.counts.scheduled = natural((*replies)[0]);
  totals.counts.retrying = natural((*replies)[1]);
  totals.counts.dead = natural((*replies)[2]);
  totals.journal_rows = natural((*replies)[3]);
  const std::span<const net::RedisReply> sums = (*replies)[4].items();
  if (sums.size() == 3) {
    totals.duplicates = static_cast<std::uint64_t>(number_of(sums[0].text()).value_or(0));
    totals.refused = static_cast<std::uint64_t>(number_of(sums[1].text()).value_or(0));
    totals.locked = static_cast<std::uint64_t>(number_of(sums[2].text()).value_or(0));
  }
  for (std::size_t index = 5; index < replies->size(); ++index) totals.counts.running += natural((*replies)[index]);
  balance(totals.counts);
  co_return totals;
}

// --- the journal ---

Engine::Reply<jobs::JournalPage> Engine::read_journal(jobs::JournalQuery query) {
  if (auto ok = check_batch("journal", query.limit); !ok) co_return ok.error();
  jobs::JournalPage page;
  page.next = query.after;
  const std::size_t rows_limit = query.jid.empty() ? query.limit : scan_limit;
  std::size_t scanned = 0;
  bool first = true;
  while (page.rows.size() < query.limit && scanned < rows_limit) {
    const std::size_t some = std::min(rows_limit - scanned, jobs::batch_count_limit);
    net::RedisBatch batch;
    batch.add(net::RedisCommand("XRANGE", journal_key, concat(page.next + 1, "-0"), "+", "COUNT", some));
    if (first) {
      batch.add(net::RedisCommand("XRANGE", journal_key, "-", "+", "COUNT", 1));
      batch.add(net::RedisCommand("HGET", total_key, "journal"));
    }
    const Result<std::vector<net::RedisReply>> replies = co_await ask(std::move(batch));
    if (!replies) co_return replies.error();
    if (first) {
      // The rows' numbers have no holes: whatever is missing before the oldest was trimmed.
      const std::span<const net::RedisReply> oldest = (*replies)[1].items();
      const auto last = static_cast<std::uint64_t>(number_of((*replies)[2].text()).value_or(0));
      std::uint64_t oldest_kept = last + 1;
      if (!oldest.empty() && !oldest[0].items().empty()) {
        const std::string_view id = oldest[0].items()[0].text();
        oldest_kept = static_cast<std::uint64_t>(number_of(id.substr(0, id.find('-'))).value_or(0));
      }
      page.gap = query.after != 0 && query.after + 1 < oldest_kept && query.after < last;
      first = false;
    }
    const std::span<const net::RedisReply> entries = (*replies)[0].items();
    for (const net::RedisReply& entry : entries) {
      if (page.rows.size() == query.limit) break;
      if (entry.items().size() != 2) continue;
      ++scanned;
      const std::string_view id = entry.items()[0].text();
      page.next = static_cast<jobs::JournalCursor>(number_of(id.substr(0, id.find('-'))).value_or(0));
      const std::span<const net::RedisReply> fields = entry.items()[1].items();
      jobs::JournalRow row;
      row.cursor = page.next;
      std::string_view element;
      for (std::size_t index = 0; index + 2 <= fields.size(); index += 2) {
        const std::string_view name = fields[index].text();
        const std::string_view value = fields[index + 1].text();
        if (name == "k") row.kind = static_cast<jobs::JournalKind>(number_of(value).value_or(1));
        if (name == "t") row.at = wall_of(number_of(value).value_or(0));
        if (name == "q") row.queue = value;
        if (name == "j") row.jid = value;
        if (name == "c") row.class_name = value;
        if (name == "d") row.detail = value;
        if (name == "x") element = value;
      }
      if (!element.empty()) {
        Element read = read_element(element, row.queue, {}, options_.codec);
        row.jid = std::move(read.jid);
        row.class_name = std::move(read.class_name);
      }
      if (!query.jid.empty() && row.jid != query.jid) continue;
      page.rows.push_back(std::move(row));
    }
    page.at_end = entries.size() < some && page.rows.size() < query.limit;
    if (page.at_end) co_return page;
  }
  page.at_end = false;
  co_return page;
}

Engine::Reply<jobs::JournalCursor> Engine::journal_end() {
  net::RedisCommand command("HGET", total_key, "journal");
  const Result<net::RedisReply> reply = co_await ask(std::move(command));
  if (!reply) co_return reply.error();
  co_return static_cast<jobs::JournalCursor>(number_of(reply->text()).value_or(0));
}

}  // namespace dagverk::stores::redis
