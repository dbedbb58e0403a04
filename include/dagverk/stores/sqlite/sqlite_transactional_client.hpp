#pragma once

#include "dagverk/base/clock.hpp"
#include "dagverk/base/result.hpp"
#include "dagverk/jobs/arguments.hpp"
#include "dagverk/jobs/job_client.hpp"
#include "dagverk/jobs/job_context.hpp"
#include "dagverk/jobs/store_types.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

struct sqlite3;

namespace dagverk::stores {

/// What a client inside a caller's transactions needs to know of the stores on the same file.
struct SqliteTransactionalOptions {
  bool journal = true;              ///< as the stores have it
  std::uint64_t size_limit = 0;     ///< as the stores have it; 0: none
  jobs::ClientOptions client = {};  ///< its `events` hear nothing: a transaction may yet be rolled back
  const Clock* clock = nullptr;     ///< null: the system's
};

/// Enqueues and completes jobs inside the caller's own transactions, on the caller's own connection to a store's file.
///
/// Semantics: what was asked for happens when the open transaction commits, together with the caller's own changes: not
///            before, and not at all after a rollback, a rollback to an earlier savepoint, or the death of the process.
///            Each call does all it was asked or nothing, and a call that failed leaves the rest of the transaction as
///            it was. The file must hold a store already, as `main` of the connection; the application's own tables
///            live beside the store's, whose names begin with `dagverk_`. Nodes that wait are woken by the commit, a
///            little sooner after `committed`.
/// Durable:   as the connection is: `PRAGMA synchronous = FULL`, SQLite's default, for what must survive power loss.
/// Threads:   those of the connection, one at a time. Blocks for as long as SQLite does: not inside a process.
/// Errors:    `invalid_argument`: no transaction is open. `unavailable`: another connection writes, or has written
///            since this transaction began to read; roll back and begin again, best with BEGIN IMMEDIATE. The store's
///            others.
/// Bounds:    batch_count_limit items a call.
/// Lifetime:  borrows the connection and what the options point to; goes before the connection is closed. The
///            connection comes from the same SQLite library as this one: two copies of SQLite in one process would drop
///            each other's file locks.
class SqliteTransactionalClient {
 public:
  /// Errors: `not_a_store`: open a `SqliteStore` on the file first; `store_newer`, `unsupported`, `malformed`.
  [[nodiscard]] static Result<std::unique_ptr<SqliteTransactionalClient>> attach(
      sqlite3* connection, SqliteTransactionalOptions options = {});
  SqliteTransactionalClient(const SqliteTransactionalClient&) = delete;
  SqliteTransactionalClient& operator=(const SqliteTransactionalClient&) = delete;
  ~SqliteTransactionalClient();

  /// Enqueues, and returns the jid. Errors: as JobClient's, `already_exists` among them.
  [[nodiscard]] Result<std::string> enqueue(jobs::NewJob job);
  /// Into the schedule; a time that has passed means now.
  [[nodiscard]] Result<std::string> enqueue_at(jobs::NewJob job, WallTime due);
  /// `client.enqueue_class("Receipt", order_id)`
  template <class... Arguments>
  [[nodiscard]] Result<std::string> enqueue_class(std::string job_class, const Arguments&... arguments) {
    Result<std::string> args_json = jobs::encode_arguments(arguments...);
    if (!args_json) return args_json.error();
    jobs::NewJob job;
    job.queue = queue_of(job_class);
    job.job_class = std::move(job_class);
    job.args_json = std::move(*args_json);
    return enqueue(std::move(job));
  }
  /// As `JobStore::enqueue`.
  [[nodiscard]] Result<std::vector<jobs::ItemOutcome>> enqueue_requests(std::vector<jobs::EnqueueRequest> requests);

  /// Finishes the job that is running, so that its work and its end are one change: it cannot run twice once the
  /// transaction has committed. When that is rolled back, the run ends as if this had not been called. Then the job's
  /// function returns as usual. Errors: `refused`: the job is somebody else's by now (its lease ran out); roll back.
  [[nodiscard]] Result<void> complete(jobs::JobContext& job);
  /// As `JobStore::settle`, for callers that took the job themselves.
  [[nodiscard]] Result<std::vector<jobs::ItemOutcome>> settle(std::vector<jobs::Settlement> settlements);

  /// After a commit: wakes other processes that wait, which would otherwise see it a few milliseconds later.
  void committed() noexcept;

 private:
  struct Parts;

  explicit SqliteTransactionalClient(std::unique_ptr<Parts> parts) noexcept;

  [[nodiscard]] std::string queue_of(std::string_view job_class) const;

  std::unique_ptr<Parts> parts_;
};

}  // namespace dagverk::stores
