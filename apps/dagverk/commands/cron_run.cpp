#include "command.hpp"
#include "cron_text.hpp"
#include "session.hpp"
#include "words.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_codec.hpp"

#include <utility>

namespace dagverk::app {
namespace {

ExitCode run_cron_run(const ParsedLine& line, Output& out) {
  const auto session = Session::open(line, worker::MissingStore::refuse);
  if (!session) return out.fail(session.error());
  const auto entry = cron_named(**session, line.arguments().front());
  if (!entry) return out.fail(entry.error());
  jobs::NewJob job;
  job.job_class = entry->class_name;
  job.args_json = entry->args_json;
  job.queue = entry->queue;
  const auto encoded = jobs::encode_new_job(job, (*session)->now());
  if (!encoded) return out.fail(encoded.error());
  jobs::EnqueueRequest request;
  request.jid = encoded->jid();
  request.queue = entry->queue;
  request.class_name = entry->class_name;
  request.payload = encoded->payload();
  request.detail = JsonObject().text("cron", entry->name).text("by", who_asks()).str();
  std::vector<jobs::EnqueueRequest> batch;
  batch.push_back(std::move(request));
  const auto outcomes = (*session)->wait((*session)->store().enqueue(std::move(batch)));
  if (!outcomes) return out.fail(outcomes.error());
  if (out.json()) {
    out.print(JsonObject().text("name", entry->name).text("jid", encoded->jid()).text("queue", entry->queue).str() +
              "\n");
  } else {
    out.print(concat(encoded->jid(), "\n"));
  }
  return ExitCode::done;
}

}  // namespace

const Command cron_run_command{
    {.name = "cron run",
     .arguments = "NAME",
     .summary = "Enqueues an entry's job now and prints its jid.",
     .arguments_min = 1,
     .arguments_max = 1,
     .notes = "Its schedule goes on as if nothing had happened. Paused entries run, too.",
     .examples = "  dagverk cron run nightly\n  dagverk cron run nightly --json"},
    run_cron_run,
    "3 no such entry",
    "`name`, `jid`, `queue`",
};

}  // namespace dagverk::app
