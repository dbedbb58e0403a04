#pragma once

#include "dagverk/base/error.hpp"

namespace dagverk::worker {

/// How our programs end, for scripts. Ended by signal n: 128 + n, as shells say it.
enum class ExitCode : int {
  done = 0,
  failed = 1,          ///< the operation failed
  usage = 2,           ///< wrong use of the command line, a malformed or oversized job
  not_found = 3,       ///< what was named is not there
  refused = 4,         ///< refused by a rule: duplicate, running, not confirmed
  some_failed = 5,     ///< bulk: some items failed; they are listed on standard error
  unreachable = 69,    ///< the store cannot be reached now
  store_io = 74,       ///< the store's file or disk: unreadable, unwritable, full, damaged
  try_again = 75,      ///< timed out
  configuration = 78,  ///< the configuration is wrong, or names a store that this version cannot use
};

/// The exit code that tells a script about `error`.
[[nodiscard]] ExitCode exit_code_of(const Error& error) noexcept;

}  // namespace dagverk::worker
