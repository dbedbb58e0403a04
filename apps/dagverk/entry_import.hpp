#pragma once

#include "session.hpp"

#include "dagverk/base/result.hpp"
#include "dagverk/jobs/cron_entry.hpp"
#include "dagverk/jobs/limits.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

/// Limits and cron entries of an export, put into a store that may have some already.
namespace dagverk::app {

/// What became of one.
struct EntryImported {
  enum class Outcome : std::uint8_t { stored, duplicate, refused };
  Outcome outcome = Outcome::stored;
  std::string why = {};  ///< unless it was stored: for people
};

/// Semantics: what the store has already stays as it is.
/// Lifetime:  borrows `session`.
class EntryImport {
 public:
  explicit EntryImport(Session& session) : session_(session) {}

  // Errors: of the store. Repeating is safe, unless the message says otherwise.
  [[nodiscard]] Result<EntryImported> put(const jobs::Limit& limit);
  /// A paused entry is paused again: its slots of the meantime pass without a job, as they would have.
  [[nodiscard]] Result<EntryImported> put(const jobs::CronEntry& entry);

 private:
  Session& session_;
  std::optional<std::vector<jobs::Limit>> limits_;     // what is there; nothing: not asked yet
  std::optional<std::vector<jobs::CronEntry>> crons_;  // likewise
};

}  // namespace dagverk::app
