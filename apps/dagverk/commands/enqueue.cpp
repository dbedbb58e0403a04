#include "command.hpp"
#include "line_reader.hpp"
#include "progress.hpp"
#include "session.hpp"
#include "words.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/jobs/arguments.hpp"
#include "dagverk/jobs/job_client.hpp"
#include "dagverk/jobs/job_codec.hpp"
#include "dagverk/jobs/job_names.hpp"
#include "dagverk/jobs/limits.hpp"
#include "dagverk/jobs/retry_policy.hpp"
#include "dagverk/jobs/store_bounds.hpp"
#include "dagverk/jobs/trace_context.hpp"
#include "dagverk/jobs/wire_time.hpp"
#include "dagverk/worker/duration_text.hpp"
#include "dagverk/worker/time_text.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <span>
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
    {'\0', "timeout", "TIME", "how long one run may take; else as its class says"},
    {'\0', "expires-in", "TIME", "drop it when it has waited in its queue for so long"},
    {'\0', "retry-for", "TIME", "retry until that long after its first failure"},
    {'\0', "unique", "KEY", "refuse it while another job holds this key"},
    {'\0', "unique-until", "WHEN", "hold the key until started, done (usual), or for a period"},
    {'\0', "unique-for", "TIME", "hold it for so long at most; else 24h"},
    {'\0', "bulk", "FILE", "jobs as JSON lines, each with class and args; -: standard input"},
    {'\0', "spread", "TIME", "of a bulk: jobs come due one after the other, evenly over this time"},
};

constexpr jobs::CodecOptions limits{};
constexpr std::size_t batch_size_limit = std::size_t{16} << 20U;

constexpr std::size_t line_limit = limits.payload_size_limit + jobs::failure_headroom;

