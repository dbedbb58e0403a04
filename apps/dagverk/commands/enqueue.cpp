#include "command.hpp"
#include "session.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/arguments.hpp"
#include "dagverk/jobs/job_codec.hpp"
#include "dagverk/jobs/job_names.hpp"
#include "dagverk/jobs/wire_time.hpp"
#include "dagverk/worker/duration_text.hpp"
#include "dagverk/worker/time_text.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <string>
#include <unistd.h>
#include <utility>
#include <vector>

namespace dagverk::app {
namespace {

constexpr OptionSyntax enqueue_options[] = {
    {'\0', "in", "TIME", "run after this time: 90s, 5m, 1h30m"},
    {'\0', "at", "TIME", "run at 2026-11-21T09:30:00Z, or without Z in local time"},
    {'q', "queue", "NAME", "the queue; else the class's own, else default"},
    {'\0', "jid", "JID", "the job's id; refused when a job of that id is in the store"},
    {'\0', "bulk", "FILE", "jobs as JSON lines, each with class and args; -: standard input"},
};

const jobs::CodecOptions limits{};
constexpr std::size_t batch_size_limit = std::size_t{16} << 20U;

/// Bytes of a descriptor, line by line, with a bound on each line.
class LineReader {
 public:
  explicit LineReader(int descriptor) : descriptor_(descriptor) {}

  struct Line {
    std::string text;
    bool too_long = false;
  };

  /// None at the end, and after a failure, which `error` then has.
  std::optional<Line> next() {
    Line line;
    while (true) {
      const std::size_t end = buffer_.find('\n', begin_);
      const std::size_t size = (end == std::string::npos ? buffer_.size() : end) - begin_;
      // A refused line is read to its end and forgotten.
      if (line.text.size() + size > limits.payload_size_limit + jobs::failure_headroom) line.too_long = true;
      if (line.too_long) {
        line.text.clear();
      } else {
        line.text.append(buffer_, begin_, size);
      }
      if (end != std::string::npos) {
        begin_ = end + 1;
        return line;
      }
      buffer_.resize(65536);
      begin_ = 0;
      ssize_t count = 0;
      do {
        count = ::read(descriptor_, buffer_.data(), buffer_.size());
      } while (count < 0 && errno == EINTR);
      if (count < 0) error = Error(ErrorCode::io, concat("reading failed: ", std::strerror(errno)));
      buffer_.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
      if (count < 0) return std::nullopt;
      if (count == 0) return line.text.empty() && !line.too_long ? std::nullopt : std::optional(std::move(line));
    }
  }

  std::optional<Error> error;

