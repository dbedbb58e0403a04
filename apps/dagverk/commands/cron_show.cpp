#include "command.hpp"
#include "cron_text.hpp"
#include "session.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/cron_schedule.hpp"
#include "dagverk/worker/time_text.hpp"

#include <utility>

namespace dagverk::app {
namespace {

constexpr std::size_t shown_slots = 5;

ExitCode run_cron_show(const ParsedLine& line, Output& out) {
  const auto session = Session::open(line, worker::MissingStore::refuse);
  if (!session) return out.fail(session.error());
  const auto entry = cron_named(**session, line.arguments().front());
  if (!entry) return out.fail(entry.error());
  const WallTime now = (*session)->now();
  const std::vector<WallTime> next = next_slots(*entry, now, shown_slots);
  if (out.json()) {
    std::vector<std::string> times;
    times.reserve(next.size());
    for (const WallTime slot : next) times.push_back(json_text(worker::utc_text(slot)));
    out.print(cron_json(*entry, now).raw("next", json_list(times)).str() + "\n");
    return ExitCode::done;
  }
  const std::pair<std::string, std::string> rows[] = {
      {"name", entry->name},
      {"schedule", entry->schedule},
      {"zone", entry->zone},
      {"class", entry->class_name},
      {"queue", entry->queue},
      {"args", entry->args_json},
      {"missed", std::string(to_string(entry->missed))},
      {"origin", entry->origin},
      {"paused", pause_text(*entry)},
      {"done until", worker::utc_text(entry->last_slot)},
  };
  for (const auto& [name, value] : rows) out.row({name, value});
  for (const WallTime slot : next) out.row({"next", worker::utc_text(slot)});
  const auto schedule = jobs::CronSchedule::parse(entry->schedule, entry->zone);
  if (!schedule) out.row({"error", std::string(schedule.error().message())});
  out.end_table();
  return ExitCode::done;
}

}  // namespace

const Command cron_show_command{
    {.name = "cron show",
     .arguments = "NAME",
     .summary = "Shows one job that recurs, and when it is due.",
     .arguments_min = 1,
     .arguments_max = 1,
     .notes = "done until: slots up to this instant are fired or passed over.",
     .examples = "  dagverk cron show nightly\n  dagverk cron show nightly --json"},
    run_cron_show,
    "3 no such entry",
    "as `cron list`, with `next`, a list",
};

}  // namespace dagverk::app
