#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/jobs/arguments.hpp"
#include "dagverk/jobs/event_sink.hpp"
#include "dagverk/jobs/job_codec.hpp"
#include "dagverk/jobs/job_registry.hpp"
#include "dagverk/jobs/job_store.hpp"
#include "dagverk/runtime/async.hpp"
#include "dagverk/runtime/runtime_base.hpp"

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace dagverk::jobs {

struct ClientOptions {
  CodecOptions codec = {};
  JidGenerator make_jid = random_jid;
  EventSink* events = nullptr;            ///< borrowed; null: nobody listens
  const JobRegistry* registry = nullptr;  ///< borrowed; knows the classes' queues and whether they are journaled
};

/// What became of one job of a bulk.
struct Enqueued {
  std::string jid;
  ItemOutcome outcome = ItemOutcome::done;  ///< done, or duplicate
};

/// Puts jobs into a store.
///
/// Semantics: a job is in the store when the answer says so. Times that have passed mean now.
/// Threads:   any. What returns Async is awaited inside a process, with named arguments moved in; what ends in
///            `_blocking` blocks, outside of one (a `thread` job's function is outside).
/// Errors:    `invalid_argument`, `malformed_job`, `too_large` (1 MiB, depth 128) before anything is stored;
///            `already_exists` for a jid that is in the store; else the store's. Of a bulk nothing is stored when one
///            of its jobs is refused before.
/// Bounds:    a bulk is stored in batches of at most batch_count_limit jobs; after an error, earlier batches stay.
/// Lifetime:  borrows runtime, store, and what the options point to.
class JobClient {
 public:
  JobClient(RuntimeBase& runtime, JobStore& store, ClientOptions options = {})
      : runtime_(runtime), store_(store), options_(std::move(options)) {}

  /// Enqueues, and returns the jid.
  [[nodiscard]] Async<Result<std::string>> enqueue(NewJob job);
  [[nodiscard]] Async<Result<std::string>> enqueue_in(NewJob job, Duration delay);
  [[nodiscard]] Async<Result<std::string>> enqueue_at(NewJob job, WallTime due);
  /// In the order given.
  [[nodiscard]] Async<Result<std::vector<Enqueued>>> enqueue_bulk(std::vector<NewJob> jobs);
  /// Job objects that somebody else wrote, each at least with `class` and `args`; see `prepare_job`. The error names
  /// the line, counted from 1.
  [[nodiscard]] Async<Result<std::vector<Enqueued>>> push_bulk(std::vector<std::string> lines,
                                                               std::string queue_default = "default");

  [[nodiscard]] Result<std::string> enqueue_blocking(NewJob job) { return runtime_.run(enqueue(std::move(job))); }
  [[nodiscard]] Result<std::string> enqueue_in_blocking(NewJob job, Duration delay) {
    return runtime_.run(enqueue_in(std::move(job), delay));
  }
  [[nodiscard]] Result<std::string> enqueue_at_blocking(NewJob job, WallTime due) {
    return runtime_.run(enqueue_at(std::move(job), due));
  }
  [[nodiscard]] Result<std::vector<Enqueued>> enqueue_bulk_blocking(std::vector<NewJob> jobs) {
    return runtime_.run(enqueue_bulk(std::move(jobs)));
  }
  [[nodiscard]] Result<std::vector<Enqueued>> push_bulk_blocking(std::vector<std::string> lines,
                                                                 std::string queue_default = "default") {
    return runtime_.run(push_bulk(std::move(lines), std::move(queue_default)));
  }

  /// A job of `job_class` with these arguments, for its class's queue.
  template <class... Arguments>
  [[nodiscard]] Result<NewJob> make(std::string job_class, const Arguments&... arguments) const {
    Result<std::string> args_json = encode_arguments(arguments...);
    if (!args_json) return args_json.error();
    NewJob job;
    job.queue = queue_of(job_class);
    job.job_class = std::move(job_class);
    job.args_json = std::move(*args_json);
    return job;
  }
  /// `client.enqueue_class("Resize", "cat.jpg", 640)`: blocks.
  template <class... Arguments>
  [[nodiscard]] Result<std::string> enqueue_class(std::string job_class, const Arguments&... arguments) {
    Result<NewJob> job = make(std::move(job_class), arguments...);
    if (!job) return job.error();
    return enqueue_blocking(std::move(*job));
  }

 private:
  struct Prepared {
    EnqueueRequest request;
    std::optional<Event> event;
  };

  [[nodiscard]] Result<Prepared> prepare(NewJob job, std::optional<WallTime> due, WallTime now) const;
  [[nodiscard]] Prepared to_request(const Job& job, std::optional<WallTime> due, WallTime now) const;
  [[nodiscard]] Async<Result<std::string>> store_one(Result<Prepared> prepared);
  [[nodiscard]] Async<Result<std::vector<Enqueued>>> store_all(std::vector<Prepared> prepared);
  [[nodiscard]] std::string queue_of(std::string_view job_class) const;

  RuntimeBase& runtime_;
  JobStore& store_;
  ClientOptions options_;
};

}  // namespace dagverk::jobs
