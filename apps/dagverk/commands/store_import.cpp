#include "command.hpp"
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
      : session_(session), out_(out), source_(std::move(source)), progress_(out, "import") {}

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
    if (malformed_ + duplicates_ == 0 && whole) return ExitCode::done;
    if (stored_ > 0) return ExitCode::some_failed;
    return duplicates_ > 0 ? ExitCode::refused : ExitCode::usage;
  }

 private:
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
      expected_ = expected_.value_or(0) + parsed->jobs;  // several exports may stand one behind the other
      return true;
    }
    if (parsed->kind == Kind::head) return true;
    ++jobs_;
    progress_.advance();
    if (session_ == nullptr) return true;
    batch_size_ += parsed->job.payload.size();
    batch_.push_back(std::move(parsed->job));
    numbers_.push_back(number_);
    return (batch_.size() < jobs::batch_count_limit && batch_size_ < batch_size_limit) || store();
  }

  bool store() {
    const auto outcomes =
        session_->wait(session_->store().restore(std::exchange(batch_, {}), std::string(restored_detail)));
    if (!outcomes) {
      fault_ = outcomes.error().with(concat(source_, ": ", stored_, " jobs are stored; then from line ",
                                            numbers_.front(), ", which can be repeated"));
      return false;
    }
    for (std::size_t index = 0; index < outcomes->size(); ++index) {
      if ((*outcomes)[index] == jobs::ItemOutcome::done) {
        ++stored_;
      } else {
        complain(numbers_[index], "a job with this jid is in the store already", duplicates_);
      }
    }
    numbers_.clear();
    batch_size_ = 0;
    return true;
  }

  /// Whether the file holds what it says.
  bool check_end() {
    const std::size_t found = jobs_ + malformed_;
    if (expected_ == found) return true;
    out_.complain(expected_
                      ? concat("error: ", source_, ": says that it holds ", *expected_, " jobs, and holds ", found)
                      : concat("error: ", source_, ": ends early, after ", found,
                               " jobs: its last line is missing; export again, and repeat"));
    return false;
  }

  void report() {
    if (out_.json()) {
      out_.print(JsonObject()
                     .number("jobs", jobs_)
                     .number("restored", stored_)
                     .number("duplicates", duplicates_)
                     .number("malformed", malformed_)
                     .str() +
                 "\n");
      return;
    }
    if (session_ == nullptr) {
      out_.print(concat(jobs_, "\n"));
      out_.say(concat("would restore ", jobs_, jobs_ == 1 ? " job" : " jobs", ", malformed ", malformed_));
      return;
    }
    out_.print(concat(stored_, "\n"));
    out_.say(concat("restored ", stored_, ", duplicates ", duplicates_, ", malformed ", malformed_));
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
  std::size_t jobs_ = 0;
  std::size_t stored_ = 0;
  std::size_t malformed_ = 0;
  std::size_t duplicates_ = 0;
  std::optional<std::size_t> expected_;
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
     .summary = "Puts the jobs of an export where the other store had them.",
     .arguments_min = 1,
     .arguments_max = 1,
     .options = import_options,
     .notes = "States, times and payloads are as they were, byte for byte; running jobs become\n"
              "ready. A job whose jid is here already is told and left alone, so repeating is safe.",
     .examples = "  dagverk store import jobs.jsonl --store redis://127.0.0.1/0\n  dagverk store import - --dry-run"},
    run_store_import,
    "2 it is no export; 3 no such file; 4 all jobs were there already; 5 only some were restored",
    "`jobs`, `restored`, `duplicates`, `malformed`",
};

}  // namespace dagverk::app
