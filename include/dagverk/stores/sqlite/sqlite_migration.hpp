#pragma once

#include "dagverk/base/result.hpp"

#include <cstdint>
#include <string>

namespace dagverk::stores {

struct SqliteMigrationOptions {
  std::string path;      ///< the store's file, which must exist
  bool backup = true;    ///< copies the file first, to `<path>.schema-<version>`, which must not exist
  bool dry_run = false;  ///< does everything, and takes it back; no copy is made
};

/// What a migration did.
struct SqliteMigration {
  std::int64_t from = 0;  ///< the version of the layout that the file had
  std::int64_t to = 0;    ///< the one that this program needs
  bool migrated = false;  ///< false: it has that version already, or this was a dry run
  std::string backup{};   ///< where the copy is; empty: none was made
};

/// Brings a store's file of an older version to the layout that this program reads and writes.
///
/// Semantics: one transaction: a crash or failure at any point leaves the store as it was, and it can be tried again.
///            Jobs, counts and journal stay as they are.
/// Threads:   any; blocks: never on a scheduler thread.
/// Errors:    `refused`: another program has the file open, and would write what it knows into what it does not;
///            `already_exists`: the backup; `not_found`, `not_a_store`, `store_newer`, `store_full`, `io`,
///            `permission`, `malformed`. Nothing has changed then, but that there may be a backup.
[[nodiscard]] Result<SqliteMigration> migrate_sqlite_store(const SqliteMigrationOptions& options);

}  // namespace dagverk::stores
