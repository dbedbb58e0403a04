#include "stores/sqlite/engine.hpp"

#include "stores/sqlite/engine_internal.hpp"
#include "stores/sqlite/journal_filter.hpp"
#include "stores/sqlite/schema.hpp"

#include "dagverk/base/assert.hpp"
#include "dagverk/base/concat.hpp"

#include <sqlite3.h>

#include <algorithm>
#include <exception>
#include <utility>

namespace dagverk::stores {

namespace {

// In pages of 4 KiB. A checkpoint costs three syncs and writes each page once, however often the log has it; every
// 16 MiB keeps each one short. Past 48 MiB some reader is in the way of starting the WAL afresh.
constexpr int checkpoint_pages = 4 * 1024;
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

Result<std::unique_ptr<Engine>> Engine::join(sqlite3* connection, SqliteOptions options) {
  std::unique_ptr<Engine> engine(new Engine(std::move(options)));
  engine->database_ = Database::borrow(connection, *engine->options_.clock);
  engine->options_.path = engine->file_path_ = engine->database_->path();
  engine->ringer_.emplace(engine->file_path_);
  if (auto known = check_schema(*engine->database_); !known) return known.error();
  engine->statements_ = std::make_unique<Statements>(*engine->database_);
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
    page_size_ = static_cast<std::uint64_t>(database_->number("PRAGMA page_size"));
    if (file_path_.empty()) {
      file_path_ = database_->file_path();
      ringer_.emplace(file_path_);
    }
    if (suspect_) {
      // After a failed sync the system may call pages clean that never reached the disk, and a later sync would not
      // write them. So before anything is promised again, the log is copied into the database, which writes those pages
      // anew, and begun afresh.
      database_->empty_wal();
      suspect_ = false;
    }
    ++open_count_;
    ++changes_.ready;  // who knows what happened while nothing was open
    ++changes_.journal;
    static_cast<void>(look_for_foreign_commits());
    return {};
  } catch (const SqlFailure& failure) {
    disconnect();
    return failure.error(options_.path);
  }
}

void Engine::distrust_log() noexcept {
  suspect_ = true;
  options_.logger->error("store.failed", {{"path", options_.path}, {"message", "the disk failed to sync the log"}});
  disconnect();
}

void Engine::disconnect() noexcept {
  statements_.reset();
  database_.reset();
  queues_by_name_.clear();
  queues_by_id_.clear();
  claims_.clear();
  limits_known_ = ~std::uint64_t{0};
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
  if (const bool sync = durable && !sync_later_; sync != synced_) {
    database_->execute(sync ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
    synced_ = sync;
  }
  Use(statements_->begin).run();
  read_meta();
}

/// What the open transaction begins with.
void Engine::read_meta() {
  now_us_ = micros_of(options_.clock->wall_now());
  boot_now_us_ = micros_of(options_.boot_clock->since_boot());
  Use meta(statements_->meta);
  const bool found = meta.step();
  if (!found) throw SqlFailure{SQLITE_CORRUPT, "dagverk_meta has no row"};
  next_id_ = meta.number_at(0);
  first_seq_ = next_seq_ = meta.number_at(1);
  journal_rows_ = meta.integer_at(2);
  dead_ = meta.integer_at(3);
  queue_count_ = meta.integer_at(4);
  new_bell_changes_ = meta.number_at(9);
  unique_held_ = meta.integer_at(10);
  limit_changes_ = meta.number_at(12);
  note_changes(meta.number_at(8), next_seq_);
}

/// Counts what other connections did since this one last saw these two.
void Engine::note_changes(std::uint64_t ready_commits, std::uint64_t next_seq) noexcept {
  if (std::exchange(ready_commits_, ready_commits) != ready_commits) ++changes_.ready;
  if (std::exchange(seen_seq_, next_seq) != next_seq) ++changes_.journal;
}

void Engine::commit() {
  write_counts();
  committing_ = true;
  Use(statements_->commit).run();
  committing_ = false;

  if (woke_) {
    ++changes_.ready;
    ++ready_commits_;
    ring_bells();
  }
  if (journal_written_ > 0) ++changes_.journal;
  seen_seq_ = next_seq_;
  made_queues_.clear();
  for (auto& [node, lock] : new_locks_) locks_.emplace(node, std::move(lock));
  new_locks_.clear();
  for (const jobs::NodeEpoch node : retired_nodes_) {
    if (auto held = locks_.find(node); held != locks_.end()) {
      held->second.retire();
      locks_.erase(held);
    }
  }
  for (const std::string& name : stale_locks_) NodeLock::remove(file_path_, name);
  forget_transaction();
}

/// Brings what was only counted so far into the open transaction.
void Engine::write_counts() {
  // As many as came in may go, and some more: the limit holds after each commit unless it was lowered since.
  if (buried_ > 0) static_cast<void>(trim_dead(buried_ + 100));
  for (Queue* queue : touched_) {
    Use use(statements_->queue_count);
    for (const std::int64_t delta : queue->delta) use.integer(delta);
    use.integer(queue->id).run();
  }
  if (journal_written_ > 0) {
    write_journal_filters();
    // Trimming in lumps costs less than row by row; the bound is the limit plus one lump.
    constexpr std::int64_t lump = 256;
    const std::int64_t excess = journal_rows_ - static_cast<std::int64_t>(options_.journal_rows_limit);
    if (excess >= lump) {
      static_cast<void>(trim_journal(static_cast<std::size_t>(journal_written_) + std::size_t{4} * lump, false));
    }
  }
  if (!silent_bells_.empty() || (woke_ && new_bell_changes_ != bell_changes_)) update_bells();
  if (meta_changed_ || !touched_.empty()) {
    Use(statements_->meta_update)
        .number(next_id_)
        .number(next_seq_)
        .integer(journal_rows_)
        .integer(dead_)
        .integer(queue_count_)
        .integer(duplicates_)
        .integer(refused_)
        .integer(woke_ ? 1 : 0)
        .integer(unique_held_)
        .integer(unique_refused_)
        .run();
  }
}

/// Gives each block of the journal that is full now its filter.
void Engine::write_journal_filters() {
  const std::int64_t open_block = journal_block_of(static_cast<std::int64_t>(next_seq_));
  for (std::int64_t block = journal_block_of(static_cast<std::int64_t>(first_seq_)); block < open_block; ++block) {
    JournalFilter filter;
    {
      Use use(statements_->journal_jids);
      use.integer(block * journal_block_size).integer((block + 1) * journal_block_size);
      while (use.step()) filter.add(use.bytes_at(0));
    }
    Use(statements_->block_insert).integer(block).blob(filter.bytes()).run();
  }
}

void Engine::take_part(Request& request) {
  if (!database_->in_transaction()) {
    request.fail(
        Error{ErrorCode::invalid_argument,
              concat("store ", options_.path, ": no transaction is open on this connection; begin one first")});
    return;
  }
  // Whatever the application inserted last is still what it inserted last.
  const std::int64_t inserted = sqlite3_last_insert_rowid(database_->handle());
  try {
    Use(statements_->savepoint).run();
    try {
      read_meta();
      request.apply(*this);
      write_counts();
      Use(statements_->release).run();
      woke_inside_ = woke_inside_ || woke_;
    } catch (...) {
      // Some failures end the whole transaction; then there is nothing to go back to.
      if (database_->in_transaction()) {
        Use(statements_->rollback_to).run();
        Use(statements_->release).run();
      }
      throw;
    }
  } catch (const SqlFailure& failure) {
    request.fail(failure.primary() == SQLITE_BUSY
                     ? Error{ErrorCode::unavailable,
                             concat("store ", options_.path,
                                    ": another connection is writing, or has written since this "
                                    "transaction began to read; roll back, and begin with BEGIN IMMEDIATE")}
                     : failure.error(options_.path));
  } catch (const std::exception& exception) {
    request.fail(Error{ErrorCode::internal, concat("store ", options_.path, ": ", exception.what())});
  }
  sqlite3_set_last_insert_rowid(database_->handle(), inserted);
  forget_changes();
  // The transaction may yet be rolled back, and the queues it made with it.
  queues_by_name_.clear();
  queues_by_id_.clear();
}

void Engine::ring_after_commit() noexcept {
  if (database_->in_transaction() || !std::exchange(woke_inside_, false)) return;
  ring_bells();
}

/// Ends the transaction, if it is still open, by undoing it; then forgets everything that was remembered for it.
void Engine::forget_transaction() noexcept {
  if (database_ != nullptr && database_->in_transaction()) {
    // A failing ROLLBACK means that SQLite has rolled back already.
    sqlite3_exec(database_->handle(), "ROLLBACK", nullptr, nullptr, nullptr);
  }
  forget_changes();
}

/// Forgets what was remembered for a transaction.
void Engine::forget_changes() noexcept {
  committing_ = false;
  meta_changed_ = false;
  woke_ = false;
  buried_ = 0;
  duplicates_ = 0;
  refused_ = 0;
  unique_refused_ = 0;
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
  if (std::exchange(limits_touched_, false)) limits_known_ = ~std::uint64_t{0};
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

bool Engine::look_for_foreign_commits() {
  if (database_ == nullptr) return false;
  try {
    {
      Use use(statements_->data_version);
      const std::int64_t version = use.step() ? use.integer_at(0) : 0;
      if (version == data_version_) return false;
      data_version_ = version;
    }
    Use meta(statements_->meta);
    if (meta.step()) note_changes(meta.number_at(8), meta.number_at(1));
    Use newest(statements_->cancel_newest);
    const std::uint64_t wish = newest.step() && !newest.is_null(0) ? newest.number_at(0) : 0;
    if (wish > std::exchange(newest_wish_, wish)) ++changes_.asked;
  } catch (const SqlFailure&) {
    ++changes_.ready;  // whoever looks next meets the failure itself
    ++changes_.journal;
    ++changes_.asked;
  }
  return true;
}

/// Reads anew who is to be rung, and strikes out those who are gone.
void Engine::update_bells() {
  for (const std::string& name : silent_bells_) {
    Use(statements_->bell_delete).text(name).run();
    if (database_->changes() > 0) ringer_->remove(name);
  }
  if (!silent_bells_.empty()) {
    Use(statements_->bell_changed).run();
    ++new_bell_changes_;
  }
  silent_bells_.clear();
  bells_.clear();
  Use use(statements_->bell_list);
  use.number(bell_count_limit);
  while (use.step()) {
    if (use.bytes_at(0) != own_bell_) bells_.emplace_back(use.bytes_at(0));
  }
  bell_changes_ = new_bell_changes_;
}

void Engine::ring_bells() noexcept {
  std::erase_if(bells_, [&](std::string& name) {
    if (ringer_->ring(name)) return false;
    silent_bells_.push_back(std::move(name));
    return true;
  });
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
  if (pages * page_size_ + size <= options_.size_limit) return {};
  return Error{ErrorCode::store_full, concat("store ", options_.path, ": holds ", pages * page_size_, " bytes of the ",
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
    case jobs::JobState::running:
      if (by < 0) free_queue_slot(queue);
      return count(queue, Count::running, by);
    case jobs::JobState::dead:
      dead_ += by;
      if (by > 0) ++buried_;
      return count(queue, Count::dead, by);
  }
  throw SqlFailure{SQLITE_CORRUPT, concat("a job is in state ", static_cast<int>(state))};
}

void Engine::journal(bool journaled, jobs::JournalKind kind, const Queue& queue, std::string_view jid,
                     std::string_view class_name, std::string_view detail) {
  if (unique_held_ > 0) free_lock(jid, kind);
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
  row.limit_key = use.bytes_at(11);
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
  if (row.state == jobs::JobState::running) free_key_slot(row.limit_key);
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
  Use(statements_->block_trim).integer(journal_block_of(cut)).run();
  journal_rows_ -= trimmed;
  meta_changed_ = true;
  return static_cast<std::size_t>(trimmed);
}

}  // namespace dagverk::stores
