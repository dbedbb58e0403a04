#include "command.hpp"
#include "queue_text.hpp"
#include "selection.hpp"
#include "session.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_codec.hpp"
#include "dagverk/worker/time_text.hpp"

#include <algorithm>

namespace dagverk::app {
namespace {

constexpr OptionSyntax queue_peek_options[] = {
    {'n', "count", "N", "at most N jobs (10)"},
};
constexpr std::size_t arguments_shown = 60;  // bytes, in the form for people

/// With its payload: as JSON where it is a job, else as text, since its bytes may not be JSON at all.
std::string peek_json(const jobs::StoredJob& job) {
  JsonObject object = job_json(job);
  if (jobs::decode_job(job.payload, job.queue)) {
    object.raw("payload", job.payload);
  } else {
    object.text("payload_text", job.payload);
  }
  return object.str() + "\n";
}

void peek_row(Output& out, const jobs::StoredJob& job) {
  const auto decoded = jobs::decode_job(job.payload, job.queue);
  const std::string_view said = decoded ? decoded->args_json() : std::string_view(job.payload);
  out.row({job.jid, decoded ? job.class_name : "(no job)", worker::utc_text(job.enqueued_at),
           out.plain() ? std::string(said) : worker::printable(said, arguments_shown)});
}

ExitCode run_queue_peek(const ParsedLine& line, Output& out) {
  const auto count = count_option(line, "count", 10, 100'000);
  if (!count) return out.fail(count.error());
  const auto session = Session::open(line, worker::MissingStore::refuse);
  if (!session) return out.fail(session.error());
  const auto queue = queue_named(**session, line.arguments().front());
  if (!queue) return out.fail(queue.error());

  jobs::ListQuery query;
  query.state = jobs::JobState::ready;
  query.queue = queue->name;
  std::size_t shown = 0;
  do {
    query.limit = std::min(*count - shown, jobs::batch_count_limit);
    const auto page = (*session)->wait((*session)->store().list(query));
    if (!page) return out.fail(page.error());
    for (const jobs::StoredJob& job : page->jobs) {
      ++shown;
      if (!out.json()) {
        peek_row(out, job);
      } else if (!out.print(peek_json(job))) {
        return ExitCode::done;
      }
    }
    query.cursor = page->next;
  } while (!query.cursor.empty() && shown < *count);
  if (shown == 0) out.say("no jobs");
  if (!out.json() && shown > 0) {
    out.heading({"JID", "CLASS", "ENQUEUED", "ARGUMENTS"});
    out.end_table();
  }
  return ExitCode::done;
}

}  // namespace

const Command queue_peek_command{
    {.name = "queue peek",
     .arguments = "NAME",
     .summary = "Shows the jobs that are taken next from a queue, and leaves them.",
     .arguments_min = 1,
     .arguments_max = 1,
     .options = queue_peek_options,
     .examples = "  dagverk queue peek mail\n  dagverk queue peek mail -n 1 --json"},
    run_queue_peek,
    "3 no such queue",
    "as `job list`, with `payload` or `payload_text`",
};

}  // namespace dagverk::app
