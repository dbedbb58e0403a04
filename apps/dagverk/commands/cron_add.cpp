#include "command.hpp"
#include "cron_text.hpp"
#include "session.hpp"
#include "words.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/worker/time_text.hpp"

#include <span>

namespace dagverk::app {
namespace {

constexpr OptionSyntax cron_add_options[] = {
    {'\0', "zone", "ZONE", "the schedule's time zone, as in Europe/Berlin; else UTC"},
    {'q', "queue", "NAME", "the queue; else the class's own, else default"},
    {'\0', "missed", "RULE", "what becomes of times that no node saw: skip, once, all; else once"},
    {'\0', "replace", "", "change the entry of that name, if there is one"},
};

Result<jobs::CronEntry> entry_of(const ParsedLine& line, const worker::Configuration& configuration, WallTime now) {
  const std::vector<std::string>& words = line.arguments();
  jobs::CronEntry entry;
  entry.name = words[0];
  entry.schedule = words[1];
  entry.class_name = words[2];
  entry.zone = line.value("zone").value_or("UTC");
  const worker::JobSettings* known = configuration.find_job(entry.class_name);
  entry.queue = line.value("queue").value_or(known == nullptr ? "default" : known->options.queue);
  entry.args_json = arguments_json(std::span(words).subspan(3));
  entry.origin = who_asks();
  entry.last_slot = now;
  if (const auto rule = line.value("missed")) {
    const auto read = jobs::missed_runs_from_text(*rule);
    if (!read) {
      return Error(ErrorCode::invalid_argument,
                   concat("--missed: got \"", worker::printable(*rule, 60), "\"; allowed: skip, once, all"));
    }
    entry.missed = *read;
  }
  if (auto good = jobs::check_cron(entry); !good) return good.error();
  return entry;
}

ExitCode run_cron_add(const ParsedLine& line, Output& out) {
  const auto session = Session::open(line, worker::MissingStore::create);
  if (!session) return out.fail(session.error());
  const WallTime now = (*session)->now();
  const auto entry = entry_of(line, (*session)->configuration(), now);
  if (!entry) return out.fail(entry.error());
  const auto known = cron_named(**session, entry->name);
  if (!known && known.error().code() != ErrorCode::not_found) return out.fail(known.error());
  if (known && !line.has("replace")) {
    return out.fail(Error(ErrorCode::already_exists, concat("there is a cron entry \"", worker::printable(entry->name),
                                                            "\"; --replace changes it")));
  }
  jobs::CronEntry put = *entry;
  const auto changed = (*session)->wait((*session)->store().put_cron(std::move(put)));
  if (!changed) return out.fail(changed.error());
  const std::string_view outcome = !*changed ? "unchanged" : known ? "changed" : "added";
  const std::vector<WallTime> next = next_slots(*entry, now, 1);
  const std::string due = next.empty() ? "never due again" : concat("due next at ", worker::utc_text(next.front()));
  out.tell("name", entry->name, outcome, concat(outcome, ", ", due));
  return ExitCode::done;
}

}  // namespace

const Command cron_add_command{
    {.name = "cron add",
     .arguments = "NAME SCHEDULE CLASS [ARG…]",
     .summary = "Has jobs of a class enqueued again and again.",
     .arguments_min = 3,
     .arguments_max = 1000,
     .options = cron_add_options,
     .notes = "SCHEDULE: minute hour day month weekday, with seconds first if there are six; or\n"
              "@hourly, @daily, @weekly, @monthly, @yearly. An ARG is JSON if it parses, else a\n"
              "text. Any worker of the store sees to it, from within seconds on.",
     .examples = "  dagverk cron add nightly \"30 2 * * *\" Report all --zone Europe/Berlin\n"
                 "  dagverk cron add tick \"*/15 * * * * *\" Tick --missed skip"},
    run_cron_add,
    "2 the line is no schedule, or never due; 4 there is an entry of that name, and no --replace",
    "`name` and `outcome`: `added`, `changed`, `unchanged`",
};

}  // namespace dagverk::app
