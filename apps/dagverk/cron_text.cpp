#include "cron_text.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/arguments.hpp"
#include "dagverk/jobs/cron_schedule.hpp"
#include "dagverk/worker/time_text.hpp"

#include <algorithm>

namespace dagverk::app {

Result<jobs::CronEntry> cron_named(Session& session, std::string_view name) {
  Result<jobs::CronTable> table = session.wait(session.store().list_cron());
  if (!table) return table.error();
  std::vector<std::string_view> names;
  for (jobs::CronEntry& entry : table->entries) {
    if (entry.name == name) return std::move(entry);
    names.emplace_back(entry.name);
  }
  const auto near = worker::nearest_word(name, names);
  return Error(ErrorCode::not_found,
               concat("no cron entry \"", worker::printable(name, 60), "\" in the store",
                      near ? concat("; did you mean \"", worker::printable(*near, 60), "\"?") : std::string()));
}

std::vector<WallTime> next_slots(const jobs::CronEntry& entry, WallTime now, std::size_t count) {
  std::vector<WallTime> slots;
  const auto schedule = jobs::CronSchedule::parse(entry.schedule, entry.zone);
  if (!schedule || entry.pause) return slots;
  auto slot = schedule->next_after(std::max(now, entry.last_slot));
  for (; slot && slots.size() < count; slot = schedule->next_after(*slot)) slots.push_back(*slot);
  return slots;
}

std::string pause_text(const jobs::CronEntry& entry) {
  if (!entry.pause) return "-";
  std::string text = concat("by ", entry.pause->by);
  if (entry.pause->since) text += concat(" since ", worker::utc_text(*entry.pause->since));
  if (!entry.pause->reason.empty()) text += concat(": ", entry.pause->reason);
  return text;
}

namespace {

/// On one line, whatever is in the store.
std::string args_line(const jobs::CronEntry& entry) {
  if (!jobs::JobArguments::parse(entry.args_json)) return json_text(entry.args_json);
  std::string line = entry.args_json;
  std::ranges::replace_if(line, [](char c) { return c == '\n' || c == '\r'; }, ' ');
  return line;
}

}  // namespace

JsonObject cron_json(const jobs::CronEntry& entry, WallTime now) {
  JsonObject object;
  object.text("name", entry.name)
      .text("schedule", entry.schedule)
      .text("zone", entry.zone)
      .text("class", entry.class_name)
      .text("queue", entry.queue)
      .raw("args", args_line(entry))
      .text("missed", to_string(entry.missed))
      .text("origin", entry.origin)
      .boolean("paused", entry.pause.has_value());
  if (entry.pause) {
    object.text("paused_by", entry.pause->by)
        .text("pause_reason", entry.pause->reason)
        .time("paused_at", entry.pause->since);
  }
  const std::vector<WallTime> next = next_slots(entry, now, 1);
  object.time("next_at", next.empty() ? std::nullopt : std::optional(next.front()));
  object.time("done_until", entry.last_slot);
  const auto schedule = jobs::CronSchedule::parse(entry.schedule, entry.zone);
  if (!schedule) object.text("error", schedule.error().message());
  return object;
}

}  // namespace dagverk::app
