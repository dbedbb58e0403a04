#include "command.hpp"
#include "cron_text.hpp"
#include "selection.hpp"
#include "session.hpp"

namespace dagverk::app {
namespace {

constexpr OptionSyntax cron_remove_options[] = {
    {'\0', "dry-run", {}, "only say how many it would be"},
    {'\0', "yes", {}, "do not ask"},
};

ExitCode run_cron_remove(const ParsedLine& line, Output& out) {
  const auto session = Session::open(line, worker::MissingStore::refuse);
  if (!session) return out.fail(session.error());
  for (const std::string& name : line.arguments()) {
    if (const auto known = cron_named(**session, name); !known) return out.fail(known.error());
  }
  if (!confirmed(line, out, "remove", line.arguments().size(), true, "recurring job")) {
    return line.has("dry-run") ? ExitCode::done : ExitCode::refused;
  }
  for (const std::string& name : line.arguments()) {
    const auto removed = (*session)->wait((*session)->store().remove_cron(name));
    if (!removed) return out.fail(removed.error());
    out.tell("name", name, *removed ? "removed" : "missing", *removed ? "removed" : "was gone already");
  }
  return ExitCode::done;
}

}  // namespace

const Command cron_remove_command{
    {.name = "cron remove",
     .arguments = "NAME…",
     .summary = "Removes entries; jobs that they have enqueued stay.",
     .arguments_min = 1,
     .arguments_max = 100,
     .options = cron_remove_options,
     .notes = "What a program or a configuration file names comes back with its next start; to\n"
              "keep it from running, use cron pause.",
     .examples = "  dagverk cron remove nightly\n  dagverk cron remove nightly hourly --yes"},
    run_cron_remove,
    "3 no such entry; 4 more than one and no --yes",
    "per entry `name` and `outcome`: `removed`, `missing`",
};

}  // namespace dagverk::app
