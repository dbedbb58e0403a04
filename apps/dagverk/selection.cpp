#include "selection.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/worker/time_text.hpp"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <system_error>
#include <unistd.h>

namespace dagverk::app {
namespace {

using jobs::ItemOutcome;
using jobs::JobState;

constexpr OptionSyntax options[] = {
    {'\0', "to", "QUEUE", "the queue to move them into"},
    {'\0', "all", {}, "all jobs of the state, instead of named ones"},
    {'\0', "state", "STATE", "with --all: ready, scheduled, retrying, dead; several with commas"},
    {'q', "queue", "NAME", "with --all: of this queue"},
    {'\0', "class", "NAME", "with --all: of this class"},
    {'\0', "limit", "N", "with --all: at most N (1000)"},
    {'\0', "dry-run", {}, "only say how many it would be"},
    {'\0', "yes", {}, "do not ask"},
};

Error wrong_flag(std::string_view flag, std::string_view value, std::string_view allowed) {
  return {ErrorCode::invalid_argument, concat("--", flag, ": got \"", worker::printable(value, 60), "\"; ", allowed)};
}

}  // namespace

const std::span<const OptionSyntax> move_options = options;
const std::span<const OptionSyntax> bulk_options = move_options.subspan(1);

Result<std::size_t> count_option(const ParsedLine& line, std::string_view option, std::size_t otherwise,
                                 std::size_t max) {
  const auto text = line.value(option);
  if (!text) return otherwise;
  std::size_t count = 0;
  const auto [end, fault] = std::from_chars(text->data(), text->data() + text->size(), count);
  if (fault != std::errc() || end != text->data() + text->size() || count < 1 || count > max) {
    return wrong_flag(option, *text, concat("allowed: a whole number from 1 to ", max));
  }
  return count;
}

Result<std::vector<JobState>> state_option(const ParsedLine& line, std::vector<JobState> otherwise) {
  auto text = line.value("state");
  if (!text) return otherwise;
  std::vector<std::string_view> names;
  for (const JobState state : every_state) names.push_back(to_string(state));
  std::vector<JobState> states;
  while (true) {
    const std::string_view name = text->substr(0, text->find(','));
    const auto found = std::ranges::find(names, name);
    if (found == names.end()) {
      const auto near = worker::nearest_word(name, names);
      return wrong_flag(
          "state", name,
          near ? concat("did you mean ", *near, "?") : "allowed: ready, scheduled, retrying, running, dead");
    }
    states.push_back(every_state[found - names.begin()]);
    if (name.size() == text->size()) return states;
    text->remove_prefix(name.size() + 1);
  }
}

Result<bool> visit_jobs(Session& session, const ParsedLine& line, const std::vector<JobState>& states,
                        std::size_t limit, const std::function<bool(const jobs::StoredJob&)>& visit) {
  std::size_t left = limit;
  for (const JobState state : states) {
    jobs::ListQuery query;
    query.state = state;
    query.queue = line.value("queue").value_or("");
    query.class_name = line.value("class").value_or("");
    do {
      query.limit = std::min<std::size_t>(left + 1, jobs::batch_count_limit);
      auto page = session.wait(session.store().list(query));
      if (!page) return page.error();
      for (const jobs::StoredJob& job : page->jobs) {
        if (left == 0) return true;
        if (!visit(job)) return false;
        --left;
      }
      query.cursor = page->next;
    } while (!query.cursor.empty());
  }
  return false;
}

Result<Selection> select_jobs(Session& session, const ParsedLine& line, const std::vector<JobState>& states) {
  Selection selection;
  selection.by_name = !line.has("all");
  if (selection.by_name == line.arguments().empty()) {
    return Error(ErrorCode::invalid_argument,
                 selection.by_name ? "name jobs by their jids, or say --all" : "either jids or --all, not both");
  }
  if (selection.by_name) {
    for (const std::string& jid : line.arguments()) {
      auto found = session.wait(session.store().find(jid));
      if (!found) return found.error();
      if (*found) {
        selection.jobs.push_back(std::move(**found));
      } else {
        selection.missing.push_back(jid);
      }
    }
    return selection;
  }
  const auto asked = state_option(line, states);
  if (!asked) return asked.error();
  const auto limit = count_option(line, "limit", 1000, 1'000'000);
  if (!limit) return limit.error();
  const auto visited = visit_jobs(session, line, *asked, *limit, [&](const jobs::StoredJob& job) {
    selection.jobs.push_back(job);
    return true;
  });
  if (!visited) return visited.error();
  return selection;
}

bool confirmed(const ParsedLine& line, const Output& out, std::string_view verb, std::size_t count, bool careful,
               std::string_view noun) {
  const std::string_view plural = count == 1 ? "" : "s";
  if (count > 1 || line.has("dry-run")) {
    out.say(
        concat(line.has("dry-run") ? "would " : "", verb, line.has("dry-run") ? " " : ": ", count, " ", noun, plural));
  }
  if (line.has("dry-run")) return false;
  if (line.has("yes") || count <= 1 || !careful) return true;
  if (::isatty(STDIN_FILENO) == 0 || ::isatty(STDERR_FILENO) == 0) {
    out.complain(concat("error: to ", verb, " ", count, " ", noun, plural, " without a terminal, say --yes"));
    return false;
  }
  // Without a newline, so that the answer stands beside the question.
  static_cast<void>(
      worker::write_all(STDERR_FILENO, concat("dagverk: ", verb, " ", count, " ", noun, plural, "? [y/N] ")));
  char answer = 'n';
  return ::read(STDIN_FILENO, &answer, 1) == 1 && (answer == 'y' || answer == 'Y');
}

ExitCode report_outcomes(Output& out, std::string_view done_word, const Selection& selection,
                         const std::vector<ItemOutcome>& outcomes) {
  std::size_t done = 0;
  std::size_t missing = selection.missing.size();
  std::size_t refused = 0;
  const auto tell = [&](const std::string& jid, std::string_view outcome) {
    if (out.json()) out.print(JsonObject().text("jid", jid).text("outcome", outcome).str() + "\n");
  };
  for (std::size_t index = 0; index < outcomes.size(); ++index) {
    const std::string& jid = selection.jobs[index].jid;
    if (outcomes[index] == ItemOutcome::done) {
      ++done;
      tell(jid, done_word);
      continue;
    }
    ++(outcomes[index] == ItemOutcome::missing ? missing : refused);
    tell(jid, to_string(outcomes[index]));
    // Ready jobs have nothing to wait for; to a store they are not among those that can be retried.
    const bool ready = done_word == "retried" && outcomes[index] == ItemOutcome::missing &&
                       selection.jobs[index].state == JobState::ready;
    out.complain(concat("error: job ", worker::printable(jid), ready ? ": is in its queue already" : ": is ",
                        ready ? "" : to_string(outcomes[index])));
  }
  for (const std::string& jid : selection.missing) {
    tell(jid, to_string(ItemOutcome::missing));
    out.complain(concat("error: no job ", worker::printable(jid), " in the store"));
  }
  if (!out.json() && (done > 1 || !selection.by_name)) {
    out.print(concat(done_word, out.plain() ? "\t" : " ", done, out.plain() ? "\n" : done == 1 ? " job\n" : " jobs\n"));
  } else if (!out.json() && done == 1) {
    out.print(concat(done_word, "\n"));
  }
  if (missing + refused == 0) return ExitCode::done;
  if (done > 0) return ExitCode::some_failed;
  return refused > 0 ? ExitCode::refused : ExitCode::not_found;
}

JsonObject job_json(const jobs::StoredJob& job) {
  JsonObject object;
  object.text("jid", job.jid)
      .text("state", to_string(job.state))
      .text("class", job.class_name)
      .text("queue", job.queue)
      .raw("priority", concat(job.priority))
      .time("enqueued_at", job.enqueued_at)
      .time("started_at", job.started_at)
      .time(job.state == JobState::dead ? "died_at" : "due_at", job.due);
  if (job.rescues > 0) object.number("rescues", job.rescues);
  if (!job.reason.empty()) object.text("reason", job.reason);
  return object;
}

}  // namespace dagverk::app
