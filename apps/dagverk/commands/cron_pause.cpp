#include "command.hpp"
#include "cron_text.hpp"
#include "session.hpp"
#include "words.hpp"

namespace dagverk::app {
namespace {

constexpr OptionSyntax cron_pause_options[] = {
    {'\0', "reason", "TEXT", "why, for whoever looks"},
    {'\0', "by", "WHO", "by whom, instead of USER@HOST"},
};

/// Nothing is changed when one of the names is mistyped.
Result<void> all_known(Session& session, const ParsedLine& line) {
  for (const std::string& name : line.arguments()) {
    if (const auto known = cron_named(session, name); !known) return known.error();
  }
  return {};
}

ExitCode run_cron_pause(const ParsedLine& line, Output& out) {
  const auto session = Session::open(line, worker::MissingStore::refuse);
  if (!session) return out.fail(session.error());
  if (const auto known = all_known(**session, line); !known) return out.fail(known.error());
  const std::string by(line.value("by").value_or(who_asks()));
  const std::string reason(line.value("reason").value_or(""));
  for (const std::string& name : line.arguments()) {
    const auto paused = (*session)->wait((*session)->store().pause_cron(name, by, reason));
    if (!paused) return out.fail(paused.error());
    out.tell("name", name, *paused ? "paused" : "unchanged", *paused ? "paused" : "was paused already");
  }
  return ExitCode::done;
}

ExitCode run_cron_resume(const ParsedLine& line, Output& out) {
  const auto session = Session::open(line, worker::MissingStore::refuse);
  if (!session) return out.fail(session.error());
  if (const auto known = all_known(**session, line); !known) return out.fail(known.error());
  for (const std::string& name : line.arguments()) {
    const auto resumed = (*session)->wait((*session)->store().resume_cron(name));
    if (!resumed) return out.fail(resumed.error());
    out.tell("name", name, *resumed ? "resumed" : "unchanged", *resumed ? "resumed" : "was not paused");
  }
  return ExitCode::done;
}

}  // namespace

const Command cron_pause_command{
    {.name = "cron pause",
     .arguments = "NAME…",
     .summary = "Keeps these entries from enqueueing jobs.",
     .arguments_min = 1,
     .arguments_max = 100,
     .options = cron_pause_options,
     .notes = "The pause lasts until cron resume, also over restarts. Times that pass meanwhile\n"
              "are not made up for.",
     .examples = "  dagverk cron pause nightly --reason \"stock-taking\"\n  dagverk cron pause nightly hourly"},
    run_cron_pause,
    "3 no such entry",
    "per entry `name` and `outcome`: `paused`, `unchanged`",
};

const Command cron_resume_command{
    {.name = "cron resume",
     .arguments = "NAME…",
     .summary = "Ends the pause of these entries, whoever began it.",
     .arguments_min = 1,
     .arguments_max = 100,
     .examples = "  dagverk cron resume nightly\n  dagverk cron resume nightly hourly --json"},
    run_cron_resume,
    "3 no such entry",
    "per entry `name` and `outcome`: `resumed`, `unchanged`",
};

}  // namespace dagverk::app
