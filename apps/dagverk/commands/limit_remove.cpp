#include "command.hpp"
#include "limit_text.hpp"
#include "selection.hpp"
#include "session.hpp"

namespace dagverk::app {
namespace {

constexpr OptionSyntax bulk[] = {
    {'\0', "dry-run", {}, "only say how many it would be"},
    {'\0', "yes", {}, "do not ask"},
};

ExitCode change_limits(const ParsedLine& line, Output& out, bool remove) {
  const auto session = Session::open(line, worker::MissingStore::refuse);
  if (!session) return out.fail(session.error());
  for (const std::string& word : line.arguments()) {
    if (const auto known = limit_named(**session, word); !known) return out.fail(known.error());
  }
  if (!confirmed(line, out, remove ? "remove" : "reset", line.arguments().size(), true, "limit")) {
    return line.has("dry-run") ? ExitCode::done : ExitCode::refused;
  }
  for (const std::string& word : line.arguments()) {
    const LimitName limit = limit_name(word);
    jobs::JobStore& store = (*session)->store();
    const auto done = (*session)->wait(remove ? store.remove_limit(limit.scope, limit.name)
                                              : store.reset_limit(limit.scope, limit.name));
    if (!done) return out.fail(done.error());
    const std::string_view outcome = !*done ? "missing" : remove ? "removed" : "reset";
    out.tell("limit", word, outcome, *done ? outcome : "was gone already");
  }
  return ExitCode::done;
}

ExitCode run_limit_remove(const ParsedLine& line, Output& out) { return change_limits(line, out, true); }
ExitCode run_limit_reset(const ParsedLine& line, Output& out) { return change_limits(line, out, false); }

}  // namespace

const Command limit_remove_command{
    {.name = "limit remove",
     .arguments = "NAME…",
     .summary = "Removes limits; what waits for them goes on.",
     .arguments_min = 1,
     .arguments_max = 100,
     .options = bulk,
     .examples = "  dagverk limit remove api\n  dagverk limit remove queue:mail api --yes"},
    run_limit_remove,
    "3 no such limit; 4 more than one and no --yes",
    "per limit `limit` and `outcome`: `removed`, `missing`",
};

const Command limit_reset_command{
    {.name = "limit reset",
     .arguments = "NAME…",
     .summary = "Gives limits all their tokens back; slots stay in use while jobs run.",
     .arguments_min = 1,
     .arguments_max = 100,
     .options = bulk,
     .examples = "  dagverk limit reset api\n  dagverk limit reset queue:mail --dry-run"},
    run_limit_reset,
    "3 no such limit; 4 more than one and no --yes",
    "per limit `limit` and `outcome`: `reset`, `missing`",
};

}  // namespace dagverk::app
