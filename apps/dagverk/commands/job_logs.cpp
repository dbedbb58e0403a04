#include "command.hpp"
#include "session.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_record.hpp"
#include "dagverk/worker/command_line.hpp"
#include "dagverk/worker/time_text.hpp"

#include <string>
#include <vector>

namespace dagverk::app {
namespace {

std::string logs_json(const std::string& jid, const jobs::JobRecord& record) {
  std::vector<std::string> lines;
  lines.reserve(record.lines.size());
  for (const jobs::JobLogLine& line : record.lines) {
    lines.push_back(JsonObject().time("at", line.at).text("text", line.text).str());
  }
  JsonObject object;
  object.text("jid", jid).number("attempt", record.attempt).time("updated_at", record.updated_at);
  if (record.progress) object.raw("progress", concat(*record.progress));
  if (!record.status.empty()) object.text("status", record.status);
  return object.number("dropped", record.lines_dropped).raw("lines", json_list(lines)).str() + "\n";
}

ExitCode run_job_logs(const ParsedLine& line, Output& out) {
  const auto session = Session::open(line, worker::MissingStore::refuse);
  if (!session) return out.fail(session.error());
  const std::string& jid = line.arguments().front();
  const auto kept = (*session)->wait((*session)->store().read_record(jid));
  if (!kept) return out.fail(kept.error());
  if (!*kept) {
    return out.fail(Error(ErrorCode::not_found,
                          concat("job ", worker::printable(jid, 80), " has said nothing, or it is forgotten")));
  }
  const auto record = jobs::job_record_from_json(**kept);
  if (!record) return out.fail(record.error());
  if (out.json()) {
    out.print(logs_json(jid, *record));
    return ExitCode::done;
  }
  if (record->lines_dropped > 0) out.say(concat(record->lines_dropped, " older lines were dropped"));
  for (const jobs::JobLogLine& each : record->lines) {
    out.print(concat(worker::utc_text(each.at), out.plain() ? "\t" : "  ", worker::printable(each.text), "\n"));
  }
  return ExitCode::done;
}

}  // namespace

const Command job_logs_command{
    {.name = "job logs",
     .arguments = "JID",
     .summary = "Shows the lines that a job's latest run has written.",
     .arguments_min = 1,
     .arguments_max = 1,
     .notes = "The latest 100 lines of 500 bytes, for a week. Progress: dagverk job show.",
     .examples = "  dagverk job logs 66aa0c2f41f3b5d8e9a7c1d2\n  dagverk job logs 66aa0c2f41f3b5d8e9a7c1d2 --json"},
    run_job_logs,
    "3 nothing was said by a run of such a job",
    "`jid`, `attempt`, `updated_at`, `progress` (0 to 1), `status`, `dropped`, `lines`: each `at`, `text`",
};

}  // namespace dagverk::app
