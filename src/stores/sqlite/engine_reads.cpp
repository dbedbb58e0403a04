// Looking without touching: single jobs, pages of them, counts, the journal.

#include "stores/sqlite/engine.hpp"
#include "stores/sqlite/engine_internal.hpp"
#include "stores/sqlite/journal_filter.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>
#include <charconv>
#include <limits>

namespace dagverk::stores {

using jobs::JobState;

namespace {

constexpr std::int64_t lowest = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t highest = std::numeric_limits<std::int64_t>::max();

/// Where a page ended: the parts of its last key. Written as `state:a:b:c`, so that a cursor of another listing is
/// recognised.
struct Position {
  std::int64_t parts[3] = {lowest, lowest, lowest};
};

std::string cursor_of(JobState state, const Position& position) {
  return concat(static_cast<int>(state), ':', position.parts[0], ':', position.parts[1], ':', position.parts[2]);
}

bool read_cursor(std::string_view text, JobState state, Position& position) {
  std::int64_t numbers[4];
  const char* at = text.data();
  const char* const end = text.data() + text.size();
  for (int index = 0; index < 4; ++index) {
    const auto [rest, error] = std::from_chars(at, end, numbers[index]);
    if (error != std::errc{}) return false;
    at = rest;
    if (index == 3) break;
    if (at == end || *at != ':') return false;
    ++at;
  }
  if (at != end || numbers[0] != static_cast<std::int64_t>(state)) return false;
  for (int index = 0; index < 3; ++index) position.parts[index] = numbers[index + 1];
  return true;
}

Result<void> check_limit(std::string_view what, std::size_t limit) {
  if (limit >= 1 && limit <= jobs::batch_count_limit) return {};
  return Error{ErrorCode::invalid_argument,
               concat(what, ": the limit must be 1..", jobs::batch_count_limit, ", got ", limit)};
}

jobs::QueueCounts counts_at(const Use& use) {
  jobs::QueueCounts counts;
  std::uint64_t* const fields[] = {&counts.ready,       &counts.scheduled, &counts.retrying, &counts.running,
                                   &counts.dead,        &counts.enqueued,  &counts.finished, &counts.discarded,
                                   &counts.expired,     &counts.deleted,   &counts.trimmed,  &counts.moved_in,
                                   &counts.moved_out,   &counts.retried,   &counts.died,     &counts.rescued,
                                   &counts.quarantined, &counts.refused,   &counts.dropped,  &counts.diverted};
  int column = 2;  // behind id and name
  for (std::uint64_t* field : fields) *field = use.number_at(column++);
  return counts;
}

}  // namespace

jobs::StoredJob Engine::stored_job(Use& row) {
  jobs::StoredJob job;
  job.handle = row.number_at(0);
  job.state = static_cast<JobState>(row.integer_at(1));
  job.queue = queue_of(row.integer_at(2)).name;
  job.priority = priority_of(row.integer_at(3));
  job.journaled = (row.integer_at(4) & flag_journaled) != 0;
  job.node = row.number_at(5);
  if (!row.is_null(6)) job.due = wall_of(row.integer_at(6));
  job.enqueued_at = wall_of(row.integer_at(7));
  if (!row.is_null(8)) job.started_at = wall_of(row.integer_at(8));
  job.rescues = static_cast<std::uint32_t>(row.integer_at(9));
  job.jid = row.bytes_at(10);
  job.class_name = row.bytes_at(11);
  job.reason = row.bytes_at(12);
  job.payload = row.bytes_at(13);
  job.limit_key = row.bytes_at(14);
  return job;
}

Result<op::Find::Reply> Engine::apply(const op::Find& operation) {
  Use use(statements_->job_whole_by_jid);
  if (!use.text(operation.jid).step()) return op::Find::Reply();
  return op::Find::Reply(stored_job(use));
}

Result<op::List::Reply> Engine::apply(const op::List& operation) {
  const jobs::ListQuery& query = operation.query;
  if (auto ok = check_limit("list", query.limit); !ok) return ok.error();
  Position position;
  if (!query.cursor.empty() && !read_cursor(query.cursor, query.state, position)) {
    return Error{ErrorCode::invalid_argument,
                 concat("list: \"", query.cursor, "\" is not a cursor of ", to_string(query.state), " jobs")};
  }
  std::int64_t queue_id = 0;
  if (!query.queue.empty()) {
    const Queue* const queue = find_queue(query.queue);
    if (queue == nullptr) return jobs::JobPage();
    queue_id = queue->id;
  }
  const bool filtered = !query.class_name.empty() || (queue_id != 0 && query.state != JobState::ready);
  const std::int64_t rows_limit = filtered ? scan_limit : static_cast<std::int64_t>(query.limit);

  std::vector<std::int64_t> ids;
  std::int64_t scanned = 0;
  const auto scan = [&](Use& use, int id_column) {
    while (ids.size() < query.limit && use.step()) {
      ++scanned;
      for (int part = 0; part < 3; ++part) position.parts[part] = use.integer_at(part);
      if (queue_id != 0 && use.integer_at(3) != queue_id) continue;
      if (!query.class_name.empty() && use.bytes_at(4) != query.class_name) continue;
      ids.push_back(use.integer_at(id_column));
    }
  };
  const auto unfinished = [&] { return ids.size() < query.limit && scanned < rows_limit; };
  const Position start = position;
  switch (query.state) {
    case JobState::ready: {
      const std::int64_t last_queue = queue_id != 0 ? queue_id : highest;
      Position from = start;
      if (queue_id != 0 && from.parts[0] < queue_id) from = {{queue_id, lowest, lowest}};
      {
        Use use(statements_->list_ready_equal);
        use.integer(from.parts[0]).integer(from.parts[1]).integer(from.parts[2]).integer(rows_limit);
        scan(use, 2);
      }
      if (!unfinished()) break;
      Use use(statements_->list_ready);
      use.integer(from.parts[0]).integer(from.parts[1]).integer(last_queue).integer(rows_limit - scanned);
      scan(use, 2);
      break;
    }
    case JobState::running: {
      {
        Use use(statements_->list_running_equal);
        use.integer(start.parts[0]).integer(start.parts[1]).integer(rows_limit);
        scan(use, 1);
      }
      if (!unfinished()) break;
      Use use(statements_->list_running);
      use.integer(start.parts[0]).integer(rows_limit - scanned);
      scan(use, 1);
      break;
    }
    case JobState::scheduled:
    case JobState::retrying:
    case JobState::dead: {
      const auto state = static_cast<std::int64_t>(query.state);
      {
        Use use(statements_->list_due_equal);
        use.integer(state).integer(start.parts[0]).integer(start.parts[1]).integer(rows_limit);
        scan(use, 1);
      }
      if (!unfinished()) break;
      Use use(statements_->list_due);
      use.integer(state).integer(start.parts[0]).integer(rows_limit - scanned);
      scan(use, 1);
      break;
    }
  }
  jobs::JobPage page;
  page.jobs.reserve(ids.size());
  std::size_t size = 0;
  bool whole = true;
  for (const std::int64_t id : ids) {
    Use use(statements_->job_whole);
    if (!use.integer(id).step()) continue;
    page.jobs.push_back(stored_job(use));
    size += page.jobs.back().payload.size();
    if (size < jobs::take_size_limit || id == ids.back()) continue;
    // Too many bytes for one page: it ends here, and the next begins behind this job.
    const jobs::StoredJob& last = page.jobs.back();
    if (query.state == JobState::ready) {
      position = {{use.integer_at(2), use.integer_at(3), id}};
    } else {
      position = {{query.state == JobState::running ? static_cast<std::int64_t>(last.node) : use.integer_at(6), id, 0}};
    }
    whole = false;
    break;
  }
  if (!whole || ids.size() == query.limit || scanned == rows_limit) page.next = cursor_of(query.state, position);
  return page;
}

Result<op::Queues::Reply> Engine::apply(const op::Queues& operation) {
  if (auto ok = check_limit("queues", operation.limit); !ok) return ok.error();
  std::vector<jobs::QueueInfo> queues;
  Use use(statements_->queue_page);
  use.text(operation.after).number(operation.limit);
  while (use.step()) {
    jobs::QueueInfo& queue = queues.emplace_back();
    queue.name = use.bytes_at(1);
    queue.counts = counts_at(use);
    Use head(statements_->queue_head);
    if (head.integer(use.integer_at(0)).step()) queue.next_enqueued_at = wall_of(head.integer_at(0));
    Use pause(statements_->pause_row);
    if (pause.integer(use.integer_at(0)).step()) {
      queue.pause = {std::string(pause.bytes_at(1)), std::string(pause.bytes_at(2)), wall_of(pause.integer_at(0))};
    }
  }
  return queues;
}

Result<op::Totals::Reply> Engine::apply(const op::Totals& /*operation*/) {
  jobs::StoreTotals totals;
  {
    Use use(statements_->queue_sums);
    if (use.step()) totals.counts = counts_at(use);
  }
  Use meta(statements_->meta);
  if (meta.step()) {
    totals.journal_rows = meta.number_at(2);
    totals.queues = meta.number_at(4);
    totals.duplicates = meta.number_at(5);
    totals.refused = meta.number_at(6);
    totals.locked = meta.number_at(11);
  }
  return totals;
}

Result<op::ReadJournal::Reply> Engine::apply(const op::ReadJournal& operation) {
  const jobs::JournalQuery& query = operation.query;
  if (auto ok = check_limit("journal", query.limit); !ok) return ok.error();
  jobs::JournalPage page;
  page.next = query.after;
  {
    Use meta(statements_->meta);
    if (meta.step()) {
      page.gap = query.after != 0 && query.after < meta.number_at(7);
    }
  }
  if (!query.jid.empty()) {
    find_in_journal(query, page);
    return page;
  }
  Use use(statements_->journal_page);
  use.number(query.after).number(query.limit);
  while (use.step()) page.rows.push_back(journal_row(use));
  if (!page.rows.empty()) page.next = page.rows.back().cursor;
  page.at_end = page.rows.size() < query.limit;
  return page;
}

/// Reads one job's rows, passing over the blocks whose filters exclude it.
void Engine::find_in_journal(const jobs::JournalQuery& query, jobs::JournalPage& page) {
  page.at_end = false;
  std::int64_t budget = scan_limit;
  while (page.rows.size() < query.limit && budget > 0) {
    std::int64_t block = 0;
    {
      Use use(statements_->journal_next);
      if (!use.number(page.next).step()) {
        page.at_end = true;
        return;
      }
      block = journal_block_of(use.integer_at(0));
    }
    if (passes_block(block, query.jid)) {
      page.next = static_cast<jobs::JournalCursor>((block + 1) * journal_block_size - 1);
      budget -= block_scan_cost;
      continue;
    }
    Use use(statements_->journal_page);
    use.number(page.next).integer(std::min(budget, journal_block_size));
    while (page.rows.size() < query.limit && use.step()) {
      if (journal_block_of(use.integer_at(0)) != block) break;
      --budget;
      page.next = use.number_at(0);
      if (use.bytes_at(4) == query.jid) page.rows.push_back(journal_row(use));
    }
  }
}

/// True when the block is full and has no row of that job.
bool Engine::passes_block(std::int64_t block, std::string_view jid) {
  Use use(statements_->block_filter);
  return use.integer(block).step() && !JournalFilter::may_have(use.bytes_at(0), jid);
}

jobs::JournalRow Engine::journal_row(Use& use) {
  jobs::JournalRow row;
  row.cursor = use.number_at(0);
  row.kind = static_cast<jobs::JournalKind>(use.integer_at(1));
  row.at = wall_of(use.integer_at(2));
  row.queue = queue_of(use.integer_at(3)).name;
  row.jid = use.bytes_at(4);
  row.class_name = use.bytes_at(5);
  row.detail = use.bytes_at(6);
  return row;
}

Result<op::JournalEnd::Reply> Engine::apply(const op::JournalEnd& /*operation*/) {
  Use meta(statements_->meta);
  return meta.step() ? meta.number_at(1) - 1 : 0;
}

}  // namespace dagverk::stores
