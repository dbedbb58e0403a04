#include "stores/sqlite/schema.hpp"

#include "stores/sqlite/schema_tables.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/base/random.hpp"

#include <sqlite3.h>

namespace dagverk::stores {

namespace {

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
  database.execute(tables_of_version_1);
  database.execute(tables_of_version_2);
  database.execute(tables_of_version_3);
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
  const auto known = schema_version_of(database);
  if (!known) return known.error();
  const std::int64_t version = *known;
  if (version > schema_version) {
    return Error{ErrorCode::store_newer,
                 concat("store ", database.path(), ": written by a newer dagverk (schema ", version,
                        ", this program knows ", schema_version, "); upgrade this program")};
  }
  if (version < schema_version) {
    return Error{ErrorCode::unsupported,
                 concat("store ", database.path(), ": written by an older dagverk (schema ", version,
                        ", this program needs ", schema_version,
                        "); stop whatever uses it, then type: dagverk store migrate --store sqlite:", database.path())};
  }
  return {};
}

}  // namespace

Result<void> check_schema(Database& database) { return check_version(database); }

Result<std::int64_t> schema_version_of(Database& database) {
  try {
    if (!has_table(database, "dagverk_meta")) {
      return Error{ErrorCode::not_a_store, concat("store ", database.path(),
                                                  ": this file holds no store yet; open it "
                                                  "as one first")};
    }
    const std::int64_t version = database.number("SELECT schema_version FROM dagverk_meta");
    if (version < 1) return Error{ErrorCode::malformed, concat("store ", database.path(), ": no schema version")};
    return version;
  } catch (const SqlFailure& failure) {
    return failure.error(database.path());
  }
}

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
    // Some builds of SQLite overwrite all that is deleted, and write pages for it that hold nothing any more.
    database.execute("PRAGMA secure_delete = FAST");
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
