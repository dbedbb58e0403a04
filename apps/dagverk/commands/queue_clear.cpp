#include "command.hpp"
#include "progress.hpp"
#include "queue_text.hpp"
#include "selection.hpp"
#include "session.hpp"

#include "dagverk/base/concat.hpp"

#include <algorithm>

namespace dagverk::app {
namespace {

constexpr OptionSyntax queue_clear_options[] = {
    {'\0', "limit", "N", "at most N jobs (1000)"},
    {'\0', "dry-run", {}, "only say how many it would be"},
    {'\0', "yes", {}, "do not ask"},
};

ExitCode run_queue_clear(const ParsedLine& line, Output& out) {
  const auto limit = count_option(line, "limit", 1000, 100'000'000);
  if (!limit) return out.fail(limit.error());
  const auto session = Session::open(line, worker::MissingStore::refuse);
  if (!session) return out.fail(session.error());
  const auto queue = queue_named(**session, line.arguments().front());
  if (!queue) return out.fail(queue.error());
  const std::size_t count = std::min<std::size_t>(*limit, queue->counts.ready);
  if (!confirmed(line, out, "delete", count, true)) {
    return line.has("dry-run") ? ExitCode::done : ExitCode::refused;
  }
  Progress progress(out, "delete", count);
  std::size_t deleted = 0;
  while (deleted < *limit) {
    const std::size_t some = std::min(*limit - deleted, jobs::batch_count_limit);
    const auto slice = (*session)->wait((*session)->store().clear_queue(queue->name, some, ""));
    if (!slice) {
      if (deleted > 0) out.complain(concat(deleted, " jobs were deleted before this:"));
      return out.fail(slice.error());
    }
    if (*slice == 0) break;
    deleted += *slice;
    progress.advance(*slice);
  }
  if (out.json()) {
    out.print(JsonObject().text("queue", queue->name).number("deleted", deleted).str() + "\n");
  } else if (out.plain()) {
    out.print(concat("deleted\t", deleted, "\n"));
  } else {
    out.print(concat("deleted ", deleted, deleted == 1 ? " job\n" : " jobs\n"));
  }
  if (queue->counts.ready > *limit) out.say(concat("there are more; --limit raises the limit of ", *limit));
  return ExitCode::done;
}

}  // namespace

const Command queue_clear_command{
    {.name = "queue clear",
     .arguments = "NAME",
     .summary = "Deletes the jobs that wait in a queue, the next ones first.",
     .arguments_min = 1,
     .arguments_max = 1,
     .options = queue_clear_options,
     .notes = "Running, scheduled, retrying and dead jobs stay. Asks before it deletes more\n"
              "than one; without a terminal that needs --yes.",
     .examples = "  dagverk queue clear mail --dry-run\n  dagverk queue clear mail --limit 100000 --yes"},
    run_queue_clear,
    "3 no such queue; 4 more than one job and no --yes",
    "`queue`, `deleted`",
};

}  // namespace dagverk::app
