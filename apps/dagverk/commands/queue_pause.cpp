#include "command.hpp"
#include "queue_text.hpp"
#include "session.hpp"
#include "words.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_names.hpp"

namespace dagverk::app {
namespace {

constexpr OptionSyntax queue_pause_options[] = {
    {'\0', "reason", "TEXT", "why, for whoever looks"},
    {'\0', "by", "WHO", "by whom, instead of USER@HOST"},
};

/// One line per queue: what became of the wish.
void tell(Output& out, const std::string& queue, bool changed, std::string_view done, std::string_view unchanged) {
  const std::string_view outcome = changed ? done : "unchanged";
  if (out.json()) {
    out.print(JsonObject().text("queue", queue).text("outcome", outcome).str() + "\n");
  } else if (out.plain()) {
    out.print(concat(worker::printable(queue), "\t", outcome, "\n"));
  } else {
    out.print(concat(worker::printable(queue), ": ", changed ? done : unchanged, "\n"));
  }
}

ExitCode run_queue_pause(const ParsedLine& line, Output& out) {
  for (const std::string& name : line.arguments()) {
    if (const auto ok = jobs::check_queue_name(name); !ok) return out.fail(ok.error());
  }
  const auto session = Session::open(line, worker::MissingStore::refuse);
  if (!session) return out.fail(session.error());
  const std::string by(line.value("by").value_or(who_asks()));
  const std::string reason(line.value("reason").value_or(""));
  for (const std::string& name : line.arguments()) {
    const auto paused = (*session)->wait((*session)->store().pause_queue(name, by, reason));
    if (!paused) return out.fail(paused.error());
    tell(out, name, *paused, "paused", "was paused already");
  }
  return ExitCode::done;
}

ExitCode run_queue_resume(const ParsedLine& line, Output& out) {
  const auto session = Session::open(line, worker::MissingStore::refuse);
  if (!session) return out.fail(session.error());
  // A mistyped name is a mistake, not a queue that was not paused.
  for (const std::string& name : line.arguments()) {
    const auto known = queue_named(**session, name);
    if (!known) return out.fail(known.error());
  }
  for (const std::string& name : line.arguments()) {
    const auto resumed = (*session)->wait((*session)->store().resume_queue(name));
    if (!resumed) return out.fail(resumed.error());
    tell(out, name, *resumed, "resumed", "was not paused");
  }
  return ExitCode::done;
}

}  // namespace

const Command queue_pause_command{
    {.name = "queue pause",
     .arguments = "NAME…",
     .summary = "Keeps all workers from taking jobs of these queues.",
     .arguments_min = 1,
     .arguments_max = 100,
     .options = queue_pause_options,
     .notes = "What is running goes on. The pause lasts until queue resume, also over restarts.",
     .examples = "  dagverk queue pause mail --reason \"provider is down\"\n  dagverk queue pause mail reports"},
    run_queue_pause,
    {},
    "per queue `queue` and `outcome`: `paused`, `unchanged`",
};

const Command queue_resume_command{
    {.name = "queue resume",
     .arguments = "NAME…",
     .summary = "Ends the pause of these queues, whoever began it.",
     .arguments_min = 1,
     .arguments_max = 100,
     .examples = "  dagverk queue resume mail\n  dagverk queue resume mail reports --json"},
    run_queue_resume,
    "3 no such queue",
    "per queue `queue` and `outcome`: `resumed`, `unchanged`",
};

}  // namespace dagverk::app
