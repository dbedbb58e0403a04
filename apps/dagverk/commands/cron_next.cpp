#include "command.hpp"
#include "cron_text.hpp"
#include "selection.hpp"
#include "session.hpp"

#include "dagverk/base/clock.hpp"
#include "dagverk/jobs/cron_schedule.hpp"
#include "dagverk/worker/time_text.hpp"

#include <algorithm>
#include <utility>

namespace dagverk::app {
namespace {

constexpr OptionSyntax cron_next_options[] = {
    {'n', "count", "N", "how many, at most 1000; else 5"},
    {'\0', "schedule", "LINE", "not those of the store, but when this line would be due"},
    {'\0', "zone", "ZONE", "the line's time zone, else UTC"},
};

struct Slot {
  WallTime at;
  std::string name;
  std::string class_name;
};

void print_slots(Output& out, const std::vector<Slot>& slots) {
  for (const Slot& slot : slots) {
    if (out.json()) {
      JsonObject object;
      object.time("at", slot.at);
      if (!slot.name.empty()) object.text("name", slot.name).text("class", slot.class_name);
      if (!out.print(object.str() + "\n")) return;
    } else if (slot.name.empty()) {
      out.row({worker::utc_text(slot.at)});
    } else {
      out.row({worker::utc_text(slot.at), slot.name, slot.class_name});
    }
  }
  if (out.json() || slots.empty()) return;
  if (!slots.front().name.empty()) out.heading({"AT", "NAME", "CLASS"});
  out.end_table();
}

ExitCode try_line(const ParsedLine& line, std::size_t count, Output& out) {
  if (!line.arguments().empty()) {
    return out.fail(Error(ErrorCode::invalid_argument, "either NAME or --schedule, not both"));
  }
  jobs::CronEntry entry;
  entry.schedule = *line.value("schedule");
  entry.zone = line.value("zone").value_or("UTC");
  const auto schedule = jobs::CronSchedule::parse(entry.schedule, entry.zone);
  if (!schedule) return out.fail(schedule.error());
  std::vector<Slot> slots;
  for (const WallTime at : next_slots(entry, system_clock().wall_now(), count)) slots.push_back({at, {}, {}});
  print_slots(out, slots);
  return ExitCode::done;
}

ExitCode run_cron_next(const ParsedLine& line, Output& out) {
  const auto count = count_option(line, "count", 5, 1000);
  if (!count) return out.fail(count.error());
  if (line.has("schedule")) return try_line(line, *count, out);
  if (line.has("zone")) return out.fail(Error(ErrorCode::invalid_argument, "--zone needs --schedule"));
  const auto session = Session::open(line, worker::MissingStore::refuse);
  if (!session) return out.fail(session.error());
  for (const std::string& name : line.arguments()) {
    if (const auto known = cron_named(**session, name); !known) return out.fail(known.error());
  }
  const auto table = (*session)->wait((*session)->store().list_cron());
  if (!table) return out.fail(table.error());
  std::vector<Slot> slots;
  for (const jobs::CronEntry& entry : table->entries) {
    const auto& names = line.arguments();
    if (!names.empty() && std::ranges::find(names, entry.name) == names.end()) continue;
    for (const WallTime at : next_slots(entry, (*session)->now(), *count)) {
      slots.push_back({at, entry.name, entry.class_name});
    }
  }
  std::ranges::sort(slots, {}, [](const Slot& slot) { return std::pair(slot.at, std::string_view(slot.name)); });
  if (slots.size() > *count) slots.resize(*count);
  if (slots.empty()) out.say("nothing is due: no entries, or all are paused");
  print_slots(out, slots);
  return ExitCode::done;
}

}  // namespace

const Command cron_next_command{
    {.name = "cron next",
     .arguments = "[NAME…]",
     .summary = "Shows what is due next, of all entries or of some.",
     .arguments_max = 100,
     .options = cron_next_options,
     .notes = "Times are UTC. Paused entries are left out.",
     .examples = "  dagverk cron next -n 20\n"
                 "  dagverk cron next --schedule \"30 2 * * MON-FRI\" --zone Europe/Berlin"},
    run_cron_next,
    "2 the line is no schedule, or never due; 3 no such entry",
    "per time `at`; `name`, `class`",
};

}  // namespace dagverk::app
