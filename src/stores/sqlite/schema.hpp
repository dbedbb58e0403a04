#pragma once

#include "stores/sqlite/database.hpp"

#include "dagverk/base/result.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace dagverk::stores {

/// The layout this program reads and writes. docs/reference/store-sqlite.md describes it.
inline constexpr std::int64_t schema_version = 3;

/// Makes `database` ready for use: WAL, connection settings, and the tables when the file is new.
///
/// Semantics: several OS processes may do this at once on a new file; one creates the tables. A boot other than the one
///            that last used the file moves the sequences on, so that ids handed out by commits that a power loss undid
///            are never used again.
/// Errors:    `not_a_store` (not a database, or somebody else's), `store_newer`, `unsupported`, `malformed`, and what
///            SQLite reports. Throws nothing. A file that is refused is left as it was.
[[nodiscard]] Result<void> prepare_schema(Database& database, std::string_view boot_id);

/// Whether there is a store in the file that this program can use. Changes nothing.
/// Errors: `not_a_store`, `store_newer`, `unsupported`, `malformed`.
[[nodiscard]] Result<void> check_schema(Database& database);

/// The version of the layout in the file, whether this program knows it or not.
/// Errors: `not_a_store`, `malformed`, and what SQLite reports.
[[nodiscard]] Result<std::int64_t> schema_version_of(Database& database);

}  // namespace dagverk::stores
