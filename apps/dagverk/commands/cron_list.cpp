#include "command.hpp"
#include "cron_text.hpp"
#include "session.hpp"

#include "dagverk/worker/time_text.hpp"

namespace dagverk::app {
namespace {

ExitCode run_cron_list(const ParsedLine& line, Output& out) {
  const auto session = Session::open(line, worker::MissingStore::refuse);
  if (!session) return out.fail(session.error());
  const auto table = (*session)->wait((*session)->store().list_cron());
  if (!table) return out.fail(table.error());
  const WallTime now = (*session)->now();
  for (const jobs::CronEntry& entry : table->entries) {
    if (out.json()) {
      if (!out.print(cron_json(entry, now).str() + "\n")) return ExitCode::done;
      continue;
    }
    const std::vector<WallTime> next = next_slots(entry, now, 1);
    out.row({entry.name, entry.schedule, entry.zone, entry.class_name, entry.queue,
             next.empty() ? "-" : worker::utc_text(next.front()), pause_text(entry)});
  }
  if (table->entries.empty()) out.say("nothing recurs; dagverk cron add");
  if (!out.json() && !table->entries.empty()) {
    out.heading({"NAME", "SCHEDULE", "ZONE", "CLASS", "QUEUE", "NEXT", "PAUSED"});
    out.end_table();
  }
  return ExitCode::done;
}

}  // namespace

const Command cron_list_command{
    {.name = "cron list",
     .summary = "Lists the jobs that recur, with when each is due next.",
     .examples = "  dagverk cron list\n  dagverk cron list --json"},
    run_cron_list,
    {},
    "`name`, `schedule`, `zone`, `class`, `queue`, `args`, `missed`, `origin`, `paused`; while it is `paused_by`, "
    "`pause_reason`, `paused_at`; `next_at` unless it is never due; `done_until`; `error` when its schedule cannot be "
    "read",
};

}  // namespace dagverk::app