Result<std::string> arguments_of(const std::vector<std::string>& words) {
  if (words.size() == 2 && words[1] == "-") {
    std::string text;
    LineReader reader(STDIN_FILENO, line_limit);
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
  return arguments_json(std::span(words).subspan(1));
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

/// The value of an option that is a time of at least `least`; zero when it is not there.
Result<Duration> span_of(const ParsedLine& line, std::string_view option, Duration least) {
  const auto text = line.value(option);
  if (!text) return Duration::zero();
  const auto span = worker::parse_duration(*text);
  if (span && *span >= least) return *span;
  return Error(ErrorCode::invalid_argument,
               concat("--", option, ": got \"", worker::printable(*text, 60), "\"; ",
                      span ? std::string("must be at least ") + (least < std::chrono::seconds(1) ? "1ms" : "1s")
                           : std::string(span.error().message())));
}

Result<void> read_limits(const ParsedLine& line, jobs::NewJob& job) {
  const auto timeout = span_of(line, "timeout", std::chrono::milliseconds(1));
  if (!timeout) return timeout.error();
  const auto expires_in = span_of(line, "expires-in", std::chrono::milliseconds(1));
  if (!expires_in) return expires_in.error();
  const auto retry_for = span_of(line, "retry-for", std::chrono::seconds(1));
  if (!retry_for) return retry_for.error();
  job.timeout = *timeout;
  job.expires_in = *expires_in;
  if (*retry_for > Duration::zero()) job.retry_for = std::chrono::floor<std::chrono::seconds>(*retry_for);
  return {};
}

/// The lock that the line asks for; none: no `--unique`.
Result<std::optional<jobs::UniqueLock>> unique_of(const ParsedLine& line) {
  const auto key = line.value("unique");
  const auto until = line.value("unique-until");
  if (!key) {
    if (!until && !line.has("unique-for")) return std::optional<jobs::UniqueLock>();
    return Error(ErrorCode::invalid_argument, "--unique-until and --unique-for need a key: --unique KEY");
  }
  jobs::UniqueLock lock;
  lock.key = *key;
  const auto expiry = span_of(line, "unique-for", std::chrono::milliseconds(1));
  if (!expiry) return expiry.error();
  if (*expiry > Duration::zero()) lock.expiry = *expiry;
  if (until) {
    bool known = false;
    for (const auto choice : {jobs::LockUntil::started, jobs::LockUntil::done, jobs::LockUntil::period}) {
      if (*until != jobs::to_string(choice)) continue;
      lock.until = choice;
      known = true;
    }
    if (!known) {
      return Error(ErrorCode::invalid_argument,
                   concat("--unique-until: started, done or period, not \"", worker::printable(*until, 60), "\""));
    }
  }
  if (auto good = jobs::check(lock); !good) return good.error().with("--unique");
  return std::optional(std::move(lock));
}

/// The queue that the line names, or its class has.
std::string queue_of(const ParsedLine& line, const jobs::JobRegistry& registry, std::string_view job_class) {
  if (const auto queue = line.value("queue")) return std::string(*queue);
  const jobs::JobClass* const known = registry.find(job_class);
  return known == nullptr ? "default" : known->options.queue;
}

/// The classes of the configuration: their queues, unique keys and limits are those of what is enqueued here.
jobs::JobRegistry classes_of(const Session& session) {
  jobs::JobRegistry registry;
  worker::define_commands(session.configuration(), registry);
  return registry;
}

/// The trace that the environment names, as other tools do; empty when it names none.
jobs::TraceContext trace_of_environment() {
  const auto variables = worker::current_environment();
  jobs::TraceContext trace;
  const auto parent = variables.find("TRACEPARENT");
  if (parent == variables.end() || !jobs::is_traceparent(parent->second)) return trace;
  trace.parent = parent->second;
  const auto state = variables.find("TRACESTATE");
  if (state != variables.end() && state->second.size() <= jobs::trace_state_size_limit) trace.state = state->second;
  return trace;
}

jobs::ClientOptions client_options(const jobs::JobRegistry& registry) {
  jobs::ClientOptions options;
  options.registry = &registry;
  options.trace = [trace = trace_of_environment()] { return trace; };
  return options;
}

ExitCode enqueue_one(const ParsedLine& line, Session& session, Output& out) {
  const std::string& job_class = line.arguments().front();
  if (auto good = jobs::check_class_name(job_class); !good) return out.fail(good.error());
  auto args = arguments_of(line.arguments());
  if (!args) return out.fail(args.error());
  const WallTime now = session.now();
  auto due = due_of(line, now);
  if (!due) return out.fail(due.error());
  if (*due && **due <= now) due->reset();

  const jobs::JobRegistry registry = classes_of(session);
  jobs::NewJob job;
  job.job_class = job_class;
  job.args_json = std::move(*args);
  job.queue = queue_of(line, registry, job_class);
  job.jid = line.value("jid").value_or("");
  if (auto good = read_limits(line, job); !good) return out.fail(good.error());
  auto unique = unique_of(line);
  if (!unique) return out.fail(unique.error());
  job.unique = std::move(*unique);
  const std::string queue = job.queue;
  jobs::JobClient client(session.runtime(), session.store(), client_options(registry));
  const auto jid = *due ? client.enqueue_at_blocking(std::move(job), **due) : client.enqueue_blocking(std::move(job));
  if (!jid) return out.fail(jid.error());
  if (out.json()) {
    JsonObject object;
    object.text("jid", *jid)
        .text("class", job_class)
        .text("queue", queue)
        .text("state", *due ? "scheduled" : "ready")
        .time("due_at", *due);
    out.print(object.str() + "\n");
  } else {
    out.print(concat(*jid, "\n"));
  }
  return ExitCode::done;
}

bool is_blank(const LineReader::Line& line) {
  return line.text.find_first_not_of(" \t\r") == std::string::npos && !line.too_long;
}

/// Over how long the jobs of a bulk come due, and how many there are.
struct Spread {
  Duration over{0};
  std::size_t count = 0;
};

/// What `--spread` says. The file is read once to count its lines.
Result<Spread> spread_of(const ParsedLine& line, int descriptor) {
  const auto over = span_of(line, "spread", std::chrono::milliseconds(1));
  if (!over) return over.error();
  if (*over == Duration::zero()) return Spread{};
  if (*over > jobs::retry_delay_max) return Error(ErrorCode::invalid_argument, "--spread: must be at most 366d");
  const off_t begin = ::lseek(descriptor, 0, SEEK_CUR);
  if (begin < 0) {
    return Error(ErrorCode::invalid_argument, "--spread counts the lines first: give it a file instead of a pipe");
  }
  Spread spread{.over = *over};
  LineReader reader(descriptor, line_limit);
  while (const auto each = reader.next()) spread.count += is_blank(*each) ? 0 : 1;
  if (reader.error) return *reader.error;
  if (::lseek(descriptor, begin, SEEK_SET) < 0) {
    return Error(ErrorCode::io, concat("reading from its beginning again failed: ", std::strerror(errno)));
  }
  return spread;
}

/// Enqueues line after line in batches; what is wrong with a line is told, and the others go on.
class Bulk {
 public:
  Bulk(const ParsedLine& line, Session& session, Output& out, std::string source, Spread spread)
      : line_(line),
        session_(session),
        out_(out),
        source_(std::move(source)),
        spread_(spread),
        started_at_(session.now()),
        progress_(out, "enqueue", spread.count > 0 ? std::optional(spread.count) : std::nullopt) {}

  ExitCode run(int descriptor) {
    LineReader reader(descriptor, line_limit);
    std::size_t number = 0;
    while (auto line = reader.next()) {
      ++number;
      if (is_blank(*line)) continue;
      if (auto added = add(*line, number); !added) complain(number, added.error().message(), malformed_);
      ++seen_;
      progress_.advance();
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
                     .number("refused", refused_)
                     .number("locked", locked_)
                     .number("rescheduled", rescheduled_)
                     .str() +
                 "\n");
    } else {
      out_.print(concat(enqueued_ + scheduled_, "\n"));
      out_.say(concat("enqueued ", enqueued_, ", scheduled ", scheduled_, ", malformed ", malformed_, ", duplicates ",
                      duplicates_, ", refused ", refused_, locked_ > 0 ? concat(", locked ", locked_) : "",
                      rescheduled_ > 0 ? concat(", rescheduled ", rescheduled_) : ""));
    }
    if (malformed_ + duplicates_ + refused_ + locked_ == 0) return ExitCode::done;
    if (enqueued_ + scheduled_ + rescheduled_ > 0) return ExitCode::some_failed;
    return malformed_ > 0 ? ExitCode::usage : ExitCode::refused;
  }

 private:
  Result<void> add(const LineReader::Line& line, std::size_t number) {
    if (line.too_long) return Error(ErrorCode::too_large, "is larger than 1 MiB");
    const WallTime now = session_.now();
    const WallTime due = started_at_ + jobs::spread_delay(spread_.over, seen_, spread_.count);
    const std::string queue(line_.value("queue").value_or("default"));
    auto prepared = jobs::prepare_for_store(line.text, now, queue, options_, due);
    if (!prepared) return prepared.error();
    // A class of the configuration has a queue of its own, for jobs that name none.
    const std::string own_queue = queue_of(line_, registry_, prepared->job.job_class());
    if (own_queue != queue) prepared = jobs::prepare_for_store(line.text, now, own_queue, options_, due);
    if (!prepared) return prepared.error();
    batch_size_ += prepared->job.payload().size();
    batch_.push_back(jobs::enqueue_request_of(prepared->job, prepared->due, options_, std::nullopt));
    numbers_.push_back(number);
    return {};
  }

  bool store() {
    std::vector<bool> due;
    std::vector<std::string> queues;
    due.reserve(batch_.size());
    queues.reserve(batch_.size());
    for (const jobs::EnqueueRequest& request : batch_) {
      due.push_back(request.due.has_value());
      queues.push_back(request.queue);
    }
    const auto outcomes = session_.wait(session_.store().enqueue(std::exchange(batch_, {})));
    if (!outcomes) {
      fault_ = outcomes.error().with(
          concat(source_, ": ", enqueued_ + scheduled_, " jobs are enqueued; then from line ", numbers_.front()));
      return false;
    }
    for (std::size_t index = 0; index < outcomes->size(); ++index) {
      if ((*outcomes)[index] == jobs::ItemOutcome::done) {
        ++(due[index] ? scheduled_ : enqueued_);
      } else if ((*outcomes)[index] == jobs::ItemOutcome::locked) {
        complain(numbers_[index], "another job holds its unique key", locked_);
      } else if ((*outcomes)[index] == jobs::ItemOutcome::rescheduled) {
        ++rescheduled_;
      } else if ((*outcomes)[index] == jobs::ItemOutcome::queue_full) {
        complain(numbers_[index], jobs::full_refusal(queues[index], limits_now()).message(), refused_);
      } else {
        complain(numbers_[index], "a job with this jid is in the store already", duplicates_);
      }
    }
    numbers_.clear();
    batch_size_ = 0;
    return true;
  }

  /// As of the first job that was refused for them.
  const std::vector<jobs::LimitInfo>& limits_now() {
    if (!limits_) limits_ = session_.wait(session_.store().list_limits()).value_or(std::vector<jobs::LimitInfo>());
    return *limits_;
  }

  void complain(std::size_t number, std::string_view what, std::size_t& count) {
    ++count;
    out_.complain(concat("error: ", source_, ":", number, ": ", what));
  }

  const ParsedLine& line_;
  Session& session_;
  Output& out_;
  const std::string source_;
  const Spread spread_;
  const WallTime started_at_;
  std::size_t seen_ = 0;
  Progress progress_;
  const jobs::JobRegistry registry_ = classes_of(session_);
  const jobs::ClientOptions options_ = client_options(registry_);
  std::vector<jobs::EnqueueRequest> batch_;
  std::vector<std::size_t> numbers_;
  std::size_t batch_size_ = 0;
  std::size_t enqueued_ = 0;
  std::size_t scheduled_ = 0;
  std::size_t malformed_ = 0;
  std::size_t duplicates_ = 0;
  std::size_t locked_ = 0;
  std::size_t rescheduled_ = 0;
  std::size_t refused_ = 0;
  std::optional<std::vector<jobs::LimitInfo>> limits_;
  std::optional<Error> fault_;
};

ExitCode enqueue_bulk(const ParsedLine& line, const std::string& source, Output& out) {
  auto lines = open_lines(source, out);
  if (!lines) return lines.error();
  const auto spread = spread_of(line, lines->descriptor);
  if (!spread) return out.fail(spread.error());
  const auto session = Session::open(line, worker::MissingStore::create);
  if (!session) return out.fail(session.error());
  return Bulk(line, **session, out, std::move(lines->shown), *spread).run(lines->descriptor);
}

ExitCode run_enqueue(const ParsedLine& line, Output& out) {
  if (const auto queue = line.value("queue")) {
    if (auto good = jobs::check_queue_name(*queue); !good) return out.fail(good.error().with("--queue"));
  }
  if (const auto source = line.value("bulk")) {
    const bool more = line.has("timeout") || line.has("expires-in") || line.has("retry-for") || line.has("unique") ||
                      line.has("unique-until") || line.has("unique-for");
    if (!line.arguments().empty() || line.has("in") || line.has("at") || line.has("jid") || more) {
      return out.fail(Error(ErrorCode::invalid_argument,
                            "--bulk takes everything from its lines: no CLASS and no other option beside it but -q and "
                            "--spread"));
    }
    return enqueue_bulk(line, std::string(*source), out);
  }
  if (line.has("spread")) return out.fail(Error(ErrorCode::invalid_argument, "--spread goes with --bulk"));
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
     .examples = "  dagverk enqueue Thumb '{\"id\":7}' cat.jpg --in 5m\n  dagverk enqueue --bulk jobs.jsonl -q mail "
                 "--spread 10m"},
    run_enqueue,
    "2 the job is malformed or too large; 3 no such file; 4 a job of that jid is in the store, its unique key is held, "
    "or its queue is full; 5 --bulk: only some lines",
    "`jid`, `class`, `queue`, `state` (`ready`, `scheduled`), `due_at`; of --bulk `enqueued`, `scheduled`, "
    "`malformed`, `duplicates`, `refused` (full queues), `locked`, `rescheduled`",
};

}  // namespace dagverk::app
