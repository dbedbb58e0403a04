#include "command.hpp"
#include "output.hpp"
#include "selection.hpp"
#include "session.hpp"

#include <string>

namespace dagverk::app {
namespace {

constexpr OptionSyntax bulk[] = {
    {'\0', "dry-run", {}, "only say how many it would be"},
    {'\0', "yes", {}, "do not ask"},
};

ExitCode run_job_unlock(const ParsedLine& line, Output& out) {
  const auto session = Session::open(line, worker::MissingStore::refuse);
  if (!session) return out.fail(session.error());
  if (!confirmed(line, out, "release", line.arguments().size(), true, "key")) {
    return line.has("dry-run") ? ExitCode::done : ExitCode::refused;
  }
  std::size_t missing = 0;
  for (const std::string& key : line.arguments()) {
    const auto released = (*session)->wait((*session)->store().release_lock(key));
    if (!released) return out.fail(released.error());
    if (!*released) ++missing;
    out.tell("key", key, *released ? "released" : "missing", *released ? "released" : "nobody holds it");
  }
  if (missing == 0) return ExitCode::done;
  return missing == line.arguments().size() ? ExitCode::not_found : ExitCode::some_failed;
}

}  // namespace

const Command job_unlock_command{
    {.name = "job unlock",
     .arguments = "KEY…",
     .summary = "Takes unique keys from the jobs that hold them; the jobs stay as they are.",
     .arguments_min = 1,
     .arguments_max = 100,
     .options = bulk,
     .notes = "Another job may then be enqueued with the key, and run beside the first.",
     .examples = "  dagverk job unlock nightly-report\n  dagverk job unlock 'Sync:[\"acme\"]' --json"},
    run_job_unlock,
    "3 nobody holds any of them; 4 more than one and no --yes; 5 nobody holds some of them",
    "per key `key` and `outcome`: `released`, `missing`",
};

}  // namespace dagverk::app
