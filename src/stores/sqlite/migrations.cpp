// From one layout of the file to the next.

#include "stores/sqlite/database.hpp"
#include "stores/sqlite/database_copy.hpp"
#include "stores/sqlite/schema.hpp"
#include "stores/sqlite/schema_tables.hpp"

#include "dagverk/base/concat.hpp"
#include "dagverk/stores/sqlite/sqlite_migration.hpp"

#include <sqlite3.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <memory>
#include <span>
#include <sys/stat.h>

namespace dagverk::stores {

namespace {

/// From version `from` to the next one: SQL that runs inside the migration's transaction.
struct Step {
  std::int64_t from;
  std::span<const char* const> sql;
};

constexpr const char* columns_of_version_2 = R"sql(
ALTER TABLE dagverk_meta ADD COLUMN ready_commits INTEGER NOT NULL DEFAULT 0;
ALTER TABLE dagverk_meta ADD COLUMN bell_changes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE dagverk_meta ADD COLUMN unique_held INTEGER NOT NULL DEFAULT 0;
ALTER TABLE dagverk_meta ADD COLUMN unique_refused INTEGER NOT NULL DEFAULT 0;
ALTER TABLE dagverk_node ADD COLUMN identity TEXT NOT NULL DEFAULT '';
ALTER TABLE dagverk_node ADD COLUMN info TEXT NOT NULL DEFAULT '';
ALTER TABLE dagverk_node ADD COLUMN quiet INTEGER NOT NULL DEFAULT 0;
ALTER TABLE dagverk_node ADD COLUMN busy INTEGER NOT NULL DEFAULT 0;
ALTER TABLE dagverk_node ADD COLUMN resident INTEGER NOT NULL DEFAULT 0;
ALTER TABLE dagverk_node ADD COLUMN round_trip_us INTEGER NOT NULL DEFAULT 0;
ALTER TABLE dagverk_node ADD COLUMN beat_us INTEGER;
UPDATE dagverk_node SET identity = name;
)sql";
constexpr std::array to_version_2{columns_of_version_2, tables_of_version_2};

constexpr const char* columns_of_version_3 = R"sql(
ALTER TABLE dagverk_meta ADD COLUMN limit_changes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE dagverk_job ADD COLUMN limit_key TEXT;
ALTER TABLE dagverk_queue ADD COLUMN refused INTEGER NOT NULL DEFAULT 0;
ALTER TABLE dagverk_queue ADD COLUMN dropped INTEGER NOT NULL DEFAULT 0;
ALTER TABLE dagverk_queue ADD COLUMN diverted INTEGER NOT NULL DEFAULT 0;
)sql";
constexpr std::array to_version_3{columns_of_version_3, tables_of_version_3};

// One for each version that ever was, in order. Released ones are never changed.
constexpr std::array steps{Step{1, to_version_2}, Step{2, to_version_3}};
static_assert(steps.size() == schema_version - 1 && steps.front().from == 1 && steps.back().from == schema_version - 1);

/// How long somebody who is just looking may be in the way.
constexpr Duration lock_wait = std::chrono::seconds(2);

Result<std::unique_ptr<Database>> open_existing(const std::string& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0 && (errno == ENOENT || errno == ENOTDIR)) {
    return Error{ErrorCode::not_found, concat("store ", path, ": does not exist")};
  }
  return Database::open(path, system_clock(), lock_wait);
}

/// Makes the tables those of this program, inside the open transaction.
void run_steps(Database& database, std::int64_t from) {
  for (const Step& step : steps) {
    if (step.from < from) continue;
    for (const char* sql : step.sql) database.execute(sql);
  }
  Statement version(database, "UPDATE dagverk_meta SET schema_version = ?1");
  Use(version).integer(schema_version).run();
}

Error newer(const std::string& path, std::int64_t version) {
  return {ErrorCode::store_newer, concat("store ", path, ": written by a newer dagverk (schema ", version,
                                         ", this program knows ", schema_version, "); upgrade this program")};
}

/// With the file to ourselves: nobody who knows only the older layout can write into the new one.
Result<SqliteMigration> migrate_alone(Database& database, const SqliteMigrationOptions& options) {
  SqliteMigration done{.to = schema_version};
  try {
    database.execute("PRAGMA locking_mode = EXCLUSIVE");
    database.execute("PRAGMA trusted_schema = OFF");
    database.execute("PRAGMA synchronous = FULL");
    database.execute("BEGIN EXCLUSIVE");
    const auto version = schema_version_of(database);
    if (!version) return version.error();
    if (*version > schema_version) return newer(options.path, *version);
    done.from = *version;
    if (done.from == schema_version) return done;  // somebody else was faster
    database.execute("COMMIT");                    // the lock on the file stays: see the first pragma
    if (options.backup && !options.dry_run) {
      done.backup = concat(options.path, ".schema-", done.from);
      if (auto copied = copy_database(database, done.backup); !copied) return copied.error();
    }
    database.execute("BEGIN EXCLUSIVE");
    run_steps(database, done.from);
    database.execute(options.dry_run ? "ROLLBACK" : "COMMIT");
    done.migrated = !options.dry_run;
    return done;
  } catch (const SqlFailure& failure) {
    if (failure.primary() == SQLITE_BUSY) {
      return Error{ErrorCode::refused, concat("store ", options.path,
                                              ": a program has it open; stop all workers and other "
                                              "programs that use it, then try again")};
    }
    return failure.error(options.path);
  }
}

}  // namespace

Result<SqliteMigration> migrate_sqlite_store(const SqliteMigrationOptions& options) {
  {
    auto database = open_existing(options.path);
    if (!database) return database.error();
    const auto version = schema_version_of(**database);
    if (!version) return version.error();
    if (*version > schema_version) return newer(options.path, *version);
    if (*version == schema_version) return SqliteMigration{.from = *version, .to = schema_version};
  }  // closed first: it would be in the way of the one below
  auto database = open_existing(options.path);
  if (!database) return database.error();
  return migrate_alone(**database, options);
}

}  // namespace dagverk::stores
