#include "command.hpp"
#include "export_text.hpp"
#include "progress.hpp"
#include "selection.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_export.hpp"
#include "dagverk/worker/configuration.hpp"
#include "dagverk/worker/terminal.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <iterator>
#include <optional>
#include <string>
#include <unistd.h>
#include <utility>

namespace dagverk::app {
namespace {

using jobs::JobState;

constexpr OptionSyntax export_options[] = {
    {'\0', "state", "STATE", "only ready, scheduled, retrying, running, dead; several with commas"},
    {'q', "queue", "NAME", "only this queue"},
    {'\0', "class", "NAME", "only this class"},
    {'\0', "live", {}, "although nodes are at work: what moves meanwhile may be missed or come twice"},
};

/// A file that appears under its name when it is whole, or standard output.
class Target {
 public:
  explicit Target(std::string file) : file_(std::move(file)), unfinished_(file_ + ".unfinished") {}
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;
  ~Target() {
    if (descriptor_ < 0) return;
    ::close(descriptor_);
    ::unlink(unfinished_.c_str());
  }

  Result<void> open() {
    if (file_.empty()) return {};
    if (::access(file_.c_str(), F_OK) == 0) {
      return Error(ErrorCode::already_exists, concat(worker::printable(file_), ": exists; name another file"));
    }
    descriptor_ = ::open(unfinished_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    return descriptor_ < 0 ? Result<void>(fault("cannot be made")) : Result<void>();
  }

  /// False: nobody reads any more, or the disk is full; `close` says which.
  bool write(std::string_view text) {
    if (state_ == worker::Written::all) {
      state_ = worker::write_all(file_.empty() ? STDOUT_FILENO : descriptor_, text);
    }
    return state_ == worker::Written::all;
  }

  Result<void> close() {
    if (state_ == worker::Written::failed) return fault("cannot be written");
    if (file_.empty()) return {};
    if (::fsync(descriptor_) != 0) return fault("cannot be synced");
    if (::link(unfinished_.c_str(), file_.c_str()) != 0) return fault("cannot be made");
    return {};
  }

 private:
  [[nodiscard]] Error fault(std::string_view what) const {
    const int error = errno;
    return {
        error == ENOSPC ? ErrorCode::store_full : ErrorCode::io,
        concat(file_.empty() ? "standard output" : worker::printable(file_), ": ", what, ": ", std::strerror(error))};
  }

  std::string file_;
  std::string unfinished_;
  int descriptor_ = -1;
  worker::Written state_ = worker::Written::all;
};

/// Whether nobody can move jobs while they are read.
Result<void> check_still(Session& session, const ParsedLine& line) {
  if (line.has("live")) return {};
  const auto nodes = session.wait(session.store().list_nodes());
  if (!nodes) return nodes.error();
  if (nodes->empty()) return {};
  return Error(ErrorCode::refused,
               concat(nodes->size(), nodes->size() == 1 ? " node works" : " nodes work",
                      " on this store, and moves jobs while they are read; stop it, or say --live"));
}

bool only_some(const ParsedLine& line) { return line.has("state") || line.has("queue") || line.has("class"); }

/// How many jobs there will be; nothing when only some are asked for.
std::optional<std::size_t> expected_count(Session& session, const ParsedLine& line) {
  if (only_some(line)) return std::nullopt;
  const auto totals = session.wait(session.store().totals());
  if (!totals) return std::nullopt;
  return totals->counts.live() + totals->counts.dead;
}

/// Writes the limits and the cron entries, unless only some jobs are asked for.
Result<void> write_entries(Session& session, const ParsedLine& line, Target& target, jobs::ExportCounts& counts) {
  if (only_some(line)) return {};
  const auto limits = session.wait(session.store().list_limits());
  if (!limits) return limits.error();
  const auto cron = session.wait(session.store().list_cron());
  if (!cron) return cron.error();
  for (const jobs::LimitInfo& info : *limits) target.write(jobs::export_line(info.limit) + "\n");
  for (const jobs::CronEntry& entry : cron->entries) target.write(jobs::export_line(entry) + "\n");
  counts.limits = limits->size();
  counts.cron = cron->entries.size();
  return {};
}

/// `3 jobs, 2 ready, 1 dead; 1 limit, 2 cron entries`.
std::string described(const jobs::ExportCounts& counts, const std::array<std::size_t, 5>& states) {
  std::string text = jobs_text(counts);
  for (std::size_t state = 0; state < states.size(); ++state) {
    if (states[state] > 0) text += concat(", ", states[state], " ", to_string(static_cast<JobState>(state)));
  }
  return text + entries_text(counts, "; ");
}

ExitCode run_store_export(const ParsedLine& line, Output& out) {
  const auto states = state_option(line, {std::begin(every_state), std::end(every_state)});
  if (!states) return out.fail(states.error());
  const auto session = Session::open(line, worker::MissingStore::refuse);
  if (!session) return out.fail(session.error());
  if (auto still = check_still(**session, line); !still) return out.fail(still.error());

  const std::string file = line.arguments().empty() || line.arguments()[0] == "-" ? "" : line.arguments()[0];
  Target target(file);
  if (auto opened = target.open(); !opened) return out.fail(opened.error());
  std::array<std::size_t, 5> counts{};
  jobs::ExportCounts total;
  target.write(jobs::export_head(worker::shown_store((*session)->configuration()), (*session)->now()) + "\n");
  if (auto entries = write_entries(**session, line, target, total); !entries) return out.fail(entries.error());
  Progress progress(out, "export", expected_count(**session, line));
  const auto visited = visit_jobs(**session, line, *states, all_jobs, [&](const jobs::StoredJob& job) {
    ++total.jobs;
    progress.advance();
    ++counts[static_cast<std::size_t>(job.state)];
    return target.write(jobs::export_line(job) + "\n");
  });
  if (!visited) return out.fail(visited.error());
  target.write(jobs::export_end(total) + "\n");
  if (auto closed = target.close(); !closed) return out.fail(closed.error());

  if (out.json() && !file.empty()) {
    JsonObject object;
    object.text("file", file).number("jobs", total.jobs);
    for (std::size_t state = 0; state < counts.size(); ++state) {
      object.number(to_string(static_cast<JobState>(state)), counts[state]);
    }
    object.number("limits", total.limits).number("cron", total.cron);
    out.print(object.str() + "\n");
  }
  out.say(concat("exported ", described(total, counts)));
  return ExitCode::done;
}

}  // namespace

const Command store_export_command{
    {.name = "store export",
     .arguments = "[FILE|-]",
     .summary = "Writes all jobs, limits and cron entries as lines of JSON, for store import.",
     .arguments_max = 1,
     .options = export_options,
     .notes = "Running jobs are written, too: importing makes them ready. FILE must not exist; it\n"
              "appears when it is whole. Counts, journal and held unique keys stay behind. With\n"
              "--state, --queue or --class only jobs are written.",
     .examples =
         "  dagverk store export jobs.jsonl\n  dagverk store export | dagverk store import - --store redis://new"},
    run_store_export,
    "4 nodes are at work and no --live, or FILE exists",
    "with a FILE: `file`, `jobs`, and how many are `ready`, `scheduled`, `retrying`, `running`, `dead`; "
    "`limits`, `cron`",
};

}  // namespace dagverk::app
