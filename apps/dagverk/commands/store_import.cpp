#include "command.hpp"
#include "entry_import.hpp"
#include "export_text.hpp"
#include "line_reader.hpp"
#include "progress.hpp"
#include "session.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/job_export.hpp"

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace dagverk::app {
namespace {

constexpr OptionSyntax import_options[] = {
    {'\0', "dry-run", {}, "only read the lines, and say what they hold"},
};

constexpr std::size_t batch_size_limit = std::size_t{16} << 20U;
constexpr std::string_view restored_detail = R"({"restored":true})";

/// Stores line after line in batches; what is wrong with a line is told, and the others go on.
class Import {
 public:
  Import(Session* session, Output& out, std::string source)
      : session_(session), out_(out), source_(std::move(source)), progress_(out, "import") {
    if (session != nullptr) entries_.emplace(*session);
  }

  ExitCode run(int descriptor) {
    LineReader reader(descriptor, jobs::export_line_limit);
    while (auto line = reader.next()) {
      ++number_;
      if (!read(*line)) return out_.fail(*fault_);
    }
    if (!batch_.empty() && !store()) return out_.fail(*fault_);
    if (reader.error) return out_.fail(reader.error->with(source_));
    if (number_ == 0)
      return out_.fail(Error(ErrorCode::malformed_job, concat(source_, ": is empty, so it is no export")));
    const bool whole = check_end();
    report();
    const std::size_t left = jobs_.duplicates + limits_.duplicates + cron_.duplicates + refused_;
    if (malformed_ + left == 0 && whole) return ExitCode::done;
    if (jobs_.stored + limits_.stored + cron_.stored > 0) return ExitCode::some_failed;
    return left > 0 ? ExitCode::refused : ExitCode::usage;
  }

 private:
  /// Of jobs, limits or cron entries.
  struct Counts {
    std::size_t read = 0;
    std::size_t stored = 0;
    std::size_t duplicates = 0;
  };

  bool read(const LineReader::Line& line) {
    auto parsed = line.too_long ? Result<jobs::ExportLine>(Error(ErrorCode::too_large, "the line is too long"))
                                : jobs::read_export_line(line.text);
    using Kind = jobs::ExportLine::Kind;
    if (number_ == 1 && (!parsed || parsed->kind != Kind::head)) {
      fault_ = parsed ? Error(ErrorCode::malformed_job, "is no export: its first line is not dagverk_export")
                      : parsed.error();
      fault_ = fault_->with(concat(source_, ":1"));
      return false;
    }
    if (!parsed) {
      complain(number_, parsed.error().message(), malformed_);
      return true;
    }
    if (parsed->kind == Kind::end) {
      if (!expected_) expected_.emplace();  // several exports may stand one behind the other
      expected_->jobs += parsed->counts.jobs;
      expected_->limits += parsed->counts.limits;
      expected_->cron += parsed->counts.cron;
      return true;
    }
    if (parsed->kind == Kind::head) return true;
    if (parsed->kind == Kind::limit) return put(parsed->limit, limits_);
    if (parsed->kind == Kind::cron) return put(parsed->cron, cron_);
    ++jobs_.read;
    progress_.advance();
    if (session_ == nullptr) return true;
    batch_size_ += parsed->job.payload.size();
    batch_.push_back(std::move(parsed->job));
    numbers_.push_back(number_);
    return (batch_.size() < jobs::batch_count_limit && batch_size_ < batch_size_limit) || store();
  }

  template <class Entry>
  bool put(const Entry& entry, Counts& counts) {
    ++counts.read;
    if (!entries_) return true;
    const auto done = entries_->put(entry);
    if (!done) {
      fault_ = done.error().with(concat(source_, ":", number_));
      return false;
    }
    using Outcome = EntryImported::Outcome;
    if (done->outcome == Outcome::stored) {
      ++counts.stored;
    } else {
      complain(number_, done->why, done->outcome == Outcome::duplicate ? counts.duplicates : refused_);
    }
    return true;
  }

  bool store() {
    const auto outcomes =
        session_->wait(session_->store().restore(std::exchange(batch_, {}), std::string(restored_detail)));
    if (!outcomes) {
      fault_ = outcomes.error().with(concat(source_, ": ", jobs_.stored, " jobs are stored; then from line ",
                                            numbers_.front(), ", which can be repeated"));
      return false;
    }
    for (std::size_t index = 0; index < outcomes->size(); ++index) {
      if ((*outcomes)[index] == jobs::ItemOutcome::done) {
        ++jobs_.stored;
      } else {
        complain(numbers_[index], "a job with this jid is in the store already", jobs_.duplicates);
      }
    }
    numbers_.clear();
    batch_size_ = 0;
    return true;
  }

  /// Whether the file holds what it says.
  bool check_end() {
    const jobs::ExportCounts found{jobs_.read, limits_.read, cron_.read};
    // What a malformed line was to be cannot be told.
    if (expected_ && malformed_ == 0 ? *expected_ == found : expected_ && sum(*expected_) == sum(found) + malformed_) {
      return true;
    }
    out_.complain(expected_ ? concat("error: ", source_, ": says that it holds ", text(*expected_), ", and holds ",
                                     text(found), malformed_ > 0 ? concat(", malformed ", malformed_) : "")
                            : concat("error: ", source_, ": ends early, after ", text(found),
                                     ": its last line is missing; export again, and repeat"));
    return false;
  }

  static std::size_t sum(const jobs::ExportCounts& counts) { return counts.jobs + counts.limits + counts.cron; }

  /// `3 jobs, 1 limit, 2 cron entries`, without those of which there are none, but for jobs.
  static std::string text(const jobs::ExportCounts& counts) { return jobs_text(counts) + entries_text(counts, ", "); }

  void report() {
    if (out_.json()) {
      out_.print(JsonObject()
                     .number("jobs", jobs_.read)
                     .number("restored", jobs_.stored)
                     .number("duplicates", jobs_.duplicates)
                     .number("malformed", malformed_)
                     .number("limits", limits_.read)
                     .number("limits_restored", limits_.stored)
                     .number("limits_duplicates", limits_.duplicates)
                     .number("cron", cron_.read)
                     .number("cron_restored", cron_.stored)
                     .number("cron_duplicates", cron_.duplicates)
                     .number("refused", refused_)
                     .str() +
                 "\n");
      return;
    }
    if (session_ == nullptr) {
      out_.print(concat(jobs_.read, "\n"));
      out_.say(concat("would restore ", text({jobs_.read, limits_.read, cron_.read}), ", malformed ", malformed_));
      return;
    }
    out_.print(concat(jobs_.stored, "\n"));
    std::string others;
    for (const auto& [name, counts] : {std::pair("limits", limits_), std::pair("cron entries", cron_)}) {
      if (counts.read == 0) continue;
      others += concat("; ", name, ": restored ", counts.stored, ", duplicates ", counts.duplicates);
    }
    if (refused_ > 0) others += concat("; refused ", refused_);
    out_.say(concat("restored ", jobs_.stored, ", duplicates ", jobs_.duplicates, ", malformed ", malformed_, others));
  }

  void complain(std::size_t number, std::string_view what, std::size_t& count) {
    ++count;
    out_.complain(concat("error: ", source_, ":", number, ": ", what));
  }

  Session* session_;  // null: nothing is stored
  Output& out_;
  const std::string source_;
  Progress progress_;
  std::vector<jobs::StoredJob> batch_;
  std::vector<std::size_t> numbers_;
  std::size_t batch_size_ = 0;
  std::size_t number_ = 0;
  Counts jobs_;
  Counts limits_;
  Counts cron_;
  std::size_t malformed_ = 0;
  std::size_t refused_ = 0;  // limits and cron entries that the store does not take
  std::optional<jobs::ExportCounts> expected_;
  std::optional<EntryImport> entries_;  // nothing: nothing is stored
  std::optional<Error> fault_;
};

ExitCode run_store_import(const ParsedLine& line, Output& out) {
  auto lines = open_lines(line.arguments().front(), out);
  if (!lines) return lines.error();
  if (line.has("dry-run")) return Import(nullptr, out, std::move(lines->shown)).run(lines->descriptor);
  const auto session = Session::open(line, worker::MissingStore::create);
  if (!session) return out.fail(session.error());
  return Import(session->get(), out, std::move(lines->shown)).run(lines->descriptor);
}

}  // namespace

const Command store_import_command{
    {.name = "store import",
     .arguments = "FILE|-",
     .summary = "Puts the jobs, limits and cron entries of an export where the other store had them.",
     .arguments_min = 1,
     .arguments_max = 1,
     .options = import_options,
     .notes = "States, times and payloads are as they were, byte for byte; running jobs become\n"
              "ready. A job whose jid is here already is told and left alone, and so is a limit or a\n"
              "cron entry of that name, so repeating is safe. What was missed of a cron entry\n"
              "meanwhile follows its rule.",
     .examples = "  dagverk store import jobs.jsonl --store redis://127.0.0.1/0\n  dagverk store import - --dry-run"},
    run_store_import,
    "2 it is no export; 3 no such file; 4 all was there already, or refused; 5 only some was restored",
    "of jobs `jobs`, `restored`, `duplicates`; `malformed` lines; of limits `limits`, `limits_restored`, "
    "`limits_duplicates`; of cron entries `cron`, `cron_restored`, `cron_duplicates`; `refused`: limits and cron "
    "entries "
    "that this store does not take",
};

}  // namespace dagverk::app
