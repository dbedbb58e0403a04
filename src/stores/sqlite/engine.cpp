#include "stores/sqlite/engine.hpp"

#include "stores/sqlite/engine_internal.hpp"
#include "stores/sqlite/schema.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <exception>
#include <utility>

namespace dagverk::stores {

namespace {

// In pages of 4 KiB. A checkpoint every 4 MiB keeps each one short; past 48 MiB some reader is in the way of starting
// the WAL afresh.
constexpr int checkpoint_pages = 1024;
constexpr int restart_pages = 12 * 1024;

}  // namespace

Engine::Engine(SqliteOptions options) : options_(std::move(options)) {
  if (options_.clock == nullptr) options_.clock = &system_clock();
  if (options_.boot_clock == nullptr) options_.boot_clock = &system_boot_clock();
  if (options_.logger == nullptr) options_.logger = &null_logger();
}

Engine::~Engine() { disconnect(); }

Result<std::unique_ptr<Engine>> Engine::open(SqliteOptions options) {
  std::unique_ptr<Engine> engine(new Engine(std::move(options)));
  if (auto connected = engine->connect(); !connected) return connected.error();
  return engine;
}

Result<void> Engine::connect() {
  auto database = Database::open(options_.path, *options_.clock, options_.lock_wait);
  if (!database) return database.error();
  if (auto prepared = prepare_schema(**database, options_.boot_clock->boot_id()); !prepared) return prepared;
  try {
    auto statements = std::make_unique<Statements>(**database);
    database_ = std::move(*database);
    statements_ = std::move(statements);
    synced_ = true;
    if (suspect_) {
      // After a failed sync the system may call pages clean that never reached the disk, and a later sync would not
      // write them. So before anything is promised again, the log is copied into the database, which writes those pages
      // anew, and begun afresh.
      database_->empty_wal();
      suspect_ = false;
    }
    look_for_foreign_commits();
    return {};
  } catch (const SqlFailure& failure) {
    disconnect();
    return failure.error(options_.path);
  }
}

void Engine::disconnect() noexcept {
  statements_.reset();
  database_.reset();
  queues_by_name_.clear();
  queues_by_id_.clear();
}

void Engine::execute(std::span<Request* const> batch) {
  if (database_ == nullptr) {
    if (auto connected = connect(); !connected) {
      for (Request* request : batch) request->fail(connected.error());
      return;
    }
    options_.logger->warning("store.reopened", {{"path", options_.path}});
  }
  std::vector<Request*> writes;
  std::vector<Request*> reads;
  writes.reserve(batch.size());
  for (Request* request : batch) (request->access() == Access::read ? reads : writes).push_back(request);
  if (!writes.empty()) write(writes);
  if (reads.empty()) return;
  if (database_ != nullptr) {
    read(reads);
  } else {
    for (Request* request : reads)
      request->fail(Error{ErrorCode::io, concat("store ", options_.path, ": lost to an I/O error")});
  }
}

void Engine::write(std::span<Request* const> batch) {
  bool durable = false;
  for (const Request* request : batch) durable = durable || request->access() == Access::durable;
  Error error(ErrorCode::internal);
  bool one_by_one = false;
  bool begun = false;
  try {
    begin(durable);
    begun = true;
    for (Request* request : batch) request->apply(*this);
    commit();
    return;
  } catch (const SqlFailure& failure) {
    error = failure.error(options_.path);
    const bool disk = failure.primary() == SQLITE_IOERR;
    if (disk && committing_) {
      error = Error{ErrorCode::outcome_unknown,
                    concat("store ", options_.path, ": the disk failed during a commit (", failure.message, ")")};
    }
    one_by_one =
        begun && !disk && failure.primary() != SQLITE_CORRUPT && failure.primary() != SQLITE_NOTADB && batch.size() > 1;
    forget_transaction();
    if (disk || failure.primary() == SQLITE_CORRUPT) {
      suspect_ = suspect_ || disk;
      options_.logger->error("store.failed", {{"path", options_.path}, {"message", error.message()}});
      disconnect();
    }
  } catch (const std::exception& exception) {
    error = Error{ErrorCode::internal, concat("store ", options_.path, ": ", exception.what())};
    one_by_one = batch.size() > 1;
    forget_transaction();
  }
  for (Request* request : batch) {
    if (one_by_one && database_ != nullptr) {
      write({&request, 1});
    } else {
      request->fail(error);
    }
  }
}

void Engine::read(std::span<Request* const> batch) {
  for (Request* request : batch) {
    try {
      if (!database_->in_transaction()) Use(statements_->begin_read).run();
      request->apply(*this);
    } catch (const SqlFailure& failure) {
      request->fail(failure.error(options_.path));
      if (failure.primary() == SQLITE_IOERR) {
        options_.logger->error("store.failed", {{"path", options_.path}, {"message", failure.message}});
      }
    } catch (const std::exception& exception) {
      request->fail(Error{ErrorCode::internal, concat("store ", options_.path, ": ", exception.what())});
    }
  }
  try {
    if (database_->in_transaction()) Use(statements_->commit).run();
  } catch (const SqlFailure&) {
    forget_transaction();  // nothing was written; every result is already there
  }
}

void Engine::begin(bool durable) {
  if (durable != synced_) {
    database_->execute(durable ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
    synced_ = durable;
  }
  Use(statements_->begin).run();
  now_us_ = micros_of(options_.clock->wall_now());
  boot_now_us_ = micros_of(options_.boot_clock->since_boot());
  Use meta(statements_->meta);
  const bool found = meta.step();
  if (!found) throw SqlFailure{SQLITE_CORRUPT, "dagverk_meta has no row"};
  next_id_ = meta.number_at(0);
  next_seq_ = meta.number_at(1);
  journal_rows_ = meta.integer_at(2);
  dead_ = meta.integer_at(3);
  queue_count_ = meta.integer_at(4);
}

void Engine::commit() {
  // As many as came in may go, and some more: the limit holds after each commit unless it was lowered since.
  if (buried_ > 0) static_cast<void>(trim_dead(buried_ + 100));
  for (Queue* queue : touched_) {
    Use use(statements_->queue_count);
    for (const std::int64_t delta : queue->delta) use.integer(delta);
    use.integer(queue->id).run();
  }
  if (journal_written_ > 0) {
    // Trimming in lumps costs less than row by row; the bound is the limit plus one lump.
    constexpr std::int64_t lump = 256;
    const std::int64_t excess = journal_rows_ - static_cast<std::int64_t>(options_.journal_rows_limit);
    if (excess >= lump) {
      static_cast<void>(trim_journal(static_cast<std::size_t>(journal_written_) + std::size_t{4} * lump, false));
    }
  }
  if (meta_changed_ || !touched_.empty()) {
    Use(statements_->meta_update)
        .number(next_id_)
        .number(next_seq_)
        .integer(journal_rows_)
        .integer(dead_)
        .integer(queue_count_)
        .integer(duplicates_)
        .integer(refused_)
        .run();
  }
  committing_ = true;
  Use(statements_->commit).run();
  committing_ = false;

  if (woke_) ++changes_.ready;
  if (journal_written_ > 0) ++changes_.journal;
  made_queues_.clear();
  for (auto& [node, lock] : new_locks_) locks_.emplace(node, std::move(lock));
  new_locks_.clear();
  for (const jobs::NodeEpoch node : retired_nodes_) {
    if (auto held = locks_.find(node); held != locks_.end()) {
      held->second.retire();
      locks_.erase(held);
    }
  }
  for (const std::string& name : stale_locks_) NodeLock::remove(options_.path, name);
  forget_transaction();
}

/// Ends the transaction, if it is still open, by undoing it; then forgets everything that was remembered for it.
void Engine::forget_transaction() noexcept {
  if (database_ != nullptr && database_->in_transaction()) {
    // A failing ROLLBACK means that SQLite has rolled back already.
    sqlite3_exec(database_->handle(), "ROLLBACK", nullptr, nullptr, nullptr);
  }
  committing_ = false;
  meta_changed_ = false;
  woke_ = false;
  buried_ = 0;
  duplicates_ = 0;
  refused_ = 0;
  journal_written_ = 0;
  for (Queue* queue : touched_) {
    queue->touched = false;
    queue->delta.fill(0);
  }
  touched_.clear();
  for (const std::int64_t id : made_queues_) {
    if (auto found = queues_by_id_.find(id); found != queues_by_id_.end()) {
      queues_by_name_.erase(found->second->name);
      queues_by_id_.erase(found);
    }
  }
  made_queues_.clear();
  checked_nodes_.clear();
  for (auto& [node, lock] : new_locks_) lock.retire();
  new_locks_.clear();
  retired_nodes_.clear();
  stale_locks_.clear();
}

void Engine::checkpoint_if_due() {
  if (database_ == nullptr || database_->wal_pages() < checkpoint_pages) return;
  try {
    database_->checkpoint(database_->wal_pages() >= restart_pages);
  } catch (const SqlFailure& failure) {
    options_.logger->error("store.checkpoint_failed", {{"path", options_.path}, {"message", failure.message}});
    if (failure.primary() == SQLITE_IOERR) {
      suspect_ = true;
      disconnect();
    }
  }
}

void Engine::look_for_foreign_commits() {
  if (database_ == nullptr) return;
  try {
    Use use(statements_->data_version);
    const std::int64_t version = use.step() ? use.integer_at(0) : 0;
    if (version == data_version_) return;
    data_version_ = version;
    ++changes_.ready;
    ++changes_.journal;
  } catch (const SqlFailure&) {
    ++changes_.ready;  // whoever looks next meets the failure itself
    ++changes_.journal;
  }
}

Result<void> Engine::check_room(std::size_t size) {
  if (options_.size_limit == 0) return {};
  std::uint64_t pages = 0;
  {
    Use use(statements_->page_count);
    if (use.step()) pages = use.number_at(0);
  }
  {
    Use use(statements_->freelist_count);
    if (use.step()) pages -= std::min(pages, use.number_at(0));
  }
  constexpr std::uint64_t page_size = 4096;
  if (pages * page_size + size <= options_.size_limit) return {};
  return Error{ErrorCode::store_full, concat("store ", options_.path, ": holds ", pages * page_size, " bytes of the ",
                                             options_.size_limit, " allowed; let jobs finish or raise the limit")};
}

std::uint64_t Engine::next_id() noexcept {
  meta_changed_ = true;
  return next_id_++;
}

Engine::Queue* Engine::find_queue(std::string_view name) {
  if (auto known = queues_by_name_.find(name); known != queues_by_name_.end()) return known->second;
  Use use(statements_->queue_by_name);
  if (!use.text(name).step()) return nullptr;
  auto queue = std::make_unique<Queue>();
  queue->id = use.integer_at(0);
  queue->name = name;
  Queue* const found = queue.get();
  queues_by_id_[found->id] = std::move(queue);
  queues_by_name_[found->name] = found;
  return found;
}

Result<Engine::Queue*> Engine::make_queue(std::string_view name) {
  if (Queue* known = find_queue(name); known != nullptr) return known;
  if (queue_count_ >= static_cast<std::int64_t>(jobs::queue_count_limit)) {
    return Error{ErrorCode::refused,
                 concat("queue \"", name, "\": the store has ", queue_count_, " queues, which is its limit")};
  }
  auto queue = std::make_unique<Queue>();
  queue->id = static_cast<std::int64_t>(next_id());
  queue->name = name;
  Use(statements_->queue_insert).integer(queue->id).text(name).run();
  ++queue_count_;
  Queue* const made = queue.get();
  made_queues_.push_back(made->id);
  queues_by_id_[made->id] = std::move(queue);
  queues_by_name_[made->name] = made;
  return made;
}

Engine::Queue& Engine::queue_of(std::int64_t id) {
  if (auto known = queues_by_id_.find(id); known != queues_by_id_.end()) return *known->second;
  Use use(statements_->queue_by_id);
  if (!use.integer(id).step())
    throw SqlFailure{SQLITE_CORRUPT, concat("a job names queue ", id, ", which is not there")};
  auto queue = std::make_unique<Queue>();
  queue->id = id;
  queue->name = use.bytes_at(0);
  Queue* const found = queue.get();
  queues_by_id_[id] = std::move(queue);
  queues_by_name_[found->name] = found;
  return *found;
}

void Engine::count(Queue& queue, Count what, std::int64_t by) {
  if (!queue.touched) {
    queue.touched = true;
    touched_.push_back(&queue);
  }
  queue.delta[static_cast<std::size_t>(what)] += by;
}

void Engine::count_state(Queue& queue, jobs::JobState state, std::int64_t by) {
  switch (state) {
    case jobs::JobState::ready:
      if (by > 0) woke_ = true;
      return count(queue, Count::ready, by);
    case jobs::JobState::scheduled: return count(queue, Count::scheduled, by);
    case jobs::JobState::retrying: return count(queue, Count::retrying, by);
    case jobs::JobState::running: return count(queue, Count::running, by);
    case jobs::JobState::dead:
      dead_ += by;
      if (by > 0) ++buried_;
      return count(queue, Count::dead, by);
  }
  throw SqlFailure{SQLITE_CORRUPT, concat("a job is in state ", static_cast<int>(state))};
}

void Engine::journal(bool journaled, jobs::JournalKind kind, const Queue& queue, std::string_view jid,
                     std::string_view class_name, std::string_view detail) {
  if (!journaled || !options_.journal) return;
  Use(statements_->journal_insert)
      .number(next_seq_)
      .integer(static_cast<std::int64_t>(kind))
      .integer(now_us_)
      .integer(queue.id)
      .text(jid)
      .text(class_name)
      .text(detail)
      .run();
  ++next_seq_;
  ++journal_rows_;
  ++journal_written_;
  meta_changed_ = true;
}

bool Engine::load_job(std::int64_t id, JobRow& row) {
  Use use(statements_->job_row);
  if (!use.integer(id).step()) return false;
  row.id = id;
  row.state = static_cast<jobs::JobState>(use.integer_at(0));
  row.queue = use.integer_at(1);
  row.rank = use.integer_at(2);
  row.flags = use.integer_at(3);
  row.node = use.integer_at(4);
  row.execution = use.integer_at(5);
  row.rescues = use.integer_at(6);
  row.rescued_us = use.integer_at(7);
  row.rescued_before_us = use.integer_at(8);
  row.jid = use.bytes_at(9);
  row.class_name = use.bytes_at(10);
  return true;
}

Result<void> Engine::check_node(jobs::NodeEpoch node) {
  for (const jobs::NodeEpoch checked : checked_nodes_) {
    if (checked == node) return {};
  }
  Use use(statements_->node_row);
  if (!use.number(node).step() || use.integer_at(2) != 0) {
    return Error{ErrorCode::refused,
                 concat("node ", node, ": not registered, or found dead and rescued; register again")};
  }
  if (use.bytes_at(0) != options_.boot_clock->boot_id() || use.integer_at(1) < boot_now_us_) {
    return Error{ErrorCode::refused, concat("node ", node, ": its lease has run out; renew it first")};
  }
  checked_nodes_.push_back(node);
  return {};
}

void Engine::delete_job(const JobRow& row, Count as, jobs::JournalKind kind, std::string_view detail) {
  Use(statements_->job_delete).integer(row.id).run();
  Queue& queue = queue_of(row.queue);
  count_state(queue, row.state, -1);
  count(queue, as);
  journal(row.journaled(), kind, queue, row.jid, row.class_name, detail);
}

std::size_t Engine::trim_dead(std::size_t limit) {
  const std::int64_t excess = dead_ - static_cast<std::int64_t>(options_.dead_count_limit);
  const std::int64_t oldest_kept_us = now_us_ - micros_of(options_.dead_age_limit);
  std::vector<std::int64_t> ids;
  const auto collect = [&](std::int64_t until_us, std::int64_t at_most) {
    Use use(statements_->job_oldest_dead);
    use.integer(until_us).integer(at_most);
    while (use.step()) ids.push_back(use.integer_at(0));
  };
  if (excess > 0) collect(INT64_MAX, std::min(excess, static_cast<std::int64_t>(limit)));
  if (ids.empty()) collect(oldest_kept_us, static_cast<std::int64_t>(limit));
  JobRow row;
  for (const std::int64_t id : ids) {
    if (load_job(id, row)) delete_job(row, Count::trimmed, jobs::JournalKind::trimmed, {});
  }
  return ids.size();
}

std::size_t Engine::trim_journal(std::size_t limit, bool by_age) {
  auto rows = static_cast<std::int64_t>(limit);
  std::int64_t before_us = INT64_MAX;
  if (by_age) {
    before_us = now_us_ - micros_of(options_.journal_age_limit);
    Use oldest(statements_->journal_oldest);
    if (!oldest.step() || oldest.integer_at(0) >= before_us) return 0;
  } else {
    rows = std::min(rows, journal_rows_ - static_cast<std::int64_t>(options_.journal_rows_limit));
    if (rows <= 0) return 0;
  }
  std::int64_t cut = 0;
  {
    Use use(statements_->journal_cut);
    if (!use.integer(rows).integer(before_us).step() || use.is_null(0)) return 0;
    cut = use.integer_at(0);
  }
  Use(statements_->journal_trim).integer(cut).run();
  const std::int64_t trimmed = database_->changes();
  Use(statements_->trimmed_seq).integer(cut).run();
  journal_rows_ -= trimmed;
  meta_changed_ = true;
  return static_cast<std::size_t>(trimmed);
}

}  // namespace dagverk::stores