 private:
  int descriptor_;
  std::string buffer_;
  std::size_t begin_ = 0;
};

/// JSON if it parses, else a text.
std::string argument_json(const std::string& word) {
  const std::string list = concat("[", word, "]");
  const auto parsed = jobs::JobArguments::parse(list);
  if (parsed && parsed->size() == 1) return word;
  return json_text(word);
}

Result<std::string> arguments_json(const std::vector<std::string>& words) {
  if (words.size() == 2 && words[1] == "-") {
    std::string text;
    LineReader reader(STDIN_FILENO);
    while (auto line = reader.next()) {
      text += line->text + "\n";
      if (line->too_long || text.size() > limits.payload_size_limit) {
        return Error(ErrorCode::too_large, "standard input: a job has at most 1 MiB");
      }
    }
    if (reader.error) return *reader.error;
    if (auto parsed = jobs::JobArguments::parse(text); !parsed) {
      return Error(ErrorCode::malformed_job,
                   concat("standard input: not a JSON array of arguments: ", parsed.error().message()));
    }
    while (text.ends_with('\n')) text.pop_back();
    return text;
  }
  std::string list = "[";
  for (std::size_t index = 1; index < words.size(); ++index) {
    list += concat(index > 1 ? "," : "", argument_json(words[index]));
  }
  return list + "]";
}

/// When the job is to run; none: now.
Result<std::optional<WallTime>> due_of(const ParsedLine& line, WallTime now) {
  const auto in = line.value("in");
  const auto at = line.value("at");
  if (in && at) return Error(ErrorCode::invalid_argument, "either --in or --at, not both");
  if (in) {
    const auto delay = worker::parse_duration(*in);
    if (!delay) {
      return Error(ErrorCode::invalid_argument,
                   concat("--in: got \"", worker::printable(*in, 60), "\"; ", delay.error().message()));
    }
    if (*delay > WallTime::max() - now) return Error(ErrorCode::invalid_argument, "--in: beyond the year 2262");
    return now + *delay;
  }
  if (!at) return std::optional<WallTime>();
  const auto time = worker::parse_time(*at);
  if (!time) return time.error().with("--at");
  return *time;
}

jobs::EnqueueRequest request_of(const jobs::Job& job, std::optional<WallTime> due,
                                const worker::Configuration& configuration) {
  jobs::EnqueueRequest request;
  request.jid = job.jid();
  request.queue = job.queue();
  request.class_name = job.job_class();
  request.payload = job.payload();
  request.due = due;
  const worker::JobSettings* known = configuration.find_job(job.job_class());
  request.journaled = known == nullptr || known->options.journaled;
  if (due) request.detail = concat(R"({"due_at":)", jobs::exact_epoch_seconds_text(*due), "}");
  return request;
}

std::string queue_of(const ParsedLine& line, const worker::Configuration& configuration, std::string_view job_class) {
  if (const auto queue = line.value("queue")) return std::string(*queue);
  const worker::JobSettings* known = configuration.find_job(job_class);
  return known == nullptr ? "default" : known->options.queue;
}

ExitCode enqueue_one(const ParsedLine& line, Session& session, Output& out) {
  const std::string& job_class = line.arguments().front();
  if (auto good = jobs::check_class_name(job_class); !good) return out.fail(good.error());
  auto args = arguments_json(line.arguments());
  if (!args) return out.fail(args.error());
  const WallTime now = session.now();
  auto due = due_of(line, now);
  if (!due) return out.fail(due.error());
  if (*due && **due <= now) due->reset();

  jobs::NewJob job;
  job.job_class = job_class;
  job.args_json = std::move(*args);
  job.queue = queue_of(line, session.configuration(), job_class);
  job.jid = line.value("jid").value_or("");
  job.scheduled = due->has_value();
  const auto encoded = jobs::encode_new_job(job, now);
  if (!encoded) return out.fail(encoded.error());

  std::vector<jobs::EnqueueRequest> batch;
  batch.push_back(request_of(*encoded, *due, session.configuration()));
  const auto outcomes = session.wait(session.store().enqueue(std::move(batch)));
  if (!outcomes) return out.fail(outcomes.error());
  if (outcomes->front() == jobs::ItemOutcome::duplicate) {
    return out.fail(Error(ErrorCode::already_exists,
                          concat("a job with jid ", worker::printable(encoded->jid()), " is in the store already")));
  }
  if (out.json()) {
    JsonObject object;
    object.text("jid", encoded->jid())
        .text("class", encoded->job_class())
        .text("queue", encoded->queue())
        .text("state", *due ? "scheduled" : "ready")
        .time("due_at", *due);
    out.print(object.str() + "\n");
  } else {
    out.print(concat(encoded->jid(), "\n"));
  }
  return ExitCode::done;
}

/// Enqueues line after line in batches; what is wrong with a line is told, and the others go on.
class Bulk {
 public:
  Bulk(const ParsedLine& line, Session& session, Output& out, std::string source)
      : line_(line), session_(session), out_(out), source_(std::move(source)) {}

  ExitCode run(int descriptor) {
    LineReader reader(descriptor);
    std::size_t number = 0;
    while (auto line = reader.next()) {
      ++number;
      if (line->text.find_first_not_of(" \t\r") == std::string::npos && !line->too_long) continue;
      if (auto added = add(*line, number); !added) complain(number, added.error().message(), malformed_);
      const bool full = batch_.size() == jobs::batch_count_limit || batch_size_ > batch_size_limit;
      if (full && !store()) return out_.fail(*fault_);
    }
    if (!batch_.empty() && !store()) return out_.fail(*fault_);
    if (reader.error) return out_.fail(reader.error->with(source_));
    if (out_.json()) {
      out_.print(JsonObject()
                     .number("enqueued", enqueued_)
                     .number("scheduled", scheduled_)
                     .number("malformed", malformed_)
                     .number("duplicates", duplicates_)
                     .str() +
                 "\n");
    } else {
      out_.print(concat(enqueued_ + scheduled_, "\n"));
      out_.say(concat("enqueued ", enqueued_, ", scheduled ", scheduled_, ", malformed ", malformed_, ", duplicates ",
                      duplicates_));
    }
    if (malformed_ + duplicates_ == 0) return ExitCode::done;
    if (enqueued_ + scheduled_ > 0) return ExitCode::some_failed;
    return malformed_ > 0 ? ExitCode::usage : ExitCode::refused;
  }

