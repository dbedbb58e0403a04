#include "jobs/buffered_job.hpp"

#include "jobs/export_members.hpp"
#include "jobs/journal_detail.hpp"
#include "jobs/json_text.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_export.hpp"
#include "dagverk/jobs/store_bounds.hpp"

#include <utility>

namespace dagverk::jobs {

namespace {

constexpr unsigned depth_limit = 4;
constexpr LockUntil all_untils[] = {LockUntil::started, LockUntil::done, LockUntil::period};
constexpr LockConflict all_conflicts[] = {LockConflict::refuse, LockConflict::replace, LockConflict::reschedule};

/// The one of `all` that the member names.
template <class Value, std::size_t Count>
Result<void> read_word(const json::Item& item, const Value (&all)[Count], Value& into) {
  const Result<std::string> word = text_of(item);
  if (!word) return word.error();
  for (const Value value : all) {
    if (*word != to_string(value)) continue;
    into = value;
    return {};
  }
  return malformed_line(concat("member ", item.key, ": unknown word ", json::shown(*word)));
}

Result<void> read_lock_member(const json::Item& item, UniqueLock& lock) {
  if (item.key == "until") return read_word(item, all_untils, lock.until);
  if (item.key == "conflict") return read_word(item, all_conflicts, lock.conflict);
  if (item.key == "expiry_ns") {
    const auto count = number_of(item, 1, lock_expiry_limit.count());
    if (!count) return count.error();
    lock.expiry = Duration(*count);
    return {};
  }
  if (item.key != "key" && item.key != "key_hex") {
    return malformed_line(
        concat("member ", json::shown(item.key), ": not known; was this written by a newer version?"));
  }
  Result<std::string> key = item.key == "key" ? text_of(item) : hex_of(item);
  if (!key) return key.error();
  lock.key = std::move(*key);
  return {};
}

Result<EnqueueRequest> read_exported(std::string_view line) {
  Result<ExportLine> read = read_export_line(line);
  if (!read) return read.error();
  if (read->kind != ExportLine::Kind::job) return malformed_line("not a job");
  StoredJob& stored = read->job;
  EnqueueRequest job;
  job.jid = std::move(stored.jid);
  job.queue = std::move(stored.queue);
  job.class_name = std::move(stored.class_name);
  job.payload = std::move(stored.payload);
  job.priority = stored.priority;
  job.journaled = stored.journaled;
  job.due = stored.due;
  job.limit_key = std::move(stored.limit_key);
  job.detail = enqueued_detail(job);
  return job;
}

}  // namespace

std::string buffered_line(const EnqueueRequest& job) {
  StoredJob exported;
  exported.state = job.due ? JobState::scheduled : JobState::ready;
  exported.jid = job.jid;
  exported.queue = job.queue;
  exported.class_name = job.class_name;
  exported.payload = job.payload;
  exported.priority = job.priority;
  exported.journaled = job.journaled;
  exported.due = job.due;
  exported.limit_key = job.limit_key;
  if (!job.unique) return export_line(exported);
  std::string line = "{";
  append_bytes(line, "key", job.unique->key);
  append_bytes(line, "until", to_string(job.unique->until));
  append_number(line, "expiry_ns", job.unique->expiry.count());
  append_bytes(line, "conflict", to_string(job.unique->conflict));
  return concat(line, ",\"job\":", export_line(exported), "}");
}

Result<EnqueueRequest> read_buffered_job(std::string_view line) {
  if (!line.starts_with(R"({"key)")) return read_exported(line);
  json::Walk walk(line, json::Kind::object, depth_limit);
  UniqueLock lock;
  EnqueueRequest job;
  while (walk.next()) {
    if (walk.item().key == "job") {
      Result<EnqueueRequest> read = read_exported(walk.item().value);
      if (!read) return read.error();
      job = std::move(*read);
    } else if (auto member = read_lock_member(walk.item(), lock); !member) {
      return member.error();
    }
  }
  if (walk.fault()) return malformed_line(concat("not a JSON object: ", walk.fault().describe()));
  job.unique = std::move(lock);
  if (auto checked = check(job); !checked) return checked.error();
  return job;
}

std::size_t buffered_size(const EnqueueRequest& job) noexcept {
  constexpr std::size_t beside = 128;  // what its line says besides
  const std::size_t lock = job.unique ? job.unique->key.size() + beside : 0;
  return lock + job.jid.size() + job.queue.size() + job.class_name.size() + job.payload.size() + beside;
}

}  // namespace dagverk::jobs
