// Looking without touching: single jobs, pages of them, counts, the journal, what cannot be right.

#include "testing_jobs/memory_jobs.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/store_bounds.hpp"

#include <algorithm>
#include <charconv>

namespace dagverk::testing_jobs {

using jobs::JobState;
using jobs::QueueCounts;

namespace {

constexpr JobState all_states[] = {JobState::ready, JobState::scheduled, JobState::retrying, JobState::running,
                                   JobState::dead};

Result<void> check_limit(std::string_view what, std::size_t limit) {
  if (limit >= 1 && limit <= jobs::batch_count_limit) return {};
  return Error{ErrorCode::invalid_argument,
               concat(what, ": the limit must be 1..", jobs::batch_count_limit, ", got ", limit)};
}

/// Reads `number:` off the front of `text`.
template <class Number>
bool read_part(std::string_view& text, Number& number) {
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || rest == text.data() + text.size() || *rest != ':') return false;
  text.remove_prefix(static_cast<std::size_t>(rest - text.data()) + 1);
  return true;
}

}  // namespace

QueueCounts MemoryJobs::sums() const {
  QueueCounts sums;
  constexpr std::uint64_t QueueCounts::* fields[] = {
      &QueueCounts::ready,       &QueueCounts::scheduled, &QueueCounts::retrying, &QueueCounts::running,
      &QueueCounts::dead,        &QueueCounts::enqueued,  &QueueCounts::finished, &QueueCounts::discarded,
      &QueueCounts::expired,     &QueueCounts::deleted,   &QueueCounts::trimmed,  &QueueCounts::moved_in,
      &QueueCounts::moved_out,   &QueueCounts::retried,   &QueueCounts::died,     &QueueCounts::rescued,
      &QueueCounts::quarantined, &QueueCounts::refused,   &QueueCounts::dropped,  &QueueCounts::diverted};
  for (const auto& [name, queue] : queues_) {
    for (const auto field : fields) sums.*field += queue.counts.*field;
  }
  return sums;
}

Result<std::optional<jobs::StoredJob>> MemoryJobs::find(const std::string& jid) const {
  const auto found = jobs_.find(jid);
  if (found == jobs_.end()) return std::optional<jobs::StoredJob>();
  return std::optional(found->second.stored);
}

Result<jobs::JobPage> MemoryJobs::list(const jobs::ListQuery& query) const {
  if (auto ok = check_limit("list", query.limit); !ok) return ok.error();
  auto at = first_of(query.state);
  if (query.state == JobState::ready && !query.queue.empty()) at = places_.lower_bound({query.state, query.queue});
  if (!query.cursor.empty()) {
    const Result<Place> last = place_at(query.cursor, query.state);
    if (!last) return last.error();
    at = places_.upper_bound(*last);
  }
  jobs::JobPage page;
  std::size_t size = 0;
  for (; belongs(at, query.state); ++at) {
    const jobs::StoredJob& job = at->second->stored;
    if (!query.queue.empty() && job.queue != query.queue) {
      if (query.state == JobState::ready) break;  // the queue's jobs stand together
      continue;
    }
    if (!query.class_name.empty() && job.class_name != query.class_name) continue;
    if (page.jobs.size() == query.limit || size >= jobs::take_size_limit) {
      page.next = cursor_at(place_of(jobs_.at(page.jobs.back().jid)));
      return page;
    }
    page.jobs.push_back(job);
    size += job.payload.size();
  }
  return page;
}

/// The place as text; it begins with the state, so that a cursor of another listing is recognised.
std::string MemoryJobs::cursor_at(const Place& place) {
  return concat(static_cast<int>(place.state), ':', place.first, ':', place.in_line ? 1 : 0, ':', place.handle, ':',
                place.queue);
}

Result<MemoryJobs::Place> MemoryJobs::place_at(std::string_view cursor, JobState state) {
  Place place;
  std::string_view rest = cursor;
  int number = 0;
  int in_line = 0;
  if (!read_part(rest, number) || number != static_cast<int>(state) || !read_part(rest, place.first) ||
      !read_part(rest, in_line) || !read_part(rest, place.handle)) {
    return Error{ErrorCode::invalid_argument,
                 concat("list: \"", cursor, "\" is not a cursor of ", to_string(state), " jobs")};
  }
  place.state = state;
  place.in_line = in_line != 0;
  place.queue = rest;
  return place;
}

