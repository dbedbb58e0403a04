#include "command.hpp"
#include "selection.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_codec.hpp"
#include "dagverk/jobs/job_record.hpp"
#include "dagverk/worker/time_text.hpp"

namespace dagverk::app {
namespace {

constexpr std::size_t history_limit = 1000;

/// What the journal still has of the job, oldest first.
Result<std::vector<jobs::JournalRow>> read_history(Session& session, const std::string& jid) {
  std::vector<jobs::JournalRow> rows;
  jobs::JournalQuery query;
  query.jid = jid;
  query.limit = jobs::batch_count_limit;
  while (rows.size() < history_limit) {
    auto page = session.wait(session.store().read_journal(query));
    if (!page) return page.error();
    for (jobs::JournalRow& row : page->rows) rows.push_back(std::move(row));
    if (page->at_end) break;
    query.after = page->next;
  }
  return rows;
}

/// What its latest run has said; nothing when it said nothing.
Result<std::optional<jobs::JobRecord>> read_record(Session& session, const std::string& jid) {
  const auto kept = session.wait(session.store().read_record(jid));
  if (!kept) return kept.error();
  if (!*kept) return std::optional<jobs::JobRecord>();
  auto record = jobs::job_record_from_json(**kept);
  if (!record) return std::optional<jobs::JobRecord>();  // a newer program's
  return std::optional(std::move(*record));
}

std::string show_json(const std::optional<jobs::StoredJob>& job, const std::vector<jobs::JournalRow>& history,
                      const std::optional<jobs::JobRecord>& record, const std::string& jid) {
  JsonObject object;
  if (job) {
    object = job_json(*job);
    // A payload that is no job is shown as text: its bytes may not be JSON at all.
    if (jobs::decode_job(job->payload, job->queue)) {
      object.raw("payload", job->payload);
    } else {
      object.text("payload_text", job->payload);
    }
  } else {
    object.text("jid", jid).text("state", to_string(history.back().kind));
    object.text("class", history.back().class_name).text("queue", history.back().queue);
  }
  if (record && record->progress) object.raw("progress", concat(*record->progress));
  if (record && !record->status.empty()) object.text("status", record->status);
  std::vector<std::string> rows;
  for (const jobs::JournalRow& row : history) {
    JsonObject entry;
    entry.time("at", row.at).text("what", to_string(row.kind));
    if (!row.detail.empty()) entry.raw("detail", row.detail);
    rows.push_back(entry.str());
  }
  return object.raw("history", json_list(rows)).str() + "\n";
}

void show_fields(Output& out, const jobs::StoredJob& job) {
  out.row({"jid", job.jid});
  out.row({"state", std::string(to_string(job.state))});
  out.row({"class", job.class_name});
  out.row({"queue", job.queue});
  out.row({"enqueued", worker::utc_text(job.enqueued_at)});
  if (job.started_at) out.row({"started", worker::utc_text(*job.started_at)});
  if (job.due) out.row({job.state == jobs::JobState::dead ? "died" : "due", worker::utc_text(*job.due)});
  if (job.rescues > 0) out.row({"rescues", concat(job.rescues)});
  if (!job.reason.empty()) out.row({"reason", job.reason});
  const auto decoded = jobs::decode_job(job.payload, job.queue);
  if (!decoded) {
    out.row({"malformed", std::string(decoded.error().message())});
    out.row({"payload", job.payload});
    return;
  }
  out.row({"attempt", concat(decoded->attempt())});
  out.row({"args", std::string(decoded->args_json())});
  if (const auto name = decoded->error_class()) {
    out.row({"error", concat(*name, ": ", decoded->error_message().value_or(""))});
  }
}

ExitCode run_job_show(const ParsedLine& line, Output& out) {
  const auto session = Session::open(line, worker::MissingStore::refuse);
  if (!session) return out.fail(session.error());
  const std::string& jid = line.arguments().front();
  const auto job = (*session)->wait((*session)->store().find(jid));
  if (!job) return out.fail(job.error());
  const auto history = read_history(**session, jid);
  if (!history) return out.fail(history.error());
  const auto record = read_record(**session, jid);
  if (!record) return out.fail(record.error());
  if (!*job && history->empty()) {
    return out.fail(Error(ErrorCode::not_found, concat("no job ", worker::printable(jid, 80),
                                                       " in the store, and nothing about it in the journal")));
  }
  if (out.json()) {
    out.print(show_json(*job, *history, *record, jid));
    return ExitCode::done;
  }
  if (*job) {
    show_fields(out, **job);
  } else {
    out.row({"jid", jid});
    out.row({"state", std::string(to_string(history->back().kind))});
    out.row({"class", history->back().class_name});
    out.row({"queue", history->back().queue});
  }
  if (*record && (*record)->progress) {
    const auto percent = static_cast<int>(*(*record)->progress * 100);
    out.row({"progress", concat(percent, " %", (*record)->status.empty() ? "" : "  ", (*record)->status)});
  }
  for (const jobs::JournalRow& row : *history) {
    out.row({"history",
             concat(worker::utc_text(row.at), " ", to_string(row.kind), row.detail.empty() ? "" : " ", row.detail)});
  }
  out.end_table();
  return ExitCode::done;
}

}  // namespace

const Command job_show_command{
    {.name = "job show",
     .arguments = "JID",
     .summary = "Shows one job: its state, arguments, last error and history.",
     .arguments_min = 1,
     .arguments_max = 1,
     .notes = "A job that has left the store is shown as far as the journal remembers it.",
     .examples = "  dagverk job show 66aa0c2f41f3b5d8e9a7c1d2\n  dagverk job show 66aa0c2f41f3b5d8e9a7c1d2 --json"},
    run_job_show,
    "3 no such job, in the store or the journal",
    "as `job list`, with `payload` (the job object; `payload_text` when it is no job), `progress` and `status` of its "
    "latest run where it gave them, and `history`: `at`, `what`, `detail`",
};

}  // namespace dagverk::app