 private:
  Result<void> add(const LineReader::Line& line, std::size_t number) {
    if (line.too_long) return Error(ErrorCode::too_large, "is larger than 1 MiB");
    const WallTime now = session_.now();
    const std::string queue(line_.value("queue").value_or("default"));
    auto prepared = jobs::prepare_job(line.text, now, queue);
    if (!prepared) return prepared.error();
    // A class of the configuration has a queue of its own, for jobs that name none.
    const std::string own_queue = queue_of(line_, session_.configuration(), prepared->job.job_class());
    if (own_queue != queue) prepared = jobs::prepare_job(line.text, now, own_queue);
    if (!prepared) return prepared.error();
    batch_size_ += prepared->job.payload().size();
    batch_.push_back(request_of(prepared->job, prepared->due, session_.configuration()));
    numbers_.push_back(number);
    return {};
  }

  bool store() {
    std::vector<bool> due;
    due.reserve(batch_.size());
    for (const jobs::EnqueueRequest& request : batch_) due.push_back(request.due.has_value());
    const auto outcomes = session_.wait(session_.store().enqueue(std::exchange(batch_, {})));
    if (!outcomes) {
      fault_ = outcomes.error().with(
          concat(source_, ": ", enqueued_ + scheduled_, " jobs are enqueued; then from line ", numbers_.front()));
      return false;
    }
    for (std::size_t index = 0; index < outcomes->size(); ++index) {
      if ((*outcomes)[index] == jobs::ItemOutcome::done) {
        ++(due[index] ? scheduled_ : enqueued_);
      } else {
        complain(numbers_[index], "a job with this jid is in the store already", duplicates_);
      }
    }
    numbers_.clear();
    batch_size_ = 0;
    return true;
  }

  void complain(std::size_t number, std::string_view what, std::size_t& count) {
    ++count;
    out_.complain(concat("error: ", source_, ":", number, ": ", what));
  }

  const ParsedLine& line_;
  Session& session_;
  Output& out_;
  const std::string source_;
  std::vector<jobs::EnqueueRequest> batch_;
  std::vector<std::size_t> numbers_;
  std::size_t batch_size_ = 0;
  std::size_t enqueued_ = 0;
  std::size_t scheduled_ = 0;
  std::size_t malformed_ = 0;
  std::size_t duplicates_ = 0;
  std::optional<Error> fault_;
};

ExitCode enqueue_bulk(const ParsedLine& line, const std::string& source, Output& out) {
  int descriptor = STDIN_FILENO;
  if (source != "-") {
    descriptor = ::open(source.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) {
      out.complain(concat("error: ", worker::printable(source), ": ", std::strerror(errno)));
      return errno == ENOENT ? ExitCode::not_found : ExitCode::failed;
    }
  }
  const auto session = Session::open(line, worker::MissingStore::create);
  if (!session) return out.fail(session.error());
  return Bulk(line, **session, out, source == "-" ? "standard input" : worker::printable(source)).run(descriptor);
}

ExitCode run_enqueue(const ParsedLine& line, Output& out) {
  if (const auto queue = line.value("queue")) {
    if (auto good = jobs::check_queue_name(*queue); !good) return out.fail(good.error().with("--queue"));
  }
  if (const auto source = line.value("bulk")) {
    if (!line.arguments().empty() || line.has("in") || line.has("at") || line.has("jid")) {
      return out.fail(Error(ErrorCode::invalid_argument,
                            "--bulk takes everything from its lines: no CLASS, --in, --at or --jid beside it"));
    }
    return enqueue_bulk(line, std::string(*source), out);
  }
  if (line.arguments().empty()) {
    return out.fail(Error(ErrorCode::invalid_argument, "which class? dagverk enqueue CLASS [ARG…|-]"));
  }
  const auto session = Session::open(line, worker::MissingStore::create);
  if (!session) return out.fail(session.error());
  return enqueue_one(line, **session, out);
}

}  // namespace

const Command enqueue_command{
    {.name = "enqueue",
     .arguments = "CLASS [ARG…|-]",
     .summary = "Enqueues a job and prints its jid.",
     .arguments_max = 10'000,
     .options = enqueue_options,
     .notes = "An ARG is JSON if it parses, else a text. -: standard input has the arguments as\n"
              "one JSON array. Bad lines of --bulk are told; the others are enqueued (exit 5).",
     .examples = "  dagverk enqueue Thumb '{\"id\":7}' cat.jpg --in 5m\n  dagverk enqueue --bulk jobs.jsonl -q mail"},
    run_enqueue,
};

}  // namespace dagverk::app
