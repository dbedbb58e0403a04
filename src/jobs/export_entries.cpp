#include "jobs/export_entries.hpp"

#include "jobs/export_members.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_export.hpp"
#include "dagverk/jobs/store_bounds.hpp"

#include <chrono>
#include <limits>
#include <optional>

namespace dagverk::jobs {
namespace {

constexpr LimitScope all_scopes[] = {LimitScope::queue, LimitScope::key};
constexpr RateKind all_kinds[] = {RateKind::token_bucket, RateKind::window};
constexpr WhenFull all_when_full[] = {WhenFull::refuse, WhenFull::drop_oldest, WhenFull::divert};
constexpr MissedRuns all_missed[] = {MissedRuns::skip, MissedRuns::once, MissedRuns::all};
constexpr std::int64_t any_number = std::numeric_limits<std::int64_t>::max();

/// The member's name without `_hex`, and its bytes.
std::string_view plain_name(const json::Item& item) {
  constexpr std::string_view hex = "_hex";
  std::string_view name = item.key;
  if (name.ends_with(hex)) name.remove_suffix(hex.size());
  return name;
}

Result<void> read_bytes(const json::Item& item, std::string& into) {
  return keep(plain_name(item) == item.key ? text_of(item) : hex_of(item), into);
}

/// The members of a limit that make sense together only.
struct LimitParts {
  std::optional<std::int64_t> rate_count;
  std::optional<std::int64_t> rate_per_us;
  std::optional<RateKind> rate_kind;
  std::optional<std::int64_t> bound;
  std::optional<WhenFull> when_full;
  std::string divert_to;
};

Result<void> read_limit_member(const json::Item& item, Limit& limit, LimitParts& parts) {
  const std::string_view name = item.key;
  if (name == "limit") return keep(word_of(item, all_scopes, "queue or key"), limit.scope);
  if (name == "concurrency") return keep(number_of(item, 1, limit_concurrency_limit), limit.concurrency);
  if (name == "rate_count") return keep(number_of(item, 1, rate_count_limit), parts.rate_count);
  if (name == "rate_per_us") return keep(number_of(item, 1, any_number / 1000), parts.rate_per_us);
  if (name == "rate_kind") return keep(word_of(item, all_kinds, "bucket or window"), parts.rate_kind);
  if (name == "bound") return keep(number_of(item, 1, queue_bound_limit), parts.bound);
  if (name == "when_full") return keep(word_of(item, all_when_full, "refuse, drop-oldest or divert"), parts.when_full);
  if (plain_name(item) == "name") return read_bytes(item, limit.name);
  if (plain_name(item) == "divert_to") return read_bytes(item, parts.divert_to);
  return unknown_member(item);
}

/// Puts the parts where they belong, when they are all there.
Result<void> join(LimitParts& parts, Limit& limit) {
  if (parts.rate_count || parts.rate_per_us || parts.rate_kind) {
    if (!parts.rate_count || !parts.rate_per_us || !parts.rate_kind) {
      return malformed_line("a rate needs rate_count, rate_per_us and rate_kind, or none of them");
    }
    limit.rate = Rate{*parts.rate_count, std::chrono::microseconds(*parts.rate_per_us), *parts.rate_kind};
  }
  if (parts.bound || parts.when_full || !parts.divert_to.empty()) {
    if (!parts.bound || !parts.when_full) return malformed_line("a bound needs bound and when_full, or none of them");
    limit.bound = QueueBound{*parts.bound, *parts.when_full, std::move(parts.divert_to)};
  }
  return {};
}

/// Members of a cron entry that are there, or its pause.
struct CronParts {
  bool last_slot = false;
  std::optional<std::string> paused_by;
  std::optional<std::string> pause_reason;
};

Result<void> read_cron_member(const json::Item& item, CronEntry& entry, CronParts& parts) {
  if (item.key == "missed") return keep(word_of(item, all_missed, "skip, once or all"), entry.missed);
  if (item.key == "last_slot_us") {
    parts.last_slot = true;
    return keep(time_of(item), entry.last_slot);
  }
  const std::string_view name = plain_name(item);
  if (name == "cron") return read_bytes(item, entry.name);
  if (name == "schedule") return read_bytes(item, entry.schedule);
  if (name == "zone") return read_bytes(item, entry.zone);
  if (name == "class") return read_bytes(item, entry.class_name);
  if (name == "queue") return read_bytes(item, entry.queue);
  if (name == "args") return read_bytes(item, entry.args_json);
  if (name == "origin") return read_bytes(item, entry.origin);
  if (name == "paused_by") return read_bytes(item, parts.paused_by.emplace());
  if (name == "pause_reason") return read_bytes(item, parts.pause_reason.emplace());
  return unknown_member(item);
}

}  // namespace

std::string export_line(const Limit& limit) {
  std::string line = "{";
  append_bytes(line, "limit", to_string(limit.scope));
  append_bytes(line, "name", limit.name);
  if (limit.concurrency) append_number(line, "concurrency", *limit.concurrency);
  if (limit.rate) {
    append_number(line, "rate_count", limit.rate->count);
    append_number(line, "rate_per_us", std::chrono::floor<std::chrono::microseconds>(limit.rate->per).count());
    append_bytes(line, "rate_kind", to_string(limit.rate->kind));
  }
  if (limit.bound) {
    append_number(line, "bound", limit.bound->most);
    append_bytes(line, "when_full", to_string(limit.bound->when_full));
    if (!limit.bound->divert_to.empty()) append_bytes(line, "divert_to", limit.bound->divert_to);
  }
  return line + "}";
}

std::string export_line(const CronEntry& entry) {
  std::string line = "{";
  append_bytes(line, "cron", entry.name);
  append_bytes(line, "schedule", entry.schedule);
  append_bytes(line, "zone", entry.zone);
  append_bytes(line, "class", entry.class_name);
  append_bytes(line, "queue", entry.queue);
  append_bytes(line, "args", entry.args_json);
  append_bytes(line, "missed", to_string(entry.missed));
  if (!entry.origin.empty()) append_bytes(line, "origin", entry.origin);
  append_number(line, "last_slot_us", micros_of(entry.last_slot));
  if (entry.pause) {
    append_bytes(line, "paused_by", entry.pause->by);
    if (!entry.pause->reason.empty()) append_bytes(line, "pause_reason", entry.pause->reason);
  }
  return line + "}";
}

Result<Limit> read_limit(json::Walk& walk) {
  Limit limit;
  LimitParts parts;
  do {
    if (auto member = read_limit_member(walk.item(), limit, parts); !member) return member.error();
  } while (walk.next());
  if (auto joined = join(parts, limit); !joined) return joined.error();
  if (auto good = check(limit); !good) return malformed_line(good.error().message());
  return limit;
}

Result<CronEntry> read_cron(json::Walk& walk) {
  CronEntry entry;
  CronParts parts;
  do {
    if (auto member = read_cron_member(walk.item(), entry, parts); !member) return member.error();
  } while (walk.next());
  if (walk.fault()) return entry;
  if (entry.schedule.empty() || entry.class_name.empty() || !parts.last_slot) {
    return malformed_line("not a cron entry of an export: it needs schedule, class and last_slot_us");
  }
  if (auto good = check_cron(entry); !good) return malformed_line(good.error().message());
  if (!parts.paused_by && parts.pause_reason) return malformed_line("a pause needs paused_by, which may be empty");
  if (parts.paused_by) {
    entry.pause = QueuePause{std::move(*parts.paused_by), std::move(parts.pause_reason).value_or("")};
    const auto good = check_cron_pause(entry.name, entry.pause->by, entry.pause->reason);
    if (!good) return malformed_line(good.error().message());
  }
  return entry;
}

}  // namespace dagverk::jobs
