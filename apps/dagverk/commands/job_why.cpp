#include "command.hpp"
#include "session.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/why.hpp"

#include <chrono>
#include <cmath>
#include <string>
#include <vector>

namespace dagverk::app {
namespace {

constexpr Duration watched_for = std::chrono::milliseconds(500);

std::string why_json(const jobs::WhyReport& report) {
  JsonObject object;
  object.text("jid", report.jid);
  if (report.state) object.text("state", to_string(*report.state));
  object.text("class", report.class_name)
      .text("queue", report.queue)
      .text("reason", to_string(report.reason))
      .text("text", report.text)
      .time("since_at", report.since)
      .time("until_at", report.until);
  if (!report.who.empty()) object.text("who", report.who);
  if (!report.holders.empty()) {
    std::vector<std::string> holders;
    holders.reserve(report.holders.size());
    for (const std::string& jid : report.holders) holders.push_back(json_text(jid));
    object.raw("holders", json_list(holders));
  }
  if (report.ahead) object.number("ahead", *report.ahead);
  if (report.ended_per_second) object.raw("ended_per_second", concat(std::round(*report.ended_per_second * 10) / 10));
  return object.str() + "\n";
}

ExitCode run_job_why(const ParsedLine& line, Output& out) {
  const auto session = Session::open(line, worker::MissingStore::refuse);
  if (!session) return out.fail(session.error());
  const auto report = (*session)->wait(
      jobs::explain((*session)->store(), line.arguments().front(), (*session)->now(), {.sample = watched_for}));
  if (!report) return out.fail(report.error());
  if (out.json()) {
    out.print(why_json(*report));
  } else {
    out.row(out.plain() ? std::vector{std::string(to_string(report->reason)), report->text}
                        : std::vector{report->text});
    out.end_table();
  }
  return ExitCode::done;
}

}  // namespace

const Command job_why_command{
    {.name = "job why",
     .arguments = "JID",
     .summary = "Says in one sentence why a job is not running.",
     .arguments_min = 1,
     .arguments_max = 1,
     .notes = "Or where it runs, or what became of it. When others come first, their queue is\n"
              "watched for half a second, to tell how fast they go.",
     .examples = "  dagverk job why 66aa0c2f41f3b5d8e9a7c1d2\n  dagverk job why 66aa0c2f41f3b5d8e9a7c1d2 --json"},
    run_job_why,
    "3 no such job, in the store or the journal",
    "`jid`, `state` while it is in the store, `class`, `queue`, `reason`, `text` (the sentence); where they apply "
    "`since_at`, `until_at`, `who` (the node, or who paused), `holders` (jobs that have a key's slots), `ahead` (jobs "
    "that come first), `ended_per_second`",
};

}  // namespace dagverk::app