Result<std::vector<jobs::QueueInfo>> MemoryJobs::queues(const std::string& after, std::size_t limit) const {
  if (auto ok = check_limit("queues", limit); !ok) return ok.error();
  std::vector<jobs::QueueInfo> page;
  for (auto at = queues_.upper_bound(after); at != queues_.end() && page.size() < limit; ++at) {
    const auto& [name, queue] = *at;
    jobs::QueueInfo& info = page.emplace_back();
    info.name = name;
    info.counts = queue.counts;
    info.pause = queue.pause;
    const std::vector<Job*> next = waiting_in(name, 1);
    if (!next.empty()) info.next_enqueued_at = next.front()->stored.enqueued_at;
  }
  return page;
}

Result<jobs::StoreTotals> MemoryJobs::totals() const {
  return jobs::StoreTotals{.counts = sums(),
                           .duplicates = duplicates_,
                           .refused = refused_,
                           .locked = locked_,
                           .journal_rows = journal_.size(),
                           .queues = queues_.size()};
}

std::size_t MemoryJobs::trim_journal() {
  std::size_t trimmed = 0;
  for (; !journal_.empty() && journal_.front().at < now_ - options_->journal_age_limit; ++trimmed) {
    trimmed_row_ = journal_.front().cursor;
    journal_.pop_front();
  }
  return trimmed;
}

Result<std::optional<std::string>> MemoryJobs::read_record(const std::string& jid) const {
  const auto found = records_.find(jid);
  if (found == records_.end() || found->second.updated_at < now_ - jobs::record_age_limit) {
    return std::optional<std::string>();
  }
  return std::optional(found->second.text);
}

Result<jobs::JournalPage> MemoryJobs::read_journal(const jobs::JournalQuery& query) const {
  if (auto ok = check_limit("journal", query.limit); !ok) return ok.error();
  jobs::JournalPage page;
  page.next = query.after;
  page.gap = query.after != 0 && query.after < trimmed_row_;
  for (auto at = std::ranges::upper_bound(journal_, query.after, {}, &jobs::JournalRow::cursor); at != journal_.end();
       ++at) {
    if (page.rows.size() == query.limit) {
      page.at_end = false;
      break;
    }
    page.next = at->cursor;
    if (query.jid.empty() || at->jid == query.jid) page.rows.push_back(*at);
  }
  return page;
}

/// That the same jobs are in all containers, and that what is counted is there.
Result<std::vector<jobs::StoreFinding>> MemoryJobs::check() const {
  std::vector<jobs::StoreFinding> findings;
  const auto damage = [&](std::string text) {
    if (findings.size() < jobs::finding_count_limit) {
      findings.push_back({jobs::StoreFinding::Level::damage, std::move(text)});
    }
  };
  if (places_.size() != jobs_.size() || by_handle_.size() != jobs_.size()) {
    damage(
        concat("there are ", jobs_.size(), " jobs, ", by_handle_.size(), " handles and ", places_.size(), " places"));
  }
  std::map<std::pair<std::string, JobState>, std::uint64_t> held;
  for (const auto& [place, job] : places_) {
    const jobs::StoredJob& stored = job->stored;
    ++held[{stored.queue, stored.state}];
    if (place != place_of(*job)) damage(concat("job ", stored.jid, " stands in a place that is not its own"));
    if (stored.state == JobState::running && !nodes_.contains(stored.node)) {
      damage(concat("job ", stored.jid, " is running by no node, so nobody rescues it"));
    }
  }
  for (const auto& [name, queue] : queues_) {
    QueueCounts counts = queue.counts;
    for (const JobState state : all_states) {
      const std::uint64_t found = held[{name, state}];
      if (const std::uint64_t counted = count_of(counts, state); counted != found) {
        damage(concat("queue ", name, " counts ", counted, ' ', to_string(state), " jobs and holds ", found));
      }
    }
    if (!counts.balanced()) damage(concat("the counts of queue ", name, " do not add up"));
  }
  return findings;
}

}  // namespace dagverk::testing_jobs
