#include "command.hpp"
#include "limit_text.hpp"
#include "session.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/worker/time_text.hpp"

namespace dagverk::app {
namespace {

std::string tokens_text(const jobs::LimitUse& use) {
  if (!use.tokens) return "-";
  if (!use.next_token_at) return concat(*use.tokens);
  return concat(*use.tokens, ", next at ", worker::utc_text(*use.next_token_at));
}

ExitCode run_limit_list(const ParsedLine& line, Output& out) {
  const auto session = Session::open(line, worker::MissingStore::refuse);
  if (!session) return out.fail(session.error());
  const auto list = (*session)->wait((*session)->store().list_limits());
  if (!list) return out.fail(list.error());
  for (const jobs::LimitInfo& info : *list) {
    if (out.json()) {
      if (!out.print(limit_json(info).str() + "\n")) return ExitCode::done;
      continue;
    }
    jobs::LimitUse all;
    for (const jobs::LimitUse& use : info.uses) {
      all.running += use.running;
      all.waiting += use.waiting;
      all.refused += use.refused;
      all.dropped += use.dropped;
      all.diverted += use.diverted;
    }
    const auto counted = [&](std::uint64_t count) { return info.limit.bound ? concat(count) : std::string("-"); };
    out.row({limit_word(info.limit), info.limit.concurrency ? concat(*info.limit.concurrency) : "-",
             rate_text(info.limit), concat(all.running), concat(all.waiting), bound_text(info.limit),
             counted(all.refused), counted(all.dropped), counted(all.diverted)});
  }
  if (list->empty()) out.say("nothing is limited; dagverk limit set");
  if (!out.json() && !list->empty()) {
    out.heading({"LIMIT", "AT ONCE", "RATE", "RUNNING", "WAITING", "BOUND", "REFUSED", "DROPPED", "DIVERTED"});
    out.end_table();
  }
  return ExitCode::done;
}

ExitCode run_limit_show(const ParsedLine& line, Output& out) {
  const auto session = Session::open(line, worker::MissingStore::refuse);
  if (!session) return out.fail(session.error());
  const auto info = limit_named(**session, line.arguments()[0]);
  if (!info) return out.fail(info.error());
  if (out.json()) {
    out.print(limit_json(*info).str() + "\n");
    return ExitCode::done;
  }
  out.say(concat(limit_word(info->limit), ": ",
                 info->limit.concurrency ? concat(*info->limit.concurrency, " at once") : std::string("-"), ", rate ",
                 rate_text(info->limit), ", bound ", bound_text(info->limit)));
  for (const jobs::LimitUse& use : info->uses) {
    out.row({use.key, concat(use.running), concat(use.waiting), tokens_text(use)});
  }
  if (info->uses.empty()) out.say("nothing of it is in use");
  if (!info->uses.empty()) {
    out.heading({"KEY", "RUNNING", "WAITING", "TOKENS"});
    out.end_table();
  }
  return ExitCode::done;
}

}  // namespace

const Command limit_list_command{
    {.name = "limit list",
     .summary = "Lists the limits, with how much of each is in use.",
     .examples = "  dagverk limit list\n  dagverk limit list --json"},
    run_limit_list,
    "",
    "per limit `limit`, `scope` (`queue`, `key`), `concurrency`, `rate`, `per`, `kind` (`bucket`, `window`), "
    "`max_waiting`, `when_full` (`refuse`, `drop-oldest`, `divert`), `divert_to`, `uses` (`key`, `running`, `waiting`, "
    "with a rate `tokens`, `next_token_at`, with a bound `refused`, `dropped`, `diverted`)",
};

const Command limit_show_command{
    {.name = "limit show",
     .arguments = "NAME",
     .summary = "Shows one limit, key by key: what runs, what waits, what is left.",
     .arguments_min = 1,
     .arguments_max = 1,
     .notes = "A queue's limit is called queue:NAME. At most 100 keys are shown.",
     .examples = "  dagverk limit show api\n  dagverk limit show queue:mail"},
    run_limit_show,
    "3 no such limit",
    "as `limit list`",
};

}  // namespace dagverk::app
