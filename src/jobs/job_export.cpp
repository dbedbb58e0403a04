#include "dagverk/jobs/job_export.hpp"

#include "jobs/export_entries.hpp"
#include "jobs/export_members.hpp"
#include "jobs/json_text.hpp"

#include "dagverk/base/concat.hpp"

#include <limits>
#include <optional>

namespace dagverk::jobs {
namespace {

constexpr unsigned depth_limit = 4;

constexpr JobState all_states[] = {JobState::ready, JobState::scheduled, JobState::retrying, JobState::running,
                                   JobState::dead};

/// The members without which a line is no job.
struct Seen {
  bool state = false;
  bool jid = false;
  bool queue = false;
  bool payload = false;
};

Result<void> read_text(const json::Item& item, std::string_view name, bool hex, StoredJob& job, Seen& seen) {
  std::string* target = nullptr;
  if (name == "jid") target = &job.jid;
  if (name == "queue") target = &job.queue;
  if (name == "class") target = &job.class_name;
  if (name == "payload") target = &job.payload;
  if (name == "reason") target = &job.reason;
  if (name == "limit_key") target = &job.limit_key;
  if (target == nullptr) return unknown_member(item);
  seen.jid = seen.jid || name == "jid";
  seen.queue = seen.queue || name == "queue";
  seen.payload = seen.payload || name == "payload";
  return keep(hex ? hex_of(item) : text_of(item), *target);
}

Result<void> read_member(const json::Item& item, StoredJob& job, Seen& seen) {
  const std::string_view name = item.key;
  if (name == "state") {
    seen.state = true;
    return keep(word_of(item, all_states, "ready, scheduled, retrying, running or dead"), job.state);
  }
  if (name == "enqueued_at_us") return keep(time_of(item), job.enqueued_at);
  if (name == "due_at_us") return keep(time_of(item), job.due);
  if (name == "journaled") return keep(truth_of(item), job.journaled);
  if (name == "priority") {
    const auto number = number_of(item, -1000, 1000);
    if (!number) return number.error();
    job.priority = static_cast<std::int16_t>(*number);
    return {};
  }
  if (name == "rescues") {
    const auto number = number_of(item, 0, std::numeric_limits<std::uint32_t>::max());
    if (!number) return number.error();
    job.rescues = static_cast<std::uint32_t>(*number);
    return {};
  }
  constexpr std::string_view hex = "_hex";
  const bool is_hex = name.ends_with(hex);
  return read_text(item, is_hex ? name.substr(0, name.size() - hex.size()) : name, is_hex, job, seen);
}

Result<ExportLine> read_head(const json::Item& item) {
  const auto version = number_of(item, 1, std::numeric_limits<std::int64_t>::max());
  if (!version) return version.error();
  if (*version > export_version) {
    return Error{ErrorCode::unsupported,
                 concat("an export of version ", *version, "; this program reads ", export_version, ": upgrade it")};
  }
  return ExportLine{.kind = ExportLine::Kind::head};
}

/// The rest of the last line, whose first member the walk is at.
Result<ExportLine> read_end(json::Walk& walk) {
  ExportLine read{.kind = ExportLine::Kind::end};
  do {
    const json::Item& item = walk.item();
    std::size_t* target = nullptr;
    if (item.key == "dagverk_export_end") target = &read.counts.jobs;
    if (item.key == "limits") target = &read.counts.limits;
    if (item.key == "cron") target = &read.counts.cron;
    if (target == nullptr) return unknown_member(item);
    const auto count = number_of(item, 0, std::numeric_limits<std::int64_t>::max());
    if (!count) return count.error();
    *target = static_cast<std::size_t>(*count);
  } while (walk.next());
  return read;
}

/// What stands behind a first member that says what the line is; nothing: it is a job's.
std::optional<Result<ExportLine>> read_special(json::Walk& walk) {
  const std::string_view key = walk.item().key;
  // The head may say more in later versions; that it is one, and of which version, stands first.
  if (key == "dagverk_export") return read_head(walk.item());
  if (key == "dagverk_export_end") return read_end(walk);
  ExportLine read;
  Result<void> kept;
  if (key == "limit") {
    read.kind = ExportLine::Kind::limit;
    kept = keep(read_limit(walk), read.limit);
  } else if (key == "cron" || key == "cron_hex") {
    read.kind = ExportLine::Kind::cron;
    kept = keep(read_cron(walk), read.cron);
  } else {
    return std::nullopt;
  }
  if (!kept) return Result<ExportLine>(kept.error());
  return Result<ExportLine>(std::move(read));
}

}  // namespace

std::string export_head(std::string_view store, WallTime at) {
  std::string line = "{";
  append_number(line, "dagverk_export", export_version);
  append_bytes(line, "store", store);
  append_number(line, "at_us", micros_of(at));
  return line + "}";
}

std::string export_line(const StoredJob& job) {
  std::string line = "{";
  append_bytes(line, "state", to_string(job.state));
  append_bytes(line, "jid", job.jid);
  append_bytes(line, "queue", job.queue);
  append_bytes(line, "class", job.class_name);
  append_bytes(line, "payload", job.payload);
  append_number(line, "enqueued_at_us", micros_of(job.enqueued_at));
  if (job.due) append_number(line, "due_at_us", micros_of(*job.due));
  if (job.priority != 0) append_number(line, "priority", job.priority);
  if (!job.journaled) line += R"(,"journaled":false)";
  if (job.rescues != 0) append_number(line, "rescues", job.rescues);
  if (!job.reason.empty()) append_bytes(line, "reason", job.reason);
  if (!job.limit_key.empty()) append_bytes(line, "limit_key", job.limit_key);
  return line + "}";
}

std::string export_end(const ExportCounts& counts) {
  return concat(R"({"dagverk_export_end":)", counts.jobs, R"(,"limits":)", counts.limits, R"(,"cron":)", counts.cron,
                "}");
}

Result<ExportLine> read_export_line(std::string_view line) {
  if (line.size() > export_line_limit) {
    return Error{ErrorCode::too_large, concat("a line of ", line.size(), " bytes; the limit is ", export_line_limit)};
  }
  json::Walk walk(line, json::Kind::object, depth_limit);
  ExportLine read;
  Seen seen;
  bool first = true;
  while (walk.next()) {
    const json::Item& item = walk.item();
    if (first) {
      if (auto special = read_special(walk)) {
        // A member that was cut in two may read like a whole one: what is wrong with the line comes first.
        if (walk.fault()) break;
        return std::move(*special);
      }
    }
    first = false;
    if (auto member = read_member(item, read.job, seen); !member) return member.error();
  }
  if (walk.fault()) return malformed_line(concat("not a JSON object: ", walk.fault().describe()));
  if (!seen.state || !seen.jid || !seen.queue || !seen.payload) {
    return malformed_line("not a job of an export: it needs state, jid, queue and payload");
  }
  return read;
}

}  // namespace dagverk::jobs
