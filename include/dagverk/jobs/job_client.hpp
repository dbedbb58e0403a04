#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/jobs/arguments.hpp"
#include "dagverk/jobs/enqueue_buffer.hpp"
#include "dagverk/jobs/event_sink.hpp"
#include "dagverk/jobs/job_codec.hpp"
#include "dagverk/jobs/job_registry.hpp"
#include "dagverk/jobs/job_store.hpp"
#include "dagverk/jobs/middleware.hpp"
#include "dagverk/jobs/trace_context.hpp"
#include "dagverk/runtime/async.hpp"
#include "dagverk/runtime/runtime_base.hpp"

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dagverk::jobs {

struct ClientOptions {
  CodecOptions codec = {};
  JidGenerator make_jid = random_jid;
  EventSink* events = nullptr;            ///< borrowed; null: nobody listens
  const JobRegistry* registry = nullptr;  ///< borrowed; knows the classes' queues and whether they are journaled
  std::vector<EnqueueMiddleware> middleware = {};  ///< before every job is encoded, in this order
  /// Where in a trace a job is enqueued: put into its payload unless it has a `traceparent` of its own. One that
  /// throws, or gives something else, gives none. Null: none.
  std::function<TraceContext()> trace = current_trace;
  /// Borrowed; keeps jobs while the store is away. Null: they are refused then, with the store's error.
  EnqueueBuffer* buffer = nullptr;
};

/// Passes `job` through the client's middleware and its trace, which may change it, and encodes it. Errors: as
/// JobClient's, and the middleware's.
[[nodiscard]] Result<Job> encode_for_store(NewJob& job, std::optional<WallTime> due, WallTime now,
                                           const ClientOptions& options);

/// Completes a job object that somebody else wrote (`prepare_job`), passes it through the middleware and puts the
/// client's trace into it unless it has one of its own. `due` is when it comes due unless it says so itself (`at`).
/// Errors: as JobClient's, and the middleware's.
[[nodiscard]] Result<PreparedJob> prepare_for_store(std::string_view line, WallTime now, std::string_view queue_default,
                                                    const ClientOptions& options,
                                                    std::optional<WallTime> due = std::nullopt);

/// The request with which a client stores an encoded job. `unique`: its own; without it that of its class counts.
[[nodiscard]] EnqueueRequest enqueue_request_of(const Job& job, std::optional<WallTime> due,
                                                const ClientOptions& options,
                                                std::optional<UniqueLock> unique = std::nullopt);

/// What became of one job of a bulk.
struct Enqueued {
  std::string jid;
  ItemOutcome outcome = ItemOutcome::done;  ///< done, duplicate, queue_full; by a unique key locked, or rescheduled
  bool buffered = false;                    ///< waits in the client's buffer for the store to come back
};

/// How the jobs of a bulk are enqueued.
struct BulkOptions {
  /// Over how long they come due, evenly and in their order, the first at once; at most 366 days. Zero: all at once.
  Duration spread = Duration::zero();
};

/// After which part of `spread` the job of this index, of `count`, comes due.
[[nodiscard]] Duration spread_delay(Duration spread, std::size_t index, std::size_t count) noexcept;

/// Puts jobs into a store.
///
/// Semantics: a job is in the store when the answer says so, or in the client's buffer. Times that have passed mean
///            now.
/// Threads:   any. What returns Async is awaited inside a process, with named arguments moved in; what ends in
///            `_blocking` blocks, outside of one (a `thread` job's function is outside).
/// Errors:    a middleware's, `invalid_argument`, `malformed_job`, `too_large` (1 MiB, depth 128) before any is stored;
///            `already_exists` for a jid that is in the store; `refused` for a unique key that another job holds, which
///            the message names; `refused` for a queue at its bound; else the store's. Of a bulk nothing is stored
///            when one of its jobs is refused before.
/// Bounds:    a bulk is stored in batches of at most batch_count_limit jobs; after an error, earlier batches stay.
/// Lifetime:  borrows runtime, store, and what the options point to.
class JobClient {
 public:
  JobClient(RuntimeBase& runtime, JobStore& store, ClientOptions options = {})
      : runtime_(runtime), store_(store), options_(std::move(options)) {}

  /// Enqueues, and returns the jid. Of a job whose lock says `reschedule`, when another one has got its time: that
  /// one's jid, empty when it is over already.
  [[nodiscard]] Async<Result<std::string>> enqueue(NewJob job);
  [[nodiscard]] Async<Result<std::string>> enqueue_in(NewJob job, Duration delay);
  [[nodiscard]] Async<Result<std::string>> enqueue_at(NewJob job, WallTime due);
  /// In the order given.
  [[nodiscard]] Async<Result<std::vector<Enqueued>>> enqueue_bulk(std::vector<NewJob> jobs, BulkOptions options = {});
  /// Job objects that somebody else wrote, each at least with `class` and `args`; see `prepare_job`. One that says `at`
  /// comes due then, whatever the options say. The error names the line, counted from 1.
  [[nodiscard]] Async<Result<std::vector<Enqueued>>> push_bulk(std::vector<std::string> lines,
                                                               std::string queue_default = "default",
                                                               BulkOptions options = {});

  [[nodiscard]] Result<std::string> enqueue_blocking(NewJob job) { return runtime_.run(enqueue(std::move(job))); }
  [[nodiscard]] Result<std::string> enqueue_in_blocking(NewJob job, Duration delay) {
    return runtime_.run(enqueue_in(std::move(job), delay));
  }
  [[nodiscard]] Result<std::string> enqueue_at_blocking(NewJob job, WallTime due) {
    return runtime_.run(enqueue_at(std::move(job), due));
  }
  [[nodiscard]] Result<std::vector<Enqueued>> enqueue_bulk_blocking(std::vector<NewJob> jobs,
                                                                    BulkOptions options = {}) {
    return runtime_.run(enqueue_bulk(std::move(jobs), options));
  }
  [[nodiscard]] Result<std::vector<Enqueued>> push_bulk_blocking(std::vector<std::string> lines,
                                                                 std::string queue_default = "default",
                                                                 BulkOptions options = {}) {
    return runtime_.run(push_bulk(std::move(lines), std::move(queue_default), options));
  }

  /// Cancels a job. `done`: it waited, and is gone. `running`: the node that runs it asks it to stop, and drops it when
  /// it ends otherwise than well; a job that ends well has finished. The node hears at once when it shares this
  /// client's store object, or the machine's SQLite store; else with its next heartbeat. A job whose node dies
  /// meanwhile, or that fails before its node has heard, is cancelled as soon as a node hears. `missing`: not there,
  /// done, or dead.
  [[nodiscard]] Async<Result<ItemOutcome>> cancel(std::string jid);
  [[nodiscard]] Result<ItemOutcome> cancel_blocking(std::string jid) { return runtime_.run(cancel(std::move(jid))); }

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

  [[nodiscard]] Result<Prepared> prepare_given(std::string_view line, std::optional<WallTime> due, WallTime now,
                                               std::string_view queue) const;
  [[nodiscard]] Result<Prepared> prepare(NewJob job, std::optional<WallTime> due, WallTime now) const;
  [[nodiscard]] Prepared to_request(const Job& job, std::optional<WallTime> due, WallTime now,
                                    std::optional<UniqueLock> unique = std::nullopt) const;
  /// Into the store, or into the buffer; each outcome with what the store has told.
  [[nodiscard]] Async<Result<EnqueueBuffer::Kept>> put(std::vector<EnqueueRequest> batch);
  [[nodiscard]] Async<Result<std::string>> store_one(Result<Prepared> prepared);
  [[nodiscard]] Async<Result<std::vector<Enqueued>>> store_all(std::vector<Prepared> prepared);
  [[nodiscard]] std::string queue_of(std::string_view job_class) const;

  RuntimeBase& runtime_;
  JobStore& store_;
  ClientOptions options_;
};

}  // namespace dagverk::jobs
