#include "stores/sqlite/schema.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/base/random.hpp"

#include <sqlite3.h>

namespace dagverk::stores {

namespace {

// Every table has our prefix: the file may one day be shared with an application's own tables, so the version lives in
// a table of ours and not in `user_version`, which belongs to whoever made the file.
//
// dagverk_job.state: 0 ready, 1 scheduled, 2 retrying, 3 running, 4 dead. flags: bit 0 = journaled.
// rank: order within a queue, lower first: -2 x priority + 1, one less when the job was given back.
// Times are microseconds: `_us` since the Unix epoch, `_boot_us` since the boot named beside it.
constexpr const char* create_tables = R"sql(
CREATE TABLE dagverk_meta(
  id INTEGER PRIMARY KEY CHECK(id = 1),
  schema_version INTEGER NOT NULL,
  store_id TEXT NOT NULL,
  boot_id TEXT NOT NULL,
  next_id INTEGER NOT NULL DEFAULT 1,
  next_seq INTEGER NOT NULL DEFAULT 1,
  journal_rows INTEGER NOT NULL DEFAULT 0,
  trimmed_seq INTEGER NOT NULL DEFAULT 0,
  dead INTEGER NOT NULL DEFAULT 0,
  queues INTEGER NOT NULL DEFAULT 0,
  duplicates INTEGER NOT NULL DEFAULT 0,
  refused INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE dagverk_queue(
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  ready INTEGER NOT NULL DEFAULT 0,
  scheduled INTEGER NOT NULL DEFAULT 0,
  retrying INTEGER NOT NULL DEFAULT 0,
  running INTEGER NOT NULL DEFAULT 0,
  dead INTEGER NOT NULL DEFAULT 0,
  enqueued INTEGER NOT NULL DEFAULT 0,
  finished INTEGER NOT NULL DEFAULT 0,
  discarded INTEGER NOT NULL DEFAULT 0,
  expired INTEGER NOT NULL DEFAULT 0,
  deleted INTEGER NOT NULL DEFAULT 0,
  trimmed INTEGER NOT NULL DEFAULT 0,
  moved_in INTEGER NOT NULL DEFAULT 0,
  moved_out INTEGER NOT NULL DEFAULT 0,
  retried INTEGER NOT NULL DEFAULT 0,
  died INTEGER NOT NULL DEFAULT 0,
  rescued INTEGER NOT NULL DEFAULT 0,
  quarantined INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE dagverk_node(
  id INTEGER PRIMARY KEY,
  lock_name TEXT NOT NULL,
  name TEXT NOT NULL,
  detail TEXT NOT NULL,
  boot_id TEXT NOT NULL,
  lease_boot_us INTEGER NOT NULL,
  registered_us INTEGER NOT NULL,
  dead INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE dagverk_job(
  id INTEGER PRIMARY KEY,
  state INTEGER NOT NULL,
  queue INTEGER NOT NULL,
  rank INTEGER NOT NULL,
  flags INTEGER NOT NULL,
  node INTEGER,
  execution INTEGER,
  due_us INTEGER,
  enqueued_us INTEGER NOT NULL,
  started_us INTEGER,
  rescues INTEGER NOT NULL DEFAULT 0,
  rescued_us INTEGER,
  rescued_before_us INTEGER,
  jid TEXT NOT NULL,
  class TEXT NOT NULL,
  reason TEXT,
  payload BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX dagverk_job_jid ON dagverk_job(jid);
CREATE INDEX dagverk_job_ready ON dagverk_job(queue, rank) WHERE state = 0;
CREATE INDEX dagverk_job_running ON dagverk_job(node) WHERE state = 3;
CREATE INDEX dagverk_job_due ON dagverk_job(state, due_us) WHERE due_us IS NOT NULL;

CREATE TABLE dagverk_journal(
  seq INTEGER PRIMARY KEY,
  kind INTEGER NOT NULL,
  at_us INTEGER NOT NULL,
  queue INTEGER NOT NULL,
  jid TEXT NOT NULL,
  class TEXT NOT NULL,
  detail TEXT NOT NULL
) STRICT;
)sql";

constexpr int application_id = 0x44475631;  // "DGV1"; lets file(1) and people recognise a file that we made

Error foreign_file(std::string_view path) {
  return {ErrorCode::not_a_store, concat("store ", path, ": a database of another program; name another file")};
}

bool has_table(Database& database, std::string_view name) {
  Statement statement(database, "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1");
  Use use(statement);
  return use.text(name).step();
}

// Switching to WAL needs the file for itself for a moment, and SQLite does not call the busy handler for every way that
// can fail.
void switch_to_wal(Database& database) {
  constexpr int attempt_limit = 1000;
  for (int attempt = 1;; ++attempt) {
    try {
      if (database.text("PRAGMA journal_mode") == "wal") return;
      if (database.text("PRAGMA journal_mode = WAL") == "wal") return;
      throw SqlFailure{SQLITE_CANTOPEN, "the file system does not support WAL (a network file system?)"};
    } catch (const SqlFailure& failure) {
      if (failure.primary() != SQLITE_BUSY || attempt == attempt_limit) throw;
    }
    sleep_for(std::chrono::milliseconds(2));
  }
}

void create(Database& database, std::string_view boot_id) {
  database.execute(create_tables);
  const std::string store_id = random_hex(8);
  Statement insert(database, "INSERT INTO dagverk_meta(id, schema_version, store_id, boot_id) VALUES(1, ?1, ?2, ?3)");
  Use(insert).integer(schema_version).text(store_id).text(boot_id).run();
  database.execute(concat("PRAGMA application_id = ", application_id).c_str());
}

// Claims, promotions and lease renewals commit without waiting for the disk, so a power loss may undo the latest of
// them, and with them the ids they took. Nobody who saw those ids may meet them again with another meaning.
void begin_boot(Database& database, std::string_view boot_id) {
  Statement update(
      database,
      "UPDATE dagverk_meta SET boot_id = ?1, next_id = next_id + 100000000, next_seq = next_seq + 100000000 "
      "WHERE boot_id <> ?1");
  Use(update).text(boot_id).run();
}

Result<void> check_version(Database& database) {
  const std::int64_t version = database.number("SELECT schema_version FROM dagverk_meta");
  if (version > schema_version) {
    return Error{ErrorCode::store_newer,
                 concat("store ", database.path(), ": written by a newer dagverk (schema ", version,
                        ", this program knows ", schema_version, "); upgrade this program")};
  }
  if (version < 1) return Error{ErrorCode::malformed, concat("store ", database.path(), ": no schema version")};
  return {};
}

}  // namespace

Result<void> prepare_schema(Database& database, std::string_view boot_id) {
  try {
    // Look before touching: a file that is not ours stays as it is, down to its journal mode.
    const bool ours = has_table(database, "dagverk_meta");
    if (!ours && database.number("SELECT count(*) FROM sqlite_schema") != 0 && !has_table(database, "dagverk_meta")) {
      return foreign_file(database.path());
    }
    if (ours) {
      if (auto known = check_version(database); !known) return known;
    }
    if (!ours) database.execute("PRAGMA page_size = 4096");
    database.execute("PRAGMA temp_store = MEMORY");
    database.execute("PRAGMA foreign_keys = OFF");
    database.execute("PRAGMA trusted_schema = OFF");
    database.execute("PRAGMA cache_size = -32768");            // KiB
    database.execute("PRAGMA journal_size_limit = 33554432");  // bytes the WAL keeps after a checkpoint
    switch_to_wal(database);
    database.execute("PRAGMA synchronous = FULL");
    database.execute("BEGIN IMMEDIATE");
    if (!has_table(database, "dagverk_meta")) {
      create(database, boot_id);
    } else if (auto known = check_version(database); !known) {
      database.execute("ROLLBACK");
      return known;
    }
    begin_boot(database, boot_id);
    database.execute("COMMIT");
    return {};
  } catch (const SqlFailure& failure) {
    return failure.error(database.path());
  }
}

}  // namespace dagverk::stores
