#include "command.hpp"
#include "output.hpp"
#include "selection.hpp"
#include "session.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/unique_lock.hpp"
#include "dagverk/worker/terminal.hpp"
#include "dagverk/worker/time_text.hpp"

#include <algorithm>
#include <string>
#include <vector>

namespace dagverk::app {
namespace {

constexpr OptionSyntax locks_options[] = {
    {'n', "count", "N", "at most N keys (100)"},
};

constexpr std::size_t page_rows = 500;
const std::vector<std::string> headings = {"KEY", "JOB", "UNTIL", "EXPIRES"};

JsonObject lock_json(const jobs::HeldLock& lock) {
  JsonObject object;
  object.text("key", lock.key)
      .text("jid", lock.jid)
      .text("until", to_string(lock.until))
      .time("taken_at", lock.taken_at)
      .time("expires_at", lock.expires_at);
  return object;
}

ExitCode run_job_locks(const ParsedLine& line, Output& out) {
  const auto count = count_option(line, "count", 100, 1'000'000);
  if (!count) return out.fail(count.error());
  const auto session = Session::open(line, worker::MissingStore::refuse);
  if (!session) return out.fail(session.error());
  std::size_t left = *count;
  std::string cursor;
  bool headed = false;
  do {
    const auto page = (*session)->wait((*session)->store().list_locks(cursor, std::min(left, page_rows)));
    if (!page) return out.fail(page.error());
    for (const jobs::HeldLock& lock : page->locks) {
      if (!out.json()) {
        out.row({lock.key, lock.jid, std::string(to_string(lock.until)), worker::utc_text(lock.expires_at)});
      } else if (!out.print(lock_json(lock).str() + "\n")) {
        return ExitCode::done;
      }
    }
    left -= std::min(left, page->locks.size());
    cursor = page->next;
    if (out.json() || page->locks.empty()) continue;
    if (!headed) out.heading(headings);
    headed = true;
    if (!out.end_table()) return ExitCode::done;
  } while (!cursor.empty() && left > 0);
  if (left == *count) out.say("no unique key is held");
  if (!cursor.empty()) out.say(concat("there are more; -n raises the limit of ", *count));
  return ExitCode::done;
}

}  // namespace

const Command job_locks_command{
    {.name = "job locks",
     .summary = "Lists the unique keys that are held, and the jobs that hold them.",
     .options = locks_options,
     .notes = "Those first that expire first.",
     .examples = "  dagverk job locks\n  dagverk job locks -n 1000 --json"},
    run_job_locks,
    {},
    "per key `key`, `jid`, `until` (`started`, `done`, `period`), `taken_at`, `expires_at`",
};

}  // namespace dagverk::app
