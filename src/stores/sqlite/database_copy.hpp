#pragma once

#include "stores/sqlite/database.hpp"

#include "dagverk/base/result.hpp"

#include <string>

namespace dagverk::stores {

/// Writes the database as of this moment into `file`, a database of its own that is on the disk when this returns.
///
/// Semantics: `file` appears under its name when it is whole, and never in place of another. `source` must not be in a
///            transaction; others may go on writing.
/// Errors:    `already_exists`, `store_full`, `permission`, `io`, and what SQLite reports of the source.
[[nodiscard]] Result<void> copy_database(Database& source, const std::string& file);

}  // namespace dagverk::stores
