#include "command.hpp"
#include "selection.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_codec.hpp"

#include <algorithm>
#include <iterator>

namespace dagverk::app {
namespace {

using jobs::StoreFinding;

/// What no worker can read. They are buried when they are taken, so that is no damage to the store.
Result<std::size_t> look_at_payloads(Session& session, const ParsedLine& line, std::vector<StoreFinding>& findings) {
  std::size_t looked = 0;
  std::size_t malformed = 0;
  std::string first;
  const auto visited = visit_jobs(session, line, {std::begin(every_state), std::end(every_state)}, all_jobs,
                                  [&](const jobs::StoredJob& job) {
                                    ++looked;
                                    if (jobs::decode_job(job.payload, job.queue)) return true;
                                    if (++malformed == 1) first = job.jid;
                                    return true;
                                  });
  if (!visited) return visited.error();
  if (malformed > 0) {
    findings.push_back(
        {StoreFinding::Level::note,
         concat(malformed, malformed == 1 ? " job" : " jobs",
                " cannot be read by any worker, and go to the dead set when taken; the first is ", first)});
  }
  return looked;
}

ExitCode run_store_check(const ParsedLine& line, Output& out) {
  const auto session = Session::open(line, worker::MissingStore::refuse);
  if (!session) return out.fail(session.error());
  auto findings = (*session)->wait((*session)->store().check());
  if (!findings) return out.fail(findings.error());
  const auto looked = look_at_payloads(**session, line, *findings);
  if (!looked) return out.fail(looked.error());

  std::size_t damage = 0;
  for (const StoreFinding& finding : *findings) {
    if (finding.level == StoreFinding::Level::damage) ++damage;
    if (out.json()) {
      out.print(JsonObject().text("level", to_string(finding.level)).text("text", finding.text).str() + "\n");
    } else {
      out.row({std::string(to_string(finding.level)), finding.text});
    }
  }
  if (!out.json()) out.end_table();
  out.say(concat(
      "looked at ", *looked, *looked == 1 ? " job" : " jobs", "; ",
      findings->empty() ? "nothing is wrong" : concat(findings->size(), " findings, ", damage, " of them damage")));
  return damage > 0 ? ExitCode::failed : ExitCode::done;
}

}  // namespace

const Command store_check_command{
    {.name = "store check",
     .summary = "Looks through the whole store for what cannot be right.",
     .notes = "Changes nothing. Exit code 1 when something is damaged; warnings and notes are\n"
              "printed only. Reads every job: slow on a large store.",
     .examples = "  dagverk store check\n  dagverk store check --store redis://127.0.0.1/0 --json"},
    run_store_check,
    "1 something is damaged",
    "per finding `level` (`damage`, `warning`, `note`) and `text`",
};

}  // namespace dagverk::app
