#include "dagverk/jobs/journal.hpp"

#include "jobs/journal_detail.hpp"
#include "jobs/json_text.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/arguments.hpp"
#include "dagverk/jobs/wire_time.hpp"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace dagverk::jobs {

namespace {

/// The members of a row's detail; empty for a detail that is none of ours.
class DetailReader {
 public:
  explicit DetailReader(std::string_view detail) {
    if (detail.empty()) return;
    if (auto members = detail::split_object(detail)) members_ = std::move(*members);
  }

  [[nodiscard]] std::string text(std::string_view name) const {
    const std::string_view value = find(name);
    if (value.empty()) return {};
    return detail::read_text(value).value_or(std::string());
  }
  [[nodiscard]] WallTime time(std::string_view name, WallTime otherwise) const {
    const std::string_view value = find(name);
    return value.empty() ? otherwise : parse_epoch_seconds(value).value_or(otherwise);
  }
  [[nodiscard]] std::uint32_t attempt() const {
    const std::string_view value = find("attempt");
    if (value.empty()) return 1;
    return static_cast<std::uint32_t>(detail::read_unsigned(value, UINT32_MAX).value_or(1));
  }

 private:
  [[nodiscard]] std::string_view find(std::string_view name) const {
    for (const auto& [key, value] : members_) {
      if (key == name) return value;
    }
    return {};
  }

  std::vector<std::pair<std::string, std::string_view>> members_;
};

}  // namespace

void JournalDetail::key(std::string_view name) { out_.append(out_.empty() ? "{\"" : ",\"").append(name).append("\":"); }
JournalDetail& JournalDetail::text(std::string_view name, std::string_view value, std::size_t characters_limit) {
  if (value.empty()) return *this;
  key(name);
  json::append_text(out_, value, characters_limit);
  return *this;
}
JournalDetail& JournalDetail::number(std::string_view name, std::uint64_t value) {
  key(name);
  out_.append(concat(value));
  return *this;
}
JournalDetail& JournalDetail::time(std::string_view name, WallTime value) {
  key(name);
  out_.append(exact_epoch_seconds_text(value));
  return *this;
}
std::string JournalDetail::take() && {
  if (!out_.empty()) out_.push_back('}');
  return std::move(out_);
}

std::string enqueued_detail(const EnqueueRequest& job) {
  JournalDetail detail;
  if (job.due && job.journaled) detail.time("due_at", *job.due);
  return std::move(detail).take();
}

Event event_of(const JournalRow& row) {
  const DetailReader detail(row.detail);
  JobIdentity job{.jid = row.jid,
                  .job_class = row.class_name,
                  .queue = row.queue,
                  .attempt = detail.attempt(),
                  .node = detail.text("node")};
  switch (row.kind) {
    case JournalKind::enqueued: return JobEnqueued{std::move(job), row.at};
    case JournalKind::limited:
    case JournalKind::scheduled: return JobScheduled{std::move(job), row.at, detail.time("due_at", row.at)};
    case JournalKind::started: return JobStarted{std::move(job), row.at};
    case JournalKind::finished:
      return JobFinished{std::move(job), detail.time("started_at", row.at), row.at, detail.text("result")};
    case JournalKind::snoozed: return JobSnoozed{std::move(job), row.at, detail.time("due_at", row.at)};
    case JournalKind::retried: return JobRetried{std::move(job), row.at, detail.time("due_at", row.at)};
    case JournalKind::died:
    case JournalKind::quarantined: return JobDied{std::move(job), row.at, detail.text("reason")};
    case JournalKind::requeued: return JobRequeued{std::move(job), row.at};
    case JournalKind::rescued: return JobRescued{std::move(job), row.at, detail.text("from_node")};
    case JournalKind::promoted: return JobPromoted{std::move(job), row.at, detail.text("from")};
    case JournalKind::retried_now: return JobPromoted{std::move(job), row.at, "hand"};
    case JournalKind::deleted: return JobDeleted{std::move(job), row.at};
    case JournalKind::diverted:
    case JournalKind::moved: return JobMoved{std::move(job), row.at};
    case JournalKind::discarded: return JobDiscarded{std::move(job), row.at, detail.text("reason")};
    case JournalKind::expired: return JobExpired{std::move(job), row.at};
    case JournalKind::cancelled: return JobCancelled{std::move(job), row.at};
    case JournalKind::dropped:
    case JournalKind::trimmed: return JobDiscarded{std::move(job), row.at, std::string(to_string(row.kind))};
  }
  return JobDiscarded{std::move(job), row.at, "of a kind that this version does not know"};
}

Async<Result<JournalPage>> JournalReader::next(std::size_t limit, Duration wait) {
  for (bool waited = false;; waited = true) {
    const std::uint64_t seen = store_.change_count(ChangeKind::journal);
    JournalQuery query;
    query.after = cursor_;
    query.limit = std::clamp<std::size_t>(limit, 1, batch_count_limit);
    Result<JournalPage> page = co_await store_.read_journal(std::move(query));
    if (!page) co_return page.error();
    cursor_ = page->next;
    if (!page->rows.empty() || page->gap || waited || wait <= Duration::zero()) co_return std::move(*page);
    if (!page->at_end) continue;
    Result<std::uint64_t> changed = co_await store_.wait_for_change(ChangeKind::journal, seen, wait);
    if (!changed) co_return changed.error();
  }
}

void JournalProducer::handle_demand(std::uint64_t count) {
  demand_ += count;
  read_soon();
}

JournalCursor JournalProducer::handle_call(Position /*position*/) { return reader_.cursor(); }

void JournalProducer::read_soon() {
  if (demand_ == 0 || std::exchange(read_sent_, true)) return;
  self().cast(Read{});
}

void JournalProducer::handle_info(Read /*read*/) { read_soon(); }

Async<void> JournalProducer::handle_cast(Read /*read*/) {
  constexpr Duration longest_pause = std::chrono::seconds(5);
  constexpr Duration first_pause = std::chrono::milliseconds(50);
  constexpr Duration wait = std::chrono::milliseconds(250);  // other messages wait as long at most
  read_sent_ = false;
  Result<JournalPage> page = co_await reader_.next(std::min<std::uint64_t>(demand_, batch_count_limit), wait);
  if (!page) {
    pause_ = std::clamp(pause_ * 2, first_pause, longest_pause);
    send_after(pause_, Read{});
    co_return;
  }
  pause_ = Duration::zero();
  demand_ -= std::min<std::uint64_t>(demand_, page->rows.size());
  if (!page->rows.empty()) emit(make_batch(std::move(page->rows)));
  read_soon();
}

}  // namespace dagverk::jobs
