#pragma once

#include "stores/sqlite/database.hpp"

#include "dagverk/base/result.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace dagverk::stores {

/// The layout this program reads and writes. docs/reference/store-sqlite.md describes it.
inline constexpr std::int64_t schema_version = 1;

/// Makes `database` ready for use: WAL, connection settings, and the tables when the file is new.
///
/// Semantics: several OS processes may do this at once on a new file; one creates the tables. A boot other than the one
///            that last used the file moves the sequences on, so that ids handed out by commits that a power loss undid
///            are never used again.
/// Errors:    `not_a_store` (not a database, or somebody else's), `store_newer`, `malformed`, and what SQLite reports.
///            Throws nothing. A file that is refused is left as it was.
[[nodiscard]] Result<void> prepare_schema(Database& database, std::string_view boot_id);

}  // namespace dagverk::stores
