#include "dagverk/stores/sqlite/sqlite_transactional_client.hpp"

#include "stores/sqlite/engine.hpp"

#include "dagverk/base/concat.hpp"

#include <cstdint>
#include <limits>
#include <optional>

namespace dagverk::stores {

using jobs::ItemOutcome;

struct SqliteTransactionalClient::Parts {
  Parts(std::unique_ptr<Engine> joined, SqliteTransactionalOptions given)
      : options(std::move(given)), engine(std::move(joined)) {}

  [[nodiscard]] const jobs::JobClass* find(std::string_view job_class) const {
    return options.client.registry != nullptr ? options.client.registry->find(job_class) : nullptr;
  }
  [[nodiscard]] Result<jobs::EnqueueRequest> request_of(jobs::NewJob job, std::optional<WallTime> due) const;
  [[nodiscard]] Result<std::string> enqueue(jobs::NewJob job, std::optional<WallTime> due) const;

  SqliteTransactionalOptions options;
  std::unique_ptr<Engine> engine;
};

Result<jobs::EnqueueRequest> SqliteTransactionalClient::Parts::request_of(jobs::NewJob job,
                                                                          std::optional<WallTime> due) const {
  const WallTime now = options.clock->wall_now();
  if (due && *due <= now) due.reset();
  const Result<jobs::Job> encoded = jobs::encode_for_store(job, due, now, options.client);
  if (!encoded) return encoded.error();
  return jobs::enqueue_request_of(*encoded, due, options.client, std::move(job.unique));
}

Result<std::string> SqliteTransactionalClient::Parts::enqueue(jobs::NewJob job, std::optional<WallTime> due) const {
  Result<jobs::EnqueueRequest> request = request_of(std::move(job), due);
  if (!request) return request.error();
  std::string jid = request->jid;
  const std::string job_class = request->class_name;
  const std::string queue = request->queue;
  const std::optional<jobs::UniqueLock> unique = request->unique;
  op::Enqueue operation;
  operation.jobs.push_back(std::move(*request));
  const auto outcomes = engine->run_inside(std::move(operation));
  if (!outcomes) return outcomes.error();
  if (outcomes->front() == ItemOutcome::done) return jid;
  if (outcomes->front() == ItemOutcome::queue_full) {
    const auto limits = engine->run_inside(op::ListLimits{});
    return jobs::full_refusal(queue, limits.value_or(std::vector<jobs::LimitInfo>()));
  }
  if (outcomes->front() != ItemOutcome::duplicate && unique) {
    const auto held = engine->run_inside(op::FindLock{unique->key});
    if (outcomes->front() == ItemOutcome::locked) {
      return jobs::lock_refusal(job_class, *unique, held.value_or(std::nullopt));
    }
    return held && *held ? (*held)->jid : std::string();
  }
  return Error{ErrorCode::already_exists, concat("a job with jid \"", jid, "\" is in the store")};
}

SqliteTransactionalClient::SqliteTransactionalClient(std::unique_ptr<Parts> parts) noexcept
    : parts_(std::move(parts)) {}
SqliteTransactionalClient::~SqliteTransactionalClient() = default;

Result<std::unique_ptr<SqliteTransactionalClient>> SqliteTransactionalClient::attach(
    sqlite3* connection, SqliteTransactionalOptions options) {
  if (options.clock == nullptr) options.clock = &system_clock();
  SqliteOptions of_engine;
  of_engine.clock = options.clock;
  of_engine.journal = options.journal;
  of_engine.size_limit = options.size_limit;
  // Trimming is for the nodes: a caller's transaction must not grow by it.
  of_engine.journal_rows_limit = std::numeric_limits<std::int64_t>::max();
  of_engine.dead_count_limit = std::numeric_limits<std::int64_t>::max();
  auto engine = Engine::join(connection, std::move(of_engine));
  if (!engine) return engine.error();
  auto parts = std::make_unique<Parts>(std::move(*engine), std::move(options));
  return std::unique_ptr<SqliteTransactionalClient>(new SqliteTransactionalClient(std::move(parts)));
}

std::string SqliteTransactionalClient::queue_of(std::string_view job_class) const {
  const jobs::JobClass* const known = parts_->find(job_class);
  return known != nullptr ? known->options.queue : "default";
}

Result<std::string> SqliteTransactionalClient::enqueue(jobs::NewJob job) {
  return parts_->enqueue(std::move(job), std::nullopt);
}

Result<std::string> SqliteTransactionalClient::enqueue_at(jobs::NewJob job, WallTime due) {
  return parts_->enqueue(std::move(job), due);
}

Result<std::vector<ItemOutcome>> SqliteTransactionalClient::enqueue_requests(
    std::vector<jobs::EnqueueRequest> requests) {
  return parts_->engine->run_inside(op::Enqueue{.jobs = std::move(requests)});
}

Result<void> SqliteTransactionalClient::complete(jobs::JobContext& job) {
  std::vector<jobs::Settlement> settlements;
  settlements.push_back(jobs::Settlement::finish(job.token()));
  const auto outcomes = settle(std::move(settlements));
  if (!outcomes) return outcomes.error();
  if (outcomes->front() != ItemOutcome::done) {
    return Error{ErrorCode::refused, concat("job ", job.jid(), ": no longer this node's, or completed already")};
  }
  job.note_completed();
  return {};
}

Result<std::vector<ItemOutcome>> SqliteTransactionalClient::settle(std::vector<jobs::Settlement> settlements) {
  return parts_->engine->run_inside(op::Settle{std::move(settlements)});
}

void SqliteTransactionalClient::committed() noexcept { parts_->engine->ring_after_commit(); }

}  // namespace dagverk::stores
